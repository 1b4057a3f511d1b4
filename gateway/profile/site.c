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

void site_read(struct site *out)
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
        if (is_joined(i) && address_of(i->ifa_netmask, &mask) &&
            out->net_count < GW_COUNT(out->nets))
            out->nets[out->net_count++] = network_of(&a, &mask);
    }
    freeifaddrs(all);
}
