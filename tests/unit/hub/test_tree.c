/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <stdio.h>

#include "hub/hub_priv.h"

#define FILTERS 300
#define TOPICS 400

/* A random path over few words, so that much of it matches much else. */
static void random_path(unsigned *seed, char room[32], bool wild)
{
    static const char *const words[] = {"a", "b", "c", "", "$s"};
    size_t levels = 1 + (size_t)rand_r(seed) % 4, len = 0;

    for (size_t i = 0; i < levels; i++) {
        unsigned pick = (unsigned)rand_r(seed) % 8;
        const char *word = words[pick % 5];

        if (wild && pick == 5)
            word = "+";
        if (wild && pick == 6 && i + 1 == levels)
            word = "#";
        len += (size_t)snprintf(room + len, 32 - len, "%s%s", i ? "/" : "", word);
    }
}

struct found {
    struct tree_node *nodes[FILTERS + TOPICS];
    size_t count;
};

static void note(void *ctx, struct tree_node *n)
{
    struct found *f = ctx;

    f->nodes[f->count++] = n;
}

static bool was_found(const struct found *f, const struct tree_node *n)
{
    size_t times = 0;

    for (size_t i = 0; i < f->count; i++)
        times += f->nodes[i] == n;
    cr_assert_leq(times, 1, "a node is visited once");
    return times == 1;
}

/* The tree against the plain definition, both ways round. */
Test(tree, finds_what_the_definition_of_matching_finds)
{
    static struct sub subs[FILTERS];
    static struct retained kept[TOPICS];
    static char filters[FILTERS][32], topics[TOPICS][32];
    static struct tree_node *filter_nodes[FILTERS], *topic_nodes[TOPICS];
    unsigned seed = 42;
    struct tree t;

    cr_assert_eq(tree_init(&t), 0);
    for (size_t i = 0; i < FILTERS; i++) {
        do
            random_path(&seed, filters[i], true);
        while (!gw_filter_valid(gw_slice_str(filters[i])));
        cr_assert_eq(tree_make(&t, gw_slice_str(filters[i]), &filter_nodes[i]), 0);
        gw_list_append(&filter_nodes[i]->subs, &subs[i].node_link);
        cr_assert(gw_slice_eq_str(tree_path(&t, filter_nodes[i]), filters[i]));
    }
    for (size_t i = 0; i < TOPICS; i++) {
        do
            random_path(&seed, topics[i], false);
        while (!gw_topic_valid(gw_slice_str(topics[i])));
        cr_assert_eq(tree_make(&t, gw_slice_str(topics[i]), &topic_nodes[i]), 0);
        topic_nodes[i]->retained = &kept[i];
    }
    for (size_t i = 0; i < TOPICS; i++) {
        struct found f = {.count = 0};

        tree_match(&t, gw_slice_str(topics[i]), note, &f);
        for (size_t k = 0; k < FILTERS; k++)
            cr_assert_eq(was_found(&f, filter_nodes[k]),
                         gw_topic_matches(gw_slice_str(filters[k]), gw_slice_str(topics[i])),
                         "%s on %s", filters[k], topics[i]);
    }
    for (size_t k = 0; k < FILTERS; k++) {
        struct found f = {.count = 0};

        tree_retained(&t, gw_slice_str(filters[k]), note, &f);
        for (size_t i = 0; i < TOPICS; i++)
            cr_assert_eq(was_found(&f, topic_nodes[i]),
                         gw_topic_matches(gw_slice_str(filters[k]), gw_slice_str(topics[i])),
                         "%s keeps %s", filters[k], topics[i]);
    }
    tree_fini(&t);
}

Test(tree, gives_every_node_back)
{
    struct tree_node *a, *b;
    struct tree t;
    struct sub sub;

    cr_assert_eq(tree_init(&t), 0);
    cr_assert_eq(tree_make(&t, GW_SLICE_LIT("a/+/c/#"), &a), 0);
    gw_list_append(&a->subs, &sub.node_link);
    cr_assert_eq(tree_make(&t, GW_SLICE_LIT("a/+/d"), &b), 0);
    cr_expect_eq(t.nodes.count, 5);
    tree_prune(&t, b);
    cr_expect_eq(t.nodes.count, 4);
    cr_expect_null(tree_find(&t, GW_SLICE_LIT("a/+/d")));
    cr_expect_eq(tree_find(&t, GW_SLICE_LIT("a/+/c/#")), a);
    gw_list_remove(&sub.node_link);
    tree_prune(&t, a);
    cr_expect_eq(t.nodes.count, 0);
    cr_expect_null(t.root->plus);
    tree_fini(&t);
}
