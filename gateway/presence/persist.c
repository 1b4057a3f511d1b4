/* SPDX-License-Identifier: GPL-2.0-only */
#include "presence/presence_priv.h"

#include <errno.h>

#include "base/log.h"

/* Rows of one transaction: a burst must not hold up the acknowledgements that share the thread. */
#define BATCH_ROWS 512
#define WITHIN_MS 500
#define RETRY_MS 5000

static const char *const schema[] = {
    "CREATE TABLE presence(device TEXT PRIMARY KEY, status TEXT NOT NULL, cause TEXT NOT NULL,"
    " since INTEGER NOT NULL, by_session INTEGER NOT NULL, interval_s INTEGER NOT NULL,"
    " state TEXT NOT NULL) WITHOUT ROWID;",
};

/* A copy of one entry for the storage thread; without `status` the row goes. */
struct row {
    struct row *next;
    char id[GW_DEVICE_ID_MAX + 1];
    const char *status, *cause;
    int64_t since_ms, interval_s;
    bool by_session;
    char *state;
};

struct batch {
    struct gw_store_job job;
    struct gw_presence *presence;
    struct row *rows, **tail;
    size_t count;
};

struct gone {
    struct gw_list node;
    char id[GW_DEVICE_ID_MAX + 1];
};

/* ---- loading ---- */

static enum gw_status status_of(const char *text)
{
    for (enum gw_status s = GW_OFFLINE; s <= GW_ASLEEP; s++)
        if (strcmp(text, gw_status_text(s)) == 0)
            return s;
    return GW_OFFLINE;
}

static enum gw_cause cause_of(const char *text)
{
    for (enum gw_cause c = GW_CAUSE_CONNECT; c <= GW_CAUSE_SHUTDOWN; c++)
        if (strcmp(text, gw_cause_text(c)) == 0)
            return c;
    return GW_CAUSE_LEFT;
}

static int load_row(struct gw_presence *p, sqlite3_stmt *stmt)
{
    const char *id = gw_sql_text(stmt, 0), *state = gw_sql_text(stmt, 6);
    int64_t interval_s = sqlite3_column_int64(stmt, 5);
    struct entry *e;

    if (!gw_devices_get(p->devices, id)) /* forgotten meanwhile */
        return 0;
    e = presence_entry(p, id);
    if (!e)
        return -ENOMEM;
    e->status = (uint8_t)status_of(gw_sql_text(stmt, 1));
    e->cause = (uint8_t)cause_of(gw_sql_text(stmt, 2));
    e->since_ms = sqlite3_column_int64(stmt, 3);
    e->by_session = sqlite3_column_int(stmt, 4) != 0;
    e->interval_s = interval_s > 0 && interval_s < INT32_MAX ? (uint32_t)interval_s : 0;
    if (*state && strlen(state) <= 8 * STATE_MAX) {
        json_t *value = json_loads(state, JSON_DECODE_ANY, NULL);

        e->state = value ? gw_slice_dup(gw_slice_str(state)) : NULL;
        json_decref(value);
    }
    return 0;
}

/* The loop's thread waits for this one, so it may fill the tables. */
static int run_load(struct gw_store_job *job, sqlite3 *db)
{
    struct batch *b = GW_CONTAINER(job, struct batch, job);
    sqlite3_stmt *stmt;
    int err = gw_store_migrate(db, "presence", schema, GW_COUNT(schema));

    if (!err)
        err = gw_sql(db, &stmt,
                     "SELECT device, status, cause, since, by_session, interval_s, state"
                     " FROM presence",
                     "");
    while (!err && (err = gw_sql_step(stmt)) > 0)
        err = load_row(b->presence, stmt);
    return err;
}

int presence_persist_load(struct gw_presence *p)
{
    struct batch b = {.job.run = run_load, .presence = p};

    return gw_store_call(p->store, &b.job);
}

/* ---- writing ---- */

static int write_row(const struct row *row, sqlite3 *db)
{
    if (!row->status)
        return gw_sql_exec(db, "DELETE FROM presence WHERE device = ?", "t", row->id);
    return gw_sql_exec(db,
                       "INSERT OR REPLACE INTO presence(device, status, cause, since, by_session,"
                       " interval_s, state) VALUES(?, ?, ?, ?, ?, ?, ?)",
                       "tttiiit", row->id, row->status, row->cause, row->since_ms,
                       (int64_t)row->by_session, row->interval_s, row->state ? row->state : "");
}

static int run_write(struct gw_store_job *job, sqlite3 *db)
{
    const struct batch *b = GW_CONTAINER(job, struct batch, job);
    int err = 0;

    for (const struct row *row = b->rows; row && !err; row = row->next)
        err = write_row(row, db);
    return err;
}

static struct row *row_add(struct batch *b, const char *id)
{
    struct row *row = calloc(1, sizeof(*row));

    if (!row)
        return NULL;
    strcpy(row->id, id);
    *b->tail = row;
    b->tail = &row->next;
    b->count++;
    return row;
}

static bool take_gone(struct gw_presence *p, struct batch *b)
{
    struct gone *g = GW_LIST_ENTRY(p->disk.gone.next, struct gone, node);

    if (!row_add(b, g->id))
        return false;
    gw_list_remove(&g->node);
    free(g);
    return true;
}

static bool take_dirty(struct gw_presence *p, struct batch *b)
{
    struct entry *e = GW_LIST_ENTRY(p->disk.dirty.next, struct entry, dirty);
    struct row *row = row_add(b, e->id);

    if (!row)
        return false;
    row->status = gw_status_text((enum gw_status)e->status);
    row->cause = gw_cause_text((enum gw_cause)e->cause);
    row->since_ms = e->since_ms;
    row->interval_s = e->interval_s;
    row->by_session = e->by_session;
    row->state = e->state ? gw_slice_dup(gw_slice_str(e->state)) : NULL;
    gw_list_remove(&e->dirty);
    return true;
}

static bool idle(const struct gw_presence *p)
{
    return gw_list_empty(&p->disk.dirty) && gw_list_empty(&p->disk.gone);
}

static void take_back(struct gw_presence *p, const struct row *row)
{
    struct entry *e = gw_map_get_str(&p->entries, row->id);

    if (!row->status)
        presence_persist_gone(p, row->id);
    else if (e && gw_list_empty(&e->dirty))
        gw_list_append(&p->disk.dirty, &e->dirty);
}

static void done_write(struct gw_store_job *job, int err)
{
    struct batch *b = GW_CONTAINER(job, struct batch, job);
    struct gw_presence *p = b->presence;
    bool full = b->count == BATCH_ROWS;

    p->disk.writing = false;
    for (struct row *row = b->rows, *next; row; row = next) {
        next = row->next;
        if (err && !p->disk.closing)
            take_back(p, row);
        free(row->state);
        free(row);
    }
    free(b);
    if (!p->disk.closing && !idle(p))
        gw_timer_start(p->loop, &p->disk.timer, err ? RETRY_MS : full ? 0 : WITHIN_MS);
}

/* At most one batch, the deletions first: an id may have come again. False: out of memory. */
static bool write_batch(struct gw_presence *p)
{
    struct batch *b = calloc(1, sizeof(*b));
    bool room = b != NULL;

    if (!b)
        return false;
    *b = (struct batch){.job = {.run = run_write, .done = done_write}, .presence = p};
    b->tail = &b->rows;
    while (room && b->count < BATCH_ROWS && !gw_list_empty(&p->disk.gone))
        room = take_gone(p, b);
    while (room && b->count < BATCH_ROWS && !gw_list_empty(&p->disk.dirty))
        room = take_dirty(p, b);
    p->disk.writing = true;
    gw_store_submit(p->store, &b->job);
    return room;
}

static void on_timer(void *owner)
{
    struct gw_presence *p = owner;

    if (!p->disk.writing && !idle(p) && !write_batch(p) && !p->disk.writing)
        gw_timer_start(p->loop, &p->disk.timer, RETRY_MS);
}

static void schedule(struct gw_presence *p)
{
    if (!p->disk.writing && !gw_timer_armed(&p->disk.timer))
        gw_timer_start(p->loop, &p->disk.timer, WITHIN_MS);
}

void presence_persist_mark(struct entry *e)
{
    struct gw_presence *p = e->presence;

    if (gw_list_empty(&e->dirty))
        gw_list_append(&p->disk.dirty, &e->dirty);
    schedule(p);
}

void presence_persist_gone(struct gw_presence *p, const char *id)
{
    struct gone *g = calloc(1, sizeof(*g));

    if (!g)
        return; /* the row is left out at the next load: its device is gone */
    strcpy(g->id, id);
    gw_list_append(&p->disk.gone, &g->node);
    schedule(p);
}

void presence_persist_init(struct gw_presence *p)
{
    gw_list_init(&p->disk.dirty);
    gw_list_init(&p->disk.gone);
    gw_timer_init(&p->disk.timer, on_timer, p);
}

void presence_persist_finish(struct gw_presence *p)
{
    gw_timer_stop(&p->disk.timer);
    p->disk.closing = true;
    while (!idle(p) && write_batch(p))
        ;
    gw_store_flush(p->store);
    GW_LIST_EACH(&p->disk.gone, node)
    {
        free(GW_LIST_ENTRY(node, struct gone, node));
    }
}
