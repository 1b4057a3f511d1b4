/* SPDX-License-Identifier: GPL-2.0-only */
#include "spool_test.h"

#include <signal.h>
#include <sys/resource.h>

static struct bench b;

static void setup(void)
{
    bench_start(&b);
    spool_open(&b);
}

static void teardown(void)
{
    bench_stop(&b);
}

TestSuite(spool, .init = setup, .fini = teardown);

static void reopen(void)
{
    gw_spool_close(&b.spool);
    spool_open(&b);
}

/* As after kill -9: what is on disk now, opened anew; the spool that had it lives on unseen. */
static struct gw_spool *crash(void)
{
    struct gw_spool *before = b.spool;
    char command[512];

    (void)snprintf(command, sizeof(command), "cp -r '%s' '%s.new'", b.spool_dir, b.spool_dir);
    cr_assert_eq(system(command), 0);
    (void)strcat(b.spool_dir, ".new");
    spool_open(&b);
    return before;
}

Test(spool, tells_durable_once_for_a_batch)
{
    for (int i = 0; i < 100; i++)
        cr_assert_eq(append(&b, "x"), 0);
    cr_expect_eq(b.durables, 0u);
    settle(&b);
    cr_expect_eq(b.durable, 100u);
    cr_expect_eq(b.durables, 1u);
}

Test(spool, hands_nothing_out_before_it_is_durable)
{
    struct gw_spool_record rec;

    cr_assert_eq(append(&b, "x"), 0);
    cr_expect_eq(gw_spool_next(b.spool, &rec), -EAGAIN);
    settle(&b);
    cr_expect_eq(b.readables, 1u);
    EXPECT_NEXT(&b, 1, "x");
}

Test(spool, keeps_what_was_not_released_and_counts_on)
{
    cr_assert_eq(append(&b, "one"), 0);
    cr_assert_eq(append(&b, "two"), 0);
    settle(&b);
    EXPECT_NEXT(&b, 1, "one");
    gw_spool_release(b.spool, 1);
    reopen();
    cr_expect_eq(gw_spool_next_sequence(b.spool), 3u);
    EXPECT_NEXT(&b, 2, "two");
    EXPECT_NONE(&b);
}

Test(spool, close_writes_what_waits)
{
    cr_assert_eq(append(&b, "one"), 0);
    reopen();
    EXPECT_NEXT(&b, 1, "one");
}

Test(spool, rewind_starts_at_the_first_unreleased)
{
    for (int i = 0; i < 3; i++)
        cr_assert_eq(append(&b, "x"), 0);
    settle(&b);
    for (int i = 1; i <= 3; i++)
        EXPECT_NEXT(&b, i, "x");
    gw_spool_release(b.spool, 1);
    gw_spool_rewind(b.spool);
    EXPECT_NEXT(&b, 2, "x");
    EXPECT_NEXT(&b, 3, "x");
    EXPECT_NONE(&b);
}

Test(spool, release_keeps_what_was_not_taken)
{
    cr_assert_eq(append_key(&b, "k0"), 0);
    cr_assert_eq(append(&b, "m1"), 0);
    cr_assert_eq(append_key(&b, "k1"), 0);
    cr_assert_eq(append(&b, "m2"), 0);
    settle(&b);
    EXPECT_NEXT(&b, 0, "k0");
    EXPECT_NEXT(&b, 1, "m1");
    gw_spool_release(b.spool, 1);
    gw_spool_rewind(b.spool);
    EXPECT_NEXT(&b, 1, "k1");
    EXPECT_NEXT(&b, 2, "m2");
}

Test(spool, release_of_zero_lets_a_first_key_go)
{
    struct gw_spool_stats stats;

    cr_assert_eq(append_key(&b, "k0"), 0);
    settle(&b);
    EXPECT_NEXT(&b, 0, "k0");
    gw_spool_release(b.spool, 0);
    gw_spool_stats(b.spool, &stats);
    cr_expect_eq(stats.bytes, 0u);
    reopen();
    EXPECT_NONE(&b);
}

Test(spool, counts_on_after_everything_was_released)
{
    for (int i = 0; i < 5; i++)
        cr_assert_eq(append(&b, "x"), 0);
    settle(&b);
    for (int i = 1; i <= 5; i++)
        EXPECT_NEXT(&b, i, "x");
    gw_spool_release(b.spool, 5);
    reopen();
    EXPECT_NONE(&b);
    reopen();
    cr_expect_eq(gw_spool_next_sequence(b.spool), 6u);
}

Test(spool, a_lost_release_mark_repeats_but_never_reuses)
{
    char path[128];

    for (int i = 0; i < 3; i++)
        cr_assert_eq(append(&b, "x"), 0);
    settle(&b);
    for (int i = 1; i <= 3; i++)
        EXPECT_NEXT(&b, i, "x");
    gw_spool_release(b.spool, 3);
    gw_spool_close(&b.spool);
    (void)snprintf(path, sizeof(path), "%s/released", b.spool_dir);
    cr_assert_eq(unlink(path), 0);
    spool_open(&b);
    cr_expect_eq(gw_spool_next_sequence(b.spool), 4u);
    EXPECT_NEXT(&b, 1, "x");
}

Test(spool, durable_traffic_leaves_no_gap_after_a_crash)
{
    struct gw_spool *before;

    for (int i = 0; i < 3; i++)
        cr_assert_eq(append(&b, "x"), 0);
    settle(&b);
    before = crash();
    cr_expect_eq(gw_spool_next_sequence(b.spool), 4u);
    gw_spool_close(&before);
}

Test(spool, memory_records_leave_only_under_a_reserved_sequence)
{
    struct gw_spool_record rec;
    struct gw_spool *before;

    cr_assert_eq(append_memory(&b, "v1"), 0);
    cr_expect_eq(gw_spool_next(b.spool, &rec), -EAGAIN);
    settle(&b);
    EXPECT_NEXT(&b, 1, "v1");
    before = crash();
    cr_expect_gt(gw_spool_next_sequence(b.spool), 1u);
    EXPECT_NONE(&b);
    gw_spool_close(&before);
}

Test(spool, an_orderly_end_gives_the_reserve_back)
{
    cr_assert_eq(append_memory(&b, "v1"), 0);
    settle(&b);
    reopen();
    cr_expect_eq(gw_spool_next_sequence(b.spool), 2u);
    cr_assert_eq(append(&b, "m2"), 0);
    reopen();
    cr_expect_eq(gw_spool_next_sequence(b.spool), 3u);
}

Test(spool, memory_and_disk_come_in_the_order_appended)
{
    cr_assert_eq(append(&b, "m1"), 0);
    cr_assert_eq(append_memory(&b, "v2"), 0);
    cr_assert_eq(append_key(&b, "k2"), 0);
    cr_assert_eq(append_memory(&b, "v3"), 0);
    cr_assert_eq(append(&b, "m4"), 0);
    settle(&b);
    for (int round = 0; round < 2; round++) {
        EXPECT_NEXT(&b, 1, "m1");
        EXPECT_NEXT(&b, 2, "v2");
        EXPECT_NEXT(&b, 2, "k2");
        EXPECT_NEXT(&b, 3, "v3");
        EXPECT_NEXT(&b, 4, "m4");
        EXPECT_NONE(&b);
        gw_spool_rewind(b.spool);
    }
}

Test(spool, a_memory_record_waits_for_the_durable_ones_before_it)
{
    struct gw_spool_record rec;

    cr_assert_eq(append_memory(&b, "v1"), 0);
    settle(&b);
    EXPECT_NEXT(&b, 1, "v1");
    cr_assert_eq(append(&b, "m2"), 0);
    cr_assert_eq(append_memory(&b, "v3"), 0);
    cr_expect_eq(gw_spool_next(b.spool, &rec), -EAGAIN);
    EXPECT_NEXT(&b, 2, "m2");
    EXPECT_NEXT(&b, 3, "v3");
}

Test(spool, the_oldest_memory_record_is_dropped_for_room)
{
    struct gw_spool_stats stats;
    char big[512];

    gw_spool_close(&b.spool);
    b.memory_bytes = 2000;
    spool_open(&b);
    (void)memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    for (int i = 0; i < 10; i++)
        cr_assert_eq(append_memory(&b, big), 0);
    gw_spool_stats(b.spool, &stats);
    cr_expect_eq(stats.messages, 3u);
    cr_expect_eq(stats.dropped, 7u);
    for (int i = 8; i <= 10; i++)
        EXPECT_NEXT(&b, i, big);
    cr_assert_eq(append_memory(&b, "v"), 0); /* fits */
    cr_assert_eq(append_memory(&b, big), 0); /* 8, on its way, is forgotten */
    gw_spool_release(b.spool, 10);
    EXPECT_NEXT(&b, 11, "v");
    EXPECT_NEXT(&b, 12, big);
    gw_spool_release(b.spool, 12);
    gw_spool_stats(b.spool, &stats);
    cr_expect_eq(stats.messages, 0u);
    cr_expect_eq(stats.bytes, 0u);
    cr_expect_eq(stats.dropped, 7u);
}

Test(spool, limits_of_one_record)
{
    static uint8_t big[GW_SPOOL_RECORD_MAX + 1];
    struct gw_spool_record rec = record_of("t", "");

    rec.data = GW_SLICE(big, sizeof(big));
    cr_expect_eq(gw_spool_append(b.spool, &rec), GW_ETOOBIG);
    rec.data.len--;
    cr_expect_eq(gw_spool_append(b.spool, &rec), 0);
    settle(&b);
    cr_assert_eq(next(&b, &rec), 0);
    cr_expect_eq(rec.data.len, (size_t)GW_SPOOL_RECORD_MAX);
    rec.topic = GW_SLICE(big, 65536);
    cr_expect_eq(gw_spool_append(b.spool, &rec), GW_ETOOBIG);
    cr_expect_eq(gw_spool_next_sequence(b.spool), 2u);
}

static void fill(const char *data)
{
    while (append(&b, data) == 0)
        settle(&b);
}

Test(spool, is_full_at_its_limit_and_recovers_on_release)
{
    static char big[20000];
    struct gw_spool_stats stats;
    struct gw_spool_record rec;
    uint64_t last;

    (void)memset(big, 'x', sizeof(big) - 1);
    gw_spool_close(&b.spool);
    b.max_bytes = 1u << 20;
    spool_open(&b);
    for (int round = 0; round < 3; round++) {
        fill(big);
        cr_expect_eq(gw_spool_admits(b.spool, sizeof(big)), GW_ESPOOLFULL);
        gw_spool_stats(b.spool, &stats);
        cr_expect(stats.full);
        cr_expect_leq(stats.bytes, b.max_bytes);
        cr_expect_gt(stats.bytes, b.max_bytes * 3 / 4);
        last = gw_spool_next_sequence(b.spool) - 1;
        for (int i = 0; i < 12; i++)
            cr_assert_eq(next(&b, &rec), 0);
        gw_spool_release(b.spool, rec.sequence);
        cr_expect_eq(gw_spool_admits(b.spool, sizeof(big)), 0);
        while (next(&b, &rec) == 0)
            gw_spool_release(b.spool, rec.sequence);
        cr_expect_eq(rec.sequence, last);
        gw_spool_stats(b.spool, &stats);
        cr_expect_eq(stats.bytes, 0u);
        cr_expect_eq(stats.messages, 0u);
    }
}

Test(spool, one_record_nearly_as_large_as_the_limit_passes_again_and_again)
{
    static char big[900000];
    struct gw_spool_record rec;

    (void)memset(big, 'x', sizeof(big) - 1);
    gw_spool_close(&b.spool);
    b.max_bytes = 1u << 20;
    spool_open(&b);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(append(&b, big), 0, "round %d", i);
        cr_assert_eq(append(&b, big), GW_ESPOOLFULL);
        cr_assert_eq(next(&b, &rec), 0);
        gw_spool_release(b.spool, rec.sequence);
        EXPECT_NONE(&b);
    }
}

static unsigned int count_segments(void)
{
    char command[160];
    unsigned int count = 0;
    FILE *p;

    (void)snprintf(command, sizeof(command), "ls '%s' | grep -c seg", b.spool_dir);
    p = popen(command, "r");
    cr_assert_eq(fscanf(p, "%u", &count), 1);
    (void)pclose(p);
    return count;
}

Test(spool, reads_back_from_disk_what_memory_no_longer_holds)
{
    static char big[100000];
    struct gw_spool_record rec;

    (void)memset(big, 'x', sizeof(big) - 1);
    for (int i = 0; i < 200; i++) {
        (void)snprintf(big, 10, "%08d", i);
        big[8] = 'x';
        cr_assert_eq(append(&b, big), 0);
        if (i % 10 == 0)
            settle(&b);
    }
    settle(&b);
    cr_expect_gt(count_segments(), 2u);
    for (int i = 0; i < 200; i++) {
        char want[10];

        (void)snprintf(want, sizeof(want), "%08d", i);
        cr_assert_eq(next(&b, &rec), 0);
        cr_assert_eq(rec.sequence, (uint64_t)i + 1);
        cr_assert_eq(rec.data.len, sizeof(big) - 1);
        cr_assert_eq(memcmp(rec.data.ptr, want, 8), 0);
        gw_spool_release(b.spool, rec.sequence);
    }
    settle(&b);
    cr_expect_eq(count_segments(), 1u);
}

/* ---- a disk that refuses ---- */

static void limit_files(rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};

    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(spool, a_failed_write_refuses_its_batch_and_gives_the_sequences_again)
{
    static char big[30000];
    struct gw_spool_stats stats;

    (void)memset(big, 'x', sizeof(big) - 1);
    cr_assert_eq(append(&b, "m1"), 0);
    cr_assert_eq(append_memory(&b, "v2"), 0);
    settle(&b);
    limit_files(8000);
    cr_assert_eq(append(&b, big), 0);
    cr_assert_eq(append_memory(&b, "v4"), 0);
    cr_assert_eq(append(&b, "m5"), 0);
    settle(&b);
    cr_expect_eq(b.failures, 1u);
    cr_expect_eq(b.failed_after, 2u);
    cr_expect_eq(b.durable, 1u);
    cr_expect_eq(gw_spool_next_sequence(b.spool), 3u);
    cr_expect_eq(append(&b, "no"), GW_ESPOOLFULL);
    gw_spool_stats(b.spool, &stats);
    cr_expect(stats.full);
    cr_expect_eq(stats.messages, 2u);
    cr_expect_eq(stats.dropped, 1u);

    limit_files(RLIM_INFINITY);
    for (int i = 0; i < 60 && gw_spool_admits(b.spool, 1); i++) {
        cr_assert_eq(gw_loop_turn(b.loop, 100), 0);
        gw_store_flush(b.store);
    }
    cr_assert_eq(append(&b, "m3"), 0);
    EXPECT_NEXT(&b, 1, "m1");
    EXPECT_NEXT(&b, 2, "v2");
    EXPECT_NEXT(&b, 3, "m3");
    EXPECT_NONE(&b);
    reopen();
    cr_expect_eq(gw_spool_next_sequence(b.spool), 4u);
    EXPECT_NEXT(&b, 1, "m1");
    EXPECT_NEXT(&b, 3, "m3");
    EXPECT_NONE(&b);
}

/* On a full disk a drained segment's room is all that the next one could have. */
Test(spool, a_drained_segment_gives_up_its_room_when_no_other_can_be_written)
{
    static char big[30000];
    struct stat st = {0};
    char path[160];

    (void)memset(big, 'x', sizeof(big) - 1);
    (void)snprintf(path, sizeof(path), "%s/0000000000000001.seg", b.spool_dir);
    cr_assert_eq(append(&b, big), 0);
    settle(&b);
    limit_files(31000);
    cr_assert_eq(append(&b, big), 0);
    settle(&b);
    cr_assert_eq(b.failures, 1u);
    EXPECT_NEXT(&b, 1, big);
    gw_spool_release(b.spool, 1);
    for (int i = 0; i < 60 && (stat(path, &st) < 0 || st.st_size > SHRUNK_BYTES); i++) {
        cr_assert_eq(gw_loop_turn(b.loop, 100), 0);
        gw_store_flush(b.store);
    }
    cr_expect_eq(st.st_size, SHRUNK_BYTES);
    cr_expect_eq(append(&b, "no"), GW_ESPOOLFULL, "the disk still takes nothing");
    limit_files(RLIM_INFINITY);
    reopen();
    cr_expect_eq(gw_spool_next_sequence(b.spool), 2u);
    cr_assert_eq(append(&b, "m2"), 0);
    EXPECT_NEXT(&b, 2, "m2");
    EXPECT_NONE(&b);
}

Test(spool, what_a_failed_write_left_behind_is_void)
{
    struct segment_head head = {.id = 900, .floor = 2, .prev_id = 1};
    struct disk disk = {-1, -1};
    struct gw_spool *s = b.spool;
    uint8_t one[64];
    struct gw_writer w = gw_writer_of(one, sizeof(one));

    /* Two are good; a third was written, its sync failed, and it could not be cut off. */
    cr_assert_eq(append(&b, "m1"), 0);
    cr_assert_eq(append(&b, "m2"), 0);
    settle(&b);
    head.prev_size = segment_newest(s)->size;
    frame_put(&w, GW_SPOOL_MESSAGE, 3, GW_SLICE_LIT("t"), GW_SLICE_LIT("ghost"));
    frames_seal(one, w.len, &segment_newest(s)->salt);
    cr_assert_eq(pwrite(s->disk.fd, one, w.len, (off_t)head.prev_size), (ssize_t)w.len);
    disk.dir_fd = s->disk.dir_fd;
    cr_assert_eq(disk_create(&disk, &head), 0);
    gw_close_fd(&disk.fd);
    reopen();
    cr_expect_eq(gw_spool_next_sequence(b.spool), 3u);
    EXPECT_NEXT(&b, 1, "m1");
    EXPECT_NEXT(&b, 2, "m2");
    EXPECT_NONE(&b);
}
