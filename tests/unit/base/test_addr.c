/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>

#include "base/addr.h"

Test(addr, reads_what_is_strictly_an_address)
{
    static const struct {
        const char *text;
        uint8_t kind, prefix_len;
        const char *again; /* as it is written back; NULL: the same */
    } cases[] = {
        {"02:00:00:00:00:01", GW_ADDR_MAC, 48, NULL},
        {"AA:bb:CC:dd:EE:ff", GW_ADDR_MAC, 48, "aa:bb:cc:dd:ee:ff"},
        {"192.0.2.1", GW_ADDR_IPV4, 32, NULL},
        {"192.0.2.1/32", GW_ADDR_IPV4, 32, "192.0.2.1"},
        {"192.0.2.0/24", GW_ADDR_IPV4, 24, NULL},
        {"192.0.2.128/25", GW_ADDR_IPV4, 25, NULL},
        {"0.0.0.0/0", GW_ADDR_IPV4, 0, NULL},
        {"2001:db8::/48", GW_ADDR_IPV6, 48, NULL},
        {"2001:DB8:0:0::1", GW_ADDR_IPV6, 128, "2001:db8::1"},
        {"fe80::1/128", GW_ADDR_IPV6, 128, "fe80::1"},
        {"::ffff:192.0.2.1", GW_ADDR_IPV4, 32, "192.0.2.1"},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_hwaddr a = {0};
        char text[GW_HWADDR_TEXT];
        int got = gw_hwaddr_parse(cases[i].text, &a);

        cr_assert_eq(got, 0, "%s: %s", cases[i].text, gw_error_name(got));
        cr_expect_eq(a.kind, cases[i].kind, "%s", cases[i].text);
        cr_expect_eq(a.prefix_len, cases[i].prefix_len, "%s", cases[i].text);
        cr_expect_str_eq(gw_hwaddr_text(&a, text), cases[i].again ? cases[i].again : cases[i].text);
    }
}

Test(addr, refuses_everything_else_and_leaves_the_output)
{
    static const char *const cases[] = {
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:0",
        "02:00:00:00:00:01:02",
        "02-00-00-00-00-01",
        "02:00:00:00:00:0g",
        "02:00:00:00:00:01/48",
        " 192.0.2.1",
        "192.0.2.1 ",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1/",
        "192.0.2.1/33",
        "192.0.2.0/024",
        "192.0.2.0/+24",
        "192.0.2.1/24",
        "192.0.2.0/24/24",
        "2001:db8::/129",
        "2001:db8::1/48",
        "::ffff:192.0.2.0/24",
        "fe80::1%eth0",
        "cam-1",
        "0000000000000000000000000000000000000000000000000000000000000000000000000",
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_hwaddr a = {.kind = 77};

        cr_expect_eq(gw_hwaddr_parse(cases[i], &a), GW_EMALFORMED, "'%s'", cases[i]);
        cr_expect_eq(a.kind, 77, "'%s'", cases[i]);
    }
}

Test(addr, a_network_contains_its_hosts_and_no_others)
{
    static const struct {
        const char *net, *host;
        bool want;
    } cases[] = {
        {"192.0.2.0/24", "192.0.2.255", true},
        {"192.0.2.0/24", "192.0.3.0", false},
        {"192.0.2.128/25", "192.0.2.128", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.1", "192.0.2.0/24", false},
        {"192.0.2.0/24", "192.0.2.0/25", true},
        {"0.0.0.0/0", "8.8.8.8", true},
        {"0.0.0.0/0", "::1", false},
        {"2001:db8::/47", "2001:db8:1::1", true},
        {"2001:db8::/47", "2001:db8:2::1", false},
        {"02:00:00:00:00:01", "02:00:00:00:00:01", true},
        {"02:00:00:00:00:01", "02:00:00:00:00:02", false},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_hwaddr net = {0}, host = {0};

        cr_assert_eq(gw_hwaddr_parse(cases[i].net, &net), 0);
        cr_assert_eq(gw_hwaddr_parse(cases[i].host, &host), 0);
        cr_expect_eq(gw_hwaddr_contains(&net, &host), cases[i].want, "%s in %s", cases[i].host,
                     cases[i].net);
    }
}
