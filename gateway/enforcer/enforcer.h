/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The privileged process, and the worker's client for it. The enforcer loads, attaches and pins the
 * kernel programs, follows links and neighbours, applies verdicts, reads the files that the
 * configuration names, and starts the worker again when it dies. Everything pinned survives the
 * death of both. The client side: loop thread only. It is long for it is the whole boundary between
 * the two processes.
 */
#pragma once

#include "base/addr.h"
#include "base/bytes.h"
#include "config/config.h"
#include "loop/loop.h"

/* ---- the privileged process ---- */

/** A last word on a configuration that was read: 0, or GW_ECONFIG with `*error` filled. */
typedef int gw_config_check(const char *path, const struct gw_config *config,
                            struct gw_config_error *error);

/**
 * Read the configuration, make the directories, load and attach, apply the verdicts kept on disk,
 * then start the worker (this program again, with `--worker FD`) and serve it until SIGTERM or
 * SIGINT. A worker that dies is started again, unless the first one refuses to start. SIGHUP hands
 * it a new bundle; until then every worker gets the same one, whatever becomes of the files.
 * `check` judges each configuration before anything is done with it.
 * @return the exit status: 0 after an orderly end, 1 when it could not start (said on stderr).
 */
int gw_enforcer_run(const char *config_path, gw_config_check *check);

/**
 * Remove everything that outlives the daemon: programs, filters, maps, pins; and with the maps the
 * verdicts, though not their copy in state_dir. For the removal of the package. Nothing to remove
 * is success, and so is a state_dir that is not there; -EBUSY while a daemon runs with that
 * state_dir, another error otherwise, said on stderr.
 */
int gw_enforcer_unpin(const char *config_path) GW_MUST_CHECK;

/* ---- the worker's side ---- */

/** Observe: counted and learned, nothing dropped. */
enum gw_verdict_mode { GW_MODE_NONE, GW_MODE_ISOLATE, GW_MODE_REMEDIATE, GW_MODE_OBSERVE };
enum gw_ingress { GW_INGRESS_NONE, GW_INGRESS_NATIVE, GW_INGRESS_GENERIC, GW_INGRESS_TC };
enum gw_egress { GW_EGRESS_NONE, GW_EGRESS_TCX, GW_EGRESS_CLSACT };

/** Somebody was heard on a LAN port, or the neighbour table changed. */
struct gw_sighting {
    uint8_t mac[6];
    bool has_ip;
    struct gw_hwaddr ip; /**< valid with has_ip */
    uint32_t ifindex;
    char ifname[IFNAMSIZ];
};

/**
 * What could carry frames past the programs of a port, as detected; the last ones are only worth
 * knowing. X(name, text)
 */
#define GW_BYPASSES(X)                                                                             \
    X(OFFLOAD, "hardware flow offload is on (hw-tc-offload): flows handed to the hardware are "    \
               "not seen")                                                                         \
    X(SWITCH, "switch-local traffic: the switch chip forwards between its ports by itself")        \
    X(WIFI, "Wi-Fi-local traffic: stations reach each other inside the access point unless it "    \
            "isolates them (ap_isolate)")                                                          \
    X(BEHIND, "several devices are behind this port: what they say to each other is not seen")     \
    X(BEFORE, "another program runs before ours and may pass frames on")                           \
    X(SEGMENTS, "native XDP turns off segmentation offload on this virtual port")
enum gw_bypass_bit {
#define X(name, text) GW_BYPASS_##name##_BIT,
    GW_BYPASSES(X)
#undef X
        GW_BYPASS_BITS
};
enum gw_bypass {
#define X(name, text) GW_BYPASS_##name = 1 << GW_BYPASS_##name##_BIT,
    GW_BYPASSES(X)
#undef X
        GW_BYPASS_NOTES = GW_BYPASS_SEGMENTS, /**< those that let nothing past */
};
const char *gw_bypass_text(enum gw_bypass_bit bit);

#define GW_REASON 96

/** A LAN port as it stands; sent at every change. */
struct gw_link_report {
    uint32_t ifindex;
    char ifname[IFNAMSIZ];
    bool present; /**< false: the interface is gone, or no LAN port any more */
    bool up;      /**< carrier */
    enum gw_ingress ingress;
    enum gw_egress egress;
    char reason[GW_REASON]; /**< why not the best mode; "" : it is the best */
    uint32_t bypass;        /**< of enum gw_bypass; looked at at every change and once a minute */
};

/** Counted in the kernel since the programs were first pinned. rx: from the address, tx: to it. */
struct gw_traffic {
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
    uint64_t dropped_packets, dropped_bytes; /**< both directions */
    uint64_t last_seen_ms; /**< monotonic ms of the last packet from it; 0: never */
};

/* ---- policies: what the kernel does for one device beside a verdict ---- */

#define GW_POLICY_RULES_MAX 64   /**< of one policy: each is a bit of a word */
#define GW_POLICY_PEERS_MAX 1024 /**< of one policy */
#define GW_POLICIES_MAX                                                                            \
    65535 /**< by number, from 1; the kernel's tables may hold fewer, and                          \
               their last one is the self-test's */

enum gw_policy_flag {
    GW_POLICY_LEARN = 1,   /**< keep what it does, see gw_enforcer_learned() */
    GW_POLICY_REPORT = 2,  /**< what no rule allows is reported (GW_WIRE_DEPARTURE) */
    GW_POLICY_ENFORCE = 4, /**< and dropped */
};

enum gw_policy_direction { GW_FROM_DEVICE, GW_TO_DEVICE };

/** What may pass (one entry of an RFC 8519 list, without its peers). Ports in host order. */
struct gw_policy_rule {
    uint8_t direction; /**< enum gw_policy_direction: this packet's */
    uint8_t protocol;  /**< IANA's number; 0: any */
    uint8_t family;    /**< GW_ADDR_IPV4, GW_ADDR_IPV6; 0: both */
    uint8_t no_open;   /**< 1: a TCP connection is not opened in this direction (RFC 8520 §3.15) */
    uint16_t own_min, own_max;   /**< the device's port; 0 and 65535: any. ICMP: its type */
    uint16_t peer_min, peer_max; /**< the port at the other end */
};

/** A host or network, and for which rules (bit i: rule i) it is the other end. */
struct gw_policy_peer {
    struct gw_hwaddr address;
    uint64_t rules;
};

/**
 * A policy with all addresses of one device. Always passes: ARP, neighbour discovery, and what
 * remediation leaves open (DHCP by broadcast or with the gateway, too), so that a device can be
 * repaired. A rule holds for a packet when
 * its direction, family, protocol and ports do, and its other end is in `any`, `local` (a network
 * that one of the gateway's LAN ports is in, multicast and broadcast), `gateway`, or among the
 * peers.
 */
struct gw_policy {
    uint16_t number;              /**< from 1 */
    unsigned flags;               /**< of enum gw_policy_flag; 0: only limits */
    uint32_t packets_per_s;       /**< each way; 0: no limit */
    uint64_t bytes_per_s;         /**< each way; 0: no limit */
    uint64_t any, local, gateway; /**< rules by the class of the other end */
    struct gw_policy_rule rules[GW_POLICY_RULES_MAX];
    size_t rule_count;
    const struct gw_policy_peer *peers; /**< borrowed */
    size_t peer_count;
};

/** One conversation that a device had, packets both ways together. */
struct gw_learned {
    struct gw_hwaddr peer;     /**< the other end: a host, or a group that it sends to */
    uint8_t direction;         /**< enum gw_policy_direction: who opened it */
    uint8_t protocol;          /**< IANA's number */
    uint16_t port;             /**< of the one it was opened to; ICMP: its type */
    uint64_t packets, bytes;   /**< both ways */
    int64_t first_ms, last_ms; /**< wall clock */
};

/** All that was learned of one policy. */
struct gw_learning {
    uint16_t number;
    const struct gw_learned *at; /**< borrowed */
    size_t count;
    uint64_t missed;             /**< conversations that found no room */
    uint32_t peak_packets_per_s; /**< in the busiest second, both ways */
    uint64_t peak_bytes_per_s;
};

/* ---- what the programs notice ---- */

#define GW_WIRE_KINDS(X)                                                                           \
    X(HOSTS, "scan-hosts")          /* opened conversations to many addresses */                   \
    X(PORTS, "scan-ports")          /* to many ports */                                            \
    X(NEIGHBOURS, "lateral")        /* to other devices on the LAN */                              \
    X(FLOOD, "packet-flood")        /* more packets a second than any device of its kind */        \
    X(FORGED, "forged-address")     /* sent with an address that is another's; dropped */          \
    X(SPOOFED, "spoofed-neighbour") /* the same in ARP or neighbour discovery */                   \
    X(MOVES, "mac-flapping")        /* one MAC on several ports by turns */                        \
    X(DHCP, "rogue-dhcp")           /* answers as a DHCP server and is none */                     \
    X(ROUTER, "rogue-router")       /* advertises itself as a router and is none */                \
    X(DEPARTURE, "departure")       /* what its profile does not allow */
enum gw_wire_kind {
#define X(name, text) GW_WIRE_##name,
    GW_WIRE_KINDS(X)
#undef X
        GW_WIRE_COUNT
};

/** At most one of a kind, device and window is told. */
struct gw_wire_event {
    uint32_t kind; /**< enum gw_wire_kind */
    uint8_t mac[6];
    bool dropped;        /**< the packet was */
    uint8_t protocol;    /**< IANA's number; 0: none */
    struct gw_hwaddr ip; /**< that the packet came from, or (departure) its device; kind 0: none */
    struct gw_hwaddr
        peer;          /**< that it went to; forged, spoofed: whose it is (a MAC); kind 0: none */
    uint16_t port;     /**< that it went to; 0: none */
    uint8_t direction; /**< enum gw_policy_direction */
    uint8_t pad;
    uint32_t count;     /**< addresses, ports, devices, packets or moves in the window */
    uint32_t window_ms; /**< in which they were counted */
    uint32_t ifindex;
    char ifname[IFNAMSIZ];
};

/* ---- the isolation, proven ---- */

#define GW_CHECKS_MAX 4096
#define GW_CHECK_WHERE 24
#define GW_CHECK_DETAIL 92

enum gw_outcome { GW_CHECK_PASSED, GW_CHECK_FAILED, GW_CHECK_SKIPPED };

/** One thing that the self-test looked at. */
struct gw_check {
    char name[64];                /**< what must hold: "isolated by MAC" */
    char where[GW_CHECK_WHERE];   /**< "native", "generic", "tc", "egress", or a LAN port */
    uint32_t outcome;             /**< enum gw_outcome */
    char detail[GW_CHECK_DETAIL]; /**< what was seen instead, or why it was left out; "": nothing */
};

/** All of them. */
struct gw_selftest {
    int64_t at_ms; /**< wall clock of its start */
    uint32_t took_ms;
    const struct gw_check *at; /**< borrowed */
    size_t count;
    const char *error; /**< why it did not run; NULL: it did */
};

struct gw_enforcer_ops {
    void (*sighting)(void *owner, const struct gw_sighting *s);
    void (*link)(void *owner, const struct gw_link_report *r);
    /** The kernel has (err 0) or refused (GW_EPROTECTED, GW_EFULL, …) the change called `token`. */
    void (*applied)(void *owner, uint64_t token, int err);
    /** SIGHUP: a new configuration bundle, or why there is none. */
    void (*reload)(void *owner, struct gw_slice bundle, const char *error);
    /** SIGTERM, or the enforcer is gone: flush everything and stop. */
    void (*stop)(void *owner);
    /** The programs noticed something on the wire. */
    void (*wire)(void *owner, const struct gw_wire_event *ev);
    /** What gw_enforcer_learned() asked for. */
    void (*learned)(void *owner, const struct gw_learning *l);
    /** A DNS answer on its way to this MAC, of a policy with rules: the UDP payload, untrusted. */
    void (*dns)(void *owner, const uint8_t mac[6], struct gw_slice payload);
    /** What gw_enforcer_selftest() asked for. */
    void (*tested)(void *owner, const struct gw_selftest *t);
};

struct gw_enforcer;

/** In `--worker FD`: wait for the first message, which is the configuration bundle. Blocks. */
int gw_enforcer_receive_bundle(int fd, struct gw_buf *out) GW_MUST_CHECK;

/**
 * Give up every privilege: user, groups, capabilities, no-new-privs, Landlock (only state_dir and
 * run_dir), seccomp. Threads made before keep theirs, so call it first. What this kernel lacks is
 * logged once. -errno when a privilege could not be dropped: do not go on.
 */
int gw_sandbox_enter(const struct gw_config *config) GW_MUST_CHECK;
/** What is in force, for `status`: "seccomp, landlock" or what is missing. */
const char *gw_sandbox_text(void);

/** Serve `fd` from the loop; takes the fd. Links and known addresses are reported at once. */
int gw_enforcer_connect(struct gw_loop *loop, int fd, const struct gw_enforcer_ops *ops,
                        void *owner, struct gw_enforcer **out) GW_MUST_CHECK;
void gw_enforcer_free(struct gw_enforcer **e);
/**
 * Inside `reload`: the listening socket for the admin address of this index, when the configuration
 * in force had none like it; the caller's. -1: there is none.
 */
int gw_enforcer_take_listener(struct gw_enforcer *e, size_t index) GW_MUST_CHECK;

/** What holds for one address. All zero: nothing. */
struct gw_judgement {
    uint32_t mode;         /**< enum gw_verdict_mode */
    uint16_t policy;       /**< number of the device's policy; 0: none */
    bool bound;            /**< an IP address that no other MAC may use while its owner is heard */
    uint8_t owner[6];      /**< of a bound address; zeros: whoever uses it now */
    int64_t until_wall_ms; /**< of the mode; 0: until it is replaced */
};

/** Set or replace what holds for one address; `applied` answers with `token`. Never waits. */
int gw_enforcer_judge(struct gw_enforcer *e, const struct gw_hwaddr *a,
                      const struct gw_judgement *j, uint64_t token) GW_MUST_CHECK;

/** Make or replace a policy; `applied` answers with `token`: GW_EFULL, GW_EUNSUPPORTED. */
int gw_enforcer_policy(struct gw_enforcer *e, const struct gw_policy *p,
                       uint64_t token) GW_MUST_CHECK;
/** It ends, with what was learned. The caller takes it off its addresses first. */
int gw_enforcer_policy_end(struct gw_enforcer *e, uint16_t number, uint64_t token) GW_MUST_CHECK;
/** Ask what was learned; `learned` tells. `forget`: and begin anew. */
int gw_enforcer_learned(struct gw_enforcer *e, uint16_t number, bool forget) GW_MUST_CHECK;

/**
 * After a start the worker repeats every verdict that the registry holds, then calls this: those
 * not repeated are cleared. So the registry is the authority and nothing opens in between.
 */
int gw_enforcer_verdicts_complete(struct gw_enforcer *e) GW_MUST_CHECK;

/**
 * Prove the isolation with crafted frames through the loaded programs; `tested` tells, within 25 s.
 * Asked again while one runs: that one answers.
 */
int gw_enforcer_selftest(struct gw_enforcer *e) GW_MUST_CHECK;

/** Ask for the link address of `ip`; a sighting follows, later, if it is known. */
int gw_enforcer_resolve(struct gw_enforcer *e, const struct gw_hwaddr *ip) GW_MUST_CHECK;

/** Read from memory shared with the kernel, no message: false when the address has no entry. */
bool gw_enforcer_traffic(const struct gw_enforcer *e, const struct gw_hwaddr *a,
                         struct gw_traffic *out);

/** The LAN ports as last reported; `out_traffic` gets packets and bytes dropped on port i. */
size_t gw_enforcer_links(const struct gw_enforcer *e, struct gw_link_report *out,
                         struct gw_traffic *out_traffic, size_t max);
