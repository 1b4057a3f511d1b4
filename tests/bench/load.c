/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * A bounded MQTT over TLS load generator, one thread, for Cordon and for its peers alike:
 *
 *   load publish … --connections 100 --messages 200000 --size 256   one JSON line with the rate
 *   load idle    … --connections 1000                               "ready", then holds to the end
 *                                                                   of standard input
 *
 * Both connect first; `publish` waits for a line on standard input ("go") between connecting and
 * sending when --wait is given, so that a harness can read the broker's counters in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/client.h"

#define FILE_MAX (1u << 20)
#define DIALS_PER_TICK 10
#define TICK_MS 10
#define TIMEOUT_MS 300000

struct load;

/** One connection. Packet identifiers rise; how many are in flight is all that matters. */
struct conn {
    struct load *load;
    struct gw_client *client;
    char id[32];
    uint32_t sent, acked;
    uint16_t next_id;
};

struct load {
    const char *host, *topic;
    unsigned port, connections, window;
    uint32_t messages; /* in all */
    size_t size;
    bool idle, wait, going;
    struct gw_loop *loop;
    struct gw_timer timer;
    struct gw_io input;
    struct gw_buf ca, cert;
    struct gw_key *key;
    struct conn *conns;
    unsigned dialled, up;
    uint64_t acked, failures, began_ms, ended_ms;
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

static uint32_t share_of(const struct load *l, const struct conn *c)
{
    size_t i = (size_t)(c - l->conns);

    return l->messages / l->connections + (i < l->messages % l->connections);
}

static void send_more(struct conn *c)
{
    struct load *l = c->load;
    uint32_t share = share_of(l, c);

    while (l->going && c->sent < share && c->sent - c->acked < l->window) {
        c->next_id = (uint16_t)(c->next_id == UINT16_MAX ? 1 : c->next_id + 1);
        l->packet[l->id_at] = (uint8_t)(c->next_id >> 8);
        l->packet[l->id_at + 1] = (uint8_t)c->next_id;
        if (gw_client_write(c->client, GW_SLICE(l->packet, l->packet_len)))
            return; /* the output is full: on_turn comes when it has gone */
        c->sent++;
    }
}

static void go(struct load *l)
{
    if (l->going || l->idle)
        return;
    l->going = true;
    l->began_ms = gw_clock_mono_ms();
    for (unsigned i = 0; i < l->connections; i++)
        send_more(&l->conns[i]);
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
    if (++l->up != l->connections)
        return;
    if (l->wait || l->idle) {
        (void)puts("ready");
        (void)fflush(stdout);
    }
    if (!l->wait)
        go(l);
}

static int on_packet(void *owner, enum gw_mqtt_type type, uint8_t flags, struct gw_slice body)
{
    struct conn *c = owner;
    struct load *l = c->load;
    struct gw_mqtt_ack ack;
    int err;

    (void)flags;
    if (type != GW_MQTT_PUBACK)
        return GW_EPROTOCOL;
    err = gw_mqtt_ack_decode(body, type, gw_client_version(c->client), &ack);
    if (err)
        return err;
    l->failures += ack.reason >= 0x80;
    c->acked++;
    if (++l->acked == l->messages) {
        l->ended_ms = gw_clock_mono_ms();
        stop(l, 0);
    }
    return 0;
}

static void on_turn(void *owner)
{
    send_more(owner);
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
        .packet_max = 65536,
        .receive_maximum = 20,
        .output_max = 256u << 10,
    };

    c->load = l;
    (void)snprintf(server.host, sizeof(server.host), "%s", l->host);
    (void)snprintf(server.url, sizeof(server.url), "mqtts://%s:%u", l->host, l->port);
    (void)snprintf(c->id, sizeof(c->id), "load-%u", (unsigned)(c - l->conns));
    return gw_client_new(l->loop, &cfg, &ops, c, &c->client);
}

static void on_timer(void *owner)
{
    struct load *l = owner;

    if (l->dialled == l->connections) {
        if (!l->idle)
            stop(l, die("timeout", "not everything was acknowledged"));
        return;
    }
    for (unsigned i = 0; i < DIALS_PER_TICK && l->dialled < l->connections; i++)
        if (dial(l, &l->conns[l->dialled++])) {
            stop(l, die("connection", "out of memory"));
            return;
        }
    gw_timer_start(l->loop, &l->timer, l->dialled < l->connections ? TICK_MS : TIMEOUT_MS);
}

static void on_input(void *owner, uint32_t events)
{
    struct load *l = owner;
    char line[16];

    (void)events;
    if (read(STDIN_FILENO, line, sizeof(line)) > 0) {
        if (l->up == l->connections)
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
    struct gw_mqtt_publish p = {.qos = 1, .packet_id = 1, .topic = gw_slice_str(l->topic)};
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
    l->id_at = w.len - l->size - 1 - 2;
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
    return (l->idle || strcmp(argv[optind], "publish") == 0) && l->connections && l->window ? 0 : 2;
}

static int run(struct load *l)
{
    int err = gw_loop_new(&l->loop);

    if (err)
        return die("loop", gw_error_text(err));
    l->conns = calloc(l->connections, sizeof(*l->conns));
    if (!l->conns || make_packet(l))
        return 1;
    gw_timer_init(&l->timer, on_timer, l);
    gw_timer_start(l->loop, &l->timer, 0);
    if (l->idle || l->wait)
        err = gw_io_start(l->loop, &l->input, STDIN_FILENO, EPOLLIN, on_input, l);
    if (!err)
        err = gw_loop_run(l->loop);
    if (err)
        return die("loop", gw_error_text(err));
    if (!l->status && !l->idle)
        (void)printf("{\"messages\":%u,\"refused\":%llu,\"seconds\":%.3f,\"per_second\":%.0f}\n",
                     l->messages, (unsigned long long)l->failures,
                     (double)(l->ended_ms - l->began_ms) / 1000,
                     1000.0 * l->messages / (double)GW_MAX(l->ended_ms - l->began_ms, 1ull));
    return l->status;
}

int main(int argc, char **argv)
{
    struct load l = {.host = "127.0.0.1",
                     .topic = "d/load/x",
                     .port = 8883,
                     .connections = 1,
                     .window = 20,
                     .messages = 1000,
                     .size = 256};
    int status;

    if (gw_crypto_init())
        return die("cryptography", "does not start");
    status = parse(argc, argv, &l);
    if (status == 2)
        (void)fputs("usage: load publish|idle --host H --port P --ca F --cert F --key F\n"
                    "            [--topic T] [--connections N] [--messages N] [--size B]\n"
                    "            [--window N] [--wait]\n",
                    stderr);
    if (!status)
        status = run(&l);
    for (unsigned i = 0; l.conns && i < l.dialled; i++)
        gw_client_free(&l.conns[i].client);
    gw_timer_stop(&l.timer);
    gw_loop_free(&l.loop);
    gw_key_free(&l.key);
    gw_buf_fini(&l.ca);
    gw_buf_fini(&l.cert);
    free(l.conns);
    free(l.packet);
    gw_crypto_fini();
    return status;
}
