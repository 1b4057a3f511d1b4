/* SPDX-License-Identifier: GPL-2.0-only */
#include "mqtt/server_priv.h"

#include <errno.h>

#define FILTERS_MAX GW_HUB_SUBS_MAX /* in one packet */
#define V311_FAILURE 0x80           /* its only one, 3.1.1 [MQTT-3.9.3-2] */

static void answer(struct conn *c, enum gw_mqtt_type type, uint16_t packet_id,
                   struct gw_slice codes)
{
    struct gw_writer w = gw_writer_of(c->server->scratch, c->server->scratch_size);

    gw_msg_unref(&c->server->cache.msg); /* the scratch memory is shared */
    gw_mqtt_suback_encode(&w, type, c->version,
                          &(struct gw_mqtt_suback){.packet_id = packet_id, .codes = codes});
    conn_write(c, gw_writer_done(&w));
}

static void uncork(struct conn *c)
{
    c->corked = false;
    if (c->session)
        gw_session_resume(c->session);
}

/* Answer now, or when what was changed in a durable session is on disk. */
static int settle(struct conn *c, enum gw_mqtt_type type, uint16_t packet_id, struct gw_slice codes)
{
    struct suback *s;
    int settled = 1;

    if (c->expiry_s)
        settled = gw_hub_settle(c->server->hub, gw_peer_publisher(c->peer),
                                TOKEN(TOKEN_SUBACK, packet_id));
    if (settled < 0)
        return settled;
    if (settled == 1) { /* then no earlier answer waits either */
        answer(c, type, packet_id, codes);
        uncork(c);
        return 0;
    }
    s = malloc(sizeof(*s) + codes.len);
    if (!s)
        return -ENOMEM;
    *s = (struct suback){.type = type, .packet_id = packet_id, .count = codes.len};
    memcpy(s->codes, codes.ptr, codes.len);
    gw_list_append(&c->subacks, &s->node);
    if (++c->suback_count >= SUBACKS_MAX)
        conn_pause(c, PAUSE_ACKS);
    return 0;
}

void subacks_next(struct conn *c)
{
    struct suback *s;

    if (gw_list_empty(&c->subacks))
        return;
    s = GW_LIST_ENTRY(c->subacks.next, struct suback, node);
    gw_list_remove(&s->node);
    c->suback_count--;
    answer(c, s->type, s->packet_id, GW_SLICE(s->codes, s->count));
    free(s);
    conn_unpause(c, PAUSE_ACKS);
    if (gw_list_empty(&c->subacks))
        uncork(c);
}

void subacks_drop(struct conn *c)
{
    GW_LIST_EACH(&c->subacks, node)
    {
        gw_list_remove(node);
        free(GW_LIST_ENTRY(node, struct suback, node));
    }
    c->suback_count = 0;
}

static uint8_t code_of(const struct conn *c, int err, uint8_t granted)
{
    if (!err)
        return granted;
    if (c->version < GW_MQTT_V5)
        return V311_FAILURE;
    if (err == GW_EMALFORMED)
        return GW_MQTT_BAD_FILTER;
    return reason_of(err);
}

static int subscribe_one(struct conn *c, struct gw_mqtt_filter *f, uint32_t sub_id,
                         uint8_t *out_code)
{
    int err;

    f->options.id = sub_id;
    err = gw_peer_subscribe(c->peer, c->session, f->filter, &f->options);
    *out_code = code_of(c, err, f->options.qos); /* [MQTT-3.8.4-7] */
    return err == GW_EPROTOCOL ? err : 0;
}

static int unsubscribe_one(struct conn *c, const struct gw_mqtt_filter *f, uint8_t *out_code)
{
    int err = gw_session_unsubscribe(c->session, f->filter);

    /* [MQTT-3.10.4-5] */
    *out_code = err == GW_ENOTFOUND    ? GW_MQTT_NO_SUBSCRIPTION_EXISTED
                : err == GW_EMALFORMED ? GW_MQTT_BAD_FILTER
                                       : GW_MQTT_SUCCESS;
    return 0;
}

static int each(struct conn *c, enum gw_mqtt_type type, struct gw_mqtt_subscribe *p)
{
    bool subscribe = type == GW_MQTT_SUBSCRIBE;
    uint8_t codes[FILTERS_MAX];
    struct gw_mqtt_filter f;
    size_t count = 0;

    if (p->count > FILTERS_MAX) { /* none of them, rather than some without an answer */
        gw_peers_limit(c->server->peers, GW_LIMIT_SUBSCRIPTIONS);
        return GW_EFULL;
    }
    /* What the filters bring comes behind their SUBACK. */
    c->corked = true;
    /* [MQTT-3.8.4-5], [MQTT-3.9.3-1], [MQTT-3.10.4-6] */
    while (gw_mqtt_subscribe_next(&p->filters, type, c->version, &f)) {
        int err = subscribe ? subscribe_one(c, &f, p->props.sub_id, &codes[count])
                            : unsubscribe_one(c, &f, &codes[count]);

        if (err)
            return err;
        count++;
    }
    /* [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-6], [MQTT-3.10.4-4] */
    return settle(c, subscribe ? GW_MQTT_SUBACK : GW_MQTT_UNSUBACK, p->packet_id,
                  GW_SLICE(codes, count));
}

int on_subscribe(struct conn *c, uint8_t flags, struct gw_slice body)
{
    struct gw_mqtt_subscribe p;
    int err = gw_mqtt_subscribe_decode(body, c->version, &p);

    (void)flags;
    return err ? err : each(c, GW_MQTT_SUBSCRIBE, &p);
}

int on_unsubscribe(struct conn *c, uint8_t flags, struct gw_slice body)
{
    struct gw_mqtt_subscribe p;
    int err = gw_mqtt_unsubscribe_decode(body, c->version, &p);

    (void)flags;
    return err ? err : each(c, GW_MQTT_UNSUBSCRIBE, &p);
}
