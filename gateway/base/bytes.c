/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/bytes.h"

#include <errno.h>

char *gw_slice_dup(struct gw_slice s)
{
    char *copy = malloc(s.len + 1);

    if (!copy)
        return NULL;
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

bool gw_secret_eq(struct gw_slice a, struct gw_slice b)
{
    volatile uint8_t diff = 0;

    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        diff |= (uint8_t)(a.ptr[i] ^ b.ptr[i]);
    return diff == 0;
}

void gw_wipe(void *ptr, size_t len)
{
    if (len)
        explicit_bzero(ptr, len);
}

/* The bytes that may follow a lead byte: how many, and the range of the first (Unicode table 3-7).
 */
static int utf8_tail(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 1;
    if (lead >= 0xe0 && lead <= 0xef) {
        if (lead == 0xe0)
            *low = 0xa0;
        if (lead == 0xed)
            *high = 0x9f;
        return 2;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (lead == 0xf0)
            *low = 0x90;
        if (lead == 0xf4)
            *high = 0x8f;
        return 3;
    }
    return -1;
}

bool gw_utf8_valid(struct gw_slice s)
{
    for (size_t i = 0; i < s.len;) {
        uint8_t lead = s.ptr[i++], low, high;
        int tail;

        if (lead == 0)
            return false;
        if (lead < 0x80)
            continue;
        tail = utf8_tail(lead, &low, &high);
        if (tail < 0 || s.len - i < (size_t)tail)
            return false;
        for (; tail > 0; tail--, low = 0x80, high = 0xbf) {
            if (s.ptr[i] < low || s.ptr[i] > high)
                return false;
            i++;
        }
    }
    return true;
}

void gw_hex(const void *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *in = bytes;

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * len] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int gw_unhex(const char *hex, void *out, size_t len)
{
    uint8_t *bytes = out;

    if (strlen(hex) != 2 * len)
        return GW_EMALFORMED;
    for (size_t i = 0; i < len; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

        if (high < 0 || low < 0)
            return GW_EMALFORMED;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static uint64_t read_be(struct gw_reader *r, size_t len)
{
    struct gw_slice s = gw_reader_slice(r, len);
    uint64_t v = 0;

    for (size_t i = 0; i < s.len; i++)
        v = v << 8 | s.ptr[i];
    return v;
}

uint8_t gw_reader_u8(struct gw_reader *r)
{
    return (uint8_t)read_be(r, 1);
}

uint16_t gw_reader_u16(struct gw_reader *r)
{
    return (uint16_t)read_be(r, 2);
}

uint32_t gw_reader_u32(struct gw_reader *r)
{
    return (uint32_t)read_be(r, 4);
}

uint64_t gw_reader_u64(struct gw_reader *r)
{
    return read_be(r, 8);
}

struct gw_slice gw_reader_slice(struct gw_reader *r, size_t len)
{
    struct gw_slice s;

    if (gw_reader_left(r) < len) {
        gw_reader_fail(r, GW_ESHORT);
        return GW_SLICE_NONE;
    }
    s = GW_SLICE(r->pos, r->err ? 0 : len);
    r->pos = s.len ? r->pos + s.len : r->pos;
    return s;
}

struct gw_slice gw_reader_rest(struct gw_reader *r)
{
    return gw_reader_slice(r, gw_reader_left(r));
}

struct gw_reader gw_reader_sub(struct gw_reader *r, size_t len)
{
    struct gw_reader sub = gw_reader_of(gw_reader_slice(r, len));

    sub.err = r->err;
    return sub;
}

void gw_reader_fail(struct gw_reader *r, int err)
{
    if (!r->err)
        r->err = err;
}

int gw_reader_end(const struct gw_reader *r)
{
    if (r->err)
        return r->err;
    return r->pos == r->end ? 0 : GW_ETRAIL;
}

static void write_be(struct gw_writer *w, uint64_t v, size_t len)
{
    uint8_t *room = gw_writer_room(w, len);

    for (size_t i = len; room && i > 0; i--, v >>= 8)
        room[i - 1] = (uint8_t)v;
}

void gw_writer_u8(struct gw_writer *w, uint8_t v)
{
    write_be(w, v, 1);
}

void gw_writer_u16(struct gw_writer *w, uint16_t v)
{
    write_be(w, v, 2);
}

void gw_writer_u32(struct gw_writer *w, uint32_t v)
{
    write_be(w, v, 4);
}

void gw_writer_u64(struct gw_writer *w, uint64_t v)
{
    write_be(w, v, 8);
}

void gw_writer_put(struct gw_writer *w, struct gw_slice s)
{
    uint8_t *room = gw_writer_room(w, s.len);

    if (room && s.len)
        memcpy(room, s.ptr, s.len);
}

uint8_t *gw_writer_room(struct gw_writer *w, size_t len)
{
    uint8_t *room;

    if (w->err || w->cap - w->len < len) {
        w->err = GW_EFULL;
        return NULL;
    }
    room = w->ptr + w->len;
    w->len += len;
    return room;
}

/* Move what is left to the front when that frees enough, so a steady queue never grows. */
static void compact(struct gw_buf *b)
{
    memmove(b->data, b->data + b->head, gw_buf_len(b));
    b->tail -= b->head;
    b->head = 0;
}

int gw_buf_reserve(struct gw_buf *b, size_t len)
{
    size_t used = gw_buf_len(b), cap = b->cap ? b->cap : 256;
    uint8_t *data;

    if (len > b->max || used > b->max - len)
        return GW_EFULL;
    if (b->cap - b->tail >= len)
        return 0;
    if (b->head && b->cap - used >= len && b->head >= used) {
        compact(b);
        return 0;
    }
    while (cap - used < len)
        cap *= 2;
    data = malloc(cap);
    if (!data)
        return -ENOMEM;
    if (used)
        memcpy(data, b->data + b->head, used);
    free(b->data);
    *b = (struct gw_buf){.data = data, .tail = used, .cap = cap, .max = b->max};
    return 0;
}

int gw_buf_append(struct gw_buf *b, struct gw_slice s)
{
    int err = gw_buf_reserve(b, s.len);

    if (err)
        return err;
    if (s.len)
        memcpy(b->data + b->tail, s.ptr, s.len);
    b->tail += s.len;
    return 0;
}

void gw_buf_consume(struct gw_buf *b, size_t len)
{
    b->head += len;
    if (b->head == b->tail)
        b->head = b->tail = 0;
}

void gw_buf_fini(struct gw_buf *b)
{
    free(b->data);
    *b = (struct gw_buf){.max = b->max};
}
