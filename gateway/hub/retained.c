/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_priv.h"

#include <errno.h>

#define BYTES_DEFAULT (16u << 20)
#define COUNT_DEFAULT 100000u
#define DEVICE_SHARE 4 /* a device may have this part of the bytes, */
#define LEAST_SHARE 32 /* and has this part in any case */

/* What the gateway says in a $ topic is said again after a restart: neither limited nor stored. */
static bool is_own(const struct gw_msg *m)
{
    return m->topic.ptr[0] == '$' && m->device.len == 0;
}

static struct retained *retained_at(const struct gw_hub *hub, struct gw_slice topic)
{
    struct tree_node *n = tree_find(&hub->tree, topic);

    return n ? n->retained : NULL;
}

const struct gw_msg *gw_hub_retained(const struct gw_hub *hub, struct gw_slice topic)
{
    const struct retained *r = retained_at(hub, topic);

    return r ? r->msg : NULL;
}

/* However much others have, a device has room for its least share. */
int retained_admits(const struct gw_hub *hub, const struct gw_msg *m)
{
    uint64_t bytes_max = hub->limits.retained_bytes ? hub->limits.retained_bytes : BYTES_DEFAULT;
    uint32_t count_max = hub->limits.retained_count ? hub->limits.retained_count : COUNT_DEFAULT;
    const struct retained *old = retained_at(hub, m->topic);
    const struct hub_device *d = gw_map_get(&hub->devices, m->device);
    uint64_t bytes = msg_bytes(m), old_bytes = old ? msg_bytes(old->msg) : 0;
    uint64_t site = hub->retained.bytes + bytes - (old && !is_own(old->msg) ? old_bytes : 0);
    bool mine = old && d && old->device == d; /* it takes the place of one of its own */
    uint64_t device = (d ? d->retained_bytes : 0) + bytes - (mine ? old_bytes : 0);

    if (m->payload.len == 0 || is_own(m))
        return 0;
    if (m->device.len && device > bytes_max / DEVICE_SHARE)
        return GW_EFULL;
    if (site > bytes_max && (!m->device.len || device > bytes_max / LEAST_SHARE))
        return GW_EFULL;
    if (!old && hub->retained.count >= count_max)
        return GW_EFULL;
    return m->device.len && d && !mine && d->retained >= GW_HUB_RETAINED_DEVICE ? GW_EFULL : 0;
}

static void disown(struct retained *r)
{
    struct gw_hub *hub = r->hub;
    struct hub_device *d = GW_TAKE(r->device);
    uint64_t bytes = msg_bytes(r->msg);

    hub->stats.retained_bytes -= bytes;
    if (!is_own(r->msg)) {
        hub->retained.bytes -= bytes;
        hub->retained.count--;
    }
    if (d) {
        d->retained--;
        d->retained_bytes -= bytes;
    }
    device_release(hub, d);
    gw_msg_unref(&r->msg);
}

static void own(struct retained *r, struct gw_msg *m)
{
    struct gw_hub *hub = r->hub;
    uint64_t now = gw_loop_now_ms(hub->loop), bytes = msg_bytes(m);

    r->msg = gw_msg_ref(m);
    r->device = is_own(m) ? NULL : device_get(hub, m->device);
    if (r->device) {
        r->device->retained++;
        r->device->retained_bytes += bytes;
    }
    if (!is_own(m)) {
        hub->retained.bytes += bytes;
        hub->retained.count++;
    }
    hub->stats.retained_bytes += bytes;
    gw_timer_stop(&r->expiry);
    if (m->expires_ms)
        gw_timer_start(hub->loop, &r->expiry, m->expires_ms > now ? m->expires_ms - now : 0);
}

static void remove_retained(struct retained *r)
{
    struct gw_hub *hub = r->hub;
    struct tree_node *n = r->node;

    disown(r);
    gw_timer_stop(&r->expiry);
    hub->stats.retained--;
    n->retained = NULL;
    tree_prune(&hub->tree, n);
    free(r);
}

/* True when a row must be waited for. */
static bool drop_row(struct retained *r)
{
    bool stored = r->stored;

    (void)persist_cancel(r->hub, &r->put);
    if (stored)
        (void)persist_add(r->hub, &(struct op){.kind = OP_RETAINED_DROP}, r->msg->topic, NULL,
                          NULL);
    return stored;
}

static bool put_row(struct retained *r)
{
    if (is_own(r->msg))
        return false;
    r->stored = true;
    if (persist_waits(r->put)) { /* the older one has not left yet: it never will */
        gw_msg_unref(&r->put->msg);
        r->put->msg = gw_msg_ref(r->msg);
        return true;
    }
    (void)persist_cancel(r->hub, &r->put);
    return persist_add(r->hub, &(struct op){.kind = OP_RETAINED_PUT}, GW_SLICE_NONE, r->msg,
                       &r->put);
}

static void on_expiry(void *owner)
{
    struct retained *r = owner;

    (void)drop_row(r);
    remove_retained(r);
}

static struct retained *retained_new(struct gw_hub *hub, struct gw_slice topic)
{
    struct retained *r = calloc(1, sizeof(*r));

    if (!r || tree_make(&hub->tree, topic, &r->node)) {
        free(r);
        return NULL;
    }
    r->hub = hub;
    r->node->retained = r;
    gw_timer_init(&r->expiry, on_expiry, r);
    hub->stats.retained++;
    return r;
}

bool retained_set(struct gw_hub *hub, struct gw_msg *m)
{
    struct retained *r = retained_at(hub, m->topic);
    bool wait;

    if (m->payload.len == 0) { /* [MQTT-3.3.1-6], [MQTT-3.3.1-7] */
        if (!r)
            return false;
        wait = drop_row(r);
        remove_retained(r);
        return wait;
    }
    if (r)
        disown(r);
    else
        r = retained_new(hub, m->topic);
    if (!r) {
        gw_log_error("hub: a message is not retained: no memory");
        return false;
    }
    own(r, m);
    return put_row(r);
}

int retained_restore(struct gw_hub *hub, struct gw_msg *m)
{
    struct retained *r;

    if (retained_at(hub, m->topic) || retained_admits(hub, m) || m->payload.len == 0)
        return 0;
    r = retained_new(hub, m->topic);
    if (!r)
        return -ENOMEM;
    own(r, m);
    r->stored = true;
    return 0;
}

static void fini_below(struct tree_node *n)
{
    GW_LIST_EACH(&n->children, node)
    {
        fini_below(GW_LIST_ENTRY(node, struct tree_node, siblings));
    }
    if (!n->retained)
        return;
    gw_timer_stop(&n->retained->expiry);
    gw_msg_unref(&n->retained->msg);
    free(n->retained);
}

void retained_fini(struct gw_hub *hub)
{
    if (hub->tree.root)
        fini_below(hub->tree.root);
}
