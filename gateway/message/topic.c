/* SPDX-License-Identifier: GPL-2.0-only */
#include "message/message.h"

bool gw_topic_valid(struct gw_slice t)
{
    if (t.len == 0 || t.len > GW_TOPIC_MAX) /* [MQTT-4.7.3-1], [MQTT-4.7.3-3] */
        return false;
    if (memchr(t.ptr, '+', t.len) || memchr(t.ptr, '#', t.len)) /* [MQTT-4.7.1-1] */
        return false;
    return gw_utf8_valid(t);
}

bool gw_filter_valid(struct gw_slice f)
{
    if (f.len == 0 || f.len > GW_TOPIC_MAX)
        return false;
    for (size_t i = 0; i < f.len; i++) {
        bool first = i == 0 || f.ptr[i - 1] == '/';
        bool last = i + 1 == f.len || f.ptr[i + 1] == '/';

        if (f.ptr[i] == '+' && !(first && last)) /* [MQTT-4.7.1-2] */
            return false;
        if (f.ptr[i] == '#' && !(first && i + 1 == f.len)) /* [MQTT-4.7.1-1] */
            return false;
    }
    return gw_utf8_valid(f);
}

bool gw_filter_share(struct gw_slice filter, struct gw_slice *out_name, struct gw_slice *out_filter)
{
    const size_t skip = sizeof("$share/") - 1;
    struct gw_slice name = GW_SLICE_NONE;
    const uint8_t *slash;

    if (!gw_slice_starts(filter, "$share/")) {
        *out_name = name;
        *out_filter = filter;
        return true;
    }
    slash = memchr(filter.ptr + skip, '/', filter.len - skip);
    if (!slash)
        return false;
    name = GW_SLICE(filter.ptr + skip, (size_t)(slash - filter.ptr) - skip);
    if (!gw_topic_valid(name)) /* at least one character, no wildcard */
        return false;
    *out_name = name;
    *out_filter = GW_SLICE(slash + 1, filter.len - (size_t)(slash + 1 - filter.ptr));
    return out_filter->len > 0;
}

/* [MQTT-4.7.3-4]: byte for byte */
bool gw_topic_level(struct gw_slice *rest, struct gw_slice *out)
{
    const uint8_t *slash;

    if (!rest->ptr)
        return false;
    slash = rest->len ? memchr(rest->ptr, '/', rest->len) : NULL;
    *out = *rest;
    if (!slash) {
        *rest = GW_SLICE_NONE;
        return true;
    }
    out->len = (size_t)(slash - rest->ptr);
    *rest = GW_SLICE(slash + 1, rest->len - out->len - 1);
    return true;
}

static bool is_level(struct gw_slice level, char c)
{
    return level.len == 1 && level.ptr[0] == c;
}

bool gw_filter_covers(struct gw_slice outer, struct gw_slice inner)
{
    struct gw_slice o, i;

    if (outer.len == 0 || inner.len == 0)
        return false;
    if ((outer.ptr[0] == '#' || outer.ptr[0] == '+') && inner.ptr[0] == '$')
        return false; /* [MQTT-4.7.2-1] */
    while (gw_topic_level(&outer, &o)) {
        if (is_level(o, '#'))
            return true; /* also the parent level itself: "a/#" matches "a" */
        if (!gw_topic_level(&inner, &i) || is_level(i, '#'))
            return false;
        if (!is_level(o, '+') && !gw_slice_eq(o, i))
            return false;
    }
    return !inner.ptr;
}

bool gw_topic_matches(struct gw_slice filter, struct gw_slice topic)
{
    return gw_filter_covers(filter, topic); /* a topic is the filter that matches only itself */
}

bool gw_filter_overlaps(struct gw_slice a, struct gw_slice b)
{
    struct gw_slice x, y;

    if (a.len == 0 || b.len == 0)
        return false;
    if ((a.ptr[0] == '$') != (b.ptr[0] == '$') &&
        (is_level((struct gw_slice){a.ptr, 1}, '#') || is_level((struct gw_slice){a.ptr, 1}, '+') ||
         is_level((struct gw_slice){b.ptr, 1}, '#') || is_level((struct gw_slice){b.ptr, 1}, '+')))
        return false; /* [MQTT-4.7.2-1] */
    while (gw_topic_level(&a, &x)) {
        if (is_level(x, '#'))
            return true;
        if (!gw_topic_level(&b, &y))
            return false;
        if (is_level(y, '#'))
            return true;
        if (!is_level(x, '+') && !is_level(y, '+') && !gw_slice_eq(x, y))
            return false;
    }
    if (!b.ptr)
        return true;
    return gw_topic_level(&b, &y) && is_level(y, '#'); /* "a" and "a/#" */
}
