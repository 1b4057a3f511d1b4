/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The broker's core: sessions, subscriptions, retained messages, fan-out, and the tickets by which
 * a publisher learns that its message is durable. Knows no protocol and no policy. Loop thread
 * only.
 *
 * QoS 2 from a durable session is given to the sink once and to the subscribers here once, and what
 * a durable subscriber gets at QoS 2 it gets once, wherever a crash falls in either handshake: see
 * gw_hub_publish_once and gw_session_received. That holds as long as both disks can be written; a
 * message that a failing disk refused may, when its device repeats it, come again to those who are
 * connected.
 *
 * After a crash: durable sessions, their subscriptions, every QoS 1 and 2 message queued for them
 * whose publisher was told so, the retained messages of devices, and wills are there again.
 */
#pragma once

#include "message/message.h"
#include "store/store.h"

#define GW_HUB_LEVELS_MAX 200       /**< levels of one topic or filter */
#define GW_HUB_CLIENT_MAX 256       /**< bytes of a client identifier */
#define GW_HUB_DEVICE_MAX 64        /**< bytes of a device id */
#define GW_HUB_SUBS_MAX 1024        /**< subscriptions of one session */
#define GW_HUB_KEPT_MAX 1024        /**< sessions kept for one device while nobody is attached */
#define GW_HUB_RETAINED_DEVICE 1024 /**< retained topics of one device */
#define GW_HUB_INBOUND_MAX 1024     /**< QoS 2 messages of one session, not released yet */
#define GW_HUB_LABEL_MAX 32         /**< bytes that the sink keeps with a message */
#define GW_HUB_FOREVER UINT32_MAX   /**< a session expiry that never comes */

struct gw_hub;
struct gw_session;

struct gw_hub_limits {
    /** For one session; QoS 0 gives way first. A device has 16 times that, all together 128 times,
     * and each device at least as much as one session. */
    uint64_t queued_bytes;
    /** Of all devices together; 0: 16 MiB. One may have a quarter, and has a 32nd in any case. */
    uint64_t retained_bytes;
    uint32_t retained_count; /**< 0: 100,000 */
};

/** Everything the hub asks of others; any member may be NULL. */
struct gw_hub_ops {
    /** Asked at every delivery: may this device hear this topic now? NULL: yes. */
    bool (*may_receive)(void *owner, const char *device, struct gw_slice topic);
    /**
     * One message of a device on its way out. 1: nothing to wait for; 0: gw_hub_durable or
     * gw_hub_failed will tell; negative: refused, and then nobody gets it. Ticket 0: QoS 0.
     * A label, up to GW_HUB_LABEL_MAX bytes, is kept with the message, released or not, until
     * `settled`, and handed to gw_hub_recall at the next start.
     */
    int (*sink)(void *owner, const struct gw_msg *m, uint64_t ticket, struct gw_slice label);
    /** A live session of the device began or ceased to listen to `filter`. */
    void (*topic)(void *owner, struct gw_slice filter, const char *device, bool joined);
    /** A session's queue is full and loses messages: once, until half of it is free again. */
    void (*overflow)(void *owner, const char *device, struct gw_slice client);
    /** The labels of tickets up to this one, and all that were recalled, are needed no more. */
    void (*settled)(void *owner, uint64_t ticket);
};

/** Loads what was kept, before the loop runs. -ENOMEM, GW_ESTORE. */
int gw_hub_open(struct gw_loop *loop, const struct gw_hub_limits *limits, struct gw_store *store,
                const struct gw_hub_ops *ops, void *owner, struct gw_hub **out) GW_MUST_CHECK;
/** Writes what waits (the store is still open), then forgets everything. Sessions are detached. */
void gw_hub_close(struct gw_hub **hub);
void gw_hub_reload(struct gw_hub *hub, const struct gw_hub_limits *limits);
/** Write what waits, now: only at the end, or before the loop runs. */
void gw_hub_flush(struct gw_hub *hub);

/** Between gw_hub_open and gw_hub_recalled: a label that the sink found on its disk. */
void gw_hub_recall(struct gw_hub *hub, struct gw_slice label);
/** Before the loop runs: there are no more of them. Without it nothing is ever settled. */
void gw_hub_recalled(struct gw_hub *hub);

/* ---- publishing ---- */

/** Who is told: `err` 0: durable; GW_ESTORE, GW_ESPOOLFULL, …: it is not. In order of publishing.
 */
typedef void gw_hub_published(void *owner, uint32_t token, int err);

/** One connection that publishes. The id is never 0 and never used again. -ENOMEM. */
int gw_hub_publisher_add(struct gw_hub *hub, gw_hub_published *fn, void *owner,
                         uint64_t *out_id) GW_MUST_CHECK;
/** Completions that come later for it are dropped. */
void gw_hub_publisher_remove(struct gw_hub *hub, uint64_t id);

/**
 * Hand a message to the sink, the retained table and every subscriber; takes its own references.
 *
 * @param token  comes back with the completion.
 * @return 1 done, nothing to wait for (always so for QoS 0); 0 the publisher is told later, after
 *         everything it published before; GW_ESPOOLFULL and whatever the sink said; GW_EFULL: the
 *         retained table has no room; GW_EQUEUEFULL: it was for some, and no queue of theirs had
 *         room; GW_EUNSUPPORTED: over GW_HUB_LEVELS_MAX. Nobody gets it then.
 */
int gw_hub_publish(struct gw_hub *hub, uint64_t publisher, struct gw_msg *m,
                   uint32_t token) GW_MUST_CHECK;

/**
 * The same for QoS 2 under a packet identifier of the session that is FREE or HALF, and does not
 * wait: of a half only what is missing is made up. From the completion on it is RECEIVED; on
 * failure it is HALF, for the client to repeat, or FREE: gw_session_inbound_remove gives it up.
 * After a crash a durable session knows the same.
 */
int gw_hub_publish_once(struct gw_hub *hub, uint64_t publisher, struct gw_session *s, uint16_t id,
                        struct gw_msg *m, uint32_t token) GW_MUST_CHECK;

/**
 * What the gateway itself says ($presence, $alert, $SYS, and what came down from the cloud): never
 * to the sink. `from` is a template as for gw_msg_new; `time_ms` 0: now. Retained `$` topics are
 * kept in memory only. An empty retained payload clears. -ENOMEM, GW_EMALFORMED, GW_EUNSUPPORTED.
 */
int gw_hub_publish_local(struct gw_hub *hub, const struct gw_msg *from);

/** The sink's answers: all tickets up to this one; this one. */
void gw_hub_durable(struct gw_hub *hub, uint64_t ticket);
void gw_hub_failed(struct gw_hub *hub, uint64_t ticket, int err);

/**
 * Be told when all that was changed so far in durable sessions is on disk: 1 it is, and nothing of
 * this publisher's waits; 0 later, through its callback, in order with its messages.
 */
int gw_hub_settle(struct gw_hub *hub, uint64_t publisher, uint32_t token) GW_MUST_CHECK;

/** The retained message of a topic, borrowed; NULL: none. */
const struct gw_msg *gw_hub_retained(const struct gw_hub *hub, struct gw_slice topic);

/* ---- sessions ---- */

enum gw_delivery_state {
    GW_DELIVERY_QUEUED,   /**< was never sent */
    GW_DELIVERY_SENT,     /**< was sent; comes again after a reconnect */
    GW_DELIVERY_RELEASED, /**< QoS 2: the receiver has it, only the release is repeated */
};

/** One message for one session; borrowed until the callback returns. */
struct gw_delivery {
    struct gw_msg *msg;
    uint16_t id; /**< packet identifier, the same at every repetition; 0 for QoS 0 */
    uint8_t qos; /**< the lower of the message's and the subscription's */
    bool retain; /**< as the subscription wants the flag */
    enum gw_delivery_state state;
    bool repeated;           /**< it was sent before, or a crash hides whether it was */
    bool release_only;       /**< since the attach only its release was sent */
    const uint32_t *sub_ids; /**< of every subscription that matched and has one */
    size_t sub_id_count;
};

struct gw_session_ops {
    /**
     * 0: it was written; -EAGAIN: not now, gw_session_resume will tell when; GW_ETOOBIG: the
     * receiver never takes it, so it is dropped. Must not detach, nor publish.
     */
    int (*deliver)(void *owner, const struct gw_delivery *d);
    /** Another connection wants this session: gw_session_detach now, before returning. */
    void (*taken_over)(void *owner);
    /** What gw_session_inbound_waits said yes to may be asked again. Must not publish. */
    void (*inbound)(void *owner);
};

/** What the session is known by: no device can reach another's. */
struct gw_session_key {
    const char *device;
    struct gw_slice client;
};

/**
 * Attach to the session under `key`, made when there is none or `clean` is true (the old one ends
 * then). Whoever was attached is told to let go first. Deliveries begin with gw_session_resume.
 *
 * @param expiry_s     0: the session ends with this connection, nothing of it is stored.
 * @param out_present  true when it was there before.
 * @return 0; -ENOMEM; GW_ETOOBIG for a client identifier over GW_HUB_CLIENT_MAX.
 */
int gw_session_attach(struct gw_hub *hub, const struct gw_session_key *key, bool clean,
                      uint32_t expiry_s, const struct gw_session_ops *ops, void *owner,
                      struct gw_session **out, bool *out_present) GW_MUST_CHECK;

/** Let go. The session lives on for its expiry, counted from now; with 0 it ends here. */
void gw_session_detach(struct gw_session **s);
/** The expiry that counts from the next detach. */
void gw_session_set_expiry(struct gw_session *s, uint32_t expiry_s);
/** Stands for device and client identifier, after a restart too: what "no local" goes by. Not 0. */
uint64_t gw_session_origin(const struct gw_session *s);
/** QoS 1 and 2 messages dropped because its queue was full, since this was asked for last. */
uint64_t gw_session_take_lost(struct gw_session *s);

/** What is changed in it goes to the disk. */
bool gw_session_durable(const struct gw_session *s);

/** Deliver what waits until `deliver` says -EAGAIN. */
void gw_session_resume(struct gw_session *s);
/** What is in flight under this identifier, borrowed for the moment; NULL: nothing. */
const struct gw_delivery *gw_session_inflight(const struct gw_session *s, uint16_t id);
/** The receiver has the QoS 1 message, or completed the QoS 2 one. GW_ENOTFOUND. */
int gw_session_acked(struct gw_session *s, uint16_t id);
/**
 * QoS 2: the receiver has it; from now on only the release is repeated, after a crash too.
 * @return 1: the release may leave now; 0: when gw_hub_settle says so; GW_ENOTFOUND; -ENOMEM.
 */
int gw_session_received(struct gw_session *s, uint16_t id);

/** QoS 2, other direction: what a packet identifier of the client's stands for. */
enum gw_inbound {
    GW_INBOUND_FREE,
    GW_INBOUND_PENDING,  /**< a message that is on its way to the disks */
    GW_INBOUND_HALF,     /**< one that a crash cut apart: its client repeats it */
    GW_INBOUND_RECEIVED, /**< one that its client has to release */
};
enum gw_inbound gw_session_inbound(const struct gw_session *s, uint16_t id);
/**
 * True: a QoS 2 publish under this identifier has to wait, because one is PENDING or the session
 * itself is not on disk yet; ops.inbound tells.
 */
bool gw_session_inbound_waits(struct gw_session *s, uint16_t id);
/**
 * Released, or given up; gw_hub_settle tells when the identifier may be used again. False: there is
 * none, or it is PENDING.
 */
bool gw_session_inbound_remove(struct gw_session *s, uint16_t id);

enum gw_retain_handling { GW_RETAIN_SEND, GW_RETAIN_SEND_IF_NEW, GW_RETAIN_DO_NOT_SEND };

struct gw_subscription {
    uint8_t qos; /**< 0 to 2 */
    bool no_local;
    bool retain_as_published;
    enum gw_retain_handling retain_handling;
    uint32_t id; /**< MQTT 5 subscription identifier; 0: none */
};

/**
 * Add, or replace the options; retained messages are queued as `retain_handling` says, for a shared
 * subscription ("$share/<name>/<filter>") never: each message goes to one member of its group.
 * @return 0; GW_EMALFORMED: no filter, or over GW_HUB_LEVELS_MAX; GW_EFULL: GW_HUB_SUBS_MAX;
 * -ENOMEM.
 */
int gw_session_subscribe(struct gw_session *s, struct gw_slice filter,
                         const struct gw_subscription *sub) GW_MUST_CHECK;
/** GW_ENOTFOUND: there was none. */
int gw_session_unsubscribe(struct gw_session *s, struct gw_slice filter);

/* ---- wills: kept for the protocol, so that no crash swallows them ---- */

struct gw_hub_will {
    struct gw_session_key of; /**< whose */
    struct gw_msg *msg;
    uint64_t origin;  /**< gw_session_origin of whose it is; filled in by the hub */
    uint32_t delay_s; /**< from the connection's end on */
    int64_t expiry_s; /**< the message's, from its publishing on; negative: none */
    int64_t due_ms;   /**< wall clock; 0: its client is connected */
};

/**
 * Keep a will; whoever keeps it publishes it and drops it again. Its id, durable with the next
 * batch; 0: no memory, so it does not outlive a crash.
 */
uint32_t gw_hub_will_keep(struct gw_hub *hub, const struct gw_hub_will *w);
/** Its client has gone, and it is due then, `delay_s` from now; an id of 0 is fine, here and below.
 */
void gw_hub_will_due(struct gw_hub *hub, uint32_t id, uint32_t delay_s, int64_t due_ms);
void gw_hub_will_drop(struct gw_hub *hub, uint32_t id);

/** Borrowed for this call, but for the message, of which a reference may be taken. */
typedef void gw_hub_will_fn(void *owner, uint32_t id, const struct gw_hub_will *w);
/** Hand over, once, what the last run kept and did not drop, the oldest first. */
void gw_hub_wills_left(struct gw_hub *hub, gw_hub_will_fn *fn, void *owner);

/** End every session of a device that is gone for good. Attached ones are told taken_over. */
void gw_hub_forget(struct gw_hub *hub, const char *device);

/* ---- figures ---- */

struct gw_hub_stats {
    uint64_t sessions, attached, subscriptions;
    uint64_t retained, retained_bytes;
    uint64_t queued, queued_bytes; /**< deliveries that wait or are in flight */
    uint64_t published, delivered; /**< since the start */
    uint64_t dropped_qos0, dropped_full, dropped_expired, dropped_denied, dropped_too_big;
    /** Refused, or ended early, for a limit of this room, since the start. */
    uint64_t full_subscriptions, full_retained, full_inbound, full_sessions;
    uint64_t unsettled; /**< publishes whose completion is still to come */
};
void gw_hub_stats(const struct gw_hub *hub, struct gw_hub_stats *out);
