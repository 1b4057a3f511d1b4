/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_priv.h"

#include <errno.h>

#include "base/clock.h"

size_t msg_bytes(const struct gw_msg *m)
{
    return sizeof(*m) + m->device.len + m->topic.len + m->payload.len + m->content_type.len +
           m->response_topic.len + m->correlation.len + m->user_props.len;
}

/* ---- open, close ---- */

int gw_hub_open(struct gw_loop *loop, const struct gw_hub_limits *limits, struct gw_store *gw_store,
                const struct gw_hub_ops *ops, void *owner, struct gw_hub **out)
{
    GW_CLEANUP(gw_hub_close) struct gw_hub *hub = calloc(1, sizeof(*hub));
    int err;

    if (!hub)
        return -ENOMEM;
    hub->loop = loop;
    hub->store = gw_store;
    hub->limits = *limits;
    hub->owner = owner;
    hub->next_row = 1;
    queue_init(hub);
    wills_init(hub);
    inbound_init(hub);
    persist_init(hub);
    hub->told_topic = malloc(GW_TOPIC_MAX);
    err = hub->told_topic ? tree_init(&hub->tree) : -ENOMEM;
    if (!err)
        err = persist_load(hub);
    if (err)
        return err;
    hub->ops = *ops; /* from here on others are asked: loading tells nobody */
    *out = GW_TAKE(hub);
    return 0;
}

void gw_hub_close(struct gw_hub **hub)
{
    struct gw_hub *h = GW_TAKE(*hub);
    struct gw_session *s;
    size_t cursor = 0;

    if (!h)
        return;
    persist_flush(h);
    gw_task_cancel(&h->overflow_task);
    h->closing = true; /* from here on nothing reaches the database: sessions go from memory only */
    while ((cursor = 0, s = gw_map_next(&h->sessions, &cursor))) {
        s->stored = false;
        session_end(s);
    }
    retained_fini(h);
    tree_fini(&h->tree);
    gw_map_fini(&h->sessions);
    for (struct hub_device *d; (cursor = 0, d = gw_map_next(&h->devices, &cursor));) {
        (void)gw_map_remove(&h->devices, gw_slice_str(d->id));
        free(d);
    }
    gw_map_fini(&h->devices);
    persist_fini(h);
    wills_fini(h);
    inbound_fini(h);
    tickets_fini(&h->tickets);
    queue_fini(h);
    free(h->told_topic);
    free(h);
}

void gw_hub_flush(struct gw_hub *hub)
{
    persist_flush(hub);
}

void gw_hub_reload(struct gw_hub *hub, const struct gw_hub_limits *limits)
{
    hub->limits = *limits;
}

/* ---- fan-out ---- */

struct fanout {
    struct gw_hub *hub;
    struct gw_msg *msg;
    struct gw_list matched; /* of sessions, by match_link */
    struct stored *stored;  /* the message's row, once somebody needs it */
    enum fate fate;
};

static void match_node(void *ctx, struct tree_node *n)
{
    struct fanout *f = ctx;

    GW_LIST_EACH(&n->subs, node)
    {
        struct sub *sub = GW_LIST_ENTRY(node, struct sub, node_link);

        if (sub->options.no_local && f->msg->origin == sub->session->origin) /* [MQTT-3.8.3-3] */
            continue;
        session_match(sub->session, &sub->options, f->hub->match_turn, &f->matched);
    }
}

static void match_shares(void *ctx, struct tree_node *n)
{
    struct fanout *f = ctx;
    enum fate fate = share_deliver(n, f->msg, &f->stored);

    f->fate = GW_MAX(f->fate, fate);
}

/* One copy for each session that matches, however many of its filters do; one more for
 * a member of each group that shares a subscription. */
static enum fate fan_out(struct gw_hub *hub, struct gw_msg *m)
{
    struct fanout f = {.hub = hub, .msg = m};
    enum fate fate;

    gw_list_init(&f.matched);
    hub->match_turn++;
    tree_match(&hub->tree, m->topic, match_node, &f);
    while (!gw_list_empty(&f.matched)) {
        struct gw_session *s = GW_LIST_ENTRY(f.matched.next, struct gw_session, match_link);

        gw_list_remove(&s->match_link);
        /* [MQTT-3.3.1-12], [MQTT-3.3.1-13] */
        fate = queue_add(s, m, m->retain && s->match.retain_as_published, false, &f.stored);
        f.fate = GW_MAX(f.fate, fate);
    }
    if (hub->shared_subs)
        tree_match(&hub->tree, m->topic, match_shares, &f);
    stored_release(hub, f.stored);
    return f.fate;
}

int hub_admits(struct gw_hub *hub, const struct gw_msg *m)
{
    int err = tree_depth_ok(m->topic) ? 0 : GW_EUNSUPPORTED;

    if (!err && m->retain)
        err = retained_admits(hub, m);
    hub->stats.full_retained += err == GW_EFULL;
    return err;
}

enum fate hub_take_in(struct gw_hub *hub, struct gw_msg *m)
{
    enum fate kept = FATE_NONE, heard;

    hub->stats.published++;
    if (m->retain)
        kept = retained_set(hub, m) ? FATE_WAIT : FATE_TAKEN;
    heard = fan_out(hub, m);
    return GW_MAX(kept, heard);
}

int gw_hub_publish(struct gw_hub *hub, uint64_t publisher, struct gw_msg *m, uint32_t token)
{
    struct tickets *t = &hub->tickets;
    bool wait_sink = false;
    enum fate fate;
    int err = hub_admits(hub, m);

    if (!err && m->qos > 0)
        err = tickets_reserve(t);
    if (err)
        return err;
    if (hub->ops.sink) {
        int told = hub->ops.sink(hub->owner, m, m->qos ? t->last + 1 : 0, GW_SLICE_NONE);

        if (told < 0)
            return told;
        wait_sink = told == 0 && m->qos > 0;
    }
    t->last += m->qos > 0;
    fate = hub_take_in(hub, m);
    if (m->qos == 0)
        return 1;
    if (fate == FATE_FULL && !wait_sink) /* what nobody has is not acknowledged */
        return GW_EQUEUEFULL;
    return tickets_add(t, publisher, token, wait_sink, fate == FATE_WAIT);
}

int gw_hub_publish_local(struct gw_hub *hub, const struct gw_msg *from)
{
    struct gw_msg filled = *from;
    struct gw_msg *m = NULL;
    int err;

    if (!filled.time_ms)
        filled.time_ms = gw_clock_wall_ms();
    if (!gw_topic_valid(filled.topic))
        return GW_EMALFORMED;
    err = hub_admits(hub, &filled);
    if (!err)
        err = gw_msg_new(&filled, &m);
    if (err)
        return err;
    (void)hub_take_in(hub, m);
    gw_msg_unref(&m);
    return 0;
}

void gw_hub_stats(const struct gw_hub *hub, struct gw_hub_stats *out)
{
    *out = hub->stats;
    out->unsettled = hub->tickets.count;
}
