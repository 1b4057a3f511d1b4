/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The cloud's side of the envelope: keeps the epoch keys that were announced, opens messages as
 * their keys come, drops what comes twice, and writes one JSON line for each. A tool's only thread.
 */
#pragma once

#include <stdio.h>

#include "crypto/crypto.h"
#include "envelope/envelope.h"

#define READER_WAIT_MS 30000    /* for a key */
#define READER_WAITING_MAX 1000 /* messages without a key */
#define READER_WAITING_BYTES (64u << 20)
#define READER_GATEWAYS_MAX 10000
#define READER_EPOCHS_MAX 1000000

struct reader_config {
    const struct gw_key *key; /**< the recipient's private key; borrowed */
    struct gw_slice
        gateway_ca;  /**< DER: announcements must be signed under it; empty: any; borrowed */
    bool from_start; /**< a gateway's first message must be number 1 */
    FILE *out;       /**< lines */
    FILE *err;       /**< gaps, and what could not be opened */
    /** The message that came with `token` is dealt with; its line, if any, was given to `out`. */
    void (*done)(void *owner, uint16_t token);
    void *owner;
};

struct reader;
/** -ENOMEM. */
int reader_new(const struct reader_config *cfg, struct reader **out) GW_MUST_CHECK;
void reader_free(struct reader **r);

/** An announcement of `gateway` (P/key/…); what waited for it is opened. */
void reader_key(struct reader *r, struct gw_slice gateway, struct gw_slice cose);

/** A sealed message of `gateway` on P/up/<topic>. */
void reader_message(struct reader *r, uint64_t now_ms, struct gw_slice gateway,
                    struct gw_slice topic, struct gw_slice cose, uint16_t token);

/** Give up on what has waited too long. */
void reader_tick(struct reader *r, uint64_t now_ms);

/** The connection was lost: whatever was not done comes again. */
void reader_restart(struct reader *r);

/** Lines written so far. */
uint64_t reader_lines(const struct reader *r);

/** The line of one opened message; false when it could not be written. */
bool reader_print(FILE *out, const char *gateway, const struct gw_envelope_head *head,
                  struct gw_slice plain) GW_MUST_CHECK;
