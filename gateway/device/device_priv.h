/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "device/device.h"
#include "loop/loop.h"

#define INDEX_HEIGHT 12 /* of a skip list with p = 1/4: 16 million records */

struct record {
    struct gw_device pub; /* first: a gw_device * is a record * */
    struct gw_list dirty;
    unsigned height;
    struct record *next[]; /* the next id on each level */
};

/* An id whose rows have to go; with `revoked` it is remembered as refused. */
struct gone {
    struct gw_list node;
    char id[GW_DEVICE_ID_MAX + 1];
    bool revoked;
};

/* Somebody who waits until a change is on disk. */
struct settler {
    struct gw_list node;
    gw_devices_settled *fn;
    void *owner;
};

/* An id that was revoked and forgotten. */
struct refused {
    char id[GW_DEVICE_ID_MAX + 1];
};

struct gw_devices {
    struct gw_loop *loop;
    struct gw_store *store;
    uint32_t max;
    uint64_t unrecorded;
    uint64_t random;
    size_t count[GW_DEVICE_REVOKED + 1];
    struct gw_map by_id, by_addr, refused;
    struct record *first[INDEX_HEIGHT];
    struct gw_list listeners;
    struct gw_list dirty, gone;
    struct gw_timer flush;
    struct batch *writing;   /* with the storage thread */
    struct gw_list settlers; /* who waits for what is not in a batch yet */
    bool closing;
};

static inline struct record *record_of(struct gw_device *d)
{
    return GW_CONTAINER(d, struct record, pub);
}

/* How soon a change is written. */
enum { SOON_MS = 1000, LATER_MS = 30000, NOW_MS = 0 };

/* device.c */
struct record *device_record_make(struct gw_devices *d, const char *id, enum gw_device_state state);
/* Out of every index, told to nobody, freed; its rows go with the next batch. */
void device_record_drop(struct gw_devices *d, struct record *r);
void device_record_tell(struct gw_devices *d, struct record *r, enum gw_device_change what,
                        const struct gw_hwaddr *addr, const struct gw_device *from);

/* addrs.c */
bool device_addr_bindable(const struct gw_hwaddr *a);
/* Bind `a` to `r`, taking it from whoever has it; NULL when memory is out. */
struct gw_device_addr *device_addr_bind(struct gw_devices *d, struct record *r,
                                        const struct gw_hwaddr *a, const char *ifname);
/* Bind without telling: from disk. */
struct gw_device_addr *device_addr_put(struct gw_devices *d, struct record *r,
                                       const struct gw_device_addr *from);

/* persist.c */
int device_persist_load(struct gw_devices *d);
void device_persist_mark(struct gw_devices *d, struct record *r, uint64_t within_ms);
void device_persist_gone(struct gw_devices *d, const char *id, bool revoked);
int device_refuse(struct gw_devices *d, const char *id);
void device_persist_init(struct gw_devices *d);
void device_persist_finish(struct gw_devices *d);
