/* SPDX-License-Identifier: GPL-2.0-only */
/** What the hub's tests share: a hub on a store of its own, and subscribers that take notes. */
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "hub/hub.h"

#define NOTES_MAX 512

/* One connection: what it was given, in order. */
struct client {
    struct gw_session *session;
    char notes[NOTES_MAX][48]; /* "topic=payload qos/id flags" */
    uint16_t ids[NOTES_MAX];
    size_t count;
    size_t room; /* it takes so many deliveries, then says -EAGAIN */
    unsigned taken_over, inbound;
    bool present;
};

/* One publisher: what it was told, in order. */
struct sender {
    uint64_t id;
    uint32_t tokens[NOTES_MAX];
    int errs[NOTES_MAX];
    size_t count;
};

static char dir[64];
static struct gw_loop *loop;
static struct gw_store *store;
static struct gw_hub *hub;

/* How the outside world answers. */
static int sink_answer = 1;
static uint64_t sink_ticket;
static unsigned sink_count;
static const char *forbidden; /* a topic that nobody may hear now */
static char topics_told[NOTES_MAX];

static bool may_receive(void *owner, const char *device, struct gw_slice topic)
{
    (void)owner;
    (void)device;
    return !forbidden || !gw_slice_eq_str(topic, forbidden);
}

static struct gw_slice sink_label; /* of the last one, in sink_label_room */
static uint8_t sink_label_room[GW_HUB_LABEL_MAX];
static uint64_t settled_to = UINT64_MAX;

static int sink(void *owner, const struct gw_msg *m, uint64_t ticket, struct gw_slice label)
{
    (void)owner;
    (void)m;
    if (label.len)
        memcpy(sink_label_room, label.ptr, label.len);
    sink_label = GW_SLICE(sink_label_room, label.len);
    sink_ticket = ticket;
    sink_count++;
    return sink_answer;
}

static void topic_told(void *owner, struct gw_slice filter, const char *device, bool joined)
{
    size_t used = strlen(topics_told);

    (void)owner;
    (void)snprintf(topics_told + used, sizeof(topics_told) - used, "%c%s:%.*s ", joined ? '+' : '-',
                   device, (int)filter.len, (const char *)filter.ptr);
}

static void labels_settled(void *owner, uint64_t ticket)
{
    (void)owner;
    settled_to = ticket;
}

static char overflows_told[NOTES_MAX];

static void overflow_told(void *owner, const char *device, struct gw_slice client)
{
    size_t used = strlen(overflows_told);

    (void)owner;
    (void)snprintf(overflows_told + used, sizeof(overflows_told) - used, "%s:%.*s ", device,
                   (int)client.len, (const char *)client.ptr);
}

static struct gw_hub_limits hub_limits = {.queued_bytes = 100000};

static inline void hub_start(void)
{
    static const struct gw_hub_ops ops = {may_receive, sink, topic_told, overflow_told,
                                          labels_settled};

    cr_assert_eq(gw_loop_new(&loop), 0);
    cr_assert_eq(gw_store_open(loop, dir, &store), 0);
    cr_assert_eq(gw_hub_open(loop, &hub_limits, store, &ops, NULL, &hub), 0);
}

static inline void hub_stop(void)
{
    gw_hub_close(&hub);
    gw_store_close(&store);
    gw_loop_free(&loop);
}

static inline void setup(void)
{
    (void)strcpy(dir, "/tmp/cordon-hub-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    hub_start();
}

static inline void teardown(void)
{
    char command[96];

    hub_stop();
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    cr_assert_eq(system(command), 0);
}

/* Let the storage thread and the loop come to rest. */
static inline void settle(void)
{
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(gw_loop_turn(loop, 0), 0);
        gw_store_flush(store);
    }
}

static inline int note_delivery(void *owner, const struct gw_delivery *d)
{
    struct client *c = owner;

    if (!c->room)
        return -EAGAIN;
    c->room--;
    cr_assert_lt(c->count, NOTES_MAX);
    (void)snprintf(c->notes[c->count], sizeof(c->notes[0]), "%.*s=%.*s %d%s%s%s",
                   (int)d->msg->topic.len, (const char *)d->msg->topic.ptr,
                   (int)d->msg->payload.len, (const char *)d->msg->payload.ptr, d->qos,
                   d->retain ? " retain" : "",
                   d->repeated && d->state != GW_DELIVERY_RELEASED ? " dup" : "",
                   d->state == GW_DELIVERY_RELEASED ? " rel" : "");
    c->ids[c->count++] = d->id;
    return 0;
}

static inline void note_inbound(void *owner)
{
    ((struct client *)owner)->inbound++;
}

static inline void note_take_over(void *owner)
{
    struct client *c = owner;

    c->taken_over++;
    gw_session_detach(&c->session);
}

static const struct gw_session_ops client_ops = {note_delivery, note_take_over, note_inbound};

static inline void attach(struct client *c, const char *device, const char *client, bool clean,
                          uint32_t expiry_s)
{
    const struct gw_session_key key = {device, gw_slice_str(client)};

    if (!c->room)
        c->room = NOTES_MAX;
    cr_assert_eq(
        gw_session_attach(hub, &key, clean, expiry_s, &client_ops, c, &c->session, &c->present), 0);
}

static inline void subscribe(struct client *c, const char *filter, uint8_t qos)
{
    const struct gw_subscription sub = {.qos = qos};

    cr_assert_eq(gw_session_subscribe(c->session, gw_slice_str(filter), &sub), 0);
}

static inline void note_published(void *owner, uint32_t token, int err)
{
    struct sender *s = owner;

    s->tokens[s->count] = token;
    s->errs[s->count++] = err;
}

static inline void sender_add(struct sender *s)
{
    cr_assert_eq(gw_hub_publisher_add(hub, note_published, s, &s->id), 0);
}

static inline struct gw_msg *msg(const char *topic, const char *payload, uint8_t qos, bool retain)
{
    const struct gw_msg from = {
        .qos = qos,
        .retain = retain,
        .device = GW_SLICE_LIT("pub"),
        .topic = gw_slice_str(topic),
        .payload = gw_slice_str(payload),
    };
    struct gw_msg *m;

    cr_assert_eq(gw_msg_new(&from, &m), 0);
    return m;
}

static inline int publish_as(struct sender *s, const char *topic, const char *payload, uint8_t qos,
                             bool retain, uint32_t token)
{
    struct gw_msg *m = msg(topic, payload, qos, retain);
    int result = gw_hub_publish(hub, s ? s->id : 0, m, token);

    gw_msg_unref(&m);
    return result;
}

static inline int publish(const char *topic, const char *payload, uint8_t qos)
{
    return publish_as(NULL, topic, payload, qos, false, 0);
}

static inline struct gw_hub_stats stats(void)
{
    struct gw_hub_stats s;

    gw_hub_stats(hub, &s);
    return s;
}
