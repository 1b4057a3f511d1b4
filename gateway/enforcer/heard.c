/* SPDX-License-Identifier: GPL-2.0-only */
/* Who is on the LAN, from the programs and the neighbour table, and who must never be cut off. */
#include <errno.h>
#include <math.h>

#include "base/clock.h"
#include "enforcer/guard.h"
#include "enforcer/selftest.h"

/* ---- never cut off ---- */

/* The first of the list that has an address in common with `a`; NULL: none. */
static const struct gw_hwaddr *find_in(const struct gw_addresses *list, const struct gw_hwaddr *a)
{
    for (size_t i = 0; i < list->count; i++) {
        if (gw_hwaddr_overlaps(&list->at[i], a))
            return &list->at[i];
    }
    return NULL;
}

static bool in_list(const struct gw_addresses *list, const struct gw_hwaddr *a)
{
    return find_in(list, a) != NULL;
}

/* The router's link address is known by its network address. */
static bool is_router_mac(const struct gw_guard *g, const struct gw_hwaddr *a)
{
    const struct gw_table *t = &g->kernel.table;
    uint32_t slot = gw_table_find(t, a);

    if (a->kind != GW_ADDR_MAC || slot == GW_SLOT_NONE)
        return false;
    for (size_t i = 0; i < g->network.routers.count; i++) {
        uint32_t ip = gw_table_find(t, &g->network.routers.at[i]);

        if (ip != GW_SLOT_NONE && gw_table_owner(t, ip) == slot)
            return true;
    }
    return false;
}

const char *gw_protection(const struct gw_guard *g, const struct gw_hwaddr *a,
                          struct gw_hwaddr *out)
{
    const struct gw_addresses configured = {g->config->quarantine.protected_addrs,
                                            g->config->quarantine.protected_count, 0};
    const struct {
        const char *what;
        const struct gw_addresses *list;
    } rows[] = {
        {"is in quarantine.protected", &configured},
        {"is the gateway's own", &g->network.own},
        {"is its router's", &g->network.routers},
        {"is everybody's on its network", &g->network.broadcasts},
    };

    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        const struct gw_hwaddr *found = find_in(rows[i].list, a);

        *out = found ? *found : *a;
        if (found)
            return rows[i].what;
    }
    if (!gw_hwaddr_is_unicast(a))
        return "is nobody's or everybody's";
    return is_router_mac(g, a) ? "is its router's" : NULL;
}

static void protect_slot(struct gw_guard *g, const struct gw_hwaddr *a)
{
    struct gw_verdict_record none = {.address = *a, .mode = GW_MODE_NONE};
    uint32_t slot = gw_table_find(&g->kernel.table, a);
    char text[GW_HWADDR_TEXT];

    if (slot == GW_SLOT_NONE || gw_table_mode(&g->kernel.table.slots[slot]) == GW_MODE_NONE)
        return;
    gw_log_warning("verdict ends: the address is protected now address=%s",
                   gw_hwaddr_text(a, text));
    if (gw_verdict_set(&g->kernel, &none, g->child.generation) == 0)
        gw_guard_save_soon(g, GW_UNSAVED_VERDICTS);
}

/* The address, and every network that holds it. */
static void protect_one(struct gw_guard *g, const struct gw_hwaddr *a)
{
    struct gw_hwaddr net = *a;

    protect_slot(g, a);
    if (a->kind == GW_ADDR_MAC || !g->kernel.table.state->prefixes[a->kind == GW_ADDR_IPV6])
        return;
    while (net.prefix_len > 0) {
        net = gw_hwaddr_masked(a, net.prefix_len - 1U);
        protect_slot(g, &net);
    }
}

void gw_protect(struct gw_guard *g)
{
    for (size_t i = 0; g->enforcing && i < g->network.own.count; i++)
        protect_one(g, &g->network.own.at[i]);
    for (size_t i = 0; g->enforcing && i < g->network.routers.count; i++)
        protect_one(g, &g->network.routers.at[i]);
}

/* ---- who was heard ---- */

void gw_heard_tell(struct gw_guard *g, uint32_t slot)
{
    struct gw_backlog *b = &g->child.backlog;

    if (g->child.pid == 0 || slot >= b->cap || b->queued[slot])
        return;
    b->queued[slot] = 1;
    b->ring[(b->at + b->count) % b->cap] = slot;
    b->count++;
}

void gw_heard_tell_all(struct gw_guard *g)
{
    for (uint32_t i = 0; g->enforcing && i < g->kernel.table.state->slots; i++) {
        if (g->kernel.table.slots[i].kind != 0 && g->kernel.table.slots[i].owner != CORDON_NO_OWNER)
            gw_heard_tell(g, i);
    }
}

/* The address's slot, made if there is room; true when there is one. */
static bool known(struct gw_guard *g, const struct gw_hwaddr *a, uint32_t *out)
{
    uint64_t now_ms = gw_clock_mono_ms();
    uint32_t slot = gw_table_find(&g->kernel.table, a);

    if (slot == GW_SLOT_NONE) {
        int err = gw_table_add(&g->kernel.table, a, false, now_ms * 1000000, &slot);

        if (err) {
            if (gw_log_allowed(&g->full, now_ms))
                gw_log_warning("no room for more addresses slots=%u: new ones are not counted, "
                               "verdicts still are",
                               g->kernel.table.state->slots);
            return false;
        }
        g->kernel.table.slots[slot].seen_ns = now_ms * 1000000;
        gw_verdict_unknown_slot(&g->kernel, slot, g->child.complete);
    }
    *out = slot;
    return true;
}

/* Without the programs there are no slots: the worker is told at once, or not at all. */
static void tell_plainly(struct gw_guard *g, const uint8_t mac[6], const struct gw_hwaddr *ip,
                         uint32_t ifindex)
{
    const struct gw_port *port = gw_network_port(&g->network, ifindex);
    struct gw_note n = {.kind = GW_NOTE_SIGHTING, .sighting = {.ifindex = ifindex}};

    memcpy(n.sighting.mac, mac, sizeof(n.sighting.mac));
    if (ip) {
        n.sighting.has_ip = true;
        n.sighting.ip = *ip;
    }
    if (port)
        memcpy(n.sighting.ifname, port->name, sizeof(n.sighting.ifname));
    gw_child_tell(g, &n);
}

static bool is_own(const struct gw_guard *g, const struct gw_hwaddr *a)
{
    return in_list(&g->network.own, a);
}

/*
 * What is never cut off is nobody's for the asking: a device that claims the gateway's address, or
 * the router's from elsewhere than the uplink, would escape by it.
 */
static bool may_have(const struct gw_guard *g, const struct gw_hwaddr *ip, uint32_t ifindex)
{
    if (!gw_hwaddr_is_unicast(ip) || is_own(g, ip))
        return false;
    return !in_list(&g->network.routers, ip) || gw_ports_uplink(g, ifindex);
}

/* A bridge says only that somebody is behind it; the port that the programs saw is better. */
static void place(struct gw_guard *g, uint32_t mac, uint32_t ifindex)
{
    struct cordon_slot *s = &g->kernel.table.slots[mac];
    const struct gw_port *now = gw_network_port(&g->network, ifindex);
    const struct gw_port *before = gw_network_port(&g->network, s->owner);

    if (s->owner == ifindex || (before && before->covered && !(now && now->covered)))
        return;
    s->owner = ifindex;
    gw_heard_tell(g, mac);
}

/* A bound address has the owner that the worker gave it, whoever else is heard with it. */
static bool is_held(const struct gw_table *t, uint32_t ip, uint32_t mac)
{
    uint32_t owner = gw_table_owner(t, ip);

    return t->slots[ip].flags & CORDON_BOUND && owner != GW_SLOT_NONE && owner != mac;
}

/*
 * The programs let others use it once the owner is silent, or went on to another IPv4 address: then
 * the worker hears of it, and may give it away.
 */
static bool is_free(const struct gw_table *t, uint32_t ip)
{
    uint32_t owner = gw_table_owner(t, ip), now = t->slots[owner].used[0];

    if (gw_clock_mono_ms() * 1000000 - t->slots[owner].seen_ns >= CORDON_BOUND_NS)
        return true;
    return t->slots[ip].kind == CORDON_IPV4 && now != ip && now < t->state->slots &&
           t->slots[now].kind == CORDON_IPV4;
}

void gw_heard(struct gw_guard *g, const uint8_t mac[6], const struct gw_hwaddr *ip,
              uint32_t ifindex)
{
    struct gw_hwaddr link = gw_hwaddr_mac(mac);
    uint32_t m, i;

    if (!gw_hwaddr_is_unicast(&link) || is_own(g, &link))
        return;
    if (ip && !may_have(g, ip, ifindex))
        ip = NULL;
    if (!g->enforcing || !known(g, &link, &m)) {
        tell_plainly(g, mac, ip, ifindex);
        return;
    }
    place(g, m, ifindex);
    if (!ip || !known(g, ip, &i)) {
        gw_heard_tell(g, m);
    } else if (!is_held(&g->kernel.table, i, m)) {
        g->kernel.table.slots[i].owner = g->kernel.table.slots[m].self;
        gw_heard_tell(g, i);
    } else {
        tell_plainly(g, mac, is_free(&g->kernel.table, i) ? ip : NULL, ifindex);
    }
    gw_child_pump(g);
}

/* ---- what was noticed ---- */

/* How many different ones set so many bits, by chance (linear counting). */
static uint32_t distinct(uint32_t set, uint32_t size)
{
    double left = GW_MAX((double)size - set, 0.5);

    return (uint32_t)lround(size * log(size / left));
}

static uint32_t figure_of(const struct cordon_event *e, enum gw_wire_kind kind)
{
    switch (kind) {
    case GW_WIRE_HOSTS:
    case GW_WIRE_PORTS:
        return distinct(e->count, CORDON_WATCH_BITS);
    case GW_WIRE_NEIGHBOURS:
        return distinct(e->count, CORDON_NEIGHBOUR_BITS);
    default:
        return e->count;
    }
}

static struct gw_hwaddr claim_of(uint64_t a, uint64_t b, uint32_t kind)
{
    struct gw_hwaddr none = {0};

    return kind == 0 ? none : gw_table_from_words(a, b, kind, kind == CORDON_IPV4 ? 32 : 128);
}

/* The programs' kinds are the worker's. */
#define X(name, text)                                                                              \
    _Static_assert((int)NOTICED_##name == (int)GW_WIRE_##name, text " is one kind on both sides");
GW_WIRE_KINDS(X)
#undef X
_Static_assert((int)NOTICED_COUNT == (int)GW_WIRE_COUNT, "and there are no others");
_Static_assert(CORDON_WIRE + NOTICED_COUNT <= 1 << CORDON_WHAT_BITS, "what is remembered as told");

static void tell_wire(struct gw_guard *g, const struct cordon_event *e)
{
    enum gw_wire_kind kind = (enum gw_wire_kind)(e->what - CORDON_WIRE);
    const struct gw_port *port = gw_network_port(&g->network, e->ifindex);
    struct gw_note n = {.kind = GW_NOTE_WIRE};
    struct gw_wire_event *w = &n.wire;

    if (kind >= GW_WIRE_COUNT || e->kind > CORDON_IPV6 || e->peer_kind > CORDON_IPV6)
        return;
    *w = (struct gw_wire_event){
        .kind = (uint32_t)kind,
        .dropped = e->dropped,
        .protocol = e->protocol,
        .ip = claim_of(e->a, e->b, e->kind),
        .peer = claim_of(e->peer_a, e->peer_b, e->peer_kind),
        .port = e->port,
        .direction = e->egress ? GW_TO_DEVICE : GW_FROM_DEVICE,
        .count = figure_of(e, kind),
        .window_ms = e->window_ms,
        .ifindex = e->ifindex,
    };
    gw_table_mac(e->mac, w->mac);
    if (port)
        memcpy(w->ifname, port->name, sizeof(w->ifname));
    gw_child_tell(g, &n);
}

void gw_heard_event(void *guard, const struct cordon_event *e)
{
    struct gw_hwaddr ip = {0};
    uint8_t mac[6];

    if (gw_selftest_owns(e->ifindex))
        return;
    if (e->what != CORDON_SIGHTING) {
        tell_wire(guard, e);
        return;
    }
    gw_table_mac(e->mac, mac);
    if (e->kind == CORDON_IPV4 || e->kind == CORDON_IPV6)
        ip = gw_table_ip(e->a, e->b, e->kind);
    gw_heard(guard, mac, ip.kind ? &ip : NULL, e->ifindex);
}
