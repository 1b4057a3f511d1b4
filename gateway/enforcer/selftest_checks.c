/* SPDX-License-Identifier: GPL-2.0-only */
/* What a self-test proves: frames, and what must become of them. Another check is another row. */
#include "enforcer/selftest.h"

#include <linux/if_ether.h>

#define WHO(name) GW_WHO_##name

#define LINK(from, to)                                                                             \
    {                                                                                              \
        GW_PART_LINK, WHO(from), WHO(to), 0, 0                                                     \
    }
#define TAG(type)                                                                                  \
    {                                                                                              \
        GW_PART_TAG, 0, 0, type, 0                                                                 \
    }
#define PAIR(part, from, to)                                                                       \
    {                                                                                              \
        GW_PART_##part, WHO(from), WHO(to), 0, 0                                                   \
    }
#define PORTS(part, from, to)                                                                      \
    {                                                                                              \
        GW_PART_##part, 0, 0, from, to                                                             \
    }
#define PLAIN(part)                                                                                \
    {                                                                                              \
        GW_PART_##part, 0, 0, 0, 0                                                                 \
    }

#define DROP GW_WANT_DROP, GW_STEP_NONE
#define PASS GW_WANT_PASS, GW_STEP_NONE
#define ASK_CONFIG GW_WANT_UNKNOWN, GW_STEP_NONE
#define AFTER(step, want) GW_WANT_##want, GW_STEP_##step

#define HIGH 40000 /* a client's port */

/* From the port: the source is judged. */
static const struct gw_check_row from_port[] = {
    {"a known device passes",
     PASS,
     {LINK(KNOWN, ROUTER), PAIR(IPV4, KNOWN, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"a known device passes, IPv6",
     PASS,
     {LINK(KNOWN, ROUTER), PAIR(IPV6, KNOWN, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"isolated by MAC", DROP, {LINK(BAD, ROUTER), PAIR(IPV4, BAD, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"isolated by MAC, IPv6",
     DROP,
     {LINK(BAD, ROUTER), PAIR(IPV6, BAD, ROUTER), PORTS(UDP, HIGH, 53)}},
    {"isolated by IPv4",
     DROP,
     {LINK(KNOWN, ROUTER), PAIR(IPV4, BAD4, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"isolated by IPv6",
     DROP,
     {LINK(KNOWN, ROUTER), PAIR(IPV6, BAD6, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"isolated by IPv4 prefix",
     DROP,
     {LINK(KNOWN, ROUTER), PAIR(IPV4, NET4, ROUTER), PORTS(UDP, HIGH, 53)}},
    {"isolated by IPv6 prefix",
     DROP,
     {LINK(KNOWN, ROUTER), PAIR(IPV6, NET6, ROUTER), PORTS(UDP, HIGH, 53)}},
    {"to another device, isolated by MAC",
     DROP,
     {LINK(BAD, KNOWN), PAIR(IPV4, BAD, KNOWN), PORTS(UDP, HIGH, 5353)}},
    {"ARP that claims an isolated IPv4", DROP, {LINK(KNOWN, ALL), PAIR(CLAIM, KNOWN, BAD4)}},
    {"ARP that claims an isolated MAC", DROP, {LINK(KNOWN, ALL), PAIR(CLAIM, BAD, KNOWN)}},
    {"neighbour advertisement of an isolated IPv6",
     DROP,
     {LINK(KNOWN, ROUTER), PAIR(IPV6, KNOWN, ROUTER), PAIR(ADVERT, KNOWN, BAD6)}},
    {"neighbour solicitation with an isolated MAC",
     DROP,
     {LINK(KNOWN, ROUTER), PAIR(IPV6, KNOWN, ROUTER), PAIR(SOLICIT, BAD, ROUTER)}},
    {"the same behind extension headers",
     DROP,
     {LINK(KNOWN, ROUTER), PAIR(IPV6, KNOWN, ROUTER), PLAIN(HOPS), PLAIN(DEST),
      PAIR(ADVERT, KNOWN, BAD6)}},
    {"IPv6 with extension headers",
     DROP,
     {LINK(KNOWN, ROUTER), PAIR(IPV6, BAD6, ROUTER), PLAIN(HOPS), PLAIN(DEST),
      PORTS(TCP, HIGH, 443)}},
    {"one VLAN tag",
     DROP,
     {LINK(KNOWN, ROUTER), TAG(ETH_P_8021Q), PAIR(IPV4, BAD4, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"two VLAN tags",
     DROP,
     {LINK(KNOWN, ROUTER), TAG(ETH_P_8021AD), TAG(ETH_P_8021Q), PAIR(IPV6, BAD6, ROUTER),
      PORTS(TCP, HIGH, 443)}},
    {"a VLAN tag does not hide a MAC",
     DROP,
     {LINK(BAD, ROUTER), TAG(ETH_P_8021Q), PAIR(IPV4, BAD, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"a known device passes with two VLAN tags",
     PASS,
     {LINK(KNOWN, ROUTER), TAG(ETH_P_8021AD), TAG(ETH_P_8021Q), PAIR(IPV4, KNOWN, ROUTER),
      PORTS(TCP, HIGH, 443)}},
    {"a later IPv4 fragment", DROP, {LINK(KNOWN, ROUTER), PAIR(LATER4, BAD4, ROUTER)}},
    {"a later IPv6 fragment", DROP, {LINK(KNOWN, ROUTER), PAIR(IPV6, BAD6, ROUTER), PLAIN(LATER6)}},
    {"IPv4 options",
     DROP,
     {LINK(KNOWN, ROUTER), PAIR(OPTIONS, BAD4, ROUTER), PORTS(UDP, HIGH, 53)}},
    {"LLC frame", DROP, {LINK(BAD, ROUTER), PLAIN(LLC)}},
    {"PPPoE frame", DROP, {LINK(BAD, ROUTER), PLAIN(PPPOE)}},
    {"IPv4 cut within its header", DROP, {LINK(BAD, ROUTER), PLAIN(CUT4)}},
    {"IPv6 cut within its header", DROP, {LINK(BAD, ROUTER), PLAIN(CUT6)}},
    {"broadcast of an isolated device",
     DROP,
     {LINK(BAD, ALL), PAIR(IPV4, BAD, ALL), PORTS(UDP, 68, 67)}},
    {"multicast of an isolated device",
     DROP,
     {LINK(BAD, GROUP), PAIR(IPV6, BAD, GROUP), PORTS(UDP, 5353, 5353)}},
    {"a verdict with an end, before it",
     AFTER(LIMIT, DROP),
     {LINK(LIMITED, ROUTER), PAIR(IPV4, LIMITED, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"a verdict that has ended",
     AFTER(END, PASS),
     {LINK(LIMITED, ROUTER), PAIR(IPV4, LIMITED, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"isolated, before its release",
     AFTER(ISOLATE, DROP),
     {LINK(LEAVER, ROUTER), PAIR(IPV4, LEAVER, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"released",
     AFTER(RELEASE, PASS),
     {LINK(LEAVER, ROUTER), PAIR(IPV4, LEAVER, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"remediation lets DHCP through",
     PASS,
     {LINK(FIXABLE, ALL), PAIR(IPV4, FIXABLE, ALL), PORTS(UDP, 68, 67)}},
    {"remediation lets DHCPv6 through",
     PASS,
     {LINK(FIXABLE, ALL), PAIR(IPV6, FIXABLE, ALL), PORTS(UDP, 546, 547)}},
    {"remediation drops what goes out",
     DROP,
     {LINK(FIXABLE, ROUTER), PAIR(IPV4, FIXABLE, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"remediation drops DNS to a stranger",
     DROP,
     {LINK(FIXABLE, ROUTER), PAIR(IPV4, FIXABLE, ROUTER), PORTS(UDP, HIGH, 53)}},
    {"remediation drops other kinds of frames", DROP, {LINK(FIXABLE, ALL), PLAIN(LLC)}},
    {"an unknown device is treated as configured",
     ASK_CONFIG,
     {LINK(UNKNOWN, ROUTER), PAIR(IPV4, UNKNOWN, ROUTER), PORTS(TCP, HIGH, 443)}},
    {"an unknown device gets an address",
     PASS,
     {LINK(UNKNOWN, ALL), PAIR(IPV4, UNKNOWN, ALL), PORTS(UDP, 68, 67)}},
    {0},
};

/* Toward the port: the destination is judged. */
static const struct gw_check_row to_port[] = {
    {"to a known device",
     PASS,
     {LINK(ROUTER, KNOWN), PAIR(IPV4, ROUTER, KNOWN), PORTS(TCP, 443, HIGH)}},
    {"to a known device, IPv6",
     PASS,
     {LINK(ROUTER, KNOWN), PAIR(IPV6, ROUTER, KNOWN), PORTS(TCP, 443, HIGH)}},
    {"to an isolated MAC",
     DROP,
     {LINK(ROUTER, BAD), PAIR(IPV4, ROUTER, BAD), PORTS(TCP, 443, HIGH)}},
    {"to an isolated MAC, IPv6",
     DROP,
     {LINK(ROUTER, BAD), PAIR(IPV6, ROUTER, BAD), PORTS(TCP, 443, HIGH)}},
    {"to an isolated IPv4",
     DROP,
     {LINK(ROUTER, KNOWN), PAIR(IPV4, ROUTER, BAD4), PORTS(TCP, 443, HIGH)}},
    {"to an isolated IPv6",
     DROP,
     {LINK(ROUTER, KNOWN), PAIR(IPV6, ROUTER, BAD6), PORTS(TCP, 443, HIGH)}},
    {"to an isolated IPv4 prefix",
     DROP,
     {LINK(ROUTER, KNOWN), PAIR(IPV4, ROUTER, NET4), PORTS(UDP, 53, HIGH)}},
    {"to an isolated IPv6 prefix",
     DROP,
     {LINK(ROUTER, KNOWN), PAIR(IPV6, ROUTER, NET6), PORTS(UDP, 53, HIGH)}},
    {"ARP that asks for an isolated IPv4", DROP, {LINK(ROUTER, ALL), PAIR(ASK, UNKNOWN, BAD4)}},
    {"neighbour solicitation for an isolated IPv6",
     DROP,
     {LINK(ROUTER, GROUP), PAIR(IPV6, ROUTER, GROUP), PAIR(SOLICIT, ROUTER, BAD6)}},
    {"one VLAN tag, to an isolated IPv4",
     DROP,
     {LINK(ROUTER, KNOWN), TAG(ETH_P_8021Q), PAIR(IPV4, ROUTER, BAD4), PORTS(TCP, 443, HIGH)}},
    {"two VLAN tags, to an isolated IPv6",
     DROP,
     {LINK(ROUTER, KNOWN), TAG(ETH_P_8021AD), TAG(ETH_P_8021Q), PAIR(IPV6, ROUTER, BAD6),
      PORTS(TCP, 443, HIGH)}},
    {"a later fragment to an isolated IPv4",
     DROP,
     {LINK(ROUTER, KNOWN), PAIR(LATER4, ROUTER, BAD4)}},
    {"a later fragment to an isolated IPv6",
     DROP,
     {LINK(ROUTER, KNOWN), PAIR(IPV6, ROUTER, BAD6), PLAIN(LATER6)}},
    {"IPv4 options, to an isolated IPv4",
     DROP,
     {LINK(ROUTER, KNOWN), PAIR(OPTIONS, ROUTER, BAD4), PORTS(UDP, 53, HIGH)}},
    {"LLC frame to an isolated MAC", DROP, {LINK(ROUTER, BAD), PLAIN(LLC)}},
    {"PPPoE frame to an isolated MAC", DROP, {LINK(ROUTER, BAD), PLAIN(PPPOE)}},
    {"a verdict with an end, before it",
     AFTER(LIMIT, DROP),
     {LINK(ROUTER, LIMITED), PAIR(IPV4, ROUTER, LIMITED), PORTS(TCP, 443, HIGH)}},
    {"a verdict that has ended",
     AFTER(END, PASS),
     {LINK(ROUTER, LIMITED), PAIR(IPV4, ROUTER, LIMITED), PORTS(TCP, 443, HIGH)}},
    {"isolated, before its release",
     AFTER(ISOLATE, DROP),
     {LINK(ROUTER, LEAVER), PAIR(IPV4, ROUTER, LEAVER), PORTS(TCP, 443, HIGH)}},
    {"released",
     AFTER(RELEASE, PASS),
     {LINK(ROUTER, LEAVER), PAIR(IPV4, ROUTER, LEAVER), PORTS(TCP, 443, HIGH)}},
    {"remediation lets DHCP answers through",
     PASS,
     {LINK(ROUTER, FIXABLE), PAIR(IPV4, ROUTER, FIXABLE), PORTS(UDP, 67, 68)}},
    {"remediation drops what comes in",
     DROP,
     {LINK(ROUTER, FIXABLE), PAIR(IPV4, ROUTER, FIXABLE), PORTS(TCP, 443, HIGH)}},
    {"to an unknown device",
     PASS,
     {LINK(ROUTER, UNKNOWN), PAIR(IPV4, ROUTER, UNKNOWN), PORTS(TCP, 443, HIGH)}},
    {0},
};

const struct gw_check_row *gw_checks(bool egress)
{
    return egress ? to_port : from_port;
}

const struct gw_layer *gw_check_sentinel(bool egress)
{
    return gw_checks(egress)[0].layers;
}

bool gw_check_passes(const struct gw_check_row *row, const struct gw_cast *c)
{
    switch ((enum gw_want)row->want) {
    case GW_WANT_DROP:
        return false;
    case GW_WANT_PASS:
        return true;
    case GW_WANT_UNKNOWN:
        return c->unknown_passes;
    }
    return false;
}
