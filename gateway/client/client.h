/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * A connection to an MQTT broker over TLS, as its client: finds the first broker of a list that
 * answers, speaks MQTT 5 or, where the broker refuses that, 3.1.1, keeps the connection alive, and
 * comes back after a loss with growing, random pauses. What is sent and what an answer means is the
 * owner's. Nothing survives a crash. Loop thread only.
 */
#pragma once

#include "crypto/crypto.h"
#include "mqtt/mqtt.h"
#include "net/net.h"

#define GW_CLIENT_SERVERS_MAX 32
#define GW_CLIENT_ERROR 192 /**< bytes of the text that says why */

struct gw_client_server {
    char url[300];
    char host[256]; /**< a name or an address, no brackets */
    uint16_t port;
};

/** "mqtts://host[:port]", brackets around IPv6; the default port is 8883. GW_EMALFORMED. */
int gw_client_server_parse(const char *url, struct gw_client_server *out) GW_MUST_CHECK;

struct gw_client_config {
    const struct gw_client_server *servers; /**< tried in order; copied */
    size_t server_count;                    /**< 1 to GW_CLIENT_SERVERS_MAX */
    const char *client_id;
    bool clean;                /**< forget the session at each connect */
    uint32_t session_expiry_s; /**< MQTT 5, without `clean` */
    struct gw_slice ca_pem;    /**< empty: the system's store */
    struct gw_slice chain_pem; /**< empty: no certificate is shown */
    const struct gw_key *key;  /**< borrowed, outlives the client; NULL without a chain */
    const char *username;      /**< "" : none */
    struct gw_slice password;
    const char *will_topic; /**< NULL: no will; it is QoS 1 and retained */
    struct gw_slice will_payload;
    uint16_t keep_alive_s;
    uint32_t packet_max;      /**< bytes of the longest packet taken */
    uint16_t receive_maximum; /**< publishes taken before one is acknowledged; MQTT 5 */
    size_t output_max;        /**< bytes queued at most */
};

/** What the broker said it takes. */
struct gw_client_limits {
    bool session_present;
    uint16_t receive_maximum;
    uint32_t packet_max;
};

struct gw_client_ops {
    /** The broker took us; writing may begin. */
    void (*up)(void *owner, const struct gw_client_limits *limits);
    /** PUBLISH, PUBACK, SUBACK and the like; < 0 ends the connection. The body is borrowed. */
    int (*packet)(void *owner, enum gw_mqtt_type type, uint8_t flags, struct gw_slice body);
    /** After a batch of packets, and whenever all output has left. */
    void (*turn)(void *owner);
    /** A connection was lost (`was_up`) or an attempt failed; another one follows by itself. */
    void (*down)(void *owner, bool was_up, const char *why);
};

struct gw_client;
/** Begins to connect. Strings and slices are copied. -ENOMEM. */
int gw_client_new(struct gw_loop *loop, const struct gw_client_config *cfg,
                  const struct gw_client_ops *ops, void *owner,
                  struct gw_client **out) GW_MUST_CHECK;
/** Ends it without a DISCONNECT, so the broker publishes the will; no callback follows. */
void gw_client_free(struct gw_client **c);

bool gw_client_is_up(const struct gw_client *c);
/** GW_MQTT_V5 or GW_MQTT_V311; meaningful while up. */
uint8_t gw_client_version(const struct gw_client *c);
/** The broker's URL, of the present or the last attempt. */
const char *gw_client_url(const struct gw_client *c);
/** Why it is not up; "" when it is, or when the first attempt runs. */
const char *gw_client_error(const struct gw_client *c);

/** Queue whole packets. GW_EFULL, GW_ECLOSED. */
int gw_client_write(struct gw_client *c, struct gw_slice packets) GW_MUST_CHECK;
size_t gw_client_pending(const struct gw_client *c);
/** Leave what the broker says unread; forgotten with the connection. Not from `packet`. */
void gw_client_pause(struct gw_client *c, bool paused);
/** Something got done on this connection: the next pause begins small again. */
void gw_client_progress(struct gw_client *c);
/** End this connection and come back after a pause; `down` is called. Not from `packet`. */
void gw_client_drop(struct gw_client *c, const char *why);
/** Send DISCONNECT and stay away; free follows. The broker drops the will. */
void gw_client_leave(struct gw_client *c);
