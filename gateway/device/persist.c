/* SPDX-License-Identifier: GPL-2.0-only */
#include "device/device_priv.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"

/* Rows of one transaction: a burst must not hold up the acknowledgements that share the thread. */
#define BATCH_ROWS 512
#define RETRY_MS 5000

static const char *const schema[] = {
    "CREATE TABLE device(id TEXT PRIMARY KEY, name TEXT NOT NULL, class TEXT NOT NULL,"
    " vendor TEXT NOT NULL, hostname TEXT NOT NULL, state INTEGER NOT NULL,"
    " first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE device_addr(addr BLOB PRIMARY KEY, device TEXT NOT NULL, seen INTEGER NOT NULL,"
    " ifname TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX device_addr_by_device ON device_addr(device);"
    "CREATE TABLE device_refused(id TEXT PRIMARY KEY) WITHOUT ROWID;",
};

/* A copy of one record for the storage thread; `addrs` is its own array. */
struct row {
    struct row *next;
    bool gone, refused;
    struct gw_device dev;
    struct gw_device_addr addrs[];
};

struct batch {
    struct gw_store_job job;
    struct gw_devices *owner;
    struct row *rows, **tail;
    size_t count;
    struct gw_list settlers; /* told when this is done */
};

/* ---- loading ---- */

static void copy_text(char *out, size_t size, sqlite3_stmt *stmt, int column)
{
    (void)snprintf(out, size, "%s", gw_sql_text(stmt, column));
}

int device_refuse(struct gw_devices *d, const char *id)
{
    struct refused *entry;

    if (gw_map_get_str(&d->refused, id))
        return 0;
    entry = calloc(1, sizeof(*entry));
    if (!entry)
        return -ENOMEM;
    strcpy(entry->id, id);
    if (gw_map_put(&d->refused, gw_slice_str(entry->id), entry)) {
        free(entry);
        return -ENOMEM;
    }
    return 0;
}

/* A row that this program cannot have written is left alone, not trusted. */
static int load_device(struct gw_devices *d, sqlite3_stmt *stmt)
{
    const char *id = gw_sql_text(stmt, 0);
    int64_t state = sqlite3_column_int64(stmt, 5);
    struct record *r;

    if (!gw_device_id_valid(id) || state < GW_DEVICE_SEEN || state > GW_DEVICE_REVOKED ||
        gw_devices_total(d) >= d->max)
        return 0;
    r = device_record_make(d, id, (enum gw_device_state)state);
    if (!r)
        return -ENOMEM;
    copy_text(r->pub.name, sizeof(r->pub.name), stmt, 1);
    copy_text(r->pub.class, sizeof(r->pub.class), stmt, 2);
    copy_text(r->pub.vendor, sizeof(r->pub.vendor), stmt, 3);
    copy_text(r->pub.hostname, sizeof(r->pub.hostname), stmt, 4);
    r->pub.first_seen_ms = sqlite3_column_int64(stmt, 6);
    r->pub.last_seen_ms = sqlite3_column_int64(stmt, 7);
    return 0;
}

static int load_addr(struct gw_devices *d, sqlite3_stmt *stmt)
{
    struct gw_slice blob = gw_sql_blob(stmt, 0);
    struct record *r = gw_map_get_str(&d->by_id, gw_sql_text(stmt, 1));
    struct gw_device_addr a = {.seen_ms = sqlite3_column_int64(stmt, 2)};

    if (!r || blob.len != sizeof(a.addr) || r->pub.addr_count == GW_DEVICE_ADDRS_MAX)
        return 0;
    memcpy(&a.addr, blob.ptr, blob.len);
    if (!device_addr_bindable(&a.addr))
        return 0;
    copy_text(a.ifname, sizeof(a.ifname), stmt, 3);
    return device_addr_put(d, r, &a) ? 0 : -ENOMEM;
}

static int load_refused(struct gw_devices *d, sqlite3_stmt *stmt)
{
    const char *id = gw_sql_text(stmt, 0);

    return gw_device_id_valid(id) ? device_refuse(d, id) : 0;
}

static int load_rows(struct gw_devices *d, sqlite3 *db, const char *sql,
                     int (*load)(struct gw_devices *d, sqlite3_stmt *stmt))
{
    sqlite3_stmt *stmt;
    int err = gw_sql(db, &stmt, sql, "");

    while (!err && (err = gw_sql_step(stmt)) > 0)
        err = load(d, stmt);
    return err;
}

/* The loop's thread waits for this one, so it may fill the registry. */
static int run_load(struct gw_store_job *job, sqlite3 *db)
{
    struct batch *b = GW_CONTAINER(job, struct batch, job);
    int err = gw_store_migrate(db, "device", schema, GW_COUNT(schema));

    if (!err)
        err = load_rows(b->owner, db,
                        "SELECT id, name, class, vendor, hostname, state, first_seen, last_seen"
                        " FROM device",
                        load_device);
    if (!err)
        err = load_rows(b->owner, db, "SELECT addr, device, seen, ifname FROM device_addr",
                        load_addr);
    if (!err)
        err = load_rows(b->owner, db, "SELECT id FROM device_refused", load_refused);
    return err;
}

int device_persist_load(struct gw_devices *d)
{
    struct batch b = {.job.run = run_load, .owner = d};

    return gw_store_call(d->store, &b.job);
}

/* ---- writing ---- */

static int write_gone(const struct row *row, sqlite3 *db)
{
    const char *id = row->dev.id;
    int err = gw_sql_exec(db, "DELETE FROM device WHERE id = ?", "t", id);

    if (!err)
        err = gw_sql_exec(db, "DELETE FROM device_addr WHERE device = ?", "t", id);
    if (!err && row->refused)
        err = gw_sql_exec(db, "INSERT OR REPLACE INTO device_refused(id) VALUES(?)", "t", id);
    return err;
}

static int write_device(const struct row *row, sqlite3 *db)
{
    const struct gw_device *dev = &row->dev;
    int err = gw_sql_exec(db,
                          "INSERT OR REPLACE INTO device(id, name, class, vendor, hostname, state,"
                          " first_seen, last_seen) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                          "tttttiii", dev->id, dev->name, dev->class, dev->vendor, dev->hostname,
                          (int64_t)dev->state, dev->first_seen_ms, dev->last_seen_ms);

    if (!err)
        err = gw_sql_exec(db, "DELETE FROM device_addr WHERE device = ?", "t", dev->id);
    for (size_t i = 0; !err && i < dev->addr_count; i++)
        err = gw_sql_exec(db,
                          "INSERT OR REPLACE INTO device_addr(addr, device, seen, ifname)"
                          " VALUES(?, ?, ?, ?)",
                          "btit", gw_hwaddr_key(&row->addrs[i].addr), dev->id,
                          row->addrs[i].seen_ms, row->addrs[i].ifname);
    if (!err && !row->refused)
        err = gw_sql_exec(db, "DELETE FROM device_refused WHERE id = ?", "t", dev->id);
    return err;
}

static int run_write(struct gw_store_job *job, sqlite3 *db)
{
    struct batch *b = GW_CONTAINER(job, struct batch, job);
    int err = 0;

    for (const struct row *row = b->rows; row && !err; row = row->next)
        err = row->gone ? write_gone(row, db) : write_device(row, db);
    return err;
}

static struct row *row_add(struct batch *b, size_t addrs)
{
    struct row *row = calloc(1, sizeof(*row) + addrs * sizeof(row->addrs[0]));

    if (!row)
        return NULL;
    *b->tail = row;
    b->tail = &row->next;
    b->count++;
    return row;
}

static bool take_gone(struct gw_devices *d, struct batch *b)
{
    struct gone *g = GW_LIST_ENTRY(d->gone.next, struct gone, node);
    struct row *row = row_add(b, 0);

    if (!row)
        return false;
    row->gone = true;
    row->refused = g->revoked;
    strcpy(row->dev.id, g->id);
    gw_list_remove(&g->node);
    free(g);
    return true;
}

static bool take_dirty(struct gw_devices *d, struct batch *b)
{
    struct record *r = GW_LIST_ENTRY(d->dirty.next, struct record, dirty);
    struct row *row = row_add(b, r->pub.addr_count);

    if (!row)
        return false;
    row->dev = r->pub;
    row->refused = gw_map_get_str(&d->refused, r->pub.id) != NULL;
    if (r->pub.addr_count)
        memcpy(row->addrs, r->pub.addrs, r->pub.addr_count * sizeof(row->addrs[0]));
    gw_list_remove(&r->dirty);
    return true;
}

static bool idle(const struct gw_devices *d)
{
    return gw_list_empty(&d->dirty) && gw_list_empty(&d->gone);
}

static bool due(const struct gw_devices *d)
{
    return !idle(d) || !gw_list_empty(&d->settlers);
}

static void done_write(struct gw_store_job *job, int err);

/* The settlers of `from`, in front of whom `to` has. */
static void settlers_move(struct gw_list *from, struct gw_list *to)
{
    GW_LIST_EACH(from, node)
    {
        gw_list_remove(node);
        gw_list_append(to, node);
    }
}

static void settlers_tell(struct gw_list *settlers, int err)
{
    while (!gw_list_empty(settlers)) {
        struct settler *s = GW_LIST_ENTRY(settlers->next, struct settler, node);

        gw_list_remove(&s->node);
        s->fn(s->owner, err);
        free(s);
    }
}

/* What is waiting, at most one batch of it, the deletions first: an id may have come again. */
static bool write_batch(struct gw_devices *d)
{
    struct batch *b = calloc(1, sizeof(*b));
    bool room = b != NULL;

    if (!b)
        return false;
    *b = (struct batch){.job = {.run = run_write, .done = done_write}, .owner = d};
    b->tail = &b->rows;
    gw_list_init(&b->settlers);
    while (room && b->count < BATCH_ROWS && !gw_list_empty(&d->gone))
        room = take_gone(d, b);
    while (room && b->count < BATCH_ROWS && !gw_list_empty(&d->dirty))
        room = take_dirty(d, b);
    if (idle(d)) /* all that anybody waits for is in this one */
        settlers_move(&d->settlers, &b->settlers);
    d->writing = b;
    gw_store_submit(d->store, &b->job);
    return room;
}

/* The write failed (said by the store): what it held is due again, unless it changed meanwhile. */
static void take_back(struct gw_devices *d, const struct row *row)
{
    struct record *r = gw_map_get_str(&d->by_id, row->dev.id);

    if (row->gone)
        device_persist_gone(d, row->dev.id, row->refused);
    else if (r && gw_list_empty(&r->dirty))
        gw_list_append(&d->dirty, &r->dirty);
}

static void done_write(struct gw_store_job *job, int err)
{
    struct batch *b = GW_CONTAINER(job, struct batch, job);
    struct gw_devices *d = b->owner;
    bool full = b->count == BATCH_ROWS;

    d->writing = NULL;
    for (struct row *row = b->rows, *next; row; row = next) {
        next = row->next;
        if (err && !d->closing)
            take_back(d, row);
        free(row);
    }
    settlers_tell(&b->settlers, err ? GW_ESTORE : 0);
    free(b);
    if (d->closing || !due(d))
        return;
    gw_timer_start(d->loop, &d->flush,
                   err                                    ? RETRY_MS
                   : full || !gw_list_empty(&d->settlers) ? NOW_MS
                                                          : SOON_MS);
}

static void on_flush(void *owner)
{
    struct gw_devices *d = owner;

    if (!d->writing && due(d) && !write_batch(d) && !d->writing)
        gw_timer_start(d->loop, &d->flush, RETRY_MS);
}

/* Due within `within_ms`; a batch on its way starts the timer again when it is done. */
static void schedule(struct gw_devices *d, uint64_t within_ms)
{
    if (d->writing)
        return;
    if (!gw_timer_armed(&d->flush) || d->flush.due_ms > gw_loop_now_ms(d->loop) + within_ms)
        gw_timer_start(d->loop, &d->flush, within_ms);
}

void device_persist_mark(struct gw_devices *d, struct record *r, uint64_t within_ms)
{
    if (gw_list_empty(&r->dirty))
        gw_list_append(&d->dirty, &r->dirty);
    schedule(d, within_ms);
}

void device_persist_gone(struct gw_devices *d, const char *id, bool revoked)
{
    struct gone *g = calloc(1, sizeof(*g));

    if (!g) {
        gw_log_error("a forgotten device stays in the database: out of memory device=%s", id);
        return;
    }
    strcpy(g->id, id);
    g->revoked = revoked;
    gw_list_append(&d->gone, &g->node);
    schedule(d, NOW_MS);
}

int gw_devices_settle(struct gw_devices *d, gw_devices_settled *fn, void *owner)
{
    struct settler *s = malloc(sizeof(*s));

    if (!s)
        return -ENOMEM;
    *s = (struct settler){.fn = fn, .owner = owner};
    gw_list_init(&s->node);
    if (d->writing && idle(d)) {
        gw_list_append(&d->writing->settlers, &s->node);
    } else {
        gw_list_append(&d->settlers, &s->node);
        schedule(d, NOW_MS);
    }
    return 0;
}

void device_persist_init(struct gw_devices *d)
{
    gw_list_init(&d->dirty);
    gw_list_init(&d->gone);
    gw_list_init(&d->settlers);
    gw_timer_init(&d->flush, on_flush, d);
}

void device_persist_finish(struct gw_devices *d)
{
    gw_timer_stop(&d->flush);
    d->closing = true;
    while (due(d) && write_batch(d))
        ;
    gw_store_flush(d->store);
    settlers_tell(&d->settlers, GW_ECLOSED);
    GW_LIST_EACH(&d->gone, node)
    {
        free(GW_LIST_ENTRY(node, struct gone, node));
    }
}
