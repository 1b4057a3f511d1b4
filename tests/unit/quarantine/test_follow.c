/* SPDX-License-Identifier: GPL-2.0-only */
/* What becomes of verdicts when the registry changes, and who may claim whose address. */
#include "world.h"

TestSuite(follow, .init = world_open, .fini = world_close);

Test(follow, a_new_address_of_a_quarantined_device_is_cut_off_at_once)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    settle();
    (void)heard(1, "192.0.2.77", "lan1");
    cr_expect_str_eq(in_kernel("192.0.2.77"), "isolate");
    (void)heard(9, "192.0.2.77", "lan1"); /* DHCP gave it to somebody else */
    cr_expect_str_eq(in_kernel("192.0.2.77"), "none");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
}

Test(follow, revoking_isolates_and_forgetting_lets_go)
{
    cr_assert_eq(gw_devices_revoke(site.devices, "cam"), 0);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "isolate");
    settle();
    cr_expect_str_eq(gw_quarantine_of_device(quarantine, "cam")->reason, "revoked");
    cr_assert_eq(gw_devices_forget(site.devices, "cam"), 0);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none");
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}

Test(follow, a_verdict_on_an_address_follows_it_to_its_identity_without_a_gap)
{
    struct gw_device *d;
    uint8_t mac[6];
    size_t before;

    cr_assert_eq(cut_off("mac-020000000009", 0), 0);
    settle();
    before = kernel.count;
    mac_of(9, mac);
    cr_assert_eq(gw_devices_prove(site.devices, "lamp", NULL, mac, &d), 0);
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "lamp"));
    cr_expect_null(gw_quarantine_of_device(quarantine, "mac-020000000009"));
    for (size_t i = before; i < kernel.count; i++)
        cr_expect_eq(kernel.sent[i].what.mode, GW_MODE_ISOLATE);
    cr_expect_str_eq(in_kernel("192.0.2.9"), "isolate");
    settle();
    restart();
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "lamp"));
    cr_expect_eq(gw_quarantine_count(quarantine), 1);
}

Test(follow, new_devices_may_only_enrol_where_that_is_configured)
{
    struct gw_device *d;
    uint8_t mac[6];

    site.config->lan.new_devices = GW_NEW_ISOLATE;
    (void)heard(20, "192.0.2.20", "lan1");
    (void)heard(21, "192.0.2.21", "lan1");
    cr_expect_str_eq(in_kernel("02:00:00:00:00:14"), "remediate");
    cr_expect_str_eq(in_kernel("192.0.2.20"), "remediate");
    settle();
    cr_assert_eq(gw_devices_approve(site.devices, "mac-020000000014", NULL, NULL), 0);
    cr_expect_str_eq(in_kernel("192.0.2.20"), "none");
    mac_of(21, mac);
    cr_assert_eq(gw_devices_prove(site.devices, "lamp", ip_of("192.0.2.21"), mac, &d), 0);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:15"), "none");
    cr_expect_str_eq(in_kernel("192.0.2.21"), "none");
    cr_expect_null(gw_quarantine_of_device(quarantine, "lamp"));
}

Test(follow, a_device_cut_off_is_no_other_by_another_link_address)
{
    (void)proved("lamp", "192.0.2.8", 8);
    cr_expect(may_claim(7, "192.0.2.1", "lan1"), "nobody is cut off");
    cr_assert_eq(cut_off("cam", 0), 0);
    settle();
    cr_expect_not(may_claim(7, "192.0.2.1", "lan1"), "an unknown one on its port");
    cr_expect_not(may_claim(9, "192.0.2.1", "lan1"), "one that nobody vouched for");
    cr_expect(may_claim(7, "192.0.2.1", "lan2"), "another port");
    cr_expect(may_claim(8, "192.0.2.1", "lan1"), "an approved one");
    cr_expect(may_claim(1, "192.0.2.1", "lan1"), "itself");
    cr_expect(may_claim(7, "192.0.2.9", "lan1"), "somebody's who is not cut off");
    cr_expect(may_claim(7, "192.0.2.77", "lan1"), "nobody's");
    cr_expect(may_claim(7, NULL, "lan1"), "nothing");
    cr_assert_eq(release("cam"), 0);
    settle();
    cr_expect(may_claim(7, "192.0.2.1", "lan1"), "after the release");
}

Test(follow, whoever_is_cut_off_takes_nobodys_address)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    cr_assert_eq(cut_off_addr("02:00:00:00:00:09"), 0);
    settle();
    (void)heard(8, "192.0.2.8", "lan2");
    cr_expect_not(may_claim(1, "192.0.2.8", "lan1"), "by its own verdict");
    cr_expect_not(may_claim(9, "192.0.2.8", "lan1"), "by its address's");
    cr_expect(may_claim(1, "192.0.2.77", "lan1"), "nobody's may be its own");
    (void)proved("door", "192.0.2.5", 0);
    cr_expect(may_claim(1, "192.0.2.5", "lan1"), "one that waits for its link address");
    site.config->lan.new_devices = GW_NEW_ISOLATE;
    cr_expect_not(may_claim(7, "192.0.2.8", "lan1"), "a new one that would be cut off");
}

Test(follow, a_merge_keeps_the_stricter_verdict)
{
    (void)proved("lamp", NULL, 0);
    cr_assert_eq(observe("lamp", 0), 0);
    cr_assert_eq(cut_off("mac-020000000009", 0), 0);
    settle();
    (void)proved("lamp", NULL, 9);
    settle();
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "lamp"));
    cr_expect_eq(gw_quarantine_of_device(quarantine, "lamp")->mode, GW_MODE_ISOLATE);
    cr_expect_str_eq(in_kernel("192.0.2.9"), "isolate");
    cr_expect_eq(gw_quarantine_count(quarantine), 1);
}

Test(follow, a_protected_address_wins_over_what_holds_for_new_devices)
{
    site.config->lan.new_devices = GW_NEW_ISOLATE;
    site.config->quarantine.protected_addrs[0] = addr_of("02:00:00:00:00:14");
    site.config->quarantine.protected_addrs[1] = addr_of("192.0.2.21");
    site.config->quarantine.protected_count = 2;
    (void)heard(20, "192.0.2.20", "lan1");
    cr_expect_str_eq(in_kernel("02:00:00:00:00:14"), "none", "the kernel is told");
    cr_expect_str_eq(in_kernel("192.0.2.20"), "none");
    (void)heard(21, NULL, "lan1");
    settle();
    cr_expect_str_eq(in_kernel("02:00:00:00:00:15"), "remediate");
    cr_expect(may_claim(21, "192.0.2.21", "lan1"), "it is only new");
    (void)heard(21, "192.0.2.21", "lan1");
    look();
    cr_expect_str_eq(in_kernel("02:00:00:00:00:15"), "none");
    cr_expect_str_eq(in_kernel("192.0.2.21"), "none");
    cr_expect_null(gw_quarantine_of_device(quarantine, "mac-020000000015"));
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}

Test(follow, whoever_is_cut_off_takes_no_protected_address)
{
    site.config->quarantine.protected_addrs[0] = addr_of("192.0.2.77");
    site.config->quarantine.protected_count = 1;
    cr_expect(may_claim(9, "192.0.2.77", "lan1"));
    cr_assert_eq(cut_off("mac-020000000009", 0), 0);
    settle();
    cr_expect_not(may_claim(9, "192.0.2.77", "lan1"));
    cr_expect(may_claim(9, "192.0.2.78", "lan1"));
}
