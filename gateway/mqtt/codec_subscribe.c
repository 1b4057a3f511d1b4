/* SPDX-License-Identifier: GPL-2.0-only */
#include "mqtt/mqtt_priv.h"

/* Subscription options (§3.8.3.1); in 3.1.1 only the QoS. */
static int read_options(struct gw_reader *r, uint8_t version, struct gw_subscription *out)
{
    uint8_t byte = gw_reader_u8(r);
    unsigned handling = (byte >> 4) & 3;

    if (byte & (version >= GW_MQTT_V5 ? 0xc0 : 0xfc)) /* [MQTT-3.8.3-5], 3.1.1 [MQTT-3-8.3-4] */
        return GW_EMALFORMED;
    if ((byte & 3) == 3)
        return version >= GW_MQTT_V5 ? GW_EPROTOCOL : GW_EMALFORMED;
    if (handling == 3)
        return GW_EPROTOCOL;
    *out = (struct gw_subscription){
        .qos = byte & 3,
        .no_local = byte & 4,
        .retain_as_published = byte & 8,
        .retain_handling = (enum gw_retain_handling)handling,
    };
    return 0;
}

static void read_filter(struct gw_reader *r, enum gw_mqtt_type type, uint8_t version,
                        struct gw_mqtt_filter *out)
{
    int err;

    /* [MQTT-3.8.3-1], [MQTT-3.10.3-1] */
    *out = (struct gw_mqtt_filter){.filter = mqtt_read_text(r)};
    if (type == GW_MQTT_UNSUBSCRIBE)
        return;
    err = read_options(r, version, &out->options);
    /* [MQTT-3.8.3-4]: here, so that the filters before it change nothing either */
    if (!err && out->options.no_local && gw_slice_starts(out->filter, "$share/"))
        err = GW_EPROTOCOL;
    if (err)
        gw_reader_fail(r, err);
}

static int decode(struct gw_slice body, enum gw_mqtt_type type, uint8_t version,
                  struct gw_mqtt_subscribe *out)
{
    struct gw_reader r = gw_reader_of(body);
    struct gw_mqtt_subscribe s = {.packet_id = gw_reader_u16(&r)};
    struct gw_mqtt_filter each;

    mqtt_read_props(&r, version, type, &s.props);
    s.filters = GW_SLICE(r.pos, gw_reader_left(&r));
    for (; gw_reader_left(&r); s.count++)
        read_filter(&r, type, version, &each);
    if (r.err)
        return r.err;
    if (s.packet_id == 0) /* [MQTT-2.2.1-3] */
        return GW_EMALFORMED;
    if (s.filters.len == 0) /* [MQTT-3.8.3-2], [MQTT-3.10.3-2] */
        return GW_EPROTOCOL;
    *out = s;
    return 0;
}

int gw_mqtt_subscribe_decode(struct gw_slice body, uint8_t version, struct gw_mqtt_subscribe *out)
{
    return decode(body, GW_MQTT_SUBSCRIBE, version, out);
}

int gw_mqtt_unsubscribe_decode(struct gw_slice body, uint8_t version, struct gw_mqtt_subscribe *out)
{
    return decode(body, GW_MQTT_UNSUBSCRIBE, version, out);
}

bool gw_mqtt_subscribe_next(struct gw_slice *filters, enum gw_mqtt_type type, uint8_t version,
                            struct gw_mqtt_filter *out)
{
    struct gw_reader r = gw_reader_of(*filters);

    if (!gw_reader_left(&r))
        return false;
    read_filter(&r, type, version, out);
    *filters = GW_SLICE(r.pos, gw_reader_left(&r));
    return !r.err;
}

static uint8_t options_byte(const struct gw_subscription *o, uint8_t version)
{
    if (version < GW_MQTT_V5)
        return o->qos;
    return (uint8_t)(o->qos | o->no_local << 2 | o->retain_as_published << 3 |
                     (unsigned)o->retain_handling << 4);
}

void gw_mqtt_subscribe_encode(struct gw_writer *w, uint8_t version, uint16_t packet_id,
                              const struct gw_mqtt_props *props,
                              const struct gw_mqtt_filter *filters, size_t count)
{
    static const struct gw_mqtt_props none;
    size_t start = w->len, remaining;

    if (!props)
        props = &none;
    remaining = 2 + mqtt_props_size(version, props);
    for (size_t i = 0; i < count; i++)
        remaining += 3 + filters[i].filter.len;
    if (!mqtt_write_head(w, GW_MQTT_SUBSCRIBE << 4 | 2, remaining))
        return;
    gw_writer_u16(w, packet_id);
    mqtt_write_props(w, version, props);
    for (size_t i = 0; i < count; i++) {
        mqtt_write_bytes(w, filters[i].filter);
        gw_writer_u8(w, options_byte(&filters[i].options, version));
    }
    if (w->err)
        w->len = start;
}

void gw_mqtt_unsubscribe_encode(struct gw_writer *w, uint8_t version, uint16_t packet_id,
                                const struct gw_slice *filters, size_t count)
{
    static const struct gw_mqtt_props none;
    size_t start = w->len, remaining = 2 + mqtt_props_size(version, &none);

    for (size_t i = 0; i < count; i++)
        remaining += 2 + filters[i].len;
    if (!mqtt_write_head(w, GW_MQTT_UNSUBSCRIBE << 4 | 2, remaining))
        return;
    gw_writer_u16(w, packet_id);
    mqtt_write_props(w, version, &none);
    for (size_t i = 0; i < count; i++)
        mqtt_write_bytes(w, filters[i]);
    if (w->err)
        w->len = start;
}

/* ---- SUBACK, UNSUBACK (§3.9, §3.11) ---- */

int gw_mqtt_suback_decode(struct gw_slice body, enum gw_mqtt_type type, uint8_t version,
                          struct gw_mqtt_suback *out)
{
    struct gw_reader r = gw_reader_of(body);
    struct gw_mqtt_suback s = {.packet_id = gw_reader_u16(&r)};
    int err;

    mqtt_read_props(&r, version, type, &s.props);
    s.codes = gw_reader_rest(&r);
    err = gw_reader_end(&r);
    if (err)
        return err;
    if (s.packet_id == 0)
        return GW_EMALFORMED;
    *out = s;
    return 0;
}

void gw_mqtt_suback_encode(struct gw_writer *w, enum gw_mqtt_type type, uint8_t version,
                           const struct gw_mqtt_suback *s)
{
    size_t start = w->len;
    bool codes = type == GW_MQTT_SUBACK || version >= GW_MQTT_V5; /* 3.1.1 §3.11.3: no payload */
    size_t remaining = 2 + mqtt_props_size(version, &s->props) + (codes ? s->codes.len : 0);

    if (!mqtt_write_head(w, (uint8_t)(type << 4), remaining))
        return;
    gw_writer_u16(w, s->packet_id);
    mqtt_write_props(w, version, &s->props);
    if (codes)
        gw_writer_put(w, s->codes);
    if (w->err)
        w->len = start;
}
