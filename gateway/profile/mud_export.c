/* SPDX-License-Identifier: GPL-2.0-only */
#include <netinet/in.h>
#include <stdio.h>

#include "base/clock.h"
#include "profile/mud.h"

#define CACHE_HOURS 48 /* RFC 8520 §3.5: the default */
#define WORD_MAX 1024

/* The lists that a file has: one for each direction and family. */
struct list {
    const char *name, *type;
    uint8_t direction, family;
};

static const struct list lists[] = {
    {"cordon-from-ipv4", "ipv4-acl-type", GW_FROM_DEVICE, GW_ADDR_IPV4},
    {"cordon-from-ipv6", "ipv6-acl-type", GW_FROM_DEVICE, GW_ADDR_IPV6},
    {"cordon-to-ipv4", "ipv4-acl-type", GW_TO_DEVICE, GW_ADDR_IPV4},
    {"cordon-to-ipv6", "ipv6-acl-type", GW_TO_DEVICE, GW_ADDR_IPV6},
};

/* ---- matches ---- */

static void put(json_t *object, const char *name, json_t *value)
{
    (void)json_object_set_new(object, name, value);
}

/* An empty container says nothing: the family is the list's type, the protocol a leaf. */
static void put_if_any(json_t *object, const char *name, json_t *container)
{
    if (json_object_size(container) > 0)
        (void)json_object_set(object, name, container);
    json_decref(container);
}

/* A prefix always has its length (RFC 6991, ipv4-prefix). */
static json_t *prefix_json(const struct gw_hwaddr *a)
{
    char text[GW_HWADDR_TEXT + 8];

    (void)gw_hwaddr_text(a, text);
    if (!strchr(text, '/'))
        (void)snprintf(text + strlen(text), 8, "/%u", a->prefix_len);
    return json_string(text);
}

static json_t *layer3_json(const struct rule *r, const struct list *l, const struct rule_peer *p)
{
    bool from = l->direction == GW_FROM_DEVICE, v4 = l->family == GW_ADDR_IPV4;
    json_t *ip = json_object();

    if (p->kind == PEER_NAME)
        put(ip, from ? "ietf-acldns:dst-dnsname" : "ietf-acldns:src-dnsname", json_string(p->name));
    if (p->kind == PEER_ADDRESS && from)
        put(ip, v4 ? "destination-ipv4-network" : "destination-ipv6-network",
            prefix_json(&p->address));
    if (p->kind == PEER_ADDRESS && !from)
        put(ip, v4 ? "source-ipv4-network" : "source-ipv6-network", prefix_json(&p->address));
    if (r->match.protocol)
        put(ip, "protocol", json_integer(r->match.protocol));
    return ip;
}

static void put_ports(json_t *l4, const char *name, uint16_t min, uint16_t max)
{
    if (min == max)
        put(l4, name, json_pack("{s:s, s:i}", "operator", "eq", "port", min));
    else if (min > 0 || max < UINT16_MAX)
        put(l4, name, json_pack("{s:i, s:i}", "lower-port", min, "upper-port", max));
}

static json_t *layer4_json(const struct gw_policy_rule *m)
{
    bool from = m->direction == GW_FROM_DEVICE;
    json_t *l4 = json_object();

    if (m->no_open)
        put(l4, "ietf-mud:direction-initiated", json_string(from ? "to-device" : "from-device"));
    put_ports(l4, from ? "source-port" : "destination-port", m->own_min, m->own_max);
    put_ports(l4, from ? "destination-port" : "source-port", m->peer_min, m->peer_max);
    return l4;
}

static void put_layer4(json_t *matches, const struct gw_policy_rule *m)
{
    if (m->protocol == IPPROTO_TCP)
        put_if_any(matches, "tcp", layer4_json(m));
    else if (m->protocol == IPPROTO_UDP)
        put_if_any(matches, "udp", layer4_json(m));
    else if ((m->protocol == IPPROTO_ICMP || m->protocol == IPPROTO_ICMPV6) &&
             m->own_min == m->own_max)
        put(matches, "icmp", json_pack("{s:i}", "type", m->own_min));
}

static json_t *matches_json(const struct rule *r, const struct list *l, const struct rule_peer *p)
{
    json_t *matches = json_object();

    if (p->kind == PEER_LOCAL)
        put(matches, "ietf-mud:mud", json_pack("{s:[n]}", "local-networks"));
    if (p->kind == PEER_GATEWAY)
        put(matches, "ietf-mud:mud", json_pack("{s:[n]}", "my-controller"));
    put_if_any(matches, l->family == GW_ADDR_IPV4 ? "ipv4" : "ipv6", layer3_json(r, l, p));
    put_layer4(matches, &r->match);
    return matches;
}

/* ---- lists ---- */

static bool is_in(const struct rule *r, const struct list *l, const struct rule_peer *p)
{
    return r->match.direction == l->direction &&
           (!r->match.family || r->match.family == l->family) &&
           (p->kind != PEER_ADDRESS || p->address.kind == l->family);
}

static json_t *list_json(const struct rules *rules, const struct list *l)
{
    json_t *aces = json_array();

    for (size_t i = 0; i < rules->count; i++)
        for (size_t k = 0; k < rules->at[i].peer_count; k++) {
            const struct rule_peer *p = &rules->at[i].peers[k];
            char name[48];

            if (!is_in(&rules->at[i], l, p))
                continue;
            (void)snprintf(name, sizeof(name), "rule-%zu-%zu", i + 1, k + 1);
            (void)json_array_append_new(aces,
                                        json_pack("{s:s, s:o, s:{s:s}}", "name", name, "matches",
                                                  matches_json(&rules->at[i], l, p), "actions",
                                                  "forwarding", "accept"));
        }
    return aces;
}

/* The lists that have entries, and their names by direction. */
static json_t *acls_json(const struct rules *rules, json_t *names[2])
{
    json_t *all = json_array();

    for (size_t i = 0; i < GW_COUNT(lists); i++) {
        json_t *aces = list_json(rules, &lists[i]);

        if (json_array_size(aces) == 0) {
            json_decref(aces);
            continue;
        }
        (void)json_array_append_new(all, json_pack("{s:s, s:s, s:{s:o}}", "name", lists[i].name,
                                                   "type", lists[i].type, "aces", "ace", aces));
        (void)json_array_append_new(names[lists[i].direction],
                                    json_pack("{s:s}", "name", lists[i].name));
    }
    return all;
}

/* ---- the file ---- */

/* What a string of a file holds (RFC 7950 §9.4): no controls but three, no noncharacters. */
static bool text_fits(const char *text)
{
    for (const uint8_t *c = (const uint8_t *)text; *c; c++) {
        if (*c < 0x20 && *c != '\t' && *c != '\n' && *c != '\r')
            return false;
        if (c[0] == 0xef && c[1] == 0xb7 && c[2] >= 0x90 && c[2] <= 0xaf) /* U+FDD0 to U+FDEF */
            return false;
        if ((c[0] & 0x8f) == 0x8f && c[1] == 0xbf && (c[2] & 0xfe) == 0xbe) /* U+nFFFE, U+nFFFF */
            return false;
    }
    return true;
}

/* Only what a file may hold there: the text came from outside. */
static bool word_fits(const char *name, const json_t *value)
{
    if (strcmp(name, "cache-validity") == 0)
        return json_integer_value(value) >= 1 && json_integer_value(value) <= 168;
    if (strcmp(name, "is-supported") == 0)
        return json_is_boolean(value);
    return json_is_string(value) && json_string_length(value) <= WORD_MAX &&
           text_fits(json_string_value(value));
}

/* What the maker said about the device stays. */
static void keep_words(json_t *mud, const char *original)
{
    static const char *const kept[] = {"mud-url",      "cache-validity", "is-supported",
                                       "systeminfo",   "mfg-name",       "model-name",
                                       "firmware-rev", "software-rev",   "documentation"};
    json_auto_t *file = original ? json_loads(original, 0, NULL) : NULL;
    const json_t *old = json_object_get(file, "ietf-mud:mud");

    for (size_t i = 0; i < GW_COUNT(kept); i++) {
        json_t *value = json_object_get(old, kept[i]);

        if (value && word_fits(kept[i], value))
            (void)json_object_set(mud, kept[i], value);
    }
}

json_t *mud_export(const struct rules *rules, const struct mud_about *about)
{
    json_t *names[2] = {json_array(), json_array()};
    json_t *acls = acls_json(rules, names);
    char changed[GW_TIME_TEXT];
    json_t *mud = json_pack("{s:i, s:s, s:s, s:i, s:b, s:s*}", "mud-version", 1, "mud-url",
                            about->url, "last-update", gw_time_text(about->changed_ms, changed),
                            "cache-validity", CACHE_HOURS, "is-supported", 1, "systeminfo",
                            text_fits(about->systeminfo) ? about->systeminfo : NULL);

    keep_words(mud, about->original);
    put(mud, "from-device-policy",
        json_pack("{s:{s:o}}", "access-lists", "access-list", names[GW_FROM_DEVICE]));
    put(mud, "to-device-policy",
        json_pack("{s:{s:o}}", "access-lists", "access-list", names[GW_TO_DEVICE]));
    return json_pack("{s:o, s:{s:o}}", "ietf-mud:mud", mud, "ietf-access-control-list:acls", "acl",
                     acls);
}
