/* SPDX-License-Identifier: GPL-2.0-only */
/* The oldest kernel that is supported, 5.15: what newer ones added is masked here, and what the
 * programs then are made of is read back from this kernel and from the object. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

#include "cordon.skel.h"

#define OLDEST 515            /* version * 100 + patch level */
#define MAP_TYPES_5_15 29     /* BPF_MAP_TYPE_TASK_STORAGE, the last one (5.11) */
#define MAP_FLAGS_5_15 0x1fff /* up to BPF_F_INNER_MAP (5.10) */
#define INSNS_MAX 16384       /* room for one program */
#define VERIFIED_MAX 500000   /* half of what the verifier walks before it gives up (since 5.2) */

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

/* Since when: iovisor/bcc, docs/kernel-versions.md, which names the commits; for the whole of 5.15
 * its include/uapi/linux/bpf.h, whose last one is task_pt_regs. Here is what programs like these
 * may want; a helper that is not here is a question to be answered. */
#define LAST_OF_5_15 175 /* BPF_FUNC_task_pt_regs */
static const struct {
    int helper, since;
    const char *name;
} helpers[] = {
    {BPF_FUNC_map_lookup_elem, 319, "map_lookup_elem"},
    {BPF_FUNC_map_update_elem, 319, "map_update_elem"},
    {BPF_FUNC_map_delete_elem, 319, "map_delete_elem"},
    {BPF_FUNC_ktime_get_ns, 401, "ktime_get_ns"},
    {BPF_FUNC_get_prandom_u32, 401, "get_prandom_u32"},
    {BPF_FUNC_get_smp_processor_id, 401, "get_smp_processor_id"},
    {BPF_FUNC_tail_call, 402, "tail_call"},
    {BPF_FUNC_skb_load_bytes, 405, "skb_load_bytes"},
    {BPF_FUNC_skb_pull_data, 409, "skb_pull_data"},
    {BPF_FUNC_xdp_adjust_head, 410, "xdp_adjust_head"},
    {BPF_FUNC_spin_lock, 501, "spin_lock"},
    {BPF_FUNC_spin_unlock, 501, "spin_unlock"},
    {BPF_FUNC_jiffies64, 506, "jiffies64"},
    {BPF_FUNC_ktime_get_boot_ns, 508, "ktime_get_boot_ns"},
    {BPF_FUNC_ringbuf_output, 508, "ringbuf_output"},
    {BPF_FUNC_ringbuf_reserve, 508, "ringbuf_reserve"},
    {BPF_FUNC_ringbuf_submit, 508, "ringbuf_submit"},
    {BPF_FUNC_ringbuf_discard, 508, "ringbuf_discard"},
    {BPF_FUNC_ringbuf_query, 508, "ringbuf_query"},
    {BPF_FUNC_ktime_get_coarse_ns, 511, "ktime_get_coarse_ns"},
    {BPF_FUNC_for_each_map_elem, 513, "for_each_map_elem"},
    {BPF_FUNC_loop, 517, "loop"},
    {BPF_FUNC_xdp_get_buff_len, 518, "xdp_get_buff_len"},
    {BPF_FUNC_xdp_load_bytes, 518, "xdp_load_bytes"},
};

/* ---- a kernel before 5.18 ---- */

static bool is_old;
static uint32_t xdp_flags; /* of the last program of that type that was loaded */

static bool knows(const union bpf_attr *attr)
{
    if (attr->prog_type == BPF_PROG_TYPE_XDP)
        xdp_flags = attr->prog_flags;
    return !is_old || !(attr->prog_flags & BPF_F_XDP_HAS_FRAGS);
}

/* The way that libbpf takes: an old kernel refuses a program with a flag that it does not know. */
long syscall(long number, ...)
{
    long (*real)(long, ...) = NULL;
    long a[6];
    va_list args;

    va_start(args, number);
    for (size_t i = 0; i < GW_COUNT(a); i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_bpf && a[0] == BPF_PROG_LOAD && !knows((const union bpf_attr *)a[1])) {
        errno = EINVAL;
        return -1;
    }
    *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static struct gw_kernel k;

static void setup(bool old)
{
    is_old = old;
    harness_open(&k, 256);
    own_addresses(&k);
}

static void teardown(void)
{
    gw_kernel_close(&k);
}

TestSuite(features, .fini = teardown);

/* ---- what programs are made of ---- */

struct made {
    struct bpf_prog_info info;
    struct bpf_insn insns[INSNS_MAX]; /* as the verifier left them */
};

/* From the kernel: dead branches are gone, and a call holds how far its helper is. */
static void translated(enum program where, struct made *out)
{
    uint32_t len = sizeof(out->info);

    *out = (struct made){.info = {.xlated_prog_len = sizeof(out->insns)}};
    out->info.xlated_prog_insns = (uintptr_t)out->insns;
    cr_assert_eq(bpf_obj_get_info_by_fd(program_fd(&k, where), &out->info, &len), 0);
    cr_assert_leq(out->info.xlated_prog_len, sizeof(out->insns));
}

/* How far from __bpf_call_base a helper is; skips the test where the kernel does not tell. */
static int32_t distance(const char *helper)
{
    unsigned long long base = 0, at = 0, address;
    FILE *f = fopen("/proc/kallsyms", "re");
    char name[256];

    while (f && fscanf(f, "%llx %*c %255s%*[^\n]", &address, name) == 2) {
        base = strcmp(name, "__bpf_call_base") == 0 ? address : base;
        at = strcmp(name, helper) == 0 ? address : at;
    }
    if (f)
        (void)fclose(f);
    if (!base || !at)
        cr_skip_test("the kernel does not tell where %s is", helper);
    return (int32_t)(at - base);
}

static bool is_call(const struct bpf_insn *i)
{
    return i->code == (BPF_JMP | BPF_CALL) && i->src_reg == 0;
}

static size_t calls_at(const struct made *m, int32_t distance)
{
    size_t count = 0;

    for (size_t i = 0; i < m->info.xlated_prog_len / sizeof(*m->insns); i++)
        count += is_call(&m->insns[i]) && m->insns[i].imm == distance;
    return count;
}

static const struct bpf_program *program_of(enum program where)
{
    return where == AT_XDP     ? k.skeleton->progs.cordon_xdp
           : where == AT_TC_IN ? k.skeleton->progs.cordon_in
                               : k.skeleton->progs.cordon_out;
}

static size_t row_of(int helper)
{
    size_t i = 0;

    while (i < GW_COUNT(helpers) && helpers[i].helper != helper)
        i++;
    cr_assert_lt(i, GW_COUNT(helpers), "helper %d: since when?", helper);
    cr_expect_eq(helper <= LAST_OF_5_15, helpers[i].since <= OLDEST, "%s", helpers[i].name);
    return i;
}

/* Of the instruction set v3 (5.1) and what 5.12 added to it; v4 (6.6) has codes of its own. */
static bool is_old_instruction(const struct bpf_insn *i)
{
    uint8_t class = BPF_CLASS(i->code), op = BPF_OP(i->code);

    switch (class) {
    case BPF_LDX:
        return BPF_MODE(i->code) == BPF_MEM; /* else it extends the sign */
    case BPF_STX:
        return BPF_MODE(i->code) == BPF_MEM || (BPF_MODE(i->code) == BPF_ATOMIC && i->imm < 0x100);
    case BPF_ALU:
        return i->off == 0;
    case BPF_ALU64:
        return i->off == 0 && op != BPF_END;
    case BPF_JMP:
        return op != 0xe0 && !(op == BPF_CALL && i->src_reg == BPF_PSEUDO_KFUNC_CALL);
    case BPF_JMP32:
        return op != BPF_JA;
    default:
        return true; /* BPF_LD, BPF_ST */
    }
}

/* ---- claims ---- */

Test(features, packets_in_several_buffers_are_used_where_the_kernel_has_them)
{
    static struct made m;

    setup(false);
    if (xdp_flags == 0)
        cr_skip_test("this kernel is older than 5.18 itself");
    translated(AT_XDP, &m);
    cr_expect_gt(calls_at(&m, distance("bpf_xdp_get_buff_len")), 0);
}

Test(features, an_older_kernel_is_asked_for_no_newer_helper)
{
    static struct made m;

    setup(true);
    cr_expect_eq(xdp_flags, 0);
    for (enum program where = AT_XDP; where <= AT_TC_OUT; where++) {
        const struct bpf_insn *insns = bpf_program__insns(program_of(where));
        size_t count = bpf_program__insn_cnt(program_of(where)), calls = 0;

        translated(where, &m);
        for (size_t i = 0; i < count; i++) {
            size_t row = is_call(&insns[i]) ? row_of(insns[i].imm) : 0;
            char symbol[64];

            calls += is_call(&insns[i]);
            if (!is_call(&insns[i]) || helpers[row].since <= OLDEST)
                continue;
            (void)snprintf(symbol, sizeof(symbol), "bpf_%s", helpers[row].name);
            cr_expect_eq(calls_at(&m, distance(symbol)), 0, "program %d calls %s, of %d", where,
                         symbol, helpers[row].since);
        }
        cr_expect_gt(calls, 0, "program %d", where);
    }
}

Test(features, instructions_are_those_of_the_oldest_kernel)
{
    setup(true);
    for (enum program where = AT_XDP; where <= AT_TC_OUT; where++) {
        const struct bpf_insn *insns = bpf_program__insns(program_of(where));

        for (size_t i = 0; i < bpf_program__insn_cnt(program_of(where)); i++) {
            cr_expect(is_old_instruction(&insns[i]), "program %d, instruction %zu: code %#x", where,
                      i, insns[i].code);
            i += insns[i].code == (BPF_LD | BPF_IMM | BPF_DW); /* takes two places */
        }
    }
}

Test(features, maps_are_those_of_the_oldest_kernel)
{
    struct bpf_map *map;
    size_t count = 0;

    setup(true);
    bpf_object__for_each_map(map, k.skeleton->obj)
    {
        struct bpf_map_info info = {0};
        uint32_t len = sizeof(info);

        cr_assert_eq(bpf_obj_get_info_by_fd(bpf_map__fd(map), &info, &len), 0);
        cr_expect_leq(info.type, MAP_TYPES_5_15, "%s: type %u", info.name, info.type);
        cr_expect_eq(info.map_flags & ~MAP_FLAGS_5_15, 0, "%s: %#x", info.name, info.map_flags);
        cr_expect_eq(info.map_extra, 0, "%s: since 5.16", info.name);
        count++;
    }
    cr_expect_gt(count, 0);
}

/* The verifier of an older kernel prunes less; so there is much room. */
Test(features, the_verifier_is_far_from_its_limit)
{
    static struct made m;

    setup(true);
    for (enum program where = AT_XDP; where <= AT_TC_OUT; where++) {
        translated(where, &m);
        cr_log_info("program %d: %u instructions verified, %u left", where, m.info.verified_insns,
                    (unsigned)(m.info.xlated_prog_len / 8));
        cr_expect_leq(m.info.verified_insns, VERIFIED_MAX, "program %d: %u", where,
                      m.info.verified_insns);
    }
}

Test(features, without_the_newer_ones_what_is_judged_drops)
{
    struct frame in = {0}, out = {0};

    setup(true);
    eth(&in, DEVICE, OTHER, 0x800);
    ipv4(&in, DEVICE, OTHER, 17);
    ports(&in, 1, 2);
    eth(&out, OTHER, DEVICE, 0x800);
    ipv4(&out, OTHER, DEVICE, 17);
    ports(&out, 2, 1);
    for (int isolated = 0; isolated <= 1; isolated++) {
        cr_assert_eq(judge(&k, "192.0.2.10", isolated ? GW_MODE_ISOLATE : GW_MODE_NONE), 0);
        cr_expect_eq(passes(&k, AT_XDP, &in), !isolated);
        cr_expect_eq(passes(&k, AT_TC_IN, &in), !isolated);
        cr_expect_eq(passes(&k, AT_TC_OUT, &out), !isolated);
    }
}
