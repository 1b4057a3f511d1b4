/* SPDX-License-Identifier: GPL-2.0-only */
#include "harness.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"
#include "cordon.skel.h"

const uint8_t mac_of_who[][6] = {
    [NOBODY] = {0},
    [DEVICE] = {2, 0, 0, 0, 0, 1},
    [OTHER] = {2, 0, 0, 0, 0, 2},
    [GATEWAY] = {2, 0, 0, 0, 0, 0xfe},
    [ALL] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
};
const uint8_t ipv4_of_who[][4] = {
    [NOBODY] = {0},
    [DEVICE] = {192, 0, 2, 10},
    [OTHER] = {192, 0, 2, 20},
    [GATEWAY] = {192, 0, 2, 1},
    [ALL] = {255, 255, 255, 255},
};
const uint8_t ipv6_of_who[][16] = {
    [NOBODY] = {0},
    [DEVICE] = {0x20, 1, 0xd, 0xb8, [15] = 0x10},
    [OTHER] = {0x20, 1, 0xd, 0xb8, [15] = 0x20},
    [GATEWAY] = {0x20, 1, 0xd, 0xb8, [15] = 1},
    [ALL] = {0xff, 2, [13] = 1, [15] = 2}, /* ff02::1:2, every DHCPv6 server */
};

/* ---- layers ---- */

static void put(struct frame *f, const void *bytes, size_t len)
{
    memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
}

static void put8(struct frame *f, uint8_t v)
{
    f->bytes[f->len++] = v;
}

static void put16(struct frame *f, uint16_t v)
{
    put8(f, (uint8_t)(v >> 8));
    put8(f, (uint8_t)v);
}

void filler(struct frame *f, size_t len)
{
    memset(f->bytes + f->len, 0, len);
    f->len += len;
}

void eth(struct frame *f, enum who from, enum who to, uint16_t type)
{
    f->len = 0;
    put(f, mac_of_who[to], 6);
    put(f, mac_of_who[from], 6);
    put16(f, type);
}

void tag(struct frame *f, uint16_t type)
{
    put16(f, 5);
    put16(f, type);
}

static void ipv4_header(struct frame *f, enum who from, enum who to, uint8_t protocol,
                        uint16_t fragment_field, uint8_t words)
{
    put8(f, 0x40 | words);
    put8(f, 0);
    put16(f, 64);
    put16(f, 1);
    put16(f, fragment_field);
    put8(f, 64);
    put8(f, protocol);
    put16(f, 0);
    put(f, ipv4_of_who[from], 4);
    put(f, ipv4_of_who[to], 4);
    f->ip_end = f->len;
    filler(f, (words - 5U) * 4);
}

void ipv4(struct frame *f, enum who from, enum who to, uint8_t protocol)
{
    ipv4_header(f, from, to, protocol, 0, 5);
}

void ipv4_options(struct frame *f, enum who from, enum who to, uint8_t protocol)
{
    ipv4_header(f, from, to, protocol, 0, 15);
}

void ipv4_fragment(struct frame *f, enum who from, enum who to, uint8_t protocol, uint16_t offset)
{
    ipv4_header(f, from, to, protocol, offset, 5);
}

void ipv6(struct frame *f, enum who from, enum who to, uint8_t next)
{
    put(f, "\x60\0\0\0", 4);
    put16(f, 64);
    put8(f, next);
    put8(f, 255);
    put(f, ipv6_of_who[from], 16);
    put(f, ipv6_of_who[to], 16);
    f->ip_end = f->len;
}

void extension(struct frame *f, uint8_t next, uint8_t units)
{
    put8(f, next);
    put8(f, units);
    filler(f, 6 + units * 8U);
}

void fragment(struct frame *f, uint8_t next, uint16_t offset)
{
    put8(f, next);
    put8(f, 0);
    put16(f, (uint16_t)(offset << 3));
    filler(f, 4);
}

void authentication(struct frame *f, uint8_t next, uint8_t words)
{
    put8(f, next);
    put8(f, words - 2); /* RFC 4302 §2.2 */
    filler(f, words * 4U - 2);
}

void ports(struct frame *f, uint16_t from, uint16_t to)
{
    put16(f, from);
    put16(f, to);
    filler(f, 24);
}

void arp(struct frame *f, uint16_t operation, enum who sender_mac, enum who sender_ip,
         enum who target_mac, enum who target_ip)
{
    put(f, "\0\1\x08\0\6\4", 6);
    put16(f, operation);
    put(f, mac_of_who[sender_mac], 6);
    put(f, ipv4_of_who[sender_ip], 4);
    put(f, mac_of_who[target_mac], 6);
    put(f, ipv4_of_who[target_ip], 4);
    f->ip_end = f->len;
}

void discovery_head(struct frame *f, uint8_t type, size_t len)
{
    put8(f, type);
    filler(f, len - 1);
}

void link_option(struct frame *f, uint8_t option, enum who mac)
{
    put8(f, option);
    put8(f, 1);
    put(f, mac_of_who[mac], 6);
    f->ip_end = f->len;
}

void discovery(struct frame *f, uint8_t type, enum who target, uint8_t option, enum who mac)
{
    discovery_head(f, type, 8);
    put(f, ipv6_of_who[target], 16);
    f->ip_end = f->len;
    if (option) {
        put8(f, 14); /* a nonce in front (RFC 3971), to be stepped over */
        put8(f, 1);
        filler(f, 6);
        link_option(f, option, mac);
    }
}

/* ---- the programs ---- */

void harness_open(struct gw_kernel *k, uint32_t slots)
{
    struct gw_config *config;
    char why[GW_WHY_MAX];

    *k = (struct gw_kernel){0};
    if (gw_kernel_open(k, NULL, slots, why) != 0) {
        (void)fprintf(stderr, "the kernel programs cannot be loaded here: %s\n", why);
        abort();
    }
    gw_table_port_claim(&k->table, 1);
    if (gw_config_defaults(&config) != 0)
        abort();
    gw_kernel_services(k, config);
    gw_config_free(&config);
}

int program_fd(const struct gw_kernel *k, enum program where)
{
    const struct cordon *s = k->skeleton;

    return bpf_program__fd(where == AT_XDP     ? s->progs.cordon_xdp
                           : where == AT_TC_IN ? s->progs.cordon_in
                                               : s->progs.cordon_out);
}

struct gw_hwaddr address(const char *text)
{
    struct gw_hwaddr a = {0};

    if (gw_hwaddr_parse(text, &a) != 0)
        abort();
    return a;
}

int judge_address(struct gw_kernel *k, const struct gw_hwaddr *a, enum gw_verdict_mode mode)
{
    struct gw_verdict_record v = {.address = *a, .mode = mode};

    return gw_verdict_set(k, &v, 1);
}

int judge(struct gw_kernel *k, const char *text, enum gw_verdict_mode mode)
{
    struct gw_hwaddr a = address(text);

    return judge_address(k, &a, mode);
}

void own_addresses(struct gw_kernel *k)
{
    struct gw_hwaddr own[] = {gw_hwaddr_mac(mac_of_who[GATEWAY]),
                              gw_hwaddr_ipv4(ipv4_of_who[GATEWAY]),
                              gw_hwaddr_ipv6(ipv6_of_who[GATEWAY])};

    const struct gw_addresses all = {own, GW_COUNT(own), 0};

    if (gw_kernel_flag(k, CORDON_OWN, &all) != 0)
        abort();
}

int known_address(struct gw_kernel *k, const struct gw_hwaddr *a)
{
    uint32_t slot = gw_table_find(&k->table, a);

    return slot == GW_SLOT_NONE ? gw_table_add(&k->table, a, false, 0, &slot) : 0;
}

void known(struct gw_kernel *k, enum who who)
{
    struct gw_hwaddr all[] = {gw_hwaddr_mac(mac_of_who[who]), gw_hwaddr_ipv4(ipv4_of_who[who]),
                              gw_hwaddr_ipv6(ipv6_of_who[who])};

    for (size_t i = 0; i < GW_COUNT(all); i++) {
        if (known_address(k, &all[i]) != 0)
            abort();
    }
}

double run_ns(int fd, const struct frame *f, uint32_t repeat, uint32_t *out_verdict)
{
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->bytes, .data_size_in = (uint32_t)f->len,
                .repeat = (int)repeat);

    if (bpf_prog_test_run_opts(fd, &opts) != 0)
        return -1;
    *out_verdict = opts.retval;
    return opts.duration;
}

bool can_run(enum program where, const struct frame *f)
{
    if (where == AT_XDP)
        return true;
    if (memcmp(f->bytes + 12, "\x08\x00", 2) == 0)
        return f->len >= 14 + 20;
    return memcmp(f->bytes + 12, "\x86\xdd", 2) != 0 || f->len >= 14 + 40;
}

bool passes(struct gw_kernel *k, enum program where, const struct frame *f)
{
    uint32_t verdict = 0;

    if (run_ns(program_fd(k, where), f, 1, &verdict) < 0) {
        perror("BPF_PROG_TEST_RUN");
        abort();
    }
    return where == AT_XDP ? verdict == 2 /* XDP_PASS */ : verdict == 0xffffffff; /* TCX_NEXT */
}
