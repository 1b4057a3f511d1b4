/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gw_mqtt_frame and every decoder. What decodes must survive encode and decode as the same packet.
 * First byte: bit 0 the version; then packets.
 */
#include "fuzz.h"
#include "mqtt/mqtt.h"

#define ROOM 65536

static uint8_t gathered[ROOM];

/* User properties that stand apart come out together. */
static void tidy(struct gw_mqtt_props *p)
{
    struct gw_writer w = gw_writer_of(gathered, sizeof(gathered));

    if (!p->user_scattered)
        return;
    gw_mqtt_user_props(p->user, &w);
    MUST(!w.err && w.len <= p->user.len);
    p->user = gw_writer_done(&w);
    p->user_scattered = false;
}

static void encode_filters(struct gw_writer *w, enum gw_mqtt_type type, uint8_t version,
                           struct gw_mqtt_subscribe *s)
{
    static struct gw_mqtt_filter filters[ROOM / 2];
    static struct gw_slice names[ROOM / 2];
    size_t count = 0;

    while (gw_mqtt_subscribe_next(&s->filters, type, version, &filters[count])) {
        names[count] = filters[count].filter;
        count++;
    }
    MUST(count > 0);
    if (type == GW_MQTT_SUBSCRIBE)
        gw_mqtt_subscribe_encode(w, version, s->packet_id, &s->props, filters, count);
    else
        gw_mqtt_unsubscribe_encode(w, version, s->packet_id, names, count);
}

/* Decode, then encode into `w`. False: it does not decode. */
static bool turn_around(struct gw_slice body, uint8_t head, uint8_t version, struct gw_writer *w)
{
    enum gw_mqtt_type type = (enum gw_mqtt_type)(head >> 4);

    switch (type) {
    case GW_MQTT_CONNECT: {
        struct gw_mqtt_connect c = {0};

        if (gw_mqtt_connect_decode(body, &c))
            return false;
        /* One buffer gathers for one block only. */
        if (c.props.user_scattered && c.will.props.user_scattered)
            return false;
        tidy(&c.props);
        tidy(&c.will.props);
        gw_mqtt_connect_encode(w, &c);
        return true;
    }
    case GW_MQTT_CONNACK: {
        struct gw_mqtt_connack c;

        if (gw_mqtt_connack_decode(body, version, &c))
            return false;
        tidy(&c.props);
        gw_mqtt_connack_encode(w, version, &c);
        return true;
    }
    case GW_MQTT_PUBLISH: {
        struct gw_mqtt_publish p;

        if (gw_mqtt_publish_decode(body, head & 15, version, &p))
            return false;
        tidy(&p.props);
        gw_mqtt_publish_encode(w, version, &p);
        return true;
    }
    case GW_MQTT_PUBACK:
    case GW_MQTT_PUBREC:
    case GW_MQTT_PUBREL:
    case GW_MQTT_PUBCOMP: {
        struct gw_mqtt_ack a;

        if (gw_mqtt_ack_decode(body, type, version, &a))
            return false;
        tidy(&a.props);
        gw_mqtt_ack_encode(w, type, version, &a);
        return true;
    }
    case GW_MQTT_SUBSCRIBE:
    case GW_MQTT_UNSUBSCRIBE: {
        struct gw_mqtt_subscribe s;
        int err = type == GW_MQTT_SUBSCRIBE ? gw_mqtt_subscribe_decode(body, version, &s)
                                            : gw_mqtt_unsubscribe_decode(body, version, &s);

        if (err)
            return false;
        tidy(&s.props);
        encode_filters(w, type, version, &s);
        return true;
    }
    case GW_MQTT_SUBACK:
    case GW_MQTT_UNSUBACK: {
        struct gw_mqtt_suback s;

        if (gw_mqtt_suback_decode(body, type, version, &s))
            return false;
        tidy(&s.props);
        gw_mqtt_suback_encode(w, type, version, &s);
        return true;
    }
    case GW_MQTT_DISCONNECT:
    case GW_MQTT_AUTH: {
        struct gw_mqtt_disconnect d;

        if (gw_mqtt_disconnect_decode(body, type, version, &d))
            return false;
        tidy(&d.props);
        gw_mqtt_disconnect_encode(w, type, version, &d);
        return true;
    }
    case GW_MQTT_PINGREQ:
    case GW_MQTT_PINGRESP:
        gw_mqtt_ping_encode(w, type);
        return body.len == 0;
    }
    MUST(!"gw_mqtt_frame lets no other type through");
    return false;
}

static void check(struct gw_slice body, uint8_t head, uint8_t version)
{
    static uint8_t once[2 * ROOM], twice[2 * ROOM];
    struct gw_writer first = gw_writer_of(once, sizeof(once));
    struct gw_writer second = gw_writer_of(twice, sizeof(twice));
    struct gw_slice again;
    uint8_t head_again;

    if (!turn_around(body, head, version, &first))
        return;
    MUST(!first.err);
    MUST(gw_mqtt_frame(gw_writer_done(&first), sizeof(once), &head_again, &again) == 0);
    MUST(head_again == head);
    MUST(turn_around(again, head_again, version, &second));
    MUST(gw_slice_eq(gw_writer_done(&first), gw_writer_done(&second)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gw_slice left = GW_SLICE(data, size), body;
    uint8_t version, head;

    if (size == 0 || size > ROOM)
        return 0;
    version = data[0] & 1 ? GW_MQTT_V5 : GW_MQTT_V311;
    left = GW_SLICE(data + 1, size - 1);
    while (gw_mqtt_frame(left, ROOM, &head, &body) == 0) {
        size_t used = (size_t)(body.ptr - left.ptr) + body.len;

        MUST(used > 0 && used <= left.len);
        check(body, head, version);
        left = GW_SLICE(left.ptr + used, left.len - used);
    }
    return 0;
}
