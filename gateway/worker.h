/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The worker: everything that touches untrusted bytes, without a privilege. worker.c builds the
 * rooms and tears them down, wiring.c holds what one room tells another, arrival.c and upgrade.c
 * bring new connections to the protocol that serves them. One thread.
 */
#pragma once

#include "access/access.h"
#include "admin/admin.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "device/device.h"
#include "enforcer/enforcer.h"
#include "enroll/enroll.h"
#include "http/http.h"
#include "hub/hub.h"
#include "journal/journal.h"
#include "mqtt/mqtt.h"
#include "peer/peer.h"
#include "presence/presence.h"
#include "profile/profile.h"
#include "quarantine/quarantine.h"
#include "tls/tls.h"
#include "uplink/uplink.h"

struct worker;

/** One kind of entrance: its sockets, its TLS, and who serves what comes in. */
struct entrance {
    struct worker *worker;
    const char *name; /**< for the log: "mqtt", "https", "admin", "socket" */
    enum gw_tls_client_auth auth;
    bool plain; /**< a Unix socket: no TLS */
    /** Takes a stream that is READY, also on failure. */
    int (*serve)(struct worker *w, struct gw_stream *stream);
    /** Judges a proved certificate inside the handshake. */
    int (*admit)(void *owner, const struct gw_identity *id);
    int fds[GW_CONFIG_LIST_MAX];
    size_t fd_count;
    struct gw_listener *listeners[GW_CONFIG_LIST_MAX];
    struct gw_tls_server *tls;
    struct gw_list arrivals; /**< streams that are not READY yet */
    size_t arrival_count;
    struct gw_log_limit refusals;
};

enum { ENTRANCE_MQTT, ENTRANCE_HTTPS, ENTRANCE_ADMIN, ENTRANCE_SOCKET, ENTRANCES };

struct worker {
    struct gw_loop *loop;
    struct gw_config *config;
    struct gw_store *store;
    struct gw_journal *journal;
    struct gw_devices *devices;
    struct gw_access *access;
    struct gw_presence *presence;
    struct gw_profiles *profiles;
    struct gw_quarantine *quarantine;
    struct gw_hub *hub;
    struct gw_peers *peers;
    struct gw_mqtt_server *mqtt;
    struct gw_pki *pki;
    struct gw_enroll *enroll;
    struct gw_http *device_http; /**< EST and the way into WebSocket */
    struct gw_uplink *uplink;
    struct gw_admin *admin;
    struct gw_enforcer *enforcer;
    struct entrance entrances[ENTRANCES];
    struct gw_journal_listener on_event;
    struct gw_timer pki_timer;     /**< certificate and addresses: still right? */
    struct gw_timer figures_timer; /**< $SYS topics */
};

/** Serve the enforcer at the other end of `fd` until it says stop; the exit status. */
int gw_worker_run(int fd);

/** A bundle from SIGHUP, or why there is none; a bad one changes nothing. */
void worker_reload(struct worker *w, struct gw_slice bundle, const char *error);

/* ---- arrival.c ---- */

/** Bind every address of the list; -errno, said in the log. Needs privileges below port 1024. */
int entrance_bind(struct entrance *e, const struct gw_listen_list *list) GW_MUST_CHECK;
int entrance_bind_unix(struct entrance *e, const char *path, gid_t gid) GW_MUST_CHECK;
/** (Re)build the entrance's TLS from the present certificate and configuration. */
int entrance_secure(struct entrance *e) GW_MUST_CHECK;
/** Begin to accept. */
int entrance_open(struct entrance *e) GW_MUST_CHECK;
/** Listen where `now` says instead of where `old` said; whoever is connected stays. */
int entrance_move(struct entrance *e, const struct gw_listen_list *old,
                  const struct gw_listen_list *now) GW_MUST_CHECK;
/** Stop accepting; what has not arrived yet is dropped. */
void entrance_close(struct entrance *e);

/** What a device's stream may queue and leave unread. */
struct gw_stream_limits worker_stream_limits(const struct worker *w);

/* ---- upgrade.c ---- */

/** `/mqtt` on the device port; the owner is the worker. */
extern const struct gw_http_route upgrade_routes[];

/* ---- wiring.c ---- */

extern const struct gw_hub_ops wiring_hub;
extern const struct gw_uplink_ops wiring_uplink;
extern const struct gw_enforcer_ops wiring_enforcer;

struct gw_peers_rooms wiring_peers(struct worker *w);
struct gw_presence_ops wiring_presence(struct worker *w);
struct gw_profiles_ops wiring_profiles(struct worker *w);
struct gw_quarantine_ops wiring_quarantine(struct worker *w);
struct gw_admin_rooms wiring_admin(struct worker *w);
/** A pairing code did not fit: a failed authentication of the device that has the address. */
void wiring_wrong_code(void *owner, const struct gw_hwaddr *from);
/** Listen to the journal. */
void wiring_listen(struct worker *w);
void wiring_unlisten(struct worker *w);

int wiring_admit_mqtt(void *owner, const struct gw_identity *id);
int wiring_admit_https(void *owner, const struct gw_identity *id);
int wiring_serve_mqtt(struct worker *w, struct gw_stream *stream);
int wiring_serve_https(struct worker *w, struct gw_stream *stream);
int wiring_serve_admin(struct worker *w, struct gw_stream *stream);
