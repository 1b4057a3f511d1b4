/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_test.h"

TestSuite(share, .init = setup, .fini = teardown);

static struct client a, b, c;

static size_t total(void)
{
    return a.count + b.count + c.count;
}

Test(share, gives_each_message_to_one_member_in_turns)
{
    attach(&a, "a", "1", true, 0);
    attach(&b, "b", "1", true, 0);
    attach(&c, "c", "1", true, 0);
    subscribe(&a, "$share/g/t/+", 1);
    subscribe(&b, "$share/g/t/+", 1);
    subscribe(&c, "t/#", 0); /* an ordinary one gets everything */
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(publish("t/x", "m", 1), 1);
        if (i % 2 == 0)
            continue;
        while (a.session && a.count && gw_session_acked(a.session, a.ids[a.count - 1]) == 0)
            ;
        while (b.count && gw_session_acked(b.session, b.ids[b.count - 1]) == 0)
            ;
    }
    cr_expect_eq(a.count, 5);
    cr_expect_eq(b.count, 5);
    cr_expect_eq(c.count, 10);
    gw_session_detach(&a.session);
    gw_session_detach(&b.session);
    gw_session_detach(&c.session);
}

Test(share, groups_with_other_names_or_filters_are_others)
{
    attach(&a, "a", "1", true, 0);
    subscribe(&a, "$share/g/t/x", 0);
    subscribe(&a, "$share/h/t/x", 0);
    subscribe(&a, "$share/g/t/#", 0);
    subscribe(&a, "t/x", 0);
    cr_expect_eq(stats().subscriptions, 4);
    cr_assert_eq(publish("t/x", "m", 0), 1);
    cr_expect_eq(a.count, 4, "one for each group, one for itself");
    cr_expect_eq(gw_session_unsubscribe(a.session, GW_SLICE_LIT("$share/g/t/x")), 0);
    cr_expect_eq(gw_session_unsubscribe(a.session, GW_SLICE_LIT("$share/g/t/x")), GW_ENOTFOUND);
    cr_expect_eq(gw_session_unsubscribe(a.session, GW_SLICE_LIT("$share/i/t/x")), GW_ENOTFOUND);
    cr_expect_eq(gw_session_unsubscribe(a.session, GW_SLICE_LIT("t/x")), 0);
    cr_assert_eq(publish("t/x", "m", 0), 1);
    cr_expect_eq(a.count, 6);
    gw_session_detach(&a.session);
    cr_assert_eq(publish("t/x", "m", 0), 1);
    cr_expect_eq(stats().subscriptions, 0);
}

Test(share, passes_over_who_lags_behind_and_who_may_not_hear_it)
{
    attach(&a, "a", "1", true, 0);
    attach(&b, "b", "1", true, 0);
    subscribe(&a, "$share/g/t", 1);
    subscribe(&b, "$share/g/t", 1);
    a.room = 0; /* takes nothing */
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(publish("t", "m", 1), 1);
        while (b.count && gw_session_acked(b.session, b.ids[b.count - 1]) == 0)
            ;
    }
    cr_expect_eq(a.count, 0);
    cr_expect_geq(b.count, 5, "at most one waits for the other");
    forbidden = "t";
    cr_assert_eq(publish("t", "m", 1), 1);
    cr_expect_leq(total(), 6);
    forbidden = NULL;
    gw_session_detach(&a.session);
    gw_session_detach(&b.session);
}

Test(share, passes_over_who_has_no_room)
{
    static char big[12000];

    memset(big, 'x', sizeof(big) - 1);
    hub_limits.queued_bytes = 20000;
    gw_hub_reload(hub, &hub_limits);
    attach(&a, "a", "1", true, 0);
    subscribe(&a, "only-a", 1);
    subscribe(&a, "$share/g/t", 1);
    a.room = 0; /* takes nothing, and one message fills it */
    cr_assert_eq(publish("only-a", big, 1), 1);
    attach(&b, "b", "1", true, 0);
    subscribe(&b, "$share/g/t", 1);
    b.room = 1; /* lags behind with more, smaller ones */
    for (int i = 0; i < 3; i++)
        cr_assert_eq(publish("t", "small", 1), 1);
    for (int i = 0; i < 2; i++)
        cr_expect_eq(publish("t", "small", 1), 1);
    cr_expect_eq(publish("t", big, 1), 1, "there is one with room");
    gw_session_detach(&b.session);
    attach(&b, "b", "2", false, 100);
    subscribe(&b, "$share/g/t", 1);
    gw_session_detach(&b.session);
    cr_expect_geq(publish("t", big, 1), 0, "and one that is away keeps it");
    cr_expect_eq(publish("t", big, 1), GW_EQUEUEFULL, "now nobody has room");
    gw_session_detach(&a.session);
}

Test(share, prefers_who_is_here_and_keeps_for_who_is_away)
{
    attach(&a, "a", "1", true, 100);
    attach(&b, "b", "1", true, 100);
    subscribe(&a, "$share/g/t", 1);
    subscribe(&b, "$share/g/t", 1);
    gw_session_detach(&a.session);
    for (int i = 0; i < 4; i++)
        (void)publish("t", "here", 1);
    cr_expect_eq(b.count, 4);
    gw_session_detach(&b.session);
    (void)publish("t", "lost", 0);
    (void)publish("t", "kept", 1);
    (void)publish("t", "kept", 1);
    a.count = b.count = 0;
    settle();
    hub_stop();
    hub_start(); /* the group is there again */
    attach(&a, "a", "1", false, 100);
    cr_expect(a.present);
    attach(&b, "b", "1", false, 100);
    gw_session_resume(a.session);
    gw_session_resume(b.session);
    cr_expect_eq(a.count, 2, "it lags behind least");
    cr_expect_eq(b.count, 4, "none was acknowledged");
    (void)publish("t", "more", 1);
    cr_expect_eq(a.count + b.count, 7);
    gw_session_detach(&a.session);
    gw_session_detach(&b.session);
}

Test(share, brings_no_retained_messages)
{
    cr_assert_eq(publish_as(NULL, "t", "old", 0, true, 0), 1);
    attach(&a, "a", "1", true, 0);
    subscribe(&a, "$share/g/t", 0);
    cr_expect_eq(a.count, 0);
    subscribe(&a, "t", 0);
    cr_expect_eq(a.count, 1);
    gw_session_detach(&a.session);
}

/* Sessions that come, go, subscribe and end in any order leave nothing behind. */
Test(share, survives_a_thousand_comings_and_goings)
{
    static struct client clients[8];
    static const char *const filters[] = {"$share/g/t", "$share/h/t", "$share/g/+", "t"};
    unsigned random = 1;
    char id[8];

    for (int i = 0; i < 2000; i++) {
        struct client *it = &clients[(random = random * 1103515245 + 12345) >> 16 & 7];
        const char *filter = filters[random >> 20 & 3];

        it->count = 0;
        it->room = NOTES_MAX;
        (void)snprintf(id, sizeof(id), "%zu", (size_t)(it - clients));
        switch (random >> 24 & 3) {
        case 0:
            if (!it->session)
                attach(it, id, "c", random >> 26 & 1, random >> 27 & 1 ? 100 : 0);
            break;
        case 1:
            gw_session_detach(&it->session);
            break;
        case 2:
            if (it->session)
                subscribe(it, filter, 1);
            break;
        default:
            if (it->session)
                (void)!gw_session_unsubscribe(it->session, gw_slice_str(filter));
        }
        for (size_t k = 0; k < GW_COUNT(clients); k++)
            clients[k].count = 0;
        (void)publish("t", "m", (uint8_t)(random >> 29 & 1));
    }
    for (size_t k = 0; k < GW_COUNT(clients); k++) {
        (void)snprintf(id, sizeof(id), "%zu", k);
        gw_session_detach(&clients[k].session);
        gw_hub_forget(hub, id);
    }
    cr_expect_eq(stats().subscriptions, 0);
    cr_expect_eq(stats().sessions, 0);
}
