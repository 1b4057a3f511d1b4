/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Verdicts: who is cut off, how, why, by whom, until when. Stored first, then sent to the kernel as
 * every address the device is known by, now and later; the device's sessions are closed and its
 * certificate refused until the release. A verdict to observe is kept and sent like the others, and
 * cuts nothing off. Rules turn strikes into verdicts. Loop thread only.
 */
#pragma once

#include "config/config.h"
#include "device/device.h"
#include "enforcer/enforcer.h"
#include "journal/journal.h"

#define GW_REASON_MAX 200                             /**< bytes */
#define GW_VERDICT_SECONDS_MAX (100ull * 366 * 86400) /**< 100 years */

struct gw_verdict {
    char device[GW_DEVICE_ID_MAX + 1]; /**< "" : on `addr` alone */
    struct gw_hwaddr addr;             /**< valid when device is "" */
    enum gw_verdict_mode mode;
    char reason[GW_REASON_MAX + 1];
    char by[GW_DEVICE_ID_MAX + 1]; /**< "admin", a user, "rule", "policy", "configuration" */
    int64_t since_ms, until_ms;    /**< wall clock; until 0: until released */
};

const char *gw_mode_text(enum gw_verdict_mode m);
/** The mode of this name; GW_MODE_NONE: there is none such. */
enum gw_verdict_mode gw_mode_of(const char *text);

/** What it does to its subject: "cut off", "put in remediation", "observed". */
const char *gw_verdict_deed(enum gw_verdict_mode m);

/** It cuts off (all modes but observe). NULL does not. */
static inline bool gw_verdict_cuts(const struct gw_verdict *v)
{
    return v && (v->mode == GW_MODE_ISOLATE || v->mode == GW_MODE_REMEDIATE);
}

struct gw_quarantine_ops {
    /**
     * What holds for the device changed: close its sessions, or (NULL: no verdict that cuts off)
     * let it in again. Also told for each loaded verdict by gw_quarantine_start; may repeat what is
     * known. `v` is borrowed.
     */
    void (*changed)(void *owner, const char *device, const struct gw_verdict *v);
    /**
     * May be NULL. The kernel cuts the device off next: the last moment at which it can be told why
     * its sessions end. To be done in no time; `changed` follows. Not told for a whole network, nor
     * for a verdict that cuts nothing off.
     */
    void (*cutting)(void *owner, const char *device, const struct gw_verdict *v);
    /** May be NULL. The number of the device's policy, which each address of it bears; 0: none. */
    uint16_t (*policy_of)(void *owner, const char *device);
    void *owner;
};

struct gw_quarantine;
/**
 * Verdicts are loaded; gw_quarantine_start sends them once the enforcer is connected. Follows the
 * registry: addresses that a device gains or loses, a merge, its end. A revoked device is isolated;
 * with lan.new_devices = "isolate" a new address may only enrol (remediate) until it is approved;
 * both are verdicts by "policy". quarantine.protected wins over all of these, over rules and over
 * what was decided before. `ops` is copied and may be NULL. GW_ESTORE, -ENOMEM.
 */
int gw_quarantine_open(struct gw_loop *loop, const struct gw_config *config, struct gw_store *store,
                       struct gw_journal *journal, struct gw_devices *devices,
                       const struct gw_quarantine_ops *ops,
                       struct gw_quarantine **out) GW_MUST_CHECK;
/** Changes that wait end with GW_ECLOSED; what was stored stays. Before the registry is closed. */
void gw_quarantine_close(struct gw_quarantine **q);
/**
 * Whoever became protected is let go: addresses at once, of their policy too, verdicts a tick of
 * the loop later. The configuration until now is read once more: it is freed after this.
 */
void gw_quarantine_reload(struct gw_quarantine *q, const struct gw_config *config);
/**
 * Repeat every verdict to the enforcer (borrowed), then mark them complete. Before this, and with
 * `e` NULL (isolation is off), verdicts hold for sessions only, and their alert says so.
 */
void gw_quarantine_start(struct gw_quarantine *q, struct gw_enforcer *e);
/** `policy_of` the device changed: tell the kernel each address of it again. */
void gw_quarantine_resend(struct gw_quarantine *q, const char *id);
/** Wire the enforcer's `applied` here. */
void gw_quarantine_applied(struct gw_quarantine *q, uint64_t token, int err);

/**
 * Called once, from the loop, for each change that was accepted: 0 when it is stored and every
 * address is in force in the kernel; GW_EPROTECTED, GW_EFULL, GW_ESTORE: what held before holds
 * again; GW_ECLOSED.
 */
typedef void gw_quarantine_done(void *owner, int err);

/**
 * The verdict counts for sessions at once; kernel and disk follow side by side. One in force is
 * replaced. `seconds` 0: until released. `fn` may be NULL.
 * @return 0; GW_ENOTFOUND: no such device; GW_EPROTECTED: it or an address of it is, in whatever
 *         mode; GW_EMALFORMED: no mode, a reason over GW_REASON_MAX or no UTF-8, more than
 *         GW_VERDICT_SECONDS_MAX; GW_EFULL: as many verdicts as there may be; -ENOMEM.
 */
int gw_quarantine_device(struct gw_quarantine *q, const char *id, enum gw_verdict_mode mode,
                         uint64_t seconds, const char *reason, const char *by,
                         gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;
/**
 * By MAC, IP or network; the address need not be known. Of a device it cuts off only this address,
 * but the device's sessions are closed and refused for as long as it has the address.
 * @return 0; GW_EPROTECTED: protected, or a group, loopback or unspecified address; GW_EMALFORMED,
 *         GW_EFULL (of networks there may be 256), -ENOMEM as above.
 */
int gw_quarantine_addr(struct gw_quarantine *q, const struct gw_hwaddr *a,
                       enum gw_verdict_mode mode, uint64_t seconds, const char *reason,
                       const char *by, gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;
/** @return 0; GW_ENOTFOUND: it has no verdict of its own; -ENOMEM. Also for an address. */
int gw_quarantine_release_device(struct gw_quarantine *q, const char *id, const char *by,
                                 gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;
int gw_quarantine_release_addr(struct gw_quarantine *q, const struct gw_hwaddr *a, const char *by,
                               gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;
/** One of many: the same without an alert of its own. Whoever asks for them tells of all. */
int gw_quarantine_addr_quietly(struct gw_quarantine *q, const struct gw_hwaddr *a,
                               enum gw_verdict_mode mode, uint64_t seconds, const char *reason,
                               const char *by, gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;
int gw_quarantine_release_addr_quietly(struct gw_quarantine *q, const struct gw_hwaddr *a,
                                       const char *by, gw_quarantine_done *fn,
                                       void *owner) GW_MUST_CHECK;

/**
 * Be told how a change of the device's own verdict ends that the registry or a rule brought about
 * just now: 0 `fn` comes; 1 there is nothing to wait for, or another one waits already.
 */
int gw_quarantine_await(struct gw_quarantine *q, const char *id, gw_quarantine_done *fn,
                        void *owner) GW_MUST_CHECK;

/**
 * True when a sighting of `mac` on `ifname` may give it `ip` (NULL: none), which is another's so
 * far. Nobody who is cut off takes an address from somebody else, or the verdict would follow it
 * there; and nobody unknown takes one from a device that is cut off on the same port: that is this
 * device, with another link address. Nor does anybody who is cut off take a protected address, and
 * so its liberty; a new device that only waits for approval may.
 */
bool gw_quarantine_may_claim(const struct gw_quarantine *q, const uint8_t mac[6],
                             const struct gw_hwaddr *ip, const char *ifname);

/**
 * The verdict that cuts the device off: the strictest on it, or on an address that it has now, or
 * on a network of it. NULL: none, or only one to observe.
 */
const struct gw_verdict *gw_quarantine_of_device(const struct gw_quarantine *q, const char *id);
/** The same with those to observe: what is shown, not what is asked before a session. */
const struct gw_verdict *gw_quarantine_shown(const struct gw_quarantine *q, const char *id);
/** The verdict on the device itself. NULL: none. */
const struct gw_verdict *gw_quarantine_own(const struct gw_quarantine *q, const char *id);
/** The verdict on exactly this address or network. */
const struct gw_verdict *gw_quarantine_of_addr(const struct gw_quarantine *q,
                                               const struct gw_hwaddr *a);
/** The strictest verdict on a network that holds the address; NULL: none. */
const struct gw_verdict *gw_quarantine_of_network(const struct gw_quarantine *q,
                                                  const struct gw_hwaddr *a);
/** A place between verdicts, all zero: before the first. It stays good through any change. */
struct gw_quarantine_place {
    uint64_t number; /**< of the verdict that was last seen; it alone says where to go on */
    size_t key_len;  /**< whose that is, to find it quickly; 0: not known */
    uint8_t key[GW_DEVICE_ID_MAX + 1];
};
/** The next one in the order in which they were first made, and the place behind it. */
const struct gw_verdict *gw_quarantine_after(const struct gw_quarantine *q,
                                             struct gw_quarantine_place *at);
/** quarantine.protected names it or an address that it has: no verdict and no policy holds for it.
 */
bool gw_quarantine_protected(const struct gw_quarantine *q, const char *id);
/** Verdicts that cut off. */
size_t gw_quarantine_count(const struct gw_quarantine *q);

/**
 * Something bad that the device did. Too many of one kind within a rule's sliding window make a
 * verdict by "rule", if it is stricter than what holds. An alert alone ("strikes", at most one for
 * a device, rule and hour) comes of a rule with `dry_run`, of all rules without quarantine.auto,
 * and for a protected device.
 *
 * Without rules in the configuration: 20 malformed packets in 60 s isolate, 20 failed
 * authentications in 60 s leave only the way to a new certificate (remediate), each for an hour;
 * for failed handshakes and for what is noticed on the wire there are dry runs, because a healthy
 * device may look like that. O(1).
 */
void gw_quarantine_strike(struct gw_quarantine *q, const char *device, enum gw_strike kind);

/**
 * The programs noticed something on the wire (wire the enforcer's `wire` here): an alert of the
 * kind's name with all figures, at most one for a device, kind and minute and 60 a minute for all
 * devices (what is kept back is counted and told with the next), and one strike.
 */
void gw_quarantine_wire(struct gw_quarantine *q, const struct gw_wire_event *ev);
