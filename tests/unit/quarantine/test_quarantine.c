/* SPDX-License-Identifier: GPL-2.0-only */
#include "world.h"

TestSuite(quarantine, .init = world_open, .fini = world_close);

Test(quarantine, a_device_hears_why_before_the_kernel_cuts_it_off)
{
    struct gw_hwaddr other = addr_of("192.0.2.9"), network = addr_of("192.0.2.0/24");

    cut[0] = '\0';
    kernel.count = 0;
    cr_assert_eq(
        gw_quarantine_device(quarantine, "cam", GW_MODE_ISOLATE, 0, "a", "admin", NULL, NULL), 0);
    cr_expect_str_eq(cut, "cam a 0;");
    cr_expect_gt(kernel.count, 0);
    kernel.count = 0;
    cr_assert_eq(
        gw_quarantine_addr(quarantine, &other, GW_MODE_ISOLATE, 0, "b", "admin", NULL, NULL), 0);
    cr_expect_str_eq(cut, "cam a 0;mac-020000000009 b 0;");
    cr_assert_eq(gw_quarantine_release_device(quarantine, "cam", "admin", NULL, NULL), 0);
    cr_assert_eq(
        gw_quarantine_addr(quarantine, &network, GW_MODE_ISOLATE, 0, "c", "admin", NULL, NULL), 0);
    cr_expect_str_eq(cut, "cam a 0;mac-020000000009 b 0;", "no release, and no whole network");
}

Test(quarantine, a_device_is_cut_off_by_every_address_and_let_go_again)
{
    const struct gw_verdict *v;

    cr_assert_eq(cut_off("cam", 0), 0);
    cr_expect_str_eq(take(told), "-cam;", "sessions first");
    cr_expect_eq(kernel.count, 3);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "isolate");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "isolate");
    cr_expect_str_eq(in_kernel("192.0.2.9"), "never");
    v = gw_quarantine_of_device(quarantine, "cam");
    cr_assert_not_null(v);
    cr_expect_str_eq(v->reason, "spoke too much");
    cr_expect_str_eq(v->by, "admin");
    settle();
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, 0);
    cr_expect_str_eq(take(alerts), "quarantine cam;");
    cr_expect_not_null(strstr(last_json, "\"mode\":\"isolate\""), "%s", last_json);
    cr_expect_not_null(strstr(last_json, "\"until\":null"), "%s", last_json);
    cr_expect_eq(gw_quarantine_count(quarantine), 1);

    cr_assert_eq(release("cam"), 0);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "none");
    settle();
    cr_expect_eq(done_count, 1);
    cr_expect_str_eq(take(told), "+cam;");
    cr_expect_str_eq(take(alerts), "release cam;");
    cr_expect_eq(release("cam"), GW_ENOTFOUND);
}

Test(quarantine, refuses_what_must_not_be_cut_off)
{
    static const struct {
        const char *addr;
        int want;
    } cases[] = {
        {"192.0.2.50", 0},
        {"192.0.2.0/28", 0},
        {"2001:db8::/64", 0},
        {"02:00:00:00:00:77", 0},
        {"10.0.0.5", GW_EPROTECTED},
        {"10.0.0.0/16", GW_EPROTECTED}, /* holds a protected one */
        {"10.0.0.0/28", GW_EPROTECTED},
        {"ff:ff:ff:ff:ff:ff", GW_EPROTECTED},
        {"01:00:5e:00:00:01", GW_EPROTECTED},
        {"00:00:00:00:00:00", GW_EPROTECTED},
        {"255.255.255.255", GW_EPROTECTED},
        {"224.0.0.1", GW_EPROTECTED},
        {"127.0.0.1", GW_EPROTECTED},
        {"0.0.0.0/0", GW_EPROTECTED},
        {"::/0", GW_EPROTECTED},
        {"::1", GW_EPROTECTED},
        {"ff02::1", GW_EPROTECTED},
    };

    site.config->quarantine.protected_addrs[0] = addr_of("10.0.0.0/24");
    site.config->quarantine.protected_count = 1;
    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(cut_off_addr(cases[i].addr), cases[i].want, "%s", cases[i].addr);
    (void)heard(5, "10.0.0.5", "lan1");
    cr_expect_eq(cut_off("mac-020000000005", 0), GW_EPROTECTED);
    cr_expect_eq(cut_off("nobody", 0), GW_ENOTFOUND);
}

Test(quarantine, refuses_requests_it_cannot_keep)
{
    static char longer[GW_REASON_MAX + 2];
    static const struct {
        const char *name;
        enum gw_verdict_mode mode;
        uint64_t seconds;
        const char *reason, *by;
        int want;
    } cases[] = {
        {"no mode", GW_MODE_NONE, 0, "", "admin", GW_EMALFORMED},
        {"a reason too long", GW_MODE_ISOLATE, 0, longer, "admin", GW_EMALFORMED},
        {"a reason that is no text", GW_MODE_ISOLATE, 0, "\xff", "admin", GW_EMALFORMED},
        {"an author too long", GW_MODE_ISOLATE, 0, "", longer, GW_EMALFORMED},
        {"for ever and a day", GW_MODE_ISOLATE, UINT64_MAX, "", "admin", GW_EMALFORMED},
        {"the longest reason", GW_MODE_ISOLATE, 0, longer + 1, "admin", 0},
    };

    memset(longer, 'x', sizeof(longer) - 1);
    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(gw_quarantine_device(quarantine, "cam", cases[i].mode, cases[i].seconds,
                                          cases[i].reason, cases[i].by, NULL, NULL),
                     cases[i].want, "%s", cases[i].name);
}

Test(quarantine, an_end_comes_by_itself)
{
    cr_assert_eq(cut_off("cam", 60), 0);
    cr_expect_eq(until_in_kernel("192.0.2.1"), gw_clock_wall_ms() + 60000, "the kernel knows it");
    settle();
    (void)take(told);
    pass_ms(site.loop, 59500);
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "cam"));
    pass_ms(site.loop, 600);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_str_eq(in_kernel("192.0.2.1"), "none");
    cr_expect_str_eq(take(told), "+cam;");
    settle();
    cr_expect_str_eq(take(alerts), "quarantine cam;release cam;");
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}

Test(quarantine, an_address_alone_cuts_off_nothing_else)
{
    cr_assert_eq(cut_off_addr("192.0.2.1"), 0);
    settle();
    cr_expect_eq(kernel.count, 1);
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
    cr_expect_str_eq(take(told), "-cam;", "the session of its device is closed");
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "cam"), "and refused");
    (void)heard(9, "192.0.2.1", "lan1"); /* the address moves, the verdict stays with it */
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "mac-020000000009"));
    cr_expect_str_eq(take(told), "+cam;-mac-020000000009;");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
}

Test(quarantine, a_network_reaches_the_devices_in_it)
{
    struct gw_hwaddr net = addr_of("192.0.2.0/29");

    cr_assert_eq(cut_off_addr("192.0.2.0/29"), 0);
    settle();
    cr_expect_str_eq(take(told), "-cam;");
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_null(gw_quarantine_of_device(quarantine, "mac-020000000009"));
    (void)heard(9, "192.0.2.3", "lan1");
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "mac-020000000009"));
    (void)take(told);
    cr_assert_eq(gw_quarantine_release_addr(quarantine, &net, "admin", done, &quarantine), 0);
    cr_expect_str_eq(take(told), "+cam;+mac-020000000009;");
    cr_expect_str_eq(in_kernel("192.0.2.0/29"), "none");
}

Test(quarantine, of_two_verdicts_on_an_address_the_stricter_holds)
{
    cr_assert_eq(cut_off_addr("192.0.2.1"), 0);
    cr_assert_eq(
        gw_quarantine_device(quarantine, "cam", GW_MODE_REMEDIATE, 0, "", "admin", NULL, NULL), 0);
    settle();
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "remediate");
    cr_assert_eq(release("cam"), 0);
    settle();
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate", "its own verdict is still there");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "none");
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "cam"));
}

/* The addresses from a place on, with commas. */
static const char *listed_after(struct gw_quarantine_place at)
{
    static char text[512];
    const struct gw_verdict *v;
    char addr[GW_HWADDR_TEXT];
    size_t len = 0;

    text[0] = '\0';
    while ((v = gw_quarantine_after(quarantine, &at)))
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s,",
                                *v->device ? v->device : gw_hwaddr_text(&v->addr, addr));
    return text;
}

Test(quarantine, verdicts_are_walked_in_their_order_whatever_changes_meanwhile)
{
    struct gw_hwaddr second = addr_of("198.51.100.2"), third = addr_of("198.51.100.3");
    struct gw_quarantine_place at = {0};

    cr_expect_str_eq(listed_after(at), "");
    cr_assert_eq(cut_off_addr("198.51.100.1"), 0);
    cr_assert_eq(cut_off_addr("198.51.100.2"), 0);
    cr_assert_eq(cut_off("cam", 0), 0);
    cr_assert_eq(cut_off_addr("198.51.100.3"), 0);
    settle();
    cr_expect_str_eq(listed_after(at), "198.51.100.1,198.51.100.2,cam,198.51.100.3,");
    (void)gw_quarantine_after(quarantine, &at);
    (void)gw_quarantine_after(quarantine, &at);
    cr_assert_eq(gw_quarantine_release_addr(quarantine, &second, "admin", NULL, NULL), 0);
    cr_expect_str_eq(listed_after(at), "cam,198.51.100.3,", "the one at the place is gone");
    cr_assert_eq(cut_off_addr("198.51.100.2"), 0);
    cr_expect_str_eq(listed_after(at), "cam,198.51.100.3,198.51.100.2,", "it is a new one");
    cr_assert_eq(gw_quarantine_release_addr(quarantine, &third, "admin", NULL, NULL), 0);
    cr_expect_str_eq(listed_after(at), "cam,198.51.100.2,");
    settle();
}

Test(quarantine, a_newly_protected_address_is_let_go_at_a_reload)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    settle();
    site.config->quarantine.protected_addrs[0] = addr_of("192.0.2.1");
    site.config->quarantine.protected_count = 1;
    gw_quarantine_reload(quarantine, site.config);
    cr_expect_str_eq(in_kernel("192.0.2.1"), "none");
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none", "whose device it is, with it");
    look();
    cr_expect_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_not_null(strstr(last_json, "\"by\":\"configuration\""), "%s", last_json);
}

Test(quarantine, a_verdict_to_observe_cuts_nothing_off)
{
    cut[0] = '\0';
    cr_assert_eq(observe("cam", 0), 0);
    cr_expect_str_eq(take(told), "+cam;", "no session ends");
    cr_expect_str_eq(cut, "", "and nobody needs to hear why");
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "observe");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "observe");
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_assert_not_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_shown(quarantine, "cam")->mode, GW_MODE_OBSERVE);
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
    settle();
    cr_expect_str_eq(take(alerts), "quarantine cam;");
    cr_expect_not_null(strstr(last_json, "cam is observed: looks odd"), "%s", last_json);
    cr_expect_not_null(strstr(last_json, "\"severity\":\"info\""), "%s", last_json);
    cr_expect(may_claim(1, "192.0.2.9", "lan1"), "it may take an address that goes to it");
    cr_expect(may_claim(7, "192.0.2.1", "lan1"), "and another may take its");

    restart();
    gw_quarantine_start(quarantine, &kernel);
    cr_expect_str_eq(take(told), "+cam;");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "observe", "also after a restart");
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_assert_eq(release("cam"), 0);
    settle();
    cr_expect_str_eq(in_kernel("192.0.2.1"), "none");
    cr_expect_not_null(strstr(last_json, "cam is no longer observed"), "%s", last_json);
}

Test(quarantine, whatever_cuts_off_is_stricter_than_to_observe)
{
    struct gw_hwaddr ip = addr_of("192.0.2.1"), net = addr_of("192.0.2.0/29");

    cr_assert_eq(observe("cam", 0), 0);
    cr_assert_eq(gw_quarantine_addr(quarantine, &ip, GW_MODE_REMEDIATE, 0, "", "admin", NULL, NULL),
                 0);
    settle();
    cr_expect_str_eq(in_kernel("192.0.2.1"), "remediate");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "observe");
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_REMEDIATE);
    cr_assert_eq(gw_quarantine_addr(quarantine, &net, GW_MODE_ISOLATE, 0, "", "admin", NULL, NULL),
                 0);
    settle();
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_ISOLATE);
    cr_expect_eq(gw_quarantine_own(quarantine, "cam")->mode, GW_MODE_OBSERVE);
    cr_expect_eq(gw_quarantine_count(quarantine), 2);

    cr_assert_eq(gw_quarantine_release_addr(quarantine, &net, "admin", NULL, NULL), 0);
    cr_assert_eq(gw_quarantine_addr(quarantine, &ip, GW_MODE_OBSERVE, 0, "", "admin", NULL, NULL),
                 0);
    settle();
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_count(quarantine), 0, "nothing is counted twice");
    cr_assert_eq(cut_off("cam", 0), 0);
    cr_expect_eq(gw_quarantine_count(quarantine), 1);
    settle();
    (void)take(told);
    cr_assert_eq(observe("cam", 0), 0);
    cr_expect_str_eq(take(told), "+cam;", "let in again, and observed");
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}

Test(quarantine, a_protected_device_is_never_cut_off)
{
    cr_expect_not(gw_quarantine_protected(quarantine, "cam"));
    (void)protected_id("cam");
    cr_expect(gw_quarantine_protected(quarantine, "cam"));
    cr_expect_not(gw_quarantine_protected(quarantine, "mac-020000000009"));
    cr_expect_not(gw_quarantine_protected(quarantine, "nobody"));
    cr_expect_eq(cut_off("cam", 0), GW_EPROTECTED);
    cr_expect_eq(observe("cam", 0), GW_EPROTECTED);
    cr_expect_eq(cut_off_addr("192.0.2.1"), GW_EPROTECTED, "nor by an address that it has");
    cr_expect_eq(cut_off_addr("02:00:00:00:00:01"), GW_EPROTECTED);
    cr_expect_eq(cut_off_addr("2001:db8::/64"), GW_EPROTECTED, "nor with a network");
    cr_expect_eq(cut_off_addr("192.0.2.9"), 0);
    settle();
    cr_assert_eq(gw_devices_revoke(site.devices, "cam"), 0);
    settle();
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"), "nor by policy");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "none");
}

Test(quarantine, a_protected_address_protects_the_other_addresses_of_its_device)
{
    static const char *const lists[] = {"02:00:00:00:00:01", "192.0.2.1", "192.0.2.0/30"};

    for (size_t i = 0; i < GW_COUNT(lists); i++) {
        site.config->quarantine.protected_addrs[0] = addr_of(lists[i]);
        site.config->quarantine.protected_count = 1;
        cr_expect_eq(cut_off("cam", 0), GW_EPROTECTED, "%s", lists[i]);
        cr_expect_eq(cut_off_addr("2001:db8::1"), GW_EPROTECTED, "%s", lists[i]);
        cr_expect_eq(cut_off_addr("02:00:00:00:00:01"), GW_EPROTECTED, "%s", lists[i]);
        cr_expect_eq(cut_off_addr("2001:db8:7::1"), 0, "%s", lists[i]);
        if (i < 2)
            cr_expect_eq(cut_off_addr("2001:db8::/120"), GW_EPROTECTED, "%s", lists[i]);
    }
}

Test(quarantine, a_verdict_ends_when_its_device_becomes_protected)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    cr_assert_eq(cut_off_addr("2001:db8::/64"), 0);
    cr_assert_eq(cut_off("mac-020000000009", 60), 0);
    settle();
    (void)take(told);
    (void)protected_id("cam");
    gw_quarantine_reload(quarantine, site.config);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none", "at once");
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    look();
    cr_expect_not_null(strstr(take(told), "+cam;"));
    cr_expect_str_eq(in_kernel("2001:db8::/64"), "none", "a network with an address of it, too");
    cr_expect_eq(gw_quarantine_count(quarantine), 1, "the other one stays");
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "mac-020000000009"));
}

Test(quarantine, a_configuration_changed_while_nobody_was_there_counts_from_the_start)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    settle();
    (void)protected_id("cam");
    restart();
    gw_quarantine_start(quarantine, &kernel);
    look();
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none");
    cr_expect_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}
