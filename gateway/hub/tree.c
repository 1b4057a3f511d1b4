/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_priv.h"

#include <errno.h>

#define KEY_MAX (sizeof(uint64_t) + GW_TOPIC_MAX)

static struct tree_node *node_new(struct tree *t, struct tree_node *parent, struct gw_slice key)
{
    struct tree_node *n = calloc(1, sizeof(*n) + key.len);

    if (!n)
        return NULL;
    n->parent = parent;
    n->id = t->next_id++;
    n->key_len = key.len;
    if (key.len)
        memcpy(n->key, key.ptr, key.len);
    gw_list_init(&n->siblings);
    gw_list_init(&n->children);
    gw_list_init(&n->subs);
    gw_list_init(&n->shares);
    return n;
}

int tree_init(struct tree *t)
{
    *t = (struct tree){.scratch = malloc(KEY_MAX)};
    t->root = node_new(t, NULL, GW_SLICE_NONE);
    if (t->root && t->scratch)
        return 0;
    tree_fini(t);
    return -ENOMEM;
}

void tree_fini(struct tree *t)
{
    size_t cursor = 0;
    struct tree_node *n;

    while ((n = gw_map_next(&t->nodes, &cursor)))
        free(n);
    gw_map_fini(&t->nodes);
    free(t->root);
    free(t->scratch);
    *t = (struct tree){0};
}

bool tree_depth_ok(struct gw_slice path)
{
    size_t levels = 1;

    if (path.len > GW_TOPIC_MAX)
        return false;
    for (size_t i = 0; i < path.len; i++)
        levels += path.ptr[i] == '/';
    return levels <= GW_HUB_LEVELS_MAX;
}

static struct gw_slice level_of(const struct tree_node *n)
{
    return GW_SLICE(n->key + sizeof(n->id), n->key_len - sizeof(n->id));
}

/* The key of a child, in the scratch memory. */
static struct gw_slice key_of(const struct tree *t, const struct tree_node *parent,
                              struct gw_slice level)
{
    memcpy(t->scratch, &parent->id, sizeof(parent->id));
    if (level.len)
        memcpy(t->scratch + sizeof(parent->id), level.ptr, level.len);
    return GW_SLICE(t->scratch, sizeof(parent->id) + level.len);
}

static struct tree_node *child_of(const struct tree *t, const struct tree_node *parent,
                                  struct gw_slice level)
{
    if (gw_list_empty(&parent->children))
        return NULL;
    return gw_map_get(&t->nodes, key_of(t, parent, level));
}

static struct tree_node *child_make(struct tree *t, struct tree_node *parent, struct gw_slice level)
{
    struct tree_node *n = node_new(t, parent, key_of(t, parent, level));

    if (!n)
        return NULL;
    if (gw_map_put(&t->nodes, GW_SLICE(n->key, n->key_len), n)) {
        free(n);
        return NULL;
    }
    gw_list_append(&parent->children, &n->siblings);
    if (gw_slice_eq_str(level, "+"))
        parent->plus = n;
    if (gw_slice_eq_str(level, "#"))
        parent->hash = n;
    return n;
}

struct tree_node *tree_find(const struct tree *t, struct gw_slice path)
{
    struct tree_node *n = t->root;
    struct gw_slice level;

    while (n && gw_topic_level(&path, &level))
        n = child_of(t, n, level);
    return n;
}

int tree_make(struct tree *t, struct gw_slice path, struct tree_node **out)
{
    struct tree_node *n = t->root;
    struct gw_slice level;

    while (gw_topic_level(&path, &level)) {
        struct tree_node *child = child_of(t, n, level);

        if (!child)
            child = child_make(t, n, level);
        if (!child) {
            tree_prune(t, n);
            return -ENOMEM;
        }
        n = child;
    }
    *out = n;
    return 0;
}

void tree_prune(struct tree *t, struct tree_node *node)
{
    while (node->parent && gw_list_empty(&node->children) && gw_list_empty(&node->subs) &&
           gw_list_empty(&node->shares) && !node->retained) {
        struct tree_node *parent = node->parent;

        if (parent->plus == node)
            parent->plus = NULL;
        if (parent->hash == node)
            parent->hash = NULL;
        gw_list_remove(&node->siblings);
        (void)gw_map_remove(&t->nodes, GW_SLICE(node->key, node->key_len));
        free(node);
        node = parent;
    }
}

/* Built from its end, since a node knows its parent. */
struct gw_slice tree_path(struct tree *t, const struct tree_node *node)
{
    uint8_t *end = t->scratch + KEY_MAX, *at = end;

    for (; node->parent; node = node->parent) {
        struct gw_slice level = level_of(node);

        at -= level.len;
        if (level.len)
            memcpy(at, level.ptr, level.len);
        if (node->parent->parent)
            *--at = '/';
    }
    return GW_SLICE(at, (size_t)(end - at));
}

struct walk {
    const struct tree *tree;
    tree_visit *fn;
    void *ctx;
};

static void visit_subs(const struct walk *w, struct tree_node *n)
{
    if (n && (!gw_list_empty(&n->subs) || !gw_list_empty(&n->shares)))
        w->fn(w->ctx, n);
}

/* `hidden`: a topic that starts with $ is at its first level [MQTT-4.7.2-1]. */
static void match(const struct walk *w, struct tree_node *n, struct gw_slice rest, bool hidden)
{
    struct gw_slice level;
    struct tree_node *child;

    if (!hidden)
        visit_subs(w, n->hash); /* also for the parent level itself: "a/#" matches "a" */
    if (!gw_topic_level(&rest, &level)) {
        visit_subs(w, n);
        return;
    }
    if (n->plus && !hidden)
        match(w, n->plus, rest, false);
    child = child_of(w->tree, n, level);
    if (child)
        match(w, child, rest, false);
}

void tree_match(struct tree *t, struct gw_slice topic, tree_visit *fn, void *ctx)
{
    match(&(struct walk){t, fn, ctx}, t->root, topic, topic.len && topic.ptr[0] == '$');
}

static bool is_hidden(const struct tree_node *n)
{
    struct gw_slice level = level_of(n);

    return !n->parent->parent && level.len && level.ptr[0] == '$';
}

static void visit_retained(const struct walk *w, struct tree_node *n)
{
    if (n->retained)
        w->fn(w->ctx, n);
}

static void below(const struct walk *w, struct tree_node *n)
{
    visit_retained(w, n);
    GW_LIST_EACH(&n->children, node)
    {
        struct tree_node *child = GW_LIST_ENTRY(node, struct tree_node, siblings);

        if (!is_hidden(child))
            below(w, child);
    }
}

static void collect(const struct walk *w, struct tree_node *n, struct gw_slice rest)
{
    struct gw_slice level;
    struct tree_node *child;

    if (!gw_topic_level(&rest, &level)) {
        visit_retained(w, n);
        return;
    }
    if (gw_slice_eq_str(level, "#")) {
        below(w, n);
        return;
    }
    if (!gw_slice_eq_str(level, "+")) {
        child = child_of(w->tree, n, level);
        if (child)
            collect(w, child, rest);
        return;
    }
    GW_LIST_EACH(&n->children, node)
    {
        child = GW_LIST_ENTRY(node, struct tree_node, siblings);
        if (!is_hidden(child))
            collect(w, child, rest);
    }
}

void tree_retained(struct tree *t, struct gw_slice filter, tree_visit *fn, void *ctx)
{
    collect(&(struct walk){t, fn, ctx}, t->root, filter);
}
