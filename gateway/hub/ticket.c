/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_priv.h"

#include <errno.h>

#define RING_MIN 64

/* ---- publishers: a table of slots, so that an id is found without hashing ---- */

static struct publisher *publisher_of(const struct tickets *t, uint64_t id)
{
    size_t slot = (uint32_t)id;

    if (slot == 0 || slot > t->publisher_cap)
        return NULL;
    if (!t->publishers[slot - 1].fn || t->publishers[slot - 1].generation != id >> 32)
        return NULL;
    return &t->publishers[slot - 1];
}

static int publishers_grow(struct tickets *t)
{
    size_t cap = t->publisher_cap ? t->publisher_cap * 2 : 16;
    struct publisher *p = reallocarray(t->publishers, cap, sizeof(*p));

    if (!p)
        return -ENOMEM;
    memset(p + t->publisher_cap, 0, (cap - t->publisher_cap) * sizeof(*p));
    for (size_t i = cap; i > t->publisher_cap; i--) { /* the lowest slot is used first */
        p[i - 1].pending = t->publisher_free;
        t->publisher_free = (uint32_t)i;
    }
    t->publishers = p;
    t->publisher_cap = cap;
    return 0;
}

int gw_hub_publisher_add(struct gw_hub *hub, gw_hub_published *fn, void *owner, uint64_t *out_id)
{
    struct tickets *t = &hub->tickets;
    struct publisher *p;
    uint32_t slot;

    if (!t->publisher_free) {
        int err = publishers_grow(t);

        if (err)
            return err;
    }
    slot = t->publisher_free;
    p = &t->publishers[slot - 1];
    t->publisher_free = p->pending;
    *p = (struct publisher){fn, owner, p->generation + 1, 0};
    *out_id = (uint64_t)p->generation << 32 | slot;
    return 0;
}

void gw_hub_publisher_remove(struct gw_hub *hub, uint64_t id)
{
    struct tickets *t = &hub->tickets;
    struct publisher *p = publisher_of(t, id);

    if (!p)
        return;
    p->fn = NULL;
    p->pending = t->publisher_free;
    t->publisher_free = (uint32_t)id;
}

/* ---- the ring ---- */

static struct pending *ring_at(const struct tickets *t, size_t i)
{
    return &t->ring[(t->first + i) & (t->cap - 1)];
}

int tickets_reserve(struct tickets *t)
{
    size_t cap = t->cap ? t->cap * 2 : RING_MIN;
    struct pending *ring;

    if (t->count < t->cap)
        return 0;
    ring = calloc(cap, sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    for (size_t i = 0; i < t->count; i++)
        ring[i] = *ring_at(t, i);
    free(t->ring);
    t->ring = ring;
    t->cap = cap;
    t->first = 0;
    return 0;
}

void tickets_fini(struct tickets *t)
{
    free(t->ring);
    free(t->publishers);
    *t = (struct tickets){0};
}

int tickets_add(struct tickets *t, uint64_t publisher, uint32_t token, bool wait_sink,
                bool wait_store)
{
    struct publisher *p = publisher_of(t, publisher);
    /* What has nothing to wait for still waits for what its publisher sent before. */
    bool behind = p && p->pending;

    if (!p || (!wait_sink && !wait_store && !behind))
        return 1;
    *ring_at(t, t->count++) = (struct pending){
        .ticket = t->last,
        .publisher = publisher,
        .token = token,
        .wait_sink = wait_sink,
        .wait_store = wait_store,
    };
    p->pending++;
    return 0;
}

static bool is_done(const struct tickets *t, const struct pending *e)
{
    if (e->wait_sink && e->ticket > t->sink_mark)
        return false;
    return !e->wait_store || e->ticket <= t->store_mark;
}

/* Tell in order. A callback may publish again, so nothing is held across it. */
static void complete(struct tickets *t)
{
    if (t->completing)
        return;
    t->completing = true;
    while (t->count && is_done(t, ring_at(t, 0))) {
        struct pending e = *ring_at(t, 0);
        struct publisher *p = publisher_of(t, e.publisher);

        t->first = (t->first + 1) & (t->cap - 1);
        t->count--;
        if (!p)
            continue;
        p->pending--;
        p->fn(p->owner, e.token, e.err);
    }
    t->completing = false;
}

void gw_hub_durable(struct gw_hub *hub, uint64_t ticket)
{
    struct tickets *t = &hub->tickets;

    t->sink_mark = GW_MAX(t->sink_mark, ticket);
    inbound_sunk(hub, ticket);
    complete(t);
}

/* The first entry whose ticket is at least this one: tickets rise along the ring. */
static size_t ring_find(const struct tickets *t, uint64_t ticket)
{
    size_t low = 0, high = t->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (ring_at(t, middle)->ticket < ticket)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void gw_hub_failed(struct gw_hub *hub, uint64_t ticket, int err)
{
    struct tickets *t = &hub->tickets;

    inbound_refused(hub, ticket);
    for (size_t i = ring_find(t, ticket); i < t->count && ring_at(t, i)->ticket == ticket; i++) {
        if (!ring_at(t, i)->wait_sink)
            continue;
        ring_at(t, i)->wait_sink = false;
        ring_at(t, i)->err = err;
    }
    complete(t);
}

int tickets_blame(struct tickets *t, int err)
{
    ring_at(t, t->count - 1)->err = err;
    return 0;
}

void tickets_stored(struct tickets *t, uint64_t ticket, int err)
{
    for (size_t i = 0; err && i < t->count && ring_at(t, i)->ticket <= ticket; i++)
        if (ring_at(t, i)->wait_store && ring_at(t, i)->ticket > t->store_mark)
            ring_at(t, i)->err = err;
    t->store_mark = GW_MAX(t->store_mark, ticket);
    complete(t);
}

int gw_hub_settle(struct gw_hub *hub, uint64_t publisher, uint32_t token)
{
    int err = tickets_reserve(&hub->tickets);

    if (err)
        return err;
    hub->tickets.last++;
    return tickets_add(&hub->tickets, publisher, token, false, persist_busy(hub));
}
