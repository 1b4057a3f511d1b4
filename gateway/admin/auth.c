/* SPDX-License-Identifier: GPL-2.0-only */
/* Who calls: the Unix socket, a session's cookie, or an API key; and the gate before every call. */
#include <stdio.h>

#include "admin/admin_priv.h"
#include "crypto/crypto.h"

static const char *const role_texts[] = {
    [ROLE_NONE] = "none", [ROLE_VIEWER] = "viewer", [ROLE_ADMIN] = "admin"};

const char *role_text(enum role r)
{
    return role_texts[r];
}

bool role_parse(const char *text, enum role *out)
{
    for (enum role r = ROLE_VIEWER; r <= ROLE_ADMIN; r++)
        if (strcmp(role_texts[r], text) == 0) {
            *out = r;
            return true;
        }
    return false;
}

bool admin_is_local(const struct gw_http_request *req)
{
    return gw_http_peer(req)->sa.ss_family == AF_UNIX;
}

/* ---- sessions ---- */

static bool live(const struct session *s, uint64_t now_ms)
{
    return s->id && now_ms - s->used_ms < SESSION_IDLE_MS &&
           now_ms - s->created_ms < SESSION_LIFE_MS;
}

bool session_alive(const struct gw_admin *a, uint64_t id)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (a->sessions[i].id == id)
            return live(&a->sessions[i], gw_clock_mono_ms());
    return false;
}

/* Every slot is looked at, and hashes of a random token give nothing away by their order. */
static struct session *session_find(struct gw_admin *a, const char *cookie)
{
    struct session *found = NULL;
    uint8_t token[32], hash[32];

    if (!cookie || gw_unhex(cookie, token, sizeof(token)) != 0 ||
        gw_sha256(GW_SLICE(token, sizeof(token)), hash) != 0)
        return NULL;
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = &a->sessions[i];

        if (gw_secret_eq(GW_SLICE(s->hash, 32), GW_SLICE(hash, 32)) && live(s, gw_clock_mono_ms()))
            found = s;
    }
    gw_wipe(token, sizeof(token));
    return found;
}

/* A free or dead slot, else the one unused for longest. */
static struct session *session_slot(struct gw_admin *a)
{
    struct session *oldest = &a->sessions[0];

    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = &a->sessions[i];

        if (!live(s, gw_clock_mono_ms()))
            return s;
        if (s->used_ms < oldest->used_ms)
            oldest = s;
    }
    return oldest;
}

static void set_cookie(struct gw_http_request *req, const char *token, uint64_t age_s)
{
    char text[256];

    (void)snprintf(text, sizeof(text),
                   COOKIE "=%s; Path=/; Max-Age=%llu; HttpOnly; Secure; SameSite=Strict", token,
                   (unsigned long long)age_s);
    gw_http_set_header(req, "Set-Cookie", text);
    gw_wipe(text, sizeof(text));
}

int session_begin(struct gw_admin *a, struct gw_http_request *req, const struct user *u)
{
    struct session *s = session_slot(a);
    struct session fresh = {.role = u->role};
    uint8_t token[32];
    char text[65];
    int err = gw_random(token, sizeof(token));

    if (!err)
        err = gw_sha256(GW_SLICE(token, sizeof(token)), fresh.hash);
    if (err)
        return err;
    fresh.id = ++a->last_session;
    fresh.created_ms = fresh.used_ms = gw_clock_mono_ms();
    (void)snprintf(fresh.user, sizeof(fresh.user), "%s", u->name);
    *s = fresh;
    gw_hex(token, sizeof(token), text);
    set_cookie(req, text, SESSION_LIFE_MS / 1000);
    gw_wipe(token, sizeof(token));
    gw_wipe(text, sizeof(text));
    return 0;
}

void login_end(struct gw_admin *a, uint64_t id)
{
    for (size_t i = 0; i < SESSIONS_MAX && id; i++)
        if (a->sessions[i].id == id)
            a->sessions[i] = (struct session){0};
}

void sessions_end_of(struct gw_admin *a, const char *user)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (a->sessions[i].id && strcmp(a->sessions[i].user, user) == 0)
            a->sessions[i] = (struct session){0};
}

/* ---- the caller ---- */

struct who who_calls(struct gw_admin *a, const struct gw_http_request *req)
{
    const char *bearer = gw_http_header(req, "Authorization");
    struct session *s;

    if (admin_is_local(req))
        return (struct who){ROLE_ADMIN, "admin", 0, NULL};
    if (bearer && strncasecmp(bearer, "Bearer ", 7) == 0) {
        const struct key *k = key_find(a, bearer + 7);

        return k ? (struct who){k->role, k->name, 0, k->name}
                 : (struct who){ROLE_NONE, "", 0, NULL};
    }
    s = session_find(a, gw_http_cookie(req, COOKIE));
    if (!s)
        return (struct who){ROLE_NONE, "", 0, NULL};
    s->used_ms = gw_clock_mono_ms();
    return (struct who){s->role, s->user, s->id, NULL};
}

/* ---- the gate ---- */

static void set_headers(struct gw_http_request *req)
{
    static const char csp[] =
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

    gw_http_set_header(req, "Content-Security-Policy", csp);
    gw_http_set_header(req, "Referrer-Policy", "no-referrer");
    gw_http_set_header(req, "X-Frame-Options", "DENY");
    gw_http_set_header(req, "Cross-Origin-Opener-Policy", "same-origin");
    gw_http_set_header(req, "Cross-Origin-Resource-Policy", "same-origin");
}

/* Did a page of another origin make the browser send this? Programs send neither header. */
static bool is_foreign(const struct gw_http_request *req)
{
    const char *site = gw_http_header(req, "Sec-Fetch-Site");
    const char *origin = gw_http_header(req, "Origin");
    const char *host = gw_http_header(req, "Host");

    if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        return true;
    if (!origin)
        return false;
    return !host || strncmp(origin, "https://", 8) != 0 || strcasecmp(origin + 8, host) != 0;
}

static bool is_json(const struct gw_http_request *req)
{
    /* Either makes a browser ask first, when a page of another site sends it. */
    static const char *const types[] = {"application/json", "application/mud+json"};
    const char *type = gw_http_header(req, "Content-Type");
    size_t len = type ? strcspn(type, " ;\t") : 0;

    if (!type && admin_is_local(req) && gw_http_body(req).len == 0)
        return true; /* a person with curl: no browser reaches this socket */
    for (size_t i = 0; i < GW_COUNT(types); i++)
        if (len == strlen(types[i]) && strncasecmp(type, types[i], len) == 0)
            return true;
    return false;
}

static bool is_well_sent(struct gw_http_request *req)
{
    enum gw_http_method m = gw_http_method(req);

    if (m == GW_GET)
        return true;
    if (is_foreign(req)) {
        gw_http_problem(req, 403, "A page of another site may not change anything here.");
        return false;
    }
    if (m != GW_DELETE && !is_json(req)) {
        gw_http_problem(req, 415, "The body must be sent as Content-Type: application/json.");
        return false;
    }
    return true;
}

static bool refuse_role(struct gw_http_request *req, enum role have, enum role need)
{
    if (have == ROLE_NONE) {
        gw_http_set_header(req, "WWW-Authenticate", "Bearer realm=\"cordon\"");
        gw_http_problem(req, 401, "Log in first, or send an API key.");
    } else {
        gw_http_problem(req, 403, "This needs the role %s; yours is %s.", role_text(need),
                        role_text(have));
    }
    return false;
}

bool auth_before(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    unsigned flags = gw_http_route_flags(req);
    enum role need = flags & MAY_ROLES, have;

    set_headers(req);
    if (strncmp(gw_http_path(req), "/api/", 5) == 0)
        gw_http_set_header(req, "Cache-Control", "no-store");
    if ((flags & ONLY_LOCAL) && !admin_is_local(req)) {
        gw_http_problem(req, 403, "This is answered on the gateway itself only: use the command.");
        return false;
    }
    if (!is_well_sent(req))
        return false;
    have = need ? who_calls(a, req).role : ROLE_NONE;
    return have >= need || refuse_role(req, have, need);
}
