/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_priv.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define CERT_MAX 8192 /* what one certificate of ours may take: hundreds of names */
#define NAME_BYTES 64
#define KEY_ID 20

static void put_name_part(struct gw_writer *w, struct gw_slice oid, const char *text)
{
    size_t set = gw_der_begin(w, DER_SET), pair = gw_der_begin(w, DER_SEQUENCE);

    gw_der_put(w, DER_OID, oid);
    gw_der_put(w, DER_UTF8, gw_slice_str(text));
    gw_der_end(w, pair);
    gw_der_end(w, set);
}

static void put_name(struct gw_writer *w, const char *common_name, const char *organization)
{
    size_t name = gw_der_begin(w, DER_SEQUENCE);

    if (organization)
        put_name_part(w, OID_ORGANIZATION, organization);
    put_name_part(w, OID_COMMON_NAME, common_name);
    gw_der_end(w, name);
}

static void put_signature_algorithm(struct gw_writer *w)
{
    size_t alg = gw_der_begin(w, DER_SEQUENCE);

    gw_der_put(w, DER_OID, OID_ECDSA_SHA256);
    gw_der_end(w, alg);
}

/* UTCTime through 2049, GeneralizedTime after (RFC 5280 §4.1.2.5). */
static void put_time(struct gw_writer *w, int64_t at_s)
{
    time_t t = (time_t)at_s;
    struct tm tm = {0};
    char text[80];
    bool utc;

    (void)gmtime_r(&t, &tm);
    utc = tm.tm_year < 150;
    (void)snprintf(text, sizeof(text), "%04d%02d%02d%02d%02d%02dZ", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    gw_der_put(w, utc ? DER_UTC_TIME : DER_GENERAL_TIME, gw_slice_str(utc ? text + 2 : text));
}

/* ---- extensions ---- */

/* An extension's frame; the contents of its OCTET STRING are written between the two calls. */
struct extension {
    size_t whole, value;
};

static struct extension begin_extension(struct gw_writer *w, struct gw_slice oid, bool critical)
{
    struct extension e = {.whole = gw_der_begin(w, DER_SEQUENCE)};

    gw_der_put(w, DER_OID, oid);
    if (critical)
        gw_der_put(w, DER_BOOLEAN, GW_SLICE_LIT("\xff"));
    e.value = gw_der_begin(w, DER_OCTETS);
    return e;
}

static void end_extension(struct gw_writer *w, struct extension e)
{
    gw_der_end(w, e.value);
    gw_der_end(w, e.whole);
}

static void put_constraints(struct gw_writer *w, enum gw_cert_use use)
{
    struct extension e = begin_extension(w, OID_BASIC_CONSTRAINTS, true);
    size_t body = gw_der_begin(w, DER_SEQUENCE);

    if (use == GW_CERT_CA) {
        gw_der_put(w, DER_BOOLEAN, GW_SLICE_LIT("\xff"));
        gw_der_put(w, DER_INTEGER, GW_SLICE_LIT("\x00")); /* it signs no further CA */
    }
    gw_der_end(w, body);
    end_extension(w, e);

    e = begin_extension(w, OID_KEY_USAGE, true);
    if (use == GW_CERT_CA)
        gw_der_put(w, DER_BITS, GW_SLICE_LIT("\x01\x06")); /* keyCertSign, cRLSign */
    else
        gw_der_put(w, DER_BITS, GW_SLICE_LIT("\x07\x80")); /* digitalSignature */
    end_extension(w, e);
}

static void put_extended_use(struct gw_writer *w, struct gw_slice use)
{
    struct extension e = begin_extension(w, OID_EXT_KEY_USAGE, false);
    size_t body = gw_der_begin(w, DER_SEQUENCE);

    gw_der_put(w, DER_OID, use);
    gw_der_end(w, body);
    end_extension(w, e);
}

static void put_alt_names(struct gw_writer *w, const struct gw_cert_request *req)
{
    struct extension e;
    size_t body;

    if (!(req->dns_names && req->dns_names[0]) && !(req->addresses && req->addresses[0].len))
        return;
    e = begin_extension(w, OID_SUBJECT_ALT_NAME, false);
    body = gw_der_begin(w, DER_SEQUENCE);
    for (size_t i = 0; req->dns_names && req->dns_names[i]; i++)
        gw_der_put(w, 0x82, gw_slice_str(req->dns_names[i]));
    for (size_t i = 0; req->addresses && req->addresses[i].len; i++)
        gw_der_put(w, 0x87, req->addresses[i]);
    gw_der_end(w, body);
    end_extension(w, e);
}

/* RFC 7093 §2, method 1: the first 160 bits of the SHA-256 of the public key's bits. */
static int key_id_of(const struct gw_key *k, uint8_t out[KEY_ID])
{
    uint8_t point[65] = {4}, digest[32];
    int err;

    memcpy(point + 1, k->point, sizeof(k->point));
    err = gw_sha256(GW_SLICE(point, sizeof(point)), digest);
    if (!err)
        memcpy(out, digest, KEY_ID);
    return err;
}

static int put_key_ids(struct gw_writer *w, const struct gw_key *subject, struct gw_slice authority)
{
    uint8_t id[KEY_ID];
    struct extension e;
    size_t body;
    int err = key_id_of(subject, id);

    if (err)
        return err;
    e = begin_extension(w, OID_SUBJECT_KEY_ID, false);
    gw_der_put(w, DER_OCTETS, GW_SLICE(id, sizeof(id)));
    end_extension(w, e);
    e = begin_extension(w, OID_AUTHORITY_KEY_ID, false);
    body = gw_der_begin(w, DER_SEQUENCE);
    gw_der_put(w, 0x80, authority.len ? authority : GW_SLICE(id, sizeof(id)));
    gw_der_end(w, body);
    end_extension(w, e);
    return 0;
}

static int put_extensions(struct gw_writer *w, const struct gw_cert_request *req,
                          const struct gw_key *subject, struct gw_slice authority)
{
    size_t tagged = gw_der_begin(w, DER_CONTEXT_3), list = gw_der_begin(w, DER_SEQUENCE);
    int err;

    put_constraints(w, req->use);
    if (req->use != GW_CERT_CA)
        put_extended_use(w, req->use == GW_CERT_SERVER ? OID_SERVER_AUTH : OID_CLIENT_AUTH);
    if (req->use == GW_CERT_SERVER)
        put_alt_names(w, req);
    err = put_key_ids(w, subject, authority);
    gw_der_end(w, list);
    gw_der_end(w, tagged);
    return err;
}

/* ---- certificates ---- */

/* What the issuer's own certificate says of it; empty for a CA that signs itself. */
struct issuer {
    struct gw_slice name; /* whole */
    struct gw_slice key_id;
};

static int read_issuer(struct gw_slice der, const struct gw_key *key, struct issuer *out)
{
    uint8_t spki[GW_SPKI_BYTES];
    struct gw_slice value;
    struct gw_x509 x;
    int err;

    if (!der.len)
        return 0;
    err = gw_x509_read(der, &x);
    if (!err)
        err = gw_key_spki(key, spki);
    if (err)
        return err;
    if (!gw_slice_eq(x.spki, GW_SLICE(spki, sizeof(spki))))
        return -EINVAL; /* not this certificate's key */
    out->name = x.subject;
    if (gw_x509_extension(&x, OID_SUBJECT_KEY_ID, &value)) {
        struct gw_reader r = gw_reader_of(value), id = gw_der_in(&r, DER_OCTETS);

        out->key_id = gw_reader_rest(&id);
    }
    return 0;
}

static int put_tbs(struct gw_writer *w, const struct gw_cert_request *req,
                   const struct gw_key *subject, const struct issuer *issuer)
{
    uint8_t serial[16], spki[GW_SPKI_BYTES];
    size_t tbs = gw_der_begin(w, DER_SEQUENCE), part;
    int err = gw_random(serial, sizeof(serial));

    serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40); /* positive, and always 16 bytes */
    if (!err)
        err = gw_key_spki(subject, spki);
    if (err)
        return err;
    part = gw_der_begin(w, DER_CONTEXT_0);
    gw_der_put(w, DER_INTEGER, GW_SLICE_LIT("\x02")); /* v3 */
    gw_der_end(w, part);
    gw_der_put(w, DER_INTEGER, GW_SLICE(serial, sizeof(serial)));
    put_signature_algorithm(w);
    if (issuer->name.len)
        gw_writer_put(w, issuer->name);
    else
        put_name(w, req->common_name, req->organization);
    part = gw_der_begin(w, DER_SEQUENCE);
    put_time(w, req->not_before_s);
    put_time(w, req->not_after_s);
    gw_der_end(w, part);
    put_name(w, req->common_name, req->organization);
    gw_writer_put(w, GW_SLICE(spki, sizeof(spki)));
    err = put_extensions(w, req, subject, issuer->key_id);
    gw_der_end(w, tbs);
    return err;
}

/* SEQUENCE { what `w` holds, the algorithm, the signature }: certificates and requests alike. */
static int sign_and_wrap(struct gw_writer *w, const struct gw_key *key, struct gw_buf *out)
{
    uint8_t sig[72], der[CERT_MAX + 128];
    struct gw_writer whole = gw_writer_of(der, sizeof(der));
    size_t sig_len, mark, bits;
    int err = w->err ? w->err : gw_ecdsa_sign_der(key, gw_writer_done(w), sig, &sig_len);

    if (err)
        return err;
    mark = gw_der_begin(&whole, DER_SEQUENCE);
    gw_writer_put(&whole, gw_writer_done(w));
    put_signature_algorithm(&whole);
    bits = gw_der_begin(&whole, DER_BITS);
    gw_writer_u8(&whole, 0); /* unused bits */
    gw_writer_put(&whole, GW_SLICE(sig, sig_len));
    gw_der_end(&whole, bits);
    gw_der_end(&whole, mark);
    return whole.err ? whole.err : gw_buf_append(out, gw_writer_done(&whole));
}

static bool name_fits(const char *name)
{
    return name && name[0] && strlen(name) <= NAME_BYTES && gw_utf8_valid(gw_slice_str(name));
}

/* Years 1950 to 9999 can be written down. */
static bool request_ok(const struct gw_cert_request *req)
{
    for (size_t i = 0; req->addresses && req->addresses[i].len; i++)
        if (req->addresses[i].len != 4 && req->addresses[i].len != 16)
            return false;
    return name_fits(req->common_name) && (!req->organization || name_fits(req->organization)) &&
           req->not_before_s >= 0 && req->not_before_s < req->not_after_s &&
           req->not_after_s <= 253402300799;
}

int gw_cert_issue(const struct gw_cert_request *req, const struct gw_key *subject,
                  struct gw_slice issuer_der, const struct gw_key *issuer_key,
                  struct gw_buf *out_der)
{
    uint8_t tbs[CERT_MAX];
    struct gw_writer w = gw_writer_of(tbs, sizeof(tbs));
    struct issuer issuer = {0};
    int err;

    if (!request_ok(req) || (!issuer_der.len && req->use != GW_CERT_CA))
        return -EINVAL;
    err = read_issuer(issuer_der, issuer_key, &issuer);
    if (!err)
        err = put_tbs(&w, req, subject, &issuer);
    return err ? err : sign_and_wrap(&w, issuer_der.len ? issuer_key : subject, out_der);
}

/* ---- requests ---- */

int gw_csr_make(const char *common_name, const struct gw_key *key, struct gw_buf *out_der)
{
    uint8_t info[512], spki[GW_SPKI_BYTES];
    struct gw_writer w = gw_writer_of(info, sizeof(info));
    size_t body;
    int err = gw_key_spki(key, spki);

    if (err || !name_fits(common_name))
        return err ? err : -EINVAL;
    body = gw_der_begin(&w, DER_SEQUENCE);
    gw_der_put(&w, DER_INTEGER, GW_SLICE_LIT("\x00"));
    put_name(&w, common_name, NULL);
    gw_writer_put(&w, GW_SLICE(spki, sizeof(spki)));
    gw_der_put(&w, DER_CONTEXT_0, GW_SLICE_NONE); /* no attributes */
    gw_der_end(&w, body);
    return sign_and_wrap(&w, key, out_der);
}

/* RFC 2986 §4.1; attributes are read over: what a certificate says is ours to decide. */
static int read_csr_info(struct gw_slice info, struct gw_csr *csr)
{
    struct gw_reader r = gw_reader_of(info), body = gw_der_in(&r, DER_SEQUENCE), version;
    struct gw_slice subject;
    int err;

    version = gw_der_in(&body, DER_INTEGER);
    if (gw_reader_u8(&version) != 0 || gw_der_done(&version))
        return GW_EMALFORMED;
    subject = gw_der_whole(&body, DER_SEQUENCE);
    if (body.err)
        return GW_EMALFORMED;
    err = gw_x509_common_name(subject, csr->common_name);
    if (!err)
        err = gw_key_read_spki(&body, &csr->key);
    if (err)
        return err;
    if (gw_reader_left(&body))
        (void)gw_der_in(&body, DER_CONTEXT_0);
    return gw_der_done(&body) ? GW_EMALFORMED : gw_der_done(&r);
}

int gw_csr_parse(struct gw_slice der, struct gw_csr *out)
{
    GW_CLEANUP(gw_csr_fini) struct gw_csr csr = {0};
    struct gw_reader r = gw_reader_of(der), body = gw_der_in(&r, DER_SEQUENCE);
    struct gw_slice info = gw_der_whole(&body, DER_SEQUENCE), sig;
    enum gw_ecdsa_hash hash = GW_ECDSA_SHA256;
    bool known = gw_der_signature_hash(&body, &hash);
    int err;

    sig = gw_der_bits(&body);
    if (gw_der_done(&body) || gw_der_done(&r))
        return GW_EMALFORMED;
    err = read_csr_info(info, &csr);
    if (err)
        return err;
    if (!known)
        return GW_EUNSUPPORTED;
    err = gw_ecdsa_verify_der(csr.key, hash, info, sig);
    if (err)
        return err;
    *out = csr;
    csr.key = NULL;
    return 0;
}

void gw_csr_fini(struct gw_csr *csr)
{
    gw_key_free(&csr->key);
    csr->common_name[0] = '\0';
}

/* ---- PKCS#7 ---- */

/* RFC 2315 §9.1: SignedData without signers, a bag of certificates. */
static void put_signed_data(struct gw_writer *w, const struct gw_slice *certs, size_t count)
{
    size_t data = gw_der_begin(w, DER_SEQUENCE), part;

    gw_der_put(w, DER_INTEGER, GW_SLICE_LIT("\x01"));
    gw_der_put(w, DER_SET, GW_SLICE_NONE); /* digest algorithms */
    part = gw_der_begin(w, DER_SEQUENCE);
    gw_der_put(w, DER_OID, OID_DATA);
    gw_der_end(w, part);
    part = gw_der_begin(w, DER_CONTEXT_0);
    for (size_t i = 0; i < count; i++)
        gw_writer_put(w, certs[i]);
    gw_der_end(w, part);
    gw_der_put(w, DER_SET, GW_SLICE_NONE); /* signers */
    gw_der_end(w, data);
}

int gw_pkcs7_certs(const struct gw_slice *certs_der, size_t count, struct gw_buf *out_der)
{
    size_t all = 128, whole, tagged;
    struct gw_writer w;
    int err;

    for (size_t i = 0; i < count; i++)
        all += certs_der[i].len;
    err = gw_buf_reserve(out_der, all);
    if (err)
        return err;
    w = gw_writer_of(out_der->data + out_der->tail, all);
    whole = gw_der_begin(&w, DER_SEQUENCE);
    gw_der_put(&w, DER_OID, OID_SIGNED_DATA);
    tagged = gw_der_begin(&w, DER_CONTEXT_0);
    put_signed_data(&w, certs_der, count);
    gw_der_end(&w, tagged);
    gw_der_end(&w, whole);
    if (!w.err)
        out_der->tail += w.len;
    return w.err;
}
