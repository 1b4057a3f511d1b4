/* SPDX-License-Identifier: GPL-2.0-only */
/** @file What only a crypto library can judge about a configuration: the keys and certificates. */
#pragma once

#include "config/config.h"

/**
 * Every file that `c` names holds what its key stands for. After gw_crypto_init.
 * @return 0; GW_ECONFIG with `*error` filled as gw_config_load does, `path` in front.
 */
int check_files(const char *path, const struct gw_config *c,
                struct gw_config_error *error) GW_MUST_CHECK;
