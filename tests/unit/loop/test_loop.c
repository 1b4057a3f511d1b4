/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own.h"
#include "loop/loop.h"

static struct gw_loop *loop;
static int ends[2], more[2];

static void setup(void)
{
    cr_assert_eq(gw_loop_new(&loop), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, more), 0);
}

static void teardown(void)
{
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(more[i]);
    }
    gw_loop_free(&loop);
}

TestSuite(loop, .init = setup, .fini = teardown);

struct seen {
    struct gw_io io;
    unsigned calls;
    uint32_t events;
    struct gw_io *stop; /* what its callback stops */
};

static void on_io(void *owner, uint32_t events)
{
    struct seen *s = owner;

    s->calls++;
    s->events = events;
    if (s->stop)
        gw_io_stop(s->stop);
}

static void turn(void)
{
    cr_assert_eq(gw_loop_turn(loop, 0), 0);
}

Test(loop, tells_what_a_descriptor_is_ready_for)
{
    struct seen s = {0};

    cr_assert_eq(gw_io_start(loop, &s.io, ends[0], EPOLLIN, on_io, &s), 0);
    turn();
    cr_expect_eq(s.calls, 0);
    cr_assert_eq(write(ends[1], "x", 1), 1);
    turn();
    turn();
    cr_expect_eq(s.calls, 2, "level-triggered");
    cr_expect_eq(s.events, EPOLLIN);
    gw_io_want(&s.io, EPOLLOUT);
    turn();
    cr_expect_eq(s.events, EPOLLOUT);
    gw_io_want(&s.io, 0);
    turn();
    cr_expect_eq(s.calls, 3);
    gw_io_stop(&s.io);
    gw_io_stop(&s.io);
    gw_io_want(&s.io, EPOLLIN); /* stopped: nothing */
    turn();
    cr_expect_eq(s.calls, 3);
    cr_expect_eq(gw_io_start(loop, &s.io, -1, EPOLLIN, on_io, &s), -EBADF);
}

Test(loop, one_stopped_in_the_turn_in_which_it_is_ready_is_not_called)
{
    struct seen a = {0}, b = {0};

    cr_assert_eq(gw_io_start(loop, &a.io, ends[0], EPOLLIN, on_io, &a), 0);
    cr_assert_eq(gw_io_start(loop, &b.io, more[0], EPOLLIN, on_io, &b), 0);
    a.stop = &b.io;
    b.stop = &a.io;
    cr_assert_eq(write(ends[1], "x", 1), 1);
    cr_assert_eq(write(more[1], "x", 1), 1);
    turn();
    cr_expect_eq(a.calls + b.calls, 1);
    gw_io_stop(&a.io);
    gw_io_stop(&b.io);
}

static unsigned order_count;

struct job {
    struct gw_task task;
    struct job *next;
    unsigned order, runs;
};

static void on_task(void *owner)
{
    struct job *j = owner;

    j->runs++;
    j->order = ++order_count;
    if (j->next)
        gw_task_post(loop, &j->next->task);
}

Test(loop, tasks_run_once_in_order_at_the_end_of_the_turn)
{
    struct job a = {0}, b = {0}, c = {0};
    struct job *const jobs[] = {&a, &b, &c};

    for (size_t i = 0; i < GW_COUNT(jobs); i++)
        gw_task_init(&jobs[i]->task, on_task, jobs[i]);
    gw_task_post(loop, &a.task);
    gw_task_post(loop, &b.task);
    gw_task_post(loop, &a.task); /* waits already */
    gw_task_post(loop, &c.task);
    gw_task_cancel(&c.task);
    gw_task_cancel(&c.task);
    turn();
    turn();
    cr_expect_eq(a.runs, 1);
    cr_expect_eq(b.runs, 1);
    cr_expect_eq(c.runs, 0);
    cr_expect_lt(a.order, b.order);
}

Test(loop, a_task_posted_by_a_task_runs_in_the_next_turn_without_waiting)
{
    struct job a = {0}, b = {0};

    gw_task_init(&a.task, on_task, &a);
    gw_task_init(&b.task, on_task, &b);
    a.next = &b;
    b.next = &a;
    gw_task_post(loop, &a.task);
    turn();
    cr_expect_eq(a.runs + b.runs, 1);
    cr_assert_eq(gw_loop_turn(loop, -1), 0); /* for ever, if it waited */
    cr_expect_eq(b.runs, 1);
    gw_task_cancel(&a.task);
}

static void stop_loop(void *owner)
{
    gw_loop_stop(owner);
}

Test(loop, runs_until_it_is_stopped)
{
    struct gw_task task;

    gw_task_init(&task, stop_loop, loop);
    gw_task_post(loop, &task);
    cr_expect_eq(gw_loop_run(loop), 0);
    gw_loop_free(&loop);
    cr_expect_null(loop);
    gw_loop_free(&loop);
    cr_assert_eq(gw_loop_new(&loop), 0);
}
