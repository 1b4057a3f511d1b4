/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The server's side of whole MQTT sessions: two devices with two connections each against the real
 * hub, peer, access, presence and quarantine, over streams and a database in memory. The input is a
 * script. Each step is one byte (low four bits: enum step; bits 4 and 5: the connection, 0 and 1 of
 * "cam", 2 and 3 of "tv") and its arguments; what it lacks is zero.
 *
 * Checked beside the sanitizers: whatever is sent is a packet of a server, whole, in the client's
 * version, and allowed at that moment; what a restart or a kill finds again of durable sessions and
 * retained messages is no less than what was on the disk; nothing is left when everybody is gone.
 */
#include "fake_clock.h"
#include "memory_store.h"
#include "pipe.h"

#include <sys/random.h>

#include "base/log.h"
#include "config/config.h"
#include "hub/hub_priv.h"
#include "journal/journal.h"
#include "mqtt/mqtt.h"

#define WIRES 4
#define OUT_MAX 8192
#define OUT_WEIGHT 128 /* so that a few unread packets already count as a full queue */
#define TURNS_MAX 64
#define KEPT_MAX 32
#define MESSAGE_MAX 600
#define STARTS_MAX 3 /* of the gateway in one script: they take most of its time */

enum step {
    SAY,      /* length, bytes: the client sends them; a connection begins when there is none */
    SPELL,    /* the same, a byte at a time */
    LOSE,     /* the connection breaks */
    LEAVE,    /* the transport is closed in order */
    PASS,     /* n: n + 1 quarter seconds go by */
    DISK,     /* the disk hangs, or is itself again */
    READ,     /* the client stops reading, or begins again */
    SINK,     /* n: how the uplink answers, see sink_step() */
    ADMIN,    /* n: what somebody decides about the device, see admin_step() */
    RESTART,  /* the gateway stops in order, and starts */
    CRASH,    /* it is killed; what was not on the disk is lost */
    SHUTDOWN, /* everybody is told to leave */
    STEPS
};

/* ---- the site ---- */

static struct {
    struct gw_loop *loop;
    struct gw_store *store;
    struct gw_journal *journal;
    struct gw_devices *devices;
    struct gw_config *config;
    struct gw_access *access;
    struct gw_presence *presence;
    struct gw_quarantine *quarantine;
    struct gw_hub *hub;
    struct gw_peers *peers;
    struct gw_mqtt_server *server;
    int sink;
    uint64_t ticket;
    bool disk_hangs;
    unsigned starts;
} at;

struct wire {
    struct pipe pipe;
    bool open, stalled;
    bool welcomed;   /* CONNACK was seen */
    bool goodbye;    /* nothing may follow */
    uint8_t version; /* of what it is sent */
};

static struct wire wires[WIRES];

/* The same bytes in every run, so that an input always means the same. */
ssize_t getrandom(void *to, size_t len, unsigned flags)
{
    static uint64_t state;
    uint8_t *out = to;

    (void)flags;
    for (size_t i = 0; i < len; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        out[i] = (uint8_t)(state >> 56);
    }
    return (ssize_t)len;
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

static bool may_receive(void *owner, const char *device, struct gw_slice topic)
{
    (void)owner;
    return gw_access_may(at.access, device, GW_PERM_SUB, topic);
}

static int sink(void *owner, const struct gw_msg *m, uint64_t ticket, struct gw_slice label)
{
    (void)owner;
    (void)m;
    MUST(label.len <= GW_HUB_LABEL_MAX && (ticket || !label.len));
    if (ticket)
        at.ticket = ticket;
    return at.sink;
}

static void on_verdict(void *owner, const char *device, const struct gw_verdict *v)
{
    (void)owner;
    gw_presence_quarantined(at.presence, device, v != NULL, GW_CAUSE_QUARANTINED);
    if (v)
        gw_peers_close_device(at.peers, device, GW_EQUARANTINED);
}

/* Small limits, so that short inputs reach them. */
static void configure(void)
{
    static const struct {
        const char *topic;
        unsigned permissions;
    } grants[] = {
        {"g/#", GW_PERM_PUB | GW_PERM_SUB}, {"s/#", GW_PERM_SUB}, {"$SYS/#", GW_PERM_SUB}};
    struct gw_config *c;

    gw_log_level(GW_LOG_ERROR - 1);
    MUST(gw_config_defaults(&at.config) == 0);
    c = at.config;
    c->limits.connections = 3;
    c->limits.publish_per_s = 8;
    c->limits.queued_bytes = 3000;
    c->access.grant_count = GW_COUNT(grants);
    for (size_t i = 0; i < GW_COUNT(grants); i++) {
        c->access.grants[i] = (struct gw_config_grant){.class = strdup(""),
                                                       .topic = strdup(grants[i].topic),
                                                       .permissions = grants[i].permissions};
    }
}

static void rise(void)
{
    static const struct gw_hub_ops hub_ops = {.may_receive = may_receive, .sink = sink};
    static const struct gw_quarantine_ops quarantine_ops = {.changed = on_verdict};
    static const struct gw_presence_ops presence_ops;
    const struct gw_hub_limits limits = {.queued_bytes = at.config->limits.queued_bytes,
                                         .retained_bytes = 8000,
                                         .retained_count = 16};
    struct gw_peers_rooms rooms = {.config = at.config};

    at.sink = 1;
    MUST(gw_loop_new(&at.loop) == 0);
    MUST(gw_store_open(at.loop, "", &at.store) == 0);
    MUST(gw_journal_open(at.loop, at.store, 1000, &at.journal) == 0);
    MUST(gw_devices_open(at.loop, at.store, 10, &at.devices) == 0);
    MUST(gw_access_open(at.config, at.store, at.devices, &at.access) == 0);
    MUST(gw_presence_open(at.loop, at.config, at.store, at.journal, at.devices, &presence_ops,
                          &at.presence) == 0);
    MUST(gw_quarantine_open(at.loop, at.config, at.store, at.journal, at.devices, &quarantine_ops,
                            &at.quarantine) == 0);
    MUST(gw_hub_open(at.loop, &limits, at.store, &hub_ops, NULL, &at.hub) == 0);
    rooms.hub = at.hub;
    rooms.access = at.access;
    rooms.presence = at.presence;
    rooms.quarantine = at.quarantine;
    rooms.devices = at.devices;
    MUST(gw_peers_open(at.loop, &rooms, &at.peers) == 0);
    MUST(gw_mqtt_server_new(at.loop, at.config, at.peers, at.hub, &at.server) == 0);
}

static void fall(void)
{
    gw_store_flush(at.store); /* as the worker does: what is under way ends while all are here */
    gw_mqtt_server_free(&at.server);
    gw_peers_close(&at.peers);
    gw_hub_close(&at.hub);
    gw_quarantine_close(&at.quarantine);
    gw_presence_close(&at.presence);
    gw_access_close(&at.access);
    gw_devices_close(&at.devices);
    gw_journal_close(&at.journal);
    gw_store_close(&at.store);
    gw_loop_free(&at.loop);
}

/* ---- what the devices hear ---- */

static void check_body(struct wire *w, uint8_t head, struct gw_slice body)
{
    enum gw_mqtt_type type = (enum gw_mqtt_type)(head >> 4);
    struct gw_mqtt_disconnect bye;
    struct gw_mqtt_publish pub;
    struct gw_mqtt_suback sub;
    struct gw_mqtt_ack ack;

    switch (type) {
    case GW_MQTT_PUBLISH:
        MUST(gw_mqtt_publish_decode(body, head & 15, w->version, &pub) == 0);
        MUST(!pub.topic.len || gw_topic_valid(pub.topic));
        MUST(pub.topic.len || GW_MQTT_HAS(pub.props, topic_alias));
        return;
    case GW_MQTT_PUBACK:
    case GW_MQTT_PUBREC:
    case GW_MQTT_PUBREL:
    case GW_MQTT_PUBCOMP:
        MUST(gw_mqtt_ack_decode(body, type, w->version, &ack) == 0);
        return;
    case GW_MQTT_SUBACK:
    case GW_MQTT_UNSUBACK:
        MUST(gw_mqtt_suback_decode(body, type, w->version, &sub) == 0);
        return;
    case GW_MQTT_PINGRESP:
        MUST(body.len == 0);
        return;
    case GW_MQTT_DISCONNECT:
        MUST(w->version == GW_MQTT_V5);
        MUST(gw_mqtt_disconnect_decode(body, type, w->version, &bye) == 0);
        w->goodbye = true;
        return;
    default:
        MUST(!"a packet that only a client sends");
    }
}

/* MQTT 5 has a block of properties, and 3.1.1 has two bytes. */
static void check_connack(struct wire *w, struct gw_slice body)
{
    struct gw_mqtt_connack ack;

    w->version = body.len == 2 ? GW_MQTT_V311 : GW_MQTT_V5;
    MUST(gw_mqtt_connack_decode(body, w->version, &ack) == 0);
    MUST(!(ack.code && ack.session_present)); /* [MQTT-3.2.2-6] */
    w->welcomed = true;
    w->goodbye = ack.code != 0;
}

static void check_packet(struct wire *w, uint8_t head, struct gw_slice body)
{
    MUST(!w->goodbye);
    if (!w->welcomed) {
        MUST(head == GW_MQTT_CONNACK << 4); /* [MQTT-3.2.0-1] */
        check_connack(w, body);
    } else {
        check_body(w, head, body);
    }
}

static void hear(struct wire *w)
{
    struct gw_slice left = gw_buf_len(&w->pipe.out) ? gw_buf_slice(&w->pipe.out) : GW_SLICE_NONE;
    struct gw_slice body;
    uint8_t head;

    while (gw_mqtt_frame(left, GW_MQTT_REMAINING_MAX, &head, &body) == 0) {
        size_t used = (size_t)(body.ptr - left.ptr) + body.len;

        check_packet(w, head, body);
        left = GW_SLICE(left.ptr + used, left.len - used);
    }
    MUST(left.len == 0 || w->pipe.closing); /* half a packet at most where the queue was full */
    pipe_drained(&w->pipe);
}

/* ---- the loop ---- */

static bool turn_wire(struct wire *w)
{
    bool more = false;

    if (!w->open)
        return false;
    if (!w->pipe.freed && w->pipe.closing) {
        pipe_end(&w->pipe, 0);
        MUST(w->pipe.freed);
        more = true;
    }
    if (!w->pipe.freed)
        more |= pipe_turn(&w->pipe);
    if (gw_buf_len(&w->pipe.out) && (!w->stalled || w->pipe.freed)) {
        hear(w);
        more = true;
    }
    if (w->pipe.freed) {
        pipe_fini(&w->pipe);
        *w = (struct wire){0};
    }
    return more;
}

static void settle(void)
{
    bool more = true;

    for (unsigned i = 0; more && i < TURNS_MAX; i++) {
        more = !at.disk_hangs && store_work();
        for (unsigned n = 0; n < WIRES; n++)
            more |= turn_wire(&wires[n]);
        MUST(gw_loop_turn(at.loop, 0) == 0);
    }
}

/* ---- steps ---- */

static void open_wire(struct wire *w)
{
    const char *device = w - wires < WIRES / 2 ? "cam" : "tv";

    *w = (struct wire){.open = true};
    pipe_init(&w->pipe, OUT_MAX, OUT_WEIGHT);
    (void)snprintf(w->pipe.identity.device, sizeof(w->pipe.identity.device), "%s", device);
    if (gw_mqtt_serve(at.server, &w->pipe.base) == 0 && !w->pipe.freed)
        w->pipe.base.fn(w->pipe.base.owner, GW_STREAM_READY);
}

static void say_step(struct wire *w, struct gw_slice bytes, bool spell)
{
    size_t step = spell ? 1 : bytes.len;

    if (!w->open)
        open_wire(w);
    for (size_t i = 0; i < bytes.len; i += step) {
        pipe_feed(&w->pipe, GW_SLICE(bytes.ptr + i, step));
        (void)pipe_turn(&w->pipe);
    }
}

static void end_step(struct wire *w, int err)
{
    if (w->open)
        pipe_end(&w->pipe, err);
}

static void pass_step(unsigned n)
{
    for (unsigned i = 0; i <= n; i += 4) {
        pass_ms(at.loop, 250 * GW_MIN(4u, n + 1 - i));
        if (!at.disk_hangs)
            (void)store_work();
    }
}

static void sink_step(unsigned n)
{
    switch (n % 5) {
    case 0:
        at.sink = 1;
        return;
    case 1:
        at.sink = 0;
        return;
    case 2:
        at.sink = GW_ESPOOLFULL;
        return;
    case 3:
        gw_hub_durable(at.hub, at.ticket);
        return;
    case 4:
        gw_hub_failed(at.hub, at.ticket, GW_ESPOOLFULL);
        return;
    }
}

static void admin_step(const char *device, unsigned n)
{
    switch (n % 7) {
    case 0:
        (void)!gw_quarantine_device(at.quarantine, device, GW_MODE_ISOLATE, 5, "", "admin", NULL,
                                    NULL);
        return;
    case 1:
        (void)!gw_quarantine_release_device(at.quarantine, device, "admin", NULL, NULL);
        return;
    case 2:
        (void)!gw_devices_revoke(at.devices, device);
        return;
    case 3:
        (void)!gw_devices_forget(at.devices, device);
        return;
    case 4:
        (void)!gw_devices_approve(at.devices, device, NULL, "");
        return;
    case 5:
        gw_peers_publish_figures(at.peers);
        return;
    case 6:
        at.config->limits.message_bytes =
            at.config->limits.message_bytes == MESSAGE_MAX ? 20 : MESSAGE_MAX;
        gw_mqtt_server_reload(at.server, at.config);
        gw_peers_reload(at.peers, at.config);
        return;
    }
}

static void stop(void)
{
    gw_mqtt_server_stop(at.server);
    settle();
}

/* A kill lets nobody say anything more. */
static void crash(void)
{
    memory_store.dead = true;
    for (unsigned n = 0; n < WIRES; n++)
        wires[n].pipe.closing = true;
    gw_mqtt_server_free(&at.server);
}

static void clear_wires(void)
{
    for (unsigned n = 0; n < WIRES; n++) {
        if (!wires[n].open)
            continue;
        MUST(wires[n].pipe.freed);
        pipe_fini(&wires[n].pipe);
        wires[n] = (struct wire){0};
    }
}

/* ---- what the disk has to bring back ---- */

struct kept {
    uint8_t key[GW_HUB_DEVICE_MAX + 1 + GW_HUB_CLIENT_MAX];
    size_t key_len, subs, queued;
};

static struct {
    struct kept sessions[KEPT_MAX];
    size_t count, retained;
} kept;

static size_t stored_in(const struct gw_list *list)
{
    size_t n = 0;

    GW_LIST_EACH(list, node)
    {
        n += GW_LIST_ENTRY(node, struct delivery, node)->stored != NULL;
    }
    return n;
}

static size_t stored_retained(void)
{
    struct tree_node *node;
    size_t n = 0;

    for (size_t at_node = 0; (node = gw_map_next(&at.hub->tree.nodes, &at_node));)
        n += node->retained && node->retained->stored;
    return n;
}

/* Only when nothing is on its way there. */
static void note_kept(void)
{
    const struct gw_session *s;

    kept.count = kept.retained = 0;
    if (at.disk_hangs || persist_busy(at.hub))
        return;
    kept.retained = stored_retained();
    for (size_t cursor = 0; (s = gw_map_next(&at.hub->sessions, &cursor)) && kept.count < KEPT_MAX;)
        if (s->stored) {
            struct kept *k = &kept.sessions[kept.count++];

            memcpy(k->key, s->key, s->key_len);
            k->key_len = s->key_len;
            k->subs = s->sub_count;
            k->queued = stored_in(&s->waiting) + stored_in(&s->inflight);
        }
}

static void check_kept(void)
{
    MUST(stored_retained() >= kept.retained);
    for (size_t i = 0; i < kept.count; i++) {
        const struct kept *k = &kept.sessions[i];
        const struct gw_session *s = gw_map_get(&at.hub->sessions, GW_SLICE(k->key, k->key_len));

        MUST(s && s->sub_count == k->subs);
        MUST(stored_in(&s->waiting) >= k->queued); /* forgetting is written behind */
    }
}

static void again(bool orderly)
{
    if (++at.starts >= STARTS_MAX)
        return;
    if (orderly)
        stop();
    note_kept();
    if (!orderly)
        crash();
    fall();
    clear_wires();
    memory_store.dead = false;
    at.disk_hangs = false;
    rise();
    check_kept();
}

static struct gw_slice rest(struct gw_reader *r, size_t len)
{
    return gw_reader_slice(r, GW_MIN(len, gw_reader_left(r)));
}

static void step(struct gw_reader *r)
{
    uint8_t op = gw_reader_u8(r);
    unsigned n = op >> 4 & 3;
    struct wire *w = &wires[n];

    switch ((enum step)(op & 15)) {
    case SAY:
    case SPELL: {
        size_t len = gw_reader_left(r) ? gw_reader_u8(r) : 0;

        say_step(w, rest(r, len), (op & 15) == SPELL);
        break;
    }
    case LOSE:
        end_step(w, -ECONNRESET);
        break;
    case LEAVE:
        end_step(w, 0);
        break;
    case PASS:
        pass_step(gw_reader_left(r) ? gw_reader_u8(r) : 0);
        break;
    case DISK:
        at.disk_hangs = !at.disk_hangs;
        break;
    case READ:
        w->stalled = w->open && !w->stalled;
        break;
    case SINK:
        sink_step(gw_reader_left(r) ? gw_reader_u8(r) : 0);
        break;
    case ADMIN:
        admin_step(n < WIRES / 2 ? "cam" : "tv", gw_reader_left(r) ? gw_reader_u8(r) : 0);
        break;
    case RESTART:
    case CRASH:
        again((op & 15) == RESTART);
        break;
    case SHUTDOWN:
        stop();
        break;
    case STEPS:
        break;
    }
    settle();
}

/* ---- the end of every script ---- */

static void nothing_is_left(void)
{
    struct gw_hub_stats s;

    at.disk_hangs = false;
    for (unsigned n = 0; n < WIRES; n++) {
        wires[n].stalled = false;
        end_step(&wires[n], 0);
    }
    settle();
    clear_wires();
    MUST(gw_mqtt_server_count(at.server) == 0);
    MUST(gw_peers_count(at.peers, NULL) == 0);
    gw_hub_forget(at.hub, "cam");
    gw_hub_forget(at.hub, "tv");
    gw_hub_durable(at.hub, UINT64_MAX - 1);
    settle();
    gw_hub_stats(at.hub, &s);
    MUST(s.sessions == 0 && s.attached == 0 && s.subscriptions == 0);
    MUST(s.queued == 0 && s.queued_bytes == 0 && s.unsettled == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gw_reader r = gw_reader_of(GW_SLICE(data, size));

    if (!at.config)
        configure();
    at.config->limits.message_bytes = MESSAGE_MAX;
    rise();
    while (gw_reader_left(&r))
        step(&r);
    nothing_is_left();
    fall();
    store_clear();
    at.disk_hangs = false;
    at.starts = 0;
    return 0;
}
