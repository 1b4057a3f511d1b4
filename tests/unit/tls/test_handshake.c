/* SPDX-License-Identifier: GPL-2.0-only */
#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "crypto/crypto_priv.h"
#include "tls/tls_test.h"

TestSuite(handshake, .init = tls_setup, .fini = tls_teardown, .timeout = 30);

#define AS_DEVICE "-cert device.pem -key device.pem "

Test(handshake, proves_who_is_there)
{
    const struct gw_identity *id;
    uint8_t thumbprint[32];

    both_ready_as(&device);
    id = gw_stream_identity(server.stream);
    cr_expect_str_eq(id->device, "cam-1");
    cr_expect_not(id->manufacturer);
    cr_expect(gw_slice_eq(id->der, gw_buf_slice(&device.der)));
    cr_assert_eq(gw_sha256(gw_buf_slice(&device.der), thumbprint), 0);
    cr_expect_arr_eq(id->thumbprint, thumbprint, 32);
    cr_expect_eq(admitted, 1);
    cr_expect_str_eq(admit_saw.device, "cam-1");
    cr_expect_not(gw_stream_identity(server.stream)->expired);
    cr_expect_str_eq(gw_stream_identity(client.stream)->device, "");
    cr_expect_str_eq(gw_stream_alpn(server.stream), "");
}

Test(handshake, works_with_openssl_in_both_versions)
{
    static const char *const options[] = {AS_DEVICE "-tls1_3", AS_DEVICE "-tls1_2"};

    for (size_t i = 0; i < GW_COUNT(options); i++) {
        server = (struct party){0};
        run_s_client("hello", options[i]);
        UNTIL(server.closed);
        cr_expect_eq(server.ready, 1, "%s", said);
        cr_expect_eq(server.error, 0, "%s", gw_stream_detail(server.stream));
        cr_expect(gw_slice_eq_str(gw_buf_slice(&server.got), "hello"));
        cr_expect_str_eq(gw_stream_identity(server.stream)->device, "cam-1");
        cr_expect(strstr(said, "Verify return code: 0 (ok)"), "%s", said);
        party_fini(&server);
    }
}

Test(handshake, a_certificate_that_comes_again_is_looked_at_again)
{
    struct cert brief;

    cert_make(&brief, &ca, GW_CERT_DEVICE, "cam-1", -DAY, 4);
    for (unsigned i = 0; i < 3; i++) {
        client = (struct party){0};
        server = (struct party){0};
        both_ready_as(&brief);
        cr_expect_eq(admitted, i + 1);
        party_fini(&client);
        party_fini(&server);
        /* Of the server's, two of each new one; the client's side checks one that does not change.
         */
        cr_expect_geq(crypto_verified_hits(), 2 * i, "its CA's signature is known");
    }
    admit_says = GW_EREVOKED;
    expect_refused(&brief, GW_EREVOKED, "the certificate is not admitted");
    admit_says = 0;
    sleep(5);
    turns(1); /* the loop learns what time it is */
    expect_refused(&brief, GW_EIDENTITY, "the certificate has expired");
    server_cfg.device_ca_pem = gw_buf_slice(&stranger_ca.pem); /* the same name, another key */
    reconfigure();
    expect_refused(&device, GW_EIDENTITY, "the certificate is not from an accepted CA");
    cert_free(&brief);
}

Test(handshake, our_preferences_decide)
{
    run_s_client("x", AS_DEVICE "-tls1_3 -groups P-256:X25519 -ciphersuites "
                                "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256");
    cr_expect(strstr(said, gw_crypto_aes_first() ? "Cipher is TLS_AES_128_GCM_SHA256"
                                                 : "Cipher is TLS_CHACHA20_POLY1305_SHA256"),
              "%s", said);
    UNTIL(server.closed);
    party_fini(&server);
    server = (struct party){0};
    run_s_client("x", AS_DEVICE "-tls1_2 -groups X25519:P-256");
    cr_expect(strstr(said, "Server Temp Key: X25519"), "%s", said);
    UNTIL(server.closed);
}

Test(handshake, what_was_measured_to_be_faster_is_agreed_on)
{
    static const struct gw_crypto_speed speeds[] = {
        {{100, 1000}, {900, 90000}, {300, 30000}},  /* AES by the callback */
        {{900, 90000}, {100, 1000}, {300, 30000}},  /* AES by wolfCrypt */
        {{900, 90000}, {900, 80000}, {300, 30000}}, /* ChaCha20 */
    };
    static const struct {
        const char *options, *aes, *chacha;
    } cases[] = {
        {AS_DEVICE "-tls1_3", "Cipher is TLS_AES_128_GCM_SHA256",
         "Cipher is TLS_CHACHA20_POLY1305_SHA256"},
        {AS_DEVICE "-tls1_2", "Cipher is ECDHE-ECDSA-AES128-GCM-SHA256",
         "Cipher is ECDHE-ECDSA-CHACHA20-POLY1305"},
    };

    for (size_t i = 0; i < GW_COUNT(speeds) * GW_COUNT(cases); i++) {
        size_t speed = i / GW_COUNT(cases), version = i % GW_COUNT(cases);

        gw_crypto_prefer(&speeds[speed]);
        reconfigure();
        server = (struct party){0};
        run_s_client("hello", cases[version].options);
        UNTIL(server.closed);
        cr_expect(strstr(said, speed < 2 ? cases[version].aes : cases[version].chacha), "%zu: %s",
                  i, said);
        cr_expect(gw_slice_eq_str(gw_buf_slice(&server.got), "hello"));
        party_fini(&server);
    }
}

/* ---- resumption ---- */

static const char *const each_version[] = {"-tls1_2", "-tls1_3"};

/* One connection; true when it resumed the session in the file. Its server's end is left open. */
static bool visits(const char *options)
{
    if (server.stream)
        party_fini(&server);
    server = (struct party){0};
    run_s_client("x", options);
    if (server.stream)
        UNTIL(server.closed);
    return strstr(said, "Reused,") != NULL;
}

static bool visits_with(const char *version, const char *session)
{
    char options[256];

    snprintf(options, sizeof(options), AS_DEVICE "%s %s", version, session);
    return visits(options);
}

static void offer_tickets(uint32_t max)
{
    server_cfg.tickets_max = max;
    gw_tls_server_free(&tls_server);
    cr_assert_eq(gw_tls_server_new(&server_cfg, &tls_server), 0);
}

Test(handshake, nothing_is_resumed_where_no_tickets_are_offered)
{
    for (size_t i = 0; i < GW_COUNT(each_version); i++) {
        unlink("session");
        cr_expect_not(visits_with(each_version[i], "-sess_out session"));
        cr_expect_null(strstr(said, "TLS session ticket:"), "%s", said);
        cr_expect_not(visits_with(each_version[i], "-sess_in session"), "%s", said);
    }
}

Test(handshake, a_resumed_session_is_the_same_device)
{
    offer_tickets(100);
    for (size_t i = 0; i < GW_COUNT(each_version); i++) {
        const struct gw_identity *id;

        cr_expect_not(visits_with(each_version[i], "-sess_out session"));
        admitted = 0;
        cr_expect(visits_with(each_version[i], "-sess_in session"), "%s", said);
        cr_expect_eq(server.ready, 1, "%s: %s", each_version[i], gw_stream_detail(server.stream));
        cr_expect_eq(admitted, 1, "it was asked for again");
        id = gw_stream_identity(server.stream);
        cr_expect_str_eq(id->device, "cam-1");
        cr_expect(gw_slice_eq(id->der, gw_buf_slice(&device.der)));
        cr_expect_eq(memcmp(id->thumbprint, admit_saw.thumbprint, 32), 0);
        cr_expect(gw_slice_eq_str(gw_buf_slice(&server.got), "x"));
    }
}

Test(handshake, a_device_that_is_shut_out_resumes_nothing)
{
    offer_tickets(100);
    for (size_t i = 0; i < GW_COUNT(each_version); i++) {
        cr_expect_not(visits_with(each_version[i], "-sess_out session"));
        admit_says = GW_EREVOKED;
        cr_expect_not(visits_with(each_version[i], "-sess_in session"));
        cr_expect_eq(server.ready, 0);
        cr_expect_eq(server.error, GW_EREVOKED, "%s", gw_error_name(server.error));
        admit_says = 0;
    }
}

Test(handshake, tickets_end_with_their_table)
{
    offer_tickets(100);
    for (size_t i = 0; i < GW_COUNT(each_version); i++) {
        cr_expect_not(visits_with(each_version[i], "-sess_out session"));
        offer_tickets(100);
        cr_expect_not(visits_with(each_version[i], "-sess_in session"), "%s", said);
        cr_expect_eq(server.ready, 1, "a full handshake followed");
        reconfigure();
        cr_expect_not(visits_with(each_version[i], "-sess_out session"));
        reconfigure();
        cr_expect(visits_with(each_version[i], "-sess_in session"), "the same CA: they go on");
    }
}

Test(handshake, the_oldest_ticket_gives_way)
{
    offer_tickets(1);
    cr_expect_not(visits_with("-tls1_2", "-sess_out session"));
    cr_expect_not(visits_with("-tls1_2", "-sess_out other"));
    cr_expect_not(visits_with("-tls1_2", "-sess_in session"), "%s", said);
}

Test(handshake, a_ticket_of_another_port_is_nobodys)
{
    server_cfg.auth = GW_TLS_AUTH_OPTIONAL;
    offer_tickets(100);
    for (size_t i = 0; i < GW_COUNT(each_version); i++) {
        char options[128];

        snprintf(options, sizeof(options), "%s -sess_out session", each_version[i]);
        cr_expect_not(visits(options));
        cr_assert_eq(server.ready, 1, "without a certificate, %s: %s", each_version[i],
                     gw_stream_detail(server.stream));
        snprintf(options, sizeof(options), "%s -sess_in session", each_version[i]);
        cr_expect_not(visits(options), "nobody is not resumed");
        cr_expect_str_eq(gw_stream_identity(server.stream)->device, "");
    }
}

Test(handshake, an_ended_certificate_is_not_resumed)
{
    struct cert brief;

    offer_tickets(100);
    cert_make(&brief, &ca, GW_CERT_DEVICE, "cam-1", -DAY, 3);
    for (size_t i = 0; i < GW_COUNT(each_version); i++) {
        char file[16];

        snprintf(file, sizeof(file), "brief%zu.pem", i);
        write_cert(file, &brief);
    }
    cr_expect_not(visits("-cert brief0.pem -key brief0.pem -tls1_2 -sess_out session"));
    cr_expect_eq(server.ready, 1);
    sleep(4);
    cr_expect_not(visits("-cert brief0.pem -key brief0.pem -tls1_2 -sess_in session"));
    cr_expect_eq(server.ready, 0, "%s", said);
    cert_free(&brief);
}

/* As another device, which keeps one session in a file of its own. */
static bool another_visits(const struct cert *c, const char *session)
{
    char options[256];

    write_cert("another.pem", c);
    snprintf(options, sizeof(options), "-cert another.pem -key another.pem -tls1_2 %s", session);
    return visits(options);
}

Test(handshake, who_comes_again_and_again_pushes_out_its_own_tickets)
{
    struct cert another;

    cert_make(&another, &ca, GW_CERT_DEVICE, "cam-2", -DAY, DAY);
    offer_tickets(32); /* two of them may be one certificate's */
    cr_expect_not(another_visits(&another, "-sess_out others"));
    cr_expect_not(visits_with("-tls1_2", "-sess_out oldest"));
    for (size_t i = 0; i < 40; i++)
        cr_expect_not(visits_with("-tls1_2", "-sess_out latest"));
    cr_expect(another_visits(&another, "-sess_in others"), "%s", said);
    cr_expect_str_eq(gw_stream_identity(server.stream)->device, "cam-2");
    cr_expect(visits_with("-tls1_2", "-sess_in latest"), "%s", said);
    cr_expect_str_eq(gw_stream_identity(server.stream)->device, "cam-1");
    cr_expect_not(visits_with("-tls1_2", "-sess_in oldest"), "%s", said);
    cert_free(&another);
}

Test(handshake, a_lower_limit_holds_at_once)
{
    struct cert another;

    cert_make(&another, &ca, GW_CERT_DEVICE, "cam-2", -DAY, DAY);
    offer_tickets(100);
    cr_expect_not(visits_with("-tls1_2", "-sess_out session"));
    cr_expect_not(another_visits(&another, "-sess_out others"));
    server_cfg.tickets_max = 1;
    reconfigure();
    cr_expect(another_visits(&another, "-sess_in others"), "the latest is left: %s", said);
    cr_expect_not(visits_with("-tls1_2", "-sess_in session"), "%s", said);
    cert_free(&another);
}

Test(handshake, a_refusal_voids_every_ticket_of_the_certificate)
{
    offer_tickets(100);
    cr_expect_not(visits_with("-tls1_2", "-sess_out one"));
    cr_expect_not(visits_with("-tls1_3", "-sess_out two"));
    admit_says = GW_EREVOKED;
    cr_expect_not(visits_with("-tls1_2", "-sess_in one"));
    admit_says = 0;
    cr_expect_not(visits_with("-tls1_2", "-sess_in one"), "%s", said);
    cr_expect_not(visits_with("-tls1_3", "-sess_in two"), "%s", said);
    cr_expect_eq(server.ready, 1, "a full handshake followed");
}

/* A client of wolfSSL's that resumes, the second time by the secret alone where it may. */
static WOLFSSL_SESSION *raw_visit(WOLFSSL_CTX *ctx, WOLFSSL_SESSION *session, int *out_code)
{
    struct sockaddr_in *to = (struct sockaddr_in *)&listen_addr.sa;
    WOLFSSL *ssl = wolfSSL_new(ctx);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char byte;

    if (!ssl || fd < 0 || connect(fd, (struct sockaddr *)to, sizeof(*to)) ||
        wolfSSL_set_fd(ssl, fd) != WOLFSSL_SUCCESS ||
        (session && wolfSSL_set_session(ssl, session) != WOLFSSL_SUCCESS))
        _exit(10);
    *out_code = wolfSSL_connect(ssl) == WOLFSSL_SUCCESS && wolfSSL_write(ssl, "x", 1) == 1;
    (void)wolfSSL_read(ssl, &byte, 1); /* the ticket comes, then the end */
    session = wolfSSL_get1_session(ssl);
    wolfSSL_shutdown(ssl);
    wolfSSL_free(ssl);
    close(fd);
    return session;
}

/*
 * In a process of its own; a byte from `go` begins the second visit. Exit code 0: both went
 * through, 1: the second was refused.
 */
static int visit_twice(bool by_secret_alone, int go)
{
    WOLFSSL_CTX *ctx = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
    struct gw_buf key = {.max = 4096};
    WOLFSSL_SESSION *session;
    int went;
    char byte;

    if (!ctx || gw_key_private_der(device.key, &key) ||
        wolfSSL_CTX_use_certificate_buffer(ctx, device.der.data + device.der.head,
                                           (long)gw_buf_len(&device.der),
                                           WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_use_PrivateKey_buffer(ctx, key.data + key.head, (long)gw_buf_len(&key),
                                          WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS)
        return 11;
    wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_NONE, NULL);
    (void)wolfSSL_CTX_UseSessionTicket(ctx);
    session = raw_visit(ctx, NULL, &went);
    if (!went || !session || read(go, &byte, 1) != 1)
        return 12;
    if (by_secret_alone)
        (void)wolfSSL_CTX_no_dhe_psk(ctx);
    (void)raw_visit(ctx, session, &went);
    return went ? 0 : 1;
}

/* The server's side of a raw client: it closes what said its word. */
static void end_after_word(struct party *p, enum gw_stream_event ev)
{
    if (ev == GW_STREAM_DATA)
        gw_stream_close(p->stream, 0);
}

Test(handshake, nothing_is_resumed_without_a_key_exchange)
{
    offer_tickets(100);
    for (int alone = 0; alone <= 1; alone++) {
        unsigned before = accepted;
        int status, go[2];
        pid_t pid;

        cr_assert_eq(pipe(go), 0);
        pid = fork();
        if (pid == 0)
            _exit(visit_twice(alone, go[0]));
        for (unsigned visit = 1; visit <= 2; visit++) {
            UNTIL(accepted == before + visit);
            server.on = end_after_word;
            UNTIL(server.closed);
            if (visit == 2 && alone) {
                cr_expect_eq(server.ready, 0);
                cr_expect_str_eq(gw_stream_detail(server.stream),
                                 "it resumes without a key exchange");
            } else {
                cr_expect_eq(server.ready, 1, "%s", gw_stream_detail(server.stream));
            }
            party_fini(&server);
            server = (struct party){0};
            cr_expect_eq(write(go[1], "x", 1), 1);
        }
        close(go[0]);
        close(go[1]);
        UNTIL(waitpid(pid, &status, WNOHANG) == pid);
        cr_expect_eq(status, alone ? W_EXITCODE(1, 0) : 0, "%d", status);
    }
}

Test(handshake, old_versions_and_weak_suites_are_refused)
{
    static const char *const options[] = {
        AS_DEVICE "-tls1_1 -cipher DEFAULT@SECLEVEL=0",
        AS_DEVICE "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA256",
        AS_DEVICE "-tls1_2 -cipher AECDH-AES128-SHA:ADH-AES128-GCM-SHA256@SECLEVEL=0",
        AS_DEVICE "-tls1_2 -cipher ECDHE-ECDSA-NULL-SHA:eNULL@SECLEVEL=0",
        AS_DEVICE "-tls1_2 -cipher AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256",
    };

    for (size_t i = 0; i < GW_COUNT(options); i++) {
        server = (struct party){0};
        run_s_client("x", options[i]);
        UNTIL(server.closed);
        cr_expect_eq(server.ready, 0, "%s", options[i]);
        cr_expect_eq(server.error, GW_ETLS, "%s: %s", options[i], gw_error_name(server.error));
        party_fini(&server);
    }
}

Test(handshake, no_certificate_is_refused_where_one_is_required)
{
    expect_refused(NULL, GW_EIDENTITY, "no certificate was sent");
    server = (struct party){0};
    run_s_client("x", "-tls1_2");
    UNTIL(server.closed);
    cr_expect_eq(server.ready, 0);
    cr_expect_eq(server.error, GW_EIDENTITY, "%s", gw_error_name(server.error));
    cr_expect(strstr(said, "alert"), "%s", said);
    cr_expect_eq(admitted, 0);
}

Test(handshake, no_certificate_is_fine_where_it_is_optional_or_not_asked_for)
{
    for (int auth = GW_TLS_AUTH_NONE; auth <= GW_TLS_AUTH_OPTIONAL; auth++) {
        server_cfg.auth = auth;
        reconfigure();
        client = (struct party){0};
        server = (struct party){0};
        both_ready_as(NULL);
        cr_expect_str_eq(gw_stream_identity(server.stream)->device, "");
        cr_expect_eq(gw_stream_identity(server.stream)->der.len, 0);
        party_fini(&client);
        party_fini(&server);
    }
    cr_expect_eq(admitted, 0);
}

Test(handshake, certificates_that_name_no_device_of_ours_are_refused)
{
    static const struct {
        const char *name;
        struct cert *issuer;
        enum gw_cert_use use;
        const char *cn;
        int64_t from_s, to_s;
        const char *words;
    } cases[] = {
        {"another CA of our name", &stranger_ca, GW_CERT_DEVICE, "cam-1", -DAY, DAY,
         "the certificate is not from an accepted CA"},
        {"another CA", &maker_ca, GW_CERT_DEVICE, "cam-1", -DAY, DAY,
         "the certificate is not from an accepted CA"},
        {"expired", &ca, GW_CERT_DEVICE, "cam-1", -DAY, -60, "the certificate has expired"},
        {"not yet valid", &ca, GW_CERT_DEVICE, "cam-1", 3600, DAY,
         "the certificate is not valid yet"},
        {"a server", &ca, GW_CERT_SERVER, "cam-1", -DAY, DAY, "the certificate is for another use"},
        {"a CA", NULL, GW_CERT_CA, "cam-1", -DAY, DAY,
         "the certificate is not from an accepted CA"},
        {"no device id", &ca, GW_CERT_DEVICE, "cam 1", -DAY, DAY,
         "the certificate is not a device's"},
        {"a path", &ca, GW_CERT_DEVICE, "a/b", -DAY, DAY, "the certificate is not a device's"},
        {"not ASCII", &ca, GW_CERT_DEVICE, "caf\xc3\xa9", -DAY, DAY,
         "the certificate is not a device's"},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct cert c;

        cert_make(&c, cases[i].issuer, cases[i].use, cases[i].cn, cases[i].from_s, cases[i].to_s);
        expect_refused(&c, GW_EIDENTITY, cases[i].words);
        cert_free(&c);
    }
    expect_refused(&server_cert, GW_EIDENTITY, "the certificate is for another use");
    expect_refused(&ca, GW_EIDENTITY, "the certificate is not a device's");
    cr_expect_eq(admitted, 0);
}

Test(handshake, a_key_that_is_not_the_certificates_is_noticed)
{
    struct cert thief = {.der = device.der, .pem = device.pem};
    struct gw_tls_client_config cfg;
    struct gw_stream *s = NULL;

    cr_assert_eq(gw_key_generate(&thief.key), 0);
    cfg = client_cfg(&thief);
    cr_expect_eq(gw_tls_connect(loop, &listen_addr, &cfg, &test_limits, &s), -EINVAL);
    gw_key_free(&thief.key);
}

Test(handshake, admit_has_the_last_word)
{
    static const int refusals[] = {GW_EQUARANTINED, GW_EREVOKED, GW_EIDENTITY};

    for (size_t i = 0; i < GW_COUNT(refusals); i++) {
        admit_says = refusals[i];
        expect_refused(&device, refusals[i], "the certificate is not admitted");
    }
    server = (struct party){0};
    run_s_client("x", AS_DEVICE "-tls1_2");
    UNTIL(server.closed);
    cr_expect_eq(server.error, GW_EIDENTITY);
    cr_expect(strstr(said, "alert bad certificate"), "%s", said);
}

Test(handshake, an_expired_device_gets_in_for_renewal_only_where_that_is_configured)
{
    struct cert old, older, strange;

    cert_make(&old, &ca, GW_CERT_DEVICE, "cam-1", -9 * DAY, -2 * DAY);
    cert_make(&older, &ca, GW_CERT_DEVICE, "cam-1", -9 * DAY, -4 * DAY);
    cert_make(&strange, &stranger_ca, GW_CERT_DEVICE, "cam-1", -9 * DAY, -2 * DAY);
    server_cfg.grace_days = 3;
    reconfigure();
    expect_refused(&old, GW_EIDENTITY, "the certificate has expired");
    server_cfg.auth = GW_TLS_AUTH_OPTIONAL;
    reconfigure();
    expect_refused(&older, GW_EIDENTITY, "the certificate has expired");
    expect_refused(&strange, GW_EIDENTITY, "the certificate is not from an accepted CA");
    client = (struct party){0};
    server = (struct party){0};
    both_ready_as(&old);
    cr_expect(gw_stream_identity(server.stream)->expired);
    cr_expect_str_eq(gw_stream_identity(server.stream)->device, "cam-1");
    cert_free(&old);
    cert_free(&older);
    cert_free(&strange);
}

Test(handshake, a_manufacturers_certificate_never_names_a_device_of_ours)
{
    struct cert made, fake;

    cert_make(&made, &maker_ca, GW_CERT_DEVICE, "cam-1", -DAY, DAY);
    cert_make(&fake, &stranger_ca, GW_CERT_DEVICE, "cam-1", -DAY, DAY);
    server_cfg.auth = GW_TLS_AUTH_OPTIONAL;
    server_cfg.manufacturer_cas_pem = gw_buf_slice(&maker_ca.pem);
    reconfigure();
    both_ready_as(&made);
    cr_expect(gw_stream_identity(server.stream)->manufacturer);
    cr_expect_str_eq(gw_stream_identity(server.stream)->device, "");
    cr_expect(gw_slice_eq(gw_stream_identity(server.stream)->der, gw_buf_slice(&made.der)));
    party_fini(&client);
    party_fini(&server);
    client = (struct party){0};
    server = (struct party){0};
    both_ready_as(&device);
    cr_expect_str_eq(gw_stream_identity(server.stream)->device, "cam-1");
    cr_expect_not(gw_stream_identity(server.stream)->manufacturer);
    party_fini(&client);
    party_fini(&server);

    /* A manufacturer's CA that calls itself by our CA's name. */
    server_cfg.manufacturer_cas_pem = gw_buf_slice(&stranger_ca.pem);
    reconfigure();
    client = (struct party){0};
    server = (struct party){0};
    both_ready_as(&fake);
    cr_expect(gw_stream_identity(server.stream)->manufacturer);
    cr_expect_str_eq(gw_stream_identity(server.stream)->device, "");
    cert_free(&made);
    cert_free(&fake);
}

/* ---- the client's side ---- */

static void expect_client_refuses(struct gw_tls_client_config cfg, const char *words)
{
    client = (struct party){0};
    server = (struct party){0};
    dial_as(cfg);
    UNTIL(client.closed && server.closed);
    cr_expect_eq(client.ready, 0);
    cr_expect_eq(client.error, GW_EIDENTITY, "%s", gw_error_name(client.error));
    cr_expect_str_eq(gw_stream_detail(client.stream), words);
    party_fini(&client);
    party_fini(&server);
}

Test(handshake, a_client_checks_who_answers)
{
    struct gw_tls_client_config cfg = client_cfg(&device);
    struct cert as_server;

    cfg.server_name = "other.test";
    expect_client_refuses(cfg, "the certificate is for another name");
    cfg.server_name = "127.0.0.2";
    expect_client_refuses(cfg, "the certificate is for another address");
    cfg.server_name = "::1";
    expect_client_refuses(cfg, "the certificate is for another address");
    cfg.server_name = "gw.test";
    cfg.ca_pem = gw_buf_slice(&stranger_ca.pem);
    expect_client_refuses(cfg, "the certificate is not from an accepted CA");

    cfg = client_cfg(&device);
    cert_make(&as_server, &ca, GW_CERT_DEVICE, "gw.test", -DAY, DAY);
    server_cfg.chain_pem = gw_buf_slice(&as_server.pem);
    server_cfg.key = as_server.key;
    reconfigure();
    expect_client_refuses(cfg, "the certificate is for another use");
    cert_free(&as_server);
    cert_make(&as_server, &ca, GW_CERT_SERVER, "gw.test", -DAY, -60);
    server_cfg.chain_pem = gw_buf_slice(&as_server.pem);
    server_cfg.key = as_server.key;
    reconfigure();
    expect_client_refuses(cfg, "the certificate has expired");
    cert_free(&as_server);
}

Test(handshake, a_client_accepts_an_address_in_the_certificate)
{
    struct gw_tls_client_config cfg = client_cfg(&device);

    cfg.server_name = "127.0.0.1";
    dial_as(cfg);
    UNTIL(client.ready && server.ready);
}

Test(handshake, the_systems_store_does_not_know_our_ca)
{
    struct gw_tls_client_config cfg = client_cfg(NULL);

    cfg.ca_pem = GW_SLICE_NONE;
    if (gw_tls_read_system_store())
        cr_skip_test("no certificates are installed here");
    expect_client_refuses(cfg, "the certificate is not from an accepted CA");
}

Test(handshake, wrong_client_configurations_fail_at_once)
{
    struct gw_tls_client_config cfg = client_cfg(&device);
    struct gw_stream *s = NULL;

    cfg.server_name = "";
    cr_expect_eq(gw_tls_connect(loop, &listen_addr, &cfg, &test_limits, &s), -EINVAL);
    cfg = client_cfg(&device);
    cfg.ca_pem = GW_SLICE_LIT("no PEM");
    cr_expect_eq(gw_tls_connect(loop, &listen_addr, &cfg, &test_limits, &s), GW_ECRYPTO);
    cr_expect_null(s);
}

Test(handshake, speaks_to_an_openssl_server_in_both_versions)
{
    static const char *const versions[] = {"-tls1_3", "-tls1_2"};

    for (size_t i = 0; i < GW_COUNT(versions); i++) {
        in_port_t port = htons((uint16_t)(20000 + getpid() % 20000 + (int)i));
        char args[256];
        pid_t pid;

        write_cert("server.pem", &server_cert);
        write_file("ca.pem", gw_buf_slice(&ca.pem));
        snprintf(args, sizeof(args),
                 "s_server -accept 127.0.0.1:%u -cert server.pem -key server.pem -CAfile ca.pem "
                 "-Verify 2 -alpn mqtt -naccept 1 %s",
                 ntohs(port), versions[i]);
        pid = start_openssl("from openssl", "1", args);
        listen_addr = loopback(ntohs(port));
        for (unsigned tries = 0; tries < 100 && !client.ready; tries++) {
            struct gw_tls_client_config cfg = client_cfg(&device);

            cfg.alpn = "mqtt";
            party_fini(&client);
            client = (struct party){0};
            dial_as(cfg);
            UNTIL(client.ready || client.closed);
            if (!client.ready)
                usleep(20000);
        }
        cr_assert(client.ready, "%s", gw_stream_detail(client.stream));
        cr_expect_str_eq(gw_stream_alpn(client.stream), "mqtt");
        cr_assert_eq(gw_stream_write(client.stream, GW_SLICE_LIT("to openssl\n")), 0);
        UNTIL(gw_buf_len(&client.got) >= 12);
        cr_expect(gw_slice_eq_str(gw_buf_slice(&client.got), "from openssl"));
        gw_stream_close(client.stream, 0);
        finish_openssl(pid);
        cr_expect(strstr(said, "to openssl"), "%s", said);
        cr_expect(strstr(said, "CN = cam-1"), "%s", said);
        party_fini(&client);
        client = (struct party){0};
    }
}

/* ---- ALPN and reload ---- */

Test(handshake, alpn_is_agreed_or_done_without)
{
    static const struct {
        const char *offers;
        const char *want;
    } cases[] = {{"http/1.1", "http/1.1"}, {NULL, ""}, {"unknown", ""}, {"h2", "h2"}};

    server_cfg.alpn[0] = "h2";
    server_cfg.alpn[1] = "http/1.1";
    reconfigure();
    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_tls_client_config cfg = client_cfg(&device);

        cfg.alpn = cases[i].offers;
        client = (struct party){0};
        server = (struct party){0};
        dial_as(cfg);
        UNTIL(client.ready && server.ready);
        cr_expect_str_eq(gw_stream_alpn(server.stream), cases[i].want);
        cr_expect_str_eq(gw_stream_alpn(client.stream), cases[i].want);
        party_fini(&client);
        party_fini(&server);
    }
    server = (struct party){0};
    run_s_client("x", AS_DEVICE "-alpn http/1.1,h2");
    cr_expect(strstr(said, "ALPN protocol: http/1.1"), "%s", said);
    UNTIL(server.closed);
}

Test(handshake, a_reload_is_for_new_connections_and_a_bad_one_for_none)
{
    struct party before, after;

    both_ready_as(&device);
    server_cfg.device_ca_pem = GW_SLICE_LIT("nonsense");
    cr_expect_neq(gw_tls_server_reload(tls_server, &server_cfg), 0);
    server_cfg.device_ca_pem = gw_buf_slice(&ca.pem);
    server_cfg.key = device.key;
    cr_expect_neq(gw_tls_server_reload(tls_server, &server_cfg), 0, "not this certificate's key");
    server_cfg.key = server_cert.key;
    server_cfg.device_ca_pem = gw_buf_slice(&maker_ca.pem);
    reconfigure();
    before = client;
    after = server;
    before.on = after.on = NULL;
    gw_stream_attach(before.stream, party_event, &before);
    gw_stream_attach(after.stream, party_event, &after);
    expect_refused(&device, GW_EIDENTITY, "the certificate is not from an accepted CA");
    cr_assert_eq(gw_stream_write(before.stream, GW_SLICE_LIT("still here")), 0);
    UNTIL(after.data);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&after.got), "still here"));
    party_fini(&before);
    party_fini(&after);
}
