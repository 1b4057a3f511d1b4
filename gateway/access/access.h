/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Grants → may this device say or hear this topic, now? Deny by default; a device's own topics
 * (access.own_topics), grants by class from the configuration, grants by device from the registry's
 * database. A change counts from the very next packet; it is on disk with the next store batch.
 * A forgotten device's grants go with it. Loop thread only.
 */
#pragma once

#include "config/config.h"
#include "device/device.h"

#define GW_GRANTS_PER_DEVICE_MAX 256

struct gw_grant {
    char *topic;          /**< a filter; %d stands for the device id */
    unsigned permissions; /**< of enum gw_permission */
    int64_t until_ms;     /**< wall clock; 0: until taken back */
};

struct gw_access;
/** `config` is borrowed and may be swapped later by gw_access_reload. GW_ESTORE, -ENOMEM. */
int gw_access_open(const struct gw_config *config, struct gw_store *store,
                   struct gw_devices *devices, struct gw_access **out) GW_MUST_CHECK;
/** Before the registry is closed. */
void gw_access_close(struct gw_access **a);
void gw_access_reload(struct gw_access *a, const struct gw_config *config);

/**
 * Publish to, or be delivered, this very topic. False for every device that is not approved, and
 * for publishing below `$…`, which is the gateway's own. Cost: the grants of the device, of its
 * class and of every device; nobody else's.
 */
bool gw_access_may(struct gw_access *a, const char *device, enum gw_permission p,
                   struct gw_slice topic);
/**
 * Subscribe: true when at least one topic that the filter can match may be heard. `$share/<name>/`
 * in front is left out of it. False for an invalid filter.
 */
bool gw_access_may_subscribe(struct gw_access *a, const char *device, struct gw_slice filter);

/** The device's own grants (without class and own topics), borrowed until the next change. */
size_t gw_access_grants(const struct gw_access *a, const char *device, const struct gw_grant **out);
/** 0: the change is on disk; GW_ESTORE: it is not, and holds until the next start only. */
typedef void gw_access_stored(void *owner, int err);
/**
 * Replace them all; those that ended already are left out. `fn` (NULL: nobody) is told once, from
 * the loop. GW_ENOTFOUND: no such device. GW_EMALFORMED for a filter or no permission, GW_EFULL
 * over GW_GRANTS_PER_DEVICE_MAX.
 */
int gw_access_set_grants(struct gw_access *a, const char *device, const struct gw_grant *grants,
                         size_t count, gw_access_stored *fn, void *owner) GW_MUST_CHECK;
