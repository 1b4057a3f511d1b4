/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_test.h"

TestSuite(csr, .init = crypto_setup, .fini = crypto_teardown);

static struct gw_buf make(const char *options)
{
    cr_assert(test_run("openssl req -new -nodes -keyout k.pem -outform DER -out r.der %s", options),
              "%s", options);
    return test_read("r.der");
}

#define P256 "-newkey ec -pkeyopt ec_paramgen_curve:P-256 "

Test(csr, openssls_requests_are_read_or_refused)
{
    static const struct {
        const char *options;
        int want;
        const char *name;
    } cases[] = {
        {P256 "-subj /CN=cam-1", 0, "cam-1"},
        {P256 "-subj /O=Maker/OU=x/CN=cam-2/serialNumber=7", 0, "cam-2"},
        {P256 "-subj / -addext subjectAltName=DNS:x", 0, ""},
        {P256 "-subj /CN=cam-3 -sha384", 0, "cam-3"},
        {P256 "-subj /CN=cam-3 -sha512 -addext extendedKeyUsage=clientAuth", 0, "cam-3"},
        {P256 "-subj /CN=x -sha1", GW_EUNSUPPORTED, ""},
        {"-newkey rsa:2048 -subj /CN=x", GW_EUNSUPPORTED, ""},
        {"-newkey ec -pkeyopt ec_paramgen_curve:P-384 -subj /CN=x", GW_EUNSUPPORTED, ""},
        {"-newkey ed25519 -subj /CN=x", GW_EUNSUPPORTED, ""},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_buf der = make(cases[i].options);
        struct gw_csr csr = {0};
        int got = gw_csr_parse(gw_buf_slice(&der), &csr);

        cr_expect_eq(got, cases[i].want, "%s: got %d", cases[i].options, got);
        cr_expect_str_eq(csr.common_name, cases[i].name, "%s", cases[i].options);
        cr_expect_eq(csr.key != NULL, got == 0);
        gw_csr_fini(&csr);
        gw_buf_fini(&der);
    }
}

Test(csr, every_truncation_and_every_changed_byte_is_refused)
{
    struct gw_buf der = make(P256 "-subj /CN=cam-1");
    struct gw_slice whole = gw_buf_slice(&der);
    struct gw_csr csr = {0};

    for (size_t len = 0; len < whole.len; len++) {
        uint8_t *exact = malloc(len + 1); /* so that reading too far is seen */

        memcpy(exact, whole.ptr, len);
        cr_expect_eq(gw_csr_parse(GW_SLICE(exact, len), &csr), GW_EMALFORMED, "%zu", len);
        free(exact);
    }
    for (size_t i = 0; i < whole.len; i++) {
        der.data[i] ^= 0x21;
        cr_expect_neq(gw_csr_parse(whole, &csr), 0, "byte %zu", i);
        der.data[i] ^= 0x21;
    }
    cr_expect_eq(gw_csr_parse(whole, &csr), 0);
    gw_csr_fini(&csr);
    cr_assert_eq(gw_buf_append(&der, GW_SLICE_LIT("x")), 0);
    cr_expect_eq(gw_csr_parse(gw_buf_slice(&der), &csr), GW_EMALFORMED, "trailing byte");
    gw_buf_fini(&der);
}

Test(csr, a_changed_name_breaks_the_proof)
{
    struct gw_buf der = make(P256 "-subj /CN=cam-1");
    struct gw_csr csr = {0};
    uint8_t *name = memmem(der.data, der.tail, "cam-1", 5);

    cr_assert_not_null(name);
    name[4] = '2';
    cr_expect_eq(gw_csr_parse(gw_buf_slice(&der), &csr), GW_EAUTHTAG);
    name[4] = '\0';
    cr_expect_eq(gw_csr_parse(gw_buf_slice(&der), &csr), GW_EMALFORMED, "a NUL in the name");
    gw_buf_fini(&der);
}

Test(csr, openssl_verifies_ours)
{
    struct gw_buf der = {.max = 4096};
    struct gw_key *k = NULL;
    struct gw_csr csr = {0};

    cr_assert_eq(gw_key_generate(&k), 0);
    cr_assert_eq(gw_csr_make("gw-1", k, &der), 0);
    test_write("ours.der", gw_buf_slice(&der));
    cr_expect(test_run("openssl req -inform DER -in ours.der -noout -verify -subject"));
    cr_expect(test_said("CN = gw-1"));
    cr_assert_eq(gw_csr_parse(gw_buf_slice(&der), &csr), 0);
    cr_expect_str_eq(csr.common_name, "gw-1");
    gw_csr_fini(&csr);
    gw_buf_fini(&der);
    gw_key_free(&k);
}
