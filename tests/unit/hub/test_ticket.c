/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_test.h"

TestSuite(ticket, .init = setup, .fini = teardown);

Test(ticket, waits_for_the_sink_and_then_tells_in_order)
{
    struct sender s = {0};

    sink_answer = 0;
    sender_add(&s);
    for (uint32_t i = 0; i < 100; i++)
        cr_assert_eq(publish_as(&s, "t", "p", 1, false, i), 0);
    cr_expect_eq(stats().unsettled, 100);
    gw_hub_durable(hub, sink_ticket - 40);
    cr_expect_eq(s.count, 60);
    gw_hub_durable(hub, sink_ticket);
    cr_assert_eq(s.count, 100);
    for (uint32_t i = 0; i < 100; i++)
        cr_expect(s.tokens[i] == i && s.errs[i] == 0);
}

Test(ticket, one_that_failed_does_not_take_the_others_along)
{
    struct sender s = {0};
    uint64_t second;

    sink_answer = 0;
    sender_add(&s);
    cr_expect_eq(publish_as(&s, "t", "p", 1, false, 1), 0);
    cr_expect_eq(publish_as(&s, "t", "p", 1, false, 2), 0);
    second = sink_ticket;
    cr_expect_eq(publish_as(&s, "t", "p", 1, false, 3), 0);
    gw_hub_failed(hub, second, GW_ESTORE);
    cr_expect_eq(s.count, 0, "the first is still to come");
    gw_hub_durable(hub, sink_ticket);
    cr_assert_eq(s.count, 3);
    cr_expect_eq(s.errs[0], 0);
    cr_expect_eq(s.errs[1], GW_ESTORE);
    cr_expect_eq(s.errs[2], 0);
}

Test(ticket, what_need_not_wait_still_keeps_its_place)
{
    struct sender a = {0}, b = {0};
    uint64_t first;

    sender_add(&a);
    sender_add(&b);
    sink_answer = 0;
    cr_expect_eq(publish_as(&a, "t", "p", 1, false, 1), 0);
    first = sink_ticket;
    sink_answer = 1;
    cr_expect_eq(publish_as(&a, "t", "p", 1, false, 2), 0, "behind its elder");
    cr_expect_eq(publish_as(&b, "t", "p", 1, false, 3), 1, "others have nothing to wait for");
    cr_expect_eq(publish_as(&a, "t", "p", 0, false, 4), 1, "nobody waits at QoS 0");
    gw_hub_durable(hub, first);
    cr_expect_eq(a.count, 2);
    cr_expect_eq(b.count, 0);
}

Test(ticket, nobody_is_told_in_the_place_of_one_who_left)
{
    struct sender a = {0}, b = {0};

    sink_answer = 0;
    sender_add(&a);
    cr_expect_eq(publish_as(&a, "t", "p", 1, false, 1), 0);
    gw_hub_publisher_remove(hub, a.id);
    sender_add(&b); /* takes the same slot */
    cr_expect_neq(a.id, b.id);
    gw_hub_durable(hub, sink_ticket);
    cr_expect_eq(a.count, 0);
    cr_expect_eq(b.count, 0);
    cr_expect_eq(stats().unsettled, 0);
}

Test(ticket, a_durable_subscriber_is_waited_for)
{
    struct client c = {0};
    struct sender s = {0};

    attach(&c, "dev", "1", false, 60);
    subscribe(&c, "t", 1);
    settle();
    sender_add(&s);
    cr_expect_eq(publish_as(&s, "t", "p", 1, false, 1), 0);
    cr_expect_eq(c.count, 1, "it need not wait itself");
    cr_expect_eq(s.count, 0);
    settle();
    cr_expect_eq(s.count, 1);
    cr_expect_eq(s.errs[0], 0);
}

Test(ticket, sink_and_database_are_both_waited_for)
{
    struct client c = {0};
    struct sender s = {0};

    attach(&c, "dev", "1", false, 60);
    subscribe(&c, "t", 1);
    settle();
    sender_add(&s);
    sink_answer = 0;
    cr_expect_eq(publish_as(&s, "t", "p", 1, false, 1), 0);
    settle();
    cr_expect_eq(s.count, 0);
    gw_hub_durable(hub, sink_ticket);
    cr_expect_eq(s.count, 1);
}

Test(ticket, an_acknowledgement_by_the_subscriber_is_as_good_as_a_disk)
{
    struct client c = {0};
    struct sender s = {0};

    attach(&c, "dev", "1", false, 60);
    subscribe(&c, "t", 1);
    settle();
    sender_add(&s);
    cr_expect_eq(publish_as(&s, "t", "p", 1, false, 1), 0);
    cr_expect_eq(gw_session_acked(c.session, c.ids[0]), 0);
    settle();
    cr_expect_eq(s.count, 1);
}

Test(ticket, settling_waits_for_what_was_changed)
{
    struct client c = {0};
    struct sender s = {0};

    sender_add(&s);
    cr_expect_eq(gw_hub_settle(hub, s.id, 1), 1, "nothing was");
    attach(&c, "dev", "1", false, 60);
    subscribe(&c, "t", 1);
    cr_expect_eq(gw_hub_settle(hub, s.id, 2), 0);
    settle();
    cr_assert_eq(s.count, 1);
    cr_expect_eq(s.tokens[0], 2);
    cr_expect_eq(gw_hub_settle(hub, s.id, 3), 1);
}
