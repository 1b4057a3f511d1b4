/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "http/http_priv.h"

struct gw_http_request *request_new(struct conn *c, struct MHD_Connection *mhd)
{
    struct gw_http_request *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->conn = c;
    r->mhd = mhd;
    r->body.max = c->http->cfg.body_max;
    r->events.max = EVENTS_MAX;
    return r;
}

void request_free(struct gw_http_request **r)
{
    struct gw_http_request *gone = GW_TAKE(*r);

    if (!gone)
        return;
    http_segments_free(gone->segments);
    for (unsigned i = 0; i < gone->text_count; i++)
        free(gone->texts[i]);
    for (unsigned i = 0; i < gone->header_count; i++) {
        free(gone->headers[i].name);
        free(gone->headers[i].value);
    }
    if (gone->response)
        MHD_destroy_response(gone->response);
    /* Bodies carry passwords and pairing codes. */
    gw_wipe(gone->body.data, gone->body.cap);
    gw_buf_fini(&gone->body);
    gw_buf_fini(&gone->events);
    free(gone->path);
    free(gone);
}

enum gw_http_method gw_http_method(const struct gw_http_request *r)
{
    return r->method;
}

const char *gw_http_path(const struct gw_http_request *r)
{
    return r->path;
}

const char *gw_http_segment(const struct gw_http_request *r, unsigned i)
{
    return i < SEGMENTS_MAX && r->segments[i] ? r->segments[i] : "";
}

unsigned gw_http_route_flags(const struct gw_http_request *r)
{
    return r->route ? r->route->flags : 0;
}

const char *gw_http_header(const struct gw_http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, name);
}

struct header_list {
    const char *name;
    char *out;
    size_t size, len;
};

static enum MHD_Result add_line(void *ctx, enum MHD_ValueKind kind, const char *name,
                                const char *value)
{
    struct header_list *l = ctx;
    size_t len = value ? strlen(value) : 0;
    int n;

    (void)kind;
    if (!value || strcasecmp(name, l->name) != 0)
        return MHD_YES;
    while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        len--;
    n = snprintf(l->out + l->len, l->size - l->len, "%s%.*s", l->len ? "," : "", (int)len, value);
    if (n < 0 || (size_t)n >= l->size - l->len)
        l->out[l->len] = '\0'; /* half a line might say something else */
    else
        l->len += (size_t)n;
    return MHD_YES;
}

void gw_http_header_list(const struct gw_http_request *r, const char *name, char *out, size_t size)
{
    struct header_list l = {.name = name, .out = out, .size = size};

    out[0] = '\0';
    (void)MHD_get_connection_values(r->mhd, MHD_HEADER_KIND, add_line, &l);
}

const char *gw_http_query(struct gw_http_request *r, const char *name)
{
    const char *raw = NULL;
    size_t len = 0;
    char *text;

    if (MHD_lookup_connection_value_n(r->mhd, MHD_GET_ARGUMENT_KIND, name, strlen(name), &raw,
                                      &len) != MHD_YES)
        return NULL;
    if (!raw)
        return "";
    if (r->text_count == TEXTS_MAX)
        return NULL;
    text = malloc(len + 1);
    if (!text)
        return NULL;
    if (!http_unescape(GW_SLICE(raw, len), text)) {
        free(text);
        return NULL;
    }
    r->texts[r->text_count++] = text;
    return text;
}

const char *gw_http_cookie(const struct gw_http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->mhd, MHD_COOKIE_KIND, name);
}

struct gw_slice gw_http_body(const struct gw_http_request *r)
{
    return gw_buf_len(&r->body) ? gw_buf_slice(&r->body) : GW_SLICE_NONE;
}

json_t *gw_http_json(struct gw_http_request *r)
{
    struct gw_slice body = gw_http_body(r);
    json_error_t error;
    json_t *json;

    if (body.len == 0) {
        json = json_object();
        if (!json)
            gw_http_problem(r, 500, "out of memory");
        return json;
    }
    json = json_loadb((const char *)body.ptr, body.len, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(json))
        return json;
    if (json)
        gw_http_problem(r, 400, "The body must be a JSON object.");
    else
        gw_http_problem(r, 400, "The body is not valid JSON: line %d, column %d.", error.line,
                        error.column);
    json_decref(json);
    return NULL;
}

const struct gw_identity *gw_http_identity(const struct gw_http_request *r)
{
    return &r->conn->identity;
}

const struct gw_addr *gw_http_peer(const struct gw_http_request *r)
{
    return &r->conn->peer;
}

bool gw_http_basic(const struct gw_http_request *r, char **out_user, char **out_password)
{
    char *password = NULL, *user = MHD_basic_auth_get_username_password(r->mhd, &password);

    if (!user || !password) {
        MHD_free(user);
        MHD_free(password);
        return false;
    }
    *out_user = user;
    *out_password = password;
    return true;
}

void gw_http_on_gone(struct gw_http_request *r,
                     void (*gone)(void *owner, struct gw_http_request *r), void *owner)
{
    r->gone = gone;
    r->gone_owner = owner;
}
