/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Wills: of a connected client, and of one that is gone while the delay runs (MQTT 5 §3.1.3.2.2).
 * The hub keeps a copy of each on disk until it is published or its client takes leave.
 */
#include "mqtt/server_priv.h"

#include <errno.h>

#include "base/clock.h"

#define SMALL_BYTES 4096           /* of a will for which there is always room */
#define LARGE_BYTES_MAX (16 << 20) /* of all larger ones together */

struct will {
    struct gw_mqtt_server *server;
    struct gw_msg *msg;
    uint32_t delay_s;
    struct gw_list link; /* in the server's list while the delay runs */
    struct gw_timer timer;
    int64_t expiry_s; /* the message's, from its publishing on; negative: none */
    uint64_t origin;  /* gw_session_origin of whose it is */
    uint32_t kept;    /* the hub's id of its copy, 0: none */
    size_t large;     /* bytes that count towards LARGE_BYTES_MAX */
    char device[GW_DEVICE_ID_MAX + 1];
    size_t key_len;
    uint8_t key[]; /* device \0 client identifier */
};

/* ---- made, freed ---- */

static struct gw_slice key_of(const struct will *w)
{
    return GW_SLICE(w->key, w->key_len);
}

void will_free(struct will **w)
{
    struct will *will = GW_TAKE(*w);

    if (!will)
        return;
    if (gw_map_get(&will->server->wills, key_of(will)) == will)
        (void)gw_map_remove(&will->server->wills, key_of(will));
    gw_list_remove(&will->link);
    gw_timer_stop(&will->timer);
    will->server->large_wills -= will->large;
    gw_msg_unref(&will->msg);
    free(will);
}

static void on_timer(void *owner);

static struct will *alloc(struct gw_mqtt_server *s, const struct gw_session_key *of)
{
    size_t device = strlen(of->device);
    struct will *w = calloc(1, sizeof(*w) + device + 1 + of->client.len);

    if (!w)
        return NULL;
    w->server = s;
    gw_list_init(&w->link);
    gw_timer_init(&w->timer, on_timer, w);
    memcpy(w->device, of->device, device);
    memcpy(w->key, of->device, device);
    if (of->client.len)
        memcpy(w->key + device + 1, of->client.ptr, of->client.len);
    w->key_len = device + 1 + of->client.len;
    return w;
}

/* One client with large wills must not fill the memory, nor leave the others without a word. */
static int reserve(struct will *w)
{
    size_t bytes = w->msg->topic.len + w->msg->payload.len + w->msg->user_props.len +
                   w->msg->content_type.len + w->msg->response_topic.len + w->msg->correlation.len;

    if (bytes <= SMALL_BYTES)
        return 0;
    if (w->server->large_wills + bytes > LARGE_BYTES_MAX) {
        gw_peers_limit(w->server->peers, GW_LIMIT_WILLS);
        return GW_EFULL;
    }
    w->large = bytes;
    w->server->large_wills += bytes;
    return 0;
}

int will_new(struct conn *c, const struct gw_mqtt_will *w)
{
    const struct gw_session_key of = {c->device, GW_SLICE(c->client, c->client_len)};
    GW_CLEANUP(gw_buf_fini) struct gw_buf gathered = {.max = SIZE_MAX};
    GW_CLEANUP(will_free) struct will *will = alloc(c->server, &of);
    struct gw_msg m;
    int err = msg_of(&w->props, &m, &gathered);

    if (err || !will)
        return err ? err : -ENOMEM;
    m.qos = w->qos;
    m.retain = w->retain; /* [MQTT-3.1.2-14], [MQTT-3.1.2-15] */
    m.topic = w->topic;
    m.payload = w->payload;
    err = gw_msg_new(&m, &will->msg);
    if (!err)
        err = reserve(will);
    if (err)
        return err;
    will->delay_s = w->props.will_delay;
    will->expiry_s = GW_MQTT_HAS(w->props, message_expiry) ? (int64_t)w->props.message_expiry : -1;
    c->will = GW_TAKE(will);
    return 0;
}

void will_accept(struct conn *c)
{
    struct will *w = c->will;

    if (!w)
        return;
    w->origin = gw_session_origin(c->session);
    w->kept =
        gw_hub_will_keep(c->server->hub, &(struct gw_hub_will){
                                             .of = {c->device, GW_SLICE(c->client, c->client_len)},
                                             .msg = w->msg,
                                             .delay_s = GW_MIN(w->delay_s, c->expiry_s),
                                             .expiry_s = w->expiry_s,
                                         });
}

void will_forget(struct will **w)
{
    if (*w)
        gw_hub_will_drop((*w)->server->hub, (*w)->kept);
    will_free(w);
}

/* ---- published ---- */

static void say_unpublished(struct gw_mqtt_server *s, const struct will *w, int err)
{
    char text[GW_LOG_TEXT];

    if (gw_log_allowed(&s->refusals, gw_loop_now_ms(s->loop)))
        gw_log_info("mqtt: will not published device=%s topic=%s reason=\"%s\"", w->device,
                    gw_log_text(w->msg->topic, text), gw_error_text(err));
}

static void say_early(struct gw_mqtt_server *s, const struct will *w)
{
    char text[GW_LOG_TEXT];

    if (gw_log_allowed(&s->refusals, gw_loop_now_ms(s->loop)))
        gw_log_info("mqtt: will published before its delay: %zu others wait already device=%s"
                    " topic=%s",
                    s->wills.count, w->device, gw_log_text(w->msg->topic, text));
}

/* Its copy on disk goes when the message is there itself: in the spool, in a queue. */
void on_will_published(void *owner, uint32_t token, int err)
{
    struct gw_mqtt_server *s = owner;

    (void)err; /* the disk's trouble is told where it happens */
    gw_hub_will_drop(s->hub, token);
}

static void publish(struct will **will)
{
    GW_CLEANUP(will_free) struct will *w = GW_TAKE(*will);
    struct gw_mqtt_server *s = w->server;
    struct gw_msg m = *w->msg;
    int result;

    m.origin = w->origin;
    if (w->expiry_s >= 0)
        m.expires_ms = gw_loop_now_ms(s->loop) + (uint64_t)w->expiry_s * 1000;
    result = gw_peers_publish_will(s->peers, w->device, &m, s->will_publisher, w->kept);
    if (result < 0)
        say_unpublished(s, w, result);
    if (result || s->stopping) /* at the end no completion comes any more */
        gw_hub_will_drop(s->hub, w->kept);
}

/* ---- while the delay runs ---- */

static void on_timer(void *owner)
{
    struct will *w = owner;

    publish(&w);
}

/* Without memory for the table its client cannot call it back any more, which is all. */
static void park(struct will *w, int64_t delay_ms)
{
    struct gw_mqtt_server *s = w->server;

    gw_list_append(&s->parked_wills, &w->link);
    (void)!gw_map_put(&s->wills, key_of(w), w);
    gw_timer_start(s->loop, &w->timer, delay_ms > 0 ? (uint64_t)delay_ms : 0);
}

/* At the gateway's end (§3.1.2.5): what is on disk waits there for the next run, whose client may
 * well be back before it is due. */
static void leave_behind(struct will **w)
{
    if ((*w)->kept)
        will_free(w);
    else
        publish(w);
}

void will_due(struct conn *c, struct will **w)
{
    /* [MQTT-3.1.3-9]: after its delay, or with the session's end, whichever comes first. */
    uint32_t delay_s = GW_MIN((*w)->delay_s, c->expiry_s);
    int64_t delay_ms = (int64_t)delay_s * 1000;
    struct gw_mqtt_server *s = c->server;

    if (!delay_s) {
        publish(w);
        return;
    }
    if (!s->stopping && s->wills.count >= s->config->limits.connections) {
        gw_peers_limit(s->peers, GW_LIMIT_WILLS);
        say_early(s, *w);
        publish(w);
        return;
    }
    gw_hub_will_due(s->hub, (*w)->kept, delay_s, gw_clock_wall_ms() + delay_ms);
    if (s->stopping)
        leave_behind(w);
    else
        park(GW_TAKE(*w), delay_ms);
}

void will_settle(struct conn *c, bool ended)
{
    uint8_t room[GW_DEVICE_ID_MAX + 1 + GW_HUB_CLIENT_MAX];
    size_t device = strlen(c->device) + 1;
    struct will *w;

    memcpy(room, c->device, device);
    memcpy(room + device, c->client, c->client_len);
    w = gw_map_get(&c->server->wills, GW_SLICE(room, device + c->client_len));
    if (w && ended)
        publish(&w);
    else
        will_forget(&w);
}

/* ---- at the start, and at the end ---- */

/* One that the last run left behind: its client has gone then, at the latest. */
static void restore(void *owner, uint32_t id, const struct gw_hub_will *left)
{
    struct gw_mqtt_server *s = owner;
    int64_t delay_ms = (int64_t)left->delay_s * 1000;
    struct will *w = alloc(s, &left->of), *older;

    if (!w) {
        gw_log_error("mqtt: a will is not published: no memory");
        return;
    }
    w->msg = gw_msg_ref(left->msg);
    w->origin = left->origin;
    w->expiry_s = left->expiry_s;
    w->kept = id;
    if (left->due_ms) /* no later than it was to be, whatever the clock did meanwhile */
        delay_ms = GW_MIN(delay_ms, left->due_ms - gw_clock_wall_ms());
    (void)!reserve(w); /* it was admitted once */
    older = gw_map_get(&s->wills, key_of(w));
    if (older) /* the crash met it while it was being published */
        gw_timer_start(s->loop, &older->timer, 0);
    park(w, delay_ms);
}

void wills_restore(struct gw_mqtt_server *s)
{
    gw_hub_wills_left(s->hub, restore, s);
}

void wills_leave(struct gw_mqtt_server *s)
{
    while (!gw_list_empty(&s->parked_wills)) {
        struct will *w = GW_LIST_ENTRY(s->parked_wills.next, struct will, link);

        leave_behind(&w);
    }
}
