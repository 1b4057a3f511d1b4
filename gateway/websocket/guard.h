/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What a client sends, watched on its way into wslay: a frame whose head breaks RFC 6455 §5 never
 * reaches it, so that the peer is told 1002 in every case, and a control frame reaches it whole,
 * for wslay judges the text of a Close frame part by part. Private to websocket/.
 */
#pragma once

#include "base/bytes.h"

#define GUARD_HEAD_MAX 14     /**< two bytes, eight of length, four of mask */
#define GUARD_CONTROL_MAX 125 /**< bytes of a control frame's payload (§5.5) */

/** Zero-initialised. */
struct guard {
    uint8_t held[GUARD_HEAD_MAX + GUARD_CONTROL_MAX]; /**< the head that is coming in */
    size_t have;
    uint64_t left; /**< of a data frame's payload */
};

/**
 * Move what may go to wslay from the front of `in` to `out`, which has room for at least the
 * largest control frame.
 *
 * @return 0: `*taken` bytes were read and `*given` written; GW_EPROTOCOL: the next frame breaks a
 *         rule, and nothing came before it; ask again once what came before is processed.
 */
int guard_pass(struct guard *g, struct gw_slice in, uint8_t *out, size_t room, size_t *taken,
               size_t *given) GW_MUST_CHECK;
