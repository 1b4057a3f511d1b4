/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ns per packet of the XDP program beside a bare XDP_DROP and XDP_PASS, xdp-filter, and the
 * simplest filters over hash maps and LPM tries, with tables of several sizes: in one run, samples
 * of all of them in turn, so that whatever slows the machine slows each. A ratio is the median of
 * the ratios to the bare program's sample of the same turn. With --check it ends 1 when a ratio of
 * Cordon's is over the one in the table below.
 *
 * BPF_PROG_TEST_RUN says whole ns, 4 % of a bare program. So the CPU time of this thread around the
 * call is taken, which other processes do not lengthen either, less that of a call that runs next
 * to nothing (some 200 us: the kernel patches its XDP dispatcher; it also waits some 20 ms, so
 * turns take longer than they measure). A test run repeats one frame: what it reads is in the
 * nearest cache. How it is with many sources, isolation.py shows.
 */
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.skel.h"
#include "peers.h"

#define REPEAT 200000
#define NEXT_TO_NOTHING 10 /* packets */
#define TURNS_MAX 1001
#define SPOTS 8 /* entries of a set that take turns */
#define KNOWN_ADDRESSES 100000
#define EVERY_KIND (1U << BENCH_MAC | 1U << BENCH_IPV4 | 1U << BENCH_IPV6)
#define DROP_AT_MOST 1.8 /* times a bare XDP_DROP */
#define PASS_AT_MOST 1.9 /* times a bare XDP_PASS */

enum program_of { BARE, CORDON, XDP_FILTER, HASH, LPM, PROGRAMS };

static const char *const program_name[PROGRAMS] = {"bare", "cordon", "xdp-filter", "hash maps",
                                                   "LPM tries"};

static const struct row {
    const char *name;
    enum people from;
    enum bench_kind kind;
    uint32_t want;
} rows[] = {
    {"drop by MAC", CONDEMNED, BENCH_MAC, XDP_DROP},
    {"drop by IPv4", CONDEMNED, BENCH_IPV4, XDP_DROP},
    {"drop by IPv6", CONDEMNED, BENCH_IPV6, XDP_DROP},
    {"pass IPv4, known", KNOWN, BENCH_IPV4, XDP_PASS},
    {"pass IPv6, known", KNOWN, BENCH_IPV6, XDP_PASS},
    {"pass IPv4, unknown", STRANGERS, BENCH_IPV4, XDP_PASS},
    {"pass IPv6, unknown", STRANGERS, BENCH_IPV6, XDP_PASS},
};

#define ROWS GW_COUNT(rows)

struct options {
    bool check;
    uint32_t verdicts; /* 0: each of the sizes in turn */
    size_t turns;
};

/* One size: everything loaded, and what was measured. */
struct set {
    struct gw_kernel kernel;
    struct peers peers;
    uint32_t verdicts;
    double call_ns; /* of a call, without packets */
    double ns[ROWS][PROGRAMS][TURNS_MAX];
};

/* The frame of a row at a turn: another entry of the set each time, spread over all of it. */
static void frame_at(struct frame *f, const struct set *s, const struct row *row, size_t turn)
{
    uint32_t count = row->from == CONDEMNED ? s->verdicts : KNOWN_ADDRESSES / 3;
    uint32_t n = (uint32_t)(turn % SPOTS) * (count / SPOTS);

    if (row->from == CONDEMNED)
        frame_from(f, CONDEMNED, row->kind, n);
    else
        frame_of(f, row->from, row->kind, row->from == STRANGERS ? 0 : n);
}

static int fd_of(const struct set *s, enum program_of program, uint32_t want)
{
    const struct bench *simple = s->peers.simple;

    switch (program) {
    case BARE:
        return bpf_program__fd(want == XDP_DROP ? simple->progs.bench_drop
                                                : simple->progs.bench_pass);
    case CORDON:
        return program_fd(&s->kernel, AT_XDP);
    case XDP_FILTER:
        return s->peers.xdp_filter;
    case HASH:
        return bpf_program__fd(simple->progs.bench_hash);
    case LPM:
        return bpf_program__fd(simple->progs.bench_lpm);
    case PROGRAMS:
        break;
    }
    return -1;
}

/* ns of this thread's CPU time per packet. */
static double run(const struct set *s, enum program_of program, const struct row *row,
                  const struct frame *f, uint32_t repeat)
{
    uint64_t began = now_ns(CLOCK_THREAD_CPUTIME_ID), took;
    uint32_t got = 0;

    if (run_ns(fd_of(s, program, row->want), f, repeat, &got) < 0)
        give_up("BPF_PROG_TEST_RUN");
    took = now_ns(CLOCK_THREAD_CPUTIME_ID) - began;
    if (got != row->want) {
        (void)fprintf(stderr, "%s, %s: verdict %u\n", program_name[program], row->name, got);
        exit(1);
    }
    return ((double)took - s->call_ns) / repeat;
}

static void turn(struct set *s, size_t at, uint32_t repeat)
{
    for (size_t r = 0; r < ROWS; r++) {
        struct frame f;

        frame_at(&f, s, &rows[r], at);
        for (enum program_of p = BARE; p < PROGRAMS; p++) {
            if (fd_of(s, p, rows[r].want) >= 0)
                s->ns[r][p][at] = run(s, p, &rows[r], &f, repeat);
        }
    }
}

/* What a call costs by itself: the bare program's rows of a turn with next to no packets. */
static void calibrate(struct set *s, size_t turns)
{
    double calls[ROWS];

    for (size_t r = 0; r < ROWS; r++)
        calls[r] = NEXT_TO_NOTHING * median(s->ns[r][BARE], turns);
    s->call_ns = median(calls, ROWS);
}

/* Pairs that are new are told of, some in a window: until all were, that is what would be measured.
 */
static void warm(struct set *s)
{
    static const struct timespec window = {.tv_nsec = 600000000};

    for (size_t i = 0; i < SPOTS * 2; i++) {
        turn(s, i % SPOTS, NEXT_TO_NOTHING);
        gw_kernel_events(&s->kernel);
        if (i % SPOTS == SPOTS - 1)
            (void)nanosleep(&window, NULL);
    }
    calibrate(s, SPOTS);
}

/* Heard addresses may have three quarters of the table. */
static uint32_t slots_for(uint32_t verdicts)
{
    return verdicts * 3 + KNOWN_ADDRESSES * 3 / 2;
}

static struct set *set_open(uint32_t verdicts)
{
    struct set *s = calloc(1, sizeof(*s));

    if (!s)
        give_up("memory");
    s->verdicts = verdicts;
    harness_open(&s->kernel, slots_for(verdicts));
    fill_cordon(&s->kernel, EVERY_KIND, verdicts, KNOWN_ADDRESSES);
    peers_open(&s->peers, EVERY_KIND, verdicts);
    return s;
}

static void set_close(struct set *s)
{
    peers_close(&s->peers);
    gw_kernel_close(&s->kernel);
    free(s);
}

/* ---- the table ---- */

static double ratio_of(const struct set *s, size_t row, enum program_of program, size_t turns)
{
    double ratios[TURNS_MAX];

    for (size_t i = 0; i < turns; i++)
        ratios[i] = s->ns[row][program][i] / s->ns[row][BARE][i];
    return median(ratios, turns);
}

static bool is_over(const struct row *row, double ratio)
{
    return ratio > (row->want == XDP_DROP ? DROP_AT_MOST : PASS_AT_MOST);
}

/* True when the row is over its target. Ratios first: the median sorts the samples. */
static bool report_row(struct set *s, size_t row, size_t turns)
{
    double ratio[PROGRAMS];
    bool over;

    for (enum program_of p = BARE; p < PROGRAMS; p++)
        ratio[p] = ratio_of(s, row, p, turns);
    over = is_over(&rows[row], ratio[CORDON]);
    (void)printf("%-20s %6.1f", rows[row].name, median(s->ns[row][BARE], turns));
    for (enum program_of p = CORDON; p < PROGRAMS; p++) {
        if (fd_of(s, p, rows[row].want) < 0)
            (void)printf("  %7s      ", "-");
        else
            (void)printf("  %7.1f %5.2f", median(s->ns[row][p], turns), ratio[p]);
        if (p == CORDON)
            (void)printf("  %.1f%s", rows[row].want == XDP_DROP ? DROP_AT_MOST : PASS_AT_MOST,
                         over ? " over" : "     ");
    }
    (void)printf("\n");
    return over;
}

static bool report(struct set *s, size_t turns)
{
    bool over = false;

    (void)printf(
        "%u verdicts of each kind, %u known addresses: ns per packet, times bare\n%-20s %6s"
        "  %13s  at most ",
        s->verdicts, KNOWN_ADDRESSES, "", program_name[BARE], program_name[CORDON]);
    for (enum program_of p = XDP_FILTER; p < PROGRAMS; p++)
        (void)printf("  %13s", program_name[p]);
    (void)printf("\n");
    for (size_t r = 0; r < ROWS; r++)
        over |= report_row(s, r, turns);
    (void)printf("\n");
    return over;
}

static bool measure(uint32_t verdicts, size_t turns)
{
    struct set *s = set_open(verdicts);
    bool over;

    if (s->peers.xdp_filter < 0)
        (void)fprintf(stderr, XDP_FILTER_MISSING "\n");
    warm(s);
    for (size_t i = 0; i < turns; i++)
        turn(s, i, REPEAT);
    over = report(s, turns);
    set_close(s);
    return over;
}

static void usage(void)
{
    (void)fprintf(stderr,
                  "usage: bench_xdp [--check] [--verdicts 1..100000] [--turns 1..%d]\n"
                  "Default: sets of 1, 1,000 and 100,000 verdicts, 31 turns.\n",
                  TURNS_MAX);
    exit(2);
}

static uint32_t number(const char *text, uint32_t max)
{
    char *end = NULL;
    unsigned long n = text ? strtoul(text, &end, 10) : 0;

    if (!text || *end || n < 1 || n > max)
        usage();
    return (uint32_t)n;
}

static struct options read_options(char **argv)
{
    struct options o = {.turns = 31};

    while (*++argv) {
        if (strcmp(*argv, "--check") == 0)
            o.check = true;
        else if (strcmp(*argv, "--verdicts") == 0)
            o.verdicts = number(*++argv, 100000);
        else if (strcmp(*argv, "--turns") == 0)
            o.turns = number(*++argv, TURNS_MAX);
        else
            usage();
    }
    return o;
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1, 1000, 100000};
    struct options o = read_options(argv);
    bool over = false;

    (void)argc;
    for (size_t i = 0; i < GW_COUNT(sizes); i++) {
        if (o.verdicts == 0 || i == 0)
            over |= measure(o.verdicts ? o.verdicts : sizes[i], o.turns);
    }
    return o.check && over;
}
