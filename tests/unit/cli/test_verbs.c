/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon.h"

#define DEVICE                                                                                     \
    "{\"id\":\"cam-1\",\"name\":\"Door\\u001b[2J\",\"state\":\"approved\",\"class\":\"camera\","   \
    "\"vendor\":\"\",\"hostname\":\"\",\"first_seen\":\"2026-11-22T06:19:00.000Z\","               \
    "\"last_seen\":null,\"addresses\":{\"mac\":[\"02:00:00:00:00:01\"],\"ipv4\":[\"192.0.2.7\"],"  \
    "\"ipv6\":[]},\"presence\":{\"status\":\"offline\",\"since\":null,\"cause\":null},"            \
    "\"quarantine\":{\"mode\":\"isolate\",\"reason\":\"odd\",\"by\":\"admin\",\"since\":"          \
    "\"2026-11-22T06:19:00.000Z\",\"until\":null,\"dropped_packets\":4,\"dropped_bytes\":240},"    \
    "\"traffic\":{\"rx_packets\":1,\"rx_bytes\":2000,\"tx_packets\":3,\"tx_bytes\":4}}"

#define STATUS                                                                                     \
    "{\"version\":\"0.1.0\",\"gateway\":{\"id\":\"gw-0011\",\"name\":\"Cordon\"},\"uptime_s\":"    \
    "7260,\"devices\":{\"known\":3,\"online\":2,\"pending\":1,\"quarantined\":0},\"uplink\":{"     \
    "\"state\":\"connecting\",\"broker\":\"mqtts://b:8883\",\"spooled_messages\":5,"               \
    "\"spooled_bytes\":1500,\"in_flight\":0,\"acknowledged\":7,\"last_error\":\"no route\"},"      \
    "\"broker\":{\"connections\":2,\"sessions\":3,\"queued\":7,\"queued_bytes\":900,\"limits\":{"  \
    "\"connections\":{\"max\":9,\"reached\":0},\"queued_bytes\":{\"max\":500,\"reached\":6}}},"    \
    "\"isolation\":{\"state\":\"enforcing\",\"interfaces\":[{\"name\":\"lan0\",\"ingress\":"       \
    "\"generic\",\"egress\":\"clsact\",\"dropped_packets\":9,\"dropped_bytes\":900,\"up\":true,"   \
    "\"reason\":\"no native XDP\",\"bypass\":[\"Wi-Fi\\u001b-local\"],\"notes\":[\"slow\"]}]},"    \
    "\"security\":{\"sandbox\":\"seccomp\",\"aes\":\"AES-NI\"}}"

#define TESTED(failed, result)                                                                     \
    "{\"at\":\"2026-11-22T06:19:00.000Z\",\"took_ms\":300,\"passed\":7,\"failed\":" failed         \
    ",\"skipped\":1,\"checks\":[{\"name\":\"isolated by MAC\",\"where\":\"native\",\"result\":"    \
    "\"" result                                                                                    \
    "\",\"detail\":\"it came through\"},{\"name\":\"pinned\",\"where\":\"\",\"result\":"           \
    "\"passed\",\"detail\":\"\"}]}"

Test(cli_verbs, ask_print_and_exit)
{
    static const struct verb_case cases[] = {
        {"status",
         NULL,
         {{200, STATUS}},
         0,
         "GET /api/v1/status HTTP/1.1",
         NULL,
         "Gateway     Cordon (gw-0011), version 0.1.0, up 2 h 1 min\n",
         NULL},
        {"status",
         NULL,
         {{200, STATUS}},
         0,
         NULL,
         NULL,
         "Devices     3 known, 2 online, 1 pending, 0 quarantined\n"
         "Uplink      connecting, mqtts://b:8883\n"
         "            5 spooled (1.5 kB), 0 in flight, 7 acknowledged\n"
         "            last error: no route\n"
         "Clients     2 connected, 3 sessions, 7 messages wait (900 B)\n"
         "            limit queued_bytes = 500 was reached 6 times\n"
         "Isolation   enforcing\n",
         NULL},
        {"status",
         NULL,
         {{200, STATUS}},
         0,
         NULL,
         NULL,
         "  lan0  up    generic  clsact  9        900 B  no native XDP\n"
         "            lan0: Wi-Fi?-local\n"
         "            lan0: slow\n"
         "Sandbox     seccomp\n",
         NULL},
        {"--json status", NULL, {{200, STATUS}}, 0, NULL, NULL, "\"uptime_s\": 7260", NULL},
        {"devices",
         NULL,
         {{200, "[" DEVICE "]"}},
         0,
         "GET /api/v1/devices?limit=1000 ",
         NULL,
         "cam-1  Door?[2J  camera  approved  offline   -      -      -          02:00:00:00:00:01"
         "  192.0.2.7  isolate\n",
         NULL},
        {"devices", NULL, {{200, "[]"}}, 0, NULL, NULL, "No device", NULL},
        {"verdicts",
         NULL,
         {{200, "[]"}},
         0,
         "GET /api/v1/quarantine?limit=1000 ",
         NULL,
         "Nobody is quarantined",
         NULL},
        {"device cam-1",
         NULL,
         {{200, DEVICE}},
         0,
         "GET /api/v1/devices/cam-1 ",
         NULL,
         "Quarantine  isolate by admin since 2026-11-22T06:19:00.000Z until released\n"
         "            reason: odd\n            4 packets of it dropped since it is known (240 B)\n",
         NULL},
        {"device a/b",
         NULL,
         {{404, PROBLEM("There is no device.")}},
         1,
         "GET /api/v1/devices/a%2Fb ",
         NULL,
         "",
         "cordon: There is no device.\n"},
        {"device x", NULL, {{500, "oops"}}, 1, NULL, NULL, NULL, "HTTP status 500"},
        {"device x", NULL, {{200, "oops"}}, 1, NULL, NULL, NULL, "not JSON"},
        {"presence",
         NULL,
         {{200,
           "{\"occupancy\":1,\"devices\":[{\"device\":\"cam-1\",\"status\":\"online\",\"since\""
           ":null,\"cause\":\"connect\"}]}"}},
         0,
         "GET /api/v1/presence ",
         NULL,
         "1 there\n",
         NULL},
        {"presence cam-1",
         NULL,
         {{200, "[]"}},
         0,
         "GET /api/v1/devices/cam-1/presence ",
         NULL,
         "Nothing",
         NULL},
        {"events --limit 2",
         NULL,
         {{200, "[{\"id\":1,\"type\":\"alert\",\"at\":\"2026-11-22T06:19:00.000Z\",\"severity\":"
                "\"warning\",\"text\":\"it\\u0007 broke\"},{\"id\":2,\"type\":\"presence\",\"at\":"
                "\"2026-11-22T06:19:01.000Z\",\"device\":\"cam-1\",\"action\":\"join\",\"cause\":"
                "\"connect\",\"occupancy\":3}]"}},
         0,
         "GET /api/v1/events?limit=2 ",
         NULL,
         "2026-11-22T06:19:00.000Z  warning   it? broke\n"
         "2026-11-22T06:19:01.000Z  presence  cam-1: join (connect), 3 there\n",
         NULL},
        {"isolation test",
         NULL,
         {{200, TESTED("0", "passed")}},
         0,
         "POST /api/v1/isolation/test ",
         "\r\n\r\n{}",
         "passed   native: isolated by MAC (it came through)\npassed   pinned\n"
         "7 passed, 0 failed, 1 skipped in 300 ms\n",
         ""},
        {"isolation test",
         NULL,
         {{200, TESTED("1", "failed")}},
         1,
         NULL,
         NULL,
         "failed   native: isolated by MAC (it came through)\n",
         "cordon: the isolation does not hold: 1 check failed\n"},
        {"--json isolation test",
         NULL,
         {{200, TESTED("1", "failed")}},
         1,
         NULL,
         NULL,
         "\"took_ms\": 300",
         NULL},
        {"isolation test",
         NULL,
         {{409, PROBLEM("The isolation was not tested: it is off.")}},
         1,
         NULL,
         NULL,
         "",
         "it is off"},
        {"isolation",
         NULL,
         {{200, "{\"state\":\"enforcing\",\"interfaces\":[],\"test\":null}"}},
         0,
         "GET /api/v1/isolation ",
         NULL,
         "Isolation   enforcing\nNot tested since the daemon started",
         NULL},
        {"isolation",
         NULL,
         {{200, "{\"state\":\"off\",\"interfaces\":[],\"test\":" TESTED("1", "failed") "}"}},
         0,
         NULL,
         NULL,
         "7 passed, 1 failed, 1 skipped in 300 ms\nfailed   native: isolated by MAC",
         NULL},
        {"isolation proof", NULL, {{0}}, 2, NULL, NULL, "", "only \"test\" is known"},
        {"approve cam-1 --name Door --class camera",
         NULL,
         {{204, ""}},
         0,
         "POST /api/v1/devices/cam-1/approve ",
         "{\"name\":\"Door\",\"class\":\"camera\"}",
         "cam-1 is approved.\n",
         NULL},
        {"approve cam-1",
         NULL,
         {{204, ""}},
         0,
         "Content-Type: application/json",
         "\r\n\r\n{}",
         NULL,
         NULL},
        {"revoke cam-1 --json",
         NULL,
         {{204, ""}},
         0,
         "POST /api/v1/devices/cam-1/revoke ",
         NULL,
         "",
         NULL},
        {"forget cam-1",
         NULL,
         {{204, ""}},
         0,
         "DELETE /api/v1/devices/cam-1 ",
         NULL,
         "cam-1 is forgotten.\n",
         NULL},
        {"quarantine cam-1 --mode remediate --for 1h --reason odd",
         NULL,
         {{204, ""}},
         0,
         "POST /api/v1/devices/cam-1/quarantine ",
         "{\"mode\":\"remediate\",\"reason\":\"odd\",\"seconds\":3600}",
         "cam-1 is put in remediation.\n",
         NULL},
        {"quarantine 02:00:00:00:00:01",
         NULL,
         {{204, ""}},
         0,
         "POST /api/v1/quarantine ",
         "{\"seconds\":0,\"address\":\"02:00:00:00:00:01\"}",
         NULL,
         NULL},
        {"quarantine 192.0.2.7",
         NULL,
         {{204, ""}},
         0,
         "POST /api/v1/quarantine ",
         "\"address\":\"192.0.2.7\"",
         NULL,
         NULL},
        {"quarantine 2001:db8::/48",
         NULL,
         {{204, ""}},
         0,
         "POST /api/v1/quarantine ",
         "\"address\":\"2001:db8::/48\"",
         NULL,
         NULL},
        {"quarantine 192.0.2.1",
         NULL,
         {{409, PROBLEM("192.0.2.1 was not quarantined: why.")}},
         1,
         NULL,
         NULL,
         "",
         "cordon: 192.0.2.1 was not quarantined: why.\n"},
        {"release cam-1",
         NULL,
         {{204, ""}},
         0,
         "DELETE /api/v1/devices/cam-1/quarantine ",
         NULL,
         "cam-1 is released.\n",
         NULL},
        {"release 192.0.2.0/24",
         NULL,
         {{204, ""}},
         0,
         "DELETE /api/v1/quarantine/192.0.2.0%2F24 ",
         NULL,
         NULL,
         NULL},
        {"grant cam-1 site/# pubsub",
         NULL,
         {{200, "[{\"topic\":\"a\",\"permissions\":[\"pub\"],\"until\":null},{\"topic\":\"site/#\","
                "\"permissions\":[\"sub\"],\"until\":null}]"},
          {204, ""}},
         0,
         "PUT /api/v1/devices/cam-1/grants ",
         "[{\"topic\":\"a\",\"permissions\":[\"pub\"],\"until\":null},{\"topic\":\"site/#\","
         "\"permissions\":[\"pub\",\"sub\"],\"until\":null}]",
         NULL,
         NULL},
        {"grant cam-1 a pub --for 1h",
         NULL,
         {{200, "[]"}, {204, ""}},
         0,
         NULL,
         "\"until\":\"20",
         NULL,
         NULL},
        {"grant none a pub",
         NULL,
         {{404, PROBLEM("There is no device.")}},
         1,
         NULL,
         NULL,
         NULL,
         "no device"},
        {"ungrant cam-1 a",
         NULL,
         {{200, "[{\"topic\":\"a\",\"permissions\":[\"pub\"],\"until\":null}]"}, {204, ""}},
         0,
         "PUT /api/v1/devices/cam-1/grants ",
         "\r\n\r\n[]",
         NULL,
         NULL},
        {"ungrant cam-1 b", NULL, {{200, "[]"}}, 1, NULL, NULL, NULL, "has no grant"},
        {"grants cam-1",
         NULL,
         {{200, "[{\"topic\":\"a\",\"permissions\":[\"pub\",\"sub\"],\"until\":null}]"}},
         0,
         NULL,
         NULL,
         "a      pubsub  taken back\n",
         NULL},
        {"pair --for 5m",
         NULL,
         {{200, "{\"code\":\"ABCD-EFGH\",\"expires\":\"2026-11-22T06:24:00.000Z\",\"port\":8443,"
                "\"ca_sha256\":\"00af12\"}"}},
         0,
         "POST /api/v1/pairing ",
         "{\"seconds\":300}",
         "CA SHA-256   00:AF:12\n",
         NULL},
        {"pair",
         NULL,
         {{200, "{\"code\":\"ABCD-EFGH\",\"port\":8443,\"ca_sha256\":\"\"}"}},
         0,
         NULL,
         "{\"seconds\":0}",
         "https://cordon.local:8443/.well-known/est/  (where that name is known)\n",
         NULL},
        {"pair --stop", NULL, {{204, ""}}, 0, "DELETE /api/v1/pairing ", NULL, "closed", NULL},
        {"setup-code",
         NULL,
         {{200, "{\"code\":\"ABCD-EFGH-JKLM\"}"}},
         0,
         "GET /api/v1/setup-code ",
         NULL,
         "ABCD-EFGH-JKLM\n",
         NULL},
        {"setup-code",
         NULL,
         {{409, PROBLEM("A password is set already.")}},
         1,
         NULL,
         NULL,
         "",
         "A password is set already."},
        {"passwd admin",
         "secret word\n",
         {{204, ""}},
         0,
         "PUT /api/v1/users/admin/password ",
         "{\"password\":\"secret word\"}",
         "is set",
         NULL},
        {"passwd eve --role viewer",
         "x",
         {{400, PROBLEM("Too short.")}},
         1,
         NULL,
         "{\"password\":\"x\",\"role\":\"viewer\"}",
         "",
         "Too short."},
        {"api-key grafana --role viewer",
         NULL,
         {{201, "{\"name\":\"grafana\",\"role\":\"viewer\",\"key\":\"cordon_00\"}"}},
         0,
         "POST /api/v1/keys ",
         "{\"name\":\"grafana\",\"role\":\"viewer\"}",
         "cordon_00\n",
         NULL},
        {"api-key",
         NULL,
         {{200, "[{\"name\":\"grafana\",\"role\":\"viewer\"}]"}},
         0,
         "GET /api/v1/keys ",
         NULL,
         "grafana  viewer\n",
         NULL},
        {"api-key grafana --remove",
         NULL,
         {{204, ""}},
         0,
         "DELETE /api/v1/keys/grafana ",
         NULL,
         NULL,
         NULL},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++)
        check(&cases[i]);
}

Test(cli_verbs, refuse_before_they_ask)
{
    static const struct {
        const char *line;
        int status;
        const char *err;
    } cases[] = {
        {"quarantine 192.0.2.7/24", CLI_USAGE, "is no address"},
        {"quarantine", CLI_USAGE, "something is missing"},
        {"quarantine cam-1 --file /dev/null", CLI_USAGE, "either whom or --file"},
        {"quarantine --file /dev/null", CLI_FAILED, "there is no address in it"},
        {"release --file /nowhere/list", CLI_FAILED, "/nowhere/list: No such file"},
        {"quarantine 02:00:00:00:00", CLI_USAGE, "is no address"},
        {"quarantine cam-1 --mode drop", CLI_USAGE, "isolate, remediate or observe, not: drop"},
        {"quarantine cam-1 --mode none", CLI_USAGE, "--mode takes"},
        {"release a/b", CLI_USAGE, "is no address"},
        {"grant cam-1 a read", CLI_USAGE, "pub, sub or pubsub"},
        {"passwd admin", CLI_FAILED, "no password"},
        {"api-key --remove", CLI_USAGE, "usage: cordon api-key"},
        {"nonsense", CLI_USAGE, "no such verb"},
        {"device", CLI_USAGE, "usage: cordon device ID\n"},
        {"status", CLI_FAILED, "the daemon is not running (there is no /nowhere)"},
        {"status", CLI_FAILED, ", or say another --socket PATH\n"},
        {"pair --for 100d", CLI_USAGE, "--for is at most 1d here"},
        {"quarantine cam-1 --for 999999d", CLI_USAGE, "at most 36600d, not: 999999d"},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct outcome got;

        run("/nowhere", cases[i].line, NULL, &got);
        cr_expect_eq(got.status, cases[i].status, "%s: %d", cases[i].line, got.status);
        cr_expect(strstr(got.err, cases[i].err), "%s: said %s", cases[i].line, got.err);
        cr_expect_str_eq(got.out, "", "%s", cases[i].line);
    }
}

Test(cli_verbs, say_why_the_daemon_is_not_reached)
{
    static const struct answer none[] = {{0, NULL}};
    struct outcome got;
    struct daemon d;
    char path[64];

    daemon_start(&d, none);
    memcpy(path, d.path, sizeof(path));
    close(d.fd); /* the socket stays behind, as after a kill */
    d.fd = -1;
    run(path, "status", NULL, &got);
    cr_expect_eq(got.status, CLI_FAILED);
    cr_expect(strstr(got.err, "nobody answers at"), "%s", got.err);
    cr_assert_eq(pthread_join(d.thread, NULL), 0);
    (void)unlink(path);
}

Test(cli_verbs, help_without_a_daemon)
{
    struct outcome got;

    run("/nowhere", "--help", NULL, &got);
    cr_expect_eq(got.status, 0);
    for (const struct cli_verb *v = cli_verbs; v->name; v++) {
        char line[64], want[64];

        cr_expect(strstr(got.out, v->name), "%s", v->name);
        (void)snprintf(line, sizeof(line), "%s --help", v->name);
        (void)snprintf(want, sizeof(want), "usage: cordon %s", v->name);
        run("/nowhere", line, NULL, &got);
        cr_expect_eq(got.status, 0, "%s", line);
        cr_expect(strstr(got.out, want), "%s", got.out);
        cr_expect(strstr(got.out, v->help), "%s", got.out);
        run("/nowhere", "--help", NULL, &got);
    }
}

Test(cli_verbs, envelope_is_a_verb_behind_an_option_too)
{
    static const char *const lines[] = {"envelope --help", "--json envelope --help",
                                        "--socket=/x --json envelope --help"};
    struct outcome got;

    for (size_t i = 0; i < GW_COUNT(lines); i++) {
        run("/nowhere", lines[i], NULL, &got); /* which puts --socket before it */
        cr_expect_eq(got.status, 0, "%s", lines[i]);
        cr_expect(strstr(got.out, "cordon envelope keygen"), "%s: %s", lines[i], got.out);
    }
}

Test(cli_verbs, help_names_each_mode_and_deed)
{
    static const struct {
        const char *line, *words[8];
    } cases[] = {
        {"quarantine --help", {"  isolate ", "  remediate ", "  observe "}},
        {"isolation --help", {"the LAN is not touched"}},
        {"profile --help",
         {"  show ", "  learn ", "  report ", "  enforce ", "  off ", "  forget ", "  export ",
          "  import "}},
        {"limit --help", {"Each way"}},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct outcome got;

        run("/nowhere", cases[i].line, NULL, &got);
        for (size_t k = 0; k < GW_COUNT(cases[i].words) && cases[i].words[k]; k++)
            cr_expect(strstr(got.out, cases[i].words[k]), "%s: %s", cases[i].line, got.out);
    }
}
