/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>

#include "envelope/envelope_priv.h"
#include "envelope/epoch_priv.h"

#define RECIPIENT_ROOM 192 /* bytes of one in an announcement */

/* ---- announcing ---- */

/* {1: alg}: the whole protected header of the body, and of each recipient. */
static struct gw_slice protect_alg(struct gw_writer *w, int alg)
{
    item_put_map(w, 1);
    item_put_int(w, LABEL_ALG);
    item_put_int(w, alg);
    return gw_writer_done(w);
}

static void put_recipient(struct gw_writer *w, struct gw_slice protected, const uint8_t *kid,
                          const uint8_t x[32], const uint8_t y[32], const uint8_t wrapped[40])
{
    item_put_array(w, 3);
    item_put_bytes(w, protected);
    item_put_map(w, 2);
    item_put_int(w, LABEL_KID);
    item_put_bytes(w, GW_SLICE(kid, GW_KID_BYTES));
    item_put_int(w, LABEL_EPHEMERAL);
    item_put_map(w, 4);
    item_put_int(w, KEY_TYPE);
    item_put_int(w, KEY_EC2);
    item_put_int(w, KEY_CURVE);
    item_put_int(w, CURVE_P256);
    item_put_int(w, KEY_X);
    item_put_bytes(w, GW_SLICE(x, 32));
    item_put_int(w, KEY_Y);
    item_put_bytes(w, GW_SLICE(y, 32));
    item_put_bytes(w, GW_SLICE(wrapped, 40));
}

/* Wrap the content key for one recipient, under a fresh ephemeral key. */
static int wrap_for(const struct gw_key *recipient, const uint8_t cek[32], struct gw_writer *w)
{
    GW_CLEANUP(gw_key_free) struct gw_key *ephemeral = NULL;
    uint8_t head[8], kek[32] = {0}, wrapped[40], kid[GW_KID_BYTES], x[32], y[32];
    struct gw_writer head_writer = gw_writer_of(head, sizeof(head));
    struct gw_slice protected = protect_alg(&head_writer, COSE_ECDH_ES_A256KW);
    int err;

    if (!(err = gw_recipient_kid(recipient, kid)) && !(err = gw_key_generate(&ephemeral)) &&
        !(err = gw_key_point(ephemeral, x, y)) &&
        !(err = cose_agree(ephemeral, recipient, protected, kek)))
        err = gw_aes_wrap(kek, cek, wrapped);
    gw_wipe(kek, sizeof(kek));
    if (err)
        return err;
    put_recipient(w, protected, kid, x, y, wrapped);
    return w->err;
}

/* The COSE_Key under a one-time content key: [protected, {5: IV}, ciphertext. */
static int put_sealed_key(const struct gw_epoch *e, const uint8_t cek[32], struct gw_writer *w)
{
    GW_CLEANUP(gw_aes_gcm_free) struct gw_aes_gcm *aes = NULL;
    uint8_t head[8], aad[SMALL], plain[KEY_ROOM], sealed[KEY_ROOM + TAG_BYTES], iv[IV_BYTES];
    struct gw_writer head_writer = gw_writer_of(head, sizeof(head));
    struct gw_writer aad_writer = gw_writer_of(aad, sizeof(aad));
    struct gw_writer key = gw_writer_of(plain, sizeof(plain));
    struct gw_slice protected = protect_alg(&head_writer, COSE_A256GCM);
    int err;

    cose_put_aad(&aad_writer, "Encrypt", protected);
    item_put_map(&key, 4);
    item_put_int(&key, KEY_TYPE);
    item_put_int(&key, KEY_SYMMETRIC);
    item_put_int(&key, KEY_KID);
    item_put_bytes(&key, GW_SLICE(e->kid, sizeof(e->kid)));
    item_put_int(&key, KEY_ALG);
    item_put_int(&key, COSE_A256GCM);
    item_put_int(&key, KEY_K);
    item_put_bytes(&key, GW_SLICE(e->key, sizeof(e->key)));
    if ((err = key.err) || (err = gw_random(iv, sizeof(iv))) || (err = gw_aes_gcm_new(cek, &aes)))
        goto out;
    err = gw_aes_gcm_seal(aes, iv, gw_writer_done(&aad_writer), gw_writer_done(&key), sealed);
    if (err)
        goto out;
    item_put_bytes(w, protected);
    item_put_map(w, 1);
    item_put_int(w, LABEL_IV);
    item_put_bytes(w, GW_SLICE(iv, sizeof(iv)));
    item_put_bytes(w, GW_SLICE(sealed, key.len + TAG_BYTES));
    err = w->err;
out:
    gw_wipe(plain, sizeof(plain));
    return err;
}

static int put_encrypt(const struct gw_epoch *e, const struct gw_key *const *recipients,
                       size_t count, struct gw_writer *w)
{
    uint8_t cek[32];
    int err = gw_random(cek, sizeof(cek));

    item_put_tag(w, COSE_ENCRYPT);
    item_put_array(w, 4);
    if (!err)
        err = put_sealed_key(e, cek, w);
    item_put_array(w, count);
    for (size_t i = 0; i < count && !err; i++)
        err = wrap_for(recipients[i], cek, w);
    gw_wipe(cek, sizeof(cek));
    return err ? err : w->err;
}

static int sign(const struct gw_key *signer, struct gw_slice protected, struct gw_slice payload,
                uint8_t out[64])
{
    size_t len = protected.len + payload.len + SMALL;
    GW_CLEANUP(gw_free_ptr) uint8_t *room = malloc(len);
    struct gw_writer w = gw_writer_of(room, len);

    if (!room)
        return -ENOMEM;
    cose_put_signed(&w, protected, payload);
    return w.err ? w.err : gw_ecdsa_sign(signer, gw_writer_done(&w), out);
}

static int put_sign1(struct gw_slice payload, const struct gw_key *signer, struct gw_slice cert_der,
                     struct gw_buf *out)
{
    size_t bound = payload.len + cert_der.len + 2 * SMALL;
    GW_CLEANUP(gw_free_ptr) uint8_t *room = malloc(cert_der.len + SMALL);
    struct gw_writer protected = gw_writer_of(room, cert_der.len + SMALL), w;
    uint8_t signature[64];
    int err = room ? gw_buf_reserve(out, bound) : -ENOMEM;

    if (err)
        return err;
    item_put_map(&protected, 2);
    item_put_int(&protected, LABEL_ALG);
    item_put_int(&protected, COSE_ES256);
    item_put_int(&protected, LABEL_X5CHAIN);
    item_put_bytes(&protected, cert_der);
    err = sign(signer, gw_writer_done(&protected), payload, signature);
    if (err)
        return err;
    w = gw_writer_of(out->data + out->tail, bound);
    item_put_tag(&w, COSE_SIGN1);
    item_put_array(&w, 4);
    item_put_bytes(&w, gw_writer_done(&protected));
    item_put_map(&w, 0);
    item_put_bytes(&w, payload);
    item_put_bytes(&w, GW_SLICE(signature, sizeof(signature)));
    out->tail += gw_writer_done(&w).len;
    return w.err;
}

int gw_epoch_announce(const struct gw_epoch *e, const struct gw_key *const *recipients,
                      size_t count, const struct gw_key *signer, struct gw_slice cert_der,
                      struct gw_buf *out)
{
    uint8_t room[GW_RECIPIENTS_MAX * RECIPIENT_ROOM + 2 * SMALL];
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    int err;

    if (count == 0 || count > GW_RECIPIENTS_MAX)
        return -EINVAL;
    err = put_encrypt(e, recipients, count, &w);
    return err ? err : put_sign1(gw_writer_done(&w), signer, cert_der, out);
}
