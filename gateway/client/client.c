/* SPDX-License-Identifier: GPL-2.0-only */
#include "client/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "tls/tls.h"

#define ADDRS_MAX 8
#define DIAL_MS 10000    /* name, connection and handshake each */
#define HELLO_MS 10000   /* from CONNECT to CONNACK */
#define PAUSE_MIN_MS 500 /* after a loss; doubled for each round without success */
#define PAUSE_MAX_MS 60000
#define NEXT_MS 20 /* between the brokers of one round */

enum state {
    IDLE,    /* between attempts: the timer runs */
    RESOLVE, /* the name is looked up */
    DIAL,    /* TCP and TLS */
    HELLO,   /* CONNECT is sent */
    UP,
    LEFT, /* for good */
};

struct gw_client {
    struct gw_loop *loop;
    struct gw_client_ops ops;
    void *owner;
    struct gw_client_config cfg; /* its pointers lead to the copies below */
    struct gw_client_server *servers;
    bool *old; /* this broker gets 3.1.1 */
    char *client_id, *username, *will_topic;
    struct gw_buf ca, chain, password, will;
    enum state state;
    size_t server;   /* of this attempt */
    unsigned rounds; /* through all brokers, without progress */
    struct gw_addr addrs[ADDRS_MAX];
    size_t addr, addr_count;
    struct gw_resolve *resolve;
    struct gw_stream *stream;
    struct gw_timer timer;
    struct gw_client_limits limits;
    uint32_t tick_ms; /* half of the keep-alive time */
    uint64_t heard_ms;
    bool *gone; /* set when it is freed inside a callback */
    char error[GW_CLIENT_ERROR];
};

/* ---- URLs ---- */

static int parse_port(const char *text, uint16_t *out)
{
    char *end;
    unsigned long port;

    if (*text == '\0') {
        *out = 8883;
        return 0;
    }
    if (*text++ != ':' || *text < '0' || *text > '9')
        return GW_EMALFORMED;
    port = strtoul(text, &end, 10);
    if (*end || port == 0 || port > UINT16_MAX)
        return GW_EMALFORMED;
    *out = (uint16_t)port;
    return 0;
}

int gw_client_server_parse(const char *url, struct gw_client_server *out)
{
    static const char scheme[] = "mqtts://";
    struct gw_client_server s = {.port = 0};
    const char *host = url + sizeof(scheme) - 1, *port;
    size_t len;

    if (strlen(url) >= sizeof(s.url) || strncmp(url, scheme, sizeof(scheme) - 1) != 0)
        return GW_EMALFORMED;
    if (*host == '[') {
        len = strcspn(++host, "]");
        port = host + len + (host[len] == ']');
        if (host[len] != ']')
            return GW_EMALFORMED;
    } else {
        len = strcspn(host, ":/?#@[]");
        port = host + len;
    }
    if (len == 0 || len >= sizeof(s.host) || parse_port(port, &s.port))
        return GW_EMALFORMED;
    memcpy(s.host, host, len);
    memcpy(s.url, url, strlen(url) + 1);
    *out = s;
    return 0;
}

/* ---- attempts ---- */

static void hang_up(struct gw_client *c)
{
    gw_timer_stop(&c->timer);
    gw_resolve_cancel(&c->resolve);
    gw_stream_free(&c->stream);
}

/* 0.5 s, 1 s, 2 s … 60 s, of which half is left to chance: a fleet does not come back at once. */
static uint32_t pause_ms(unsigned rounds)
{
    uint32_t full = rounds < 7 ? (uint32_t)PAUSE_MIN_MS << rounds : PAUSE_MAX_MS, dice = 0;

    if (gw_random(&dice, sizeof(dice)))
        dice = full;
    return full / 2 + dice % (full / 2 + 1);
}

/* Where the next attempt goes: the same name's next address, the next broker, or a new round. */
static uint32_t choose_next(struct gw_client *c, bool was_up)
{
    if (!was_up && c->state == DIAL && c->addr + 1 < c->addr_count) {
        c->addr++;
        return NEXT_MS;
    }
    c->addr = c->addr_count = 0;
    if (!was_up && c->server + 1 < c->cfg.server_count) {
        c->server++;
        return NEXT_MS;
    }
    c->server = 0;
    return pause_ms(c->rounds++);
}

static void fail(struct gw_client *c, const char *fmt, ...) GW_PRINTF(2, 3);
static void fail(struct gw_client *c, const char *fmt, ...)
{
    bool was_up = c->state == UP;
    uint32_t wait_ms;
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(c->error, sizeof(c->error), fmt, args);
    va_end(args);
    hang_up(c);
    wait_ms = choose_next(c, was_up);
    c->state = IDLE;
    gw_timer_start(c->loop, &c->timer, wait_ms);
    c->ops.down(c->owner, was_up, c->error);
}

static const char *host(const struct gw_client *c)
{
    return c->servers[c->server].host;
}

/* ---- CONNECT and CONNACK ---- */

static struct gw_mqtt_connect make_connect(const struct gw_client *c)
{
    struct gw_mqtt_connect m = {
        .version = gw_client_version(c),
        .clean = c->cfg.clean,
        .has_will = c->will_topic != NULL,
        .has_user = *c->username != '\0',
        .has_password = gw_buf_len(&c->password) > 0,
        .keep_alive_s = c->cfg.keep_alive_s,
        .client_id = gw_slice_str(c->client_id),
        .user = gw_slice_str(c->username),
        .password = gw_buf_slice(&c->password),
    };

    if (c->will_topic)
        m.will = (struct gw_mqtt_will){.qos = 1,
                                       .retain = true,
                                       .topic = gw_slice_str(c->will_topic),
                                       .payload = gw_buf_slice(&c->will)};
    if (m.version < GW_MQTT_V5)
        return m;
    GW_MQTT_SET(m.props, receive_maximum, c->cfg.receive_maximum);
    GW_MQTT_SET(m.props, maximum_packet_size, c->cfg.packet_max);
    if (!c->cfg.clean)
        GW_MQTT_SET(m.props, session_expiry, c->cfg.session_expiry_s);
    return m;
}

static void say_hello(struct gw_client *c)
{
    struct gw_mqtt_connect m = make_connect(c);
    uint8_t room[4096];
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    int err;

    gw_mqtt_connect_encode(&w, &m);
    err = w.err ? w.err : gw_stream_write(c->stream, gw_writer_done(&w));
    gw_wipe(room, sizeof(room));
    if (err) {
        fail(c, "%s: CONNECT was not sent: %s", host(c), gw_error_text(err));
        return;
    }
    c->state = HELLO;
    gw_timer_start(c->loop, &c->timer, HELLO_MS);
}

/* The broker speaks no MQTT 5: once more, at once, in 3.1.1. */
static void fall_back(struct gw_client *c)
{
    hang_up(c);
    c->old[c->server] = true;
    c->state = IDLE;
    gw_timer_start(c->loop, &c->timer, 0);
}

static const char *refusal_text(uint8_t version, uint8_t code)
{
    static const char *const old[] = {"",
                                      "unacceptable protocol version",
                                      "identifier rejected",
                                      "server unavailable",
                                      "bad user name or password",
                                      "not authorized"};

    if (version < GW_MQTT_V5)
        return code < GW_COUNT(old) ? old[code] : "refused";
    switch (code) {
    case 0x86:
        return "bad user name or password";
    case GW_MQTT_NOT_AUTHORIZED:
        return "not authorized";
    case GW_MQTT_BANNED:
        return "banned";
    case GW_MQTT_UNAVAILABLE:
        return "server unavailable";
    case GW_MQTT_BAD_CLIENT_ID:
        return "identifier rejected";
    case GW_MQTT_QUOTA:
        return "over quota";
    default:
        return "refused";
    }
}

/* A broker that keeps no retained messages or takes no QoS 1 is of no use. */
static const char *unfit(const struct gw_mqtt_props *p)
{
    if (GW_MQTT_HAS(*p, maximum_qos) && p->maximum_qos < 1)
        return "it takes no QoS 1";
    if (GW_MQTT_HAS(*p, retain_available) && !p->retain_available)
        return "it keeps no retained messages";
    return NULL;
}

static void adopt(struct gw_client *c, const struct gw_mqtt_connack *ack)
{
    const struct gw_mqtt_props *p = &ack->props;
    uint32_t keep_s = c->cfg.keep_alive_s;

    c->limits = (struct gw_client_limits){ack->session_present, UINT16_MAX, UINT32_MAX};
    if (GW_MQTT_HAS(*p, receive_maximum))
        c->limits.receive_maximum = (uint16_t)GW_MAX(p->receive_maximum, 1u);
    if (GW_MQTT_HAS(*p, maximum_packet_size))
        c->limits.packet_max = p->maximum_packet_size;
    if (GW_MQTT_HAS(*p, server_keep_alive) && p->server_keep_alive)
        keep_s = GW_MIN(keep_s, p->server_keep_alive);
    c->tick_ms = GW_MAX(keep_s, 2u) * 500;
    c->state = UP;
    c->error[0] = '\0';
    gw_timer_start(c->loop, &c->timer, c->tick_ms);
}

/* True when the answer means "not this version": of an MQTT 5 broker or of an older one. */
static bool wrong_version(struct gw_slice body)
{
    return body.len >= 2 &&
           (body.ptr[1] == GW_MQTT_BAD_VERSION || (body.len == 2 && body.ptr[1] == 1));
}

static void on_connack(struct gw_client *c, struct gw_slice body)
{
    uint8_t version = gw_client_version(c);
    struct gw_mqtt_connack ack;
    int err;

    if (version == GW_MQTT_V5 && wrong_version(body)) {
        fall_back(c);
        return;
    }
    err = gw_mqtt_connack_decode(body, version, &ack);
    if (err)
        fail(c, "%s: CONNACK: %s", host(c), gw_error_text(err));
    else if (ack.code)
        fail(c, "%s refused us: %s (0x%02x)", host(c), refusal_text(version, ack.code), ack.code);
    else if (unfit(&ack.props))
        fail(c, "%s cannot serve as uplink: %s", host(c), unfit(&ack.props));
    else {
        adopt(c, &ack);
        c->ops.up(c->owner, &c->limits);
    }
}

/* ---- packets ---- */

static void on_disconnect(struct gw_client *c, struct gw_slice body)
{
    struct gw_mqtt_disconnect d = {.reason = GW_MQTT_UNSPECIFIED};

    if (gw_mqtt_disconnect_decode(body, GW_MQTT_DISCONNECT, gw_client_version(c), &d))
        d.reason = GW_MQTT_MALFORMED;
    fail(c, "%s ended the connection (0x%02x)", host(c), d.reason);
}

/* One packet; the connection may be over afterwards. */
static void on_packet(struct gw_client *c, uint8_t head, struct gw_slice body)
{
    enum gw_mqtt_type type = head >> 4;
    int err;

    if (c->state == HELLO && type == GW_MQTT_CONNACK) {
        on_connack(c, body);
        return;
    }
    if (c->state != UP || type == GW_MQTT_CONNACK) {
        fail(c, "%s: packet type %d out of turn", host(c), type);
        return;
    }
    if (type == GW_MQTT_PINGRESP)
        return;
    if (type == GW_MQTT_DISCONNECT) {
        on_disconnect(c, body);
        return;
    }
    err = c->ops.packet(c->owner, type, head & 15, body);
    if (err < 0 && c->state == UP)
        fail(c, "%s: packet type %d: %s", host(c), type, gw_error_text(err));
}

static void on_input(struct gw_client *c)
{
    bool gone = false;

    c->gone = &gone;
    c->heard_ms = gw_loop_now_ms(c->loop);
    while (!gone && c->stream) {
        struct gw_slice input = gw_stream_input(c->stream), body;
        struct gw_stream *stream = c->stream;
        uint8_t head;
        int err = input.len ? gw_mqtt_frame(input, c->cfg.packet_max, &head, &body) : -EAGAIN;

        if (err == -EAGAIN)
            break;
        if (err) {
            fail(c, "%s: %s", host(c), gw_error_text(err));
            break;
        }
        on_packet(c, head, body);
        if (!gone && c->stream == stream)
            gw_stream_consume(stream, (size_t)(body.ptr + body.len - input.ptr));
        else
            break;
    }
    if (gone)
        return;
    if (c->state == UP)
        c->ops.turn(c->owner);
    if (!gone)
        c->gone = NULL;
}

/* ---- the stream ---- */

/* Some old brokers answer an MQTT 5 CONNECT by closing. */
static void on_closed(struct gw_client *c)
{
    int err = gw_stream_error(c->stream);
    const char *detail = gw_stream_detail(c->stream);

    if (c->state == HELLO && !c->old[c->server]) {
        fall_back(c);
        return;
    }
    c->old[c->server] = false; /* next time 5 again: it may have been something else */
    if (c->state == UP)
        fail(c, "%s: the connection was lost: %s", host(c),
             err ? gw_error_text(err) : "the broker closed it");
    else
        fail(c, "%s cannot be reached: %s%s%s", host(c), err ? gw_error_text(err) : "it closed",
             *detail ? ": " : "", detail);
}

static void on_stream(void *owner, enum gw_stream_event ev)
{
    struct gw_client *c = owner;

    if (c->state == LEFT)
        return;
    switch (ev) {
    case GW_STREAM_READY:
        say_hello(c);
        break;
    case GW_STREAM_DATA:
        on_input(c);
        break;
    case GW_STREAM_DRAINED:
        if (c->state == UP)
            c->ops.turn(c->owner);
        break;
    case GW_STREAM_CLOSED:
        on_closed(c);
        break;
    }
}

static void dial(struct gw_client *c)
{
    struct gw_tls_client_config tls = {
        .ca_pem = gw_buf_slice(&c->ca),
        .chain_pem = gw_buf_slice(&c->chain),
        .key = c->cfg.key,
        .server_name = host(c),
        .handshake_ms = DIAL_MS,
    };
    struct gw_stream_limits limits = {.output_max = c->cfg.output_max,
                                      .input_max = c->cfg.packet_max + 65536u};
    int err;

    c->state = DIAL;
    gw_timer_start(c->loop, &c->timer, 2 * DIAL_MS);
    err = gw_tls_connect(c->loop, &c->addrs[c->addr], &tls, &limits, &c->stream);
    if (err)
        fail(c, "%s: %s", host(c), gw_error_text(err));
    else
        gw_stream_attach(c->stream, on_stream, c);
}

static void resolved(void *owner, const struct gw_addr *addrs, size_t count)
{
    struct gw_client *c = owner;

    c->addr_count = GW_MIN(count, (size_t)ADDRS_MAX);
    if (c->addr_count == 0) {
        fail(c, "%s: the name was not found", host(c));
        return;
    }
    memcpy(c->addrs, addrs, c->addr_count * sizeof(*addrs));
    dial(c);
}

static void attempt(struct gw_client *c)
{
    const struct gw_client_server *s = &c->servers[c->server];
    int err;

    if (c->addr_count) { /* another address of the same name */
        dial(c);
        return;
    }
    c->state = RESOLVE;
    gw_timer_start(c->loop, &c->timer, DIAL_MS);
    err = gw_resolve_start(c->loop, s->host, s->port, resolved, c, &c->resolve);
    if (err)
        fail(c, "%s: %s", s->host, gw_error_text(err));
}

/* Half of the keep-alive time is over: ask for a sign of life, or give up on the third time. */
static void keep_alive(struct gw_client *c)
{
    uint8_t room[2];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    if (gw_loop_now_ms(c->loop) - c->heard_ms > 3ull * c->tick_ms) {
        fail(c, "%s: the connection was lost: nothing was heard", host(c));
        return;
    }
    gw_mqtt_ping_encode(&w, GW_MQTT_PINGREQ);
    (void)!gw_stream_write(c->stream, gw_writer_done(&w)); /* full: there is life enough */
    gw_timer_start(c->loop, &c->timer, c->tick_ms);
}

static void on_timer(void *owner)
{
    struct gw_client *c = owner;

    switch (c->state) {
    case IDLE:
        attempt(c);
        break;
    case RESOLVE:
        fail(c, "%s: the name was not found in time", host(c));
        break;
    case DIAL:
    case HELLO:
        fail(c, "%s: no answer in time", host(c));
        break;
    case UP:
        keep_alive(c);
        break;
    case LEFT:
        break;
    }
}

/* ---- the object ---- */

static int copy_slice(struct gw_buf *to, struct gw_slice from)
{
    to->max = from.len;
    return from.len ? gw_buf_append(to, from) : 0;
}

static int copy_config(struct gw_client *c, const struct gw_client_config *cfg)
{
    int err;

    c->cfg = *cfg;
    c->servers = calloc(cfg->server_count, sizeof(*c->servers));
    c->old = calloc(cfg->server_count, sizeof(*c->old));
    c->client_id = strdup(cfg->client_id);
    c->username = strdup(cfg->username ? cfg->username : "");
    c->will_topic = cfg->will_topic ? strdup(cfg->will_topic) : NULL;
    if (!c->servers || !c->old || !c->client_id || !c->username ||
        (cfg->will_topic && !c->will_topic))
        return -ENOMEM;
    memcpy(c->servers, cfg->servers, cfg->server_count * sizeof(*cfg->servers));
    if ((err = copy_slice(&c->ca, cfg->ca_pem)) || (err = copy_slice(&c->chain, cfg->chain_pem)) ||
        (err = copy_slice(&c->password, cfg->password)) ||
        (err = copy_slice(&c->will, cfg->will_payload)))
        return err;
    return 0;
}

int gw_client_new(struct gw_loop *loop, const struct gw_client_config *cfg,
                  const struct gw_client_ops *ops, void *owner, struct gw_client **out)
{
    GW_CLEANUP(gw_client_free) struct gw_client *c = calloc(1, sizeof(*c));
    int err;

    if (!c)
        return -ENOMEM;
    if (cfg->server_count == 0 || cfg->server_count > GW_CLIENT_SERVERS_MAX)
        return -EINVAL;
    c->loop = loop;
    c->ops = *ops;
    c->owner = owner;
    gw_timer_init(&c->timer, on_timer, c);
    err = copy_config(c, cfg);
    if (err)
        return err;
    gw_timer_start(loop, &c->timer, 0);
    *out = GW_TAKE(c);
    return 0;
}

void gw_client_free(struct gw_client **client)
{
    struct gw_client *c = GW_TAKE(*client);

    if (!c)
        return;
    if (c->gone)
        *c->gone = true;
    hang_up(c);
    gw_wipe(c->password.data, c->password.cap);
    gw_buf_fini(&c->ca);
    gw_buf_fini(&c->chain);
    gw_buf_fini(&c->password);
    gw_buf_fini(&c->will);
    free(c->servers);
    free(c->old);
    free(c->client_id);
    free(c->username);
    free(c->will_topic);
    free(c);
}

bool gw_client_is_up(const struct gw_client *c)
{
    return c->state == UP;
}

uint8_t gw_client_version(const struct gw_client *c)
{
    return c->old[c->server] ? GW_MQTT_V311 : GW_MQTT_V5;
}

const char *gw_client_url(const struct gw_client *c)
{
    return c->servers[c->server].url;
}

const char *gw_client_error(const struct gw_client *c)
{
    return c->error;
}

int gw_client_write(struct gw_client *c, struct gw_slice packets)
{
    return c->state == UP ? gw_stream_write(c->stream, packets) : GW_ECLOSED;
}

size_t gw_client_pending(const struct gw_client *c)
{
    return c->state == UP ? gw_stream_pending(c->stream) : 0;
}

void gw_client_pause(struct gw_client *c, bool paused)
{
    if (c->state == UP)
        gw_stream_pause(c->stream, paused);
}

void gw_client_progress(struct gw_client *c)
{
    c->rounds = 0;
}

void gw_client_drop(struct gw_client *c, const char *why)
{
    if (c->state == UP)
        fail(c, "%s: %s", host(c), why);
}

void gw_client_leave(struct gw_client *c)
{
    struct gw_mqtt_disconnect d = {.reason = GW_MQTT_SUCCESS};
    uint8_t room[16];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    gw_timer_stop(&c->timer);
    if (c->state == UP) {
        gw_mqtt_disconnect_encode(&w, GW_MQTT_DISCONNECT, gw_client_version(c), &d);
        (void)!gw_stream_write(c->stream, gw_writer_done(&w));
        gw_stream_flush(c->stream);
    }
    c->state = LEFT;
}
