/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Session resumption (RFC 8446 §2.2, RFC 5077) that keeps the identity. A resumed handshake shows
 * no certificate, so who the peer is has to be known from before: here, in a table of this process,
 * one entry for each ticket, and never in the ticket itself. A ticket's name leads to its entry;
 * the entry holds the ticket's own key. No entry, no resumption: a full handshake follows.
 */
#include "tls/tls_priv.h"

#include <errno.h>
#include <time.h>

#include "base/list.h"
#include "base/map.h"

#define IV_BYTES 12
#define TAG_BYTES 16

struct ticket {
    struct gw_list node; /* the one that was used last comes last */
    uint8_t name[WOLFSSL_TICKET_NAME_SZ];
    uint8_t key[32];
    int64_t ends_s; /* wall clock: no later than the certificate */
    struct gw_identity id;
    uint8_t der[];
};

struct tls_tickets {
    unsigned users;
    uint32_t max;
    struct gw_map by_name;
    struct gw_list all;
};

static struct gw_slice name_of(const struct ticket *t)
{
    return GW_SLICE(t->name, sizeof(t->name));
}

static void ticket_free(struct tls_tickets *all, struct ticket *t)
{
    (void)gw_map_remove(&all->by_name, name_of(t));
    gw_list_remove(&t->node);
    gw_wipe(t->key, sizeof(t->key));
    free(t);
}

int tls_tickets_new(uint32_t max, struct tls_tickets **out)
{
    struct tls_tickets *all = calloc(1, sizeof(*all));

    if (!all)
        return -ENOMEM;
    all->users = 1;
    all->max = max;
    gw_list_init(&all->all);
    *out = all;
    return 0;
}

struct tls_tickets *tls_tickets_ref(struct tls_tickets *all)
{
    all->users++;
    return all;
}

void tls_tickets_clear(struct tls_tickets *all)
{
    while (!gw_list_empty(&all->all))
        ticket_free(all, GW_LIST_ENTRY(all->all.next, struct ticket, node));
}

void tls_tickets_unref(struct tls_tickets **tickets)
{
    struct tls_tickets *all = GW_TAKE(*tickets);

    if (!all || --all->users > 0)
        return;
    tls_tickets_clear(all);
    gw_map_fini(&all->by_name);
    free(all);
}

/* ---- giving one out ---- */

/* Only a device of ours is somebody: everybody else shows a certificate each time. */
static bool is_worth_one(const struct tls_peer *p)
{
    return *p->id.device && !p->id.manufacturer && !p->id.expired;
}

static struct ticket *ticket_add(struct tls_tickets *all, const struct tls_peer *p)
{
    struct ticket *t;

    while (all->by_name.count >= all->max && !gw_list_empty(&all->all))
        ticket_free(all, GW_LIST_ENTRY(all->all.next, struct ticket, node));
    t = calloc(1, sizeof(*t) + p->id.der.len);
    if (!t || gw_random(t->name, sizeof(t->name)) || gw_random(t->key, sizeof(t->key)) ||
        gw_map_put(&all->by_name, name_of(t), t)) {
        free(t);
        return NULL;
    }
    gw_list_append(&all->all, &t->node);
    t->ends_s = GW_MIN(p->ends_s, (int64_t)time(NULL) + TLS_TICKET_S);
    t->id = p->id;
    memcpy(t->der, p->id.der.ptr, p->id.der.len);
    t->id.der = GW_SLICE(t->der, p->id.der.len);
    return t;
}

static int seal(const struct ticket *t, uint8_t *iv, uint8_t *tag, uint8_t *data, size_t len)
{
    uint8_t sealed[TLS_TICKET_MAX + TAG_BYTES];
    struct gw_aes_gcm *aes = NULL;
    int err = len <= TLS_TICKET_MAX ? gw_random(iv, IV_BYTES) : GW_ETOOBIG;

    if (!err)
        err = gw_aes_gcm_new(t->key, &aes);
    if (!err)
        err = gw_aes_gcm_seal(aes, iv, name_of(t), GW_SLICE(data, len), sealed);
    if (!err) {
        memcpy(data, sealed, len);
        memcpy(tag, sealed + len, TAG_BYTES);
    }
    gw_aes_gcm_free(&aes);
    return err;
}

static int open_sealed(const struct ticket *t, const uint8_t *iv, const uint8_t *tag, uint8_t *data,
                       size_t len)
{
    uint8_t sealed[TLS_TICKET_MAX + TAG_BYTES];
    struct gw_aes_gcm *aes = NULL;
    int err = len <= TLS_TICKET_MAX ? gw_aes_gcm_new(t->key, &aes) : GW_ETOOBIG;

    if (err)
        return err;
    memcpy(sealed, data, len);
    memcpy(sealed + len, tag, TAG_BYTES);
    err = gw_aes_gcm_open(aes, iv, name_of(t), GW_SLICE(sealed, len + TAG_BYTES), data);
    gw_aes_gcm_free(&aes);
    return err;
}

/* wolfSSL cannot be told "none": who is to get none gets noise, that no entry will ever open. */
static int give_noise(uint8_t *name, uint8_t *iv, uint8_t *mac, uint8_t *data, size_t len)
{
    return gw_random(name, WOLFSSL_TICKET_NAME_SZ) || gw_random(iv, WOLFSSL_TICKET_IV_SZ) ||
                   gw_random(mac, WOLFSSL_TICKET_MAC_SZ) || gw_random(data, len)
               ? WOLFSSL_TICKET_RET_FATAL
               : WOLFSSL_TICKET_RET_OK;
}

/* The client's Finished is in: what it showed, or the session it resumed, is its own. */
static int give(struct tls *tls, uint8_t *name, uint8_t *iv, uint8_t *mac, uint8_t *data,
                size_t len)
{
    const struct tls_verify *v = &tls->verify;
    const struct tls_peer *p = wolfSSL_session_reused(tls->ssl) ? &v->resumed : &v->peer;
    struct ticket *t = is_worth_one(p) ? ticket_add(tls->context->tickets, p) : NULL;

    if (!t)
        return give_noise(name, iv, mac, data, len);
    memset(iv, 0, WOLFSSL_TICKET_IV_SZ);
    memset(mac, 0, WOLFSSL_TICKET_MAC_SZ);
    if (seal(t, iv, mac, data, len)) {
        ticket_free(tls->context->tickets, t);
        return give_noise(name, iv, mac, data, len);
    }
    memcpy(name, t->name, sizeof(t->name));
    return WOLFSSL_TICKET_RET_OK;
}

/* ---- taking one back ---- */

/*
 * That the peer knows the ticket's secret too is proved a step later, so this is a candidate: it
 * counts when the handshake has ended and wolfSSL says that it was resumed.
 */
static int take(struct tls *tls, const uint8_t *name, const uint8_t *iv, const uint8_t *mac,
                uint8_t *data, size_t len)
{
    const struct tls_context *c = tls->context;
    struct ticket *t = gw_map_get(&c->tickets->by_name, GW_SLICE(name, WOLFSSL_TICKET_NAME_SZ));
    struct tls_peer *kept = &tls->verify.resumed;

    tls_peer_forget(kept);
    if (!t)
        return WOLFSSL_TICKET_RET_REJECT;
    if (t->ends_s <= (int64_t)time(NULL)) {
        ticket_free(c->tickets, t);
        return WOLFSSL_TICKET_RET_REJECT;
    }
    if (open_sealed(t, iv, mac, data, len))
        return WOLFSSL_TICKET_RET_REJECT;
    if (c->admit && c->admit(c->owner, &t->id)) /* the full handshake will say why */
        return WOLFSSL_TICKET_RET_REJECT;
    kept->der = (uint8_t *)gw_slice_dup(t->id.der);
    if (!kept->der)
        return WOLFSSL_TICKET_RET_REJECT;
    kept->id = t->id;
    kept->id.der = GW_SLICE(kept->der, t->id.der.len);
    kept->ends_s = t->ends_s;
    gw_list_remove(&t->node);
    gw_list_append(&c->tickets->all, &t->node);
    return WOLFSSL_TICKET_RET_OK;
}

static int on_ticket(WOLFSSL *ssl, unsigned char name[WOLFSSL_TICKET_NAME_SZ],
                     unsigned char iv[WOLFSSL_TICKET_IV_SZ],
                     unsigned char mac[WOLFSSL_TICKET_MAC_SZ], int enc, unsigned char *data,
                     int len, int *out_len, void *ctx)
{
    struct tls *tls = wolfSSL_GetIOReadCtx(ssl);

    (void)ctx;
    if (len < 0 || (enc && len > *out_len))
        return WOLFSSL_TICKET_RET_FATAL;
    *out_len = len;
    return enc ? give(tls, name, iv, mac, data, (size_t)len)
               : take(tls, name, iv, mac, data, (size_t)len);
}

int tls_tickets_offer(struct tls_context *c, struct tls_tickets *all)
{
    if (wolfSSL_CTX_set_TicketEncCb(c->ctx, on_ticket) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_set_TicketHint(c->ctx, TLS_TICKET_S) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_set_timeout(c->ctx, TLS_TICKET_S) < 0) /* it returns the one before */
        return GW_ECRYPTO;
    c->tickets = tls_tickets_ref(all);
    return 0;
}

bool tls_resumed(struct tls *tls)
{
    struct tls_verify *v = &tls->verify;

    if (!wolfSSL_session_reused(tls->ssl)) {
        tls_peer_forget(&v->resumed);
        return true;
    }
    if (!v->resumed.der || v->peer.der)
        return false; /* resumed, and nobody knows who: it must not be anybody */
    v->peer = v->resumed;
    v->resumed = (struct tls_peer){0};
    return true;
}
