/* SPDX-License-Identifier: GPL-2.0-only */
/* What a verdict does: its end, remediation, counters, sightings, full tables. */
#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "config/config.h"
#include "harness.h"

enum { ETH_IP = 0x800, ETH_ARP = 0x806, ETH_IP6 = 0x86dd };
enum { TCP = 6, UDP = 17, ICMP6 = 58 };

static struct gw_kernel k;
static struct cordon_event heard[4096];
static size_t heard_count;

static void on_sighting(void *owner, const struct cordon_event *s)
{
    (void)owner;
    if (heard_count < GW_COUNT(heard))
        heard[heard_count++] = *s;
}

static void setup(void)
{
    harness_open(&k, 256);
    k.event = on_sighting;
    own_addresses(&k);
}

static void teardown(void)
{
    gw_kernel_close(&k);
}

TestSuite(verdicts, .init = setup, .fini = teardown);

static void udp4(struct frame *f, enum who from, enum who to, uint16_t sport, uint16_t dport)
{
    eth(f, from, to == ALL ? ALL : to, ETH_IP);
    ipv4(f, from, to, UDP);
    ports(f, sport, dport);
}

/* ---- ends ---- */

static int judge_until(const char *text, int64_t from_now_ms)
{
    struct gw_verdict_record v = {
        .address = address(text),
        .mode = GW_MODE_ISOLATE,
        .until_wall_ms = gw_clock_wall_ms() + from_now_ms,
    };

    return gw_verdict_set(&k, &v, 1);
}

Test(verdicts, an_end_is_observed_without_the_daemon)
{
    static const char *const names[] = {"02:00:00:00:00:01", "192.0.2.10", "192.0.2.0/24"};
    struct frame f = {0};

    udp4(&f, DEVICE, OTHER, 1, 2);
    for (size_t i = 0; i < GW_COUNT(names); i++) {
        cr_assert_eq(judge_until(names[i], 150), 0);
        cr_expect_not(passes(&k, AT_XDP, &f), "%s", names[i]);
        (void)usleep(200000);
        cr_expect(passes(&k, AT_XDP, &f), "%s", names[i]);
        cr_assert_eq(judge_until(names[i], 60000), 0);
        cr_expect_not(passes(&k, AT_XDP, &f), "%s again", names[i]);
        cr_assert_eq(judge_until(names[i], -1), 0);
        cr_expect(passes(&k, AT_XDP, &f), "%s in the past", names[i]);
    }
}

Test(verdicts, an_expired_prefix_does_not_hide_a_shorter_one)
{
    struct frame f = {0};

    udp4(&f, DEVICE, OTHER, 1, 2);
    cr_assert_eq(judge(&k, "192.0.0.0/16", GW_MODE_ISOLATE), 0);
    cr_assert_eq(judge_until("192.0.2.0/24", 50), 0);
    (void)usleep(100000);
    cr_expect_not(passes(&k, AT_XDP, &f));
    cr_assert_eq(judge(&k, "192.0.0.0/16", GW_MODE_NONE), 0);
    cr_expect(passes(&k, AT_XDP, &f));
}

static void judge_net(uint8_t bits, enum gw_verdict_mode mode)
{
    struct gw_hwaddr net = gw_hwaddr_ipv6(ipv6_of_who[DEVICE]);

    net.prefix_len = bits;
    for (size_t i = bits; i < 128; i++)
        net.bytes[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
    cr_assert_eq(judge_address(&k, &net, mode), 0, "%u", bits);
}

Test(verdicts, no_prefix_hides_a_stricter_one)
{
    struct frame f = {0};

    eth(&f, DEVICE, OTHER, ETH_IP6);
    ipv6(&f, DEVICE, OTHER, UDP);
    ports(&f, 1, 2);
    judge_net(1, GW_MODE_ISOLATE);
    for (uint8_t bits = 2; bits < 128; bits++)
        judge_net(bits, bits % 2 ? GW_MODE_OBSERVE : GW_MODE_REMEDIATE);
    cr_expect_not(passes(&k, AT_XDP, &f));
    judge_net(1, GW_MODE_NONE);
    cr_expect_not(passes(&k, AT_XDP, &f), "in remediation");
    for (uint8_t bits = 2; bits < 128; bits += 2)
        judge_net(bits, GW_MODE_NONE);
    cr_expect(passes(&k, AT_XDP, &f), "observed");
}

Test(verdicts, the_stricter_of_two_counts)
{
    struct frame f = {0};

    udp4(&f, DEVICE, GATEWAY, 1000, 5684);
    cr_assert_eq(judge(&k, "02:00:00:00:00:01", GW_MODE_REMEDIATE), 0);
    cr_expect(passes(&k, AT_XDP, &f));
    cr_assert_eq(judge(&k, "192.0.2.10", GW_MODE_ISOLATE), 0);
    cr_expect_not(passes(&k, AT_XDP, &f));
    cr_assert_eq(judge(&k, "192.0.2.10", GW_MODE_REMEDIATE), 0);
    cr_expect(passes(&k, AT_XDP, &f));
    cr_assert_eq(judge(&k, "192.0.2.0/28", GW_MODE_ISOLATE), 0);
    cr_expect_not(passes(&k, AT_XDP, &f));
}

/* ---- remediation ---- */

struct remedy {
    const char *name;
    uint16_t type;
    enum who peer;    /* the other end of the network header */
    uint8_t protocol; /* or ARP's operation, or the type in neighbour discovery */
    uint16_t own, other;
    enum who target; /* of ARP and neighbour discovery */
    enum who link;   /* the other end of the link header */
    bool in, out;    /* passes from, toward the device */
};

static const struct remedy remedies[] = {
    {"DNS over UDP", ETH_IP, GATEWAY, UDP, 999, 53, 0, GATEWAY, true, true},
    {"DNS over TCP", ETH_IP, GATEWAY, TCP, 999, 53, 0, GATEWAY, true, true},
    {"DNS elsewhere", ETH_IP, OTHER, UDP, 999, 53, 0, GATEWAY, false, false},
    {"MQTT", ETH_IP, GATEWAY, TCP, 999, 8883, 0, GATEWAY, true, true},
    {"MQTT at somebody's link address", ETH_IP, GATEWAY, TCP, 999, 8883, 0, OTHER, false, true},
    {"MQTT elsewhere", ETH_IP, OTHER, TCP, 999, 8883, 0, GATEWAY, false, false},
    {"MQTT over UDP", ETH_IP, GATEWAY, UDP, 999, 8883, 0, GATEWAY, false, false},
    {"enrolment", ETH_IP, GATEWAY, TCP, 999, 8443, 0, GATEWAY, true, true},
    {"CoAP", ETH_IP, GATEWAY, UDP, 999, 5684, 0, GATEWAY, true, true},
    {"CoAP over TCP", ETH_IP, GATEWAY, TCP, 999, 5684, 0, GATEWAY, false, false},
    {"the admin page", ETH_IP, GATEWAY, TCP, 999, 443, 0, GATEWAY, false, false},
    {"ssh", ETH_IP, GATEWAY, TCP, 999, 22, 0, GATEWAY, false, false},
    {"a service of its own", ETH_IP, GATEWAY, TCP, 8883, 999, 0, GATEWAY, false, false},
    {"DHCP to all", ETH_IP, ALL, UDP, 68, 67, 0, ALL, true, true},
    {"DHCP to the gateway", ETH_IP, GATEWAY, UDP, 68, 67, 0, GATEWAY, true, true},
    {"DHCP to somebody", ETH_IP, OTHER, UDP, 68, 67, 0, GATEWAY, false, true},
    {"a DHCP server of its own", ETH_IP, ALL, UDP, 67, 68, 0, ALL, false, false},
    {"ICMP", ETH_IP, GATEWAY, 1, 0x800, 0, 0, GATEWAY, false, false},
    {"DNS over IPv6", ETH_IP6, GATEWAY, UDP, 999, 53, 0, GATEWAY, true, true},
    {"MQTT over IPv6", ETH_IP6, GATEWAY, TCP, 999, 8883, 0, GATEWAY, true, true},
    {"MQTT over IPv6 elsewhere", ETH_IP6, OTHER, TCP, 999, 8883, 0, GATEWAY, false, false},
    {"DHCPv6 to all", ETH_IP6, ALL, UDP, 546, 547, 0, ALL, true, true},
    {"DHCPv6 to the gateway", ETH_IP6, GATEWAY, UDP, 546, 547, 0, GATEWAY, true, true},
    {"DHCPv6 to somebody", ETH_IP6, OTHER, UDP, 546, 547, 0, GATEWAY, false, true},
    {"ARP for the gateway", ETH_ARP, 0, 1, 0, 0, GATEWAY, ALL, true, true},
    {"ARP for somebody", ETH_ARP, 0, 1, 0, 0, OTHER, ALL, false, false},
    {"solicitation for the gateway", ETH_IP6, ALL, ICMP6, 135, 0, GATEWAY, ALL, true, false},
    {"solicitation for somebody", ETH_IP6, ALL, ICMP6, 135, 0, OTHER, ALL, false, false},
    {"advertisement to the gateway", ETH_IP6, GATEWAY, ICMP6, 136, 0, DEVICE, GATEWAY, true, true},
    {"advertisement to somebody", ETH_IP6, OTHER, ICMP6, 136, 0, DEVICE, OTHER, false, false},
    {"router solicitation", ETH_IP6, ALL, ICMP6, 133, 0, NOBODY, ALL, true, false},
    {"a router of its own", ETH_IP6, ALL, ICMP6, 134, 0, NOBODY, ALL, false, false},
    {"echo over IPv6", ETH_IP6, GATEWAY, ICMP6, 128, 0, NOBODY, GATEWAY, false, false},
    {"another kind", 0x88cc, GATEWAY, 0, 0, 0, 0, GATEWAY, false, false},
};

static void layer3(struct frame *f, const struct remedy *r, enum who from, enum who to, bool out)
{
    uint16_t sport = out ? r->other : r->own, dport = out ? r->own : r->other;

    if (r->type == ETH_ARP) {
        arp(f, r->protocol, from, out ? r->target : DEVICE, NOBODY, out ? DEVICE : r->target);
        return;
    }
    if (r->type == ETH_IP)
        ipv4(f, from, to, r->protocol);
    else if (r->type == ETH_IP6)
        ipv6(f, from, to, r->protocol);
    if (r->type == ETH_IP6 && r->protocol == ICMP6)
        discovery(f, (uint8_t)r->own, r->target, 0, NOBODY);
    else
        ports(f, sport, dport);
}

Test(verdicts, remediation_leaves_open_what_repairs)
{
    cr_assert_eq(judge(&k, "02:00:00:00:00:01", GW_MODE_REMEDIATE), 0);
    for (size_t i = 0; i < GW_COUNT(remedies); i++) {
        const struct remedy *r = &remedies[i];
        struct frame in = {0}, out = {0};

        eth(&in, DEVICE, r->link, r->type);
        layer3(&in, r, DEVICE, r->peer, false);
        cr_expect_eq(passes(&k, AT_XDP, &in), r->in, "%s, from it", r->name);
        cr_expect_eq(passes(&k, AT_TC_IN, &in), r->in, "%s, from it (tc)", r->name);
        eth(&out, r->link == ALL ? GATEWAY : r->link, DEVICE, r->type);
        layer3(&out, r, r->peer, DEVICE, true);
        cr_expect_eq(passes(&k, AT_TC_OUT, &out), r->out, "%s, toward it", r->name);
    }
}

Test(verdicts, fragments_and_cut_frames_are_no_way_out_of_remediation)
{
    struct frame f = {0}, whole = {0};

    cr_assert_eq(judge(&k, "02:00:00:00:00:01", GW_MODE_REMEDIATE), 0);
    eth(&f, DEVICE, GATEWAY, ETH_IP);
    ipv4_fragment(&f, DEVICE, GATEWAY, UDP, 100);
    ports(&f, 999, 53);
    cr_expect_not(passes(&k, AT_XDP, &f), "a later fragment");
    eth(&f, DEVICE, GATEWAY, ETH_IP6);
    ipv6(&f, DEVICE, GATEWAY, 44);
    fragment(&f, UDP, 9);
    ports(&f, 999, 53);
    cr_expect_not(passes(&k, AT_XDP, &f), "a later fragment over IPv6");
    eth(&whole, DEVICE, GATEWAY, ETH_IP);
    ipv4_options(&whole, DEVICE, GATEWAY, UDP);
    ports(&whole, 999, 53);
    for (f = whole, f.len = 14; f.len <= whole.len; f.len++)
        cr_expect_eq(passes(&k, AT_XDP, &f), f.len >= 14 + 60 + 4, "cut at %zu", f.len);
}

Test(verdicts, what_only_looks_open_is_no_way_out_of_remediation)
{
    static const struct {
        const char *name;
        uint16_t type;
        size_t at; /* the byte that is another */
        uint8_t value;
    } rows[] = {
        {"ARP of another protocol", ETH_ARP, 14 + 2, 0x86},
        {"ARP of other hardware addresses", ETH_ARP, 14 + 4, 8},
        {"ARP of other protocol addresses", ETH_ARP, 14 + 5, 16},
        {"IPv4 of another version", ETH_IP, 14, 0x55},
        {"IPv6 of another version", ETH_IP6, 14, 0x40},
    };

    cr_assert_eq(judge(&k, "02:00:00:00:00:01", GW_MODE_REMEDIATE), 0);
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        struct frame f = {0};

        eth(&f, DEVICE, GATEWAY, rows[i].type);
        if (rows[i].type == ETH_ARP)
            arp(&f, 1, DEVICE, DEVICE, NOBODY, GATEWAY);
        else if (rows[i].type == ETH_IP)
            ipv4(&f, DEVICE, GATEWAY, TCP);
        else
            ipv6(&f, DEVICE, GATEWAY, TCP);
        ports(&f, 999, 8883);
        cr_expect(passes(&k, AT_XDP, &f), "%s, before", rows[i].name);
        f.bytes[rows[i].at] = rows[i].value;
        cr_expect_not(passes(&k, AT_XDP, &f), "%s", rows[i].name);
    }
}

/* ---- counters ---- */

static struct gw_traffic traffic(const char *text)
{
    struct gw_hwaddr a = address(text);
    struct gw_traffic t = {0};
    uint32_t slot = gw_table_find(&k.table, &a);

    if (slot != GW_SLOT_NONE)
        gw_table_traffic(&k.table, slot, &t);
    return t;
}

Test(verdicts, everything_is_counted_for_its_address)
{
    struct frame in = {0}, out = {0}, all = {0};
    struct gw_traffic t, port;

    known(&k, DEVICE);
    udp4(&in, DEVICE, OTHER, 1, 2);
    udp4(&out, OTHER, DEVICE, 1, 2);
    eth(&all, OTHER, ALL, ETH_ARP);
    arp(&all, 1, OTHER, OTHER, NOBODY, DEVICE);
    for (int i = 0; i < 3; i++)
        cr_assert(passes(&k, AT_XDP, &in));
    for (int i = 0; i < 2; i++)
        cr_assert(passes(&k, AT_TC_OUT, &out));
    cr_assert(passes(&k, AT_TC_OUT, &all));
    t = traffic("02:00:00:00:00:01");
    cr_expect_eq(t.rx_packets, 3);
    cr_expect_eq(t.rx_bytes, 3 * in.len);
    cr_expect_eq(t.tx_packets, 2, "a question to all is not for it alone: %lu", t.tx_packets);
    cr_expect_eq(t.dropped_packets, 0);
    cr_expect_leq(t.last_seen_ms, gw_clock_mono_ms());
    cr_expect_geq(t.last_seen_ms + 1000, gw_clock_mono_ms());
    t = traffic("192.0.2.10");
    cr_expect_eq(t.rx_packets, 0, "counted once, for the link address");
    cr_expect_leq(t.last_seen_ms, gw_clock_mono_ms());
    cr_expect_geq(t.last_seen_ms + 1000, gw_clock_mono_ms());

    cr_assert_eq(judge(&k, "192.0.2.10", GW_MODE_ISOLATE), 0);
    for (int i = 0; i < 4; i++)
        cr_assert_not(passes(&k, AT_XDP, &in));
    cr_assert_not(passes(&k, AT_TC_OUT, &out));
    t = traffic("192.0.2.10");
    cr_expect_eq(t.dropped_packets, 5);
    cr_expect_eq(t.dropped_bytes, 4 * in.len + out.len);
    cr_expect_eq(t.rx_packets, 0, "what dropped has not passed");
    gw_table_port(&k.table, 1, &port);
    cr_expect_eq(port.dropped_packets, 5);
    cr_expect_eq(port.dropped_bytes, 4 * in.len + out.len);
    gw_table_port(&k.table, 1 + CORDON_PORTS, &port);
    cr_expect_eq(port.dropped_packets, 0, "another port in the same place");
}

/* ---- what the gateway listens on ---- */

static void listen_on(struct gw_listen_list *list, uint16_t first, uint16_t second)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(first)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(second)};

    memcpy(&list->at[0].addr, &four, sizeof(four));
    memcpy(&list->at[1].addr, &six, sizeof(six));
    list->count = 2;
}

Test(verdicts, remediation_reaches_what_is_configured)
{
    static const struct {
        uint8_t protocol;
        uint16_t port;
        bool open;
    } rows[] = {
        {TCP, 1883, true},  {TCP, 65535, true}, {TCP, 9443, true},  {TCP, 63, true},
        {UDP, 1, true},     {UDP, 64, true},    {TCP, 8883, false}, {TCP, 8443, false},
        {UDP, 5684, false}, {TCP, 1, false},    {UDP, 1883, false}, {TCP, 65534, false},
        {TCP, 53, true},    {UDP, 53, true},
    };
    struct gw_config *config;

    cr_assert_eq(gw_config_defaults(&config), 0);
    listen_on(&config->listen.mqtt, 1883, 65535);
    listen_on(&config->listen.https, 9443, 63);
    listen_on(&config->listen.coap, 1, 64);
    gw_kernel_services(&k, config);
    gw_config_free(&config);
    cr_assert_eq(judge(&k, "02:00:00:00:00:01", GW_MODE_REMEDIATE), 0);
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        struct frame f = {0};

        eth(&f, DEVICE, GATEWAY, ETH_IP);
        ipv4(&f, DEVICE, GATEWAY, rows[i].protocol);
        ports(&f, 999, rows[i].port);
        cr_expect_eq(passes(&k, AT_XDP, &f), rows[i].open, "%u, %u", rows[i].protocol,
                     rows[i].port);
    }
}

/* ---- a daemon that died between two steps ---- */

#define PINS "/sys/fs/bpf/cordon"

/* Pins of this test's own, which end with it. */
static void open_pinned(struct gw_kernel *p)
{
    char why[GW_WHY_MAX];

    *p = (struct gw_kernel){0};
    cr_assert_eq(gw_kernel_open(p, PINS, 256, why), 0, "%s", why);
    gw_table_port_claim(&p->table, 1);
}

static void pin_privately(struct gw_kernel *p)
{
    cr_assert_eq(unshare(CLONE_NEWNS), 0);
    cr_assert_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    cr_assert_eq(mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL), 0);
    open_pinned(p);
    cr_assert_not(p->taken_over);
}

static void reopen(struct gw_kernel *p)
{
    gw_kernel_close(p);
    open_pinned(p);
    cr_assert(p->taken_over);
}

Test(verdicts, are_taken_over_with_their_counters)
{
    static const char *const names[] = {"02:00:00:00:00:01", "192.0.2.10", "192.0.2.0/24",
                                        "2001:db8::10", "2001:db8::/64"};
    struct frame four = {0}, six = {0};
    struct gw_kernel p;

    pin_privately(&p);
    udp4(&four, DEVICE, OTHER, 1, 2);
    eth(&six, DEVICE, OTHER, ETH_IP6);
    ipv6(&six, DEVICE, OTHER, UDP);
    ports(&six, 1, 2);
    for (size_t i = 0; i < GW_COUNT(names); i++) {
        const struct frame *f = strchr(names[i], '.') ? &four : &six;
        struct gw_hwaddr a = address(names[i]);
        struct gw_traffic t;

        cr_assert_eq(judge(&p, names[i], GW_MODE_ISOLATE), 0);
        cr_expect_not(passes(&p, AT_XDP, f), "%s", names[i]);
        reopen(&p);
        cr_expect_not(passes(&p, AT_XDP, f), "%s, taken over", names[i]);
        gw_table_traffic(&p.table, gw_table_find(&p.table, &a), &t);
        cr_expect_eq(t.dropped_packets, 2, "%s", names[i]);
        cr_assert_eq(judge(&p, names[i], GW_MODE_NONE), 0);
        cr_expect(passes(&p, AT_XDP, f), "%s, released", names[i]);
    }
    gw_kernel_close(&p);
}

Test(verdicts, maps_of_another_layout_go)
{
    struct frame f = {0};
    struct gw_kernel p;

    pin_privately(&p);
    udp4(&f, DEVICE, OTHER, 1, 2);
    cr_assert_eq(judge(&p, "192.0.2.10", GW_MODE_ISOLATE), 0);
    cr_assert_eq(mkdir(PINS "/v0", 0700), 0);
    cr_assert_eq(bpf_obj_pin(program_fd(&p, AT_XDP), PINS "/v0/a_program"), 0);
    gw_kernel_sweep(&p);
    cr_expect_eq(access(PINS "/v0", F_OK), -1);
    reopen(&p);
    cr_expect_not(passes(&p, AT_XDP, &f), "our own stay");
    gw_kernel_close(&p);
}

Test(verdicts, a_prefix_is_whole_again_after_a_death_between_two_steps)
{
    struct gw_hwaddr lost = address("192.0.2.0/24"), left = address("203.0.113.0/24");
    struct gw_hwaddr half = address("198.51.100.0/24");
    struct frame f = {0};
    struct gw_kernel p;
    uint32_t slot;

    pin_privately(&p);
    udp4(&f, DEVICE, OTHER, 1, 2);
    cr_assert_eq(judge(&p, "192.0.2.0/24", GW_MODE_ISOLATE), 0);
    gw_kernel_prefix_remove(&p, &lost);                    /* the slot without its prefix */
    cr_assert_eq(gw_kernel_prefix_add(&p, &left, 200), 0); /* a prefix without its slot */
    cr_assert_eq(gw_table_add(&p.table, &half, true, 0, &slot), 0); /* and both, not judged yet */
    cr_assert_eq(gw_kernel_prefix_add(&p, &half, slot), 0);
    p.table.state->prefixes[0] = 0; /* nor counted */
    cr_assert(passes(&p, AT_XDP, &f));
    reopen(&p);
    cr_expect_not(passes(&p, AT_XDP, &f));
    cr_expect_eq(p.table.state->prefixes[0], 1, "%u", p.table.state->prefixes[0]);
    cr_expect_eq(gw_table_find(&p.table, &half), GW_SLOT_NONE);
    for (size_t i = 0; i < 2; i++) {
        const char *name = i ? "203.0.113.0/24" : "198.51.100.0/24";
        struct gw_hwaddr a = address(name);

        memcpy(f.bytes + 26, a.bytes, 3);
        cr_expect(passes(&p, AT_XDP, &f), "%s", name);
        cr_assert_eq(judge(&p, name, GW_MODE_ISOLATE), 0, "%s", name);
        cr_expect_not(passes(&p, AT_XDP, &f), "%s", name);
    }
    gw_kernel_close(&p);
}

/* ---- sightings ---- */

Test(verdicts, a_pair_is_told_once)
{
    struct frame f = {0};

    known(&k, DEVICE);
    udp4(&f, DEVICE, OTHER, 1, 2);
    for (int i = 0; i < 100; i++)
        cr_assert(passes(&k, AT_XDP, &f));
    gw_kernel_events(&k);
    cr_assert_eq(heard_count, 1, "%zu", heard_count);
    cr_expect_eq(heard[0].ifindex, 1);
    cr_expect_eq(heard[0].kind, CORDON_IPV4);
    (void)usleep(1500000); /* past the window in which it is remembered as told */
    cr_assert(passes(&k, AT_XDP, &f));
    gw_kernel_events(&k);
    cr_expect_eq(heard_count, 1, "known now");
}

Test(verdicts, dropped_ones_are_told_too_and_nobodies_are_not)
{
    struct frame f = {0};

    eth(&f, DEVICE, ALL, ETH_IP);
    ipv4(&f, NOBODY, ALL, UDP);
    ports(&f, 68, 67);
    cr_assert(passes(&k, AT_XDP, &f));
    gw_kernel_events(&k);
    cr_assert_eq(heard_count, 1);
    cr_expect_eq(heard[0].kind, 0, "0.0.0.0 is nobody's address");
    eth(&f, ALL, OTHER, ETH_IP); /* a multicast source is forged */
    ipv4(&f, OTHER, DEVICE, UDP);
    ports(&f, 1, 2);
    cr_assert(passes(&k, AT_XDP, &f));
    gw_kernel_events(&k);
    cr_expect_eq(heard_count, 1);
}

Test(verdicts, a_flood_of_forged_sources_tells_little)
{
    size_t windows = 40; /* this test lasts fewer */
    struct frame f = {0};

    udp4(&f, DEVICE, OTHER, 1, 2);
    srandom(1);
    for (int i = 0; i < 30000; i++) {
        uint32_t r = (uint32_t)random();

        memcpy(f.bytes + 8, &r, 4);
        memcpy(f.bytes + 28, &r, 2);
        if (memcmp(f.bytes + 26, ipv4_of_who[GATEWAY], 4) == 0) /* that would be dropped */
            continue;
        cr_assert(passes(&k, AT_XDP, &f));
    }
    gw_kernel_events(&k);
    cr_expect_leq(heard_count, windows * CORDON_TOLD_MAX, "%zu", heard_count);
    cr_expect_geq(heard_count, 1);
}

Test(verdicts, whom_nobody_knows_may_be_kept_to_repairs)
{
    struct frame f = {0}, repair = {0};

    udp4(&f, DEVICE, OTHER, 1, 2);
    udp4(&repair, DEVICE, GATEWAY, 999, 53);
    gw_kernel_unknown(&k, GW_MODE_REMEDIATE);
    cr_expect_not(passes(&k, AT_XDP, &f));
    cr_expect(passes(&k, AT_XDP, &repair));
    known(&k, DEVICE);
    cr_expect(passes(&k, AT_XDP, &f), "known and not judged");
}

/* ---- full tables ---- */

static struct gw_hwaddr numbered(uint32_t i)
{
    uint8_t ip[4] = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};

    return gw_hwaddr_ipv4(ip);
}

Test(verdicts, there_is_room_for_verdicts_when_there_is_none_for_the_heard)
{
    uint64_t now_ns = gw_clock_mono_ms() * 1000000;
    struct frame f = {0};
    uint32_t slot, i;

    for (i = 0; i < 1000; i++) {
        struct gw_hwaddr a = numbered(i);

        if (gw_table_add(&k.table, &a, false, now_ns, &slot) != 0)
            break;
        k.table.slots[slot].seen_ns = now_ns;
    }
    cr_expect_geq(i, 100);
    cr_expect_lt(i, 256);
    cr_assert_eq(judge(&k, "192.0.2.10", GW_MODE_ISOLATE), 0);
    udp4(&f, DEVICE, OTHER, 1, 2);
    cr_expect_not(passes(&k, AT_XDP, &f));
}

Test(verdicts, one_too_many_is_refused_and_the_others_hold)
{
    struct frame f = {0};
    uint32_t set = 0;
    int err = 0;

    for (uint32_t i = 0; !err && i < 1000; i++) {
        struct gw_verdict_record v = {.address = numbered(i), .mode = GW_MODE_ISOLATE};

        err = gw_verdict_set(&k, &v, 1);
        set += err == 0;
    }
    cr_expect_eq(err, GW_EFULL);
    cr_expect_geq(set, 200, "%u", set);
    udp4(&f, OTHER, GATEWAY, 1, 2);
    for (uint32_t i = 0; i < set; i++) {
        struct gw_hwaddr a = numbered(i);

        memcpy(f.bytes + 26, a.bytes, 4);
        cr_expect_not(passes(&k, AT_XDP, &f), "%u", i);
    }
    for (uint32_t i = 0; i < set; i += 2) {
        struct gw_verdict_record v = {.address = numbered(i)};

        cr_assert_eq(gw_verdict_set(&k, &v, 1), 0);
    }
    for (uint32_t i = 0; i < set; i++) {
        struct gw_hwaddr a = numbered(i);

        memcpy(f.bytes + 26, a.bytes, 4);
        cr_expect_eq(passes(&k, AT_XDP, &f), i % 2 == 0, "%u after a half was released", i);
    }
}

Test(verdicts, a_full_bucket_spills_and_hides_nobody)
{
    uint32_t want = 20, found = 0, number[20];
    struct frame f = {0};

    for (uint32_t i = 0; found < want; i++) { /* 20 addresses of one bucket of 8 */
        struct gw_hwaddr a = numbered(i);
        uint64_t x, y, hash;

        gw_table_words(&a, &x, &y);
        hash = cordon_hash(k.table.state->factor_a, k.table.state->factor_b, CORDON_IPV4, x, y);
        if (cordon_bucket_of(hash, 64 - (uint32_t)__builtin_ctz(k.table.state->buckets)) == 5)
            number[found++] = i;
    }
    udp4(&f, OTHER, GATEWAY, 1, 2);
    for (uint32_t i = 0; i < want; i++) {
        struct gw_verdict_record v = {.address = numbered(number[i]), .mode = GW_MODE_ISOLATE};

        cr_assert_eq(gw_verdict_set(&k, &v, 1), 0, "%u", i);
    }
    for (uint32_t gone = 0; gone <= want; gone++) {
        for (uint32_t i = 0; i < want; i++) {
            struct gw_hwaddr a = numbered(number[i]);

            memcpy(f.bytes + 26, a.bytes, 4);
            cr_expect_eq(passes(&k, AT_XDP, &f), i < gone, "%u of %u", i, gone);
        }
        if (gone < want) {
            struct gw_verdict_record v = {.address = numbered(number[gone])};

            cr_assert_eq(gw_verdict_set(&k, &v, 1), 0);
        }
    }
}
