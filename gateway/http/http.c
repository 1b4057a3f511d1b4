/* SPDX-License-Identifier: GPL-2.0-only */
#include "http/http.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"
#include "http/http_priv.h"

#define COPY_MAX (16u << 10)
#define HEADERS_BYTES (32u << 10) /* of one request, MHD's memory for a connection */
#define DISCARD_MAX (4u << 20)    /* of a too long body, before the connection is cut */
#define CLOSING_SLACK 64          /* MHD may still be closing what we count no more */

/* ---- MHD in our loop ---- */

void http_wake(struct gw_http *h)
{
    if (!h->stopping)
        gw_task_post(h->loop, &h->run);
}

static void run_mhd(void *owner)
{
    struct gw_http *h = owner;
    MHD_UNSIGNED_LONG_LONG ms;

    (void)MHD_run(h->mhd);
    if (MHD_get_timeout(h->mhd, &ms) != MHD_YES)
        gw_timer_stop(&h->timer);
    else if (ms == 0)
        gw_task_post(h->loop, &h->run);
    else
        gw_timer_start(h->loop, &h->timer, ms);
}

static void mhd_ready(void *owner, uint32_t events)
{
    (void)events;
    run_mhd(owner);
}

static void mhd_log(void *cls, const char *fmt, va_list args) GW_PRINTF(2, 0);
static void mhd_log(void *cls, const char *fmt, va_list args)
{
    char line[GW_LOG_TEXT], safe[GW_LOG_TEXT];

    (void)cls;
    (void)vsnprintf(line, sizeof(line), fmt, args);
    gw_log_debug("http: %s", gw_log_text(gw_slice_str(line), safe));
}

/* Paths and queries are taken apart first and decoded then: here nothing is decoded. */
static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *text)
{
    (void)cls;
    (void)mhd;
    return strlen(text);
}

/* ---- connections ---- */

static void conn_free_if_over(struct conn *c)
{
    if (c->stream || c->in_mhd)
        return;
    gw_list_remove(&c->node);
    free(c->der);
    free(c);
}

struct gw_stream *conn_take_stream(struct conn *c)
{
    struct gw_stream *stream = GW_TAKE(c->stream);

    gw_timer_stop(&c->deadline);
    gw_io_stop(&c->io);
    gw_close_fd(&c->fd);
    if (stream)
        c->http->count--;
    return stream;
}

void conn_drop(struct conn *c)
{
    struct gw_stream *stream = conn_take_stream(c);

    gw_stream_free(&stream);
    if (c->req)
        request_drop(c->req);
    http_wake(c->http);
    conn_free_if_over(c);
}

static void watch(struct conn *c);

/* MHD closed its end, which ends the connection in order (err 0), or the stream takes no more. */
static void finish(struct conn *c, int err)
{
    gw_timer_stop(&c->deadline);
    gw_io_stop(&c->io);
    gw_close_fd(&c->fd);
    gw_stream_pause(c->stream, false);
    gw_stream_close(c->stream, err);
    if (c->req)
        request_drop(c->req);
}

void conn_pump_output(struct conn *c)
{
    static uint8_t buf[COPY_MAX]; /* the loop's thread alone */

    while (c->fd >= 0) {
        ssize_t got;
        int err = 0;

        c->output_held = gw_stream_pending(c->stream) >= OUTPUT_HIGH;
        if (c->output_held)
            return;
        got = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got > 0)
            err = gw_stream_write(c->stream, GW_SLICE(buf, got));
        if (got <= 0 || err)
            finish(c, err);
    }
}

/* What the client sent goes to MHD; what does not fit waits, and the stream with it. */
static void pump_input(struct conn *c)
{
    for (;;) {
        struct gw_slice in = c->stream ? gw_stream_input(c->stream) : GW_SLICE_NONE;
        ssize_t sent = (ssize_t)in.len;

        if (in.len == 0 || c->fd < 0)
            break;
        if (!c->input_dead)
            sent = send(c->fd, in.ptr, in.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            c->input_dead = true;
            continue;
        }
        if (sent < 0) {
            c->input_held = true;
            gw_stream_pause(c->stream, true);
            return;
        }
        gw_list_remove(&c->node); /* the list is in order of the last sign of life */
        gw_list_append(&c->http->conns, &c->node);
        if (!c->req && !gw_timer_armed(&c->deadline))
            gw_timer_start(c->http->loop, &c->deadline, REQUEST_MS);
        gw_stream_consume(c->stream, (size_t)sent);
    }
    if (c->input_held && c->stream) {
        c->input_held = false;
        gw_stream_pause(c->stream, false);
    }
}

static void pair_ready(void *owner, uint32_t events)
{
    struct conn *c = owner;

    if (events & (EPOLLHUP | EPOLLERR))
        c->input_dead = true;
    conn_pump_output(c);
    pump_input(c);
    watch(c);
}

/* Our end of the pair is watched only for what can be used: a closed one would fire for ever. */
static void watch(struct conn *c)
{
    uint32_t want = (c->output_held ? 0 : EPOLLIN) | (c->input_held ? EPOLLOUT : 0);

    if (c->fd < 0)
        return;
    if (want == 0)
        gw_io_stop(&c->io);
    else if (c->io.loop)
        gw_io_want(&c->io, want);
    else if (gw_io_start(c->http->loop, &c->io, c->fd, want, pair_ready, c))
        gw_stream_close(c->stream, -ENOMEM);
}

static void stream_event(void *owner, enum gw_stream_event ev)
{
    struct conn *c = owner;

    switch (ev) {
    case GW_STREAM_READY:
        break;
    case GW_STREAM_DATA:
        pump_input(c);
        watch(c);
        break;
    case GW_STREAM_DRAINED:
        conn_pump_output(c);
        watch(c);
        break;
    case GW_STREAM_CLOSED:
        conn_drop(c);
        break;
    }
}

/* A client that sends a request byte by byte holds a connection for so long and no longer. */
static void deadline_passed(void *owner)
{
    struct conn *c = owner;

    conn_drop(c);
}

/* ---- requests ---- */

static unsigned method_of(const char *name)
{
    static const struct {
        const char *name;
        unsigned method;
    } known[] = {{"GET", GW_GET},
                 {"HEAD", GW_GET}, /* MHD leaves the body out */
                 {"POST", GW_POST},
                 {"PUT", GW_PUT},
                 {"DELETE", GW_DELETE}};

    for (size_t i = 0; i < GW_COUNT(known); i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].method;
    return 0;
}

/* The whole request is here: find its row, ask `before`, hand it over. */
static void dispatch(struct gw_http_request *r)
{
    const struct gw_http *h = r->conn->http;
    unsigned allowed = 0, table = 0;
    char allow[40];
    int err;

    gw_timer_stop(&r->conn->deadline);
    r->state = REQUEST_HANDLING;
    if (r->discarded) {
        gw_http_problem(r, 413, "The body is longer than %zu bytes.", h->cfg.body_max);
        return;
    }
    do
        err = http_route(h->tables[table].routes, r->method, r->path, &r->route, r->segments,
                         &allowed);
    while (err == GW_ENOTFOUND && ++table < h->table_count);
    switch (err) {
    case 0:
        if (!h->cfg.before || h->cfg.before(h->cfg.owner, r))
            r->route->handle(h->tables[table].owner, r);
        return;
    case GW_ENOTFOUND:
        gw_http_problem(r, 404, "There is nothing at this path.");
        return;
    case GW_EUNSUPPORTED:
        http_allow_text(allowed, allow);
        gw_http_set_header(r, "Allow", allow);
        gw_http_problem(r, 405, "This method is not allowed here; allowed: %s.", allow);
        return;
    case GW_EMALFORMED:
        gw_http_problem(r, 400, "The path is badly escaped.");
        return;
    default:
        gw_http_problem(r, 500, "The request failed: %s.", gw_error_text(err));
    }
}

static enum MHD_Result count_framing(void *cls, enum MHD_ValueKind kind, const char *name,
                                     const char *value)
{
    unsigned *count = cls;

    (void)kind;
    (void)value;
    *count += strcasecmp(name, "Content-Length") == 0 || strcasecmp(name, "Transfer-Encoding") == 0;
    return MHD_YES;
}

/*
 * The headers are here. A body that announces itself as too long is refused before it is sent, and
 * so is one whose end two readers could see in two places (RFC 9112 §6.3): the connection ends.
 */
static enum MHD_Result begin(struct gw_http_request *r, const char *path, const char *method)
{
    const char *length = MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, "Content-Length");
    unsigned framings = 0;

    r->path = strdup(path);
    if (!r->path)
        return MHD_NO;
    r->method = method_of(method);
    (void)MHD_get_connection_values(r->mhd, MHD_HEADER_KIND, count_framing, &framings);
    if (framings <= 1 && (!length || strtoull(length, NULL, 10) <= r->body.max))
        return MHD_YES;
    r->state = REQUEST_HANDLING;
    gw_http_set_header(r, "Connection", "close");
    if (framings > 1)
        gw_http_problem(r, 400, "The body's length is said more than once.");
    else
        gw_http_problem(r, 413, "The body is longer than %zu bytes.", r->body.max);
    return request_queue(r);
}

static enum MHD_Result gather(struct gw_http_request *r, const char *data, size_t *size)
{
    struct gw_slice part = GW_SLICE(data, *size);

    *size = 0;
    if (r->discarded || gw_buf_append(&r->body, part))
        r->discarded += part.len;
    return r->discarded <= DISCARD_MAX ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *mhd, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *size, void **state)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct conn *c = info ? info->socket_context : NULL;
    struct gw_http_request *r = *state;

    (void)cls;
    if (!c || !c->stream)
        return MHD_NO;
    if (!r) {
        r = request_new(c, mhd);
        *state = c->req = r;
        if (r)
            r->may_upgrade = !strcmp(method, "GET") && !strcmp(version, "HTTP/1.1");
        return r ? begin(r, url, method) : MHD_NO;
    }
    if (*size)
        return gather(r, data, size);
    if (r->state == REQUEST_GATHER)
        dispatch(r);
    if (r->state == REQUEST_ANSWERED)
        return request_queue(r);
    request_suspend(r);
    return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct gw_http_request *r = *state;

    (void)cls;
    (void)mhd;
    (void)why;
    if (!r)
        return;
    *state = NULL;
    request_gone(r);
    r->conn->req = NULL;
    request_free(&r);
}

/* ---- a connection's way into MHD ---- */

/*
 * MHD keeps a copy of the address that came with a connection and hands it back: that is how a
 * connection of MHD's finds ours. The family also tells MHD that this is no TCP socket.
 */
struct pair_addr {
    sa_family_t family;
    struct conn *conn;
};

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct conn *c = *context;

    (void)cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        struct pair_addr at;

        memcpy(&at, info->client_addr, sizeof(at));
        at.conn->in_mhd = true;
        *context = at.conn;
    } else if (c) {
        c->in_mhd = false;
        conn_free_if_over(c);
    }
}

static int conn_new(struct gw_http *h, struct gw_stream *stream, struct conn **out)
{
    const struct gw_identity *id = gw_stream_identity(stream);
    struct conn *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    if (id) {
        c->identity = *id;
        c->identity.der = GW_SLICE_NONE;
        if (id->der.len) {
            c->der = (uint8_t *)gw_slice_dup(id->der);
            if (!c->der) {
                free(c);
                return -ENOMEM;
            }
            c->identity.der = GW_SLICE(c->der, id->der.len);
        }
    }
    if (gw_stream_peer(stream))
        c->peer = *gw_stream_peer(stream);
    c->http = h;
    c->stream = stream;
    c->fd = -1;
    gw_timer_init(&c->deadline, deadline_passed, c);
    gw_list_append(&h->conns, &c->node);
    h->count++;
    *out = c;
    return 0;
}

static int pair_up(struct conn *c)
{
    struct {
        struct pair_addr at;
        uint8_t room[sizeof(struct sockaddr_un)]; /* MHD may look at a whole address */
    } addr = {.at = {.family = AF_UNIX, .conn = c}};
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    c->fd = fds[0];
    /* MHD owns fds[1] from here on, also when it fails. */
    if (MHD_add_connection(c->http->mhd, fds[1], (struct sockaddr *)(void *)&addr.at,
                           sizeof(addr.at)) != MHD_YES)
        return -ENOMEM;
    return 0;
}

/* The quietest connection that is at no request gives way, so that idlers lock nobody out. */
static bool make_way(struct gw_http *h)
{
    GW_LIST_EACH(&h->conns, node)
    {
        struct conn *c = GW_LIST_ENTRY(node, struct conn, node);

        if (c->stream && !c->req) {
            conn_drop(c);
            return true;
        }
    }
    return false;
}

int gw_http_serve(struct gw_http *h, struct gw_stream *stream)
{
    struct conn *c;
    bool room = h->count < h->cfg.connections || make_way(h);
    int err = room ? conn_new(h, stream, &c) : GW_EFULL;

    if (err) {
        gw_stream_free(&stream);
        return err;
    }
    err = pair_up(c);
    if (err) {
        conn_drop(c);
        return err;
    }
    gw_stream_attach(stream, stream_event, c);
    pump_input(c);
    watch(c);
    http_wake(h);
    return 0;
}

/* ---- a device that is cut off ---- */

static void shut_now(struct conn *c)
{
    struct gw_stream *stream = c->stream;

    c->shut_out = false;
    finish(c, GW_EREVOKED);
    http_wake(c->http);
    gw_stream_flush(stream);
}

static void on_shut(void *owner)
{
    struct gw_http *h = owner;

    GW_LIST_EACH(&h->conns, node)
    {
        struct conn *c = GW_LIST_ENTRY(node, struct conn, node);

        if (c->stream && c->shut_out)
            shut_now(c);
    }
}

void gw_http_close_device(struct gw_http *h, const char *device)
{
    GW_LIST_EACH(&h->conns, node)
    {
        struct conn *c = GW_LIST_ENTRY(node, struct conn, node);

        if (!c->stream || !*device || strcmp(c->identity.device, device) != 0)
            continue;
        if (!c->req) {
            shut_now(c);
            continue;
        }
        c->shut_out = true; /* perhaps we are in its handler */
        gw_task_post(h->loop, &h->shut);
    }
}

/* ---- the server ---- */

int gw_http_mount(struct gw_http *h, const struct gw_http_route *routes, void *owner)
{
    if (h->table_count == GW_HTTP_TABLES)
        return GW_EFULL;
    h->tables[h->table_count].routes = routes;
    h->tables[h->table_count++].owner = owner;
    return 0;
}

int gw_http_new(struct gw_loop *loop, const struct gw_http_config *cfg, struct gw_http **out)
{
    GW_CLEANUP(gw_http_free) struct gw_http *h = calloc(1, sizeof(*h));
    const union MHD_DaemonInfo *info;

    if (!h)
        return -ENOMEM;
    h->loop = loop;
    h->cfg = *cfg;
    gw_list_init(&h->conns);
    gw_task_init(&h->run, run_mhd, h);
    gw_task_init(&h->shut, on_shut, h);
    gw_timer_init(&h->timer, run_mhd, h);
    h->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_access, h, MHD_OPTION_EXTERNAL_LOGGER, mhd_log, NULL,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)cfg->connections + CLOSING_SLACK, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)cfg->idle_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADERS_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!h->mhd)
        return -ENOMEM;
    info = MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info)
        return -ENOMEM;
    if (gw_io_start(loop, &h->io, info->epoll_fd, EPOLLIN, mhd_ready, h))
        return -ENOMEM;
    *out = GW_TAKE(h);
    return 0;
}

void gw_http_free(struct gw_http **http)
{
    struct gw_http *h = GW_TAKE(*http);

    if (!h)
        return;
    h->stopping = true;
    gw_task_cancel(&h->run);
    gw_task_cancel(&h->shut);
    gw_timer_stop(&h->timer);
    gw_io_stop(&h->io);
    GW_LIST_EACH(&h->conns, node)
    conn_drop(GW_LIST_ENTRY(node, struct conn, node));
    if (h->mhd) {
        (void)MHD_run(h->mhd); /* whoever was resumed by the drop is taken in again */
        MHD_stop_daemon(h->mhd);
    }
    free(h);
}
