/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Links, addresses, routes and neighbours, through libnl. An event about the first three only says
 * that something changed: then the whole is asked for and compared, once for a batch of events, so
 * a lost event loses nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <stdio.h>

#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include "enforcer/guard.h"

#define EVENT_BUFFER (1 << 20)
#define TURN_EVENTS 256 /* read before others get their turn */
#define RETRY_MS 1000
#define CARRIER 0x10000U /* IFF_LOWER_UP, which only the kernel header that clashes has */

/* libnl's errors are its own. */
static int failed(int nl_err)
{
    switch (-nl_err) {
    case NLE_NOMEM:
        return -ENOMEM;
    case NLE_PERM:
        return -EPERM;
    default:
        return -EIO;
    }
}

struct gw_port *gw_network_port(const struct gw_network *n, uint32_t ifindex)
{
    GW_LIST_EACH(&n->ports, node)
    {
        struct gw_port *p = GW_LIST_ENTRY(node, struct gw_port, node);

        if (p->ifindex == ifindex)
            return p;
    }
    return NULL;
}

static bool hwaddr_of(const struct nl_addr *a, struct gw_hwaddr *out)
{
    const uint8_t *bytes = a ? nl_addr_get_binary_addr(a) : NULL;

    if (!bytes)
        return false;
    switch (nl_addr_get_family(a)) {
    case AF_INET:
        *out = gw_hwaddr_ipv4(bytes);
        return nl_addr_get_len(a) == 4;
    case AF_INET6:
        *out = gw_hwaddr_ipv6(bytes);
        return nl_addr_get_len(a) == 16;
    default:
        *out = gw_hwaddr_mac(bytes);
        return nl_addr_get_len(a) == 6;
    }
}

/* ---- links ---- */

static struct gw_port *port_for(struct gw_guard *g, uint32_t ifindex)
{
    struct gw_port *p = gw_network_port(&g->network, ifindex);

    if (p)
        return p;
    p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->ifindex = ifindex;
    p->hooks.ingress_link = p->hooks.egress_link = p->hooks.bridging_link = -1;
    gw_list_append(&g->network.ports, &p->node);
    return p;
}

static bool is_kind(struct rtnl_link *l, const char *kind)
{
    const char *type = l ? rtnl_link_get_type(l) : NULL;

    return type && strcmp(type, kind) == 0;
}

/* The link below, if it has one here: a veth's is its peer, which may be in another namespace,
 * where the same number names something else. */
static uint32_t lower_of(struct rtnl_link *l)
{
    int32_t elsewhere;

    if (is_kind(l, "veth") || rtnl_link_get_link_netnsid(l, &elsewhere) == 0)
        return 0;
    return (uint32_t)rtnl_link_get_link(l);
}

static void read_link(struct gw_guard *g, struct nl_cache *all, struct rtnl_link *l)
{
    struct gw_port *p = port_for(g, (uint32_t)rtnl_link_get_ifindex(l));
    unsigned flags = rtnl_link_get_flags(l);
    struct gw_hwaddr mac;
    struct rtnl_link *master;

    if (!p)
        return;
    master = rtnl_link_get(all, rtnl_link_get_master(l));
    p->seen = true;
    (void)snprintf(p->name, sizeof(p->name), "%s", rtnl_link_get_name(l));
    p->master = (uint32_t)rtnl_link_get_master(l);
    p->lower = lower_of(l);
    p->ethernet = rtnl_link_get_arptype(l) == ARPHRD_ETHER && !(flags & (IFF_LOOPBACK | IFF_NOARP));
    p->bridge = is_kind(l, "bridge");
    p->vlan = is_kind(l, "vlan");
    p->bond_member = is_kind(master, "bond") || is_kind(master, "team");
    p->up = flags & IFF_UP && flags & CARRIER;
    if (master)
        rtnl_link_put(master);
    if (rtnl_link_get_arptype(l) == ARPHRD_ETHER && hwaddr_of(rtnl_link_get_addr(l), &mac))
        (void)!gw_addresses_add(&g->network.own, &mac); /* full: said once the list is used */
}

static int read_links(struct gw_guard *g)
{
    struct nl_cache *all = NULL;
    int err = rtnl_link_alloc_cache(g->network.questions, AF_UNSPEC, &all);

    if (err < 0)
        return failed(err);
    GW_LIST_EACH(&g->network.ports, node)
    {
        GW_LIST_ENTRY(node, struct gw_port, node)->seen = false;
    }
    for (struct nl_object *o = nl_cache_get_first(all); o; o = nl_cache_get_next(o))
        read_link(g, all, (struct rtnl_link *)o);
    nl_cache_free(all);
    return 0;
}

/* ---- addresses and routes ---- */

/* The address of everybody on the link that `a` is on (RFC 919 §7), in its place. */
static bool broadcast_of(struct gw_hwaddr *a, int prefix_len)
{
    if (a->kind != GW_ADDR_IPV4 || prefix_len < 1 || prefix_len > 30)
        return false;
    for (int bit = prefix_len; bit < 32; bit++)
        a->bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    return true;
}

/* The network that `a`, with so long a prefix, is in. */
static int add_net(struct gw_network *n, uint32_t ifindex, const struct gw_hwaddr *a,
                   int prefix_len)
{
    struct gw_net *more;

    if (n->net_count == GW_ADDRESSES_MAX)
        return GW_EFULL;
    if (n->net_count == n->net_cap) {
        more = realloc(n->nets, (n->net_cap * 2 + 16) * sizeof(*more));
        if (!more)
            return -ENOMEM;
        n->nets = more;
        n->net_cap = n->net_cap * 2 + 16;
    }
    n->nets[n->net_count++] = (struct gw_net){ifindex, gw_hwaddr_masked(a, (unsigned)prefix_len)};
    return 0;
}

static int read_addresses(struct gw_guard *g)
{
    struct nl_cache *all = NULL;
    int err = rtnl_addr_alloc_cache(g->network.questions, &all);

    if (err < 0)
        return failed(err);
    g->network.net_count = 0;
    for (struct nl_object *o = nl_cache_get_first(all); o; o = nl_cache_get_next(o)) {
        struct rtnl_addr *one = (struct rtnl_addr *)o;
        struct gw_hwaddr a;

        if (!hwaddr_of(rtnl_addr_get_local(one), &a))
            continue;
        (void)!gw_addresses_add(&g->network.own, &a);
        (void)add_net(&g->network, (uint32_t)rtnl_addr_get_ifindex(one), &a,
                      rtnl_addr_get_prefixlen(one));
        if (broadcast_of(&a, rtnl_addr_get_prefixlen(one)))
            (void)!gw_addresses_add(&g->network.broadcasts, &a);
    }
    nl_cache_free(all);
    return 0;
}

static bool is_default(struct rtnl_route *r)
{
    struct nl_addr *dst = rtnl_route_get_dst(r);

    return rtnl_route_get_type(r) == RTN_UNICAST && rtnl_route_get_table(r) == RT_TABLE_MAIN &&
           (!dst || nl_addr_get_prefixlen(dst) == 0);
}

/* Anybody on a link may advertise a route (RFC 4861 §6.2.3). */
static bool is_advertised(struct rtnl_route *r)
{
    return rtnl_route_get_protocol(r) == RTPROT_RA;
}

bool gw_network_has_default(const struct gw_network *n, uint32_t ifindex)
{
    for (size_t i = 0; i < n->default_count; i++) {
        if (n->default_links[i] == ifindex)
            return true;
    }
    return false;
}

static void on_next_hop(struct rtnl_nexthop *hop, void *network)
{
    struct gw_network *n = network;
    uint32_t ifindex = (uint32_t)rtnl_route_nh_get_ifindex(hop);
    struct gw_hwaddr router;

    if (!gw_network_has_default(n, ifindex)) {
        if (n->default_settled || n->default_count == GW_COUNT(n->default_links))
            return;
        n->default_links[n->default_count++] = ifindex;
    }
    if (hwaddr_of(rtnl_route_nh_get_gateway(hop), &router))
        (void)!gw_addresses_add(&n->routers, &router);
}

static void read_defaults(struct gw_network *n, struct nl_cache *all, bool advertised)
{
    for (struct nl_object *o = nl_cache_get_first(all); o; o = nl_cache_get_next(o)) {
        struct rtnl_route *r = (struct rtnl_route *)o;

        if (is_default(r) && is_advertised(r) == advertised)
            rtnl_route_foreach_nexthop(r, on_next_hop, n);
    }
}

static int read_routes(struct gw_guard *g)
{
    struct nl_cache *all = NULL;
    int err = rtnl_route_alloc_cache(g->network.questions, AF_UNSPEC, 0, &all);

    if (err < 0)
        return failed(err);
    g->network.default_count = 0;
    g->network.routers.count = 0;
    g->network.default_settled = false;
    read_defaults(&g->network, all, false);
    /* Where somebody gave a route, an advertised one makes no other port an uplink: it would be
     * a device's way out of its isolation. */
    g->network.default_settled = g->network.default_count > 0;
    read_defaults(&g->network, all, true);
    nl_cache_free(all);
    return 0;
}

static int read_all(struct gw_guard *g)
{
    int err = read_routes(g);

    if (!err)
        err = read_links(g);
    return err ? err : read_addresses(g);
}

static void tell_programs(struct gw_guard *g, enum cordon_flag flag, const struct gw_addresses *all)
{
    int err = g->enforcing ? gw_kernel_flag(&g->kernel, flag, all) : 0;

    if (err)
        gw_log_error("not all addresses of %s are known to the kernel programs: %s",
                     flag == CORDON_OWN ? "the gateway" : "its router", gw_error_text(err));
}

/* Its router's addresses are nobody's on a LAN port, unless the router is on one itself. */
static void tell_routers(struct gw_guard *g)
{
    const struct gw_addresses none = {0};
    bool on_lan = false;

    for (size_t i = 0; i < g->network.default_count; i++)
        on_lan = on_lan || gw_ports_reach(g, g->network.default_links[i], 0);
    tell_programs(g, CORDON_ROUTER, on_lan ? &none : &g->network.routers);
}

/* What rules mean by the local network: what LAN ports are in, and what never leaves a link. */
static void tell_locals(struct gw_guard *g)
{
    struct gw_addresses locals = {0};
    struct gw_hwaddr link4 = gw_hwaddr_ipv4((const uint8_t[]){169, 254, 0, 0});
    struct gw_hwaddr link6 = gw_hwaddr_ipv6((const uint8_t[16]){0xfe, 0x80});
    int err = 0;

    link4.prefix_len = 16; /* RFC 3927 */
    link6.prefix_len = 10; /* RFC 4291 §2.4 */
    err = gw_addresses_add(&locals, &link4);
    if (!err)
        err = gw_addresses_add(&locals, &link6);
    for (size_t i = 0; !err && i < g->network.net_count; i++) {
        if (gw_ports_reach(g, g->network.nets[i].ifindex, 0))
            err = gw_addresses_add(&locals, &g->network.nets[i].address);
    }
    if (!err && g->enforcing)
        err = gw_kernel_locals(&g->kernel, &locals);
    if (err)
        gw_log_error("not all local networks are known to the kernel programs: %s",
                     gw_error_text(err));
    free(locals.at);
}

void gw_network_refresh(struct gw_guard *g)
{
    struct gw_network *n = &g->network;
    struct gw_addresses own = n->own, broadcasts = n->broadcasts;
    int err;

    n->stale = false;
    n->own = n->broadcasts = (struct gw_addresses){0};
    err = read_all(g);
    if (err) { /* what is covered stays covered, and what is protected too */
        gw_log_error("the kernel does not tell its links and addresses: %s", gw_error_text(err));
        n->stale = true;
        gw_timer_start(g->loop, &n->again, RETRY_MS);
        free(n->own.at);
        free(n->broadcasts.at);
        n->own = own;
        n->broadcasts = broadcasts;
        return;
    }
    free(own.at);
    free(broadcasts.at);
    tell_programs(g, CORDON_OWN, &g->network.own);
    gw_ports_settle(g);
    tell_routers(g);
    tell_locals(g);
    gw_protect(g);
}

/* ---- neighbours ---- */

static void on_neighbour(struct gw_guard *g, struct rtnl_neigh *n)
{
    const int alive = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT;
    uint32_t ifindex = (uint32_t)rtnl_neigh_get_ifindex(n);
    struct gw_hwaddr mac, ip;

    if (!(rtnl_neigh_get_state(n) & alive) || !hwaddr_of(rtnl_neigh_get_lladdr(n), &mac) ||
        mac.kind != GW_ADDR_MAC || !hwaddr_of(rtnl_neigh_get_dst(n), &ip) ||
        ip.kind == GW_ADDR_MAC || !gw_ports_reach(g, ifindex, 0))
        return;
    gw_heard(g, mac.bytes, &ip, ifindex);
}

void gw_network_neighbours(struct gw_guard *g)
{
    struct nl_cache *all = NULL;

    if (rtnl_neigh_alloc_cache(g->network.questions, &all) < 0) {
        g->network.lost = true;
        gw_timer_start(g->loop, &g->network.again, RETRY_MS);
        return;
    }
    for (struct nl_object *o = nl_cache_get_first(all); o; o = nl_cache_get_next(o))
        on_neighbour(g, (struct rtnl_neigh *)o);
    nl_cache_free(all);
}

/* ---- events ---- */

static void on_object(struct nl_object *o, void *guard)
{
    struct gw_guard *g = guard;

    if (strcmp(nl_object_get_type(o), "route/neigh") == 0)
        on_neighbour(g, (struct rtnl_neigh *)o);
}

static int on_message(struct nl_msg *m, void *guard)
{
    struct gw_guard *g = guard;

    switch (nlmsg_hdr(m)->nlmsg_type) {
    case RTM_NEWNEIGH:
        (void)nl_msg_parse(m, on_object, g);
        break;
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_NEWADDR:
    case RTM_DELADDR:
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        g->network.stale = true;
        break;
    default:
        break;
    }
    return NL_OK;
}

static void catch_up(void *guard)
{
    struct gw_guard *g = guard;

    if (g->network.stale || g->network.lost)
        gw_network_refresh(g);
    if (!g->network.lost)
        return;
    g->network.lost = false;
    gw_network_neighbours(g);
}

/*
 * A socket that overflowed says so once, and takes nothing more before it has been read to its end
 * (netlink(7), ENOBUFS): only what is asked for from then on is the whole.
 */
static void on_events(void *guard, uint32_t events)
{
    struct gw_guard *g = guard;
    int err = 0;

    (void)events;
    for (int i = 0; i < TURN_EVENTS && (err >= 0 || err == -NLE_NOMEM); i++) {
        err = nl_recvmsgs_default(g->network.events);
        if (err < 0 && err != -NLE_AGAIN)
            g->network.lost = true;
    }
    if (err == -NLE_AGAIN || !g->network.lost)
        catch_up(g);
}

/*
 * A bridge tells of every link address it learns, as a neighbour of its own family: a flood of
 * forged ones would keep this process busy, and make it lose what matters. They stay in the kernel.
 */
static int leave_out_bridges(int fd)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWNEIGH), 1, 0), /* loads are big-endian */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELNEIGH), 0, 2),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, NLMSG_HDRLEN + offsetof(struct ndmsg, ndm_family)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_BRIDGE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {GW_COUNT(code), code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

static int open_events(struct gw_guard *g)
{
    struct nl_sock *s = nl_socket_alloc();
    int err;

    g->network.events = s;
    if (!s)
        return -ENOMEM;
    nl_socket_disable_seq_check(s);
    (void)nl_socket_modify_cb(s, NL_CB_VALID, NL_CB_CUSTOM, on_message, g);
    err = nl_connect(s, NETLINK_ROUTE);
    if (err < 0)
        return failed(err);
    if (leave_out_bridges(nl_socket_get_fd(s)) != 0)
        gw_log_debug("the bridges' events are read, and left out here");
    (void)setsockopt(nl_socket_get_fd(s), SOL_SOCKET, SO_RCVBUFFORCE, &(int){EVENT_BUFFER},
                     sizeof(int)); /* a smaller one loses, and asks again */
    err = nl_socket_add_memberships(s, RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR,
                                    RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, 0);
    if (err < 0)
        return failed(err);
    err = nl_socket_set_nonblocking(s);
    return err < 0 ? failed(err) : 0;
}

static int open_questions(struct gw_guard *g)
{
    int err;

    g->network.questions = nl_socket_alloc();
    if (!g->network.questions)
        return -ENOMEM;
    err = nl_connect(g->network.questions, NETLINK_ROUTE);
    return err < 0 ? failed(err) : 0;
}

int gw_network_open(struct gw_guard *g)
{
    int err;

    gw_list_init(&g->network.ports);
    g->network.asked = (struct gw_log_limit){.burst = 10, .per_ms = 1000};
    gw_timer_init(&g->network.again, catch_up, g);
    err = open_events(g);
    if (!err)
        err = open_questions(g);
    if (err)
        return err;
    gw_network_refresh(g);
    gw_network_neighbours(g);
    return gw_io_start(g->loop, &g->network.io, nl_socket_get_fd(g->network.events), EPOLLIN,
                       on_events, g);
}

void gw_network_close(struct gw_guard *g)
{
    struct gw_network *n = &g->network;

    gw_io_stop(&n->io);
    gw_timer_stop(&g->look);
    gw_timer_stop(&n->again);
    if (n->events)
        nl_socket_free(n->events);
    if (n->questions)
        nl_socket_free(n->questions);
    if (n->ports.next) {
        GW_LIST_EACH(&n->ports, node)
        {
            struct gw_port *p = GW_LIST_ENTRY(node, struct gw_port, node);

            gw_close_fd(&p->hooks.ingress_link); /* the pins hold the links */
            gw_close_fd(&p->hooks.egress_link);
            gw_list_remove(&p->node);
            free(p);
        }
    }
    free(n->own.at);
    free(n->routers.at);
    free(n->broadcasts.at);
    free(n->nets);
    *n = (struct gw_network){0};
}
