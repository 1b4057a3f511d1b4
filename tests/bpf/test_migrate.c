/* SPDX-License-Identifier: GPL-2.0-only */
/* What an upgrade or another size of the tables takes along, and what it must not believe. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "enforcer/policy.h"
#include "harness.h"

#define PINS "/sys/fs/bpf/cordon"
#define OLD_DIR PINS "/v2-256"
#define OLD_SLOTS 256

enum { ETH_IP = 0x800, ETH_IP6 = 0x86dd };
enum { TCP = 6, UDP = 17 };

static struct gw_kernel k;

/* ---- pins of this test's own, which end with it ---- */

static void setup(void)
{
    cr_assert_eq(unshare(CLONE_NEWNS), 0);
    cr_assert_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    cr_assert_eq(mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL), 0);
    gw_kernel_quiet();
}

static void teardown(void)
{
    gw_kernel_close(&k);
}

/* Not by gw_kernel_unpin(), which also clears the ports of the machine. */
static void empty_pins(void)
{
    gw_kernel_close(&k);
    k = (struct gw_kernel){0};
    cr_assert_eq(umount2("/sys/fs/bpf", MNT_DETACH), 0);
    cr_assert_eq(mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL), 0);
}

TestSuite(migrate, .init = setup, .fini = teardown);

static void open_with(uint32_t slots)
{
    char why[GW_WHY_MAX];

    gw_kernel_close(&k);
    k = (struct gw_kernel){0};
    cr_assert_eq(gw_kernel_open(&k, PINS, slots, why), 0, "%s", why);
    gw_table_port_claim(&k.table, 1);
}

/* ---- maps of layout 2, as the release before made them ---- */

struct slot_2 {
    uint64_t a, b, verdict, seen_ns;
    uint32_t tick, owner, kind, prefix_len;
    int64_t until_wall_ms;
    uint32_t self;
    uint16_t generation, flags;
};
#define DEFAULT_2 1 /* the verdict is lan.new_devices' */

_Static_assert(sizeof(struct slot_2) == 64, "the layout of then");

struct old {
    struct cordon_state *state;
    struct slot_2 *slots;
    struct cordon_counter *counters;
};

static void *old_map(const char *name, uint32_t value, uint32_t entries)
{
    LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
    int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, 4, value, entries, &opts);
    char path[128];
    void *at;

    cr_assert_geq(fd, 0, "%s", name);
    (void)snprintf(path, sizeof(path), OLD_DIR "/%s", name);
    cr_assert_eq(bpf_obj_pin(fd, path), 0, "%s", path);
    at = mmap(NULL, (size_t)value * entries, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(at, MAP_FAILED, "%s", name);
    (void)close(fd); /* the pin keeps it */
    return at;
}

static uint64_t own_netns(void)
{
    struct stat st;

    cr_assert_eq(stat("/proc/self/ns/net", &st), 0);
    return st.st_ino;
}

/* Half of it only, when `slots_entries` are fewer than the state says. */
static struct old old_maps(uint32_t slots_entries)
{
    uint32_t cpus = (uint32_t)libbpf_num_possible_cpus();
    struct old o;

    cr_assert(mkdir(PINS, 0700) == 0 || errno == EEXIST);
    cr_assert_eq(mkdir(OLD_DIR, 0700), 0);
    o.state = old_map("cordon_state", sizeof(struct cordon_state), 1);
    o.slots = old_map("cordon_slots", sizeof(struct slot_2), slots_entries);
    o.counters = old_map("cordon_counters", sizeof(struct cordon_counter), OLD_SLOTS * cpus);
    *o.state = (struct cordon_state){
        .layout = 2,
        .cpus = cpus,
        .slots = OLD_SLOTS,
        .buckets = OLD_SLOTS / 2,
        .factor_a = 3,
        .factor_b = 5,
        .netns = own_netns(),
    };
    return o;
}

static struct slot_2 *old_slot(struct old *o, uint32_t at, const char *text)
{
    struct gw_hwaddr a = address(text);
    struct slot_2 *s = &o->slots[at];

    gw_table_words(&a, &s->a, &s->b);
    s->kind = a.kind;
    s->prefix_len = a.prefix_len;
    s->owner = CORDON_NO_OWNER;
    s->self = at;
    return s;
}

static void old_verdict(struct old *o, uint32_t at, const char *text, enum cordon_mode mode)
{
    old_slot(o, at, text)->verdict = CORDON_FOREVER | mode;
}

/* ---- what is there now ---- */

static uint32_t slot_of(const char *text)
{
    struct gw_hwaddr a = address(text);

    return gw_table_find(&k.table, &a);
}

static void udp(struct frame *f, enum who from, enum who to, bool six)
{
    eth(f, from, to, six ? ETH_IP6 : ETH_IP);
    if (six)
        ipv6(f, from, to, UDP);
    else
        ipv4(f, from, to, UDP);
    ports(f, 1, 2);
}

static struct gw_hwaddr numbered(uint32_t i)
{
    uint8_t ip[4] = {10, 0, (uint8_t)(i >> 8), (uint8_t)i};

    return gw_hwaddr_ipv4(ip);
}

Test(migrate, each_verdict_drops_what_it_dropped)
{
    static const struct {
        const char *name;
        bool six;
    } rows[] = {{"02:00:00:00:00:01", false},
                {"192.0.2.10", false},
                {"192.0.2.0/24", false},
                {"2001:db8::10", true},
                {"2001:db8::/64", true}};

    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        struct old o = old_maps(OLD_SLOTS);
        struct frame hit = {0}, other = {0};

        old_verdict(&o, 200, rows[i].name, CORDON_ISOLATE);
        open_with(256);
        cr_expect(k.migrated, "%s", rows[i].name);
        udp(&hit, DEVICE, GATEWAY, rows[i].six);
        udp(&other, DEVICE, GATEWAY, !rows[i].six);
        cr_expect_not(passes(&k, AT_XDP, &hit), "%s", rows[i].name);
        cr_expect_eq(passes(&k, AT_XDP, &other), i != 0, "%s: the other family", rows[i].name);
        cr_assert_eq(judge(&k, rows[i].name, GW_MODE_NONE), 0);
        cr_expect(passes(&k, AT_XDP, &hit), "%s, released", rows[i].name);
        empty_pins();
    }
}

Test(migrate, a_mode_stays_what_it_was)
{
    struct old o = old_maps(OLD_SLOTS);
    struct frame repair = {0}, any = {0};

    old_verdict(&o, 3, "02:00:00:00:00:01", CORDON_REMEDIATE);
    open_with(256);
    own_addresses(&k);
    eth(&repair, DEVICE, GATEWAY, ETH_IP);
    ipv4(&repair, DEVICE, GATEWAY, UDP);
    ports(&repair, 999, 53);
    udp(&any, DEVICE, OTHER, false);
    cr_expect(passes(&k, AT_XDP, &repair));
    cr_expect_not(passes(&k, AT_XDP, &any));
}

Test(migrate, an_end_comes_at_its_time)
{
    struct old o = old_maps(OLD_SLOTS);
    int64_t wall_ms = gw_clock_wall_ms();
    uint64_t end_ns = gw_clock_boot_ns() + 3000000000ULL;
    struct slot_2 *s = old_slot(&o, 9, "192.0.2.10");
    struct frame f = {0};

    s->verdict = (end_ns & CORDON_FOREVER) | CORDON_ISOLATE;
    s->until_wall_ms = wall_ms + 3000;
    udp(&f, DEVICE, OTHER, false);
    open_with(256);
    cr_expect_eq(k.table.ends[slot_of("192.0.2.10")], wall_ms + 3000);
    if (gw_clock_boot_ns() >= end_ns)
        cr_skip("a machine this slow shows nothing");
    cr_expect_not(passes(&k, AT_XDP, &f));
    while (gw_clock_boot_ns() < end_ns)
        (void)usleep(10000);
    cr_expect(passes(&k, AT_XDP, &f));
}

Test(migrate, counters_and_last_seen_and_owner_go_along)
{
    struct old o = old_maps(OLD_SLOTS);
    uint32_t cpus = o.state->cpus;
    struct slot_2 *mac = old_slot(&o, 250, "02:00:00:00:00:01");
    struct slot_2 *ip = old_slot(&o, 5, "192.0.2.10");
    uint64_t seen_ns = gw_clock_mono_ms() * 1000000;
    struct gw_traffic t;

    mac->owner = 77; /* the port */
    mac->self = 3U << CORDON_SELF_SHIFT | 250;
    mac->seen_ns = seen_ns;
    ip->owner = mac->self;
    ip->seen_ns = seen_ns - 5000000;
    for (uint32_t cpu = 0; cpu < cpus; cpu++) {
        o.counters[250 * cpus + cpu].at[CORDON_RX_PASSED].packets = 1000 + cpu;
        o.counters[250 * cpus + cpu].at[CORDON_TX_DROPPED].bytes = 7;
    }
    open_with(256);
    gw_table_traffic(&k.table, slot_of("02:00:00:00:00:01"), &t);
    cr_expect_eq(t.rx_packets, 1000 * cpus + cpus * (cpus - 1) / 2);
    cr_expect_eq(t.dropped_bytes, 7 * cpus);
    cr_expect_eq(t.last_seen_ms, seen_ns / 1000000);
    cr_expect_eq(k.table.slots[slot_of("02:00:00:00:00:01")].owner, 77);
    cr_expect_eq(gw_table_owner(&k.table, slot_of("192.0.2.10")), slot_of("02:00:00:00:00:01"));
    gw_table_traffic(&k.table, slot_of("192.0.2.10"), &t);
    cr_expect_eq(t.rx_packets, 0, "each its own");
    cr_expect_eq(t.last_seen_ms, (seen_ns - 5000000) / 1000000);
}

Test(migrate, an_owner_that_is_nobodys_slot_is_nobody)
{
    struct old o = old_maps(OLD_SLOTS);

    old_slot(&o, 1, "192.0.2.10")->owner = 200;              /* free */
    old_slot(&o, 2, "192.0.2.20")->owner = 1;                /* not a MAC */
    old_slot(&o, 3, "192.0.2.30")->owner = OLD_SLOTS + 5;    /* outside */
    old_slot(&o, 4, "192.0.2.40")->owner = CORDON_SELF_SLOT; /* the last that there can be */
    open_with(256);
    cr_expect_eq(k.table.slots[slot_of("192.0.2.10")].owner, CORDON_NO_OWNER);
    cr_expect_eq(k.table.slots[slot_of("192.0.2.20")].owner, CORDON_NO_OWNER);
    cr_expect_eq(k.table.slots[slot_of("192.0.2.30")].owner, CORDON_NO_OWNER);
    cr_expect_eq(k.table.slots[slot_of("192.0.2.40")].owner, CORDON_NO_OWNER);
}

Test(migrate, what_is_nobodys_decision_stays_so)
{
    struct old o = old_maps(OLD_SLOTS);
    struct slot_2 *s;

    old_verdict(&o, 1, "02:00:00:00:00:01", CORDON_ISOLATE);
    o.slots[1].flags = DEFAULT_2;
    s = old_slot(&o, 2, "02:00:00:00:00:02");
    s->flags = 0xfffe; /* bits that meant nothing then */
    o.state->unknown_mode = CORDON_ISOLATE;
    o.state->unread = 1;
    open_with(256);
    cr_expect_not(gw_table_is_kept(&k.table.slots[slot_of("02:00:00:00:00:01")]));
    cr_expect_eq(gw_table_mode(&k.table.slots[slot_of("02:00:00:00:00:01")]), GW_MODE_ISOLATE);
    cr_expect_eq(k.table.slots[slot_of("02:00:00:00:00:02")].flags, 0);
    cr_expect_eq(k.table.state->unknown_mode, CORDON_ISOLATE);
    cr_expect_eq(k.table.state->unread, 1);
}

/* ---- another size ---- */

Test(migrate, into_larger_tables_all_go)
{
    struct frame f = {0};

    open_with(256);
    for (uint32_t i = 0; i < 200; i++) {
        struct gw_hwaddr a = numbered(i);

        cr_assert_eq(judge_address(&k, &a, GW_MODE_ISOLATE), 0);
    }
    open_with(4096);
    cr_expect(k.migrated && !k.taken_over);
    cr_expect_eq(k.table.state->slots, 4096);
    udp(&f, OTHER, GATEWAY, false);
    for (uint32_t i = 0; i < 210; i++) {
        struct gw_hwaddr a = numbered(i);

        memcpy(f.bytes + 26, a.bytes, 4);
        cr_expect_eq(passes(&k, AT_XDP, &f), i >= 200, "%u", i);
    }
    gw_kernel_sweep(&k);
    cr_expect_eq(access(PINS "/v3-256", F_OK), -1, "the old ones go");
    open_with(4096);
    cr_expect(k.taken_over && !k.migrated);
}

Test(migrate, all_that_was_decided_goes_along)
{
    const struct gw_verdict_record rows[] = {
        {.address = address("02:00:00:00:00:01"), .policy = 9},
        {.address = address("192.0.2.10"), .bound = 1, .policy = 9},
        {.address = address("2001:db8::10"), .bound = 1},
        {.address = address("02:00:00:00:00:02"), .mode = GW_MODE_OBSERVE},
        {.address = address("192.0.2.0/24"),
         .mode = GW_MODE_ISOLATE,
         .until_wall_ms = gw_clock_wall_ms() + 60000},
        {.address = address("2001:db8::/64"), .mode = GW_MODE_REMEDIATE},
    };

    open_with(256);
    own_addresses(&k);
    for (size_t i = 0; i < GW_COUNT(rows); i++)
        cr_assert_eq(gw_verdict_set(&k, &rows[i], 1), 0, "%zu", i);
    open_with(1024);
    cr_expect(k.migrated);
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        uint32_t slot = gw_table_find(&k.table, &rows[i].address);

        cr_assert_neq(slot, GW_SLOT_NONE, "%zu", i);
        cr_expect(gw_verdict_stands(&k, &rows[i]), "%zu", i);
        cr_expect_eq((k.table.slots[slot].flags & CORDON_BOUND) != 0, rows[i].bound, "%zu", i);
    }
    cr_expect_eq(k.table.state->prefixes[0], 1);
    cr_expect_eq(k.table.state->prefixes[1], 1);
    cr_expect_eq(k.table.slots[slot_of("192.0.2.10")].flags & CORDON_OWN, 0);
    cr_expect(slot_of("192.0.2.1") == GW_SLOT_NONE ||
                  !(k.table.slots[slot_of("192.0.2.1")].flags & CORDON_CLAIMED),
              "the gateway's own addresses are said anew");
}

Test(migrate, a_policy_that_has_no_place_any_more_is_let_go)
{
    const struct gw_verdict_record v = {
        .address = address("02:00:00:00:00:01"), .mode = GW_MODE_ISOLATE, .policy = 100};
    struct frame f = {0};

    open_with(4096); /* 128 policies */
    cr_assert_eq(gw_verdict_set(&k, &v, 1), 0);
    open_with(256); /* 64 */
    cr_expect_eq(k.table.slots[slot_of("02:00:00:00:00:01")].policy, 0);
    udp(&f, DEVICE, OTHER, false);
    cr_expect_not(passes(&k, AT_XDP, &f), "the verdict stays");
}

Test(migrate, into_smaller_tables_verdicts_go_first)
{
    uint64_t now_ns = gw_clock_mono_ms() * 1000000;
    struct frame f = {0};
    uint32_t slot, heard = 0;

    open_with(1024);
    for (uint32_t i = 0; i < 600; i++) { /* those heard come first in the old tables */
        struct gw_hwaddr a = numbered(i);

        cr_assert_eq(gw_table_add(&k.table, &a, false, now_ns, &slot), 0);
        k.table.slots[slot].seen_ns = now_ns;
    }
    for (uint32_t i = 0; i < 150; i++) {
        struct gw_hwaddr a = numbered(1000 + i);

        cr_assert_eq(judge_address(&k, &a, GW_MODE_ISOLATE), 0);
    }
    open_with(256);
    cr_expect(k.migrated);
    udp(&f, OTHER, GATEWAY, false);
    for (uint32_t i = 0; i < 150; i++) {
        struct gw_hwaddr a = numbered(1000 + i);

        memcpy(f.bytes + 26, a.bytes, 4);
        cr_expect_not(passes(&k, AT_XDP, &f), "%u", i);
    }
    for (uint32_t i = 0; i < 600; i++) {
        struct gw_hwaddr a = numbered(i);

        heard += gw_table_find(&k.table, &a) != GW_SLOT_NONE;
    }
    cr_expect_gt(heard, 0, "what fits goes along");
    cr_expect_leq(heard, 256 - 150);
}

/* ---- what is no source ---- */

static void expect_nothing(const char *what)
{
    open_with(256);
    cr_expect(!k.migrated && !k.taken_over, "%s", what);
    cr_expect_eq(slot_of("192.0.2.10"), GW_SLOT_NONE, "%s", what);
    cr_assert_eq(judge(&k, "192.0.2.10", GW_MODE_ISOLATE), 0, "%s", what);
    open_with(256);
    cr_expect(k.taken_over, "%s: the new ones are in force", what);
    empty_pins();
}

Test(migrate, torn_maps_are_ignored)
{
    struct old o = old_maps(OLD_SLOTS);

    old_verdict(&o, 1, "192.0.2.10", CORDON_ISOLATE);
    o.state->layout = 0;
    expect_nothing("its state was never finished");
    o = old_maps(OLD_SLOTS / 2);
    old_verdict(&o, 1, "192.0.2.10", CORDON_ISOLATE);
    expect_nothing("half of the slots that it says");
    o = old_maps(OLD_SLOTS - 1); /* as many pages */
    old_verdict(&o, 1, "192.0.2.10", CORDON_ISOLATE);
    expect_nothing("one slot less than it says");
    o = old_maps(OLD_SLOTS);
    old_verdict(&o, 1, "192.0.2.10", CORDON_ISOLATE);
    cr_assert_eq(unlink(OLD_DIR "/cordon_counters"), 0);
    expect_nothing("no counters");
    o = old_maps(OLD_SLOTS);
    old_verdict(&o, 1, "192.0.2.10", CORDON_ISOLATE);
    o.state->cpus *= 64;
    expect_nothing("fewer counters than it says");
    o = old_maps(OLD_SLOTS);
    old_verdict(&o, 1, "192.0.2.10", CORDON_ISOLATE);
    o.state->slots = 0;
    expect_nothing("no slots");
}

Test(migrate, foreign_maps_are_ignored)
{
    static const uint32_t layouts[] = {1, CORDON_LAYOUT, CORDON_LAYOUT + 1, 0xffffffff};

    for (size_t i = 0; i < GW_COUNT(layouts); i++) {
        struct old o = old_maps(OLD_SLOTS);
        char what[32];

        old_verdict(&o, 1, "192.0.2.10", CORDON_ISOLATE);
        o.state->layout = layouts[i];
        o.state->slots = layouts[i] == CORDON_LAYOUT ? 128 : OLD_SLOTS; /* it would be taken over */
        (void)snprintf(what, sizeof(what), "layout %u", layouts[i]);
        expect_nothing(what);
    }
}

Test(migrate, slots_that_hold_nonsense_are_left_out)
{
    struct old o = old_maps(OLD_SLOTS);
    struct frame f = {0};

    for (uint32_t i = 0; i < 200; i++) {
        o.slots[i] = (struct slot_2){.a = ~0ULL,
                                     .b = ~0ULL,
                                     .verdict = ~0ULL,
                                     .owner = i * 0x01010101U,
                                     .kind = i % 6,
                                     .prefix_len = i * 7,
                                     .flags = 0xffff};
    }
    old_verdict(&o, 201, "192.0.2.10", CORDON_ISOLATE);
    open_with(256);
    cr_expect(k.migrated);
    for (uint32_t i = 0; i < k.table.state->slots; i++) {
        struct gw_hwaddr a = gw_table_address(&k.table.slots[i]);

        cr_expect(k.table.slots[i].kind == 0 || gw_hwaddr_valid(&a), "%u", i);
    }
    udp(&f, DEVICE, OTHER, false);
    cr_expect_not(passes(&k, AT_XDP, &f), "what is whole goes along");
}

/* ---- taking over ---- */

static void set_policy(void)
{
    const struct gw_policy_peer peers[] = {{address("192.0.2.20"), 1},
                                           {address("2001:db8::/64"), 1}};
    const struct gw_policy p = {
        .number = 3,
        .flags = GW_POLICY_LEARN | GW_POLICY_ENFORCE,
        .rules = {{GW_FROM_DEVICE, UDP, 0, 0, 0, 0xffff, 2, 2}},
        .rule_count = 1,
        .peers = peers,
        .peer_count = GW_COUNT(peers),
    };
    const struct gw_verdict_record v = {.address = address("02:00:00:00:00:01"), .policy = 3};

    cr_assert_eq(gw_policy_set(&k, &p, 1), 0);
    cr_assert_eq(gw_verdict_set(&k, &v, 1), 0);
}

static uint32_t learned(bool forget)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf out = {.max = 1 << 20};
    struct gw_note_learning head;

    cr_assert_eq(gw_policy_learned(&k, 3, forget, &out), 0);
    memcpy(&head, gw_buf_slice(&out).ptr, sizeof(head));
    return head.count;
}

Test(migrate, a_take_over_keeps_policies_and_what_was_learned)
{
    struct frame allowed = {0}, six = {0}, other = {0};

    udp(&allowed, DEVICE, OTHER, false);
    udp(&six, DEVICE, OTHER, true);
    udp(&other, DEVICE, GATEWAY, false);
    open_with(256);
    set_policy();
    for (int i = 0; i < 3; i++) {
        cr_expect(passes(&k, AT_XDP, &allowed), "%d", i);
        cr_expect(passes(&k, AT_XDP, &six), "%d", i);
        cr_expect_not(passes(&k, AT_XDP, &other), "%d", i);
        cr_expect_eq(learned(false), 3, "%d: %u", i, learned(false));
        open_with(256);
        cr_assert(k.taken_over);
    }
    gw_policy_end(&k, 3); /* it knows what is to be taken out */
    cr_expect(passes(&k, AT_XDP, &other));
    cr_expect_eq(learned(false), 0);
    set_policy();
    cr_expect(passes(&k, AT_XDP, &allowed));
    cr_expect_eq(learned(true), 1);
    cr_expect_eq(learned(false), 0);
}

Test(migrate, tables_of_another_network_namespace_are_not_touched)
{
    struct gw_kernel other = {0};
    char why[GW_WHY_MAX];
    struct frame f = {0};

    open_with(256);
    cr_assert_eq(judge(&k, "192.0.2.10", GW_MODE_ISOLATE), 0);
    cr_assert_eq(unshare(CLONE_NEWNET), 0);
    cr_expect_eq(gw_kernel_open(&other, PINS, 256, why), -EBUSY);
    cr_expect(strstr(why, "another network namespace"), "%s", why);
    cr_expect_eq(gw_kernel_open(&other, PINS, 4096, why), -EBUSY, "nor copied");
    udp(&f, DEVICE, OTHER, false);
    cr_expect_not(passes(&k, AT_XDP, &f));
    cr_expect_eq(access(PINS "/v3-256/cordon_slots", F_OK), 0);
    cr_expect_eq(access(PINS "/v3-4096", F_OK), -1);
}

Test(migrate, old_maps_of_another_network_namespace_are_not_copied)
{
    struct old o = old_maps(OLD_SLOTS);
    char why[GW_WHY_MAX];

    old_verdict(&o, 1, "192.0.2.10", CORDON_ISOLATE);
    o.state->netns = 1;
    cr_expect_eq(gw_kernel_open(&k, PINS, 256, why), -EBUSY);
    cr_expect_eq(access(OLD_DIR "/cordon_slots", F_OK), 0);
}
