/* SPDX-License-Identifier: GPL-2.0-only */
#include "world.h"

#define STREAM "GET /api/v1/events/stream HTTP/1.1\r\nHost: gw\r\n"

static void note(struct world *w, int i)
{
    gw_journal_alert(w->journal, GW_INFO, "test", NULL, NULL, "number %d", i);
}

Test(admin_stream, tells_each_event_as_it_comes)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf got = {.max = 1u << 20};
    char want[64];
    struct world w;
    int fd;

    world_open(&w);
    fd = world_dial(&w, LOCAL);
    world_say(fd, STREAM "\r\n");
    cr_assert(world_hear(&w, fd, &got, "text/event-stream"));
    cr_assert(world_hear(&w, fd, &got, ":\n"), "open at once");
    note(&w, 1);
    cr_expect(world_hear(&w, fd, &got, "number 1"));
    (void)snprintf(want, sizeof(want), "id: %llu\ndata: {",
                   (unsigned long long)gw_journal_last(w.journal));
    cr_expect(world_hear(&w, fd, &got, want));
    cr_expect_null(memmem(gw_buf_slice(&got).ptr, gw_buf_len(&got), "event:", 6));
    cr_expect_null(memmem(gw_buf_slice(&got).ptr, gw_buf_len(&got), "\"join\"", 6),
                   "what was before is not told");
    close(fd);
    world_turn(&w, 5);
    note(&w, 2);
    world_turn(&w, 5);
    world_close(&w);
}

/* Every number from `first` on, in order, each once, up to `last`. */
static void expect_in_order(const struct gw_buf *got, int first, int last)
{
    const char *at = (const char *)gw_buf_slice(got).ptr, *end = at + gw_buf_len(got);
    int next = first;

    while ((at = memmem(at, (size_t)(end - at), "\"number ", 8))) {
        cr_assert_eq(atoi(at + 8), next, "%d came for %d", atoi(at + 8), next);
        next++;
        at += 8;
    }
    cr_expect_eq(next, last + 1, "the last was %d", next - 1);
}

Test(admin_stream, tells_what_was_missed_and_goes_on_without_a_gap)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf got = {.max = 8u << 20};
    char request[256];
    uint64_t before;
    struct world w;
    int fd;

    world_open(&w);
    before = gw_journal_last(w.journal);
    for (int i = 1; i <= 950; i++) {
        note(&w, i);
        if (i % 100 == 0)
            world_turn(&w, 1);
    }
    fd = world_dial(&w, LOCAL);
    (void)snprintf(request, sizeof(request), STREAM "Last-Event-ID: %llu\r\n\r\n",
                   (unsigned long long)before + 10);
    world_say(fd, request);
    for (int i = 951; i <= 1000; i++) { /* while the past is still being read */
        world_turn(&w, 1);
        note(&w, i);
    }
    cr_expect(world_hear(&w, fd, &got, "number 1000"));
    expect_in_order(&got, 11, 1000);
    close(fd);
    world_close(&w);
}

Test(admin_stream, ignores_a_number_that_cannot_be)
{
    static const char *const headers[] = {"Last-Event-ID: x\r\n", "Last-Event-ID: 99999999\r\n",
                                          "Last-Event-ID: -1\r\n",
                                          "Last-Event-ID: 99999999999999999999999\r\n"};
    struct world w;

    world_open(&w);
    for (size_t i = 0; i < GW_COUNT(headers); i++) {
        GW_CLEANUP(gw_buf_fini) struct gw_buf got = {.max = 1u << 20};
        int fd = world_dial(&w, LOCAL);

        world_say(fd, STREAM);
        world_say(fd, headers[i]);
        world_say(fd, "\r\n");
        cr_assert(world_hear(&w, fd, &got, ":\n"), "%s", headers[i]);
        note(&w, (int)i);
        cr_expect(world_hear(&w, fd, &got, "number"), "%s", headers[i]);
        close(fd);
        world_turn(&w, 3);
    }
    world_close(&w);
}

Test(admin_stream, holds_no_more_streams_than_it_may)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf got = {.max = 1u << 20};
    struct world w;
    int fds[33];

    world_open(&w);
    for (int i = 0; i < 33; i++) {
        fds[i] = world_dial(&w, LOCAL);
        world_say(fds[i], STREAM "\r\n");
        world_turn(&w, 2);
    }
    cr_expect(world_hear(&w, fds[32], &got, " 503 "));
    for (int i = 0; i < 33; i++)
        close(fds[i]);
    world_turn(&w, 10);
    fds[0] = world_dial(&w, LOCAL);
    world_say(fds[0], STREAM "\r\n");
    cr_expect(world_hear(&w, fds[0], &got, " 200 "), "those that left make room");
    world_close(&w); /* with a live stream */
    close(fds[0]);
}
