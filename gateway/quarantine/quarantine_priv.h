/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "base/log.h"
#include "quarantine/quarantine.h"

#define BY_POLICY "policy"
#define BY_CONFIG "configuration"
#define REASON_NEW "not approved yet"

/* One verdict; its key (id or address) lies in it. */
struct entry {
    struct gw_verdict v;
    struct gw_quarantine *q;
    struct gw_timer expiry;
    struct gw_list on_networks; /* only a verdict on a network */
    struct gw_list in_order;    /* in the order of `number` */
    uint64_t number;            /* from 1, never reused */
    uint64_t change;            /* which change made it */
};

/* A verdict set or released, on its way to kernel and disk. */
struct change {
    struct gw_store_job job;
    struct gw_list node;
    struct gw_quarantine *q;
    uint64_t id;
    struct gw_verdict what; /* the verdict, or the key of the one released */
    struct gw_verdict before;
    bool set, had;      /* `what` is set, not released; there was one `before` */
    bool quiet;         /* no alert: part of something that told its own */
    bool undo;          /* takes another change back: is not taken back itself */
    bool only_sessions; /* the kernel does not enforce it */
    size_t waits;
    int err;
    gw_quarantine_done *fn;
    void *owner;
};

/* One message to the enforcer that is not answered yet; `change` NULL: nobody waits. */
struct pending {
    uint64_t token;
    struct change *change;
    struct gw_hwaddr addr;
};

struct window {
    uint64_t start_ms;
    uint32_t now, before;
};

struct rule {
    enum gw_strike strike;
    enum gw_verdict_mode mode;
    uint32_t count, window_s, for_s;
    bool dry_run;
};

/* Alerts of one kind about one device: how long to be quiet, and how many were kept back. */
struct quiet {
    uint64_t until_ms;
    uint32_t muted;
};

/* What one device did that is counted against it. */
struct striker {
    struct gw_list node;
    char device[GW_DEVICE_ID_MAX + 1];
    struct quiet wire[GW_WIRE_COUNT];
    struct tally {
        struct window window;
        struct quiet quiet; /* of what is only said */
    } tallies[];            /* one for each rule */
};

struct gw_quarantine {
    struct gw_loop *loop;
    const struct gw_config *config;
    struct gw_store *store;
    struct gw_journal *journal;
    struct gw_devices *devices;
    struct gw_device_listener listener;
    struct gw_quarantine_ops ops;
    struct gw_enforcer *enforcer;
    const struct gw_device *leaving; /* still in the registry, but for nothing */
    struct gw_map entries; /* by id, or by address: an id never starts with an address's kind */
    struct gw_list in_order;
    uint64_t last_number;
    struct gw_list networks;
    size_t network_count;
    size_t cutting_count; /* of the entries: those that cut off */
    struct gw_list changes;
    uint64_t last_change;

    struct {
        struct gw_map pending; /* by token */
        uint64_t last_token;
    } kernel;

    struct {
        struct rule rules[GW_CONFIG_RULES_MAX];
        size_t rule_count;
        struct gw_map strikers;    /* by device id */
        struct gw_list recent;     /* the one that struck last at the end */
        struct quiet strangers;    /* on the wire, with a MAC that the registry has no room for */
        struct gw_log_limit crowd; /* of alerts about all: MACs are made up easily */
    } strikes;
};

static inline bool verdict_on_device(const struct gw_verdict *v)
{
    return v->device[0] != '\0';
}

static inline bool verdict_on_network(const struct gw_verdict *v)
{
    return !verdict_on_device(v) && !gw_hwaddr_is_host(&v->addr);
}

static inline struct gw_slice verdict_key(const struct gw_verdict *v)
{
    return verdict_on_device(v) ? gw_slice_str(v->device) : gw_hwaddr_key(&v->addr);
}

/* quarantine.c */
bool quarantine_live(const struct gw_verdict *v);
/*
 * The address is, or part of the network, or a protected device has it or one in the network. In a
 * network no device is looked for that only another network protects: that would be all of them.
 */
bool quarantine_protects(const struct gw_quarantine *q, const struct gw_hwaddr *a);
/* Itself or an address of it is protected. */
bool quarantine_protects_device(const struct gw_quarantine *q, const struct gw_device *d);
/* Look a tick of the loop later whether the verdict is over: it ended, or is on somebody protected.
 */
void quarantine_look_soon(struct gw_quarantine *q, struct entry *e);
/* The stricter of two, either may be NULL; of the same mode, the one that ends later. */
const struct gw_verdict *quarantine_stricter(const struct gw_verdict *a,
                                             const struct gw_verdict *b);
int quarantine_put(struct gw_quarantine *q, const struct gw_verdict *v, uint64_t change);
void quarantine_remove(struct gw_quarantine *q, const struct gw_verdict *key);
/* Tell what holds now for the device, or for every device that has the address. */
void quarantine_tell(struct gw_quarantine *q, const struct gw_verdict *v);
void quarantine_tell_device(struct gw_quarantine *q, const char *id);
/** A verdict on the device is about to reach the kernel. */
void quarantine_tell_cutting(struct gw_quarantine *q, const struct gw_verdict *v);

/* change.c */
/* Start one change; `owner` may be NULL with `fn`; `quiet`: no alert. -ENOMEM, GW_EFULL. */
int quarantine_set(struct gw_quarantine *q, const struct gw_verdict *v, bool quiet,
                   gw_quarantine_done *fn, void *owner);
int quarantine_release(struct gw_quarantine *q, const struct gw_verdict *key, const char *by,
                       bool quiet, gw_quarantine_done *fn, void *owner);
/* The verdict on record `from` becomes one on `to`, without an instant in which none holds. */
void quarantine_move(struct gw_quarantine *q, const char *from, const char *to);
/* One thing that the change waited for. */
void quarantine_answer(struct change *c, int err);
void quarantine_abandon(struct gw_quarantine *q);
int quarantine_load(struct gw_quarantine *q);

/* kernel.c */
/* Send what holds for `a` now; `c` (NULL: nobody) waits for the answer. */
void quarantine_send(struct gw_quarantine *q, const struct gw_hwaddr *a, struct change *c);
/* The same for every address that the verdict names. */
void quarantine_send_all(struct gw_quarantine *q, const struct gw_verdict *v, struct change *c);
void quarantine_kernel_fini(struct gw_quarantine *q);

/* policy.c */
/* True when the device's address has to be told also where there is no verdict. */
bool quarantine_bears(const struct gw_quarantine *q, const struct gw_device *d,
                      const struct gw_hwaddr *a);
void quarantine_add_policy(const struct gw_quarantine *q, const struct gw_hwaddr *a,
                           struct gw_judgement *j);
/* It has one link address more, or fewer: whose its other addresses are depends on that. */
void quarantine_mac_changed(struct gw_quarantine *q, const struct gw_device *d);
/* Each address that bears something. */
void quarantine_send_devices(struct gw_quarantine *q);
/* Every address where the configuration changed what it bears: also one that bears nothing now. */
void quarantine_resend_devices(struct gw_quarantine *q, const struct gw_config *before);
/* The device is forgotten next: its addresses bear nothing of it any more. */
void quarantine_device_leaves(struct gw_quarantine *q, const struct gw_device *d);

/* follow.c */
void quarantine_follow(void *owner, const struct gw_device *d, enum gw_device_change what,
                       const struct gw_hwaddr *addr, const struct gw_device *from);

/* strikes.c */
void quarantine_rules(struct gw_quarantine *q);
void quarantine_strikes_fini(struct gw_quarantine *q);
/* The device that is counted against, made when unknown and now the latest. NULL: out of memory. */
struct striker *quarantine_striker(struct gw_quarantine *q, const char *device);
/* True when it may be said now, and then not again for so long; else it is counted. */
bool quarantine_may_say(struct gw_quarantine *q, struct quiet *quiet, uint64_t pause_ms);
/* What was kept back goes with the alert about `quiet`, once. */
void quarantine_put_muted(struct gw_quarantine *q, struct quiet *quiet, json_t *fields);
/* One strike; `figures` ("" : none) says what was counted in it. */
void quarantine_count(struct gw_quarantine *q, const struct gw_device *d, enum gw_strike kind,
                      const char *figures);
