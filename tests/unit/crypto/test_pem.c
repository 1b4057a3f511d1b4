/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_test.h"

Test(base64, both_alphabets_come_back)
{
    uint8_t data[200];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + 251);
    for (size_t len = 0; len <= sizeof(data); len++) {
        struct gw_buf text = {.max = 4096}, back = {.max = 4096};

        cr_assert_eq(gw_base64(GW_SLICE(data, len), len % 2, &text), 0);
        cr_assert_eq(gw_unbase64(gw_buf_slice(&text), &back), 0);
        cr_assert(gw_slice_eq(gw_buf_slice(&back), GW_SLICE(data, len)), "%zu", len);
        gw_buf_consume(&text, gw_buf_len(&text));
        gw_buf_consume(&back, gw_buf_len(&back));
        cr_assert_eq(gw_base64url(GW_SLICE(data, len), &text), 0);
        cr_assert_eq(gw_unbase64url(gw_buf_slice(&text), &back), 0);
        cr_assert(gw_slice_eq(gw_buf_slice(&back), GW_SLICE(data, len)), "url %zu", len);
        gw_buf_fini(&text);
        gw_buf_fini(&back);
    }
}

Test(base64, decodes_or_refuses)
{
    static const struct {
        const char *text;
        bool url;
        int want;
        const char *bytes;
    } cases[] = {
        {"Zg==", false, 0, "f"},
        {"Zm8=", false, 0, "fo"},
        {"Zm9v", false, 0, "foo"},
        {" Zm\r\n9v\t", false, 0, "foo"},
        {"", false, 0, ""},
        {"Pz8/", false, 0, "???"},
        {"Pz8_", true, 0, "???"},
        {"Zg", true, 0, "f"},
        {"Zg", false, GW_EMALFORMED, ""},
        {"Zg=", false, GW_EMALFORMED, ""},
        {"Zg===", false, GW_EMALFORMED, ""},
        {"Z", false, GW_EMALFORMED, ""},
        {"=", false, GW_EMALFORMED, ""},
        {"====", false, GW_EMALFORMED, ""},
        {"Zg==Zg==", false, GW_EMALFORMED, ""},
        {"Zh==", false, GW_EMALFORMED, ""}, /* bits that no byte uses */
        {"Zm9=", false, GW_EMALFORMED, ""},
        {"Zm9v!", false, GW_EMALFORMED, ""},
        {"Pz8_", false, GW_EMALFORMED, ""},
        {"Pz8/", true, GW_EMALFORMED, ""},
        {"Zg==", true, GW_EMALFORMED, ""},
        {"Zm 9v", true, GW_EMALFORMED, ""},
        {"Z", true, GW_EMALFORMED, ""},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_buf out = {.max = 64};
        struct gw_slice text = gw_slice_str(cases[i].text);
        int got = cases[i].url ? gw_unbase64url(text, &out) : gw_unbase64(text, &out);

        cr_expect_eq(got, cases[i].want, "%s: got %d", cases[i].text, got);
        cr_expect(gw_slice_eq_str(gw_buf_slice(&out), cases[i].bytes), "%s", cases[i].text);
        gw_buf_fini(&out);
    }
}

Test(base64, a_nul_inside_is_no_character)
{
    struct gw_buf out = {.max = 64};

    cr_expect_eq(gw_unbase64(GW_SLICE_LIT("Zm9\0"), &out), GW_EMALFORMED);
    gw_buf_fini(&out);
}

Test(pem, blocks_are_found_one_after_the_other)
{
    struct gw_buf text = {.max = 4096}, der = {.max = 4096};
    struct gw_slice rest;

    cr_assert_eq(gw_buf_append(&text, GW_SLICE_LIT("subject=x\n")), 0);
    cr_assert_eq(gw_pem_from_der("CERTIFICATE", GW_SLICE_LIT("first"), &text), 0);
    cr_assert_eq(gw_pem_from_der("OTHER", GW_SLICE_LIT("second"), &text), 0);
    cr_assert_eq(gw_pem_from_der("CERTIFICATE", GW_SLICE_LIT("third"), &text), 0);
    rest = gw_buf_slice(&text);
    cr_assert_eq(gw_der_from_pem("CERTIFICATE", rest, &der, &rest), 0);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&der), "first"));
    gw_buf_consume(&der, gw_buf_len(&der));
    cr_assert_eq(gw_der_from_pem("CERTIFICATE", rest, &der, &rest), 0);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&der), "third"));
    cr_expect_eq(gw_der_from_pem("CERTIFICATE", rest, &der, &rest), GW_ENOTFOUND);
    cr_expect_eq(gw_der_from_pem("CERTIFICATE", GW_SLICE_NONE, &der, NULL), GW_ENOTFOUND);
    cr_expect_eq(gw_der_from_pem("A", GW_SLICE_LIT("-----BEGIN A-----\nZm9v\n"), &der, NULL),
                 GW_EMALFORMED);
    cr_expect_eq(
        gw_der_from_pem("A", GW_SLICE_LIT("-----BEGIN A-----\n?\n-----END A-----\n"), &der, NULL),
        GW_EMALFORMED);
    gw_buf_fini(&text);
    gw_buf_fini(&der);
}
