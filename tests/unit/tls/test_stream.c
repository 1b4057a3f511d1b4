/* SPDX-License-Identifier: GPL-2.0-only */
#include "tls/tls_test.h"

TestSuite(stream, .init = tls_setup, .fini = tls_teardown, .timeout = 60);

Test(stream, bytes_go_both_ways_and_a_close_in_order_is_heard_once)
{
    both_ready_as(&device);
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("hello ")), 0);
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("world")), 0);
    cr_expect_geq(gw_stream_pending(client.stream), 11);
    UNTIL(gw_buf_len(&server.got) == 11);
    cr_expect_eq(server.data, 1, "two writes, one record");
    cr_assert_eq(gw_stream_write(server.stream, GW_SLICE_LIT("back")), 0);
    gw_stream_close(server.stream, 0);
    cr_expect_eq(gw_stream_write(server.stream, GW_SLICE_LIT("late")), GW_ECLOSED);
    UNTIL(client.closed && server.closed);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&client.got), "back"));
    turns(5);
    cr_expect_eq(client.error, 0, "%s", gw_stream_detail(client.stream));
    cr_expect_eq(server.error, 0, "%s", gw_stream_detail(server.stream));
    cr_expect_str_eq(gw_stream_identity(server.stream)->device, "cam-1");
}

Test(stream, what_is_written_before_ready_follows_it)
{
    dial_as(client_cfg(&device));
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("early")), 0);
    UNTIL(server.data);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&server.got), "early"));
}

static void pause_now_and_then(struct party *p, enum gw_stream_event ev)
{
    if (ev == GW_STREAM_DATA)
        gw_stream_pause(p->stream, p->data % 3 == 0);
}

Test(stream, big_transfers_both_ways_with_slow_readers_arrive_whole)
{
    client.to_send = server.to_send = 6 << 20;
    client.on = server.on = pause_now_and_then;
    both_ready_as(&device);
    while (gw_buf_len(&server.got) < client.to_send || gw_buf_len(&client.got) < server.to_send) {
        turns(1);
        cr_assert_leq(gw_stream_pending(client.stream), test_limits.output_max * 2);
        gw_stream_pause(server.stream, false);
        gw_stream_pause(client.stream, false);
        party_pump(&client);
        party_pump(&server);
    }
    for (size_t i = 0; i < client.to_send; i++) {
        cr_assert_eq(server.got.data[server.got.head + i], pattern(i), "byte %zu", i);
        cr_assert_eq(client.got.data[client.got.head + i], pattern(i), "byte %zu", i);
    }
}

Test(stream, a_full_queue_refuses_and_says_when_there_is_room)
{
    static uint8_t chunk[100000];
    unsigned written = 0, drained;

    both_ready_as(&device);
    gw_stream_pause(server.stream, true);
    for (int turn = 0; turn < 200; turn++) {
        if (gw_stream_write(client.stream, GW_SLICE(chunk, sizeof(chunk))) == 0)
            written++;
        turns(1);
    }
    cr_expect_eq(gw_stream_write(client.stream, GW_SLICE(chunk, sizeof(chunk))), GW_EFULL);
    drained = client.drained;
    gw_stream_pause(server.stream, false);
    UNTIL(client.drained > drained);
    UNTIL(gw_buf_len(&server.got) == written * sizeof(chunk));
}

Test(stream, what_is_left_over_comes_again_with_more)
{
    struct gw_slice in;

    server.keep = true;
    both_ready_as(&device);
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("abc")), 0);
    UNTIL(server.data == 1);
    gw_stream_consume(server.stream, 1);
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("def")), 0);
    UNTIL(server.data == 2);
    in = gw_stream_input(server.stream);
    cr_expect(gw_slice_eq_str(in, "bcdef"));
    gw_stream_consume(server.stream, in.len);
    cr_expect_eq(gw_stream_input(server.stream).len, 0);
}

Test(stream, what_a_pause_held_back_comes_before_the_end)
{
    server.keep = true;
    both_ready_as(&device);
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("last ")), 0);
    UNTIL(server.data == 1);
    gw_stream_pause(server.stream, true);
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("words")), 0);
    gw_stream_close(client.stream, 0);
    turns(5);
    server.keep = false;
    cr_expect_eq(server.closed, 0);
    gw_stream_pause(server.stream, false);
    UNTIL(server.closed && client.closed);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&server.got), "last words"));
    cr_expect_eq(server.error, 0, "%s", gw_stream_detail(server.stream));
}

static void pause_at_once(struct party *p, enum gw_stream_event ev)
{
    if (ev == GW_STREAM_DATA && p->data == 1)
        gw_stream_pause(p->stream, true);
}

Test(stream, an_end_that_comes_with_the_last_bytes_waits_for_a_pause)
{
    server.keep = true;
    server.on = pause_at_once;
    both_ready_as(&device);
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("all at once")), 0);
    gw_stream_close(client.stream, 0);
    UNTIL(server.data == 1);
    turns(5);
    cr_expect_eq(server.closed, 0);
    server.keep = false;
    gw_stream_pause(server.stream, false);
    UNTIL(server.closed);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&server.got), "all at once"));
    cr_expect_eq(server.error, 0);
}

Test(stream, a_consumer_that_cannot_use_it_does_not_grow_for_ever)
{
    test_limits.input_max = 100000;
    server.keep = true;
    client.to_send = 200000;
    both_ready_as(&device);
    UNTIL(server.closed && client.closed);
    cr_expect_eq(server.error, GW_ETOOBIG);
}

Test(stream, all_that_was_queued_arrives_after_close)
{
    test_limits.output_max = 4 << 20;
    both_ready_as(&device);
    client.to_send = 3 << 20;
    party_pump(&client);
    cr_expect_eq(client.sent, client.to_send);
    gw_stream_close(client.stream, GW_EQUARANTINED);
    UNTIL(client.closed && server.closed);
    cr_expect_eq(gw_buf_len(&server.got), client.to_send);
    cr_expect_eq(client.error, GW_EQUARANTINED);
    cr_expect_eq(server.error, 0);
}

Test(stream, silence_ends_a_stream_that_has_an_idle_limit)
{
    test_limits.idle_ms = 200;
    both_ready_as(&device);
    UNTIL(server.closed && client.closed);
    cr_expect(server.error == GW_EIDLE || client.error == GW_EIDLE);
}

Test(stream, an_end_without_close_notify_is_a_reset)
{
    both_ready_as(&device);
    gw_stream_free(&client.stream);
    UNTIL(server.closed);
    cr_expect_eq(server.error, -ECONNRESET);
}

Test(stream, free_is_safe_in_every_event)
{
    for (int ev = GW_STREAM_READY; ev <= GW_STREAM_CLOSED; ev++) {
        server = (struct party){.free_on = ev + 1};
        client = (struct party){0};
        dial_as(client_cfg(&device));
        UNTIL(client.ready && (server.ready || server.closed));
        cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("x")), 0);
        if (ev == GW_STREAM_DRAINED &&
            server.stream) /* the handshake may have drained it already */
            cr_assert_eq(gw_stream_write(server.stream, GW_SLICE_LIT("y")), 0);
        turns(5);
        if (ev == GW_STREAM_CLOSED)
            gw_stream_close(client.stream, 0);
        UNTIL(!server.stream && client.closed);
        party_fini(&client);
        party_fini(&server);
    }
}

static void close_at_once(struct party *p, enum gw_stream_event ev)
{
    if (ev != GW_STREAM_CLOSED)
        gw_stream_close(p->stream, GW_EPROTOCOL);
}

Test(stream, close_in_a_callback_gives_closed_and_nothing_else)
{
    server.on = close_at_once;
    dial_as(client_cfg(&device));
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("x")), 0);
    UNTIL(server.closed && client.closed);
    cr_expect_eq(server.ready, 1);
    cr_expect_eq(server.data, 0);
    cr_expect_eq(server.error, GW_EPROTOCOL);
    cr_expect_eq(client.error, 0);
}

static struct party heir;

static void hand_over(struct party *p, enum gw_stream_event ev)
{
    if (ev == GW_STREAM_READY)
        party_attach(&heir, GW_TAKE(p->stream));
}

Test(stream, another_owner_may_take_over_in_a_callback)
{
    server.on = hand_over;
    dial_as(client_cfg(&device));
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("for the heir")), 0);
    UNTIL(heir.data);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&heir.got), "for the heir"));
    party_fini(&heir);
}

/* ---- peers that are no TLS peers ---- */

static int raw_connect(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(connect(fd, (struct sockaddr *)&listen_addr.sa, listen_addr.len), 0);
    return fd;
}

Test(stream, other_protocols_are_told_from_tls)
{
    static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                        "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c",
                                        "SSH-2.0-OpenSSH_9.2\r\n"};

    for (size_t i = 0; i < GW_COUNT(texts); i++) {
        int fd = raw_connect();

        server = (struct party){0};
        cr_assert_gt(write(fd, texts[i], i == 1 ? 12 : strlen(texts[i])), 0);
        shutdown(fd, SHUT_WR);
        UNTIL(server.closed);
        cr_expect_eq(server.error, GW_ETLS, "%s", gw_error_name(server.error));
        cr_expect_str_eq(gw_stream_detail(server.stream), "not TLS");
        close(fd);
        party_fini(&server);
    }
}

Test(stream, random_bytes_end_in_an_error)
{
    for (unsigned i = 0; i < 300; i++) {
        int fd = raw_connect();
        uint8_t junk[300];

        server = (struct party){0};
        cr_assert_eq(gw_random(junk, sizeof(junk)), 0);
        if (i % 3) { /* so that some of it is looked at */
            memcpy(junk, "\x16\x03\x01\x01\x20\x01\x00\x01\x1c\x03\x03", 11);
            junk[43] = i % 2 ? 32 : 0;
        }
        cr_assert_gt(write(fd, junk, sizeof(junk)), 0);
        shutdown(fd, SHUT_WR);
        UNTIL(server.closed);
        cr_expect_eq(server.ready, 0);
        cr_expect_lt(server.error, 0);
        close(fd);
        party_fini(&server);
    }
}

/* Stands between a client and the server, and passes on what it is told to. */
struct relay {
    int door, client_fd, server_fd;
    size_t passed; /* bytes from the client */
};

static void relay_open(struct relay *r)
{
    struct gw_tls_client_config cfg = client_cfg(&device);
    struct gw_addr at = loopback(0);
    struct gw_stream *s = NULL;

    *r = (struct relay){.door = socket(AF_INET, SOCK_STREAM, 0), .server_fd = raw_connect()};
    cr_assert_eq(bind(r->door, (struct sockaddr *)&at.sa, at.len), 0);
    cr_assert_eq(listen(r->door, 1), 0);
    cr_assert_eq(getsockname(r->door, (struct sockaddr *)&at.sa, &at.len), 0);
    cr_assert_eq(gw_tls_connect(loop, &at, &cfg, &test_limits, &s), 0);
    party_attach(&client, s);
    r->client_fd = accept(r->door, NULL, NULL);
}

static void relay_close(struct relay *r)
{
    close(r->client_fd);
    close(r->server_fd);
    close(r->door);
}

/* What is there now goes over, up to `len` bytes from the client in all; true when any went. */
static bool relay_pass(struct relay *r, size_t len, uint8_t flip)
{
    bool any = false;
    uint8_t buf[8192];
    ssize_t n;

    while (r->passed < len &&
           (n = recv(r->client_fd, buf, GW_MIN(sizeof(buf), len - r->passed), MSG_DONTWAIT)) > 0) {
        buf[n - 1] ^= flip;
        cr_assert_eq(send(r->server_fd, buf, (size_t)n, MSG_NOSIGNAL), n);
        r->passed += (size_t)n;
        any = true;
    }
    while ((n = recv(r->server_fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        cr_assert_eq(send(r->client_fd, buf, (size_t)n, MSG_NOSIGNAL), n);
        any = true;
    }
    return any;
}

Test(stream, a_handshake_cut_anywhere_ends_in_an_error)
{
    bool cut = true;

    for (size_t len = 1; cut; len += 13) {
        struct relay r;

        client = (struct party){0};
        server = (struct party){0};
        relay_open(&r);
        for (unsigned quiet = 0; quiet < 8 && r.passed < len; quiet++) {
            turns(2);
            if (relay_pass(&r, len, 0))
                quiet = 0;
        }
        cut = r.passed == len; /* otherwise it was longer than the handshake */
        turns(2);
        if (cut)
            cr_expect(!server.ready || len > 1000, "ready after %zu bytes", len);
        relay_close(&r);
        UNTIL(server.closed && client.closed);
        cr_expect_lt(server.error, 0, "after %zu bytes: %d", len, server.error);
        party_fini(&client);
        party_fini(&server);
    }
}

Test(stream, a_changed_record_ends_it)
{
    struct relay r;

    relay_open(&r);
    UNTIL((relay_pass(&r, SIZE_MAX, 0), client.ready && server.ready));
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("pay 1")), 0);
    UNTIL((relay_pass(&r, SIZE_MAX, 1), server.closed));
    cr_expect_eq(server.data, 0);
    cr_expect_eq(server.error, GW_ETLS);
    cr_expect_str_eq(gw_stream_detail(server.stream), "a record was changed");
    relay_close(&r);
    UNTIL(client.closed);
}

Test(stream, a_handshake_has_a_time_limit_on_both_sides)
{
    struct gw_tls_client_config cfg = client_cfg(&device);
    int fd = raw_connect(), door = socket(AF_INET, SOCK_STREAM, 0);
    struct gw_addr at = loopback(0);
    struct gw_stream *s = NULL;

    server_cfg.handshake_ms = 80;
    reconfigure();
    close(fd);
    UNTIL(server.closed);
    party_fini(&server);
    server = (struct party){0};
    fd = raw_connect();
    UNTIL(server.closed);
    cr_expect_eq(server.error, GW_ETIMEOUT);
    cr_expect_str_eq(gw_stream_detail(server.stream), "the handshake took too long");
    close(fd);

    cr_assert_eq(bind(door, (struct sockaddr *)&at.sa, at.len), 0);
    cr_assert_eq(listen(door, 1), 0);
    cr_assert_eq(getsockname(door, (struct sockaddr *)&at.sa, &at.len), 0);
    cfg.handshake_ms = 80;
    cr_assert_eq(gw_tls_connect(loop, &at, &cfg, &test_limits, &s), 0);
    party_attach(&client, s);
    UNTIL(client.closed);
    cr_expect_eq(client.error, GW_ETIMEOUT);
    close(door);
}

Test(stream, a_caller_that_says_nothing_and_leaves_is_an_error)
{
    int fd = raw_connect();

    close(fd);
    UNTIL(server.closed);
    cr_expect_eq(server.error, GW_ETLS);
    cr_expect_str_eq(gw_stream_detail(server.stream), "the peer ended the connection");
}

/* ---- many ---- */

#define MANY 1000

static struct party clients[MANY], servers[MANY];

static void on_one_of_many(void *owner, int fd, const struct gw_addr *peer)
{
    struct gw_stream *s = NULL;

    (void)owner;
    (void)peer;
    cr_assert_eq(gw_tls_accept(loop, tls_server, fd, &test_limits, &s), 0);
    party_attach(&servers[accepted++], s);
}

Test(stream, a_thousand_are_held_and_given_back)
{
    struct gw_tls_client_config cfg = client_cfg(&device);
    unsigned heard = 0;

    gw_listener_free(&listener);
    listen_on(loopback(0), on_one_of_many);
    for (unsigned i = 0; i < MANY; i++) {
        struct gw_stream *s = NULL;

        cr_assert_eq(gw_tls_connect(loop, &listen_addr, &cfg, &test_limits, &s), 0);
        party_attach(&clients[i], s);
        if (i % 32 == 31)
            UNTIL(clients[i].ready);
    }
    UNTIL(accepted == MANY);
    for (unsigned i = 0; i < MANY; i++) {
        UNTIL(clients[i].ready && servers[i].ready);
        cr_assert_str_eq(gw_stream_identity(servers[i].stream)->device, "cam-1");
        cr_assert_eq(gw_stream_write(clients[i].stream, GW_SLICE_LIT("x")), 0);
    }
    for (unsigned i = 0; i < MANY; i++) {
        UNTIL(servers[i].data);
        heard++;
    }
    cr_expect_eq(heard, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        party_fini(&clients[i]);
        party_fini(&servers[i]);
    }
}
