/* SPDX-License-Identifier: GPL-2.0-only */
/* Statements: prepared once, bound by a letter an argument. */
#include "store_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>

#include "base/log.h"
#include "base/map.h"

/* The storage thread's statements, found by the address of their text. */
struct prepared {
    struct {
        sqlite3 *db;
        const char *sql;
    } key;
    sqlite3_stmt *stmt;
};

static _Thread_local struct gw_map prepared;

static int failed(sqlite3 *db, const char *sql)
{
    gw_log_error("database: %.80s: %s", sql, sqlite3_errmsg(db));
    return GW_ESTORE;
}

void sql_forget(void)
{
    size_t cursor = 0;
    struct prepared *p;

    while ((p = gw_map_next(&prepared, &cursor))) {
        (void)sqlite3_finalize(p->stmt);
        free(p);
    }
    gw_map_fini(&prepared);
}

static int prepare(sqlite3 *db, const char *sql, struct prepared **out)
{
    struct prepared *p = calloc(1, sizeof(*p));
    int err = -ENOMEM;

    if (!p)
        return err;
    p->key.db = db;
    p->key.sql = sql;
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &p->stmt, NULL) != SQLITE_OK)
        err = failed(db, sql);
    else
        err = gw_map_put(&prepared, GW_SLICE(&p->key, sizeof(p->key)), p);
    if (err) {
        (void)sqlite3_finalize(p->stmt);
        free(p);
        return err;
    }
    *out = p;
    return 0;
}

static int bind_all(sqlite3_stmt *stmt, const char *types, va_list args)
{
    int rc = SQLITE_OK;

    for (int i = 0; types[i] && rc == SQLITE_OK; i++) {
        struct gw_slice blob;
        const char *text;

        switch (types[i]) {
        case 'i':
            rc = sqlite3_bind_int64(stmt, i + 1, va_arg(args, int64_t));
            break;
        case 't':
            text = va_arg(args, const char *);
            rc = sqlite3_bind_text(stmt, i + 1, text, -1, SQLITE_TRANSIENT);
            break;
        case 'b':
            blob = va_arg(args, struct gw_slice);
            /* A NULL pointer would bind NULL, not an empty blob. */
            rc = sqlite3_bind_blob64(stmt, i + 1, blob.len ? (const void *)blob.ptr : "", blob.len,
                                     SQLITE_TRANSIENT);
            break;
        case 'd':
            rc = sqlite3_bind_double(stmt, i + 1, va_arg(args, double));
            break;
        case 'n':
            rc = sqlite3_bind_null(stmt, i + 1);
            break;
        default:
            assert(!"an unknown letter in a statement's types");
        }
    }
    return rc;
}

static int get(sqlite3 *db, sqlite3_stmt **out, const char *sql, const char *types, va_list args)
{
    struct prepared *p;
    struct {
        sqlite3 *db;
        const char *sql;
    } key = {db, sql};
    int err;

    p = gw_map_get(&prepared, GW_SLICE(&key, sizeof(key)));
    if (!p) {
        err = prepare(db, sql, &p);
        if (err)
            return err;
    }
    (void)sqlite3_reset(p->stmt);
    (void)sqlite3_clear_bindings(p->stmt);
    if (bind_all(p->stmt, types, args) != SQLITE_OK)
        return failed(db, sql);
    *out = p->stmt;
    return 0;
}

int gw_sql(sqlite3 *db, sqlite3_stmt **out, const char *sql, const char *types, ...)
{
    va_list args;
    int err;

    va_start(args, types);
    err = get(db, out, sql, types, args);
    va_end(args);
    return err;
}

int gw_sql_exec(sqlite3 *db, const char *sql, const char *types, ...)
{
    sqlite3_stmt *stmt;
    va_list args;
    int err;

    va_start(args, types);
    err = get(db, &stmt, sql, types, args);
    va_end(args);
    if (err)
        return err;
    while ((err = gw_sql_step(stmt)) == 1)
        ;
    return err;
}

int gw_sql_step(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE)
        rc = failed(sqlite3_db_handle(stmt), sqlite3_sql(stmt));
    else
        rc = 0;
    (void)sqlite3_reset(stmt); /* an open reader would hold the transaction */
    return rc;
}

struct gw_slice gw_sql_blob(sqlite3_stmt *stmt, int column)
{
    const void *ptr = sqlite3_column_blob(stmt, column);

    return ptr ? GW_SLICE(ptr, (size_t)sqlite3_column_bytes(stmt, column)) : GW_SLICE_NONE;
}

const char *gw_sql_text(sqlite3_stmt *stmt, int column)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);

    return text ? (const char *)text : "";
}

int gw_store_migrate(sqlite3 *db, const char *room, const char *const *steps, size_t count)
{
    sqlite3_stmt *stmt;
    int64_t version = 0;
    int err = gw_sql(db, &stmt, "SELECT version FROM schema WHERE room = ?", "t", room);

    if (err)
        return err;
    err = gw_sql_step(stmt);
    if (err == 1) {
        version = sqlite3_column_int64(stmt, 0);
        (void)sqlite3_reset(stmt);
    }
    if (err < 0)
        return err;
    if (version > (int64_t)count) {
        gw_log_error("the database was written by a newer version room=%s version=%lld known=%zu",
                     room, (long long)version, count);
        return GW_ESTORE;
    }
    for (size_t i = (size_t)version; i < count; i++)
        if (sqlite3_exec(db, steps[i], NULL, NULL, NULL) != SQLITE_OK)
            return failed(db, steps[i]);
    return gw_sql_exec(db,
                       "INSERT INTO schema(room, version) VALUES(?1, ?2)"
                       " ON CONFLICT(room) DO UPDATE SET version = ?2",
                       "ti", room, (int64_t)count);
}
