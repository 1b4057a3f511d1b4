/* SPDX-License-Identifier: GPL-2.0-only */
/* Names in rules: where they lead, as the device's own DNS answers say, for as long as they hold.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "profile/dns.h"
#include "profile/profile_priv.h"

#define LEAST_S 3600u /* devices keep an address for longer than it was lent */
#define MOST_S 86400u
#define RENEW_MS 1800000 /* a later end is worth a write when it is so much later */
#define LEARNING_MS (30ll * 86400 * 1000)
#define SAVE_MS 5000
#define NAMES_LEAST 4 /* room for so many; most devices ask for few */

static bool is_watched(const struct profile *p)
{
    return p->state == GW_PROFILE_REPORTING || p->state == GW_PROFILE_ENFORCING;
}

/* ---- time ---- */

static void drop_where(struct profile *p,
                       bool (*goes)(const struct profile *p, const struct named *n))
{
    size_t kept = 0;

    for (size_t i = 0; i < p->name_count; i++)
        if (!goes(p, &p->names[i]))
            p->names[kept++] = p->names[i];
    p->names_dirty |= kept < p->name_count;
    p->name_count = kept;
}

static bool is_over(const struct profile *p, const struct named *n)
{
    (void)p;
    return n->until_ms <= gw_clock_wall_ms();
}

static bool is_unused(const struct profile *p, const struct named *n)
{
    return !rules_use_name(&p->rules, n->name);
}

static void save_soon(struct profile *p)
{
    if (p->names_dirty && !gw_timer_armed(&p->save))
        gw_timer_start(p->ps->loop, &p->save, SAVE_MS);
}

void names_arm(struct profile *p)
{
    int64_t next_ms = INT64_MAX, left_ms;

    gw_timer_stop(&p->expiry);
    for (size_t i = 0; i < p->name_count; i++)
        next_ms = GW_MIN(next_ms, p->names[i].until_ms);
    if (p->name_count == 0)
        return;
    left_ms = GW_MAX(next_ms - gw_clock_wall_ms(), 1000);
    gw_timer_start(p->ps->loop, &p->expiry, (uint64_t)left_ms);
}

static void on_expiry(void *owner)
{
    struct profile *p = owner;
    size_t before = p->name_count;

    drop_where(p, is_over);
    if (p->name_count < before && is_watched(p))
        profile_tell_soon(p);
    save_soon(p);
    names_arm(p);
}

static void on_save(void *owner)
{
    profile_store_names(owner);
}

static void on_resend(void *owner)
{
    profile_tell(owner, NULL);
}

void names_init(struct profile *p)
{
    gw_timer_init(&p->expiry, on_expiry, p);
    gw_timer_init(&p->save, on_save, p);
    gw_timer_init(&p->resend, on_resend, p);
}

void names_stop(struct profile *p)
{
    gw_timer_stop(&p->expiry);
    gw_timer_stop(&p->save);
    gw_timer_stop(&p->resend);
}

void names_keep_used(struct profile *p)
{
    drop_where(p, is_unused);
    save_soon(p);
    names_arm(p);
}

/* ---- remembering ---- */

struct named *names_add(struct profile *p)
{
    size_t room = p->name_room ? GW_MIN(p->name_room * 2, (size_t)NAMES_MAX) : NAMES_LEAST;
    struct named *more;

    if (p->name_count < p->name_room)
        return &p->names[p->name_count++];
    more = p->name_count < NAMES_MAX ? realloc(p->names, room * sizeof(*more)) : NULL;
    if (!more)
        return NULL;
    p->names = more;
    p->name_room = room;
    return &p->names[p->name_count++];
}

static struct named *find(struct profile *p, const char *name, const struct gw_hwaddr *a)
{
    for (size_t i = 0; i < p->name_count; i++)
        if (memcmp(&p->names[i].address, a, sizeof(*a)) == 0 && strcmp(p->names[i].name, name) == 0)
            return &p->names[i];
    return NULL;
}

/* A place for one address more of this name; where there is none, the one that ends first goes. */
static struct named *place(struct profile *p, const char *name)
{
    struct named *first = NULL, *first_of_name = NULL;
    size_t of_name = 0;

    for (size_t i = 0; i < p->name_count; i++) {
        struct named *n = &p->names[i];

        if (!first || n->until_ms < first->until_ms)
            first = n;
        if (strcmp(n->name, name) != 0)
            continue;
        of_name++;
        if (!first_of_name || n->until_ms < first_of_name->until_ms)
            first_of_name = n;
    }
    if (of_name >= HOSTS_PER_NAME_MAX)
        return first_of_name;
    if (p->name_count >= NAMES_MAX)
        return first;
    return names_add(p);
}

/* True when the name leads where it did not lead before. */
static bool remember(struct profile *p, const char *name, const struct dns_address *a)
{
    int64_t lent_ms = (int64_t)GW_MIN(GW_MAX(a->ttl_s, LEAST_S), MOST_S) * 1000;
    int64_t until_ms = gw_clock_wall_ms() + (profile_learns(p) ? LEARNING_MS : lent_ms);
    struct named *n = find(p, name, &a->address);
    bool is_new = !n;

    if (n && until_ms < n->until_ms + RENEW_MS)
        return false;
    if (!n)
        n = place(p, name);
    if (!n)
        return false;
    *n = (struct named){.address = a->address, .until_ms = until_ms};
    (void)snprintf(n->name, sizeof(n->name), "%s", name);
    p->names_dirty = true;
    return is_new;
}

static bool remember_all(struct profile *p, const char *name, const struct dns_answer *answer)
{
    bool changed = false;

    for (size_t i = 0; i < answer->address_count; i++)
        changed |= remember(p, name, &answer->addresses[i]);
    return changed;
}

static struct profile *profile_of(const struct gw_profiles *ps, const uint8_t mac[6])
{
    struct gw_hwaddr link = gw_hwaddr_mac(mac);
    const struct gw_device *d = gw_devices_by_addr(ps->devices, &link);

    return d ? profile_get(ps, d->id) : NULL;
}

void gw_profiles_dns(struct gw_profiles *ps, const uint8_t mac[6], struct gw_slice payload)
{
    struct profile *p = ps->by_device.count ? profile_of(ps, mac) : NULL;
    struct dns_answer answer;
    bool changed = false;

    if (!p || (!profile_learns(p) && !is_watched(p)) || dns_answer_read(payload, &answer) != 0)
        return;
    /* Only for what was asked: whoever answers for another name may say that it leads there. */
    if (answer.name_count > 0 && (profile_learns(p) || rules_use_name(&p->rules, answer.names[0])))
        changed = remember_all(p, answer.names[0], &answer);
    if (changed && is_watched(p))
        profile_tell_soon(p);
    if (p->names_dirty) {
        save_soon(p);
        names_arm(p);
    }
}

size_t names_hosts(const struct profile *p, struct rule_host *out)
{
    for (size_t i = 0; i < p->name_count; i++)
        out[i] = (struct rule_host){p->names[i].name, p->names[i].address};
    return p->name_count;
}
