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
/** They have an address in common. */
bool gw_hwaddr_overlaps(const struct gw_hwaddr *a, const struct gw_hwaddr *b);
/** The network of this length that `a` is in. */
struct gw_hwaddr gw_hwaddr_masked(const struct gw_hwaddr *a, unsigned prefix_len);

/** Of one host: 48, 32 or 128. */
unsigned gw_hwaddr_bits(unsigned kind);
/** A known kind, a length that it may have, and no bit behind it: what came from elsewhere is. */
bool gw_hwaddr_valid(const struct gw_hwaddr *a);
/** Not a network. */
bool gw_hwaddr_is_host(const struct gw_hwaddr *a);
/** Multicast or broadcast; of a network: its first address. So are the next two. */
bool gw_hwaddr_is_group(const struct gw_hwaddr *a);
/** One host may have it: no group, nor unspecified, loopback or reserved. */
bool gw_hwaddr_is_unicast(const struct gw_hwaddr *a);
/** An IP address that is good on one link only. */
bool gw_hwaddr_is_link_local(const struct gw_hwaddr *a);

static inline struct gw_slice gw_hwaddr_key(const struct gw_hwaddr *a)
{
    return GW_SLICE(a, sizeof(*a));
}
