/* SPDX-License-Identifier: GPL-2.0-only */
#include "mqtt/server_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/random.h>

#define ASSIGNED_BYTES 8 /* of randomness in a client identifier that we make */
#define BRIDGE 0x80      /* beside the protocol level: what connects is a broker */
#define WELCOME_HEAD 5   /* bytes of a CONNACK in front of its properties, at most */

/* What 3.1.1 can say (§3.2.2.3 there). */
enum { V311_BAD_VERSION = 1, V311_BAD_CLIENT_ID = 2, V311_UNAVAILABLE = 3, V311_NOT_ALLOWED = 5 };

/* 0: no code speaks of it, and the client hears nothing, 3.1.1 [MQTT-3.2.2-6]. */
static uint8_t v311_code(uint8_t reason)
{
    switch (reason) {
    case GW_MQTT_BAD_VERSION:
        return V311_BAD_VERSION;
    case GW_MQTT_BAD_CLIENT_ID:
        return V311_BAD_CLIENT_ID;
    case GW_MQTT_NOT_AUTHORIZED:
    case GW_MQTT_BANNED:
        return V311_NOT_ALLOWED;
    case GW_MQTT_UNAVAILABLE:
    case GW_MQTT_QUOTA:
        return V311_UNAVAILABLE;
    default:
        return 0;
    }
}

/* A CONNACK that refuses is the last packet [MQTT-3.2.2-7]. */
static int refuse(struct conn *c, int err, uint8_t reason)
{
    uint8_t room[8];
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    struct gw_mqtt_connack ack = {.code = reason};

    if (c->version < GW_MQTT_V5)
        ack.code = v311_code(reason);
    if (ack.code) {
        gw_mqtt_connack_encode(&w, c->version, &ack);
        conn_write(c, gw_writer_done(&w));
    }
    conn_fail(c, err);
    return 0;
}

/* [MQTT-3.1.2-2]: in the form that a client of the version asked for understands best. The bridges
 * of some brokers set the top bit of a level below 5; told 0x01, they try again without. */
static int refuse_version(struct conn *c, uint8_t asked)
{
    bool bridge = asked >= BRIDGE && asked < BRIDGE + GW_MQTT_V5;

    c->version = asked > GW_MQTT_V5 && !bridge ? GW_MQTT_V5 : GW_MQTT_V311;
    return refuse(c, GW_EUNSUPPORTED, GW_MQTT_BAD_VERSION);
}

static int take_client_id(struct conn *c, const struct gw_mqtt_connect *p, bool *out_assigned)
{
    uint8_t random[ASSIGNED_BYTES];
    char hex[2 * ASSIGNED_BYTES + 1];

    *out_assigned = p->client_id.len == 0;
    if (!*out_assigned) {
        if (p->client_id.len > sizeof(c->client)) /* [MQTT-3.1.3-5] */
            return GW_ETOOBIG;
        memcpy(c->client, p->client_id.ptr, p->client_id.len);
        c->client_len = p->client_id.len;
        return 0;
    }
    if (p->version == GW_MQTT_V311 && !p->clean) /* 3.1.1 [MQTT-3.1.3-8] */
        return GW_EPROTOCOL;
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return GW_ECRYPTO;
    gw_hex(random, sizeof(random), hex); /* [MQTT-3.1.3-6] */
    c->client_len = sizeof(hex) - 1;
    memcpy(c->client, hex, c->client_len);
    return 0;
}

/* What the client asks for [MQTT-3.2.2-22]; MQTT 5 lets us set a limit. */
static uint16_t keep_alive_of(const struct conn *c, const struct gw_mqtt_connect *p)
{
    uint32_t max_s = c->server->config->limits.keep_alive_s;

    if (p->version < GW_MQTT_V5 || !max_s || (p->keep_alive_s && p->keep_alive_s <= max_s))
        return p->keep_alive_s;
    return (uint16_t)max_s;
}

static void take_terms(struct conn *c, const struct gw_mqtt_connect *p)
{
    c->send_max = SEND_MAX;
    c->packet_max = GW_MQTT_REMAINING_MAX;
    if (p->version == GW_MQTT_V311) { /* 3.1.1 [MQTT-3.1.2-4], [MQTT-3.1.2-6] */
        c->expiry_s = p->clean ? 0 : GW_HUB_FOREVER;
    } else {
        c->expiry_s = p->props.session_expiry; /* absent: 0 */
        if (GW_MQTT_HAS(p->props, receive_maximum))
            c->send_max = GW_MIN(p->props.receive_maximum, (unsigned)SEND_MAX);
        if (GW_MQTT_HAS(p->props, maximum_packet_size))
            c->packet_max = p->props.maximum_packet_size;
        c->alias_max = GW_MIN(p->props.topic_alias_maximum, (unsigned)ALIAS_MAX); /* absent: 0 */
    }
    c->keep_alive_s = keep_alive_of(c, p);
}

static bool address_of(const struct gw_stream *stream, struct gw_hwaddr *out)
{
    const struct gw_addr *peer = gw_stream_peer(stream);
    const struct sockaddr_in6 *six = (const void *)&peer->sa;
    const struct sockaddr_in *four = (const void *)&peer->sa;

    if (peer->sa.ss_family == AF_INET)
        *out = gw_hwaddr_ipv4((const uint8_t *)&four->sin_addr);
    else if (peer->sa.ss_family == AF_INET6)
        *out = gw_hwaddr_ipv6(six->sin6_addr.s6_addr);
    else
        return false;
    return true;
}

static void on_shut_out(void *owner, int err)
{
    struct conn *c = owner;

    if (c->state == CONN_CLOSED)
        conn_finish(c);
    else
        conn_fail(c, err);
}

static int become_peer(struct conn *c)
{
    static const struct gw_peer_ops ops = {.published = on_published, .close = on_shut_out};
    struct gw_hwaddr ip;

    return gw_peer_new(c->server->peers, c->device, address_of(c->stream, &ip) ? &ip : NULL, &ops,
                       c, &c->peer);
}

static uint8_t refusal_of(int err)
{
    switch (err) {
    case GW_EQUARANTINED:
        return GW_MQTT_BANNED;
    case GW_EREVOKED:
    case GW_EIDENTITY:
        return GW_MQTT_NOT_AUTHORIZED;
    case GW_EFULL:
        return GW_MQTT_QUOTA;
    default:
        return GW_MQTT_UNAVAILABLE;
    }
}

static void on_taken_over(void *owner)
{
    struct conn *c = owner;

    if (c->state == CONN_CLOSED)
        conn_finish(c);
    else
        conn_close(c, GW_ECLOSED, GW_MQTT_TAKEN_OVER); /* [MQTT-3.1.4-3] */
}

static int join_session(struct conn *c, bool clean, bool *out_present)
{
    static const struct gw_session_ops ops = {
        .deliver = on_deliver, .taken_over = on_taken_over, .inbound = on_inbound};
    const struct gw_session_key key = {c->device, GW_SLICE(c->client, c->client_len)};
    int err = gw_session_attach(c->server->hub, &key, clean, c->expiry_s, &ops, c, &c->session,
                                out_present);

    if (!err)
        will_settle(c, !*out_present);
    return err;
}

/* The accepting CONNACK, but for "session present". */
struct welcome {
    struct gw_mqtt_connack ack;
    char own_topics[GW_DEVICE_ID_MAX + sizeof("d//")];
    char lost[96]; /* words for what the session's queue had no room for */
};

/* Where answers to the device's requests may go (§3.1.2.11.6): all of its own space. */
static void offer_response_space(struct conn *c, struct welcome *w)
{
    int len = snprintf(w->own_topics, sizeof(w->own_topics), "d/%s/", c->device);

    GW_MQTT_SET(w->ack.props, response_info, GW_SLICE(w->own_topics, (size_t)len));
}

static bool too_large(const struct conn *c, const struct gw_mqtt_props *props)
{
    return WELCOME_HEAD + mqtt_props_size(c->version, props) > c->packet_max; /* [MQTT-3.1.2-24] */
}

static int prepare_welcome(struct conn *c, const struct gw_mqtt_connect *p, bool assigned,
                           struct welcome *w)
{
    const struct gw_config *config = c->server->config;
    struct gw_mqtt_props *props = &w->ack.props;

    *w = (struct welcome){0};
    GW_MQTT_SET(*props, receive_maximum, RECEIVE_MAX);
    GW_MQTT_SET(*props, maximum_packet_size, (uint32_t)c->input_max);
    GW_MQTT_SET(*props, topic_alias_maximum, ALIAS_MAX);
    if (assigned) /* [MQTT-3.2.2-16], [MQTT-3.1.3-7] */
        GW_MQTT_SET(*props, assigned_client_id, GW_SLICE(c->client, c->client_len));
    if (c->keep_alive_s != p->keep_alive_s) /* [MQTT-3.2.2-21] */
        GW_MQTT_SET(*props, server_keep_alive, c->keep_alive_s);
    if (p->props.request_response && config->access.own_topics) /* [MQTT-3.1.2-28] */
        offer_response_space(c, w);
    if (too_large(c, props)) /* the only one that nothing depends on */
        props->present &= ~(1u << GW_MQTT_BIT_response_info);
    return too_large(c, props) ? GW_EUNSUPPORTED : 0;
}

/* The client hears how much its full queue lost while it was away, or did not read. */
static void tell_lost(struct conn *c, struct welcome *w)
{
    uint64_t lost = gw_session_take_lost(c->session);

    if (!lost)
        return;
    (void)snprintf(w->lost, sizeof(w->lost), "%llu messages were dropped: the queue was full",
                   (unsigned long long)lost);
    GW_MQTT_SET(w->ack.props, reason_string, gw_slice_str(w->lost));
    if (too_large(c, &w->ack.props)) /* [MQTT-3.2.2-19] */
        w->ack.props.present &= ~(1u << GW_MQTT_BIT_reason_string);
}

static void welcome(struct conn *c, struct welcome *from, bool present)
{
    uint8_t room[GW_DEVICE_ID_MAX + 256];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    tell_lost(c, from);
    from->ack.session_present = present; /* [MQTT-3.2.2-2], [MQTT-3.2.2-3] */
    gw_mqtt_connack_encode(&w, c->version, &from->ack);
    conn_write(c, gw_writer_done(&w));
}

/* 0; a failure with the reason that the client hears. */
static int check(struct conn *c, const struct gw_mqtt_connect *p, struct welcome *out,
                 uint8_t *out_reason)
{
    bool assigned;
    int err;

    *out_reason = GW_MQTT_BAD_AUTH_METHOD;
    if (GW_MQTT_HAS(p->props, auth_method)) /* [MQTT-4.12.0-1] */
        return GW_EUNSUPPORTED;
    *out_reason = GW_MQTT_BAD_TOPIC;
    if (p->has_will && !gw_topic_valid(p->will.topic))
        return GW_EMALFORMED;
    *out_reason = GW_MQTT_BAD_CLIENT_ID;
    err = take_client_id(c, p, &assigned);
    if (err)
        return err;
    *out_reason = GW_MQTT_TOO_LARGE;
    err = prepare_welcome(c, p, assigned, out);
    if (err)
        return err;
    *out_reason = GW_MQTT_QUOTA;
    return p->has_will ? will_new(c, &p->will) : 0;
}

int on_connect(struct conn *c, uint8_t flags, struct gw_slice body)
{
    struct gw_mqtt_connect p = {0};
    struct welcome accepted;
    bool present;
    uint8_t reason;
    int err = gw_mqtt_connect_decode(body, &p);

    (void)flags;
    if (err == GW_EUNSUPPORTED)
        return refuse_version(c, p.version);
    c->version = p.version;
    if (err && p.version == GW_MQTT_V5) /* §4.13.1 */
        return refuse(c, err, reason_of(err));
    if (err) /* 3.1.1 [MQTT-3.1.4-1]: without a CONNACK */
        return err;
    take_terms(c, &p);
    err = check(c, &p, &accepted, &reason); /* [MQTT-3.1.4-2] */
    if (!err) {
        err = become_peer(c);
        reason = refusal_of(err);
    }
    if (!err) {
        err = join_session(c, p.clean, &present); /* [MQTT-3.1.3-2], [MQTT-3.1.4-4] */
        reason = GW_MQTT_UNAVAILABLE;
    }
    if (err) {
        will_free(&c->will);           /* it was never accepted */
        return refuse(c, err, reason); /* [MQTT-3.1.4-6], [MQTT-3.1.3-8] */
    }
    c->state = CONN_ACTIVE;
    gw_list_remove(&c->link);
    gw_list_append(&c->server->conns, &c->link);
    gw_timer_stop(&c->timer);
    if (c->keep_alive_s)
        gw_timer_start(c->server->loop, &c->timer, keep_alive_ms(c));
    will_accept(c);
    welcome(c, &accepted, present); /* [MQTT-3.1.4-5], [MQTT-3.2.0-1] */
    if (c->session)
        gw_session_resume(c->session);
    return 0;
}
