/* SPDX-License-Identifier: GPL-2.0-only */
/* What is noticed on the wire. */
#include "world.h"

TestSuite(wire, .init = world_open, .fini = world_close);

static char isolate_text[] = "isolate";

static struct gw_wire_event noticed(enum gw_wire_kind kind, unsigned n)
{
    struct gw_wire_event ev = {.kind = kind, .window_ms = 10000, .ifname = "lan1"};

    mac_of(n, ev.mac);
    return ev;
}

Test(wire, what_is_noticed_on_the_wire_is_told_with_all_figures)
{
    static const struct {
        enum gw_wire_kind kind;
        bool dropped;
        uint8_t protocol;
        const char *ip, *peer;
        uint16_t port;
        uint8_t direction;
        uint32_t count, window_ms;
        const char *words[6];
    } cases[] = {
        {GW_WIRE_HOSTS,
         false,
         6,
         "192.0.2.1",
         "192.0.2.50",
         23,
         0,
         74,
         10000,
         {"scan-hosts", "many addresses (74 addresses in 10 s)", "\"count\":74",
          "\"mac\":\"02:00:00:00:00:01\"", "\"peer\":\"192.0.2.50\"", "\"port\":23"}},
        {GW_WIRE_PORTS,
         false,
         6,
         "192.0.2.1",
         "192.0.2.50",
         80,
         0,
         51,
         10000,
         {"scan-ports", "many ports (51 ports in 10 s)"}},
        {GW_WIRE_NEIGHBOURS,
         false,
         17,
         "192.0.2.1",
         NULL,
         0,
         0,
         9,
         10000,
         {"lateral", "many devices (9 devices in 10 s)"}},
        {GW_WIRE_FLOOD,
         false,
         0,
         NULL,
         NULL,
         0,
         0,
         61234,
         1000,
         {"packet-flood", "floods the network (61234 packets in 1 s)", "\"window_ms\":1000"}},
        {GW_WIRE_FORGED,
         true,
         17,
         "192.0.2.9",
         "02:00:00:00:00:09",
         0,
         0,
         3,
         1500,
         {"forged-address", "address 192.0.2.9 of mac-020000000009 (3 packets in 1.500 s); dropped",
          "\"dropped\":true", "\"ip\":\"192.0.2.9\""}},
        {GW_WIRE_SPOOFED,
         true,
         0,
         "192.0.2.254",
         "02:00:00:00:00:fe",
         0,
         0,
         1,
         10000,
         {"spoofed-neighbour", "claims the address 192.0.2.254 of 02:00:00:00:00:fe; dropped"}},
        {GW_WIRE_MOVES,
         false,
         0,
         NULL,
         NULL,
         0,
         0,
         6,
         10000,
         {"mac-flapping", "several ports by turns (6 moves in 10 s)", "\"interface\":\"lan1\""}},
        {GW_WIRE_DHCP, false, 17, NULL, NULL, 68, 0, 1, 10000, {"rogue-dhcp", "DHCP server"}},
        {GW_WIRE_ROUTER, false, 58, NULL, NULL, 0, 0, 1, 10000, {"rogue-router", "as a router"}},
        {GW_WIRE_DEPARTURE,
         true,
         6,
         "192.0.2.1",
         "198.51.100.7",
         22,
         0,
         1,
         10000,
         {"departure", "not allow: to 198.51.100.7 by TCP, port 22; dropped", "\"protocol\":6",
          "\"direction\":\"from-device\""}},
        {GW_WIRE_DEPARTURE,
         false,
         47,
         "192.0.2.1",
         NULL,
         0,
         1,
         2,
         10000,
         {"departure", "from somebody by 47 (2 packets in 10 s)", "to-device"}},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_wire_event ev = noticed(cases[i].kind, 1);
        char kind[64];

        ev.dropped = cases[i].dropped;
        ev.protocol = cases[i].protocol;
        if (cases[i].ip)
            ev.ip = addr_of(cases[i].ip);
        if (cases[i].peer)
            ev.peer = addr_of(cases[i].peer);
        ev.port = cases[i].port;
        ev.direction = cases[i].direction;
        ev.count = cases[i].count;
        ev.window_ms = cases[i].window_ms;
        told_text[0] = '\0';
        (void)take(alerts);
        gw_quarantine_wire(quarantine, &ev);
        (void)snprintf(kind, sizeof(kind), "%s cam;", cases[i].words[0]);
        cr_expect_eq(strncmp(alerts, kind, strlen(kind)), 0, "%s: %s", cases[i].words[0], alerts);
        for (size_t w = 1; w < GW_COUNT(cases[i].words) && cases[i].words[w]; w++)
            cr_expect_not_null(strstr(told_text, cases[i].words[w]), "\"%s\" not in: %s",
                               cases[i].words[w], told_text);
        pass_ms(site.loop, 3601 * 1000);
    }
    cr_expect_null(gw_quarantine_shown(quarantine, "cam"), "no heuristic cuts off by itself");
}

Test(wire, the_wire_is_heard_once_a_minute)
{
    struct gw_wire_event ev = noticed(GW_WIRE_FLOOD, 1), other = noticed(GW_WIRE_MOVES, 1),
                         nobody = noticed(GW_WIRE_FLOOD, 99);

    for (int i = 0; i < 2; i++)
        gw_quarantine_wire(quarantine, &ev);
    cr_expect_str_eq(take(alerts), "packet-flood cam;");
    gw_quarantine_wire(quarantine, &other);
    cr_expect_str_eq(take(alerts), "mac-flapping cam;", "each kind by itself");
    pass_ms(site.loop, 60000);
    gw_quarantine_wire(quarantine, &ev);
    cr_expect_eq(strncmp(take(alerts), "packet-flood cam;", 17), 0);
    cr_expect_not_null(strstr(told_text, "\"not_shown\":1"), "%s", told_text);
    for (int i = 0; i < 3; i++)
        gw_quarantine_wire(quarantine, &nobody);
    cr_expect_str_eq(take(alerts), "packet-flood ;", "a MAC of no device, too");
    ev.kind = GW_WIRE_COUNT;
    gw_quarantine_wire(quarantine, &ev);
    cr_expect_str_eq(take(alerts), "", "a kind that there is not");
}

Test(wire, a_crowd_of_made_up_macs_does_not_fill_the_journal)
{
    struct gw_wire_event ev;
    size_t told_of = 0;

    for (unsigned n = 100; n < 300; n++) {
        (void)heard(n, NULL, "lan1");
        ev = noticed(GW_WIRE_FLOOD, n);
        gw_quarantine_wire(quarantine, &ev);
        gw_quarantine_wire(quarantine, &ev);
    }
    for (const char *at = alerts; (at = strstr(at, "packet-flood")); at++)
        told_of++;
    cr_expect_eq(told_of, 60);
    told_text[0] = '\0';
    pass_ms(site.loop, 60000);
    gw_quarantine_wire(quarantine, &ev);
    cr_expect_not_null(strstr(told_text, "\"not_shown\":2"), "%s", told_text);
    cr_expect_not_null(strstr(told_text, "\"not_shown_in_all\":280"), "%s", told_text);
}

Test(wire, on_a_fresh_gateway_the_wire_only_warns)
{
    struct gw_wire_event ev = noticed(GW_WIRE_HOSTS, 1);

    ev.count = 74;
    for (int i = 0; i < 9; i++)
        gw_quarantine_wire(quarantine, &ev);
    cr_expect_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_str_eq(take(alerts), "scan-hosts cam;strikes cam;");
    cr_expect_not_null(strstr(last_json, "cam would have been cut off: scan-hosts: 74 addresses in "
                                         "10 s, 3 times within 300 s"),
                       "%s", last_json);
    cr_expect_not_null(strstr(last_json, "\"dry_run\":true"), "%s", last_json);
}

Test(wire, a_rule_cuts_off_by_what_is_noticed)
{
    struct gw_wire_event ev = noticed(GW_WIRE_HOSTS, 1);
    const struct gw_verdict *v;

    rule_is(&(struct gw_config_rule){GW_STRIKE_WIRE_HOSTS, isolate_text, 1, 60, 600, false});
    ev.count = 74;
    gw_quarantine_wire(quarantine, &ev);
    v = gw_quarantine_of_device(quarantine, "cam");
    cr_assert_not_null(v);
    cr_expect_str_eq(v->reason, "scan-hosts: 74 addresses in 10 s");
    cr_expect_str_eq(v->by, "rule");
    cr_expect_eq(v->until_ms, v->since_ms + 600000);
    rules_as_before();
}

Test(wire, kinds_have_the_names_that_the_enforcer_gives_them)
{
    static const char *const names[] = {
#define X(kind, text) [GW_WIRE_##kind] = text,
        GW_WIRE_KINDS(X)
#undef X
    };

    for (size_t i = 0; i < GW_WIRE_COUNT; i++)
        cr_expect_str_eq(gw_strike_name((enum gw_strike)(GW_STRIKE_WIRE_HOSTS + i)), names[i]);
}
