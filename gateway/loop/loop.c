/* SPDX-License-Identifier: GPL-2.0-only */
#include "loop/loop.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

/*
 * The wheel: LEVELS rings of SLOTS lists. A tick is TICK_MS; ring k holds timers due within
 * SLOTS^(k+1) ticks, and its lists move down when the ring below has gone round. So arming and
 * stopping cost the same for ten timers and for a million.
 */
#define TICK_MS 4
#define SLOT_BITS 8
#define SLOTS (1u << SLOT_BITS)
#define LEVELS 5
#define BATCH 256

struct gw_loop {
    int epoll_fd;
    bool running;
    uint64_t now_ms;
    uint64_t tick; /* the next tick to run */
    uint64_t armed;
    uint64_t occupied[LEVELS][SLOTS / 64];
    struct gw_list wheel[LEVELS][SLOTS];
    struct gw_list tasks;
    struct epoll_event batch[BATCH];
    int batch_len;
};

int gw_loop_new(struct gw_loop **out)
{
    struct gw_loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return -ENOMEM;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        free(loop);
        return -errno;
    }
    for (unsigned l = 0; l < LEVELS; l++)
        for (unsigned s = 0; s < SLOTS; s++)
            gw_list_init(&loop->wheel[l][s]);
    gw_list_init(&loop->tasks);
    loop->now_ms = gw_clock_mono_ms();
    loop->tick = loop->now_ms / TICK_MS;
    *out = loop;
    return 0;
}

void gw_loop_free(struct gw_loop **loop)
{
    struct gw_loop *l = GW_TAKE(*loop);

    if (!l)
        return;
    gw_close_fd(&l->epoll_fd);
    free(l);
}

uint64_t gw_loop_now_ms(const struct gw_loop *loop)
{
    return loop->now_ms;
}

void gw_loop_stop(struct gw_loop *loop)
{
    loop->running = false;
}

/* ---- descriptors ---- */

int gw_io_start(struct gw_loop *loop, struct gw_io *io, int fd, uint32_t events, gw_io_fn *fn,
                void *owner)
{
    struct epoll_event ev = {.events = events, .data.ptr = io};

    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        return -errno;
    *io = (struct gw_io){loop, fd, events, fn, owner};
    return 0;
}

void gw_io_want(struct gw_io *io, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = io};

    if (!io->loop || io->events == events)
        return;
    (void)epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev);
    io->events = events;
}

void gw_io_stop(struct gw_io *io)
{
    struct gw_loop *loop = io->loop;

    if (!loop)
        return;
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
    /* An event of this turn may still wait in the batch; its owner may be freed by then. */
    for (int i = 0; i < loop->batch_len; i++)
        if (loop->batch[i].data.ptr == io)
            loop->batch[i].data.ptr = NULL;
    io->loop = NULL;
}

/* ---- timers ---- */

static void wheel_put(struct gw_loop *loop, struct gw_timer *t)
{
    uint64_t due = (t->due_ms + TICK_MS - 1) / TICK_MS, away;
    unsigned level = 0, slot;

    if (due < loop->tick)
        due = loop->tick;
    away = due - loop->tick;
    while (level + 1 < LEVELS && away >= 1ull << (SLOT_BITS * (level + 1)))
        level++;
    slot = (due >> (SLOT_BITS * level)) & (SLOTS - 1);
    gw_list_append(&loop->wheel[level][slot], &t->node);
    loop->occupied[level][slot / 64] |= 1ull << (slot % 64);
}

void gw_timer_init(struct gw_timer *t, gw_timer_fn *fn, void *owner)
{
    *t = (struct gw_timer){.fn = fn, .owner = owner};
    gw_list_init(&t->node);
}

void gw_timer_start(struct gw_loop *loop, struct gw_timer *t, uint64_t delay_ms)
{
    const uint64_t longest = (1ull << (SLOT_BITS * LEVELS)) - SLOTS; /* ticks: about 139 years */

    gw_timer_stop(t);
    /* Never in this very tick: one that arms itself again without delay would hold up the turn. */
    t->due_ms = loop->now_ms + GW_MAX(GW_MIN(delay_ms, longest * TICK_MS), 1u);
    t->loop = loop;
    loop->armed++;
    wheel_put(loop, t);
}

void gw_timer_stop(struct gw_timer *t)
{
    if (!t->loop)
        return;
    t->loop->armed--;
    t->loop = NULL;
    gw_list_remove(&t->node);
}

/* Take one list out of the wheel: callbacks may arm and stop timers of this very list. */
static void wheel_take(struct gw_loop *loop, unsigned level, unsigned slot, struct gw_list *out)
{
    struct gw_list *from = &loop->wheel[level][slot];

    gw_list_init(out);
    if (!gw_list_empty(from)) {
        *out = *from;
        out->next->prev = out->prev->next = out;
        gw_list_init(from);
    }
    loop->occupied[level][slot / 64] &= ~(1ull << (slot % 64));
}

static void cascade(struct gw_loop *loop)
{
    struct gw_list moved;

    for (unsigned level = 1; level < LEVELS; level++) {
        uint64_t position = loop->tick >> (SLOT_BITS * level);

        if (loop->tick & ((1ull << (SLOT_BITS * level)) - 1))
            return;
        wheel_take(loop, level, position & (SLOTS - 1), &moved);
        GW_LIST_EACH(&moved, node)
        {
            gw_list_remove(node);
            wheel_put(loop, GW_LIST_ENTRY(node, struct gw_timer, node));
        }
    }
}

static void run_slot(struct gw_loop *loop, unsigned slot)
{
    struct gw_list due;

    wheel_take(loop, 0, slot, &due);
    while (!gw_list_empty(&due)) {
        struct gw_timer *t = GW_LIST_ENTRY(due.next, struct gw_timer, node);

        gw_timer_stop(t);
        t->fn(t->owner);
    }
}

/* The first occupied slot of ring 0 from `slot` on, or SLOTS. */
static unsigned next_slot(const struct gw_loop *loop, unsigned slot)
{
    for (unsigned word = slot / 64; slot < SLOTS; word++, slot = word * 64) {
        uint64_t bits = loop->occupied[0][word] >> (slot % 64);

        if (bits)
            return slot + (unsigned)__builtin_ctzll(bits);
    }
    return SLOTS;
}

static void run_timers(struct gw_loop *loop)
{
    uint64_t until = loop->now_ms / TICK_MS;

    while (loop->tick <= until && loop->armed) {
        unsigned slot = loop->tick & (SLOTS - 1);
        unsigned next;

        if (slot == 0)
            cascade(loop);
        next = next_slot(loop, slot);
        if (next > slot) { /* skip empty ticks, at most to the ring's end */
            uint64_t skipped = GW_MIN((uint64_t)(next - slot), until + 1 - loop->tick);

            loop->tick += skipped;
            continue;
        }
        run_slot(loop, slot);
        /* A callback may have armed a timer that is due in this very tick. */
        if (gw_list_empty(&loop->wheel[0][slot]))
            loop->tick++;
    }
    if (!loop->armed)
        loop->tick = until + 1;
}

/* How long epoll may wait: to the next occupied slot of ring 0, or to the ring's end. */
static int wait_ms(const struct gw_loop *loop, int max_wait_ms)
{
    unsigned slot = loop->tick & (SLOTS - 1);
    uint64_t due_ms, now;
    int wait;

    if (!gw_list_empty(&loop->tasks))
        return 0;
    if (!loop->armed)
        return max_wait_ms;
    due_ms = (loop->tick - slot + next_slot(loop, slot)) * TICK_MS;
    if (slot == 0)
        due_ms = loop->tick * TICK_MS; /* a cascade is due */
    now = gw_clock_mono_ms();
    wait = due_ms > now ? (int)(due_ms - now) : 0;
    return max_wait_ms < 0 ? wait : GW_MIN(wait, max_wait_ms);
}

/* ---- the turn's end ---- */

void gw_task_init(struct gw_task *t, gw_task_fn *fn, void *owner)
{
    gw_list_init(&t->node);
    t->fn = fn;
    t->owner = owner;
}

void gw_task_post(struct gw_loop *loop, struct gw_task *t)
{
    if (gw_list_empty(&t->node))
        gw_list_append(&loop->tasks, &t->node);
}

void gw_task_cancel(struct gw_task *t)
{
    gw_list_remove(&t->node);
}

static void run_tasks(struct gw_loop *loop)
{
    struct gw_list now;

    if (gw_list_empty(&loop->tasks))
        return;
    now = loop->tasks;
    now.next->prev = now.prev->next = &now;
    gw_list_init(&loop->tasks);
    while (!gw_list_empty(&now)) {
        struct gw_task *t = GW_LIST_ENTRY(now.next, struct gw_task, node);

        gw_list_remove(&t->node);
        t->fn(t->owner);
    }
}

/* ---- turns ---- */

int gw_loop_turn(struct gw_loop *loop, int max_wait_ms)
{
    int got = epoll_wait(loop->epoll_fd, loop->batch, BATCH, wait_ms(loop, max_wait_ms));

    if (got < 0 && errno != EINTR)
        return -errno;
    loop->now_ms = gw_clock_mono_ms();
    loop->batch_len = GW_MAX(got, 0);
    for (int i = 0; i < loop->batch_len; i++) {
        struct gw_io *io = loop->batch[i].data.ptr;

        if (io)
            io->fn(io->owner, loop->batch[i].events);
    }
    loop->batch_len = 0;
    run_timers(loop);
    run_tasks(loop);
    return 0;
}

int gw_loop_run(struct gw_loop *loop)
{
    int err = 0;

    loop->running = true;
    while (loop->running && !err)
        err = gw_loop_turn(loop, -1);
    return err;
}
