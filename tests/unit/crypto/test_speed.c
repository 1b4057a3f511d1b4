/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_test.h"

TestSuite(speed, .init = crypto_setup, .fini = crypto_teardown);

Test(speed, the_faster_cipher_comes_first_and_aes_goes_where_it_is_faster)
{
    static const struct {
        const char *name;
        struct gw_crypto_speed speed;
        bool aes_first, by_callback;
    } cases[] = {
        {"instructions for AES", {{600, 5000}, {9000, 500000}, {2000, 90000}}, true, true},
        {"none for anything", {{9000, 500000}, {9500, 510000}, {2000, 90000}}, false, true},
        {"wolfCrypt has the instructions", {{900, 9000}, {500, 5000}, {600, 20000}}, true, false},
        {"neither of AES is fast", {{9000, 500000}, {8000, 400000}, {2000, 90000}}, false, false},
        {"half as fast for one size, level for the other",
         {{1000, 1000}, {2000, 2000}, {500, 1000}},
         false,
         true},
        {"faster for one size by more than slower for the other",
         {{1000, 1000}, {2000, 2000}, {500, 3000}},
         true,
         true},
        {"level", {{1000, 1000}, {1000, 1000}, {1000, 1000}}, true, false},
        {"no libgcrypt", {{0, 0}, {1000, 1000}, {2000, 2000}}, true, false},
        {"no AES at all", {{0, 0}, {0, 0}, {2000, 2000}}, false, false},
        {"no ChaCha20", {{1000, 1000}, {2000, 2000}, {0, 0}}, true, true},
        {"one size could not be tried", {{1000, 0}, {2000, 2000}, {9000, 9000}}, true, false},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        gw_crypto_prefer(&cases[i].speed);
        cr_expect_eq(gw_crypto_aes_first(), cases[i].aes_first, "%s", cases[i].name);
        cr_expect_eq(strcmp(gw_crypto_aes_name(), "wolfCrypt") != 0, cases[i].by_callback, "%s: %s",
                     cases[i].name, gw_crypto_aes_name());
        cr_expect_eq(strncmp(gw_crypto_cipher_text(), "AES-GCM first", 13) == 0, cases[i].aes_first,
                     "%s: %s", cases[i].name, gw_crypto_cipher_text());
    }
}

Test(speed, each_cipher_of_this_machine_can_be_tried)
{
    struct gw_crypto_speed s;

    gw_crypto_try_ciphers(&s);
    for (size_t i = 0; i < GW_CRYPTO_SIZES; i++) {
        cr_expect_gt(s.aes_callback_ns[i], 0);
        cr_expect_gt(s.aes_own_ns[i], 0);
        cr_expect_gt(s.chacha_ns[i], 0);
    }
    gw_crypto_prefer(&s);
    cr_expect_neq(strstr(gw_crypto_cipher_text(), "256 B and 16 KiB"), NULL, "%s",
                  gw_crypto_cipher_text());
}
