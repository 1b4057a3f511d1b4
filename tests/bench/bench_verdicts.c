/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Verdicts in process: how long it takes until 100,000 of them are in force, beside filling plain
 * BPF hash maps; how long packets still pass after one was decided on; and what the tables take.
 *
 *   bench_verdicts [load] [reaction] [memory]        Default: all three.
 */
#include "peers.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cordon.skel.h"

#define MS 1e6

/* ---- load ---- */

#define VERDICTS 100000
#define LOAD_TURNS 11
#define LOAD_TARGET_MS 200.0

/* A third of them of each kind. */
static struct gw_hwaddr *mixed_addresses(void)
{
    struct gw_hwaddr *all = calloc(VERDICTS, sizeof(*all));

    if (!all)
        give_up("memory");
    for (uint32_t n = 0; n < VERDICTS; n++)
        all[n] = numbered(CONDEMNED, BENCH_MAC + n % 3, n / 3);
    return all;
}

static double load_cordon(const struct gw_hwaddr *all)
{
    struct gw_kernel k;
    uint64_t began, took;

    harness_open(&k, 131072);
    began = now_ns(CLOCK_MONOTONIC);
    for (size_t i = 0; i < VERDICTS; i++) {
        if (judge_address(&k, &all[i], GW_MODE_ISOLATE) != 0) {
            (void)fprintf(stderr, "verdict %zu was refused\n", i);
            exit(1);
        }
    }
    took = now_ns(CLOCK_MONOTONIC) - began;
    gw_kernel_close(&k);
    return (double)took / MS;
}

static int plain_map(void)
{
    int map = bpf_map_create(BPF_MAP_TYPE_HASH, "plain", sizeof(struct gw_hwaddr), sizeof(uint64_t),
                             131072, NULL);

    if (map < 0)
        give_up("a plain hash map");
    return map;
}

static double load_one_by_one(const struct gw_hwaddr *all)
{
    static const uint64_t value = 1;
    int map = plain_map();
    uint64_t began = now_ns(CLOCK_MONOTONIC), took;

    for (size_t i = 0; i < VERDICTS; i++) {
        if (bpf_map_update_elem(map, &all[i], &value, BPF_ANY) != 0)
            give_up("an entry of a plain hash map");
    }
    took = now_ns(CLOCK_MONOTONIC) - began;
    (void)close(map);
    return (double)took / MS;
}

static double load_batch(const struct gw_hwaddr *all)
{
    static uint64_t values[VERDICTS];
    uint32_t count = VERDICTS;
    int map = plain_map();
    uint64_t began = now_ns(CLOCK_MONOTONIC), took;

    if (bpf_map_update_batch(map, all, values, &count, NULL) != 0)
        give_up("a batch into a plain hash map");
    took = now_ns(CLOCK_MONOTONIC) - began;
    (void)close(map);
    return (double)took / MS;
}

static void bench_load(void)
{
    static const struct {
        const char *name;
        double (*load)(const struct gw_hwaddr *all);
    } ways[] = {{"cordon, verdict by verdict", load_cordon},
                {"plain hash map, one by one", load_one_by_one},
                {"plain hash map, one batch", load_batch}};
    double ms[GW_COUNT(ways)][LOAD_TURNS], base = 0;
    struct gw_hwaddr *all = mixed_addresses();

    for (size_t turn = 0; turn < LOAD_TURNS; turn++) {
        for (size_t i = 0; i < GW_COUNT(ways); i++)
            ms[i][turn] = ways[i].load(all);
    }
    (void)printf("%d verdicts in force (MAC, IPv4 and IPv6), median of %d\n", VERDICTS, LOAD_TURNS);
    for (size_t i = 0; i < GW_COUNT(ways); i++) {
        double middle = median(ms[i], LOAD_TURNS);

        base = i == 0 ? middle : base;
        (void)printf("%-30s %7.1f ms %6.2f", ways[i].name, middle, middle / base);
        if (i == 0)
            (void)printf("  at most %.0f ms%s", LOAD_TARGET_MS,
                         middle > LOAD_TARGET_MS ? "  over" : "");
        (void)printf("\n");
    }
    (void)printf("\n");
    free(all);
}

/* ---- reaction ---- */

#define REACTION_TURNS 1001
#define REACTION_TARGET_US 1000.0

/*
 * A device that sends without a pause, on a CPU of its own: through the tc program, whose test run
 * takes a us. That of an XDP program waits for 20 ms.
 */
struct device {
    struct gw_kernel *kernel;
    struct frame frame;
    atomic_bool stop;
    _Atomic uint64_t last_passed_ns; /* when the last packet that passed was sent */
    _Atomic uint64_t sent;
};

static void stay_on_cpu(int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0)
        give_up("two CPUs are needed");
}

static void *device_run(void *arg)
{
    struct device *d = arg;

    stay_on_cpu(1);
    while (!d->stop) {
        uint64_t began = now_ns(CLOCK_MONOTONIC);

        if (passes(d->kernel, AT_TC_IN, &d->frame))
            d->last_passed_ns = began;
        d->sent++;
    }
    return NULL;
}

/* Until it has sent some more. */
static void wait_for_packets(const struct device *d)
{
    uint64_t until = d->sent + 3;

    while (d->sent < until)
        (void)sched_yield();
}

/* us from the decision to the sending of the last packet that passed; 0: none did any more. */
static double react(struct gw_kernel *k, struct device *d, const struct gw_hwaddr *a,
                    double *out_call_us)
{
    uint64_t decided, done;
    int err;

    wait_for_packets(d);
    decided = now_ns(CLOCK_MONOTONIC);
    err = judge_address(k, a, GW_MODE_ISOLATE);
    done = now_ns(CLOCK_MONOTONIC);
    wait_for_packets(d);
    if (err || judge_address(k, a, GW_MODE_NONE) != 0) {
        (void)fprintf(stderr, "a verdict was refused\n");
        exit(1);
    }
    *out_call_us = (double)(done - decided) / 1e3;
    return d->last_passed_ns > decided ? (double)(d->last_passed_ns - decided) / 1e3 : 0;
}

static void say_us(const char *what, double *us)
{
    double middle = median(us, REACTION_TURNS);

    (void)printf("%-30s %7.1f us %8.1f us %8.1f us\n", what, middle, us[REACTION_TURNS * 99 / 100],
                 us[REACTION_TURNS - 1]);
}

static void bench_reaction(void)
{
    static double last[REACTION_TURNS], call[REACTION_TURNS];
    static struct device d;
    struct gw_hwaddr a = numbered(KNOWN, BENCH_IPV4, 7);
    struct gw_kernel k;
    pthread_t sender;

    harness_open(&k, 262144);
    fill_cordon(&k, 1U << BENCH_IPV4, 50000, 50000);
    frame_from(&d.frame, KNOWN, BENCH_IPV4, 7);
    d.kernel = &k;
    if (pthread_create(&sender, NULL, device_run, &d) != 0)
        give_up("a thread");
    stay_on_cpu(0);
    for (size_t i = 0; i < REACTION_TURNS; i++)
        last[i] = react(&k, &d, &a, &call[i]);
    d.stop = true;
    (void)pthread_join(sender, NULL);
    (void)printf("one verdict among 50000, a device that sends without a pause, %d turns\n"
                 "%-30s %10s %11s %11s\n",
                 REACTION_TURNS, "", "median", "99 %", "most");
    say_us("last packet that passed", last);
    say_us("the call", call);
    (void)printf("at most %.0f us%s\n\n", REACTION_TARGET_US,
                 median(last, REACTION_TURNS) > REACTION_TARGET_US ? "  over" : "");
    gw_kernel_close(&k);
}

/* ---- memory ---- */

/* What the kernel charges for a map; 0 where /proc does not say. */
static uint64_t map_bytes(int fd)
{
    char path[64], line[128];
    uint64_t bytes = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    file = fopen(path, "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "memlock: %lu", &bytes) == 1)
            break;
    }
    (void)fclose(file);
    return bytes;
}

static uint64_t object_bytes(const struct bpf_object *object)
{
    uint64_t sum = 0;
    struct bpf_map *map;

    bpf_object__for_each_map(map, object)
    {
        sum += map_bytes(bpf_map__fd(map));
    }
    return sum;
}

/* All maps, with tables for so many addresses. */
static double tables_bytes(uint32_t addresses)
{
    struct gw_kernel k;
    uint64_t bytes;

    harness_open(&k, addresses);
    bytes = object_bytes(k.skeleton->obj);
    gw_kernel_close(&k);
    return (double)bytes;
}

static void bench_memory(void)
{
    static const uint32_t sizes[] = {8192, 32768, 131072, 524288};
    const double mib = 1 << 20, fixed = tables_bytes(1);

    (void)printf("all maps, %d CPUs; %.1f MiB of it whatever the size\n%12s %10s %14s\n",
                 libbpf_num_possible_cpus(), fixed / mib, "addresses", "MiB", "bytes/address");
    for (size_t i = 0; i < GW_COUNT(sizes); i++) {
        double bytes = tables_bytes(sizes[i]);

        (void)printf("%12u %10.1f %14.1f\n", sizes[i], bytes / mib, (bytes - fixed) / sizes[i]);
    }
    (void)printf("\n");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {{"load", bench_load}, {"reaction", bench_reaction}, {"memory", bench_memory}};
    int found = argc == 1 ? 1 : 0;

    for (size_t i = 0; i < GW_COUNT(parts); i++) {
        bool wanted = argc == 1;

        for (int arg = 1; arg < argc; arg++)
            wanted |= strcmp(argv[arg], parts[i].name) == 0;
        if (wanted)
            parts[i].run();
        found |= wanted;
    }
    if (!found)
        (void)fprintf(stderr, "usage: bench_verdicts [load] [reaction] [memory]\n");
    return found ? 0 : 2;
}
