/* SPDX-License-Identifier: GPL-2.0-only */
#include "enforcer/table.h"

#include <errno.h>
#include <stdlib.h>

#define IDLE_NS (600ULL * 1000000000) /* not heard for so long: may give its slot to another */
#define IDLE_PROBES 64                /* slots looked at to make room for one that was heard */

#define SELF_REUSED (1U << CORDON_SELF_SHIFT)

/* An address as the index has it. */
struct key {
    uint64_t a, b;
    enum cordon_kind kind; /* CORDON_PREFIX for what the programs ask the prefix maps for */
    uint8_t family, prefix_len;
};

bool gw_table_is_prefix(const struct cordon_slot *slot)
{
    return slot->kind != 0 && slot->prefix_len < gw_hwaddr_bits(slot->kind);
}

void gw_table_words(const struct gw_hwaddr *a, uint64_t *out_a, uint64_t *out_b)
{
    uint32_t w[4];
    uint16_t tail;

    memcpy(w, a->bytes, sizeof(w));
    memcpy(&tail, a->bytes + 4, sizeof(tail));
    *out_a = cordon_pair(w[0], a->kind == GW_ADDR_MAC ? tail : w[1]);
    *out_b = cordon_pair(w[2], w[3]);
}

static struct key key_of(const struct gw_hwaddr *a)
{
    struct key k = {.family = a->kind, .prefix_len = a->prefix_len};

    gw_table_words(a, &k.a, &k.b);
    k.kind = a->prefix_len == gw_hwaddr_bits(a->kind) ? (enum cordon_kind)a->kind : CORDON_PREFIX;
    return k;
}

static uint64_t hash_of(const struct gw_table *t, const struct key *k)
{
    uint32_t salt = k->kind;

    if (k->kind == CORDON_PREFIX)
        salt = (uint32_t)k->family << 16 | (uint32_t)k->prefix_len << 8;
    return cordon_hash(t->state->factor_a, t->state->factor_b, salt, k->a, k->b);
}

static struct key slot_key(const struct cordon_slot *s)
{
    struct key k = {s->a, s->b, CORDON_PREFIX, (uint8_t)s->kind, (uint8_t)s->prefix_len};

    if (s->prefix_len == gw_hwaddr_bits(s->kind))
        k.kind = (enum cordon_kind)s->kind;
    return k;
}

static uint32_t bucket_at(const struct gw_table *t, uint64_t hash, uint32_t hop)
{
    uint32_t shift = 64 - (uint32_t)__builtin_ctz(t->state->buckets);

    return (cordon_bucket_of(hash, shift) + hop) & (t->state->buckets - 1);
}

static bool is_key(const struct cordon_slot *s, const struct key *k)
{
    return s->a == k->a && s->b == k->b && s->kind == k->family && s->prefix_len == k->prefix_len;
}

uint32_t gw_table_owner(const struct gw_table *t, uint32_t ip)
{
    uint32_t owner = t->slots[ip].owner, slot = owner & CORDON_SELF_SLOT;

    if (owner == CORDON_NO_OWNER || slot >= t->state->slots || t->slots[slot].self != owner ||
        t->slots[slot].kind != CORDON_MAC)
        return GW_SLOT_NONE;
    return slot;
}

uint32_t gw_table_find(const struct gw_table *t, const struct gw_hwaddr *a)
{
    struct key k = key_of(a);
    uint64_t hash = hash_of(t, &k);
    uint32_t tag = cordon_tag(hash, k.kind);

    for (uint32_t hop = 0; hop < CORDON_BUCKET_HOPS; hop++) {
        const struct cordon_bucket *b = &t->buckets[bucket_at(t, hash, hop)];

        for (size_t i = 0; i < CORDON_BUCKET_WAYS; i++) {
            uint64_t entry = __atomic_load_n(&b->entry[i], __ATOMIC_ACQUIRE);
            uint32_t slot = (uint32_t)entry;

            if (entry >> 32 == tag && slot < t->state->slots && is_key(&t->slots[slot], &k))
                return slot;
        }
    }
    return GW_SLOT_NONE;
}

void gw_table_mac(uint64_t a, uint8_t out[6])
{
    uint32_t head = (uint32_t)a;
    uint16_t tail = (uint16_t)(a >> 32);

    memcpy(out, &head, sizeof(head));
    memcpy(out + 4, &tail, sizeof(tail));
}

struct gw_hwaddr gw_table_ip(uint64_t a, uint64_t b, uint32_t kind)
{
    uint32_t w[4] = {(uint32_t)a, (uint32_t)(a >> 32), (uint32_t)b, (uint32_t)(b >> 32)};
    struct gw_hwaddr out = {.kind = (uint8_t)kind, .prefix_len = (uint8_t)gw_hwaddr_bits(kind)};

    memcpy(out.bytes, w, kind == CORDON_IPV4 ? 4 : sizeof(w));
    return out;
}

struct gw_hwaddr gw_table_from_words(uint64_t a, uint64_t b, uint32_t kind, uint32_t prefix_len)
{
    struct gw_hwaddr out;
    uint8_t mac[6];

    if (kind == CORDON_MAC) {
        gw_table_mac(a, mac);
        return gw_hwaddr_mac(mac);
    }
    out = gw_table_ip(a, b, kind);
    out.prefix_len = (uint8_t)prefix_len;
    return out;
}

struct gw_hwaddr gw_table_address(const struct cordon_slot *slot)
{
    return gw_table_from_words(slot->a, slot->b, slot->kind, slot->prefix_len);
}

/* ---- the index ---- */

/* Publish an entry, then the filter that leads to it. GW_EFULL when every hop is full. */
static int index_add(struct gw_table *t, const struct key *k, uint32_t slot)
{
    uint64_t hash = hash_of(t, k);
    struct cordon_filter *home = &t->filters[bucket_at(t, hash, 0)];

    for (uint32_t hop = 0; hop < CORDON_BUCKET_HOPS; hop++) {
        struct cordon_bucket *b = &t->buckets[bucket_at(t, hash, hop)];

        for (size_t i = 0; i < CORDON_BUCKET_WAYS; i++) {
            if (b->entry[i] != 0)
                continue;
            __atomic_store_n(&b->entry[i], (uint64_t)cordon_tag(hash, k->kind) << 32 | slot,
                             __ATOMIC_RELEASE);
            if (hop > 0)
                __atomic_store_n(&home->spilled, (uint16_t)(home->spilled + 1), __ATOMIC_RELEASE);
            __atomic_store_n(&home->bits, (uint16_t)(home->bits | cordon_filter_bit(hash)),
                             __ATOMIC_RELEASE);
            return 0;
        }
    }
    return GW_EFULL;
}

/* What belongs to a bucket is in it or in the next ones: its filter is made again from them. */
static void filter_rebuild(struct gw_table *t, uint32_t home)
{
    uint16_t bits = 0, spilled = 0;

    for (uint32_t hop = 0; hop < CORDON_BUCKET_HOPS; hop++) {
        const struct cordon_bucket *b = &t->buckets[(home + hop) & (t->state->buckets - 1)];

        for (size_t i = 0; i < CORDON_BUCKET_WAYS; i++) {
            struct key k;
            uint64_t hash;

            if (b->entry[i] == 0)
                continue;
            k = slot_key(&t->slots[(uint32_t)b->entry[i]]);
            hash = hash_of(t, &k);
            if (bucket_at(t, hash, 0) != home)
                continue;
            bits |= (uint16_t)cordon_filter_bit(hash);
            spilled = (uint16_t)(spilled + (hop > 0));
        }
    }
    __atomic_store_n(&t->filters[home].bits, bits, __ATOMIC_RELEASE);
    __atomic_store_n(&t->filters[home].spilled, spilled, __ATOMIC_RELEASE);
}

static void index_remove(struct gw_table *t, uint32_t slot)
{
    struct key k = slot_key(&t->slots[slot]);
    uint64_t hash = hash_of(t, &k);
    uint64_t entry = (uint64_t)cordon_tag(hash, k.kind) << 32 | slot;

    for (uint32_t hop = 0; hop < CORDON_BUCKET_HOPS; hop++) {
        struct cordon_bucket *b = &t->buckets[bucket_at(t, hash, hop)];

        for (size_t i = 0; i < CORDON_BUCKET_WAYS; i++) {
            if (b->entry[i] == entry)
                __atomic_store_n(&b->entry[i], 0, __ATOMIC_RELEASE);
        }
    }
    filter_rebuild(t, bucket_at(t, hash, 0));
}

/* ---- the hash ---- */

#define SPREAD_MAX 65536

/* One bucket for each of `count` numbers that are so far apart, spilling as index_add() does. */
static bool fits(uint8_t *taken, uint64_t factor, uint64_t apart, uint32_t count, uint32_t buckets)
{
    uint32_t shift = 64 - (uint32_t)__builtin_ctz(buckets);

    memset(taken, 0, buckets);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t home = cordon_bucket_of(factor * apart * i, shift), hop = 0;

        while (hop < CORDON_BUCKET_HOPS &&
               taken[(home + hop) & (buckets - 1)] == CORDON_BUCKET_WAYS)
            hop++;
        if (hop == CORDON_BUCKET_HOPS)
            return false;
        taken[(home + hop) & (buckets - 1)]++;
    }
    return true;
}

bool gw_table_spreads(const uint64_t factor[2], uint32_t buckets)
{
    /* Of the first word: IPv4 hosts, /24s; MACs; IPv6 /64s. Of the second: IPv6 hosts. */
    static const struct {
        int word;
        uint64_t apart;
    } cases[] = {{0, 1ULL << 32}, {0, 1ULL << 40}, {0, 1ULL << 16}, {0, 1},
                 {0, 1ULL << 24}, {1, 1},          {1, 1ULL << 8},  {1, 1ULL << 16}};
    uint32_t count = GW_MIN(buckets, (uint32_t)SPREAD_MAX);
    uint8_t *taken = malloc(buckets);
    bool all = taken != NULL;

    for (size_t i = 0; all && i < GW_COUNT(cases); i++)
        all = fits(taken, factor[cases[i].word], cases[i].apart, count, buckets);
    free(taken);
    return all;
}

/* ---- slots ---- */

/*
 * After a start the index is held against the slots, which are the authority: a daemon may have
 * died between two stores.
 */
static void reconcile(struct gw_table *t)
{
    for (uint32_t i = 0; i < t->state->slots; i++) {
        struct gw_hwaddr a;

        if (t->slots[i].kind == 0)
            continue;
        a = gw_table_address(&t->slots[i]);
        if (gw_table_find(t, &a) != i) {
            struct key k = slot_key(&t->slots[i]);

            if (gw_table_find(t, &a) != GW_SLOT_NONE || index_add(t, &k, i) != 0)
                memset(&t->slots[i], 0, sizeof(t->slots[i]));
        }
    }
    for (uint32_t bucket = 0; bucket < t->state->buckets; bucket++) {
        for (size_t i = 0; i < CORDON_BUCKET_WAYS; i++) {
            uint64_t entry = t->buckets[bucket].entry[i];
            uint32_t slot = (uint32_t)entry;

            if (entry != 0 && (slot >= t->state->slots || t->slots[slot].kind == 0))
                t->buckets[bucket].entry[i] = 0;
        }
    }
    for (uint32_t bucket = 0; bucket < t->state->buckets; bucket++)
        filter_rebuild(t, bucket);
}

static void find_unused(struct gw_table *t)
{
    t->unused_at = t->unused_count = 0;
    for (uint32_t i = 0; i < t->state->slots; i++) {
        if (t->slots[i].kind == 0)
            t->unused[t->unused_count++] = i;
    }
}

int gw_table_init(struct gw_table *t)
{
    t->unused = calloc(t->state->slots, sizeof(*t->unused));
    if (!t->unused)
        return -ENOMEM;
    t->hand = 0;
    find_unused(t);
    if (t->unused_count < t->state->slots) {
        reconcile(t);
        find_unused(t);
    }
    return 0;
}

void gw_table_fini(struct gw_table *t)
{
    free(t->unused);
    t->unused = NULL;
}

enum gw_verdict_mode gw_table_mode(const struct cordon_slot *slot)
{
    return (enum gw_verdict_mode)(slot->verdict & 3);
}

void gw_table_flag(struct gw_table *t, uint32_t slot, uint16_t flags, bool set)
{
    struct cordon_slot *s = &t->slots[slot];
    uint16_t now = set ? s->flags | flags : (uint16_t)(s->flags & ~flags);

    __atomic_store_n(&s->flags, now, __ATOMIC_RELEASE);
}

/* lan.new_devices' verdict is nobody's: it comes again with the address. */
bool gw_table_has_verdict(const struct cordon_slot *s)
{
    return s->verdict != 0 && !(s->flags & CORDON_DEFAULT);
}

bool gw_table_judged(const struct cordon_slot *s)
{
    return s->kind != 0 && !(s->flags & CORDON_TEST) &&
           (gw_table_has_verdict(s) || s->policy != 0 || s->flags & CORDON_BOUND);
}

bool gw_table_is_kept(const struct cordon_slot *s)
{
    return s->kind != 0 && (gw_table_has_verdict(s) || s->policy != 0 ||
                            s->flags & (CORDON_CLAIMED | CORDON_SERVER));
}

static bool is_idle(const struct cordon_slot *s, uint64_t mono_ns, uint64_t idle_ns)
{
    return s->kind != 0 && !gw_table_is_kept(s) && s->seen_ns + idle_ns <= mono_ns;
}

/* Free one idle slot, the hand going round over at most `probes`. */
static bool make_room(struct gw_table *t, uint32_t probes, uint64_t mono_ns, uint64_t idle_ns)
{
    for (uint32_t i = 0; i < probes; i++) {
        uint32_t slot = t->hand;

        t->hand = (t->hand + 1) % t->state->slots;
        if (is_idle(&t->slots[slot], mono_ns, idle_ns)) {
            gw_table_remove(t, slot);
            return true;
        }
    }
    return false;
}

static bool have_room(struct gw_table *t, bool for_verdict, uint64_t mono_ns)
{
    uint32_t slots = t->state->slots;

    if (for_verdict)
        return t->unused_count > 0 || make_room(t, slots, mono_ns, 0);
    return t->unused_count > slots / 4 ||
           make_room(t, GW_MIN(IDLE_PROBES, slots), mono_ns, IDLE_NS);
}

static void counters_clear(struct gw_table *t, uint32_t slot)
{
    size_t cpus = t->state->cpus;

    memset(&t->counters[slot * cpus], 0, cpus * sizeof(*t->counters));
}

int gw_table_add(struct gw_table *t, const struct gw_hwaddr *a, bool for_verdict, uint64_t mono_ns,
                 uint32_t *out)
{
    struct key k = key_of(a);
    struct cordon_slot *s;
    uint32_t slot;

    if (!have_room(t, for_verdict, mono_ns))
        return GW_EFULL;
    slot = t->unused[t->unused_at];
    s = &t->slots[slot];
    counters_clear(t, slot);
    t->ends[slot] = 0;
    *s = (struct cordon_slot){
        .a = k.a,
        .b = k.b,
        .owner = CORDON_NO_OWNER,
        .used = {GW_SLOT_NONE, GW_SLOT_NONE},
        .self = ((s->self & ~CORDON_SELF_SLOT) + SELF_REUSED) | slot,
        .kind = k.family,
        .prefix_len = k.prefix_len,
    };
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if (index_add(t, &k, slot) != 0) {
        s->kind = 0;
        return GW_EFULL;
    }
    t->unused_at = (t->unused_at + 1) % t->state->slots;
    t->unused_count--;
    *out = slot;
    return 0;
}

void gw_table_remove(struct gw_table *t, uint32_t slot)
{
    uint32_t slots = t->state->slots;

    index_remove(t, slot);
    __atomic_store_n(&t->slots[slot].verdict, 0, __ATOMIC_RELEASE);
    t->slots[slot] = (struct cordon_slot){.self = t->slots[slot].self};
    t->unused[(t->unused_at + t->unused_count) % slots] = slot;
    t->unused_count++;
}

void gw_table_judge(struct gw_table *t, uint32_t slot, enum gw_verdict_mode mode,
                    uint64_t until_boot_ns)
{
    uint64_t end = until_boot_ns == 0 ? CORDON_FOREVER : (until_boot_ns + 3) & CORDON_FOREVER;
    uint64_t verdict = mode == GW_MODE_NONE ? 0 : end | (uint64_t)mode;

    __atomic_store_n(&t->slots[slot].verdict, verdict, __ATOMIC_RELEASE);
}

/* ---- figures ---- */

void gw_table_traffic(const struct gw_table *t, uint32_t slot, struct gw_traffic *out)
{
    uint32_t cpus = t->state->cpus;
    const struct cordon_counter *c = &t->counters[(size_t)slot * cpus];

    *out = (struct gw_traffic){.last_seen_ms = t->slots[slot].seen_ns / 1000000};
    for (uint32_t cpu = 0; cpu < cpus; cpu++, c++) {
        out->rx_packets += c->at[CORDON_RX_PASSED].packets;
        out->rx_bytes += c->at[CORDON_RX_PASSED].bytes;
        out->tx_packets += c->at[CORDON_TX_PASSED].packets;
        out->tx_bytes += c->at[CORDON_TX_PASSED].bytes;
        out->dropped_packets += c->at[CORDON_RX_DROPPED].packets + c->at[CORDON_TX_DROPPED].packets;
        out->dropped_bytes += c->at[CORDON_RX_DROPPED].bytes + c->at[CORDON_TX_DROPPED].bytes;
    }
}

static size_t port_at(const struct gw_table *t, uint32_t ifindex)
{
    return (size_t)(ifindex & (CORDON_PORTS - 1)) * t->state->cpus;
}

void gw_table_port(const struct gw_table *t, uint32_t ifindex, struct gw_traffic *out)
{
    const struct cordon_port *p = &t->ports[port_at(t, ifindex)];

    *out = (struct gw_traffic){0};
    for (uint32_t cpu = 0; cpu < t->state->cpus; cpu++, p++) {
        if (p->ifindex != ifindex)
            continue;
        out->dropped_packets += p->dropped_packets;
        out->dropped_bytes += p->dropped_bytes;
    }
}

void gw_table_port_claim(struct gw_table *t, uint32_t ifindex)
{
    struct cordon_port *p = &t->ports[port_at(t, ifindex)];

    for (uint32_t cpu = 0; cpu < t->state->cpus; cpu++, p++) {
        if (p->ifindex != ifindex)
            *p = (struct cordon_port){.ifindex = ifindex};
    }
}
