/* SPDX-License-Identifier: GPL-2.0-only */
/* What rules make of strikes. */
#include "world.h"

TestSuite(strikes, .init = world_open, .fini = world_close);

static char isolate_text[] = "isolate", observe_text[] = "observe";

Test(strikes, too_many_strikes_in_a_window_make_a_verdict)
{
    static const struct {
        const char *name;
        enum gw_strike kind;
        unsigned times;
        uint64_t every_ms;
        const char *want; /* the mode, or "" */
    } cases[] = {
        {"19 at once", GW_STRIKE_MALFORMED, 19, 0, ""},
        {"20 at once", GW_STRIKE_MALFORMED, 20, 0, "isolate"},
        {"20 in 40 s", GW_STRIKE_MALFORMED, 20, 2000, "isolate"},
        {"one in 4 s for ever", GW_STRIKE_MALFORMED, 200, 4000, ""},
        {"failed authentications", GW_STRIKE_AUTH, 20, 0, "remediate"},
        {"refused publishes have no default rule", GW_STRIKE_DENIED, 500, 0, ""},
        {"floods neither", GW_STRIKE_FLOOD, 500, 0, ""},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        const struct gw_verdict *v;

        strike("cam", cases[i].kind, cases[i].times, cases[i].every_ms);
        v = gw_quarantine_of_device(quarantine, "cam");
        cr_expect_str_eq(v ? gw_mode_text(v->mode) : "", cases[i].want, "%s", cases[i].name);
        cr_expect(!v || strcmp(v->by, "rule") == 0);
        cr_expect(!v || v->until_ms > v->since_ms);
        if (v)
            cr_expect_eq(release("cam"), 0);
        settle();
        pass_ms(site.loop, 200000);
    }
    gw_quarantine_strike(quarantine, "nobody", GW_STRIKE_AUTH);
    gw_quarantine_strike(quarantine, "", GW_STRIKE_AUTH);
}

Test(strikes, strikes_of_different_kinds_and_devices_do_not_add_up)
{
    strike("cam", GW_STRIKE_MALFORMED, 15, 0);
    strike("cam", GW_STRIKE_AUTH, 15, 0);
    strike("mac-020000000009", GW_STRIKE_MALFORMED, 15, 0);
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}

Test(strikes, configured_rules_take_the_place_of_the_defaults)
{
    static char remediate[] = "remediate";
    static struct gw_config_rule rule = {GW_STRIKE_FLOOD, remediate, 3, 10, 0, false};
    struct gw_config_rule *before = site.config->quarantine.rules;

    site.config->quarantine.rules = &rule;
    site.config->quarantine.rule_count = 1;
    gw_quarantine_reload(quarantine, site.config);
    strike("cam", GW_STRIKE_MALFORMED, 50, 0);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    strike("cam", GW_STRIKE_FLOOD, 3, 0);
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_REMEDIATE);
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->until_ms, 0);
    cr_expect_str_eq(gw_quarantine_of_device(quarantine, "cam")->reason, "3 floods within 10 s");
    site.config->quarantine.rules = before;
    site.config->quarantine.rule_count = 0;
}

Test(strikes, without_auto_a_rule_only_tells)
{
    site.config->quarantine.auto_verdicts = false;
    strike("cam", GW_STRIKE_MALFORMED, 20, 0);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_str_eq(take(alerts), "strikes cam;");
    cr_expect_not_null(strstr(last_json, "\"dry_run\":true"), "%s", last_json);
    strike("cam", GW_STRIKE_MALFORMED, 19, 0);
    cr_expect_str_eq(take(alerts), "", "once for each twenty");
}

Test(strikes, strikes_of_a_crowd_are_bounded)
{
    char id[32];

    gw_quarantine_close(&quarantine);
    gw_devices_close(&site.devices);
    cr_assert_eq(gw_devices_open(site.loop, site.store, 6000, &site.devices), 0);
    open_quarantine();
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(id, sizeof(id), "d%u", i);
        (void)proved(id, NULL, 0);
        gw_quarantine_strike(quarantine, id, GW_STRIKE_AUTH);
    }
    strike("d0", GW_STRIKE_AUTH, 19, 0);
    cr_expect_null(gw_quarantine_of_device(quarantine, "d0"), "its first was forgotten");
    strike("d4999", GW_STRIKE_AUTH, 19, 0);
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "d4999"));
}

Test(strikes, a_dry_run_says_once_an_hour_what_it_would_have_done)
{
    rule_is(&(struct gw_config_rule){GW_STRIKE_DENIED, isolate_text, 3, 60, 600, true});
    strike("cam", GW_STRIKE_DENIED, 2, 0);
    cr_expect_str_eq(take(alerts), "");
    strike("cam", GW_STRIKE_DENIED, 1, 0);
    cr_expect_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_str_eq(take(alerts), "strikes cam;");
    cr_expect_not_null(
        strstr(last_json, "cam would have been cut off: 3 refused publishes within 60 s"), "%s",
        last_json);
    cr_expect_not_null(strstr(last_json, "\"seconds\":600"), "%s", last_json);
    strike("cam", GW_STRIKE_DENIED, 300, 0);
    cr_expect_str_eq(take(alerts), "", "not a hundred times");
    strike("mac-020000000009", GW_STRIKE_DENIED, 3, 0);
    cr_expect_str_eq(take(alerts), "strikes mac-020000000009;", "another one is another matter");
    pass_ms(site.loop, 3600 * 1000);
    strike("cam", GW_STRIKE_DENIED, 3, 0);
    cr_expect_str_eq(take(alerts), "strikes cam;");
    cr_expect_not_null(strstr(last_json, "\"not_shown\":100"), "%s", last_json);
    rules_as_before();
}

Test(strikes, a_rule_to_isolate_replaces_remediation)
{
    rule_is(&(struct gw_config_rule){GW_STRIKE_DENIED, isolate_text, 3, 60, 600, false});
    cr_assert_eq(
        gw_quarantine_device(quarantine, "cam", GW_MODE_REMEDIATE, 0, "old", "rule", NULL, NULL),
        0);
    strike("cam", GW_STRIKE_DENIED, 2, 0);
    cr_expect_eq(gw_quarantine_own(quarantine, "cam")->mode, GW_MODE_REMEDIATE);
    strike("cam", GW_STRIKE_DENIED, 1, 0);
    cr_expect_eq(gw_quarantine_own(quarantine, "cam")->mode, GW_MODE_ISOLATE);
    rules_as_before();
}

Test(strikes, a_rule_to_observe_gives_way_to_whatever_is_stricter)
{
    rule_is(&(struct gw_config_rule){GW_STRIKE_DENIED, observe_text, 2, 60, 600, false});
    strike("cam", GW_STRIKE_DENIED, 2, 0);
    cr_assert_not_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_shown(quarantine, "cam")->mode, GW_MODE_OBSERVE);
    cr_expect_str_eq(gw_quarantine_shown(quarantine, "cam")->by, "rule");
    cr_expect_eq(gw_quarantine_shown(quarantine, "cam")->until_ms, gw_clock_wall_ms() + 600000);
    settle();
    (void)take(alerts);
    strike("cam", GW_STRIKE_DENIED, 20, 0);
    cr_expect_str_eq(take(alerts), "", "observed already");
    rules_as_before();
    gw_quarantine_reload(quarantine, site.config);
    strike("cam", GW_STRIKE_MALFORMED, 20, 0);
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "cam"), "who is observed still strikes");
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_ISOLATE);
}

Test(strikes, a_protected_device_that_strikes_is_told_as_such)
{
    (void)protected_id("cam");
    strike("cam", GW_STRIKE_MALFORMED, 40, 0);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_str_eq(take(alerts), "strikes cam;");
    cr_expect_not_null(strstr(last_json, "but is protected: 20 malformed"), "%s", last_json);
    cr_expect_not_null(strstr(last_json, "\"protected\":true"), "%s", last_json);
}
