/* SPDX-License-Identifier: GPL-2.0-only */
#include "access/access.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "message/message.h"

static const char *const schema[] = {
    "CREATE TABLE access_grant(device TEXT NOT NULL, topic TEXT NOT NULL,"
    " permissions INTEGER NOT NULL, until INTEGER NOT NULL);"
    "CREATE INDEX access_grant_by_device ON access_grant(device);",
};

/* One grant made ready to be asked: what stands before the first wildcard is compared first. */
struct rule {
    struct gw_slice filter;
    size_t literal;
    unsigned permissions;
    bool template; /* holds %d */
    int64_t until_ms;
};

/* What one class (or, under "", every device) may do; filters are borrowed from `config`. */
struct class_rules {
    const char *class;
    struct rule *rules;
    size_t count;
};

/* What one device may do; `rules` hold its id in place of %d. */
struct own {
    char device[GW_DEVICE_ID_MAX + 1];
    struct gw_grant *grants;
    struct rule *rules;
    char **expanded;
    size_t count;
};

struct gw_access {
    const struct gw_config *config;
    struct gw_store *store;
    struct gw_devices *devices;
    struct gw_device_listener listener;
    struct gw_map classes; /* class → struct class_rules */
    struct gw_map owned;   /* device id → struct own */
    char scratch[GW_TOPIC_MAX];
};

/* ---- rules ---- */

/* `filter` with each %d replaced by `id`; an empty slice when it does not fit. */
static struct gw_slice expand(struct gw_slice filter, const char *id, char *out, size_t size)
{
    struct gw_writer w = gw_writer_of(out, size);

    for (size_t i = 0; i < filter.len; i++) {
        if (i + 1 < filter.len && filter.ptr[i] == '%' && filter.ptr[i + 1] == 'd') {
            gw_writer_put(&w, gw_slice_str(id));
            i++;
        } else {
            gw_writer_u8(&w, filter.ptr[i]);
        }
    }
    return gw_writer_done(&w);
}

static struct rule rule_of(const char *filter, unsigned permissions, int64_t until_ms)
{
    return (struct rule){
        .filter = gw_slice_str(filter),
        .literal = strcspn(filter, "+#%"),
        .permissions = permissions,
        .template = strstr(filter, "%d") != NULL,
        .until_ms = until_ms,
    };
}

static bool rule_live(const struct rule *r, enum gw_permission p)
{
    return (r->permissions & p) && (!r->until_ms || r->until_ms > gw_clock_wall_ms());
}

static struct gw_slice rule_filter(struct gw_access *a, const struct rule *r, const char *id)
{
    return r->template ? expand(r->filter, id, a->scratch, sizeof(a->scratch)) : r->filter;
}

/* The topic can only match when it starts as the rule does; "a/#" matches "a" as well. */
static bool starts_alike(const struct rule *r, struct gw_slice topic)
{
    size_t len = r->literal;

    if (len && len < r->filter.len && r->filter.ptr[len] == '#')
        len--;
    return topic.len >= len && memcmp(topic.ptr, r->filter.ptr, len) == 0;
}

static bool any_matches(struct gw_access *a, const struct rule *rules, size_t count, const char *id,
                        enum gw_permission p, struct gw_slice topic)
{
    for (size_t i = 0; i < count; i++)
        if (starts_alike(&rules[i], topic) && rule_live(&rules[i], p) &&
            gw_topic_matches(rule_filter(a, &rules[i], id), topic))
            return true;
    return false;
}

static bool any_overlaps(struct gw_access *a, const struct rule *rules, size_t count,
                         const char *id, struct gw_slice filter)
{
    for (size_t i = 0; i < count; i++)
        if (rule_live(&rules[i], GW_PERM_SUB) &&
            gw_filter_overlaps(rule_filter(a, &rules[i], id), filter))
            return true;
    return false;
}

/* ---- questions ---- */

static const struct gw_device *admitted(const struct gw_access *a, const char *device)
{
    const struct gw_device *d = gw_devices_get(a->devices, device);

    return d && d->state == GW_DEVICE_APPROVED ? d : NULL;
}

/* d/<id> and everything below it. */
static bool own_topic(const char *id, struct gw_slice topic)
{
    size_t len = strlen(id);

    return topic.len >= 2 + len && memcmp(topic.ptr, "d/", 2) == 0 &&
           memcmp(topic.ptr + 2, id, len) == 0 &&
           (topic.len == 2 + len || topic.ptr[2 + len] == '/');
}

/* The rules of a class that has some, or an empty set. */
static const struct class_rules *class_rules(const struct gw_access *a, const char *class)
{
    static const struct class_rules none;
    const struct class_rules *c = gw_map_get_str(&a->classes, class);

    return c ? c : &none;
}

bool gw_access_may(struct gw_access *a, const char *device, enum gw_permission p,
                   struct gw_slice topic)
{
    const struct gw_device *d = admitted(a, device);
    const struct class_rules *every = class_rules(a, ""), *class;
    const struct own *own;

    if (!d || topic.len == 0 || (p == GW_PERM_PUB && topic.ptr[0] == '$'))
        return false;
    if (a->config->access.own_topics && own_topic(device, topic))
        return true;
    own = gw_map_get_str(&a->owned, device);
    if (own && any_matches(a, own->rules, own->count, device, p, topic))
        return true;
    if (any_matches(a, every->rules, every->count, device, p, topic))
        return true;
    class = d->class[0] ? class_rules(a, d->class) : every;
    return class != every && any_matches(a, class->rules, class->count, device, p, topic);
}

bool gw_access_may_subscribe(struct gw_access *a, const char *device, struct gw_slice filter)
{
    const struct gw_device *d = admitted(a, device);
    const struct class_rules *every = class_rules(a, ""), *class;
    const struct rule own_topics = rule_of("d/%d/#", GW_PERM_SUB, 0);
    struct gw_slice name;
    const struct own *own;

    if (!d || !gw_filter_share(filter, &name, &filter) || !gw_filter_valid(filter))
        return false;
    if (a->config->access.own_topics && any_overlaps(a, &own_topics, 1, device, filter))
        return true;
    own = gw_map_get_str(&a->owned, device);
    if (own && any_overlaps(a, own->rules, own->count, device, filter))
        return true;
    if (any_overlaps(a, every->rules, every->count, device, filter))
        return true;
    class = d->class[0] ? class_rules(a, d->class) : every;
    return class != every && any_overlaps(a, class->rules, class->count, device, filter);
}

/* ---- grants by class ---- */

static void classes_clear(struct gw_access *a)
{
    struct class_rules *c;
    size_t cursor = 0;

    while ((c = gw_map_next(&a->classes, &cursor))) {
        free(c->rules);
        free(c);
    }
    gw_map_fini(&a->classes);
}

static struct class_rules *class_make(struct gw_access *a, const char *class)
{
    struct class_rules *c = gw_map_get_str(&a->classes, class);

    if (c)
        return c;
    c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->class = class;
    if (gw_map_put(&a->classes, gw_slice_str(class), c)) {
        free(c);
        return NULL;
    }
    return c;
}

static int class_add(struct gw_access *a, const struct gw_config_grant *g)
{
    struct class_rules *c = class_make(a, g->class);
    struct rule *rules;

    if (!c)
        return -ENOMEM;
    rules = realloc(c->rules, (c->count + 1) * sizeof(*rules));
    if (!rules)
        return -ENOMEM;
    c->rules = rules;
    c->rules[c->count++] = rule_of(g->topic, g->permissions, 0);
    return 0;
}

static int classes_build(struct gw_access *a)
{
    int err = 0;

    classes_clear(a);
    for (size_t i = 0; !err && i < a->config->access.grant_count; i++)
        err = class_add(a, &a->config->access.grants[i]);
    return err;
}

void gw_access_reload(struct gw_access *a, const struct gw_config *config)
{
    int err;

    a->config = config;
    err = classes_build(a);
    if (err) { /* fewer grants than configured: closed, not open */
        classes_clear(a);
        gw_log_error("the grants by class are not in force: %s", gw_error_text(err));
    }
}

/* ---- grants by device ---- */

static void own_free(struct own *own)
{
    for (size_t i = 0; own && i < own->count; i++) {
        free(own->grants[i].topic);
        free(own->expanded[i]);
    }
    if (own) {
        free(own->grants);
        free(own->expanded);
        free(own->rules);
    }
    free(own);
}

static void own_cleanup(struct own **own)
{
    own_free(*own);
}

static int own_add(struct gw_access *a, struct own *own, const struct gw_grant *g)
{
    size_t i = own->count;
    struct gw_slice text =
        expand(gw_slice_str(g->topic), own->device, a->scratch, sizeof(a->scratch));

    if (text.len == 0)
        return GW_EMALFORMED;
    own->grants[i] = *g;
    own->grants[i].topic = gw_slice_dup(gw_slice_str(g->topic));
    own->expanded[i] = gw_slice_dup(text);
    own->count++;
    if (!own->grants[i].topic || !own->expanded[i])
        return -ENOMEM;
    own->rules[i] = rule_of(own->expanded[i], g->permissions, g->until_ms);
    return 0;
}

static bool grant_valid(const struct gw_grant *g)
{
    return g->topic && gw_filter_valid(gw_slice_str(g->topic)) && g->permissions != 0 &&
           (g->permissions & ~(unsigned)(GW_PERM_PUB | GW_PERM_SUB)) == 0 && g->until_ms >= 0;
}

static int own_new(struct gw_access *a, const char *device, const struct gw_grant *grants,
                   size_t count, struct own **out)
{
    GW_CLEANUP(own_cleanup) struct own *own = calloc(1, sizeof(*own));
    int64_t now_ms = gw_clock_wall_ms();
    int err = 0;

    if (!own)
        return -ENOMEM;
    strcpy(own->device, device);
    own->grants = calloc(count + 1, sizeof(own->grants[0]));
    own->rules = calloc(count + 1, sizeof(own->rules[0]));
    own->expanded = calloc(count + 1, sizeof(own->expanded[0]));
    if (!own->grants || !own->rules || !own->expanded)
        return -ENOMEM;
    for (size_t i = 0; !err && i < count; i++) {
        if (!grant_valid(&grants[i]))
            return GW_EMALFORMED;
        if (!grants[i].until_ms || grants[i].until_ms > now_ms)
            err = own_add(a, own, &grants[i]);
    }
    if (err)
        return err;
    *out = GW_TAKE(own);
    return 0;
}

/* Put `own` in the place of what the device had; it goes when it is empty. */
static int own_install(struct gw_access *a, struct own *own)
{
    struct own *before = gw_map_get_str(&a->owned, own->device);
    int err = own->count ? gw_map_put(&a->owned, gw_slice_str(own->device), own) : 0;

    if (err)
        return err;
    if (!own->count) {
        gw_map_remove(&a->owned, gw_slice_str(own->device));
        own_free(own);
    }
    own_free(before);
    return 0;
}

size_t gw_access_grants(const struct gw_access *a, const char *device, const struct gw_grant **out)
{
    const struct own *own = gw_map_get_str(&a->owned, device);

    *out = own ? own->grants : NULL;
    return own ? own->count : 0;
}

/* ---- on disk ---- */

/* Replaces the rows of one device by `own`, a copy that belongs to the job. */
struct save {
    struct gw_store_job job;
    struct own *own;
    gw_access_stored *fn;
    void *owner;
};

static int run_save(struct gw_store_job *job, sqlite3 *db)
{
    const struct own *own = GW_CONTAINER(job, struct save, job)->own;
    int err = gw_sql_exec(db, "DELETE FROM access_grant WHERE device = ?", "t", own->device);

    for (size_t i = 0; !err && i < own->count; i++)
        err = gw_sql_exec(db,
                          "INSERT INTO access_grant(device, topic, permissions, until)"
                          " VALUES(?, ?, ?, ?)",
                          "ttii", own->device, own->grants[i].topic,
                          (int64_t)own->grants[i].permissions, own->grants[i].until_ms);
    return err;
}

static void done_save(struct gw_store_job *job, int err)
{
    struct save *save = GW_CONTAINER(job, struct save, job);

    if (err)
        gw_log_error("grants were not stored: %s device=%s", gw_error_text(err), save->own->device);
    if (save->fn)
        save->fn(save->owner, err ? GW_ESTORE : 0);
    own_free(save->own);
    free(save);
}

static int save_new(struct gw_access *a, const char *device, const struct gw_grant *grants,
                    size_t count, struct save **out)
{
    struct save *save = calloc(1, sizeof(*save));
    int err;

    if (!save)
        return -ENOMEM;
    save->job.run = run_save;
    save->job.done = done_save;
    err = own_new(a, device, grants, count, &save->own);
    if (err) {
        free(save);
        return err;
    }
    *out = save;
    return 0;
}

int gw_access_set_grants(struct gw_access *a, const char *device, const struct gw_grant *grants,
                         size_t count, gw_access_stored *fn, void *owner)
{
    GW_CLEANUP(own_cleanup) struct own *own = NULL;
    struct save *save;
    int err;

    if (!gw_devices_get(a->devices, device))
        return GW_ENOTFOUND;
    if (count > GW_GRANTS_PER_DEVICE_MAX)
        return GW_EFULL;
    err = own_new(a, device, grants, count, &own);
    if (!err)
        err = save_new(a, device, grants, count, &save);
    if (err)
        return err;
    err = own_install(a, own);
    if (err) {
        own_free(save->own);
        free(save);
        return err;
    }
    own = NULL;
    save->fn = fn;
    save->owner = owner;
    gw_store_submit(a->store, &save->job);
    return 0;
}

static void on_device(void *owner, const struct gw_device *d, enum gw_device_change what,
                      const struct gw_hwaddr *addr, const struct gw_device *from)
{
    const struct gw_device *gone = what == GW_DEVICE_REMOVED  ? d
                                   : what == GW_DEVICE_MERGED ? from
                                                              : NULL;
    struct gw_access *a = owner;
    int err = 0;

    (void)addr;
    if (gone && gw_map_get_str(&a->owned, gone->id))
        err = gw_access_set_grants(a, gone->id, NULL, 0, NULL, NULL);
    if (err)
        gw_log_error("grants of a forgotten device stay: %s device=%s", gw_error_text(err),
                     gone->id);
}

/* ---- opening ---- */

struct load {
    struct gw_store_job job;
    struct gw_access *access;
    char device[GW_DEVICE_ID_MAX + 1];
    struct gw_grant grants[GW_GRANTS_PER_DEVICE_MAX];
    size_t count;
};

/* All rows of one device were read: make them count. */
static int load_install(struct load *l)
{
    struct own *own = NULL;
    int err = l->count ? own_new(l->access, l->device, l->grants, l->count, &own) : 0;

    if (own && (err = own_install(l->access, own)))
        own_free(own);
    for (size_t i = 0; i < l->count; i++)
        free(l->grants[i].topic);
    l->count = 0;
    if (err == GW_EMALFORMED)
        gw_log_warning("stored grants are left out: %s device=%s", gw_error_text(err), l->device);
    return err == GW_EMALFORMED ? 0 : err;
}

static int load_row(struct load *l, sqlite3_stmt *stmt)
{
    const char *device = gw_sql_text(stmt, 0);
    struct gw_grant *g;
    int err = 0;

    if (strcmp(device, l->device) != 0)
        err = load_install(l);
    if (err || !gw_device_id_valid(device) || l->count == GW_GRANTS_PER_DEVICE_MAX)
        return err;
    strcpy(l->device, device);
    g = &l->grants[l->count];
    g->topic = gw_slice_dup(gw_slice_str(gw_sql_text(stmt, 1)));
    g->permissions = (unsigned)sqlite3_column_int(stmt, 2);
    g->until_ms = sqlite3_column_int64(stmt, 3);
    if (!g->topic)
        return -ENOMEM;
    l->count++;
    return 0;
}

/* The loop's thread waits for this one, so it may fill the tables. */
static int run_load(struct gw_store_job *job, sqlite3 *db)
{
    struct load *l = GW_CONTAINER(job, struct load, job);
    sqlite3_stmt *stmt;
    int err = gw_store_migrate(db, "access", schema, GW_COUNT(schema)), install;

    if (!err) /* a crash between the two deletions must not leave grants to a namesake */
        err = gw_sql_exec(
            db, "DELETE FROM access_grant WHERE device NOT IN (SELECT id FROM device)", "");
    if (!err)
        err = gw_sql(db, &stmt,
                     "SELECT device, topic, permissions, until FROM access_grant"
                     " ORDER BY device, rowid",
                     "");
    while (!err && (err = gw_sql_step(stmt)) > 0)
        err = load_row(l, stmt);
    install = load_install(l);
    return err ? err : install;
}

static int load(struct gw_access *a)
{
    struct load *l = calloc(1, sizeof(*l));
    int err;

    if (!l)
        return -ENOMEM;
    l->job.run = run_load;
    l->access = a;
    err = gw_store_call(a->store, &l->job);
    free(l);
    return err;
}

int gw_access_open(const struct gw_config *config, struct gw_store *store,
                   struct gw_devices *devices, struct gw_access **out)
{
    GW_CLEANUP(gw_access_close) struct gw_access *a = calloc(1, sizeof(*a));
    int err;

    if (!a)
        return -ENOMEM;
    a->config = config;
    a->store = store;
    a->devices = devices;
    a->listener = (struct gw_device_listener){.changed = on_device, .owner = a};
    err = classes_build(a);
    if (!err)
        err = load(a);
    if (err)
        return err;
    gw_devices_listen(devices, &a->listener);
    *out = GW_TAKE(a);
    return 0;
}

void gw_access_close(struct gw_access **access)
{
    struct gw_access *a = GW_TAKE(*access);
    struct own *own;
    size_t cursor = 0;

    if (!a)
        return;
    gw_devices_unlisten(&a->listener);
    classes_clear(a);
    while ((own = gw_map_next(&a->owned, &cursor)))
        own_free(own);
    gw_map_fini(&a->owned);
    free(a);
}
