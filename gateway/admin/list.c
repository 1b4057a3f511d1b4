/* SPDX-License-Identifier: GPL-2.0-only */
/* The list of devices, written a part in each turn of the loop, so that nobody waits for it. */
#include <errno.h>
#include <stdio.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"

#define LIST_MAX (64u << 20)

struct listing {
    struct gw_admin *admin;
    struct gw_http_request *req;
    struct gw_task task;
    struct gw_buf text;
    uint64_t left;
    char after[GW_DEVICE_ID_MAX + 1]; /* the last one written, or where to begin */
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

static int put_device(struct listing *l, const struct gw_device *d)
{
    json_auto_t *json = device_json(l->admin, d);
    GW_CLEANUP(gw_free_ptr)
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    int err = text ? 0 : -ENOMEM;

    if (!err && gw_buf_len(&l->text) > 1)
        err = gw_buf_append(&l->text, GW_SLICE_LIT(","));
    if (!err)
        err = gw_buf_append(&l->text, gw_slice_str(text));
    (void)snprintf(l->after, sizeof(l->after), "%s", d->id);
    return err;
}

/* More of them are announced by a Link header (RFC 8288). */
static void put_link(struct listing *l)
{
    char link[256];

    (void)snprintf(link, sizeof(link), "<%s?after=%s>; rel=\"next\"", gw_http_path(l->req),
                   l->after);
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
    const struct gw_devices *devices = l->admin->rooms.devices;
    const struct gw_device *d = gw_devices_next(devices, l->after);
    int err = 0;

    for (unsigned n = 0; d && l->left && !err; n++) {
        if (n == DEVICES_PER_TURN) {
            gw_task_post(l->admin->loop, &l->task);
            return;
        }
        err = put_device(l, d);
        l->left--;
        d = gw_devices_next(devices, l->after);
    }
    finish(l, err, d != NULL);
}

void on_devices(void *owner, struct gw_http_request *req)
{
    const char *after = gw_http_query(req, "after");
    uint64_t limit = DEVICES_PAGE_MAX;
    struct listing *l;

    if (!query_uint(req, "limit", 1, DEVICES_PAGE_MAX, &limit))
        return;
    l = calloc(1, sizeof(*l));
    if (!l) {
        admin_refuse(req, -ENOMEM, "The list was not written");
        return;
    }
    *l = (struct listing){.admin = owner, .req = req, .left = limit, .text = {.max = LIST_MAX}};
    (void)snprintf(l->after, sizeof(l->after), "%s", after ? after : "");
    gw_task_init(&l->task, write_part, l);
    gw_http_on_gone(req, listing_gone, l);
    if (gw_buf_append(&l->text, GW_SLICE_LIT("[")) != 0)
        finish(l, -ENOMEM, false);
    else
        write_part(l);
}
