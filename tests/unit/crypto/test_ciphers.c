/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_test.h"

TestSuite(ciphers, .init = crypto_setup, .fini = crypto_teardown);

static void unhex(const char *hex, void *out)
{
    cr_assert_eq(gw_unhex(hex, out, strlen(hex) / 2), 0);
}

static void expect_hex(const void *got, size_t len, const char *want)
{
    char text[512];

    gw_hex(got, len, text);
    cr_expect_str_eq(text, want);
}

/* McGrew and Viega, The Galois/Counter Mode of Operation, test case 16. */
static const char gcm_key[] = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
static const char gcm_plain[] =
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b5"
    "25b16aedf5aa0de657ba637b39";
static const char gcm_sealed[] =
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b10568288"
    "38c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b";

Test(ciphers, gcm_is_the_standards_and_one_object_serves_many_messages)
{
    uint8_t key[32], iv[12], aad[20], plain[60], sealed[76], opened[60];
    struct gw_aes_gcm *a = NULL;

    unhex(gcm_key, key);
    unhex("cafebabefacedbaddecaf888", iv);
    unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2", aad);
    unhex(gcm_plain, plain);
    cr_assert_eq(gw_aes_gcm_new(key, &a), 0);
    for (int i = 0; i < 3; i++) {
        memset(sealed, 0, sizeof(sealed));
        cr_assert_eq(gw_aes_gcm_seal(a, iv, GW_SLICE(aad, 20), GW_SLICE(plain, 60), sealed), 0);
        expect_hex(sealed, sizeof(sealed), gcm_sealed);
        cr_assert_eq(gw_aes_gcm_open(a, iv, GW_SLICE(aad, 20), GW_SLICE(sealed, 76), opened), 0);
        cr_expect_arr_eq(opened, plain, 60);
    }
    gw_aes_gcm_free(&a);
    gw_aes_gcm_free(&a);
}

Test(ciphers, gcm_refuses_every_flipped_bit_and_leaves_nothing)
{
    uint8_t key[32] = {1}, iv[12] = {2}, sealed[24], opened[8], zero[8] = {0};
    struct gw_aes_gcm *a = NULL;

    cr_assert_eq(gw_aes_gcm_new(key, &a), 0);
    cr_assert_eq(gw_aes_gcm_seal(a, iv, GW_SLICE_LIT("aad"), GW_SLICE_LIT("12345678"), sealed), 0);
    for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        memset(opened, 0xaa, sizeof(opened));
        cr_expect_eq(
            gw_aes_gcm_open(a, iv, GW_SLICE_LIT("aad"), GW_SLICE(sealed, sizeof(sealed)), opened),
            GW_EAUTHTAG);
        cr_expect_arr_eq(opened, zero, sizeof(zero));
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    cr_expect_eq(gw_aes_gcm_open(a, iv, GW_SLICE_LIT("aae"), GW_SLICE(sealed, 24), opened),
                 GW_EAUTHTAG);
    for (size_t len = 0; len < 24; len++)
        cr_expect_eq(gw_aes_gcm_open(a, iv, GW_SLICE_LIT("aad"), GW_SLICE(sealed, len), opened),
                     GW_EAUTHTAG);
    gw_aes_gcm_free(&a);
}

Test(ciphers, gcm_seals_nothing_too)
{
    uint8_t key[32] = {1}, iv[12] = {2}, sealed[16], opened[1];
    struct gw_aes_gcm *a = NULL;

    cr_assert_eq(gw_aes_gcm_new(key, &a), 0);
    cr_assert_eq(gw_aes_gcm_seal(a, iv, GW_SLICE_NONE, GW_SLICE_NONE, sealed), 0);
    cr_expect_eq(gw_aes_gcm_open(a, iv, GW_SLICE_NONE, GW_SLICE(sealed, 16), opened), 0);
    sealed[3] ^= 1;
    cr_expect_eq(gw_aes_gcm_open(a, iv, GW_SLICE_NONE, GW_SLICE(sealed, 16), opened), GW_EAUTHTAG);
    gw_aes_gcm_free(&a);
}

Test(ciphers, key_wrap_is_rfc_3394_and_refuses_changed_bytes)
{
    uint8_t kek[32], key[32], wrapped[40], back[32];

    unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", kek);
    unhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f", key);
    cr_assert_eq(gw_aes_wrap(kek, key, wrapped), 0);
    expect_hex(wrapped, 40,
               "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21");
    cr_assert_eq(gw_aes_unwrap(kek, wrapped, back), 0);
    cr_expect_arr_eq(back, key, 32);
    for (size_t i = 0; i < 40; i++) {
        wrapped[i] ^= 0x40;
        cr_expect_eq(gw_aes_unwrap(kek, wrapped, back), GW_EAUTHTAG);
        wrapped[i] ^= 0x40;
    }
}

Test(ciphers, digests_and_derivations_are_the_standards)
{
    uint8_t out[42], ikm[22], salt[16];

    cr_assert_eq(gw_sha256(GW_SLICE_LIT("abc"), out), 0);
    expect_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    cr_assert_eq(gw_sha256(GW_SLICE_NONE, out), 0);
    expect_hex(out, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    /* RFC 4231 §4.3 */
    cr_assert_eq(
        gw_hmac_sha256(GW_SLICE_LIT("Jefe"), GW_SLICE_LIT("what do ya want for nothing?"), out), 0);
    expect_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    /* RFC 5869 §A.1 */
    memset(ikm, 0x0b, sizeof(ikm));
    for (uint8_t i = 0; i < 13; i++)
        salt[i] = i;
    cr_assert_eq(gw_hkdf_sha256(GW_SLICE(ikm, 22), GW_SLICE(salt, 13),
                                GW_SLICE_LIT("\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9"), out, 42),
                 0);
    expect_hex(
        out, 42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    /* RFC 5869 §A.3: neither salt nor info */
    cr_assert_eq(gw_hkdf_sha256(GW_SLICE(ikm, 22), GW_SLICE_NONE, GW_SLICE_NONE, out, 42), 0);
    expect_hex(
        out, 42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
    cr_expect_eq(gw_hkdf_sha256(GW_SLICE(ikm, 22), GW_SLICE_NONE, GW_SLICE_NONE, out, 8161),
                 -EINVAL);
}

Test(ciphers, scrypt_is_what_others_compute)
{
    uint8_t salt[16], out[32];

    for (uint8_t i = 0; i < 16; i++)
        salt[i] = i;
    cr_assert_eq(gw_scrypt(GW_SLICE_LIT("correct horse"), salt, out), 0);
    /* python3: hashlib.scrypt(b"correct horse", salt=bytes(range(16)), n=32768, r=8, p=1, dklen=32)
     */
    expect_hex(out, 32, "5c662628ac4eb1068a287e2aa2a202ae248e98db04d61d3327e7342db6ec7097");
}

Test(ciphers, random_bytes_differ)
{
    uint8_t a[32] = {0}, b[32] = {0};

    cr_assert_eq(gw_random(a, sizeof(a)), 0);
    cr_assert_eq(gw_random(b, sizeof(b)), 0);
    cr_expect_arr_neq(a, b, sizeof(a));
    cr_expect_eq(gw_random(a, 0), 0);
}

Test(ciphers, init_twice_and_again_after_fini)
{
    uint8_t out[4];

    cr_expect_eq(gw_crypto_init(), 0);
    gw_crypto_fini();
    gw_crypto_fini();
    cr_expect_eq(gw_crypto_init(), 0);
    cr_expect_eq(gw_random(out, 4), 0);
    cr_expect(strlen(gw_crypto_aes_name()) > 0);
}
