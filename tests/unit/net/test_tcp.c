/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/net_test.h"

#include <netinet/tcp.h>
#include <sys/resource.h>

static struct party client;

static void setup(void)
{
    cr_assert_eq(gw_loop_new(&loop), 0);
    listen_on(loopback(0), on_accepted);
}

static void teardown(void)
{
    party_fini(&client);
    party_fini(&server);
    gw_listener_free(&listener);
    gw_loop_free(&loop);
}

TestSuite(tcp, .init = setup, .fini = teardown, .timeout = 30);

static void dial(void)
{
    struct gw_stream *s = NULL;

    cr_assert_eq(gw_tcp_connect(loop, &listen_addr, 5000, &test_limits, &s), 0);
    party_attach(&client, s);
}

static void both_ready(void)
{
    dial();
    UNTIL(client.ready && server.ready);
}

static void expect_got(const struct party *p, const char *text)
{
    cr_expect(gw_slice_eq_str(gw_buf_slice(&p->got), text), "got %zu bytes", gw_buf_len(&p->got));
}

/* A peer that lost its power says nothing, and without a keep-alive of its own nobody would ask. */
Test(tcp, the_kernel_asks_after_a_silent_peer)
{
    int on = 0, idle_s = 0;
    socklen_t len = sizeof(int);

    both_ready();
    cr_assert_eq(getsockopt(server_fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
    cr_assert_eq(getsockopt(server_fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, &len), 0);
    cr_expect_eq(on, 1);
    cr_expect_eq(idle_s, 300);
}

Test(tcp, bytes_go_both_ways_and_a_close_in_order_is_heard_once)
{
    char text[GW_ADDR_TEXT];

    both_ready();
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("hello ")), 0);
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("world")), 0);
    cr_expect_eq(gw_stream_pending(client.stream), 11);
    UNTIL(gw_buf_len(&server.got) == 11);
    cr_expect_eq(server.data, 1, "two writes, one send");
    expect_got(&server, "hello world");
    cr_expect_eq(gw_stream_pending(client.stream), 0);
    cr_assert_eq(gw_stream_write(server.stream, GW_SLICE_LIT("back")), 0);
    gw_stream_close(server.stream, 0);
    cr_expect_eq(gw_stream_write(server.stream, GW_SLICE_LIT("late")), GW_ECLOSED);
    UNTIL(client.closed && server.closed);
    expect_got(&client, "back");
    turns(5);
    cr_expect_eq(client.error, 0);
    cr_expect_eq(server.error, 0);
    cr_expect_str_eq(gw_stream_alpn(client.stream), "");
    cr_expect_str_eq(gw_stream_detail(client.stream), "");
    cr_expect_str_eq(gw_stream_identity(client.stream)->device, "");
    gw_addr_text(gw_stream_peer(server.stream), text);
    cr_expect_eq(strncmp(text, "127.0.0.1:", 10), 0, "%s", text);
}

Test(tcp, a_refused_connection_is_closed_and_never_ready)
{
    gw_listener_free(&listener);
    dial();
    UNTIL(client.closed);
    cr_expect_eq(client.error, -ECONNREFUSED);
    cr_expect_eq(client.ready, 0);
}

Test(tcp, a_connection_that_nobody_answers_times_out)
{
    GW_CLEANUP(gw_close_fd) int full = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int fill[4];
    struct gw_addr at = loopback(0);
    struct gw_stream *s = NULL;

    cr_assert_eq(bind(full, (struct sockaddr *)&at.sa, at.len), 0);
    cr_assert_eq(listen(full, 0), 0);
    cr_assert_eq(getsockname(full, (struct sockaddr *)&at.sa, &at.len), 0);
    for (size_t i = 0; i < GW_COUNT(fill); i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], (struct sockaddr *)&at.sa, at.len);
    }
    cr_assert_eq(gw_tcp_connect(loop, &at, 100, &test_limits, &s), 0);
    party_attach(&client, s);
    UNTIL(client.closed);
    cr_expect_eq(client.error, GW_ETIMEOUT);
    for (size_t i = 0; i < GW_COUNT(fill); i++)
        gw_close_fd(&fill[i]);
}

static void pause_now_and_then(struct party *p, enum gw_stream_event ev)
{
    if (ev == GW_STREAM_DATA)
        gw_stream_pause(p->stream, p->data % 3 == 0);
}

Test(tcp, a_big_transfer_with_a_slow_reader_arrives_whole)
{
    client.to_send = 8 << 20;
    server.on = pause_now_and_then;
    both_ready();
    while (gw_buf_len(&server.got) < client.to_send) {
        turns(1);
        cr_assert_leq(gw_stream_pending(client.stream), test_limits.output_max);
        gw_stream_pause(server.stream, false);
    }
    for (size_t i = 0; i < client.to_send; i++)
        cr_assert_eq(server.got.data[server.got.head + i], pattern(i), "byte %zu", i);
    cr_expect_gt(client.drained, 1);
}

Test(tcp, a_full_queue_refuses_and_says_when_there_is_room)
{
    static uint8_t chunk[100000];
    unsigned written = 0, drained;

    both_ready();
    gw_stream_pause(server.stream, true);
    for (int turn = 0; turn < 200; turn++) {
        if (gw_stream_write(client.stream, GW_SLICE(chunk, sizeof(chunk))) == 0)
            written++;
        turns(1);
    }
    cr_expect_eq(gw_stream_write(client.stream, GW_SLICE(chunk, sizeof(chunk))), GW_EFULL);
    cr_expect_gt(gw_stream_pending(client.stream), 0);
    drained = client.drained;
    gw_stream_pause(server.stream, false);
    UNTIL(client.drained > drained);
    cr_expect_leq(gw_stream_pending(client.stream), test_limits.output_max / 4);
    UNTIL(gw_buf_len(&server.got) == written * sizeof(chunk));
}

Test(tcp, what_is_left_over_comes_again_with_more)
{
    struct gw_slice in;

    server.keep = true;
    both_ready();
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("abc")), 0);
    UNTIL(server.data == 1);
    cr_expect(gw_slice_eq_str(gw_stream_input(server.stream), "abc"));
    gw_stream_consume(server.stream, 1);
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("def")), 0);
    UNTIL(server.data == 2);
    in = gw_stream_input(server.stream);
    cr_expect(gw_slice_eq_str(in, "bcdef"));
    gw_stream_consume(server.stream, in.len);
    cr_expect_eq(gw_stream_input(server.stream).len, 0);
}

Test(tcp, a_consumer_that_cannot_use_it_does_not_grow_for_ever)
{
    test_limits.input_max = 100000;
    server.keep = true;
    client.to_send = 200000;
    both_ready();
    UNTIL(server.closed && client.closed);
    cr_expect_eq(server.error, GW_ETOOBIG);
}

Test(tcp, silence_ends_a_stream_that_has_an_idle_limit)
{
    uint64_t start;

    test_limits.idle_ms = 400; /* long enough for a loaded machine */
    both_ready();
    start = gw_clock_mono_ms();
    while (gw_clock_mono_ms() - start < 600) { /* both hear something often enough */
        cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT(".")), 0);
        cr_assert_eq(gw_stream_write(server.stream, GW_SLICE_LIT(".")), 0);
        turns(10);
    }
    cr_expect_eq(server.closed, 0);
    UNTIL(server.closed && client.closed);
    cr_expect(server.error == GW_EIDLE || client.error == GW_EIDLE);
}

Test(tcp, a_reset_is_told_from_an_end)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(connect(fd, (struct sockaddr *)&listen_addr.sa, listen_addr.len), 0);
    UNTIL(server.ready);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(fd);
    UNTIL(server.closed);
    cr_expect_eq(server.error, -ECONNRESET);
}

Test(tcp, a_paused_stream_whose_peer_is_gone_does_not_spin)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    uint64_t start;
    unsigned count = 0;

    cr_assert_eq(connect(fd, (struct sockaddr *)&listen_addr.sa, listen_addr.len), 0);
    UNTIL(server.ready);
    gw_stream_pause(server.stream, true);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(fd);
    for (start = gw_clock_mono_ms(); gw_clock_mono_ms() - start < 100; count++)
        cr_assert_eq(gw_loop_turn(loop, 50), 0);
    cr_expect_lt(count, 10, "%u turns", count);
    cr_expect_eq(server.closed, 0);
    gw_stream_pause(server.stream, false);
    UNTIL(server.closed);
}

Test(tcp, what_a_pause_held_back_comes_before_the_end)
{
    server.keep = true;
    both_ready();
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("last words")), 0);
    UNTIL(server.data == 1);
    gw_stream_pause(server.stream, true);
    gw_stream_close(client.stream, 0);
    turns(5);
    server.keep = false;
    cr_expect_eq(server.closed, 0);
    gw_stream_pause(server.stream, false);
    UNTIL(server.closed && client.closed);
    expect_got(&server, "last words");
    cr_expect_eq(server.error, 0);
}

Test(tcp, all_that_was_queued_arrives_after_close)
{
    test_limits.output_max = 4 << 20;
    both_ready();
    client.to_send = 3 << 20;
    party_pump(&client);
    cr_expect_eq(client.sent, client.to_send);
    gw_stream_close(client.stream, GW_EQUARANTINED);
    UNTIL(client.closed && server.closed);
    cr_expect_eq(gw_buf_len(&server.got), client.to_send);
    cr_expect_eq(client.error, GW_EQUARANTINED);
    cr_expect_eq(server.error, 0);
}

Test(tcp, a_peer_that_never_reads_holds_a_closed_stream_for_seconds_only)
{
    test_limits.output_max = 32 << 20;
    both_ready();
    gw_stream_pause(server.stream, true);
    client.to_send = 30 << 20;
    party_pump(&client);
    gw_stream_close(client.stream, 0);
    UNTIL(client.closed);
    cr_expect_lt(gw_buf_len(&server.got), client.to_send);
}

static void close_at_once(struct party *p, enum gw_stream_event ev)
{
    if (ev != GW_STREAM_CLOSED)
        gw_stream_close(p->stream, GW_EPROTOCOL);
}

Test(tcp, close_in_a_callback_gives_closed_and_nothing_else)
{
    server.on = close_at_once;
    dial();
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("x")), 0, "before READY");
    UNTIL(server.closed && client.closed);
    cr_expect_eq(server.ready, 1);
    cr_expect_eq(server.data, 0);
    cr_expect_eq(server.error, GW_EPROTOCOL);
}

Test(tcp, free_is_safe_in_every_event)
{
    for (int ev = GW_STREAM_READY; ev <= GW_STREAM_CLOSED; ev++) {
        server = (struct party){.free_on = ev + 1};
        client = (struct party){0};
        dial();
        UNTIL(client.ready);
        UNTIL(server.stream || server.ready);
        if (ev != GW_STREAM_READY) /* otherwise the server's end may have been heard already */
            cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("x")), 0);
        if (ev == GW_STREAM_DRAINED) {
            UNTIL(server.ready);
            cr_assert_eq(gw_stream_write(server.stream, GW_SLICE_LIT("y")), 0);
        }
        turns(5);
        if (ev == GW_STREAM_CLOSED)
            gw_stream_close(client.stream, 0);
        UNTIL(!server.stream && client.closed);
        party_fini(&client);
        party_fini(&server);
    }
}

static struct party heir;

static void hand_over(struct party *p, enum gw_stream_event ev)
{
    if (ev == GW_STREAM_READY)
        party_attach(&heir, GW_TAKE(p->stream));
}

Test(tcp, another_owner_may_take_over_in_a_callback)
{
    server.on = hand_over;
    dial();
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("for the heir")), 0);
    UNTIL(heir.data);
    expect_got(&heir, "for the heir");
    cr_expect_eq(heir.ready, 0);
    party_fini(&heir);
}

Test(tcp, without_an_owner_nothing_is_read_and_nothing_lost)
{
    struct gw_stream *s = NULL;
    struct gw_buf big = {.max = 1 << 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0), other;

    cr_assert_eq(connect(fd, (struct sockaddr *)&listen_addr.sa, listen_addr.len), 0);
    UNTIL(accepted);
    other = dup(fd);
    cr_assert_eq(gw_tcp_stream_new(loop, fd, &test_limits, &s), 0);
    cr_assert_eq(gw_stream_write(server.stream, GW_SLICE_LIT("early")), 0);
    turns(5);
    cr_expect_eq(gw_stream_input(s).len, 0);
    party_attach(&client, s);
    UNTIL(client.data);
    expect_got(&client, "early");
    cr_expect_eq(client.ready, 1);
    close(other);
    gw_buf_fini(&big);
}

/* ---- listeners ---- */

static int taken[64];
static unsigned taken_count;

static void take(void *owner, int fd, const struct gw_addr *peer)
{
    (void)owner;
    (void)peer;
    taken[taken_count++] = fd;
}

static void connect_many(int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        cr_assert_eq(connect(fds[i], (struct sockaddr *)&listen_addr.sa, listen_addr.len), 0);
    }
}

Test(tcp, a_storm_is_taken_in_portions)
{
    int fds[40];

    gw_listener_free(&listener);
    listen_on(loopback(0), take);
    connect_many(fds, 40);
    turns(1);
    cr_expect_eq(taken_count, 16);
    turns(1);
    cr_expect_eq(taken_count, 32);
    UNTIL(taken_count == 40);
    for (unsigned i = 0; i < 40; i++) {
        close(fds[i]);
        close(taken[i]);
    }
}

Test(tcp, out_of_descriptors_rests_and_goes_on)
{
    struct rlimit old, low;
    unsigned count = 0;
    uint64_t start;
    int fds[4], next;

    gw_listener_free(&listener);
    listen_on(loopback(0), take);
    connect_many(fds, 4);
    next = dup(0);
    close(next);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = (struct rlimit){.rlim_cur = (rlim_t)next + 2, .rlim_max = old.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (start = gw_clock_mono_ms(); gw_clock_mono_ms() - start < 250; count++)
        cr_assert_eq(gw_loop_turn(loop, 50), 0);
    cr_expect_eq(taken_count, 2);
    cr_expect_lt(count, 20, "%u turns", count);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    UNTIL(taken_count == 4);
    for (unsigned i = 0; i < 4; i++) {
        close(fds[i]);
        close(taken[i]);
    }
}

Test(tcp, every_address_means_ipv4_too)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    struct gw_addr at = {.len = sizeof(any)};
    char text[GW_ADDR_TEXT];
    in_port_t port;

    memcpy(&at.sa, &any, sizeof(any));
    gw_listener_free(&listener);
    listen_on(at, on_accepted);
    port = ((struct sockaddr_in *)&listen_addr.sa)->sin_port; /* the same place in both families */
    listen_addr = loopback(ntohs(port));
    both_ready();
    cr_expect_eq(gw_stream_peer(server.stream)->sa.ss_family, AF_INET);
    gw_addr_text(gw_stream_peer(server.stream), text);
    cr_expect_eq(strncmp(text, "127.0.0.1:", 10), 0, "%s", text);
}

Test(tcp, a_taken_port_is_an_error)
{
    cr_expect_eq(gw_listen_tcp(&listen_addr), -EADDRINUSE);
}
