/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The server's side of MQTT: one struct conn for each connection, its handlers, and the wills that
 * wait for their delay.
 */
#pragma once

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "loop/loop.h"
#include "mqtt/mqtt_priv.h"

#define CONNECT_MS 10000     /* from READY to a complete CONNECT */
#define PACKET_OVERHEAD 4096 /* topic and properties on top of limits.message_bytes */
#define LOBBY_MAX 64         /* connections past the limit that may say CONNECT, and hear why not */
#define RECEIVE_MAX 256      /* publishes of one client that may wait for their acknowledgement */
#define OWED_MAX 1024        /* other acknowledgements to one client that wait for the database */
#define SUBACKS_MAX 64       /* subscribes of one client that may wait for the database */
#define SEND_MAX 1024        /* deliveries in flight to one client, whatever it offers */
#define ALIAS_MAX 16         /* topic aliases of one connection, each way */
#define OUTPUT_HIGH (256 << 10) /* bytes queued to one client above which deliveries wait */
#define ANSWERS_MAX (64 << 10)  /* bytes of answers on top of them, then it is heard no more */

/* What a connection goes through, in order. */
enum conn_state {
    CONN_OPENING, /* the transport shakes hands */
    CONN_FRESH,   /* a CONNECT is due */
    CONN_ACTIVE,
    CONN_CLOSED, /* only the stream's CLOSED is to come */
};

/* Why reading stands still; it goes on when none is left. */
enum conn_pause {
    PAUSE_QUOTA = 1 << 0,   /* over limits.publish_per_s */
    PAUSE_ACKS = 1 << 1,    /* too many acknowledgements wait for a disk */
    PAUSE_OUTPUT = 1 << 2,  /* the client does not read what it asked for */
    PAUSE_SESSION = 1 << 3, /* its session, or what it repeats, is on its way to a disk */
};

struct will;

/* A SUBACK or UNSUBACK that waits until its subscriptions are on disk. */
struct suback {
    struct gw_list node;
    enum gw_mqtt_type type;
    uint16_t packet_id;
    size_t count;
    uint8_t codes[];
};

struct conn {
    struct gw_mqtt_server *server;
    struct gw_list link;
    struct gw_stream *stream;
    enum conn_state state;
    uint8_t version;
    uint8_t paused; /* bits of enum conn_pause */
    bool corked;    /* a SUBACK is due before what its filters bring */
    bool delivering;
    enum gw_cause cause;
    char device[GW_DEVICE_ID_MAX + 1];
    struct gw_peer *peer;
    struct gw_session *session;
    struct gw_timer timer; /* CONNECT is due, then keep-alive */
    struct gw_timer quota_timer;
    uint16_t keep_alive_s; /* what the client said, or we did; 0: none */
    uint64_t heard_ms;
    size_t heard_left; /* bytes of an unfinished packet that were there then */
    uint32_t expiry_s;
    size_t packet_max;  /* what the client takes */
    size_t input_max;   /* and what we do: it was told, so a reload changes nothing */
    unsigned alias_max; /* topic aliases that it takes, and we use */
    struct alias_table *aliases_in, *aliases_out;
    unsigned send_max, in_flight;
    unsigned unacked;   /* publishes whose completion is still to come */
    unsigned receiving; /* publishes of this connection that the client holds against our maximum */
    unsigned owed;      /* PUBREL and the like that wait for the database */
    size_t answered;    /* bytes of answers since more than OUTPUT_HIGH was queued */
    struct gw_list subacks;
    unsigned suback_count;
    struct will *will;
    size_t client_len;
    uint8_t client[GW_HUB_CLIENT_MAX];
};

/* The head of the message that was delivered last: a fan-out is encoded once. */
struct head_cache {
    struct gw_msg *msg; /* one reference; NULL: empty */
    uint8_t version, qos;
    bool retain;
    size_t len, id_offset;
};

struct gw_mqtt_server {
    struct gw_loop *loop;
    const struct gw_config *config;
    struct gw_peers *peers;
    struct gw_hub *hub;
    struct gw_list fresh; /* no CONNECT yet, the oldest first */
    struct gw_list conns; /* the others */
    size_t count;
    struct gw_list parked_wills; /* whose clients are gone, and whose delay runs */
    struct gw_map wills;         /* the same by device and client identifier */
    size_t large_wills;          /* bytes of all large ones */
    uint64_t will_publisher;
    struct gw_log_limit refusals;
    bool stopping;
    struct head_cache cache;
    uint8_t *scratch; /* one packet's head, or one whole small packet */
    size_t scratch_size;
};

/* Tokens tell the completions apart: the QoS, TOKEN_SUBACK, or an acknowledgement's type and reason
 * (from TOKEN_ACK on), and the packet identifier. */
#define TOKEN(kind, id) ((uint32_t)(kind) << 16 | (id))
#define TOKEN_SUBACK 3
#define TOKEN_ACK (1u << 8)

/* ---- conn.c ---- */

int conn_new(struct gw_mqtt_server *s, struct gw_stream *stream, struct conn **out) GW_MUST_CHECK;
void conn_free(struct conn *c);
/** Whole packets only; a client that takes no more, or none of this size, is closed. */
void conn_write(struct conn *c, struct gw_slice packet);
/** End it for this reason: MQTT 5 hears why, the log and the device's strikes too. */
void conn_fail(struct conn *c, int err);
/** The same where the standard has a reason of its own. */
void conn_fail_as(struct conn *c, int err, uint8_t reason);
/** End it; `reason` 0: without a DISCONNECT. */
void conn_close(struct conn *c, int err, uint8_t reason);
/** Let go of session and peer, and see to the will. Once. */
void conn_finish(struct conn *c);
/** One and a half times the keep-alive [MQTT-3.1.2-22]. */
static inline uint64_t keep_alive_ms(const struct conn *c)
{
    return (uint64_t)c->keep_alive_s * 1500;
}

void conn_pause(struct conn *c, enum conn_pause why);
void conn_unpause(struct conn *c, enum conn_pause why);
/** The reason that MQTT 5 has for one of our errors. */
uint8_t reason_of(int err);

/* ---- handlers: a body without its fixed header. 0; -EAGAIN: not now, keep the packet; errors ----
 */

int on_connect(struct conn *c, uint8_t flags, struct gw_slice body);
int on_publish(struct conn *c, uint8_t flags, struct gw_slice body);
int on_puback(struct conn *c, uint8_t flags, struct gw_slice body);
int on_pubrec(struct conn *c, uint8_t flags, struct gw_slice body);
int on_pubrel(struct conn *c, uint8_t flags, struct gw_slice body);
int on_pubcomp(struct conn *c, uint8_t flags, struct gw_slice body);
int on_subscribe(struct conn *c, uint8_t flags, struct gw_slice body);
int on_unsubscribe(struct conn *c, uint8_t flags, struct gw_slice body);
void subacks_next(struct conn *c);
void subacks_drop(struct conn *c);

/** gw_peer_ops.published */
void on_published(void *owner, uint32_t token, int err);
/** gw_session_ops.inbound */
void on_inbound(void *owner);
/** gw_session_ops.deliver */
int on_deliver(void *owner, const struct gw_delivery *d);

/** The message that a PUBLISH or a will describes; borrows from `p`. `gathered` is to be freed. */
int msg_of(const struct gw_mqtt_props *p, struct gw_msg *out,
           struct gw_buf *gathered) GW_MUST_CHECK;

/* ---- topic aliases (alias.c) ---- */

struct alias_table;
void alias_free(struct alias_table **table);
/** Give the PUBLISH its topic, or remember it; a failure may have closed the connection. */
int alias_in(struct conn *c, struct gw_mqtt_publish *p) GW_MUST_CHECK;
/** The alias for this topic, 0: none; `known`: the client has it already. */
unsigned alias_out(const struct conn *c, struct gw_slice topic, bool *out_known);
/** The client has been told that the alias stands for this topic. */
void alias_sent(struct conn *c, unsigned alias, struct gw_slice topic);

/* ---- wills (will.c) ---- */

/** Into c->will. -ENOMEM; GW_EFULL: large ones take too much memory already. */
int will_new(struct conn *c, const struct gw_mqtt_will *w) GW_MUST_CHECK;
/** The CONNECT is accepted: from now on a crash leaves the will to the next run. */
void will_accept(struct conn *c);
/** Frees the memory, and nothing else. */
void will_free(struct will **w);
/** It will never be published. A NULL inside is fine. */
void will_forget(struct will **w);
/** gw_hub_published, for wills: their ids are the tokens. */
void on_will_published(void *owner, uint32_t token, int err);
/** The connection ended without a good-bye: publish now, or when its delay runs out. Takes it. */
void will_due(struct conn *c, struct will **w);
/** The client is back: a will that still waits is forgotten, or (`ended`: new session) published.
 */
void will_settle(struct conn *c, bool ended);
/** The gateway stops: those that wait for their delay are left to the next run. */
void wills_leave(struct gw_mqtt_server *s);
/** Take over what the last run left behind. */
void wills_restore(struct gw_mqtt_server *s);
