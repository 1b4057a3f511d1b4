/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>

#include "envelope/envelope_priv.h"
#include "envelope/epoch_priv.h"

#define HEAD_ROOM 128 /* of everything in a message but topic, device, content type and payload */
#define AAD_ROOM 32   /* of everything in the additional data but the protected header */

static const char context[] = "Encrypt0";

/* ---- sealing ---- */

static size_t protected_bound(const struct gw_envelope_head *h)
{
    return HEAD_ROOM + h->topic.len + h->device.len + h->content_type.len;
}

size_t gw_envelope_bound(const struct gw_envelope_head *head, size_t payload_len)
{
    return protected_bound(head) + HEAD_ROOM + payload_len;
}

/* The protected header, its labels in the order of RFC 8949 §4.2.1. */
static void put_protected(struct gw_writer *w, const struct gw_epoch *e,
                          const struct gw_envelope_head *h)
{
    item_put_map(w, h->content_type.len ? 7 : 6);
    item_put_int(w, LABEL_ALG);
    item_put_int(w, COSE_A256GCM);
    if (h->content_type.len) {
        item_put_int(w, LABEL_CONTENT_TYPE);
        item_put_text(w, h->content_type);
    }
    item_put_int(w, LABEL_KID);
    item_put_bytes(w, GW_SLICE(e->kid, sizeof(e->kid)));
    item_put_int(w, LABEL_TOPIC);
    item_put_text(w, h->topic);
    item_put_int(w, LABEL_DEVICE);
    item_put_text(w, h->device);
    item_put_int(w, LABEL_SEQUENCE);
    item_put_uint(w, h->sequence);
    item_put_int(w, LABEL_TIME);
    item_put_int(w, h->time_ms);
}

/* Both forms of the header are made in the epoch's own scratch: no allocation once it has grown. */
static int make_header(struct gw_epoch *e, const struct gw_envelope_head *h,
                       struct gw_slice *out_protected, struct gw_slice *out_aad)
{
    size_t bound = protected_bound(h);
    struct gw_writer head, aad;
    int err;

    gw_buf_consume(&e->scratch, gw_buf_len(&e->scratch));
    err = gw_buf_reserve(&e->scratch, 2 * bound + AAD_ROOM);
    if (err)
        return err;
    head = gw_writer_of(e->scratch.data, bound);
    put_protected(&head, e, h);
    aad = gw_writer_of(e->scratch.data + bound, bound + AAD_ROOM);
    cose_put_aad(&aad, context, gw_writer_done(&head));
    if (aad.err)
        return aad.err;
    *out_protected = gw_writer_done(&head);
    *out_aad = gw_writer_done(&aad);
    return 0;
}

int gw_envelope_seal(struct gw_epoch *e, const struct gw_envelope_head *head,
                     struct gw_slice payload, struct gw_writer *out)
{
    struct gw_slice protected, aad;
    uint8_t iv[IV_BYTES], *sealed;
    struct gw_writer w = *out;
    int err = make_header(e, head, &protected, &aad);

    if (!err)
        err = epoch_next_iv(e, iv);
    if (err)
        return err;
    item_put_tag(&w, COSE_ENCRYPT0);
    item_put_array(&w, 3);
    item_put_bytes(&w, protected);
    item_put_map(&w, 1);
    item_put_int(&w, LABEL_IV);
    item_put_bytes(&w, GW_SLICE(iv, sizeof(iv)));
    item_put_bytes_head(&w, payload.len + TAG_BYTES);
    sealed = gw_writer_room(&w, payload.len + TAG_BYTES);
    if (!sealed)
        return w.err;
    err = gw_aes_gcm_seal(e->aes, iv, aad, payload, sealed);
    if (err)
        return err;
    *out = w;
    return 0;
}

/* ---- opening ---- */

struct message {
    struct gw_slice protected, sealed;
    const uint8_t *iv;
    struct gw_envelope_head head;
};

/* One label of the protected header; a bit for each that INTERFACE asks for. */
static unsigned take_label(struct gw_reader *r, int64_t label, struct gw_envelope_head *h)
{
    const uint8_t *kid;

    switch (label) {
    case LABEL_ALG:
        if (item_get_int(r) != COSE_A256GCM)
            gw_reader_fail(r, GW_EUNSUPPORTED);
        return 1;
    case LABEL_KID:
        kid = item_get_fixed(r, GW_KID_BYTES);
        if (kid)
            memcpy(h->kid, kid, GW_KID_BYTES);
        return 2;
    case LABEL_TOPIC:
        h->topic = item_get_text(r);
        return 4;
    case LABEL_DEVICE:
        h->device = item_get_text(r);
        return 8;
    case LABEL_SEQUENCE:
        h->sequence = item_get_uint(r);
        return 16;
    case LABEL_TIME:
        h->time_ms = item_get_int(r);
        return 32;
    case LABEL_CONTENT_TYPE:
        h->content_type = item_get_text(r);
        return 64;
    case 2: /* crit: labels that must be understood (RFC 9052 §3.1); none of ours are listed */
        gw_reader_fail(r, GW_EUNSUPPORTED);
        return 0;
    default:
        item_skip(r);
        return 0;
    }
}

static int read_protected(struct gw_slice protected, struct gw_envelope_head *out)
{
    struct gw_reader r = gw_reader_of(protected);
    struct gw_envelope_head h = {0};
    size_t pairs = item_get_map(&r);
    unsigned seen = 0;
    int err;

    for (; pairs > 0 && !r.err; pairs--) {
        int64_t label = item_get_int(&r);
        unsigned bit = take_label(&r, label, &h);

        if (seen & bit) /* a label occurs once (RFC 9052 §3) */
            gw_reader_fail(&r, GW_EMALFORMED);
        seen |= bit;
    }
    err = gw_reader_end(&r);
    if (err)
        return err;
    if ((seen & 63) != 63)
        return GW_EMALFORMED;
    *out = h;
    return 0;
}

static int read_message(struct gw_slice cose, struct message *out)
{
    struct gw_reader r = gw_reader_of(cose);
    struct message m = {.iv = NULL};
    int err;

    item_want_tag(&r, COSE_ENCRYPT0);
    item_want_array(&r, 3);
    m.protected = item_get_bytes(&r);
    m.iv = cose_get_iv(&r);
    m.sealed = item_get_bytes(&r);
    err = gw_reader_end(&r);
    if (!err && m.sealed.len < TAG_BYTES)
        err = GW_ESHORT;
    if (!err)
        err = read_protected(m.protected, &m.head);
    if (err)
        return err;
    *out = m;
    return 0;
}

int gw_envelope_peek(struct gw_slice cose, struct gw_envelope_head *out)
{
    struct message m;
    int err = read_message(cose, &m);

    if (err)
        return err;
    *out = m.head;
    return 0;
}

static int open_message(const struct message *m, const uint8_t key[32], uint8_t *plain)
{
    GW_CLEANUP(gw_aes_gcm_free) struct gw_aes_gcm *aes = NULL;
    GW_CLEANUP(gw_free_ptr) uint8_t *room = malloc(m->protected.len + AAD_ROOM);
    struct gw_writer aad = gw_writer_of(room, m->protected.len + AAD_ROOM);
    int err;

    if (!room)
        return -ENOMEM;
    cose_put_aad(&aad, context, m->protected);
    err = gw_aes_gcm_new(key, &aes);
    if (err)
        return err;
    return gw_aes_gcm_open(aes, m->iv, gw_writer_done(&aad), m->sealed, plain);
}

int gw_envelope_open(struct gw_slice cose, const uint8_t key[32], struct gw_envelope_head *out_head,
                     struct gw_buf *out)
{
    struct message m;
    int err = read_message(cose, &m);

    if (!err)
        err = gw_buf_reserve(out, m.sealed.len);
    if (!err)
        err = open_message(&m, key, out->data + out->tail);
    if (err)
        return err;
    out->tail += m.sealed.len - TAG_BYTES;
    *out_head = m.head;
    return 0;
}
