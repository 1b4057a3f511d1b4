/* SPDX-License-Identifier: GPL-2.0-only */
#include "tls/tls_priv.h"

#include <errno.h>

#include <wolfssl/openssl/ec.h>

#include "base/log.h"

#define HANDSHAKE_MS 10000
#define CHAIN_MAX (256u << 10)

/*
 * Only ECDHE with AEAD. First comes what was measured to be faster on this machine: the order is
 * ours, not the peer's.
 */
#define SUITES_AES                                                                                 \
    "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:"               \
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
#define SUITES_CHACHA                                                                              \
    "TLS13-CHACHA20-POLY1305-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

struct tls_context *tls_context_ref(struct tls_context *c)
{
    c->users++;
    return c;
}

void tls_context_unref(struct tls_context **c)
{
    struct tls_context *own = GW_TAKE(*c);

    if (!own || --own->users > 0)
        return;
    wolfSSL_CTX_free(own->ctx);
    wolfSSL_EC_KEY_free(own->nobody);
    gw_buf_fini(&own->device_ca);
    tls_tickets_unref(&own->tickets);
    free(own);
}

/* The defaults of the library are for everything at once; each of these is one of them undone. */
static int harden(WOLFSSL_CTX *ctx)
{
    static int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1};
    const char *suites =
        gw_crypto_aes_first() ? SUITES_AES ":" SUITES_CHACHA : SUITES_CHACHA ":" SUITES_AES;

    if (wolfSSL_CTX_SetMinVersion(ctx, WOLFSSL_TLSV1_2) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_set_cipher_list(ctx, suites) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_set_groups(ctx, groups, GW_COUNT(groups)) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_SetDevId(ctx, gw_crypto_device()) != WOLFSSL_SUCCESS)
        return GW_ECRYPTO;
    for (size_t i = 0; i < GW_COUNT(groups); i++)
        if (wolfSSL_CTX_UseSupportedCurve(ctx, (word16)groups[i]) != WOLFSSL_SUCCESS)
            return GW_ECRYPTO;
    /*
     * A session from wolfSSL's cache comes without the identity that was proved: see tickets.c.
     * "Off" does not keep sessions with tickets out of it; that they are not stored does.
     */
    (void)wolfSSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)wolfSSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_NO_INTERNAL);
    return 0;
}

static int context_new(WOLFSSL_METHOD *method, struct tls_context **out)
{
    struct tls_context *c = calloc(1, sizeof(*c));
    int err;

    if (!c)
        return -ENOMEM;
    c->users = 1;
    c->device_ca.max = 65536;
    c->ctx = wolfSSL_CTX_new(method); /* owns the method also on failure */
    err = c->ctx ? harden(c->ctx) : -ENOMEM;
    if (err)
        tls_context_unref(&c);
    else
        *out = c;
    return err;
}

/* wolfSSL does not tell that a key is not the certificate's. */
static bool belongs(struct gw_slice chain_pem, const struct gw_key *key)
{
    struct gw_buf der = {.max = 65536};
    uint8_t spki[GW_SPKI_BYTES], digest[32];
    struct gw_cert_info info;
    bool same = gw_der_from_pem("CERTIFICATE", chain_pem, &der, NULL) == 0 &&
                gw_cert_parse(gw_buf_slice(&der), &info) == 0 && gw_key_spki(key, spki) == 0 &&
                gw_sha256(GW_SLICE(spki, sizeof(spki)), digest) == 0 &&
                memcmp(digest, info.spki_sha256, sizeof(digest)) == 0;

    gw_buf_fini(&der);
    return same;
}

static bool ctx_takes(WOLFSSL_CTX *ctx, struct gw_slice chain_pem, struct gw_slice key_der)
{
    return wolfSSL_CTX_use_certificate_chain_buffer(ctx, chain_pem.ptr, (long)chain_pem.len) ==
               WOLFSSL_SUCCESS &&
           wolfSSL_CTX_use_PrivateKey_buffer(ctx, key_der.ptr, (long)key_der.len,
                                             WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS;
}

static bool ssl_takes(WOLFSSL *ssl, struct gw_slice chain_pem, struct gw_slice key_der)
{
    return wolfSSL_use_certificate_chain_buffer(ssl, chain_pem.ptr, (long)chain_pem.len) ==
               WOLFSSL_SUCCESS &&
           wolfSSL_use_PrivateKey_buffer(ssl, key_der.ptr, (long)key_der.len,
                                         WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS;
}

int tls_use_chain(WOLFSSL_CTX *ctx, WOLFSSL *ssl, struct gw_slice chain_pem,
                  const struct gw_key *key)
{
    struct gw_buf der = {.max = 4096};
    int err = chain_pem.len <= CHAIN_MAX ? gw_key_private_der(key, &der) : GW_ETOOBIG;
    struct gw_slice key_der = gw_buf_slice(&der);

    if (!err && !belongs(chain_pem, key))
        err = -EINVAL;
    if (!err && !(ctx ? ctx_takes(ctx, chain_pem, key_der) : ssl_takes(ssl, chain_pem, key_der)))
        err = GW_ECRYPTO;
    gw_wipe(der.data, der.cap);
    gw_buf_fini(&der);
    return err;
}

/* Every certificate of a PEM text becomes a root; returns how many were taken. */
static size_t trust(WOLFSSL_CTX *ctx, struct gw_slice pem)
{
    struct gw_buf der = {.max = 65536};
    size_t taken = 0;

    while (gw_der_from_pem("CERTIFICATE", pem, &der, &pem) == 0) {
        if (wolfSSL_CTX_load_verify_buffer(ctx, der.data + der.head, (long)gw_buf_len(&der),
                                           WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS)
            taken++;
        else
            gw_log_warning("CA certificate left out: it is expired or cannot be read");
        gw_buf_consume(&der, gw_buf_len(&der));
    }
    gw_buf_fini(&der);
    return taken;
}

/* ---- servers ---- */

static int trust_clients(struct tls_context *c, const struct gw_tls_server_config *cfg)
{
    int mode = WOLFSSL_VERIFY_PEER, err;

    if (cfg->auth == GW_TLS_AUTH_NONE) {
        wolfSSL_CTX_set_verify(c->ctx, WOLFSSL_VERIFY_NONE, NULL);
        return 0;
    }
    if (cfg->auth == GW_TLS_AUTH_REQUIRED)
        mode |= WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    wolfSSL_CTX_set_verify(c->ctx, mode, tls_on_verify);
    err = gw_der_from_pem("CERTIFICATE", cfg->device_ca_pem, &c->device_ca, NULL);
    if (err)
        return err;
    /* Ours first: another CA that takes its name and key id finds the place taken. */
    if (trust(c->ctx, cfg->device_ca_pem) == 0)
        return GW_ECRYPTO;
    c->has_manufacturers = trust(c->ctx, cfg->manufacturer_cas_pem) > 0;
    return 0;
}

static int list_alpn(struct tls_context *c, const char *const *alpn)
{
    for (size_t i = 0; i < 4 && alpn[i]; i++) {
        if (strlen(c->alpn) + strlen(alpn[i]) + 2 > sizeof(c->alpn))
            return -EINVAL;
        if (i > 0)
            strcat(c->alpn, ",");
        strcat(c->alpn, alpn[i]);
    }
    return 0;
}

static int offer_tickets(struct tls_context *c, struct tls_tickets *tickets)
{
    if (tickets)
        return tls_tickets_offer(c, tickets);
    return wolfSSL_CTX_NoTicketTLSv12(c->ctx) == WOLFSSL_SUCCESS &&
                   wolfSSL_CTX_no_ticket_TLSv13(c->ctx) == 0
               ? 0
               : GW_ECRYPTO;
}

int tls_context_server(const struct gw_tls_server_config *cfg, struct tls_tickets *tickets,
                       struct tls_context **out)
{
    GW_CLEANUP(tls_context_unref) struct tls_context *c = NULL;
    int err = context_new(wolfTLS_server_method(), &c);

    if (!err)
        err = tls_use_chain(c->ctx, NULL, cfg->chain_pem, cfg->key);
    if (!err)
        err = trust_clients(c, cfg);
    if (!err)
        err = list_alpn(c, cfg->alpn);
    if (!err)
        err = offer_tickets(c, tickets);
    if (err)
        return err;
    (void)wolfSSL_CTX_set_options(c->ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    c->nobody = wolfSSL_EC_KEY_new();
    c->auth = cfg->auth;
    c->handshake_ms = cfg->handshake_ms ? cfg->handshake_ms : HANDSHAKE_MS;
    c->grace_days = cfg->auth == GW_TLS_AUTH_OPTIONAL ? cfg->grace_days : 0;
    c->admit = cfg->admit;
    c->owner = cfg->owner;
    *out = GW_TAKE(c);
    return 0;
}

int gw_tls_server_new(const struct gw_tls_server_config *cfg, struct gw_tls_server **out)
{
    struct gw_tls_server *s = calloc(1, sizeof(*s));
    int err = s ? 0 : -ENOMEM;

    if (!err && cfg->tickets_max)
        err = tls_tickets_new(cfg->tickets_max, &s->tickets);
    if (!err)
        err = tls_context_server(cfg, s->tickets, &s->now);
    if (err)
        gw_tls_server_free(&s);
    else
        *out = s;
    return err;
}

int gw_tls_server_reload(struct gw_tls_server *s, const struct gw_tls_server_config *cfg)
{
    struct tls_context *next = NULL;
    int err = tls_context_server(cfg, s->tickets, &next);

    if (err)
        return err;
    if (s->tickets &&
        !gw_slice_eq(gw_buf_slice(&s->now->device_ca), gw_buf_slice(&next->device_ca)))
        tls_tickets_clear(s->tickets);
    if (s->tickets)
        tls_tickets_limit(s->tickets, cfg->tickets_max);
    tls_context_unref(&s->now);
    s->now = next;
    return 0;
}

void gw_tls_server_free(struct gw_tls_server **s)
{
    struct gw_tls_server *own = GW_TAKE(*s);

    if (!own)
        return;
    tls_context_unref(&own->now);
    tls_tickets_unref(&own->tickets);
    free(own);
}

/* ---- clients ---- */

/* The system's CAs take a hundred and more files: read once, into a context that clients share. */
static WOLFSSL_CTX *system_store;

int gw_tls_read_system_store(void)
{
    WOLFSSL_CTX *ctx;
    int err;

    if (system_store)
        return 0;
    ctx = wolfSSL_CTX_new(wolfTLS_client_method());
    if (!ctx)
        return -ENOMEM;
    err = harden(ctx);
    if (!err && wolfSSL_CTX_load_system_CA_certs(ctx) != WOLFSSL_SUCCESS)
        err = GW_ENOTFOUND;
    if (err) {
        wolfSSL_CTX_free(ctx);
        return err;
    }
    wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_PEER, tls_on_verify);
    system_store = ctx;
    return 0;
}

void gw_tls_fini(void)
{
    wolfSSL_CTX_free(system_store);
    system_store = NULL;
}

static int use_system_store(struct tls_context **out)
{
    int err = gw_tls_read_system_store();
    struct tls_context *c;

    if (err)
        return err;
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    if (wolfSSL_CTX_up_ref(system_store) != WOLFSSL_SUCCESS) {
        free(c);
        return GW_ECRYPTO;
    }
    c->users = 1;
    c->ctx = system_store;
    *out = c;
    return 0;
}

static int trust_servers(struct tls_context *c, struct gw_slice ca_pem)
{
    wolfSSL_CTX_set_verify(c->ctx, WOLFSSL_VERIFY_PEER, tls_on_verify);
    return trust(c->ctx, ca_pem) ? 0 : GW_ECRYPTO;
}

int tls_context_client(const struct gw_tls_client_config *cfg, struct tls_context **out)
{
    GW_CLEANUP(tls_context_unref) struct tls_context *c = NULL;
    const char *const alpn[4] = {cfg->alpn};
    int err;

    if (cfg->ca_pem.len) {
        err = context_new(wolfTLS_client_method(), &c);
        if (!err)
            err = trust_servers(c, cfg->ca_pem);
    } else {
        err = use_system_store(&c);
    }
    if (!err)
        err = list_alpn(c, alpn);
    if (err)
        return err;
    c->handshake_ms = cfg->handshake_ms ? cfg->handshake_ms : HANDSHAKE_MS;
    *out = GW_TAKE(c);
    return 0;
}
