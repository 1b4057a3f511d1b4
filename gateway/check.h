/* SPDX-License-Identifier: GPL-2.0-only */
/** @file What room config cannot judge about a configuration: keys, certificates, the user. */
#pragma once

#include "config/config.h"

/**
 * Every file that `c` names holds what its key stands for, and its user is one without privileges.
 * After gw_crypto_init.
 * @return 0; GW_ECONFIG with `*error` filled as gw_config_load does, `path` in front.
 */
int check_files(const char *path, const struct gw_config *c,
                struct gw_config_error *error) GW_MUST_CHECK;
