/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "config/config.h"

static char dir[] = "/tmp/cordon-config-XXXXXX";
static char path[128];

static void setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/cordon.conf", dir);
}

static void teardown(void)
{
    char command[160];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    cr_assert_eq(system(command), 0);
}

static void put(const char *name, const char *text)
{
    char at[160];
    FILE *f;

    (void)snprintf(at, sizeof(at), "%s/%s", dir, name);
    f = fopen(at, "w");
    cr_assert_not_null(f);
    (void)fputs(text, f);
    (void)fclose(f);
}

TestSuite(config, .init = setup, .fini = teardown);

Test(config, an_empty_file_means_the_documented_defaults)
{
    struct gw_config_error error = {""};
    struct gw_config *c = NULL;

    put("cordon.conf", "");
    cr_assert_eq(gw_config_load(path, &c, &error), 0, "%s", error.text);
    cr_expect_str_eq(c->gateway.name, "Cordon");
    cr_expect_str_eq(c->gateway.state_dir, "/var/lib/cordon");
    cr_expect_str_eq(c->gateway.run_dir, "/run/cordon");
    cr_expect_str_eq(c->gateway.user, "cordon");
    cr_expect_str_eq(c->lan.interfaces[0], "auto");
    cr_expect_eq(c->lan.new_devices, GW_NEW_OBSERVE);
    cr_expect_eq(c->listen.mqtt.count, 1);
    cr_expect_eq(((struct sockaddr_in6 *)&c->listen.mqtt.at[0].addr)->sin6_port, htons(8883));
    cr_expect_eq(((struct sockaddr_in6 *)&c->admin.https.at[0].addr)->sin6_port, htons(443));
    cr_expect_eq(c->enroll.certificate_days, 90);
    cr_expect_eq(c->enroll.grace_days, 365);
    cr_expect(c->access.own_topics);
    cr_expect_eq(c->presence.timeout_s, 300);
    cr_expect_eq(c->presence.misses, 2);
    cr_expect_float_eq(c->presence.outage_share, 0.5, 1e-9);
    cr_expect(c->quarantine.auto_verdicts);
    cr_expect_eq(c->detect.window_s, 10);
    cr_expect_eq(c->detect.hosts, 50);
    cr_expect_eq(c->detect.ports, 50);
    cr_expect_eq(c->detect.neighbours, 8);
    cr_expect_eq(c->detect.packets_per_s, 50000);
    cr_expect_eq(c->detect.moves, 4);
    cr_expect_eq(c->isolation.addresses, 0);
    cr_expect_eq(c->isolation.ingress, GW_CHOOSE_AUTO);
    cr_expect(c->isolation.bind);
    cr_expect_eq(c->isolation.server_count, 0);
    cr_expect_eq(c->uplink.broker_count, 0);
    cr_expect_str_eq(c->uplink.prefix, "cordon");
    cr_expect_eq(c->uplink.epoch_messages, 1000000);
    cr_expect_eq(c->uplink.epoch_s, 86400);
    cr_expect_eq(c->uplink.window, 256);
    cr_expect_eq(c->uplink.spool_max_bytes, 268435456);
    cr_expect_eq(c->limits.connections, 10000);
    cr_expect_eq(c->limits.message_bytes, 262144);
    cr_expect_eq(c->limits.publish_per_s, 1000);
    cr_expect_eq(c->limits.queued_bytes, 1048576);
    gw_config_free(&c);
    cr_expect_null(c);
}

Test(config, a_missing_file_elsewhere_is_an_error)
{
    struct gw_config_error error = {""};
    struct gw_config *c = NULL;

    cr_expect_eq(gw_config_load("/nonexistent/cordon.conf", &c, &error), GW_ECONFIG);
    cr_expect_not_null(strstr(error.text, "/nonexistent/cordon.conf"), "%s", error.text);
    cr_expect_null(c);
}

Test(config, a_refusal_names_line_key_value_and_what_is_allowed)
{
    static const struct {
        const char *name, *text, *words[4];
    } cases[] = {
        {"unknown group", "\nnett = { };", {":2:", "nett", "allowed: gateway, lan"}},
        {"unknown key", "lan = {\n mode = 1; };", {":2:", "lan.mode", "interfaces, new_devices"}},
        {"no group", "lan = 5;", {":1:", "lan", "a group"}},
        {"syntax", "lan = {\n\n ;", {":3:", "syntax"}},
        {"wrong type", "presence = { timeout_s = \"5\"; };", {"timeout_s", "\"5\"", "allowed"}},
        {"out of range", "presence = { timeout_s = 0; };", {"timeout_s", "found 0", "from 1 to"}},
        {"more than 32 bits", "limits = { connections = 4294967396; };", {"found 4294967396"}},
        {"float for a number", "presence = { misses = 1.5; };", {"misses", "1.5", "allowed"}},
        {"negative", "limits = { connections = -1; };", {"connections", "-1", "from 1"}},
        {"share over one", "presence = { outage_share = 1.5; };", {"outage_share", "1.5"}},
        {"a word not known", "lan = { new_devices = \"drop\"; };", {"\"drop\"", "\"observe\""}},
        {"listen without port", "listen = { mqtt = [\"[::]\"]; };", {"listen.mqtt", "\"[::]\""}},
        {"listen by name", "listen = { mqtt = [\"localhost:1\"]; };", {"listen.mqtt", "numeric"}},
        {"port zero", "listen = { mqtt = [\"0.0.0.0:0\"]; };", {"listen.mqtt", "0.0.0.0:0"}},
        {"port too large", "listen = { mqtt = [\"0.0.0.0:65536\"]; };", {"65536", "port 1"}},
        {"one port twice", "listen = { mqtt = [\"[::]:8443\"]; };", {"listen.https", "twice"}},
        {"bare IPv6", "listen = { mqtt = [\"::1:8883\"]; };", {"::1:8883", "brackets"}},
        {"relative path", "gateway = { state_dir = \"x\"; };", {"state_dir", "absolute"}},
        {"plain MQTT broker", "uplink = { brokers = [\"mqtt://h:1\"]; };", {"mqtts://HOST:PORT"}},
        {"wildcard prefix", "uplink = { prefix = \"a/#\"; };", {"prefix", "without wildcards"}},
        {"brokers without recipients",
         "uplink = { brokers = [\"mqtts://h:8883\"]; };",
         {"uplink.recipients", "nothing leaves unsealed"}},
        {"missing key file",
         "uplink = { recipients = [\"/nonexistent\"]; };",
         {"recipients", "/nonexistent", "No such file"}},
        {"password without user",
         "uplink = { password_file = \"/etc/hostname\"; };",
         {"password_file", "username"}},
        {"grant with a bad filter",
         "access = { grants = ( { topic = \"a/#/b\"; permissions = [\"pub\"]; } ); };",
         {"access.grants", "topic filter"}},
        {"grant with a bad permission",
         "access = { grants = ( { topic = \"a\"; permissions = [\"write\"]; } ); };",
         {"access.grants", "\"pub\""}},
        {"grant with an unknown key",
         "access = { grants = ( { topic = \"a\"; permissions = [\"pub\"]; clas = \"x\"; } ); };",
         {"unknown key \"clas\""}},
        {"bad protected address",
         "quarantine = { protected = [\"10.0.0\"]; };",
         {"quarantine.protected", "10.0.0"}},
        {"a protected device without a name",
         "quarantine = { protected = [\"device:\"]; };",
         {"quarantine.protected", "\"device:\"", "device:ID"}},
        {"a protected device of no certificate",
         "quarantine = { protected = [\"device:a b\"]; };",
         {"quarantine.protected", "device:a b"}},
        {"an id that might be a wrong address",
         "quarantine = { protected = [\"cam-1\"]; };",
         {"quarantine.protected", "cam-1", "device:ID"}},
        {"a protected prefix with bits behind its length",
         "quarantine = { protected = [\"192.168.77.5/24\"]; };",
         {"192.168.77.5/24", "no bit set behind the length"}},
        {"a strike not known",
         "quarantine = {\n rules = ( { strike = \"odd\"; } ); };",
         {":2:", "quarantine.rules", "\"odd\"",
          "malformed, auth, denied, flood, handshake, scan-"}},
        {"the last strike is named too",
         "quarantine = { rules = ( { strike = 7; } ); };",
         {"strike: found 7", "rogue-router, departure"}},
        {"a rule for nothing",
         "quarantine = { rules = ( { count = 3; } ); };",
         {"strike: found none", "malformed"}},
        {"a mode not known",
         "quarantine = { rules = ( { strike = \"auth\"; mode = \"drop\"; } ); };",
         {"mode: found \"drop\"", "isolate, remediate, observe"}},
        {"dry run by number",
         "quarantine = { rules = ( { strike = \"auth\"; dry_run = 1; } ); };",
         {"quarantine.rules", "dry_run: found 1", "true or false"}},
        {"a number of a rule that is none, on its line",
         "quarantine = { rules = (\n { strike = \"auth\"; },\n { strike = \"auth\";\n count = 0; } "
         "); };",
         {":4:", "count: found 0", "1 to "}},
        {"no window of a rule",
         "quarantine = { rules = ( { strike = \"auth\"; window_s = \"1m\"; } ); };",
         {"window_s: found \"1m\"", "1 to "}},
        {"an end in the past",
         "quarantine = { rules = ( { strike = \"auth\"; for_s = -3; } ); };",
         {"for_s: found -3", "0 to "}},
        {"a rule with an unknown key",
         "quarantine = { rules = ( { strike = \"auth\"; dryrun = true; } ); };",
         {"unknown key \"dryrun\"", "dry_run"}},
        {"no window", "detect = { window_s = 0; };", {"detect.window_s", "found 0", "1 to 3600"}},
        {"hosts past the table", "detect = { hosts = 401; };", {"detect.hosts", "0 to 400"}},
        {"ports past the table", "detect = { ports = 401; };", {"detect.ports", "0 to 400"}},
        {"neighbours", "detect = { neighbours = 201; };", {"detect.neighbours", "0 to 200"}},
        {"packets", "detect = { packets_per_s = 100000001; };", {"packets_per_s", "0 to 1"}},
        {"moves", "detect = { moves = -1; };", {"detect.moves", "found -1", "0 to 200"}},
        {"a table too small",
         "isolation = { addresses = 255; };",
         {"isolation.addresses", "found 255", "256 to 524288"}},
        {"a table too large",
         "isolation = { addresses = 524289; };",
         {"isolation.addresses", "found 524289", "256 to 524288"}},
        {"no such mode",
         "isolation = { ingress = \"xdp\"; };",
         {"isolation.ingress", "\"xdp\"", "\"generic\""}},
        {"bind by number", "isolation = { bind = 1; };", {"isolation.bind", "true or false"}},
        {"a network as a server",
         "isolation = { servers = [\"192.0.2.0/24\"]; };",
         {"isolation.servers", "192.0.2.0/24", "MAC, IPv4 or IPv6"}},
        {"a server by name", "isolation = { servers = [\"dhcp\"]; };", {"servers", "\"dhcp\""}},
        {"hardware not here yet",
         "crypto = { device = \"pkcs11:token=x\"; };",
         {"crypto.device", "pkcs11:token=x"}},
        {"include", "@include \"other.conf\"\n", {"@include"}},
        {"too many interfaces",
         "lan = { interfaces = [\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
         "\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
         "\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]; };",
         {"lan.interfaces", "found 33", "1 to 32"}},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_config_error error = {""};
        struct gw_config *c = NULL;

        put("cordon.conf", cases[i].text);
        cr_expect_eq(gw_config_load(path, &c, &error), GW_ECONFIG, "%s", cases[i].name);
        cr_expect_null(c, "%s", cases[i].name);
        cr_expect_not_null(strstr(error.text, path), "%s: %s", cases[i].name, error.text);
        for (size_t w = 0; w < GW_COUNT(cases[i].words) && cases[i].words[w]; w++)
            cr_expect_not_null(strstr(error.text, cases[i].words[w]), "%s: \"%s\" not in: %s",
                               cases[i].name, cases[i].words[w], error.text);
    }
}

Test(config, detection_and_isolation_are_as_written)
{
    struct gw_config_error error = {""};
    struct gw_config *c = NULL;
    char text[GW_HWADDR_TEXT];

    put("cordon.conf", "detect = { window_s = 3600; hosts = 400; ports = 0; neighbours = 200;"
                       " packets_per_s = 100000000; moves = 0; };"
                       "isolation = { addresses = 524288; ingress = \"tc\"; bind = false;"
                       " servers = [ \"02:00:00:00:00:53\", \"192.0.2.53\", \"fe80::53\" ]; };");
    cr_assert_eq(gw_config_load(path, &c, &error), 0, "%s", error.text);
    cr_expect_eq(c->detect.window_s, 3600);
    cr_expect_eq(c->detect.hosts, 400);
    cr_expect_eq(c->detect.ports, 0);
    cr_expect_eq(c->detect.neighbours, 200);
    cr_expect_eq(c->detect.packets_per_s, 100000000);
    cr_expect_eq(c->detect.moves, 0);
    cr_expect_eq(c->isolation.addresses, 524288);
    cr_expect_eq(c->isolation.ingress, GW_CHOOSE_TC);
    cr_expect_not(c->isolation.bind);
    cr_assert_eq(c->isolation.server_count, 3);
    cr_expect_str_eq(gw_hwaddr_text(&c->isolation.servers[0], text), "02:00:00:00:00:53");
    cr_expect_str_eq(gw_hwaddr_text(&c->isolation.servers[1], text), "192.0.2.53");
    cr_expect_str_eq(gw_hwaddr_text(&c->isolation.servers[2], text), "fe80::53");
    gw_config_free(&c);
}

Test(config, rules_and_who_is_protected_are_as_written)
{
    struct gw_config_error error = {""};
    struct gw_config *c = NULL;
    const struct gw_config_rule *r;
    char text[GW_HWADDR_TEXT];

    put("cordon.conf",
        "quarantine = { rules = ("
        " { strike = \"handshake\"; mode = \"observe\"; count = 3; window_s = 9; for_s = 60; },"
        " { strike = \"departure\"; dry_run = true; } );"
        " protected = [ \"192.0.2.1\", \"device:cam-1\", \"2001:db8::/48\", \"device:10.0.0.1\" ]; "
        "};");
    cr_assert_eq(gw_config_load(path, &c, &error), 0, "%s", error.text);
    cr_assert_eq(c->quarantine.rule_count, 2);
    r = c->quarantine.rules;
    cr_expect(r[0].strike == GW_STRIKE_HANDSHAKE && r[0].count == 3 && r[0].window_s == 9 &&
              r[0].for_s == 60 && !r[0].dry_run);
    cr_expect_str_eq(r[0].mode, "observe");
    cr_expect(r[1].strike == GW_STRIKE_WIRE_DEPARTURE && r[1].count == 20 && r[1].window_s == 60 &&
              r[1].for_s == 0 && r[1].dry_run);
    cr_expect_str_eq(r[1].mode, "isolate");
    cr_assert_eq(c->quarantine.protected_count, 2);
    cr_expect_str_eq(gw_hwaddr_text(&c->quarantine.protected_addrs[1], text), "2001:db8::/48");
    cr_assert_eq(c->quarantine.protected_device_count, 2);
    cr_expect_str_eq(c->quarantine.protected_devices[0], "cam-1");
    cr_expect_str_eq(c->quarantine.protected_devices[1], "10.0.0.1");
    gw_config_free(&c);
}

Test(config, a_large_number_is_not_cut)
{
    static const struct {
        const char *text;
        uint64_t want;
    } cases[] = {
        {"uplink = { spool_max_bytes = 5368709120; };", 5368709120},
        {"uplink = { spool_max_bytes = 5368709120L; };", 5368709120},
        {"uplink = { spool_max_bytes = 0x140000000; };", 5368709120},
        {"uplink={spool_max_bytes=1099511627776;};", 1099511627776},
        {"# 5368709120\nuplink = { spool_max_bytes = /* 5368709120 */ 1073741824; }; // 5368709120",
         1073741824},
    };
    struct gw_config_error error = {""};
    struct gw_config *c = NULL;

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        put("cordon.conf", cases[i].text);
        cr_assert_eq(gw_config_load(path, &c, &error), 0, "%s: %s", cases[i].text, error.text);
        cr_expect_eq(c->uplink.spool_max_bytes, cases[i].want, "%s", cases[i].text);
        gw_config_free(&c);
    }
    put("cordon.conf",
        "gateway = { name = \"a \\\" 5368709120\"; state_dir = \"/d-5368709120\"; };");
    cr_assert_eq(gw_config_load(path, &c, &error), 0, "%s", error.text);
    cr_expect_str_eq(c->gateway.name, "a \" 5368709120");
    cr_expect_str_eq(c->gateway.state_dir, "/d-5368709120");
    gw_config_free(&c);
}

Test(config, a_bundle_gives_the_same_configuration_without_the_files)
{
    struct gw_buf bundle = {.max = 1 << 20};
    struct gw_config_error error = {""};
    struct gw_config *c = NULL;
    char text[1024], at[160];

    put("key.pem", "one key");
    (void)snprintf(at, sizeof(at), "%s/makers", dir);
    cr_assert_eq(mkdir(at, 0755), 0);
    put("makers/b.pem", "maker b");
    put("makers/a.pem", "maker a");
    put("makers/readme.txt", "not one");
    (void)snprintf(text, sizeof(text),
                   "uplink = { brokers = [\"mqtts://h:8883\", \"mqtts://[::1]:1\"];"
                   " recipients = [\"%s/key.pem\"]; };"
                   "enroll = { manufacturers_dir = \"%s/makers\"; };"
                   "access = { grants = ( { class = \"c\"; topic = \"t/%%d/#\";"
                   " permissions = [\"pub\", \"sub\"]; } ); };",
                   dir, dir);
    put("cordon.conf", text);
    cr_assert_eq(gw_config_bundle(path, &bundle, &error), 0, "%s", error.text);
    (void)snprintf(at, sizeof(at), "%s/key.pem", dir);
    cr_assert_eq(unlink(at), 0);
    cr_assert_eq(unlink(path), 0);

    cr_assert_eq(gw_config_unbundle(gw_buf_slice(&bundle), &c, &error), 0, "%s", error.text);
    cr_expect_eq(c->uplink.broker_count, 2);
    cr_expect_str_eq(c->uplink.brokers[1].host, "::1");
    cr_expect_eq(c->uplink.brokers[1].port, 1);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&c->uplink.recipients[0].data), "one key"));
    cr_expect_eq(c->enroll.manufacturer_count, 2);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&c->enroll.manufacturers[0].data), "maker a"));
    cr_expect_eq(c->access.grant_count, 1);
    cr_expect_eq(c->access.grants[0].permissions, GW_PERM_PUB | GW_PERM_SUB);
    gw_config_free(&c);

    /* A bundle cut anywhere is refused, never read past its end. */
    for (size_t len = 0; len < gw_buf_len(&bundle); len++) {
        GW_CLEANUP(gw_free_ptr) uint8_t *cut = malloc(len + 1);

        memcpy(cut, bundle.data, len);
        if (gw_config_unbundle(GW_SLICE(cut, len), &c, &error) == 0)
            gw_config_free(&c); /* cut between two files that no key needs */
    }
    gw_buf_fini(&bundle);
}
