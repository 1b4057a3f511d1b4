/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two ends of isolation.py's wire, each run in a namespace of its own:
 *
 *   bench_wire send IFACE condemned|known mac|ipv4|ipv6 SOURCES SECONDS
 *     Their frames, source after source, out of IFACE as fast as one CPU can: live frames of
 *     BPF_PROG_TEST_RUN, which XDP sees as a driver's. Says how many went in what time, its own and
 * the clock's. bench_wire hold IFACE cordon|xdp-filter|drop native|generic|tc mac|ipv4|ipv6
 * VERDICTS KNOWN Attaches a program to IFACE (Cordon's: both ways), with VERDICTS condemned and
 * KNOWN known addresses; says "ready", and holds it until its input ends. bench_wire list
 * mac|ipv4|ipv6 VERDICTS The addresses of the condemned, one a line, for other filters' sets.
 *
 * A sender on a packet socket would hide every difference: what it costs to make and convert a
 * socket buffer is more than what any of these programs costs.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <endian.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.skel.h"
#include "peers.h"

#define CHUNK 100000 /* frames of one call */
#define BATCH 64     /* frames made, judged and sent together */
#define STRIDE 7919  /* a prime: the sources come in no order of the tables */

/* libbpf 1.1 and the headers of 6.1 do not know them yet. */
#define TCX_INGRESS 46
#define TCX_EGRESS 47

static void usage(void) __attribute__((noreturn));
static void usage(void)
{
    (void)fputs("usage: bench_wire send IFACE condemned|known mac|ipv4|ipv6 SOURCES SECONDS\n"
                "       bench_wire hold IFACE cordon|xdp-filter|drop native|generic|tc "
                "mac|ipv4|ipv6 VERDICTS KNOWN\n"
                "       bench_wire list mac|ipv4|ipv6 VERDICTS\n",
                stderr);
    exit(2);
}

static uint32_t port_of(const char *name)
{
    uint32_t ifindex = if_nametoindex(name);

    if (ifindex == 0)
        give_up(name);
    return ifindex;
}

static enum bench_kind kind_of(const char *text)
{
    static const char *const names[BENCH_KINDS] = {"", "mac", "ipv4", "ipv6"};

    for (enum bench_kind kind = BENCH_MAC; kind < BENCH_KINDS; kind++) {
        if (strcmp(text, names[kind]) == 0)
            return kind;
    }
    usage();
}

static uint32_t count_of(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (*end || n > NUMBERED_MAX)
        usage();
    return (uint32_t)n;
}

/* ---- sending ---- */

static struct bench *sender_load(enum people of, enum bench_kind kind, uint32_t sources,
                                 const struct frame *f)
{
    struct gw_hwaddr first = numbered(of, BENCH_IPV4, 0);
    struct bench *b = bench__open();
    uint32_t base;

    if (!b)
        give_up("opening the sender");
    memcpy(&base, first.bytes, sizeof(base));
    b->rodata->send_base = be32toh(base);
    b->rodata->send_kind = kind;
    b->rodata->send_count = sources;
    b->rodata->send_stride = STRIDE % sources;
    if (bench__load(b) != 0)
        give_up("loading the sender");
    memcpy(b->bss->send_head, f->bytes, sizeof(b->bss->send_head));
    return b;
}

static void send_chunk(int program, const struct frame *f, struct xdp_md *from)
{
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->bytes, .data_size_in = (uint32_t)f->len,
                .ctx_in = from, .ctx_size_in = sizeof(*from), .repeat = CHUNK,
                .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);

    if (bpf_prog_test_run_opts(program, &opts) != 0)
        give_up("sending live frames (Linux 5.18 or later)");
}

static int send_frames(const struct bench *b, const struct frame *f, uint32_t ifindex,
                       double seconds)
{
    struct xdp_md from = {.ingress_ifindex = ifindex, .data_end = (uint32_t)f->len};
    uint64_t began = now_ns(CLOCK_MONOTONIC), end = began + (uint64_t)(seconds * 1e9), now;
    uint64_t sent = 0, cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);

    do {
        send_chunk(bpf_program__fd(b->progs.bench_send), f, &from);
        sent += CHUNK;
        now = now_ns(CLOCK_MONOTONIC);
    } while (now < end);
    cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    (void)printf("{\"sent\": %lu, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n", sent,
                 (double)(now - began) / 1e9, (double)cpu / 1e9);
    return 0;
}

static int send_of(char **args)
{
    enum people of = strcmp(args[1], "known") == 0 ? KNOWN : CONDEMNED;
    enum bench_kind kind = kind_of(args[2]);
    uint32_t sources = count_of(args[3]);
    struct bench *b;
    struct frame f;
    int err;

    if (sources == 0)
        usage();
    frame_from(&f, of, kind, 0);
    b = sender_load(of, kind, sources, &f);
    err = send_frames(b, &f, port_of(args[0]), strtod(args[4], NULL));
    bench__destroy(b);
    return err;
}

/* ---- holding ---- */

struct holding {
    uint32_t ifindex;
    const char *what, *how;
    enum bench_kind kind;
    uint32_t verdicts, known;
};

/* The link lives as long as this process. */
static void attach(int program, uint32_t ifindex, uint32_t type, uint32_t flags)
{
    LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);

    if (bpf_link_create(program, (int)ifindex, (enum bpf_attach_type)type, &opts) < 0)
        give_up("attaching");
}

static void attach_ingress(const struct holding *h, int xdp, int tc)
{
    if (strcmp(h->how, "tc") == 0)
        attach(tc, h->ifindex, TCX_INGRESS, 0);
    else if (strcmp(h->how, "native") == 0)
        attach(xdp, h->ifindex, BPF_XDP, XDP_FLAGS_DRV_MODE);
    else if (strcmp(h->how, "generic") == 0)
        attach(xdp, h->ifindex, BPF_XDP, XDP_FLAGS_SKB_MODE);
    else
        usage();
}

static void wait_for_end_of_input(void)
{
    (void)printf("ready\n");
    (void)fflush(stdout);
    while (getchar() != EOF)
        ;
}

static void hold_cordon(const struct holding *h)
{
    struct gw_kernel k;

    harness_open(&k, 2 * (h->verdicts + h->known));
    fill_cordon(&k, 1U << h->kind, h->verdicts, h->known);
    gw_table_port_claim(&k.table, h->ifindex);
    attach_ingress(h, program_fd(&k, AT_XDP), program_fd(&k, AT_TC_IN));
    attach(program_fd(&k, AT_TC_OUT), h->ifindex, TCX_EGRESS, 0);
    wait_for_end_of_input();
    gw_kernel_close(&k);
}

static void hold_peer(const struct holding *h)
{
    bool bare = strcmp(h->what, "drop") == 0;
    struct peers p;

    peers_open(&p, 1U << h->kind, h->verdicts);
    if (!bare && p.xdp_filter < 0) {
        (void)fprintf(stderr, XDP_FILTER_MISSING "\n");
        exit(1);
    }
    attach_ingress(h, bare ? bpf_program__fd(p.simple->progs.bench_drop) : p.xdp_filter, -1);
    wait_for_end_of_input();
    peers_close(&p);
}

static int hold(char **args)
{
    struct holding h = {port_of(args[0]), args[1],           args[2],
                        kind_of(args[3]), count_of(args[4]), count_of(args[5])};

    if (strcmp(h.what, "cordon") == 0)
        hold_cordon(&h);
    else
        hold_peer(&h);
    return 0;
}

static int list(enum bench_kind kind, uint32_t verdicts)
{
    char text[GW_HWADDR_TEXT];

    for (uint32_t n = 0; n < verdicts; n++) {
        struct gw_hwaddr a = numbered(CONDEMNED, kind, n);

        (void)puts(gw_hwaddr_text(&a, text));
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "send") == 0)
        return send_of(argv + 2);
    if (argc == 8 && strcmp(argv[1], "hold") == 0)
        return hold(argv + 2);
    if (argc == 4 && strcmp(argv[1], "list") == 0)
        return list(kind_of(argv[2]), count_of(argv[3]));
    usage();
}
