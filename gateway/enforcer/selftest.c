/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The enforcer's side of a self-test: addresses, verdicts on them, a policy, the child, and what it
 * says.
 */
#include "enforcer/selftest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "enforcer/guard.h"
#include "enforcer/policy.h"

#define KILL_MS 20000
#define LIMIT_MS 3600000
#define DRAWS 32 /* until all addresses are nobody's */
#define RECORDS_MAX (GW_CHECKS_MAX * sizeof(struct gw_check))

struct gw_selftest_run {
    struct gw_guard *guard;
    struct gw_cast cast;
    pid_t pid;
    int fd;
    struct gw_io io;
    struct gw_timer kill;
    int64_t at_ms;
    uint64_t started_ms;
    bool complete, late; /* the child has said all; it was killed */
    struct gw_buf checks;
};

/* What holds for whom from the beginning. */
static const struct {
    uint8_t who, kind, prefix_len, mode;
    bool bound, confined;
} verdicts[] = {
    {GW_WHO_BAD, GW_ADDR_MAC, 48, GW_MODE_ISOLATE, false, false},
    {GW_WHO_BAD4, GW_ADDR_IPV4, 32, GW_MODE_ISOLATE, false, false},
    {GW_WHO_BAD6, GW_ADDR_IPV6, 128, GW_MODE_ISOLATE, false, false},
    {GW_WHO_NET4, GW_ADDR_IPV4, 30, GW_MODE_ISOLATE, false, false},
    {GW_WHO_NET6, GW_ADDR_IPV6, 64, GW_MODE_ISOLATE, false, false},
    {GW_WHO_FIXABLE, GW_ADDR_MAC, 48, GW_MODE_REMEDIATE, false, false},
    {GW_WHO_OWNER, GW_ADDR_IPV4, 32, GW_MODE_NONE, true, false},
    {GW_WHO_OWNER, GW_ADDR_IPV6, 128, GW_MODE_NONE, true, false},
    {GW_WHO_CONFINED, GW_ADDR_MAC, 48, GW_MODE_NONE, false, true},
    {GW_WHO_WATCHED, GW_ADDR_MAC, 48, GW_MODE_OBSERVE, false, true},
};

/* ---- addresses that nobody has ---- */

static struct gw_hwaddr address_of(const struct gw_cast *c, enum gw_who who, enum gw_addr_kind kind,
                                   unsigned prefix_len)
{
    struct gw_hwaddr a = kind == GW_ADDR_MAC    ? gw_hwaddr_mac(c->mac[who])
                         : kind == GW_ADDR_IPV4 ? gw_hwaddr_ipv4(c->ipv4[who])
                                                : gw_hwaddr_ipv6(c->ipv6[who]);

    return gw_hwaddr_masked(&a, prefix_len);
}

static bool is_free(const struct gw_guard *g, const struct gw_hwaddr *a)
{
    struct gw_hwaddr which;

    return gw_table_find(&g->kernel.table, a) == GW_SLOT_NONE && !gw_protection(g, a, &which);
}

/* Nobody on the LAN may be hit by the test's verdicts, nor the test by those of somebody. */
static bool cast_is_free(const struct gw_guard *g, const struct gw_cast *c)
{
    for (enum gw_who who = GW_WHO_ROUTER; who < GW_WHO_ALL; who++) {
        struct gw_hwaddr mac = address_of(c, who, GW_ADDR_MAC, 48);
        struct gw_hwaddr ipv4 = address_of(c, who, GW_ADDR_IPV4, 32);
        struct gw_hwaddr ipv6 = address_of(c, who, GW_ADDR_IPV6, 128);

        if (!is_free(g, &mac) || !is_free(g, &ipv4) || !is_free(g, &ipv6))
            return false;
    }
    for (uint8_t i = 0; i < 4; i++) { /* all hosts of the IPv4 prefix; the IPv6 one is large */
        struct gw_hwaddr host = address_of(c, GW_WHO_NET4, GW_ADDR_IPV4, 30);

        host.prefix_len = 32;
        host.bytes[3] |= i;
        if (!is_free(g, &host))
            return false;
    }
    return true;
}

static int draw(const struct gw_guard *g, struct gw_cast *c)
{
    for (int i = 0; i < DRAWS; i++) {
        int err = gw_cast_draw(c);

        if (err)
            return err;
        if (cast_is_free(g, c))
            return 0;
    }
    return GW_EFULL;
}

/* ---- verdicts on them ---- */

/* The slot is the test's: it is not kept on disk, not told, and goes with the test. */
static void mark(struct gw_kernel *k, const struct gw_hwaddr *a)
{
    uint32_t slot = gw_table_find(&k->table, a);

    if (slot != GW_SLOT_NONE)
        k->table.slots[slot].flags |= CORDON_TEST;
}

static int set(struct gw_guard *g, const struct gw_verdict_record *v)
{
    int err = gw_verdict_set(&g->kernel, v, g->child.generation);

    mark(&g->kernel, &v->address);
    return err;
}

static int judge(struct gw_guard *g, const struct gw_hwaddr *a, enum gw_verdict_mode mode,
                 int64_t for_ms)
{
    const struct gw_verdict_record v = {
        .address = *a,
        .mode = (uint8_t)mode,
        .until_wall_ms = for_ms ? gw_clock_wall_ms() + for_ms : 0,
    };

    return set(g, &v);
}

/* A slot that no verdict made. */
static int add(struct gw_guard *g, const struct gw_hwaddr *a, uint16_t flags,
               struct cordon_slot **out)
{
    uint32_t slot;
    int err = gw_table_add(&g->kernel.table, a, true, gw_clock_mono_ms() * 1000000, &slot);

    if (err)
        return err;
    *out = &g->kernel.table.slots[slot];
    gw_table_flag(&g->kernel.table, slot, CORDON_TEST | flags, true);
    return 0;
}

/* A device that was heard, and that nothing is held against. */
static int make_known(struct gw_guard *g, const struct gw_cast *c, enum gw_who who,
                      struct cordon_slot **out)
{
    struct gw_hwaddr a = address_of(c, who, GW_ADDR_MAC, 48);
    int err = add(g, &a, 0, out);

    if (!err)
        (*out)->seen_ns = gw_clock_mono_ms() * 1000000;
    return err;
}

/* With the test's policy, which no verdict may name. */
static int confine_one(struct gw_guard *g, const struct gw_cast *c,
                       const struct gw_verdict_record *v)
{
    struct cordon_slot *slot;
    int err = add(g, &v->address, 0, &slot);

    if (err)
        return err;
    __atomic_store_n(&slot->policy, c->policy, __ATOMIC_RELEASE);
    gw_table_judge(&g->kernel.table, (uint32_t)(slot - g->kernel.table.slots),
                   (enum gw_verdict_mode)v->mode, 0);
    return 0;
}

/* Its network addresses are its own: it was the last to use them, and used no others since. */
static int make_owner(struct gw_guard *g, const struct gw_cast *c)
{
    static const struct {
        enum gw_addr_kind kind;
        unsigned prefix_len;
    } families[] = {{GW_ADDR_IPV4, 32}, {GW_ADDR_IPV6, 128}};
    struct cordon_slot *mac;
    int err = make_known(g, c, GW_WHO_OWNER, &mac);

    for (size_t i = 0; !err && i < GW_COUNT(families); i++) {
        struct gw_hwaddr a = address_of(c, GW_WHO_OWNER, families[i].kind, families[i].prefix_len);
        uint32_t slot = gw_table_find(&g->kernel.table, &a);

        if (slot == GW_SLOT_NONE)
            return -ENOENT;
        g->kernel.table.slots[slot].owner = mac->self;
        mac->used[i] = slot;
    }
    return err;
}

/* As the gateway's: not by gw_kernel_flag(), whose list is of those that it really has. */
static int make_self(struct gw_guard *g, const struct gw_cast *c)
{
    struct gw_hwaddr ipv4 = address_of(c, GW_WHO_SELF, GW_ADDR_IPV4, 32);
    struct gw_hwaddr ipv6 = address_of(c, GW_WHO_SELF, GW_ADDR_IPV6, 128);
    struct cordon_slot *slot;
    int err = add(g, &ipv4, CORDON_OWN, &slot);

    return err ? err : add(g, &ipv6, CORDON_OWN, &slot);
}

/* ---- a policy for them ---- */

#define HTTPS 443

/* TCP from the device to ROUTER's port for HTTPS, and back. */
static int confine(struct gw_selftest_run *run, unsigned flags)
{
    const struct gw_policy_peer peers[] = {
        {address_of(&run->cast, GW_WHO_ROUTER, GW_ADDR_IPV4, 32), 3},
        {address_of(&run->cast, GW_WHO_ROUTER, GW_ADDR_IPV6, 128), 3},
    };
    const struct gw_policy p = {
        .number = run->cast.policy,
        .flags = flags,
        .rules = {{GW_FROM_DEVICE, IPPROTO_TCP, 0, 0, 0, UINT16_MAX, HTTPS, HTTPS},
                  {GW_TO_DEVICE, IPPROTO_TCP, 0, 0, 0, UINT16_MAX, HTTPS, HTTPS}},
        .rule_count = 2,
        .peers = peers,
        .peer_count = GW_COUNT(peers),
    };

    return gw_policy_set(&run->guard->kernel, &p, run->guard->child.generation);
}

/* One byte a second: the first packet takes those of the next minute, too. */
static int meter(struct gw_selftest_run *run)
{
    const struct gw_policy p = {.number = run->cast.policy, .bytes_per_s = 1};
    struct cordon_meter *m = &run->guard->kernel.table.meters[p.number];

    memset(m->at, 0, sizeof(m->at)); /* not filled since the boot: full */
    return gw_policy_set(&run->guard->kernel, &p, run->guard->child.generation);
}

static int prepare(struct gw_guard *g, struct gw_cast *c)
{
    struct cordon_slot *known;
    int err = draw(g, c);

    c->unknown_passes = g->kernel.table.state->unknown_mode == CORDON_PASS;
    c->policy = gw_policy_of_tests(&g->kernel);
    if (!err)
        err = make_known(g, c, GW_WHO_KNOWN, &known);
    for (size_t i = 0; !err && i < GW_COUNT(verdicts); i++) {
        const struct gw_verdict_record v = {
            .address = address_of(c, (enum gw_who)verdicts[i].who,
                                  (enum gw_addr_kind)verdicts[i].kind, verdicts[i].prefix_len),
            .mode = verdicts[i].mode,
            .bound = verdicts[i].bound,
        };

        err = verdicts[i].confined ? confine_one(g, c, &v) : set(g, &v);
    }
    if (!err)
        err = make_owner(g, c);
    return err ? err : make_self(g, c);
}

static int take_step(struct gw_selftest_run *run, uint32_t step)
{
    struct gw_hwaddr limited = address_of(&run->cast, GW_WHO_LIMITED, GW_ADDR_MAC, 48);
    struct gw_hwaddr leaver = address_of(&run->cast, GW_WHO_LEAVER, GW_ADDR_MAC, 48);

    switch ((enum gw_step)step) {
    case GW_STEP_LIMIT:
        return judge(run->guard, &limited, GW_MODE_ISOLATE, LIMIT_MS);
    case GW_STEP_END:
        return judge(run->guard, &limited, GW_MODE_ISOLATE, GW_STEP_END_MS);
    case GW_STEP_ISOLATE:
        return judge(run->guard, &leaver, GW_MODE_ISOLATE, 0);
    case GW_STEP_RELEASE:
        return judge(run->guard, &leaver, GW_MODE_NONE, 0);
    case GW_STEP_ENFORCE:
        return confine(run, GW_POLICY_REPORT | GW_POLICY_ENFORCE);
    case GW_STEP_REPORT:
        return confine(run, GW_POLICY_REPORT);
    case GW_STEP_METER:
        return meter(run);
    case GW_STEP_NONE:
    case GW_STEPS:
        break;
    }
    return -EINVAL;
}

void gw_selftest_forget(struct gw_kernel *k)
{
    uint16_t policy = 0; /* its addresses had it before it did anything */

    for (uint32_t i = 0; i < k->table.state->slots; i++) {
        struct gw_verdict_record none = {.mode = GW_MODE_NONE};
        uint32_t slot;

        if (k->table.slots[i].kind == 0 || !(k->table.slots[i].flags & CORDON_TEST))
            continue;
        if (k->table.slots[i].policy != 0)
            policy = k->table.slots[i].policy;
        none.address = gw_table_address(&k->table.slots[i]);
        (void)!gw_verdict_set(k, &none, 0); /* there is nothing that could fail in clearing */
        slot = gw_table_find(&k->table, &none.address);
        if (slot != GW_SLOT_NONE)
            gw_table_remove(&k->table, slot);
    }
    gw_policy_end(k, policy);
}

/* ---- what was found ---- */

static void note(struct gw_selftest_run *run, const struct gw_check *check)
{
    struct gw_check c = *check;

    c.name[sizeof(c.name) - 1] = c.where[sizeof(c.where) - 1] = c.detail[sizeof(c.detail) - 1] = 0;
    if (c.outcome <= GW_CHECK_SKIPPED)
        (void)!gw_buf_append(&run->checks, GW_SLICE(&c, sizeof(c))); /* full: enough is said */
}

static void note_held(struct gw_selftest_run *run, const char *name, const char *where, bool held,
                      const char *why)
{
    struct gw_check c = {.outcome = held ? GW_CHECK_PASSED : GW_CHECK_FAILED};

    (void)snprintf(c.name, sizeof(c.name), "%s", name);
    (void)snprintf(c.where, sizeof(c.where), "%s", where);
    (void)snprintf(c.detail, sizeof(c.detail), "%s", held ? "" : why);
    note(run, &c);
}

/* The ports themselves: what runs there is what the child sends its frames through. */
static void look_at_ports(struct gw_selftest_run *run)
{
    struct gw_guard *g = run->guard;
    char why[GW_CHECK_DETAIL] = "";

    note_held(run, "the maps are pinned", "", gw_kernel_pinned(&g->kernel, why), why);
    GW_LIST_EACH(&g->network.ports, node)
    {
        const struct gw_port *p = GW_LIST_ENTRY(node, struct gw_port, node);

        for (int egress = 0; p->covered && egress < 2; egress++) {
            bool held = gw_hooks_held(&g->kernel, p->ifindex, &p->hooks, egress, why);

            note_held(run, egress ? "the program runs, toward it" : "the program runs, from it",
                      p->name, held, why);
        }
    }
}

static void tell_error(struct gw_guard *g, const char *why)
{
    struct gw_note n = {.kind = GW_NOTE_TESTED, .failed = 1};

    gw_child_file(g, &n, gw_slice_str(why));
}

static void tell_result(struct gw_selftest_run *run)
{
    GW_CLEANUP(gw_buf_fini)
    struct gw_buf file = {.max = RECORDS_MAX + sizeof(struct gw_note_tested)};
    struct gw_note n = {.kind = GW_NOTE_TESTED};
    struct gw_note_tested head = {
        .at_ms = run->at_ms,
        .took_ms = (uint32_t)(gw_clock_mono_ms() - run->started_ms),
        .count = (uint32_t)(gw_buf_len(&run->checks) / sizeof(struct gw_check)),
    };

    if (gw_buf_append(&file, GW_SLICE(&head, sizeof(head))) != 0 ||
        gw_buf_append(&file, gw_buf_slice(&run->checks)) != 0)
        tell_error(run->guard, gw_error_text(-ENOMEM));
    else
        gw_child_file(run->guard, &n, gw_buf_slice(&file));
}

/* ---- the child ---- */

static void hang_up(struct gw_selftest_run *run)
{
    gw_io_stop(&run->io);
    gw_close_fd(&run->fd);
}

/* Everything that the child has said so far; false at its end. */
static bool listen_to(struct gw_selftest_run *run)
{
    struct gw_test_note n;
    ssize_t len;

    while ((len = recv(run->fd, &n, sizeof(n), MSG_DONTWAIT)) == (ssize_t)sizeof(n)) {
        int32_t err;

        switch ((enum gw_test_word)n.word) {
        case GW_TEST_CHECK:
            note(run, &n.check);
            break;
        case GW_TEST_STEP:
            err = take_step(run, n.step);
            (void)!send(run->fd, &err, sizeof(err), MSG_DONTWAIT | MSG_NOSIGNAL);
            break;
        case GW_TEST_END:
            run->complete = true;
            break;
        }
    }
    return len < 0 && (errno == EAGAIN || errno == EINTR);
}

static void on_child(void *selftest, uint32_t events)
{
    struct gw_selftest_run *run = selftest;

    (void)events;
    if (!listen_to(run))
        hang_up(run); /* SIGCHLD follows */
}

static void on_late(void *selftest)
{
    struct gw_selftest_run *run = selftest;

    gw_log_error("the isolation test does not end and is killed pid=%d", (int)run->pid);
    run->late = true;
    (void)kill(run->pid, SIGKILL);
}

static void run_free(struct gw_selftest_run *run)
{
    gw_timer_stop(&run->kill);
    hang_up(run);
    gw_selftest_forget(&run->guard->kernel);
    run->guard->test = NULL;
    gw_buf_fini(&run->checks);
    free(run);
}

/* What the child must not hold: the lock and the worker's socket would outlive the enforcer. */
static _Noreturn void be_child(struct gw_selftest_run *run, int fd)
{
    struct gw_guard *g = run->guard;

    gw_close_fd(&g->lock_fd);
    gw_close_fd(&g->child.queue.fd);
    gw_close_fd(&g->signal_fd);
    gw_close_fd(&g->clock_fd);
    gw_close_fd(&run->fd);
    gw_selftest_child(&g->kernel, &run->cast, fd);
}

static int spawn(struct gw_selftest_run *run)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    run->fd = pair[0];
    run->pid = fork();
    if (run->pid == 0)
        be_child(run, pair[1]);
    (void)close(pair[1]);
    if (run->pid < 0)
        return -errno;
    gw_timer_start(run->guard->loop, &run->kill, KILL_MS);
    return gw_io_start(run->guard->loop, &run->io, run->fd, EPOLLIN, on_child, run);
}

void gw_selftest_start(struct gw_guard *g)
{
    struct gw_selftest_run *run;
    int err;

    if (g->test)
        return; /* its answer is the one */
    if (!g->enforcing) {
        tell_error(g, g->why);
        return;
    }
    run = calloc(1, sizeof(*run));
    if (!run) {
        tell_error(g, gw_error_text(-ENOMEM));
        return;
    }
    *run = (struct gw_selftest_run){.guard = g,
                                    .fd = -1,
                                    .at_ms = gw_clock_wall_ms(),
                                    .started_ms = gw_clock_mono_ms(),
                                    .checks = {.max = RECORDS_MAX}};
    gw_timer_init(&run->kill, on_late, run);
    g->test = run;
    look_at_ports(run);
    err = prepare(g, &run->cast);
    if (!err)
        err = spawn(run);
    if (err) {
        if (run->pid > 0) {
            (void)kill(run->pid, SIGKILL);
            (void)waitpid(run->pid, NULL, 0);
        }
        tell_error(g, err == GW_EFULL ? "there is no room for the test's own addresses"
                                      : gw_error_text(err));
        run_free(run);
    }
}

static void note_end(struct gw_selftest_run *run, int status)
{
    struct gw_check c = {.name = "the test ran to its end", .outcome = GW_CHECK_FAILED};

    if (run->late)
        (void)snprintf(c.detail, sizeof(c.detail), "it hung and was killed after %d s",
                       KILL_MS / 1000);
    else if (WIFSIGNALED(status))
        (void)snprintf(c.detail, sizeof(c.detail), "it was killed by signal %d", WTERMSIG(status));
    else
        (void)snprintf(c.detail, sizeof(c.detail), "it ended early with status %d",
                       WEXITSTATUS(status));
    note(run, &c);
}

void gw_selftest_reap(struct gw_guard *g)
{
    struct gw_selftest_run *run = g->test;
    int status;

    if (!run || waitpid(run->pid, &status, WNOHANG) != run->pid)
        return;
    if (run->fd >= 0)
        (void)listen_to(run);
    if (!run->complete)
        note_end(run, status);
    tell_result(run);
    run_free(run);
}

void gw_selftest_stop(struct gw_guard *g)
{
    struct gw_selftest_run *run = g->test;

    if (!run)
        return;
    (void)kill(run->pid, SIGKILL);
    (void)waitpid(run->pid, NULL, 0);
    run_free(run);
}
