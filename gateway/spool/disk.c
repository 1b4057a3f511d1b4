/* SPDX-License-Identifier: GPL-2.0-only */
/* What touches files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "spool/spool_priv.h"

#define MARK_NAME "released"

char *segment_name(uint64_t id, char out[SEGMENT_NAME])
{
    (void)snprintf(out, SEGMENT_NAME, "%016llx.seg", (unsigned long long)id);
    return out;
}

static int fd_write(int fd, uint64_t offset, struct gw_slice s)
{
    while (s.len) {
        ssize_t n = pwrite(fd, s.ptr, s.len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        s = GW_SLICE(s.ptr + n, s.len - (size_t)n);
        offset += (uint64_t)n;
    }
    return 0;
}

int fd_read(int fd, uint64_t offset, uint8_t *to, size_t len)
{
    while (len) {
        ssize_t n = pread(fd, to, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO; /* shorter than it was */
        to += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* The head is durable, and found after a power cut, before anything is written behind it. */
static int make_durable(const struct disk *d, int fd, const struct segment_head *head)
{
    uint8_t bytes[HEAD_BYTES];
    int err;

    head_put(bytes, head);
    err = fd_write(fd, 0, GW_SLICE(bytes, sizeof(bytes)));
    if (!err && (fdatasync(fd) < 0 || fsync(d->dir_fd) < 0))
        err = -errno;
    return err;
}

int disk_create(struct disk *d, const struct segment_head *head)
{
    char name[SEGMENT_NAME];
    int err;

    gw_close_fd(&d->fd);
    d->fd = openat(d->dir_fd, segment_name(head->id, name),
                   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->fd < 0)
        return -errno;
    err = make_durable(d, d->fd, head);
    if (err) {
        (void)unlinkat(d->dir_fd, name, 0);
        gw_close_fd(&d->fd);
    }
    return err;
}

int disk_write(struct disk *d, struct gw_slice s, uint64_t offset)
{
    int err = d->fd < 0 ? -EBADF : fd_write(d->fd, offset, s);

    if (!err && fdatasync(d->fd) < 0)
        err = -errno;
    if (!err)
        return 0;
    /* After a failed sync nobody knows what is on disk: the next segment's head voids it. */
    if (d->fd >= 0)
        (void)!ftruncate(d->fd, (off_t)offset);
    gw_close_fd(&d->fd);
    return err;
}

int disk_shrink(const struct disk *d, const struct segment_head *head)
{
    uint8_t frame[FRAME_BYTES];
    struct gw_writer w = gw_writer_of(frame, sizeof(frame));
    char name[SEGMENT_NAME];
    GW_CLEANUP(gw_close_fd)
    int fd = openat(d->dir_fd, segment_name(head->id, name), O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    int err;

    if (fd < 0)
        return -errno;
    frame_put(&w, FRAME_RESERVE, head->floor, GW_SLICE_NONE, GW_SLICE_NONE);
    frames_seal(frame, sizeof(frame), &head->salt);
    /* In place: a full disk has room for that. */
    err = fd_write(fd, HEAD_BYTES, GW_SLICE(frame, sizeof(frame)));
    if (!err && (fdatasync(fd) < 0 || ftruncate(fd, SHRUNK_BYTES) < 0 || fdatasync(fd) < 0))
        err = -errno;
    return err;
}

int disk_read(const struct disk *d, uint64_t id, uint64_t offset, uint8_t *to, size_t len)
{
    char name[SEGMENT_NAME];
    GW_CLEANUP(gw_close_fd)
    int fd = openat(d->dir_fd, segment_name(id, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd < 0 ? -errno : fd_read(fd, offset, to, len);
}

int disk_mark(const struct disk *d, const struct mark *m, bool sync)
{
    GW_CLEANUP(gw_close_fd)
    int fd = openat(d->dir_fd, MARK_NAME, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    uint8_t bytes[MARK_BYTES];
    int err;

    if (fd < 0)
        return -errno;
    mark_put(bytes, m);
    err = fd_write(fd, 0, GW_SLICE(bytes, sizeof(bytes)));
    if (!err && sync && (fdatasync(fd) < 0 || fsync(d->dir_fd) < 0))
        err = -errno;
    return err;
}

void disk_unlink(const struct disk *d, const uint64_t *ids, size_t count)
{
    char name[SEGMENT_NAME];

    for (size_t i = 0; i < count; i++)
        (void)unlinkat(d->dir_fd, segment_name(ids[i], name), 0);
    if (count)
        (void)fsync(d->dir_fd);
}
