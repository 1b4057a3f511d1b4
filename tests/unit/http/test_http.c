/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/socket.h>

#include "http/http.h"

/*
 * A server over socket pairs: the test is the client, writes raw bytes and reads raw bytes, turning
 * the loop meanwhile.
 */
struct world {
    struct gw_loop *loop;
    struct gw_http *http;
    struct gw_http_request *late;   /* kept by the handler of /late */
    struct gw_http_request *stream; /* kept by the handler of /stream */
    unsigned gone;
    struct gw_stream *upgraded; /* by /up */
    struct gw_buf early;
};

static void note_gone(void *owner, struct gw_http_request *r)
{
    struct world *w = owner;

    w->gone++;
    if (w->late == r)
        w->late = NULL;
    if (w->stream == r)
        w->stream = NULL;
}

static void on_hello(void *owner, struct gw_http_request *r)
{
    const char *q = gw_http_query(r, "q"), *cookie = gw_http_cookie(r, "sid");
    char text[256];

    (void)owner;
    (void)snprintf(text, sizeof(text), "[%s|%s|%s|%s]", gw_http_segment(r, 0),
                   gw_http_segment(r, 1), q ? q : "-", cookie ? cookie : "-");
    gw_http_set_header(r, "X-Test", "1");
    gw_http_reply(r, 200, "text/plain", gw_slice_str(text));
}

static void on_echo(void *owner, struct gw_http_request *r)
{
    (void)owner;
    gw_http_reply(r, 200, "application/octet-stream", gw_http_body(r));
}

static void on_json(void *owner, struct gw_http_request *r)
{
    json_t *body = gw_http_json(r);

    (void)owner;
    if (body)
        gw_http_reply_json(r, 201, body);
}

static void on_late(void *owner, struct gw_http_request *r)
{
    struct world *w = owner;

    w->late = r;
    gw_http_on_gone(r, note_gone, w);
}

static void on_stream(void *owner, struct gw_http_request *r)
{
    struct world *w = owner;

    w->stream = r;
    gw_http_on_gone(r, note_gone, w);
    gw_http_stream(r);
}

static void on_big(void *owner, struct gw_http_request *r)
{
    static uint8_t big[3u << 20];

    (void)owner;
    memset(big, 'x', sizeof(big));
    gw_http_reply_static(r, 200, "text/plain", GW_SLICE(big, sizeof(big)));
}

static void on_login(void *owner, struct gw_http_request *r)
{
    char *user = NULL, *password = NULL;

    (void)owner;
    if (gw_http_basic(r, &user, &password))
        gw_http_reply(r, 200, "text/plain", gw_slice_str(password));
    else
        gw_http_problem(r, 401, "no");
    free(user);
    free(password);
}

static void on_upgraded(void *owner, struct gw_stream *stream, struct gw_slice early)
{
    struct world *w = owner;

    w->upgraded = stream;
    w->early.max = 1u << 20;
    cr_assert_eq(gw_buf_append(&w->early, early), 0);
}

static void on_up(void *owner, struct gw_http_request *r)
{
    gw_http_set_header(r, "X-Accept", "yes");
    gw_http_upgrade(r, "test", on_upgraded, owner);
}

static bool before(void *owner, struct gw_http_request *r)
{
    (void)owner;
    if (gw_http_route_flags(r) != 7)
        return true;
    gw_http_problem(r, 403, "not %s", "you");
    return false;
}

static const struct gw_http_route routes[] = {
    {GW_GET, "/hello/{}/to/{}", on_hello, 0},
    {GW_GET | GW_PUT, "/files/*", on_hello, 0},
    {GW_POST | GW_PUT, "/echo", on_echo, 0},
    {GW_POST, "/json", on_json, 0},
    {GW_GET, "/late", on_late, 0},
    {GW_POST, "/late", on_late, 0},
    {GW_GET, "/stream", on_stream, 0},
    {GW_GET, "/big", on_big, 0},
    {GW_GET, "/secret", on_echo, 7},
    {GW_GET, "/login", on_login, 0},
    {0},
};

static const struct gw_http_route more_routes[] = {
    {GW_GET, "/up", on_up, 0},
    {GW_GET, "/hello/{}/to/{}", on_echo, 0}, /* the other table has it first */
    {0},
};

static void world_open(struct world *w, uint32_t idle_s)
{
    struct gw_http_config cfg = {
        .body_max = 1000, .idle_s = idle_s, .connections = 3, .before = before, .owner = w};

    *w = (struct world){0};
    cr_assert_eq(gw_loop_new(&w->loop), 0);
    cr_assert_eq(gw_http_new(w->loop, &cfg, &w->http), 0);
    cr_assert_eq(gw_http_mount(w->http, routes, w), 0);
    cr_assert_eq(gw_http_mount(w->http, more_routes, w), 0);
}

static void world_close(struct world *w)
{
    gw_stream_free(&w->upgraded);
    gw_buf_fini(&w->early);
    gw_http_free(&w->http);
    gw_loop_free(&w->loop);
}

static int try_dial(struct world *w, int *out)
{
    struct gw_stream_limits limits = {.output_max = 256u << 10};
    struct gw_stream *stream;
    int fds[2], err;

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *out = fds[0];
    cr_assert_eq(gw_tcp_stream_new(w->loop, fds[1], &limits, &stream), 0);
    err = gw_http_serve(w->http, stream);
    return err;
}

static int dial(struct world *w)
{
    int fd;

    cr_assert_eq(try_dial(w, &fd), 0);
    return fd;
}

static void turn(struct world *w, int times)
{
    for (int i = 0; i < times; i++)
        cr_assert_eq(gw_loop_turn(w->loop, 5), 0);
}

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Turn the loop until `needle` (NULL: the end of the connection) has come, or time is up. */
static bool hear(struct world *w, int fd, struct gw_buf *got, const char *needle)
{
    for (int i = 0; i < 400; i++) {
        char buf[8192];
        ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

        if (n == 0)
            return needle == NULL;
        if (n > 0)
            cr_assert_eq(gw_buf_append(got, GW_SLICE(buf, n)), 0);
        if (needle && gw_buf_len(got) &&
            memmem(gw_buf_slice(got).ptr, gw_buf_len(got), needle, strlen(needle)))
            return true;
        if (n < 0)
            cr_assert_eq(gw_loop_turn(w->loop, 5), 0);
    }
    return false;
}

static bool answers(struct world *w, const char *request, const char *needle)
{
    struct gw_buf got = {.max = 8u << 20};
    int fd = dial(w);
    bool found;

    say(fd, request);
    found = hear(w, fd, &got, needle);
    if (!found && gw_buf_len(&got))
        cr_log_warn("got: %.*s", (int)gw_buf_len(&got), (const char *)gw_buf_slice(&got).ptr);
    gw_buf_fini(&got);
    close(fd);
    turn(w, 3);
    return found;
}

#define H " HTTP/1.1\r\nHost: x\r\n"

Test(http, answers_each_request_in_its_own_way)
{
    static const struct {
        const char *name, *request, *want;
    } cases[] = {
        {"segments are decoded", "GET /hello/a%2Fb/to/c%20d?q=1%2b2" H "\r\n", "[a/b|c d|1+2|-]"},
        {"a cookie is found", "GET /hello/a/to/b" H "Cookie: a=b; sid=99\r\n\r\n", "[a|b|-|99]"},
        {"the rest behind a star", "GET /files/x/y.html" H "\r\n", "[x/y.html||-|-]"},
        {"a handler's header", "GET /files/" H "\r\n", "X-Test: 1\r\n"},
        {"an unknown path", "GET /nothing" H "\r\n", "404 Not Found\r\n"},
        {"a problem has its type", "GET /nothing" H "\r\n", "application/problem+json"},
        {"a wrong method", "DELETE /files/x" H "\r\n", "405 Method Not Allowed\r\n"},
        {"says what is allowed", "DELETE /files/x" H "\r\n", "Allow: GET, HEAD, PUT\r\n"},
        {"an odd method", "BREW /files/x" H "\r\n", "405 Method Not Allowed\r\n"},
        {"a NUL in the path", "GET /files/%00" H "\r\n", "400 Bad Request\r\n"},
        {"half an escape", "GET /hello/%4/to/b" H "\r\n", "400 Bad Request\r\n"},
        {"an empty segment", "GET /hello//to/b" H "\r\n", "404 Not Found\r\n"},
        {"a badly escaped query", "GET /hello/a/to/b?q=%zz" H "\r\n", "[a|b|-|-]"},
        {"no Host header", "GET /files/x HTTP/1.1\r\n\r\n", "400 Bad Request\r\n"},
        {"garbage", "\x16\x03\x01\r\n\r\n", NULL},
        {"a body comes back", "POST /echo" H "Content-Length: 5\r\n\r\nhello", "\r\n\r\nhello"},
        {"a chunked body", "PUT /echo" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
         "\r\n\r\nabc"},
        {"a body that says it is too long",
         "POST /echo" H "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n",
         "413 Content Too Large\r\n"},
        {"a client that asks first",
         "POST /echo" H "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n", "100 Continue\r\n"},
        {"JSON", "POST /json" H "Content-Length: 7\r\n\r\n{\"a\":1}", "{\"a\":1}"},
        {"no body is an empty object", "POST /json" H "Content-Length: 0\r\n\r\n", "{}"},
        {"an array is no object", "POST /json" H "Content-Length: 2\r\n\r\n[]", "400 Bad Request"},
        {"half an object", "POST /json" H "Content-Length: 2\r\n\r\n{\"", "not valid JSON"},
        {"one name twice", "POST /json" H "Content-Length: 13\r\n\r\n{\"a\":1,\"a\":2}", "400 Bad"},
        {"before refuses", "GET /secret" H "\r\n", "403 Forbidden\r\n"},
        {"basic", "GET /login" H "Authorization: Basic dTpLWE1SLTdRNEQ=\r\n\r\n", "\r\nKXMR-7Q4D"},
        {"bearer is not basic", "GET /login" H "Authorization: Bearer dTpL\r\n\r\n", "401 Unauth"},
    };
    struct world w;

    world_open(&w, 10);
    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect(answers(&w, cases[i].request, cases[i].want), "%s", cases[i].name);
    world_close(&w);
}

Test(http, refuses_a_chunked_body_over_the_limit)
{
    struct gw_buf got = {.max = 1u << 20};
    struct world w;
    char chunk[600];
    int fd;

    world_open(&w, 10);
    fd = dial(&w);
    say(fd, "POST /echo" H "Transfer-Encoding: chunked\r\n\r\n");
    memset(chunk, 'a', sizeof(chunk));
    for (int i = 0; i < 3; i++) {
        say(fd, "258\r\n");
        cr_assert_eq(send(fd, chunk, sizeof(chunk), 0), 600);
        say(fd, "\r\n");
        turn(&w, 2);
    }
    say(fd, "0\r\n\r\n");
    cr_expect(hear(&w, fd, &got, "413 "));
    gw_buf_fini(&got);
    close(fd);
    world_close(&w);
}

Test(http, serves_pipelined_requests_in_order)
{
    struct gw_buf got = {.max = 1u << 20};
    struct world w;
    const char *first, *second;
    int fd;

    world_open(&w, 10);
    fd = dial(&w);
    say(fd, "GET /late" H "\r\nGET /files/second" H "\r\n");
    turn(&w, 5);
    cr_assert_not_null(w.late);
    gw_http_reply(w.late, 200, "text/plain", GW_SLICE_LIT("first"));
    cr_assert(hear(&w, fd, &got, "[second|"));
    first = memmem(gw_buf_slice(&got).ptr, gw_buf_len(&got), "first", 5);
    second = memmem(gw_buf_slice(&got).ptr, gw_buf_len(&got), "[second", 7);
    cr_expect(first && second && first < second);
    cr_expect_eq(w.gone, 0);
    say(fd, "GET /files/third" H "Connection: close\r\n\r\n");
    cr_expect(hear(&w, fd, &got, NULL), "the connection ends when the client asked for it");
    gw_buf_fini(&got);
    close(fd);
    world_close(&w);
}

Test(http, tells_once_when_the_client_leaves_before_the_answer)
{
    struct world w;
    int fd;

    world_open(&w, 10);
    fd = dial(&w);
    say(fd, "POST /late" H "Content-Length: 2\r\n\r\nhi");
    turn(&w, 5);
    cr_assert_not_null(w.late);
    close(fd);
    turn(&w, 5);
    cr_expect_eq(w.gone, 1);
    cr_expect_null(w.late);
    world_close(&w);
    cr_expect_eq(w.gone, 1);
}

Test(http, streams_events_until_one_side_ends_it)
{
    struct gw_buf got = {.max = 1u << 20};
    struct world w;
    int fd;

    world_open(&w, 10);
    fd = dial(&w);
    say(fd, "GET /stream" H "\r\n");
    cr_assert(hear(&w, fd, &got, ": open") || hear(&w, fd, &got, ":\n\n"));
    cr_assert(memmem(gw_buf_slice(&got).ptr, gw_buf_len(&got), "text/event-stream", 17));
    cr_assert_eq(gw_http_event(w.stream, 41, "tick", GW_SLICE_LIT("one\ntwo")), 0);
    cr_expect(hear(&w, fd, &got, "id: 41\nevent: tick\ndata: one\ndata: two\n\n"));
    cr_assert_eq(gw_http_event(w.stream, 0, NULL, GW_SLICE_LIT("")), 0);
    cr_expect(hear(&w, fd, &got, "data: \n\n"));
    gw_http_end(w.stream);
    cr_expect(hear(&w, fd, &got, "\r\n0\r\n\r\n"), "the last chunk comes");
    cr_expect_eq(w.gone, 0);
    say(fd, "GET /stream" H "\r\n"); /* the connection lives on */
    turn(&w, 5);
    cr_assert_eq(gw_http_event(w.stream, 0, NULL, GW_SLICE_LIT("again")), 0);
    cr_expect(hear(&w, fd, &got, "data: again\n\n"));
    close(fd);
    turn(&w, 5);
    cr_expect_eq(w.gone, 1);
    gw_buf_fini(&got);
    world_close(&w);
}

Test(http, bounds_what_a_slow_reader_of_events_is_owed)
{
    uint8_t line[1000];
    struct world w;
    int fd, err = 0;

    world_open(&w, 10);
    fd = dial(&w);
    say(fd, "GET /stream" H "\r\n");
    turn(&w, 5);
    memset(line, 'e', sizeof(line));
    for (int i = 0; i < 4000 && !err; i++) {
        err = gw_http_event(w.stream, 0, NULL, GW_SLICE(line, sizeof(line)));
        turn(&w, 1);
    }
    cr_expect_eq(err, GW_EFULL);
    gw_http_end(w.stream);
    close(fd);
    world_close(&w);
}

Test(http, sends_a_long_answer_to_a_slow_reader)
{
    struct gw_buf got = {.max = 8u << 20};
    struct world w;
    int fd;

    world_open(&w, 10);
    fd = dial(&w);
    say(fd, "GET /big" H "\r\n");
    turn(&w, 20); /* everything between MHD and here fills up */
    for (int i = 0; i < 4000 && gw_buf_len(&got) < (3u << 20); i++) {
        char buf[4096];
        ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

        if (n > 0)
            cr_assert_eq(gw_buf_append(&got, GW_SLICE(buf, n)), 0);
        else
            turn(&w, 1);
    }
    cr_expect_geq(gw_buf_len(&got), 3u << 20);
    gw_buf_fini(&got);
    close(fd);
    world_close(&w);
}

Test(http, closes_an_idle_connection)
{
    struct gw_buf got = {.max = 1u << 20};
    struct world w;
    int fd;

    world_open(&w, 1);
    fd = dial(&w);
    say(fd, "GET /files/x" H "\r\n");
    cr_assert(hear(&w, fd, &got, "[x|"));
    cr_expect(hear(&w, fd, &got, NULL));
    gw_buf_fini(&got);
    close(fd);
    world_close(&w);
}

Test(http, lets_the_quietest_idle_connection_give_way)
{
    struct gw_buf got = {.max = 1u << 20};
    struct world w;
    int fds[4];

    world_open(&w, 10);
    for (int i = 0; i < 3; i++)
        fds[i] = dial(&w);
    say(fds[0], "GET /files/x" H "\r\n"); /* fds[1] is the quietest now */
    cr_assert(hear(&w, fds[0], &got, "[x|"));
    fds[3] = dial(&w);
    cr_expect(hear(&w, fds[1], &got, NULL), "it was closed");
    say(fds[0], "GET /files/again" H "\r\n");
    cr_expect(hear(&w, fds[0], &got, "[again|"));
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    gw_buf_fini(&got);
    world_close(&w);
}

Test(http, refuses_one_more_when_all_are_at_a_request)
{
    struct world w;
    int fds[4];

    world_open(&w, 10);
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(&w);
        say(fds[i], "GET /late" H "\r\n");
    }
    turn(&w, 8);
    cr_expect_eq(try_dial(&w, &fds[3]), GW_EFULL);
    close(fds[3]);
    close(fds[0]);
    turn(&w, 8);
    cr_expect_eq(w.gone, 1);
    cr_expect_eq(try_dial(&w, &fds[0]), 0, "one that left makes room");
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    world_close(&w);
}

Test(http, ends_everything_that_is_alive_when_freed)
{
    struct world w;
    int waiting, streaming, half;

    world_open(&w, 10);
    waiting = dial(&w);
    say(waiting, "GET /late" H "\r\n");
    streaming = dial(&w);
    say(streaming, "GET /stream" H "\r\n");
    half = dial(&w);
    say(half, "GET /fil");
    turn(&w, 8);
    cr_assert(w.late && w.stream);
    cr_assert_eq(gw_http_event(w.stream, 1, NULL, GW_SLICE_LIT("x")), 0);
    world_close(&w);
    cr_expect_eq(w.gone, 2);
    close(waiting);
    close(streaming);
    close(half);
}

#define UP "GET /up" H "Connection: Upgrade\r\nUpgrade: test\r\n\r\n"

static void note_event(void *owner, enum gw_stream_event ev)
{
    unsigned *events = owner;

    *events |= 1u << ev;
}

Test(http, an_upgraded_connection_leaves_with_all_that_was_sent_behind_the_request)
{
    static const char *const behind[] = {"", "x", "more"};
    struct gw_buf got = {.max = 1u << 20};
    struct world w;
    unsigned events = 0;
    char text[256];

    for (size_t i = 0; i < GW_COUNT(behind); i++) {
        struct gw_slice in;
        int fd;

        world_open(&w, 10);
        fd = dial(&w);
        (void)snprintf(text, sizeof(text), UP "%s", behind[i]);
        say(fd, text);
        cr_expect(hear(&w, fd, &got, "X-Accept: yes\r\n"));
        cr_expect(gw_slice_starts(gw_buf_slice(&got), "HTTP/1.1 101 Switching Protocols\r\n"));
        cr_assert_not_null(w.upgraded);
        cr_expect(gw_slice_eq_str(gw_buf_slice(&w.early), behind[i]));
        gw_buf_consume(&got, gw_buf_len(&got));

        gw_stream_attach(w.upgraded, note_event, &events);
        say(fd, "to the stream");
        turn(&w, 3);
        in = gw_stream_input(w.upgraded);
        cr_expect(gw_slice_eq_str(in, "to the stream"));
        cr_assert_eq(gw_stream_write(w.upgraded, GW_SLICE_LIT("from it")), 0);
        cr_expect(hear(&w, fd, &got, "from it"));
        gw_buf_consume(&got, gw_buf_len(&got));
        close(fd);
        turn(&w, 5);
        cr_expect(events & 1u << GW_STREAM_CLOSED);
        world_close(&w);
    }
    gw_buf_fini(&got);
}

Test(http, a_place_that_an_upgraded_connection_leaves_is_free_again)
{
    struct gw_buf got = {.max = 1u << 20};
    struct world w;
    int fds[6];

    world_open(&w, 10); /* three connections at most */
    for (size_t i = 0; i < GW_COUNT(fds); i++) {
        fds[i] = dial(&w);
        say(fds[i], UP);
        cr_expect(hear(&w, fds[i], &got, "X-Accept: yes\r\n"));
        gw_buf_consume(&got, gw_buf_len(&got));
        turn(&w, 3);
        gw_stream_free(&w.upgraded);
    }
    for (size_t i = 0; i < GW_COUNT(fds); i++)
        close(fds[i]);
    gw_buf_fini(&got);
    world_close(&w);
}

Test(http, a_client_that_leaves_right_after_asking_leaks_nothing)
{
    struct world w;

    world_open(&w, 10);
    for (int i = 0; i < 20; i++) {
        int fd = dial(&w);

        say(fd, UP);
        turn(&w, i % 3);
        close(fd);
        turn(&w, 4);
        gw_stream_free(&w.upgraded);
    }
    world_close(&w);
}
