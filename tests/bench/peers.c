/* SPDX-License-Identifier: GPL-2.0-only */
#include "peers.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <endian.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.skel.h"

#define XDP_FILTER_OBJECT "/usr/lib/*/bpf/xdpfilt_alw_all.o" /* allow by default, every feature */
#define XDP_FILTER_SOURCE 1ULL                               /* the flag of a source address */

void give_up(const char *what)
{
    (void)fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

uint64_t now_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double median(double *samples, size_t count)
{
    qsort(samples, count, sizeof(*samples), compare);
    return samples[count / 2];
}

/* ---- addresses and frames ---- */

struct gw_hwaddr numbered(enum people of, enum bench_kind kind, uint32_t n)
{
    /* 198.18.0.0/15 is for benchmarks (RFC 2544 §C.2.2). */
    static const uint32_t ipv4_base[] = {0xc6120000, 0x0a000000, 0x64400000};
    uint8_t mac[8] = {2, 0xb0 + (uint8_t)of},
            ipv6[16] = {0x20, 1, 0xd, 0xb8, [5] = (uint8_t)of + 1};
    uint32_t ipv4 = htobe32(ipv4_base[of] + n), last = htobe32(n);

    memcpy(mac + 2, &last, 4);
    memcpy(ipv6 + 12, &last, 4);
    switch (kind) {
    case BENCH_MAC:
        return gw_hwaddr_mac(mac);
    case BENCH_IPV4:
        return gw_hwaddr_ipv4((const uint8_t *)&ipv4);
    case BENCH_IPV6:
    case BENCH_KINDS:
        break;
    }
    return gw_hwaddr_ipv6(ipv6);
}

static void put_source(struct frame *f, const struct gw_hwaddr *a)
{
    size_t at = a->kind == GW_ADDR_MAC ? 6 : a->kind == GW_ADDR_IPV4 ? 26 : 22;

    memcpy(f->bytes + at, a->bytes, a->prefix_len / 8);
}

static uint32_t folded(uint32_t sum)
{
    return (sum & 0xffff) + (sum >> 16);
}

static uint32_t word_at(const struct frame *f, size_t at)
{
    return (uint32_t)f->bytes[at] << 8 | f->bytes[at + 1];
}

static void put_word(struct frame *f, size_t at, uint32_t word)
{
    f->bytes[at] = (uint8_t)(word >> 8);
    f->bytes[at + 1] = (uint8_t)word;
}

/*
 * The header's sum (RFC 1071): peers behind the kernel's own check would else never see the packet.
 * The identification is the source's complement, so that the sum is the same for every source.
 */
static void put_ipv4_sum(struct frame *f)
{
    uint32_t sum = 0;

    put_word(f, 18, ~folded(word_at(f, 26) + word_at(f, 28)));
    for (size_t i = 14; i < 34; i += 2)
        sum += i == 24 ? 0 : word_at(f, i);
    put_word(f, 24, ~folded(folded(sum)));
}

static void udp(struct frame *f, bool six)
{
    const uint16_t length = 28; /* of UDP, whose sum stays 0: not computed */

    eth(f, DEVICE, GATEWAY, six ? 0x86dd : 0x800);
    if (six)
        ipv6(f, DEVICE, GATEWAY, 17);
    else
        ipv4(f, DEVICE, GATEWAY, 17);
    ports(f, 1000, 2000);
    put_word(f, f->len - 24, length);
    put_word(f, six ? 18 : 16, six ? length : 20 + length);
}

void frame_from(struct frame *f, enum people of, enum bench_kind kind, uint32_t n)
{
    struct gw_hwaddr a = numbered(of, kind, n);

    udp(f, kind == BENCH_IPV6);
    put_source(f, &a);
    if (kind != BENCH_IPV6)
        put_ipv4_sum(f);
}

void frame_of(struct frame *f, enum people of, enum bench_kind kind, uint32_t n)
{
    struct gw_hwaddr mac = numbered(of, BENCH_MAC, n);

    frame_from(f, of, kind, n);
    put_source(f, &mac);
}

/* ---- Cordon ---- */

static void must(int err, const char *what)
{
    if (err) {
        (void)fprintf(stderr, "%s: %s\n", what, gw_error_text(err));
        exit(1);
    }
}

void fill_cordon(struct gw_kernel *k, unsigned kinds, uint32_t verdicts, uint32_t known_count)
{
    struct gw_hwaddr a;

    known(k, DEVICE);
    for (uint32_t n = 0; n < known_count; n++) {
        a = numbered(KNOWN, BENCH_MAC + n % 3, n / 3);
        must(known_address(k, &a), "a known address");
    }
    for (enum bench_kind kind = BENCH_MAC; kind < BENCH_KINDS; kind++) {
        for (uint32_t n = 0; kinds & 1U << kind && n < verdicts; n++) {
            a = numbered(CONDEMNED, kind, n);
            must(judge_address(k, &a, GW_MODE_ISOLATE), "a verdict");
        }
    }
}

/* ---- peers ---- */

static void list(int map, const struct gw_hwaddr *a, bool with_length, const void *value)
{
    uint8_t key[20] = {0};
    uint32_t bits = a->prefix_len;

    memcpy(key, &bits, sizeof(bits));
    memcpy(key + (with_length ? sizeof(bits) : 0), a->bytes, bits / 8);
    if (a->kind == GW_ADDR_MAC)
        memset(key + bits / 8, 0, 2);
    if (bpf_map_update_elem(map, key, value, BPF_ANY) != 0)
        give_up("an entry of a peer's map");
}

static void list_all(int map, enum bench_kind kind, uint32_t count, bool with_length,
                     const void *value)
{
    for (uint32_t n = 0; n < count; n++) {
        struct gw_hwaddr a = numbered(CONDEMNED, kind, n);

        list(map, &a, with_length, value);
    }
}

static void open_simple(struct peers *p, unsigned kinds, uint32_t verdicts)
{
    static const uint64_t value = 0;
    struct bpf_map *const hash[] = {NULL, p->simple->maps.bench_mac, p->simple->maps.bench_ipv4,
                                    p->simple->maps.bench_ipv6};
    struct bpf_map *const lpm[] = {NULL, NULL, p->simple->maps.bench_lpm4,
                                   p->simple->maps.bench_lpm6};

    for (enum bench_kind kind = BENCH_MAC; kind < BENCH_KINDS; kind++) {
        (void)bpf_map__set_max_entries(hash[kind], verdicts);
        if (lpm[kind])
            (void)bpf_map__set_max_entries(lpm[kind], verdicts);
    }
    if (bench__load(p->simple) != 0)
        give_up("loading the simple filters");
    for (enum bench_kind kind = BENCH_MAC; kind < BENCH_KINDS; kind++) {
        uint32_t count = kinds & 1U << kind ? verdicts : 0;

        list_all(bpf_map__fd(hash[kind]), kind, count, kind != BENCH_MAC, &value);
        if (lpm[kind])
            list_all(bpf_map__fd(lpm[kind]), kind, count, true, &value);
    }
}

/* libbpf's warnings about sections that are libxdp's. */
static int quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
    (void)level, (void)fmt, (void)args;
    return 0;
}

static struct bpf_object *xdp_filter_object(void)
{
    struct bpf_object *object = NULL;
    glob_t found;

    (void)libbpf_set_print(quiet);
    if (glob(XDP_FILTER_OBJECT, 0, NULL, &found) == 0)
        object = bpf_object__open(found.gl_pathv[0]);
    globfree(&found);
    return object;
}

/* One value for each CPU, as its maps are per CPU. */
static void fill_xdp_filter(struct bpf_object *object, unsigned kinds, uint32_t verdicts)
{
    static const char *const names[] = {NULL, "filter_ethernet", "filter_ipv4", "filter_ipv6"};
    int cpus = libbpf_num_possible_cpus();
    uint64_t *values = calloc((size_t)cpus, sizeof(*values));

    if (!values)
        give_up("memory");
    for (int i = 0; i < cpus; i++)
        values[i] = XDP_FILTER_SOURCE;
    for (enum bench_kind kind = BENCH_MAC; kind < BENCH_KINDS; kind++) {
        int map = bpf_object__find_map_fd_by_name(object, names[kind]);

        if (map < 0)
            give_up("xdp-filter's maps are not those of 1.3");
        if (kinds & 1U << kind)
            list_all(map, kind, verdicts, false, values);
    }
    free(values);
}

/* Without its dispatcher, which needs freplace; and without its pins, which are the system's. */
static int open_xdp_filter(struct peers *p, unsigned kinds, uint32_t verdicts)
{
    struct bpf_program *program;
    struct bpf_map *map;

    p->debian = xdp_filter_object();
    if (!p->debian)
        return -1;
    bpf_object__for_each_map(map, p->debian)
    {
        (void)bpf_map__set_pin_path(map, NULL);
        if (strncmp(bpf_map__name(map), "filter_", 7) == 0 &&
            strcmp(bpf_map__name(map), "filter_ports") != 0)
            (void)bpf_map__set_max_entries(map, verdicts);
    }
    program = bpf_object__next_program(p->debian, NULL);
    (void)bpf_program__set_type(program, BPF_PROG_TYPE_XDP);
    if (bpf_object__load(p->debian) != 0)
        give_up("loading xdp-filter");
    fill_xdp_filter(p->debian, kinds, verdicts);
    return bpf_program__fd(program);
}

void peers_open(struct peers *p, unsigned kinds, uint32_t verdicts)
{
    *p = (struct peers){.simple = bench__open()};
    if (!p->simple)
        give_up("opening the simple filters");
    open_simple(p, kinds, verdicts);
    p->xdp_filter = open_xdp_filter(p, kinds, verdicts);
}

void peers_close(struct peers *p)
{
    bench__destroy(p->simple);
    bpf_object__close(p->debian);
}
