/* SPDX-License-Identifier: GPL-2.0-only */
/* The bytes of segments and of the release mark; big-endian. */
#include "spool/spool_priv.h"

#ifdef __x86_64__
#include <nmmintrin.h>
#endif

#define HEAD_MAGIC 0x436f7264536567a1u /* "CordSeg", version 1 */
#define MARK_MAGIC 0x436f7264526c73a2u /* "CordRls", version 2 */

/* ---- CRC-32C (RFC 3720 appendix B.4), eight bytes a step ---- */

static uint32_t table[8][256];
static bool is_fast; /* the processor does it itself */

static bool has_instruction(void);

__attribute__((constructor)) static void fill_table(void)
{
    is_fast = has_instruction();
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;

        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xff];
}

uint32_t crc32c_by_table(uint32_t crc, struct gw_slice s)
{
    const uint8_t *p = s.ptr;
    size_t len = s.len;

    crc = ~crc;
    for (; len >= 8; len -= 8, p += 8)
        crc = table[7][(crc ^ p[0]) & 0xff] ^ table[6][((crc >> 8) ^ p[1]) & 0xff] ^
              table[5][((crc >> 16) ^ p[2]) & 0xff] ^ table[4][(crc >> 24) ^ p[3]] ^
              table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    for (; len; len--, p++)
        crc = (crc >> 8) ^ table[0][(crc ^ *p) & 0xff];
    return ~crc;
}

#ifdef __x86_64__
/* One instruction for eight bytes, in every processor that was made since 2011. */
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t start, struct gw_slice s)
{
    const uint8_t *p = s.ptr;
    size_t len = s.len;
    uint64_t crc = (uint32_t)~start, word;

    for (; len >= sizeof(word); len -= sizeof(word), p += sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        crc = _mm_crc32_u64(crc, word);
    }
    for (; len; len--, p++)
        crc = _mm_crc32_u8((uint32_t)crc, *p);
    return ~(uint32_t)crc;
}

static bool has_instruction(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
}
#else
static uint32_t by_instruction(uint32_t start, struct gw_slice s)
{
    return crc32c_by_table(start, s);
}

static bool has_instruction(void)
{
    return false;
}
#endif

uint32_t crc32c(uint32_t crc, struct gw_slice s)
{
    return is_fast ? by_instruction(crc, s) : crc32c_by_table(crc, s);
}

/* ---- frames: sync, checksum, data length, topic length, kind, label length, sequence; label,
 * topic, data. Before there were labels their length was 0. ---- */

#define CHECKED_FROM 8u /* the checksum covers what comes after it */

void frame_put(struct gw_writer *w, uint8_t kind, uint64_t sequence, struct gw_slice topic,
               struct gw_slice data)
{
    frame_put_labelled(w, kind, sequence, GW_SLICE_NONE, topic, data);
}

void frame_put_labelled(struct gw_writer *w, uint8_t kind, uint64_t sequence, struct gw_slice label,
                        struct gw_slice topic, struct gw_slice data)
{
    gw_writer_u64(w, 0); /* sync and checksum: frames_seal */
    gw_writer_u32(w, (uint32_t)data.len);
    gw_writer_u16(w, (uint16_t)topic.len);
    gw_writer_u8(w, kind);
    gw_writer_u8(w, (uint8_t)label.len);
    gw_writer_u64(w, sequence);
    gw_writer_put(w, label);
    gw_writer_put(w, topic);
    gw_writer_put(w, data);
}

/* The fields of the fixed part; its lengths may lead past the end of `in`. */
static struct frame fixed_part(struct gw_slice in, size_t *out_topic_len)
{
    struct gw_reader r = gw_reader_of(in);
    struct frame f = {0};
    size_t data_len;

    (void)gw_reader_u64(&r);
    data_len = gw_reader_u32(&r);
    *out_topic_len = gw_reader_u16(&r);
    f.kind = gw_reader_u8(&r);
    f.label.len = gw_reader_u8(&r);
    f.sequence = gw_reader_u64(&r);
    f.bytes = FRAME_BYTES + f.label.len + *out_topic_len + data_len;
    return f;
}

static void slice_up(struct gw_slice in, size_t topic_len, struct frame *f)
{
    size_t topic = FRAME_BYTES + f->label.len, data = topic + topic_len;

    f->label.ptr = in.ptr + FRAME_BYTES;
    f->topic = GW_SLICE(in.ptr + topic, topic_len);
    f->data = GW_SLICE(in.ptr + data, f->bytes - data);
}

struct frame frame_get(struct gw_slice in)
{
    size_t topic_len;
    struct frame f = fixed_part(in, &topic_len);

    slice_up(in, topic_len, &f);
    return f;
}

static uint32_t checksum(const uint8_t *frame, size_t bytes, const struct salt *salt)
{
    return crc32c(salt->seed, GW_SLICE(frame + CHECKED_FROM, bytes - CHECKED_FROM));
}

void frames_seal(uint8_t *ptr, size_t len, const struct salt *salt)
{
    for (size_t at = 0; at < len;) {
        struct frame f = frame_get(GW_SLICE(ptr + at, len - at));
        struct gw_writer w = gw_writer_of(ptr + at, CHECKED_FROM);

        gw_writer_u32(&w, salt->sync);
        gw_writer_u32(&w, checksum(ptr + at, f.bytes, salt));
        at += f.bytes;
    }
}

int frame_check(struct gw_slice in, const struct salt *salt, struct frame *out)
{
    struct gw_reader r = gw_reader_of(in);
    uint32_t sync, crc;
    size_t topic_len;

    *out = (struct frame){.bytes = FRAME_BYTES};
    if (in.len < FRAME_BYTES)
        return GW_ESHORT;
    sync = gw_reader_u32(&r);
    crc = gw_reader_u32(&r);
    *out = fixed_part(in, &topic_len);
    if (sync != salt->sync || out->kind < GW_SPOOL_MESSAGE || out->kind > FRAME_EXACT ||
        out->label.len > GW_SPOOL_LABEL_MAX ||
        out->bytes > FRAME_BYTES + out->label.len + topic_len + GW_SPOOL_RECORD_MAX)
        return GW_EMALFORMED;
    if (out->bytes > in.len)
        return GW_ESHORT;
    if (crc != checksum(in.ptr, out->bytes, salt))
        return GW_EMALFORMED;
    slice_up(in, topic_len, out);
    return 0;
}

size_t frame_find(struct gw_slice in, size_t from, const struct salt *salt)
{
    uint8_t sync[4];
    struct gw_writer w = gw_writer_of(sync, sizeof(sync));

    gw_writer_u32(&w, salt->sync);
    for (; from < in.len; from++) {
        const uint8_t *hit = memmem(in.ptr + from, in.len - from, sync, sizeof(sync));
        struct frame f;

        if (!hit)
            break;
        from = (size_t)(hit - in.ptr);
        if (frame_check(GW_SLICE(hit, in.len - from), salt, &f) == 0)
            return from;
    }
    return in.len;
}

/* ---- the head of a segment, the release mark: both end with the checksum of what is before ----
 */

static void put_salt(struct gw_writer *w, const struct salt *salt)
{
    gw_writer_u32(w, salt->sync);
    gw_writer_u32(w, salt->seed);
}

static struct salt get_salt(struct gw_reader *r)
{
    struct salt salt;

    salt.sync = gw_reader_u32(r);
    salt.seed = gw_reader_u32(r);
    return salt;
}

static void put_checksum(struct gw_writer *w)
{
    gw_writer_u64(w, crc32c(0, GW_SLICE(w->ptr, w->len)));
}

/* True when `in` has `len` bytes, of which the last eight are right. */
static bool checksum_holds(struct gw_slice in, size_t len)
{
    struct gw_reader r = gw_reader_of(in);

    if (in.len != len)
        return false;
    (void)gw_reader_slice(&r, len - 8);
    return gw_reader_u64(&r) == crc32c(0, GW_SLICE(in.ptr, len - 8));
}

void head_put(uint8_t out[HEAD_BYTES], const struct segment_head *h)
{
    struct gw_writer w = gw_writer_of(out, HEAD_BYTES);

    gw_writer_u64(&w, HEAD_MAGIC);
    gw_writer_u64(&w, h->id);
    gw_writer_u64(&w, h->floor);
    gw_writer_u64(&w, h->prev_id);
    gw_writer_u64(&w, h->prev_size);
    put_salt(&w, &h->salt);
    put_checksum(&w);
}

int head_get(struct gw_slice in, struct segment_head *out)
{
    struct gw_reader r = gw_reader_of(in);
    struct segment_head h;

    if (!checksum_holds(in, HEAD_BYTES) || gw_reader_u64(&r) != HEAD_MAGIC)
        return GW_EMALFORMED;
    h.id = gw_reader_u64(&r);
    h.floor = gw_reader_u64(&r);
    h.prev_id = gw_reader_u64(&r);
    h.prev_size = gw_reader_u64(&r);
    h.salt = get_salt(&r);
    *out = h;
    return 0;
}

void mark_put(uint8_t out[MARK_BYTES], const struct mark *m)
{
    struct gw_writer w = gw_writer_of(out, MARK_BYTES);

    gw_writer_u64(&w, MARK_MAGIC);
    gw_writer_u64(&w, m->id);
    gw_writer_u64(&w, m->offset);
    put_salt(&w, &m->salt);
    gw_writer_u64(&w, m->floor);
    put_checksum(&w);
}

int mark_get(struct gw_slice in, struct mark *out)
{
    struct gw_reader r = gw_reader_of(in);
    struct mark m;

    if (!checksum_holds(in, MARK_BYTES) || gw_reader_u64(&r) != MARK_MAGIC)
        return GW_EMALFORMED;
    m.id = gw_reader_u64(&r);
    m.offset = gw_reader_u64(&r);
    m.salt = get_salt(&r);
    m.floor = gw_reader_u64(&r);
    *out = m;
    return 0;
}
