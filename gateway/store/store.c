/* SPDX-License-Identifier: GPL-2.0-only */
/* The thread, its queue, and the group commit. */
#include "store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "base/log.h"

struct queue {
    struct gw_store_job *first;
    struct gw_store_job **last;
    size_t count;
};

struct gw_store {
    sqlite3 *db;
    struct gw_loop *loop;
    struct gw_io wake;
    int event_fd; /* counts batches that came back */
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t more;  /* something was submitted, or stop */
    pthread_cond_t idle;  /* a batch came back */
    bool stop;
    bool busy; /* the thread works on a batch */
    struct queue submitted;
    struct queue completed;
};

static void queue_init(struct queue *q)
{
    *q = (struct queue){.last = &q->first};
}

static void queue_push(struct queue *q, struct gw_store_job *job)
{
    job->next = NULL;
    *q->last = job;
    q->last = &job->next;
    q->count++;
}

/* Everything of `from` behind what `to` has; `from` is empty then. */
static void queue_move(struct queue *to, struct queue *from)
{
    if (!from->first)
        return;
    *to->last = from->first;
    to->last = from->last;
    to->count += from->count;
    queue_init(from);
}

/* ---- on the storage thread ---- */

static int simple(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    gw_log_error("database: %s: %s", sql, sqlite3_errmsg(db));
    return GW_ESTORE;
}

/* One job inside the batch's transaction: its failure undoes its own work only. */
static int run_sql(sqlite3 *db, struct gw_store_job *job)
{
    int err = simple(db, "SAVEPOINT job");

    if (err)
        return err;
    err = job->run(job, db);
    if (err < 0)
        (void)simple(db, "ROLLBACK TO job");
    return simple(db, "RELEASE job") ? GW_ESTORE : err;
}

/* The jobs from `from` up to (not with) `to` share one transaction. */
static void run_transaction(sqlite3 *db, struct gw_store_job *from, struct gw_store_job *to)
{
    int err = simple(db, "BEGIN IMMEDIATE");

    for (struct gw_store_job *job = from; job != to; job = job->next)
        job->err = err ? err : run_sql(db, job);
    if (err)
        return;
    if (simple(db, "COMMIT") == 0)
        return;
    (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    for (struct gw_store_job *job = from; job != to; job = job->next)
        job->err = GW_ESTORE; /* nothing of the batch is on disk */
}

/* In the order submitted: runs of SQL jobs share a transaction, file jobs stand between them. */
static void run_batch(sqlite3 *db, struct queue *batch)
{
    struct gw_store_job *job = batch->first;

    while (job) {
        struct gw_store_job *end = job;

        if (job->no_sql) {
            job->err = job->run(job, NULL);
            job = job->next;
            continue;
        }
        while (end && !end->no_sql)
            end = end->next;
        run_transaction(db, job, end);
        job = end;
    }
}

/* False at the end: stopped, and nothing is left. */
static bool next_batch(struct gw_store *s, struct queue *batch)
{
    bool any;

    queue_init(batch);
    (void)pthread_mutex_lock(&s->lock);
    while (!s->submitted.first && !s->stop)
        (void)pthread_cond_wait(&s->more, &s->lock);
    queue_move(batch, &s->submitted);
    any = batch->first != NULL;
    s->busy = any;
    (void)pthread_mutex_unlock(&s->lock);
    return any;
}

static void give_back(struct gw_store *s, struct queue *batch)
{
    const uint64_t one = 1;

    (void)pthread_mutex_lock(&s->lock);
    queue_move(&s->completed, batch);
    s->busy = false;
    (void)pthread_cond_broadcast(&s->idle);
    (void)pthread_mutex_unlock(&s->lock);
    (void)!write(s->event_fd, &one, sizeof(one)); /* it can only be readable already */
}

static void *storage_thread(void *arg)
{
    struct gw_store *s = arg;
    struct queue batch;

    while (next_batch(s, &batch)) {
        run_batch(s->db, &batch);
        give_back(s, &batch);
    }
    sql_forget();
    return NULL;
}

/* ---- on the loop thread ---- */

static void deliver(struct gw_store *s)
{
    struct queue ready;

    queue_init(&ready);
    (void)pthread_mutex_lock(&s->lock);
    queue_move(&ready, &s->completed);
    (void)pthread_mutex_unlock(&s->lock);
    while (ready.first) {
        struct gw_store_job *job = ready.first;

        ready.first = job->next; /* `done` may free the job */
        if (job->done)
            job->done(job, job->err < 0 ? job->err : 0);
    }
}

static void on_wake(void *owner, uint32_t events)
{
    struct gw_store *s = owner;
    uint64_t count;

    (void)events;
    (void)!read(s->event_fd, &count, sizeof(count));
    deliver(s);
}

void gw_store_submit(struct gw_store *s, struct gw_store_job *job)
{
    job->err = 0;
    (void)pthread_mutex_lock(&s->lock);
    queue_push(&s->submitted, job);
    (void)pthread_cond_signal(&s->more);
    (void)pthread_mutex_unlock(&s->lock);
}

static void wait_idle(struct gw_store *s)
{
    (void)pthread_mutex_lock(&s->lock);
    while (s->submitted.first || s->busy)
        (void)pthread_cond_wait(&s->idle, &s->lock);
    (void)pthread_mutex_unlock(&s->lock);
}

/* A job that only marks that it was run. */
struct call {
    struct gw_store_job job;
    struct gw_store_job *inner;
    int err;
};

static int run_call(struct gw_store_job *job, sqlite3 *db)
{
    struct call *call = GW_CONTAINER(job, struct call, job);

    return call->inner->run(call->inner, db);
}

static void call_done(struct gw_store_job *job, int err)
{
    GW_CONTAINER(job, struct call, job)->err = err;
}

int gw_store_call(struct gw_store *s, struct gw_store_job *job)
{
    struct call call = {.job = {.run = run_call, .done = call_done, .no_sql = job->no_sql},
                        .inner = job};

    gw_store_submit(s, &call.job);
    wait_idle(s);
    deliver(s);
    return call.err;
}

void gw_store_flush(struct gw_store *s)
{
    bool more = true;

    /* A completion may submit again: until nothing is under way. */
    while (more) {
        wait_idle(s);
        deliver(s);
        (void)pthread_mutex_lock(&s->lock);
        more = s->submitted.first || s->busy || s->completed.first;
        (void)pthread_mutex_unlock(&s->lock);
    }
}

/* ---- opening and closing ---- */

static int explain(const struct gw_store *s, const char *path)
{
    int code = s->db ? sqlite3_extended_errcode(s->db) & 0xff : SQLITE_NOMEM;

    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        gw_log_error("the database is damaged file=%s: %s; restore a backup, or move the file away "
                     "to start without its records",
                     path, sqlite3_errmsg(s->db));
    else
        gw_log_error("the database cannot be used file=%s: %s", path, sqlite3_errmsg(s->db));
    return GW_ESTORE;
}

static int open_db(struct gw_store *s, const char *path)
{
    static const char *const settings[] = {
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
        "PRAGMA trusted_schema = OFF",
        "PRAGMA journal_size_limit = 4194304",
        "PRAGMA temp_store = MEMORY", /* the sandbox has no place for temporary files */
        ("CREATE TABLE IF NOT EXISTS schema(room TEXT PRIMARY KEY, version INTEGER NOT NULL)"
         " WITHOUT ROWID"),
    };
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        return explain(s, path);
    (void)sqlite3_busy_timeout(s->db, 5000);
    (void)sqlite3_extended_result_codes(s->db, 1);
    for (size_t i = 0; i < GW_COUNT(settings); i++)
        if (sqlite3_exec(s->db, settings[i], NULL, NULL, NULL) != SQLITE_OK)
            return explain(s, path);
    return 0;
}

/* SQLite makes files as the umask says; these hold names and addresses. */
static int make_private(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return -errno;
    gw_close_fd(&fd);
    return chmod(path, 0600) < 0 ? -errno : 0;
}

/* Signals are the loop's: the thread starts with all of them blocked. */
static int start_thread(struct gw_store *s)
{
    sigset_t all, before;
    int err;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&s->thread, NULL, storage_thread, s);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->started = err == 0;
    return -err;
}

int gw_store_open(struct gw_loop *loop, const char *dir, struct gw_store **out)
{
    GW_CLEANUP(gw_store_close) struct gw_store *s = calloc(1, sizeof(*s));
    char path[512];
    int err;

    if (!s)
        return -ENOMEM;
    s->loop = loop;
    s->event_fd = -1;
    queue_init(&s->submitted);
    queue_init(&s->completed);
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->more, NULL);
    (void)pthread_cond_init(&s->idle, NULL);
    if (snprintf(path, sizeof(path), "%s/cordon.db", dir) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    err = make_private(path);
    if (err) {
        gw_log_error("the database cannot be opened file=%s: %s", path, gw_error_text(err));
        return err;
    }
    err = open_db(s, path);
    if (err)
        return err;
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->event_fd < 0)
        return -errno;
    err = gw_io_start(loop, &s->wake, s->event_fd, EPOLLIN, on_wake, s);
    if (!err)
        err = start_thread(s);
    if (err)
        return err;
    *out = GW_TAKE(s);
    return 0;
}

static void stop_thread(struct gw_store *s)
{
    if (!s->started)
        return;
    gw_store_flush(s);
    (void)pthread_mutex_lock(&s->lock);
    s->stop = true;
    (void)pthread_cond_signal(&s->more);
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->thread, NULL);
}

void gw_store_close(struct gw_store **store)
{
    struct gw_store *s = GW_TAKE(*store);

    if (!s)
        return;
    stop_thread(s);
    gw_io_stop(&s->wake);
    gw_close_fd(&s->event_fd);
    (void)sqlite3_close_v2(s->db);
    (void)pthread_cond_destroy(&s->idle);
    (void)pthread_cond_destroy(&s->more);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}
