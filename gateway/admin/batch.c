/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Many addresses in one call. They are judged a part at a time, the next one when kernel and disk
 * have the one before: nobody else waits long, and a part shares its commits.
 */
#include <errno.h>
#include <stdio.h>

#include "admin/admin_priv.h"

#define PART 500

struct batch {
    struct wait wait;
    json_t *body; /* the orders' texts live in it */
    bool release;
    size_t count, next, waiting;
    size_t done; /* in force, or released */
    json_t *refused;
    char by[GW_DEVICE_ID_MAX + 1];
    struct item {
        struct batch *batch;
        struct order order;
    } items[];
};

static void batch_free(struct batch **batch)
{
    struct batch *b = GW_TAKE(*batch);

    if (!b)
        return;
    json_decref(b->body);
    json_decref(b->refused);
    free(b);
}

/* ---- reading ---- */

bool batch_asked(const struct gw_http_request *req)
{
    struct gw_slice body = gw_http_body(req);

    while (body.len > 0 && strchr(" \t\r\n", *body.ptr) && *body.ptr)
        body = GW_SLICE(body.ptr + 1, body.len - 1);
    return body.len > 0 && *body.ptr == '[';
}

/* False: it has been answered why; and nothing is done, whatever stands before the fault. */
static bool read_orders(struct batch *b, struct gw_http_request *req)
{
    for (size_t i = 0; i < b->count; i++) {
        json_t *order = json_array_get(b->body, i);
        char where[32];

        (void)snprintf(where, sizeof(where), "Order %zu: ", i + 1);
        if (!json_is_object(order)) {
            gw_http_problem(req, 400, "%sit must be an object with an \"address\".", where);
            return false;
        }
        b->items[i].batch = b;
        if (!order_read(req, where, order, b->release, &b->items[i].order))
            return false;
    }
    return true;
}

/* NULL: it has been answered why. */
static struct batch *batch_read(struct gw_admin *a, struct gw_http_request *req, bool release)
{
    GW_CLEANUP(batch_free) struct batch *b = NULL;
    json_auto_t *body = body_array(req);
    size_t count = json_array_size(body);

    if (!body)
        return NULL;
    if (count == 0 || count > BATCH_MAX) {
        gw_http_problem(req, 400, "One call takes 1 to %d orders, not %zu.", BATCH_MAX, count);
        return NULL;
    }
    b = calloc(1, sizeof(*b) + count * sizeof(b->items[0]));
    if (!b) {
        admin_refuse(req, -ENOMEM, "Nothing was changed");
        return NULL;
    }
    b->body = json_incref(body);
    b->refused = json_array();
    b->release = release;
    b->count = count;
    (void)snprintf(b->by, sizeof(b->by), "%s", who_calls(a, req).user);
    return read_orders(b, req) ? GW_TAKE(b) : NULL;
}

/* ---- doing ---- */

/* One event for all of them. */
static void tell(const struct batch *b, struct gw_admin *a)
{
    size_t refused = json_array_size(b->refused);
    json_t *fields = json_pack("{s:s, s:I, s:I}", "by", b->by, "count", (json_int_t)b->done,
                               "refused", (json_int_t)refused);
    const struct order *first = &b->items[0].order;
    char others[48] = "";

    if (refused > 0)
        (void)snprintf(others, sizeof(others), ", %zu were refused", refused);
    if (!b->release)
        (void)json_object_set_new(fields, "reason", json_string(first->reason));
    gw_journal_alert(a->rooms.journal, b->release ? GW_INFO : GW_WARNING,
                     b->release ? "release" : "quarantine", NULL, fields,
                     "%zu verdicts on addresses were %s by %s in one call%s", b->done,
                     b->release ? "ended" : "set", b->by, others);
}

static void finish(struct batch *b)
{
    struct gw_admin *a = b->wait.admin;
    struct gw_http_request *req = wait_end(&b->wait);

    if (a)
        tell(b, a);
    if (req)
        gw_http_reply_json(
            req, 200, json_pack("{s:I, s:O}", "done", (json_int_t)b->done, "refused", b->refused));
    batch_free(&b);
}

static void count(struct item *i, int err)
{
    struct batch *b = i->batch;
    const char *why =
        b->release && err == GW_ENOTFOUND ? "it is not quarantined" : gw_error_text(err);

    b->waiting--;
    b->done += err == 0;
    if (err)
        json_array_append_new(b->refused,
                              json_pack("{s:s, s:s}", "address", i->order.address, "detail", why));
}

static void go_on(struct batch *b);

static void on_done(void *owner, int err)
{
    struct item *i = owner;
    struct batch *b = i->batch;

    count(i, err);
    go_on(b);
}

static int judge(const struct batch *b, struct item *i)
{
    struct gw_quarantine *q = b->wait.admin->rooms.quarantine;
    const struct order *o = &i->order;

    if (b->release)
        return gw_quarantine_release_addr_quietly(q, &o->addr, b->by, on_done, i);
    return gw_quarantine_addr_quietly(q, &o->addr, o->mode, o->seconds, o->reason, b->by, on_done,
                                      i);
}

/* Also when the client has left: a half of what it asked for helps nobody. */
static void go_on(struct batch *b)
{
    while (b->waiting == 0) {
        size_t end = GW_MIN(b->next + PART, b->count);

        if (b->next == b->count || !b->wait.admin) {
            finish(b);
            return;
        }
        for (; b->next < end; b->next++) {
            int err;

            b->waiting++;
            err = judge(b, &b->items[b->next]);
            if (err)
                count(&b->items[b->next], err);
        }
    }
}

void batch_begin(struct gw_admin *a, struct gw_http_request *req, bool release)
{
    struct batch *b = batch_read(a, req, release);

    if (!b)
        return;
    wait_begin(&b->wait, a, req);
    go_on(b);
}
