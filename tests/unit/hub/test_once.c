/* SPDX-License-Identifier: GPL-2.0-only */
/* QoS 2 to a durable subscriber: what the disk knows comes before what the receiver knows. */
#include "hub/hub_test.h"

TestSuite(once_out, .init = setup, .fini = teardown);

static void restart(void)
{
    hub_stop();
    hub_start();
}

static void qos_2_subscriber(struct client *c)
{
    attach(c, "dev", "1", false, 600);
    subscribe(c, "t", 2);
    settle();
}

Test(once_out, nothing_overtakes_a_message_that_waits_for_its_row)
{
    struct client a = {0}, other = {0};

    qos_2_subscriber(&a);
    attach(&other, "dev", "2", true, 0);
    subscribe(&other, "t", 2);
    (void)publish("t", "first", 2);
    (void)publish("t", "second", 0);
    cr_expect_eq(a.count, 0);
    cr_expect_eq(other.count, 2, "a session that ends with its connection has no row to wait for");
    settle();
    cr_assert_eq(a.count, 2);
    cr_expect_str_eq(a.notes[0], "t=first 2");
    cr_expect_str_eq(a.notes[1], "t=second 0");
}

Test(once_out, a_release_is_repeated_after_a_restart_and_the_message_is_not)
{
    struct client a = {0}, b = {0};
    struct sender s = {0};

    qos_2_subscriber(&a);
    (void)publish("t", "x", 2);
    settle();
    sender_add(&s);
    cr_expect_eq(gw_session_received(a.session, a.ids[0]), 0);
    cr_expect_eq(gw_hub_settle(hub, s.id, 7), 0);
    settle();
    cr_expect_eq(s.count, 1, "now the release may leave");
    cr_expect_eq(gw_session_received(a.session, a.ids[0]), 1, "asked again: it is there");
    restart();
    attach(&b, "dev", "1", false, 600);
    gw_session_resume(b.session);
    cr_assert_eq(b.count, 1);
    cr_expect_str_eq(b.notes[0], "t=x 2 rel");
    cr_expect_eq(b.ids[0], a.ids[0]);
    cr_expect_eq(gw_session_acked(b.session, b.ids[0]), 0);
    restart();
    attach(&b, "dev", "1", false, 600);
    gw_session_resume(b.session);
    cr_expect_eq(b.count, 1, "completed");
}

/* One big message is too large for the first durable subscriber: the second one's row is its own.
 */
static int refuse_as_too_big(void *owner, const struct gw_delivery *d)
{
    (void)owner;
    (void)d;
    return GW_ETOOBIG;
}

Test(once_out, a_message_too_large_for_one_reaches_the_next)
{
    static const struct gw_session_ops small_ops = {refuse_as_too_big, note_take_over,
                                                    note_inbound};
    const struct gw_session_key key = {"dev", GW_SLICE_LIT("0")};
    struct client a = {0}, b = {0}, again = {0};

    cr_assert_eq(gw_session_attach(hub, &key, false, 60, &small_ops, &a, &a.session, &a.present),
                 0);
    subscribe(&a, "t", 1);
    attach(&b, "dev", "1", false, 60);
    subscribe(&b, "t", 1);
    (void)publish("t", "big", 1);
    settle();
    cr_expect_eq(b.count, 1);
    restart();
    attach(&again, "dev", "1", false, 60);
    gw_session_resume(again.session);
    cr_assert_eq(again.count, 1);
    cr_expect_str_eq(again.notes[0], "t=big 1 dup");
}
