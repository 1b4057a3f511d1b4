/* SPDX-License-Identifier: GPL-2.0-only */
/* Rules as the API shows them and the database keeps them. */
#include <errno.h>

#include "profile/rules.h"

static const char *const classes[] = {
    [PEER_ANY] = "any", [PEER_LOCAL] = "local", [PEER_GATEWAY] = "gateway"};

static json_t *peer_json(const struct rule_peer *p)
{
    char text[GW_HWADDR_TEXT];

    switch ((enum peer_kind)p->kind) {
    case PEER_ANY:
    case PEER_LOCAL:
    case PEER_GATEWAY:
        return json_pack("{s:s}", "class", classes[p->kind]);
    case PEER_ADDRESS:
        return json_pack("{s:s}", "address", gw_hwaddr_text(&p->address, text));
    case PEER_NAME:
        return json_pack("{s:s}", "name", p->name);
    }
    return NULL;
}

static json_t *rule_json(const struct rule *r)
{
    const struct gw_policy_rule *m = &r->match;
    json_t *peers = json_array();

    for (size_t i = 0; i < r->peer_count; i++)
        (void)json_array_append_new(peers, peer_json(&r->peers[i]));
    return json_pack("{s:s, s:i, s:s, s:[ii], s:[ii], s:b, s:o}", "direction",
                     m->direction == GW_FROM_DEVICE ? "from-device" : "to-device", "protocol",
                     m->protocol, "family",
                     m->family == GW_ADDR_IPV4   ? "ipv4"
                     : m->family == GW_ADDR_IPV6 ? "ipv6"
                                                 : "both",
                     "device_ports", m->own_min, m->own_max, "peer_ports", m->peer_min, m->peer_max,
                     "no_open", m->no_open, "peers", peers);
}

json_t *rules_json(const struct rules *r)
{
    json_t *list = json_array();

    for (size_t i = 0; i < r->count; i++)
        (void)json_array_append_new(list, rule_json(&r->at[i]));
    return list;
}

/* ---- back ---- */

static bool ports_from(const json_t *json, uint16_t *min, uint16_t *max)
{
    json_int_t a = json_integer_value(json_array_get(json, 0));
    json_int_t b = json_integer_value(json_array_get(json, 1));

    if (json_array_size(json) != 2 || a < 0 || b > UINT16_MAX || a > b)
        return false;
    *min = (uint16_t)a;
    *max = (uint16_t)b;
    return true;
}

static bool class_from(const char *text, struct rule_peer *out)
{
    for (uint32_t i = 0; i < GW_COUNT(classes); i++)
        if (strcmp(text, classes[i]) == 0) {
            out->kind = i;
            return true;
        }
    return false;
}

static bool peer_from(const json_t *json, struct rule_peer *out)
{
    const char *class = json_string_value(json_object_get(json, "class"));
    const char *address = json_string_value(json_object_get(json, "address"));
    const char *name = json_string_value(json_object_get(json, "name"));

    *out = (struct rule_peer){0};
    if (class)
        return class_from(class, out);
    out->kind = address ? PEER_ADDRESS : PEER_NAME;
    if (address)
        return gw_hwaddr_parse(address, &out->address) == 0 && out->address.kind != GW_ADDR_MAC;
    return name && dns_name_normal(name, strlen(name), out->name);
}

static bool match_from(const json_t *json, struct gw_policy_rule *out)
{
    const char *direction = json_string_value(json_object_get(json, "direction"));
    const char *family = json_string_value(json_object_get(json, "family"));
    json_int_t protocol = json_integer_value(json_object_get(json, "protocol"));

    if (!direction || !family || protocol < 0 || protocol > UINT8_MAX)
        return false;
    *out = (struct gw_policy_rule){
        .direction = strcmp(direction, "from-device") == 0 ? GW_FROM_DEVICE : GW_TO_DEVICE,
        .protocol = (uint8_t)protocol,
        .family = strcmp(family, "ipv4") == 0   ? GW_ADDR_IPV4
                  : strcmp(family, "ipv6") == 0 ? GW_ADDR_IPV6
                                                : 0,
        .no_open = json_is_true(json_object_get(json, "no_open")),
    };
    return ports_from(json_object_get(json, "device_ports"), &out->own_min, &out->own_max) &&
           ports_from(json_object_get(json, "peer_ports"), &out->peer_min, &out->peer_max);
}

static int rule_from(const json_t *json, struct rules *out)
{
    const json_t *peers = json_object_get(json, "peers");
    struct gw_policy_rule match;
    int err = match_from(json, &match) ? 0 : GW_EMALFORMED;

    for (size_t i = 0; !err && i < json_array_size(peers); i++) {
        struct rule_peer peer;

        err = peer_from(json_array_get(peers, i), &peer) ? rules_add(out, &match, &peer)
                                                         : GW_EMALFORMED;
    }
    return err;
}

int rules_from_json(const json_t *json, struct rules *out)
{
    struct rules r = {0};
    int err = json_is_array(json) ? 0 : GW_EMALFORMED;

    for (size_t i = 0; !err && i < json_array_size(json); i++)
        err = rule_from(json_array_get(json, i), &r);
    if (err)
        rules_fini(&r);
    else
        *out = r;
    return err;
}
