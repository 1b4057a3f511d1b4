/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * A bounded MQTT over TLS load generator, one thread, for Cordon and for its peers alike:
 *
 *   load publish … --connections 100 --messages 200000 --size 256 [--qos 1] [--subscribers 1]
 *                                            one JSON line with the rates; with subscribers each of
 *                                            them has to get every message; QoS 0, 1 or 2
 *   load publish … --rate 5000               so many a second, and how long each took to arrive
 *   load connect … --connections 20 --messages 2000
 *                                            whole handshakes with CONNECT, 20 at a time
 *   load idle    … --connections 1000        "ready", then holds to the end of standard input
 *
 * All connect first; `publish` waits for a line on standard input ("go") between connecting and
 * sending when --wait is given, so that a harness can read the broker's counters in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/client.h"

#define FILE_MAX (1u << 20)
#define DIALS_PER_TICK 10
#define DIALS_AT_ONCE 100 /* handshakes under way: more would only wait for each other */
#define TICK_MS 10
#define AHEAD 5000 /* messages that a subscriber may lag behind */
#define PACKET_MAX (1u << 20)
#define TIMEOUT_MS 60000
#define PACE_NS 200000ull /* with a rate: how often what is due is sent */

struct load;

/** One connection. Packet identifiers rise; how many are in flight is all that matters. */
struct conn {
    struct load *load;
    struct gw_client *client;
    struct gw_task again; /* `connect`: begin anew, outside the client's own callback */
    char id[32];
    bool subscriber;
    uint32_t sent, acked;
    uint16_t next_id;
};

struct load {
    const char *host, *topic;
    unsigned port, connections, subscribers, window, qos, rate;
    uint32_t messages; /* in all */
    size_t size;
    bool idle, connect, wait, going;
    struct gw_loop *loop;
    struct gw_timer timer;
    struct gw_io input, pace;
    int pace_fd;
    struct gw_buf ca, cert;
    struct gw_key *key;
    struct conn *conns;
    unsigned dialled, up;
    uint32_t due; /* with a rate: how many may be sent by now */
    uint64_t acked, delivered, failures, began_ms, ended_ms;
    uint64_t paced_ns; /* when the pacing began */
    uint32_t *latency_us;
    size_t latencies;
    uint8_t *packet; /* one PUBLISH, encoded once */
    size_t packet_len, id_at;
    int status;
};

static int die(const char *what, const char *why)
{
    (void)fprintf(stderr, "load: %s: %s\n", what, why);
    return 1;
}

static void stop(struct load *l, int status)
{
    l->status = status;
    gw_loop_stop(l->loop);
}

/* ---- sending ---- */

static unsigned all_connections(const struct load *l)
{
    return l->connections + l->subscribers;
}

static uint32_t share_of(const struct load *l, const struct conn *c)
{
    size_t i = (size_t)(c - l->conns) - l->subscribers;
    uint32_t total = l->rate ? l->due : l->messages;

    return total / l->connections + (i < total % l->connections);
}

/* All is sent, acknowledged and delivered. */
static void end_if_done(struct load *l)
{
    if (l->acked < l->messages || l->delivered < (uint64_t)l->messages * l->subscribers)
        return;
    l->ended_ms = gw_clock_mono_ms();
    stop(l, 0);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void stamp(struct load *l)
{
    uint64_t now = now_ns();

    if (l->rate)
        memcpy(l->packet + l->packet_len - l->size, &now, sizeof(now));
}

static bool has_room(const struct load *l, const struct conn *c)
{
    if (l->qos && c->sent - c->acked >= l->window)
        return false;
    return l->acked * l->subscribers <= l->delivered + (uint64_t)AHEAD * l->subscribers;
}

static void send_more(struct conn *c)
{
    struct load *l = c->load;
    uint32_t share;

    if (!l->going || c->subscriber)
        return;
    share = share_of(l, c);
    while (c->sent < share && has_room(l, c)) {
        if (l->qos) {
            c->next_id = (uint16_t)(c->next_id == UINT16_MAX ? 1 : c->next_id + 1);
            l->packet[l->id_at] = (uint8_t)(c->next_id >> 8);
            l->packet[l->id_at + 1] = (uint8_t)c->next_id;
        }
        stamp(l);
        if (gw_client_write(c->client, GW_SLICE(l->packet, l->packet_len)))
            return; /* the output is full: on_turn comes when it has gone */
        c->sent++;
        l->acked += l->qos == 0;
    }
    if (l->qos == 0)
        end_if_done(l);
}

static void send_all(struct load *l)
{
    for (unsigned i = l->subscribers; i < all_connections(l); i++)
        send_more(&l->conns[i]);
}

/*
 * The loop's own timers tick every few milliseconds, which would make bursts of a steady rate. One
 * connection after the other: who is at the front does not send more.
 */
static void on_pace(void *owner, uint32_t events)
{
    struct load *l = owner;
    uint64_t due = (now_ns() - l->paced_ns) * l->rate / 1000000000, times;

    (void)events;
    (void)!read(l->pace_fd, &times, sizeof(times));
    due = GW_MIN(due, (uint64_t)l->messages);
    while (l->due < due)
        send_more(&l->conns[l->subscribers + l->due++ % l->connections]);
}

static int pace(struct load *l)
{
    const struct itimerspec every = {{0, PACE_NS}, {0, PACE_NS}};

    l->paced_ns = now_ns();
    l->pace_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->pace_fd < 0 || timerfd_settime(l->pace_fd, 0, &every, NULL) < 0)
        return -errno;
    return gw_io_start(l->loop, &l->pace, l->pace_fd, EPOLLIN, on_pace, l);
}

static void go(struct load *l)
{
    if (l->going || l->idle)
        return;
    l->going = true;
    l->began_ms = gw_clock_mono_ms();
    send_all(l);
    if (l->rate && pace(l))
        stop(l, die("pace", strerror(errno)));
}

static int subscribe(struct conn *c)
{
    struct load *l = c->load;
    const struct gw_mqtt_filter filter = {.filter = gw_slice_str(l->topic),
                                          .options.qos = (uint8_t)l->qos};
    const struct gw_mqtt_props none = {0};
    uint8_t room[512];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    gw_mqtt_subscribe_encode(&w, GW_MQTT_V5, 1, &none, &filter, 1);
    return w.err ? w.err : gw_client_write(c->client, gw_writer_done(&w));
}

/* One more is ready; the last one lets it begin. */
static void is_ready(struct load *l)
{
    if (++l->up != all_connections(l))
        return;
    if (l->wait || l->idle) {
        (void)puts("ready");
        (void)fflush(stdout);
    }
    if (!l->wait)
        go(l);
}

static void on_up(void *owner, const struct gw_client_limits *limits)
{
    struct conn *c = owner;
    struct load *l = c->load;

    if (gw_client_version(c->client) != GW_MQTT_V5) { /* the packet is encoded once, for 5 */
        stop(l, die(c->id, "the broker does not speak MQTT 5"));
        return;
    }
    l->window = GW_MIN(l->window, limits->receive_maximum);
    if (l->connect) {
        l->began_ms = l->began_ms ? l->began_ms : gw_clock_mono_ms();
        if (++l->acked == l->messages)
            end_if_done(l);
        else
            gw_task_post(l->loop, &c->again);
    } else if (!c->subscriber) {
        is_ready(l);
    } else if (subscribe(c)) {
        stop(l, die(c->id, "the subscription could not be sent"));
    }
}

static int answer(struct conn *c, enum gw_mqtt_type type, uint16_t packet_id)
{
    uint8_t room[8];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    gw_mqtt_ack_encode(&w, type, GW_MQTT_V5, &(struct gw_mqtt_ack){.packet_id = packet_id});
    return gw_client_write(c->client, gw_writer_done(&w));
}

static int on_delivery(struct conn *c, uint8_t flags, struct gw_slice body)
{
    struct load *l = c->load;
    struct gw_mqtt_publish p;
    uint64_t sent;
    int err = gw_mqtt_publish_decode(body, flags, GW_MQTT_V5, &p);

    if (err)
        return err;
    if (l->rate && p.payload.len >= sizeof(sent) && l->latencies < l->messages) {
        memcpy(&sent, p.payload.ptr, sizeof(sent));
        l->latency_us[l->latencies++] = (uint32_t)((now_ns() - sent) / 1000);
    }
    if (p.qos)
        err = answer(c, p.qos == 1 ? GW_MQTT_PUBACK : GW_MQTT_PUBREC, p.packet_id);
    l->delivered++;
    end_if_done(l);
    return err;
}

static int on_suback(struct load *l, struct gw_slice body)
{
    struct gw_mqtt_suback granted;
    int err = gw_mqtt_suback_decode(body, GW_MQTT_SUBACK, GW_MQTT_V5, &granted);

    if (err || granted.codes.len != 1 || granted.codes.ptr[0] != l->qos)
        return err ? err : GW_EDENIED;
    is_ready(l);
    return 0;
}

static int on_ack(struct conn *c, enum gw_mqtt_type type, struct gw_slice body)
{
    struct load *l = c->load;
    struct gw_mqtt_ack ack;
    int err = gw_mqtt_ack_decode(body, type, GW_MQTT_V5, &ack);

    if (err)
        return err;
    l->failures += ack.reason >= 0x80;
    if (type == GW_MQTT_PUBREC && ack.reason < 0x80)
        return answer(c, GW_MQTT_PUBREL, ack.packet_id);
    if (type == GW_MQTT_PUBREL)
        return answer(c, GW_MQTT_PUBCOMP, ack.packet_id);
    c->acked++;
    l->acked++;
    end_if_done(l);
    return 0;
}

static int on_packet(void *owner, enum gw_mqtt_type type, uint8_t flags, struct gw_slice body)
{
    struct conn *c = owner;

    switch (type) {
    case GW_MQTT_PUBLISH:
        return on_delivery(c, flags, body);
    case GW_MQTT_SUBACK:
        return on_suback(c->load, body);
    case GW_MQTT_PUBACK:
    case GW_MQTT_PUBREC:
    case GW_MQTT_PUBREL:
    case GW_MQTT_PUBCOMP:
        return on_ack(c, type, body);
    default:
        return GW_EPROTOCOL;
    }
}

static void on_turn(void *owner)
{
    struct conn *c = owner;

    if (c->subscriber && c->load->going)
        send_all(c->load); /* there is room again */
    else
        send_more(c);
}

static void on_down(void *owner, bool was_up, const char *why)
{
    struct conn *c = owner;

    (void)was_up;
    stop(c->load, die(c->id, why));
}

/* ---- connecting, a few at a time ---- */

static int dial(struct load *l, struct conn *c)
{
    static const struct gw_client_ops ops = {on_up, on_packet, on_turn, on_down};
    struct gw_client_server server = {.port = (uint16_t)l->port};
    struct gw_client_config cfg = {
        .servers = &server,
        .server_count = 1,
        .client_id = c->id,
        .clean = true,
        .ca_pem = gw_buf_slice(&l->ca),
        .chain_pem = gw_buf_slice(&l->cert),
        .key = l->key,
        .keep_alive_s = 600,
        .packet_max = PACKET_MAX,
        .receive_maximum = 1000,
        .output_max = PACKET_MAX,
    };

    c->load = l;
    c->subscriber = (size_t)(c - l->conns) < l->subscribers;
    (void)snprintf(server.host, sizeof(server.host), "%s", l->host);
    (void)snprintf(server.url, sizeof(server.url), "mqtts://%s:%u", l->host, l->port);
    (void)snprintf(c->id, sizeof(c->id), "load-%u", (unsigned)(c - l->conns));
    return gw_client_new(l->loop, &cfg, &ops, c, &c->client);
}

static void on_again(void *owner)
{
    struct conn *c = owner;

    gw_client_free(&c->client);
    if (dial(c->load, c))
        stop(c->load, die("connection", "out of memory"));
}

static void on_timer(void *owner)
{
    struct load *l = owner;
    unsigned all = all_connections(l);

    if (l->dialled == all) {
        if (l->idle)
            return;
        (void)fprintf(stderr, "load: %u connections up, %llu of %u acknowledged, %llu delivered\n",
                      l->up, (unsigned long long)l->acked, l->messages,
                      (unsigned long long)l->delivered);
        stop(l, die("timeout", "not everything came through"));
        return;
    }
    for (unsigned i = 0; i < DIALS_PER_TICK && l->dialled < all &&
                         (l->connect || l->dialled - l->up < DIALS_AT_ONCE);
         i++)
        if (dial(l, &l->conns[l->dialled++])) {
            stop(l, die("connection", "out of memory"));
            return;
        }
    gw_timer_start(l->loop, &l->timer, l->dialled < all ? TICK_MS : TIMEOUT_MS);
}

static void on_input(void *owner, uint32_t events)
{
    struct load *l = owner;
    char line[16];

    (void)events;
    if (read(STDIN_FILENO, line, sizeof(line)) > 0) {
        if (l->up == all_connections(l))
            go(l);
        return;
    }
    gw_io_stop(&l->input);
    if (l->idle)
        stop(l, 0);
}

/* ---- start and end ---- */

static int read_file(const char *path, struct gw_buf *out)
{
    GW_CLEANUP(gw_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

    out->max = FILE_MAX;
    while (fd >= 0) {
        ssize_t got;

        if (gw_buf_reserve(out, 4096))
            return die(path, "too long");
        got = read(fd, out->data + out->tail, 4096);
        if (got == 0)
            return 0;
        if (got < 0)
            break;
        out->tail += (size_t)got;
    }
    return die(path, strerror(errno));
}

static int make_packet(struct load *l)
{
    struct gw_mqtt_publish p = {
        .qos = (uint8_t)l->qos, .packet_id = (uint16_t)l->qos, .topic = gw_slice_str(l->topic)};
    size_t cap = l->size + p.topic.len + 32;
    uint8_t *payload = calloc(1, l->size + 1);
    struct gw_writer w;

    l->packet = malloc(cap);
    if (!payload || !l->packet) {
        free(payload);
        return die("packet", "out of memory");
    }
    memset(payload, 'x', l->size);
    p.payload = GW_SLICE(payload, l->size);
    w = gw_writer_of(l->packet, cap);
    gw_mqtt_publish_encode(&w, GW_MQTT_V5, &p);
    l->packet_len = w.len;
    /* The identifier stands behind the head, the remaining length and the topic. */
    l->id_at = w.len - l->size - 1 - (l->qos ? 2 : 0);
    free(payload);
    return w.err ? die("packet", gw_error_text(w.err)) : 0;
}

static int parse(int argc, char **argv, struct load *l)
{
    static const struct option names[] = {{"host", required_argument, NULL, 'h'},
                                          {"port", required_argument, NULL, 'p'},
                                          {"ca", required_argument, NULL, 'a'},
                                          {"cert", required_argument, NULL, 'c'},
                                          {"key", required_argument, NULL, 'k'},
                                          {"topic", required_argument, NULL, 't'},
                                          {"connections", required_argument, NULL, 'n'},
                                          {"messages", required_argument, NULL, 'm'},
                                          {"size", required_argument, NULL, 's'},
                                          {"window", required_argument, NULL, 'w'},
                                          {"qos", required_argument, NULL, 'q'},
                                          {"subscribers", required_argument, NULL, 'S'},
                                          {"rate", required_argument, NULL, 'r'},
                                          {"wait", no_argument, NULL, 'W'},
                                          {0}};
    GW_CLEANUP(gw_buf_fini) struct gw_buf key = {0};
    int c;

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        unsigned long number = optarg ? strtoul(optarg, NULL, 10) : 0;

        switch (c) {
        case 'h':
            l->host = optarg;
            break;
        case 'p':
            l->port = (unsigned)number;
            break;
        case 'a':
            if (read_file(optarg, &l->ca))
                return 1;
            break;
        case 'c':
            if (read_file(optarg, &l->cert))
                return 1;
            break;
        case 'k':
            if (read_file(optarg, &key) || gw_key_from_pem(gw_buf_slice(&key), &l->key))
                return die(optarg, "no P-256 key");
            break;
        case 't':
            l->topic = optarg;
            break;
        case 'n':
            l->connections = (unsigned)number;
            break;
        case 'm':
            l->messages = (uint32_t)number;
            break;
        case 's':
            l->size = number;
            break;
        case 'w':
            l->window = (unsigned)number;
            break;
        case 'q':
            l->qos = (unsigned)number;
            break;
        case 'S':
            l->subscribers = (unsigned)number;
            break;
        case 'r':
            l->rate = (unsigned)number;
            break;
        case 'W':
            l->wait = true;
            break;
        default:
            return 2;
        }
    }
    if (optind != argc - 1)
        return 2;
    l->idle = strcmp(argv[optind], "idle") == 0;
    l->connect = strcmp(argv[optind], "connect") == 0;
    if (l->qos > 2 || !l->connections || !l->window || (l->rate && l->size < sizeof(uint64_t)))
        return 2;
    return l->idle || l->connect || strcmp(argv[optind], "publish") == 0 ? 0 : 2;
}

/* As many descriptors as the connections take. */
static int raise_limits(const struct load *l)
{
    struct rlimit limit;
    rlim_t want = all_connections(l) + 100u;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= want)
        return 0;
    limit = (struct rlimit){want, GW_MAX(limit.rlim_max, want)};
    return setrlimit(RLIMIT_NOFILE, &limit) ? die("descriptors", strerror(errno)) : 0;
}

static int by_size(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void report(struct load *l)
{
    double seconds = (double)GW_MAX(l->ended_ms - l->began_ms, 1ull) / 1000;

    (void)printf("{\"messages\":%u,\"refused\":%llu,\"seconds\":%.3f,\"per_second\":%.0f,"
                 "\"delivered\":%llu",
                 l->messages, (unsigned long long)l->failures, seconds, l->messages / seconds,
                 (unsigned long long)l->delivered);
    if (l->latencies) {
        qsort(l->latency_us, l->latencies, sizeof(*l->latency_us), by_size);
        (void)printf(",\"p50_us\":%u,\"p99_us\":%u", l->latency_us[l->latencies / 2],
                     l->latency_us[l->latencies * 99 / 100]);
    }
    (void)puts("}");
}

static int run(struct load *l)
{
    int err = gw_loop_new(&l->loop);

    if (err)
        return die("loop", gw_error_text(err));
    if (raise_limits(l))
        return 1;
    l->conns = calloc(all_connections(l), sizeof(*l->conns));
    l->latency_us = calloc(l->messages, sizeof(*l->latency_us));
    if (!l->conns || !l->latency_us || make_packet(l))
        return 1;
    for (unsigned i = 0; i < all_connections(l); i++)
        gw_task_init(&l->conns[i].again, on_again, &l->conns[i]);
    gw_timer_init(&l->timer, on_timer, l);
    gw_timer_start(l->loop, &l->timer, 0);
    if (l->idle || l->wait)
        err = gw_io_start(l->loop, &l->input, STDIN_FILENO, EPOLLIN, on_input, l);
    if (!err)
        err = gw_loop_run(l->loop);
    if (err)
        return die("loop", gw_error_text(err));
    if (!l->status && !l->idle)
        report(l);
    return l->status;
}

int main(int argc, char **argv)
{
    struct load l = {.pace_fd = -1,
                     .host = "127.0.0.1",
                     .topic = "d/load/x",
                     .port = 8883,
                     .connections = 1,
                     .window = 20,
                     .qos = 1,
                     .messages = 1000,
                     .size = 256};
    int status;

    if (gw_crypto_init())
        return die("cryptography", "does not start");
    status = parse(argc, argv, &l);
    if (status == 2)
        (void)fputs(
            "usage: load publish|connect|idle --host H --port P --ca F --cert F --key F\n"
            "            [--topic T] [--connections N] [--messages N] [--size B]\n"
            "            [--qos 0|1|2] [--subscribers N] [--rate N] [--window N] [--wait]\n",
            stderr);
    if (!status)
        status = run(&l);
    for (unsigned i = 0; l.conns && i < l.dialled; i++)
        gw_client_free(&l.conns[i].client);
    for (unsigned i = 0; l.conns && i < l.dialled; i++)
        gw_task_cancel(&l.conns[i].again);
    gw_timer_stop(&l.timer);
    gw_io_stop(&l.pace);
    gw_close_fd(&l.pace_fd);
    gw_loop_free(&l.loop);
    gw_key_free(&l.key);
    gw_buf_fini(&l.ca);
    gw_buf_fini(&l.cert);
    free(l.conns);
    free(l.packet);
    free(l.latency_us);
    gw_crypto_fini();
    return status;
}
