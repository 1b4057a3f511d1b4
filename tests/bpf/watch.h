/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the programs told while frames went through them.
 */
#pragma once

#include "harness.h"

#define KIND(name) (1U << GW_WIRE_##name)

extern struct gw_kernel k; /* opened by watch_setup() */
extern struct gw_config *config;

/* DEVICE is known, GATEWAY is the gateway, limits are the defaults. */
void watch_setup(void);
void watch_teardown(void);

/* As if nobody had been heard, and nothing told, for long. */
void forget(void);
size_t sightings(void);
/* How often, and the last one of them. */
size_t told(enum gw_wire_kind kind, const struct cordon_event **out_last);
/* Scans of hosts by one MAC. */
size_t hosts_told(const struct gw_hwaddr *by);
/* Each of these once, and no others. */
void expect_kinds(const char *name, unsigned kinds);
/* The same frame three times in one window, after forget(). */
void send_again_and_again(const char *name, enum program at, const struct frame *f, bool drops);

struct gw_hwaddr mac_numbered(uint32_t i);
struct gw_hwaddr ipv4_numbered(uint32_t i);
/* Fails the test when there is none. */
struct cordon_slot *slot_of(const struct gw_hwaddr *a);
struct cordon_slot *mac_slot(enum who who);
void set_sender(struct frame *f, const struct gw_hwaddr *mac);
void set_source4(struct frame *f, const struct gw_hwaddr *ip);
