/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the hub's files share. One topic tree holds subscriptions and retained messages; one list of
 * changes goes to the database in batches; one ring holds the publishes that wait for a disk.
 */
#pragma once

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "hub/hub.h"
#include "loop/loop.h"

/* ---- the topic tree (tree.c) ---- */

struct retained;

struct tree_node {
    struct tree_node *parent; /* NULL: the root */
    struct gw_list siblings;
    struct gw_list children;
    struct tree_node *plus, *hash; /* the children called + and # */
    struct gw_list subs;           /* of struct sub, by node_link */
    struct gw_list shares;         /* of struct share */
    struct retained *retained;
    uint64_t id;
    size_t key_len;
    uint8_t key[]; /* the parent's id, then the level's name: the key in the one map of all nodes */
};

struct tree {
    struct gw_map nodes;
    struct tree_node *root;
    uint64_t next_id;
    uint8_t *scratch; /* for building a key or a path */
};

typedef void tree_visit(void *ctx, struct tree_node *node);

int tree_init(struct tree *t) GW_MUST_CHECK;
void tree_fini(struct tree *t);
/** True when the path has no more levels than GW_HUB_LEVELS_MAX. */
bool tree_depth_ok(struct gw_slice path);
struct tree_node *tree_find(const struct tree *t, struct gw_slice path);
int tree_make(struct tree *t, struct gw_slice path, struct tree_node **out) GW_MUST_CHECK;
/** Free the node and its parents as far as nothing hangs on them. */
void tree_prune(struct tree *t, struct tree_node *node);
/** The node's topic or filter, borrowed until the next call on the tree. */
struct gw_slice tree_path(struct tree *t, const struct tree_node *node);
/** Every node with subscriptions whose filter matches `topic`. */
void tree_match(struct tree *t, struct gw_slice topic, tree_visit *fn, void *ctx);
/** Every node with a retained message that `filter` matches. Nothing may be pruned meanwhile. */
void tree_retained(struct tree *t, struct gw_slice filter, tree_visit *fn, void *ctx);

/* ---- changes on their way to the database (persist.c) ---- */

enum op_kind {
    /* a id, b expiry_s, c ends_ms (0: attached, INT64_MAX: never); bytes: device \0 client */
    OP_SESSION_PUT,
    OP_SESSION_SENT, /* a id, b number */
    OP_SESSION_DROP, /* a id */
    OP_SUB_PUT,      /* a session, b options, c subscription id; bytes: filter */
    OP_SUB_DROP,     /* a session; bytes: filter */
    OP_MESSAGE_PUT,  /* a row, msg */
    OP_MESSAGE_DROP, /* a row */
    OP_QUEUE_PUT,    /* a session, b number, c row, d qos | retain << 2; bytes: subscription ids */
    OP_QUEUE_RELEASED, /* a session, b number */
    OP_QUEUE_DROP,     /* a session, b number */
    OP_RETAINED_PUT,   /* msg */
    OP_RETAINED_DROP,  /* bytes: topic */
    OP_WILL_PUT,       /* a id, b delay_s, c due_ms, d expiry_s; bytes: device \0 client; msg */
    OP_WILL_DUE,       /* a id, b delay_s, c due_ms */
    OP_WILL_DROP,      /* a id */
    OP_INBOUND_PUT,    /* a session, b number, c packet identifier, d flags */
    OP_INBOUND_SUNK,   /* the same, and nobody waits for it */
    OP_INBOUND_DROP,   /* a session, b number, c packet identifier */
};

struct op {
    struct gw_list node;
    enum op_kind kind;
    int64_t a, b, c, d;
    struct gw_msg *msg;
    struct op **back; /* who points here; cleared when it was written, or failed for good */
    bool flying;      /* the storage thread has it: it is neither changed nor taken back */
    size_t len;
    uint8_t bytes[];
};

/** A message's one row, shared by the queues that hold it. */
struct stored {
    int64_t row;
    size_t queues; /* and the fan-out that is under way */
    struct op *put;
};

/** What the storage thread is writing now: one at a time, the next gathers meanwhile. */
struct batch {
    struct gw_store_job job;
    struct gw_hub *hub;
    struct gw_list ops;
    bool writing;
    uint64_t mark; /* the newest ticket when it left */
};

void persist_init(struct gw_hub *hub);
int persist_load(struct gw_hub *hub) GW_MUST_CHECK;
/** Queue one change; NULL when memory is out (logged). `back`, if any, is set to the op. */
struct op *persist_add(struct gw_hub *hub, const struct op *what, struct gw_slice bytes,
                       struct gw_msg *msg, struct op **back);
/**
 * Let go of one; a NULL inside is fine. True: it had not left yet, and never will. False: there is
 * none, or it is being written.
 */
bool persist_cancel(struct gw_hub *hub, struct op **op);
/** One that may still be changed in place. */
static inline bool persist_waits(const struct op *op)
{
    return op && !op->flying;
}
/** True when something urgent waits or is being written. */
bool persist_busy(const struct gw_hub *hub);
void persist_flush(struct gw_hub *hub);
void persist_fini(struct gw_hub *hub);

/** What a message takes in memory. */
size_t msg_bytes(const struct gw_msg *m);

/** A message as the one blob that is stored, and back. */
int pack_msg(const struct gw_msg *m, struct gw_buf *out) GW_MUST_CHECK;
int unpack_msg(struct gw_slice blob, struct gw_msg **out) GW_MUST_CHECK;

/* ---- sessions (session.c, queue.c) ---- */

/** All that is kept about one device id. Freed when nothing is. */
struct hub_device {
    struct gw_list sessions; /* by device_link; the detached ones in order of their detaching */
    size_t kept;
    size_t retained;
    uint64_t retained_bytes, queued_bytes;
    char id[GW_HUB_DEVICE_MAX + 1];
};

/** One group of a shared subscription: at its filter's node, while it has members. */
struct share {
    struct gw_list link;
    struct gw_list present, away; /* of struct sub, by node_link, in the order of their turns */
    size_t name_len;
    uint8_t name[];
};

struct sub {
    struct gw_session *session;
    struct tree_node *node;
    struct gw_list node_link; /* in the node's list, or in the share's */
    struct share *share;      /* NULL: an ordinary subscription */
    struct gw_list session_link;
    struct gw_subscription options;
};

struct delivery {
    struct gw_list node;
    struct gw_delivery pub;
    struct gw_msg *msg;
    uint64_t number; /* 0 for QoS 0 */
    size_t bytes;
    bool fresh;            /* the receiver's right was asked for in this very call */
    bool restored;         /* it was there at the start: it may have been sent, though not marked */
    bool lost;             /* its row was not written, as its publisher was told */
    struct stored *stored; /* NULL: in memory only */
    struct op *put;        /* its row, or the mark in it, is on its way */
    uint32_t ids[];
};

struct receipt;

struct gw_session {
    struct gw_hub *hub;
    struct hub_device *device;
    struct gw_list device_link;
    uint64_t id, origin;
    const struct gw_session_ops *ops; /* NULL: nobody is attached */
    void *owner;
    struct gw_timer expiry;
    uint32_t expiry_s;
    bool stored; /* it has a row */
    bool kept;   /* nobody is attached, its expiry runs */
    bool pushing;
    struct gw_list subs;
    size_t sub_count;
    struct gw_list waiting;  /* to be sent, in order; after a reconnect the repetitions are first */
    struct gw_list inflight; /* sent, not acknowledged, in order */
    size_t count, qos0_count;
    uint64_t bytes;
    uint64_t lost;                /* dropped for want of room, and its client was not told yet */
    bool overflows;               /* it lost some, and half of its queue is not free yet */
    struct gw_list overflow_link; /* in hub.overflown, until somebody was told */
    uint64_t next_number;
    uint64_t oldest;  /* no delivery has a lower number, */
    bool oldest_held; /* and one has this */
    uint64_t sent_number;
    struct op *sent_op, *row_op;
    bool committed;            /* its row is on disk */
    struct gw_list block_link; /* in hub.blocked while a QoS 2 delivery waits for its row */
    struct receipt **inbound;  /* inbound_cap chains, by packet identifier */
    size_t inbound_count, inbound_cap;
    bool inbound_wanted; /* ops.inbound is waited for */
    /* while one message is matched */
    uint64_t match_turn;
    struct gw_list match_link;
    struct gw_subscription match;
    uint32_t *match_ids;
    size_t match_id_count, match_id_cap;
    size_t key_len;
    uint8_t key[]; /* device \0 client */
};

/** What became of a message; of several for several sessions the highest counts. */
enum fate {
    FATE_NONE,  /* it is for nobody now */
    FATE_FULL,  /* there was no room for it */
    FATE_TAKEN, /* somebody has it */
    FATE_WAIT,  /* and a row must be waited for */
};

/** One message for one session, `s->match` telling how. */
enum fate queue_add(struct gw_session *s, struct gw_msg *m, bool retain, bool replay,
                    struct stored **stored);
/** The fan-out has no more sessions to ask; a NULL is fine. */
void stored_release(struct gw_hub *hub, struct stored *st);
void queue_init(struct gw_hub *hub);
/** No session is left. */
void queue_fini(struct gw_hub *hub);
void queue_push(struct gw_session *s);
/** Nobody is attached any more: what was sent comes again first, QoS 0 is forgotten. */
void queue_rewind(struct gw_session *s);
/** Somebody attaches: no message that waits for a window holds back a release [MQTT-3.3.4-10]. */
void queue_releases_first(struct gw_session *s);
void queue_clear(struct gw_session *s);
/** The session ceases to be durable: its rows are dropped elsewhere. */
void queue_unstore(struct gw_session *s);
/** The row of this delivery was not written. */
void queue_lost(struct delivery *d);
/** Could this session take `m` at QoS 1 or 2, as far as its limits go? */
bool queue_has_room(const struct gw_session *s, const struct gw_msg *m);
/** Put back one row at load. */
int queue_restore(struct gw_session *s, struct gw_msg *m, struct stored *stored, uint64_t number,
                  unsigned flags, struct gw_slice ids, uint64_t sent, bool crashed) GW_MUST_CHECK;

struct gw_session *session_new(struct gw_hub *hub, struct gw_slice key, uint64_t id);
void session_end(struct gw_session *s);
int session_restore_sub(struct gw_session *s, struct gw_slice filter, unsigned options,
                        uint32_t id) GW_MUST_CHECK;
/** Not attached: start the clock that ends it. */
void session_keep(struct gw_session *s, int64_t ends_ms);
void sub_free(struct sub *sub);
/** Tell whom it concerns that a live session begins or ceases to listen. */
void sub_tell(struct gw_session *s, const struct sub *sub, bool joined);
/** One more subscription matches: into `matched` at the turn's first one. */
void session_match(struct gw_session *s, const struct gw_subscription *o, uint64_t turn,
                   struct gw_list *matched);

/** Ask for the right now. */
bool session_may_receive(const struct gw_session *s, const struct gw_msg *m);

/* ---- shared subscriptions (share.c) ---- */

/** Into the group `name` at its node, made when there is none. -ENOMEM. */
int share_join(struct sub *sub, struct gw_slice name) GW_MUST_CHECK;
/** Out of it; the last one takes the group along. */
void share_leave(struct sub *sub);
/** The member came or went: its session has `ops`, or not. */
void share_move(struct sub *sub);
/** True when the subscription is of this group, or (empty name) of none. */
bool share_is(const struct sub *sub, struct gw_slice name);
/** To one member of each group at this node. */
enum fate share_deliver(struct tree_node *at, struct gw_msg *m, struct stored **stored);

/* ---- QoS 2 that comes in (inbound.c) ---- */

void inbound_init(struct gw_hub *hub);
void inbound_fini(struct gw_hub *hub);
/** On the storage thread. */
int inbound_prepare(struct gw_hub *hub, sqlite3 *db) GW_MUST_CHECK;
int inbound_restore(struct gw_session *s, uint16_t id, uint64_t number,
                    unsigned flags) GW_MUST_CHECK;
int inbound_run(sqlite3 *db, const struct op *op) GW_MUST_CHECK;
/** No number up to this one is given again. */
int inbound_note_number(sqlite3 *db, int64_t number) GW_MUST_CHECK;
/** An OP_INBOUND_… whose owner is still there was written, or was not. */
void inbound_written(struct op *op, int err);
/** The database has (err 0) or has not what was asked for up to `ticket`. */
void inbound_stored(struct gw_hub *hub, uint64_t ticket, int err);
/** The sink's answers. */
void inbound_sunk(struct gw_hub *hub, uint64_t ticket);
void inbound_refused(struct gw_hub *hub, uint64_t ticket);
/** The session's row is on disk now, or the disk takes nothing. */
void inbound_attached(struct gw_session *s);
/** The session's row is dropped, and all of these with it. */
void inbound_unstore(struct gw_session *s);
void inbound_clear(struct gw_session *s);

/* ---- publishing (hub.c) ---- */

int hub_admits(struct gw_hub *hub, const struct gw_msg *m);
/** Local subscribers and the retained table. */
enum fate hub_take_in(struct gw_hub *hub, struct gw_msg *m);

/* ---- wills (wills.c) ---- */

void wills_init(struct gw_hub *hub);
void wills_fini(struct gw_hub *hub);
/** Both on the storage thread. */
int wills_load(struct gw_hub *hub, sqlite3 *db) GW_MUST_CHECK;
int will_put(sqlite3 *db, const struct op *op) GW_MUST_CHECK;

#define GW_HUB_KEY_MAX (GW_HUB_DEVICE_MAX + 1 + GW_HUB_CLIENT_MAX)
/** What "no local" goes by. Not 0. */
uint64_t origin_of(struct gw_slice key);
/** Where the key fits: device, a zero, the client identifier. */
struct gw_slice session_key(const struct gw_session_key *k, uint8_t room[GW_HUB_KEY_MAX]);

struct hub_device *device_get(struct gw_hub *hub, struct gw_slice id);
void device_release(struct gw_hub *hub, struct hub_device *d);

/* ---- retained messages (retained.c) ---- */

struct retained {
    struct gw_hub *hub;
    struct gw_msg *msg;
    struct tree_node *node;
    struct hub_device *device; /* NULL: the gateway's own, without limit */
    struct gw_timer expiry;
    struct op *put;
    bool stored;
};

/** 0; GW_EFULL. */
int retained_admits(const struct gw_hub *hub, const struct gw_msg *m);
/** Set, replace or (empty payload) clear. True: a row must be waited for. */
bool retained_set(struct gw_hub *hub, struct gw_msg *m);
int retained_restore(struct gw_hub *hub, struct gw_msg *m) GW_MUST_CHECK;
void retained_fini(struct gw_hub *hub);

/* ---- publishers and what they wait for (ticket.c) ---- */

struct publisher {
    gw_hub_published *fn; /* NULL: free */
    void *owner;
    uint32_t generation;
    uint32_t pending; /* completions to come; in a free slot the next free one */
};

struct pending {
    uint64_t ticket;
    uint64_t publisher;
    uint32_t token;
    int err;
    bool wait_sink, wait_store;
};

struct tickets {
    struct publisher *publishers;
    size_t publisher_cap;
    uint32_t publisher_free; /* slot + 1; 0: none */
    struct pending *ring;    /* a queue: first..first + count, modulo cap (a power of two) */
    size_t cap, first, count;
    uint64_t last;       /* the newest ticket */
    uint64_t sink_mark;  /* all up to here are done with the sink */
    uint64_t store_mark; /* and with the database */
    bool completing;
};

void tickets_fini(struct tickets *t);
/** Make room for one more. -ENOMEM. */
int tickets_reserve(struct tickets *t) GW_MUST_CHECK;
/** 1: nothing to wait for; 0: noted. Room was reserved. */
int tickets_add(struct tickets *t, uint64_t publisher, uint32_t token, bool wait_sink,
                bool wait_store);
/** The newest completion, which is still to come, says this. 0. */
int tickets_blame(struct tickets *t, int err);
/** The database has (err 0) or has not what was asked for up to `ticket`. */
void tickets_stored(struct tickets *t, uint64_t ticket, int err);

struct gw_hub {
    struct gw_loop *loop;
    struct gw_store *store;
    struct gw_hub_limits limits;
    struct gw_hub_ops ops;
    void *owner;
    struct tree tree;
    uint8_t *told_topic; /* GW_TOPIC_MAX bytes */
    struct gw_map sessions;
    struct gw_map devices;
    struct gw_map by_id; /* sessions, between gw_hub_open and gw_hub_recalled */
    uint64_t match_turn;
    size_t shared_subs; /* without any, no message looks for them */
    struct gw_log_limit evictions;
    struct tickets tickets;
    struct gw_hub_stats stats;
    struct {
        uint64_t bytes, count;
    } retained; /* by devices: what the gateway says itself is not limited */
    /* inbound.c: receipts, by their links */
    struct gw_list labelled, sinking, storing;
    uint64_t next_receipt, known_receipt;
    uint64_t settled_to;
    bool recalled;
    struct gw_list wills_left;
    uint32_t next_will;
    struct gw_list spare; /* of struct delivery, for the next ones */
    size_t spare_count;
    struct gw_list overflown; /* sessions, by overflow_link */
    struct gw_task overflow_task;
    /* persist.c */
    struct gw_list ops_waiting;
    size_t urgent;
    bool broken;            /* the last batch failed: the next one waits a little */
    bool flushing;          /* no second try: the end */
    struct gw_list blocked; /* sessions, by block_link */
    int64_t next_row;
    struct batch batch;
    struct gw_task flush_task, idle_task;
    struct gw_timer flush_timer;
    bool closing;
};
