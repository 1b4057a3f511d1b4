/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by what fills, keeps and attaches the programs and maps (kernel.c, hooks.c, held.c,
 * entries.c, migrate.c, policy.c): where pins are, and each one's part of a start. */
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

/* hooks.c: one place of a port where a program runs. */
enum gw_hook { GW_HOOK_XDP, GW_HOOK_IN, GW_HOOK_OUT };

/* libbpf 1.1 and the headers of 6.1 do not know tcx yet (6.6). */
#define GW_TCX_INGRESS 46
#define GW_TCX_EGRESS 47
/* Filters of ours where there are no links; found again by these. */
#define GW_FILTER_HANDLE 0xc0d
#define GW_FILTER_PRIORITY 1

char *gw_link_path(char out[GW_PIN_PATH], const char *root, uint32_t ifindex, enum gw_hook hook);
int gw_hook_program(const struct gw_kernel *k, enum gw_hook hook);
/* The interface that a link is on; 0 when that has gone. */
uint32_t gw_link_ifindex(int fd);
/* Under its own name, where no other may be. */
bool gw_link_pinned(const struct gw_kernel *k, uint32_t ifindex, enum gw_hook hook, int link);

/* Whose network namespace the links of a daemon are in. */
uint64_t gw_kernel_netns(void);

/* entries.c */
void gw_kernel_copy_live(struct gw_kernel *k);
/* The slots are the authority for the prefixes too: a daemon may have died between two steps. */
void gw_kernel_adopt_prefixes(struct gw_kernel *k);
int gw_kernel_adopt_flags(struct gw_kernel *k) GW_MUST_CHECK;
/* A network as policies' rules name it. */
struct cordon_net gw_net_key(uint32_t scope, const struct gw_hwaddr *a);

/*
 * Copy what the maps of another layout or size hold, pinned in the directory `name`: addresses,
 * verdicts, counters, last seen. What does not fit is left out, verdicts last. Returns how many
 * addresses; -ENOENT: nothing usable is there.
 */
int gw_migrate(struct gw_kernel *k, const char *name);

/* What policies left in the maps that were taken over. */
int gw_policy_adopt(struct gw_kernel *k);
void gw_policy_fini(struct gw_kernel *k);
