/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "enforcer/bypass.h"

static char root[] = "/tmp/cordon-sys-XXXXXX";

static void make(const char *path, const char *text)
{
    char full[256];
    int fd;

    (void)snprintf(full, sizeof(full), "%s/%s", root, path);
    if (!text) {
        cr_assert_eq(mkdir(full, 0755), 0, "%s", full);
        return;
    }
    fd = open(full, O_WRONLY | O_CREAT, 0644);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void make_tree(void)
{
    cr_assert_not_null(mkdtemp(root));
    make("class", NULL);
    make("class/net", NULL);
    make("class/net/eth0", NULL);
    make("class/net/wlan0", NULL);
    make("class/net/wlan0/phy80211", NULL);
    make("class/net/sw0p1", NULL);
    make("class/net/sw0p1/phys_switch_id", "a1b2c3\n");
    make("class/net/odd", NULL);
    make("class/net/odd/phys_switch_id", "not hex");
    make("class/net/long", NULL);
    make("class/net/long/phys_switch_id",
         "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n");
    make("class/net/cpu0", NULL);
    make("class/net/cpu0/dsa", NULL);
}

static void remove_tree(void)
{
    char command[64];

    (void)snprintf(command, sizeof(command), "rm -r %s", root);
    cr_expect_eq(system(command), 0);
}

Test(bypass, reads_what_an_interface_is)
{
    static const struct {
        const char *name, *switch_id;
        bool wifi, conduit;
    } cases[] = {
        {"eth0", "", false, false},
        {"wlan0", "", true, false},
        {"sw0p1", "a1b2c3", false, false},
        {"odd", "", false, false},
        {"long", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", false, false},
        {"cpu0", "", false, true},
        {"gone", "", false, false},
    };

    make_tree();
    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_bypass_facts f = {.switch_id = "stale", .wifi = true, .offloads = true};

        gw_bypass_read(root, cases[i].name, &f);
        cr_expect_str_eq(f.switch_id, cases[i].switch_id, "%s: %s", cases[i].name, f.switch_id);
        cr_expect_eq(f.wifi, cases[i].wifi, "%s", cases[i].name);
        cr_expect_eq(f.conduit, cases[i].conduit, "%s", cases[i].name);
        cr_expect(f.offloads, "what the driver says is not asked here");
    }
    remove_tree();
}

Test(bypass, asks_the_driver_and_takes_no_answer_for_no)
{
    struct gw_bypass_facts f = {.offloads = true, .virtual = true};

    gw_bypass_ask("lo", &f);
    cr_expect(!f.offloads && !f.virtual, "the loopback is neither");
    f = (struct gw_bypass_facts){.offloads = true, .virtual = true};
    gw_bypass_ask("no-such-port", &f);
    cr_expect(!f.offloads && !f.virtual);
}

Test(bypass, names_each_way_and_no_other)
{
    const struct gw_bypass_facts plain = {0}, wifi = {.wifi = true}, conduit = {.conduit = true},
                                 chip = {.switch_id = "a1"}, offloads = {.offloads = true},
                                 veth = {.virtual = true};
    const struct {
        const char *name;
        struct gw_bypass_port port;
        uint32_t want;
    } cases[] = {
        {"a plain port", {.facts = &plain, .devices = 1}, 0},
        {"an empty one", {.facts = &plain}, 0},
        {"two devices", {.facts = &plain, .devices = 2}, GW_BYPASS_BEHIND},
        {"stations are said once", {.facts = &wifi, .devices = 9}, GW_BYPASS_WIFI},
        {"a switch's port alone", {.facts = &chip}, 0},
        {"with another in its bridge", {.facts = &chip, .siblings = true}, GW_BYPASS_SWITCH},
        {"no chip, no switch", {.facts = &plain, .siblings = true}, 0},
        {"the way to the switch", {.facts = &conduit}, GW_BYPASS_SWITCH},
        {"offload", {.facts = &offloads}, GW_BYPASS_OFFLOAD},
        {"a program before", {.facts = &plain, .before = true}, GW_BYPASS_BEFORE},
        {"veth, native", {.facts = &veth, .ingress = GW_INGRESS_NATIVE}, GW_BYPASS_SEGMENTS},
        {"veth, generic", {.facts = &veth, .ingress = GW_INGRESS_GENERIC}, 0},
        {"not a veth, native", {.facts = &plain, .ingress = GW_INGRESS_NATIVE}, 0},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(gw_bypass_of(&cases[i].port), cases[i].want, "%s: %x", cases[i].name,
                     gw_bypass_of(&cases[i].port));
}

Test(bypass, has_words_for_each)
{
    for (enum gw_bypass_bit i = 0; i < GW_BYPASS_BITS; i++) {
        cr_assert_not_null(gw_bypass_text(i));
        for (enum gw_bypass_bit k = 0; k < i; k++)
            cr_expect_str_neq(gw_bypass_text(i), gw_bypass_text(k));
    }
}
