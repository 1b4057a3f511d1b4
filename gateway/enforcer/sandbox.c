/* SPDX-License-Identifier: GPL-2.0-only */
/* How the worker gives up what it does not need: identity, capabilities, files, system calls. */
#include "enforcer/enforcer.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/sockios.h>
#include <pwd.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/log.h"

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ull << 14) /* ABI 3, Linux 6.2 */
#endif

#define FS_READ_FILE LANDLOCK_ACCESS_FS_READ_FILE
#define FS_READ (FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_FILE                                                                                    \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_READ_FILE |                   \
     LANDLOCK_ACCESS_FS_TRUNCATE)
/* What the worker does in its own folders: no device nodes, nothing is executed. */
#define FS_OWN                                                                                     \
    (FS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |                       \
     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                              \
     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |    \
     LANDLOCK_ACCESS_FS_REFER)

static char in_force[96] = "none";

static void note(const char *what)
{
    size_t used = strlen(in_force);

    if (strcmp(in_force, "none") == 0)
        used = 0;
    (void)snprintf(in_force + used, sizeof(in_force) - used, "%s%s", used ? ", " : "", what);
}

const char *gw_sandbox_text(void)
{
    return in_force;
}

/* ---- Landlock ---- */

/* Every right that this kernel's ABI knows: what is not granted below is denied. */
static uint64_t handled_rights(int abi)
{
    uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; /* ABI 1 */

    if (abi >= 2)
        rights |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
    return rights;
}

/* A missing path is fine: there is nothing to read then. */
static int allow_path(int ruleset, const char *path, uint64_t rights)
{
    GW_CLEANUP(gw_close_fd) int fd = open(path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};
    struct stat st;

    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        rule.allowed_access &= FS_FILE;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return -errno;
    return 0;
}

static int allow_paths(int ruleset, const struct gw_config *config, uint64_t handled)
{
    /* Name resolution (and what it loads), trust anchors of the system, time zones. */
    static const char *const readable[] = {
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/nsswitch.conf",
        "/etc/host.conf",
        "/etc/gai.conf",
        "/etc/ssl",
        "/etc/services",
        "/usr/share/ca-certificates",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/usr/share/zoneinfo",
        "/lib",
        "/usr/lib",
        "/lib64",
        "/run/systemd/resolve",
        "/sys/devices/system/cpu",
        "/dev/urandom",
        "/dev/null",
#ifdef CORDON_SANITIZE
        "/proc",
        "/usr/bin",
#endif
    };
    int err = allow_path(ruleset, config->gateway.state_dir, FS_OWN & handled);

    if (!err)
        err = allow_path(ruleset, config->gateway.run_dir, FS_OWN & handled);
    for (size_t i = 0; i < GW_COUNT(readable) && !err; i++)
        err = allow_path(ruleset, readable[i], FS_READ);
    return err;
}

static int enter_landlock(const struct gw_config *config)
{
    struct landlock_ruleset_attr attr = {0};
    GW_CLEANUP(gw_close_fd) int ruleset = -1;
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    int err;

    if (abi < 1) {
        gw_log_warning("this kernel has no Landlock: files are guarded by ownership alone");
        return 0;
    }
    attr.handled_access_fs = handled_rights(abi);
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (ruleset < 0)
        return -errno;
    err = allow_paths(ruleset, config, attr.handled_access_fs);
    if (!err && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        err = -errno;
    if (!err)
        note("landlock");
    return err;
}

/* ---- seccomp ---- */

/* What an epoll loop, SQLite, a segment log, the TLS stack and name resolution need. */
static const char *const allowed_calls[] = {
    "accept",
    "accept4",
    "access",
    "arch_prctl",
    "bind",
    "brk",
    "chmod",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "clone",
    "clone3",
    "close",
    "close_range",
    "connect",
    "copy_file_range",
    "dup",
    "dup2",
    "dup3",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd2",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fallocate",
    "fchmod",
    "fchmodat",
    "fcntl",
    "fdatasync",
    "flock",
    "fstat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "futex",
    "get_robust_list",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpeername",
    "getpid",
    "getppid",
    "getpriority",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getrusage",
    "getsockname",
    "getsockopt",
    "gettid",
    "gettimeofday",
    "getuid",
    "getxattr",
    "lgetxattr",
    "listen",
    "lseek",
    "lstat",
    "madvise",
    "membarrier",
    "memfd_create",
    "mkdir",
    "mkdirat",
    "mlock",
    "mlock2",
    "mmap",
    "mprotect",
    "mremap",
    "munlock",
    "munmap",
    "nanosleep",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "pread64",
    "preadv",
    "prlimit64",
    "pselect6",
    "pwrite64",
    "pwritev",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "rename",
    "renameat",
    "renameat2",
    "restart_syscall",
    "rmdir",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sched_getaffinity",
    "sched_yield",
    "select",
    "sendfile",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "set_robust_list",
    "set_tid_address",
    "setsockopt",
    "shutdown",
    "sigaltstack",
    "signalfd4",
    "socketpair",
    "splice",
    "stat",
    "statfs",
    "statx",
    "sync_file_range",
    "sysinfo",
    "tgkill",
    "time",
    "timerfd_create",
    "timerfd_settime",
    "umask",
    "uname",
    "unlink",
    "unlinkat",
    "utimensat",
    "wait4",
    "write",
    "writev",
    /* 32-bit machines (OpenWrt on ARM and MIPS) */
    "_llseek",
    "_newselect",
    "clock_getres_time64",
    "clock_gettime64",
    "clock_nanosleep_time64",
    "fcntl64",
    "fstat64",
    "fstatat64",
    "ftruncate64",
    "futex_time64",
    "getegid32",
    "geteuid32",
    "getgid32",
    "getuid32",
    "lstat64",
    "mmap2",
    "ppoll_time64",
    "pselect6_time64",
    "recv",
    "recvmmsg_time64",
    "send",
    "stat64",
    "timerfd_settime64",
    "ugetrlimit",
    "cacheflush",
#ifdef CORDON_SANITIZE
    "getdents",
    "ptrace",
    "process_vm_readv",
    "personality",
    "kill",
    "setrlimit",
    "prctl",
    "sched_setaffinity",
    "pkey_alloc",
    "getpgrp",
#endif
};

static int allow_call(scmp_filter_ctx filter, const char *name)
{
    int nr = seccomp_syscall_resolve_name(name);

    if (nr == __NR_SCMP_ERROR)
        return 0; /* not on this machine */
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, nr, 0);
}

/* `nr` only with `value` as its argument `index`. */
static int allow_value(scmp_filter_ctx filter, int nr, unsigned index, unsigned long value)
{
    const struct scmp_arg_cmp only = {
        .arg = index, .op = SCMP_CMP_MASKED_EQ, .datum_a = UINT32_MAX, .datum_b = value};

    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, nr, 1, &only);
}

static int allow_some_arguments(scmp_filter_ctx filter)
{
    static const struct {
        int nr;
        unsigned index;
        unsigned long value;
    } rules[] = {
        {SCMP_SYS(socket), 0, AF_UNIX},        {SCMP_SYS(socket), 0, AF_INET},
        {SCMP_SYS(socket), 0, AF_INET6},       {SCMP_SYS(socket), 0, AF_NETLINK},
        {SCMP_SYS(ioctl), 1, FIONBIO},         {SCMP_SYS(ioctl), 1, FIONREAD},
        {SCMP_SYS(ioctl), 1, TCGETS},          {SCMP_SYS(ioctl), 1, SIOCGIFNAME},
        {SCMP_SYS(ioctl), 1, SIOCGIFINDEX},    {SCMP_SYS(ioctl), 1, SIOCGIFFLAGS},
#ifndef CORDON_SANITIZE
        {SCMP_SYS(prctl), 0, PR_SET_NAME},     {SCMP_SYS(prctl), 0, PR_GET_NAME},
        {SCMP_SYS(prctl), 0, PR_GET_DUMPABLE}, {SCMP_SYS(prctl), 0, PR_SET_VMA},
#endif
    };
    int err = 0;

    for (size_t i = 0; i < GW_COUNT(rules) && !err; i++)
        err = allow_value(filter, rules[i].nr, rules[i].index, rules[i].value);
    return err;
}

static void release_filter(scmp_filter_ctx *filter)
{
    if (*filter)
        seccomp_release(*filter);
}

/*
 * Everything else fails with EPERM rather than by death: a library that probes for a newer system
 * call goes on with the older one.
 */
static int enter_seccomp(void)
{
    GW_CLEANUP(release_filter) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int err = 0;

    if (!filter)
        return -ENOMEM;
    for (size_t i = 0; i < GW_COUNT(allowed_calls) && !err; i++)
        err = allow_call(filter, allowed_calls[i]);
    if (!err)
        err = allow_some_arguments(filter);
    if (!err)
        err = seccomp_load(filter);
    if (err == -EINVAL || err == -ENOSYS) {
        gw_log_warning("this kernel has no seccomp filters: system calls are not restricted");
        return 0;
    }
    if (!err)
        note("seccomp");
    return err;
}

/* ---- identity ---- */

static int drop_identity(const char *name)
{
    const struct passwd *user;

    if (geteuid() != 0)
        return 0; /* started without privileges: there are none to drop */
    errno = 0;
    user = getpwnam(name);
    if (!user)
        return errno ? -errno : -ENOENT;
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_change_id((int)user->pw_uid, (int)user->pw_gid,
                        CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING | CAPNG_CLEAR_AMBIENT) != 0)
        return -EPERM;
    if (capng_get_caps_process() != 0 || capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE)
        return -EPERM;
    if (geteuid() != user->pw_uid || getegid() != user->pw_gid)
        return -EPERM;
    note("no capabilities");
    return 0;
}

int gw_sandbox_enter(const struct gw_config *config)
{
    int err = drop_identity(config->gateway.user);

    if (!err && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        err = -errno;
#ifdef CORDON_SANITIZE
    /* The leak check at exit reads this process from a thread of its own. */
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
#endif
    if (!err)
        err = enter_landlock(config);
    if (!err)
        err = enter_seccomp();
    if (err)
        gw_log_error("privileges could not be dropped user=%s: %s", config->gateway.user,
                     gw_error_text(err));
    return err;
}
