/* SPDX-License-Identifier: GPL-2.0-only */
#include "mqtt/mqtt_priv.h"

#include <errno.h>

/* ---- fixed header (§2.1) ---- */

#define ANY_FLAGS 0xff

/* The flags that each type must carry [MQTT-2.1.3-1]. */
static const uint8_t flags_of[16] = {
    [GW_MQTT_PUBLISH] = ANY_FLAGS,
    [GW_MQTT_PUBREL] = 2,      /* [MQTT-3.6.1-1] */
    [GW_MQTT_SUBSCRIBE] = 2,   /* [MQTT-3.8.1-1] */
    [GW_MQTT_UNSUBSCRIBE] = 2, /* [MQTT-3.10.1-1] */
};

int gw_mqtt_frame(struct gw_slice input, size_t max, uint8_t *out_head, struct gw_slice *out_body)
{
    struct gw_reader r = gw_reader_of(input);
    uint8_t head = gw_reader_u8(&r), type = head >> 4;
    uint32_t remaining;
    size_t header;

    if (r.err)
        return -EAGAIN;
    if (type == 0 || (flags_of[type] != ANY_FLAGS && flags_of[type] != (head & 15)))
        return GW_EMALFORMED;
    remaining = mqtt_read_varint(&r);
    if (r.err)
        return r.err == GW_ESHORT ? -EAGAIN : r.err;
    header = (size_t)(r.pos - input.ptr);
    if (header + remaining > max)
        return GW_ETOOBIG;
    if (gw_reader_left(&r) < remaining)
        return -EAGAIN;
    *out_head = head;
    *out_body = GW_SLICE(r.pos, remaining);
    return 0;
}

bool mqtt_write_head(struct gw_writer *w, uint8_t first, size_t remaining)
{
    if (w->err || remaining > GW_MQTT_REMAINING_MAX ||
        w->cap - w->len < 1 + mqtt_varint_size(remaining) + remaining) {
        w->err = GW_EFULL;
        return false;
    }
    gw_writer_u8(w, first);
    mqtt_write_varint(w, remaining);
    return true;
}

/* ---- PUBLISH (§3.3) ---- */

int gw_mqtt_publish_decode(struct gw_slice body, uint8_t flags, uint8_t version,
                           struct gw_mqtt_publish *out)
{
    struct gw_mqtt_publish p = {.dup = flags & 8, .qos = (flags >> 1) & 3, .retain = flags & 1};
    struct gw_reader r = gw_reader_of(body);
    int err;

    p.topic = mqtt_read_text(&r); /* [MQTT-3.3.2-1] */
    if (p.qos > 0)
        p.packet_id = gw_reader_u16(&r);
    mqtt_read_props(&r, version, GW_MQTT_PUBLISH, &p.props);
    p.payload = gw_reader_rest(&r);
    err = gw_reader_end(&r);
    if (err)
        return err;
    if (p.qos == 3 || (p.qos == 0 && p.dup)) /* [MQTT-3.3.1-4], [MQTT-3.3.1-2] */
        return GW_EMALFORMED;
    if (p.qos > 0 && p.packet_id == 0) /* [MQTT-2.2.1-3] */
        return GW_EMALFORMED;
    if (p.topic.len == 0 && !GW_MQTT_HAS(p.props, topic_alias)) /* §3.3.2.3.4 */
        return GW_EPROTOCOL;
    if (GW_MQTT_HAS(p.props, response_topic) && !gw_topic_valid(p.props.response_topic))
        return GW_EPROTOCOL; /* [MQTT-3.3.2-14] */
    *out = p;
    return 0;
}

void gw_mqtt_publish_head_encode(struct gw_writer *w, uint8_t version,
                                 const struct gw_mqtt_publish *p, size_t *out_id_offset)
{
    size_t start = w->len;
    size_t head = 2 + p->topic.len + (p->qos ? 2 : 0) + mqtt_props_size(version, &p->props);
    size_t remaining = head + p->payload.len;

    if (remaining > GW_MQTT_REMAINING_MAX || p->topic.len > UINT16_MAX) {
        w->err = GW_EFULL;
        return;
    }
    gw_writer_u8(w, (uint8_t)(GW_MQTT_PUBLISH << 4 | p->dup << 3 | p->qos << 1 | p->retain));
    mqtt_write_varint(w, remaining);
    mqtt_write_bytes(w, p->topic);
    *out_id_offset = w->len - start;
    if (p->qos)
        gw_writer_u16(w, p->packet_id);
    mqtt_write_props(w, version, &p->props);
    if (w->err)
        w->len = start;
}

void gw_mqtt_publish_encode(struct gw_writer *w, uint8_t version, const struct gw_mqtt_publish *p)
{
    size_t start = w->len, id_offset;

    gw_mqtt_publish_head_encode(w, version, p, &id_offset);
    gw_writer_put(w, p->payload);
    if (w->err)
        w->len = start;
}

/* ---- PUBACK, PUBREC, PUBREL, PUBCOMP (§3.4 to §3.7) ---- */

int gw_mqtt_ack_decode(struct gw_slice body, enum gw_mqtt_type type, uint8_t version,
                       struct gw_mqtt_ack *out)
{
    struct gw_reader r = gw_reader_of(body);
    struct gw_mqtt_ack a = {.packet_id = gw_reader_u16(&r)};
    int err;

    if (version >= GW_MQTT_V5 && gw_reader_left(&r)) /* both may be left out: §3.4.2.1 */
        a.reason = gw_reader_u8(&r);
    if (version >= GW_MQTT_V5 && gw_reader_left(&r))
        mqtt_read_props(&r, version, type, &a.props);
    err = gw_reader_end(&r);
    if (err)
        return err;
    if (a.packet_id == 0)
        return GW_EMALFORMED;
    *out = a;
    return 0;
}

static bool no_props(const struct gw_mqtt_props *p)
{
    return !p->present && !p->user.len;
}

void gw_mqtt_ack_encode(struct gw_writer *w, enum gw_mqtt_type type, uint8_t version,
                        const struct gw_mqtt_ack *a)
{
    bool bare = no_props(&a->props);
    bool with_reason = version >= GW_MQTT_V5 && (a->reason || !bare);
    size_t remaining = 2 + with_reason;

    if (with_reason && !bare)
        remaining += mqtt_props_size(version, &a->props);
    if (!mqtt_write_head(w, (uint8_t)(type << 4 | flags_of[type]), remaining))
        return;
    gw_writer_u16(w, a->packet_id);
    if (with_reason)
        gw_writer_u8(w, a->reason);
    if (with_reason && !bare)
        mqtt_write_props(w, version, &a->props);
}

/* ---- PINGREQ, PINGRESP (§3.12, §3.13) ---- */

void gw_mqtt_ping_encode(struct gw_writer *w, enum gw_mqtt_type type)
{
    (void)mqtt_write_head(w, (uint8_t)(type << 4), 0);
}

/* ---- DISCONNECT, AUTH (§3.14, §3.15) ---- */

int gw_mqtt_disconnect_decode(struct gw_slice body, enum gw_mqtt_type type, uint8_t version,
                              struct gw_mqtt_disconnect *out)
{
    struct gw_reader r = gw_reader_of(body);
    struct gw_mqtt_disconnect d = {0};
    int err;

    if (version >= GW_MQTT_V5 && gw_reader_left(&r)) /* §3.14.2.1 */
        d.reason = gw_reader_u8(&r);
    if (version >= GW_MQTT_V5 && gw_reader_left(&r))
        mqtt_read_props(&r, version, type, &d.props);
    err = gw_reader_end(&r);
    if (err)
        return err;
    *out = d;
    return 0;
}

void gw_mqtt_disconnect_encode(struct gw_writer *w, enum gw_mqtt_type type, uint8_t version,
                               const struct gw_mqtt_disconnect *d)
{
    bool bare = no_props(&d->props);
    bool with_reason = version >= GW_MQTT_V5 && (d->reason || !bare);
    size_t remaining = with_reason;

    if (with_reason && !bare)
        remaining += mqtt_props_size(version, &d->props);
    if (!mqtt_write_head(w, (uint8_t)(type << 4), remaining))
        return;
    if (with_reason)
        gw_writer_u8(w, d->reason);
    if (with_reason && !bare)
        mqtt_write_props(w, version, &d->props);
}
