/* SPDX-License-Identifier: GPL-2.0-only */
/** A stream that is two buffers, with the events that a loop would give. */
#pragma once

#include <errno.h>

#include "fuzz.h"
#include "net/net.h"

struct pipe {
    struct gw_stream base;
    struct gw_buf in, out; /* `out.max`: more than that is GW_EFULL */
    size_t weight;         /* what one queued byte counts for in gw_stream_pending */
    struct gw_identity identity;
    struct gw_addr peer;
    bool paused, due, closing, freed;
    int close_err;
};

static inline struct pipe *pipe_of(const struct gw_stream *s)
{
    return GW_CONTAINER((uintptr_t)s, struct pipe, base);
}

static inline void pipe_attached(struct gw_stream *s)
{
    pipe_of(s)->due = true;
}

static inline void pipe_flush(struct gw_stream *s)
{
    (void)s;
}

static inline struct gw_slice pipe_input(struct gw_stream *s)
{
    struct pipe *p = pipe_of(s);

    return gw_buf_len(&p->in) ? gw_buf_slice(&p->in) : GW_SLICE_NONE;
}

static inline void pipe_consume(struct gw_stream *s, size_t len)
{
    MUST(len <= gw_buf_len(&pipe_of(s)->in));
    gw_buf_consume(&pipe_of(s)->in, len);
}

static inline int pipe_write(struct gw_stream *s, struct gw_slice bytes)
{
    struct pipe *p = pipe_of(s);

    return p->closing ? GW_ECLOSED : gw_buf_append(&p->out, bytes);
}

static inline size_t pipe_pending(const struct gw_stream *s)
{
    return gw_buf_len(&pipe_of(s)->out) * pipe_of(s)->weight;
}

static inline void pipe_pause(struct gw_stream *s, bool paused)
{
    struct pipe *p = pipe_of(s);

    p->due |= p->paused && !paused;
    p->paused = paused;
}

static inline void pipe_close(struct gw_stream *s, int err)
{
    struct pipe *p = pipe_of(s);

    if (p->closing)
        return;
    p->closing = true;
    p->close_err = err;
    gw_buf_fini(&p->in); /* as a real one does: what was read is gone */
}

static inline const struct gw_identity *pipe_identity(const struct gw_stream *s)
{
    return &pipe_of(s)->identity;
}

static inline const struct gw_addr *pipe_peer(const struct gw_stream *s)
{
    return &pipe_of(s)->peer;
}

static inline const char *pipe_text(const struct gw_stream *s)
{
    (void)s;
    return "";
}

static inline void pipe_free(struct gw_stream *s)
{
    MUST(!pipe_of(s)->freed);
    pipe_of(s)->freed = true;
}

static const struct gw_stream_ops pipe_ops = {
    .attached = pipe_attached,
    .input = pipe_input,
    .consume = pipe_consume,
    .write = pipe_write,
    .flush = pipe_flush,
    .pending = pipe_pending,
    .pause = pipe_pause,
    .close = pipe_close,
    .identity = pipe_identity,
    .peer = pipe_peer,
    .alpn = pipe_text,
    .detail = pipe_text,
    .free = pipe_free,
};

static inline void pipe_init(struct pipe *p, size_t out_max, size_t weight)
{
    *p = (struct pipe){
        .base.ops = &pipe_ops, .in.max = SIZE_MAX, .out.max = out_max, .weight = weight};
}

static inline void pipe_fini(struct pipe *p)
{
    gw_buf_fini(&p->in);
    gw_buf_fini(&p->out);
}

/* Bytes from the peer; they are delivered with the next pipe_turn. */
static inline void pipe_feed(struct pipe *p, struct gw_slice bytes)
{
    if (p->freed || p->closing)
        return;
    MUST(gw_buf_append(&p->in, bytes) == 0);
    p->due = true;
}

/* The peer is gone. */
static inline void pipe_end(struct pipe *p, int err)
{
    if (p->freed)
        return;
    p->base.error = p->closing ? p->close_err : err;
    p->closing = true;
    p->base.fn(p->base.owner, GW_STREAM_CLOSED);
}

/* What a turn of the loop brings: true when something was delivered. */
static inline bool pipe_turn(struct pipe *p)
{
    if (p->freed || p->paused || p->closing || !p->due || !gw_buf_len(&p->in))
        return false;
    p->due = false;
    p->base.fn(p->base.owner, GW_STREAM_DATA);
    return true;
}

/* The peer has read everything. */
static inline void pipe_drained(struct pipe *p)
{
    gw_buf_consume(&p->out, gw_buf_len(&p->out));
    if (!p->freed && !p->closing)
        p->base.fn(p->base.owner, GW_STREAM_DRAINED);
}
