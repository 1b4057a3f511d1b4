/* SPDX-License-Identifier: GPL-2.0-only */
/* Wills belong to the state of a session (MQTT 5 §4.1): here they wait for a crash. */
#include "hub/hub_priv.h"

#include <errno.h>

static const char *const schema[] = {
    "CREATE TABLE hub_wills (id INTEGER PRIMARY KEY, name BLOB NOT NULL, delay_s INTEGER NOT NULL,"
    " expiry_s INTEGER NOT NULL, due_ms INTEGER NOT NULL, body BLOB NOT NULL);",
};

/* What the last run left behind, until it is asked for. */
struct left_will {
    struct gw_list node;
    uint32_t id;
    struct gw_hub_will will;
    size_t key_len;
    uint8_t key[]; /* device \0 client */
};

/* ---- on the storage thread ---- */

int will_put(sqlite3 *db, const struct op *op)
{
    struct gw_buf body = {.max = SIZE_MAX};
    int err = pack_msg(op->msg, &body);

    if (!err)
        err = gw_sql_exec(db, "INSERT OR REPLACE INTO hub_wills VALUES (?,?,?,?,?,?)", "ibiiib",
                          op->a, GW_SLICE(op->bytes, op->len), op->b, op->d, op->c,
                          gw_buf_slice(&body));
    gw_buf_fini(&body);
    return err;
}

static int load_one(struct gw_hub *hub, sqlite3_stmt *row)
{
    struct gw_slice key = gw_sql_blob(row, 1);
    const uint8_t *zero = key.len ? memchr(key.ptr, 0, key.len) : NULL;
    struct left_will *l;
    int err;

    if (!zero || zero - key.ptr > GW_HUB_DEVICE_MAX)
        return 0; /* not ours */
    l = calloc(1, sizeof(*l) + key.len);
    if (!l)
        return -ENOMEM;
    err = unpack_msg(gw_sql_blob(row, 5), &l->will.msg);
    if (err) {
        free(l);
        return err == -ENOMEM ? err : 0; /* a damaged row is skipped */
    }
    l->id = (uint32_t)sqlite3_column_int64(row, 0);
    l->key_len = key.len;
    memcpy(l->key, key.ptr, key.len);
    l->will.of.device = (const char *)l->key;
    l->will.of.client =
        GW_SLICE(l->key + (zero + 1 - key.ptr), key.len - (size_t)(zero + 1 - key.ptr));
    l->will.origin = origin_of(key);
    l->will.delay_s = (uint32_t)sqlite3_column_int64(row, 2);
    l->will.expiry_s = sqlite3_column_int64(row, 3);
    l->will.due_ms = sqlite3_column_int64(row, 4);
    gw_list_append(&hub->wills_left, &l->node);
    hub->next_will = GW_MAX(hub->next_will, l->id + 1);
    return 0;
}

int wills_load(struct gw_hub *hub, sqlite3 *db)
{
    sqlite3_stmt *rows;
    int err = gw_store_migrate(db, "hub-wills", schema, GW_COUNT(schema)), got;

    if (!err)
        err = gw_sql(db, &rows,
                     "SELECT id, name, delay_s, expiry_s, due_ms, body FROM hub_wills ORDER BY id",
                     "");
    while (!err && (got = gw_sql_step(rows)) != 0)
        err = got < 0 ? got : load_one(hub, rows);
    return err;
}

/* ---- on the loop's thread ---- */

void wills_init(struct gw_hub *hub)
{
    gw_list_init(&hub->wills_left);
    hub->next_will = 1;
}

void wills_fini(struct gw_hub *hub)
{
    gw_hub_wills_left(hub, NULL, NULL);
}

uint32_t gw_hub_will_keep(struct gw_hub *hub, const struct gw_hub_will *w)
{
    uint8_t room[GW_HUB_KEY_MAX];
    struct op put = {.kind = OP_WILL_PUT,
                     .a = hub->next_will,
                     .b = w->delay_s,
                     .c = w->due_ms,
                     .d = w->expiry_s};

    if (!persist_add(hub, &put, session_key(&w->of, room), w->msg, NULL))
        return 0;
    if (++hub->next_will == 0)
        hub->next_will = 1;
    return (uint32_t)put.a;
}

void gw_hub_will_due(struct gw_hub *hub, uint32_t id, uint32_t delay_s, int64_t due_ms)
{
    if (id)
        (void)persist_add(hub,
                          &(struct op){.kind = OP_WILL_DUE, .a = id, .b = delay_s, .c = due_ms},
                          GW_SLICE_NONE, NULL, NULL);
}

void gw_hub_will_drop(struct gw_hub *hub, uint32_t id)
{
    if (id)
        (void)persist_add(hub, &(struct op){.kind = OP_WILL_DROP, .a = id}, GW_SLICE_NONE, NULL,
                          NULL);
}

void gw_hub_wills_left(struct gw_hub *hub, gw_hub_will_fn *fn, void *owner)
{
    while (!gw_list_empty(&hub->wills_left)) {
        struct left_will *l = GW_LIST_ENTRY(hub->wills_left.next, struct left_will, node);

        if (fn)
            fn(owner, l->id, &l->will);
        gw_list_remove(&l->node);
        gw_msg_unref(&l->will.msg);
        free(l);
    }
}
