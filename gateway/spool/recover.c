/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the last run left behind. A tail that no sync completed is cut off; damage before that is
 * reported and skipped; a segment whose head is damaged is put aside, never deleted.
 */
#include "spool/spool_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.h"

#define JUMP (1u << 20) /* sequences skipped when those of a damaged segment cannot be known */
#define MARK_NAME "released"

struct found {
    uint64_t id, size;
    uint64_t used; /* how much of it counts */
    bool valid;
    struct segment_head head;
};

struct recovery {
    struct gw_spool *spool;
    struct gw_buf found; /* struct found, by id */
    struct gw_buf bytes; /* of one segment */
    struct mark mark;
    bool has_mark;
    uint64_t sequence; /* of the last message */
    int err;           /* -ENOMEM while a label was noted */
};

static struct found *found_at(const struct recovery *r, size_t i)
{
    return (struct found *)(void *)(r->found.data + r->found.head) + i;
}

static size_t found_count(const struct recovery *r)
{
    return gw_buf_len(&r->found) / sizeof(struct found);
}

/* ---- what is there ---- */

static bool is_segment(const char *name, uint64_t *out_id)
{
    char again[SEGMENT_NAME];
    unsigned long long id;

    if (strlen(name) != 20 || sscanf(name, "%16llx", &id) != 1 || id == 0)
        return false;
    *out_id = id;
    return strcmp(segment_name(id, again), name) == 0;
}

static void read_head(struct recovery *r, struct found *f)
{
    uint8_t bytes[HEAD_BYTES];
    char name[SEGMENT_NAME];
    struct stat st;
    GW_CLEANUP(gw_close_fd)
    int fd =
        openat(r->spool->disk.dir_fd, segment_name(f->id, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    f->size = (uint64_t)st.st_size;
    f->valid = f->size >= HEAD_BYTES && f->size <= SEGMENT_READ_MAX &&
               fd_read(fd, 0, bytes, sizeof(bytes)) == 0 &&
               head_get(GW_SLICE(bytes, sizeof(bytes)), &f->head) == 0 && f->head.id == f->id;
    f->used = f->size;
}

static int by_id(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static int list_dir(struct recovery *r)
{
    int fd = openat(r->spool->disk.dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    int err = 0;

    if (!dir) {
        err = -errno;
        gw_close_fd(&fd);
        return err;
    }
    while (!err && (entry = readdir(dir))) {
        struct found f = {0};

        if (!is_segment(entry->d_name, &f.id))
            continue;
        read_head(r, &f);
        err = gw_buf_append(&r->found, GW_SLICE(&f, sizeof(f)));
    }
    (void)closedir(dir);
    if (!err && found_count(r))
        qsort(found_at(r, 0), found_count(r), sizeof(struct found), by_id);
    return err;
}

static void read_mark(struct recovery *r)
{
    uint8_t bytes[MARK_BYTES];
    GW_CLEANUP(gw_close_fd)
    int fd = openat(r->spool->disk.dir_fd, MARK_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    r->has_mark = fd >= 0 && fd_read(fd, 0, bytes, sizeof(bytes)) == 0 &&
                  mark_get(GW_SLICE(bytes, sizeof(bytes)), &r->mark) == 0;
}

/* ---- which of it counts ---- */

static void unlink_one(struct recovery *r, const struct found *f)
{
    disk_unlink(&r->spool->disk, &f->id, 1);
}

/* No head: it was just being made, or it is damaged and what it held cannot be told. */
static void put_aside(struct recovery *r, const struct found *f)
{
    char name[SEGMENT_NAME], aside[SEGMENT_NAME + 16];
    int dir = r->spool->disk.dir_fd;

    if (f->size <= HEAD_BYTES) {
        unlink_one(r, f);
        return;
    }
    (void)snprintf(aside, sizeof(aside), "%s.damaged", segment_name(f->id, name));
    if (renameat(dir, name, dir, aside) == 0)
        gw_log_error("a spool segment is damaged and put aside file=%s bytes=%" PRIu64, aside,
                     f->size);
    else
        gw_log_error("a spool segment is damaged file=%s bytes=%" PRIu64, name, f->size);
    r->spool->floor = GW_MAX(r->spool->floor, r->mark.floor) + JUMP;
}

/* A later head says what of this segment counts: a failed write may have left more, or all of it.
 */
static void limit(struct recovery *r, size_t i)
{
    struct found *f = found_at(r, i);

    for (size_t k = i + 1; k < found_count(r); k++) {
        const struct found *later = found_at(r, k);

        if (!later->valid)
            continue;
        if (later->head.prev_id == f->id)
            f->used = GW_MIN(f->size, later->head.prev_size);
        else if (later->head.prev_id < f->id)
            f->used = 0;
        return;
    }
}

static bool is_released(const struct recovery *r, const struct found *f)
{
    return r->has_mark && f->id < r->mark.id;
}

/* ---- one segment ---- */

static void count_frame(struct recovery *r, const struct found *f, uint64_t offset,
                        const struct frame *frame)
{
    struct gw_spool *s = r->spool;

    if (frame->kind == GW_SPOOL_MESSAGE)
        r->sequence = GW_MAX(r->sequence, frame->sequence);
    if (frame->kind == FRAME_EXACT)
        s->floor = GW_MAX(r->sequence, frame->sequence);
    else
        s->floor = GW_MAX(s->floor, frame->sequence);
    if (frame->kind > GW_SPOOL_KEY || (f->id == s->read.segment && offset < s->read.offset))
        return;
    s->stats.messages += frame->kind == GW_SPOOL_MESSAGE;
    s->stats.bytes += frame->bytes;
    if (!frame->label.len)
        return;
    if (held_found(s, frame->sequence, (struct pos){f->id, offset}))
        r->err = -ENOMEM;
    else if (s->ops.label)
        s->ops.label(s->owner, frame->label);
}

/* Walk the frames; returns where the last good one ends. */
static uint64_t walk(struct recovery *r, const struct found *f, struct gw_slice all)
{
    uint64_t good = HEAD_BYTES;
    struct frame frame;

    for (uint64_t at = HEAD_BYTES; at < all.len; at += frame.bytes) {
        struct gw_slice in = GW_SLICE(all.ptr + at, all.len - at);

        if (frame_check(in, &f->head.salt, &frame)) {
            size_t skip = frame_find(in, 1, &f->head.salt);
            char name[SEGMENT_NAME];

            if (skip == in.len)
                break;
            gw_log_error("damaged records are lost file=%s offset=%" PRIu64 " bytes=%zu",
                         segment_name(f->id, name), at, skip);
            frame.bytes = skip;
            continue;
        }
        count_frame(r, f, at, &frame);
        good = at + frame.bytes;
    }
    return good;
}

/* Only the last one may have a tail that was never completed, or that no sync was called for: what
 * a label says must be as durable as what is concluded from it. */
static int cut_tail(struct recovery *r, const struct found *f, uint64_t good, bool is_last)
{
    char name[SEGMENT_NAME];
    GW_CLEANUP(gw_close_fd) int fd = -1;

    (void)segment_name(f->id, name);
    if (!is_last) {
        if (good != f->used)
            gw_log_error("damaged records are lost file=%s offset=%" PRIu64 " bytes=%" PRIu64, name,
                         good, f->used - good);
        return 0;
    }
    fd = openat(r->spool->disk.dir_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    if (good != f->used) {
        gw_log_info("cut what was never completed file=%s offset=%" PRIu64 " bytes=%" PRIu64, name,
                    good, f->used - good);
        (void)!ftruncate(fd, (off_t)good); /* the next segment's head says the same */
    }
    return fdatasync(fd) < 0 ? -errno : 0;
}

static int read_all(struct recovery *r, const struct found *f, struct gw_slice *out)
{
    int err;

    gw_buf_consume(&r->bytes, gw_buf_len(&r->bytes));
    err = gw_buf_reserve(&r->bytes, f->used);
    if (!err)
        err = disk_read(&r->spool->disk, f->id, 0, r->bytes.data, f->used);
    *out = GW_SLICE(r->bytes.data, f->used);
    return err;
}

static int take_over(struct recovery *r, const struct found *f, bool is_last)
{
    struct gw_spool *s = r->spool;
    struct gw_slice all;
    uint64_t good;
    int err = read_all(r, f, &all);

    if (err == -ENOMEM)
        return err;
    s->floor = GW_MAX(s->floor, f->head.floor);
    if (err) {
        put_aside(r, f);
        return 0;
    }
    good = walk(r, f, all);
    err = r->err ? r->err : cut_tail(r, f, good, is_last);
    if (err)
        return err;
    return segment_add(s, f->id, good, f->head.salt) ? 0 : -ENOMEM;
}

/* ---- all of them ---- */

/* The mark counts only for the very segment that it was made for. */
static void place_reader(struct recovery *r)
{
    const struct salt *salt = &r->mark.salt;

    for (size_t i = 0; r->has_mark && i < found_count(r); i++) {
        const struct found *f = found_at(r, i);

        if (f->id == r->mark.id && f->valid && f->head.salt.sync == salt->sync &&
            f->head.salt.seed == salt->seed) {
            r->spool->read = (struct pos){r->mark.id, GW_MAX(r->mark.offset, HEAD_BYTES)};
            return;
        }
    }
    r->has_mark = false;
}

/* The newest that has a head; it stays even when all of it was released. */
static size_t newest(const struct recovery *r)
{
    size_t i = found_count(r);

    while (i && !found_at(r, i - 1)->valid)
        i--;
    return i;
}

static int each(struct recovery *r)
{
    size_t count = found_count(r), last = newest(r);
    int err = 0;

    for (size_t i = 0; i < count && !err; i++) {
        const struct found *f = found_at(r, i);

        r->spool->next_id = GW_MAX(r->spool->next_id, f->id + 1);
        limit(r, i);
        if (!f->valid)
            put_aside(r, f);
        else if (f->used < HEAD_BYTES || (is_released(r, f) && i + 1 != last))
            unlink_one(r, f);
        else
            err = take_over(r, f, i + 1 == last);
    }
    return err;
}

int spool_recover(struct gw_spool *s)
{
    struct recovery r = {
        .spool = s,
        .found.max = 1u << 26,
        .bytes.max = SEGMENT_READ_MAX,
    };
    int err;

    s->next_id = 1;
    read_mark(&r);
    err = list_dir(&r);
    if (!err) {
        s->next_id = r.has_mark ? r.mark.id + 1 : 1;
        place_reader(&r);
        err = each(&r);
        s->floor = GW_MAX(s->floor, r.mark.floor);
    }
    gw_buf_fini(&r.found);
    gw_buf_fini(&r.bytes);
    if (!err && s->stats.messages)
        gw_log_info("the spool holds messages=%" PRIu64 " bytes=%" PRIu64 " next=%" PRIu64,
                    s->stats.messages, s->stats.bytes, s->floor + 1);
    return err;
}
