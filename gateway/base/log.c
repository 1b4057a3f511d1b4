/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LINE_MAX_BYTES 1024

static enum gw_log_level threshold = GW_LOG_INFO;
static const char *process = "cordon";

void gw_log_level(enum gw_log_level level)
{
    threshold = level;
}

void gw_log_name(const char *name)
{
    process = name;
}

static const char *word_of(enum gw_log_level level)
{
    switch (level) {
    case GW_LOG_ERROR:
        return "error: ";
    case GW_LOG_WARNING:
        return "warning: ";
    case GW_LOG_INFO:
        return "";
    case GW_LOG_DEBUG:
        return "debug: ";
    }
    return "";
}

/* Whatever a field holds: an event is one line, and nothing in it moves a terminal's cursor. */
static void keep_in_line(char *text, int len)
{
    for (int i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
}

void gw_log(enum gw_log_level level, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;
    int used;

    if (level > threshold)
        return;
    /* sd-daemon(3): "<N>" sets the priority of a line that goes to the journal. */
    if (getenv("JOURNAL_STREAM"))
        used = snprintf(line, sizeof(line), "<%d>%s: ", (int)level, process);
    else
        used = snprintf(line, sizeof(line), "%s: %s", process, word_of(level));
    va_start(args, fmt);
    used += vsnprintf(line + used, sizeof(line) - (size_t)used, fmt, args);
    va_end(args);
    if ((size_t)used > sizeof(line) - 2)
        used = sizeof(line) - 2;
    keep_in_line(line, used);
    line[used++] = '\n';
    /* One write a line: two processes share this descriptor. */
    (void)!write(STDERR_FILENO, line, (size_t)used);
}

char *gw_log_text(struct gw_slice text, char out[GW_LOG_TEXT])
{
    static const char cut[] = "\"…";
    size_t used = 0;

    out[used++] = '"';
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';

        if (used + 4 + sizeof(cut) > GW_LOG_TEXT) {
            memcpy(out + used, cut, sizeof(cut));
            return out;
        }
        if (plain)
            out[used++] = (char)c;
        else
            used += (size_t)snprintf(out + used, 5, "\\x%02x", c);
    }
    out[used++] = '"';
    out[used] = '\0';
    return out;
}

bool gw_log_allowed(struct gw_log_limit *limit, uint64_t now_ms)
{
    if (now_ms - limit->since_ms >= limit->per_ms) {
        limit->since_ms = now_ms;
        limit->used = 0;
    }
    if (limit->used < limit->burst) {
        limit->used++;
        return true;
    }
    limit->muted++;
    return false;
}
