/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/net.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>

#define ADDRESSES_MAX 8

/* Shared by the loop and one short-lived thread; whoever lets go last frees it. */
struct job {
    atomic_int users;
    int done_fd;
    char port[8];
    struct gw_addr addrs[ADDRESSES_MAX];
    size_t count;
    char host[]; /* the last field: a name of any length */
};

struct gw_resolve {
    struct job *job;
    struct gw_io io;
    gw_resolve_fn *fn;
    void *owner;
    struct gw_resolve **slot; /* the caller's pointer to this */
};

static void job_put(struct job *j)
{
    if (atomic_fetch_sub(&j->users, 1) > 1)
        return;
    gw_close_fd(&j->done_fd);
    free(j);
}

/* 0, or getaddrinfo's code. */
static int look_up(struct job *j, int flags)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    struct addrinfo *found = NULL;
    int err = getaddrinfo(j->host, j->port, &hints, &found);

    if (err)
        return err;
    for (struct addrinfo *a = found; a && j->count < ADDRESSES_MAX; a = a->ai_next) {
        struct gw_addr *to = &j->addrs[j->count];

        if (a->ai_addrlen > sizeof(to->sa))
            continue;
        memcpy(&to->sa, a->ai_addr, a->ai_addrlen);
        to->len = a->ai_addrlen;
        j->count++;
    }
    freeaddrinfo(found);
    return 0;
}

static void announce(struct job *j)
{
    uint64_t one = 1;

    (void)!write(j->done_fd, &one, sizeof(one));
}

static void *run(void *arg)
{
    struct job *j = arg;

    (void)look_up(j, AI_ADDRCONFIG);
    announce(j);
    job_put(j);
    return NULL;
}

/* Signals stay with the main thread, which waits for them in its own way. */
static int start_thread(struct job *j)
{
    sigset_t all, before;
    pthread_t thread;
    int err;

    atomic_fetch_add(&j->users, 1);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&thread, NULL, run, j);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err) {
        atomic_fetch_sub(&j->users, 1);
        return -err;
    }
    (void)pthread_detach(thread);
    return 0;
}

static void on_done(void *owner, uint32_t events)
{
    struct gw_resolve *r = owner;
    struct job *j = r->job;
    gw_resolve_fn *fn = r->fn;
    void *fn_owner = r->owner;

    (void)events;
    *r->slot = NULL;
    gw_io_stop(&r->io);
    free(r);
    fn(fn_owner, j->addrs, j->count);
    job_put(j);
}

static int job_new(const char *host, uint16_t port, struct job **out)
{
    struct job *j = calloc(1, sizeof(*j) + strlen(host) + 1);

    if (!j)
        return -ENOMEM;
    atomic_init(&j->users, 1);
    strcpy(j->host, host);
    (void)snprintf(j->port, sizeof(j->port), "%u", port);
    j->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (j->done_fd < 0) {
        int err = -errno;

        free(j);
        return err;
    }
    *out = j;
    return 0;
}

int gw_resolve_start(struct gw_loop *loop, const char *host, uint16_t port, gw_resolve_fn *fn,
                     void *owner, struct gw_resolve **out)
{
    struct gw_resolve *r = calloc(1, sizeof(*r));
    int err;

    if (!r)
        return -ENOMEM;
    *r = (struct gw_resolve){.fn = fn, .owner = owner, .slot = out};
    err = job_new(host, port, &r->job);
    if (!err)
        err = gw_io_start(loop, &r->io, r->job->done_fd, EPOLLIN, on_done, r);
    if (!err) {
        if (look_up(r->job, AI_NUMERICHOST) == 0)
            announce(r->job); /* a literal address needs no thread */
        else
            err = start_thread(r->job);
    }
    if (err) {
        gw_resolve_cancel(&r);
        return err;
    }
    *out = r;
    return 0;
}

void gw_resolve_cancel(struct gw_resolve **r)
{
    struct gw_resolve *own = GW_TAKE(*r);

    if (!own)
        return;
    gw_io_stop(&own->io);
    if (own->job)
        job_put(own->job);
    free(own);
}
