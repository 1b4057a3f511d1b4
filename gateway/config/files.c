/* SPDX-License-Identifier: GPL-2.0-only */
#include "config_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static struct file *files_add(struct files *f, struct gw_slice path)
{
    struct file *file;

    if (f->count == FILES_MAX)
        return NULL;
    file = &f->at[f->count];
    *file = (struct file){.path = gw_slice_dup(path), .data.max = GW_CONFIG_FILE_MAX};
    if (!file->path)
        return NULL;
    f->count++;
    return file;
}

static int read_all(const char *path, struct gw_buf *out)
{
    GW_CLEANUP(gw_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    uint8_t chunk[4096];
    struct stat st;
    ssize_t got;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    while ((got = read(fd, chunk, sizeof(chunk))) > 0) {
        int err = gw_buf_append(out, GW_SLICE(chunk, (size_t)got));

        gw_wipe(chunk, (size_t)got); /* may be a key */
        if (err)
            return err;
    }
    return got < 0 ? -errno : 0;
}

int files_get(struct files *f, const char *path, const struct file **out)
{
    struct file *file;
    int err;

    for (size_t i = 0; i < f->count; i++) {
        if (strcmp(f->at[i].path, path) == 0) {
            *out = &f->at[i];
            return f->at[i].missing ? -ENOENT : 0;
        }
    }
    if (f->sealed)
        return -ENOENT;
    file = files_add(f, gw_slice_str(path));
    if (!file)
        return GW_EFULL;
    err = read_all(path, &file->data);
    file->missing = err == -ENOENT;
    *out = file;
    return err;
}

static bool in_dir(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && path[len] == '/' && !strchr(path + len + 1, '/');
}

static int is_pem(const struct dirent *e)
{
    size_t len = strlen(e->d_name);

    return e->d_name[0] != '.' && len > 4 && strcmp(e->d_name + len - 4, ".pem") == 0;
}

static int read_dir(struct files *f, const char *dir)
{
    struct dirent **names = NULL;
    int count = scandir(dir, &names, is_pem, alphasort), err = 0;

    if (count < 0)
        return errno == ENOENT ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        GW_CLEANUP(gw_free_ptr) char *path = NULL;
        const struct file *file;

        if (!err && asprintf(&path, "%s/%s", dir, names[i]->d_name) < 0)
            err = -ENOMEM;
        if (!err)
            err = files_get(f, path, &file);
        free(names[i]);
    }
    free(names);
    return err;
}

int files_dir(struct files *f, const char *dir, const struct file **out, size_t max,
              size_t *out_count)
{
    int err = f->sealed ? 0 : read_dir(f, dir);
    size_t count = 0;

    if (err)
        return err;
    for (size_t i = 1; i < f->count; i++) {
        if (!in_dir(f->at[i].path, dir) || f->at[i].missing)
            continue;
        if (count == max)
            return GW_EFULL;
        out[count++] = &f->at[i];
    }
    *out_count = count;
    return 0;
}

int files_pack(const struct files *f, struct gw_buf *out)
{
    int err = 0;

    for (size_t i = 0; i < f->count && !err; i++) {
        const struct file *file = &f->at[i];
        struct gw_slice path = gw_slice_str(file->path), data = gw_buf_slice(&file->data);
        uint8_t head[9];
        struct gw_writer w = gw_writer_of(head, sizeof(head));

        gw_writer_u8(&w, file->missing);
        gw_writer_u32(&w, (uint32_t)path.len);
        gw_writer_u32(&w, (uint32_t)data.len);
        err = gw_buf_append(out, gw_writer_done(&w));
        if (!err)
            err = gw_buf_append(out, path);
        if (!err)
            err = gw_buf_append(out, data);
    }
    return err;
}

int files_unpack(struct gw_slice bundle, struct files *out)
{
    struct gw_reader r = gw_reader_of(bundle);

    while (gw_reader_left(&r)) {
        bool missing = gw_reader_u8(&r);
        uint32_t path_len = gw_reader_u32(&r), data_len = gw_reader_u32(&r);
        struct gw_slice path = gw_reader_slice(&r, path_len);
        struct gw_slice data = gw_reader_slice(&r, data_len);
        struct file *file = r.err ? NULL : files_add(out, path);
        int err;

        if (!file)
            return r.err ? r.err : GW_EFULL;
        file->missing = missing;
        err = gw_buf_append(&file->data, data);
        if (err)
            return err;
    }
    out->sealed = true;
    return out->count ? gw_reader_end(&r) : GW_ESHORT;
}

void files_fini(struct files *f)
{
    for (size_t i = 0; i < f->count; i++) {
        free(f->at[i].path);
        if (f->at[i].data.data)
            gw_wipe(f->at[i].data.data, f->at[i].data.cap);
        gw_buf_fini(&f->at[i].data);
    }
    f->count = 0;
}
