/* SPDX-License-Identifier: GPL-2.0-only */
/* QoS 2 from a device, step by step: what a packet identifier stands for, here and on the disk. */
#include "hub/hub_test.h"

#include <sqlite3.h>
#include <stdatomic.h>

#define ID 7

TestSuite(once_in, .init = setup, .fini = teardown);

static struct sender from;

static void device(struct client *c, bool clean, uint32_t expiry_s)
{
    from = (struct sender){0};
    sender_add(&from);
    attach(c, "dev", "1", clean, expiry_s);
    settle();
}

static void restart(void)
{
    hub_stop();
    settled_to = UINT64_MAX;
    hub_start();
}

static int say(struct client *c, uint16_t id, const char *payload)
{
    struct gw_msg *m = msg("t", payload, 2, false);
    int result = gw_hub_publish_once(hub, from.id, c->session, id, m, id);

    gw_msg_unref(&m);
    return result;
}

/* In SQL, on the storage thread. */
static const char *statement;
static int64_t column;

static int run_statement(struct gw_store_job *job, sqlite3 *db)
{
    sqlite3_stmt *row;
    int got;

    (void)job;
    if (strchr(statement, ';'))
        return sqlite3_exec(db, statement, NULL, NULL, NULL) == SQLITE_OK ? 0 : GW_ESTORE;
    if (sqlite3_prepare_v2(db, statement, -1, &row, NULL) != SQLITE_OK)
        return GW_ESTORE;
    got = sqlite3_step(row);
    column = got == SQLITE_ROW ? sqlite3_column_int64(row, 0) : -1;
    (void)sqlite3_finalize(row);
    return 0;
}

static int64_t sql(const char *text)
{
    struct gw_store_job job = {.run = run_statement};

    statement = text;
    cr_assert_eq(gw_store_call(store, &job), 0, "%s", text);
    return column;
}

static atomic_bool disk_refuses;

static int on_commit(void *ctx)
{
    (void)ctx;
    return disk_refuses;
}

static int run_hook(struct gw_store_job *job, sqlite3 *db)
{
    (void)job;
    (void)sqlite3_commit_hook(db, on_commit, NULL);
    return 0;
}

static void lock_disk(bool on)
{
    struct gw_store_job job = {.run = run_hook};

    disk_refuses = false;
    cr_assert_eq(gw_store_call(store, &job), 0);
    disk_refuses = on;
}

#define ROWS() sql("SELECT count(*) FROM hub_inbound")

/* Until what is not urgent is written, too. */
static void idle(void)
{
    gw_hub_flush(hub);
    settle();
}

Test(once_in, an_identifier_is_pending_then_received_then_free)
{
    struct client a = {0};

    sink_answer = 0;
    device(&a, false, 600);
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_FREE);
    cr_expect_eq(say(&a, ID, "x"), 0);
    cr_expect_gt(sink_label.len, 0u);
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_PENDING);
    cr_expect_eq(say(&a, ID, "x"), GW_ESTATE);
    cr_expect_not(gw_session_inbound_remove(a.session, ID), "nothing to release yet");
    settle();
    cr_expect_eq(from.count, 0, "the sink has not answered");
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_PENDING);
    gw_hub_durable(hub, sink_ticket);
    cr_expect_eq(from.count, 1);
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_RECEIVED);
    cr_expect_eq(ROWS(), 1);
    cr_expect(gw_session_inbound_remove(a.session, ID));
    cr_expect_not(gw_session_inbound_remove(a.session, ID));
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_FREE);
    cr_expect_eq(gw_hub_settle(hub, from.id, 1), 0, "the identifier is free when the row has gone");
    settle();
    cr_expect_eq(from.count, 2);
    cr_expect_eq(ROWS(), 0);
}

Test(once_in, a_session_that_is_not_kept_has_no_row_and_no_label)
{
    struct client a = {0};

    sink_answer = 0;
    device(&a, true, 0);
    cr_expect_not(gw_session_inbound_waits(a.session, ID));
    cr_expect_eq(say(&a, ID, "x"), 0);
    cr_expect_eq(sink_label.len, 0u);
    gw_hub_durable(hub, sink_ticket);
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_RECEIVED);
    idle();
    cr_expect_eq(ROWS(), 0);
    cr_expect(gw_session_inbound_remove(a.session, ID));
}

Test(once_in, of_a_new_session_nothing_is_taken_before_its_row)
{
    struct client a = {0};

    attach(&a, "dev", "1", false, 600);
    cr_expect(gw_session_inbound_waits(a.session, ID));
    settle();
    cr_expect_eq(a.inbound, 1);
    cr_expect_not(gw_session_inbound_waits(a.session, ID));
    settle();
    cr_expect_eq(a.inbound, 1, "told once");
}

Test(once_in, a_repetition_waits_for_the_first)
{
    struct client a = {0}, b = {0};

    sink_answer = 0;
    device(&a, false, 600);
    cr_expect_eq(say(&a, ID, "x"), 0);
    gw_session_detach(&a.session);
    attach(&b, "dev", "1", false, 600);
    settle();
    cr_expect(gw_session_inbound_waits(b.session, ID));
    cr_expect_eq(b.inbound, 0);
    gw_hub_durable(hub, sink_ticket);
    cr_expect_eq(b.inbound, 1);
    cr_expect_eq(gw_session_inbound(b.session, ID), GW_INBOUND_RECEIVED);
}

/* Whom a receipt is sent to that is not on disk yet, repeats nothing after a crash. */
Test(once_in, a_repetition_waits_for_the_row_too)
{
    struct client a = {0};

    device(&a, false, 600);
    cr_expect_eq(say(&a, ID, "x"), 0, "the sink has nothing to wait for");
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_PENDING);
    cr_expect(gw_session_inbound_waits(a.session, ID));
    settle();
    cr_expect_eq(a.inbound, 1);
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_RECEIVED);
}

Test(once_in, a_restart_knows_what_was_received)
{
    struct client a = {0}, b = {0};

    device(&a, false, 600);
    for (uint16_t id = 1; id <= 3; id++)
        (void)say(&a, id, "x");
    settle();
    cr_expect(gw_session_inbound_remove(a.session, 2));
    restart();
    gw_hub_recalled(hub);
    device(&b, false, 600);
    cr_expect(b.present);
    cr_expect_eq(gw_session_inbound(b.session, 1), GW_INBOUND_RECEIVED);
    cr_expect_eq(gw_session_inbound(b.session, 2), GW_INBOUND_FREE);
    cr_expect_eq(gw_session_inbound(b.session, 3), GW_INBOUND_RECEIVED);
}

/* The row says LOCAL, and no label says more: the sink's disk never had it. */
Test(once_in, of_a_half_only_the_sink_gets_what_is_missing)
{
    struct client a = {0}, b = {0};

    sink_answer = 0;
    device(&a, false, 600);
    (void)say(&a, ID, "x");
    settle();
    restart();
    gw_hub_recalled(hub);
    device(&b, false, 600);
    subscribe(&b, "t", 0);
    cr_expect_eq(gw_session_inbound(b.session, ID), GW_INBOUND_HALF);
    cr_expect_not(gw_session_inbound_waits(b.session, ID));
    sink_count = 0;
    cr_expect_eq(say(&b, ID, "x"), 0);
    cr_expect_eq(sink_count, 1);
    cr_expect_eq(b.count, 0, "who is here had it");
    gw_hub_durable(hub, sink_ticket);
    cr_expect_eq(gw_session_inbound(b.session, ID), GW_INBOUND_RECEIVED);
}

/* The label is of a batch that never was. */
Test(once_in, of_the_other_half_only_those_here_do)
{
    struct client a = {0}, b = {0};
    uint8_t kept[GW_HUB_LABEL_MAX];
    size_t len;

    sink_answer = 0;
    device(&a, false, 600);
    (void)say(&a, ID, "x");
    len = sink_label.len;
    memcpy(kept, sink_label.ptr, len);
    settle();
    (void)sql("DELETE FROM hub_inbound; DELETE FROM hub_receipts;");
    restart();
    gw_hub_recall(hub, GW_SLICE(kept, len));
    gw_hub_recalled(hub);
    cr_expect_eq(settled_to, UINT64_MAX, "the label is needed");
    device(&b, false, 600);
    subscribe(&b, "t", 0);
    cr_expect_eq(gw_session_inbound(b.session, ID), GW_INBOUND_HALF);
    sink_count = 0;
    cr_expect_eq(say(&b, ID, "x"), 0, "a row is written");
    cr_expect_eq(sink_count, 0);
    cr_expect_eq(b.count, 1);
    settle();
    cr_expect_eq(gw_session_inbound(b.session, ID), GW_INBOUND_RECEIVED);
    idle();
    cr_expect_neq(settled_to, UINT64_MAX, "a row says it now");
    /* Released, its number is known and the label means nothing, though it comes once more. */
    cr_expect(gw_session_inbound_remove(b.session, ID));
    restart();
    gw_hub_recall(hub, GW_SLICE(kept, len));
    gw_hub_recalled(hub);
    device(&b, false, 600);
    cr_expect_eq(gw_session_inbound(b.session, ID), GW_INBOUND_FREE);
    cr_expect_neq(settled_to, UINT64_MAX);
}

/* It may leave the sink's disk when the database says what it says, and not before. */
Test(once_in, a_label_is_settled_by_a_row_that_says_sunk_or_by_the_release)
{
    struct client a = {0};
    uint64_t first;

    sink_answer = 0;
    device(&a, false, 600);
    gw_hub_recalled(hub);
    (void)say(&a, 1, "x");
    first = sink_ticket;
    settle();
    cr_expect_lt(settled_to, first);
    gw_hub_durable(hub, first);
    settle();
    cr_expect_lt(settled_to, first, "a row that says LOCAL is not enough");
    (void)say(&a, 2, "y");
    settle();
    cr_expect_geq(settled_to, first, "with the next batch it went");
    cr_expect_lt(settled_to, sink_ticket);
    cr_expect_eq(sql("SELECT flags FROM hub_inbound WHERE packet_id=1"), 3);
    gw_hub_durable(hub, sink_ticket);
    cr_expect(gw_session_inbound_remove(a.session, 2));
    settle();
    cr_expect_geq(settled_to, sink_ticket);
}

Test(once_in, what_the_sink_could_not_keep_is_made_up)
{
    struct client a = {0};

    sink_answer = 0;
    device(&a, false, 600);
    gw_hub_recalled(hub);
    subscribe(&a, "t", 0);
    (void)say(&a, ID, "x");
    settle();
    gw_hub_failed(hub, sink_ticket, GW_ESTORE);
    cr_assert_eq(from.count, 1);
    cr_expect_eq(from.errs[0], GW_ESTORE);
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_HALF);
    (void)say(&a, ID, "x");
    gw_hub_durable(hub, sink_ticket);
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_RECEIVED);
    cr_expect_eq(a.count, 1);
    /* A client that was told of a failure may give the identifier to another message. */
    (void)say(&a, 8, "y");
    settle();
    gw_hub_failed(hub, sink_ticket, GW_ESTORE);
    cr_expect(gw_session_inbound_remove(a.session, 8));
    settle();
    cr_expect_eq(sql("SELECT count(*) FROM hub_inbound WHERE packet_id=8"), 0);
}

Test(once_in, what_the_sink_refuses_is_as_if_it_had_never_come)
{
    struct client a = {0};

    device(&a, false, 600);
    subscribe(&a, "t", 0);
    sink_answer = GW_ESPOOLFULL;
    cr_expect_eq(say(&a, ID, "x"), GW_ESPOOLFULL);
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_FREE);
    settle();
    cr_expect_eq(a.count, 0);
    cr_expect_eq(ROWS(), 0);
    sink_answer = 1;
    (void)say(&a, ID, "x");
    cr_expect_eq(a.count, 1);
}

Test(once_in, a_client_holds_1024_identifiers_and_so_many_rows)
{
    struct client a = {0};

    device(&a, false, 600);
    for (unsigned i = 1; i <= 1024; i++) {
        cr_assert_eq(say(&a, (uint16_t)i, "x"), 0);
        if (i % 256 == 0)
            settle();
        from.count %= 256;
    }
    cr_expect_eq(say(&a, 2000, "x"), GW_EFULL);
    idle();
    cr_expect_eq(ROWS(), 1024);
    cr_expect(gw_session_inbound_remove(a.session, 5));
    cr_expect_eq(say(&a, 2000, "x"), 0);
    idle();
    cr_expect_eq(ROWS(), 1024);
}

/* In an order that meets every chain's beginning, middle and end. */
Test(once_in, any_identifiers_are_told_apart)
{
    struct client a = {0};

    device(&a, true, 0);
    for (unsigned i = 0; i < 1024; i++)
        cr_assert_eq(say(&a, (uint16_t)(i * 64 + 1), "x"), 1, "%u", i);
    for (unsigned i = 0; i < 1024; i++) {
        uint16_t id = (uint16_t)((i * 389 % 1024) * 64 + 1);

        cr_assert_eq(gw_session_inbound(a.session, id), GW_INBOUND_RECEIVED, "%u", id);
        cr_assert(gw_session_inbound_remove(a.session, id));
        cr_assert_eq(gw_session_inbound(a.session, id), GW_INBOUND_FREE, "%u", id);
    }
    gw_session_detach(&a.session);
}

Test(once_in, rows_go_with_their_session)
{
    struct client a = {0}, b = {0};

    sink_answer = 0;
    device(&a, false, 600);
    gw_hub_recalled(hub);
    (void)say(&a, 1, "x");
    gw_hub_durable(hub, sink_ticket);
    settle();
    (void)say(&a, 2, "still on its way");
    gw_session_detach(&a.session);
    attach(&b, "dev", "1", true, 600);
    cr_expect_eq(gw_session_inbound(b.session, 1), GW_INBOUND_FREE);
    cr_expect_eq(gw_session_inbound(b.session, 2), GW_INBOUND_FREE);
    gw_hub_durable(hub, sink_ticket);
    idle();
    cr_expect_eq(ROWS(), 0);
    cr_expect_eq(settled_to, sink_ticket, "and so do their labels");
}

/* A label that names a session of the past must not speak for one of the present. */
Test(once_in, no_session_has_the_number_of_another)
{
    struct client a = {0}, b = {0};
    uint8_t kept[GW_HUB_LABEL_MAX];
    size_t len;

    sink_answer = 0;
    device(&a, false, 600);
    (void)say(&a, ID, "x");
    len = sink_label.len;
    memcpy(kept, sink_label.ptr, len);
    settle();
    (void)sql("DELETE FROM hub_inbound; DELETE FROM hub_receipts; DELETE FROM hub_sessions;");
    restart();
    device(&b, false, 600);
    cr_expect_not(b.present);
    restart();
    gw_hub_recall(hub, GW_SLICE(kept, len));
    gw_hub_recalled(hub);
    device(&b, false, 600);
    cr_expect(b.present);
    cr_expect_eq(gw_session_inbound(b.session, ID), GW_INBOUND_FREE);
}

Test(once_in, bytes_that_are_no_label_mean_nothing)
{
    struct client a = {0}, b = {0};
    uint8_t good[GW_HUB_LABEL_MAX], bad[GW_HUB_LABEL_MAX + 1];
    size_t len;

    sink_answer = 0;
    device(&a, false, 600);
    (void)say(&a, ID, "x");
    len = sink_label.len;
    memcpy(good, sink_label.ptr, len);
    memcpy(bad, good, len);
    bad[len] = 0;
    settle();
    (void)sql("DELETE FROM hub_inbound; DELETE FROM hub_receipts;");
    restart();
    for (size_t cut = 0; cut < len; cut++)
        gw_hub_recall(hub, GW_SLICE(bad, cut));
    gw_hub_recall(hub, GW_SLICE(bad, len + 1));
    bad[0]++;
    gw_hub_recall(hub, GW_SLICE(bad, len));
    bad[0]--;
    memset(bad + 1, 0xff, 8); /* a number that no column holds */
    gw_hub_recall(hub, GW_SLICE(bad, len));
    gw_hub_recalled(hub);
    device(&b, false, 600);
    cr_expect_eq(gw_session_inbound(b.session, ID), GW_INBOUND_FREE);
    cr_expect_eq(say(&b, ID, "x"), 0, "numbers go on");
}

/* ---- a disk that takes nothing ---- */

Test(once_in, a_disk_that_takes_nothing_refuses_and_nobody_waits_for_it)
{
    struct client a = {0};

    lock_disk(true);
    from = (struct sender){0};
    sender_add(&from);
    attach(&a, "dev", "1", false, 600);
    cr_expect(gw_session_inbound_waits(a.session, ID));
    settle();
    cr_expect_eq(a.inbound, 1);
    cr_expect_not(gw_session_inbound_waits(a.session, ID));
    cr_expect_eq(say(&a, ID, "x"), GW_ESTORE);
    cr_expect_eq(sink_count, 0, "nobody has it");
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_FREE);
    lock_disk(false);
    idle();
    cr_expect_eq(say(&a, ID, "x"), 0);
    settle();
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_RECEIVED);
}

Test(once_in, a_row_that_failed_is_told_and_made_up)
{
    struct client a = {0};

    sink_answer = 0;
    device(&a, false, 600);
    gw_hub_recalled(hub);
    lock_disk(true);
    (void)say(&a, ID, "x");
    gw_hub_durable(hub, sink_ticket);
    settle();
    cr_assert_eq(from.count, 1);
    cr_expect_eq(from.errs[0], GW_ESTORE);
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_HALF);
    cr_expect_lt(settled_to, sink_ticket, "only the label tells of it");
    lock_disk(false);
    idle();
    sink_count = 0;
    cr_expect_eq(say(&a, ID, "x"), 0);
    cr_expect_eq(sink_count, 0, "the sink has it");
    settle();
    cr_expect_eq(gw_session_inbound(a.session, ID), GW_INBOUND_RECEIVED);
}

Test(once_in, a_release_that_failed_is_written_later)
{
    struct client a = {0}, b = {0};

    device(&a, false, 600);
    (void)say(&a, ID, "x");
    settle();
    lock_disk(true);
    cr_expect(gw_session_inbound_remove(a.session, ID));
    cr_expect_eq(gw_hub_settle(hub, from.id, 1), 0);
    settle();
    cr_assert_eq(from.count, 2);
    cr_expect_neq(from.errs[1], 0, "it is not released for good");
    lock_disk(false);
    idle();
    cr_expect_eq(ROWS(), 0);
    restart();
    device(&b, false, 600);
    cr_expect_eq(gw_session_inbound(b.session, ID), GW_INBOUND_FREE);
}

/* ---- what a version before this left ---- */

Test(once_in, a_database_from_before_there_were_receipts_goes_on)
{
    struct client a = {0}, b = {0};

    device(&a, false, 600);
    subscribe(&a, "t", 2);
    gw_session_detach(&a.session);
    (void)publish("t", "queued", 1);
    settle();
    (void)sql("DROP TABLE hub_inbound; DROP TABLE hub_receipts;"
              "DELETE FROM schema WHERE room='hub-inbound';"
              "UPDATE hub_sessions SET id=1; UPDATE hub_subs SET session=1;"
              "UPDATE hub_queue SET session=1;"); /* they were counted */
    restart();
    gw_hub_recalled(hub);
    device(&b, false, 600);
    cr_expect(b.present);
    gw_session_resume(b.session);
    cr_assert_eq(b.count, 1);
    cr_expect_str_eq(b.notes[0], "t=queued 1");
    cr_expect_eq(say(&b, ID, "x"), 0);
    settle();
    cr_expect_eq(b.count, 2);
    cr_expect_eq(gw_session_inbound(b.session, ID), GW_INBOUND_RECEIVED);
    restart();
    gw_hub_recalled(hub);
    device(&b, false, 600);
    cr_expect_eq(gw_session_inbound(b.session, ID), GW_INBOUND_RECEIVED);
}
