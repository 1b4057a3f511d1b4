/* SPDX-License-Identifier: GPL-2.0-only */
#include "profile/rules.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define PORT_MAX 65535
#define NTP_PORT 123

/* ---- the list ---- */

void rules_fini(struct rules *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->at[i].peers);
    free(r->at);
    *r = (struct rules){0};
}

struct gw_policy_rule rule_any(enum gw_policy_direction direction)
{
    return (struct gw_policy_rule){
        .direction = (uint8_t)direction, .own_max = PORT_MAX, .peer_max = PORT_MAX};
}

static int compare_matches(const struct gw_policy_rule *a, const struct gw_policy_rule *b)
{
    const int by[] = {a->direction - b->direction, a->protocol - b->protocol,
                      a->peer_min - b->peer_min,   a->peer_max - b->peer_max,
                      a->own_min - b->own_min,     a->own_max - b->own_max,
                      a->no_open - b->no_open,     a->family - b->family};
    size_t i = 0;

    while (i < GW_COUNT(by) - 1 && by[i] == 0)
        i++;
    return by[i];
}

static int compare_rules(const void *a, const void *b)
{
    const struct rule *x = a, *y = b;

    return compare_matches(&x->match, &y->match);
}

static int compare_peers(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct rule_peer));
}

/* Peers are compared as bytes, and kinds come in their order: small numbers, big-endian. */
static struct rule_peer peer_ordered(const struct rule_peer *p)
{
    struct rule_peer out = {.kind = p->kind};

    if (p->kind == PEER_ADDRESS)
        out.address = p->address;
    if (p->kind == PEER_NAME)
        memcpy(out.name, p->name, strnlen(p->name, DNS_NAME_MAX));
    return out;
}

static int add_peer(struct rule *rule, const struct rule_peer *peer)
{
    const struct rule_peer p = peer_ordered(peer);
    struct rule_peer *more;

    for (size_t i = 0; i < rule->peer_count; i++)
        if (compare_peers(&rule->peers[i], &p) == 0)
            return 0;
    if (rule->peer_count >= RULES_BUILD_MAX)
        return GW_EFULL;
    more = realloc(rule->peers, (rule->peer_count + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    rule->peers = more;
    rule->peers[rule->peer_count++] = p;
    return 0;
}

/* ICMP is of one family by its number. */
static struct gw_policy_rule with_family(const struct gw_policy_rule *match)
{
    struct gw_policy_rule m = *match;

    if (m.protocol == IPPROTO_ICMP)
        m.family = GW_ADDR_IPV4;
    else if (m.protocol == IPPROTO_ICMPV6)
        m.family = GW_ADDR_IPV6;
    return m;
}

int rules_add(struct rules *r, const struct gw_policy_rule *match, const struct rule_peer *peer)
{
    const struct gw_policy_rule m = with_family(match);
    struct rule *more;

    for (size_t i = 0; i < r->count; i++)
        if (compare_matches(&r->at[i].match, &m) == 0)
            return add_peer(&r->at[i], peer);
    if (r->count >= RULES_BUILD_MAX)
        return GW_EFULL;
    more = realloc(r->at, (r->count + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    r->at = more;
    r->at[r->count] = (struct rule){.match = m};
    return add_peer(&r->at[r->count++], peer);
}

int rules_copy(const struct rules *from, struct rules *out)
{
    struct rules copy = {0};
    int err = 0;

    for (size_t i = 0; i < from->count; i++)
        for (size_t k = 0; !err && k < from->at[i].peer_count; k++)
            err = rules_add(&copy, &from->at[i].match, &from->at[i].peers[k]);
    if (err)
        rules_fini(&copy);
    else
        *out = copy;
    return err;
}

bool rules_equal(const struct rules *a, const struct rules *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct rule *x = &a->at[i], *y = &b->at[i];

        if (compare_matches(&x->match, &y->match) != 0 || x->peer_count != y->peer_count ||
            memcmp(x->peers, y->peers, x->peer_count * sizeof(*x->peers)) != 0)
            return false;
    }
    return true;
}

bool rules_use_name(const struct rules *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        for (size_t k = 0; k < r->at[i].peer_count; k++)
            if (r->at[i].peers[k].kind == PEER_NAME && strcmp(r->at[i].peers[k].name, name) == 0)
                return true;
    return false;
}

/* ---- one form for each ---- */

static bool has_any(const struct rule *r)
{
    for (size_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].kind == PEER_ANY)
            return true;
    return false;
}

/* Addresses of the other family can never be the other end. */
static bool peer_fits(const struct rule *r, const struct rule_peer *p)
{
    return p->kind != PEER_ADDRESS || !r->match.family || r->match.family == p->address.kind;
}

static void tidy_peers(struct rule *r)
{
    static const struct rule_peer any = {.kind = PEER_ANY};
    size_t kept = 0;

    if (has_any(r)) {
        r->peers[0] = any;
        r->peer_count = 1;
    }
    for (size_t i = 0; i < r->peer_count; i++)
        if (peer_fits(r, &r->peers[i]))
            r->peers[kept++] = r->peers[i];
    r->peer_count = kept;
    if (kept > 1)
        qsort(r->peers, kept, sizeof(*r->peers), compare_peers);
}

static void drop_empty(struct rules *r)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->count; i++) {
        if (r->at[i].peer_count)
            r->at[kept++] = r->at[i];
        else
            free(r->at[i].peers);
    }
    r->count = kept;
}

static bool same_but_family(const struct rule *a, const struct rule *b)
{
    struct gw_policy_rule x = a->match, y = b->match;

    x.family = y.family = 0;
    return compare_matches(&x, &y) == 0;
}

/* The classes and names of one are those of the other; addresses have a family of their own. */
static bool same_but_addresses(const struct rule *a, const struct rule *b)
{
    size_t i = 0, k = 0;

    for (;;) {
        while (i < a->peer_count && a->peers[i].kind == PEER_ADDRESS)
            i++;
        while (k < b->peer_count && b->peers[k].kind == PEER_ADDRESS)
            k++;
        if (i == a->peer_count || k == b->peer_count)
            return i == a->peer_count && k == b->peer_count;
        if (compare_peers(&a->peers[i++], &b->peers[k++]) != 0)
            return false;
    }
}

/* All that `from` has goes to `to`. */
static int take_peers(struct rule *to, struct rule *from)
{
    int err = 0;

    for (size_t i = 0; !err && i < from->peer_count; i++)
        err = add_peer(to, &from->peers[i]);
    if (!err)
        from->peer_count = 0;
    return err;
}

/* Sorted, the two families of a rule are neighbours. */
static int merge_families(struct rules *r)
{
    int err = 0;

    for (size_t i = 0; !err && i + 1 < r->count; i++) {
        struct rule *a = &r->at[i], *b = &r->at[i + 1];

        if (a->match.family != GW_ADDR_IPV4 || b->match.family != GW_ADDR_IPV6 ||
            !same_but_family(a, b) || !same_but_addresses(a, b))
            continue;
        a->match.family = 0;
        err = take_peers(a, b);
        if (!err)
            tidy_peers(a);
        i++;
    }
    return err;
}

/* Rules that say the same are one. */
static int merge_equal(struct rules *r)
{
    int err = 0;

    qsort(r->at, r->count, sizeof(*r->at), compare_rules);
    for (size_t i = 0; !err && i + 1 < r->count; i++)
        if (compare_rules(&r->at[i], &r->at[i + 1]) == 0)
            err = take_peers(&r->at[i + 1], &r->at[i]);
    drop_empty(r);
    for (size_t i = 0; i < r->count; i++)
        tidy_peers(&r->at[i]);
    return err;
}

/*
 * What a rule for both families says is said for each, so that every list ends in the same form
 * whichever way it was written.
 */
static int split_families(const struct rules *r, struct rules *out)
{
    int err = 0;

    for (size_t i = 0; i < r->count; i++) {
        struct gw_policy_rule m = r->at[i].match;
        uint8_t only = m.family;

        for (m.family = GW_ADDR_IPV4; !err && m.family <= GW_ADDR_IPV6; m.family++)
            for (size_t k = 0; !err && k < r->at[i].peer_count; k++)
                if ((!only || only == m.family) && (r->at[i].peers[k].kind != PEER_ADDRESS ||
                                                    r->at[i].peers[k].address.kind == m.family))
                    err = rules_add(out, &m, &r->at[i].peers[k]);
    }
    return err;
}

static int check_size(const struct rules *r, char why[WHY_MAX])
{
    size_t peers = 0;

    for (size_t i = 0; i < r->count; i++)
        peers += r->at[i].peer_count;
    if (r->count <= RULES_MAX && peers <= RULES_PEERS_MAX)
        return 0;
    (void)snprintf(why, WHY_MAX,
                   "%zu rules with %zu other ends; at most %d rules with %d other ends fit",
                   r->count, peers, RULES_MAX, RULES_PEERS_MAX);
    return GW_EFULL;
}

int rules_normalize(struct rules *r, char why[WHY_MAX])
{
    struct rules split = {0};
    int err = split_families(r, &split);

    if (err) {
        rules_fini(&split);
        (void)snprintf(why, WHY_MAX, "more than %d rules", RULES_BUILD_MAX);
        if (err != GW_EFULL)
            (void)snprintf(why, WHY_MAX, "%s", gw_error_text(err));
        return err;
    }
    rules_fini(r);
    *r = split;
    err = r->count ? merge_equal(r) : 0;
    if (!err && r->count)
        err = merge_families(r);
    drop_empty(r);
    if (r->count)
        qsort(r->at, r->count, sizeof(*r->at), compare_rules);
    if (err)
        (void)snprintf(why, WHY_MAX, "too many other ends, or out of memory");
    return err ? err : check_size(r, why);
}

/* ---- names ---- */

static bool label_valid(const char *label, size_t len)
{
    if (len == 0 || len > 63 || label[0] == '-' || label[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = label[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_'))
            return false;
    }
    return true;
}

bool dns_name_normal(const char *text, size_t len, char out[DNS_NAME_MAX + 1])
{
    size_t start = 0;

    if (len && text[len - 1] == '.')
        len--;
    if (len == 0 || len > DNS_NAME_MAX)
        return false;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && text[i] != '.')
            continue;
        if (!label_valid(text + start, i - start))
            return false;
        start = i + 1;
    }
    memset(out, 0, DNS_NAME_MAX + 1);
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
    return true;
}

bool dns_name_writable(const char *name)
{
    for (; *name; name++)
        if (name[0] == '_' && (name[1] == '.' || name[1] == '\0'))
            return false;
    return true;
}

/* ---- for the kernel ---- */

struct compiled {
    struct gw_policy *policy;
    struct gw_policy_peer *peers;
};

static void allow_address(struct compiled *c, const struct gw_hwaddr *a, size_t rule)
{
    struct gw_policy *p = c->policy;

    for (size_t i = 0; i < p->peer_count; i++)
        if (memcmp(&c->peers[i].address, a, sizeof(*a)) == 0) {
            c->peers[i].rules |= UINT64_C(1) << rule;
            return;
        }
    if (p->peer_count < GW_POLICY_PEERS_MAX)
        c->peers[p->peer_count++] = (struct gw_policy_peer){*a, UINT64_C(1) << rule};
}

static void allow_peer(struct compiled *c, const struct rule_peer *p, size_t rule)
{
    switch ((enum peer_kind)p->kind) {
    case PEER_ANY:
        c->policy->any |= UINT64_C(1) << rule;
        return;
    case PEER_LOCAL:
        c->policy->local |= UINT64_C(1) << rule;
        return;
    case PEER_GATEWAY:
        c->policy->gateway |= UINT64_C(1) << rule;
        return;
    case PEER_ADDRESS:
        allow_address(c, &p->address, rule);
        return;
    case PEER_NAME: /* when every address has its place */
        return;
    }
}

static void allow_hosts(struct compiled *c, const struct rule *r, size_t rule,
                        const struct rule_host *hosts, size_t count)
{
    for (size_t i = 0; i < r->peer_count; i++)
        for (size_t k = 0; r->peers[i].kind == PEER_NAME && k < count; k++)
            if (strcmp(hosts[k].name, r->peers[i].name) == 0 &&
                (!r->match.family || r->match.family == hosts[k].address.kind))
                allow_address(c, &hosts[k].address, rule);
}

/* Time from the gateway is allowed unless it is said otherwise, and nobody can (RFC 8520 §4). */
static void allow_time(struct compiled *c)
{
    struct gw_policy_rule ask = rule_any(GW_FROM_DEVICE), answer = rule_any(GW_TO_DEVICE);
    struct gw_policy *p = c->policy;

    ask.protocol = answer.protocol = IPPROTO_UDP;
    ask.peer_min = ask.peer_max = answer.peer_min = answer.peer_max = NTP_PORT;
    p->gateway |= UINT64_C(3) << p->rule_count;
    p->rules[p->rule_count++] = ask;
    p->rules[p->rule_count++] = answer;
}

void rules_compile(const struct rules *r, const struct rule_host *hosts, size_t host_count,
                   struct gw_policy *out, struct gw_policy_peer *peers)
{
    struct compiled c = {out, peers};

    out->any = out->local = out->gateway = 0;
    out->peers = peers;
    out->rule_count = out->peer_count = 0;
    for (size_t i = 0; i < r->count && i < RULES_MAX; i++) {
        out->rules[out->rule_count++] = r->at[i].match;
        for (size_t k = 0; k < r->at[i].peer_count; k++)
            allow_peer(&c, &r->at[i].peers[k], i);
    }
    for (size_t i = 0; i < r->count && i < RULES_MAX; i++)
        allow_hosts(&c, &r->at[i], i, hosts, host_count);
    allow_time(&c);
}
