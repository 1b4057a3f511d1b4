/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/net.h"

void gw_stream_attach(struct gw_stream *s, gw_stream_fn *fn, void *owner)
{
    s->fn = fn;
    s->owner = owner;
    s->ops->attached(s);
}

struct gw_slice gw_stream_input(struct gw_stream *s)
{
    return s->ops->input(s);
}

void gw_stream_consume(struct gw_stream *s, size_t len)
{
    s->ops->consume(s, len);
}

int gw_stream_write(struct gw_stream *s, struct gw_slice bytes)
{
    return s->ops->write(s, bytes);
}

void gw_stream_flush(struct gw_stream *s)
{
    s->ops->flush(s);
}

size_t gw_stream_pending(const struct gw_stream *s)
{
    return s->ops->pending(s);
}

void gw_stream_pause(struct gw_stream *s, bool paused)
{
    s->ops->pause(s, paused);
}

void gw_stream_close(struct gw_stream *s, int err)
{
    s->ops->close(s, err);
}

int gw_stream_error(const struct gw_stream *s)
{
    return s->error;
}

const char *gw_stream_detail(const struct gw_stream *s)
{
    return s->ops->detail(s);
}

const struct gw_identity *gw_stream_identity(const struct gw_stream *s)
{
    return s->ops->identity(s);
}

const struct gw_addr *gw_stream_peer(const struct gw_stream *s)
{
    return s->ops->peer(s);
}

const char *gw_stream_alpn(const struct gw_stream *s)
{
    return s->ops->alpn(s);
}

void gw_stream_free(struct gw_stream **s)
{
    struct gw_stream *own = GW_TAKE(*s);

    if (!own)
        return;
    if (own->gone)
        *own->gone = true;
    own->ops->free(own);
}
