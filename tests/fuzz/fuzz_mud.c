/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mud_import on any bytes; what is read is written as a MUD file, which is read again and must be
 * the same, and made ready for the kernel.
 */
#include "fuzz.h"
#include "profile/mud.h"

static struct gw_policy policy;
static struct gw_policy_peer peers[GW_POLICY_PEERS_MAX];

static void round_trip(const struct rules *rules, const char *original)
{
    const struct mud_about about = {.url = "https://cordon.local/mud/x.json",
                                    .systeminfo = "x",
                                    .original = original,
                                    .changed_ms = 1800000000000};
    json_t *json = mud_export(rules, &about);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL, why[WHY_MAX];
    struct mud_notes notes;
    struct rules again;

    MUST(text);
    MUST(mud_import(gw_slice_str(text), &again, &notes, why) == 0);
    MUST(rules_equal(rules, &again));
    rules_fini(&again);
    free(text);
    json_decref(json);
}

static void by_json(const struct rules *rules)
{
    json_t *json = rules_json(rules);
    struct rules again;

    MUST(rules_from_json(json, &again) == 0);
    MUST(rules_equal(rules, &again));
    rules_fini(&again);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct rule_host host = {"www.example", {GW_ADDR_IPV4, 32, {0}, {198, 51, 100, 7}}};
    char *text = gw_slice_dup(GW_SLICE(data, size)), why[WHY_MAX] = "";
    struct mud_notes notes;
    struct rules rules;
    int err = mud_import(GW_SLICE(data, size), &rules, &notes, why);

    MUST(err || (rules.count > 0 && rules.count <= RULES_MAX));
    MUST(!err || *why); /* a refusal says why */
    if (!err) {
        round_trip(&rules, text);
        by_json(&rules);
        rules_compile(&rules, &host, 1, &policy, peers);
        MUST(policy.rule_count == rules.count + 2 && policy.peer_count <= GW_POLICY_PEERS_MAX);
        rules_fini(&rules);
    }
    free(text);
    return 0;
}
