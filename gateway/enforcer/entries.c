/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs know beside verdicts: prefixes, whose addresses are whose, what is too much. */
#include "enforcer/kernel_priv.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cordon.skel.h"

/* Not attached yet: nothing is judged by the programs' variables before they are set. */
void gw_kernel_copy_live(struct gw_kernel *k)
{
    volatile struct cordon_live *live = &k->skeleton->bss->cordon_live;

    live->prefixes[0] = k->table.state->prefixes[0];
    live->prefixes[1] = k->table.state->prefixes[1];
    live->unknown_mode = k->table.state->unknown_mode;
}

/* ---- prefixes ---- */

static int lpm_fd(const struct gw_kernel *k, const struct gw_hwaddr *net)
{
    return bpf_map__fd(net->kind == GW_ADDR_IPV4 ? k->skeleton->maps.cordon_lpm4
                                                 : k->skeleton->maps.cordon_lpm6);
}

static struct cordon_lpm6 lpm_key(const struct gw_hwaddr *net)
{
    struct cordon_lpm6 key = {.prefix_len = net->prefix_len};

    memcpy(key.bytes, net->bytes, sizeof(key.bytes)); /* an IPv4 key is the head of it */
    return key;
}

/* A key of either prefix map, as an address. */
static struct gw_hwaddr lpm_address(const struct cordon_lpm6 *key, bool six)
{
    struct gw_hwaddr a = {
        .kind = six ? GW_ADDR_IPV6 : GW_ADDR_IPV4,
        .prefix_len = (uint8_t)key->prefix_len,
    };

    memcpy(a.bytes, key->bytes, six ? 16 : 4);
    return a;
}

/* What has no slot any more goes; how many are left. */
static uint32_t lpm_clean(const struct gw_table *t, int fd, bool six)
{
    struct cordon_lpm6 key = {0}, next = {0};
    bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;
    uint32_t count = 0;

    while (more) {
        struct gw_hwaddr a = lpm_address(&next, six);

        key = next;
        more = bpf_map_get_next_key(fd, &key, &next) == 0;
        if (gw_table_find(t, &a) != GW_SLOT_NONE)
            count++;
        else
            (void)bpf_map_delete_elem(fd, &key);
    }
    return count;
}

/* The slots are the authority for the prefixes too: a daemon may have died between two steps. */
void gw_kernel_adopt_prefixes(struct gw_kernel *k)
{
    struct gw_table *t = &k->table;

    for (uint32_t i = 0; i < t->state->slots; i++) {
        struct gw_hwaddr a = gw_table_address(&t->slots[i]);
        struct cordon_lpm6 key = lpm_key(&a);

        if (!gw_table_is_prefix(&t->slots[i]))
            continue;
        if (t->slots[i].verdict == 0 || bpf_map_update_elem(lpm_fd(k, &a), &key, &i, BPF_ANY) != 0)
            gw_table_remove(t, i); /* full: the worker says it again, and is told */
    }
    for (int six = 0; six < 2; six++) {
        struct gw_hwaddr family = {.kind = six ? GW_ADDR_IPV6 : GW_ADDR_IPV4};

        t->state->prefixes[six] = lpm_clean(t, lpm_fd(k, &family), six);
    }
}

/* One more or less prefix: 0 saves the programs the question. */
static void prefix_count(struct gw_kernel *k, const struct gw_hwaddr *net, int by)
{
    bool six = net->kind == GW_ADDR_IPV6;
    uint32_t *count = &k->table.state->prefixes[six];

    *count += (uint32_t)by;
    k->skeleton->bss->cordon_live.prefixes[six] = *count;
}

void gw_kernel_unknown(struct gw_kernel *k, enum gw_verdict_mode mode)
{
    k->table.state->unknown_mode = (uint32_t)mode;
    k->skeleton->bss->cordon_live.unknown_mode = (uint32_t)mode;
}

int gw_kernel_prefix_add(struct gw_kernel *k, const struct gw_hwaddr *net, uint32_t slot)
{
    struct cordon_lpm6 key = lpm_key(net);

    if (bpf_map_update_elem(lpm_fd(k, net), &key, &slot, BPF_NOEXIST) != 0)
        return errno == ENOSPC ? GW_EFULL : -errno;
    prefix_count(k, net, 1);
    return 0;
}

void gw_kernel_prefix_remove(struct gw_kernel *k, const struct gw_hwaddr *net)
{
    struct cordon_lpm6 key = lpm_key(net);

    if (bpf_map_delete_elem(lpm_fd(k, net), &key) == 0)
        prefix_count(k, net, -1);
}

/* ---- whose address is whose ---- */

static size_t flag_index(enum cordon_flag flag)
{
    return flag == CORDON_OWN ? 0 : flag == CORDON_ROUTER ? 1 : 2;
}

/* After a take-over the slots say which addresses they were. */
int gw_kernel_adopt_flags(struct gw_kernel *k)
{
    static const enum cordon_flag flags[] = {CORDON_OWN, CORDON_ROUTER, CORDON_SERVER};

    for (uint32_t i = 0; i < k->table.state->slots; i++) {
        const struct cordon_slot *s = &k->table.slots[i];
        struct gw_hwaddr a;

        for (size_t f = 0; s->kind != 0 && f < GW_COUNT(flags); f++) {
            a = gw_table_address(s);
            if (s->flags & flags[f] && gw_addresses_add(&k->flagged[flag_index(flags[f])], &a) != 0)
                return -ENOMEM;
        }
    }
    return 0;
}

static void unflag(struct gw_kernel *k, enum cordon_flag flag, const struct gw_hwaddr *a)
{
    uint32_t slot = gw_table_find(&k->table, a);
    struct cordon_slot *s = slot == GW_SLOT_NONE ? NULL : &k->table.slots[slot];

    if (!s)
        return;
    gw_table_flag(&k->table, slot, (uint16_t)flag, false);
    if (s->seen_ns == 0 && !gw_table_is_kept(s))
        gw_table_remove(&k->table, slot);
}

static int flag_one(struct gw_kernel *k, enum cordon_flag flag, const struct gw_hwaddr *a)
{
    uint32_t slot = gw_table_find(&k->table, a);
    int err = 0;

    if (slot == GW_SLOT_NONE)
        err = gw_table_add(&k->table, a, true, gw_clock_mono_ms() * 1000000, &slot);
    if (!err)
        gw_table_flag(&k->table, slot, (uint16_t)flag, true);
    return err;
}

int gw_kernel_flag(struct gw_kernel *k, enum cordon_flag flag, const struct gw_addresses *all)
{
    struct gw_addresses *list = &k->flagged[flag_index(flag)];
    struct gw_addresses before = *list;
    int err = 0;

    *list = (struct gw_addresses){0};
    for (size_t i = 0; !err && i < all->count; i++) {
        err = flag_one(k, flag, &all->at[i]);
        if (!err)
            err = gw_addresses_add(list, &all->at[i]);
    }
    for (size_t i = 0; i < before.count; i++) {
        if (!gw_addresses_have(list, &before.at[i]))
            unflag(k, flag, &before.at[i]);
    }
    free(before.at);
    return err;
}

/* ---- the local networks ---- */

struct cordon_net gw_net_key(uint32_t scope, const struct gw_hwaddr *a)
{
    struct cordon_net key = {.prefix_len = 32U + a->prefix_len, .scope = scope};

    memcpy(key.words, a->bytes, sizeof(key.words));
    return key;
}

static struct cordon_net local_key(const struct gw_hwaddr *a)
{
    return gw_net_key(CORDON_SCOPE(0, 0, a->kind), a);
}

static bool is_local_key(const struct cordon_net *key, const struct gw_addresses *all)
{
    for (size_t i = 0; i < all->count; i++) {
        struct cordon_net one = local_key(&all->at[i]);

        if (memcmp(key, &one, sizeof(one)) == 0)
            return true;
    }
    return false;
}

int gw_kernel_locals(struct gw_kernel *k, const struct gw_addresses *all)
{
    int fd = bpf_map__fd(k->skeleton->maps.cordon_nets), err = 0;
    struct cordon_net key = {0}, next = {0};
    uint64_t one = 1;
    bool more;

    for (size_t i = 0; i < all->count; i++) {
        key = local_key(&all->at[i]);
        if (bpf_map_update_elem(fd, &key, &one, BPF_ANY) != 0)
            err = errno == ENOSPC ? GW_EFULL : -errno;
    }
    more = bpf_map_get_next_key(fd, NULL, &next) == 0;
    while (more) {
        key = next;
        more = bpf_map_get_next_key(fd, &key, &next) == 0;
        if (key.scope >> 4 == 0 && !is_local_key(&key, all))
            (void)bpf_map_delete_elem(fd, &key);
    }
    return err;
}

/* ---- what is too much ---- */

/* So many of `size` bits are set, by chance, when `count` different ones set one each. */
static uint32_t bits_for(uint32_t count, double size)
{
    uint32_t bits = (uint32_t)lround(size * (1 - pow(1 - 1 / size, count)));

    return count == 0 ? 0 : GW_MAX(GW_MIN(bits, (uint32_t)size - 1), 1U);
}

void gw_kernel_limits(struct gw_kernel *k, const struct gw_config *config)
{
    volatile struct cordon_limits *to = &k->skeleton->bss->cordon_live.limits;

    to->window_ms = config->detect.window_s * 1000;
    to->hosts = bits_for(config->detect.hosts, CORDON_WATCH_BITS);
    to->ports = bits_for(config->detect.ports, CORDON_WATCH_BITS);
    to->neighbours = bits_for(config->detect.neighbours, CORDON_NEIGHBOUR_BITS);
    to->moves = config->detect.moves;
    to->packets_per_s = config->detect.packets_per_s;
}

/* ---- what the gateway listens on ---- */

static void listens_on(__u64 *ports, const struct gw_listen_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct sockaddr *a = (const struct sockaddr *)&list->at[i].addr;
        uint16_t port = ntohs(a->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
                                                       : ((const struct sockaddr_in *)a)->sin_port);

        ports[port / 64] |= 1ULL << port % 64;
    }
}

void gw_kernel_services(struct gw_kernel *k, const struct gw_config *config)
{
    struct cordon_services to = {0};

    listens_on(to.tcp, &config->listen.mqtt);
    listens_on(to.tcp, &config->listen.https);
    listens_on(to.udp, &config->listen.coap);
    k->skeleton->bss->cordon_services = to;
}
