/* SPDX-License-Identifier: GPL-2.0-only */
/* The tables as plain memory, and their copy on disk; the programs are tested in tests/bpf. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "enforcer/verdict.h"

#define SLOTS 64

static struct gw_kernel k;
static char dir[] = "/tmp/cordon-verdicts-XXXXXX";

static void open_tables(struct gw_kernel *out)
{
    struct gw_table *t = &out->table;

    *out = (struct gw_kernel){0};
    t->state = calloc(1, sizeof(*t->state));
    t->slots = calloc(SLOTS, sizeof(*t->slots));
    t->buckets = calloc(SLOTS / 2, sizeof(*t->buckets));
    t->filters = calloc(SLOTS / 2, sizeof(*t->filters));
    t->counters = calloc(SLOTS, sizeof(*t->counters));
    t->ports = calloc(CORDON_PORTS, sizeof(*t->ports));
    t->ends = calloc(SLOTS, sizeof(*t->ends));
    cr_assert(t->ends && t->state && t->slots && t->buckets && t->filters && t->counters &&
              t->ports);
    *t->state = (struct cordon_state){
        .cpus = 1,
        .slots = SLOTS,
        .buckets = SLOTS / 2,
        .factor_a = 0x9e3779b97f4a7c15,
        .factor_b = 0xd6e8feb86659fd93,
    };
    cr_assert_eq(gw_table_init(t), 0);
}

static void close_tables(struct gw_kernel *out)
{
    struct gw_table *t = &out->table;

    gw_table_fini(t);
    free(t->state);
    free(t->slots);
    free(t->buckets);
    free(t->filters);
    free(t->counters);
    free(t->ports);
    free(t->ends);
}

static void setup(void)
{
    open_tables(&k);
    cr_assert(mkdtemp(dir));
}

static void teardown(void)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/verdicts", dir);
    (void)unlink(path);
    (void)rmdir(dir);
    close_tables(&k);
}

TestSuite(verdict, .init = setup, .fini = teardown);

static struct gw_hwaddr address(const char *text)
{
    struct gw_hwaddr a = {0};

    cr_assert_eq(gw_hwaddr_parse(text, &a), 0, "%s", text);
    return a;
}

static int set(struct gw_kernel *in, const char *text, enum gw_verdict_mode mode, int64_t until_ms,
               uint16_t generation)
{
    struct gw_verdict_record v = {
        .address = address(text), .mode = (uint8_t)mode, .until_wall_ms = until_ms};

    return gw_verdict_set(in, &v, generation);
}

static enum gw_verdict_mode mode(const struct gw_kernel *in, const char *text)
{
    struct gw_hwaddr a = address(text);
    uint32_t slot = gw_table_find(&in->table, &a);

    return slot == GW_SLOT_NONE ? GW_MODE_NONE : gw_table_mode(&in->table.slots[slot]);
}

Test(verdict, is_replaced_and_cleared)
{
    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_ISOLATE, 0, 1), 0);
    cr_expect_eq(mode(&k, "192.0.2.1"), GW_MODE_ISOLATE);
    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_REMEDIATE, 0, 1), 0);
    cr_expect_eq(mode(&k, "192.0.2.1"), GW_MODE_REMEDIATE);
    cr_expect_eq(mode(&k, "192.0.2.2"), GW_MODE_NONE);
    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_NONE, 0, 1), 0);
    cr_expect_eq(mode(&k, "192.0.2.1"), GW_MODE_NONE);
    cr_expect_eq(k.table.unused_count, SLOTS, "the slot of one never heard is free again");
    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_NONE, 0, 1), 0, "nothing to clear");
}

Test(verdict, stands_when_setting_it_again_would_change_nothing)
{
    static const int64_t end_ms = 4102444800000; /* 2100 */
    static const struct {
        const char *name, *addr;
        enum gw_verdict_mode mode;
        int64_t until_ms;
        bool stands;
    } cases[] = {
        {"the same", "192.0.2.1", GW_MODE_ISOLATE, end_ms, true},
        {"another mode", "192.0.2.1", GW_MODE_REMEDIATE, end_ms, false},
        {"another end", "192.0.2.1", GW_MODE_ISOLATE, end_ms + 1, false},
        {"no end", "192.0.2.1", GW_MODE_ISOLATE, 0, false},
        {"released", "192.0.2.1", GW_MODE_NONE, 0, false},
        {"another address", "192.0.2.2", GW_MODE_ISOLATE, end_ms, false},
        {"nothing to release", "192.0.2.2", GW_MODE_NONE, 0, true},
    };

    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_ISOLATE, end_ms, 1), 0);
    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_verdict_record v = {.address = address(cases[i].addr),
                                      .mode = (uint8_t)cases[i].mode,
                                      .until_wall_ms = cases[i].until_ms};

        cr_expect_eq(gw_verdict_stands(&k, &v), cases[i].stands, "%s", cases[i].name);
    }
}

Test(verdict, what_the_new_worker_does_not_repeat_is_cleared)
{
    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_ISOLATE, 0, 1), 0);
    cr_assert_eq(set(&k, "02:00:00:00:00:01", GW_MODE_ISOLATE, 0, 1), 0);
    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_ISOLATE, 0, 2), 0);
    cr_expect_eq(gw_verdict_sweep(&k, 2), 1);
    gw_verdict_adopt(&k);
    cr_expect_eq(gw_verdict_sweep(&k, 2), 1, "what a former daemon left is nobody's");
    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_ISOLATE, 0, 3), 0);
    cr_expect_eq(mode(&k, "192.0.2.1"), GW_MODE_ISOLATE);
    cr_expect_eq(mode(&k, "02:00:00:00:00:01"), GW_MODE_NONE);
}

Test(verdict, comes_back_from_disk)
{
    int64_t now_ms = gw_clock_wall_ms();
    struct gw_kernel again;
    struct stat st;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/verdicts", dir);
    cr_expect_eq(gw_verdict_load(&k, dir, 0), -ENOENT);
    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_ISOLATE, 0, 1), 0);
    cr_assert_eq(set(&k, "2001:db8::1", GW_MODE_REMEDIATE, now_ms + 60000, 1), 0);
    cr_assert_eq(set(&k, "02:00:00:00:00:01", GW_MODE_ISOLATE, now_ms + 30, 1), 0);
    cr_assert_eq(gw_verdict_save(&k, dir), 0);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    (void)usleep(50000);

    open_tables(&again);
    cr_expect_eq(gw_verdict_load(&again, dir, 0), 3);
    cr_expect_eq(mode(&again, "192.0.2.1"), GW_MODE_ISOLATE);
    cr_expect_eq(mode(&again, "2001:db8::1"), GW_MODE_REMEDIATE);
    cr_expect_eq(mode(&again, "02:00:00:00:00:01"), GW_MODE_NONE, "its end has passed");
    close_tables(&again);

    cr_assert_eq(gw_verdict_save(&k, dir), 0);
    open_tables(&again);
    cr_expect_eq(gw_verdict_load(&again, dir, 0), 2, "what has ended is not kept");
    close_tables(&again);
}

Test(verdict, those_that_find_room_come_back_when_others_do_not)
{
    struct gw_kernel again;
    char text[32];
    int before = 0, loaded = 0;

    cr_expect_eq(gw_verdict_kept(dir), 0);
    for (int i = 0; i < 40; i++) {
        (void)snprintf(text, sizeof(text), "192.0.2.%d", i);
        cr_assert_eq(set(&k, text, GW_MODE_ISOLATE, 0, 1), 0);
    }
    cr_assert_eq(gw_verdict_save(&k, dir), 0);
    cr_expect_eq(gw_verdict_kept(dir), 40);

    open_tables(&again);
    for (; before < 50; before++) {
        (void)snprintf(text, sizeof(text), "198.51.100.%d", before);
        cr_assert_eq(set(&again, text, GW_MODE_ISOLATE, 0, 1), 0);
    }
    cr_expect_eq(gw_verdict_load(&again, dir, 0), GW_EFULL, "the others are open");
    for (int i = 0; i < 40; i++) {
        (void)snprintf(text, sizeof(text), "192.0.2.%d", i);
        loaded += mode(&again, text) == GW_MODE_ISOLATE;
    }
    cr_expect(loaded > 0 && loaded <= SLOTS - before, "%d", loaded);
    close_tables(&again);
}

Test(verdict, a_damaged_or_foreign_file_is_refused)
{
    struct gw_kernel again;
    char path[128], other[128];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/verdicts", dir);
    (void)snprintf(other, sizeof(other), "%s/other", dir);
    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_ISOLATE, 0, 1), 0);
    for (off_t at = 0; at < 56; at++) {
        uint8_t byte;

        cr_assert_eq(gw_verdict_save(&k, dir), 0);
        fd = open(path, O_RDWR);
        cr_assert_eq(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
        (void)close(fd);
        open_tables(&again);
        cr_expect_eq(gw_verdict_load(&again, dir, 0), GW_EMALFORMED, "byte %ld", (long)at);
        cr_expect_eq(again.table.unused_count, SLOTS);
        close_tables(&again);
    }
    cr_assert_eq(gw_verdict_save(&k, dir), 0);
    for (off_t len = 55; len >= 0; len--) {
        cr_assert_eq(truncate(path, len), 0);
        cr_expect_eq(gw_verdict_load(&k, dir, 0), GW_EMALFORMED, "cut at %ld", (long)len);
    }
    cr_assert_eq(gw_verdict_save(&k, dir), 0);
    cr_assert_eq(chmod(path, 0666), 0);
    cr_expect_eq(gw_verdict_load(&k, dir, 0), GW_EPROTECTED, "anybody may write it");
    cr_assert_eq(rename(path, other), 0);
    cr_assert_eq(symlink(other, path), 0);
    cr_expect_eq(gw_verdict_load(&k, dir, 0), GW_EPROTECTED, "a link");
    (void)unlink(other);
}

Test(verdict, tables_are_taken_over_as_they_were)
{
    struct gw_table before;

    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_ISOLATE, 0, 1), 0);
    cr_assert_eq(set(&k, "192.0.2.2", GW_MODE_ISOLATE, 0, 1), 0);
    before = k.table;
    /* The daemon died between two stores: an entry without its filter, a filter without entries. */
    memset(k.table.filters, 0xff, SLOTS / 2 * sizeof(*k.table.filters));
    memset(k.table.buckets, 0, sizeof(*k.table.buckets));
    gw_table_fini(&k.table);
    k.table = before;
    cr_assert_eq(gw_table_init(&k.table), 0);
    cr_expect_eq(mode(&k, "192.0.2.1"), GW_MODE_ISOLATE);
    cr_expect_eq(mode(&k, "192.0.2.2"), GW_MODE_ISOLATE);
    cr_expect_eq(k.table.unused_count, SLOTS - 2);
    for (int i = 0; i < SLOTS / 2; i++)
        cr_expect_lt(k.table.filters[i].spilled, 2);
}

Test(verdict, an_idle_address_makes_room_and_a_judged_one_does_not)
{
    uint64_t hour_ns = 3600ULL * 1000000000;
    uint32_t slot;

    cr_assert_eq(set(&k, "192.0.2.1", GW_MODE_ISOLATE, 0, 1), 0);
    for (uint8_t i = 0; i < 200; i++) {
        uint8_t ip[4] = {10, 0, 0, i};
        struct gw_hwaddr a = gw_hwaddr_ipv4(ip);

        cr_assert_eq(gw_table_add(&k.table, &a, false, (i + 1) * hour_ns, &slot), 0, "%u", i);
        k.table.slots[slot].seen_ns = (i + 1) * hour_ns;
    }
    cr_expect_eq(mode(&k, "192.0.2.1"), GW_MODE_ISOLATE);
}

Test(verdict, a_reused_slot_owns_nobodys_address)
{
    struct gw_hwaddr mac = address("02:00:00:00:00:01"), other = address("02:00:00:00:00:02");
    struct gw_hwaddr ip = address("192.0.2.1");
    uint32_t m, i, again;

    cr_assert_eq(gw_table_add(&k.table, &mac, false, 0, &m), 0);
    cr_assert_eq(gw_table_add(&k.table, &ip, false, 0, &i), 0);
    k.table.slots[i].owner = k.table.slots[m].self;
    cr_expect_eq(gw_table_owner(&k.table, i), m);
    gw_table_remove(&k.table, m);
    cr_expect_eq(gw_table_owner(&k.table, i), GW_SLOT_NONE);
    do {
        cr_assert_eq(gw_table_add(&k.table, &other, false, 0, &again), 0);
        if (again != m)
            gw_table_remove(&k.table, again);
    } while (again != m);
    cr_expect_eq(gw_table_owner(&k.table, i), GW_SLOT_NONE, "another address in the same slot");
}

/* ---- the hash ---- */

Test(table, factors_that_heap_addresses_up_are_not_taken)
{
    static const uint64_t good[] = {0x9e3779b97f4a7c15, 0xd6e8feb86659fd93};
    static const uint64_t heaps[][2] = {
        {1, 0xd6e8feb86659fd93},                  /* MACs share their upper bits */
        {0x9e3779b97f4a7c15, 1},                  /* IPv6 hosts do */
        {0x9e3779b97f4a7c15, 1ULL << 63 | 1},     /* two heaps */
        {0x00000000aaaaaaab, 0xd6e8feb86659fd93}, /* IPv4 hosts */
    };

    cr_expect(gw_table_spreads(good, 1024));
    cr_expect(gw_table_spreads(good, 262144));
    for (size_t i = 0; i < GW_COUNT(heaps); i++)
        cr_expect_not(gw_table_spreads(heaps[i], 1024), "%zu", i);
}
