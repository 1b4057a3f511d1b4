/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/layer.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>

#define BACKLOG 1024
#define REST_MS 100      /* out of descriptors: the backlog waits so long */
#define ALIVE_IDLE_S 300 /* of silence, then the peer's kernel is asked so often: */
#define ALIVE_PROBE_S 60
#define ALIVE_PROBES 5

/* ---- sockets ---- */

static int open_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    return fd < 0 ? -errno : fd;
}

/*
 * Small messages leave when we say so, not when the last one was acknowledged. A peer that vanished
 * without a word, and promised none, does not hold its place for ever. What is accepted inherits
 * this (tcp(7)), so it costs nothing there.
 */
int gw_tcp_prepare(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, ALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, ALIVE_PROBE_S},
        {IPPROTO_TCP, TCP_KEEPCNT, ALIVE_PROBES},
    };

    for (size_t i = 0; i < GW_COUNT(options); i++)
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                       sizeof(options[i].value)) < 0)
            return -errno;
    return 0;
}

static int bind_tcp(const struct gw_addr *at)
{
    GW_CLEANUP(gw_close_fd) int fd = open_socket(at->sa.ss_family);
    int on = 1, off = 0, err;

    if (fd < 0)
        return fd;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -errno;
    if (at->sa.ss_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
        return -errno;
    err = gw_tcp_prepare(fd);
    if (err)
        return err;
    if (bind(fd, (const struct sockaddr *)&at->sa, at->len) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return gw_take_fd(&fd);
}

/* [::] means every address; on a machine without IPv6 these are the IPv4 ones. */
static bool any_address(const struct gw_addr *at, struct gw_addr *out_four)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    struct sockaddr_in6 six;

    if (at->sa.ss_family != AF_INET6)
        return false;
    memcpy(&six, &at->sa, sizeof(six));
    if (!IN6_IS_ADDR_UNSPECIFIED(&six.sin6_addr))
        return false;
    four.sin_port = six.sin6_port;
    *out_four = (struct gw_addr){.len = sizeof(four)};
    memcpy(&out_four->sa, &four, sizeof(four));
    return true;
}

int gw_listen_tcp(const struct gw_addr *at)
{
    int fd = bind_tcp(at);
    struct gw_addr four;

    if ((fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) && any_address(at, &four))
        return bind_tcp(&four);
    return fd;
}

/* A socket that nobody listens on is left from a run that was killed. Anything else stays. */
static int remove_stale(const struct sockaddr_un *un)
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    struct stat st;

    if (lstat(un->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    fd = open_socket(AF_UNIX);
    if (fd < 0)
        return fd;
    if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno == EAGAIN)
        return -EADDRINUSE;
    return unlink(un->sun_path) < 0 ? -errno : 0;
}

/* The mode is right from the first moment on: bind(2) takes it from the descriptor. */
static int bind_unix(int fd, const struct sockaddr_un *un)
{
    mode_t mask = umask(0);
    int err = 0;

    if (fchmod(fd, 0660) < 0 || bind(fd, (const struct sockaddr *)un, sizeof(*un)) < 0)
        err = -errno;
    (void)umask(mask);
    return err;
}

int gw_listen_unix(const char *path, gid_t gid)
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int err;

    if (strlen(path) >= sizeof(un.sun_path))
        return -ENAMETOOLONG;
    strcpy(un.sun_path, path);
    err = remove_stale(&un);
    if (err)
        return err;
    fd = open_socket(AF_UNIX);
    if (fd < 0)
        return fd;
    err = bind_unix(fd, &un);
    if (err)
        return err;
    /* The folder is not root's alone: whatever took the name meanwhile is not followed. */
    if (lchown(path, (uid_t)-1, gid) < 0 || listen(fd, BACKLOG) < 0) {
        err = -errno;
        (void)unlink(path);
        return err;
    }
    return gw_take_fd(&fd);
}

/* ---- accepting ---- */

struct gw_listener {
    struct gw_loop *loop;
    int fd;
    struct gw_io io;
    struct gw_timer rest;
    unsigned per_turn;
    bool *gone; /* set by free while the callback runs */
    gw_accept_fn *fn;
    void *owner;
};

static void listener_watch(struct gw_listener *l)
{
    gw_io_want(&l->io, gw_timer_armed(&l->rest) ? 0 : EPOLLIN);
}

/* False when the listener is gone, or nothing more is to be taken in this turn. */
static bool accept_one(struct gw_listener *l)
{
    struct gw_addr peer = {.len = sizeof(peer.sa)};
    bool gone = false;
    int fd = accept4(l->fd, (struct sockaddr *)&peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            gw_timer_start(l->loop, &l->rest, REST_MS);
            listener_watch(l);
            return false;
        }
        return errno != EAGAIN; /* others concern the one connection that is gone */
    }
    gw_addr_unmap(&peer);
    l->gone = &gone;
    l->fn(l->owner, fd, &peer);
    if (gone)
        return false;
    l->gone = NULL;
    return true;
}

static void on_accept(void *owner, uint32_t events)
{
    struct gw_listener *l = owner;
    unsigned left = l->per_turn;

    (void)events;
    while (left-- > 0 && accept_one(l))
        ;
}

static void on_rested(void *owner)
{
    struct gw_listener *l = owner;

    listener_watch(l);
}

int gw_listener_new(struct gw_loop *loop, int fd, unsigned per_turn, gw_accept_fn *fn, void *owner,
                    struct gw_listener **out)
{
    struct gw_listener *l = calloc(1, sizeof(*l));
    int err;

    if (!l) {
        gw_close_fd(&fd);
        return -ENOMEM;
    }
    *l = (struct gw_listener){
        .loop = loop, .fd = fd, .per_turn = GW_MAX(per_turn, 1u), .fn = fn, .owner = owner};
    gw_timer_init(&l->rest, on_rested, l);
    err = gw_io_start(loop, &l->io, fd, EPOLLIN, on_accept, l);
    if (err) {
        gw_listener_free(&l);
        return err;
    }
    *out = l;
    return 0;
}

void gw_listener_free(struct gw_listener **l)
{
    struct gw_listener *own = GW_TAKE(*l);

    if (!own)
        return;
    if (own->gone)
        *own->gone = true;
    gw_io_stop(&own->io);
    gw_timer_stop(&own->rest);
    gw_close_fd(&own->fd);
    free(own);
}
