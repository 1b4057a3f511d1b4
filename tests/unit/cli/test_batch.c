/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon.h"

Test(cli_batch, takes_addresses_from_a_file)
{
    static const char good[] =
        "# a list\n\n02:00:00:00:00:01\n  192.0.2.0/24 # a network\n2001:db8::1";
    static const struct answer some[] = {
        {200, "{\"done\":2,\"refused\":[{\"address\":\"192.0.2.0/24\",\"detail\":\"why\"}]}"},
        {0, NULL}};
    static const struct answer all[] = {{200, "{\"done\":3,\"refused\":[]}"}, {0, NULL}};
    struct outcome got;
    struct daemon d;

    daemon_start(&d, some);
    run(d.path, "quarantine --file - --reason odd --for 1h", good, &got);
    cr_expect_eq(got.status, CLI_FAILED);
    cr_expect_str_eq(got.out, "2 addresses are cut off.\n");
    cr_expect_str_eq(got.err, "cordon: 192.0.2.0/24: why\n");
    daemon_stop(&d);
    cr_expect(strstr(d.heard, "POST /api/v1/quarantine "), "%s", d.heard);
    cr_expect(strstr(d.heard, "[{\"address\":\"02:00:00:00:00:01\",\"reason\":\"odd\","
                              "\"seconds\":3600},{\"address\":\"192.0.2.0/24\","),
              "%s", d.heard);

    daemon_start(&d, all);
    run(d.path, "release --file -", good, &got);
    cr_expect_eq(got.status, 0);
    cr_expect_str_eq(got.out, "3 addresses are released.\n");
    daemon_stop(&d);
    cr_expect(strstr(d.heard, "POST /api/v1/quarantine/release "), "%s", d.heard);

    run("/nowhere", "quarantine --file -", "192.0.2.1\n192.0.2\n", &got);
    cr_expect_eq(got.status, CLI_FAILED);
    cr_expect(strstr(got.err, "stdin, line 2: \"192.0.2\" is no address"), "%s", got.err);
}

Test(cli_batch, one_is_not_many)
{
    static const struct answer one[] = {{200, "{\"done\":1,\"refused\":[]}"}, {0, NULL}};
    struct outcome got;
    struct daemon d;

    daemon_start(&d, one);
    run(d.path, "quarantine --file - --mode observe", "192.0.2.1\n", &got);
    cr_expect_str_eq(got.out, "1 address is observed.\n");
    daemon_stop(&d);
}

Test(cli_batch, a_file_that_is_no_text_changes_nothing_and_does_not_reach_the_terminal)
{
    static const struct {
        const char *name, *text, *err;
    } cases[] = {
        {"escapes", "192.0.2.1\n\x1b[2J\n", "stdin, line 2: \"?[2J\" is no address"},
        {"no UTF-8", "\xff\xfe\n", "stdin, line 1: \"??\" is no address"},
    };
    char path[] = "/tmp/cordon-zeros-XXXXXX", line[64];
    struct outcome got;
    FILE *f;

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        run("/nowhere", "quarantine --file -", cases[i].text, &got);
        cr_expect_eq(got.status, CLI_FAILED, "%s", cases[i].name);
        cr_expect(strstr(got.err, cases[i].err), "%s: %s", cases[i].name, got.err);
    }
    f = fdopen(mkstemp(path), "w");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite("192.0.2.1\0 and more\n", 1, 20, f), 20);
    (void)fclose(f);
    (void)snprintf(line, sizeof(line), "release --file %s", path);
    run("/nowhere", line, NULL, &got);
    (void)unlink(path);
    cr_expect_eq(got.status, CLI_FAILED);
    cr_expect(strstr(got.err, ", line 1: \"192.0.2.1\" is no address"), "%s", got.err);
}
