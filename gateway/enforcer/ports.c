/* SPDX-License-Identifier: GPL-2.0-only */
/* Which interfaces are LAN ports, and how each is covered. */
#include <stdio.h>

#include "enforcer/guard.h"

static bool is_named(const struct gw_config *c, const char *name)
{
    for (size_t i = 0; i < c->lan.interface_count; i++) {
        if (strcmp(c->lan.interfaces[i], name) == 0)
            return true;
    }
    return false;
}

static const struct gw_port *port_at(const struct gw_network *n, uint32_t ifindex)
{
    GW_LIST_EACH(&n->ports, node)
    {
        const struct gw_port *p = GW_LIST_ENTRY(node, struct gw_port, node);

        if (p->ifindex == ifindex)
            return p;
    }
    return NULL;
}

/*
 * auto: Ethernet-like and without the default route. A bridge is covered on its ports, since what
 * goes from one to another never reaches the bridge device; a bond on itself, whose members carry
 * the same frames; a VLAN by the port below it, if that is one.
 */
static bool is_automatic(const struct gw_network *n, const struct gw_port *p, int depth)
{
    const struct gw_port *lower = p->vlan ? port_at(n, p->lower) : NULL;

    if (!p->ethernet || p->bridge || p->bond_member || gw_network_has_default(n, p->ifindex))
        return false;
    return !lower || depth > 2 || !is_automatic(n, lower, depth + 1);
}

static bool is_lan(const struct gw_guard *g, const struct gw_port *p)
{
    if (is_named(g->config, p->name))
        return true;
    return is_named(g->config, "auto") && is_automatic(&g->network, p, 0);
}

/* `top` is this interface, has it as a member, or is a VLAN over either. */
static bool is_over(const struct gw_network *n, uint32_t top, uint32_t ifindex, int depth)
{
    const struct gw_port *upper = port_at(n, top), *lower = port_at(n, ifindex);

    if (top == ifindex)
        return true;
    if (depth > 3)
        return false;
    if (upper && upper->lower && is_over(n, upper->lower, ifindex, depth + 1))
        return true;
    return lower && lower->master && is_over(n, top, lower->master, depth + 1);
}

bool gw_ports_uplink(const struct gw_guard *g, uint32_t ifindex)
{
    for (size_t i = 0; i < g->network.default_count; i++) {
        if (is_over(&g->network, g->network.default_links[i], ifindex, 0))
            return true;
    }
    return false;
}

bool gw_ports_reach(const struct gw_guard *g, uint32_t ifindex, int depth)
{
    const struct gw_port *p = port_at(&g->network, ifindex);

    if (!p || depth > 3)
        return false;
    if (p->covered)
        return true;
    if (p->lower && p->lower != ifindex && gw_ports_reach(g, p->lower, depth + 1))
        return true;
    GW_LIST_EACH(&g->network.ports, node)
    {
        const struct gw_port *member = GW_LIST_ENTRY(node, struct gw_port, node);

        if (member->master == ifindex && gw_ports_reach(g, member->ifindex, depth + 1))
            return true;
    }
    return false;
}

static bool same_report(const struct gw_link_report *a, const struct gw_link_report *b)
{
    return a->ifindex == b->ifindex && strcmp(a->ifname, b->ifname) == 0 &&
           a->present == b->present && a->up == b->up && a->ingress == b->ingress &&
           a->egress == b->egress && strcmp(a->reason, b->reason) == 0;
}

void gw_ports_tell(struct gw_guard *g, struct gw_port *p, bool again)
{
    struct gw_note n = {.kind = GW_NOTE_LINK};
    struct gw_link_report *r = &n.link;

    r->ifindex = p->ifindex;
    memcpy(r->ifname, p->name, sizeof(r->ifname));
    r->present = p->covered;
    r->up = p->covered && p->up;
    r->ingress = p->hooks.ingress;
    r->egress = p->hooks.egress;
    memcpy(r->reason, p->hooks.reason, sizeof(r->reason));
    if (!p->covered && !p->told.present)
        return;
    if (!again && same_report(r, &p->told))
        return;
    p->told = *r;
    gw_child_tell(g, &n);
}

static void log_cover(const struct gw_port *p)
{
    static const char *const in[] = {"none", "native", "generic", "tc"};
    static const char *const out[] = {"none", "tcx", "clsact"};
    bool bad = p->hooks.ingress == GW_INGRESS_NONE || p->hooks.egress == GW_EGRESS_NONE;

    gw_log(bad ? GW_LOG_ERROR : GW_LOG_INFO, "LAN port %s name=%s ingress=%s egress=%s%s%s%s",
           bad ? "is not protected" : "protected", p->name, in[p->hooks.ingress],
           out[p->hooks.egress], *p->hooks.reason ? " reason=\"" : "", p->hooks.reason,
           *p->hooks.reason ? "\"" : "");
}

static void cover(struct gw_guard *g, struct gw_port *p)
{
    p->covered = true;
    if (!g->enforcing) {
        (void)snprintf(p->hooks.reason, sizeof(p->hooks.reason), "%.95s", g->why);
        return;
    }
    gw_kernel_attach(&g->kernel, p->ifindex, &p->hooks);
    log_cover(p);
}

static void uncover(struct gw_guard *g, struct gw_port *p)
{
    if (!p->covered)
        return;
    if (g->enforcing)
        gw_kernel_detach(&g->kernel, p->ifindex, &p->hooks);
    p->covered = false;
    gw_log_info("LAN port gone name=%s", p->name);
    gw_ports_tell(g, p, false);
}

static bool is_there(const struct gw_network *n, const char *name)
{
    GW_LIST_EACH(&n->ports, node)
    {
        if (strcmp(GW_LIST_ENTRY(node, struct gw_port, node)->name, name) == 0)
            return true;
    }
    return false;
}

void gw_ports_missing(const struct gw_guard *g)
{
    for (size_t i = 0; i < g->config->lan.interface_count; i++) {
        const char *name = g->config->lan.interfaces[i];

        if (strcmp(name, "auto") != 0 && !is_there(&g->network, name))
            gw_log_warning("lan.interfaces: there is no interface %s yet; it is guarded the moment "
                           "it appears",
                           name);
    }
}

void gw_ports_settle(struct gw_guard *g)
{
    GW_LIST_EACH(&g->network.ports, node)
    {
        struct gw_port *p = GW_LIST_ENTRY(node, struct gw_port, node);
        bool lan = p->seen && is_lan(g, p);

        if (lan && !p->covered)
            cover(g, p);
        else if (!lan)
            uncover(g, p);
        gw_ports_tell(g, p, false);
        if (!p->seen) {
            gw_list_remove(&p->node);
            free(p);
        }
    }
}
