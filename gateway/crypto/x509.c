/* SPDX-License-Identifier: GPL-2.0-only */
#include "crypto/crypto_priv.h"

#include <strings.h>
#include <time.h>

#define NAME_MAX_BYTES 64 /* ub-common-name, RFC 5280 appendix A */

bool gw_der_signature_hash(struct gw_reader *r, enum gw_ecdsa_hash *out)
{
    struct gw_reader alg = gw_der_in(r, DER_SEQUENCE);
    struct gw_slice oid = gw_der_oid(&alg);

    if (gw_slice_eq(oid, OID_ECDSA_SHA256))
        *out = GW_ECDSA_SHA256;
    else if (gw_slice_eq(oid, OID_ECDSA_SHA384))
        *out = GW_ECDSA_SHA384;
    else if (gw_slice_eq(oid, OID_ECDSA_SHA512))
        *out = GW_ECDSA_SHA512;
    else
        return false;
    return true;
}

/* Exactly `digits` decimal digits. */
static int read_number(struct gw_reader *r, unsigned digits)
{
    int v = 0;

    for (; digits > 0; digits--) {
        uint8_t c = gw_reader_u8(r);

        if (c < '0' || c > '9')
            gw_reader_fail(r, GW_EMALFORMED);
        v = v * 10 + (c - '0');
    }
    return r->err ? 0 : v;
}

/* UTCTime or GeneralizedTime, in UTC and with seconds (RFC 5280 §4.1.2.5). */
static int64_t read_time(struct gw_reader *r)
{
    bool general = gw_der_peek(r) == DER_GENERAL_TIME;
    struct gw_reader t = gw_der_in(r, general ? DER_GENERAL_TIME : DER_UTC_TIME);
    struct tm tm = {0};
    int year = read_number(&t, general ? 4 : 2);

    tm.tm_year = general ? year - 1900 : year < 50 ? year + 100 : year;
    tm.tm_mon = read_number(&t, 2) - 1;
    tm.tm_mday = read_number(&t, 2);
    tm.tm_hour = read_number(&t, 2);
    tm.tm_min = read_number(&t, 2);
    tm.tm_sec = read_number(&t, 2);
    if (gw_reader_u8(&t) != 'Z' || gw_reader_end(&t) || tm.tm_mon < 0 || tm.tm_mon > 11)
        gw_reader_fail(r, GW_EMALFORMED);
    return r->err ? 0 : (int64_t)timegm(&tm);
}

static void read_tbs(struct gw_reader tbs, struct gw_reader *outer, struct gw_x509 *x)
{
    struct gw_reader part;

    if (gw_der_peek(&tbs) == DER_CONTEXT_0)
        gw_der_skip(&tbs); /* version */
    part = gw_der_in(&tbs, DER_INTEGER);
    x->serial = gw_reader_rest(&part);
    gw_der_skip(&tbs); /* signature algorithm */
    x->issuer = gw_der_whole(&tbs, DER_SEQUENCE);
    part = gw_der_in(&tbs, DER_SEQUENCE);
    x->not_before_s = read_time(&part);
    x->not_after_s = read_time(&part);
    if (gw_reader_end(&part))
        gw_reader_fail(outer, GW_EMALFORMED);
    x->subject = gw_der_whole(&tbs, DER_SEQUENCE);
    x->spki = gw_der_whole(&tbs, DER_SEQUENCE);
    while (gw_reader_left(&tbs) && gw_der_peek(&tbs) != DER_CONTEXT_3)
        gw_der_skip(&tbs); /* unique identifiers */
    if (gw_reader_left(&tbs)) {
        part = gw_der_in(&tbs, DER_CONTEXT_3);
        part = gw_der_in(&part, DER_SEQUENCE);
        x->extensions = gw_reader_rest(&part);
        if (part.err)
            gw_reader_fail(outer, GW_EMALFORMED);
    }
    if (gw_reader_end(&tbs))
        gw_reader_fail(outer, GW_EMALFORMED);
}

int gw_x509_read(struct gw_slice der, struct gw_x509 *out)
{
    struct gw_x509 x = {0};
    struct gw_reader r = gw_reader_of(der), cert = gw_der_in(&r, DER_SEQUENCE), tbs;

    x.tbs = gw_der_whole(&cert, DER_SEQUENCE);
    tbs = gw_reader_of(x.tbs);
    read_tbs(gw_der_in(&tbs, DER_SEQUENCE), &r, &x);
    x.hash_known = gw_der_signature_hash(&cert, &x.hash);
    x.signature = gw_der_bits(&cert);
    if (gw_der_done(&cert) || gw_der_done(&r))
        return GW_EMALFORMED;
    *out = x;
    return 0;
}

bool gw_x509_extension(const struct gw_x509 *x, struct gw_slice oid, struct gw_slice *out)
{
    struct gw_reader r = gw_reader_of(x->extensions);

    while (gw_reader_left(&r)) {
        struct gw_reader ext = gw_der_in(&r, DER_SEQUENCE), value;

        if (!gw_slice_eq(gw_der_oid(&ext), oid))
            continue;
        if (gw_der_peek(&ext) == DER_BOOLEAN)
            gw_der_skip(&ext); /* critical */
        value = gw_der_in(&ext, DER_OCTETS);
        *out = gw_reader_rest(&value);
        return !value.err;
    }
    return false;
}

int gw_x509_common_name(struct gw_slice name, char out[65])
{
    struct gw_reader all = gw_reader_of(name), sets = gw_der_in(&all, DER_SEQUENCE);

    out[0] = '\0';
    while (gw_reader_left(&sets)) {
        struct gw_reader set = gw_der_in(&sets, DER_SET);
        struct gw_reader pair = gw_der_in(&set, DER_SEQUENCE), text;
        bool is_cn = gw_slice_eq(gw_der_oid(&pair), OID_COMMON_NAME);
        struct gw_slice value;

        text = gw_der_in(&pair, gw_der_peek(&pair));
        value = gw_reader_rest(&text);
        if (text.err)
            return GW_EMALFORMED;
        if (!is_cn)
            continue;
        /* A NUL inside would make two names look like one. */
        if (value.len > NAME_MAX_BYTES || !gw_utf8_valid(value))
            return GW_EMALFORMED;
        memcpy(out, value.ptr, value.len);
        out[value.len] = '\0';
        return 0;
    }
    return sets.err ? GW_EMALFORMED : 0;
}

static bool has_use(const struct gw_x509 *x, struct gw_slice use)
{
    struct gw_slice value;
    struct gw_reader r, uses;

    if (!gw_x509_extension(x, OID_EXT_KEY_USAGE, &value))
        return false;
    r = gw_reader_of(value);
    uses = gw_der_in(&r, DER_SEQUENCE);
    while (gw_reader_left(&uses))
        if (gw_slice_eq(gw_der_oid(&uses), use))
            return true;
    return false;
}

static bool is_ca(const struct gw_x509 *x)
{
    struct gw_slice value;
    struct gw_reader r, basic, flag;

    if (!gw_x509_extension(x, OID_BASIC_CONSTRAINTS, &value))
        return false;
    r = gw_reader_of(value);
    basic = gw_der_in(&r, DER_SEQUENCE);
    if (gw_der_peek(&basic) != DER_BOOLEAN)
        return false;
    flag = gw_der_in(&basic, DER_BOOLEAN);
    return gw_reader_u8(&flag) != 0;
}

int gw_cert_parse(struct gw_slice der, struct gw_cert_info *out)
{
    struct gw_cert_info info = {0};
    struct gw_x509 x;
    int err = gw_x509_read(der, &x);

    if (!err)
        err = gw_x509_common_name(x.subject, info.common_name);
    if (!err)
        err = gw_x509_common_name(x.issuer, info.issuer_name);
    if (!err && (x.serial.len == 0 || x.serial.len > sizeof(info.serial)))
        err = GW_EMALFORMED; /* RFC 5280 §4.1.2.2 */
    if (!err)
        err = gw_sha256(der, info.thumbprint);
    if (!err)
        err = gw_sha256(x.spki, info.spki_sha256);
    if (err)
        return err;
    memcpy(info.serial, x.serial.ptr, x.serial.len);
    info.serial_len = x.serial.len;
    info.not_before_s = x.not_before_s;
    info.not_after_s = x.not_after_s;
    info.is_ca = is_ca(&x);
    info.client_auth = has_use(&x, OID_CLIENT_AUTH);
    info.server_auth = has_use(&x, OID_SERVER_AUTH);
    *out = info;
    return 0;
}

int gw_cert_key(struct gw_slice der, struct gw_key **out)
{
    struct gw_x509 x;
    int err = gw_x509_read(der, &x);

    return err ? err : gw_key_from_spki(x.spki, out);
}

int gw_cert_verify(struct gw_slice der, struct gw_slice issuer_der)
{
    GW_CLEANUP(gw_key_free) struct gw_key *key = NULL;
    struct gw_x509 x, issuer;
    int err = gw_x509_read(der, &x);

    if (!err)
        err = gw_x509_read(issuer_der, &issuer);
    if (err)
        return err;
    if (!gw_slice_eq(x.issuer, issuer.subject))
        return GW_EAUTHTAG;
    if (!x.hash_known)
        return GW_EUNSUPPORTED;
    err = gw_key_from_spki(issuer.spki, &key);
    return err ? err : gw_ecdsa_verify_der(key, x.hash, x.tbs, x.signature);
}

/* ---- names ---- */

static bool same_name(struct gw_slice value, const char *name)
{
    return value.len == strlen(name) && strncasecmp((const char *)value.ptr, name, value.len) == 0;
}

/* One GeneralName of the wanted kind: 0x82 dNSName, 0x87 iPAddress (RFC 5280 §4.2.1.6). */
static bool in_names(struct gw_slice names, uint8_t tag, const char *dns, struct gw_slice address)
{
    struct gw_reader r = gw_reader_of(names), list = gw_der_in(&r, DER_SEQUENCE);

    while (gw_reader_left(&list)) {
        uint8_t found = gw_der_peek(&list);
        struct gw_reader value = gw_der_in(&list, found);
        struct gw_slice v = gw_reader_rest(&value);

        if (found == tag && (dns ? same_name(v, dns) : gw_slice_eq(v, address)))
            return true;
    }
    return false;
}

bool gw_cert_has_names(struct gw_slice der, const char *const *dns_names,
                       const struct gw_slice *addresses)
{
    struct gw_slice names = GW_SLICE_NONE;
    struct gw_x509 x;

    if (gw_x509_read(der, &x))
        return false;
    (void)gw_x509_extension(&x, OID_SUBJECT_ALT_NAME, &names);
    for (size_t i = 0; dns_names && dns_names[i]; i++)
        if (!in_names(names, 0x82, dns_names[i], GW_SLICE_NONE))
            return false;
    for (size_t i = 0; addresses && addresses[i].len; i++)
        if (!in_names(names, 0x87, NULL, addresses[i]))
            return false;
    return true;
}
