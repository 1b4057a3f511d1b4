/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "admin/admin_priv.h"

static const struct field *field_named(const struct field *fields, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

/* "a, b, c": what a body may hold. */
static void names_of(const struct field *fields, size_t count, char *out, size_t room)
{
    size_t len = 0;

    *out = '\0';
    for (size_t i = 0; i < count && len < room; i++)
        len += (size_t)snprintf(out + len, room - len, "%s%s", i ? ", " : "", fields[i].name);
}

static bool take_text(struct gw_http_request *req, const char *where, const struct field *f,
                      const json_t *value)
{
    const char **out = f->out;

    if (!json_is_string(value)) {
        gw_http_problem(req, 400, "%s\"%s\" must be a text.", where, f->name);
        return false;
    }
    if (json_string_length(value) > f->max) {
        gw_http_problem(req, 400, "%s\"%s\" is longer than %llu bytes.", where, f->name,
                        (unsigned long long)f->max);
        return false;
    }
    *out = json_string_value(value);
    return true;
}

static bool take_uint(struct gw_http_request *req, const char *where, const struct field *f,
                      const json_t *value)
{
    json_int_t n = json_is_integer(value) ? json_integer_value(value) : -1;
    uint64_t *out = f->out;

    if (n < 0 || (uint64_t)n > f->max) {
        gw_http_problem(req, 400, "%s\"%s\" must be a whole number from 0 to %llu.", where, f->name,
                        (unsigned long long)f->max);
        return false;
    }
    *out = (uint64_t)n;
    return true;
}

static bool take_member(struct gw_http_request *req, const char *where, const struct field *fields,
                        size_t count, const char *name, const json_t *value)
{
    const struct field *f = field_named(fields, count, name);
    char known[256];

    if (!f) {
        names_of(fields, count, known, sizeof(known));
        gw_http_problem(req, 400, "%s\"%.64s\" is not known here; %s%s.", where, name,
                        count ? "known: " : "nothing is expected", known);
        return false;
    }
    switch (f->kind) {
    case FIELD_TEXT:
        return take_text(req, where, f, value);
    case FIELD_UINT:
        return take_uint(req, where, f, value);
    }
    return false;
}

bool body_members(struct gw_http_request *req, const char *where, json_t *object,
                  const struct field *fields, size_t count)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        if (!take_member(req, where, fields, count, name, value))
            return false;
    }
    for (size_t i = 0; i < count; i++)
        if (fields[i].required && !json_object_get(object, fields[i].name)) {
            gw_http_problem(req, 400, "%s\"%s\" is missing.", where, fields[i].name);
            return false;
        }
    return true;
}

json_t *body_object(struct gw_http_request *req, const struct field *fields, size_t count)
{
    json_auto_t *body = gw_http_json(req);

    return body && body_members(req, "", body, fields, count) ? json_incref(body) : NULL;
}

json_t *body_array(struct gw_http_request *req)
{
    struct gw_slice body = gw_http_body(req);
    json_error_t error;
    json_auto_t *json =
        body.len ? json_loadb((const char *)body.ptr, body.len, JSON_REJECT_DUPLICATES, &error)
                 : json_null();

    if (json_is_array(json))
        return json_incref(json);
    if (json)
        gw_http_problem(req, 400, "The body must be a JSON array.");
    else
        gw_http_problem(req, 400, "The body is not valid JSON: line %d, column %d.", error.line,
                        error.column);
    return NULL;
}

bool query_uint(struct gw_http_request *req, const char *name, uint64_t min, uint64_t max,
                uint64_t *out)
{
    const char *text = gw_http_query(req, name);
    unsigned long long n;
    char *end;

    if (!text)
        return true;
    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno || *text < '0' || *text > '9' || *end || n < min || n > max) {
        gw_http_problem(req, 400, "\"%s\" must be a whole number from %llu to %llu.", name,
                        (unsigned long long)min, (unsigned long long)max);
        return false;
    }
    *out = n;
    return true;
}

json_t *admin_time_json(int64_t wall_ms)
{
    char text[GW_TIME_TEXT];

    return wall_ms ? json_string(gw_time_text(wall_ms, text)) : json_null();
}

/* ---- failures ---- */

static unsigned status_of(int err)
{
    static const struct {
        int err;
        unsigned status;
    } known[] = {
        {GW_ENOTFOUND, 404}, {GW_EPROTECTED, 409}, {GW_EREVOKED, 409}, {GW_ESTATE, 409},
        {GW_EEXISTS, 409},   {GW_EMALFORMED, 400}, {GW_ETOOBIG, 400},  {GW_EUNSUPPORTED, 400},
        {GW_EDENIED, 403},   {GW_EFULL, 507},      {GW_ECLOSED, 503},  {-ENOMEM, 503},
        {-EAGAIN, 503},
    };

    for (size_t i = 0; i < GW_COUNT(known); i++)
        if (known[i].err == err)
            return known[i].status;
    return 500;
}

void admin_refuse(struct gw_http_request *req, int err, const char *what_fmt, ...)
{
    char what[256];
    va_list args;

    va_start(args, what_fmt);
    (void)vsnprintf(what, sizeof(what), what_fmt, args);
    va_end(args);
    gw_http_problem(req, status_of(err), "%s: %s.", what, gw_error_text(err));
}

void admin_done(struct gw_http_request *req)
{
    gw_http_reply(req, 204, NULL, GW_SLICE_NONE);
}

const struct gw_device *admin_device_of(struct gw_admin *a, struct gw_http_request *req)
{
    const char *id = gw_http_segment(req, 0);
    const struct gw_device *d = gw_devices_get(a->rooms.devices, id);

    if (!d)
        gw_http_problem(req, 404, "There is no device \"%.64s\".", id);
    return d;
}
