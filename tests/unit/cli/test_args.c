/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <locale.h>
#include <string.h>

#include "cli/cli_priv.h"

#define WORDS_MAX 10

/* "a b c" as argv behind "cordon"; '_' stands for a space inside a word. */
static int parse(const char *line, const struct cli_verb **verb, struct cli_args *args)
{
    static char text[256];
    static char *argv[WORDS_MAX + 2];
    int argc = 1;

    (void)snprintf(text, sizeof(text), "cordon %s", line);
    argv[0] = strtok(text, " ");
    while (argc < WORDS_MAX && (argv[argc] = strtok(NULL, " ")))
        argc++;
    argv[argc] = NULL;
    return cli_parse(argc, argv, verb, args);
}

Test(cli_args, understands_or_refuses, .init = cr_redirect_stderr)
{
    static const struct {
        const char *line, *verb; /* NULL: refused */
        int count;
        uint64_t for_s;
        const char *first;
    } cases[] = {
        {"status", "status", 0, 0, NULL},
        {"device cam-1", "device", 1, 0, "cam-1"},
        {"--json status", "status", 0, 0, NULL},
        {"status --json", "status", 0, 0, NULL},
        {"--socket /x status", "status", 0, 0, NULL},
        {"presence", "presence", 0, 0, NULL},
        {"presence cam-1", "presence", 1, 0, "cam-1"},
        {"quarantine cam-1 --for 1h", "quarantine", 1, 3600, "cam-1"},
        {"quarantine --for=90 cam-1 --mode remediate", "quarantine", 1, 90, "cam-1"},
        {"grant cam-1 a/# pubsub --for 2d", "grant", 3, 172800, "cam-1"},
        {"device -- -odd", "device", 1, 0, "-odd"},
        {"events --follow --limit 5", "events", 0, 0, NULL},
        {"status --help", "status", 0, 0, NULL},
        {"status -h", "status", 0, 0, NULL},
        {"device --help", "device", 0, 0, NULL},
        {"profile cam-1", "profile", 1, 0, "cam-1"},
        {"profile cam-1 learn --for 24h", "profile", 2, 86400, "cam-1"},
        {"profile cam-1 import file.json", "profile", 3, 0, "cam-1"},
        {"limit cam-1 --packets 100 --bytes 2M", "limit", 1, 0, "cam-1"},
        {"limit cam-1 --off", "limit", 1, 0, "cam-1"},
        {"limit cam-1 --packets 0", NULL, 0, 0, NULL},
        {"limit cam-1 --packets 5k", NULL, 0, 0, NULL},
        {"limit cam-1 --bytes 5T", NULL, 0, 0, NULL},
        {"limit cam-1 --bytes 5kk", NULL, 0, 0, NULL},
        {"limit cam-1 --bytes -5", NULL, 0, 0, NULL},
        {"limit cam-1 --bytes 101G", NULL, 0, 0, NULL},
        {"limit cam-1 --bytes 99999999999999999999", NULL, 0, 0, NULL},
        {"profile", NULL, 0, 0, NULL},
        {"profile cam-1 --off", NULL, 0, 0, NULL},
        {"", NULL, 0, 0, NULL},
        {"frobnicate", NULL, 0, 0, NULL},
        {"frobnicate --help", NULL, 0, 0, NULL},
        {"device", NULL, 0, 0, NULL},
        {"device a b", NULL, 0, 0, NULL},
        {"grant a b c d e f", NULL, 0, 0, NULL},
        {"status extra", NULL, 0, 0, NULL},
        {"status --for 1h", NULL, 0, 0, NULL},
        {"status --wrong", NULL, 0, 0, NULL},
        {"status -x", NULL, 0, 0, NULL},
        {"status --socket", NULL, 0, 0, NULL},
        {"quarantine cam-1 --for never", NULL, 0, 0, NULL},
        {"quarantine cam-1 --for 0", NULL, 0, 0, NULL},
        {"quarantine cam-1 --for -5", NULL, 0, 0, NULL},
        {"events --limit 0", NULL, 0, 0, NULL},
        {"events --limit 1001", NULL, 0, 0, NULL},
        {"events --limit x", NULL, 0, 0, NULL},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        const struct cli_verb *verb = NULL;
        struct cli_args args = {0};
        int got = parse(cases[i].line, &verb, &args);

        cr_expect_eq(got, cases[i].verb ? 0 : CLI_USAGE, "\"%s\": got %d", cases[i].line, got);
        if (got || !cases[i].verb)
            continue;
        cr_assert_not_null(verb, "%s", cases[i].line);
        cr_expect_str_eq(verb->name, cases[i].verb);
        cr_expect_eq(args.count, cases[i].count, "%s", cases[i].line);
        cr_expect_eq(args.for_s, cases[i].for_s, "%s", cases[i].line);
        cr_expect(!cases[i].first || strcmp(args.at[0], cases[i].first) == 0, "%s", cases[i].line);
    }
}

Test(cli_args, keeps_every_option)
{
    const struct cli_verb *verb = NULL;
    struct cli_args args;

    cr_assert_eq(parse("approve --name N --class C --socket /s --json x", &verb, &args), 0);
    cr_expect_str_eq(args.name, "N");
    cr_expect_str_eq(args.class, "C");
    cr_expect_str_eq(args.socket, "/s");
    cr_expect(args.json);
    cr_assert_eq(parse("status", &verb, &args), 0);
    cr_expect_str_eq(args.socket, "/run/cordon/admin.sock");
    cr_expect_not(args.json);
    cr_assert_eq(parse("limit x --packets 7 --bytes 50k", &verb, &args), 0);
    cr_expect_eq(args.packets, 7);
    cr_expect_eq(args.bytes, 50000);
    cr_expect_not(args.off);
    cr_assert_eq(parse("profile x export --out f", &verb, &args), 0);
    cr_expect_str_eq(args.out, "f");
}

Test(cli_args, has_help_for_every_verb)
{
    for (const struct cli_verb *v = cli_verbs; v->name; v++) {
        cr_expect(v->help && *v->help && v->run, "%s", v->name);
        cr_expect_leq(v->min, v->max, "%s", v->name);
        cr_expect_leq(v->max, CLI_POSITIONS, "%s", v->name);
    }
}

static void utf8(void)
{
    cr_assert_not_null(setlocale(LC_CTYPE, "C.UTF-8"));
}

Test(cli_table, knows_how_wide_a_text_is, .init = utf8)
{
    static const struct {
        const char *text;
        size_t width;
    } cases[] = {{"", 0},     {"abc", 3},      {"Tür", 3},       {"日本", 4},    {"\x1b[31m", 5},
                 {"a\tb", 3}, {"\xff\xfe", 2}, {"e\xcc\x81", 1}, {"\xe2\x82", 2}};

    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(cli_width(cases[i].text), cases[i].width, "%zu: got %zu", i,
                     cli_width(cases[i].text));
}

static char *printed(void (*print)(FILE *to))
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    cr_assert_not_null(f);
    print(f);
    (void)fclose(f);
    return text;
}

static void print_bad(FILE *to)
{
    cli_put(to, "a\x1b]0;x\x07 \xc2\x9b b\xff ü\n");
}

Test(cli_table, lets_nothing_raw_reach_the_terminal, .init = utf8)
{
    GW_CLEANUP(gw_free_ptr) char *text = printed(print_bad);

    cr_expect_str_eq(text, "a?]0;x? ? b? ü?");
}

static void print_table(FILE *to)
{
    static const char *const titles[] = {"ID", "NAME", "X"};
    GW_CLEANUP(cli_table_free) struct cli_table *t = cli_table_new(titles, 3);

    cli_cell(t, "cam-1");
    cli_cell(t, "Tür");
    cli_cellf(t, "%d", 1);
    cli_cell(t, "c");
    cli_cell(t, NULL);
    cli_cell(t, "");
    cli_table_print(t, to);
}

Test(cli_table, aligns_columns_by_what_is_seen, .init = utf8)
{
    GW_CLEANUP(gw_free_ptr) char *text = printed(print_table);

    cr_expect_str_eq(text, "ID     NAME  X\n"
                           "cam-1  Tür   1\n"
                           "c      -     -\n");
}

Test(cli_table, speaks_of_time_and_size_as_people_do)
{
    static const struct {
        uint64_t bytes;
        const char *want;
    } sizes[] = {{0, "0 B"},         {999, "999 B"},        {1000, "1.0 kB"},     {15500, "16 kB"},
                 {999999, "1.0 MB"}, {268435456, "268 MB"}, {UINT64_MAX, "18 EB"}};
    static const struct {
        const char *time, *want;
    } ages[] = {{"2026-11-22T06:19:00Z", "0 s"},
                {"2026-11-22T06:17:01Z", "119 s"},
                {"2026-11-22T06:09:00Z", "10 min"},
                {"2026-11-21T19:19:00Z", "11 h"},
                {"2026-11-01T06:19:00Z", "21 d"},
                {"2026-11-22T06:19:10Z", "10 s"},
                {"yesterday", "-"}};
    char text[32];

    for (size_t i = 0; i < GW_COUNT(sizes); i++)
        cr_expect_str_eq(cli_bytes(sizes[i].bytes, text), sizes[i].want);
    for (size_t i = 0; i < GW_COUNT(ages); i++) {
        json_auto_t *time = json_string(ages[i].time);

        cr_expect_str_eq(cli_age(time, 1795328340000, text), ages[i].want, "%s", ages[i].time);
    }
    cr_expect_str_eq(cli_age(NULL, 0, text), "-");
}
