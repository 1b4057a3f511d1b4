/* SPDX-License-Identifier: GPL-2.0-only */
#include "policies.h"

#include <criterion/criterion.h>

struct gw_kernel k; /* of the tests of watch.h, too: each runs in a process of its own */

void policies_setup(void)
{
    struct gw_hwaddr nets[] = {address("192.0.2.0/24"), address("2001:db8::/64")};
    const struct gw_addresses locals = {nets, GW_COUNT(nets), 0};

    harness_open(&k, 512);
    own_addresses(&k);
    known(&k, DEVICE);
    cr_assert_eq(gw_kernel_locals(&k, &locals), 0);
}

void policies_teardown(void)
{
    gw_kernel_close(&k);
}

/* ---- packets ---- */

static bool is_out(const struct packet *p)
{
    return p->at == AT_TC_OUT;
}

void network(struct frame *f, const struct packet *p, uint16_t later)
{
    enum who from = is_out(p) ? OTHER : DEVICE, to = is_out(p) ? DEVICE : OTHER;
    struct gw_hwaddr peer = address(p->peer);
    bool six = peer.kind == GW_ADDR_IPV6;

    eth(f, from, to, six ? ETH_IP6 : ETH_IP);
    if (six)
        ipv6(f, from, to, later ? 44 : p->protocol);
    else
        ipv4_fragment(f, from, to, p->protocol, later);
    if (six)
        memcpy(f->bytes + 14 + (is_out(p) ? 8 : 24), peer.bytes, 16);
    else
        memcpy(f->bytes + 14 + (is_out(p) ? 12 : 16), peer.bytes, 4);
    if (six && later)
        fragment(f, p->protocol, later);
}

void transport(struct frame *f, const struct packet *p)
{
    size_t start = f->len;

    if (p->protocol == ICMP || p->protocol == ICMP6)
        ports(f, (uint16_t)(p->own << 8), 0);
    else
        ports(f, is_out(p) ? p->other : p->own, is_out(p) ? p->own : p->other);
    if (p->protocol == TCP)
        f->bytes[start + 13] = p->flags;
}

struct frame frame_of(const struct packet *p)
{
    struct frame f = {0};

    network(&f, p, 0);
    transport(&f, p);
    return f;
}

bool passes_as(const struct packet *p)
{
    struct frame f = frame_of(p);

    return passes(&k, p->at, &f);
}

void repeat(const struct packet *p, unsigned times)
{
    struct frame f = frame_of(p);

    for (unsigned i = 0; i < times; i++)
        cr_assert(passes(&k, p->at, &f));
}

void expect_passes(const struct packet *p, bool wanted, const char *name)
{
    struct packet in = *p;

    cr_expect_eq(passes_as(p), wanted, "%s", name);
    in.at = AT_TC_IN;
    if (p->at == AT_XDP)
        cr_expect_eq(passes_as(&in), wanted, "%s (tc)", name);
}

/* ---- policies ---- */

void give(const struct gw_hwaddr *a, uint16_t number, enum gw_verdict_mode mode)
{
    struct gw_verdict_record v = {.address = *a, .mode = (uint8_t)mode, .policy = number};

    cr_assert_eq(gw_verdict_set(&k, &v, 1), 0);
}

void give_device(uint16_t number, enum gw_verdict_mode mode)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[DEVICE]);

    give(&mac, number, mode);
}

void set(const struct gw_policy *p)
{
    cr_assert_eq(gw_policy_set(&k, p, 1), 0);
}

struct gw_policy closed(uint16_t number)
{
    return (struct gw_policy){.number = number, .flags = ENFORCE};
}

void add_rule(struct gw_policy *p, uint8_t direction, uint8_t protocol, uint16_t peer_min,
              uint16_t peer_max)
{
    p->rules[p->rule_count++] = (struct gw_policy_rule){
        .direction = direction,
        .protocol = protocol,
        .own_max = 65535,
        .peer_min = peer_min,
        .peer_max = peer_max,
    };
}

uint64_t dropped(const struct gw_hwaddr *a)
{
    uint32_t slot = gw_table_find(&k.table, a);
    struct gw_traffic t;

    cr_assert_neq(slot, GW_SLOT_NONE);
    gw_table_traffic(&k.table, slot, &t);
    return t.dropped_packets;
}
