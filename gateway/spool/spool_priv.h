/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Inside room spool.
 *
 * A segment file is a head and frames. The head is durable before the first frame is written, and
 * names how much of the segment before it counts: what a failed write may have left behind there is
 * void. Each segment has a random salt in its frames' checksums, so that no frame from elsewhere,
 * and no bytes that a device chose, pass for one of its own when damage is skipped.
 *
 * Positions decide, not sequences: a record is released when the release position is behind it, a
 * segment goes when the release position has left it, and the first unsettled label has too. The
 * newest segment never goes: it knows which sequences were used.
 */
#pragma once

#include "base/list.h"
#include "spool/spool.h"

#define HEAD_BYTES 56u  /* of a segment */
#define MARK_BYTES 48u  /* the release mark's file */
#define FRAME_BYTES 24u /* before topic and data */
#define TOPIC_BYTES 65535u
#define RESERVE 1024u /* sequences reserved ahead for QoS 0 */
#define READ_BYTES (256u << 10)
#define TAIL_BYTES (2u << 20)     /* written, kept in memory for a reader that keeps up */
#define PENDING_BYTES (16u << 20) /* waiting for the disk */
#define SEGMENT_MIN (64u << 10)
#define SEGMENT_MAX (8u << 20)
#define SEGMENT_READ_MAX (64u << 20) /* larger than any segment this room makes */
#define SHRUNK_BYTES (HEAD_BYTES + FRAME_BYTES)
#define PROBE_BYTES (64u << 10) /* a disk with less room than that is still full */
#define TAKEN_MAX 131072u       /* records taken and not released */
#define HELD_MAX 1048576u       /* labels that are not settled */
#define UNLINK_MAX 64u

/* Beside enum gw_spool_kind: frames that are no records. */
enum {
    FRAME_RESERVE = 3, /* sequences up to this one may be in use */
    FRAME_EXACT = 4,   /* ended in order: this was the last one in use */
};

/* ---- bytes (frame.c) ---- */

struct salt {
    uint32_t sync, seed;
};

struct frame {
    uint8_t kind;
    uint64_t sequence;
    struct gw_slice label, topic, data;
    size_t bytes; /* all of it; with GW_ESHORT: what it takes to know more */
};

struct segment_head {
    uint64_t id, floor; /* no sequence up to `floor` may be given again */
    uint64_t prev_id, prev_size;
    struct salt salt;
};

struct mark {
    uint64_t id, offset;
    struct salt salt; /* of the segment, so that it is not taken for another one */
    uint64_t floor;   /* as in a head: damage to one file must not lead to a sequence's reuse */
};

uint32_t crc32c(uint32_t crc, struct gw_slice s);
/** The same without the processor's help. */
uint32_t crc32c_by_table(uint32_t crc, struct gw_slice s);

static inline size_t frame_size(size_t topic_len, size_t data_len)
{
    return FRAME_BYTES + topic_len + data_len;
}

/* Without its checksum: frames_seal adds that when its segment is known. */
void frame_put(struct gw_writer *w, uint8_t kind, uint64_t sequence, struct gw_slice topic,
               struct gw_slice data);
void frame_put_labelled(struct gw_writer *w, uint8_t kind, uint64_t sequence, struct gw_slice label,
                        struct gw_slice topic, struct gw_slice data);
void frames_seal(uint8_t *ptr, size_t len, const struct salt *salt);
/* The frame at the front of memory that frame_put filled. */
struct frame frame_get(struct gw_slice in);
/* The frame at the front of bytes from disk. GW_ESHORT: not all of it is there; GW_EMALFORMED. */
int frame_check(struct gw_slice in, const struct salt *salt, struct frame *out) GW_MUST_CHECK;
/* Where the next whole frame begins, at `from` or later; in.len when there is none. */
size_t frame_find(struct gw_slice in, size_t from, const struct salt *salt);

void head_put(uint8_t out[HEAD_BYTES], const struct segment_head *h);
int head_get(struct gw_slice in, struct segment_head *out) GW_MUST_CHECK;
void mark_put(uint8_t out[MARK_BYTES], const struct mark *m);
int mark_get(struct gw_slice in, struct mark *out) GW_MUST_CHECK;

/* KEY n comes after MESSAGE n and before MESSAGE n + 1. */
static inline uint64_t order_of(uint8_t kind, uint64_t sequence)
{
    return sequence * 2 + (kind == GW_SPOOL_KEY);
}

/* ---- files (disk.c): the storage thread, or the loop's while no job is under way ---- */

#define SEGMENT_NAME 24

struct disk {
    int dir_fd;
    int fd; /* the newest segment's, for writing; -1: the next write makes a new one */
};

char *segment_name(uint64_t id, char out[SEGMENT_NAME]);
int disk_create(struct disk *d, const struct segment_head *head) GW_MUST_CHECK;
/* All durable at `offset` of the newest segment, or nothing and the segment is closed. */
int disk_write(struct disk *d, struct gw_slice s, uint64_t offset) GW_MUST_CHECK;
int disk_read(const struct disk *d, uint64_t id, uint64_t offset, uint8_t *to,
              size_t len) GW_MUST_CHECK;
/* All of a segment was released: only what it knows of sequences stays in it. */
int disk_shrink(const struct disk *d, const struct segment_head *head) GW_MUST_CHECK;
int disk_mark(const struct disk *d, const struct mark *m, bool sync) GW_MUST_CHECK;
void disk_unlink(const struct disk *d, const uint64_t *ids, size_t count);
int fd_read(int fd, uint64_t offset, uint8_t *to, size_t len) GW_MUST_CHECK;

/* ---- the spool ---- */

struct segment {
    struct gw_list node;
    uint64_t id;
    uint64_t size; /* durable */
    struct salt salt;
};

struct pos {
    uint64_t segment, offset; /* segment 0: before the first one */
};

/* Frames in memory: being collected, being written, or written and not read yet. */
struct chunk {
    struct gw_list node;
    struct pos at;
    uint8_t *data;
    size_t len, cap;
    uint64_t records, messages, bytes; /* without frames that are no records */
    uint64_t first, last;              /* order_of the first, sequence of the last record */
    uint64_t floor;                    /* what its frames say; 0: nothing */
    bool exact;
};

/* A label that is not settled; the first at a start stands for all that were found. */
struct held {
    uint64_t sequence;
    struct pos at; /* segment 0: not on disk yet, the offset is in its chunk */
};

/* Handed out and not released. */
struct taken {
    uint64_t sequence, number; /* number: of a volatile one */
    struct pos at;             /* its own, or for a volatile one where the reader stood */
    uint32_t bytes;
    bool message, is_volatile;
};

struct flush {
    struct gw_store_job job;
    struct disk *disk;
    struct chunk *chunk;
    struct segment_head head;
    bool roll;                  /* into a new segment */
    struct segment_head shrink; /* gives up its room first; id 0: none */
    bool shrunk;
    bool busy;
};

struct fetch {
    struct gw_store_job job;
    const struct disk *disk;
    struct pos at;
    uint8_t *data; /* what the job fills */
    size_t len, cap;
    bool busy;
    unsigned int failures;
};

struct tidy {
    struct gw_store_job job;
    const struct disk *disk;
    struct mark mark;
    uint64_t unlink[UNLINK_MAX];
    size_t unlink_count;
    bool busy, has_mark, sync;
};

/* QoS 0, oldest first, as frames in one buffer. */
struct memory {
    struct gw_buf buf;
    uint64_t head, read, tail; /* numbers: the oldest, the next to hand out, the next to come */
    size_t read_offset;        /* of `read`, from the buffer's head */
    uint64_t last;             /* sequence of the newest ever */
};

struct gw_spool {
    struct gw_loop *loop;
    struct gw_store *store;
    struct gw_spool_ops ops;
    void *owner;
    uint64_t max_bytes, segment_bytes;
    struct disk disk;

    uint64_t next;     /* sequence */
    uint64_t floor;    /* what the disk knows: no sequence up to it is given again */
    uint64_t reserved; /* volatile ones up to it may leave */
    uint64_t planned;  /* what `reserved` will be when all that was submitted is durable */

    struct gw_list segments; /* oldest first */
    uint64_t next_id;
    uint64_t disk_bytes;

    struct chunk *collecting; /* NULL: nothing */
    struct flush flush;
    struct gw_task work;
    struct gw_timer retry;
    uint64_t retry_ms;
    bool broken; /* the last write failed */
    bool must_roll;
    bool closing;
    bool full;

    struct pos read;
    struct gw_list tail; /* chunks */
    size_t tail_bytes;
    struct fetch fetch;
    struct gw_timer fetch_again;
    struct pos chunk_at; /* what of the disk is in memory */
    uint8_t *chunk;
    size_t chunk_len, chunk_cap;

    struct memory memory;
    struct gw_buf taken; /* struct taken, oldest first */
    struct gw_buf held;  /* struct held, oldest first */
    size_t held_placed;  /* so many of them are on disk */
    bool waiting;        /* for something to take */
    struct gw_timer tidy_later;
    struct tidy tidy;
    bool mark_dirty;

    struct gw_spool_stats stats;
    bool damaged; /* something on disk was skipped: what is left is counted anew when all is gone */
};

static inline struct segment *segment_newest(const struct gw_spool *s)
{
    return gw_list_empty(&s->segments) ? NULL
                                       : GW_LIST_ENTRY(s->segments.prev, struct segment, node);
}

static inline bool pos_eq(struct pos a, struct pos b)
{
    return a.segment == b.segment && a.offset == b.offset;
}

struct segment *segment_add(struct gw_spool *s, uint64_t id, uint64_t size, struct salt salt);
void chunk_free(struct chunk **c);

/* recover.c */
int spool_recover(struct gw_spool *s) GW_MUST_CHECK;

/* memory.c */
int memory_put(struct gw_spool *s, const struct gw_spool_record *rec) GW_MUST_CHECK;
bool memory_peek(const struct gw_spool *s, struct frame *out);
void memory_take(struct gw_spool *s, const struct frame *f);
void memory_release(struct gw_spool *s, const struct taken *t);
void memory_rewind(struct gw_spool *s);
/* Forget every one whose place is behind `order`. */
void memory_cut(struct gw_spool *s, uint64_t order);

/* take.c */
/* The first position that is not released. */
struct pos spool_released(struct gw_spool *s);
/* The first position that must stay on disk. */
struct pos spool_kept(struct gw_spool *s);
/* A label at this offset of the chunk that is being collected. -ENOMEM, GW_ESPOOLFULL. */
int held_add(struct gw_spool *s, uint64_t sequence, uint64_t offset) GW_MUST_CHECK;
/* The same of a label found on disk. */
int held_found(struct gw_spool *s, uint64_t sequence, struct pos at) GW_MUST_CHECK;
/* The chunk is on disk now. */
void held_place(struct gw_spool *s, const struct chunk *c);
/* Nothing after `sequence` is on disk, or will be. */
void held_cut(struct gw_spool *s, uint64_t sequence);
/* Something changed that a waiting reader may be glad of. */
void spool_tell(struct gw_spool *s);
/* Delete the segments that the release position has left. */
void spool_tidy(struct gw_spool *s);
void take_init(struct gw_spool *s);
void take_fini(struct gw_spool *s);
/* Write the release mark now and for good: at the end. */
void take_settle(struct gw_spool *s);
