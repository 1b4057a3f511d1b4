/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ECDSA signatures of TLS that were found right before. A device that comes again shows the same
 * certificate, and its CA's signature is as right as the last time: whether a signature fits a key
 * and a digest depends on these three alone. A table of digests of all three remembers those that
 * fitted; everything else, validity and revocation before all, is looked at each time.
 */
#include "crypto/crypto_priv.h"

#include <pthread.h>

#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/sha256.h>

#define SLOTS 8192 /* of 32 bytes, found by a part of the digest; a newer one takes an older's */
#define SIG_MAX 144
#define HASH_MAX 64
#define POINT_MAX 133 /* the longest that wolfCrypt has: P-521 */

static struct {
    pthread_mutex_t lock;
    uint8_t slots[SLOTS][32];
    uint64_t hits;
} known = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int add(wc_Sha256 *sha, const uint8_t *bytes, word32 len)
{
    const uint8_t length[2] = {(uint8_t)(len >> 8), (uint8_t)len};
    int err = wc_Sha256Update(sha, length, sizeof(length));

    return err ? err : wc_Sha256Update(sha, bytes, len);
}

/* Of the key with its curve, the digest and the signature, each with its length. */
static bool name_of(const byte *sig, word32 sig_len, const byte *hash, word32 hash_len,
                    ecc_key *key, uint8_t out[32])
{
    uint8_t point[POINT_MAX], curve[2];
    word32 point_len = sizeof(point);
    int id = wc_ecc_get_curve_id(key->idx);
    wc_Sha256 sha;
    int err;

    if (id < 0 || sig_len > SIG_MAX || hash_len > HASH_MAX ||
        wc_ecc_export_x963(key, point, &point_len) || wc_InitSha256(&sha))
        return false;
    curve[0] = (uint8_t)(id >> 8);
    curve[1] = (uint8_t)id;
    err = add(&sha, curve, sizeof(curve));
    err = err ? err : add(&sha, point, point_len);
    err = err ? err : add(&sha, hash, hash_len);
    err = err ? err : add(&sha, sig, sig_len);
    err = err ? err : wc_Sha256Final(&sha, out);
    wc_Sha256Free(&sha);
    return err == 0;
}

static uint8_t *slot_of(const uint8_t name[32])
{
    return known.slots[((size_t)name[0] << 8 | name[1]) % SLOTS];
}

static bool is_known(const uint8_t name[32])
{
    bool is;

    (void)pthread_mutex_lock(&known.lock);
    is = memcmp(slot_of(name), name, 32) == 0;
    known.hits += is;
    (void)pthread_mutex_unlock(&known.lock);
    return is;
}

static void remember(const uint8_t name[32])
{
    (void)pthread_mutex_lock(&known.lock);
    memcpy(slot_of(name), name, 32);
    (void)pthread_mutex_unlock(&known.lock);
}

int crypto_verify(const byte *sig, word32 sig_len, const byte *hash, word32 hash_len, int *good,
                  ecc_key *key)
{
    uint8_t name[32];
    bool named = name_of(sig, sig_len, hash, hash_len, key, name);
    int device = key->devId, err;

    if (named && is_known(name)) {
        *good = 1;
        return 0;
    }
    key->devId = INVALID_DEVID; /* or it would come here again */
    err = wc_ecc_verify_hash(sig, sig_len, hash, hash_len, good, key);
    key->devId = device;
    if (named && err == 0 && *good == 1)
        remember(name);
    return err;
}

uint64_t crypto_verified_hits(void)
{
    uint64_t hits;

    (void)pthread_mutex_lock(&known.lock);
    hits = known.hits;
    (void)pthread_mutex_unlock(&known.lock);
    return hits;
}

void crypto_verified_forget(void)
{
    (void)pthread_mutex_lock(&known.lock);
    memset(known.slots, 0, sizeof(known.slots));
    known.hits = 0;
    (void)pthread_mutex_unlock(&known.lock);
}
