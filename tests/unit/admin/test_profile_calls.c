/* SPDX-License-Identifier: GPL-2.0-only */
#include "world.h"

#include "enforcer/enforcer.h"

struct row {
    const char *name, *method, *path, *body;
    unsigned status;
    const char *want; /* in the answer */
};

static void run(struct world *w, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        struct reply r =
            world_ask(w, LOCAL, row->method, row->path, row->body ? JSON_TYPE : "", row->body);

        cr_expect_eq(r.status, row->status, "%s: %s", row->name, r.text);
        cr_expect(strstr(r.text, row->want ? row->want : ""), "%s: no %s in %s", row->name,
                  row->want, r.text);
        reply_free(&r);
    }
}

#define CAM "/api/v1/devices/cam-1"
#define MUD                                                                                        \
    "{\"ietf-mud:mud\":{\"mud-version\":1,\"mud-url\":\"https://maker.example/bulb\","             \
    "\"last-update\":\"2026-11-22T06:19:00Z\",\"is-supported\":true,\"from-device-policy\":"       \
    "{\"access-lists\":{\"access-list\":[{\"name\":\"l\"}]}}},\"ietf-access-control-list:acls\":"  \
    "{\"acl\":[{\"name\":\"l\",\"type\":\"ipv4-acl-type\",\"aces\":{\"ace\":[{\"name\":\"e\","     \
    "\"matches\":{\"ipv4\":{\"ietf-acldns:dst-dnsname\":\"www.example\"}},\"actions\":"            \
    "{\"forwarding\":\"%s\"}}]}}]}}"

Test(admin_profile, is_learned_shown_and_enforced)
{
    static const struct row rows[] = {
        {"none yet", "GET", CAM "/profile", NULL, 200, "\"state\":\"off\""},
        {"of nobody", "GET", "/api/v1/devices/none/profile", NULL, 404, "no device"},
        {"nothing to enforce", "POST", CAM "/profile/enforce", "{}", 409,
         "The profile of cam-1 was not enforced: nothing was learned or imported."},
        {"nothing to hand out", "GET", CAM "/profile/mud", NULL, 404, "has no profile yet"},
        {"learn", "POST", CAM "/profile/learn", "{\"seconds\":3600}", 204, NULL},
        {"too long", "POST", CAM "/profile/learn", "{\"seconds\":99999999}", 400, "whole number"},
        {"what was learned", "GET", CAM "/profile", NULL, 200,
         "\"peer\":\"198.51.100.7\",\"name\":null,\"port\":443,\"packets\":12,\"bytes\":3400"},
        {"a limit that would do", "GET", CAM "/profile", NULL, 200,
         "\"suggested\":{\"packets_per_s\":100,\"bytes_per_s\":120000}"},
        {"enforce", "POST", CAM "/profile/enforce", "{}", 204, NULL},
        {"its rules", "GET", CAM "/profile", NULL, 200, "\"state\":\"enforcing\""},
        {"a file", "GET", CAM "/profile/mud", NULL, 200, "Content-Type: application/mud+json"},
        {"with its entries", "GET", CAM "/profile/mud", NULL, 200,
         "\"destination-ipv4-network\": \"198.51.100.7/32\""},
        {"report", "POST", CAM "/profile/report", "{}", 204, NULL},
        {"with a member", "POST", CAM "/profile/report", "{\"x\":1}", 400, "nothing is expected"},
        {"off", "POST", CAM "/profile/off", "{}", 204, NULL},
        {"off twice", "POST", CAM "/profile/off", "{}", 204, NULL},
        {"its rules stay", "GET", CAM "/profile", NULL, 200, "\"source\":\"learned\""},
        {"forget", "POST", CAM "/profile/forget", "{}", 204, NULL},
        {"they are gone", "GET", CAM "/profile", NULL, 200, "\"source\":null"},
        {"it is in the journal", "GET", "/api/v1/events", NULL, 200,
         "\"text\":\"The profile of cam-1 is enforced\""},
    };
    struct world w;

    world_open(&w);
    run(&w, rows, GW_COUNT(rows));
    world_close(&w);
}

Test(admin_profile, takes_limits_and_files)
{
    static const struct row rows[] = {
        {"a limit", "PUT", CAM "/limit", "{\"packets_per_s\":50,\"bytes_per_s\":100000}", 204,
         NULL},
        {"it holds", "GET", CAM "/profile", NULL, 200,
         "\"limits\":{\"packets_per_s\":50,\"bytes_per_s\":100000}"},
        {"too much", "PUT", CAM "/limit", "{\"packets_per_s\":99999999}", 400, "whole number"},
        {"no number", "PUT", CAM "/limit", "{\"packets_per_s\":\"many\"}", 400, "whole number"},
        {"none", "PUT", CAM "/limit", "{}", 204, NULL},
        {"of nobody", "PUT", "/api/v1/devices/none/limit", "{}", 404, NULL},
        {"a file that is none", "PUT", CAM "/profile/mud", "{}", 400,
         "The profile of cam-1 was not imported: there is no \\\"ietf-mud:mud\\\"."},
        {"half a file", "PUT", CAM "/profile/mud", "{", 400, "it is no JSON"},
    };
    char good[1024], bad[1024];
    struct reply r;
    struct world w;

    (void)snprintf(good, sizeof(good), MUD, "accept");
    (void)snprintf(bad, sizeof(bad), MUD, "mirror");
    world_open(&w);
    run(&w, rows, GW_COUNT(rows));
    run(&w,
        (const struct row[]){
            {"an action of nobody", "PUT", CAM "/profile/mud", bad, 400,
             "list \\\"l\\\", entry \\\"e\\\": \\\"forwarding\\\" must be"},
            {"a good one", "PUT", CAM "/profile/mud", good, 204, NULL},
            {"it is the profile", "GET", CAM "/profile", NULL, 200, "\"source\":\"mud\""},
            {"by the maker's words", "GET", CAM "/profile/mud", NULL, 200,
             "\"mud-url\": \"https://maker.example/bulb\""}},
        4);
    r = world_ask(&w, LOCAL, "PUT", CAM "/profile/mud", "Content-Type: application/mud+json\r\n",
                  good);
    cr_expect_eq(r.status, 204, "as its own type: %s", r.text);
    reply_free(&r);
    r = world_ask(&w, LOCAL, "PUT", CAM "/profile/mud", "Content-Type: text/plain\r\n", good);
    cr_expect_eq(r.status, 415, "%s", r.text);
    reply_free(&r);
    world_close(&w);
}

Test(admin_profile, says_what_the_kernel_refused)
{
    struct reply r;
    struct world w;

    world_open(&w);
    world_applied = GW_EFULL;
    r = world_ask(&w, LOCAL, "PUT", CAM "/limit", JSON_TYPE, "{\"packets_per_s\":5}");
    cr_expect_eq(r.status, 507, "%s", r.text);
    cr_expect(
        strstr(r.body, "The profile of cam-1 is not in force: the kernel's tables hold no more"),
        "%s", r.body);
    cr_expect(strstr(r.body, "raise isolation.addresses"), "%s", r.body);
    reply_free(&r);
    world_applied = GW_EUNSUPPORTED;
    r = world_ask(&w, LOCAL, "POST", CAM "/profile/learn", JSON_TYPE, "{}");
    cr_expect_eq(r.status, 503, "%s", r.text);
    cr_expect(strstr(r.body, "there is no isolation here"), "%s", r.body);
    reply_free(&r);
    world_close(&w);
}

Test(admin_profile, no_profile_and_no_limit_holds_for_whoever_is_protected)
{
    static const struct row before[] = {
        {"learn", "POST", CAM "/profile/learn", "{}", 204, NULL},
        {"limit", "PUT", CAM "/limit", "{\"packets_per_s\":5}", 204, NULL},
        {"it holds", "GET", CAM "/profile", NULL, 200, "\"problem\":null"},
    };
    static const struct row rows[] = {
        {"learn", "POST", CAM "/profile/learn", "{}", 409, "cam-1 is protected"},
        {"report", "POST", CAM "/profile/report", "{}", 409, "cam-1 is protected"},
        {"enforce", "POST", CAM "/profile/enforce", "{}", 409, "cam-1 is protected"},
        {"limit", "PUT", CAM "/limit", "{\"packets_per_s\":5}", 409, "cam-1 is protected"},
        {"of nobody", "POST", "/api/v1/devices/none/profile/enforce", "{}", 404, "no device"},
        {"what held before", "GET", CAM "/profile", NULL, 200,
         "\"problem\":\"its device is protected (quarantine.protected)\""},
        {"no limit", "PUT", CAM "/limit", "{}", 204, NULL},
        {"off", "POST", CAM "/profile/off", "{}", 204, NULL},
        {"nothing is to be said", "GET", CAM "/profile", NULL, 200, "\"problem\":null"},
    };
    struct world w;

    world_open(&w);
    run(&w, before, GW_COUNT(before));
    w.config->quarantine.protected_devices[0] = strdup("cam-1");
    w.config->quarantine.protected_device_count = 1;
    run(&w, rows, GW_COUNT(rows));
    world_close(&w);
}
