/* SPDX-License-Identifier: GPL-2.0-only */
#include "quarantine/quarantine_priv.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"

#define ENTRIES_MAX 200000
#define NETWORKS_MAX 256 /* each is compared with a device's addresses */
#define SECONDS_MAX (100ull * 366 * 86400)

const char *gw_mode_text(enum gw_verdict_mode m)
{
    switch (m) {
    case GW_MODE_NONE:
        return "none";
    case GW_MODE_ISOLATE:
        return "isolate";
    case GW_MODE_REMEDIATE:
        return "remediate";
    case GW_MODE_OBSERVE:
        return "observe";
    }
    return "";
}

/* ---- the table ---- */

bool quarantine_live(const struct gw_verdict *v)
{
    return !v->until_ms || v->until_ms > gw_clock_wall_ms();
}

static struct entry *find(const struct gw_quarantine *q, struct gw_slice key)
{
    return gw_map_get(&q->entries, key);
}

static bool is_network(const struct gw_verdict *v)
{
    unsigned host = v->addr.kind == GW_ADDR_MAC ? 48 : v->addr.kind == GW_ADDR_IPV4 ? 32 : 128;

    return !verdict_on_device(v) && v->addr.prefix_len < host;
}

/* The wall clock may have been set meanwhile: look again before the end counts. */
static void on_expiry(void *owner)
{
    struct entry *e = owner;
    int64_t left = e->v.until_ms - gw_clock_wall_ms();
    int err = 0;

    if (left > 0)
        gw_timer_start(e->q->loop, &e->expiry, (uint64_t)left);
    else
        err = quarantine_release(e->q, &e->v, "expiry", NULL, NULL);
    if (err)
        gw_timer_start(e->q->loop, &e->expiry, 1000);
}

static struct entry *entry_make(struct gw_quarantine *q, const struct gw_verdict *v)
{
    struct entry *e = calloc(1, sizeof(*e));

    if (!e)
        return NULL;
    e->q = q;
    e->v = *v;
    gw_timer_init(&e->expiry, on_expiry, e);
    gw_list_init(&e->on_networks);
    if (gw_map_put(&q->entries, verdict_key(&e->v), e)) {
        free(e);
        return NULL;
    }
    if (is_network(v)) {
        gw_list_append(&q->networks, &e->on_networks);
        q->network_count++;
    }
    return e;
}

int quarantine_put(struct gw_quarantine *q, const struct gw_verdict *v, uint64_t change)
{
    struct entry *e = find(q, verdict_key(v));

    if (!e &&
        (q->entries.count >= ENTRIES_MAX || (is_network(v) && q->network_count >= NETWORKS_MAX)))
        return GW_EFULL;
    if (!e)
        e = entry_make(q, v);
    if (!e)
        return -ENOMEM;
    e->v = *v; /* the same key */
    e->change = change;
    gw_timer_stop(&e->expiry);
    if (v->until_ms) {
        int64_t left = v->until_ms - gw_clock_wall_ms();

        gw_timer_start(q->loop, &e->expiry, (uint64_t)GW_MAX(left, 0));
    }
    return 0;
}

void quarantine_remove(struct gw_quarantine *q, const struct gw_verdict *key)
{
    struct entry *e = gw_map_remove(&q->entries, verdict_key(key));

    if (!e)
        return;
    q->network_count -= is_network(&e->v);
    gw_list_remove(&e->on_networks);
    gw_timer_stop(&e->expiry);
    free(e);
}

/* ---- questions ---- */

static const struct gw_verdict *verdict_of(const struct gw_quarantine *q, struct gw_slice key)
{
    const struct entry *e = find(q, key);

    return e && quarantine_live(&e->v) ? &e->v : NULL;
}

const struct gw_verdict *gw_quarantine_of_addr(const struct gw_quarantine *q,
                                               const struct gw_hwaddr *a)
{
    return verdict_of(q, gw_hwaddr_key(a));
}

static const struct gw_verdict *network_verdict(const struct gw_quarantine *q,
                                                const struct gw_hwaddr *a)
{
    GW_LIST_EACH(&q->networks, node)
    {
        const struct entry *e = GW_LIST_ENTRY(node, struct entry, on_networks);

        if (quarantine_live(&e->v) && gw_hwaddr_contains(&e->v.addr, a))
            return &e->v;
    }
    return NULL;
}

const struct gw_verdict *gw_quarantine_of_device(const struct gw_quarantine *q, const char *id)
{
    const struct gw_verdict *v = q->entries.count ? verdict_of(q, gw_slice_str(id)) : NULL;
    const struct gw_device *d;

    if (v || !q->entries.count)
        return v;
    d = gw_devices_get(q->devices, id);
    for (size_t i = 0; d && !v && i < d->addr_count; i++) {
        v = gw_quarantine_of_addr(q, &d->addrs[i].addr);
        if (!v)
            v = network_verdict(q, &d->addrs[i].addr);
    }
    return v;
}

const struct gw_verdict *gw_quarantine_next(const struct gw_quarantine *q, size_t *cursor)
{
    const struct entry *e;

    while ((e = gw_map_next(&q->entries, cursor)))
        if (quarantine_live(&e->v))
            return &e->v;
    return NULL;
}

size_t gw_quarantine_count(const struct gw_quarantine *q)
{
    return q->entries.count;
}

/* ---- telling ---- */

void quarantine_tell_device(struct gw_quarantine *q, const char *id)
{
    if (q->ops.changed)
        q->ops.changed(q->ops.owner, id, gw_quarantine_of_device(q, id));
}

void quarantine_tell_cutting(struct gw_quarantine *q, const struct gw_verdict *v)
{
    const struct gw_device *d = NULL;

    if (!q->ops.cutting || is_network(v))
        return;
    d = verdict_on_device(v) ? gw_devices_get(q->devices, v->device)
                             : gw_devices_by_addr(q->devices, &v->addr);
    if (d)
        q->ops.cutting(q->ops.owner, d->id, v);
}

static bool has_addr_in(const struct gw_device *d, const struct gw_hwaddr *net)
{
    for (size_t i = 0; i < d->addr_count; i++)
        if (gw_hwaddr_contains(net, &d->addrs[i].addr))
            return true;
    return false;
}

void quarantine_tell(struct gw_quarantine *q, const struct gw_verdict *v)
{
    const struct gw_device *d = NULL;

    if (verdict_on_device(v)) {
        quarantine_tell_device(q, v->device);
    } else if (!is_network(v)) {
        d = gw_devices_by_addr(q->devices, &v->addr);
        if (d)
            quarantine_tell_device(q, d->id);
    } else { /* an admin's rare act: here the registry is walked */
        while ((d = gw_devices_next(q->devices, d ? d->id : "")))
            if (has_addr_in(d, &v->addr))
                quarantine_tell_device(q, d->id);
    }
}

/* ---- what may be cut off ---- */

static bool zero_from(const uint8_t *bytes, size_t from, size_t to)
{
    while (from < to && bytes[from] == 0)
        from++;
    return from == to;
}

/* Addresses that are nobody's, or everybody's: a verdict on them would hit bystanders. */
static bool is_group(const struct gw_hwaddr *a)
{
    const uint8_t *b = a->bytes;

    if (a->prefix_len == 0)
        return true;
    switch ((enum gw_addr_kind)a->kind) {
    case GW_ADDR_MAC:
        return a->prefix_len != 48 || (b[0] & 1) || zero_from(b, 0, 6);
    case GW_ADDR_IPV4:
        return b[0] == 0 || b[0] == 127 || b[0] >= 224;
    case GW_ADDR_IPV6:
        return b[0] == 0xff || (zero_from(b, 0, 15) && b[15] <= 1);
    }
    return true;
}

bool quarantine_protects(const struct gw_quarantine *q, const struct gw_hwaddr *a)
{
    for (size_t i = 0; i < q->config->quarantine.protected_count; i++) {
        const struct gw_hwaddr *p = &q->config->quarantine.protected_addrs[i];

        if (gw_hwaddr_contains(p, a) || gw_hwaddr_contains(a, p))
            return true;
    }
    return false;
}

static int make_verdict(enum gw_verdict_mode mode, uint64_t seconds, const char *reason,
                        const char *by, struct gw_verdict *out)
{
    size_t reason_len = strlen(reason), by_len = strlen(by);

    if ((mode != GW_MODE_ISOLATE && mode != GW_MODE_REMEDIATE) || reason_len > GW_REASON_MAX ||
        by_len > GW_DEVICE_ID_MAX || seconds > SECONDS_MAX ||
        !gw_utf8_valid(GW_SLICE(reason, reason_len)) || !gw_utf8_valid(GW_SLICE(by, by_len)))
        return GW_EMALFORMED;
    out->mode = mode;
    out->since_ms = gw_clock_wall_ms();
    out->until_ms = seconds ? out->since_ms + (int64_t)seconds * 1000 : 0;
    memcpy(out->reason, reason, reason_len);
    memcpy(out->by, by, by_len);
    return 0;
}

int gw_quarantine_device(struct gw_quarantine *q, const char *id, enum gw_verdict_mode mode,
                         uint64_t seconds, const char *reason, const char *by,
                         gw_quarantine_done *fn, void *owner)
{
    const struct gw_device *d = gw_devices_get(q->devices, id);
    struct gw_verdict v = {0};
    int err;

    if (!d)
        return GW_ENOTFOUND;
    for (size_t i = 0; i < d->addr_count; i++)
        if (quarantine_protects(q, &d->addrs[i].addr))
            return GW_EPROTECTED;
    err = make_verdict(mode, seconds, reason, by, &v);
    if (err)
        return err;
    strcpy(v.device, d->id);
    return quarantine_set(q, &v, fn, owner);
}

int gw_quarantine_addr(struct gw_quarantine *q, const struct gw_hwaddr *a,
                       enum gw_verdict_mode mode, uint64_t seconds, const char *reason,
                       const char *by, gw_quarantine_done *fn, void *owner)
{
    struct gw_verdict v = {.addr = *a};
    int err;

    if (is_group(a) || quarantine_protects(q, a))
        return GW_EPROTECTED;
    err = make_verdict(mode, seconds, reason, by, &v);
    return err ? err : quarantine_set(q, &v, fn, owner);
}

int gw_quarantine_release_device(struct gw_quarantine *q, const char *id, const char *by,
                                 gw_quarantine_done *fn, void *owner)
{
    struct entry *e = find(q, gw_slice_str(id));

    return e ? quarantine_release(q, &e->v, by, fn, owner) : GW_ENOTFOUND;
}

int gw_quarantine_release_addr(struct gw_quarantine *q, const struct gw_hwaddr *a, const char *by,
                               gw_quarantine_done *fn, void *owner)
{
    struct entry *e = find(q, gw_hwaddr_key(a));

    return e ? quarantine_release(q, &e->v, by, fn, owner) : GW_ENOTFOUND;
}

/* ---- opening ---- */

void gw_quarantine_start(struct gw_quarantine *q, struct gw_enforcer *enforcer)
{
    struct entry *e;
    size_t cursor = 0;
    int err;

    q->enforcer = enforcer;
    if (!enforcer)
        gw_log_warning("isolation is off: verdicts close sessions, but packets pass");
    while (enforcer && (e = gw_map_next(&q->entries, &cursor)))
        quarantine_send_all(q, &e->v, NULL);
    if (enforcer)
        quarantine_send_devices(q);
    err = enforcer ? gw_enforcer_verdicts_complete(enforcer) : 0;
    if (err)
        gw_log_error("the verdicts could not be repeated to the enforcer: %s", gw_error_text(err));
    for (cursor = 0; (e = gw_map_next(&q->entries, &cursor));)
        quarantine_tell(q, &e->v);
}

void gw_quarantine_reload(struct gw_quarantine *q, const struct gw_config *config)
{
    struct entry *e;
    size_t cursor = 0;

    q->config = config;
    quarantine_rules(q);
    while ((e = gw_map_next(&q->entries, &cursor)))
        quarantine_send_all(q, &e->v, NULL);
}

int gw_quarantine_open(struct gw_loop *loop, const struct gw_config *config, struct gw_store *store,
                       struct gw_journal *journal, struct gw_devices *devices,
                       const struct gw_quarantine_ops *ops, struct gw_quarantine **out)
{
    GW_CLEANUP(gw_quarantine_close) struct gw_quarantine *q = calloc(1, sizeof(*q));
    int err;

    if (!q)
        return -ENOMEM;
    q->loop = loop;
    q->config = config;
    q->store = store;
    q->journal = journal;
    q->devices = devices;
    if (ops)
        q->ops = *ops;
    q->listener = (struct gw_device_listener){.changed = quarantine_follow, .owner = q};
    gw_list_init(&q->networks);
    gw_list_init(&q->changes);
    gw_list_init(&q->strikes.recent);
    quarantine_rules(q);
    err = quarantine_load(q);
    if (err)
        return err;
    gw_devices_listen(devices, &q->listener);
    *out = GW_TAKE(q);
    return 0;
}

void gw_quarantine_close(struct gw_quarantine **quarantine)
{
    struct gw_quarantine *q = GW_TAKE(*quarantine);
    struct entry *e;
    size_t cursor = 0;

    if (!q)
        return;
    gw_devices_unlisten(&q->listener);
    q->enforcer = NULL;
    q->ops.changed = NULL; /* whoever is told may be gone: what fails now concerns nobody */
    quarantine_abandon(q);
    quarantine_kernel_fini(q);
    quarantine_strikes_fini(q);
    while ((e = gw_map_next(&q->entries, &cursor))) {
        gw_timer_stop(&e->expiry);
        free(e);
    }
    gw_map_fini(&q->entries);
    free(q);
}
