/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the room's files share: the table of connected devices, each with its connections.
 */
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "loop/loop.h"
#include "peer/peer.h"

/** One device with at least one connection: the quota is the device's, however it connects. */
struct peer_device {
    struct gw_list peers; /* of struct gw_peer, by device_link */
    size_t count;
    uint64_t tokens;    /* thousandths of a publish */
    uint64_t filled_ms; /* when tokens was last brought up to date */
    uint64_t flood_ms;  /* the last strike for a flood */
    uint64_t touched_ms;
    char own_topics[GW_DEVICE_ID_MAX + 4]; /* "d/<id>/" */
    char id[GW_DEVICE_ID_MAX + 1];
};

struct gw_peers {
    struct gw_loop *loop;
    struct gw_peers_rooms rooms;
    struct gw_map devices;
    size_t count;
    uint64_t reached[GW_LIMIT_COUNT];
    struct gw_device_listener listener;
};

struct gw_peer {
    struct gw_peers *peers;
    struct peer_device *device;
    struct gw_list device_link;
    const struct gw_peer_ops *ops;
    void *owner;
    uint64_t publisher;
    bool closing; /* it was told to close */
};

/** Take one publish from the device's quota; false when there is none left. */
bool quota_take(struct gw_peers *peers, struct peer_device *d);
