/* SPDX-License-Identifier: GPL-2.0-only */
#include "admin/admin_priv.h"

static void wait_gone(void *owner, struct gw_http_request *req)
{
    struct wait *w = owner;

    (void)req;
    w->req = NULL;
}

void wait_begin(struct wait *w, struct gw_admin *a, struct gw_http_request *req)
{
    w->admin = a;
    w->req = req;
    gw_list_append(&a->waits, &w->node);
    gw_http_on_gone(req, wait_gone, w);
}

struct gw_http_request *wait_end(struct wait *w)
{
    gw_list_remove(&w->node);
    if (w->req)
        gw_http_on_gone(w->req, NULL, NULL);
    return GW_TAKE(w->req);
}

void wait_abandon_all(struct gw_admin *a)
{
    GW_LIST_EACH(&a->waits, node)
    {
        struct wait *w = GW_LIST_ENTRY(node, struct wait, node);

        w->admin = NULL;
        w->req = NULL;
        gw_list_remove(node);
    }
}
