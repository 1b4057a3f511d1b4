/* SPDX-License-Identifier: GPL-2.0-only */
/* The privileged process: its start, its signals, its end. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include "base/clock.h"
#include "enforcer/guard.h"
#include "enforcer/policy.h"
#include "enforcer/selftest.h"

#define SAVE_DELAY_MS 5 /* what is told together is written together */
#define SAVE_LATER_MS 30000
#define SAVE_RETRY_MS 60000
#define BUNDLE_MAX (64 << 20)
#define LOCK_NAME "enforcer.lock"
#define OWN_ADDRESSES 16 /* of the gateway, beside the verdicts */

/* ---- what must be there ---- */

static int complain(const char *fmt, ...) GW_PRINTF(1, 2);

static int complain(const char *fmt, ...)
{
    va_list args;

    (void)fputs("cordond: ", stderr);
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
    return 1;
}

/* Every directory up to `path`, then that one with its owner and mode; one that is ours to give. */
static int make_dir(const char *path, mode_t mode, const struct passwd *user)
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    char parent[PATH_MAX];
    struct stat st;

    (void)snprintf(parent, sizeof(parent), "%s", path);
    for (char *slash = strchr(parent + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(parent, 0755) < 0 && errno != EEXIST)
            return -errno;
        *slash = '/';
    }
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return -errno;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (st.st_uid == user->pw_uid)
        return 0;
    if (st.st_uid != 0)
        return -EPERM; /* somebody else's: not taken from them */
    if (fchown(fd, user->pw_uid, user->pw_gid) < 0 || fchmod(fd, mode) < 0)
        return -errno;
    return 0;
}

static int make_dirs(const struct gw_config *c)
{
    const struct passwd *user = getpwnam(c->gateway.user);
    int err;

    if (!user)
        return complain("gateway.user: there is no user \"%s\"", c->gateway.user);
    err = make_dir(c->gateway.state_dir, 0750, user);
    if (err)
        return complain("gateway.state_dir: %s: %s", c->gateway.state_dir, gw_error_text(err));
    err = make_dir(c->gateway.run_dir, 0755, user);
    if (err)
        return complain("gateway.run_dir: %s: %s", c->gateway.run_dir, gw_error_text(err));
    return 0;
}

static void bundle_fini(struct gw_buf *bundle)
{
    if (bundle->data)
        gw_wipe(bundle->data, bundle->cap); /* it holds keys */
    gw_buf_fini(bundle);
}

/*
 * Read, build and judge; `g` gets all of it or nothing, the caller frees what it had before. `fds`
 * (NULL: at the start) gets what the admin addresses that are new need.
 */
static int read_config(struct gw_guard *g, int *fds, struct gw_config_error *error)
{
    GW_CLEANUP(bundle_fini) struct gw_buf bundle = {.max = BUNDLE_MAX};
    GW_CLEANUP(gw_config_free) struct gw_config *config = NULL;
    int err;

    error->text[0] = '\0';
    err = gw_config_bundle(g->config_path, &bundle, error);
    if (!err)
        err = gw_config_unbundle(gw_buf_slice(&bundle), &config, error);
    if (!err)
        err = g->check(g->config_path, config, error);
    if (!err && fds)
        err = gw_listen_added(&g->config->admin.https, &config->admin.https, fds, error);
    if (err) {
        if (!*error->text)
            (void)snprintf(error->text, sizeof(error->text), "%s", gw_error_text(err));
        return err;
    }
    bundle_fini(&g->bundle);
    g->bundle = bundle;
    bundle = (struct gw_buf){0};
    g->config = GW_TAKE(config);
    return 0;
}

/* -EBUSY: a daemon holds it; another -errno: it cannot be opened. */
static int lock_in(const char *state_dir, int flags, int *out_fd)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/" LOCK_NAME, state_dir);
    *out_fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    if (*out_fd < 0)
        return -errno;
    return flock(*out_fd, LOCK_EX | LOCK_NB) < 0 ? -EBUSY : 0;
}

/* One daemon per state directory: two would write one database. */
static int lock(struct gw_guard *g)
{
    const char *state_dir = g->config->gateway.state_dir;
    int err = lock_in(state_dir, O_CREAT, &g->lock_fd);

    if (err == -EBUSY)
        return complain("another cordond runs with the state directory %s", state_dir);
    return err ? complain("%s/" LOCK_NAME ": %s", state_dir, gw_error_text(err)) : 0;
}

/* ---- the service manager ---- */

/* sd_notify(3) without its library: one datagram. */
void gw_guard_ready(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *name = getenv("NOTIFY_SOCKET");
    GW_CLEANUP(gw_close_fd) int fd = -1;
    size_t len = name ? strlen(name) : 0;

    if (len < 2 || len >= sizeof(to.sun_path))
        return;
    memcpy(to.sun_path, name, len);
    if (name[0] == '@')
        to.sun_path[0] = '\0'; /* abstract */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&to,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
        gw_log_warning("the service manager is not told: %s", gw_error_text(-errno));
}

/* ---- the tables ---- */

void gw_guard_unknown(struct gw_guard *g)
{
    bool closed = g->kernel.table.state->unread || g->config->lan.new_devices == GW_NEW_ISOLATE;

    gw_kernel_unknown(&g->kernel, closed ? GW_MODE_REMEDIATE : GW_MODE_NONE);
}

static void load_verdicts(struct gw_guard *g)
{
    int count = gw_verdict_load(&g->kernel, g->config->gateway.state_dir, 0);

    if (count >= 0) {
        gw_log_info("verdicts are back in force count=%d", count);
    } else if (count != -ENOENT) {
        gw_log_error("not all kept verdicts are in force: whoever is not known may only be "
                     "repaired until the worker repeats them: %s",
                     gw_error_text(count));
        g->kernel.table.state->unread = CORDON_UNREAD;
    }
}

static void load_policies(struct gw_guard *g)
{
    int count = gw_policy_load(&g->kernel, g->config->gateway.state_dir, 0);

    if (count > 0)
        gw_log_info("policies are back in force count=%d", count);
    else if (count < 0 && count != -ENOENT)
        gw_log_error("not all kept policies can be used, the worker repeats its own: %s",
                     gw_error_text(count));
}

/* What the tables do not hold yet, and what one who died while loading did not come to. */
static void load(struct gw_guard *g)
{
    const struct gw_kernel *k = &g->kernel;
    struct cordon_state *s = k->table.state;
    bool whole = k->taken_over && s->unread == CORDON_WHOLE;

    if (k->taken_over || k->migrated)
        gw_verdict_adopt(&g->kernel);
    if (!whole && !k->migrated)
        load_verdicts(g);
    if (!whole)
        load_policies(g);
    if (s->unread == CORDON_LOADING)
        s->unread = CORDON_WHOLE;
    gw_guard_unknown(g);
}

/* What the configuration says to the programs. */
static void configure(struct gw_guard *g)
{
    const struct gw_config *c = g->config;
    struct gw_addresses servers = {0};
    int err = 0;

    if (!g->enforcing)
        return;
    gw_guard_unknown(g);
    gw_kernel_limits(&g->kernel, c);
    for (size_t i = 0; !err && i < c->isolation.server_count; i++)
        err = gw_addresses_add(&servers, &c->isolation.servers[i]);
    if (!err)
        err = gw_kernel_flag(&g->kernel, CORDON_SERVER, &servers);
    free(servers.at);
    if (err)
        gw_log_error("isolation.servers are not all known to the kernel programs: %s",
                     gw_error_text(err));
}

/* Tables too small for what was decided would let somebody go. */
static uint32_t addresses(const struct gw_guard *g)
{
    uint32_t asked = g->config->isolation.addresses;
    size_t kept = asked ? gw_verdict_kept(g->config->gateway.state_dir) : 0;

    if (!asked || kept + OWN_ADDRESSES <= asked)
        return asked;
    gw_log_error("isolation.addresses has no room for the verdicts that are kept, and counts as "
                 "more until they are fewer addresses=%u verdicts=%zu",
                 asked, kept);
    return (uint32_t)GW_MIN(kept + OWN_ADDRESSES, (size_t)GW_CONFIG_ADDRESSES_MAX);
}

static void open_kernel(struct gw_guard *g)
{
    int err;

    g->kernel.event = gw_heard_event;
    g->kernel.owner = g;
    g->kernel.choice = g->config->isolation.ingress;
    err = gw_kernel_open(&g->kernel, GW_PIN_ROOT, addresses(g), g->why);
    g->enforcing = err == 0;
    if (err) {
        gw_log_error("isolation is off: %s", g->why);
        return;
    }
    gw_log_info("isolation %s addresses=%u",
                g->kernel.taken_over ? "taken over"
                : g->kernel.migrated ? "moved to new tables"
                                     : "ready",
                g->kernel.table.state->slots);
    configure(g);
    gw_kernel_services(&g->kernel, g->config); /* `listen` changes only with a restart */
    gw_selftest_forget(&g->kernel);
    load(g);
    gw_kernel_sweep(&g->kernel);
}

static void on_events(void *guard, uint32_t events)
{
    struct gw_guard *g = guard;

    (void)events;
    gw_kernel_events(&g->kernel);
}

/* ---- the copy on disk ---- */

typedef int save_fn(const struct gw_kernel *k, const char *state_dir);

static void save_one(struct gw_guard *g, enum gw_unsaved what, save_fn *fn, const char *name)
{
    int err = g->unsaved & what ? fn(&g->kernel, g->config->gateway.state_dir) : 0;

    if (err)
        gw_log_error("the %s are not kept for a reboot: %s", name, gw_error_text(err));
    else
        g->unsaved &= ~(unsigned)what;
}

/* Policies before the addresses that bear them. */
static void save(void *guard)
{
    struct gw_guard *g = guard;
    uint64_t started_ms = gw_clock_mono_ms();

    if (!g->enforcing)
        return;
    save_one(g, GW_UNSAVED_POLICIES, gw_policy_save, "policies");
    save_one(g, GW_UNSAVED_VERDICTS, gw_verdict_save, "verdicts");
    g->saved_ms = gw_clock_mono_ms();
    g->save_took_ms = g->saved_ms - started_ms;
    if (g->unsaved)
        gw_timer_start(g->loop, &g->save, SAVE_RETRY_MS);
    gw_child_kept(g);
}

static void save_within(struct gw_guard *g, enum gw_unsaved what, uint64_t delay_ms)
{
    uint64_t due_ms = gw_clock_mono_ms() + delay_ms;

    g->unsaved |= what;
    if (!gw_timer_armed(&g->save) || g->save.due_ms > due_ms)
        gw_timer_start(g->loop, &g->save, delay_ms);
}

/* The whole is written each time: when it is long and comes often, two thirds of the time are free.
 */
void gw_guard_save_soon(struct gw_guard *g, enum gw_unsaved what)
{
    uint64_t now_ms = gw_clock_mono_ms(), next_ms = g->saved_ms + 2 * g->save_took_ms;

    save_within(g, what, GW_MAX(next_ms > now_ms ? next_ms - now_ms : 0, (uint64_t)SAVE_DELAY_MS));
}

void gw_guard_save_later(struct gw_guard *g, enum gw_unsaved what)
{
    save_within(g, what, SAVE_LATER_MS);
}

/* ---- signals ---- */

/* A bad file changes nothing; the worker says why, to those who look there. */
static void reload(struct gw_guard *g)
{
    struct gw_config *old = g->config;
    struct gw_config_error error;
    int fds[GW_CONFIG_LIST_MAX];
    char *kept;

    if (read_config(g, fds, &error) != 0) {
        gw_log_error("configuration not reloaded: %s", error.text);
        gw_child_reload(g, error.text);
        return;
    }
    /* The lock and the copy of the verdicts stay where they are until a restart. */
    kept = old->gateway.state_dir;
    old->gateway.state_dir = g->config->gateway.state_dir;
    g->config->gateway.state_dir = kept;
    gw_config_free(&old);
    configure(g);
    gw_network_refresh(g);
    gw_ports_missing(g);
    gw_listen_hand_over(g, fds);
    gw_child_reload(g, NULL);
}

static void on_signal(void *guard, uint32_t events)
{
    struct gw_guard *g = guard;
    struct signalfd_siginfo info;

    (void)events;
    while (read(g->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGHUP:
            reload(g);
            break;
        case SIGCHLD:
            gw_child_reap(g);
            gw_selftest_reap(g);
            break;
        default:
            if (!g->stopping) {
                g->stopping = true;
                gw_child_stop(g);
            }
            break;
        }
    }
}

static int watch_signals(struct gw_guard *g)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGCHLD);
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    g->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (g->signal_fd < 0)
        return -errno;
    return gw_io_start(g->loop, &g->signals, g->signal_fd, EPOLLIN, on_signal, g);
}

/* ---- the wall clock ---- */

static int arm_clock(int fd)
{
    struct itimerspec far = {.it_value = {.tv_sec = INT32_MAX}};

    return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL);
}

/* A router without a battery learns the time after its start: ends are wall time. */
static void on_clock(void *guard, uint32_t events)
{
    struct gw_guard *g = guard;
    uint64_t expired;

    (void)events;
    if (read(g->clock_fd, &expired, sizeof(expired)) < 0 && errno == ECANCELED && g->enforcing)
        gw_verdict_retime(&g->kernel);
    (void)arm_clock(g->clock_fd);
}

static int watch_clock(struct gw_guard *g)
{
    g->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (g->clock_fd < 0 || arm_clock(g->clock_fd) < 0)
        return -errno;
    return gw_io_start(g->loop, &g->clock, g->clock_fd, EPOLLIN, on_clock, g);
}

/* ---- */

static int start(struct gw_guard *g)
{
    int err = gw_loop_new(&g->loop);

    if (!err)
        err = watch_signals(g);
    if (!err)
        err = watch_clock(g);
    if (err)
        return err;
    gw_timer_init(&g->save, save, g);
    open_kernel(g);
    err = gw_network_open(g);
    if (!err)
        gw_ports_missing(g);
    if (!err && g->enforcing)
        err =
            gw_io_start(g->loop, &g->events, gw_kernel_ring_fd(&g->kernel), EPOLLIN, on_events, g);
    return err ? err : gw_child_start(g);
}

static void finish(struct gw_guard *g)
{
    gw_selftest_stop(g);
    gw_child_close(g);
    if (g->loop && gw_timer_armed(&g->save))
        save(g);
    gw_timer_stop(&g->save);
    gw_network_close(g);
    gw_io_stop(&g->events);
    gw_io_stop(&g->signals);
    gw_io_stop(&g->clock);
    if (g->enforcing)
        gw_kernel_close(&g->kernel);
    gw_loop_free(&g->loop);
    gw_close_fd(&g->signal_fd);
    gw_close_fd(&g->clock_fd);
    gw_close_fd(&g->lock_fd);
    bundle_fini(&g->bundle);
    gw_config_free(&g->config);
}

static int prepare(struct gw_guard *g)
{
    struct gw_config_error error;

    if (read_config(g, NULL, &error) != 0)
        return complain("%s", error.text);
    if (geteuid() != 0)
        return complain("must be started as root: the enforcer loads kernel programs; everything "
                        "else runs as gateway.user");
    return make_dirs(g->config) || lock(g);
}

int gw_enforcer_run(const char *config_path, gw_config_check *check)
{
    struct gw_guard g = {
        .config_path = config_path,
        .check = check,
        .signal_fd = -1,
        .clock_fd = -1,
        .lock_fd = -1,
        .full = {.burst = 1, .per_ms = 600000},
    };
    int err, status;

    gw_log_name("enforcer");
    status = prepare(&g);
    if (!status) {
        err = start(&g);
        if (!err)
            err = gw_loop_run(g.loop);
        if (err)
            status = complain("cannot run: %s", gw_error_text(err));
        else if (g.unstartable)
            status = complain("could not start: the worker said why; what was pinned in the "
                              "kernel stays in force");
    }
    finish(&g);
    return status;
}

int gw_enforcer_unpin(const char *config_path)
{
    GW_CLEANUP(gw_config_free) struct gw_config *config = NULL;
    GW_CLEANUP(gw_close_fd) int fd = -1;
    struct gw_config_error error = {""};
    int err = gw_config_load(config_path, &config, &error);

    if (err) {
        (void)complain("%s", error.text);
        return err;
    }
    /* Under a daemon that goes on, what it enforces would end with it, and it would not know. */
    err = lock_in(config->gateway.state_dir, 0, &fd);
    if (err == -EBUSY) {
        (void)complain("a cordond runs with the state directory %s: stop it first",
                       config->gateway.state_dir);
        return err;
    }
    if (err && err != -ENOENT && err != -ENOTDIR) {
        (void)complain("%s/" LOCK_NAME ": %s", config->gateway.state_dir, gw_error_text(err));
        return err;
    }
    err = gw_kernel_unpin(GW_PIN_ROOT);
    if (err)
        (void)complain("cannot remove " GW_PIN_ROOT ": %s", gw_error_text(err));
    return err;
}
