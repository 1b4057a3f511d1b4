/* SPDX-License-Identifier: GPL-2.0-only */
/* What is noticed on the wire: scans, floods, forged addresses, rogue servers, departures. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <criterion/criterion.h>
#include <sched.h>

#include "base/clock.h"
#include "enforcer/policy.h"
#include "harness.h"

#include "cordon.skel.h"

enum { ETH_IP = 0x800, ETH_ARP = 0x806, ETH_IP6 = 0x86dd };
enum { ICMP = 1, TCP = 6, UDP = 17, ICMP6 = 58 };
enum { SYN = 2, SYN_ACK = 0x12 };

#define SLOTS 512
#define MANY 200 /* of anything: more than every limit */

static struct gw_kernel k;
static struct gw_config *config;
static struct cordon_event heard[4096];
static size_t heard_count;

static void on_event(void *owner, const struct cordon_event *e)
{
    (void)owner;
    if (heard_count < GW_COUNT(heard))
        heard[heard_count++] = *e;
}

static void setup(void)
{
    harness_open(&k, SLOTS);
    k.event = on_event;
    own_addresses(&k);
    known(&k, DEVICE);
    cr_assert_eq(gw_config_defaults(&config), 0);
    gw_kernel_limits(&k, config);
}

static void teardown(void)
{
    gw_config_free(&config);
    gw_kernel_close(&k);
}

TestSuite(watch, .init = setup, .fini = teardown);

/* ---- what was told ---- */

static size_t sightings(void)
{
    size_t count = 0;

    gw_kernel_events(&k);
    for (size_t i = 0; i < heard_count; i++)
        count += heard[i].what == CORDON_SIGHTING;
    return count;
}

/* How often, and the last one of them. */
static size_t told(enum gw_wire_kind kind, const struct cordon_event **out_last)
{
    size_t count = 0;

    gw_kernel_events(&k);
    for (size_t i = 0; i < heard_count; i++) {
        if (heard[i].what != CORDON_WIRE + (uint32_t)kind)
            continue;
        count++;
        if (out_last)
            *out_last = &heard[i];
    }
    return count;
}

static void clear_map(const struct bpf_map *map)
{
    static const uint8_t zero[sizeof(struct cordon_watch)];

    for (uint32_t i = 0; i < bpf_map__max_entries(map); i++)
        cr_assert_eq(bpf_map_update_elem(bpf_map__fd(map), &i, zero, BPF_ANY), 0);
}

/* As if nobody had been heard, and nothing told, for long. */
static void forget(void)
{
    gw_kernel_events(&k);
    heard_count = 0;
    clear_map(k.skeleton->maps.cordon_watches);
    clear_map(k.skeleton->maps.cordon_told);
}

/* Past what is remembered as told, whatever a jiffy is. */
static void wait_for_another_window(void)
{
    (void)usleep(1500000);
}

static bool is_any_told_again(void)
{
    for (unsigned kind = 0; kind < GW_WIRE_COUNT; kind++) {
        if (told((enum gw_wire_kind)kind, NULL) > 1)
            return true;
    }
    return false;
}

/* The same three times in one window: when that ended in between, once more. */
static void send_again_and_again(const char *name, enum program at, const struct frame *f,
                                 bool drops)
{
    int tries = 0;

    do {
        forget();
        for (int again = 0; again < 3; again++)
            cr_expect_eq(passes(&k, at, f), !drops, "%s", name);
    } while (is_any_told_again() && ++tries < 3);
}

/* ---- people ---- */

static struct gw_hwaddr mac_numbered(uint32_t i)
{
    return gw_hwaddr_mac((const uint8_t[]){2, 0, 0, 1, (uint8_t)(i >> 8), (uint8_t)i});
}

static struct gw_hwaddr ipv4_numbered(uint32_t i)
{
    return gw_hwaddr_ipv4((const uint8_t[]){10, 0, (uint8_t)(i >> 8), (uint8_t)i});
}

static struct cordon_slot *slot_of(const struct gw_hwaddr *a)
{
    uint32_t slot = gw_table_find(&k.table, a);

    cr_assert_neq(slot, GW_SLOT_NONE);
    return &k.table.slots[slot];
}

static struct cordon_slot *mac_slot(enum who who)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[who]);

    return slot_of(&mac);
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

static void set_sender(struct frame *f, const struct gw_hwaddr *mac)
{
    memcpy(f->bytes + 6, mac->bytes, 6);
}

static void set_source4(struct frame *f, const struct gw_hwaddr *ip)
{
    memcpy(f->bytes + 14 + 12, ip->bytes, 4);
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

#define KIND(name) (1U << GW_WIRE_##name)

static const struct scan {
    const char *name;
    void (*make)(struct frame *f, uint32_t i);
    uint32_t count;
    unsigned kinds; /* that are told */
} scans[] = {
    {"TCP to many hosts", tcp_hosts, MANY, KIND(HOSTS)},
    {"TCP to some hosts", tcp_hosts, 35, 0},
    {"answers over TCP", tcp_answers, MANY, 0},
    {"UDP to many hosts", udp_hosts, MANY, KIND(HOSTS)},
    {"UDP to some hosts", udp_hosts, 35, 0},
    {"UDP to many hosts and ports", udp_alike, MANY, KIND(HOSTS) | KIND(PORTS)},
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

static const char *const kind_names[] = {
#define X(name, text) text,
    GW_WIRE_KINDS(X)
#undef X
};

static void expect_kinds(const char *name, unsigned kinds)
{
    for (unsigned kind = 0; kind < GW_WIRE_COUNT; kind++)
        cr_expect_eq(told((enum gw_wire_kind)kind, NULL), kinds >> kind & 1, "%s: %s told %zu",
                     name, kind_names[kind], told((enum gw_wire_kind)kind, NULL));
}

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

/* ---- two MACs, one watch ---- */

static void send_from(const struct gw_hwaddr *mac, uint32_t first, uint32_t count)
{
    struct frame f = {0};

    for (uint32_t i = first; i < first + count; i++) {
        udp_hosts(&f, i);
        set_sender(&f, mac);
        cr_assert(passes(&k, AT_XDP, &f));
    }
}

/* Two whose slots share a watch. */
static void neighbouring(struct gw_hwaddr out[2])
{
    uint32_t before = GW_SLOT_NONE;

    for (uint32_t i = 0; i < 4; i++) {
        uint32_t slot;

        out[1] = mac_numbered(i);
        cr_assert_eq(known_address(&k, &out[1]), 0);
        slot = gw_table_find(&k.table, &out[1]);
        if (i > 0 && slot / 2 == before / 2)
            return;
        out[0] = out[1];
        before = slot;
    }
    cr_assert(false, "no two in neighbouring slots");
}

static size_t hosts_told(const struct gw_hwaddr *by)
{
    size_t count = 0;

    gw_kernel_events(&k);
    for (size_t i = 0; i < heard_count; i++)
        count += heard[i].what == CORDON_WIRE + GW_WIRE_HOSTS && heard[i].mac == slot_of(by)->a;
    return count;
}

Test(watch, of_two_that_share_one_the_first_keeps_it_for_the_window)
{
    struct gw_hwaddr macs[2];

    neighbouring(macs);
    config->detect.window_s = 2;
    gw_kernel_limits(&k, config);
    send_from(&macs[0], 0, 1);
    send_from(&macs[1], 0, MANY);
    cr_expect_eq(hosts_told(&macs[1]), 0, "it is the other's");
    send_from(&macs[0], 0, MANY);
    cr_expect_eq(hosts_told(&macs[0]), 1, "undisturbed");
    (void)usleep(2200000);
    send_from(&macs[1], 0, MANY);
    cr_expect_eq(hosts_told(&macs[1]), 1, "in the next window it came first");
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

Test(watch, what_is_no_flood_is_not)
{
    stay_here();
    config->detect.packets_per_s = 2000;
    gw_kernel_limits(&k, config);
    send_for_a_while(10, 20000); /* 500 a second */
    cr_expect_eq(told(GW_WIRE_FLOOD, NULL), 0);
}

/* ---- forged addresses ---- */

static void bind_to_device(void)
{
    const struct gw_hwaddr ips[] = {gw_hwaddr_ipv4(ipv4_of_who[DEVICE]),
                                    gw_hwaddr_ipv6(ipv6_of_who[DEVICE])};
    struct frame f = {0};

    for (size_t i = 0; i < GW_COUNT(ips); i++) {
        struct gw_verdict_record v = {.address = ips[i], .bound = 1};

        cr_assert_eq(gw_verdict_set(&k, &v, 1), 0);
        slot_of(&ips[i])->owner = mac_slot(DEVICE)->self;
    }
    udp_hosts(&f, 0);
    cr_assert(passes(&k, AT_XDP, &f), "its owner is heard");
}

enum claim_in { SOURCE4, SOURCE6, IN_ARP, IN_ADVERT, ARP_PROBE, DUPLICATE_PROBE };

static void claim(struct frame *f, enum claim_in where, enum who from, enum who whose)
{
    bool six = where == SOURCE6 || where == IN_ADVERT || where == DUPLICATE_PROBE;
    bool in_arp = where == IN_ARP || where == ARP_PROBE;

    eth(f, from, ALL, in_arp ? ETH_ARP : six ? ETH_IP6 : ETH_IP);
    if (where == SOURCE4) {
        ipv4(f, whose, OTHER, UDP);
        ports(f, 1, 2);
    } else if (where == SOURCE6) {
        ipv6(f, whose, OTHER, UDP);
        ports(f, 1, 2);
    } else if (where == IN_ARP) {
        arp(f, 2, from, whose, OTHER, OTHER);
    } else if (where == ARP_PROBE) {
        arp(f, 1, from, NOBODY, NOBODY, whose);
    } else {
        ipv6(f, where == IN_ADVERT ? OTHER : NOBODY, ALL, ICMP6);
        discovery(f, where == IN_ADVERT ? 136 : 135, whose, 0, NOBODY);
    }
}

static const struct forging {
    const char *name;
    enum claim_in where;
    enum who from, whose;
    bool drops;
    unsigned kinds;
} forgings[] = {
    {"its own", SOURCE4, DEVICE, DEVICE, false, 0},
    {"its own in ARP", IN_ARP, DEVICE, DEVICE, false, 0},
    {"its own advertised", IN_ADVERT, DEVICE, DEVICE, false, 0},
    {"another's", SOURCE4, OTHER, DEVICE, true, KIND(FORGED)},
    {"another's over IPv6", SOURCE6, OTHER, DEVICE, true, KIND(FORGED)},
    {"another's in ARP", IN_ARP, OTHER, DEVICE, true, KIND(SPOOFED)},
    {"another's advertised", IN_ADVERT, OTHER, DEVICE, true, KIND(SPOOFED)},
    {"asks in ARP whether it is free", ARP_PROBE, OTHER, DEVICE, false, 0},
    {"asks by a solicitation", DUPLICATE_PROBE, OTHER, DEVICE, false, 0},
    {"the gateway's", SOURCE4, OTHER, GATEWAY, true, KIND(FORGED)},
    {"the gateway's over IPv6", SOURCE6, OTHER, GATEWAY, true, KIND(FORGED)},
    {"the gateway's in ARP", IN_ARP, OTHER, GATEWAY, true, KIND(SPOOFED)},
    {"the gateway's advertised", IN_ADVERT, OTHER, GATEWAY, true, KIND(SPOOFED)},
    {"the gateway itself, from a switch", SOURCE4, GATEWAY, GATEWAY, false, 0},
    {"the gateway itself in ARP", IN_ARP, GATEWAY, GATEWAY, false, 0},
    {"a group's MAC tells nobody", SOURCE4, ALL, DEVICE, true, 0},
    {"a MAC of zeros tells nobody", SOURCE4, NOBODY, DEVICE, true, 0},
};

Test(watch, whose_address_it_is)
{
    bind_to_device();
    known(&k, OTHER);
    for (size_t i = 0; i < GW_COUNT(forgings); i++) {
        const struct forging *r = &forgings[i];
        struct frame f = {0};

        claim(&f, r->where, r->from, r->whose);
        send_again_and_again(r->name, AT_XDP, &f, r->drops);
        expect_kinds(r->name, r->kinds);
    }
}

Test(watch, says_whose_address_was_forged)
{
    const struct cordon_event *e = NULL;
    struct frame f = {0};

    bind_to_device();
    claim(&f, SOURCE4, OTHER, DEVICE);
    cr_expect_not(passes(&k, AT_XDP, &f));
    cr_assert_eq(told(GW_WIRE_FORGED, &e), 1);
    cr_expect(e->dropped);
    cr_expect_eq(e->peer_kind, CORDON_MAC);
    cr_expect_eq(e->peer_a, mac_slot(DEVICE)->a);
    cr_expect_eq(memcmp(&e->a, ipv4_of_who[DEVICE], 4), 0);
}

Test(watch, the_routers_addresses_are_nobody_elses)
{
    const struct gw_hwaddr router = gw_hwaddr_ipv4(ipv4_of_who[OTHER]);
    struct frame f = {0};

    cr_assert_eq(gw_kernel_flag(&k, CORDON_ROUTER, &router, 1), 0);
    claim(&f, SOURCE4, DEVICE, OTHER);
    cr_expect_not(passes(&k, AT_XDP, &f));
    cr_expect_eq(told(GW_WIRE_FORGED, NULL), 1);
    cr_assert_eq(gw_kernel_flag(&k, CORDON_ROUTER, NULL, 0), 0);
    cr_expect(passes(&k, AT_XDP, &f), "it is the router's no more");
}

Test(watch, an_owner_who_is_silent_holds_no_address)
{
    struct frame f = {0};

    bind_to_device();
    claim(&f, SOURCE4, OTHER, DEVICE);
    mac_slot(DEVICE)->seen_ns -= CORDON_BOUND_NS - 10000000000ULL;
    cr_expect_not(passes(&k, AT_XDP, &f), "silent for 290 s");
    mac_slot(DEVICE)->seen_ns -= 11000000000ULL;
    cr_expect(passes(&k, AT_XDP, &f), "silent for 301 s");
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

/* ---- rogue servers ---- */

enum service { DHCP, DHCPV6, ROUTER };

static void serve(struct frame *f, enum service what, enum who from)
{
    eth(f, from, ALL, what == DHCP ? ETH_IP : ETH_IP6);
    if (what == DHCP) {
        ipv4(f, from, ALL, UDP);
        ports(f, 67, 68);
    } else if (what == DHCPV6) {
        ipv6(f, from, DEVICE, UDP);
        ports(f, 547, 546);
    } else {
        ipv6(f, from, ALL, ICMP6);
        discovery_head(f, 134, 16);
    }
}

static const struct rogue {
    const char *name;
    enum service what;
    enum who from;
    unsigned kinds;
} rogues[] = {
    {"DHCP", DHCP, DEVICE, KIND(DHCP)},
    {"DHCPv6", DHCPV6, DEVICE, KIND(DHCP)},
    {"a router", ROUTER, DEVICE, KIND(ROUTER)},
    {"DHCP by the gateway", DHCP, GATEWAY, 0},
    {"DHCPv6 by the gateway", DHCPV6, GATEWAY, 0},
    {"a router that is the gateway", ROUTER, GATEWAY, 0},
};

/* They pass: what becomes of whom serves is the rules' to say. */
static void expect_rogues(bool allowed)
{
    struct frame f = {0};

    for (size_t i = 0; i < GW_COUNT(rogues); i++) {
        serve(&f, rogues[i].what, rogues[i].from);
        mac_slot(DEVICE)->last = 0;
        send_again_and_again(rogues[i].name, AT_XDP, &f, false);
        expect_kinds(rogues[i].name, allowed ? 0 : rogues[i].kinds);
    }
}

Test(watch, who_serves_without_being_asked_to)
{
    const struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[DEVICE]);
    const struct gw_hwaddr ips[] = {gw_hwaddr_ipv4(ipv4_of_who[DEVICE]),
                                    gw_hwaddr_ipv6(ipv6_of_who[DEVICE])};

    expect_rogues(false);
    cr_assert_eq(gw_kernel_flag(&k, CORDON_SERVER, &mac, 1), 0);
    expect_rogues(true);
    cr_assert_eq(gw_kernel_flag(&k, CORDON_SERVER, ips, GW_COUNT(ips)), 0);
    expect_rogues(true);
    cr_assert_eq(gw_kernel_flag(&k, CORDON_SERVER, NULL, 0), 0);
    expect_rogues(false);
}

Test(watch, a_client_is_no_server)
{
    struct frame f = {0};

    serve(&f, DHCP, DEVICE);
    f.bytes[f.ip_end + 1] = 68;
    f.bytes[f.ip_end + 3] = 67;
    cr_expect(passes(&k, AT_XDP, &f));
    expect_kinds("a DHCP client", 0);
}

/* ---- departures ---- */

static void give_policy(unsigned policy_flags, enum gw_verdict_mode mode)
{
    struct gw_policy p = {.number = 1, .flags = policy_flags};
    struct gw_verdict_record v = {
        .address = gw_hwaddr_mac(mac_of_who[DEVICE]), .mode = (uint8_t)mode, .policy = 1};

    cr_assert_eq(gw_policy_set(&k, &p, 1), 0);
    cr_assert_eq(gw_verdict_set(&k, &v, 1), 0);
}

static const struct departure {
    const char *name;
    unsigned flags;
    enum gw_verdict_mode mode;
    enum program at;
    bool told, drops;
} departures[] = {
    {"reported", GW_POLICY_REPORT, GW_MODE_NONE, AT_XDP, true, false},
    {"enforced", GW_POLICY_ENFORCE, GW_MODE_NONE, AT_XDP, true, true},
    {"enforced toward it", GW_POLICY_ENFORCE, GW_MODE_NONE, AT_TC_OUT, true, true},
    {"enforced, but observed", GW_POLICY_ENFORCE, GW_MODE_OBSERVE, AT_XDP, true, false},
    {"learned", GW_POLICY_LEARN, GW_MODE_NONE, AT_XDP, false, false},
};

Test(watch, a_departure_is_told)
{
    for (size_t i = 0; i < GW_COUNT(departures); i++) {
        const struct departure *r = &departures[i];
        const struct cordon_event *e = NULL;
        bool out = r->at == AT_TC_OUT;
        struct frame f = {0};

        give_policy(r->flags, r->mode);
        eth(&f, out ? OTHER : DEVICE, out ? DEVICE : OTHER, ETH_IP);
        ipv4(&f, out ? OTHER : DEVICE, out ? DEVICE : OTHER, UDP);
        ports(&f, out ? 443 : 4000, out ? 4000 : 443);
        send_again_and_again(r->name, r->at, &f, r->drops);
        expect_kinds(r->name, r->told ? KIND(DEPARTURE) : 0);
        if (told(GW_WIRE_DEPARTURE, &e) != 1)
            continue;
        cr_expect_eq(e->dropped, r->drops, "%s", r->name);
        cr_expect_eq(e->egress, out, "%s", r->name);
        cr_expect_eq(e->protocol, UDP, "%s", r->name);
        cr_expect_eq(e->port, out ? 4000 : 443, "%s", r->name); /* that it went to */
        cr_expect_eq(memcmp(&e->peer_a, ipv4_of_who[OTHER], 4), 0, "%s", r->name);
    }
}

/* ---- quotas ---- */

/* No more than the windows that began since then let through. */
static size_t quota(uint64_t since_ms, size_t each)
{
    return ((gw_clock_mono_ms() - since_ms) / 100 + 2) * each; /* the shortest has 128 ms */
}

/* From somebody else each time: a forged source, or an address of its own. */
static void burst(uint32_t first, uint32_t count, bool forged)
{
    struct frame f = {0};

    for (uint32_t i = first; i < first + count; i++) {
        struct gw_hwaddr mac = mac_numbered(i), ip = ipv4_numbered(i);

        claim(&f, SOURCE4, OTHER, GATEWAY);
        set_sender(&f, &mac);
        if (!forged)
            set_source4(&f, &ip);
        cr_expect_eq(passes(&k, AT_XDP, &f), !forged);
    }
}

Test(watch, a_flood_of_events_leaves_room_for_sightings)
{
    uint64_t since_ms = gw_clock_mono_ms();
    size_t events;

    burst(0, 1000, true);
    burst(1000, 10, false);
    events = told(GW_WIRE_FORGED, NULL);
    cr_expect_geq(events, CORDON_NOTICED_MAX);
    cr_expect_leq(events, quota(since_ms, CORDON_NOTICED_MAX), "%zu", events);
    cr_expect_eq(sightings(), 10, "%zu", sightings());
}

Test(watch, a_flood_of_sightings_leaves_room_for_events)
{
    uint64_t since_ms = gw_clock_mono_ms();

    burst(0, 1000, false);
    burst(1000, 10, true);
    cr_expect_geq(sightings(), CORDON_TOLD_MAX);
    cr_expect_leq(sightings(), quota(since_ms, CORDON_TOLD_MAX), "%zu", sightings());
    cr_expect_eq(told(GW_WIRE_FORGED, NULL), 10, "%zu", told(GW_WIRE_FORGED, NULL));
}
