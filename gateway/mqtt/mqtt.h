/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * MQTT 3.1.1 and 5: a pure codec for both sides of a connection (no I/O, no clock, no allocation;
 * decoded fields borrow the input) and the server. References are to the OASIS texts: [MQTT-…] is a
 * normative statement of MQTT 5, and of 3.1.1 where marked so. Loop thread only; nothing here
 * survives a crash: what does is the hub's.
 */
#pragma once

#include "config/config.h"
#include "hub/hub.h"
#include "net/net.h"
#include "peer/peer.h"

/* ==== codec ==== */

#define GW_MQTT_V31 3
#define GW_MQTT_V311 4
#define GW_MQTT_V5 5

#define GW_MQTT_REMAINING_MAX 268435455u /**< [MQTT-1.5.5]: four bytes of seven bits */

enum gw_mqtt_type {
    GW_MQTT_CONNECT = 1,
    GW_MQTT_CONNACK,
    GW_MQTT_PUBLISH,
    GW_MQTT_PUBACK,
    GW_MQTT_PUBREC,
    GW_MQTT_PUBREL,
    GW_MQTT_PUBCOMP,
    GW_MQTT_SUBSCRIBE,
    GW_MQTT_SUBACK,
    GW_MQTT_UNSUBSCRIBE,
    GW_MQTT_UNSUBACK,
    GW_MQTT_PINGREQ,
    GW_MQTT_PINGRESP,
    GW_MQTT_DISCONNECT,
    GW_MQTT_AUTH,
};

/** MQTT 5 §2.4; from 0x80 on it is a failure. */
enum gw_mqtt_reason {
    GW_MQTT_SUCCESS = 0x00,
    GW_MQTT_DISCONNECT_WITH_WILL = 0x04,
    GW_MQTT_NO_SUBSCRIBERS = 0x10,
    GW_MQTT_NO_SUBSCRIPTION_EXISTED = 0x11,
    GW_MQTT_UNSPECIFIED = 0x80,
    GW_MQTT_MALFORMED = 0x81,
    GW_MQTT_PROTOCOL_ERROR = 0x82,
    GW_MQTT_IMPLEMENTATION = 0x83,
    GW_MQTT_BAD_VERSION = 0x84,
    GW_MQTT_BAD_CLIENT_ID = 0x85,
    GW_MQTT_NOT_AUTHORIZED = 0x87,
    GW_MQTT_UNAVAILABLE = 0x88,
    GW_MQTT_BANNED = 0x8a,
    GW_MQTT_SHUTTING_DOWN = 0x8b,
    GW_MQTT_BAD_AUTH_METHOD = 0x8c,
    GW_MQTT_KEEP_ALIVE = 0x8d,
    GW_MQTT_TAKEN_OVER = 0x8e,
    GW_MQTT_BAD_FILTER = 0x8f,
    GW_MQTT_BAD_TOPIC = 0x90,
    GW_MQTT_ID_IN_USE = 0x91,
    GW_MQTT_ID_NOT_FOUND = 0x92,
    GW_MQTT_RECEIVE_MAXIMUM = 0x93,
    GW_MQTT_BAD_ALIAS = 0x94,
    GW_MQTT_TOO_LARGE = 0x95,
    GW_MQTT_RATE = 0x96,
    GW_MQTT_QUOTA = 0x97,
    GW_MQTT_ADMINISTRATIVE = 0x98,
    GW_MQTT_BAD_PAYLOAD = 0x99,
    GW_MQTT_NO_RETAIN = 0x9a,
    GW_MQTT_NO_QOS = 0x9b,
    GW_MQTT_NO_SHARED = 0x9e,
};

/**
 * Cut one packet off the input.
 *
 * @param max       bytes of the whole packet that are acceptable.
 * @param out_head  first byte: type << 4 | flags.
 * @param out_body  the rest of the packet, borrowed; it ends where the next packet begins.
 * @return 0; -EAGAIN: not complete yet; GW_ETOOBIG; GW_EMALFORMED: bad length, or flags that this
 *         type does not have [MQTT-2.1.3-1].
 */
int gw_mqtt_frame(struct gw_slice input, size_t max, uint8_t *out_head,
                  struct gw_slice *out_body) GW_MUST_CHECK;

/* ---- properties (MQTT 5 §2.2.2) ---- */

/* X(name, identifier, type): the field of struct gw_mqtt_props and the bit GW_MQTT_HAS_<name>. */
#define GW_MQTT_PROPS(X)                                                                           \
    X(payload_format, 0x01, U8)                                                                    \
    X(message_expiry, 0x02, U32)                                                                   \
    X(content_type, 0x03, TEXT)                                                                    \
    X(response_topic, 0x08, TEXT)                                                                  \
    X(correlation, 0x09, BYTES)                                                                    \
    X(sub_id, 0x0b, VAR)                                                                           \
    X(session_expiry, 0x11, U32)                                                                   \
    X(assigned_client_id, 0x12, TEXT)                                                              \
    X(server_keep_alive, 0x13, U16)                                                                \
    X(auth_method, 0x15, TEXT)                                                                     \
    X(auth_data, 0x16, BYTES)                                                                      \
    X(request_problem, 0x17, U8)                                                                   \
    X(will_delay, 0x18, U32)                                                                       \
    X(request_response, 0x19, U8)                                                                  \
    X(response_info, 0x1a, TEXT)                                                                   \
    X(server_reference, 0x1c, TEXT)                                                                \
    X(reason_string, 0x1f, TEXT)                                                                   \
    X(receive_maximum, 0x21, U16)                                                                  \
    X(topic_alias_maximum, 0x22, U16)                                                              \
    X(topic_alias, 0x23, U16)                                                                      \
    X(maximum_qos, 0x24, U8)                                                                       \
    X(retain_available, 0x25, U8)                                                                  \
    X(maximum_packet_size, 0x27, U32)                                                              \
    X(wildcard_available, 0x28, U8) X(sub_id_available, 0x29, U8) X(shared_available, 0x2a, U8)

enum gw_mqtt_prop_bit {
#define X(name, id, type) GW_MQTT_BIT_##name,
    GW_MQTT_PROPS(X)
#undef X
};

/** True when property `name` is there: GW_MQTT_HAS(props, topic_alias). */
#define GW_MQTT_HAS(props, name) (((props).present >> GW_MQTT_BIT_##name) & 1u)
/** Set property `name`: GW_MQTT_SET(props, receive_maximum, 100). */
#define GW_MQTT_SET(props, name, value)                                                            \
    ((props).name = (value), (props).present |= 1u << GW_MQTT_BIT_##name)

#define GW_MQTT_FIELD_U8 uint32_t
#define GW_MQTT_FIELD_U16 uint32_t
#define GW_MQTT_FIELD_U32 uint32_t
#define GW_MQTT_FIELD_VAR uint32_t
#define GW_MQTT_FIELD_TEXT struct gw_slice
#define GW_MQTT_FIELD_BYTES struct gw_slice

struct gw_mqtt_props {
    uint32_t present; /**< bits of enum gw_mqtt_prop_bit */
#define X(name, id, type) GW_MQTT_FIELD_##type name;
    GW_MQTT_PROPS(X)
#undef X
    struct gw_slice user;    /**< user properties as on the wire; see `user_scattered` */
    bool user_scattered;     /**< others stand between them: gw_mqtt_user_props copies them out */
    size_t sub_id_count;     /**< subscription identifiers of a PUBLISH; decoding keeps the first */
    const uint32_t *sub_ids; /**< all of them, to encode; NULL: sub_id only */
};

/** Copy only the user properties out of `block` (props.user of a decoded packet). */
void gw_mqtt_user_props(struct gw_slice block, struct gw_writer *w);

/* ---- packets: `version` is GW_MQTT_V311 or GW_MQTT_V5; 3.1.1 has no properties or reasons ---- */

struct gw_mqtt_will {
    uint8_t qos;
    bool retain;
    struct gw_slice topic, payload;
    struct gw_mqtt_props props;
};

struct gw_mqtt_connect {
    uint8_t version; /**< as asked for */
    bool clean;
    bool has_will, has_user, has_password;
    uint16_t keep_alive_s;
    struct gw_slice client_id, user, password;
    struct gw_mqtt_will will;
    struct gw_mqtt_props props;
};

struct gw_mqtt_connack {
    bool session_present;
    uint8_t code; /**< reason; in 3.1.1 the return code 0 to 5 */
    struct gw_mqtt_props props;
};

struct gw_mqtt_publish {
    uint8_t qos;
    bool dup, retain;
    uint16_t packet_id; /**< 0 for QoS 0 */
    struct gw_slice topic, payload;
    struct gw_mqtt_props props;
};

/** PUBACK, PUBREC, PUBREL, PUBCOMP. */
struct gw_mqtt_ack {
    uint16_t packet_id;
    uint8_t reason;
    struct gw_mqtt_props props;
};

struct gw_mqtt_subscribe {
    uint16_t packet_id;
    struct gw_mqtt_props props;
    struct gw_slice filters; /**< for gw_mqtt_subscribe_next, checked already */
    size_t count;            /**< of the filters; from 1 */
};

struct gw_mqtt_filter {
    struct gw_slice filter;
    struct gw_subscription options; /**< `id` comes from the packet's properties */
};

/** SUBACK, UNSUBACK. */
struct gw_mqtt_suback {
    uint16_t packet_id;
    struct gw_slice codes; /**< one byte each; empty in an UNSUBACK of 3.1.1 */
    struct gw_mqtt_props props;
};

/** DISCONNECT, AUTH. */
struct gw_mqtt_disconnect {
    uint8_t reason;
    struct gw_mqtt_props props;
};

/*
 * Decoders take the body that gw_mqtt_frame gave. They return 0; GW_ESHORT, GW_ETRAIL,
 * GW_EMALFORMED (reason 0x81); GW_EPROTOCOL (0x82); GW_EUNSUPPORTED: a CONNECT of another version.
 * Of a CONNECT that fails `out->version` is told, 0 when it is not known: the form of the answer.
 */
int gw_mqtt_connect_decode(struct gw_slice body, struct gw_mqtt_connect *out) GW_MUST_CHECK;
int gw_mqtt_connack_decode(struct gw_slice body, uint8_t version,
                           struct gw_mqtt_connack *out) GW_MUST_CHECK;
int gw_mqtt_publish_decode(struct gw_slice body, uint8_t flags, uint8_t version,
                           struct gw_mqtt_publish *out) GW_MUST_CHECK;
int gw_mqtt_ack_decode(struct gw_slice body, enum gw_mqtt_type type, uint8_t version,
                       struct gw_mqtt_ack *out) GW_MUST_CHECK;
int gw_mqtt_subscribe_decode(struct gw_slice body, uint8_t version,
                             struct gw_mqtt_subscribe *out) GW_MUST_CHECK;
int gw_mqtt_unsubscribe_decode(struct gw_slice body, uint8_t version,
                               struct gw_mqtt_subscribe *out) GW_MUST_CHECK;
int gw_mqtt_suback_decode(struct gw_slice body, enum gw_mqtt_type type, uint8_t version,
                          struct gw_mqtt_suback *out) GW_MUST_CHECK;
int gw_mqtt_disconnect_decode(struct gw_slice body, enum gw_mqtt_type type, uint8_t version,
                              struct gw_mqtt_disconnect *out) GW_MUST_CHECK;

/** The next filter of a decoded SUBSCRIBE or UNSUBSCRIBE; false at the end. */
bool gw_mqtt_subscribe_next(struct gw_slice *filters, enum gw_mqtt_type type, uint8_t version,
                            struct gw_mqtt_filter *out);

/*
 * Encoders append one whole packet; the writer's `err` is GW_EFULL when it does not fit, and then
 * the writer is as long as before.
 */
void gw_mqtt_connect_encode(struct gw_writer *w, const struct gw_mqtt_connect *c);
void gw_mqtt_connack_encode(struct gw_writer *w, uint8_t version, const struct gw_mqtt_connack *c);
void gw_mqtt_publish_encode(struct gw_writer *w, uint8_t version, const struct gw_mqtt_publish *p);
/** All of a PUBLISH but its payload, which the caller sends right behind it. */
void gw_mqtt_publish_head_encode(struct gw_writer *w, uint8_t version,
                                 const struct gw_mqtt_publish *p, size_t *out_id_offset);
void gw_mqtt_ack_encode(struct gw_writer *w, enum gw_mqtt_type type, uint8_t version,
                        const struct gw_mqtt_ack *a);
void gw_mqtt_subscribe_encode(struct gw_writer *w, uint8_t version, uint16_t packet_id,
                              const struct gw_mqtt_props *props,
                              const struct gw_mqtt_filter *filters, size_t count);
void gw_mqtt_unsubscribe_encode(struct gw_writer *w, uint8_t version, uint16_t packet_id,
                                const struct gw_slice *filters, size_t count);
void gw_mqtt_suback_encode(struct gw_writer *w, enum gw_mqtt_type type, uint8_t version,
                           const struct gw_mqtt_suback *s);
/** PINGREQ, PINGRESP. */
void gw_mqtt_ping_encode(struct gw_writer *w, enum gw_mqtt_type type);
void gw_mqtt_disconnect_encode(struct gw_writer *w, enum gw_mqtt_type type, uint8_t version,
                               const struct gw_mqtt_disconnect *d);

/* ==== server ==== */

struct gw_mqtt_server;

/** All borrowed, outliving the server. */
int gw_mqtt_server_new(struct gw_loop *loop, const struct gw_config *config, struct gw_peers *peers,
                       struct gw_hub *hub, struct gw_mqtt_server **out) GW_MUST_CHECK;
void gw_mqtt_server_reload(struct gw_mqtt_server *s, const struct gw_config *config);

/**
 * Speak MQTT over a stream, READY or not yet, and take it (also on failure). Whom it carries is
 * gw_stream_identity, once READY; without a device there the connection is closed. A little past
 * limits.connections the oldest that has not said CONNECT gives way. GW_EFULL, -ENOMEM.
 */
int gw_mqtt_serve(struct gw_mqtt_server *s, struct gw_stream *stream) GW_MUST_CHECK;

/**
 * End every connection in order (MQTT 5: 0x8B), presence cause shutdown. Wills are published, those
 * with a delay by the next run, unless their clients are back by then.
 */
void gw_mqtt_server_stop(struct gw_mqtt_server *s);
size_t gw_mqtt_server_count(const struct gw_mqtt_server *s);
/** Frees what is left, at once. */
void gw_mqtt_server_free(struct gw_mqtt_server **s);
