/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * A short list of addresses, each once: the gateway's own, its routers', what is local. Looked
 * through as a whole, so it has a limit.
 */
#pragma once

#include "base/addr.h"

#define GW_ADDRESSES_MAX 4096

/** Zero-initialised; free `at`. */
struct gw_addresses {
    struct gw_hwaddr *at;
    size_t count, cap;
};

/** No change when it is in already. GW_EFULL, -ENOMEM. */
int gw_addresses_add(struct gw_addresses *list, const struct gw_hwaddr *a) GW_MUST_CHECK;
/** True for exactly this address or network. */
bool gw_addresses_have(const struct gw_addresses *list, const struct gw_hwaddr *a);
