/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The two processes' messages: one fixed struct, whose kind, size and ranges the receiver checks,
 * over a SOCK_SEQPACKET pair. Both sides queue what the socket does not take, in order.
 */
#pragma once

#include "base/list.h"
#include "enforcer/enforcer.h"

enum gw_note_kind {
    /* to the worker */
    GW_NOTE_BUNDLE = 1, /**< first: descriptors of the bundle, then of the maps, if there are any */
    GW_NOTE_SIGHTING,
    GW_NOTE_LINK,
    GW_NOTE_APPLIED,
    GW_NOTE_RELOAD,   /**< a descriptor of the new bundle or, with `failed`, of the error's text */
    GW_NOTE_LISTENER, /**< before a RELOAD: a socket for the admin address of this index */
    GW_NOTE_STOP,
    GW_NOTE_WIRE,
    GW_NOTE_LEARNED, /**< a descriptor of struct gw_note_learning and what was learned */
    GW_NOTE_TESTED,  /**< a descriptor of struct gw_note_tested and its checks; or, with `failed`,
                          of the text why there was no test */
    /* to the enforcer */
    GW_NOTE_VERDICT = 65,
    GW_NOTE_COMPLETE,
    GW_NOTE_RESOLVE,
    GW_NOTE_POLICY, /**< a descriptor of struct gw_note_policy and its peers */
    GW_NOTE_POLICY_END,
    GW_NOTE_LEARN,
    GW_NOTE_TEST,
};

/** In the order of the descriptors that follow the bundle's. */
enum gw_shared_map {
    GW_MAP_STATE,
    GW_MAP_SLOTS,
    GW_MAP_BUCKETS,
    GW_MAP_FILTERS,
    GW_MAP_COUNTERS,
    GW_MAP_PORTS,
    GW_MAP_SHARED, /**< so many are the worker's to read; what follows is the enforcer's alone */
    GW_MAP_ENDS = GW_MAP_SHARED,
    GW_MAP_POLICIES,
    GW_MAP_METERS,
    GW_MAP_COUNT
};

/** The bundle, the shared maps, and the ring of copies that the worker reads itself. */
#define GW_NOTE_FDS_MAX (1 + GW_MAP_SHARED + 1)

struct gw_note {
    uint32_t kind;
    uint32_t failed; /**< RELOAD, TESTED: 1 when the descriptor holds an error */
    union {
        struct gw_sighting sighting;
        struct gw_link_report link;
        struct {
            uint64_t token;
            int32_t err;
        } applied;
        struct {
            struct gw_hwaddr address;
            struct gw_judgement judgement;
            uint64_t token;
        } verdict;
        struct {
            uint64_t token;
            uint32_t number;
            uint32_t forget; /**< LEARN: 1 to begin anew */
        } policy;            /**< POLICY, POLICY_END, LEARN */
        struct gw_wire_event wire;
        struct gw_hwaddr address; /**< RESOLVE */
        uint32_t index;           /**< LISTENER */
    };
};

/** The file of a POLICY: this, then `peer_count` of struct gw_policy_peer. */
struct gw_note_policy {
    uint32_t number, flags;
    uint32_t packets_per_s, rule_count, peer_count, pad;
    uint64_t bytes_per_s;
    uint64_t any, local, gateway;
    struct gw_policy_rule rules[GW_POLICY_RULES_MAX];
};

/** The file of a LEARNED: this, then `count` of struct gw_learned. */
struct gw_note_learning {
    uint32_t number, count;
    uint64_t missed, peak_bytes_per_s;
    uint32_t peak_packets_per_s, pad;
};

/** The file of a TESTED: this, then `count` of struct gw_check. */
struct gw_note_tested {
    int64_t at_ms;
    uint32_t took_ms, count;
};

/** The queue toward the other side; zero-initialised with `out.max` and `fd`. */
struct gw_note_queue {
    int fd;
    struct gw_buf out; /**< whole notes, each followed by one descriptor or -1 */
};

/** Descriptors that came with a note; those not taken are closed by gw_note_fds_close. */
struct gw_note_fds {
    int fd[GW_NOTE_FDS_MAX];
    size_t count;
};

void gw_note_fds_close(struct gw_note_fds *fds);

/** Everything that a receiver may rely on. GW_EMALFORMED. */
int gw_note_check_to_enforcer(const struct gw_note *n) GW_MUST_CHECK;
int gw_note_check_to_worker(const struct gw_note *n) GW_MUST_CHECK;

/**
 * Receive one note. A size other than a note's is GW_EMALFORMED.
 * @return 0; -EAGAIN; GW_ECLOSED at the end; -errno.
 */
int gw_note_receive(int fd, struct gw_note *out, struct gw_note_fds *out_fds) GW_MUST_CHECK;

/** Send at once, with descriptors (borrowed), without a queue; may block. -errno. */
int gw_note_send(int fd, const struct gw_note *n, const int *fds, size_t fd_count) GW_MUST_CHECK;

/**
 * Send, or queue behind what waits. `fd` -1: none; else taken, also on failure.
 * GW_EFULL, -ENOMEM; -errno of sendmsg(2).
 */
int gw_note_post(struct gw_note_queue *q, const struct gw_note *n, int fd) GW_MUST_CHECK;
/** Send what waits; 0 when nothing is left; -EAGAIN; -errno. */
int gw_note_flush(struct gw_note_queue *q);
static inline bool gw_note_waiting(const struct gw_note_queue *q)
{
    return gw_buf_len(&q->out) > 0;
}
void gw_note_queue_fini(struct gw_note_queue *q);

/** A sealed memory file with these bytes, its offset at the start; the caller's. -errno. */
int gw_note_file(struct gw_slice bytes, int *out_fd) GW_MUST_CHECK;
/** All of such a file, appended to `out`. GW_EFULL, -errno. */
int gw_note_file_read(int fd, struct gw_buf *out) GW_MUST_CHECK;
