/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>

#include "envelope/envelope_priv.h"
#include "envelope/epoch_priv.h"

#define SCRATCH_MAX (1u << 20)

/* ---- the epoch ---- */

int gw_epoch_new(struct gw_epoch **out)
{
    GW_CLEANUP(gw_epoch_free) struct gw_epoch *e = calloc(1, sizeof(*e));
    int err;

    if (!e)
        return -ENOMEM;
    e->scratch.max = SCRATCH_MAX;
    if ((err = gw_random(e->kid, sizeof(e->kid))) || (err = gw_random(e->key, sizeof(e->key))) ||
        (err = gw_random(e->salt, sizeof(e->salt))) || (err = gw_aes_gcm_new(e->key, &e->aes)))
        return err;
    *out = GW_TAKE(e);
    return 0;
}

void gw_epoch_free(struct gw_epoch **epoch)
{
    struct gw_epoch *e = GW_TAKE(*epoch);

    if (!e)
        return;
    gw_aes_gcm_free(&e->aes);
    gw_buf_fini(&e->scratch);
    gw_wipe(e, sizeof(*e));
    free(e);
}

const uint8_t *gw_epoch_kid(const struct gw_epoch *e)
{
    return e->kid;
}

uint64_t gw_epoch_sealed(const struct gw_epoch *e)
{
    return e->sealed;
}

int epoch_next_iv(struct gw_epoch *e, uint8_t out[12])
{
    struct gw_writer w = gw_writer_of(out, IV_BYTES);

    if (e->sealed == UINT64_MAX)
        return GW_ECRYPTO;
    gw_writer_put(&w, GW_SLICE(e->salt, sizeof(e->salt)));
    gw_writer_u64(&w, e->sealed++);
    return w.err;
}

int gw_recipient_kid(const struct gw_key *k, uint8_t out[GW_KID_BYTES])
{
    uint8_t spki[GW_SPKI_BYTES], digest[32];
    int err = gw_key_spki(k, spki);

    if (!err)
        err = gw_sha256(GW_SLICE(spki, sizeof(spki)), digest);
    if (err)
        return err;
    memcpy(out, digest, GW_KID_BYTES);
    return 0;
}
