/* SPDX-License-Identifier: GPL-2.0-only */
/* A device's own grants. */
#include <errno.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"

static json_t *permissions_json(unsigned permissions)
{
    json_t *list = json_array();

    if (permissions & GW_PERM_PUB)
        json_array_append_new(list, json_string("pub"));
    if (permissions & GW_PERM_SUB)
        json_array_append_new(list, json_string("sub"));
    return list;
}

void on_grants(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const struct gw_device *d = admin_device_of(a, req);
    const struct gw_grant *grants = NULL;
    size_t count = d ? gw_access_grants(a->rooms.access, d->id, &grants) : 0;
    json_t *list;

    if (!d)
        return;
    list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:o, s:o}", "topic", grants[i].topic, "permissions",
                                        permissions_json(grants[i].permissions), "until",
                                        admin_time_json(grants[i].until_ms)));
    gw_http_reply_json(req, 200, list);
}

/* 0 for anything but a list of "pub" and "sub". */
static unsigned permissions_of(const json_t *list)
{
    unsigned permissions = 0;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));

        if (text && strcmp(text, "pub") == 0)
            permissions |= GW_PERM_PUB;
        else if (text && strcmp(text, "sub") == 0)
            permissions |= GW_PERM_SUB;
        else
            return 0;
    }
    return permissions;
}

static bool until_of(const json_t *value, int64_t *out)
{
    *out = 0;
    return !value || json_is_null(value) ||
           (json_is_string(value) && gw_time_parse(json_string_value(value), out));
}

static const char *unknown_member(json_t *grant)
{
    const char *name;
    json_t *value;

    json_object_foreach(grant, name, value)
    {
        if (strcmp(name, "topic") != 0 && strcmp(name, "permissions") != 0 &&
            strcmp(name, "until") != 0)
            return name;
    }
    return NULL;
}

/* One grant of the list; `*out` borrows from `grant`. False: 400 has been answered. */
static bool grant_of(struct gw_http_request *req, size_t i, json_t *grant, struct gw_grant *out)
{
    json_t *topic = json_object_get(grant, "topic");
    const char *unknown = unknown_member(grant);
    union {
        const char *in;
        char *out;
    } text = {.in = json_string_value(topic)}; /* set_grants only reads it */

    out->topic = text.out;
    out->permissions = permissions_of(json_object_get(grant, "permissions"));
    if (unknown)
        gw_http_problem(req, 400,
                        "Grant %zu: \"%.64s\" is not known here; known: topic, "
                        "permissions, until.",
                        i + 1, unknown);
    else if (!topic || !out->topic)
        gw_http_problem(req, 400, "Grant %zu: \"topic\" must be a topic filter.", i + 1);
    else if (out->permissions == 0)
        gw_http_problem(req, 400, "Grant %zu: \"permissions\" must be a list of pub and sub.",
                        i + 1);
    else if (!until_of(json_object_get(grant, "until"), &out->until_ms))
        gw_http_problem(req, 400,
                        "Grant %zu: \"until\" must be null or a time such as "
                        "2026-11-22T06:19:00Z.",
                        i + 1);
    else
        return true;
    return false;
}

static struct gw_grant *grants_of(struct gw_http_request *req, const json_t *list)
{
    size_t count = json_array_size(list);
    GW_CLEANUP(gw_free_ptr) struct gw_grant *grants = NULL;

    if (count > GW_GRANTS_PER_DEVICE_MAX) {
        gw_http_problem(req, 507, "A device has at most %d grants.", GW_GRANTS_PER_DEVICE_MAX);
        return NULL;
    }
    grants = calloc(count + 1, sizeof(*grants));
    if (!grants) {
        admin_refuse(req, -ENOMEM, "The grants were not set");
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        if (!grant_of(req, i, json_array_get(list, i), &grants[i]))
            return NULL;
    return GW_TAKE(grants);
}

void on_grants_set(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const struct gw_device *d = admin_device_of(a, req);
    json_auto_t *list = d ? body_array(req) : NULL;
    GW_CLEANUP(gw_free_ptr) struct gw_grant *grants = list ? grants_of(req, list) : NULL;
    struct pending *p = grants ? pending_begin(a, req, d->id, "granted that") : NULL;
    const char *by;
    int err;

    if (!p)
        return;
    err = gw_access_set_grants(a->rooms.access, d->id, grants, json_array_size(list),
                               pending_stored, p);
    if (err) {
        pending_cancel(&p);
        admin_refuse(req, err,
                     "The grants of %s were not set: a topic filter is wrong or there are too "
                     "many",
                     d->id);
        return;
    }
    by = who_calls(a, req).user;
    gw_journal_alert(a->rooms.journal, GW_INFO, "grants", d->id, json_pack("{s:s}", "by", by),
                     "%s set the grants of %s.", by, d->id);
}
