/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The kernel programs and their maps: loaded, pinned, attached. Everything pinned stays in force
 * when this process dies; a later one takes it over without a gap.
 */
#pragma once

#include "enforcer/addresses.h"
#include "enforcer/note.h"
#include "enforcer/table.h"

#define GW_PIN_ROOT "/sys/fs/bpf/cordon"

struct ring_buffer;
struct cordon;

typedef void gw_kernel_event_fn(void *owner, const struct cordon_event *e);

struct gw_policy_kept;

#define GW_FLAGGED_KINDS 3 /**< CORDON_OWN, CORDON_ROUTER, CORDON_SERVER */

struct gw_kernel {
    struct cordon *skeleton;
    struct ring_buffer *ring;
    struct gw_table table;
    const char *pin_root; /**< NULL: nothing is pinned, for tests */
    char pin_maps[32];    /**< the directory of maps below it: their layout and size */
    bool taken_over;      /**< the maps were there already, with their verdicts */
    bool migrated;        /**< so were others, whose verdicts were copied */
    size_t map_bytes[GW_MAP_COUNT];
    struct gw_addresses flagged[GW_FLAGGED_KINDS]; /**< who carries which flag */
    struct gw_policy_kept **policies;              /**< by number; NULL: none */
    enum gw_ingress_choice choice; /**< how packets are caught; set before attaching */
    gw_kernel_event_fn *event;
    void *owner;
};

#define GW_WHY_MAX 160

/** libbpf says nothing on stderr: its words are for developers; ours follow. */
void gw_kernel_quiet(void);

/**
 * Load the programs with tables of `slots` (rounded up to a power of two) and pin the maps under
 * `pin_root`. Maps of this layout and size that are pinned there are taken over; of others, what
 * they hold is copied, and they go with gw_kernel_sweep(). Nothing is attached yet.
 * @param why  GW_WHY_MAX bytes: on failure, what cannot be done and what to do about it.
 */
int gw_kernel_open(struct gw_kernel *k, const char *pin_root, uint32_t slots,
                   char *why) GW_MUST_CHECK;
/** Let go of everything; what is pinned stays in force. */
void gw_kernel_close(struct gw_kernel *k);

/** Readable when events wait; then gw_kernel_events() hands them to `event`. */
int gw_kernel_ring_fd(const struct gw_kernel *k);
void gw_kernel_events(struct gw_kernel *k);
/** The ring of copies, for the worker; borrowed. */
int gw_kernel_copies_fd(const struct gw_kernel *k);

/** Prefixes are asked for by the programs once the first one is in. */
int gw_kernel_prefix_add(struct gw_kernel *k, const struct gw_hwaddr *net,
                         uint32_t slot) GW_MUST_CHECK;
void gw_kernel_prefix_remove(struct gw_kernel *k, const struct gw_hwaddr *net);

/** What a MAC without a slot may do. */
void gw_kernel_unknown(struct gw_kernel *k, enum gw_verdict_mode mode);

/**
 * These addresses, and no others, carry `flag`: CORDON_OWN (the gateway's, which remediation may
 * reach), CORDON_ROUTER or CORDON_SERVER. GW_EFULL, -ENOMEM.
 */
int gw_kernel_flag(struct gw_kernel *k, enum cordon_flag flag,
                   const struct gw_addresses *all) GW_MUST_CHECK;

/** These networks, and no others, are local to policies. GW_EFULL, -errno. */
int gw_kernel_locals(struct gw_kernel *k, const struct gw_addresses *all) GW_MUST_CHECK;

/** What is too much, as the configuration has it. */
void gw_kernel_limits(struct gw_kernel *k, const struct gw_config *config);

/** Which of the gateway's ports remediation leaves open: those that devices are listened to on. */
void gw_kernel_services(struct gw_kernel *k, const struct gw_config *config);

/** How one port is covered; zero-initialised with -1 in the links. */
struct gw_hooks {
    int ingress_link, egress_link; /**< -1: none, or a filter that needs no link */
    int bridging_link;             /**< only while one ingress mode gives way to another; else -1 */
    enum gw_ingress ingress;
    enum gw_egress egress;
    char reason[GW_REASON]; /**< why not the best; "": it is */
};

/**
 * Cover a port both ways with the best that this kernel and driver have, taking over what is pinned
 * for it by an atomic replacement. `h` says how it is covered so far, and then, how it is: what
 * runs goes on until another is in its place, also where its pin was taken away.
 */
void gw_kernel_attach(struct gw_kernel *k, uint32_t ifindex, struct gw_hooks *h);
/** Uncover a port that is no LAN port any more, or whose interface has gone. */
void gw_kernel_detach(struct gw_kernel *k, uint32_t ifindex, struct gw_hooks *h);

/**
 * What runs on the port, one way, is the loaded program, in the mode that is reported, and its pin
 * is there. False with `why` (GW_CHECK_DETAIL bytes) when not.
 */
bool gw_hooks_held(const struct gw_kernel *k, uint32_t ifindex, const struct gw_hooks *h,
                   bool egress, char *why);
/** Another program sees frames of this port before ours does, and could take them elsewhere. */
bool gw_hooks_behind(const struct gw_kernel *k, uint32_t ifindex, const struct gw_hooks *h);
/** The pinned maps are the loaded ones. */
bool gw_kernel_pinned(const struct gw_kernel *k, char *why);

/** Forget pinned links whose interface has gone, and all maps but those in use. */
void gw_kernel_sweep(const struct gw_kernel *k);
/** Remove every program, filter and map pinned under `pin_root`. -errno. */
int gw_kernel_unpin(const char *pin_root) GW_MUST_CHECK;

/** The shared maps' descriptors, borrowed. */
void gw_kernel_shared(const struct gw_kernel *k, int out[GW_MAP_SHARED]);

/**
 * Map the shared maps for reading; for the worker. The kernel shares memory only through writable
 * descriptors, so they are closed before the worker hears anybody; the mapping stays read-only.
 */
int gw_kernel_view(const int fds[GW_MAP_SHARED], struct gw_table *out,
                   size_t out_bytes[GW_MAP_SHARED]) GW_MUST_CHECK;
void gw_kernel_view_close(struct gw_table *t, const size_t bytes[GW_MAP_SHARED]);
