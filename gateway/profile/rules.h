/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Inside room profile: an allow-list, as a person, a MUD file and the kernel see it. Rules are what
 * RFC 8519 calls entries, without their other ends; each has those as a list. No I/O, no clock.
 */
#pragma once

#include <jansson.h>

#include "enforcer/enforcer.h"

/** Two of the kernel's are kept for the time from the gateway (RFC 8520 §4). */
#define RULES_MAX (GW_POLICY_RULES_MAX - 2)
#define RULES_BUILD_MAX 4096 /**< while they are gathered, before they are merged */
#define RULES_PEERS_MAX 768  /**< of all rules together; the kernel's others are for names */
#define DNS_NAME_MAX 253     /**< RFC 1035 §2.3.4, as text without the final dot */
#define WHY_MAX 256          /**< a refusal, as a sentence without its full stop */

enum peer_kind { PEER_ANY, PEER_LOCAL, PEER_GATEWAY, PEER_ADDRESS, PEER_NAME };

/** The other end. Compared as plain bytes: what is not used is zero. */
struct rule_peer {
    uint32_t kind;               /**< enum peer_kind */
    struct gw_hwaddr address;    /**< PEER_ADDRESS: a host or a network */
    char name[DNS_NAME_MAX + 1]; /**< PEER_NAME: lower case, no final dot */
};

struct rule {
    struct gw_policy_rule match;
    struct rule_peer *peers; /**< in order once normal */
    size_t peer_count;
};

/** Zero-initialised it is an empty list. */
struct rules {
    struct rule *at;
    size_t count;
};

void rules_fini(struct rules *r);
int rules_copy(const struct rules *from, struct rules *out) GW_MUST_CHECK;
bool rules_equal(const struct rules *a, const struct rules *b);

/** All ports, both families, any protocol. */
struct gw_policy_rule rule_any(enum gw_policy_direction direction);

/** Let `peer` be the other end of a rule that matches so. GW_EFULL over RULES_BUILD_MAX; -ENOMEM.
 */
int rules_add(struct rules *r, const struct gw_policy_rule *match,
              const struct rule_peer *peer) GW_MUST_CHECK;

/**
 * One form for each allow-list: equal rules are one, a rule for IPv4 and one for IPv6 that say the
 * same are one for both, what `any` covers is left out, all in order.
 * @return 0; GW_EFULL with `why` filled: more than RULES_MAX rules or RULES_PEERS_MAX other ends.
 */
int rules_normalize(struct rules *r, char why[WHY_MAX]) GW_MUST_CHECK;

bool rules_use_name(const struct rules *r, const char *name);

/** Lower case, without a final dot; false for what is no host name (RFC 1123, and `_`). */
bool dns_name_normal(const char *text, size_t len, char out[DNS_NAME_MAX + 1]);

/** Can a MUD file have this normal name (RFC 6991, domain-name)? No label ends with `_` there. */
bool dns_name_writable(const char *name);

/** As the API and the database have them; NULL when memory is out. */
json_t *rules_json(const struct rules *r);
/** Back from rules_json. GW_EMALFORMED, -ENOMEM. */
int rules_from_json(const json_t *json, struct rules *out) GW_MUST_CHECK;

/** What a name led to, as far as it was heard. */
struct rule_host {
    const char *name;
    struct gw_hwaddr address;
};

/**
 * Rules and peers of `out` as the kernel takes them; number, flags and limits are the caller's.
 * `peers` has room for GW_POLICY_PEERS_MAX; hosts that find no room are left out.
 */
void rules_compile(const struct rules *r, const struct rule_host *hosts, size_t host_count,
                   struct gw_policy *out, struct gw_policy_peer *peers);
