/* SPDX-License-Identifier: GPL-2.0-only */
/* A profile as the API shows it. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "profile/profile_priv.h"

#define SUGGESTED 2 /* times the busiest second */

static json_t *time_json(int64_t wall_ms)
{
    char text[GW_TIME_TEXT];

    return wall_ms ? json_string(gw_time_text(wall_ms, text)) : json_null();
}

/* A name that led to the address while it was learned; NULL: none is known. */
static const char *name_of(const struct profile *p, const struct gw_hwaddr *a)
{
    for (size_t i = 0; i < p->name_count; i++)
        if (memcmp(&p->names[i].address, a, sizeof(*a)) == 0)
            return p->names[i].name;
    return NULL;
}

static json_t *conversation_json(const struct profile *p, const struct gw_learned *c)
{
    char peer[GW_HWADDR_TEXT];

    return json_pack("{s:s, s:i, s:s, s:s?, s:i, s:I, s:I, s:o, s:o}", "direction",
                     c->direction == GW_FROM_DEVICE ? "from-device" : "to-device", "protocol",
                     c->protocol, "peer", gw_hwaddr_text(&c->peer, peer), "name",
                     name_of(p, &c->peer), "port", c->port, "packets", (json_int_t)c->packets,
                     "bytes", (json_int_t)c->bytes, "first", time_json(c->first_ms), "last",
                     time_json(c->last_ms));
}

static json_t *learned_json(const struct profile *p)
{
    const struct learned *l = &p->learned;
    json_t *list = json_array();

    for (size_t i = 0; i < l->count; i++)
        (void)json_array_append_new(list, conversation_json(p, &l->at[i]));
    return json_pack("{s:o, s:I, s:I, s:I, s:o}", "at", time_json(l->at_ms), "missed",
                     (json_int_t)l->missed, "peak_packets_per_s", (json_int_t)l->peak_packets_per_s,
                     "peak_bytes_per_s", (json_int_t)l->peak_bytes_per_s, "conversations", list);
}

static json_t *names_json(const struct profile *p)
{
    json_t *list = json_array();
    char text[GW_HWADDR_TEXT];

    for (size_t i = 0; i < p->name_count; i++)
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:s, s:o}", "name", p->names[i].name,
                                              "address", gw_hwaddr_text(&p->names[i].address, text),
                                              "until", time_json(p->names[i].until_ms)));
    return list;
}

static json_t *notes_json(const struct profile *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->notes.count; i++)
        (void)json_array_append_new(list, json_string(p->notes.text[i]));
    return list;
}

static json_t *limits_json(uint64_t packets_per_s, uint64_t bytes_per_s)
{
    return json_pack("{s:I, s:I}", "packets_per_s", (json_int_t)packets_per_s, "bytes_per_s",
                     (json_int_t)bytes_per_s);
}

static json_t *profile_json(const struct profile *p)
{
    static const char *const sources[] = {
        [SOURCE_NONE] = NULL, [SOURCE_LEARNED] = "learned", [SOURCE_MUD] = "mud"};
    const struct learned *l = &p->learned;

    return json_pack(
        "{s:s, s:s, s:o, s:o, s:b, s:i, s:s?, s:s?, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "device",
        p->device, "state", gw_profile_state_text(p->state), "since", time_json(p->since_ms),
        "until", time_json(p->until_ms), "learning", profile_learns(p), "policy",
        p->sent ? p->number : 0, "problem",
        p->kernel_err ? gw_profile_problem(p->kernel_err) : NULL, "source", sources[p->source],
        "rules_made", time_json(p->rules_ms), "rules", rules_json(&p->rules), "notes",
        notes_json(p), "names", names_json(p), "limits",
        limits_json(p->packets_per_s, p->bytes_per_s), "suggested",
        limits_json((uint64_t)l->peak_packets_per_s * SUGGESTED, l->peak_bytes_per_s * SUGGESTED),
        "learned", learned_json(p));
}

static void show(struct ask *a, struct profile *p)
{
    a->shown(a->owner, p ? profile_json(p) : NULL);
    free(a);
}

/* What a device has that nobody made a profile for. */
static json_t *none_json(const char *device)
{
    struct profile none = {.state = GW_PROFILE_OFF};

    strcpy(none.device, device);
    return profile_json(&none);
}

int gw_profile_show(struct gw_profiles *ps, const char *device, gw_profile_shown *fn, void *owner)
{
    const struct gw_device *d = gw_devices_get(ps->devices, device);
    struct profile *p = profile_get(ps, device);
    struct ask *a;

    if (!d)
        return GW_ENOTFOUND;
    if (!p) {
        fn(owner, none_json(d->id));
        return 0;
    }
    a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    gw_list_init(&a->node);
    a->then = show;
    a->shown = fn;
    a->owner = owner;
    profile_ask(p, a);
    return 0;
}
