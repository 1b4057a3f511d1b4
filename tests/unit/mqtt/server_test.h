/* SPDX-License-Identifier: GPL-2.0-only */
/** A whole site with an MQTT server, and devices whose streams are memory. For one test program. */
#pragma once

#include "site.h"

#include <errno.h>

#include "mqtt/mqtt.h"

/* ---- a stream that is two buffers ---- */

struct wire {
    struct gw_stream base;
    struct gw_buf in, out;
    struct gw_identity identity;
    struct gw_addr peer;
    bool paused, closing, freed;
    int close_err;
};

static inline struct wire *wire_of(const struct gw_stream *s)
{
    return GW_CONTAINER((uintptr_t)s, struct wire, base);
}

static inline void wire_none(struct gw_stream *s)
{
    (void)s;
}

static inline struct gw_slice wire_input(struct gw_stream *s)
{
    struct wire *w = wire_of(s);

    return gw_buf_len(&w->in) ? gw_buf_slice(&w->in) : GW_SLICE_NONE;
}

static inline void wire_consume(struct gw_stream *s, size_t len)
{
    gw_buf_consume(&wire_of(s)->in, len);
}

static inline int wire_write(struct gw_stream *s, struct gw_slice bytes)
{
    struct wire *w = wire_of(s);

    return w->closing ? GW_ECLOSED : gw_buf_append(&w->out, bytes);
}

static inline size_t wire_pending(const struct gw_stream *s)
{
    return gw_buf_len(&wire_of(s)->out);
}

static inline void wire_pause(struct gw_stream *s, bool paused)
{
    wire_of(s)->paused = paused;
}

static inline void wire_close(struct gw_stream *s, int err)
{
    struct wire *w = wire_of(s);

    w->closing = true;
    w->close_err = err;
    gw_buf_fini(&w->in); /* as a real one does: what was read is gone */
}

static inline const struct gw_identity *wire_identity(const struct gw_stream *s)
{
    return &wire_of(s)->identity;
}

static inline const struct gw_addr *wire_peer(const struct gw_stream *s)
{
    return &wire_of(s)->peer;
}

static inline const char *wire_text(const struct gw_stream *s)
{
    (void)s;
    return "";
}

static inline void wire_free(struct gw_stream *s)
{
    wire_of(s)->freed = true;
}

static const struct gw_stream_ops wire_ops = {
    .attached = wire_none,
    .input = wire_input,
    .consume = wire_consume,
    .write = wire_write,
    .flush = wire_none,
    .pending = wire_pending,
    .pause = wire_pause,
    .close = wire_close,
    .identity = wire_identity,
    .peer = wire_peer,
    .alpn = wire_text,
    .detail = wire_text,
    .free = wire_free,
};

/* ---- the site ---- */

static struct {
    struct gw_access *access;
    struct gw_presence *presence;
    struct gw_quarantine *quarantine;
    struct gw_hub *hub;
    struct gw_peers *peers;
    struct gw_mqtt_server *server;
    int sink;
    uint64_t ticket;
    unsigned sunk;
} at;

static inline bool hub_may_receive(void *owner, const char *device, struct gw_slice topic)
{
    (void)owner;
    return gw_access_may(at.access, device, GW_PERM_SUB, topic);
}

static inline int hub_sink(void *owner, const struct gw_msg *m, uint64_t ticket,
                           struct gw_slice label)
{
    (void)label;
    (void)owner;
    (void)m;
    at.ticket = ticket;
    at.sunk++;
    return at.sink;
}

static inline void on_verdict(void *owner, const char *device, const struct gw_verdict *v)
{
    (void)owner;
    gw_presence_quarantined(at.presence, device, v != NULL, GW_CAUSE_QUARANTINED);
    if (v)
        gw_peers_close_device(at.peers, device, GW_EQUARANTINED);
}

/* The enforcer is another process; what is asked of it is not this test's matter. */
int gw_enforcer_judge(struct gw_enforcer *e, const struct gw_hwaddr *a,
                      const struct gw_judgement *j, uint64_t token)
{
    (void)e;
    (void)a;
    (void)j;
    (void)token;
    return 0;
}

int gw_enforcer_verdicts_complete(struct gw_enforcer *e)
{
    (void)e;
    return 0;
}

static inline void rooms_open(void)
{
    static const struct gw_hub_ops hub_ops = {.may_receive = hub_may_receive, .sink = hub_sink};
    static const struct gw_presence_ops presence_ops;
    static const struct gw_quarantine_ops quarantine_ops = {.changed = on_verdict};
    const struct gw_hub_limits limits = {.queued_bytes = site.config->limits.queued_bytes};
    struct gw_peers_rooms rooms = {.config = site.config, .devices = site.devices};

    at.sink = 1;
    cr_assert_eq(gw_access_open(site.config, site.store, site.devices, &at.access), 0);
    cr_assert_eq(gw_presence_open(site.loop, site.config, site.store, site.journal, site.devices,
                                  &presence_ops, &at.presence),
                 0);
    cr_assert_eq(gw_quarantine_open(site.loop, site.config, site.store, site.journal, site.devices,
                                    &quarantine_ops, &at.quarantine),
                 0);
    cr_assert_eq(gw_hub_open(site.loop, &limits, site.store, &hub_ops, NULL, &at.hub), 0);
    rooms.hub = at.hub;
    rooms.access = at.access;
    rooms.presence = at.presence;
    rooms.quarantine = at.quarantine;
    cr_assert_eq(gw_peers_open(site.loop, &rooms, &at.peers), 0);
    cr_assert_eq(gw_mqtt_server_new(site.loop, site.config, at.peers, at.hub, &at.server), 0);
}

static inline void rooms_close(void)
{
    gw_mqtt_server_free(&at.server);
    gw_peers_close(&at.peers);
    gw_hub_close(&at.hub);
    gw_quarantine_close(&at.quarantine);
    gw_presence_close(&at.presence);
    gw_access_close(&at.access);
}

static inline void server_setup(void)
{
    site_open();
    rooms_open();
}

static inline void server_teardown(void)
{
    rooms_close();
    site_close();
}

/* ---- devices ---- */

static inline void wire_open(struct wire *w, const char *device)
{
    *w = (struct wire){.base.ops = &wire_ops, .in.max = SIZE_MAX, .out.max = 8u << 20};
    (void)snprintf(w->identity.device, sizeof(w->identity.device), "%s", device);
    cr_assert_eq(gw_mqtt_serve(at.server, &w->base), 0);
    w->base.fn(w->base.owner, GW_STREAM_READY);
}

/* What the loop would do after an end: CLOSED, once. */
static inline void wire_end(struct wire *w, int err)
{
    if (w->freed)
        return;
    w->base.error = w->closing ? w->close_err : err;
    w->base.fn(w->base.owner, GW_STREAM_CLOSED);
    cr_assert(w->freed);
}

static inline void wire_fini(struct wire *w)
{
    wire_end(w, 0);
    gw_buf_fini(&w->in);
    gw_buf_fini(&w->out);
}

static inline void say(struct wire *w, struct gw_slice bytes)
{
    if (w->closing)
        return;
    cr_assert_eq(gw_buf_append(&w->in, bytes), 0);
    if (!w->paused)
        w->base.fn(w->base.owner, GW_STREAM_DATA);
}

#define SAY(w, lit) say(w, GW_SLICE_LIT(lit))

/* What it was sent since the last look. */
static inline void hear(struct wire *w, struct gw_slice want, const char *what)
{
    struct gw_slice got = gw_buf_len(&w->out) ? gw_buf_slice(&w->out) : GW_SLICE_NONE;
    char wanted[256] = "", seen[256] = "";

    gw_hex(want.ptr, GW_MIN(want.len, (size_t)120), wanted);
    gw_hex(got.ptr, GW_MIN(got.len, (size_t)120), seen);
    cr_expect(gw_slice_eq(got, want), "%s: wanted %s, got %s", what, wanted, seen);
    gw_buf_consume(&w->out, got.len);
}

#define HEAR(w, lit) hear(w, GW_SLICE_LIT(lit), #lit)

static inline void turn(void)
{
    for (int i = 0; i < 3; i++)
        site_settle();
}

/* Client "c", keep-alive 60 s; the CONNACK is taken. */
static inline void join(struct wire *w, const char *device, uint8_t version, bool clean,
                        uint32_t expiry_s)
{
    uint8_t room[128];
    struct gw_writer out = gw_writer_of(room, sizeof(room));
    struct gw_mqtt_connect c = {
        .version = version, .clean = clean, .keep_alive_s = 60, .client_id = GW_SLICE_LIT("c")};

    if (expiry_s)
        GW_MQTT_SET(c.props, session_expiry, expiry_s);
    gw_mqtt_connect_encode(&out, &c);
    wire_open(w, device);
    say(w, gw_writer_done(&out));
    cr_assert_geq(gw_buf_len(&w->out), 4, "no CONNACK");
    cr_assert_eq(gw_buf_slice(&w->out).ptr[0], 0x20);
    cr_assert_eq(gw_buf_slice(&w->out).ptr[3], 0, "refused: %x", gw_buf_slice(&w->out).ptr[3]);
    gw_buf_consume(&w->out, gw_buf_len(&w->out));
}

static inline enum gw_cause cause_of(const char *device)
{
    struct gw_presence_status s;

    gw_presence_of(at.presence, device, &s);
    return s.cause;
}

static inline bool online(const char *device)
{
    struct gw_presence_status s;

    gw_presence_of(at.presence, device, &s);
    return s.status == GW_ONLINE;
}

static inline void grant(const char *device, const char *topic, unsigned permissions)
{
    char name[64];
    struct gw_grant g = {.topic = name, .permissions = permissions};

    (void)snprintf(name, sizeof(name), "%s", topic);
    if (!gw_devices_get(site.devices, device))
        (void)proved(device, NULL, 0);
    cr_assert_eq(gw_access_set_grants(at.access, device, &g, 1, NULL, NULL), 0);
}

/* ---- packets that many tests send ---- */

#define CONNECT_311 "\x10\x0d\0\4MQTT\4\2\0\x3c\0\1c"
#define CONNECT_5 "\x10\x0e\0\4MQTT\5\2\0\x3c\0\0\1c"
/* receive maximum 256, topic alias maximum 16, maximum packet size 262144 + 4096 */
#define CONNACK_5 "\x20\x0e\0\0\x0b\x21\1\0\x22\0\x10\x27\0\4\x10\0"

#define WILL_311 "\x10\x1a\0\4MQTT\4\6\0\x3c\0\1c\0\7d/cam/w\0\2by"
/* session expiry 60, will delay 5 */
#define WILL_5 "\x10\x26\0\4MQTT\5\4\0\x3c\5\x11\0\0\0\x3c\0\1c\5\x18\0\0\0\5\0\7d/cam/w\0\2by"

static inline void watch_wills(struct wire *w)
{
    grant("tv", "d/cam/#", GW_PERM_SUB);
    join(w, "tv", GW_MQTT_V311, true, 0);
    SAY(w, "\x82\x0c\0\1\0\7d/cam/#\0");
    HEAR(w, "\x90\3\0\1\0");
}
