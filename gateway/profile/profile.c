/* SPDX-License-Identifier: GPL-2.0-only */
#include "profile/profile_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

const char *gw_profile_state_text(enum gw_profile_state s)
{
    switch (s) {
    case GW_PROFILE_OFF:
        return "off";
    case GW_PROFILE_LEARNING:
        return "learning";
    case GW_PROFILE_REPORTING:
        return "reporting";
    case GW_PROFILE_ENFORCING:
        return "enforcing";
    }
    return "";
}

/* ---- the table ---- */

struct profile *profile_get(const struct gw_profiles *ps, const char *device)
{
    return gw_map_get_str(&ps->by_device, device);
}

static struct gw_slice number_key(const uint16_t *number)
{
    return GW_SLICE(number, sizeof(*number));
}

/* Low numbers first: the kernel's table may end early. */
static uint16_t free_number(const struct gw_profiles *ps)
{
    uint16_t number = 1;

    if (ps->by_number.count >= GW_POLICIES_MAX)
        return 0;
    while (gw_map_get(&ps->by_number, number_key(&number)))
        number++;
    return number;
}

struct profile *profile_new(struct gw_profiles *ps, const char *device, uint16_t number)
{
    struct profile *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->ps = ps;
    (void)snprintf(p->device, sizeof(p->device), "%s", device);
    p->number = number ? number : free_number(ps);
    gw_list_init(&p->asks);
    names_init(p);
    if (!p->number || gw_map_get(&ps->by_number, number_key(&p->number)) ||
        gw_map_put(&ps->by_device, gw_slice_str(p->device), p) != 0) {
        free(p);
        return NULL;
    }
    if (gw_map_put(&ps->by_number, number_key(&p->number), p) != 0) {
        (void)gw_map_remove(&ps->by_device, gw_slice_str(p->device));
        free(p);
        return NULL;
    }
    return p;
}

struct profile *profile_make(struct gw_profiles *ps, const char *device)
{
    struct profile *p = profile_get(ps, device);

    if (p)
        return p;
    p = profile_new(ps, device, 0);
    if (p)
        p->since_ms = gw_clock_wall_ms();
    return p;
}

void profile_free(struct profile *p)
{
    profile_asks_end(p);
    names_stop(p);
    gw_timer_stop(&p->end);
    gw_timer_stop(&p->resend);
    (void)gw_map_remove(&p->ps->by_device, gw_slice_str(p->device));
    (void)gw_map_remove(&p->ps->by_number, number_key(&p->number));
    rules_fini(&p->rules);
    free(p->learned.at);
    free(p->names);
    free(p->mud);
    free(p);
}

uint16_t gw_profiles_number(const struct gw_profiles *ps, const char *device)
{
    const struct profile *p = ps->by_device.count ? profile_get(ps, device) : NULL;

    return p && p->sent ? p->number : 0;
}

void profile_alert(struct gw_profiles *ps, enum gw_severity severity, const char *device,
                   json_t *fields, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    gw_journal_alert(ps->journal, severity, "profile", device, fields, "%s", text);
}

/* ---- what happens to a device happens to its profile ---- */

static void remove_quietly(struct gw_profiles *ps, const char *device)
{
    struct profile *p = profile_get(ps, device);
    int err = p ? profile_remove(p, NULL, NULL) : 0;

    if (err)
        gw_log_error("a profile was not removed: %s device=%s", gw_error_text(err), device);
}

/* The record was an address of the device: what was learned of it is the device's. */
static void move(struct gw_profiles *ps, const char *from, const char *to)
{
    struct profile *p = profile_get(ps, from);
    int err;

    if (!p)
        return;
    if (profile_get(ps, to)) {
        remove_quietly(ps, from);
        return;
    }
    (void)gw_map_remove(&ps->by_device, gw_slice_str(p->device));
    (void)snprintf(p->device, sizeof(p->device), "%s", to);
    err = gw_map_put(&ps->by_device, gw_slice_str(p->device), p);
    if (!err)
        err = profile_store(p, from, NULL);
    if (err)
        gw_log_error("a profile did not follow its device: %s device=%s", gw_error_text(err), to);
    profile_store_names(p);
    if (p->sent && ps->ops.changed)
        ps->ops.changed(ps->ops.owner, p->device);
}

static void on_device(void *owner, const struct gw_device *d, enum gw_device_change what,
                      const struct gw_hwaddr *addr, const struct gw_device *from)
{
    struct gw_profiles *ps = owner;

    (void)addr;
    if (what == GW_DEVICE_REMOVED)
        remove_quietly(ps, d->id);
    else if (what == GW_DEVICE_MERGED)
        move(ps, from->id, d->id);
}

/* ---- opening ---- */

int gw_profiles_open(struct gw_loop *loop, struct gw_store *store, struct gw_journal *journal,
                     struct gw_devices *devices, const struct gw_profiles_ops *ops,
                     struct gw_profiles **out)
{
    GW_CLEANUP(gw_profiles_close) struct gw_profiles *ps = calloc(1, sizeof(*ps));
    int err;

    if (!ps)
        return -ENOMEM;
    ps->loop = loop;
    ps->store = store;
    ps->journal = journal;
    ps->devices = devices;
    if (ops)
        ps->ops = *ops;
    gw_list_init(&ps->changes);
    ps->listener = (struct gw_device_listener){.changed = on_device, .owner = ps};
    gw_list_init(&ps->listener.node);
    err = profiles_load(ps);
    if (err)
        return err;
    gw_devices_listen(devices, &ps->listener);
    *out = GW_TAKE(ps);
    return 0;
}

void gw_profiles_start(struct gw_profiles *ps, struct gw_enforcer *e)
{
    struct profile *p;
    size_t cursor = 0;

    ps->enforcer = e;
    ps->started = true;
    while ((p = gw_map_next(&ps->by_device, &cursor)))
        profile_tell(p, NULL);
    for (cursor = 0; (p = gw_map_next(&ps->by_device, &cursor));)
        profile_arm_end(p);
}

void gw_profiles_close(struct gw_profiles **profiles)
{
    struct gw_profiles *ps = GW_TAKE(*profiles);
    struct profile *p;
    size_t cursor = 0;

    if (!ps)
        return;
    gw_devices_unlisten(&ps->listener);
    ps->closing = true;
    ps->enforcer = NULL;
    while ((p = gw_map_next(&ps->by_device, &cursor)))
        if (p->names_dirty)
            profile_store_names(p);
    changes_abandon(ps);
    for (cursor = 0; (p = gw_map_next(&ps->by_device, &cursor)); cursor = 0)
        profile_free(p);
    gw_map_fini(&ps->by_device);
    gw_map_fini(&ps->by_number);
    free(ps);
}
