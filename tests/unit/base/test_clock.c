/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>

#include "base/clock.h"

Test(clock, reads_a_time_or_says_it_is_none)
{
    static const struct {
        const char *name, *text;
        int64_t want; /* -1: none */
    } cases[] = {
        {"whole seconds", "2026-11-22T06:19:00Z", 1795328340000},
        {"milliseconds", "2026-11-22T06:19:00.123Z", 1795328340123},
        {"tenths", "2026-11-22T06:19:00.5Z", 1795328340500},
        {"nanoseconds are cut", "2026-11-22T06:19:00.123456789Z", 1795328340123},
        {"the beginning", "1970-01-01T00:00:00Z", 0},
        {"a leap day", "2028-02-29T00:00:00Z", 1835395200000},
        {"no leap day", "2027-02-29T00:00:00Z", -1},
        {"month 13", "2026-13-01T00:00:00Z", -1},
        {"hour 24", "2026-11-22T24:00:00Z", -1},
        {"second 61", "2026-11-22T06:19:61Z", -1},
        {"another zone", "2026-11-22T06:19:00+01:00", -1},
        {"no zone", "2026-11-22T06:19:00", -1},
        {"a point alone", "2026-11-22T06:19:00.Z", -1},
        {"ten digits", "2026-11-22T06:19:00.1234567890Z", -1},
        {"a space", "2026-11-22 06:19:00Z", -1},
        {"a sign", "2026-11-22T06:19:-1Z", -1},
        {"something behind", "2026-11-22T06:19:00Zx", -1},
        {"before 1970", "1969-12-31T23:59:59Z", -1},
        {"nothing", "", -1},
        {"half", "2026-11", -1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t got = -1;
        bool ok = gw_time_parse(cases[i].text, &got);

        cr_expect_eq(ok, cases[i].want >= 0, "%s", cases[i].name);
        cr_expect_eq(got, cases[i].want, "%s: got %lld", cases[i].name, (long long)got);
    }
}

Test(clock, writes_what_it_reads)
{
    static const int64_t times[] = {0, 1, 999, 1795328340123, 253402300799999};

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        char text[GW_TIME_TEXT];
        int64_t got;

        cr_assert(gw_time_parse(gw_time_text(times[i], text), &got), "%s", text);
        cr_expect_eq(got, times[i], "%s", text);
    }
}
