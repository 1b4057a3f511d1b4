/* SPDX-License-Identifier: GPL-2.0-only */
#include "spool_test.h"

static const struct salt salt = {0x01020304, 0x55667788};

static size_t put(uint8_t *to, size_t cap, uint64_t sequence, const char *topic, const char *data)
{
    struct gw_writer w = gw_writer_of(to, cap);

    frame_put(&w, GW_SPOOL_MESSAGE, sequence, gw_slice_str(topic), gw_slice_str(data));
    cr_assert_eq(w.err, 0);
    frames_seal(to, w.len, &salt);
    return w.len;
}

Test(spool_frame, checksum_is_crc_32c)
{
    static const struct {
        const char *text;
        uint32_t want;
    } cases[] = {{"", 0}, {"123456789", 0xe3069283u}, {"a", 0xc1d04330u}};

    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(crc32c(0, gw_slice_str(cases[i].text)), cases[i].want, "%s", cases[i].text);
}

Test(spool_frame, checksum_is_the_same_with_and_without_the_processors_help)
{
    uint8_t bytes[320];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 167 + (i >> 3));
    cr_expect_eq(crc32c_by_table(0, GW_SLICE_LIT("123456789")), 0xe3069283u);
    for (size_t from = 0; from < 16; from++)
        for (size_t len = 0; from + len <= sizeof(bytes); len++) {
            struct gw_slice s = GW_SLICE(bytes + from, len);
            uint32_t start = (uint32_t)(len * 0x9e3779b9u);

            cr_assert_eq(crc32c(start, s), crc32c_by_table(start, s), "from %zu, %zu bytes", from,
                         len);
        }
}

Test(spool_frame, comes_back_as_it_was)
{
    uint8_t room[256];
    size_t len = put(room, sizeof(room), 77, "d/a", "payload");
    struct frame f;

    cr_assert_eq(frame_check(GW_SLICE(room, len), &salt, &f), 0);
    cr_expect_eq(f.sequence, 77u);
    cr_expect_eq(f.bytes, len);
    cr_expect(gw_slice_eq_str(f.topic, "d/a"));
    cr_expect(gw_slice_eq_str(f.data, "payload"));
}

Test(spool_frame, one_changed_bit_is_seen)
{
    uint8_t room[256];
    size_t len = put(room, sizeof(room), 77, "d/a", "payload");
    struct frame f;

    for (size_t bit = 0; bit < len * 8; bit++) {
        room[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_expect_neq(frame_check(GW_SLICE(room, len), &salt, &f), 0, "bit %zu", bit);
        room[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

Test(spool_frame, cut_anywhere_is_short)
{
    uint8_t room[256];
    size_t len = put(room, sizeof(room), 77, "d/a", "payload");
    struct frame f;

    for (size_t cut = 0; cut < len; cut++) {
        cr_expect_eq(frame_check(GW_SLICE(room, cut), &salt, &f), GW_ESHORT);
        cr_expect_gt(f.bytes, cut);
    }
}

Test(spool_frame, of_another_segment_is_not_taken)
{
    uint8_t room[512];
    size_t len = put(room, sizeof(room), 77, "d/a", "payload");
    struct salt other = {salt.sync, salt.seed + 1};
    struct frame f;

    cr_expect_eq(frame_check(GW_SLICE(room, len), &other, &f), GW_EMALFORMED);
    other = (struct salt){salt.sync + 1, salt.seed};
    cr_expect_eq(frame_check(GW_SLICE(room, len), &other, &f), GW_EMALFORMED);
    cr_expect_eq(frame_find(GW_SLICE(room, len), 0, &other), len);
}

Test(spool_frame, is_found_behind_damage)
{
    uint8_t room[512];
    size_t first = put(room, sizeof(room), 1, "d/a", "one");
    size_t second = put(room + first, sizeof(room) - first, 2, "d/a", "two");
    struct gw_slice all = GW_SLICE(room, first + second);

    room[12] ^= 1;
    cr_expect_eq(frame_find(all, 0, &salt), first);
    cr_expect_eq(frame_find(all, first + 1, &salt), all.len);
}

Test(spool_frame, head_and_mark_refuse_a_changed_bit)
{
    const struct segment_head h = {7, 1000, 6, 4096, salt};
    const struct mark m = {7, 123, salt, 99};
    uint8_t head[HEAD_BYTES], mark[MARK_BYTES];
    struct segment_head h2;
    struct mark m2;

    head_put(head, &h);
    mark_put(mark, &m);
    cr_assert_eq(head_get(GW_SLICE(head, sizeof(head)), &h2), 0);
    cr_assert_eq(mark_get(GW_SLICE(mark, sizeof(mark)), &m2), 0);
    cr_expect_eq(memcmp(&h, &h2, sizeof(h)), 0);
    cr_expect_eq(memcmp(&m, &m2, sizeof(m)), 0);
    for (size_t bit = 0; bit < sizeof(head) * 8; bit++) {
        head[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_expect_neq(head_get(GW_SLICE(head, sizeof(head)), &h2), 0, "bit %zu", bit);
        head[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < sizeof(mark) * 8; bit++) {
        mark[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_expect_neq(mark_get(GW_SLICE(mark, sizeof(mark)), &m2), 0, "bit %zu", bit);
        mark[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_expect_neq(mark_get(GW_SLICE(mark, sizeof(mark) - 1), &m2), 0);
}
