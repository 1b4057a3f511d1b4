/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Clocks and the one text form of a time. Whatever runs uses the monotonic clock, whatever is
 * written down or signed the wall clock. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Milliseconds of CLOCK_MONOTONIC. */
uint64_t gw_clock_mono_ms(void);
/** Nanoseconds of CLOCK_BOOTTIME, the clock the kernel programs compare verdicts with. */
uint64_t gw_clock_boot_ns(void);
/** Milliseconds since 1970, UTC. */
int64_t gw_clock_wall_ms(void);

/** Bytes of an RFC 3339 time with milliseconds and its final zero: 2026-11-22T06:19:00.123Z. */
#define GW_TIME_TEXT 25

/** Writes GW_TIME_TEXT bytes to `out` and returns it. Years 1970 to 9999. */
char *gw_time_text(int64_t wall_ms, char out[GW_TIME_TEXT]);

/** Back from RFC 3339, UTC ("Z") only, up to nine digits of a second; false when it is none. */
bool gw_time_parse(const char *text, int64_t *out_wall_ms);

/** A length of time as a person writes it: 90, 90s, 5m, 1h, 2d; false when it is none or > 100
 * years. */
bool gw_duration_parse(const char *text, uint64_t *out_s);
