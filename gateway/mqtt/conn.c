/* SPDX-License-Identifier: GPL-2.0-only */
#include "mqtt/server_priv.h"

#include <assert.h>
#include <errno.h>

#define HEARD_BYTES                                                                                \
    1024 /* of one packet that is still coming: a sign of life, unlike a dribble                   \
          */

static int on_pingreq(struct conn *c, uint8_t flags, struct gw_slice body);
static int on_disconnect(struct conn *c, uint8_t flags, struct gw_slice body);

/* Every packet that a client may send, and the one state it may send it in (§3). */
static const struct {
    enum conn_state when;
    int (*handle)(struct conn *c, uint8_t flags, struct gw_slice body);
} rules[16] = {
    [GW_MQTT_CONNECT] = {CONN_FRESH, on_connect}, /* [MQTT-3.1.0-1], [MQTT-3.1.0-2] */
    [GW_MQTT_PUBLISH] = {CONN_ACTIVE, on_publish},
    [GW_MQTT_PUBACK] = {CONN_ACTIVE, on_puback},
    [GW_MQTT_PUBREC] = {CONN_ACTIVE, on_pubrec},
    [GW_MQTT_PUBREL] = {CONN_ACTIVE, on_pubrel},
    [GW_MQTT_PUBCOMP] = {CONN_ACTIVE, on_pubcomp},
    [GW_MQTT_SUBSCRIBE] = {CONN_ACTIVE, on_subscribe},
    [GW_MQTT_UNSUBSCRIBE] = {CONN_ACTIVE, on_unsubscribe},
    [GW_MQTT_PINGREQ] = {CONN_ACTIVE, on_pingreq},
    [GW_MQTT_DISCONNECT] = {CONN_ACTIVE, on_disconnect},
};

/* X(error, reason, it is a malformed packet that counts against the device) */
#define REASONS(X)                                                                                 \
    X(GW_ESHORT, GW_MQTT_MALFORMED, true)                                                          \
    X(GW_ETRAIL, GW_MQTT_MALFORMED, true)                                                          \
    X(GW_EMALFORMED, GW_MQTT_MALFORMED, true)                                                      \
    X(GW_EPROTOCOL, GW_MQTT_PROTOCOL_ERROR, true)                                                  \
    X(GW_ESTATE, GW_MQTT_PROTOCOL_ERROR, true)                                                     \
    X(GW_ETOOBIG, GW_MQTT_TOO_LARGE, true)                                                         \
    X(GW_EUNSUPPORTED, GW_MQTT_IMPLEMENTATION, false)                                              \
    X(GW_EIDLE, GW_MQTT_KEEP_ALIVE, false)                                                         \
    X(GW_EDENIED, GW_MQTT_NOT_AUTHORIZED, false)                                                   \
    X(GW_EREVOKED, GW_MQTT_NOT_AUTHORIZED, false)                                                  \
    X(GW_EIDENTITY, GW_MQTT_NOT_AUTHORIZED, false)                                                 \
    X(GW_EQUARANTINED, GW_MQTT_ADMINISTRATIVE, false)                                              \
    X(GW_EQUOTA, GW_MQTT_QUOTA, false)                                                             \
    X(GW_EFULL, GW_MQTT_QUOTA, false)                                                              \
    X(GW_ESPOOLFULL, GW_MQTT_QUOTA, false)                                                         \
    X(GW_EQUEUEFULL, GW_MQTT_QUOTA, false)                                                         \
    X(GW_ECLOSED, GW_MQTT_SHUTTING_DOWN, false)

static const struct {
    int err;
    uint8_t reason;
    bool strike;
} reasons[] = {
#define X(err, reason, strike) {err, reason, strike},
    REASONS(X)
#undef X
};

uint8_t reason_of(int err)
{
    for (size_t i = 0; i < GW_COUNT(reasons); i++)
        if (reasons[i].err == err)
            return reasons[i].reason;
    return GW_MQTT_UNSPECIFIED;
}

static bool is_strike(int err)
{
    for (size_t i = 0; i < GW_COUNT(reasons); i++)
        if (reasons[i].err == err)
            return reasons[i].strike;
    return false;
}

/* ---- the end ---- */

static enum gw_cause cause_of(int err)
{
    switch (err) {
    case GW_EIDLE:
        return GW_CAUSE_KEEPALIVE;
    case GW_EQUARANTINED:
        return GW_CAUSE_QUARANTINED;
    case GW_EREVOKED:
        return GW_CAUSE_REVOKED;
    default: /* it went without a good-bye, or was sent away for what it did */
        return GW_CAUSE_RESET;
    }
}

void conn_finish(struct conn *c)
{
    struct will *will = GW_TAKE(c->will);

    gw_session_detach(&c->session);
    subacks_drop(c);
    if (will)
        will_due(c, &will);
    gw_peer_gone(&c->peer, c->cause);
}

void conn_close(struct conn *c, int err, uint8_t reason)
{
    uint8_t room[4];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    if (c->state == CONN_CLOSED)
        return;
    /* [MQTT-3.14.0-1]; a server has no DISCONNECT in 3.1.1, [MQTT-4.8.0-1] there. */
    if (reason && c->state == CONN_ACTIVE && c->version >= GW_MQTT_V5) {
        gw_mqtt_disconnect_encode(&w, GW_MQTT_DISCONNECT, c->version,
                                  &(struct gw_mqtt_disconnect){.reason = reason});
        if (w.len <= c->packet_max)
            (void)!gw_stream_write(c->stream, gw_writer_done(&w)); /* it is leaving anyway */
    }
    if (c->cause == GW_CAUSE_CONNECT)
        c->cause = cause_of(err);
    c->state = CONN_CLOSED;
    gw_timer_stop(&c->timer);
    gw_timer_stop(&c->quota_timer);
    gw_stream_close(c->stream, err); /* [MQTT-3.14.4-2], [MQTT-4.13.2-1] */
    /* No loop will turn again, or the device's packets pass no longer. */
    if (c->server->stopping || err == GW_EREVOKED || err == GW_EQUARANTINED)
        gw_stream_flush(c->stream);
    if (!c->delivering) /* the hub is in the middle of a fan-out: at CLOSED then */
        conn_finish(c);
}

static void say_failure(const struct conn *c, int err)
{
    struct gw_log_limit *limit = &c->server->refusals;
    char peer[GW_ADDR_TEXT], client[GW_LOG_TEXT];
    const char *detail = gw_stream_detail(c->stream);

    if (!gw_log_allowed(limit, gw_loop_now_ms(c->server->loop)))
        return;
    gw_log_info("mqtt: connection ended device=%s client=%s peer=%s reason=\"%s\"%s%s not_shown=%u",
                *c->device ? c->device : "-",
                gw_log_text(GW_SLICE(c->client, c->client_len), client),
                gw_addr_text(gw_stream_peer(c->stream), peer), gw_error_text(err),
                *detail ? " detail=" : "", detail, limit->muted);
    limit->muted = 0;
}

void conn_fail_as(struct conn *c, int err, uint8_t reason)
{
    if (c->state == CONN_CLOSED)
        return;
    say_failure(c, err);
    if (*c->device && is_strike(err)) /* a verdict may close the connection right here */
        gw_peers_strike(c->server->peers, c->device, GW_STRIKE_MALFORMED); /* [MQTT-4.13.1-1] */
    conn_close(c, err, reason);
}

void conn_fail(struct conn *c, int err)
{
    conn_fail_as(c, err, reason_of(err));
}

void conn_free(struct conn *c)
{
    c->state = CONN_CLOSED;
    conn_finish(c);
    gw_timer_stop(&c->timer);
    gw_timer_stop(&c->quota_timer);
    alias_free(&c->aliases_in);
    alias_free(&c->aliases_out);
    gw_stream_free(&c->stream);
    gw_list_remove(&c->link);
    c->server->count--;
    free(c);
}

/* ---- output and flow ---- */

/* A client that reads slowly goes on being heard, or its pings would not keep its connection; one
 * that asks and asks and does not read is not. */
static void count_answer(struct conn *c, size_t len)
{
    if (gw_stream_pending(c->stream) <= OUTPUT_HIGH) {
        c->answered = 0;
        return;
    }
    c->answered += len;
    if (c->answered > ANSWERS_MAX)
        conn_pause(c, PAUSE_OUTPUT);
}

void conn_write(struct conn *c, struct gw_slice packet)
{
    int err;

    if (c->state == CONN_CLOSED)
        return;
    if (packet.len > c->packet_max) { /* [MQTT-3.1.2-24]: what it asked for cannot be answered */
        conn_fail_as(c, GW_EUNSUPPORTED, GW_MQTT_TOO_LARGE);
        return;
    }
    err = gw_stream_write(c->stream, packet);
    if (err) {
        conn_fail(c, err);
        return;
    }
    count_answer(c, packet.len);
}

void conn_pause(struct conn *c, enum conn_pause why)
{
    c->paused |= (uint8_t)why;
    if (c->state < CONN_CLOSED)
        gw_stream_pause(c->stream, true);
}

void conn_unpause(struct conn *c, enum conn_pause why)
{
    if (!(c->paused & why))
        return;
    c->paused &= (uint8_t)~why;
    if (!c->paused && c->state < CONN_CLOSED)
        gw_stream_pause(c->stream, false); /* what waits comes with a DATA */
}

/* ---- input ---- */

static int dispatch(struct conn *c, uint8_t head, struct gw_slice body)
{
    unsigned type = head >> 4;

    /* [MQTT-4.12.0-7] */
    if (!rules[type].handle) /* what only a server sends, and AUTH, which was refused */
        return c->state == CONN_FRESH ? GW_ESTATE : GW_EPROTOCOL;
    if (rules[type].when != c->state)
        return GW_ESTATE;
    return rules[type].handle(c, head & 15, body);
}

/* A packet was heard [MQTT-3.1.2-22], or enough more of a large one. */
static void hear(struct conn *c, size_t used, size_t left)
{
    if (!used && left < c->heard_left + HEARD_BYTES)
        return;
    c->heard_ms = gw_loop_now_ms(c->server->loop);
    c->heard_left = left;
    if (c->peer)
        gw_peer_touch(c->peer);
}

/* Every complete packet that waits, in place; then one consume. */
static void read_packets(struct conn *c)
{
    struct gw_slice left = gw_stream_input(c->stream);
    size_t used = 0;
    int err = 0;

    while (!err && c->state < CONN_CLOSED && !c->paused) {
        struct gw_slice body;
        uint8_t head;

        err = gw_mqtt_frame(left, c->input_max, &head, &body);
        if (err == GW_ETOOBIG)
            gw_peers_limit(c->server->peers, GW_LIMIT_MESSAGE_BYTES);
        if (!err)
            err = dispatch(c, head, body);
        if (c->state == CONN_CLOSED)
            return; /* the input is gone with it */
        if (!err) {
            size_t size = (size_t)(body.ptr - left.ptr) + body.len;

            used += size;
            left = GW_SLICE(left.ptr + size, left.len - size);
        }
    }
    if (c->state < CONN_CLOSED) {
        hear(c, used, left.len);
        gw_stream_consume(c->stream, used);
    }
    if (err && err != -EAGAIN)
        conn_fail(c, err);
}

static void on_data(struct conn *c)
{
    if (!c->paused) /* else nothing is read, and the clock stands */
        read_packets(c);
}

static int on_pingreq(struct conn *c, uint8_t flags, struct gw_slice body)
{
    uint8_t room[2];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    (void)flags;
    if (body.len)
        return GW_EMALFORMED;
    gw_mqtt_ping_encode(&w, GW_MQTT_PINGRESP); /* [MQTT-3.12.4-1] */
    conn_write(c, gw_writer_done(&w));
    return 0;
}

/* The reasons that a client has to leave (§3.14.2.1). */
static bool may_say(uint8_t reason)
{
    switch (reason) {
    case GW_MQTT_SUCCESS:
    case GW_MQTT_DISCONNECT_WITH_WILL:
    case GW_MQTT_UNSPECIFIED:
    case GW_MQTT_MALFORMED:
    case GW_MQTT_PROTOCOL_ERROR:
    case GW_MQTT_IMPLEMENTATION:
    case GW_MQTT_BAD_TOPIC:
    case GW_MQTT_RECEIVE_MAXIMUM:
    case GW_MQTT_BAD_ALIAS:
    case GW_MQTT_TOO_LARGE:
    case GW_MQTT_RATE:
    case GW_MQTT_QUOTA:
    case GW_MQTT_ADMINISTRATIVE:
    case GW_MQTT_BAD_PAYLOAD:
        return true;
    default:
        return false;
    }
}

static int on_disconnect(struct conn *c, uint8_t flags, struct gw_slice body)
{
    struct gw_mqtt_disconnect d;
    int err = gw_mqtt_disconnect_decode(body, GW_MQTT_DISCONNECT, c->version, &d);

    (void)flags;
    if (err)
        return err;
    if (!may_say(d.reason))
        return GW_EPROTOCOL;
    if (GW_MQTT_HAS(d.props, session_expiry)) {
        if (!c->expiry_s && d.props.session_expiry) /* §3.14.2.2.2 */
            return GW_EPROTOCOL;
        c->expiry_s = d.props.session_expiry;
        gw_session_set_expiry(c->session, c->expiry_s);
    }
    if (d.reason == GW_MQTT_SUCCESS) /* [MQTT-3.14.4-3], [MQTT-3.1.2-10] */
        will_forget(&c->will);
    c->cause = GW_CAUSE_LEFT;
    conn_close(c, 0, 0);
    return 0;
}

/* ---- the stream ---- */

static void on_timer(void *owner)
{
    struct conn *c = owner;
    uint64_t quiet_ms = gw_loop_now_ms(c->server->loop) - c->heard_ms;

    if (c->state < CONN_ACTIVE) {
        conn_fail(c, GW_ETIMEOUT);
        return;
    }
    if (c->paused &
        (PAUSE_QUOTA | PAUSE_ACKS | PAUSE_SESSION)) /* we do not listen, so nothing can be heard */
        quiet_ms = 0;
    if (quiet_ms >= keep_alive_ms(c)) /* [MQTT-3.1.2-22] */
        conn_fail(c, GW_EIDLE);
    else
        gw_timer_start(c->server->loop, &c->timer, keep_alive_ms(c) - quiet_ms);
}

static void on_quota(void *owner)
{
    conn_unpause(owner, PAUSE_QUOTA);
}

static void on_ready(struct conn *c)
{
    const struct gw_identity *id = gw_stream_identity(c->stream);

    if (!id || !*id->device) {
        conn_fail(c, GW_EIDENTITY);
        return;
    }
    memcpy(c->device, id->device, sizeof(c->device));
    c->state = CONN_FRESH;
    gw_timer_start(c->server->loop, &c->timer, CONNECT_MS);
}

static void on_drained(struct conn *c)
{
    if (c->paused & PAUSE_OUTPUT) /* until now we did not listen */
        c->heard_ms = gw_loop_now_ms(c->server->loop);
    c->answered = 0;
    conn_unpause(c, PAUSE_OUTPUT);
    if (c->session)
        gw_session_resume(c->session);
}

static void on_closed(struct conn *c)
{
    int err = gw_stream_error(c->stream);

    /* What we closed was said when we did. */
    if (c->state < CONN_ACTIVE)
        say_failure(c, err ? err : -ECONNRESET);
    if (c->state < CONN_CLOSED)
        c->cause = cause_of(err);
    conn_free(c);
}

static void on_stream(void *owner, enum gw_stream_event ev)
{
    struct conn *c = owner;

    switch (ev) {
    case GW_STREAM_READY:
        if (c->state == CONN_OPENING)
            on_ready(c);
        break;
    case GW_STREAM_DATA:
        if (c->state < CONN_CLOSED)
            on_data(c);
        break;
    case GW_STREAM_DRAINED:
        if (c->state < CONN_CLOSED)
            on_drained(c);
        break;
    case GW_STREAM_CLOSED:
        on_closed(c);
        break;
    }
}

int conn_new(struct gw_mqtt_server *s, struct gw_stream *stream, struct conn **out)
{
    struct conn *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->server = s;
    c->stream = stream;
    c->cause = GW_CAUSE_CONNECT; /* nothing ended it yet */
    c->packet_max = SIZE_MAX;    /* until it says otherwise */
    c->input_max = (size_t)s->config->limits.message_bytes + PACKET_OVERHEAD;
    gw_list_init(&c->subacks);
    gw_timer_init(&c->timer, on_timer, c);
    gw_timer_init(&c->quota_timer, on_quota, c);
    gw_list_append(&s->fresh, &c->link);
    s->count++;
    *out = c;
    gw_stream_attach(stream, on_stream, c);
    if (*gw_stream_identity(stream)->device) /* READY was before us */
        on_ready(c);
    return 0;
}
