/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * DEVICE with a policy, and what it says to others.
 */
#pragma once

#include "enforcer/policy.h"
#include "harness.h"

enum { ETH_IP = 0x800, ETH_ARP = 0x806, ETH_IP6 = 0x86dd, EAPOL = 0x888e, LLDP = 0x88cc };
enum { ICMP = 1, IGMP = 2, TCP = 6, UDP = 17, GRE = 47, ICMP6 = 58 };
enum { SYN = 2, ACK = 0x10, SYN_ACK = 0x12 };

#define ANY 0, 65535
#define ENFORCE GW_POLICY_ENFORCE
#define FROM GW_FROM_DEVICE
#define TO GW_TO_DEVICE
#define IN AT_XDP
#define OUT AT_TC_OUT
#define HERE "198.51.100.7" /* of somebody */
#define HERE6 "2a00::7"

/* Of DEVICE and another, as the device sees it. */
struct packet {
    enum program at;
    const char *peer;
    uint8_t protocol;
    uint16_t own, other; /* ports; of ICMP: its type in `own` */
    uint8_t flags;       /* of TCP */
};

extern struct gw_kernel k;

/* 192.0.2.0/24 and 2001:db8::/64 are local. */
void policies_setup(void);
void policies_teardown(void);

/* `later`: where in its packet a later fragment begins, in units of 8 bytes; 0: it is none. */
void network(struct frame *f, const struct packet *p, uint16_t later);
void transport(struct frame *f, const struct packet *p);
struct frame frame_of(const struct packet *p);
bool passes_as(const struct packet *p);
/* So often, and it passes each time. */
void repeat(const struct packet *p, unsigned times);
/* At both places where it could be caught on its way from the device. */
void expect_passes(const struct packet *p, bool wanted, const char *name);

void give(const struct gw_hwaddr *a, uint16_t number, enum gw_verdict_mode mode);
/* By its link address. */
void give_device(uint16_t number, enum gw_verdict_mode mode);
void set(const struct gw_policy *p);
/* Nothing passes but what always does. */
struct gw_policy closed(uint16_t number);
void add_rule(struct gw_policy *p, uint8_t direction, uint8_t protocol, uint16_t peer_min,
              uint16_t peer_max);
/* Packets, both ways. */
uint64_t dropped(const struct gw_hwaddr *a);
