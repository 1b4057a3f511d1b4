/* SPDX-License-Identifier: GPL-2.0-only */
/* Users and their passwords. A password is hashed on the storage thread (scrypt takes its time) and
 * compared on the loop's; an unknown user costs as much as a known one. */
#include <errno.h>
#include <stdio.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"
#include "crypto/crypto.h"

/* ---- the database ---- */

static int users_read(struct gw_admin *a, sqlite3 *db)
{
    sqlite3_stmt *row;
    int err = gw_sql(db, &row, "SELECT name, role, salt, hash FROM admin_user ORDER BY name", "");

    if (err)
        return err;
    while ((err = gw_sql_step(row)) == 1) {
        struct gw_slice salt = gw_sql_blob(row, 2), hash = gw_sql_blob(row, 3);
        struct user u = {.role = ROLE_NONE};

        (void)snprintf(u.name, sizeof(u.name), "%s", gw_sql_text(row, 0));
        if (a->user_count == USERS_MAX || salt.len != sizeof(u.salt) ||
            hash.len != sizeof(u.hash) || !role_parse(gw_sql_text(row, 1), &u.role))
            continue;
        memcpy(u.salt, salt.ptr, sizeof(u.salt));
        memcpy(u.hash, hash.ptr, sizeof(u.hash));
        a->users[a->user_count++] = u;
    }
    return err;
}

int users_load(struct gw_admin *a)
{
    int err = table_load(a, "admin_users",
                         "CREATE TABLE admin_user (name TEXT PRIMARY KEY, role TEXT NOT NULL, "
                         "salt BLOB NOT NULL, hash BLOB NOT NULL) WITHOUT ROWID",
                         users_read);

    return !err && a->user_count == 0 ? setup_code_make(a) : err;
}

struct user *user_find(struct gw_admin *a, const char *name)
{
    for (size_t i = 0; i < a->user_count; i++)
        if (strcmp(a->users[i].name, name) == 0)
            return &a->users[i];
    return NULL;
}

/* ---- the setup code: 12 of 32 letters, 60 bits ---- */

int setup_code_make(struct gw_admin *a)
{
    static const char letters[33] = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    char code[SETUP_CODE_TEXT];
    uint8_t random[12];
    size_t n = 0;
    int err = gw_random(random, sizeof(random));

    if (err)
        return err;
    for (size_t i = 0; i < sizeof(random); i++) {
        if (i && i % 4 == 0)
            code[n++] = '-';
        code[n++] = letters[random[i] % 32];
    }
    code[n] = '\0';
    memcpy(a->setup_code, code, sizeof(code));
    return 0;
}

/* As a person types it: small letters, spaces or hyphens anywhere. */
static bool is_setup_code(const struct gw_admin *a, const char *text)
{
    char code[SETUP_CODE_TEXT] = {0};
    size_t n = 0;

    if (!*a->setup_code)
        return false;
    for (; *text; text++) {
        if (*text == ' ' || *text == '-')
            continue;
        if (n == SETUP_CODE_TEXT - 1)
            return false;
        if (n == 4 || n == 9)
            code[n++] = '-';
        code[n++] = (char)(*text >= 'a' && *text <= 'z' ? *text - 32 : *text);
    }
    return gw_secret_eq(GW_SLICE(code, sizeof(code)), GW_SLICE(a->setup_code, sizeof(code)));
}

void on_setup_code(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;

    if (*a->setup_code)
        gw_http_reply_json(req, 200, json_pack("{s:s}", "code", a->setup_code));
    else
        gw_http_problem(req, 409, "A password is set already; cordon passwd USER changes it.");
}

/* ---- one password on its way ---- */

enum purpose { TO_LOGIN, TO_SETUP, TO_SET };

struct password_job {
    struct gw_store_job job;
    struct wait wait;
    struct gw_addr peer;
    enum purpose purpose;
    bool known;       /* TO_LOGIN: there is such a user */
    struct user user; /* what was computed: becomes, or is compared with, the stored one */
    char by[NAME_MAX_BYTES + 1];
    size_t password_len;
    char password[]; /* wiped with the job */
};

static void password_free(struct password_job *p)
{
    gw_wipe(p, sizeof(*p) + p->password_len);
    free(p);
}

static int hash_run(struct gw_store_job *job, sqlite3 *db)
{
    struct password_job *p = GW_CONTAINER(job, struct password_job, job);

    (void)db;
    return gw_scrypt(GW_SLICE(p->password, p->password_len), p->user.salt, p->user.hash);
}

static int save_run(struct gw_store_job *job, sqlite3 *db)
{
    const struct user *u = &GW_CONTAINER(job, struct password_job, job)->user;

    return gw_sql_exec(db,
                       "INSERT OR REPLACE INTO admin_user (name, role, salt, hash) "
                       "VALUES (?1, ?2, ?3, ?4)",
                       "ttbb", u->name, role_text(u->role), GW_SLICE(u->salt, sizeof(u->salt)),
                       GW_SLICE(u->hash, sizeof(u->hash)));
}

static void let_in(struct gw_admin *a, struct gw_http_request *req, const struct user *u)
{
    int err = session_begin(a, req, u);

    if (err)
        admin_refuse(req, err, "No session was begun");
    else
        admin_done(req);
}

/* Stored: from now on it counts, and sessions under the old password do not. */
static void saved(struct gw_store_job *job, int err)
{
    struct password_job *p = GW_CONTAINER(job, struct password_job, job);
    struct gw_admin *a = p->wait.admin;
    struct gw_http_request *req = wait_end(&p->wait);
    struct user *u = a ? user_find(a, p->user.name) : NULL;

    if (a && !u)
        a->adding_user = false;
    if (a && !err) {
        if (!u)
            u = &a->users[a->user_count++];
        *u = p->user;
        sessions_end_of(a, u->name);
        gw_wipe(a->setup_code, sizeof(a->setup_code));
        gw_journal_alert(a->rooms.journal, GW_INFO, "password", NULL, NULL,
                         "%s set the password of %s.", p->by, u->name);
    }
    if (req && err)
        admin_refuse(req, err, "The password was not set");
    else if (req && p->purpose == TO_SETUP)
        let_in(a, req, u);
    else if (req)
        admin_done(req);
    password_free(p);
}

/*
 * Meanwhile somebody else may have been first: then there is nothing to set up, or no room. New
 * users come one at a time, because one counts only when it is stored.
 */
static int may_save(struct gw_admin *a, const struct password_job *p)
{
    if (p->purpose == TO_SETUP && a->user_count)
        return GW_EEXISTS;
    if (user_find(a, p->user.name))
        return 0;
    if (a->adding_user)
        return -EAGAIN;
    a->adding_user = a->user_count < USERS_MAX;
    return a->adding_user ? 0 : GW_EFULL;
}

static void login_failed(struct gw_admin *a, const struct password_job *p,
                         struct gw_http_request *req)
{
    char peer[GW_ADDR_TEXT], name[GW_LOG_TEXT];

    gw_log_warning("login refused user=%s peer=%s", gw_log_text(gw_slice_str(p->user.name), name),
                   gw_addr_text(&p->peer, peer));
    gw_journal_alert(a->rooms.journal, GW_WARNING, "login", NULL, NULL, "A login failed, from %s.",
                     peer);
    if (req)
        gw_http_problem(req, 401, "The user name or the password is wrong.");
}

static void login_hashed(struct gw_admin *a, struct password_job *p, struct gw_http_request *req)
{
    const struct user *u = user_find(a, p->user.name);

    if (!u || !p->known ||
        !gw_secret_eq(GW_SLICE(u->hash, sizeof(u->hash)),
                      GW_SLICE(p->user.hash, sizeof(p->user.hash)))) {
        login_failed(a, p, req);
        return;
    }
    attempt_give_back(a, &p->peer);
    if (req)
        let_in(a, req, u);
}

static void hashed(struct gw_store_job *job, int err)
{
    struct password_job *p = GW_CONTAINER(job, struct password_job, job);
    struct gw_admin *a = p->wait.admin;
    struct gw_http_request *req;

    if (a)
        a->login_jobs--;
    if (a && !err && p->purpose != TO_LOGIN)
        err = may_save(a, p);
    if (a && !err && p->purpose != TO_LOGIN) {
        p->job = (struct gw_store_job){.run = save_run, .done = saved};
        gw_store_submit(a->rooms.store, &p->job);
        return;
    }
    req = wait_end(&p->wait);
    if (req && err)
        admin_refuse(req, err, "The password was not %s",
                     p->purpose == TO_LOGIN ? "checked" : "set");
    else if (a && !err)
        login_hashed(a, p, req);
    password_free(p);
}

static struct password_job *password_new(struct gw_http_request *req, enum purpose purpose,
                                         const char *name, const char *password)
{
    size_t len = strlen(password);
    struct password_job *p = calloc(1, sizeof(*p) + len);

    if (!p) {
        admin_refuse(req, -ENOMEM, "The password was not taken");
        return NULL;
    }
    p->purpose = purpose;
    p->peer = *gw_http_peer(req);
    p->password_len = len;
    memcpy(p->password, password, len);
    (void)snprintf(p->user.name, sizeof(p->user.name), "%s", name);
    return p;
}

/* Hash it and go on in hashed(). A new password gets a new salt; an unknown user any. */
static void password_start(struct gw_admin *a, struct gw_http_request *req, struct password_job *p,
                           const struct user *known)
{
    int err = 0;

    if (known)
        memcpy(p->user.salt, known->salt, sizeof(p->user.salt));
    else
        err = gw_random(p->user.salt, sizeof(p->user.salt));
    if (err) {
        admin_refuse(req, err, "The password was not taken");
        password_free(p);
        return;
    }
    p->known = known != NULL;
    p->job = (struct gw_store_job){.run = hash_run, .done = hashed, .no_sql = true};
    a->login_jobs++;
    wait_begin(&p->wait, a, req);
    gw_store_submit(a->rooms.store, &p->job);
}

/* ---- the calls ---- */

static bool may_guess(struct gw_admin *a, struct gw_http_request *req)
{
    uint32_t retry_s = 1;
    char text[16];

    if (a->login_jobs < LOGIN_JOBS_MAX &&
        (admin_is_local(req) || attempt_take(a, gw_http_peer(req), &retry_s)))
        return true;
    (void)snprintf(text, sizeof(text), "%u", retry_s);
    gw_http_set_header(req, "Retry-After", text);
    gw_http_problem(req, 429, "Too many attempts; try again in %u seconds.", retry_s);
    return false;
}

static bool is_password(struct gw_http_request *req, const char *password)
{
    if (strlen(password) >= PASSWORD_MIN)
        return true;
    gw_http_problem(req, 400, "A password has at least %d characters.", PASSWORD_MIN);
    return false;
}

static bool is_user_name(struct gw_http_request *req, const char *name)
{
    if (gw_device_id_valid(name))
        return true;
    gw_http_problem(req, 400, "A user name has 1 to %d of A-Z a-z 0-9 . _ -", NAME_MAX_BYTES);
    return false;
}

void on_login(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const char *user = "", *password = "";
    const struct field fields[] = {{"user", FIELD_TEXT, true, NAME_MAX_BYTES, &user},
                                   {"password", FIELD_TEXT, true, PASSWORD_MAX, &password}};
    json_auto_t *body = body_object(req, fields, GW_COUNT(fields));
    struct password_job *p;

    if (!body || !may_guess(a, req))
        return;
    p = password_new(req, TO_LOGIN, user, password);
    if (p)
        password_start(a, req, p, user_find(a, user));
}

void on_setup(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const char *code = "", *user = "admin", *password = "";
    const struct field fields[] = {{"code", FIELD_TEXT, true, NAME_MAX_BYTES, &code},
                                   {"user", FIELD_TEXT, false, NAME_MAX_BYTES, &user},
                                   {"password", FIELD_TEXT, true, PASSWORD_MAX, &password}};
    json_auto_t *body = body_object(req, fields, GW_COUNT(fields));
    struct password_job *p;

    if (!body || !is_user_name(req, user) || !is_password(req, password))
        return;
    if (!*a->setup_code) {
        gw_http_problem(req, 409, "A password is set already: log in with it.");
        return;
    }
    if (!may_guess(a, req))
        return;
    if (!is_setup_code(a, code)) {
        char peer[GW_ADDR_TEXT];

        gw_log_warning("setup refused, wrong code peer=%s", gw_addr_text(gw_http_peer(req), peer));
        gw_http_problem(req, 403, "The setup code is wrong; cordon setup-code prints it.");
        return;
    }
    attempt_give_back(a, gw_http_peer(req));
    p = password_new(req, TO_SETUP, user, password);
    if (!p)
        return;
    p->user.role = ROLE_ADMIN;
    (void)snprintf(p->by, sizeof(p->by), "%s", user);
    password_start(a, req, p, NULL);
}

void on_password(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    const char *user = gw_http_segment(req, 0), *password = "", *role = NULL;
    const struct field fields[] = {{"password", FIELD_TEXT, true, PASSWORD_MAX, &password},
                                   {"role", FIELD_TEXT, false, NAME_MAX_BYTES, &role}};
    json_auto_t *body = body_object(req, fields, GW_COUNT(fields));
    const struct user *old = user_find(a, user);
    enum role parsed = old ? old->role : ROLE_ADMIN;
    struct password_job *p;

    if (!body || !is_user_name(req, user) || !is_password(req, password))
        return;
    if (role && !role_parse(role, &parsed)) {
        gw_http_problem(req, 400, "\"role\" must be viewer or admin.");
        return;
    }
    if (!may_guess(a, req))
        return;
    p = password_new(req, TO_SET, user, password);
    if (!p)
        return;
    p->user.role = parsed;
    (void)snprintf(p->by, sizeof(p->by), "%s", who_calls(a, req).user);
    password_start(a, req, p, NULL);
}

void on_logout(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    json_auto_t *body = body_object(req, NULL, 0);

    if (!body)
        return;
    login_end(a, who_calls(a, req).session);
    gw_http_set_header(req, "Set-Cookie",
                       COOKIE "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict");
    admin_done(req);
}

void on_session(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    struct who who = who_calls(a, req);
    json_t *problem;

    if (who.role != ROLE_NONE) {
        gw_http_reply_json(req, 200,
                           json_pack("{s:s, s:s}", "user", who.user, "role", role_text(who.role)));
        return;
    }
    problem = json_pack("{s:s, s:i, s:s, s:s, s:b}", "type", "about:blank", "status", 401, "title",
                        "Unauthorized", "detail",
                        a->user_count ? "Log in first."
                                      : "Nobody has a password yet; cordon setup-code prints the "
                                        "code that sets the first one.",
                        "setup", a->user_count == 0);
    gw_http_set_header(req, "Content-Type", "application/problem+json");
    gw_http_reply_json(req, 401, problem);
}
