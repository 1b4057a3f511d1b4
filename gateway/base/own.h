/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Visible ownership: an owning local carries GW_CLEANUP(free function), a value that leaves the
 * function goes through GW_TAKE. Any thread.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define GW_CLEANUP(fn) __attribute__((cleanup(fn)))
#define GW_MUST_CHECK __attribute__((warn_unused_result))
#define GW_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

/** The value of an owning variable, which is left NULL. */
#define GW_TAKE(p)                                                                                 \
    __extension__({                                                                                \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })

#define GW_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define GW_MIN(a, b) ((a) < (b) ? (a) : (b))
#define GW_MAX(a, b) ((a) > (b) ? (a) : (b))

/** The struct that holds `member` at address `ptr`. */
#define GW_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/** GW_CLEANUP(gw_free_ptr) char *p: free(3) at the end of the block. */
static inline void gw_free_ptr(void *p)
{
    void **ptr = p;

    free(*ptr);
    *ptr = NULL;
}

/** GW_CLEANUP(gw_close_fd) int fd = -1: close(2) at the end of the block; -1 is not open. */
static inline void gw_close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/** The descriptor in `*fd`, which is left -1. */
static inline int gw_take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}
