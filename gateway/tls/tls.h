/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * TLS 1.3 and 1.2 (ECDHE with AEAD only) over wolfSSL as a layer of gw_stream. Non-blocking; a
 * handshake has a time limit; memory that an idle connection does not need is given back. Loop
 * thread only.
 */
#pragma once

#include "crypto/crypto.h"
#include "net/net.h"

enum gw_tls_client_auth {
    GW_TLS_AUTH_NONE,     /**< no certificate is asked for: admin pages */
    GW_TLS_AUTH_OPTIONAL, /**< asked for, may be absent: enrolment */
    GW_TLS_AUTH_REQUIRED, /**< MQTT */
};

struct gw_tls_server_config {
    struct gw_slice chain_pem;     /**< our certificate, then its CA */
    const struct gw_key *key;      /**< its private key */
    struct gw_slice device_ca_pem; /**< the CA whose certificates name devices */
    struct gw_slice
        manufacturer_cas_pem; /**< further CAs accepted as `manufacturer`; may be empty */
    enum gw_tls_client_auth auth;
    const char *alpn[4]; /**< the client's first of these is taken; NULL ends it; none: no ALPN */
    uint32_t handshake_ms;
    /**
     * The last word on a certificate of an accepted CA, inside the handshake: 0 admits it;
     * GW_EQUARANTINED, GW_EREVOKED or GW_EIDENTITY refuse it with an alert and are the stream's
     * error. NULL admits all. That the peer holds the key is proved a message later, so only look
     * things up here and count nothing: the identity is a fact with READY.
     */
    int (*admit)(void *owner, const struct gw_identity *id);
    void *owner;
    /**
     * An expired device certificate up to so many days is let through with OPTIONAL (RFC 7030
     * re-enrolment); the identity's `expired` tells. 0: none.
     */
    uint32_t grace_days;
    /**
     * Sessions of devices that may be resumed (RFC 8446 §2.2, RFC 5077), so many at most, for a day
     * and not past their certificate; `admit` is asked each time. In memory only. 0: none.
     */
    uint32_t tickets_max;
};

struct gw_tls_server;
int gw_tls_server_new(const struct gw_tls_server_config *cfg,
                      struct gw_tls_server **out) GW_MUST_CHECK;
/** New connections use the new configuration; live ones keep theirs. On failure the old one stays.
 */
int gw_tls_server_reload(struct gw_tls_server *s,
                         const struct gw_tls_server_config *cfg) GW_MUST_CHECK;
void gw_tls_server_free(struct gw_tls_server **s);

/** A TLS stream over an accepted socket (owned from now on, also on failure). READY follows the
 * handshake. */
int gw_tls_accept(struct gw_loop *loop, struct gw_tls_server *server, int fd,
                  const struct gw_stream_limits *limits, struct gw_stream **out) GW_MUST_CHECK;

struct gw_tls_client_config {
    struct gw_slice ca_pem; /**< what the server's chain must end in; empty: the system's store */
    struct gw_slice chain_pem; /**< our certificate; empty: none */
    const struct gw_key *key;  /**< NULL with an empty chain */
    const char *server_name;   /**< checked against the certificate: a DNS name or an address */
    const char *alpn;          /**< NULL: none */
    uint32_t handshake_ms;
};

/**
 * Read the system's certificate store now, which needs files, so that gw_tls_connect can use it
 * later from a sandbox. Without this the first gw_tls_connect with an empty `ca_pem` does it.
 */
int gw_tls_read_system_store(void) GW_MUST_CHECK;
/** Give the system's store back. */
void gw_tls_fini(void);

/**
 * Connect and shake hands; READY or CLOSED follows. GW_EIDENTITY: the server's certificate is not
 * acceptable or not for `server_name`. The configuration is copied.
 */
int gw_tls_connect(struct gw_loop *loop, const struct gw_addr *to,
                   const struct gw_tls_client_config *cfg, const struct gw_stream_limits *limits,
                   struct gw_stream **out) GW_MUST_CHECK;
