/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The store without a thread and without a disk: takes the place of store/store.c in the program
 * that includes it, once. Jobs wait until store_work(); a store that is `dead` loses them.
 */
#pragma once

#include <stdio.h>

#include "fuzz.h"
#include "store/store.h"

struct gw_store {
    sqlite3 *db;
    struct gw_store_job *first;
    struct gw_store_job **last;
    bool dead;
    bool blank; /* the tables were made, and nothing was written since: there is nothing to load */
};

static struct gw_store memory_store = {.last = &memory_store.first};

int gw_store_open(struct gw_loop *loop, const char *dir, struct gw_store **out)
{
    (void)loop;
    (void)dir;
    if (!memory_store.db) {
        MUST(sqlite3_open(":memory:", &memory_store.db) == SQLITE_OK);
        MUST(sqlite3_exec(memory_store.db,
                          "CREATE TABLE schema (room TEXT PRIMARY KEY, version INTEGER NOT NULL)",
                          NULL, NULL, NULL) == SQLITE_OK);
    }
    *out = &memory_store;
    return 0;
}

static inline int store_run(struct gw_store_job *job)
{
    sqlite3 *db = memory_store.db;
    int err;

    if (memory_store.dead)
        return GW_ESTORE;
    memory_store.blank = false;
    if (job->no_sql)
        return job->run(job, NULL);
    MUST(sqlite3_exec(db, "SAVEPOINT job", NULL, NULL, NULL) == SQLITE_OK);
    err = job->run(job, db);
    if (err < 0)
        MUST(sqlite3_exec(db, "ROLLBACK TO job", NULL, NULL, NULL) == SQLITE_OK);
    MUST(sqlite3_exec(db, "RELEASE job", NULL, NULL, NULL) == SQLITE_OK);
    return err;
}

/* What the storage thread does, and the completions that the loop gets then. */
static inline bool store_work(void)
{
    struct gw_store_job *job = memory_store.first;

    if (!job)
        return false;
    memory_store.first = NULL;
    memory_store.last = &memory_store.first;
    while (job) {
        struct gw_store_job *next = job->next; /* `done` may free the job */
        int err = store_run(job);

        if (job->done)
            job->done(job, err < 0 ? err : 0);
        job = next;
    }
    return true;
}

void gw_store_submit(struct gw_store *s, struct gw_store_job *job)
{
    job->next = NULL;
    *s->last = job;
    s->last = &job->next;
}

void gw_store_flush(struct gw_store *s)
{
    (void)s;
    while (store_work())
        ;
}

int gw_store_call(struct gw_store *s, struct gw_store_job *job)
{
    gw_store_flush(s);
    return s->blank ? 0 : store_run(job);
}

/* The database stays: it is what a restart finds. */
void gw_store_close(struct gw_store **s)
{
    if (*s)
        gw_store_flush(*s);
    *s = NULL;
}

static inline void store_sql(const char *sql)
{
    MUST(sqlite3_exec(memory_store.db, sql, NULL, NULL, NULL) == SQLITE_OK);
}

static int store_clear_table(void *ctx, int columns, char **values, char **names)
{
    char sql[128];

    (void)ctx;
    (void)columns;
    (void)names;
    (void)snprintf(sql, sizeof(sql), "DELETE FROM \"%s\"", values[0]);
    store_sql(sql);
    return 0;
}

/* As good as new: the tables are there, and empty. Making them each time would cost most of it. */
static inline void store_clear(void)
{
    memory_store.dead = false;
    if (memory_store.blank)
        return;
    MUST(sqlite3_exec(memory_store.db,
                      "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'schema'",
                      store_clear_table, NULL, NULL) == SQLITE_OK);
    memory_store.blank = true;
}
