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

/* What holds for the device: a verdict of its own, or one on an address that it has. */
static int release(struct gw_admin *a, const char *id, const struct gw_verdict *v, const char *by,
                   struct pending *wait)
{
    const struct gw_hwaddr addr = v->addr;

    if (*v->device)
        return gw_quarantine_release_device(a->rooms.quarantine, id, by, pending_done, wait);
    return gw_quarantine_release_addr(a->rooms.quarantine, &addr, by, pending_done, wait);
}

void on_device_release(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const char *id = gw_http_segment(req, 0);
    const struct gw_verdict *v = gw_quarantine_own(a->rooms.quarantine, id);
    struct pending *wait;
    char text[GW_HWADDR_TEXT];
    int err;

    if (!v)
        v = gw_quarantine_shown(a->rooms.quarantine, id);
    if (!v) {
        gw_http_problem(req, 404, "\"%.64s\" is not quarantined.", id);
        return;
    }
    if (!*v->device && !gw_hwaddr_is_host(&v->addr)) {
        gw_http_problem(req, 409, "\"%.64s\" is cut off with all of %s: release that.", id,
                        gw_hwaddr_text(&v->addr, text));
        return;
    }
    wait = pending_begin(a, req, id, "released");
    if (!wait)
        return;
    err = release(a, id, v, who_calls(a, req).user, wait);
    if (err)
        pending_done(wait, err);
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
        gw_http_problem(req, 404, "%s is not quarantined.", text);
    } else if (err) {
        pending_done(v, err);
    }
}
