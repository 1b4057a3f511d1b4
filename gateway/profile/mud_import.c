/* SPDX-License-Identifier: GPL-2.0-only */
#include "profile/mud.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>

#define ACES_MAX 512 /* of one file: an entry for each other end */
#define MUD "ietf-mud:"
#define ACL "ietf-access-control-list:"
#define DNS "ietf-acldns:"

/* Where the reader is, for what it says. */
struct reading {
    const char *acl, *ace;
    uint8_t family;    /* of this list; 0: its type does not say */
    uint8_t direction; /* of this list: enum gw_policy_direction */
    size_t aces;
    struct rules *rules;
    struct mud_notes *notes;
    char *why;
};

/* ---- saying why ---- */

static int refuse(struct reading *r, int err, const char *fmt, ...) GW_PRINTF(3, 4);
static int refuse(struct reading *r, int err, const char *fmt, ...)
{
    size_t len = 0;
    va_list args;

    if (r->acl)
        len = (size_t)snprintf(r->why, WHY_MAX, "list \"%.64s\"", r->acl);
    if (r->ace)
        len += (size_t)snprintf(r->why + len, WHY_MAX - len, ", entry \"%.64s\"", r->ace);
    if (len)
        len += (size_t)snprintf(r->why + len, WHY_MAX - len, ": ");
    va_start(args, fmt);
    (void)vsnprintf(r->why + len, WHY_MAX - len, fmt, args);
    va_end(args);
    return err;
}

static void note(struct reading *r, const char *fmt, ...) GW_PRINTF(2, 3);
static void note(struct reading *r, const char *fmt, ...)
{
    struct mud_notes *n = r->notes;
    va_list args;

    if (n->count == MUD_NOTES_MAX)
        return;
    va_start(args, fmt);
    (void)vsnprintf(n->text[n->count], WHY_MAX, fmt, args);
    va_end(args);
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(n->text[i], n->text[n->count]) == 0)
            return;
    n->count++;
}

/* ---- members ---- */

/* RFC 7951 §4: a name is qualified where its module differs from its parent's; both are taken. */
static bool is_named(const char *member, const char *module, const char *name)
{
    size_t len = strlen(module);

    return strcmp(member, name) == 0 ||
           (strncmp(member, module, len) == 0 && strcmp(member + len, name) == 0);
}

static json_t *member(const json_t *object, const char *module, const char *name)
{
    char full[128];
    json_t *value = json_object_get(object, name);

    (void)snprintf(full, sizeof(full), "%s%s", module, name);
    return value ? value : json_object_get(object, full);
}

static bool is_identity(const json_t *value, const char *module, const char *name)
{
    return json_is_string(value) && is_named(json_string_value(value), module, name);
}

/* A number as RFC 7951 §6.1 writes it; false for anything else. */
static bool number_of(const json_t *value, json_int_t max, uint16_t *out)
{
    json_int_t n = json_is_integer(value) ? json_integer_value(value) : -1;

    if (n < 0 || n > max)
        return false;
    *out = (uint16_t)n;
    return true;
}

/* ---- ports ---- */

static int ports_by_operator(struct reading *r, const json_t *ports, uint16_t *min, uint16_t *max)
{
    const json_t *operator= json_object_get(ports, "operator");
    uint16_t port;

    if (!number_of(json_object_get(ports, "port"), UINT16_MAX, &port))
        return refuse(r, GW_EMALFORMED, "a port must be a number from 0 to 65535");
    if (operator&& !json_is_string(operator))
        return refuse(r, GW_EMALFORMED, "an operator must be a text");
    if (!operator|| strcmp(json_string_value(operator), "eq") == 0)
        *min = *max = port;
    else if (strcmp(json_string_value(operator), "lte") == 0)
        *max = port;
    else if (strcmp(json_string_value(operator), "gte") == 0)
        *min = port;
    else
        return refuse(r, GW_EUNSUPPORTED,
                      "the operator \"%.16s\" is not supported: eq, lte, gte are",
                      json_string_value(operator));
    return 0;
}

static int read_ports(struct reading *r, const json_t *ports, uint16_t *min, uint16_t *max)
{
    const char *name;
    json_t *value;

    if (!json_is_object(ports))
        return refuse(r, GW_EMALFORMED, "ports must be an object");
    json_object_foreach((json_t *)(uintptr_t)ports, name, value)
    {
        if (strcmp(name, "operator") != 0 && strcmp(name, "port") != 0 &&
            strcmp(name, "lower-port") != 0 && strcmp(name, "upper-port") != 0)
            return refuse(r, GW_EUNSUPPORTED, "\"%.64s\" of a port is not supported", name);
    }
    if (!json_object_get(ports, "lower-port") && !json_object_get(ports, "upper-port"))
        return ports_by_operator(r, ports, min, max);
    if (json_object_get(ports, "port") || json_object_get(ports, "operator") ||
        !number_of(json_object_get(ports, "lower-port"), UINT16_MAX, min) ||
        !number_of(json_object_get(ports, "upper-port"), UINT16_MAX, max) || *min > *max)
        return refuse(r, GW_EMALFORMED,
                      "a range of ports needs \"lower-port\" and \"upper-port\", in this order");
    return 0;
}

/* ---- layer 4 ---- */

static int read_initiated(struct reading *r, const json_t *value, struct gw_policy_rule *m)
{
    const char *text = json_string_value(value);
    bool from = text && strcmp(text, "from-device") == 0;

    if (!from && (!text || strcmp(text, "to-device") != 0))
        return refuse(r, GW_EMALFORMED,
                      "\"direction-initiated\" must be \"from-device\" or \"to-device\"");
    m->no_open = from != (m->direction == GW_FROM_DEVICE); /* RFC 8520 §3.15 */
    return 0;
}

/* The source is the device's end in what comes from it, the peer's in what goes to it. */
static int read_layer4(struct reading *r, const json_t *l4, bool tcp, struct gw_policy_rule *m)
{
    bool from = m->direction == GW_FROM_DEVICE;
    const char *name;
    json_t *value;
    int err = 0;

    if (!json_is_object(l4))
        return refuse(r, GW_EMALFORMED, "\"tcp\" and \"udp\" must be objects");
    json_object_foreach((json_t *)(uintptr_t)l4, name, value)
    {
        bool source = strcmp(name, "source-port") == 0;

        if (source || strcmp(name, "destination-port") == 0)
            err = source == from ? read_ports(r, value, &m->own_min, &m->own_max)
                                 : read_ports(r, value, &m->peer_min, &m->peer_max);
        else if (tcp && is_named(name, MUD, "direction-initiated"))
            err = read_initiated(r, value, m);
        else
            err = refuse(r, GW_EUNSUPPORTED, "a match on \"%.64s\" is not supported", name);
        if (err)
            return err;
    }
    return 0;
}

static int read_icmp(struct reading *r, const json_t *icmp, struct gw_policy_rule *m)
{
    const json_t *type = json_object_get(icmp, "type");

    if (!json_is_object(icmp))
        return refuse(r, GW_EMALFORMED, "\"icmp\" must be an object");
    if (json_object_size(icmp) > (type ? 1u : 0u))
        return refuse(r, GW_EUNSUPPORTED, "of ICMP only \"type\" is supported");
    if (type && !number_of(type, UINT8_MAX, &m->own_min))
        return refuse(r, GW_EMALFORMED, "an ICMP type must be a number from 0 to 255");
    if (type)
        m->own_max = m->own_min;
    return 0;
}

static int set_protocol(struct reading *r, struct gw_policy_rule *m, unsigned protocol)
{
    if (m->protocol && m->protocol != protocol)
        return refuse(r, GW_EMALFORMED, "it matches protocol %u and protocol %u", m->protocol,
                      protocol);
    m->protocol = (uint8_t)protocol;
    return 0;
}

/* ---- the other end ---- */

struct other_end {
    struct rule_peer peer;
    bool is_set;
};

static int set_peer(struct reading *r, struct other_end *o, const struct rule_peer *p)
{
    if (o->is_set)
        return refuse(r, GW_EUNSUPPORTED, "it names two other ends at once");
    o->peer = *p;
    o->is_set = true;
    return 0;
}

static int read_name(struct reading *r, const json_t *value, struct other_end *o)
{
    struct rule_peer p = {.kind = PEER_NAME};
    struct gw_hwaddr address;

    if (!json_is_string(value))
        return refuse(r, GW_EMALFORMED, "a DNS name must be a text");
    if (gw_hwaddr_parse(json_string_value(value), &address) == 0 ||
        !dns_name_normal(json_string_value(value), json_string_length(value), p.name) ||
        !dns_name_writable(p.name))
        return refuse(r, GW_EMALFORMED, "\"%.64s\" is no DNS name", json_string_value(value));
    return set_peer(r, o, &p);
}

static int read_network(struct reading *r, const json_t *value, uint8_t family, struct other_end *o)
{
    const char *text = json_string_value(value);
    struct rule_peer p = {.kind = PEER_ADDRESS};

    if (!text || !strchr(text, '/') || gw_hwaddr_parse(text, &p.address) != 0 ||
        p.address.kind != family)
        return refuse(r, GW_EMALFORMED,
                      "\"%.64s\" is no IPv%d prefix with no bit set behind its length",
                      text ? text : "", family == GW_ADDR_IPV4 ? 4 : 6);
    if (p.address.prefix_len == 0)
        p = (struct rule_peer){.kind = PEER_ANY};
    return set_peer(r, o, &p);
}

static int read_controller(struct reading *r, const json_t *value, struct other_end *o)
{
    const char *uri = json_string_value(value);
    const struct rule_peer p = {.kind = PEER_GATEWAY};

    if (!uri || !*uri)
        return refuse(r, GW_EMALFORMED, "\"controller\" must be a URI");
    if (strcmp(uri, "urn:ietf:params:mud:dns") != 0 && strcmp(uri, "urn:ietf:params:mud:ntp") != 0)
        note(r, "controller \"%.100s\" is taken to be the gateway", uri);
    return set_peer(r, o, &p);
}

/* RFC 8520 §8: the classes. What an empty leaf holds is [null] (RFC 7951 §6.9). */
static int read_class(struct reading *r, const char *name, const json_t *value, struct other_end *o)
{
    const struct rule_peer local = {.kind = PEER_LOCAL}, gateway = {.kind = PEER_GATEWAY};

    if (strcmp(name, "controller") == 0)
        return read_controller(r, value, o);
    if (strcmp(name, "local-networks") == 0)
        return set_peer(r, o, &local);
    if (strcmp(name, "my-controller") == 0)
        return set_peer(r, o, &gateway);
    if (strcmp(name, "manufacturer") == 0 || strcmp(name, "same-manufacturer") == 0 ||
        strcmp(name, "model") == 0)
        return refuse(r, GW_EUNSUPPORTED,
                      "\"%s\" is not supported: which devices are meant cannot be proved here; "
                      "name addresses, or \"local-networks\"",
                      name);
    return refuse(r, GW_EUNSUPPORTED, "the class \"%.64s\" is not supported", name);
}

static int read_classes(struct reading *r, const json_t *mud, struct other_end *o)
{
    const char *name;
    json_t *value;
    int err = 0;

    if (!json_is_object(mud))
        return refuse(r, GW_EMALFORMED, "\"mud\" must be an object");
    json_object_foreach((json_t *)(uintptr_t)mud, name, value)
    {
        err = read_class(r, strncmp(name, MUD, strlen(MUD)) == 0 ? name + strlen(MUD) : name, value,
                         o);
        if (err)
            return err;
    }
    return 0;
}

/* ---- layer 3 ---- */

/* One field of "ipv4" or "ipv6". The device's own end goes without saying, so nobody may say it. */
static int read_field(struct reading *r, const char *name, const json_t *value,
                      struct gw_policy_rule *m, struct other_end *o)
{
    bool from = m->direction == GW_FROM_DEVICE, v4 = m->family == GW_ADDR_IPV4;
    const char *network[2] = {v4 ? "source-ipv4-network" : "source-ipv6-network",
                              v4 ? "destination-ipv4-network" : "destination-ipv6-network"};
    const char *dns[2] = {"src-dnsname", "dst-dnsname"};
    uint16_t protocol;

    if (strcmp(name, "protocol") == 0)
        return number_of(value, UINT8_MAX, &protocol)
                   ? set_protocol(r, m, protocol)
                   : refuse(r, GW_EMALFORMED, "a protocol must be a number from 0 to 255");
    if (strcmp(name, network[from]) == 0)
        return read_network(r, value, m->family, o);
    if (is_named(name, DNS, dns[from]))
        return read_name(r, value, o);
    if (strcmp(name, network[!from]) == 0 || is_named(name, DNS, dns[!from]))
        return refuse(r, GW_EUNSUPPORTED, "\"%.64s\" names the device itself", name);
    return refuse(r, GW_EUNSUPPORTED, "a match on \"%.64s\" is not supported", name);
}

static int read_layer3(struct reading *r, const json_t *l3, uint8_t family,
                       struct gw_policy_rule *m, struct other_end *o)
{
    const char *name;
    json_t *value;
    int err = 0;

    if (!json_is_object(l3))
        return refuse(r, GW_EMALFORMED, "\"ipv4\" and \"ipv6\" must be objects");
    if (m->family && m->family != family)
        return refuse(r, GW_EMALFORMED, "it matches IPv%d in a list of the other kind",
                      family == GW_ADDR_IPV4 ? 4 : 6);
    m->family = family;
    json_object_foreach((json_t *)(uintptr_t)l3, name, value)
    {
        err = read_field(r, name, value, m, o);
        if (err)
            return err;
    }
    return 0;
}

/* ---- entries ---- */

/* The headers in their order, because the protocol of one decides about the next. */
static int read_match(struct reading *r, const char *name, const json_t *value,
                      struct gw_policy_rule *m, struct other_end *o)
{
    int err;

    if (strcmp(name, "ipv4") == 0)
        return read_layer3(r, value, GW_ADDR_IPV4, m, o);
    if (strcmp(name, "ipv6") == 0)
        return read_layer3(r, value, GW_ADDR_IPV6, m, o);
    if (strcmp(name, "tcp") == 0) {
        err = set_protocol(r, m, IPPROTO_TCP);
        return err ? err : read_layer4(r, value, true, m);
    }
    if (strcmp(name, "udp") == 0) {
        err = set_protocol(r, m, IPPROTO_UDP);
        return err ? err : read_layer4(r, value, false, m);
    }
    if (strcmp(name, "icmp") == 0) {
        if (!m->family)
            return refuse(r, GW_EMALFORMED, "\"icmp\" needs \"ipv4\" or \"ipv6\" beside it");
        err = set_protocol(r, m, m->family == GW_ADDR_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
        return err ? err : read_icmp(r, value, m);
    }
    if (is_named(name, MUD, "mud"))
        return read_classes(r, value, o);
    return refuse(r, GW_EUNSUPPORTED, "a match on \"%.64s\" is not supported", name);
}

static int read_matches(struct reading *r, const json_t *matches, struct gw_policy_rule *m,
                        struct other_end *o)
{
    const char *name;
    json_t *value;
    int err = 0;

    if (matches && !json_is_object(matches))
        return refuse(r, GW_EMALFORMED, "\"matches\" must be an object");
    for (int layer3 = 1; layer3 >= 0; layer3--)
        json_object_foreach((json_t *)(uintptr_t)matches, name, value)
        {
            if (layer3 != (strncmp(name, "ipv", 3) == 0))
                continue;
            err = read_match(r, name, value, m, o);
            if (err)
                return err;
        }
    return 0;
}

/* True when it matches whatever is not matched before it: what a list ends with anyway. */
static bool matches_all(const struct reading *r, const struct gw_policy_rule *m,
                        const struct other_end *o)
{
    struct gw_policy_rule all = rule_any(m->direction);

    all.family = r->family;
    return !o->is_set && memcmp(m, &all, sizeof(all)) == 0;
}

static int read_action(struct reading *r, const json_t *actions, bool *out_accept)
{
    const json_t *forwarding = json_object_get(actions, "forwarding");
    const json_t *logging = json_object_get(actions, "logging");

    *out_accept = is_identity(forwarding, ACL, "accept");
    if (!*out_accept && !is_identity(forwarding, ACL, "drop") &&
        !is_identity(forwarding, ACL, "reject"))
        return refuse(r, GW_EMALFORMED, "\"forwarding\" must be \"accept\" or \"drop\"");
    if (logging && !is_identity(logging, ACL, "log-none"))
        note(r, "\"logging\" is ignored");
    return 0;
}

static int read_ace(struct reading *r, const json_t *ace, bool last)
{
    struct gw_policy_rule m = rule_any(r->direction);
    struct other_end o = {.peer = {.kind = PEER_ANY}};
    bool accept = false;
    int err;

    m.family = r->family;
    r->ace = json_string_value(json_object_get(ace, "name"));
    if (!r->ace)
        return refuse(r, GW_EMALFORMED, "an entry has no name");
    if (++r->aces > ACES_MAX)
        return refuse(r, GW_EFULL, "more than %d entries", ACES_MAX);
    err = read_matches(r, json_object_get(ace, "matches"), &m, &o);
    if (!err)
        err = read_action(r, json_object_get(ace, "actions"), &accept);
    if (err)
        return err;
    if (accept)
        err = rules_add(r->rules, &m, &o.peer);
    else if (!last || !matches_all(r, &m, &o))
        return refuse(r, GW_EUNSUPPORTED,
                      "dropping is supported only as the last entry, for all that is left");
    return err ? refuse(r, err, "%s", gw_error_text(err)) : 0;
}

/* ---- lists ---- */

static int read_type(struct reading *r, const json_t *type)
{
    r->family = is_identity(type, ACL, "ipv4-acl-type")   ? GW_ADDR_IPV4
                : is_identity(type, ACL, "ipv6-acl-type") ? GW_ADDR_IPV6
                                                          : 0;
    if (type && !r->family)
        return refuse(r, GW_EUNSUPPORTED,
                      "its type is not supported: ipv4-acl-type and ipv6-acl-type are");
    return 0;
}

static int read_acl(struct reading *r, const json_t *acl)
{
    const json_t *aces = json_object_get(json_object_get(acl, "aces"), "ace");
    size_t count = json_array_size(aces);
    int err = read_type(r, json_object_get(acl, "type"));

    if (!err && json_object_get(acl, "aces") && !json_is_array(aces))
        err = refuse(r, GW_EMALFORMED, "\"aces\" must hold a list \"ace\"");
    for (size_t i = 0; !err && i < count; i++) {
        err = read_ace(r, json_array_get(aces, i), i + 1 == count);
        r->ace = err ? r->ace : NULL;
    }
    return err;
}

static const json_t *acl_named(const json_t *acls, const char *name)
{
    const json_t *list = json_object_get(acls, "acl");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *acl = json_array_get(list, i);
        const char *text = json_string_value(json_object_get(acl, "name"));

        if (text && strcmp(text, name) == 0)
            return acl;
    }
    return NULL;
}

/* "from-device-policy" or "to-device-policy": the lists by their names. */
static int read_policy(struct reading *r, const json_t *mud, const char *name, const json_t *acls)
{
    const json_t *policy = member(mud, MUD, name);
    const json_t *list = json_object_get(json_object_get(policy, "access-lists"), "access-list");
    int err = 0;

    r->direction = strcmp(name, "from-device-policy") == 0 ? GW_FROM_DEVICE : GW_TO_DEVICE;
    if (policy && !json_is_array(list))
        return refuse(r, GW_EMALFORMED,
                      "\"%s\" must hold \"access-lists\" with a list "
                      "\"access-list\"",
                      name);
    for (size_t i = 0; !err && i < json_array_size(list); i++) {
        const char *acl = json_string_value(json_object_get(json_array_get(list, i), "name"));
        const json_t *found = acl ? acl_named(acls, acl) : NULL;

        if (!found)
            return refuse(r, GW_EMALFORMED, "\"%s\" names the list \"%.64s\", which is not there",
                          name, acl ? acl : "");
        r->acl = acl;
        err = read_acl(r, found);
        r->acl = err ? r->acl : NULL;
    }
    return err;
}

/* ---- the file ---- */

/* What may be left unread; of anything else it is said that it was (RFC 8520 §3.10). */
static void note_unknown(struct reading *r, const json_t *mud)
{
    static const char *const known[] = {
        "mud-version",  "mud-url",    "last-update",   "mud-signature",      "cache-validity",
        "is-supported", "systeminfo", "mfg-name",      "model-name",         "firmware-rev",
        "software-rev", "extensions", "documentation", "from-device-policy", "to-device-policy"};
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)mud, name, value)
    {
        size_t i = 0;

        while (i < GW_COUNT(known) && !is_named(name, MUD, known[i]))
            i++;
        if (i == GW_COUNT(known))
            note(r, "\"%.100s\" is not known here and was ignored", name);
    }
}

static int check_head(struct reading *r, const json_t *mud)
{
    const json_t *version = member(mud, MUD, "mud-version");
    const char *url = json_string_value(member(mud, MUD, "mud-url"));

    if (!json_is_object(mud))
        return refuse(r, GW_EMALFORMED, "there is no \"ietf-mud:mud\"");
    if (json_integer_value(version) != 1)
        return refuse(r, GW_EUNSUPPORTED, "\"mud-version\" must be 1");
    if (!url || strncmp(url, "https://", 8) != 0)
        return refuse(r, GW_EMALFORMED, "\"mud-url\" must be an https URL");
    if (!json_is_string(member(mud, MUD, "last-update")) ||
        !json_is_boolean(member(mud, MUD, "is-supported")))
        return refuse(r, GW_EMALFORMED, "\"last-update\" or \"is-supported\" is missing");
    note_unknown(r, mud);
    return 0;
}

static int read_file(struct reading *r, const json_t *file)
{
    const json_t *mud = json_object_get(file, MUD "mud");
    const json_t *acls = json_object_get(file, ACL "acls");
    int err = check_head(r, mud);

    if (!err)
        err = read_policy(r, mud, "from-device-policy", acls);
    if (!err)
        err = read_policy(r, mud, "to-device-policy", acls);
    if (!err && r->rules->count == 0)
        err = refuse(r, GW_EMALFORMED, "it allows nothing: neither policy has an entry");
    return err;
}

int mud_import(struct gw_slice text, struct rules *out, struct mud_notes *notes, char why[WHY_MAX])
{
    struct rules rules = {0};
    struct mud_notes said = {.count = 0};
    struct reading r = {.rules = &rules, .notes = &said, .why = why};
    json_auto_t *file = NULL;
    json_error_t error;
    int err;

    if (text.len > MUD_BYTES_MAX)
        return refuse(&r, GW_ETOOBIG, "it is larger than %u bytes", MUD_BYTES_MAX);
    file = json_loadb(text.len ? (const char *)text.ptr : "", text.len, JSON_REJECT_DUPLICATES,
                      &error);
    if (!file)
        return refuse(&r, GW_EMALFORMED, "it is no JSON: line %d, column %d: %.100s", error.line,
                      error.column, error.text);
    err = read_file(&r, file);
    if (!err)
        err = rules_normalize(&rules, why);
    if (err) {
        rules_fini(&rules);
        return err;
    }
    *out = rules;
    *notes = said;
    return 0;
}
