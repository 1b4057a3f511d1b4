/* SPDX-License-Identifier: GPL-2.0-only */
/* The worker as the enforcer sees it: started, told, listened to with distrust, started again. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "enforcer/guard.h"
#include "enforcer/policy.h"
#include "enforcer/selftest.h"

#define WORKER_FD 3
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 10000
#define HEALTHY_MS 60000
#define STOP_MS 10000
#define QUEUE_BYTES (8 << 20) /* answers to a worker that does not read */
#define QUEUE_PAUSE (4 << 20) /* from here on its requests wait too */
#define POLICY_BYTES (256 << 10)
#define LEARNED_BYTES (4 << 20)
#define TURN_NOTES 256           /* requests served before others get their turn */
#define BACKLOG_BYTES (64 << 10) /* sightings put in front of the socket at once */

/* ---- starting ---- */

/*
 * This very program: by its path, which a debugger or valgrind can follow, as long as the file
 * there is still the one that runs; after an upgrade by the kernel's link to it.
 */
static const char *own_program(char path[PATH_MAX])
{
    static const char link[] = "/proc/self/exe";
    ssize_t len = readlink(link, path, PATH_MAX - 1);

    if (len <= 0)
        return link;
    path[len] = '\0';
    return access(path, X_OK) == 0 ? path : link; /* "… (deleted)" is no file */
}

static void exec_worker(int fd, const char *config_path)
{
    char number[16], program[PATH_MAX];
    char name[] = "cordond", worker[] = "--worker", option[] = "-c";
    char *path = strdup(config_path);
    char *argv[] = {name, worker, number, option, path, NULL};
    sigset_t none;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* until it has its own user: then it sees the end */
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    /* Whoever stops the service reaches both; only the enforcer's word counts. */
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    if (fd == WORKER_FD)
        (void)fcntl(fd, F_SETFD, 0);
    else if (dup2(fd, WORKER_FD) < 0)
        _exit(127);
    (void)close_range(WORKER_FD + 1, ~0U, 0);
    (void)snprintf(number, sizeof(number), "%d", WORKER_FD);
    (void)execv(own_program(program), argv);
    _exit(127);
}

static int send_bundle(struct gw_guard *g)
{
    struct gw_note n = {.kind = GW_NOTE_BUNDLE};
    int fds[GW_NOTE_FDS_MAX];
    size_t count = 1;
    int err = gw_note_file(gw_buf_slice(&g->bundle), &fds[0]);

    if (err)
        return err;
    if (g->enforcing) {
        gw_kernel_shared(&g->kernel, fds + count);
        count += GW_MAP_SHARED;
        fds[count++] = gw_kernel_copies_fd(&g->kernel);
    }
    err = gw_note_send(g->child.queue.fd, &n, fds, count);
    (void)close(fds[0]);
    return err;
}

static void on_child(void *guard, uint32_t events);
static void start_again(void *guard);
static void kill_child(void *guard);

static int backlog_init(struct gw_backlog *b, uint32_t slots)
{
    if (b->ring || slots == 0)
        return 0;
    b->ring = calloc(slots, sizeof(*b->ring));
    b->queued = calloc(slots, 1);
    b->cap = b->ring && b->queued ? slots : 0;
    return b->cap ? 0 : -ENOMEM;
}

static void backlog_clear(struct gw_backlog *b)
{
    if (b->queued)
        memset(b->queued, 0, b->cap);
    b->at = b->count = 0;
}

static int spawn(struct gw_guard *g)
{
    struct gw_child *c = &g->child;
    int pair[2], err;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    pid = fork();
    if (pid == 0)
        exec_worker(pair[1], g->config_path);
    (void)close(pair[1]);
    if (pid < 0) {
        (void)close(pair[0]);
        return -errno;
    }
    c->pid = pid;
    c->queue.fd = pair[0];
    c->started_ms = gw_clock_mono_ms();
    err = send_bundle(g);
    if (!err)
        err = fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
    if (!err)
        err = gw_io_start(g->loop, &c->io, pair[0], EPOLLIN, on_child, g);
    return err;
}

static void tell_everything(struct gw_guard *g)
{
    GW_LIST_EACH(&g->network.ports, node)
    {
        gw_ports_tell(g, GW_LIST_ENTRY(node, struct gw_port, node), true);
    }
    gw_heard_tell_all(g);
    if (!g->enforcing)
        gw_network_neighbours(g);
    gw_child_pump(g);
}

int gw_child_start(struct gw_guard *g)
{
    struct gw_child *c = &g->child;
    int err;

    if (!c->queue.out.max) {
        c->queue = (struct gw_note_queue){.fd = -1, .out = {.max = QUEUE_BYTES}};
        c->backoff_ms = BACKOFF_FIRST_MS;
        c->answers = (struct gw_buf){.max = QUEUE_BYTES};
        c->refused = (struct gw_log_limit){.burst = 20, .per_ms = 10000};
        gw_timer_init(&c->restart, start_again, g);
        gw_timer_init(&c->kill, kill_child, g);
    }
    err = backlog_init(&c->backlog, g->enforcing ? g->kernel.table.state->slots : 0);
    if (err)
        return err;
    c->generation = c->generation == UINT16_MAX ? 1 : c->generation + 1;
    c->complete = false;
    err = spawn(g);
    if (err)
        return err;
    tell_everything(g);
    return 0;
}

static void again_later(struct gw_guard *g)
{
    struct gw_child *c = &g->child;

    gw_timer_start(g->loop, &c->restart, c->backoff_ms);
    c->backoff_ms = GW_MIN(c->backoff_ms * 2, (uint64_t)BACKOFF_MAX_MS);
}

static void start_again(void *guard)
{
    struct gw_guard *g = guard;
    int err = gw_child_start(g);

    if (!err)
        return;
    gw_log_error("the worker cannot be started: %s", gw_error_text(err));
    if (g->child.pid != 0)
        (void)kill(g->child.pid, SIGKILL); /* reaped, then started again */
    else
        again_later(g);
}

/* ---- ending ---- */

static void disconnect(struct gw_child *c)
{
    gw_io_stop(&c->io);
    gw_close_fd(&c->queue.fd);
    gw_note_queue_fini(&c->queue);
    gw_buf_fini(&c->answers);
    backlog_clear(&c->backlog);
    c->complete = false;
}

static void log_end(pid_t pid, int status, bool expected)
{
    if (expected && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    if (WIFSIGNALED(status))
        gw_log_error("the worker was killed pid=%d signal=%d", (int)pid, WTERMSIG(status));
    else
        gw_log_error("the worker ended pid=%d status=%d", (int)pid, WEXITSTATUS(status));
}

void gw_child_reap(struct gw_guard *g)
{
    struct gw_child *c = &g->child;
    int status;

    if (c->pid == 0 || waitpid(c->pid, &status, WNOHANG) != c->pid)
        return;
    /* It has said why it cannot start; what never ran is not tried again for ever. */
    g->unstartable =
        !g->stopping && !c->was_complete && WIFEXITED(status) && WEXITSTATUS(status) == 1;
    if (!g->unstartable)
        log_end(c->pid, status, g->stopping);
    c->pid = 0;
    disconnect(c);
    gw_timer_stop(&c->kill);
    if (g->stopping || g->unstartable) {
        gw_loop_stop(g->loop);
        return;
    }
    if (gw_clock_mono_ms() - c->started_ms >= HEALTHY_MS)
        c->backoff_ms = BACKOFF_FIRST_MS;
    again_later(g);
}

static void kill_child(void *guard)
{
    struct gw_guard *g = guard;

    if (g->child.pid == 0)
        return;
    gw_log_warning("the worker does not end and is killed pid=%d", (int)g->child.pid);
    (void)kill(g->child.pid, SIGKILL);
}

void gw_child_stop(struct gw_guard *g)
{
    struct gw_note n = {.kind = GW_NOTE_STOP};
    struct gw_child *c = &g->child;

    gw_timer_stop(&c->restart);
    if (c->pid == 0) {
        gw_loop_stop(g->loop);
        return;
    }
    gw_child_tell(g, &n);
    gw_timer_start(g->loop, &c->kill, STOP_MS);
}

void gw_child_close(struct gw_guard *g)
{
    struct gw_child *c = &g->child;

    if (c->pid != 0) {
        (void)kill(c->pid, SIGKILL);
        (void)waitpid(c->pid, NULL, 0);
        c->pid = 0;
    }
    if (c->queue.out.max) {
        gw_timer_stop(&c->restart);
        gw_timer_stop(&c->kill);
        disconnect(c);
    }
    free(c->backlog.ring);
    free(c->backlog.queued);
    c->backlog = (struct gw_backlog){0};
}

/* ---- telling ---- */

static void want(struct gw_child *c)
{
    bool full = gw_buf_len(&c->queue.out) >= QUEUE_PAUSE;

    gw_io_want(&c->io, (full ? 0 : EPOLLIN) | (gw_note_waiting(&c->queue) ? EPOLLOUT : 0));
}

static void post(struct gw_guard *g, const struct gw_note *n, int fd)
{
    GW_CLEANUP(gw_close_fd) int owned = fd;
    struct gw_child *c = &g->child;
    int err;

    if (c->pid == 0 || c->queue.fd < 0)
        return; /* a new one is told everything */
    err = gw_note_post(&c->queue, n, gw_take_fd(&owned));
    if (err == GW_EFULL) {
        gw_log_error("the worker does not listen and is killed pid=%d", (int)c->pid);
        (void)kill(c->pid, SIGKILL);
    }
    want(c); /* any other failure is its end, which is seen as such */
}

void gw_child_tell(struct gw_guard *g, const struct gw_note *n)
{
    post(g, n, -1);
}

void gw_child_listener(struct gw_guard *g, uint32_t index, int fd)
{
    struct gw_note n = {.kind = GW_NOTE_LISTENER, .index = index};

    post(g, &n, fd);
}

void gw_child_file(struct gw_guard *g, const struct gw_note *n, struct gw_slice bytes)
{
    int fd = -1;
    int err = gw_note_file(bytes, &fd);

    if (err)
        gw_log_error("the worker is not told kind=%u: %s", n->kind, gw_error_text(err));
    else
        post(g, n, fd);
}

void gw_child_reload(struct gw_guard *g, const char *error)
{
    struct gw_note n = {.kind = GW_NOTE_RELOAD, .failed = error != NULL};
    int fd = -1;
    int err = gw_note_file(error ? gw_slice_str(error) : gw_buf_slice(&g->bundle), &fd);

    if (err)
        gw_log_error("the worker is not told of the configuration: %s", gw_error_text(err));
    else
        post(g, &n, fd);
}

static bool fill_sighting(struct gw_guard *g, uint32_t slot, struct gw_sighting *out)
{
    const struct gw_table *t = &g->kernel.table;
    const struct gw_port *port;
    uint32_t mac = slot;

    if (t->slots[slot].kind == 0)
        return false;
    if (t->slots[slot].kind != CORDON_MAC) {
        mac = gw_table_owner(t, slot);
        if (mac == GW_SLOT_NONE)
            return false;
        out->has_ip = true;
        out->ip = gw_table_address(&t->slots[slot]);
    }
    gw_table_mac(t->slots[mac].a, out->mac);
    out->ifindex = t->slots[mac].owner;
    port = gw_network_port(&g->network, out->ifindex);
    if (port)
        memcpy(out->ifname, port->name, sizeof(out->ifname));
    return true;
}

void gw_child_pump(struct gw_guard *g)
{
    struct gw_child *c = &g->child;
    struct gw_backlog *b = &c->backlog;

    while (b->count > 0 && c->queue.fd >= 0 && gw_buf_len(&c->queue.out) < BACKLOG_BYTES) {
        struct gw_note n = {.kind = GW_NOTE_SIGHTING};
        uint32_t slot = b->ring[b->at];

        b->at = (b->at + 1) % b->cap;
        b->count--;
        b->queued[slot] = 0;
        if (fill_sighting(g, slot, &n.sighting))
            gw_child_tell(g, &n);
    }
}

/* ---- listening ---- */

static void answer(struct gw_guard *g, const struct gw_answer *a)
{
    struct gw_note n = {.kind = GW_NOTE_APPLIED};

    n.applied.token = a->token;
    n.applied.err = a->err;
    gw_child_tell(g, &n);
}

void gw_child_kept(struct gw_guard *g)
{
    struct gw_buf *waiting = &g->child.answers;

    for (; gw_buf_len(waiting) > 0; gw_buf_consume(waiting, sizeof(struct gw_answer))) {
        struct gw_answer a;

        memcpy(&a, gw_buf_slice(waiting).ptr, sizeof(a));
        answer(g, &a);
    }
}

/* In force now; answered when it is kept for a reboot, too. */
static void answer_when_kept(struct gw_guard *g, const struct gw_answer *a, enum gw_unsaved what)
{
    gw_guard_save_soon(g, what);
    if (gw_buf_append(&g->child.answers, GW_SLICE(a, sizeof(*a))) != 0)
        answer(g, a);
}

static void log_refused(struct gw_guard *g, const struct gw_hwaddr *a, int err)
{
    char text[GW_HWADDR_TEXT], which_text[GW_HWADDR_TEXT];
    struct gw_hwaddr which;
    const char *why = err == GW_EPROTECTED ? gw_protection(g, a, &which) : NULL;

    if (!gw_log_allowed(&g->child.refused, gw_clock_mono_ms()))
        return;
    if (why)
        gw_log_warning("verdict refused address=%s: %s %s, which is never cut off",
                       gw_hwaddr_text(a, text), gw_hwaddr_text(&which, which_text), why);
    else
        gw_log_warning("verdict refused address=%s: %s", gw_hwaddr_text(a, text),
                       gw_error_text(err));
}

static void on_verdict(struct gw_guard *g, const struct gw_note *n)
{
    const struct gw_judgement *j = &n->verdict.judgement;
    struct gw_answer a = {.token = n->verdict.token};
    struct gw_verdict_record v = {
        .address = n->verdict.address,
        .mode = (uint8_t)j->mode,
        .bound = j->bound,
        .policy = j->policy,
        .until_wall_ms = j->until_wall_ms,
    };
    static const uint8_t nobody[6];
    struct gw_hwaddr which;
    bool kept =
        !g->enforcing || (gw_verdict_stands(&g->kernel, &v) && !(g->unsaved & GW_UNSAVED_VERDICTS));

    if (!g->enforcing)
        a.err = GW_EUNSUPPORTED;
    else if (v.mode != GW_MODE_NONE || v.policy != 0)
        a.err = gw_protection(g, &v.address, &which) ? GW_EPROTECTED : 0;
    if (!a.err)
        a.err = gw_verdict_set(&g->kernel, &v, g->child.generation);
    if (!a.err && j->bound && memcmp(j->owner, nobody, sizeof(nobody)) != 0) {
        struct gw_hwaddr owner = gw_hwaddr_mac(j->owner);

        gw_verdict_own(&g->kernel, &v.address, &owner);
    }
    if (a.err && g->enforcing)
        log_refused(g, &v.address, a.err);
    if (a.err || kept)
        answer(g, &a);
    else
        answer_when_kept(g, &a, GW_UNSAVED_VERDICTS);
}

/* ---- policies ---- */

/* `out_more`: it only names more peers, as DNS answers make it; a copy without them allows less. */
static int set_policy(struct gw_guard *g, const struct gw_note *n, const struct gw_note_fds *fds,
                      bool *out_more)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf file = {.max = POLICY_BYTES};
    struct gw_policy p;
    int err = fds->count == 1 ? gw_note_file_read(fds->fd[0], &file) : GW_EMALFORMED;

    if (!err)
        err = gw_policy_decode(gw_buf_slice(&file), &p);
    if (!err && p.number != n->policy.number)
        err = GW_EMALFORMED;
    if (err)
        return err;
    *out_more = gw_policy_only_adds(&g->kernel, &p);
    return gw_policy_set(&g->kernel, &p, g->child.generation);
}

static void on_policy(struct gw_guard *g, const struct gw_note *n, const struct gw_note_fds *fds)
{
    struct gw_answer a = {.token = n->policy.token};
    bool only_more = false;

    if (!g->enforcing)
        a.err = GW_EUNSUPPORTED;
    else if (n->policy.number == gw_policy_of_tests(&g->kernel))
        a.err = GW_EFULL;
    else if (n->kind == GW_NOTE_POLICY)
        a.err = set_policy(g, n, fds, &only_more);
    else
        gw_policy_end(&g->kernel, (uint16_t)n->policy.number);
    only_more = only_more && gw_buf_len(&g->child.answers) == 0; /* or what came before is lost */
    if (!a.err && only_more)
        gw_guard_save_later(g, GW_UNSAVED_POLICIES);
    if (a.err || only_more)
        answer(g, &a);
    else
        answer_when_kept(g, &a, GW_UNSAVED_POLICIES);
}

static void on_learn(struct gw_guard *g, const struct gw_note *n)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf out = {.max = LEARNED_BYTES};
    struct gw_note_learning nothing = {.number = n->policy.number};
    struct gw_note reply = {.kind = GW_NOTE_LEARNED};
    int fd = -1, err = GW_EUNSUPPORTED;

    if (g->enforcing && nothing.number != gw_policy_of_tests(&g->kernel))
        err =
            gw_policy_learned(&g->kernel, (uint16_t)n->policy.number, n->policy.forget != 0, &out);
    if (err) {
        gw_buf_consume(&out, gw_buf_len(&out));
        err = gw_buf_append(&out, GW_SLICE(&nothing, sizeof(nothing)));
    }
    if (!err)
        err = gw_note_file(gw_buf_slice(&out), &fd);
    if (err)
        gw_log_error("what was learned is not told: %s", gw_error_text(err));
    else
        post(g, &reply, fd);
}

/* ---- the rest ---- */

static void on_complete(struct gw_guard *g)
{
    size_t cleared;

    g->child.complete = g->child.was_complete = true;
    gw_guard_ready();
    if (!g->enforcing)
        return;
    cleared = gw_verdict_sweep(&g->kernel, g->child.generation);
    g->kernel.table.state->unread = CORDON_WHOLE;
    gw_guard_unknown(g);
    gw_verdict_unknown_end(&g->kernel);
    if (gw_policy_sweep(&g->kernel, g->child.generation) > 0)
        gw_guard_save_soon(g, GW_UNSAVED_POLICIES);
    if (cleared > 0) {
        gw_log_info("verdicts that the registry does not hold are cleared count=%zu", cleared);
        gw_guard_save_soon(g, GW_UNSAVED_VERDICTS);
    }
}

static void on_resolve(struct gw_guard *g, const struct gw_hwaddr *ip)
{
    const struct gw_table *t = &g->kernel.table;
    uint32_t slot = g->enforcing ? gw_table_find(t, ip) : GW_SLOT_NONE;

    if (slot != GW_SLOT_NONE && gw_table_owner(t, slot) != GW_SLOT_NONE)
        gw_heard_tell(g, slot);
    else if (gw_log_allowed(&g->network.asked, gw_clock_mono_ms()))
        gw_network_neighbours(g);
    gw_child_pump(g);
}

static void serve(struct gw_guard *g, const struct gw_note *n, const struct gw_note_fds *fds)
{
    if (gw_note_check_to_enforcer(n) != 0) {
        gw_log_error("the worker sent what it must not, and is killed kind=%u", n->kind);
        (void)kill(g->child.pid, SIGKILL);
        return;
    }
    switch (n->kind) {
    case GW_NOTE_VERDICT:
        on_verdict(g, n);
        break;
    case GW_NOTE_COMPLETE:
        on_complete(g);
        break;
    case GW_NOTE_RESOLVE:
        on_resolve(g, &n->address);
        break;
    case GW_NOTE_POLICY:
    case GW_NOTE_POLICY_END:
        on_policy(g, n, fds);
        break;
    case GW_NOTE_LEARN:
        on_learn(g, n);
        break;
    case GW_NOTE_TEST:
        gw_selftest_start(g);
        break;
    default:
        break;
    }
}

static void on_child(void *guard, uint32_t events)
{
    struct gw_guard *g = guard;
    struct gw_child *c = &g->child;
    struct gw_note_fds fds = {.count = 0};
    struct gw_note n;
    int err = 0;

    if (events & EPOLLOUT)
        (void)gw_note_flush(&c->queue); /* its end is seen by reading */
    for (int i = 0; !err && i < TURN_NOTES && gw_buf_len(&c->queue.out) < QUEUE_PAUSE; i++) {
        err = gw_note_receive(c->queue.fd, &n, &fds);
        if (!err)
            serve(g, &n, &fds);
        gw_note_fds_close(&fds);
    }
    if (err && err != -EAGAIN) {
        gw_io_stop(&c->io); /* closed: it ends, SIGCHLD follows */
        gw_close_fd(&c->queue.fd);
        gw_note_queue_fini(&c->queue);
        if (err != GW_ECLOSED && c->pid != 0)
            (void)kill(c->pid, SIGKILL);
        return;
    }
    gw_child_pump(g);
    want(c);
}
