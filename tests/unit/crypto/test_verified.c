/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_priv.h"
#include "crypto/crypto_test.h"

TestSuite(verified, .init = crypto_setup, .fini = crypto_teardown);

static struct gw_key *key, *other;
static uint8_t digest[32], sig[80];
static word32 sig_len;

static void sign(void)
{
    cr_assert_eq(gw_key_generate(&key), 0);
    cr_assert_eq(gw_key_generate(&other), 0);
    cr_assert_eq(gw_random(digest, sizeof(digest)), 0);
    sig_len = sizeof(sig);
    cr_assert_eq(
        wc_ecc_sign_hash(digest, sizeof(digest), sig, &sig_len, gw_crypto_rng(), &key->ecc), 0);
}

static void done(void)
{
    gw_key_free(&key);
    gw_key_free(&other);
}

static bool is_right(struct gw_key *by)
{
    int good = 0;
    int err = crypto_verify(sig, sig_len, digest, sizeof(digest), &good, &by->ecc);

    return err == 0 && good == 1;
}

Test(verified, what_was_right_is_right_again_without_a_calculation)
{
    sign();
    cr_expect(is_right(key));
    cr_expect_eq(crypto_verified_hits(), 0);
    cr_expect(is_right(key));
    cr_expect_eq(crypto_verified_hits(), 1);
    done();
}

Test(verified, one_bit_of_anything_makes_it_another_and_a_wrong_one)
{
    sign();
    cr_expect(is_right(key));
    for (size_t i = 0; i < sizeof(digest); i++) {
        digest[i] ^= 1;
        cr_expect_not(is_right(key), "digest, byte %zu", i);
        cr_expect_not(is_right(key), "digest, byte %zu, once more", i);
        digest[i] ^= 1;
    }
    for (size_t i = 0; i < sig_len; i++) {
        sig[i] ^= 1;
        cr_expect_not(is_right(key), "signature, byte %zu", i);
        sig[i] ^= 1;
    }
    sig_len--;
    cr_expect_not(is_right(key), "a shorter signature");
    sig_len++;
    cr_expect_not(is_right(other), "another key");
    cr_expect_eq(crypto_verified_hits(), 0);
    cr_expect(is_right(key));
    cr_expect_eq(crypto_verified_hits(), 1);
    done();
}

Test(verified, a_wrong_one_is_never_remembered_and_all_is_forgotten_at_the_end)
{
    sign();
    cr_expect_not(is_right(other));
    cr_expect_not(is_right(other));
    cr_expect(is_right(key));
    crypto_verified_forget();
    cr_expect(is_right(key));
    cr_expect_eq(crypto_verified_hits(), 0);
    done();
}
