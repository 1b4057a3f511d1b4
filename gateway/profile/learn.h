/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Inside room profile: from conversations that a device had to the rules that allow them. No I/O,
 * no clock.
 */
#pragma once

#include "profile/mud.h"

#define LEARN_HOSTS_MAX 16 /**< on the Internet, for one port; more become any */

/** Where the gateway stands: what is its own, what is near. */
struct site {
    struct gw_hwaddr own[64];  /**< its addresses */
    struct gw_hwaddr nets[64]; /**< networks that it and the device are in */
    size_t own_count, net_count;
};

/**
 * `hosts` are the names that led to addresses while it was learned.
 * @return 0; GW_ENOTFOUND: there is nothing to allow; GW_EFULL with `why` filled; -ENOMEM.
 */
int learn_rules(const struct gw_learned *at, size_t count, const struct rule_host *hosts,
                size_t host_count, const struct site *site, struct rules *out,
                struct mud_notes *notes, char why[WHY_MAX]) GW_MUST_CHECK;
