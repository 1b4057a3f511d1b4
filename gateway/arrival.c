/* SPDX-License-Identifier: GPL-2.0-only */
/* From a listening socket to a stream that is ready to be served. */
#include "worker.h"

#include <errno.h>

#define ACCEPT_PER_TURN 16 /* a full handshake costs about 1 ms: a storm must not stall a turn */
#define HANDSHAKE_MS 10000
#define ARRIVALS_MAX 1024 /* at once: each takes memory before anybody is known */
#define ARRIVALS_SHARE 4  /* of which one address may hold so great a part */
#define PACKET_HEAD_MAX (256u << 10)
#define OUTPUT_MAX (4u << 20) /* bytes queued to one peer that does not read */

/* A connection between accept(2) and READY. */
struct arrival {
    struct gw_list node;
    struct entrance *entrance;
    struct gw_stream *stream;
};

int entrance_bind(struct entrance *e, const struct gw_listen_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct gw_addr at = {list->at[i].addr, list->at[i].len};
        int fd = gw_listen_tcp(&at);

        if (fd < 0) {
            char text[GW_ADDR_TEXT];

            gw_log_error("cannot listen for=%s at=%s: %s", e->name, gw_addr_text(&at, text),
                         gw_error_text(fd));
            return fd;
        }
        e->fds[e->fd_count++] = fd;
    }
    return 0;
}

int entrance_bind_unix(struct entrance *e, const char *path, gid_t gid)
{
    int fd = gw_listen_unix(path, gid);

    if (fd < 0) {
        gw_log_error("cannot listen for=%s at=%s: %s", e->name, path, gw_error_text(fd));
        return fd;
    }
    e->fds[e->fd_count++] = fd;
    return 0;
}

int entrance_secure(struct entrance *e)
{
    const struct gw_config *config = e->worker->config;
    const struct gw_pki *pki = e->worker->pki;
    GW_CLEANUP(gw_buf_fini) struct gw_buf makers = {.max = SIZE_MAX};
    struct gw_tls_server_config cfg = {
        .chain_pem = gw_pki_chain_pem(pki),
        .key = gw_pki_key(pki),
        .device_ca_pem = gw_pki_ca_pem(pki),
        .auth = e->auth,
        .handshake_ms = HANDSHAKE_MS,
        .admit = e->admit,
        .owner = e->worker,
        /* The pages' visitors show no certificate: their session is a cookie's. */
        .tickets_max = e->auth == GW_TLS_AUTH_NONE ? 0 : config->limits.connections,
    };

    if (e->plain)
        return 0;
    if (e->auth == GW_TLS_AUTH_OPTIONAL) {
        cfg.alpn[0] = "http/1.1";
        cfg.grace_days = config->enroll.grace_days;
        for (size_t i = 0; i < config->enroll.manufacturer_count; i++) {
            int err = gw_buf_append(&makers, gw_buf_slice(&config->enroll.manufacturers[i].data));

            if (err)
                return err;
        }
        cfg.manufacturer_cas_pem = gw_buf_slice(&makers);
    } else if (e->auth == GW_TLS_AUTH_NONE) {
        cfg.alpn[0] = "http/1.1";
    }
    return e->tls ? gw_tls_server_reload(e->tls, &cfg) : gw_tls_server_new(&cfg, &e->tls);
}

static void arrival_free(struct arrival *a)
{
    gw_list_remove(&a->node);
    a->entrance->arrival_count--;
    gw_stream_free(&a->stream);
    free(a);
}

static void refused(struct arrival *a)
{
    struct entrance *e = a->entrance;
    char peer[GW_ADDR_TEXT];

    if (!gw_log_allowed(&e->refusals, gw_loop_now_ms(e->worker->loop)))
        return;
    gw_log_info("connection refused at=%s peer=%s reason=\"%s\"%s%s not_shown=%u", e->name,
                gw_addr_text(gw_stream_peer(a->stream), peer),
                gw_error_text(gw_stream_error(a->stream)),
                *gw_stream_detail(a->stream) ? " detail=" : "", gw_stream_detail(a->stream),
                e->refusals.muted);
    e->refusals.muted = 0;
}

static bool hwaddr_of(const struct gw_addr *peer, struct gw_hwaddr *out)
{
    const void *sa = &peer->sa;
    const struct sockaddr_in *four = sa;
    const struct sockaddr_in6 *six = sa;

    if (peer->sa.ss_family == AF_INET)
        *out = gw_hwaddr_ipv4((const uint8_t *)&four->sin_addr);
    else if (peer->sa.ss_family == AF_INET6)
        *out = gw_hwaddr_ipv6(six->sin6_addr.s6_addr);
    return peer->sa.ss_family == AF_INET || peer->sa.ss_family == AF_INET6;
}

/*
 * What failed by what the peer sent is a strike against the device that has the address; not that
 * it was slow or went away. Not at the admin's door: a browser that does not trust our certificate
 * yet breaks handshakes off, too.
 */
static void strike(const struct arrival *a)
{
    const struct entrance *e = a->entrance;
    const struct gw_device *d;
    struct gw_hwaddr ip;
    int err = gw_stream_error(a->stream);

    if (e->plain || e->auth == GW_TLS_AUTH_NONE || (err != GW_ETLS && err != GW_EIDENTITY) ||
        !hwaddr_of(gw_stream_peer(a->stream), &ip))
        return;
    d = gw_devices_by_addr(e->worker->devices, &ip);
    if (d)
        gw_quarantine_strike(e->worker->quarantine, d->id, GW_STRIKE_HANDSHAKE);
}

static void arrival_event(void *owner, enum gw_stream_event ev)
{
    struct arrival *a = owner;

    switch (ev) {
    case GW_STREAM_READY: {
        struct entrance *e = a->entrance;
        struct gw_stream *stream = GW_TAKE(a->stream);
        int err;

        arrival_free(a);
        err = e->serve(e->worker, stream);
        if (err)
            gw_log_warning("connection not served at=%s: %s", e->name, gw_error_text(err));
        return;
    }
    case GW_STREAM_CLOSED:
        refused(a);
        strike(a);
        arrival_free(a);
        return;
    case GW_STREAM_DATA:
    case GW_STREAM_DRAINED:
        return;
    }
}

static int arrival_new(struct entrance *e, struct gw_stream **stream)
{
    struct arrival *a = calloc(1, sizeof(*a));

    if (!a)
        return -ENOMEM;
    a->entrance = e;
    a->stream = GW_TAKE(*stream);
    gw_list_append(&e->arrivals, &a->node);
    e->arrival_count++;
    gw_stream_attach(a->stream, arrival_event, a);
    return 0;
}

/* One whole packet may wait unread: its payload, its topic and its properties. */
struct gw_stream_limits worker_stream_limits(const struct worker *w)
{
    return (struct gw_stream_limits){
        .output_max = OUTPUT_MAX,
        .input_max = w->config->limits.message_bytes + PACKET_HEAD_MAX,
    };
}

static int take(struct entrance *e, int fd)
{
    const struct gw_stream_limits limits = worker_stream_limits(e->worker);
    GW_CLEANUP(gw_stream_free) struct gw_stream *stream = NULL;
    int err = e->plain ? gw_tcp_stream_new(e->worker->loop, fd, &limits, &stream)
                       : gw_tls_accept(e->worker->loop, e->tls, fd, &limits, &stream);

    if (err)
        return err;
    return arrival_new(e, &stream);
}

static bool same_host(const struct gw_addr *a, const struct gw_addr *b)
{
    const void *x = &a->sa, *y = &b->sa;
    const struct sockaddr_in *four_x = x, *four_y = y;
    const struct sockaddr_in6 *six_x = x, *six_y = y;

    if (a->sa.ss_family != b->sa.ss_family)
        return false;
    if (a->sa.ss_family == AF_INET6)
        return memcmp(&six_x->sin6_addr, &six_y->sin6_addr, sizeof(six_x->sin6_addr)) == 0;
    return a->sa.ss_family == AF_INET && four_x->sin_addr.s_addr == four_y->sin_addr.s_addr;
}

/* Handshakes under way are bounded, and nobody's may shut the others' out. */
static bool room_for(const struct entrance *e, const struct gw_addr *peer)
{
    size_t max = GW_MIN(e->worker->config->limits.connections, (uint32_t)ARRIVALS_MAX);
    size_t share = GW_MAX(max / ARRIVALS_SHARE, (size_t)1), held = 0;

    if (e->arrival_count < share)
        return true;
    if (e->arrival_count >= max)
        return false;
    GW_LIST_EACH(&e->arrivals, node)
    {
        held += same_host(gw_stream_peer(GW_LIST_ENTRY(node, struct arrival, node)->stream), peer);
    }
    return held < share;
}

static void on_accept(void *owner, int fd, const struct gw_addr *peer)
{
    struct entrance *e = owner;
    char text[GW_ADDR_TEXT];
    int err = GW_EFULL;

    if (room_for(e, peer))
        err = take(e, fd);
    else
        gw_close_fd(&fd);
    if (err == GW_EFULL)
        gw_peers_limit(e->worker->peers, GW_LIMIT_CONNECTIONS);
    if (err && gw_log_allowed(&e->refusals, gw_loop_now_ms(e->worker->loop)))
        gw_log_warning("connection not taken at=%s peer=%s: %s", e->name, gw_addr_text(peer, text),
                       gw_error_text(err));
}

int entrance_open(struct entrance *e)
{
    e->refusals = (struct gw_log_limit){.burst = 10, .per_ms = 10000};
    for (size_t i = 0; i < e->fd_count; i++) {
        int fd = e->fds[i];
        int err =
            gw_listener_new(e->worker->loop, fd, ACCEPT_PER_TURN, on_accept, e, &e->listeners[i]);

        if (err)
            return err;
        e->fds[i] = -1; /* the listener's now */
    }
    return 0;
}

int entrance_move(struct entrance *e, const struct gw_listen_list *old,
                  const struct gw_listen_list *now)
{
    struct gw_listener *listeners[GW_CONFIG_LIST_MAX] = {NULL};
    int err = 0;

    for (size_t i = 0; i < now->count; i++) {
        size_t before = gw_config_listens(old, &now->at[i]);
        int fd = gw_enforcer_take_listener(e->worker->enforcer, i);
        int failed = 0;

        if (before < e->fd_count)
            listeners[i] = GW_TAKE(e->listeners[before]);
        else if (fd >= 0)
            failed = gw_listener_new(e->worker->loop, gw_take_fd(&fd), ACCEPT_PER_TURN, on_accept,
                                     e, &listeners[i]);
        err = err ? err : failed;
        gw_close_fd(&fd);
    }
    for (size_t i = 0; i < e->fd_count; i++)
        gw_listener_free(&e->listeners[i]);
    memcpy(e->listeners, listeners, sizeof(listeners));
    e->fd_count = now->count;
    for (size_t i = 0; i < e->fd_count; i++)
        e->fds[i] = -1;
    return err;
}

void entrance_close(struct entrance *e)
{
    for (size_t i = 0; i < e->fd_count; i++) {
        gw_listener_free(&e->listeners[i]);
        if (e->fds[i] >= 0)
            gw_close_fd(&e->fds[i]);
    }
    e->fd_count = 0;
    GW_LIST_EACH(&e->arrivals, node)
    {
        arrival_free(GW_LIST_ENTRY(node, struct arrival, node));
    }
    gw_tls_server_free(&e->tls);
}
