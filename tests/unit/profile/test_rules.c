/* SPDX-License-Identifier: GPL-2.0-only */
#include "profile/mud.h"
#include "rows.h"

/* ---- a random list, always the same one for a seed ---- */

static uint32_t seed;

static uint32_t roll(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static uint16_t some_port(void)
{
    static const uint16_t ports[] = {0, 1, 53, 443, 8883, 65534, 65535};

    return ports[roll(GW_COUNT(ports))];
}

static void some_ports(uint16_t *min, uint16_t *max)
{
    uint16_t a = some_port(), b = some_port();

    if (roll(3)) {
        *min = GW_MIN(a, b);
        *max = GW_MAX(a, b);
    }
}

static struct gw_policy_rule some_match(void)
{
    static const uint8_t protocols[] = {0, 1, 2, 6, 6, 6, 17, 17, 47, 58};
    struct gw_policy_rule m = rule_any((enum gw_policy_direction)roll(2));

    m.protocol = protocols[roll(GW_COUNT(protocols))];
    m.family = (uint8_t)(roll(3) ? 1 + roll(3) : 0);
    if (m.family == GW_ADDR_MAC)
        m.family = 0;
    if (m.protocol == 6 || m.protocol == 17) {
        some_ports(&m.own_min, &m.own_max);
        some_ports(&m.peer_min, &m.peer_max);
    }
    if ((m.protocol == 1 || m.protocol == 58) && roll(2))
        m.own_min = m.own_max = (uint16_t)roll(256);
    m.no_open = m.protocol == 6 && roll(2);
    return m;
}

static const char *some_peer(void)
{
    static const char *const peers[] = {"any",
                                        "local",
                                        "local",
                                        "gateway",
                                        "198.51.100.7",
                                        "192.0.2.0/24",
                                        "203.0.113.128/25",
                                        "2001:db8::1",
                                        "2001:db8:7::/48",
                                        "a.example",
                                        "b.example",
                                        "_srv.c.example",
                                        "224.0.0.251",
                                        "ff02::fb",
                                        "xn--bcher-kva.example"};

    return peers[roll(GW_COUNT(peers))];
}

static void some_rules(struct rules *out)
{
    size_t count = 1 + roll(24);

    *out = (struct rules){0};
    for (size_t i = 0; i < count; i++) {
        struct gw_policy_rule m = some_match();

        for (size_t k = 1 + roll(4); k > 0; k--) {
            struct rule_peer p = peer_of(some_peer());

            cr_assert_eq(rules_add(out, &m, &p), 0);
        }
    }
}

/* ---- what holds of each ---- */

/* Does a packet pass, by the rules as they stand? Of peers that are listed as such. */
static bool passes(const struct rules *r, const struct gw_policy_rule *packet, uint8_t family,
                   const struct rule_peer *peer)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct gw_policy_rule *m = &r->at[i].match;

        if (m->direction != packet->direction || (m->protocol && m->protocol != packet->protocol) ||
            (m->family && m->family != family) || packet->own_min < m->own_min ||
            packet->own_min > m->own_max || packet->peer_min < m->peer_min ||
            packet->peer_min > m->peer_max || (m->no_open && packet->no_open))
            continue;
        for (size_t k = 0; k < r->at[i].peer_count; k++)
            if (r->at[i].peers[k].kind == PEER_ANY ||
                memcmp(&r->at[i].peers[k], peer, sizeof(*peer)) == 0)
                return true;
    }
    return false;
}

static void expect_same_passes(const struct rules *a, const struct rules *b)
{
    for (int i = 0; i < 200; i++) {
        struct gw_policy_rule packet = some_match();
        struct rule_peer peer = peer_of(some_peer());
        uint8_t family = (uint8_t)(GW_ADDR_IPV4 + roll(2));

        packet.own_min = some_port();
        packet.peer_min = some_port();
        packet.no_open = (uint8_t)roll(2); /* here: it opens a connection */
        if (peer.kind == PEER_ANY)
            continue;
        if (peer.kind == PEER_ADDRESS)
            family = peer.address.kind;
        if (packet.protocol == 1 || packet.protocol == 58)
            family = packet.protocol == 1 ? GW_ADDR_IPV4 : GW_ADDR_IPV6;
        if (peer.kind == PEER_ADDRESS && family != peer.address.kind)
            continue;
        cr_assert_eq(passes(a, &packet, family, &peer), passes(b, &packet, family, &peer));
    }
}

Test(profile_rules, the_normal_form_allows_the_same_and_is_its_own)
{
    for (seed = 1; seed < 2000; seed += 7) {
        uint32_t begun = seed;
        struct rules plain, normal, twice;
        char why[WHY_MAX];

        some_rules(&plain);
        cr_assert_eq(rules_copy(&plain, &normal), 0);
        cr_assert_eq(rules_normalize(&normal, why), 0, "%s", why);
        cr_assert_eq(rules_copy(&normal, &twice), 0);
        cr_assert_eq(rules_normalize(&twice, why), 0);
        cr_assert(rules_equal(&normal, &twice), "seed %u: %s", begun, rules_line(&twice));
        expect_same_passes(&plain, &normal);
        rules_fini(&plain);
        rules_fini(&normal);
        rules_fini(&twice);
        seed = begun;
    }
}

Test(profile_rules, mud_and_json_files_give_back_what_they_were_made_of)
{
    const struct mud_about about = {
        .url = "https://cordon.local/mud/x.json", .systeminfo = "x", .changed_ms = 1800000000000};

    for (seed = 3; seed < 2000; seed += 7) {
        uint32_t begun = seed;
        struct rules rules, by_mud = {0}, by_json = {0};
        struct mud_notes notes;
        char why[WHY_MAX] = "", *text;
        json_t *mud, *json;

        some_rules(&rules);
        cr_assert_eq(rules_normalize(&rules, why), 0);
        mud = mud_export(&rules, &about);
        text = json_dumps(mud, 0);
        cr_assert_eq(mud_import(gw_slice_str(text), &by_mud, &notes, why), 0, "seed %u: %s", begun,
                     why);
        cr_assert(rules_equal(&rules, &by_mud), "seed %u: %s", begun, rules_line(&by_mud));
        cr_expect_eq(notes.count, 0);
        json = rules_json(&rules);
        cr_assert_eq(rules_from_json(json, &by_json), 0);
        cr_assert(rules_equal(&rules, &by_json), "seed %u", begun);
        json_decref(json);
        json_decref(mud);
        free(text);
        rules_fini(&rules);
        rules_fini(&by_mud);
        rules_fini(&by_json);
        seed = begun;
    }
}

Test(profile_rules, two_families_that_say_the_same_are_one_rule)
{
    static const struct {
        const char *name;
        struct {
            uint8_t family;
            const char *peer;
        } in[4];
        const char *want;
    } cases[] = {
        {"a name for both", {{2, "a.example"}, {3, "a.example"}}, "from 6 v* *:443 a.example;"},
        {"one family only", {{2, "a.example"}}, "from 6 v4 *:443 a.example;"},
        {"other names",
         {{2, "a.example"}, {3, "b.example"}},
         "from 6 v4 *:443 a.example;from 6 v6 *:443 b.example;"},
        {"addresses of each",
         {{2, "198.51.100.7"}, {3, "2001:db8::1"}},
         "from 6 v* *:443 198.51.100.7,2001:db8::1;"},
        {"an address of the wrong family",
         {{2, "2001:db8::1"}, {2, "gateway"}},
         "from 6 v4 *:443 gateway;"},
        {"any covers the rest",
         {{0, "any"}, {0, "198.51.100.7"}, {0, "a.example"}},
         "from 6 v* *:443 any;"},
        {"both at once", {{0, "198.51.100.7"}}, "from 6 v4 *:443 198.51.100.7;"},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct rules r = {0};
        char why[WHY_MAX];

        for (size_t k = 0; k < 4 && cases[i].in[k].peer; k++) {
            struct gw_policy_rule m = rule_any(GW_FROM_DEVICE);
            struct rule_peer p = peer_of(cases[i].in[k].peer);

            m.protocol = 6;
            m.peer_min = m.peer_max = 443;
            m.family = cases[i].in[k].family;
            cr_assert_eq(rules_add(&r, &m, &p), 0);
        }
        cr_expect_eq(rules_normalize(&r, why), 0);
        cr_expect_str_eq(rules_line(&r), cases[i].want, "%s: %s", cases[i].name, rules_line(&r));
        rules_fini(&r);
    }
}

Test(profile_rules, too_many_are_refused_with_their_number)
{
    struct rule_peer any = {.kind = PEER_ANY};
    struct rules r = {0};
    char why[WHY_MAX] = "";

    for (uint16_t i = 1; i <= RULES_MAX + 1; i++) {
        struct gw_policy_rule m = rule_any(GW_FROM_DEVICE);

        m.protocol = 6;
        m.peer_min = m.peer_max = i;
        cr_assert_eq(rules_add(&r, &m, &any), 0);
    }
    cr_expect_eq(rules_normalize(&r, why), GW_EFULL);
    cr_expect_str_eq(why, "63 rules with 63 other ends; at most 62 rules with 768 other ends fit");
    rules_fini(&r);
}

Test(profile_rules, the_kernel_gets_rules_classes_peers_and_what_names_lead_to)
{
    static struct gw_policy_peer peers[GW_POLICY_PEERS_MAX];
    static struct gw_policy p;
    const struct rule_host hosts[] = {{"a.example", ip("198.51.100.9")},
                                      {"a.example", ip("2001:db8::9")},
                                      {"other.example", ip("198.51.100.8")}};
    static const char *const ends[] = {"gateway", "192.0.2.5", "a.example"};
    struct rules r = {0};
    char why[WHY_MAX];

    for (size_t i = 0; i < GW_COUNT(ends); i++) {
        struct gw_policy_rule m = rule_any(GW_TO_DEVICE);
        struct rule_peer e = peer_of(ends[i]);

        m.protocol = 17;
        m.family = GW_ADDR_IPV4;
        cr_assert_eq(rules_add(&r, &m, &e), 0);
        m.protocol = 6;
        cr_assert_eq(rules_add(&r, &m, &e), 0);
    }
    cr_assert_eq(rules_normalize(&r, why), 0);
    rules_compile(&r, hosts, GW_COUNT(hosts), &p, peers);
    cr_expect_eq(p.rule_count, 4, "two, and the time from the gateway both ways");
    cr_expect_eq(p.any, 0);
    cr_expect_eq(p.gateway, 15);
    cr_expect_eq(p.rules[3].peer_min, 123);
    cr_expect_eq(p.rules[3].direction, GW_TO_DEVICE);
    cr_assert_eq(p.peer_count, 2, "no address of a name that nobody uses, nor of the other family");
    cr_expect_eq(memcmp(&peers[0].address, &hosts[0].address, sizeof(peers[0].address)) == 0 ||
                     memcmp(&peers[1].address, &hosts[0].address, sizeof(peers[0].address)) == 0,
                 1);
    cr_expect_eq(peers[0].rules, 3);
    rules_fini(&r);
}

Test(profile_rules, host_names_have_one_form)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"Time.Example.COM.", "time.example.com"},
        {"a", "a"},
        {"_mqtt._tcp.example", "_mqtt._tcp.example"},
        {"", NULL},
        {".", NULL},
        {"a..b", NULL},
        {".a", NULL},
        {"-a.example", NULL},
        {"a-.example", NULL},
        {"a b", NULL},
        {"a/b", NULL},
        {"*.example", NULL},
        {"\xc3\xa4.example", NULL},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example", NULL},
    };
    char out[DNS_NAME_MAX + 1], huge[300];

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        bool ok = dns_name_normal(cases[i].text, strlen(cases[i].text), out);

        cr_expect_eq(ok, cases[i].want != NULL, "%s", cases[i].text);
        if (ok && cases[i].want)
            cr_expect_str_eq(out, cases[i].want);
    }
    for (size_t i = 0; i < sizeof(huge); i++)
        huge[i] = i % 2 ? '.' : 'a';
    cr_expect(dns_name_writable("_mqtt._tcp.a_b.example"));
    cr_expect_not(dns_name_writable("a_.example"));
    cr_expect_not(dns_name_writable("_.example"));
    cr_expect_not(dns_name_writable("example_"));
    cr_expect(dns_name_normal(huge, 253, out));
    cr_expect_not(dns_name_normal(huge, 255, out));
}
