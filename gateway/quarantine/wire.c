/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel's programs noticed: told with all figures, and counted as a strike. */
#include "quarantine/quarantine_priv.h"

#define TOLD_PAUSE_MS 60000
#define FIGURES_MAX 64
#define PLACE_MAX (GW_DEVICE_ID_MAX + GW_HWADDR_TEXT)

/* The kinds are in the same order on both sides. */
#define X(kind, text)                                                                              \
    _Static_assert((int)GW_STRIKE_WIRE_##kind == (int)GW_STRIKE_WIRE_HOSTS + (int)GW_WIRE_##kind,  \
                   text " is a strike of its own");
GW_WIRE_KINDS(X)
#undef X
_Static_assert((int)GW_STRIKE_COUNT == (int)GW_STRIKE_WIRE_HOSTS + (int)GW_WIRE_COUNT,
               "every strike from the wire is a kind of event");

static enum gw_strike strike_of(enum gw_wire_kind kind)
{
    return (enum gw_strike)(GW_STRIKE_WIRE_HOSTS + kind);
}

/* ---- in words ---- */

/* "74 addresses in 10 s"; "" when there was only one of it. */
static void figures_of(const struct gw_wire_event *ev, char out[FIGURES_MAX])
{
    unsigned s = ev->window_ms / 1000, ms = ev->window_ms % 1000;

    out[0] = '\0';
    if (ev->count < 2)
        return;
    (void)snprintf(out, FIGURES_MAX, ms ? "%u %s in %u.%03u s" : "%u %s in %u s", ev->count,
                   gw_strike_counted(strike_of((enum gw_wire_kind)ev->kind)), s, ms);
}

/* The device that has the address, or the address; "another" when there is none. */
static const char *name_of(const struct gw_quarantine *q, const struct gw_hwaddr *a,
                           char out[GW_HWADDR_TEXT])
{
    const struct gw_device *d = a->kind ? gw_devices_by_addr(q->devices, a) : NULL;

    if (d)
        return d->id;
    return a->kind ? gw_hwaddr_text(a, out) : "another";
}

static const char *protocol_text(uint8_t protocol, char out[8])
{
    switch (protocol) {
    case 1:
        return "ICMP";
    case 6:
        return "TCP";
    case 17:
        return "UDP";
    case 58:
        return "ICMPv6";
    }
    (void)snprintf(out, 8, "%u", protocol);
    return out;
}

/* "to 192.0.2.7 by TCP, port 22" */
static void departure_of(const struct gw_wire_event *ev, char out[PLACE_MAX])
{
    char peer[GW_HWADDR_TEXT] = "somebody", protocol[8], port[16] = "";

    if (ev->peer.kind)
        (void)gw_hwaddr_text(&ev->peer, peer);
    if (ev->port)
        (void)snprintf(port, sizeof(port), ", port %u", ev->port);
    (void)snprintf(out, PLACE_MAX, "%s %s by %s%s", ev->direction == GW_FROM_DEVICE ? "to" : "from",
                   peer, ev->protocol ? protocol_text(ev->protocol, protocol) : "another protocol",
                   port);
}

/* What it did, to stand behind the device's name. */
static void deed_of(const struct gw_quarantine *q, const struct gw_wire_event *ev, char *out,
                    size_t size)
{
    char address[GW_HWADDR_TEXT] = "an address", owner[GW_HWADDR_TEXT], place[PLACE_MAX];

    if (ev->ip.kind)
        (void)gw_hwaddr_text(&ev->ip, address);
    switch ((enum gw_wire_kind)ev->kind) {
    case GW_WIRE_HOSTS:
    case GW_WIRE_PORTS:
    case GW_WIRE_NEIGHBOURS:
        (void)snprintf(out, size, "opened conversations to many %s",
                       gw_strike_counted(strike_of((enum gw_wire_kind)ev->kind)));
        return;
    case GW_WIRE_FLOOD:
        (void)snprintf(out, size, "floods the network");
        return;
    case GW_WIRE_FORGED:
        (void)snprintf(out, size, "sends with the address %s of %s", address,
                       name_of(q, &ev->peer, owner));
        return;
    case GW_WIRE_SPOOFED:
        (void)snprintf(out, size, "claims the address %s of %s", address,
                       name_of(q, &ev->peer, owner));
        return;
    case GW_WIRE_MOVES:
        (void)snprintf(out, size, "is on several ports by turns");
        return;
    case GW_WIRE_DHCP:
        (void)snprintf(out, size, "answers as a DHCP server and is none");
        return;
    case GW_WIRE_ROUTER:
        (void)snprintf(out, size, "advertises itself as a router and is none");
        return;
    case GW_WIRE_DEPARTURE:
        departure_of(ev, place);
        (void)snprintf(out, size, "does what its profile does not allow: %s", place);
        return;
    case GW_WIRE_COUNT:
        break;
    }
    out[0] = '\0';
}

/* ---- telling ---- */

static void put_address(json_t *to, const char *key, const struct gw_hwaddr *a)
{
    char text[GW_HWADDR_TEXT];

    if (a->kind)
        (void)json_object_set_new(to, key, json_string(gw_hwaddr_text(a, text)));
}

static json_t *fields_of(const struct gw_wire_event *ev, const struct gw_hwaddr *mac)
{
    json_t *fields = json_pack("{s:I, s:I, s:b, s:s%}", "count", (json_int_t)ev->count, "window_ms",
                               (json_int_t)ev->window_ms, "dropped", ev->dropped, "interface",
                               ev->ifname, strnlen(ev->ifname, sizeof(ev->ifname)));

    put_address(fields, "mac", mac);
    put_address(fields, "ip", &ev->ip);
    put_address(fields, "peer", &ev->peer);
    if (ev->protocol)
        (void)json_object_set_new(fields, "protocol", json_integer(ev->protocol));
    if (ev->port)
        (void)json_object_set_new(fields, "port", json_integer(ev->port));
    if (ev->kind == GW_WIRE_DEPARTURE)
        (void)json_object_set_new(
            fields, "direction",
            json_string(ev->direction == GW_FROM_DEVICE ? "from-device" : "to-device"));
    return fields;
}

static void tell(struct gw_quarantine *q, struct quiet *quiet, const struct gw_device *d,
                 const struct gw_wire_event *ev, const char *figures)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(ev->mac);
    char deed[GW_REASON_MAX + 1], who[GW_HWADDR_TEXT];
    json_t *fields;

    if (!quarantine_may_say(q, quiet, TOLD_PAUSE_MS))
        return;
    deed_of(q, ev, deed, sizeof(deed));
    fields = fields_of(ev, &mac);
    quarantine_put_muted(q, quiet, fields);
    gw_journal_alert(q->journal, GW_WARNING, gw_strike_name(strike_of((enum gw_wire_kind)ev->kind)),
                     d ? d->id : NULL, fields, "%s %s%s%s%s%s",
                     d ? d->id : gw_hwaddr_text(&mac, who), deed, *figures ? " (" : "", figures,
                     *figures ? ")" : "", ev->dropped ? "; dropped" : "");
}

void gw_quarantine_wire(struct gw_quarantine *q, const struct gw_wire_event *ev)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(ev->mac);
    const struct gw_device *d = gw_devices_by_addr(q->devices, &mac);
    struct striker *s = d ? quarantine_striker(q, d->id) : NULL;
    char figures[FIGURES_MAX];

    if (ev->kind >= GW_WIRE_COUNT)
        return;
    figures_of(ev, figures);
    tell(q, s ? &s->wire[ev->kind] : &q->strikes.strangers, d, ev, figures);
    if (d)
        quarantine_count(q, d, strike_of((enum gw_wire_kind)ev->kind), figures);
}
