/* SPDX-License-Identifier: GPL-2.0-only */
/* Taking, releasing, starting over; what was released goes from the disk. */
#include "spool/spool_priv.h"

#include <errno.h>
#include <inttypes.h>

#include "base/log.h"

#define MARK_MS 250 /* how much may come again after a crash */
#define FETCH_AGAIN_MS 1000
#define FETCH_FAILURES 5

/* ---- where the reader stands ---- */

static struct segment *segment_of(const struct gw_spool *s, uint64_t id)
{
    GW_LIST_EACH(&s->segments, node)
    {
        struct segment *seg = GW_LIST_ENTRY(node, struct segment, node);

        if (seg->id >= id)
            return seg;
    }
    return NULL;
}

/* The segment to read from, or NULL: everything on disk was read. Leaves finished segments. */
static struct segment *reading(struct gw_spool *s)
{
    struct segment *seg = segment_of(s, s->read.segment);

    while (seg) {
        if (seg->id != s->read.segment)
            s->read = (struct pos){seg->id, HEAD_BYTES};
        if (s->read.offset < seg->size)
            return seg;
        if (seg->node.next == &s->segments)
            return NULL;
        seg = GW_LIST_ENTRY(seg->node.next, struct segment, node);
    }
    return NULL;
}

static const struct taken *oldest_taken(const struct gw_spool *s)
{
    return gw_buf_len(&s->taken) ? (const void *)gw_buf_slice(&s->taken).ptr : NULL;
}

struct pos spool_released(struct gw_spool *s)
{
    const struct taken *t = oldest_taken(s);

    (void)reading(s);
    return t ? t->at : s->read;
}

/* ---- labels: what carries one stays on disk until it is settled ---- */

static struct held *held_at(const struct gw_spool *s, size_t i)
{
    return (struct held *)(void *)(s->held.data + s->held.head) + i;
}

static size_t held_count(const struct gw_spool *s)
{
    return gw_buf_len(&s->held) / sizeof(struct held);
}

struct pos spool_kept(struct gw_spool *s)
{
    struct pos p = spool_released(s);

    if (s->held_placed) {
        struct pos at = held_at(s, 0)->at;

        if (at.segment < p.segment || (at.segment == p.segment && at.offset < p.offset))
            return at;
    }
    return p;
}

int held_add(struct gw_spool *s, uint64_t sequence, uint64_t offset)
{
    const struct held h = {sequence, {0, offset}};
    int err = gw_buf_append(&s->held, GW_SLICE(&h, sizeof(h)));

    return err == GW_EFULL ? GW_ESPOOLFULL : err;
}

int held_found(struct gw_spool *s, uint64_t sequence, struct pos at)
{
    const struct held h = {sequence, at};
    int err;

    if (s->held_placed) {
        held_at(s, 0)->sequence = sequence;
        return 0;
    }
    err = gw_buf_append(&s->held, GW_SLICE(&h, sizeof(h)));
    s->held_placed = !err;
    return err;
}

void held_place(struct gw_spool *s, const struct chunk *c)
{
    for (; s->held_placed < held_count(s); s->held_placed++) {
        struct held *h = held_at(s, s->held_placed);

        if (!c->records || h->sequence > c->last)
            return;
        h->at = (struct pos){c->at.segment, c->at.offset + h->at.offset};
    }
}

void held_cut(struct gw_spool *s, uint64_t sequence)
{
    size_t count = held_count(s);

    while (count && held_at(s, count - 1)->sequence > sequence)
        count--;
    s->held.tail = s->held.head + count * sizeof(struct held);
    s->held_placed = GW_MIN(s->held_placed, count);
}

/* ---- reading back, on the storage thread ---- */

static int run_fetch(struct gw_store_job *job, sqlite3 *db)
{
    struct fetch *f = GW_CONTAINER(job, struct fetch, job);

    (void)db;
    return disk_read(f->disk, f->at.segment, f->at.offset, f->data, f->len);
}

/* What came becomes the reader's, its buffer before that the next job's. */
static void fetch_succeeded(struct gw_spool *s)
{
    struct fetch *f = &s->fetch;
    uint8_t *data = s->chunk;
    size_t cap = s->chunk_cap;

    s->chunk_at = f->at;
    s->chunk = f->data;
    s->chunk_len = f->len;
    s->chunk_cap = f->cap;
    f->data = data;
    f->cap = cap;
    f->failures = 0;
}

/* Go on at `offset` of the segment: what is between cannot be read. */
static void skip_to(struct gw_spool *s, const struct segment *seg, uint64_t offset)
{
    char name[SEGMENT_NAME];

    gw_log_error("damaged records are lost file=%s offset=%" PRIu64 " bytes=%" PRIu64,
                 segment_name(seg->id, name), s->read.offset, offset - s->read.offset);
    s->damaged = true;
    s->read.offset = offset;
}

static void fetch_failed(struct gw_spool *s, int err)
{
    const struct segment *seg = reading(s);
    struct fetch *f = &s->fetch;

    if (!seg || !pos_eq(f->at, s->read))
        return;
    gw_log_error("the spool cannot be read: %s", gw_error_text(err));
    if (err != -ENOENT && ++f->failures < FETCH_FAILURES) {
        if (!s->closing)
            gw_timer_start(s->loop, &s->fetch_again, FETCH_AGAIN_MS);
        return;
    }
    f->failures = 0;
    skip_to(s, seg, GW_MIN(f->at.offset + f->len, seg->size));
}

static void fetch_done(struct gw_store_job *job, int err)
{
    struct fetch *f = GW_CONTAINER(job, struct fetch, job);
    struct gw_spool *s = GW_CONTAINER(f, struct gw_spool, fetch);

    f->busy = false;
    if (err)
        fetch_failed(s, err);
    else
        fetch_succeeded(s);
    spool_tell(s);
}

/* From the reader's place, `len` bytes or the usual if that is more. -EAGAIN: on its way. */
static int fetch_start(struct gw_spool *s, const struct segment *seg, uint64_t len)
{
    struct fetch *f = &s->fetch;

    if (f->busy || gw_timer_armed(&s->fetch_again))
        return -EAGAIN;
    len = GW_MIN(GW_MAX(len, (uint64_t)READ_BYTES), seg->size - s->read.offset);
    if (f->cap < len) {
        uint8_t *data = realloc(f->data, len);

        if (!data)
            return -ENOMEM;
        f->data = data;
        f->cap = len;
    }
    f->at = s->read;
    f->len = len;
    f->disk = &s->disk;
    f->busy = true;
    f->job = (struct gw_store_job){.run = run_fetch, .done = fetch_done, .no_sql = true};
    gw_store_submit(s->store, &f->job);
    return -EAGAIN;
}

/* ---- the next frame on disk ---- */

static bool passed(const struct chunk *c, struct pos p)
{
    return c->at.segment < p.segment ||
           (c->at.segment == p.segment && c->at.offset + c->len <= p.offset);
}

/* What is still in memory at the reader's place; what it has passed goes. */
static bool in_tail(struct gw_spool *s, struct frame *out)
{
    GW_LIST_EACH(&s->tail, node)
    {
        struct chunk *c = GW_LIST_ENTRY(node, struct chunk, node);

        if (!passed(c, s->read)) {
            size_t skip = s->read.offset - c->at.offset;

            if (c->at.segment != s->read.segment || c->at.offset > s->read.offset)
                return false;
            *out = frame_get(GW_SLICE(c->data + skip, c->len - skip));
            return true;
        }
        gw_list_remove(node);
        s->tail_bytes -= c->cap;
        chunk_free(&c);
    }
    return false;
}

/* 0; -EAGAIN: it is being read; 1: damage was skipped, look again. */
static int in_chunk(struct gw_spool *s, const struct segment *seg, struct frame *out)
{
    uint64_t end = s->chunk_at.offset + s->chunk_len;
    struct gw_slice in;
    bool whole = end >= seg->size;
    int err;

    if (s->chunk_at.segment != seg->id || s->read.offset < s->chunk_at.offset ||
        s->read.offset >= end)
        return fetch_start(s, seg, READ_BYTES);
    in = GW_SLICE(s->chunk + (s->read.offset - s->chunk_at.offset), end - s->read.offset);
    err = frame_check(in, &seg->salt, out);
    if (!err)
        return 0;
    if (!whole && err == GW_ESHORT)
        return fetch_start(s, seg, out->bytes);
    if (!whole)
        return fetch_start(s, seg, seg->size); /* damaged: all the rest, to find where it ends */
    skip_to(s, seg, s->read.offset + frame_find(in, 1, &seg->salt));
    return 1;
}

/* 0: a record; -ENOENT: everything on disk was read; -EAGAIN, -ENOMEM. */
static int peek_disk(struct gw_spool *s, struct frame *out)
{
    struct segment *seg;

    while ((seg = reading(s))) {
        int err = in_tail(s, out) ? 0 : in_chunk(s, seg, out);

        if (err < 0)
            return err;
        if (err == 0 && out->kind <= GW_SPOOL_KEY)
            return 0;
        if (err == 0)
            s->read.offset += out->bytes; /* not a record */
    }
    return -ENOENT;
}

/* ---- the next record ---- */

/* The place of the first record that is not on disk yet. */
static uint64_t first_pending(const struct gw_spool *s)
{
    if (s->flush.busy && s->flush.chunk->records)
        return s->flush.chunk->first;
    return s->collecting && s->collecting->records ? s->collecting->first : UINT64_MAX;
}

static int pick(struct gw_spool *s, struct frame *out, bool *out_volatile)
{
    struct frame disk, memory;
    int err = peek_disk(s, &disk);
    bool any;

    if (err && err != -ENOENT)
        return err;
    any = memory_peek(s, &memory);
    *out_volatile =
        any && (err || order_of(memory.kind, memory.sequence) < order_of(disk.kind, disk.sequence));
    if (!*out_volatile) {
        *out = disk;
        return err ? -EAGAIN : 0;
    }
    *out = memory;
    return order_of(memory.kind, memory.sequence) < first_pending(s) &&
                   memory.sequence <= s->reserved
               ? 0
               : -EAGAIN;
}

void spool_tell(struct gw_spool *s)
{
    struct frame f;
    bool is_volatile;

    if (!s->waiting || s->closing || gw_buf_len(&s->taken) >= TAKEN_MAX * sizeof(struct taken) ||
        pick(s, &f, &is_volatile))
        return;
    s->waiting = false;
    s->ops.readable(s->owner);
}

static int note_taken(struct gw_spool *s, const struct frame *f, bool is_volatile)
{
    struct taken t = {
        .sequence = f->sequence,
        .number = s->memory.read,
        .at = s->read,
        .bytes = (uint32_t)f->bytes,
        .message = f->kind == GW_SPOOL_MESSAGE,
        .is_volatile = is_volatile,
    };

    return gw_buf_append(&s->taken, GW_SLICE(&t, sizeof(t)));
}

int gw_spool_next(struct gw_spool *s, struct gw_spool_record *out)
{
    struct frame f;
    bool is_volatile;
    int err = pick(s, &f, &is_volatile);

    if (!err)
        err = note_taken(s, &f, is_volatile);
    if (err == -EAGAIN || err == GW_EFULL)
        s->waiting = true;
    if (err)
        return err == GW_EFULL ? -EAGAIN : err;
    if (is_volatile)
        memory_take(s, &f);
    else
        s->read.offset += f.bytes;
    *out = (struct gw_spool_record){
        .sequence = f.sequence,
        .kind = (enum gw_spool_kind)f.kind,
        .volatile_only = is_volatile,
        .topic = f.topic,
        .data = f.data,
    };
    return 0;
}

/* ---- files that are done with ---- */

static int run_tidy(struct gw_store_job *job, sqlite3 *db)
{
    struct tidy *t = GW_CONTAINER(job, struct tidy, job);
    int err = t->has_mark ? disk_mark(t->disk, &t->mark, t->sync) : 0;

    (void)db;
    disk_unlink(t->disk, t->unlink, t->unlink_count);
    return err;
}

/* Segments that nobody needs any more; the newest is never among them. */
static void collect_unlinks(struct gw_spool *s, struct pos kept)
{
    struct tidy *t = &s->tidy;

    t->unlink_count = 0;
    GW_LIST_EACH(&s->segments, node)
    {
        struct segment *seg = GW_LIST_ENTRY(node, struct segment, node);

        if (seg->id >= kept.segment || t->unlink_count == UNLINK_MAX)
            return;
        t->unlink[t->unlink_count++] = seg->id;
        s->disk_bytes -= seg->size;
        gw_list_remove(node);
        free(seg);
    }
}

static void tidy_done(struct gw_store_job *job, int err);

static void tidy_start(struct gw_spool *s)
{
    struct tidy *t = &s->tidy;
    struct pos kept = spool_kept(s);
    const struct segment *seg = segment_of(s, kept.segment);

    if (t->busy || !seg)
        return;
    collect_unlinks(s, kept);
    t->has_mark = s->mark_dirty;
    if (!t->has_mark && !t->unlink_count)
        return;
    gw_timer_stop(&s->tidy_later);
    s->mark_dirty = false;
    t->mark = (struct mark){seg->id, kept.offset, seg->salt, s->floor};
    t->sync = s->closing;
    t->disk = &s->disk;
    t->busy = true;
    t->job = (struct gw_store_job){.run = run_tidy, .done = tidy_done, .no_sql = true};
    gw_store_submit(s->store, &t->job);
}

static void tidy_done(struct gw_store_job *job, int err)
{
    struct tidy *t = GW_CONTAINER(job, struct tidy, job);
    struct gw_spool *s = GW_CONTAINER(t, struct gw_spool, tidy);

    t->busy = false;
    if (err)
        gw_log_debug("the spool's release mark was not written: %s", gw_error_text(err));
    if (t->unlink_count == UNLINK_MAX)
        tidy_start(s);
}

void spool_tidy(struct gw_spool *s)
{
    const struct segment *first = segment_of(s, 0);

    if (first && first->id < spool_kept(s).segment)
        tidy_start(s);
}

static void on_tidy(void *owner)
{
    tidy_start(owner);
}

/* ---- releasing ---- */

static void release_one(struct gw_spool *s, const struct taken *t)
{
    if (t->is_volatile) {
        memory_release(s, t);
        return;
    }
    s->stats.messages -= t->message;
    s->stats.bytes -= t->bytes;
}

/* What was counted and then found damaged was never released. */
static void count_anew(struct gw_spool *s)
{
    if (!s->damaged || reading(s) || gw_buf_len(&s->taken) || first_pending(s) != UINT64_MAX)
        return;
    s->stats.messages = s->memory.tail - s->memory.head;
    s->stats.bytes = gw_buf_len(&s->memory.buf);
    s->damaged = false;
}

/* The mark moves, and with it perhaps the first segment goes. */
static void tidy_soon(struct gw_spool *s)
{
    s->mark_dirty = true;
    spool_tidy(s);
    if (s->mark_dirty && !gw_timer_armed(&s->tidy_later))
        gw_timer_start(s->loop, &s->tidy_later, MARK_MS);
    s->full = false; /* until one is refused again */
}

void gw_spool_release(struct gw_spool *s, uint64_t sequence)
{
    const struct taken *t;
    bool any = false;

    while ((t = oldest_taken(s)) && t->sequence <= sequence) {
        release_one(s, t);
        gw_buf_consume(&s->taken, sizeof(*t));
        any = true;
    }
    if (!any)
        return;
    count_anew(s);
    tidy_soon(s);
    if (s->waiting)
        gw_task_post(s->loop, &s->work);
}

void gw_spool_settle(struct gw_spool *s, uint64_t sequence)
{
    bool any = false;

    while (held_count(s) && held_at(s, 0)->sequence <= sequence) {
        gw_buf_consume(&s->held, sizeof(struct held));
        s->held_placed -= s->held_placed > 0;
        any = true;
    }
    if (any)
        tidy_soon(s);
}

void gw_spool_rewind(struct gw_spool *s)
{
    s->read = spool_released(s);
    gw_buf_consume(&s->taken, gw_buf_len(&s->taken));
    memory_rewind(s);
    s->waiting = true;
    gw_task_post(s->loop, &s->work);
}

/* ---- beginning and end ---- */

static void on_fetch_again(void *owner)
{
    spool_tell(owner);
}

void take_init(struct gw_spool *s)
{
    s->taken.max = TAKEN_MAX * sizeof(struct taken);
    s->held.max = HELD_MAX * sizeof(struct held);
    gw_timer_init(&s->tidy_later, on_tidy, s);
    gw_timer_init(&s->fetch_again, on_fetch_again, s);
}

void take_fini(struct gw_spool *s)
{
    gw_timer_stop(&s->tidy_later);
    gw_timer_stop(&s->fetch_again);
    GW_LIST_EACH(&s->tail, node)
    {
        struct chunk *c = GW_LIST_ENTRY(node, struct chunk, node);

        chunk_free(&c);
    }
    free(s->fetch.data);
    free(s->chunk);
    gw_buf_fini(&s->taken);
    gw_buf_fini(&s->held);
}

void take_settle(struct gw_spool *s)
{
    s->mark_dirty = true;
    tidy_start(s);
}
