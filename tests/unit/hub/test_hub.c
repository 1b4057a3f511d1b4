/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_test.h"

TestSuite(hub, .init = setup, .fini = teardown);

Test(hub, hands_a_message_to_everyone_who_matches)
{
    struct client a = {0}, b = {0}, c = {0};

    attach(&a, "dev-a", "1", true, 0);
    attach(&b, "dev-b", "1", true, 0);
    attach(&c, "dev-c", "1", true, 0);
    subscribe(&a, "d/+/x", 0);
    subscribe(&b, "d/#", 1);
    subscribe(&c, "e/#", 1);
    cr_expect_eq(publish("d/1/x", "p", 1), 1);
    cr_assert_eq(a.count, 1);
    cr_expect_str_eq(a.notes[0], "d/1/x=p 0", "the lower of both QoS");
    cr_assert_eq(b.count, 1);
    cr_expect_str_eq(b.notes[0], "d/1/x=p 1");
    cr_expect_eq(c.count, 0);
}

Test(hub, gives_one_copy_for_overlapping_filters_at_the_highest_qos_with_every_id)
{
    struct client a = {0};

    attach(&a, "dev", "1", true, 0);
    cr_assert_eq(gw_session_subscribe(a.session, GW_SLICE_LIT("t/#"),
                                      &(struct gw_subscription){.qos = 0, .id = 7}),
                 0);
    cr_assert_eq(gw_session_subscribe(a.session, GW_SLICE_LIT("t/+"),
                                      &(struct gw_subscription){.qos = 1, .id = 9}),
                 0);
    cr_expect_eq(publish("t/x", "p", 2), 1);
    cr_assert_eq(a.count, 1);
    cr_expect_str_eq(a.notes[0], "t/x=p 1");
}

Test(hub, keeps_a_publisher_from_hearing_itself_where_it_asked)
{
    struct client a = {0}, b = {0};
    struct gw_msg *m = msg("t", "p", 0, false);

    attach(&a, "dev", "1", true, 0);
    attach(&b, "dev", "2", true, 0);
    cr_assert_eq(gw_session_subscribe(a.session, GW_SLICE_LIT("t"),
                                      &(struct gw_subscription){.no_local = true}),
                 0);
    subscribe(&b, "t", 0);
    m->origin = gw_session_origin(a.session);
    cr_expect_eq(gw_hub_publish(hub, 0, m, 0), 1);
    cr_expect_eq(a.count, 0);
    cr_expect_eq(b.count, 1);
    gw_msg_unref(&m);
}

Test(hub, keeps_what_it_retained_from_its_publisher_too)
{
    const struct gw_subscription no_local = {.no_local = true};
    struct client a = {0}, again = {0}, b = {0};
    struct gw_msg *m = msg("t", "p", 0, true);

    attach(&a, "dev", "1", true, 0);
    m->origin = gw_session_origin(a.session);
    cr_expect_eq(gw_hub_publish(hub, 0, m, 0), 1);
    attach(&again, "dev", "1", true, 0);
    attach(&b, "dev", "2", true, 0);
    cr_assert_eq(gw_session_subscribe(again.session, GW_SLICE_LIT("t"), &no_local), 0);
    cr_assert_eq(gw_session_subscribe(b.session, GW_SLICE_LIT("t"), &no_local), 0);
    cr_expect_eq(again.count, 0, "another session under the same identifier");
    cr_expect_eq(b.count, 1);
    gw_msg_unref(&m);
}

Test(hub, asks_for_the_right_at_every_delivery)
{
    struct client a = {.room = 1};

    attach(&a, "dev", "1", true, 0);
    subscribe(&a, "#", 1);
    cr_expect_eq(publish("secret", "1", 1), 1);
    cr_expect_eq(publish("secret", "2", 1), 1);
    cr_expect_eq(a.count, 1, "the second waits");
    forbidden = "secret";
    cr_expect_eq(publish("secret", "3", 1), 1);
    a.room = 10;
    gw_session_resume(a.session);
    cr_expect_eq(a.count, 1, "what waited is not delivered after the grant went");
    cr_expect_eq(stats().dropped_denied, 2);
    forbidden = NULL;
    cr_expect_eq(publish("secret", "4", 1), 1);
    cr_expect_eq(a.count, 2);
}

Test(hub, refuses_for_everybody_what_the_sink_refuses)
{
    struct client a = {0};

    attach(&a, "dev", "1", true, 0);
    subscribe(&a, "t", 1);
    sink_answer = GW_ESPOOLFULL;
    cr_expect_eq(publish_as(NULL, "t", "p", 1, true, 0), GW_ESPOOLFULL);
    cr_expect_eq(a.count, 0);
    cr_expect_null(gw_hub_retained(hub, GW_SLICE_LIT("t")));
}

Test(hub, tells_the_sink_nothing_of_what_the_gateway_says)
{
    struct client a = {0};
    const struct gw_msg m = {.topic = GW_SLICE_LIT("$presence/x"), .payload = GW_SLICE_LIT("p")};

    attach(&a, "dev", "1", true, 0);
    subscribe(&a, "$presence/#", 0);
    cr_expect_eq(gw_hub_publish_local(hub, &m), 0);
    cr_expect_eq(a.count, 1);
    cr_expect_eq(sink_count, 0);
}

Test(hub, refuses_topics_that_go_too_deep)
{
    char deep[2 * GW_HUB_LEVELS_MAX + 2];
    struct client a = {0};

    memset(deep, '/', sizeof(deep));
    deep[GW_HUB_LEVELS_MAX] = '\0';
    attach(&a, "dev", "1", true, 0);
    cr_expect_eq(publish(deep, "", 1), GW_EUNSUPPORTED);
    cr_expect_eq(gw_session_subscribe(a.session, gw_slice_str(deep), &(struct gw_subscription){0}),
                 GW_EMALFORMED);
    deep[GW_HUB_LEVELS_MAX - 1] = '\0';
    cr_expect_eq(publish(deep, "", 1), 1);
    cr_expect_eq(sink_count, 1);
}

Test(hub, drops_what_expired_while_it_waited)
{
    struct client a = {.room = 1};
    struct gw_msg *m = msg("t", "old", 1, false);

    attach(&a, "dev", "1", true, 0);
    subscribe(&a, "t", 1);
    cr_expect_eq(publish("t", "first", 1), 1);
    m->expires_ms = gw_loop_now_ms(loop);
    cr_expect_eq(gw_hub_publish(hub, 0, m, 0), 1);
    cr_expect_eq(publish("t", "last", 1), 1);
    a.room = 10;
    gw_session_resume(a.session);
    cr_expect_eq(a.count, 2);
    cr_expect_str_eq(a.notes[1], "t=last 1");
    gw_msg_unref(&m);
}

Test(hub, takes_over_a_session_from_whoever_had_it)
{
    struct client a = {0}, b = {0}, other = {0};

    attach(&a, "dev", "same", false, 60);
    subscribe(&a, "t", 1);
    attach(&other, "dev-2", "same", false, 60);
    cr_expect_eq(a.taken_over, 0, "another device cannot");
    attach(&b, "dev", "same", false, 60);
    cr_expect_eq(a.taken_over, 1);
    cr_expect(b.present);
    cr_expect_eq(publish("t", "p", 1), 1);
    cr_expect_eq(b.count, 1, "the subscription stayed");
}

Test(hub, ends_a_session_that_does_not_outlive_its_connection)
{
    struct client a = {0}, b = {0};

    attach(&a, "dev", "1", true, 0);
    subscribe(&a, "t", 1);
    gw_session_detach(&a.session);
    cr_expect_eq(stats().sessions, 0);
    cr_expect_eq(stats().subscriptions, 0);
    attach(&b, "dev", "1", false, 60);
    cr_expect_not(b.present);
}

Test(hub, clean_start_forgets_everything)
{
    struct client a = {0}, b = {0};

    attach(&a, "dev", "1", false, 60);
    subscribe(&a, "t", 1);
    gw_session_detach(&a.session);
    attach(&b, "dev", "1", true, 60);
    cr_expect_not(b.present);
    cr_expect_eq(publish("t", "p", 1), 1);
    cr_expect_eq(b.count, 0);
}

Test(hub, repeats_what_was_not_acknowledged_in_order_under_the_same_ids)
{
    struct client a = {0}, b = {0};

    attach(&a, "dev", "1", false, 60);
    subscribe(&a, "t", 1);
    for (int i = 0; i < 4; i++) {
        char payload[2] = {(char)('0' + i), 0};

        (void)publish("t", payload, 1);
    }
    cr_assert_eq(a.count, 4);
    cr_expect_eq(gw_session_acked(a.session, a.ids[1]), 0);
    cr_expect_eq(gw_session_acked(a.session, a.ids[1]), GW_ENOTFOUND);
    gw_session_detach(&a.session);
    (void)publish("t", "4", 1);
    (void)publish("t", "lost", 0);
    attach(&b, "dev", "1", false, 60);
    gw_session_resume(b.session);
    cr_assert_eq(b.count, 4);
    cr_expect_str_eq(b.notes[0], "t=0 1 dup");
    cr_expect_str_eq(b.notes[1], "t=2 1 dup");
    cr_expect_str_eq(b.notes[2], "t=3 1 dup");
    cr_expect_str_eq(b.notes[3], "t=4 1");
    cr_expect_eq(b.ids[0], a.ids[0]);
    cr_expect_eq(b.ids[1], a.ids[2]);
}

Test(hub, repeats_only_the_release_of_what_a_qos_2_receiver_has)
{
    struct client a = {0}, b = {0};

    attach(&a, "dev", "1", false, 60);
    subscribe(&a, "t", 2);
    (void)publish("t", "x", 2);
    cr_expect_eq(a.count, 0, "its row comes first");
    settle();
    cr_assert_eq(a.count, 1);
    cr_expect_eq(gw_session_received(a.session, a.ids[0]), 0);
    gw_session_detach(&a.session);
    attach(&b, "dev", "1", false, 60);
    gw_session_resume(b.session);
    cr_expect_eq(b.count, 0, "a release is on disk before it leaves");
    settle();
    cr_assert_eq(b.count, 1);
    cr_expect_str_eq(b.notes[0], "t=x 2 rel");
    cr_expect_eq(b.ids[0], a.ids[0]);
    cr_expect_eq(gw_session_acked(b.session, b.ids[0]), 0);
    cr_expect_eq(stats().queued, 0);
}

Test(hub, repeats_releases_before_messages)
{
    struct client a = {0}, b = {.room = 2};

    attach(&a, "dev", "1", false, 60);
    subscribe(&a, "t", 2);
    for (int i = 0; i < 4; i++) {
        char payload[2] = {(char)('0' + i), 0};

        (void)publish("t", payload, 2);
    }
    settle();
    cr_assert_eq(a.count, 4);
    cr_expect_eq(gw_session_received(a.session, a.ids[1]), 0);
    cr_expect_eq(gw_session_received(a.session, a.ids[3]), 0);
    settle();
    gw_session_detach(&a.session);
    attach(&b, "dev", "1", false, 60);
    gw_session_resume(b.session);
    cr_assert_eq(b.count, 2, "as much as it takes now");
    cr_expect_str_eq(b.notes[0], "t=1 2 rel");
    cr_expect_str_eq(b.notes[1], "t=3 2 rel");
    b.room = 2;
    gw_session_resume(b.session);
    cr_assert_eq(b.count, 4);
    cr_expect_str_eq(b.notes[2], "t=0 2 dup");
    cr_expect_str_eq(b.notes[3], "t=2 2 dup");
}

/* One delivery is never acknowledged, all that come after it are. */
Test(hub, never_gives_two_deliveries_one_packet_identifier)
{
    struct client a = {0};
    uint16_t held;

    attach(&a, "dev", "1", true, 0);
    subscribe(&a, "t", 1);
    cr_assert_eq(publish("t", "held", 1), 1);
    held = a.ids[0];
    for (int i = 1; i < 65535; i++) {
        a.count = 0;
        a.room = 1;
        cr_assert_eq(publish("t", "x", 1), 1, "%d", i);
        cr_assert_neq(a.ids[0], held);
        cr_assert_eq(gw_session_acked(a.session, a.ids[0]), 0);
    }
    a.count = 0;
    a.room = 2;
    cr_expect_eq(publish("t", "refused", 1), GW_EQUEUEFULL);
    cr_expect_eq(a.count, 0);
    cr_expect_eq(gw_session_acked(a.session, held), 0);
    cr_expect_eq(publish("t", "y", 1), 1);
    cr_expect_eq(a.count, 1);
}

Test(hub, lets_qos_0_give_way_when_a_queue_is_full)
{
    static char big[20001];
    struct client a = {.room = 1};

    memset(big, 'x', sizeof(big) - 1);
    attach(&a, "dev", "1", true, 0);
    subscribe(&a, "t", 1);
    (void)publish("t", "first", 1);
    for (int i = 0; i < 4; i++)
        (void)publish("t", big, 0);
    cr_expect_eq(stats().dropped_qos0, 0);
    for (int i = 0; i < 4; i++)
        (void)publish("t", big, 1);
    cr_expect_eq(stats().dropped_qos0, 4, "four had to go");
    cr_expect_eq(stats().dropped_full, 0);
    (void)publish("t", big, 1);
    cr_expect_eq(stats().dropped_full, 1, "and then there is no room");
    (void)publish("t", big, 0);
    cr_expect_eq(stats().dropped_qos0, 5);
    cr_expect_leq(stats().queued_bytes, hub_limits.queued_bytes);
}

/* A queue of one message's room, and what is said of the next. */
static void fill_queue(struct client *c, const char *id)
{
    static char big[90001];

    memset(big, 'x', sizeof(big) - 1);
    c->room = 1;
    attach(c, "dev", id, true, 0);
    subscribe(c, "t", 1);
    cr_expect_geq(publish("t", "first", 1), 0);
    cr_expect_geq(publish("t", big, 1), 0);
}

Test(hub, does_not_acknowledge_what_no_queue_has_room_for)
{
    static char big[20001];
    struct client a = {0}, b = {0};

    memset(big, 'x', sizeof(big) - 1);
    fill_queue(&a, "1");
    cr_expect_eq(publish("t", big, 1), GW_EQUEUEFULL);
    cr_expect_eq(publish("t", big, 2), GW_EQUEUEFULL);
    cr_expect_eq(publish("t", big, 0), 1, "QoS 0 promises nothing");
    cr_expect_eq(publish("elsewhere", big, 1), 1, "nobody wants it: nobody lost it");
    cr_expect_eq(publish_as(NULL, "t", big, 1, true, 0) >= 0, true, "it is retained");
    attach(&b, "dev", "2", true, 0);
    subscribe(&b, "t", 1);
    cr_expect_eq(publish("t", big, 1), 1, "another has it");
}

Test(hub, acknowledges_what_went_out_though_a_queue_is_full)
{
    struct client a = {0};
    struct sender s = {0};

    fill_queue(&a, "1");
    sender_add(&s);
    sink_answer = 0;
    for (int i = 0; i < 200; i++)
        (void)publish("t", "until there is no room for one more of this size", 1);
    cr_expect_gt(stats().dropped_full, 0);
    cr_expect_eq(
        publish_as(&s, "t", "until there is no room for one more of this size", 1, false, 1), 0);
}

Test(hub, leaves_every_device_room_for_its_messages)
{
    struct client greedy = {0}, modest = {0};
    static char big[9000];
    char name[16];
    unsigned taken = 0;

    memset(big, 'x', sizeof(big) - 1);
    hub_limits.queued_bytes = 10000;
    gw_hub_reload(hub, &hub_limits);
    for (int device = 0; device < 10; device++) {
        for (int i = 0; i < 40; i++) {
            (void)snprintf(name, sizeof(name), "greedy-%d", device);
            attach(&greedy, name, (char[]){(char)('A' + i), 0}, false, 600);
            subscribe(&greedy, "t", 1);
            gw_session_detach(&greedy.session);
        }
    }
    (void)publish("t", big, 1);
    taken = (unsigned)stats().queued;
    cr_expect_leq(taken, 150u, "all together are limited");
    cr_expect_geq(taken, 100u);
    attach(&modest, "modest", "1", false, 600);
    subscribe(&modest, "m", 1);
    gw_session_detach(&modest.session);
    (void)publish("m", big, 1);
    cr_expect_eq(stats().queued, taken + 1, "and yet there is room for another device");
}

Test(hub, lets_no_device_have_more_than_its_share_of_the_queues)
{
    struct client greedy = {0};
    static char big[9000];

    memset(big, 'x', sizeof(big) - 1);
    hub_limits.queued_bytes = 10000;
    gw_hub_reload(hub, &hub_limits);
    for (int i = 0; i < 40; i++) {
        attach(&greedy, "greedy", (char[]){(char)('A' + i), 0}, false, 600);
        subscribe(&greedy, "t", 1);
        gw_session_detach(&greedy.session);
    }
    (void)publish("t", big, 1);
    cr_expect_leq(stats().queued, 17);
    cr_expect_geq(stats().queued, 16);
}

Test(hub, repeats_nothing_that_may_not_be_heard_any_more)
{
    struct client a = {0}, b = {0};

    attach(&a, "dev", "1", false, 60);
    subscribe(&a, "t", 1);
    (void)publish("t", "secret", 1);
    cr_assert_eq(a.count, 1);
    gw_session_detach(&a.session);
    forbidden = "t";
    attach(&b, "dev", "1", false, 60);
    gw_session_resume(b.session);
    cr_expect_eq(b.count, 0);
    cr_expect_eq(stats().queued, 0);
    forbidden = NULL;
}

Test(hub, leaves_every_device_room_for_what_it_retains)
{
    static char big[1000];
    char topic[16];
    int err = 0;

    memset(big, 'x', sizeof(big) - 1);
    hub_limits.retained_bytes = 64000;
    gw_hub_reload(hub, &hub_limits);
    for (int device = 0; device < 5; device++) {
        char name[16];
        unsigned count = 0;

        (void)snprintf(name, sizeof(name), "greedy-%d", device);
        do {
            struct gw_msg from = {.qos = 1, .retain = true, .device = gw_slice_str(name)};
            struct gw_msg *m;

            (void)snprintf(topic, sizeof(topic), "%d/%u", device, count);
            from.topic = gw_slice_str(topic);
            from.payload = gw_slice_str(big);
            cr_assert_eq(gw_msg_new(&from, &m), 0);
            err = gw_hub_publish(hub, 0, m, 0);
            gw_msg_unref(&m);
            count++;
        } while (err >= 0);
        cr_expect_eq(err, GW_EFULL);
        cr_expect_leq(count, 17, "%d: a quarter of all", device);
    }
    cr_expect_geq(publish_as(NULL, "r", big, 1, true, 0), 0, "another device has room");
}

Test(hub, tells_once_that_a_queue_overflows)
{
    static char big[20001];
    struct client a = {0};

    memset(big, 'x', sizeof(big) - 1);
    fill_queue(&a, "1");
    for (int i = 0; i < 3; i++)
        (void)publish("t", big, 1);
    settle();
    cr_expect_str_eq(overflows_told, "dev:1 ");
    cr_expect_eq(gw_session_take_lost(a.session), 3);
    cr_expect_eq(gw_session_take_lost(a.session), 0, "it was told");

    a.room = NOTES_MAX;
    gw_session_resume(a.session);
    for (size_t i = 0; i < a.count; i++)
        (void)gw_session_acked(a.session, a.ids[i]);
    a.room = 0;
    for (int i = 0; i < 6; i++)
        (void)publish("t", big, 1);
    settle();
    cr_expect_str_eq(overflows_told, "dev:1 dev:1 ", "there was room in between");
}

Test(hub, forgets_an_overflow_with_its_session)
{
    static char big[20001];
    struct client a = {0};

    memset(big, 'x', sizeof(big) - 1);
    fill_queue(&a, "1");
    (void)publish("t", big, 1);
    gw_session_detach(&a.session);
    settle();
    cr_expect_str_eq(overflows_told, "");
}

Test(hub, limits_subscriptions_of_a_session)
{
    struct client a = {0};
    char filter[16];

    attach(&a, "dev", "1", true, 0);
    for (int i = 0; i < GW_HUB_SUBS_MAX; i++) {
        (void)snprintf(filter, sizeof(filter), "f/%d", i);
        subscribe(&a, filter, 0);
    }
    cr_expect_eq(
        gw_session_subscribe(a.session, GW_SLICE_LIT("one more"), &(struct gw_subscription){0}),
        GW_EFULL);
    subscribe(&a, "f/0", 1);
    cr_expect_eq(stats().subscriptions, GW_HUB_SUBS_MAX);
    cr_expect_eq(gw_session_unsubscribe(a.session, GW_SLICE_LIT("f/0")), 0);
    cr_expect_eq(gw_session_unsubscribe(a.session, GW_SLICE_LIT("f/0")), GW_ENOTFOUND);
}

Test(hub, says_who_listens_to_what)
{
    struct client a = {0};

    attach(&a, "dev", "1", false, 60);
    subscribe(&a, "a/b", 0);
    subscribe(&a, "a/b", 1);
    subscribe(&a, "c/#", 0);
    (void)gw_session_unsubscribe(a.session, GW_SLICE_LIT("a/b"));
    gw_session_detach(&a.session);
    attach(&a, "dev", "1", false, 60);
    cr_expect_str_eq(topics_told, "+dev:a/b +dev:c/# -dev:a/b -dev:c/# +dev:c/# ");
}

Test(hub, forgets_a_device_with_all_its_sessions)
{
    struct client a = {0}, b = {0}, c = {0};

    attach(&a, "dev", "1", false, 60);
    attach(&b, "dev", "2", false, 60);
    attach(&c, "other", "1", false, 60);
    gw_session_detach(&b.session);
    gw_hub_forget(hub, "dev");
    cr_expect_eq(a.taken_over, 1);
    cr_expect_null(a.session);
    cr_expect_eq(stats().sessions, 1);
    gw_hub_forget(hub, "nobody");
}

Test(hub, ends_a_session_when_its_time_is_over)
{
    struct client a = {0};

    attach(&a, "dev", "1", false, 1);
    gw_session_detach(&a.session);
    cr_expect_eq(stats().sessions, 1);
    for (int i = 0; i < 400 && stats().sessions; i++)
        cr_assert_eq(gw_loop_turn(loop, 10), 0);
    cr_expect_eq(stats().sessions, 0);
}

Test(hub, refuses_a_client_identifier_without_end)
{
    char client[GW_HUB_CLIENT_MAX + 2];
    struct client a = {0};
    struct gw_session_key key = {"dev", {(uint8_t *)client, GW_HUB_CLIENT_MAX + 1}};

    memset(client, 'c', sizeof(client));
    cr_expect_eq(gw_session_attach(hub, &key, true, 0, &client_ops, &a, &a.session, &a.present),
                 GW_ETOOBIG);
}

/* ---- retained ---- */

Test(hub, keeps_the_last_retained_message_of_a_topic)
{
    struct client a = {0};

    cr_expect_eq(publish_as(NULL, "r/1", "old", 1, true, 0), 1);
    cr_expect_eq(publish_as(NULL, "r/1", "new", 1, true, 0), 1);
    cr_expect_eq(publish_as(NULL, "r/2", "two", 0, true, 0), 1);
    cr_expect_eq(publish_as(NULL, "$x/3", "hidden", 0, true, 0), 1);
    attach(&a, "dev", "1", true, 0);
    subscribe(&a, "#", 1);
    cr_assert_eq(a.count, 2);
    cr_expect_str_eq(a.notes[0], "r/1=new 1 retain");
    cr_expect_str_eq(a.notes[1], "r/2=two 0 retain");
    cr_expect_eq(publish_as(NULL, "r/1", "", 1, true, 0), 1);
    cr_expect_str_eq(a.notes[2], "r/1= 1", "what clears is delivered like any other");
    cr_expect_null(gw_hub_retained(hub, GW_SLICE_LIT("r/1")));
    cr_expect_eq(stats().retained, 2);
}

Test(hub, replays_retained_messages_as_the_subscriber_wants_it)
{
    struct client a = {0};
    struct gw_subscription sub = {.retain_handling = GW_RETAIN_DO_NOT_SEND};

    (void)publish_as(NULL, "r", "x", 0, true, 0);
    attach(&a, "dev", "1", true, 0);
    cr_expect_eq(gw_session_subscribe(a.session, GW_SLICE_LIT("r"), &sub), 0);
    cr_expect_eq(a.count, 0);
    sub.retain_handling = GW_RETAIN_SEND_IF_NEW;
    cr_expect_eq(gw_session_subscribe(a.session, GW_SLICE_LIT("r"), &sub), 0);
    cr_expect_eq(a.count, 0, "not new");
    sub.retain_handling = GW_RETAIN_SEND;
    sub.retain_as_published = true;
    cr_expect_eq(gw_session_subscribe(a.session, GW_SLICE_LIT("r"), &sub), 0);
    cr_expect_eq(a.count, 1);
    (void)publish_as(NULL, "r", "y", 0, true, 0);
    cr_expect_str_eq(a.notes[1], "r=y 0 retain", "as published");
}

Test(hub, limits_what_one_device_may_have_retained)
{
    char topic[16];

    for (int i = 0; i < GW_HUB_RETAINED_DEVICE; i++) {
        (void)snprintf(topic, sizeof(topic), "r/%d", i);
        cr_assert_eq(publish_as(NULL, topic, "x", 0, true, 0), 1);
    }
    cr_expect_eq(publish_as(NULL, "r/more", "x", 0, true, 0), GW_EFULL);
    cr_expect_eq(publish_as(NULL, "r/0", "replaced", 0, true, 0), 1);
    cr_expect_eq(publish_as(NULL, "r/0", "", 0, true, 0), 1);
    cr_expect_eq(publish_as(NULL, "r/more", "x", 0, true, 0), 1);
}

Test(hub, limits_what_all_devices_have_retained)
{
    const struct gw_msg own = {
        .retain = true, .topic = GW_SLICE_LIT("$SYS/x"), .payload = GW_SLICE_LIT("p")};

    hub_limits.retained_count = 1;
    gw_hub_reload(hub, &hub_limits);
    cr_expect_eq(publish_as(NULL, "a", "x", 0, true, 0), 1);
    cr_expect_eq(publish_as(NULL, "b", "x", 0, true, 0), GW_EFULL);
    cr_expect_eq(gw_hub_publish_local(hub, &own), 0, "the gateway's own are not limited");
}

Test(hub, lets_a_retained_message_expire)
{
    struct gw_msg *m = msg("r", "x", 0, true);

    m->expires_ms = gw_loop_now_ms(loop) + 20;
    cr_expect_eq(gw_hub_publish(hub, 0, m, 0), 1);
    gw_msg_unref(&m);
    cr_expect_not_null(gw_hub_retained(hub, GW_SLICE_LIT("r")));
    for (int i = 0; i < 100 && stats().retained; i++)
        cr_assert_eq(gw_loop_turn(loop, 10), 0);
    cr_expect_null(gw_hub_retained(hub, GW_SLICE_LIT("r")));
}
