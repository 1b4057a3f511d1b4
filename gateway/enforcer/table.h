/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The tables shared with the kernel programs, as memory: who has which slot, the index over the
 * slots, verdicts and counters. No system call here. The enforcer writes, and the programs read
 * meanwhile: so the order of stores matters; the worker only reads.
 */
#pragma once

#include "cordon_map.h"
#include "enforcer/enforcer.h"

#define GW_SLOT_NONE CORDON_NO_OWNER

struct gw_table {
    struct cordon_state *state;
    struct cordon_slot *slots;
    struct cordon_bucket *buckets;
    struct cordon_filter *filters;
    struct cordon_counter *counters;
    struct cordon_port *ports;
    int64_t *ends; /**< of verdicts, wall clock; the enforcer's alone, as are the rest: */
    struct cordon_policy *policies;
    struct cordon_meter *meters;
    uint32_t
        *unused; /**< ring of free slots, oldest first: a freed one rests before it is reused */
    uint32_t unused_at, unused_count;
    uint32_t hand; /**< where the search for an idle slot goes on */
};

/**
 * True when consecutive addresses of every family, and networks of them, find room in tables of
 * this size with these factors of the hash; few do not.
 */
bool gw_table_spreads(const uint64_t factor[2], uint32_t buckets);

/** Find the free slots; the pointers are set. -ENOMEM. */
int gw_table_init(struct gw_table *t) GW_MUST_CHECK;
void gw_table_fini(struct gw_table *t);

/** The slot of an address or prefix, or GW_SLOT_NONE. Also over read-only memory. */
uint32_t gw_table_find(const struct gw_table *t, const struct gw_hwaddr *a);

/** The slot of the MAC that last used the network address in slot `ip`, or GW_SLOT_NONE. */
uint32_t gw_table_owner(const struct gw_table *t, uint32_t ip);

/** Of more than one host. */
bool gw_table_is_prefix(const struct cordon_slot *slot);
struct gw_hwaddr gw_table_address(const struct cordon_slot *slot);
/** The six bytes of a slot or sighting of CORDON_MAC. */
void gw_table_mac(uint64_t a, uint8_t out[6]);
/** The two words of an address, as the programs key it. */
void gw_table_words(const struct gw_hwaddr *a, uint64_t *out_a, uint64_t *out_b);
/** An address or prefix from the words of a slot. */
struct gw_hwaddr gw_table_from_words(uint64_t a, uint64_t b, uint32_t kind, uint32_t prefix_len);
/** An address from the words of an event. */
struct gw_hwaddr gw_table_ip(uint64_t a, uint64_t b, uint32_t kind);

/**
 * A slot for an address that has none. Heard ones share three quarters of the slots, the rest is
 * kept for verdicts; idle ones without a verdict make room for new ones. GW_EFULL.
 */
int gw_table_add(struct gw_table *t, const struct gw_hwaddr *a, bool for_verdict, uint64_t mono_ns,
                 uint32_t *out) GW_MUST_CHECK;
void gw_table_remove(struct gw_table *t, uint32_t slot);

/** One store that the programs see at once. `until_boot_ns` 0: no end. */
void gw_table_judge(struct gw_table *t, uint32_t slot, enum gw_verdict_mode mode,
                    uint64_t until_boot_ns);
/** Set or clear flags of the slot. */
void gw_table_flag(struct gw_table *t, uint32_t slot, uint16_t flags, bool set);
/** Somebody's verdict, as against lan.new_devices'. */
bool gw_table_has_verdict(const struct cordon_slot *slot);
/** The worker decided something about the address: verdict, policy or owner. */
bool gw_table_judged(const struct cordon_slot *slot);
/** It did, or the test, or the address is one of the site's own: the slot is not another's for the
 * asking. */
bool gw_table_is_kept(const struct cordon_slot *slot);
/** The mode in a slot, also when its time has passed. */
enum gw_verdict_mode gw_table_mode(const struct cordon_slot *slot);

/** The sum over the CPUs. */
void gw_table_traffic(const struct gw_table *t, uint32_t slot, struct gw_traffic *out);
/** What was dropped on a LAN port. */
void gw_table_port(const struct gw_table *t, uint32_t ifindex, struct gw_traffic *out);
/** Start counting for a port; its place may have been another's. */
void gw_table_port_claim(struct gw_table *t, uint32_t ifindex);
