/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the layers of a stream share (TCP, TLS, WebSocket): telling the owner, who may free the
 * stream meanwhile, and the input that it leaves for later. Loop thread only.
 */
#pragma once

#include "net/net.h"

/** Tell the owner, if there is one; false when it freed the stream. */
bool gw_layer_emit(struct gw_stream *s, enum gw_stream_event ev);

/** Input on its way to the owner; zero-initialised with `kept.max`. */
struct gw_layer_input {
    struct gw_slice fresh; /**< during DATA: what lies in a buffer that all streams share */
    struct gw_buf kept;    /**< what earlier DATA left over */
};

/** For gw_stream_ops.input and .consume. */
struct gw_slice gw_layer_input(const struct gw_layer_input *in);
void gw_layer_consume(struct gw_layer_input *in, size_t len);

/**
 * Offer `bytes` behind what was left, and keep what the owner leaves.
 * @return 1; 0: the owner freed the stream; GW_EFULL over `kept.max`; -ENOMEM.
 */
int gw_layer_deliver(struct gw_stream *s, struct gw_layer_input *in,
                     struct gw_slice bytes) GW_MUST_CHECK;
/** Forget all of it; safe during DATA. */
void gw_layer_forget(struct gw_layer_input *in);

/** For a new TCP socket, or one that listens: what it accepts inherits it. -errno. */
int gw_tcp_prepare(int fd) GW_MUST_CHECK;
