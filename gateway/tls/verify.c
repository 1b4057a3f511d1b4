/* SPDX-License-Identifier: GPL-2.0-only */
#include "tls/tls_priv.h"

#include <ctype.h>
#include <errno.h>
#include <time.h>

#include <wolfssl/openssl/ec.h>
#include <wolfssl/openssl/evp.h>

#define DAY_S 86400

/* INTERFACE: 1 to 64 of these. A CN of another form is no device's. */
static bool is_device_id(const char *cn)
{
    for (const char *c = cn; *c; c++)
        if (!isascii(*c) || (!isalnum((unsigned char)*c) && !strchr("._-", *c)))
            return false;
    return *cn;
}

static int refuse(struct tls_peer *p, int err, const char *reason)
{
    p->refusal = err;
    p->reason = reason;
    return 0;
}

/*
 * wolfSSL has verified the chain up to one of the CAs that were loaded. Which one it was decides
 * what the name in it means, and a manufacturer's CA may call itself anything: so where there are
 * any, the signature is checked against our own CA's key. Without them only ours can be the root.
 */
static bool is_ours(const struct tls_context *c, bool verified, struct gw_slice der)
{
    if (verified && !c->has_manufacturers)
        return true;
    return gw_cert_verify(der, gw_buf_slice(&c->device_ca)) == 0;
}

static bool in_grace(const struct tls_context *c, const struct gw_cert_info *info)
{
    int64_t now_s = time(NULL);

    return now_s >= info->not_before_s && now_s > info->not_after_s &&
           now_s - info->not_after_s <= (int64_t)c->grace_days * DAY_S;
}

struct tls_who *tls_who_ref(struct tls_who *who)
{
    who->users++;
    return who;
}

void tls_who_unref(struct tls_who **who)
{
    struct tls_who *own = GW_TAKE(*who);

    if (own && --own->users == 0)
        free(own);
}

static struct tls_who *who_new(const struct gw_cert_info *info, struct gw_slice der)
{
    struct tls_who *who = calloc(1, sizeof(*who) + der.len);

    if (!who)
        return NULL;
    who->users = 1;
    gw_list_init(&who->tickets);
    memcpy(who->der, der.ptr, der.len);
    who->id.der = GW_SLICE(who->der, der.len);
    who->ends_s = info->not_after_s;
    memcpy(who->id.thumbprint, info->thumbprint, sizeof(who->id.thumbprint));
    return who;
}

/* What the server makes of a client's leaf: 1 to let it through. */
static int judge_client(struct tls_verify *v, bool verified, struct gw_slice der)
{
    const struct tls_context *c = v->context;
    struct tls_peer *p = &v->peer;
    struct gw_cert_info info;
    bool ours;
    int err;

    if (p->who || gw_cert_parse(der, &info))
        return refuse(p, GW_EIDENTITY, "the certificate cannot be read");
    ours = is_ours(c, verified, der);
    if (!verified && (!ours || !in_grace(c, &info)))
        return refuse(p, GW_EIDENTITY, NULL); /* wolfSSL knows why */
    if (ours && (info.is_ca || !info.client_auth || !is_device_id(info.common_name)))
        return refuse(p, GW_EIDENTITY, "the certificate is not a device's");
    p->who = who_new(&info, der);
    if (!p->who)
        return refuse(p, -ENOMEM, "out of memory");
    p->who->id.expired = !verified;
    if (ours)
        strcpy(p->who->id.device, info.common_name);
    else
        p->who->id.manufacturer = true;
    err = c->admit ? c->admit(c->owner, &p->who->id) : 0;
    return err ? refuse(p, err, "the certificate is not admitted") : 1;
}

/* DNS names are wolfSSL's to match; an address is looked for here. */
static int judge_server(struct tls_verify *v, bool verified, struct gw_slice der)
{
    const struct gw_slice wanted[] = {v->address, GW_SLICE_NONE};

    if (!verified)
        return refuse(&v->peer, GW_EIDENTITY, NULL);
    if (v->address.len && !gw_cert_has_names(der, NULL, wanted))
        return refuse(&v->peer, GW_EIDENTITY, "the certificate is for another address");
    return 1;
}

/*
 * wolfSSL has decoded the leaf into an object that stays with the connection and that nobody will
 * ask. Its key alone takes 17 KB: an empty one takes its place.
 */
static void slim(WOLFSSL_X509 *leaf, WOLFSSL_EC_KEY *nobody)
{
    WOLFSSL_EVP_PKEY *key;

    if (!leaf || !nobody)
        return;
    key = wolfSSL_X509_PUBKEY_get(wolfSSL_X509_get_X509_PUBKEY(leaf));
    if (!key)
        return;
    (void)wolfSSL_EVP_PKEY_set1_EC_KEY(key, nobody); /* complains that there is no key in it */
    wolfSSL_EVP_PKEY_free(key);
}

int tls_on_verify(int preverify, WOLFSSL_X509_STORE_CTX *store)
{
    struct tls_verify *v = store->userCtx;
    struct gw_slice der;

    if (store->error_depth > 0 || !store->certs || store->totalCerts < 1)
        return preverify == 1;
    slim(store->current_cert, v->context->nobody);
    der = GW_SLICE(store->certs[0].buffer, store->certs[0].length);
    return v->is_server ? judge_client(v, preverify == 1, der)
                        : judge_server(v, preverify == 1, der);
}
