/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * One epoll, timers in a hierarchical wheel, and tasks for the turn's end. Every callback runs on
 * the thread that runs the loop and never blocks. The structs are embedded in their owner; nothing
 * here allocates after gw_loop_new. Stopping an io, a timer or a task from any callback is safe:
 * it does not fire again, even if it was due in this very turn.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/list.h"
#include "base/own.h"

struct gw_loop;

int gw_loop_new(struct gw_loop **out) GW_MUST_CHECK;
void gw_loop_free(struct gw_loop **loop);

/** Runs turns until gw_loop_stop; 0, or -errno of epoll_wait(2). */
int gw_loop_run(struct gw_loop *loop) GW_MUST_CHECK;

/** One turn that waits at most `max_wait_ms` (-1: until something happens). For tests and tools. */
int gw_loop_turn(struct gw_loop *loop, int max_wait_ms) GW_MUST_CHECK;

void gw_loop_stop(struct gw_loop *loop);

/** Monotonic milliseconds, read once a turn. */
uint64_t gw_loop_now_ms(const struct gw_loop *loop);

/* ---- descriptors ---- */

typedef void gw_io_fn(void *owner, uint32_t events);

struct gw_io {
    struct gw_loop *loop; /**< NULL: not started */
    int fd;
    uint32_t events;
    gw_io_fn *fn;
    void *owner;
};

/** Watch `fd` (which the caller keeps) for EPOLLIN, EPOLLOUT; level-triggered. -errno. */
int gw_io_start(struct gw_loop *loop, struct gw_io *io, int fd, uint32_t events, gw_io_fn *fn,
                void *owner) GW_MUST_CHECK;
/** Change what is watched; a no-op when it is the same. */
void gw_io_want(struct gw_io *io, uint32_t events);
/** Stop watching, before the fd is closed. A no-op when not started. */
void gw_io_stop(struct gw_io *io);

/* ---- timers ---- */

typedef void gw_timer_fn(void *owner);

struct gw_timer {
    struct gw_list node;
    struct gw_loop *loop; /**< NULL: not armed */
    uint64_t due_ms;
    gw_timer_fn *fn;
    void *owner;
};

void gw_timer_init(struct gw_timer *t, gw_timer_fn *fn, void *owner);
/** Arm, or move, a one-shot timer; O(1). It fires at or up to 4 ms after the delay. */
void gw_timer_start(struct gw_loop *loop, struct gw_timer *t, uint64_t delay_ms);
void gw_timer_stop(struct gw_timer *t);

static inline bool gw_timer_armed(const struct gw_timer *t)
{
    return t->loop != NULL;
}

/* ---- the turn's end ---- */

typedef void gw_task_fn(void *owner);

/** Runs once, after all descriptors and timers of the turn: batched sends, deferred frees. */
struct gw_task {
    struct gw_list node;
    gw_task_fn *fn;
    void *owner;
};

void gw_task_init(struct gw_task *t, gw_task_fn *fn, void *owner);
/** A no-op when it waits already. A task posted by a task runs in the next turn, without waiting.
 */
void gw_task_post(struct gw_loop *loop, struct gw_task *t);
void gw_task_cancel(struct gw_task *t);
