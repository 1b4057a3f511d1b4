/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The registry: one record for each device, whether it proved a certificate or is only an address
 * on the wire; in memory for every question, in SQLite for every restart (written behind in
 * batches; life-cycle changes are in the next batch). Loop thread only.
 */
#pragma once

#include "base/addr.h"
#include "base/list.h"
#include "base/map.h"
#include "store/store.h"

#define GW_DEVICE_ID_MAX 64
#define GW_DEVICE_ADDRS_MAX 16 /**< of one device; the one unseen for longest gives way */

enum gw_device_state { GW_DEVICE_SEEN, GW_DEVICE_PENDING, GW_DEVICE_APPROVED, GW_DEVICE_REVOKED };
const char *gw_device_state_text(enum gw_device_state s);

struct gw_device_addr {
    struct gw_hwaddr addr;
    char ifname[IFNAMSIZ]; /**< the LAN port it was last seen on; "" : not known */
    int64_t seen_ms;       /**< wall clock */
    int64_t awaits_mac_ms; /**< until then the MAC first heard with this address is the device's */
};

/** Read-only outside this room. */
struct gw_device {
    char id[GW_DEVICE_ID_MAX + 1];
    char name[GW_DEVICE_ID_MAX + 1];
    char class[GW_DEVICE_ID_MAX + 1];
    char vendor[64];
    char hostname[64];
    enum gw_device_state state;
    int64_t first_seen_ms, last_seen_ms; /**< wall clock */
    struct gw_device_addr *addrs;        /**< in no order */
    size_t addr_count;                   /**< at most GW_DEVICE_ADDRS_MAX */
};

enum gw_device_change {
    GW_DEVICE_ADDED,
    GW_DEVICE_CHANGED,      /**< state, name, class */
    GW_DEVICE_ADDR_ADDED,   /**< `addr` is the new one: verdicts follow it */
    GW_DEVICE_ADDR_REMOVED, /**< `addr` left this device (went to another, or gave way) */
    /**
     * Record `from` (an address) turned out to be this device. Told while `from` still has its
     * addresses; they follow, each as ADDR_ADDED of this device, and `from` is gone.
     */
    GW_DEVICE_MERGED,
    GW_DEVICE_REMOVED, /**< forgotten; freed after the listeners ran */
};

struct gw_device_listener {
    struct gw_list node;
    void (*changed)(void *owner, const struct gw_device *d, enum gw_device_change what,
                    const struct gw_hwaddr *addr, const struct gw_device *from);
    void *owner;
};

struct gw_devices;
/**
 * `max` records; past it new addresses are counted, not recorded. The last eighth is kept for
 * devices with a certificate, so that no flood of made-up MACs shuts one out. GW_ESTORE, -errno.
 */
int gw_devices_open(struct gw_loop *loop, struct gw_store *store, uint32_t max,
                    struct gw_devices **out) GW_MUST_CHECK;
/** Writes what is not on disk yet, and waits for it. */
void gw_devices_close(struct gw_devices **d);
/** `l` is the caller's and stays until unlisten; listeners run in the order they came. */
void gw_devices_listen(struct gw_devices *d, struct gw_device_listener *l);
void gw_devices_unlisten(struct gw_device_listener *l);

/** 1 to 64 of A-Z a-z 0-9 . _ - */
bool gw_device_id_valid(const char *id);
/** True for `mac-<12 hex>`, the id of a device known only by its address. No certificate has it. */
bool gw_device_id_is_mac(const char *id);

struct gw_device *gw_devices_get(const struct gw_devices *d, const char *id);
struct gw_device *gw_devices_by_addr(const struct gw_devices *d, const struct gw_hwaddr *a);
/** In order of id, for lists: the first id > `after` ("" : the first). NULL: no more. O(log n). */
struct gw_device *gw_devices_next(const struct gw_devices *d, const char *after);
size_t gw_devices_count(const struct gw_devices *d, enum gw_device_state state);
size_t gw_devices_total(const struct gw_devices *d);
/** Sightings that found no room since the start. */
uint64_t gw_devices_unrecorded(const struct gw_devices *d);

/**
 * Somebody was heard. The record that owns the MAC gets the address; an unknown MAC becomes
 * `mac-<12 hex>`, state seen. `ip` and `ifname` may be NULL. The last sighting of an address wins.
 * NULL when the registry is full, or when the MAC is no host's (group, zero); such an `ip`
 * (multicast, broadcast, loopback, unspecified, a network) is left out.
 */
struct gw_device *gw_devices_sighting(struct gw_devices *d, const uint8_t mac[6],
                                      const struct gw_hwaddr *ip, const char *ifname);

/**
 * `id` proved its certificate from `ip` (and `mac`, NULL when the neighbour table has none yet):
 * bind them; a `mac-…` record merges into it. Without `mac`, the first sighting of `ip` within a
 * minute brings it. Made (state approved) when unknown, since our CA signed it. `ip` may be NULL.
 * @return 0; GW_EREVOKED, also for an id that was revoked and forgotten, until it is approved
 *         again; GW_EIDENTITY for an id no certificate may have; GW_EFULL.
 */
int gw_devices_prove(struct gw_devices *d, const char *id, const struct gw_hwaddr *ip,
                     const uint8_t *mac, struct gw_device **out) GW_MUST_CHECK;

/**
 * It asked for a certificate: seen → pending; made when unknown; no change when approved.
 * GW_EREVOKED; GW_EIDENTITY for an id no certificate may have; GW_EFULL.
 */
int gw_devices_pending(struct gw_devices *d, const char *id, struct gw_device **out) GW_MUST_CHECK;
/**
 * NULL leaves name or class as it is. GW_ENOTFOUND; GW_ESTATE when revoked (forget it first);
 * GW_EMALFORMED for a name (UTF-8, no control characters) or class (as an id, or "").
 */
int gw_devices_approve(struct gw_devices *d, const char *id, const char *name,
                       const char *class) GW_MUST_CHECK;
/** GW_ENOTFOUND. */
int gw_devices_revoke(struct gw_devices *d, const char *id) GW_MUST_CHECK;
/** GW_ENOTFOUND. A revoked id stays refused by gw_devices_prove. */
int gw_devices_forget(struct gw_devices *d, const char *id) GW_MUST_CHECK;
/** True when a certificate of this id is worth nothing: revoked, or revoked and then forgotten. */
bool gw_devices_revoked(const struct gw_devices *d, const char *id);

/** 0: what was asked about is on disk; GW_ESTORE: not yet, it is tried again; GW_ECLOSED. */
typedef void gw_devices_settled(void *owner, int err);
/**
 * Be told, once, from the loop, when all that was changed up to now is on disk; it is written at
 * once. -ENOMEM.
 */
int gw_devices_settle(struct gw_devices *d, gw_devices_settled *fn, void *owner) GW_MUST_CHECK;

/** last_seen := now; O(1), written behind. */
void gw_devices_touch(struct gw_devices *d, struct gw_device *dev);
