/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel is told of a profile, and what it tells. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "profile/profile_priv.h"

#define RESEND_MS 100     /* a policy is told at most so often because of names */
#define RESTORE_MS 600000 /* figures alone are worth a write so often */

/* ---- telling ---- */

bool profile_learns(const struct profile *p)
{
    return p->state == GW_PROFILE_LEARNING || p->observed;
}

static unsigned flags_of(const struct profile *p)
{
    unsigned flags = profile_learns(p) ? GW_POLICY_LEARN : 0;

    if (p->state == GW_PROFILE_REPORTING)
        flags |= GW_POLICY_REPORT;
    if (p->state == GW_PROFILE_ENFORCING)
        flags |= GW_POLICY_REPORT | GW_POLICY_ENFORCE;
    return flags;
}

static bool is_needed(const struct profile *p)
{
    return flags_of(p) || p->packets_per_s || p->bytes_per_s;
}

const char *gw_profile_problem(int err)
{
    return err == GW_EFULL
               ? "the kernel's tables hold no more policies or addresses of them; forget "
                 "profiles and limits, or raise isolation.addresses"
               : gw_error_text(err);
}

static void on_answer(struct change *c, int err)
{
    struct profile *p = profile_get(c->ps, c->device);

    if (p)
        p->kernel_err = err;
    if (err && p)
        profile_alert(c->ps, GW_CRITICAL, c->device,
                      json_pack("{s:s}", "error", gw_error_name(err)),
                      "The profile of %s is not in force: %s", c->device, gw_profile_problem(err));
    change_part_done(c, err);
}

void gw_profiles_applied(struct gw_profiles *ps, uint64_t token, int err)
{
    GW_LIST_EACH(&ps->changes, node)
    {
        struct change *c = GW_LIST_ENTRY(node, struct change, node);

        if (c->token == token) {
            c->token = 0;
            on_answer(c, err);
            return;
        }
    }
}

static int send_policy(struct profile *p, uint64_t token)
{
    struct gw_profiles *ps = p->ps;
    size_t hosts = names_hosts(p, ps->hosts);

    if (!ps->enforcer)
        return GW_EUNSUPPORTED;
    rules_compile(&p->rules, ps->hosts, hosts, &ps->policy, ps->peers);
    ps->policy.number = p->number;
    ps->policy.flags = flags_of(p);
    ps->policy.packets_per_s = p->packets_per_s;
    ps->policy.bytes_per_s = p->bytes_per_s;
    p->sent_ms = gw_clock_mono_ms();
    return gw_enforcer_policy(ps->enforcer, &ps->policy, token);
}

static int send_end(const struct profile *p, uint64_t token)
{
    return p->ps->enforcer ? gw_enforcer_policy_end(p->ps->enforcer, p->number, token) : 0;
}

static void tell_addresses(const struct profile *p)
{
    if (p->ps->ops.changed)
        p->ps->ops.changed(p->ps->ops.owner, p->device);
}

/* `c`, or one of its own that waits for this answer alone; NULL: no memory. */
static struct change *answered_by(struct profile *p, struct change *c)
{
    struct change *waiting = c ? c : change_new(p->ps, p->device, NULL, NULL);

    if (!waiting)
        return NULL;
    waiting->token = ++p->ps->last_token | GW_PROFILE_TOKEN;
    if (c)
        waiting->waits++;
    return waiting;
}

/* The policy first, then the addresses that bear it. */
void profile_tell(struct profile *p, struct change *c)
{
    struct change *waiting;
    int err;

    if (!p->ps->started)
        return;
    if (!is_needed(p)) {
        profile_untell(p, c);
        return;
    }
    waiting = answered_by(p, c);
    if (!waiting)
        return;
    err = send_policy(p, waiting->token);
    if (!err && !p->sent) {
        p->sent = true;
        tell_addresses(p);
    }
    if (err)
        on_answer(waiting, err);
}

/* The addresses first, so that none bears a number that means nothing, or another's. */
void profile_untell(struct profile *p, struct change *c)
{
    struct change *waiting;
    int err;

    gw_timer_stop(&p->resend);
    if (!p->sent)
        return;
    p->sent = false;
    p->kernel_err = 0;
    tell_addresses(p);
    waiting = answered_by(p, c);
    if (!waiting)
        return;
    err = send_end(p, waiting->token);
    if (err || !p->ps->enforcer)
        on_answer(waiting, err);
}

void profile_tell_soon(struct profile *p)
{
    uint64_t next_ms = p->sent_ms + RESEND_MS, now_ms = gw_clock_mono_ms();

    if (p->sent && !gw_timer_armed(&p->resend))
        gw_timer_start(p->ps->loop, &p->resend, next_ms > now_ms ? next_ms - now_ms : 0);
}

/* ---- what was learned ---- */

static void learned_free(struct learned *l)
{
    free(l->at);
    *l = (struct learned){0};
}

static bool learned_copy(const struct gw_learning *from, struct learned *out)
{
    size_t count = GW_MIN(from->count, LEARNED_MAX);
    struct gw_learned *at = calloc(count + 1, sizeof(*at));

    if (!at)
        return false;
    if (count)
        memcpy(at, from->at, count * sizeof(*at));
    *out = (struct learned){.at = at,
                            .count = count,
                            .missed = from->missed + (from->count - count),
                            .peak_bytes_per_s = from->peak_bytes_per_s,
                            .peak_packets_per_s = from->peak_packets_per_s,
                            .at_ms = gw_clock_wall_ms()};
    return true;
}

static bool same_conversation(const struct gw_learned *a, const struct gw_learned *b)
{
    return a->port == b->port && a->protocol == b->protocol && a->direction == b->direction &&
           memcmp(&a->peer, &b->peer, sizeof(a->peer)) == 0;
}

static bool has_conversation(const struct learned *l, size_t count, const struct gw_learned *one)
{
    for (size_t i = 0; i < count; i++)
        if (same_conversation(&l->at[i], one))
            return true;
    return false;
}

/* What only the stored copy still has: the kernel's is gone with a reboot, or with larger tables.
 */
static void add_stored(const struct learned *stored, struct learned *fresh)
{
    size_t told = fresh->count;
    struct gw_learned *more = realloc(fresh->at, (told + stored->count + 1) * sizeof(*more));

    if (!more)
        return;
    fresh->at = more;
    for (size_t i = 0; i < stored->count && fresh->count < LEARNED_MAX; i++)
        if (!has_conversation(fresh, told, &stored->at[i]))
            fresh->at[fresh->count++] = stored->at[i];
    fresh->missed = GW_MAX(fresh->missed, stored->missed);
    fresh->peak_bytes_per_s = GW_MAX(fresh->peak_bytes_per_s, stored->peak_bytes_per_s);
    fresh->peak_packets_per_s = GW_MAX(fresh->peak_packets_per_s, stored->peak_packets_per_s);
}

static void keep_learned(struct profile *p, const struct gw_learning *l)
{
    struct learned fresh;
    bool worth_it;

    if (!learned_copy(l, &fresh))
        return;
    add_stored(&p->learned, &fresh);
    worth_it = fresh.count != p->learned.count || fresh.at_ms - p->learned.at_ms > RESTORE_MS;
    learned_free(&p->learned);
    p->learned = fresh;
    if (worth_it)
        profile_save(p);
}

static void ask_go_on(struct ask *a, struct profile *p)
{
    gw_list_remove(&a->node);
    gw_timer_stop(&a->patience);
    a->then(a, p);
}

void gw_profiles_learned(struct gw_profiles *ps, const struct gw_learning *l)
{
    struct profile *p = gw_map_get(&ps->by_number, GW_SLICE(&l->number, sizeof(l->number)));
    struct gw_list asks;

    if (!p)
        return;
    if (p->forgetting) {
        p->forgetting--;
        return;
    }
    keep_learned(p, l);
    gw_list_init(&asks);
    GW_LIST_EACH(&p->asks, node) /* who asks meanwhile waits for the next answer */
    {
        gw_list_remove(node);
        gw_list_append(&asks, node);
    }
    while (!gw_list_empty(&asks))
        ask_go_on(GW_LIST_ENTRY(asks.next, struct ask, node), p);
}

static void on_patience(void *owner)
{
    struct ask *a = owner;

    ask_go_on(a, a->p);
}

void profile_ask(struct profile *p, struct ask *a)
{
    struct gw_profiles *ps = p->ps;

    a->p = p;
    gw_list_append(&p->asks, &a->node);
    gw_timer_init(&a->patience, on_patience, a);
    if (!ps->enforcer || !p->sent || !profile_learns(p) ||
        gw_enforcer_learned(ps->enforcer, p->number, false) != 0)
        ask_go_on(a, p);
    else
        gw_timer_start(ps->loop, &a->patience, ANSWER_MS);
}

void profile_ask_quietly(struct profile *p)
{
    int err =
        p->ps->enforcer && p->sent ? gw_enforcer_learned(p->ps->enforcer, p->number, false) : 0;

    if (err)
        gw_log_warning("what was learned was not asked for: %s device=%s", gw_error_text(err),
                       p->device);
}

void profile_forget_learned(struct profile *p)
{
    learned_free(&p->learned);
    if (p->ps->enforcer && p->sent && gw_enforcer_learned(p->ps->enforcer, p->number, true) == 0)
        p->forgetting++;
}

void profile_asks_end(struct profile *p)
{
    while (!gw_list_empty(&p->asks))
        ask_go_on(GW_LIST_ENTRY(p->asks.next, struct ask, node), NULL);
}
