/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_priv.h"

#include <errno.h>

#define COUNT_MAX 60000 /* fewer than packet identifiers */
#define IDS 65535u      /* packet identifiers: 1 to 65535 */
#define REPLAY_SHARE 8  /* retained messages may queue so many times the limit, */
#define DEVICE_SHARE 16 /* those of one device together so many times, */
#define SITE_SHARE 128  /* and all together so many times that of one */
#define ROW_RELEASED 8u /* in a row's flags, beside QoS and retain */
#define SPARE_MAX 2048u /* entries kept for the next ones */

/* A number leads to its packet identifier, so a repetition has the same one after a restart too. */
static uint16_t id_of(uint64_t number)
{
    return (uint16_t)(1 + number % IDS);
}

bool session_may_receive(const struct gw_session *s, const struct gw_msg *m)
{
    const struct gw_hub *hub = s->hub;

    return !hub->ops.may_receive || hub->ops.may_receive(hub->owner, s->device->id, m->topic);
}

static bool is_expired(const struct gw_hub *hub, const struct gw_msg *m)
{
    return m->expires_ms && m->expires_ms <= gw_loop_now_ms(hub->loop);
}

/* ---- rows ---- */

/* Held by the fan-out that makes it, until it has asked everyone. */
static struct stored *stored_new(struct gw_hub *hub, struct gw_msg *m)
{
    struct stored *st = calloc(1, sizeof(*st));

    if (!st)
        return NULL;
    st->row = hub->next_row++;
    st->queues = 1;
    if (!persist_add(hub, &(struct op){.kind = OP_MESSAGE_PUT, .a = st->row}, GW_SLICE_NONE, m,
                     &st->put)) {
        free(st);
        return NULL;
    }
    return st;
}

void stored_release(struct gw_hub *hub, struct stored *st)
{
    if (!st || --st->queues)
        return;
    if (!persist_cancel(hub, &st->put))
        (void)persist_add(hub, &(struct op){.kind = OP_MESSAGE_DROP, .a = st->row}, GW_SLICE_NONE,
                          NULL, NULL);
    free(st);
}

static bool store(struct gw_session *s, struct delivery *d, struct stored **shared)
{
    struct op put = {
        .kind = OP_QUEUE_PUT,
        .a = (int64_t)s->id,
        .b = (int64_t)d->number,
        .d = d->pub.qos | d->pub.retain << 2,
    };

    if (!*shared)
        *shared = stored_new(s->hub, d->msg);
    if (!*shared)
        return false;
    put.c = (*shared)->row;
    if (!persist_add(s->hub, &put, GW_SLICE(d->ids, d->pub.sub_id_count * sizeof(*d->ids)), NULL,
                     &d->put))
        return false;
    d->stored = *shared;
    d->stored->queues++;
    return true;
}

static void unstore(struct gw_session *s, struct delivery *d)
{
    bool has_row = !d->put || d->put->kind != OP_QUEUE_PUT;

    if (!d->stored)
        return;
    has_row |= !persist_cancel(s->hub, &d->put);
    if (has_row && s->stored)
        (void)persist_add(
            s->hub,
            &(struct op){.kind = OP_QUEUE_DROP, .a = (int64_t)s->id, .b = (int64_t)d->number},
            GW_SLICE_NONE, NULL, NULL);
    stored_release(s->hub, d->stored);
    d->stored = NULL;
}

/* ---- entries ---- */

/* Every copy of a fan-out takes an entry and gives it back a moment later: the last ones are kept.
 */
static struct delivery *entry_take(struct gw_hub *hub, size_t id_count)
{
    struct delivery *d;

    if (id_count || gw_list_empty(&hub->spare))
        return malloc(sizeof(*d) + id_count * sizeof(d->ids[0]));
    d = GW_LIST_ENTRY(hub->spare.next, struct delivery, node);
    gw_list_remove(&d->node);
    hub->spare_count--;
    return d;
}

static void entry_give_back(struct gw_hub *hub, struct delivery *d)
{
#ifdef CORDON_SANITIZE /* what is freed is to be freed, or a late use goes unseen */
    hub->spare_count = SPARE_MAX;
#endif
    if (d->pub.sub_id_count || hub->spare_count >= SPARE_MAX) {
        free(d);
        return;
    }
    gw_list_insert(&hub->spare, &d->node); /* the last one first: it is still in the cache */
    hub->spare_count++;
}

void queue_fini(struct gw_hub *hub)
{
    while (!gw_list_empty(&hub->spare)) {
        struct delivery *d = GW_LIST_ENTRY(hub->spare.next, struct delivery, node);

        gw_list_remove(&d->node);
        free(d);
    }
}

static void drop(struct gw_session *s, struct delivery *d)
{
    unstore(s, d);
    s->count--;
    s->bytes -= d->bytes;
    s->oldest_held &= d->number != s->oldest;
    s->overflows &= s->count > COUNT_MAX / 2 || s->bytes > s->hub->limits.queued_bytes / 2;
    s->qos0_count -= d->pub.qos == 0;
    s->hub->stats.queued--;
    s->hub->stats.queued_bytes -= d->bytes;
    s->device->queued_bytes -= d->bytes;
    gw_list_remove(&d->node);
    gw_msg_unref(&d->msg);
    entry_give_back(s->hub, d);
}

static struct delivery *entry_new(struct gw_session *s, struct gw_msg *m, uint8_t qos, bool retain,
                                  const uint32_t *ids, size_t id_count)
{
    struct delivery *d = entry_take(s->hub, id_count);

    if (!d)
        return NULL;
    *d = (struct delivery){.msg = gw_msg_ref(m)};
    d->bytes = sizeof(*d) + id_count * sizeof(*ids) + msg_bytes(m);
    d->pub = (struct gw_delivery){
        .msg = m, .qos = qos, .retain = retain, .sub_ids = d->ids, .sub_id_count = id_count};
    if (id_count)
        memcpy(d->ids, ids, id_count * sizeof(*ids));
    gw_list_append(&s->waiting, &d->node);
    s->count++;
    s->bytes += d->bytes;
    s->qos0_count += qos == 0;
    s->hub->stats.queued++;
    s->hub->stats.queued_bytes += d->bytes;
    s->device->queued_bytes += d->bytes;
    return d;
}

static void number(struct delivery *d, uint64_t n)
{
    d->number = n;
    d->pub.id = id_of(n);
}

/* ---- limits ---- */

/* However much others have, a device has room for as much as one session may hold. */
static bool fits(const struct gw_session *s, size_t bytes, bool replay)
{
    uint64_t limit = s->hub->limits.queued_bytes;
    uint64_t device = s->device->queued_bytes + bytes;

    if (s->count >= COUNT_MAX || s->bytes + bytes > limit * (replay ? REPLAY_SHARE : 1) ||
        device > limit * DEVICE_SHARE)
        return false;
    return device <= limit || s->hub->stats.queued_bytes + bytes <= limit * SITE_SHARE;
}

bool queue_has_room(const struct gw_session *s, const struct gw_msg *m)
{
    return s->qos0_count || fits(s, sizeof(struct delivery) + msg_bytes(m), false);
}

static uint64_t oldest_of(const struct gw_list *deliveries, uint64_t oldest)
{
    GW_LIST_EACH(deliveries, node)
    {
        uint64_t n = GW_LIST_ENTRY(node, struct delivery, node)->number;

        if (n && n < oldest)
            oldest = n;
    }
    return oldest;
}

/* The oldest delivery would share its packet identifier with the next: its receiver never
 * acknowledges it, though it does others. It is looked for when the one known before has gone. */
static bool ids_exhausted(struct gw_session *s)
{
    if (s->next_number - s->oldest < IDS)
        return false;
    if (!s->oldest_held)
        s->oldest = oldest_of(&s->waiting, oldest_of(&s->inflight, s->next_number));
    s->oldest_held = true;
    return s->next_number - s->oldest >= IDS;
}

/* QoS 0 gives way, the oldest first. */
static void make_room(struct gw_session *s, size_t bytes, bool replay)
{
    GW_LIST_EACH(&s->waiting, node)
    {
        struct delivery *d = GW_LIST_ENTRY(node, struct delivery, node);

        if (!s->qos0_count || fits(s, bytes, replay))
            return;
        if (d->pub.qos == 0) {
            drop(s, d);
            s->hub->stats.dropped_qos0++;
        }
    }
}

static void tell_overflows(void *owner)
{
    struct gw_hub *hub = owner;

    while (!gw_list_empty(&hub->overflown)) {
        struct gw_session *s = GW_LIST_ENTRY(hub->overflown.next, struct gw_session, overflow_link);
        size_t device = strlen(s->device->id) + 1;

        gw_list_remove(&s->overflow_link);
        if (hub->ops.overflow)
            hub->ops.overflow(hub->owner, s->device->id,
                              GW_SLICE(s->key + device, s->key_len - device));
    }
}

void queue_init(struct gw_hub *hub)
{
    gw_list_init(&hub->spare);
    gw_list_init(&hub->overflown);
    gw_task_init(&hub->overflow_task, tell_overflows, hub);
}

/* It is told of later: whoever hears it may publish, and a message is on its way just now. */
static void overflow(struct gw_session *s)
{
    struct gw_hub *hub = s->hub;

    hub->stats.dropped_full++;
    s->lost++;
    if (s->overflows)
        return;
    s->overflows = true;
    gw_list_append(&hub->overflown, &s->overflow_link);
    gw_task_post(hub->loop, &hub->overflow_task);
}

static bool admit(struct gw_session *s, const struct gw_msg *m, uint8_t qos, bool replay)
{
    struct gw_hub *hub = s->hub;
    size_t bytes = sizeof(struct delivery) + msg_bytes(m);

    if (qos > 0 && !fits(s, bytes, replay))
        make_room(s, bytes, replay);
    if (fits(s, bytes, replay) && (qos == 0 || !ids_exhausted(s)))
        return true;
    if (qos == 0)
        hub->stats.dropped_qos0++;
    else
        overflow(s);
    return false;
}

/* ---- adding ---- */

/* QoS 0 to somebody who listens and lags behind nothing needs no entry. */
static bool passed_on(struct gw_session *s, struct gw_msg *m, bool retain)
{
    struct gw_delivery d = {
        .msg = m,
        .retain = retain,
        .sub_ids = s->match_ids,
        .sub_id_count = s->match_id_count,
    };
    int err;

    if (!gw_list_empty(&s->waiting))
        return false;
    err = s->ops->deliver(s->owner, &d);
    s->hub->stats.delivered += !err;
    s->hub->stats.dropped_too_big += err == GW_ETOOBIG;
    return !err || err == GW_ETOOBIG;
}

enum fate queue_add(struct gw_session *s, struct gw_msg *m, bool retain, bool replay,
                    struct stored **stored)
{
    uint8_t qos = GW_MIN(s->match.qos, m->qos); /* [MQTT-3.8.4-8] */
    struct delivery *d;
    bool wait = false;

    if (qos == 0 && !s->ops)
        return FATE_NONE; /* §4.1: not kept for those who are away */
    if (!session_may_receive(s, m)) {
        s->hub->stats.dropped_denied++;
        return FATE_NONE;
    }
    if (qos == 0 && !s->pushing && passed_on(s, m, retain))
        return FATE_TAKEN;
    if (!admit(s, m, qos, replay))
        return qos ? FATE_FULL : FATE_NONE; /* QoS 0 may be lost, which is no failure */
    d = entry_new(s, m, qos, retain, s->match_ids, s->match_id_count);
    if (!d) {
        overflow(s);
        return FATE_FULL;
    }
    if (qos > 0) {
        number(d, s->next_number++);
        wait = s->stored && store(s, d, stored);
        if (s->stored && !wait) {
            drop(s, d);
            overflow(s);
            return FATE_FULL;
        }
    }
    d->fresh = true;
    queue_push(s);
    return wait ? FATE_WAIT : FATE_TAKEN;
}

int queue_restore(struct gw_session *s, struct gw_msg *m, struct stored *stored, uint64_t n,
                  unsigned flags, struct gw_slice ids, uint64_t sent, bool crashed)
{
    size_t id_count = GW_MIN(ids.len / sizeof(uint32_t), (size_t)GW_HUB_SUBS_MAX);
    uint32_t copy[GW_HUB_SUBS_MAX]; /* a blob need not be aligned */
    struct delivery *d;

    if (id_count)
        memcpy(copy, ids.ptr, id_count * sizeof(*copy));
    d = entry_new(s, m, GW_MAX(flags & 3, 1u), flags & 4, copy, id_count);
    if (!d)
        return -ENOMEM;
    number(d, n);
    d->pub.state = n <= sent ? GW_DELIVERY_SENT : GW_DELIVERY_QUEUED;
    d->pub.repeated = n <= sent || crashed;
    if (flags & ROW_RELEASED)
        d->pub.state = GW_DELIVERY_RELEASED;
    d->restored = true;
    d->stored = stored;
    stored->queues++;
    s->next_number = GW_MAX(s->next_number, n + 1);
    return 0;
}

/* ---- sending ---- */

/* Written behind: what a crash makes forgotten counts as sent, see queue_restore. */
static void note_sent(struct gw_session *s, uint64_t n)
{
    if (n <= s->sent_number)
        return;
    s->sent_number = n;
    if (!s->stored)
        return;
    if (persist_waits(s->sent_op)) {
        s->sent_op->b = (int64_t)n;
        return;
    }
    (void)persist_cancel(s->hub, &s->sent_op);
    (void)persist_add(s->hub,
                      &(struct op){.kind = OP_SESSION_SENT, .a = (int64_t)s->id, .b = (int64_t)n},
                      GW_SLICE_NONE, NULL, &s->sent_op);
}

/* ---- QoS 2: what the disk knows comes before what the receiver knows ---- */

/* A number that a crash makes forgotten is given again, and with it the packet identifier: whoever
 * holds that would take another message for a repetition. */
static bool is_on_its_way(const struct delivery *d)
{
    return d->pub.qos == 2 && d->put;
}

static void block(struct gw_session *s)
{
    if (gw_list_empty(&s->block_link))
        gw_list_append(&s->hub->blocked, &s->block_link);
}

static int release(struct gw_session *s, struct delivery *d)
{
    if (d->pub.state == GW_DELIVERY_RELEASED)
        return 0;
    if (d->stored &&
        !persist_add(
            s->hub,
            &(struct op){.kind = OP_QUEUE_RELEASED, .a = (int64_t)s->id, .b = (int64_t)d->number},
            GW_SLICE_NONE, NULL, &d->put))
        return -ENOMEM;
    d->pub.state = GW_DELIVERY_RELEASED;
    return 0;
}

/*
 * It must not go out any more, but its packet identifier may be in the receiver's hands, from
 * before. Released, it comes back in any case: a receiver that does not know it says so.
 */
static bool give_up(struct gw_session *s, struct delivery *d)
{
    return d->pub.qos == 2 && (d->restored || d->pub.state == GW_DELIVERY_SENT) &&
           release(s, d) == 0;
}

void queue_lost(struct delivery *d)
{
    d->lost = d->pub.qos == 2;
}

/* What must not go out any more, though it was queued. */
static bool is_void(struct gw_session *s, const struct delivery *d)
{
    if (d->lost)
        return true;
    if (d->pub.state == GW_DELIVERY_RELEASED)
        return false;
    /* §4.4: a delivery that was begun is completed, unless it may not be heard any more */
    if (d->pub.state == GW_DELIVERY_QUEUED && is_expired(s->hub, d->msg)) { /* [MQTT-3.3.2-5] */
        s->hub->stats.dropped_expired++;
        return true;
    }
    if (!d->fresh && !session_may_receive(s, d->msg)) {
        s->hub->stats.dropped_denied++;
        return true;
    }
    return false;
}

static void sent(struct gw_session *s, struct delivery *d)
{
    s->hub->stats.delivered += d->pub.state == GW_DELIVERY_QUEUED;
    if (d->pub.qos == 0) {
        drop(s, d);
        return;
    }
    d->pub.release_only = d->pub.state == GW_DELIVERY_RELEASED;
    if (d->pub.state == GW_DELIVERY_QUEUED)
        d->pub.state = GW_DELIVERY_SENT;
    d->pub.repeated = true;
    gw_list_remove(&d->node);
    gw_list_append(&s->inflight, &d->node);
    note_sent(s, d->number);
}

void queue_push(struct gw_session *s)
{
    int err;

    if (!s->ops || s->pushing)
        return;
    s->pushing = true;
    while (!gw_list_empty(&s->waiting)) {
        struct delivery *d = GW_LIST_ENTRY(s->waiting.next, struct delivery, node);

        if (is_on_its_way(d)) {
            block(s);
            break;
        }
        if (is_void(s, d)) {
            if (!give_up(s, d))
                drop(s, d);
            continue;
        }
        d->fresh = false;
        err = s->ops->deliver(s->owner, &d->pub);
        if (err == GW_ETOOBIG) { /* [MQTT-3.1.2-25]: as if it had been sent */
            s->hub->stats.dropped_too_big++;
            if (!give_up(s, d))
                drop(s, d);
            continue;
        }
        if (err)
            break;
        sent(s, d);
    }
    s->pushing = false;
}

static struct delivery *find_inflight(const struct gw_session *s, uint16_t id)
{
    GW_LIST_EACH(&s->inflight, node)
    {
        struct delivery *d = GW_LIST_ENTRY(node, struct delivery, node);

        if (d->pub.id == id)
            return d;
    }
    return NULL;
}

const struct gw_delivery *gw_session_inflight(const struct gw_session *s, uint16_t id)
{
    const struct delivery *d = find_inflight(s, id);

    return d ? &d->pub : NULL;
}

int gw_session_acked(struct gw_session *s, uint16_t id)
{
    struct delivery *d = find_inflight(s, id);

    if (!d)
        return GW_ENOTFOUND;
    drop(s, d);
    return 0;
}

int gw_session_received(struct gw_session *s, uint16_t id)
{
    struct delivery *d = find_inflight(s, id);
    int err;

    if (!d || d->pub.qos != 2)
        return GW_ENOTFOUND;
    err = release(s, d);
    if (err)
        return err;
    return !is_on_its_way(d);
}

/* ---- ends ---- */

void queue_rewind(struct gw_session *s)
{
    while (!gw_list_empty(&s->inflight)) {
        struct gw_list *last = s->inflight.prev;

        gw_list_remove(last);
        gw_list_insert(&s->waiting, last);
    }
    GW_LIST_EACH(&s->waiting, node)
    {
        struct delivery *d = GW_LIST_ENTRY(node, struct delivery, node);

        if (d->pub.qos == 0)
            drop(s, d);
    }
}

void queue_releases_first(struct gw_session *s)
{
    struct gw_list *behind = &s->waiting;

    GW_LIST_EACH(&s->waiting, node)
    {
        if (GW_LIST_ENTRY(node, struct delivery, node)->pub.state != GW_DELIVERY_RELEASED)
            continue;
        gw_list_remove(node);
        gw_list_insert(behind, node);
        behind = node;
    }
}

void queue_unstore(struct gw_session *s)
{
    GW_LIST_EACH(&s->waiting, node)
    {
        unstore(s, GW_LIST_ENTRY(node, struct delivery, node));
    }
    GW_LIST_EACH(&s->inflight, node)
    {
        unstore(s, GW_LIST_ENTRY(node, struct delivery, node));
    }
}

void queue_clear(struct gw_session *s)
{
    queue_rewind(s);
    while (!gw_list_empty(&s->waiting))
        drop(s, GW_LIST_ENTRY(s->waiting.next, struct delivery, node));
}
