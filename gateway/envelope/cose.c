/* SPDX-License-Identifier: GPL-2.0-only */
#include "envelope/envelope_priv.h"

void cose_put_aad(struct gw_writer *w, const char *context, struct gw_slice protected)
{
    item_put_array(w, 3);
    item_put_text(w, gw_slice_str(context));
    item_put_bytes(w, protected);
    item_put_bytes(w, GW_SLICE_NONE);
}

const uint8_t *cose_get_iv(struct gw_reader *r)
{
    if (item_get_map(r) != 1 || item_get_int(r) != LABEL_IV)
        gw_reader_fail(r, GW_EMALFORMED);
    return item_get_fixed(r, IV_BYTES);
}

/* ["Signature1", protected, h'', payload] (RFC 9052 §4.4). */
void cose_put_signed(struct gw_writer *w, struct gw_slice protected, struct gw_slice payload)
{
    item_put_array(w, 4);
    item_put_text(w, GW_SLICE_LIT("Signature1"));
    item_put_bytes(w, protected);
    item_put_bytes(w, GW_SLICE_NONE);
    item_put_bytes(w, payload);
}

/* ---- key agreement (RFC 9053 §5.2, §6.3) ---- */

/* COSE_KDF_Context: A256KW, no party information, 256 bits, the recipient's protected header. */
static int derive_kek(const uint8_t secret[32], struct gw_slice protected, uint8_t kek[32])
{
    uint8_t room[SMALL];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    item_put_array(&w, 4);
    item_put_int(&w, COSE_A256KW);
    for (int party = 0; party < 2; party++) {
        item_put_array(&w, 3);
        for (int i = 0; i < 3; i++)
            item_put_null(&w);
    }
    item_put_array(&w, 2);
    item_put_int(&w, 256);
    item_put_bytes(&w, protected);
    if (w.err)
        return w.err;
    return gw_hkdf_sha256(GW_SLICE(secret, 32), GW_SLICE_NONE, gw_writer_done(&w), kek, 32);
}

int cose_agree(const struct gw_key *own, const struct gw_key *peer, struct gw_slice protected,
               uint8_t kek[32])
{
    uint8_t secret[32];
    int err = gw_ecdh(own, peer, secret);

    if (!err)
        err = derive_kek(secret, protected, kek);
    gw_wipe(secret, sizeof(secret));
    return err;
}
