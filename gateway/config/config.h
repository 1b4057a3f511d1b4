/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The configuration as one checked, plain struct; libconfig appears only in this room. Built whole
 * or not at all; a reload builds a second one and swaps it between loop turns. Loop thread (and the
 * enforcer, which reads files with privileges and hands them to the worker as one bundle).
 */
#pragma once

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/bytes.h"

#define GW_CONFIG_PATH "/etc/cordon/cordon.conf"
#define GW_CONFIG_LIST_MAX 32 /**< interfaces, listen addresses, brokers, recipients */
#define GW_CONFIG_GRANTS_MAX 1024
#define GW_CONFIG_RULES_MAX 64
#define GW_CONFIG_ADDRESSES_MIN 256
#define GW_CONFIG_ADDRESSES_MAX 524288
#define GW_CONFIG_FILE_MAX                                                                         \
    (1u << 20) /**< bytes of the configuration, and of each file it names                          \
                */

enum gw_new_devices { GW_NEW_OBSERVE, GW_NEW_ISOLATE };
enum gw_spool_full { GW_SPOOL_REFUSE, GW_SPOOL_DROP_QOS0 };
/** isolation.ingress: the best mode that a port has, or this one alone. */
enum gw_ingress_choice {
    GW_CHOOSE_AUTO,
    GW_CHOOSE_NATIVE,
    GW_CHOOSE_GENERIC,
    GW_CHOOSE_TC,
};

enum gw_permission { GW_PERM_PUB = 1, GW_PERM_SUB = 2 };

struct gw_listen_addr {
    struct sockaddr_storage addr; /**< AF_INET or AF_INET6 */
    socklen_t len;
};

struct gw_listen_list {
    struct gw_listen_addr at[GW_CONFIG_LIST_MAX];
    size_t count;
};

/** Where `at` is in the list; `count` when it is not. */
size_t gw_config_listens(const struct gw_listen_list *list, const struct gw_listen_addr *at);

struct gw_config_grant {
    char *class;          /**< "" : every device */
    char *topic;          /**< a valid filter; %d stands for the device id */
    unsigned permissions; /**< of enum gw_permission */
};

struct gw_broker {
    char *url;  /**< as configured */
    char *host; /**< a name or an address, no brackets */
    uint16_t port;
};

/** A file named by a key, read with privileges. */
struct gw_blob {
    char *path;    /**< "" : not configured */
    unsigned line; /**< where the configuration names it; 0: nowhere, it is a default */
    struct gw_buf data;
};

/**
 * X(kind, name, what is counted): everything bad that a device may do, as rules and alerts name it.
 * The WIRE ones are the enforcer's GW_WIRE_KINDS, in its order and with its names.
 */
#define GW_STRIKES(X)                                                                              \
    X(MALFORMED, "malformed", "malformed packets")                                                 \
    X(AUTH, "auth", "failed authentications")                                                      \
    X(DENIED, "denied", "refused publishes")                                                       \
    X(FLOOD, "flood", "floods")                                                                    \
    X(HANDSHAKE, "handshake", "failed handshakes")                                                 \
    X(WIRE_HOSTS, "scan-hosts", "addresses")                                                       \
    X(WIRE_PORTS, "scan-ports", "ports")                                                           \
    X(WIRE_NEIGHBOURS, "lateral", "devices")                                                       \
    X(WIRE_FLOOD, "packet-flood", "packets")                                                       \
    X(WIRE_FORGED, "forged-address", "packets")                                                    \
    X(WIRE_SPOOFED, "spoofed-neighbour", "packets")                                                \
    X(WIRE_MOVES, "mac-flapping", "moves")                                                         \
    X(WIRE_DHCP, "rogue-dhcp", "packets")                                                          \
    X(WIRE_ROUTER, "rogue-router", "packets")                                                      \
    X(WIRE_DEPARTURE, "departure", "packets")
enum gw_strike {
#define X(kind, name, counted) GW_STRIKE_##kind,
    GW_STRIKES(X)
#undef X
        GW_STRIKE_COUNT
};

/** "malformed" and so on. */
const char *gw_strike_name(enum gw_strike s);
/** What is counted: "malformed packets" and so on. */
const char *gw_strike_counted(enum gw_strike s);

/** quarantine.rules: so many strikes of one kind within a window make a verdict. */
struct gw_config_rule {
    enum gw_strike strike;
    char *mode; /**< "isolate", "remediate", "observe" */
    uint32_t count, window_s;
    uint32_t for_s; /**< the verdict's length; 0: until released */
    bool dry_run;   /**< only say what would have been done */
};

struct gw_config {
    struct {
        char *name, *state_dir, *run_dir, *user;
    } gateway;
    struct {
        char *interfaces[GW_CONFIG_LIST_MAX]; /**< "auto", or names */
        size_t interface_count;
        enum gw_new_devices new_devices;
    } lan;
    struct {
        struct gw_listen_list mqtt, https, coap;
    } listen;
    struct {
        struct gw_listen_list https;
        bool metrics;
    } admin;
    struct {
        uint32_t window_s, certificate_days, grace_days;
        char *manufacturers_dir;
        struct gw_blob manufacturers[GW_CONFIG_LIST_MAX]; /**< the PEM files found in it */
        size_t manufacturer_count;
    } enroll;
    struct {
        bool own_topics;
        struct gw_config_grant *grants;
        size_t grant_count;
    } access;
    struct {
        uint32_t timeout_s, misses, outage_window_s, announce_max, interval_s;
        double outage_share;
    } presence;
    struct {
        bool auto_verdicts;
        struct gw_config_rule *rules;
        size_t rule_count;
        /** Never cut off: hosts or networks, and devices by their id ("device:ID"). */
        struct gw_hwaddr protected_addrs[GW_CONFIG_LIST_MAX];
        size_t protected_count;
        char *protected_devices[GW_CONFIG_LIST_MAX];
        size_t protected_device_count;
    } quarantine;
    /** What makes an event of enum gw_wire_kind: so many within the window. 0: never. */
    struct {
        uint32_t window_s;
        uint32_t hosts, ports, neighbours; /**< that one device opens conversations to */
        uint32_t packets_per_s;            /**< from one device */
        uint32_t moves;                    /**< of one MAC from port to port */
    } detect;
    struct {
        uint32_t addresses; /**< that the kernel's tables hold; 0: by the machine's memory */
        enum gw_ingress_choice ingress;
        bool bind; /**< an approved device's IP addresses may be used by nobody else */
        struct gw_hwaddr servers[GW_CONFIG_LIST_MAX]; /**< hosts that may answer DHCP and route */
        size_t server_count;
    } isolation;
    struct {
        struct gw_broker brokers[GW_CONFIG_LIST_MAX];
        size_t broker_count;
        char *prefix, *username;
        struct gw_blob ca, cert, key, password;
        struct gw_blob recipients[GW_CONFIG_LIST_MAX];
        size_t recipient_count;
        uint64_t epoch_messages, spool_max_bytes;
        uint32_t epoch_s, window;
        enum gw_spool_full spool_full;
    } uplink;
    struct {
        char *device; /**< "software" */
    } crypto;
    struct {
        uint32_t connections, message_bytes, publish_per_s;
        uint64_t queued_bytes;
        uint32_t keep_alive_s; /**< the longest that MQTT 5 gets; 0: whatever is asked for */
    } limits;
};

#define GW_CONFIG_ERROR_MAX 512

/** What is wrong, ready to print: "FILE:LINE: key: found …; allowed: …". */
struct gw_config_error {
    char text[GW_CONFIG_ERROR_MAX];
};

/**
 * Read `path` and every file that it names, with the caller's privileges. A missing file at
 * GW_CONFIG_PATH means all defaults; a missing file anywhere else is an error.
 * @return 0; GW_ECONFIG with `*error` filled; -ENOMEM. `*out` is the caller's: gw_config_free.
 */
int gw_config_load(const char *path, struct gw_config **out,
                   struct gw_config_error *error) GW_MUST_CHECK;

/** Everything gw_config_load read, as one bundle appended to `out`, for gw_config_unbundle. */
int gw_config_bundle(const char *path, struct gw_buf *out,
                     struct gw_config_error *error) GW_MUST_CHECK;

/** Build the configuration from a bundle, opening no file. Errors as gw_config_load. */
int gw_config_unbundle(struct gw_slice bundle, struct gw_config **out,
                       struct gw_config_error *error) GW_MUST_CHECK;

/** All defaults, as an absent file gives them. -ENOMEM. */
int gw_config_defaults(struct gw_config **out) GW_MUST_CHECK;

void gw_config_free(struct gw_config **config);
