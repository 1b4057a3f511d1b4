/* SPDX-License-Identifier: GPL-2.0-only */
/* API keys: 256 random bits shown once, kept as their SHA-256. */
#include <errno.h>
#include <stdio.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"
#include "crypto/crypto.h"

#define KEY_PREFIX "cordon_"

/* ---- the database ---- */

static int keys_read(struct gw_admin *a, sqlite3 *db)
{
    sqlite3_stmt *row;
    int err = gw_sql(db, &row, "SELECT name, role, hash FROM api_key ORDER BY name", "");

    if (err)
        return err;
    while ((err = gw_sql_step(row)) == 1) {
        struct key k = {.role = ROLE_NONE};
        struct gw_slice hash = gw_sql_blob(row, 2);

        (void)snprintf(k.name, sizeof(k.name), "%s", gw_sql_text(row, 0));
        if (a->key_count == KEYS_MAX || hash.len != sizeof(k.hash) ||
            !role_parse(gw_sql_text(row, 1), &k.role))
            continue;
        memcpy(k.hash, hash.ptr, sizeof(k.hash));
        a->keys[a->key_count++] = k;
    }
    return err;
}

int keys_load(struct gw_admin *a)
{
    return table_load(a, "admin_keys",
                      "CREATE TABLE api_key (name TEXT PRIMARY KEY, role TEXT NOT NULL, "
                      "hash BLOB NOT NULL) WITHOUT ROWID",
                      keys_read);
}

/* ---- asking ---- */

const struct key *key_find(const struct gw_admin *a, const char *bearer)
{
    const struct key *found = NULL;
    uint8_t hash[32];

    if (gw_sha256(gw_slice_str(bearer), hash) != 0)
        return NULL;
    for (size_t i = 0; i < a->key_count; i++)
        if (gw_secret_eq(GW_SLICE(a->keys[i].hash, 32), GW_SLICE(hash, 32)))
            found = &a->keys[i];
    return found;
}

struct key *key_named(struct gw_admin *a, const char *name)
{
    for (size_t i = 0; i < a->key_count; i++)
        if (strcmp(a->keys[i].name, name) == 0)
            return &a->keys[i];
    return NULL;
}

/* ---- changing ---- */

struct key_job {
    struct gw_store_job job;
    struct wait wait;
    bool remove;
    struct key key;
    char by[NAME_MAX_BYTES + 1];
    char text[sizeof(KEY_PREFIX) + 64];
};

static int key_run(struct gw_store_job *job, sqlite3 *db)
{
    struct key_job *k = GW_CONTAINER(job, struct key_job, job);

    if (k->remove)
        return gw_sql_exec(db, "DELETE FROM api_key WHERE name = ?1", "t", k->key.name);
    return gw_sql_exec(db, "INSERT INTO api_key (name, role, hash) VALUES (?1, ?2, ?3)", "ttb",
                       k->key.name, role_text(k->key.role),
                       GW_SLICE(k->key.hash, sizeof(k->key.hash)));
}

static void key_drop(struct gw_admin *a, const char *name)
{
    struct key *k = key_named(a, name);

    if (k)
        *k = a->keys[--a->key_count];
}

static void key_answer(struct gw_http_request *req, const struct key_job *k)
{
    if (k->remove)
        admin_done(req);
    else
        gw_http_reply_json(req, 201,
                           json_pack("{s:s, s:s, s:s}", "name", k->key.name, "role",
                                     role_text(k->key.role), "key", k->text));
}

static void key_done(struct gw_store_job *job, int err)
{
    struct key_job *k = GW_CONTAINER(job, struct key_job, job);
    struct gw_admin *a = k->wait.admin;
    struct gw_http_request *req = wait_end(&k->wait);

    if (a && !err && !k->remove) {
        if (!key_named(a, k->key.name) && a->key_count < KEYS_MAX)
            a->keys[a->key_count++] = k->key;
        else
            err = GW_EEXISTS;
    }
    if (a && !err)
        gw_journal_alert(a->rooms.journal, GW_INFO, "key", NULL, NULL,
                         k->remove ? "%s removed the API key %s (%s)."
                                   : "%s made the API key %s (%s).",
                         k->by, k->key.name, role_text(k->key.role));
    if (req && err)
        admin_refuse(req, err,
                     k->remove ? "The key is removed, but a restart may undo it"
                               : "The key was not made");
    else if (req)
        key_answer(req, k);
    gw_wipe(k, sizeof(*k));
    free(k);
}

static struct key_job *key_job_new(struct gw_admin *a, struct gw_http_request *req,
                                   const char *name)
{
    struct key_job *k = calloc(1, sizeof(*k));

    if (!k) {
        admin_refuse(req, -ENOMEM, "Nothing was changed");
        return NULL;
    }
    k->job = (struct gw_store_job){.run = key_run, .done = key_done};
    (void)snprintf(k->key.name, sizeof(k->key.name), "%s", name);
    (void)snprintf(k->by, sizeof(k->by), "%s", who_calls(a, req).user);
    wait_begin(&k->wait, a, req);
    return k;
}

static int key_draw(struct key_job *k)
{
    uint8_t random[32];
    int err = gw_random(random, sizeof(random));

    if (err)
        return err;
    memcpy(k->text, KEY_PREFIX, sizeof(KEY_PREFIX));
    gw_hex(random, sizeof(random), k->text + sizeof(KEY_PREFIX) - 1);
    gw_wipe(random, sizeof(random));
    return gw_sha256(gw_slice_str(k->text), k->key.hash);
}

void on_keys(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    json_t *list = json_array();

    for (size_t i = 0; i < a->key_count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "name", a->keys[i].name, "role",
                                              role_text(a->keys[i].role)));
    gw_http_reply_json(req, 200, list);
}

void on_key_add(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const char *name = "", *role = "viewer";
    const struct field fields[] = {{"name", FIELD_TEXT, true, NAME_MAX_BYTES, &name},
                                   {"role", FIELD_TEXT, false, NAME_MAX_BYTES, &role}};
    json_auto_t *body = body_object(req, fields, GW_COUNT(fields));
    struct key_job *k;
    enum role parsed;
    int err;

    if (!body)
        return;
    if (!gw_device_id_valid(name) || !role_parse(role, &parsed)) {
        gw_http_problem(req, 400,
                        "A key has a name of A-Z a-z 0-9 . _ - and the role viewer or "
                        "admin.");
        return;
    }
    if (key_named(a, name) || a->key_count == KEYS_MAX) {
        admin_refuse(req, a->key_count == KEYS_MAX ? GW_EFULL : GW_EEXISTS, "No key was made");
        return;
    }
    k = key_job_new(a, req, name);
    if (!k)
        return;
    k->key.role = parsed;
    err = key_draw(k);
    if (err) {
        key_done(&k->job, err);
        return;
    }
    gw_store_submit(a->rooms.store, &k->job);
}

void on_key_remove(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const char *name = gw_http_segment(req, 0);
    struct key_job *k;

    if (!key_named(a, name)) {
        gw_http_problem(req, 404, "There is no API key \"%.64s\".", name);
        return;
    }
    k = key_job_new(a, req, name);
    if (!k)
        return;
    k->remove = true;
    k->key.role = key_named(a, name)->role;
    key_drop(a, k->key.name); /* from this moment on it opens nothing */
    gw_store_submit(a->rooms.store, &k->job);
}
