/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdio.h>

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

/* ---- changes ---- */

struct pending {
    struct wait wait;
    unsigned parts;
    int err; /* the first failure */
    bool unstored;
    char subject[GW_DEVICE_ID_MAX + 1];
    const char *verb;
};

_Static_assert(GW_HWADDR_TEXT <= GW_DEVICE_ID_MAX + 1, "a subject holds an address");

struct pending *pending_begin(struct gw_admin *a, struct gw_http_request *req, const char *subject,
                              const char *verb)
{
    struct pending *p = calloc(1, sizeof(*p));

    if (!p) {
        admin_refuse(req, -ENOMEM, "Nothing was changed");
        return NULL;
    }
    p->parts = 1;
    (void)snprintf(p->subject, sizeof(p->subject), "%s", subject);
    p->verb = verb;
    wait_begin(&p->wait, a, req);
    return p;
}

void pending_add(struct pending *p)
{
    p->parts++;
}

void pending_done(void *owner, int err)
{
    struct pending *p = owner;
    struct gw_http_request *req;

    if (err && !p->err)
        p->err = err;
    if (--p->parts > 0)
        return;
    req = wait_end(&p->wait);
    if (req && p->err)
        admin_refuse(req, p->err, "%s was not %s", p->subject, p->verb);
    else if (req && p->unstored)
        admin_refuse(req, GW_ESTORE, "%s is %s, but a restart may undo it", p->subject, p->verb);
    else if (req)
        admin_done(req);
    free(p);
}

void pending_stored(void *owner, int err)
{
    struct pending *p = owner;

    p->unstored |= err == GW_ESTORE;
    pending_done(p, err == GW_ESTORE ? 0 : err);
}

void pending_cancel(struct pending **p)
{
    struct pending *gone = GW_TAKE(*p);

    (void)wait_end(&gone->wait);
    free(gone);
}
