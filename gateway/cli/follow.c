/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/envelope_priv.h"
#include "cli/reader.h"
#include "client/client.h"

#define PACKET_MAX (8u << 20)
#define ACKS_MAX (1u << 20)
#define RECEIVE_MAX 500
#define SESSION_S (7u * 86400)
#define SUBSCRIBE_ID 1
#define TICK_MS 1000

static const char usage[] =
    "usage: cordon envelope follow --broker mqtts://HOST[:PORT] --key FILE [options]\n"
    "\n"
    "Opens what gateways send to a broker and prints one JSON line for each message.\n"
    "\n"
    "  --broker URL         the broker; may be given several times, tried in order\n"
    "  --key FILE           the recipient's private key (PEM)\n"
    "  --prefix TEXT        first part of the topics (default: cordon)\n"
    "  --gateway ID         only this gateway (default: all)\n"
    "  --gateway-ca FILE    accept only keys announced under this gateway's CA (PEM)\n"
    "  --ca FILE            what the broker's certificate must end in (default: the system's)\n"
    "  --cert FILE          a client certificate, with --client-key FILE\n"
    "  --username NAME      with --password-file FILE\n"
    "  --client-id ID       a lasting session: what comes while this is away is kept by the "
    "broker\n"
    "  --from-start         tell a gap when a gateway's first message is not its number 1\n"
    "  --count N            stop after N lines\n";

struct options {
    struct gw_client_server servers[GW_CLIENT_SERVERS_MAX];
    size_t server_count;
    const char *key, *prefix, *gateway, *gateway_ca, *ca, *cert, *client_key;
    const char *username, *password_file, *client_id;
    bool from_start;
    uint64_t count;
};

struct follow {
    struct options opt;
    struct gw_loop *loop;
    struct gw_client *client;
    struct reader *reader;
    struct gw_key *key, *client_key;
    struct gw_buf ca, cert, gateway_ca, password;
    char client_id[64];
    size_t base;        /* length of "prefix/" in a topic */
    struct gw_buf acks; /* for lines that wait to be flushed */
    struct gw_io signals;
    int signal_fd;
    struct gw_timer tick;
    int status;
};

/* ---- options ---- */

static bool add_broker(struct options *o, const char *url)
{
    return o->server_count < GW_CLIENT_SERVERS_MAX &&
           gw_client_server_parse(url, &o->servers[o->server_count++]) == 0;
}

static bool parse_count(const char *text, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *out > 0;
}

/* 0; 1 help was asked for; 2 usage. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"broker", required_argument, NULL, 'b'},
        {"key", required_argument, NULL, 'k'},
        {"prefix", required_argument, NULL, 'p'},
        {"gateway", required_argument, NULL, 'g'},
        {"gateway-ca", required_argument, NULL, 'G'},
        {"ca", required_argument, NULL, 'a'},
        {"cert", required_argument, NULL, 'c'},
        {"client-key", required_argument, NULL, 'K'},
        {"username", required_argument, NULL, 'u'},
        {"password-file", required_argument, NULL, 'P'},
        {"client-id", required_argument, NULL, 'i'},
        {"from-start", no_argument, NULL, 's'},
        {"count", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const struct {
        int option;
        const char **to;
    } texts[] = {{'k', &o->key},        {'p', &o->prefix},   {'g', &o->gateway},
                 {'G', &o->gateway_ca}, {'a', &o->ca},       {'c', &o->cert},
                 {'K', &o->client_key}, {'u', &o->username}, {'P', &o->password_file},
                 {'i', &o->client_id}};
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        bool ok = c == 's';

        for (size_t i = 0; i < GW_COUNT(texts); i++)
            if (texts[i].option == c) {
                *texts[i].to = optarg;
                ok = true;
            }
        if (c == 'h')
            return 1;
        if (c == 's')
            o->from_start = true;
        if (c == 'b')
            ok = add_broker(o, optarg);
        if (c == 'n')
            ok = parse_count(optarg, &o->count);
        if (!ok && c != '?')
            (void)envelope_complain(optarg, c == 'b' ? "is no mqtts://HOST[:PORT]" : "is no count");
        if (!ok)
            return 2;
    }
    return optind == argc ? 0 : 2;
}

/* What options must hold together. */
static const char *check(const struct options *o)
{
    if (o->server_count == 0 || !o->key)
        return "--broker and --key are needed";
    if (!o->cert != !o->client_key)
        return "--cert and --client-key go together";
    if (o->password_file && !o->username)
        return "--password-file needs --username";
    if (!gw_topic_valid(gw_slice_str(o->prefix)) || strlen(o->prefix) > 128)
        return "--prefix must be a topic of at most 128 bytes";
    if (o->gateway && (!gw_topic_valid(gw_slice_str(o->gateway)) || strchr(o->gateway, '/') ||
                       strlen(o->gateway) > 64))
        return "--gateway must be the id of one gateway";
    if (o->client_id && (strlen(o->client_id) > 63 || !gw_utf8_valid(gw_slice_str(o->client_id))))
        return "--client-id must be at most 63 bytes";
    return NULL;
}

/* ---- files ---- */

/* The first line, without its end. */
static int read_password(const char *path, struct gw_buf *out)
{
    uint8_t *end;

    if (envelope_read_file(path, out))
        return 1;
    end = memchr(out->data + out->head, '\n', gw_buf_len(out));
    if (end)
        out->tail = (size_t)(end - out->data);
    return 0;
}

static int read_files(struct follow *f)
{
    const struct options *o = &f->opt;

    if (envelope_read_key(o->key, &f->key) || (o->ca && envelope_read_file(o->ca, &f->ca)) ||
        (o->cert && envelope_read_file(o->cert, &f->cert)) ||
        (o->client_key && envelope_read_key(o->client_key, &f->client_key)) ||
        (o->gateway_ca && envelope_read_cert(o->gateway_ca, &f->gateway_ca)) ||
        (o->password_file && read_password(o->password_file, &f->password)))
        return 1;
    return 0;
}

/* ---- lines first, then acknowledgements ---- */

static void stop(struct follow *f, int status)
{
    f->status = status;
    gw_loop_stop(f->loop);
}

static void on_done(void *owner, uint16_t token)
{
    struct follow *f = owner;
    struct gw_mqtt_ack ack = {.packet_id = token};
    uint8_t room[8];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    if (token == 0)
        return;
    gw_mqtt_ack_encode(&w, GW_MQTT_PUBACK, gw_client_version(f->client), &ack);
    (void)!gw_buf_append(&f->acks, gw_writer_done(&w)); /* not acknowledged: it comes again */
}

/* Only what has left this process is acknowledged. */
static void flush(struct follow *f)
{
    if (fflush(stdout) == EOF || ferror(stdout)) {
        stop(f, envelope_complain("standard output", strerror(errno)));
        return;
    }
    if (gw_buf_len(&f->acks) && gw_client_is_up(f->client) &&
        gw_client_write(f->client, gw_buf_slice(&f->acks)) == 0)
        gw_buf_consume(&f->acks, gw_buf_len(&f->acks));
    if (f->opt.count && reader_lines(f->reader) >= f->opt.count)
        stop(f, 0);
}

static void on_turn(void *owner)
{
    flush(owner);
}

static void on_tick(void *owner)
{
    struct follow *f = owner;

    reader_tick(f->reader, gw_loop_now_ms(f->loop));
    flush(f);
    gw_timer_start(f->loop, &f->tick, TICK_MS);
}

/* ---- the broker ---- */

static void on_up(void *owner, const struct gw_client_limits *limits)
{
    struct follow *f = owner;
    const char *gateway = f->opt.gateway ? f->opt.gateway : "+";
    char keys[256], messages[256];
    struct gw_mqtt_filter filters[2] = {{.options = {.qos = 1}}, {.options = {.qos = 1}}};
    struct gw_mqtt_props none = {0};
    uint8_t room[600];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    (void)limits;
    (void)snprintf(keys, sizeof(keys), "%s/%s/key/+", f->opt.prefix, gateway);
    (void)snprintf(messages, sizeof(messages), "%s/%s/up/#", f->opt.prefix, gateway);
    filters[0].filter = gw_slice_str(keys); /* first, so that retained keys come first */
    filters[1].filter = gw_slice_str(messages);
    gw_mqtt_subscribe_encode(&w, gw_client_version(f->client), SUBSCRIBE_ID, &none, filters, 2);
    if (w.err || gw_client_write(f->client, gw_writer_done(&w)))
        gw_client_drop(f->client, "cannot subscribe");
    else
        (void)fprintf(stderr, "cordon: connected to %s\n", gw_client_url(f->client));
}

static void on_down(void *owner, bool was_up, const char *why)
{
    struct follow *f = owner;

    (void)was_up;
    gw_buf_consume(&f->acks, gw_buf_len(&f->acks));
    reader_restart(f->reader);
    (void)fprintf(stderr, "cordon: %s\n", why);
}

/* Take "<gateway>/<place>/" off a topic behind the prefix; false when it is something else. */
static bool take_place(struct gw_slice *topic, struct gw_slice *gateway, const char *place)
{
    const uint8_t *slash = topic->len ? memchr(topic->ptr, '/', topic->len) : NULL;
    struct gw_slice rest;

    if (!slash)
        return false;
    rest = GW_SLICE(slash + 1, topic->len - (size_t)(slash + 1 - topic->ptr));
    if (!gw_slice_starts(rest, place))
        return false;
    *gateway = GW_SLICE(topic->ptr, (size_t)(slash - topic->ptr));
    *topic = GW_SLICE(rest.ptr + strlen(place), rest.len - strlen(place));
    return true;
}

static int on_publish(struct follow *f, uint8_t flags, struct gw_slice body)
{
    struct gw_mqtt_publish p;
    struct gw_slice topic, gateway;
    int err = gw_mqtt_publish_decode(body, flags, gw_client_version(f->client), &p);

    if (err)
        return err;
    if (p.qos == 2 || p.topic.len <= f->base)
        return GW_EPROTOCOL; /* neither was asked for */
    topic = GW_SLICE(p.topic.ptr + f->base, p.topic.len - f->base);
    if (take_place(&topic, &gateway, "up/")) {
        reader_message(f->reader, gw_loop_now_ms(f->loop), gateway, topic, p.payload, p.packet_id);
        return 0;
    }
    if (take_place(&topic, &gateway, "key/"))
        reader_key(f->reader, gateway, p.payload);
    on_done(f, p.packet_id);
    return 0;
}

static int on_suback(struct follow *f, struct gw_slice body)
{
    struct gw_mqtt_suback ack;
    int err = gw_mqtt_suback_decode(body, GW_MQTT_SUBACK, gw_client_version(f->client), &ack);

    if (err)
        return err;
    for (size_t i = 0; i < ack.codes.len; i++)
        if (ack.codes.ptr[i] >= 0x80) {
            stop(f, envelope_complain(gw_client_url(f->client),
                                      "the broker refuses the subscription"));
            return 0;
        }
    gw_client_progress(f->client);
    return 0;
}

static int on_packet(void *owner, enum gw_mqtt_type type, uint8_t flags, struct gw_slice body)
{
    if (type == GW_MQTT_PUBLISH)
        return on_publish(owner, flags, body);
    if (type == GW_MQTT_SUBACK)
        return on_suback(owner, body);
    return GW_EPROTOCOL;
}

/* ---- start, run, end ---- */

static void on_signal(void *owner, uint32_t events)
{
    (void)events;
    stop(owner, 0);
}

static int watch_signals(struct follow *f)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return -errno;
    f->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (f->signal_fd < 0)
        return -errno;
    return gw_io_start(f->loop, &f->signals, f->signal_fd, EPOLLIN, on_signal, f);
}

static int name_session(struct follow *f)
{
    uint8_t id[8];
    char hex[17];
    int err;

    if (f->opt.client_id) {
        (void)snprintf(f->client_id, sizeof(f->client_id), "%s", f->opt.client_id);
        return 0;
    }
    err = gw_random(id, sizeof(id));
    if (err)
        return err;
    gw_hex(id, sizeof(id), hex);
    (void)snprintf(f->client_id, sizeof(f->client_id), "cordon-%s", hex);
    return 0;
}

static int start_client(struct follow *f)
{
    static const struct gw_client_ops ops = {on_up, on_packet, on_turn, on_down};
    struct gw_client_config cfg = {
        .servers = f->opt.servers,
        .server_count = f->opt.server_count,
        .client_id = f->client_id,
        .clean = f->opt.client_id == NULL,
        .session_expiry_s = SESSION_S,
        .ca_pem = gw_buf_slice(&f->ca),
        .chain_pem = gw_buf_slice(&f->cert),
        .key = f->client_key,
        .username = f->opt.username,
        .password = gw_buf_slice(&f->password),
        .keep_alive_s = 30,
        .packet_max = PACKET_MAX,
        .receive_maximum = RECEIVE_MAX,
        .output_max = ACKS_MAX,
    };

    return gw_client_new(f->loop, &cfg, &ops, f, &f->client);
}

static int start(struct follow *f)
{
    struct reader_config reader = {
        .key = f->key,
        .gateway_ca = gw_buf_slice(&f->gateway_ca),
        .from_start = f->opt.from_start,
        .out = stdout,
        .err = stderr,
        .done = on_done,
        .owner = f,
    };
    int err;

    f->base = strlen(f->opt.prefix) + 1;
    f->acks.max = ACKS_MAX;
    gw_timer_init(&f->tick, on_tick, f);
    if ((err = gw_loop_new(&f->loop)) || (err = watch_signals(f)) || (err = name_session(f)) ||
        (err = reader_new(&reader, &f->reader)) || (err = start_client(f)))
        return err;
    gw_timer_start(f->loop, &f->tick, TICK_MS);
    return 0;
}

static void fini(struct follow *f)
{
    if (f->client)
        gw_client_leave(f->client);
    gw_client_free(&f->client);
    reader_free(&f->reader);
    gw_timer_stop(&f->tick);
    gw_io_stop(&f->signals);
    gw_close_fd(&f->signal_fd);
    gw_loop_free(&f->loop);
    gw_key_free(&f->key);
    gw_key_free(&f->client_key);
    gw_wipe(f->password.data, f->password.cap);
    gw_buf_fini(&f->password);
    gw_buf_fini(&f->ca);
    gw_buf_fini(&f->cert);
    gw_buf_fini(&f->gateway_ca);
    gw_buf_fini(&f->acks);
}

int gw_cli_envelope_follow(int argc, char **argv)
{
    GW_CLEANUP(fini) struct follow f = {.opt = {.prefix = "cordon"}, .signal_fd = -1};
    int asked = parse(argc, argv, &f.opt), err;
    const char *wrong = asked ? NULL : check(&f.opt);

    if (asked == 1)
        return fputs(usage, stdout) == EOF;
    if (asked || wrong) {
        (void)fprintf(stderr, "%s%s%s", wrong ? "cordon: " : "", wrong ? wrong : usage,
                      wrong ? "\n" : "");
        return 2;
    }
    if (read_files(&f))
        return 1;
    err = start(&f);
    if (!err)
        err = gw_loop_run(f.loop);
    return err ? envelope_complain("follow", gw_error_text(err)) : f.status;
}
