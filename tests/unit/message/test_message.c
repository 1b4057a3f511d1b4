/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>

#include "message/message.h"

Test(message, keeps_its_own_copy_of_everything)
{
    char topic[] = "d/cam/x", payload[] = "hello";
    struct gw_msg from = {
        .qos = 1,
        .retain = true,
        .time_ms = 7,
        .expires_ms = 8,
        .origin = 9,
        .device = GW_SLICE_LIT("cam"),
        .topic = gw_slice_str(topic),
        .payload = gw_slice_str(payload),
        .content_type = GW_SLICE_LIT("text/plain"),
        .response_topic = GW_SLICE_LIT("r"),
        .correlation = GW_SLICE_LIT("c"),
        .user_props = GW_SLICE_LIT("u"),
    };
    struct gw_msg *m;

    cr_assert_eq(gw_msg_new(&from, &m), 0);
    memset(topic, 0, sizeof(topic));
    memset(payload, 0, sizeof(payload));
    cr_expect_eq(m->refs, 1);
    cr_expect_eq(m->qos, 1);
    cr_expect(m->retain);
    cr_expect_eq(m->time_ms, 7);
    cr_expect_eq(m->expires_ms, 8);
    cr_expect_eq(m->origin, 9);
    cr_expect(gw_slice_eq_str(m->device, "cam"));
    cr_expect(gw_slice_eq_str(m->topic, "d/cam/x"));
    cr_expect(gw_slice_eq_str(m->payload, "hello"));
    cr_expect(gw_slice_eq_str(m->content_type, "text/plain"));
    cr_expect(gw_slice_eq_str(m->response_topic, "r"));
    cr_expect(gw_slice_eq_str(m->correlation, "c"));
    cr_expect(gw_slice_eq_str(m->user_props, "u"));
    gw_msg_unref(&m);
    cr_expect_null(m);
    gw_msg_unref(&m);
}

Test(message, lives_as_long_as_its_last_reference)
{
    struct gw_msg from = {.topic = GW_SLICE_LIT("t")};
    struct gw_msg *a, *b;

    cr_assert_eq(gw_msg_new(&from, &a), 0);
    b = gw_msg_ref(a);
    gw_msg_unref(&a);
    cr_expect(gw_slice_eq_str(b->topic, "t"));
    cr_expect_eq(b->refs, 1);
    gw_msg_unref(&b);
}

Test(message, refuses_a_topic_that_no_protocol_can_carry)
{
    static uint8_t bytes[GW_TOPIC_MAX + 1];
    struct gw_msg from = {.topic = GW_SLICE(bytes, sizeof(bytes))};
    struct gw_msg *m = NULL;

    cr_expect_eq(gw_msg_new(&from, &m), GW_ETOOBIG);
    cr_expect_null(m);
}
