/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The kernel programs loaded but attached nowhere, frames built layer by layer, and the programs'
 * judgement on them.
 */
#pragma once

#include "enforcer/verdict.h"

enum program { AT_XDP, AT_TC_IN, AT_TC_OUT };

/* Everybody in the tests has a MAC, an IPv4 and an IPv6 address. */
enum who { NOBODY, DEVICE, OTHER, GATEWAY, ALL };

extern const uint8_t mac_of_who[][6], ipv4_of_who[][4], ipv6_of_who[][16];

struct frame {
    uint8_t bytes[1600];
    size_t len;
    size_t ip_end; /* where the fixed network header, or ARP, ends */
};

/* Layers, appended in the order of the calls. */
void eth(struct frame *f, enum who from, enum who to, uint16_t type);
void tag(struct frame *f, uint16_t type); /* type of what follows */
void ipv4(struct frame *f, enum who from, enum who to, uint8_t protocol);
void ipv4_options(struct frame *f, enum who from, enum who to, uint8_t protocol);
void ipv4_fragment(struct frame *f, enum who from, enum who to, uint8_t protocol, uint16_t offset);
void ipv6(struct frame *f, enum who from, enum who to, uint8_t next);
void extension(struct frame *f, uint8_t next, uint8_t units);
void fragment(struct frame *f, uint8_t next, uint16_t offset);
void authentication(struct frame *f, uint8_t next, uint8_t words);
void ports(struct frame *f, uint16_t from, uint16_t to);
void arp(struct frame *f, uint16_t operation, enum who sender_mac, enum who sender_ip,
         enum who target_mac, enum who target_ip);
void discovery(struct frame *f, uint8_t type, enum who target, uint8_t option, enum who mac);
/* A message of neighbour discovery up to its options, which begin at `len`; and one option. */
void discovery_head(struct frame *f, uint8_t type, size_t len);
void link_option(struct frame *f, uint8_t option, enum who mac);
void filler(struct frame *f, size_t len);

/* Opens with few slots, unpinned; fails the test when this machine cannot (needs root). */
void harness_open(struct gw_kernel *k, uint32_t slots);

/* The verdict as the worker would give it; the result of gw_verdict_set. */
int judge(struct gw_kernel *k, const char *address, enum gw_verdict_mode mode);
int judge_address(struct gw_kernel *k, const struct gw_hwaddr *a, enum gw_verdict_mode mode);
struct gw_hwaddr address(const char *text);
/* GATEWAY's addresses are the gateway's own. */
void own_addresses(struct gw_kernel *k);
/* A slot for every address of somebody, as if heard. */
void known(struct gw_kernel *k, enum who who);
/* One address of it; 0 also when there is one already. GW_EFULL. */
int known_address(struct gw_kernel *k, const struct gw_hwaddr *a);

/* False for an IP packet cut inside its header, which the kernel does not run tc programs on. */
bool can_run(enum program where, const struct frame *f);
/* True when the frame comes through. */
bool passes(struct gw_kernel *k, enum program where, const struct frame *f);
/* ns per packet over `repeat` runs; -1 when the kernel refuses. */
double run_ns(int program_fd, const struct frame *f, uint32_t repeat, uint32_t *out_verdict);
int program_fd(const struct gw_kernel *k, enum program where);
