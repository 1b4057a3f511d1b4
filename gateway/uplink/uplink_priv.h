/* SPDX-License-Identifier: GPL-2.0-only */
/** @file Inside room uplink: what is sealed and spooled (uplink.c), and what is on its way
 * (link.c). */
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "client/client.h"
#include "envelope/envelope.h"
#include "spool/spool.h"
#include "uplink/uplink.h"

#define UPLINK_DEVICE_MAX 64
_Static_assert(GW_UPLINK_LABEL_MAX <= GW_SPOOL_LABEL_MAX, "the spool keeps them");

enum flight_kind {
    FLIGHT_STATUS,  /* ours, not the spool's */
    FLIGHT_MESSAGE, /* a record of the spool */
    FLIGHT_KEY,     /* another one, under the sequence of the message before it */
    FLIGHT_DROPPED, /* a record that the broker can never take */
};

/** A packet that waits for its PUBACK. */
struct flight {
    uint64_t sequence;
    enum flight_kind kind;
    bool acked;
};

/** The newest status of one device, waiting to be sent. */
struct status {
    struct gw_list node;
    char device[UPLINK_DEVICE_MAX + 1];
    struct gw_buf json;
};

/** The way out. It holds nothing that the spool or the owner's resync could not bring again. */
struct link {
    struct gw_client *client; /* NULL: no broker is configured */
    struct gw_key *key;       /* of our certificate, or NULL */
    struct gw_task pump;
    struct gw_timer stall;  /* armed while something is on its way */
    struct gw_timer gather; /* armed while acknowledgements are left in the kernel */
    uint32_t stall_ms;      /* tests shorten it */
    struct gw_client_limits limits;
    /* Flight n has packet identifier n mod 65535 + 1 and lies in flights[n & mask]. */
    struct flight *flights;
    uint64_t first, next;
    uint32_t window, mask;
    uint64_t acked_to; /* every spooled record up to here was acknowledged */
    uint64_t sent_to;  /* the highest sequence ever sent: what comes again is a duplicate */
    bool dirty;        /* acked_to moved and the spool was not told */
    bool online_due;   /* P/status has to be sent */
    bool refusal;      /* the broker does not want a message now */
    struct gw_list statuses;
    struct gw_map by_device;
    struct gw_buf batch; /* packets on their way to the stream */
    struct gw_buf topic; /* begins with P/ */
    size_t base;         /* length of P/ */
    bool told_down;      /* the present outage was told */
    uint64_t acknowledged, refused;
};

struct gw_uplink {
    struct gw_loop *loop;
    const struct gw_config *config;
    struct gw_uplink_ops ops;
    void *owner;
    char *gateway_id;
    const struct gw_key *key;
    struct gw_buf cert;
    struct gw_spool *spool;
    struct gw_key *recipients[GW_RECIPIENTS_MAX];
    size_t recipient_count;
    struct gw_epoch *epoch; /* NULL: begins with the next message */
    uint64_t epoch_began_ms;
    struct gw_buf tickets; /* struct ticket, oldest first: appended and not durable */
    struct gw_buf labels;  /* struct ticket, oldest first: labelled and not settled */
    uint64_t left_to;      /* sequence of the last message of earlier runs */
    struct gw_buf sealed;  /* one sealed message, or one announcement */
    bool spool_full;
    uint64_t dropped; /* records that no broker could ever take */
    struct link link;
};

void uplink_tell(struct gw_uplink *u, const char *kind, const char *fmt, ...) GW_PRINTF(3, 4);

/** (Re)build the connection from u->config. */
int link_start(struct gw_uplink *u) GW_MUST_CHECK;
void link_stop(struct gw_uplink *u);
/** There may be something to send: look at the turn's end. */
void link_wake(struct gw_uplink *u);
void link_presence(struct gw_uplink *u, const char *device, struct gw_slice json);
uint64_t link_in_flight(const struct gw_uplink *u);
