/* SPDX-License-Identifier: GPL-2.0-only */
/** @file Inside room admin: who calls, what waits, and the handlers of the route table. */
#pragma once

#include "admin/admin.h"
#include "base/clock.h"
#include "base/log.h"

#define NAME_MAX_BYTES 64 /* of a user, an API key, a device's name and class */
#define PASSWORD_MIN 8
#define PASSWORD_MAX 1024
#define USERS_MAX 64
#define KEYS_MAX 64
#define SESSIONS_MAX 64
#define SESSION_IDLE_MS (12ull * 3600 * 1000)
#define SESSION_LIFE_MS (7ull * 24 * 3600 * 1000)
#define COOKIE "cordon_session"
#define SETUP_CODE_TEXT 15 /* XXXX-XXXX-XXXX and its zero */
#define LOGIN_ADDRS 64
#define LOGIN_JOBS_MAX 8
#define STREAMS_MAX 32
#define PAGE_MAX 10000
#define BATCH_MAX 10000     /* verdicts in one call */
#define LISTED_PER_TURN 200 /* of a list, which must not hold the loop up */

enum role { ROLE_NONE, ROLE_VIEWER, ROLE_ADMIN };
const char *role_text(enum role r);
bool role_parse(const char *text, enum role *out);

/* Flags of a route: who may call it. */
enum {
    MAY_ANYBODY = 0,
    MAY_VIEWER = ROLE_VIEWER,
    MAY_ADMIN = ROLE_ADMIN,
    MAY_ROLES = 3,
    ONLY_LOCAL = 4, /* over the Unix socket alone */
};

/* ---- credentials: kept in memory, written through to the database ---- */

struct user {
    char name[NAME_MAX_BYTES + 1];
    enum role role;
    uint8_t salt[16], hash[32]; /* scrypt */
};

struct key {
    char name[NAME_MAX_BYTES + 1];
    enum role role;
    uint8_t hash[32]; /* SHA-256 of the 256 random bits */
};

struct session {
    uint64_t id; /* 0: free */
    uint8_t hash[32];
    char user[NAME_MAX_BYTES + 1];
    enum role role;
    uint64_t created_ms, used_ms;
};

/* Attempts that an address, or everybody, may still make; refilled with time. */
struct bucket {
    uint8_t addr[16];
    double tokens;
    uint64_t at_ms; /* 0: free */
};

struct gw_admin {
    struct gw_loop *loop;
    struct gw_admin_rooms rooms;
    struct gw_http *https, *local;
    uint64_t started_ms;
    struct gw_list waits, streams;
    struct gw_list testers; /* who waits for the isolation test */
    json_t *tested;         /* how the last one went; NULL: there was none */
    size_t stream_count;
    struct gw_journal_listener listener;

    struct user users[USERS_MAX];
    size_t user_count;
    struct key keys[KEYS_MAX];
    size_t key_count;
    struct session sessions[SESSIONS_MAX];
    uint64_t last_session;
    char setup_code[SETUP_CODE_TEXT]; /* "" : a password exists */
    struct bucket attempts[LOGIN_ADDRS], all_attempts;
    unsigned login_jobs;
    bool adding_user; /* the first password of one is on its way to the disk */
};

/* ---- wait.c: a request that waits for another room ---- */

/* Embedded in what waits. Whoever ends first, the client or the gateway, is forgotten by it. */
struct wait {
    struct gw_list node;
    struct gw_admin *admin;      /* NULL: the admin part is gone */
    struct gw_http_request *req; /* NULL: nobody waits for the answer */
};

void wait_begin(struct wait *w, struct gw_admin *a, struct gw_http_request *req);
/* Ends the wait; the request that still wants its answer, or NULL. */
struct gw_http_request *wait_end(struct wait *w);
/* The admin part goes away: everything that waits is told. */
void wait_abandon_all(struct gw_admin *a);

/*
 * A change on its way to the disk, the kernel or both: 204 when each part is there, or what failed.
 * It begins with one part; pending_done, once for each part, is the rooms' callback.
 */
struct pending;
/* NULL: 500 has been answered. `verb` is static: "approved". */
struct pending *pending_begin(struct gw_admin *a, struct gw_http_request *req, const char *subject,
                              const char *verb);
void pending_add(struct pending *p);
void pending_done(void *owner, int err);
/* The same of a room whose change holds in memory also when the disk fails: the answer says so. */
void pending_stored(void *owner, int err);
/* Nothing was changed: give the request back, to be answered otherwise. */
void pending_cancel(struct pending **p);

/* ---- body.c: what a request says ---- */

enum field_kind {
    FIELD_TEXT, /* const char **, at most `max` bytes */
    FIELD_UINT, /* uint64_t *, at most `max` */
};

struct field {
    const char *name;
    enum field_kind kind;
    bool required;
    uint64_t max;
    void *out; /* untouched when the member is absent */
};

/*
 * The body as an object with these members and no others. NULL: 400 has been answered. What the
 * fields point to lives as long as the object.
 */
json_t *body_object(struct gw_http_request *req, const struct field *fields, size_t count);
/*
 * The same of an object in the body; `where` is put in front of what is wrong. False: 400 has been
 * answered.
 */
bool body_members(struct gw_http_request *req, const char *where, json_t *object,
                  const struct field *fields, size_t count);
/* The body as an array. NULL: 400 has been answered. */
json_t *body_array(struct gw_http_request *req);
/* A number of the query; `*out` keeps its value when absent. False: 400 has been answered. */
bool query_uint(struct gw_http_request *req, const char *name, uint64_t min, uint64_t max,
                uint64_t *out);
/* A time as JSON; null for 0. */
json_t *admin_time_json(int64_t wall_ms);

/* ---- the answer to a failure ---- */

/* The right status for `err`, and "<what>: <why>." */
void admin_refuse(struct gw_http_request *req, int err, const char *what_fmt, ...) GW_PRINTF(3, 4);
void admin_done(struct gw_http_request *req); /* 204 */
/* The device that the path names; NULL: 404 has been answered. */
const struct gw_device *admin_device_of(struct gw_admin *a, struct gw_http_request *req);

/* ---- auth.c: who calls ---- */

struct who {
    enum role role;
    const char *user;
    uint64_t session; /* 0: not by a session */
    const char *key;  /* NULL: not by an API key */
};

bool admin_is_local(const struct gw_http_request *req);
struct who who_calls(struct gw_admin *a, const struct gw_http_request *req);
bool session_alive(const struct gw_admin *a, uint64_t id);
/* Begin one and set its cookie on the answer. GW_ECRYPTO. */
int session_begin(struct gw_admin *a, struct gw_http_request *req,
                  const struct user *u) GW_MUST_CHECK;
void login_end(struct gw_admin *a, uint64_t id);
void sessions_end_of(struct gw_admin *a, const char *user);
/* The gate before every handler. */
bool auth_before(void *owner, struct gw_http_request *req);

/* ---- limit.c: how often somebody may guess ---- */

/* False: too often; `*out_retry_s` says when again. */
bool attempt_take(struct gw_admin *a, const struct gw_addr *peer, uint32_t *out_retry_s);
/* It was no guess after all. */
void attempt_give_back(struct gw_admin *a, const struct gw_addr *peer);

/* ---- load.c ---- */

/* Make the table of `schema` where it is missing, then `read` it, before the loop runs. */
int table_load(struct gw_admin *a, const char *room, const char *schema,
               int (*read)(struct gw_admin *a, sqlite3 *db)) GW_MUST_CHECK;

/* ---- users.c ---- */

int users_load(struct gw_admin *a) GW_MUST_CHECK;
struct user *user_find(struct gw_admin *a, const char *name);
int setup_code_make(struct gw_admin *a) GW_MUST_CHECK;

/* ---- keys.c ---- */

int keys_load(struct gw_admin *a) GW_MUST_CHECK;
/* By what is sent as Bearer; by its name. */
const struct key *key_find(const struct gw_admin *a, const char *bearer);
struct key *key_named(struct gw_admin *a, const char *name);

/* ---- stream.c ---- */

/* Tell every live stream. */
void streams_event(void *owner, const struct gw_event *ev);

/* ---- isolation.c ---- */

#define LINKS_MAX 128

struct links {
    size_t count;
    struct gw_link_report at[LINKS_MAX];
    struct gw_traffic traffic[LINKS_MAX];
};

void links_read(const struct gw_admin *a, struct links *out);
/* The member of the status. */
json_t *isolation_json(const struct gw_admin *a);
void isolation_fini(struct gw_admin *a);

/* ---- verdict.c, batch.c ---- */

/* What a request says about a verdict. */
struct order {
    const char *mode_text, *reason, *address; /* they live as long as the body */
    uint64_t seconds;
    struct gw_hwaddr addr;
    enum gw_verdict_mode mode;
};

/* By address, as verdicts are set and released. False: 400 has been answered. */
bool order_read(struct gw_http_request *req, const char *where, json_t *object, bool release,
                struct order *out);
/* The body is an array: many in one call. */
bool batch_asked(const struct gw_http_request *req);
void batch_begin(struct gw_admin *a, struct gw_http_request *req, bool release);

/* ---- device.c ---- */

json_t *device_json(const struct gw_admin *a, const struct gw_device *d);
json_t *verdict_json(const struct gw_admin *a, const struct gw_verdict *v);
json_t *presence_json(const struct gw_admin *a, const char *device);
