/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/clock.h"
#include "journal/journal.h"

static char dir[64];
static struct gw_loop *loop;
static struct gw_store *store;
static struct gw_journal *journal;

static void reopen(uint32_t keep)
{
    gw_journal_close(&journal);
    gw_store_close(&store);
    cr_assert_eq(gw_store_open(loop, dir, &store), 0);
    cr_assert_eq(gw_journal_open(loop, store, keep, &journal), 0);
}

static void setup(void)
{
    (void)strcpy(dir, "/tmp/cordon-journal-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(gw_loop_new(&loop), 0);
    reopen(1000);
}

static void teardown(void)
{
    char command[96];

    gw_journal_close(&journal);
    gw_store_close(&store);
    gw_loop_free(&loop);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(journal, .init = setup, .fini = teardown);

static json_t *page;
static int page_err;

static void on_page(void *owner, int err, struct gw_slice json)
{
    (void)owner;
    page_err = err;
    page = err ? NULL : json_loadb((const char *)json.ptr, json.len, 0, NULL);
}

static json_t *read_page(uint64_t since, uint32_t limit, const char *device, bool presence_only)
{
    struct gw_journal_query *q;

    page = NULL;
    cr_assert_eq(
        gw_journal_read(journal, since, 0, limit, device, presence_only, on_page, NULL, &q), 0);
    gw_store_flush(store);
    cr_assert_eq(page_err, 0);
    cr_assert_not_null(page);
    return page;
}

static void note_many(int count)
{
    for (int i = 0; i < count; i++)
        gw_journal_alert(journal, GW_INFO, "test", i % 2 ? "odd" : "even",
                         json_pack("{s:i}", "n", i), "Event %d.", i);
}

static int heard;

static void on_event(void *owner, const struct gw_event *ev)
{
    json_t *json = json_loads(ev->json, 0, NULL);

    (void)owner;
    cr_assert_not_null(json);
    cr_expect_eq(json_integer_value(json_object_get(json, "id")), (json_int_t)ev->id);
    cr_expect_str_eq(json_string_value(json_object_get(json, "type")), "presence");
    cr_expect_str_eq(json_string_value(json_object_get(json, "cause")), "connect");
    cr_expect_not_null(json_object_get(json, "at"));
    json_decref(json);
    heard++;
}

Test(journal, a_listener_hears_at_once_and_not_after_it_left)
{
    struct gw_journal_listener l = {.event = on_event};

    gw_journal_listen(journal, &l);
    gw_journal_presence(journal, "join", "cam-1", json_pack("{s:s}", "cause", "connect"));
    cr_expect_eq(heard, 1);
    gw_journal_unlisten(&l);
    gw_journal_unlisten(&l);
    gw_journal_presence(journal, "join", "cam-1", json_pack("{s:s}", "cause", "connect"));
    cr_expect_eq(heard, 1);
}

Test(journal, pages_come_in_order_by_number_device_and_class)
{
    json_t *got;

    note_many(10);
    gw_journal_presence(journal, "join", "even", NULL);
    got = read_page(0, 1000, NULL, false);
    cr_expect_eq(json_array_size(got), 11);
    cr_expect_eq(json_integer_value(json_object_get(json_array_get(got, 10), "id")), 11);
    cr_expect_str_eq(json_string_value(json_object_get(json_array_get(got, 3), "text")),
                     "Event 3.");
    json_decref(got);
    got = read_page(4, 3, NULL, false);
    cr_expect_eq(json_array_size(got), 3);
    cr_expect_eq(json_integer_value(json_object_get(json_array_get(got, 0), "id")), 5);
    json_decref(got);
    got = read_page(0, 1000, "odd", false);
    cr_expect_eq(json_array_size(got), 5);
    json_decref(got);
    got = read_page(0, 1000, NULL, true);
    cr_expect_eq(json_array_size(got), 1);
    json_decref(got);
}

Test(journal, numbers_go_on_after_a_restart_and_old_events_go)
{
    json_t *got;

    note_many(30);
    reopen(10);
    cr_expect_eq(gw_journal_last(journal), 30);
    note_many(5);
    got = read_page(0, 1000, NULL, false);
    cr_expect_eq(json_array_size(got), 10);
    cr_expect_eq(json_integer_value(json_object_get(json_array_get(got, 9), "id")), 35);
    json_decref(got);
}

/* Rows that are on disk, by another connection to the database. */
static int on_disk(void)
{
    char path[128];
    sqlite3_stmt *stmt;
    sqlite3 *db;
    int count;

    (void)snprintf(path, sizeof(path), "%s/cordon.db", dir);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db, "SELECT count(*) FROM event", -1, &stmt, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW);
    count = sqlite3_column_int(stmt, 0);
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    return count;
}

Test(journal, presence_waits_for_company_and_an_alert_takes_it_along)
{
    uint64_t began;

    cr_assert_eq(gw_loop_turn(loop, 0), 0); /* it knows what time it is */
    began = gw_clock_mono_ms();
    gw_journal_presence(journal, "join", "cam", NULL);
    gw_journal_presence(journal, "leave", "cam", NULL);
    cr_assert_eq(gw_loop_turn(loop, 0), 0);
    gw_store_flush(store);
    cr_expect(on_disk() == 0 || gw_clock_mono_ms() - began > 20, "on disk, and no time is over");
    gw_journal_alert(journal, GW_WARNING, "enroll", "cam", NULL, "at once");
    cr_assert_eq(gw_loop_turn(loop, 0), 0);
    gw_store_flush(store);
    cr_expect_eq(on_disk(), 3);
    gw_journal_presence(journal, "join", "cam", NULL);
    for (int i = 0; i < 1000 && on_disk() < 4; i++)
        cr_assert_eq(gw_loop_turn(loop, 10), 0);
    cr_expect_eq(on_disk(), 4, "without any other event");
}

Test(journal, a_cancelled_query_is_not_answered)
{
    struct gw_journal_query *q;

    page_err = 77;
    cr_assert_eq(gw_journal_read(journal, 0, 0, 10, NULL, false, on_page, NULL, &q), 0);
    gw_journal_cancel(&q);
    gw_store_flush(store);
    cr_expect_eq(page_err, 77);
}
