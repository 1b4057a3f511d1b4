/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * One connected device, over whatever protocol: the only door by which a protocol may publish or
 * subscribe. Quota, access, presence and strikes happen here and nowhere else. Loop thread only;
 * nothing of it survives a stop.
 */
#pragma once

#include "access/access.h"
#include "base/addr.h"
#include "config/config.h"
#include "device/device.h"
#include "hub/hub.h"
#include "presence/presence.h"
#include "quarantine/quarantine.h"

struct gw_peers;
struct gw_peer;

/** All borrowed, outliving the peers. */
struct gw_peers_rooms {
    const struct gw_config *config;
    struct gw_hub *hub;
    struct gw_access *access;
    struct gw_presence *presence;
    struct gw_quarantine *quarantine;
    struct gw_devices *devices;
    /** Find out the link address of a device that connected from `ip`; NULL: nobody can. */
    void (*resolve)(void *owner, const struct gw_hwaddr *ip);
    void *owner;
};

/** Also follows the registry: a revoked or forgotten device loses its sessions at once. */
int gw_peers_open(struct gw_loop *loop, const struct gw_peers_rooms *rooms,
                  struct gw_peers **out) GW_MUST_CHECK;
/** Every peer must be gone. */
void gw_peers_close(struct gw_peers **peers);
void gw_peers_reload(struct gw_peers *peers, const struct gw_config *config);

/** Connected devices' connections, of all or (not NULL) of one device. */
size_t gw_peers_count(const struct gw_peers *peers, const char *device);

/**
 * Close every connection of the device now: GW_EQUARANTINED, GW_EREVOKED, GW_EDENIED. The goodbye
 * is given to the kernel before this returns for the first two.
 */
void gw_peers_close_device(struct gw_peers *peers, const char *device, int err);
/** The same for `max` of them at most, for a caller who cannot wait for thousands. */
void gw_peers_close_some(struct gw_peers *peers, const char *device, int err, unsigned max);

/** The limits that a device can reach: the configuration's, and those that no key sets. */
#define GW_LIMITS(X)                                                                               \
    X(CONNECTIONS, "connections")     /* connections refused */                                    \
    X(MESSAGE_BYTES, "message_bytes") /* messages and packets refused */                           \
    X(PUBLISH_PER_S, "publish_per_s") /* publishes over it: lost at QoS 0, made to wait above */   \
    X(QUEUED_BYTES, "queued_bytes")   /* messages dropped for a session whose queue was full */    \
    X(SUBSCRIPTIONS,                                                                               \
      "subscriptions")          /* filters refused, for a session or a packet with too many */     \
    X(UNRELEASED, "unreleased") /* QoS 2 messages refused, for a session with too many */          \
    X(RETAINED, "retained")     /* messages not taken, for there is no room to retain them */      \
    X(SESSIONS, "sessions")     /* sessions ended before their time */                             \
    X(WILLS, "wills")           /* connections refused, wills published before their time */

enum gw_limit {
#define X(name, key) GW_LIMIT_##name,
    GW_LIMITS(X)
#undef X
        GW_LIMIT_COUNT
};

/** Its key below `limits` in the configuration, or its name. */
const char *gw_limit_text(enum gw_limit which);
/** One was reached, and somebody outside this room refused for it. */
void gw_peers_limit(struct gw_peers *peers, enum gw_limit which);

struct gw_peers_figures {
    uint64_t connections;
    struct gw_hub_stats hub;
    uint64_t reached[GW_LIMIT_COUNT]; /**< how often, since the start */
};
void gw_peers_figures(const struct gw_peers *peers, struct gw_peers_figures *out);

/** Broker figures as retained $SYS/… topics; main calls it every few seconds. */
void gw_peers_publish_figures(struct gw_peers *peers);

struct gw_peer_ops {
    /** gw_peer_publish said 0: now it is durable (0), or it is not. */
    void (*published)(void *owner, uint32_t token, int err);
    /** End the connection for this reason; gw_peer_gone may be called inside. */
    void (*close)(void *owner, int err);
};

/**
 * The device proved `device`, coming from `ip` (NULL: not by IP).
 * @return 0; GW_EQUARANTINED; GW_EREVOKED; GW_EFULL: limits.connections, or half of them by this
 *         one device; -ENOMEM.
 */
int gw_peer_new(struct gw_peers *peers, const char *device, const struct gw_hwaddr *ip,
                const struct gw_peer_ops *ops, void *owner, struct gw_peer **out) GW_MUST_CHECK;

/** The connection ended; presence is told. Completions that come later are dropped. */
void gw_peer_gone(struct gw_peer **peer, enum gw_cause cause);

uint64_t gw_peer_publisher(const struct gw_peer *peer); /**< for gw_hub_settle */

/** A sign of life: any complete packet. */
void gw_peer_touch(struct gw_peer *peer);

/** Count a failure of class PEER, or a refusal, against the device. */
void gw_peer_strike(struct gw_peer *peer, enum gw_strike kind);
/** The same for a device that proved its certificate and failed before it was a peer. */
void gw_peers_strike(struct gw_peers *peers, const char *device, enum gw_strike kind);

/**
 * Publish in the device's name. `from` is a template; device and time are filled in here.
 * The quota is the device's, over all its connections, with one second's worth in reserve. At
 * QoS 0 what comes over it is lost (a flood, once a second); at QoS 1 and 2 the caller waits.
 *
 * @return 1 done; 0 `published` will tell; GW_EQUOTA: over limits.publish_per_s, try again after
 *         gw_peer_quota_ms; GW_EDENIED; GW_ETOOBIG: over limits.message_bytes; GW_EMALFORMED: no
 *         topic name; GW_EUNSUPPORTED: one of too many levels; GW_ESPOOLFULL; GW_EFULL; -ENOMEM.
 *         Refusals are counted here, and a verdict may follow at once: after a negative result
 *         `close` may have been called.
 */
int gw_peer_publish(struct gw_peer *peer, const struct gw_msg *from, uint32_t token) GW_MUST_CHECK;

/** The same for QoS 2 from a session: gw_hub_publish_once. */
int gw_peer_publish_once(struct gw_peer *peer, struct gw_session *session, uint16_t id,
                         const struct gw_msg *from, uint32_t token) GW_MUST_CHECK;

/** How long until the quota admits one publish again; 0: now. */
uint32_t gw_peer_quota_ms(const struct gw_peer *peer);

/**
 * The same for a device that is no longer connected: its will. No quota.
 * @param publisher  of the hub, told with `token` when the result is 0.
 * @return 1 done; 0 the publisher is told later; GW_EDENIED, ….
 */
int gw_peers_publish_will(struct gw_peers *peers, const char *device, const struct gw_msg *from,
                          uint64_t publisher, uint32_t token) GW_MUST_CHECK;

/** GW_EDENIED; GW_EMALFORMED; GW_EPROTOCOL: a share with "no local"; GW_EFULL; -ENOMEM. */
int gw_peer_subscribe(struct gw_peer *peer, struct gw_session *session, struct gw_slice filter,
                      const struct gw_subscription *sub) GW_MUST_CHECK;
