/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>

#include "fake_clock.h"

#define TIMERS 500
#define STEPS 8000
#define TICK_MS 4

static struct gw_loop *loop;

static void setup(void)
{
    cr_assert_eq(gw_loop_new(&loop), 0);
}

static void teardown(void)
{
    gw_loop_free(&loop);
}

TestSuite(timer, .init = setup, .fini = teardown);

static void turn_at(uint64_t now_ms)
{
    fake_now_ms = now_ms;
    cr_assert_eq(gw_loop_turn(loop, 0), 0);
}

static void count_up(void *owner)
{
    ++*(unsigned *)owner;
}

Test(timer, fires_once_not_before_its_time_and_at_most_a_tick_late)
{
    static const uint64_t delays[] = {
        0,        1,       2,    3,    4,      5,      7,      8,      1000,     1023,
        1024,     1025,    1028, 4096, 262143, 262144, 262145, 300000, 1u << 26, (1u << 28) - 1,
        1u << 28, 86400000};

    for (size_t i = 0; i < GW_COUNT(delays); i++) {
        uint64_t start = fake_now_ms, due = start + delays[i];
        struct gw_timer t;
        unsigned fired = 0;

        gw_timer_init(&t, count_up, &fired);
        gw_timer_start(loop, &t, delays[i]);
        cr_expect(gw_timer_armed(&t));
        if (due > start)
            turn_at(due - 1);
        cr_expect_eq(fired, 0, "%llu ms: early", (unsigned long long)delays[i]);
        turn_at(due + TICK_MS);
        cr_expect_eq(fired, 1, "%llu ms: late", (unsigned long long)delays[i]);
        cr_expect_not(gw_timer_armed(&t));
        turn_at(due + 10 * TICK_MS + i); /* another phase for the next one */
        cr_expect_eq(fired, 1, "%llu ms: again", (unsigned long long)delays[i]);
    }
}

Test(timer, stopping_and_moving_are_safe_at_any_time)
{
    struct gw_timer t = {0};
    unsigned fired = 0;

    gw_timer_stop(&t); /* never armed */
    gw_timer_init(&t, count_up, &fired);
    gw_timer_stop(&t);
    gw_timer_start(loop, &t, 100);
    gw_timer_stop(&t);
    gw_timer_stop(&t);
    turn_at(fake_now_ms + 200);
    cr_expect_eq(fired, 0);
    gw_timer_start(loop, &t, 100);
    gw_timer_start(loop, &t, 5000); /* moved away */
    turn_at(fake_now_ms + 200);
    cr_expect_eq(fired, 0);
    gw_timer_start(loop, &t, 8); /* and nearer */
    turn_at(fake_now_ms + 12);
    cr_expect_eq(fired, 1);
}

static struct gw_timer pair[2];
static unsigned pair_fired;

static void stop_both(void *owner)
{
    (void)owner;
    pair_fired++;
    gw_timer_stop(&pair[0]);
    gw_timer_stop(&pair[1]);
}

Test(timer, one_stopped_by_another_of_the_same_tick_does_not_fire)
{
    for (int i = 0; i < 2; i++) {
        gw_timer_init(&pair[i], stop_both, NULL);
        gw_timer_start(loop, &pair[i], 10);
    }
    turn_at(fake_now_ms + 100);
    cr_expect_eq(pair_fired, 1);
}

static struct gw_timer eager;
static unsigned eager_fired;

static void again_at_once(void *owner)
{
    (void)owner;
    cr_assert_lt(++eager_fired, 1000u, "the turn never ends");
    gw_timer_start(loop, &eager, 0);
}

Test(timer, one_that_starts_itself_again_leaves_room_for_others)
{
    gw_timer_init(&eager, again_at_once, NULL);
    for (unsigned phase = 0; phase < 8; phase++) {
        eager_fired = 0;
        gw_timer_start(loop, &eager, 0);
        turn_at(fake_now_ms + 8 + phase);
        cr_expect_leq(eager_fired, 2, "phase %u: %u", phase, eager_fired);
        cr_expect_geq(eager_fired, 1);
    }
    gw_timer_stop(&eager);
}

/* ---- against a model ---- */

struct subject {
    struct gw_timer timer;
    bool armed;
    uint64_t due_ms;
};

static struct subject subjects[TIMERS];
static uint64_t random_state;
static unsigned wrong;

static uint64_t random_below(uint64_t limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 20) % limit;
}

/* Short and long delays alike: every ring of the wheel, and its edges. */
static uint64_t random_delay(void)
{
    uint64_t delay = random_below(1ull << (1 + random_below(34)));

    return random_below(8) ? delay : delay & ~1023ull;
}

static void arm(struct subject *s)
{
    uint64_t delay = random_delay();

    gw_timer_start(loop, &s->timer, delay);
    s->armed = true;
    s->due_ms = gw_loop_now_ms(loop) + delay;
}

static void disarm(struct subject *s)
{
    gw_timer_stop(&s->timer);
    s->armed = false;
}

static void on_subject(void *owner)
{
    struct subject *s = owner;

    wrong += !s->armed || s->due_ms > gw_loop_now_ms(loop);
    s->armed = false;
    switch (random_below(4)) {
    case 0:
        arm(s);
        break;
    case 1:
        disarm(&subjects[random_below(TIMERS)]);
        break;
    case 2:
        arm(&subjects[random_below(TIMERS)]);
        break;
    default:
        break;
    }
}

/* Whoever was due a tick ago has fired. */
static unsigned overdue(void)
{
    unsigned count = 0;

    for (size_t i = 0; i < TIMERS; i++)
        count += subjects[i].armed && subjects[i].due_ms + TICK_MS <= gw_loop_now_ms(loop);
    return count;
}

static void random_step(void)
{
    struct subject *s = &subjects[random_below(TIMERS)];

    switch (random_below(3)) {
    case 0:
        arm(s);
        break;
    case 1:
        disarm(s);
        break;
    default:
        turn_at(fake_now_ms + random_delay() % (1u << (4 + random_below(24))));
        break;
    }
}

Test(timer, a_wheel_of_many_agrees_with_a_model)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        random_state = seed;
        for (size_t i = 0; i < TIMERS; i++) {
            gw_timer_init(&subjects[i].timer, on_subject, &subjects[i]);
            subjects[i].armed = false;
        }
        for (int step = 0; step < STEPS; step++) {
            random_step();
            cr_assert_eq(wrong, 0, "seed %llu, step %d: fired early, or stopped",
                         (unsigned long long)seed, step);
            if (step % 16 == 0)
                cr_assert_eq(overdue(), 0, "seed %llu, step %d", (unsigned long long)seed, step);
            for (size_t i = step % 97; i < TIMERS; i += 97)
                cr_assert_eq(gw_timer_armed(&subjects[i].timer), subjects[i].armed);
        }
        for (size_t i = 0; i < TIMERS; i++)
            gw_timer_stop(&subjects[i].timer);
    }
}
