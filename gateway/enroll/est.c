/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "enroll/enroll_priv.h"

#define EST_PATH "/.well-known/est/"
#define CSR_MAX (16u << 10)
#define ANSWER_MAX (64u << 10)
#define RETRY_AFTER "30" /* seconds, for a request that waits */
#define PAIR_DEFAULT_S 300
#define PAIR_MAX_S 86400

struct gw_enroll {
    struct gw_loop *loop;
    struct gw_pki *pki;
    struct gw_devices *devices;
    struct gw_journal *journal;
    uint32_t certificate_days, window_s;
    struct bindings bindings;
    struct pairing pairing;
    struct gw_device_listener listener;
    struct gw_log_limit refusals;   /* of alerts: a peer must not fill the journal */
    gw_enroll_wrong_code *on_wrong; /* NULL: nobody asks */
    void *owner;
};

/** One request for a certificate, taken apart. */
struct ask {
    struct gw_enroll *e;
    struct gw_http_request *req;
    struct gw_csr csr;
    const char *id; /* in csr */
    uint8_t spki[32];
    struct gw_hwaddr from;
    struct binding *bound;          /* what the id is bound to, or NULL */
    bool same;                      /* bound, and to this very key */
    const struct gw_device *device; /* the registry's record, or NULL */
};

static void ask_fini(struct ask *a)
{
    gw_csr_fini(&a->csr);
}

static void refused(struct gw_enroll *e, const char *id, const struct gw_hwaddr *from,
                    const char *why)
{
    char addr[GW_HWADDR_TEXT];

    if (!gw_log_allowed(&e->refusals, gw_loop_now_ms(e->loop)))
        return;
    e->refusals.muted = 0;
    gw_journal_alert(e->journal, GW_WARNING, "enroll", id,
                     json_pack("{s:s}", "address", gw_hwaddr_text(from, addr)),
                     "A certificate for %s was refused: %s.", id && *id ? id : "a device", why);
}

/* ---- answers ---- */

/* DER as the base64 body that EST wants (RFC 7030 §4). */
static void reply_der(struct gw_http_request *r, const char *type, struct gw_slice der)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf text = {.max = ANSWER_MAX};
    int err = gw_base64(der, true, &text);

    if (err) {
        gw_http_problem(r, 500, "The answer could not be made: %s.", gw_error_text(err));
        return;
    }
    gw_http_set_header(r, "Content-Transfer-Encoding", "base64");
    gw_http_reply(r, 200, type, gw_buf_slice(&text));
}

static void on_cacerts(void *owner, struct gw_http_request *r)
{
    struct gw_enroll *e = owner;
    GW_CLEANUP(gw_buf_fini) struct gw_buf der = {.max = ANSWER_MAX};
    struct gw_slice ca = gw_pki_ca_der(e->pki);
    int err = gw_pkcs7_certs(&ca, 1, &der);

    if (err)
        gw_http_problem(r, 500, "The answer could not be made: %s.", gw_error_text(err));
    else
        reply_der(r, "application/pkcs7-mime", gw_buf_slice(&der));
}

static void on_csrattrs(void *owner, struct gw_http_request *r)
{
    /* CsrAttrs (RFC 7030 §4.5.2): an EC key on P-256, signed with ecdsa-with-SHA256. */
    static const uint8_t attrs[] = {
        0x30, 0x21, 0x30, 0x15, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
        0x01, 0x31, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
        0x07, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
    };

    (void)owner;
    reply_der(r, "application/csrattrs", GW_SLICE(attrs, sizeof(attrs)));
}

/* ---- issuing: the answer leaves once the binding is on disk ---- */

struct issue {
    struct gw_http_request *req; /* NULL: the client left */
    struct gw_buf der;           /* the PKCS#7 */
};

static void issue_free(struct issue **i)
{
    if (*i)
        gw_buf_fini(&(*i)->der);
    free(GW_TAKE(*i));
}

static void issue_stored(void *owner, int err)
{
    GW_CLEANUP(issue_free) struct issue *i = owner;

    if (!i->req)
        return;
    if (err)
        gw_http_problem(i->req, 503, "The certificate could not be recorded; try again.");
    else
        reply_der(i->req, "application/pkcs7-mime; smime-type=certs-only", gw_buf_slice(&i->der));
}

static void issue_gone(void *owner, struct gw_http_request *r)
{
    struct issue *i = owner;

    (void)r;
    i->req = NULL;
}

static int make_answer(struct ask *a, struct issue **out)
{
    GW_CLEANUP(issue_free) struct issue *i = calloc(1, sizeof(*i));
    GW_CLEANUP(gw_buf_fini) struct gw_buf cert = {.max = ANSWER_MAX};
    struct gw_slice der;
    int err;

    if (!i)
        return -ENOMEM;
    i->req = a->req;
    i->der.max = ANSWER_MAX;
    err = pki_issue(a->e->pki, a->id, a->csr.key, a->e->certificate_days, gw_clock_wall_ms() / 1000,
                    &cert);
    if (err)
        return err;
    der = gw_buf_slice(&cert);
    err = gw_pkcs7_certs(&der, 1, &i->der);
    if (err)
        return err;
    *out = GW_TAKE(i);
    return 0;
}

static void issue(struct ask *a, const char *how)
{
    GW_CLEANUP(issue_free) struct issue *i = NULL;
    char addr[GW_HWADDR_TEXT];
    int err = make_answer(a, &i);

    if (!err)
        err = bindings_put(&a->e->bindings, a->id, a->spki, &a->from, false,
                           gw_loop_now_ms(a->e->loop), issue_stored, i);
    if (err) {
        gw_http_problem(a->req, 503, "The certificate could not be made: %s.", gw_error_text(err));
        return;
    }
    gw_http_on_gone(a->req, issue_gone, i);
    i = NULL; /* issue_stored frees it */
    gw_journal_alert(a->e->journal, GW_INFO, "enroll", a->id,
                     json_pack("{s:s}", "address", gw_hwaddr_text(&a->from, addr)),
                     "%s got a certificate: %s.", a->id, how);
}

/* ---- reading a request ---- */

static struct gw_hwaddr addr_of(const struct gw_addr *peer)
{
    const void *sa = &peer->sa;

    if (peer->sa.ss_family == AF_INET)
        return gw_hwaddr_ipv4((const uint8_t *)&((const struct sockaddr_in *)sa)->sin_addr);
    if (peer->sa.ss_family == AF_INET6)
        return gw_hwaddr_ipv6((const uint8_t *)&((const struct sockaddr_in6 *)sa)->sin6_addr);
    return (struct gw_hwaddr){0};
}

static bool is_pkcs10(const char *type)
{
    static const char want[] = "application/pkcs10";

    return type && strncasecmp(type, want, sizeof(want) - 1) == 0 &&
           (type[sizeof(want) - 1] == '\0' || strchr("; \t", type[sizeof(want) - 1]));
}

/* An id that a certificate may carry: not one that Cordon gives to addresses or to gateways. */
static bool id_allowed(const char *id)
{
    return gw_device_id_valid(id) && !gw_device_id_is_mac(id) && strncmp(id, "gw-", 3) != 0;
}

static int read_csr(struct ask *a)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf der = {.max = CSR_MAX};
    uint8_t spki[GW_SPKI_BYTES];
    int err = gw_unbase64(gw_http_body(a->req), &der);

    if (!err)
        err = gw_csr_parse(gw_buf_slice(&der), &a->csr);
    if (!err)
        err = gw_key_spki(a->csr.key, spki);
    return err ? err : gw_sha256(GW_SLICE(spki, sizeof(spki)), a->spki);
}

/* True when the request is well-formed; otherwise it has been answered. */
static bool read_ask(struct ask *a)
{
    int err;

    a->from = addr_of(gw_http_peer(a->req));
    if (!is_pkcs10(gw_http_header(a->req, "Content-Type"))) {
        gw_http_problem(a->req, 415, "The body must be a PKCS#10 request, application/pkcs10.");
        return false;
    }
    err = read_csr(a);
    if (err) {
        gw_http_problem(a->req, 400,
                        "The body is no PKCS#10 request in base64 for a P-256 key: %s.",
                        gw_error_text(err));
        return false;
    }
    a->id = a->csr.common_name;
    if (!id_allowed(a->id)) {
        gw_http_problem(a->req, 400,
                        "The common name must be 1 to 64 of A-Z a-z 0-9 . _ - and not one that "
                        "Cordon gives itself (gw-..., mac-...).");
        return false;
    }
    a->bound = bindings_get(&a->e->bindings, a->id);
    a->same = a->bound && gw_secret_eq(GW_SLICE(a->bound->spki, 32), GW_SLICE(a->spki, 32));
    a->device = gw_devices_get(a->e->devices, a->id);
    return true;
}

/* ---- who may have a certificate ---- */

static void refuse_registry(struct ask *a, int err)
{
    refused(a->e, a->id, &a->from, gw_error_text(err));
    gw_http_problem(a->req, err == GW_EREVOKED ? 403 : 503, "%s gets no certificate: %s.", a->id,
                    gw_error_text(err));
}

static void refuse_other_key(struct ask *a)
{
    refused(a->e, a->id, &a->from, "another key holds this id");
    gw_http_problem(a->req, 409, "Another key holds the id %s; an admin can forget it.", a->id);
}

/* Approved at once; the class stays what it was. */
static void approve_and_issue(struct ask *a, const char *how)
{
    struct gw_device *made;
    int err = a->device ? 0 : gw_devices_pending(a->e->devices, a->id, &made);

    if (!err)
        err = gw_devices_approve(a->e->devices, a->id, NULL, NULL);
    if (err)
        refuse_registry(a, err);
    else
        issue(a, how);
}

static void ask_for_code(struct ask *a, unsigned status, const char *detail)
{
    if (status == 401)
        gw_http_set_header(a->req, "WWW-Authenticate", "Basic realm=\"Cordon pairing code\"");
    else
        gw_http_set_header(a->req, "Retry-After", RETRY_AFTER);
    gw_http_problem(a->req, status, "%s", detail);
}

static void tell_wrong(const struct ask *a)
{
    if (a->e->on_wrong)
        a->e->on_wrong(a->e->owner, &a->from);
}

/* True when the code is right; otherwise it has been answered. */
static bool try_code(struct ask *a, const char *code)
{
    struct gw_enroll *e = a->e;

    switch (pairing_try(&e->pairing, gw_loop_now_ms(e->loop), &a->from, code)) {
    case PAIRING_RIGHT:
        return true;
    case PAIRING_WRONG:
        refused(e, a->id, &a->from, "wrong pairing code");
        ask_for_code(a, 401, "The pairing code is wrong.");
        tell_wrong(a);
        return false;
    case PAIRING_MUTED:
        ask_for_code(a, 429, "Too many wrong pairing codes from this address.");
        tell_wrong(a);
        return false;
    case PAIRING_CLOSED:
        refused(e, a->id, &a->from, "no pairing window is open");
        ask_for_code(a, 401, "No pairing window is open, or the code has expired.");
        return false;
    case PAIRING_SPENT:
        gw_journal_alert(e->journal, GW_CRITICAL, "enroll", NULL, NULL,
                         "The pairing window was closed after %d wrong codes.", PAIRING_GUESSES);
        ask_for_code(a, 401, "The pairing code is wrong.");
        tell_wrong(a);
        return false;
    }
    return false;
}

/* A manufacturer's certificate or the right code; `*how` NULL: neither was shown. */
static bool find_trust(struct ask *a, const char **how)
{
    GW_CLEANUP(gw_free_ptr) char *user = NULL, *code = NULL;
    bool right;

    *how = NULL;
    if (gw_http_identity(a->req)->manufacturer) {
        *how = "its manufacturer vouches for it";
        return true;
    }
    if (!gw_http_basic(a->req, &user, &code))
        return true;
    right = try_code(a, code);
    gw_wipe(code, strlen(code));
    if (right)
        *how = "by pairing code";
    return right;
}

/* ---- requests that wait for an admin ---- */

/* Whoever has not asked for long enough waits no more. */
static void drop_lapsed(struct gw_enroll *e)
{
    struct binding *x;

    while ((x = bindings_lapsed(&e->bindings, gw_loop_now_ms(e->loop)))) {
        const struct gw_device *d = gw_devices_get(e->devices, x->device);
        char id[GW_DEVICE_ID_MAX + 1];

        memcpy(id, x->device, sizeof(id));
        if (d && d->state == GW_DEVICE_PENDING)
            (void)(gw_devices_forget(e->devices, id) == 0);
        bindings_remove(&e->bindings, id);
    }
}

/* 0 or an error of the registry; GW_EQUOTA: this address has its one request, GW_EFULL: too many.
 */
static int begin_waiting(struct ask *a)
{
    struct gw_enroll *e = a->e;
    const struct binding *other = bindings_from(&e->bindings, &a->from);
    char addr[GW_HWADDR_TEXT];
    struct gw_device *made;
    int err;

    if (other && strcmp(other->device, a->id) != 0)
        return GW_EQUOTA;
    if (e->bindings.waiting_count >= WAITING_MAX)
        return GW_EFULL;
    err = gw_devices_pending(e->devices, a->id, &made);
    if (!err)
        err = bindings_put(&e->bindings, a->id, a->spki, &a->from, true, gw_loop_now_ms(e->loop),
                           NULL, NULL);
    if (!err)
        gw_journal_alert(e->journal, GW_WARNING, "enroll", a->id,
                         json_pack("{s:s}", "address", gw_hwaddr_text(&a->from, addr)),
                         "%s asks for a certificate and waits for an admin.", a->id);
    return err;
}

static void wait_for_admin(struct ask *a)
{
    int err = 0;

    if (a->same)
        bindings_asked(&a->e->bindings, a->bound, gw_loop_now_ms(a->e->loop));
    else
        err = begin_waiting(a);
    if (err == GW_EREVOKED || err == GW_EIDENTITY) {
        refuse_registry(a, GW_EREVOKED);
        return;
    }
    gw_http_set_header(a->req, "Retry-After", RETRY_AFTER);
    if (!err)
        gw_http_reply(a->req, 202, "text/plain",
                      GW_SLICE_LIT("The request waits for an admin's approval.\n"));
    else if (err == GW_EQUOTA)
        gw_http_problem(a->req, 429, "Another request from this address waits already.");
    else
        gw_http_problem(a->req, 503, "The request cannot wait: %s.", gw_error_text(err));
}

/* ---- the two ways to a certificate ---- */

/* By the device's own certificate, perhaps for a new key. */
static void renew(struct ask *a)
{
    if (gw_devices_revoked(a->e->devices, a->id)) /* perhaps forgotten since */
        refuse_registry(a, GW_EREVOKED);
    else
        approve_and_issue(a, "renewed by its own certificate");
}

static void on_simpleenroll(void *owner, struct gw_http_request *r)
{
    struct gw_enroll *e = owner;
    GW_CLEANUP(ask_fini) struct ask a = {.e = e, .req = r};
    const char *how;

    drop_lapsed(e);
    if (!read_ask(&a))
        return;
    if (a.device && a.device->state == GW_DEVICE_REVOKED)
        refuse_registry(&a, GW_EREVOKED);
    else if (strcmp(gw_http_identity(r)->device, a.id) == 0)
        renew(&a);
    else if (!find_trust(&a, &how))
        return;
    else if (a.device && a.device->state == GW_DEVICE_APPROVED && !a.same)
        refuse_other_key(&a);
    else if (a.device && a.device->state == GW_DEVICE_APPROVED)
        issue(&a, "approved");
    else if (how)
        approve_and_issue(&a, how);
    else if (a.bound && !a.same)
        refuse_other_key(&a);
    else
        wait_for_admin(&a);
}

static void on_simplereenroll(void *owner, struct gw_http_request *r)
{
    struct gw_enroll *e = owner;
    GW_CLEANUP(ask_fini) struct ask a = {.e = e, .req = r};

    if (gw_http_identity(r)->device[0] == '\0')
        gw_http_problem(r, 403, "Renewal needs the device's own certificate.");
    else if (!read_ask(&a))
        return;
    else if (strcmp(gw_http_identity(r)->device, a.id) != 0)
        gw_http_problem(r, 403, "The common name must be that of the certificate shown.");
    else
        renew(&a);
}

/* ---- the room ---- */

static const struct gw_http_route routes[] = {
    {GW_GET, EST_PATH "cacerts", on_cacerts, 0},
    {GW_GET, EST_PATH "csrattrs", on_csrattrs, 0},
    {GW_POST, EST_PATH "simpleenroll", on_simpleenroll, 0},
    {GW_POST, EST_PATH "simplereenroll", on_simplereenroll, 0},
    {0},
};

/* A forgotten id is free again. */
static void on_device(void *owner, const struct gw_device *d, enum gw_device_change what,
                      const struct gw_hwaddr *addr, const struct gw_device *from)
{
    struct gw_enroll *e = owner;

    (void)addr;
    (void)from;
    if (what == GW_DEVICE_REMOVED)
        bindings_remove(&e->bindings, d->id);
}

void gw_enroll_reload(struct gw_enroll *e, const struct gw_config *config)
{
    e->certificate_days = config->enroll.certificate_days;
    e->window_s = config->enroll.window_s;
}

int gw_enroll_new(struct gw_loop *loop, const struct gw_config *config, struct gw_pki *pki,
                  struct gw_devices *devices, struct gw_journal *journal, struct gw_store *store,
                  struct gw_enroll **out)
{
    GW_CLEANUP(gw_enroll_free) struct gw_enroll *e = calloc(1, sizeof(*e));
    int err;

    if (!e)
        return -ENOMEM;
    e->loop = loop;
    e->pki = pki;
    e->devices = devices;
    e->journal = journal;
    e->refusals = (struct gw_log_limit){.burst = 10, .per_ms = 60000};
    gw_list_init(&e->listener.node);
    gw_enroll_reload(e, config);
    err = bindings_open(&e->bindings, store, gw_loop_now_ms(loop));
    if (err)
        return err;
    e->listener.changed = on_device;
    e->listener.owner = e;
    gw_devices_listen(devices, &e->listener);
    *out = GW_TAKE(e);
    return 0;
}

void gw_enroll_free(struct gw_enroll **enroll)
{
    struct gw_enroll *e = GW_TAKE(*enroll);

    if (!e)
        return;
    gw_list_remove(&e->listener.node);
    bindings_close(&e->bindings);
    pairing_close(&e->pairing);
    free(e);
}

void gw_enroll_watch(struct gw_enroll *e, gw_enroll_wrong_code *fn, void *owner)
{
    e->on_wrong = fn;
    e->owner = owner;
}

int gw_enroll_mount(struct gw_enroll *e, struct gw_http *http)
{
    return gw_http_mount(http, routes, e);
}

int gw_enroll_admits(const struct gw_enroll *e, const struct gw_identity *id)
{
    const struct binding *bound = bindings_get(&e->bindings, id->device);
    struct gw_cert_info info;
    int err;

    if (gw_devices_revoked(e->devices, id->device))
        return GW_EREVOKED;
    if (!bound || bound->waits)
        return 0;
    err = gw_cert_parse(id->der, &info);
    if (err)
        return err;
    return bindings_holds(bound, info.spki_sha256) ? 0 : GW_EREVOKED;
}

int gw_enroll_pair(struct gw_enroll *e, uint32_t seconds, char out_code[32], int64_t *out_until_ms)
{
    int err;

    if (seconds == 0)
        seconds = e->window_s ? e->window_s : PAIR_DEFAULT_S;
    seconds = GW_MIN(seconds, (uint32_t)PAIR_MAX_S);
    err = pairing_open(&e->pairing, gw_loop_now_ms(e->loop), gw_clock_wall_ms(), seconds, out_code);
    if (err)
        return err;
    *out_until_ms = e->pairing.until_wall_ms;
    return 0;
}

void gw_enroll_pair_close(struct gw_enroll *e)
{
    pairing_close(&e->pairing);
}

int64_t gw_enroll_pair_until(const struct gw_enroll *e)
{
    if (!e->pairing.open || gw_loop_now_ms(e->loop) >= e->pairing.until_ms)
        return 0;
    return e->pairing.until_wall_ms;
}
