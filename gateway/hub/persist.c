/* SPDX-License-Identifier: GPL-2.0-only */
#include "hub/hub_priv.h"

#include <errno.h>

/* Forgetting may wait this long; a change that somebody waits for leaves at the turn's end. */
#define LAZY_MS 200
#define RETRY_MS 1000 /* after a batch that failed */

static const char *const schema[] = {
    "CREATE TABLE hub_sessions (id INTEGER PRIMARY KEY, name BLOB NOT NULL, expiry_s INTEGER NOT"
    " NULL, ends_ms INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE hub_subs (session INTEGER, filter BLOB, options INTEGER NOT NULL, sub_id INTEGER"
    " NOT NULL, PRIMARY KEY (session, filter)) WITHOUT ROWID;"
    "CREATE TABLE hub_messages (id INTEGER PRIMARY KEY, body BLOB NOT NULL);"
    "CREATE TABLE hub_queue (session INTEGER, number INTEGER, message INTEGER NOT NULL, flags"
    " INTEGER NOT NULL, sub_ids BLOB, PRIMARY KEY (session, number)) WITHOUT ROWID;"
    "CREATE TABLE hub_retained (topic BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;",
};

/* ---- on the storage thread ---- */

static int with_body(sqlite3 *db, const struct op *op)
{
    struct gw_buf body = {.max = SIZE_MAX};
    int err = pack_msg(op->msg, &body);

    if (!err && op->kind == OP_MESSAGE_PUT)
        err = gw_sql_exec(db, "INSERT OR REPLACE INTO hub_messages VALUES (?,?)", "ib", op->a,
                          gw_buf_slice(&body));
    else if (!err)
        err = gw_sql_exec(db, "INSERT OR REPLACE INTO hub_retained VALUES (?,?)", "bb",
                          op->msg->topic, gw_buf_slice(&body));
    gw_buf_fini(&body);
    return err;
}

static int drop_session(sqlite3 *db, int64_t id)
{
    int err = gw_sql_exec(db, "DELETE FROM hub_queue WHERE session=?", "i", id);

    if (!err)
        err = gw_sql_exec(db, "DELETE FROM hub_inbound WHERE session=?", "i", id);
    if (!err)
        err = gw_sql_exec(db, "DELETE FROM hub_subs WHERE session=?", "i", id);
    if (!err)
        err = gw_sql_exec(db, "DELETE FROM hub_sessions WHERE id=?", "i", id);
    return err;
}

static int run_op(sqlite3 *db, const struct op *op)
{
    struct gw_slice bytes = GW_SLICE(op->bytes, op->len);

    switch (op->kind) {
    case OP_SESSION_PUT:
        return gw_sql_exec(db,
                           "INSERT INTO hub_sessions (id, name, expiry_s, ends_ms) VALUES (?,?,?,?)"
                           " ON CONFLICT (id) DO UPDATE SET expiry_s=excluded.expiry_s,"
                           " ends_ms=excluded.ends_ms",
                           "ibii", op->a, bytes, op->b, op->c);
    case OP_SESSION_SENT:
        return gw_sql_exec(db, "UPDATE hub_sessions SET sent=? WHERE id=?", "ii", op->b, op->a);
    case OP_SESSION_DROP:
        return drop_session(db, op->a);
    case OP_SUB_PUT:
        return gw_sql_exec(db, "INSERT OR REPLACE INTO hub_subs VALUES (?,?,?,?)", "ibii", op->a,
                           bytes, op->b, op->c);
    case OP_SUB_DROP:
        return gw_sql_exec(db, "DELETE FROM hub_subs WHERE session=? AND filter=?", "ib", op->a,
                           bytes);
    case OP_MESSAGE_DROP:
        return gw_sql_exec(db, "DELETE FROM hub_messages WHERE id=?", "i", op->a);
    case OP_QUEUE_PUT:
        return gw_sql_exec(db, "INSERT OR REPLACE INTO hub_queue VALUES (?,?,?,?,?)", "iiiib",
                           op->a, op->b, op->c, op->d, bytes);
    case OP_QUEUE_RELEASED:
        return gw_sql_exec(db,
                           "UPDATE hub_queue SET flags = flags | 8 WHERE session=? AND number=?",
                           "ii", op->a, op->b);
    case OP_QUEUE_DROP:
        return gw_sql_exec(db, "DELETE FROM hub_queue WHERE session=? AND number=?", "ii", op->a,
                           op->b);
    case OP_RETAINED_DROP:
        return gw_sql_exec(db, "DELETE FROM hub_retained WHERE topic=?", "b", bytes);
    case OP_WILL_PUT:
        return will_put(db, op);
    case OP_WILL_DUE:
        return gw_sql_exec(db, "UPDATE hub_wills SET due_ms=?, delay_s=? WHERE id=?", "iii", op->c,
                           op->b, op->a);
    case OP_WILL_DROP:
        return gw_sql_exec(db, "DELETE FROM hub_wills WHERE id=?", "i", op->a);
    case OP_INBOUND_PUT:
    case OP_INBOUND_SUNK:
    case OP_INBOUND_DROP:
        return inbound_run(db, op);
    case OP_MESSAGE_PUT:
    case OP_RETAINED_PUT:
        return with_body(db, op);
    }
    return -EINVAL;
}

static bool is_inbound(enum op_kind kind)
{
    return kind == OP_INBOUND_PUT || kind == OP_INBOUND_SUNK || kind == OP_INBOUND_DROP;
}

static int write_batch(struct gw_store_job *job, sqlite3 *db)
{
    struct batch *b = GW_CONTAINER(job, struct batch, job);
    int64_t number = 0;
    int err = 0;

    GW_LIST_EACH(&b->ops, node)
    {
        const struct op *op = GW_LIST_ENTRY(node, struct op, node);

        if (!err)
            err = run_op(db, op);
        if (is_inbound(op->kind))
            number = GW_MAX(number, op->b);
    }
    return err || !number ? err : inbound_note_number(db, number);
}

/* ---- on the loop's thread ---- */

static bool is_urgent(enum op_kind kind)
{
    return kind != OP_SESSION_SENT && kind != OP_MESSAGE_DROP && kind != OP_QUEUE_DROP &&
           kind != OP_WILL_DUE && kind != OP_INBOUND_SUNK;
}

static void op_free(struct op *op)
{
    gw_list_remove(&op->node);
    if (op->back)
        *op->back = NULL;
    gw_msg_unref(&op->msg);
    free(op);
}

static void submit(struct gw_hub *hub);

/* What must be written some day, or a crash would undo what others were told already. There is one
 * of each for its owner, so a disk that stays full does not gather more of them. */
static bool is_repeated(const struct op *op)
{
    return op->back && (op->kind == OP_SESSION_PUT || op->kind == OP_SESSION_SENT ||
                        op->kind == OP_QUEUE_RELEASED);
}

static void session_written(struct gw_session *s)
{
    s->committed = true;
    inbound_attached(s);
}

static void tell_written(struct op *op)
{
    if (op->back && op->kind == OP_SESSION_PUT)
        session_written(GW_CONTAINER(op->back, struct gw_session, row_op));
    else if (op->back && is_inbound(op->kind))
        inbound_written(op, 0);
}

static void tell_failed(struct op *op, int err)
{
    if (op->back && op->kind == OP_QUEUE_PUT)
        queue_lost(GW_CONTAINER(op->back, struct delivery, put));
    else if (op->back && is_inbound(op->kind))
        inbound_written(op, err);
}

static void all_written(struct batch *b)
{
    GW_LIST_EACH(&b->ops, node)
    {
        struct op *op = GW_LIST_ENTRY(node, struct op, node);

        tell_written(op);
        op_free(op);
    }
}

/* The newest first, so that those which are repeated come before all that is newer, in order. */
static void all_failed(struct gw_hub *hub, struct batch *b, int err)
{
    while (!gw_list_empty(&b->ops)) {
        struct op *op = GW_LIST_ENTRY(b->ops.prev, struct op, node);

        if (hub->flushing || !is_repeated(op)) {
            tell_failed(op, err);
            op_free(op);
            continue;
        }
        gw_list_remove(&op->node);
        gw_list_insert(&hub->ops_waiting, &op->node);
        op->flying = false;
        hub->urgent += is_urgent(op->kind);
        if (op->kind == OP_SESSION_PUT)
            inbound_attached(GW_CONTAINER(op->back, struct gw_session, row_op));
    }
}

/* QoS 2 deliveries that waited for this batch, or wait for the next. */
static void wake_blocked(struct gw_hub *hub)
{
    struct gw_list blocked;

    gw_list_init(&blocked);
    gw_list_insert(hub->blocked.prev, &blocked);
    gw_list_remove(&hub->blocked);
    while (!gw_list_empty(&blocked)) {
        struct gw_session *s = GW_LIST_ENTRY(blocked.next, struct gw_session, block_link);

        gw_list_remove(&s->block_link);
        queue_push(s);
    }
}

static void wait_for_timer(struct gw_hub *hub)
{
    if (!gw_timer_armed(&hub->flush_timer))
        gw_timer_start(hub->loop, &hub->flush_timer, hub->broken ? RETRY_MS : LAZY_MS);
}

static void batch_done(struct gw_store_job *job, int err)
{
    struct batch *b = GW_CONTAINER(job, struct batch, job);
    struct gw_hub *hub = b->hub;
    uint64_t mark = b->mark;
    bool newer = hub->urgent > 0;

    b->writing = false;
    hub->broken = err != 0;
    if (err) {
        gw_log_error("hub: sessions could not be stored: %s", gw_error_text(err));
        all_failed(hub, b, err);
    } else {
        all_written(b);
    }
    /* With nothing urgent left, whatever anybody waits for has been written. */
    if (!newer)
        mark = hub->tickets.last;
    else if (!hub->broken)
        submit(hub);
    if (!gw_list_empty(&hub->ops_waiting))
        wait_for_timer(hub);
    if (hub->closing)
        return;
    inbound_stored(hub, mark, err);
    tickets_stored(&hub->tickets, mark, err);
    wake_blocked(hub);
}

static void submit(struct gw_hub *hub)
{
    struct batch *b = &hub->batch;
    uint64_t mark = hub->tickets.last;

    if (b->writing || gw_list_empty(&hub->ops_waiting))
        return;
    gw_timer_stop(&hub->flush_timer);
    b->ops = hub->ops_waiting;
    b->ops.next->prev = b->ops.prev->next = &b->ops;
    gw_list_init(&hub->ops_waiting);
    GW_LIST_EACH(&b->ops, node)
    {
        GW_LIST_ENTRY(node, struct op, node)->flying = true;
    }
    hub->urgent = 0;
    b->writing = true;
    b->mark = mark;
    b->job = (struct gw_store_job){.run = write_batch, .done = batch_done};
    gw_store_submit(hub->store, &b->job);
}

static void flush_now(void *owner)
{
    submit(owner);
}

struct op *persist_add(struct gw_hub *hub, const struct op *what, struct gw_slice bytes,
                       struct gw_msg *msg, struct op **back)
{
    struct op *op = malloc(sizeof(*op) + bytes.len);

    if (!op) {
        gw_log_error("hub: a change of a session is not stored: no memory");
        return NULL;
    }
    *op = *what;
    op->flying = false;
    op->msg = msg ? gw_msg_ref(msg) : NULL;
    op->back = back;
    op->len = bytes.len;
    if (bytes.len)
        memcpy(op->bytes, bytes.ptr, bytes.len);
    gw_list_append(&hub->ops_waiting, &op->node);
    if (back)
        *back = op;
    hub->urgent += is_urgent(op->kind);
    if (is_urgent(op->kind) && !hub->broken)
        gw_task_post(hub->loop, &hub->flush_task);
    else
        wait_for_timer(hub);
    return op;
}

bool persist_cancel(struct gw_hub *hub, struct op **op)
{
    struct op *o = *op;

    if (!o)
        return false;
    *op = NULL;
    o->back = NULL;
    if (o->flying)
        return false;
    hub->urgent -= is_urgent(o->kind);
    op_free(o);
    /* Nothing will be written for those who wait for it: what remains is done already. */
    if (!hub->urgent)
        gw_task_post(hub->loop, &hub->idle_task);
    return true;
}

static void nothing_urgent(void *owner)
{
    struct gw_hub *hub = owner;

    if (persist_busy(hub))
        return;
    inbound_stored(hub, hub->tickets.last, 0);
    tickets_stored(&hub->tickets, hub->tickets.last, 0);
}

bool persist_busy(const struct gw_hub *hub)
{
    return hub->urgent > 0 || hub->batch.writing;
}

void persist_flush(struct gw_hub *hub)
{
    hub->flushing = true;
    while (hub->batch.writing || !gw_list_empty(&hub->ops_waiting)) {
        submit(hub);
        gw_store_flush(hub->store);
    }
    hub->flushing = false;
}

void persist_init(struct gw_hub *hub)
{
    gw_list_init(&hub->ops_waiting);
    gw_list_init(&hub->blocked);
    gw_list_init(&hub->batch.ops);
    hub->batch.hub = hub;
    gw_task_init(&hub->flush_task, flush_now, hub);
    gw_task_init(&hub->idle_task, nothing_urgent, hub);
    gw_timer_init(&hub->flush_timer, flush_now, hub);
}

void persist_fini(struct gw_hub *hub)
{
    gw_task_cancel(&hub->flush_task);
    gw_task_cancel(&hub->idle_task);
    gw_timer_stop(&hub->flush_timer);
    GW_LIST_EACH(&hub->ops_waiting, node)
    {
        op_free(GW_LIST_ENTRY(node, struct op, node));
    }
}

/* ---- load: on the storage thread while the loop's thread waits ---- */

struct load {
    struct gw_store_job job;
    struct gw_hub *hub;
    struct gw_map sessions; /* by id */
    struct gw_map messages; /* by row */
};

struct loaded_session {
    int64_t id, sent;
    bool crashed; /* the daemon died while somebody was attached */
    struct gw_session *session;
};

struct loaded_msg {
    int64_t row;
    struct gw_msg *msg;
    struct stored *stored;
};

static struct gw_slice id_key(const int64_t *id)
{
    return GW_SLICE(id, sizeof(*id));
}

static int load_session(struct load *l, sqlite3_stmt *row)
{
    struct loaded_session *s = calloc(1, sizeof(*s));
    int64_t ends_ms = sqlite3_column_int64(row, 3);
    struct gw_slice name = gw_sql_blob(row, 1);

    if (!s)
        return -ENOMEM;
    s->id = sqlite3_column_int64(row, 0);
    s->sent = sqlite3_column_int64(row, 4);
    s->crashed = ends_ms == 0;
    if (gw_map_put(&l->sessions, id_key(&s->id), s)) {
        free(s);
        return -ENOMEM;
    }
    if (!name.len || !memchr(name.ptr, 0, name.len))
        return 0; /* not ours: its rows are ignored, and dropped with the next start */
    s->session = session_new(l->hub, name, (uint64_t)s->id);
    if (!s->session)
        return -ENOMEM;
    s->session->stored = s->session->committed = true;
    s->session->expiry_s = (uint32_t)sqlite3_column_int64(row, 2);
    s->session->sent_number = (uint64_t)s->sent;
    s->session->next_number = (uint64_t)s->sent + 1;
    session_keep(s->session, ends_ms);
    return gw_map_put(&l->hub->by_id, GW_SLICE(&s->session->id, sizeof(s->session->id)),
                      s->session);
}

static struct loaded_session *session_by_id(struct load *l, int64_t id)
{
    struct loaded_session *s = gw_map_get(&l->sessions, id_key(&id));

    return s && s->session ? s : NULL;
}

static int load_sub(struct load *l, sqlite3_stmt *row)
{
    struct loaded_session *s = session_by_id(l, sqlite3_column_int64(row, 0));

    if (!s)
        return 0;
    return session_restore_sub(s->session, gw_sql_blob(row, 1),
                               (unsigned)sqlite3_column_int64(row, 2),
                               (uint32_t)sqlite3_column_int64(row, 3));
}

static int load_message(struct load *l, sqlite3_stmt *row)
{
    struct loaded_msg *m = calloc(1, sizeof(*m));
    int err;

    if (!m)
        return -ENOMEM;
    m->row = sqlite3_column_int64(row, 0);
    m->stored = calloc(1, sizeof(*m->stored));
    err = m->stored ? unpack_msg(gw_sql_blob(row, 1), &m->msg) : -ENOMEM;
    if (!err)
        err = gw_map_put(&l->messages, id_key(&m->row), m);
    if (err) {
        gw_msg_unref(&m->msg);
        free(m->stored);
        free(m);
        return err == -ENOMEM ? err : 0; /* a damaged row is skipped */
    }
    m->stored->row = m->row;
    l->hub->next_row = GW_MAX(l->hub->next_row, m->row + 1);
    return 0;
}

static int load_queue(struct load *l, sqlite3_stmt *row)
{
    struct loaded_session *s = session_by_id(l, sqlite3_column_int64(row, 0));
    int64_t message = sqlite3_column_int64(row, 2);
    struct loaded_msg *m = gw_map_get(&l->messages, id_key(&message));

    if (!s || !m)
        return 0;
    return queue_restore(s->session, m->msg, m->stored, (uint64_t)sqlite3_column_int64(row, 1),
                         (unsigned)sqlite3_column_int64(row, 3), gw_sql_blob(row, 4),
                         (uint64_t)s->sent, s->crashed);
}

static int load_inbound(struct load *l, sqlite3_stmt *row)
{
    struct loaded_session *s = session_by_id(l, sqlite3_column_int64(row, 0));

    if (!s)
        return 0;
    return inbound_restore(s->session, (uint16_t)sqlite3_column_int64(row, 1),
                           (uint64_t)sqlite3_column_int64(row, 2),
                           (unsigned)sqlite3_column_int64(row, 3));
}

static int load_retained(struct load *l, sqlite3_stmt *row)
{
    struct gw_msg *m = NULL;
    int err = unpack_msg(gw_sql_blob(row, 0), &m);

    if (!err)
        err = retained_restore(l->hub, m);
    gw_msg_unref(&m);
    return err == -ENOMEM ? err : 0;
}

static int each_row(struct load *l, sqlite3 *db, const char *sql,
                    int (*fn)(struct load *, sqlite3_stmt *))
{
    sqlite3_stmt *rows;
    int err = gw_sql(db, &rows, sql, ""), got;

    while (!err && (got = gw_sql_step(rows)) != 0)
        err = got < 0 ? got : fn(l, rows);
    return err;
}

static int load_all(struct gw_store_job *job, sqlite3 *db)
{
    struct load *l = GW_CONTAINER(job, struct load, job);
    int err = gw_store_migrate(db, "hub", schema, GW_COUNT(schema));

    if (!err)
        err = inbound_prepare(l->hub, db);
    if (!err)
        err = gw_sql_exec(db,
                          "DELETE FROM hub_messages WHERE id NOT IN (SELECT message FROM "
                          "hub_queue)",
                          "");
    if (!err)
        err = each_row(l, db,
                       "SELECT id, name, expiry_s, ends_ms, sent FROM hub_sessions ORDER BY"
                       " ends_ms",
                       load_session);
    if (!err)
        err = each_row(l, db, "SELECT session, filter, options, sub_id FROM hub_subs", load_sub);
    if (!err)
        err = each_row(l, db, "SELECT id, body FROM hub_messages", load_message);
    if (!err)
        err = each_row(l, db,
                       "SELECT session, number, message, flags, sub_ids FROM hub_queue"
                       " ORDER BY session, number",
                       load_queue);
    if (!err)
        err = each_row(l, db, "SELECT session, packet_id, number, flags FROM hub_inbound",
                       load_inbound);
    if (!err)
        err = each_row(l, db, "SELECT body FROM hub_retained", load_retained);
    if (!err)
        err = wills_load(l->hub, db);
    return err;
}

static void load_fini(struct load *l)
{
    struct loaded_session *s;
    struct loaded_msg *m;

    for (size_t at = 0; (s = gw_map_next(&l->sessions, &at));)
        free(s);
    for (size_t at = 0; (m = gw_map_next(&l->messages, &at));) {
        if (!m->stored->queues)
            free(m->stored);
        gw_msg_unref(&m->msg);
        free(m);
    }
    gw_map_fini(&l->sessions);
    gw_map_fini(&l->messages);
}

int persist_load(struct gw_hub *hub)
{
    struct load l = {.job.run = load_all, .hub = hub};
    int err = gw_store_call(hub->store, &l.job);

    load_fini(&l);
    return err;
}
