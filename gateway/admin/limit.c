/* SPDX-License-Identifier: GPL-2.0-only */
/* How often somebody may guess a password or the setup code: token buckets, of each address and of
 * all together, so that guessing stays slow and the storage thread has time for its work. */
#include "admin/admin_priv.h"

#define ADDR_BURST 5.0
#define ADDR_PER_MS (1.0 / 12000)
#define ALL_BURST 20.0
#define ALL_PER_MS (1.0 / 2000)

/* IPv4 as it is, IPv6 by its /64: one neighbour has all of that to choose from. */
static void key_of(const struct gw_addr *peer, uint8_t out[16])
{
    const void *sa = &peer->sa;
    const struct sockaddr_in *in = sa;
    const struct sockaddr_in6 *in6 = sa;
    struct gw_hwaddr a = {0};

    memset(out, 0, 16);
    if (peer->sa.ss_family == AF_INET) {
        a = gw_hwaddr_ipv4((const uint8_t *)&in->sin_addr);
    } else if (peer->sa.ss_family == AF_INET6) {
        a = gw_hwaddr_ipv6(in6->sin6_addr.s6_addr);
        if (a.kind == GW_ADDR_IPV6)
            memset(a.bytes + 8, 0, 8);
    }
    memcpy(out, a.bytes, 15);
    out[15] = a.kind;
}

static void refill(struct bucket *b, double burst, double per_ms, uint64_t now_ms)
{
    double tokens = b->tokens + (double)(now_ms - b->at_ms) * per_ms;

    b->tokens = b->at_ms ? GW_MIN(tokens, burst) : burst;
    b->at_ms = now_ms;
}

/* The address's own bucket; the one unused for longest gives way to a new address. */
static struct bucket *bucket_of(struct gw_admin *a, const struct gw_addr *peer)
{
    struct bucket *oldest = &a->attempts[0];
    uint8_t key[16];

    key_of(peer, key);
    for (size_t i = 0; i < LOGIN_ADDRS; i++) {
        struct bucket *b = &a->attempts[i];

        if (b->at_ms && memcmp(b->addr, key, sizeof(key)) == 0)
            return b;
        if (b->at_ms < oldest->at_ms)
            oldest = b;
    }
    *oldest = (struct bucket){0};
    memcpy(oldest->addr, key, sizeof(key));
    return oldest;
}

static uint32_t seconds_until(const struct bucket *b, double per_ms)
{
    return b->tokens >= 1 ? 0 : (uint32_t)((1 - b->tokens) / per_ms / 1000) + 1;
}

bool attempt_take(struct gw_admin *a, const struct gw_addr *peer, uint32_t *out_retry_s)
{
    uint64_t now_ms = gw_clock_mono_ms();
    struct bucket *b = bucket_of(a, peer);
    uint32_t own, all;

    refill(b, ADDR_BURST, ADDR_PER_MS, now_ms);
    refill(&a->all_attempts, ALL_BURST, ALL_PER_MS, now_ms);
    own = seconds_until(b, ADDR_PER_MS);
    all = seconds_until(&a->all_attempts, ALL_PER_MS);
    if (own || all) {
        *out_retry_s = GW_MAX(own, all);
        return false;
    }
    b->tokens -= 1;
    a->all_attempts.tokens -= 1;
    return true;
}

void attempt_give_back(struct gw_admin *a, const struct gw_addr *peer)
{
    struct bucket *b = bucket_of(a, peer);

    b->tokens = GW_MIN(b->tokens + 1, ADDR_BURST);
    a->all_attempts.tokens = GW_MIN(a->all_attempts.tokens + 1, ALL_BURST);
}
