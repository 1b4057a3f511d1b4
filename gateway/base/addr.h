/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The one form of a link or network address: what a verdict names, what a device is known by, what
 * the kernel's tables are keyed with. Any thread.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum gw_addr_kind { GW_ADDR_MAC = 1, GW_ADDR_IPV4 = 2, GW_ADDR_IPV6 = 3 };

/** Compared and hashed as plain bytes: unused ones are zero. Network byte order. */
struct gw_hwaddr {
    uint8_t kind;       /**< enum gw_addr_kind */
    uint8_t prefix_len; /**< bits: 48, 32 or 128 for one host; shorter for a network */
    uint8_t pad[2];
    uint8_t bytes[16];
};

#define GW_HWADDR_TEXT 64

/** "02:00:00:00:00:01", "192.0.2.1", "2001:db8::/48". Strict: GW_EMALFORMED; host bits must be 0.
 */
int gw_hwaddr_parse(const char *text, struct gw_hwaddr *out) GW_MUST_CHECK;
char *gw_hwaddr_text(const struct gw_hwaddr *a, char out[GW_HWADDR_TEXT]);
struct gw_hwaddr gw_hwaddr_mac(const uint8_t mac[6]);
struct gw_hwaddr gw_hwaddr_ipv4(const uint8_t ip[4]);
/** An IPv4-mapped address (::ffff:0:0/96) becomes IPv4. */
struct gw_hwaddr gw_hwaddr_ipv6(const uint8_t ip[16]);
/** True when `net` is `host` or a network that holds it. Same kind only. */
bool gw_hwaddr_contains(const struct gw_hwaddr *net, const struct gw_hwaddr *host);

static inline struct gw_slice gw_hwaddr_key(const struct gw_hwaddr *a)
{
    return GW_SLICE(a, sizeof(*a));
}
