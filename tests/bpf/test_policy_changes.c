/* SPDX-License-Identifier: GPL-2.0-only */
/* How policies come, change and end; limits. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "policies.h"

TestSuite(policy_changes, .init = policies_setup, .fini = policies_teardown);

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

/* All are dropped, or none, while one policy takes the other's place again and again. */
static void expect_while_changing(const struct packet *packet, bool drops)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[DEVICE]);
    struct frame f = frame_of(packet);
    uint64_t runs = 0, before, drop_count;
    static struct change c;
    pthread_t thread;

    prepare(&c);
    give_device(1, GW_MODE_NONE);
    for (int i = 0; i < 2; i++) {
        set(&c.policy[i]);
        cr_assert_eq(passes_as(packet), !drops, "%d", i);
    }
    before = dropped(&mac);
    cr_assert_eq(pthread_create(&thread, NULL, replace, &c), 0);
    for (; !c.done; runs++) {
        uint32_t verdict;

        cr_assert_geq(run_ns(program_fd(&k, AT_TC_IN), &f, RUN, &verdict), 0);
    }
    cr_assert_eq(pthread_join(thread, NULL), 0);
    drop_count = dropped(&mac) - before;
    cr_expect_eq(c.err, 0, "%d", c.err);
    cr_expect_gt(runs, 100, "%lu", runs);
    cr_expect_eq(drop_count, drops ? runs * RUN : 0, "%lu of %lu", drop_count, runs * RUN);
}

Test(policy_changes, no_packet_that_both_allow_is_dropped)
{
    expect_while_changing(&(struct packet){IN, HERE, UDP, 9, 443, 0}, false);
}

Test(policy_changes, no_packet_that_neither_allows_passes)
{
    expect_while_changing(&(struct packet){IN, "192.0.2.77", UDP, 9, 443, 0}, true);
}

Test(policy_changes, a_change_holds_for_the_next_packet)
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

Test(policy_changes, a_number_beyond_the_tables_is_refused)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[DEVICE]);
    struct packet packet = {IN, HERE, UDP, 9, 9, 0};
    uint16_t last = (uint16_t)(k.table.state->policies - 2); /* behind it is the self-test's */
    struct gw_verdict_record v = {.address = mac, .policy = (uint16_t)(last + 1)};
    struct gw_policy p = closed(last);

    cr_assert_lt(k.table.state->policies, GW_POLICIES_MAX);
    set(&p);
    give_device(last, GW_MODE_NONE);
    cr_assert_not(passes_as(&packet));
    p.number = (uint16_t)(last + 2);
    cr_expect_eq(gw_policy_set(&k, &p, 1), GW_EFULL);
    p.number = GW_POLICIES_MAX;
    cr_expect_eq(gw_policy_set(&k, &p, 1), GW_EFULL);
    cr_expect_eq(gw_verdict_set(&k, &v, 1), GW_EFULL, "the self-test's");
    v.policy++;
    cr_expect_eq(gw_verdict_set(&k, &v, 1), GW_EFULL);
    cr_expect_not(passes_as(&packet), "the old one stays");
    gw_policy_end(&k, (uint16_t)(last + 2)); /* nobody's */
    gw_policy_end(&k, 0);
    cr_expect_not(passes_as(&packet), "still");
    v.policy = gw_policy_of_tests(&k);
    v.mode = GW_MODE_ISOLATE;
    cr_expect_eq(gw_verdict_set(&k, &v, 1), 0, "a verdict holds all the same");
    cr_expect_eq(k.table.slots[gw_table_find(&k.table, &mac)].policy, 0);
}

/* The i-th network of 256 addresses in 11.0.0.0/8. */
static struct gw_hwaddr net_numbered(uint32_t i)
{
    struct gw_hwaddr net = gw_hwaddr_ipv4((const uint8_t[]){11, (uint8_t)(i >> 8), (uint8_t)i, 0});

    net.prefix_len = 24;
    return net;
}

Test(policy_changes, one_without_room_is_refused_and_the_old_one_stays)
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

Test(policy_changes, ended_it_does_nothing)
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

Test(policy_changes, what_only_adds_peers_is_known_as_such)
{
    static const struct {
        const char *name, *peers[2];
        uint64_t rules[2];
        uint32_t packets_per_s;
        uint8_t protocol;
        bool only_adds;
    } rows[] = {
        {"the same", {HERE}, {1}, 0, TCP, true},
        {"one more", {HERE, "198.51.100.8"}, {1, 1}, 0, TCP, true},
        {"one more, in front", {"198.51.100.8", HERE}, {1, 1}, 0, TCP, true},
        {"a network that holds it", {"198.51.100.0/24", HERE}, {1, 1}, 0, TCP, true},
        {"more rules for it", {HERE}, {3}, 0, TCP, true},
        {"none", {0}, {0}, 0, TCP, false},
        {"another", {"198.51.100.8"}, {1}, 0, TCP, false},
        {"another rule for it", {HERE}, {2}, 0, TCP, false},
        {"a limit", {HERE, "198.51.100.8"}, {1, 1}, 9, TCP, false},
        {"another protocol", {HERE, "198.51.100.8"}, {1, 1}, 0, UDP, false},
    };
    struct gw_policy_peer peers[2] = {{address(HERE), 1}};
    struct gw_policy before = closed(1), p;

    add_rule(&before, FROM, TCP, 80, 80);
    add_rule(&before, FROM, UDP, 80, 80);
    before.peers = peers;
    before.peer_count = 1;
    p = before;
    cr_expect_not(gw_policy_only_adds(&k, &p), "nothing was there");
    set(&before);
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        p.rules[0].protocol = rows[i].protocol;
        p.packets_per_s = rows[i].packets_per_s;
        for (p.peer_count = 0; p.peer_count < 2 && rows[i].peers[p.peer_count]; p.peer_count++)
            peers[p.peer_count] = (struct gw_policy_peer){address(rows[i].peers[p.peer_count]),
                                                          rows[i].rules[p.peer_count]};
        cr_expect_eq(gw_policy_only_adds(&k, &p), rows[i].only_adds, "%s", rows[i].name);
    }
    p.flags = 0;
    cr_expect_not(gw_policy_only_adds(&k, &p), "it is not enforced any more");
    p.number = UINT16_MAX;
    cr_expect_not(gw_policy_only_adds(&k, &p), "beyond the tables");
}

/* One that was taken over without peers has none of the enforcer's memory, and needs none to end.
 */
Test(policy_changes, one_that_was_taken_over_ends)
{
    struct packet packet = {IN, HERE, UDP, 9, 9, 0};
    struct cordon_policy *banks = &k.table.policies[2 * 1];

    banks[0] = banks[1] = (struct cordon_policy){.flags = ENFORCE};
    give_device(1, GW_MODE_NONE);
    cr_assert_not(passes_as(&packet));
    gw_policy_end(&k, 1);
    cr_expect(passes_as(&packet));
    cr_expect_null(k.policies[1]);
}

Test(policy_changes, what_no_worker_repeats_ends)
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
    uint64_t sent, passed, since_us;
    bool empty;
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

/* Counted from when nothing is left of what was saved up while others had their turn. */
static void send_on(struct flow *f)
{
    bool passed = passes(&k, f->at, &f->frame);

    f->sent++;
    f->passed += passed;
    if (!passed && !f->empty) {
        f->empty = true;
        f->sent = f->passed = 0;
        f->since_us = now_us();
    }
}

/* All that it may, or all there was: a slow machine sends less than the limit. */
static void expect_rate(const struct flow *f)
{
    double took_s = (double)(now_us() - f->since_us) / 1e6;
    double rate = (double)f->passed / took_s;
    double least = GW_MIN(f->limit->frames, (double)f->sent / took_s);

    cr_expect_leq(rate, f->limit->frames * (1 + TOLERANCE), "%s, %d: %.1f a second", f->limit->name,
                  f->at, rate);
    cr_expect_geq(rate, least * (1 - TOLERANCE), "%s, %d: %.1f a second", f->limit->name, f->at,
                  rate);
}

/* All at once, each with a policy and a device of its own: it takes its time. */
Test(policy_changes, limits_hold_each_way)
{
    static struct flow flows[2 * GW_COUNT(limits)];
    uint64_t until_us;

    for (size_t i = 0; i < GW_COUNT(limits); i++) {
        struct gw_policy p = {.number = (uint16_t)(i + 1),
                              .packets_per_s = limits[i].packets_per_s,
                              .bytes_per_s = limits[i].bytes_per_s};
        struct gw_hwaddr mac = mac_numbered(i + 1);

        set(&p);
        give(&mac, p.number, GW_MODE_NONE);
        limit_flow(&flows[2 * i], i + 1, AT_XDP);
        limit_flow(&flows[2 * i + 1], i + 1, AT_TC_OUT);
    }
    for (size_t i = 0; i < GW_COUNT(flows); i++)
        expect_burst(&flows[i]);
    until_us = now_us() + LIMIT_S * 1000000;
    while (now_us() < until_us) {
        for (size_t i = 0; i < GW_COUNT(flows); i++)
            send_on(&flows[i]);
    }
    for (size_t i = 0; i < GW_COUNT(flows); i++)
        expect_rate(&flows[i]);
}

Test(policy_changes, nothing_saved_up_exceeds_a_second)
{
    struct gw_hwaddr mac = mac_numbered(2);
    struct gw_policy p = {.number = 1, .packets_per_s = limits[1].packets_per_s};
    struct flow f;

    set(&p);
    give(&mac, 1, GW_MODE_NONE);
    limit_flow(&f, 2, AT_XDP);
    for (int i = 0; i < 2; i++) {
        expect_burst(&f);
        (void)usleep(2500000);
    }
    expect_burst(&f);
}

/* What passed while nobody counted it is no debt. */
Test(policy_changes, a_limit_set_later_begins_full)
{
    struct gw_hwaddr mac = mac_numbered(4);
    struct gw_policy p = {.number = 1, .packets_per_s = 1000000};
    struct flow f;

    set(&p);
    give(&mac, 1, GW_MODE_NONE);
    limit_flow(&f, 4, AT_XDP);
    for (int i = 0; i < 1000; i++)
        cr_assert(passes(&k, f.at, &f.frame));
    p.bytes_per_s = 62 * 100;
    set(&p);
    (void)usleep(1100000);
    cr_expect(passes(&k, f.at, &f.frame), "62 kB passed before the limit");
}

Test(policy_changes, observed_it_has_no_limit)
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
