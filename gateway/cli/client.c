/* SPDX-License-Identifier: GPL-2.0-only */
/* The admin API over its Unix socket, through libcurl. */
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli_priv.h"

#define ANSWER_MAX (256u << 20)
#define PATIENCE_S 30L
#define RETRY_S 1

struct call {
    CURL *curl;
    struct curl_slist *headers;
    struct gw_buf answer;
};

static void call_fini(struct call *c)
{
    curl_slist_free_all(c->headers);
    curl_easy_cleanup(c->curl);
    gw_buf_fini(&c->answer);
}

static size_t gather(char *data, size_t size, size_t count, void *owner)
{
    struct call *c = owner;

    return gw_buf_append(&c->answer, GW_SLICE(data, size * count)) == 0 ? size * count : 0;
}

/* A header more; false when memory is out. */
static bool add_header(struct call *c, const char *line)
{
    struct curl_slist *longer = curl_slist_append(c->headers, line);

    c->headers = longer ? longer : c->headers;
    return longer && curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers) == CURLE_OK;
}

static int call_begin(struct call *c, const struct cli_args *args, const char *method,
                      const char *path)
{
    GW_CLEANUP(gw_free_ptr) char *url = NULL;
    CURLcode bad;

    *c = (struct call){.curl = curl_easy_init(), .answer = {.max = ANSWER_MAX}};
    if (!c->curl || asprintf(&url, "http://localhost%s", path) < 0)
        return cli_fail("out of memory");
    bad = curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, args->socket);
    if (!bad)
        bad = curl_easy_setopt(c->curl, CURLOPT_URL, url);
    if (!bad)
        bad = curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    if (!bad)
        bad = curl_easy_setopt(c->curl, CURLOPT_PATH_AS_IS, 1L); /* ".." may be an id */
    if (!bad)
        bad = curl_easy_setopt(c->curl, CURLOPT_NOPROXY, "*");
    if (!bad)
        bad = curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, gather);
    if (!bad)
        bad = curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    return bad ? cli_fail("the call could not be made: %s", curl_easy_strerror(bad)) : 0;
}

static int say_unreachable(const struct call *c, const struct cli_args *args, CURLcode bad)
{
    long os = 0;

    if (bad != CURLE_COULDNT_CONNECT) {
        if (bad == CURLE_OPERATION_TIMEDOUT)
            return cli_fail("the daemon does not answer within %ld seconds", PATIENCE_S);
        return cli_fail("the daemon broke the connection: %s", curl_easy_strerror(bad));
    }
    (void)curl_easy_getinfo(c->curl, CURLINFO_OS_ERRNO, &os);
    if (os == EACCES || (os == 0 && access(args->socket, W_OK) != 0 && errno == EACCES))
        return cli_fail("no permission for %s: run this as root, or as a member of its group "
                        "(usermod -aG cordon USER, then log in again)",
                        args->socket);
    if (access(args->socket, F_OK) != 0)
        return cli_fail("the daemon is not running (there is no %s): start it with systemctl start "
                        "cordon%s",
                        args->socket,
                        strcmp(args->socket, CLI_SOCKET) == 0 ? ", or say --socket PATH"
                                                              : ", or say another --socket PATH");
    return cli_fail("the daemon is not running (nobody answers at %s): start it with systemctl "
                    "start cordon",
                    args->socket);
}

/* A problem's own words (RFC 9457), or the bare status. */
static int say_refused(const struct call *c, long status)
{
    struct gw_slice text = gw_buf_len(&c->answer) ? gw_buf_slice(&c->answer) : GW_SLICE_LIT("{}");
    json_auto_t *problem = json_loadb((const char *)text.ptr, text.len, 0, NULL);
    const char *detail = cli_text(problem, "detail");

    (void)fflush(stdout);
    (void)fputs("cordon: ", stderr);
    if (*detail)
        cli_put(stderr, detail);
    else
        (void)fprintf(stderr, "the daemon answered with HTTP status %ld", status);
    (void)fputc('\n', stderr);
    return CLI_FAILED;
}

static int read_answer(const struct call *c, json_t **out)
{
    struct gw_slice text;
    json_error_t error;
    json_t *json;

    if (!out)
        return 0;
    *out = NULL;
    if (gw_buf_len(&c->answer) == 0)
        return 0;
    text = gw_buf_slice(&c->answer);
    json = json_loadb((const char *)text.ptr, text.len, JSON_DECODE_ANY, &error);
    if (!json)
        return cli_fail("the daemon's answer is not JSON: %s", error.text);
    *out = json;
    return 0;
}

int cli_call(const struct cli_args *args, const char *method, const char *path, json_t *body,
             json_t **out)
{
    GW_CLEANUP(gw_free_ptr) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    GW_CLEANUP(call_fini) struct call c = {0};
    long status = 0;
    CURLcode bad;
    int err;

    json_decref(body);
    err = call_begin(&c, args, method, path);
    if (err)
        return err;
    if (text && (!add_header(&c, "Content-Type: application/json") || !add_header(&c, "Expect:") ||
                 curl_easy_setopt(c.curl, CURLOPT_POSTFIELDS, text) != CURLE_OK))
        return cli_fail("out of memory");
    (void)curl_easy_setopt(c.curl, CURLOPT_TIMEOUT, PATIENCE_S);
    bad = curl_easy_perform(c.curl);
    if (text)
        gw_wipe(text, strlen(text)); /* it may have held a password */
    if (bad)
        return say_unreachable(&c, args, bad);
    (void)curl_easy_getinfo(c.curl, CURLINFO_RESPONSE_CODE, &status);
    return status / 100 == 2 ? read_answer(&c, out) : say_refused(&c, status);
}

char *cli_path(const char *before, const char *segment, const char *behind)
{
    char *escaped = curl_easy_escape(NULL, segment, (int)strlen(segment));
    char *path = NULL;

    if (!escaped || asprintf(&path, "/api/v1/%s%s%s", before, escaped, behind) < 0) {
        (void)cli_fail("out of memory");
        exit(CLI_FAILED);
    }
    curl_free(escaped);
    return path;
}

/* ---- live events ---- */

struct follower {
    struct call call;
    const struct cli_args *args;
    cli_event_fn *fn;
    uint64_t last;
    bool opened; /* at least once: a refusal is a daemon that starts */
};

static void take_line(struct follower *f, struct gw_slice line)
{
    json_auto_t *event = NULL;

    if (!gw_slice_starts(line, "data: "))
        return;
    event = json_loadb((const char *)line.ptr + 6, line.len - 6, 0, NULL);
    if (!event)
        return;
    f->fn(f->args, event);
    f->last = GW_MAX(f->last, cli_number(event, "id"));
}

static size_t take_events(char *data, size_t size, size_t count, void *owner)
{
    struct follower *f = owner;
    struct gw_buf *in = &f->call.answer;
    const uint8_t *end;

    if (gw_buf_append(in, GW_SLICE(data, size * count)) != 0)
        return 0;
    while ((end = memchr(gw_buf_slice(in).ptr, '\n', gw_buf_len(in)))) {
        struct gw_slice line = {gw_buf_slice(in).ptr, (size_t)(end - gw_buf_slice(in).ptr)};

        take_line(f, line);
        gw_buf_consume(in, line.len + 1);
        if (gw_buf_len(in) == 0)
            break;
    }
    return ferror(stdout) ? 0 : size * count;
}

/* One connection until it ends or breaks. @return 0; CLI_FAILED, said, when it was refused. */
static int follow_once(struct follower *f)
{
    char header[64];
    long status = 0;
    int err = call_begin(&f->call, f->args, "GET", "/api/v1/events/stream");

    if (err)
        return err;
    (void)snprintf(header, sizeof(header), "Last-Event-ID: %llu", (unsigned long long)f->last);
    if (!add_header(&f->call, header))
        return cli_fail("out of memory");
    (void)curl_easy_setopt(f->call.curl, CURLOPT_WRITEFUNCTION, take_events);
    (void)curl_easy_setopt(f->call.curl, CURLOPT_WRITEDATA, f);
    (void)curl_easy_setopt(f->call.curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(f->call.curl, CURLOPT_LOW_SPEED_TIME, 60L); /* keep-alives come */
    (void)curl_easy_perform(f->call.curl);
    (void)curl_easy_getinfo(f->call.curl, CURLINFO_RESPONSE_CODE, &status);
    f->opened |= status == 200;
    return status == 0 || f->opened ? 0 : say_refused(&f->call, status);
}

int cli_follow(const struct cli_args *args, uint64_t last, cli_event_fn *fn)
{
    struct follower f = {.args = args, .fn = fn, .last = last};

    for (;;) {
        int err = follow_once(&f);

        call_fini(&f.call);
        if (ferror(stdout))
            return cli_fail("the output could not be written");
        if (err)
            return err;
        (void)sleep(RETRY_S); /* the daemon starts again, perhaps */
    }
}
