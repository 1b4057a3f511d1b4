/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/stat.h>

#include "store/store.h"

static char dir[64];
static struct gw_loop *loop;
static struct gw_store *store;

static void setup(void)
{
    (void)strcpy(dir, "/tmp/cordon-store-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(gw_loop_new(&loop), 0);
    cr_assert_eq(gw_store_open(loop, dir, &store), 0);
}

static void teardown(void)
{
    char command[96];

    gw_store_close(&store);
    gw_loop_free(&loop);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(store, .init = setup, .fini = teardown);

struct add {
    struct gw_store_job job;
    int64_t value;
    bool fail;
    int result;
    int order;
    bool done;
};

static int done_count;

static int run_add(struct gw_store_job *job, sqlite3 *db)
{
    struct add *a = GW_CONTAINER(job, struct add, job);
    int err = gw_sql_exec(db, "INSERT INTO t(v) VALUES(?)", "i", a->value);

    return a->fail ? GW_EFULL : err;
}

static void add_done(struct gw_store_job *job, int err)
{
    struct add *a = GW_CONTAINER(job, struct add, job);

    a->result = err;
    a->order = done_count++;
    a->done = true;
}

static int run_schema(struct gw_store_job *job, sqlite3 *db)
{
    static const char *const steps[] = {"CREATE TABLE t(v INTEGER)",
                                        "ALTER TABLE t ADD COLUMN note TEXT"};

    (void)job;
    return gw_store_migrate(db, "test", steps, GW_COUNT(steps));
}

struct sum {
    struct gw_store_job job;
    int64_t count, sum;
};

static int run_sum(struct gw_store_job *job, sqlite3 *db)
{
    struct sum *s = GW_CONTAINER(job, struct sum, job);
    sqlite3_stmt *stmt;
    int err = gw_sql(db, &stmt, "SELECT count(*), total(v) FROM t", "");

    if (err)
        return err;
    if (gw_sql_step(stmt) == 1) {
        s->count = sqlite3_column_int64(stmt, 0);
        s->sum = sqlite3_column_int64(stmt, 1);
    }
    return gw_sql_step(stmt);
}

static struct sum total(void)
{
    struct sum s = {.job.run = run_sum};

    cr_assert_eq(gw_store_call(store, &s.job), 0);
    return s;
}

static void make_table(void)
{
    struct gw_store_job schema = {.run = run_schema};

    cr_assert_eq(gw_store_call(store, &schema), 0);
}

Test(store, a_batch_is_done_in_order_and_a_failed_job_undoes_only_itself)
{
    static struct add adds[100];

    make_table();
    for (int i = 0; i < 100; i++) {
        adds[i] = (struct add){
            .job = {.run = run_add, .done = add_done}, .value = i, .fail = i == 50, .order = -1};
        gw_store_submit(store, &adds[i].job);
    }
    while (!adds[99].done)
        cr_assert_eq(gw_loop_turn(loop, 1000), 0);
    for (int i = 0; i < 100; i++) {
        cr_expect_eq(adds[i].order, i);
        cr_expect_eq(adds[i].result, i == 50 ? GW_EFULL : 0);
    }
    cr_expect_eq(total().count, 99);
    cr_expect_eq(total().sum, 4950 - 50);
}

Test(store, what_was_done_is_there_after_reopening)
{
    struct add a = {.job = {.run = run_add, .done = add_done}, .value = 7};

    make_table();
    gw_store_submit(store, &a.job);
    gw_store_close(&store);
    cr_expect(a.done);
    cr_assert_eq(gw_store_open(loop, dir, &store), 0);
    make_table(); /* the schema is at its version already */
    cr_expect_eq(total().sum, 7);
}

Test(store, flush_delivers_completions_of_completions)
{
    static struct add second;

    make_table();
    second = (struct add){.job = {.run = run_add, .done = add_done}, .value = 2};
    gw_store_submit(store, &second.job);
    gw_store_flush(store);
    cr_expect(second.done);
}

static int run_file(struct gw_store_job *job, sqlite3 *db)
{
    GW_CONTAINER(job, struct add, job)->value = db == NULL;
    return 0;
}

Test(store, file_jobs_stand_outside_the_transaction)
{
    struct add f = {.job = {.run = run_file, .done = add_done, .no_sql = true}};

    gw_store_submit(store, &f.job);
    gw_store_flush(store);
    cr_expect_eq(f.value, 1);
    cr_expect_eq(f.result, 0);
}

static int run_bad_sql(struct gw_store_job *job, sqlite3 *db)
{
    (void)job;
    return gw_sql_exec(db, "INSERT INTO no_such_table VALUES(1)", "");
}

Test(store, wrong_sql_is_an_error_and_the_store_goes_on)
{
    struct gw_store_job bad = {.run = run_bad_sql};

    cr_expect_eq(gw_store_call(store, &bad), GW_ESTORE);
    make_table();
    cr_expect_eq(total().count, 0);
}

static int run_newer(struct gw_store_job *job, sqlite3 *db)
{
    (void)job;
    return gw_sql_exec(db, "UPDATE schema SET version = 9 WHERE room = 'test'", "");
}

Test(store, a_newer_schema_is_refused)
{
    struct gw_store_job newer = {.run = run_newer}, schema = {.run = run_schema};

    make_table();
    cr_assert_eq(gw_store_call(store, &newer), 0);
    cr_expect_eq(gw_store_call(store, &schema), GW_ESTORE);
}

Test(store, a_damaged_database_is_refused_not_replaced)
{
    struct stat before, after;
    char path[96];
    FILE *f;

    gw_store_close(&store);
    (void)snprintf(path, sizeof(path), "%s/cordon.db", dir);
    f = fopen(path, "w");
    cr_assert_not_null(f);
    for (int i = 0; i < 4096; i++)
        (void)fputc('x', f);
    (void)fclose(f);
    cr_assert_eq(stat(path, &before), 0);
    cr_expect_eq(gw_store_open(loop, dir, &store), GW_ESTORE);
    cr_assert_eq(stat(path, &after), 0);
    cr_expect_eq(before.st_size, after.st_size);
    cr_expect_eq(after.st_mode & 0777, 0600);
}
