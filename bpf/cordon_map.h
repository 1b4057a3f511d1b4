/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the kernel programs and the daemon share. An address (MAC, IPv4, IPv6 or a prefix) owns one
 * slot; the slots are the authority, everything else finds them. The daemon writes slots and index
 * through memory maps; the programs only write last-seen, owner and counters. All fields in host
 * byte order except the two address words, which are the address bytes as loaded from memory.
 */
#pragma once

#include <linux/types.h>

/** Part of the path that maps are pinned under; raised with every change in this file. */
#define CORDON_LAYOUT 2

#define CORDON_BUCKET_WAYS 8 /**< entries of one bucket, one cache line */
#define CORDON_BUCKET_HOPS 4 /**< buckets that one address may be found in, from its own on */
#define CORDON_PORTS 1024    /**< LAN ports, a power of two, by the low bits of the ifindex */
#define CORDON_TOLD_BITS 10
#define CORDON_TOLD (1 << CORDON_TOLD_BITS) /**< sightings remembered as told lately */
#define CORDON_TOLD_MAX 64                  /**< sightings per port, CPU and window */
#define CORDON_TOLD_SHIFT 7                 /**< a window is 2^7 jiffies: 0.1 to 1.3 s */
#define CORDON_PREFIXES 4096                /**< prefixes of each family */
#define CORDON_PREFIX_DEPTH 8               /**< expired prefixes that are looked behind */
#define CORDON_OURS 4096                    /**< the gateway's own addresses */
#define CORDON_NO_OWNER 0xffffffffU
#define CORDON_SELF_SHIFT 20 /**< more slots than this many bits number there cannot be */

enum cordon_kind { CORDON_PREFIX = 0, CORDON_MAC = 1, CORDON_IPV4 = 2, CORDON_IPV6 = 3 };
enum cordon_mode { CORDON_PASS = 0, CORDON_ISOLATE = 1, CORDON_REMEDIATE = 2 };

/**
 * A verdict is one word, so it changes at once: the boot clock's ns at its end, rounded up to a
 * multiple of 4, plus the mode. 0: none.
 */
#define CORDON_FOREVER (~(__u64)3)

struct cordon_slot {
    __u64 a, b;          /**< the address, see cordon_mac() and its siblings */
    __u64 verdict;       /**< end and mode */
    __u64 seen_ns;       /**< monotonic coarse clock at the last packet from it; 0: never */
    __u32 tick;          /**< jiffies when seen_ns was written: at most one write a tick */
    __u32 owner;         /**< IP: `self` of the MAC that used it; MAC: ifindex of its port */
    __u32 kind;          /**< enum cordon_kind of the family; 0: the slot is free */
    __u32 prefix_len;    /**< bits: 48, 32, 128, fewer for a prefix */
    __s64 until_wall_ms; /**< daemon only: the verdict's end as it was given; 0: none */
    __u32 self;          /**< the slot's number, and above it how often it was reused */
    __u16 generation;    /**< daemon only: the worker that last repeated the verdict */
    __u16 flags;         /**< daemon only */
};

/** Each entry is (tag << 32 | slot), one store; 0: empty. */
struct cordon_bucket {
    __u64 entry[CORDON_BUCKET_WAYS];
};

/** In front of each bucket: a miss reads only this. */
struct cordon_filter {
    __u32 bits;    /**< which hashes live in the bucket, or spilled from it */
    __u32 spilled; /**< addresses of this bucket found in the following ones */
};

enum cordon_count {
    CORDON_RX_PASSED,
    CORDON_TX_PASSED,
    CORDON_RX_DROPPED,
    CORDON_TX_DROPPED,
    CORDON_COUNTS
};

/** One CPU's share of one slot: counters[slot * cpus + cpu]. */
struct cordon_counter {
    struct {
        __u64 packets, bytes;
    } at[CORDON_COUNTS];
};

/** One CPU's share of one LAN port: ports[(ifindex % CORDON_PORTS) * cpus + cpu]. */
struct cordon_port {
    __u64 dropped_packets, dropped_bytes;
    __u32 ifindex; /**< whose counts these are; another port's are not mixed in */
    __u32 window;  /**< told in this window */
    __u32 told;
    __u32 pad;
};

/** One for everything. */
struct cordon_state {
    __u32 layout, cpus, slots, buckets; /**< sizes; buckets is a power of two */
    __u64 factor_a, factor_b;           /**< of the hash, drawn when the maps were made */
    __u64 netns;                        /**< inode of the network namespace that the links are in */
    __u32 prefixes[2];                  /**< how many prefixes IPv4 and IPv6 have */
    __u32 unknown_mode;                 /**< as in struct cordon_live */
    __u32 pad;
    __u64 spare;
};

/** The programs' own variables, at hand without a lookup; copied from the state at each load. */
struct cordon_live {
    __u32 prefixes[2];  /**< how many prefixes IPv4 and IPv6 have: 0 saves asking */
    __u32 unknown_mode; /**< enum cordon_mode for a MAC without a slot */
};

struct cordon_told {
    __u32 tag, window;
};

/** Key of the gateway's own addresses. */
struct cordon_address {
    __u64 a, b;
    __u32 kind, pad;
};

struct cordon_lpm4 {
    __u32 prefix_len;
    __u8 bytes[4];
};

struct cordon_lpm6 {
    __u32 prefix_len;
    __u8 bytes[16];
};

/** Through the ring buffer: this MAC, with this address, was heard on this port. */
struct cordon_sighting {
    __u64 mac;
    __u64 a, b;
    __u32 kind; /**< CORDON_IPV4, CORDON_IPV6; 0: no address */
    __u32 ifindex;
};

_Static_assert(sizeof(struct cordon_slot) == 64, "one cache line");
_Static_assert(sizeof(struct cordon_bucket) == 64, "one cache line");
_Static_assert(sizeof(struct cordon_filter) == 8, "one word");
_Static_assert(sizeof(struct cordon_counter) == 64, "one cache line");
_Static_assert(sizeof(struct cordon_port) == 32, "layout");
_Static_assert(sizeof(struct cordon_state) == 64, "layout");
_Static_assert(sizeof(struct cordon_told) == 8, "layout");
_Static_assert(sizeof(struct cordon_address) == 24, "layout");
_Static_assert(sizeof(struct cordon_lpm4) == 8, "layout");
_Static_assert(sizeof(struct cordon_lpm6) == 20, "layout");
_Static_assert(sizeof(struct cordon_sighting) == 32, "layout");
_Static_assert((CORDON_PORTS & (CORDON_PORTS - 1)) == 0, "a power of two");

#define CORDON_INLINE static inline __attribute__((always_inline, unused))

/* The two words of an address, from loads as wide as the packet allows. */
CORDON_INLINE __u64 cordon_pair(__u32 first, __u32 second)
{
    return first | (__u64)second << 32;
}

/* The last bytes of an address, which differ most, as the lowest bits. */
CORDON_INLINE __u64 cordon_number(__u64 word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap64(word);
#else
    return word;
#endif
}

/**
 * The hash of an address, multiply-shift with secret odd factors: whoever chooses addresses cannot
 * choose who shares a bucket. `salt` is the kind, and for a prefix its length above it. The upper
 * bits are the good ones.
 */
CORDON_INLINE __u64 cordon_hash(__u64 factor_a, __u64 factor_b, __u64 salt, __u64 a, __u64 b)
{
    return cordon_number(a) * factor_a + (cordon_number(b) + salt) * factor_b;
}

/** `shift` is 64 less the bits that number the buckets. */
CORDON_INLINE __u32 cordon_bucket_of(__u64 hash, __u32 shift)
{
    return (__u32)(hash >> shift);
}

/** What an entry of the index holds above its slot; never 0. */
CORDON_INLINE __u32 cordon_tag(__u64 hash, enum cordon_kind kind)
{
    return ((__u32)(hash >> 16) & ~7U) | 4 | kind;
}

/** The bit of the filter that an address sets. */
CORDON_INLINE __u32 cordon_filter_bit(__u64 hash)
{
    return 1U << (hash >> 40 & 31);
}
