/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The isolation proven live: a child of the enforcer sends crafted frames through the very programs
 * and maps that guard the LAN, on a veth pair in a network namespace that ends with it. Inside room
 * enforcer; frames and checks are data, so that another check is another row.
 */
#pragma once

#include "enforcer/kernel.h"

struct gw_guard;
struct gw_selftest_run;

/* ---- selftest.c: in the enforcer ---- */

/** Begin; a GW_NOTE_TESTED tells the worker how it went, or why it cannot. One at a time. */
void gw_selftest_start(struct gw_guard *g);
/** SIGCHLD: is it over? */
void gw_selftest_reap(struct gw_guard *g);
/** The enforcer ends: so does the test, and nothing of it stays. */
void gw_selftest_stop(struct gw_guard *g);
/** Free the slots and end the policy of a test, also of one whose enforcer was killed. */
void gw_selftest_forget(struct gw_kernel *k);

/** Ports of tests are numbered from here on, far above what a kernel gives to others. */
#define GW_SELFTEST_PORT 0x40000000U
/** True for a port of a test: nobody lives there, whatever is heard on it. */
static inline bool gw_selftest_owns(uint32_t ifindex)
{
    return ifindex >= GW_SELFTEST_PORT && ifindex < GW_SELFTEST_PORT + 2;
}

/* ---- hooks.c: one program at one place, unpinned ---- */

enum gw_place { GW_AT_NATIVE, GW_AT_GENERIC, GW_AT_TC, GW_AT_EGRESS, GW_PLACES };

/** `out_link` -1: a filter, which needs none. -errno. */
int gw_place_attach(const struct gw_kernel *k, uint32_t ifindex, enum gw_place at,
                    int *out_link) GW_MUST_CHECK;
void gw_place_detach(uint32_t ifindex, enum gw_place at, int *link);

/* ---- selftest_frames.c: who is who, and frames by their layers ---- */

/** Everybody in a test; what holds for them is in the names and in selftest.c. */
enum gw_who {
    GW_WHO_ROUTER, /**< at the other end */
    GW_WHO_KNOWN,  /**< a device without a verdict */
    GW_WHO_BAD,    /**< isolated by MAC */
    GW_WHO_BAD4,   /**< known, but its IPv4 address is isolated; and so on */
    GW_WHO_BAD6,
    GW_WHO_NET4,
    GW_WHO_NET6,
    GW_WHO_FIXABLE,  /**< in remediation */
    GW_WHO_LIMITED,  /**< its verdict has an end */
    GW_WHO_LEAVER,   /**< isolated, then released */
    GW_WHO_OWNER,    /**< heard lately; its network addresses are bound to it */
    GW_WHO_SELF,     /**< its network addresses are the gateway's own */
    GW_WHO_CONFINED, /**< has the test's policy */
    GW_WHO_WATCHED,  /**< the same, but it is only observed */
    GW_WHO_UNKNOWN,  /**< never heard of */
    GW_WHO_ALL,      /**< broadcast, and the group of the DHCPv6 servers */
    GW_WHO_GROUP,    /**< multicast DNS */
    GW_WHOS
};

struct gw_cast {
    uint8_t mac[GW_WHOS][6], ipv4[GW_WHOS][4], ipv6[GW_WHOS][16];
    uint32_t run;        /**< marks the frames of this test */
    uint16_t policy;     /**< number of the test's policy */
    bool unknown_passes; /**< lan.new_devices = "observe" */
};

/** Random addresses; those who are told apart by network address alone share one MAC. -errno. */
int gw_cast_draw(struct gw_cast *c) GW_MUST_CHECK;

enum gw_part {
    GW_PART_END,
    GW_PART_LINK,    /**< Ethernet: from, to */
    GW_PART_TAG,     /**< a: its EtherType */
    GW_PART_IPV4,    /**< from, to */
    GW_PART_OPTIONS, /**< the same with IPv4 options */
    GW_PART_LATER4,  /**< the same, a later fragment */
    GW_PART_IPV6,    /**< from, to */
    GW_PART_HOPS,    /**< a hop-by-hop extension header */
    GW_PART_DEST,    /**< one of destination options */
    GW_PART_LATER6,  /**< the header of a later fragment */
    GW_PART_UDP,     /**< a: from port, b: to port */
    GW_PART_TCP,
    GW_PART_CLAIM,   /**< ARP whose sender has the MAC of `from` and the IPv4 of `to` */
    GW_PART_ASK,     /**< ARP whose target has them */
    GW_PART_SOLICIT, /**< neighbour solicitation: link address of `from`, target `to` */
    GW_PART_ADVERT,
    GW_PART_LLC,   /**< IEEE 802.3 with LLC instead of an EtherType */
    GW_PART_PPPOE, /**< a PPPoE session */
    GW_PART_CUT4,  /**< IPv4 that ends within its header */
    GW_PART_CUT6,
};

struct gw_layer {
    uint8_t part, from, to;
    uint16_t a, b;
};

#define GW_LAYERS_MAX 6
#define GW_MARK_BYTES 8
#define GW_PROBE_BYTES 256

struct gw_probe {
    uint8_t bytes[GW_PROBE_BYTES];
    size_t len;
};

/** The layers, and `sequence` behind them, by which the frame is known again. */
void gw_probe_build(struct gw_probe *p, const struct gw_cast *c, const struct gw_layer *layers,
                    uint32_t sequence);
/** The number of a frame of this test, however its tags were taken off; 0: none. */
uint32_t gw_probe_sequence(const struct gw_cast *c, const uint8_t *frame, size_t len);

/* ---- selftest_checks.c: what is proven ---- */

enum gw_want { GW_WANT_DROP, GW_WANT_PASS, GW_WANT_UNKNOWN /**< what lan.new_devices says */ };

/** What the enforcer does before a check, by the ordinary way of a verdict or policy. */
enum gw_step {
    GW_STEP_NONE,
    GW_STEP_LIMIT,   /**< LIMITED is isolated for an hour */
    GW_STEP_END,     /**< its verdict ends in GW_STEP_END_MS */
    GW_STEP_ISOLATE, /**< LEAVER is isolated */
    GW_STEP_RELEASE, /**< and released */
    GW_STEP_ENFORCE, /**< the policy allows HTTPS with ROUTER, and nothing else passes */
    GW_STEP_REPORT,  /**< what it does not allow is only reported */
    GW_STEP_METER,   /**< it allows everything, but one packet and then none for a minute */
    GW_STEPS
};
#define GW_STEP_END_MS 5

struct gw_check_row {
    const char *name;
    uint8_t want, step;
    struct gw_layer layers[GW_LAYERS_MAX];
};

/** The rows of one direction, ended by one without a name. */
const struct gw_check_row *gw_checks(bool egress);
/** A frame that passes in every mode, behind each check's: what it shows is decided then. */
const struct gw_layer *gw_check_sentinel(bool egress);
bool gw_check_passes(const struct gw_check_row *row, const struct gw_cast *c);

/* ---- selftest_child.c: in the child ---- */

enum gw_test_word { GW_TEST_CHECK = 1, GW_TEST_STEP, GW_TEST_END };

/** From the child, over a SOCK_SEQPACKET pair; a STEP is answered by an int32_t, 0 or an error. */
struct gw_test_note {
    uint32_t word, step;
    struct gw_check check;
};

/** Run all rows at all places; ends the process. */
_Noreturn void gw_selftest_child(const struct gw_kernel *k, const struct gw_cast *c, int fd);
