/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by kernel.c and hooks.c: where pins are. */
#pragma once

#include "enforcer/kernel.h"

#define GW_PIN_PATH 160
#define GW_STRING_(x) #x
#define GW_STRING(x) GW_STRING_(x)
/* Maps of another layout live elsewhere; links are taken over whatever their program was. */
#define GW_PIN_MAPS "v" GW_STRING(CORDON_LAYOUT)
#define GW_PIN_LINKS "links"

char *gw_pin_path(char out[GW_PIN_PATH], const char *root, const char *dir, const char *name);

/* Unlink every pin in a directory, and it; with `deep`, what is below it. -errno. */
int gw_pin_remove_dir(const char *path, bool deep);

/* libbpf says nothing on stderr. */
void gw_kernel_quiet(void);
