/* SPDX-License-Identifier: GPL-2.0-only */
/* What one room tells another. Each function passes on; none decides more than where to. */
#include "worker.h"

#include <jansson.h>

/* ---- from a publish to the uplink and back ---- */

static bool may_receive(void *owner, const char *device, struct gw_slice topic)
{
    struct worker *w = owner;

    return gw_access_may(w->access, device, GW_PERM_SUB, topic);
}

static int sink(void *owner, const struct gw_msg *m, uint64_t ticket, struct gw_slice label)
{
    struct worker *w = owner;

    _Static_assert(GW_HUB_LABEL_MAX <= GW_UPLINK_LABEL_MAX, "a label of the hub has room");
    return gw_uplink_publish(w->uplink, m, ticket, label);
}

static void settled(void *owner, uint64_t ticket)
{
    struct worker *w = owner;

    if (w->uplink) /* it is closed first: then the next start asks again */
        gw_uplink_settle(w->uplink, ticket);
}

static void recall(void *owner, struct gw_slice label)
{
    struct worker *w = owner;

    gw_hub_recall(w->hub, label);
}

static void topic_presence(void *owner, struct gw_slice filter, const char *device, bool joined)
{
    struct worker *w = owner;

    if (gw_topic_valid(filter)) /* a wildcard names no topic that somebody could be present on */
        gw_presence_topic(w->presence, filter, device, joined);
}

static void overflow(void *owner, const char *device, struct gw_slice client)
{
    struct worker *w = owner;
    char text[GW_LOG_TEXT];

    gw_journal_alert(w->journal, GW_WARNING, "queue-full", device, NULL,
                     "The queue of session \"%s\" is full: messages for it are dropped.",
                     gw_log_text(client, text));
}

const struct gw_hub_ops wiring_hub = {may_receive, sink, topic_presence, overflow, settled};

static void durable(void *owner, uint64_t ticket)
{
    struct worker *w = owner;

    gw_hub_durable(w->hub, ticket);
}

static void failed(void *owner, uint64_t ticket, int err)
{
    struct worker *w = owner;

    gw_hub_failed(w->hub, ticket, err);
}

static enum gw_severity severity_of(const char *kind)
{
    static const struct {
        const char *kind;
        enum gw_severity severity;
    } known[] = {{"uplink-up", GW_INFO},
                 {"spool-free", GW_INFO},
                 {"uplink-dropped", GW_CRITICAL},
                 {"spool-failed", GW_CRITICAL}};

    for (size_t i = 0; i < GW_COUNT(known); i++)
        if (strcmp(known[i].kind, kind) == 0)
            return known[i].severity;
    return GW_WARNING;
}

static void uplink_event(void *owner, const char *kind, const char *text)
{
    struct worker *w = owner;

    gw_journal_alert(w->journal, severity_of(kind), kind, NULL, NULL, "%s", text);
}

/* ---- presence outwards ---- */

/* INTERFACE's presence event, as the retained status of one device. */
static json_t *status_of(struct worker *w, const char *id)
{
    struct gw_presence_status status;
    char since[GW_TIME_TEXT];
    json_t *state;

    gw_presence_of(w->presence, id, &status);
    state = *status.state ? json_loads(status.state, JSON_DECODE_ANY, NULL) : NULL;
    return json_pack("{s:s, s:s, s:s, s:s, s:o*}", "device", id, "status",
                     gw_status_text(status.status), "cause", gw_cause_text(status.cause), "since",
                     gw_time_text(status.since_ms, since), "state", state);
}

static void publish_text(struct worker *w, const char *topic, struct gw_slice payload, bool retain)
{
    const struct gw_msg m = {.qos = 0,
                             .retain = retain,
                             .utf8 = true,
                             .time_ms = gw_clock_wall_ms(),
                             .topic = gw_slice_str(topic),
                             .payload = payload};
    int err = gw_hub_publish_local(w->hub, &m);

    if (err)
        gw_log_warning("event not published topic=%s: %s", topic, gw_error_text(err));
}

static void presence_to_cloud(struct worker *w, const char *id)
{
    json_t *json = status_of(w, id);
    GW_CLEANUP(gw_free_ptr) char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    if (text)
        gw_uplink_presence(w->uplink, id, gw_slice_str(text));
}

static void presence_event(struct worker *w, const struct gw_event *ev)
{
    struct gw_slice payload = gw_slice_str(ev->json);
    GW_CLEANUP(gw_free_ptr) char *name = NULL;
    json_t *json = json_loads(ev->json, 0, NULL);
    const char *topic = json_string_value(json_object_get(json, "topic"));

    if (topic) {
        if (asprintf(&name, "$presence/topics/%s", topic) >= 0)
            publish_text(w, name, payload, false);
    } else {
        /* "quiet": the site is too large to announce each one; the retained status still says it.
         */
        if (!json_is_true(json_object_get(json, "quiet")))
            publish_text(w, "$presence/events", payload, false);
        if (*ev->device && asprintf(&name, "$presence/devices/%s", ev->device) >= 0) {
            publish_text(w, name, payload, true);
            presence_to_cloud(w, ev->device);
        }
    }
    json_decref(json);
}

static void on_event(void *owner, const struct gw_event *ev)
{
    static const char *const topics[] = {[GW_INFO] = "$alert/info",
                                         [GW_WARNING] = "$alert/warning",
                                         [GW_CRITICAL] = "$alert/critical"};
    struct worker *w = owner;

    switch (ev->class) {
    case GW_EVENT_PRESENCE:
        presence_event(w, ev);
        return;
    case GW_EVENT_ALERT:
        publish_text(w, topics[ev->severity], gw_slice_str(ev->json), false);
        return;
    }
}

static void resync(void *owner)
{
    struct worker *w = owner;
    const struct gw_device *d = gw_devices_next(w->devices, "");

    for (; d; d = gw_devices_next(w->devices, d->id))
        presence_to_cloud(w, d->id);
}

const struct gw_uplink_ops wiring_uplink = {durable, failed, uplink_event, resync, recall};

/* ---- the kernel's view ---- */

static uint64_t wire_seen(void *owner, const struct gw_device *d)
{
    struct worker *w = owner;
    uint64_t latest = 0;

    for (size_t i = 0; i < d->addr_count; i++) {
        struct gw_traffic t;

        if (gw_enforcer_traffic(w->enforcer, &d->addrs[i].addr, &t))
            latest = GW_MAX(latest, t.last_seen_ms);
    }
    return latest;
}

struct gw_presence_ops wiring_presence(struct worker *w)
{
    return (struct gw_presence_ops){.wire_seen = wire_seen, .owner = w};
}

static void on_sighting(void *owner, const struct gw_sighting *s)
{
    struct worker *w = owner;
    const struct gw_hwaddr *ip = s->has_ip ? &s->ip : NULL;
    const struct gw_device *d;

    if (!gw_quarantine_may_claim(w->quarantine, s->mac, ip, s->ifname))
        ip = NULL;
    d = gw_devices_sighting(w->devices, s->mac, ip, s->ifname);

    if (d)
        gw_presence_seen(w->presence, d);
}

static void on_link(void *owner, const struct gw_link_report *r)
{
    struct worker *w = owner;

    if (!r->present || !r->up)
        gw_presence_port_down(w->presence, r->ifname);
    /* Addresses come and go with links: look soon whether the certificate still names them all. */
    gw_timer_start(w->loop, &w->pki_timer, 2000);
}

static void on_applied(void *owner, uint64_t token, int err)
{
    struct worker *w = owner;

    if (token & GW_PROFILE_TOKEN)
        gw_profiles_applied(w->profiles, token, err);
    else
        gw_quarantine_applied(w->quarantine, token, err);
}

static void on_reload(void *owner, struct gw_slice bundle, const char *error)
{
    struct worker *w = owner;

    worker_reload(w, bundle, error);
}

static void on_stop(void *owner)
{
    struct worker *w = owner;

    gw_loop_stop(w->loop);
}

static void on_wire(void *owner, const struct gw_wire_event *ev)
{
    struct worker *w = owner;

    gw_quarantine_wire(w->quarantine, ev);
}

static void on_learned(void *owner, const struct gw_learning *l)
{
    struct worker *w = owner;

    gw_profiles_learned(w->profiles, l);
}

static void on_dns(void *owner, const uint8_t mac[6], struct gw_slice payload)
{
    struct worker *w = owner;

    gw_profiles_dns(w->profiles, mac, payload);
}

static void on_tested(void *owner, const struct gw_selftest *t)
{
    struct worker *w = owner;

    if (w->admin)
        gw_admin_tested(w->admin, t);
}

const struct gw_enforcer_ops wiring_enforcer = {
    on_sighting, on_link, on_applied, on_reload, on_stop, on_wire, on_learned, on_dns, on_tested};

/* ---- verdicts and the life cycle ---- */

#define GOODBYES 16 /* so many may hold up the kernel: a device that has more is no honest one */

/* A device that may put itself right does so over HTTP. */
static void on_cutting(void *owner, const char *device, const struct gw_verdict *v)
{
    struct worker *w = owner;

    gw_peers_close_some(w->peers, device, GW_EQUARANTINED, GOODBYES);
    if (w->device_http && v->mode != GW_MODE_REMEDIATE)
        gw_http_close_device(w->device_http, device);
}

static void on_verdict(void *owner, const char *device, const struct gw_verdict *v)
{
    const struct gw_verdict *shown;
    struct worker *w = owner;

    shown = gw_quarantine_shown(w->quarantine, device);
    gw_profiles_observed(w->profiles, device, shown && shown->mode == GW_MODE_OBSERVE);
    gw_presence_quarantined(w->presence, device, v != NULL,
                            gw_devices_revoked(w->devices, device) ? GW_CAUSE_REVOKED
                                                                   : GW_CAUSE_QUARANTINED);
    if (v)
        gw_peers_close_device(w->peers, device, GW_EQUARANTINED);
}

static uint16_t policy_of(void *owner, const char *device)
{
    struct worker *w = owner;

    return gw_profiles_number(w->profiles, device);
}

struct gw_quarantine_ops wiring_quarantine(struct worker *w)
{
    return (struct gw_quarantine_ops){
        .changed = on_verdict, .cutting = on_cutting, .policy_of = policy_of, .owner = w};
}

/* The quarantine is opened after the profiles, and closed before them. */
static void on_policy(void *owner, const char *device)
{
    struct worker *w = owner;

    if (w->quarantine)
        gw_quarantine_resend(w->quarantine, device);
}

struct gw_profiles_ops wiring_profiles(struct worker *w)
{
    return (struct gw_profiles_ops){.changed = on_policy, .owner = w};
}

/* A device that connected: which link address does its packet come from? */
static void resolve(void *owner, const struct gw_hwaddr *ip)
{
    struct worker *w = owner;
    int err = gw_enforcer_resolve(w->enforcer, ip); /* a sighting follows, or not */

    if (err)
        gw_log_debug("link address not asked for: %s", gw_error_text(err));
}

struct gw_peers_rooms wiring_peers(struct worker *w)
{
    return (struct gw_peers_rooms){w->config,     w->hub,     w->access, w->presence,
                                   w->quarantine, w->devices, resolve,   w};
}

/* A revoked device does not get past the handshake, nor does one under such a verdict. */
static int admit(struct worker *w, const struct gw_identity *id, const struct gw_verdict *v)
{
    int err = gw_enroll_admits(w->enroll, id); /* revoked, or its key was replaced */

    return !err && v ? GW_EQUARANTINED : err;
}

/*
 * A quarantined device of which no address is known is let through the handshake: peers, where its
 * session is refused, hear from where it proved itself, and so the kernel whom to cut off.
 */
int wiring_admit_mqtt(void *owner, const struct gw_identity *id)
{
    struct worker *w = owner;
    const struct gw_device *d = gw_devices_get(w->devices, id->device);
    const struct gw_verdict *v = gw_quarantine_of_device(w->quarantine, id->device);

    if (!*id->device)
        return GW_EIDENTITY;
    return admit(w, id, d && d->addr_count > 0 ? v : NULL);
}

/* A device that may put itself right does so here. */
int wiring_admit_https(void *owner, const struct gw_identity *id)
{
    struct worker *w = owner;
    const struct gw_verdict *v = gw_quarantine_of_device(w->quarantine, id->device);

    if (!*id->device)
        return 0;
    return admit(w, id, v && v->mode == GW_MODE_REMEDIATE ? NULL : v);
}

void wiring_wrong_code(void *owner, const struct gw_hwaddr *from)
{
    struct worker *w = owner;
    const struct gw_device *d = gw_devices_by_addr(w->devices, from);

    if (d)
        gw_quarantine_strike(w->quarantine, d->id, GW_STRIKE_AUTH);
}

/* ---- who serves what comes in ---- */

int wiring_serve_mqtt(struct worker *w, struct gw_stream *stream)
{
    return gw_mqtt_serve(w->mqtt, stream);
}

int wiring_serve_https(struct worker *w, struct gw_stream *stream)
{
    return gw_http_serve(w->device_http, stream);
}

int wiring_serve_admin(struct worker *w, struct gw_stream *stream)
{
    return gw_admin_serve(w->admin, stream);
}

/* ---- the admin part's view ---- */

static void uplink_of(void *owner, struct gw_admin_uplink *out)
{
    static const char *const states[] = {[GW_UPLINK_OFF] = "off",
                                         [GW_UPLINK_CONNECTING] = "connecting",
                                         [GW_UPLINK_CONNECTED] = "connected"};
    struct worker *w = owner;
    struct gw_uplink_status s;

    gw_uplink_status(w->uplink, &s);
    *out = (struct gw_admin_uplink){states[s.state], s.broker,    s.last_error,  s.spooled_messages,
                                    s.spooled_bytes, s.in_flight, s.acknowledged};
}

static void broker_of(void *owner, struct gw_admin_broker *out)
{
    struct worker *w = owner;
    struct gw_peers_figures f;

    gw_peers_figures(w->peers, &f);
    *out = (struct gw_admin_broker){
        .connections = f.connections,
        .sessions = f.hub.sessions,
        .subscriptions = f.hub.subscriptions,
        .retained = f.hub.retained,
        .queued = f.hub.queued,
        .queued_bytes = f.hub.queued_bytes,
        .received = f.hub.published,
        .sent = f.hub.delivered,
        .dropped = {f.hub.dropped_qos0, f.hub.dropped_full, f.hub.dropped_expired,
                    f.hub.dropped_denied, f.hub.dropped_too_big},
        .limits = {{.max = w->config->limits.connections},
                   {.max = w->config->limits.message_bytes},
                   {.max = w->config->limits.publish_per_s},
                   {.max = w->config->limits.queued_bytes},
                   {.max = GW_HUB_SUBS_MAX},
                   {.max = GW_HUB_INBOUND_MAX},
                   {.max = GW_HUB_RETAINED_DEVICE},
                   {.max = GW_HUB_KEPT_MAX},
                   {.max = w->config->limits.connections}},
    };
    for (enum gw_limit i = 0; i < GW_LIMIT_COUNT; i++) {
        out->limits[i].name = gw_limit_text(i);
        out->limits[i].reached = f.reached[i];
    }
}

struct gw_admin_rooms wiring_admin(struct worker *w)
{
    return (struct gw_admin_rooms){.config = w->config,
                                   .store = w->store,
                                   .journal = w->journal,
                                   .devices = w->devices,
                                   .access = w->access,
                                   .presence = w->presence,
                                   .profiles = w->profiles,
                                   .quarantine = w->quarantine,
                                   .enroll = w->enroll,
                                   .enforcer = w->enforcer,
                                   .pki = w->pki,
                                   .gateway_id = gw_pki_gateway_id(w->pki),
                                   .uplink = uplink_of,
                                   .broker = broker_of,
                                   .owner = w};
}

void wiring_listen(struct worker *w)
{
    w->on_event = (struct gw_journal_listener){.event = on_event, .owner = w};
    gw_journal_listen(w->journal, &w->on_event);
}

void wiring_unlisten(struct worker *w)
{
    gw_journal_unlisten(&w->on_event);
}
