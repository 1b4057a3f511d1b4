/* SPDX-License-Identifier: GPL-2.0-only */
#include "mqtt/server_priv.h"

#include <errno.h>

/* The size of a packet's head is bounded by what we accept, plus our own properties. */
static int resize(struct gw_mqtt_server *s)
{
    size_t size = (size_t)s->config->limits.message_bytes + 2 * PACKET_OVERHEAD + UINT16_MAX;
    uint8_t *scratch = size > s->scratch_size ? realloc(s->scratch, size) : s->scratch;

    if (!scratch)
        return -ENOMEM;
    s->scratch = scratch;
    s->scratch_size = GW_MAX(size, s->scratch_size);
    return 0;
}

int gw_mqtt_server_new(struct gw_loop *loop, const struct gw_config *config, struct gw_peers *peers,
                       struct gw_hub *hub, struct gw_mqtt_server **out)
{
    GW_CLEANUP(gw_mqtt_server_free) struct gw_mqtt_server *s = calloc(1, sizeof(*s));
    int err;

    if (!s)
        return -ENOMEM;
    s->loop = loop;
    s->config = config;
    s->peers = peers;
    s->hub = hub;
    s->refusals = (struct gw_log_limit){.burst = 10, .per_ms = 10000};
    gw_list_init(&s->fresh);
    gw_list_init(&s->conns);
    gw_list_init(&s->parked_wills);
    err = resize(s);
    if (!err)
        err = gw_hub_publisher_add(hub, on_will_published, s, &s->will_publisher);
    if (err)
        return err;
    wills_restore(s);
    *out = GW_TAKE(s);
    return 0;
}

void gw_mqtt_server_reload(struct gw_mqtt_server *s, const struct gw_config *config)
{
    s->config = config;
    gw_msg_unref(&s->cache.msg);
    if (resize(s))
        gw_log_error("mqtt: larger packets are not accepted: no memory");
}

/* So that those who say nothing lock nobody out. */
static bool make_way(struct gw_mqtt_server *s)
{
    if (gw_list_empty(&s->fresh))
        return false;
    conn_free(GW_LIST_ENTRY(s->fresh.next, struct conn, link));
    return true;
}

/* With a few more than may stay: who comes at the limit is to hear so, in a CONNACK. */
static size_t room(const struct gw_mqtt_server *s)
{
    size_t max = s->config->limits.connections;

    return max + 1 + GW_MIN(max / 8, (size_t)LOBBY_MAX - 1);
}

int gw_mqtt_serve(struct gw_mqtt_server *s, struct gw_stream *stream)
{
    struct conn *c;
    int err = 0;

    if (s->stopping)
        err = GW_ECLOSED;
    else if (s->count >= room(s) && !make_way(s))
        err = GW_EFULL;
    if (err == GW_EFULL)
        gw_peers_limit(s->peers, GW_LIMIT_CONNECTIONS);
    if (!err)
        err = conn_new(s, stream, &c);
    if (err)
        gw_stream_free(&stream);
    return err;
}

static void stop_one(struct conn *c)
{
    c->cause = GW_CAUSE_SHUTDOWN;
    if (c->state == CONN_CLOSED)
        conn_finish(c);
    else
        conn_close(c, GW_ECLOSED, GW_MQTT_SHUTTING_DOWN);
}

static void stop_all(struct gw_list *conns)
{
    GW_LIST_EACH(conns, node)
    {
        stop_one(GW_LIST_ENTRY(node, struct conn, link));
    }
}

static void free_all(struct gw_list *conns)
{
    while (!gw_list_empty(conns))
        conn_free(GW_LIST_ENTRY(conns->next, struct conn, link));
}

void gw_mqtt_server_stop(struct gw_mqtt_server *s)
{
    s->stopping = true;
    stop_all(&s->fresh);
    stop_all(&s->conns);
    wills_leave(s);
}

size_t gw_mqtt_server_count(const struct gw_mqtt_server *s)
{
    return s->count;
}

void gw_mqtt_server_free(struct gw_mqtt_server **server)
{
    struct gw_mqtt_server *s = GW_TAKE(*server);

    if (!s)
        return;
    gw_mqtt_server_stop(s);
    free_all(&s->fresh);
    free_all(&s->conns);
    gw_map_fini(&s->wills);
    gw_hub_publisher_remove(s->hub, s->will_publisher);
    gw_msg_unref(&s->cache.msg);
    free(s->scratch);
    free(s);
}
