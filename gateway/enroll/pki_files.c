/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enroll/enroll_priv.h"

int pki_file_read(int dir, const char *name, struct gw_buf *out)
{
    GW_CLEANUP(gw_close_fd) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return -errno;
    out->max = PKI_FILE_MAX;
    for (;;) {
        int err = gw_buf_reserve(out, 4096);
        ssize_t got;

        if (err)
            return err;
        got = read(fd, out->data + out->tail, 4096);
        if (got < 0)
            return -errno;
        if (got == 0)
            return 0;
        out->tail += (size_t)got;
    }
}

static int write_all(int fd, struct gw_slice data)
{
    while (data.len) {
        ssize_t put = write(fd, data.ptr, data.len);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        data = GW_SLICE(data.ptr + put, data.len - (size_t)put);
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int pki_dir_sync(int dir)
{
    return fsync(dir) < 0 ? -errno : 0;
}

int pki_file_write(int dir, const char *name, struct gw_slice data)
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    char fresh[64];
    int err;

    (void)snprintf(fresh, sizeof(fresh), "%s.new", name);
    if (unlinkat(dir, fresh, 0) < 0 && errno != ENOENT)
        return -errno;
    fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    err = write_all(fd, data);
    if (err)
        return err;
    if (renameat(dir, fresh, dir, name) < 0)
        return -errno;
    return pki_dir_sync(dir);
}
