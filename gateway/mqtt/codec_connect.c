/* SPDX-License-Identifier: GPL-2.0-only */
#include "mqtt/mqtt_priv.h"

/* Connect flags (§3.1.2.3). */
enum {
    FLAG_RESERVED = 1 << 0,
    FLAG_CLEAN = 1 << 1,
    FLAG_WILL = 1 << 2,
    FLAG_WILL_QOS_SHIFT = 3,
    FLAG_WILL_RETAIN = 1 << 5,
    FLAG_PASSWORD = 1 << 6,
    FLAG_USER = 1 << 7,
};

static const struct gw_slice protocol_name = {(const uint8_t *)"MQTT", 4};

/* Name and level: 0 for 3.1.1 and 5; GW_EUNSUPPORTED for another level of MQTT, 3.1's name too.
 * The level of something else is none of ours. */
static int read_protocol(struct gw_reader *r, uint8_t *out_version)
{
    struct gw_slice name = mqtt_read_bytes(r);
    uint8_t level = gw_reader_u8(r);

    if (r->err)
        return r->err;
    if (gw_slice_eq_str(name, "MQIsdp")) {
        *out_version = level;
        return GW_EUNSUPPORTED;
    }
    if (!gw_slice_eq(name, protocol_name))
        return GW_EPROTOCOL; /* [MQTT-3.1.2-1]: may be closed without a CONNACK */
    *out_version = level;
    return level == GW_MQTT_V311 || level == GW_MQTT_V5 ? 0 : GW_EUNSUPPORTED; /* [MQTT-3.1.2-2] */
}

static int check_flags(uint8_t flags, uint8_t version)
{
    unsigned will_qos = (flags >> FLAG_WILL_QOS_SHIFT) & 3;

    if (flags & FLAG_RESERVED) /* [MQTT-3.1.2-3] */
        return GW_EMALFORMED;
    if (will_qos == 3) /* [MQTT-3.1.2-12] */
        return GW_EMALFORMED;
    if (!(flags & FLAG_WILL) && (will_qos || (flags & FLAG_WILL_RETAIN))) /* -11, -13 */
        return GW_EMALFORMED;
    if (version == GW_MQTT_V311 && (flags & FLAG_PASSWORD) && !(flags & FLAG_USER))
        return GW_EMALFORMED; /* 3.1.1 [MQTT-3.1.2-22] */
    return 0;
}

static void read_will(struct gw_reader *r, uint8_t version, struct gw_mqtt_will *out)
{
    mqtt_read_props(r, version, MQTT_WILL, &out->props);
    out->topic = mqtt_read_text(r); /* [MQTT-3.1.2-9], [MQTT-3.1.3-11] */
    out->payload = mqtt_read_bytes(r);
}

int gw_mqtt_connect_decode(struct gw_slice body, struct gw_mqtt_connect *out)
{
    struct gw_reader r = gw_reader_of(body);
    struct gw_mqtt_connect c = {0};
    int err = read_protocol(&r, &c.version);
    uint8_t flags;

    out->version = c.version;
    if (err)
        return err;
    flags = gw_reader_u8(&r);
    err = r.err ? r.err : check_flags(flags, c.version);
    if (err)
        return err;
    c.clean = flags & FLAG_CLEAN;
    c.has_will = flags & FLAG_WILL;
    c.has_user = flags & FLAG_USER;
    c.has_password = flags & FLAG_PASSWORD;
    c.will.qos = (flags >> FLAG_WILL_QOS_SHIFT) & 3;
    c.will.retain = flags & FLAG_WILL_RETAIN;
    c.keep_alive_s = gw_reader_u16(&r);
    mqtt_read_props(&r, c.version, GW_MQTT_CONNECT, &c.props);
    c.client_id = mqtt_read_text(&r); /* [MQTT-3.1.3-3], [MQTT-3.1.3-4] */
    if (c.has_will)
        read_will(&r, c.version, &c.will);
    if (c.has_user)
        c.user = mqtt_read_text(&r); /* [MQTT-3.1.2-17], [MQTT-3.1.3-12] */
    if (c.has_password)
        c.password = mqtt_read_bytes(&r); /* [MQTT-3.1.2-19] */
    err = gw_reader_end(&r);
    if (err)
        return err;
    if (GW_MQTT_HAS(c.props, auth_data) && !GW_MQTT_HAS(c.props, auth_method)) /* §3.1.2.11.10 */
        return GW_EPROTOCOL;
    if (GW_MQTT_HAS(c.will.props, response_topic) && !gw_topic_valid(c.will.props.response_topic))
        return GW_EPROTOCOL; /* §3.1.3.2.6, [MQTT-3.3.2-14] */
    *out = c;
    return 0;
}

static uint8_t flags_for(const struct gw_mqtt_connect *c)
{
    uint8_t flags = c->clean ? FLAG_CLEAN : 0;

    if (c->has_will)
        flags |= (uint8_t)(FLAG_WILL | c->will.qos << FLAG_WILL_QOS_SHIFT |
                           (c->will.retain ? FLAG_WILL_RETAIN : 0));
    if (c->has_user)
        flags |= FLAG_USER;
    if (c->has_password)
        flags |= FLAG_PASSWORD;
    return flags;
}

static size_t connect_size(const struct gw_mqtt_connect *c)
{
    size_t size = 10 + mqtt_props_size(c->version, &c->props) + 2 + c->client_id.len;

    if (c->has_will)
        size += mqtt_props_size(c->version, &c->will.props) + 2 + c->will.topic.len + 2 +
                c->will.payload.len;
    if (c->has_user)
        size += 2 + c->user.len;
    if (c->has_password)
        size += 2 + c->password.len;
    return size;
}

void gw_mqtt_connect_encode(struct gw_writer *w, const struct gw_mqtt_connect *c)
{
    size_t start = w->len;

    if (!mqtt_write_head(w, GW_MQTT_CONNECT << 4, connect_size(c)))
        return;
    mqtt_write_bytes(w, protocol_name);
    gw_writer_u8(w, c->version);
    gw_writer_u8(w, flags_for(c));
    gw_writer_u16(w, c->keep_alive_s);
    mqtt_write_props(w, c->version, &c->props);
    mqtt_write_bytes(w, c->client_id);
    if (c->has_will) {
        mqtt_write_props(w, c->version, &c->will.props);
        mqtt_write_bytes(w, c->will.topic);
        mqtt_write_bytes(w, c->will.payload);
    }
    if (c->has_user)
        mqtt_write_bytes(w, c->user);
    if (c->has_password)
        mqtt_write_bytes(w, c->password);
    if (w->err)
        w->len = start;
}

/* ---- CONNACK (§3.2) ---- */

int gw_mqtt_connack_decode(struct gw_slice body, uint8_t version, struct gw_mqtt_connack *out)
{
    struct gw_reader r = gw_reader_of(body);
    struct gw_mqtt_connack c = {0};
    uint8_t flags = gw_reader_u8(&r);
    int err;

    c.session_present = flags & 1;
    c.code = gw_reader_u8(&r);
    /* A broker that knows no MQTT 5 answers in the form of 3.1.1: no properties. */
    if (version >= GW_MQTT_V5 && (c.code == GW_MQTT_SUCCESS || gw_reader_left(&r)))
        mqtt_read_props(&r, version, GW_MQTT_CONNACK, &c.props);
    err = gw_reader_end(&r);
    if (err)
        return err;
    if (flags > 1 || (c.session_present && c.code)) /* [MQTT-3.2.2-1], [MQTT-3.2.2-6] */
        return GW_EMALFORMED;
    *out = c;
    return 0;
}

void gw_mqtt_connack_encode(struct gw_writer *w, uint8_t version, const struct gw_mqtt_connack *c)
{
    size_t start = w->len;

    if (!mqtt_write_head(w, GW_MQTT_CONNACK << 4, 2 + mqtt_props_size(version, &c->props)))
        return;
    gw_writer_u8(w, c->session_present);
    gw_writer_u8(w, c->code);
    mqtt_write_props(w, version, &c->props);
    if (w->err)
        w->len = start;
}
