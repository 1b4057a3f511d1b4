/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * COSE (RFC 9052) over libcbor: seal a message under the epoch key, announce an epoch's key to the
 * recipients, and, on the cloud's side, open both. Pure functions of their inputs apart from random
 * numbers; no I/O. Bytes are INTERFACE's, exactly. Loop thread, or a tool's only thread.
 */
#pragma once

#include "crypto/crypto.h"

#define GW_KID_BYTES 8
#define GW_RECIPIENTS_MAX 32

/** The readable, authenticated address of a sealed message (the protected header). */
struct gw_envelope_head {
    uint8_t kid[GW_KID_BYTES];
    struct gw_slice topic;
    struct gw_slice device;
    uint64_t sequence;
    int64_t time_ms;
    struct gw_slice content_type; /**< empty: none */
};

/* ---- the gateway's side ---- */

/** One epoch: a random A256GCM key, kept in memory only, and a count of what it sealed. */
struct gw_epoch;
int gw_epoch_new(struct gw_epoch **out) GW_MUST_CHECK;
void gw_epoch_free(struct gw_epoch **e); /**< wipes the key */
const uint8_t *gw_epoch_kid(const struct gw_epoch *e);
uint64_t gw_epoch_sealed(const struct gw_epoch *e);

/** Upper bound of gw_envelope_seal's output for a head and payload of these lengths. */
size_t gw_envelope_bound(const struct gw_envelope_head *head, size_t payload_len);

/**
 * Seal: COSE_Encrypt0, tag 16. head->kid is ignored (the epoch's is used). The IV is 12 bytes that
 * never repeat under one key. Appends to `out`. GW_EFULL, GW_ECRYPTO.
 */
int gw_envelope_seal(struct gw_epoch *e, const struct gw_envelope_head *head,
                     struct gw_slice payload, struct gw_writer *out) GW_MUST_CHECK;

/**
 * Announce: COSE_Sign1 (tag 18) by `signer` with x5chain `cert_der`, over COSE_Encrypt (tag 96) of
 * the COSE_Key, one ECDH-ES + A256KW recipient for each key.
 */
int gw_epoch_announce(const struct gw_epoch *e, const struct gw_key *const *recipients,
                      size_t count, const struct gw_key *signer, struct gw_slice cert_der,
                      struct gw_buf *out) GW_MUST_CHECK;

/** A recipient's kid: the first 8 bytes of SHA-256 of its SubjectPublicKeyInfo. */
int gw_recipient_kid(const struct gw_key *k, uint8_t out[GW_KID_BYTES]) GW_MUST_CHECK;

/* ---- the reader's side ---- */

/** Read the head without opening. The slices borrow `cose`. GW_EMALFORMED, GW_EUNSUPPORTED. */
int gw_envelope_peek(struct gw_slice cose, struct gw_envelope_head *out) GW_MUST_CHECK;

/** Open under `key`; the plaintext is appended to `out`. GW_EAUTHTAG when one bit differs. */
int gw_envelope_open(struct gw_slice cose, const uint8_t key[32], struct gw_envelope_head *out_head,
                     struct gw_buf *out) GW_MUST_CHECK;

/** What an announcement says once opened. Wipe it after use. */
struct gw_epoch_key {
    uint8_t kid[GW_KID_BYTES];
    uint8_t key[32];
    struct gw_slice cert_der; /**< the signer's certificate, borrowed from the announcement */
};

/**
 * Check the signature by the certificate inside, and unwrap for `recipient`. Whether the
 * certificate is the expected gateway's is the caller's to judge. GW_ENOKEY: not for this key.
 */
int gw_epoch_open(struct gw_slice cose, const struct gw_key *recipient,
                  struct gw_epoch_key *out) GW_MUST_CHECK;
