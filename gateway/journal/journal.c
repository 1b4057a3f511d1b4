/* SPDX-License-Identifier: GPL-2.0-only */
#include "journal/journal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

#define WITHIN_MS 25 /* how long a presence event may wait for others */
#define TEXT_MAX 512
#define PAGE_MAX 1000

/* An event on its way to the database. */
struct row {
    struct gw_list node;
    uint64_t id;
    int64_t at_ms;
    enum gw_event_class class;
    enum gw_severity severity;
    char *kind, *device, *json;
};

/* One transaction's worth of rows. */
struct batch {
    struct gw_store_job job;
    struct gw_list rows;
    uint64_t prune_to; /* ids up to this one go */
};

struct gw_journal {
    struct gw_loop *loop;
    struct gw_store *store;
    uint32_t keep;
    uint64_t last;
    struct gw_list pending; /* rows of this turn */
    struct gw_list listeners;
    struct gw_task write;
    struct gw_timer soon; /* the same, for what may wait for company */
};

struct gw_journal_query {
    struct gw_store_job job;
    uint64_t since;
    int64_t since_wall_ms;
    uint32_t limit;
    bool presence_only;
    char *device; /* NULL: all */
    struct gw_buf json;
    gw_journal_page_fn *fn; /* NULL: cancelled */
    void *owner;
};

/* ---- writing ---- */

static void row_free(struct row *r)
{
    gw_list_remove(&r->node);
    free(r->kind);
    free(r->device);
    free(r->json);
    free(r);
}

static void rows_free(struct gw_list *rows)
{
    GW_LIST_EACH(rows, node)
    {
        row_free(GW_LIST_ENTRY(node, struct row, node));
    }
}

static int run_batch(struct gw_store_job *job, sqlite3 *db)
{
    struct batch *b = GW_CONTAINER(job, struct batch, job);

    GW_LIST_EACH(&b->rows, node)
    {
        const struct row *r = GW_LIST_ENTRY(node, struct row, node);
        int err = gw_sql_exec(db,
                              "INSERT INTO event(id, at_ms, class, severity, kind, device, json)"
                              " VALUES(?,?,?,?,?,?,?)",
                              "iiiittt", (int64_t)r->id, r->at_ms, (int64_t)r->class,
                              (int64_t)r->severity, r->kind, r->device, r->json);

        if (err)
            return err;
    }
    return gw_sql_exec(db, "DELETE FROM event WHERE id <= ?", "i", (int64_t)b->prune_to);
}

static void batch_done(struct gw_store_job *job, int err)
{
    struct batch *b = GW_CONTAINER(job, struct batch, job);

    if (err)
        gw_log_error("events are not in the journal: %s", gw_error_text(err));
    rows_free(&b->rows);
    free(b);
}

static void write_pending(void *owner)
{
    struct gw_journal *j = owner;
    struct batch *b;

    gw_timer_stop(&j->soon);
    if (gw_list_empty(&j->pending))
        return;
    b = calloc(1, sizeof(*b));
    if (!b)
        return; /* they stay pending: the next event tries again */
    b->job = (struct gw_store_job){.run = run_batch, .done = batch_done};
    b->prune_to = j->last > j->keep ? j->last - j->keep : 0;
    gw_list_init(&b->rows);
    GW_LIST_EACH(&j->pending, node)
    {
        gw_list_remove(node);
        gw_list_append(&b->rows, node);
    }
    gw_store_submit(j->store, &b->job);
}

static void tell(struct gw_journal *j, const struct row *r)
{
    const struct gw_event ev = {r->id,   r->at_ms,  r->class, r->severity,
                                r->kind, r->device, r->json};

    GW_LIST_EACH(&j->listeners, node)
    {
        struct gw_journal_listener *l = GW_LIST_ENTRY(node, struct gw_journal_listener, node);

        l->event(l->owner, &ev);
    }
}

static void note(struct gw_journal *j, const struct gw_event *ev, json_t *object)
{
    struct row *r = calloc(1, sizeof(*r));
    int err;

    if (!r)
        goto out;
    *r = (struct row){.id = j->last + 1,
                      .at_ms = ev->at_ms,
                      .class = ev->class,
                      .severity = ev->severity,
                      .kind = strdup(ev->kind),
                      .device = strdup(ev->device ? ev->device : "")};
    gw_list_init(&r->node);
    err = json_object_set_new(object, "id", json_integer((json_int_t)r->id));
    err |= json_object_set_new(object, "type",
                               json_string(ev->class == GW_EVENT_PRESENCE ? "presence" : "alert"));
    r->json = err ? NULL : json_dumps(object, JSON_COMPACT);
    if (!r->kind || !r->device || !r->json) {
        row_free(r);
        goto out;
    }
    j->last++;
    gw_list_append(&j->pending, &r->node);
    /* Devices that come and go by the hundred share a commit; an alert waits for nobody. */
    if (r->class != GW_EVENT_PRESENCE)
        gw_task_post(j->loop, &j->write);
    else if (!gw_timer_armed(&j->soon))
        gw_timer_start(j->loop, &j->soon, WITHIN_MS);
    tell(j, r);
    json_decref(object);
    return;
out:
    gw_log_error("event lost, out of memory kind=%s", ev->kind);
    json_decref(object);
}

void gw_journal_presence(struct gw_journal *j, const char *action, const char *device,
                         json_t *fields)
{
    const struct gw_event ev = {.at_ms = gw_clock_wall_ms(),
                                .class = GW_EVENT_PRESENCE,
                                .severity = GW_INFO,
                                .kind = action,
                                .device = device};
    char at[GW_TIME_TEXT];

    if (!fields)
        fields = json_object();
    (void)json_object_set_new(fields, "at", json_string(gw_time_text(ev.at_ms, at)));
    note(j, &ev, fields);
}

static const char *severity_text(enum gw_severity s)
{
    switch (s) {
    case GW_INFO:
        return "info";
    case GW_WARNING:
        return "warning";
    case GW_CRITICAL:
        return "critical";
    }
    return "info";
}

static void log_alert(const struct gw_event *ev, const char *text)
{
    static const enum gw_log_level levels[] = {
        [GW_INFO] = GW_LOG_INFO, [GW_WARNING] = GW_LOG_WARNING, [GW_CRITICAL] = GW_LOG_ERROR};
    char safe[GW_LOG_TEXT];

    (void)gw_log_text(gw_slice_str(ev->device), safe);
    gw_log(levels[ev->severity], "%s kind=%s%s%s", text, ev->kind, *ev->device ? " device=" : "",
           *ev->device ? safe : "");
}

void gw_journal_alert(struct gw_journal *j, enum gw_severity severity, const char *kind,
                      const char *device, json_t *fields, const char *text_fmt, ...)
{
    const struct gw_event ev = {.at_ms = gw_clock_wall_ms(),
                                .class = GW_EVENT_ALERT,
                                .severity = severity,
                                .kind = kind,
                                .device = device ? device : ""};
    char text[TEXT_MAX], at[GW_TIME_TEXT];
    json_t *object = json_object();
    va_list args;

    va_start(args, text_fmt);
    (void)vsnprintf(text, sizeof(text), text_fmt, args);
    va_end(args);
    (void)json_object_set_new(object, "severity", json_string(severity_text(severity)));
    (void)json_object_set_new(object, "kind", json_string(kind));
    if (*ev.device)
        (void)json_object_set_new(object, "device", json_string(ev.device));
    (void)json_object_set_new(object, "at", json_string(gw_time_text(ev.at_ms, at)));
    (void)json_object_set_new(object, "text", json_string(text));
    if (fields)
        (void)json_object_update_missing(object, fields);
    json_decref(fields);
    log_alert(&ev, text);
    note(j, &ev, object);
}

void gw_journal_listen(struct gw_journal *j, struct gw_journal_listener *l)
{
    gw_list_append(&j->listeners, &l->node);
}

void gw_journal_unlisten(struct gw_journal_listener *l)
{
    if (l->node.next)
        gw_list_remove(&l->node);
}

uint64_t gw_journal_last(const struct gw_journal *j)
{
    return j->last;
}

/* ---- reading ---- */

static int add_row(struct gw_journal_query *q, sqlite3_stmt *stmt, bool first)
{
    int err = first ? 0 : gw_buf_append(&q->json, GW_SLICE_LIT(","));

    return err ? err : gw_buf_append(&q->json, gw_slice_str(gw_sql_text(stmt, 0)));
}

static int run_query(struct gw_store_job *job, sqlite3 *db)
{
    struct gw_journal_query *q = GW_CONTAINER(job, struct gw_journal_query, job);
    sqlite3_stmt *stmt;
    bool first = true;
    int err;

    if (q->device)
        err = gw_sql(db, &stmt,
                     "SELECT json FROM event WHERE device = ?1 AND id > ?2 AND at_ms >= ?3"
                     " AND class <= ?4 ORDER BY id LIMIT ?5",
                     "tiiii", q->device, (int64_t)q->since, q->since_wall_ms,
                     (int64_t)(q->presence_only ? GW_EVENT_PRESENCE : GW_EVENT_ALERT),
                     (int64_t)q->limit);
    else
        err = gw_sql(db, &stmt,
                     "SELECT json FROM event WHERE id > ?1 AND at_ms >= ?2 AND class <= ?3"
                     " ORDER BY id LIMIT ?4",
                     "iiii", (int64_t)q->since, q->since_wall_ms,
                     (int64_t)(q->presence_only ? GW_EVENT_PRESENCE : GW_EVENT_ALERT),
                     (int64_t)q->limit);
    if (!err)
        err = gw_buf_append(&q->json, GW_SLICE_LIT("["));
    while (!err) {
        int got = gw_sql_step(stmt);

        if (got <= 0) {
            err = got;
            break;
        }
        err = add_row(q, stmt, first);
        first = false;
    }
    return err ? err : gw_buf_append(&q->json, GW_SLICE_LIT("]"));
}

static void query_free(struct gw_journal_query *q)
{
    gw_buf_fini(&q->json);
    free(q->device);
    free(q);
}

static void query_done(struct gw_store_job *job, int err)
{
    struct gw_journal_query *q = GW_CONTAINER(job, struct gw_journal_query, job);

    if (q->fn)
        q->fn(q->owner, err, err ? GW_SLICE_NONE : gw_buf_slice(&q->json));
    query_free(q);
}

int gw_journal_read(struct gw_journal *j, uint64_t since, int64_t since_wall_ms, uint32_t limit,
                    const char *device, bool presence_only, gw_journal_page_fn *fn, void *owner,
                    struct gw_journal_query **out)
{
    struct gw_journal_query *q = calloc(1, sizeof(*q));

    if (!q)
        return -ENOMEM;
    *q = (struct gw_journal_query){.job = {.run = run_query, .done = query_done},
                                   .since = GW_MIN(since, (uint64_t)INT64_MAX),
                                   .since_wall_ms = since_wall_ms,
                                   .limit = GW_MAX(GW_MIN(limit, (uint32_t)PAGE_MAX), 1u),
                                   .presence_only = presence_only,
                                   .device = device ? strdup(device) : NULL,
                                   .json.max = SIZE_MAX,
                                   .fn = fn,
                                   .owner = owner};
    if (device && !q->device) {
        query_free(q);
        return -ENOMEM;
    }
    write_pending(j); /* what was noted before is read */
    *out = q;
    gw_store_submit(j->store, &q->job);
    return 0;
}

void gw_journal_cancel(struct gw_journal_query **q)
{
    if (*q)
        (*q)->fn = NULL;
    *q = NULL;
}

/* ---- opening and closing ---- */

struct load {
    struct gw_store_job job;
    uint64_t last;
};

static int run_load(struct gw_store_job *job, sqlite3 *db)
{
    static const char *const steps[] = {
        "CREATE TABLE event(id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL,"
        " class INTEGER NOT NULL, severity INTEGER NOT NULL, kind TEXT NOT NULL,"
        " device TEXT NOT NULL, json TEXT NOT NULL);"
        "CREATE INDEX event_device ON event(device, id)",
    };
    struct load *load = GW_CONTAINER(job, struct load, job);
    sqlite3_stmt *stmt;
    int err = gw_store_migrate(db, "journal", steps, GW_COUNT(steps));

    if (!err) /* sqlite_sequence remembers the highest number, also of what was pruned */
        err = gw_sql(db, &stmt, "SELECT seq FROM sqlite_sequence WHERE name = 'event'", "");
    if (err)
        return err;
    err = gw_sql_step(stmt);
    if (err == 1) {
        load->last = (uint64_t)sqlite3_column_int64(stmt, 0);
        (void)sqlite3_reset(stmt);
    }
    return GW_MIN(err, 0);
}

int gw_journal_open(struct gw_loop *loop, struct gw_store *store, uint32_t keep,
                    struct gw_journal **out)
{
    struct load load = {.job = {.run = run_load}};
    struct gw_journal *j;
    int err = gw_store_call(store, &load.job);

    if (err)
        return err;
    j = calloc(1, sizeof(*j));
    if (!j)
        return -ENOMEM;
    *j = (struct gw_journal){.loop = loop, .store = store, .keep = keep, .last = load.last};
    gw_list_init(&j->pending);
    gw_list_init(&j->listeners);
    gw_task_init(&j->write, write_pending, j);
    gw_timer_init(&j->soon, write_pending, j);
    *out = j;
    return 0;
}

void gw_journal_close(struct gw_journal **journal)
{
    struct gw_journal *j = GW_TAKE(*journal);

    if (!j)
        return;
    gw_task_cancel(&j->write);
    gw_timer_stop(&j->soon);
    write_pending(j);
    gw_store_flush(j->store); /* batches and queries under way come back */
    rows_free(&j->pending);
    free(j);
}
