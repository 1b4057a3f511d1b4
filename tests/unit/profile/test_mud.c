/* SPDX-License-Identifier: GPL-2.0-only */
#include "profile/mud.h"
#include "rows.h"

/* A file with one entry in one list, single quotes for double ones. */
static char *file_with(const char *head, const char *policy, const char *type, const char *aces)
{
    char *text = NULL;

    cr_assert(asprintf(&text,
                       "{'ietf-mud:mud':{%s,'%s':{'access-lists':{'access-list':[{'name':'l'}]}}},"
                       "'ietf-access-control-list:acls':{'acl':[{'name':'l'%s%s%s,'aces':{'ace':"
                       "[%s]}}]}}",
                       head, policy, *type ? ",'type':'" : "", type, *type ? "'" : "", aces) > 0);
    for (char *c = text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    return text;
}

#define HEAD                                                                                       \
    "'mud-version':1,'mud-url':'https://maker.example/bulb','last-update':"                        \
    "'2026-11-22T06:19:00Z','is-supported':true"
#define ACE(matches) "{'name':'e','matches':{" matches "},'actions':{'forwarding':'accept'}}"
#define V4 "ipv4-acl-type"
#define V6 "ipv6-acl-type"
#define FROM "from-device-policy"
#define TO "to-device-policy"

static int read_file(const char *head, const char *policy, const char *type, const char *aces,
                     struct rules *rules, struct mud_notes *notes, char why[WHY_MAX])
{
    char *text = file_with(head, policy, type, aces);
    int err = mud_import(gw_slice_str(text), rules, notes, why);

    free(text);
    return err;
}

Test(profile_mud, entries_become_rules)
{
    static const struct {
        const char *name, *policy, *type, *ace, *want;
    } cases[] = {
        {"RFC 8520 §9, from the device", FROM, V6,
         ACE("'ipv6':{'ietf-acldns:dst-dnsname':'Test.Example.com','protocol':6},"
             "'tcp':{'ietf-mud:direction-initiated':'from-device',"
             "'destination-port':{'operator':'eq','port':443}}"),
         "from 6 v6 *:443 test.example.com;"},
        {"RFC 8520 §9, to the device", TO, V6,
         ACE("'ipv6':{'ietf-acldns:src-dnsname':'test.example.com','protocol':6},"
             "'tcp':{'ietf-mud:direction-initiated':'from-device',"
             "'source-port':{'operator':'eq','port':443}}"),
         "to 6 v6 *:443! test.example.com;"},
        {"what the peer opens is not opened by the device", FROM, V4,
         ACE("'ipv4':{},'tcp':{'ietf-mud:direction-initiated':'to-device'}"),
         "from 6 v4 *:*! any;"},
        {"a range and a bound", FROM, V4,
         ACE("'ipv4':{'destination-ipv4-network':'198.51.100.0/24'},'udp':{'source-port':"
             "{'lower-port':1024,'upper-port':2048},'destination-port':{'operator':'gte',"
             "'port':5000}}"),
         "from 17 v4 1024-2048:5000-65535 198.51.100.0/24;"},
        {"no operator is eq", TO, V4,
         ACE("'ipv4':{'protocol':17},'udp':{'destination-port':{'port':53}}"),
         "to 17 v4 53:* any;"},
        {"up to", TO, V4, ACE("'udp':{'destination-port':{'operator':'lte','port':9}}"),
         "to 17 v4 0-9:* any;"},
        {"the local networks", FROM, V4, ACE("'ietf-mud:mud':{'local-networks':[null]}"),
         "from 0 v4 *:* local;"},
        {"my controller", TO, V4, ACE("'ietf-mud:mud':{'my-controller':[null]},'ipv4':{}"),
         "to 0 v4 *:* gateway;"},
        {"a controller by its URN", FROM, V4,
         ACE("'ietf-mud:mud':{'controller':'urn:ietf:params:mud:ntp'},'ipv4':{'protocol':17},"
             "'udp':{'destination-port':{'operator':'eq','port':123}}"),
         "from 17 v4 *:123 gateway;"},
        {"ICMP of version 4", FROM, V4, ACE("'ipv4':{},'icmp':{'type':8}"), "from 1 v4 8:* any;"},
        {"ICMP of version 6", FROM, V6, ACE("'ipv6':{},'icmp':{'type':128}"),
         "from 58 v6 128:* any;"},
        {"all of a protocol", FROM, V4, ACE("'ipv4':{'protocol':47}"), "from 47 v4 *:* any;"},
        {"without a type", FROM, "", ACE("'ipv4':{'protocol':2}"), "from 2 v4 *:* any;"},
        {"a qualified type", FROM, "ietf-access-control-list:ipv4-acl-type",
         ACE("'ipv4':{'protocol':2}"), "from 2 v4 *:* any;"},
        {"a network of length 0 is any", FROM, V4,
         ACE("'ipv4':{'destination-ipv4-network':'0.0.0.0/0'}"), "from 0 v4 *:* any;"},
        {"two entries, one rule", FROM, V4,
         ACE("'ipv4':{'ietf-acldns:dst-dnsname':'b.example'},'tcp':{}") "," ACE(
             "'ipv4':{'ietf-acldns:dst-dnsname':'a.example','protocol':6}"),
         "from 6 v4 *:* a.example,b.example;"},
        {"the rest is dropped", FROM, V4,
         ACE("'tcp':{}") ",{'name':'end','actions':{'forwarding':'drop'}}", "from 6 v4 *:* any;"},
        {"the rest is rejected", FROM, V4,
         ACE("'tcp':{}") ",{'name':'end','matches':{'ipv4':{}},'actions':{'forwarding':"
                         "'ietf-access-control-list:reject'}}",
         "from 6 v4 *:* any;"},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct rules r = {0};
        struct mud_notes notes;
        char why[WHY_MAX] = "";
        int err = read_file(HEAD, cases[i].policy, cases[i].type, cases[i].ace, &r, &notes, why);

        cr_expect_eq(err, 0, "%s: %s", cases[i].name, why);
        cr_expect_str_eq(rules_line(&r), cases[i].want, "%s: %s", cases[i].name, rules_line(&r));
        cr_expect_eq(err ? 0 : notes.count, 0, "%s", cases[i].name);
        rules_fini(&r);
    }
}

Test(profile_mud, what_cannot_be_kept_is_refused_by_its_place)
{
    static const struct {
        const char *name, *policy, *ace;
        int err;
        const char *why;
    } cases[] = {
        {"same manufacturer", FROM, ACE("'ietf-mud:mud':{'same-manufacturer':[null]}"),
         GW_EUNSUPPORTED, "list \"l\", entry \"e\": \"same-manufacturer\" is not supported"},
        {"manufacturer", FROM, ACE("'ietf-mud:mud':{'manufacturer':'maker.example'}"),
         GW_EUNSUPPORTED, "\"manufacturer\" is not supported"},
        {"model", FROM, ACE("'ietf-mud:mud':{'model':'https://maker.example/x'}"), GW_EUNSUPPORTED,
         "\"model\" is not supported"},
        {"an extension's class", FROM, ACE("'ietf-mud:mud':{'x:clan':[null]}"), GW_EUNSUPPORTED,
         "the class \"x:clan\" is not supported"},
        {"two classes", FROM,
         ACE("'ietf-mud:mud':{'local-networks':[null],'my-controller':[null]}"), GW_EUNSUPPORTED,
         "two other ends"},
        {"a class and a name", FROM,
         ACE("'ietf-mud:mud':{'local-networks':[null]},'ipv4':{'ietf-acldns:dst-dnsname':'a'}"),
         GW_EUNSUPPORTED, "two other ends"},
        {"the device's own name", FROM, ACE("'ipv4':{'ietf-acldns:src-dnsname':'me.example'}"),
         GW_EUNSUPPORTED, "names the device itself"},
        {"its own address", TO, ACE("'ipv4':{'destination-ipv4-network':'192.0.2.1/32'}"),
         GW_EUNSUPPORTED, "names the device itself"},
        {"an unknown header", FROM, ACE("'eth':{}"), GW_EUNSUPPORTED,
         "a match on \"eth\" is not supported"},
        {"an unknown field of IP", FROM, ACE("'ipv4':{'dscp':4}"), GW_EUNSUPPORTED,
         "a match on \"dscp\""},
        {"an augmentation of IP", FROM, ACE("'ipv4':{'x:colour':4}"), GW_EUNSUPPORTED,
         "a match on \"x:colour\""},
        {"TCP flags", FROM, ACE("'tcp':{'flags':'syn'}"), GW_EUNSUPPORTED, "a match on \"flags\""},
        {"an interface", FROM, ACE("'egress-interface':'eth0'"), GW_EUNSUPPORTED,
         "a match on \"egress-interface\""},
        {"ports of neither", FROM, ACE("'udp':{'source-port':{'operator':'neq','port':5}}"),
         GW_EUNSUPPORTED, "the operator \"neq\""},
        {"a port that is none", FROM, ACE("'udp':{'source-port':{'operator':'eq','port':65536}}"),
         GW_EMALFORMED, "a port must be"},
        {"a port as text", FROM, ACE("'udp':{'source-port':{'operator':'eq','port':'5'}}"),
         GW_EMALFORMED, "a port must be"},
        {"a range that ends early", FROM,
         ACE("'udp':{'source-port':{'lower-port':9,'upper-port':8}}"), GW_EMALFORMED,
         "a range of ports"},
        {"half a range", FROM, ACE("'udp':{'source-port':{'lower-port':9}}"), GW_EMALFORMED,
         "a range of ports"},
        {"an initiator that is neither", FROM, ACE("'tcp':{'ietf-mud:direction-initiated':'both'}"),
         GW_EMALFORMED, "\"direction-initiated\" must be"},
        {"a direction of UDP", FROM, ACE("'udp':{'ietf-mud:direction-initiated':'to-device'}"),
         GW_EUNSUPPORTED, "a match on \"ietf-mud:direction-initiated\""},
        {"two protocols", FROM, ACE("'ipv4':{'protocol':17},'tcp':{}"), GW_EMALFORMED,
         "it matches protocol 17 and protocol 6"},
        {"TCP and UDP", FROM, ACE("'tcp':{},'udp':{}"), GW_EMALFORMED, "it matches protocol"},
        {"IPv6 in a list for IPv4", FROM, ACE("'ipv6':{}"), GW_EMALFORMED, "of the other kind"},
        {"host bits", FROM, ACE("'ipv4':{'destination-ipv4-network':'192.0.2.1/24'}"),
         GW_EMALFORMED, "\"192.0.2.1/24\" is no IPv4 prefix"},
        {"an address without a length", FROM,
         ACE("'ipv4':{'destination-ipv4-network':'192.0.2.1'}"), GW_EMALFORMED,
         "is no IPv4 prefix"},
        {"a name that is none", FROM, ACE("'ipv4':{'ietf-acldns:dst-dnsname':'a b'}"),
         GW_EMALFORMED, "\"a b\" is no DNS name"},
        {"a label that ends with _", FROM, ACE("'ipv4':{'ietf-acldns:dst-dnsname':'a_.b'}"),
         GW_EMALFORMED, "\"a_.b\" is no DNS name"},
        {"an address as a name", FROM, ACE("'ipv4':{'ietf-acldns:dst-dnsname':'192.0.2.1'}"),
         GW_EMALFORMED, "is no DNS name"},
        {"ICMP codes", FROM, ACE("'ipv4':{},'icmp':{'type':3,'code':1}"), GW_EUNSUPPORTED,
         "only \"type\""},
        {"a drop in the middle", FROM,
         "{'name':'d','actions':{'forwarding':'drop'}}," ACE("'tcp':{}"), GW_EUNSUPPORTED,
         "entry \"d\": dropping is supported only as the last entry"},
        {"a drop of some", FROM,
         ACE("'tcp':{}") ",{'name':'d','matches':{'udp':{}},'actions':{'forwarding':'drop'}}",
         GW_EUNSUPPORTED, "dropping is supported only"},
        {"an action of nobody", FROM, "{'name':'d','actions':{'forwarding':'mirror'}}",
         GW_EMALFORMED, "\"forwarding\" must be"},
        {"no action", FROM, "{'name':'d'}", GW_EMALFORMED, "\"forwarding\" must be"},
        {"no name", FROM, "{'actions':{'forwarding':'accept'}}", GW_EMALFORMED, "has no name"},
        {"no object", FROM, "7", GW_EMALFORMED, "has no name"},
        {"nothing at all", FROM, "", GW_EMALFORMED, "it allows nothing"},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct rules r = {0};
        struct mud_notes notes;
        char why[WHY_MAX] = "";
        int err = read_file(HEAD, cases[i].policy, V4, cases[i].ace, &r, &notes, why);

        cr_expect_eq(err, cases[i].err, "%s: %d", cases[i].name, err);
        cr_expect(strstr(why, cases[i].why), "%s: %s", cases[i].name, why);
        cr_expect_eq(r.count, 0);
        if (!err)
            rules_fini(&r);
    }
}

Test(profile_mud, a_file_needs_its_head)
{
    static const struct {
        const char *name, *text, *why;
    } cases[] = {
        {"no JSON", "{", "it is no JSON: line 1"},
        {"empty", "", "it is no JSON"},
        {"twice", "{\"a\":1,\"a\":2}", "duplicate"},
        {"another thing", "{}", "there is no \"ietf-mud:mud\""},
        {"a list", "[]", "there is no \"ietf-mud:mud\""},
        {"another version", "{\"ietf-mud:mud\":{\"mud-version\":2,\"mud-url\":\"https://a/b\"}}",
         "must be 1"},
        {"a plain URL", "{\"ietf-mud:mud\":{\"mud-version\":1,\"mud-url\":\"http://a/b\"}}",
         "must be an https URL"},
        {"no date", "{\"ietf-mud:mud\":{\"mud-version\":1,\"mud-url\":\"https://a/b\"}}",
         "\"last-update\" or \"is-supported\" is missing"},
        {"a list that is not there",
         "{\"ietf-mud:mud\":{\"mud-version\":1,\"mud-url\":\"https://a/b\",\"last-update\":\"x\","
         "\"is-supported\":true,\"from-device-policy\":{\"access-lists\":{\"access-list\":"
         "[{\"name\":\"gone\"}]}}}}",
         "names the list \"gone\", which is not there"},
    };
    static char huge[MUD_BYTES_MAX + 1];
    struct mud_notes notes;
    struct rules r = {0};
    char why[WHY_MAX];

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        why[0] = '\0';
        cr_expect_lt(mud_import(gw_slice_str(cases[i].text), &r, &notes, why), 0, "%s",
                     cases[i].name);
        cr_expect(strstr(why, cases[i].why), "%s: %s", cases[i].name, why);
    }
    memset(huge, ' ', sizeof(huge));
    cr_expect_eq(mud_import(GW_SLICE(huge, sizeof(huge)), &r, &notes, why), GW_ETOOBIG);
    cr_expect_eq(mud_import(GW_SLICE(huge, sizeof(huge) - 1), &r, &notes, why), GW_EMALFORMED);
}

Test(profile_mud, what_was_read_otherwise_than_written_is_said)
{
    struct mud_notes notes;
    struct rules r = {0};
    char why[WHY_MAX];

    cr_assert_eq(read_file(HEAD ",'x:colour':'red','extensions':['colour']", FROM, V4,
                           "{'name':'e','matches':{'ietf-mud:mud':{'controller':"
                           "'https://maker.example/hub'}},'actions':{'forwarding':'accept',"
                           "'logging':'log-syslog'}}",
                           &r, &notes, why),
                 0);
    cr_expect_eq(notes.count, 3);
    cr_expect_str_eq(notes.text[0], "\"x:colour\" is not known here and was ignored");
    cr_expect_str_eq(notes.text[1],
                     "controller \"https://maker.example/hub\" is taken to be the gateway");
    cr_expect_str_eq(notes.text[2], "\"logging\" is ignored");
    rules_fini(&r);
}

Test(profile_mud, an_export_keeps_the_words_of_the_maker_and_no_others)
{
    struct gw_policy_rule m = rule_any(GW_FROM_DEVICE);
    struct rule_peer p = peer_of("any");
    struct rules r = {0};
    const char *original = "{\"ietf-mud:mud\":{\"mud-url\":\"https://maker.example/bulb\","
                           "\"mfg-name\":\"Maker\",\"model-name\":[1],\"cache-validity\":999,"
                           "\"is-supported\":false,\"x:colour\":\"red\","
                           "\"firmware-rev\":\"1\\u0001\",\"software-rev\":\"2\\uffff\","
                           "\"documentation\":\"https://a/\\ufdd0\"}}";
    json_t *file, *mud;

    cr_assert_eq(rules_add(&r, &m, &p), 0);
    file = mud_export(&r, &(struct mud_about){.url = "https://cordon.local/mud/x.json",
                                              .systeminfo = "x",
                                              .original = original,
                                              .changed_ms = 1800000000000});
    mud = json_object_get(file, "ietf-mud:mud");
    cr_expect_str_eq(json_string_value(json_object_get(mud, "mud-url")),
                     "https://maker.example/bulb");
    cr_expect_str_eq(json_string_value(json_object_get(mud, "mfg-name")), "Maker");
    cr_expect_str_eq(json_string_value(json_object_get(mud, "systeminfo")), "x");
    cr_expect_null(json_object_get(mud, "model-name"));
    cr_expect_null(json_object_get(mud, "x:colour"));
    cr_expect_null(json_object_get(mud, "firmware-rev"));
    cr_expect_null(json_object_get(mud, "software-rev"));
    cr_expect_null(json_object_get(mud, "documentation"));
    cr_expect_eq(json_integer_value(json_object_get(mud, "cache-validity")), 48);
    cr_expect(json_is_false(json_object_get(mud, "is-supported")));
    cr_expect_str_eq(json_string_value(json_object_get(mud, "last-update")),
                     "2027-01-15T08:00:00.000Z");
    json_decref(file);
    rules_fini(&r);
}

Test(profile_mud, text_is_what_a_string_of_a_file_holds)
{
    static const struct {
        const char *text;
        bool stays;
    } cases[] = {
        {"Lamp\tone\r\n", true},
        {"\xc3\xa4\xe3\x8f\xbf\xc3\xa4 \xf0\x9f\x92\xa1 \x7f", true},
        {"\xef\xb7\x8f\xef\xb7\xb0\xef\xbf\xbd", true}, /* beside the noncharacters */
        {"a\x1b[0m", false},
        {"\xef\xb7\x90", false},
        {"\xef\xb7\xaf", false},
        {"\xef\xbf\xbe", false},
        {"\xf4\x8f\xbf\xbf", false},
    };
    struct gw_policy_rule m = rule_any(GW_FROM_DEVICE);
    struct rule_peer p = peer_of("any");
    struct rules r = {0};

    cr_assert_eq(rules_add(&r, &m, &p), 0);
    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        json_t *file = mud_export(&r, &(struct mud_about){.url = "https://cordon.local/mud/x.json",
                                                          .systeminfo = cases[i].text});
        const json_t *mud = json_object_get(file, "ietf-mud:mud");

        cr_expect_eq(json_object_get(mud, "systeminfo") != NULL, cases[i].stays, "%zu", i);
        json_decref(file);
    }
    rules_fini(&r);
}

Test(profile_mud, an_entry_holds_nothing_that_is_empty)
{
    static const struct {
        const char *name, *peer, *want;
        uint8_t protocol;
    } cases[] = {
        {"anything", "any", "{}", 0},
        {"a class", "local", "{\"ietf-mud:mud\":{\"local-networks\":[null]}}", 0},
        {"a protocol", "any", "{\"ipv6\":{\"protocol\":47}}", 47},
        {"all of TCP", "any", "{\"ipv6\":{\"protocol\":6}}", 6},
        {"all of UDP", "any", "{\"ipv6\":{\"protocol\":17}}", 17},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_policy_rule m = rule_any(GW_FROM_DEVICE);
        struct rule_peer p = peer_of(cases[i].peer);
        struct mud_notes notes;
        struct rules r = {0}, again = {0};
        char why[WHY_MAX] = "", *text, *matches;
        json_t *file, *ace = NULL;

        m.family = GW_ADDR_IPV6;
        m.protocol = cases[i].protocol;
        cr_assert_eq(rules_add(&r, &m, &p), 0);
        file = mud_export(&r, &(struct mud_about){.url = "https://a/b", .systeminfo = "x"});
        (void)json_unpack(file, "{s:{s:[{s:{s:[o]}}]}}", "ietf-access-control-list:acls", "acl",
                          "aces", "ace", &ace);
        matches = json_dumps(json_object_get(ace, "matches"), JSON_COMPACT);
        cr_expect_str_eq(matches, cases[i].want, "%s: %s", cases[i].name, matches);
        text = json_dumps(file, 0);
        cr_expect_eq(mud_import(gw_slice_str(text), &again, &notes, why), 0, "%s", why);
        cr_expect(rules_equal(&r, &again), "%s: %s", cases[i].name, rules_line(&again));
        free(matches);
        free(text);
        json_decref(file);
        rules_fini(&again);
        rules_fini(&r);
    }
}
