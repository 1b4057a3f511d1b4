/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_DURATION_S (100ull * 366 * 86400)

static struct timespec now(clockid_t clock)
{
    struct timespec ts = {0};

    (void)clock_gettime(clock, &ts);
    return ts;
}

uint64_t gw_clock_mono_ms(void)
{
    struct timespec ts = now(CLOCK_MONOTONIC);

    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t gw_clock_boot_ns(void)
{
    struct timespec ts = now(CLOCK_BOOTTIME);

    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int64_t gw_clock_wall_ms(void)
{
    struct timespec ts = now(CLOCK_REALTIME);

    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

char *gw_time_text(int64_t wall_ms, char out[GW_TIME_TEXT])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm = {0};
    char text[64];

    (void)gmtime_r(&seconds, &tm);
    (void)snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   (int)(wall_ms % 1000));
    memcpy(out, text, GW_TIME_TEXT - 1);
    out[GW_TIME_TEXT - 1] = '\0';
    return out;
}

/* The fraction's milliseconds and the final Z, right up to the text's end. */
static bool fraction_parse(const char *p, int *out_ms)
{
    int ms = 0, digits = 0;

    if (*p == '.')
        for (p++; *p >= '0' && *p <= '9' && digits < 9; p++, digits++)
            ms = digits < 3 ? ms * 10 + (*p - '0') : ms;
    if (p[-1] == '.' || strcmp(p, "Z") != 0)
        return false;
    for (; digits && digits < 3; digits++)
        ms *= 10;
    *out_ms = ms;
    return true;
}

bool gw_time_parse(const char *text, int64_t *out_wall_ms)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd";
    struct tm tm = {0}, again;
    int ms = 0;
    time_t t;

    for (size_t i = 0; i < sizeof(form) - 1; i++)
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec) != 6)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    again = tm;
    t = timegm(&again); /* moves 30 February on to March: such a day is none */
    if (t < 0 || again.tm_mday != tm.tm_mday || again.tm_mon != tm.tm_mon ||
        again.tm_hour != tm.tm_hour || again.tm_min != tm.tm_min || again.tm_sec != tm.tm_sec)
        return false;
    if (!fraction_parse(text + sizeof(form) - 1, &ms))
        return false;
    *out_wall_ms = (int64_t)t * 1000 + ms;
    return true;
}

bool gw_duration_parse(const char *text, uint64_t *out_s)
{
    static const struct {
        const char *unit;
        uint64_t seconds;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}};
    unsigned long long n;
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    n = strtoull(text, &end, 10);
    for (size_t i = 0; !errno && i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0 && n <= MAX_DURATION_S / units[i].seconds) {
            *out_s = n * units[i].seconds;
            return true;
        }
    }
    return false;
}
