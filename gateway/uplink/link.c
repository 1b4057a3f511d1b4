/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "uplink/uplink_priv.h"

#define KEEP_ALIVE_S 20
#define SESSION_S (7u * 86400)
#define PACKET_MAX (1u << 20) /* taken from the broker */
#define RECEIVE_MAX 64        /* publishes taken at once */
#define OUTPUT_MAX (4u << 20)
#define OUTPUT_HIGH (256u << 10) /* with so much on its way the spool waits */
#define BATCH_BYTES (16u << 10)  /* one TLS record */
#define HEAD_MAX 16              /* of a PUBLISH, without its topic */
#define BATCH_MAX (GW_SPOOL_RECORD_MAX + GW_TOPIC_MAX + 2 * BATCH_BYTES)
#define GATHER_FLIGHTS 128 /* with so many on their way acknowledgements may gather … */
#define GATHER_MS 2        /* … for so long */
#define STALL_MS 60000     /* without one acknowledgement of what is on its way */
#define IDS 65535u

/* ---- flights ---- */

static uint64_t in_flight(const struct link *l)
{
    return l->next - l->first;
}

static struct flight *flight_at(struct link *l, uint64_t n)
{
    return &l->flights[n & l->mask];
}

static uint16_t flight_id(uint64_t n)
{
    return (uint16_t)(n % IDS + 1);
}

/* The flight with this packet identifier, or NULL. The window is smaller than IDS. */
static struct flight *flight_of(struct link *l, uint16_t id)
{
    uint64_t ahead = (id - 1u + IDS - l->first % IDS) % IDS;

    return id && ahead < in_flight(l) ? flight_at(l, l->first + ahead) : NULL;
}

uint64_t link_in_flight(const struct gw_uplink *u)
{
    return in_flight(&u->link);
}

/* A broker that answers pings and acknowledges nothing is none: another one, or a new try, may. */
static void on_stall(void *owner)
{
    struct gw_uplink *u = owner;

    gw_client_drop(u->link.client, "the broker acknowledges nothing");
}

static void watch(struct gw_uplink *u)
{
    struct link *l = &u->link;

    if (in_flight(l) && !gw_timer_armed(&l->stall))
        gw_timer_start(u->loop, &l->stall, l->stall_ms);
}

/*
 * Take what was acknowledged off the front and let the spool release it. A key carries the sequence
 * of the message before it: that sequence is released only when both were acknowledged.
 */
static void settle(struct gw_uplink *u)
{
    struct link *l = &u->link;
    const struct flight *front = NULL;
    uint64_t release;

    for (; in_flight(l); l->first++) {
        gw_timer_stop(&l->stall);
        front = flight_at(l, l->first);
        if (!front->acked)
            break;
        l->acknowledged += front->kind == FLIGHT_MESSAGE;
        if (front->kind != FLIGHT_STATUS) {
            l->acked_to = front->sequence;
            l->dirty = true;
        }
        front = NULL;
    }
    watch(u);
    if (!l->dirty || (front && front->kind == FLIGHT_STATUS))
        return;
    release = l->acked_to;
    if (front && front->sequence <= release) {
        if (front->sequence == 0)
            return;
        release = front->sequence - 1;
    }
    l->dirty = release < l->acked_to;
    gw_spool_release(u->spool, release);
    gw_client_progress(l->client);
}

/* ---- sending ---- */

static int flush_batch(struct gw_uplink *u)
{
    struct gw_buf *b = &u->link.batch;
    int err;

    if (!gw_buf_len(b))
        return 0;
    err = gw_client_write(u->link.client, gw_buf_slice(b));
    gw_buf_consume(b, gw_buf_len(b));
    return err;
}

/* P/<place><name>, in l->topic. */
static int make_topic(struct link *l, const char *place, struct gw_slice name)
{
    int err;

    l->topic.tail = l->topic.head + l->base;
    err = gw_buf_append(&l->topic, gw_slice_str(place));
    return err ? err : gw_buf_append(&l->topic, name);
}

/* One PUBLISH into the batch, under the next packet identifier; its topic is in l->topic. */
static int put_publish(struct gw_uplink *u, struct flight f, struct gw_slice payload, bool retain,
                       bool dup)
{
    struct link *l = &u->link;
    struct gw_mqtt_publish p = {
        .qos = 1,
        .dup = dup,
        .retain = retain,
        .packet_id = flight_id(l->next),
        .topic = gw_buf_slice(&l->topic),
        .payload = payload,
    };
    size_t room = HEAD_MAX + p.topic.len + payload.len;
    struct gw_writer w;
    int err = gw_buf_reserve(&l->batch, room);

    if (err)
        return err;
    w = gw_writer_of(l->batch.data + l->batch.tail, room);
    gw_mqtt_publish_encode(&w, gw_client_version(l->client), &p);
    if (w.err)
        return w.err;
    if (w.len > l->limits.packet_max)
        return GW_ETOOBIG;
    l->batch.tail += w.len;
    *flight_at(l, l->next++) = f;
    return gw_buf_len(&l->batch) >= BATCH_BYTES ? flush_batch(u) : 0;
}

static void status_free(struct link *l, struct status *s)
{
    gw_list_remove(&s->node);
    (void)gw_map_remove(&l->by_device, gw_slice_str(s->device));
    gw_buf_fini(&s->json);
    free(s);
}

/* P/status first, then whose presence changed. 1: one was sent, 0: there is none. */
static int send_status(struct gw_uplink *u)
{
    struct link *l = &u->link;
    struct flight f = {.kind = FLIGHT_STATUS};
    struct status *s;
    int err;

    if (l->online_due) {
        l->online_due = false;
        err = make_topic(l, "status", GW_SLICE_NONE);
        if (!err)
            err = put_publish(u, f, GW_SLICE_LIT("online"), true, false);
        return err ? err : 1;
    }
    if (gw_list_empty(&l->statuses))
        return 0;
    s = GW_LIST_ENTRY(l->statuses.next, struct status, node);
    err = make_topic(l, "presence/", gw_slice_str(s->device));
    if (!err)
        err = put_publish(u, f, gw_buf_slice(&s->json), true, false);
    status_free(l, s);
    return err == GW_ETOOBIG || !err ? 1 : err;
}

/* This one can never be taken; it is counted as done, or it would hold up all that follow. */
static void give_up(struct gw_uplink *u, const struct gw_spool_record *rec, const char *why)
{
    char topic[GW_LOG_TEXT];

    u->dropped++;
    gw_log_error("a spooled message was dropped topic=%s sequence=%llu reason=\"%s\"",
                 gw_log_text(rec->topic, topic), (unsigned long long)rec->sequence, why);
    uplink_tell(u, "uplink-dropped", "Message %llu can never be sent and was dropped: %s.",
                (unsigned long long)rec->sequence, why);
}

/* The spool's next record. 1: one was sent, 0: there is none now. */
static int send_record(struct gw_uplink *u)
{
    struct link *l = &u->link;
    struct gw_spool_record rec;
    struct flight f;
    bool is_key;
    int err = gw_spool_next(u->spool, &rec);

    if (err)
        return err == -EAGAIN ? 0 : err;
    is_key = rec.kind == GW_SPOOL_KEY;
    f = (struct flight){rec.sequence, is_key ? FLIGHT_KEY : FLIGHT_MESSAGE, false};
    err = make_topic(l, is_key ? "key/" : "up/", rec.topic);
    if (!err)
        err = put_publish(u, f, rec.data, is_key, !is_key && rec.sequence <= l->sent_to);
    if (err == GW_ETOOBIG) {
        give_up(u, &rec, "it is longer than the broker takes");
        *flight_at(l, l->next++) = (struct flight){rec.sequence, FLIGHT_DROPPED, true};
        settle(u);
        return 1;
    }
    l->sent_to = GW_MAX(l->sent_to, rec.sequence);
    return err ? err : 1;
}

static uint32_t window_of(const struct link *l)
{
    return GW_MIN(l->window, (uint32_t)l->limits.receive_maximum);
}

/*
 * Most brokers acknowledge one by one. If each of these were read, and answered with the one
 * message it makes room for, every message would cost two packets, two wake-ups and two records of
 * its own. So a window is refilled by quarters, and while the broker has enough to do its
 * acknowledgements wait in the kernel until there are some.
 */
static bool may_refill(const struct link *l)
{
    return in_flight(l) + window_of(l) / 4 <= window_of(l);
}

static void gather(struct gw_uplink *u)
{
    struct link *l = &u->link;

    if (in_flight(l) < GATHER_FLIGHTS || gw_timer_armed(&l->gather))
        return;
    gw_client_pause(l->client, true);
    gw_timer_start(u->loop, &l->gather, GATHER_MS);
}

static void on_gathered(void *owner)
{
    struct gw_uplink *u = owner;

    gw_client_pause(u->link.client, false);
}

/* At the turn's end: as much as the window and the stream take. */
static void pump(void *owner)
{
    struct gw_uplink *u = owner;
    struct link *l = &u->link;
    int sent = 1, err;

    if (!l->client || !gw_client_is_up(l->client) || !may_refill(l))
        return;
    while (sent > 0 && in_flight(l) < window_of(l) &&
           gw_client_pending(l->client) + gw_buf_len(&l->batch) < OUTPUT_HIGH) {
        sent = send_status(u);
        if (sent == 0)
            sent = send_record(u);
    }
    watch(u);
    err = sent < 0 ? sent : flush_batch(u);
    if (err)
        gw_client_drop(l->client, gw_error_text(err));
    else
        gather(u);
}

void link_wake(struct gw_uplink *u)
{
    if (u->link.client)
        gw_task_post(u->loop, &u->link.pump);
}

void link_presence(struct gw_uplink *u, const char *device, struct gw_slice json)
{
    struct link *l = &u->link;
    struct status *s = gw_map_get_str(&l->by_device, device);

    /* What changes while the broker is away is asked for anew by resync. */
    if (!l->client || !gw_client_is_up(l->client) || strlen(device) > UPLINK_DEVICE_MAX)
        return;
    if (!s) {
        s = calloc(1, sizeof(*s));
        if (!s)
            return;
        memcpy(s->device, device, strlen(device) + 1);
        s->json.max = PACKET_MAX;
        gw_list_init(&s->node);
        if (gw_map_put(&l->by_device, gw_slice_str(s->device), s)) {
            free(s);
            return;
        }
        gw_list_append(&l->statuses, &s->node);
    }
    gw_buf_consume(&s->json, gw_buf_len(&s->json));
    if (gw_buf_append(&s->json, json))
        status_free(l, s);
    link_wake(u);
}

/* ---- what the client says ---- */

static void clear(struct gw_uplink *u)
{
    struct link *l = &u->link;

    gw_timer_stop(&l->stall);
    gw_timer_stop(&l->gather);
    l->first = l->next = 0;
    l->online_due = l->dirty = l->refusal = false;
    gw_buf_consume(&l->batch, gw_buf_len(&l->batch));
    GW_LIST_EACH(&l->statuses, node)
    status_free(l, GW_LIST_ENTRY(node, struct status, node));
    if (u->spool)
        gw_spool_rewind(u->spool);
}

static void on_up(void *owner, const struct gw_client_limits *limits)
{
    struct gw_uplink *u = owner;
    struct link *l = &u->link;

    l->limits = *limits;
    l->told_down = false;
    l->online_due = true;
    uplink_tell(u, "uplink-up", "Connected to %s with MQTT %s.", gw_client_url(l->client),
                gw_client_version(l->client) == GW_MQTT_V5 ? "5" : "3.1.1");
    u->ops.resync(u->owner);
    link_wake(u);
}

static void on_down(void *owner, bool was_up, const char *why)
{
    struct gw_uplink *u = owner;

    clear(u);
    if (was_up || !u->link.told_down)
        uplink_tell(u, "uplink-down", "No uplink: %s.", why);
    u->link.told_down = true;
}

/* A refusal that holds for this packet for ever, whatever the broker's state. */
static bool hopeless(uint8_t reason)
{
    return reason == GW_MQTT_TOO_LARGE || reason == GW_MQTT_BAD_TOPIC;
}

static int on_puback(struct gw_uplink *u, struct gw_slice body)
{
    struct link *l = &u->link;
    struct gw_mqtt_ack ack;
    struct flight *f;
    int err = gw_mqtt_ack_decode(body, GW_MQTT_PUBACK, gw_client_version(l->client), &ack);

    if (err)
        return err;
    f = flight_of(l, ack.packet_id);
    if (!f)
        return 0; /* one that was acknowledged before */
    if (ack.reason < 0x80 || f->kind == FLIGHT_STATUS) {
        f->acked = true;
        return 0;
    }
    if (hopeless(ack.reason)) {
        give_up(u, &(struct gw_spool_record){.sequence = f->sequence}, "the broker refused it");
        f->kind = FLIGHT_DROPPED;
        f->acked = true;
        return 0;
    }
    l->refused++;
    uplink_tell(u, "uplink-refused", "%s refused message %llu (0x%02x); it is sent again later.",
                gw_client_url(l->client), (unsigned long long)f->sequence, ack.reason);
    l->refusal = true;
    return 0;
}

/* Nothing is subscribed to: what an old session still holds is acknowledged and dropped. */
static int on_publish(struct gw_uplink *u, uint8_t flags, struct gw_slice body)
{
    uint8_t version = gw_client_version(u->link.client), room[8];
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    struct gw_mqtt_publish p;
    int err = gw_mqtt_publish_decode(body, flags, version, &p);

    if (err)
        return err;
    if (p.qos == 0)
        return 0;
    if (p.qos == 2)
        return GW_EPROTOCOL;
    gw_mqtt_ack_encode(&w, GW_MQTT_PUBACK, version, &(struct gw_mqtt_ack){p.packet_id, 0, {0}});
    return gw_client_write(u->link.client, gw_writer_done(&w));
}

static int on_packet(void *owner, enum gw_mqtt_type type, uint8_t flags, struct gw_slice body)
{
    struct gw_uplink *u = owner;

    if (type == GW_MQTT_PUBACK)
        return on_puback(u, body);
    if (type == GW_MQTT_PUBLISH)
        return on_publish(u, flags, body);
    return GW_EPROTOCOL;
}

static void on_turn(void *owner)
{
    struct gw_uplink *u = owner;

    settle(u);
    if (u->link.refusal) /* nothing may pass what it will take later */
        gw_client_drop(u->link.client, "the broker refused a message");
    else
        link_wake(u);
}

/* ---- start and stop ---- */

/* The password file's first line. */
static struct gw_slice password_of(const struct gw_config *c)
{
    struct gw_slice s = gw_buf_slice(&c->uplink.password.data);
    const uint8_t *end = s.len ? memchr(s.ptr, '\n', s.len) : NULL;

    if (end)
        s.len = (size_t)(end - s.ptr);
    if (s.len && s.ptr[s.len - 1] == '\r')
        s.len--;
    return s;
}

static int make_room(struct gw_uplink *u)
{
    struct link *l = &u->link;
    uint32_t cap = 1;
    int err;

    l->window = GW_MIN(u->config->uplink.window, IDS);
    while (cap < l->window)
        cap *= 2;
    l->flights = calloc(cap, sizeof(*l->flights));
    if (!l->flights)
        return -ENOMEM;
    l->mask = cap - 1;
    l->batch.max = BATCH_MAX;
    l->topic.max = GW_TOPIC_MAX;
    err = gw_buf_append(&l->topic, gw_slice_str(u->config->uplink.prefix));
    if (!err)
        err = gw_buf_append(&l->topic, GW_SLICE_LIT("/"));
    if (!err)
        err = gw_buf_append(&l->topic, gw_slice_str(u->gateway_id));
    if (!err)
        err = gw_buf_append(&l->topic, GW_SLICE_LIT("/"));
    l->base = gw_buf_len(&l->topic);
    return err;
}

static int start_client(struct gw_uplink *u, const char *will_topic)
{
    static const struct gw_client_ops ops = {on_up, on_packet, on_turn, on_down};
    const struct gw_config *c = u->config;
    GW_CLEANUP(gw_free_ptr)
    struct gw_client_server *servers = calloc(c->uplink.broker_count, sizeof(*servers));
    struct gw_client_config cfg = {
        .servers = servers,
        .server_count = c->uplink.broker_count,
        .client_id = u->gateway_id,
        .session_expiry_s = SESSION_S,
        .ca_pem = gw_buf_slice(&c->uplink.ca.data),
        .chain_pem = gw_buf_slice(&c->uplink.cert.data),
        .key = u->link.key,
        .username = c->uplink.username,
        .password = password_of(c),
        .will_topic = will_topic,
        .will_payload = GW_SLICE_LIT("offline"),
        .keep_alive_s = KEEP_ALIVE_S,
        .packet_max = PACKET_MAX,
        .receive_maximum = RECEIVE_MAX,
        .output_max = OUTPUT_MAX,
    };

    if (!servers)
        return -ENOMEM;
    for (size_t i = 0; i < c->uplink.broker_count; i++) {
        (void)snprintf(servers[i].url, sizeof(servers[i].url), "%s", c->uplink.brokers[i].url);
        (void)snprintf(servers[i].host, sizeof(servers[i].host), "%s", c->uplink.brokers[i].host);
        servers[i].port = c->uplink.brokers[i].port;
    }
    return gw_client_new(u->loop, &cfg, &ops, u, &u->link.client);
}

int link_start(struct gw_uplink *u)
{
    struct link *l = &u->link;
    struct gw_slice key = gw_buf_slice(&u->config->uplink.key.data);
    char will[256];
    int err;

    gw_task_init(&l->pump, pump, u);
    gw_timer_init(&l->stall, on_stall, u);
    gw_timer_init(&l->gather, on_gathered, u);
    l->stall_ms = STALL_MS;
    if (u->config->uplink.broker_count == 0)
        return 0;
    err = make_room(u);
    if (!err && key.len)
        err = gw_key_from_pem(key, &l->key);
    if (err)
        return err;
    (void)snprintf(will, sizeof(will), "%.*sstatus", (int)l->base,
                   (const char *)gw_buf_slice(&l->topic).ptr);
    return start_client(u, will);
}

void link_stop(struct gw_uplink *u)
{
    struct link *l = &u->link;

    gw_client_free(&l->client);
    clear(u);
    if (l->pump.fn)
        gw_task_cancel(&l->pump);
    gw_key_free(&l->key);
    free(GW_TAKE(l->flights));
    gw_map_fini(&l->by_device);
    gw_buf_fini(&l->batch);
    gw_buf_fini(&l->topic);
}
