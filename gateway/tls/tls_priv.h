/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the files of this room share: a context (one configuration, shared by its connections), the
 * connection, the judgement on a peer's certificate, and words for failures.
 */
#pragma once

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "net/layer.h"
#include "tls/tls.h"

#define TLS_RECORD 16384 /* plaintext bytes of one record at most */
#define TLS_DETAIL 96
#define TLS_TICKET_S 86400 /* a session may be resumed for so long */
#define TLS_TICKET_MAX 512 /* more than wolfSSL's state of a session takes */

struct tls_tickets;
struct tls_who;

/** One configuration. Connections keep the one they began with alive. */
struct tls_context {
    unsigned users;
    WOLFSSL_CTX *ctx;
    enum gw_tls_client_auth auth;
    WOLFSSL_EC_KEY *nobody;  /* stands in for keys that are not needed any more */
    struct gw_buf device_ca; /* DER */
    bool has_manufacturers;
    char alpn[96]; /* comma-separated, as wolfSSL wants it */
    uint32_t handshake_ms;
    uint32_t grace_days;
    struct tls_tickets *tickets; /* NULL: nothing is resumed */
    int (*admit)(void *owner, const struct gw_identity *id);
    void *owner;
};

/** `tickets` NULL: nothing is resumed. */
int tls_context_server(const struct gw_tls_server_config *cfg, struct tls_tickets *tickets,
                       struct tls_context **out) GW_MUST_CHECK;
int tls_context_client(const struct gw_tls_client_config *cfg,
                       struct tls_context **out) GW_MUST_CHECK;
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context **c);

/** Our certificate, what follows it in the chain, and the key: for a context, or one connection. */
int tls_use_chain(WOLFSSL_CTX *ctx, WOLFSSL *ssl, struct gw_slice chain_pem,
                  const struct gw_key *key) GW_MUST_CHECK;

/** Who a certificate names. Its connections and its tickets share one. */
struct tls_who {
    unsigned users;
    struct gw_identity id;  /* its `der` is the one below */
    int64_t ends_s;         /* when the certificate ends: seconds since 1970 */
    struct gw_list tickets; /* the one that was used last comes last */
    uint32_t ticket_count;
    uint8_t der[];
};
struct tls_who *tls_who_ref(struct tls_who *who);
void tls_who_unref(struct tls_who **who);

/** What is known of the other end: kept for the connection's life. */
struct tls_peer {
    struct tls_who *who; /* NULL: it showed no certificate */
    int refusal;         /* why its certificate was refused, 0: it was not */
    const char *reason;  /* the same in words */
};

/** wolfSSL's verify callback; its context is the connection's struct tls_verify. */
struct tls_verify {
    const struct tls_context *context;
    struct tls_peer peer;
    struct tls_who *resumed; /* what a ticket says, until the handshake ends */
    int64_t resumed_ends_s;  /* and when a full handshake is due again */
    struct gw_slice address; /* client: what the certificate has to name; empty: a DNS name */
    bool is_server;
};
int tls_on_verify(int preverify, WOLFSSL_X509_STORE_CTX *store);

/** One connection. */
enum tls_state {
    TLS_HANDSHAKE,
    TLS_OPEN,
    TLS_CLOSING, /* nothing is delivered any more but CLOSED */
    TLS_ENDED,
};

struct tls {
    struct gw_stream base;
    struct gw_loop *loop;
    struct gw_stream *tcp;
    WOLFSSL *ssl;
    struct tls_context *context;
    struct tls_verify verify;
    enum tls_state state;
    struct gw_task flush;  /* encrypt what was gathered, at the turn's end */
    struct gw_task wake;   /* deliver what is due: READY, input again */
    struct gw_timer timer; /* of the handshake; then until memory is given back */
    struct gw_layer_input in;
    struct gw_buf out; /* plaintext gathered in this turn */
    uint16_t usual;    /* bytes gathered in the last one that had any, up to a record's */
    size_t output_max;
    bool proved; /* the handshake is done, and what the peer showed is its own */
    bool ready_due, input_due, paused;
    int end_code;        /* wolfSSL met the end while the owner was paused */
    uint8_t address[16]; /* client: what the certificate has to name */
    char alpn[16];
    char detail[TLS_DETAIL];
};

/** Leave, with what is queued; CLOSED follows when the socket is done. */
void tls_leave(struct tls *t, int err);
/** wolfSSL gave up with this code; its alert, if it had one to send, is queued. */
void tls_fail(struct tls *t, int code);
/** While nobody reads, nothing is taken from the socket either; a handshake reads for itself. */
void tls_hold(struct tls *t);
/** One step of the handshake; false when the stream is gone, at its end, or has to wait. */
bool tls_shake_hands(struct tls *t);
void tls_on_timer(void *tls);
/** An unattached connection over no socket yet; takes over `context`. */
int tls_new(struct gw_loop *loop, struct tls_context *context, bool is_server,
            const struct gw_stream_limits *limits, struct tls **out) GW_MUST_CHECK;
/** wolfSSL's callbacks, and the events of the socket's stream. */
int tls_on_receive(WOLFSSL *ssl, char *buf, int size, void *owner);
int tls_on_send(WOLFSSL *ssl, char *buf, int size, void *owner);
void tls_on_socket(void *owner, enum gw_stream_event ev);

struct gw_tls_server {
    struct tls_context *now;
    struct tls_tickets *tickets;
};

/* ---- resumption (tickets.c) ---- */

int tls_tickets_new(uint32_t max, struct tls_tickets **out) GW_MUST_CHECK;
struct tls_tickets *tls_tickets_ref(struct tls_tickets *all);
void tls_tickets_unref(struct tls_tickets **all);
/** Every one of them leads to a full handshake now. */
void tls_tickets_clear(struct tls_tickets *all);
/** No more than so many from now on. */
void tls_tickets_limit(struct tls_tickets *all, uint32_t max);
/** Connections of this context give tickets out and take them back. */
int tls_tickets_offer(struct tls_context *c, struct tls_tickets *all) GW_MUST_CHECK;
/**
 * At the handshake's end: who the peer is, if it resumed. False: nobody knows who, and somebody
 * known is required, or the session was resumed.
 */
bool tls_knows_peer(struct tls *t) GW_MUST_CHECK;
/**
 * The ServerHello in front of `flight` resumes a session by its secret alone (RFC 8446 §4.2.9,
 * psk_ke): who learns that later could read all of it.
 */
bool tls_resumes_without_key_exchange(struct gw_slice flight);

/** Words for why wolfSSL failed with `code`: the peer's alert, or our own reason. */
void tls_words(WOLFSSL *ssl, int code, char out[TLS_DETAIL]);
