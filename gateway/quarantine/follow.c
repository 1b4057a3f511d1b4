/* SPDX-License-Identifier: GPL-2.0-only */
/* What happens to a device in the registry happens to its verdict. */
#include "quarantine/quarantine_priv.h"

#include "base/log.h"

static const struct gw_verdict *own_verdict(const struct gw_quarantine *q, const char *id)
{
    const struct entry *e = gw_map_get_str(&q->entries, id);

    return e ? &e->v : NULL;
}

static bool is_for_new(const struct gw_verdict *v)
{
    return strcmp(v->by, BY_POLICY) == 0 && strcmp(v->reason, REASON_NEW) == 0;
}

/* ---- what is believed ---- */

static bool has_mac(const struct gw_device *d)
{
    for (size_t i = 0; i < d->addr_count; i++)
        if (d->addrs[i].addr.kind == GW_ADDR_MAC)
            return true;
    return false;
}

static bool is_on(const struct gw_device *d, const char *ifname)
{
    for (size_t i = 0; i < d->addr_count; i++)
        if (d->addrs[i].addr.kind == GW_ADDR_MAC && strcmp(d->addrs[i].ifname, ifname) == 0)
            return true;
    return false;
}

static bool is_cut_off(const struct gw_quarantine *q, const struct gw_device *d)
{
    return d ? gw_quarantine_of_device(q, d->id) != NULL
             : q->config->lan.new_devices == GW_NEW_ISOLATE;
}

/* By more than being new. */
static bool is_bad(const struct gw_quarantine *q, const struct gw_device *d)
{
    const struct gw_verdict *v = d ? gw_quarantine_of_device(q, d->id) : NULL;

    return v && !is_for_new(v);
}

bool gw_quarantine_may_claim(const struct gw_quarantine *q, const uint8_t mac[6],
                             const struct gw_hwaddr *ip, const char *ifname)
{
    struct gw_hwaddr link = gw_hwaddr_mac(mac);
    const struct gw_device *who = gw_devices_by_addr(q->devices, &link);
    const struct gw_device *holder = ip ? gw_devices_by_addr(q->devices, ip) : NULL;
    const struct gw_verdict *held;

    if (ip && holder != who && is_bad(q, who) && quarantine_protects(q, ip))
        return false;
    if (!holder || holder == who || !has_mac(holder)) /* it proved itself, its MAC is to come */
        return true;
    if (is_cut_off(q, who))
        return false;
    held = gw_quarantine_own(q, holder->id);
    return !gw_verdict_cuts(held) || (who && who->state == GW_DEVICE_APPROVED) ||
           !is_on(holder, ifname);
}

/* ---- what follows ---- */

static void cut_off(struct gw_quarantine *q, const char *id, enum gw_verdict_mode mode,
                    const char *reason)
{
    int err = gw_quarantine_device(q, id, mode, 0, reason, BY_POLICY, NULL, NULL);

    if (err && err != GW_EPROTECTED)
        gw_log_error("a device could not be cut off: %s device=%s reason=\"%s\"",
                     gw_error_text(err), id, reason);
}

static void let_go(struct gw_quarantine *q, const char *id)
{
    int err = gw_quarantine_release_device(q, id, BY_POLICY, NULL, NULL);

    if (err && err != GW_ENOTFOUND)
        gw_log_error("a device could not be released: %s device=%s", gw_error_text(err), id);
}

static void on_life_cycle(struct gw_quarantine *q, const struct gw_device *d)
{
    const struct gw_verdict *v = own_verdict(q, d->id);

    bool cut_for_good = v && v->mode == GW_MODE_ISOLATE && !v->until_ms;

    if (d->state == GW_DEVICE_REVOKED && !cut_for_good)
        cut_off(q, d->id, GW_MODE_ISOLATE, "revoked");
    else if (d->state == GW_DEVICE_APPROVED && v && is_for_new(v))
        let_go(q, d->id);
}

/* The kernel holds an address that it does not know for a new device's: it has to hear better. */
static void let_in(struct gw_quarantine *q, const struct gw_device *d)
{
    for (size_t i = 0; i < d->addr_count; i++)
        quarantine_send(q, &d->addrs[i].addr, NULL);
}

/* A protected device has the address now: verdicts on it, and on networks that hold it, are over.
 */
static void on_protected(struct gw_quarantine *q, const struct gw_device *d,
                         const struct gw_hwaddr *addr)
{
    struct entry *own = gw_map_get_str(&q->entries, d->id);
    struct entry *on_addr = gw_map_get(&q->entries, gw_hwaddr_key(addr));

    if (own)
        quarantine_look_soon(q, own);
    if (on_addr)
        quarantine_look_soon(q, on_addr);
    GW_LIST_EACH(&q->networks, node)
    {
        struct entry *e = GW_LIST_ENTRY(node, struct entry, on_networks);

        if (gw_hwaddr_contains(&e->v.addr, addr))
            quarantine_look_soon(q, e);
    }
    if (own || (q->config->lan.new_devices == GW_NEW_ISOLATE && d->state == GW_DEVICE_SEEN))
        let_in(q, d);
}

/* The address came or went: what holds for it now is somebody else's, or nobody's. */
static void on_address(struct gw_quarantine *q, const struct gw_device *d,
                       const struct gw_hwaddr *addr, bool came)
{
    if (came && quarantine_protects_device(q, d))
        on_protected(q, d, addr);
    if (addr->kind == GW_ADDR_MAC)
        quarantine_mac_changed(q, d);
    if (quarantine_bears(q, d, addr))
        quarantine_send(q, addr, NULL);
    if (!q->entries.count)
        return;
    if (own_verdict(q, d->id) || gw_quarantine_of_addr(q, addr))
        quarantine_send(q, addr, NULL);
    if (gw_quarantine_of_addr(q, addr) || !gw_list_empty(&q->networks))
        quarantine_tell_device(q, d->id);
}

static void on_merge(struct gw_quarantine *q, const struct gw_device *d,
                     const struct gw_device *from)
{
    const struct gw_verdict *v = own_verdict(q, from->id);

    if (!v)
        return;
    if (is_for_new(v) && d->state == GW_DEVICE_APPROVED) /* it proved who it is */
        let_go(q, from->id);
    else
        quarantine_move(q, from->id, d->id);
}

void quarantine_follow(void *owner, const struct gw_device *d, enum gw_device_change what,
                       const struct gw_hwaddr *addr, const struct gw_device *from)
{
    struct gw_quarantine *q = owner;

    switch (what) {
    case GW_DEVICE_ADDED:
        if (q->config->lan.new_devices == GW_NEW_ISOLATE && d->state == GW_DEVICE_SEEN)
            cut_off(q, d->id, GW_MODE_REMEDIATE, REASON_NEW);
        return;
    case GW_DEVICE_CHANGED:
        gw_quarantine_resend(q, d->id); /* approved, its addresses are its own; revoked, nobody's */
        on_life_cycle(q, d);
        return;
    case GW_DEVICE_ADDR_ADDED:
    case GW_DEVICE_ADDR_REMOVED:
        on_address(q, d, addr, what == GW_DEVICE_ADDR_ADDED);
        return;
    case GW_DEVICE_MERGED:
        on_merge(q, d, from);
        return;
    case GW_DEVICE_REMOVED:
        let_go(q, d->id);
        quarantine_device_leaves(q, d);
        return;
    }
}
