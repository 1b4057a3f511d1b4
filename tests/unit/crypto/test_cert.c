/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_test.h"

#include <time.h>

TestSuite(cert, .init = crypto_setup, .fini = crypto_teardown);

static const char *const dns[] = {"cordon.local", "gw.example", NULL};
static const struct gw_slice addresses[] = {
    {(const uint8_t *)"\xc0\x00\x02\x01", 4},
    {(const uint8_t *)"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16},
    {NULL, 0},
};

struct pki {
    struct gw_key *ca_key, *key;
    struct gw_buf ca, cert;
};

static void issue(struct pki *p, enum gw_cert_use use, const char *cn, int64_t from_s, int64_t to_s)
{
    struct gw_cert_request ca = {.use = GW_CERT_CA,
                                 .common_name = "Cordon CA",
                                 .organization = "Cordon",
                                 .not_before_s = time(NULL) - 60,
                                 .not_after_s = time(NULL) + 3600};
    struct gw_cert_request leaf = {.use = use,
                                   .common_name = cn,
                                   .dns_names = dns,
                                   .addresses = addresses,
                                   .not_before_s = time(NULL) + from_s,
                                   .not_after_s = time(NULL) + to_s};

    *p = (struct pki){.ca.max = 8192, .cert.max = 8192};
    cr_assert_eq(gw_key_generate(&p->ca_key), 0);
    cr_assert_eq(gw_key_generate(&p->key), 0);
    cr_assert_eq(gw_cert_issue(&ca, p->ca_key, GW_SLICE_NONE, NULL, &p->ca), 0);
    cr_assert_eq(gw_cert_issue(&leaf, p->key, gw_buf_slice(&p->ca), p->ca_key, &p->cert), 0);
}

static void pki_write(const struct pki *p)
{
    struct gw_buf pem = {.max = 16384};

    cr_assert_eq(gw_pem_from_der("CERTIFICATE", gw_buf_slice(&p->ca), &pem), 0);
    test_write("ca.pem", gw_buf_slice(&pem));
    gw_buf_consume(&pem, gw_buf_len(&pem));
    cr_assert_eq(gw_pem_from_der("CERTIFICATE", gw_buf_slice(&p->cert), &pem), 0);
    test_write("cert.pem", gw_buf_slice(&pem));
    gw_buf_fini(&pem);
}

static void pki_free(struct pki *p)
{
    gw_key_free(&p->ca_key);
    gw_key_free(&p->key);
    gw_buf_fini(&p->ca);
    gw_buf_fini(&p->cert);
}

Test(cert, openssl_accepts_a_server_and_reads_what_it_says)
{
    struct pki p;

    issue(&p, GW_CERT_SERVER, "gw-0123456789abcdef", -60, 3600);
    pki_write(&p);
    cr_expect(test_run("openssl verify -x509_strict -purpose sslserver -verify_hostname "
                       "cordon.local -CAfile ca.pem cert.pem"));
    cr_expect(test_run("openssl verify -verify_ip 2001:db8::1 -CAfile ca.pem cert.pem"));
    cr_expect_not(test_run("openssl verify -verify_hostname other -CAfile ca.pem cert.pem"));
    cr_expect_not(test_run("openssl verify -purpose sslclient -CAfile ca.pem cert.pem"));
    cr_assert(test_run("openssl x509 -in cert.pem -noout -text"));
    cr_expect(test_said("Version: 3"));
    cr_expect(test_said("CN = gw-0123456789abcdef"));
    cr_expect(test_said("DNS:cordon.local, DNS:gw.example, IP Address:192.0.2.1"));
    cr_expect(test_said("TLS Web Server Authentication"));
    cr_expect(test_said("ecdsa-with-SHA256"));
    cr_assert(test_run("openssl x509 -in ca.pem -noout -text"));
    cr_expect(test_said("X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0"));
    cr_expect(test_said("X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign"));
    cr_expect(test_said("O = Cordon, CN = Cordon CA"));
    pki_free(&p);
}

Test(cert, openssl_accepts_a_device_as_client_only)
{
    struct pki p;

    issue(&p, GW_CERT_DEVICE, "cam-1", -60, 3600);
    pki_write(&p);
    cr_expect(test_run("openssl verify -x509_strict -purpose sslclient -CAfile ca.pem cert.pem"));
    cr_expect_not(test_run("openssl verify -purpose sslserver -CAfile ca.pem cert.pem"));
    pki_free(&p);
}

Test(cert, parses_what_was_issued)
{
    struct gw_cert_info info, ca;
    struct gw_key *key = NULL;
    struct pki p;

    issue(&p, GW_CERT_DEVICE, "cam-1", 0, 100);
    cr_assert_eq(gw_cert_parse(gw_buf_slice(&p.cert), &info), 0);
    cr_assert_eq(gw_cert_parse(gw_buf_slice(&p.ca), &ca), 0);
    cr_expect_str_eq(info.common_name, "cam-1");
    cr_expect_str_eq(info.issuer_name, "Cordon CA");
    cr_expect_eq(info.serial_len, 16);
    cr_expect_eq(info.serial[0] & 0x80, 0);
    cr_expect_eq(info.not_after_s - info.not_before_s, 100);
    cr_expect(info.client_auth && !info.server_auth && !info.is_ca);
    cr_expect(ca.is_ca && !ca.client_auth && !ca.server_auth);
    cr_assert_eq(gw_cert_key(gw_buf_slice(&p.cert), &key), 0);
    gw_key_free(&key);
    cr_expect_eq(gw_cert_verify(gw_buf_slice(&p.cert), gw_buf_slice(&p.ca)), 0);
    cr_expect_eq(gw_cert_verify(gw_buf_slice(&p.ca), gw_buf_slice(&p.ca)), 0);
    cr_expect_eq(gw_cert_verify(gw_buf_slice(&p.ca), gw_buf_slice(&p.cert)), GW_EAUTHTAG);
    pki_free(&p);
}

Test(cert, another_ca_of_the_same_name_did_not_sign)
{
    struct pki one, two;

    issue(&one, GW_CERT_DEVICE, "cam-1", 0, 100);
    issue(&two, GW_CERT_DEVICE, "cam-1", 0, 100);
    cr_expect_eq(gw_cert_verify(gw_buf_slice(&one.cert), gw_buf_slice(&two.ca)), GW_EAUTHTAG);
    pki_free(&one);
    pki_free(&two);
}

Test(cert, truncated_or_changed_bytes_never_pass)
{
    struct gw_cert_info info;
    struct gw_slice der;
    struct pki p;

    issue(&p, GW_CERT_SERVER, "gw", 0, 100);
    der = gw_buf_slice(&p.cert);
    for (size_t len = 0; len < der.len; len++)
        cr_expect_eq(gw_cert_parse(GW_SLICE(der.ptr, len), &info), GW_EMALFORMED, "%zu", len);
    for (size_t i = 0; i < der.len; i++) {
        p.cert.data[p.cert.head + i] ^= 0x11;
        cr_expect_leq(gw_cert_parse(der, &info), 0);
        cr_expect_neq(gw_cert_verify(der, gw_buf_slice(&p.ca)), 0, "byte %zu", i);
        p.cert.data[p.cert.head + i] ^= 0x11;
    }
    pki_free(&p);
}

Test(cert, knows_which_names_it_has)
{
    static const char *const fewer[] = {"CORDON.local", NULL}, *const more[] = {"cordon.local",
                                                                                "new", NULL};
    static const struct gw_slice other[] = {{(const uint8_t *)"\xc0\x00\x02\x02", 4}, {NULL, 0}};
    struct pki p;

    issue(&p, GW_CERT_SERVER, "gw", 0, 100);
    cr_expect(gw_cert_has_names(gw_buf_slice(&p.cert), dns, addresses));
    cr_expect(gw_cert_has_names(gw_buf_slice(&p.cert), fewer, NULL));
    cr_expect_not(gw_cert_has_names(gw_buf_slice(&p.cert), more, NULL));
    cr_expect_not(gw_cert_has_names(gw_buf_slice(&p.cert), dns, other));
    cr_expect_not(gw_cert_has_names(gw_buf_slice(&p.ca), dns, addresses));
    cr_expect_not(gw_cert_has_names(GW_SLICE_NONE, NULL, NULL));
    pki_free(&p);
}

Test(cert, wrong_requests_are_refused)
{
    struct gw_buf out = {.max = 8192};
    struct gw_cert_request req = {
        .use = GW_CERT_DEVICE, .common_name = "x", .not_before_s = 10, .not_after_s = 20};
    char long_name[80] = {0};
    struct pki p;

    issue(&p, GW_CERT_DEVICE, "cam-1", 0, 100);
    memset(long_name, 'a', 65);
    cr_expect_eq(gw_cert_issue(&req, p.key, GW_SLICE_NONE, NULL, &out), -EINVAL, "no issuer");
    cr_expect_eq(gw_cert_issue(&req, p.key, gw_buf_slice(&p.ca), p.key, &out), -EINVAL,
                 "another's key");
    req.common_name = long_name;
    cr_expect_eq(gw_cert_issue(&req, p.key, gw_buf_slice(&p.ca), p.ca_key, &out), -EINVAL);
    req.common_name = "";
    cr_expect_eq(gw_cert_issue(&req, p.key, gw_buf_slice(&p.ca), p.ca_key, &out), -EINVAL);
    req.common_name = "x";
    req.not_after_s = 10;
    cr_expect_eq(gw_cert_issue(&req, p.key, gw_buf_slice(&p.ca), p.ca_key, &out), -EINVAL);
    cr_expect_eq(gw_buf_len(&out), 0);
    pki_free(&p);
}

Test(cert, times_past_2049_are_written_the_long_way)
{
    struct gw_cert_request req = {.use = GW_CERT_CA,
                                  .common_name = "x",
                                  .not_before_s = 1700000000,
                                  .not_after_s = 4102444800}; /* 2100-01-01 */
    struct gw_buf der = {.max = 8192};
    struct gw_key *k = NULL;
    struct gw_cert_info info;

    cr_assert_eq(gw_key_generate(&k), 0);
    cr_assert_eq(gw_cert_issue(&req, k, GW_SLICE_NONE, NULL, &der), 0);
    cr_assert_eq(gw_cert_parse(gw_buf_slice(&der), &info), 0);
    cr_expect_eq(info.not_before_s, 1700000000);
    cr_expect_eq(info.not_after_s, 4102444800);
    test_write("c.der", gw_buf_slice(&der));
    cr_assert(test_run("openssl x509 -inform DER -in c.der -noout -enddate"));
    cr_expect(test_said("Jan  1 00:00:00 2100 GMT"));
    gw_buf_fini(&der);
    gw_key_free(&k);
}

Test(cert, openssl_reads_the_bag_of_certificates)
{
    struct gw_buf bag = {.max = 65536};
    struct gw_slice certs[2];
    struct pki p;

    issue(&p, GW_CERT_DEVICE, "cam-1", 0, 100);
    certs[0] = gw_buf_slice(&p.cert);
    certs[1] = gw_buf_slice(&p.ca);
    cr_assert_eq(gw_pkcs7_certs(certs, 2, &bag), 0);
    test_write("bag.der", gw_buf_slice(&bag));
    cr_assert(test_run("openssl pkcs7 -inform DER -in bag.der -print_certs"));
    cr_expect(test_said("CN = cam-1"));
    cr_expect(test_said("CN = Cordon CA"));
    gw_buf_fini(&bag);
    pki_free(&p);
}
