/* SPDX-License-Identifier: GPL-2.0-only */
/* Quarantine by device and by address. The answer comes when the kernel has it, not before. */
#include "admin/admin_priv.h"
#include "admin/routes.h"

static bool address_of(struct gw_http_request *req, const char *where, const char *text,
                       struct gw_hwaddr *out)
{
    if (gw_hwaddr_parse(text, out) == 0)
        return true;
    gw_http_problem(req, 400,
                    "%s\"%.64s\" is no address: a MAC, IPv4 or IPv6 address, or a prefix such as "
                    "192.0.2.0/24 with no bit set behind its length.",
                    where, text);
    return false;
}

static bool mode_of(struct gw_http_request *req, const char *where, struct order *o)
{
    o->mode = gw_mode_of(o->mode_text);
    if (o->mode == GW_MODE_NONE)
        gw_http_problem(req, 400, "%s\"mode\" must be isolate, remediate or observe.", where);
    return o->mode != GW_MODE_NONE;
}

/* All but the address. */
static json_t *order_of(struct gw_http_request *req, struct order *out)
{
    const struct field fields[] = {
        {"mode", FIELD_TEXT, false, 16, &out->mode_text},
        {"seconds", FIELD_UINT, false, GW_VERDICT_SECONDS_MAX, &out->seconds},
        {"reason", FIELD_TEXT, false, GW_REASON_MAX, &out->reason},
    };
    json_auto_t *body = NULL;

    *out = (struct order){.mode_text = "isolate", .reason = ""};
    body = body_object(req, fields, GW_COUNT(fields));
    return body && mode_of(req, "", out) ? json_incref(body) : NULL;
}

bool order_read(struct gw_http_request *req, const char *where, json_t *object, bool release,
                struct order *out)
{
    const struct field fields[] = {
        {"address", FIELD_TEXT, true, GW_HWADDR_TEXT, &out->address},
        {"mode", FIELD_TEXT, false, 16, &out->mode_text},
        {"seconds", FIELD_UINT, false, GW_VERDICT_SECONDS_MAX, &out->seconds},
        {"reason", FIELD_TEXT, false, GW_REASON_MAX, &out->reason},
    };

    *out = (struct order){.mode_text = "isolate", .reason = ""};
    return body_members(req, where, object, fields, release ? 1 : GW_COUNT(fields)) &&
           mode_of(req, where, out) && address_of(req, where, out->address, &out->addr);
}

/* ---- by device ---- */

void on_device_quarantine(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const struct gw_device *d = admin_device_of(a, req);
    struct order o;
    json_auto_t *body = d ? order_of(req, &o) : NULL;
    struct pending *v = body ? pending_begin(a, req, d->id, "quarantined") : NULL;
    int err;

    if (!v)
        return;
    err = gw_quarantine_device(a->rooms.quarantine, d->id, o.mode, o.seconds, o.reason,
                               who_calls(a, req).user, pending_done, v);
    if (err)
        pending_done(v, err);
}

/* Answers, when all of a network is cut off and the device in it. */
static bool is_with_network(const struct gw_admin *a, struct gw_http_request *req,
                            const struct gw_device *d)
{
    char text[GW_HWADDR_TEXT];

    for (size_t i = 0; d && i < d->addr_count; i++) {
        const struct gw_verdict *v =
            gw_quarantine_of_network(a->rooms.quarantine, &d->addrs[i].addr);

        if (!gw_verdict_cuts(v))
            continue;
        gw_http_problem(req, 409, "\"%.64s\" is %s with all of %s: release that first.", d->id,
                        gw_verdict_deed(v->mode), gw_hwaddr_text(&v->addr, text));
        return true;
    }
    return false;
}

static void await_release(struct pending *p, int err)
{
    if (err != GW_ENOTFOUND)
        pending_add(p);
    if (err && err != GW_ENOTFOUND)
        pending_done(p, err);
}

/* The verdict on the device itself, and each on an address that it has. */
static void release_all(struct gw_admin *a, const char *id, const char *by, struct pending *p)
{
    struct gw_quarantine *q = a->rooms.quarantine;
    const struct gw_device *d = gw_devices_get(a->rooms.devices, id);

    await_release(p, gw_quarantine_release_device(q, id, by, pending_done, p));
    for (size_t i = 0; d && i < d->addr_count; i++)
        await_release(p, gw_quarantine_release_addr(q, &d->addrs[i].addr, by, pending_done, p));
    pending_done(p, 0); /* the part that it began with */
}

void on_device_release(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const char *id = gw_http_segment(req, 0);
    const struct gw_device *d = gw_devices_get(a->rooms.devices, id);
    struct pending *p;

    if (!gw_quarantine_own(a->rooms.quarantine, id) && !admin_device_of(a, req))
        return;
    if (is_with_network(a, req, d))
        return;
    if (!gw_quarantine_own(a->rooms.quarantine, id) &&
        !gw_quarantine_shown(a->rooms.quarantine, id)) {
        gw_http_problem(req, 404, "\"%.64s\" is not quarantined.", id);
        return;
    }
    p = pending_begin(a, req, id, "released");
    if (p)
        release_all(a, id, who_calls(a, req).user, p);
}

/* ---- by address ---- */

static void quarantine_one(struct gw_admin *a, struct gw_http_request *req)
{
    json_auto_t *body = gw_http_json(req);
    struct pending *v;
    struct order o;
    char text[GW_HWADDR_TEXT];
    int err;

    if (!body || !order_read(req, "", body, false, &o))
        return;
    v = pending_begin(a, req, gw_hwaddr_text(&o.addr, text), "quarantined");
    if (!v)
        return;
    err = gw_quarantine_addr(a->rooms.quarantine, &o.addr, o.mode, o.seconds, o.reason,
                             who_calls(a, req).user, pending_done, v);
    if (err)
        pending_done(v, err);
}

void on_quarantine_add(void *owner, struct gw_http_request *req)
{
    if (batch_asked(req))
        batch_begin(owner, req, false);
    else
        quarantine_one(owner, req);
}

void on_quarantine_release(void *owner, struct gw_http_request *req)
{
    batch_begin(owner, req, true);
}

/* It has no verdict of its own, but may be cut off with something that has. */
static void refuse_release(const struct gw_admin *a, struct gw_http_request *req,
                           const struct gw_hwaddr *addr)
{
    const struct gw_device *d = gw_devices_by_addr(a->rooms.devices, addr);
    const struct gw_verdict *net = gw_quarantine_of_network(a->rooms.quarantine, addr);
    char text[GW_HWADDR_TEXT], whole[GW_HWADDR_TEXT];

    (void)gw_hwaddr_text(addr, text);
    if (d && gw_quarantine_own(a->rooms.quarantine, d->id))
        gw_http_problem(req, 409, "%s is quarantined with %s: release that.", text, d->id);
    else if (net)
        gw_http_problem(req, 409, "%s is quarantined with all of %s: release that.", text,
                        gw_hwaddr_text(&net->addr, whole));
    else
        gw_http_problem(req, 404, "%s is not quarantined.", text);
}

void on_quarantine_remove(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    struct gw_hwaddr addr;
    struct pending *v;
    char text[GW_HWADDR_TEXT];
    int err;

    if (!address_of(req, "", gw_http_segment(req, 0), &addr))
        return;
    (void)gw_hwaddr_text(&addr, text);
    v = pending_begin(a, req, text, "released");
    if (!v)
        return;
    err = gw_quarantine_release_addr(a->rooms.quarantine, &addr, who_calls(a, req).user,
                                     pending_done, v);
    if (err == GW_ENOTFOUND) {
        pending_cancel(&v);
        refuse_release(a, req, &addr);
    } else if (err) {
        pending_done(v, err);
    }
}
