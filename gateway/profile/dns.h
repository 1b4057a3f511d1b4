/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Inside room profile: a DNS answer that a device was sent (RFC 1035, RFC 3596). Untrusted. No I/O,
 * no clock, no allocation.
 */
#pragma once

#include "profile/rules.h"

#define DNS_ALIASES_MAX 8    /**< names behind the one asked for, by CNAME */
#define DNS_ADDRESSES_MAX 32 /**< of one answer */
#define DNS_RECORDS_MAX 64   /**< read of one answer */

struct dns_address {
    struct gw_hwaddr address; /**< a host; never a group, loopback or unspecified */
    uint32_t ttl_s;
};

struct dns_answer {
    /** The name asked for, then what it is an alias of, one after the other. */
    char names[1 + DNS_ALIASES_MAX][DNS_NAME_MAX + 1];
    size_t name_count;
    struct dns_address addresses[DNS_ADDRESSES_MAX];
    size_t address_count;
};

/**
 * @return 0, also for an answer without addresses; GW_EMALFORMED for what is no answer to one
 *         question about an Internet name, or breaks off.
 */
int dns_answer_read(struct gw_slice payload, struct dns_answer *out) GW_MUST_CHECK;
