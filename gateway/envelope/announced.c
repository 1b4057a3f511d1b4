/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>

#include "envelope/envelope_priv.h"

/* ---- opening an announcement ---- */

/* x5chain: one certificate, or several of which the first is the signer's (RFC 9360 §2). */
static struct gw_slice get_x5chain(struct gw_reader *r)
{
    struct gw_slice first;
    size_t count;

    if (item_is_bytes(r))
        return item_get_bytes(r);
    count = item_get_array(r);
    if (count == 0)
        gw_reader_fail(r, GW_EMALFORMED);
    first = item_get_bytes(r);
    for (; count > 1 && !r->err; count--)
        (void)item_get_bytes(r);
    return first;
}

static int read_signer(struct gw_slice protected, struct gw_slice *out_cert)
{
    struct gw_reader r = gw_reader_of(protected);
    struct gw_slice cert;
    int err;

    if (item_get_map(&r) != 2 || item_get_int(&r) != LABEL_ALG)
        gw_reader_fail(&r, GW_EMALFORMED);
    if (item_get_int(&r) != COSE_ES256)
        gw_reader_fail(&r, GW_EUNSUPPORTED);
    if (item_get_int(&r) != LABEL_X5CHAIN)
        gw_reader_fail(&r, GW_EMALFORMED);
    cert = get_x5chain(&r);
    err = gw_reader_end(&r);
    if (err)
        return err;
    *out_cert = cert;
    return 0;
}

static int verify(struct gw_slice cert, struct gw_slice protected, struct gw_slice payload,
                  const uint8_t signature[64])
{
    GW_CLEANUP(gw_key_free) struct gw_key *key = NULL;
    size_t len = protected.len + payload.len + SMALL;
    GW_CLEANUP(gw_free_ptr) uint8_t *room = malloc(len);
    struct gw_writer w = gw_writer_of(room, len);
    int err = room ? gw_cert_key(cert, &key) : -ENOMEM;

    if (err)
        return err;
    cose_put_signed(&w, protected, payload);
    return w.err ? w.err : gw_ecdsa_verify(key, gw_writer_done(&w), signature);
}

/* The signed body; the certificate that signed it is told too. */
static int read_sign1(struct gw_slice cose, struct gw_slice *out_payload, struct gw_slice *out_cert)
{
    struct gw_reader r = gw_reader_of(cose);
    struct gw_slice protected, payload, cert;
    const uint8_t *signature;
    int err;

    item_want_tag(&r, COSE_SIGN1);
    item_want_array(&r, 4);
    protected = item_get_bytes(&r);
    if (item_get_map(&r) != 0) /* nobody would vouch for it */
        gw_reader_fail(&r, GW_EMALFORMED);
    payload = item_get_bytes(&r);
    signature = item_get_fixed(&r, 64);
    err = gw_reader_end(&r);
    if (!err)
        err = read_signer(protected, &cert);
    if (!err)
        err = verify(cert, protected, payload, signature);
    if (err)
        return err;
    *out_payload = payload;
    *out_cert = cert;
    return 0;
}

/** One recipient as it stands in an announcement. */
struct entry {
    struct gw_slice protected;
    const uint8_t *kid, *x, *y, *wrapped;
};

static void read_ephemeral(struct gw_reader *r, struct entry *e)
{
    if (item_get_map(r) != 4 || item_get_int(r) != KEY_TYPE || item_get_int(r) != KEY_EC2 ||
        item_get_int(r) != KEY_CURVE || item_get_int(r) != CURVE_P256 || item_get_int(r) != KEY_X)
        gw_reader_fail(r, GW_EMALFORMED);
    e->x = item_get_fixed(r, 32);
    if (item_get_int(r) != KEY_Y)
        gw_reader_fail(r, GW_EMALFORMED);
    e->y = item_get_fixed(r, 32);
}

static struct entry read_entry(struct gw_reader *r)
{
    struct entry e = {.kid = NULL};

    item_want_array(r, 3);
    e.protected = item_get_bytes(r);
    if (item_get_map(r) != 2 || item_get_int(r) != LABEL_KID)
        gw_reader_fail(r, GW_EMALFORMED);
    e.kid = item_get_fixed(r, GW_KID_BYTES);
    if (item_get_int(r) != LABEL_EPHEMERAL)
        gw_reader_fail(r, GW_EMALFORMED);
    read_ephemeral(r, &e);
    e.wrapped = item_get_fixed(r, 40);
    return e;
}

/* {1: alg} and nothing else. */
static bool is_alg(struct gw_slice protected, int alg)
{
    struct gw_reader r = gw_reader_of(protected);
    bool right = item_get_map(&r) == 1 && item_get_int(&r) == LABEL_ALG && item_get_int(&r) == alg;

    return gw_reader_end(&r) == 0 && right;
}

static int unwrap(const struct entry *e, const struct gw_key *own, uint8_t cek[32])
{
    GW_CLEANUP(gw_key_free) struct gw_key *ephemeral = NULL;
    uint8_t kek[32];
    int err;

    if (!is_alg(e->protected, COSE_ECDH_ES_A256KW))
        return GW_EUNSUPPORTED;
    err = gw_key_from_point(e->x, e->y, &ephemeral);
    if (!err)
        err = cose_agree(own, ephemeral, e->protected, kek);
    if (!err)
        err = gw_aes_unwrap(kek, e->wrapped, cek);
    gw_wipe(kek, sizeof(kek));
    return err;
}

/** The COSE_Encrypt inside an announcement. */
struct body {
    struct gw_slice protected, sealed;
    const uint8_t *iv;
    struct entry mine;
};

/* GW_ENOKEY when no entry is for `kid`. */
static int read_body(struct gw_slice cose, const uint8_t kid[GW_KID_BYTES], struct body *out)
{
    struct gw_reader r = gw_reader_of(cose);
    struct body b = {.iv = NULL};
    bool found = false;
    size_t count;
    int err;

    item_want_tag(&r, COSE_ENCRYPT);
    item_want_array(&r, 4);
    b.protected = item_get_bytes(&r);
    b.iv = cose_get_iv(&r);
    b.sealed = item_get_bytes(&r);
    for (count = item_get_array(&r); count > 0 && !r.err; count--) {
        struct entry e = read_entry(&r);

        if (!r.err && memcmp(e.kid, kid, GW_KID_BYTES) == 0) {
            b.mine = e;
            found = true;
        }
    }
    err = gw_reader_end(&r);
    if (err)
        return err;
    if (!found)
        return GW_ENOKEY;
    if (!is_alg(b.protected, COSE_A256GCM))
        return GW_EUNSUPPORTED;
    if (b.sealed.len < TAG_BYTES || b.sealed.len > KEY_ROOM + TAG_BYTES)
        return GW_EMALFORMED;
    *out = b;
    return 0;
}

static int read_key(struct gw_slice plain, struct gw_epoch_key *out)
{
    struct gw_reader r = gw_reader_of(plain);
    const uint8_t *kid, *key;
    int err;

    if (item_get_map(&r) != 4 || item_get_int(&r) != KEY_TYPE ||
        item_get_int(&r) != KEY_SYMMETRIC || item_get_int(&r) != KEY_KID)
        gw_reader_fail(&r, GW_EMALFORMED);
    kid = item_get_fixed(&r, GW_KID_BYTES);
    if (item_get_int(&r) != KEY_ALG || item_get_int(&r) != COSE_A256GCM ||
        item_get_int(&r) != KEY_K)
        gw_reader_fail(&r, GW_EMALFORMED);
    key = item_get_fixed(&r, 32);
    err = gw_reader_end(&r);
    if (err)
        return err;
    memcpy(out->kid, kid, GW_KID_BYTES);
    memcpy(out->key, key, 32);
    return 0;
}

static int open_body(const struct body *b, const uint8_t cek[32], struct gw_epoch_key *out)
{
    GW_CLEANUP(gw_aes_gcm_free) struct gw_aes_gcm *aes = NULL;
    uint8_t aad[SMALL], plain[KEY_ROOM];
    struct gw_writer w = gw_writer_of(aad, sizeof(aad));
    int err;

    cose_put_aad(&w, "Encrypt", b->protected);
    err = w.err ? w.err : gw_aes_gcm_new(cek, &aes);
    if (!err)
        err = gw_aes_gcm_open(aes, b->iv, gw_writer_done(&w), b->sealed, plain);
    if (!err)
        err = read_key(GW_SLICE(plain, b->sealed.len - TAG_BYTES), out);
    gw_wipe(plain, sizeof(plain));
    return err;
}

int gw_epoch_open(struct gw_slice cose, const struct gw_key *recipient, struct gw_epoch_key *out)
{
    uint8_t kid[GW_KID_BYTES], cek[32];
    struct gw_slice payload, cert;
    struct gw_epoch_key key;
    struct body body;
    int err = read_sign1(cose, &payload, &cert);

    if (!err)
        err = gw_recipient_kid(recipient, kid);
    if (!err)
        err = read_body(payload, kid, &body);
    if (!err)
        err = unwrap(&body.mine, recipient, cek);
    if (!err)
        err = open_body(&body, cek, &key);
    gw_wipe(cek, sizeof(cek));
    if (err)
        return err;
    key.cert_der = cert;
    *out = key;
    gw_wipe(&key, sizeof(key));
    return 0;
}
