/* SPDX-License-Identifier: GPL-2.0-only */
#include "enforcer/verdict.h"

#include "base/clock.h"
#include "base/log.h"
#include "enforcer/kept.h"
#include "enforcer/policy.h"

#define FILE_NAME "verdicts"
#define MAGIC "CORDONv2"
#define MAGIC_BEFORE "CORDONv1" /* the mode alone, as 32 bits */
#define RECORDS_MAX (1 << 20)

static uint64_t boot_end(int64_t until_wall_ms)
{
    int64_t left_ms = until_wall_ms - gw_clock_wall_ms();

    if (until_wall_ms == 0)
        return 0;
    return gw_clock_boot_ns() + (uint64_t)GW_MAX(left_ms, 0) * 1000000;
}

/* Prefixes live only for their verdict, and so do hosts that were never heard. */
static void let_go(struct gw_kernel *k, uint32_t slot)
{
    struct cordon_slot *s = &k->table.slots[slot];
    struct gw_hwaddr a = gw_table_address(s);

    if (gw_table_is_prefix(s))
        gw_kernel_prefix_remove(k, &a);
    if (gw_table_is_prefix(s) || (s->seen_ns == 0 && !gw_table_is_kept(s)))
        gw_table_remove(&k->table, slot);
}

/* All that was decided about the address. */
static void clear(struct gw_kernel *k, uint32_t slot)
{
    struct cordon_slot *s = &k->table.slots[slot];

    gw_table_judge(&k->table, slot, GW_MODE_NONE, 0);
    k->table.ends[slot] = 0;
    s->policy = 0;
    gw_table_flag(&k->table, slot, CORDON_DEFAULT | CORDON_BOUND, false);
    let_go(k, slot);
}

static int slot_for(struct gw_kernel *k, const struct gw_hwaddr *a, uint32_t *out)
{
    uint32_t slot = gw_table_find(&k->table, a);
    int err;

    if (slot == GW_SLOT_NONE) {
        err = gw_table_add(&k->table, a, true, gw_clock_mono_ms() * 1000000, &slot);
        if (err)
            return err;
        if (gw_table_is_prefix(&k->table.slots[slot])) {
            err = gw_kernel_prefix_add(k, a, slot);
            if (err) {
                gw_table_remove(&k->table, slot);
                return err;
            }
        }
    }
    *out = slot;
    return 0;
}

static bool is_empty(const struct gw_verdict_record *v)
{
    return v->mode == GW_MODE_NONE && v->policy == 0 && !v->bound;
}

int gw_verdict_set(struct gw_kernel *k, const struct gw_verdict_record *record, uint16_t generation)
{
    struct gw_verdict_record v = *record;
    struct cordon_slot *s;
    uint32_t slot;
    int err;

    if (v.until_wall_ms != 0 && v.until_wall_ms <= gw_clock_wall_ms())
        v.mode = GW_MODE_NONE;
    if (!gw_hwaddr_is_host(&v.address)) /* nobody's: it has no policy, and no owner */
        v.policy = v.bound = 0;
    if (v.policy >= gw_policy_of_tests(k)) {
        if (v.mode == GW_MODE_NONE)
            return GW_EFULL;
        v.policy = 0; /* a verdict holds all the same */
    }
    slot = gw_table_find(&k->table, &v.address);
    if (is_empty(&v)) {
        if (slot != GW_SLOT_NONE)
            clear(k, slot);
        return 0;
    }
    err = slot_for(k, &v.address, &slot);
    if (err)
        return err;
    s = &k->table.slots[slot];
    k->table.ends[slot] = v.mode == GW_MODE_NONE ? 0 : v.until_wall_ms;
    s->generation = generation;
    __atomic_store_n(&s->policy, v.policy, __ATOMIC_RELEASE);
    gw_table_judge(&k->table, slot, (enum gw_verdict_mode)v.mode, boot_end(k->table.ends[slot]));
    gw_table_flag(&k->table, slot, CORDON_DEFAULT, false);
    gw_table_flag(&k->table, slot, CORDON_BOUND, v.bound);
    return 0;
}

void gw_verdict_own(struct gw_kernel *k, const struct gw_hwaddr *a, const struct gw_hwaddr *mac)
{
    uint32_t ip = gw_table_find(&k->table, a), owner = gw_table_find(&k->table, mac);
    int err = 0;

    if (ip == GW_SLOT_NONE || !(k->table.slots[ip].flags & CORDON_BOUND))
        return;
    if (owner == GW_SLOT_NONE)
        err = gw_table_add(&k->table, mac, false, gw_clock_mono_ms() * 1000000, &owner);
    if (!err)
        __atomic_store_n(&k->table.slots[ip].owner, k->table.slots[owner].self, __ATOMIC_RELEASE);
}

static struct gw_verdict_record record_of(const struct gw_kernel *k, uint32_t slot)
{
    const struct cordon_slot *s = &k->table.slots[slot];
    bool decided = gw_table_has_verdict(s);

    return (struct gw_verdict_record){
        .address = gw_table_address(s),
        .mode = decided ? (uint8_t)gw_table_mode(s) : GW_MODE_NONE,
        .bound = (s->flags & CORDON_BOUND) != 0,
        .policy = s->policy,
        .until_wall_ms = decided ? k->table.ends[slot] : 0,
    };
}

bool gw_verdict_stands(const struct gw_kernel *k, const struct gw_verdict_record *v)
{
    uint32_t slot = gw_table_find(&k->table, &v->address);
    struct gw_verdict_record now = {.mode = GW_MODE_NONE};

    if (slot != GW_SLOT_NONE)
        now = record_of(k, slot);
    return now.mode == v->mode && now.policy == v->policy &&
           now.until_wall_ms == (v->mode == GW_MODE_NONE ? 0 : v->until_wall_ms);
}

void gw_verdict_adopt(struct gw_kernel *k)
{
    for (uint32_t i = 0; i < k->table.state->slots; i++)
        k->table.slots[i].generation = 0;
}

size_t gw_verdict_sweep(struct gw_kernel *k, uint16_t generation)
{
    size_t cleared = 0;

    for (uint32_t i = 0; i < k->table.state->slots; i++) {
        if (!gw_table_judged(&k->table.slots[i]) || k->table.slots[i].generation == generation)
            continue;
        clear(k, i);
        cleared++;
    }
    return cleared;
}

void gw_verdict_unknown_slot(struct gw_kernel *k, uint32_t slot, bool worker)
{
    uint64_t end = worker ? gw_clock_boot_ns() + GW_UNKNOWN_MS * 1000000ULL : 0;
    struct cordon_slot *s = &k->table.slots[slot];
    uint32_t mode = k->table.state->unknown_mode;

    if (s->kind != CORDON_MAC || mode == CORDON_PASS || gw_table_is_kept(s))
        return;
    gw_table_flag(&k->table, slot, CORDON_DEFAULT, true);
    gw_table_judge(&k->table, slot, (enum gw_verdict_mode)mode, end);
}

void gw_verdict_unknown_end(struct gw_kernel *k)
{
    for (uint32_t i = 0; i < k->table.state->slots; i++) {
        if (!(k->table.slots[i].flags & CORDON_DEFAULT) || k->table.slots[i].verdict == 0)
            continue;
        if (k->table.state->unknown_mode == CORDON_PASS) /* while verdicts were unread it was not */
            gw_table_judge(&k->table, i, GW_MODE_NONE, 0);
        else
            gw_verdict_unknown_slot(k, i, true);
    }
}

void gw_verdict_retime(struct gw_kernel *k)
{
    for (uint32_t i = 0; i < k->table.state->slots; i++) {
        struct cordon_slot *s = &k->table.slots[i];

        if (gw_table_judged(s) && k->table.ends[i] != 0)
            gw_table_judge(&k->table, i, gw_table_mode(s), boot_end(k->table.ends[i]));
    }
}

/* ---- the copy on disk ---- */

static int collect(const struct gw_kernel *k, struct gw_buf *out)
{
    int64_t now_ms = gw_clock_wall_ms();

    for (uint32_t i = 0; i < k->table.state->slots; i++) {
        struct gw_verdict_record r;
        int err;

        if (!gw_table_judged(&k->table.slots[i]))
            continue;
        r = record_of(k, i);
        if (r.until_wall_ms != 0 && r.until_wall_ms <= now_ms)
            r.mode = GW_MODE_NONE;
        r.bound = 0; /* the worker says it again, once it has seen who is who */
        if (is_empty(&r))
            continue;
        err = gw_buf_append(out, GW_SLICE(&r, sizeof(r)));
        if (err)
            return err;
    }
    return 0;
}

int gw_verdict_save(const struct gw_kernel *k, const char *state_dir)
{
    GW_CLEANUP(gw_buf_fini)
    struct gw_buf records = {.max = (size_t)RECORDS_MAX * sizeof(struct gw_verdict_record)};
    int err = collect(k, &records);

    if (err)
        return err;
    return gw_kept_save(state_dir, FILE_NAME, MAGIC,
                        gw_buf_len(&records) / sizeof(struct gw_verdict_record),
                        gw_buf_slice(&records));
}

/* One record of the file; 0 when it may be set. */
static int read_record(const uint8_t *at, const struct gw_kept_header *h,
                       struct gw_verdict_record *out)
{
    uint32_t mode;

    memcpy(out, at, sizeof(*out));
    if (memcmp(h->magic, MAGIC_BEFORE, sizeof(h->magic)) == 0) {
        memcpy(&mode, at + offsetof(struct gw_verdict_record, mode), sizeof(mode));
        out->mode = mode > GW_MODE_REMEDIATE ? UINT8_MAX : (uint8_t)mode;
        out->bound = 0;
        out->policy = 0;
    }
    return gw_hwaddr_valid(&out->address) && out->mode <= GW_MODE_OBSERVE && out->bound <= 1 &&
                   out->until_wall_ms >= 0
               ? 0
               : GW_EMALFORMED;
}

static int read_file(const char *state_dir, struct gw_buf *out, struct gw_kept_header *h)
{
    int err = gw_kept_load(state_dir, FILE_NAME, out, h);

    if (!err && ((memcmp(h->magic, MAGIC, sizeof(h->magic)) != 0 &&
                  memcmp(h->magic, MAGIC_BEFORE, sizeof(h->magic)) != 0) ||
                 h->count > RECORDS_MAX ||
                 gw_buf_len(out) - sizeof(*h) != h->count * sizeof(struct gw_verdict_record)))
        err = GW_EMALFORMED;
    return err;
}

size_t gw_verdict_kept(const char *state_dir)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf file = {.max = 64 << 20};
    struct gw_kept_header h;

    return read_file(state_dir, &file, &h) == 0 ? h.count : 0;
}

int gw_verdict_load(struct gw_kernel *k, const char *state_dir, uint16_t generation)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf file = {.max = 64 << 20};
    struct gw_kept_header h;
    int err = read_file(state_dir, &file, &h), set = 0;
    size_t lost = 0;

    for (uint64_t i = 0; !err && i < h.count; i++) {
        struct gw_verdict_record r;

        err = read_record(file.data + sizeof(h) + i * sizeof(r), &h, &r);
        if (!err)
            err = gw_verdict_set(k, &r, generation);
        set += err == 0;
        lost += err == GW_EFULL;
        if (err == GW_EFULL) /* the others are closed all the same */
            err = 0;
    }
    if (lost > 0)
        gw_log_error("kept verdicts found no room count=%zu: enlarge isolation.addresses", lost);
    if (!err && lost > 0)
        err = GW_EFULL;
    return err ? err : set;
}
