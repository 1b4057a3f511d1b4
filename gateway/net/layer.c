/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/layer.h"

bool gw_layer_emit(struct gw_stream *s, enum gw_stream_event ev)
{
    bool gone = false, *outer = s->gone;

    if (!s->fn)
        return true;
    s->gone = &gone;
    s->fn(s->owner, ev);
    if (gone) {
        if (outer)
            *outer = true;
        return false;
    }
    s->gone = outer;
    return true;
}

struct gw_slice gw_layer_input(const struct gw_layer_input *in)
{
    if (in->fresh.len)
        return in->fresh;
    return gw_buf_len(&in->kept) ? gw_buf_slice(&in->kept) : GW_SLICE_NONE;
}

void gw_layer_consume(struct gw_layer_input *in, size_t len)
{
    if (in->fresh.len) {
        in->fresh = GW_SLICE(in->fresh.ptr + len, in->fresh.len - len);
        return;
    }
    gw_buf_consume(&in->kept, len);
    if (!gw_buf_len(&in->kept))
        gw_buf_fini(&in->kept);
}

int gw_layer_deliver(struct gw_stream *s, struct gw_layer_input *in, struct gw_slice bytes)
{
    int err = 0;

    if (gw_buf_len(&in->kept))
        err = gw_buf_append(&in->kept, bytes);
    else
        in->fresh = bytes;
    if (!err && !gw_layer_emit(s, GW_STREAM_DATA))
        return 0;
    if (in->fresh.len)
        err = gw_buf_append(&in->kept, in->fresh);
    in->fresh = GW_SLICE_NONE;
    return err ? err : 1;
}

void gw_layer_forget(struct gw_layer_input *in)
{
    in->fresh = GW_SLICE_NONE;
    gw_buf_fini(&in->kept);
}
