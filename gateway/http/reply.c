/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "http/http_priv.h"

#define DETAIL_MAX 512
#define BLOCK 4096 /* bytes MHD asks an event stream for */

static void resume(struct gw_http_request *r)
{
    if (!r->suspended)
        return;
    r->suspended = false;
    MHD_resume_connection(r->mhd);
    http_wake(r->conn->http);
}

void request_suspend(struct gw_http_request *r)
{
    r->suspended = true;
    MHD_suspend_connection(r->mhd);
}

static bool has_header(const struct gw_http_request *r, const char *name)
{
    for (unsigned i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return true;
    return false;
}

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
    (void)MHD_add_response_header(response, name, value);
}

void request_answer(struct gw_http_request *r, unsigned status, const char *type,
                    struct MHD_Response *response)
{
    if (r->state >= REQUEST_ANSWERED) { /* one answer each: a second one is our own mistake */
        if (response)
            MHD_destroy_response(response);
        return;
    }
    r->state = REQUEST_ANSWERED;
    r->status = response ? status : 500;
    r->response = response;
    if (response) {
        for (unsigned i = 0; i < r->header_count; i++)
            add_header(response, r->headers[i].name, r->headers[i].value);
        if (type && !has_header(r, MHD_HTTP_HEADER_CONTENT_TYPE))
            add_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        add_header(response, "X-Content-Type-Options", "nosniff");
    }
    resume(r);
}

/* `mode` says who frees; on failure a body to be freed is freed here. */
static void answer_bytes(struct gw_http_request *r, unsigned status, const char *type, void *body,
                         size_t len, enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(len, body, mode);

    if (!response && mode == MHD_RESPMEM_MUST_FREE)
        free(body);
    request_answer(r, status, type, response);
}

enum MHD_Result request_queue(struct gw_http_request *r)
{
    enum MHD_Result done;

    if (!r->response)
        r->response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (!r->response)
        return MHD_NO;
    done = MHD_queue_response(r->mhd, r->status, r->response);
    MHD_destroy_response(GW_TAKE(r->response)); /* MHD holds its own reference */
    r->state = REQUEST_QUEUED;
    return done;
}

void request_gone(struct gw_http_request *r)
{
    void (*gone)(void *, struct gw_http_request *) = GW_TAKE(r->gone);
    bool waiting = r->state == REQUEST_HANDLING || (r->streaming && !r->ended);

    r->ended = true;
    if (gone && waiting)
        gone(r->gone_owner, r);
}

void request_drop(struct gw_http_request *r)
{
    request_gone(r);
    if (r->state < REQUEST_ANSWERED)
        request_answer(r, 500, NULL,
                       NULL); /* nobody reads it: MHD meets the closed pair and finishes */
    resume(r);
}

void gw_http_set_header(struct gw_http_request *r, const char *name, const char *value)
{
    char *n, *v;

    if (r->header_count == HEADERS_MAX)
        return;
    n = strdup(name);
    v = strdup(value);
    if (!n || !v) {
        free(n);
        free(v);
        return;
    }
    r->headers[r->header_count].name = n;
    r->headers[r->header_count++].value = v;
}

void gw_http_reply(struct gw_http_request *r, unsigned status, const char *type,
                   struct gw_slice body)
{
    char *copy = NULL;

    if (body.len) {
        copy = gw_slice_dup(body);
        if (!copy) {
            request_answer(r, 500, NULL, NULL);
            return;
        }
    }
    answer_bytes(r, status, type, copy, body.len,
                 copy ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
}

void gw_http_reply_static(struct gw_http_request *r, unsigned status, const char *type,
                          struct gw_slice body)
{
    union {
        const uint8_t *in;
        void *out;
    } ptr = {.in = body.ptr}; /* MHD only reads it */

    answer_bytes(r, status, type, ptr.out, body.len, MHD_RESPMEM_PERSISTENT);
}

static void reply_json_as(struct gw_http_request *r, unsigned status, const char *type,
                          json_t *body)
{
    char *text = body ? json_dumps(body, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;

    json_decref(body);
    if (text)
        answer_bytes(r, status, type, text, strlen(text), MHD_RESPMEM_MUST_FREE);
    else
        request_answer(r, 500, NULL, NULL);
}

void gw_http_reply_json(struct gw_http_request *r, unsigned status, json_t *body)
{
    reply_json_as(r, status, "application/json", body);
}

void gw_http_problem(struct gw_http_request *r, unsigned status, const char *detail_fmt, ...)
{
    char detail[DETAIL_MAX];
    va_list args;

    va_start(args, detail_fmt);
    (void)vsnprintf(detail, sizeof(detail), detail_fmt, args);
    va_end(args);
    if (!gw_utf8_valid(gw_slice_str(detail))) /* a peer's bytes, or a character cut in two */
        for (char *c = detail; *c; c++)
            if (*c & 0x80)
                *c = '?';
    reply_json_as(r, status, "application/problem+json",
                  json_pack("{s:s,s:i,s:s,s:s}", "type", "about:blank", "status", (int)status,
                            "title", MHD_get_reason_phrase_for(status), "detail", detail));
}

/* ---- event streams ---- */

/* MHD asks for more of an event stream: what is queued, or sleep until there is something. */
static ssize_t read_events(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct gw_http_request *r = cls;
    size_t len = GW_MIN(gw_buf_len(&r->events), max);

    (void)pos;
    if (len == 0 && r->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (len == 0) {
        request_suspend(r);
        return 0;
    }
    memcpy(buf, gw_buf_slice(&r->events).ptr, len);
    gw_buf_consume(&r->events, len);
    return (ssize_t)len;
}

void gw_http_stream(struct gw_http_request *r)
{
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_events, r, NULL);

    gw_http_set_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    r->streaming = response != NULL;
    if (response && gw_http_keepalive(r)) /* a first line at once: the client sees it is open */
        r->ended = true;
    request_answer(r, 200, "text/event-stream", response);
}

/* The writer's part of an event: "field: value\n". */
static void put_field(struct gw_writer *w, const char *field, struct gw_slice value)
{
    gw_writer_put(w, gw_slice_str(field));
    gw_writer_put(w, value);
    gw_writer_u8(w, '\n');
}

/* One "data:" line for each line of `data`, as text/event-stream wants it. */
static void put_data(struct gw_writer *w, struct gw_slice data)
{
    for (;;) {
        const uint8_t *end = data.len ? memchr(data.ptr, '\n', data.len) : NULL;
        size_t len = end ? (size_t)(end - data.ptr) : data.len;

        put_field(w, "data: ", GW_SLICE(data.ptr, len));
        if (!end)
            return;
        data = GW_SLICE(end + 1, data.len - len - 1);
    }
}

static size_t lines_in(struct gw_slice data)
{
    size_t n = 1;

    for (size_t i = 0; i < data.len; i++)
        n += data.ptr[i] == '\n';
    return n;
}

int gw_http_event(struct gw_http_request *r, uint64_t id, const char *event, struct gw_slice data)
{
    size_t room = data.len + 8 * lines_in(data) + 64 + (event ? strlen(event) : 0);
    char number[24];
    struct gw_writer w;
    int err;

    if (!r->streaming || r->ended)
        return GW_ECLOSED;
    err = gw_buf_reserve(&r->events, room);
    if (err)
        return err;
    w = gw_writer_of(r->events.data + r->events.tail, room);
    (void)snprintf(number, sizeof(number), "%" PRIu64, id);
    if (id)
        put_field(&w, "id: ", gw_slice_str(number));
    if (event)
        put_field(&w, "event: ", gw_slice_str(event));
    put_data(&w, data);
    gw_writer_u8(&w, '\n');
    r->events.tail += gw_writer_done(&w).len;
    resume(r);
    return 0;
}

int gw_http_keepalive(struct gw_http_request *r)
{
    int err;

    if (!r->streaming || r->ended)
        return GW_ECLOSED;
    err = gw_buf_append(&r->events, GW_SLICE_LIT(":\n\n"));
    if (!err)
        resume(r);
    return err;
}

void gw_http_end(struct gw_http_request *r)
{
    if (!r->streaming || r->ended)
        return;
    r->ended = true;
    resume(r);
}
