/* SPDX-License-Identifier: GPL-2.0-only */
#include "check.h"

#include <pwd.h>

#include "crypto/crypto.h"

/* Where a finding is put together. */
struct findings {
    const char *path;
    struct gw_config_error *error;
};

static int refuse(const struct findings *f, const struct gw_blob *blob, const char *key,
                  const char *reason, const char *allowed)
{
    (void)snprintf(f->error->text, sizeof(f->error->text),
                   "%.100s:%u: %s: found \"%.100s\": %s; allowed: %s", f->path, blob->line, key,
                   blob->path, reason, allowed);
    return GW_ECONFIG;
}

static const char *why(int err)
{
    return err == GW_ENOTFOUND ? "it holds none" : gw_error_text(err);
}

static int check_user(const struct findings *f, const char *name)
{
    const struct passwd *user = getpwnam(name);

    if (user && user->pw_uid != 0)
        return 0;
    (void)snprintf(f->error->text, sizeof(f->error->text),
                   "%.100s: gateway.user: found \"%.40s\", %s; allowed: a user without privileges "
                   "(useradd --system --no-create-home --shell /usr/sbin/nologin NAME makes one)",
                   f->path, name, user ? "who has all of them" : "but there is no such user");
    return GW_ECONFIG;
}

/* The first certificate; `out` gets its DER. */
static int first_cert(const struct gw_blob *blob, struct gw_buf *out, struct gw_cert_info *info)
{
    int err = gw_der_from_pem("CERTIFICATE", gw_buf_slice(&blob->data), out, NULL);

    return err ? err : gw_cert_parse(gw_buf_slice(out), info);
}

static int check_certs(const struct findings *f, const struct gw_blob *blob, const char *key)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf der = {.max = GW_CONFIG_FILE_MAX};
    struct gw_cert_info info;
    int err = first_cert(blob, &der, &info);

    return err ? refuse(f, blob, key, why(err), "PEM certificates") : 0;
}

static int check_recipient(const struct findings *f, const struct gw_blob *blob)
{
    static const char allowed[] = "a PEM public key (P-256)", name[] = "uplink.recipients";
    GW_CLEANUP(gw_key_free) struct gw_key *key = NULL;
    int err = gw_key_from_pem(gw_buf_slice(&blob->data), &key);

    if (err)
        return refuse(f, blob, name, why(err), allowed);
    if (gw_key_is_private(key)) /* who holds it reads everything: it stays with the cloud */
        return refuse(f, blob, name, "a private key", allowed);
    return 0;
}

/* Who the gateway is to the broker: a key, and the certificate of this very key. */
static int check_identity(const struct findings *f, const struct gw_blob *cert,
                          const struct gw_blob *private)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf der = {.max = GW_CONFIG_FILE_MAX};
    GW_CLEANUP(gw_key_free) struct gw_key *key = NULL;
    uint8_t spki[GW_SPKI_BYTES], digest[32];
    struct gw_cert_info info;
    int err = gw_key_from_pem(gw_buf_slice(&private->data), &key);

    if (err || !gw_key_is_private(key))
        return refuse(f, private, "uplink.key_file", err ? why(err) : "a public key",
                      "a PEM private key (P-256)");
    err = first_cert(cert, &der, &info);
    if (err)
        return refuse(f, cert, "uplink.cert_file", why(err), "PEM certificates");
    err = gw_key_spki(key, spki);
    if (!err)
        err = gw_sha256(GW_SLICE(spki, sizeof(spki)), digest);
    if (err || memcmp(digest, info.spki_sha256, sizeof(digest)) != 0)
        return refuse(f, cert, "uplink.cert_file", "not of the key in uplink.key_file",
                      "the certificate of that key");
    return 0;
}

int check_files(const char *path, const struct gw_config *c, struct gw_config_error *error)
{
    const struct findings f = {path, error};
    int err = check_user(&f, c->gateway.user);

    for (size_t i = 0; i < c->enroll.manufacturer_count && !err; i++)
        err = check_certs(&f, &c->enroll.manufacturers[i], "enroll.manufacturers_dir");
    if (!err && *c->uplink.ca.path)
        err = check_certs(&f, &c->uplink.ca, "uplink.ca_file");
    if (!err && *c->uplink.key.path)
        err = check_identity(&f, &c->uplink.cert, &c->uplink.key);
    for (size_t i = 0; i < c->uplink.recipient_count && !err; i++)
        err = check_recipient(&f, &c->uplink.recipients[i]);
    return err;
}
