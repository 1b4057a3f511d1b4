/* SPDX-License-Identifier: GPL-2.0-only */
/* Appending: what comes while a batch is being written forms the next batch. */
#include "spool/spool_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>

#include "base/log.h"

#define RETRY_MS 1000
#define RETRY_MAX_MS 16000

static void flush_start(struct gw_spool *s);

/* ---- chunks and segments ---- */

void chunk_free(struct chunk **chunk)
{
    struct chunk *c = GW_TAKE(*chunk);

    if (!c)
        return;
    free(c->data);
    free(c);
}

/* Room for `bytes` more in what is being collected. */
static int chunk_reserve(struct gw_spool *s, size_t bytes)
{
    struct chunk *c = s->collecting;
    size_t cap;
    uint8_t *data;

    if (!c) {
        c = calloc(1, sizeof(*c));
        if (!c)
            return -ENOMEM;
        gw_list_init(&c->node);
        s->collecting = c;
    }
    if (c->cap - c->len >= bytes)
        return 0;
    for (cap = GW_MAX(c->cap, 4096u); cap - c->len < bytes;)
        cap *= 2;
    data = realloc(c->data, cap);
    if (!data)
        return -ENOMEM;
    c->data = data;
    c->cap = cap;
    return 0;
}

static struct chunk *chunk_put(struct gw_spool *s, uint8_t kind, uint64_t sequence,
                               struct gw_slice label, struct gw_slice topic, struct gw_slice data)
{
    struct chunk *c = s->collecting;
    size_t bytes = label.len + frame_size(topic.len, data.len);
    struct gw_writer w = gw_writer_of(c->data + c->len, bytes);

    frame_put_labelled(&w, kind, sequence, label, topic, data);
    c->len += bytes;
    if (kind != FRAME_EXACT)
        c->floor = GW_MAX(c->floor, sequence);
    return c;
}

struct segment *segment_add(struct gw_spool *s, uint64_t id, uint64_t size, struct salt salt)
{
    struct segment *seg = calloc(1, sizeof(*seg));

    if (!seg)
        return NULL;
    seg->id = id;
    seg->size = size;
    seg->salt = salt;
    gw_list_append(&s->segments, &seg->node);
    s->disk_bytes += size;
    return seg;
}

/* ---- room ---- */

/* Nothing on disk is needed any more: only the newest segment is left, and it may go too. */
static bool drained(struct gw_spool *s)
{
    const struct segment *newest = segment_newest(s);
    struct pos p = spool_kept(s);

    return newest && p.segment == newest->id && p.offset >= newest->size;
}

static uint64_t waiting_bytes(const struct gw_spool *s)
{
    return (s->collecting ? s->collecting->len : 0) + (s->flush.busy ? s->flush.chunk->len : 0);
}

static bool has_room(struct gw_spool *s, size_t bytes)
{
    uint64_t held = drained(s) ? 0 : s->disk_bytes;

    return held + waiting_bytes(s) + bytes <= s->max_bytes &&
           waiting_bytes(s) + bytes <= PENDING_BYTES;
}

static int admit(struct gw_spool *s, size_t bytes)
{
    s->full = s->broken || !has_room(s, bytes);
    s->stats.refused += s->full;
    return s->full ? GW_ESPOOLFULL : 0;
}

int gw_spool_admits(struct gw_spool *s, size_t bytes)
{
    return admit(s, frame_size(0, bytes));
}

uint64_t gw_spool_next_sequence(const struct gw_spool *s)
{
    return s->next;
}

/* ---- appending ---- */

static int put_durable(struct gw_spool *s, const struct gw_spool_record *rec)
{
    size_t bytes = rec->label.len + frame_size(rec->topic.len, rec->data.len);
    uint64_t sequence = rec->kind == GW_SPOOL_KEY ? s->next - 1 : s->next;
    struct chunk *c;
    int err = admit(s, bytes);

    if (!err)
        err = chunk_reserve(s, bytes);
    if (!err && rec->label.len)
        err = held_add(s, sequence, s->collecting->len);
    if (err)
        return err;
    c = chunk_put(s, (uint8_t)rec->kind, sequence, rec->label, rec->topic, rec->data);
    if (c->records++ == 0)
        c->first = order_of((uint8_t)rec->kind, sequence);
    c->messages += rec->kind == GW_SPOOL_MESSAGE;
    c->bytes += bytes;
    c->last = sequence;
    return 0;
}

int gw_spool_append(struct gw_spool *s, const struct gw_spool_record *rec)
{
    bool in_memory = rec->volatile_only && rec->kind == GW_SPOOL_MESSAGE;
    int err;

    if (rec->topic.len > TOPIC_BYTES || rec->data.len > GW_SPOOL_RECORD_MAX ||
        rec->label.len > (in_memory ? 0 : GW_SPOOL_LABEL_MAX))
        return GW_ETOOBIG;
    err = in_memory ? memory_put(s, rec) : put_durable(s, rec);
    if (err)
        return err;
    if (rec->kind == GW_SPOOL_MESSAGE) {
        s->next++;
        s->stats.messages++;
    }
    s->stats.bytes += rec->label.len + frame_size(rec->topic.len, rec->data.len);
    gw_task_post(s->loop, &s->work);
    return 0;
}

/* ---- the group commit, on the storage thread ---- */

static int run_flush(struct gw_store_job *job, sqlite3 *db)
{
    struct flush *f = GW_CONTAINER(job, struct flush, job);
    uint64_t offset = f->roll ? HEAD_BYTES : f->chunk->at.offset;
    int err;

    (void)db;
    f->shrunk = f->shrink.id && disk_shrink(f->disk, &f->shrink) == 0;
    err = f->roll ? disk_create(f->disk, &f->head) : 0;
    if (err)
        return err;
    frames_seal(f->chunk->data, f->chunk->len, &f->head.salt);
    return disk_write(f->disk, GW_SLICE(f->chunk->data, f->chunk->len), offset);
}

/* ---- its success ---- */

/* The newest stay in memory for a reader that keeps up; one that does not reads the disk. */
static void keep_in_tail(struct gw_spool *s, struct chunk *c)
{
    gw_list_append(&s->tail, &c->node);
    s->tail_bytes += c->cap;
    while (s->tail_bytes > TAIL_BYTES) {
        struct chunk *oldest = GW_LIST_ENTRY(s->tail.next, struct chunk, node);

        gw_list_remove(&oldest->node);
        s->tail_bytes -= oldest->cap;
        chunk_free(&oldest);
    }
}

static void flush_succeeded(struct gw_spool *s, struct chunk *c)
{
    struct segment *seg = segment_newest(s);
    uint64_t records = c->records, last = c->last;

    seg->size += c->len;
    s->disk_bytes += c->len;
    s->broken = false;
    s->retry_ms = RETRY_MS;
    s->floor = c->exact ? c->floor : GW_MAX(s->floor, c->floor);
    s->reserved = GW_MAX(s->reserved, s->floor);
    held_place(s, c);
    keep_in_tail(s, c);
    spool_tidy(s);
    if (records)
        s->ops.durable(s->owner, last);
}

/* ---- its failure ---- */

/* The place of the first record that is not on disk; UINT64_MAX: all are. */
static uint64_t first_lost(const struct gw_spool *s, const struct chunk *flown)
{
    if (flown->records)
        return flown->first;
    return s->collecting && s->collecting->records ? s->collecting->first : UINT64_MAX;
}

static void discard(struct gw_spool *s, struct chunk **chunk)
{
    if (*chunk) {
        s->stats.messages -= (*chunk)->messages;
        s->stats.bytes -= (*chunk)->bytes;
    }
    chunk_free(chunk);
}

/*
 * Nothing that was not durable was handed out, so its sequences are free again. Volatile records
 * behind the first lost one go too: order is kept, and their sequences are given again.
 */
static void flush_failed(struct gw_spool *s, struct chunk *c, int err)
{
    uint64_t first = first_lost(s, c), last_kept = (first - 1) / 2;

    if (!s->broken)
        gw_log_error("the spool cannot be written: %s; messages are refused until it can",
                     gw_error_text(err));
    s->broken = s->must_roll = true;
    s->reserved = s->planned = 0;
    discard(s, &c);
    discard(s, &s->collecting);
    if (!s->closing) {
        gw_timer_start(s->loop, &s->retry, s->retry_ms);
        s->retry_ms = GW_MIN(s->retry_ms * 2, (uint64_t)RETRY_MAX_MS);
    }
    if (first == UINT64_MAX)
        return;
    memory_cut(s, first - 1);
    held_cut(s, last_kept);
    s->next = last_kept + 1;
    s->ops.failed(s->owner, last_kept, err);
}

static int enter_segment(struct gw_spool *s)
{
    const struct segment_head *h = &s->flush.head;

    if (!s->flush.roll)
        return 0;
    if (!segment_add(s, h->id, HEAD_BYTES, h->salt))
        return -ENOMEM;
    s->flush.chunk->at = (struct pos){h->id, HEAD_BYTES};
    s->must_roll = false;
    return 0;
}

/* The newest segment still, and drained: the reader is past all of it. */
static void leave_shrunk(struct gw_spool *s)
{
    struct segment *seg = segment_newest(s);

    s->disk_bytes -= seg->size - SHRUNK_BYTES;
    seg->size = SHRUNK_BYTES;
    s->flush.shrunk = false;
}

static void flush_done(struct gw_store_job *job, int err)
{
    struct flush *f = GW_CONTAINER(job, struct flush, job);
    struct gw_spool *s = GW_CONTAINER(f, struct gw_spool, flush);
    struct chunk *c;

    if (f->shrunk)
        leave_shrunk(s);
    if (!err)
        err = enter_segment(s);
    c = GW_TAKE(f->chunk);
    f->busy = false;
    f->shrink.id = 0;
    if (err)
        flush_failed(s, c, err);
    else
        flush_succeeded(s, c);
    flush_start(s);
    spool_tell(s);
}

/* ---- its start ---- */

/* QoS 0 records wait for their sequences to be reserved; early enough, they never wait. */
static bool wants_reserve(const struct gw_spool *s)
{
    return s->memory.read < s->memory.tail && s->memory.last + RESERVE / 2 > s->planned;
}

static bool should_roll(struct gw_spool *s, size_t bytes)
{
    const struct segment *newest = segment_newest(s);

    if (!newest || s->must_roll)
        return true;
    if (drained(s) && newest->size >= s->segment_bytes / 2)
        return true;
    return newest->size > HEAD_BYTES && newest->size + bytes > s->segment_bytes;
}

static int prepare_roll(struct gw_spool *s)
{
    struct segment_head *h = &s->flush.head;
    const struct segment *newest = segment_newest(s);

    *h = (struct segment_head){.id = s->next_id++, .floor = s->floor};
    if (newest) {
        h->prev_id = newest->id;
        h->prev_size = newest->size;
    }
    return getrandom(&h->salt, sizeof(h->salt), 0) == sizeof(h->salt) ? 0 : -errno;
}

static int flush_prepare(struct gw_spool *s)
{
    struct flush *f = &s->flush;
    const struct segment *newest = segment_newest(s);

    f->roll = should_roll(s, s->collecting->len);
    if (f->roll)
        return prepare_roll(s);
    s->collecting->at = (struct pos){newest->id, newest->size};
    f->head.salt = newest->salt;
    return 0;
}

static void add_reserve(struct gw_spool *s)
{
    if (chunk_reserve(s, frame_size(0, 0)))
        return; /* the records wait a little longer */
    s->planned = s->next - 1 + RESERVE;
    (void)chunk_put(s, FRAME_RESERVE, s->planned, GW_SLICE_NONE, GW_SLICE_NONE, GW_SLICE_NONE);
}

static void submit(struct gw_spool *s)
{
    struct flush *f = &s->flush;
    int err = flush_prepare(s);

    f->chunk = GW_TAKE(s->collecting);
    if (err) {
        flush_failed(s, GW_TAKE(f->chunk), err);
        return;
    }
    f->busy = true;
    f->disk = &s->disk;
    f->job = (struct gw_store_job){.run = run_flush, .done = flush_done, .no_sql = true};
    gw_store_submit(s->store, &f->job);
}

static void flush_start(struct gw_spool *s)
{
    if (s->flush.busy || s->broken)
        return;
    if (!s->closing && wants_reserve(s))
        add_reserve(s);
    if (s->collecting && s->collecting->len)
        submit(s);
}

static void on_work(void *owner)
{
    flush_start(owner);
    spool_tell(owner);
}

/*
 * The newest segment stays for what it knows, and its room with it, until there is a newer one. On
 * a full disk there never would be.
 */
static void shrink_drained(struct gw_spool *s)
{
    const struct segment *newest = segment_newest(s);

    s->flush.shrink = (struct segment_head){.id = 0};
    if (drained(s) && newest->size > SHRUNK_BYTES)
        s->flush.shrink =
            (struct segment_head){.id = newest->id, .floor = s->floor, .salt = newest->salt};
}

/* Is there room again? As much as a batch may need is tried, or small ones fail one by one. */
static void on_retry(void *owner)
{
    static const uint8_t padding[PROBE_BYTES];
    struct gw_spool *s = owner;

    if (s->flush.busy || chunk_reserve(s, frame_size(0, sizeof(padding)))) {
        gw_timer_start(s->loop, &s->retry, s->retry_ms);
        return;
    }
    (void)chunk_put(s, FRAME_RESERVE, GW_MAX(s->floor, s->next - 1), GW_SLICE_NONE, GW_SLICE_NONE,
                    GW_SLICE(padding, sizeof(padding)));
    shrink_drained(s);
    submit(s);
}

/* ---- the object ---- */

static struct gw_spool *spool_alloc(struct gw_loop *loop, struct gw_store *store,
                                    const struct gw_spool_config *cfg,
                                    const struct gw_spool_ops *ops, void *owner)
{
    struct gw_spool *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->loop = loop;
    s->store = store;
    s->ops = *ops;
    s->owner = owner;
    s->max_bytes = cfg->max_bytes;
    s->segment_bytes =
        GW_MIN(GW_MAX(cfg->max_bytes / 8, (uint64_t)SEGMENT_MIN), (uint64_t)SEGMENT_MAX);
    s->memory.buf.max = cfg->memory_bytes;
    s->disk = (struct disk){-1, -1};
    s->must_roll = true; /* a segment from before is never written again */
    s->retry_ms = RETRY_MS;
    gw_list_init(&s->segments);
    gw_list_init(&s->tail);
    gw_task_init(&s->work, on_work, s);
    gw_timer_init(&s->retry, on_retry, s);
    take_init(s);
    return s;
}

static void spool_free(struct gw_spool **spool)
{
    struct gw_spool *s = GW_TAKE(*spool);

    if (!s)
        return;
    gw_task_cancel(&s->work);
    gw_timer_stop(&s->retry);
    take_fini(s);
    chunk_free(&s->collecting);
    GW_LIST_EACH(&s->segments, node)
    free(GW_LIST_ENTRY(node, struct segment, node));
    gw_buf_fini(&s->memory.buf);
    gw_close_fd(&s->disk.fd);
    gw_close_fd(&s->disk.dir_fd);
    free(s);
}

int gw_spool_open(struct gw_loop *loop, struct gw_store *store, const struct gw_spool_config *cfg,
                  const struct gw_spool_ops *ops, void *owner, struct gw_spool **out)
{
    GW_CLEANUP(spool_free) struct gw_spool *s = spool_alloc(loop, store, cfg, ops, owner);
    int err;

    if (!s)
        return -ENOMEM;
    s->disk.dir_fd = open(cfg->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->disk.dir_fd < 0)
        return -errno;
    err = spool_recover(s);
    if (err)
        return err;
    s->next = s->floor + 1;
    s->waiting = true;
    gw_task_post(loop, &s->work);
    *out = GW_TAKE(s);
    return 0;
}

/* Sequences reserved for QoS 0 and not used need not be skipped after an orderly end. */
static void give_reserve_back(struct gw_spool *s)
{
    if (s->broken || s->floor == s->next - 1 || chunk_reserve(s, frame_size(0, 0)))
        return;
    (void)chunk_put(s, FRAME_EXACT, s->next - 1, GW_SLICE_NONE, GW_SLICE_NONE, GW_SLICE_NONE);
    s->collecting->exact = true;
    s->collecting->floor = s->next - 1;
    submit(s);
    gw_store_flush(s->store);
}

void gw_spool_close(struct gw_spool **spool)
{
    struct gw_spool *s = GW_TAKE(*spool);

    if (!s)
        return;
    s->closing = true;
    flush_start(s);
    gw_store_flush(s->store);
    give_reserve_back(s);
    take_settle(s);
    gw_store_flush(s->store);
    spool_free(&s);
}

void gw_spool_stats(const struct gw_spool *s, struct gw_spool_stats *out)
{
    *out = s->stats;
    out->full = s->broken || s->full;
}
