/* SPDX-License-Identifier: GPL-2.0-only */
/* Scans, floods and moves: whom a device calls, and how fast. */
#include <criterion/criterion.h>
#include <sched.h>

#include "base/clock.h"
#include "watch.h"

enum { ETH_IP = 0x800, ETH_ARP = 0x806, ETH_IP6 = 0x86dd };
enum { ICMP = 1, TCP = 6, UDP = 17, ICMP6 = 58 };
enum { SYN = 2, SYN_ACK = 0x12 };

#define MANY 200 /* of anything: more than every limit */

TestSuite(watch, .init = watch_setup, .fini = watch_teardown);

/* Past what is remembered as told, whatever a jiffy is. */
static void wait_for_another_window(void)
{
    (void)usleep(1500000);
}

static void known_pair(const struct gw_hwaddr *mac, const struct gw_hwaddr *ip)
{
    cr_assert_eq(known_address(&k, mac), 0);
    cr_assert_eq(known_address(&k, ip), 0);
    slot_of(ip)->owner = slot_of(mac)->self;
}

/* So many on the LAN, with an address each; the gateway has as many. */
static void known_neighbours(uint32_t count)
{
    const struct gw_hwaddr gateway = gw_hwaddr_mac(mac_of_who[GATEWAY]);

    for (uint32_t i = 0; i < count; i++) {
        struct gw_hwaddr mac = mac_numbered(i), ip = ipv4_numbered(i);
        struct gw_hwaddr own = ipv4_numbered(500 + i);

        known_pair(&mac, &ip);
        known_pair(&gateway, &own);
    }
}

static void send_numbered(void (*make)(struct frame *f, uint32_t i), uint32_t first, uint32_t count)
{
    struct frame f = {0};

    for (uint32_t i = first; i < first + count; i++) {
        make(&f, i);
        cr_assert(passes(&k, AT_XDP, &f));
    }
}

/* ---- calls, the i-th to another than the one before ---- */

static void to4(struct frame *f, uint32_t i, uint8_t protocol)
{
    struct gw_hwaddr ip = ipv4_numbered(i);

    eth(f, DEVICE, GATEWAY, ETH_IP);
    ipv4(f, DEVICE, OTHER, protocol);
    memcpy(f->bytes + 14 + 16, ip.bytes, 4);
}

static void flags(struct frame *f, uint8_t tcp_flags)
{
    f->bytes[f->ip_end + 13] = tcp_flags;
}

static void tcp_hosts(struct frame *f, uint32_t i)
{
    to4(f, i, TCP);
    ports(f, 40000, 443);
    flags(f, SYN);
}

static void tcp_hosts_with_options(struct frame *f, uint32_t i)
{
    struct gw_hwaddr ip = ipv4_numbered(i);

    eth(f, DEVICE, GATEWAY, ETH_IP);
    ipv4_options(f, DEVICE, OTHER, TCP);
    memcpy(f->bytes + 14 + 16, ip.bytes, 4);
    f->ip_end += 40;
    ports(f, 40000, 443);
    flags(f, SYN);
}

/* Its first fragment is so small that the flags are in the second (RFC 1858 §3). */
static void tcp_hosts_in_fragments(struct frame *f, uint32_t i)
{
    tcp_hosts(f, i);
    f->bytes[14 + 6] = 0x20; /* more follow */
    f->len = f->ip_end + 8;
}

static void tcp_answers(struct frame *f, uint32_t i)
{
    to4(f, i, TCP);
    ports(f, 443, (uint16_t)(40000 + i));
    flags(f, SYN_ACK);
}

static void udp_hosts(struct frame *f, uint32_t i)
{
    to4(f, i, UDP);
    ports(f, 40000, 53);
}

/* Where address and port differ from those before by the same bits. */
static void udp_alike(struct frame *f, uint32_t i)
{
    to4(f, i, UDP);
    ports(f, 60000, (uint16_t)(256 + i));
}

/* Host 1 of each network. */
static void udp6_networks(struct frame *f, uint32_t i)
{
    eth(f, DEVICE, GATEWAY, ETH_IP6);
    ipv6(f, DEVICE, OTHER, UDP);
    ports(f, 40000, 53);
    f->bytes[14 + 24 + 6] = (uint8_t)(i >> 8);
    f->bytes[14 + 24 + 7] = (uint8_t)i;
}

static void udp_answers(struct frame *f, uint32_t i)
{
    to4(f, i, UDP);
    ports(f, 53, (uint16_t)(40000 + i));
}

static void echo_hosts(struct frame *f, uint32_t i)
{
    to4(f, i, ICMP);
    filler(f, 8);
    f->bytes[f->ip_end] = 8;
}

static void echo_answers(struct frame *f, uint32_t i)
{
    to4(f, i, ICMP);
    filler(f, 8);
}

static void echo6_hosts(struct frame *f, uint32_t i)
{
    eth(f, DEVICE, GATEWAY, ETH_IP6);
    ipv6(f, DEVICE, OTHER, ICMP6);
    f->bytes[14 + 38] = (uint8_t)(i >> 8);
    f->bytes[14 + 39] = (uint8_t)i;
    discovery_head(f, 128, 8);
}

static void arp_hosts(struct frame *f, uint32_t i)
{
    struct gw_hwaddr ip = ipv4_numbered(i);

    eth(f, DEVICE, ALL, ETH_ARP);
    arp(f, 1, DEVICE, DEVICE, NOBODY, OTHER);
    memcpy(f->bytes + 14 + 24, ip.bytes, 4);
}

static void arp_answers(struct frame *f, uint32_t i)
{
    arp_hosts(f, i);
    f->bytes[14 + 7] = 2;
}

static void tcp_ports(struct frame *f, uint32_t i)
{
    eth(f, DEVICE, GATEWAY, ETH_IP);
    ipv4(f, DEVICE, OTHER, TCP);
    ports(f, 40000, (uint16_t)(1 + i));
    flags(f, SYN);
}

static void udp_ports(struct frame *f, uint32_t i)
{
    eth(f, DEVICE, GATEWAY, ETH_IP);
    ipv4(f, DEVICE, OTHER, UDP);
    ports(f, 40000, (uint16_t)(1 + i));
}

static void a_group(struct frame *f, uint32_t i)
{
    udp_hosts(f, i);
    f->bytes[14 + 16] = 224;
}

static void neighbours(struct frame *f, uint32_t i)
{
    struct gw_hwaddr mac = mac_numbered(i);

    udp_hosts(f, i);
    memcpy(f->bytes, mac.bytes, 6);
}

/* The same addresses, but through the gateway. */
static void routed_neighbours(struct frame *f, uint32_t i)
{
    udp_hosts(f, i);
}

/* Those that the gateway has. */
static void gateways(struct frame *f, uint32_t i)
{
    udp_hosts(f, i + 500);
}

/* A neighbour's MAC, but for somebody who is not behind it. */
static void others_through_neighbours(struct frame *f, uint32_t i)
{
    struct gw_hwaddr mac = mac_numbered(i);

    udp_hosts(f, i + 500);
    memcpy(f->bytes, mac.bytes, 6);
}

static void strangers(struct frame *f, uint32_t i)
{
    neighbours(f, i + 1000);
}

/* ---- scans ---- */

static const struct scan {
    const char *name;
    void (*make)(struct frame *f, uint32_t i);
    uint32_t count;
    unsigned kinds; /* that are told */
} scans[] = {
    {"TCP to many hosts", tcp_hosts, MANY, KIND(HOSTS)},
    {"TCP to some hosts", tcp_hosts, 35, 0},
    {"TCP with IP options to many hosts", tcp_hosts_with_options, MANY, KIND(HOSTS)},
    {"TCP in fragments to many hosts", tcp_hosts_in_fragments, MANY, KIND(HOSTS)},
    {"answers over TCP", tcp_answers, MANY, 0},
    {"UDP to many hosts", udp_hosts, MANY, KIND(HOSTS)},
    {"UDP to some hosts", udp_hosts, 35, 0},
    {"UDP to many hosts and ports", udp_alike, MANY, KIND(HOSTS) | KIND(PORTS)},
    {"UDP to many networks", udp6_networks, MANY, KIND(HOSTS)},
    {"a service that answers many over UDP", udp_answers, MANY, 0},
    {"echo to many hosts", echo_hosts, MANY, KIND(HOSTS)},
    {"answers to echo", echo_answers, MANY, 0},
    {"ICMPv6 echo to many hosts", echo6_hosts, MANY, KIND(HOSTS)},
    {"ARP for many hosts", arp_hosts, MANY, KIND(HOSTS)},
    {"ARP for some hosts", arp_hosts, 35, 0},
    {"answers in ARP", arp_answers, MANY, 0},
    {"many ports over TCP", tcp_ports, MANY, KIND(PORTS)},
    {"some ports over TCP", tcp_ports, 35, 0},
    {"many ports over UDP", udp_ports, MANY, KIND(PORTS)},
    {"multicast", a_group, MANY, 0},
    {"some neighbours", neighbours, 6, 0},
    {"many neighbours", neighbours, 30, KIND(NEIGHBOURS)},
    {"neighbours behind the gateway", routed_neighbours, 30, 0},
    {"many addresses of the gateway", gateways, 30, 0},
    {"through neighbours to others", others_through_neighbours, 30, 0},
    {"whom nobody knows", strangers, 30, 0},
};

Test(watch, a_scan_is_told_once)
{
    known_neighbours(30);
    for (size_t i = 0; i < GW_COUNT(scans); i++) {
        forget();
        send_numbered(scans[i].make, 0, scans[i].count);
        expect_kinds(scans[i].name, scans[i].kinds);
    }
}

Test(watch, tells_who_and_how_many)
{
    const struct cordon_event *e = NULL;
    uint8_t mac[6];

    send_numbered(udp_hosts, 0, MANY);
    cr_assert_eq(told(GW_WIRE_HOSTS, &e), 1);
    gw_table_mac(e->mac, mac);
    cr_expect_arr_eq(mac, mac_of_who[DEVICE], 6);
    cr_expect_eq(e->kind, CORDON_IPV4);
    cr_expect_eq(memcmp(&e->a, ipv4_of_who[DEVICE], 4), 0);
    cr_expect_eq(e->ifindex, 1);
    cr_expect_eq(e->protocol, UDP);
    cr_expect_eq(e->port, 53);
    cr_expect_not(e->dropped);
    cr_expect_eq(e->window_ms, config->detect.window_s * 1000);
    cr_expect(e->count >= 35 && e->count < config->detect.hosts, "%u bits", e->count);
}

Test(watch, a_new_window_starts_anew)
{
    config->detect.window_s = 1;
    gw_kernel_limits(&k, config);
    send_numbered(udp_hosts, 0, 35);
    wait_for_another_window();
    send_numbered(udp_hosts, 35, 35);
    cr_expect_eq(told(GW_WIRE_HOSTS, NULL), 0, "half of them in each");
    wait_for_another_window();
    send_numbered(udp_hosts, 0, MANY);
    wait_for_another_window();
    send_numbered(udp_hosts, 0, MANY);
    cr_expect_eq(told(GW_WIRE_HOSTS, NULL), 2);
}

Test(watch, a_limit_of_none_is_no_limit)
{
    struct gw_hwaddr ip;
    struct frame f = {0};

    known_neighbours(30);
    config->detect.hosts = config->detect.ports = config->detect.neighbours = 0;
    config->detect.moves = config->detect.packets_per_s = 0;
    gw_kernel_limits(&k, config);
    for (size_t i = 0; i < GW_COUNT(scans); i++)
        send_numbered(scans[i].make, 0, scans[i].count);
    for (uint32_t i = 0; i < 30; i++) {
        udp_hosts(&f, i);
        ip = ipv4_numbered(2000 + i);
        set_source4(&f, &ip);
        mac_slot(DEVICE)->owner = 7;
        cr_assert(passes(&k, AT_XDP, &f));
    }
    expect_kinds("without limits", 0);
}

/* ---- two MACs side by side ---- */

static void send_from(const struct gw_hwaddr *mac, uint32_t first, uint32_t count)
{
    struct frame f = {0};

    for (uint32_t i = first; i < first + count; i++) {
        udp_hosts(&f, i);
        set_sender(&f, mac);
        cr_assert(passes(&k, AT_XDP, &f));
    }
}

/* Two in neighbouring slots. */
static void neighbouring(struct gw_hwaddr out[2])
{
    uint32_t before = GW_SLOT_NONE;

    for (uint32_t i = 0; i < 4; i++) {
        uint32_t slot;

        out[1] = mac_numbered(i);
        cr_assert_eq(known_address(&k, &out[1]), 0);
        slot = gw_table_find(&k.table, &out[1]);
        if (i > 0 && slot == before + 1)
            return;
        out[0] = out[1];
        before = slot;
    }
    cr_assert(false, "no two in neighbouring slots");
}

Test(watch, neighbours_in_the_tables_do_not_share_one)
{
    struct gw_hwaddr macs[2];

    neighbouring(macs);
    config->detect.window_s = 2;
    gw_kernel_limits(&k, config);
    send_from(&macs[0], 0, 1);
    send_from(&macs[1], 0, MANY);
    cr_expect_eq(hosts_told(&macs[1]), 1);
    send_from(&macs[0], 0, MANY);
    cr_expect_eq(hosts_told(&macs[0]), 1);
}

/* ---- floods ---- */

/* One CPU measures a MAC; so that it is always the same. */
static void stay_here(void)
{
    cpu_set_t here;

    CPU_ZERO(&here);
    CPU_SET((size_t)sched_getcpu(), &here);
    cr_assert_eq(sched_setaffinity(0, sizeof(here), &here), 0);
}

/* For 1.3 s `burst` packets and then `pause_us` of nothing, again and again. */
static void send_for_a_while(uint32_t burst, useconds_t pause_us)
{
    uint64_t end_ms = gw_clock_mono_ms() + 1300;
    struct frame f = {0};
    uint32_t verdict;

    udp_hosts(&f, 0);
    while (gw_clock_mono_ms() < end_ms) {
        cr_assert_geq(run_ns(program_fd(&k, AT_XDP), &f, burst, &verdict), 0);
        (void)usleep(pause_us);
    }
}

Test(watch, a_flood_is_told)
{
    const struct cordon_event *e = NULL;

    stay_here();
    config->detect.packets_per_s = 2000;
    gw_kernel_limits(&k, config);
    send_for_a_while(1000, 1000);
    cr_assert_eq(told(GW_WIRE_FLOOD, &e), 1);
    cr_expect_geq(e->count, 2000);
    cr_expect_eq(e->mac, mac_slot(DEVICE)->a);
}

/* Neither CPU's packets alone would be one. */
Test(watch, a_flood_over_several_cpus_is_told)
{
    uint32_t cpus = k.table.state->cpus, slot = (uint32_t)(mac_slot(DEVICE) - k.table.slots);
    const struct cordon_event *e = NULL;
    struct frame f = {0};

    if (cpus < 2)
        cr_skip("one CPU");
    config->detect.packets_per_s = 1000;
    gw_kernel_limits(&k, config);
    udp_hosts(&f, 0);
    cr_assert(passes(&k, AT_XDP, &f));
    for (uint32_t cpu = 0; cpu < 2; cpu++)
        k.table.counters[slot * cpus + cpu].at[CORDON_RX_PASSED].packets += 1000;
    (void)usleep(1100000);
    cr_assert(passes(&k, AT_XDP, &f));
    cr_assert_eq(told(GW_WIRE_FLOOD, &e), 1);
    cr_expect_geq(e->count, 1000);
    cr_expect_leq(e->count, 2000);
}

Test(watch, what_is_no_flood_is_not)
{
    stay_here();
    config->detect.packets_per_s = 2000;
    gw_kernel_limits(&k, config);
    send_for_a_while(10, 20000); /* 500 a second */
    cr_expect_eq(told(GW_WIRE_FLOOD, NULL), 0);
}

/* ---- from port to port ---- */

/* Each time as if its packet before had come from another port. */
static void move_often(uint32_t times)
{
    struct frame f = {0};

    for (uint32_t i = 0; i < times; i++) {
        struct gw_hwaddr ip = ipv4_numbered(i);

        mac_slot(DEVICE)->owner = 7;
        udp_hosts(&f, 0);
        set_source4(&f, &ip);
        cr_assert(passes(&k, AT_XDP, &f));
        cr_expect_eq(mac_slot(DEVICE)->owner, 1, "where it was heard");
    }
}

Test(watch, a_mac_on_several_ports_is_told)
{
    const struct cordon_event *e = NULL;

    move_often(config->detect.moves - 1);
    cr_expect_eq(told(GW_WIRE_MOVES, NULL), 0);
    forget();
    move_often(20);
    cr_assert_eq(told(GW_WIRE_MOVES, &e), 1);
    cr_expect_eq(e->count, config->detect.moves);
    cr_expect_eq(e->ifindex, 1);
}
