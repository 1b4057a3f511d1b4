/* SPDX-License-Identifier: GPL-2.0-only */
/* The verb isolation: what guards the ports, and the test that proves it. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "cli/cli_priv.h"

static void show_check(const json_t *check)
{
    const char *where = cli_text(check, "where"), *detail = cli_text(check, "detail");

    (void)printf("%-8.8s ", cli_text(check, "result"));
    if (*where) {
        cli_put(stdout, where);
        (void)fputs(": ", stdout);
    }
    cli_put(stdout, cli_text(check, "name"));
    if (*detail) {
        (void)fputs(" (", stdout);
        cli_put(stdout, detail);
        (void)fputc(')', stdout);
    }
    (void)fputc('\n', stdout);
}

static void show_summary(const json_t *test)
{
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed, %" PRIu64 " skipped in %" PRIu64 " ms\n",
                 cli_number(test, "passed"), cli_number(test, "failed"),
                 cli_number(test, "skipped"), cli_number(test, "took_ms"));
}

static int run_test(const struct cli_args *args)
{
    json_t *answer = NULL;
    uint64_t failed;
    json_t *check;
    size_t i;
    int err = cli_call(args, "POST", "/api/v1/isolation/test", json_object(), &answer);

    if (err)
        return err;
    failed = cli_number(answer, "failed");
    answer = cli_unless_json(args, answer);
    json_array_foreach(json_object_get(answer, "checks"), i, check)
    {
        show_check(check);
    }
    if (answer)
        show_summary(answer);
    json_decref(answer);
    return failed ? cli_fail("the isolation does not hold: %" PRIu64 " %s failed", failed,
                             failed == 1 ? "check" : "checks")
                  : CLI_DONE;
}

static void show_last(const json_t *test)
{
    json_t *check;
    char age[32];
    size_t i;

    if (!json_is_object(test)) {
        (void)puts("Not tested since the daemon started; \"cordon isolation test\" does it.");
        return;
    }
    (void)printf("Last test   %s ago: ",
                 cli_age(json_object_get(test, "at"), gw_clock_wall_ms(), age));
    show_summary(test);
    json_array_foreach(json_object_get(test, "checks"), i, check)
    {
        if (strcmp(cli_text(check, "result"), "failed") == 0)
            show_check(check);
    }
}

int cli_isolation(const struct cli_args *args)
{
    json_auto_t *report = NULL;
    int err;

    if (args->count > 0 && strcmp(args->at[0], "test") == 0)
        return run_test(args);
    if (args->count > 0) {
        (void)cli_fail("isolation \"%s\": only \"test\" is known", args->at[0]);
        return CLI_USAGE;
    }
    err = cli_call(args, "GET", "/api/v1/isolation", NULL, &report);
    if (err)
        return err;
    report = cli_unless_json(args, report);
    if (!report)
        return CLI_DONE;
    cli_show_ports(report);
    show_last(json_object_get(report, "test"));
    return CLI_DONE;
}
