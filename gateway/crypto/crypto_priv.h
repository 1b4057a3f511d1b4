/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the files of this room share: the random source, the key, and DER in both directions.
 */
#pragma once

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>

#include "crypto/crypto.h"

/* ---- random numbers ---- */

/** Every block comes from getrandom(2) through our device, so one serves all threads. */
WC_RNG *gw_crypto_rng(void);

/** Whether the callback does AES; what held before. */
bool crypto_aes_by_callback(bool does);

/** What the figures say: pure. */
struct crypto_choice {
    bool aes_by_callback, aes_first;
};
struct crypto_choice crypto_choose(const struct gw_crypto_speed *speed);

/* ---- signatures that were right before (verified.c); any thread ---- */

/** As wc_ecc_verify_hash; one that was right before is right without a calculation. */
int crypto_verify(const byte *sig, word32 sig_len, const byte *hash, word32 hash_len, int *good,
                  ecc_key *key) GW_MUST_CHECK;
uint64_t crypto_verified_hits(void); /**< so many since the start */
void crypto_verified_forget(void);

/* ---- keys ---- */

struct gw_key {
    ecc_key ecc;
    bool is_private;
    uint8_t point[64]; /**< x || y */
};

enum gw_ecdsa_hash { GW_ECDSA_SHA256, GW_ECDSA_SHA384, GW_ECDSA_SHA512 };

/** ECDSA with a DER signature, as X.509 wants it; `out` gets up to 72 bytes. */
int gw_ecdsa_sign_der(const struct gw_key *k, struct gw_slice data, uint8_t out[72],
                      size_t *out_len) GW_MUST_CHECK;
int gw_ecdsa_verify_der(const struct gw_key *k, enum gw_ecdsa_hash hash, struct gw_slice data,
                        struct gw_slice sig) GW_MUST_CHECK;
/** SubjectPublicKeyInfo from the reader; GW_EUNSUPPORTED when it is no P-256 key. */
int gw_key_read_spki(struct gw_reader *r, struct gw_key **out) GW_MUST_CHECK;

/* ---- DER ---- */

enum {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BITS = 0x03,
    DER_OCTETS = 0x04,
    DER_OID = 0x06,
    DER_UTF8 = 0x0c,
    DER_PRINTABLE = 0x13,
    DER_UTC_TIME = 0x17,
    DER_GENERAL_TIME = 0x18,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
    DER_CONTEXT_0 = 0xa0,
    DER_CONTEXT_1 = 0xa1,
    DER_CONTEXT_3 = 0xa3,
};

/** The tag of the next element; 0 at the end. */
uint8_t gw_der_peek(const struct gw_reader *r);
/** The contents of the next element, which must have this tag (X.690 §10: definite, minimal). */
struct gw_reader gw_der_in(struct gw_reader *r, uint8_t tag);
/** The next element whole, tag and length included. */
struct gw_slice gw_der_whole(struct gw_reader *r, uint8_t tag);
/** Skip the next element, whatever it is. */
void gw_der_skip(struct gw_reader *r);
/** The octets of a BIT STRING without unused bits. */
struct gw_slice gw_der_bits(struct gw_reader *r);
/** An OBJECT IDENTIFIER's contents. */
struct gw_slice gw_der_oid(struct gw_reader *r);
/** Begin an element; the result goes to gw_der_end, which puts the length in. */
size_t gw_der_begin(struct gw_writer *w, uint8_t tag);
void gw_der_end(struct gw_writer *w, size_t mark);
void gw_der_put(struct gw_writer *w, uint8_t tag, struct gw_slice contents);
/** 0, or GW_EMALFORMED for any way in which the input did not end where it should. */
int gw_der_done(const struct gw_reader *r) GW_MUST_CHECK;

/* Contents of object identifiers. */
#define OID_EC_PUBLIC_KEY GW_SLICE_LIT("\x2a\x86\x48\xce\x3d\x02\x01")
#define OID_PRIME256V1 GW_SLICE_LIT("\x2a\x86\x48\xce\x3d\x03\x01\x07")
#define OID_ECDSA_SHA256 GW_SLICE_LIT("\x2a\x86\x48\xce\x3d\x04\x03\x02")
#define OID_ECDSA_SHA384 GW_SLICE_LIT("\x2a\x86\x48\xce\x3d\x04\x03\x03")
#define OID_ECDSA_SHA512 GW_SLICE_LIT("\x2a\x86\x48\xce\x3d\x04\x03\x04")
#define OID_COMMON_NAME GW_SLICE_LIT("\x55\x04\x03")
#define OID_ORGANIZATION GW_SLICE_LIT("\x55\x04\x0a")
#define OID_SUBJECT_KEY_ID GW_SLICE_LIT("\x55\x1d\x0e")
#define OID_KEY_USAGE GW_SLICE_LIT("\x55\x1d\x0f")
#define OID_SUBJECT_ALT_NAME GW_SLICE_LIT("\x55\x1d\x11")
#define OID_BASIC_CONSTRAINTS GW_SLICE_LIT("\x55\x1d\x13")
#define OID_AUTHORITY_KEY_ID GW_SLICE_LIT("\x55\x1d\x23")
#define OID_EXT_KEY_USAGE GW_SLICE_LIT("\x55\x1d\x25")
#define OID_SERVER_AUTH GW_SLICE_LIT("\x2b\x06\x01\x05\x05\x07\x03\x01")
#define OID_CLIENT_AUTH GW_SLICE_LIT("\x2b\x06\x01\x05\x05\x07\x03\x02")
#define OID_DATA GW_SLICE_LIT("\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01")
#define OID_SIGNED_DATA GW_SLICE_LIT("\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")

/* ---- certificates ---- */

/** The parts of a certificate, borrowed from its DER. */
struct gw_x509 {
    struct gw_slice tbs;
    enum gw_ecdsa_hash hash;
    bool hash_known; /**< false: signed in another way than ECDSA with SHA-2 */
    struct gw_slice signature;
    struct gw_slice serial;
    struct gw_slice issuer;     /**< Name, whole */
    struct gw_slice subject;    /**< Name, whole */
    struct gw_slice spki;       /**< whole */
    struct gw_slice extensions; /**< contents of the SEQUENCE; empty: none */
    int64_t not_before_s, not_after_s;
};
int gw_x509_read(struct gw_slice der, struct gw_x509 *out) GW_MUST_CHECK;
/** The contents of an extension's OCTET STRING; false when there is none. */
bool gw_x509_extension(const struct gw_x509 *x, struct gw_slice oid, struct gw_slice *out);
/** AlgorithmIdentifier of a signature. */
bool gw_der_signature_hash(struct gw_reader *r, enum gw_ecdsa_hash *out);
/** The first commonName of a Name; "" when there is none or it does not fit. */
int gw_x509_common_name(struct gw_slice name, char out[65]) GW_MUST_CHECK;
