/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "enroll/enroll_priv.h"

static char dir[64];

static void setup(void)
{
    cr_assert_eq(gw_crypto_init(), 0);
    (void)snprintf(dir, sizeof(dir), "/tmp/cordon-pki-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static const char *in(const char *name)
{
    static char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void teardown(void)
{
    static const char *const names[] = {"pki/ca.key", "pki/ca.pem", "pki/gateway.key",
                                        "pki/gateway.pem"};

    for (size_t i = 0; i < GW_COUNT(names); i++)
        (void)unlink(in(names[i]));
    (void)rmdir(in("pki"));
    (void)rmdir(dir);
    gw_crypto_fini();
}

TestSuite(pki, .init = setup, .fini = teardown);

static void overwrite(const char *name, const char *text)
{
    int fd = open(in(name), O_WRONLY | O_TRUNC);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

Test(pki, is_made_once_and_the_same_ever_after)
{
    GW_CLEANUP(gw_pki_close) struct gw_pki *first = NULL, *again = NULL;
    struct stat st;

    cr_assert_eq(gw_pki_open(dir, &first), 0);
    cr_assert_eq(gw_pki_open(dir, &again), 0);
    cr_expect_str_eq(gw_pki_gateway_id(first), gw_pki_gateway_id(again));
    cr_expect_eq(strlen(gw_pki_gateway_id(first)), 19);
    cr_expect(gw_slice_eq(gw_pki_ca_der(first), gw_pki_ca_der(again)));
    cr_expect(gw_slice_eq(gw_pki_cert_der(first), gw_pki_cert_der(again)));
    cr_expect(gw_slice_eq(gw_pki_chain_pem(first), gw_pki_chain_pem(again)));
    cr_assert_eq(stat(in("pki"), &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0700);
    cr_assert_eq(stat(in("pki/ca.key"), &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0600);
}

Test(pki, signs_a_server_certificate_that_names_this_machine)
{
    static const uint8_t loop4[4] = {127, 0, 0, 1};
    GW_CLEANUP(gw_pki_close) struct gw_pki *p = NULL;
    const struct gw_slice addrs[] = {GW_SLICE(loop4, 4), GW_SLICE_NONE};
    const char *const dns[] = {"cordon.local", NULL};
    struct gw_cert_info info;

    cr_assert_eq(gw_pki_open(dir, &p), 0);
    cr_assert_eq(gw_cert_parse(gw_pki_cert_der(p), &info), 0);
    cr_expect_str_eq(info.common_name, gw_pki_gateway_id(p));
    cr_expect(info.server_auth);
    cr_expect_eq(gw_cert_verify(gw_pki_cert_der(p), gw_pki_ca_der(p)), 0);
    cr_expect(gw_cert_has_names(gw_pki_cert_der(p), dns, addrs));
    cr_assert_eq(gw_cert_parse(gw_pki_ca_der(p), &info), 0);
    cr_expect(info.is_ca);
    cr_expect_gt(info.not_after_s - gw_clock_wall_ms() / 1000, 19ll * 365 * 86400);
}

Test(pki, renews_the_server_certificate_in_time_and_keeps_its_key)
{
    GW_CLEANUP(gw_pki_close) struct gw_pki *p = NULL, *again = NULL;
    int64_t now_s = GW_MAX(gw_clock_wall_ms() / 1000, (int64_t)PKI_EARLIEST_S);
    uint8_t before[GW_SPKI_BYTES], after[GW_SPKI_BYTES];
    struct gw_cert_info info;

    cr_assert_eq(gw_pki_open(dir, &p), 0);
    cr_assert_eq(gw_key_spki(gw_pki_key(p), before), 0);
    cr_expect_eq(gw_pki_refresh(p, now_s + 200 * 86400), 0);
    cr_expect_eq(gw_pki_refresh(p, now_s + 300 * 86400), 1);
    cr_assert_eq(gw_cert_parse(gw_pki_cert_der(p), &info), 0);
    cr_expect_gt(info.not_after_s, now_s + 660ll * 86400);
    cr_assert_eq(gw_pki_open(dir, &again), 0);
    cr_expect(gw_slice_eq(gw_pki_cert_der(p), gw_pki_cert_der(again)), "the renewed one is kept");
    cr_assert_eq(gw_key_spki(gw_pki_key(again), after), 0);
    cr_expect_arr_eq(before, after, sizeof(before));
}

Test(pki, issues_certificates_for_devices)
{
    GW_CLEANUP(gw_pki_close) struct gw_pki *p = NULL;
    GW_CLEANUP(gw_key_free) struct gw_key *key = NULL;
    GW_CLEANUP(gw_buf_fini) struct gw_buf der = {.max = 8192}, old = {.max = 8192};
    struct gw_cert_info info;

    cr_assert_eq(gw_pki_open(dir, &p), 0);
    cr_assert_eq(gw_key_generate(&key), 0);
    cr_assert_eq(pki_issue(p, "cam-1", key, 90, 1800000000, &der), 0);
    cr_assert_eq(gw_cert_parse(gw_buf_slice(&der), &info), 0);
    cr_expect_str_eq(info.common_name, "cam-1");
    cr_expect(info.client_auth && !info.is_ca);
    cr_expect_eq(info.not_after_s, 1800000000 + 90 * 86400);
    cr_expect_eq(gw_cert_verify(gw_buf_slice(&der), gw_pki_ca_der(p)), 0);
    cr_assert_eq(pki_issue(p, "cam-1", key, 90, 0, &old), 0);
    cr_assert_eq(gw_cert_parse(gw_buf_slice(&old), &info), 0);
    cr_expect_gt(info.not_after_s, PKI_EARLIEST_S, "a clock that starts in 1970 is not believed");
}

Test(pki, never_replaces_a_damaged_authority)
{
    static const struct {
        const char *name, *file;
        bool missing;
    } cases[] = {
        {"the CA's key is gone", "pki/ca.key", true},
        {"the CA's certificate is gone", "pki/ca.pem", true},
        {"our key is gone", "pki/gateway.key", true},
        {"our certificate is gone", "pki/gateway.pem", true},
        {"the CA's key is empty", "pki/ca.key", false},
        {"the CA's certificate is empty", "pki/ca.pem", false},
        {"our key is empty", "pki/gateway.key", false},
        {"our certificate is empty", "pki/gateway.pem", false},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_pki *p = NULL;

        teardown();
        setup();
        cr_assert_eq(gw_pki_open(dir, &p), 0);
        gw_pki_close(&p);
        if (cases[i].missing)
            cr_assert_eq(unlink(in(cases[i].file)), 0);
        else
            overwrite(cases[i].file, "");
        cr_expect_lt(gw_pki_open(dir, &p), 0, "%s", cases[i].name);
        cr_expect_null(p);
    }
}

Test(pki, refuses_a_key_of_another_authority)
{
    GW_CLEANUP(gw_key_free) struct gw_key *key = NULL;
    GW_CLEANUP(gw_buf_fini) struct gw_buf pem = {.max = 4096};
    struct gw_pki *p = NULL;
    char text[4096] = "";

    cr_assert_eq(gw_pki_open(dir, &p), 0);
    gw_pki_close(&p);
    cr_assert_eq(gw_key_generate(&key), 0);
    cr_assert_eq(gw_key_private_pem(key, &pem), 0);
    memcpy(text, gw_buf_slice(&pem).ptr, gw_buf_len(&pem));
    overwrite("pki/ca.key", text);
    cr_expect_eq(gw_pki_open(dir, &p), GW_EIDENTITY);
}

Test(pki, starts_over_after_an_interrupted_first_start)
{
    struct gw_pki *p = NULL;
    int fd;

    cr_assert_eq(mkdir(in("pki.new"), 0700), 0);
    fd = open(in("pki.new/ca.key.new"), O_CREAT | O_WRONLY, 0600);
    cr_assert_geq(fd, 0);
    close(fd);
    cr_expect_eq(gw_pki_open(dir, &p), 0);
    gw_pki_close(&p);
    cr_expect_lt(access(in("pki.new"), F_OK), 0);
}
