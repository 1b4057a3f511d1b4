/* SPDX-License-Identifier: GPL-2.0-only */
/* The verbs that show: status, devices, device, presence, events. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "cli/cli_priv.h"

#define PAGE 1000 /* devices in one answer */

json_t *cli_unless_json(const struct cli_args *args, json_t *answer)
{
    if (!args->json)
        return answer;
    (void)json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_PRESERVE_ORDER);
    (void)fputc('\n', stdout);
    json_decref(answer);
    return NULL;
}

/* The answer of a GET. With --json it has been printed and *out is NULL. */
static int get(const struct cli_args *args, const char *path, json_t **out)
{
    json_t *answer = NULL;
    int err = cli_call(args, "GET", path, NULL, &answer);

    if (!err)
        *out = cli_unless_json(args, answer);
    return err;
}

static void line(const char *name, const char *text)
{
    (void)printf("%-11s ", name);
    cli_put(stdout, text);
    (void)fputc('\n', stdout);
}

static void linef(const char *name, const char *fmt, ...) GW_PRINTF(2, 3);
static void linef(const char *name, const char *fmt, ...)
{
    GW_CLEANUP(gw_free_ptr) char *text = NULL;
    va_list list;

    va_start(list, fmt);
    if (vasprintf(&text, fmt, list) < 0)
        text = NULL;
    va_end(list);
    line(name, text ? text : "");
}

/* ---- status ---- */

static void show_uptime(uint64_t s, char out[64])
{
    if (s < 3600)
        (void)snprintf(out, 64, "%" PRIu64 " min", s / 60);
    else if (s < 172800)
        (void)snprintf(out, 64, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
    else
        (void)snprintf(out, 64, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
}

static void show_uplink(const json_t *u)
{
    const char *state = cli_text(u, "state"), *broker = cli_text(u, "broker");
    char size[32];

    if (strcmp(state, "off") == 0) {
        line("Uplink", "off: no broker is configured, everything stays here");
        return;
    }
    linef("Uplink", "%s%s%s", state, *broker ? ", " : "", broker);
    linef("", "%" PRIu64 " spooled (%s), %" PRIu64 " in flight, %" PRIu64 " acknowledged",
          cli_number(u, "spooled_messages"), cli_bytes(cli_number(u, "spooled_bytes"), size),
          cli_number(u, "in_flight"), cli_number(u, "acknowledged"));
    if (*cli_text(u, "last_error"))
        linef("", "last error: %s", cli_text(u, "last_error"));
}

static void show_broker(const json_t *b)
{
    const char *name;
    json_t *limit;
    char size[32];

    linef("Clients", "%" PRIu64 " connected, %" PRIu64 " sessions, %" PRIu64 " messages wait (%s)",
          cli_number(b, "connections"), cli_number(b, "sessions"), cli_number(b, "queued"),
          cli_bytes(cli_number(b, "queued_bytes"), size));
    json_object_foreach(json_object_get(b, "limits"), name, limit)
    {
        if (cli_number(limit, "reached"))
            linef("", "limit %s = %" PRIu64 " was reached %" PRIu64 " times", name,
                  cli_number(limit, "max"), cli_number(limit, "reached"));
    }
}

/* What could carry frames past a port, one line each. */
static void show_bypass(const json_t *port)
{
    static const char *const lists[] = {"bypass", "notes"};
    json_t *text;
    size_t i;

    for (size_t k = 0; k < GW_COUNT(lists); k++)
        json_array_foreach(json_object_get(port, lists[k]), i, text)
        {
            linef("", "%s: %s", cli_text(port, "name"),
                  json_string_value(text) ? json_string_value(text) : "");
        }
}

void cli_show_ports(const json_t *isolation)
{
    static const char *const titles[] = {"  PORT", "LINK", "IN", "OUT", "DROPPED", "BYTES", "NOTE"};
    GW_CLEANUP(cli_table_free) struct cli_table *t = cli_table_new(titles, GW_COUNT(titles));
    json_t *ports = json_object_get(isolation, "interfaces"), *port;
    uint64_t verdicts = cli_number(isolation, "verdicts");
    char size[32];
    size_t i;

    if (verdicts)
        linef("Isolation", "%s, verdicts: %" PRIu64, cli_text(isolation, "state"), verdicts);
    else
        line("Isolation", cli_text(isolation, "state"));
    json_array_foreach(ports, i, port)
    {
        cli_cellf(t, "  %s", cli_text(port, "name"));
        cli_cell(t, json_is_true(json_object_get(port, "up")) ? "up" : "down");
        cli_cell(t, cli_text(port, "ingress"));
        cli_cell(t, cli_text(port, "egress"));
        cli_cellf(t, "%" PRIu64, cli_number(port, "dropped_packets"));
        cli_cell(t, cli_bytes(cli_number(port, "dropped_bytes"), size));
        cli_cell(t, cli_text(port, "reason"));
    }
    if (i)
        cli_table_print(t, stdout);
    json_array_foreach(ports, i, port)
    {
        show_bypass(port);
    }
}

int cli_status(const struct cli_args *args)
{
    json_auto_t *s = NULL;
    const json_t *gateway, *devices, *security;
    int err = get(args, "/api/v1/status", &s);
    char uptime[64];

    if (err || !s)
        return err;
    gateway = json_object_get(s, "gateway");
    devices = json_object_get(s, "devices");
    security = json_object_get(s, "security");
    show_uptime(cli_number(s, "uptime_s"), uptime);
    linef("Gateway", "%s (%s), version %s, up %s", cli_text(gateway, "name"),
          cli_text(gateway, "id"), cli_text(s, "version"), uptime);
    linef("Devices",
          "%" PRIu64 " known, %" PRIu64 " online, %" PRIu64 " pending, %" PRIu64 " quarantined",
          cli_number(devices, "known"), cli_number(devices, "online"),
          cli_number(devices, "pending"), cli_number(devices, "quarantined"));
    show_uplink(json_object_get(s, "uplink"));
    show_broker(json_object_get(s, "broker"));
    cli_show_ports(json_object_get(s, "isolation"));
    line("Sandbox", cli_text(security, "sandbox"));
    line("AES", cli_text(security, "aes"));
    line("Ciphers", cli_text(security, "ciphers"));
    return CLI_DONE;
}

/* ---- devices ---- */

static const char *first_of(const json_t *addresses, const char *kind)
{
    return json_string_value(json_array_get(json_object_get(addresses, kind), 0));
}

static void device_row(struct cli_table *t, const json_t *d, int64_t now_ms)
{
    const json_t *addresses = json_object_get(d, "addresses");
    const json_t *presence = json_object_get(d, "presence");
    const json_t *verdict = json_object_get(d, "quarantine");
    const char *ip = first_of(addresses, "ipv4"), *only = cli_text(verdict, "address");
    char age[32];

    cli_cell(t, cli_text(d, "id"));
    cli_cell(t, cli_text(d, "name"));
    cli_cell(t, cli_text(d, "class"));
    cli_cell(t, cli_text(d, "state"));
    cli_cell(t, cli_text(presence, "status"));
    cli_cell(t, cli_text(presence, "cause"));
    cli_cell(t, cli_age(json_object_get(presence, "since"), now_ms, age));
    cli_cell(t, cli_age(json_object_get(d, "last_seen"), now_ms, age));
    cli_cell(t, first_of(addresses, "mac"));
    cli_cell(t, ip ? ip : first_of(addresses, "ipv6"));
    cli_cellf(t, "%s%s%s", cli_text(verdict, "mode"), *only ? " " : "", only);
}

/* Where the next page begins: behind this row's `key`, a text or a number. */
static void after_row(const json_t *row, const char *key, char out[80])
{
    if (json_is_integer(json_object_get(row, key)))
        (void)snprintf(out, 80, "&after=%" PRIu64, cli_number(row, key));
    else
        (void)snprintf(out, 80, "%s%.64s", row ? "&after=" : "", cli_text(row, key));
}

/* All pages of a list as one. */
static int get_list(const struct cli_args *args, const char *what, const char *key, json_t **out)
{
    json_auto_t *all = json_array();
    size_t got = PAGE;

    while (got == PAGE) {
        json_auto_t *page = NULL;
        char after[80], path[160];
        int err;

        after_row(json_array_get(all, json_array_size(all) - 1), key, after);
        (void)snprintf(path, sizeof(path), "/api/v1/%s?limit=%d%s", what, PAGE, after);
        err = cli_call(args, "GET", path, NULL, &page);
        if (err)
            return err;
        got = json_array_size(page);
        (void)json_array_extend(all, page);
    }
    *out = cli_unless_json(args, json_incref(all));
    return 0;
}

int cli_devices(const struct cli_args *args)
{
    static const char *const titles[] = {"ID",       "NAME",    "CLASS",     "STATE",
                                         "PRESENCE", "CAUSE",   "SINCE",     "LAST SEEN",
                                         "MAC",      "ADDRESS", "QUARANTINE"};
    GW_CLEANUP(cli_table_free) struct cli_table *t = NULL;
    json_auto_t *list = NULL;
    int64_t now_ms = gw_clock_wall_ms();
    int err = get_list(args, "devices", "id", &list);
    json_t *d;
    size_t i;

    if (err || !list)
        return err;
    t = cli_table_new(titles, GW_COUNT(titles));
    json_array_foreach(list, i, d)
    {
        device_row(t, d, now_ms);
    }
    cli_table_print_or(t, "No device has been seen yet.", stdout);
    return CLI_DONE;
}

/* ---- verdicts ---- */

static void verdict_row(struct cli_table *t, const json_t *v)
{
    const char *until = cli_text(v, "until");
    char size[32];

    cli_cell(t, *cli_text(v, "device") ? cli_text(v, "device") : cli_text(v, "address"));
    cli_cell(t, cli_text(v, "mode"));
    cli_cell(t, cli_text(v, "by"));
    cli_cell(t, cli_text(v, "since"));
    cli_cell(t, *until ? until : "released");
    cli_cellf(t, "%" PRIu64, cli_number(v, "dropped_packets"));
    cli_cell(t, cli_bytes(cli_number(v, "dropped_bytes"), size));
    cli_cell(t, cli_text(v, "reason"));
}

int cli_verdicts(const struct cli_args *args)
{
    static const char *const titles[] = {"WHO",   "MODE",    "BY",    "SINCE",
                                         "UNTIL", "DROPPED", "BYTES", "REASON"};
    GW_CLEANUP(cli_table_free) struct cli_table *t = NULL;
    json_auto_t *list = NULL;
    int err = get_list(args, "quarantine", "number", &list);
    json_t *v;
    size_t i;

    if (err || !list)
        return err;
    t = cli_table_new(titles, GW_COUNT(titles));
    json_array_foreach(list, i, v)
    {
        verdict_row(t, v);
    }
    cli_table_print_or(t, "Nobody is quarantined or observed.", stdout);
    return CLI_DONE;
}

/* ---- one device ---- */

static void show_addresses(const json_t *addresses)
{
    static const char *const kinds[] = {"mac", "ipv4", "ipv6"};
    const char *title = "Addresses";
    json_t *a;
    size_t i;

    for (size_t k = 0; k < GW_COUNT(kinds); k++)
        json_array_foreach(json_object_get(addresses, kinds[k]), i, a)
        {
            line(title, json_string_value(a) ? json_string_value(a) : "");
            title = "";
        }
}

static void show_verdict(const json_t *v)
{
    const char *until = cli_text(v, "until"), *only = cli_text(v, "address");
    char size[32];

    if (!json_is_object(v)) {
        line("Quarantine", "no");
        return;
    }
    linef("Quarantine", "%s%s%s%s by %s since %s until %s", cli_text(v, "mode"), *only ? " (" : "",
          only, *only ? " only)" : "", cli_text(v, "by"), cli_text(v, "since"),
          *until ? until : "released");
    if (*cli_text(v, "reason"))
        linef("", "reason: %s", cli_text(v, "reason"));
    linef("", "%" PRIu64 " packets of it dropped since it is known (%s)",
          cli_number(v, "dropped_packets"), cli_bytes(cli_number(v, "dropped_bytes"), size));
}

static void show_traffic(const json_t *t)
{
    char rx[32], tx[32];

    linef("Traffic", "from it %" PRIu64 " packets (%s), to it %" PRIu64 " packets (%s)",
          cli_number(t, "rx_packets"), cli_bytes(cli_number(t, "rx_bytes"), rx),
          cli_number(t, "tx_packets"), cli_bytes(cli_number(t, "tx_bytes"), tx));
}

static void line_unless_empty(const char *name, const char *text)
{
    if (*text)
        line(name, text);
}

int cli_device(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "");
    json_auto_t *d = NULL;
    const json_t *presence;
    int err = get(args, path, &d);

    if (err || !d)
        return err;
    presence = json_object_get(d, "presence");
    line("Id", cli_text(d, "id"));
    line_unless_empty("Name", cli_text(d, "name"));
    line("State", cli_text(d, "state"));
    line_unless_empty("Class", cli_text(d, "class"));
    line_unless_empty("Vendor", cli_text(d, "vendor"));
    line_unless_empty("Host name", cli_text(d, "hostname"));
    linef("Seen", "first %s, last %s", cli_text(d, "first_seen"), cli_text(d, "last_seen"));
    linef("Presence", "%s since %s (%s)", cli_text(presence, "status"),
          *cli_text(presence, "since") ? cli_text(presence, "since") : "ever",
          *cli_text(presence, "cause") ? cli_text(presence, "cause") : "never heard");
    show_addresses(json_object_get(d, "addresses"));
    show_verdict(json_object_get(d, "quarantine"));
    show_traffic(json_object_get(d, "traffic"));
    return CLI_DONE;
}

/* ---- events ---- */

static void event_line(const json_t *e)
{
    bool alert = strcmp(cli_text(e, "type"), "alert") == 0;
    const char *device = cli_text(e, "device"), *topic = cli_text(e, "topic");

    cli_put(stdout, cli_text(e, "at"));
    (void)printf("  %-8.16s  ", alert ? cli_text(e, "severity") : "presence");
    if (alert) {
        cli_put(stdout, cli_text(e, "text"));
    } else {
        cli_put(stdout, *device ? device : "site");
        (void)printf(": %.32s", cli_text(e, "action"));
        if (*cli_text(e, "cause"))
            (void)printf(" (%.32s)", cli_text(e, "cause"));
        if (*topic) {
            (void)fputs(" on ", stdout);
            cli_put(stdout, topic);
        }
        if (json_object_get(e, "occupancy"))
            (void)printf(", %" PRIu64 " there", cli_number(e, "occupancy"));
    }
    (void)fputc('\n', stdout);
}

static void show_event(const struct cli_args *args, const json_t *event)
{
    if (args->json) {
        (void)json_dumpf(event, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
        (void)fputc('\n', stdout);
    } else {
        event_line(event);
    }
    (void)fflush(stdout);
}

int cli_events(const struct cli_args *args)
{
    char path[64];
    json_auto_t *list = NULL;
    uint64_t last = 0;
    json_t *e;
    size_t i;
    int err;

    (void)snprintf(path, sizeof(path), "/api/v1/events?limit=%" PRIu64,
                   args->limit ? args->limit : 50);
    if (!args->follow) {
        err = get(args, path, &list);
        if (err || !list)
            return err;
    } else {
        err = cli_call(args, "GET", path, NULL, &list);
        if (err)
            return err;
    }
    json_array_foreach(list, i, e)
    {
        show_event(args, e);
        last = cli_number(e, "id");
    }
    return args->follow ? cli_follow(args, last, show_event) : CLI_DONE;
}

/* ---- presence ---- */

static int show_timeline(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "/presence");
    json_auto_t *list = NULL;
    json_t *e;
    size_t i;
    int err = get(args, path, &list);

    if (err || !list)
        return err;
    json_array_foreach(list, i, e)
    {
        event_line(e);
    }
    if (!i)
        (void)puts("Nothing has changed within the last day.");
    return CLI_DONE;
}

int cli_presence(const struct cli_args *args)
{
    static const char *const titles[] = {"ID", "STATUS", "CAUSE", "SINCE"};
    GW_CLEANUP(cli_table_free) struct cli_table *t = NULL;
    json_auto_t *p = NULL;
    int64_t now_ms = gw_clock_wall_ms();
    char age[32];
    json_t *d;
    size_t i;
    int err;

    if (args->count)
        return show_timeline(args);
    err = get(args, "/api/v1/presence", &p);
    if (err || !p)
        return err;
    t = cli_table_new(titles, GW_COUNT(titles));
    json_array_foreach(json_object_get(p, "devices"), i, d)
    {
        cli_cell(t, cli_text(d, "device"));
        cli_cell(t, cli_text(d, "status"));
        cli_cell(t, cli_text(d, "cause"));
        cli_cell(t, cli_age(json_object_get(d, "since"), now_ms, age));
    }
    (void)printf("%" PRIu64 " there\n", cli_number(p, "occupancy"));
    if (i)
        cli_table_print(t, stdout);
    return CLI_DONE;
}
