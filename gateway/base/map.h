/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * A hash table from bytes to pointers. Keys are borrowed: they live inside the value they lead to.
 * Hashed with a per-process secret (SipHash), so a peer cannot choose collisions. Any thread, no
 * sharing.
 */
#pragma once

#include "base/bytes.h"

struct gw_map_slot {
    struct gw_slice key;
    void *value; /**< NULL: free */
    uint64_t hash;
};

/** Zero-initialised it is an empty map. */
struct gw_map {
    struct gw_map_slot *slots;
    size_t cap; /**< 0 or a power of two */
    size_t count;
};

/** Give the table back; keys and values belong to the caller. */
void gw_map_fini(struct gw_map *m);

/** The value under `key`, or NULL. */
void *gw_map_get(const struct gw_map *m, struct gw_slice key);

/** Add or replace; `key` and the non-NULL `value` must outlive the entry. -ENOMEM. */
int gw_map_put(struct gw_map *m, struct gw_slice key, void *value) GW_MUST_CHECK;

/** Remove and return the value, or NULL. */
void *gw_map_remove(struct gw_map *m, struct gw_slice key);

/**
 * Walk in no order: start with `*cursor` 0, stop at NULL. Nothing may be added or removed
 * meanwhile.
 */
void *gw_map_next(const struct gw_map *m, size_t *cursor);

static inline void *gw_map_get_str(const struct gw_map *m, const char *key)
{
    return gw_map_get(m, gw_slice_str(key));
}
