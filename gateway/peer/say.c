/* SPDX-License-Identifier: GPL-2.0-only */
/* What a device says and asks to hear. */
#include "peer/peer_priv.h"

#include <errno.h>
#include <stdio.h>

#include <jansson.h>

#include "base/clock.h"

#define FLOOD_STRIKE_MS 1000
#define HEARTBEAT_MAX 256 /* bytes of a heartbeat that are looked into */
#define FIGURE_TOPIC "$SYS/broker/"

/* ---- quota: a bucket that holds one second's worth ---- */

static void refill(const struct gw_peers *peers, struct peer_device *d)
{
    uint64_t rate = peers->rooms.config->limits.publish_per_s;
    uint64_t now = gw_loop_now_ms(peers->loop);
    uint64_t since = GW_MIN(now - d->filled_ms, (uint64_t)1000);

    d->tokens = GW_MIN(d->tokens + since * rate, rate * 1000);
    d->filled_ms = now;
}

bool quota_take(struct gw_peers *peers, struct peer_device *d)
{
    refill(peers, d);
    if (d->tokens < 1000)
        return false;
    d->tokens -= 1000;
    return true;
}

uint32_t gw_peer_quota_ms(const struct gw_peer *peer)
{
    uint32_t rate = GW_MAX(peer->peers->rooms.config->limits.publish_per_s, 1u);

    refill(peer->peers, peer->device);
    if (peer->device->tokens >= 1000)
        return 0;
    return (uint32_t)((1000 - peer->device->tokens + rate - 1) / rate);
}

/* ---- what presence wants to know of ---- */

static void heartbeat(struct gw_peers *peers, const struct peer_device *d, struct gw_slice payload)
{
    json_int_t interval_s = 0;
    json_t *json = NULL;

    if (payload.len && payload.len <= HEARTBEAT_MAX)
        json = json_loadb((const char *)payload.ptr, payload.len, JSON_REJECT_DUPLICATES, NULL);
    interval_s = json_integer_value(json_object_get(json, "interval_s"));
    json_decref(json);
    if (interval_s < 0 || interval_s > UINT32_MAX)
        interval_s = 0;
    gw_presence_heartbeat(peers->rooms.presence, d->id, (uint32_t)interval_s);
}

static void tell_presence(struct gw_peers *peers, struct peer_device *d, const struct gw_msg *m)
{
    size_t own = strlen(d->own_topics);
    struct gw_slice rest;

    if (!gw_slice_starts(m->topic, d->own_topics))
        return;
    rest = GW_SLICE(m->topic.ptr + own, m->topic.len - own);
    if (gw_slice_eq_str(rest, "heartbeat"))
        heartbeat(peers, d, m->payload);
    else if (gw_slice_eq_str(rest, "state"))
        gw_presence_state(peers->rooms.presence, d->id, m->payload);
}

/* ---- publish ---- */

static int check(struct gw_peers *peers, const char *device, const struct gw_msg *m)
{
    if (!gw_topic_valid(m->topic))
        return GW_EMALFORMED;
    if (m->payload.len > peers->rooms.config->limits.message_bytes) {
        gw_peers_limit(peers, GW_LIMIT_MESSAGE_BYTES);
        return GW_ETOOBIG;
    }
    return gw_access_may(peers->rooms.access, device, GW_PERM_PUB, m->topic) ? 0 : GW_EDENIED;
}

/* Where a publish comes from; without a session it is not held against its packet identifier. */
struct source {
    uint64_t publisher;
    uint32_t token;
    struct gw_session *session;
    uint16_t id;
};

static int hand_over(struct gw_peers *peers, const char *device, const struct source *by,
                     const struct gw_msg *from)
{
    struct gw_msg filled = *from;
    struct gw_msg *m = NULL;
    int result;

    filled.device = gw_slice_str(device);
    filled.time_ms = gw_clock_wall_ms();
    result = gw_msg_new(&filled, &m);
    if (result)
        return result;
    if (by->session)
        result =
            gw_hub_publish_once(peers->rooms.hub, by->publisher, by->session, by->id, m, by->token);
    else
        result = gw_hub_publish(peers->rooms.hub, by->publisher, m, by->token);
    gw_msg_unref(&m);
    return result;
}

/* QoS 0 has no flow control: what comes over the quota is lost, and noted once a second. */
static int over_quota(struct gw_peer *peer, const struct gw_msg *m)
{
    struct peer_device *d = peer->device;
    uint64_t now = gw_loop_now_ms(peer->peers->loop);

    gw_peers_limit(peer->peers, GW_LIMIT_PUBLISH_PER_S);
    if (m->qos == 0 && now - d->flood_ms >= FLOOD_STRIKE_MS) {
        d->flood_ms = now;
        gw_peer_strike(peer, GW_STRIKE_FLOOD);
    }
    return GW_EQUOTA;
}

static int publish(struct gw_peer *peer, const struct source *by, const struct gw_msg *from)
{
    struct gw_peers *peers = peer->peers;
    struct peer_device *d = peer->device;
    int result;

    if (!quota_take(peers, d))
        return over_quota(peer, from);
    result = check(peers, d->id, from);
    if (!result) {
        result = hand_over(peers, d->id, by, from);
        if (result >= 0) {
            tell_presence(peers, d, from);
            gw_peer_touch(peer);
        }
        return result;
    }
    /* A strike may end this very peer, so it comes last. */
    gw_peer_strike(peer, result == GW_EMALFORMED ? GW_STRIKE_MALFORMED : GW_STRIKE_DENIED);
    return result;
}

int gw_peer_publish(struct gw_peer *peer, const struct gw_msg *from, uint32_t token)
{
    return publish(peer, &(struct source){.publisher = peer->publisher, .token = token}, from);
}

int gw_peer_publish_once(struct gw_peer *peer, struct gw_session *session, uint16_t id,
                         const struct gw_msg *from, uint32_t token)
{
    return publish(peer, &(struct source){peer->publisher, token, session, id}, from);
}

int gw_peers_publish_will(struct gw_peers *peers, const char *device, const struct gw_msg *from,
                          uint64_t publisher, uint32_t token)
{
    int result = check(peers, device, from);

    if (result)
        return result;
    return hand_over(peers, device, &(struct source){.publisher = publisher, .token = token}, from);
}

/* ---- subscribe ---- */

int gw_peer_subscribe(struct gw_peer *peer, struct gw_session *session, struct gw_slice filter,
                      const struct gw_subscription *sub)
{
    struct gw_peers *peers = peer->peers;

    struct gw_slice share, inner;

    if (!gw_filter_share(filter, &share, &inner) || !gw_filter_valid(inner))
        return GW_EMALFORMED;
    if (share.len && sub->no_local) /* [MQTT-3.8.3-4] */
        return GW_EPROTOCOL;
    if (!gw_access_may_subscribe(peers->rooms.access, peer->device->id, filter))
        return GW_EDENIED;
    return gw_session_subscribe(session, filter, sub);
}

/* ---- figures ---- */

const char *gw_limit_text(enum gw_limit which)
{
    static const char *const texts[] = {
#define X(name, key) key,
        GW_LIMITS(X)
#undef X
    };

    return texts[which];
}

void gw_peers_limit(struct gw_peers *peers, enum gw_limit which)
{
    peers->reached[which]++;
}

void gw_peers_figures(const struct gw_peers *peers, struct gw_peers_figures *out)
{
    *out = (struct gw_peers_figures){.connections = peers->count};
    gw_hub_stats(peers->rooms.hub, &out->hub);
    memcpy(out->reached, peers->reached, sizeof(out->reached));
    out->reached[GW_LIMIT_QUEUED_BYTES] += out->hub.dropped_full + out->hub.dropped_qos0;
    out->reached[GW_LIMIT_SUBSCRIPTIONS] += out->hub.full_subscriptions;
    out->reached[GW_LIMIT_UNRELEASED] += out->hub.full_inbound;
    out->reached[GW_LIMIT_RETAINED] += out->hub.full_retained;
    out->reached[GW_LIMIT_SESSIONS] += out->hub.full_sessions;
}

static void publish_figure(struct gw_peers *peers, const char *topic, uint64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    const struct gw_msg m = {
        .retain = true,
        .utf8 = true,
        .topic = gw_slice_str(topic),
        .payload = GW_SLICE(text, (size_t)len),
    };

    (void)gw_hub_publish_local(peers->rooms.hub, &m); /* the next round brings newer ones */
}

void gw_peers_publish_figures(struct gw_peers *peers)
{
    struct gw_peers_figures f;

    gw_peers_figures(peers, &f);
    const struct {
        const char *topic;
        uint64_t value;
    } figures[] = {{FIGURE_TOPIC "clients/connected", f.connections},
                   {FIGURE_TOPIC "sessions", f.hub.sessions},
                   {FIGURE_TOPIC "subscriptions/count", f.hub.subscriptions},
                   {FIGURE_TOPIC "retained messages/count", f.hub.retained},
                   {FIGURE_TOPIC "messages/received", f.hub.published},
                   {FIGURE_TOPIC "messages/sent", f.hub.delivered},
                   {FIGURE_TOPIC "messages/queued", f.hub.queued},
                   {FIGURE_TOPIC "messages/dropped",
                    f.hub.dropped_qos0 + f.hub.dropped_full + f.hub.dropped_expired +
                        f.hub.dropped_denied + f.hub.dropped_too_big},
#define X(name, key) {FIGURE_TOPIC "limits/" key, f.reached[GW_LIMIT_##name]},
                   GW_LIMITS(X)
#undef X
    };

    for (size_t i = 0; i < GW_COUNT(figures); i++)
        publish_figure(peers, figures[i].topic, figures[i].value);
}
