/* SPDX-License-Identifier: GPL-2.0-only */
#include "enforcer/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/own.h"

#define NAME_MAX_ 64

static uint64_t fnv1a(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    uint64_t h = 0xcbf29ce484222325ULL;

    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 0x100000001b3ULL;
    return h;
}

static int write_all(int fd, struct gw_slice s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.ptr, s.len);

        if (n < 0)
            return -errno;
        s.ptr += n;
        s.len -= (size_t)n;
    }
    return 0;
}

/* The directory is the worker's, so a name in it proves nothing: the file is made, never opened. */
static int write_new(int dir, const char *name, const struct gw_kept_header *h,
                     struct gw_slice records)
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    int err;

    (void)unlinkat(dir, name, 0);
    fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    err = write_all(fd, GW_SLICE(h, sizeof(*h)));
    if (!err)
        err = write_all(fd, records);
    if (!err && fsync(fd) < 0)
        err = -errno;
    return err;
}

int gw_kept_save(const char *state_dir, const char *name, const char magic[8], uint64_t count,
                 struct gw_slice body)
{
    GW_CLEANUP(gw_close_fd) int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct gw_kept_header h = {.count = count, .sum = fnv1a(body.ptr, body.len)};
    char fresh[NAME_MAX_];
    int err;

    if (dir < 0)
        return -errno;
    memcpy(h.magic, magic, sizeof(h.magic));
    (void)snprintf(fresh, sizeof(fresh), "%s.new", name);
    err = write_new(dir, fresh, &h, body);
    if (err)
        return err;
    if (renameat(dir, fresh, dir, name) < 0 || fsync(dir) < 0)
        return -errno;
    return 0;
}

static int open_own(const char *state_dir, const char *name, struct stat *st)
{
    GW_CLEANUP(gw_close_fd) int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    GW_CLEANUP(gw_close_fd) int fd = -1;

    if (dir < 0)
        return -errno;
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP ? GW_EPROTECTED : -errno;
    if (fstat(fd, st) < 0)
        return -errno;
    if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || st->st_mode & 022)
        return GW_EPROTECTED;
    return gw_take_fd(&fd);
}

static int read_all(int fd, size_t len, struct gw_buf *out)
{
    int err = gw_buf_reserve(out, len);

    if (err)
        return err;
    while (gw_buf_len(out) < len) {
        ssize_t n = read(fd, out->data + out->tail, len - gw_buf_len(out));

        if (n <= 0)
            return n < 0 ? -errno : GW_EMALFORMED;
        out->tail += (size_t)n;
    }
    return 0;
}

int gw_kept_load(const char *state_dir, const char *name, struct gw_buf *out,
                 struct gw_kept_header *header)
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    struct stat st;
    int err;

    fd = open_own(state_dir, name, &st);
    if (fd < 0)
        return gw_take_fd(&fd);
    if (st.st_size < (off_t)sizeof(*header) || st.st_size > (off_t)out->max)
        return GW_EMALFORMED;
    err = read_all(fd, (size_t)st.st_size, out);
    if (err)
        return err;
    memcpy(header, out->data, sizeof(*header));
    return fnv1a(out->data + sizeof(*header), gw_buf_len(out) - sizeof(*header)) == header->sum
               ? 0
               : GW_EMALFORMED;
}
