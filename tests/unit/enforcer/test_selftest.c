/* SPDX-License-Identifier: GPL-2.0-only */
/* The self-test's rows and frames: each is what its name says, and none is without effect. */
#include <criterion/criterion.h>
#include <linux/if_ether.h>

#include "enforcer/selftest.h"

static struct gw_cast cast(void)
{
    struct gw_cast c = {0};

    cr_assert_eq(gw_cast_draw(&c), 0);
    return c;
}

static bool has(const struct gw_probe *p, const void *bytes, size_t len)
{
    return memmem(p->bytes, p->len, bytes, len) != NULL;
}

Test(selftest, draws_addresses_that_nobody_has)
{
    struct gw_cast a = cast(), b = cast();

    for (unsigned who = 0; who < GW_WHO_ALL; who++) {
        cr_expect_eq(a.mac[who][0] & 3, 2, "local, one station: %u", who);
        cr_expect_eq(memcmp(a.ipv4[who], "\xc0\0\2", 3), 0, "RFC 5737: %u", who);
        cr_expect_eq(memcmp(a.ipv6[who], "\x20\1\x0d\xb8", 4), 0, "RFC 3849: %u", who);
        for (unsigned other = 0; other < who; other++) {
            cr_expect_neq(memcmp(a.ipv4[who], a.ipv4[other], 4), 0, "%u %u", who, other);
            cr_expect_neq(memcmp(a.ipv6[who], a.ipv6[other], 16), 0, "%u %u", who, other);
        }
    }
    cr_expect_neq(memcmp(a.mac[GW_WHO_BAD], b.mac[GW_WHO_BAD], 6), 0, "each time others");
    cr_expect_eq(memcmp(a.mac[GW_WHO_BAD4], a.mac[GW_WHO_KNOWN], 6), 0,
                 "what is judged by address alone has a MAC that is let through");
    cr_expect_neq(memcmp(a.mac[GW_WHO_BAD], a.mac[GW_WHO_KNOWN], 6), 0);
}

Test(selftest, the_ipv4_prefix_holds_nobody_else)
{
    for (int i = 0; i < 300; i++) {
        struct gw_cast c = cast();

        for (unsigned who = 0; who < GW_WHO_ALL; who++)
            cr_expect(who == GW_WHO_NET4 || c.ipv4[who][3] / 4 != c.ipv4[GW_WHO_NET4][3] / 4,
                      "%u: .%u and .%u", who, c.ipv4[who][3], c.ipv4[GW_WHO_NET4][3]);
    }
}

/* Every row names what it must, fits, and is known again by its mark. */
static void check_rows(bool egress, const struct gw_cast *c)
{
    uint32_t sequence = 7;

    for (const struct gw_check_row *row = gw_checks(egress); row->name; row++) {
        struct gw_check check;
        struct gw_probe p;

        cr_expect_lt(strlen(row->name), sizeof(check.name), "%s", row->name);
        cr_expect_eq(row->layers[0].part, GW_PART_LINK, "%s", row->name);
        cr_expect_eq(row->layers[GW_LAYERS_MAX - 1].part, GW_PART_END, "%s", row->name);
        gw_probe_build(&p, c, row->layers, ++sequence);
        cr_expect_geq(p.len, ETH_HLEN + GW_MARK_BYTES, "%s", row->name);
        cr_expect_lt(p.len, sizeof(p.bytes), "%s fits", row->name);
        cr_expect_eq(gw_probe_sequence(c, p.bytes, p.len), sequence, "%s", row->name);
        for (const struct gw_check_row *other = gw_checks(egress); other != row; other++)
            cr_expect_str_neq(row->name, other->name);
    }
}

Test(selftest, rows_fit_and_are_known_again)
{
    struct gw_cast c = cast();

    check_rows(false, &c);
    check_rows(true, &c);
}

/* A row that expects a drop has somebody in it who is cut off: nothing else could drop it. */
static bool has_bad(const struct gw_cast *c, const struct gw_probe *p)
{
    static const enum gw_who by_mac[] = {GW_WHO_BAD, GW_WHO_FIXABLE, GW_WHO_LIMITED, GW_WHO_LEAVER,
                                         GW_WHO_CONFINED};
    static const enum gw_who by_ip[] = {GW_WHO_BAD4, GW_WHO_BAD6,  GW_WHO_NET4,
                                        GW_WHO_NET6, GW_WHO_OWNER, GW_WHO_SELF};

    for (size_t i = 0; i < GW_COUNT(by_mac); i++)
        if (has(p, c->mac[by_mac[i]], 6))
            return true;
    for (size_t i = 0; i < GW_COUNT(by_ip); i++)
        if (has(p, c->ipv4[by_ip[i]], 4) || has(p, c->ipv6[by_ip[i]], 16))
            return true;
    return false;
}

Test(selftest, whoever_is_to_be_dropped_is_in_the_frame)
{
    struct gw_cast c = cast();
    size_t drops = 0, passes = 0;

    for (int egress = 0; egress < 2; egress++)
        for (const struct gw_check_row *row = gw_checks(egress); row->name; row++) {
            struct gw_probe p;

            gw_probe_build(&p, &c, row->layers, 1);
            if (row->want == GW_WANT_DROP)
                cr_expect(has_bad(&c, &p), "%s", row->name);
            drops += row->want == GW_WANT_DROP;
            passes += row->want == GW_WANT_PASS;
        }
    cr_expect_gt(drops, 30);
    cr_expect_gt(passes, 10);
}

Test(selftest, the_frame_that_decides_passes_in_every_mode)
{
    struct gw_cast c = cast();

    for (int egress = 0; egress < 2; egress++) {
        struct gw_probe p;

        cr_expect_eq(gw_checks(egress)[0].want, GW_WANT_PASS);
        gw_probe_build(&p, &c, gw_check_sentinel(egress), 1);
        cr_expect(!has_bad(&c, &p));
        cr_expect(has(&p, c.mac[GW_WHO_KNOWN], 6), "known: also where unknown ones are cut off");
    }
}

Test(selftest, an_unknown_device_is_expected_as_configured)
{
    const struct gw_check_row unknown = {"", GW_WANT_UNKNOWN, 0, {{0}}};
    const struct gw_check_row drop = {"", GW_WANT_DROP, 0, {{0}}};
    const struct gw_check_row pass = {"", GW_WANT_PASS, 0, {{0}}};
    struct gw_cast c = {.unknown_passes = true};

    cr_expect(gw_check_passes(&unknown, &c) && gw_check_passes(&pass, &c));
    cr_expect(!gw_check_passes(&drop, &c));
    c.unknown_passes = false;
    cr_expect(!gw_check_passes(&unknown, &c) && gw_check_passes(&pass, &c));
}

Test(selftest, builds_layers_byte_by_byte)
{
    static const struct gw_layer tagged[] = {{GW_PART_LINK, GW_WHO_KNOWN, GW_WHO_ROUTER, 0, 0},
                                             {GW_PART_TAG, 0, 0, ETH_P_8021AD, 0},
                                             {GW_PART_TAG, 0, 0, ETH_P_8021Q, 0},
                                             {GW_PART_IPV6, GW_WHO_BAD6, GW_WHO_ROUTER, 0, 0},
                                             {GW_PART_UDP, 0, 0, 546, 547},
                                             {0}};
    static const struct gw_layer llc[] = {
        {GW_PART_LINK, GW_WHO_BAD, GW_WHO_ALL, 0, 0}, {GW_PART_LLC, 0, 0, 0, 0}, {0}};
    struct gw_cast c = cast();
    struct gw_probe p;

    gw_probe_build(&p, &c, tagged, 1);
    cr_expect_eq(p.len, 14 + 4 + 4 + 40 + 8 + GW_MARK_BYTES);
    cr_expect_eq(memcmp(p.bytes + 12, "\x88\xa8\1\x23\x81\0\1\x23\x86\xdd\x60", 11), 0);
    cr_expect_eq(memcmp(p.bytes + 22 + 4, "\0\x10\x11\xff", 4), 0, "16 bytes of UDP follow");
    cr_expect_eq(memcmp(p.bytes + 22 + 8, c.ipv6[GW_WHO_BAD6], 16), 0);
    cr_expect_eq(memcmp(p.bytes + 62, "\2\x22\2\x23\0\x10", 6), 0, "ports and length");
    gw_probe_build(&p, &c, llc, 1);
    cr_expect_eq(memcmp(p.bytes + 12, "\0\x0b\x42\x42\3", 5), 0, "a length, not an EtherType");
}

Test(selftest, knows_its_frames_from_others)
{
    struct gw_cast c = cast(), other = cast();
    struct gw_probe p;

    gw_probe_build(&p, &c, gw_check_sentinel(false), 42);
    cr_expect_eq(gw_probe_sequence(&c, p.bytes, p.len), 42);
    cr_expect_eq(gw_probe_sequence(&c, p.bytes + 4, p.len - 4), 42, "a tag was taken off");
    cr_expect_eq(gw_probe_sequence(&other, p.bytes, p.len), 0, "another test's");
    cr_expect_eq(gw_probe_sequence(&c, p.bytes, p.len - 1), 0, "cut off");
    cr_expect_eq(gw_probe_sequence(&c, p.bytes, GW_MARK_BYTES - 1), 0);
}
