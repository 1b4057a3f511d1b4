/* SPDX-License-Identifier: GPL-2.0-only */
#include <cbor.h>

#include "envelope/envelope_priv.h"

/* ---- writing ---- */

/* What an encoder of libcbor made of a head; it fails only when there is no room. */
static void put_head(struct gw_writer *w, const unsigned char head[9], size_t len)
{
    gw_writer_put(w, GW_SLICE(head, len));
}

void item_put_uint(struct gw_writer *w, uint64_t v)
{
    unsigned char head[9];

    put_head(w, head, cbor_encode_uint(v, head, sizeof(head)));
}

void item_put_int(struct gw_writer *w, int64_t v)
{
    unsigned char head[9];

    if (v >= 0)
        item_put_uint(w, (uint64_t)v);
    else /* -1 - n is encoded as n (RFC 8949 §3.1) */
        put_head(w, head, cbor_encode_negint(~(uint64_t)v, head, sizeof(head)));
}

void item_put_bytes_head(struct gw_writer *w, size_t len)
{
    unsigned char head[9];

    put_head(w, head, cbor_encode_bytestring_start(len, head, sizeof(head)));
}

void item_put_bytes(struct gw_writer *w, struct gw_slice s)
{
    item_put_bytes_head(w, s.len);
    gw_writer_put(w, s);
}

void item_put_text(struct gw_writer *w, struct gw_slice s)
{
    unsigned char head[9];

    put_head(w, head, cbor_encode_string_start(s.len, head, sizeof(head)));
    gw_writer_put(w, s);
}

void item_put_array(struct gw_writer *w, size_t count)
{
    unsigned char head[9];

    put_head(w, head, cbor_encode_array_start(count, head, sizeof(head)));
}

void item_put_map(struct gw_writer *w, size_t pairs)
{
    unsigned char head[9];

    put_head(w, head, cbor_encode_map_start(pairs, head, sizeof(head)));
}

void item_put_tag(struct gw_writer *w, uint64_t tag)
{
    unsigned char head[9];

    put_head(w, head, cbor_encode_tag(tag, head, sizeof(head)));
}

void item_put_null(struct gw_writer *w)
{
    unsigned char head[9];

    put_head(w, head, cbor_encode_null(head, sizeof(head)));
}

/* ---- reading ---- */

enum kind { OTHER, UINT, NEGINT, BYTES, TEXT, ARRAY, MAP, TAG };

/** One item, without what it contains. */
struct item {
    enum kind kind;
    uint64_t value; /* a number, a count or a tag */
    struct gw_slice bytes;
    bool indefinite; /* never needed here, so never accepted */
};

static void take(void *item, enum kind kind, uint64_t value)
{
    *(struct item *)item = (struct item){.kind = kind, .value = value};
}

#define TAKE_NUMBER(name, type, kind)                                                              \
    static void name(void *item, type v)                                                           \
    {                                                                                              \
        take(item, kind, v);                                                                       \
    }
TAKE_NUMBER(take_uint8, uint8_t, UINT)
TAKE_NUMBER(take_uint16, uint16_t, UINT)
TAKE_NUMBER(take_uint32, uint32_t, UINT)
TAKE_NUMBER(take_uint64, uint64_t, UINT)
TAKE_NUMBER(take_negint8, uint8_t, NEGINT)
TAKE_NUMBER(take_negint16, uint16_t, NEGINT)
TAKE_NUMBER(take_negint32, uint32_t, NEGINT)
TAKE_NUMBER(take_negint64, uint64_t, NEGINT)
TAKE_NUMBER(take_array, size_t, ARRAY)
TAKE_NUMBER(take_map, size_t, MAP)
TAKE_NUMBER(take_tag, uint64_t, TAG)

static void take_bytes(void *item, cbor_data data, size_t len)
{
    *(struct item *)item = (struct item){.kind = BYTES, .bytes = GW_SLICE(data, len)};
}

static void take_text(void *item, cbor_data data, size_t len)
{
    *(struct item *)item = (struct item){.kind = TEXT, .bytes = GW_SLICE(data, len)};
}

static void take_indefinite(void *item)
{
    *(struct item *)item = (struct item){.indefinite = true};
}

/* Tags 0 to 23 in their one-byte form: libcbor 0.8 takes some of COSE's for errors. */
static bool peek_small_tag(const struct gw_reader *r, struct item *out)
{
    if (gw_reader_left(r) == 0 || *r->pos < 0xc0 || *r->pos > 0xd7)
        return false;
    *out = (struct item){.kind = TAG, .value = *r->pos & 0x1f};
    return true;
}

/*
 * The next item's head, or GW_ESHORT, GW_EMALFORMED; the reader does not move. Indefinite
 * lengths are never needed here, and so never accepted.
 */
static int peek(const struct gw_reader *r, struct item *out, size_t *out_len)
{
    struct cbor_callbacks on = cbor_empty_callbacks;
    struct cbor_decoder_result got;
    struct item item = {.kind = OTHER};

    *out_len = 1;
    if (peek_small_tag(r, out))
        return 0;
    on.uint8 = take_uint8;
    on.uint16 = take_uint16;
    on.uint32 = take_uint32;
    on.uint64 = take_uint64;
    on.negint8 = take_negint8;
    on.negint16 = take_negint16;
    on.negint32 = take_negint32;
    on.negint64 = take_negint64;
    on.byte_string = take_bytes;
    on.string = take_text;
    on.array_start = take_array;
    on.map_start = take_map;
    on.tag = take_tag;
    on.byte_string_start = on.string_start = take_indefinite;
    on.indef_array_start = on.indef_map_start = on.indef_break = take_indefinite;

    got = cbor_stream_decode(r->pos, gw_reader_left(r), &on, &item);
    if (got.status == CBOR_DECODER_NEDATA)
        return GW_ESHORT;
    if (got.status != CBOR_DECODER_FINISHED || item.indefinite)
        return GW_EMALFORMED;
    /* Each member takes a byte at least: a count can never be larger than what is left. */
    if ((item.kind == ARRAY || item.kind == MAP) && item.value > gw_reader_left(r) - got.read)
        return GW_ESHORT;
    *out = item;
    *out_len = got.read;
    return 0;
}

static struct item next(struct gw_reader *r)
{
    struct item item = {.kind = OTHER};
    size_t len = 0;
    int err = r->err ? r->err : peek(r, &item, &len);

    if (err)
        gw_reader_fail(r, err);
    else
        (void)gw_reader_slice(r, len);
    return item;
}

/* The next item, which must be of this kind; zero otherwise. */
static struct item want(struct gw_reader *r, enum kind kind)
{
    struct item item = next(r);

    if (!r->err && item.kind == kind)
        return item;
    gw_reader_fail(r, GW_EMALFORMED);
    return (struct item){.kind = kind};
}

int64_t item_get_int(struct gw_reader *r)
{
    struct item item = next(r);

    if (r->err || item.value > INT64_MAX || (item.kind != UINT && item.kind != NEGINT)) {
        gw_reader_fail(r, GW_EMALFORMED);
        return 0;
    }
    return item.kind == UINT ? (int64_t)item.value : -1 - (int64_t)item.value;
}

uint64_t item_get_uint(struct gw_reader *r)
{
    return want(r, UINT).value;
}

struct gw_slice item_get_bytes(struct gw_reader *r)
{
    return want(r, BYTES).bytes;
}

const uint8_t *item_get_fixed(struct gw_reader *r, size_t len)
{
    struct gw_slice s = item_get_bytes(r);

    if (!r->err && s.len == len)
        return s.ptr;
    gw_reader_fail(r, GW_EMALFORMED);
    return NULL;
}

struct gw_slice item_get_text(struct gw_reader *r)
{
    struct gw_slice s = want(r, TEXT).bytes;

    if (gw_utf8_valid(s))
        return s;
    gw_reader_fail(r, GW_EMALFORMED);
    return GW_SLICE_NONE;
}

size_t item_get_array(struct gw_reader *r)
{
    return want(r, ARRAY).value;
}

size_t item_get_map(struct gw_reader *r)
{
    return want(r, MAP).value;
}

void item_want_tag(struct gw_reader *r, uint64_t tag)
{
    if (want(r, TAG).value != tag)
        gw_reader_fail(r, GW_EMALFORMED);
}

void item_want_array(struct gw_reader *r, size_t count)
{
    if (item_get_array(r) != count)
        gw_reader_fail(r, GW_EMALFORMED);
}

void item_skip(struct gw_reader *r)
{
    /* Without recursion: every item takes a byte, so `open` is bounded by what is left. */
    for (size_t open = 1; open > 0 && !r->err; open--) {
        struct item item = next(r);

        if (item.kind == ARRAY)
            open += item.value;
        else if (item.kind == MAP)
            open += 2 * item.value;
        else if (item.kind == TAG)
            open++;
        if (!r->err && open - 1 > gw_reader_left(r))
            gw_reader_fail(r, GW_ESHORT);
    }
}

bool item_is_bytes(const struct gw_reader *r)
{
    struct item item;
    size_t len;

    return !r->err && peek(r, &item, &len) == 0 && item.kind == BYTES;
}
