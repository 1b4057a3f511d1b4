/* SPDX-License-Identifier: GPL-2.0-only */
#include "peer/peer_priv.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#define TOUCH_MS 1000 /* signs of life are passed on at most so often */

/* ---- the table ---- */

/* One device may hold half of all connections, so that no device shuts the others out. */
static int room_for(const struct gw_peers *peers, const struct peer_device *d)
{
    uint32_t max = peers->rooms.config->limits.connections;

    if (peers->count >= max)
        return GW_EFULL;
    return d && d->count >= GW_MAX(max / 2, 1u) ? GW_EFULL : 0;
}

static struct peer_device *device_get(struct gw_peers *peers, const char *id)
{
    struct peer_device *d = gw_map_get_str(&peers->devices, id);

    if (d)
        return d;
    d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    (void)snprintf(d->id, sizeof(d->id), "%s", id);
    (void)snprintf(d->own_topics, sizeof(d->own_topics), "d/%s/", id);
    gw_list_init(&d->peers);
    d->tokens = (uint64_t)peers->rooms.config->limits.publish_per_s * 1000;
    d->filled_ms = gw_loop_now_ms(peers->loop);
    if (gw_map_put(&peers->devices, gw_slice_str(d->id), d)) {
        free(d);
        return NULL;
    }
    return d;
}

static void device_release(struct gw_peers *peers, struct peer_device *d)
{
    if (d->count)
        return;
    (void)gw_map_remove(&peers->devices, gw_slice_str(d->id));
    free(d);
}

static void on_published(void *owner, uint32_t token, int err)
{
    struct gw_peer *p = owner;

    p->ops->published(p->owner, token, err);
}

static int peer_add(struct gw_peers *peers, struct peer_device *d, struct gw_peer *p)
{
    int err = gw_hub_publisher_add(peers->rooms.hub, on_published, p, &p->publisher);

    if (err)
        return err;
    p->peers = peers;
    p->device = d;
    gw_list_append(&d->peers, &p->device_link);
    d->count++;
    peers->count++;
    return 0;
}

int gw_peer_new(struct gw_peers *peers, const char *device, const struct gw_hwaddr *ip,
                const struct gw_peer_ops *ops, void *owner, struct gw_peer **out)
{
    GW_CLEANUP(gw_free_ptr) struct gw_peer *p = calloc(1, sizeof(*p));
    struct peer_device *d = gw_map_get_str(&peers->devices, device);
    struct gw_device *record;
    int err = room_for(peers, d);

    if (err == GW_EFULL)
        gw_peers_limit(peers, GW_LIMIT_CONNECTIONS);
    if (!err)
        err = gw_devices_prove(peers->rooms.devices, device, ip, NULL, &record);
    if (err)
        return err;
    if (gw_quarantine_of_device(peers->rooms.quarantine, device))
        return GW_EQUARANTINED;
    if (!p)
        return -ENOMEM;
    p->ops = ops;
    p->owner = owner;
    d = device_get(peers, device);
    if (!d)
        return -ENOMEM;
    err = peer_add(peers, d, p);
    if (err) {
        device_release(peers, d);
        return err;
    }
    if (ip && peers->rooms.resolve)
        peers->rooms.resolve(peers->rooms.owner, ip);
    *out = GW_TAKE(p);
    gw_presence_connected(peers->rooms.presence, d->id);
    return 0;
}

void gw_peer_gone(struct gw_peer **peer, enum gw_cause cause)
{
    struct gw_peer *p = GW_TAKE(*peer);
    struct gw_peers *peers;
    struct peer_device *d;

    if (!p)
        return;
    peers = p->peers;
    d = p->device;
    gw_hub_publisher_remove(peers->rooms.hub, p->publisher);
    gw_list_remove(&p->device_link);
    d->count--;
    peers->count--;
    free(p);
    gw_presence_disconnected(peers->rooms.presence, d->id, cause);
    device_release(peers, d);
}

uint64_t gw_peer_publisher(const struct gw_peer *peer)
{
    return peer->publisher;
}

size_t gw_peers_count(const struct gw_peers *peers, const char *device)
{
    const struct peer_device *d;

    if (!device)
        return peers->count;
    d = gw_map_get_str(&peers->devices, device);
    return d ? d->count : 0;
}

/* ---- signs of life, and of the opposite ---- */

void gw_peer_touch(struct gw_peer *peer)
{
    struct gw_peers *peers = peer->peers;
    struct peer_device *d = peer->device;
    uint64_t now = gw_loop_now_ms(peers->loop);
    struct gw_device *record;

    if (now - d->touched_ms < TOUCH_MS)
        return;
    d->touched_ms = now;
    gw_presence_touch(peers->rooms.presence, d->id);
    record = gw_devices_get(peers->rooms.devices, d->id);
    if (record)
        gw_devices_touch(peers->rooms.devices, record);
}

void gw_peer_strike(struct gw_peer *peer, enum gw_strike kind)
{
    gw_peers_strike(peer->peers, peer->device->id, kind);
}

void gw_peers_strike(struct gw_peers *peers, const char *device, enum gw_strike kind)
{
    gw_quarantine_strike(peers->rooms.quarantine, device, kind);
}

/* ---- being shut out ---- */

static struct gw_peer *next_open(const struct peer_device *d)
{
    GW_LIST_EACH(&d->peers, node)
    {
        struct gw_peer *p = GW_LIST_ENTRY(node, struct gw_peer, device_link);

        if (!p->closing)
            return p;
    }
    return NULL;
}

void gw_peers_close_some(struct gw_peers *peers, const char *device, int err, unsigned max)
{
    const struct gw_device *record = gw_devices_get(peers->rooms.devices, device);
    struct peer_device *d;
    struct gw_peer *p;

    if (record && record->state == GW_DEVICE_REVOKED)
        err = GW_EREVOKED; /* the verdict that goes with it is not the cause */
    /* Closing one may end more than one, and the record with the last. */
    while (max-- > 0 && (d = gw_map_get_str(&peers->devices, device)) && (p = next_open(d))) {
        p->closing = true;
        p->ops->close(p->owner, err);
    }
}

void gw_peers_close_device(struct gw_peers *peers, const char *device, int err)
{
    gw_peers_close_some(peers, device, err, UINT_MAX);
}

static void on_device(void *owner, const struct gw_device *d, enum gw_device_change what,
                      const struct gw_hwaddr *addr, const struct gw_device *from)
{
    struct gw_peers *peers = owner;
    bool revoked = what == GW_DEVICE_CHANGED && d->state == GW_DEVICE_REVOKED;
    char id[GW_DEVICE_ID_MAX + 1];

    (void)addr;
    (void)from;
    if (!revoked && what != GW_DEVICE_REMOVED)
        return;
    (void)snprintf(id, sizeof(id), "%s", d->id);
    gw_peers_close_device(peers, id, GW_EREVOKED);
    gw_hub_forget(peers->rooms.hub, id);
}

/* ---- open, close ---- */

int gw_peers_open(struct gw_loop *loop, const struct gw_peers_rooms *rooms, struct gw_peers **out)
{
    struct gw_peers *peers = calloc(1, sizeof(*peers));

    if (!peers)
        return -ENOMEM;
    peers->loop = loop;
    peers->rooms = *rooms;
    gw_list_init(&peers->listener.node);
    peers->listener.changed = on_device;
    peers->listener.owner = peers;
    gw_devices_listen(rooms->devices, &peers->listener);
    *out = peers;
    return 0;
}

void gw_peers_close(struct gw_peers **peers)
{
    struct gw_peers *p = GW_TAKE(*peers);

    if (!p)
        return;
    gw_devices_unlisten(&p->listener);
    gw_map_fini(&p->devices);
    free(p);
}

void gw_peers_reload(struct gw_peers *peers, const struct gw_config *config)
{
    peers->rooms.config = config;
}
