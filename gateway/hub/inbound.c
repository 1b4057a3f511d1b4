/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * QoS 2 from a device: each message once to the sink and once to the subscribers here, whenever the
 * daemon is killed.
 *
 * A receipt is one packet identifier that its client has not released. Two facts make it complete:
 * LOCAL, the rows of durable subscribers are committed, in one batch with the receipt's own row;
 * SUNK, the sink's record is on disk. The two disks are written side by side, so a crash may leave
 * one fact without the other. The row tells of the first. Of the second tells the sink's record
 * itself, by its label, until a row says so too; then the label is settled, and only then may it go
 * from the disk. When the client repeats the message, the half that is missing is made up.
 *
 * Numbers rise and the largest that was ever committed is kept: a label above it is of a batch that
 * never was, one below it that has no row is of a message that was released.
 */
#include "hub/hub_priv.h"

#include <errno.h>

#define CHAINS_MIN 16 /* a power of two, as is GW_HUB_INBOUND_MAX */
#define LOCAL 1u
#define SUNK 2u
#define BOTH (LOCAL | SUNK)
#define NO_ROW 0xffu
#define LABEL_FORMAT 1
#define LABEL_BYTES (1 + 8 + 8 + 2)

struct receipt {
    struct gw_list flow;    /* in hub.labelled, in the order of label_ticket */
    struct gw_list sinking; /* in hub.sinking until the sink has answered */
    struct gw_list storing; /* in hub.storing until the database has */
    struct gw_hub *hub;
    struct gw_session *session; /* NULL: released, refused, or the session has ended */
    struct receipt *next;       /* in its session's chain */
    uint64_t session_id, number;
    uint64_t ticket, label_ticket;
    uint16_t id;
    uint8_t flags; /* what holds, or will when nothing is waited for any more */
    uint8_t row;   /* what the database says */
    bool durable;
    bool labelled;  /* the sink keeps a label that must not go yet */
    bool need_drop; /* a row may be there that must not be */
    struct op *op;  /* the row is on its way */
};

static const char *const schema[] = {
    "CREATE TABLE hub_inbound (session INTEGER, packet_id INTEGER, number INTEGER NOT NULL, flags"
    " INTEGER NOT NULL, PRIMARY KEY (session, packet_id)) WITHOUT ROWID;"
    "CREATE TABLE hub_receipts (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL);",
};

/* ---- on the storage thread ---- */

int inbound_run(sqlite3 *db, const struct op *op)
{
    if (op->kind == OP_INBOUND_DROP) /* by number: the identifier may be in use again */
        return gw_sql_exec(db,
                           "DELETE FROM hub_inbound WHERE session=? AND packet_id=? AND number=?",
                           "iii", op->a, op->c, op->b);
    return gw_sql_exec(db, "INSERT OR REPLACE INTO hub_inbound VALUES (?,?,?,?)", "iiii", op->a,
                       op->c, op->b, op->d);
}

int inbound_note_number(sqlite3 *db, int64_t number)
{
    return gw_sql_exec(db,
                       "INSERT INTO hub_receipts VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET"
                       " number = max(number, excluded.number)",
                       "i", number);
}

int inbound_prepare(struct gw_hub *hub, sqlite3 *db)
{
    sqlite3_stmt *row;
    int err = gw_store_migrate(db, "hub-inbound", schema, GW_COUNT(schema));

    if (!err)
        err = gw_sql_exec(
            db, "DELETE FROM hub_inbound WHERE session NOT IN (SELECT id FROM hub_sessions)", "");
    if (!err)
        err = gw_sql(db, &row, "SELECT number FROM hub_receipts", "");
    if (!err)
        err = gw_sql_step(row);
    if (err == 1) {
        hub->known_receipt = (uint64_t)sqlite3_column_int64(row, 0);
        hub->next_receipt = GW_MAX(hub->next_receipt, hub->known_receipt + 1);
        err = gw_sql_step(row);
    }
    return err;
}

/* ---- the table of a session: never more receipts than chains, and the identifiers of one chain
 * are so few that no client makes it long ---- */

static struct receipt **chain_of(const struct gw_session *s, uint16_t id)
{
    return &s->inbound[id & (s->inbound_cap - 1)];
}

static void put_first(struct receipt **chain, struct receipt *r)
{
    r->next = *chain;
    *chain = r;
}

static struct receipt *receipt_find(const struct gw_session *s, uint16_t id)
{
    struct receipt *r = s->inbound_count ? *chain_of(s, id) : NULL;

    while (r && r->id != id)
        r = r->next;
    return r;
}

static void enter_table(struct gw_session *s, struct receipt *r)
{
    r->session = s;
    put_first(chain_of(s, r->id), r);
    s->inbound_count++;
}

static void leave_table(struct receipt *r)
{
    struct receipt **at;

    if (!r->session)
        return;
    at = chain_of(r->session, r->id);
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    r->session->inbound_count--;
    r->session = NULL;
}

/* What `fn` is given may leave, and go. */
static void each_receipt(struct gw_session *s, void (*fn)(struct receipt *r))
{
    for (size_t i = 0; i < s->inbound_cap; i++) {
        for (struct receipt *r = s->inbound[i], *next; r; r = next) {
            next = r->next;
            fn(r);
        }
    }
}

static int table_reserve(struct gw_session *s)
{
    size_t cap = s->inbound_cap ? s->inbound_cap * 2 : CHAINS_MIN;
    struct receipt **chains;

    if (s->inbound_count >= GW_HUB_INBOUND_MAX) {
        s->hub->stats.full_inbound++;
        return GW_EFULL;
    }
    if (s->inbound_count < s->inbound_cap)
        return 0;
    chains = calloc(cap, sizeof(*chains));
    if (!chains)
        return -ENOMEM;
    for (size_t i = 0; i < s->inbound_cap; i++) {
        for (struct receipt *r = s->inbound[i], *next; r; r = next) {
            next = r->next;
            put_first(&chains[r->id & (cap - 1)], r);
        }
    }
    free(s->inbound);
    s->inbound = chains;
    s->inbound_cap = cap;
    return 0;
}

static int receipt_new(struct gw_session *s, uint16_t id, uint64_t number, struct receipt **out)
{
    struct receipt *r;
    int err = table_reserve(s);

    if (err)
        return err;
    r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    gw_list_init(&r->flow);
    gw_list_init(&r->sinking);
    gw_list_init(&r->storing);
    r->hub = s->hub;
    r->session_id = s->id;
    r->number = number;
    r->id = id;
    r->row = NO_ROW;
    r->durable = s->stored;
    enter_table(s, r);
    *out = r;
    return 0;
}

static void receipt_free(struct receipt *r)
{
    (void)persist_cancel(r->hub, &r->op);
    gw_list_remove(&r->flow);
    gw_list_remove(&r->sinking);
    gw_list_remove(&r->storing);
    free(r);
}

/* ---- what is on its way ---- */

static bool is_pending(const struct receipt *r)
{
    return !gw_list_empty(&r->sinking) || !gw_list_empty(&r->storing);
}

static bool is_received(const struct receipt *r)
{
    return r->flags == BOTH && !is_pending(r);
}

/* A half that is being written is let be: what is made up goes into a batch of its own. */
static bool is_busy(const struct receipt *r)
{
    return is_pending(r) || (!is_received(r) && r->op && r->op->flying);
}

static void wake(const struct receipt *r)
{
    struct gw_session *s = r->session;

    if (!s || !s->inbound_wanted || is_busy(r))
        return;
    s->inbound_wanted = false;
    if (s->ops && s->ops->inbound)
        s->ops->inbound(s->owner);
}

/* ---- the row ---- */

static void add_op(struct receipt *r, enum op_kind kind)
{
    (void)persist_add(r->hub,
                      &(struct op){.kind = kind,
                                   .a = (int64_t)r->session_id,
                                   .b = (int64_t)r->number,
                                   .c = r->id,
                                   .d = r->flags},
                      GW_SLICE_NONE, NULL, &r->op);
}

static void write_row(struct receipt *r)
{
    if (persist_waits(r->op))
        r->op->d = r->flags;
    if (r->op || r->row == r->flags)
        return;
    /* Nobody waits for SUNK alone, and the release mostly comes before it has to be written. */
    add_op(r, r->row == LOCAL && r->flags == BOTH ? OP_INBOUND_SUNK : OP_INBOUND_PUT);
}

/* At once, though another op is flying: somebody may wait for all that was changed so far. */
static void drop_row(struct receipt *r)
{
    bool had_op = r->op != NULL;

    if (r->op && r->op->kind == OP_INBOUND_DROP)
        return;
    r->need_drop |= !persist_cancel(r->hub, &r->op) && had_op;
    r->need_drop |= r->row != NO_ROW || r->labelled;
    if (r->need_drop)
        add_op(r, OP_INBOUND_DROP);
}

static void label_settled(struct receipt *r)
{
    r->labelled = false;
    gw_list_remove(&r->flow);
}

/* Something changed: write what is to be written, and go when nothing is left to be done. */
static void receipt_next(struct receipt *r)
{
    if (r->session && !r->flags && !is_pending(r))
        leave_table(r); /* it is nowhere: as if it had never come */
    if (r->durable && r->session)
        write_row(r);
    else
        drop_row(r);
    if (r->labelled && r->row != NO_ROW && (r->row & SUNK))
        label_settled(r);
    wake(r);
    if (!r->session && !r->op && !r->labelled && !is_pending(r))
        receipt_free(r);
}

void inbound_written(struct op *op, int err)
{
    struct receipt *r = GW_CONTAINER(op->back, struct receipt, op);

    *op->back = NULL;
    op->back = NULL;
    if (!err && op->kind == OP_INBOUND_DROP) {
        r->row = NO_ROW;
        r->need_drop = false;
        label_settled(r);
    } else if (!err) {
        r->row = (uint8_t)op->d;
    } else if (op->kind != OP_INBOUND_DROP && (r->row == NO_ROW || !(r->row & LOCAL))) {
        r->flags &= (uint8_t)~LOCAL; /* the subscribers' rows failed with it */
    }
    if (!err || !r->hub->flushing)
        receipt_next(r);
    else if (!r->session && !r->labelled)
        receipt_free(r);
}

/* ---- what sink and database say ---- */

/* All before the first label that is held are needed no more. */
static void tell_settled(struct gw_hub *hub)
{
    uint64_t to = hub->tickets.last;

    if (!hub->recalled || !hub->ops.settled)
        return;
    if (!gw_list_empty(&hub->labelled)) {
        to = GW_LIST_ENTRY(hub->labelled.next, struct receipt, flow)->label_ticket;
        if (!to--)
            return;
    }
    if (to == hub->settled_to)
        return;
    hub->settled_to = to;
    hub->ops.settled(hub->owner, to);
}

void inbound_stored(struct gw_hub *hub, uint64_t ticket, int err)
{
    while (!gw_list_empty(&hub->storing)) {
        struct receipt *r = GW_LIST_ENTRY(hub->storing.next, struct receipt, storing);

        if (r->ticket > ticket)
            break;
        gw_list_remove(&r->storing);
        if (err)
            r->flags &= (uint8_t)~LOCAL;
        receipt_next(r);
    }
    tell_settled(hub);
}

void inbound_sunk(struct gw_hub *hub, uint64_t ticket)
{
    while (!gw_list_empty(&hub->sinking)) {
        struct receipt *r = GW_LIST_ENTRY(hub->sinking.next, struct receipt, sinking);

        if (r->ticket > ticket)
            return;
        gw_list_remove(&r->sinking);
        r->flags |= SUNK;
        receipt_next(r);
    }
}

void inbound_refused(struct gw_hub *hub, uint64_t ticket)
{
    GW_LIST_EACH(&hub->sinking, node)
    {
        struct receipt *r = GW_LIST_ENTRY(node, struct receipt, sinking);

        if (r->ticket == ticket) {
            gw_list_remove(&r->sinking);
            label_settled(r); /* with its record it is gone */
            receipt_next(r);
            break;
        }
    }
    tell_settled(hub);
}

/* ---- publishing ---- */

static struct gw_slice label_of(const struct receipt *r, uint8_t room[LABEL_BYTES])
{
    struct gw_writer w = gw_writer_of(room, LABEL_BYTES);

    if (!r->durable)
        return GW_SLICE_NONE;
    gw_writer_u8(&w, LABEL_FORMAT);
    gw_writer_u64(&w, r->number);
    gw_writer_u64(&w, r->session_id);
    gw_writer_u16(&w, r->id);
    return gw_writer_done(&w);
}

/* Nobody has it but those who had it before. */
static int undo(struct receipt *r, uint8_t flags, int err)
{
    r->flags = flags;
    receipt_next(r);
    return err;
}

/* A row that can be written, and a place for the answer, before anybody gets the message. */
static int prepare(struct receipt *r, struct gw_msg *m)
{
    struct gw_hub *hub = r->hub;
    int err = tickets_reserve(&hub->tickets);

    if (err || r->flags & LOCAL)
        return err;
    if (r->durable && hub->broken)
        return GW_ESTORE;
    err = hub_admits(hub, m);
    if (err)
        return err;
    r->flags |= LOCAL;
    if (!r->durable)
        return 0;
    write_row(r);
    return r->op ? 0 : -ENOMEM;
}

static int offer(struct receipt *r, struct gw_msg *m)
{
    struct gw_hub *hub = r->hub;
    uint8_t room[LABEL_BYTES];

    if (r->flags & SUNK || !hub->ops.sink)
        return 1;
    return hub->ops.sink(hub->owner, m, hub->tickets.last + 1, label_of(r, room));
}

static void await_sink(struct receipt *r)
{
    struct gw_hub *hub = r->hub;

    gw_list_append(&hub->sinking, &r->sinking);
    if (!r->durable)
        return;
    r->labelled = true;
    r->label_ticket = r->ticket;
    gw_list_append(&hub->labelled, &r->flow);
}

int gw_hub_publish_once(struct gw_hub *hub, uint64_t publisher, struct gw_session *s, uint16_t id,
                        struct gw_msg *m, uint32_t token)
{
    struct receipt *r = receipt_find(s, id);
    enum fate fate = FATE_TAKEN;
    bool wait_store;
    uint8_t before;
    int told, result;

    if (r && (is_busy(r) || is_received(r)))
        return GW_ESTATE;
    if (!r) {
        int err = receipt_new(s, id, hub->next_receipt, &r);

        if (err)
            return err;
        hub->next_receipt++;
    }
    before = r->flags;
    told = prepare(r, m);
    if (!told)
        told = offer(r, m);
    if (told < 0)
        return undo(r, before, told);
    r->ticket = ++hub->tickets.last;
    if (told == 0)
        await_sink(r);
    else
        r->flags |= SUNK;
    if (!(before & LOCAL))
        fate = hub_take_in(hub, m);
    wait_store = fate == FATE_WAIT || (r->durable && !(before & LOCAL));
    if (wait_store)
        gw_list_append(&hub->storing, &r->storing);
    result = tickets_add(&hub->tickets, publisher, token, told == 0, wait_store);
    receipt_next(r);
    if (fate != FATE_FULL || told == 0) /* what nobody has is not acknowledged */
        return result;
    return result == 1 ? GW_EQUEUEFULL : tickets_blame(&hub->tickets, GW_EQUEUEFULL);
}

/* ---- what the protocol asks ---- */

enum gw_inbound gw_session_inbound(const struct gw_session *s, uint16_t id)
{
    const struct receipt *r = receipt_find(s, id);

    if (!r)
        return GW_INBOUND_FREE;
    if (is_received(r))
        return GW_INBOUND_RECEIVED;
    return is_busy(r) ? GW_INBOUND_PENDING : GW_INBOUND_HALF;
}

bool gw_session_inbound_waits(struct gw_session *s, uint16_t id)
{
    /* On a disk that takes nothing it is tried, and refused, rather than waited for. */
    bool waits = (s->row_op && !s->committed && !s->hub->broken) ||
                 gw_session_inbound(s, id) == GW_INBOUND_PENDING;

    s->inbound_wanted |= waits;
    return waits;
}

bool gw_session_inbound_remove(struct gw_session *s, uint16_t id)
{
    struct receipt *r = receipt_find(s, id);

    if (!r || is_pending(r))
        return false;
    leave_table(r);
    receipt_next(r);
    return true;
}

/* ---- sessions ---- */

void inbound_attached(struct gw_session *s)
{
    if (!s->inbound_wanted)
        return;
    s->inbound_wanted = false;
    if (s->ops && s->ops->inbound)
        s->ops->inbound(s->owner);
}

static void unstore(struct receipt *r)
{
    r->durable = false;
    r->row = NO_ROW; /* it goes with the session's */
    receipt_next(r);
}

void inbound_unstore(struct gw_session *s)
{
    each_receipt(s, unstore);
}

static void forget(struct receipt *r)
{
    leave_table(r);
    gw_list_remove(&r->sinking);
    gw_list_remove(&r->storing);
    if (r->hub->closing)
        receipt_free(r);
    else
        receipt_next(r);
}

void inbound_clear(struct gw_session *s)
{
    each_receipt(s, forget);
    free(s->inbound);
}

/* ---- beginning and end ---- */

void inbound_init(struct gw_hub *hub)
{
    gw_list_init(&hub->labelled);
    gw_list_init(&hub->sinking);
    gw_list_init(&hub->storing);
    hub->next_receipt = 1;
    hub->settled_to = UINT64_MAX;
}

void inbound_fini(struct gw_hub *hub)
{
    while (!gw_list_empty(&hub->labelled))
        receipt_free(GW_LIST_ENTRY(hub->labelled.next, struct receipt, flow));
    gw_map_fini(&hub->by_id);
}

int inbound_restore(struct gw_session *s, uint16_t id, uint64_t number, unsigned flags)
{
    struct receipt *r;
    int err = receipt_new(s, id, number, &r);

    if (err)
        return err == GW_EFULL ? 0 : err;
    r->flags = r->row = flags & BOTH;
    s->hub->next_receipt = GW_MAX(s->hub->next_receipt, number + 1);
    return 0;
}

static void recall(struct gw_session *s, uint16_t id, uint64_t number)
{
    struct receipt *r = receipt_find(s, id);

    if (r && r->number == number) {
        r->flags |= SUNK;
    } else if (number <= s->hub->known_receipt || (r && r->number > number)) {
        return;     /* released */
    } else if (r) { /* its release was on the way, and the identifier is in use again */
        r->number = number;
        r->flags = SUNK;
        r->row = NO_ROW;
    } else if (receipt_new(s, id, number, &r)) {
        return;
    }
    r->flags |= SUNK;
    if (r->labelled)
        return;
    r->labelled = true;
    gw_list_append(&s->hub->labelled, &r->flow);
}

void gw_hub_recall(struct gw_hub *hub, struct gw_slice label)
{
    struct gw_reader in = gw_reader_of(label);
    uint8_t format = gw_reader_u8(&in);
    uint64_t number = gw_reader_u64(&in), session = gw_reader_u64(&in);
    uint16_t id = gw_reader_u16(&in);
    struct gw_session *s;

    if (gw_reader_end(&in) || format != LABEL_FORMAT || number >= INT64_MAX)
        return; /* not ours */
    hub->next_receipt = GW_MAX(hub->next_receipt, number + 1);
    s = gw_map_get(&hub->by_id, GW_SLICE(&session, sizeof(session)));
    if (s)
        recall(s, id, number);
}

void gw_hub_recalled(struct gw_hub *hub)
{
    size_t cursor = 0;

    for (struct gw_session *s; (s = gw_map_next(&hub->sessions, &cursor));)
        each_receipt(s, receipt_next);
    gw_map_fini(&hub->by_id);
    hub->recalled = true;
    tell_settled(hub);
}
