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
#define CERT_SHARE 16 /* so great a part of the table may be one certificate's */

struct ticket {
    struct gw_list node; /* the one that was used last comes last */
    struct gw_list own;  /* the same among those of its certificate */
    uint8_t name[WOLFSSL_TICKET_NAME_SZ];
    uint8_t key[32];
    int64_t ends_s; /* wall clock: no later than the certificate */
    struct tls_who *who;
};

struct tls_tickets {
    unsigned users;
    uint32_t max;
    struct gw_map by_name; /* struct ticket */
    struct gw_map by_cert; /* struct tls_who that has tickets, by its thumbprint */
    struct gw_list all;
};

static struct gw_slice name_of(const struct ticket *t)
{
    return GW_SLICE(t->name, sizeof(t->name));
}

static struct gw_slice thumbprint_of(const struct tls_who *who)
{
    return GW_SLICE(who->id.thumbprint, sizeof(who->id.thumbprint));
}

static void ticket_free(struct tls_tickets *all, struct ticket *t)
{
    (void)gw_map_remove(&all->by_name, name_of(t));
    gw_list_remove(&t->node);
    gw_list_remove(&t->own);
    if (--t->who->ticket_count == 0)
        (void)gw_map_remove(&all->by_cert, thumbprint_of(t->who));
    tls_who_unref(&t->who);
    gw_wipe(t->key, sizeof(t->key));
    free(t);
}

static void free_oldest(struct tls_tickets *all)
{
    if (!gw_list_empty(&all->all))
        ticket_free(all, GW_LIST_ENTRY(all->all.next, struct ticket, node));
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

void tls_tickets_limit(struct tls_tickets *all, uint32_t max)
{
    all->max = max;
    while (all->by_name.count > max)
        free_oldest(all);
}

void tls_tickets_clear(struct tls_tickets *all)
{
    while (!gw_list_empty(&all->all))
        free_oldest(all);
}

void tls_tickets_unref(struct tls_tickets **tickets)
{
    struct tls_tickets *all = GW_TAKE(*tickets);

    if (!all || --all->users > 0)
        return;
    tls_tickets_clear(all);
    gw_map_fini(&all->by_name);
    gw_map_fini(&all->by_cert);
    free(all);
}

/* ---- giving one out ---- */

/* Only a device of ours is somebody: everybody else shows a certificate each time. */
static bool is_worth_one(const struct tls_who *who)
{
    return who && *who->id.device && !who->id.manufacturer && !who->id.expired;
}

/* The connections and tickets of one certificate share what is known of it. */
static bool share(struct tls_tickets *all, struct tls_who **who)
{
    struct tls_who *known = gw_map_get(&all->by_cert, thumbprint_of(*who));

    if (!known)
        return gw_map_put(&all->by_cert, thumbprint_of(*who), *who) == 0;
    if (known != *who) {
        tls_who_unref(who);
        *who = tls_who_ref(known);
    }
    return true;
}

/* Whoever connects again and again pushes out its own, not the others'. */
static void trim(struct tls_tickets *all, struct tls_who *who)
{
    if (who->ticket_count > GW_MAX(all->max / CERT_SHARE, (uint32_t)1))
        ticket_free(all, GW_LIST_ENTRY(who->tickets.next, struct ticket, own));
    tls_tickets_limit(all, all->max);
}

static struct ticket *ticket_add(struct tls_tickets *all, struct tls_who **who, int64_t ends_s)
{
    struct ticket *t = calloc(1, sizeof(*t));

    if (!t || gw_random(t->name, sizeof(t->name)) || gw_random(t->key, sizeof(t->key)) ||
        !share(all, who)) {
        free(t);
        return NULL;
    }
    t->who = tls_who_ref(*who);
    t->ends_s = GW_MIN(t->who->ends_s, ends_s);
    gw_list_append(&all->all, &t->node);
    gw_list_append(&t->who->tickets, &t->own);
    t->who->ticket_count++;
    if (gw_map_put(&all->by_name, name_of(t), t)) {
        ticket_free(all, t);
        return NULL;
    }
    trim(all, t->who);
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
    struct tls_verify *v = &tls->verify;
    bool resumed = wolfSSL_session_reused(tls->ssl);
    struct tls_who **who = resumed ? &v->resumed : &v->peer.who;
    int64_t ends_s = resumed ? v->resumed_ends_s : (int64_t)time(NULL) + TLS_TICKET_S;
    struct ticket *t = is_worth_one(*who) ? ticket_add(tls->context->tickets, who, ends_s) : NULL;

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

/* A ticket that could be resumed now, as far as the table knows. */
static struct ticket *find(const struct tls_context *c, const uint8_t *name)
{
    struct ticket *t = gw_map_get(&c->tickets->by_name, GW_SLICE(name, WOLFSSL_TICKET_NAME_SZ));

    if (!t || t->ends_s > (int64_t)time(NULL))
        return t;
    ticket_free(c->tickets, t);
    return NULL;
}

static void void_all(struct tls_tickets *all, struct tls_who *who)
{
    struct tls_who *held = tls_who_ref(who);

    while (!gw_list_empty(&held->tickets))
        ticket_free(all, GW_LIST_ENTRY(held->tickets.next, struct ticket, own));
    tls_who_unref(&held);
}

/*
 * That the peer knows the ticket's secret too is proved a step later, so this is a candidate: it
 * counts when the handshake has ended and wolfSSL says that it was resumed.
 */
static int take(struct tls *tls, const uint8_t *name, const uint8_t *iv, const uint8_t *mac,
                uint8_t *data, size_t len)
{
    const struct tls_context *c = tls->context;
    struct tls_verify *v = &tls->verify;
    struct ticket *t = find(c, name);

    tls_who_unref(&v->resumed);
    if (!t || open_sealed(t, iv, mac, data, len))
        return WOLFSSL_TICKET_RET_REJECT;
    if (c->admit && c->admit(c->owner, &t->who->id)) { /* the full handshake will say why */
        void_all(c->tickets, t->who);
        return WOLFSSL_TICKET_RET_REJECT;
    }
    v->resumed = tls_who_ref(t->who);
    v->resumed_ends_s = t->ends_s;
    gw_list_remove(&t->node);
    gw_list_append(&c->tickets->all, &t->node);
    gw_list_remove(&t->own);
    gw_list_append(&t->who->tickets, &t->own);
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

bool tls_knows_peer(struct tls *tls)
{
    struct tls_verify *v = &tls->verify;

    if (!wolfSSL_session_reused(tls->ssl)) {
        tls_who_unref(&v->resumed);
        return !v->is_server || v->peer.who || v->context->auth != GW_TLS_AUTH_REQUIRED;
    }
    if (!v->resumed || v->peer.who)
        return false; /* resumed, and nobody knows who: it must not be anybody */
    v->peer.who = GW_TAKE(v->resumed);
    return true;
}

/* ---- forward secrecy ---- */

#define RECORD_CHANGE 20
#define RECORD_HANDSHAKE 22
#define SERVER_HELLO 2
#define PRE_SHARED_KEY 41
#define KEY_SHARE 51

/* The first handshake message that is not behind a ChangeCipherSpec, which means nothing. */
static struct gw_reader first_message(struct gw_reader *flight)
{
    uint8_t type = gw_reader_u8(flight);

    (void)gw_reader_u16(flight);
    if (type != RECORD_CHANGE)
        return type == RECORD_HANDSHAKE ? gw_reader_sub(flight, gw_reader_u16(flight))
                                        : (struct gw_reader){0};
    (void)gw_reader_slice(flight, gw_reader_u16(flight));
    return gw_reader_left(flight) ? first_message(flight) : (struct gw_reader){0};
}

bool tls_resumes_without_key_exchange(struct gw_slice flight)
{
    struct gw_reader r = gw_reader_of(flight), hello = first_message(&r), extensions;
    bool resumes = false, exchanges = false;

    if (gw_reader_u8(&hello) != SERVER_HELLO)
        return false;
    (void)gw_reader_slice(&hello, 3 + 2 + 32);           /* length, version, random */
    (void)gw_reader_slice(&hello, gw_reader_u8(&hello)); /* session id */
    (void)gw_reader_slice(&hello, 2 + 1);                /* suite, compression */
    extensions = gw_reader_sub(&hello, gw_reader_u16(&hello));
    while (gw_reader_left(&extensions)) {
        uint16_t type = gw_reader_u16(&extensions);

        (void)gw_reader_slice(&extensions, gw_reader_u16(&extensions));
        resumes |= type == PRE_SHARED_KEY;
        exchanges |= type == KEY_SHARE;
    }
    return resumes && !exchanges;
}
