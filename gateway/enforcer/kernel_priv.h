/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by kernel.c and hooks.c: where pins are. */
#pragma once

#include "enforcer/kernel.h"

#define GW_PIN_PATH 160
#define GW_STRING_(x) #x
#define GW_STRING(x) GW_STRING_(x)
/* Maps have a directory each layout and size; links are taken over whatever their program was. */
#define GW_PIN_MAPS "v" GW_STRING(CORDON_LAYOUT) "-%u"
#define GW_PIN_LINKS "links"

char *gw_pin_path(char out[GW_PIN_PATH], const char *root, const char *dir, const char *name);

/* Unlink every pin in a directory, and it; with `deep`, what is below it. -errno. */
int gw_pin_remove_dir(const char *path, bool deep);

/* Whose network namespace the links of a daemon are in. */
uint64_t gw_kernel_netns(void);

/* entries.c */
void gw_kernel_copy_live(struct gw_kernel *k);
/* The slots are the authority for the prefixes too: a daemon may have died between two steps. */
void gw_kernel_adopt_prefixes(struct gw_kernel *k);
int gw_kernel_adopt_flags(struct gw_kernel *k) GW_MUST_CHECK;

/*
 * Copy what the maps of another layout or size hold, pinned in the directory `name`: addresses,
 * verdicts, counters, last seen. What does not fit is left out, verdicts last. Returns how many
 * addresses; -ENOENT: nothing usable is there.
 */
int gw_migrate(struct gw_kernel *k, const char *name);

/* What policies left in the maps that were taken over. */
int gw_policy_adopt(struct gw_kernel *k);
void gw_policy_fini(struct gw_kernel *k);
