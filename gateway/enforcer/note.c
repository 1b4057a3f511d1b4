/* SPDX-License-Identifier: GPL-2.0-only */
#include "enforcer/note.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "enforcer/table.h"

#define FILE_BYTES_MAX (64 << 20)

/* One waiting note. */
struct entry {
    struct gw_note note;
    int fd;
};

void gw_note_fds_close(struct gw_note_fds *fds)
{
    for (size_t i = 0; i < fds->count; i++)
        gw_close_fd(&fds->fd[i]);
    fds->count = 0;
}

/* ---- what a receiver may rely on ---- */

static bool is_text(const char *s, size_t size)
{
    return memchr(s, '\0', size) != NULL;
}

static bool is_flag(const bool *b)
{
    return *(const uint8_t *)b <= 1;
}

static bool sighting_ok(const struct gw_sighting *s)
{
    if (!is_flag(&s->has_ip) || !is_text(s->ifname, sizeof(s->ifname)))
        return false;
    return !s->has_ip || (gw_hwaddr_valid(&s->ip) && s->ip.kind != GW_ADDR_MAC);
}

static bool link_ok(const struct gw_link_report *r)
{
    return is_flag(&r->present) && is_flag(&r->up) && is_text(r->ifname, sizeof(r->ifname)) &&
           is_text(r->reason, sizeof(r->reason)) && (unsigned)r->ingress <= GW_INGRESS_TC &&
           (unsigned)r->egress <= GW_EGRESS_CLSACT && r->bypass < 1U << GW_BYPASS_BITS;
}

static bool is_claim(const struct gw_hwaddr *a)
{
    return a->kind == 0 || gw_hwaddr_valid(a);
}

static bool wire_ok(const struct gw_wire_event *ev)
{
    return ev->kind < GW_WIRE_COUNT && is_flag(&ev->dropped) && is_claim(&ev->ip) &&
           is_claim(&ev->peer) && ev->direction <= GW_TO_DEVICE &&
           is_text(ev->ifname, sizeof(ev->ifname));
}

static bool judgement_ok(const struct gw_judgement *j)
{
    return j->mode <= GW_MODE_OBSERVE && is_flag(&j->bound) && j->until_wall_ms >= 0;
}

static bool number_ok(uint32_t number)
{
    return number >= 1 && number <= GW_POLICIES_MAX;
}

int gw_note_check_to_worker(const struct gw_note *n)
{
    switch (n->kind) {
    case GW_NOTE_SIGHTING:
        return sighting_ok(&n->sighting) ? 0 : GW_EMALFORMED;
    case GW_NOTE_LINK:
        return link_ok(&n->link) ? 0 : GW_EMALFORMED;
    case GW_NOTE_RELOAD:
    case GW_NOTE_TESTED:
        return n->failed <= 1 ? 0 : GW_EMALFORMED;
    case GW_NOTE_LISTENER:
        return n->index < GW_CONFIG_LIST_MAX ? 0 : GW_EMALFORMED;
    case GW_NOTE_WIRE:
        return wire_ok(&n->wire) ? 0 : GW_EMALFORMED;
    case GW_NOTE_BUNDLE:
    case GW_NOTE_APPLIED:
    case GW_NOTE_LEARNED:
    case GW_NOTE_STOP:
        return 0;
    default:
        return GW_EMALFORMED;
    }
}

int gw_note_check_to_enforcer(const struct gw_note *n)
{
    switch (n->kind) {
    case GW_NOTE_VERDICT:
        return gw_hwaddr_valid(&n->verdict.address) && judgement_ok(&n->verdict.judgement)
                   ? 0
                   : GW_EMALFORMED;
    case GW_NOTE_POLICY:
    case GW_NOTE_POLICY_END:
        return number_ok(n->policy.number) ? 0 : GW_EMALFORMED;
    case GW_NOTE_LEARN:
        return number_ok(n->policy.number) && n->policy.forget <= 1 ? 0 : GW_EMALFORMED;
    case GW_NOTE_RESOLVE:
        return gw_hwaddr_valid(&n->address) && n->address.kind != GW_ADDR_MAC ? 0 : GW_EMALFORMED;
    case GW_NOTE_COMPLETE:
    case GW_NOTE_TEST:
        return 0;
    default:
        return GW_EMALFORMED;
    }
}

/* ---- the socket ---- */

union control {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int) * GW_NOTE_FDS_MAX)];
};

static void take_fds(struct msghdr *m, struct gw_note_fds *out)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        count = GW_MIN(count, (size_t)GW_NOTE_FDS_MAX - out->count);
        memcpy(&out->fd[out->count], CMSG_DATA(c), count * sizeof(int));
        out->count += count;
    }
}

int gw_note_receive(int fd, struct gw_note *out, struct gw_note_fds *out_fds)
{
    struct gw_note n = {0};
    struct iovec iov = {&n, sizeof(n)};
    union control control;
    struct msghdr m = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof(control.space),
    };
    ssize_t got;

    out_fds->count = 0;
    do {
        got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == ECONNRESET ? GW_ECLOSED : -errno;
    if (got == 0)
        return GW_ECLOSED;
    take_fds(&m, out_fds);
    if (got != (ssize_t)sizeof(n) || m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        gw_note_fds_close(out_fds);
        return GW_EMALFORMED;
    }
    *out = n;
    return 0;
}

int gw_note_send(int fd, const struct gw_note *n, const int *fds, size_t fd_count)
{
    struct gw_note copy = *n;
    struct iovec iov = {&copy, sizeof(copy)};
    union control control = {0};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent;

    if (fd_count > 0) {
        struct cmsghdr *c = &control.align;

        m.msg_control = control.space;
        m.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    do {
        sent = sendmsg(fd, &m, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

int gw_note_post(struct gw_note_queue *q, const struct gw_note *n, int fd)
{
    GW_CLEANUP(gw_close_fd) int owned = fd;
    struct entry e = {.note = *n, .fd = fd};
    int err = -EAGAIN;

    if (!gw_note_waiting(q))
        err = gw_note_send(q->fd, n, &fd, fd >= 0);
    if (err != -EAGAIN)
        return err;
    err = gw_buf_append(&q->out, GW_SLICE(&e, sizeof(e)));
    if (!err)
        (void)gw_take_fd(&owned);
    return err;
}

int gw_note_flush(struct gw_note_queue *q)
{
    while (gw_note_waiting(q)) {
        struct entry e;
        int err;

        memcpy(&e, gw_buf_slice(&q->out).ptr, sizeof(e));
        err = gw_note_send(q->fd, &e.note, &e.fd, e.fd >= 0);
        if (err)
            return err;
        gw_close_fd(&e.fd);
        gw_buf_consume(&q->out, sizeof(e));
    }
    return 0;
}

void gw_note_queue_fini(struct gw_note_queue *q)
{
    for (; gw_note_waiting(q); gw_buf_consume(&q->out, sizeof(struct entry))) {
        struct entry e;

        memcpy(&e, gw_buf_slice(&q->out).ptr, sizeof(e));
        gw_close_fd(&e.fd);
    }
    gw_buf_fini(&q->out);
}

/* ---- memory files ---- */

int gw_note_file(struct gw_slice bytes, int *out_fd)
{
    GW_CLEANUP(gw_close_fd) int fd = memfd_create("cordon-note", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -errno;
    for (size_t done = 0; done < bytes.len;) {
        ssize_t n = pwrite(fd, bytes.ptr + done, bytes.len - done, (off_t)done);

        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return -errno;
    *out_fd = gw_take_fd(&fd);
    return 0;
}

int gw_note_file_read(int fd, struct gw_buf *out)
{
    struct stat st;
    int err;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size < 0 || st.st_size > FILE_BYTES_MAX)
        return GW_EFULL;
    err = gw_buf_reserve(out, (size_t)st.st_size);
    if (err)
        return err;
    for (off_t done = 0; done < st.st_size;) {
        ssize_t n = pread(fd, out->data + out->tail, (size_t)(st.st_size - done), done);

        if (n <= 0)
            return n < 0 ? -errno : GW_ESHORT;
        out->tail += (size_t)n;
        done += n;
    }
    return 0;
}
