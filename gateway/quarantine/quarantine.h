/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Verdicts: who is cut off, how, why, by whom, until when. Stored first, then sent to the kernel as
 * every address the device is known by, now and later; the device's sessions are closed and its
 * certificate refused until the release. Rules turn strikes into verdicts. Loop thread only.
 */
#pragma once

#include "config/config.h"
#include "device/device.h"
#include "enforcer/enforcer.h"
#include "journal/journal.h"

#define GW_REASON_MAX 200

struct gw_verdict {
    char device[GW_DEVICE_ID_MAX + 1]; /**< "" : on `addr` alone */
    struct gw_hwaddr addr;             /**< valid when device is "" */
    enum gw_verdict_mode mode;
    char reason[GW_REASON_MAX + 1];
    char by[GW_DEVICE_ID_MAX + 1]; /**< "admin", a user, "rule", "cloud" */
    int64_t since_ms, until_ms;    /**< wall clock; until 0: until released */
};

const char *gw_mode_text(enum gw_verdict_mode m);

struct gw_quarantine_ops {
    /**
     * What holds for the device changed: close its sessions, or (NULL) let it in again. Also told
     * for each loaded verdict by gw_quarantine_start; may repeat what is known. `v` is borrowed.
     */
    void (*changed)(void *owner, const char *device, const struct gw_verdict *v);
    /**
     * May be NULL. The kernel cuts the device off next: the last moment at which it can be told why
     * its sessions end. To be done in no time; `changed` follows. Not told for a whole network.
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
 * both are verdicts by "policy". `ops` is copied and may be NULL. GW_ESTORE, -ENOMEM.
 */
int gw_quarantine_open(struct gw_loop *loop, const struct gw_config *config, struct gw_store *store,
                       struct gw_journal *journal, struct gw_devices *devices,
                       const struct gw_quarantine_ops *ops,
                       struct gw_quarantine **out) GW_MUST_CHECK;
/** Changes that wait end with GW_ECLOSED; what was stored stays. Before the registry is closed. */
void gw_quarantine_close(struct gw_quarantine **q);
/** Addresses that became protected are let go at once. */
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
 * @return 0; GW_ENOTFOUND: no such device; GW_EPROTECTED; GW_EMALFORMED: no mode, a reason over
 *         GW_REASON_MAX or no UTF-8, over 100 years; GW_EFULL.
 */
int gw_quarantine_device(struct gw_quarantine *q, const char *id, enum gw_verdict_mode mode,
                         uint64_t seconds, const char *reason, const char *by,
                         gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;
/**
 * By MAC, IP or network; the address need not be known. Of a device it cuts off only this address,
 * but the device's sessions are closed and refused for as long as it has the address. Group,
 * loopback and unspecified addresses are GW_EPROTECTED.
 */
int gw_quarantine_addr(struct gw_quarantine *q, const struct gw_hwaddr *a,
                       enum gw_verdict_mode mode, uint64_t seconds, const char *reason,
                       const char *by, gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;
/** GW_ENOTFOUND: it has no verdict of its own. */
int gw_quarantine_release_device(struct gw_quarantine *q, const char *id, const char *by,
                                 gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;
int gw_quarantine_release_addr(struct gw_quarantine *q, const struct gw_hwaddr *a, const char *by,
                               gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;

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
 * device, with another link address.
 */
bool gw_quarantine_may_claim(const struct gw_quarantine *q, const uint8_t mac[6],
                             const struct gw_hwaddr *ip, const char *ifname);

/** NULL: none. A verdict on the device, or on an address that it has now (or its network). */
const struct gw_verdict *gw_quarantine_of_device(const struct gw_quarantine *q, const char *id);
/** The verdict on exactly this address or network. */
const struct gw_verdict *gw_quarantine_of_addr(const struct gw_quarantine *q,
                                               const struct gw_hwaddr *a);
/** Walk all: `*cursor` 0 first; NULL at the end. */
const struct gw_verdict *gw_quarantine_next(const struct gw_quarantine *q, size_t *cursor);
size_t gw_quarantine_count(const struct gw_quarantine *q);

#define GW_STRIKES(X)                                                                              \
    X(MALFORMED, "malformed packets")                                                              \
    X(AUTH, "failed authentications") X(DENIED, "refused publishes") X(FLOOD, "floods")
enum gw_strike {
#define X(name, text) GW_STRIKE_##name,
    GW_STRIKES(X)
#undef X
};
/**
 * Something bad that the device did. With quarantine.auto, too many of one kind in its sliding
 * window make a verdict by "rule"; without, only an alert. Without rules in the configuration: 20
 * malformed packets in 60 s isolate, 20 failed authentications in 60 s leave only the way to a new
 * certificate (remediate), each for an hour. O(1).
 */
void gw_quarantine_strike(struct gw_quarantine *q, const char *device, enum gw_strike kind);
