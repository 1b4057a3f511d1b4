/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Sealed messages between durable and released: append-only segment files in `dir`, one write and
 * one fdatasync for a whole batch (on the storage thread), recovery by scan, release in order.
 * After a crash at any moment every record whose `durable` was called is still there unless it was
 * released; a record may come again after its release (the release mark is not synced), never out
 * of order. Sequences are never reused. A record may carry a label, which means nothing here: until
 * it is settled it stays on disk with its record, released or not, and comes back at the next
 * start. Loop thread only.
 */
#pragma once

#include "base/bytes.h"
#include "store/store.h"

#define GW_SPOOL_RECORD_MAX (1u << 20)
#define GW_SPOOL_LABEL_MAX 32u

enum gw_spool_kind {
    GW_SPOOL_MESSAGE = 1, /**< topic is the device's topic: goes to P/up/<topic> */
    GW_SPOOL_KEY = 2,     /**< topic is the kid in hex: goes to P/key/<kid>, retained */
};

/** One record. What gw_spool_next hands out is borrowed until the next call into the spool. */
struct gw_spool_record {
    uint64_t sequence; /**< order in the spool; for MESSAGE also the envelope's sequence */
    enum gw_spool_kind kind;
    bool volatile_only; /**< QoS 0: in memory only, lost at a stop */
    struct gw_slice topic;
    struct gw_slice data;
    struct gw_slice label; /**< for appending a durable MESSAGE; up to GW_SPOOL_LABEL_MAX bytes */
};

struct gw_spool_config {
    const char *dir;
    uint64_t max_bytes;    /**< on disk; over it appends are refused with GW_ESPOOLFULL */
    uint64_t memory_bytes; /**< QoS 0 records in memory: the oldest is dropped to make room */
};

struct gw_spool_ops {
    /** Every durable append up to and including `sequence` is on disk now. */
    void (*durable)(void *owner, uint64_t sequence);
    /** A write or sync failed: the appends after `sequence` are refused, none is durable. */
    void (*failed)(void *owner, uint64_t sequence, int err);
    /** Records may be taken with gw_spool_next again. */
    void (*readable)(void *owner);
    /**
     * Inside gw_spool_open, in order: the label of a record on disk; of those that were settled
     * some come, too. May be NULL.
     */
    void (*label)(void *owner, struct gw_slice label);
};

struct gw_spool;

/** Scans the segments (before the loop runs); a torn tail is cut off. */
int gw_spool_open(struct gw_loop *loop, struct gw_store *store, const struct gw_spool_config *cfg,
                  const struct gw_spool_ops *ops, void *owner, struct gw_spool **out) GW_MUST_CHECK;
/** Writes what waits and the exact release mark and next sequence, then closes. */
void gw_spool_close(struct gw_spool **s);

/**
 * The sequence that the next append gets. MESSAGE and KEY records share one order, but only
 * MESSAGE advances the envelope sequence: a KEY record carries that of the message before it.
 */
uint64_t gw_spool_next_sequence(const struct gw_spool *s);

/** Would a record of `bytes` be refused? 0 or GW_ESPOOLFULL (counted): ask before sealing. */
int gw_spool_admits(struct gw_spool *s, size_t bytes) GW_MUST_CHECK;

/**
 * Append one record under gw_spool_next_sequence; `rec->sequence` is ignored. Durable records are
 * written with the next group commit, which starts at the turn's end or when the one before ends.
 * @return 0; GW_ESPOOLFULL; GW_ETOOBIG; -ENOMEM. On failure the sequence is not used.
 */
int gw_spool_append(struct gw_spool *s, const struct gw_spool_record *rec) GW_MUST_CHECK;

/**
 * Take the next record for sending, in order: only durable ones, and volatile ones in between once
 * a durable mark makes sure that their sequence can never be reused. -EAGAIN: nothing now,
 * `readable` will tell (reading back from disk happens on the storage thread).
 */
int gw_spool_next(struct gw_spool *s, struct gw_spool_record *out) GW_MUST_CHECK;

/** Records up to `sequence` (of both kinds) were acknowledged by the cloud; segments go when empty.
 */
void gw_spool_release(struct gw_spool *s, uint64_t sequence);

/** The labels of all records up to `sequence` are settled: nobody needs them at the next start. */
void gw_spool_settle(struct gw_spool *s, uint64_t sequence);

/** The connection was lost: gw_spool_next starts again at the first unreleased record. */
void gw_spool_rewind(struct gw_spool *s);

struct gw_spool_stats {
    uint64_t messages, bytes; /**< appended and not released, memory included */
    uint64_t dropped;         /**< QoS 0 records dropped for room */
    uint64_t refused;         /**< appends refused because it was full */
    bool full;
};
void gw_spool_stats(const struct gw_spool *s, struct gw_spool_stats *out);
