/* SPDX-License-Identifier: GPL-2.0-only */
/* The whole command against a scripted daemon: what it asks, what it prints, how it exits. */
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/own.h"
#include "cli/cli_priv.h"

struct answer {
    unsigned status;
    const char *body;
};

struct daemon {
    char path[64];
    int fd;
    pthread_t thread;
    const struct answer *answers; /* one for each connection, ended by status 0 */
    char heard[16384];
};

/* Read one request whole: head, and as much body as it announces. */
static inline void read_request(int fd, char *out, size_t room)
{
    size_t len = 0, want = SIZE_MAX;

    while (len < want && len < room - 1) {
        ssize_t n = recv(fd, out + len, room - 1 - len, 0);
        const char *end, *announced;

        if (n <= 0)
            break;
        len += (size_t)n;
        out[len] = '\0';
        end = strstr(out, "\r\n\r\n");
        announced = strcasestr(out, "\r\nContent-Length: ");
        if (end)
            want = (size_t)(end + 4 - out) + (announced ? (size_t)atoi(announced + 18) : 0);
    }
    out[len] = '\0';
}

static inline void *serve(void *owner)
{
    struct daemon *d = owner;

    for (const struct answer *a = d->answers; a->status; a++) {
        size_t at = strlen(d->heard);
        int fd = accept(d->fd, NULL, NULL);
        char text[4096];

        if (fd < 0)
            break;
        read_request(fd, d->heard + at, sizeof(d->heard) - at);
        (void)snprintf(text, sizeof(text),
                       "HTTP/1.1 %u X\r\nContent-Type: application/json\r\nConnection: close\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       a->status, strlen(a->body), a->body);
        (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
        close(fd);
    }
    return NULL;
}

static inline void daemon_start(struct daemon *d, const struct answer *answers)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    *d = (struct daemon){.path = "/tmp/cordon-cli-XXXXXX", .answers = answers};
    cr_assert_geq(mkstemp(d->path), 0);
    (void)unlink(d->path);
    memcpy(at.sun_path, d->path, sizeof(d->path));
    d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(d->fd, (struct sockaddr *)(void *)&at, sizeof(at)), 0);
    cr_assert_eq(listen(d->fd, 4), 0);
    cr_assert_eq(pthread_create(&d->thread, NULL, serve, d), 0);
}

static inline void daemon_stop(struct daemon *d)
{
    (void)shutdown(d->fd, SHUT_RDWR);
    cr_assert_eq(pthread_join(d->thread, NULL), 0);
    close(d->fd);
    (void)unlink(d->path);
}

/* ---- the command, its output in files ---- */

struct outcome {
    int status;
    char out[8192], err[2048];
};

static inline void slurp(FILE *f, char *out, size_t room)
{
    rewind(f);
    out[fread(out, 1, room - 1, f)] = '\0';
    (void)fclose(f);
}

static inline void run(const char *socket, const char *line, const char *in, struct outcome *got)
{
    FILE *files[3] = {tmpfile(), tmpfile(), tmpfile()};
    char text[512], *argv[16] = {text}, *save = NULL;
    int kept[3], argc = 1;

    (void)snprintf(text, sizeof(text), "cordon --socket %s %s", socket, line);
    (void)strtok_r(text, " ", &save);
    while (argc < 15 && (argv[argc] = strtok_r(NULL, " ", &save)))
        argc++;
    (void)fputs(in ? in : "", files[0]);
    rewind(files[0]);
    (void)fflush(NULL);
    for (int i = 0; i < 3; i++) {
        kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        cr_assert_eq(dup2(fileno(files[i]), i), i);
    }
    clearerr(stdin);
    got->status = gw_cli_run(argc, argv);
    (void)fflush(NULL);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(dup2(kept[i], i), i);
        close(kept[i]);
    }
    (void)fclose(files[0]);
    slurp(files[1], got->out, sizeof(got->out));
    slurp(files[2], got->err, sizeof(got->err));
}

#define PROBLEM(detail)                                                                            \
    "{\"type\":\"about:blank\",\"status\":1,\"title\":\"X\",\"detail\":\"" detail "\"}"

struct verb_case {
    const char *line, *in;
    struct answer answers[3];
    int status;
    const char *asked, *body; /* heard by the daemon */
    const char *out, *err;    /* printed */
};

static inline void check(const struct verb_case *c)
{
    struct outcome got;
    struct daemon d;

    daemon_start(&d, c->answers);
    run(d.path, c->line, c->in, &got);
    daemon_stop(&d);
    cr_expect_eq(got.status, c->status, "%s: %d %s", c->line, got.status, got.err);
    cr_expect(!c->asked || strstr(d.heard, c->asked), "%s: asked %s", c->line, d.heard);
    cr_expect(!c->body || strstr(d.heard, c->body), "%s: asked %s", c->line, d.heard);
    cr_expect(!c->out || strstr(got.out, c->out), "%s: printed %s", c->line, got.out);
    cr_expect(!c->err || strstr(got.err, c->err), "%s: said %s", c->line, got.err);
    cr_expect_null(strchr(got.out, '\x1b'), "%s: an escape reached the terminal", c->line);
}
