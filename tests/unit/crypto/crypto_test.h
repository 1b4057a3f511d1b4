/* SPDX-License-Identifier: GPL-2.0-only */
/** What the tests of this room share: files in a directory of their own, and openssl as judge. */
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "crypto/crypto.h"

static char test_dir[64];

static inline void crypto_setup(void)
{
    strcpy(test_dir, "/tmp/cordon-crypto-XXXXXX");
    cr_assert_not_null(mkdtemp(test_dir));
    cr_assert_eq(gw_crypto_init(), 0);
}

static inline void crypto_teardown(void)
{
    char command[128];

    gw_crypto_fini();
    snprintf(command, sizeof(command), "rm -rf %s", test_dir);
    cr_expect_eq(system(command), 0);
}

static inline struct gw_slice test_slice(const struct gw_buf *b)
{
    return gw_buf_slice(b);
}

static inline void test_write(const char *name, struct gw_slice s)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", test_dir, name);
    f = fopen(path, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(s.ptr, 1, s.len, f), s.len);
    fclose(f);
}

/** The file's bytes; the caller frees `data`. */
static inline struct gw_buf test_read(const char *name)
{
    struct gw_buf b = {.max = 1 << 20};
    char path[128], chunk[4096];
    size_t n;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", test_dir, name);
    f = fopen(path, "rb");
    cr_assert_not_null(f, "%s", path);
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        cr_assert_eq(gw_buf_append(&b, GW_SLICE(chunk, n)), 0);
    fclose(f);
    return b;
}

/** Run in the test's directory; true when it exits 0. Output goes to the file `out`. */
GW_PRINTF(1, 2) static inline bool test_run(const char *fmt, ...)
{
    char command[1024];
    int len = snprintf(command, sizeof(command), "cd %s && ", test_dir);
    va_list args;

    va_start(args, fmt);
    vsnprintf(command + len, sizeof(command) - (size_t)len, fmt, args);
    va_end(args);
    strncat(command, " >out 2>&1", sizeof(command) - strlen(command) - 1);
    return system(command) == 0;
}

/** True when the last command said this. */
static inline bool test_said(const char *text)
{
    struct gw_buf b = test_read("out");
    bool found = b.tail && memmem(b.data, b.tail, text, strlen(text)) != NULL;

    if (!found)
        fprintf(stderr, "not said: %s\n%.*s\n", text, (int)b.tail, (char *)b.data);
    gw_buf_fini(&b);
    return found;
}
