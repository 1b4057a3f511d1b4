/* SPDX-License-Identifier: GPL-2.0-only */
/* What one change tells the kernel, the disk and whoever waits. */
#include "world.h"

TestSuite(change, .init = world_open, .fini = world_close);

Test(change, done_waits_for_the_kernel_and_for_the_disk)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    site_settle();
    cr_expect_eq(done_count, 0, "the kernel did not answer");
    gw_quarantine_applied(quarantine, kernel.sent[0].token, 0);
    gw_quarantine_applied(quarantine, kernel.sent[0].token, 0); /* twice, and tokens never given */
    gw_quarantine_applied(quarantine, 999999, 0);
    gw_quarantine_applied(quarantine, kernel.sent[1].token, 0);
    cr_expect_eq(done_count, 0);
    gw_quarantine_applied(quarantine, kernel.sent[2].token, 0);
    cr_expect_eq(done_count, 1);

    cr_assert_eq(cut_off("cam", 60), 0);
    answer(0);
    cr_expect_eq(done_count, 0, "the disk did not answer");
    site_settle();
    cr_expect_eq(done_count, 1);
}

Test(change, a_refusal_of_the_kernel_takes_everything_back)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    gw_quarantine_applied(quarantine, kernel.sent[0].token, 0);
    gw_quarantine_applied(quarantine, kernel.sent[1].token, GW_EPROTECTED);
    gw_quarantine_applied(quarantine, kernel.sent[2].token, 0);
    kernel.answered = 3;
    site_settle();
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, GW_EPROTECTED);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "none");
    cr_expect_str_eq(take(told), "-cam;+cam;");
    settle();
    cr_expect_eq(done_count, 1);
    restart();
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"), "nor on disk");
}

Test(change, a_refused_network_throws_nobody_out)
{
    cr_assert_eq(cut_off_addr("192.0.2.0/24"), 0);
    answer(GW_EPROTECTED); /* as the kernel's side does, when the gateway is in it */
    site_settle();
    cr_expect_eq(done_err, GW_EPROTECTED);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    settle();
    cr_expect_null(strstr(told, "-cam"), "%s", told);
    cr_expect_str_eq(take(alerts), "", "whoever asked was answered");

    told[0] = '\0';
    cr_assert_eq(cut_off_addr("192.0.2.0/24"), 0);
    cr_expect_str_eq(told, "", "the kernel may refuse");
    settle();
    cr_expect_not_null(strstr(told, "-cam;"), "%s", told);
    cr_expect_str_eq(take(alerts), "quarantine ;");
}

Test(change, it_is_told_that_no_address_is_known_to_cut_off)
{
    (void)proved("new-1", NULL, 0);
    cr_assert_eq(cut_off("new-1", 0), 0);
    settle();
    cr_expect_not_null(strstr(last_json, "new-1 is cut off (no address of it is known yet): "),
                       "%s", last_json);
    cr_assert_eq(cut_off("cam", 0), 0);
    settle();
    cr_expect_not_null(strstr(last_json, "cam is cut off: "), "%s", last_json);
}

Test(change, a_refused_replacement_leaves_what_held_before)
{
    cr_assert_eq(cut_off("cam", 3600), 0);
    settle();
    cr_assert_eq(gw_quarantine_device(quarantine, "cam", GW_MODE_REMEDIATE, 0, "other", "admin",
                                      done, &quarantine),
                 0);
    answer(GW_EFULL);
    site_settle();
    cr_expect_eq(done_err, GW_EFULL);
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_ISOLATE);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "isolate");
    settle();
    restart();
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_ISOLATE);
}

Test(change, a_newer_change_is_not_taken_back_by_an_older_refusal)
{
    cr_assert_eq(cut_off("cam", 3600), 0);
    cr_assert_eq(cut_off("cam", 0), 0);
    for (int i = 0; i < 3; i++)
        gw_quarantine_applied(quarantine, kernel.sent[i].token, GW_EFULL);
    kernel.answered = 3;
    settle();
    cr_expect_eq(done_count, 2);
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->until_ms, 0);
}

Test(change, verdicts_survive_a_restart_and_are_repeated)
{
    struct gw_quarantine_place place = {0};
    unsigned found = 0;

    cr_assert_eq(cut_off("cam", 0), 0);
    cr_assert_eq(cut_off_addr("2001:db8:1::/48"), 0);
    cr_assert_eq(cut_off("mac-020000000009", 60), 0);
    settle();
    fake_now_ms += 61000; /* one ends while nobody is there */
    restart();
    cr_expect_eq(gw_quarantine_count(quarantine), 2);
    cr_expect_eq(kernel.count, 0, "not before the enforcer is there");
    gw_quarantine_start(quarantine, &kernel);
    cr_expect_eq(kernel.complete, 1);
    cr_expect_eq(kernel.count, 4);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "isolate");
    cr_expect_str_eq(in_kernel("2001:db8:1::/48"), "isolate");
    cr_expect_str_eq(take(told), "-cam;");
    cr_expect_str_eq(gw_quarantine_of_device(quarantine, "cam")->reason, "spoke too much");
    while (gw_quarantine_after(quarantine, &place))
        found++;
    cr_expect_eq(found, 2);
}

Test(change, many_are_decided_without_an_alert_each)
{
    struct gw_hwaddr a = addr_of("198.51.100.1");
    uint64_t before = gw_journal_last(site.journal);

    cr_assert_eq(gw_quarantine_addr_quietly(quarantine, &a, GW_MODE_ISOLATE, 0, "", "admin", done,
                                            &quarantine),
                 0);
    settle();
    cr_expect_str_eq(in_kernel("198.51.100.1"), "isolate");
    cr_assert_eq(gw_quarantine_release_addr_quietly(quarantine, &a, "admin", done, &quarantine), 0);
    settle();
    cr_expect_str_eq(in_kernel("198.51.100.1"), "none");
    cr_expect_eq(gw_journal_last(site.journal), before);
}

Test(change, without_an_enforcer_sessions_are_closed_and_the_alert_says_so)
{
    gw_quarantine_start(quarantine, NULL);
    cr_assert_eq(cut_off("cam", 0), 0);
    cr_expect_eq(done_count, 0, "never from within the call");
    site_settle();
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, 0);
    cr_expect_str_eq(take(told), "-cam;");
    cr_expect_not_null(strstr(last_json, "\"kernel\":false"), "%s", last_json);
}

Test(change, an_enforcer_that_cannot_be_reached_is_a_refusal)
{
    kernel.send_error = GW_ECLOSED;
    cr_assert_eq(cut_off("cam", 0), 0);
    site_settle();
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, GW_ECLOSED);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
}

Test(change, closing_answers_who_still_waits)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    gw_quarantine_close(&quarantine);
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, GW_ECLOSED);
    site_fall();
    site_rise();
    watch_journal();
    open_quarantine();
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "cam"), "what was stored stays");
}
