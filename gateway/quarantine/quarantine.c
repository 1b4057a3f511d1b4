/* SPDX-License-Identifier: GPL-2.0-only */
#include "quarantine/quarantine_priv.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"

#define ENTRIES_MAX 200000
#define NETWORKS_MAX 256 /* each is compared with a device's addresses */

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

const char *gw_verdict_deed(enum gw_verdict_mode m)
{
    if (m == GW_MODE_OBSERVE)
        return "observed";
    return m == GW_MODE_REMEDIATE ? "put in remediation" : "cut off";
}

enum gw_verdict_mode gw_mode_of(const char *text)
{
    static const enum gw_verdict_mode modes[] = {GW_MODE_ISOLATE, GW_MODE_REMEDIATE,
                                                 GW_MODE_OBSERVE};

    for (size_t i = 0; i < GW_COUNT(modes); i++)
        if (strcmp(text, gw_mode_text(modes[i])) == 0)
            return modes[i];
    return GW_MODE_NONE;
}

static unsigned severity(enum gw_verdict_mode m)
{
    switch (m) {
    case GW_MODE_NONE:
        return 0;
    case GW_MODE_OBSERVE:
        return 1;
    case GW_MODE_REMEDIATE:
        return 2;
    case GW_MODE_ISOLATE:
        return 3;
    }
    return 0;
}

const struct gw_verdict *quarantine_stricter(const struct gw_verdict *a, const struct gw_verdict *b)
{
    if (!a || !b)
        return a ? a : b;
    if (a->mode != b->mode)
        return severity(a->mode) > severity(b->mode) ? a : b;
    if (!a->until_ms || !b->until_ms)
        return a->until_ms ? b : a;
    return a->until_ms >= b->until_ms ? a : b;
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

static bool is_on_protected(const struct gw_quarantine *q, const struct gw_verdict *v)
{
    const struct gw_device *d;

    if (!verdict_on_device(v))
        return quarantine_protects(q, &v->addr);
    d = gw_devices_get(q->devices, v->device);
    return d && quarantine_protects_device(q, d);
}

static void await_end(struct entry *e)
{
    int64_t left = e->v.until_ms - gw_clock_wall_ms();

    if (e->v.until_ms)
        gw_timer_start(e->q->loop, &e->expiry, (uint64_t)GW_MAX(left, 0));
    else
        gw_timer_stop(&e->expiry);
}

/* The wall clock may have been set meanwhile: look again before the end counts. */
static void on_expiry(void *owner)
{
    struct entry *e = owner;
    bool protected = is_on_protected(e->q, &e->v);

    if (!protected && quarantine_live(&e->v))
        await_end(e);
    else if (quarantine_release(e->q, &e->v, protected ? BY_CONFIG : "expiry", false, NULL, NULL))
        gw_timer_start(e->q->loop, &e->expiry, 1000);
}

void quarantine_look_soon(struct gw_quarantine *q, struct entry *e)
{
    gw_timer_start(q->loop, &e->expiry, 0);
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
    gw_list_init(&e->in_order);
    if (gw_map_put(&q->entries, verdict_key(&e->v), e)) {
        free(e);
        return NULL;
    }
    e->number = ++q->last_number;
    gw_list_append(&q->in_order, &e->in_order);
    if (verdict_on_network(v)) {
        gw_list_append(&q->networks, &e->on_networks);
        q->network_count++;
    }
    return e;
}

int quarantine_put(struct gw_quarantine *q, const struct gw_verdict *v, uint64_t change)
{
    struct entry *e = find(q, verdict_key(v));
    bool is_new = !e;

    if (!e && (q->entries.count >= ENTRIES_MAX ||
               (verdict_on_network(v) && q->network_count >= NETWORKS_MAX)))
        return GW_EFULL;
    if (!e)
        e = entry_make(q, v);
    if (!e)
        return -ENOMEM;
    q->cutting_count -= !is_new && gw_verdict_cuts(&e->v);
    e->v = *v; /* the same key */
    q->cutting_count += gw_verdict_cuts(v);
    e->change = change;
    await_end(e);
    return 0;
}

void quarantine_remove(struct gw_quarantine *q, const struct gw_verdict *key)
{
    struct entry *e = gw_map_remove(&q->entries, verdict_key(key));

    if (!e)
        return;
    q->network_count -= verdict_on_network(&e->v);
    q->cutting_count -= gw_verdict_cuts(&e->v);
    gw_list_remove(&e->on_networks);
    gw_list_remove(&e->in_order);
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

const struct gw_verdict *gw_quarantine_of_network(const struct gw_quarantine *q,
                                                  const struct gw_hwaddr *a)
{
    const struct gw_verdict *v = NULL;

    GW_LIST_EACH(&q->networks, node)
    {
        const struct entry *e = GW_LIST_ENTRY(node, struct entry, on_networks);

        if (quarantine_live(&e->v) && gw_hwaddr_contains(&e->v.addr, a))
            v = quarantine_stricter(v, &e->v);
    }
    return v;
}

const struct gw_verdict *gw_quarantine_own(const struct gw_quarantine *q, const char *id)
{
    return verdict_of(q, gw_slice_str(id));
}

const struct gw_verdict *gw_quarantine_shown(const struct gw_quarantine *q, const char *id)
{
    const struct gw_verdict *v;
    const struct gw_device *d;

    if (!q->entries.count)
        return NULL;
    v = gw_quarantine_own(q, id);
    d = gw_devices_get(q->devices, id);
    for (size_t i = 0; d && i < d->addr_count; i++) {
        v = quarantine_stricter(v, gw_quarantine_of_addr(q, &d->addrs[i].addr));
        v = quarantine_stricter(v, gw_quarantine_of_network(q, &d->addrs[i].addr));
    }
    return v && d && quarantine_protects_device(q, d) ? NULL : v;
}

const struct gw_verdict *gw_quarantine_of_device(const struct gw_quarantine *q, const char *id)
{
    const struct gw_verdict *v = gw_quarantine_shown(q, id);

    return gw_verdict_cuts(v) ? v : NULL;
}

/* The node behind which the walk goes on; a verdict that is gone is looked past from the start. */
static struct gw_list *resume(const struct gw_quarantine *q, const struct gw_quarantine_place *at)
{
    struct entry *e = find(q, GW_SLICE(at->key, at->key_len));
    struct gw_list *node = q->in_order.next;

    if (e && e->number == at->number)
        return e->in_order.next;
    while (node != &q->in_order &&
           GW_LIST_ENTRY(node, struct entry, in_order)->number <= at->number)
        node = node->next;
    return node;
}

const struct gw_verdict *gw_quarantine_after(const struct gw_quarantine *q,
                                             struct gw_quarantine_place *at)
{
    for (struct gw_list *node = resume(q, at); node != &q->in_order; node = node->next) {
        const struct entry *e = GW_LIST_ENTRY(node, struct entry, in_order);
        struct gw_slice key = verdict_key(&e->v);

        if (!quarantine_live(&e->v))
            continue;
        at->number = e->number;
        at->key_len = key.len;
        memcpy(at->key, key.ptr, key.len); /* an id or an address: it fits */
        return &e->v;
    }
    return NULL;
}

size_t gw_quarantine_count(const struct gw_quarantine *q)
{
    return q->cutting_count;
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

    if (!q->ops.cutting || verdict_on_network(v) || !gw_verdict_cuts(v))
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
    } else if (!verdict_on_network(v)) {
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

/* Nobody's, or everybody's: a verdict on it would hit bystanders. */
static bool is_somebodys(const struct gw_hwaddr *a)
{
    return gw_hwaddr_is_unicast(a) && a->prefix_len > 0 &&
           (a->kind != GW_ADDR_MAC || gw_hwaddr_is_host(a));
}

static bool is_listed(const struct gw_quarantine *q, const struct gw_hwaddr *a)
{
    for (size_t i = 0; i < q->config->quarantine.protected_count; i++)
        if (gw_hwaddr_overlaps(&q->config->quarantine.protected_addrs[i], a))
            return true;
    return false;
}

static bool has_overlap(const struct gw_device *d, const struct gw_hwaddr *a)
{
    for (size_t i = 0; d && i < d->addr_count; i++)
        if (gw_hwaddr_overlaps(&d->addrs[i].addr, a))
            return true;
    return false;
}

bool quarantine_protects(const struct gw_quarantine *q, const struct gw_hwaddr *a)
{
    const struct gw_device *d = gw_devices_by_addr(q->devices, a);

    if (is_listed(q, a) || (d && quarantine_protects_device(q, d)))
        return true;
    for (size_t i = 0; i < q->config->quarantine.protected_count; i++)
        if (has_overlap(gw_devices_by_addr(q->devices, &q->config->quarantine.protected_addrs[i]),
                        a))
            return true;
    for (size_t i = 0; i < q->config->quarantine.protected_device_count; i++)
        if (has_overlap(gw_devices_get(q->devices, q->config->quarantine.protected_devices[i]), a))
            return true;
    return false;
}

bool quarantine_protects_device(const struct gw_quarantine *q, const struct gw_device *d)
{
    for (size_t i = 0; i < q->config->quarantine.protected_device_count; i++)
        if (strcmp(q->config->quarantine.protected_devices[i], d->id) == 0)
            return true;
    for (size_t i = 0; i < d->addr_count; i++)
        if (is_listed(q, &d->addrs[i].addr))
            return true;
    return false;
}

bool gw_quarantine_protected(const struct gw_quarantine *q, const char *id)
{
    const struct gw_device *d = gw_devices_get(q->devices, id);

    return d && quarantine_protects_device(q, d);
}

static int make_verdict(enum gw_verdict_mode mode, uint64_t seconds, const char *reason,
                        const char *by, struct gw_verdict *out)
{
    size_t reason_len = strlen(reason), by_len = strlen(by);

    if (mode == GW_MODE_NONE || mode > GW_MODE_OBSERVE || reason_len > GW_REASON_MAX ||
        by_len > GW_DEVICE_ID_MAX || seconds > GW_VERDICT_SECONDS_MAX ||
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
    if (quarantine_protects_device(q, d))
        return GW_EPROTECTED;
    err = make_verdict(mode, seconds, reason, by, &v);
    if (err)
        return err;
    strcpy(v.device, d->id);
    return quarantine_set(q, &v, false, fn, owner);
}

static int judge_addr(struct gw_quarantine *q, const struct gw_hwaddr *a, enum gw_verdict_mode mode,
                      uint64_t seconds, const char *reason, const char *by, bool quiet,
                      gw_quarantine_done *fn, void *owner)
{
    struct gw_verdict v = {.addr = *a};
    int err;

    if (!is_somebodys(a) || quarantine_protects(q, a))
        return GW_EPROTECTED;
    err = make_verdict(mode, seconds, reason, by, &v);
    return err ? err : quarantine_set(q, &v, quiet, fn, owner);
}

int gw_quarantine_addr(struct gw_quarantine *q, const struct gw_hwaddr *a,
                       enum gw_verdict_mode mode, uint64_t seconds, const char *reason,
                       const char *by, gw_quarantine_done *fn, void *owner)
{
    return judge_addr(q, a, mode, seconds, reason, by, false, fn, owner);
}

int gw_quarantine_addr_quietly(struct gw_quarantine *q, const struct gw_hwaddr *a,
                               enum gw_verdict_mode mode, uint64_t seconds, const char *reason,
                               const char *by, gw_quarantine_done *fn, void *owner)
{
    return judge_addr(q, a, mode, seconds, reason, by, true, fn, owner);
}

int gw_quarantine_release_device(struct gw_quarantine *q, const char *id, const char *by,
                                 gw_quarantine_done *fn, void *owner)
{
    struct entry *e = find(q, gw_slice_str(id));

    return e ? quarantine_release(q, &e->v, by, false, fn, owner) : GW_ENOTFOUND;
}

int gw_quarantine_release_addr(struct gw_quarantine *q, const struct gw_hwaddr *a, const char *by,
                               gw_quarantine_done *fn, void *owner)
{
    struct entry *e = find(q, gw_hwaddr_key(a));

    return e ? quarantine_release(q, &e->v, by, false, fn, owner) : GW_ENOTFOUND;
}

int gw_quarantine_release_addr_quietly(struct gw_quarantine *q, const struct gw_hwaddr *a,
                                       const char *by, gw_quarantine_done *fn, void *owner)
{
    struct entry *e = find(q, gw_hwaddr_key(a));

    return e ? quarantine_release(q, &e->v, by, true, fn, owner) : GW_ENOTFOUND;
}

/* ---- opening ---- */

/* The configuration may say so only since the verdicts were made. */
static void look_for_protected(struct gw_quarantine *q)
{
    struct entry *e;
    size_t cursor = 0;

    while ((e = gw_map_next(&q->entries, &cursor)))
        if (is_on_protected(q, &e->v))
            quarantine_look_soon(q, e);
}

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
    look_for_protected(q);
}

void gw_quarantine_reload(struct gw_quarantine *q, const struct gw_config *config)
{
    const struct gw_config *before = q->config;
    struct entry *e;
    size_t cursor = 0;

    q->config = config;
    quarantine_rules(q);
    while ((e = gw_map_next(&q->entries, &cursor)))
        quarantine_send_all(q, &e->v, NULL);
    quarantine_resend_devices(q, before);
    look_for_protected(q);
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
    gw_list_init(&q->in_order);
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
