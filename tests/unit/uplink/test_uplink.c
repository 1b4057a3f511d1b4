/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdlib.h>

#include "client/fake_broker.h"
#include "envelope/envelope.h"
#include "uplink/uplink_priv.h"

/* A gateway's uplink over the real store, spool and TLS, to a broker whose answers are chosen. */
static char dir[64];
static struct gw_loop *loop;
static struct gw_store *store;
static struct gw_config *config;
static struct gw_uplink *uplink;
static struct gw_key *signer, *reader;
static struct gw_buf cert;
static struct broker broker;
static uint64_t durable_to, next_ticket;
static unsigned failures, resyncs;
static char events[4096];

static void on_durable(void *owner, uint64_t ticket)
{
    (void)owner;
    cr_expect_gt(ticket, durable_to, "tickets rise");
    durable_to = ticket;
}

static void on_failed(void *owner, uint64_t ticket, int err)
{
    (void)owner;
    (void)ticket;
    (void)err;
    failures++;
}

static void on_event(void *owner, const char *kind, const char *text)
{
    size_t len = strlen(events);

    (void)owner;
    (void)text;
    (void)snprintf(events + len, sizeof(events) - len, "%s ", kind);
}

static void on_resync(void *owner)
{
    (void)owner;
    resyncs++;
    gw_uplink_presence(uplink, "cam-1", GW_SLICE_LIT("{\"status\":\"online\"}"));
}

static void set_text(char **to, const char *text)
{
    free(*to);
    *to = strdup(text);
    cr_assert_not_null(*to);
}

static void make_config(bool with_broker)
{
    char url[64];

    gw_config_free(&config);
    cr_assert_eq(gw_config_defaults(&config), 0);
    set_text(&config->gateway.state_dir, dir);
    if (!with_broker)
        return;
    (void)snprintf(url, sizeof(url), "mqtts://127.0.0.1:%u", broker.port);
    config->uplink.broker_count = 1;
    set_text(&config->uplink.brokers[0].url, url);
    set_text(&config->uplink.brokers[0].host, "127.0.0.1");
    config->uplink.brokers[0].port = broker.port;
    config->uplink.ca.data.max = 1u << 20;
    cr_assert_eq(gw_buf_append(&config->uplink.ca.data, gw_buf_slice(&broker.ca_pem)), 0);
    config->uplink.recipient_count = 1;
    set_text(&config->uplink.recipients[0].path, "reader.pub");
    config->uplink.recipients[0].data.max = 1u << 20;
    cr_assert_eq(gw_key_public_pem(reader, &config->uplink.recipients[0].data), 0);
}

static void open_uplink(void)
{
    static const struct gw_uplink_ops ops = {on_durable, on_failed, on_event, on_resync, NULL};
    struct gw_uplink_identity id = {"gw-1", signer, gw_buf_slice(&cert)};

    cr_assert_eq(gw_uplink_open(loop, config, store, &id, &ops, NULL, &uplink), 0);
}

static void setup(void)
{
    struct gw_cert_request req = {.use = GW_CERT_CA,
                                  .common_name = "gw-1",
                                  .not_before_s = 1700000000,
                                  .not_after_s = 4000000000};

    (void)snprintf(dir, sizeof(dir), "/tmp/cordon-uplink-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(gw_crypto_init(), 0);
    cr_assert_eq(gw_loop_new(&loop), 0);
    cr_assert_eq(gw_store_open(loop, dir, &store), 0);
    cr_assert_eq(gw_key_generate(&signer), 0);
    cr_assert_eq(gw_key_generate(&reader), 0);
    cert.max = 8192;
    cr_assert_eq(gw_cert_issue(&req, signer, GW_SLICE_NONE, signer, &cert), 0);
    broker_open(&broker, loop);
    make_config(true);
}

static void teardown(void)
{
    char command[128];

    gw_uplink_close(&uplink);
    broker_close(&broker);
    gw_store_close(&store);
    gw_config_free(&config);
    gw_loop_free(&loop);
    gw_key_free(&signer);
    gw_key_free(&reader);
    gw_buf_fini(&cert);
    gw_tls_fini();
    gw_crypto_fini();
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(uplink, .init = setup, .fini = teardown, .timeout = 60);

static int publish_as(const char *topic, struct gw_slice payload, uint8_t qos)
{
    struct gw_msg m = {.qos = qos,
                       .time_ms = 1795000000000,
                       .device = GW_SLICE_LIT("cam-1"),
                       .topic = gw_slice_str(topic),
                       .payload = payload};

    return gw_uplink_publish(uplink, &m, ++next_ticket, GW_SLICE_NONE);
}

static void publish(int number)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%d", number);
    cr_assert_eq(publish_as("d/cam-1/n", gw_slice_str(text), 1), 0);
}

static void publish_range(int from, int to)
{
    for (int i = from; i <= to; i++)
        publish(i);
}

static bool all_durable(void)
{
    return durable_to == next_ticket;
}

static uint64_t spooled(void)
{
    struct gw_uplink_status s;

    gw_uplink_status(uplink, &s);
    return s.spooled_messages;
}

static bool all_released(void)
{
    return all_durable() && spooled() == 0;
}

static bool connected(void)
{
    struct gw_uplink_status s;

    gw_uplink_status(uplink, &s);
    return s.state == GW_UPLINK_CONNECTED;
}

static bool one_got(void)
{
    return broker.count > 0;
}

static bool never(void)
{
    return false;
}

/* ---- the cloud's side ---- */

struct seen {
    int numbers[BROKER_KEEP];
    uint64_t sequences[BROKER_KEEP];
    size_t count, keys;
};

/* Open everything the broker got, in order: each message after its key, its number as payload. */
static void open_all(struct seen *out)
{
    struct gw_epoch_key keys[64];

    *out = (struct seen){0};
    for (size_t i = 0; i < broker.count; i++) {
        const struct broker_publish *p = &broker.got[i];
        struct gw_slice cose = GW_SLICE(p->payload, p->len);
        struct gw_envelope_head head;
        GW_CLEANUP(gw_buf_fini) struct gw_buf plain = {.max = 65536};
        int err = GW_ENOKEY;
        char text[16] = "";

        if (strstr(p->topic, "/key/")) {
            cr_assert(p->retain);
            cr_assert_eq(gw_epoch_open(cose, reader, &keys[out->keys++]), 0);
            continue;
        }
        if (!strstr(p->topic, "/up/"))
            continue;
        cr_expect_str_eq(p->topic, "cordon/gw-1/up/d/cam-1/n");
        cr_expect_not(p->retain);
        for (size_t k = 0; k < out->keys && err; k++)
            err = gw_envelope_open(cose, keys[k].key, &head, &plain);
        cr_assert_eq(err, 0, "message %zu came before its key", i);
        memcpy(text, gw_buf_slice(&plain).ptr, GW_MIN(gw_buf_len(&plain), sizeof(text) - 1));
        cr_expect(gw_slice_eq_str(head.topic, "d/cam-1/n"));
        out->sequences[out->count] = head.sequence;
        out->numbers[out->count++] = atoi(text);
    }
}

/* Numbers 1 to `last`, in order, duplicates by sequence apart; sequences rise by one. */
static void expect_range(int last)
{
    struct seen *seen = calloc(1, sizeof(*seen));
    uint64_t sequence = 0;
    int number = 0;

    open_all(seen);
    for (size_t i = 0; i < seen->count; i++) {
        if (seen->sequences[i] <= sequence)
            continue;
        cr_expect_eq(seen->sequences[i], sequence + 1);
        cr_expect_eq(seen->numbers[i], number + 1);
        sequence = seen->sequences[i];
        number = seen->numbers[i];
    }
    cr_expect_eq(number, last);
    free(seen);
}

static const struct broker_publish *find(const char *topic)
{
    for (size_t i = 0; i < broker.count; i++)
        if (strcmp(broker.got[i].topic, topic) == 0)
            return &broker.got[i];
    return NULL;
}

/* ---- claims ---- */

Test(uplink, keeps_nothing_without_a_broker)
{
    struct gw_uplink_status s;

    make_config(false);
    open_uplink();
    cr_expect_eq(publish_as("t", GW_SLICE_LIT("x"), 1), 1);
    gw_uplink_status(uplink, &s);
    cr_expect_eq(s.state, GW_UPLINK_OFF);
    cr_expect_eq(s.spooled_messages, 0);
}

Test(uplink, sends_what_is_durable_under_an_announced_key)
{
    struct gw_uplink_status s;

    open_uplink();
    publish_range(1, 100);
    cr_assert(turn_until(loop, all_released, 10000));
    expect_range(100);
    cr_expect_eq(failures, 0);
    gw_uplink_status(uplink, &s);
    cr_expect_eq(s.acknowledged, 100);
    cr_expect_eq(s.in_flight, 0);
    cr_expect_eq(s.spooled_bytes, 0);
}

Test(uplink, makes_durable_what_the_cloud_cannot_take_yet)
{
    broker.silent = true;
    open_uplink();
    publish_range(1, 10);
    cr_assert(turn_until(loop, all_durable, 10000));
    cr_expect_eq(spooled(), 10);
    cr_expect_not(connected());
}

Test(uplink, says_that_it_is_online_and_who_else_is)
{
    const struct broker_publish *p;

    open_uplink();
    cr_assert(turn_until(loop, connected, 10000));
    gw_uplink_presence(uplink, "cam-2", GW_SLICE_LIT("old"));
    gw_uplink_presence(uplink, "cam-2", GW_SLICE_LIT("new"));
    (void)turn_until(loop, never, 200);
    cr_expect_eq(resyncs, 1);
    cr_expect_str_eq(broker.will_topic, "cordon/gw-1/status");
    p = find("cordon/gw-1/status");
    cr_assert_not_null(p);
    cr_expect(p->retain && gw_slice_eq_str(GW_SLICE(p->payload, p->len), "online"));
    p = find("cordon/gw-1/presence/cam-1");
    cr_assert_not_null(p);
    cr_expect(p->retain &&
              gw_slice_eq_str(GW_SLICE(p->payload, p->len), "{\"status\":\"online\"}"));
    p = find("cordon/gw-1/presence/cam-2");
    cr_assert_not_null(p);
    cr_expect(gw_slice_eq_str(GW_SLICE(p->payload, p->len), "new"), "only the newest is sent");
    cr_expect_not_null(strstr(events, "uplink-up"));
}

Test(uplink, sends_again_in_order_what_was_not_acknowledged)
{
    size_t before, duplicates = 0;

    broker.hold_acks = true;
    open_uplink();
    publish_range(1, 50);
    cr_assert(turn_until(loop, all_durable, 10000));
    (void)turn_until(loop, never, 200);
    cr_expect_eq(spooled(), 50);
    before = broker.count;
    cr_expect_geq(before, 51);
    broker_cut(&broker);
    broker.hold_acks = false;
    cr_assert(turn_until(loop, all_released, 10000));
    expect_range(50);
    for (size_t i = before; i < broker.count; i++)
        duplicates += broker.got[i].dup;
    cr_expect_eq(duplicates, 50, "and says that it does");
    cr_expect_not_null(strstr(events, "uplink-down"));
}

Test(uplink, survives_many_losses_without_losing_a_message)
{
    open_uplink();
    for (int round = 0; round < 8; round++) {
        publish_range(round * 25 + 1, round * 25 + 25);
        (void)turn_until(loop, never, (unsigned)(5 + 23 * round));
        broker_cut(&broker);
    }
    cr_assert(turn_until(loop, all_released, 30000));
    expect_range(200);
}

Test(uplink, begins_a_new_epoch_after_so_many_messages)
{
    struct seen *seen = calloc(1, sizeof(*seen));

    config->uplink.epoch_messages = 3;
    open_uplink();
    publish_range(1, 10);
    cr_assert(turn_until(loop, all_released, 10000));
    open_all(seen);
    cr_expect_eq(seen->keys, 4);
    free(seen);
    expect_range(10);
}

/* The key of the second epoch carries the sequence of the message before it. */
Test(uplink, keeps_a_key_until_it_was_acknowledged_itself)
{
    size_t i = 0, keys = 0;

    config->uplink.epoch_messages = 1;
    broker.hold_acks = true;
    open_uplink();
    publish_range(1, 2); /* key, 1, key, 2 */
    cr_assert(turn_until(loop, all_durable, 10000));
    (void)turn_until(loop, never, 200);
    for (; i < broker.count && !strstr(broker.got[i].topic, "/up/"); i++)
        broker_ack(&broker, broker.got[i].id, 0);
    broker_ack(&broker, broker.got[i].id, 0); /* message 1, and not the key behind it */
    (void)turn_until(loop, never, 100);
    gw_uplink_close(&uplink);
    broker_cut(&broker);
    broker.hold_acks = false;
    i = broker.count;
    open_uplink();
    cr_assert(turn_until(loop, all_released, 10000));
    for (; i < broker.count; i++)
        keys += strstr(broker.got[i].topic, "/key/") != NULL;
    cr_expect_eq(keys, 1, "the second key came again after the restart");
    expect_range(2);
}

Test(uplink, goes_on_after_a_restart_with_the_next_sequence)
{
    broker.silent = true;
    open_uplink();
    publish_range(1, 20);
    cr_assert(turn_until(loop, all_durable, 10000));
    gw_uplink_close(&uplink);
    broker_cut(&broker);
    broker.silent = false;
    open_uplink();
    publish_range(21, 40);
    cr_assert(turn_until(loop, all_released, 10000));
    expect_range(40);
}

Test(uplink, begins_a_new_epoch_for_new_readers)
{
    struct gw_config *old = config;
    struct gw_key *second = NULL;
    struct gw_epoch_key key;
    const struct broker_publish *last = NULL;

    open_uplink();
    publish_range(1, 3);
    cr_assert(turn_until(loop, all_released, 10000));
    cr_assert_eq(gw_key_generate(&second), 0);
    config = NULL;
    make_config(true);
    config->uplink.recipient_count = 2;
    config->uplink.recipients[1].path = strdup("second.pub");
    config->uplink.recipients[1].data.max = 8192;
    cr_assert_eq(gw_key_public_pem(second, &config->uplink.recipients[1].data), 0);
    cr_assert_eq(gw_uplink_reload(uplink, config), 0);
    gw_config_free(&old);
    cr_expect(connected(), "the connection stays");
    publish_range(4, 5);
    cr_assert(turn_until(loop, all_released, 10000));
    expect_range(5);
    for (size_t i = 0; i < broker.count; i++)
        if (strstr(broker.got[i].topic, "/key/"))
            last = &broker.got[i];
    cr_assert_not_null(last);
    cr_expect_eq(gw_epoch_open(GW_SLICE(last->payload, GW_MIN(last->len, sizeof(last->payload))),
                               second, &key),
                 0);
    gw_key_free(&second);
}

Test(uplink, never_sends_more_than_the_broker_takes_at_once)
{
    GW_MQTT_SET(broker.connack_props, receive_maximum, 2);
    broker.hold_acks = true;
    open_uplink();
    publish_range(1, 10);
    cr_assert(turn_until(loop, one_got, 10000));
    for (int i = 0; i < 100 && !all_released(); i++) {
        (void)turn_until(loop, never, 30);
        cr_expect_leq(broker.count - broker.acked, 2);
        broker_ack_all(&broker);
    }
    cr_expect(all_released());
    expect_range(10);
}

static size_t wanted;

static bool wanted_got(void)
{
    return broker.count >= wanted;
}

/* Leave it at work for so long that it could have sent more. */
static void let_it_run(void)
{
    (void)turn_until(loop, never, 30);
}

Test(uplink, refills_the_window_by_quarters)
{
    GW_MQTT_SET(broker.connack_props, receive_maximum, 8);
    broker.hold_acks = true;
    open_uplink();
    publish_range(1, 20);
    wanted = 8;
    cr_assert(turn_until(loop, wanted_got, 10000));
    broker_ack(&broker, broker.got[broker.acked++].id, 0);
    let_it_run();
    cr_expect_eq(broker.count, 8, "one acknowledgement is not worth a record");
    broker_ack(&broker, broker.got[broker.acked++].id, 0);
    wanted = 10;
    cr_assert(turn_until(loop, wanted_got, 10000));
    broker.hold_acks = false;
    broker_ack_all(&broker);
    cr_assert(turn_until(loop, all_released, 10000));
    expect_range(20);
}

Test(uplink, takes_acknowledgements_that_gathered)
{
    broker.hold_acks = true;
    config->uplink.window = 256;
    open_uplink();
    publish_range(1, 200);
    wanted = 200;
    cr_assert(turn_until(loop, wanted_got, 10000));
    for (int i = 0; i < 4; i++) { /* the gathering begins again while there are so many */
        for (int k = 0; k < 10; k++)
            broker_ack(&broker, broker.got[broker.acked++].id, 0);
        let_it_run();
        cr_expect_lt(spooled(), 200 - 10 * (uint64_t)i);
    }
    broker.hold_acks = false;
    broker_ack_all(&broker);
    cr_assert(turn_until(loop, all_released, 10000));
    expect_range(200);
}

Test(uplink, drops_what_the_broker_can_never_take_and_says_so)
{
    static uint8_t big[3000];
    struct gw_uplink_status s;

    GW_MQTT_SET(broker.connack_props, maximum_packet_size, 2000);
    open_uplink();
    publish(1);
    cr_assert_eq(publish_as("d/cam-1/n", GW_SLICE(big, sizeof(big)), 1), 0);
    publish(3);
    cr_assert(turn_until(loop, all_released, 10000));
    gw_uplink_status(uplink, &s);
    cr_expect_eq(s.dropped, 1);
    cr_expect_eq(s.acknowledged, 2);
    cr_expect_not_null(strstr(events, "uplink-dropped"));
}

static bool was_refused(void)
{
    return strstr(events, "uplink-refused") != NULL;
}

Test(uplink, sends_again_what_the_broker_refused_for_now)
{
    broker.refuse = "/up/";
    broker.puback_reason = GW_MQTT_QUOTA;
    open_uplink();
    publish_range(1, 5);
    cr_assert(turn_until(loop, was_refused, 10000));
    broker.refuse = NULL;
    cr_assert(turn_until(loop, all_released, 20000));
    expect_range(5);
}

static bool was_left(void)
{
    return strstr(events, "uplink-down") != NULL;
}

Test(uplink, leaves_a_broker_that_acknowledges_nothing)
{
    broker.hold_acks = true;
    open_uplink();
    uplink->link.stall_ms = 300;
    publish_range(1, 5);
    cr_assert(turn_until(loop, was_left, 10000));
    broker.hold_acks = false;
    cr_assert(turn_until(loop, all_released, 20000));
    expect_range(5);
    events[0] = '\0';
    for (int i = 0; i < 50; i++) /* with nothing on its way there is nothing to wait for */
        cr_assert_eq(gw_loop_turn(loop, 10), 0);
    cr_expect_not(was_left());
}

Test(uplink, gives_up_on_what_the_broker_refuses_for_ever)
{
    struct gw_uplink_status s;

    broker.refuse = "/up/";
    broker.puback_reason = GW_MQTT_TOO_LARGE;
    open_uplink();
    publish_range(1, 2);
    cr_assert(turn_until(loop, all_released, 10000));
    gw_uplink_status(uplink, &s);
    cr_expect_eq(s.dropped, 2);
    cr_expect_eq(s.acknowledged, 0);
}

Test(uplink, speaks_3_1_1_where_5_is_refused)
{
    broker.refuse_v5 = true;
    open_uplink();
    publish_range(1, 10);
    cr_assert(turn_until(loop, all_released, 10000));
    cr_expect_eq(broker.version, GW_MQTT_V311);
    expect_range(10);
}

Test(uplink, refuses_messages_that_are_too_long)
{
    static uint8_t big[1u << 20];

    open_uplink();
    cr_expect_eq(publish_as("t", GW_SLICE(big, sizeof(big)), 1), GW_ETOOBIG);
}

Test(uplink, sends_qos_0_without_a_ticket)
{
    open_uplink();
    cr_assert(turn_until(loop, connected, 10000));
    cr_expect_eq(publish_as("d/cam-1/n", GW_SLICE_LIT("1"), 0), 1);
    next_ticket = 0;
    publish(2);
    cr_assert(turn_until(loop, all_released, 10000));
    expect_range(2);
}
