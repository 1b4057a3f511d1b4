/* SPDX-License-Identifier: GPL-2.0-only */
/* What an address bears beside verdicts: its device's policy, and that it is this device's alone.
 */
#include "quarantine/quarantine_priv.h"

/* One host's own. Link-local ones are good on one link only, and may be somebody's on another. */
static bool is_bindable(const struct gw_hwaddr *a)
{
    return a->kind != GW_ADDR_MAC && gw_hwaddr_is_host(a) && !gw_hwaddr_is_link_local(a);
}

/* Its one link address; NULL: there is none, or another may take over an address any time. */
static const struct gw_hwaddr *only_mac(const struct gw_device *d)
{
    const struct gw_hwaddr *mac = NULL;

    for (size_t i = 0; i < d->addr_count; i++) {
        if (d->addrs[i].addr.kind != GW_ADDR_MAC)
            continue;
        if (mac)
            return NULL;
        mac = &d->addrs[i].addr;
    }
    return mac;
}

static uint16_t policy_of(const struct gw_quarantine *q, const struct gw_device *d)
{
    return q->ops.policy_of ? q->ops.policy_of(q->ops.owner, d->id) : 0;
}

static bool is_bound(const struct gw_quarantine *q, const struct gw_device *d,
                     const struct gw_hwaddr *a)
{
    return q->config->isolation.bind && d->state == GW_DEVICE_APPROVED && is_bindable(a) &&
           only_mac(d);
}

bool quarantine_bears(const struct gw_quarantine *q, const struct gw_device *d,
                      const struct gw_hwaddr *a)
{
    return policy_of(q, d) || is_bound(q, d, a);
}

void quarantine_add_policy(const struct gw_quarantine *q, const struct gw_hwaddr *a,
                           struct gw_judgement *j)
{
    const struct gw_device *d = gw_devices_by_addr(q->devices, a);

    if (!d || d == q->leaving)
        return;
    j->bound = is_bound(q, d, a);
    if (j->bound)
        memcpy(j->owner, only_mac(d)->bytes, sizeof(j->owner));
    if (!quarantine_protects(q, a) && !quarantine_protects_device(q, d))
        j->policy = policy_of(q, d);
}

static void send_device(struct gw_quarantine *q, const struct gw_device *d)
{
    for (size_t i = 0; i < d->addr_count; i++)
        quarantine_send(q, &d->addrs[i].addr, NULL);
}

void gw_quarantine_resend(struct gw_quarantine *q, const char *id)
{
    const struct gw_device *d = gw_devices_get(q->devices, id);

    if (d && q->enforcer)
        send_device(q, d);
}

void quarantine_mac_changed(struct gw_quarantine *q, const struct gw_device *d)
{
    if (q->enforcer && d->state == GW_DEVICE_APPROVED && q->config->isolation.bind)
        send_device(q, d);
}

static void send_what_bears(struct gw_quarantine *q, const struct gw_device *d)
{
    for (size_t i = 0; i < d->addr_count; i++)
        if (quarantine_bears(q, d, &d->addrs[i].addr))
            quarantine_send(q, &d->addrs[i].addr, NULL);
}

/* Devices with a verdict are left out: they are sent with it. */
static void send_each(struct gw_quarantine *q,
                      void (*send)(struct gw_quarantine *q, const struct gw_device *d))
{
    const struct gw_device *d = gw_devices_next(q->devices, "");

    for (; d; d = gw_devices_next(q->devices, d->id))
        if (!gw_map_get_str(&q->entries, d->id))
            send(q, d);
}

void quarantine_send_devices(struct gw_quarantine *q)
{
    send_each(q, send_what_bears);
}

static bool protects_the_same(const struct gw_config *a, const struct gw_config *b)
{
    if (a->quarantine.protected_count != b->quarantine.protected_count ||
        a->quarantine.protected_device_count != b->quarantine.protected_device_count)
        return false;
    for (size_t i = 0; i < a->quarantine.protected_device_count; i++)
        if (strcmp(a->quarantine.protected_devices[i], b->quarantine.protected_devices[i]) != 0)
            return false;
    return memcmp(a->quarantine.protected_addrs, b->quarantine.protected_addrs,
                  a->quarantine.protected_count * sizeof(a->quarantine.protected_addrs[0])) == 0;
}

void quarantine_resend_devices(struct gw_quarantine *q, const struct gw_config *before)
{
    if (q->enforcer && (before->isolation.bind != q->config->isolation.bind ||
                        !protects_the_same(before, q->config)))
        send_each(q, send_device);
}

void quarantine_device_leaves(struct gw_quarantine *q, const struct gw_device *d)
{
    q->leaving = d;
    if (q->enforcer)
        send_device(q, d);
    q->leaving = NULL;
}
