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
#define CORDON_LAYOUT 3

#define CORDON_BUCKET_WAYS 8 /**< entries of one bucket, one cache line */
#define CORDON_BUCKET_HOPS 8 /**< buckets that one address may be found in, from its own on */
#define CORDON_PORTS 1024    /**< LAN ports, a power of two, by the low bits of the ifindex */
#define CORDON_TOLD_BITS 10
#define CORDON_TOLD (1 << CORDON_TOLD_BITS) /**< sightings remembered as told lately */
#define CORDON_TOLD_MAX 64                  /**< sightings per port, CPU and window */
#define CORDON_TOLD_SHIFT 7                 /**< a window is 2^7 jiffies: 0.1 to 1.3 s */
#define CORDON_NOTICED_MAX 32               /**< other events per port, CPU and window */
#define CORDON_PREFIXES 4096                /**< prefixes of each family */
#define CORDON_PREFIX_LENGTHS 129           /**< so many can hold one address, each of its own */
#define CORDON_CPUS 1024                    /**< whose packets are added up */
#define CORDON_RULES 64                     /**< of one policy, each a bit of a word */
#define CORDON_PEERS 65536                  /**< hosts that rules name, of all policies */
#define CORDON_NETS 16384                   /**< networks that rules name, of all policies */
#define CORDON_LEARNED 65536                /**< conversations learned, of all policies */
#define CORDON_LEARNED_MAX 512              /**< of one policy */
#define CORDON_BOUND_NS 300000000000ULL     /**< an owner unheard for longer holds no address */
#define CORDON_COPY_BYTES 512               /**< of a packet's payload, for the daemon */
#define CORDON_NO_OWNER 0xffffffffU
#define CORDON_SELF_SHIFT 20 /**< more slots than this many bits number there cannot be */
#define CORDON_SELF_SLOT ((1U << CORDON_SELF_SHIFT) - 1)

enum cordon_kind { CORDON_PREFIX = 0, CORDON_MAC = 1, CORDON_IPV4 = 2, CORDON_IPV6 = 3 };
enum cordon_mode {
    CORDON_PASS = 0,
    CORDON_ISOLATE = 1,
    CORDON_REMEDIATE = 2,
    CORDON_OBSERVE = 3, /**< nothing is dropped */
};

/** What a slot's flags mean to the programs; the upper byte is the daemon's alone. */
enum cordon_flag {
    CORDON_OWN = 1,         /**< the gateway's own: nobody on a LAN port may claim it */
    CORDON_ROUTER = 2,      /**< the gateway's router's: the same */
    CORDON_BOUND = 4,       /**< an IP address that its owner alone may use while it is heard */
    CORDON_SERVER = 8,      /**< may answer as a DHCP server and advertise itself as a router */
    CORDON_DEFAULT = 0x100, /**< the verdict is lan.new_devices', nobody's decision */
    CORDON_TEST = 0x8000, /**< an address of the self-test, which nobody has; never kept or told */
};
#define CORDON_CLAIMED (CORDON_OWN | CORDON_ROUTER | CORDON_BOUND)

/**
 * A verdict is one word, so it changes at once: the boot clock's ns at its end, rounded up to a
 * multiple of 4, plus the mode. 0: none.
 */
#define CORDON_FOREVER (~(__u64)3)

struct cordon_slot {
    __u64 a, b;    /**< the address, see cordon_mac() and its siblings */
    __u64 verdict; /**< end and mode */
    __u64 seen_ns; /**< monotonic coarse clock at the last packet from it; 0: never */
    __u32 tick;    /**< jiffies when seen_ns was written: at most one write a tick */
    __u32 owner;   /**< IP: `self` of the MAC that used it; MAC: ifindex of its port */
    __u32 self;    /**< the slot's number, and above it how often it was reused */
    __u32 last;    /**< MAC: hash of the conversation of its last packet */
    __u32 used[2]; /**< MAC: slots of the last IPv4 and IPv6 address it used: a guess */
    union {
        struct {
            __u8 kind;       /**< enum cordon_kind of the family; 0: the slot is free */
            __u8 prefix_len; /**< bits: 48, 32, 128, fewer for a prefix */
        };
        __u16 host; /**< both at once: cordon_host() of one that is no prefix */
    };
    __u16 flags;      /**< of enum cordon_flag */
    __u16 policy;     /**< number; 0: none */
    __u16 generation; /**< daemon only: the worker that last repeated the verdict */
};

/** Each entry is (tag << 32 | slot), one store; 0: empty. */
struct cordon_bucket {
    __u64 entry[CORDON_BUCKET_WAYS];
};

/** In front of each bucket: a miss reads only this, and so does most of what is found. */
struct cordon_filter {
    __u16 bits;    /**< which hashes live in the bucket, or spilled from it */
    __u16 spilled; /**< addresses of this bucket found in the following ones */
    __u32 hint;    /**< the programs' alone: the slot that was found here last */
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
    __u16 told, noticed;
    __u32 pad;
};

/** What was decided before and is not in the tables; an unknown address may only be repaired. */
enum cordon_unread {
    CORDON_WHOLE,
    CORDON_UNREAD,  /**< it could not be read back, and nobody repeated it yet */
    CORDON_LOADING, /**< who died then begins anew */
};

/** One for everything. */
struct cordon_state {
    __u32 layout, cpus, slots, buckets; /**< sizes; buckets is a power of two */
    __u64 factor_a, factor_b;           /**< of the hash, drawn when the maps were made */
    __u64 netns;                        /**< inode of the network namespace that the links are in */
    __u32 prefixes[2];                  /**< how many prefixes IPv4 and IPv6 have */
    __u32 unknown_mode;                 /**< as in struct cordon_live */
    __u32 policies;                     /**< how many numbers the tables hold, 0 among them */
    __u32 unread;                       /**< enum cordon_unread */
    __u32 spare;
};

#define CORDON_WATCH_BITS 128 /**< of hosts, of ports */
#define CORDON_NEIGHBOUR_BITS 64

/**
 * What is too much in a window; 0: anything goes. Hosts, ports and neighbours are bits: so many
 * different ones set, by chance, that many of the watch's.
 */
struct cordon_limits {
    __u32 window_ms;
    __u32 hosts, ports, neighbours, moves;
    __u32 packets_per_s;
};

/** The programs' own variables, at hand without a lookup; copied from the state at each load. */
struct cordon_live {
    __u32 prefixes[2];  /**< how many prefixes IPv4 and IPv6 have: 0 saves asking */
    __u32 unknown_mode; /**< enum cordon_mode for a MAC without a slot */
    struct cordon_limits limits;
};

#define CORDON_PORT_WORDS 1024 /**< with a bit for each port */

/** What the gateway listens on, so that a device in remediation may reach it; bits in its words. */
struct cordon_services {
    __u64 tcp[CORDON_PORT_WORDS], udp[CORDON_PORT_WORDS];
};

/** Which conversations a MAC began lately, and how fast it sends; watches[slot]. */
struct cordon_watch {
    __u64 since_ns;           /**< start of the window */
    __u64 hosts[2], ports[2]; /**< a bit for each hash */
    __u64 neighbours;         /**< the same of other devices */
    __u32 self;               /**< of the MAC */
    __u16 told;               /**< a bit for each kind of event told in this window */
    __u8 moves;               /**< from port to port */
    __u8 pad;
    __u32 paced_ms;      /**< since when, monotonic */
    __u32 paced_packets; /**< how many it had sent then */
};

enum cordon_policy_flag { CORDON_LEARN = 1, CORDON_REPORT = 2, CORDON_ENFORCE = 4 };

/** One entry of an access control list, without its peers. */
struct cordon_rule {
    __u8 egress;   /**< 1: for packets to the device */
    __u8 protocol; /**< 0: any */
    __u8 family;   /**< CORDON_IPV4, CORDON_IPV6; 0: both */
    __u8 no_open;  /**< 1: not for the first packet of a TCP connection */
    __u16 own_min, own_max, peer_min, peer_max; /**< host order; ICMP: own is its type */
};

/** policies[number * 2 + bank]: one bank is in force while the other is filled. */
struct cordon_policy {
    __u32 flags; /**< of enum cordon_policy_flag */
    __u32 rule_count;
    __u64 any, local, gateway;        /**< rules by the class of the other end */
    __u64 packets_per_s, bytes_per_s; /**< each way; 0: no limit */
    struct cordon_rule rules[CORDON_RULES];
};

/** meters[number]: what a policy's packets leave behind, and which bank is in force. */
struct cordon_meter {
    __u32 bank;      /**< in its lowest bit; each change adds one */
    __u32 learned;   /**< conversations kept */
    __u64 missed;    /**< conversations that found no room */
    __u64 second_ns; /**< start of the second that is being measured */
    __u64 packets, bytes, peak_packets, peak_bytes;
    struct {
        __u64 filled_ns;
        __s64 packets, bytes; /**< left in the buckets */
    } at[2];                  /**< from the device, to it */
    __u64 pad[3];
};

/** Key of peers, and (as bytes behind a length) of nets. */
struct cordon_peer {
    __u64 a, b;
    __u32 scope; /**< cordon_scope() */
    __u32 pad;
};

struct cordon_net {
    __u32 prefix_len; /**< 32 for the scope, and the network's */
    __u32 scope;
    __u32 words[4];
};

/** Scope of a policy's bank and a kind of address; policy 0, bank 0: the local networks. */
#define CORDON_SCOPE(number, bank, kind) ((__u32)(number) << 8 | (__u32)(bank) << 4 | (__u32)(kind))

struct cordon_learned_key {
    __u64 a, b; /**< the other end */
    __u32 scope;
    __u16 port; /**< of the one that was called; ICMP: its type */
    __u8 protocol;
    __u8 egress; /**< 1: the device was called */
};

struct cordon_learned {
    __u64 packets, bytes;
    __u64 first_ns, last_ns; /**< boot clock */
};

struct cordon_told {
    __u32 tag, window;
};

struct cordon_lpm4 {
    __u32 prefix_len;
    __u8 bytes[4];
};

struct cordon_lpm6 {
    __u32 prefix_len;
    __u8 bytes[16];
};

/** What is noticed, by the names and in the order of enum gw_wire_kind. */
enum cordon_noticed {
    NOTICED_HOSTS,
    NOTICED_PORTS,
    NOTICED_NEIGHBOURS,
    NOTICED_FLOOD,
    NOTICED_FORGED,
    NOTICED_SPOOFED,
    NOTICED_MOVES,
    NOTICED_DHCP,
    NOTICED_ROUTER,
    NOTICED_DEPARTURE,
    NOTICED_COUNT
};

enum cordon_what { CORDON_SIGHTING, CORDON_WIRE }; /**< CORDON_WIRE + enum cordon_noticed */
#define CORDON_WHAT_BITS 4                         /**< hold each of them */

/** What the programs tell through the ring buffer; a sighting, or an event of the wire. */
struct cordon_event {
    __u64 mac;
    __u64 a, b;           /**< the address it used */
    __u64 peer_a, peer_b; /**< where to, or whose that address is */
    __u32 what;
    __u32 kind, peer_kind; /**< of the addresses; 0: none */
    __u32 ifindex;
    __u32 count, window_ms;
    __u16 port;
    __u8 protocol;
    __u8 egress : 1, dropped : 1;
    __u32 pad; /* every byte is set: the verifier of 5.15 takes no other */
};

/** Through the second ring buffer, which the worker reads itself: an answer to a DNS question. */
struct cordon_copy {
    __u64 mac; /**< to whom */
    __u32 len, pad;
    __u8 bytes[CORDON_COPY_BYTES];
};

_Static_assert(sizeof(struct cordon_slot) == 64, "one cache line");
_Static_assert(sizeof(struct cordon_bucket) == 64, "one cache line");
_Static_assert(sizeof(struct cordon_filter) == 8, "one word");
_Static_assert(sizeof(struct cordon_counter) == 64, "one cache line");
_Static_assert(sizeof(struct cordon_port) == 32, "layout");
_Static_assert(sizeof(struct cordon_state) == 64, "layout");
_Static_assert(sizeof(struct cordon_told) == 8, "layout");
_Static_assert(sizeof(struct cordon_watch) == 64, "one cache line");
_Static_assert(sizeof(struct cordon_rule) == 12, "layout");
_Static_assert(sizeof(struct cordon_policy) == 816, "layout");
_Static_assert(sizeof(struct cordon_meter) == 128, "two cache lines");
_Static_assert(sizeof(struct cordon_peer) == 24, "layout");
_Static_assert(sizeof(struct cordon_net) == 24, "layout");
_Static_assert(sizeof(struct cordon_learned_key) == 24, "layout");
_Static_assert(sizeof(struct cordon_learned) == 32, "layout");
_Static_assert(sizeof(struct cordon_copy) == 16 + CORDON_COPY_BYTES, "layout");
_Static_assert(sizeof(struct cordon_lpm4) == 8, "layout");
_Static_assert(sizeof(struct cordon_lpm6) == 20, "layout");
_Static_assert(sizeof(struct cordon_event) == 72, "layout");
_Static_assert((CORDON_PORTS & (CORDON_PORTS - 1)) == 0, "a power of two");

#define CORDON_INLINE static inline __attribute__((always_inline, unused))

/*
 * To be compared where it stands: else the compiler keeps the result of an earlier comparison in
 * four bytes of the stack, and the verifier of Linux 5.15 forgets what such hold.
 */
#define CHECK_AGAIN(value) __asm__ volatile("" : "+r"(value))

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

/** A slot's kind and prefix length as one number, for a host's address. */
CORDON_INLINE __u16 cordon_host(__u32 kind)
{
    __u32 bits = kind == CORDON_MAC ? 48 : kind == CORDON_IPV4 ? 32 : 128;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (__u16)(kind | bits << 8);
#else
    return (__u16)(kind << 8 | bits);
#endif
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
    return 1U << (hash >> 40 & 15);
}
