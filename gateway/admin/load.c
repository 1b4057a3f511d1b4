/* SPDX-License-Identifier: GPL-2.0-only */
#include "admin/admin_priv.h"

struct load {
    struct gw_store_job job;
    struct gw_admin *admin;
    const char *room, *schema;
    int (*read)(struct gw_admin *a, sqlite3 *db);
};

/* The loop's thread waits for this one, so it may fill the tables in memory. */
static int run_load(struct gw_store_job *job, sqlite3 *db)
{
    struct load *l = GW_CONTAINER(job, struct load, job);
    int err = gw_store_migrate(db, l->room, &l->schema, 1);

    return err ? err : l->read(l->admin, db);
}

int table_load(struct gw_admin *a, const char *room, const char *schema,
               int (*read)(struct gw_admin *a, sqlite3 *db))
{
    struct load l = {{.run = run_load}, a, room, schema, read};

    return gw_store_call(a->rooms.store, &l.job);
}
