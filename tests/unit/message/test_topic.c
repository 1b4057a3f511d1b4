/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <stdio.h>

#include "message/message.h"

struct name_case {
    const char *text;
    bool topic, filter;
};

Test(topic, is_told_from_what_is_none)
{
    static const struct name_case cases[] = {
        {"a", true, true},          {"/", true, true},
        {"a/b/c", true, true},      {"a//b", true, true},
        {"/a", true, true},         {"$SYS/x", true, true},
        {"a b/ü", true, true},      {"", false, false},
        {"#", false, true},         {"a/#", false, true},
        {"+", false, true},         {"+/a/+", false, true},
        {"/+", false, true},        {"a#", false, false},
        {"a/#/b", false, false},    {"#/a", false, false},
        {"a+", false, false},       {"+a", false, false},
        {"a/+b/c", false, false},   {"a/b+", false, false},
        {"\xff", false, false},     {"\xed\xa0\x80", false, false},
        {"\xc0\x80", false, false},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_slice s = gw_slice_str(cases[i].text);

        cr_expect_eq(gw_topic_valid(s), cases[i].topic, "topic: %s", cases[i].text);
        cr_expect_eq(gw_filter_valid(s), cases[i].filter, "filter: %s", cases[i].text);
    }
    cr_expect_not(gw_topic_valid(GW_SLICE("a\0b", 3)), "U+0000");
    cr_expect_not(gw_filter_valid(GW_SLICE("a\0b", 3)), "U+0000");
}

Test(topic, has_its_longest_length)
{
    static uint8_t bytes[GW_TOPIC_MAX + 1];

    memset(bytes, 'x', sizeof(bytes));
    cr_expect(gw_topic_valid(GW_SLICE(bytes, GW_TOPIC_MAX)));
    cr_expect_not(gw_topic_valid(GW_SLICE(bytes, GW_TOPIC_MAX + 1)));
    cr_expect_not(gw_filter_valid(GW_SLICE(bytes, GW_TOPIC_MAX + 1)));
}

Test(filter, of_a_shared_subscription_is_taken_apart)
{
    static const struct {
        const char *filter, *name, *inner; /* name NULL: refused */
    } cases[] = {
        {"a/b", "", "a/b"},
        {"$share", "", "$share"}, /* a topic of that name */
        {"$shared/x/y", "", "$shared/x/y"},
        {"$share/g/a/#", "g", "a/#"},
        {"$share/g//a", "g", "/a"},
        {"$share/g/", NULL, NULL},
        {"$share/g", NULL, NULL},
        {"$share/", NULL, NULL},
        {"$share//a", NULL, NULL},
        {"$share/+/a", NULL, NULL},
        {"$share/g#/a", NULL, NULL},
        {"$share/\xff/a", NULL, NULL},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_slice name = GW_SLICE_NONE, inner = GW_SLICE_NONE;
        bool ok = gw_filter_share(gw_slice_str(cases[i].filter), &name, &inner);

        cr_expect_eq(ok, cases[i].name != NULL, "%s", cases[i].filter);
        if (!ok || !cases[i].name)
            continue;
        cr_expect(gw_slice_eq_str(name, cases[i].name), "%s", cases[i].filter);
        cr_expect(gw_slice_eq_str(inner, cases[i].inner), "%s", cases[i].filter);
    }
}

struct match_case {
    const char *filter, *topic;
    bool matches;
};

/* The examples of MQTT 5 §4.7.1 and §4.7.2, and the corners around them. */
Test(filter, matches_as_the_standard_says)
{
    static const struct match_case cases[] = {
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/#", "sport", true},
        {"#", "sport", true},
        {"#", "/", true},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"#", "$SYS/x", false},
        {"+/monitor", "$SYS/monitor", false},
        {"$SYS/#", "$SYS/", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        {"a/+/c", "a/$b/c", true},
        {"a/#", "a/$b", true},
        {"a", "A", false},
        {"a/b", "a/b/", false},
        {"a//b", "a/b", false},
        {"+/", "a/", true},
        {"+/", "a", false},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(gw_topic_matches(gw_slice_str(cases[i].filter), gw_slice_str(cases[i].topic)),
                     cases[i].matches, "%s and %s", cases[i].filter, cases[i].topic);
}

struct pair_case {
    const char *a, *b;
    bool covers, overlaps;
};

Test(filter, covers_and_overlaps_another)
{
    static const struct pair_case cases[] = {
        {"#", "a/b", true, true},
        {"#", "#", true, true},
        {"a/#", "a/+", true, true},
        {"a/+", "a/#", false, true},
        {"a/+", "a/b", true, true},
        {"a/b", "a/+", false, true},
        {"+/b", "a/+", false, true},
        {"a/b", "a/c", false, false},
        {"a/#", "b/#", false, false},
        {"a", "a/#", false, true},
        {"a/#", "a", true, true},
        {"+", "a/b", false, false},
        {"#", "$SYS/#", false, false},
        {"$SYS/#", "#", false, false},
        {"+/x", "$SYS/x", false, false},
        {"$SYS/+", "$SYS/x", true, true},
        {"d/cam/#", "d/cam/state", true, true},
        {"d/cam/#", "d/+/state", false, true},
        {"d/cam/#", "d/camel/state", false, false},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_slice a = gw_slice_str(cases[i].a), b = gw_slice_str(cases[i].b);

        cr_expect_eq(gw_filter_covers(a, b), cases[i].covers, "%s covers %s", cases[i].a,
                     cases[i].b);
        cr_expect_eq(gw_filter_overlaps(a, b), cases[i].overlaps, "%s overlaps %s", cases[i].a,
                     cases[i].b);
        cr_expect_eq(gw_filter_overlaps(b, a), cases[i].overlaps, "%s overlaps %s", cases[i].b,
                     cases[i].a);
    }
}

static struct gw_slice random_path(unsigned *seed, char room[32], bool wild)
{
    static const char *const words[] = {"a", "b", "", "$x"};
    size_t levels = 1 + rand_r(seed) % 3, len = 0;

    for (size_t i = 0; i < levels; i++) {
        unsigned pick = rand_r(seed) % 6;
        const char *word = words[pick % 4];

        if (wild && pick == 4)
            word = "+";
        if (wild && pick == 5 && i + 1 == levels)
            word = "#";
        len += (size_t)snprintf(room + len, 32 - len, "%s%s", i ? "/" : "", word);
    }
    return GW_SLICE(room, len);
}

/* What one relation says about all topics must hold for every topic we can think of. */
Test(filter, covering_and_overlapping_agree_with_matching)
{
    unsigned seed = 1;

    for (int i = 0; i < 20000; i++) {
        char rooms[3][32];
        struct gw_slice a = random_path(&seed, rooms[0], true);
        struct gw_slice b = random_path(&seed, rooms[1], true);
        struct gw_slice t = random_path(&seed, rooms[2], false);

        if (!gw_filter_valid(a) || !gw_filter_valid(b) || !gw_topic_valid(t))
            continue;
        if (gw_filter_covers(a, b) && gw_topic_matches(b, t))
            cr_assert(gw_topic_matches(a, t), "%s covers %s but not %s", rooms[0], rooms[1],
                      rooms[2]);
        if (gw_topic_matches(a, t) && gw_topic_matches(b, t))
            cr_assert(gw_filter_overlaps(a, b), "%s and %s share %s", rooms[0], rooms[1], rooms[2]);
    }
}

Test(level, is_cut_off_from_the_front)
{
    struct gw_slice rest = GW_SLICE_LIT("a//b/"), level;
    static const char *const want[] = {"a", "", "b", ""};

    for (size_t i = 0; i < GW_COUNT(want); i++) {
        cr_assert(gw_topic_level(&rest, &level));
        cr_expect(gw_slice_eq_str(level, want[i]), "level %zu", i);
    }
    cr_expect_not(gw_topic_level(&rest, &level));
}
