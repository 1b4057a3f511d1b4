/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared subscriptions (MQTT 5 §4.8.2): each message for the group goes to one of its members. */
#include "hub/hub_priv.h"

#include <errno.h>

#define TRIES 8 /* members asked whether they lag behind, for one message, */
#define FULL 64 /* and so many passed over that have no room for it */

static struct share *share_at(const struct tree_node *at, struct gw_slice name)
{
    GW_LIST_EACH(&at->shares, node)
    {
        struct share *g = GW_LIST_ENTRY(node, struct share, link);

        if (gw_slice_eq(GW_SLICE(g->name, g->name_len), name))
            return g;
    }
    return NULL;
}

static struct share *share_make(struct tree_node *at, struct gw_slice name)
{
    struct share *g = calloc(1, sizeof(*g) + name.len);

    if (!g)
        return NULL;
    g->name_len = name.len;
    memcpy(g->name, name.ptr, name.len);
    gw_list_init(&g->present);
    gw_list_init(&g->away);
    gw_list_append(&at->shares, &g->link);
    return g;
}

int share_join(struct sub *sub, struct gw_slice name)
{
    struct share *g = share_at(sub->node, name);

    if (!g)
        g = share_make(sub->node, name);
    if (!g)
        return -ENOMEM;
    sub->share = g;
    sub->session->hub->shared_subs++;
    share_move(sub);
    return 0;
}

void share_leave(struct sub *sub)
{
    struct share *g = GW_TAKE(sub->share);

    gw_list_remove(&sub->node_link);
    sub->session->hub->shared_subs--;
    if (!gw_list_empty(&g->present) || !gw_list_empty(&g->away))
        return;
    gw_list_remove(&g->link);
    free(g);
}

void share_move(struct sub *sub)
{
    gw_list_remove(&sub->node_link);
    gw_list_append(sub->session->ops ? &sub->share->present : &sub->share->away, &sub->node_link);
}

bool share_is(const struct sub *sub, struct gw_slice name)
{
    if (!sub->share)
        return name.len == 0;
    return gw_slice_eq(GW_SLICE(sub->share->name, sub->share->name_len), name);
}

static bool is_candidate(struct sub *sub, const struct gw_msg *m, unsigned *passed,
                         struct sub **full)
{
    if (!session_may_receive(sub->session, m))
        return false;
    if (queue_has_room(sub->session, m))
        return true;
    (*passed)++;
    *full = sub;
    return false;
}

/* In turns: whoever is asked goes to the end of the line. The first that may hear it, has room and
 * lags behind nothing, or the one of them that lags least. */
static struct sub *pick(struct gw_list *members, const struct gw_msg *m, struct sub **full)
{
    struct gw_list *last = members->prev;
    struct sub *best = NULL;
    unsigned tries = 0, passed = 0;

    while (!gw_list_empty(members) && tries < TRIES && passed < FULL) {
        struct gw_list *node = members->next;
        struct sub *sub = GW_LIST_ENTRY(node, struct sub, node_link);

        gw_list_remove(node);
        gw_list_append(members, node);
        if (is_candidate(sub, m, &passed, full)) {
            tries++;
            if (!best || sub->session->count < best->session->count)
                best = sub;
            if (!best->session->count)
                break;
        }
        if (node == last)
            break;
    }
    return best;
}

/* Those who are here come first; what a member that is away can keep may wait for it. Where nobody
 * has room, one of them is to say so. */
static struct sub *member_for(struct share *g, const struct gw_msg *m)
{
    struct sub *full = NULL;
    struct sub *sub = pick(&g->present, m, &full);

    if (!sub && m->qos > 0)
        sub = pick(&g->away, m, &full);
    return sub ? sub : full;
}

enum fate share_deliver(struct tree_node *at, struct gw_msg *m, struct stored **stored)
{
    enum fate best = FATE_NONE, fate;

    GW_LIST_EACH(&at->shares, node)
    {
        struct sub *sub = member_for(GW_LIST_ENTRY(node, struct share, link), m);
        struct gw_session *s = sub ? sub->session : NULL;

        if (!s)
            continue;
        session_match(s, &sub->options, ++s->hub->match_turn, NULL);
        fate = queue_add(s, m, m->retain && s->match.retain_as_published, false, stored);
        best = GW_MAX(best, fate);
    }
    return best;
}
