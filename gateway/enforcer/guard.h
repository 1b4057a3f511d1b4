/* SPDX-License-Identifier: GPL-2.0-only */
/* The privileged process's parts: ports and addresses (network.c), the worker (child.c), run.c. */
#pragma once

#include <sys/types.h>

#include "base/list.h"
#include "base/log.h"
#include "enforcer/bypass.h"
#include "enforcer/kernel.h"
#include "enforcer/verdict.h"

struct nl_sock;
struct rtnl_link;
struct rtnl_neigh;

/* A network interface of this machine; a LAN port when it is covered. */
struct gw_port {
    struct gw_list node;
    uint32_t ifindex, master, lower; /* of its bridge or bond; of the link below a VLAN; 0: none */
    char name[IFNAMSIZ];
    bool ethernet, bridge, vlan, bond_member;
    bool up;      /* carrier */
    bool seen;    /* in the dump that is being read */
    bool covered; /* a LAN port */
    struct gw_hooks hooks;
    struct gw_bypass_facts facts;
    uint32_t bypass;            /* of enum gw_bypass */
    uint32_t devices;           /* heard on it lately, when it was last counted */
    struct gw_link_report told; /* as the worker knows it */
};

/* A network that one of our interfaces is in. */
struct gw_net {
    uint32_t ifindex;
    struct gw_hwaddr address;
};

struct gw_network {
    struct nl_sock *events, *questions; /* multicast; dumps, which the kernel answers at once */
    struct gw_io io;
    struct gw_list ports;
    struct gw_addresses own, routers, broadcasts;
    struct gw_net *nets;
    size_t net_count, net_cap;
    uint32_t default_links[16]; /* interfaces of the default routes */
    size_t default_count;
    bool default_settled;      /* no further interface becomes an uplink */
    bool stale, lost;          /* something changed; some event was lost: ask for everything */
    struct gw_timer again;     /* when the kernel did not answer */
    struct gw_log_limit asked; /* resolve may dump the neighbours so often */
};

/* What waits to be told to the worker: each slot at most once. */
struct gw_backlog {
    uint32_t *ring;
    uint8_t *queued;
    uint32_t at, count, cap;
};

/* To a verdict that is in force but not kept yet. */
struct gw_answer {
    uint64_t token;
    int32_t err;
};

struct gw_child {
    pid_t pid; /* 0: none */
    struct gw_io io;
    struct gw_note_queue queue;
    struct gw_backlog backlog;
    struct gw_timer restart, kill;
    uint64_t started_ms, backoff_ms;
    bool complete;         /* it has repeated all its verdicts */
    bool was_complete;     /* this one, or one before it */
    uint16_t generation;   /* of the worker: what it sets is marked with it */
    struct gw_buf answers; /* of struct gw_answer: they wait for the copy on disk */
    struct gw_log_limit refused;
};

/* What changed since it was written. */
enum gw_unsaved { GW_UNSAVED_VERDICTS = 1, GW_UNSAVED_POLICIES = 2 };

struct gw_guard {
    const char *config_path;
    gw_config_check *check;
    struct gw_buf bundle;     /* what the configuration in force was read from, for each worker */
    struct gw_config *config; /* the same, built */
    struct gw_loop *loop;
    struct gw_kernel kernel;
    bool enforcing; /* the programs are loaded */
    char why[GW_WHY_MAX];
    struct gw_network network;
    struct gw_child child;
    struct gw_io signals, events, clock;
    struct gw_timer save, look; /* what could go past the programs, now and then */
    uint64_t looked_ms;
    int signal_fd, clock_fd, lock_fd;
    uint64_t saved_ms, save_took_ms; /* the last time */
    unsigned unsaved;                /* of enum gw_unsaved */
    bool stopping, unstartable;      /* asked to end; the first worker could not start */
    struct gw_log_limit full;        /* "the tables are full" */
    struct gw_selftest_run *test;    /* NULL: none runs */
};

/* ---- network.c ---- */

/* Follow links, addresses, routes and neighbours; covers the LAN ports there are. -errno. */
int gw_network_open(struct gw_guard *g) GW_MUST_CHECK;
void gw_network_close(struct gw_guard *g);
/* Look at everything again: after SIGHUP. */
void gw_network_refresh(struct gw_guard *g);
/* The interface of a default route. */
bool gw_network_has_default(const struct gw_network *n, uint32_t ifindex);
struct gw_port *gw_network_port(const struct gw_network *n, uint32_t ifindex);
/* Ask the neighbour table now; what it knows is heard. */
void gw_network_neighbours(struct gw_guard *g);

/* ---- ports.c ---- */

/* Which interfaces are LAN ports by now: cover the new ones, let go of the others, tell. */
void gw_ports_settle(struct gw_guard *g);
/* True for the interface of a default route, what it is made of, and what it lies over. */
bool gw_ports_uplink(const struct gw_guard *g, uint32_t ifindex);
/* Say which configured interfaces are not there: a name may be mistyped. */
void gw_ports_missing(const struct gw_guard *g);
/* True for a LAN port, or what lies over one: its bridge, a VLAN on either. */
bool gw_ports_reach(const struct gw_guard *g, uint32_t ifindex, int depth);
/*
 * What could go past the programs, and whether they still run: at every change of the links, but at
 * most once a second, and once a minute, for a driver's settings change without a word.
 */
void gw_ports_look_soon(struct gw_guard *g);
/* The report on one port; sent only when it differs from the last one. */
void gw_ports_tell(struct gw_guard *g, struct gw_port *p, bool again);

/* ---- heard.c ---- */

/* This MAC was heard on this port; `ip` NULL: no address. */
void gw_heard(struct gw_guard *g, const uint8_t mac[6], const struct gw_hwaddr *ip,
              uint32_t ifindex);
/* What the kernel programs tell: somebody was heard, or something is noticed. */
void gw_heard_event(void *guard, const struct cordon_event *e);
/* Tell the worker about the slot again. */
void gw_heard_tell(struct gw_guard *g, uint32_t slot);
/* Everything known, to a new worker. */
void gw_heard_tell_all(struct gw_guard *g);
/*
 * Why the address, or one in this network, must never be cut off: it is our own, the router's, a
 * broadcast address or a configured one. NULL: it may be. `out`: which of them.
 */
const char *gw_protection(const struct gw_guard *g, const struct gw_hwaddr *a,
                          struct gw_hwaddr *out) GW_MUST_CHECK;
/* Verdicts on what has become protected end. */
void gw_protect(struct gw_guard *g);

/* ---- listen.c ---- */

/* Open what `now` has and `old` has not; fds[i] is for now->at[i], -1: none. -errno with its words.
 */
int gw_listen_added(const struct gw_listen_list *old, const struct gw_listen_list *now,
                    int fds[GW_CONFIG_LIST_MAX], struct gw_config_error *error) GW_MUST_CHECK;
/* To the worker, before it is told of the configuration. */
void gw_listen_hand_over(struct gw_guard *g, int fds[GW_CONFIG_LIST_MAX]);

/* ---- child.c ---- */

int gw_child_start(struct gw_guard *g) GW_MUST_CHECK;
/* SIGCHLD: start it again later, or end. */
void gw_child_reap(struct gw_guard *g);
void gw_child_stop(struct gw_guard *g);
/* A listening socket for the admin address of this index; taken. */
void gw_child_listener(struct gw_guard *g, uint32_t index, int fd);
/* The new configuration, or why the present one stays. */
void gw_child_reload(struct gw_guard *g, const char *error);
void gw_child_close(struct gw_guard *g);
/* Tell one thing; a worker that does not listen is told later, or told again when it starts. */
void gw_child_tell(struct gw_guard *g, const struct gw_note *n);
/* The same, with these bytes in a file. */
void gw_child_file(struct gw_guard *g, const struct gw_note *n, struct gw_slice bytes);
/* The copy on disk holds every verdict given so far, or cannot: those who gave them are told. */
void gw_child_kept(struct gw_guard *g);
/* There is something in the backlog. */
void gw_child_pump(struct gw_guard *g);

/* ---- run.c ---- */

/* What whom nobody knows may do: as configured or, while verdicts are unread, only be repaired. */
void gw_guard_unknown(struct gw_guard *g);

/* It changed, and somebody may wait for its copy. */
void gw_guard_save_soon(struct gw_guard *g, enum gw_unsaved what);
/* It changed in a way that may be lost. */
void gw_guard_save_later(struct gw_guard *g, enum gw_unsaved what);
/* Tell the service manager, if there is one, that verdicts are in force and sockets are bound. */
void gw_guard_ready(void);
