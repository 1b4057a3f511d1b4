/* SPDX-License-Identifier: GPL-2.0-only */
#include "websocket/websocket.h"

#include <errno.h>

#include <wslay/wslay.h>

#include "net/layer.h"
#include "websocket/guard.h"

#define INPUT_MAX (1u << 20)
#define EARLY_MAX (64u << 10)
#define CLOSING_MS 2000 /* for the peer's own Close frame, RFC 6455 §7.1.1 */
#define REPLIES_MAX 64  /* pongs that wait for a peer that does not read */

enum state {
    OPEN,
    CLOSING, /* our Close frame is sent, or theirs is here: nothing is delivered but CLOSED */
    ENDED,   /* the stream below is closed, or about to be */
};

struct websocket {
    struct gw_stream base;
    struct gw_loop *loop;
    struct gw_stream *below;
    wslay_event_context_ptr frames;
    enum state state;
    struct gw_task flush;     /* make a message of what was gathered, at the turn's end */
    struct gw_task wake;      /* input is due without an event from below */
    struct gw_timer timer;    /* CLOSING's limit */
    struct gw_buf early;      /* sent behind the request, read before anything else */
    struct guard guard;       /* what it lets through is what wslay reads */
    struct gw_layer_input in; /* unmasked; never `fresh` */
    struct gw_buf out;        /* gathered in this turn */
    size_t output_max;
    bool ready_due, paused;
    bool control;     /* the frame that is coming in is no data frame */
    uint16_t goodbye; /* a Close frame to send once all messages are: wslay would send it first */
    int fault;        /* why the peer's frames were refused */
};

static struct websocket *websocket_of(const struct gw_stream *s)
{
    return GW_CONTAINER((uintptr_t)s, struct websocket, base);
}

/* ---- wslay's view ---- */

/* The peer broke a rule: the first reason stays, and is what it is told. */
static void refuse(struct websocket *w, int err, uint16_t code)
{
    if (w->fault)
        return;
    w->fault = err;
    (void)wslay_event_queue_close(w->frames, code, NULL, 0);
    wslay_event_shutdown_read(w->frames);
}

/* From where the peer's bytes come next. */
static struct gw_slice arrived(const struct websocket *w)
{
    return gw_buf_len(&w->early) ? gw_buf_slice(&w->early) : gw_stream_input(w->below);
}

static void used(struct websocket *w, size_t len)
{
    if (gw_buf_len(&w->early))
        gw_buf_consume(&w->early, len);
    else
        gw_stream_consume(w->below, len);
}

static ssize_t on_receive(wslay_event_context_ptr frames, uint8_t *buf, size_t len, int flags,
                          void *owner)
{
    struct websocket *w = owner;
    struct gw_slice in;
    size_t taken = 1, given = 0;

    (void)flags;
    while (taken && given == 0 && (in = arrived(w)).len) {
        if (guard_pass(&w->guard, in, buf, len, &taken, &given)) {
            refuse(w, GW_EPROTOCOL, WSLAY_CODE_PROTOCOL_ERROR);
            break;
        }
        used(w, taken);
    }
    if (given)
        return (ssize_t)given;
    wslay_event_set_error(frames, WSLAY_ERR_WOULDBLOCK);
    return -1;
}

static ssize_t on_send(wslay_event_context_ptr frames, const uint8_t *data, size_t len, int flags,
                       void *owner)
{
    struct websocket *w = owner;
    int err = gw_stream_write(w->below, GW_SLICE(data, len));

    (void)flags;
    if (!err)
        return (ssize_t)len;
    wslay_event_set_error(frames,
                          err == GW_EFULL ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

/* A burst of pings is answered as it is read; what remains waits for a peer that does not read. */
static bool too_many_replies(struct websocket *w)
{
    if (wslay_event_get_queued_msg_count(w->frames) > REPLIES_MAX)
        (void)wslay_event_send(w->frames); /* a failure ends it in on_flush() */
    return wslay_event_get_queued_msg_count(w->frames) > REPLIES_MAX;
}

static void on_frame_start(wslay_event_context_ptr frames,
                           const struct wslay_event_on_frame_recv_start_arg *frame, void *owner)
{
    struct websocket *w = owner;

    (void)frames;
    w->control = wslay_is_ctrl_frame(frame->opcode);
    if (frame->opcode == WSLAY_TEXT_FRAME) /* [MQTT-6.0.0-1] */
        refuse(w, GW_EPROTOCOL, WSLAY_CODE_UNSUPPORTED_DATA);
    if (frame->opcode == WSLAY_CONNECTION_CLOSE && frame->payload_length == 1) /* §5.5.1: a code */
        refuse(w, GW_EPROTOCOL, WSLAY_CODE_PROTOCOL_ERROR);
    if (too_many_replies(w))
        refuse(w, GW_EQUOTA, WSLAY_CODE_POLICY_VIOLATION);
}

static void on_frame_chunk(wslay_event_context_ptr frames,
                           const struct wslay_event_on_frame_recv_chunk_arg *chunk, void *owner)
{
    struct websocket *w = owner;
    int err;

    (void)frames;
    if (w->state != OPEN || w->fault || w->control)
        return;
    err = gw_buf_append(&w->in.kept, GW_SLICE(chunk->data, chunk->data_length));
    if (err)
        refuse(w, err == GW_EFULL ? GW_ETOOBIG : err, WSLAY_CODE_MESSAGE_TOO_BIG);
}

/* ---- the end ---- */

/* Nothing more is expected: what is queued goes out, and the stream below ends. */
static void leave(struct websocket *w)
{
    w->state = ENDED;
    gw_timer_stop(&w->timer);
    gw_task_cancel(&w->flush);
    gw_stream_pause(w->below, false);
    gw_stream_close(w->below, w->base.error);
}

static void on_closing_limit(void *owner)
{
    leave(owner);
}

/* From now on only CLOSED is delivered. */
static void begin_closing(struct websocket *w, int err)
{
    w->state = CLOSING;
    w->base.error = err;
    gw_layer_forget(&w->in);
    gw_buf_fini(&w->out);
    gw_timer_start(w->loop, &w->timer, CLOSING_MS);
    gw_stream_pause(w->below, false);
}

/* Both sides are done with frames: RFC 6455 §7.1.1. */
static bool over(const struct websocket *w)
{
    return wslay_event_get_close_sent(w->frames) && !wslay_event_want_write(w->frames) &&
           (wslay_event_get_close_received(w->frames) || w->fault);
}

/* Give wslay's frames to the stream below, as far as it takes them. */
static void send_frames(struct websocket *w)
{
    int err = wslay_event_send(w->frames);

    if (!err && w->goodbye && !wslay_event_want_write(w->frames)) {
        err = wslay_event_queue_close(w->frames, w->goodbye, NULL, 0);
        w->goodbye = 0;
        if (!err)
            err = wslay_event_send(w->frames);
    }
    if (err && w->state == OPEN)
        w->base.error = GW_ECLOSED;
    if (err || (w->state == CLOSING && over(w)))
        leave(w);
}

static uint16_t close_code(int err)
{
    switch (err) {
    case 0:
        return WSLAY_CODE_NORMAL_CLOSURE;
    case GW_ETOOBIG:
        return WSLAY_CODE_MESSAGE_TOO_BIG;
    case GW_ECLOSED:
        return WSLAY_CODE_GOING_AWAY;
    case GW_EDENIED:
    case GW_EQUARANTINED:
    case GW_EREVOKED:
    case GW_EQUOTA:
        return WSLAY_CODE_POLICY_VIOLATION;
    default:
        return gw_error_class(err) == GW_CLASS_PEER ? WSLAY_CODE_PROTOCOL_ERROR
                                                    : WSLAY_CODE_INTERNAL_SERVER_ERROR;
    }
}

/* ---- output ---- */

static void make_message(struct websocket *w)
{
    struct gw_slice out = gw_buf_slice(&w->out);
    const struct wslay_event_msg message = {WSLAY_BINARY_FRAME, out.ptr, out.len};

    if (out.len && wslay_event_queue_msg(w->frames, &message) != 0) {
        w->base.error = -ENOMEM;
        leave(w);
    }
    gw_buf_fini(&w->out);
}

static void on_flush(void *owner)
{
    struct websocket *w = owner;

    if (w->state == OPEN)
        make_message(w);
    if (w->state == ENDED)
        return;
    send_frames(w);
    gw_stream_flush(w->below); /* the last thing: it may end everything */
}

static void websocket_flush(struct gw_stream *s)
{
    struct websocket *w = websocket_of(s);

    gw_task_cancel(&w->flush);
    on_flush(w);
}

static size_t websocket_pending(const struct gw_stream *s)
{
    const struct websocket *w = websocket_of(s);

    return gw_buf_len(&w->out) + wslay_event_get_queued_msg_length(w->frames) +
           gw_stream_pending(w->below);
}

static int websocket_write(struct gw_stream *s, struct gw_slice bytes)
{
    struct websocket *w = websocket_of(s);
    size_t queued = websocket_pending(s);
    int err;

    if (w->state != OPEN)
        return GW_ECLOSED;
    if (queued > w->output_max || bytes.len > w->output_max - queued)
        return GW_EFULL;
    err = gw_buf_append(&w->out, bytes);
    if (!err)
        gw_task_post(w->loop, &w->flush);
    return err;
}

static void websocket_close(struct gw_stream *s, int err)
{
    struct websocket *w = websocket_of(s);

    if (w->state != OPEN)
        return;
    make_message(w);
    if (w->state != OPEN)
        return;
    w->goodbye = close_code(err);
    begin_closing(w, err);
    gw_task_post(w->loop, &w->flush);
    gw_task_post(w->loop, &w->wake); /* what came in before is read over */
}

/* ---- input ---- */

static struct gw_slice websocket_input(struct gw_stream *s)
{
    return gw_layer_input(&websocket_of(s)->in);
}

static void websocket_consume(struct gw_stream *s, size_t len)
{
    gw_layer_consume(&websocket_of(s)->in, len);
}

/* The peer said goodbye, or was refused: which of them, and with what error. */
static void on_read_end(struct websocket *w)
{
    uint16_t code = wslay_event_get_status_code_sent(w->frames);
    int err = w->fault;

    if (!err && !wslay_event_get_close_received(w->frames))
        err = code == WSLAY_CODE_MESSAGE_TOO_BIG ? GW_ETOOBIG : GW_EPROTOCOL;
    w->fault = err;
    begin_closing(w, err);
}

/* Take in all that is here; deliver what it carried. */
static void pump(struct websocket *w)
{
    size_t had = gw_buf_len(&w->in.kept);
    bool came;
    int err;

    if (w->state == ENDED || (w->state == OPEN && (w->paused || !w->base.fn)))
        return;
    err = wslay_event_recv(w->frames);
    if (err && !w->fault) /* wslay has queued a Close by itself */
        w->fault = err == WSLAY_ERR_NOMEM ? -ENOMEM : GW_EPROTOCOL;
    came = gw_buf_len(&w->in.kept) > had;
    if (w->state == OPEN && came && !gw_layer_emit(&w->base, GW_STREAM_DATA))
        return;
    if (w->state == OPEN && !wslay_event_get_read_enabled(w->frames))
        on_read_end(w);
    if (w->state == CLOSING || wslay_event_want_write(w->frames))
        gw_task_post(w->loop, &w->flush);
}

static void hold(struct websocket *w)
{
    if (w->state == OPEN)
        gw_stream_pause(w->below, w->paused || !w->base.fn);
}

static void websocket_pause(struct gw_stream *s, bool paused)
{
    struct websocket *w = websocket_of(s);

    if (w->paused == paused)
        return;
    w->paused = paused;
    hold(w);
    if (!paused)
        gw_task_post(w->loop, &w->wake);
}

static void websocket_attached(struct gw_stream *s)
{
    struct websocket *w = websocket_of(s);

    hold(w);
    gw_task_post(w->loop, &w->wake);
}

/* ---- events ---- */

static void on_wake(void *owner)
{
    struct websocket *w = owner;

    if (!w->base.fn)
        return;
    if (w->ready_due) {
        w->ready_due = false;
        if (!gw_layer_emit(&w->base, GW_STREAM_READY))
            return;
    }
    if (w->state == OPEN && !w->paused && gw_buf_len(&w->in.kept) &&
        !gw_layer_emit(&w->base, GW_STREAM_DATA))
        return;
    pump(w);
}

static void on_below_closed(struct websocket *w)
{
    int err = gw_stream_error(w->below);

    if (w->state == OPEN) /* without a Close frame somebody may have cut it short */
        w->base.error = err ? err : -ECONNRESET;
    w->state = ENDED;
    gw_timer_stop(&w->timer);
    gw_task_cancel(&w->flush);
    gw_task_cancel(&w->wake);
    (void)gw_layer_emit(&w->base, GW_STREAM_CLOSED);
}

static void on_below(void *owner, enum gw_stream_event ev)
{
    struct websocket *w = owner;

    switch (ev) {
    case GW_STREAM_READY:
        return;
    case GW_STREAM_DATA:
        pump(w);
        return;
    case GW_STREAM_DRAINED:
        if (wslay_event_want_write(w->frames))
            gw_task_post(w->loop, &w->flush);
        if (w->state == OPEN)
            (void)gw_layer_emit(&w->base, GW_STREAM_DRAINED);
        return;
    case GW_STREAM_CLOSED:
        on_below_closed(w);
        return;
    }
}

/* ---- the rest of the operations ---- */

static const struct gw_identity *websocket_identity(const struct gw_stream *s)
{
    return gw_stream_identity(websocket_of(s)->below);
}

static const struct gw_addr *websocket_peer(const struct gw_stream *s)
{
    return gw_stream_peer(websocket_of(s)->below);
}

static const char *websocket_alpn(const struct gw_stream *s)
{
    return gw_stream_alpn(websocket_of(s)->below);
}

static const char *websocket_detail(const struct gw_stream *s)
{
    return gw_stream_detail(websocket_of(s)->below);
}

static void websocket_free(struct gw_stream *s)
{
    struct websocket *w = websocket_of(s);

    gw_timer_stop(&w->timer);
    gw_task_cancel(&w->flush);
    gw_task_cancel(&w->wake);
    gw_stream_free(&w->below);
    if (w->frames)
        wslay_event_context_free(w->frames);
    gw_buf_fini(&w->early);
    gw_layer_forget(&w->in);
    gw_buf_fini(&w->out);
    free(w);
}

static const struct gw_stream_ops websocket_ops = {
    .attached = websocket_attached,
    .input = websocket_input,
    .consume = websocket_consume,
    .write = websocket_write,
    .flush = websocket_flush,
    .pending = websocket_pending,
    .pause = websocket_pause,
    .close = websocket_close,
    .identity = websocket_identity,
    .peer = websocket_peer,
    .alpn = websocket_alpn,
    .detail = websocket_detail,
    .free = websocket_free,
};

static const struct wslay_event_callbacks callbacks = {
    .recv_callback = on_receive,
    .send_callback = on_send,
    .on_frame_recv_start_callback = on_frame_start,
    .on_frame_recv_chunk_callback = on_frame_chunk,
};

int gw_websocket_new(struct gw_loop *loop, struct gw_stream *below, struct gw_slice early,
                     const struct gw_stream_limits *limits, struct gw_stream **out)
{
    struct websocket *w = calloc(1, sizeof(*w));
    GW_CLEANUP(gw_stream_free) struct gw_stream *s = w ? &w->base : NULL;

    if (!w) {
        gw_stream_free(&below);
        return -ENOMEM;
    }
    s->ops = &websocket_ops;
    w->loop = loop;
    w->below = below;
    w->early.max = EARLY_MAX;
    w->in.kept.max = limits->input_max ? limits->input_max : INPUT_MAX;
    w->out.max = SIZE_MAX;
    w->output_max = limits->output_max;
    w->ready_due = true;
    gw_task_init(&w->flush, on_flush, w);
    gw_task_init(&w->wake, on_wake, w);
    gw_timer_init(&w->timer, on_closing_limit, w);
    if (wslay_event_context_server_init(&w->frames, &callbacks, w) != 0)
        return -ENOMEM;
    wslay_event_config_set_no_buffering(w->frames, 1);
    if (gw_buf_append(&w->early, early))
        return GW_ETOOBIG;
    gw_stream_attach(below, on_below, w);
    hold(w);
    *out = GW_TAKE(s);
    return 0;
}
