/* SPDX-License-Identifier: GPL-2.0-only */
/* The gateway at a glance: as JSON for people and pages, as text for Prometheus. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"
#include "crypto/crypto.h"

static json_t *uplink_json(const struct gw_admin *a)
{
    struct gw_admin_uplink u = {.state = "off", .broker = "", .last_error = ""};
    json_t *error;

    a->rooms.uplink(a->rooms.owner, &u);
    error = u.last_error && *u.last_error ? json_string(u.last_error) : json_null();
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "state", u.state, "broker",
                     u.broker ? u.broker : "", "spooled_messages", (json_int_t)u.spooled_messages,
                     "spooled_bytes", (json_int_t)u.spooled_bytes, "in_flight",
                     (json_int_t)u.in_flight, "acknowledged", (json_int_t)u.acknowledged,
                     "last_error", error);
}

static json_t *limits_json(const struct gw_admin_broker *b)
{
    json_t *json = json_object();

    for (const struct gw_admin_limit *l = b->limits; l->name; l++)
        json_object_set_new(
            json, l->name,
            json_pack("{s:I, s:I}", "max", (json_int_t)l->max, "reached", (json_int_t)l->reached));
    return json;
}

static uint64_t dropped(const struct gw_admin_broker *b)
{
    return b->dropped.qos0 + b->dropped.full + b->dropped.expired + b->dropped.denied +
           b->dropped.too_big;
}

static json_t *broker_json(const struct gw_admin *a)
{
    struct gw_admin_broker b = {0};

    a->rooms.broker(a->rooms.owner, &b);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "connections",
                     (json_int_t)b.connections, "sessions", (json_int_t)b.sessions, "subscriptions",
                     (json_int_t)b.subscriptions, "retained", (json_int_t)b.retained, "queued",
                     (json_int_t)b.queued, "queued_bytes", (json_int_t)b.queued_bytes, "received",
                     (json_int_t)b.received, "sent", (json_int_t)b.sent, "dropped",
                     (json_int_t)dropped(&b), "limits", limits_json(&b));
}

static uint64_t uptime_s(const struct gw_admin *a)
{
    return (gw_clock_mono_ms() - a->started_ms) / 1000;
}

void on_status(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const struct gw_admin_rooms *r = &a->rooms;

    gw_http_reply_json(
        req, 200,
        json_pack(
            "{s:s, s:{s:s, s:s}, s:I, s:{s:I, s:I, s:I, s:I}, s:o, s:o, s:o, s:{s:s, s:s, s:s}}",
            "version", CORDON_VERSION, "gateway", "id", r->gateway_id, "name",
            r->config->gateway.name, "uptime_s", (json_int_t)uptime_s(a), "devices", "known",
            (json_int_t)gw_devices_total(r->devices), "online",
            (json_int_t)gw_presence_online(r->presence), "pending",
            (json_int_t)gw_devices_count(r->devices, GW_DEVICE_PENDING), "quarantined",
            (json_int_t)gw_presence_in_quarantine(r->presence), "uplink", uplink_json(a), "broker",
            broker_json(a), "isolation", isolation_json(a), "security", "sandbox",
            gw_sandbox_text(), "aes", gw_crypto_aes_name(), "ciphers", gw_crypto_cipher_text()));
}

/* ---- Prometheus ---- */

static void metric(FILE *f, const char *name, const char *type, const char *help, uint64_t value)
{
    (void)fprintf(f, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name, help, name, type, name,
                  value);
}

static void write_devices(FILE *f, const struct gw_admin *a)
{
    const struct gw_admin_rooms *r = &a->rooms;

    (void)fputs("# HELP cordon_devices Devices in the registry by state.\n"
                "# TYPE cordon_devices gauge\n",
                f);
    for (enum gw_device_state s = GW_DEVICE_SEEN; s <= GW_DEVICE_REVOKED; s++)
        (void)fprintf(f, "cordon_devices{state=\"%s\"} %zu\n", gw_device_state_text(s),
                      gw_devices_count(r->devices, s));
    metric(f, "cordon_devices_online", "gauge", "Devices that are present.",
           gw_presence_online(r->presence));
    metric(f, "cordon_devices_quarantined", "gauge",
           "Devices that are cut off, or an address of theirs.",
           gw_presence_in_quarantine(r->presence));
    metric(f, "cordon_quarantined", "gauge", "Verdicts in force that cut off.",
           gw_quarantine_count(r->quarantine));
    metric(f, "cordon_sightings_unrecorded_total", "counter",
           "Sightings that found no room in the registry since the start.",
           gw_devices_unrecorded(r->devices));
    metric(f, "cordon_events_total", "counter", "Events in the journal since the beginning.",
           gw_journal_last(r->journal));
}

static void write_uplink(FILE *f, const struct gw_admin *a)
{
    struct gw_admin_uplink u = {.state = "off"};

    a->rooms.uplink(a->rooms.owner, &u);
    metric(f, "cordon_uplink_connected", "gauge", "1 while a broker is connected.",
           strcmp(u.state, "connected") == 0);
    metric(f, "cordon_spooled_messages", "gauge", "Messages not yet acknowledged by the cloud.",
           u.spooled_messages);
    metric(f, "cordon_spooled_bytes", "gauge", "Bytes of the spool.", u.spooled_bytes);
    metric(f, "cordon_uplink_in_flight", "gauge", "Messages sent and not yet acknowledged.",
           u.in_flight);
    metric(f, "cordon_uplink_acknowledged_total", "counter",
           "Messages that the cloud acknowledged since the start.", u.acknowledged);
}

static void write_limits(FILE *f, const struct gw_admin_broker *b)
{
    (void)fputs("# HELP cordon_limit What is allowed.\n"
                "# TYPE cordon_limit gauge\n",
                f);
    for (const struct gw_admin_limit *l = b->limits; l->name; l++)
        (void)fprintf(f, "cordon_limit{limit=\"%s\"} %" PRIu64 "\n", l->name, l->max);
    (void)fputs("# HELP cordon_limit_reached_total How often a limit was reached.\n"
                "# TYPE cordon_limit_reached_total counter\n",
                f);
    for (const struct gw_admin_limit *l = b->limits; l->name; l++)
        (void)fprintf(f, "cordon_limit_reached_total{limit=\"%s\"} %" PRIu64 "\n", l->name,
                      l->reached);
}

static void write_dropped(FILE *f, const struct gw_admin_broker *b)
{
    const struct {
        const char *reason;
        uint64_t count;
    } rows[] = {{"qos0", b->dropped.qos0},
                {"full", b->dropped.full},
                {"expired", b->dropped.expired},
                {"denied", b->dropped.denied},
                {"too_big", b->dropped.too_big}};

    (void)fputs("# HELP cordon_messages_dropped_total Deliveries that did not happen, by reason.\n"
                "# TYPE cordon_messages_dropped_total counter\n",
                f);
    for (size_t i = 0; i < GW_COUNT(rows); i++)
        (void)fprintf(f, "cordon_messages_dropped_total{reason=\"%s\"} %" PRIu64 "\n",
                      rows[i].reason, rows[i].count);
}

static void write_broker(FILE *f, const struct gw_admin *a)
{
    struct gw_admin_broker b = {0};

    a->rooms.broker(a->rooms.owner, &b);
    metric(f, "cordon_connections", "gauge", "Connected clients.", b.connections);
    metric(f, "cordon_sessions", "gauge", "Sessions, connected or kept.", b.sessions);
    metric(f, "cordon_subscriptions", "gauge", "Subscriptions of all sessions.", b.subscriptions);
    metric(f, "cordon_retained_messages", "gauge", "Retained messages.", b.retained);
    metric(f, "cordon_queued_messages", "gauge", "Deliveries that wait or are in flight.",
           b.queued);
    metric(f, "cordon_queued_bytes", "gauge", "Their bytes.", b.queued_bytes);
    metric(f, "cordon_messages_received_total", "counter", "Messages published since the start.",
           b.received);
    metric(f, "cordon_messages_sent_total", "counter", "Messages delivered since the start.",
           b.sent);
    write_dropped(f, &b);
    write_limits(f, &b);
}

/* A label's value with the three characters escaped that the format gives a meaning. */
static void put_label(FILE *f, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            (void)fputc('\\', f);
        (void)fputs(*text == '\n' ? "\\n" : (char[]){*text, '\0'}, f);
    }
}

static void write_port(FILE *f, const char *name, const struct gw_link_report *r, uint64_t value)
{
    (void)fprintf(f, "%s{interface=\"", name);
    put_label(f, r->ifname);
    (void)fprintf(f, "\"} %" PRIu64 "\n", value);
}

static void write_isolation(FILE *f, const struct gw_admin *a)
{
    static struct links l;
    static const char *const packets = "cordon_dropped_packets_total",
                             *const bytes = "cordon_dropped_bytes_total",
                             *const covered = "cordon_port_covered";

    links_read(a, &l);
    (void)fprintf(f, "# HELP %s Packets dropped in the kernel.\n# TYPE %s counter\n", packets,
                  packets);
    for (size_t i = 0; i < l.count; i++)
        write_port(f, packets, &l.at[i], l.traffic[i].dropped_packets);
    (void)fprintf(f, "# HELP %s Bytes dropped in the kernel.\n# TYPE %s counter\n", bytes, bytes);
    for (size_t i = 0; i < l.count; i++)
        write_port(f, bytes, &l.at[i], l.traffic[i].dropped_bytes);
    (void)fprintf(f, "# HELP %s 1 when both directions are filtered.\n# TYPE %s gauge\n", covered,
                  covered);
    for (size_t i = 0; i < l.count; i++)
        write_port(f, covered, &l.at[i],
                   l.at[i].ingress != GW_INGRESS_NONE && l.at[i].egress != GW_EGRESS_NONE);
}

void on_metrics(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    GW_CLEANUP(gw_free_ptr) char *text = NULL;
    size_t len = 0;
    FILE *f;

    if (!a->rooms.config->admin.metrics) {
        gw_http_problem(req, 404, "Metrics are switched off by admin.metrics.");
        return;
    }
    f = open_memstream(&text, &len);
    if (!f) {
        admin_refuse(req, -ENOMEM, "The metrics were not written");
        return;
    }
    (void)fprintf(f,
                  "# HELP cordon_build_info The version that runs.\n# TYPE cordon_build_info "
                  "gauge\ncordon_build_info{version=\"%s\"} 1\n",
                  CORDON_VERSION);
    metric(f, "cordon_uptime_seconds", "gauge", "Since the worker started.", uptime_s(a));
    write_devices(f, a);
    write_uplink(f, a);
    write_broker(f, a);
    write_isolation(f, a);
    if (fclose(f) != 0)
        admin_refuse(req, -ENOMEM, "The metrics were not written");
    else
        gw_http_reply(req, 200, "text/plain; version=0.0.4; charset=utf-8", GW_SLICE(text, len));
}
