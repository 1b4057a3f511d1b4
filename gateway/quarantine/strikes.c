/* SPDX-License-Identifier: GPL-2.0-only */
/* From strikes to verdicts: who did how much of what lately, and what the rules make of it. */
#include "quarantine/quarantine_priv.h"

#define STRIKERS_MAX 4096 /* devices whose strikes are counted; the quietest is forgotten first */
#define CROWD_ALERTS 60   /* in so long, about whatever devices: the rest is counted */
#define CROWD_MS 60000
#define SAID_PAUSE_MS (3600u * 1000) /* what is only said about a device comes once an hour */

/* The last column: a healthy device may look like that, so a person decides. */
static const struct rule default_rules[] = {
    {GW_STRIKE_MALFORMED, GW_MODE_ISOLATE, 20, 60, 3600, false},
    {GW_STRIKE_AUTH, GW_MODE_REMEDIATE, 20, 60, 3600, false},
    {GW_STRIKE_HANDSHAKE, GW_MODE_REMEDIATE, 20, 60, 3600, true},
    {GW_STRIKE_WIRE_HOSTS, GW_MODE_ISOLATE, 3, 300, 3600, true},
    {GW_STRIKE_WIRE_PORTS, GW_MODE_ISOLATE, 3, 300, 3600, true},
    {GW_STRIKE_WIRE_NEIGHBOURS, GW_MODE_ISOLATE, 3, 300, 3600, true},
    {GW_STRIKE_WIRE_FLOOD, GW_MODE_ISOLATE, 3, 300, 3600, true},
    {GW_STRIKE_WIRE_FORGED, GW_MODE_ISOLATE, 3, 300, 3600, true},
    {GW_STRIKE_WIRE_SPOOFED, GW_MODE_ISOLATE, 3, 300, 3600, true},
    {GW_STRIKE_WIRE_MOVES, GW_MODE_ISOLATE, 3, 300, 3600, true},
    {GW_STRIKE_WIRE_DHCP, GW_MODE_ISOLATE, 1, 300, 3600, true},
    {GW_STRIKE_WIRE_ROUTER, GW_MODE_ISOLATE, 1, 300, 3600, true},
    {GW_STRIKE_WIRE_DEPARTURE, GW_MODE_ISOLATE, 10, 600, 3600, true},
};

/* ---- the rules ---- */

static void clear(struct gw_quarantine *q)
{
    GW_LIST_EACH(&q->strikes.recent, node)
    {
        free(GW_LIST_ENTRY(node, struct striker, node));
    }
    gw_list_init(&q->strikes.recent);
    gw_map_fini(&q->strikes.strikers);
}

static struct rule rule_of(const struct gw_config_rule *r)
{
    return (struct rule){r->strike, gw_mode_of(r->mode), r->count, r->window_s,
                         r->for_s,  r->dry_run};
}

/* Counting starts anew: the windows belong to the rules. */
void quarantine_rules(struct gw_quarantine *q)
{
    size_t configured = GW_MIN(q->config->quarantine.rule_count, (size_t)GW_CONFIG_RULES_MAX);

    _Static_assert(GW_COUNT(default_rules) <= GW_CONFIG_RULES_MAX, "the built-in rules have room");
    clear(q);
    q->strikes.crowd.burst = CROWD_ALERTS;
    q->strikes.crowd.per_ms = CROWD_MS;
    q->strikes.rule_count = configured ? configured : GW_COUNT(default_rules);
    for (size_t i = 0; i < q->strikes.rule_count; i++)
        q->strikes.rules[i] =
            configured ? rule_of(&q->config->quarantine.rules[i]) : default_rules[i];
}

void quarantine_strikes_fini(struct gw_quarantine *q)
{
    clear(q);
}

/* ---- who struck lately ---- */

static void forget_quietest(struct gw_quarantine *q)
{
    struct striker *s = GW_LIST_ENTRY(q->strikes.recent.next, struct striker, node);

    gw_list_remove(&s->node);
    gw_map_remove(&q->strikes.strikers, gw_slice_str(s->device));
    free(s);
}

static struct striker *striker_make(struct gw_quarantine *q, const char *device)
{
    struct striker *s;

    if (q->strikes.strikers.count >= STRIKERS_MAX)
        forget_quietest(q);
    s = calloc(1, sizeof(*s) + q->strikes.rule_count * sizeof(s->tallies[0]));
    if (!s)
        return NULL;
    strcpy(s->device, device);
    gw_list_init(&s->node);
    if (gw_map_put(&q->strikes.strikers, gw_slice_str(s->device), s)) {
        free(s);
        return NULL;
    }
    return s;
}

struct striker *quarantine_striker(struct gw_quarantine *q, const char *device)
{
    struct striker *s = gw_map_get_str(&q->strikes.strikers, device);

    if (!s)
        s = striker_make(q, device);
    if (!s)
        return NULL;
    gw_list_remove(&s->node);
    gw_list_append(&q->strikes.recent, &s->node);
    return s;
}

bool quarantine_may_say(struct gw_quarantine *q, struct quiet *quiet, uint64_t pause_ms)
{
    uint64_t now_ms = gw_loop_now_ms(q->loop);

    if (now_ms < quiet->until_ms || !gw_log_allowed(&q->strikes.crowd, now_ms)) {
        quiet->muted += quiet->muted < UINT32_MAX;
        return false;
    }
    quiet->until_ms = now_ms + pause_ms;
    return true;
}

void quarantine_put_muted(struct gw_quarantine *q, struct quiet *quiet, json_t *fields)
{
    (void)json_object_set_new(fields, "not_shown", json_integer(quiet->muted));
    if (q->strikes.crowd.muted)
        (void)json_object_set_new(fields, "not_shown_in_all", json_integer(q->strikes.crowd.muted));
    quiet->muted = q->strikes.crowd.muted = 0;
}

/* Counts one more; how many fell into the last `length_ms`, the older window taken in its share. */
static uint64_t count_one(struct window *w, uint64_t length_ms, uint64_t now_ms)
{
    uint64_t age = now_ms - w->start_ms;

    if (age >= 2 * length_ms) {
        *w = (struct window){.start_ms = now_ms};
        age = 0;
    } else if (age >= length_ms) {
        *w = (struct window){.start_ms = w->start_ms + length_ms, .before = w->now};
        age -= length_ms;
    }
    w->now += w->now < UINT32_MAX;
    return w->now + w->before * (length_ms - age) / length_ms;
}

/* ---- from rules to verdicts ---- */

/* "20 malformed packets within 60 s", "scan-hosts: 74 addresses in 10 s, 3 times within 300 s" */
static void reason_of(const struct rule *r, const char *figures, char out[GW_REASON_MAX + 1])
{
    const char *name = gw_strike_name(r->strike);

    if (r->strike < GW_STRIKE_WIRE_HOSTS)
        (void)snprintf(out, GW_REASON_MAX + 1, "%u %s within %u s", r->count,
                       gw_strike_counted(r->strike), r->window_s);
    else if (r->count == 1)
        (void)snprintf(out, GW_REASON_MAX + 1, "%s%s%s", name, *figures ? ": " : "", figures);
    else
        (void)snprintf(out, GW_REASON_MAX + 1, "%s%s%s, %u times within %u s", name,
                       *figures ? ": " : "", figures, r->count, r->window_s);
}

/* Nothing is done: say what would have been. */
static void only_say(struct gw_quarantine *q, struct tally *t, const struct rule *r,
                     const char *device, const char *reason, bool protected)
{
    const char *deed = gw_verdict_deed(r->mode);
    json_t *fields;

    if (!quarantine_may_say(q, &t->quiet, SAID_PAUSE_MS))
        return;
    fields = json_pack("{s:s, s:s, s:s, s:I, s:b, s:b}", "strike", gw_strike_name(r->strike),
                       "reason", reason, "mode", gw_mode_text(r->mode), "seconds",
                       (json_int_t)r->for_s, "dry_run", !protected, "protected", protected);
    quarantine_put_muted(q, &t->quiet, fields);
    gw_journal_alert(q->journal, GW_WARNING, "strikes", device, fields,
                     protected ? "%s would have been %s, but is protected: %s"
                               : "%s would have been %s: %s",
                     device, deed, reason);
}

static void act(struct gw_quarantine *q, const struct rule *r, const char *device,
                const char *reason)
{
    int err = gw_quarantine_device(q, device, r->mode, r->for_s, reason, "rule", NULL, NULL);

    if (err)
        gw_journal_alert(q->journal, GW_WARNING, "strikes", device,
                         json_pack("{s:s, s:s, s:s}", "strike", gw_strike_name(r->strike), "reason",
                                   reason, "error", gw_error_name(err)),
                         "%s was not cut off: %s", device, gw_error_text(err));
}

static void judge(struct gw_quarantine *q, struct tally *t, const struct rule *r,
                  const struct gw_device *d, const char *figures)
{
    const struct gw_verdict *held = gw_quarantine_own(q, d->id), would = {.mode = r->mode};
    bool protected = quarantine_protects_device(q, d);
    char reason[GW_REASON_MAX + 1];

    if (held && (held->mode == r->mode || quarantine_stricter(held, &would) == held))
        return; /* nothing new, and nothing milder */
    reason_of(r, figures, reason);
    if (protected || r->dry_run || !q->config->quarantine.auto_verdicts)
        only_say(q, t, r, d->id, reason, protected);
    else
        act(q, r, d->id, reason);
}

void quarantine_count(struct gw_quarantine *q, const struct gw_device *d, enum gw_strike kind,
                      const char *figures)
{
    uint64_t now_ms = gw_loop_now_ms(q->loop);
    const struct gw_verdict *own = gw_quarantine_own(q, d->id);
    struct striker *s;

    if (own && own->mode == GW_MODE_ISOLATE) /* there is nothing stricter */
        return;
    s = quarantine_striker(q, d->id);
    for (size_t i = 0; s && i < q->strikes.rule_count; i++) {
        const struct rule *r = &q->strikes.rules[i];
        struct tally *t = &s->tallies[i];

        if (r->strike != kind ||
            count_one(&t->window, (uint64_t)r->window_s * 1000, now_ms) < r->count)
            continue;
        t->window = (struct window){.start_ms = now_ms};
        judge(q, t, r, d, figures);
    }
}

void gw_quarantine_strike(struct gw_quarantine *q, const char *device, enum gw_strike kind)
{
    const struct gw_device *d = gw_devices_get(q->devices, device);

    if (d)
        quarantine_count(q, d, kind, "");
}
