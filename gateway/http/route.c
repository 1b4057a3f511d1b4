/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdio.h>

#include "http/http_priv.h"

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool http_unescape(struct gw_slice in, char *out)
{
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.ptr[i];

        if (c == '%') {
            bool whole = in.len - i > 2;
            int high = whole ? hex_digit(in.ptr[i + 1]) : -1;
            int low = whole ? hex_digit(in.ptr[i + 2]) : -1;

            if (high < 0 || low < 0)
                return false;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        }
        if (c == '\0')
            return false;
        *out++ = (char)c;
    }
    *out = '\0';
    return true;
}

static int take_segment(struct gw_slice raw, char **out)
{
    GW_CLEANUP(gw_free_ptr) char *text = malloc(raw.len + 1);

    if (!text)
        return -ENOMEM;
    if (!http_unescape(raw, text))
        return GW_EMALFORMED;
    *out = GW_TAKE(text);
    return 1;
}

int http_match(const char *pattern, const char *path, char *segments[SEGMENTS_MAX])
{
    unsigned n = 0;

    while (*pattern) {
        if (pattern[0] == '*' && pattern[1] == '\0')
            return n < SEGMENTS_MAX ? take_segment(gw_slice_str(path), &segments[n]) : 0;
        if (pattern[0] == '{' && pattern[1] == '}') {
            size_t len = strcspn(path, "/");
            int got;

            if (len == 0 || n == SEGMENTS_MAX)
                return 0;
            got = take_segment(GW_SLICE(path, len), &segments[n++]);
            if (got < 0)
                return got;
            pattern += 2;
            path += len;
            continue;
        }
        if (*pattern++ != *path++)
            return 0;
    }
    return *path == '\0';
}

void http_segments_free(char *segments[SEGMENTS_MAX])
{
    for (unsigned i = 0; i < SEGMENTS_MAX; i++)
        gw_free_ptr(&segments[i]);
}

int http_route(const struct gw_http_route *routes, unsigned method, const char *path,
               const struct gw_http_route **out, char *segments[SEGMENTS_MAX],
               unsigned *out_allowed)
{
    unsigned allowed = 0;

    for (const struct gw_http_route *row = routes; row->path; row++) {
        char *found[SEGMENTS_MAX] = {NULL};
        int got = http_match(row->path, path, found);

        if (got == 1 && (row->methods & method)) {
            memcpy(segments, found, sizeof(found));
            *out = row;
            return 0;
        }
        http_segments_free(found);
        if (got < 0)
            return got;
        if (got == 1)
            allowed |= row->methods;
    }
    *out_allowed = allowed;
    return allowed ? GW_EUNSUPPORTED : GW_ENOTFOUND;
}

void http_allow_text(unsigned methods, char out[40])
{
    static const struct {
        unsigned method;
        const char *name;
    } names[] = {{GW_GET, "GET, HEAD"}, {GW_POST, "POST"}, {GW_PUT, "PUT"}, {GW_DELETE, "DELETE"}};
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; i < GW_COUNT(names); i++)
        if (methods & names[i].method)
            len += (size_t)snprintf(out + len, 40 - len, "%s%s", len ? ", " : "", names[i].name);
}
