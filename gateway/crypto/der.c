/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_priv.h"

uint8_t gw_der_peek(const struct gw_reader *r)
{
    return gw_reader_left(r) ? *r->pos : 0;
}

/* A length as DER has it: definite and in the fewest bytes. Ours never pass 16 MiB. */
static size_t read_length(struct gw_reader *r)
{
    uint8_t first = gw_reader_u8(r);
    size_t len = 0;

    if (first < 0x80)
        return first;
    if (first < 0x81 || first > 0x83) {
        gw_reader_fail(r, GW_EMALFORMED);
        return 0;
    }
    for (unsigned i = first & 3; i > 0; i--)
        len = len << 8 | gw_reader_u8(r);
    if (len < 0x80 || (first == 0x82 && len < 0x100) || (first == 0x83 && len < 0x10000))
        gw_reader_fail(r, GW_EMALFORMED);
    return len;
}

struct gw_reader gw_der_in(struct gw_reader *r, uint8_t tag)
{
    if (gw_reader_u8(r) != tag)
        gw_reader_fail(r, GW_EMALFORMED);
    return gw_reader_sub(r, read_length(r));
}

struct gw_slice gw_der_whole(struct gw_reader *r, uint8_t tag)
{
    const uint8_t *start = r->pos;

    (void)gw_der_in(r, tag);
    return r->err ? GW_SLICE_NONE : GW_SLICE(start, (size_t)(r->pos - start));
}

void gw_der_skip(struct gw_reader *r)
{
    (void)gw_der_in(r, gw_der_peek(r));
}

struct gw_slice gw_der_bits(struct gw_reader *r)
{
    struct gw_reader bits = gw_der_in(r, DER_BITS);

    if (gw_reader_u8(&bits) != 0)
        gw_reader_fail(r, GW_EMALFORMED);
    if (bits.err)
        gw_reader_fail(r, bits.err);
    return r->err ? GW_SLICE_NONE : gw_reader_rest(&bits);
}

struct gw_slice gw_der_oid(struct gw_reader *r)
{
    struct gw_reader oid = gw_der_in(r, DER_OID);

    return gw_reader_rest(&oid);
}

int gw_der_done(const struct gw_reader *r)
{
    return gw_reader_end(r) ? GW_EMALFORMED : 0;
}

size_t gw_der_begin(struct gw_writer *w, uint8_t tag)
{
    gw_writer_u8(w, tag);
    return w->len;
}

/* The length's size is known only now: the contents move up to make room for it. */
void gw_der_end(struct gw_writer *w, size_t mark)
{
    size_t len = w->err ? 0 : w->len - mark;
    size_t extra = len < 0x80 ? 0 : len < 0x100 ? 1 : len < 0x10000 ? 2 : 3;
    uint8_t *room = gw_writer_room(w, 1 + extra);

    if (!room)
        return;
    memmove(w->ptr + mark + 1 + extra, w->ptr + mark, len);
    w->ptr[mark] = (uint8_t)(extra ? 0x80 + extra : len);
    for (size_t i = extra; i > 0; i--, len >>= 8)
        w->ptr[mark + i] = (uint8_t)len;
}

void gw_der_put(struct gw_writer *w, uint8_t tag, struct gw_slice contents)
{
    size_t mark = gw_der_begin(w, tag);

    gw_writer_put(w, contents);
    gw_der_end(w, mark);
}
