/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_priv.h"

#include <errno.h>

#include "base/clock.h"

/*
 * One stored message: format, qos, flags, time, end (wall clock, 0: never), then seven fields with
 * their length, then the origin, which format 1 did not have.
 */
#define FORMAT 2
#define FORMAT_WITHOUT_ORIGIN 1
#define HEAD_BYTES (3 + 8 + 8)
#define FLAG_RETAIN 1
#define FLAG_UTF8 2
#define FLAG_FORMAT 4
#define FLAG_CONTENT_TYPE 8
#define FLAG_CORRELATION 16

static int64_t end_as_wall(uint64_t expires_ms)
{
    if (!expires_ms)
        return 0;
    return gw_clock_wall_ms() + (int64_t)(expires_ms - gw_clock_mono_ms());
}

/* No longer than it had from the start, though the clock may have been set back meanwhile. */
static uint64_t end_as_mono(int64_t wall_ms, int64_t start_ms)
{
    int64_t left;

    if (!wall_ms)
        return 0;
    left = wall_ms - GW_MAX(gw_clock_wall_ms(), start_ms);
    return left > 0 ? gw_clock_mono_ms() + (uint64_t)left : 1;
}

static uint8_t flags_of(const struct gw_msg *m)
{
    return (uint8_t)((m->retain ? FLAG_RETAIN : 0) | (m->utf8 ? FLAG_UTF8 : 0) |
                     (m->has_format ? FLAG_FORMAT : 0) |
                     (m->content_type.ptr ? FLAG_CONTENT_TYPE : 0) |
                     (m->correlation.ptr ? FLAG_CORRELATION : 0));
}

int pack_msg(const struct gw_msg *m, struct gw_buf *out)
{
    const struct gw_slice fields[] = {m->device,       m->topic,          m->payload,
                                      m->content_type, m->response_topic, m->correlation,
                                      m->user_props};
    size_t size = HEAD_BYTES + sizeof(m->origin);
    struct gw_writer w;
    int err;

    for (size_t i = 0; i < GW_COUNT(fields); i++)
        size += 4 + fields[i].len;
    err = gw_buf_reserve(out, size);
    if (err)
        return err;
    w = gw_writer_of(out->data + out->tail, size);
    gw_writer_u8(&w, FORMAT);
    gw_writer_u8(&w, m->qos);
    gw_writer_u8(&w, flags_of(m));
    gw_writer_u64(&w, (uint64_t)m->time_ms);
    gw_writer_u64(&w, (uint64_t)end_as_wall(m->expires_ms));
    for (size_t i = 0; i < GW_COUNT(fields); i++) {
        gw_writer_u32(&w, (uint32_t)fields[i].len);
        gw_writer_put(&w, fields[i]);
    }
    gw_writer_u64(&w, m->origin);
    out->tail += w.len;
    return w.err;
}

int unpack_msg(struct gw_slice blob, struct gw_msg **out)
{
    struct gw_reader r = gw_reader_of(blob);
    struct gw_msg m = {0};
    struct gw_slice *fields[] = {&m.device,         &m.topic,       &m.payload,   &m.content_type,
                                 &m.response_topic, &m.correlation, &m.user_props};
    uint8_t format = gw_reader_u8(&r), flags;
    int err;

    if (format != FORMAT && format != FORMAT_WITHOUT_ORIGIN)
        return GW_EMALFORMED;
    m.qos = gw_reader_u8(&r);
    flags = gw_reader_u8(&r);
    m.retain = flags & FLAG_RETAIN;
    m.utf8 = flags & FLAG_UTF8;
    m.has_format = m.utf8 || flags & FLAG_FORMAT;
    m.time_ms = (int64_t)gw_reader_u64(&r);
    m.expires_ms = end_as_mono((int64_t)gw_reader_u64(&r), m.time_ms);
    for (size_t i = 0; i < GW_COUNT(fields); i++)
        *fields[i] = gw_reader_slice(&r, gw_reader_u32(&r));
    if (format == FORMAT)
        m.origin = gw_reader_u64(&r);
    if (!m.content_type.len && !(flags & FLAG_CONTENT_TYPE))
        m.content_type = GW_SLICE_NONE;
    if (!m.correlation.len && !(flags & FLAG_CORRELATION))
        m.correlation = GW_SLICE_NONE;
    err = gw_reader_end(&r);
    if (err)
        return err;
    if (m.qos > 2 || m.device.len > GW_HUB_DEVICE_MAX || !gw_topic_valid(m.topic) ||
        !tree_depth_ok(m.topic))
        return GW_EMALFORMED;
    return gw_msg_new(&m, out);
}
