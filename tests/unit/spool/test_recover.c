/* SPDX-License-Identifier: GPL-2.0-only */
#include "spool_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define COUNT 12

static struct bench b;

static void setup(void)
{
    bench_start(&b);
}

static void teardown(void)
{
    bench_stop(&b);
}

TestSuite(spool_recover, .init = setup, .fini = teardown);

static const char *text_of(uint64_t sequence, char out[32])
{
    (void)snprintf(out, 32, "payload %llu", (unsigned long long)sequence);
    return out;
}

/* One segment with COUNT records; its bytes in `out`. */
static size_t make_segment(uint8_t *out, size_t cap, char *out_path)
{
    char text[32], name[SEGMENT_NAME];
    size_t len;
    FILE *f;

    spool_open(&b);
    for (uint64_t i = 1; i <= COUNT; i++)
        cr_assert_eq(append(&b, text_of(i, text)), 0);
    settle(&b);
    gw_spool_close(&b.spool);
    (void)sprintf(out_path, "%s/%s", b.spool_dir, segment_name(1, name));
    f = fopen(out_path, "rb");
    cr_assert_not_null(f);
    len = fread(out, 1, cap, f);
    (void)fclose(f);
    return len;
}

static void write_segment(const char *path, const uint8_t *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");

    cr_assert_not_null(f);
    cr_assert_eq(fwrite(bytes, 1, len, f), len);
    (void)fclose(f);
}

/* Takes all there is; true when each is one of the originals, in order. Counts them. */
static bool only_originals(uint64_t *out_count, uint64_t *out_last)
{
    struct gw_spool_record rec;
    uint64_t last = 0;
    char text[32];

    *out_count = 0;
    while (next(&b, &rec) == 0) {
        if (rec.sequence <= last || !gw_slice_eq_str(rec.data, text_of(rec.sequence, text)))
            return false;
        last = rec.sequence;
        ++*out_count;
    }
    *out_last = last;
    return true;
}

Test(spool_recover, cut_at_every_byte_keeps_the_whole_records_before)
{
    uint8_t bytes[2048];
    char path[160], mark[160];
    size_t len = make_segment(bytes, sizeof(bytes), path);
    size_t frame = (len - HEAD_BYTES) / COUNT; /* about */

    (void)snprintf(mark, sizeof(mark), "%s/released", b.spool_dir);
    for (size_t cut = 0; cut <= len; cut++) {
        uint64_t count, last;

        write_segment(path, bytes, cut);
        (void)unlink(mark); /* it would know of more */
        spool_open(&b);
        cr_assert(only_originals(&count, &last), "cut %zu", cut);
        cr_assert_eq(count, last, "cut %zu", cut);
        cr_assert_eq(gw_spool_next_sequence(b.spool), last + 1, "cut %zu", cut);
        if (cut > HEAD_BYTES)
            cr_assert_leq((cut - HEAD_BYTES) / (frame + 2), count, "cut %zu", cut);
        gw_spool_close(&b.spool);
    }
}

Test(spool_recover, a_changed_byte_loses_its_own_record_alone)
{
    uint8_t bytes[2048];
    char path[160], aside[176], mark[160];
    size_t len = make_segment(bytes, sizeof(bytes), path);

    (void)snprintf(aside, sizeof(aside), "%s.damaged", path);
    (void)snprintf(mark, sizeof(mark), "%s/released", b.spool_dir);
    for (size_t at = 0; at < len; at++) {
        uint64_t count, last;

        bytes[at] ^= 0x10;
        write_segment(path, bytes, len);
        (void)unlink(mark);
        spool_open(&b);
        cr_assert(only_originals(&count, &last), "byte %zu", at);
        if (at < HEAD_BYTES) {
            cr_assert_eq(count, 0u);
            cr_assert_eq(unlink(aside), 0, "byte %zu is put aside", at);
            cr_assert_gt(gw_spool_next_sequence(b.spool), (uint64_t)COUNT);
        } else {
            cr_assert_eq(count, (uint64_t)COUNT - 1, "byte %zu", at);
            cr_assert_eq(gw_spool_next_sequence(b.spool), last + 1, "byte %zu", at);
        }
        gw_spool_close(&b.spool);
        bytes[at] ^= 0x10;
    }
}

Test(spool_recover, garbage_in_any_file_is_no_crash)
{
    uint8_t bytes[4096];
    char path[160];
    uint64_t seed = 1, count, last;
    size_t len = make_segment(bytes, sizeof(bytes), path);

    for (int round = 0; round < 300; round++) {
        uint8_t changed[4096];

        memcpy(changed, bytes, len);
        for (int i = 0; i < 20; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            changed[HEAD_BYTES + (seed >> 33) % (len - HEAD_BYTES)] = (uint8_t)(seed >> 24);
        }
        write_segment(path, changed, len);
        spool_open(&b);
        cr_assert(only_originals(&count, &last), "round %d", round);
        gw_spool_close(&b.spool);
    }
}

/* One file's damage must not make what the cloud knows already look new. */
Test(spool_recover, a_damaged_segment_leads_to_no_sequence_twice)
{
    const uint64_t used = 50000000;
    struct segment_head head = {.id = 1, .floor = used, .salt = {1, 2}};
    struct disk disk = {open(b.spool_dir, O_RDONLY | O_DIRECTORY), -1};
    uint8_t bytes[4096];
    char path[160];
    FILE *f;

    cr_assert_eq(disk_create(&disk, &head), 0);
    gw_close_fd(&disk.fd);
    gw_close_fd(&disk.dir_fd);
    spool_open(&b);
    cr_assert_eq(append(&b, "m"), 0);
    EXPECT_NEXT(&b, used + 1, "m");
    gw_spool_release(b.spool, used + 1);
    gw_spool_close(&b.spool);

    (void)snprintf(path, sizeof(path), "%s/0000000000000002.seg", b.spool_dir);
    f = fopen(path, "r+");
    cr_assert_not_null(f);
    cr_assert_gt(fread(bytes, 1, sizeof(bytes), f), HEAD_BYTES);
    bytes[20] ^= 1;
    rewind(f);
    cr_assert_eq(fwrite(bytes, 1, HEAD_BYTES, f), HEAD_BYTES);
    (void)fclose(f);
    spool_open(&b);
    cr_expect_gt(gw_spool_next_sequence(b.spool), used + 1);
}

Test(spool_recover, damage_while_running_is_skipped_and_told)
{
    char path[160], text[32], name[SEGMENT_NAME];
    struct gw_spool_stats stats;
    struct gw_spool_record rec;
    uint64_t seen = 0;
    int fd;

    spool_open(&b);
    for (uint64_t i = 1; i <= COUNT; i++)
        cr_assert_eq(append(&b, text_of(i, text)), 0);
    gw_spool_close(&b.spool);
    spool_open(&b); /* nothing is in memory now */
    (void)snprintf(path, sizeof(path), "%s/%s", b.spool_dir, segment_name(1, name));
    fd = open(path, O_WRONLY);
    cr_assert_eq(pwrite(fd, "!", 1, HEAD_BYTES + 100), 1);
    (void)close(fd);
    while (next(&b, &rec) == 0) {
        cr_expect(gw_slice_eq_str(rec.data, text_of(rec.sequence, text)));
        seen++;
        gw_spool_release(b.spool, rec.sequence);
    }
    cr_expect_eq(seen, (uint64_t)COUNT - 1);
    gw_spool_stats(b.spool, &stats);
    cr_expect_eq(stats.messages, 0u);
    cr_expect_eq(stats.bytes, 0u);
}

Test(spool_recover, a_segment_that_vanishes_while_running_is_skipped)
{
    char path[160], name[SEGMENT_NAME];
    struct gw_spool_record rec;

    spool_open(&b);
    cr_assert_eq(append(&b, "one"), 0);
    gw_spool_close(&b.spool);
    spool_open(&b);
    (void)snprintf(path, sizeof(path), "%s/%s", b.spool_dir, segment_name(1, name));
    cr_assert_eq(unlink(path), 0);
    cr_expect_eq(next(&b, &rec), -EAGAIN);
    cr_assert_eq(append(&b, "two"), 0);
    EXPECT_NEXT(&b, 2, "two");
}

/* ---- kill -9 ---- */

enum { SAID_DURABLE = 'd', SAID_RELEASED = 'r', SAID_TAKEN = 't' };

struct said {
    char what;
    uint64_t sequence;
};

static int report_fd;

static void say(char what, uint64_t sequence)
{
    struct said said = {what, sequence};

    (void)!write(report_fd, &said, sizeof(said));
}

static void say_durable(void *owner, uint64_t sequence)
{
    (void)owner;
    say(SAID_DURABLE, sequence);
}

static void say_nothing(void *owner, uint64_t sequence, int err)
{
    (void)owner;
    (void)sequence;
    (void)err;
}

static void ignore(void *owner)
{
    (void)owner;
}

/* Appends, takes and releases until it is killed. */
static void child(unsigned int seed)
{
    static const struct gw_spool_ops ops = {say_durable, say_nothing, ignore, NULL};
    struct gw_spool_config cfg = {b.spool_dir, 64u << 20, 1u << 20};
    struct gw_spool_record rec;
    struct gw_store *store;
    struct gw_loop *loop;
    struct gw_spool *s;
    char text[32];

    if (gw_loop_new(&loop) || gw_store_open(loop, b.dir, &store) ||
        gw_spool_open(loop, store, &cfg, &ops, NULL, &s))
        _exit(1);
    for (;;) {
        for (int i = rand_r(&seed) % 20; i; i--) {
            rec = record_of("d/x", text_of(gw_spool_next_sequence(s), text));
            rec.volatile_only = rand_r(&seed) % 4 == 0;
            if (gw_spool_append(s, &rec))
                _exit(1);
        }
        for (int i = rand_r(&seed) % 20; i && gw_spool_next(s, &rec) == 0; i--) {
            say(SAID_TAKEN, rec.sequence);
            if (rand_r(&seed) % 2)
                continue;
            say(SAID_RELEASED, rec.sequence);
            gw_spool_release(s, rec.sequence);
        }
        if (rand_r(&seed) % 50 == 0)
            gw_spool_rewind(s);
        if (gw_loop_turn(loop, 1))
            _exit(1);
    }
}

/* What one killed child said, over all children so far. */
struct told {
    uint64_t durable, released, taken;
};

static void run_and_kill(unsigned int seed, struct told *told)
{
    struct said said;
    int fds[2];
    pid_t pid;

    cr_assert_eq(pipe(fds), 0);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        report_fd = fds[1];
        (void)close(fds[0]);
        child(seed);
        _exit(0);
    }
    (void)close(fds[1]);
    (void)usleep(20000 + seed * 7919 % 60000);
    /* The pipe may be full and the child blocked in it: as good a moment as any. */
    cr_assert_eq(kill(pid, SIGKILL), 0);
    while (read(fds[0], &said, sizeof(said)) == (ssize_t)sizeof(said)) {
        uint64_t *where = said.what == SAID_DURABLE    ? &told->durable
                          : said.what == SAID_RELEASED ? &told->released
                                                       : &told->taken;

        *where = GW_MAX(*where, said.sequence);
    }
    (void)close(fds[0]);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

Test(spool_recover, kill_9_loses_nothing_durable_and_reuses_nothing)
{
    struct told told = {0};

    gw_store_close(&b.store); /* the children's */
    for (unsigned int round = 1; round <= 15; round++) {
        struct gw_spool_record rec;
        uint64_t last = 0;
        char text[32];

        run_and_kill(round, &told);
        cr_assert_eq(gw_store_open(b.loop, b.dir, &b.store), 0);
        spool_open(&b);
        cr_assert_gt(gw_spool_next_sequence(b.spool), told.durable);
        cr_assert_gt(gw_spool_next_sequence(b.spool), told.taken);
        while (next(&b, &rec) == 0) {
            if (!last)
                cr_assert_leq(rec.sequence, told.released + 1024);
            cr_assert_gt(rec.sequence, last);
            cr_assert(gw_slice_eq_str(rec.data, text_of(rec.sequence, text)));
            last = rec.sequence;
        }
        if (told.durable > told.released)
            cr_assert_geq(last, told.durable, "round %u: %llu of %llu", round,
                          (unsigned long long)last, (unsigned long long)told.durable);
        gw_spool_close(&b.spool);
        gw_store_close(&b.store);
    }
    cr_assert_gt(told.durable, 100u);
}

/* ---- labels ---- */

static void append_labelled(const char *data, const char *label)
{
    struct gw_spool_record rec = record_of("d/cam-1/x", data);

    rec.label = gw_slice_str(label);
    cr_assert_eq(gw_spool_append(b.spool, &rec), 0);
}

static void reopen(void)
{
    gw_spool_close(&b.spool);
    spool_open(&b);
}

static void release_next(uint64_t sequence, const char *data)
{
    EXPECT_NEXT(&b, sequence, data);
    gw_spool_release(b.spool, sequence);
}

Test(spool_recover, a_label_comes_back_until_it_is_settled)
{
    spool_open(&b);
    append_labelled("one", "A");
    cr_assert_eq(append(&b, "two"), 0);
    append_labelled("three", "B");
    settle(&b);
    release_next(1, "one");
    reopen();
    cr_expect_str_eq(b.labels, "A B ", "released, and held all the same");
    gw_spool_settle(b.spool, 1); /* what an earlier run left is settled together */
    reopen();
    cr_expect_str_eq(b.labels, "A B ");
    gw_spool_settle(b.spool, gw_spool_next_sequence(b.spool) - 1);
    release_next(1, "one");
    reopen();
    cr_expect_str_eq(b.labels, "B ", "of a record that is not released");
    EXPECT_NEXT(&b, 2, "two");
    EXPECT_NEXT(&b, 3, "three");
}

Test(spool_recover, a_label_is_settled_alone_while_running)
{
    spool_open(&b);
    append_labelled("one", "A");
    append_labelled("two", "B");
    settle(&b);
    release_next(1, "one");
    release_next(2, "two");
    gw_spool_settle(b.spool, 1);
    reopen();
    cr_expect_str_eq(b.labels, "B ");
    gw_spool_settle(b.spool, 2);
    settle(&b);
    release_next(2, "two");
    EXPECT_NONE(&b);
    reopen();
    cr_expect_str_eq(b.labels, "");
    EXPECT_NONE(&b);
}

Test(spool_recover, a_label_holds_its_segment_and_no_label_none)
{
    static char big[20001];
    struct gw_spool_stats stats;
    char path[160], name[SEGMENT_NAME];

    memset(big, 'x', sizeof(big) - 1);
    b.max_bytes = 512u << 10; /* segments of 64 KiB */
    spool_open(&b);
    append_labelled("one", "A");
    for (uint64_t i = 2; i < 40; i++) {
        int err = append(&b, big);

        if (err) {
            cr_assert_eq(err, GW_ESPOOLFULL, "what is held counts");
            break;
        }
        settle(&b);
        if (i == 2)
            release_next(1, "one");
        release_next(i, big);
    }
    (void)snprintf(path, sizeof(path), "%s/%s", b.spool_dir, segment_name(1, name));
    cr_expect_eq(access(path, F_OK), 0);
    gw_spool_stats(b.spool, &stats);
    cr_expect_eq(stats.messages, 0);
    cr_expect(stats.full);
    gw_spool_settle(b.spool, 1);
    settle(&b);
    settle(&b);
    cr_expect_neq(access(path, F_OK), 0, "nothing needs it any more");
    cr_expect_eq(append(&b, big), 0, "there is room again");
}

Test(spool_recover, a_label_settled_before_it_is_on_disk_holds_nothing)
{
    spool_open(&b);
    append_labelled("one", "A");
    gw_spool_settle(b.spool, 1);
    settle(&b);
    append_labelled("two", "B");
    settle(&b);
    release_next(1, "one");
    release_next(2, "two");
    gw_spool_settle(b.spool, 2);
    reopen();
    cr_expect_str_eq(b.labels, "");
    EXPECT_NONE(&b);
}

Test(spool_recover, a_segment_cut_inside_a_labelled_record_tells_no_label)
{
    uint8_t bytes[2048];
    char path[160], mark[160], name[SEGMENT_NAME];
    size_t len;
    FILE *f;

    spool_open(&b);
    append_labelled("payload", "0123456789abcdef0123456789abcdef");
    settle(&b);
    gw_spool_close(&b.spool);
    (void)snprintf(path, sizeof(path), "%s/%s", b.spool_dir, segment_name(1, name));
    (void)snprintf(mark, sizeof(mark), "%s/released", b.spool_dir);
    f = fopen(path, "rb");
    cr_assert_not_null(f);
    len = fread(bytes, 1, sizeof(bytes), f);
    (void)fclose(f);
    for (size_t cut = HEAD_BYTES; cut <= len; cut++) {
        write_segment(path, bytes, cut);
        (void)unlink(mark);
        spool_open(&b);
        cr_assert_str_eq(b.labels, cut < len ? "" : "0123456789abcdef0123456789abcdef ", "cut %zu",
                         cut);
        gw_spool_close(&b.spool);
    }
}

Test(spool_recover, labels_longer_than_allowed_are_refused)
{
    struct gw_spool_record rec = record_of("t", "p");

    rec.label = GW_SLICE_LIT("0123456789abcdef0123456789abcdef!");
    spool_open(&b);
    cr_expect_eq(gw_spool_append(b.spool, &rec), GW_ETOOBIG);
    rec.label.len = 1;
    rec.volatile_only = true;
    cr_expect_eq(gw_spool_append(b.spool, &rec), GW_ETOOBIG, "there is no disk to hold it");
}
