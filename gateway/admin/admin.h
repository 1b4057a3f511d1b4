/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * REST, live events, metrics, login and the page, as INTERFACE's "Admin API" has them: over HTTPS
 * with a session or an API key, over the Unix socket by the socket's own permissions. Passwords and
 * keys are stored hashed; sessions end with the process. Loop thread only.
 */
#pragma once

#include "access/access.h"
#include "config/config.h"
#include "device/device.h"
#include "enforcer/enforcer.h"
#include "enroll/enroll.h"
#include "http/http.h"
#include "journal/journal.h"
#include "presence/presence.h"
#include "profile/profile.h"
#include "quarantine/quarantine.h"

/** What the admin part sees of the uplink, a room of its own floor: filled in by main. */
struct gw_admin_uplink {
    const char *state, *broker, *last_error;
    uint64_t spooled_messages, spooled_bytes, in_flight, acknowledged;
};

/** One limit, and how often it was reached since the start. */
struct gw_admin_limit {
    const char *name;
    uint64_t max, reached;
};

/** What it sees of the broker; likewise. */
struct gw_admin_broker {
    uint64_t connections, sessions, subscriptions, retained, queued, queued_bytes;
    uint64_t received, sent; /**< messages since the start */
    /** Deliveries that did not happen, since the start, by what kept them. */
    struct {
        uint64_t qos0, full, expired, denied, too_big;
    } dropped;
    struct gw_admin_limit limits[16]; /**< up to the first without a name */
};

/** Everything is borrowed and outlives the admin part. */
struct gw_admin_rooms {
    const struct gw_config *config;
    struct gw_store *store;
    struct gw_journal *journal;
    struct gw_devices *devices;
    struct gw_access *access;
    struct gw_presence *presence;
    struct gw_profiles *profiles;
    struct gw_quarantine *quarantine;
    struct gw_enroll *enroll;
    struct gw_enforcer *enforcer;
    const struct gw_pki *pki;
    const char *gateway_id;
    void (*uplink)(void *owner, struct gw_admin_uplink *out);
    void (*broker)(void *owner, struct gw_admin_broker *out);
    void *owner;
};

struct gw_admin;
/** Loads users and keys, before the loop runs. -ENOMEM, GW_ESTORE, GW_ECRYPTO. */
int gw_admin_new(struct gw_loop *loop, const struct gw_admin_rooms *rooms,
                 struct gw_admin **out) GW_MUST_CHECK;
/** Ends every connection. What still waits in the store or in quarantine finds nobody and ends. */
void gw_admin_free(struct gw_admin **a);
/** The enforcer's answer to a test that was asked for here. Everybody who waits for it gets it. */
void gw_admin_tested(struct gw_admin *a, const struct gw_selftest *t);
void gw_admin_reload(struct gw_admin *a, const struct gw_config *config);

/**
 * Serve a READY stream: one of TLS has to log in, one of a Unix socket is an admin, because the
 * socket's mode lets nobody else connect. Takes the stream, also on failure: GW_EFULL, -ENOMEM.
 */
int gw_admin_serve(struct gw_admin *a, struct gw_stream *stream) GW_MUST_CHECK;
