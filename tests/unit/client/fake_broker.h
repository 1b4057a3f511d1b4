/* SPDX-License-Identifier: GPL-2.0-only */
/** @file A broker for tests: one TLS connection at a time, whose answers the test chooses. */
#pragma once

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>

#include "mqtt/mqtt.h"
#include "net/net.h"
#include "tls/tls.h"

#define BROKER_KEEP 4096

/** A PUBLISH as it came. */
struct broker_publish {
    char topic[128];
    uint8_t payload[1536];
    size_t len;
    uint16_t id;
    bool dup, retain;
};

struct broker {
    struct gw_loop *loop;
    struct gw_key *ca_key, *key;
    struct gw_buf ca_pem, chain_pem;
    struct gw_tls_server *tls;
    struct gw_listener *listener;
    struct gw_stream *stream; /* NULL: nobody is connected */
    bool closing;
    uint16_t port;
    /* what it does */
    bool refuse_v5, close_v5, silent, hold_acks;
    uint8_t connack_code;
    struct gw_mqtt_props connack_props;
    uint8_t puback_reason; /* for publishes on topics that contain `refuse` */
    const char *refuse;
    /* what it saw */
    unsigned connects;
    uint8_t version; /* of the last CONNECT */
    char client_id[64], user[64], will_topic[128];
    struct broker_publish got[BROKER_KEEP];
    size_t count, acked;
};

static inline void broker_write(struct broker *b, const struct gw_writer *w)
{
    cr_assert_eq(w->err, 0);
    cr_assert_eq(gw_stream_write(b->stream, gw_writer_done(w)), 0);
}

static inline void broker_ack(struct broker *b, uint16_t id, uint8_t reason)
{
    uint8_t room[16];
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    struct gw_mqtt_ack ack = {.packet_id = id, .reason = reason};

    gw_mqtt_ack_encode(&w, GW_MQTT_PUBACK, b->version, &ack);
    broker_write(b, &w);
}

/** Acknowledge everything that was held back. */
static inline void broker_ack_all(struct broker *b)
{
    for (; b->acked < b->count; b->acked++)
        broker_ack(b, b->got[b->acked].id, 0);
}

static inline void broker_copy(char *to, size_t cap, struct gw_slice from)
{
    (void)snprintf(to, cap, "%.*s", (int)from.len, from.len ? (const char *)from.ptr : "");
}

static inline void broker_connect(struct broker *b, struct gw_slice body)
{
    struct gw_mqtt_connack ack = {.code = b->connack_code};
    struct gw_mqtt_connect c;
    uint8_t room[256];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    cr_assert_eq(gw_mqtt_connect_decode(body, &c), 0);
    b->connects++;
    b->version = c.version;
    broker_copy(b->client_id, sizeof(b->client_id), c.client_id);
    broker_copy(b->user, sizeof(b->user), c.user);
    broker_copy(b->will_topic, sizeof(b->will_topic), c.has_will ? c.will.topic : GW_SLICE_NONE);
    if (c.version == GW_MQTT_V5 && b->close_v5) {
        b->closing = true;
        gw_stream_close(b->stream, 0);
        return;
    }
    if (b->silent)
        return;
    if (c.version == GW_MQTT_V5 && b->refuse_v5) {
        ack.code = 1; /* as a broker that knows only 3.1.1 says it */
        gw_mqtt_connack_encode(&w, GW_MQTT_V311, &ack);
    } else {
        ack.props = b->connack_props;
        gw_mqtt_connack_encode(&w, c.version, &ack);
    }
    broker_write(b, &w);
}

static inline void broker_publish(struct broker *b, uint8_t flags, struct gw_slice body)
{
    struct broker_publish *got = &b->got[b->count++];
    struct gw_mqtt_publish p;

    cr_assert_leq(b->count, BROKER_KEEP);
    cr_assert_eq(gw_mqtt_publish_decode(body, flags, b->version, &p), 0);
    *got = (struct broker_publish){.id = p.packet_id, .dup = p.dup, .retain = p.retain};
    broker_copy(got->topic, sizeof(got->topic), p.topic);
    got->len = GW_MIN(p.payload.len, sizeof(got->payload));
    if (got->len)
        memcpy(got->payload, p.payload.ptr, got->len);
    if (b->hold_acks)
        return;
    b->acked = b->count;
    broker_ack(b, p.packet_id, b->refuse && strstr(got->topic, b->refuse) ? b->puback_reason : 0);
}

static inline void broker_packet(struct broker *b, uint8_t head, struct gw_slice body)
{
    uint8_t room[16];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    switch (head >> 4) {
    case GW_MQTT_CONNECT:
        broker_connect(b, body);
        break;
    case GW_MQTT_PUBLISH:
        broker_publish(b, head & 15, body);
        break;
    case GW_MQTT_PINGREQ:
        gw_mqtt_ping_encode(&w, GW_MQTT_PINGRESP);
        if (!b->silent)
            broker_write(b, &w);
        break;
    case GW_MQTT_DISCONNECT:
        break;
    default:
        cr_assert_fail("packet type %d", head >> 4);
    }
}

static inline void broker_event(void *owner, enum gw_stream_event ev)
{
    struct broker *b = owner;
    struct gw_slice input, body;
    uint8_t head;

    if (ev == GW_STREAM_CLOSED)
        gw_stream_free(&b->stream);
    while (ev == GW_STREAM_DATA && (input = gw_stream_input(b->stream)).len &&
           gw_mqtt_frame(input, 2u << 20, &head, &body) == 0) {
        size_t len = (size_t)(body.ptr + body.len - input.ptr);

        broker_packet(b, head, body);
        if (b->closing)
            return;
        gw_stream_consume(b->stream, len);
    }
}

static inline void broker_accept(void *owner, int fd, const struct gw_addr *peer)
{
    struct broker *b = owner;
    struct gw_stream_limits limits = {.output_max = 1u << 20, .input_max = 4u << 20};

    (void)peer;
    gw_stream_free(&b->stream);
    b->closing = false;
    cr_assert_eq(gw_tls_accept(b->loop, b->tls, fd, &limits, &b->stream), 0);
    gw_stream_attach(b->stream, broker_event, b);
}

/** The connection breaks, without a word. */
static inline void broker_cut(struct broker *b)
{
    gw_stream_free(&b->stream);
}

static inline void broker_make_certs(struct broker *b)
{
    static const uint8_t loop4[4] = {127, 0, 0, 1};
    GW_CLEANUP(gw_buf_fini) struct gw_buf ca = {.max = 8192}, der = {.max = 8192};
    const char *const dns[] = {"broker.test", NULL};
    const struct gw_slice addrs[] = {GW_SLICE(loop4, 4), GW_SLICE_NONE};
    struct gw_cert_request req = {.use = GW_CERT_CA,
                                  .common_name = "Broker CA",
                                  .not_before_s = 1700000000,
                                  .not_after_s = 4000000000};

    b->ca_pem.max = b->chain_pem.max = 16384;
    cr_assert_eq(gw_key_generate(&b->ca_key), 0);
    cr_assert_eq(gw_key_generate(&b->key), 0);
    cr_assert_eq(gw_cert_issue(&req, b->ca_key, GW_SLICE_NONE, b->ca_key, &ca), 0);
    cr_assert_eq(gw_pem_from_der("CERTIFICATE", gw_buf_slice(&ca), &b->ca_pem), 0);
    req = (struct gw_cert_request){.use = GW_CERT_SERVER,
                                   .common_name = "broker",
                                   .dns_names = dns,
                                   .addresses = addrs,
                                   .not_before_s = 1700000000,
                                   .not_after_s = 4000000000};
    cr_assert_eq(gw_cert_issue(&req, b->key, gw_buf_slice(&ca), b->ca_key, &der), 0);
    cr_assert_eq(gw_pem_from_der("CERTIFICATE", gw_buf_slice(&der), &b->chain_pem), 0);
    cr_assert_eq(gw_buf_append(&b->chain_pem, gw_buf_slice(&b->ca_pem)), 0);
}

static inline void broker_open(struct broker *b, struct gw_loop *loop)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct gw_addr addr = {.len = sizeof(at)};
    struct gw_tls_server_config tls = {.auth = GW_TLS_AUTH_NONE, .handshake_ms = 5000};
    socklen_t len = sizeof(at);
    int fd;

    b->loop = loop;
    broker_make_certs(b);
    tls.chain_pem = gw_buf_slice(&b->chain_pem);
    tls.key = b->key;
    memcpy(&addr.sa, &at, sizeof(at));
    fd = gw_listen_tcp(&addr);
    cr_assert_geq(fd, 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    b->port = ntohs(at.sin_port);
    cr_assert_eq(gw_tls_server_new(&tls, &b->tls), 0);
    cr_assert_eq(gw_listener_new(loop, fd, 4, broker_accept, b, &b->listener), 0);
}

static inline void broker_close(struct broker *b)
{
    gw_stream_free(&b->stream);
    gw_listener_free(&b->listener);
    gw_tls_server_free(&b->tls);
    gw_key_free(&b->ca_key);
    gw_key_free(&b->key);
    gw_buf_fini(&b->ca_pem);
    gw_buf_fini(&b->chain_pem);
}

/** Turn the loop until `done` says so, or for `ms` at most; what `done` says. */
static inline bool turn_until(struct gw_loop *loop, bool (*done)(void), unsigned ms)
{
    uint64_t until = gw_loop_now_ms(loop) + ms;

    while (!done() && gw_loop_now_ms(loop) < until)
        cr_assert_eq(gw_loop_turn(loop, 5), 0);
    return done();
}
