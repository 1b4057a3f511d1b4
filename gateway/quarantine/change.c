/* SPDX-License-Identifier: GPL-2.0-only */
/* One change of a verdict: in memory at once, then kernel and disk side by side, then told. */
#include "quarantine/quarantine_priv.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"

static const char *const schema[] = {
    "CREATE TABLE quarantine(device TEXT NOT NULL, addr BLOB NOT NULL, mode TEXT NOT NULL,"
    " reason TEXT NOT NULL, by TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,"
    " PRIMARY KEY(device, addr)) WITHOUT ROWID;",
};

/* ---- disk ---- */

static int run_store(struct gw_store_job *job, sqlite3 *db)
{
    const struct change *c = GW_CONTAINER(job, struct change, job);
    const struct gw_verdict *v = &c->what;
    struct gw_slice addr = verdict_on_device(v) ? GW_SLICE("", 0) : gw_hwaddr_key(&v->addr);

    if (!c->set)
        return gw_sql_exec(db, "DELETE FROM quarantine WHERE device = ? AND addr = ?", "tb",
                           v->device, addr);
    return gw_sql_exec(db,
                       "INSERT OR REPLACE INTO quarantine(device, addr, mode, reason, by, since,"
                       " until) VALUES(?, ?, ?, ?, ?, ?, ?)",
                       "tbtttii", v->device, addr, gw_mode_text(v->mode), v->reason, v->by,
                       v->since_ms, v->until_ms);
}

static void done_store(struct gw_store_job *job, int err)
{
    quarantine_answer(GW_CONTAINER(job, struct change, job), err ? GW_ESTORE : 0);
}

static bool load_key(sqlite3_stmt *stmt, struct gw_verdict *v)
{
    const char *device = gw_sql_text(stmt, 0);
    struct gw_slice addr = gw_sql_blob(stmt, 1);

    if (*device && !gw_device_id_valid(device))
        return false;
    strcpy(v->device, device);
    if (*device)
        return true;
    if (addr.len != sizeof(v->addr))
        return false;
    memcpy(&v->addr, addr.ptr, addr.len);
    return v->addr.kind >= GW_ADDR_MAC && v->addr.kind <= GW_ADDR_IPV6;
}

/* A row that cannot be read still cuts off whom it names. */
static int load_row(struct gw_quarantine *q, sqlite3_stmt *stmt)
{
    enum gw_verdict_mode mode = gw_mode_of(gw_sql_text(stmt, 2));
    struct gw_verdict v = {
        .mode = mode == GW_MODE_NONE ? GW_MODE_ISOLATE : mode,
        .since_ms = sqlite3_column_int64(stmt, 5),
        .until_ms = sqlite3_column_int64(stmt, 6),
    };

    if (!load_key(stmt, &v))
        return 0;
    (void)snprintf(v.reason, sizeof(v.reason), "%s", gw_sql_text(stmt, 3));
    (void)snprintf(v.by, sizeof(v.by), "%s", gw_sql_text(stmt, 4));
    return quarantine_put(q, &v, 0);
}

/* The loop's thread waits for this one, so it may fill the table. */
static int run_load(struct gw_store_job *job, sqlite3 *db)
{
    struct gw_quarantine *q = GW_CONTAINER(job, struct change, job)->q;
    sqlite3_stmt *stmt;
    int err = gw_store_migrate(db, "quarantine", schema, GW_COUNT(schema));

    if (!err)
        err = gw_sql_exec(db, "DELETE FROM quarantine WHERE until != 0 AND until <= ?", "i",
                          gw_clock_wall_ms());
    if (!err)
        err = gw_sql(db, &stmt,
                     "SELECT device, addr, mode, reason, by, since, until FROM quarantine", "");
    while (!err && (err = gw_sql_step(stmt)) > 0)
        err = load_row(q, stmt);
    return err;
}

int quarantine_load(struct gw_quarantine *q)
{
    struct change c = {.job.run = run_load, .q = q};

    return gw_store_call(q->store, &c.job);
}

/* ---- telling ---- */

static json_t *figures(const struct change *c)
{
    const struct gw_verdict *v = c->set || !c->had ? &c->what : &c->before;
    char until[GW_TIME_TEXT], addr[GW_HWADDR_TEXT];
    json_t *fields =
        json_pack("{s:s, s:s, s:s, s:o}", "mode", gw_mode_text(v->mode), "reason", v->reason, "by",
                  c->what.by, "until",
                  v->until_ms ? json_string(gw_time_text(v->until_ms, until)) : json_null());

    if (!verdict_on_device(v))
        (void)json_object_set_new(fields, "address", json_string(gw_hwaddr_text(&v->addr, addr)));
    if (c->only_sessions)
        (void)json_object_set_new(fields, "kernel", json_false());
    return fields;
}

static const char *subject(const struct change *c, char text[GW_HWADDR_TEXT])
{
    return verdict_on_device(&c->what) ? c->what.device : gw_hwaddr_text(&c->what.addr, text);
}

/* What a change of this verdict does to its subject. */
static const char *deed(const struct change *c)
{
    const struct gw_verdict *v = c->set || !c->had ? &c->what : &c->before;

    if (c->set)
        return gw_verdict_deed(v->mode);
    return v->mode == GW_MODE_OBSERVE ? "no longer observed" : "let in again";
}

/* What a verdict that cuts off does not reach. */
static const char *how_far(const struct change *c)
{
    const struct gw_device *d = NULL;

    if (!c->set || !gw_verdict_cuts(&c->what))
        return "";
    if (c->only_sessions)
        return " (its sessions only)";
    if (verdict_on_device(&c->what))
        d = gw_devices_get(c->q->devices, c->what.device);
    return d && d->addr_count == 0 ? " (no address of it is known yet)" : "";
}

static void alert(const struct change *c)
{
    struct gw_journal *j = c->q->journal;
    const char *device = c->what.device, *kind = c->set ? "quarantine" : "release";
    const char *reason = c->set ? c->what.reason : "";
    enum gw_severity severity = c->set && gw_verdict_cuts(&c->what) ? GW_WARNING : GW_INFO;
    char text[GW_HWADDR_TEXT];

    if (c->err)
        gw_journal_alert(j, GW_CRITICAL, kind, device, figures(c), "%s could not be %s: %s",
                         subject(c, text), deed(c), gw_error_text(c->err));
    else
        gw_journal_alert(j, severity, kind, device, figures(c), "%s is %s%s%s%s", subject(c, text),
                         deed(c), how_far(c), *reason ? ": " : "", reason);
}

/* ---- the course of a change ---- */

static struct change *change_new(struct gw_quarantine *q, const struct gw_verdict *what, bool set)
{
    struct change *c = calloc(1, sizeof(*c));
    struct entry *e = gw_map_get(&q->entries, verdict_key(what));

    if (!c)
        return NULL;
    c->job.run = run_store;
    c->job.done = done_store;
    c->q = q;
    c->id = ++q->last_change;
    c->what = *what;
    c->set = set;
    c->had = e != NULL;
    if (e)
        c->before = e->v;
    return c;
}

static int in_memory(struct gw_quarantine *q, const struct change *c)
{
    if (c->set)
        return quarantine_put(q, &c->what, c->id);
    quarantine_remove(q, &c->what);
    return 0;
}

/*
 * Only the kernel knows all that must never be cut off, so what a whole network does is told when
 * it has agreed: a refusal would have thrown everybody in it out.
 */
static bool told_at_the_end(const struct change *c)
{
    return c->set && verdict_on_network(&c->what);
}

/*
 * A few goodbyes, which the kernel would stop; then its message, which is short; the disk answers
 * when it can. Owns `c`.
 */
static int start(struct change *c, bool kernel)
{
    struct gw_quarantine *q = c->q;
    int err = in_memory(q, c);

    if (err) {
        free(c);
        return err;
    }
    gw_list_append(&q->changes, &c->node);
    c->only_sessions = !q->enforcer;
    c->waits = 1;
    if (kernel && c->set)
        quarantine_tell_cutting(q, &c->what);
    if (kernel)
        quarantine_send_all(q, &c->what, c);
    gw_store_submit(q->store, &c->job);
    if (!told_at_the_end(c))
        quarantine_tell(q, &c->what);
    return 0;
}

int quarantine_set(struct gw_quarantine *q, const struct gw_verdict *v, bool quiet,
                   gw_quarantine_done *fn, void *owner)
{
    struct change *c = change_new(q, v, true);

    if (!c)
        return -ENOMEM;
    c->quiet = quiet;
    c->fn = fn;
    c->owner = owner;
    return start(c, true);
}

int quarantine_release(struct gw_quarantine *q, const struct gw_verdict *key, const char *by,
                       bool quiet, gw_quarantine_done *fn, void *owner)
{
    struct change *c = change_new(q, key, false);

    if (!c)
        return -ENOMEM;
    c->quiet = quiet;
    (void)snprintf(c->what.by, sizeof(c->what.by), "%s", by);
    c->fn = fn;
    c->owner = owner;
    return start(c, true);
}

void quarantine_move(struct gw_quarantine *q, const char *from, const char *to)
{
    struct entry *old = gw_map_get_str(&q->entries, from), *has = gw_map_get_str(&q->entries, to);
    struct change *gone = change_new(q, &old->v, false), *moved = NULL;
    struct gw_verdict v = old->v;
    int err = gone ? 0 : -ENOMEM;

    strcpy(v.device, to);
    if (!err && (!has || quarantine_stricter(&has->v, &v) == &v)) {
        moved = change_new(q, &v, true);
        err = moved ? start(moved, true) : -ENOMEM;
    }
    if (err) { /* the old one stays in force, on addresses that keep it until they are seen again */
        gw_log_error("a verdict did not follow its device: %s device=%s", gw_error_text(err), to);
        free(gone);
        return;
    }
    gone->quiet = true;
    gone->undo = true; /* the new one stands for it */
    (void)!start(gone, false);
}

/* True while nothing newer decides about the same key. */
static bool is_current(const struct change *c)
{
    const struct entry *e = gw_map_get(&c->q->entries, verdict_key(&c->what));

    return e ? c->set && e->change == c->id : !c->set;
}

static void take_back(const struct change *c)
{
    const struct gw_verdict *v = c->had ? &c->before : &c->what;
    struct change *undo = change_new(c->q, v, c->had);
    int err = undo ? 0 : -ENOMEM;

    if (undo) {
        undo->undo = undo->quiet = true;
        err = start(undo, true);
    }
    if (err)
        gw_log_error("a refused verdict could not be taken back: %s", gw_error_text(err));
}

/* Nothing was done, and whoever asked hears why: as of a refusal that needs no kernel. */
static bool is_answered_refusal(const struct change *c)
{
    return c->err == GW_EPROTECTED && c->fn;
}

static void finish(struct change *c)
{
    gw_list_remove(&c->node);
    if (c->err && !c->undo && is_current(c))
        take_back(c);
    if (!c->err && told_at_the_end(c))
        quarantine_tell(c->q, &c->what);
    if (!c->quiet && !is_answered_refusal(c))
        alert(c);
    if (c->fn)
        c->fn(c->owner, c->err);
    free(c);
}

void quarantine_answer(struct change *c, int err)
{
    if (err == GW_EUNSUPPORTED) { /* isolation is off on this machine */
        c->only_sessions = true;
        err = 0;
    }
    if (err && !c->err)
        c->err = err;
    if (--c->waits == 0)
        finish(c);
}

int gw_quarantine_await(struct gw_quarantine *q, const char *id, gw_quarantine_done *fn,
                        void *owner)
{
    struct change *c;

    if (gw_list_empty(&q->changes))
        return 1;
    c = GW_LIST_ENTRY(q->changes.prev, struct change, node); /* just now: the last one */
    if (strcmp(c->what.device, id) != 0 || c->fn)
        return 1;
    c->fn = fn;
    c->owner = owner;
    return 0;
}

/* At the end of the daemon: the disk answers, the kernel may not have. */
void quarantine_abandon(struct gw_quarantine *q)
{
    gw_store_flush(q->store);
    GW_LIST_EACH(&q->changes, node)
    {
        struct change *c = GW_LIST_ENTRY(node, struct change, node);

        gw_list_remove(node);
        if (c->fn)
            c->fn(c->owner, GW_ECLOSED);
        free(c);
    }
}
