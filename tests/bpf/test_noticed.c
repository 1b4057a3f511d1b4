/* SPDX-License-Identifier: GPL-2.0-only */
/* Forged addresses, rogue servers, departures, and how much is told of anything. */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "enforcer/policy.h"
#include "watch.h"

enum { ETH_IP = 0x800, ETH_ARP = 0x806, ETH_IP6 = 0x86dd };
enum { UDP = 17, ICMP6 = 58 };

TestSuite(noticed, .init = watch_setup, .fini = watch_teardown);

/* ---- forged addresses ---- */

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

static void bind_to_device(void)
{
    struct gw_hwaddr ips[] = {gw_hwaddr_ipv4(ipv4_of_who[DEVICE]),
                              gw_hwaddr_ipv6(ipv6_of_who[DEVICE])};
    struct frame f = {0};

    for (size_t i = 0; i < GW_COUNT(ips); i++) {
        struct gw_verdict_record v = {.address = ips[i], .bound = 1};

        cr_assert_eq(gw_verdict_set(&k, &v, 1), 0);
        slot_of(&ips[i])->owner = mac_slot(DEVICE)->self;
    }
    claim(&f, SOURCE4, DEVICE, DEVICE);
    cr_assert(passes(&k, AT_XDP, &f), "its owner is heard");
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
    {"the gateway itself, back from a switch", SOURCE4, GATEWAY, GATEWAY, true, 0},
    {"the gateway itself in ARP", IN_ARP, GATEWAY, GATEWAY, true, 0},
    {"a group's MAC tells nobody", SOURCE4, ALL, DEVICE, true, 0},
    {"a MAC of zeros tells nobody", SOURCE4, NOBODY, DEVICE, true, 0},
};

static int flag(enum cordon_flag which, struct gw_hwaddr *all, size_t count)
{
    const struct gw_addresses list = {all, count, 0};

    return gw_kernel_flag(&k, which, &list);
}

Test(noticed, whose_address_it_is)
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

Test(noticed, says_whose_address_was_forged)
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

Test(noticed, the_routers_addresses_are_nobody_elses)
{
    struct gw_hwaddr router = gw_hwaddr_ipv4(ipv4_of_who[OTHER]);
    struct frame f = {0};

    cr_assert_eq(flag(CORDON_ROUTER, &router, 1), 0);
    claim(&f, SOURCE4, DEVICE, OTHER);
    cr_expect_not(passes(&k, AT_XDP, &f));
    cr_expect_eq(told(GW_WIRE_FORGED, NULL), 1);
    cr_assert_eq(flag(CORDON_ROUTER, NULL, 0), 0);
    cr_expect(passes(&k, AT_XDP, &f), "it is the router's no more");
}

Test(noticed, an_owner_who_is_silent_holds_no_address)
{
    struct frame f = {0};

    bind_to_device();
    claim(&f, SOURCE4, OTHER, DEVICE);
    mac_slot(DEVICE)->seen_ns -= CORDON_BOUND_NS - 10000000000ULL;
    cr_expect_not(passes(&k, AT_XDP, &f), "silent for 290 s");
    mac_slot(DEVICE)->seen_ns -= 11000000000ULL;
    cr_expect(passes(&k, AT_XDP, &f), "silent for 301 s");
}

/* ---- rogue servers ---- */

enum service { DHCP, DHCP_BEHIND_OPTIONS, DHCPV6, ROUTER };

static void serve(struct frame *f, enum service what, enum who from)
{
    eth(f, from, ALL, what <= DHCP_BEHIND_OPTIONS ? ETH_IP : ETH_IP6);
    if (what <= DHCP_BEHIND_OPTIONS) {
        (what == DHCP ? ipv4 : ipv4_options)(f, from, ALL, UDP);
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
    {"DHCP behind IP options", DHCP_BEHIND_OPTIONS, DEVICE, KIND(DHCP)},
    {"DHCPv6", DHCPV6, DEVICE, KIND(DHCP)},
    {"a router", ROUTER, DEVICE, KIND(ROUTER)},
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

/* Its very first packet. */
Test(noticed, a_stranger_serves)
{
    for (size_t i = 0; i < GW_COUNT(rogues); i++) {
        struct frame f = {0};

        serve(&f, rogues[i].what, rogues[i].from);
        f.bytes[11] = (uint8_t)(0x90 + i);
        forget();
        cr_expect(passes(&k, AT_XDP, &f));
        expect_kinds(rogues[i].name, rogues[i].kinds);
    }
}

Test(noticed, who_serves_without_being_asked_to)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[DEVICE]);
    struct gw_hwaddr ips[] = {gw_hwaddr_ipv4(ipv4_of_who[DEVICE]),
                              gw_hwaddr_ipv6(ipv6_of_who[DEVICE])};

    expect_rogues(false);
    cr_assert_eq(flag(CORDON_SERVER, &mac, 1), 0);
    expect_rogues(true);
    cr_assert_eq(flag(CORDON_SERVER, ips, GW_COUNT(ips)), 0);
    expect_rogues(true);
    cr_assert_eq(flag(CORDON_SERVER, NULL, 0), 0);
    expect_rogues(false);
}

Test(noticed, a_client_is_no_server)
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

Test(noticed, a_departure_is_told)
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

Test(noticed, a_flood_of_events_leaves_room_for_sightings)
{
    uint64_t since_ms = gw_clock_mono_ms();
    size_t events;

    burst(0, 1000, true);
    burst(1000, 10, false);
    events = told(GW_WIRE_FORGED, NULL);
    cr_expect_geq(events, CORDON_NOTICED_MAX);
    cr_expect_leq(events, quota(since_ms, CORDON_NOTICED_MAX), "%zu", events);
    /* Who forges is heard all the same. */
    cr_expect_geq(sightings(), 10, "%zu", sightings());
    cr_expect_leq(sightings(), quota(since_ms, CORDON_TOLD_MAX), "%zu", sightings());
}

Test(noticed, a_flood_of_sightings_leaves_room_for_events)
{
    uint64_t since_ms = gw_clock_mono_ms();

    burst(0, 1000, false);
    burst(1000, 10, true);
    cr_expect_geq(sightings(), CORDON_TOLD_MAX);
    cr_expect_leq(sightings(), quota(since_ms, CORDON_TOLD_MAX), "%zu", sightings());
    cr_expect_eq(told(GW_WIRE_FORGED, NULL), 10, "%zu", told(GW_WIRE_FORGED, NULL));
}
