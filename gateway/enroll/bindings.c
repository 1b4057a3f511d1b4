/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>

#include "base/log.h"
#include "enroll/enroll_priv.h"

static const char *const schema[] = {
    "CREATE TABLE enroll(device TEXT PRIMARY KEY, spki BLOB NOT NULL, address BLOB NOT NULL,"
    " waits INTEGER NOT NULL, previous BLOB NOT NULL) WITHOUT ROWID",
};

/* ---- in memory ---- */

struct binding *bindings_get(const struct bindings *b, const char *device)
{
    return gw_map_get_str(&b->by_device, device);
}

struct binding *bindings_from(const struct bindings *b, const struct gw_hwaddr *from)
{
    return gw_map_get(&b->by_addr, gw_hwaddr_key(from));
}

bool bindings_holds(const struct binding *x, const uint8_t spki[32])
{
    return memcmp(x->spki, spki, 32) == 0 || memcmp(x->previous, spki, 32) == 0;
}

struct binding *bindings_lapsed(const struct bindings *b, uint64_t now_ms)
{
    struct binding *oldest;

    if (gw_list_empty(&b->waiting))
        return NULL;
    oldest = GW_LIST_ENTRY(b->waiting.next, struct binding, node);
    return now_ms - oldest->asked_ms >= WAITING_MS ? oldest : NULL;
}

static void wait_ends(struct bindings *b, struct binding *x)
{
    if (!x->waits)
        return;
    gw_list_remove(&x->node);
    b->waiting_count--;
    if (bindings_from(b, &x->from) == x)
        (void)gw_map_remove(&b->by_addr, gw_hwaddr_key(&x->from));
    x->waits = false;
}

static int wait_begins(struct bindings *b, struct binding *x)
{
    int err = b->waiting_count < WAITING_MAX ? 0 : GW_EFULL;

    if (!err)
        err = gw_map_put(&b->by_addr, gw_hwaddr_key(&x->from), x);
    if (err)
        return err;
    gw_list_append(&b->waiting, &x->node);
    b->waiting_count++;
    x->waits = true;
    return 0;
}

static void drop(struct bindings *b, struct binding *x)
{
    wait_ends(b, x);
    (void)gw_map_remove(&b->by_device, gw_slice_str(x->device));
    free(x);
}

static int add(struct bindings *b, const char *device, const uint8_t spki[32],
               const uint8_t previous[32], const struct gw_hwaddr *from, bool waits,
               uint64_t now_ms)
{
    GW_CLEANUP(gw_free_ptr) struct binding *x = calloc(1, sizeof(*x));
    int err;

    if (!x)
        return -ENOMEM;
    gw_list_init(&x->node);
    memcpy(x->device, device, strlen(device) + 1);
    memcpy(x->spki, spki, sizeof(x->spki));
    memcpy(x->previous, previous, sizeof(x->previous));
    x->from = *from;
    x->asked_ms = now_ms;
    err = waits ? wait_begins(b, x) : 0;
    if (err)
        return err;
    err = gw_map_put(&b->by_device, gw_slice_str(x->device), x);
    if (err) {
        wait_ends(b, x);
        return err;
    }
    x = NULL; /* the map's */
    return 0;
}

void bindings_asked(struct bindings *b, struct binding *x, uint64_t now_ms)
{
    x->asked_ms = now_ms;
    gw_list_remove(&x->node);
    gw_list_append(&b->waiting, &x->node);
}

/* ---- on disk ---- */

struct write {
    struct gw_store_job job;
    char device[GW_DEVICE_ID_MAX + 1];
    uint8_t spki[32], previous[32];
    struct gw_hwaddr from;
    bool waits, removed;
    bindings_done *done;
    void *owner;
};

static int run_write(struct gw_store_job *job, sqlite3 *db)
{
    struct write *w = GW_CONTAINER(job, struct write, job);

    if (w->removed)
        return gw_sql_exec(db, "DELETE FROM enroll WHERE device = ?", "t", w->device);
    return gw_sql_exec(db, "INSERT OR REPLACE INTO enroll VALUES(?, ?, ?, ?, ?)", "tbbib",
                       w->device, GW_SLICE(w->spki, sizeof(w->spki)), gw_hwaddr_key(&w->from),
                       (int64_t)w->waits, GW_SLICE(w->previous, sizeof(w->previous)));
}

static void write_done(struct gw_store_job *job, int err)
{
    struct write *w = GW_CONTAINER(job, struct write, job);

    if (err)
        gw_log_error("an enrolment was not stored device=%s error=\"%s\"", w->device,
                     gw_error_text(err));
    if (w->done)
        w->done(w->owner, err);
    free(w);
}

static struct write *write_new(const char *device)
{
    struct write *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->job.run = run_write;
    w->job.done = write_done;
    memcpy(w->device, device, strlen(device) + 1);
    return w;
}

int bindings_put(struct bindings *b, const char *device, const uint8_t spki[32],
                 const struct gw_hwaddr *from, bool waits, uint64_t now_ms, bindings_done *done,
                 void *owner)
{
    GW_CLEANUP(gw_free_ptr) struct write *w = write_new(device);
    struct binding *old = bindings_get(b, device);
    int err;

    if (!w)
        return -ENOMEM;
    if (waits && b->waiting_count >= WAITING_MAX)
        return GW_EFULL;
    memcpy(w->spki, spki, sizeof(w->spki));
    w->from = *from;
    w->waits = waits;
    w->done = done;
    w->owner = owner;
    if (old && !old->waits)
        memcpy(w->previous, memcmp(old->spki, spki, 32) == 0 ? old->previous : old->spki, 32);
    if (old)
        drop(b, old);
    err = add(b, w->device, spki, w->previous, from, waits, now_ms);
    if (err)
        return err;
    gw_store_submit(b->store, &GW_TAKE(w)->job);
    return 0;
}

void bindings_remove(struct bindings *b, const char *device)
{
    struct binding *old = bindings_get(b, device);
    struct write *w;

    if (!old)
        return;
    w = write_new(device);
    drop(b, old);
    if (!w)
        return; /* it comes back with the next start, and is refused or lapses then */
    w->removed = true;
    gw_store_submit(b->store, &w->job);
}

struct reading {
    struct gw_store_job job;
    struct bindings *bindings;
    uint64_t now_ms;
};

static int read_row(struct reading *r, sqlite3_stmt *row)
{
    const char *device = gw_sql_text(row, 0);
    struct gw_slice spki = gw_sql_blob(row, 1), from = gw_sql_blob(row, 2);
    struct gw_slice previous = gw_sql_blob(row, 4);
    struct gw_hwaddr addr;
    int err;

    if (!gw_device_id_valid(device) || spki.len != 32 || previous.len != 32 ||
        from.len != sizeof(addr))
        return 0; /* no row of ours */
    memcpy(&addr, from.ptr, sizeof(addr));
    err = add(r->bindings, device, spki.ptr, previous.ptr, &addr, sqlite3_column_int(row, 3) != 0,
              r->now_ms);
    return err == GW_EFULL ? 0 : err; /* more wait than may: it has to ask again */
}

static int run_read(struct gw_store_job *job, sqlite3 *db)
{
    struct reading *r = GW_CONTAINER(job, struct reading, job);
    sqlite3_stmt *row;
    int err = gw_store_migrate(db, "enroll", schema, GW_COUNT(schema)), got;

    if (!err)
        err = gw_sql(db, &row, "SELECT device, spki, address, waits, previous FROM enroll", "");
    if (err)
        return err;
    while ((got = gw_sql_step(row)) == 1) {
        err = read_row(r, row);
        if (err) {
            (void)sqlite3_reset(row);
            return err;
        }
    }
    return got;
}

int bindings_open(struct bindings *b, struct gw_store *store, uint64_t now_ms)
{
    struct reading r = {.job = {.run = run_read}, .bindings = b, .now_ms = now_ms};

    *b = (struct bindings){.store = store};
    gw_list_init(&b->waiting);
    return gw_store_call(store, &r.job);
}

void bindings_close(struct bindings *b)
{
    size_t cursor = 0;
    struct binding *x;

    while ((x = gw_map_next(&b->by_device, &cursor)))
        free(x);
    gw_map_fini(&b->by_device);
    gw_map_fini(&b->by_addr);
}
