/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the gateway stands, as its interfaces say. */
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include "profile/profile_priv.h"

static bool address_of(const struct sockaddr *sa, struct gw_hwaddr *out)
{
    const void *any = sa;

    if (sa && sa->sa_family == AF_INET)
        *out = gw_hwaddr_ipv4((const void *)&((const struct sockaddr_in *)any)->sin_addr);
    else if (sa && sa->sa_family == AF_INET6)
        *out = gw_hwaddr_ipv6(((const struct sockaddr_in6 *)any)->sin6_addr.s6_addr);
    else
        return false;
    return true;
}

/* The network that the address is in; a mask with holes counts up to the first. */
static struct gw_hwaddr network_of(const struct gw_hwaddr *a, const struct gw_hwaddr *mask)
{
    struct gw_hwaddr net = {.kind = a->kind};

    for (unsigned i = 0; i < a->prefix_len && (mask->bytes[i / 8] & 0x80 >> i % 8); i++)
        net.prefix_len++;
    for (unsigned i = 0; i < net.prefix_len; i++)
        net.bytes[i / 8] |= (uint8_t)(a->bytes[i / 8] & 0x80 >> i % 8);
    return net;
}

static bool is_joined(const struct ifaddrs *i)
{
    return (i->ifa_flags & IFF_LOOPBACK) == 0 && (i->ifa_flags & IFF_POINTOPOINT) == 0;
}

/* A network that the gateway is in counts as near when the device is in it: the one behind the
 * gateway that leads to the Internet is not. */
static bool holds(const struct gw_hwaddr *net, const struct gw_device *d)
{
    for (size_t i = 0; d && i < d->addr_count; i++)
        if (gw_hwaddr_contains(net, &d->addrs[i].addr))
            return true;
    return false;
}

static void add_net(struct site *s, const struct gw_hwaddr *net, const struct gw_device *d)
{
    if (s->net_count < GW_COUNT(s->nets) && holds(net, d))
        s->nets[s->net_count++] = *net;
}

void site_read(const struct gw_device *d, struct site *out)
{
    struct ifaddrs *all = NULL;
    struct gw_hwaddr a, mask;

    out->own_count = out->net_count = 0;
    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        if (!address_of(i->ifa_addr, &a))
            continue;
        if (out->own_count < GW_COUNT(out->own))
            out->own[out->own_count++] = a;
        if (!is_joined(i) || !address_of(i->ifa_netmask, &mask))
            continue;
        a = network_of(&a, &mask);
        add_net(out, &a, d);
    }
    freeifaddrs(all);
}
