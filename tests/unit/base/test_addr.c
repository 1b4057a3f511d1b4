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

Test(addr, facts)
{
    enum { HOST = 1, GROUP = 2, UNICAST = 4, LINK = 8 };
    static const struct {
        const char *text;
        int facts;
    } cases[] = {
        {"02:00:00:00:00:01", HOST | UNICAST},
        {"00:00:00:00:00:00", HOST},
        {"01:00:5e:00:00:01", HOST | GROUP},
        {"ff:ff:ff:ff:ff:ff", HOST | GROUP},
        {"192.0.2.1", HOST | UNICAST},
        {"192.0.2.0/24", UNICAST},
        {"0.0.0.0", HOST},
        {"0.0.0.0/0", 0},
        {"0.1.2.3", HOST},
        {"127.0.0.1", HOST},
        {"126.255.255.255", HOST | UNICAST},
        {"128.0.0.0", HOST | UNICAST},
        {"223.255.255.255", HOST | UNICAST},
        {"224.0.0.0", HOST | GROUP},
        {"224.0.0.0/4", GROUP},
        {"239.255.255.255", HOST | GROUP},
        {"240.0.0.0", HOST},
        {"255.255.255.254", HOST},
        {"255.255.255.255", HOST | GROUP},
        {"169.254.0.0", HOST | UNICAST | LINK},
        {"169.254.0.0/16", UNICAST | LINK},
        {"169.253.255.255", HOST | UNICAST},
        {"2001:db8::1", HOST | UNICAST},
        {"2001:db8::/127", UNICAST},
        {"::", HOST},
        {"::/0", 0},
        {"::1", HOST},
        {"::2", HOST | UNICAST},
        {"1::", HOST | UNICAST},
        {"fe80::1", HOST | UNICAST | LINK},
        {"febf:ffff::", HOST | UNICAST | LINK},
        {"fec0::", HOST | UNICAST},
        {"fe7f:ffff::", HOST | UNICAST},
        {"ff02::1", HOST | GROUP},
        {"ff00::/8", GROUP},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_hwaddr a = {0};
        int facts;

        cr_assert_eq(gw_hwaddr_parse(cases[i].text, &a), 0, "%s", cases[i].text);
        facts = (gw_hwaddr_is_host(&a) ? HOST : 0) | (gw_hwaddr_is_group(&a) ? GROUP : 0) |
                (gw_hwaddr_is_unicast(&a) ? UNICAST : 0) | (gw_hwaddr_is_link_local(&a) ? LINK : 0);
        cr_expect_eq(facts, cases[i].facts, "%s: %d", cases[i].text, facts);
        cr_expect(gw_hwaddr_valid(&a), "%s", cases[i].text);
    }
}

Test(addr, what_is_none_is_not_valid)
{
    struct gw_hwaddr sound = gw_hwaddr_ipv4((const uint8_t[]){192, 0, 2, 0}), a;
    static const struct {
        const char *name;
        struct gw_hwaddr a;
    } cases[] = {
        {"of no kind", {.kind = 0}},
        {"of an unknown kind", {.kind = 4, .prefix_len = 128}},
        {"a length beyond IPv4", {.kind = GW_ADDR_IPV4, .prefix_len = 33}},
        {"a length beyond IPv6", {.kind = GW_ADDR_IPV6, .prefix_len = 129}},
        {"a length beyond all", {.kind = GW_ADDR_IPV6, .prefix_len = 255}},
        {"some MACs", {.kind = GW_ADDR_MAC, .prefix_len = 24}},
        {"padding", {.kind = GW_ADDR_IPV4, .prefix_len = 32, .pad = {0, 1}}},
        {"a bit behind its length", {.kind = GW_ADDR_IPV4, .prefix_len = 23, .bytes = {1, 2, 3}}},
        {"bytes behind a MAC", {.kind = GW_ADDR_MAC, .prefix_len = 48, .bytes = {[6] = 1}}},
        {"bytes behind IPv4", {.kind = GW_ADDR_IPV4, .prefix_len = 32, .bytes = {[15] = 1}}},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_not(gw_hwaddr_valid(&cases[i].a), "%s", cases[i].name);
    cr_expect_not(gw_hwaddr_is_unicast(&cases[0].a));
    a = gw_hwaddr_masked(&sound, 23);
    cr_expect(gw_hwaddr_valid(&a));
}

Test(addr, masked_it_is_a_network)
{
    static const struct {
        const char *text, *net;
        unsigned len;
    } cases[] = {
        {"192.0.2.255", "192.0.2.255", 32},         {"192.0.2.255", "192.0.2.254/31", 31},
        {"192.0.3.255", "192.0.2.0/23", 23},        {"192.0.2.255", "0.0.0.0/0", 0},
        {"2001:db8:1:2::3", "2001:db8:1::/48", 48}, {"2001:db8:1:2::3", "2001:db8:1:2::2/127", 127},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_hwaddr a = {0}, net = {0}, got;

        cr_assert_eq(gw_hwaddr_parse(cases[i].text, &a), 0);
        cr_assert_eq(gw_hwaddr_parse(cases[i].net, &net), 0);
        got = gw_hwaddr_masked(&a, cases[i].len);
        cr_expect_eq(memcmp(&got, &net, sizeof(net)), 0, "%s", cases[i].net);
        cr_expect(gw_hwaddr_overlaps(&a, &net) && gw_hwaddr_overlaps(&net, &a));
    }
    struct gw_hwaddr a = {0}, b = {0};

    cr_assert_eq(gw_hwaddr_parse("192.0.2.0/25", &a), 0);
    cr_assert_eq(gw_hwaddr_parse("192.0.2.128/25", &b), 0);
    cr_expect_not(gw_hwaddr_overlaps(&a, &b));
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
