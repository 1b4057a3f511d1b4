/* SPDX-License-Identifier: GPL-2.0-only */
#include "presence/presence_priv.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"

#define POLL_MIN_MS 4000 /* who went offline is looked for on the wire, ever more rarely */
#define GRACE_MS 30000   /* after a restart: time to come back before it is a leave */
#define INTERVAL_MAX_S (366 * 86400) /* declared sleep */

const char *gw_status_text(enum gw_status s)
{
    switch (s) {
    case GW_OFFLINE:
        return "offline";
    case GW_ONLINE:
        return "online";
    case GW_ASLEEP:
        return "asleep";
    }
    return "";
}

const char *gw_cause_text(enum gw_cause c)
{
    static const char *const texts[] = {
#define X(name, text) [GW_CAUSE_##name] = text,
        GW_CAUSES(X)
#undef X
    };

    return (size_t)c < GW_COUNT(texts) ? texts[c] : "";
}

/* ---- entries ---- */

static void on_timer(void *owner);

struct entry *presence_entry(struct gw_presence *p, const char *id)
{
    struct entry *e = gw_map_get_str(&p->entries, id);
    size_t len = strlen(id);

    if (e || len > GW_DEVICE_ID_MAX)
        return e;
    e = calloc(1, sizeof(*e) + len + 1);
    if (!e)
        return NULL;
    memcpy(e->id, id, len + 1);
    e->presence = p;
    e->cause = GW_CAUSE_LEFT;
    gw_timer_init(&e->timer, on_timer, e);
    gw_list_init(&e->dirty);
    gw_list_init(&e->on_port);
    if (gw_map_put(&p->entries, gw_slice_str(e->id), e)) {
        free(e);
        return NULL;
    }
    return e;
}

static struct entry *entry_of(const struct gw_presence *p, const char *id)
{
    return gw_map_get_str(&p->entries, id);
}

static void entry_free(struct entry *e)
{
    gw_timer_stop(&e->timer);
    gw_list_remove(&e->dirty);
    gw_list_remove(&e->on_port);
    free(e->state);
    free(e);
}

static uint64_t now_ms(const struct entry *e)
{
    return gw_loop_now_ms(e->presence->loop);
}

/* ---- silence ---- */

/* How long the device may be silent; 0: as long as its session lasts. */
static uint64_t limit_ms(const struct entry *e)
{
    const struct gw_config *c = e->presence->config;

    if (e->unconfirmed)
        return GRACE_MS;
    if (e->interval_s)
        return (uint64_t)e->interval_s * c->presence.misses * 1000;
    return e->by_session ? 0 : (uint64_t)c->presence.timeout_s * 1000;
}

/* Only when the deadline came nearer: a heartbeat moves `sign_ms` and leaves the timer alone. */
static void watch(struct entry *e)
{
    uint64_t limit = limit_ms(e);

    if (limit && (!gw_timer_armed(&e->timer) || e->timer.due_ms > now_ms(e) + limit))
        gw_timer_start(e->presence->loop, &e->timer, limit);
}

static uint64_t wire_seen(const struct entry *e)
{
    const struct gw_presence *p = e->presence;
    const struct gw_device *d = gw_devices_get(p->devices, e->id);

    return d && p->ops.wire_seen ? p->ops.wire_seen(p->ops.owner, d) : 0;
}

/* ---- transitions ---- */

static void enter(struct entry *e, enum gw_status status, enum gw_cause cause, const char *action)
{
    struct gw_presence *p = e->presence;

    p->online += (status != GW_OFFLINE) - (size_t)(e->status != GW_OFFLINE);
    e->status = (uint8_t)status;
    e->cause = (uint8_t)cause;
    e->since_ms = gw_clock_wall_ms();
    e->unconfirmed = false;
    presence_persist_mark(e);
    presence_announce(e, action);
}

/* Ask the wire now and then whether it is back; a sighting may tell sooner. */
static void look_out(struct entry *e)
{
    e->gone_ms = now_ms(e);
    e->poll_ms = POLL_MIN_MS;
    if (e->by_session)
        gw_timer_stop(&e->timer);
    else
        gw_timer_start(e->presence->loop, &e->timer, e->poll_ms);
}

static void go_offline(struct entry *e, enum gw_cause cause)
{
    if (e->status == GW_OFFLINE)
        return;
    cause = presence_outage_judge(e, cause);
    look_out(e);
    enter(e, GW_OFFLINE, cause, presence_action(cause));
}

static bool welcome(const struct entry *e)
{
    const struct gw_device *d = gw_devices_get(e->presence->devices, e->id);

    return !e->quarantined && d && d->state != GW_DEVICE_REVOKED;
}

/* A sign of life just now, by session or wire. */
static void come_online(struct entry *e)
{
    e->sign_ms = now_ms(e);
    if (!welcome(e) || (e->status == GW_ONLINE && !e->unconfirmed))
        return;
    enter(e, GW_ONLINE, GW_CAUSE_CONNECT, e->status == GW_ASLEEP ? "state-change" : "join");
    gw_timer_stop(&e->timer);
    watch(e);
}

static void look_again(struct entry *e)
{
    uint64_t most = (uint64_t)e->presence->config->presence.timeout_s * 1000;

    if (e->by_session)
        return;
    if (welcome(e) && wire_seen(e) > e->gone_ms + 10) { /* 10: the kernel's clock is coarse */
        come_online(e);
        return;
    }
    e->poll_ms = GW_MIN(e->poll_ms * 2, GW_MAX(most, POLL_MIN_MS));
    gw_timer_start(e->presence->loop, &e->timer, e->poll_ms);
}

static void on_timer(void *owner)
{
    struct entry *e = owner;
    uint64_t limit = limit_ms(e), sign = e->sign_ms, now = now_ms(e);

    if (e->status == GW_OFFLINE) {
        look_again(e);
        return;
    }
    if (!e->by_session)
        sign = GW_MAX(sign, wire_seen(e));
    if (limit && now >= sign + limit)
        go_offline(e, e->unconfirmed ? GW_CAUSE_SHUTDOWN : GW_CAUSE_MISSED);
    else if (limit)
        gw_timer_start(e->presence->loop, &e->timer, sign + limit - now);
}

/* ---- sessions ---- */

void gw_presence_connected(struct gw_presence *p, const char *device)
{
    struct entry *e = presence_entry(p, device);

    if (!e)
        return;
    if (!e->by_session)
        presence_persist_mark(e);
    e->sessions++;
    e->by_session = true;
    come_online(e);
}

static bool may_sleep(const struct entry *e, enum gw_cause cause)
{
    return e->interval_s && e->status == GW_ONLINE &&
           (cause == GW_CAUSE_LEFT || cause == GW_CAUSE_RESET || cause == GW_CAUSE_KEEPALIVE);
}

void gw_presence_disconnected(struct gw_presence *p, const char *device, enum gw_cause cause)
{
    struct entry *e = entry_of(p, device);

    if (!e || !e->sessions || --e->sessions)
        return;
    if (may_sleep(e, cause)) {
        enter(e, GW_ASLEEP, GW_CAUSE_ASLEEP, "state-change");
        watch(e);
    } else {
        go_offline(e, cause);
    }
}

void gw_presence_touch(struct gw_presence *p, const char *device)
{
    struct entry *e = entry_of(p, device);

    if (!e)
        return;
    e->sign_ms = now_ms(e);
    if (e->status != GW_ONLINE && e->sessions)
        come_online(e);
}

void gw_presence_heartbeat(struct gw_presence *p, const char *device, uint32_t interval_s)
{
    struct entry *e = entry_of(p, device);

    interval_s = GW_MIN(interval_s, INTERVAL_MAX_S);
    gw_presence_touch(p, device);
    if (!e || !e->sessions)
        return;
    if (e->interval_s != interval_s) {
        e->interval_s = interval_s;
        presence_persist_mark(e);
    }
    if (e->status != GW_OFFLINE)
        watch(e);
}

/* One form of equal values: compact, keys sorted. NULL when it is no JSON. */
static char *canonical(struct gw_slice json)
{
    json_t *value;
    char *text;

    if (json.len == 0 || json.len > STATE_MAX)
        return NULL;
    value = json_loadb((const char *)json.ptr, json.len, JSON_DECODE_ANY, NULL);
    text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    json_decref(value);
    return text;
}

void gw_presence_state(struct gw_presence *p, const char *device, struct gw_slice json)
{
    struct entry *e = entry_of(p, device);
    char *text = e && !e->quarantined ? canonical(json) : NULL;

    gw_presence_touch(p, device);
    if (!text || (e->state && strcmp(e->state, text) == 0)) {
        free(text);
        return;
    }
    free(e->state);
    e->state = text;
    presence_persist_mark(e);
    presence_announce(e, "state-change");
}

/* ---- the wire ---- */

static struct port *port_make(struct gw_presence *p, const char *ifname)
{
    struct port *port = gw_map_get_str(&p->ports, ifname);

    if (port)
        return port;
    port = calloc(1, sizeof(*port));
    if (!port)
        return NULL;
    memcpy(port->ifname, ifname, strnlen(ifname, sizeof(port->ifname) - 1));
    gw_list_init(&port->entries);
    if (gw_map_put(&p->ports, gw_slice_str(port->ifname), port)) {
        free(port);
        return NULL;
    }
    return port;
}

/* Where the device was heard last. */
static const char *port_name(const struct gw_device *d)
{
    const struct gw_device_addr *newest = NULL;

    for (size_t i = 0; i < d->addr_count; i++)
        if (d->addrs[i].ifname[0] && (!newest || d->addrs[i].seen_ms >= newest->seen_ms))
            newest = &d->addrs[i];
    return newest ? newest->ifname : "";
}

static void move_to_port(struct entry *e, const char *ifname)
{
    struct port *port;

    if (!*ifname || (e->port && strcmp(e->port->ifname, ifname) == 0))
        return;
    port = port_make(e->presence, ifname);
    if (!port)
        return;
    gw_list_remove(&e->on_port);
    gw_list_append(&port->entries, &e->on_port);
    e->port = port;
}

void gw_presence_seen(struct gw_presence *p, const struct gw_device *d)
{
    struct entry *e = presence_entry(p, d->id);

    if (!e)
        return;
    move_to_port(e, port_name(d));
    if (!e->by_session)
        come_online(e);
}

void gw_presence_port_down(struct gw_presence *p, const char *ifname)
{
    struct port *port = gw_map_get_str(&p->ports, ifname);

    if (!port)
        return;
    GW_LIST_EACH(&port->entries, node)
    {
        struct entry *e = GW_LIST_ENTRY(node, struct entry, on_port);

        gw_list_remove(node);
        e->port = NULL;
        if (e->status == GW_ONLINE) /* who sleeps was not expected to be heard */
            go_offline(e, GW_CAUSE_UNPLUGGED);
    }
}

/* ---- verdicts and the life cycle ---- */

void gw_presence_quarantined(struct gw_presence *p, const char *device, bool on,
                             enum gw_cause cause)
{
    struct entry *e = on ? presence_entry(p, device) : entry_of(p, device);

    if (!e || e->quarantined == on)
        return;
    e->quarantined = on;
    p->quarantined += on ? 1 : -1;
    if (on)
        go_offline(e, cause);
    else if (e->status == GW_OFFLINE)
        look_out(e); /* what it sent while cut off is no sign of life */
}

static void drop(struct gw_presence *p, const char *id)
{
    struct entry *e = entry_of(p, id);

    if (!e)
        return;
    go_offline(e, GW_CAUSE_LEFT);
    p->quarantined -= e->quarantined;
    gw_map_remove(&p->entries, gw_slice_str(e->id));
    presence_persist_gone(p, e->id);
    entry_free(e);
}

static void on_device(void *owner, const struct gw_device *d, enum gw_device_change what,
                      const struct gw_hwaddr *addr, const struct gw_device *from)
{
    struct gw_presence *p = owner;
    struct entry *e;

    (void)addr;
    switch (what) {
    case GW_DEVICE_CHANGED:
        e = entry_of(p, d->id);
        if (e && d->state == GW_DEVICE_REVOKED)
            go_offline(e, GW_CAUSE_REVOKED);
        return;
    case GW_DEVICE_MERGED:
        drop(p, from->id);
        return;
    case GW_DEVICE_REMOVED:
        drop(p, d->id);
        return;
    case GW_DEVICE_ADDED:
    case GW_DEVICE_ADDR_ADDED:
    case GW_DEVICE_ADDR_REMOVED:
        return;
    }
}

void gw_presence_shutdown(struct gw_presence *p)
{
    struct entry *e;
    size_t cursor = 0;

    while ((e = gw_map_next(&p->entries, &cursor)))
        if (e->status == GW_ONLINE && e->by_session)
            go_offline(e, GW_CAUSE_SHUTDOWN);
}

/* ---- questions ---- */

void gw_presence_of(const struct gw_presence *p, const char *device, struct gw_presence_status *out)
{
    const struct entry *e = entry_of(p, device);

    *out = (struct gw_presence_status){GW_OFFLINE, GW_CAUSE_LEFT, 0, ""};
    if (e)
        *out = (struct gw_presence_status){(enum gw_status)e->status, (enum gw_cause)e->cause,
                                           e->since_ms, e->state ? e->state : ""};
}

size_t gw_presence_online(const struct gw_presence *p)
{
    return p->online;
}

size_t gw_presence_in_quarantine(const struct gw_presence *p)
{
    return p->quarantined;
}

/* ---- opening ---- */

/* The silence before the restart does not count: nobody listened. */
static void resume_all(struct gw_presence *p)
{
    struct entry *e;
    size_t cursor = 0;

    while ((e = gw_map_next(&p->entries, &cursor))) {
        e->sign_ms = e->gone_ms = gw_loop_now_ms(p->loop);
        e->poll_ms = (uint64_t)p->config->presence.timeout_s * 1000;
        if (e->status == GW_OFFLINE && !e->by_session) {
            /* not all in the same tick, now or later */
            gw_timer_start(p->loop, &e->timer, e->poll_ms * (cursor % 64 + 1) / 64);
            continue;
        }
        e->unconfirmed = e->status == GW_ONLINE && e->by_session;
        if (e->status != GW_OFFLINE) {
            p->online++;
            watch(e);
        }
    }
}

void gw_presence_reload(struct gw_presence *p, const struct gw_config *config)
{
    struct entry *e;
    size_t cursor = 0;

    p->config = config;
    while ((e = gw_map_next(&p->entries, &cursor)))
        if (e->status != GW_OFFLINE)
            watch(e);
}

int gw_presence_open(struct gw_loop *loop, const struct gw_config *config, struct gw_store *store,
                     struct gw_journal *journal, struct gw_devices *devices,
                     const struct gw_presence_ops *ops, struct gw_presence **out)
{
    GW_CLEANUP(gw_presence_close) struct gw_presence *p = calloc(1, sizeof(*p));
    int err;

    if (!p)
        return -ENOMEM;
    p->loop = loop;
    p->config = config;
    p->store = store;
    p->journal = journal;
    p->devices = devices;
    if (ops)
        p->ops = *ops;
    p->listener = (struct gw_device_listener){.changed = on_device, .owner = p};
    presence_announce_init(p);
    presence_persist_init(p);
    err = presence_persist_load(p);
    if (err)
        return err;
    resume_all(p);
    gw_devices_listen(devices, &p->listener);
    *out = GW_TAKE(p);
    return 0;
}

void gw_presence_close(struct gw_presence **presence)
{
    struct gw_presence *p = GW_TAKE(*presence);
    struct entry *e;
    struct port *port;
    size_t cursor = 0;

    if (!p)
        return;
    gw_devices_unlisten(&p->listener);
    presence_announce_fini(p);
    presence_persist_finish(p);
    while ((e = gw_map_next(&p->entries, &cursor)))
        entry_free(e);
    for (cursor = 0; (port = gw_map_next(&p->ports, &cursor));)
        free(port);
    presence_topics_fini(p);
    gw_map_fini(&p->entries);
    gw_map_fini(&p->ports);
    free(p);
}
