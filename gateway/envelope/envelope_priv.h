/* SPDX-License-Identifier: GPL-2.0-only */
/** @file Inside room envelope: CBOR items over libcbor, without allocation, and COSE's numbers. */
#pragma once

#include "envelope/envelope.h"

enum {
    COSE_ENCRYPT0 = 16,
    COSE_SIGN1 = 18,
    COSE_ENCRYPT = 96,

    COSE_ES256 = -7,
    COSE_A256GCM = 3,
    COSE_A256KW = -5,
    COSE_ECDH_ES_A256KW = -31,

    /* header labels (RFC 9052 §3.1, RFC 9360, INTERFACE) */
    LABEL_ALG = 1,
    LABEL_CONTENT_TYPE = 3,
    LABEL_KID = 4,
    LABEL_IV = 5,
    LABEL_X5CHAIN = 33,
    LABEL_EPHEMERAL = -1,
    LABEL_TOPIC = -65537,
    LABEL_DEVICE = -65538,
    LABEL_SEQUENCE = -65539,
    LABEL_TIME = -65540,

    /* COSE_Key (RFC 9052 §7, RFC 9053 §7) */
    KEY_TYPE = 1,
    KEY_KID = 2,
    KEY_ALG = 3,
    KEY_K = -1,
    KEY_CURVE = -1,
    KEY_X = -2,
    KEY_Y = -3,
    KEY_EC2 = 2,
    KEY_SYMMETRIC = 4,
    CURVE_P256 = 1,
};

#define IV_BYTES 12
#define TAG_BYTES 16
#define KEY_ROOM 64 /* bytes of the COSE_Key in an announcement */
#define SMALL 128   /* bytes of the fixed parts around headers and payloads */

/* ---- writing ---- */

void item_put_int(struct gw_writer *w, int64_t v);
void item_put_uint(struct gw_writer *w, uint64_t v);
void item_put_bytes(struct gw_writer *w, struct gw_slice s);
void item_put_text(struct gw_writer *w, struct gw_slice s);
/** Only the head of a byte string whose `len` bytes follow. */
void item_put_bytes_head(struct gw_writer *w, size_t len);
void item_put_array(struct gw_writer *w, size_t count);
void item_put_map(struct gw_writer *w, size_t pairs);
void item_put_tag(struct gw_writer *w, uint64_t tag);
void item_put_null(struct gw_writer *w);

/* ---- reading: a wrong type or a bad item makes the reader fail, and every later read zero ---- */

int64_t item_get_int(struct gw_reader *r);
uint64_t item_get_uint(struct gw_reader *r);
struct gw_slice item_get_bytes(struct gw_reader *r);
/** A byte string of exactly `len` bytes. */
const uint8_t *item_get_fixed(struct gw_reader *r, size_t len);
struct gw_slice item_get_text(struct gw_reader *r); /**< valid UTF-8 */
size_t item_get_array(struct gw_reader *r);
size_t item_get_map(struct gw_reader *r); /**< pairs */
void item_want_tag(struct gw_reader *r, uint64_t tag);
void item_want_array(struct gw_reader *r, size_t count);
/** One item of any kind, nested ones too. */
void item_skip(struct gw_reader *r);
/** True when the next item is a byte string. Reads nothing. */
bool item_is_bytes(const struct gw_reader *r);

/* ---- cose.c: what both sides build ---- */

/** ["Encrypt0" or "Encrypt", protected, h''] (RFC 9052 §5.3). */
void cose_put_aad(struct gw_writer *w, const char *context, struct gw_slice protected);

/** {5: IV} and nothing else, which nobody vouches for otherwise. 12 bytes. */
const uint8_t *cose_get_iv(struct gw_reader *r);

/** ["Signature1", protected, h'', payload] (RFC 9052 §4.4). */
void cose_put_signed(struct gw_writer *w, struct gw_slice protected, struct gw_slice payload);

/** The key-encryption key of ECDH-ES + A256KW between two keys (RFC 9053 §6.3.1). */
int cose_agree(const struct gw_key *own, const struct gw_key *peer, struct gw_slice protected,
               uint8_t kek[32]) GW_MUST_CHECK;
