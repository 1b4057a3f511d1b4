/* SPDX-License-Identifier: GPL-2.0-only */
/** @file Inside room envelope: the epoch. */
#pragma once

#include "envelope/envelope.h"

struct gw_epoch {
    uint8_t kid[GW_KID_BYTES];
    uint8_t key[32];
    uint8_t salt[4]; /* of every IV under this key */
    uint64_t sealed; /* the rest of the next IV */
    struct gw_aes_gcm *aes;
    struct gw_buf scratch;
};

/** 12 bytes that never repeat under this key. GW_ECRYPTO when there are none left. */
int epoch_next_iv(struct gw_epoch *e, uint8_t out[12]) GW_MUST_CHECK;
