/* SPDX-License-Identifier: GPL-2.0-only */
/* A spool in a directory of its own, and what it said. */
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "spool/spool_priv.h"

struct bench {
    char dir[64]; /* holds the database, and the spool in dir/spool */
    char spool_dir[96];
    struct gw_loop *loop;
    struct gw_store *store;
    struct gw_spool *spool;
    uint64_t max_bytes, memory_bytes;
    uint64_t durable;
    uint64_t failed_after;
    unsigned int durables, failures, readables;
    char labels[256]; /* that the last start found */
};

static inline void on_durable(void *owner, uint64_t sequence)
{
    struct bench *b = owner;

    cr_assert_geq(sequence, b->durable);
    b->durable = sequence;
    b->durables++;
}

static inline void on_failed(void *owner, uint64_t sequence, int err)
{
    struct bench *b = owner;

    cr_assert_lt(err, 0);
    b->failed_after = sequence;
    b->failures++;
}

static inline void on_readable(void *owner)
{
    ((struct bench *)owner)->readables++;
}

static inline void on_label(void *owner, struct gw_slice label)
{
    struct bench *b = owner;
    size_t used = strlen(b->labels);

    (void)snprintf(b->labels + used, sizeof(b->labels) - used, "%.*s ", (int)label.len,
                   (const char *)label.ptr);
}

static inline void spool_open(struct bench *b)
{
    static const struct gw_spool_ops ops = {on_durable, on_failed, on_readable, on_label};
    struct gw_spool_config cfg = {b->spool_dir, b->max_bytes, b->memory_bytes};

    b->durable = 0;
    *b->labels = '\0';
    cr_assert_eq(gw_spool_open(b->loop, b->store, &cfg, &ops, b, &b->spool), 0);
}

static inline void bench_start(struct bench *b)
{
    *b = (struct bench){.max_bytes = 64u << 20, .memory_bytes = 1u << 20};
    (void)strcpy(b->dir, "/tmp/cordon-spool-XXXXXX");
    cr_assert_not_null(mkdtemp(b->dir));
    (void)snprintf(b->spool_dir, sizeof(b->spool_dir), "%s/spool", b->dir);
    cr_assert_eq(mkdir(b->spool_dir, 0700), 0);
    cr_assert_eq(gw_loop_new(&b->loop), 0);
    cr_assert_eq(gw_store_open(b->loop, b->dir, &b->store), 0);
}

static inline void bench_stop(struct bench *b)
{
    char command[256];

    gw_spool_close(&b->spool);
    gw_store_close(&b->store);
    gw_loop_free(&b->loop);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", b->dir);
    cr_assert_eq(system(command), 0);
}

/* Turns until all that was appended is on disk and nothing is under way. */
static inline void settle(struct bench *b)
{
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(gw_loop_turn(b->loop, 0), 0);
        gw_store_flush(b->store);
    }
}

static inline struct gw_spool_record record_of(const char *topic, const char *data)
{
    return (struct gw_spool_record){
        .kind = GW_SPOOL_MESSAGE, .topic = gw_slice_str(topic), .data = gw_slice_str(data)};
}

static inline int append(struct bench *b, const char *data)
{
    struct gw_spool_record rec = record_of("d/cam-1/x", data);

    return gw_spool_append(b->spool, &rec);
}

static inline int append_memory(struct bench *b, const char *data)
{
    struct gw_spool_record rec = record_of("d/cam-1/x", data);

    rec.volatile_only = true;
    return gw_spool_append(b->spool, &rec);
}

static inline int append_key(struct bench *b, const char *data)
{
    struct gw_spool_record rec = record_of("00112233aabbccdd", data);

    rec.kind = GW_SPOOL_KEY;
    return gw_spool_append(b->spool, &rec);
}

/* gw_spool_next, waiting for the disk where it must; -EAGAIN: there is nothing. */
static inline int next(struct bench *b, struct gw_spool_record *out)
{
    int err = gw_spool_next(b->spool, out);

    for (int i = 0; i < 8 && err == -EAGAIN; i++) {
        settle(b);
        err = gw_spool_next(b->spool, out);
    }
    return err;
}

/* The next record is this one. */
#define EXPECT_NEXT(b, seq, text)                                                                  \
    do {                                                                                           \
        struct gw_spool_record rec_ = {0};                                                         \
        cr_assert_eq(next(b, &rec_), 0);                                                           \
        cr_assert_eq(rec_.sequence, (uint64_t)(seq), "sequence %llu",                              \
                     (unsigned long long)rec_.sequence);                                           \
        cr_assert(gw_slice_eq_str(rec_.data, text));                                               \
    } while (0)

#define EXPECT_NONE(b)                                                                             \
    do {                                                                                           \
        struct gw_spool_record rec_;                                                               \
        cr_assert_eq(next(b, &rec_), -EAGAIN);                                                     \
    } while (0)
