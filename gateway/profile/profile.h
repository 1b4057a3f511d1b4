/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What each device may do on the wire: learned from what it does, or read from its maker's MUD file
 * (RFC 8520); reported, or enforced by the kernel; and how much of it a second. Kept in the
 * database; the kernel has it as a policy, whose number every address of the device bears. Loop
 * thread only. After a crash what was answered holds; names' addresses of the last seconds may be
 * missing until they are asked for again.
 */
#pragma once

#include "device/device.h"
#include "enforcer/enforcer.h"
#include "journal/journal.h"

enum gw_profile_state {
    GW_PROFILE_OFF,       /**< no rule holds; limits do */
    GW_PROFILE_LEARNING,  /**< what it does is kept */
    GW_PROFILE_REPORTING, /**< what no rule allows is told */
    GW_PROFILE_ENFORCING, /**< and dropped */
};
const char *gw_profile_state_text(enum gw_profile_state s);

/** Every token that this room gives the enforcer has this bit; quarantine's never have. */
#define GW_PROFILE_TOKEN (UINT64_C(1) << 63)

#define GW_PROFILE_MUD_MAX (256u << 10) /**< bytes of an imported file */
#define GW_PROFILE_SECONDS_MAX (366ull * 86400)
#define GW_PROFILE_PACKETS_MAX 10000000ull   /**< a second */
#define GW_PROFILE_BYTES_MAX 100000000000ull /**< a second */

struct gw_profiles_ops {
    /** gw_profiles_number of the device changed: each address of it has to be told again. */
    void (*changed)(void *owner, const char *device);
    void *owner;
};

struct gw_profiles;
/**
 * Loads all. Open it before quarantine, so that it hears first of what happens to a device: its end
 * is its profile's, a merge takes it along. `ops` is copied. GW_ESTORE, -ENOMEM.
 */
int gw_profiles_open(struct gw_loop *loop, struct gw_store *store, struct gw_journal *journal,
                     struct gw_devices *devices, const struct gw_profiles_ops *ops,
                     struct gw_profiles **out) GW_MUST_CHECK;
/** Changes that wait end with GW_ECLOSED; what was stored stays. */
void gw_profiles_close(struct gw_profiles **p);
/** Repeat every policy to the enforcer (borrowed), before quarantine repeats the addresses. */
void gw_profiles_start(struct gw_profiles *p, struct gw_enforcer *e);

/** Wire the enforcer's `applied` (tokens with GW_PROFILE_TOKEN), `learned` and `dns` here. */
void gw_profiles_applied(struct gw_profiles *p, uint64_t token, int err);
void gw_profiles_learned(struct gw_profiles *p, const struct gw_learning *l);
void gw_profiles_dns(struct gw_profiles *p, const uint8_t mac[6], struct gw_slice payload);

/** The policy that the device's addresses bear; 0: none. */
uint16_t gw_profiles_number(const struct gw_profiles *p, const char *device);
/** A verdict `observe` began or ended: while it holds, the device is learned, whatever its state.
 */
void gw_profiles_observed(struct gw_profiles *p, const char *device, bool on);

/**
 * Called once for each call below that returned 0, perhaps before it returns: 0 when it is stored
 * and the kernel has it. `why` completes "…: ", "" when `err` says it all. The change holds in
 * memory and is tried again with the next one when only kernel or disk refused: GW_EFULL,
 * GW_EUNSUPPORTED (no isolation here), GW_ESTORE. GW_ENOTFOUND: nothing was learned or imported, or
 * the profile went; GW_ECLOSED.
 */
typedef void gw_profile_done(void *owner, int err, const char *why);
/** What `err` means for a profile; static. GW_EFULL: which limit was reached, and what helps. */
const char *gw_profile_problem(int err);

/*
 * The calls below, each of a known device. @return 0: `fn` is called; otherwise it is not:
 * GW_ENOTFOUND: there is no such device; GW_EFULL: no number is left, or no memory, for a profile
 * of its own; -ENOMEM; and what each names.
 */

/**
 * What was learned before is forgotten. `seconds` 0: until told otherwise; at its end the rules are
 * made, nothing is enforced yet. GW_ETOOBIG: over GW_PROFILE_SECONDS_MAX.
 */
int gw_profile_learn(struct gw_profiles *p, const char *device, uint64_t seconds, const char *by,
                     gw_profile_done *fn, void *owner) GW_MUST_CHECK;
/**
 * Report what departs from its rules, or drop it as well (`enforce`). The rules are made out of
 * what was learned, if it learns or has none. `fn`: GW_ENOTFOUND without either; GW_EFULL: they are
 * too many.
 */
int gw_profile_apply(struct gw_profiles *p, const char *device, bool enforce, const char *by,
                     gw_profile_done *fn, void *owner) GW_MUST_CHECK;
/** Rules, limits and what was learned stay. */
int gw_profile_off(struct gw_profiles *p, const char *device, const char *by, gw_profile_done *fn,
                   void *owner) GW_MUST_CHECK;
/** All of it goes; without one there is nothing to do. */
int gw_profile_forget(struct gw_profiles *p, const char *device, const char *by,
                      gw_profile_done *fn, void *owner) GW_MUST_CHECK;
/** Each way; 0: no limit. GW_ETOOBIG: over GW_PROFILE_PACKETS_MAX or GW_PROFILE_BYTES_MAX. */
int gw_profile_limit(struct gw_profiles *p, const char *device, uint64_t packets_per_s,
                     uint64_t bytes_per_s, const char *by, gw_profile_done *fn,
                     void *owner) GW_MUST_CHECK;
/**
 * The file's rules take the place of those there are, in the state there is; learning ends. `fn`:
 * GW_EMALFORMED, GW_ETOOBIG, GW_EFULL, GW_EUNSUPPORTED with `why`: the file is refused and changes
 * nothing.
 */
int gw_profile_import(struct gw_profiles *p, const char *device, struct gw_slice mud,
                      const char *by, gw_profile_done *fn, void *owner) GW_MUST_CHECK;

/** The profile as the API shows it; `json` is the receiver's, NULL when memory is out. */
typedef void gw_profile_shown(void *owner, json_t *json);
/**
 * Asks first what was learned meanwhile; a device without a profile is shown as off.
 * @return 0: `fn` is called; GW_ENOTFOUND: there is no such device; -ENOMEM.
 */
int gw_profile_show(struct gw_profiles *p, const char *device, gw_profile_shown *fn,
                    void *owner) GW_MUST_CHECK;
/** Its rules as a MUD file; NULL: it has none. */
json_t *gw_profile_mud(const struct gw_profiles *p, const char *device);
