/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>

#include "base/bytes.h"

#define BYTES(lit) GW_SLICE_LIT(lit)

Test(bytes, slices_compare_by_content)
{
    static const struct {
        const char *name;
        struct gw_slice a, b;
        bool equal, starts;
    } cases[] = {
        {"the same", BYTES("abc"), BYTES("abc"), true, true},
        {"a prefix", BYTES("abc"), BYTES("ab"), false, true},
        {"longer", BYTES("ab"), BYTES("abc"), false, false},
        {"empty and none", BYTES(""), {NULL, 0}, true, true},
        {"with a zero inside", BYTES("a\0b"), BYTES("a\0c"), false, false},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        cr_expect_eq(gw_slice_eq(cases[i].a, cases[i].b), cases[i].equal, "%s", cases[i].name);
        cr_expect_eq(gw_secret_eq(cases[i].a, cases[i].b), cases[i].equal, "%s", cases[i].name);
        if (cases[i].b.ptr && !memchr(cases[i].b.ptr, 0, cases[i].b.len))
            cr_expect_eq(gw_slice_starts(cases[i].a, (const char *)cases[i].b.ptr), cases[i].starts,
                         "%s", cases[i].name);
    }
}

Test(bytes, utf8_is_what_mqtt_allows)
{
    static const struct {
        const char *name;
        struct gw_slice text;
        bool valid;
    } cases[] = {
        {"empty", BYTES(""), true},
        {"plain", BYTES("abc"), true},
        {"two bytes", BYTES("\xc3\xa9"), true},
        {"three bytes", BYTES("\xe2\x82\xac"), true},
        {"four bytes", BYTES("\xf0\x9f\x98\x80"), true},
        {"the last code point", BYTES("\xf4\x8f\xbf\xbf"), true},
        {"past the last", BYTES("\xf4\x90\x80\x80"), false},
        {"just under the surrogates", BYTES("\xed\x9f\xbf"), true},
        {"first surrogate", BYTES("\xed\xa0\x80"), false},
        {"last surrogate", BYTES("\xed\xbf\xbf"), false},
        {"just over the surrogates", BYTES("\xee\x80\x80"), true},
        {"zero", BYTES("a\0b"), false},
        {"zero, overlong", BYTES("\xc0\x80"), false},
        {"slash, overlong in two", BYTES("\xc0\xaf"), false},
        {"slash, overlong in three", BYTES("\xe0\x80\xaf"), false},
        {"overlong in four", BYTES("\xf0\x80\x80\xaf"), false},
        {"a tail alone", BYTES("\x80"), false},
        {"two cut off", BYTES("\xc3"), false},
        {"three cut off", BYTES("\xe2\x82"), false},
        {"four cut off", BYTES("\xf0\x9f\x98"), false},
        {"plain where a tail belongs", BYTES("\xc3z"), false},
        {"five bytes", BYTES("\xf8\x88\x80\x80\x80"), false},
        {"0xff", BYTES("\xff"), false},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(gw_utf8_valid(cases[i].text), cases[i].valid, "%s", cases[i].name);
}

Test(bytes, hex_goes_both_ways_and_is_strict)
{
    static const struct {
        const char *text;
        int want;
    } cases[] = {
        {"00ff7f", 0},
        {"00FF7f", 0},
        {"00ff7", GW_EMALFORMED},
        {"00ff7f0", GW_EMALFORMED},
        {"", GW_EMALFORMED},
        {"00ff7g", GW_EMALFORMED},
        {"0 ff7f", GW_EMALFORMED},
        {"00ff7@", GW_EMALFORMED},
        {"00ff7`", GW_EMALFORMED},
        {"00:f7f", GW_EMALFORMED},
    };
    uint8_t bytes[3];
    char text[7];

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        int got = gw_unhex(cases[i].text, bytes, sizeof(bytes));

        cr_expect_eq(got, cases[i].want, "%s: got %d", cases[i].text, got);
        if (got)
            continue;
        gw_hex(bytes, sizeof(bytes), text);
        cr_expect_str_eq(text, "00ff7f");
    }
}

Test(bytes, a_copy_ends_with_a_zero_and_secrets_are_wiped)
{
    char *copy = gw_slice_dup(BYTES("ab"));
    char *none = gw_slice_dup(GW_SLICE_NONE);

    cr_assert_not_null(copy);
    cr_expect_str_eq(copy, "ab");
    cr_expect_str_eq(none, "");
    gw_wipe(copy, 2);
    gw_wipe(NULL, 0);
    cr_expect_eq(copy[0] | copy[1], 0);
    free(copy);
    free(none);
}

/* ---- reader ---- */

Test(bytes, a_reader_reads_big_endian_to_the_end)
{
    struct gw_reader r =
        gw_reader_of(BYTES("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e"
                           "\x0f"
                           "abcd"));

    cr_expect_eq(gw_reader_u8(&r), 0x01);
    cr_expect_eq(gw_reader_u16(&r), 0x0203);
    cr_expect_eq(gw_reader_u32(&r), 0x04050607);
    cr_expect_eq(gw_reader_u64(&r), 0x08090a0b0c0d0e0f);
    cr_expect_eq(gw_reader_end(&r), GW_ETRAIL);
    cr_expect(gw_slice_eq_str(gw_reader_slice(&r, 1), "a"));
    cr_expect_eq(gw_reader_left(&r), 3);
    cr_expect(gw_slice_eq_str(gw_reader_rest(&r), "bcd"));
    cr_expect_eq(gw_reader_end(&r), 0);
}

/* Cut the same input at every byte: each read in turn is the one that fails. */
Test(bytes, the_first_failed_read_sticks)
{
    static const uint8_t input[15] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

    for (size_t len = 0; len < sizeof(input); len++) {
        struct gw_reader r = gw_reader_of(GW_SLICE(input, len));
        uint8_t u8 = gw_reader_u8(&r);
        uint16_t u16 = gw_reader_u16(&r);
        uint32_t u32 = gw_reader_u32(&r);
        uint64_t u64 = gw_reader_u64(&r);

        cr_expect_eq(u8, len >= 1 ? 0x01 : 0);
        cr_expect_eq(u16, len >= 3 ? 0x0101 : 0);
        cr_expect_eq(u32, len >= 7 ? 0x01010101 : 0);
        cr_expect_eq(u64, 0);
        cr_expect_eq(gw_reader_end(&r), GW_ESHORT, "%zu bytes", len);
        cr_expect_eq(gw_reader_left(&r), 0);
        cr_expect_eq(gw_reader_slice(&r, 0).len, 0);
        cr_expect_eq(gw_reader_rest(&r).len, 0);
        gw_reader_fail(&r, GW_EPROTOCOL);
        cr_expect_eq(gw_reader_end(&r), GW_ESHORT, "the first failure stays");
    }
}

Test(bytes, a_sub_reader_sees_its_part_alone)
{
    struct gw_reader r = gw_reader_of(BYTES("\x02"
                                            "abcd")),
                     sub, broken;

    sub = gw_reader_sub(&r, gw_reader_u8(&r));
    cr_expect(gw_slice_eq_str(gw_reader_rest(&sub), "ab"));
    cr_expect_eq(gw_reader_end(&sub), 0);
    cr_expect(gw_slice_eq_str(gw_reader_slice(&r, 2), "cd"));
    cr_expect_eq(gw_reader_end(&r), 0);
    broken = gw_reader_sub(&r, 1);
    cr_expect_eq(gw_reader_end(&broken), GW_ESHORT);
    cr_expect_eq(gw_reader_end(&r), GW_ESHORT);
    cr_expect_eq(gw_reader_slice(&r, SIZE_MAX).len, 0);
}

Test(bytes, an_empty_reader_is_at_its_end)
{
    struct gw_reader r = gw_reader_of(GW_SLICE_NONE);

    cr_expect_eq(gw_reader_slice(&r, 0).len, 0);
    cr_expect_eq(gw_reader_rest(&r).len, 0);
    cr_expect_eq(gw_reader_end(&r), 0);
    cr_expect_eq(gw_reader_u8(&r), 0);
    cr_expect_eq(gw_reader_end(&r), GW_ESHORT);
}

/* ---- writer ---- */

Test(bytes, a_writer_writes_what_a_reader_reads)
{
    uint8_t room[20];
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    struct gw_slice out;

    gw_writer_u8(&w, 0x01);
    gw_writer_u16(&w, 0x0203);
    gw_writer_u32(&w, 0x04050607);
    gw_writer_u64(&w, 0x08090a0b0c0d0e0f);
    gw_writer_put(&w, BYTES("abc"));
    gw_writer_put(&w, GW_SLICE_NONE);
    out = gw_writer_done(&w);
    cr_expect(gw_slice_eq(out, BYTES("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
                                     "abc")));
}

Test(bytes, what_does_not_fit_fails_the_writer_for_good)
{
    for (size_t cap = 0; cap < 15; cap++) {
        uint8_t room[16];
        struct gw_writer w = gw_writer_of(room, cap);

        memset(room, 0xee, sizeof(room));
        gw_writer_u8(&w, 1);
        gw_writer_u16(&w, 1);
        gw_writer_u32(&w, 1);
        gw_writer_u64(&w, 1);
        gw_writer_put(&w, GW_SLICE_NONE);
        cr_expect_eq(w.err, GW_EFULL);
        cr_expect_eq(gw_writer_done(&w).len, 0);
        cr_expect_null(gw_writer_room(&w, 0));
        cr_expect_eq(room[cap], 0xee, "past its end at %zu", cap);
    }
}

/* ---- growing buffer ---- */

Test(bytes, a_buffer_keeps_the_order_under_its_limit)
{
    struct gw_buf b = {.max = 100};

    cr_expect_eq(gw_buf_len(&b), 0);
    cr_expect_eq(gw_buf_slice(&b).len, 0);
    cr_expect_eq(gw_buf_append(&b, GW_SLICE_NONE), 0);
    cr_assert_eq(gw_buf_append(&b, BYTES("hello ")), 0);
    cr_assert_eq(gw_buf_append(&b, BYTES("world")), 0);
    gw_buf_consume(&b, 6);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&b), "world"));
    cr_expect_eq(gw_buf_reserve(&b, 95), 0);
    cr_expect_eq(gw_buf_reserve(&b, 96), GW_EFULL);
    cr_expect_eq(gw_buf_reserve(&b, SIZE_MAX), GW_EFULL);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&b), "world"), "a refusal changes nothing");
    gw_buf_consume(&b, 5);
    cr_expect_eq(gw_buf_len(&b), 0);
    gw_buf_fini(&b);
    cr_expect_eq(b.max, 100);
    cr_assert_eq(gw_buf_append(&b, BYTES("again")), 0);
    gw_buf_fini(&b);
    gw_buf_fini(&b);
}

/* A long run of random appends and consumes against a counter: bytes come out as they went in. */
Test(bytes, a_buffer_is_a_queue_that_does_not_grow_when_it_is_steady)
{
    struct gw_buf b = {.max = 10000};
    uint8_t chunk[512], in = 0, out = 0;
    unsigned seed = 7;

    for (int step = 0; step < 20000; step++) {
        size_t len = (seed = seed * 1103515245 + 12345) / 65536 % sizeof(chunk);

        if (step % 2 == 0) {
            for (size_t i = 0; i < len; i++)
                chunk[i] = (uint8_t)(in + i);
            if (gw_buf_append(&b, GW_SLICE(chunk, len)) == 0)
                in = (uint8_t)(in + len);
            continue;
        }
        len = GW_MIN(len, gw_buf_len(&b));
        for (size_t i = 0; i < len; i++)
            cr_assert_eq(gw_buf_slice(&b).ptr[i], (uint8_t)(out + i), "step %d", step);
        out = (uint8_t)(out + len);
        gw_buf_consume(&b, len);
    }
    cr_expect_leq(b.cap, 16384u);
    gw_buf_fini(&b);
}
