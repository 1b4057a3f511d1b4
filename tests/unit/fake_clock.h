/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time that a test moves by hand: takes the place of base/clock.c in the program that includes it.
 * The loop, its timers and the wall clock all follow. Weak: the files of one program share it.
 */
#pragma once

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "loop/loop.h"

#define FAKE_START_MS 1000000
#define FAKE_WALL_MS 1800000000000 /* wall time at FAKE_START_MS: 2027 */

#define FAKE __attribute__((weak))

FAKE _Atomic uint64_t fake_now_ms = FAKE_START_MS;

FAKE uint64_t gw_clock_mono_ms(void)
{
    return fake_now_ms;
}

FAKE uint64_t gw_clock_boot_ns(void)
{
    return fake_now_ms * 1000000;
}

FAKE int64_t gw_clock_wall_ms(void)
{
    return FAKE_WALL_MS + (int64_t)(fake_now_ms - FAKE_START_MS);
}

FAKE char *gw_time_text(int64_t wall_ms, char out[GW_TIME_TEXT])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    char text[64], day[32];
    struct tm tm;

    (void)gmtime_r(&seconds, &tm);
    (void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text, sizeof(text), "%s.%03dZ", day, (int)(wall_ms % 1000));
    memcpy(out, text, GW_TIME_TEXT - 1);
    out[GW_TIME_TEXT - 1] = '\0';
    return out;
}

/* Let time go by in steps of at most a second, a turn of the loop after each. */
static inline void pass_ms(struct gw_loop *loop, uint64_t ms)
{
    int err = 0;

    for (uint64_t step; ms > 0 && !err; ms -= step) {
        step = ms < 1000 ? ms : 1000;
        fake_now_ms += step;
        err = gw_loop_turn(loop, 0);
    }
    if (err)
        abort();
}
