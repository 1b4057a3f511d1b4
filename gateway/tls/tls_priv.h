/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the files of this room share: a context (one configuration, shared by its connections), the
 * connection, the judgement on a peer's certificate, and words for failures.
 */
#pragma once

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "tls/tls.h"

#define TLS_RECORD 16384 /* plaintext bytes of one record at most */
#define TLS_DETAIL 96

/** One configuration. Connections keep the one they began with alive. */
struct tls_context {
    unsigned users;
    WOLFSSL_CTX *ctx;
    enum gw_tls_client_auth auth;
    struct gw_buf device_ca; /* DER */
    bool has_manufacturers;
    char alpn[96]; /* comma-separated, as wolfSSL wants it */
    uint32_t handshake_ms;
    uint32_t grace_days;
    int (*admit)(void *owner, const struct gw_identity *id);
    void *owner;
};

int tls_context_server(const struct gw_tls_server_config *cfg,
                       struct tls_context **out) GW_MUST_CHECK;
int tls_context_client(const struct gw_tls_client_config *cfg,
                       struct tls_context **out) GW_MUST_CHECK;
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context **c);

/** Our certificate, what follows it in the chain, and the key: for a context, or one connection. */
int tls_use_chain(WOLFSSL_CTX *ctx, WOLFSSL *ssl, struct gw_slice chain_pem,
                  const struct gw_key *key) GW_MUST_CHECK;

/** What is known of the other end: kept for the connection's life. */
struct tls_peer {
    struct gw_identity id;
    uint8_t *der; /* what id.der points to */
    bool expired;
    int refusal;        /* why its certificate was refused, 0: it was not */
    const char *reason; /* the same in words */
};

/** wolfSSL's verify callback; its context is the connection's struct tls_verify. */
struct tls_verify {
    const struct tls_context *context;
    struct tls_peer peer;
    struct gw_slice address; /* client: what the certificate has to name; empty: a DNS name */
    bool is_server;
};
int tls_on_verify(int preverify, WOLFSSL_X509_STORE_CTX *store);

struct gw_tls_server {
    struct tls_context *now;
};

/** Words for why wolfSSL failed with `code`: the peer's alert, or our own reason. */
void tls_words(WOLFSSL *ssl, int code, char out[TLS_DETAIL]);
