/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_priv.h"

#include <errno.h>

void sub_tell(struct gw_session *s, const struct sub *sub, bool joined)
{
    struct gw_hub *hub = s->hub;
    struct gw_slice path;

    if (!hub->ops.topic || hub->closing)
        return;
    /* Copied: what hears of it may well publish, and so use the tree. */
    path = tree_path(&hub->tree, sub->node);
    memcpy(hub->told_topic, path.ptr, path.len);
    hub->ops.topic(hub->owner, GW_SLICE(hub->told_topic, path.len), s->device->id, joined);
}

void sub_free(struct sub *sub)
{
    struct gw_session *s = sub->session;

    gw_list_remove(&sub->session_link);
    if (sub->share)
        share_leave(sub);
    else
        gw_list_remove(&sub->node_link);
    tree_prune(&s->hub->tree, sub->node);
    s->sub_count--;
    s->hub->stats.subscriptions--;
    free(sub);
}

static bool filter_ok(struct gw_slice filter)
{
    struct gw_slice share, inner;

    return gw_filter_share(filter, &share, &inner) && gw_filter_valid(inner) &&
           tree_depth_ok(inner);
}

static unsigned pack_options(const struct gw_subscription *o)
{
    return o->qos | (unsigned)o->no_local << 2 | (unsigned)o->retain_as_published << 3;
}

static void put_sub(struct gw_session *s, const struct sub *sub, struct gw_slice filter)
{
    (void)persist_add(s->hub,
                      &(struct op){.kind = OP_SUB_PUT,
                                   .a = (int64_t)s->id,
                                   .b = pack_options(&sub->options),
                                   .c = sub->options.id},
                      filter, NULL, NULL);
}

static struct sub *sub_at(const struct gw_session *s, const struct tree_node *at,
                          struct gw_slice share)
{
    GW_LIST_EACH(&s->subs, node)
    {
        struct sub *sub = GW_LIST_ENTRY(node, struct sub, session_link);

        if (sub->node == at && share_is(sub, share))
            return sub;
    }
    return NULL;
}

/* The subscription that `filter` names; NULL: there is none. */
static struct sub *sub_find(const struct gw_session *s, struct gw_slice filter)
{
    struct tree_node *node;
    struct gw_slice share, inner;

    if (!gw_filter_share(filter, &share, &inner) || !tree_depth_ok(inner))
        return NULL;
    node = tree_find(&s->hub->tree, inner);
    return node ? sub_at(s, node, share) : NULL;
}

static int sub_new(struct gw_session *s, struct gw_slice filter, struct sub **out)
{
    struct sub *sub = calloc(1, sizeof(*sub));
    struct gw_slice share, inner;

    if (!sub || !gw_filter_share(filter, &share, &inner) ||
        tree_make(&s->hub->tree, inner, &sub->node)) {
        free(sub);
        return -ENOMEM;
    }
    sub->session = s;
    gw_list_init(&sub->node_link);
    if (share.len && share_join(sub, share)) {
        tree_prune(&s->hub->tree, sub->node);
        free(sub);
        return -ENOMEM;
    }
    if (!share.len)
        gw_list_append(&sub->node->subs, &sub->node_link);
    gw_list_append(&s->subs, &sub->session_link);
    s->sub_count++;
    s->hub->stats.subscriptions++;
    *out = sub;
    return 0;
}

int session_restore_sub(struct gw_session *s, struct gw_slice filter, unsigned options, uint32_t id)
{
    struct sub *sub;
    int err;

    if (!filter_ok(filter) || s->sub_count >= GW_HUB_SUBS_MAX)
        return 0; /* a damaged row is skipped */
    err = sub_new(s, filter, &sub);
    if (err)
        return err;
    sub->options = (struct gw_subscription){
        .qos = GW_MIN(options & 3, 2u),
        .no_local = options & 4,
        .retain_as_published = options & 8,
        .id = id,
    };
    return 0;
}

void session_match(struct gw_session *s, const struct gw_subscription *o, uint64_t turn,
                   struct gw_list *matched)
{
    if (s->match_turn != turn) {
        s->match_turn = turn;
        s->match = (struct gw_subscription){0};
        s->match_id_count = 0;
        if (matched)
            gw_list_append(matched, &s->match_link);
    }
    s->match.qos = GW_MAX(s->match.qos, o->qos); /* [MQTT-3.3.4-2] */
    s->match.retain_as_published |= o->retain_as_published;
    if (!o->id)
        return;
    if (s->match_id_count == s->match_id_cap) {
        size_t cap = s->match_id_cap ? s->match_id_cap * 2 : 4;
        uint32_t *more = reallocarray(s->match_ids, cap, sizeof(*more));

        if (!more)
            return; /* the message is worth more than its label */
        s->match_ids = more;
        s->match_id_cap = cap;
    }
    s->match_ids[s->match_id_count++] = o->id; /* [MQTT-3.3.4-3], [MQTT-3.3.4-4] */
}

static void replay(void *ctx, struct tree_node *node)
{
    struct gw_session *s = ctx;
    struct gw_msg *m = node->retained->msg;
    struct stored *stored = NULL;

    if (!s->match.no_local || m->origin != s->origin) /* [MQTT-3.8.3-3] */
        (void)queue_add(s, m, true, true, &stored);
    stored_release(s->hub, stored);
}

static void replay_retained(struct gw_session *s, struct gw_slice filter,
                            const struct gw_subscription *o, bool is_new)
{
    if (o->retain_handling == GW_RETAIN_DO_NOT_SEND ||
        (o->retain_handling == GW_RETAIN_SEND_IF_NEW && !is_new)) /* [MQTT-3.3.1-9..11] */
        return;
    session_match(s, o, ++s->hub->match_turn, NULL);
    s->match.no_local = o->no_local;
    tree_retained(&s->hub->tree, filter, replay, s);
}

int gw_session_subscribe(struct gw_session *s, struct gw_slice filter,
                         const struct gw_subscription *o)
{
    struct sub *sub;
    bool is_new;

    if (!filter_ok(filter))
        return GW_EMALFORMED;
    sub = sub_find(s, filter);
    is_new = !sub;
    if (is_new) {
        int err = s->sub_count >= GW_HUB_SUBS_MAX ? GW_EFULL : sub_new(s, filter, &sub);

        s->hub->stats.full_subscriptions += err == GW_EFULL;
        if (err)
            return err;
    }
    sub->options = *o; /* [MQTT-3.8.4-3] */
    if (s->stored)
        put_sub(s, sub, filter);
    if (is_new)
        sub_tell(s, sub, true);
    if (!sub->share) /* §4.8.2 */
        replay_retained(s, filter, o, is_new);
    return 0;
}

int gw_session_unsubscribe(struct gw_session *s, struct gw_slice filter)
{
    struct sub *sub;

    if (!filter_ok(filter))
        return GW_EMALFORMED;
    sub = sub_find(s, filter); /* [MQTT-3.10.4-1] */
    if (!sub)
        return GW_ENOTFOUND;
    if (s->stored)
        (void)persist_add(s->hub, &(struct op){.kind = OP_SUB_DROP, .a = (int64_t)s->id}, filter,
                          NULL, NULL);
    sub_tell(s, sub, false);
    sub_free(sub);
    return 0;
}
