/* SPDX-License-Identifier: GPL-2.0-only */
#include "presence/presence_priv.h"

/* What devices can make us remember. */
#define TOPICS_MAX 20000
#define MEMBERS_MAX 200000
#define TOPIC_BYTES_MAX 1024

/* One topic that somebody subscribed to by its full name. */
struct topic {
    struct gw_presence *presence;
    struct gw_timer timer; /* armed: an interval event is due */
    size_t occupancy;
    size_t len;
    char name[];
};

/* One device on one topic; the key is "<device>\0<topic>". */
struct member {
    size_t subscriptions;
    size_t len;
    char key[];
};

static void tell(struct topic *t, const char *action, const char *device, const char *cause)
{
    struct gw_presence *p = t->presence;
    struct gw_presence_status status;
    json_t *fields = json_pack("{s:s, s:s%, s:I}", "action", action, "topic", t->name, t->len,
                               "occupancy", (json_int_t)t->occupancy);

    if (*device) {
        gw_presence_of(p, device, &status);
        (void)json_object_set_new(fields, "device", json_string(device));
        (void)json_object_set_new(fields, "cause", json_string(cause));
        (void)json_object_set_new(fields, "status", json_string(gw_status_text(status.status)));
    }
    gw_journal_presence(p->journal, action, device, fields);
}

static void on_interval(void *owner)
{
    tell(owner, "interval", "", "");
}

/* Over announce_max only the occupancy is told, and that at most once an interval. */
static void announce_topic(struct topic *t, const char *device, bool joined)
{
    const struct gw_config *c = t->presence->config;

    if (t->occupancy <= c->presence.announce_max)
        tell(t, joined ? "join" : "leave", device, joined ? "connect" : "left");
    else if (!gw_timer_armed(&t->timer))
        gw_timer_start(t->presence->loop, &t->timer, (uint64_t)c->presence.interval_s * 1000);
}

static struct topic *topic_make(struct gw_presence *p, struct gw_slice name)
{
    struct topic *t = gw_map_get(&p->topics.by_name, name);

    if (t || p->topics.by_name.count >= TOPICS_MAX)
        return t;
    t = calloc(1, sizeof(*t) + name.len + 1);
    if (!t)
        return NULL;
    t->presence = p;
    t->len = name.len;
    memcpy(t->name, name.ptr, name.len);
    gw_timer_init(&t->timer, on_interval, t);
    if (gw_map_put(&p->topics.by_name, GW_SLICE(t->name, t->len), t)) {
        free(t);
        return NULL;
    }
    return t;
}

static void topic_free(struct topic *t)
{
    gw_timer_stop(&t->timer);
    free(t);
}

static struct member *member_make(struct gw_presence *p, struct gw_slice key)
{
    struct member *m = gw_map_get(&p->topics.members, key);

    if (m || p->topics.members.count >= MEMBERS_MAX)
        return m;
    m = calloc(1, sizeof(*m) + key.len);
    if (!m)
        return NULL;
    m->len = key.len;
    memcpy(m->key, key.ptr, key.len);
    if (gw_map_put(&p->topics.members, GW_SLICE(m->key, m->len), m)) {
        free(m);
        return NULL;
    }
    return m;
}

static void join(struct gw_presence *p, struct gw_slice name, struct gw_slice key,
                 const char *device)
{
    struct topic *t = topic_make(p, name);
    struct member *m = t ? member_make(p, key) : NULL;

    if (m && m->subscriptions++ == 0) {
        t->occupancy++;
        announce_topic(t, device, true);
    } else if (t && !t->occupancy) {
        gw_map_remove(&p->topics.by_name, name);
        topic_free(t);
    }
}

static void leave(struct gw_presence *p, struct gw_slice name, struct gw_slice key,
                  const char *device)
{
    struct topic *t = gw_map_get(&p->topics.by_name, name);
    struct member *m = gw_map_get(&p->topics.members, key);

    if (!t || !m || --m->subscriptions)
        return;
    gw_map_remove(&p->topics.members, key);
    free(m);
    t->occupancy--;
    announce_topic(t, device, false);
    if (!t->occupancy) {
        gw_map_remove(&p->topics.by_name, name);
        topic_free(t);
    }
}

void gw_presence_topic(struct gw_presence *p, struct gw_slice topic, const char *device,
                       bool joined)
{
    char key[GW_DEVICE_ID_MAX + 1 + TOPIC_BYTES_MAX];
    struct gw_writer w = gw_writer_of(key, sizeof(key));

    gw_writer_put(&w, GW_SLICE(device, strlen(device) + 1));
    gw_writer_put(&w, topic);
    if (w.err || topic.len == 0)
        return;
    if (joined)
        join(p, topic, gw_writer_done(&w), device);
    else
        leave(p, topic, gw_writer_done(&w), device);
}

void presence_topics_fini(struct gw_presence *p)
{
    struct topic *t;
    struct member *m;
    size_t cursor = 0;

    while ((t = gw_map_next(&p->topics.by_name, &cursor)))
        topic_free(t);
    for (cursor = 0; (m = gw_map_next(&p->topics.members, &cursor));)
        free(m);
    gw_map_fini(&p->topics.by_name);
    gw_map_fini(&p->topics.members);
}
