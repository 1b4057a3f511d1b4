/* SPDX-License-Identifier: GPL-2.0-only */
/* Random use against a plain list. */
#include "spool_test.h"

#define RECORDS 20000

struct item {
    uint64_t sequence;
    uint32_t size;
    bool is_volatile, is_key, lost;
};

static struct bench b;
static struct item items[RECORDS];
static size_t appended, taken, released; /* indexes: items before it */
static uint64_t seed;
static char payload[40000];

static void setup(void)
{
    bench_start(&b);
    b.max_bytes = 3u << 20;
    spool_open(&b);
}

static void teardown(void)
{
    bench_stop(&b);
}

TestSuite(spool_model, .init = setup, .fini = teardown);

static uint32_t any(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

/* Starts with the item's number, so that no two are alike. */
static struct gw_slice data_of(size_t index, uint32_t size)
{
    memcpy(payload, &index, sizeof(index));
    return GW_SLICE(payload, size);
}

static void do_append(void)
{
    struct item it = {.size = 8 + (any(20) ? any(300) : any(sizeof(payload) - 8))};
    struct gw_spool_record rec = {.kind = GW_SPOOL_MESSAGE, .topic = GW_SLICE_LIT("d/a/b")};
    uint64_t next_sequence = gw_spool_next_sequence(b.spool);
    int err;

    if (appended == RECORDS)
        return;
    it.is_key = any(30) == 0;
    it.is_volatile = !it.is_key && any(5) == 0;
    it.sequence = next_sequence - it.is_key;
    rec.kind = it.is_key ? GW_SPOOL_KEY : GW_SPOOL_MESSAGE;
    rec.volatile_only = it.is_volatile;
    rec.data = data_of(appended, it.size);
    err = gw_spool_append(b.spool, &rec);
    if (err == GW_ESPOOLFULL) {
        cr_assert_eq(gw_spool_next_sequence(b.spool), next_sequence);
        return;
    }
    cr_assert_eq(err, 0);
    cr_assert_eq(gw_spool_next_sequence(b.spool), next_sequence + !it.is_key);
    items[appended++] = it;
}

static void skip_lost(size_t *index)
{
    while (*index < appended && items[*index].lost)
        ++*index;
}

static bool do_take(void)
{
    struct gw_spool_record rec;
    int err = any(3) ? next(&b, &rec) : gw_spool_next(b.spool, &rec);
    const struct item *it;

    skip_lost(&taken);
    if (err == -EAGAIN)
        return false;
    cr_assert_eq(err, 0);
    cr_assert_lt(taken, appended);
    it = &items[taken];
    cr_assert_eq(rec.sequence, it->sequence);
    cr_assert_eq(rec.kind == GW_SPOOL_KEY, it->is_key);
    cr_assert_eq(rec.volatile_only, it->is_volatile);
    cr_assert(gw_slice_eq(rec.data, data_of(taken, it->size)));
    taken++;
    return true;
}

static void do_release(void)
{
    size_t to = released + any((uint32_t)(taken - released) + 1);

    if (to == released)
        return;
    gw_spool_release(b.spool, items[to - 1].sequence);
    /* All that were taken with that sequence go with it. */
    while (to < taken && items[to].sequence <= items[to - 1].sequence)
        to++;
    released = to;
}

/* What only memory held is gone. */
static void lose_memory(void)
{
    for (size_t i = released; i < appended; i++)
        items[i].lost |= items[i].is_volatile;
    taken = released;
}

static void do_reopen(void)
{
    uint64_t next_sequence = gw_spool_next_sequence(b.spool);

    gw_spool_close(&b.spool);
    lose_memory();
    spool_open(&b);
    cr_assert_eq(gw_spool_next_sequence(b.spool), next_sequence);
}

/* Opened from a copy of what is on disk: released ones may come again, in order. */
static void do_crash(void)
{
    uint64_t next_sequence = gw_spool_next_sequence(b.spool);
    struct gw_spool_record rec;
    struct gw_spool *old = b.spool;
    char command[512];

    settle(&b);
    (void)snprintf(command, sizeof(command), "rm -rf '%s/old' && cp -r '%s' '%s/old'", b.dir,
                   b.spool_dir, b.dir);
    cr_assert_eq(system(command), 0);
    gw_spool_close(&old);
    (void)snprintf(command, sizeof(command), "rm -rf '%s' && mv '%s/old' '%s'", b.spool_dir, b.dir,
                   b.spool_dir);
    cr_assert_eq(system(command), 0);
    lose_memory();
    spool_open(&b);
    cr_assert_geq(gw_spool_next_sequence(b.spool), next_sequence);
    skip_lost(&released);
    for (size_t again = 0; again <= appended; again++) {
        if (next(&b, &rec) || released == appended ||
            (rec.sequence == items[released].sequence &&
             (rec.kind == GW_SPOOL_KEY) == items[released].is_key))
            break;
        cr_assert_lt(rec.sequence, items[released].sequence + 1);
        gw_spool_release(b.spool, rec.sequence);
    }
    if (released == appended) {
        while (next(&b, &rec) == 0)
            gw_spool_release(b.spool, rec.sequence);
    }
    gw_spool_rewind(b.spool);
    taken = released;
}

static void run(uint64_t with_seed, unsigned int steps)
{
    seed = with_seed;
    for (unsigned int i = 0; i < steps; i++) {
        uint32_t what = any(100);

        if (what < 45)
            do_append();
        else if (what < 78)
            (void)do_take();
        else if (what < 88)
            do_release();
        else if (what < 97)
            cr_assert_eq(gw_loop_turn(b.loop, 0), 0);
        else if (what < 98)
            settle(&b);
        else if (what < 99) {
            gw_spool_rewind(b.spool);
            taken = released;
        } else if (any(4) == 0)
            do_reopen();
        else if (any(4) == 0)
            do_crash();
    }
    while (do_take() || (settle(&b), do_take()))
        ;
    skip_lost(&taken);
    cr_assert_eq(taken, appended, "seed %llu: all came", (unsigned long long)with_seed);
}

Test(spool_model, behaves_like_a_list_1)
{
    run(1, 6000);
}

Test(spool_model, behaves_like_a_list_2)
{
    run(2, 6000);
}

Test(spool_model, behaves_like_a_list_3)
{
    run(20261122, 12000);
}
