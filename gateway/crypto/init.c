/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_priv.h"

#include <errno.h>
#include <gcrypt.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>

#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/cryptocb.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

/*
 * wolfSSL as Debian builds it has neither AES nor carry-less-multiply instructions. libgcrypt has:
 * records under TLS get there through wolfSSL's crypto callback. wolfSSL never says when a key is
 * gone, so ciphers are not tied to connections: a small table of ciphers, found by a byte of the
 * key, is compared with the whole key at each use and scheduled anew (0.14 µs) when it differs. So
 * it is bounded, nothing leaks, and no other key than the record's own is ever used.
 */
#define DEVICE_ID 0x636f7264
#define SLOTS 128

struct slot {
    gcry_cipher_hd_t cipher;
    uint8_t key[32];
};

static struct {
    bool ready;
    const char *aes_name; /* of the CPU's instructions; NULL: it has none */
    bool aes_by_callback, aes_first;
    char cipher_text[160];
    WC_RNG rng;
    struct slot slots[2][SLOTS]; /* AES-128, AES-256; loop thread only, like TLS itself */
} state;

int gw_random(void *out, size_t len)
{
    uint8_t *to = out;

    while (len > 0) {
        ssize_t got = getrandom(to, len, 0);

        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0) {
            to += got;
            len -= (size_t)got;
        }
    }
    return 0;
}

WC_RNG *gw_crypto_rng(void)
{
    return &state.rng;
}

/* ---- the crypto callback ---- */

static gcry_cipher_hd_t cipher_for(const uint8_t *key, size_t len)
{
    struct slot *s = &state.slots[len == 32][key[0] % SLOTS];
    int algorithm = len == 32 ? GCRY_CIPHER_AES256 : GCRY_CIPHER_AES128;

    if (s->cipher && memcmp(s->key, key, len) == 0)
        return s->cipher;
    if (!s->cipher && gcry_cipher_open(&s->cipher, algorithm, GCRY_CIPHER_MODE_GCM, 0))
        return NULL;
    if (gcry_cipher_setkey(s->cipher, key, len)) {
        gcry_cipher_close(s->cipher);
        *s = (struct slot){0};
        return NULL;
    }
    memcpy(s->key, key, len);
    return s->cipher;
}

static gcry_cipher_hd_t begin(const Aes *aes, const byte *iv, word32 iv_len, const byte *aad,
                              word32 aad_len)
{
    gcry_cipher_hd_t cipher;

    if (aes->keylen != 16 && aes->keylen != 32)
        return NULL;
    cipher = cipher_for((const uint8_t *)aes->devKey, (size_t)aes->keylen);
    if (!cipher || gcry_cipher_setiv(cipher, iv, iv_len))
        return NULL;
    if (aad_len && gcry_cipher_authenticate(cipher, aad, aad_len))
        return NULL;
    return cipher;
}

static int seal_record(const wc_CryptoInfo *info)
{
    const __typeof__(info->cipher.aesgcm_enc) *op = &info->cipher.aesgcm_enc;
    gcry_cipher_hd_t cipher = begin(op->aes, op->iv, op->ivSz, op->authIn, op->authInSz);

    if (!cipher)
        return CRYPTOCB_UNAVAILABLE;
    if (op->sz && gcry_cipher_encrypt(cipher, op->out, op->sz, op->in, op->sz))
        return ENCRYPT_ERROR;
    return gcry_cipher_gettag(cipher, op->authTag, op->authTagSz) ? ENCRYPT_ERROR : 0;
}

static int open_record(const wc_CryptoInfo *info)
{
    const __typeof__(info->cipher.aesgcm_dec) *op = &info->cipher.aesgcm_dec;
    gcry_cipher_hd_t cipher = begin(op->aes, op->iv, op->ivSz, op->authIn, op->authInSz);

    if (!cipher)
        return CRYPTOCB_UNAVAILABLE;
    if (op->sz && gcry_cipher_decrypt(cipher, op->out, op->sz, op->in, op->sz))
        return DECRYPT_ERROR;
    if (gcry_cipher_checktag(cipher, op->authTag, op->authTagSz)) {
        gw_wipe(op->out, op->sz);
        return AES_GCM_AUTH_E;
    }
    return 0;
}

static int verify_signature(const wc_CryptoInfo *info)
{
    const __typeof__(info->pk.eccverify) *op = &info->pk.eccverify;

    return crypto_verify(op->sig, op->siglen, op->hash, op->hashlen, op->res, op->key);
}

static int on_crypto(int device, wc_CryptoInfo *info, void *ctx)
{
    (void)device;
    (void)ctx;
    switch (info->algo_type) {
    case WC_ALGO_TYPE_RNG:
        return gw_random(info->rng.out, info->rng.sz) ? RNG_FAILURE_E : 0;
    case WC_ALGO_TYPE_SEED:
        return gw_random(info->seed.seed, info->seed.sz) ? RNG_FAILURE_E : 0;
    case WC_ALGO_TYPE_CIPHER:
        if (info->cipher.type == WC_CIPHER_AES_GCM && state.aes_by_callback)
            return info->cipher.enc ? seal_record(info) : open_record(info);
        return CRYPTOCB_UNAVAILABLE;
    case WC_ALGO_TYPE_PK:
        return info->pk.type == WC_PK_TYPE_ECDSA_VERIFY ? verify_signature(info)
                                                        : CRYPTOCB_UNAVAILABLE;
    default:
        return CRYPTOCB_UNAVAILABLE;
    }
}

/* ---- init ---- */

static bool has_feature(const char *list, const char *name)
{
    return list && strstr(list, name) != NULL;
}

/* What libgcrypt found in this CPU: "hwflist:intel-aesni:…". */
static void look_at_cpu(void)
{
    char *list = gcry_get_config(0, "hwflist");

    if (has_feature(list, "intel-aesni"))
        state.aes_name = "libgcrypt (AES-NI)";
    else if (has_feature(list, "arm-aes"))
        state.aes_name = "libgcrypt (ARMv8 AES)";
    else if (has_feature(list, "ppc-vcrypto"))
        state.aes_name = "libgcrypt (POWER vcrypto)";
    state.aes_by_callback = state.aes_first = state.aes_name != NULL;
    gcry_free(list);
}

static int start_gcrypt(void)
{
    if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P))
        return 0;
    if (!gcry_check_version("1.8.0"))
        return GW_ECRYPTO;
    /* Secrets are wiped by us; locked memory would need a limit that a service does not have. */
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    return 0;
}

int gw_crypto_init(void)
{
    int err;

    if (state.ready)
        return 0;
    err = start_gcrypt();
    if (err)
        return err;
    look_at_cpu();
    if (wolfSSL_Init() != WOLFSSL_SUCCESS)
        return GW_ECRYPTO;
    if (wc_CryptoCb_RegisterDevice(DEVICE_ID, on_crypto, NULL) ||
        wc_InitRng_ex(&state.rng, NULL, DEVICE_ID)) {
        (void)wolfSSL_Cleanup();
        return GW_ECRYPTO;
    }
    state.ready = true;
    return 0;
}

void gw_crypto_fini(void)
{
    if (!state.ready)
        return;
    for (size_t i = 0; i < 2 * SLOTS; i++)
        gcry_cipher_close(state.slots[i / SLOTS][i % SLOTS].cipher);
    (void)wc_FreeRng(&state.rng);
    wc_CryptoCb_UnRegisterDevice(DEVICE_ID);
    crypto_verified_forget();
    wc_ecc_fp_free();
    (void)wolfSSL_Cleanup();
    gw_wipe(&state, sizeof(state));
}

const char *gw_crypto_aes_name(void)
{
    if (!state.aes_by_callback)
        return "wolfCrypt";
    return state.aes_name ? state.aes_name : "libgcrypt";
}

bool gw_crypto_aes_first(void)
{
    return state.aes_first;
}

bool crypto_aes_by_callback(bool does)
{
    bool did = state.aes_by_callback;

    state.aes_by_callback = does;
    return did;
}

static double us(uint64_t ns)
{
    return (double)ns / 1000;
}

void gw_crypto_prefer(const struct gw_crypto_speed *speed)
{
    struct crypto_choice choice = crypto_choose(speed);
    const uint64_t *aes = choice.aes_by_callback ? speed->aes_callback_ns : speed->aes_own_ns;
    const uint64_t *chacha = speed->chacha_ns;

    state.aes_by_callback = choice.aes_by_callback;
    state.aes_first = choice.aes_first;
    (void)snprintf(state.cipher_text, sizeof(state.cipher_text),
                   "%s first: AES-128-GCM %.2f and %.1f, ChaCha20-Poly1305 %.2f and %.1f us for "
                   "256 B and 16 KiB",
                   choice.aes_first ? "AES-GCM" : "ChaCha20-Poly1305", us(aes[0]), us(aes[1]),
                   us(chacha[0]), us(chacha[1]));
}

const char *gw_crypto_cipher_text(void)
{
    if (*state.cipher_text)
        return state.cipher_text;
    return state.aes_first ? "AES-GCM first: the CPU has instructions for it"
                           : "ChaCha20-Poly1305 first: the CPU has no instructions for AES";
}

int gw_crypto_device(void)
{
    return DEVICE_ID;
}
