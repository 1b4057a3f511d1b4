/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Verdicts in the tables, and the copy of them on disk that comes back after a reboot before any
 * program is attached.
 */
#pragma once

#include "enforcer/kernel.h"

/** What holds for one address as the worker gave it; also the record on disk, host byte order. */
struct gw_verdict_record {
    struct gw_hwaddr address;
    uint8_t mode;          /**< enum gw_verdict_mode */
    uint8_t bound;         /**< 1: an address that no other MAC may use */
    uint16_t policy;       /**< number; 0: none */
    int64_t until_wall_ms; /**< of the mode; 0: no end */
};

_Static_assert(sizeof(struct gw_verdict_record) == 32, "the form on disk");

/**
 * Set, replace or (all zero, or an end that has passed) clear what holds for one address, for the
 * worker of this generation. The tables are what the programs read: it is in force on return.
 * GW_EFULL; -errno.
 */
int gw_verdict_set(struct gw_kernel *k, const struct gw_verdict_record *v,
                   uint16_t generation) GW_MUST_CHECK;

/** A bound address is this MAC's: nobody took it before by being heard first. */
void gw_verdict_own(struct gw_kernel *k, const struct gw_hwaddr *a, const struct gw_hwaddr *mac);

/**
 * True when setting it would change nothing that is kept on disk: mode, end and policy are these
 * already.
 */
bool gw_verdict_stands(const struct gw_kernel *k, const struct gw_verdict_record *v);

/** Verdicts found in pinned tables are of generation 0, which no worker has. */
void gw_verdict_adopt(struct gw_kernel *k);

/** Clear what another generation set. Returns how many. */
size_t gw_verdict_sweep(struct gw_kernel *k, uint16_t generation);

/**
 * Judge a MAC that was just heard of as gw_kernel_unknown says: known now, but not decided on. It
 * lasts for GW_UNKNOWN_MS where a worker decides in that time, else (`worker` false) until one
 * does.
 */
void gw_verdict_unknown_slot(struct gw_kernel *k, uint32_t slot, bool worker);
/** A worker has begun to decide: all such verdicts get their end. */
void gw_verdict_unknown_end(struct gw_kernel *k);
#define GW_UNKNOWN_MS 5000

/** The wall clock was set: the ends are computed again. */
void gw_verdict_retime(struct gw_kernel *k);

/**
 * Write all verdicts to `state_dir`/verdicts: a new file, synced, then renamed. -errno.
 */
int gw_verdict_save(const struct gw_kernel *k, const char *state_dir) GW_MUST_CHECK;

/** How many verdicts the copy on disk has; 0 also when it cannot be read. */
size_t gw_verdict_kept(const char *state_dir);
/**
 * Read them back into the tables. A file that is not root's, or damaged, is refused as a whole.
 * @return how many; -ENOENT; GW_EMALFORMED; GW_EPROTECTED for a file that root did not write.
 */
int gw_verdict_load(struct gw_kernel *k, const char *state_dir, uint16_t generation) GW_MUST_CHECK;
