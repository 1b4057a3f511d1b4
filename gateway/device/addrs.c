/* SPDX-License-Identifier: GPL-2.0-only */
#include "device/device_priv.h"

#include <stdio.h>

#include "base/clock.h"

/* One host's own address, never a group's: a verdict on one of those would hit bystanders. */
bool device_addr_bindable(const struct gw_hwaddr *a)
{
    return gw_hwaddr_is_host(a) && gw_hwaddr_is_unicast(a);
}

static struct gw_device_addr *slot_of(const struct record *r, const struct gw_hwaddr *a)
{
    for (size_t i = 0; i < r->pub.addr_count; i++)
        if (memcmp(&r->pub.addrs[i].addr, a, sizeof(*a)) == 0)
            return &r->pub.addrs[i];
    return NULL;
}

/* The table's keys lie in the records' arrays: after one moved, its entries are put again. */
static int rekey(struct gw_devices *d, struct record *r, size_t from)
{
    for (size_t i = from; i < r->pub.addr_count; i++) {
        int err = gw_map_put(&d->by_addr, gw_hwaddr_key(&r->pub.addrs[i].addr), r);

        if (err)
            return err;
    }
    return 0;
}

/* Make room for one more: 2, 4, 8, 16 slots. Entries in the table exist already, so no failure. */
static bool grow(struct gw_devices *d, struct record *r)
{
    size_t count = r->pub.addr_count;
    struct gw_device_addr *bigger;

    if (count && (count < 2 || (count & (count - 1))))
        return true;
    bigger = calloc(count ? count * 2 : 2, sizeof(*bigger));
    if (!bigger)
        return false;
    for (size_t i = 0; i < count; i++)
        gw_map_remove(&d->by_addr, gw_hwaddr_key(&r->pub.addrs[i].addr));
    if (count)
        memcpy(bigger, r->pub.addrs, count * sizeof(*bigger));
    free(r->pub.addrs);
    r->pub.addrs = bigger;
    return rekey(d, r, 0) == 0;
}

struct gw_device_addr *device_addr_put(struct gw_devices *d, struct record *r,
                                       const struct gw_device_addr *from)
{
    struct gw_device_addr *slot;

    if (!grow(d, r))
        return NULL;
    slot = &r->pub.addrs[r->pub.addr_count];
    *slot = *from;
    if (gw_map_put(&d->by_addr, gw_hwaddr_key(&slot->addr), r))
        return NULL;
    r->pub.addr_count++;
    return slot;
}

static void unbind(struct gw_devices *d, struct record *r, struct gw_device_addr *slot)
{
    struct gw_hwaddr addr = slot->addr;
    struct gw_device_addr *last = &r->pub.addrs[r->pub.addr_count - 1];

    gw_map_remove(&d->by_addr, gw_hwaddr_key(&slot->addr));
    if (slot != last) {
        *slot = *last;
        (void)!gw_map_put(&d->by_addr, gw_hwaddr_key(&slot->addr), r); /* room was just freed */
    }
    r->pub.addr_count--;
    device_persist_mark(d, r, SOON_MS);
    device_record_tell(d, r, GW_DEVICE_ADDR_REMOVED, &addr, NULL);
}

/* The one unseen for longest; a MAC only when there is nothing else. */
static struct gw_device_addr *stalest(struct record *r)
{
    struct gw_device_addr *worst = &r->pub.addrs[0];

    for (size_t i = 1; i < r->pub.addr_count; i++) {
        struct gw_device_addr *a = &r->pub.addrs[i];
        bool mac = a->addr.kind == GW_ADDR_MAC, worst_mac = worst->addr.kind == GW_ADDR_MAC;

        if (mac != worst_mac ? worst_mac : a->seen_ms < worst->seen_ms)
            worst = a;
    }
    return worst;
}

static void set_ifname(struct gw_device_addr *slot, const char *ifname)
{
    if (ifname)
        (void)snprintf(slot->ifname, sizeof(slot->ifname), "%s", ifname);
}

static struct gw_device_addr *bind_new(struct gw_devices *d, struct record *r,
                                       const struct gw_hwaddr *a, const char *ifname)
{
    struct gw_device_addr fresh = {.addr = *a, .seen_ms = gw_clock_wall_ms()};
    struct gw_device_addr *slot;

    if (r->pub.addr_count == GW_DEVICE_ADDRS_MAX)
        unbind(d, r, stalest(r));
    set_ifname(&fresh, ifname);
    slot = device_addr_put(d, r, &fresh);
    if (!slot)
        return NULL;
    device_persist_mark(d, r, SOON_MS);
    device_record_tell(d, r, GW_DEVICE_ADDR_ADDED, &fresh.addr, NULL);
    return slot_of(r, &fresh.addr); /* a listener may have moved things */
}

/* `from`, known only by its address, is `r`: verdicts and presence move before the addresses do. */
static void merge(struct gw_devices *d, struct record *from, struct record *r)
{
    size_t count = from->pub.addr_count;
    struct gw_device_addr *addrs;

    device_record_tell(d, r, GW_DEVICE_MERGED, NULL, &from->pub);
    r->pub.first_seen_ms = GW_MIN(r->pub.first_seen_ms, from->pub.first_seen_ms);
    if (!r->pub.name[0])
        strcpy(r->pub.name, from->pub.name);
    if (!r->pub.class[0])
        strcpy(r->pub.class, from->pub.class);
    for (size_t i = 0; i < count; i++)
        gw_map_remove(&d->by_addr, gw_hwaddr_key(&from->pub.addrs[i].addr));
    addrs = GW_TAKE(from->pub.addrs);
    from->pub.addr_count = 0;
    device_record_drop(d, from);
    for (size_t i = 0; i < count; i++)
        (void)bind_new(d, r, &addrs[i].addr, addrs[i].ifname);
    free(addrs);
}

struct gw_device_addr *device_addr_bind(struct gw_devices *d, struct record *r,
                                        const struct gw_hwaddr *a, const char *ifname)
{
    struct record *owner = gw_map_get(&d->by_addr, gw_hwaddr_key(a));
    struct gw_device_addr *slot;

    if (owner && owner != r) {
        if (a->kind == GW_ADDR_MAC && gw_device_id_is_mac(owner->pub.id))
            merge(d, owner, r);
        else
            unbind(d, owner, slot_of(owner, a));
    }
    slot = slot_of(r, a);
    if (!slot)
        return bind_new(d, r, a, ifname);
    slot->seen_ms = gw_clock_wall_ms();
    set_ifname(slot, ifname);
    return slot;
}

static struct record *record_for_mac(struct gw_devices *d, const uint8_t mac[6])
{
    char id[GW_DEVICE_ID_MAX + 1] = "mac-";
    struct record *r;

    gw_hex(mac, 6, id + 4);
    r = gw_map_get_str(&d->by_id, id);
    if (r)
        return r;
    if (gw_devices_total(d) >= d->max - d->max / 8) {
        d->unrecorded++;
        return NULL;
    }
    r = device_record_make(d, id, GW_DEVICE_SEEN);
    if (r) {
        device_persist_mark(d, r, SOON_MS);
        device_record_tell(d, r, GW_DEVICE_ADDED, NULL, NULL);
    }
    return r;
}

/* The device that proved itself from `ip` and waits for the link address behind it. */
static struct record *awaiting(struct gw_devices *d, const struct gw_hwaddr *ip)
{
    struct record *r = ip ? gw_map_get(&d->by_addr, gw_hwaddr_key(ip)) : NULL;
    struct gw_device_addr *slot = r ? slot_of(r, ip) : NULL;
    bool waits = slot && slot->awaits_mac_ms > gw_clock_wall_ms();

    if (slot)
        slot->awaits_mac_ms = 0;
    return waits ? r : NULL;
}

struct gw_device *gw_devices_sighting(struct gw_devices *d, const uint8_t mac[6],
                                      const struct gw_hwaddr *ip, const char *ifname)
{
    struct gw_hwaddr hw = gw_hwaddr_mac(mac);
    struct record *r, *owner;

    if (!device_addr_bindable(&hw))
        return NULL;
    if (ip && (ip->kind == GW_ADDR_MAC || !device_addr_bindable(ip)))
        ip = NULL;
    owner = gw_map_get(&d->by_addr, gw_hwaddr_key(&hw));
    r = awaiting(d, ip);
    if (!r)
        r = owner;
    if (!r)
        r = record_for_mac(d, mac);
    if (!r || !device_addr_bind(d, r, &hw, ifname))
        return NULL;
    if (ip)
        (void)device_addr_bind(d, r, ip, ifname);
    gw_devices_touch(d, &r->pub);
    return &r->pub;
}
