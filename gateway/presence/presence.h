/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Heartbeats, sessions and sightings → join, leave, timeout, state-change, each with its cause. One
 * timer a device, re-armed only when it fires: a heartbeat is one store (O(1)). Every event goes to
 * the journal; the last status is in the database, so a restart knows who was there. Loop thread.
 */
#pragma once

#include "config/config.h"
#include "device/device.h"
#include "journal/journal.h"

enum gw_status { GW_OFFLINE, GW_ONLINE, GW_ASLEEP };
#define GW_CAUSES(X)                                                                               \
    X(CONNECT, "connect") X(LEFT, "left") X(RESET, "reset") X(KEEPALIVE, "keepalive")              \
    X(MISSED, "missed") X(UNPLUGGED, "unplugged") X(ASLEEP, "asleep")                              \
    X(QUARANTINED, "quarantined") X(REVOKED, "revoked") X(DIVERTED, "diverted")                    \
    X(OUTAGE, "outage") X(SHUTDOWN, "shutdown")
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
    int64_t since_ms; /**< wall clock */
    const char *state; /**< the last d/<id>/state as JSON text, "" : none; borrowed */
};

struct gw_presence;
int gw_presence_open(struct gw_loop *loop, const struct gw_config *config, struct gw_store *store,
                     struct gw_journal *journal, struct gw_devices *devices,
                     const struct gw_presence_ops *ops, struct gw_presence **out) GW_MUST_CHECK;
void gw_presence_close(struct gw_presence **p);
void gw_presence_reload(struct gw_presence *p, const struct gw_config *config);

/** A session of the device began or ended; several may live at once, the last end is a leave. */
void gw_presence_connected(struct gw_presence *p, const char *device);
void gw_presence_disconnected(struct gw_presence *p, const char *device, enum gw_cause cause);
/** A sign of life by a session. */
void gw_presence_touch(struct gw_presence *p, const char *device);
/** d/<id>/heartbeat; `interval_s` 0: none declared. */
void gw_presence_heartbeat(struct gw_presence *p, const char *device, uint32_t interval_s);
/** d/<id>/state: a state-change when the JSON differs; more than 4 KiB or no JSON is ignored. */
void gw_presence_state(struct gw_presence *p, const char *device, struct gw_slice json);
/** Heard on the wire (kernel, neighbour table): for devices without a session this is presence. */
void gw_presence_seen(struct gw_presence *p, const struct gw_device *d);
/** A LAN port lost its carrier, or is gone: devices last seen there are unplugged. */
void gw_presence_port_down(struct gw_presence *p, const char *ifname);
/** A verdict began: offline, quarantined. Its end lets later signs of life count again. */
void gw_presence_quarantined(struct gw_presence *p, const char *device, bool on, enum gw_cause cause);
/** The daemon stops: everyone with a session leaves, cause shutdown. */
void gw_presence_shutdown(struct gw_presence *p);

void gw_presence_of(const struct gw_presence *p, const char *device, struct gw_presence_status *out);
/** Devices that are online (or asleep as declared): the site's occupancy. */
size_t gw_presence_online(const struct gw_presence *p);

/** Somebody subscribed to or left `topic` (no wildcards): $presence/topics/<topic> and its occupancy. */
void gw_presence_topic(struct gw_presence *p, struct gw_slice topic, const char *device, bool joined);
