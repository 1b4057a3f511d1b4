/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "loop/loop.h"
#include "presence/presence.h"

#define STATE_MAX 4096

struct port;

/* One device that was ever present. */
struct entry {
    struct gw_presence *presence;
    struct gw_timer timer; /* armed: fires no later than the status may change by silence */
    struct gw_list dirty, on_port;
    struct port *port;
    char *state;         /* JSON text; NULL: none */
    uint64_t sign_ms;    /* monotonic: the last sign of life */
    uint64_t gone_ms;    /* monotonic: packets before do not count as a return */
    uint64_t poll_ms;    /* how long until the wire is asked again about who is offline */
    int64_t since_ms;    /* wall clock */
    uint32_t interval_s; /* declared by its heartbeat; 0: none */
    uint32_t sessions;
    uint32_t lost_in; /* the outage window in which its silence was counted */
    uint8_t status, cause;
    bool by_session; /* had a session once: the wire alone says nothing */
    bool quarantined;
    bool unconfirmed; /* online before the restart, not heard since */
    char id[];
};

/* A LAN port and who was last seen on it. */
struct port {
    char ifname[IFNAMSIZ];
    struct gw_list entries;
};

/* What an `interval` event will say: ids up to a limit, and how many. */
struct delta {
    json_t *ids;
    size_t count;
};

struct gw_presence {
    struct gw_loop *loop;
    const struct gw_config *config;
    struct gw_store *store;
    struct gw_journal *journal;
    struct gw_devices *devices;
    struct gw_device_listener listener;
    struct gw_presence_ops ops;
    struct gw_map entries, ports;
    size_t online, quarantined;

    struct {
        struct gw_timer timer;
        struct delta joined, left, timed_out;
    } interval;

    struct {
        uint64_t since_ms;
        size_t before, lost;
        uint32_t window; /* counts up, so that a device counts once in each */
        bool declared;
    } outage;

    struct {
        struct gw_map by_name, members;
    } topics;

    struct {
        struct gw_timer timer;
        struct gw_list dirty, gone;
        bool writing, closing;
    } disk;
};

/* presence.c */
struct entry *presence_entry(struct gw_presence *p, const char *id);

/* announce.c */
const char *presence_action(enum gw_cause offline_cause);
void presence_announce_init(struct gw_presence *p);
void presence_announce_fini(struct gw_presence *p);
/* Note the event; over announce_max it is quiet and counts for the next interval. */
void presence_announce(struct entry *e, const char *action);
/* The cause under which `e` goes offline: `outage` once too many went at once. */
enum gw_cause presence_outage_judge(struct entry *e, enum gw_cause cause);

/* topics.c */
void presence_topics_fini(struct gw_presence *p);

/* persist.c */
void presence_persist_init(struct gw_presence *p);
int presence_persist_load(struct gw_presence *p);
void presence_persist_mark(struct entry *e);
void presence_persist_gone(struct gw_presence *p, const char *id);
void presence_persist_finish(struct gw_presence *p);
