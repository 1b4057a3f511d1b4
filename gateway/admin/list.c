/* SPDX-License-Identifier: GPL-2.0-only */
/* Long lists, written a part in each turn of the loop, so that nobody waits for them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"

#define LIST_MAX (64u << 20)

struct listing;

/* What is listed. */
struct list_kind {
    json_t *(*take)(struct listing *l); /* the next one; NULL: none is left */
    bool (*more)(const struct listing *l);
    void (*place)(const struct listing *l, char *out, size_t size); /* for ?after= */
};

struct listing {
    const struct list_kind *kind;
    struct gw_admin *admin;
    struct gw_http_request *req;
    struct gw_task task;
    struct gw_buf text;
    uint64_t left;
    /* The last one written, or where to begin: */
    char after[GW_DEVICE_ID_MAX + 1];
    struct gw_quarantine_place verdict;
};

static void listing_free(struct listing *l)
{
    gw_task_cancel(&l->task);
    gw_buf_fini(&l->text);
    free(l);
}

static void listing_gone(void *owner, struct gw_http_request *req)
{
    (void)req;
    listing_free(owner);
}

/* ---- devices, by id ---- */

static json_t *take_device(struct listing *l)
{
    const struct gw_device *d = gw_devices_next(l->admin->rooms.devices, l->after);

    if (!d)
        return NULL;
    (void)snprintf(l->after, sizeof(l->after), "%s", d->id);
    return device_json(l->admin, d);
}

static bool more_devices(const struct listing *l)
{
    return gw_devices_next(l->admin->rooms.devices, l->after) != NULL;
}

static void device_place(const struct listing *l, char *out, size_t size)
{
    (void)snprintf(out, size, "%s", l->after);
}

static const struct list_kind devices = {take_device, more_devices, device_place};

/* ---- verdicts, in the order in which they were made ---- */

static json_t *take_verdict(struct listing *l)
{
    const struct gw_verdict *v = gw_quarantine_after(l->admin->rooms.quarantine, &l->verdict);
    json_t *json = v ? verdict_json(l->admin, v) : NULL;

    if (json)
        json_object_set_new(json, "number", json_integer((json_int_t)l->verdict.number));
    return json;
}

static bool more_verdicts(const struct listing *l)
{
    struct gw_quarantine_place at = l->verdict;

    return gw_quarantine_after(l->admin->rooms.quarantine, &at) != NULL;
}

static void verdict_place(const struct listing *l, char *out, size_t size)
{
    (void)snprintf(out, size, "%" PRIu64, l->verdict.number);
}

static const struct list_kind verdicts = {take_verdict, more_verdicts, verdict_place};

/* ---- writing ---- */

static int put(struct listing *l, const json_t *json)
{
    GW_CLEANUP(gw_free_ptr)
    char *text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);
    int err = text ? 0 : -ENOMEM;

    if (!err && gw_buf_len(&l->text) > 1)
        err = gw_buf_append(&l->text, GW_SLICE_LIT(","));
    if (!err)
        err = gw_buf_append(&l->text, gw_slice_str(text));
    return err;
}

/* More of them are announced by a Link header (RFC 8288). */
static void put_link(struct listing *l)
{
    char link[256], after[GW_DEVICE_ID_MAX + 1];

    l->kind->place(l, after, sizeof(after));
    (void)snprintf(link, sizeof(link), "<%s?after=%s>; rel=\"next\"", gw_http_path(l->req), after);
    gw_http_set_header(l->req, "Link", link);
}

static void finish(struct listing *l, int err, bool more)
{
    gw_http_on_gone(l->req, NULL, NULL);
    if (!err)
        err = gw_buf_append(&l->text, GW_SLICE_LIT("]"));
    if (!err && more)
        put_link(l);
    if (err)
        admin_refuse(l->req, err, "The list was not written");
    else
        gw_http_reply(l->req, 200, "application/json", gw_buf_slice(&l->text));
    listing_free(l);
}

static void write_part(void *owner)
{
    struct listing *l = owner;
    int err = 0;

    for (unsigned n = 0; l->left && !err && l->kind->more(l); n++) {
        json_auto_t *json = NULL;

        if (n == LISTED_PER_TURN) {
            gw_task_post(l->admin->loop, &l->task);
            return;
        }
        json = l->kind->take(l);
        err = json ? put(l, json) : -ENOMEM;
        l->left--;
    }
    finish(l, err, l->kind->more(l));
}

/* NULL: answered already. */
static struct listing *listing_new(struct gw_admin *a, struct gw_http_request *req,
                                   const struct list_kind *kind)
{
    uint64_t limit = PAGE_MAX;
    struct listing *l;

    if (!query_uint(req, "limit", 1, PAGE_MAX, &limit))
        return NULL;
    l = calloc(1, sizeof(*l));
    if (!l) {
        admin_refuse(req, -ENOMEM, "The list was not written");
        return NULL;
    }
    *l = (struct listing){
        .kind = kind, .admin = a, .req = req, .left = limit, .text = {.max = LIST_MAX}};
    gw_task_init(&l->task, write_part, l);
    return l;
}

static void write_list(struct listing *l)
{
    gw_http_on_gone(l->req, listing_gone, l);
    if (gw_buf_append(&l->text, GW_SLICE_LIT("[")) != 0)
        finish(l, -ENOMEM, false);
    else
        write_part(l);
}

void on_devices(void *owner, struct gw_http_request *req)
{
    const char *after = gw_http_query(req, "after");
    struct listing *l = listing_new(owner, req, &devices);

    if (!l)
        return;
    (void)snprintf(l->after, sizeof(l->after), "%s", after ? after : "");
    write_list(l);
}

void on_quarantine(void *owner, struct gw_http_request *req)
{
    uint64_t after = 0;
    struct listing *l;

    if (!query_uint(req, "after", 0, UINT64_MAX, &after))
        return;
    l = listing_new(owner, req, &verdicts);
    if (!l)
        return;
    l->verdict.number = after;
    write_list(l);
}
