/* SPDX-License-Identifier: GPL-2.0-only */
/* The enforcer's files in a directory that is the worker's: whole, root's own, or refused. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enforcer/kept.h"

#define NAME "some"
#define BODY "what holds for whom"
#define BYTES (sizeof(struct gw_kept_header) + sizeof(BODY) - 1)
#define NOBODY 65534

static char dir[] = "/tmp/cordon-kept-XXXXXX";
static char path[64], fresh[64], other[64];

static void setup(void)
{
    cr_assert(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/" NAME, dir);
    (void)snprintf(fresh, sizeof(fresh), "%s/" NAME ".new", dir);
    (void)snprintf(other, sizeof(other), "%s/other", dir);
}

static void clear(void)
{
    (void)remove(path);
    (void)remove(fresh);
    (void)remove(other);
}

static void teardown(void)
{
    clear();
    (void)rmdir(dir);
}

TestSuite(kept, .init = setup, .fini = teardown);

static void save(struct gw_slice body)
{
    cr_assert_eq(gw_kept_save(dir, NAME, "CORDONx1", 7, body), 0);
}

/* The result; when it is 0, the body is that. */
static int load(size_t max, struct gw_slice body)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf file = {.max = max};
    struct gw_kept_header h = {0};
    int err = gw_kept_load(dir, NAME, &file, &h);
    struct gw_slice all = gw_buf_slice(&file);

    if (err)
        return err;
    cr_expect_eq(memcmp(h.magic, "CORDONx1", sizeof(h.magic)), 0);
    cr_expect_eq(h.count, 7);
    cr_assert_eq(all.len, sizeof(h) + body.len);
    cr_expect(gw_slice_eq(GW_SLICE(all.ptr + sizeof(h), body.len), body));
    return 0;
}

static void flip(off_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    cr_assert_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 0x40;
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

static void put_file(const char *at, const char *text)
{
    int fd = open(at, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

Test(kept, comes_back_whole)
{
    static uint8_t large[1 << 20];
    struct gw_slice bodies[] = {GW_SLICE_NONE, GW_SLICE_LIT("x"), GW_SLICE_LIT(BODY),
                                GW_SLICE(large, sizeof(large))};
    struct stat st;

    memset(large, 0x5a, sizeof(large));
    cr_expect_eq(load(BYTES, GW_SLICE_NONE), -ENOENT);
    for (size_t i = 0; i < GW_COUNT(bodies); i++) {
        save(bodies[i]); /* in the place of the one before */
        cr_expect_eq(load(2 << 20, bodies[i]), 0, "%zu bytes", bodies[i].len);
        cr_assert_eq(stat(path, &st), 0);
        cr_expect_eq(st.st_mode & 07777, 0600);
        cr_expect_eq(access(fresh, F_OK), -1, "nothing is left beside it");
    }
}

/* ---- what is not believed ---- */

Test(kept, a_damaged_body_or_sum_is_refused)
{
    save(GW_SLICE_LIT(BODY));
    for (off_t at = offsetof(struct gw_kept_header, sum); at < (off_t)BYTES; at++) {
        flip(at);
        cr_expect_eq(load(BYTES, GW_SLICE_LIT(BODY)), GW_EMALFORMED, "byte %ld", (long)at);
        flip(at);
    }
    cr_expect_eq(load(BYTES, GW_SLICE_LIT(BODY)), 0, "whole again");
}

Test(kept, a_cut_or_stretched_one_is_refused)
{
    for (off_t len = 0; len < (off_t)BYTES + 3; len++) {
        save(GW_SLICE_LIT(BODY));
        cr_assert_eq(truncate(path, len), 0);
        cr_expect_eq(load(2 * BYTES, GW_SLICE_LIT(BODY)), len == (off_t)BYTES ? 0 : GW_EMALFORMED,
                     "%ld bytes", (long)len);
    }
}

Test(kept, one_that_is_too_long_is_refused)
{
    save(GW_SLICE_LIT(BODY));
    cr_expect_eq(load(BYTES, GW_SLICE_LIT(BODY)), 0);
    cr_expect_eq(load(BYTES - 1, GW_SLICE_LIT(BODY)), GW_EMALFORMED);
}

static void ours(void)
{
}

static void readable_by_all(void)
{
    cr_assert_eq(chmod(path, 0644), 0);
}

static void writable_by_the_group(void)
{
    cr_assert_eq(chmod(path, 0620), 0);
}

static void writable_by_all(void)
{
    cr_assert_eq(chmod(path, 0602), 0);
}

static void anothers(void)
{
    cr_assert_eq(chown(path, NOBODY, (gid_t)-1), 0);
}

static void a_link(void)
{
    cr_assert_eq(rename(path, other), 0);
    cr_assert_eq(symlink(other, path), 0);
}

static void a_directory(void)
{
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkdir(path, 0700), 0);
}

/* Whoever opens one for reading must not wait for a writer. */
static void a_pipe(void)
{
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkfifo(path, 0600), 0);
}

static void gone(void)
{
    cr_assert_eq(unlink(path), 0);
}

Test(kept, only_what_is_ours_is_believed, .timeout = 20)
{
    static const struct {
        const char *name;
        void (*make)(void);
        int result;
    } rows[] = {
        {"ours", ours, 0},
        {"ours, and anybody may read it", readable_by_all, 0},
        {"its group may write it", writable_by_the_group, GW_EPROTECTED},
        {"anybody may write it", writable_by_all, GW_EPROTECTED},
        {"another's", anothers, GW_EPROTECTED},
        {"a link", a_link, GW_EPROTECTED},
        {"a directory", a_directory, GW_EPROTECTED},
        {"a pipe", a_pipe, GW_EPROTECTED},
        {"gone", gone, -ENOENT},
    };

    if (geteuid() != 0)
        cr_skip_test("only root can give a file away");
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        clear();
        save(GW_SLICE_LIT(BODY));
        rows[i].make();
        cr_expect_eq(load(BYTES, GW_SLICE_LIT(BODY)), rows[i].result, "%s", rows[i].name);
    }
}

/* ---- what the worker may have put in the way ---- */

static void expect_untouched(const char *name)
{
    struct stat st;
    char text[8] = "";
    int fd = open(other, O_RDONLY | O_CLOEXEC);

    cr_assert_geq(fd, 0);
    cr_expect_eq(read(fd, text, sizeof(text)), 5, "%s", name);
    (void)close(fd);
    cr_expect_eq(memcmp(text, "other", 5), 0, "%s", name);
    cr_assert_eq(lstat(path, &st), 0);
    cr_expect(S_ISREG(st.st_mode) && st.st_nlink == 1, "%s: a file of its own", name);
}

Test(kept, no_name_in_the_way_leads_to_another_file)
{
    static const struct {
        const char *name, *at;
        int (*put)(const char *from, const char *at);
    } rows[] = {
        {"a link at the new file's name", fresh, symlink},
        {"a link at the file's name", path, symlink},
        {"a second name of it at the new file's", fresh, link},
        {"a second name of it at the file's", path, link},
    };

    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        clear();
        put_file(other, "other");
        cr_assert_eq(rows[i].put(other, rows[i].at), 0, "%s", rows[i].name);
        save(GW_SLICE_LIT(BODY));
        expect_untouched(rows[i].name);
        cr_expect_eq(load(BYTES, GW_SLICE_LIT(BODY)), 0, "%s", rows[i].name);
    }
}

Test(kept, what_cannot_be_written_leaves_the_old_one)
{
    save(GW_SLICE_LIT(BODY));
    cr_assert_eq(mkdir(fresh, 0700), 0);
    cr_expect_lt(gw_kept_save(dir, NAME, "CORDONx1", 7, GW_SLICE_LIT("new")), 0);
    cr_expect_eq(load(BYTES, GW_SLICE_LIT(BODY)), 0);
    cr_expect_eq(gw_kept_save("/nowhere", NAME, "CORDONx1", 7, GW_SLICE_LIT("new")), -ENOENT);
}
