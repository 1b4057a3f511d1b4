/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_priv.h"

#include <errno.h>

#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/hash.h>

#define COORDINATE 32
#define POINT 65 /* 04 || x || y */

/* Everything in a P-256 SubjectPublicKeyInfo before 04 || x || y (RFC 5480 §2). */
static const uint8_t spki_head[GW_SPKI_BYTES - POINT] =
    "\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
    "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/* SEC1 ECPrivateKey (RFC 5915): before the scalar, between it and the public point. */
static const uint8_t sec1_head[] = "\x30\x77\x02\x01\x01\x04\x20";
static const uint8_t sec1_curve[] =
    "\xa0\x0a\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\xa1\x44\x03\x42\x00";
/* PKCS#8 (RFC 5958) with the curve in the algorithm, so not again inside. */
static const uint8_t pkcs8_head[] =
    "\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
    "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20";
static const uint8_t pkcs8_public[] = "\xa1\x44\x03\x42\x00";

#define LITERAL(array) GW_SLICE(array, sizeof(array) - 1)

/* wolfCrypt's functions take keys without const, and leave them as they are. */
static ecc_key *ecc_of(const struct gw_key *k)
{
    return &((struct gw_key *)(uintptr_t)k)->ecc;
}

void gw_key_free(struct gw_key **k)
{
    struct gw_key *own = GW_TAKE(*k);

    if (!own)
        return;
    (void)wc_ecc_free(&own->ecc);
    gw_wipe(own, sizeof(*own));
    free(own);
}

static int key_new(struct gw_key **out)
{
    struct gw_key *k = calloc(1, sizeof(*k));

    if (!k)
        return -ENOMEM;
    if (wc_ecc_init(&k->ecc)) {
        free(k);
        return GW_ECRYPTO;
    }
    *out = k;
    return 0;
}

/* The last step of every way to a key. */
static int key_finish(struct gw_key **k, struct gw_key **out)
{
    word32 x_len = COORDINATE, y_len = COORDINATE;
    struct gw_key *key = *k;

    if (wc_ecc_export_public_raw(&key->ecc, key->point, &x_len, key->point + COORDINATE, &y_len) ||
        wc_ecc_set_rng(&key->ecc, gw_crypto_rng()))
        return GW_ECRYPTO;
    *out = GW_TAKE(*k);
    return 0;
}

int gw_key_generate(struct gw_key **out)
{
    GW_CLEANUP(gw_key_free) struct gw_key *k = NULL;
    int err = key_new(&k);

    if (err)
        return err;
    if (wc_ecc_make_key_ex(gw_crypto_rng(), COORDINATE, &k->ecc, ECC_SECP256R1))
        return GW_ECRYPTO;
    k->is_private = true;
    return key_finish(&k, out);
}

/* `point` is 04 || x || y. The check matters: a point off the curve gives ECDH secrets away. */
static int from_point(struct gw_slice point, struct gw_key **out)
{
    GW_CLEANUP(gw_key_free) struct gw_key *k = NULL;
    int err = key_new(&k);

    if (err)
        return err;
    if (wc_ecc_import_x963_ex(point.ptr, POINT, &k->ecc, ECC_SECP256R1) ||
        wc_ecc_check_key(&k->ecc))
        return GW_EMALFORMED;
    return key_finish(&k, out);
}

int gw_key_from_point(const uint8_t x[32], const uint8_t y[32], struct gw_key **out)
{
    uint8_t point[POINT] = {4};

    memcpy(point + 1, x, COORDINATE);
    memcpy(point + 1 + COORDINATE, y, COORDINATE);
    return from_point(GW_SLICE(point, sizeof(point)), out);
}

/* The public point is computed, not believed. */
static int from_scalar(struct gw_slice scalar, struct gw_key **out)
{
    GW_CLEANUP(gw_key_free) struct gw_key *k = NULL;
    int err = key_new(&k);

    if (err)
        return err;
    if (wc_ecc_import_private_key_ex(scalar.ptr, COORDINATE, NULL, 0, &k->ecc, ECC_SECP256R1) ||
        wc_ecc_make_pub_ex(&k->ecc, NULL, gw_crypto_rng()))
        return GW_EMALFORMED;
    k->is_private = true;
    return key_finish(&k, out);
}

int gw_key_read_spki(struct gw_reader *r, struct gw_key **out)
{
    struct gw_reader spki = gw_der_in(r, DER_SEQUENCE);
    struct gw_reader alg = gw_der_in(&spki, DER_SEQUENCE);
    struct gw_slice type = gw_der_oid(&alg), point;

    if (alg.err)
        return GW_EMALFORMED;
    if (!gw_slice_eq(type, OID_EC_PUBLIC_KEY))
        return GW_EUNSUPPORTED;
    if (gw_der_peek(&alg) != DER_OID || !gw_slice_eq(gw_der_oid(&alg), OID_PRIME256V1))
        return alg.err ? GW_EMALFORMED : GW_EUNSUPPORTED;
    point = gw_der_bits(&spki);
    if (gw_der_done(&alg) || gw_der_done(&spki))
        return GW_EMALFORMED;
    if (point.len != POINT || point.ptr[0] != 4)
        return GW_EUNSUPPORTED;
    return from_point(point, out);
}

int gw_key_from_spki(struct gw_slice der, struct gw_key **out)
{
    GW_CLEANUP(gw_key_free) struct gw_key *k = NULL;
    struct gw_reader r = gw_reader_of(der);
    int err = gw_key_read_spki(&r, &k);

    if (!err)
        err = gw_der_done(&r);
    if (!err)
        *out = GW_TAKE(k);
    return err;
}

/* ECPrivateKey; the curve stands here, or in `outer_curve` (PKCS#8). */
static int from_sec1(struct gw_reader r, bool outer_curve, struct gw_key **out)
{
    struct gw_reader body = gw_der_in(&r, DER_SEQUENCE), inner;
    struct gw_slice scalar;

    inner = gw_der_in(&body, DER_INTEGER);
    if (gw_reader_u8(&inner) != 1 || gw_der_done(&inner))
        return GW_EMALFORMED;
    inner = gw_der_in(&body, DER_OCTETS);
    scalar = gw_reader_rest(&inner);
    if (gw_der_peek(&body) == DER_CONTEXT_0) {
        inner = gw_der_in(&body, DER_CONTEXT_0);
        if (!gw_slice_eq(gw_der_oid(&inner), OID_PRIME256V1))
            return inner.err ? GW_EMALFORMED : GW_EUNSUPPORTED;
    } else if (!outer_curve) {
        return body.err ? GW_EMALFORMED : GW_EUNSUPPORTED;
    }
    if (body.err || gw_der_done(&r))
        return GW_EMALFORMED;
    return scalar.len == COORDINATE ? from_scalar(scalar, out) : GW_EUNSUPPORTED;
}

static int from_pkcs8(struct gw_reader r, struct gw_key **out)
{
    struct gw_reader body = gw_der_in(&r, DER_SEQUENCE), alg;
    struct gw_slice type;

    gw_der_skip(&body); /* version */
    alg = gw_der_in(&body, DER_SEQUENCE);
    type = gw_der_oid(&alg);
    if (alg.err)
        return GW_EMALFORMED;
    if (!gw_slice_eq(type, OID_EC_PUBLIC_KEY) || !gw_slice_eq(gw_der_oid(&alg), OID_PRIME256V1))
        return GW_EUNSUPPORTED;
    return from_sec1(gw_der_in(&body, DER_OCTETS), true, out);
}

static int from_der(size_t label, struct gw_slice der, struct gw_key **out)
{
    struct gw_reader r = gw_reader_of(der);

    if (label == 0)
        return from_sec1(r, false, out);
    return label == 1 ? from_pkcs8(r, out) : gw_key_from_spki(der, out);
}

int gw_key_from_pem(struct gw_slice pem, struct gw_key **out)
{
    static const char *const labels[] = {"EC PRIVATE KEY", "PRIVATE KEY", "PUBLIC KEY"};
    struct gw_buf der = {.max = 4096};
    int err = GW_ENOTFOUND;

    if (pem.len > 65536)
        return GW_ETOOBIG;
    for (size_t i = 0; i < GW_COUNT(labels) && err == GW_ENOTFOUND; i++) {
        err = gw_der_from_pem(labels[i], pem, &der, NULL);
        if (!err)
            err = from_der(i, gw_buf_slice(&der), out);
    }
    gw_wipe(der.data, der.cap);
    gw_buf_fini(&der);
    return err;
}

bool gw_key_is_private(const struct gw_key *k)
{
    return k->is_private;
}

static int scalar_of(const struct gw_key *k, uint8_t out[COORDINATE])
{
    word32 len = COORDINATE;

    if (!k->is_private)
        return GW_ENOKEY;
    return wc_ecc_export_private_only(ecc_of(k), out, &len) ? GW_ECRYPTO : 0;
}

/* head, the scalar, middle, 04 || x || y: both forms of a private key. */
static int private_der(const struct gw_key *k, struct gw_slice head, struct gw_slice middle,
                       struct gw_writer *w)
{
    uint8_t *room;
    int err;

    gw_writer_put(w, head);
    room = gw_writer_room(w, COORDINATE);
    err = room ? scalar_of(k, room) : GW_EFULL;
    gw_writer_put(w, middle);
    gw_writer_u8(w, 4);
    gw_writer_put(w, GW_SLICE(k->point, sizeof(k->point)));
    return err ? err : w->err;
}

int gw_key_private_der(const struct gw_key *k, struct gw_buf *out)
{
    uint8_t der[160];
    struct gw_writer w = gw_writer_of(der, sizeof(der));
    int err = private_der(k, LITERAL(sec1_head), LITERAL(sec1_curve), &w);

    if (!err)
        err = gw_buf_append(out, gw_writer_done(&w));
    gw_wipe(der, sizeof(der));
    return err;
}

int gw_key_private_pem(const struct gw_key *k, struct gw_buf *out)
{
    uint8_t der[160];
    struct gw_writer w = gw_writer_of(der, sizeof(der));
    int err = private_der(k, LITERAL(pkcs8_head), LITERAL(pkcs8_public), &w);

    if (!err)
        err = gw_pem_from_der("PRIVATE KEY", gw_writer_done(&w), out);
    gw_wipe(der, sizeof(der));
    return err;
}

int gw_key_public_pem(const struct gw_key *k, struct gw_buf *out)
{
    uint8_t spki[GW_SPKI_BYTES];
    int err = gw_key_spki(k, spki);

    return err ? err : gw_pem_from_der("PUBLIC KEY", GW_SLICE(spki, sizeof(spki)), out);
}

int gw_key_spki(const struct gw_key *k, uint8_t out[GW_SPKI_BYTES])
{
    memcpy(out, spki_head, sizeof(spki_head));
    out[sizeof(spki_head)] = 4;
    memcpy(out + sizeof(spki_head) + 1, k->point, sizeof(k->point));
    return 0;
}

int gw_key_point(const struct gw_key *k, uint8_t x[32], uint8_t y[32])
{
    memcpy(x, k->point, COORDINATE);
    memcpy(y, k->point + COORDINATE, COORDINATE);
    return 0;
}

/* ---- signatures ---- */

static int digest_of(enum gw_ecdsa_hash hash, struct gw_slice data, uint8_t out[64], word32 *len)
{
    static const enum wc_HashType types[] = {
        [GW_ECDSA_SHA256] = WC_HASH_TYPE_SHA256,
        [GW_ECDSA_SHA384] = WC_HASH_TYPE_SHA384,
        [GW_ECDSA_SHA512] = WC_HASH_TYPE_SHA512,
    };

    *len = (word32)wc_HashGetDigestSize(types[hash]);
    if (data.len > UINT32_MAX)
        return -EINVAL;
    return wc_Hash(types[hash], data.ptr, (word32)data.len, out, *len) ? GW_ECRYPTO : 0;
}

int gw_ecdsa_sign_der(const struct gw_key *k, struct gw_slice data, uint8_t out[72],
                      size_t *out_len)
{
    uint8_t digest[64];
    word32 digest_len, len = 72;
    int err = k->is_private ? digest_of(GW_ECDSA_SHA256, data, digest, &digest_len) : GW_ENOKEY;

    if (err)
        return err;
    if (wc_ecc_sign_hash(digest, digest_len, out, &len, gw_crypto_rng(), ecc_of(k)))
        return GW_ECRYPTO;
    *out_len = len;
    return 0;
}

int gw_ecdsa_verify_der(const struct gw_key *k, enum gw_ecdsa_hash hash, struct gw_slice data,
                        struct gw_slice sig)
{
    uint8_t digest[64];
    word32 digest_len;
    int good = 0, err = digest_of(hash, data, digest, &digest_len);

    if (err)
        return err;
    if (sig.len > 72 ||
        wc_ecc_verify_hash(sig.ptr, (word32)sig.len, digest, digest_len, &good, ecc_of(k)))
        return GW_EAUTHTAG;
    return good == 1 ? 0 : GW_EAUTHTAG;
}

int gw_ecdsa_sign(const struct gw_key *k, struct gw_slice data, uint8_t out[64])
{
    uint8_t der[72], r[COORDINATE], s[COORDINATE];
    word32 r_len = sizeof(r), s_len = sizeof(s);
    size_t der_len;
    int err = gw_ecdsa_sign_der(k, data, der, &der_len);

    if (err)
        return err;
    if (wc_ecc_sig_to_rs(der, (word32)der_len, r, &r_len, s, &s_len))
        return GW_ECRYPTO;
    memset(out, 0, 64);
    memcpy(out + COORDINATE - r_len, r, r_len);
    memcpy(out + 2 * COORDINATE - s_len, s, s_len);
    return 0;
}

int gw_ecdsa_verify(const struct gw_key *k, struct gw_slice data, const uint8_t sig[64])
{
    uint8_t der[80];
    word32 len = sizeof(der);

    if (wc_ecc_rs_raw_to_sig(sig, COORDINATE, sig + COORDINATE, COORDINATE, der, &len))
        return GW_EAUTHTAG;
    return gw_ecdsa_verify_der(k, GW_ECDSA_SHA256, data, GW_SLICE(der, len));
}

int gw_ecdh(const struct gw_key *own, const struct gw_key *peer, uint8_t out[32])
{
    uint8_t secret[COORDINATE];
    word32 len = sizeof(secret);
    int err = 0;

    if (!own->is_private)
        return GW_ENOKEY;
    if (wc_ecc_shared_secret(ecc_of(own), ecc_of(peer), secret, &len) || len != sizeof(secret))
        err = GW_ECRYPTO;
    else
        memcpy(out, secret, sizeof(secret));
    gw_wipe(secret, sizeof(secret));
    return err;
}
