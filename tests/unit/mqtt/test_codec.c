/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <errno.h>

#include "mqtt/mqtt.h"

#define BYTES(lit) GW_SLICE_LIT(lit)

/* ---- frames ---- */

struct frame_case {
    const char *name;
    struct gw_slice input;
    int want;
    size_t body;
};

Test(mqtt_frame, cuts_one_packet_or_names_the_fault)
{
    static const struct frame_case cases[] = {
        {"nothing yet", BYTES(""), -EAGAIN, 0},
        {"type only", BYTES("\xc0"), -EAGAIN, 0},
        {"ping", BYTES("\xc0\0"), 0, 0},
        {"ping and more", BYTES("\xc0\0\xc0\0"), 0, 0},
        {"body missing", BYTES("\x30\3ab"), -EAGAIN, 0},
        {"body there", BYTES("\x30\3abc"), 0, 3},
        {"length begun", BYTES("\x30\x80"), -EAGAIN, 0},
        {"two bytes of length, over the limit", BYTES("\x30\x80\1"), GW_ETOOBIG, 0},
        {"length of five bytes", BYTES("\x30\x80\x80\x80\x80\1"), GW_EMALFORMED, 0},
        {"length not minimal", BYTES("\xc0\x80\0"), GW_EMALFORMED, 0},
        {"type 0", BYTES("\0\0"), GW_EMALFORMED, 0},
        {"flags on a PINGREQ", BYTES("\xc1\0"), GW_EMALFORMED, 0},
        {"PUBREL without its flags", BYTES("\x60\2\0\1"), GW_EMALFORMED, 0},
        {"PUBREL", BYTES("\x62\2\0\1"), 0, 2},
        {"SUBSCRIBE without its flags", BYTES("\x80\0"), GW_EMALFORMED, 0},
        {"UNSUBSCRIBE without its flags", BYTES("\xa0\0"), GW_EMALFORMED, 0},
        {"larger than the limit", BYTES("\x30\x7f"), GW_ETOOBIG, 0},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_slice body = GW_SLICE_NONE;
        uint8_t head = 0;
        int got = gw_mqtt_frame(cases[i].input, 100, &head, &body);

        cr_expect_eq(got, cases[i].want, "%s: got %s", cases[i].name, gw_error_name(got));
        cr_expect_eq(body.len, cases[i].body, "%s", cases[i].name);
        if (got == 0)
            cr_expect_eq(head, cases[i].input.ptr[0], "%s", cases[i].name);
    }
}

/* ---- CONNECT ---- */

struct connect_case {
    const char *name;
    struct gw_slice body;
    int want;
};

Test(mqtt_connect, decodes_or_names_the_fault)
{
    static const struct connect_case cases[] = {
        {"3.1.1", BYTES("\0\4MQTT\4\2\0\x3c\0\1a"), 0},
        {"5", BYTES("\0\4MQTT\5\2\0\x3c\0\0\1a"), 0},
        {"empty client identifier", BYTES("\0\4MQTT\4\2\0\0\0\0"), 0},
        {"will", BYTES("\0\4MQTT\4\x2e\0\0\0\1a\0\1t\0\1p"), 0},
        {"user and password", BYTES("\0\4MQTT\4\xc2\0\0\0\1a\0\1u\0\1p"), 0},
        {"5, password alone", BYTES("\0\4MQTT\5\x42\0\0\0\0\1a\0\1p"), 0},
        {"3.1", BYTES("\0\6MQIsdp\3\2\0\0\0\1a"), GW_EUNSUPPORTED},
        {"level 6", BYTES("\0\4MQTT\6\2\0\0\0\1a"), GW_EUNSUPPORTED},
        {"another protocol", BYTES("\0\4HTTP\4\2\0\0\0\1a"), GW_EPROTOCOL},
        {"nothing", BYTES(""), GW_ESHORT},
        {"ends in the name", BYTES("\0\4MQ"), GW_ESHORT},
        {"ends before the client identifier", BYTES("\0\4MQTT\4\2\0\0"), GW_ESHORT},
        {"reserved flag", BYTES("\0\4MQTT\4\3\0\0\0\1a"), GW_EMALFORMED},
        {"will QoS 3", BYTES("\0\4MQTT\4\x1e\0\0\0\1a\0\1t\0\1p"), GW_EMALFORMED},
        {"will QoS without will", BYTES("\0\4MQTT\4\x0a\0\0\0\1a"), GW_EMALFORMED},
        {"will retain without will", BYTES("\0\4MQTT\4\x22\0\0\0\1a"), GW_EMALFORMED},
        {"3.1.1, password without user", BYTES("\0\4MQTT\4\x42\0\0\0\1a\0\1p"), GW_EMALFORMED},
        {"will announced, not there", BYTES("\0\4MQTT\4\6\0\0\0\1a"), GW_ESHORT},
        {"bytes behind", BYTES("\0\4MQTT\4\2\0\0\0\1ab"), GW_ETRAIL},
        {"client identifier no UTF-8", BYTES("\0\4MQTT\4\2\0\0\0\1\xff"), GW_EMALFORMED},
        {"client identifier with U+0000", BYTES("\0\4MQTT\4\2\0\0\0\1\0"), GW_EMALFORMED},
        {"receive maximum 0", BYTES("\0\4MQTT\5\2\0\0\3\x21\0\0\0\1a"), GW_EPROTOCOL},
        {"maximum packet size 0", BYTES("\0\4MQTT\5\2\0\0\5\x27\0\0\0\0\0\1a"), GW_EPROTOCOL},
        {"session expiry twice", BYTES("\0\4MQTT\5\2\0\0\x0a\x11\0\0\0\1\x11\0\0\0\1\0\1a"),
         GW_EPROTOCOL},
        {"topic alias in a CONNECT", BYTES("\0\4MQTT\5\2\0\0\3\x23\0\1\0\1a"), GW_EMALFORMED},
        {"property 0x7f", BYTES("\0\4MQTT\5\2\0\0\2\x7f\0\0\1a"), GW_EMALFORMED},
        {"property longer than the block", BYTES("\0\4MQTT\5\2\0\0\3\x11\0\0\0\1a"), GW_EMALFORMED},
        {"problem information 2", BYTES("\0\4MQTT\5\2\0\0\2\x17\2\0\1a"), GW_EPROTOCOL},
        {"authentication data without method", BYTES("\0\4MQTT\5\2\0\0\4\x16\0\1x\0\1a"),
         GW_EPROTOCOL},
        {"will delay among CONNECT's own", BYTES("\0\4MQTT\5\2\0\0\5\x18\0\0\0\1\0\1a"),
         GW_EMALFORMED},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_mqtt_connect c = {0};
        int got = gw_mqtt_connect_decode(cases[i].body, &c);

        cr_expect_eq(got, cases[i].want, "%s: got %s", cases[i].name, gw_error_name(got));
    }
}

Test(mqtt_connect, says_which_version_was_asked_for)
{
    struct gw_mqtt_connect c = {0};

    cr_expect_eq(gw_mqtt_connect_decode(BYTES("\0\6MQIsdp\3\2\0\0\0\1a"), &c), GW_EUNSUPPORTED);
    cr_expect_eq(c.version, GW_MQTT_V31);
    cr_expect_eq(gw_mqtt_connect_decode(BYTES("\0\4MQTT\x09\2\0\0\0\1a"), &c), GW_EUNSUPPORTED);
    cr_expect_eq(c.version, 9);
}

/* Take the packet in `w` apart again. */
static struct gw_slice body_of(const struct gw_writer *w, uint8_t *out_head)
{
    struct gw_slice packet = gw_writer_done(w), body = GW_SLICE_NONE;

    cr_assert_eq(gw_mqtt_frame(packet, SIZE_MAX, out_head, &body), 0);
    cr_assert_eq(body.ptr + body.len, packet.ptr + packet.len, "the packet is as long as it says");
    return body;
}

Test(mqtt_connect, comes_back_as_it_was_encoded)
{
    uint8_t room[512], head;
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    struct gw_mqtt_connect c = {
        .version = GW_MQTT_V5,
        .clean = true,
        .has_will = true,
        .has_user = true,
        .has_password = true,
        .keep_alive_s = 60,
        .client_id = GW_SLICE_LIT("client"),
        .user = GW_SLICE_LIT("user"),
        .password = GW_SLICE_LIT("pass"),
        .will = {.qos = 1,
                 .retain = true,
                 .topic = GW_SLICE_LIT("w/t"),
                 .payload = GW_SLICE_LIT("gone")},
    };
    struct gw_mqtt_connect got;

    GW_MQTT_SET(c.props, session_expiry, 3600);
    GW_MQTT_SET(c.props, receive_maximum, 20);
    GW_MQTT_SET(c.will.props, will_delay, 5);
    GW_MQTT_SET(c.will.props, content_type, GW_SLICE_LIT("text/plain"));
    c.props.user = GW_SLICE_LIT("\x26\0\1k\0\1v");
    gw_mqtt_connect_encode(&w, &c);
    cr_assert_eq(gw_mqtt_connect_decode(body_of(&w, &head), &got), 0);
    cr_expect_eq(head, 0x10);
    cr_expect_eq(got.version, GW_MQTT_V5);
    cr_expect(got.clean && got.has_will && got.has_user && got.has_password && got.will.retain);
    cr_expect_eq(got.keep_alive_s, 60);
    cr_expect_eq(got.will.qos, 1);
    cr_expect(gw_slice_eq(got.client_id, c.client_id));
    cr_expect(gw_slice_eq(got.user, c.user));
    cr_expect(gw_slice_eq(got.password, c.password));
    cr_expect(gw_slice_eq(got.will.topic, c.will.topic));
    cr_expect(gw_slice_eq(got.will.payload, c.will.payload));
    cr_expect_eq(got.props.present, c.props.present);
    cr_expect_eq(got.props.session_expiry, 3600);
    cr_expect_eq(got.props.receive_maximum, 20);
    cr_expect_eq(got.will.props.will_delay, 5);
    cr_expect(gw_slice_eq_str(got.will.props.content_type, "text/plain"));
    cr_expect(gw_slice_eq(got.props.user, c.props.user));
}

/* ---- CONNACK ---- */

Test(mqtt_connack, decodes_or_names_the_fault)
{
    static const struct {
        const char *name;
        struct gw_slice body;
        uint8_t version;
        int want;
    } cases[] = {
        {"3.1.1", BYTES("\0\0"), GW_MQTT_V311, 0},
        {"5", BYTES("\1\0\3\x21\0\x0a"), GW_MQTT_V5, 0},
        {"a refusal of 3.1.1 to a client of 5", BYTES("\0\1"), GW_MQTT_V5, 0},
        {"short", BYTES("\0"), GW_MQTT_V311, GW_ESHORT},
        {"5 without properties", BYTES("\0\0"), GW_MQTT_V5, GW_ESHORT},
        {"reserved flag", BYTES("\2\0"), GW_MQTT_V311, GW_EMALFORMED},
        {"refused, yet a session", BYTES("\1\5"), GW_MQTT_V311, GW_EMALFORMED},
        {"bytes behind", BYTES("\0\0\0"), GW_MQTT_V311, GW_ETRAIL},
        {"maximum QoS 2", BYTES("\0\0\2\x24\2"), GW_MQTT_V5, GW_EPROTOCOL},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_mqtt_connack c = {0};
        int got = gw_mqtt_connack_decode(cases[i].body, cases[i].version, &c);

        cr_expect_eq(got, cases[i].want, "%s: got %s", cases[i].name, gw_error_name(got));
    }
}

Test(mqtt_connack, comes_back_as_it_was_encoded)
{
    uint8_t room[128], head;
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    struct gw_mqtt_connack c = {.session_present = true}, got;

    GW_MQTT_SET(c.props, assigned_client_id, GW_SLICE_LIT("made"));
    GW_MQTT_SET(c.props, shared_available, 0);
    GW_MQTT_SET(c.props, maximum_packet_size, 1000);
    gw_mqtt_connack_encode(&w, GW_MQTT_V5, &c);
    cr_assert_eq(gw_mqtt_connack_decode(body_of(&w, &head), GW_MQTT_V5, &got), 0);
    cr_expect(got.session_present);
    cr_expect_eq(got.props.present, c.props.present);
    cr_expect(gw_slice_eq_str(got.props.assigned_client_id, "made"));
    cr_expect_eq(got.props.maximum_packet_size, 1000);
}

/* ---- PUBLISH ---- */

struct publish_case {
    const char *name;
    struct gw_slice body;
    uint8_t flags, version;
    int want;
};

Test(mqtt_publish, decodes_or_names_the_fault)
{
    static const struct publish_case cases[] = {
        {"one-letter topic, empty payload", BYTES("\0\1t\0\7"), 2, GW_MQTT_V311, 0},
        {"QoS 0", BYTES("\0\1tpayload"), 0, GW_MQTT_V311, 0},
        {"5, no properties", BYTES("\0\1t\0\7\0x"), 2, GW_MQTT_V5, 0},
        {"5, two subscription identifiers", BYTES("\0\1t\4\x0b\1\x0b\2"), 0, GW_MQTT_V5, 0},
        {"5, empty topic with an alias", BYTES("\0\0\3\x23\0\1"), 0, GW_MQTT_V5, 0},
        {"topic longer than the packet", BYTES("\0\5ab"), 2, GW_MQTT_V311, GW_ESHORT},
        {"no packet identifier", BYTES("\0\1t"), 2, GW_MQTT_V311, GW_ESHORT},
        {"packet identifier zero", BYTES("\0\1t\0\0"), 2, GW_MQTT_V311, GW_EMALFORMED},
        {"QoS 3", BYTES("\0\1t\0\1"), 6, GW_MQTT_V311, GW_EMALFORMED},
        {"DUP at QoS 0", BYTES("\0\1t"), 8, GW_MQTT_V311, GW_EMALFORMED},
        {"empty topic", BYTES("\0\0\0\1"), 2, GW_MQTT_V311, GW_EPROTOCOL},
        {"5, empty topic without an alias", BYTES("\0\0\0"), 0, GW_MQTT_V5, GW_EPROTOCOL},
        {"topic no UTF-8", BYTES("\0\1\xc0"), 0, GW_MQTT_V311, GW_EMALFORMED},
        {"5, property block too long", BYTES("\0\1t\x09\1"), 0, GW_MQTT_V5, GW_ESHORT},
        {"5, payload format 2", BYTES("\0\1t\2\1\2"), 0, GW_MQTT_V5, GW_EPROTOCOL},
        {"5, payload format twice", BYTES("\0\1t\4\1\1\1\1"), 0, GW_MQTT_V5, GW_EPROTOCOL},
        {"5, response topic with a wildcard", BYTES("\0\1t\4\x08\0\1+"), 0, GW_MQTT_V5,
         GW_EPROTOCOL},
        {"5, subscription identifier 0", BYTES("\0\1t\2\x0b\0"), 0, GW_MQTT_V5, GW_EPROTOCOL},
        {"5, session expiry", BYTES("\0\1t\5\x11\0\0\0\1"), 0, GW_MQTT_V5, GW_EMALFORMED},
        {"5, half a user property", BYTES("\0\1t\4\x26\0\1k"), 0, GW_MQTT_V5, GW_EMALFORMED},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_mqtt_publish p = {0};
        int got = gw_mqtt_publish_decode(cases[i].body, cases[i].flags, cases[i].version, &p);

        cr_expect_eq(got, cases[i].want, "%s: got %s", cases[i].name, gw_error_name(got));
    }
}

Test(mqtt_publish, comes_back_as_it_was_encoded)
{
    static const uint32_t ids[] = {1, 200, 70000};
    static uint8_t payload[20000];
    static uint8_t room[21000];
    static const size_t sizes[] = {0, 1, 100, 127, 128, 16370, 20000};

    for (size_t i = 0; i < GW_COUNT(sizes); i++) {
        for (unsigned version = GW_MQTT_V311; version <= GW_MQTT_V5; version++) {
            struct gw_writer w = gw_writer_of(room, sizeof(room));
            struct gw_mqtt_publish p = {.qos = 1,
                                        .dup = true,
                                        .retain = true,
                                        .packet_id = 0x1234,
                                        .topic = GW_SLICE_LIT("a/b"),
                                        .payload = GW_SLICE(payload, sizes[i])};
            struct gw_mqtt_publish got;
            uint8_t head;

            GW_MQTT_SET(p.props, message_expiry, 77);
            p.props.user = GW_SLICE_LIT("\x26\0\1k\0\1v\x26\0\1k\0\1w");
            p.props.sub_ids = ids;
            p.props.sub_id_count = GW_COUNT(ids);
            gw_mqtt_publish_encode(&w, (uint8_t)version, &p);
            struct gw_slice body = body_of(&w, &head);
            cr_assert_eq(gw_mqtt_publish_decode(body, head & 15, (uint8_t)version, &got), 0);
            cr_expect(got.qos == 1 && got.dup && got.retain && got.packet_id == 0x1234);
            cr_expect(gw_slice_eq(got.topic, p.topic));
            cr_expect_eq(got.payload.len, sizes[i]);
            if (version == GW_MQTT_V311)
                continue;
            cr_expect_eq(got.props.message_expiry, 77);
            cr_expect_eq(got.props.sub_id_count, GW_COUNT(ids));
            cr_expect_eq(got.props.sub_id, 1);
            cr_expect(gw_slice_eq(got.props.user, p.props.user));
            cr_expect_not(got.props.user_scattered);
        }
    }
}

Test(mqtt_publish, writes_nothing_when_it_does_not_fit)
{
    uint8_t room[8];
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    struct gw_mqtt_publish p = {.topic = GW_SLICE_LIT("topic"), .payload = GW_SLICE_LIT("payload")};

    gw_writer_u8(&w, 1);
    gw_mqtt_publish_encode(&w, GW_MQTT_V311, &p);
    cr_expect_eq(w.err, GW_EFULL);
    cr_expect_eq(w.len, 1);
}

Test(mqtt_props, user_properties_are_gathered_in_order)
{
    /* user, content type, user */
    static const struct gw_slice body = BYTES("\0\1t\x12\x26\0\1a\0\1b\x03\0\1x\x26\0\1c\0\1d");
    struct gw_mqtt_publish p;
    uint8_t room[64];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    cr_assert_eq(gw_mqtt_publish_decode(body, 0, GW_MQTT_V5, &p), 0);
    cr_expect(p.props.user_scattered);
    gw_mqtt_user_props(p.props.user, &w);
    cr_expect(gw_slice_eq(gw_writer_done(&w), BYTES("\x26\0\1a\0\1b\x26\0\1c\0\1d")));
}

/* ---- acknowledgements ---- */

Test(mqtt_ack, decodes_or_names_the_fault)
{
    static const struct {
        const char *name;
        struct gw_slice body;
        uint8_t version, reason;
        int want;
    } cases[] = {
        {"3.1.1", BYTES("\0\1"), GW_MQTT_V311, 0, 0},
        {"5, bare", BYTES("\0\1"), GW_MQTT_V5, 0, 0},
        {"5, reason", BYTES("\0\1\x87"), GW_MQTT_V5, 0x87, 0},
        {"5, reason and properties", BYTES("\0\1\x87\4\x1f\0\1x"), GW_MQTT_V5, 0x87, 0},
        {"identifier zero", BYTES("\0\0"), GW_MQTT_V311, 0, GW_EMALFORMED},
        {"short", BYTES("\0"), GW_MQTT_V311, 0, GW_ESHORT},
        {"3.1.1 with a reason", BYTES("\0\1\0"), GW_MQTT_V311, 0, GW_ETRAIL},
        {"5, a property of others", BYTES("\0\1\0\3\x21\0\1"), GW_MQTT_V5, 0, GW_EMALFORMED},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_mqtt_ack a = {0};
        int got = gw_mqtt_ack_decode(cases[i].body, GW_MQTT_PUBACK, cases[i].version, &a);

        cr_expect_eq(got, cases[i].want, "%s: got %s", cases[i].name, gw_error_name(got));
        cr_expect_eq(a.reason, cases[i].reason, "%s", cases[i].name);
    }
}

Test(mqtt_ack, is_as_short_as_the_standard_lets_it_be)
{
    static const struct {
        enum gw_mqtt_type type;
        uint8_t version, reason;
        struct gw_slice want;
    } cases[] = {
        {GW_MQTT_PUBACK, GW_MQTT_V311, 0, BYTES("\x40\2\0\5")},
        {GW_MQTT_PUBACK, GW_MQTT_V311, 0x87, BYTES("\x40\2\0\5")},
        {GW_MQTT_PUBACK, GW_MQTT_V5, 0, BYTES("\x40\2\0\5")},
        {GW_MQTT_PUBACK, GW_MQTT_V5, 0x87, BYTES("\x40\3\0\5\x87")},
        {GW_MQTT_PUBREL, GW_MQTT_V5, 0, BYTES("\x62\2\0\5")},
        {GW_MQTT_PUBCOMP, GW_MQTT_V5, 0x92, BYTES("\x70\3\0\5\x92")},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        uint8_t room[16];
        struct gw_writer w = gw_writer_of(room, sizeof(room));

        gw_mqtt_ack_encode(&w, cases[i].type, cases[i].version,
                           &(struct gw_mqtt_ack){.packet_id = 5, .reason = cases[i].reason});
        cr_expect(gw_slice_eq(gw_writer_done(&w), cases[i].want), "case %zu", i);
    }
}

/* ---- SUBSCRIBE and its like ---- */

Test(mqtt_subscribe, decodes_or_names_the_fault)
{
    static const struct {
        const char *name;
        struct gw_slice body;
        uint8_t version;
        int want;
    } cases[] = {
        {"3.1.1", BYTES("\0\1\0\1a\1"), GW_MQTT_V311, 0},
        {"two filters", BYTES("\0\1\0\1a\1\0\3b/#\2"), GW_MQTT_V311, 0},
        {"5", BYTES("\0\1\0\0\1a\x2d"), GW_MQTT_V5, 0},
        {"5, identifier", BYTES("\0\1\2\x0b\5\0\1a\1"), GW_MQTT_V5, 0},
        {"none", BYTES("\0\1"), GW_MQTT_V311, GW_EPROTOCOL},
        {"packet identifier zero", BYTES("\0\0\0\1a\1"), GW_MQTT_V311, GW_EMALFORMED},
        {"QoS 3", BYTES("\0\1\0\1a\3"), GW_MQTT_V311, GW_EMALFORMED},
        {"5, QoS 3", BYTES("\0\1\0\0\1a\3"), GW_MQTT_V5, GW_EPROTOCOL},
        {"3.1.1 with options of 5", BYTES("\0\1\0\1a\4"), GW_MQTT_V311, GW_EMALFORMED},
        {"5, reserved bits", BYTES("\0\1\0\0\1a\x40"), GW_MQTT_V5, GW_EMALFORMED},
        {"5, retain handling 3", BYTES("\0\1\0\0\1a\x30"), GW_MQTT_V5, GW_EPROTOCOL},
        {"filter without options", BYTES("\0\1\0\1a"), GW_MQTT_V311, GW_ESHORT},
        {"filter cut", BYTES("\0\1\0\5a"), GW_MQTT_V311, GW_ESHORT},
        {"filter no UTF-8", BYTES("\0\1\0\1\xfe\1"), GW_MQTT_V311, GW_EMALFORMED},
        {"5, identifier 0", BYTES("\0\1\2\x0b\0\0\1a\1"), GW_MQTT_V5, GW_EPROTOCOL},
        {"5, a share", BYTES("\0\1\0\0\x0a$share/g/a\1"), GW_MQTT_V5, 0},
        {"5, a share without local", BYTES("\0\1\0\0\1a\0\0\x0a$share/g/a\5"), GW_MQTT_V5,
         GW_EPROTOCOL},
        {"5, identifier twice", BYTES("\0\1\4\x0b\1\x0b\1\0\1a\1"), GW_MQTT_V5, GW_EPROTOCOL},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_mqtt_subscribe s = {0};
        int got = gw_mqtt_subscribe_decode(cases[i].body, cases[i].version, &s);

        cr_expect_eq(got, cases[i].want, "%s: got %s", cases[i].name, gw_error_name(got));
    }
}

Test(mqtt_subscribe, comes_back_as_it_was_encoded)
{
    const struct gw_mqtt_filter filters[] = {
        {GW_SLICE_LIT("a/#"),
         {.qos = 1, .no_local = true, .retain_handling = GW_RETAIN_DO_NOT_SEND}},
        {GW_SLICE_LIT("+"), {.qos = 2, .retain_as_published = true}},
    };
    uint8_t room[64], head;
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    struct gw_mqtt_props props = {0};
    struct gw_mqtt_subscribe got;
    struct gw_mqtt_filter f;

    GW_MQTT_SET(props, sub_id, 300);
    gw_mqtt_subscribe_encode(&w, GW_MQTT_V5, 7, &props, filters, GW_COUNT(filters));
    cr_assert_eq(gw_mqtt_subscribe_decode(body_of(&w, &head), GW_MQTT_V5, &got), 0);
    cr_expect_eq(head, 0x82);
    cr_expect_eq(got.packet_id, 7);
    cr_expect_eq(got.props.sub_id, 300);
    for (size_t i = 0; i < GW_COUNT(filters); i++) {
        cr_assert(gw_mqtt_subscribe_next(&got.filters, GW_MQTT_SUBSCRIBE, GW_MQTT_V5, &f));
        cr_expect(gw_slice_eq(f.filter, filters[i].filter));
        cr_expect_eq(f.options.qos, filters[i].options.qos);
        cr_expect_eq(f.options.no_local, filters[i].options.no_local);
        cr_expect_eq(f.options.retain_as_published, filters[i].options.retain_as_published);
        cr_expect_eq(f.options.retain_handling, filters[i].options.retain_handling);
    }
    cr_expect_not(gw_mqtt_subscribe_next(&got.filters, GW_MQTT_SUBSCRIBE, GW_MQTT_V5, &f));
}

Test(mqtt_unsubscribe, comes_back_as_it_was_encoded)
{
    const struct gw_slice filters[] = {GW_SLICE_LIT("a"), GW_SLICE_LIT("b/+")};
    uint8_t room[64], head;
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    struct gw_mqtt_subscribe got;
    struct gw_mqtt_filter f;

    gw_mqtt_unsubscribe_encode(&w, GW_MQTT_V311, 9, filters, GW_COUNT(filters));
    cr_assert_eq(gw_mqtt_unsubscribe_decode(body_of(&w, &head), GW_MQTT_V311, &got), 0);
    cr_expect_eq(head, 0xa2);
    for (size_t i = 0; i < GW_COUNT(filters); i++) {
        cr_assert(gw_mqtt_subscribe_next(&got.filters, GW_MQTT_UNSUBSCRIBE, GW_MQTT_V311, &f));
        cr_expect(gw_slice_eq(f.filter, filters[i]));
    }
    cr_expect_eq(gw_mqtt_unsubscribe_decode(BYTES("\0\1"), GW_MQTT_V311, &got), GW_EPROTOCOL);
}

Test(mqtt_suback, comes_back_as_it_was_encoded)
{
    uint8_t room[64], head;
    struct gw_mqtt_suback s = {.packet_id = 3, .codes = GW_SLICE_LIT("\0\1\x87")}, got;

    for (unsigned version = GW_MQTT_V311; version <= GW_MQTT_V5; version++) {
        struct gw_writer w = gw_writer_of(room, sizeof(room));

        gw_mqtt_suback_encode(&w, GW_MQTT_SUBACK, (uint8_t)version, &s);
        cr_assert_eq(
            gw_mqtt_suback_decode(body_of(&w, &head), GW_MQTT_SUBACK, (uint8_t)version, &got), 0);
        cr_expect(gw_slice_eq(got.codes, s.codes));
    }
}

Test(mqtt_suback, of_an_unsubscribe_has_no_codes_in_3_1_1)
{
    uint8_t room[64];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    gw_mqtt_suback_encode(&w, GW_MQTT_UNSUBACK, GW_MQTT_V311,
                          &(struct gw_mqtt_suback){.packet_id = 3, .codes = GW_SLICE_LIT("\0")});
    cr_expect(gw_slice_eq(gw_writer_done(&w), BYTES("\xb0\2\0\3")));
}

/* ---- DISCONNECT, AUTH, PINGREQ ---- */

Test(mqtt_disconnect, decodes_or_names_the_fault)
{
    static const struct {
        const char *name;
        struct gw_slice body;
        uint8_t version, reason;
        int want;
    } cases[] = {
        {"3.1.1", BYTES(""), GW_MQTT_V311, 0, 0},
        {"5, bare", BYTES(""), GW_MQTT_V5, 0, 0},
        {"5, with will", BYTES("\4"), GW_MQTT_V5, 4, 0},
        {"5, session expiry", BYTES("\0\5\x11\0\0\0\1"), GW_MQTT_V5, 0, 0},
        {"3.1.1 with a body", BYTES("\0"), GW_MQTT_V311, 0, GW_ETRAIL},
        {"5, will delay", BYTES("\0\5\x18\0\0\0\1"), GW_MQTT_V5, 0, GW_EMALFORMED},
        {"5, bytes behind", BYTES("\0\0\0"), GW_MQTT_V5, 0, GW_ETRAIL},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_mqtt_disconnect d = {0};
        int got =
            gw_mqtt_disconnect_decode(cases[i].body, GW_MQTT_DISCONNECT, cases[i].version, &d);

        cr_expect_eq(got, cases[i].want, "%s: got %s", cases[i].name, gw_error_name(got));
        cr_expect_eq(d.reason, cases[i].reason, "%s", cases[i].name);
    }
}

Test(mqtt_disconnect, is_encoded_in_both_versions)
{
    uint8_t room[16];
    struct gw_writer w = gw_writer_of(room, sizeof(room));
    const struct gw_mqtt_disconnect d = {.reason = 0x8e};

    gw_mqtt_disconnect_encode(&w, GW_MQTT_DISCONNECT, GW_MQTT_V311, &d);
    gw_mqtt_disconnect_encode(&w, GW_MQTT_DISCONNECT, GW_MQTT_V5, &d);
    gw_mqtt_ping_encode(&w, GW_MQTT_PINGREQ);
    cr_expect(gw_slice_eq(gw_writer_done(&w), BYTES("\xe0\0\xe0\1\x8e\xc0\0")));
}

/* A packet cut anywhere is never taken for a whole one, and nothing is read past its end. */
Test(mqtt_codec, survives_every_truncation)
{
    static const struct gw_slice connect =
        BYTES("\0\4MQTT\5\xee\0\x3c\5\x11\0\0\0\1\0\1a\5\x18\0\0\0\1\0\1t\0\1p\0\1u\0\1p");

    for (size_t len = 0; len < connect.len; len++) {
        uint8_t *copy = malloc(len ? len : 1); /* of exact size, so that a sanitizer sees */
        struct gw_mqtt_connect c;

        memcpy(copy, connect.ptr, len);
        cr_expect_neq(gw_mqtt_connect_decode(GW_SLICE(copy, len), &c), 0, "%zu bytes", len);
        free(copy);
    }
}
