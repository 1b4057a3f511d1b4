/* SPDX-License-Identifier: GPL-2.0-only */
#include "presence/presence_priv.h"

#define DELTA_IDS_MAX 100 /* ids one interval event names; all are counted */
#define OUTAGE_MIN 5      /* fewer are no outage, whatever their share */

const char *presence_action(enum gw_cause cause)
{
    switch (cause) {
    case GW_CAUSE_KEEPALIVE:
    case GW_CAUSE_MISSED:
    case GW_CAUSE_DIVERTED:
    case GW_CAUSE_OUTAGE:
        return "timeout";
    case GW_CAUSE_CONNECT:
    case GW_CAUSE_LEFT:
    case GW_CAUSE_RESET:
    case GW_CAUSE_UNPLUGGED:
    case GW_CAUSE_ASLEEP:
    case GW_CAUSE_QUARANTINED:
    case GW_CAUSE_REVOKED:
    case GW_CAUSE_SHUTDOWN:
        return "leave";
    }
    return "leave";
}

/* ---- intervals ---- */

static void delta_add(struct delta *d, const char *id)
{
    if (!d->ids)
        d->ids = json_array();
    if (d->count++ < DELTA_IDS_MAX)
        (void)json_array_append_new(d->ids, json_string(id));
}

static void delta_put(struct delta *d, json_t *fields, const char *key)
{
    char total[32];

    if (!d->count)
        return;
    (void)snprintf(total, sizeof(total), "%s_count", key);
    (void)json_object_set_new(fields, key, GW_TAKE(d->ids));
    (void)json_object_set_new(fields, total, json_integer((json_int_t)d->count));
    d->count = 0;
}

static void on_interval(void *owner)
{
    struct gw_presence *p = owner;
    json_t *fields =
        json_pack("{s:s, s:I}", "action", "interval", "occupancy", (json_int_t)p->online);

    delta_put(&p->interval.joined, fields, "joined");
    delta_put(&p->interval.left, fields, "left");
    delta_put(&p->interval.timed_out, fields, "timed_out");
    gw_journal_presence(p->journal, "interval", "", fields);
}

/* True when the event is quiet: counted now, told with the next interval. */
static bool defer(struct entry *e, const char *action)
{
    struct gw_presence *p = e->presence;

    if (p->online <= p->config->presence.announce_max || strcmp(action, "state-change") == 0)
        return false;
    if (strcmp(action, "join") == 0)
        delta_add(&p->interval.joined, e->id);
    else if (strcmp(action, "timeout") == 0)
        delta_add(&p->interval.timed_out, e->id);
    else
        delta_add(&p->interval.left, e->id);
    if (!gw_timer_armed(&p->interval.timer))
        gw_timer_start(p->loop, &p->interval.timer,
                       (uint64_t)p->config->presence.interval_s * 1000);
    return true;
}

void presence_announce(struct entry *e, const char *action)
{
    struct gw_presence *p = e->presence;
    json_t *fields =
        json_pack("{s:s, s:s, s:s, s:s, s:I}", "action", action, "device", e->id, "cause",
                  gw_cause_text((enum gw_cause)e->cause), "status",
                  gw_status_text((enum gw_status)e->status), "occupancy", (json_int_t)p->online);

    if (e->state)
        (void)json_object_set_new(fields, "state", json_loads(e->state, JSON_DECODE_ANY, NULL));
    if (defer(e, action))
        (void)json_object_set_new(fields, "quiet", json_true());
    gw_journal_presence(p->journal, action, e->id, fields);
}

void presence_announce_init(struct gw_presence *p)
{
    gw_timer_init(&p->interval.timer, on_interval, p);
}

void presence_announce_fini(struct gw_presence *p)
{
    gw_timer_stop(&p->interval.timer);
    json_decref(p->interval.joined.ids);
    json_decref(p->interval.left.ids);
    json_decref(p->interval.timed_out.ids);
}

/* ---- outages ---- */

static void declare_outage(struct gw_presence *p)
{
    size_t lost = p->outage.lost, before = p->outage.before;

    p->outage.declared = true;
    gw_journal_alert(p->journal, GW_CRITICAL, "outage", NULL,
                     json_pack("{s:I, s:I, s:i}", "lost", (json_int_t)lost, "of",
                               (json_int_t)before, "window_s",
                               (int)p->config->presence.outage_window_s),
                     "%zu of %zu devices went silent within %u seconds", lost, before,
                     p->config->presence.outage_window_s);
}

enum gw_cause presence_outage_judge(struct entry *e, enum gw_cause cause)
{
    struct gw_presence *p = e->presence;
    uint64_t now = gw_loop_now_ms(p->loop);

    if (cause != GW_CAUSE_RESET && cause != GW_CAUSE_KEEPALIVE && cause != GW_CAUSE_MISSED &&
        cause != GW_CAUSE_UNPLUGGED)
        return cause;
    if (now - p->outage.since_ms > (uint64_t)p->config->presence.outage_window_s * 1000) {
        p->outage.since_ms = now;
        p->outage.window++;
        p->outage.lost = 0;
        p->outage.before = p->online;
        p->outage.declared = false;
    }
    p->outage.before = GW_MAX(p->outage.before, p->online);
    p->outage.lost += e->lost_in != p->outage.window; /* one that comes and goes is no outage */
    e->lost_in = p->outage.window;
    if (p->outage.declared) /* a pulled cable explains itself */
        return cause == GW_CAUSE_UNPLUGGED ? cause : GW_CAUSE_OUTAGE;
    if (p->outage.lost >= OUTAGE_MIN &&
        (double)p->outage.lost >= p->config->presence.outage_share * (double)p->outage.before)
        declare_outage(p);
    return cause;
}
