/* SPDX-License-Identifier: GPL-2.0-only */
/** What the tests of streams share: a loop, a listener on loopback, and parties that take notes. */
#pragma once

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "net/net.h"

struct party {
    struct gw_stream *stream;
    unsigned ready, data, drained, closed;
    int error;
    struct gw_buf got;
    bool keep;   /* leave input unconsumed */
    int free_on; /* event in which to free the stream, plus one */
    void (*on)(struct party *p, enum gw_stream_event ev);
    size_t to_send, sent; /* a pattern to write as room allows */
};

static struct gw_loop *loop;
static struct gw_listener *listener;
static struct gw_addr listen_addr;
static struct party server; /* the last accepted */
static int server_fd;
static unsigned accepted;
static struct gw_stream_limits test_limits = {.output_max = 256 * 1024};

static inline uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 31 + i / 251);
}

static inline void party_pump(struct party *p)
{
    uint8_t chunk[8192];

    while (p->sent < p->to_send) {
        size_t n = GW_MIN(sizeof(chunk), p->to_send - p->sent);

        for (size_t i = 0; i < n; i++)
            chunk[i] = pattern(p->sent + i);
        if (gw_stream_write(p->stream, GW_SLICE(chunk, n)))
            return;
        p->sent += n;
    }
}

static inline void party_event(void *owner, enum gw_stream_event ev)
{
    struct party *p = owner;

    cr_assert_eq(p->closed, 0, "an event after CLOSED");
    if (ev == GW_STREAM_READY)
        p->ready++;
    if (ev == GW_STREAM_DRAINED)
        p->drained++;
    if (ev == GW_STREAM_DATA) {
        struct gw_slice in = gw_stream_input(p->stream);

        p->data++;
        if (!p->keep) {
            cr_assert_eq(gw_buf_append(&p->got, in), 0);
            gw_stream_consume(p->stream, in.len);
        }
    }
    if (ev == GW_STREAM_CLOSED) {
        p->closed++;
        p->error = gw_stream_error(p->stream);
    }
    if (ev != GW_STREAM_CLOSED && p->to_send)
        party_pump(p);
    if (p->on)
        p->on(p, ev);
    if (p->free_on == (int)ev + 1)
        gw_stream_free(&p->stream);
}

static inline void party_attach(struct party *p, struct gw_stream *s)
{
    p->stream = s;
    p->got.max = 64 << 20;
    gw_stream_attach(s, party_event, p);
}

static inline void on_accepted(void *owner, int fd, const struct gw_addr *peer)
{
    struct gw_stream *s = NULL;

    (void)owner;
    (void)peer;
    accepted++;
    server_fd = fd;
    cr_assert_eq(gw_tcp_stream_new(loop, fd, &test_limits, &s), 0);
    party_attach(&server, s);
}

static inline struct gw_addr loopback(uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct gw_addr a = {.len = sizeof(in)};

    memcpy(&a.sa, &in, sizeof(in));
    return a;
}

static inline void listen_on(struct gw_addr at, gw_accept_fn *fn)
{
    int fd = gw_listen_tcp(&at);

    cr_assert_geq(fd, 0);
    listen_addr = at;
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&listen_addr.sa, &listen_addr.len), 0);
    cr_assert_eq(gw_listener_new(loop, fd, 16, fn, NULL, &listener), 0);
}

/** Turns until `done` is not zero; fails the test after ten seconds. */
#define UNTIL(done)                                                                                \
    do {                                                                                           \
        uint64_t limit_ = gw_clock_mono_ms() + 10000;                                              \
        while (!(done)) {                                                                          \
            cr_assert_lt(gw_clock_mono_ms(), limit_, "not in time: %s", #done);                    \
            cr_assert_eq(gw_loop_turn(loop, 50), 0);                                               \
        }                                                                                          \
    } while (0)

static inline void turns(unsigned n)
{
    while (n-- > 0)
        cr_assert_eq(gw_loop_turn(loop, 1), 0);
}

static inline void party_fini(struct party *p)
{
    gw_stream_free(&p->stream);
    gw_buf_fini(&p->got);
}
