/* SPDX-License-Identifier: GPL-2.0-only */
/* QoS 0 records: in memory only, the oldest dropped for room. */
#include "spool/spool_priv.h"

static struct frame at(const struct memory *m, size_t offset)
{
    struct gw_slice all = gw_buf_slice(&m->buf);

    return frame_get(GW_SLICE(all.ptr + offset, all.len - offset));
}

static void forget(struct gw_spool *s, size_t bytes)
{
    s->stats.messages--;
    s->stats.bytes -= bytes;
}

/* The oldest goes; one that was handed out may yet arrive and is not counted as dropped. */
static void drop_oldest(struct gw_spool *s)
{
    struct memory *m = &s->memory;
    size_t bytes = at(m, 0).bytes;

    if (m->read == m->head) {
        m->read++;
        s->stats.dropped++;
    } else {
        m->read_offset -= bytes;
    }
    m->head++;
    gw_buf_consume(&m->buf, bytes);
    forget(s, bytes);
}

int memory_put(struct gw_spool *s, const struct gw_spool_record *rec)
{
    struct memory *m = &s->memory;
    size_t bytes = frame_size(rec->topic.len, rec->data.len);
    struct gw_writer w;
    int err;

    if (bytes > m->buf.max)
        return GW_ETOOBIG;
    while (gw_buf_len(&m->buf) + bytes > m->buf.max)
        drop_oldest(s);
    err = gw_buf_reserve(&m->buf, bytes);
    if (err)
        return err;
    w = gw_writer_of(m->buf.data + m->buf.tail, bytes);
    frame_put(&w, (uint8_t)rec->kind, s->next, rec->topic, rec->data);
    m->buf.tail += bytes;
    m->tail++;
    m->last = s->next;
    return 0;
}

bool memory_peek(const struct gw_spool *s, struct frame *out)
{
    const struct memory *m = &s->memory;

    if (m->read == m->tail)
        return false;
    *out = at(m, m->read_offset);
    return true;
}

void memory_take(struct gw_spool *s, const struct frame *f)
{
    s->memory.read++;
    s->memory.read_offset += f->bytes;
}

void memory_release(struct gw_spool *s, const struct taken *t)
{
    struct memory *m = &s->memory;

    if (t->number < m->head)
        return; /* dropped meanwhile, and not counted any more */
    m->head++;
    m->read_offset -= t->bytes;
    gw_buf_consume(&m->buf, t->bytes);
    forget(s, t->bytes);
}

void memory_rewind(struct gw_spool *s)
{
    s->memory.read = s->memory.head;
    s->memory.read_offset = 0;
}

void memory_cut(struct gw_spool *s, uint64_t order)
{
    struct memory *m = &s->memory;
    size_t keep = m->read_offset; /* what was handed out is before any failed write */
    uint64_t number = m->read;

    for (; number < m->tail; number++) {
        struct frame f = at(m, keep);

        if (order_of(f.kind, f.sequence) > order)
            break;
        keep += f.bytes;
    }
    for (size_t offset = keep; number < m->tail; m->tail--) {
        size_t bytes = at(m, offset).bytes;

        offset += bytes;
        s->stats.dropped++;
        forget(s, bytes);
    }
    m->buf.tail = m->buf.head + keep;
}
