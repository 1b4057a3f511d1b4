/* SPDX-License-Identifier: GPL-2.0-only */
/* Rules and conversations as short lines, for tests. */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>

#include "profile/rules.h"

/*
 * Each rule a line: "from 6 v4 *:443 any,198.51.100.7,name;" - direction, protocol, family (v4, v6,
 * v*), the device's port and the peer's, "!" where no connection is opened, the other ends.
 */
static inline void ports_line(uint16_t min, uint16_t max, char out[16])
{
    if (min == 0 && max == 65535)
        (void)snprintf(out, 16, "*");
    else if (min == max)
        (void)snprintf(out, 16, "%u", min);
    else
        (void)snprintf(out, 16, "%u-%u", min, max);
}

static inline const char *peer_line(const struct rule_peer *p)
{
    static const char *const classes[] = {"any", "local", "gateway"};
    static char text[GW_HWADDR_TEXT];

    return p->kind < PEER_ADDRESS    ? classes[p->kind]
           : p->kind == PEER_ADDRESS ? gw_hwaddr_text(&p->address, text)
                                     : p->name;
}

static inline const char *rules_line(const struct rules *r)
{
    static char out[65536];
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; i < r->count; i++) {
        const struct gw_policy_rule *m = &r->at[i].match;
        char own[16], peer[16];

        ports_line(m->own_min, m->own_max, own);
        ports_line(m->peer_min, m->peer_max, peer);
        len += (size_t)snprintf(out + len, sizeof(out) - len, "%s %u v%s %s:%s%s ",
                                m->direction == GW_FROM_DEVICE ? "from" : "to", m->protocol,
                                m->family == GW_ADDR_IPV4   ? "4"
                                : m->family == GW_ADDR_IPV6 ? "6"
                                                            : "*",
                                own, peer, m->no_open ? "!" : "");
        for (size_t k = 0; k < r->at[i].peer_count; k++)
            len += (size_t)snprintf(out + len, sizeof(out) - len, "%s%s", k ? "," : "",
                                    peer_line(&r->at[i].peers[k]));
        len += (size_t)snprintf(out + len, sizeof(out) - len, ";");
    }
    return out;
}

static inline struct gw_hwaddr ip(const char *text)
{
    struct gw_hwaddr a = {0};

    cr_assert_eq(gw_hwaddr_parse(text, &a), 0, "%s", text);
    return a;
}

static inline struct rule_peer peer_of(const char *text)
{
    static const char *const classes[] = {"any", "local", "gateway"};
    struct rule_peer p = {.kind = PEER_NAME};

    for (uint32_t i = 0; i < 3; i++)
        if (strcmp(text, classes[i]) == 0)
            return (struct rule_peer){.kind = i};
    if (gw_hwaddr_parse(text, &p.address) == 0)
        p.kind = PEER_ADDRESS;
    else
        cr_assert(dns_name_normal(text, strlen(text), p.name), "%s", text);
    return p;
}
