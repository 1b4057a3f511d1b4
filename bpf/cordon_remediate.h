/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What a device in remediation may still do: find the gateway, get an address, ask for names, and
 * reach the gateway's enrolment, firmware and device ports. Kernel side only; doubt drops here,
 * since the device is known to be bad.
 */
#pragma once

#include "cordon_table.h"

#define PORT_DHCP_SERVER 67
#define PORT_DHCP_CLIENT 68
#define PORT_DHCPV6_CLIENT 546
#define PORT_DHCPV6_SERVER 547

struct cordon_services cordon_services = {}; /* the configuration's, set by the daemon */

CORDON_INLINE int is_ours(struct claim c)
{
    struct found f = find(c);

    return f.slot && f.slot->flags & CORDON_OWN;
}

/* Ports as the device uses them: its own, and the one at the other end. */
struct flow {
    __u8 protocol;
    __u16 own, other;
};

/* Fills ports of UDP and TCP; 0 when they are cut off. */
CORDON_INLINE int read_flow(struct flow *flow, const struct frame *f, struct cursor c, int protocol)
{
    struct ports *p = TAKE(&c, struct ports);

    if (!p || (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP))
        return 0;
    flow->protocol = protocol;
    flow->own = bpf_ntohs(f->direction == EGRESS ? p->to : p->from);
    flow->other = bpf_ntohs(f->direction == EGRESS ? p->from : p->to);
    return 1;
}

CORDON_INLINE int is_gateway_service(const struct flow *flow)
{
    const volatile __u64 *ports =
        flow->protocol == IPPROTO_UDP ? cordon_services.udp : cordon_services.tcp;
    __u32 port = flow->other;

    CHECK_AGAIN(port); /* 16 bits it has: so that 5.15 sees it, too */
    return port == PORT_DNS || ports[port / 64 % CORDON_PORT_WORDS] >> port % 64 & 1;
}

/* Toward servers by broadcast or to the gateway only, so that it is no way out to anybody else. */
CORDON_INLINE int is_dhcp(const struct frame *f, const struct flow *flow, struct claim other,
                          int to_all)
{
    __u16 own = other.kind == CORDON_IPV4 ? PORT_DHCP_CLIENT : PORT_DHCPV6_CLIENT;
    __u16 server = other.kind == CORDON_IPV4 ? PORT_DHCP_SERVER : PORT_DHCPV6_SERVER;

    return flow->protocol == IPPROTO_UDP && flow->own == own && flow->other == server &&
           (f->direction == EGRESS || to_all || is_ours(other));
}

/* The answer of a DHCP server to the gateway itself, which may be a client here before it has a
 * route. */
CORDON_INLINE int is_answer_to_us(const struct frame *f, const struct flow *flow,
                                  struct cursor whole)
{
    struct ethernet *eth = TAKE(&whole, struct ethernet);

    return f->direction == INGRESS && flow->protocol == IPPROTO_UDP &&
           flow->own == PORT_DHCP_SERVER && flow->other == PORT_DHCP_CLIENT && eth &&
           is_ours((struct claim){mac_of(eth->to), 0, CORDON_MAC});
}

CORDON_INLINE int may_pass_ipv4(const struct frame *f, struct cursor whole)
{
    struct cursor c = f->l3;
    struct ipv4 *ip = TAKE(&c, struct ipv4);
    struct flow flow = {};
    struct claim other;
    __u32 len;

    if (!ip || ip->version_ihl >> 4 != 4 ||
        ip->fragment & bpf_htons(0x1fff)) /* a later fragment shows no port */
        return 0;
    len = (ip->version_ihl & 15) * 4;
    if (len < sizeof(*ip))
        return 0;
    c.at = (void *)ip + len;
    other = ipv4_of(f->direction == EGRESS ? ip->from : ip->to);
    if (!read_flow(&flow, f, c, ip->protocol))
        return 0;
    if (is_dhcp(f, &flow, other, other.a == 0xffffffff) || is_answer_to_us(f, &flow, whole))
        return 1;
    return is_gateway_service(&flow) && is_ours(other);
}

CORDON_INLINE int may_pass_discovery(const struct frame *f, struct cursor c, struct claim other)
{
    struct discovery *nd = c.at;

    if ((void *)&nd->target > c.end)
        return 0;
    if (f->direction == EGRESS)
        return nd->type >= ND_ROUTER_ADVERT && nd->type <= ND_NEIGHBOUR_ADVERT && is_ours(other);
    if (nd->type == ND_ROUTER_SOLICIT)
        return 1;
    if ((void *)(nd + 1) > c.end)
        return 0;
    if (nd->type == ND_NEIGHBOUR_SOLICIT)
        return is_ours(ipv6_of(nd->target));
    return nd->type == ND_NEIGHBOUR_ADVERT && is_ours(other);
}

CORDON_INLINE int may_pass_ipv6(const struct frame *f)
{
    struct cursor c = f->l3;
    struct ipv6 *ip = TAKE(&c, struct ipv6);
    struct flow flow = {};
    struct claim other;
    int protocol;

    if (!ip || ip->version >> 4 != 6)
        return 0;
    other = ipv6_of(f->direction == EGRESS ? ip->from : ip->to);
    protocol = skip_extensions(&c, ip->next);
    if (protocol == NEXT_ICMPV6)
        return may_pass_discovery(f, c, other);
    if (!read_flow(&flow, f, c, protocol))
        return 0;
    /* ff02::1:2, all DHCP servers and relays (RFC 8415 §7.1) */
    if (is_dhcp(f, &flow, other,
                other.a == cordon_pair(bpf_htonl(0xff020000), 0) &&
                    other.b == cordon_pair(0, bpf_htonl(0x00010002))))
        return 1;
    return is_gateway_service(&flow) && is_ours(other);
}

CORDON_INLINE int may_pass_arp(const struct frame *f)
{
    struct cursor c = f->l3;
    struct arp *arp = TAKE(&c, struct arp);

    return arp && is_arp(arp) &&
           is_ours(ipv4_of(f->direction == EGRESS ? arp->from_ip : arp->to_ip));
}

/* From the device only to the gateway's own link address, or to everybody on the link. */
CORDON_INLINE int reaches_gateway(const struct frame *f, struct cursor c)
{
    struct ethernet *eth = TAKE(&c, struct ethernet);

    if (f->direction == EGRESS)
        return 1;
    return eth && (eth->to[0] & 1 || is_ours((struct claim){mac_of(eth->to), 0, CORDON_MAC}));
}

CORDON_INLINE int may_pass(const struct frame *f, struct cursor whole)
{
    if (!reaches_gateway(f, whole))
        return 0;
    if (f->type == ETH_P_IP)
        return may_pass_ipv4(f, whole);
    if (f->type == ETH_P_IPV6)
        return may_pass_ipv6(f);
    return f->type == ETH_P_ARP && may_pass_arp(f);
}
