/* SPDX-License-Identifier: GPL-2.0-only */
/* The rooms below presence and quarantine, on a database of their own, for tests of those above. */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "fake_clock.h"

#include "config/config.h"
#include "device/device.h"
#ifndef SITE_WITHOUT_JOURNAL /* for a room that does not need it */
#include "journal/journal.h"
#endif

static struct {
    char dir[64];
    struct gw_loop *loop;
    struct gw_store *store;
#ifndef SITE_WITHOUT_JOURNAL
    struct gw_journal *journal;
#endif
    struct gw_devices *devices;
    struct gw_config *config;
} site;

static inline void site_rise(void)
{
    cr_assert_eq(gw_loop_new(&site.loop), 0);
    cr_assert_eq(gw_store_open(site.loop, site.dir, &site.store), 0);
#ifndef SITE_WITHOUT_JOURNAL
    cr_assert_eq(gw_journal_open(site.loop, site.store, 10000, &site.journal), 0);
#endif
    cr_assert_eq(gw_devices_open(site.loop, site.store, 1000, &site.devices), 0);
}

static inline void site_fall(void)
{
    gw_devices_close(&site.devices);
#ifndef SITE_WITHOUT_JOURNAL
    gw_journal_close(&site.journal);
#endif
    gw_store_close(&site.store);
    gw_loop_free(&site.loop);
}

static inline void site_open(void)
{
    (void)strcpy(site.dir, "/tmp/cordon-site-XXXXXX");
    cr_assert_not_null(mkdtemp(site.dir));
    cr_assert_eq(gw_config_defaults(&site.config), 0);
    site_rise();
}

static inline void site_close(void)
{
    char command[96];

    site_fall();
    gw_config_free(&site.config);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", site.dir);
    cr_assert_eq(system(command), 0);
}

/* What was submitted is on disk, and its completions were delivered. */
static inline void site_settle(void)
{
    gw_store_flush(site.store);
    cr_assert_eq(gw_loop_turn(site.loop, 0), 0);
}

static inline void mac_of(unsigned n, uint8_t mac[6])
{
    const uint8_t bytes[6] = {2, 0, 0, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    memcpy(mac, bytes, 6);
}

static inline struct gw_hwaddr addr_of(const char *text)
{
    struct gw_hwaddr a = {0};

    cr_assert_eq(gw_hwaddr_parse(text, &a), 0, "%s", text);
    return a;
}

static inline const struct gw_hwaddr *ip_of(const char *text)
{
    static struct gw_hwaddr slots[8];
    static unsigned next;
    struct gw_hwaddr *slot = &slots[next++ % 8];

    *slot = addr_of(text);
    return slot;
}

/* 02:00:00:00:00:<n> was heard, with an address or without. */
static inline struct gw_device *heard(unsigned n, const char *ip, const char *ifname)
{
    uint8_t mac[6];

    mac_of(n, mac);
    return gw_devices_sighting(site.devices, mac, ip ? ip_of(ip) : NULL, ifname);
}

static inline struct gw_device *proved(const char *id, const char *ip, unsigned n)
{
    struct gw_device *d = NULL;
    uint8_t mac[6];

    mac_of(n, mac);
    cr_assert_eq(gw_devices_prove(site.devices, id, ip ? ip_of(ip) : NULL, n ? mac : NULL, &d), 0);
    return d;
}
