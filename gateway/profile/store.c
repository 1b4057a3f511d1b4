/* SPDX-License-Identifier: GPL-2.0-only */
/* Profiles in the database: a row each, and one for each address that a name led to. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "profile/profile_priv.h"

static const char *const schema[] = {
    "CREATE TABLE profile(device TEXT PRIMARY KEY, number INTEGER NOT NULL, state INTEGER NOT NULL,"
    " since INTEGER NOT NULL, until INTEGER NOT NULL, source INTEGER NOT NULL,"
    " rules TEXT NOT NULL, rules_at INTEGER NOT NULL, mud TEXT, notes TEXT NOT NULL,"
    " packets_per_s INTEGER NOT NULL, bytes_per_s INTEGER NOT NULL, learned BLOB NOT NULL,"
    " learned_at INTEGER NOT NULL, missed INTEGER NOT NULL, peak_packets INTEGER NOT NULL,"
    " peak_bytes INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE profile_name(device TEXT NOT NULL, name TEXT NOT NULL, addr BLOB NOT NULL,"
    " until INTEGER NOT NULL, PRIMARY KEY(device, name, addr)) WITHOUT ROWID;",
};

/* ---- writing ---- */

/* A profile as it was when the job was made; `before`: the device it was of, "" : the same. */
struct save {
    struct gw_store_job job;
    struct change *change;
    struct profile row; /* its pointers are not used, but: */
    char before[GW_DEVICE_ID_MAX + 1];
    char *rules, *notes, *mud;
    struct gw_learned *learned;
};

static void save_free(struct save *s)
{
    free(s->rules);
    free(s->notes);
    free(s->mud);
    free(s->learned);
    free(s);
}

static int run_removal(sqlite3 *db, const char *device)
{
    int err = gw_sql_exec(db, "DELETE FROM profile WHERE device = ?", "t", device);

    return err ? err : gw_sql_exec(db, "DELETE FROM profile_name WHERE device = ?", "t", device);
}

static int run_save(struct gw_store_job *job, sqlite3 *db)
{
    const struct save *s = GW_CONTAINER(job, struct save, job);
    const struct profile *p = &s->row;
    struct gw_slice learned = GW_SLICE(s->learned, p->learned.count * sizeof(*s->learned));
    int err = *s->before ? run_removal(db, s->before) : 0;

    if (err)
        return err;
    return gw_sql_exec(
        db,
        "INSERT OR REPLACE INTO profile(device, number, state, since, until, source, rules,"
        " rules_at, mud, notes, packets_per_s, bytes_per_s, learned, learned_at, missed,"
        " peak_packets, peak_bytes) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "tiiiiititti"
        "ibiiii",
        p->device, (int64_t)p->number, (int64_t)p->state, p->since_ms, p->until_ms,
        (int64_t)p->source, s->rules, p->rules_ms, s->mud, s->notes, (int64_t)p->packets_per_s,
        (int64_t)p->bytes_per_s, learned.len ? learned : GW_SLICE("", 0), p->learned.at_ms,
        (int64_t)p->learned.missed, (int64_t)p->learned.peak_packets_per_s,
        (int64_t)p->learned.peak_bytes_per_s);
}

static void done_save(struct gw_store_job *job, int err)
{
    struct save *s = GW_CONTAINER(job, struct save, job);

    if (err)
        gw_log_error("a profile was not stored: %s device=%s", gw_error_text(err), s->row.device);
    if (s->change)
        change_part_done(s->change, err ? GW_ESTORE : 0);
    save_free(s);
}

static char *notes_text(const struct mud_notes *notes)
{
    json_auto_t *list = json_array();

    for (size_t i = 0; i < notes->count; i++)
        (void)json_array_append_new(list, json_string(notes->text[i]));
    return json_dumps(list, JSON_COMPACT);
}

static char *rules_text(const struct rules *rules)
{
    json_auto_t *list = rules_json(rules);

    return list ? json_dumps(list, JSON_COMPACT) : NULL;
}

static struct save *save_new(const struct profile *p, const char *before)
{
    struct save *s = calloc(1, sizeof(*s));
    size_t bytes = p->learned.count * sizeof(*s->learned);

    if (!s)
        return NULL;
    s->job.run = run_save;
    s->job.done = done_save;
    s->row = *p;
    (void)snprintf(s->before, sizeof(s->before), "%s", before ? before : "");
    s->rules = rules_text(&p->rules);
    s->notes = notes_text(&p->notes);
    s->mud = p->mud ? strdup(p->mud) : NULL;
    s->learned = malloc(bytes + 1);
    if (!s->rules || !s->notes || (p->mud && !s->mud) || !s->learned) {
        save_free(s);
        return NULL;
    }
    if (bytes)
        memcpy(s->learned, p->learned.at, bytes);
    return s;
}

int profile_store(struct profile *p, const char *before, struct change *c)
{
    struct save *s = save_new(p, before);

    if (!s)
        return -ENOMEM;
    s->change = c;
    if (c)
        c->waits++;
    gw_store_submit(p->ps->store, &s->job);
    return 0;
}

/* ---- removing ---- */

struct removal {
    struct gw_store_job job;
    struct change *change;
    char device[GW_DEVICE_ID_MAX + 1];
};

static int run_remove(struct gw_store_job *job, sqlite3 *db)
{
    return run_removal(db, GW_CONTAINER(job, struct removal, job)->device);
}

static void done_remove(struct gw_store_job *job, int err)
{
    struct removal *r = GW_CONTAINER(job, struct removal, job);

    change_part_done(r->change, err ? GW_ESTORE : 0);
    free(r);
}

int profile_store_removal(struct gw_profiles *ps, const char *device, struct change *c)
{
    struct removal *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->job.run = run_remove;
    r->job.done = done_remove;
    r->change = c;
    (void)snprintf(r->device, sizeof(r->device), "%s", device);
    c->waits++;
    gw_store_submit(ps->store, &r->job);
    return 0;
}

/* ---- the addresses of names ---- */

struct names {
    struct gw_store_job job;
    char device[GW_DEVICE_ID_MAX + 1];
    struct named *at;
    size_t count;
};

static int run_names(struct gw_store_job *job, sqlite3 *db)
{
    const struct names *n = GW_CONTAINER(job, struct names, job);
    int err = gw_sql_exec(db, "DELETE FROM profile_name WHERE device = ?", "t", n->device);

    for (size_t i = 0; !err && i < n->count; i++)
        err = gw_sql_exec(db,
                          "INSERT OR REPLACE INTO profile_name(device, name, addr, until)"
                          " SELECT ?1, ?2, ?3, ?4 WHERE EXISTS"
                          " (SELECT 1 FROM profile WHERE device = ?1)",
                          "ttbi", n->device, n->at[i].name, gw_hwaddr_key(&n->at[i].address),
                          n->at[i].until_ms);
    return err;
}

static void done_names(struct gw_store_job *job, int err)
{
    struct names *n = GW_CONTAINER(job, struct names, job);

    if (err)
        gw_log_error("addresses of names were not stored: %s device=%s", gw_error_text(err),
                     n->device);
    free(n->at);
    free(n);
}

void profile_store_names(struct profile *p)
{
    struct names *n = calloc(1, sizeof(*n));

    p->names_dirty = false;
    if (n)
        n->at = calloc(p->name_count + 1, sizeof(*n->at));
    if (!n || !n->at) {
        free(n);
        return; /* they are asked for again */
    }
    n->job.run = run_names;
    n->job.done = done_names;
    n->count = p->name_count;
    (void)snprintf(n->device, sizeof(n->device), "%s", p->device);
    if (n->count)
        memcpy(n->at, p->names, n->count * sizeof(*n->at));
    gw_store_submit(p->ps->store, &n->job);
}

/* ---- reading ---- */

static void load_notes(struct profile *p, const char *text)
{
    json_auto_t *list = json_loads(text, 0, NULL);

    for (size_t i = 0; i < json_array_size(list) && p->notes.count < MUD_NOTES_MAX; i++) {
        const char *note = json_string_value(json_array_get(list, i));

        if (note)
            (void)snprintf(p->notes.text[p->notes.count++], WHY_MAX, "%s", note);
    }
}

static bool load_rules(struct profile *p, const char *text)
{
    json_auto_t *list = json_loads(text, 0, NULL);
    char why[WHY_MAX];

    return list && rules_from_json(list, &p->rules) == 0 && rules_normalize(&p->rules, why) == 0;
}

/* Written by another version, perhaps: then it is learned again. */
static void load_learned(struct profile *p, struct gw_slice blob)
{
    size_t count = blob.len / sizeof(*p->learned.at);

    if (!count || blob.len % sizeof(*p->learned.at) || count > LEARNED_MAX)
        return;
    p->learned.at = malloc(blob.len);
    if (!p->learned.at)
        return;
    memcpy(p->learned.at, blob.ptr, blob.len);
    p->learned.count = count;
}

static bool load_values(struct profile *p, sqlite3_stmt *stmt)
{
    int64_t state = sqlite3_column_int64(stmt, 2), source = sqlite3_column_int64(stmt, 5);

    if (state < GW_PROFILE_OFF || state > GW_PROFILE_ENFORCING || source < SOURCE_NONE ||
        source > SOURCE_MUD || !load_rules(p, gw_sql_text(stmt, 6)))
        return false;
    p->state = (enum gw_profile_state)state;
    p->since_ms = sqlite3_column_int64(stmt, 3);
    p->until_ms = sqlite3_column_int64(stmt, 4);
    p->source = (enum rule_source)source;
    p->rules_ms = sqlite3_column_int64(stmt, 7);
    if (sqlite3_column_type(stmt, 8) != SQLITE_NULL)
        p->mud = strdup(gw_sql_text(stmt, 8));
    load_notes(p, gw_sql_text(stmt, 9));
    p->packets_per_s = (uint32_t)sqlite3_column_int64(stmt, 10);
    p->bytes_per_s = (uint64_t)sqlite3_column_int64(stmt, 11);
    load_learned(p, gw_sql_blob(stmt, 12));
    p->learned.at_ms = sqlite3_column_int64(stmt, 13);
    p->learned.missed = (uint64_t)sqlite3_column_int64(stmt, 14);
    p->learned.peak_packets_per_s = (uint32_t)sqlite3_column_int64(stmt, 15);
    p->learned.peak_bytes_per_s = (uint64_t)sqlite3_column_int64(stmt, 16);
    return true;
}

static int load_row(struct gw_profiles *ps, sqlite3_stmt *stmt)
{
    const char *device = gw_sql_text(stmt, 0);
    int64_t number = sqlite3_column_int64(stmt, 1);
    struct profile *p = NULL;

    if (gw_device_id_valid(device) && number >= 1 && number <= GW_POLICIES_MAX)
        p = profile_new(ps, device, (uint16_t)number);
    if (p && load_values(p, stmt))
        return 0;
    gw_log_warning("a stored profile is left out device=%.64s", device);
    if (p)
        profile_free(p);
    return 0;
}

static int load_name(struct gw_profiles *ps, sqlite3_stmt *stmt)
{
    struct profile *p = profile_get(ps, gw_sql_text(stmt, 0));
    const char *name = gw_sql_text(stmt, 1);
    struct gw_slice addr = gw_sql_blob(stmt, 2);
    struct named n = {.until_ms = sqlite3_column_int64(stmt, 3)}, *kept;

    if (!p || p->name_count >= NAMES_MAX || addr.len != sizeof(n.address) ||
        !dns_name_normal(name, strlen(name), n.name))
        return 0;
    memcpy(&n.address, addr.ptr, addr.len);
    kept = names_add(p);
    if (!kept)
        return -ENOMEM;
    *kept = n;
    return 0;
}

struct load {
    struct gw_store_job job;
    struct gw_profiles *ps;
};

/* The loop's thread waits for this one, so it may fill the table. */
static int run_load(struct gw_store_job *job, sqlite3 *db)
{
    struct gw_profiles *ps = GW_CONTAINER(job, struct load, job)->ps;
    sqlite3_stmt *stmt;
    int err = gw_store_migrate(db, "profile", schema, GW_COUNT(schema));

    if (!err) /* a crash between the two deletions must not leave rules to a namesake */
        err =
            gw_sql_exec(db, "DELETE FROM profile WHERE device NOT IN (SELECT id FROM device)", "");
    if (!err)
        err = gw_sql_exec(db,
                          "DELETE FROM profile_name WHERE until <= ? OR device NOT IN"
                          " (SELECT device FROM profile)",
                          "i", gw_clock_wall_ms());
    if (!err)
        err = gw_sql(db, &stmt,
                     "SELECT device, number, state, since, until, source, rules, rules_at, mud,"
                     " notes, packets_per_s, bytes_per_s, learned, learned_at, missed,"
                     " peak_packets, peak_bytes FROM profile",
                     "");
    while (!err && (err = gw_sql_step(stmt)) > 0)
        err = load_row(ps, stmt);
    if (!err)
        err = gw_sql(db, &stmt, "SELECT device, name, addr, until FROM profile_name", "");
    while (!err && (err = gw_sql_step(stmt)) > 0)
        err = load_name(ps, stmt);
    return err;
}

int profiles_load(struct gw_profiles *ps)
{
    struct load l = {.job.run = run_load, .ps = ps};

    return gw_store_call(ps->store, &l.job);
}
