/* SPDX-License-Identifier: GPL-2.0-only */
/* Devices: what is known of them, and their life cycle. */
#include <stdio.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"

/* ---- as JSON ---- */

static json_t *addresses_json(const struct gw_device *d)
{
    json_t *lists[] = {
        [GW_ADDR_MAC] = json_array(), [GW_ADDR_IPV4] = json_array(), [GW_ADDR_IPV6] = json_array()};
    char text[GW_HWADDR_TEXT];

    for (size_t i = 0; i < d->addr_count; i++) {
        const struct gw_hwaddr *a = &d->addrs[i].addr;

        if (a->kind >= GW_ADDR_MAC && a->kind <= GW_ADDR_IPV6)
            json_array_append_new(lists[a->kind], json_string(gw_hwaddr_text(a, text)));
    }
    return json_pack("{s:o, s:o, s:o}", "mac", lists[GW_ADDR_MAC], "ipv4", lists[GW_ADDR_IPV4],
                     "ipv6", lists[GW_ADDR_IPV6]);
}

/*
 * What passed is counted under the link address and the network address both, so the link
 * addresses alone are the sum; a drop is counted once, under the address that the verdict is on.
 */
static void add_traffic(const struct gw_admin *a, const struct gw_device *d, bool macs,
                        struct gw_traffic *sum)
{
    for (size_t i = 0; i < d->addr_count; i++) {
        struct gw_traffic t;

        if ((d->addrs[i].addr.kind == GW_ADDR_MAC) != macs ||
            !gw_enforcer_traffic(a->rooms.enforcer, &d->addrs[i].addr, &t))
            continue;
        sum->rx_packets += t.rx_packets;
        sum->rx_bytes += t.rx_bytes;
        sum->tx_packets += t.tx_packets;
        sum->tx_bytes += t.tx_bytes;
        sum->dropped_packets += t.dropped_packets;
        sum->dropped_bytes += t.dropped_bytes;
    }
}

static struct gw_traffic traffic_of(const struct gw_admin *a, const struct gw_device *d)
{
    struct gw_traffic by_mac = {0}, by_ip = {0};

    add_traffic(a, d, true, &by_mac);
    add_traffic(a, d, false, &by_ip);
    if (by_mac.rx_packets + by_mac.tx_packets + by_mac.dropped_packets == 0)
        return by_ip;
    by_mac.dropped_packets += by_ip.dropped_packets;
    by_mac.dropped_bytes += by_ip.dropped_bytes;
    return by_mac;
}

static struct gw_traffic traffic_of_addr(const struct gw_admin *a, const struct gw_hwaddr *addr)
{
    struct gw_traffic t = {0};

    (void)gw_enforcer_traffic(a->rooms.enforcer, addr, &t); /* no entry: nothing was counted */
    return t;
}

/* "address": of a device it cuts off only this one, or all of this network. */
static json_t *verdict_with(const struct gw_verdict *v, const struct gw_traffic *t)
{
    char text[GW_HWADDR_TEXT];

    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:o}", "mode", gw_mode_text(v->mode),
                     "reason", v->reason, "by", v->by, "since", admin_time_json(v->since_ms),
                     "until", admin_time_json(v->until_ms), "dropped_packets",
                     (json_int_t)t->dropped_packets, "dropped_bytes", (json_int_t)t->dropped_bytes,
                     "address",
                     *v->device ? json_null() : json_string(gw_hwaddr_text(&v->addr, text)));
}

json_t *verdict_json(const struct gw_admin *a, const struct gw_verdict *v)
{
    const struct gw_device *d = *v->device ? gw_devices_get(a->rooms.devices, v->device) : NULL;
    struct gw_traffic t = d ? traffic_of(a, d) : traffic_of_addr(a, &v->addr);
    json_t *json = json_object();

    json_object_set_new(json, "device", *v->device ? json_string(v->device) : json_null());
    json_object_set_new(json, "address", json_null()); /* stands second */
    json_object_update_new(json, verdict_with(v, &t));
    return json;
}

json_t *presence_json(const struct gw_admin *a, const char *device)
{
    struct gw_presence_status p = {0};

    gw_presence_of(a->rooms.presence, device, &p);
    return json_pack("{s:s, s:o, s:o}", "status", gw_status_text(p.status), "since",
                     admin_time_json(p.since_ms), "cause",
                     p.since_ms ? json_string(gw_cause_text(p.cause)) : json_null());
}

json_t *device_json(const struct gw_admin *a, const struct gw_device *d)
{
    const struct gw_verdict *v = gw_quarantine_shown(a->rooms.quarantine, d->id);
    struct gw_traffic t = traffic_of(a, d);

    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:{s:I, s:I, s:I, s:I}}", "id",
        d->id, "name", d->name, "state", gw_device_state_text(d->state), "class", d->class,
        "vendor", d->vendor, "hostname", d->hostname, "first_seen",
        admin_time_json(d->first_seen_ms), "last_seen", admin_time_json(d->last_seen_ms),
        "addresses", addresses_json(d), "presence", presence_json(a, d->id), "quarantine",
        v ? verdict_with(v, &t) : json_null(), "traffic", "rx_packets", (json_int_t)t.rx_packets,
        "rx_bytes", (json_int_t)t.rx_bytes, "tx_packets", (json_int_t)t.tx_packets, "tx_bytes",
        (json_int_t)t.tx_bytes);
}

/* ---- asking ---- */

void on_device(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const struct gw_device *d = admin_device_of(a, req);

    if (d)
        gw_http_reply_json(req, 200, device_json(a, d));
}

static json_t *occupant_json(const struct gw_admin *a, const struct gw_device *d)
{
    json_t *json = json_pack("{s:s}", "device", d->id);

    json_object_update_new(json, presence_json(a, d->id));
    return json;
}

/* Everybody who is there; who left has a time line of its own. */
void on_presence(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    json_t *list = json_array();

    for (const struct gw_device *d = gw_devices_next(a->rooms.devices, "");
         d && json_array_size(list) < PAGE_MAX; d = gw_devices_next(a->rooms.devices, d->id)) {
        struct gw_presence_status p = {0};

        gw_presence_of(a->rooms.presence, d->id, &p);
        if (p.status != GW_OFFLINE)
            json_array_append_new(list, occupant_json(a, d));
    }
    gw_http_reply_json(req, 200,
                       json_pack("{s:I, s:o}", "occupancy",
                                 (json_int_t)gw_presence_online(a->rooms.presence), "devices",
                                 list));
}

/* ---- the life cycle ---- */

static void note(struct gw_admin *a, struct gw_http_request *req, const char *kind, const char *id,
                 const char *verb)
{
    const char *by = who_calls(a, req).user;

    gw_journal_alert(a->rooms.journal, GW_INFO, kind, id, json_pack("{s:s}", "by", by), "%s %s %s.",
                     by, verb, id);
}

/* The answer comes when the registry is on disk, and the kernel has the verdict that followed. */
static void settle(struct gw_admin *a, struct pending *p, const char *id, int err)
{
    if (!err && gw_quarantine_await(a->rooms.quarantine, id, pending_done, p) == 0)
        pending_add(p);
    if (!err)
        err = gw_devices_settle(a->rooms.devices, pending_stored, p);
    if (err)
        pending_done(p, err);
}

void on_approve(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const char *name = NULL, *class = NULL;
    const struct field fields[] = {{"name", FIELD_TEXT, false, NAME_MAX_BYTES, &name},
                                   {"class", FIELD_TEXT, false, NAME_MAX_BYTES, &class}};
    const struct gw_device *d = admin_device_of(a, req);
    json_auto_t *body = d ? body_object(req, fields, GW_COUNT(fields)) : NULL;
    struct pending *p;
    int err;

    if (!body)
        return;
    if (class && *class && !gw_device_id_valid(class)) {
        gw_http_problem(req, 400, "A class has 1 to %d of A-Z a-z 0-9 . _ -", NAME_MAX_BYTES);
        return;
    }
    p = pending_begin(a, req, d->id, "approved");
    if (!p)
        return;
    err = gw_devices_approve(a->rooms.devices, d->id, name, class);
    if (!err)
        note(a, req, "approve", d->id, "approved");
    settle(a, p, d->id, err);
}

void on_revoke(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const struct gw_device *d = admin_device_of(a, req);
    json_auto_t *body = d ? body_object(req, NULL, 0) : NULL;
    struct pending *p = body ? pending_begin(a, req, d->id, "revoked") : NULL;
    int err;

    if (!p)
        return;
    err = gw_devices_revoke(a->rooms.devices, d->id);
    if (!err)
        note(a, req, "revoke", d->id, "revoked");
    settle(a, p, d->id, err);
}

/* Its verdict goes with the record. Who is revoked, or new, is kept out by more than that. */
static bool would_let_out(const struct gw_admin *a, const struct gw_device *d)
{
    const struct gw_verdict *v = gw_quarantine_own(a->rooms.quarantine, d->id);

    return gw_verdict_cuts(v) && d->state != GW_DEVICE_REVOKED && strcmp(v->by, "policy") != 0;
}

void on_forget(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const struct gw_device *d = admin_device_of(a, req);
    struct pending *p;
    char id[GW_DEVICE_ID_MAX + 1];
    int err;

    if (!d)
        return;
    if (would_let_out(a, d)) {
        gw_http_problem(req, 409,
                        "%s is quarantined, and its verdict would be forgotten with it: release it "
                        "first, or revoke it.",
                        d->id);
        return;
    }
    p = pending_begin(a, req, d->id, "forgotten");
    if (!p)
        return;
    memcpy(id, d->id, sizeof(id)); /* the record goes away */
    err = gw_devices_forget(a->rooms.devices, id);
    if (!err)
        note(a, req, "forget", id, "forgot");
    settle(a, p, id, err);
}
