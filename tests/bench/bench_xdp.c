/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ns per packet of the XDP program beside a bare XDP_DROP and a bare XDP_PASS, in one run: samples
 * of all of them in turn, so that whatever slows the machine slows each, then medians and ratios.
 * With --check it ends 1 when a ratio is over the one in the table below.
 */
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"

#define SAMPLES 101
#define REPEAT 20000
#define ENTRIES 64

enum { BARE_DROP, BARE_PASS, DROP_MAC, DROP_IPV4, DROP_IPV6, PASS_IPV4, PASS_IPV6, NEW_IPV4, ROWS };

static struct row {
    const char *name;
    struct frame frame;
    int fd, beside;
    uint32_t want;
    double at_most; /* of the bare one; 0: only said */
    double samples[SAMPLES];
} rows[ROWS] = {
    [BARE_DROP] = {.name = "bare XDP_DROP", .beside = BARE_DROP, .want = XDP_DROP},
    [BARE_PASS] = {.name = "bare XDP_PASS", .beside = BARE_PASS, .want = XDP_PASS},
    [DROP_MAC] = {.name = "drop by MAC", .want = XDP_DROP, .at_most = 1.7},
    [DROP_IPV4] = {.name = "drop by IPv4", .want = XDP_DROP},
    [DROP_IPV6] = {.name = "drop by IPv6", .want = XDP_DROP},
    [PASS_IPV4] = {.name = "pass IPv4, known and counted", .beside = BARE_PASS, .want = XDP_PASS},
    [PASS_IPV6] = {.name = "pass IPv6, known and counted", .beside = BARE_PASS, .want = XDP_PASS},
    [NEW_IPV4] = {.name = "pass IPv4, unknown",
                  .beside = BARE_PASS,
                  .want = XDP_PASS,
                  .at_most = 2.0},
};

static int bare(int verdict)
{
    const struct bpf_insn insns[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = verdict},
        {.code = BPF_JMP | BPF_EXIT},
    };

    return bpf_prog_load(BPF_PROG_TYPE_XDP, "bare", "GPL", insns, 2, NULL);
}

static void udp4(struct frame *f, enum who mac, enum who ip)
{
    eth(f, mac, GATEWAY, 0x800);
    ipv4(f, ip, GATEWAY, 17);
    ports(f, 1000, 2000);
}

static void udp6(struct frame *f, enum who mac, enum who ip)
{
    eth(f, mac, GATEWAY, 0x86dd);
    ipv6(f, ip, GATEWAY, 17);
    ports(f, 1000, 2000);
}

/* As many verdicts as the peers were measured with. */
static void fill(struct gw_kernel *k)
{
    char text[64];

    for (int i = 0; i < ENTRIES; i++) {
        (void)snprintf(text, sizeof(text), "02:aa:00:00:00:%02x", i);
        (void)judge(k, text, GW_MODE_ISOLATE);
        (void)snprintf(text, sizeof(text), "198.51.100.%d", i);
        (void)judge(k, text, GW_MODE_ISOLATE);
        (void)snprintf(text, sizeof(text), "2001:db8:1::%x", i + 1);
        (void)judge(k, text, GW_MODE_ISOLATE);
    }
}

static void prepare(struct gw_kernel *k)
{
    static const uint8_t bad_mac[6] = {2, 0xaa, 0, 0, 0, 7}, bad_ipv4[4] = {198, 51, 100, 9};
    static const uint8_t bad_ipv6[16] = {0x20, 1, 0xd, 0xb8, 0, 1, [15] = 9};

    fill(k);
    known(k, DEVICE);
    for (int i = 0; i < ROWS; i++) {
        udp4(&rows[i].frame, DEVICE, DEVICE);
        rows[i].fd = program_fd(k, AT_XDP);
    }
    rows[BARE_DROP].fd = bare(XDP_DROP);
    rows[BARE_PASS].fd = bare(XDP_PASS);
    memcpy(rows[DROP_MAC].frame.bytes + 6, bad_mac, 6);
    memcpy(rows[DROP_IPV4].frame.bytes + 26, bad_ipv4, 4);
    udp6(&rows[DROP_IPV6].frame, DEVICE, DEVICE);
    memcpy(rows[DROP_IPV6].frame.bytes + 22, bad_ipv6, 16);
    udp6(&rows[PASS_IPV6].frame, DEVICE, DEVICE);
    udp4(&rows[NEW_IPV4].frame, OTHER, OTHER);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int sample(void)
{
    for (int s = 0; s < SAMPLES; s++) {
        for (int i = 0; i < ROWS; i++) {
            uint32_t got = 0;

            rows[i].samples[s] = run_ns(rows[i].fd, &rows[i].frame, REPEAT, &got);
            if (got != rows[i].want) {
                (void)fprintf(stderr, "%s: verdict %u\n", rows[i].name, got);
                return 1;
            }
        }
    }
    for (int i = 0; i < ROWS; i++)
        qsort(rows[i].samples, SAMPLES, sizeof(double), compare);
    return 0;
}

static int report(bool check)
{
    int over = 0;

    for (int i = 0; i < ROWS; i++) {
        double ns = rows[i].samples[SAMPLES / 2];
        double ratio = ns / rows[rows[i].beside].samples[SAMPLES / 2];
        bool bad = rows[i].at_most > 0 && ratio > rows[i].at_most;

        (void)printf("%-30s %6.1f ns  %5.2f%s\n", rows[i].name, ns, ratio, bad ? "  over" : "");
        over |= bad;
    }
    return check && over;
}

int main(int argc, char **argv)
{
    struct gw_kernel k;
    int err;

    harness_open(&k, 131072);
    prepare(&k);
    err = sample() || report(argc > 1 && strcmp(argv[1], "--check") == 0);
    gw_kernel_close(&k);
    return err;
}
