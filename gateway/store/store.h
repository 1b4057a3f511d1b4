/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The storage thread: it owns the SQLite database and every write to segment files. The loop hands
 * it jobs and never waits; all SQL jobs of a batch share one transaction (group commit). A job's
 * `done` runs on the loop thread after its work is durable. Jobs run in the order submitted.
 * After a crash every job whose `done` was called has happened.
 */
#pragma once

#include <sqlite3.h>

#include "base/bytes.h"
#include "loop/loop.h"

struct gw_store;
struct gw_store_job;

/** On the storage thread. `db` is in a transaction. Its result is handed to `done`. */
typedef int gw_store_run(struct gw_store_job *job, sqlite3 *db);
/** On the loop thread. The job is the caller's again: embedded jobs may be freed here. */
typedef void gw_store_done(struct gw_store_job *job, int err);

/** Embedded in whatever the job is about; zero-initialised apart from run and done. */
struct gw_store_job {
    gw_store_run *run;
    gw_store_done *done;
    bool no_sql; /**< file work only: outside any transaction, `db` is NULL */
    int err;
    struct gw_store_job *next;
};

/** Opens (or makes) `dir`/cordon.db: WAL, synchronous FULL; starts the thread. -errno, GW_ESTORE.
 */
int gw_store_open(struct gw_loop *loop, const char *dir, struct gw_store **out) GW_MUST_CHECK;
/** Runs what is queued, delivers its completions, closes. */
void gw_store_close(struct gw_store **s);

void gw_store_submit(struct gw_store *s, struct gw_store_job *job);

/** Run `run` on the storage thread and wait: only before the loop runs, or at its end. */
int gw_store_call(struct gw_store *s, struct gw_store_job *job) GW_MUST_CHECK;

/** Deliver every completion of what was submitted so far: only at start and at the end. */
void gw_store_flush(struct gw_store *s);

/**
 * Apply `schema` of one room once for each version: `steps[i]` is SQL that takes version i to i +
 * 1, kept in table `schema(room, version)`. Call it inside a job.
 */
int gw_store_migrate(sqlite3 *db, const char *room, const char *const *steps,
                     size_t count) GW_MUST_CHECK;

/* Prepared statements, cached by the database for the store's life; storage thread only. */

/**
 * A ready statement for `sql` (a string literal: its address is the cache key), reset and with
 * `types` bound from the arguments: i int64_t, t const char * (NULL allowed), b struct gw_slice,
 * d double, n nothing (NULL).
 */
int gw_sql(sqlite3 *db, sqlite3_stmt **out, const char *sql, const char *types, ...) GW_MUST_CHECK;
/** The same for a statement that yields no row: 0, or GW_ESTORE (logged with SQLite's words). */
int gw_sql_exec(sqlite3 *db, const char *sql, const char *types, ...) GW_MUST_CHECK;
/** 1 a row, 0 no more (the statement is reset), GW_ESTORE. */
int gw_sql_step(sqlite3_stmt *stmt) GW_MUST_CHECK;
struct gw_slice gw_sql_blob(sqlite3_stmt *stmt, int column);
/** "" for NULL. Valid until the next step. */
const char *gw_sql_text(sqlite3_stmt *stmt, int column);
