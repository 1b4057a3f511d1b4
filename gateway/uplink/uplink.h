/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Everything between a local publish and the cloud: seals under the epoch key, spools, sends in
 * order with a window in flight, releases on the cloud's PUBACK, resends after a reconnect.
 * Outbound MQTT over TLS only. After a crash: nothing that `durable` spoke of is lost. Loop thread
 * only.
 */
#pragma once

#include "config/config.h"
#include "crypto/crypto.h"
#include "message/message.h"
#include "store/store.h"

#define GW_UPLINK_LABEL_MAX 32 /**< bytes that stay with a message */

struct gw_uplink_ops {
    /** Every message accepted with a ticket up to this one is durable. Tickets rise. */
    void (*durable)(void *owner, uint64_t ticket);
    /** This ticket's message was not made durable. */
    void (*failed)(void *owner, uint64_t ticket, int err);
    /**
     * For the journal. Kinds: "uplink-up", "uplink-down", "uplink-refused" (the broker took a
     * message not, it is sent again), "uplink-dropped" (it can never take it: a loss),
     * "spool-full", "spool-free", "spool-failed".
     */
    void (*event)(void *owner, const char *kind, const char *text);
    /** After each connect: call gw_uplink_presence for every device. */
    void (*resync)(void *owner);
    /** Inside gw_uplink_open: the label of a message on disk, settled or not. May be NULL. */
    void (*label)(void *owner, struct gw_slice label);
};

struct gw_uplink_identity {
    const char *gateway_id;
    const struct gw_key *key; /**< signs the epoch announcements; borrowed */
    struct gw_slice cert_der; /**< copied */
};

struct gw_uplink;
/**
 * Opens the spool in state_dir/spool; `config` and the identity's key are borrowed. With no broker
 * configured everything is accepted and nothing kept.
 */
int gw_uplink_open(struct gw_loop *loop, const struct gw_config *config, struct gw_store *store,
                   const struct gw_uplink_identity *id, const struct gw_uplink_ops *ops,
                   void *owner, struct gw_uplink **out) GW_MUST_CHECK;
void gw_uplink_close(struct gw_uplink **u);
/**
 * Brokers, credentials or window changed: reconnect; recipients: a new epoch. `config` replaces the
 * one before, which may go afterwards; on failure (GW_EMALFORMED: a key) nothing changed.
 */
int gw_uplink_reload(struct gw_uplink *u, const struct gw_config *config) GW_MUST_CHECK;
void gw_uplink_identity(struct gw_uplink *u, const struct gw_uplink_identity *id);

/**
 * Seal and spool one message of a device. QoS 1, 2: `durable` or `failed` follows with `ticket`.
 * @param label  stays on disk with the message until it is settled, for whoever must know after a
 *               crash that this very message is there; up to GW_UPLINK_LABEL_MAX bytes, or none.
 * @return 1 nothing to wait for (QoS 0, or no uplink); 0 the ticket will be told; GW_ESPOOLFULL, ….
 */
int gw_uplink_publish(struct gw_uplink *u, const struct gw_msg *m, uint64_t ticket,
                      struct gw_slice label) GW_MUST_CHECK;

/** The labels given with tickets up to this one, and all of earlier runs, are needed no more. */
void gw_uplink_settle(struct gw_uplink *u, uint64_t ticket);

/**
 * The retained status of a device for P/presence/<id>; only the newest of each is sent, an empty
 * one clears it. Ignored while there is no connection: resync asks again.
 */
void gw_uplink_presence(struct gw_uplink *u, const char *device, struct gw_slice json);

enum gw_uplink_state { GW_UPLINK_OFF, GW_UPLINK_CONNECTING, GW_UPLINK_CONNECTED };
struct gw_uplink_status {
    enum gw_uplink_state state;
    const char *broker; /**< URL of the present or last one; "" */
    uint64_t spooled_messages, spooled_bytes, in_flight, acknowledged, refused, dropped;
    const char *last_error; /**< "" : none */
    bool spool_full;
};
void gw_uplink_status(const struct gw_uplink *u, struct gw_uplink_status *out);
