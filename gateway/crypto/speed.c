/* SPDX-License-Identifier: GPL-2.0-only */
/* What of the two ciphers that TLS may use is faster here: tried out, for a few milliseconds. */
#include <time.h>

#include "crypto/crypto_priv.h"

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/chacha20_poly1305.h>

#define TRIES_MIN 5     /* others may have the CPU for as long as one */
#define TRY_NS 1000000u /* each size of each cipher */
#define BATCH_BYTES 4096
#define TAG_BYTES 16

static const size_t sizes[GW_CRYPTO_SIZES] = {256, 16384};

/* One record of `len` bytes, sealed; 0 when it was. */
typedef int seal_fn(void *cipher, const uint8_t *in, uint8_t *out, size_t len);

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The best of many short runs: whatever else the machine does only ever adds. 0: it cannot. */
static uint64_t best_ns(seal_fn *seal, void *cipher, size_t len)
{
    static uint8_t in[16384], out[16384];
    size_t batch = GW_MAX(BATCH_BYTES / len, (size_t)1);
    uint64_t began = now_ns(), from = began, best = 0;
    unsigned tries = 0;

    do {
        uint64_t now, each;

        for (size_t i = 0; i < batch; i++)
            if (seal(cipher, in, out, len))
                return 0;
        now = now_ns();
        each = GW_MAX((now - from) / batch, (uint64_t)1);
        best = best ? GW_MIN(best, each) : each;
        from = now;
        tries++;
    } while (from - began < TRY_NS || tries < TRIES_MIN);
    return best;
}

static void try_all(seal_fn *seal, void *cipher, uint64_t ns[GW_CRYPTO_SIZES])
{
    for (size_t i = 0; i < GW_CRYPTO_SIZES; i++)
        ns[i] = best_ns(seal, cipher, sizes[i]);
}

/* ---- the ciphers, as TLS uses them ---- */

static const uint8_t key[32] = {1, 2, 3} /* no secret */;
static const uint8_t nonce[12], head[5];

static int seal_aes(void *cipher, const uint8_t *in, uint8_t *out, size_t len)
{
    uint8_t tag[TAG_BYTES];

    return wc_AesGcmEncrypt(cipher, out, in, (word32)len, nonce, sizeof(nonce), tag, sizeof(tag),
                            head, sizeof(head));
}

/* By `device`: our crypto callback, or wolfCrypt itself. */
static void try_aes(int device, uint64_t ns[GW_CRYPTO_SIZES])
{
    Aes aes;

    if (wc_AesInit(&aes, NULL, device))
        return;
    if (wc_AesGcmSetKey(&aes, key, 16) == 0)
        try_all(seal_aes, &aes, ns);
    wc_AesFree(&aes);
}

static int seal_chacha(void *cipher, const uint8_t *in, uint8_t *out, size_t len)
{
    uint8_t tag[TAG_BYTES];

    (void)cipher;
    return wc_ChaCha20Poly1305_Encrypt(key, nonce, head, sizeof(head), in, (word32)len, out, tag);
}

/* ---- the choice ---- */

/* How much of the time of `b` `a` takes; each size counts alike. A cipher that failed loses. */
static bool is_faster(const uint64_t a[GW_CRYPTO_SIZES], const uint64_t b[GW_CRYPTO_SIZES])
{
    double ratio = 1;

    for (size_t i = 0; i < GW_CRYPTO_SIZES; i++) {
        if (!a[i] || !b[i])
            return a[i] != 0;
        ratio *= (double)a[i] / (double)b[i];
    }
    return ratio < 1;
}

struct crypto_choice crypto_choose(const struct gw_crypto_speed *s)
{
    bool callback = is_faster(s->aes_callback_ns, s->aes_own_ns);

    return (struct crypto_choice){
        .aes_by_callback = callback,
        /* What is level goes by AES: more peers have instructions for it. */
        .aes_first = !is_faster(s->chacha_ns, callback ? s->aes_callback_ns : s->aes_own_ns),
    };
}

void gw_crypto_try_ciphers(struct gw_crypto_speed *out)
{
    bool by_callback = crypto_aes_by_callback(true);

    *out = (struct gw_crypto_speed){0};
    try_aes(gw_crypto_device(), out->aes_callback_ns);
    (void)crypto_aes_by_callback(by_callback);
    try_aes(INVALID_DEVID, out->aes_own_ns);
    try_all(seal_chacha, NULL, out->chacha_ns);
}
