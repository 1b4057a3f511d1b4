/* SPDX-License-Identifier: GPL-2.0-only */
/* What an address bears beside verdicts: its device's policy, and whose alone it is. */
#include "world.h"

TestSuite(policy, .init = world_open, .fini = world_close);

#define CAM_MAC "02:00:00:00:00:01"

/* What the address bears in the kernel: "7 1" is policy 7 and bound to MAC ...:01; "-": nothing. */
static const char *borne(const char *addr)
{
    static char texts[8][32];
    static unsigned next;
    char *text = texts[next++ % 8];
    struct gw_hwaddr a = addr_of(addr);
    const struct gw_judgement *j = kernel_last(&a);

    if (!j)
        return "never";
    (void)snprintf(text, 32, "%u %s%u", j->policy, j->bound ? "bound " : "", j->owner[5]);
    return strcmp(text, "0 0") == 0 ? "-" : text;
}

static void policy_is(const char *device, uint16_t number)
{
    (void)snprintf(policy_for, sizeof(policy_for), "%s", device);
    policy_number = number;
    gw_quarantine_resend(quarantine, device);
}

/* The configuration as it is changed by `edit`, in force by a reload like SIGHUP's. */
static void reload(void (*edit)(struct gw_config *c))
{
    struct gw_config *fresh, *old = site.config;

    cr_assert_eq(gw_config_defaults(&fresh), 0);
    edit(fresh);
    site.config = fresh;
    gw_quarantine_reload(quarantine, fresh);
    gw_config_free(&old);
}

static void unchanged(struct gw_config *c)
{
    (void)c;
}

static void bind_nobody(struct gw_config *c)
{
    c->isolation.bind = false;
}

static void protect_address(struct gw_config *c)
{
    c->quarantine.protected_addrs[0] = addr_of("2001:db8::1");
    c->quarantine.protected_count = 1;
}

static void protect_device(struct gw_config *c)
{
    c->quarantine.protected_devices[0] = strdup("cam");
    c->quarantine.protected_device_count = 1;
}

static void protect_other_device(struct gw_config *c)
{
    c->quarantine.protected_devices[0] = strdup("lamp");
    c->quarantine.protected_device_count = 1;
}

Test(policy, each_address_of_a_device_bears_its_policy)
{
    policy_is("cam", 7);
    cr_expect_str_eq(borne(CAM_MAC), "7 0");
    cr_expect_str_eq(borne("192.0.2.1"), "7 bound 1");
    cr_expect_str_eq(borne("2001:db8::1"), "7 bound 1");
    cr_expect_str_eq(borne("192.0.2.9"), "never", "another's");
    (void)heard(1, "192.0.2.11", "lan1");
    cr_expect_str_eq(borne("192.0.2.11"), "7 bound 1", "one that it gains");
    policy_is("cam", 0);
    cr_expect_str_eq(borne(CAM_MAC), "-", "until it ends");
    cr_expect_str_eq(borne("192.0.2.11"), "0 bound 1");
}

Test(policy, a_verdict_and_a_policy_go_together)
{
    policy_is("cam", 7);
    cr_assert_eq(cut_off("cam", 0), 0);
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
    cr_expect_str_eq(borne("192.0.2.1"), "7 bound 1");
    settle();
    cr_assert_eq(release("cam"), 0);
    cr_expect_str_eq(in_kernel("192.0.2.1"), "none");
    cr_expect_str_eq(borne("192.0.2.1"), "7 bound 1");
    settle();
}

Test(policy, only_an_address_that_can_be_ones_own_is_bound)
{
    static const struct {
        const char *name, *addr, *want;
    } cases[] = {
        {"IPv4", "192.0.2.11", "0 bound 1"},
        {"IPv6", "2001:db8::11", "0 bound 1"},
        {"link-local IPv4", "169.254.3.4", "never"},
        {"next to link-local IPv4", "169.253.3.4", "0 bound 1"},
        {"link-local IPv6", "fe80::11", "never"},
        {"the end of link-local IPv6", "febf::11", "never"},
        {"behind link-local IPv6", "fec0::11", "0 bound 1"},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        (void)heard(1, cases[i].addr, "lan1");
        cr_expect_str_eq(borne(cases[i].addr), cases[i].want, "%s: %s", cases[i].name,
                         borne(cases[i].addr));
    }
    cr_expect_str_eq(borne(CAM_MAC), "never", "a link address is bound to nothing");
}

Test(policy, only_an_approved_device_holds_its_addresses)
{
    (void)heard(9, "192.0.2.19", "lan1");
    cr_expect_str_eq(borne("192.0.2.19"), "never", "nobody vouched for it");
    cr_assert_eq(gw_devices_approve(site.devices, "mac-020000000009", NULL, NULL), 0);
    cr_expect_str_eq(borne("192.0.2.19"), "0 bound 9");
    cr_expect_str_eq(borne("192.0.2.9"), "0 bound 9");
    cr_assert_eq(gw_devices_revoke(site.devices, "cam"), 0);
    cr_expect_str_eq(borne("192.0.2.1"), "-", "revoked, it holds nothing");
    settle();
}

Test(policy, a_second_link_address_takes_away_whose_the_others_are)
{
    uint8_t second[6];
    struct gw_device *d = NULL;

    mac_of(2, second);
    policy_is("cam", 0);
    cr_expect_str_eq(borne("192.0.2.1"), "0 bound 1");
    cr_assert_eq(gw_devices_prove(site.devices, "cam", NULL, second, &d), 0);
    cr_expect_str_eq(borne("192.0.2.1"), "-");
    cr_expect_str_eq(borne("2001:db8::1"), "-");
}

Test(policy, whoever_is_protected_has_no_policy_but_keeps_its_addresses)
{
    policy_is("cam", 7);
    reload(protect_address);
    cr_expect_str_eq(borne("192.0.2.1"), "0 bound 1", "another address of it is protected");
    cr_expect_str_eq(borne(CAM_MAC), "-");
    reload(unchanged);
    cr_expect_str_eq(borne("192.0.2.1"), "7 bound 1", "and no longer");
    cr_expect_str_eq(borne(CAM_MAC), "7 0");
    reload(protect_device);
    cr_expect_str_eq(borne("192.0.2.1"), "0 bound 1");
    cr_expect_str_eq(borne("2001:db8::1"), "0 bound 1");
    reload(protect_other_device);
    cr_expect_str_eq(borne("192.0.2.1"), "7 bound 1", "as many are protected, but others");
}

Test(policy, binding_begins_and_ends_with_a_reload)
{
    policy_is("cam", 7);
    reload(bind_nobody);
    cr_expect_str_eq(borne("192.0.2.1"), "7 0");
    cr_expect_str_eq(borne("2001:db8::1"), "7 0");
    policy_is("cam", 0);
    reload(unchanged);
    cr_expect_str_eq(borne("192.0.2.1"), "0 bound 1");
    reload(bind_nobody);
    cr_expect_str_eq(borne("192.0.2.1"), "-", "one that bears nothing any more is told, too");
}

Test(policy, a_reload_tells_what_bears_beside_a_verdict)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    settle();
    kernel_forget();
    reload(bind_nobody);
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
    cr_expect_str_eq(borne("192.0.2.1"), "-");
    settle();
}

Test(policy, a_reload_tells_each_address_once_and_only_if_it_must)
{
    size_t known = 3 + 2; /* of the camera, and of the stranger beside it */

    for (unsigned n = 100; n < 900; n++, known += 2) {
        char ip[GW_HWADDR_TEXT];

        (void)snprintf(ip, sizeof(ip), "198.51.%u.%u", n / 256, n % 256);
        (void)heard(n, ip, "lan1");
    }
    kernel_forget();
    reload(bind_nobody);
    cr_expect_eq(kernel.count, known, "%zu", kernel.count);
    kernel_forget();
    reload(bind_nobody);
    cr_expect_eq(kernel.count, 0, "nothing has changed");
    reload(protect_device);
    cr_expect_eq(kernel.count, known, "%zu", kernel.count);
    settle();
}

Test(policy, a_device_that_is_forgotten_leaves_nothing_behind)
{
    policy_is("cam", 7);
    cr_assert_eq(gw_devices_forget(site.devices, "cam"), 0);
    cr_expect_str_eq(borne(CAM_MAC), "-");
    cr_expect_str_eq(borne("192.0.2.1"), "-");
    cr_expect_str_eq(borne("2001:db8::1"), "-");
}

Test(policy, what_addresses_bear_is_repeated_after_a_restart)
{
    (void)snprintf(policy_for, sizeof(policy_for), "cam");
    policy_number = 7;
    settle();
    restart();
    gw_quarantine_start(quarantine, &kernel);
    cr_expect_str_eq(borne(CAM_MAC), "7 0");
    cr_expect_str_eq(borne("192.0.2.1"), "7 bound 1");
    cr_expect_str_eq(borne("192.0.2.9"), "never", "it bears nothing");
    cr_expect_eq(kernel.count, 3, "each once");
}
