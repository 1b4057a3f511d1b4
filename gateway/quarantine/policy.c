/* SPDX-License-Identifier: GPL-2.0-only */
/* What an address bears beside verdicts: its device's policy, and that it is this device's alone.
 */
#include "quarantine/quarantine_priv.h"

static bool is_host_ip(const struct gw_hwaddr *a)
{
    return (a->kind == GW_ADDR_IPV4 && a->prefix_len == 32) ||
           (a->kind == GW_ADDR_IPV6 && a->prefix_len == 128);
}

static uint16_t policy_of(const struct gw_quarantine *q, const struct gw_device *d)
{
    return q->ops.policy_of ? q->ops.policy_of(q->ops.owner, d->id) : 0;
}

static bool is_bound(const struct gw_quarantine *q, const struct gw_device *d,
                     const struct gw_hwaddr *a)
{
    return q->config->isolation.bind && d->state == GW_DEVICE_APPROVED && is_host_ip(a);
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

static void send_what_bears(struct gw_quarantine *q, const struct gw_device *d)
{
    for (size_t i = 0; i < d->addr_count; i++)
        if (quarantine_bears(q, d, &d->addrs[i].addr))
            quarantine_send(q, &d->addrs[i].addr, NULL);
}

void quarantine_send_devices(struct gw_quarantine *q)
{
    const struct gw_device *d = gw_devices_next(q->devices, "");

    for (; d; d = gw_devices_next(q->devices, d->id))
        if (!gw_map_get_str(&q->entries, d->id)) /* or it is sent with its verdict */
            send_what_bears(q, d);
}

void quarantine_device_leaves(struct gw_quarantine *q, const struct gw_device *d)
{
    q->leaving = d;
    if (q->enforcer)
        send_device(q, d);
    q->leaving = NULL;
}
