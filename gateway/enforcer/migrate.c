/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From maps of another layout or size into the new ones, before any program uses these: an upgrade
 * or a change of isolation.addresses forgets no verdict, no counter, and nobody who was heard.
 */
#include "enforcer/kernel_priv.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/log.h"
#include "enforcer/policy.h"

/* Layout 2 and before: the verdict's end in wall time was in the slot. */
struct slot_2 {
    uint64_t a, b, verdict, seen_ns;
    uint32_t tick, owner, kind, prefix_len;
    int64_t until_wall_ms;
    uint32_t self;
    uint16_t generation, flags;
};
#define DEFAULT_2 1

_Static_assert(sizeof(struct slot_2) == 64, "the layout of then");

/* One slot, whatever layout it had. */
struct old_slot {
    struct gw_hwaddr address;
    uint64_t verdict, seen_ns;
    uint32_t owner;
    int64_t until_wall_ms;
    uint16_t flags, policy;
    bool used, decided;
};

struct memory {
    const void *at;
    size_t bytes;
};

struct source {
    struct cordon_state state;
    struct memory slots, ends, counters;
    uint32_t *moved; /* where each old slot went; GW_SLOT_NONE: nowhere */
};

static int map_old(const struct gw_kernel *k, const char *dir, const char *name, size_t value,
                   size_t entries, struct memory *out)
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    struct bpf_map_info info = {0};
    uint32_t len = sizeof(info);
    char path[GW_PIN_PATH];
    void *at;

    fd = bpf_obj_get(gw_pin_path(path, k->pin_root, dir, name));
    if (fd < 0)
        return -errno;
    if (bpf_obj_get_info_by_fd(fd, &info, &len) != 0 || info.value_size != value ||
        info.max_entries < entries)
        return GW_EMALFORMED;
    at = mmap(NULL, value * entries, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    *out = (struct memory){at, value * entries};
    return 0;
}

static void unmap_old(struct memory *m)
{
    void *at;

    memcpy(&at, &m->at, sizeof(at));
    if (at)
        (void)munmap(at, m->bytes);
    *m = (struct memory){0};
}

static void source_fini(struct source *s)
{
    unmap_old(&s->slots);
    unmap_old(&s->ends);
    unmap_old(&s->counters);
    free(s->moved);
    s->moved = NULL;
}

static int read_old_state(const struct gw_kernel *k, const char *dir, struct cordon_state *out)
{
    struct memory m = {0};
    int err = map_old(k, dir, "cordon_state", sizeof(*out), 1, &m);

    if (err)
        return err;
    memcpy(out, m.at, sizeof(*out));
    unmap_old(&m);
    return out->slots == 0 || out->cpus == 0 || out->layout < 2 || out->layout > CORDON_LAYOUT
               ? GW_EMALFORMED
               : 0;
}

static int source_open(const struct gw_kernel *k, const char *dir, struct source *s)
{
    int err = read_old_state(k, dir, &s->state);
    size_t slots = s->state.slots;

    if (!err)
        err = map_old(k, dir, "cordon_slots", sizeof(struct cordon_slot), slots, &s->slots);
    if (!err)
        err = map_old(k, dir, "cordon_counters", sizeof(struct cordon_counter),
                      slots * s->state.cpus, &s->counters);
    if (!err && s->state.layout > 2)
        err = map_old(k, dir, "cordon_ends", sizeof(int64_t), slots, &s->ends);
    if (!err) {
        s->moved = malloc(slots * sizeof(*s->moved));
        err = s->moved ? 0 : -ENOMEM;
    }
    for (size_t i = 0; !err && i < slots; i++)
        s->moved[i] = GW_SLOT_NONE;
    return err;
}

static struct old_slot old_2(const struct source *s, uint32_t i)
{
    const struct slot_2 *at = (const struct slot_2 *)s->slots.at + i;
    struct old_slot out = {.used = at->kind >= CORDON_MAC && at->kind <= CORDON_IPV6};

    if (!out.used)
        return out;
    out.address = gw_table_from_words(at->a, at->b, at->kind, at->prefix_len);
    out.verdict = at->verdict;
    out.seen_ns = at->seen_ns;
    out.owner = at->owner;
    out.until_wall_ms = at->until_wall_ms;
    out.decided = at->verdict != 0 && !(at->flags & DEFAULT_2);
    out.flags = at->flags & DEFAULT_2 ? CORDON_DEFAULT : 0;
    return out;
}

static struct old_slot old_3(const struct source *s, uint32_t i)
{
    const struct cordon_slot *at = (const struct cordon_slot *)s->slots.at + i;

    return (struct old_slot){
        .used = at->kind >= CORDON_MAC && at->kind <= CORDON_IPV6 && !(at->flags & CORDON_TEST),
        .address = gw_table_from_words(at->a, at->b, at->kind, at->prefix_len),
        .verdict = at->verdict,
        .seen_ns = at->seen_ns,
        .owner = at->owner,
        .until_wall_ms = ((const int64_t *)s->ends.at)[i],
        .flags = at->flags & (CORDON_DEFAULT | CORDON_BOUND),
        .policy = at->policy,
        .decided = gw_table_is_kept(at),
    };
}

static struct old_slot old_slot(const struct source *s, uint32_t i)
{
    return s->state.layout == 2 ? old_2(s, i) : old_3(s, i);
}

static void copy_counters(struct gw_kernel *k, const struct source *s, uint32_t from, uint32_t to)
{
    const struct cordon_counter *old = s->counters.at;
    uint32_t cpus = GW_MIN(s->state.cpus, k->table.state->cpus);

    memcpy(&k->table.counters[(size_t)to * k->table.state->cpus],
           &old[(size_t)from * s->state.cpus], cpus * sizeof(*old));
}

static int copy_slot(struct gw_kernel *k, struct source *s, uint32_t from, const struct old_slot *o)
{
    struct gw_table *t = &k->table;
    struct cordon_slot *to;
    uint32_t slot;
    int err;

    err = gw_table_add(t, &o->address, o->decided, gw_clock_mono_ms() * 1000000, &slot);
    if (!err && !gw_hwaddr_is_host(&o->address)) {
        err = gw_kernel_prefix_add(k, &o->address, slot);
        if (err)
            gw_table_remove(t, slot);
    }
    if (err)
        return err;
    to = &t->slots[slot];
    to->seen_ns = o->seen_ns;
    to->flags = o->flags;
    to->policy = o->policy < gw_policy_of_tests(k) ? o->policy : 0;
    to->owner = o->address.kind == GW_ADDR_MAC ? o->owner : CORDON_NO_OWNER;
    to->verdict = o->verdict;
    t->ends[slot] = o->until_wall_ms;
    copy_counters(k, s, from, slot);
    s->moved[from] = slot;
    return 0;
}

/* An address belongs to the MAC that it belonged to, wherever that is now. */
static void copy_owner(struct gw_kernel *k, const struct source *s, uint32_t from,
                       const struct old_slot *o)
{
    uint32_t old_mac = o->owner & CORDON_SELF_SLOT, mac;

    if (s->moved[from] == GW_SLOT_NONE || o->address.kind == GW_ADDR_MAC ||
        o->owner == CORDON_NO_OWNER || old_mac >= s->state.slots)
        return;
    mac = s->moved[old_mac];
    if (mac != GW_SLOT_NONE && k->table.slots[mac].kind == CORDON_MAC)
        k->table.slots[s->moved[from]].owner = k->table.slots[mac].self;
}

static int copy_all(struct gw_kernel *k, struct source *s)
{
    size_t copied = 0, lost = 0;

    for (int decided = 1; decided >= 0; decided--) {
        for (uint32_t i = 0; i < s->state.slots; i++) {
            struct old_slot o = old_slot(s, i);

            if (!o.used || o.decided != (decided != 0) || !gw_hwaddr_valid(&o.address))
                continue;
            if (copy_slot(k, s, i, &o) == 0)
                copied++;
            else
                lost += o.decided;
        }
    }
    for (uint32_t i = 0; i < s->state.slots; i++) {
        struct old_slot o = old_slot(s, i);

        if (o.used)
            copy_owner(k, s, i, &o);
    }
    k->table.state->unknown_mode = s->state.unknown_mode;
    k->table.state->unread = lost > 0 ? CORDON_UNREAD : s->state.unread;
    if (lost > 0)
        gw_log_error("the tables became too small: verdicts left out count=%zu; enlarge "
                     "isolation.addresses",
                     lost);
    return (int)copied;
}

int gw_migrate(struct gw_kernel *k, const char *name)
{
    GW_CLEANUP(source_fini) struct source s = {0};
    int err = source_open(k, name, &s);

    if (err) {
        gw_log_warning("what the kernel knew before is not taken over: %s", gw_error_text(err));
        return -ENOENT;
    }
    return copy_all(k, &s);
}
