/* SPDX-License-Identifier: GPL-2.0-only */
#include "profile/learn.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>

#define MLDV2_REPORT 143 /* RFC 3810 §5.2 */
#define DHCP_SERVER 67   /* RFC 2131 §4.1 */
#define DHCP_CLIENT 68
#define DHCPV6_CLIENT 546 /* RFC 8415 §7.2 */
#define DHCPV6_SERVER 547

struct learning {
    const struct rule_host *hosts;
    size_t host_count;
    const struct site *site;
    struct rules *rules;
};

/* ---- the other end ---- */

static bool is_own(const struct site *s, const struct gw_hwaddr *a)
{
    for (size_t i = 0; i < s->own_count; i++)
        if (memcmp(&s->own[i], a, sizeof(*a)) == 0)
            return true;
    return false;
}

static bool is_near(const struct site *s, const struct gw_hwaddr *a)
{
    for (size_t i = 0; i < s->net_count; i++)
        if (gw_hwaddr_contains(&s->nets[i], a))
            return true;
    return gw_hwaddr_is_group(a) || gw_hwaddr_is_link_local(a);
}

/* Every name that led here: which of them it will ask for next time is not known. */
static int add_names(struct learning *l, const struct gw_policy_rule *m, const struct gw_hwaddr *a,
                     bool *out_named)
{
    int err = 0;

    *out_named = false;
    for (size_t i = 0; !err && i < l->host_count; i++) {
        struct rule_peer p = {.kind = PEER_NAME};

        if (memcmp(&l->hosts[i].address, a, sizeof(*a)) != 0 ||
            !dns_name_writable(l->hosts[i].name))
            continue;
        (void)snprintf(p.name, sizeof(p.name), "%s", l->hosts[i].name);
        err = rules_add(l->rules, m, &p);
        *out_named = true;
    }
    return err;
}

static int add_peer(struct learning *l, const struct gw_policy_rule *m, const struct gw_hwaddr *a)
{
    struct rule_peer p = {.kind = PEER_ADDRESS, .address = *a};
    bool named = false;
    int err = 0;

    if (is_own(l->site, a))
        p = (struct rule_peer){.kind = PEER_GATEWAY};
    else if (!is_near(l->site, a))
        err = add_names(l, m, a, &named);
    return err || named ? err : rules_add(l->rules, m, &p);
}

/* ---- conversations ---- */

static bool in(unsigned value, unsigned from, unsigned to)
{
    return value >= from && value <= to;
}

/* What passes without one needs no rule: groups, neighbours, errors, DHCP with all or with us. */
static bool always_passes(const struct site *s, const struct gw_learned *c)
{
    switch (c->protocol) {
    case IPPROTO_IGMP:
        return true;
    case IPPROTO_ICMP:
        return c->port == ICMP_DEST_UNREACH || c->port == ICMP_TIME_EXCEEDED ||
               c->port == ICMP_PARAMETERPROB;
    case IPPROTO_ICMPV6:
        return in(c->port, ICMP6_DST_UNREACH, ICMP6_PARAM_PROB) ||
               in(c->port, MLD_LISTENER_QUERY, ND_REDIRECT) || c->port == MLDV2_REPORT;
    case IPPROTO_UDP:
        return (in(c->port, DHCP_SERVER, DHCP_CLIENT) ||
                in(c->port, DHCPV6_CLIENT, DHCPV6_SERVER)) &&
               (gw_hwaddr_is_group(&c->peer) || is_own(s, &c->peer));
    default:
        return false;
    }
}

static bool has_ports(uint8_t protocol)
{
    return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

/* The type of the answer to an ICMP type; -1: none is expected. */
static int icmp_answer(const struct gw_learned *c)
{
    if (c->protocol == IPPROTO_ICMP)
        return c->port == ICMP_ECHO        ? ICMP_ECHOREPLY
               : c->port == ICMP_TIMESTAMP ? ICMP_TIMESTAMPREPLY
                                           : -1;
    return c->port == ICMP6_ECHO_REQUEST ? ICMP6_ECHO_REPLY : -1;
}

static int add_icmp(struct learning *l, const struct gw_learned *c)
{
    struct gw_policy_rule ask = rule_any((enum gw_policy_direction)c->direction);
    struct gw_policy_rule answer =
        rule_any(c->direction == GW_FROM_DEVICE ? GW_TO_DEVICE : GW_FROM_DEVICE);
    int type = icmp_answer(c), err;

    ask.protocol = answer.protocol = c->protocol;
    ask.own_min = ask.own_max = c->port;
    err = add_peer(l, &ask, &c->peer);
    if (err || type < 0)
        return err;
    answer.own_min = answer.own_max = (uint16_t)type;
    return add_peer(l, &answer, &c->peer);
}

/* The port is of the one that it was opened to; the other's is never the same twice. */
static void set_port(struct gw_policy_rule *m, const struct gw_learned *c)
{
    m->protocol = c->protocol;
    if (!has_ports(c->protocol))
        return;
    if (c->direction == GW_FROM_DEVICE)
        m->peer_min = m->peer_max = c->port;
    else
        m->own_min = m->own_max = c->port;
}

/* There as it was opened, back as long as it is open. */
static int add_conversation(struct learning *l, const struct gw_learned *c)
{
    struct gw_policy_rule there = rule_any((enum gw_policy_direction)c->direction);
    struct gw_policy_rule back =
        rule_any(c->direction == GW_FROM_DEVICE ? GW_TO_DEVICE : GW_FROM_DEVICE);
    int err;

    set_port(&there, c);
    set_port(&back, c);
    back.no_open = c->protocol == IPPROTO_TCP;
    err = add_peer(l, &there, &c->peer);
    return err || gw_hwaddr_is_group(&c->peer) ? err : add_peer(l, &back, &c->peer);
}

/* ---- what is too much to list ---- */

static size_t count_hosts(const struct learning *l, const struct rule *r, bool near)
{
    size_t count = 0;

    for (size_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].kind == PEER_ADDRESS && is_near(l->site, &r->peers[i].address) == near &&
            !gw_hwaddr_is_group(&r->peers[i].address))
            count++;
    return count;
}

static void drop_hosts(const struct learning *l, struct rule *r)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].kind != PEER_ADDRESS || !is_near(l->site, &r->peers[i].address) ||
            gw_hwaddr_is_group(&r->peers[i].address))
            r->peers[kept++] = r->peers[i];
    r->peer_count = kept;
}

static void tell_wider(struct mud_notes *n, const struct rule *r, size_t hosts, const char *wider)
{
    const struct gw_policy_rule *m = &r->match;
    bool own = m->own_min == m->own_max;

    if (n->count == MUD_NOTES_MAX)
        return;
    (void)snprintf(
        n->text[n->count++], WHY_MAX, "%s protocol %u, %s port %u: %zu addresses, so %s is allowed",
        m->direction == GW_FROM_DEVICE ? "from the device," : "to the device,", m->protocol,
        own ? "its" : "the peer's", own ? m->own_min : m->peer_min, hosts, wider);
}

static int widen(struct learning *l, struct rule *r, struct mud_notes *notes)
{
    static const struct rule_peer any = {.kind = PEER_ANY}, local = {.kind = PEER_LOCAL};
    size_t near = count_hosts(l, r, true), far = count_hosts(l, r, false);
    struct gw_policy_rule m = r->match;

    if (far > LEARN_HOSTS_MAX) {
        tell_wider(notes, r, far, "any address");
        return rules_add(l->rules, &m, &any);
    }
    if (near <= LEARN_HOSTS_MAX)
        return 0;
    tell_wider(notes, r, near, "every address on the local networks");
    drop_hosts(l, r);
    return rules_add(l->rules, &m, &local);
}

int learn_rules(const struct gw_learned *at, size_t count, const struct rule_host *hosts,
                size_t host_count, const struct site *site, struct rules *out,
                struct mud_notes *notes, char why[WHY_MAX])
{
    struct rules rules = {0};
    struct learning l = {hosts, host_count, site, &rules};
    struct mud_notes said = {.count = 0};
    int err = 0;

    for (size_t i = 0; !err && i < count; i++) {
        bool icmp = at[i].protocol == IPPROTO_ICMP || at[i].protocol == IPPROTO_ICMPV6;

        if (at[i].peer.kind == GW_ADDR_MAC || always_passes(site, &at[i]))
            continue;
        err = icmp ? add_icmp(&l, &at[i]) : add_conversation(&l, &at[i]);
    }
    for (size_t i = 0; !err && i < rules.count; i++)
        err = widen(&l, &rules.at[i], &said);
    if (err)
        (void)snprintf(why, WHY_MAX, "%s",
                       err == GW_EFULL ? "far more conversations than rules" : gw_error_text(err));
    else if (rules.count == 0)
        err = GW_ENOTFOUND;
    else
        err = rules_normalize(&rules, why);
    if (err) {
        rules_fini(&rules);
        return err;
    }
    *out = rules;
    *notes = said;
    return 0;
}
