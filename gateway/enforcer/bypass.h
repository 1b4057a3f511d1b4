/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What an interface is, beyond what netlink tells: is there a way for frames around the programs on
 * it? From sysfs and the driver. Inside room enforcer; any thread.
 */
#pragma once

#include "enforcer/enforcer.h"

#define GW_SWITCH_ID 64 /**< hex digits of 32 bytes, the kernel's longest; with no final zero */

struct gw_bypass_facts {
    bool wifi;
    bool conduit;                     /**< the port by which the ports of a switch reach the CPU */
    char switch_id[GW_SWITCH_ID + 1]; /**< of the switch chip that it is a port of; "": none */
    bool offloads;                    /**< the driver takes flows into its hardware */
    bool virtual;                     /**< a veth: segments pass it whole unless XDP is native */
};

/** The first three, from `root`/class/net/`name`: "/sys", or a made-up tree in a test. */
void gw_bypass_read(const char *root, const char *name, struct gw_bypass_facts *out);
/** The others, from the driver. */
void gw_bypass_ask(const char *name, struct gw_bypass_facts *out);

/** What else there is to know about a port. */
struct gw_bypass_port {
    const struct gw_bypass_facts *facts;
    enum gw_ingress ingress;
    uint32_t devices; /**< that were heard on it lately */
    bool siblings;    /**< another port of its bridge is of the same switch chip */
    bool before;      /**< another program runs before ours */
};

/** Bits of enum gw_bypass. */
uint32_t gw_bypass_of(const struct gw_bypass_port *p);
