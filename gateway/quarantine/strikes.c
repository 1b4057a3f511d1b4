/* SPDX-License-Identifier: GPL-2.0-only */
#include "quarantine/quarantine_priv.h"

#include "base/log.h"

#define STRIKERS_MAX 4096 /* devices whose strikes are counted; the quietest is forgotten first */

static const struct rule default_rules[] = {
    {GW_STRIKE_MALFORMED, GW_MODE_ISOLATE, 20, 60, 3600},
    {GW_STRIKE_AUTH, GW_MODE_REMEDIATE, 20, 60, 3600},
};

/* One device's strikes; a window for each rule. */
struct striker {
    struct gw_list node;
    char device[GW_DEVICE_ID_MAX + 1];
    struct window windows[];
};

static const char *strike_text(enum gw_strike s)
{
    static const char *const texts[] = {
#define X(name, text) [GW_STRIKE_##name] = text,
        GW_STRIKES(X)
#undef X
    };

    return texts[s];
}

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
    static const char *const names[] = {"malformed", "auth", "denied", "flood"};
    struct rule rule = {GW_STRIKE_MALFORMED, GW_MODE_ISOLATE, r->count, r->window_s, r->for_s};

    for (size_t i = 0; i < GW_COUNT(names); i++)
        if (strcmp(r->strike, names[i]) == 0)
            rule.strike = (enum gw_strike)i;
    if (strcmp(r->mode, gw_mode_text(GW_MODE_REMEDIATE)) == 0)
        rule.mode = GW_MODE_REMEDIATE;
    return rule;
}

/* Counting starts anew: the windows belong to the rules. */
void quarantine_rules(struct gw_quarantine *q)
{
    size_t configured = GW_MIN(q->config->quarantine.rule_count, (size_t)GW_CONFIG_RULES_MAX);

    clear(q);
    q->strikes.rule_count = configured ? configured : GW_COUNT(default_rules);
    for (size_t i = 0; i < q->strikes.rule_count; i++)
        q->strikes.rules[i] =
            configured ? rule_of(&q->config->quarantine.rules[i]) : default_rules[i];
}

void quarantine_strikes_fini(struct gw_quarantine *q)
{
    clear(q);
}

static void forget_quietest(struct gw_quarantine *q)
{
    struct striker *s = GW_LIST_ENTRY(q->strikes.recent.next, struct striker, node);

    gw_list_remove(&s->node);
    gw_map_remove(&q->strikes.strikers, gw_slice_str(s->device));
    free(s);
}

static struct striker *striker_of(struct gw_quarantine *q, const char *device)
{
    struct striker *s = gw_map_get_str(&q->strikes.strikers, device);

    if (s)
        return s;
    if (q->strikes.strikers.count >= STRIKERS_MAX)
        forget_quietest(q);
    s = calloc(1, sizeof(*s) + q->strikes.rule_count * sizeof(s->windows[0]));
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

static void judge(struct gw_quarantine *q, const struct rule *r, const char *device)
{
    char reason[GW_REASON_MAX + 1];
    int err;

    (void)snprintf(reason, sizeof(reason), "%u %s within %u s", r->count, strike_text(r->strike),
                   r->window_s);
    if (!q->config->quarantine.auto_verdicts) {
        gw_journal_alert(q->journal, GW_WARNING, "strikes", device,
                         json_pack("{s:s, s:s, s:b}", "reason", reason, "mode",
                                   gw_mode_text(r->mode), "dry_run", 1),
                         "%s would have been cut off: %s", device, reason);
        return;
    }
    err = gw_quarantine_device(q, device, r->mode, r->for_s, reason, "rule", NULL, NULL);
    if (err)
        gw_journal_alert(q->journal, GW_WARNING, "strikes", device,
                         json_pack("{s:s, s:s}", "reason", reason, "error", gw_error_name(err)),
                         "%s was not cut off: %s", device, gw_error_text(err));
}

void gw_quarantine_strike(struct gw_quarantine *q, const char *device, enum gw_strike kind)
{
    const struct gw_device *d = gw_devices_get(q->devices, device);
    uint64_t now_ms = gw_loop_now_ms(q->loop);
    struct striker *s;

    if (!d || gw_map_get_str(&q->entries, d->id)) /* it is cut off already */
        return;
    s = striker_of(q, d->id);
    if (!s)
        return;
    gw_list_remove(&s->node);
    gw_list_append(&q->strikes.recent, &s->node);
    for (size_t i = 0; i < q->strikes.rule_count; i++) {
        const struct rule *r = &q->strikes.rules[i];

        if (r->strike != kind ||
            count_one(&s->windows[i], (uint64_t)r->window_s * 1000, now_ms) < r->count)
            continue;
        s->windows[i] = (struct window){.start_ms = now_ms};
        judge(q, r, d->id);
    }
}
