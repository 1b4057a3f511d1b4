/* SPDX-License-Identifier: GPL-2.0-only */
#include "profile/learn.h"
#include "rows.h"

static struct site site;

static void setup(void)
{
    site.own[site.own_count++] = ip("192.168.7.1");
    site.own[site.own_count++] = ip("fd00:7::1");
    site.nets[site.net_count++] = ip("192.168.7.0/24");
    site.nets[site.net_count++] = ip("fd00:7::/64");
}

TestSuite(profile_learn, .init = setup);

static struct gw_learned talk(enum gw_policy_direction direction, uint8_t protocol,
                              const char *peer, uint16_t port)
{
    return (struct gw_learned){
        .direction = (uint8_t)direction, .protocol = protocol, .peer = ip(peer), .port = port};
}

Test(profile_learn, conversations_become_rules)
{
    static const struct {
        const char *name;
        struct {
            enum gw_policy_direction direction;
            uint8_t protocol;
            const char *peer;
            uint16_t port;
        } in[4];
        const char *want;
    } cases[] = {
        {"opened by the device",
         {{GW_FROM_DEVICE, 6, "198.51.100.7", 443}},
         "from 6 v4 *:443 198.51.100.7;to 6 v4 *:443! 198.51.100.7;"},
        {"opened by a neighbour",
         {{GW_TO_DEVICE, 6, "192.168.7.20", 554}},
         "from 6 v4 554:*! 192.168.7.20;to 6 v4 554:* 192.168.7.20;"},
        {"UDP has nothing that opens",
         {{GW_FROM_DEVICE, 17, "198.51.100.7", 4433}},
         "from 17 v4 *:4433 198.51.100.7;to 17 v4 *:4433 198.51.100.7;"},
        {"the gateway is a class",
         {{GW_FROM_DEVICE, 6, "192.168.7.1", 8883}, {GW_FROM_DEVICE, 6, "fd00:7::1", 8883}},
         "from 6 v* *:8883 gateway;to 6 v* *:8883! gateway;"},
        {"several peers are one rule",
         {{GW_FROM_DEVICE, 6, "198.51.100.7", 443}, {GW_FROM_DEVICE, 6, "2001:db8::5", 443}},
         "from 6 v* *:443 198.51.100.7,2001:db8::5;to 6 v* *:443! 198.51.100.7,2001:db8::5;"},
        {"a name, as it was asked for",
         {{GW_FROM_DEVICE, 6, "198.51.100.80", 443}},
         "from 6 v* *:443 a.example,b.example;to 6 v* *:443! a.example,b.example;"},
        {"a name that no MUD file can have is its address",
         {{GW_FROM_DEVICE, 6, "198.51.100.81", 443}},
         "from 6 v4 *:443 198.51.100.81;to 6 v4 *:443! 198.51.100.81;"},
        {"a group gets no answer",
         {{GW_FROM_DEVICE, 17, "224.0.0.251", 5353}},
         "from 17 v4 *:5353 224.0.0.251;"},
        {"ping",
         {{GW_FROM_DEVICE, 1, "198.51.100.7", 8}, {GW_TO_DEVICE, 58, "fd00:7::9", 128}},
         "from 1 v4 8:* 198.51.100.7;from 58 v6 129:* fd00:7::9;to 1 v4 0:* 198.51.100.7;"
         "to 58 v6 128:* fd00:7::9;"},
        {"what always passes needs no rule",
         {{GW_FROM_DEVICE, 17, "255.255.255.255", 67},
          {GW_FROM_DEVICE, 58, "ff02::2", 133},
          {GW_FROM_DEVICE, 2, "224.0.0.22", 0},
          {GW_FROM_DEVICE, 47, "198.51.100.7", 0}},
         "from 47 v4 *:* 198.51.100.7;to 47 v4 *:* 198.51.100.7;"},
        {"a lease of the gateway needs none, one of another server does",
         {{GW_FROM_DEVICE, 17, "255.255.255.255", 67},
          {GW_FROM_DEVICE, 17, "192.168.7.1", 67},
          {GW_FROM_DEVICE, 17, "192.168.7.2", 67}},
         "from 17 v4 *:67 192.168.7.2;to 17 v4 *:67 192.168.7.2;"},
    };
    const struct rule_host hosts[] = {{"b.example", ip("198.51.100.80")},
                                      {"a.example", ip("198.51.100.80")},
                                      {"a_.example", ip("198.51.100.81")},
                                      {"lan.example", ip("192.168.7.20")}};

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_learned at[4];
        struct mud_notes notes;
        struct rules r = {0};
        char why[WHY_MAX];
        size_t count = 0;

        for (; count < 4 && cases[i].in[count].peer; count++)
            at[count] = talk(cases[i].in[count].direction, cases[i].in[count].protocol,
                             cases[i].in[count].peer, cases[i].in[count].port);
        cr_assert_eq(learn_rules(at, count, hosts, GW_COUNT(hosts), &site, &r, &notes, why), 0);
        cr_expect_str_eq(rules_line(&r), cases[i].want, "%s: %s", cases[i].name, rules_line(&r));
        rules_fini(&r);
    }
}

Test(profile_learn, many_addresses_on_the_internet_are_any_and_it_is_said)
{
    struct gw_learned at[2 * LEARN_HOSTS_MAX + 2];
    struct mud_notes notes;
    struct rules r = {0};
    char why[WHY_MAX], text[32];
    size_t count = 0;

    for (unsigned i = 0; i <= LEARN_HOSTS_MAX; i++, count++) {
        (void)snprintf(text, sizeof(text), "198.51.100.%u", i);
        at[count] = talk(GW_FROM_DEVICE, 6, text, 443);
    }
    cr_assert_eq(learn_rules(at, LEARN_HOSTS_MAX, NULL, 0, &site, &r, &notes, why), 0);
    cr_expect_eq(r.at[0].peer_count, LEARN_HOSTS_MAX, "as many as may be listed");
    rules_fini(&r);
    cr_assert_eq(learn_rules(at, count, NULL, 0, &site, &r, &notes, why), 0);
    cr_expect_str_eq(rules_line(&r), "from 6 v* *:443 any;to 6 v* *:443! any;");
    cr_expect_eq(notes.count, 2);
    cr_expect_str_eq(notes.text[0], "from the device, protocol 6, the peer's port 443: 17 "
                                    "addresses, so any address is allowed");
    rules_fini(&r);
}

Test(profile_learn, many_neighbours_are_the_local_networks)
{
    struct gw_learned at[LEARN_HOSTS_MAX + 2];
    struct mud_notes notes;
    struct rules r = {0};
    char why[WHY_MAX], text[32];
    size_t count = 0;

    for (unsigned i = 0; i <= LEARN_HOSTS_MAX; i++, count++) {
        (void)snprintf(text, sizeof(text), "192.168.7.%u", i + 10);
        at[count] = talk(GW_TO_DEVICE, 6, text, 80);
    }
    at[count++] = talk(GW_TO_DEVICE, 6, "198.51.100.7", 80);
    cr_assert_eq(learn_rules(at, count, NULL, 0, &site, &r, &notes, why), 0);
    cr_expect_str_eq(rules_line(&r),
                     "from 6 v* 80:*! local,198.51.100.7;to 6 v* 80:* local,198.51.100.7;");
    rules_fini(&r);
}

Test(profile_learn, what_does_not_fit_is_refused)
{
    struct gw_learned at[RULES_MAX];
    struct mud_notes notes;
    struct rules r = {0};
    char why[WHY_MAX] = "";

    for (uint16_t i = 0; i < GW_COUNT(at); i++)
        at[i] = talk(GW_FROM_DEVICE, 6, "198.51.100.7", (uint16_t)(1000 + i));
    cr_expect_eq(learn_rules(at, RULES_MAX / 2, NULL, 0, &site, &r, &notes, why), 0);
    rules_fini(&r);
    cr_expect_eq(learn_rules(at, RULES_MAX / 2 + 1, NULL, 0, &site, &r, &notes, why), GW_EFULL);
    cr_expect(strstr(why, "at most 62 rules"), "%s", why);
    cr_expect_eq(learn_rules(at, 0, NULL, 0, &site, &r, &notes, why), GW_ENOTFOUND);
    at[0] = talk(GW_FROM_DEVICE, 17, "255.255.255.255", 67);
    cr_expect_eq(learn_rules(at, 1, NULL, 0, &site, &r, &notes, why), GW_ENOTFOUND);
}
