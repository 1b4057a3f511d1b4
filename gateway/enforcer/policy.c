/* SPDX-License-Identifier: GPL-2.0-only */
#include "enforcer/policy.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cordon.skel.h"
#include "enforcer/kernel_priv.h"

#define BATCH 1024

/* What is in the maps of one bank, to take it out again. */
struct bank {
    struct gw_policy_peer *peers;
    size_t count, cap;
};

struct gw_policy_kept {
    uint16_t generation;
    struct bank bank[2];
};

static int peers_fd(const struct gw_kernel *k)
{
    return bpf_map__fd(k->skeleton->maps.cordon_peers);
}

static int nets_fd(const struct gw_kernel *k)
{
    return bpf_map__fd(k->skeleton->maps.cordon_nets);
}

static int learned_fd(const struct gw_kernel *k)
{
    return bpf_map__fd(k->skeleton->maps.cordon_learned);
}

/* ---- peers ---- */

static struct cordon_peer peer_key(uint32_t scope, const struct gw_hwaddr *a)
{
    uint64_t words[2];

    gw_table_words(a, &words[0], &words[1]);
    return (struct cordon_peer){.a = words[0], .b = words[1], .scope = scope};
}

static int peer_put(struct gw_kernel *k, uint32_t scope, const struct gw_policy_peer *p)
{
    struct cordon_net net = gw_net_key(scope, &p->address);
    struct cordon_peer host = peer_key(scope, &p->address);
    bool network = !gw_hwaddr_is_host(&p->address);
    int fd = network ? nets_fd(k) : peers_fd(k);

    if (bpf_map_update_elem(fd, network ? (void *)&net : (void *)&host, &p->rules, BPF_ANY) == 0)
        return 0;
    return errno == ENOSPC || errno == E2BIG ? GW_EFULL : -errno;
}

static void peer_remove(struct gw_kernel *k, uint32_t scope, const struct gw_hwaddr *a)
{
    struct cordon_net net = gw_net_key(scope, a);
    struct cordon_peer host = peer_key(scope, a);

    if (!gw_hwaddr_is_host(a))
        (void)bpf_map_delete_elem(nets_fd(k), &net);
    else
        (void)bpf_map_delete_elem(peers_fd(k), &host);
}

static void bank_clear(struct gw_kernel *k, uint16_t number, uint32_t which)
{
    struct bank *b = k->policies[number] ? &k->policies[number]->bank[which] : NULL;

    if (!b)
        return;
    for (size_t i = 0; i < b->count; i++)
        peer_remove(k, CORDON_SCOPE(number, which, b->peers[i].address.kind), &b->peers[i].address);
    free(b->peers);
    *b = (struct bank){0};
}

static int bank_add(struct bank *b, const struct gw_policy_peer *p)
{
    struct gw_policy_peer *more;

    if (b->count == b->cap) {
        more = realloc(b->peers, (b->cap * 2 + 8) * sizeof(*more));
        if (!more)
            return -ENOMEM;
        b->peers = more;
        b->cap = b->cap * 2 + 8;
    }
    b->peers[b->count++] = *p;
    return 0;
}

/* The longest network answers: so each carries the rules of those that hold it. */
static uint64_t rules_of(const struct gw_policy *p, const struct gw_policy_peer *peer)
{
    uint64_t rules = 0;

    for (size_t i = 0; i < p->peer_count; i++) {
        const struct gw_hwaddr *a = &p->peers[i].address;

        if (memcmp(a, &peer->address, sizeof(*a)) == 0 ||
            (!gw_hwaddr_is_host(&peer->address) && gw_hwaddr_contains(a, &peer->address)))
            rules |= p->peers[i].rules;
    }
    return rules;
}

static int bank_fill(struct gw_kernel *k, const struct gw_policy *p, uint32_t which)
{
    struct bank *b = &k->policies[p->number]->bank[which];
    int err = 0;

    for (size_t i = 0; !err && i < p->peer_count; i++) {
        struct gw_policy_peer one = {p->peers[i].address, rules_of(p, &p->peers[i])};

        err = bank_add(b, &one);
        if (!err)
            err = peer_put(k, CORDON_SCOPE(p->number, which, one.address.kind), &one);
    }
    if (err)
        bank_clear(k, p->number, which);
    return err;
}

/* ---- policies ---- */

static struct gw_policy_kept *kept_of(struct gw_kernel *k, uint16_t number)
{
    if (!k->policies[number])
        k->policies[number] = calloc(1, sizeof(struct gw_policy_kept));
    return k->policies[number];
}

static void write_bank(struct cordon_policy *to, const struct gw_policy *p)
{
    *to = (struct cordon_policy){
        .flags = p->flags,
        .rule_count = (uint32_t)p->rule_count,
        .any = p->any,
        .local = p->local,
        .gateway = p->gateway,
        .packets_per_s = p->packets_per_s,
        .bytes_per_s = p->bytes_per_s,
    };
    for (size_t i = 0; i < p->rule_count; i++) {
        const struct gw_policy_rule *r = &p->rules[i];

        to->rules[i] = (struct cordon_rule){
            .egress = r->direction == GW_TO_DEVICE,
            .protocol = r->protocol,
            .family = r->family,
            .no_open = r->no_open,
            .own_min = r->own_min,
            .own_max = r->own_max,
            .peer_min = r->peer_min,
            .peer_max = r->peer_max,
        };
    }
}

/* Bits of rules that are there. */
static uint64_t rules_mask(size_t count)
{
    return count >= GW_POLICY_RULES_MAX ? UINT64_MAX : (1ULL << count) - 1;
}

static bool rule_ok(const struct gw_policy_rule *r)
{
    return r->direction <= GW_TO_DEVICE && r->no_open <= 1 && r->own_min <= r->own_max &&
           r->peer_min <= r->peer_max &&
           (r->family == 0 || r->family == GW_ADDR_IPV4 || r->family == GW_ADDR_IPV6);
}

bool gw_policy_valid(const struct gw_policy *p)
{
    uint64_t mask = rules_mask(p->rule_count);

    if (p->rule_count > GW_POLICY_RULES_MAX || p->peer_count > GW_POLICY_PEERS_MAX)
        return false;
    if (p->number == 0 || p->flags > (GW_POLICY_LEARN | GW_POLICY_REPORT | GW_POLICY_ENFORCE) ||
        (p->any | p->local | p->gateway) & ~mask || p->bytes_per_s > INT64_MAX / 1000000)
        return false;
    for (size_t i = 0; i < p->rule_count; i++)
        if (!rule_ok(&p->rules[i]))
            return false;
    for (size_t i = 0; i < p->peer_count; i++)
        if (!gw_hwaddr_valid(&p->peers[i].address) || p->peers[i].address.kind == GW_ADDR_MAC ||
            p->peers[i].rules & ~mask)
            return false;
    return true;
}

static uint32_t next_bank(const struct gw_kernel *k, uint16_t number)
{
    return (k->table.meters[number].bank + 1) & 1;
}

/* The next bank, whose peers are there. Those of the old one stay till the next change: packets are
 * on their way by it. */
static void put_in_force(struct gw_kernel *k, const struct gw_policy *p)
{
    struct cordon_meter *m = &k->table.meters[p->number];

    write_bank(&k->table.policies[p->number * 2 + next_bank(k, p->number)], p);
    __atomic_store_n(&m->bank, m->bank + 1, __ATOMIC_RELEASE);
}

int gw_policy_set(struct gw_kernel *k, const struct gw_policy *p, uint16_t generation)
{
    struct gw_policy_kept *kept;
    uint32_t next;
    int err;

    if (!gw_policy_valid(p))
        return GW_EMALFORMED;
    if (p->number >= k->table.state->policies)
        return GW_EFULL;
    kept = kept_of(k, p->number);
    if (!kept)
        return -ENOMEM;
    next = next_bank(k, p->number);
    bank_clear(k, p->number, next);
    err = bank_fill(k, p, next);
    if (err)
        return err;
    kept->generation = generation;
    put_in_force(k, p);
    return 0;
}

static const struct cordon_policy *in_force(const struct gw_kernel *k, uint32_t number)
{
    return &k->table.policies[number * 2 + (k->table.meters[number].bank & 1)];
}

uint16_t gw_policy_of_tests(const struct gw_kernel *k)
{
    return (uint16_t)GW_MIN(k->table.state->policies - 1, (uint32_t)GW_POLICIES_MAX);
}

bool gw_policy_is_set(const struct gw_kernel *k, uint32_t number)
{
    const struct cordon_policy *p = in_force(k, number);

    return p->flags != 0 || p->packets_per_s != 0 || p->bytes_per_s != 0 || p->rule_count != 0;
}

struct gw_policy gw_policy_get(const struct gw_kernel *k, uint32_t number)
{
    const struct cordon_policy *c = in_force(k, number);
    const struct gw_policy_kept *kept = k->policies[number];
    uint32_t which = k->table.meters[number].bank & 1;
    struct gw_policy p = {
        .number = (uint16_t)number,
        .flags = c->flags,
        .packets_per_s = (uint32_t)c->packets_per_s,
        .bytes_per_s = c->bytes_per_s,
        .any = c->any,
        .local = c->local,
        .gateway = c->gateway,
        .rule_count = GW_MIN(c->rule_count, (uint32_t)GW_POLICY_RULES_MAX),
        .peers = kept ? kept->bank[which].peers : NULL,
        .peer_count = kept ? kept->bank[which].count : 0,
    };

    for (size_t i = 0; i < p.rule_count; i++) {
        const struct cordon_rule *r = &c->rules[i];

        p.rules[i] = (struct gw_policy_rule){r->egress ? GW_TO_DEVICE : GW_FROM_DEVICE,
                                             r->protocol,
                                             r->family,
                                             r->no_open,
                                             r->own_min,
                                             r->own_max,
                                             r->peer_min,
                                             r->peer_max};
    }
    return p;
}

bool gw_policy_only_adds(const struct gw_kernel *k, const struct gw_policy *p)
{
    struct gw_policy now;

    if (p->number >= k->table.state->policies || !gw_policy_is_set(k, p->number))
        return false;
    now = gw_policy_get(k, p->number);
    if (now.flags != p->flags || now.packets_per_s != p->packets_per_s ||
        now.bytes_per_s != p->bytes_per_s || now.any != p->any || now.local != p->local ||
        now.gateway != p->gateway || now.rule_count != p->rule_count ||
        memcmp(now.rules, p->rules, p->rule_count * sizeof(p->rules[0])) != 0)
        return false;
    for (size_t i = 0; i < now.peer_count; i++)
        if (now.peers[i].rules & ~rules_of(p, &now.peers[i]))
            return false;
    return true;
}

/* What its bearers may do is not known: until the worker says it, nothing but what always passes.
 */
size_t gw_policy_close_unknown(struct gw_kernel *k)
{
    size_t closed = 0;

    for (uint32_t i = 0; i < k->table.state->slots; i++) {
        const struct cordon_slot *s = &k->table.slots[i];
        struct gw_policy nothing_passes = {.number = s->policy, .flags = GW_POLICY_ENFORCE};

        if (s->kind == 0 || s->policy == 0 || s->policy >= k->table.state->policies ||
            gw_policy_is_set(k, s->policy))
            continue;
        put_in_force(k, &nothing_passes);
        closed++;
    }
    return closed;
}

size_t gw_policy_sweep(struct gw_kernel *k, uint16_t generation)
{
    size_t ended = 0;

    for (uint32_t i = 1; i < k->table.state->policies; i++) {
        const struct gw_policy_kept *kept = k->policies[i];

        if (!gw_policy_is_set(k, i) || (kept && kept->generation == generation))
            continue;
        gw_policy_end(k, (uint16_t)i);
        ended++;
    }
    return ended;
}

/* ---- learned ---- */

static struct gw_learned learned_of(const struct cordon_learned_key *key,
                                    const struct cordon_learned *l)
{
    int64_t ahead_ms = gw_clock_wall_ms() - (int64_t)(gw_clock_boot_ns() / 1000000);

    return (struct gw_learned){
        .peer = gw_table_ip(key->a, key->b, key->scope & 15),
        .direction = key->egress ? GW_TO_DEVICE : GW_FROM_DEVICE,
        .protocol = key->protocol,
        .port = key->port,
        .packets = l->packets,
        .bytes = l->bytes,
        .first_ms = ahead_ms + (int64_t)(l->first_ns / 1000000),
        .last_ms = ahead_ms + (int64_t)(l->last_ns / 1000000),
    };
}

/* One pass over the map in batches; a kernel without them (before 5.6) has not these programs. */
struct batch {
    struct cordon_learned_key keys[BATCH];
    struct cordon_learned values[BATCH];
};

typedef int batch_fn(void *owner, const struct cordon_learned_key *key,
                     const struct cordon_learned *value);

static int each_learned(struct gw_kernel *k, uint16_t number, batch_fn *fn, void *owner)
{
    GW_CLEANUP(gw_free_ptr) struct batch *b = malloc(sizeof(*b));
    uint32_t cursor = 0, count, *from = NULL;
    int err = 0;

    if (!b)
        return -ENOMEM;
    for (bool more = true; more && !err;) {
        count = BATCH;
        more = bpf_map_lookup_batch(learned_fd(k), from, &cursor, b->keys, b->values, &count,
                                    NULL) == 0;
        if (!more && errno != ENOENT)
            return -errno;
        from = &cursor;
        for (uint32_t i = 0; i < count && !err; i++)
            if (b->keys[i].scope >> 8 == number)
                err = fn(owner, &b->keys[i], &b->values[i]);
    }
    return err;
}

static int forget_one(void *kernel, const struct cordon_learned_key *key,
                      const struct cordon_learned *value)
{
    struct gw_kernel *k = kernel;

    (void)value;
    (void)bpf_map_delete_elem(learned_fd(k), key);
    return 0;
}

static void forget_learned(struct gw_kernel *k, uint16_t number)
{
    struct cordon_meter *m = &k->table.meters[number];

    if (m->learned > 0)
        (void)each_learned(k, number, forget_one, k);
    m->learned = 0;
    memset(m->at, 0, sizeof(m->at));
    m->missed = m->packets = m->bytes = m->peak_packets = m->peak_bytes = 0;
}

static int append_one(void *owner, const struct cordon_learned_key *key,
                      const struct cordon_learned *value)
{
    struct gw_buf *out = owner;
    struct gw_learned l = learned_of(key, value);

    return gw_buf_append(out, GW_SLICE(&l, sizeof(l)));
}

int gw_policy_learned(struct gw_kernel *k, uint16_t number, bool forget, struct gw_buf *out)
{
    struct gw_note_learning head = {.number = number};
    size_t start = gw_buf_len(out);
    const struct cordon_meter *m;
    int err;

    if (number == 0 || number >= k->table.state->policies)
        return GW_EFULL;
    m = &k->table.meters[number];
    head.missed = m->missed;
    head.peak_packets_per_s = (uint32_t)GW_MIN(m->peak_packets, (uint64_t)UINT32_MAX);
    head.peak_bytes_per_s = m->peak_bytes;
    err = gw_buf_append(out, GW_SLICE(&head, sizeof(head)));
    if (!err && m->learned > 0)
        err = each_learned(k, number, append_one, out);
    if (err)
        return err;
    head.count = (uint32_t)((gw_buf_len(out) - start - sizeof(head)) / sizeof(struct gw_learned));
    memcpy(out->data + out->head + start, &head, sizeof(head));
    if (forget)
        forget_learned(k, number);
    return 0;
}

void gw_policy_end(struct gw_kernel *k, uint16_t number)
{
    struct gw_policy nothing = {.number = number};

    if (number == 0 || number >= k->table.state->policies)
        return;
    put_in_force(k, &nothing); /* takes no memory: a policy can always be ended */
    bank_clear(k, number, 0);
    bank_clear(k, number, 1);
    forget_learned(k, number);
}

/* ---- taking over ---- */

static int adopt_peer(struct gw_kernel *k, uint32_t scope, const struct gw_policy_peer *p)
{
    uint32_t number = scope >> 8, which = scope >> 4 & 1;
    struct gw_policy_kept *kept;

    if (number == 0 || number >= k->table.state->policies)
        return 0;
    kept = kept_of(k, (uint16_t)number);
    return kept ? bank_add(&kept->bank[which], p) : -ENOMEM;
}

static int adopt_hosts(struct gw_kernel *k)
{
    struct cordon_peer key, next;
    bool more = bpf_map_get_next_key(peers_fd(k), NULL, &next) == 0;
    int err = 0;

    while (more && !err) {
        struct gw_policy_peer p = {.address = gw_table_ip(next.a, next.b, next.scope & 15)};

        if (bpf_map_lookup_elem(peers_fd(k), &next, &p.rules) == 0)
            err = adopt_peer(k, next.scope, &p);
        key = next;
        more = bpf_map_get_next_key(peers_fd(k), &key, &next) == 0;
    }
    return err;
}

static int adopt_nets(struct gw_kernel *k)
{
    struct cordon_net key, next;
    bool more = bpf_map_get_next_key(nets_fd(k), NULL, &next) == 0;
    int err = 0;

    while (more && !err) {
        struct gw_policy_peer p = {0};

        p.address.kind = (uint8_t)(next.scope & 15);
        p.address.prefix_len = (uint8_t)(next.prefix_len - 32);
        memcpy(p.address.bytes, next.words, sizeof(p.address.bytes));
        if (bpf_map_lookup_elem(nets_fd(k), &next, &p.rules) == 0)
            err = adopt_peer(k, next.scope, &p);
        key = next;
        more = bpf_map_get_next_key(nets_fd(k), &key, &next) == 0;
    }
    return err;
}

int gw_policy_adopt(struct gw_kernel *k)
{
    int err = adopt_hosts(k);

    return err ? err : adopt_nets(k);
}

void gw_policy_fini(struct gw_kernel *k)
{
    for (uint32_t i = 0; k->policies && i < k->table.state->policies; i++) {
        if (!k->policies[i])
            continue;
        free(k->policies[i]->bank[0].peers);
        free(k->policies[i]->bank[1].peers);
        free(k->policies[i]);
    }
    free(k->policies);
    k->policies = NULL;
}
