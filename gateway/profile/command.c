/* SPDX-License-Identifier: GPL-2.0-only */
/* What an admin may do with a profile. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "profile/profile_priv.h"

_Static_assert(MUD_BYTES_MAX == GW_PROFILE_MUD_MAX, "the header says what is read");

static void enter(struct profile *p, enum gw_profile_state state, uint64_t seconds)
{
    p->state = state;
    p->since_ms = gw_clock_wall_ms();
    p->until_ms = seconds ? p->since_ms + (int64_t)seconds * 1000 : 0;
    profile_arm_end(p);
}

static void take_rules(struct profile *p, const struct rules *rules, enum rule_source source,
                       const struct mud_notes *notes, char *mud)
{
    rules_fini(&p->rules);
    p->rules = *rules;
    p->source = source;
    p->notes = *notes;
    p->rules_ms = gw_clock_wall_ms();
    free(p->mud);
    p->mud = mud;
}

/* Out of what was learned. GW_ENOTFOUND, GW_EFULL, -ENOMEM, with `why`. */
static int make_rules(struct profile *p, char why[WHY_MAX])
{
    struct gw_profiles *ps = p->ps;
    size_t hosts = names_hosts(p, ps->hosts);
    struct mud_notes notes;
    struct rules rules;
    struct site site;
    int err;

    site_read(gw_devices_get(ps->devices, p->device), &site);
    err =
        learn_rules(p->learned.at, p->learned.count, ps->hosts, hosts, &site, &rules, &notes, why);
    if (err == GW_ENOTFOUND)
        (void)snprintf(why, WHY_MAX, "nothing was learned or imported");
    if (err == GW_EFULL)
        (void)strncat(why, "; import a MUD file in its place", WHY_MAX - strlen(why) - 1);
    if (err)
        return err;
    if (p->learned.missed && notes.count < MUD_NOTES_MAX)
        (void)snprintf(notes.text[notes.count++], WHY_MAX,
                       "%llu conversations found no room while it was learned",
                       (unsigned long long)p->learned.missed);
    take_rules(p, &rules, SOURCE_LEARNED, &notes, NULL);
    return 0;
}

static struct ask *ask_new(void (*then)(struct ask *a, struct profile *p), gw_profile_done *fn,
                           void *owner)
{
    struct ask *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->then = then;
    a->fn = fn;
    a->owner = owner;
    gw_list_init(&a->node);
    return a;
}

/* ---- learning ---- */

static void learning_ended(struct ask *a, struct profile *p)
{
    char why[WHY_MAX] = "";
    int err;

    free(a);
    if (!p || p->state != GW_PROFILE_LEARNING)
        return;
    err = make_rules(p, why);
    enter(p, GW_PROFILE_OFF, 0);
    if (err)
        profile_alert(p->ps, GW_WARNING, p->device,
                      json_pack("{s:s, s:s}", "state", "off", "error", gw_error_name(err)),
                      "Learning of %s has ended without a profile: %s", p->device, why);
    else
        profile_alert(p->ps, GW_INFO, p->device,
                      json_pack("{s:s, s:I}", "state", "off", "rules", (json_int_t)p->rules.count),
                      "The profile of %s is ready: %zu %s, which nobody enforces yet", p->device,
                      p->rules.count, p->rules.count == 1 ? "rule" : "rules");
    (void)profile_commit(p, NULL, NULL);
}

/* The wall clock may have been set meanwhile: look again before the end counts. */
static void on_end(void *owner)
{
    struct profile *p = owner;
    int64_t left_ms = p->until_ms - gw_clock_wall_ms();
    struct ask *a = left_ms > 0 ? NULL : ask_new(learning_ended, NULL, NULL);

    if (a)
        profile_ask(p, a);
    else
        gw_timer_start(p->ps->loop, &p->end, (uint64_t)GW_MAX(left_ms, 1000));
}

void profile_arm_end(struct profile *p)
{
    gw_timer_stop(&p->end);
    gw_timer_init(&p->end, on_end, p);
    if (p->state == GW_PROFILE_LEARNING && p->until_ms)
        gw_timer_start(p->ps->loop, &p->end, (uint64_t)GW_MAX(p->until_ms - gw_clock_wall_ms(), 0));
    names_arm(p);
}

static void tell_state(struct profile *p, const char *by)
{
    static const char *const words[] = {[GW_PROFILE_OFF] = "off",
                                        [GW_PROFILE_LEARNING] = "being learned",
                                        [GW_PROFILE_REPORTING] = "reported on",
                                        [GW_PROFILE_ENFORCING] = "enforced"};
    const char *state = gw_profile_state_text(p->state);

    profile_alert(p->ps, GW_INFO, p->device, json_pack("{s:s, s:s}", "state", state, "by", by),
                  "The profile of %s is %s", p->device, words[p->state]);
}

int gw_profile_learn(struct gw_profiles *ps, const char *device, uint64_t seconds, const char *by,
                     gw_profile_done *fn, void *owner)
{
    struct profile *p;

    if (!gw_devices_get(ps->devices, device))
        return GW_ENOTFOUND;
    if (seconds > GW_PROFILE_SECONDS_MAX)
        return GW_ETOOBIG;
    p = profile_make(ps, device);
    if (!p)
        return GW_EFULL;
    profile_forget_learned(p);
    enter(p, GW_PROFILE_LEARNING, seconds);
    tell_state(p, by);
    return profile_commit(p, fn, owner);
}

void gw_profiles_observed(struct gw_profiles *ps, const char *device, bool on)
{
    struct profile *p = on ? profile_make(ps, device) : profile_get(ps, device);

    if (!p || p->observed == on)
        return;
    if (!on)
        profile_ask_quietly(p); /* answered before the kernel forgets it */
    p->observed = on;
    (void)profile_commit(p, NULL, NULL);
}

/* ---- reporting and enforcing ---- */

static void answer(gw_profile_done *fn, void *owner, int err, const char *why)
{
    if (fn)
        fn(owner, err, why);
}

static void apply(struct profile *p, bool enforce, const char *by, gw_profile_done *fn, void *owner)
{
    int err;

    enter(p, enforce ? GW_PROFILE_ENFORCING : GW_PROFILE_REPORTING, 0);
    names_keep_used(p);
    tell_state(p, by);
    err = profile_commit(p, fn, owner);
    if (err)
        answer(fn, owner, err, "");
}

static void apply_learned(struct ask *a, struct profile *p)
{
    char why[WHY_MAX] = "";
    int err = p ? make_rules(p, why) : GW_ECLOSED;

    if (!p && !a->p->ps->closing) {
        err = GW_ENOTFOUND;
        (void)snprintf(why, sizeof(why), "it was forgotten meanwhile");
    }
    if (err)
        answer(a->fn, a->owner, err, why);
    else
        apply(p, a->enforce, a->by, a->fn, a->owner);
    free(a);
}

int gw_profile_apply(struct gw_profiles *ps, const char *device, bool enforce, const char *by,
                     gw_profile_done *fn, void *owner)
{
    struct profile *p = profile_get(ps, device);
    struct ask *a;

    if (!gw_devices_get(ps->devices, device))
        return GW_ENOTFOUND;
    if (!p) {
        answer(fn, owner, GW_ENOTFOUND, "nothing was learned or imported");
        return 0;
    }
    if (p->rules.count && p->state != GW_PROFILE_LEARNING) {
        apply(p, enforce, by, fn, owner);
        return 0;
    }
    a = ask_new(apply_learned, fn, owner);
    if (!a)
        return -ENOMEM;
    a->enforce = enforce;
    (void)snprintf(a->by, sizeof(a->by), "%s", by);
    profile_ask(p, a);
    return 0;
}

int gw_profile_off(struct gw_profiles *ps, const char *device, const char *by, gw_profile_done *fn,
                   void *owner)
{
    struct profile *p = profile_get(ps, device);

    if (!gw_devices_get(ps->devices, device))
        return GW_ENOTFOUND;
    if (!p || p->state == GW_PROFILE_OFF) {
        answer(fn, owner, 0, "");
        return 0;
    }
    if (profile_learns(p))
        profile_ask_quietly(p);
    enter(p, GW_PROFILE_OFF, 0);
    tell_state(p, by);
    return profile_commit(p, fn, owner);
}

int gw_profile_forget(struct gw_profiles *ps, const char *device, const char *by,
                      gw_profile_done *fn, void *owner)
{
    struct profile *p = profile_get(ps, device);
    bool observed = p && p->observed;
    int err;

    if (!gw_devices_get(ps->devices, device))
        return GW_ENOTFOUND;
    if (!p) {
        answer(fn, owner, 0, "");
        return 0;
    }
    profile_alert(ps, GW_INFO, device, json_pack("{s:s}", "by", by),
                  "The profile of %s is forgotten", device);
    err = profile_remove(p, fn, owner);
    if (!err && observed) /* the verdict still holds: it begins anew */
        gw_profiles_observed(ps, device, true);
    return err;
}

/* ---- limits ---- */

#define LIMIT_WORDS_MAX 128

static void limit_words(uint64_t packets, uint64_t bytes, char out[LIMIT_WORDS_MAX])
{
    static const char before[] = "may send and get, each way, at most";

    if (packets && bytes)
        (void)snprintf(out, LIMIT_WORDS_MAX,
                       "%s %" PRIu64 " packets and %" PRIu64 " bytes a second", before, packets,
                       bytes);
    else if (packets || bytes)
        (void)snprintf(out, LIMIT_WORDS_MAX, "%s %" PRIu64 " %s a second", before,
                       packets ? packets : bytes, packets ? "packets" : "bytes");
    else
        (void)snprintf(out, LIMIT_WORDS_MAX, "has no limit any more");
}

int gw_profile_limit(struct gw_profiles *ps, const char *device, uint64_t packets_per_s,
                     uint64_t bytes_per_s, const char *by, gw_profile_done *fn, void *owner)
{
    char words[LIMIT_WORDS_MAX];
    struct profile *p;

    if (!gw_devices_get(ps->devices, device))
        return GW_ENOTFOUND;
    if (packets_per_s > GW_PROFILE_PACKETS_MAX || bytes_per_s > GW_PROFILE_BYTES_MAX)
        return GW_ETOOBIG;
    p = profile_make(ps, device);
    if (!p)
        return GW_EFULL;
    p->packets_per_s = (uint32_t)packets_per_s;
    p->bytes_per_s = bytes_per_s;
    limit_words(packets_per_s, bytes_per_s, words);
    profile_alert(ps, GW_INFO, device,
                  json_pack("{s:s, s:I, s:I}", "by", by, "packets_per_s", (json_int_t)packets_per_s,
                            "bytes_per_s", (json_int_t)bytes_per_s),
                  "%s %s", device, words);
    return profile_commit(p, fn, owner);
}

/* ---- MUD files ---- */

/* An imported profile is in force as the one before it was; learning it would be thrown away. */
static int import(struct profile *p, const struct rules *rules, const struct mud_notes *notes,
                  char *mud, const char *by, gw_profile_done *fn, void *owner)
{
    take_rules(p, rules, SOURCE_MUD, notes, mud);
    if (p->state == GW_PROFILE_LEARNING)
        enter(p, GW_PROFILE_OFF, 0);
    names_keep_used(p);
    profile_alert(p->ps, GW_INFO, p->device,
                  json_pack("{s:s, s:I}", "by", by, "rules", (json_int_t)rules->count),
                  "A MUD file is the profile of %s: %zu %s", p->device, p->rules.count,
                  p->rules.count == 1 ? "rule" : "rules");
    return profile_commit(p, fn, owner);
}

int gw_profile_import(struct gw_profiles *ps, const char *device, struct gw_slice text,
                      const char *by, gw_profile_done *fn, void *owner)
{
    char why[WHY_MAX] = "";
    struct mud_notes notes;
    struct rules rules;
    struct profile *p;
    char *mud;
    int err;

    if (!gw_devices_get(ps->devices, device))
        return GW_ENOTFOUND;
    err = mud_import(text, &rules, &notes, why);
    if (err) {
        answer(fn, owner, err, why);
        return 0;
    }
    p = profile_make(ps, device);
    mud = gw_slice_dup(text);
    if (p && mud)
        return import(p, &rules, &notes, mud, by, fn, owner);
    rules_fini(&rules);
    free(mud);
    return p ? -ENOMEM : GW_EFULL;
}

json_t *gw_profile_mud(const struct gw_profiles *ps, const char *device)
{
    const struct profile *p = profile_get(ps, device);
    const struct gw_device *d = gw_devices_get(ps->devices, device);
    char url[64 + GW_DEVICE_ID_MAX], info[64 + GW_DEVICE_ID_MAX];

    if (!p || p->rules.count == 0)
        return NULL;
    (void)snprintf(url, sizeof(url), "https://cordon.local/mud/%s.json", p->device);
    (void)snprintf(info, sizeof(info), "%s, as Cordon learned it",
                   d && *d->name ? d->name : p->device);
    return mud_export(&p->rules, &(struct mud_about){.url = url,
                                                     .systeminfo = info,
                                                     .original = p->mud,
                                                     .changed_ms = p->rules_ms});
}
