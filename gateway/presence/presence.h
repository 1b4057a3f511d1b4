/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Heartbeats, sessions and sightings → join, leave, timeout, state-change, each with its cause. One
 * timer a device, re-armed only when it fires: a heartbeat is one store (O(1)). Every event goes to
 * the journal; the last status is in the database, so a restart knows who was there. Loop thread.
 *
 * Who had a session once is present by its sessions alone; everybody else by what the wire says.
 * What ended before our eyes (left, reset, unplugged, quarantined, revoked, shutdown) is a `leave`,
 * what is concluded from silence (keepalive, missed, diverted, outage) a `timeout`. Going to sleep
 * as declared, and waking up, is a `state-change`: the device stays an occupant.
 *
 * Members beyond INTERFACE's: `"quiet":true` marks a join, leave or timeout while the occupancy is
 * over presence.announce_max: it belongs on $presence/devices/<id> and in the time line, not on
 * $presence/events, where an `interval` with counts comes instead. `"topic"` marks an event of
 * $presence/topics/<topic>; it says nothing about the device's own status.
 */
#pragma once

#include "config/config.h"
#include "device/device.h"
#include "journal/journal.h"

enum gw_status { GW_OFFLINE, GW_ONLINE, GW_ASLEEP };
#define GW_CAUSES(X)                                                                               \
    X(CONNECT, "connect")                                                                          \
    X(LEFT, "left")                                                                                \
    X(RESET, "reset")                                                                              \
    X(KEEPALIVE, "keepalive")                                                                      \
    X(MISSED, "missed")                                                                            \
    X(UNPLUGGED, "unplugged")                                                                      \
    X(ASLEEP, "asleep")                                                                            \
    X(QUARANTINED, "quarantined")                                                                  \
    X(REVOKED, "revoked") X(DIVERTED, "diverted") X(OUTAGE, "outage") X(SHUTDOWN, "shutdown")
enum gw_cause {
#define X(name, text) GW_CAUSE_##name,
    GW_CAUSES(X)
#undef X
};
const char *gw_status_text(enum gw_status s);
const char *gw_cause_text(enum gw_cause c);

struct gw_presence_ops {
    /** Monotonic ms when the kernel last saw a packet from the device; 0: never or not known. */
    uint64_t (*wire_seen)(void *owner, const struct gw_device *d);
    void *owner;
};

struct gw_presence_status {
    enum gw_status status;
    enum gw_cause cause;
    int64_t since_ms;  /**< wall clock; 0: it was never present (offline, left) */
    const char *state; /**< the last d/<id>/state as JSON text, "" : none; borrowed */
};

struct gw_presence;
/** All is borrowed; `ops` is copied and may be NULL. GW_ESTORE, -ENOMEM. */
int gw_presence_open(struct gw_loop *loop, const struct gw_config *config, struct gw_store *store,
                     struct gw_journal *journal, struct gw_devices *devices,
                     const struct gw_presence_ops *ops, struct gw_presence **out) GW_MUST_CHECK;
/** Writes what is not on disk yet. Before the journal and the registry are closed. */
void gw_presence_close(struct gw_presence **p);
void gw_presence_reload(struct gw_presence *p, const struct gw_config *config);

/** A session of the device began or ended; several may live at once, the last end is a leave. */
void gw_presence_connected(struct gw_presence *p, const char *device);
/** With a declared interval, the end of the last session is sleep (left, reset, keepalive). */
void gw_presence_disconnected(struct gw_presence *p, const char *device, enum gw_cause cause);
/** A sign of life by a session. O(1). */
void gw_presence_touch(struct gw_presence *p, const char *device);
/**
 * d/<id>/heartbeat; `interval_s` 0: none declared. Without a sign of life for presence.misses
 * intervals, awake or asleep, the device has timed out (missed).
 */
void gw_presence_heartbeat(struct gw_presence *p, const char *device, uint32_t interval_s);
/** d/<id>/state: a state-change when the JSON differs; more than 4 KiB or no JSON is ignored. */
void gw_presence_state(struct gw_presence *p, const char *device, struct gw_slice json);
/** Heard on the wire (kernel, neighbour table): for devices without a session this is presence. */
void gw_presence_seen(struct gw_presence *p, const struct gw_device *d);
/** A LAN port lost its carrier, or is gone: devices last seen there are unplugged. */
void gw_presence_port_down(struct gw_presence *p, const char *ifname);
/** A verdict began: offline, quarantined. Its end lets later signs of life count again. */
void gw_presence_quarantined(struct gw_presence *p, const char *device, bool on,
                             enum gw_cause cause);
/** The daemon stops: everyone with a session leaves, cause shutdown. */
void gw_presence_shutdown(struct gw_presence *p);

void gw_presence_of(const struct gw_presence *p, const char *device,
                    struct gw_presence_status *out);
/** Devices that are online (or asleep as declared): the site's occupancy. */
size_t gw_presence_online(const struct gw_presence *p);
/** Devices for which a verdict holds that cuts them off, or an address of theirs. */
size_t gw_presence_in_quarantine(const struct gw_presence *p);

/**
 * Somebody subscribed to or left `topic` (no wildcards): $presence/topics/<topic> and its
 * occupancy, which counts devices. A device's subscriptions to one topic are counted: tell each.
 */
void gw_presence_topic(struct gw_presence *p, struct gw_slice topic, const char *device,
                       bool joined);
