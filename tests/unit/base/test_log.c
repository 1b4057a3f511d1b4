/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"

Test(log, peer_text_cannot_leave_its_quotes_or_its_line)
{
    static const struct {
        const char *name;
        struct gw_slice text;
        const char *want;
    } cases[] = {
        {"plain", GW_SLICE_LIT("cam-1"), "\"cam-1\""},
        {"empty", GW_SLICE_LIT(""), "\"\""},
        {"a new line", GW_SLICE_LIT("a\nb"), "\"a\\x0ab\""},
        {"a quote", GW_SLICE_LIT("a\"b"), "\"a\\x22b\""},
        {"a backslash", GW_SLICE_LIT("a\\b"), "\"a\\x5cb\""},
        {"an escape sequence", GW_SLICE_LIT("\x1b[31m"), "\"\\x1b[31m\""},
        {"a zero", GW_SLICE_LIT("a\0b"), "\"a\\x00b\""},
        {"not ASCII", GW_SLICE_LIT("\xc3\xa9\x7f"), "\"\\xc3\\xa9\\x7f\""},
    };
    char out[GW_LOG_TEXT];

    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_str_eq(gw_log_text(cases[i].text, out), cases[i].want, "%s", cases[i].name);
}

Test(log, long_peer_text_is_cut_within_its_room)
{
    static char input[300];
    char out[GW_LOG_TEXT + 1];

    for (int byte = 0; byte < 2; byte++) { /* plain, then four characters for each */
        memset(input, byte ? '\n' : 'a', sizeof(input));
        for (size_t len = 0; len < sizeof(input); len++) {
            out[GW_LOG_TEXT] = 0x55;
            (void)gw_log_text(GW_SLICE(input, len), out);
            cr_assert_eq(out[GW_LOG_TEXT], 0x55, "past its end at %zu", len);
            cr_assert_lt(strlen(out), (size_t)GW_LOG_TEXT);
            cr_assert_eq(out[0], '"');
        }
        cr_expect_str_eq(out + strlen(out) - 4, "\"\xe2\x80\xa6");
    }
}

Test(log, a_limit_lets_a_burst_through_and_counts_the_rest)
{
    struct gw_log_limit limit = {.burst = 2, .per_ms = 1000};
    unsigned went_out = 0;

    for (uint64_t now = 5000; now < 6000; now += 100)
        went_out += gw_log_allowed(&limit, now);
    cr_expect_eq(went_out, 2);
    cr_expect_eq(limit.muted, 8);
    limit.muted = 0;
    cr_expect(gw_log_allowed(&limit, 6000));
    cr_expect_eq(limit.muted, 0);
}

/* What one call of gw_log writes to standard error. */
static const char *line_of(enum gw_log_level level, const char *text)
{
    static char line[4096];
    int saved = dup(STDERR_FILENO), ends[2];
    ssize_t got;

    cr_assert_eq(pipe2(ends, O_NONBLOCK), 0);
    cr_assert_geq(dup2(ends[1], STDERR_FILENO), 0);
    gw_log(level, "%s", text);
    cr_assert_geq(dup2(saved, STDERR_FILENO), 0);
    got = read(ends[0], line, sizeof(line) - 1);
    line[got > 0 ? got : 0] = '\0';
    close(ends[0]);
    close(ends[1]);
    close(saved);
    return line;
}

Test(log, a_line_says_who_and_how_bad)
{
    static char longer[3000];
    const char *line;

    (void)unsetenv("JOURNAL_STREAM");
    gw_log_name("worker");
    cr_expect_str_eq(line_of(GW_LOG_INFO, "it runs"), "worker: it runs\n");
    cr_expect_str_eq(line_of(GW_LOG_WARNING, "it limps"), "worker: warning: it limps\n");
    cr_expect_str_eq(line_of(GW_LOG_ERROR, "it fell"), "worker: error: it fell\n");
    cr_expect_str_eq(line_of(GW_LOG_DEBUG, "it counts"), "");
    gw_log_level(GW_LOG_DEBUG);
    cr_expect_str_eq(line_of(GW_LOG_DEBUG, "it counts"), "worker: debug: it counts\n");
    gw_log_level(GW_LOG_ERROR);
    cr_expect_str_eq(line_of(GW_LOG_WARNING, "it limps"), "");
    (void)setenv("JOURNAL_STREAM", "8:1", 1);
    cr_expect_str_eq(line_of(GW_LOG_ERROR, "it fell"), "<3>worker: it fell\n");
    cr_expect_str_eq(line_of(GW_LOG_ERROR, "a\nworker: b\033[2Jc\x7f ü"),
                     "<3>worker: a?worker: b?[2Jc? ü\n", "one event, one line");
    memset(longer, 'x', sizeof(longer) - 1);
    line = line_of(GW_LOG_ERROR, longer);
    cr_expect_leq(strlen(line), 1024u);
    cr_expect_eq(line[strlen(line) - 1], '\n', "cut, but a line");
}

Test(error, every_code_has_a_class_a_name_and_a_text)
{
    static const struct {
        int err;
        enum gw_error_class class;
        const char *name;
    } cases[] = {
        {GW_ESHORT, GW_CLASS_PEER, "GW_ESHORT"},      {GW_EDENIED, GW_CLASS_LOCAL, "GW_EDENIED"},
        {GW_ECLOSED, GW_CLASS_LOCAL, "GW_ECLOSED"},   {-EAGAIN, GW_CLASS_WAIT, "EAGAIN"},
        {-EINVAL, GW_CLASS_LOCAL, "EINVAL"},          {-9999999, GW_CLASS_LOCAL, "unknown"},
        {GW_ERROR_FIRST_, GW_CLASS_LOCAL, "unknown"}, {GW_ERROR_END_, GW_CLASS_LOCAL, "unknown"},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        cr_expect_eq(gw_error_class(cases[i].err), cases[i].class, "%s", cases[i].name);
        cr_expect_str_eq(gw_error_name(cases[i].err), cases[i].name);
        cr_expect_gt(strlen(gw_error_text(cases[i].err)), 0u);
    }
    cr_expect_str_eq(gw_error_text(0), "done");
#define X(code, cls, text)                                                                         \
    cr_expect_str_eq(gw_error_name(code), #code);                                                  \
    cr_expect_str_eq(gw_error_text(code), text);
    GW_ERRORS(X)
#undef X
}
