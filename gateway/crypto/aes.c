/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_priv.h"

#include <errno.h>
#include <gcrypt.h>

#include <wolfssl/wolfcrypt/aes.h>

#define TAG 16

struct gw_aes_gcm {
    gcry_cipher_hd_t cipher;
};

int gw_aes_gcm_new(const uint8_t key[32], struct gw_aes_gcm **out)
{
    struct gw_aes_gcm *a = calloc(1, sizeof(*a));

    if (!a)
        return -ENOMEM;
    if (gcry_cipher_open(&a->cipher, GCRY_CIPHER_AES256, GCRY_CIPHER_MODE_GCM, 0) ||
        gcry_cipher_setkey(a->cipher, key, 32)) {
        gw_aes_gcm_free(&a);
        return GW_ECRYPTO;
    }
    *out = a;
    return 0;
}

void gw_aes_gcm_free(struct gw_aes_gcm **a)
{
    struct gw_aes_gcm *own = GW_TAKE(*a);

    if (!own)
        return;
    gcry_cipher_close(own->cipher); /* wipes the key */
    free(own);
}

static int begin(struct gw_aes_gcm *a, const uint8_t iv[12], struct gw_slice aad)
{
    if (gcry_cipher_setiv(a->cipher, iv, 12))
        return GW_ECRYPTO;
    if (aad.len && gcry_cipher_authenticate(a->cipher, aad.ptr, aad.len))
        return GW_ECRYPTO;
    return 0;
}

int gw_aes_gcm_seal(struct gw_aes_gcm *a, const uint8_t iv[12], struct gw_slice aad,
                    struct gw_slice plain, uint8_t *out)
{
    int err = begin(a, iv, aad);

    if (err)
        return err;
    if (plain.len && gcry_cipher_encrypt(a->cipher, out, plain.len, plain.ptr, plain.len))
        return GW_ECRYPTO;
    return gcry_cipher_gettag(a->cipher, out + plain.len, TAG) ? GW_ECRYPTO : 0;
}

int gw_aes_gcm_open(struct gw_aes_gcm *a, const uint8_t iv[12], struct gw_slice aad,
                    struct gw_slice sealed, uint8_t *out)
{
    size_t len;
    int err;

    if (sealed.len < TAG)
        return GW_EAUTHTAG;
    len = sealed.len - TAG;
    err = begin(a, iv, aad);
    if (err)
        return err;
    if (len && gcry_cipher_decrypt(a->cipher, out, len, sealed.ptr, len))
        err = GW_ECRYPTO;
    else if (gcry_cipher_checktag(a->cipher, sealed.ptr + len, TAG))
        err = GW_EAUTHTAG;
    if (err)
        gw_wipe(out, len);
    return err;
}

int gw_aes_wrap(const uint8_t kek[32], const uint8_t key[32], uint8_t out[40])
{
    return wc_AesKeyWrap(kek, 32, key, 32, out, 40, NULL) == 40 ? 0 : GW_ECRYPTO;
}

int gw_aes_unwrap(const uint8_t kek[32], const uint8_t wrapped[40], uint8_t out[32])
{
    uint8_t key[32];
    int err = wc_AesKeyUnWrap(kek, 32, wrapped, 40, key, sizeof(key), NULL) == 32 ? 0 : GW_EAUTHTAG;

    if (!err)
        memcpy(out, key, sizeof(key));
    gw_wipe(key, sizeof(key));
    return err;
}
