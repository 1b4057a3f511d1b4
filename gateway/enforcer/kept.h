/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The enforcer's own files in state_dir, which is the worker's: written whole, synced, renamed, and
 * believed only when root wrote them and nothing is torn.
 */
#pragma once

#include "base/bytes.h"

/** In front of each file. */
struct gw_kept_header {
    char magic[8]; /**< which file, in which form */
    uint64_t count;
    uint64_t sum; /**< FNV-1a over the rest: a torn or foreign file, not an attack */
};

/** `name` and a new file beside it, `name`.new. -errno. */
int gw_kept_save(const char *state_dir, const char *name, const char magic[8], uint64_t count,
                 struct gw_slice body) GW_MUST_CHECK;

/**
 * The whole file, appended to the empty `out`; its head in `header`, the body behind it.
 * @return 0; -ENOENT; GW_EPROTECTED: not written by us; GW_EMALFORMED; -errno.
 */
int gw_kept_load(const char *state_dir, const char *name, struct gw_buf *out,
                 struct gw_kept_header *header) GW_MUST_CHECK;
