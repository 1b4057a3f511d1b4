/* SPDX-License-Identifier: GPL-2.0-only */
/* The journal by pages. */
#include <errno.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"

#define EVENTS_DEFAULT 100
#define EVENTS_MAX 1000
#define TIMELINE_MS (24ll * 3600 * 1000) /* without since= */

/* A page on its way from the database. */
struct page {
    struct gw_http_request *req;
    struct gw_journal_query *query;
};

static void page_gone(void *owner, struct gw_http_request *req)
{
    struct page *p = owner;

    (void)req;
    gw_journal_cancel(&p->query);
    free(p);
}

static void page_done(void *owner, int err, struct gw_slice json)
{
    struct page *p = owner;

    gw_http_on_gone(p->req, NULL, NULL);
    if (err)
        admin_refuse(p->req, err, "The events were not read");
    else
        gw_http_reply(p->req, 200, "application/json", json);
    free(p);
}

struct range {
    uint64_t since;
    int64_t since_wall_ms;
    uint64_t limit;
    bool given;
};

/* since= is an event's number or a time. */
static bool range_of(struct gw_http_request *req, struct range *out)
{
    const char *since = gw_http_query(req, "since");

    *out = (struct range){.limit = EVENTS_DEFAULT, .given = since && *since};
    if (!query_uint(req, "limit", 1, EVENTS_MAX, &out->limit))
        return false;
    if (!out->given || gw_time_parse(since, &out->since_wall_ms))
        return true;
    if (strchr(since, '-')) {
        gw_http_problem(req, 400,
                        "\"since\" must be an event's number or a time such as "
                        "2026-11-22T06:19:00Z.");
        return false;
    }
    return query_uint(req, "since", 0, INT64_MAX, &out->since);
}

static void read_page(struct gw_admin *a, struct gw_http_request *req, const struct range *r,
                      const char *device)
{
    struct page *p = calloc(1, sizeof(*p));
    int err = p ? 0 : -ENOMEM;

    if (p) {
        p->req = req;
        err = gw_journal_read(a->rooms.journal, r->since, r->since_wall_ms, (uint32_t)r->limit,
                              device, device != NULL, page_done, p, &p->query);
    }
    if (err) {
        free(p);
        admin_refuse(req, err, "The events were not read");
        return;
    }
    gw_http_on_gone(req, page_gone, p);
}

/* Without since=: the newest. */
void on_events(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    uint64_t last = gw_journal_last(a->rooms.journal);
    struct range r;

    if (!range_of(req, &r))
        return;
    if (!r.given)
        r.since = last > r.limit ? last - r.limit : 0;
    read_page(a, req, &r, NULL);
}

/* Without since=: the last day. */
void on_timeline(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const struct gw_device *d = admin_device_of(a, req);
    struct range r;

    if (!d || !range_of(req, &r))
        return;
    if (!gw_http_query(req, "limit"))
        r.limit = EVENTS_MAX;
    if (!r.given)
        r.since_wall_ms = gw_clock_wall_ms() - TIMELINE_MS;
    read_page(a, req, &r, d->id);
}
