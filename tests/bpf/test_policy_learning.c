/* SPDX-License-Identifier: GPL-2.0-only */
/* What is learned of a device. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "policies.h"

TestSuite(policy_learning, .init = policies_setup, .fini = policies_teardown);

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

Test(policy_learning, who_called_whom_is_learned)
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

Test(policy_learning, different_conversations_are_learned_apart)
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

Test(policy_learning, fragments_and_other_kinds_are_not_learned)
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

Test(policy_learning, so_much_is_learned_and_the_rest_counted)
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

Test(policy_learning, what_is_learned_outlives_a_change)
{
    struct gw_policy p = {.number = 1, .flags = GW_POLICY_LEARN | GW_POLICY_ENFORCE};

    set_learner(1);
    call_many(0, 3);
    set(&p);
    learn(1, false);
    cr_expect_eq(learning.count, 3);
}

Test(policy_learning, nothing_is_learned_of_a_number_beyond_the_tables)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf out = {.max = 1 << 20};

    cr_expect_eq(gw_policy_learned(&k, 0, false, &out), GW_EFULL);
    cr_expect_eq(gw_policy_learned(&k, (uint16_t)k.table.state->policies, false, &out), GW_EFULL);
    cr_expect_eq(gw_buf_len(&out), 0);
}

Test(policy_learning, the_busiest_second_is_measured)
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
