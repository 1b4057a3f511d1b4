/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_priv.h"

#include <assert.h>
#include <errno.h>
#include <sys/random.h>

#include "base/clock.h"

/* ---- devices ---- */

struct hub_device *device_get(struct gw_hub *hub, struct gw_slice id)
{
    struct hub_device *d = gw_map_get(&hub->devices, id);

    if (d || id.len > GW_HUB_DEVICE_MAX)
        return d;
    d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    if (id.len)
        memcpy(d->id, id.ptr, id.len);
    gw_list_init(&d->sessions);
    if (gw_map_put(&hub->devices, gw_slice_str(d->id), d)) {
        free(d);
        return NULL;
    }
    return d;
}

void device_release(struct gw_hub *hub, struct hub_device *d)
{
    if (!d || d->retained || !gw_list_empty(&d->sessions))
        return;
    (void)gw_map_remove(&hub->devices, gw_slice_str(d->id));
    free(d);
}

/* ---- life ---- */

/* [MQTT-4.1.0-2] */
static void on_expiry(void *owner)
{
    session_end(owner);
}

/* FNV-1a: it is stored, so it has no secret. Two that meet hide their messages from each other's
 * "no local", and from nobody else's anything. */
uint64_t origin_of(struct gw_slice key)
{
    uint64_t hash = 0xcbf29ce484222325;

    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ key.ptr[i]) * 0x100000001b3;
    return hash ? hash : 1;
}

struct gw_session *session_new(struct gw_hub *hub, struct gw_slice key, uint64_t id)
{
    const uint8_t *zero = memchr(key.ptr, 0, key.len);
    struct gw_slice device = GW_SLICE(key.ptr, (size_t)(zero - key.ptr));
    struct gw_session *s = calloc(1, sizeof(*s) + key.len);

    if (!s)
        return NULL;
    s->hub = hub;
    s->id = id;
    s->origin = origin_of(key);
    s->next_number = 1;
    s->key_len = key.len;
    memcpy(s->key, key.ptr, key.len);
    gw_list_init(&s->subs);
    gw_list_init(&s->waiting);
    gw_list_init(&s->inflight);
    gw_list_init(&s->match_link);
    gw_list_init(&s->block_link);
    gw_list_init(&s->overflow_link);
    gw_timer_init(&s->expiry, on_expiry, s);
    s->device = device_get(hub, device);
    if (!s->device || gw_map_put(&hub->sessions, GW_SLICE(s->key, s->key_len), s)) {
        device_release(hub, s->device);
        free(s);
        return NULL;
    }
    gw_list_append(&s->device->sessions, &s->device_link);
    hub->stats.sessions++;
    return s;
}

static void put_row(struct gw_session *s, int64_t ends_ms)
{
    s->stored = true;
    if (persist_waits(s->row_op)) {
        s->row_op->b = (int64_t)s->expiry_s;
        s->row_op->c = ends_ms;
        return;
    }
    (void)persist_cancel(s->hub, &s->row_op);
    (void)persist_add(
        s->hub,
        &(struct op){
            .kind = OP_SESSION_PUT, .a = (int64_t)s->id, .b = (int64_t)s->expiry_s, .c = ends_ms},
        GW_SLICE(s->key, s->key_len), NULL, &s->row_op);
}

static void drop_row(struct gw_session *s)
{
    if (!s->stored)
        return;
    s->stored = false;
    (void)persist_cancel(s->hub, &s->sent_op);
    (void)persist_cancel(s->hub, &s->row_op);
    (void)persist_add(s->hub, &(struct op){.kind = OP_SESSION_DROP, .a = (int64_t)s->id},
                      GW_SLICE_NONE, NULL, NULL);
    queue_unstore(s);
    inbound_unstore(s);
}

static void tell_topics(struct gw_session *s, bool joined)
{
    GW_LIST_EACH(&s->subs, node)
    {
        struct sub *sub = GW_LIST_ENTRY(node, struct sub, session_link);

        if (sub->share)
            share_move(sub);
        sub_tell(s, sub, joined);
    }
}

void session_end(struct gw_session *s)
{
    struct gw_hub *hub = s->hub;
    struct hub_device *d = s->device;

    if (s->ops) {
        s->ops = NULL; /* nothing is delivered any more, whatever the next line leads to */
        hub->stats.attached--;
        tell_topics(s, false);
    }
    d->kept -= s->kept;
    drop_row(s);
    gw_timer_stop(&s->expiry);
    queue_clear(s);
    while (!gw_list_empty(&s->subs))
        sub_free(GW_LIST_ENTRY(s->subs.next, struct sub, session_link));
    (void)gw_map_remove(&hub->sessions, GW_SLICE(s->key, s->key_len));
    gw_list_remove(&s->device_link);
    gw_list_remove(&s->overflow_link);
    gw_list_remove(&s->block_link);
    device_release(hub, d);
    hub->stats.sessions--;
    inbound_clear(s);
    free(s->match_ids);
    free(s);
}

/* ---- attach, detach ---- */

struct gw_slice session_key(const struct gw_session_key *k, uint8_t room[GW_HUB_KEY_MAX])
{
    size_t len = strlen(k->device);

    memcpy(room, k->device, len + 1);
    if (k->client.len)
        memcpy(room + len + 1, k->client.ptr, k->client.len);
    return GW_SLICE(room, len + 1 + k->client.len);
}

/* Whoever is attached lets go; that may have ended the session. */
static struct gw_session *take_over(struct gw_hub *hub, struct gw_slice key)
{
    struct gw_session *s = gw_map_get(&hub->sessions, key);

    if (!s || !s->ops)
        return s;
    s->ops->taken_over(s->owner);
    s = gw_map_get(&hub->sessions, key);
    assert(!s || !s->ops);
    return s;
}

static void bind(struct gw_session *s, const struct gw_session_ops *ops, void *owner,
                 uint32_t expiry_s)
{
    gw_timer_stop(&s->expiry);
    s->device->kept -= s->kept;
    s->kept = false;
    s->ops = ops;
    s->owner = owner;
    s->inbound_wanted = false;
    s->expiry_s = expiry_s;
    s->hub->stats.attached++;
    if (expiry_s)
        put_row(s, 0);
    else
        drop_row(s); /* it was durable, and the client wants that no more */
    queue_releases_first(s);
    tell_topics(s, true);
}

/* What a label names must be no other session after a crash, so it is no counter that a crash could
 * set back; at all times there is room for it in 63 bits. */
static uint64_t random_id(void)
{
    uint64_t id = 0;

    while (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id) || !(id >> 1))
        ;
    return id >> 1;
}

int gw_session_attach(struct gw_hub *hub, const struct gw_session_key *key, bool clean,
                      uint32_t expiry_s, const struct gw_session_ops *ops, void *owner,
                      struct gw_session **out, bool *out_present)
{
    uint8_t room[GW_HUB_KEY_MAX];
    struct gw_session *s;
    struct gw_slice k;

    if (key->client.len > GW_HUB_CLIENT_MAX || strlen(key->device) > GW_HUB_DEVICE_MAX)
        return GW_ETOOBIG;
    k = session_key(key, room);
    s = take_over(hub, k);
    if (s && clean) { /* [MQTT-3.1.2-4] */
        session_end(s);
        s = NULL;
    }
    *out_present = s != NULL; /* [MQTT-3.1.2-5], [MQTT-3.1.2-6] */
    if (!s)
        s = session_new(hub, k, random_id());
    if (!s)
        return -ENOMEM;
    bind(s, ops, owner, expiry_s);
    *out = s;
    return 0;
}

static void evict(struct gw_session *s)
{
    size_t device = strlen(s->device->id) + 1;
    char client[GW_LOG_TEXT];

    if (gw_log_allowed(&s->hub->evictions, gw_loop_now_ms(s->hub->loop))) {
        gw_log_info("hub: a session ended before its time: its device left more than %d behind"
                    " device=%s client=%s messages=%zu not_shown=%u",
                    GW_HUB_KEPT_MAX, s->device->id,
                    gw_log_text(GW_SLICE(s->key + device, s->key_len - device), client), s->count,
                    s->hub->evictions.muted);
        s->hub->evictions.muted = 0;
    }
    s->hub->stats.full_sessions++;
    session_end(s);
}

/* Past the limit the one that was left alone for longest goes. */
static void limit_kept(struct hub_device *d)
{
    if (d->kept <= GW_HUB_KEPT_MAX)
        return;
    GW_LIST_EACH(&d->sessions, node)
    {
        struct gw_session *s = GW_LIST_ENTRY(node, struct gw_session, device_link);

        if (s->kept) {
            evict(s);
            return;
        }
    }
}

void session_keep(struct gw_session *s, int64_t ends_ms)
{
    struct hub_device *d = s->device;
    int64_t now = gw_clock_wall_ms(), longest = now + (int64_t)s->expiry_s * 1000;

    s->kept = true;
    d->kept++;
    gw_list_remove(&s->device_link);
    gw_list_append(&d->sessions, &s->device_link);
    if (s->expiry_s != GW_HUB_FOREVER) {
        /* The daemon died while somebody was attached, or the clock was set back since. */
        if (!ends_ms || ends_ms > longest)
            ends_ms = longest;
        gw_timer_start(s->hub->loop, &s->expiry, ends_ms > now ? (uint64_t)(ends_ms - now) : 0);
    }
}

void gw_session_detach(struct gw_session **session)
{
    struct gw_session *s = GW_TAKE(*session);
    int64_t ends_ms;

    if (!s)
        return;
    if (!s->expiry_s) {
        session_end(s);
        return;
    }
    s->ops = NULL;
    s->owner = NULL;
    s->hub->stats.attached--;
    tell_topics(s, false);
    queue_rewind(s); /* [MQTT-4.4.0-1] */
    ends_ms = gw_clock_wall_ms() + (int64_t)s->expiry_s * 1000;
    if (s->expiry_s == GW_HUB_FOREVER)
        ends_ms = INT64_MAX;
    put_row(s, ends_ms);
    session_keep(s, ends_ms);
    limit_kept(s->device);
}

void gw_session_set_expiry(struct gw_session *s, uint32_t expiry_s)
{
    s->expiry_s = expiry_s;
}

uint64_t gw_session_origin(const struct gw_session *s)
{
    return s->origin;
}

uint64_t gw_session_take_lost(struct gw_session *s)
{
    uint64_t lost = s->lost;

    s->lost = 0;
    return lost;
}

bool gw_session_durable(const struct gw_session *s)
{
    return s->stored;
}

void gw_session_resume(struct gw_session *s)
{
    queue_push(s);
}

void gw_hub_forget(struct gw_hub *hub, const char *device)
{
    struct hub_device *d;

    /* Ending the last session frees the record, so it is looked up anew each time. */
    while ((d = gw_map_get_str(&hub->devices, device)) && !gw_list_empty(&d->sessions)) {
        struct gw_session *s = GW_LIST_ENTRY(d->sessions.next, struct gw_session, device_link);

        s->expiry_s = 0;
        if (s->ops)
            s->ops->taken_over(s->owner);
        else
            session_end(s);
    }
}
