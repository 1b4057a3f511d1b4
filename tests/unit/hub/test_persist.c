/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_test.h"

#include <signal.h>
#include <sys/wait.h>

TestSuite(persist, .init = setup, .fini = teardown);

static void restart(void)
{
    hub_stop();
    hub_start();
}

/* A life that ends in a crash, which leaves what was urgent on the disk and nothing else. */
static void crash_after(void (*life)(void))
{
    int status;
    pid_t child;

    hub_stop();
    child = fork();
    if (child == 0) {
        hub_start();
        life();
        gw_store_flush(store);
        _exit(0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    hub_start();
}

static void one_is_sent(void)
{
    static struct client away, there;

    attach(&away, "dev", "away", false, GW_HUB_FOREVER);
    subscribe(&away, "t", 1);
    gw_session_detach(&away.session);
    attach(&there, "dev", "there", false, 60);
    subscribe(&there, "t", 1);
    if (publish("t", "x", 1) < 0 || there.count != 1)
        _exit(1);
    for (int i = 0; i < 3; i++) {
        (void)!gw_loop_turn(loop, 0);
        gw_store_flush(store);
    }
}

Test(persist, what_may_have_been_sent_before_a_crash_is_marked_as_repeated)
{
    struct client away = {0}, there = {0};

    crash_after(one_is_sent);
    attach(&there, "dev", "there", false, 60);
    cr_assert(there.present);
    gw_session_resume(there.session);
    cr_assert_eq(there.count, 1);
    cr_expect_str_eq(there.notes[0], "t=x 1 dup");
    attach(&away, "dev", "away", false, GW_HUB_FOREVER);
    cr_assert(away.present);
    gw_session_resume(away.session);
    cr_assert_eq(away.count, 1);
    cr_expect_str_eq(away.notes[0], "t=x 1", "nobody was there");
}

Test(persist, brings_a_session_back_after_a_restart)
{
    struct client a = {0}, b = {0};

    attach(&a, "dev", "1", false, 60);
    cr_assert_eq(gw_session_subscribe(
                     a.session, GW_SLICE_LIT("t/+"),
                     &(struct gw_subscription){.qos = 1, .retain_as_published = true, .id = 77}),
                 0);
    subscribe(&a, "u", 1);
    (void)gw_session_unsubscribe(a.session, GW_SLICE_LIT("u"));
    (void)publish("t/x", "sent", 1);
    gw_session_detach(&a.session);
    (void)publish("t/x", "waits", 1);
    settle();
    restart();
    cr_expect_eq(stats().sessions, 1);
    cr_expect_eq(stats().subscriptions, 1);
    attach(&b, "dev", "1", false, 60);
    cr_expect(b.present);
    gw_session_resume(b.session);
    cr_assert_eq(b.count, 2);
    cr_expect_str_eq(b.notes[0], "t/x=sent 1 dup");
    cr_expect_str_eq(b.notes[1], "t/x=waits 1");
    cr_expect_eq(b.ids[0], a.ids[0], "the same packet identifier");
    (void)publish_as(NULL, "t/y", "new", 1, true, 0);
    cr_expect_str_eq(b.notes[2], "t/y=new 1 retain", "with its options");
    cr_expect_gt(b.ids[2], b.ids[1]);
}

Test(persist, forgets_what_was_acknowledged)
{
    struct client a = {0}, b = {0};

    attach(&a, "dev", "1", false, 60);
    subscribe(&a, "t", 1);
    (void)publish("t", "1", 1);
    (void)publish("t", "2", 1);
    settle();
    cr_expect_eq(gw_session_acked(a.session, a.ids[0]), 0);
    restart();
    attach(&b, "dev", "1", false, 60);
    gw_session_resume(b.session);
    cr_assert_eq(b.count, 1);
    cr_expect_str_eq(b.notes[0], "t=2 1 dup");
}

Test(persist, forgets_sessions_that_ended)
{
    struct client a = {0}, b = {0};

    attach(&a, "dev", "1", false, 60);
    subscribe(&a, "t", 1);
    attach(&b, "dev", "2", false, 1);
    gw_session_detach(&b.session);
    settle();
    attach(&b, "dev", "1", true, 0);
    cr_expect_eq(a.taken_over, 1);
    restart();
    for (int i = 0; i < 400 && stats().sessions; i++)
        cr_assert_eq(gw_loop_turn(loop, 10), 0);
    cr_expect_eq(stats().sessions, 0);
}

Test(persist, keeps_retained_messages_of_devices_and_no_others)
{
    const struct gw_msg own = {
        .retain = true, .topic = GW_SLICE_LIT("$SYS/x"), .payload = GW_SLICE_LIT("p")};
    const struct gw_msg *got;

    (void)publish_as(NULL, "r/1", "old", 1, true, 0);
    (void)publish_as(NULL, "r/1", "new", 1, true, 0);
    (void)publish_as(NULL, "r/2", "gone", 1, true, 0);
    settle();
    (void)publish_as(NULL, "r/2", "", 1, true, 0);
    cr_expect_eq(gw_hub_publish_local(hub, &own), 0);
    settle();
    restart();
    cr_expect_eq(stats().retained, 1);
    got = gw_hub_retained(hub, GW_SLICE_LIT("r/1"));
    cr_assert_not_null(got);
    cr_expect(gw_slice_eq_str(got->payload, "new"));
    cr_expect(gw_slice_eq_str(got->device, "pub"));
    cr_expect_eq(got->qos, 1);
}

Test(persist, keeps_every_field_of_a_message)
{
    struct gw_msg from = {
        .qos = 1,
        .utf8 = true,
        .time_ms = 12345,
        .expires_ms = gw_loop_now_ms(loop) + 100000,
        .device = GW_SLICE_LIT("pub"),
        .topic = GW_SLICE_LIT("r"),
        .payload = GW_SLICE_LIT("p\0q"),
        .content_type = GW_SLICE_LIT("ct"),
        .response_topic = GW_SLICE_LIT("rt"),
        .correlation = GW_SLICE_LIT("\0\1"),
        .user_props = GW_SLICE_LIT("\x26\0\1a\0\1b"),
        .retain = true,
    };
    const struct gw_msg *got;
    struct gw_msg *m;

    cr_assert_eq(gw_msg_new(&from, &m), 0);
    cr_assert_eq(gw_hub_publish(hub, 0, m, 0), 1);
    gw_msg_unref(&m);
    settle();
    restart();
    got = gw_hub_retained(hub, GW_SLICE_LIT("r"));
    cr_assert_not_null(got);
    cr_expect(got->utf8 && got->time_ms == 12345);
    cr_expect(got->expires_ms > gw_loop_now_ms(loop) + 90000);
    cr_expect(gw_slice_eq(got->payload, from.payload));
    cr_expect(gw_slice_eq(got->content_type, from.content_type));
    cr_expect(gw_slice_eq(got->response_topic, from.response_topic));
    cr_expect(gw_slice_eq(got->correlation, from.correlation));
    cr_expect(gw_slice_eq(got->user_props, from.user_props));
}

/* In a child: publish for an absent subscriber, count what was acknowledged, die at once. */
static void publish_and_die(int fd, int count)
{
    struct client a = {0};
    struct sender s = {0};

    hub_start();
    attach(&a, "dev", "1", false, 600);
    subscribe(&a, "t", 1);
    gw_session_detach(&a.session);
    sender_add(&s);
    for (int i = 0; i < count; i++) {
        char payload[16];

        (void)snprintf(payload, sizeof(payload), "%06d", i);
        (void)publish_as(&s, "t", payload, 1, false, (uint32_t)i);
        if (i % 7 == 0)
            (void)!gw_loop_turn(loop, 0);
    }
    while (s.count < (size_t)count / 2)
        (void)!gw_loop_turn(loop, 1);
    (void)!write(fd, &s.count, sizeof(s.count));
    (void)kill(getpid(), SIGKILL);
}

Test(persist, loses_nothing_acknowledged_when_killed)
{
    struct client b = {0};
    size_t acknowledged = 0;
    int fds[2], status;
    pid_t child;

    hub_stop();
    cr_assert_eq(pipe(fds), 0);
    child = fork();
    if (child == 0)
        publish_and_die(fds[1], 200);
    (void)close(fds[1]);
    cr_assert_eq(read(fds[0], &acknowledged, sizeof(acknowledged)), sizeof(acknowledged));
    cr_assert_eq(waitpid(child, &status, 0), child);
    (void)close(fds[0]);
    hub_start();
    attach(&b, "dev", "1", false, 600);
    cr_expect(b.present);
    gw_session_resume(b.session);
    cr_expect_geq(acknowledged, 100);
    cr_assert_geq(b.count, acknowledged, "%zu of %zu", b.count, acknowledged);
    for (size_t i = 0; i < acknowledged; i++) {
        char want[48];

        (void)snprintf(want, sizeof(want), "t=%06zu 1", i);
        cr_assert_str_eq(b.notes[i], want);
    }
}

/* ---- wills ---- */

static char left[256];

static void note_left(void *owner, uint32_t id, const struct gw_hub_will *w)
{
    size_t used = strlen(left);

    (void)owner;
    (void)snprintf(left + used, sizeof(left) - used, "%u:%s/%.*s=%.*s %u %lld %lld ", id,
                   w->of.device, (int)w->of.client.len, (const char *)w->of.client.ptr,
                   (int)w->msg->payload.len, (const char *)w->msg->payload.ptr, w->delay_s,
                   (long long)w->expiry_s, (long long)w->due_ms);
    cr_expect_neq(w->origin, 0);
}

static uint32_t keep(const char *client, const char *payload, uint32_t delay_s)
{
    struct gw_msg *m = msg("w", payload, 1, false);
    const struct gw_hub_will w = {
        .of = {"dev", gw_slice_str(client)}, .msg = m, .delay_s = delay_s, .expiry_s = -1};
    uint32_t id = gw_hub_will_keep(hub, &w);

    gw_msg_unref(&m);
    return id;
}

Test(persist, keeps_wills_until_they_are_dropped)
{
    uint32_t gone;

    cr_expect_eq(keep("a", "connected", 5), 1);
    gone = keep("b", "waiting", 7);
    gw_hub_will_due(hub, gone, 9, 1234567);
    gone = keep("c", "dropped at once", 0);
    gw_hub_will_drop(hub, gone);
    gone = keep("d", "dropped later", 0);
    settle();
    gw_hub_will_drop(hub, gone);
    gw_hub_will_drop(hub, 0);
    restart();

    cr_expect_eq(keep("e", "new", 0), 3, "no id is used twice while its will is there");
    gw_hub_wills_left(hub, note_left, NULL);
    cr_expect_str_eq(left, "1:dev/a=connected 5 -1 0 2:dev/b=waiting 9 -1 1234567 ");
    left[0] = 0;
    gw_hub_wills_left(hub, note_left, NULL);
    cr_expect_str_eq(left, "", "they are handed over once");
    restart();
    gw_hub_wills_left(hub, note_left, NULL);
    cr_expect_str_eq(left,
                     "1:dev/a=connected 5 -1 0 2:dev/b=waiting 9 -1 1234567 "
                     "3:dev/e=new 0 -1 0 ",
                     "and stay until somebody drops them");
}

static int end_in_a_year(struct gw_store_job *job, sqlite3 *db)
{
    (void)job;
    return gw_sql_exec(db, "UPDATE hub_sessions SET ends_ms = ends_ms + 365 * 86400000", "");
}

Test(persist, a_clock_that_was_set_back_lengthens_no_session)
{
    struct gw_store_job set_back = {.run = end_in_a_year};
    struct client a = {0};

    attach(&a, "dev", "1", false, 1);
    gw_session_detach(&a.session);
    settle();
    gw_hub_flush(hub);
    cr_assert_eq(gw_store_call(store, &set_back), 0);
    restart();
    cr_expect_eq(stats().sessions, 1);
    for (int i = 0; i < 300 && stats().sessions; i++)
        cr_assert_eq(gw_loop_turn(loop, 10), 0);
    cr_expect_eq(stats().sessions, 0);
}
