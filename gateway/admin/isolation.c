/* SPDX-License-Identifier: GPL-2.0-only */
/* How the LAN ports are guarded, what could go past them, and the test that proves it. */
#include <errno.h>
#include <string.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"

#define TESTERS_MAX 16

static const char *const ingress_texts[] = {[GW_INGRESS_NONE] = "none",
                                            [GW_INGRESS_NATIVE] = "native",
                                            [GW_INGRESS_GENERIC] = "generic",
                                            [GW_INGRESS_TC] = "tc"};
static const char *const egress_texts[] = {
    [GW_EGRESS_NONE] = "none", [GW_EGRESS_TCX] = "tcx", [GW_EGRESS_CLSACT] = "clsact"};
static const char *const outcome_texts[] = {
    [GW_CHECK_PASSED] = "passed", [GW_CHECK_FAILED] = "failed", [GW_CHECK_SKIPPED] = "skipped"};

/* ---- the ports ---- */

/* By name, lan2 before lan10: the kernel numbers a port anew whenever it comes back. */
static void sort(struct links *l)
{
    for (size_t i = 1; i < l->count; i++) {
        struct gw_link_report at = l->at[i];
        struct gw_traffic traffic = l->traffic[i];
        size_t to = i;

        for (; to > 0 && strverscmp(l->at[to - 1].ifname, at.ifname) > 0; to--) {
            l->at[to] = l->at[to - 1];
            l->traffic[to] = l->traffic[to - 1];
        }
        l->at[to] = at;
        l->traffic[to] = traffic;
    }
}

void links_read(const struct gw_admin *a, struct links *out)
{
    out->count = gw_enforcer_links(a->rooms.enforcer, out->at, out->traffic, LINKS_MAX);
    out->count = GW_MIN(out->count, (size_t)LINKS_MAX);
    sort(out);
}

/* Every port covered in both directions; some not; none at all. */
static const char *isolation_text(const struct links *l)
{
    size_t covered = 0, half = 0;

    for (size_t i = 0; i < l->count; i++) {
        bool in = l->at[i].ingress != GW_INGRESS_NONE, out = l->at[i].egress != GW_EGRESS_NONE;

        covered += in && out;
        half += in != out;
    }
    if (covered + half == 0)
        return "off";
    return covered == l->count ? "enforcing" : "degraded";
}

/* The words for these bits of enum gw_bypass. */
static json_t *bypass_json(uint32_t bits)
{
    json_t *list = json_array();

    for (enum gw_bypass_bit i = 0; i < GW_BYPASS_BITS; i++)
        if (bits & 1U << i)
            json_array_append_new(list, json_string(gw_bypass_text(i)));
    return list;
}

static json_t *link_json(const struct gw_link_report *r, const struct gw_traffic *t)
{
    json_t *json = json_pack("{s:s, s:s, s:s, s:I, s:I, s:b}", "name", r->ifname, "ingress",
                             ingress_texts[r->ingress], "egress", egress_texts[r->egress],
                             "dropped_packets", (json_int_t)t->dropped_packets, "dropped_bytes",
                             (json_int_t)t->dropped_bytes, "up", r->up);

    if (*r->reason)
        json_object_set_new(json, "reason", json_string(r->reason));
    json_object_set_new(json, "bypass", bypass_json(r->bypass & ~(uint32_t)GW_BYPASS_NOTES));
    json_object_set_new(json, "notes", bypass_json(r->bypass & GW_BYPASS_NOTES));
    return json;
}

/* `test` is stolen. */
static json_t *report_json(const struct gw_admin *a, json_t *test)
{
    static struct links l; /* the loop's thread alone; too long for its stack */
    json_t *list = json_array();

    links_read(a, &l);
    for (size_t i = 0; i < l.count; i++)
        json_array_append_new(list, link_json(&l.at[i], &l.traffic[i]));
    return json_pack("{s:s, s:I, s:o, s:o}", "state", isolation_text(&l), "verdicts",
                     (json_int_t)gw_quarantine_count(a->rooms.quarantine), "interfaces", list,
                     "test", test);
}

json_t *isolation_json(const struct gw_admin *a)
{
    json_t *summary = a->tested ? json_copy(a->tested) : json_null();

    if (a->tested)
        json_object_del(summary, "checks");
    return report_json(a, summary);
}

void on_isolation(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;

    gw_http_reply_json(req, 200, report_json(a, a->tested ? json_incref(a->tested) : json_null()));
}

/* ---- the test ---- */

/* A request that waits for it. */
struct tester {
    struct wait wait;
    struct gw_list node;
};

static size_t count_of(const struct gw_selftest *t, enum gw_outcome outcome)
{
    size_t count = 0;

    for (size_t i = 0; i < t->count; i++)
        count += t->at[i].outcome == outcome;
    return count;
}

static json_t *summary_json(const struct gw_selftest *t)
{
    return json_pack("{s:o, s:I, s:I, s:I, s:I}", "at", admin_time_json(t->at_ms), "took_ms",
                     (json_int_t)t->took_ms, "passed", (json_int_t)count_of(t, GW_CHECK_PASSED),
                     "failed", (json_int_t)count_of(t, GW_CHECK_FAILED), "skipped",
                     (json_int_t)count_of(t, GW_CHECK_SKIPPED));
}

static json_t *test_json(const struct gw_selftest *t)
{
    json_t *json = summary_json(t), *list = json_array();

    for (size_t i = 0; i < t->count; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s}", "name", t->at[i].name, "where", t->at[i].where,
                            "result", outcome_texts[t->at[i].outcome], "detail", t->at[i].detail));
    json_object_set_new(json, "checks", list);
    return json;
}

static const struct gw_check *first_failed(const struct gw_selftest *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->at[i].outcome == GW_CHECK_FAILED)
            return &t->at[i];
    return NULL;
}

static void note_result(struct gw_admin *a, const struct gw_selftest *t)
{
    const struct gw_check *bad = t->error ? NULL : first_failed(t);
    struct gw_journal *j = a->rooms.journal;

    if (t->error)
        gw_journal_alert(j, GW_WARNING, "isolation-test", NULL, NULL,
                         "The isolation was not tested: %s.", t->error);
    else if (bad)
        gw_journal_alert(j, GW_CRITICAL, "isolation-test", NULL, summary_json(t),
                         "The isolation test failed in %zu of %zu checks; the first: %s%s%s: %s.",
                         count_of(t, GW_CHECK_FAILED), t->count, bad->name, *bad->where ? ", " : "",
                         bad->where, bad->detail);
    else
        gw_journal_alert(j, GW_INFO, "isolation-test", NULL, summary_json(t),
                         "The isolation test passed: %zu checks in %u ms.",
                         count_of(t, GW_CHECK_PASSED), t->took_ms);
}

static void answer(struct gw_admin *a, struct tester *waiting, const char *error)
{
    struct gw_http_request *req = wait_end(&waiting->wait);

    gw_list_remove(&waiting->node);
    if (req && error)
        gw_http_problem(req, 409, "The isolation was not tested: %s.", error);
    else if (req)
        gw_http_reply_json(req, 200, json_incref(a->tested));
    free(waiting);
}

void gw_admin_tested(struct gw_admin *a, const struct gw_selftest *t)
{
    if (!t->error) {
        json_decref(a->tested);
        a->tested = test_json(t);
    }
    note_result(a, t);
    GW_LIST_EACH(&a->testers, node)
    {
        answer(a, GW_LIST_ENTRY(node, struct tester, node), t->error);
    }
}

void on_isolation_test(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    json_auto_t *body = body_object(req, NULL, 0);
    struct tester *waiting;
    size_t others = 0;
    int err;

    if (!body)
        return;
    GW_LIST_EACH(&a->testers, node)
    {
        others++;
    }
    waiting = others < TESTERS_MAX ? calloc(1, sizeof(*waiting)) : NULL;
    if (!waiting) {
        admin_refuse(req, others < TESTERS_MAX ? -ENOMEM : GW_EQUOTA,
                     "The isolation was not tested");
        return;
    }
    wait_begin(&waiting->wait, a, req);
    gw_list_append(&a->testers, &waiting->node);
    err = others ? 0 : gw_enforcer_selftest(a->rooms.enforcer); /* one runs: that one answers */
    if (err)
        answer(a, waiting, gw_error_text(err));
}

void isolation_fini(struct gw_admin *a)
{
    GW_LIST_EACH(&a->testers, node)
    {
        gw_list_remove(node);
        free(GW_LIST_ENTRY(node, struct tester, node));
    }
    json_decref(a->tested);
}
