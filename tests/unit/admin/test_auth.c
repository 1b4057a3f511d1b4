/* SPDX-License-Identifier: GPL-2.0-only */
#include "admin/admin_priv.h"
#include "world.h"

#define API "/api/v1"
#define GOOD_LOGIN "{\"user\":\"admin\",\"password\":\"correct horse\"}"

struct row {
    const char *name, *method, *path, *headers, *body;
    unsigned status;
    const char *want; /* anywhere in the answer */
};

static void run(struct world *w, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        struct reply r = world_ask(w, HTTPS, row->method, row->path, row->headers, row->body);

        cr_expect_eq(r.status, row->status, "%s: %s", row->name, r.text);
        cr_expect(!row->want || strstr(r.text, row->want), "%s: no %s in %s", row->name, row->want,
                  r.text);
        reply_free(&r);
    }
}

static unsigned status_of(struct world *w, enum way way, const char *method, const char *path,
                          const char *headers, const char *body)
{
    struct reply r = world_ask(w, way, method, path, headers, body);
    unsigned status = r.status;

    reply_free(&r);
    return status;
}

/* "Cookie: …" or "Authorization: …" and the type of a body. */
static const char *with(const char *header)
{
    static char text[512];

    (void)snprintf(text, sizeof(text), "%s" JSON_TYPE, header);
    return text;
}

Test(admin_auth, lets_nobody_in_before_a_login)
{
    static const struct row rows[] = {
        {"status", "GET", API "/status", "", NULL, 401, "WWW-Authenticate: Bearer"},
        {"devices", "GET", API "/devices", "", NULL, 401, "problem+json"},
        {"metrics", "GET", "/metrics", "", NULL, 401, NULL},
        {"the description", "GET", API "/openapi.json", "", NULL, 401, NULL},
        {"live events", "GET", API "/events/stream", "", NULL, 401, NULL},
        {"quarantine", "POST", API "/quarantine", JSON_TYPE, "{\"address\":\"192.0.2.7\"}", 401,
         NULL},
        {"a cookie of nobody", "GET", API "/status", "Cookie: cordon_session=00\r\n", NULL, 401,
         NULL},
        {"a long cookie of nobody", "GET", API "/status",
         "Cookie: "
         "cordon_session=0000000000000000000000000000000000000000000000000000000000000000\r\n",
         NULL, 401, NULL},
        {"a key of nobody", "GET", API "/status", "Authorization: Bearer cordon_00\r\n", NULL, 401,
         NULL},
        {"basic", "GET", API "/status", "Authorization: Basic YTpi\r\n", NULL, 401, NULL},
        {"the session says what is missing", "GET", API "/session", "", NULL, 401,
         "\"setup\":true"},
        {"the setup code is local", "GET", API "/setup-code", "", NULL, 403, "on the gateway"},
        {"passwords are local", "PUT", API "/users/admin/password", JSON_TYPE,
         "{\"password\":\"12345678\"}", 403, "on the gateway"},
        {"a wrong code", "POST", API "/setup", JSON_TYPE,
         "{\"code\":\"AAAA-AAAA-AAAA\",\"password\":\"12345678\"}", 403, "setup code is wrong"},
        {"an empty code", "POST", API "/setup", JSON_TYPE,
         "{\"code\":\"\",\"password\":\"12345678\"}", 403, "setup code is wrong"},
        {"a long code", "POST", API "/setup", JSON_TYPE,
         "{\"code\":\"AAAA-AAAA-AAAA-A\",\"password\":\"12345678\"}", 403, "setup code is wrong"},
        {"a short password", "POST", API "/setup", JSON_TYPE,
         "{\"code\":\"AAAA-AAAA-AAAA\",\"password\":\"1234567\"}", 400, "at least 8"},
        {"no code", "POST", API "/setup", JSON_TYPE, "{\"password\":\"12345678\"}", 400,
         "\\\"code\\\" is missing"},
        {"an odd user", "POST", API "/setup", JSON_TYPE,
         "{\"code\":\"A\",\"user\":\"a b\",\"password\":\"12345678\"}", 400, "A user name"},
        {"a login of nobody", "POST", API "/login", JSON_TYPE, GOOD_LOGIN, 401, "is wrong"},
        {"the page is for all", "GET", "/", "", NULL, 200,
         "Content-Security-Policy: default-src "
         "'none'; script-src 'self'"},
    };
    struct world w;

    world_open(&w);
    run(&w, rows, GW_COUNT(rows));
    world_close(&w);
}

Test(admin_auth, believes_no_page_of_another_site)
{
    static const struct row rows[] = {
        {"another origin", "POST", API "/login", "Origin: https://evil\r\n" JSON_TYPE, GOOD_LOGIN,
         403, "another site"},
        {"our name without TLS", "POST", API "/login", "Origin: http://gw\r\n" JSON_TYPE,
         GOOD_LOGIN, 403, NULL},
        {"no origin at all", "POST", API "/login", "Origin: null\r\n" JSON_TYPE, GOOD_LOGIN, 403,
         NULL},
        {"a browser that says so", "POST", API "/login", "Sec-Fetch-Site: cross-site\r\n" JSON_TYPE,
         GOOD_LOGIN, 403, NULL},
        {"a sibling", "POST", API "/login", "Sec-Fetch-Site: same-site\r\n" JSON_TYPE, GOOD_LOGIN,
         403, NULL},
        {"a form", "POST", API "/login", "Content-Type: application/x-www-form-urlencoded\r\n",
         "a=b", 415, "application/json"},
        {"plain text", "POST", API "/login", "Content-Type: text/plain\r\n", GOOD_LOGIN, 415, NULL},
        {"no type", "POST", API "/login", "", GOOD_LOGIN, 415, NULL},
        {"a type that only begins so", "POST", API "/login", "Content-Type: application/jsonp\r\n",
         GOOD_LOGIN, 415, NULL},
        {"delete", "DELETE", API "/pairing", "Origin: https://evil\r\n", NULL, 403, NULL},
        {"our own page", "POST", API "/login",
         "Origin: https://gw\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/json; "
         "charset=utf-8\r\n",
         GOOD_LOGIN, 401, NULL},
    };
    struct world w;

    world_open(&w);
    run(&w, rows, GW_COUNT(rows));
    world_close(&w);
}

Test(admin_auth, begins_with_the_setup_code_and_only_once)
{
    struct world w;
    char cookie[256];
    struct reply r;

    world_open(&w);
    r = world_ask(&w, LOCAL, "GET", API "/setup-code", NULL, NULL);
    cr_assert_eq(strlen(r.body), strlen("{\"code\":\"ABCD-EFGH-JKLM\"}"), "%s", r.body);
    reply_free(&r);
    world_log_in(&w, cookie);
    cr_expect_eq(status_of(&w, HTTPS, "GET", API "/status", cookie, NULL), 200);
    r = world_ask(&w, HTTPS, "GET", API "/session", cookie, NULL);
    cr_expect(strstr(r.body, "{\"user\":\"admin\",\"role\":\"admin\"}"), "%s", r.text);
    reply_free(&r);
    cr_expect_eq(status_of(&w, LOCAL, "GET", API "/setup-code", NULL, NULL), 409);
    cr_expect_eq(status_of(&w, HTTPS, "POST", API "/setup", JSON_TYPE,
                           "{\"code\":\"\",\"password\":\"12345678\"}"),
                 409);
    r = world_ask(&w, HTTPS, "GET", API "/session", NULL, NULL);
    cr_expect(strstr(r.body, "\"setup\":false"), "%s", r.text);
    reply_free(&r);
    world_close(&w);
}

Test(admin_auth, makes_one_first_user_however_many_come_with_the_code)
{
    char text[512], body[128];
    struct world w;
    int fds[2];

    world_open(&w);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(body, sizeof(body),
                       "{\"code\":\"%s\",\"user\":\"user-%d\",\"password\":\"12345678\"}",
                       w.admin->setup_code, i);
        (void)snprintf(text, sizeof(text),
                       "POST " API "/setup HTTP/1.1\r\nHost: x\r\n" JSON_TYPE
                       "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                       strlen(body), body);
        fds[i] = world_dial(&w, HTTPS);
        world_say(fds[i], text);
    }
    for (int i = 0; i < 2; i++) {
        GW_CLEANUP(gw_buf_fini) struct gw_buf got = {.max = 1u << 20};

        cr_expect(world_hear(&w, fds[i], &got, NULL));
        close(fds[i]);
    }
    cr_expect_eq(w.admin->user_count, 1);
    world_close(&w);
}

Test(admin_auth, takes_the_code_as_a_person_types_it)
{
    struct world w;
    char code[32] = "", typed[64] = "", body[128];
    struct reply r;

    world_open(&w);
    (void)snprintf(code, sizeof(code), "%s", w.admin->setup_code);
    for (size_t i = 0, n = 0; code[i]; i++) {
        if (code[i] != '-')
            typed[n++] = (char)(code[i] >= 'A' ? code[i] + 32 : code[i]);
        if (i == 6)
            typed[n++] = ' ';
    }
    (void)snprintf(body, sizeof(body), "{\"code\":\"%s\",\"password\":\"12345678\"}", typed);
    r = world_ask(&w, HTTPS, "POST", API "/setup", JSON_TYPE, body);
    cr_expect_eq(r.status, 204, "%s", r.text);
    cr_expect(strstr(r.text, "; Path=/; Max-Age=604800; HttpOnly; Secure; SameSite=Strict"), "%s",
              r.text);
    reply_free(&r);
    world_close(&w);
}

Test(admin_auth, keeps_passwords_and_not_sessions_over_a_restart)
{
    struct world w;
    char cookie[256];

    world_open(&w);
    world_log_in(&w, cookie);
    world_restart(&w);
    cr_expect_eq(status_of(&w, HTTPS, "GET", API "/status", cookie, NULL), 401);
    cr_expect_eq(status_of(&w, HTTPS, "POST", API "/login", JSON_TYPE, GOOD_LOGIN), 204);
    cr_expect_eq(status_of(&w, HTTPS, "POST", API "/login", JSON_TYPE,
                           "{\"user\":\"admin\",\"password\":\"correct horsf\"}"),
                 401);
    cr_expect_eq(status_of(&w, HTTPS, "POST", API "/login", JSON_TYPE,
                           "{\"user\":\"admin\",\"password\":\"\"}"),
                 401);
    world_close(&w);
}

Test(admin_auth, ends_sessions)
{
    static const char change[] = "{\"password\":\"another one\"}";
    struct world w;
    char cookie[256];

    world_open(&w);
    world_log_in(&w, cookie);
    cr_expect_eq(status_of(&w, HTTPS, "POST", API "/logout", with(cookie), "{}"), 204);
    cr_expect_eq(status_of(&w, HTTPS, "GET", API "/status", cookie, NULL), 401, "logged out");

    world_restart(&w);
    for (int i = 0; i < 3; i++) {
        struct reply r =
            world_ask(&w, HTTPS, "POST", API "/login", JSON_TYPE,
                      i ? "{\"user\":\"admin\",\"password\":\"another one\"}" : GOOD_LOGIN);
        GW_CLEANUP(gw_free_ptr) char *set = reply_header(&r, "Set-Cookie");

        cr_assert_eq(r.status, 204, "%s", r.text);
        set[strcspn(set, ";")] = '\0';
        (void)snprintf(cookie, sizeof(cookie), "Cookie: %s\r\n", set);
        reply_free(&r);
        cr_expect_eq(status_of(&w, HTTPS, "GET", API "/status", cookie, NULL), 200);
        if (i == 0)
            cr_expect_eq(
                status_of(&w, LOCAL, "PUT", API "/users/admin/password", JSON_TYPE, change), 204);
        else if (i == 1)
            w.admin->sessions[0].used_ms -= SESSION_IDLE_MS;
        else
            w.admin->sessions[0].created_ms -= SESSION_LIFE_MS;
        cr_expect_eq(status_of(&w, HTTPS, "GET", API "/status", cookie, NULL), 401, "way %d", i);
    }
    world_close(&w);
}

Test(admin_auth, gives_the_oldest_session_up_for_a_new_one)
{
    struct world w;
    char first[256];
    struct reply r;

    world_open(&w);
    world_log_in(&w, first);
    for (size_t i = 1; i < SESSIONS_MAX; i++)
        w.admin->sessions[i] = (struct session){.id = 1000 + i,
                                                .role = ROLE_VIEWER,
                                                .created_ms = gw_clock_mono_ms(),
                                                .used_ms = gw_clock_mono_ms()};
    w.admin->sessions[0].used_ms -= 1000;
    r = world_ask(&w, HTTPS, "POST", API "/login", JSON_TYPE, GOOD_LOGIN);
    cr_expect_eq(r.status, 204);
    reply_free(&r);
    cr_expect_eq(status_of(&w, HTTPS, "GET", API "/status", first, NULL), 401);
    world_close(&w);
}

Test(admin_auth, slows_guessing_down)
{
    struct world w;
    char cookie[256];
    unsigned wrong = 0, limited = 0;

    world_open(&w);
    world_log_in(&w, cookie);
    for (int i = 0; i < 12; i++)
        cr_expect_eq(status_of(&w, HTTPS, "POST", API "/login", JSON_TYPE, GOOD_LOGIN), 204,
                     "the right password is never slowed down: %d", i);
    for (int i = 0; i < 8; i++) {
        struct reply r = world_ask(&w, HTTPS, "POST", API "/login", JSON_TYPE,
                                   "{\"user\":\"admin\",\"password\":\"guess\"}");

        wrong += r.status == 401;
        limited += r.status == 429 && strstr(r.text, "\r\nRetry-After: ");
        reply_free(&r);
    }
    cr_expect_eq(wrong, 5);
    cr_expect_eq(limited, 3);
    cr_expect_eq(status_of(&w, HTTPS, "GET", API "/status", cookie, NULL), 200);
    world_close(&w);
}

Test(admin_auth, keeps_a_viewer_from_changing_anything)
{
    struct world w;
    char cookie[256];
    GW_CLEANUP(gw_free_ptr) char *set = NULL;
    struct reply r;

    world_open(&w);
    cr_expect_eq(status_of(&w, LOCAL, "PUT", API "/users/eve/password", JSON_TYPE,
                           "{\"password\":\"12345678\",\"role\":\"viewer\"}"),
                 204);
    r = world_ask(&w, HTTPS, "POST", API "/login", JSON_TYPE,
                  "{\"user\":\"eve\",\"password\":\"12345678\"}");
    cr_assert_eq(r.status, 204, "%s", r.text);
    set = reply_header(&r, "Set-Cookie");
    set[strcspn(set, ";")] = '\0';
    (void)snprintf(cookie, sizeof(cookie), "Cookie: %s\r\n", set);
    reply_free(&r);
    cr_expect_eq(status_of(&w, HTTPS, "GET", API "/devices", cookie, NULL), 200);
    cr_expect_eq(status_of(&w, HTTPS, "GET", "/metrics", cookie, NULL), 200);
    cr_expect_eq(status_of(&w, HTTPS, "GET", API "/keys", cookie, NULL), 403);
    cr_expect_eq(status_of(&w, HTTPS, "POST", API "/devices/cam-1/revoke", with(cookie), "{}"),
                 403);
    r = world_ask(&w, HTTPS, "DELETE", API "/devices/cam-1", cookie, NULL);
    cr_expect(r.status == 403 && strstr(r.body, "needs the role admin; yours is viewer"), "%s",
              r.text);
    reply_free(&r);
    world_close(&w);
}

Test(admin_auth, serves_api_keys_until_they_are_removed)
{
    struct world w;
    char bearer[256] = "", key[128] = "";
    struct reply r;

    world_open(&w);
    r = world_ask(&w, LOCAL, "POST", API "/keys", JSON_TYPE,
                  "{\"name\":\"grafana\",\"role\":\"viewer\"}");
    cr_assert_eq(r.status, 201, "%s", r.text);
    cr_assert_eq(
        sscanf(r.body, "{\"name\":\"grafana\",\"role\":\"viewer\",\"key\":\"%127[a-z0-9_]", key),
        1);
    reply_free(&r);
    (void)snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s\r\n", key);
    cr_expect_eq(status_of(&w, LOCAL, "POST", API "/keys", JSON_TYPE, "{\"name\":\"grafana\"}"),
                 409);
    cr_expect_eq(status_of(&w, LOCAL, "POST", API "/keys", JSON_TYPE, "{\"name\":\"a b\"}"), 400);
    cr_expect_eq(
        status_of(&w, LOCAL, "POST", API "/keys", JSON_TYPE, "{\"name\":\"x\",\"role\":\"root\"}"),
        400);
    world_restart(&w);
    cr_expect_eq(status_of(&w, HTTPS, "GET", "/metrics", bearer, NULL), 200);
    cr_expect_eq(status_of(&w, HTTPS, "POST", API "/pairing", with(bearer), "{}"), 403);
    r = world_ask(&w, LOCAL, "GET", API "/keys", NULL, NULL);
    cr_expect_str_eq(r.body, "[{\"name\":\"grafana\",\"role\":\"viewer\"}]");
    reply_free(&r);
    cr_expect_eq(status_of(&w, LOCAL, "DELETE", API "/keys/grafana", NULL, NULL), 204);
    cr_expect_eq(status_of(&w, LOCAL, "DELETE", API "/keys/grafana", NULL, NULL), 404);
    cr_expect_eq(status_of(&w, HTTPS, "GET", "/metrics", bearer, NULL), 401);
    world_restart(&w);
    cr_expect_eq(status_of(&w, HTTPS, "GET", "/metrics", bearer, NULL), 401);
    world_close(&w);
}

Test(admin_auth, hides_metrics_that_are_switched_off)
{
    struct world w;

    world_open(&w);
    w.config->admin.metrics = false;
    cr_expect_eq(status_of(&w, LOCAL, "GET", "/metrics", NULL, NULL), 404);
    world_close(&w);
}

Test(admin_page, is_sent_once_and_then_known)
{
    GW_CLEANUP(gw_free_ptr) char *etag = NULL;
    char header[128];
    struct world w;
    struct reply r;

    world_open(&w);
    r = world_ask(&w, HTTPS, "GET", "/", NULL, NULL);
    cr_expect(strstr(r.text, "Content-Encoding: gzip") &&
              strstr(r.text, "Cache-Control: no-cache"));
    etag = reply_header(&r, "ETag");
    reply_free(&r);
    (void)snprintf(header, sizeof(header), "If-None-Match: %s\r\n", etag);
    cr_expect_eq(status_of(&w, HTTPS, "GET", "/", header, NULL), 304);
    cr_expect_eq(status_of(&w, HTTPS, "GET", "/", "If-None-Match: \"x\"\r\n", NULL), 200);
    cr_expect_eq(status_of(&w, HTTPS, "GET", "/icon.svg", NULL, NULL), 200);
    cr_expect_eq(status_of(&w, HTTPS, "GET", "/assets/none.js", NULL, NULL), 404);
    cr_expect_eq(status_of(&w, HTTPS, "GET", "/assets/../icon.svg", NULL, NULL), 404);
    world_close(&w);
}
