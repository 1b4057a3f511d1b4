/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_priv.h"

#include <errno.h>
#include <limits.h>

#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/pwdbased.h>
#include <wolfssl/wolfcrypt/sha.h>
#include <wolfssl/wolfcrypt/sha256.h>

#define SCRYPT_LOG2_N 15
#define SCRYPT_R 8
#define SCRYPT_P 1

static word32 length32(struct gw_slice s)
{
    return (word32)GW_MIN(s.len, (size_t)UINT32_MAX);
}

int gw_sha256(struct gw_slice data, uint8_t out[32])
{
    wc_Sha256 sha;
    uint8_t digest[32];
    int err = wc_InitSha256(&sha);

    for (size_t at = 0, n; !err && at < data.len; at += n) {
        n = GW_MIN(data.len - at, (size_t)INT_MAX);
        err = wc_Sha256Update(&sha, data.ptr + at, (word32)n);
    }
    if (!err)
        err = wc_Sha256Final(&sha, digest);
    wc_Sha256Free(&sha);
    if (err)
        return GW_ECRYPTO;
    memcpy(out, digest, sizeof(digest));
    return 0;
}

int gw_sha1(struct gw_slice data, uint8_t out[20])
{
    if (data.len > INT_MAX)
        return GW_ETOOBIG;
    return wc_ShaHash(data.ptr, (word32)data.len, out) ? GW_ECRYPTO : 0;
}

int gw_hmac_sha256(struct gw_slice key, struct gw_slice data, uint8_t out[32])
{
    Hmac hmac;
    uint8_t mac[32];
    int err;

    if (length32(key) != key.len || length32(data) != data.len)
        return -EINVAL;
    if (wc_HmacInit(&hmac, NULL, INVALID_DEVID))
        return GW_ECRYPTO;
    err = wc_HmacSetKey(&hmac, WC_SHA256, key.len ? key.ptr : (const byte *)"", length32(key));
    if (!err)
        err = wc_HmacUpdate(&hmac, data.ptr, length32(data));
    if (!err)
        err = wc_HmacFinal(&hmac, mac);
    wc_HmacFree(&hmac);
    if (err)
        return GW_ECRYPTO;
    memcpy(out, mac, sizeof(mac));
    gw_wipe(mac, sizeof(mac));
    return 0;
}

int gw_hkdf_sha256(struct gw_slice secret, struct gw_slice salt, struct gw_slice info, uint8_t *out,
                   size_t len)
{
    if (len == 0 || len > 255 * 32 || length32(secret) != secret.len)
        return -EINVAL;
    return wc_HKDF(WC_SHA256, secret.ptr, length32(secret), salt.ptr, length32(salt), info.ptr,
                   length32(info), out, (word32)len)
               ? GW_ECRYPTO
               : 0;
}

int gw_scrypt(struct gw_slice password, const uint8_t salt[16], uint8_t out[32])
{
    uint8_t key[32];
    int err;

    if (password.len > 1024)
        return -EINVAL;
    err = wc_scrypt(key, password.len ? password.ptr : (const byte *)"", (int)password.len, salt,
                    16, SCRYPT_LOG2_N, SCRYPT_R, SCRYPT_P, sizeof(key));
    if (err)
        return err == MEMORY_E ? -ENOMEM : GW_ECRYPTO;
    memcpy(out, key, sizeof(key));
    gw_wipe(key, sizeof(key));
    return 0;
}
