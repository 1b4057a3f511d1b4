/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The child: a network namespace of its own with a veth pair, one end a port under the loaded
 * programs, the other the device's. It ends with the process, and takes everything with it.
 */
#include "enforcer/selftest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>

#define PORT_NAME "port"
#define DEVICE_NAME "device"
#define PORT GW_SELFTEST_PORT
#define DEVICE (GW_SELFTEST_PORT + 1)
#define SENTINEL_MS 500 /* on a machine that is not busy it is there at once */
#define SENTINEL_TRIES 3

/*
 * One socket for each kind of frame: the kernel hands those of a kind out behind tc, where a socket
 * for all kinds would still see what tc drops. The outer tag is off by then, an inner one is not.
 */
static const uint16_t tapped[] = {ETH_P_IP,    ETH_P_IPV6,  ETH_P_ARP,
                                  ETH_P_8021Q, ETH_P_802_2, ETH_P_PPP_SES};

struct bench {
    const struct gw_kernel *kernel;
    const struct gw_cast *cast;
    int parent;                              /* the socket to the enforcer */
    struct pollfd taps[2][GW_COUNT(tapped)]; /* ingress: at the port; egress: at the device */
    int send;
    uint32_t sequence;
    uint32_t arrived; /* the number of the frame that is waited for, once it was heard */
};

/* ---- what the enforcer hears ---- */

static void tell(const struct bench *b, const char *name, const char *where,
                 enum gw_outcome outcome, const char *detail)
{
    struct gw_test_note n = {.word = GW_TEST_CHECK, .check = {.outcome = outcome}};

    (void)snprintf(n.check.name, sizeof(n.check.name), "%s", name);
    (void)snprintf(n.check.where, sizeof(n.check.where), "%s", where);
    (void)snprintf(n.check.detail, sizeof(n.check.detail), "%s", detail);
    if (send(b->parent, &n, sizeof(n), MSG_NOSIGNAL) != sizeof(n))
        _exit(1); /* nobody listens any more */
}

static int take_step(const struct bench *b, enum gw_step step)
{
    struct gw_test_note n = {.word = GW_TEST_STEP, .step = step};
    const struct timespec end = {.tv_nsec = 2 * GW_STEP_END_MS * 1000000L};
    int32_t err = 0;

    if (step == GW_STEP_NONE)
        return 0;
    if (send(b->parent, &n, sizeof(n), MSG_NOSIGNAL) != sizeof(n) ||
        recv(b->parent, &err, sizeof(err), 0) != sizeof(err))
        _exit(1);
    if (step == GW_STEP_END)
        (void)nanosleep(&end, NULL);
    return err;
}

/* ---- the bench ---- */

/* libnl's errors are its own. */
static int failed(int nl_err)
{
    switch (-nl_err) {
    case NLE_PERM:
        return -EPERM;
    case NLE_OPNOTSUPP:
        return -EOPNOTSUPP;
    case NLE_NOMEM:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

/* Both ends at once, with numbers that no port of the machine has in the programs' tables. */
static int add_pair(struct nl_sock *s)
{
    struct rtnl_link *port = rtnl_link_veth_alloc();
    struct rtnl_link *device = port ? rtnl_link_veth_get_peer(port) : NULL;
    int err = -NLE_NOMEM;

    if (device) {
        rtnl_link_set_name(port, PORT_NAME);
        rtnl_link_set_ifindex(port, (int)PORT);
        rtnl_link_set_name(device, DEVICE_NAME);
        rtnl_link_set_ifindex(device, (int)DEVICE);
        err = rtnl_link_add(s, port, NLM_F_CREATE | NLM_F_EXCL);
        rtnl_link_put(device);
    }
    if (port)
        rtnl_link_put(port);
    return err;
}

static int set_link_up(struct nl_sock *s, uint32_t ifindex)
{
    struct rtnl_link *which = rtnl_link_alloc(), *change = rtnl_link_alloc();
    int err = -NLE_NOMEM;

    if (which && change) {
        rtnl_link_set_ifindex(which, (int)ifindex);
        rtnl_link_set_flags(change, IFF_UP);
        err = rtnl_link_change(s, which, change, 0);
    }
    if (which)
        rtnl_link_put(which);
    if (change)
        rtnl_link_put(change);
    return err;
}

static int make_pair(void)
{
    struct nl_sock *s = nl_socket_alloc();
    int err = s ? nl_connect(s, NETLINK_ROUTE) : -NLE_NOMEM;

    if (err >= 0)
        err = add_pair(s);
    if (err >= 0)
        err = set_link_up(s, DEVICE);
    if (err >= 0)
        err = set_link_up(s, PORT);
    nl_socket_free(s);
    return err < 0 ? failed(err) : 0;
}

static int open_tap(uint32_t ifindex, uint16_t protocol)
{
    const struct sockaddr_ll at = {
        .sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = (int)ifindex};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
        return -errno;
    return fd;
}

static int open_taps(struct bench *b)
{
    for (int egress = 0; egress < 2; egress++)
        for (size_t i = 0; i < GW_COUNT(tapped); i++) {
            struct pollfd *tap = &b->taps[egress][i];

            *tap = (struct pollfd){.fd = open_tap(egress ? DEVICE : PORT, tapped[i]),
                                   .events = POLLIN};
            if (tap->fd < 0)
                return tap->fd;
        }
    b->send = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    return b->send < 0 ? -errno : 0;
}

/* On one CPU: what is sent second arrives second. */
static void stay_here(void)
{
    int cpu = sched_getcpu();
    cpu_set_t one;

    CPU_ZERO(&one);
    if (cpu >= 0)
        CPU_SET(cpu, &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
}

static int set_up(struct bench *b, const char **out_step)
{
    int err;

    *out_step = "a network namespace of its own";
    if (unshare(CLONE_NEWNET) < 0)
        return -errno;
    stay_here();
    *out_step = "a port of its own";
    err = make_pair();
    if (err)
        return err;
    *out_step = "sockets at both ends of it";
    return open_taps(b);
}

/* ---- frames ---- */

static int send_layers(struct bench *b, const struct gw_layer *layers, bool egress)
{
    const struct sockaddr_ll to = {.sll_family = AF_PACKET,
                                   .sll_ifindex = (int)(egress ? PORT : DEVICE)};
    struct gw_probe p;

    gw_probe_build(&p, b->cast, layers, ++b->sequence);
    if (sendto(b->send, p.bytes, p.len, 0, (const struct sockaddr *)&to, sizeof(to)) >= 0)
        return 0;
    return errno == ENOBUFS ? 0 : -errno; /* what tc drops on its way out is told as this */
}

/*
 * True once `number` has arrived; `*out_probe` when `probe` did, or one of its repetitions, each
 * two numbers later. Reads all that is there.
 */
static bool drain(struct bench *b, bool egress, uint32_t number, uint32_t probe, bool *out_probe)
{
    bool found = false;

    for (size_t i = 0; i < GW_COUNT(tapped); i++) {
        uint8_t frame[GW_PROBE_BYTES];
        ssize_t len;

        while ((len = recv(b->taps[egress][i].fd, frame, sizeof(frame), MSG_TRUNC)) >= 0) {
            uint32_t got =
                len > (ssize_t)sizeof(frame) ? 0 : gw_probe_sequence(b->cast, frame, (size_t)len);

            found |= got == number;
            *out_probe |= got >= probe && got != 0 && (got - probe) % 2 == 0;
        }
    }
    return found;
}

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Send the frame that passes and wait: what was sent before it has arrived then, or never will. */
static bool sentinel(struct bench *b, bool egress, uint32_t probe, bool *out_probe)
{
    uint64_t end = now_ms() + SENTINEL_MS;

    if (send_layers(b, gw_check_sentinel(egress), egress) != 0)
        return false;
    do {
        if (drain(b, egress, b->sequence, probe, out_probe)) {
            (void)drain(b, egress, 0, probe, out_probe); /* taps are read one by one */
            return true;
        }
        (void)poll(b->taps[egress], GW_COUNT(tapped), 10);
    } while (now_ms() < end);
    return false;
}

/* Did the frame come through? GW_ETIMEOUT when the one behind it never did. */
static int try_row(struct bench *b, const struct gw_check_row *row, bool egress, bool *out_arrived)
{
    int err = take_step(b, (enum gw_step)row->step);
    uint32_t probe = b->sequence + 1;

    for (int i = 0; !err && i < SENTINEL_TRIES; i++) {
        err = send_layers(b, row->layers, egress);
        if (!err && sentinel(b, egress, probe, out_arrived))
            return 0;
    }
    return err ? err : GW_ETIMEOUT;
}

static void run_row(struct bench *b, const struct gw_check_row *row, const char *where, bool egress)
{
    bool passes = gw_check_passes(row, b->cast), arrived = false;
    int err = try_row(b, row, egress, &arrived);
    char detail[GW_CHECK_DETAIL] = "";

    if (err == GW_ETIMEOUT)
        (void)snprintf(detail, sizeof(detail), "a frame that must pass did not arrive behind it");
    else if (err)
        (void)snprintf(detail, sizeof(detail), "not tried: %s", gw_error_text(err));
    else if (arrived != passes)
        (void)snprintf(detail, sizeof(detail), arrived ? "it came through" : "it was dropped");
    tell(b, row->name, where, *detail ? GW_CHECK_FAILED : GW_CHECK_PASSED, detail);
}

/* ---- everything ---- */

/* A port that was just set up, or got another program, loses its first frames. */
static void warm_up(struct bench *b, bool egress)
{
    uint64_t end = now_ms() + SENTINEL_MS;
    bool none = false;

    while (now_ms() < end && send_layers(b, gw_check_sentinel(egress), egress) == 0) {
        if (drain(b, egress, b->sequence, 0, &none))
            return;
        (void)poll(b->taps[egress], GW_COUNT(tapped), 1);
    }
}

static void run_place(struct bench *b, enum gw_place at)
{
    static const char *const names[] = {"native", "generic", "tc", "egress"};
    static const char what[] = "the program is attached";
    bool egress = at == GW_AT_EGRESS;
    char detail[GW_CHECK_DETAIL] = "";
    int link = -1;
    int err = gw_place_attach(b->kernel, PORT, at, &link);

    if (err) {
        /* Every kernel has tc; whether a port can have more is in its own line of the status. */
        bool needed = at == GW_AT_TC || egress;

        (void)snprintf(detail, sizeof(detail), "this kernel cannot: %s", gw_error_text(err));
        tell(b, what, names[at], needed ? GW_CHECK_FAILED : GW_CHECK_SKIPPED, detail);
        return;
    }
    warm_up(b, egress);
    tell(b, what, names[at], GW_CHECK_PASSED,
         at < GW_AT_TC ? ""
         : link >= 0   ? "tcx"
                       : "a clsact filter");
    for (const struct gw_check_row *row = gw_checks(egress); row->name; row++)
        run_row(b, row, names[at], egress);
    gw_place_detach(PORT, at, &link);
}

void gw_selftest_child(const struct gw_kernel *k, const struct gw_cast *c, int fd)
{
    const struct gw_test_note end = {.word = GW_TEST_END};
    struct bench b = {.kernel = k, .cast = c, .parent = fd, .send = -1};
    const char *step;
    int err;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_NAME, "cordon-test");
    err = set_up(&b, &step);
    if (err)
        tell(&b, step, "", GW_CHECK_FAILED, gw_error_text(err));
    for (enum gw_place at = GW_AT_NATIVE; !err && at < GW_PLACES; at++)
        run_place(&b, at);
    (void)!send(fd, &end, sizeof(end), MSG_NOSIGNAL);
    _exit(0);
}
