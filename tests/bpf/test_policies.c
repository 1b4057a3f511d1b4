/* SPDX-License-Identifier: GPL-2.0-only */
/* Which packets a policy lets pass. */
#include <criterion/criterion.h>

#include "policies.h"

TestSuite(policies, .init = policies_setup, .fini = policies_teardown);

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
    {"ICMPv6's unreachable within IPv4", {IN, "203.0.113.9", ICMP6, 1, 0, 0}, false},
    {"ICMPv6's bad parameter within IPv4", {OUT, "203.0.113.9", ICMP6, 4, 0, 0}, false},
    {"ICMP's unreachable within IPv6", {IN, "2a00::9", ICMP, 3, 0, 0}, false},
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

/* From a router on the way, about a packet from `source` to `to`. */
static void expect_error(const char *from, uint8_t protocol, uint16_t type, const char *source,
                         const char *to, bool wanted)
{
    struct packet p = {OUT, from, protocol, type, 0, 0};
    struct gw_hwaddr sender = address(source), destination = address(to);
    size_t bytes = sender.kind == GW_ADDR_IPV6 ? 16 : 4;
    struct frame f = {0};

    network(&f, &p, 0);
    transport(&f, &p);
    f.len = f.ip_end + 8;
    filler(&f, bytes == 16 ? 8 : 12);
    f.bytes[f.ip_end + 8] = bytes == 16 ? 0x60 : 0x45;
    for (size_t i = 0; i < bytes; i++)
        f.bytes[f.len++] = sender.bytes[i];
    for (size_t i = 0; i < bytes; i++)
        f.bytes[f.len++] = destination.bytes[i];
    cr_expect_eq(passes(&k, AT_TC_OUT, &f), wanted, "%s, %u: of %s to %s", from, type, source, to);
    f.len--;
    cr_expect_not(passes(&k, AT_TC_OUT, &f), "%s, %u: cut off", from, type);
}

Test(policies, an_error_on_the_way_to_a_named_peer_passes)
{
    set_named_peers();
    for (uint16_t type = 0; type <= 13; type++) {
        bool error = type == 3 || type == 11 || type == 12;

        expect_error(HERE, ICMP, type, "192.0.2.10", "203.0.113.9", error);
        expect_error(HERE, ICMP, type, "192.0.2.10", HERE, false);
        expect_error(HERE, ICMP, type, "192.0.2.11", "203.0.113.9", false);
        error = type >= 1 && type <= 4;
        expect_error(HERE6, ICMP6, type, "2001:db8::10", "2a00::9", error);
        expect_error(HERE6, ICMP6, type, "2001:db8::10", HERE6, false);
        expect_error(HERE6, ICMP6, type, "2001:db8::11", "2a00::9", false);
    }
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

        give(&mac, rows[i].mac, GW_MODE_NONE);
        give(&four, rows[i].ipv4, GW_MODE_NONE);
        give(&six, rows[i].ipv6, GW_MODE_NONE);
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
    give(&four, 1, GW_MODE_NONE);
    give(&six, 1, GW_MODE_NONE);
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
