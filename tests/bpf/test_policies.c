/* SPDX-License-Identifier: GPL-2.0-only */
/* What a policy does: rules, limits, learning, its changes, its copy on disk. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/own.h"
#include "enforcer/kept.h"
#include "enforcer/policy.h"
#include "harness.h"

enum { ETH_IP = 0x800, ETH_ARP = 0x806, ETH_IP6 = 0x86dd, EAPOL = 0x888e, LLDP = 0x88cc };
enum { ICMP = 1, IGMP = 2, TCP = 6, UDP = 17, GRE = 47, ICMP6 = 58 };
enum { SYN = 2, ACK = 0x10, SYN_ACK = 0x12 };

#define ANY 0, 65535
#define ENFORCE GW_POLICY_ENFORCE
#define FROM GW_FROM_DEVICE
#define TO GW_TO_DEVICE
#define IN AT_XDP
#define OUT AT_TC_OUT
#define HERE "198.51.100.7" /* of somebody */
#define HERE6 "2a00::7"

static struct gw_kernel k;

static void setup(void)
{
    struct gw_hwaddr nets[] = {address("192.0.2.0/24"), address("2001:db8::/64")};
    const struct gw_addresses locals = {nets, GW_COUNT(nets), 0};

    harness_open(&k, 512);
    own_addresses(&k);
    known(&k, DEVICE);
    cr_assert_eq(gw_kernel_locals(&k, &locals), 0);
}

static void teardown(void)
{
    gw_kernel_close(&k);
}

TestSuite(policies, .init = setup, .fini = teardown);

/* ---- packets ---- */

/* Of DEVICE and another, as the device sees it. */
struct packet {
    enum program at;
    const char *peer;
    uint8_t protocol;
    uint16_t own, other; /* ports; of ICMP: its type in `own` */
    uint8_t flags;       /* of TCP */
};

static bool is_out(const struct packet *p)
{
    return p->at == AT_TC_OUT;
}

static void network(struct frame *f, const struct packet *p, uint16_t later)
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

static void transport(struct frame *f, const struct packet *p)
{
    size_t start = f->len;

    if (p->protocol == ICMP || p->protocol == ICMP6)
        ports(f, (uint16_t)(p->own << 8), 0);
    else
        ports(f, is_out(p) ? p->other : p->own, is_out(p) ? p->own : p->other);
    if (p->protocol == TCP)
        f->bytes[start + 13] = p->flags;
}

static struct frame frame_of(const struct packet *p)
{
    struct frame f = {0};

    network(&f, p, 0);
    transport(&f, p);
    return f;
}

static bool passes_as(const struct packet *p)
{
    struct frame f = frame_of(p);

    return passes(&k, p->at, &f);
}

static void repeat(const struct packet *p, unsigned times)
{
    struct frame f = frame_of(p);

    for (unsigned i = 0; i < times; i++)
        cr_assert(passes(&k, p->at, &f));
}

/* At both places where it could be caught on its way from the device. */
static void expect_passes(const struct packet *p, bool wanted, const char *name)
{
    struct packet in = *p;

    cr_expect_eq(passes_as(p), wanted, "%s", name);
    in.at = AT_TC_IN;
    if (p->at == AT_XDP)
        cr_expect_eq(passes_as(&in), wanted, "%s (tc)", name);
}

/* ---- policies ---- */

static void give(struct gw_kernel *to, const struct gw_hwaddr *a, uint16_t number,
                 enum gw_verdict_mode mode)
{
    struct gw_verdict_record v = {.address = *a, .mode = (uint8_t)mode, .policy = number};

    cr_assert_eq(gw_verdict_set(to, &v, 1), 0);
}

static void give_device(uint16_t number, enum gw_verdict_mode mode)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[DEVICE]);

    give(&k, &mac, number, mode);
}

static void set(const struct gw_policy *p)
{
    cr_assert_eq(gw_policy_set(&k, p, 1), 0);
}

/* Nothing passes but what always does. */
static struct gw_policy closed(uint16_t number)
{
    return (struct gw_policy){.number = number, .flags = ENFORCE};
}

static void add_rule(struct gw_policy *p, uint8_t direction, uint8_t protocol, uint16_t peer_min,
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

/* ---- rules ---- */

/* One rule, for any peer, and whether it lets a packet pass. */
static const struct {
    const char *name;
    struct gw_policy_rule rule;
    struct packet packet;
    bool passes;
} rules[] = {
    {"any", {FROM, 0, 0, 0, ANY, ANY}, {IN, HERE, UDP, 9, 9, 0}, true},
    {"any over IPv6", {FROM, 0, 0, 0, ANY, ANY}, {IN, HERE6, UDP, 9, 9, 0}, true},
    {"any to it", {TO, 0, 0, 0, ANY, ANY}, {OUT, HERE, UDP, 9, 9, 0}, true},
    {"from it is not to it", {FROM, 0, 0, 0, ANY, ANY}, {OUT, HERE, UDP, 9, 9, 0}, false},
    {"to it is not from it", {TO, 0, 0, 0, ANY, ANY}, {IN, HERE, UDP, 9, 9, 0}, false},
    {"IPv4", {FROM, 0, GW_ADDR_IPV4, 0, ANY, ANY}, {IN, HERE, UDP, 9, 9, 0}, true},
    {"IPv4 is not IPv6", {FROM, 0, GW_ADDR_IPV4, 0, ANY, ANY}, {IN, HERE6, UDP, 9, 9, 0}, false},
    {"IPv6", {FROM, 0, GW_ADDR_IPV6, 0, ANY, ANY}, {IN, HERE6, UDP, 9, 9, 0}, true},
    {"IPv6 is not IPv4", {FROM, 0, GW_ADDR_IPV6, 0, ANY, ANY}, {IN, HERE, UDP, 9, 9, 0}, false},
    {"TCP", {FROM, TCP, 0, 0, ANY, ANY}, {IN, HERE, TCP, 9, 9, SYN}, true},
    {"TCP is not UDP", {FROM, TCP, 0, 0, ANY, ANY}, {IN, HERE, UDP, 9, 9, 0}, false},
    {"UDP is not TCP", {FROM, UDP, 0, 0, ANY, ANY}, {IN, HERE, TCP, 9, 9, ACK}, false},
    {"GRE", {FROM, GRE, 0, 0, ANY, ANY}, {IN, HERE, GRE, 0, 0, 0}, true},
    {"GRE has no ports", {FROM, GRE, 0, 0, ANY, 1, 65535}, {IN, HERE, GRE, 7, 7, 0}, false},
    {"any protocol with ports is not GRE",
     {FROM, 0, 0, 0, 0, 65534, ANY},
     {IN, HERE, GRE, 7, 7, 0},
     false},
    {"its first port", {FROM, UDP, 0, 0, ANY, 100, 200}, {IN, HERE, UDP, 9, 100, 0}, true},
    {"its last port", {FROM, UDP, 0, 0, ANY, 100, 200}, {IN, HERE, UDP, 9, 200, 0}, true},
    {"below its ports", {FROM, UDP, 0, 0, ANY, 100, 200}, {IN, HERE, UDP, 150, 99, 0}, false},
    {"above its ports", {FROM, UDP, 0, 0, ANY, 100, 200}, {IN, HERE, UDP, 150, 201, 0}, false},
    {"its ports over IPv6", {FROM, TCP, 0, 0, ANY, 100, 200}, {IN, HERE6, TCP, 9, 150, SYN}, true},
    {"beside its ports over IPv6",
     {FROM, TCP, 0, 0, ANY, 100, 200},
     {IN, HERE6, TCP, 150, 99, SYN},
     false},
    {"own port", {FROM, UDP, 0, 0, 100, 200, ANY}, {IN, HERE, UDP, 100, 9, 0}, true},
    {"another own port", {FROM, UDP, 0, 0, 100, 200, ANY}, {IN, HERE, UDP, 99, 100, 0}, false},
    {"own port, to it", {TO, UDP, 0, 0, 100, 200, ANY}, {OUT, HERE, UDP, 200, 9, 0}, true},
    {"another own port, to it",
     {TO, UDP, 0, 0, 100, 200, ANY},
     {OUT, HERE, UDP, 201, 100, 0},
     false},
    {"peer's port, to it", {TO, UDP, 0, 0, ANY, 100, 200}, {OUT, HERE, UDP, 9, 100, 0}, true},
    {"another of the peer's, to it",
     {TO, UDP, 0, 0, ANY, 100, 200},
     {OUT, HERE, UDP, 100, 9, 0},
     false},
    {"port 0", {FROM, UDP, 0, 0, ANY, 0, 0}, {IN, HERE, UDP, 9, 0, 0}, true},
    {"port 65535", {FROM, UDP, 0, 0, ANY, 65535, 65535}, {IN, HERE, UDP, 9, 65535, 0}, true},
    {"not opened by it", {FROM, TCP, 0, 1, ANY, ANY}, {IN, HERE, TCP, 9, 9, SYN}, false},
    {"opened and odd", {FROM, TCP, 0, 1, ANY, ANY}, {IN, HERE, TCP, 9, 9, SYN | 0xc1}, false},
    {"answered by it", {FROM, TCP, 0, 1, ANY, ANY}, {IN, HERE, TCP, 9, 9, SYN_ACK}, true},
    {"went on", {FROM, TCP, 0, 1, ANY, ANY}, {IN, HERE, TCP, 9, 9, ACK}, true},
    {"not opened to it", {TO, TCP, 0, 1, ANY, ANY}, {OUT, HERE6, TCP, 9, 9, SYN}, false},
    {"answered to it", {TO, TCP, 0, 1, ANY, ANY}, {OUT, HERE6, TCP, 9, 9, SYN_ACK}, true},
    {"opened by it, when it may", {FROM, TCP, 0, 0, ANY, ANY}, {IN, HERE6, TCP, 9, 9, SYN}, true},
    {"UDP opens nothing", {FROM, UDP, 0, 1, ANY, ANY}, {IN, HERE, UDP, 9, 9, 0}, true},
    {"echo", {FROM, ICMP, 0, 0, 8, 8, ANY}, {IN, HERE, ICMP, 8, 0, 0}, true},
    {"a timestamp is not echo", {FROM, ICMP, 0, 0, 8, 8, ANY}, {IN, HERE, ICMP, 13, 0, 0}, false},
    {"an echo's answer", {TO, ICMP, 0, 0, 0, 0, ANY}, {OUT, HERE, ICMP, 0, 0, 0}, true},
    {"an echo is no answer", {TO, ICMP, 0, 0, 0, 0, ANY}, {OUT, HERE, ICMP, 8, 0, 0}, false},
    {"any ICMP", {FROM, ICMP, 0, 0, ANY, ANY}, {IN, HERE, ICMP, 13, 0, 0}, true},
    {"echo over IPv6", {FROM, ICMP6, 0, 0, 128, 129, ANY}, {IN, HERE6, ICMP6, 128, 0, 0}, true},
    {"node information is not echo",
     {FROM, ICMP6, 0, 0, 128, 129, ANY},
     {IN, HERE6, ICMP6, 139, 0, 0},
     false},
};

Test(policies, a_rule_lets_pass_what_it_says)
{
    give_device(1, GW_MODE_NONE);
    for (size_t i = 0; i < GW_COUNT(rules); i++) {
        struct gw_policy p = closed(1);

        set(&p);
        expect_passes(&rules[i].packet, false, rules[i].name);
        p.rules[p.rule_count++] = rules[i].rule;
        p.any = 1;
        set(&p);
        expect_passes(&rules[i].packet, rules[i].passes, rules[i].name);
    }
}

/* The other end of a rule, and whether it holds for a peer. */
static const struct {
    const char *name, *whom, *peer;
    bool passes;
} ends[] = {
    {"a local peer", "local", "192.0.2.99", true},
    {"a local peer over IPv6", "local", "2001:db8::99", true},
    {"multicast is local", "local", "239.255.255.250", true},
    {"multicast over IPv6 is local", "local", "ff02::fb", true},
    {"broadcast is local", "local", "255.255.255.255", true},
    {"240.0.0.1 is not local", "local", "240.0.0.1", false},
    {"the internet is not local", "local", "192.0.3.99", false},
    {"nor over IPv6", "local", "2001:db8:0:1::99", false},
    {"the gateway", "gateway", "192.0.2.1", true},
    {"the gateway over IPv6", "gateway", "2001:db8::1", true},
    {"another is not the gateway", "gateway", "192.0.2.20", false},
    {"a host", "198.51.100.7", "198.51.100.7", true},
    {"another host", "198.51.100.7", "198.51.100.8", false},
    {"a host over IPv6", "2a00::7", "2a00::7", true},
    {"another over IPv6", "2a00::7", "2a00:0:0:1::7", false},
    {"first of a network", "198.51.100.64/26", "198.51.100.64", true},
    {"last of a network", "198.51.100.64/26", "198.51.100.127", true},
    {"before a network", "198.51.100.64/26", "198.51.100.63", false},
    {"behind a network", "198.51.100.64/26", "198.51.100.128", false},
    {"everybody's network", "0.0.0.0/0", "198.51.100.7", true},
    {"is not IPv6", "0.0.0.0/0", "2a00::7", false},
    {"a network over IPv6", "2a00:1::/33", "2a00:1:7fff::7", true},
    {"behind one over IPv6", "2a00:1::/33", "2a00:1:8000::7", false},
    {"a group", "224.0.0.251", "224.0.0.251", true},
};

/* Two rules, one each way, for "local", "gateway" or a peer. */
static void set_for(const char *whom)
{
    struct gw_policy_peer peer = {.rules = 3};
    struct gw_policy p = closed(1);

    add_rule(&p, FROM, UDP, 0, 65535);
    add_rule(&p, TO, UDP, 0, 65535);
    if (strcmp(whom, "local") == 0)
        p.local = 3;
    else if (strcmp(whom, "gateway") == 0)
        p.gateway = 3;
    else
        peer.address = address(whom);
    p.peers = &peer;
    p.peer_count = peer.address.kind != 0;
    set(&p);
}

Test(policies, a_rule_is_for_its_other_end)
{
    give_device(1, GW_MODE_NONE);
    for (size_t i = 0; i < GW_COUNT(ends); i++) {
        struct packet in = {IN, ends[i].peer, UDP, 9, 9, 0}, out = in;

        out.at = OUT;
        set_for(ends[i].whom);
        expect_passes(&in, ends[i].passes, ends[i].name);
        expect_passes(&out, ends[i].passes, ends[i].name);
    }
}

Test(policies, networks_in_networks_add_up)
{
    static const char *const names[] = {"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3",
                                        "2a00::/16",  "2a00:1::/32", "2a00:1::/64", "2a00:1::3"};
    static const struct {
        const char *peer;
        unsigned open; /* so many of the ports from 80 on */
    } rows[] = {{"10.1.2.3", 4},  {"10.1.2.4", 3},  {"10.1.9.3", 2},  {"10.9.2.3", 1},
                {"11.1.2.3", 0},  {"2a00:1::3", 4}, {"2a00:1::4", 3}, {"2a00:1:0:1::3", 2},
                {"2a00:2::3", 1}, {"2a01:1::3", 0}};
    struct gw_policy_peer peers[GW_COUNT(names)];
    struct gw_policy p = closed(1);

    for (size_t i = 0; i < GW_COUNT(names); i++) /* the longest first, too */
        peers[i] = (struct gw_policy_peer){address(names[i]), 1ULL << i % 4};
    for (uint16_t i = 0; i < 4; i++)
        add_rule(&p, FROM, TCP, (uint16_t)(80 + i), (uint16_t)(80 + i));
    p.peers = peers;
    p.peer_count = GW_COUNT(peers);
    give_device(1, GW_MODE_NONE);
    for (int turn = 0; turn < 2; turn++) {
        set(&p);
        for (size_t i = 0; i < GW_COUNT(rows); i++) {
            for (uint16_t port = 0; port < 4; port++) {
                struct packet to = {IN, rows[i].peer, TCP, 9, (uint16_t)(80 + port), SYN};

                cr_expect_eq(passes_as(&to), port < rows[i].open, "%s, %u", rows[i].peer, port);
            }
        }
        for (size_t i = 0; i < GW_COUNT(peers) / 2; i++) { /* in the other order */
            struct gw_policy_peer swap = peers[i];

            peers[i] = peers[GW_COUNT(peers) - 1 - i];
            peers[GW_COUNT(peers) - 1 - i] = swap;
        }
    }
}

Test(policies, a_peer_twice_is_for_both_rules)
{
    struct gw_policy_peer peers[] = {{address("10.1.2.3"), 1}, {address("10.1.2.3"), 2}};
    struct gw_policy p = closed(1);

    add_rule(&p, FROM, TCP, 80, 80);
    add_rule(&p, FROM, TCP, 81, 81);
    p.peers = peers;
    p.peer_count = GW_COUNT(peers);
    set(&p);
    give_device(1, GW_MODE_NONE);
    cr_expect(passes_as(&(struct packet){IN, "10.1.2.3", TCP, 9, 80, SYN}));
    cr_expect(passes_as(&(struct packet){IN, "10.1.2.3", TCP, 9, 81, SYN}));
}

Test(policies, every_one_of_64_rules_holds)
{
    struct gw_policy_peer peer = {address(HERE), 1ULL << 63 | 1};
    struct gw_policy p = closed(1);

    for (uint16_t i = 0; i < GW_POLICY_RULES_MAX; i++)
        add_rule(&p, FROM, UDP, (uint16_t)(1000 + i), (uint16_t)(1000 + i));
    p.any = UINT64_MAX;
    set(&p);
    give_device(1, GW_MODE_NONE);
    for (uint16_t port = 999; port <= 1000 + GW_POLICY_RULES_MAX; port++) {
        struct packet to = {IN, HERE, UDP, 9, port, 0};

        cr_expect_eq(passes_as(&to), port >= 1000 && port < 1000 + GW_POLICY_RULES_MAX, "%u", port);
    }
    p.any = 0;
    p.peers = &peer;
    p.peer_count = 1;
    set(&p);
    for (uint16_t port = 1000; port < 1000 + GW_POLICY_RULES_MAX; port++) {
        struct packet to = {IN, HERE, UDP, 9, port, 0};

        cr_expect_eq(passes_as(&to), port == 1000 || port == 1063, "%u of a peer", port);
    }
}

Test(policies, another_policys_peers_are_not_its_own)
{
    struct gw_policy_peer host = {address(HERE), 1}, net = {address("203.0.113.0/24"), 1};
    struct gw_policy one = closed(1), two = closed(2);

    add_rule(&one, FROM, UDP, 0, 65535);
    one.peers = &host;
    one.peer_count = 1;
    add_rule(&two, FROM, UDP, 0, 65535);
    two.peers = &net;
    two.peer_count = 1;
    set(&one);
    set(&two);
    for (uint16_t number = 1; number <= 2; number++) {
        give_device(number, GW_MODE_NONE);
        cr_expect_eq(passes_as(&(struct packet){IN, HERE, UDP, 9, 9, 0}), number == 1);
        cr_expect_eq(passes_as(&(struct packet){IN, "203.0.113.9", UDP, 9, 9, 0}), number == 2);
    }
}

/* It shows no ports: the peer and the protocol decide. */
Test(policies, a_later_fragment_goes_where_its_first_one_may)
{
    static const struct {
        const char *name;
        struct packet packet;
        bool passes;
    } rows[] = {
        {"to the peer", {IN, HERE, UDP, 0, 0, 0}, true},
        {"to another", {IN, "198.51.100.8", UDP, 0, 0, 0}, false},
        {"of another protocol", {IN, HERE, TCP, 0, 0, 0}, false},
        {"the other way", {OUT, HERE, UDP, 0, 0, 0}, false},
        {"to the peer over IPv6", {IN, HERE6, UDP, 0, 0, 0}, true},
        {"to another over IPv6", {IN, "2a00::8", UDP, 0, 0, 0}, false},
        {"of another protocol over IPv6", {IN, HERE6, TCP, 0, 0, 0}, false},
        {"the other way over IPv6", {OUT, HERE6, UDP, 0, 0, 0}, false},
    };
    struct gw_policy_peer peers[] = {{address(HERE), 1}, {address(HERE6), 1}};
    struct gw_policy p = closed(1);

    add_rule(&p, FROM, UDP, 5683, 5683);
    p.peers = peers;
    p.peer_count = GW_COUNT(peers);
    set(&p);
    give_device(1, GW_MODE_NONE);
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        struct frame f = {0};

        network(&f, &rows[i].packet, 100);
        filler(&f, 64);
        cr_expect_eq(passes(&k, rows[i].packet.at, &f), rows[i].passes, "%s", rows[i].name);
    }
}

Test(policies, a_chain_without_an_end_matches_only_a_rule_for_everything)
{
    struct packet to = {IN, HERE6, 0, 0, 0, 0};
    struct gw_policy p = closed(1);
    struct frame f = {0};

    network(&f, &to, 0);
    for (int i = 0; i < 20; i++)
        extension(&f, 60, 0);
    add_rule(&p, FROM, UDP, 0, 65535);
    p.any = 1;
    set(&p);
    give_device(1, GW_MODE_NONE);
    cr_expect_not(passes(&k, AT_XDP, &f), "UDP");
    p.rules[0].protocol = 0;
    p.rules[0].peer_min = 1;
    set(&p);
    cr_expect_not(passes(&k, AT_XDP, &f), "ports");
    p.rules[0].peer_min = 0;
    set(&p);
    cr_expect(passes(&k, AT_XDP, &f), "everything");
}

Test(policies, ports_behind_options_and_extension_headers_are_found)
{
    struct gw_policy p = closed(1);

    add_rule(&p, FROM, UDP, 53, 53);
    p.any = 1;
    set(&p);
    give_device(1, GW_MODE_NONE);
    for (uint16_t port = 53; port <= 54; port++) {
        struct frame f = {0};

        eth(&f, DEVICE, OTHER, ETH_IP);
        ipv4_options(&f, DEVICE, OTHER, UDP);
        ports(&f, 999, port);
        cr_expect_eq(passes(&k, AT_XDP, &f), port == 53, "options, %u", port);
        eth(&f, DEVICE, OTHER, ETH_IP6);
        ipv6(&f, DEVICE, OTHER, 0);
        extension(&f, 44, 1);
        fragment(&f, UDP, 0);
        ports(&f, 999, port);
        cr_expect_eq(passes(&k, AT_XDP, &f), port == 53, "a first fragment, %u", port);
        eth(&f, DEVICE, OTHER, 0x8100);
        tag(&f, ETH_IP);
        ipv4(&f, DEVICE, OTHER, UDP);
        ports(&f, 999, port);
        cr_expect_eq(passes(&k, AT_XDP, &f), port == 53, "a tag, %u", port);
    }
}

/* ---- what always passes ---- */

/* One rule names 203.0.113.9 and 2a00::9. */
static const struct {
    const char *name;
    struct packet packet;
    bool passes;
} housekeeping[] = {
    {"unreachable to a named peer", {IN, "203.0.113.9", ICMP, 3, 0, 0}, true},
    {"unreachable from a named peer", {OUT, "203.0.113.9", ICMP, 3, 0, 0}, true},
    {"time exceeded to a named peer", {IN, "203.0.113.9", ICMP, 11, 0, 0}, true},
    {"a bad parameter to a named peer", {IN, "203.0.113.9", ICMP, 12, 0, 0}, true},
    {"echo to a named peer", {IN, "203.0.113.9", ICMP, 8, 0, 0}, false},
    {"a redirect to a named peer", {IN, "203.0.113.9", ICMP, 5, 0, 0}, false},
    {"unreachable to somebody", {IN, HERE, ICMP, 3, 0, 0}, false},
    {"unreachable from somebody", {OUT, HERE, ICMP, 3, 0, 0}, false},
    {"time exceeded to somebody", {IN, HERE, ICMP, 11, 0, 0}, false},
    {"unreachable to a named peer, IPv6", {IN, "2a00::9", ICMP6, 1, 0, 0}, true},
    {"too big from a named peer, IPv6", {OUT, "2a00::9", ICMP6, 2, 0, 0}, true},
    {"a bad parameter to a named peer, IPv6", {IN, "2a00::9", ICMP6, 4, 0, 0}, true},
    {"echo to a named peer, IPv6", {IN, "2a00::9", ICMP6, 128, 0, 0}, false},
    {"type 5 to a named peer, IPv6", {IN, "2a00::9", ICMP6, 5, 0, 0}, false},
    {"unreachable to somebody, IPv6", {IN, HERE6, ICMP6, 1, 0, 0}, false},
    {"too big from somebody, IPv6", {OUT, HERE6, ICMP6, 2, 0, 0}, false},
    {"a router is asked for", {IN, "ff02::2", ICMP6, 133, 0, 0}, true},
    {"a neighbour is asked for", {IN, "ff02::1:ff00:20", ICMP6, 135, 0, 0}, true},
    {"a neighbour asks", {OUT, "2001:db8::20", ICMP6, 135, 0, 0}, true},
    {"a neighbour is answered", {IN, "2001:db8::20", ICMP6, 136, 0, 0}, true},
    {"a neighbour answers", {OUT, "2001:db8::20", ICMP6, 136, 0, 0}, true},
    {"discovery with somebody far away", {IN, HERE6, ICMP6, 136, 0, 0}, false},
    {"discovery from somebody far away", {OUT, HERE6, ICMP6, 137, 0, 0}, false},
    {"groups are asked for", {OUT, "2001:db8::20", ICMP6, 130, 0, 0}, true},
    {"a group is joined, MLDv1", {IN, "ff02::fb", ICMP6, 131, 0, 0}, true},
    {"a group is left, MLDv1", {IN, "ff02::2", ICMP6, 132, 0, 0}, true},
    {"groups are told, MLDv2", {IN, "ff02::16", ICMP6, 143, 0, 0}, true},
    {"groups are told far away", {IN, HERE6, ICMP6, 143, 0, 0}, false},
    {"groups are told, IGMP", {IN, "224.0.0.22", IGMP, 0x2200, 0, 0}, true},
    {"groups are asked for, IGMP", {OUT, "192.0.2.20", IGMP, 0x1100, 0, 0}, true},
    {"IGMP far away", {IN, HERE, IGMP, 0x2200, 0, 0}, false},
    {"node information on the link", {IN, "ff02::1", ICMP6, 139, 0, 0}, false},
};

static void set_named_peers(void)
{
    struct gw_policy_peer peers[] = {{address("203.0.113.9"), 1}, {address("2a00::9"), 1}};
    struct gw_policy p = closed(1);

    add_rule(&p, FROM, TCP, 443, 443);
    p.peers = peers;
    p.peer_count = GW_COUNT(peers);
    set(&p);
    give_device(1, GW_MODE_NONE);
}

Test(policies, housekeeping_passes_where_it_belongs)
{
    set_named_peers();
    for (size_t i = 0; i < GW_COUNT(housekeeping); i++)
        expect_passes(&housekeeping[i].packet, housekeeping[i].passes, housekeeping[i].name);
}

Test(policies, a_later_fragment_is_no_housekeeping)
{
    struct packet rows[] = {{IN, "203.0.113.9", ICMP, 3, 0, 0}, {IN, "2a00::9", ICMP6, 1, 0, 0}};

    set_named_peers();
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        struct frame f = {0};

        network(&f, &rows[i], 100);
        transport(&f, &rows[i]);
        cr_expect_not(passes(&k, AT_XDP, &f), "%zu", i);
    }
}

Test(policies, repair_and_arp_pass)
{
    static const struct {
        const char *name;
        enum who to;
        uint16_t own, other;
        bool six, passes;
    } rows[] = {
        {"DHCP", ALL, 68, 67, false, true},
        {"DHCPv6", ALL, 546, 547, true, true},
        {"a DHCP server of its own", ALL, 67, 68, false, false},
        {"DNS", GATEWAY, 999, 53, false, true},
        {"CoAP", GATEWAY, 999, 5684, true, true},
        {"the gateway's ssh", GATEWAY, 999, 22, false, false},
        {"DNS elsewhere", OTHER, 999, 53, false, false},
    };
    struct gw_policy p = closed(1);
    struct frame f = {0};

    set(&p);
    give_device(1, GW_MODE_NONE);
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        eth(&f, DEVICE, rows[i].to, rows[i].six ? ETH_IP6 : ETH_IP);
        if (rows[i].six)
            ipv6(&f, DEVICE, rows[i].to, UDP);
        else
            ipv4(&f, DEVICE, rows[i].to, UDP);
        ports(&f, rows[i].own, rows[i].other);
        cr_expect_eq(passes(&k, AT_XDP, &f), rows[i].passes, "%s", rows[i].name);
    }
    eth(&f, DEVICE, ALL, ETH_ARP);
    arp(&f, 1, DEVICE, DEVICE, NOBODY, OTHER);
    cr_expect(passes(&k, AT_XDP, &f), "ARP from it");
    eth(&f, OTHER, DEVICE, ETH_ARP);
    arp(&f, 2, OTHER, OTHER, DEVICE, DEVICE);
    cr_expect(passes(&k, AT_TC_OUT, &f), "ARP to it");
}

Test(policies, other_kinds_depart)
{
    static const struct {
        const char *name;
        uint8_t to[6];
        uint16_t type;
        bool passes;
    } rows[] = {
        {"LLDP", {1, 0x80, 0xc2, 0, 0, 0xe}, LLDP, false},
        {"EAPOL to the port", {1, 0x80, 0xc2, 0, 0, 3}, EAPOL, true},
        {"EAPOL to the gateway", {2, 0, 0, 0, 0, 0xfe}, EAPOL, true},
        {"EAPOL to somebody", {2, 0, 0, 0, 0, 2}, EAPOL, false},
        {"LLC", {2, 0, 0, 0, 0, 2}, 40, false},
    };
    struct gw_policy p = closed(1);
    struct frame f = {0};

    set(&p);
    give_device(1, GW_MODE_NONE);
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        eth(&f, DEVICE, OTHER, rows[i].type);
        memcpy(f.bytes, rows[i].to, 6);
        filler(&f, 50);
        cr_expect_eq(passes(&k, AT_XDP, &f), rows[i].passes, "%s", rows[i].name);
        cr_expect_eq(passes(&k, AT_TC_IN, &f), rows[i].passes, "%s (tc)", rows[i].name);
    }
}

/* ---- whose policy, and under which verdict ---- */

static const struct {
    const char *name;
    unsigned flags;
    enum gw_verdict_mode mode;
    bool passes;
} modes[] = {
    {"only limits", 0, GW_MODE_NONE, true},
    {"learned", GW_POLICY_LEARN, GW_MODE_NONE, true},
    {"reported", GW_POLICY_REPORT, GW_MODE_NONE, true},
    {"enforced", GW_POLICY_ENFORCE, GW_MODE_NONE, false},
    {"reported and enforced", GW_POLICY_REPORT | GW_POLICY_ENFORCE, GW_MODE_NONE, false},
    {"learned and enforced", GW_POLICY_LEARN | GW_POLICY_ENFORCE, GW_MODE_NONE, false},
    {"enforced, but observed", GW_POLICY_ENFORCE, GW_MODE_OBSERVE, true},
    {"reported and isolated", GW_POLICY_REPORT, GW_MODE_ISOLATE, false},
    {"reported and in remediation", GW_POLICY_REPORT, GW_MODE_REMEDIATE, false},
};

Test(policies, are_reported_or_enforced)
{
    for (size_t i = 0; i < GW_COUNT(modes); i++) {
        struct gw_policy p = {.number = 1, .flags = modes[i].flags};

        set(&p);
        give_device(1, modes[i].mode);
        expect_passes(&(struct packet){IN, HERE, UDP, 9, 9, 0}, modes[i].passes, modes[i].name);
        expect_passes(&(struct packet){OUT, HERE6, TCP, 9, 9, SYN}, modes[i].passes, modes[i].name);
    }
}

static uint64_t dropped(const struct gw_hwaddr *a)
{
    uint32_t slot = gw_table_find(&k.table, a);
    struct gw_traffic t;

    cr_assert_neq(slot, GW_SLOT_NONE);
    gw_table_traffic(&k.table, slot, &t);
    return t.dropped_packets;
}

Test(policies, the_macs_comes_before_the_ips)
{
    static const struct {
        const char *name;
        uint16_t mac, ipv4, ipv6; /* 1: closed, 2: open, 0: none */
        bool four, six;           /* pass */
        bool by_mac;              /* is counted what is dropped */
    } rows[] = {
        {"none", 0, 0, 0, true, true, false},
        {"the MAC's", 1, 0, 0, false, false, true},
        {"the IPv4 address's", 0, 1, 0, false, true, false},
        {"the IPv6 address's", 0, 0, 1, true, false, false},
        {"an open one of the MAC", 2, 1, 1, true, true, true},
        {"a closed one of the MAC", 1, 2, 2, false, false, true},
    };
    struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[DEVICE]);
    struct gw_hwaddr four = gw_hwaddr_ipv4(ipv4_of_who[DEVICE]);
    struct gw_hwaddr six = gw_hwaddr_ipv6(ipv6_of_who[DEVICE]);
    struct gw_policy shut = closed(1), open_one = closed(2);

    add_rule(&open_one, FROM, 0, 0, 65535);
    add_rule(&open_one, TO, 0, 0, 65535);
    open_one.any = 3;
    set(&shut);
    set(&open_one);
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        uint64_t before, drops = rows[i].four ? 0 : 3; /* both ways, one of them twice */

        give(&k, &mac, rows[i].mac, GW_MODE_NONE);
        give(&k, &four, rows[i].ipv4, GW_MODE_NONE);
        give(&k, &six, rows[i].ipv6, GW_MODE_NONE);
        known(&k, DEVICE);
        before = dropped(rows[i].by_mac ? &mac : &four);
        expect_passes(&(struct packet){IN, HERE, UDP, 9, 9, 0}, rows[i].four, rows[i].name);
        expect_passes(&(struct packet){OUT, HERE, UDP, 9, 9, 0}, rows[i].four, rows[i].name);
        cr_expect_eq(dropped(rows[i].by_mac ? &mac : &four) - before, drops, "%s", rows[i].name);
        expect_passes(&(struct packet){IN, HERE6, UDP, 9, 9, 0}, rows[i].six, rows[i].name);
        expect_passes(&(struct packet){OUT, HERE6, UDP, 9, 9, 0}, rows[i].six, rows[i].name);
    }
}

/* Somebody who only asks whether an address is free is not yet whoever has it. */
Test(policies, a_probe_selects_none)
{
    struct gw_hwaddr four = gw_hwaddr_ipv4(ipv4_of_who[DEVICE]);
    struct gw_hwaddr six = gw_hwaddr_ipv6(ipv6_of_who[DEVICE]);
    struct gw_policy p = {.number = 1, .packets_per_s = 1};
    struct frame four_probe = {0}, six_probe = {0};

    set(&p);
    give(&k, &four, 1, GW_MODE_NONE);
    give(&k, &six, 1, GW_MODE_NONE);
    eth(&four_probe, OTHER, ALL, ETH_ARP);
    arp(&four_probe, 1, OTHER, NOBODY, NOBODY, DEVICE);
    eth(&six_probe, OTHER, ALL, ETH_IP6);
    ipv6(&six_probe, NOBODY, ALL, ICMP6);
    discovery(&six_probe, 135, DEVICE, 0, NOBODY);
    for (int i = 0; i < 10; i++) {
        cr_expect(passes(&k, AT_XDP, &four_probe), "ARP, %d", i);
        cr_expect(passes(&k, AT_XDP, &six_probe), "a solicitation, %d", i);
    }
}

/* ---- changes ---- */

#define CHANGES 2000    /* at least, */
#define CHANGES_MS 3000 /* and for as long: that a packet falls between two steps is rare */
#define RUN 100         /* packets in a row */

/* Two that both let one packet pass, each in another way. */
struct change {
    struct gw_policy policy[2];
    struct gw_policy_peer peers[2][2];
    atomic_bool done;
    int err;
};

static void *replace(void *owner)
{
    uint64_t until_ms = gw_clock_mono_ms() + CHANGES_MS;
    struct change *c = owner;

    for (int i = 0; !c->err && (i < CHANGES || gw_clock_mono_ms() < until_ms); i++)
        c->err = gw_policy_set(&k, &c->policy[i % 2], 1);
    c->done = true;
    return NULL;
}

static void prepare(struct change *c)
{
    for (size_t which = 0; which < 2; which++) {
        struct gw_policy *p = &c->policy[which];

        *p = closed(1);
        for (uint8_t i = 0; i < GW_COUNT(c->peers[0]); i++)
            c->peers[which][i] = (struct gw_policy_peer){
                gw_hwaddr_ipv4((const uint8_t[]){10, (uint8_t)which, 0, i}), 1ULL << which};
        if (which == 1)
            add_rule(p, FROM, TCP, 1, 2); /* so that the bits differ, too */
        add_rule(p, FROM, UDP, 443, 443);
        p->peers = c->peers[which];
        p->peer_count = GW_COUNT(c->peers[which]);
    }
    c->peers[0][1].address = address("198.51.100.0/24");
    c->peers[1][1].address = address("198.51.0.0/16");
}

Test(policies, no_packet_meets_half_a_change)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[DEVICE]);
    struct packet packet = {IN, HERE, UDP, 9, 443, 0};
    struct frame f = frame_of(&packet);
    static struct change c;
    uint64_t runs = 0, before;
    pthread_t thread;

    prepare(&c);
    for (int i = 0; i < 2; i++) {
        set(&c.policy[i]);
        give_device(1, GW_MODE_NONE);
        cr_assert(passes_as(&packet), "%d", i);
        cr_assert_not(passes_as(&(struct packet){IN, "192.0.2.77", UDP, 9, 443, 0}), "%d", i);
    }
    before = dropped(&mac);
    cr_assert_eq(pthread_create(&thread, NULL, replace, &c), 0);
    while (!c.done) {
        uint32_t verdict;

        cr_assert_geq(run_ns(program_fd(&k, AT_TC_IN), &f, RUN, &verdict), 0);
        runs++;
    }
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(c.err, 0, "%d", c.err);
    cr_expect_gt(runs, 100, "%lu", runs);
    cr_expect_eq(dropped(&mac), before, "%lu of %lu", dropped(&mac) - before, runs * RUN);
}

Test(policies, a_change_holds_for_the_next_packet)
{
    struct packet packet = {IN, HERE, UDP, 9, 9, 0};
    struct gw_policy_peer peer = {address(HERE), 1};
    struct gw_policy p = closed(1), other = closed(1);

    add_rule(&p, FROM, UDP, 0, 65535);
    p.peers = &peer;
    p.peer_count = 1;
    give_device(1, GW_MODE_NONE);
    for (int i = 0; i < 5; i++) {
        set(&p);
        cr_expect(passes_as(&packet), "%d", i);
        set(&other);
        cr_expect_not(passes_as(&packet), "%d", i);
    }
}

Test(policies, a_number_beyond_the_tables_is_refused)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[DEVICE]);
    struct packet packet = {IN, HERE, UDP, 9, 9, 0};
    uint16_t last = (uint16_t)(k.table.state->policies - 1);
    struct gw_verdict_record v = {.address = mac, .policy = (uint16_t)(last + 1)};
    struct gw_policy p = closed(last);

    cr_assert_lt(k.table.state->policies, GW_POLICIES_MAX);
    set(&p);
    give_device(last, GW_MODE_NONE);
    cr_assert_not(passes_as(&packet));
    p.number++;
    cr_expect_eq(gw_policy_set(&k, &p, 1), GW_EFULL);
    p.number = GW_POLICIES_MAX;
    cr_expect_eq(gw_policy_set(&k, &p, 1), GW_EFULL);
    cr_expect_eq(gw_verdict_set(&k, &v, 1), GW_EFULL);
    cr_expect_not(passes_as(&packet), "the old one stays");
    gw_policy_end(&k, (uint16_t)(last + 1)); /* nobody's */
    gw_policy_end(&k, 0);
    cr_expect_not(passes_as(&packet), "still");
}

/* The i-th network of 256 addresses in 11.0.0.0/8. */
static struct gw_hwaddr net_numbered(uint32_t i)
{
    struct gw_hwaddr net = gw_hwaddr_ipv4((const uint8_t[]){11, (uint8_t)(i >> 8), (uint8_t)i, 0});

    net.prefix_len = 24;
    return net;
}

Test(policies, one_without_room_is_refused_and_the_old_one_stays)
{
    struct packet allowed = {IN, HERE, UDP, 9, 9, 0};
    struct gw_policy_peer peer = {address("198.51.100.0/24"), 1};
    static struct gw_policy_peer many[GW_POLICY_PEERS_MAX];
    struct gw_policy p = closed(1), big = closed(2);
    int err = 0;

    add_rule(&p, FROM, UDP, 0, 65535);
    p.peers = &peer;
    p.peer_count = 1;
    set(&p);
    give_device(1, GW_MODE_NONE);
    for (uint32_t i = 0; i < GW_COUNT(many); i++)
        many[i] = (struct gw_policy_peer){net_numbered(i), 1};
    add_rule(&big, FROM, UDP, 0, 65535);
    big.peers = many;
    big.peer_count = GW_COUNT(many);
    for (; !err && big.number < k.table.state->policies; big.number++)
        err = gw_policy_set(&k, &big, 1);
    cr_assert_eq(err, GW_EFULL, "%d at %u", err, big.number);
    big.number = 1;
    cr_expect_eq(gw_policy_set(&k, &big, 1), GW_EFULL);
    cr_expect(passes_as(&allowed));
    cr_expect_not(passes_as(&(struct packet){IN, "11.0.0.7", UDP, 9, 9, 0}));
    gw_policy_end(&k, 2); /* gives back what it had */
    cr_expect_eq(gw_policy_set(&k, &big, 1), 0);
    cr_expect_not(passes_as(&allowed));
    cr_expect(passes_as(&(struct packet){IN, "11.0.0.7", UDP, 9, 9, 0}));
}

Test(policies, ended_it_does_nothing)
{
    struct packet packet = {IN, HERE, UDP, 9, 9, 0};
    struct gw_policy p = closed(1);

    p.packets_per_s = 1;
    set(&p);
    give_device(1, GW_MODE_NONE);
    cr_assert_not(passes_as(&packet));
    gw_policy_end(&k, 1);
    repeat(&packet, 10);
}

Test(policies, what_no_worker_repeats_ends)
{
    struct packet packet = {IN, HERE, UDP, 9, 9, 0};
    struct gw_policy p = closed(1);

    for (p.number = 1; p.number <= 6; p.number++)
        cr_assert_eq(gw_policy_set(&k, &p, p.number % 2 ? 1 : 2), 0);
    p.number = 3;
    cr_assert_eq(gw_policy_set(&k, &p, 2), 0); /* repeated */
    cr_expect_eq(gw_policy_sweep(&k, 2), 2);
    cr_expect_eq(gw_policy_sweep(&k, 2), 0, "they have ended");
    for (uint16_t number = 1; number <= 6; number++) {
        give_device(number, GW_MODE_NONE);
        cr_expect_eq(passes_as(&packet), number == 1 || number == 5, "%u", number);
    }
}

/* ---- limits ---- */

#define LIMIT_S 2
#define TOLERANCE 0.15

/* Rates that the tick of a clock does not divide, too. */
static const struct limit {
    const char *name;
    uint32_t packets_per_s;
    uint64_t bytes_per_s;
    size_t len;    /* of a frame */
    double frames; /* a second */
} limits[] = {
    {"20 packets", 20, 0, 62, 20},
    {"100 packets", 100, 0, 62, 100},
    {"333 packets", 333, 0, 62, 333},
    {"1000 packets", 1000, 0, 62, 1000},
    {"3 kB", 0, 3000, 62, 3000 / 62.0},
    {"100 kB in large frames", 0, 100000, 1000, 100},
    {"1 MB", 0, 1000000, 1000, 1000},
    {"the packets are fewer", 100, 1000000, 1000, 100},
    {"the bytes are fewer", 5000, 62000, 62, 1000},
};

/* One way of one device, whose policy is one of the limits. */
struct flow {
    const struct limit *limit;
    struct frame frame;
    enum program at;
    uint64_t passed, since_us;
};

static struct gw_hwaddr mac_numbered(size_t i)
{
    return gw_hwaddr_mac((const uint8_t[]){2, 0, 0, 1, 0, (uint8_t)i});
}

static void limit_flow(struct flow *f, size_t number, enum program at)
{
    struct packet packet = {at, HERE, UDP, 9, 9, 0};
    struct gw_hwaddr mac = mac_numbered(number);

    *f = (struct flow){.limit = &limits[number - 1], .frame = frame_of(&packet), .at = at};
    filler(&f->frame, f->limit->len - f->frame.len);
    memcpy(f->frame.bytes + (at == AT_TC_OUT ? 0 : 6), mac.bytes, 6);
}

static uint64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Until the first that is dropped: a second's worth, and what comes in meanwhile. */
static void expect_burst(struct flow *f)
{
    double started_us = (double)now_us(), worth;

    while (passes(&k, f->at, &f->frame) && f->passed < 100000)
        f->passed++;
    f->since_us = now_us();
    worth = f->limit->frames * (1 + ((double)f->since_us - started_us) / 1e6);
    cr_expect_geq((double)f->passed, f->limit->frames * (1 - TOLERANCE), "%s, %d: %lu",
                  f->limit->name, f->at, f->passed);
    cr_expect_leq((double)f->passed, worth * (1 + TOLERANCE) + 1, "%s, %d: %lu", f->limit->name,
                  f->at, f->passed);
    f->passed = 0;
}

static void expect_rate(const struct flow *f)
{
    double rate = (double)f->passed * 1e6 / (double)(now_us() - f->since_us);

    cr_expect_leq(rate, f->limit->frames * (1 + TOLERANCE), "%s, %d: %.1f a second", f->limit->name,
                  f->at, rate);
    cr_expect_geq(rate, f->limit->frames * (1 - TOLERANCE), "%s, %d: %.1f a second", f->limit->name,
                  f->at, rate);
}

/* All at once, each with a policy and a device of its own: it takes its time. */
Test(policies, limits_hold_each_way)
{
    static struct flow flows[2 * GW_COUNT(limits)];
    uint64_t until_us;

    for (size_t i = 0; i < GW_COUNT(limits); i++) {
        struct gw_policy p = {.number = (uint16_t)(i + 1),
                              .packets_per_s = limits[i].packets_per_s,
                              .bytes_per_s = limits[i].bytes_per_s};
        struct gw_hwaddr mac = mac_numbered(i + 1);

        set(&p);
        give(&k, &mac, p.number, GW_MODE_NONE);
        limit_flow(&flows[2 * i], i + 1, AT_XDP);
        limit_flow(&flows[2 * i + 1], i + 1, AT_TC_OUT);
    }
    for (size_t i = 0; i < GW_COUNT(flows); i++)
        expect_burst(&flows[i]);
    until_us = now_us() + LIMIT_S * 1000000;
    while (now_us() < until_us) {
        for (size_t i = 0; i < GW_COUNT(flows); i++)
            flows[i].passed += passes(&k, flows[i].at, &flows[i].frame);
    }
    for (size_t i = 0; i < GW_COUNT(flows); i++)
        expect_rate(&flows[i]);
}

Test(policies, nothing_saved_up_exceeds_a_second)
{
    struct gw_hwaddr mac = mac_numbered(2);
    struct gw_policy p = {.number = 1, .packets_per_s = limits[1].packets_per_s};
    struct flow f;

    set(&p);
    give(&k, &mac, 1, GW_MODE_NONE);
    limit_flow(&f, 2, AT_XDP);
    for (int i = 0; i < 2; i++) {
        expect_burst(&f);
        (void)usleep(2500000);
    }
    expect_burst(&f);
}

Test(policies, observed_it_has_no_limit)
{
    struct packet packet = {IN, HERE, UDP, 9, 9, 0};
    struct gw_policy p = {.number = 1, .packets_per_s = 1, .bytes_per_s = 1};

    set(&p);
    give_device(1, GW_MODE_OBSERVE);
    repeat(&packet, 100);
    give_device(1, GW_MODE_NONE);
    (void)passes_as(&packet); /* what came in meanwhile */
    cr_expect_not(passes_as(&packet));
}

/* ---- learning ---- */

#define LEARNED_MAX 2048

static struct gw_note_learning learning;
static struct gw_learned learned[LEARNED_MAX];

static void learn(uint16_t number, bool forget)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf out = {.max = 1 << 20};
    struct gw_slice all;

    cr_assert_eq(gw_policy_learned(&k, number, forget, &out), 0);
    all = gw_buf_slice(&out);
    cr_assert_geq(all.len, sizeof(learning));
    memcpy(&learning, all.ptr, sizeof(learning));
    cr_assert_eq(learning.number, number);
    cr_assert_leq(learning.count, LEARNED_MAX);
    cr_assert_eq(all.len, sizeof(learning) + learning.count * sizeof(learned[0]));
    memcpy(learned, all.ptr + sizeof(learning), learning.count * sizeof(learned[0]));
}

static void set_learner(uint16_t number)
{
    struct gw_policy p = {.number = number, .flags = GW_POLICY_LEARN};

    set(&p);
    give_device(number, GW_MODE_NONE);
}

/* Up to three packets, and the one conversation that they make. */
static const struct {
    const char *name;
    struct packet packets[3];
    uint8_t direction; /* who called */
    uint16_t port;     /* of the one called */
} conversations[] = {
    {"it opens TCP", {{IN, HERE, TCP, 40000, 443, SYN}}, FROM, 443},
    {"is answered",
     {{IN, HERE, TCP, 40000, 443, SYN}, {OUT, HERE, TCP, 40000, 443, SYN_ACK}},
     FROM,
     443},
    {"over IPv6",
     {{IN, HERE6, TCP, 40000, 443, SYN}, {OUT, HERE6, TCP, 40000, 443, SYN_ACK}},
     FROM,
     443},
    {"to a higher port",
     {{IN, HERE, TCP, 1000, 60000, SYN},
      {OUT, HERE, TCP, 1000, 60000, SYN_ACK},
      {IN, HERE, TCP, 1000, 60000, ACK}},
     FROM,
     60000},
    {"again from another port",
     {{IN, HERE, TCP, 40000, 443, SYN}, {IN, HERE, TCP, 40001, 443, SYN}},
     FROM,
     443},
    {"TCP is opened to it", {{OUT, HERE, TCP, 80, 40000, SYN}}, TO, 80},
    {"and it answers",
     {{OUT, HERE, TCP, 80, 40000, SYN},
      {IN, HERE, TCP, 80, 40000, SYN_ACK},
      {OUT, HERE, TCP, 80, 40000, ACK}},
     TO,
     80},
    {"at a high port",
     {{OUT, HERE, TCP, 60000, 1000, SYN},
      {IN, HERE, TCP, 60000, 1000, SYN_ACK},
      {OUT, HERE, TCP, 60000, 1000, ACK}},
     TO,
     60000},
    {"TCP in its middle, from it",
     {{IN, HERE, TCP, 40000, 443, ACK}, {OUT, HERE, TCP, 40000, 443, ACK}},
     FROM,
     443},
    {"TCP in its middle, to it",
     {{OUT, HERE, TCP, 40000, 443, ACK}, {IN, HERE, TCP, 40000, 443, ACK}},
     FROM,
     443},
    {"of a service of its own, from it",
     {{IN, HERE, TCP, 22, 40000, ACK}, {OUT, HERE, TCP, 22, 40000, ACK}},
     TO,
     22},
    {"of a service of its own, to it",
     {{OUT, HERE, TCP, 22, 40000, ACK}, {IN, HERE, TCP, 22, 40000, ACK}},
     TO,
     22},
    {"an answer first", {{OUT, HERE, TCP, 40000, 443, SYN_ACK}}, FROM, 443},
    {"UDP", {{IN, HERE, UDP, 40000, 53, 0}, {OUT, HERE, UDP, 40000, 53, 0}}, FROM, 53},
    {"UDP, its answer first",
     {{OUT, HERE, UDP, 40000, 53, 0}, {IN, HERE, UDP, 40000, 53, 0}},
     FROM,
     53},
    {"UDP to a service of its own",
     {{OUT, HERE, UDP, 5683, 40000, 0}, {IN, HERE, UDP, 5683, 40000, 0}},
     TO,
     5683},
    {"UDP between equals, from it",
     {{IN, HERE, UDP, 123, 123, 0}, {OUT, HERE, UDP, 123, 123, 0}},
     FROM,
     123},
    {"UDP between equals, to it",
     {{OUT, HERE, UDP, 123, 123, 0}, {IN, HERE, UDP, 123, 123, 0}},
     TO,
     123},
    {"UDP to a group", {{IN, "224.0.0.251", UDP, 5353, 5353, 0}}, FROM, 5353},
    {"echo from it", {{IN, HERE, ICMP, 8, 0, 0}, {IN, HERE, ICMP, 8, 0, 0}}, FROM, 8},
    {"echo to it", {{OUT, HERE, ICMP, 8, 0, 0}}, TO, 8},
    {"echo over IPv6", {{IN, HERE6, ICMP6, 128, 0, 0}}, FROM, 128},
    {"another protocol", {{IN, HERE, GRE, 0, 0, 0}}, FROM, 0},
    {"another protocol, to it", {{OUT, HERE, GRE, 0, 0, 0}}, TO, 0},
};

static void expect_conversation(size_t i, uint32_t packets, uint64_t bytes)
{
    const struct packet *first = &conversations[i].packets[0];
    struct gw_hwaddr peer = address(first->peer);
    const char *name = conversations[i].name;
    int64_t now_ms = gw_clock_wall_ms();

    cr_expect_eq(learning.count, 1, "%s: %u", name, learning.count);
    cr_expect_eq(learning.missed, 0, "%s", name);
    cr_expect_eq(memcmp(&learned[0].peer, &peer, sizeof(peer)), 0, "%s", name);
    cr_expect_eq(learned[0].direction, conversations[i].direction, "%s", name);
    cr_expect_eq(learned[0].protocol, first->protocol, "%s", name);
    cr_expect_eq(learned[0].port, conversations[i].port, "%s: %u", name, learned[0].port);
    cr_expect_eq(learned[0].packets, packets, "%s: %lu", name, learned[0].packets);
    cr_expect_eq(learned[0].bytes, bytes, "%s: %lu", name, learned[0].bytes);
    cr_expect_leq(learned[0].first_ms, learned[0].last_ms, "%s", name);
    cr_expect_leq(llabs(now_ms - learned[0].first_ms), 5000, "%s", name);
    cr_expect_leq(llabs(now_ms - learned[0].last_ms), 5000, "%s", name);
}

Test(policies, who_called_whom_is_learned)
{
    set_learner(1);
    for (size_t i = 0; i < GW_COUNT(conversations); i++) {
        uint32_t packets = 0;
        uint64_t bytes = 0;

        for (; packets < 3 && conversations[i].packets[packets].peer; packets++) {
            struct frame f = frame_of(&conversations[i].packets[packets]);

            cr_assert(passes(&k, conversations[i].packets[packets].at, &f));
            bytes += f.len;
        }
        learn(1, true);
        expect_conversation(i, packets, bytes);
        learn(1, false);
        cr_expect_eq(learning.count, 0, "%s is forgotten", conversations[i].name);
    }
}

Test(policies, different_conversations_are_learned_apart)
{
    static const struct packet rows[] = {
        {IN, HERE, TCP, 40000, 443, SYN},  {IN, HERE, TCP, 40000, 80, SYN},
        {IN, HERE, UDP, 40000, 443, 0},    {IN, "198.51.100.8", TCP, 40000, 443, SYN},
        {IN, HERE6, TCP, 40000, 443, SYN}, {OUT, HERE, TCP, 443, 40000, SYN},
        {IN, HERE, ICMP, 8, 0, 0},         {OUT, HERE, ICMP, 8, 0, 0},
        {OUT, HERE, ICMP, 0, 0, 0},        {IN, HERE, GRE, 0, 0, 0},
    };

    set_learner(1);
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        repeat(&rows[i], 2);
        learn(1, false);
        cr_expect_eq(learning.count, i + 1, "%zu: %u", i, learning.count);
    }
    for (uint32_t i = 0; i < learning.count; i++)
        cr_expect_eq(learned[i].packets, 2, "%u: %lu", i, learned[i].packets);
}

Test(policies, fragments_and_other_kinds_are_not_learned)
{
    struct packet to = {IN, HERE, UDP, 0, 0, 0};
    struct frame f = {0};

    set_learner(1);
    network(&f, &to, 100);
    filler(&f, 64);
    cr_assert(passes(&k, AT_XDP, &f));
    eth(&f, DEVICE, ALL, ETH_ARP);
    arp(&f, 1, DEVICE, DEVICE, NOBODY, OTHER);
    cr_assert(passes(&k, AT_XDP, &f));
    eth(&f, DEVICE, OTHER, LLDP);
    filler(&f, 64);
    cr_assert(passes(&k, AT_XDP, &f));
    learn(1, false);
    cr_expect_eq(learning.count, 0, "%u", learning.count);
    cr_expect_eq(learning.missed, 0);
}

static void call_many(uint32_t first, uint32_t count)
{
    struct packet packet = {IN, HERE, UDP, 40000, 53, 0};
    struct frame f = frame_of(&packet);

    for (uint32_t i = first; i < first + count; i++) {
        f.bytes[14 + 18] = (uint8_t)(i >> 8);
        f.bytes[14 + 19] = (uint8_t)i;
        cr_assert(passes(&k, AT_XDP, &f));
    }
}

Test(policies, so_much_is_learned_and_the_rest_counted)
{
    set_learner(1);
    call_many(0, CORDON_LEARNED_MAX + 88);
    learn(1, false);
    cr_expect_eq(learning.count, CORDON_LEARNED_MAX, "%u", learning.count);
    cr_expect_eq(learning.missed, 88, "%lu", learning.missed);
    call_many(0, CORDON_LEARNED_MAX); /* they are known */
    learn(1, false);
    cr_expect_eq(learning.missed, 88, "%lu", learning.missed);

    set_learner(2); /* one does not take another's room */
    call_many(0, 10);
    learn(2, false);
    cr_expect_eq(learning.count, 10);
    cr_expect_eq(learning.missed, 0);

    learn(1, true);
    cr_expect_eq(learning.count, CORDON_LEARNED_MAX);
    set_learner(1);
    call_many(CORDON_LEARNED_MAX, 20);
    learn(1, false);
    cr_expect_eq(learning.count, 20, "begun anew: %u", learning.count);
    cr_expect_eq(learning.missed, 0);
    learn(2, false);
    cr_expect_eq(learning.count, 10, "another's is not forgotten");
    gw_policy_end(&k, 1);
    learn(1, false);
    cr_expect_eq(learning.count, 0, "ended");
}

Test(policies, what_is_learned_outlives_a_change)
{
    struct gw_policy p = {.number = 1, .flags = GW_POLICY_LEARN | GW_POLICY_ENFORCE};

    set_learner(1);
    call_many(0, 3);
    set(&p);
    learn(1, false);
    cr_expect_eq(learning.count, 3);
}

Test(policies, nothing_is_learned_of_a_number_beyond_the_tables)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf out = {.max = 1 << 20};

    cr_expect_eq(gw_policy_learned(&k, 0, false, &out), GW_EFULL);
    cr_expect_eq(gw_policy_learned(&k, (uint16_t)k.table.state->policies, false, &out), GW_EFULL);
    cr_expect_eq(gw_buf_len(&out), 0);
}

Test(policies, the_busiest_second_is_measured)
{
    struct packet in = {IN, HERE, UDP, 40000, 53, 0}, out = {OUT, HERE, UDP, 40000, 53, 0};
    size_t len = frame_of(&in).len;

    set_learner(1);
    repeat(&in, 60);
    repeat(&out, 40);
    learn(1, false);
    cr_expect_eq(learning.peak_packets_per_s, 100, "%u", learning.peak_packets_per_s);
    cr_expect_eq(learning.peak_bytes_per_s, 100 * len, "%lu", learning.peak_bytes_per_s);
    (void)usleep(1200000);
    repeat(&in, 50);
    learn(1, true);
    cr_expect_eq(learning.peak_packets_per_s, 100, "a calmer one: %u", learning.peak_packets_per_s);
    (void)usleep(1200000);
    repeat(&in, 20);
    learn(1, false);
    cr_expect_eq(learning.peak_packets_per_s, 20, "anew: %u", learning.peak_packets_per_s);
    cr_expect_eq(learning.peak_bytes_per_s, 20 * len, "%lu", learning.peak_bytes_per_s);
}

/* ---- as bytes ---- */

struct file {
    struct gw_note_policy head;
    struct gw_policy_peer peers[2];
};

static struct file sound(void)
{
    struct file f = {
        .head = {.number = 3,
                 .flags = GW_POLICY_LEARN | GW_POLICY_ENFORCE,
                 .packets_per_s = 100,
                 .rule_count = 2,
                 .peer_count = 2,
                 .bytes_per_s = 100000,
                 .any = 1,
                 .local = 2,
                 .gateway = 3},
        .peers = {{address(HERE), 1}, {address("2a00::/16"), 3}},
    };

    f.head.rules[0] = (struct gw_policy_rule){FROM, TCP, 0, 1, ANY, 80, 443};
    f.head.rules[1] = (struct gw_policy_rule){TO, UDP, GW_ADDR_IPV6, 0, 5, 6, ANY};
    return f;
}

#define FIELD(field) offsetof(struct file, field), sizeof(((struct file *)0)->field)

/* One field of a sound file gets another value. */
static const struct {
    const char *name;
    size_t at, len;
    uint64_t value;
    int err;
} damages[] = {
    {"the highest number", FIELD(head.number), GW_POLICIES_MAX, 0},
    {"no number", FIELD(head.number), 0, GW_EMALFORMED},
    {"a number too high", FIELD(head.number), GW_POLICIES_MAX + 1, GW_EMALFORMED},
    {"a number far too high", FIELD(head.number), 1 << 16 | 3, GW_EMALFORMED},
    {"an unknown flag", FIELD(head.flags), 8, GW_EMALFORMED},
    {"a high unknown flag", FIELD(head.flags), 1U << 31, GW_EMALFORMED},
    {"too many rules", FIELD(head.rule_count), GW_POLICY_RULES_MAX + 1, GW_EMALFORMED},
    {"far too many rules", FIELD(head.rule_count), UINT32_MAX, GW_EMALFORMED},
    {"a peer more than there are", FIELD(head.peer_count), 3, GW_EMALFORMED},
    {"a peer less than there are", FIELD(head.peer_count), 1, GW_EMALFORMED},
    {"too many peers", FIELD(head.peer_count), GW_POLICY_PEERS_MAX + 1, GW_EMALFORMED},
    {"peers whose size wraps", FIELD(head.peer_count), (1U << 31) + 2, GW_EMALFORMED},
    {"bytes too many to count", FIELD(head.bytes_per_s), UINT64_MAX, GW_EMALFORMED},
    {"anybody, for a rule that is not", FIELD(head.any), 4, GW_EMALFORMED},
    {"local, for a rule that is not", FIELD(head.local), 1ULL << 63, GW_EMALFORMED},
    {"the gateway, for a rule that is not", FIELD(head.gateway), 4, GW_EMALFORMED},
    {"a direction that is none", FIELD(head.rules[1].direction), 2, GW_EMALFORMED},
    {"a family that is none", FIELD(head.rules[1].family), 4, GW_EMALFORMED},
    {"MAC as a family", FIELD(head.rules[1].family), GW_ADDR_MAC, GW_EMALFORMED},
    {"no_open neither 0 nor 1", FIELD(head.rules[1].no_open), 2, GW_EMALFORMED},
    {"own ports in reverse", FIELD(head.rules[1].own_max), 4, GW_EMALFORMED},
    {"its peer's ports in reverse", FIELD(head.rules[0].peer_min), 444, GW_EMALFORMED},
    {"a direction of a rule that is not there", FIELD(head.rules[2].direction), 2, 0},
    {"a peer that is a MAC", FIELD(peers[0].address.kind), GW_ADDR_MAC, GW_EMALFORMED},
    {"a peer of no kind", FIELD(peers[0].address.kind), 0, GW_EMALFORMED},
    {"a peer of an unknown kind", FIELD(peers[0].address.kind), 4, GW_EMALFORMED},
    {"a prefix too long", FIELD(peers[0].address.prefix_len), 33, GW_EMALFORMED},
    {"bits behind a prefix", FIELD(peers[1].address.bytes[15]), 1, GW_EMALFORMED},
    {"bytes behind an IPv4 address", FIELD(peers[0].address.bytes[4]), 1, GW_EMALFORMED},
    {"padding", FIELD(peers[0].address.pad[0]), 1, GW_EMALFORMED},
    {"a peer for a rule that is not", FIELD(peers[1].rules), 4, GW_EMALFORMED},
};

static void put(void *at, size_t len, uint64_t value)
{
    uint8_t one = (uint8_t)value;
    uint16_t two = (uint16_t)value;
    uint32_t four = (uint32_t)value;

    memcpy(at,
           len == 1   ? (void *)&one
           : len == 2 ? (void *)&two
           : len == 4 ? (void *)&four
                      : &value,
           len);
}

Test(policies, malformed_ones_are_refused)
{
    for (size_t i = 0; i < GW_COUNT(damages); i++) {
        struct file f = sound();
        struct gw_policy p;

        cr_assert_eq(gw_policy_decode(GW_SLICE(&f, sizeof(f)), &p), 0);
        put((uint8_t *)&f + damages[i].at, damages[i].len, damages[i].value);
        cr_expect_eq(gw_policy_decode(GW_SLICE(&f, sizeof(f)), &p), damages[i].err, "%s",
                     damages[i].name);
    }
}

Test(policies, a_file_of_another_length_is_refused)
{
    for (size_t len = 0; len < sizeof(struct file); len++) {
        struct file f = sound();
        uint8_t *cut = malloc(len + 1); /* so that reading on is noticed */
        struct gw_policy p;

        cr_assert_not_null(cut);
        memcpy(cut, &f, len);
        cr_expect_eq(gw_policy_decode(GW_SLICE(cut, len), &p), GW_EMALFORMED, "%zu", len);
        free(cut);
    }
    struct {
        struct file file;
        uint8_t more[8];
    } longer = {sound(), {0}};
    struct gw_policy p;

    cr_expect_eq(gw_policy_decode(GW_SLICE(&longer, sizeof(longer)), &p), GW_EMALFORMED);
}

Test(policies, what_is_decoded_is_what_was_encoded)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf out = {.max = 1 << 20};
    struct file f = sound();
    struct gw_policy p;

    cr_assert_eq(gw_policy_decode(GW_SLICE(&f, sizeof(f)), &p), 0);
    cr_assert_eq(gw_policy_encode(&p, &out), 0);
    cr_assert_eq(gw_buf_len(&out), sizeof(f));
    cr_expect_eq(memcmp(gw_buf_slice(&out).ptr, &f, sizeof(f)), 0);
    p.rule_count = GW_POLICY_RULES_MAX + 1;
    cr_expect_eq(gw_policy_encode(&p, &out), GW_EFULL);
    p.rule_count = 0;
    p.peer_count = GW_POLICY_PEERS_MAX + 1;
    cr_expect_eq(gw_policy_encode(&p, &out), GW_EFULL);
}

Test(policies, a_malformed_one_does_not_replace)
{
    struct packet packet = {IN, HERE, UDP, 9, 9, 0};
    struct gw_policy p = closed(1), bad = {.number = 1, .any = 1};

    set(&p);
    give_device(1, GW_MODE_NONE);
    cr_expect_eq(gw_policy_set(&k, &bad, 1), GW_EMALFORMED);
    bad = (struct gw_policy){.number = 0};
    cr_expect_eq(gw_policy_set(&k, &bad, 1), GW_EMALFORMED);
    cr_expect_not(passes_as(&packet));
}

/* ---- the copy on disk ---- */

static char dir[] = "/tmp/cordon-policies-XXXXXX";
static char path[64];

static void remove_files(void)
{
    (void)unlink(path);
    (void)rmdir(dir);
    teardown();
}

static void setup_files(void)
{
    setup();
    cr_assert_not_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/policies", dir);
}

TestSuite(kept_policies, .init = setup_files, .fini = remove_files);

static size_t read_file(uint8_t *to, size_t max)
{
    GW_CLEANUP(gw_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, to, max);

    cr_assert_geq(len, 0);
    return (size_t)len;
}

static void write_file(const uint8_t *bytes, size_t len)
{
    GW_CLEANUP(gw_close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
}

static void set_sound(uint16_t number)
{
    struct file f = sound();
    struct gw_policy p;

    f.head.number = number;
    f.head.any = f.head.local = f.head.gateway = 0;
    f.head.packets_per_s = 0;
    f.head.bytes_per_s = 1000000 + number;
    cr_assert_eq(gw_policy_decode(GW_SLICE(&f, sizeof(f)), &p), 0);
    set(&p);
}

static void reopen(void)
{
    teardown();
    setup();
}

static void expect_sound(const char *name)
{
    cr_expect(passes_as(&(struct packet){IN, HERE, TCP, 9, 80, ACK}), "%s", name);
    cr_expect_not(passes_as(&(struct packet){IN, HERE, TCP, 9, 80, SYN}), "%s", name);
    cr_expect_not(passes_as(&(struct packet){IN, HERE, TCP, 9, 79, ACK}), "%s", name);
    cr_expect_not(passes_as(&(struct packet){IN, "198.51.100.8", TCP, 9, 80, ACK}), "%s", name);
    cr_expect(passes_as(&(struct packet){OUT, "2a00:9::1", UDP, 5, 9, 0}), "%s", name);
    cr_expect_not(passes_as(&(struct packet){OUT, "2a01:9::1", UDP, 5, 9, 0}), "%s", name);
}

Test(kept_policies, come_back)
{
    static uint8_t before[65536], after[65536];
    struct gw_policy limit = {.number = 7, .packets_per_s = 3};
    size_t len;

    set_sound(1);
    set_sound(2);
    set_sound(4);
    gw_policy_end(&k, 4);
    set(&limit);
    give_device(2, GW_MODE_NONE);
    expect_sound("before");
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    len = read_file(before, sizeof(before));
    reopen();
    cr_assert_eq(gw_policy_load(&k, dir, 5), 3);
    for (uint16_t number = 1; number <= 2; number++) {
        give_device(number, GW_MODE_NONE);
        expect_sound("loaded");
    }
    give_device(7, GW_MODE_NONE);
    repeat(&(struct packet){IN, HERE, UDP, 9, 9, 0}, 3);
    cr_expect_not(passes_as(&(struct packet){IN, HERE, UDP, 9, 9, 0}));
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    cr_expect_eq(read_file(after, sizeof(after)), len);
    cr_expect_eq(memcmp(before, after, len), 0);
    cr_expect_eq(gw_policy_sweep(&k, 5), 0, "all are of that generation");
    cr_expect_eq(gw_policy_sweep(&k, 6), 3);
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 6), 0, "none are left");
}

Test(kept_policies, a_damaged_file_is_refused)
{
    static uint8_t bytes[65536];
    size_t len;

    set_sound(1);
    set_sound(2);
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    len = read_file(bytes, sizeof(bytes));
    reopen();
    give_device(1, GW_MODE_NONE);
    for (size_t at = 0; at < len; at += at < 24 ? 1 : 37) {
        bytes[at] ^= 0x10;
        write_file(bytes, len);
        cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EMALFORMED, "byte %zu", at);
        bytes[at] ^= 0x10;
    }
    for (size_t cut = 0; cut < len; cut += 41) {
        write_file(bytes, cut);
        cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EMALFORMED, "cut at %zu", cut);
    }
    write_file(bytes, len);
    cr_expect_eq(gw_policy_load(&k, dir, 1), 2, "sound");
    expect_sound("sound");
}

/* Whole, but not what was written: as another version, or another program, would. */
Test(kept_policies, a_foreign_file_is_refused)
{
    static const struct {
        const char *name, *magic;
        uint64_t count;
        uint32_t len; /* as it says in front of the policy */
        uint32_t number;
        int result;
    } rows[] = {
        {"ours", "CORDONp1", 1, sizeof(struct file), 3, 1},
        {"of another form", "CORDONp0", 1, sizeof(struct file), 3, GW_EMALFORMED},
        {"of verdicts", "CORDONv3", 1, sizeof(struct file), 3, GW_EMALFORMED},
        {"with more than there are", "CORDONp1", 2, sizeof(struct file), 3, GW_EMALFORMED},
        {"with far more", "CORDONp1", UINT64_MAX, sizeof(struct file), 3, GW_EMALFORMED},
        {"longer than it is", "CORDONp1", 1, sizeof(struct file) + 1, 3, GW_EMALFORMED},
        {"longer than anything", "CORDONp1", 1, UINT32_MAX, 3, GW_EMALFORMED},
        {"shorter than it is", "CORDONp1", 1, sizeof(struct file) - 1, 3, GW_EMALFORMED},
        {"of no length", "CORDONp1", 1, 0, 3, GW_EMALFORMED},
        {"without a number", "CORDONp1", 1, sizeof(struct file), 0, GW_EMALFORMED},
    };

    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        struct {
            uint32_t len;
            uint8_t file[sizeof(struct file)];
        } body = {.len = rows[i].len};
        struct file f = sound();

        f.head.number = rows[i].number;
        memcpy(body.file, &f, sizeof(f));
        cr_assert_eq(gw_kept_save(dir, "policies", rows[i].magic, rows[i].count,
                                  GW_SLICE(&body, sizeof(body))),
                     0);
        cr_expect_eq(gw_policy_load(&k, dir, 1), rows[i].result, "%s", rows[i].name);
    }
}

Test(kept_policies, a_file_that_root_did_not_write_is_refused)
{
    char real[80];

    cr_expect_eq(gw_policy_load(&k, dir, 1), -ENOENT);
    set_sound(1);
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    cr_assert_eq(chmod(path, 0620), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EPROTECTED, "writable by a group");
    cr_assert_eq(chmod(path, 0602), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EPROTECTED, "writable by all");
    cr_assert_eq(chmod(path, 0600), 0);
    cr_assert_eq(chown(path, 12345, 0), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EPROTECTED, "another's");
    cr_assert_eq(chown(path, 0, 0), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), 1);
    (void)snprintf(real, sizeof(real), "%s/real", dir);
    cr_assert_eq(rename(path, real), 0);
    cr_assert_eq(symlink(real, path), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EPROTECTED, "a link");
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EPROTECTED, "a directory");
    cr_assert_eq(rmdir(path), 0);
    cr_assert_eq(unlink(real), 0);
}
