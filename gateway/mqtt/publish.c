/* SPDX-License-Identifier: GPL-2.0-only */
#include "mqtt/server_priv.h"

#include <errno.h>

/* ---- in ---- */

int msg_of(const struct gw_mqtt_props *p, struct gw_msg *out, struct gw_buf *gathered)
{
    *out = (struct gw_msg){
        .has_format = GW_MQTT_HAS(*p, payload_format),
        .utf8 = p->payload_format == 1,
        .content_type = p->content_type,
        .response_topic = p->response_topic,
        .correlation = p->correlation,
        .user_props = p->user,
    };
    if (p->user_scattered) {
        struct gw_writer w;
        int err = gw_buf_reserve(gathered, p->user.len);

        if (err)
            return err;
        w = gw_writer_of(gathered->data, p->user.len);
        gw_mqtt_user_props(p->user, &w);
        out->user_props = gw_writer_done(&w);
    }
    return 0;
}

static void acknowledge(struct conn *c, enum gw_mqtt_type type, uint16_t packet_id, uint8_t reason)
{
    uint8_t room[8];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    if (type == GW_MQTT_PUBACK || type == GW_MQTT_PUBCOMP ||
        (type == GW_MQTT_PUBREC && reason >= GW_MQTT_UNSPECIFIED)) /* §4.9 */
        c->receiving -= c->receiving > 0;
    gw_mqtt_ack_encode(&w, type, c->version,
                       &(struct gw_mqtt_ack){.packet_id = packet_id, .reason = reason});
    conn_write(c, gw_writer_done(&w));
}

static bool reads_on(const struct conn *c)
{
    return c->unacked < RECEIVE_MAX / 2 && c->suback_count < SUBACKS_MAX && c->owed < OWED_MAX / 2;
}

/* When all that was changed in the session is on disk: the peer acts on it, and must never find
 * that we forgot. */
static void acknowledge_durably(struct conn *c, enum gw_mqtt_type type, uint16_t packet_id,
                                uint8_t reason)
{
    int told = 1;

    if (gw_session_durable(c->session))
        told = gw_hub_settle(c->server->hub, gw_peer_publisher(c->peer),
                             TOKEN((unsigned)type << 8 | reason, packet_id));
    if (told == 1)
        acknowledge(c, type, packet_id, reason);
    else if (told < 0)
        conn_fail(c, told);
    else if (++c->owed >= OWED_MAX)
        conn_pause(c, PAUSE_ACKS);
}

static void acknowledge_settled(struct conn *c, uint32_t token, int err)
{
    c->owed--;
    if (err)
        conn_fail(c, err); /* it asks again, and so do we */
    else
        acknowledge(c, (enum gw_mqtt_type)(token >> 24), (uint16_t)token, (uint8_t)(token >> 16));
    if (reads_on(c))
        conn_unpause(c, PAUSE_ACKS);
}

/* The reason of a PUBACK or PUBREC. */
static uint8_t answer_of(int err)
{
    switch (err) {
    case 0:
        return GW_MQTT_SUCCESS;
    case GW_ETOOBIG:
        return GW_MQTT_QUOTA;
    case GW_EUNSUPPORTED: /* a topic of more levels than the hub takes */
        return GW_MQTT_BAD_TOPIC;
    default:
        return reason_of(err);
    }
}

/*
 * The answer to a QoS 1 or 2 PUBLISH, once it is known. What was not taken is never acknowledged
 * as if it was: MQTT 5 hears the reason; 3.1.1 has no word for it, so the connection ends there
 * [MQTT-3.3.5-2 of 3.1.1]. The one exception: nobody is sent away because others do not fetch what
 * is theirs, so where their queues are full a 3.1.1 publisher hears nothing of it; they do.
 */
static void conclude(struct conn *c, unsigned qos, uint16_t packet_id, int err)
{
    uint8_t reason;

    if (err == GW_EQUEUEFULL && c->version < GW_MQTT_V5)
        err = 0;
    if (err && c->version < GW_MQTT_V5) {
        conn_fail(c, err);
        return;
    }
    reason = answer_of(err);
    /* The client may use the identifier for another message now: what we know of this one goes. */
    if (err && qos == 2 && gw_session_inbound_remove(c->session, packet_id))
        acknowledge_durably(c, GW_MQTT_PUBREC, packet_id, reason);
    else
        acknowledge(c, qos == 1 ? GW_MQTT_PUBACK : GW_MQTT_PUBREC, packet_id, reason);
}

void on_published(void *owner, uint32_t token, int err)
{
    struct conn *c = owner;
    unsigned kind = token >> 16;

    if (c->state != CONN_ACTIVE)
        return;
    if (kind >= TOKEN_ACK) {
        acknowledge_settled(c, token, err);
        return;
    }
    if (kind == TOKEN_SUBACK) {
        if (err)
            conn_fail(c, err);
        else
            subacks_next(c);
        return;
    }
    c->unacked--;
    conclude(c, kind, (uint16_t)token, err);
    if (reads_on(c))
        conn_unpause(c, PAUSE_ACKS);
}

/* 3.1.1 knows no receive maximum, so it is slowed down where MQTT 5 would break its word. */
static void publish_waits(struct conn *c)
{
    c->unacked++;
    if (c->version < GW_MQTT_V5 && c->unacked >= RECEIVE_MAX)
        conn_pause(c, PAUSE_ACKS);
}

static int over_quota(struct conn *c, unsigned qos)
{
    if (qos == 0)
        return 0; /* lost, and counted */
    conn_pause(c, PAUSE_QUOTA);
    gw_timer_start(c->server->loop, &c->quota_timer, gw_peer_quota_ms(c->peer) + 1);
    return -EAGAIN;
}

static int refused(struct conn *c, const struct gw_mqtt_publish *p, int err)
{
    if (err == GW_EQUOTA)
        return over_quota(c, p->qos);
    if (err == GW_EMALFORMED)
        return err; /* no topic name: the whole packet is bad [MQTT-3.3.2-2] */
    if (p->qos > 0)
        conclude(c, p->qos, p->packet_id, err);
    else if (err == GW_ETOOBIG)
        return err;
    return 0; /* QoS 0: dropped, which is all that can be said about it */
}

static int forward(struct conn *c, const struct gw_mqtt_publish *p)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf gathered = {.max = SIZE_MAX};
    struct gw_msg m;
    int result = msg_of(&p->props, &m, &gathered);

    if (result)
        return result;
    m.qos = p->qos;
    m.retain = p->retain;
    m.topic = p->topic;
    m.payload = p->payload;
    m.origin = gw_session_origin(c->session);
    if (GW_MQTT_HAS(p->props, message_expiry))
        m.expires_ms = gw_loop_now_ms(c->server->loop) + (uint64_t)p->props.message_expiry * 1000;
    if (p->qos == 2)
        return gw_peer_publish_once(c->peer, c->session, p->packet_id, &m,
                                    TOKEN(p->qos, p->packet_id));
    return gw_peer_publish(c->peer, &m, TOKEN(p->qos, p->packet_id));
}

static int check_publish(struct conn *c, struct gw_mqtt_publish *p)
{
    if (GW_MQTT_HAS(p->props, sub_id)) /* [MQTT-3.3.4-6] */
        return GW_EPROTOCOL;
    if (p->qos > 0 && c->version >= GW_MQTT_V5 && c->receiving >= RECEIVE_MAX &&
        gw_session_inbound(c->session, p->packet_id) == GW_INBOUND_FREE) { /* [MQTT-3.3.4-7] */
        conn_fail_as(c, GW_EPROTOCOL, GW_MQTT_RECEIVE_MAXIMUM);
        return GW_EPROTOCOL;
    }
    return alias_in(c, p);
}

/* The identifier stands for a message that is not released yet: true when that settles it. */
static bool is_taken(struct conn *c, const struct gw_mqtt_publish *p)
{
    enum gw_inbound known = p->qos ? gw_session_inbound(c->session, p->packet_id) : GW_INBOUND_FREE;

    if (known == GW_INBOUND_FREE || (p->qos == 2 && known != GW_INBOUND_RECEIVED))
        return false;
    if (p->qos == 2) /* [MQTT-4.3.3-10] */
        acknowledge(c, GW_MQTT_PUBREC, p->packet_id, GW_MQTT_SUCCESS);
    else if (c->version >= GW_MQTT_V5) /* [MQTT-2.2.1-3] */
        acknowledge(c, GW_MQTT_PUBACK, p->packet_id, GW_MQTT_ID_IN_USE);
    else
        return false; /* 3.1.1 has no word for it, and nothing is lost by taking it */
    return true;
}

static int take(struct conn *c, const struct gw_mqtt_publish *p)
{
    int result = forward(c, p);

    if (c->state == CONN_CLOSED)
        return 0; /* a verdict, right now */
    if (result < 0)
        return refused(c, p, result);
    if (result == 0)
        publish_waits(c);
    else if (p->qos > 0)
        conclude(c, p->qos, p->packet_id, 0);
    return 0;
}

int on_publish(struct conn *c, uint8_t flags, struct gw_slice body)
{
    struct gw_mqtt_publish p;
    int err = gw_mqtt_publish_decode(body, flags, c->version, &p);

    if (!err)
        err = check_publish(c, &p);
    if (err)
        return err;
    if (p.qos == 2 && gw_session_inbound_waits(c->session, p.packet_id)) {
        conn_pause(c, PAUSE_SESSION);
        return -EAGAIN;
    }
    c->receiving += p.qos > 0;
    if (is_taken(c, &p))
        return 0;
    err = take(c, &p);
    c->receiving -= p.qos > 0 && err == -EAGAIN;
    return err;
}

void on_inbound(void *owner)
{
    conn_unpause(owner, PAUSE_SESSION);
}

/* The reasons that each has (§3.4.2.1, §3.5.2.1, §3.6.2.1, §3.7.2.1). */
static bool has_reason(enum gw_mqtt_type type, uint8_t reason)
{
    switch (reason) {
    case GW_MQTT_SUCCESS:
        return true;
    case GW_MQTT_ID_NOT_FOUND:
        return type == GW_MQTT_PUBREL || type == GW_MQTT_PUBCOMP;
    case GW_MQTT_NO_SUBSCRIBERS:
    case GW_MQTT_UNSPECIFIED:
    case GW_MQTT_IMPLEMENTATION:
    case GW_MQTT_NOT_AUTHORIZED:
    case GW_MQTT_BAD_TOPIC:
    case GW_MQTT_ID_IN_USE:
    case GW_MQTT_QUOTA:
    case GW_MQTT_BAD_PAYLOAD:
        return type == GW_MQTT_PUBACK || type == GW_MQTT_PUBREC;
    default:
        return false;
    }
}

static int read_ack(const struct conn *c, enum gw_mqtt_type type, struct gw_slice body,
                    struct gw_mqtt_ack *out)
{
    int err = gw_mqtt_ack_decode(body, type, c->version, out);

    return err || has_reason(type, out->reason) ? err : GW_EPROTOCOL;
}

int on_pubrel(struct conn *c, uint8_t flags, struct gw_slice body)
{
    struct gw_mqtt_ack a;
    int err = read_ack(c, GW_MQTT_PUBREL, body, &a);
    bool known;

    (void)flags;
    if (err)
        return err;
    known = gw_session_inbound_remove(c->session, a.packet_id);
    acknowledge_durably(c, GW_MQTT_PUBCOMP, a.packet_id,
                        known ? GW_MQTT_SUCCESS : GW_MQTT_ID_NOT_FOUND);
    return 0;
}

/* ---- out ---- */

/* It arrived, as far as the protocol goes: the next may follow. */
static void delivered(struct conn *c, const struct gw_delivery *d)
{
    if (!d->release_only)
        c->in_flight--;
    if (gw_session_acked(c->session, d->id) == 0)
        gw_session_resume(c->session);
}

/* Is this what the delivery waits for [MQTT-4.3.2-3], [MQTT-4.3.3-3], [MQTT-4.3.3-5]? */
static bool is_due(enum gw_mqtt_type type, const struct gw_delivery *d)
{
    if (type == GW_MQTT_PUBACK)
        return d->qos == 1;
    return d->qos == 2 && (type == GW_MQTT_PUBREC || d->state == GW_DELIVERY_RELEASED);
}

static int on_final_ack(struct conn *c, enum gw_mqtt_type type, struct gw_slice body)
{
    struct gw_mqtt_ack a;
    int err = read_ack(c, type, body, &a);
    const struct gw_delivery *d = err ? NULL : gw_session_inflight(c->session, a.packet_id);

    if (!d) /* one of an earlier connection, or none at all: nothing depends on it */
        return err;
    if (!is_due(type, d))
        return GW_EPROTOCOL;
    delivered(c, d);
    return 0;
}

int on_puback(struct conn *c, uint8_t flags, struct gw_slice body)
{
    (void)flags;
    return on_final_ack(c, GW_MQTT_PUBACK, body);
}

int on_pubcomp(struct conn *c, uint8_t flags, struct gw_slice body)
{
    (void)flags;
    return on_final_ack(c, GW_MQTT_PUBCOMP, body);
}

int on_pubrec(struct conn *c, uint8_t flags, struct gw_slice body)
{
    struct gw_mqtt_ack a;
    int err = read_ack(c, GW_MQTT_PUBREC, body, &a);
    const struct gw_delivery *d;
    int result;

    (void)flags;
    if (err)
        return err;
    d = gw_session_inflight(c->session, a.packet_id);
    if (d && !is_due(GW_MQTT_PUBREC, d))
        return GW_EPROTOCOL;
    if (a.reason >= GW_MQTT_UNSPECIFIED) { /* the receiver does not want it [MQTT-4.4.0-2] */
        if (d)
            delivered(c, d);
        return 0;
    }
    result = gw_session_received(c->session, a.packet_id);
    if (result == 0)
        acknowledge_durably(c, GW_MQTT_PUBREL, a.packet_id, GW_MQTT_SUCCESS);
    else if (result == 1 || result == GW_ENOTFOUND)
        acknowledge(c, GW_MQTT_PUBREL, a.packet_id,
                    result == 1 ? GW_MQTT_SUCCESS : GW_MQTT_ID_NOT_FOUND);
    return result == -ENOMEM ? result : 0;
}

/* Seconds that are left, rounded up; 0xFFFFFFFF is the largest that there is. */
static uint32_t expiry_left(uint64_t expires_ms, uint64_t now)
{
    uint64_t left_ms = expires_ms > now ? expires_ms - now : 0;

    return (uint32_t)GW_MIN((left_ms + 999) / 1000, (uint64_t)UINT32_MAX);
}

static void fill(const struct conn *c, const struct gw_delivery *d, struct gw_mqtt_publish *out)
{
    const struct gw_msg *m = d->msg;
    uint64_t now = gw_loop_now_ms(c->server->loop);

    *out = (struct gw_mqtt_publish){
        .qos = d->qos,
        .dup = d->repeated, /* [MQTT-3.3.1-1] */
        .retain = d->retain,
        .packet_id = d->id,
        .topic = m->topic,
        .payload = m->payload,
    };
    if (c->version < GW_MQTT_V5)
        return;
    if (m->has_format || m->utf8) /* [MQTT-3.3.2-4] */
        GW_MQTT_SET(out->props, payload_format, m->utf8);
    if (m->expires_ms) /* [MQTT-3.3.2-6]: what is left of it */
        GW_MQTT_SET(out->props, message_expiry, expiry_left(m->expires_ms, now));
    if (m->content_type.ptr) /* [MQTT-3.3.2-20] */
        GW_MQTT_SET(out->props, content_type, m->content_type);
    if (m->response_topic.len) /* [MQTT-3.3.2-15] */
        GW_MQTT_SET(out->props, response_topic, m->response_topic);
    if (m->correlation.ptr) /* [MQTT-3.3.2-16] */
        GW_MQTT_SET(out->props, correlation, m->correlation);
    out->props.user = m->user_props; /* [MQTT-3.3.2-17], [MQTT-3.3.2-18] */
    out->props.sub_ids = d->sub_ids;
    out->props.sub_id_count = d->sub_id_count;
}

static bool is_cached(const struct conn *c, const struct gw_delivery *d)
{
    const struct head_cache *k = &c->server->cache;

    return k->msg && k->msg == d->msg && k->version == c->version && k->qos == d->qos &&
           k->retain == d->retain;
}

/* One of its kind for everybody: no repetition, no labels, no time that runs. */
static bool is_common(const struct gw_delivery *d)
{
    return !d->repeated && !d->sub_id_count && !d->msg->expires_ms;
}

/* The head for a client that takes topic aliases; no other connection's is the same. */
static struct gw_slice head_with_alias(struct conn *c, const struct gw_delivery *d,
                                       unsigned *out_alias)
{
    struct gw_mqtt_server *s = c->server;
    struct gw_writer w = gw_writer_of(s->scratch, s->scratch_size);
    struct gw_mqtt_publish p;
    unsigned alias;
    bool known;

    gw_msg_unref(&s->cache.msg);
    fill(c, d, &p);
    alias = alias_out(c, p.topic, &known);
    if (alias)
        GW_MQTT_SET(p.props, topic_alias, (uint16_t)alias);
    if (known)
        p.topic = GW_SLICE("", 0);
    *out_alias = known ? 0 : alias;
    gw_mqtt_publish_head_encode(&w, c->version, &p, &s->cache.id_offset);
    return gw_writer_done(&w);
}

/* The head of this delivery in the scratch memory; empty when it is larger than we could take. */
static struct gw_slice head_of(struct conn *c, const struct gw_delivery *d)
{
    struct gw_mqtt_server *s = c->server;
    struct gw_writer w = gw_writer_of(s->scratch, s->scratch_size);
    struct gw_mqtt_publish p;

    if (!is_common(d) || !is_cached(c, d)) {
        gw_msg_unref(&s->cache.msg);
        fill(c, d, &p);
        gw_mqtt_publish_head_encode(&w, c->version, &p, &s->cache.id_offset);
        if (w.err)
            return GW_SLICE_NONE;
        s->cache.len = w.len;
        if (is_common(d)) {
            s->cache.msg = gw_msg_ref(d->msg);
            s->cache.version = c->version;
            s->cache.qos = d->qos;
            s->cache.retain = d->retain;
        }
    }
    if (d->qos) {
        s->scratch[s->cache.id_offset] = (uint8_t)(d->id >> 8);
        s->scratch[s->cache.id_offset + 1] = (uint8_t)d->id;
    }
    return GW_SLICE(s->scratch, s->cache.len);
}

static bool fits(const struct conn *c, const struct gw_delivery *d, struct gw_slice head)
{
    return head.len && head.len + d->msg->payload.len <= c->packet_max; /* [MQTT-3.1.2-24] */
}

static int send_publish(struct conn *c, const struct gw_delivery *d)
{
    unsigned alias = 0; /* that the client does not know yet */
    struct gw_slice head = c->alias_max ? head_with_alias(c, d, &alias) : head_of(c, d);
    int err;

    if (alias && !fits(c, d, head)) { /* a new alias makes it longer */
        alias = 0;
        head = head_of(c, d);
    }
    if (!fits(c, d, head))
        return GW_ETOOBIG;
    err = gw_stream_write(c->stream, head);
    if (!err && d->msg->payload.len)
        err = gw_stream_write(c->stream, d->msg->payload);
    if (!err && alias)
        alias_sent(c, alias, d->msg->topic);
    if (!err)
        return 0;
    /* Half a packet may be out: the connection is of no use any more. */
    c->delivering = true;
    conn_fail(c, err);
    c->delivering = false;
    return -EAGAIN;
}

int on_deliver(void *owner, const struct gw_delivery *d)
{
    struct conn *c = owner;
    int err = 0;

    if (c->state != CONN_ACTIVE || c->corked || gw_stream_pending(c->stream) >= OUTPUT_HIGH)
        return -EAGAIN;
    if (c->paused & PAUSE_OUTPUT) /* the sooner it is heard again */
        return -EAGAIN;
    if (d->state == GW_DELIVERY_RELEASED) { /* [MQTT-3.3.4-10]: whatever else is on its way */
        c->delivering = true;
        acknowledge(c, GW_MQTT_PUBREL, d->id, GW_MQTT_SUCCESS);
        c->delivering = false;
        return c->state == CONN_ACTIVE ? 0 : -EAGAIN;
    }
    if (d->qos > 0 && c->in_flight >= c->send_max) /* [MQTT-3.3.4-9] */
        return -EAGAIN;
    err = send_publish(c, d);
    c->in_flight += !err && d->qos > 0;
    return err;
}
