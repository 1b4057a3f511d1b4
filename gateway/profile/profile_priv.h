/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "profile/learn.h"
#include "profile/mud.h"
#include "profile/profile.h"

#define NAMES_MAX (GW_POLICY_PEERS_MAX - RULES_PEERS_MAX) /* addresses of names, of one profile */
#define HOSTS_PER_NAME_MAX 64
#define LEARNED_MAX 8192
#define ANSWER_MS 2000 /* so long the enforcer may take to say what was learned */

/* An address that a name led to. */
struct named {
    char name[DNS_NAME_MAX + 1];
    struct gw_hwaddr address;
    int64_t until_ms; /* wall clock */
};

struct learned {
    struct gw_learned *at;
    size_t count;
    uint64_t missed, peak_bytes_per_s;
    uint32_t peak_packets_per_s;
    int64_t at_ms; /* wall clock; 0: never */
};

enum rule_source { SOURCE_NONE, SOURCE_LEARNED, SOURCE_MUD };

struct profile {
    struct gw_profiles *ps;
    char device[GW_DEVICE_ID_MAX + 1];
    uint16_t number;
    enum gw_profile_state state;
    int64_t since_ms, until_ms; /* of the state; until 0: for good */
    struct rules rules;
    enum rule_source source;
    int64_t rules_ms; /* when the rules were made */
    char *mud;        /* what was imported; NULL: nothing */
    struct mud_notes notes;
    uint32_t packets_per_s;
    uint64_t bytes_per_s;
    struct learned learned;

    bool observed;       /* by a verdict */
    bool sent;           /* the kernel has the policy, and the addresses its number */
    int kernel_err;      /* what it said last */
    unsigned forgetting; /* answers under way that tell what is to be forgotten */

    struct named *names;
    size_t name_count, name_room;
    bool names_dirty;
    struct gw_timer expiry, save, resend, end;
    uint64_t sent_ms;    /* monotonic; of the last policy */
    struct gw_list asks; /* who waits for what was learned */
};

/* A change on its way to disk and kernel; `fn` NULL: nobody waits. */
struct change {
    struct gw_list node;
    struct gw_profiles *ps;
    uint64_t token;
    char device[GW_DEVICE_ID_MAX + 1];
    unsigned waits;
    int err;
    gw_profile_done *fn;
    void *owner;
};

/* Somebody who goes on when it is known what was learned. */
struct ask {
    struct gw_list node;
    struct profile *p;
    struct gw_timer patience;
    void (*then)(struct ask *a, struct profile *p); /* p NULL: the profile is gone; frees `a` */
    bool enforce;
    char by[GW_DEVICE_ID_MAX + 1];
    gw_profile_done *fn;
    gw_profile_shown *shown;
    void *owner;
};

struct gw_profiles {
    struct gw_loop *loop;
    struct gw_store *store;
    struct gw_journal *journal;
    struct gw_devices *devices;
    struct gw_device_listener listener;
    struct gw_profiles_ops ops;
    struct gw_enforcer *enforcer;
    bool started, closing;
    struct gw_map by_device, by_number;
    struct gw_list changes;
    uint64_t last_token;
    struct gw_policy policy; /* the one that is being told: too large for a stack */
    struct gw_policy_peer peers[GW_POLICY_PEERS_MAX];
    struct rule_host hosts[NAMES_MAX];
};

/* profile.c */
struct profile *profile_get(const struct gw_profiles *ps, const char *device);
/* The one there is, or a new one that is off. NULL: no memory, or no number left. */
struct profile *profile_make(struct gw_profiles *ps, const char *device);
/* `number` 0: the least that is free. */
struct profile *profile_new(struct gw_profiles *ps, const char *device, uint16_t number);
void profile_free(struct profile *p);
void profile_alert(struct gw_profiles *ps, enum gw_severity severity, const char *device,
                   json_t *fields, const char *fmt, ...) GW_PRINTF(5, 6);

/* change.c */
/* Store the profile (NULL fn: quietly) and tell the kernel. */
int profile_commit(struct profile *p, gw_profile_done *fn, void *owner);
/* Store it only. */
void profile_save(struct profile *p);
/* Take it out of kernel, disk and memory. */
int profile_remove(struct profile *p, gw_profile_done *fn, void *owner);
void change_part_done(struct change *c, int err);
struct change *change_new(struct gw_profiles *ps, const char *device, gw_profile_done *fn,
                          void *owner);
void changes_abandon(struct gw_profiles *ps);

/* store.c */
int profiles_load(struct gw_profiles *ps) GW_MUST_CHECK;
/* Write the profile as it is now, `before` (NULL: the same) being the device it was of. */
int profile_store(struct profile *p, const char *before, struct change *c) GW_MUST_CHECK;
int profile_store_removal(struct gw_profiles *ps, const char *device,
                          struct change *c) GW_MUST_CHECK;
void profile_store_names(struct profile *p);

/* kernel.c */
bool profile_learns(const struct profile *p);
/* Tell the kernel the policy as it is now, or that there is none; `c` waits (NULL: nobody). */
void profile_tell(struct profile *p, struct change *c);
void profile_untell(struct profile *p, struct change *c);
/* Tell it soon, as the names changed. */
void profile_tell_soon(struct profile *p);
/* Then: at once when there is nothing to ask, or nobody. Owns `a`. */
void profile_ask(struct profile *p, struct ask *a);
void profile_ask_quietly(struct profile *p);
/* What was learned counts no more, here and in the kernel. */
void profile_forget_learned(struct profile *p);
void profile_asks_end(struct profile *p);

/* command.c */
void profile_arm_end(struct profile *p);

/* names.c */
void names_keep_used(struct profile *p);
void names_arm(struct profile *p);
/* Room for one more, not filled in. NULL: no memory, or there are NAMES_MAX. */
struct named *names_add(struct profile *p);
size_t names_hosts(const struct profile *p, struct rule_host *out);
void names_init(struct profile *p);
void names_stop(struct profile *p);

/* site.c */
void site_read(const struct gw_device *d, struct site *out);
