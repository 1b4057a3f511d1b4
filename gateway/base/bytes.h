/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Untrusted bytes: a borrowed slice, a reader and a writer whose first failure sticks, and a
 * growing buffer with a limit. No I/O. Any thread, no sharing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/own.h"

/** Bytes that belong to somebody else. `ptr` may be NULL only when `len` is 0. */
struct gw_slice {
    const uint8_t *ptr;
    size_t len;
};

#define GW_SLICE(p, n) ((struct gw_slice){(const uint8_t *)(p), (n)})
/** A slice over a string literal or array, without its terminating zero. */
#define GW_SLICE_LIT(lit) ((struct gw_slice){(const uint8_t *)("" lit), sizeof(lit) - 1})
#define GW_SLICE_NONE ((struct gw_slice){NULL, 0})

static inline struct gw_slice gw_slice_str(const char *s)
{
    return GW_SLICE(s, strlen(s));
}

static inline bool gw_slice_eq(struct gw_slice a, struct gw_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool gw_slice_eq_str(struct gw_slice a, const char *s)
{
    return gw_slice_eq(a, gw_slice_str(s));
}

static inline bool gw_slice_starts(struct gw_slice a, const char *prefix)
{
    size_t len = strlen(prefix);

    return a.len >= len && memcmp(a.ptr, prefix, len) == 0;
}

/** A new NUL-terminated copy, owned by the caller; NULL when memory is out. */
char *gw_slice_dup(struct gw_slice s);

/** Equal in time that depends on the lengths only. For secrets. */
bool gw_secret_eq(struct gw_slice a, struct gw_slice b);

/** Overwrite a secret in a way the compiler keeps. */
void gw_wipe(void *ptr, size_t len);

/** True when `s` is UTF-8 as MQTT wants it: well-formed, no NUL, no surrogates (MQTT 5 §1.5.4). */
bool gw_utf8_valid(struct gw_slice s);

/** `len` bytes as lower-case hex with a final zero: `out` holds 2 * len + 1. */
void gw_hex(const void *bytes, size_t len, char *out);

/** Hex into exactly `len` bytes; GW_EMALFORMED for another length or character. */
int gw_unhex(const char *hex, void *out, size_t len) GW_MUST_CHECK;

/* ---- reader ---- */

/** A cursor over untrusted bytes. After a failed read `err` sticks and every read returns zero. */
struct gw_reader {
    const uint8_t *pos;
    const uint8_t *end;
    int err;
};

static inline struct gw_reader gw_reader_of(struct gw_slice s)
{
    return (struct gw_reader){s.ptr, s.len ? s.ptr + s.len : s.ptr, 0};
}

static inline size_t gw_reader_left(const struct gw_reader *r)
{
    return r->err ? 0 : (size_t)(r->end - r->pos);
}

uint8_t gw_reader_u8(struct gw_reader *r);
uint16_t gw_reader_u16(struct gw_reader *r); /**< big-endian */
uint32_t gw_reader_u32(struct gw_reader *r); /**< big-endian */
uint64_t gw_reader_u64(struct gw_reader *r); /**< big-endian */
/** The next `len` bytes, borrowed; an empty slice and GW_ESHORT when fewer are left. */
struct gw_slice gw_reader_slice(struct gw_reader *r, size_t len);
/** All that is left, borrowed. */
struct gw_slice gw_reader_rest(struct gw_reader *r);
/** A reader over the next `len` bytes, which this one skips; it inherits a failure. */
struct gw_reader gw_reader_sub(struct gw_reader *r, size_t len);
/** Mark the input as bad; the first failure stays. */
void gw_reader_fail(struct gw_reader *r, int err);
/** 0 when everything was read; the first failure, or GW_ETRAIL. */
int gw_reader_end(const struct gw_reader *r) GW_MUST_CHECK;

/* ---- writer ---- */

/** Writes into fixed memory; after the first thing that does not fit, `err` is GW_EFULL. */
struct gw_writer {
    uint8_t *ptr;
    size_t len;
    size_t cap;
    int err;
};

static inline struct gw_writer gw_writer_of(void *ptr, size_t cap)
{
    return (struct gw_writer){.ptr = ptr, .cap = cap};
}

static inline struct gw_slice gw_writer_done(const struct gw_writer *w)
{
    return w->err ? GW_SLICE_NONE : GW_SLICE(w->ptr, w->len);
}

void gw_writer_u8(struct gw_writer *w, uint8_t v);
void gw_writer_u16(struct gw_writer *w, uint16_t v); /**< big-endian */
void gw_writer_u32(struct gw_writer *w, uint32_t v); /**< big-endian */
void gw_writer_u64(struct gw_writer *w, uint64_t v); /**< big-endian */
void gw_writer_put(struct gw_writer *w, struct gw_slice s);
/** Room for `len` bytes that the caller fills; NULL when they do not fit. */
uint8_t *gw_writer_room(struct gw_writer *w, size_t len);

/* ---- growing buffer ---- */

/**
 * A queue of bytes: appended at the tail, consumed at the head; never more than `max` bytes.
 * Zero-initialised with a `max` it is ready to use; gw_buf_fini gives its memory back.
 */
struct gw_buf {
    uint8_t *data;
    size_t head;
    size_t tail;
    size_t cap;
    size_t max;
};

static inline size_t gw_buf_len(const struct gw_buf *b)
{
    return b->tail - b->head;
}

static inline struct gw_slice gw_buf_slice(const struct gw_buf *b)
{
    return b->data ? GW_SLICE(b->data + b->head, gw_buf_len(b)) : GW_SLICE_NONE;
}

/** Make room for `len` more bytes. GW_EFULL over `max`; -ENOMEM. Nothing changes on failure. */
int gw_buf_reserve(struct gw_buf *b, size_t len) GW_MUST_CHECK;
/** Append a copy. Errors as gw_buf_reserve. */
int gw_buf_append(struct gw_buf *b, struct gw_slice s) GW_MUST_CHECK;
/** Drop `len` bytes from the head; `len` is at most gw_buf_len. Memory is kept for reuse. */
void gw_buf_consume(struct gw_buf *b, size_t len);
/** Give the memory back; the buffer stays usable. */
void gw_buf_fini(struct gw_buf *b);
