/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "hub/hub_priv.h"

#define ORIGIN_BYTES 8

static struct gw_msg *packed_and_back(size_t cut, uint8_t format)
{
    const struct gw_msg from = {.qos = 2,
                                .retain = true,
                                .has_format = true,
                                .utf8 = true,
                                .correlation = GW_SLICE_LIT(""),
                                .origin = 0x0102030405060708,
                                .topic = GW_SLICE_LIT("t"),
                                .payload = GW_SLICE_LIT("p"),
                                .user_props = GW_SLICE_LIT("\x26\0\1a\0\1b")};
    struct gw_buf buf = {.max = SIZE_MAX};
    struct gw_msg *m = NULL;

    cr_assert_eq(pack_msg(&from, &buf), 0);
    buf.data[0] = format;
    (void)!unpack_msg(GW_SLICE(buf.data, buf.tail - cut), &m);
    gw_buf_fini(&buf);
    return m;
}

Test(pack, keeps_a_message_with_its_origin)
{
    struct gw_msg *m = packed_and_back(0, 2);

    cr_assert(m);
    cr_expect_eq(m->origin, 0x0102030405060708);
    cr_expect_eq(m->qos, 2);
    cr_expect(m->retain && m->utf8);
    cr_expect_null(m->content_type.ptr);
    cr_expect(m->correlation.ptr && m->correlation.len == 0, "empty is not absent");
    cr_expect(gw_slice_eq(m->user_props, GW_SLICE_LIT("\x26\0\1a\0\1b")));
    gw_msg_unref(&m);
}

Test(pack, reads_what_older_versions_stored)
{
    struct gw_msg *m = packed_and_back(ORIGIN_BYTES, 1);

    cr_assert(m);
    cr_expect_eq(m->origin, 0);
    cr_expect(gw_slice_eq_str(m->payload, "p"));
    gw_msg_unref(&m);
}

Test(pack, refuses_what_it_does_not_know)
{
    cr_expect_null(packed_and_back(0, 1), "bytes are left over");
    cr_expect_null(packed_and_back(1, 2), "cut off");
    cr_expect_null(packed_and_back(0, 3), "another format");
}

Test(pack, a_clock_that_was_set_back_lengthens_no_life)
{
    const uint64_t now = gw_clock_mono_ms();
    /* Taken by a clock that was an hour ahead of today's, with 10 s to live. */
    const struct gw_msg from = {.topic = GW_SLICE_LIT("t"),
                                .time_ms = gw_clock_wall_ms() + 3600000,
                                .expires_ms = now + 3610000};
    struct gw_buf buf = {.max = SIZE_MAX};
    struct gw_msg *m = NULL;

    cr_assert_eq(pack_msg(&from, &buf), 0);
    cr_assert_eq(unpack_msg(gw_buf_slice(&buf), &m), 0);
    cr_expect_gt(m->expires_ms, now);
    cr_expect_leq(m->expires_ms, gw_clock_mono_ms() + 10100);
    gw_msg_unref(&m);
    gw_buf_fini(&buf);
}
