/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>

#include "crypto/crypto.h"
#include "websocket/websocket.h"

static void setup(void)
{
    cr_assert_eq(gw_crypto_init(), 0);
}

TestSuite(accept, .init = setup, .fini = gw_crypto_fini, .timeout = 30);

#define KEY "dGhlIHNhbXBsZSBub25jZQ==" /* RFC 6455 §1.3 */

Test(accept, the_example_of_the_standard)
{
    const struct gw_websocket_request req = {"websocket", "Upgrade", "13", KEY, "mqtt", NULL};
    char accept[GW_WEBSOCKET_ACCEPT];

    cr_assert_eq(gw_websocket_accept(&req, "mqtt", accept), 0);
    cr_expect_str_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

Test(accept, what_is_accepted_and_what_is_not)
{
    static const struct {
        const char *name;
        struct gw_websocket_request req;
        int want;
    } cases[] = {
        {"names in any case", {"WebSocket", "upgrade", "13", KEY, "mqtt", NULL}, 0},
        {"among others",
         {"h2c, websocket", "keep-alive, Upgrade", "13", KEY, "v1, mqtt ,x", NULL},
         0},
        {"no headers at all", {NULL, NULL, NULL, NULL, NULL, NULL}, GW_EUNSUPPORTED},
        {"another upgrade", {"h2c", "Upgrade", "13", KEY, "mqtt", NULL}, GW_EUNSUPPORTED},
        {"a longer name", {"websockets", "Upgrade", "13", KEY, "mqtt", NULL}, GW_EUNSUPPORTED},
        {"no connection token",
         {"websocket", "keep-alive", "13", KEY, "mqtt", NULL},
         GW_EUNSUPPORTED},
        {"an old draft", {"websocket", "Upgrade", "8", KEY, "mqtt", NULL}, GW_EUNSUPPORTED},
        {"no version", {"websocket", "Upgrade", NULL, KEY, "mqtt", NULL}, GW_EUNSUPPORTED},
        {"no key", {"websocket", "Upgrade", "13", NULL, "mqtt", NULL}, GW_EMALFORMED},
        {"a short key", {"websocket", "Upgrade", "13", "c2hvcnQ=", "mqtt", NULL}, GW_EMALFORMED},
        {"a key of 17 bytes",
         {"websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZXg=", "mqtt", NULL},
         GW_EMALFORMED},
        {"no base64",
         {"websocket", "Upgrade", "13", "!!!!IHNhbXBsZSBub25jZQ==", "mqtt", NULL},
         GW_EMALFORMED},
        {"no subprotocol", {"websocket", "Upgrade", "13", KEY, NULL, NULL}, GW_EPROTOCOL},
        {"another subprotocol",
         {"websocket", "Upgrade", "13", KEY, "mqttv3.1", NULL},
         GW_EPROTOCOL},
        {"two words are no list",
         {"websocket", "Upgrade", "13", KEY, "v1 mqtt", NULL},
         GW_EPROTOCOL},
        {"a longer subprotocol", {"websocket", "Upgrade", "13", KEY, "mqttx", NULL}, GW_EPROTOCOL},
        {"an extension with parameters",
         {"websocket", "Upgrade", "13", KEY, "mqtt",
          "a; b ; c=1;d = \"x\\y\", , permessage-deflate"},
         0},
        {"no extension", {"websocket", "Upgrade", "13", KEY, "mqtt", ""}, 0},
        {"an extension without a name",
         {"websocket", "Upgrade", "13", KEY, "mqtt", "; a=1"},
         GW_EMALFORMED},
        {"a parameter without a value",
         {"websocket", "Upgrade", "13", KEY, "mqtt", "a; b="},
         GW_EMALFORMED},
        {"a quotation without an end",
         {"websocket", "Upgrade", "13", KEY, "mqtt", "a; b=\"c"},
         GW_EMALFORMED},
        {"a quotation that ends in a backslash",
         {"websocket", "Upgrade", "13", KEY, "mqtt", "a; b=\"\\"},
         GW_EMALFORMED},
        {"a quotation that is no token",
         {"websocket", "Upgrade", "13", KEY, "mqtt", "a; b=\"c d\""},
         GW_EMALFORMED},
        {"two extensions without a comma",
         {"websocket", "Upgrade", "13", KEY, "mqtt", "a b"},
         GW_EMALFORMED},
        {"a subprotocol in capitals",
         {"websocket", "Upgrade", "13", KEY, "MQTT", NULL},
         GW_EPROTOCOL},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        char accept[GW_WEBSOCKET_ACCEPT];
        int err = gw_websocket_accept(&cases[i].req, "mqtt", accept);

        cr_expect_eq(err, cases[i].want, "%s: %s", cases[i].name, gw_error_text(err));
    }
}
