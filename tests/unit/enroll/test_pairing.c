/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <ctype.h>

#include "enroll/enroll_priv.h"

static struct gw_hwaddr host(uint8_t last)
{
    return gw_hwaddr_ipv4((const uint8_t[]){192, 0, 2, last});
}

static enum pairing_answer guess(struct pairing *p, uint64_t now_ms, uint8_t from, const char *code)
{
    struct gw_hwaddr addr = host(from);

    return pairing_try(p, now_ms, &addr, code);
}

Test(pairing, a_code_is_easy_to_read_and_new_each_time)
{
    struct pairing p = {0};
    char first[32], second[32];

    cr_assert_eq(pairing_open(&p, 0, 0, 60, first), 0);
    cr_assert_eq(pairing_open(&p, 0, 0, 60, second), 0);
    cr_expect_str_neq(first, second);
    cr_expect_eq(strlen(first), 9);
    cr_expect_eq(first[4], '-');
    cr_expect_null(strpbrk(first, "IO01"));
    cr_expect_eq(guess(&p, 1, 1, first), PAIRING_WRONG, "the earlier code is void");
    cr_expect_eq(guess(&p, 1, 1, second), PAIRING_RIGHT);
}

Test(pairing, takes_the_code_as_people_type_it)
{
    struct pairing p = {0};
    char code[32], typed[64];
    size_t len = 0;

    cr_assert_eq(pairing_open(&p, 0, 0, 60, code), 0);
    for (const char *c = code; *c; c++) {
        typed[len++] = ' ';
        typed[len++] = (char)tolower(*c);
    }
    typed[len] = '\0';
    cr_expect_eq(guess(&p, 1, 1, typed), PAIRING_RIGHT);
    cr_expect_eq(guess(&p, 2, 2, code), PAIRING_RIGHT, "and serves several devices");
    cr_expect_eq(guess(&p, 3, 1, ""), PAIRING_WRONG);
    code[8] = '\0';
    cr_expect_eq(guess(&p, 3, 1, code), PAIRING_WRONG, "one character short");
    cr_expect_eq(guess(&p, 3, 1, "ABCDEFGHABCDEFGH"), PAIRING_WRONG, "too long");
}

Test(pairing, ends_when_its_time_is_over)
{
    struct pairing p = {0};
    char code[32];

    cr_expect_eq(guess(&p, 0, 1, "ABCD-EFGH"), PAIRING_CLOSED, "never opened");
    cr_assert_eq(pairing_open(&p, 1000, 5000, 60, code), 0);
    cr_expect_eq(p.until_wall_ms, 65000);
    cr_expect_eq(guess(&p, 60999, 1, code), PAIRING_RIGHT);
    cr_expect_eq(guess(&p, 61000, 1, code), PAIRING_CLOSED);
    cr_expect_not(p.open);
    cr_expect_eq(p.code[0], 0, "nothing of the code stays behind");
}

Test(pairing, mutes_one_that_guesses_and_closes_when_many_do)
{
    struct pairing p = {0};
    char code[32];

    cr_assert_eq(pairing_open(&p, 0, 0, 600, code), 0);
    for (int i = 0; i < PAIRING_GUESSES_EACH; i++)
        cr_expect_eq(guess(&p, 1, 1, "WRONGXXX"), PAIRING_WRONG);
    cr_expect_eq(guess(&p, 1, 1, code), PAIRING_MUTED, "even the right code");
    cr_expect_eq(guess(&p, 1, 2, code), PAIRING_RIGHT, "others are not hindered");
    for (int i = PAIRING_GUESSES_EACH; i < PAIRING_GUESSES - 1; i++)
        cr_expect_eq(guess(&p, 1, (uint8_t)(10 + i), "WRONGXXX"), PAIRING_WRONG);
    cr_expect_eq(guess(&p, 1, 3, "WRONGXXX"), PAIRING_SPENT);
    cr_expect_eq(guess(&p, 1, 4, code), PAIRING_CLOSED);
}
