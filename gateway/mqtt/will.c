/* SPDX-License-Identifier: GPL-2.0-only */
#include "mqtt/server_priv.h"

#include <errno.h>

/* One whose connection is gone and whose delay (MQTT 5 §3.1.3.2.2) runs. */
struct parked_will {
    struct gw_mqtt_server *server;
    struct will *will;
    struct gw_timer timer;
    char device[GW_DEVICE_ID_MAX + 1];
    size_t key_len;
    uint8_t key[]; /* device \0 client identifier */
};

int will_new(const struct gw_mqtt_will *w, struct will **out)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf gathered = {.max = SIZE_MAX};
    GW_CLEANUP(will_free) struct will *will = calloc(1, sizeof(*will));
    struct gw_msg m;
    int err = msg_of(&w->props, &m, &gathered);

    if (err || !will)
        return err ? err : -ENOMEM;
    m.qos = w->qos;
    m.retain = w->retain;
    m.topic = w->topic;
    m.payload = w->payload;
    err = gw_msg_new(&m, &will->msg);
    if (err)
        return err;
    will->delay_s = w->props.will_delay;
    will->expires = GW_MQTT_HAS(w->props, message_expiry);
    will->expiry_s = w->props.message_expiry;
    *out = GW_TAKE(will);
    return 0;
}

void will_free(struct will **w)
{
    struct will *will = GW_TAKE(*w);

    if (!will)
        return;
    gw_msg_unref(&will->msg);
    free(will);
}

static void publish(struct gw_mqtt_server *s, const char *device, struct will **w)
{
    GW_CLEANUP(will_free) struct will *will = GW_TAKE(*w);
    struct gw_msg m = *will->msg;
    char text[GW_LOG_TEXT];
    int err;

    m.origin = will->origin;
    if (will->expires)
        m.expires_ms = gw_loop_now_ms(s->loop) + (uint64_t)will->expiry_s * 1000;
    err = gw_peers_publish_will(s->peers, device, &m);
    if (err && gw_log_allowed(&s->refusals, gw_loop_now_ms(s->loop)))
        gw_log_info("mqtt: will not published device=%s topic=%s reason=\"%s\"", device,
                    gw_log_text(m.topic, text), gw_error_text(err));
}

/* Out of the table and published, or forgotten. */
static void unpark(struct parked_will *p, bool say)
{
    struct gw_mqtt_server *s = p->server;

    (void)gw_map_remove(&s->wills, GW_SLICE(p->key, p->key_len));
    gw_timer_stop(&p->timer);
    if (say)
        publish(s, p->device, &p->will);
    will_free(&p->will);
    free(p);
}

static void on_timer(void *owner)
{
    unpark(owner, true);
}

static struct gw_slice key_of(const struct conn *c, uint8_t *room)
{
    size_t len = strlen(c->device) + 1;

    memcpy(room, c->device, len);
    memcpy(room + len, c->client, c->client_len);
    return GW_SLICE(room, len + c->client_len);
}

static int park(struct conn *c, struct will **w, uint32_t delay_s)
{
    uint8_t room[GW_DEVICE_ID_MAX + 1 + GW_HUB_CLIENT_MAX];
    struct gw_slice key = key_of(c, room);
    struct parked_will *p = calloc(1, sizeof(*p) + key.len);

    if (!p)
        return -ENOMEM;
    memcpy(p->device, c->device, sizeof(p->device));
    memcpy(p->key, key.ptr, key.len);
    p->key_len = key.len;
    p->server = c->server;
    if (gw_map_put(&c->server->wills, GW_SLICE(p->key, p->key_len), p)) {
        free(p);
        return -ENOMEM;
    }
    p->will = GW_TAKE(*w);
    gw_timer_init(&p->timer, on_timer, p);
    gw_timer_start(c->server->loop, &p->timer, (uint64_t)delay_s * 1000);
    return 0;
}

void will_due(struct conn *c, struct will **w)
{
    /* [MQTT-3.1.3-9]: after its delay, or with the session's end, whichever comes first. */
    uint32_t delay_s = GW_MIN((*w)->delay_s, c->expiry_s);

    if (delay_s && !c->server->stopping && park(c, w, delay_s) == 0)
        return;
    publish(c->server, c->device, w);
}

void will_settle(struct conn *c, bool ended)
{
    uint8_t room[GW_DEVICE_ID_MAX + 1 + GW_HUB_CLIENT_MAX];
    struct parked_will *p = gw_map_get(&c->server->wills, key_of(c, room));

    if (p)
        unpark(p, ended);
}

void wills_flush(struct gw_mqtt_server *s)
{
    struct parked_will *p;

    for (size_t cursor = 0; (p = gw_map_next(&s->wills, &cursor)); cursor = 0)
        unpark(p, true);
}
