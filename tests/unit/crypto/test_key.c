/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_test.h"

TestSuite(key, .init = crypto_setup, .fini = crypto_teardown);

static struct gw_key *generate(void)
{
    struct gw_key *k = NULL;

    cr_assert_eq(gw_key_generate(&k), 0);
    return k;
}

static void expect_same(const struct gw_key *a, const struct gw_key *b)
{
    uint8_t one[GW_SPKI_BYTES], two[GW_SPKI_BYTES];

    cr_assert_eq(gw_key_spki(a, one), 0);
    cr_assert_eq(gw_key_spki(b, two), 0);
    cr_expect_arr_eq(one, two, sizeof(one));
}

Test(key, comes_back_from_each_of_its_forms)
{
    struct gw_key *k = generate(), *back = NULL;
    struct gw_buf text = {.max = 4096};
    uint8_t spki[GW_SPKI_BYTES], x[32], y[32];

    cr_assert_eq(gw_key_private_pem(k, &text), 0);
    cr_assert_eq(gw_key_from_pem(gw_buf_slice(&text), &back), 0);
    cr_expect(gw_key_is_private(back));
    expect_same(k, back);
    gw_key_free(&back);
    gw_buf_consume(&text, gw_buf_len(&text));

    cr_assert_eq(gw_key_public_pem(k, &text), 0);
    cr_assert_eq(gw_key_from_pem(gw_buf_slice(&text), &back), 0);
    cr_expect_not(gw_key_is_private(back));
    expect_same(k, back);
    gw_buf_consume(&text, gw_buf_len(&text));
    cr_expect_eq(gw_key_private_pem(back, &text), GW_ENOKEY);
    gw_key_free(&back);

    cr_assert_eq(gw_key_spki(k, spki), 0);
    cr_assert_eq(gw_key_from_spki(GW_SLICE(spki, sizeof(spki)), &back), 0);
    expect_same(k, back);
    gw_key_free(&back);

    cr_assert_eq(gw_key_point(k, x, y), 0);
    cr_assert_eq(gw_key_from_point(x, y, &back), 0);
    expect_same(k, back);
    gw_key_free(&back);
    y[31] ^= 1;
    cr_expect_eq(gw_key_from_point(x, y, &back), GW_EMALFORMED);
    memset(x, 0xff, sizeof(x));
    cr_expect_eq(gw_key_from_point(x, y, &back), GW_EMALFORMED);

    for (size_t len = 0; len < sizeof(spki); len++)
        cr_expect_neq(gw_key_from_spki(GW_SLICE(spki, len), &back), 0, "%zu", len);
    gw_buf_fini(&text);
    gw_key_free(&k);
}

Test(key, openssl_reads_ours_and_we_read_openssls)
{
    static const char *const made[] = {
        "openssl ecparam -name prime256v1 -genkey -out k.pem", /* parameters, then SEC1 */
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out k.pem", /* PKCS#8 */
        "openssl ecparam -name prime256v1 -genkey -noout | openssl ec -pubout -out k.pem",
    };
    struct gw_key *k = generate(), *back = NULL;
    struct gw_buf text = {.max = 4096};

    cr_assert_eq(gw_key_private_pem(k, &text), 0);
    test_write("ours.pem", gw_buf_slice(&text));
    cr_assert(test_run("openssl pkey -in ours.pem -check -noout"));
    cr_expect(test_said("Key is valid"));
    cr_assert(test_run("openssl pkey -in ours.pem -pubout -out pub.pem"));
    gw_buf_fini(&text);
    text = test_read("pub.pem");
    cr_assert_eq(gw_key_from_pem(gw_buf_slice(&text), &back), 0);
    expect_same(k, back);
    gw_key_free(&back);
    gw_buf_fini(&text);
    text = (struct gw_buf){.max = 4096};
    cr_assert_eq(gw_key_private_der(k, &text), 0);
    test_write("ours.der", gw_buf_slice(&text));
    cr_expect(test_run("openssl ec -inform DER -in ours.der -check -noout"));
    gw_buf_fini(&text);

    for (size_t i = 0; i < GW_COUNT(made); i++) {
        cr_assert(test_run("%s", made[i]));
        text = test_read("k.pem");
        cr_expect_eq(gw_key_from_pem(gw_buf_slice(&text), &back), 0, "%s", made[i]);
        cr_expect_eq(gw_key_is_private(back), i < 2);
        gw_key_free(&back);
        gw_buf_fini(&text);
    }
    gw_key_free(&k);
}

Test(key, other_kinds_are_refused)
{
    static const struct {
        const char *make;
        int want;
    } cases[] = {
        {"openssl genrsa -out k.pem 1024", GW_EUNSUPPORTED},
        {"openssl ecparam -name secp384r1 -genkey -out k.pem", GW_EUNSUPPORTED},
        {"openssl ecparam -name secp256k1 -genkey -out k.pem", GW_EUNSUPPORTED},
        {"openssl genpkey -algorithm ED25519 -out k.pem", GW_EUNSUPPORTED},
        {"echo nothing | tee k.pem", GW_ENOTFOUND},
        {"(echo -----BEGIN PRIVATE KEY-----; echo MAA=; echo -----END PRIVATE KEY-----) | tee "
         "k.pem",
         GW_EMALFORMED},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_key *k = NULL;
        struct gw_buf text;
        int got;

        cr_assert(test_run("%s", cases[i].make), "%s", cases[i].make);
        text = test_read("k.pem");
        got = gw_key_from_pem(gw_buf_slice(&text), &k);
        cr_expect_eq(got, cases[i].want, "%s: got %d", cases[i].make, got);
        cr_expect_null(k);
        gw_buf_fini(&text);
    }
}

Test(key, a_zero_or_too_large_scalar_is_no_key)
{
    static const uint8_t head[] = "\x30\x31\x02\x01\x01\x04\x20";
    static const uint8_t tail[] = "\xa0\x0a\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    const uint8_t fill[] = {0x00, 0xff};

    for (size_t i = 0; i < 2; i++) {
        struct gw_buf text = {.max = 4096};
        struct gw_key *k = NULL;
        uint8_t der[51];

        memcpy(der, head, 7);
        memset(der + 7, fill[i], 32);
        memcpy(der + 39, tail, 12);
        cr_assert_eq(gw_pem_from_der("EC PRIVATE KEY", GW_SLICE(der, sizeof(der)), &text), 0);
        cr_expect_eq(gw_key_from_pem(gw_buf_slice(&text), &k), GW_EMALFORMED);
        gw_buf_fini(&text);
    }
}

Test(key, signatures_verify_and_changed_ones_do_not)
{
    struct gw_key *k = generate(), *other = generate();
    struct gw_slice data = GW_SLICE_LIT("what is signed");
    uint8_t sig[64];

    for (int i = 0; i < 40; i++) { /* short r and s are padded: about one in 128 */
        cr_assert_eq(gw_ecdsa_sign(k, data, sig), 0);
        cr_assert_eq(gw_ecdsa_verify(k, data, sig), 0);
    }
    cr_expect_eq(gw_ecdsa_verify(other, data, sig), GW_EAUTHTAG);
    cr_expect_eq(gw_ecdsa_verify(k, GW_SLICE_LIT("what is signee"), sig), GW_EAUTHTAG);
    for (size_t i = 0; i < 64; i++) {
        sig[i] ^= 1;
        cr_expect_eq(gw_ecdsa_verify(k, data, sig), GW_EAUTHTAG);
        sig[i] ^= 1;
    }
    memset(sig, 0, sizeof(sig));
    cr_expect_eq(gw_ecdsa_verify(k, data, sig), GW_EAUTHTAG);
    gw_key_free(&k);
    gw_key_free(&other);
}

Test(key, ecdh_is_the_same_from_both_sides_and_needs_a_private_key)
{
    struct gw_key *a = generate(), *b = generate(), *public = NULL;
    uint8_t one[32], two[32], x[32], y[32];

    cr_assert_eq(gw_ecdh(a, b, one), 0);
    cr_assert_eq(gw_key_point(a, x, y), 0);
    cr_assert_eq(gw_key_from_point(x, y, &public), 0);
    cr_assert_eq(gw_ecdh(b, public, two), 0);
    cr_expect_arr_eq(one, two, 32);
    cr_expect_eq(gw_ecdh(public, b, two), GW_ENOKEY);
    cr_expect_eq(gw_ecdsa_sign(public, GW_SLICE_NONE, (uint8_t[64]){0}), GW_ENOKEY);
    gw_key_free(&a);
    gw_key_free(&b);
    gw_key_free(&public);
}
