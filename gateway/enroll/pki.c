/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "enroll/enroll_priv.h"

#define DAY_S 86400
#define CA_DAYS (20 * 365 + 5)
#define SERVER_DAYS 365
#define BACKDATE_S 3600 /* a device's clock may be a little behind ours */

#define CA_KEY "ca.key"
#define CA_PEM "ca.pem"
#define OWN_KEY "gateway.key"
#define OWN_PEM "gateway.pem"

static const char *const files[] = {CA_KEY, CA_PEM, OWN_KEY, OWN_PEM};

struct gw_pki {
    int dir; /* state_dir/pki */
    char id[GW_DEVICE_ID_MAX + 1];
    struct gw_key *ca_key, *key;
    struct gw_buf ca_der, ca_pem, cert_der, chain_pem;
    int64_t ca_until_s;
};

static const size_t der_max = PKI_FILE_MAX;

void gw_pki_close(struct gw_pki **pki)
{
    struct gw_pki *p = GW_TAKE(*pki);

    if (!p)
        return;
    gw_close_fd(&p->dir);
    gw_key_free(&p->ca_key);
    gw_key_free(&p->key);
    gw_buf_fini(&p->ca_der);
    gw_buf_fini(&p->ca_pem);
    gw_buf_fini(&p->cert_der);
    gw_buf_fini(&p->chain_pem);
    free(p);
}

static struct gw_pki *pki_alloc(void)
{
    struct gw_pki *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->dir = -1;
    p->ca_der.max = p->ca_pem.max = p->cert_der.max = p->chain_pem.max = der_max;
    return p;
}

static int64_t sane(int64_t now_s)
{
    return GW_MAX(now_s, (int64_t)PKI_EARLIEST_S);
}

/* ---- issuing ---- */

static void wipe_buf(struct gw_buf *b)
{
    gw_wipe(b->data, b->cap);
    gw_buf_fini(b);
}

static void swap(struct gw_buf *a, struct gw_buf *b)
{
    struct gw_buf was = *a;

    *a = *b;
    *b = was;
}

static int write_pem(int dir, const char *name, struct gw_slice der)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf pem = {.max = der_max};
    int err = gw_pem_from_der("CERTIFICATE", der, &pem);

    return err ? err : pki_file_write(dir, name, gw_buf_slice(&pem));
}

static int write_key(int dir, const char *name, const struct gw_key *key)
{
    GW_CLEANUP(wipe_buf) struct gw_buf pem = {.max = der_max};
    int err = gw_key_private_pem(key, &pem);

    return err ? err : pki_file_write(dir, name, gw_buf_slice(&pem));
}

/* A certificate of our CA for our own key, with the names of now. */
static int issue_own(const struct gw_pki *p, const struct pki_names *names, int64_t now_s,
                     struct gw_buf *out)
{
    struct gw_cert_request req = {
        .use = GW_CERT_SERVER,
        .common_name = p->id,
        .organization = "Cordon",
        .dns_names = names->dns,
        .addresses = names->addrs,
        .not_before_s = sane(now_s) - BACKDATE_S,
        .not_after_s = GW_MIN(sane(now_s) + (int64_t)SERVER_DAYS * DAY_S, p->ca_until_s),
    };

    return gw_cert_issue(&req, p->key, gw_buf_slice(&p->ca_der), p->ca_key, out);
}

int pki_issue(const struct gw_pki *p, const char *id, const struct gw_key *key, uint32_t days,
              int64_t now_s, struct gw_buf *out_der)
{
    struct gw_cert_request req = {
        .use = GW_CERT_DEVICE,
        .common_name = id,
        .not_before_s = sane(now_s) - BACKDATE_S,
        .not_after_s = GW_MIN(sane(now_s) + (int64_t)days * DAY_S, p->ca_until_s),
    };

    return gw_cert_issue(&req, key, gw_buf_slice(&p->ca_der), p->ca_key, out_der);
}

/* ---- the first start ---- */

static int issue_ca(struct gw_pki *p, int64_t now_s)
{
    char name[80];
    struct gw_cert_request req = {
        .use = GW_CERT_CA,
        .common_name = name,
        .organization = "Cordon",
        .not_before_s = sane(now_s) - BACKDATE_S,
        .not_after_s = sane(now_s) + (int64_t)CA_DAYS * DAY_S,
    };

    (void)snprintf(name, sizeof(name), "Cordon CA %s", p->id);
    p->ca_until_s = req.not_after_s;
    return gw_cert_issue(&req, p->ca_key, GW_SLICE_NONE, p->ca_key, &p->ca_der);
}

/* Everything new, written into `dir`. */
static int make(int dir, int64_t now_s)
{
    GW_CLEANUP(gw_pki_close) struct gw_pki *p = pki_alloc();
    struct pki_names names;
    uint8_t id[8];
    char hex[17];
    int err;

    if (!p)
        return -ENOMEM;
    err = gw_random(id, sizeof(id));
    if (err)
        return err;
    gw_hex(id, sizeof(id), hex);
    (void)snprintf(p->id, sizeof(p->id), "gw-%s", hex);
    if ((err = gw_key_generate(&p->ca_key)) || (err = gw_key_generate(&p->key)) ||
        (err = issue_ca(p, now_s)) || (err = pki_names_get(&names)) ||
        (err = issue_own(p, &names, now_s, &p->cert_der)))
        return err;
    if ((err = write_key(dir, CA_KEY, p->ca_key)) ||
        (err = write_pem(dir, CA_PEM, gw_buf_slice(&p->ca_der))) ||
        (err = write_key(dir, OWN_KEY, p->key)))
        return err;
    return write_pem(dir, OWN_PEM, gw_buf_slice(&p->cert_der));
}

/* An interrupted first start left pki.new behind: nothing in it was ever used. */
static int clear_leftover(int state)
{
    GW_CLEANUP(gw_close_fd)
    int dir = openat(state, "pki.new", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (dir < 0)
        return errno == ENOENT ? 0 : -errno;
    for (size_t i = 0; i < GW_COUNT(files); i++) {
        char fresh[64];

        (void)snprintf(fresh, sizeof(fresh), "%s.new", files[i]);
        (void)unlinkat(dir, files[i], 0);
        (void)unlinkat(dir, fresh, 0);
    }
    return unlinkat(state, "pki.new", AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Made aside and renamed as one, so that there is a whole authority or none. */
static int make_dir(int state)
{
    GW_CLEANUP(gw_close_fd) int dir = -1;
    int err = clear_leftover(state);

    if (err)
        return err;
    if (mkdirat(state, "pki.new", 0700) < 0)
        return -errno;
    dir = openat(state, "pki.new", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir < 0)
        return -errno;
    err = make(dir, gw_clock_wall_ms() / 1000);
    if (err)
        return err;
    if (renameat(state, "pki.new", state, "pki") < 0)
        return -errno;
    return pki_dir_sync(state);
}

/* ---- every later start ---- */

static int read_key(int dir, const char *name, struct gw_key **out)
{
    GW_CLEANUP(wipe_buf) struct gw_buf pem = {.max = der_max};
    int err = pki_file_read(dir, name, &pem);

    if (!err)
        err = gw_key_from_pem(gw_buf_slice(&pem), out);
    if (!err && !gw_key_is_private(*out))
        err = GW_ENOKEY;
    if (err)
        gw_log_error("the key cannot be used file=pki/%s error=\"%s\"", name, gw_error_text(err));
    return err;
}

static int read_cert(int dir, const char *name, struct gw_buf *der)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf pem = {.max = der_max};
    struct gw_slice rest;
    int err = pki_file_read(dir, name, &pem);

    if (!err)
        err = gw_der_from_pem("CERTIFICATE", gw_buf_slice(&pem), der, &rest);
    if (err)
        gw_log_error("the certificate cannot be used file=pki/%s error=\"%s\"", name,
                     gw_error_text(err));
    return err;
}

/* Does the certificate carry the public half of the key? */
static int check_pair(struct gw_slice der, const struct gw_key *key, const char *name)
{
    GW_CLEANUP(gw_key_free) struct gw_key *in_cert = NULL;
    uint8_t a[GW_SPKI_BYTES], b[GW_SPKI_BYTES];
    int err = gw_cert_key(der, &in_cert);

    if (!err)
        err = gw_key_spki(in_cert, a);
    if (!err)
        err = gw_key_spki(key, b);
    if (!err && memcmp(a, b, sizeof(a)) != 0)
        err = GW_EIDENTITY;
    if (err)
        gw_log_error("key and certificate do not belong together file=pki/%s", name);
    return err;
}

/* Our certificate, then the CA's. */
static int make_chain(struct gw_slice der, struct gw_slice ca_pem, struct gw_buf *out)
{
    int err = gw_pem_from_der("CERTIFICATE", der, out);

    return err ? err : gw_buf_append(out, ca_pem);
}

static int check(struct gw_pki *p)
{
    struct gw_slice ca = gw_buf_slice(&p->ca_der), own = gw_buf_slice(&p->cert_der);
    struct gw_cert_info info;
    int err = check_pair(ca, p->ca_key, CA_PEM);

    if (!err)
        err = check_pair(own, p->key, OWN_PEM);
    if (err)
        return err;
    err = gw_cert_verify(own, ca);
    if (err) {
        gw_log_error("the certificate was not made by this authority file=pki/" OWN_PEM);
        return err;
    }
    err = gw_cert_parse(ca, &info);
    if (err)
        return err;
    if (!info.is_ca)
        return GW_EIDENTITY;
    p->ca_until_s = info.not_after_s;
    err = gw_cert_parse(own, &info);
    if (err)
        return err;
    if (strncmp(info.common_name, "gw-", 3) != 0)
        return GW_EIDENTITY;
    memcpy(p->id, info.common_name, sizeof(p->id));
    return 0;
}

static int load(struct gw_pki *p)
{
    int err;

    if ((err = read_key(p->dir, CA_KEY, &p->ca_key)) ||
        (err = read_cert(p->dir, CA_PEM, &p->ca_der)) ||
        (err = read_key(p->dir, OWN_KEY, &p->key)) ||
        (err = read_cert(p->dir, OWN_PEM, &p->cert_der)) || (err = check(p)))
        return err;
    err = gw_pem_from_der("CERTIFICATE", gw_buf_slice(&p->ca_der), &p->ca_pem);
    if (err)
        return err;
    return make_chain(gw_buf_slice(&p->cert_der), gw_buf_slice(&p->ca_pem), &p->chain_pem);
}

/* True when none of the authority's files is there: nothing was ever made. */
static bool untouched(int state)
{
    for (size_t i = 0; i < GW_COUNT(files); i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "pki/%s", files[i]);
        if (faccessat(state, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
            return false;
    }
    return true;
}

int gw_pki_open(const char *state_dir, struct gw_pki **out)
{
    GW_CLEANUP(gw_pki_close) struct gw_pki *p = pki_alloc();
    GW_CLEANUP(gw_close_fd) int state = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = 0;

    if (!p)
        return -ENOMEM;
    if (state < 0)
        return -errno;
    if (untouched(state)) {
        err = make_dir(state);
        if (err) {
            gw_log_error("the certificate authority cannot be made state_dir=%s error=\"%s\"",
                         state_dir, gw_error_text(err));
            return err;
        }
    }
    p->dir = openat(state, "pki", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (p->dir < 0)
        return -errno;
    err = load(p);
    if (err)
        return err;
    err = gw_pki_refresh(p, gw_clock_wall_ms() / 1000);
    if (err < 0)
        return err;
    *out = GW_TAKE(p);
    return 0;
}

/* The end comes near when a third of the time is left. */
static bool ends_soon(const struct gw_cert_info *info, int64_t now_s)
{
    return info->not_after_s - sane(now_s) < (info->not_after_s - info->not_before_s) / 3;
}

int gw_pki_refresh(struct gw_pki *p, int64_t now_s)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf cert = {.max = der_max}, chain = {.max = der_max};
    struct gw_slice der = gw_buf_slice(&p->cert_der);
    struct gw_cert_info info;
    struct pki_names names;
    int err = pki_names_get(&names);

    if (!err)
        err = gw_cert_parse(der, &info);
    if (err)
        return err;
    if (gw_cert_has_names(der, names.dns, names.addrs) && !ends_soon(&info, now_s))
        return 0;
    err = issue_own(p, &names, now_s, &cert);
    if (!err)
        err = make_chain(gw_buf_slice(&cert), gw_buf_slice(&p->ca_pem), &chain);
    if (!err)
        err = write_pem(p->dir, OWN_PEM, gw_buf_slice(&cert));
    if (err)
        return err;
    swap(&p->cert_der, &cert);
    swap(&p->chain_pem, &chain);
    return 1;
}

const char *gw_pki_gateway_id(const struct gw_pki *p)
{
    return p->id;
}

struct gw_slice gw_pki_ca_der(const struct gw_pki *p)
{
    return gw_buf_slice(&p->ca_der);
}

struct gw_slice gw_pki_ca_pem(const struct gw_pki *p)
{
    return gw_buf_slice(&p->ca_pem);
}

struct gw_slice gw_pki_chain_pem(const struct gw_pki *p)
{
    return gw_buf_slice(&p->chain_pem);
}

struct gw_slice gw_pki_cert_der(const struct gw_pki *p)
{
    return gw_buf_slice(&p->cert_der);
}

const struct gw_key *gw_pki_key(const struct gw_pki *p)
{
    return p->key;
}
