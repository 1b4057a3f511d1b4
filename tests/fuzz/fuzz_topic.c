/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gw_topic_matches, gw_filter_covers, gw_filter_overlaps and the hub's tree against each other.
 * Input: two filters and a topic, a line each.
 */
#include "fuzz.h"
#include "hub/hub_priv.h"

static struct gw_slice line(struct gw_slice *left)
{
    const uint8_t *end = left->len ? memchr(left->ptr, '\n', left->len) : NULL;
    struct gw_slice s = *left;

    if (end)
        s.len = (size_t)(end - left->ptr);
    *left = end ? GW_SLICE(end + 1, left->len - s.len - 1) : GW_SLICE_NONE;
    return s;
}

static void count(void *ctx, struct tree_node *node)
{
    (void)node;
    ++*(unsigned *)ctx;
}

static void check_tree(struct gw_slice filter, struct gw_slice topic, bool matches)
{
    struct retained kept = {0};
    struct tree_node *node;
    unsigned found = 0;
    struct sub sub;
    struct tree t;

    if (!tree_depth_ok(filter) || !tree_depth_ok(topic) || tree_init(&t))
        return;
    MUST(tree_make(&t, filter, &node) == 0);
    gw_list_append(&node->subs, &sub.node_link);
    tree_match(&t, topic, count, &found);
    MUST(found == matches);
    MUST(gw_slice_eq(tree_path(&t, node), filter));
    gw_list_remove(&sub.node_link);
    tree_prune(&t, node);
    MUST(t.nodes.count == 0);
    MUST(tree_make(&t, topic, &node) == 0);
    node->retained = &kept;
    found = 0;
    tree_retained(&t, filter, count, &found);
    MUST(found == matches);
    tree_fini(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gw_slice left = GW_SLICE(data, size);
    struct gw_slice a = line(&left), b = line(&left), topic = line(&left);
    bool in_a, in_b;

    if (!gw_filter_valid(a) || !gw_filter_valid(b) || !gw_topic_valid(topic))
        return 0;
    MUST(gw_filter_valid(topic));
    MUST(gw_filter_covers(a, a));
    in_a = gw_topic_matches(a, topic);
    in_b = gw_topic_matches(b, topic);
    MUST(!(gw_filter_covers(a, b) && in_b && !in_a));
    MUST(!(in_a && in_b && !gw_filter_overlaps(a, b)));
    MUST(gw_filter_overlaps(a, b) == gw_filter_overlaps(b, a));
    check_tree(a, topic, in_a);
    check_tree(b, topic, in_b);
    return 0;
}
