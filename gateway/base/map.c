/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/map.h"

#include <errno.h>
#include <pthread.h>
#include <sys/random.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/siphash.h>

#define MIN_CAP 16

static uint8_t secret[16];
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void make_secret(void)
{
    if (getrandom(secret, sizeof(secret), 0) != (ssize_t)sizeof(secret))
        abort(); /* no entropy at all: nothing this process does would be safe */
}

static uint64_t hash_of(struct gw_slice key)
{
    uint64_t hash = 0;

    (void)pthread_once(&secret_once, make_secret);
    (void)wc_SipHash(secret, key.ptr, (word32)key.len, (uint8_t *)&hash, sizeof(hash));
    return hash;
}

void gw_map_fini(struct gw_map *m)
{
    free(m->slots);
    *m = (struct gw_map){0};
}

/* The key's slot, or the free one where it belongs. The table is never full. */
static struct gw_map_slot *slot_of(const struct gw_map *m, struct gw_slice key, uint64_t hash)
{
    size_t i = hash & (m->cap - 1);

    while (m->slots[i].value && (m->slots[i].hash != hash || !gw_slice_eq(m->slots[i].key, key)))
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

void *gw_map_get(const struct gw_map *m, struct gw_slice key)
{
    return m->count ? slot_of(m, key, hash_of(key))->value : NULL;
}

static int grow(struct gw_map *m)
{
    struct gw_map bigger = {.cap = m->cap ? m->cap * 2 : MIN_CAP, .count = m->count};

    bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value)
            *slot_of(&bigger, m->slots[i].key, m->slots[i].hash) = m->slots[i];
    free(m->slots);
    *m = bigger;
    return 0;
}

int gw_map_put(struct gw_map *m, struct gw_slice key, void *value)
{
    uint64_t hash = hash_of(key);
    struct gw_map_slot *slot;

    if (m->count * 4 >= m->cap * 3) {
        int err = grow(m);

        if (err)
            return err;
    }
    slot = slot_of(m, key, hash);
    m->count += !slot->value;
    *slot = (struct gw_map_slot){key, value, hash};
    return 0;
}

void *gw_map_remove(struct gw_map *m, struct gw_slice key)
{
    struct gw_map_slot *slot = m->count ? slot_of(m, key, hash_of(key)) : NULL;
    size_t mask = m->cap - 1, hole, i;
    void *value;

    if (!slot || !slot->value)
        return NULL;
    value = slot->value;
    /* Close the gap: move back each follower that may stand at the hole. */
    for (hole = i = (size_t)(slot - m->slots);;) {
        i = (i + 1) & mask;
        if (!m->slots[i].value)
            break;
        if (((i - (m->slots[i].hash & mask)) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct gw_map_slot){0};
    m->count--;
    return value;
}

void *gw_map_next(const struct gw_map *m, size_t *cursor)
{
    while (*cursor < m->cap) {
        void *value = m->slots[(*cursor)++].value;

        if (value)
            return value;
    }
    return NULL;
}
