/* SPDX-License-Identifier: GPL-2.0-only */
#include "client/client.h"
#include "client/fake_broker.h"

static struct gw_loop *loop;
static struct broker broker;
static struct gw_client *client;
static struct gw_client_server servers[2];
static size_t server_count;
static unsigned ups, downs, losses;
static char why[GW_CLIENT_ERROR];

static void on_up(void *owner, const struct gw_client_limits *limits)
{
    (void)owner;
    (void)limits;
    ups++;
}

static int on_packet(void *owner, enum gw_mqtt_type type, uint8_t flags, struct gw_slice body)
{
    (void)owner;
    (void)flags;
    (void)body;
    return type == GW_MQTT_PUBACK ? 0 : GW_EPROTOCOL;
}

static void on_turn(void *owner)
{
    (void)owner;
}

static void on_down(void *owner, bool was_up, const char *text)
{
    (void)owner;
    downs++;
    losses += was_up;
    (void)snprintf(why, sizeof(why), "%s", text);
}

static void set_server(const char *host, uint16_t port)
{
    char url[64];

    (void)snprintf(url, sizeof(url), "mqtts://%s:%u", host, port);
    cr_assert_eq(gw_client_server_parse(url, &servers[server_count++]), 0);
}

static void setup(void)
{
    cr_assert_eq(gw_crypto_init(), 0);
    cr_assert_eq(gw_loop_new(&loop), 0);
    broker_open(&broker, loop);
}

static void teardown(void)
{
    gw_client_free(&client);
    broker_close(&broker);
    gw_loop_free(&loop);
    gw_tls_fini();
    gw_crypto_fini();
}

TestSuite(client, .init = setup, .fini = teardown, .timeout = 60);

static void start(struct gw_slice ca)
{
    static const struct gw_client_ops ops = {on_up, on_packet, on_turn, on_down};
    struct gw_client_config cfg = {
        .servers = servers,
        .server_count = server_count,
        .client_id = "gw-1",
        .session_expiry_s = 60,
        .ca_pem = ca,
        .username = "site",
        .password = GW_SLICE_LIT("secret"),
        .will_topic = "cordon/gw-1/status",
        .will_payload = GW_SLICE_LIT("offline"),
        .keep_alive_s = 2,
        .packet_max = 65536,
        .receive_maximum = 16,
        .output_max = 65536,
    };

    if (server_count == 0)
        set_server("127.0.0.1", broker.port);
    cfg.server_count = server_count;
    cr_assert_eq(gw_client_new(loop, &cfg, &ops, NULL, &client), 0);
}

static bool is_up(void)
{
    return gw_client_is_up(client);
}

static bool is_down(void)
{
    return downs > 0;
}

static bool up_twice(void)
{
    return ups == 2 && gw_client_is_up(client);
}

Test(client, reads_urls_strictly)
{
    static const struct {
        const char *url, *host;
        uint16_t port;
    } good[] = {
        {"mqtts://cloud.example", "cloud.example", 8883},
        {"mqtts://192.0.2.1:1", "192.0.2.1", 1},
        {"mqtts://[2001:db8::1]:8884", "2001:db8::1", 8884},
        {"mqtts://[::1]", "::1", 8883},
    };
    static const char *const bad[] = {
        "",
        "mqtt://h",
        "mqtts://",
        "mqtts://h:",
        "mqtts://h:0",
        "mqtts://h:65536",
        "mqtts://h/",
        "mqtts://[::",
        "mqtts://u:p@h:1",
        "mqtts://h:1x",
        "mqtts://:1",
        "mqtts://h:-1",
    };
    struct gw_client_server s;

    for (size_t i = 0; i < GW_COUNT(good); i++) {
        cr_assert_eq(gw_client_server_parse(good[i].url, &s), 0, "%s", good[i].url);
        cr_expect_str_eq(s.host, good[i].host);
        cr_expect_eq(s.port, good[i].port);
        cr_expect_str_eq(s.url, good[i].url);
    }
    for (size_t i = 0; i < GW_COUNT(bad); i++)
        cr_expect_eq(gw_client_server_parse(bad[i], &s), GW_EMALFORMED, "%s", bad[i]);
}

Test(client, connects_with_mqtt_5_and_says_who_it_is)
{
    start(gw_buf_slice(&broker.ca_pem));
    cr_assert(turn_until(loop, is_up, 10000), "%s", gw_client_error(client));
    cr_expect_eq(broker.version, GW_MQTT_V5);
    cr_expect_str_eq(broker.client_id, "gw-1");
    cr_expect_str_eq(broker.user, "site");
    cr_expect_str_eq(broker.will_topic, "cordon/gw-1/status");
    cr_expect_str_empty(gw_client_error(client));
    cr_expect_eq(downs, 0);
}

Test(client, falls_back_to_3_1_1_when_5_is_refused)
{
    broker.refuse_v5 = true;
    start(gw_buf_slice(&broker.ca_pem));
    cr_assert(turn_until(loop, is_up, 10000), "%s", gw_client_error(client));
    cr_expect_eq(broker.version, GW_MQTT_V311);
    cr_expect_eq(gw_client_version(client), GW_MQTT_V311);
    cr_expect_eq(downs, 0, "that is no failure");
}

Test(client, falls_back_to_3_1_1_when_5_ends_the_connection)
{
    broker.close_v5 = true;
    start(gw_buf_slice(&broker.ca_pem));
    cr_assert(turn_until(loop, is_up, 10000), "%s", gw_client_error(client));
    cr_expect_eq(broker.version, GW_MQTT_V311);
}

Test(client, says_why_a_broker_refuses)
{
    broker.connack_code = GW_MQTT_NOT_AUTHORIZED;
    start(gw_buf_slice(&broker.ca_pem));
    cr_assert(turn_until(loop, is_down, 10000));
    cr_expect_not_null(strstr(why, "not authorized"), "%s", why);
    cr_expect_eq(losses, 0);
}

Test(client, refuses_a_broker_that_keeps_nothing)
{
    GW_MQTT_SET(broker.connack_props, retain_available, 0);
    start(gw_buf_slice(&broker.ca_pem));
    cr_assert(turn_until(loop, is_down, 10000));
    cr_expect_not_null(strstr(why, "retained"), "%s", why);
}

Test(client, refuses_a_broker_whose_certificate_is_not_under_the_ca)
{
    GW_CLEANUP(gw_key_free) struct gw_key *key = NULL;
    GW_CLEANUP(gw_buf_fini) struct gw_buf der = {.max = 8192}, pem = {.max = 8192};
    struct gw_cert_request req = {.use = GW_CERT_CA,
                                  .common_name = "Broker CA",
                                  .not_before_s = 1700000000,
                                  .not_after_s = 4000000000};

    cr_assert_eq(gw_key_generate(&key), 0);
    cr_assert_eq(gw_cert_issue(&req, key, GW_SLICE_NONE, key, &der), 0);
    cr_assert_eq(gw_pem_from_der("CERTIFICATE", gw_buf_slice(&der), &pem), 0);
    start(gw_buf_slice(&pem));
    cr_assert(turn_until(loop, is_down, 10000));
    cr_expect_eq(broker.connects, 0, "nothing was said to it");
}

Test(client, takes_the_next_broker_when_the_first_is_away)
{
    set_server("127.0.0.1", 1);
    set_server("127.0.0.1", broker.port);
    start(gw_buf_slice(&broker.ca_pem));
    cr_assert(turn_until(loop, is_up, 10000));
    cr_expect_str_eq(gw_client_url(client), servers[1].url);
    cr_expect_eq(downs, 1);
}

Test(client, comes_back_after_a_loss)
{
    start(gw_buf_slice(&broker.ca_pem));
    cr_assert(turn_until(loop, is_up, 10000));
    broker_cut(&broker);
    cr_assert(turn_until(loop, up_twice, 10000));
    cr_expect_eq(losses, 1);
}

Test(client, notices_a_broker_that_fell_silent)
{
    start(gw_buf_slice(&broker.ca_pem));
    cr_assert(turn_until(loop, is_up, 10000));
    broker.silent = true;
    cr_assert(turn_until(loop, is_down, 10000));
    cr_expect_not_null(strstr(why, "nothing was heard"), "%s", why);
}

Test(client, ends_a_connection_that_breaks_the_protocol)
{
    static const uint8_t out_of_turn[] = {0x90, 3, 0, 1, 0}; /* SUBACK: nothing was subscribed */

    start(gw_buf_slice(&broker.ca_pem));
    cr_assert(turn_until(loop, is_up, 10000));
    cr_assert_eq(gw_stream_write(broker.stream, GW_SLICE(out_of_turn, 5)), 0);
    cr_assert(turn_until(loop, is_down, 10000));
    cr_expect_eq(losses, 1);
}
