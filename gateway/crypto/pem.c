/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_priv.h"

#include <errno.h>
#include <stdio.h>

#define PEM_LINE 64

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char alphabet_url[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* One to three bytes to as many characters as they need; returns how many. */
static size_t encode_group(const uint8_t *in, size_t len, const char *chars, uint8_t out[4])
{
    uint32_t v = (uint32_t)in[0] << 16;

    if (len > 1)
        v |= (uint32_t)in[1] << 8;
    if (len > 2)
        v |= in[2];
    for (unsigned i = 0; i < 4; i++)
        out[i] = (uint8_t)chars[v >> (18 - 6 * i) & 63];
    return len < 3 ? len + 1 : 4;
}

/* `line` 0: unbroken. */
static int encode(struct gw_slice data, const char *chars, bool pad, size_t line,
                  struct gw_buf *out)
{
    size_t chars_len = (data.len + 2) / 3 * 4, column = 0;
    int err = gw_buf_reserve(out, chars_len + (line ? chars_len / line + 1 : 0));
    uint8_t *to;

    if (err)
        return err;
    to = out->data + out->tail;
    for (size_t i = 0; i < data.len; i += 3) {
        size_t n = encode_group(data.ptr + i, GW_MIN(data.len - i, (size_t)3), chars, to);

        for (to += n; pad && n < 4; n++)
            *to++ = '=';
        column += 4;
        if (line && (column % line == 0 || i + 3 >= data.len))
            *to++ = '\n';
    }
    out->tail = (size_t)(to - out->data);
    return 0;
}

static int decode_char(uint8_t c, const char *chars)
{
    const char *at = c ? strchr(chars, c) : NULL;

    return at ? (int)(at - chars) : -1;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct decoder {
    const char *chars;
    uint32_t bits;
    unsigned have; /* characters of the group in `bits` */
    unsigned pads;
    uint8_t *to;
};

static int decode_one(struct decoder *d, uint8_t c)
{
    int v = decode_char(c, d->chars);

    if (v < 0 || d->pads)
        return GW_EMALFORMED;
    d->bits = d->bits << 6 | (uint32_t)v;
    if (++d->have < 4)
        return 0;
    *d->to++ = (uint8_t)(d->bits >> 16);
    *d->to++ = (uint8_t)(d->bits >> 8);
    *d->to++ = (uint8_t)d->bits;
    d->have = 0;
    d->bits = 0;
    return 0;
}

/* Two or three characters may be left; bits that no byte uses must be zero (RFC 4648 §3.5). */
static int decode_tail(struct decoder *d, bool pad)
{
    if (d->have == 1 || (pad ? d->pads != (4 - d->have) % 4 : d->pads != 0))
        return GW_EMALFORMED;
    if (d->have == 2) {
        if (d->bits & 15)
            return GW_EMALFORMED;
        *d->to++ = (uint8_t)(d->bits >> 4);
    } else if (d->have == 3) {
        if (d->bits & 3)
            return GW_EMALFORMED;
        *d->to++ = (uint8_t)(d->bits >> 10);
        *d->to++ = (uint8_t)(d->bits >> 2);
    }
    return 0;
}

static int decode(struct gw_slice text, const char *chars, bool pad, struct gw_buf *out)
{
    struct decoder d = {.chars = chars};
    int err = gw_buf_reserve(out, text.len / 4 * 3 + 3);

    if (err)
        return err;
    d.to = out->data + out->tail;
    for (size_t i = 0; i < text.len && !err; i++) {
        if (pad && is_space(text.ptr[i]))
            continue;
        if (pad && text.ptr[i] == '=')
            d.pads++;
        else
            err = decode_one(&d, text.ptr[i]);
    }
    if (!err)
        err = decode_tail(&d, pad);
    if (!err)
        out->tail = (size_t)(d.to - out->data);
    return err;
}

int gw_base64(struct gw_slice data, bool lines, struct gw_buf *out)
{
    return encode(data, alphabet, true, lines ? PEM_LINE : 0, out);
}

int gw_unbase64(struct gw_slice text, struct gw_buf *out)
{
    return decode(text, alphabet, true, out);
}

int gw_base64url(struct gw_slice data, struct gw_buf *out)
{
    return encode(data, alphabet_url, false, 0, out);
}

int gw_unbase64url(struct gw_slice text, struct gw_buf *out)
{
    return decode(text, alphabet_url, false, out);
}

/* ---- PEM (RFC 7468) ---- */

int gw_pem_from_der(const char *label, struct gw_slice der, struct gw_buf *out)
{
    size_t before = out->tail - out->head;
    char line[96];
    int err, len = snprintf(line, sizeof(line), "-----BEGIN %s-----\n", label);

    if (len < 0 || (size_t)len >= sizeof(line))
        return -EINVAL;
    err = gw_buf_append(out, GW_SLICE(line, (size_t)len));
    if (!err)
        err = gw_base64(der, true, out);
    if (!err) {
        len = snprintf(line, sizeof(line), "-----END %s-----\n", label);
        err = gw_buf_append(out, GW_SLICE(line, (size_t)len));
    }
    if (err)
        out->tail = out->head + before;
    return err;
}

/* Where "-----BEGIN label-----" or END starts, and what follows it. */
static bool find_mark(struct gw_slice text, const char *what, const char *label,
                      struct gw_slice *out_before, struct gw_slice *out_after)
{
    char mark[96];
    int len = snprintf(mark, sizeof(mark), "-----%s %s-----", what, label);
    const uint8_t *at;

    if (len < 0 || (size_t)len >= sizeof(mark) || !text.len)
        return false;
    at = memmem(text.ptr, text.len, mark, (size_t)len);
    if (!at)
        return false;
    *out_before = GW_SLICE(text.ptr, (size_t)(at - text.ptr));
    *out_after = GW_SLICE(at + len, text.len - out_before->len - (size_t)len);
    return true;
}

int gw_der_from_pem(const char *label, struct gw_slice pem, struct gw_buf *out,
                    struct gw_slice *rest)
{
    struct gw_slice skipped, body, after;
    int err;

    if (!find_mark(pem, "BEGIN", label, &skipped, &body))
        return GW_ENOTFOUND;
    if (!find_mark(body, "END", label, &body, &after))
        return GW_EMALFORMED;
    err = gw_unbase64(body, out);
    if (!err && rest)
        *rest = after;
    return err;
}
