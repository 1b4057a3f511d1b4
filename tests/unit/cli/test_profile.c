/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon.h"

#define PROFILE                                                                                    \
    "{\"device\":\"cam-1\",\"state\":\"enforcing\",\"since\":\"2026-11-22T06:19:00.000Z\","        \
    "\"until\":"                                                                                   \
    "null,\"learning\":false,\"policy\":1,\"problem\":null,\"rules\":[{\"direction\":\"from-"      \
    "device\","                                                                                    \
    "\"protocol\":6,\"family\":\"both\",\"device_ports\":[0,65535],\"peer_ports\":[443,443],"      \
    "\"no_open\":false,\"peers\":[{\"name\":\"a.example\"},{\"class\":\"local\"},{\"address\":"    \
    "\"198.51.100.7\"}]}],\"notes\":[\"It is \\u001b[2Jwide\"],\"names\":[],\"limits\":{"          \
    "\"packets_per_s\":50,\"bytes_per_s\":0},\"suggested\":{\"packets_per_s\":0,\"bytes_per_s\":"  \
    "120000},\"learned\":{\"missed\":3,\"conversations\":[{\"direction\":\"to-device\","           \
    "\"protocol\":"                                                                                \
    "17,\"peer\":\"192.0.2.9\",\"name\":null,\"port\":5353,\"packets\":12,\"bytes\":3400}]}}"

#define NOTHING(learning)                                                                          \
    "{\"device\":\"cam-1\",\"state\":\"off\",\"since\":null,\"until\":null,\"learning\":" learning \
    ",\"problem\":null,\"rules\":[],\"notes\":[],\"limits\":{},\"suggested\":{},\"learned\":{"     \
    "\"missed\":0,"                                                                                \
    "\"conversations\":[]}}"

Test(cli_profile, asks_prints_and_exits)
{
    static const struct verb_case cases[] = {
        {"profile cam-1",
         NULL,
         {{200, PROFILE}},
         0,
         "GET /api/v1/devices/cam-1/profile ",
         NULL,
         "State      enforcing since 2026-11-22T06:19:00.000Z\n"
         "Limits     50 packets/s, each way\nSuggested  120 kB/s, each way\n"
         "Note       It is ?[2Jwide\n",
         NULL},
        {"profile cam-1 show",
         NULL,
         {{200, PROFILE}},
         0,
         NULL,
         NULL,
         "  from  tcp       both  any       443          yes    a.example, local networks, "
         "198.51.100.7\n"
         "Learned    1 conversation, 3 more found no room\n",
         NULL},
        {"profile cam-1 show --json", NULL, {{200, PROFILE}}, 0, NULL, NULL, "\"policy\": 1", NULL},
        {"profile cam-1",
         NULL,
         {{200, NOTHING("false")}},
         0,
         NULL,
         NULL,
         "State      off\nNothing was learned or imported yet; \"cordon profile cam-1 learn\" "
         "begins "
         "it.\n",
         NULL},
        {"profile cam-1", NULL, {{200, NOTHING("true")}}, 0, NULL, NULL, "nothing yet\n", NULL},
        {"profile cam-1 learn --for 1d",
         NULL,
         {{204, ""}},
         0,
         "POST /api/v1/devices/cam-1/profile/learn ",
         "{\"seconds\":86400}",
         "The profile of cam-1 is being learned.\n",
         NULL},
        {"profile cam-1 enforce",
         NULL,
         {{204, ""}, {200, PROFILE}},
         0,
         "POST /api/v1/devices/cam-1/profile/enforce ",
         "{}",
         "The profile of cam-1 is enforced: 1 rule.\nNote       It is ?[2Jwide\n",
         NULL},
        {"profile cam-1 enforce",
         NULL,
         {{409, PROBLEM("Nothing was learned.")}},
         1,
         NULL,
         NULL,
         "",
         "cordon: Nothing was learned.\n"},
        {"profile cam-1 import -",
         "{\"ietf-mud:mud\":{}}",
         {{204, ""}, {200, PROFILE}},
         0,
         "PUT /api/v1/devices/cam-1/profile/mud ",
         "{\"ietf-mud:mud\":{}}",
         "is what the file says: 1 rule.\nIt is enforcing.\n",
         NULL},
        {"profile cam-1 import -",
         "{\"ietf-mud:mud\":{}}",
         {{204, ""}, {200, "{\"state\":\"off\",\"rules\":[]}"}},
         0,
         NULL,
         NULL,
         "0 rules.\nIt is off: cordon profile cam-1 enforce puts it in force.\n",
         NULL},
        {"profile cam-1 export",
         NULL,
         {{200, "{\"ietf-mud:mud\":{}}"}},
         0,
         "GET /api/v1/devices/cam-1/profile/mud ",
         NULL,
         "{\n  \"ietf-mud:mud\": {}\n}\n",
         NULL},
        {"limit cam-1 --bytes 2M",
         NULL,
         {{200, PROFILE}, {204, ""}},
         0,
         "PUT /api/v1/devices/cam-1/limit ",
         "{\"packets_per_s\":50,\"bytes_per_s\":2000000}",
         "cam-1 is limited: 50 packets/s, 2.0 MB/s, each way.\n",
         NULL},
        {"limit cam-1 --off",
         NULL,
         {{200, PROFILE}, {204, ""}},
         0,
         NULL,
         "{\"packets_per_s\":0,\"bytes_per_s\":0}",
         "has no limit any more",
         NULL},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++)
        check(&cases[i]);
}

Test(cli_profile, refuses_before_it_asks)
{
    static const struct {
        const char *line;
        int status;
        const char *err;
    } cases[] = {
        {"profile x watch", CLI_USAGE, "a profile cannot be told to \"watch\""},
        {"profile x import", CLI_USAGE, "profile import: the file is missing"},
        {"profile x enforce --for 1h", CLI_USAGE, "enforce does not take the option: for"},
        {"profile x --out f", CLI_USAGE, "show does not take the option: out"},
        {"profile x show y", CLI_USAGE, "profile show: too many arguments"},
        {"profile x learn --for 367d", CLI_USAGE, "--for is at most 366d here"},
        {"profile x import /", CLI_FAILED, "cordon: /: Is a directory"},
        {"profile x import /dev/null", CLI_FAILED, "/dev/null is no MUD file: line 1"},
        {"profile x import /nowhere/file", CLI_FAILED,
         "cordon: /nowhere/file: No such file or directory\n"},
        {"limit x", CLI_USAGE, "say --packets, --bytes or both, or --off"},
        {"limit x --packets 10000001", CLI_USAGE, "from 1 to 10000000, not: 10000001"},
        {"limit x --bytes 101G", CLI_USAGE, "at most 100G, not: 101G"},
        {"limit x --off --bytes 5", CLI_USAGE, "or --off"},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct outcome got;

        run("/nowhere", cases[i].line, NULL, &got);
        cr_expect_eq(got.status, cases[i].status, "%s: %d", cases[i].line, got.status);
        cr_expect(strstr(got.err, cases[i].err), "%s: said %s", cases[i].line, got.err);
        cr_expect_str_eq(got.out, "", "%s", cases[i].line);
    }
}
