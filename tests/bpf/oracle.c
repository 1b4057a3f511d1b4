/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the kernel programs do with a frame, for a model in another language to be held against.
 * Loaded unpinned and attached nowhere. One command a line on standard input, one line of answer
 * each on standard output; a command that is not understood ends it with status 2.
 *
 *   unknown MODE                      what a MAC without a slot may do
 *   ours ADDRESS...                   these, and no others, are the gateway's own
 *   locals NETWORK...                 these, and no others, are local to policies
 *   known MAC [IP...]                 slots as if heard: the MAC uses these addresses
 *   verdict ADDRESS MODE [SECONDS]    MODE none, isolate, remediate, observe; no SECONDS: no end
 *   bind ADDRESS                      no other MAC may use it while its owner is heard
 *   policy NUMBER FLAGS PPS BPS       begin a policy; FLAGS of learn,report,enforce or "-"
 *   rule from|to FAMILY PROTOCOL OWN PEER CLASSES [no-open]
 *                                     one more rule of it: FAMILY 0, 4 or 6, OWN and PEER ports as
 *                                     MIN-MAX, CLASSES of any,local,gateway or "-"
 *   peer ADDRESS RULES                one more peer of it; bit i of RULES (hex) is rule i
 *   commit                            the policy is complete: in force
 *   attach ADDRESS NUMBER [bound]     this address has that policy; 0: none
 *   frame xdp|in|out HEX              "pass", "drop"; "skip" where the kernel runs no program on it
 *   counters ADDRESS                  rx packets, rx bytes, tx packets, tx bytes, dropped packets,
 *                                     dropped bytes; "none" without a slot
 *   dropped                           packets, bytes dropped on the port
 *   reset                             nobody is known, nothing is judged, nothing is ours
 *
 * Others answer "ok", or "full" where the tables are.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "enforcer/policy.h"
#include "harness.h"

#define SLOTS 1024
#define FRAME_MAX (16 * 1024)
#define WORDS_MAX 256
#define JUDGED_MAX 512
#define POLICIES_MAX 64 /* by number, here */
#define XDP_PASS 2
#define XDP_DROP 1
#define TCX_NEXT 0xffffffffU
#define TC_DROP 2
#define PORT 1 /* the interface that test runs come from: lo */

/* Everything that was said about one address; the tables take it as a whole. */
struct judged {
    struct gw_hwaddr address;
    struct gw_judgement judgement;
};

static struct gw_kernel k;
static struct judged all[JUDGED_MAX];
static size_t judged_count;
static uint64_t begun;        /* policies by number, for a reset */
static const char *line_text; /* for what is said about a line that is wrong */

static void fail(const char *why) __attribute__((noreturn));
static void fail(const char *why)
{
    (void)fprintf(stderr, "oracle: %s: %.200s\n", why, line_text ? line_text : "");
    exit(2);
}

static void answer(int err)
{
    if (err && err != GW_EFULL)
        fail(gw_error_text(err));
    (void)puts(err ? "full" : "ok");
}

/* ---- words ---- */

struct words {
    char *at[WORDS_MAX];
    size_t count, next;
};

static struct words split(char *line)
{
    struct words w = {0};

    for (char *s = strtok(line, " \n"); s; s = strtok(NULL, " \n")) {
        if (w.count == WORDS_MAX)
            fail("too many words");
        w.at[w.count++] = s;
    }
    return w;
}

static char *word(struct words *w)
{
    if (w->next == w->count)
        fail("something is missing");
    return w->at[w->next++];
}

static bool more(const struct words *w)
{
    return w->next < w->count;
}

/* The last word that may follow, or nothing. */
static bool option(struct words *w, const char *text)
{
    if (!more(w))
        return false;
    if (strcmp(word(w), text) != 0)
        fail("an unknown option");
    return true;
}

static unsigned long long number(const char *text, int base, unsigned long long max)
{
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(text, &end, base);
    if (!isxdigit((unsigned char)*text) || *end || errno || n > max)
        fail("not a number, or too large");
    return n;
}

static struct gw_hwaddr address_of(const char *text)
{
    struct gw_hwaddr a = {0};

    if (gw_hwaddr_parse(text, &a) != 0)
        fail("not an address");
    return a;
}

/* Which of `names`, a list that ends with NULL. */
static unsigned choice(const char *text, const char *const *names)
{
    for (unsigned i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0)
            return i;
    }
    fail("not one of the words that may be here");
}

/* "a,c" of a, b, c: bits 0 and 2; "-" is none. */
static unsigned choices(const char *text, const char *const *names)
{
    char copy[64], *rest = copy;
    unsigned bits = 0;

    if (strcmp(text, "-") == 0)
        return 0;
    if (strlen(text) >= sizeof(copy))
        fail("too long a list");
    (void)strcpy(copy, text);
    for (const char *one; (one = strsep(&rest, ","));)
        bits |= 1U << choice(one, names);
    return bits;
}

static enum gw_verdict_mode mode_of(const char *text)
{
    static const char *const names[] = {"none", "isolate", "remediate", "observe", NULL};

    return (enum gw_verdict_mode)choice(text, names);
}

/* ---- what holds for an address ---- */

static struct judged *judged(const struct gw_hwaddr *a)
{
    for (size_t i = 0; i < judged_count; i++) {
        if (memcmp(&all[i].address, a, sizeof(*a)) == 0)
            return &all[i];
    }
    if (judged_count == JUDGED_MAX)
        fail("too many addresses");
    all[judged_count] = (struct judged){.address = *a};
    return &all[judged_count++];
}

static int judge_now(const struct judged *j)
{
    struct gw_verdict_record r = {
        .address = j->address,
        .mode = (uint8_t)j->judgement.mode,
        .policy = j->judgement.policy,
        .bound = j->judgement.bound,
        .until_wall_ms = j->judgement.until_wall_ms,
    };

    return gw_verdict_set(&k, &r, 1);
}

static int64_t end_of(const char *text)
{
    char *rest;
    double seconds = strtod(text, &rest);

    if (rest == text || *rest || !isfinite(seconds) || fabs(seconds) > 1e9)
        fail("not a number of seconds");
    return gw_clock_wall_ms() + (int64_t)(seconds * 1000);
}

static void do_verdict(struct words *w)
{
    struct gw_hwaddr a = address_of(word(w));
    struct judged *j = judged(&a);

    j->judgement.mode = mode_of(word(w));
    j->judgement.until_wall_ms = more(w) ? end_of(word(w)) : 0;
    answer(judge_now(j));
}

static void do_unknown(struct words *w)
{
    gw_kernel_unknown(&k, mode_of(word(w)));
    answer(0);
}

/* All that is left of the line. */
static size_t addresses(struct words *w, struct gw_hwaddr *out)
{
    size_t count = 0;

    while (more(w))
        out[count++] = address_of(word(w));
    return count;
}

static void do_ours(struct words *w)
{
    struct gw_hwaddr own[WORDS_MAX];
    size_t count = addresses(w, own);

    for (size_t i = 0; i < count; i++)
        (void)judged(&own[i]); /* to be forgotten by a reset, with the slot that it may get */
    answer(gw_kernel_flag(&k, CORDON_OWN, &(const struct gw_addresses){own, count, 0}));
}

static void do_locals(struct words *w)
{
    struct gw_hwaddr nets[WORDS_MAX];

    size_t count = addresses(w, nets);

    answer(gw_kernel_locals(&k, &(const struct gw_addresses){nets, count, 0}));
}

/* ---- who is known ---- */

static int slot_for(const struct gw_hwaddr *a)
{
    uint32_t slot;

    (void)judged(a); /* to be forgotten by a reset */
    if (gw_table_find(&k.table, a) != GW_SLOT_NONE)
        return 0;
    return gw_table_add(&k.table, a, false, gw_clock_mono_ms() * 1000000ULL, &slot);
}

static int run(enum program where, const uint8_t *bytes, size_t len, uint32_t *out)
{
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bytes, .data_size_in = (uint32_t)len);
    int err = bpf_prog_test_run_opts(program_fd(&k, where), &opts);

    *out = opts.retval;
    return err;
}

/* So that both were seen just now. */
static void hear(const struct gw_hwaddr *mac, const struct gw_hwaddr *ip)
{
    struct frame f = {0};
    uint32_t verdict;
    bool four = ip->kind == GW_ADDR_IPV4;

    eth(&f, NOBODY, NOBODY, four ? 0x800 : 0x86dd);
    memcpy(f.bytes + 6, mac->bytes, 6);
    if (four)
        ipv4(&f, NOBODY, NOBODY, 253); /* RFC 3692: nobody's protocol */
    else
        ipv6(&f, NOBODY, NOBODY, 253);
    memcpy(f.bytes + (four ? 14 + 12 : 14 + 8), ip->bytes, four ? 4 : 16);
    if (run(AT_XDP, f.bytes, f.len, &verdict) != 0)
        fail("BPF_PROG_TEST_RUN");
}

static int known_to_use(const struct gw_hwaddr *mac, const struct gw_hwaddr *ip)
{
    int err = slot_for(ip);

    if (err)
        return err;
    hear(mac, ip);
    /* The programs told that lately, perhaps, when the slot was another. */
    k.table.slots[gw_table_find(&k.table, ip)].owner =
        k.table.slots[gw_table_find(&k.table, mac)].self;
    return 0;
}

static void do_known(struct words *w)
{
    struct gw_hwaddr mac = address_of(word(w));
    int err = slot_for(&mac);

    if (mac.kind != GW_ADDR_MAC)
        fail("not a MAC");
    while (!err && more(w)) {
        struct gw_hwaddr ip = address_of(word(w));

        if (ip.kind == GW_ADDR_MAC)
            fail("not an IP address");
        err = known_to_use(&mac, &ip);
    }
    answer(err);
}

static void do_counters(struct words *w)
{
    struct gw_hwaddr a = address_of(word(w));
    uint32_t slot = gw_table_find(&k.table, &a);
    struct gw_traffic t;

    if (slot == GW_SLOT_NONE) {
        (void)puts("none");
        return;
    }
    gw_table_traffic(&k.table, slot, &t);
    (void)printf("%lu %lu %lu %lu %lu %lu\n", t.rx_packets, t.rx_bytes, t.tx_packets, t.tx_bytes,
                 t.dropped_packets, t.dropped_bytes);
}

static void do_dropped(struct words *w)
{
    struct gw_traffic t;

    (void)w;
    gw_table_port(&k.table, PORT, &t);
    (void)printf("%lu %lu\n", t.dropped_packets, t.dropped_bytes);
}

static void end_policies(void)
{
    for (uint16_t i = 1; i < POLICIES_MAX; i++) {
        if (begun & 1ULL << i)
            gw_policy_end(&k, i);
    }
    begun = 0;
}

static void forget(struct judged *j)
{
    uint32_t slot;

    j->judgement = (struct gw_judgement){0};
    if (judge_now(j) != 0)
        fail("cannot be released");
    slot = gw_table_find(&k.table, &j->address);
    if (slot != GW_SLOT_NONE)
        gw_table_remove(&k.table, slot);
}

static void do_reset(struct words *w)
{
    const struct gw_addresses none = {0};

    (void)w;
    end_policies();
    gw_kernel_unknown(&k, GW_MODE_NONE);
    if (gw_kernel_locals(&k, &none) != 0 || gw_kernel_flag(&k, CORDON_OWN, &none) != 0)
        fail("cannot be forgotten");
    for (size_t i = 0; i < judged_count; i++)
        forget(&all[i]);
    judged_count = 0;
    answer(0);
}

/* ---- frames ---- */

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t len = strlen(hex) / 2;

    if (strlen(hex) % 2 || len > FRAME_MAX)
        fail("an odd number of digits, or too long a frame");
    for (size_t i = 0; i < len; i++) {
        int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);

        if (high < 0 || low < 0)
            fail("not a hex digit");
        out[i] = (uint8_t)(high << 4 | low);
    }
    return len;
}

/* Only as much of the frame as can_run() looks at. */
static bool runnable(enum program where, const uint8_t *bytes, size_t len)
{
    struct frame head = {.len = len};

    if (len < 14) /* not even XDP */
        return false;
    memcpy(head.bytes, bytes, 14);
    return can_run(where, &head);
}

static const char *meaning(enum program where, uint32_t verdict)
{
    if (where == AT_XDP ? verdict == XDP_PASS : verdict == TCX_NEXT)
        return "pass";
    if (where == AT_XDP ? verdict == XDP_DROP : verdict == TC_DROP)
        return "drop";
    fail("a verdict that is neither pass nor drop");
}

static void do_frame(struct words *w)
{
    static const char *const names[] = {"xdp", "in", "out", NULL};
    static uint8_t bytes[FRAME_MAX];
    enum program where = (enum program)choice(word(w), names);
    size_t len = from_hex(word(w), bytes);
    uint32_t verdict;

    if (!runnable(where, bytes, len)) {
        (void)puts("skip");
        return;
    }
    if (run(where, bytes, len, &verdict) == 0)
        (void)puts(meaning(where, verdict));
    else if (errno == EINVAL && len > 3000 && where != AT_XDP) /* larger than one page */
        (void)puts("skip");
    else
        fail(strerror(errno));
}

/* ---- policies ---- */

static const char *const flag_names[] = {"learn", "report", "enforce", NULL};
static const char *const class_names[] = {"any", "local", "gateway", NULL};

/* The one being described, until `commit`. */
static struct gw_policy policy;
static struct gw_policy_peer peers[GW_POLICY_PEERS_MAX];

static struct gw_policy *open_policy(void)
{
    if (policy.number == 0)
        fail("no policy was begun");
    return &policy;
}

static void do_policy(struct words *w)
{
    policy = (struct gw_policy){
        .number = (uint16_t)number(word(w), 10, POLICIES_MAX - 1),
        .peers = peers,
    };
    policy.flags = choices(word(w), flag_names); /* in the order of enum gw_policy_flag's bits */
    policy.packets_per_s = (uint32_t)number(word(w), 10, UINT32_MAX);
    policy.bytes_per_s = number(word(w), 10, UINT64_MAX);
    (void)open_policy();
    answer(0);
}

static uint8_t family_of(const char *text)
{
    static const char *const names[] = {"0", "4", "6", NULL};
    static const uint8_t families[] = {0, GW_ADDR_IPV4, GW_ADDR_IPV6};

    return families[choice(text, names)];
}

static void range(char *text, uint16_t *out_min, uint16_t *out_max)
{
    char *dash = strchr(text, '-');

    if (!dash)
        fail("not MIN-MAX");
    *dash = 0;
    *out_min = (uint16_t)number(text, 10, UINT16_MAX);
    *out_max = (uint16_t)number(dash + 1, 10, UINT16_MAX);
    if (*out_min > *out_max)
        fail("a range that is empty");
}

static void do_rule(struct words *w)
{
    static const char *const directions[] = {"from", "to", NULL};
    struct gw_policy *p = open_policy();
    struct gw_policy_rule *r = &p->rules[p->rule_count];
    uint64_t bit = 1ULL << p->rule_count;
    unsigned classes;

    if (p->rule_count == GW_POLICY_RULES_MAX)
        fail("too many rules");
    *r = (struct gw_policy_rule){.direction = (uint8_t)choice(word(w), directions)};
    r->family = family_of(word(w));
    r->protocol = (uint8_t)number(word(w), 10, UINT8_MAX);
    range(word(w), &r->own_min, &r->own_max);
    range(word(w), &r->peer_min, &r->peer_max);
    classes = choices(word(w), class_names);
    r->no_open = option(w, "no-open");
    p->any |= classes & 1 ? bit : 0;
    p->local |= classes & 2 ? bit : 0;
    p->gateway |= classes & 4 ? bit : 0;
    p->rule_count++;
    answer(0);
}

static void do_peer(struct words *w)
{
    struct gw_policy *p = open_policy();

    if (p->peer_count == GW_POLICY_PEERS_MAX)
        fail("too many peers");
    peers[p->peer_count].address = address_of(word(w));
    peers[p->peer_count].rules = number(word(w), 16, UINT64_MAX);
    p->peer_count++;
    answer(0);
}

static void do_commit(struct words *w)
{
    (void)w;
    answer(gw_policy_set(&k, open_policy(), 1));
    begun |= 1ULL << policy.number;
    policy.number = 0;
}

static void do_bind(struct words *w)
{
    struct gw_hwaddr a = address_of(word(w));
    struct judged *j = judged(&a);

    j->judgement.bound = true;
    answer(judge_now(j));
}

static void do_attach(struct words *w)
{
    struct gw_hwaddr a = address_of(word(w));
    struct judged *j = judged(&a);

    j->judgement.policy = (uint16_t)number(word(w), 10, POLICIES_MAX - 1);
    j->judgement.bound |= option(w, "bound");
    answer(judge_now(j));
}

static const struct command {
    const char *name;
    void (*run)(struct words *w);
} commands[] = {
    {"unknown", do_unknown},   {"ours", do_ours},       {"locals", do_locals}, {"known", do_known},
    {"verdict", do_verdict},   {"bind", do_bind},       {"policy", do_policy}, {"rule", do_rule},
    {"peer", do_peer},         {"commit", do_commit},   {"attach", do_attach}, {"frame", do_frame},
    {"counters", do_counters}, {"dropped", do_dropped}, {"reset", do_reset},
};

static void obey(char *line)
{
    struct words w = split(line);
    const char *name = word(&w);

    for (size_t i = 0; i < GW_COUNT(commands); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        commands[i].run(&w);
        if (more(&w))
            fail("more than there may be");
        return;
    }
    fail("an unknown command");
}

int main(void)
{
    static char line[2 * FRAME_MAX + 64], said[sizeof(line)];

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    harness_open(&k, SLOTS);
    line_text = said;
    while (fgets(line, sizeof(line), stdin)) {
        if (!strchr(line, '\n'))
            fail("a line that is too long or does not end");
        (void)strcpy(said, line);
        said[strcspn(said, "\n")] = 0;
        obey(line);
    }
    gw_kernel_close(&k);
    return 0;
}
