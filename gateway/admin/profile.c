/* SPDX-License-Identifier: GPL-2.0-only */
/* Profiles: what a device may do on the wire, learned, shown, enforced; as a MUD file in and out.
 */
#include <errno.h>
#include <stdio.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"

#define MUD_TYPE "application/mud+json" /* RFC 8520 §17.3 */

/* ---- a change that waits for disk and kernel ---- */

struct deed {
    struct wait wait;
    char subject[GW_DEVICE_ID_MAX + 1];
    const char *verb; /* static: "enforced" */
};

static void say_why(struct gw_http_request *req, const struct deed *d, int err, const char *why)
{
    if (*why)
        gw_http_problem(req, err == GW_ENOTFOUND || err == GW_EFULL ? 409 : 400,
                        "The profile of %s was not %s: %s.", d->subject, d->verb, why);
    else if (err == GW_EUNSUPPORTED)
        gw_http_problem(req, 503,
                        "The profile of %s is %s, but not in force: there is no isolation here.",
                        d->subject, d->verb);
    else if (err == GW_EFULL)
        gw_http_problem(req, 507, "The profile of %s is not in force: %s.", d->subject,
                        gw_profile_problem(err));
    else if (err == GW_ESTORE)
        admin_refuse(req, err, "The profile of %s is %s, but a restart may undo it", d->subject,
                     d->verb);
    else
        admin_refuse(req, err, "The profile of %s is not in force", d->subject);
}

static void deed_done(void *owner, int err, const char *why)
{
    struct deed *d = owner;
    struct gw_http_request *req = wait_end(&d->wait);

    if (req && err)
        say_why(req, d, err, why);
    else if (req)
        admin_done(req);
    free(d);
}

/* NULL: an answer has been given. */
static struct deed *deed_begin(struct gw_admin *a, struct gw_http_request *req, const char *verb)
{
    const struct gw_device *device = admin_device_of(a, req);
    struct deed *d = device ? calloc(1, sizeof(*d)) : NULL;

    if (d) {
        (void)snprintf(d->subject, sizeof(d->subject), "%s", device->id);
        d->verb = verb;
        wait_begin(&d->wait, a, req);
    } else if (device) {
        admin_refuse(req, -ENOMEM, "Nothing was changed");
    }
    return d;
}

/* What the room said at once: its callback comes, or this is the answer. */
static void deed_begun(struct deed *d, int err)
{
    if (err)
        deed_done(d, err, "");
}

/* False: an answer has been given. */
static bool may_hold(struct gw_admin *a, struct gw_http_request *req)
{
    const struct gw_device *d = admin_device_of(a, req);
    bool protected = d && gw_quarantine_protected(a->rooms.quarantine, d->id);

    if (protected)
        gw_http_problem(req, 409,
                        "%s is protected (quarantine.protected): no profile and no limit holds "
                        "for it.",
                        d->id);
    return d && !protected;
}

static bool says_nothing(struct gw_http_request *req)
{
    json_auto_t *body = body_object(req, NULL, 0);

    return body != NULL;
}

/* ---- states ---- */

void on_profile_learn(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    uint64_t seconds = 0;
    const struct field fields[] = {
        {"seconds", FIELD_UINT, false, GW_PROFILE_SECONDS_MAX, &seconds}};
    json_auto_t *body = body_object(req, fields, GW_COUNT(fields));
    struct deed *d = body && may_hold(a, req) ? deed_begin(a, req, "learned") : NULL;

    if (d)
        deed_begun(d, gw_profile_learn(a->rooms.profiles, d->subject, seconds,
                                       who_calls(a, req).user, deed_done, d));
}

static void apply(struct gw_admin *a, struct gw_http_request *req, bool enforce)
{
    struct deed *d = says_nothing(req) && may_hold(a, req)
                         ? deed_begin(a, req, enforce ? "enforced" : "reported")
                         : NULL;

    if (d)
        deed_begun(d, gw_profile_apply(a->rooms.profiles, d->subject, enforce,
                                       who_calls(a, req).user, deed_done, d));
}

void on_profile_report(void *owner, struct gw_http_request *req)
{
    apply(owner, req, false);
}

void on_profile_enforce(void *owner, struct gw_http_request *req)
{
    apply(owner, req, true);
}

void on_profile_off(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    struct deed *d = says_nothing(req) ? deed_begin(a, req, "switched off") : NULL;

    if (d)
        deed_begun(
            d, gw_profile_off(a->rooms.profiles, d->subject, who_calls(a, req).user, deed_done, d));
}

void on_profile_forget(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    struct deed *d = says_nothing(req) ? deed_begin(a, req, "forgotten") : NULL;

    if (d)
        deed_begun(d, gw_profile_forget(a->rooms.profiles, d->subject, who_calls(a, req).user,
                                        deed_done, d));
}

/* ---- limits ---- */

void on_limit_set(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    uint64_t packets = 0, bytes = 0;
    const struct field fields[] = {
        {"packets_per_s", FIELD_UINT, false, GW_PROFILE_PACKETS_MAX, &packets},
        {"bytes_per_s", FIELD_UINT, false, GW_PROFILE_BYTES_MAX, &bytes},
    };
    json_auto_t *body = body_object(req, fields, GW_COUNT(fields));
    bool ends = packets == 0 && bytes == 0;
    struct deed *d = body && (ends || may_hold(a, req)) ? deed_begin(a, req, "limited") : NULL;

    if (d)
        deed_begun(d, gw_profile_limit(a->rooms.profiles, d->subject, packets, bytes,
                                       who_calls(a, req).user, deed_done, d));
}

/* ---- showing ---- */

/* What holds for others does not for a protected device: said, where a policy seems in force. */
static void tell_protected(const struct gw_admin *a, json_t *profile)
{
    const char *id = json_string_value(json_object_get(profile, "device"));

    if (json_integer_value(json_object_get(profile, "policy")) && id &&
        gw_quarantine_protected(a->rooms.quarantine, id))
        (void)json_object_set_new(profile, "problem",
                                  json_string("its device is protected (quarantine.protected)"));
}

static void shown(void *owner, json_t *json)
{
    struct wait *w = owner;
    const struct gw_admin *a = w->admin;
    struct gw_http_request *req = wait_end(w);

    if (!req)
        json_decref(json);
    if (req && json)
        tell_protected(a, json);
    if (req && json)
        gw_http_reply_json(req, 200, json);
    else if (req)
        admin_refuse(req, GW_ECLOSED, "The profile cannot be shown");
    free(w);
}

void on_profile(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const struct gw_device *device = admin_device_of(a, req);
    struct wait *w = device ? calloc(1, sizeof(*w)) : NULL;

    if (w) {
        wait_begin(w, a, req);
        if (gw_profile_show(a->rooms.profiles, device->id, shown, w) != 0)
            shown(w, NULL);
    } else if (device) {
        admin_refuse(req, -ENOMEM, "The profile cannot be shown");
    }
}

/* ---- MUD files ---- */

void on_profile_mud(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const struct gw_device *device = admin_device_of(a, req);
    json_auto_t *mud = device ? gw_profile_mud(a->rooms.profiles, device->id) : NULL;
    GW_CLEANUP(gw_free_ptr) char *text = mud ? json_dumps(mud, JSON_INDENT(2)) : NULL;
    char name[GW_DEVICE_ID_MAX + 64];

    if (!device)
        return;
    if (!text) {
        gw_http_problem(req, 404,
                        "\"%s\" has no profile yet: let it be learned and then reported or "
                        "enforced, or import one.",
                        device->id);
        return;
    }
    (void)snprintf(name, sizeof(name), "attachment; filename=\"%s.mud.json\"", device->id);
    gw_http_set_header(req, "Content-Disposition", name);
    gw_http_reply(req, 200, MUD_TYPE, gw_slice_str(text));
}

void on_profile_mud_set(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    struct deed *d = deed_begin(a, req, "imported");

    if (d)
        deed_begun(d, gw_profile_import(a->rooms.profiles, d->subject, gw_http_body(req),
                                        who_calls(a, req).user, deed_done, d));
}
