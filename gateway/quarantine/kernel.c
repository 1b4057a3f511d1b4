/* SPDX-License-Identifier: GPL-2.0-only */
#include "quarantine/quarantine_priv.h"

#include <errno.h>

/* What holds for one address now: a verdict on it, or on the device it belongs to. */
static const struct gw_verdict *effective(const struct gw_quarantine *q, const struct gw_hwaddr *a)
{
    const struct gw_device *d = gw_devices_by_addr(q->devices, a);
    const struct entry *on_device = d ? gw_map_get_str(&q->entries, d->id) : NULL;
    const struct gw_verdict *v = gw_quarantine_of_addr(q, a);

    if (quarantine_protects(q, a))
        return NULL;
    return quarantine_stricter(v,
                               on_device && quarantine_live(&on_device->v) ? &on_device->v : NULL);
}

static struct pending *pending_make(struct gw_quarantine *q, const struct gw_hwaddr *a,
                                    struct change *c)
{
    struct pending *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    *p = (struct pending){.token = ++q->kernel.last_token, .change = c, .addr = *a};
    if (gw_map_put(&q->kernel.pending, GW_SLICE(&p->token, sizeof(p->token)), p)) {
        free(p);
        return NULL;
    }
    return p;
}

static struct pending *pending_take(struct gw_quarantine *q, uint64_t token)
{
    return gw_map_remove(&q->kernel.pending, GW_SLICE(&token, sizeof(token)));
}

static void on_answer(struct gw_quarantine *q, struct pending *p, int err)
{
    char text[GW_HWADDR_TEXT];

    if (err && err != GW_EUNSUPPORTED && !p->change) {
        (void)gw_hwaddr_text(&p->addr, text);
        gw_journal_alert(q->journal, GW_CRITICAL, "quarantine", NULL,
                         json_pack("{s:s, s:s}", "address", text, "error", gw_error_name(err)),
                         "The verdict on %s is not in force: %s", text, gw_error_text(err));
    }
    if (p->change)
        quarantine_answer(p->change, err);
    free(p);
}

void quarantine_send(struct gw_quarantine *q, const struct gw_hwaddr *a, struct change *c)
{
    const struct gw_verdict *v = effective(q, a);
    struct gw_judgement j = {
        .mode = v ? v->mode : GW_MODE_NONE,
        .until_wall_ms = v ? v->until_ms : 0,
    };
    struct pending *p;
    int err;

    if (!q->enforcer)
        return;
    quarantine_add_policy(q, a, &j);
    p = pending_make(q, a, c);
    if (!p) {
        if (c)
            c->err = -ENOMEM;
        return;
    }
    if (c)
        c->waits++;
    err = gw_enforcer_judge(q->enforcer, a, &j, p->token);
    if (err)
        on_answer(q, pending_take(q, p->token), err);
}

void quarantine_send_all(struct gw_quarantine *q, const struct gw_verdict *v, struct change *c)
{
    const struct gw_device *d;

    if (!verdict_on_device(v)) {
        quarantine_send(q, &v->addr, c);
        return;
    }
    d = gw_devices_get(q->devices, v->device);
    for (size_t i = 0; d && i < d->addr_count; i++)
        quarantine_send(q, &d->addrs[i].addr, c);
}

void gw_quarantine_applied(struct gw_quarantine *q, uint64_t token, int err)
{
    struct pending *p = pending_take(q, token);

    if (p)
        on_answer(q, p, err);
}

void quarantine_kernel_fini(struct gw_quarantine *q)
{
    struct pending *p;
    size_t cursor = 0;

    while ((p = gw_map_next(&q->kernel.pending, &cursor)))
        free(p);
    gw_map_fini(&q->kernel.pending);
}
