/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/layer.h"

#include <errno.h>

#define RECEIVE_BYTES 65536
#define INPUT_MAX (1u << 20)
#define OUTPUT_FIRST 1024 /* a queue begins with so much: most turns need no second allocation */
#define LINGER_MS 3000    /* to send what is queued and to hear the peer's end */

/* A stream moves through these in order, and may skip some. */
enum state {
    CONNECTING,
    OPEN,
    SENDING,   /* closed by us: the rest of the queue goes out, nothing is read */
    LINGERING, /* all is sent and our end with it: what the peer still says is thrown away */
    ENDED,     /* the socket is closed; CLOSED is due, or delivered */
};

struct tcp {
    struct gw_stream base;
    struct gw_loop *loop;
    int fd;
    enum state state;
    struct gw_io io;
    struct gw_task flush;  /* send at the turn's end */
    struct gw_task wake;   /* deliver what is due: READY, input again, CLOSED */
    struct gw_timer timer; /* the state's time limit */
    struct gw_layer_input in;
    struct gw_buf out;
    bool ready_due, closed_due, input_due;
    bool paused;
    bool blocked;  /* the kernel takes no more for now */
    bool was_high; /* the queue passed half of its limit, DRAINED is owed at a quarter */
    bool peer_ended;
    uint32_t idle_ms;
    uint64_t heard_ms;
    struct gw_addr peer;
    struct gw_identity *identity; /* Unix sockets only */
};

/* One buffer for all streams: received bytes stay only if their owner leaves some. */
static _Thread_local uint8_t shared[RECEIVE_BYTES];

static struct tcp *tcp_of(const struct gw_stream *s)
{
    return GW_CONTAINER((uintptr_t)s, struct tcp, base);
}

static bool reading(const struct tcp *t)
{
    return t->state == OPEN && t->base.fn && !t->paused;
}

static void on_io(void *owner, uint32_t events);

static void end(struct tcp *t, int err);

/* Watch the socket for what the state can use. */
static void watch(struct tcp *t)
{
    uint32_t want = 0;
    int err;

    if (t->state == ENDED)
        return;
    if (t->state == LINGERING || reading(t))
        want |= EPOLLIN;
    if (t->state == CONNECTING || t->blocked)
        want |= EPOLLOUT;
    if (t->io.loop || !want) {
        gw_io_want(&t->io, want);
        return;
    }
    err = gw_io_start(t->loop, &t->io, t->fd, want, on_io, t);
    if (err)
        end(t, err);
}

/* The socket is over. The first reason stays. */
static void end(struct tcp *t, int err)
{
    if (t->state == ENDED)
        return;
    if (t->state <= OPEN)
        t->base.error = err;
    t->state = ENDED;
    gw_io_stop(&t->io);
    gw_timer_stop(&t->timer);
    gw_task_cancel(&t->flush);
    gw_close_fd(&t->fd);
    gw_layer_forget(&t->in);
    gw_buf_fini(&t->out);
    t->ready_due = t->input_due = t->blocked = false;
    t->closed_due = true;
    gw_task_post(t->loop, &t->wake);
}

/* All is sent: say so to the peer and wait for its own end, or a reset could overtake our bytes. */
static void finish(struct tcp *t)
{
    if (t->peer_ended || shutdown(t->fd, SHUT_WR) < 0) {
        end(t, 0);
        return;
    }
    t->state = LINGERING;
    watch(t);
}

/* ---- output ---- */

/* False when the owner freed the stream. */
static bool send_queued(struct tcp *t)
{
    size_t before = gw_buf_len(&t->out);
    bool drained;

    t->blocked = false;
    while (gw_buf_len(&t->out)) {
        struct gw_slice s = gw_buf_slice(&t->out);
        ssize_t sent = send(t->fd, s.ptr, s.len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN) {
            end(t, -errno);
            return true;
        }
        t->blocked = sent < (ssize_t)s.len;
        if (sent > 0)
            gw_buf_consume(&t->out, (size_t)sent);
        if (t->blocked)
            break;
    }
    drained = before && !gw_buf_len(&t->out);
    if (t->was_high && gw_buf_len(&t->out) <= t->out.max / 4)
        drained = true;
    if (drained)
        t->was_high = false;
    if (!gw_buf_len(&t->out))
        gw_buf_fini(&t->out);
    if (t->state == SENDING && !gw_buf_len(&t->out)) {
        finish(t);
        return true;
    }
    watch(t);
    return !drained || t->state != OPEN || gw_layer_emit(&t->base, GW_STREAM_DRAINED);
}

static void on_flush(void *owner)
{
    struct tcp *t = owner;

    if ((t->state == OPEN || t->state == SENDING) && !t->blocked)
        (void)send_queued(t);
}

static void tcp_flush(struct gw_stream *s)
{
    struct tcp *t = tcp_of(s);

    gw_task_cancel(&t->flush);
    on_flush(t);
}

static int tcp_write(struct gw_stream *s, struct gw_slice bytes)
{
    struct tcp *t = tcp_of(s);
    int err;

    if (t->state > OPEN)
        return GW_ECLOSED;
    if (!t->out.data && bytes.len < OUTPUT_FIRST)
        (void)!gw_buf_reserve(&t->out, GW_MIN((size_t)OUTPUT_FIRST, t->out.max));
    err = gw_buf_append(&t->out, bytes);
    if (err == GW_EFULL || gw_buf_len(&t->out) > t->out.max / 2)
        t->was_high = true;
    if (!err && t->state == OPEN && !t->blocked)
        gw_task_post(t->loop, &t->flush);
    return err;
}

static size_t tcp_pending(const struct gw_stream *s)
{
    return gw_buf_len(&tcp_of(s)->out);
}

/* ---- input ---- */

static struct gw_slice tcp_input(struct gw_stream *s)
{
    return gw_layer_input(&tcp_of(s)->in);
}

static void tcp_consume(struct gw_stream *s, size_t len)
{
    gw_layer_consume(&tcp_of(s)->in, len);
}

/* Close from inside: nothing is delivered but CLOSED. */
static void begin_close(struct tcp *t, int err)
{
    if (t->state > OPEN)
        return;
    if (t->state == CONNECTING) {
        end(t, err);
        return;
    }
    t->base.error = err;
    t->state = SENDING;
    gw_layer_forget(&t->in);
    t->ready_due = t->input_due = false;
    gw_timer_start(t->loop, &t->timer, LINGER_MS);
    gw_task_post(t->loop, &t->flush);
    if (t->blocked) /* else the flush looks after it */
        watch(t);
}

static void deliver(struct tcp *t, struct gw_slice bytes)
{
    int result = gw_layer_deliver(&t->base, &t->in, bytes);

    if (result < 0)
        begin_close(t, result == GW_EFULL ? GW_ETOOBIG : result);
}

/* What an owner left over while it was paused comes before the end. */
static void on_peer_end(struct tcp *t)
{
    if (t->input_due && gw_layer_input(&t->in).len) {
        t->input_due = false;
        if (!gw_layer_emit(&t->base, GW_STREAM_DATA) || t->paused)
            return; /* the end will be read again after the pause */
    }
    t->peer_ended = true;
    begin_close(t, 0);
}

static void receive(struct tcp *t)
{
    ssize_t got = recv(t->fd, shared, sizeof(shared), MSG_DONTWAIT);

    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR)
            end(t, -errno);
        return;
    }
    if (got == 0) {
        on_peer_end(t);
        return;
    }
    t->heard_ms = gw_loop_now_ms(t->loop);
    deliver(t, GW_SLICE(shared, (size_t)got));
}

static void discard(struct tcp *t)
{
    ssize_t got = recv(t->fd, shared, sizeof(shared), MSG_DONTWAIT);

    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        end(t, 0);
}

static void tcp_pause(struct gw_stream *s, bool paused)
{
    struct tcp *t = tcp_of(s);

    if (t->paused == paused)
        return;
    t->paused = paused;
    t->heard_ms = gw_loop_now_ms(t->loop);
    if (!paused && t->state == OPEN) {
        t->input_due = true;
        gw_task_post(t->loop, &t->wake);
    }
    watch(t);
}

/* ---- events of the socket ---- */

static void idle_start(struct tcp *t)
{
    t->heard_ms = gw_loop_now_ms(t->loop);
    if (t->idle_ms)
        gw_timer_start(t->loop, &t->timer, t->idle_ms);
    else
        gw_timer_stop(&t->timer);
}

static void opened(struct tcp *t)
{
    t->state = OPEN;
    t->ready_due = true;
    idle_start(t);
    gw_task_post(t->loop, &t->wake);
    gw_task_post(t->loop, &t->flush);
    watch(t);
}

static void connected(struct tcp *t)
{
    int err = 0;
    socklen_t len = sizeof(err);

    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    if (err)
        end(t, -err);
    else
        opened(t);
}

static void on_io(void *owner, uint32_t events)
{
    struct tcp *t = owner;
    bool over = events & (EPOLLHUP | EPOLLERR);

    if (t->state == CONNECTING) {
        connected(t);
        return;
    }
    if (t->blocked && (over || events & EPOLLOUT) && !send_queued(t))
        return;
    if (t->state == LINGERING)
        discard(t);
    else if (reading(t) && (over || events & EPOLLIN))
        receive(t);
    else if (over)
        gw_io_stop(&t->io); /* it would fire for ever; what there is to know waits until we read */
}

static void on_timer(void *owner)
{
    struct tcp *t = owner;
    uint64_t quiet_ms = gw_loop_now_ms(t->loop) - t->heard_ms;

    if (t->state == CONNECTING)
        end(t, GW_ETIMEOUT);
    else if (t->state > OPEN)
        end(t, 0);
    else if (t->paused || quiet_ms < t->idle_ms)
        gw_timer_start(t->loop, &t->timer, t->paused ? t->idle_ms : t->idle_ms - quiet_ms);
    else
        begin_close(t, GW_EIDLE);
}

/* Deliver what became due outside the socket's events. */
static void on_wake(void *owner)
{
    struct tcp *t = owner;

    if (!t->base.fn)
        return; /* all of it comes when somebody attaches */
    if (t->ready_due) {
        t->ready_due = false;
        if (!gw_layer_emit(&t->base, GW_STREAM_READY))
            return;
    }
    if (t->input_due && reading(t)) {
        t->input_due = false;
        if (gw_layer_input(&t->in).len && !gw_layer_emit(&t->base, GW_STREAM_DATA))
            return;
    }
    if (t->closed_due) {
        t->closed_due = false;
        (void)gw_layer_emit(&t->base, GW_STREAM_CLOSED);
    }
}

static void tcp_attached(struct gw_stream *s)
{
    struct tcp *t = tcp_of(s);

    t->input_due = t->state == OPEN;
    if (t->ready_due || t->input_due || t->closed_due)
        gw_task_post(t->loop, &t->wake);
    watch(t);
}

/* ---- the rest of the operations ---- */

static void tcp_close(struct gw_stream *s, int err)
{
    begin_close(tcp_of(s), err);
}

static const struct gw_identity *tcp_identity(const struct gw_stream *s)
{
    static const struct gw_identity none;
    const struct tcp *t = tcp_of(s);

    return t->identity ? t->identity : &none;
}

static const struct gw_addr *tcp_peer(const struct gw_stream *s)
{
    return &tcp_of(s)->peer;
}

static const char *tcp_nothing(const struct gw_stream *s)
{
    (void)s;
    return "";
}

static void tcp_free(struct gw_stream *s)
{
    struct tcp *t = tcp_of(s);

    gw_io_stop(&t->io);
    gw_timer_stop(&t->timer);
    gw_task_cancel(&t->flush);
    gw_task_cancel(&t->wake);
    gw_close_fd(&t->fd);
    gw_layer_forget(&t->in);
    gw_buf_fini(&t->out);
    free(t->identity);
    free(t);
}

static const struct gw_stream_ops tcp_ops = {
    .attached = tcp_attached,
    .input = tcp_input,
    .consume = tcp_consume,
    .write = tcp_write,
    .flush = tcp_flush,
    .pending = tcp_pending,
    .pause = tcp_pause,
    .close = tcp_close,
    .identity = tcp_identity,
    .peer = tcp_peer,
    .alpn = tcp_nothing,
    .detail = tcp_nothing,
    .free = tcp_free,
};

/* ---- new streams ---- */

static struct tcp *tcp_new(struct gw_loop *loop, int fd, const struct gw_stream_limits *limits)
{
    struct tcp *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->base.ops = &tcp_ops;
    t->loop = loop;
    t->fd = fd;
    t->in.kept.max = limits->input_max ? limits->input_max : INPUT_MAX;
    t->out.max = limits->output_max;
    t->idle_ms = limits->idle_ms;
    gw_task_init(&t->flush, on_flush, t);
    gw_task_init(&t->wake, on_wake, t);
    gw_timer_init(&t->timer, on_timer, t);
    return t;
}

/* Who is at the other end of a Unix socket is known to the kernel. */
static int read_credentials(struct tcp *t)
{
    socklen_t len = sizeof(t->identity->ucred);

    t->identity = calloc(1, sizeof(*t->identity));
    if (!t->identity)
        return -ENOMEM;
    if (getsockopt(t->fd, SOL_SOCKET, SO_PEERCRED, &t->identity->ucred, &len) < 0)
        return -errno;
    return 0;
}

int gw_tcp_stream_new(struct gw_loop *loop, int fd, const struct gw_stream_limits *limits,
                      struct gw_stream **out)
{
    struct tcp *t = tcp_new(loop, fd, limits);
    struct gw_stream *s;
    int err;

    if (!t) {
        gw_close_fd(&fd);
        return -ENOMEM;
    }
    s = &t->base;
    t->peer.len = sizeof(t->peer.sa);
    /* A peer that has gone already is heard of by the first recv. */
    if (getpeername(fd, (struct sockaddr *)&t->peer.sa, &t->peer.len) < 0)
        t->peer = (struct gw_addr){0};
    gw_addr_unmap(&t->peer);
    err = t->peer.len && t->peer.sa.ss_family == AF_UNIX ? read_credentials(t) : 0;
    if (err) {
        gw_stream_free(&s);
        return err;
    }
    opened(t);
    *out = s;
    return 0;
}

int gw_tcp_connect(struct gw_loop *loop, const struct gw_addr *to, uint32_t timeout_ms,
                   const struct gw_stream_limits *limits, struct gw_stream **out)
{
    int fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err;
    struct gw_stream *s;
    struct tcp *t;

    if (fd < 0)
        return -errno;
    t = tcp_new(loop, fd, limits);
    if (!t) {
        gw_close_fd(&fd);
        return -ENOMEM;
    }
    s = &t->base;
    t->peer = *to;
    if (connect(fd, (const struct sockaddr *)&to->sa, to->len) < 0 && errno != EINPROGRESS) {
        end(t, -errno); /* heard of as CLOSED, like every other way to fail */
    } else {
        err = to->sa.ss_family == AF_UNIX ? read_credentials(t) : gw_tcp_prepare(fd);
        if (err) {
            gw_stream_free(&s);
            return err;
        }
        if (timeout_ms)
            gw_timer_start(loop, &t->timer, timeout_ms);
        watch(t);
    }
    *out = s;
    return 0;
}
