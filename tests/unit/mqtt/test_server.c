/* SPDX-License-Identifier: GPL-2.0-only */
#include "mqtt/server_test.h"

TestSuite(mqtt_server, .init = server_setup, .fini = server_teardown);

/* ---- CONNECT ---- */

struct connect_case {
    const char *name;
    struct gw_slice packet, answer;
    bool closed;
};

Test(mqtt_server, answers_a_connect)
{
    static const struct connect_case cases[] = {
        {"3.1.1", GW_SLICE_LIT(CONNECT_311), GW_SLICE_LIT("\x20\2\0\0"), false},
        {"5", GW_SLICE_LIT(CONNECT_5), GW_SLICE_LIT(CONNACK_5), false},
        {"3.1", GW_SLICE_LIT("\x10\x0f\0\6MQIsdp\3\2\0\x3c\0\1c"), GW_SLICE_LIT("\x20\2\0\1"),
         true},
        {"level 6", GW_SLICE_LIT("\x10\x0e\0\4MQTT\6\2\0\x3c\0\0\1c"),
         GW_SLICE_LIT("\x20\3\0\x84\0"), true},
        {"another protocol", GW_SLICE_LIT("\x10\x0d\0\4XQTT\4\2\0\x3c\0\1c"), GW_SLICE_LIT(""),
         true},
        {"no client identifier, but a session", GW_SLICE_LIT("\x10\x0c\0\4MQTT\4\0\0\x3c\0\0"),
         GW_SLICE_LIT("\x20\2\0\2"), true},
        {"enhanced authentication", GW_SLICE_LIT("\x10\x12\0\4MQTT\5\2\0\x3c\4\x15\0\1x\0\1c"),
         GW_SLICE_LIT("\x20\3\0\x8c\0"), true},
        {"will on a wildcard", GW_SLICE_LIT("\x10\x15\0\4MQTT\5\6\0\x3c\0\0\1c\0\0\1+\0\1p"),
         GW_SLICE_LIT("\x20\3\0\x90\0"), true},
        {"malformed", GW_SLICE_LIT("\x10\x0d\0\4MQTT\4\3\0\x3c\0\1c"), GW_SLICE_LIT(""), true},
        {"not a CONNECT first", GW_SLICE_LIT("\xc0\0"), GW_SLICE_LIT(""), true},
        {"an AUTH first", GW_SLICE_LIT("\xf0\0"), GW_SLICE_LIT(""), true},
        {"TLS inside TLS", GW_SLICE_LIT("\x16\3\1\2\0"), GW_SLICE_LIT(""), true},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct wire w;

        wire_open(&w, "cam");
        say(&w, cases[i].packet);
        hear(&w, cases[i].answer, cases[i].name);
        cr_expect_eq(w.closing, cases[i].closed, "%s", cases[i].name);
        cr_expect_eq(gw_peers_count(at.peers, "cam"), !cases[i].closed, "%s", cases[i].name);
        wire_fini(&w);
    }
    cr_expect_eq(gw_mqtt_server_count(at.server), 0);
}

Test(mqtt_server, assigns_a_client_identifier)
{
    struct wire w;
    struct gw_mqtt_connack ack;
    struct gw_slice body;
    uint8_t head;

    wire_open(&w, "cam");
    SAY(&w, "\x10\x0d\0\4MQTT\5\2\0\x3c\0\0\0");
    cr_assert_eq(gw_mqtt_frame(gw_buf_slice(&w.out), 100, &head, &body), 0);
    cr_assert_eq(gw_mqtt_connack_decode(body, GW_MQTT_V5, &ack), 0);
    cr_expect_eq(ack.props.assigned_client_id.len, 16);
    wire_fini(&w);
}

Test(mqtt_server, takes_nobody_without_a_device_identity)
{
    struct wire w;

    wire_open(&w, "");
    cr_expect(w.closing);
    cr_expect_eq(w.close_err, GW_EIDENTITY);
    wire_fini(&w);
}

Test(mqtt_server, shuts_out_the_quarantined_and_the_revoked)
{
    struct wire w;

    (void)proved("bad", NULL, 0);
    (void)proved("old", NULL, 0);
    cr_assert_eq(
        gw_quarantine_device(at.quarantine, "bad", GW_MODE_ISOLATE, 0, "test", "admin", NULL, NULL),
        0);
    cr_assert_eq(gw_devices_revoke(site.devices, "old"), 0);
    wire_open(&w, "bad");
    SAY(&w, CONNECT_5);
    HEAR(&w, "\x20\3\0\x8a\0");
    cr_expect(w.closing);
    wire_fini(&w);
    wire_open(&w, "bad");
    SAY(&w, CONNECT_311);
    HEAR(&w, "\x20\2\0\5");
    wire_fini(&w);
    wire_open(&w, "old");
    SAY(&w, CONNECT_5);
    HEAR(&w, "\x20\3\0\x87\0");
    cr_expect(w.closing);
    wire_fini(&w);
}

Test(mqtt_server, waits_for_a_connect_only_so_long)
{
    struct wire w;

    wire_open(&w, "cam");
    SAY(&w, "\x10\x0d\0\4MQ");
    pass_ms(site.loop, 9000);
    cr_expect_not(w.closing);
    pass_ms(site.loop, 2000);
    cr_expect(w.closing);
    cr_expect_eq(w.close_err, GW_ETIMEOUT);
    wire_fini(&w);
}

/* ---- what ends a connection ---- */

struct end_case {
    const char *name;
    struct gw_slice packet, answer;
    uint8_t version;
};

Test(mqtt_server, ends_a_connection_that_breaks_the_rules_and_says_why)
{
    static const struct end_case cases[] = {
        {"5, second CONNECT", GW_SLICE_LIT(CONNECT_5), GW_SLICE_LIT("\xe0\1\x82"), GW_MQTT_V5},
        {"3.1.1, second CONNECT", GW_SLICE_LIT(CONNECT_311), GW_SLICE_LIT(""), GW_MQTT_V311},
        {"5, CONNACK", GW_SLICE_LIT("\x20\2\0\0"), GW_SLICE_LIT("\xe0\1\x82"), GW_MQTT_V5},
        {"5, SUBACK", GW_SLICE_LIT("\x90\3\0\1\0"), GW_SLICE_LIT("\xe0\1\x82"), GW_MQTT_V5},
        {"5, AUTH", GW_SLICE_LIT("\xf0\0"), GW_SLICE_LIT("\xe0\1\x82"), GW_MQTT_V5},
        {"5, type 0", GW_SLICE_LIT("\0\0"), GW_SLICE_LIT("\xe0\1\x81"), GW_MQTT_V5},
        {"5, bad flags", GW_SLICE_LIT("\xc4\0"), GW_SLICE_LIT("\xe0\1\x81"), GW_MQTT_V5},
        {"5, QoS 3", GW_SLICE_LIT("\x36\6\0\1t\0\1\0"), GW_SLICE_LIT("\xe0\1\x81"), GW_MQTT_V5},
        {"5, topic alias 0",
         GW_SLICE_LIT("\x30\x0d\0\6"
                      "d/cam/\3\x23\0\0x"),
         GW_SLICE_LIT("\xe0\1\x94"), GW_MQTT_V5},
        {"5, topic alias over the maximum",
         GW_SLICE_LIT("\x30\x0d\0\6"
                      "d/cam/\3\x23\0\x11x"),
         GW_SLICE_LIT("\xe0\1\x94"), GW_MQTT_V5},
        {"5, topic alias that stands for nothing", GW_SLICE_LIT("\x30\7\0\0\3\x23\0\1x"),
         GW_SLICE_LIT("\xe0\1\x82"), GW_MQTT_V5},
        {"5, wildcard in a topic",
         GW_SLICE_LIT("\x30\7\0\3"
                      "d/#\0x"),
         GW_SLICE_LIT("\xe0\1\x81"), GW_MQTT_V5},
        {"5, subscription identifier in a PUBLISH",
         GW_SLICE_LIT("\x30\x0b\0\5"
                      "d/cam\2\x0b\1x"),
         GW_SLICE_LIT("\xe0\1\x82"), GW_MQTT_V5},
        {"5, larger than the maximum packet size", GW_SLICE_LIT("\x30\xff\xff\x7f"),
         GW_SLICE_LIT("\xe0\1\x95"), GW_MQTT_V5},
        {"3.1.1, larger than we take", GW_SLICE_LIT("\x30\xff\xff\x7f"), GW_SLICE_LIT(""),
         GW_MQTT_V311},
        {"5, SUBSCRIBE of nothing", GW_SLICE_LIT("\x82\3\0\1\0"), GW_SLICE_LIT("\xe0\1\x82"),
         GW_MQTT_V5},
        {"5, DISCONNECT that makes a session last", GW_SLICE_LIT("\xe0\7\0\5\x11\0\0\0\1"),
         GW_SLICE_LIT("\xe0\1\x82"), GW_MQTT_V5},
        {"5, PINGREQ with a body", GW_SLICE_LIT("\xc0\1x"), GW_SLICE_LIT("\xe0\1\x81"), GW_MQTT_V5},
        {"3.1.1, PUBLISH that is not allowed", GW_SLICE_LIT("\x32\6\0\1x\0\1p"), GW_SLICE_LIT(""),
         GW_MQTT_V311},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct wire w;

        join(&w, "cam", cases[i].version, true, 0);
        say(&w, cases[i].packet);
        hear(&w, cases[i].answer, cases[i].name);
        cr_expect(w.closing, "%s", cases[i].name);
        wire_fini(&w);
        cr_expect_not(online("cam"), "%s", cases[i].name);
        cr_expect_eq(cause_of("cam"), GW_CAUSE_RESET, "%s", cases[i].name);
        pass_ms(site.loop, 31000); /* or so many ends at once would be an outage */
    }
    cr_expect_eq(at.sunk, 0);
}

Test(mqtt_server, knows_why_a_device_left)
{
    struct wire w;

    join(&w, "cam", GW_MQTT_V311, true, 0);
    cr_expect(online("cam"));
    SAY(&w, "\xe0\0");
    cr_expect(w.closing);
    cr_expect_eq(cause_of("cam"), GW_CAUSE_LEFT);
    wire_fini(&w);
    join(&w, "cam", GW_MQTT_V311, true, 0);
    wire_end(&w, -ECONNRESET);
    cr_expect_eq(cause_of("cam"), GW_CAUSE_RESET);
    wire_fini(&w);
    join(&w, "cam", GW_MQTT_V5, true, 0);
    pass_ms(site.loop, 89000);
    cr_expect_not(w.closing);
    SAY(&w, "\xc0\0");
    HEAR(&w, "\xd0\0");
    pass_ms(site.loop, 89000);
    cr_expect_not(w.closing, "any packet counts");
    pass_ms(site.loop, 2000);
    HEAR(&w, "\xe0\1\x8d");
    cr_expect_eq(cause_of("cam"), GW_CAUSE_KEEPALIVE);
    wire_fini(&w);
    join(&w, "cam", GW_MQTT_V5, true, 0);
    gw_mqtt_server_stop(at.server);
    HEAR(&w, "\xe0\1\x8b");
    cr_expect_eq(cause_of("cam"), GW_CAUSE_SHUTDOWN);
    wire_fini(&w);
}

Test(mqtt_server, ends_every_connection_of_a_device_that_is_cut_off)
{
    struct wire a, b, other;

    join(&a, "cam", GW_MQTT_V5, true, 0);
    wire_open(&b, "cam");
    SAY(&b, "\x10\x0d\0\4MQTT\4\2\0\x3c\0\1d");
    HEAR(&b, "\x20\2\0\0");
    join(&other, "tv", GW_MQTT_V5, true, 0);
    cr_assert_eq(
        gw_quarantine_device(at.quarantine, "cam", GW_MODE_ISOLATE, 0, "test", "admin", NULL, NULL),
        0);
    HEAR(&a, "\xe0\1\x98");
    cr_expect(a.closing && b.closing);
    cr_expect_not(other.closing);
    cr_expect_eq(gw_peers_count(at.peers, "cam"), 0);
    cr_expect_eq(cause_of("cam"), GW_CAUSE_QUARANTINED);
    cr_assert_eq(gw_devices_revoke(site.devices, "tv"), 0);
    HEAR(&other, "\xe0\1\x87");
    cr_expect(other.closing);
    wire_fini(&a);
    wire_fini(&b);
    wire_fini(&other);
}

Test(mqtt_server, isolates_a_device_that_sends_garbage_again_and_again)
{
    for (int i = 0; i < 20; i++) {
        struct wire w;

        join(&w, "cam", GW_MQTT_V5, true, 0);
        SAY(&w, "\0\0");
        cr_expect(w.closing);
        wire_fini(&w);
    }
    cr_expect_not_null(gw_quarantine_of_device(at.quarantine, "cam"));
}

Test(mqtt_server, hands_a_session_to_the_newer_connection)
{
    struct wire a, b, other;

    join(&a, "cam", GW_MQTT_V5, false, 60);
    join(&other, "tv", GW_MQTT_V5, false, 60);
    cr_expect_not(a.closing, "not to another device's");
    join(&b, "cam", GW_MQTT_V5, false, 60);
    HEAR(&a, "\xe0\1\x8e");
    cr_expect(a.closing);
    cr_expect(online("cam"));
    wire_fini(&a);
    cr_expect(online("cam"));
    SAY(&b, "\xc0\0");
    HEAR(&b, "\xd0\0");
    wire_fini(&b);
    wire_fini(&other);
}

/* ---- PUBLISH ---- */

Test(mqtt_server, acknowledges_when_it_is_durable_and_not_before)
{
    struct wire w;

    at.sink = 0;
    join(&w, "cam", GW_MQTT_V311, true, 0);
    SAY(&w, "\x32\x0a\0\5"
            "d/cam\0\7p\x32\x0a\0\5"
            "d/cam\0\x08q");
    HEAR(&w, "");
    cr_expect_eq(at.sunk, 2);
    gw_hub_durable(at.hub, at.ticket - 1);
    HEAR(&w, "\x40\2\0\7");
    gw_hub_durable(at.hub, at.ticket);
    HEAR(&w, "\x40\2\0\x08");
    SAY(&w, "\x30\7\0\5"
            "d/cam");
    HEAR(&w, "");
    cr_expect_eq(at.sunk, 3);
    wire_fini(&w);
}

Test(mqtt_server, never_says_yes_to_what_was_not_taken)
{
    struct wire w;

    join(&w, "cam", GW_MQTT_V5, true, 0);
    SAY(&w, "\x32\7\0\1x\0\7\0p");
    HEAR(&w, "\x40\3\0\7\x87");
    SAY(&w, "\x32\x0c\0\7$SYS/xx\0\x08\0");
    HEAR(&w, "\x40\3\0\x08\x87");
    at.sink = GW_ESPOOLFULL;
    SAY(&w, "\x32\x0b\0\5"
            "d/cam\0\x09\0p");
    HEAR(&w, "\x40\3\0\x09\x97");
    SAY(&w, "\x34\x0b\0\5"
            "d/cam\0\x0a\0p");
    HEAR(&w, "\x50\3\0\x0a\x97");
    at.sink = 0;
    SAY(&w, "\x32\x0b\0\5"
            "d/cam\0\x0b\0p");
    gw_hub_failed(at.hub, at.ticket, GW_ESTORE);
    HEAR(&w, "\x40\3\0\x0b\x80");
    cr_expect_not(w.closing);
    wire_fini(&w);
    join(&w, "cam", GW_MQTT_V311, true, 0);
    SAY(&w, "\x32\x0a\0\5"
            "d/cam\0\x0c"
            "p");
    gw_hub_failed(at.hub, at.ticket, GW_ESTORE);
    HEAR(&w, "");
    cr_expect(w.closing, "3.1.1 has no word for it");
    wire_fini(&w);
}

static void say_deep(struct wire *w, uint8_t version, uint8_t qos)
{
    uint8_t room[512];
    char topic[256] = "d/cam/";
    struct gw_writer out = gw_writer_of(room, sizeof(room));

    memset(topic + 6, '/', GW_HUB_LEVELS_MAX);
    gw_mqtt_publish_encode(&out, version,
                           &(struct gw_mqtt_publish){
                               .qos = qos, .packet_id = qos ? 7 : 0, .topic = gw_slice_str(topic)});
    say(w, gw_writer_done(&out));
}

Test(mqtt_server, refuses_a_topic_of_too_many_levels_and_no_more)
{
    struct wire five, three;

    join(&five, "cam", GW_MQTT_V5, true, 0);
    say_deep(&five, GW_MQTT_V5, 0);
    HEAR(&five, "");
    say_deep(&five, GW_MQTT_V5, 1);
    HEAR(&five, "\x40\3\0\7\x90");
    say_deep(&five, GW_MQTT_V5, 2);
    HEAR(&five, "\x50\3\0\7\x90");
    cr_expect_not(five.closing);
    cr_expect_eq(at.sunk, 0);
    wire_fini(&five);
    join(&three, "cam", GW_MQTT_V311, true, 0);
    say_deep(&three, GW_MQTT_V311, 1);
    HEAR(&three, "");
    cr_expect(three.closing, "3.1.1 has no word for it");
    wire_fini(&three);
}

Test(mqtt_server, takes_qos_2_once)
{
    struct wire w;

    join(&w, "cam", GW_MQTT_V311, true, 0);
    SAY(&w, "\x34\x0a\0\5"
            "d/cam\0\7p");
    HEAR(&w, "\x50\2\0\7");
    SAY(&w, "\x3c\x0a\0\5"
            "d/cam\0\7p");
    HEAR(&w, "\x50\2\0\7");
    cr_expect_eq(at.sunk, 1);
    SAY(&w, "\x62\2\0\7");
    HEAR(&w, "\x70\2\0\7");
    SAY(&w, "\x62\2\0\7");
    HEAR(&w, "\x70\2\0\7");
    SAY(&w, "\x34\x0a\0\5"
            "d/cam\0\7p");
    HEAR(&w, "\x50\2\0\7");
    cr_expect_eq(at.sunk, 2);
    wire_fini(&w);
}

Test(mqtt_server, holds_a_client_to_the_receive_maximum)
{
    struct wire five, three;

    at.sink = 0;
    join(&five, "cam", GW_MQTT_V5, true, 0);
    join(&three, "tv", GW_MQTT_V311, true, 0);
    for (unsigned i = 1; i <= 256; i++) {
        uint8_t packet[] = "\x32\x0b\0\5"
                           "d/cam\0\0\0p";
        uint8_t older[] = "\x32\x09\0\4"
                          "d/tv\0\0p";

        packet[9] = older[8] = (uint8_t)(i >> 8);
        packet[10] = older[9] = (uint8_t)i;
        say(&five, GW_SLICE(packet, sizeof(packet) - 1));
        say(&three, GW_SLICE(older, sizeof(older) - 1));
    }
    cr_expect_not(five.closing);
    cr_expect_eq(at.sunk, 512);
    cr_expect(three.paused, "3.1.1 is slowed down");
    SAY(&five, "\x32\x0b\0\5"
               "d/cam\2\2\0p");
    HEAR(&five, "\xe0\1\x93");
    gw_hub_durable(at.hub, at.ticket);
    cr_expect_not(three.paused);
    cr_expect_eq(gw_buf_len(&three.out), 256 * 4);
    wire_fini(&five);
    wire_fini(&three);
}

Test(mqtt_server, slows_a_flood_at_qos_1_and_drops_it_at_qos_0)
{
    struct wire w;

    site.config->limits.publish_per_s = 10;
    join(&w, "cam", GW_MQTT_V311, true, 0);
    for (int i = 0; i < 15; i++)
        SAY(&w, "\x32\x0a\0\5"
                "d/cam\0\7p");
    cr_expect_eq(at.sunk, 10);
    cr_expect(w.paused);
    pass_ms(site.loop, 110);
    cr_expect_not(w.paused);
    w.base.fn(w.base.owner, GW_STREAM_DATA);
    cr_expect_eq(at.sunk, 11, "one more in a tenth of a second");
    for (int i = 0; i < 40 && at.sunk < 15; i++) {
        pass_ms(site.loop, 50);
        if (!w.paused)
            w.base.fn(w.base.owner, GW_STREAM_DATA);
    }
    cr_expect_eq(at.sunk, 15, "nothing was lost");
    cr_expect_eq(gw_buf_len(&w.out), 15 * 4);
    pass_ms(site.loop, 1000);
    for (int i = 0; i < 15; i++)
        SAY(&w, "\x30\x08\0\5"
                "d/camp");
    cr_expect_eq(at.sunk, 25);
    cr_expect_not(w.paused);
    cr_expect_not(w.closing);
    wire_fini(&w);
}

Test(mqtt_server, takes_packets_in_whatever_pieces_they_come)
{
    static const struct gw_slice packets = GW_SLICE_LIT("\x32\x0a\0\5"
                                                        "d/cam\0\7p\xc0\0\x32\x0a\0\5"
                                                        "d/cam\0\x08q");
    struct wire w;

    join(&w, "cam", GW_MQTT_V311, true, 0);
    for (size_t i = 0; i < packets.len; i++)
        say(&w, GW_SLICE(packets.ptr + i, 1));
    HEAR(&w, "\x40\2\0\7\xd0\0\x40\2\0\x08");
    wire_fini(&w);
}

Test(mqtt_server, tells_presence_what_a_device_says_about_itself)
{
    struct gw_presence_status s;
    struct wire w;

    join(&w, "cam", GW_MQTT_V311, true, 0);
    SAY(&w, "\x32\x17\0\x0b"
            "d/cam/state\0\7{\"on\":1}");
    gw_presence_of(at.presence, "cam", &s);
    cr_expect_str_eq(s.state, "{\"on\":1}");
    wire_fini(&w);
}

/* ---- SUBSCRIBE and delivery ---- */

Test(mqtt_server, answers_each_filter)
{
    struct wire five, three;

    join(&five, "cam", GW_MQTT_V5, true, 0);
    join(&three, "tv", GW_MQTT_V311, true, 0);
    SAY(&five, "\x82\x23\0\1\0\0\7d/cam/#\1\0\1x\1\0\3x#y\1\0\x09$share/g/\2");
    HEAR(&five, "\x90\7\0\1\0\1\x87\x8f\x8f");
    SAY(&three, "\x82\x21\0\1\0\6d/tv/#\1\0\1x\1\0\3x#y\1\0\x09$share/g/\2");
    HEAR(&three, "\x90\6\0\1\1\x80\x80\x80");
    SAY(&five, "\xa2\x10\0\2\0\0\7d/cam/#\0\2no");
    HEAR(&five, "\xb0\5\0\2\0\0\x11");
    SAY(&three, "\xa2\6\0\2\0\2no");
    HEAR(&three, "\xb0\2\0\2");
    wire_fini(&five);
    wire_fini(&three);
}

static uint64_t subscriptions(void)
{
    struct gw_hub_stats stats;

    gw_hub_stats(at.hub, &stats);
    return stats.subscriptions;
}

Test(mqtt_server, shares_a_subscription_but_not_without_local)
{
    struct wire w;

    join(&w, "cam", GW_MQTT_V5, true, 0);
    SAY(&w, "\x82\x16\0\1\0\0\x10$share/g/d/cam/x\0");
    HEAR(&w, "\x90\4\0\1\0\0");
    SAY(&w, "\x30\x0a\0\7d/cam/x\0");
    HEAR(&w, "\x30\x0a\0\7d/cam/x\0");
    SAY(&w, "\x82\x1e\0\2\0\0\5d/cam\0\0\x10$share/g/d/cam/x\4"); /* [MQTT-3.8.3-4] */
    HEAR(&w, "\xe0\1\x82");
    cr_expect(w.closing);
    cr_expect_eq(subscriptions(), 0, "the filter in front of it is none either");
    wire_fini(&w);
}

Test(mqtt_server, answers_every_filter_though_an_earlier_answer_waits)
{
    struct wire cam;

    join(&cam, "cam", GW_MQTT_V5, true, 60);
    at.sink = 0;
    SAY(&cam, "\x32\x0d\0\7d/cam/x\0\1\0y");
    SAY(&cam, "\x82\x0d\0\2\0\0\7d/cam/a\1");
    turn(); /* the subscription is on disk, the publish is not */
    HEAR(&cam, "");
    SAY(&cam, "\xa2\x0c\0\3\0\0\7d/cam/b"); /* changes nothing that could be waited for */
    turn();
    gw_hub_durable(at.hub, at.ticket);
    HEAR(&cam, "\x40\2\0\1\x90\4\0\2\0\1\xb0\4\0\3\0\x11");
    wire_fini(&cam);
}

Test(mqtt_server, delivers_to_both_versions_at_the_lower_qos)
{
    struct wire five, three, from;

    grant("five", "d/cam/#", GW_PERM_SUB);
    grant("three", "d/cam/#", GW_PERM_SUB);
    join(&five, "five", GW_MQTT_V5, true, 0);
    join(&three, "three", GW_MQTT_V311, true, 0);
    join(&from, "cam", GW_MQTT_V5, true, 0);
    SAY(&five, "\x82\x0f\0\1\2\x0b\5\0\7d/cam/#\2");
    SAY(&three, "\x82\x0c\0\1\0\7d/cam/#\0");
    HEAR(&five, "\x90\4\0\1\0\2");
    HEAR(&three, "\x90\3\0\1\0");
    SAY(&from, "\x32\x15\0\5"
               "d/cam\0\7\x0a\1\1\x26\0\1k\0\2vw"
               "p");
    HEAR(&from, "\x40\2\0\7");
    HEAR(&five, "\x32\x17\0\5"
                "d/cam\0\2\x0c\1\1\x0b\5\x26\0\1k\0\2vwp");
    HEAR(&three, "\x30\x08\0\5"
                 "d/camp");
    SAY(&five, "\x40\2\0\2");
    cr_expect_not(five.closing);
    wire_fini(&five);
    wire_fini(&three);
    wire_fini(&from);
}

Test(mqtt_server, brings_retained_messages_behind_the_suback)
{
    struct wire w;

    join(&w, "cam", GW_MQTT_V311, true, 0);
    SAY(&w, "\x31\x0a\0\7d/cam/rx");
    SAY(&w, "\x82\x0c\0\1\0\7d/cam/#\1");
    HEAR(&w, "\x90\3\0\1\1\x31\x0a\0\7d/cam/rx");
    wire_fini(&w);
}

Test(mqtt_server, respects_what_a_client_can_take)
{
    struct wire w;

    /* receive maximum 1, maximum packet size 20 */
    wire_open(&w, "cam");
    SAY(&w, "\x10\x16\0\4MQTT\5\2\0\x3c\x08\x21\0\1\x27\0\0\0\x14\0\1c");
    HEAR(&w, CONNACK_5);
    SAY(&w, "\x82\x0d\0\1\0\0\7d/cam/#\1");
    HEAR(&w, "\x90\4\0\1\0\1");
    SAY(&w, "\x30\x1e\0\7d/cam/x\0longer than it takes");
    HEAR(&w, "");
    SAY(&w, "\x32\x0d\0\7d/cam/x\0\1\0a");
    HEAR(&w, "\x32\x0d\0\7d/cam/x\0\2\0a\x40\2\0\1");
    SAY(&w, "\x32\x0d\0\7d/cam/x\0\2\0b");
    HEAR(&w, "\x40\2\0\2");
    SAY(&w, "\x40\2\0\2");
    HEAR(&w, "\x32\x0d\0\7d/cam/x\0\3\0b");
    wire_fini(&w);
}

Test(mqtt_server, takes_topic_aliases_from_a_client)
{
    struct wire w, again;

    join(&w, "cam", GW_MQTT_V5, true, 0);
    SAY(&w, "\x82\x0d\0\1\0\0\7d/cam/#\0");
    HEAR(&w, "\x90\4\0\1\0\0");
    SAY(&w, "\x30\x0e\0\7d/cam/a\3\x23\0\1x");
    HEAR(&w, "\x30\x0b\0\7d/cam/a\0x");
    SAY(&w, "\x30\x0e\0\7d/cam/b\3\x23\0\x10y");
    HEAR(&w, "\x30\x0b\0\7d/cam/b\0y");
    SAY(&w, "\x30\7\0\0\3\x23\0\1z\x30\7\0\0\3\x23\0\x10z");
    HEAR(&w, "\x30\x0b\0\7d/cam/a\0z\x30\x0b\0\7d/cam/b\0z");
    SAY(&w, "\x30\x0e\0\7d/cam/c\3\x23\0\1x"); /* the alias is given to another topic */
    HEAR(&w, "\x30\x0b\0\7d/cam/c\0x");
    SAY(&w, "\x30\7\0\0\3\x23\0\1z");
    HEAR(&w, "\x30\x0b\0\7d/cam/c\0z");
    wire_fini(&w);
    join(&again, "cam", GW_MQTT_V5, false, 0); /* aliases end with their connection */
    SAY(&again, "\x30\7\0\0\3\x23\0\1z");
    HEAR(&again, "\xe0\1\x82");
    wire_fini(&again);
}

Test(mqtt_server, uses_topic_aliases_toward_a_client_that_takes_them)
{
    struct wire w;

    /* topic alias maximum 2, maximum packet size 20 */
    wire_open(&w, "cam");
    SAY(&w, "\x10\x16\0\4MQTT\5\2\0\x3c\x08\x22\0\2\x27\0\0\0\x14\0\1c");
    HEAR(&w, CONNACK_5);
    SAY(&w, "\x82\x0d\0\1\0\0\7d/cam/#\0");
    HEAR(&w, "\x90\4\0\1\0\0");
    SAY(&w, "\x30\x16\0\7d/cam/a\0longer words"); /* never sent, so its alias is not either */
    HEAR(&w, "");
    SAY(&w, "\x30\x0b\0\7d/cam/a\0x");
    HEAR(&w, "\x30\x0e\0\7d/cam/a\3\x23\0\1x");
    SAY(&w, "\x30\x0b\0\7d/cam/b\0x");
    HEAR(&w, "\x30\x0e\0\7d/cam/b\3\x23\0\2x");
    SAY(&w, "\x30\x0b\0\7d/cam/a\0y");
    HEAR(&w, "\x30\7\0\0\3\x23\0\1y");
    SAY(&w, "\x30\x0b\0\7d/cam/c\0x"); /* the oldest gives way */
    HEAR(&w, "\x30\x0e\0\7d/cam/c\3\x23\0\1x");
    SAY(&w, "\x30\x0b\0\7d/cam/b\0y\x30\x0b\0\7d/cam/c\0y");
    HEAR(&w, "\x30\7\0\0\3\x23\0\2y\x30\7\0\0\3\x23\0\1y");
    wire_fini(&w);
}

Test(mqtt_server, takes_the_packets_that_it_offered_to_take_after_a_reload)
{
    static uint8_t packet[100100] = "\x32\xa1\x8d\6\0\7d/cam/x\0\1"; /* 100,000 bytes of payload */
    const uint32_t kept = site.config->limits.message_bytes;
    struct wire w, next;

    join(&w, "cam", GW_MQTT_V5, true, 0);
    site.config->limits.message_bytes = 1000;
    gw_mqtt_server_reload(at.server, site.config);
    say(&w, GW_SLICE(packet, 4 + 100001));
    HEAR(&w, "\x40\3\0\1\x97"); /* refused, but no reason to close */
    cr_expect_not(w.closing);
    wire_fini(&w);
    wire_open(&next, "cam");
    SAY(&next, CONNECT_5);
    HEAR(&next, "\x20\x0e\0\0\x0b\x21\1\0\x22\0\x10\x27\0\0\x13\xe8");
    wire_fini(&next);
    site.config->limits.message_bytes = kept;
}

Test(mqtt_server, lets_no_alias_make_a_packet_too_large)
{
    struct wire w;

    /* topic alias maximum 2, maximum packet size 20 */
    wire_open(&w, "cam");
    SAY(&w, "\x10\x16\0\4MQTT\5\2\0\x3c\x08\x22\0\2\x27\0\0\0\x14\0\1c");
    HEAR(&w, CONNACK_5);
    SAY(&w, "\x82\x0d\0\1\0\0\7d/cam/#\0");
    HEAR(&w, "\x90\4\0\1\0\0");
    SAY(&w, "\x30\x12\0\7d/cam/a\0eight it"); /* 20 bytes, 23 with a new alias */
    HEAR(&w, "\x30\x12\0\7d/cam/a\0eight it");
    SAY(&w, "\x30\x0b\0\7d/cam/a\0x"); /* the client was told of none */
    HEAR(&w, "\x30\x0e\0\7d/cam/a\3\x23\0\1x");
    SAY(&w, "\x30\x12\0\7d/cam/a\0eight it");
    HEAR(&w, "\x30\x0e\0\0\3\x23\0\1eight it");
    wire_fini(&w);
}

Test(mqtt_server, completes_qos_2_toward_a_client)
{
    struct wire w;

    join(&w, "cam", GW_MQTT_V311, false, 0);
    turn();
    SAY(&w, "\x82\x0c\0\1\0\7d/cam/#\2");
    turn();
    HEAR(&w, "\x90\3\0\1\2");
    SAY(&w, "\x34\x0c\0\7d/cam/x\0\1a");
    turn();
    HEAR(&w, "\x50\2\0\1\x34\x0c\0\7d/cam/x\0\2a");
    SAY(&w, "\x50\2\0\2");
    HEAR(&w, "");
    turn();
    HEAR(&w, "\x62\2\0\2");
    wire_end(&w, -ECONNRESET);
    wire_fini(&w);
    wire_open(&w, "cam");
    SAY(&w, "\x10\x0d\0\4MQTT\4\0\0\x3c\0\1c");
    HEAR(&w, "\x20\2\1\0\x62\2\0\2");
    SAY(&w, "\x70\2\0\2");
    cr_expect_not(w.closing);
    wire_fini(&w);
}

Test(mqtt_server, keeps_a_session_through_a_restart)
{
    struct wire w, from;

    grant("tv", "d/cam/#", GW_PERM_SUB);
    join(&w, "tv", GW_MQTT_V311, false, 0);
    SAY(&w, "\x82\x0c\0\1\0\7d/cam/#\1");
    HEAR(&w, "");
    turn();
    HEAR(&w, "\x90\3\0\1\1");
    SAY(&w, "\xe0\0");
    wire_fini(&w);
    join(&from, "cam", GW_MQTT_V311, true, 0);
    SAY(&from, "\x32\x0c\0\7d/cam/x\0\1a");
    HEAR(&from, "");
    turn();
    HEAR(&from, "\x40\2\0\1");
    wire_fini(&from);
    rooms_close();
    site_fall();
    site_rise();
    rooms_open();
    wire_open(&w, "tv");
    SAY(&w, "\x10\x0d\0\4MQTT\4\0\0\x3c\0\1c");
    HEAR(&w, "\x20\2\1\0\x32\x0c\0\7d/cam/x\0\2a");
    SAY(&w, "\x40\2\0\2");
    wire_fini(&w);
    wire_open(&w, "tv");
    SAY(&w, "\x10\x0d\0\4MQTT\4\0\0\x3c\0\1c");
    HEAR(&w, "\x20\2\1\0");
    wire_fini(&w);
}

Test(mqtt_server, stops_delivering_with_the_grant)
{
    struct wire w, from;

    grant("tv", "d/cam/#", GW_PERM_SUB);
    join(&w, "tv", GW_MQTT_V311, true, 0);
    SAY(&w, "\x82\x0c\0\1\0\7d/cam/#\0");
    HEAR(&w, "\x90\3\0\1\0");
    join(&from, "cam", GW_MQTT_V311, true, 0);
    SAY(&from, "\x30\x09\0\7d/cam/x");
    HEAR(&w, "\x30\x09\0\7d/cam/x");
    cr_assert_eq(gw_access_set_grants(at.access, "tv", NULL, 0, NULL, NULL), 0);
    SAY(&from, "\x30\x09\0\7d/cam/x");
    HEAR(&w, "");
    wire_fini(&w);
    wire_fini(&from);
}

/* ---- wills ---- */

Test(mqtt_server, publishes_a_will_unless_the_client_said_good_bye)
{
    struct wire tv, w;

    watch_wills(&tv);
    wire_open(&w, "cam");
    SAY(&w, WILL_311);
    wire_end(&w, -ECONNRESET);
    wire_fini(&w);
    HEAR(&tv, "\x30\x0b\0\7d/cam/wby");
    wire_open(&w, "cam");
    SAY(&w, WILL_311 "\xe0\0");
    wire_fini(&w);
    HEAR(&tv, "");
    wire_open(&w, "cam");
    SAY(&w, WILL_5 "\xe0\1\4");
    wire_fini(&w);
    pass_ms(site.loop, 6000);
    HEAR(&tv, "\x30\x0b\0\7d/cam/wby");
    wire_fini(&tv);
}

Test(mqtt_server, forgets_a_will_whose_client_came_back_in_time)
{
    struct wire tv, w;

    watch_wills(&tv);
    wire_open(&w, "cam");
    SAY(&w, WILL_5);
    wire_end(&w, -ECONNRESET);
    wire_fini(&w);
    pass_ms(site.loop, 4000);
    HEAR(&tv, "");
    join(&w, "cam", GW_MQTT_V5, false, 60);
    pass_ms(site.loop, 6000);
    HEAR(&tv, "");
    wire_fini(&w);
    wire_open(&w, "cam");
    SAY(&w, WILL_5);
    wire_end(&w, -ECONNRESET);
    wire_fini(&w);
    join(&w, "cam", GW_MQTT_V5, true, 60);
    HEAR(&tv, "\x30\x0b\0\7d/cam/wby");
    wire_fini(&w);
    wire_fini(&tv);
}

Test(mqtt_server, publishes_no_will_that_its_device_may_not)
{
    struct wire tv, w;

    grant("tv", "x", GW_PERM_SUB);
    join(&tv, "tv", GW_MQTT_V311, true, 0);
    SAY(&tv, "\x82\6\0\1\0\1x\0");
    HEAR(&tv, "\x90\3\0\1\0");
    wire_open(&w, "cam");
    SAY(&w, "\x10\x14\0\4MQTT\4\6\0\x3c\0\1c\0\1x\0\2by");
    HEAR(&w, "\x20\2\0\0");
    wire_end(&w, -ECONNRESET);
    wire_fini(&w);
    HEAR(&tv, "");
    wire_fini(&tv);
}

/* ---- limits ---- */

static uint64_t reached(enum gw_limit which)
{
    struct gw_peers_figures f;

    gw_peers_figures(at.peers, &f);
    return f.reached[which];
}

Test(mqtt_server, refuses_connections_past_the_limit)
{
    static struct wire w[8];
    struct wire more;

    site.config->limits.connections = 4;
    for (size_t i = 0; i < 4; i++) {
        char name[8];

        (void)snprintf(name, sizeof(name), "dev-%zu", i / 2);
        wire_open(&w[i], name);
        say(&w[i], i % 2 ? GW_SLICE_LIT("\x10\x0d\0\4MQTT\4\2\0\x3c\0\1d")
                         : GW_SLICE_LIT("\x10\x0d\0\4MQTT\4\2\0\x3c\0\1c"));
        HEAR(&w[i], "\x20\2\0\0");
    }
    wire_open(&more, "dev-2");
    SAY(&more, CONNECT_311);
    HEAR(&more, "\x20\2\0\3");
    cr_expect(more.closing, "a 3.1.1 client is told: server unavailable");
    wire_fini(&more);
    wire_open(&more, "dev-2");
    SAY(&more, CONNECT_5);
    cr_expect_eq(gw_buf_slice(&more.out).ptr[3], 0x97, "an MQTT 5 client: quota exceeded");
    cr_expect(more.closing);
    wire_fini(&more);
    cr_expect_eq(reached(GW_LIMIT_CONNECTIONS), 2);
    wire_fini(&w[3]);
    wire_open(&w[3], "dev-0");
    SAY(&w[3], "\x10\x0d\0\4MQTT\4\2\0\x3c\0\1e");
    HEAR(&w[3], "\x20\2\0\3");
    cr_expect(w[3].closing, "one device may not have more than half");
    for (size_t i = 0; i < 4; i++)
        wire_fini(&w[i]);
}

Test(mqtt_server, the_oldest_that_has_said_nothing_gives_way)
{
    struct wire silent[3], cam, tv, more;

    site.config->limits.connections = 4;
    join(&cam, "cam", GW_MQTT_V5, true, 0);
    wire_open(&silent[0], "dev-1");
    wire_open(&silent[1], "dev-2");
    join(&tv, "tv", GW_MQTT_V5, true, 0);
    wire_open(&silent[2], "dev-4");
    cr_expect_not(silent[0].freed, "there was room");
    wire_open(&more, "dev-3");
    cr_expect(silent[0].freed);
    cr_expect_not(silent[1].freed);
    cr_expect_not(cam.closing);
    cr_expect_not(tv.closing);
    wire_fini(&silent[0]);
    wire_fini(&silent[1]);
    wire_fini(&silent[2]);
    wire_fini(&more);
    wire_fini(&cam);
    wire_fini(&tv);
}

Test(mqtt_server, lets_a_client_that_does_not_read_wait)
{
    static uint8_t packet[100000] = "\x30\x9b\x8d\6\0\7d/cam/x";
    struct wire w;

    join(&w, "cam", GW_MQTT_V311, true, 0);
    SAY(&w, "\x82\x0c\0\1\0\7d/cam/#\1");
    for (int i = 0; i < 10; i++)
        say(&w, GW_SLICE(packet, 3 + 1 + 0x1869b));
    cr_expect_leq(gw_buf_len(&w.out), 400000, "%zu bytes are queued", gw_buf_len(&w.out));
    cr_expect_not(w.closing);
    gw_buf_consume(&w.out, gw_buf_len(&w.out));
    w.base.fn(w.base.owner, GW_STREAM_DRAINED);
    cr_expect_gt(gw_buf_len(&w.out), 200000, "and then it goes on");
    wire_fini(&w);
}

Test(mqtt_server, hears_a_client_that_reads_slowly)
{
    static uint8_t packet[100000] = "\x30\x9b\x8d\6\0\7d/cam/x";
    struct wire w;

    join(&w, "cam", GW_MQTT_V311, true, 0);
    SAY(&w, "\x82\x0c\0\1\0\7d/cam/#\1");
    for (int i = 0; i < 10; i++)
        say(&w, GW_SLICE(packet, 3 + 1 + 0x1869b));
    for (int i = 0; i < 10; i++) {
        pass_ms(site.loop, 50000); /* of a keep-alive of 60 s */
        SAY(&w, "\xc0\0");
        cr_expect_not(w.closing, "after %d pings", i);
    }
    for (int i = 0; i < 40000 && !w.paused; i++)
        SAY(&w, "\xc0\0");
    cr_expect(w.paused, "who asks and asks and does not read is heard no more");
    cr_expect_leq(gw_buf_len(&w.out), 500000, "%zu bytes are queued", gw_buf_len(&w.out));
    gw_buf_consume(&w.out, gw_buf_len(&w.out));
    w.base.fn(w.base.owner, GW_STREAM_DRAINED);
    cr_expect_not(w.paused);
    cr_expect_gt(gw_buf_len(&w.out), 200000, "and then it goes on");
    wire_fini(&w);
}
