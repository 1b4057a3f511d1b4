/* SPDX-License-Identifier: GPL-2.0-only */
/* Which interfaces are LAN ports, and how each is covered. */
#include <stdio.h>

#include "base/clock.h"
#include "enforcer/guard.h"

#define LOOK_MS 60000
#define LOOK_PAUSE_MS 1000
#define LATELY_NS                                                                                  \
    (3600ULL * 1000000000) /* a device on a port that was silent longer may be gone                \
                            */

static bool is_named(const struct gw_config *c, const char *name)
{
    for (size_t i = 0; i < c->lan.interface_count; i++) {
        if (strcmp(c->lan.interfaces[i], name) == 0)
            return true;
    }
    return false;
}

/*
 * auto: Ethernet-like and without the default route. A bridge is covered on its ports, since what
 * goes from one to another never reaches the bridge device; a bond on itself, whose members carry
 * the same frames; a VLAN by the port below it, if that is one.
 */
static bool is_automatic(const struct gw_network *n, const struct gw_port *p, int depth)
{
    const struct gw_port *lower = p->vlan ? gw_network_port(n, p->lower) : NULL;

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
    const struct gw_port *upper = gw_network_port(n, top), *lower = gw_network_port(n, ifindex);

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
    const struct gw_port *p = gw_network_port(&g->network, ifindex);

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
           a->egress == b->egress && a->bypass == b->bypass && strcmp(a->reason, b->reason) == 0;
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
    r->bypass = p->covered ? p->bypass : 0;
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
        (void)snprintf(p->hooks.reason, sizeof(p->hooks.reason), "%.*s", GW_REASON - 1, g->why);
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
    gw_ports_look_soon(g);
}

/* ---- what could go past them ---- */

struct by_number {
    struct gw_port **at;
    size_t count;
};

static int compare_ports(const void *a, const void *b)
{
    const struct gw_port *p = *(struct gw_port *const *)a, *q = *(struct gw_port *const *)b;

    return p->ifindex < q->ifindex ? -1 : p->ifindex > q->ifindex;
}

static struct by_number sort_ports(const struct gw_guard *g)
{
    struct by_number sorted = {0};
    size_t all = 0;

    GW_LIST_EACH(&g->network.ports, node)
    {
        all++;
    }
    sorted.at = calloc(all + 1, sizeof(struct gw_port *));
    GW_LIST_EACH(&g->network.ports, node)
    {
        struct gw_port *p = GW_LIST_ENTRY(node, struct gw_port, node);

        p->devices = 0;
        if (p->covered && sorted.at)
            sorted.at[sorted.count++] = p;
    }
    if (sorted.count > 1)
        qsort(sorted.at, sorted.count, sizeof(struct gw_port *), compare_ports);
    return sorted;
}

static struct gw_port *sorted_port(const struct by_number *sorted, uint32_t ifindex)
{
    struct gw_port key = {.ifindex = ifindex}, *wanted = &key;
    struct gw_port **found =
        bsearch(&wanted, sorted->at, sorted->count, sizeof(struct gw_port *), compare_ports);

    return found ? *found : NULL;
}

/* One walk over the slots for all ports: nothing is counted for each packet. */
static void count_devices(struct gw_guard *g)
{
    GW_CLEANUP(gw_free_ptr) struct gw_port **at = NULL;
    struct by_number sorted = sort_ports(g);
    const struct gw_table *t = &g->kernel.table;
    uint64_t now_ns = gw_clock_mono_ms() * 1000000;

    at = sorted.at;
    for (uint32_t i = 0; sorted.count > 0 && i < t->state->slots; i++) {
        const struct cordon_slot *s = &t->slots[i];
        struct gw_port *p;

        if (s->kind != CORDON_MAC || s->owner == CORDON_NO_OWNER || s->seen_ns + LATELY_NS < now_ns)
            continue;
        p = sorted_port(&sorted, s->owner);
        if (p)
            p->devices++;
    }
}

static bool has_siblings(const struct gw_guard *g, const struct gw_port *p)
{
    GW_LIST_EACH(&g->network.ports, node)
    {
        const struct gw_port *q = GW_LIST_ENTRY(node, struct gw_port, node);

        if (q != p && p->master != 0 && q->master == p->master &&
            strcmp(q->facts.switch_id, p->facts.switch_id) == 0)
            return true;
    }
    return false;
}

static bool is_held(const struct gw_guard *g, const struct gw_port *p, char *why)
{
    return gw_hooks_held(&g->kernel, p->ifindex, &p->hooks, false, why) &&
           gw_hooks_held(&g->kernel, p->ifindex, &p->hooks, true, why);
}

/*
 * Somebody with the right to may have taken a program off, or its pin; then it is put on again. So
 * is one that could not be attached, whose reason may have passed.
 */
static void hold(struct gw_guard *g, struct gw_port *p)
{
    enum gw_ingress in = p->hooks.ingress;
    enum gw_egress out = p->hooks.egress;
    char why[GW_CHECK_DETAIL], still[GW_CHECK_DETAIL];
    bool was_on = in != GW_INGRESS_NONE && out != GW_EGRESS_NONE;

    if (is_held(g, p, why))
        return;
    gw_kernel_attach(&g->kernel, p->ifindex, &p->hooks);
    if (was_on)
        gw_log_error("LAN port was not held name=%s, and is%s again: %s", p->name,
                     is_held(g, p, still) ? "" : " not", why);
    if (was_on || p->hooks.ingress != in || p->hooks.egress != out)
        log_cover(p);
}

static void look_at(struct gw_guard *g, struct gw_port *p)
{
    struct gw_bypass_port about = {.facts = &p->facts, .devices = p->devices};

    gw_bypass_ask(p->name, &p->facts);
    if (g->enforcing) {
        hold(g, p);
        about.ingress = p->hooks.ingress;
        about.before = gw_hooks_behind(&g->kernel, p->ifindex, &p->hooks);
    }
    about.siblings = *p->facts.switch_id && has_siblings(g, p);
    p->bypass = gw_bypass_of(&about);
    gw_ports_tell(g, p, false);
}

static void look(void *guard)
{
    struct gw_guard *g = guard;

    g->looked_ms = gw_clock_mono_ms();
    gw_timer_start(g->loop, &g->look, LOOK_MS);
    if (g->enforcing)
        count_devices(g);
    GW_LIST_EACH(&g->network.ports, node)
    {
        struct gw_port *p = GW_LIST_ENTRY(node, struct gw_port, node);

        gw_bypass_read("/sys", p->name, &p->facts);
    }
    GW_LIST_EACH(&g->network.ports, node)
    {
        struct gw_port *p = GW_LIST_ENTRY(node, struct gw_port, node);

        if (p->covered)
            look_at(g, p);
    }
}

void gw_ports_look_soon(struct gw_guard *g)
{
    uint64_t now_ms = gw_clock_mono_ms();

    if (!g->look.fn)
        gw_timer_init(&g->look, look, g);
    if (g->looked_ms == 0 || now_ms - g->looked_ms >= LOOK_PAUSE_MS)
        look(g);
    else if (!gw_timer_armed(&g->look) || g->look.due_ms > now_ms + LOOK_PAUSE_MS)
        gw_timer_start(g->loop, &g->look, LOOK_PAUSE_MS);
}
