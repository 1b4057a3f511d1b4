/* SPDX-License-Identifier: GPL-2.0-only */
#include "mqtt/mqtt_priv.h"

#define USER_PROPERTY 0x26

enum prop_type { PROP_NONE, PROP_U8, PROP_U16, PROP_U32, PROP_VAR, PROP_TEXT, PROP_BYTES };

#define IN(type) (1u << (type))
#define IN_CONNECT IN(GW_MQTT_CONNECT)
#define IN_CONNACK IN(GW_MQTT_CONNACK)
#define IN_PUBLISH IN(GW_MQTT_PUBLISH)
#define IN_WILL IN(MQTT_WILL)
#define IN_ACKS                                                                                    \
    (IN(GW_MQTT_PUBACK) | IN(GW_MQTT_PUBREC) | IN(GW_MQTT_PUBREL) | IN(GW_MQTT_PUBCOMP) |          \
     IN(GW_MQTT_SUBACK) | IN(GW_MQTT_UNSUBACK))
#define IN_AUTH IN(GW_MQTT_AUTH)
#define IN_DISCONNECT IN(GW_MQTT_DISCONNECT)

/* MQTT 5 table 2-4: which packet may carry what. */
static const uint16_t allowed[] = {
    [GW_MQTT_BIT_payload_format] = IN_PUBLISH | IN_WILL,
    [GW_MQTT_BIT_message_expiry] = IN_PUBLISH | IN_WILL,
    [GW_MQTT_BIT_content_type] = IN_PUBLISH | IN_WILL,
    [GW_MQTT_BIT_response_topic] = IN_PUBLISH | IN_WILL,
    [GW_MQTT_BIT_correlation] = IN_PUBLISH | IN_WILL,
    [GW_MQTT_BIT_sub_id] = IN_PUBLISH | IN(GW_MQTT_SUBSCRIBE),
    [GW_MQTT_BIT_session_expiry] = IN_CONNECT | IN_CONNACK | IN_DISCONNECT,
    [GW_MQTT_BIT_assigned_client_id] = IN_CONNACK,
    [GW_MQTT_BIT_server_keep_alive] = IN_CONNACK,
    [GW_MQTT_BIT_auth_method] = IN_CONNECT | IN_CONNACK | IN_AUTH,
    [GW_MQTT_BIT_auth_data] = IN_CONNECT | IN_CONNACK | IN_AUTH,
    [GW_MQTT_BIT_request_problem] = IN_CONNECT,
    [GW_MQTT_BIT_will_delay] = IN_WILL,
    [GW_MQTT_BIT_request_response] = IN_CONNECT,
    [GW_MQTT_BIT_response_info] = IN_CONNACK,
    [GW_MQTT_BIT_server_reference] = IN_CONNACK | IN_DISCONNECT,
    [GW_MQTT_BIT_reason_string] = IN_CONNACK | IN_ACKS | IN_AUTH | IN_DISCONNECT,
    [GW_MQTT_BIT_receive_maximum] = IN_CONNECT | IN_CONNACK,
    [GW_MQTT_BIT_topic_alias_maximum] = IN_CONNECT | IN_CONNACK,
    [GW_MQTT_BIT_topic_alias] = IN_PUBLISH,
    [GW_MQTT_BIT_maximum_qos] = IN_CONNACK,
    [GW_MQTT_BIT_retain_available] = IN_CONNACK,
    [GW_MQTT_BIT_maximum_packet_size] = IN_CONNECT | IN_CONNACK,
    [GW_MQTT_BIT_wildcard_available] = IN_CONNACK,
    [GW_MQTT_BIT_sub_id_available] = IN_CONNACK,
    [GW_MQTT_BIT_shared_available] = IN_CONNACK,
};

struct prop {
    uint8_t type; /* enum prop_type */
    uint8_t bit;
    uint16_t at;
};

static const struct prop by_id[] = {
#define X(name, id, type)                                                                          \
    [id] = {PROP_##type, GW_MQTT_BIT_##name, offsetof(struct gw_mqtt_props, name)},
    GW_MQTT_PROPS(X)
#undef X
};

static const uint8_t id_of[] = {
#define X(name, id, type) [GW_MQTT_BIT_##name] = (id),
    GW_MQTT_PROPS(X)
#undef X
};

uint32_t mqtt_read_varint(struct gw_reader *r)
{
    uint32_t v = 0;

    for (unsigned shift = 0; shift < 28; shift += 7) {
        uint8_t byte = gw_reader_u8(r);

        v |= (uint32_t)(byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        if (byte == 0 && shift > 0)
            break; /* [MQTT-1.5.5-1] */
        return v;
    }
    gw_reader_fail(r, GW_EMALFORMED);
    return 0;
}

size_t mqtt_varint_size(size_t v)
{
    return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}

void mqtt_write_varint(struct gw_writer *w, size_t v)
{
    for (; v >= 128; v >>= 7)
        gw_writer_u8(w, (uint8_t)(v | 0x80));
    gw_writer_u8(w, (uint8_t)v);
}

struct gw_slice mqtt_read_bytes(struct gw_reader *r)
{
    return gw_reader_slice(r, gw_reader_u16(r));
}

struct gw_slice mqtt_read_text(struct gw_reader *r)
{
    struct gw_slice s = mqtt_read_bytes(r);

    if (!gw_utf8_valid(s))
        gw_reader_fail(r, GW_EMALFORMED);
    return s;
}

void mqtt_write_bytes(struct gw_writer *w, struct gw_slice s)
{
    if (s.len > UINT16_MAX)
        w->err = GW_EFULL;
    gw_writer_u16(w, (uint16_t)s.len);
    gw_writer_put(w, s);
}

/* ---- decode ---- */

/* Values that the standard calls a Protocol Error, each in its own section of §3. */
static bool value_ok(enum gw_mqtt_prop_bit bit, uint32_t v)
{
    switch (bit) {
    case GW_MQTT_BIT_payload_format:
    case GW_MQTT_BIT_request_problem:
    case GW_MQTT_BIT_request_response:
    case GW_MQTT_BIT_maximum_qos:
    case GW_MQTT_BIT_retain_available:
    case GW_MQTT_BIT_wildcard_available:
    case GW_MQTT_BIT_sub_id_available:
    case GW_MQTT_BIT_shared_available:
        return v <= 1;
    case GW_MQTT_BIT_receive_maximum:
    case GW_MQTT_BIT_maximum_packet_size:
    case GW_MQTT_BIT_sub_id:
        return v != 0;
    default: /* every other number is free, and texts have none */
        return true;
    }
}

static uint32_t read_number(struct gw_reader *r, enum prop_type type)
{
    switch (type) {
    case PROP_U8:
        return gw_reader_u8(r);
    case PROP_U16:
        return gw_reader_u16(r);
    case PROP_U32:
        return gw_reader_u32(r);
    case PROP_VAR:
        return mqtt_read_varint(r);
    case PROP_NONE:
    case PROP_TEXT:
    case PROP_BYTES:
        break;
    }
    return 0;
}

/* [MQTT-1.5.7-1] */
static void read_user(struct gw_reader *r, struct gw_mqtt_props *out)
{
    const uint8_t *start = r->pos - 1; /* with its identifier */

    (void)mqtt_read_text(r);
    (void)mqtt_read_text(r);
    if (r->err)
        return;
    if (!out->user.ptr)
        out->user.ptr = start;
    else if (out->user.ptr + out->user.len != start)
        out->user_scattered = true;
    out->user.len = (size_t)(r->pos - out->user.ptr);
}

static void read_prop(struct gw_reader *r, uint8_t id, unsigned where, struct gw_mqtt_props *out)
{
    const struct prop *p = id < GW_COUNT(by_id) ? &by_id[id] : NULL;
    bool many, again;
    void *field;

    if (!p || p->type == PROP_NONE || !(allowed[p->bit] & IN(where))) {
        gw_reader_fail(r, GW_EMALFORMED); /* §2.2.2.2 */
        return;
    }
    field = (char *)out + p->at;
    again = (out->present >> p->bit) & 1u;
    many = p->bit == GW_MQTT_BIT_sub_id && where == GW_MQTT_PUBLISH; /* §3.3.2.3.8 */
    out->present |= 1u << p->bit;
    out->sub_id_count += many;
    if (p->type == PROP_TEXT || p->type == PROP_BYTES) {
        struct gw_slice s = p->type == PROP_TEXT ? mqtt_read_text(r) : mqtt_read_bytes(r);

        memcpy(field, &s, sizeof(s));
    } else {
        uint32_t v = read_number(r, p->type);

        if (!r->err && !value_ok(p->bit, v))
            gw_reader_fail(r, GW_EPROTOCOL);
        if (!again)
            memcpy(field, &v, sizeof(v));
    }
    if (again && !many)
        gw_reader_fail(r, GW_EPROTOCOL);
}

void mqtt_read_props(struct gw_reader *r, uint8_t version, unsigned where,
                     struct gw_mqtt_props *out)
{
    struct gw_reader block;

    if (version < GW_MQTT_V5)
        return;
    block = gw_reader_sub(r, mqtt_read_varint(r));
    while (gw_reader_left(&block)) {
        uint8_t id = gw_reader_u8(&block);

        if (id == USER_PROPERTY)
            read_user(&block, out);
        else
            read_prop(&block, id, where, out);
    }
    if (block.err) /* a field that crosses the block's end makes the packet malformed, not short */
        gw_reader_fail(r, block.err == GW_ESHORT ? GW_EMALFORMED : block.err);
}

static void skip_prop(struct gw_reader *r, uint8_t id)
{
    const struct prop *p = id < GW_COUNT(by_id) ? &by_id[id] : &by_id[0];

    if (p->type == PROP_NONE)
        gw_reader_fail(r, GW_EMALFORMED);
    else if (p->type == PROP_TEXT || p->type == PROP_BYTES)
        (void)mqtt_read_bytes(r);
    else
        (void)read_number(r, p->type);
}

void gw_mqtt_user_props(struct gw_slice block, struct gw_writer *w)
{
    struct gw_reader r = gw_reader_of(block);

    while (gw_reader_left(&r)) {
        const uint8_t *start = r.pos;
        uint8_t id = gw_reader_u8(&r);

        if (id != USER_PROPERTY) {
            skip_prop(&r, id);
            continue;
        }
        (void)mqtt_read_bytes(&r);
        (void)mqtt_read_bytes(&r);
        if (!r.err)
            gw_writer_put(w, GW_SLICE(start, (size_t)(r.pos - start)));
    }
}

/* ---- encode ---- */

static uint32_t number_of(const struct gw_mqtt_props *p, const struct prop *prop)
{
    uint32_t v;

    memcpy(&v, (const char *)p + prop->at, sizeof(v));
    return v;
}

static struct gw_slice slice_of(const struct gw_mqtt_props *p, const struct prop *prop)
{
    struct gw_slice s;

    memcpy(&s, (const char *)p + prop->at, sizeof(s));
    return s;
}

static size_t prop_size(const struct gw_mqtt_props *p, const struct prop *prop)
{
    switch ((enum prop_type)prop->type) {
    case PROP_U8:
        return 2;
    case PROP_U16:
        return 3;
    case PROP_U32:
        return 5;
    case PROP_VAR:
        return 1 + mqtt_varint_size(number_of(p, prop));
    case PROP_TEXT:
    case PROP_BYTES:
        return 3 + slice_of(p, prop).len;
    case PROP_NONE:
        break;
    }
    return 0;
}

static void write_prop(struct gw_writer *w, uint8_t id, const struct gw_mqtt_props *p)
{
    const struct prop *prop = &by_id[id];

    gw_writer_u8(w, id);
    switch ((enum prop_type)prop->type) {
    case PROP_U8:
        gw_writer_u8(w, (uint8_t)number_of(p, prop));
        break;
    case PROP_U16:
        gw_writer_u16(w, (uint16_t)number_of(p, prop));
        break;
    case PROP_U32:
        gw_writer_u32(w, number_of(p, prop));
        break;
    case PROP_VAR:
        mqtt_write_varint(w, number_of(p, prop));
        break;
    case PROP_TEXT:
    case PROP_BYTES:
        mqtt_write_bytes(w, slice_of(p, prop));
        break;
    case PROP_NONE:
        break;
    }
}

static size_t block_size(const struct gw_mqtt_props *p)
{
    size_t size = p->user.len;

    for (uint32_t left = p->present; left; left &= left - 1)
        size += prop_size(p, &by_id[id_of[__builtin_ctz(left)]]);
    for (size_t i = 0; p->sub_ids && i < p->sub_id_count; i++)
        size += 1 + mqtt_varint_size(p->sub_ids[i]);
    return size;
}

size_t mqtt_props_size(uint8_t version, const struct gw_mqtt_props *p)
{
    size_t size;

    if (version < GW_MQTT_V5)
        return 0;
    size = block_size(p);
    return mqtt_varint_size(size) + size;
}

void mqtt_write_props(struct gw_writer *w, uint8_t version, const struct gw_mqtt_props *p)
{
    if (version < GW_MQTT_V5)
        return;
    mqtt_write_varint(w, block_size(p)); /* [MQTT-2.2.2-1] */
    for (uint32_t left = p->present; left; left &= left - 1)
        write_prop(w, id_of[__builtin_ctz(left)], p);
    for (size_t i = 0; p->sub_ids && i < p->sub_id_count; i++) {
        gw_writer_u8(w, id_of[GW_MQTT_BIT_sub_id]);
        mqtt_write_varint(w, p->sub_ids[i]);
    }
    gw_writer_put(w, p->user);
}
