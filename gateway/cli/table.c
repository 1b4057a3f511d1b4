/* SPDX-License-Identifier: GPL-2.0-only */
/* Words for people: aligned columns, ages, sizes. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "base/clock.h"
#include "cli/cli_priv.h"

#define GAP 2

struct cli_table {
    size_t columns, cells, room;
    char **cell;
};

/* One character of `text` and its length; 0 for a byte that is none, and for controls. */
static wchar_t next_char(const char *text, size_t *out_len)
{
    mbstate_t state = {0};
    wchar_t c = 0;
    size_t len = mbrtowc(&c, text, MB_CUR_MAX, &state);

    *out_len = len == (size_t)-1 || len == (size_t)-2 || len == 0 ? 1 : len;
    return *out_len == len && iswprint((wint_t)c) ? c : 0;
}

void cli_put(FILE *to, const char *text)
{
    size_t len;

    for (; *text; text += len) {
        if (next_char(text, &len))
            (void)fwrite(text, 1, len, to);
        else
            (void)fputc('?', to);
    }
}

size_t cli_width(const char *text)
{
    size_t width = 0, len;

    for (; *text; text += len) {
        wchar_t c = next_char(text, &len);
        int w = c ? wcwidth(c) : 1;

        width += w > 0 ? (size_t)w : 0;
    }
    return width;
}

struct cli_table *cli_table_new(const char *const *titles, size_t columns)
{
    struct cli_table *t = calloc(1, sizeof(*t));

    if (!t) {
        (void)cli_fail("out of memory");
        exit(CLI_FAILED);
    }
    t->columns = columns;
    for (size_t i = 0; i < columns; i++)
        cli_cell(t, titles[i]);
    return t;
}

void cli_table_free(struct cli_table **table)
{
    struct cli_table *t = GW_TAKE(*table);

    if (!t)
        return;
    for (size_t i = 0; i < t->cells; i++)
        free(t->cell[i]);
    free(t->cell);
    free(t);
}

void cli_cell(struct cli_table *t, const char *text)
{
    char *copy = strdup(text && *text ? text : "-");

    if (t->cells == t->room) {
        size_t room = t->room ? t->room * 2 : 64;
        char **cell = realloc(t->cell, room * sizeof(*cell));

        if (!cell)
            copy = (free(copy), NULL);
        else
            t->cell = cell;
        t->room = cell ? room : t->room;
    }
    if (!copy) {
        (void)cli_fail("out of memory");
        exit(CLI_FAILED);
    }
    t->cell[t->cells++] = copy;
}

void cli_cellf(struct cli_table *t, const char *fmt, ...)
{
    GW_CLEANUP(gw_free_ptr) char *text = NULL;
    va_list args;
    int len;

    va_start(args, fmt);
    len = vasprintf(&text, fmt, args);
    va_end(args);
    if (len < 0)
        text = NULL;
    cli_cell(t, text);
}

static size_t column_width(const struct cli_table *t, size_t column)
{
    size_t width = 0;

    for (size_t i = column; i < t->cells; i += t->columns)
        width = GW_MAX(width, cli_width(t->cell[i]));
    return width;
}

void cli_table_print_or(const struct cli_table *t, const char *none, FILE *to)
{
    if (t->cells > t->columns) /* the titles are the first row */
        cli_table_print(t, to);
    else
        (void)fprintf(to, "%s\n", none);
}

void cli_table_print(const struct cli_table *t, FILE *to)
{
    GW_CLEANUP(gw_free_ptr) size_t *widths = calloc(t->columns, sizeof(*widths));

    for (size_t c = 0; widths && c < t->columns; c++)
        widths[c] = column_width(t, c);
    for (size_t i = 0; i < t->cells; i++) {
        size_t column = i % t->columns;

        cli_put(to, t->cell[i]);
        if (column == t->columns - 1)
            (void)fputc('\n', to);
        else if (widths)
            (void)fprintf(to, "%*s", (int)(widths[column] - cli_width(t->cell[i]) + GAP), "");
    }
}

/* ---- small texts ---- */

const char *cli_age(const json_t *time, int64_t now_ms, char out[32])
{
    static const struct {
        int64_t below, unit;
        const char *text;
    } steps[] = {{120, 1, "s"}, {7200, 60, "min"}, {172800, 3600, "h"}, {INT64_MAX, 86400, "d"}};
    int64_t at, s;
    size_t i = 0;

    if (!json_is_string(time) || !gw_time_parse(json_string_value(time), &at))
        return "-";
    s = (now_ms > at ? now_ms - at : at - now_ms) / 1000;
    while (s >= steps[i].below)
        i++;
    (void)snprintf(out, 32, "%" PRId64 " %s", s / steps[i].unit, steps[i].text);
    return out;
}

const char *cli_bytes(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t i = 0;

    for (; value >= 999.5; i++)
        value /= 1000;
    (void)snprintf(out, 32, i && value < 9.95 ? "%.1f %s" : "%.0f %s", value, units[i]);
    return out;
}

const char *cli_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

uint64_t cli_number(const json_t *object, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(object, name));

    return n > 0 ? (uint64_t)n : 0;
}
