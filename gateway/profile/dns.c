/* SPDX-License-Identifier: GPL-2.0-only */
#include "profile/dns.h"

#include <arpa/nameser.h>

#define PAYLOAD_MAX 65535

/* ---- names ---- */

static bool add_name(struct dns_answer *a, const char *text)
{
    char name[DNS_NAME_MAX + 1];

    if (!dns_name_normal(text, strlen(text), name))
        return false;
    for (size_t i = 0; i < a->name_count; i++)
        if (strcmp(a->names[i], name) == 0)
            return false; /* a circle */
    memcpy(a->names[a->name_count++], name, sizeof(name));
    return true;
}

static bool is_name(const struct dns_answer *a, size_t i, const char *text)
{
    char name[DNS_NAME_MAX + 1];

    return dns_name_normal(text, strlen(text), name) && strcmp(a->names[i], name) == 0;
}

static bool read_question(ns_msg *msg, struct dns_answer *a)
{
    ns_rr rr;

    return ns_msg_getflag(*msg, ns_f_qr) == 1 && ns_msg_getflag(*msg, ns_f_opcode) == ns_o_query &&
           ns_msg_getflag(*msg, ns_f_rcode) == ns_r_noerror && ns_msg_count(*msg, ns_s_qd) == 1 &&
           ns_parserr(msg, ns_s_qd, 0, &rr) == 0 && ns_rr_class(rr) == ns_c_in &&
           add_name(a, ns_rr_name(rr));
}

/* The next name of the chain, when a record says that the last one is an alias of it. */
static bool follow(ns_msg *msg, const ns_rr *rr, struct dns_answer *a)
{
    char target[NS_MAXDNAME];

    return a->name_count <= DNS_ALIASES_MAX && ns_rr_type(*rr) == ns_t_cname &&
           is_name(a, a->name_count - 1, ns_rr_name(*rr)) &&
           ns_name_uncompress(ns_msg_base(*msg), ns_msg_end(*msg), ns_rr_rdata(*rr), target,
                              sizeof(target)) >= 0 &&
           add_name(a, target);
}

/* ---- addresses ---- */

static bool address_of(const ns_rr *rr, struct gw_hwaddr *out)
{
    if (ns_rr_type(*rr) == ns_t_a && ns_rr_rdlen(*rr) == 4)
        *out = gw_hwaddr_ipv4(ns_rr_rdata(*rr));
    else if (ns_rr_type(*rr) == ns_t_aaaa && ns_rr_rdlen(*rr) == 16)
        *out = gw_hwaddr_ipv6(ns_rr_rdata(*rr));
    else
        return false;
    return gw_hwaddr_is_unicast(out); /* a host's, and not the asking one's */
}

static void take_address(const ns_rr *rr, struct dns_answer *a)
{
    struct dns_address found = {.ttl_s = ns_rr_ttl(*rr)};
    bool named = false;

    for (size_t i = 0; i < a->name_count && !named; i++)
        named = is_name(a, i, ns_rr_name(*rr));
    if (named && a->address_count < DNS_ADDRESSES_MAX && address_of(rr, &found.address))
        a->addresses[a->address_count++] = found;
}

/* ---- the answer ---- */

/* One walk over the records: follow the chain as far as it goes on, or (then) take the addresses.
 */
static int walk(ns_msg *msg, struct dns_answer *a, bool take, bool *out_longer)
{
    int count = GW_MIN(ns_msg_count(*msg, ns_s_an), DNS_RECORDS_MAX);
    ns_rr rr;

    *out_longer = false;
    for (int i = 0; i < count; i++) {
        if (ns_parserr(msg, ns_s_an, i, &rr) != 0)
            return GW_EMALFORMED;
        if (ns_rr_class(rr) != ns_c_in)
            continue;
        if (take)
            take_address(&rr, a);
        else if (follow(msg, &rr, a))
            *out_longer = true;
    }
    return 0;
}

int dns_answer_read(struct gw_slice payload, struct dns_answer *out)
{
    bool longer = true;
    ns_msg msg;
    int err = 0;

    out->name_count = out->address_count = 0;
    if (payload.len > PAYLOAD_MAX || payload.len < NS_HFIXEDSZ ||
        ns_initparse(payload.ptr, (int)payload.len, &msg) != 0 || !read_question(&msg, out))
        return GW_EMALFORMED;
    while (!err && longer) /* ends: each walk that goes on adds one of at most DNS_ALIASES_MAX */
        err = walk(&msg, out, false, &longer);
    return err ? err : walk(&msg, out, true, &longer);
}
