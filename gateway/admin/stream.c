/* SPDX-License-Identifier: GPL-2.0-only */
/* Live events: what was missed since Last-Event-ID from the journal, then each event as it comes,
 * in order and once. */
#include <stdio.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"

#define KEEPALIVE_MS 15000
#define REPLAY_PAGE 200
#define REPLAY_RETRY_MS 100 /* the client has to read first */
#define REPLAY_RETRIES 300

struct stream {
    struct gw_list node;
    struct gw_admin *admin;
    struct gw_http_request *req;
    uint64_t session;             /* 0: none; the stream ends with it */
    char key[NAME_MAX_BYTES + 1]; /* "": none; the stream ends with it */
    uint64_t last;                /* number of the last event sent */
    uint64_t asked;               /* number of the newest event when the last page was asked for */
    bool live;                    /* false: still reading the past */
    unsigned retries;
    struct gw_journal_query *query;
    struct gw_timer timer;
};

static void stream_free(struct stream *s)
{
    gw_journal_cancel(&s->query);
    gw_timer_stop(&s->timer);
    gw_list_remove(&s->node);
    s->admin->stream_count--;
    free(s);
}

static void stream_gone(void *owner, struct gw_http_request *req)
{
    (void)req;
    stream_free(owner);
}

static void stream_end(struct stream *s)
{
    gw_http_on_gone(s->req, NULL, NULL);
    gw_http_end(s->req);
    stream_free(s);
}

/* ---- the past ---- */

static void replay(struct stream *s);

static void go_live(struct stream *s)
{
    s->live = true;
    gw_timer_start(s->admin->loop, &s->timer, KEEPALIVE_MS);
}

/* One event of a page; false when the client has to read first. */
static bool replay_one(struct stream *s, const json_t *event)
{
    uint64_t id = (uint64_t)json_integer_value(json_object_get(event, "id"));
    GW_CLEANUP(gw_free_ptr) char *text = json_dumps(event, JSON_COMPACT | JSON_PRESERVE_ORDER);

    if (id <= s->last)
        return true;
    if (!text || gw_http_event(s->req, id, NULL, gw_slice_str(text)) != 0)
        return false;
    s->last = id;
    s->retries = 0;
    return true;
}

static void replay_page(void *owner, int err, struct gw_slice json)
{
    struct stream *s = owner;
    json_auto_t *page = err ? NULL : json_loadb((const char *)json.ptr, json.len, 0, NULL);
    uint64_t newest = gw_journal_last(s->admin->rooms.journal);
    size_t i, count = json_array_size(page);
    json_t *event;

    s->query = NULL;
    if (!page) {
        stream_end(s);
        return;
    }
    json_array_foreach(page, i, event)
    {
        if (replay_one(s, event))
            continue;
        if (++s->retries > REPLAY_RETRIES)
            stream_end(s);
        else
            gw_timer_start(s->admin->loop, &s->timer, REPLAY_RETRY_MS);
        return;
    }
    if (s->last < newest && (count || s->asked < newest))
        replay(s); /* the page was full, or something happened meanwhile */
    else
        go_live(s);
}

static void replay(struct stream *s)
{
    int err;

    s->asked = gw_journal_last(s->admin->rooms.journal);
    err = gw_journal_read(s->admin->rooms.journal, s->last, 0, REPLAY_PAGE, NULL, false,
                          replay_page, s, &s->query);

    if (err)
        stream_end(s);
}

/* ---- the present ---- */

void streams_event(void *owner, const struct gw_event *ev)
{
    struct gw_admin *a = owner;

    GW_LIST_EACH(&a->streams, node)
    {
        struct stream *s = GW_LIST_ENTRY(node, struct stream, node);

        if (!s->live)
            continue; /* it comes with the next page */
        if (gw_http_event(s->req, ev->id, NULL, gw_slice_str(ev->json)) != 0)
            stream_end(s); /* it does not read: it may come again with Last-Event-ID */
        else
            s->last = ev->id;
    }
}

static bool may_go_on(struct stream *s)
{
    if (s->session)
        return session_alive(s->admin, s->session);
    return !*s->key || key_named(s->admin, s->key);
}

static void on_timer(void *owner)
{
    struct stream *s = owner;

    if (!may_go_on(s)) {
        stream_end(s);
    } else if (!s->live) {
        replay(s);
    } else if (gw_http_keepalive(s->req) != 0) {
        stream_end(s);
    } else {
        gw_timer_start(s->admin->loop, &s->timer, KEEPALIVE_MS);
    }
}

/* ---- the call ---- */

/* Last-Event-ID as a browser sends it after a reconnect; false when there is none. */
static bool last_seen(const struct gw_http_request *req, uint64_t *out)
{
    const char *text = gw_http_header(req, "Last-Event-ID");
    char *end;

    if (!text || *text < '0' || *text > '9')
        return false;
    *out = strtoull(text, &end, 10);
    return *end == '\0' && *out <= INT64_MAX;
}

static struct stream *stream_new(struct gw_admin *a, struct gw_http_request *req)
{
    struct who who = who_calls(a, req);
    struct stream *s = a->stream_count < STREAMS_MAX ? calloc(1, sizeof(*s)) : NULL;

    if (!s)
        return NULL;
    s->admin = a;
    s->req = req;
    s->session = who.session;
    (void)snprintf(s->key, sizeof(s->key), "%s", who.key ? who.key : "");
    gw_timer_init(&s->timer, on_timer, s);
    gw_list_append(&a->streams, &s->node);
    a->stream_count++;
    return s;
}

void on_stream(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    struct stream *s = stream_new(a, req);
    uint64_t newest = gw_journal_last(a->rooms.journal), since = newest;

    if (!s) {
        gw_http_set_header(req, "Retry-After", "10");
        gw_http_problem(req, 503, "There are %d live streams already.", STREAMS_MAX);
        return;
    }
    gw_http_on_gone(req, stream_gone, s);
    gw_http_stream(req);
    s->last = newest;
    if (!last_seen(req, &since) || since >= newest) {
        go_live(s);
    } else {
        s->last = since;
        replay(s);
    }
}
