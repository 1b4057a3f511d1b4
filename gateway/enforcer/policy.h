/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Policies in the kernel's maps: rules, peers, limits, and what was learned. A policy has two
 * banks; one is filled while the other is in force, so no packet meets half of a change.
 */
#pragma once

#include "enforcer/kernel.h"

/**
 * Make or replace a policy, for the worker of this generation. GW_EFULL: no such number in these
 * tables, or no room for its peers; what was in force stays. GW_EMALFORMED; -ENOMEM; -errno.
 */
int gw_policy_set(struct gw_kernel *k, const struct gw_policy *p,
                  uint16_t generation) GW_MUST_CHECK;
/**
 * The last number is the self-test's: whatever a worker or a file says of it is refused as one that
 * is not in the tables, so a test can always run, and meets nobody's policy.
 */
uint16_t gw_policy_of_tests(const struct gw_kernel *k);
/** It has sound rules and peers, whatever the tables hold. */
bool gw_policy_valid(const struct gw_policy *p);
/** The number does something: it was set, and has not ended. */
bool gw_policy_is_set(const struct gw_kernel *k, uint32_t number);
/** What it does; the peers are borrowed until the next change. */
struct gw_policy gw_policy_get(const struct gw_kernel *k, uint32_t number);
/** True when setting it would leave all as it is, but for more peers, or more rules of some. */
bool gw_policy_only_adds(const struct gw_kernel *k, const struct gw_policy *p);
/** It does nothing from now on, and what it learned is forgotten. */
void gw_policy_end(struct gw_kernel *k, uint16_t number);
/**
 * Addresses whose policy does nothing, for it could not be read back: until the worker says it,
 * nothing passes but what always does. Returns how many policies.
 */
size_t gw_policy_close_unknown(struct gw_kernel *k);
/** End what another generation made. Returns how many. */
size_t gw_policy_sweep(struct gw_kernel *k, uint16_t generation);

/**
 * What was learned of one policy, as a struct gw_note_learning and its records, appended to `out`.
 * `forget`: and begin anew. GW_EFULL, -ENOMEM, -errno.
 */
int gw_policy_learned(struct gw_kernel *k, uint16_t number, bool forget,
                      struct gw_buf *out) GW_MUST_CHECK;

/* ---- policy_file.c ---- */

/** The file of a GW_NOTE_POLICY; `out->peers` is borrowed from it. GW_EMALFORMED. */
int gw_policy_decode(struct gw_slice file, struct gw_policy *out) GW_MUST_CHECK;
/** The same file; appended. -ENOMEM, GW_EFULL. */
int gw_policy_encode(const struct gw_policy *p, struct gw_buf *out) GW_MUST_CHECK;

/** Write all policies that do something to `state_dir`/policies, as gw_verdict_save() does. -errno.
 */
int gw_policy_save(const struct gw_kernel *k, const char *state_dir) GW_MUST_CHECK;
/**
 * Read them back, after the addresses that bear them: whoever bears one that cannot be read (the
 * file is damaged, or gone, or has no room) may do nothing until the worker repeats it.
 * @return how many; the first error when that was not all: -ENOENT, -ENOMEM, GW_EFULL,
 *         GW_EMALFORMED (a damaged file is refused as a whole), GW_EPROTECTED for another's file.
 */
int gw_policy_load(struct gw_kernel *k, const char *state_dir, uint16_t generation) GW_MUST_CHECK;
