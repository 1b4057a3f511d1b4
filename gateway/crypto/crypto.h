/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Keys, ciphers and certificates over wolfCrypt; AES with CPU instructions through libgcrypt behind
 * wolfSSL's crypto callback where wolfSSL's build has none. Outputs are untouched on failure;
 * secrets are wiped when freed. Call gw_crypto_init once before anything else; afterwards any
 * thread, an object by one thread at a time.
 */
#pragma once

#include "base/bytes.h"

int gw_crypto_init(void) GW_MUST_CHECK;
void gw_crypto_fini(void);
/** What does the AES of TLS here, for `status`: "libgcrypt (AES-NI)" or "wolfCrypt". */
const char *gw_crypto_aes_name(void);

#define GW_CRYPTO_SIZES 2 /**< records that are tried out: 256 bytes and 16 KiB */

/** Nanoseconds that sealing one record takes, for each size; 0: it could not be tried. */
struct gw_crypto_speed {
    uint64_t aes_callback_ns[GW_CRYPTO_SIZES]; /**< AES-128-GCM by libgcrypt, behind the callback */
    uint64_t aes_own_ns[GW_CRYPTO_SIZES];      /**< AES-128-GCM by wolfCrypt itself */
    uint64_t chacha_ns[GW_CRYPTO_SIZES];       /**< ChaCha20-Poly1305 by wolfCrypt */
};
/**
 * Try the ciphers of TLS out on this machine: some six milliseconds, or one record of each where
 * that takes longer. On the thread that does TLS.
 */
void gw_crypto_try_ciphers(struct gw_crypto_speed *out);
/**
 * From now on AES goes where it is faster, and new TLS contexts put the faster cipher first. Until
 * then the flags of the CPU decide, which is a guess.
 */
void gw_crypto_prefer(const struct gw_crypto_speed *speed);
/** AES-GCM is the cipher to prefer, otherwise ChaCha20-Poly1305. */
bool gw_crypto_aes_first(void);
/** The same for people: which is first, and what was measured. */
const char *gw_crypto_cipher_text(void);
/** wolfSSL's device id of our crypto callback, which a TLS context has to name. Its AES is for one
 * thread, the loop's; its random numbers for any. */
int gw_crypto_device(void);

int gw_random(void *out, size_t len) GW_MUST_CHECK;
int gw_sha256(struct gw_slice data, uint8_t out[32]) GW_MUST_CHECK;
/** Only where a protocol demands it and no secret rests on it (RFC 6455 §4.2.2). */
int gw_sha1(struct gw_slice data, uint8_t out[20]) GW_MUST_CHECK;

/* ---- AES ---- */

struct gw_aes_gcm; /**< AES-256-GCM with one key: set up once, used for many messages */
int gw_aes_gcm_new(const uint8_t key[32], struct gw_aes_gcm **out) GW_MUST_CHECK;
void gw_aes_gcm_free(struct gw_aes_gcm **a);
/** `out` gets plain.len + 16 bytes: ciphertext and tag. `out` may not overlap `plain`. */
int gw_aes_gcm_seal(struct gw_aes_gcm *a, const uint8_t iv[12], struct gw_slice aad,
                    struct gw_slice plain, uint8_t *out) GW_MUST_CHECK;
/** `sealed` ends in the tag; `out` gets sealed.len - 16 bytes. GW_EAUTHTAG; `out` is wiped then. */
int gw_aes_gcm_open(struct gw_aes_gcm *a, const uint8_t iv[12], struct gw_slice aad,
                    struct gw_slice sealed, uint8_t *out) GW_MUST_CHECK;
/** AES key wrap (RFC 3394) of 32 bytes to 40, and back (GW_EAUTHTAG). */
int gw_aes_wrap(const uint8_t kek[32], const uint8_t key[32], uint8_t out[40]) GW_MUST_CHECK;
int gw_aes_unwrap(const uint8_t kek[32], const uint8_t wrapped[40], uint8_t out[32]) GW_MUST_CHECK;

/* ---- key derivation and passwords ---- */

int gw_hmac_sha256(struct gw_slice key, struct gw_slice data, uint8_t out[32]) GW_MUST_CHECK;
int gw_hkdf_sha256(struct gw_slice secret, struct gw_slice salt, struct gw_slice info, uint8_t *out,
                   size_t len) GW_MUST_CHECK;
/** scrypt with N 2^15, r 8, p 1 (RFC 7914): about 50 ms, 32 MiB. Not on the loop's thread. */
int gw_scrypt(struct gw_slice password, const uint8_t salt[16], uint8_t out[32]) GW_MUST_CHECK;

/* ---- P-256 ---- */

/** A P-256 key: private and public, or public only. */
struct gw_key;
int gw_key_generate(struct gw_key **out) GW_MUST_CHECK;
/** PEM, SEC1 or PKCS#8 private, or SubjectPublicKeyInfo; the type is read from the text. Only
 * P-256. */
int gw_key_from_pem(struct gw_slice pem, struct gw_key **out) GW_MUST_CHECK;
/** From an uncompressed point's x and y. GW_EMALFORMED off the curve. */
int gw_key_from_point(const uint8_t x[32], const uint8_t y[32], struct gw_key **out) GW_MUST_CHECK;
/** DER SubjectPublicKeyInfo. */
int gw_key_from_spki(struct gw_slice der, struct gw_key **out) GW_MUST_CHECK;
void gw_key_free(struct gw_key **k);
bool gw_key_is_private(const struct gw_key *k);
/** PKCS#8 PEM, NUL-terminated text appended without its zero. */
int gw_key_private_pem(const struct gw_key *k, struct gw_buf *out) GW_MUST_CHECK;
int gw_key_public_pem(const struct gw_key *k, struct gw_buf *out) GW_MUST_CHECK;
#define GW_SPKI_BYTES 91 /**< a P-256 SubjectPublicKeyInfo with its named curve */
int gw_key_spki(const struct gw_key *k, uint8_t out[GW_SPKI_BYTES]) GW_MUST_CHECK;
int gw_key_point(const struct gw_key *k, uint8_t x[32], uint8_t y[32]) GW_MUST_CHECK;
/** Private key, SEC1 or PKCS#8 DER, for wolfSSL; wiped by the caller. */
int gw_key_private_der(const struct gw_key *k, struct gw_buf *out) GW_MUST_CHECK;
/** ECDSA with SHA-256 over `data`: r || s, 64 bytes (RFC 9053 §2.1). */
int gw_ecdsa_sign(const struct gw_key *k, struct gw_slice data, uint8_t out[64]) GW_MUST_CHECK;
/** GW_EAUTHTAG when it does not verify. */
int gw_ecdsa_verify(const struct gw_key *k, struct gw_slice data,
                    const uint8_t sig[64]) GW_MUST_CHECK;
/** The shared x coordinate. */
int gw_ecdh(const struct gw_key *own, const struct gw_key *peer, uint8_t out[32]) GW_MUST_CHECK;

/* ---- certificates ---- */

enum gw_cert_use { GW_CERT_CA, GW_CERT_SERVER, GW_CERT_DEVICE };

struct gw_cert_request {
    enum gw_cert_use use;
    const char *common_name;           /**< 1 to 64 bytes */
    const char *organization;          /**< NULL: none */
    const char *const *dns_names;      /**< NULL-terminated; server SAN */
    const struct gw_slice *addresses;  /**< 4 or 16 bytes each, ended by an empty one; server SAN */
    int64_t not_before_s, not_after_s; /**< seconds since 1970, UTC */
};

/** Self-signed when `issuer_pem` is empty: a CA. Otherwise signed by `issuer_key`. DER appended. */
int gw_cert_issue(const struct gw_cert_request *req, const struct gw_key *subject,
                  struct gw_slice issuer_der, const struct gw_key *issuer_key,
                  struct gw_buf *out_der) GW_MUST_CHECK;

struct gw_cert_info {
    char common_name[65];
    char issuer_name[65];
    uint8_t serial[20];
    size_t serial_len;
    int64_t not_before_s, not_after_s;
    uint8_t thumbprint[32]; /**< SHA-256 of the DER */
    uint8_t spki_sha256[32];
    bool is_ca;                    /**< basicConstraints */
    bool client_auth, server_auth; /**< extended key usage; without the extension neither */
};
int gw_cert_parse(struct gw_slice der, struct gw_cert_info *out) GW_MUST_CHECK;
/** The public key of a certificate. */
int gw_cert_key(struct gw_slice der, struct gw_key **out) GW_MUST_CHECK;
/** 0 when `der` was signed by `issuer_der`'s key. */
int gw_cert_verify(struct gw_slice der, struct gw_slice issuer_der) GW_MUST_CHECK;
/** Every DNS name and address of the SAN is among the certificate's: for "is it still right?". */
bool gw_cert_has_names(struct gw_slice der, const char *const *dns_names,
                       const struct gw_slice *addresses);

/** A certification request (PKCS#10), its self-signature checked (proof of possession). */
struct gw_csr {
    char common_name[65]; /**< "" : none */
    struct gw_key *key;   /**< owned: gw_csr_fini */
};
/** DER in; GW_EMALFORMED, GW_EUNSUPPORTED (not P-256), GW_EAUTHTAG (wrong self-signature). */
int gw_csr_parse(struct gw_slice der, struct gw_csr *out) GW_MUST_CHECK;
void gw_csr_fini(struct gw_csr *csr);
/** A request for tests and the uplink's own certificate. DER appended. */
int gw_csr_make(const char *common_name, const struct gw_key *key,
                struct gw_buf *out_der) GW_MUST_CHECK;

/** A degenerate PKCS#7 "certs-only" message (RFC 7030 §4.1.3), DER appended. */
int gw_pkcs7_certs(const struct gw_slice *certs_der, size_t count,
                   struct gw_buf *out_der) GW_MUST_CHECK;

int gw_pem_from_der(const char *label, struct gw_slice der, struct gw_buf *out) GW_MUST_CHECK;
/** The first block with this label, e.g. "CERTIFICATE"; GW_ENOTFOUND. `*rest` continues behind it.
 */
int gw_der_from_pem(const char *label, struct gw_slice pem, struct gw_buf *out,
                    struct gw_slice *rest) GW_MUST_CHECK;
/** Base64 (RFC 4648 §4) in lines of 64 or unbroken; white space is skipped on the way back. */
int gw_base64(struct gw_slice data, bool lines, struct gw_buf *out) GW_MUST_CHECK;
int gw_unbase64(struct gw_slice text, struct gw_buf *out) GW_MUST_CHECK;
/** Base64url without padding (RFC 4648 §5). */
int gw_base64url(struct gw_slice data, struct gw_buf *out) GW_MUST_CHECK;
int gw_unbase64url(struct gw_slice text, struct gw_buf *out) GW_MUST_CHECK;
