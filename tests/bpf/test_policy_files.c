/* SPDX-License-Identifier: GPL-2.0-only */
/* Policies as bytes, and their copy on disk. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/own.h"
#include "enforcer/kept.h"
#include "policies.h"

TestSuite(policy_files, .init = policies_setup, .fini = policies_teardown);

/* ---- as bytes ---- */

struct file {
    struct gw_note_policy head;
    struct gw_policy_peer peers[2];
};

static struct file sound(void)
{
    struct file f = {
        .head = {.number = 3,
                 .flags = GW_POLICY_LEARN | GW_POLICY_ENFORCE,
                 .packets_per_s = 100,
                 .rule_count = 2,
                 .peer_count = 2,
                 .bytes_per_s = 100000,
                 .any = 1,
                 .local = 2,
                 .gateway = 3},
        .peers = {{address(HERE), 1}, {address("2a00::/16"), 3}},
    };

    f.head.rules[0] = (struct gw_policy_rule){FROM, TCP, 0, 1, ANY, 80, 443};
    f.head.rules[1] = (struct gw_policy_rule){TO, UDP, GW_ADDR_IPV6, 0, 5, 6, ANY};
    return f;
}

#define FIELD(field) offsetof(struct file, field), sizeof(((struct file *)0)->field)

/* One field of a sound file gets another value. */
static const struct {
    const char *name;
    size_t at, len;
    uint64_t value;
    int err;
} damages[] = {
    {"the highest number", FIELD(head.number), GW_POLICIES_MAX, 0},
    {"no number", FIELD(head.number), 0, GW_EMALFORMED},
    {"a number too high", FIELD(head.number), GW_POLICIES_MAX + 1, GW_EMALFORMED},
    {"a number far too high", FIELD(head.number), 1 << 16 | 3, GW_EMALFORMED},
    {"an unknown flag", FIELD(head.flags), 8, GW_EMALFORMED},
    {"a high unknown flag", FIELD(head.flags), 1U << 31, GW_EMALFORMED},
    {"too many rules", FIELD(head.rule_count), GW_POLICY_RULES_MAX + 1, GW_EMALFORMED},
    {"far too many rules", FIELD(head.rule_count), UINT32_MAX, GW_EMALFORMED},
    {"a peer more than there are", FIELD(head.peer_count), 3, GW_EMALFORMED},
    {"a peer less than there are", FIELD(head.peer_count), 1, GW_EMALFORMED},
    {"too many peers", FIELD(head.peer_count), GW_POLICY_PEERS_MAX + 1, GW_EMALFORMED},
    {"peers whose size wraps", FIELD(head.peer_count), (1U << 31) + 2, GW_EMALFORMED},
    {"bytes too many to count", FIELD(head.bytes_per_s), UINT64_MAX, GW_EMALFORMED},
    {"anybody, for a rule that is not", FIELD(head.any), 4, GW_EMALFORMED},
    {"local, for a rule that is not", FIELD(head.local), 1ULL << 63, GW_EMALFORMED},
    {"the gateway, for a rule that is not", FIELD(head.gateway), 4, GW_EMALFORMED},
    {"a direction that is none", FIELD(head.rules[1].direction), 2, GW_EMALFORMED},
    {"a family that is none", FIELD(head.rules[1].family), 4, GW_EMALFORMED},
    {"MAC as a family", FIELD(head.rules[1].family), GW_ADDR_MAC, GW_EMALFORMED},
    {"no_open neither 0 nor 1", FIELD(head.rules[1].no_open), 2, GW_EMALFORMED},
    {"own ports in reverse", FIELD(head.rules[1].own_max), 4, GW_EMALFORMED},
    {"its peer's ports in reverse", FIELD(head.rules[0].peer_min), 444, GW_EMALFORMED},
    {"a direction of a rule that is not there", FIELD(head.rules[2].direction), 2, 0},
    {"a peer that is a MAC", FIELD(peers[0].address.kind), GW_ADDR_MAC, GW_EMALFORMED},
    {"a peer of no kind", FIELD(peers[0].address.kind), 0, GW_EMALFORMED},
    {"a peer of an unknown kind", FIELD(peers[0].address.kind), 4, GW_EMALFORMED},
    {"a prefix too long", FIELD(peers[0].address.prefix_len), 33, GW_EMALFORMED},
    {"bits behind a prefix", FIELD(peers[1].address.bytes[15]), 1, GW_EMALFORMED},
    {"bytes behind an IPv4 address", FIELD(peers[0].address.bytes[4]), 1, GW_EMALFORMED},
    {"padding", FIELD(peers[0].address.pad[0]), 1, GW_EMALFORMED},
    {"a peer for a rule that is not", FIELD(peers[1].rules), 4, GW_EMALFORMED},
};

static void put(void *at, size_t len, uint64_t value)
{
    uint8_t one = (uint8_t)value;
    uint16_t two = (uint16_t)value;
    uint32_t four = (uint32_t)value;

    memcpy(at,
           len == 1   ? (void *)&one
           : len == 2 ? (void *)&two
           : len == 4 ? (void *)&four
                      : &value,
           len);
}

Test(policy_files, malformed_ones_are_refused)
{
    for (size_t i = 0; i < GW_COUNT(damages); i++) {
        struct file f = sound();
        struct gw_policy p;

        cr_assert_eq(gw_policy_decode(GW_SLICE(&f, sizeof(f)), &p), 0);
        put((uint8_t *)&f + damages[i].at, damages[i].len, damages[i].value);
        cr_expect_eq(gw_policy_decode(GW_SLICE(&f, sizeof(f)), &p), damages[i].err, "%s",
                     damages[i].name);
    }
}

Test(policy_files, a_file_of_another_length_is_refused)
{
    for (size_t len = 0; len < sizeof(struct file); len++) {
        struct file f = sound();
        uint8_t *cut = malloc(len + 1); /* so that reading on is noticed */
        struct gw_policy p;

        cr_assert_not_null(cut);
        memcpy(cut, &f, len);
        cr_expect_eq(gw_policy_decode(GW_SLICE(cut, len), &p), GW_EMALFORMED, "%zu", len);
        free(cut);
    }
    struct {
        struct file file;
        uint8_t more[8];
    } longer = {sound(), {0}};
    struct gw_policy p;

    cr_expect_eq(gw_policy_decode(GW_SLICE(&longer, sizeof(longer)), &p), GW_EMALFORMED);
}

Test(policy_files, what_is_decoded_is_what_was_encoded)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf out = {.max = 1 << 20};
    struct file f = sound();
    struct gw_policy p;

    cr_assert_eq(gw_policy_decode(GW_SLICE(&f, sizeof(f)), &p), 0);
    cr_assert_eq(gw_policy_encode(&p, &out), 0);
    cr_assert_eq(gw_buf_len(&out), sizeof(f));
    cr_expect_eq(memcmp(gw_buf_slice(&out).ptr, &f, sizeof(f)), 0);
    p.rule_count = GW_POLICY_RULES_MAX + 1;
    cr_expect_eq(gw_policy_encode(&p, &out), GW_EFULL);
    p.rule_count = 0;
    p.peer_count = GW_POLICY_PEERS_MAX + 1;
    cr_expect_eq(gw_policy_encode(&p, &out), GW_EFULL);
}

Test(policy_files, a_malformed_one_does_not_replace)
{
    struct packet packet = {IN, HERE, UDP, 9, 9, 0};
    struct gw_policy p = closed(1), bad = {.number = 1, .any = 1};

    set(&p);
    give_device(1, GW_MODE_NONE);
    cr_expect_eq(gw_policy_set(&k, &bad, 1), GW_EMALFORMED);
    bad = (struct gw_policy){.number = 0};
    cr_expect_eq(gw_policy_set(&k, &bad, 1), GW_EMALFORMED);
    cr_expect_not(passes_as(&packet));
}

/* ---- the copy on disk ---- */

static char dir[] = "/tmp/cordon-policies-XXXXXX";
static char path[64];

static void remove_files(void)
{
    (void)unlink(path);
    (void)rmdir(dir);
    policies_teardown();
}

static void setup_files(void)
{
    policies_setup();
    cr_assert_not_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/policies", dir);
}

TestSuite(kept_policies, .init = setup_files, .fini = remove_files);

static size_t read_file(uint8_t *to, size_t max)
{
    GW_CLEANUP(gw_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, to, max);

    cr_assert_geq(len, 0);
    return (size_t)len;
}

static void write_file(const uint8_t *bytes, size_t len)
{
    GW_CLEANUP(gw_close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
}

static void set_sound(uint16_t number)
{
    struct file f = sound();
    struct gw_policy p;

    f.head.number = number;
    f.head.any = f.head.local = f.head.gateway = 0;
    f.head.packets_per_s = 0;
    f.head.bytes_per_s = 1000000 + number;
    cr_assert_eq(gw_policy_decode(GW_SLICE(&f, sizeof(f)), &p), 0);
    set(&p);
}

static void reopen(void)
{
    policies_teardown();
    policies_setup();
}

static void expect_sound(const char *name)
{
    cr_expect(passes_as(&(struct packet){IN, HERE, TCP, 9, 80, ACK}), "%s", name);
    cr_expect_not(passes_as(&(struct packet){IN, HERE, TCP, 9, 80, SYN}), "%s", name);
    cr_expect_not(passes_as(&(struct packet){IN, HERE, TCP, 9, 79, ACK}), "%s", name);
    cr_expect_not(passes_as(&(struct packet){IN, "198.51.100.8", TCP, 9, 80, ACK}), "%s", name);
    cr_expect(passes_as(&(struct packet){OUT, "2a00:9::1", UDP, 5, 9, 0}), "%s", name);
    cr_expect_not(passes_as(&(struct packet){OUT, "2a01:9::1", UDP, 5, 9, 0}), "%s", name);
}

Test(kept_policies, come_back)
{
    static uint8_t before[65536], after[65536];
    struct gw_policy limit = {.number = 7, .packets_per_s = 3};
    size_t len;

    set_sound(1);
    set_sound(2);
    set_sound(4);
    gw_policy_end(&k, 4);
    set(&limit);
    give_device(2, GW_MODE_NONE);
    expect_sound("before");
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    len = read_file(before, sizeof(before));
    reopen();
    cr_assert_eq(gw_policy_load(&k, dir, 5), 3);
    for (uint16_t number = 1; number <= 2; number++) {
        give_device(number, GW_MODE_NONE);
        expect_sound("loaded");
    }
    give_device(7, GW_MODE_NONE);
    repeat(&(struct packet){IN, HERE, UDP, 9, 9, 0}, 3);
    cr_expect_not(passes_as(&(struct packet){IN, HERE, UDP, 9, 9, 0}));
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    cr_expect_eq(read_file(after, sizeof(after)), len);
    cr_expect_eq(memcmp(before, after, len), 0);
    cr_expect_eq(gw_policy_sweep(&k, 5), 0, "all are of that generation");
    cr_expect_eq(gw_policy_sweep(&k, 6), 3);
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 6), 0, "none are left");
}

Test(kept_policies, a_damaged_file_is_refused)
{
    static uint8_t bytes[65536];
    size_t len;

    set_sound(1);
    set_sound(2);
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    len = read_file(bytes, sizeof(bytes));
    reopen();
    give_device(1, GW_MODE_NONE);
    for (size_t at = 0; at < len; at += at < 24 ? 1 : 37) {
        bytes[at] ^= 0x10;
        write_file(bytes, len);
        cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EMALFORMED, "byte %zu", at);
        bytes[at] ^= 0x10;
    }
    for (size_t cut = 0; cut < len; cut += 41) {
        write_file(bytes, cut);
        cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EMALFORMED, "cut at %zu", cut);
    }
    write_file(bytes, len);
    cr_expect_eq(gw_policy_load(&k, dir, 1), 2, "sound");
    expect_sound("sound");
}

/* Whole, but not what was written: as another version, or another program, would. */
Test(kept_policies, a_foreign_file_is_refused)
{
    static const struct {
        const char *name, *magic;
        uint64_t count;
        uint32_t len; /* as it says in front of the policy */
        uint32_t number;
        int result;
    } rows[] = {
        {"ours", "CORDONp1", 1, sizeof(struct file), 3, 1},
        {"of another form", "CORDONp0", 1, sizeof(struct file), 3, GW_EMALFORMED},
        {"of verdicts", "CORDONv3", 1, sizeof(struct file), 3, GW_EMALFORMED},
        {"with more than there are", "CORDONp1", 2, sizeof(struct file), 3, GW_EMALFORMED},
        {"with fewer than there are", "CORDONp1", 0, sizeof(struct file), 3, GW_EMALFORMED},
        {"with far more", "CORDONp1", UINT64_MAX, sizeof(struct file), 3, GW_EMALFORMED},
        {"longer than it is", "CORDONp1", 1, sizeof(struct file) + 1, 3, GW_EMALFORMED},
        {"longer than anything", "CORDONp1", 1, UINT32_MAX, 3, GW_EMALFORMED},
        {"shorter than it is", "CORDONp1", 1, sizeof(struct file) - 1, 3, GW_EMALFORMED},
        {"of no length", "CORDONp1", 1, 0, 3, GW_EMALFORMED},
        {"without a number", "CORDONp1", 1, sizeof(struct file), 0, GW_EMALFORMED},
    };

    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        struct {
            uint32_t len;
            uint8_t file[sizeof(struct file)];
        } body = {.len = rows[i].len};
        struct file f = sound();

        f.head.number = rows[i].number;
        memcpy(body.file, &f, sizeof(f));
        cr_assert_eq(gw_kept_save(dir, "policies", rows[i].magic, rows[i].count,
                                  GW_SLICE(&body, sizeof(body))),
                     0);
        cr_expect_eq(gw_policy_load(&k, dir, 1), rows[i].result, "%s", rows[i].name);
    }
}

Test(kept_policies, a_file_that_root_did_not_write_is_refused)
{
    char real[80];

    cr_expect_eq(gw_policy_load(&k, dir, 1), -ENOENT);
    set_sound(1);
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    cr_assert_eq(chmod(path, 0620), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EPROTECTED, "writable by a group");
    cr_assert_eq(chmod(path, 0602), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EPROTECTED, "writable by all");
    cr_assert_eq(chmod(path, 0600), 0);
    cr_assert_eq(chown(path, 12345, 0), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EPROTECTED, "another's");
    cr_assert_eq(chown(path, 0, 0), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), 1);
    (void)snprintf(real, sizeof(real), "%s/real", dir);
    cr_assert_eq(rename(path, real), 0);
    cr_assert_eq(symlink(real, path), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EPROTECTED, "a link");
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_expect_eq(gw_policy_load(&k, dir, 1), GW_EPROTECTED, "a directory");
    cr_assert_eq(rmdir(path), 0);
    cr_assert_eq(unlink(real), 0);
}

/* ---- what cannot be read back opens nothing ---- */

/* The device's policy is 1, and one more is kept; `what` is done to the file. */
static void expect_closed_after(void (*what)(void), int result, const char *name)
{
    struct packet web = {IN, HERE, TCP, 9, 80, ACK};

    reopen();
    set_sound(1);
    set_sound(2);
    give_device(1, GW_MODE_NONE);
    cr_assert(passes_as(&web), "%s", name);
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    reopen();
    give_device(1, GW_MODE_NONE);
    what();
    cr_expect_eq(gw_policy_load(&k, dir, 0), result, "%s", name);
    cr_expect_not(passes_as(&web), "%s", name);
    cr_expect_not(passes_as(&(struct packet){OUT, HERE, UDP, 9, 80, 0}), "%s", name);
    set_sound(1);
    cr_expect(passes_as(&web), "%s: the worker said it again", name);
}

static void change(size_t at, uint8_t by)
{
    static uint8_t bytes[65536];
    size_t len = read_file(bytes, sizeof(bytes));

    bytes[at] ^= by;
    write_file(bytes, len);
}

static void damage(void)
{
    change(100, 1);
}

static void give_away(void)
{
    cr_assert_eq(chmod(path, 0666), 0);
}

static void empty(void)
{
    write_file((const uint8_t *)"", 0);
}

static void no_file(void)
{
    cr_assert_eq(unlink(path), 0);
}

/* Sound, but another version knows a flag more of the first one. */
static void newer(void)
{
    static uint8_t bytes[65536];
    size_t len = read_file(bytes, sizeof(bytes)), head = sizeof(struct gw_kept_header);

    bytes[head + 4 + offsetof(struct gw_note_policy, flags)] |= 8;
    cr_assert_eq(gw_kept_save(dir, "policies", "CORDONp1", 2, GW_SLICE(bytes + head, len - head)),
                 0);
}

Test(kept_policies, whoever_has_one_that_cannot_be_read_back_is_closed)
{
    expect_closed_after(damage, GW_EMALFORMED, "damaged");
    expect_closed_after(give_away, GW_EPROTECTED, "writable by all");
    expect_closed_after(empty, GW_EMALFORMED, "empty");
    expect_closed_after(no_file, -ENOENT, "gone");
    expect_closed_after(newer, GW_EMALFORMED, "one that is not understood");
    give_device(2, GW_MODE_NONE);
    expect_sound("the other one is read all the same");
}

Test(kept_policies, the_self_tests_number_is_not_read_back)
{
    set_sound(1);
    set_sound(gw_policy_of_tests(&k));
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    reopen();
    cr_expect_eq(gw_policy_load(&k, dir, 0), GW_EFULL);
    cr_expect(gw_policy_is_set(&k, 1));
    cr_expect_not(gw_policy_is_set(&k, gw_policy_of_tests(&k)));
}

Test(kept_policies, one_that_finds_no_room_is_closed)
{
    static struct gw_policy_peer peers[GW_POLICY_PEERS_MAX];
    struct gw_policy p = closed(1);
    struct packet any = {IN, HERE, TCP, 9, 80, ACK};
    int err = 0;

    for (size_t i = 0; i < GW_COUNT(peers); i++) {
        char text[32];

        (void)snprintf(text, sizeof(text), "11.%zu.%zu.0/24", i >> 8, i & 255);
        peers[i] = (struct gw_policy_peer){address(text), 1};
    }
    add_rule(&p, FROM, 0, 0, 65535);
    p.peers = peers;
    p.peer_count = GW_COUNT(peers);
    set(&p);
    cr_assert_eq(gw_policy_save(&k, dir), 0);
    reopen();
    for (p.number = 2; err == 0 && p.number < k.table.state->policies; p.number++)
        err = gw_policy_set(&k, &p, 1);
    cr_assert_eq(err, GW_EFULL, "the tables are small enough");
    give_device(1, GW_MODE_NONE);
    cr_expect_eq(gw_policy_load(&k, dir, 0), GW_EFULL);
    cr_expect_not(passes_as(&any));
}
