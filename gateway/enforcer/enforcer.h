/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The privileged process, and the worker's client for it. The enforcer loads, attaches and pins the
 * kernel programs, follows links and neighbours, applies verdicts, reads the files that the
 * configuration names, and starts the worker again when it dies. Everything pinned survives the
 * death of both. The client side: loop thread only.
 */
#pragma once

#include "base/addr.h"
#include "base/bytes.h"
#include "config/config.h"
#include "loop/loop.h"

/* ---- the privileged process ---- */

/** A last word on a configuration that was read: 0, or GW_ECONFIG with `*error` filled. */
typedef int gw_config_check(const char *path, const struct gw_config *config,
                            struct gw_config_error *error);

/**
 * Read the configuration, make the directories, load and attach, apply the verdicts kept on disk,
 * then start the worker (this program again, with `--worker FD`) and serve it until SIGTERM or
 * SIGINT. A worker that dies is started again, unless the first one refuses to start. SIGHUP hands
 * it a new bundle; until then every worker gets the same one, whatever becomes of the files.
 * `check` judges each configuration before anything is done with it.
 * @return the exit status: 0 after an orderly end, 1 when it could not start (said on stderr).
 */
int gw_enforcer_run(const char *config_path, gw_config_check *check);

/**
 * Remove everything that outlives the daemon: programs, filters, maps, pins; and with the maps the
 * verdicts, though not their copy in state_dir. For the removal of the package. Nothing to remove
 * is success; -errno otherwise, said on stderr.
 */
int gw_enforcer_unpin(void) GW_MUST_CHECK;

/* ---- the worker's side ---- */

enum gw_verdict_mode { GW_MODE_NONE, GW_MODE_ISOLATE, GW_MODE_REMEDIATE };
enum gw_ingress { GW_INGRESS_NONE, GW_INGRESS_NATIVE, GW_INGRESS_GENERIC, GW_INGRESS_TC };
enum gw_egress { GW_EGRESS_NONE, GW_EGRESS_TCX, GW_EGRESS_CLSACT };

/** Somebody was heard on a LAN port, or the neighbour table changed. */
struct gw_sighting {
    uint8_t mac[6];
    bool has_ip;
    struct gw_hwaddr ip; /**< valid with has_ip */
    uint32_t ifindex;
    char ifname[IFNAMSIZ];
};

/** A LAN port as it stands; sent at every change. */
struct gw_link_report {
    uint32_t ifindex;
    char ifname[IFNAMSIZ];
    bool present; /**< false: the interface is gone, or no LAN port any more */
    bool up;      /**< carrier */
    enum gw_ingress ingress;
    enum gw_egress egress;
    char reason[96]; /**< why not the best mode; "" : it is the best */
};

/** Counted in the kernel since the programs were first pinned. rx: from the address, tx: to it. */
struct gw_traffic {
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
    uint64_t dropped_packets, dropped_bytes; /**< both directions */
    uint64_t last_seen_ms; /**< monotonic ms of the last packet from it; 0: never */
};

struct gw_enforcer_ops {
    void (*sighting)(void *owner, const struct gw_sighting *s);
    void (*link)(void *owner, const struct gw_link_report *r);
    /** The kernel has (err 0) or refused (GW_EPROTECTED, GW_EFULL, …) the change called `token`. */
    void (*applied)(void *owner, uint64_t token, int err);
    /** SIGHUP: a new configuration bundle, or why there is none. */
    void (*reload)(void *owner, struct gw_slice bundle, const char *error);
    /** SIGTERM, or the enforcer is gone: flush everything and stop. */
    void (*stop)(void *owner);
};

struct gw_enforcer;

/** In `--worker FD`: wait for the first message, which is the configuration bundle. Blocks. */
int gw_enforcer_receive_bundle(int fd, struct gw_buf *out) GW_MUST_CHECK;

/**
 * Give up every privilege: user, groups, capabilities, no-new-privs, Landlock (only state_dir and
 * run_dir), seccomp. Threads made before keep theirs, so call it first. What this kernel lacks is
 * logged once. -errno when a privilege could not be dropped: do not go on.
 */
int gw_sandbox_enter(const struct gw_config *config) GW_MUST_CHECK;
/** What is in force, for `status`: "seccomp, landlock" or what is missing. */
const char *gw_sandbox_text(void);

/** Serve `fd` from the loop; takes the fd. Links and known addresses are reported at once. */
int gw_enforcer_connect(struct gw_loop *loop, int fd, const struct gw_enforcer_ops *ops,
                        void *owner, struct gw_enforcer **out) GW_MUST_CHECK;
void gw_enforcer_free(struct gw_enforcer **e);
/**
 * Inside `reload`: the listening socket for the admin address of this index, when the configuration
 * in force had none like it; the caller's. -1: there is none.
 */
int gw_enforcer_take_listener(struct gw_enforcer *e, size_t index) GW_MUST_CHECK;

/**
 * Set or replace the verdict on one address; `applied` answers with `token`. `until_wall_ms` 0:
 * until cleared. GW_MODE_NONE clears. Never waits.
 */
int gw_enforcer_verdict(struct gw_enforcer *e, const struct gw_hwaddr *a, enum gw_verdict_mode mode,
                        int64_t until_wall_ms, uint64_t token) GW_MUST_CHECK;

/**
 * After a start the worker repeats every verdict that the registry holds, then calls this: those
 * not repeated are cleared. So the registry is the authority and nothing opens in between.
 */
int gw_enforcer_verdicts_complete(struct gw_enforcer *e) GW_MUST_CHECK;

/** Ask for the link address of `ip`; a sighting follows, later, if it is known. */
int gw_enforcer_resolve(struct gw_enforcer *e, const struct gw_hwaddr *ip) GW_MUST_CHECK;

/** Read from memory shared with the kernel, no message: false when the address has no entry. */
bool gw_enforcer_traffic(const struct gw_enforcer *e, const struct gw_hwaddr *a,
                         struct gw_traffic *out);

/** The LAN ports as last reported; `out_dropped` gets packets and bytes dropped on port i. */
size_t gw_enforcer_links(const struct gw_enforcer *e, struct gw_link_report *out,
                         struct gw_traffic *out_traffic, size_t max);
