/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/net_test.h"
#include "websocket/websocket.h"

/*
 * The client is a plain TCP party that speaks frames byte by byte; the server is the layer under
 * test. A client's frame carries the mask 01 02 03 04.
 */
static struct party client;
static const char *early = "";

static void on_accepted_websocket(void *owner, int fd, const struct gw_addr *peer)
{
    struct gw_stream *tcp = NULL, *s = NULL;

    (void)owner;
    (void)peer;
    cr_assert_eq(gw_tcp_stream_new(loop, fd, &test_limits, &tcp), 0);
    cr_assert_eq(gw_websocket_new(loop, tcp, gw_slice_str(early), &test_limits, &s), 0);
    party_attach(&server, s);
    accepted++;
}

static void setup(void)
{
    struct gw_stream *s = NULL;

    test_limits.input_max = 100000;
    cr_assert_eq(gw_loop_new(&loop), 0);
    listen_on(loopback(0), on_accepted_websocket);
    cr_assert_eq(gw_tcp_connect(loop, &listen_addr, 5000, &test_limits, &s), 0);
    party_attach(&client, s);
    UNTIL(client.ready && accepted);
}

static void teardown(void)
{
    party_fini(&client);
    party_fini(&server);
    gw_listener_free(&listener);
    gw_loop_free(&loop);
}

TestSuite(frames, .init = setup, .fini = teardown, .timeout = 60);

enum { CONT = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80 };

/* One masked frame, with the header in its shortest form. */
static void frame(unsigned head, const void *payload, size_t len)
{
    static const uint8_t mask[4] = {1, 2, 3, 4};
    GW_CLEANUP(gw_buf_fini) struct gw_buf b = {.max = SIZE_MAX};
    uint8_t h[8] = {(uint8_t)head};
    size_t n = 2;

    if (len < 126) {
        h[1] = (uint8_t)(0x80 | len);
    } else {
        h[1] = 0x80 | 126;
        h[2] = (uint8_t)(len >> 8);
        h[3] = (uint8_t)len;
        n = 4;
    }
    cr_assert_eq(gw_buf_append(&b, GW_SLICE(h, n)), 0);
    cr_assert_eq(gw_buf_append(&b, GW_SLICE(mask, 4)), 0);
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)(((const uint8_t *)payload)[i] ^ mask[i % 4]);

        cr_assert_eq(gw_buf_append(&b, GW_SLICE(&c, 1)), 0);
    }
    cr_assert_eq(gw_stream_write(client.stream, gw_buf_slice(&b)), 0);
}

static void raw(const char *bytes, size_t len)
{
    cr_assert_eq(gw_stream_write(client.stream, GW_SLICE(bytes, len)), 0);
}

#define RAW(lit) raw("" lit, sizeof(lit) - 1)

static bool client_got(const void *want, size_t len)
{
    return gw_slice_eq(gw_buf_slice(&client.got), GW_SLICE(want, len));
}

#define CLIENT_GOT(lit) client_got("" lit, sizeof(lit) - 1)

static bool server_got(const char *want)
{
    return gw_slice_eq_str(gw_buf_slice(&server.got), want);
}

Test(frames, bytes_are_one_sequence_however_they_were_cut)
{
    frame(FIN | BINARY, "one ", 4);
    frame(BINARY, "two ", 4);
    frame(CONT, "thr", 3);
    frame(FIN | PING, "?", 1);
    frame(CONT, "", 0);
    frame(FIN | CONT, "ee", 2);
    UNTIL(server_got("one two three"));
    UNTIL(CLIENT_GOT("\x8a\x01?"));
    cr_expect_eq(server.ready, 1);
}

Test(frames, a_frame_byte_by_byte)
{
    const char bytes[] = "\x82\x85\x01\x02\x03\x04\x69\x67\x6f\x68\x6e";

    for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
        raw(bytes + i, 1);
        turns(2);
    }
    UNTIL(server_got("hello"));
}

Test(frames, what_a_turn_writes_is_one_binary_message)
{
    cr_assert_eq(gw_stream_write(server.stream, GW_SLICE_LIT("he")), 0);
    cr_assert_eq(gw_stream_write(server.stream, GW_SLICE_LIT("llo")), 0);
    cr_expect_geq(gw_stream_pending(server.stream), 5);
    UNTIL(gw_buf_len(&client.got));
    cr_expect(CLIENT_GOT("\x82\x05hello"));
    turns(2);
    cr_expect_eq(gw_stream_pending(server.stream), 0);
}

Test(frames, a_close_of_ours_is_answered_and_ends_in_order)
{
    cr_assert_eq(gw_stream_write(server.stream, GW_SLICE_LIT("x")), 0);
    gw_stream_close(server.stream, 0);
    cr_expect_eq(gw_stream_write(server.stream, GW_SLICE_LIT("late")), GW_ECLOSED);
    UNTIL(CLIENT_GOT("\x82\x01x\x88\x02\x03\xe8"));
    turns(5);
    cr_expect_eq(server.closed, 0, "waits for the other's Close");
    frame(FIN | BINARY, "not heard", 9);
    frame(FIN | CLOSE, "\x03\xe8", 2);
    UNTIL(server.closed && client.closed);
    cr_expect_eq(server.error, 0);
    cr_expect_eq(client.error, 0);
    cr_expect_eq(server.data, 0);
}

Test(frames, a_close_that_is_not_answered_ends_by_itself)
{
    gw_stream_close(server.stream, GW_EDENIED);
    UNTIL(server.closed);
    cr_expect_eq(server.error, GW_EDENIED);
    cr_expect(CLIENT_GOT("\x88\x02\x03\xf0"));
}

Test(frames, a_close_of_theirs_is_echoed_after_what_they_said)
{
    frame(FIN | BINARY, "last", 4);
    frame(FIN | CLOSE, "\x03\xe9", 2);
    UNTIL(server.closed && client.closed);
    cr_expect(server_got("last"));
    cr_expect_eq(server.error, 0);
    cr_expect(CLIENT_GOT("\x88\x02\x03\xe9"));
}

Test(frames, an_end_without_close_is_a_reset)
{
    gw_stream_close(client.stream, 0);
    UNTIL(server.closed);
    cr_expect_eq(server.error, -ECONNRESET);
}

/* wslay alone checks the text of a Close frame part by part, and skips two bytes of each. */
Test(frames, a_close_with_words_may_come_in_parts)
{
    const uint8_t bytes[] = {0x88, 0x86, 1,       2,        3,        4,
                             0x02, 0xea, 'a' ^ 3, 0xc3 ^ 4, 0xa9 ^ 1, 'b' ^ 2};

    for (size_t i = 0; i < sizeof(bytes); i++) {
        raw((const char *)bytes + i, 1);
        turns(2);
    }
    UNTIL(client.closed);
    cr_expect(CLIENT_GOT("\x88\x06\x03\xe8"
                         "a\xc3\xa9"
                         "b"));
    cr_expect_eq(server.error, 0);
}

Test(frames, a_close_whose_words_are_no_text_is_told_so_however_it_comes)
{
    const uint8_t bytes[] = {0x88, 0x84, 1, 2, 3, 4, 0x02, 0xea, 0xff ^ 3, 0xfe ^ 4};

    for (size_t i = 0; i < sizeof(bytes); i++) {
        raw((const char *)bytes + i, 1);
        turns(2);
    }
    UNTIL(client.closed);
    cr_expect(CLIENT_GOT("\x88\x02\x03\xef"));
    cr_expect_eq(server.error, GW_EPROTOCOL);
}

Test(frames, a_burst_of_pings_is_answered)
{
    enum { PINGS = 1000 };

    for (int i = 0; i < PINGS; i++)
        frame(FIN | PING, &i, 2);
    UNTIL(gw_buf_len(&client.got) == PINGS * 4 || server.closed);
    cr_assert_eq(server.closed, 0);
    for (int i = 0; i < PINGS; i++)
        cr_assert_eq(memcmp(client.got.data + client.got.head + i * 4 + 2, &i, 2), 0, "pong %d", i);
}

Test(frames, what_came_before_a_broken_frame_is_delivered)
{
    RAW("\x82\x81\x01\x02\x03\x04\x79\xc2\x80\x01\x02\x03\x04");
    UNTIL(server.closed);
    cr_expect(server_got("x"));
    UNTIL(CLIENT_GOT("\x88\x02\x03\xea"));
}

struct broken {
    const char *name, *bytes;
    size_t len;
    uint16_t code;
    int error;
};

#define ROW(name, lit, code, error)                                                                \
    {                                                                                              \
        name, "" lit, sizeof(lit) - 1, code, error                                                 \
    }

static const struct broken broken[] = {
    ROW("text", "\x81\x81\x01\x02\x03\x04\x60", 1003, GW_EPROTOCOL),
    ROW("not masked", "\x82\x01x", 1002, GW_EPROTOCOL),
    ROW("RSV1", "\xc2\x80\x01\x02\x03\x04", 1002, GW_EPROTOCOL),
    ROW("RSV3", "\x92\x80\x01\x02\x03\x04", 1002, GW_EPROTOCOL),
    ROW("reserved data opcode", "\x83\x80\x01\x02\x03\x04", 1002, GW_EPROTOCOL),
    ROW("reserved control opcode", "\x8b\x80\x01\x02\x03\x04", 1002, GW_EPROTOCOL),
    ROW("a long ping", "\x89\xfe\x00\x7e\x01\x02\x03\x04", 1002, GW_EPROTOCOL),
    ROW("a fragmented ping", "\x09\x80\x01\x02\x03\x04", 1002, GW_EPROTOCOL),
    ROW("a continuation of nothing", "\x80\x80\x01\x02\x03\x04", 1002, GW_EPROTOCOL),
    ROW("a second start", "\x02\x80\x01\x02\x03\x04\x82\x80\x01\x02\x03\x04", 1002, GW_EPROTOCOL),
    ROW("a length in too long a form", "\x82\xfe\x00\x01\x01\x02\x03\x04\x60", 1002, GW_EPROTOCOL),
    ROW("a length over 2^63", "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", 1002,
        GW_EPROTOCOL),
    ROW("half a close code", "\x88\x81\x01\x02\x03\x04\x02", 1002, GW_EPROTOCOL),
    ROW("a close with a forbidden code", "\x88\x82\x01\x02\x03\x04\x02\xef", 1002, GW_EPROTOCOL),
};

Test(frames, what_breaks_a_rule_is_told_so_and_delivers_nothing)
{
    for (size_t i = 0; i < GW_COUNT(broken); i++) {
        const struct broken *b = &broken[i];
        const char want[4] = {'\x88', 2, (char)(b->code >> 8), (char)b->code};

        if (i) {
            teardown();
            client = server = (struct party){0};
            accepted = 0;
            setup();
        }
        raw(b->bytes, b->len);
        UNTIL(server.closed);
        cr_expect_eq(server.error, b->error, "%s: %s", b->name, gw_error_text(server.error));
        UNTIL(client.closed);
        cr_expect(client_got(want, 4), "%s: got %zu bytes", b->name, gw_buf_len(&client.got));
        cr_expect_eq(gw_buf_len(&server.got), 0, "%s", b->name);
    }
}

Test(frames, more_than_the_limit_left_unread_ends_it)
{
    static uint8_t big[60000];

    server.keep = true;
    frame(FIN | BINARY, big, sizeof(big));
    UNTIL(server.data);
    frame(FIN | BINARY, big, sizeof(big));
    UNTIL(server.closed);
    cr_expect_eq(server.error, GW_ETOOBIG);
    UNTIL(CLIENT_GOT("\x88\x02\x03\xf1"));
}

Test(frames, a_paused_owner_is_left_alone_and_loses_nothing)
{
    gw_stream_pause(server.stream, true);
    frame(FIN | BINARY, "later", 5);
    turns(5);
    cr_expect_eq(server.data, 0);
    gw_stream_pause(server.stream, false);
    UNTIL(server_got("later"));
}

static void send_pattern(size_t total)
{
    static uint8_t chunk[5000];

    for (size_t at = 0; at < total; at += sizeof(chunk)) {
        for (size_t i = 0; i < sizeof(chunk); i++)
            chunk[i] = pattern(at + i);
        while (gw_stream_pending(client.stream) > 100000) {
            turns(1);
            gw_stream_pause(server.stream, false);
        }
        frame(FIN | BINARY, chunk, sizeof(chunk));
    }
}

static void pause_now_and_then(struct party *p, enum gw_stream_event ev)
{
    if (ev == GW_STREAM_DATA)
        gw_stream_pause(p->stream, p->data % 3 == 0);
}

Test(frames, a_big_transfer_to_a_slow_reader_arrives_whole)
{
    const size_t total = 1000000;

    server.on = pause_now_and_then;
    send_pattern(total);
    while (gw_buf_len(&server.got) < total) {
        turns(1);
        gw_stream_pause(server.stream, false);
    }
    for (size_t i = 0; i < total; i++)
        cr_assert_eq(server.got.data[server.got.head + i], pattern(i), "byte %zu", i);
}

Test(frames, a_full_queue_refuses_and_says_when_there_is_room)
{
    static uint8_t chunk[50000];
    unsigned drained;

    gw_stream_pause(client.stream, true);
    for (int turn = 0; turn < 300; turn++) {
        (void)!gw_stream_write(server.stream, GW_SLICE(chunk, sizeof(chunk)));
        turns(1);
        cr_assert_leq(gw_stream_pending(server.stream), test_limits.output_max + 4096);
    }
    cr_expect_eq(gw_stream_write(server.stream, GW_SLICE(chunk, sizeof(chunk))), GW_EFULL);
    drained = server.drained;
    gw_stream_pause(client.stream, false);
    UNTIL(server.drained > drained);
}

Test(frames, freeing_it_inside_any_event_is_safe)
{
    server.free_on = GW_STREAM_DATA + 1;
    frame(FIN | BINARY, "x", 1);
    frame(FIN | PING, "x", 1);
    UNTIL(!server.stream);
    UNTIL(client.closed);
}

Test(frames, pings_that_nobody_reads_the_answers_of_do_not_pile_up)
{
    static uint8_t load[125];

    gw_stream_pause(client.stream, true);
    for (int i = 0; i < 40000 && !server.closed; i++) {
        if (gw_stream_pending(client.stream) < 200000)
            frame(FIN | PING, load, sizeof(load));
        turns(i % 8 == 0);
        cr_assert_leq(gw_stream_pending(server.stream), test_limits.output_max + 100000);
    }
}
