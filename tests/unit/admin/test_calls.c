/* SPDX-License-Identifier: GPL-2.0-only */
#include "world.h"

#include <sqlite3.h>

#include "store/store.h"

struct row {
    const char *name, *method, *path, *body;
    unsigned status;
    const char *want; /* in the body */
};

static void run(struct world *w, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        const char *want = row->want ? row->want : "";
        struct reply r =
            world_ask(w, LOCAL, row->method, row->path, row->body ? JSON_TYPE : "", row->body);

        cr_expect_eq(r.status, row->status, "%s: %s", row->name, r.text);
        cr_expect(strstr(r.body, want), "%s: no %s in %s", row->name, want, r.body);
        cr_expect(r.status < 400 || strstr(r.text, "application/problem+json"), "%s: %s", row->name,
                  r.text);
        reply_free(&r);
    }
}

#define API "/api/v1"
#define RUN(rows)                                                                                  \
    do {                                                                                           \
        struct world w;                                                                            \
        world_open(&w);                                                                            \
        run(&w, rows, GW_COUNT(rows));                                                             \
        world_close(&w);                                                                           \
    } while (0)

Test(admin_calls, shows_status_and_devices_as_documented)
{
    static const struct row rows[] = {
        {"status", "GET", API "/status", NULL, 200,
         "{\"version\":\"" CORDON_VERSION "\",\"gateway\":{\"id\":\"gw-"},
        {"status counts", "GET", API "/status", NULL, 200,
         "\"devices\":{\"known\":2,\"online\":1,\"pending\":0,\"quarantined\":0}"},
        {"status of the uplink", "GET", API "/status", NULL, 200,
         "\"uplink\":{\"state\":\"connected\",\"broker\":\"mqtts://"
         "cloud:8883\",\"spooled_messages\":"
         "3,\"spooled_bytes\":999,\"in_flight\":2,\"acknowledged\":41,\"last_error\":null}"},
        {"status of isolation", "GET", API "/status", NULL, 200,
         "\"isolation\":{\"state\":\"degraded\",\"verdicts\":0,\"interfaces\":[{\"name\":\"lan0\","
         "\"ingress\":"
         "\"native\",\"egress\":\"tcx\",\"dropped_packets\":7,\"dropped_bytes\":700,\"up\":true,"},
        {"what could go past a port", "GET", API "/status", NULL, 200,
         "\"bypass\":[\"hardware flow offload is on (hw-tc-offload): flows handed to the hardware "
         "are not seen\"],\"notes\":[\"native XDP turns off segmentation"},
        {"nothing could go past the other", "GET", API "/isolation", NULL, 200,
         "\"reason\":\"no XDP here\",\"bypass\":[],\"notes\":[]}],\"test\":null}"},
        {"why a port is not at its best", "GET", API "/status", NULL, 200,
         "\"reason\":\"no XDP here\""},
        {"the sandbox", "GET", API "/status", NULL, 200, "\"sandbox\":\"seccomp, landlock\""},
        {"devices in order", "GET", API "/devices", NULL, 200, "[{\"id\":\"cam-1\""},
        {"the other one", "GET", API "/devices", NULL, 200, "{\"id\":\"mac-020000000009\""},
        {"a page", "GET", API "/devices?after=cam-1&limit=1", NULL, 200,
         "[{\"id\":\"mac-020000000009\""},
        {"a page of nothing", "GET", API "/devices?limit=0", NULL, 400, "limit"},
        {"a device", "GET", API "/devices/cam-1", NULL, 200,
         "\"state\":\"approved\",\"class\":\"\",\"vendor\":\"\",\"hostname\":\"\",\"first_seen\":"
         "\"2"},
        {"its addresses", "GET", API "/devices/cam-1", NULL, 200,
         "\"addresses\":{\"mac\":[\"02:00:00:00:00:01\"],\"ipv4\":[\"192.0.2.7\"],\"ipv6\":["
         "\"2001:db8::7\"]},\"presence\":{\"status\":\"online\",\"since\":\"2"},
        {"its traffic, counted once", "GET", API "/devices/cam-1", NULL, 200,
         "\"quarantine\":null,\"traffic\":{\"rx_packets\":10,\"rx_bytes\":1000,\"tx_packets\":5,"
         "\"tx_bytes\":500}}"},
        {"no such device", "GET", API "/devices/cam-2", NULL, 404, "There is no device"},
        {"a path of nothing", "GET", API "/nothing", NULL, 404, NULL},
        {"tokens are not here yet", "POST", API "/tokens", "{}", 404, NULL},
        {"a wrong method", "PUT", API "/status", "{}", 405, "GET"},
        {"who is there", "GET", API "/presence", NULL, 200,
         "{\"occupancy\":1,\"devices\":[{\"device\":\"cam-1\",\"status\":\"online\",\"since\":"},
        {"status of the broker", "GET", API "/status", NULL, 200,
         "\"dropped\":6,\"limits\":{\"connections\":{\"max\":10000,\"reached\":0},"
         "\"queued_bytes\":{\"max\":500,\"reached\":6}}"},
        {"metrics of the limits", "GET", "/metrics", NULL, 200,
         "cordon_limit_reached_total{limit=\"queued_bytes\"} 6\n"},
        {"metrics of what was dropped", "GET", "/metrics", NULL, 200,
         "cordon_messages_dropped_total{reason=\"full\"} 1\n"},
        {"metrics", "GET", "/metrics", NULL, 200, "cordon_devices{state=\"approved\"} 1\n"},
        {"metrics of a port", "GET", "/metrics", NULL, 200,
         "cordon_dropped_packets_total{interface=\"lan0\"} 7\n"},
    };

    RUN(rows);
}

Test(admin_calls, runs_the_life_cycle)
{
    static const struct row rows[] = {
        {"approve", "POST", API "/devices/mac-020000000009/approve",
         "{\"name\":\"Türkamera\",\"class\":\"camera\"}", 204, NULL},
        {"it is so", "GET", API "/devices/mac-020000000009", NULL, 200,
         "\"name\":\"Türkamera\",\"state\":\"approved\",\"class\":\"camera\""},
        {"an unknown member", "POST", API "/devices/cam-1/approve", "{\"nme\":\"x\"}", 400,
         "\\\"nme\\\" is not known here; known: name, class."},
        {"a number for a name", "POST", API "/devices/cam-1/approve", "{\"name\":1}", 400,
         "\\\"name\\\" must be a text"},
        {"a class with a space", "POST", API "/devices/cam-1/approve", "{\"class\":\"a b\"}", 400,
         NULL},
        {"half a body", "POST", API "/devices/cam-1/approve", "{\"name\"", 400, "not valid JSON"},
        {"approve nobody", "POST", API "/devices/none/approve", "{}", 404, NULL},
        {"revoke", "POST", API "/devices/cam-1/revoke", "{}", 204, NULL},
        {"it is revoked", "GET", API "/devices/cam-1", NULL, 200, "\"state\":\"revoked\""},
        {"revoke with a member", "POST", API "/devices/cam-1/revoke", "{\"x\":1}", 400,
         "nothing is expected"},
        {"a revoked one is not approved", "POST", API "/devices/cam-1/approve", "{}", 409,
         "cam-1 was not approved"},
        {"forget", "DELETE", API "/devices/cam-1", NULL, 204, NULL},
        {"it is gone", "GET", API "/devices/cam-1", NULL, 404, NULL},
        {"forget nobody", "DELETE", API "/devices/cam-1", NULL, 404, NULL},
        {"it is in the journal", "GET", API "/events", NULL, 200,
         "\"text\":\"admin forgot cam-1.\""},
    };

    RUN(rows);
}

Test(admin_calls, quarantines_by_device_and_address)
{
    static const struct row rows[] = {
        {"nobody is", "GET", API "/quarantine", NULL, 200, "[]"},
        {"a device", "POST", API "/devices/cam-1/quarantine",
         "{\"mode\":\"remediate\",\"seconds\":60,\"reason\":\"odd\"}", 204, NULL},
        {"it is", "GET", API "/devices/cam-1", NULL, 200,
         "\"quarantine\":{\"mode\":\"remediate\",\"reason\":\"odd\",\"by\":\"admin\",\"since\":"
         "\"2"},
        {"its drops, under every address", "GET", API "/devices/cam-1", NULL, 200,
         "\"dropped_packets\":4,\"dropped_bytes\":240,\"address\":null}"},
        {"it is listed", "GET", API "/quarantine", NULL, 200,
         "[{\"device\":\"cam-1\",\"address\":null,\"mode\":\"remediate\""},
        {"release", "DELETE", API "/devices/cam-1/quarantine", NULL, 204, NULL},
        {"it is released", "GET", API "/devices/cam-1", NULL, 200, "\"quarantine\":null"},
        {"release twice", "DELETE", API "/devices/cam-1/quarantine", NULL, 404, "not quarantined"},
        {"defaults", "POST", API "/devices/cam-1/quarantine", "{}", 204, NULL},
        {"until released", "GET", API "/devices/cam-1", NULL, 200, "\"until\":null"},
        {"to observe", "POST", API "/devices/cam-1/quarantine", "{\"mode\":\"observe\"}", 204,
         NULL},
        {"is shown", "GET", API "/devices/cam-1", NULL, 200, "\"mode\":\"observe\""},
        {"and listed", "GET", API "/quarantine", NULL, 200, "\"mode\":\"observe\""},
        {"and counts as nobody in quarantine", "GET", API "/status", NULL, 200,
         "\"quarantined\":0"},
        {"it is released like the others", "DELETE", API "/devices/cam-1/quarantine", NULL, 204,
         NULL},
        {"and observed no more", "GET", API "/devices/cam-1", NULL, 200, "\"quarantine\":null"},
        {"a mode of nobody", "POST", API "/devices/cam-1/quarantine", "{\"mode\":\"kill\"}", 400,
         "isolate, remediate or observe"},
        {"a negative time", "POST", API "/devices/cam-1/quarantine", "{\"seconds\":-1}", 400,
         "\\\"seconds\\\" must be a whole number"},
        {"too long a time", "POST", API "/devices/cam-1/quarantine", "{\"seconds\":9e18}", 400,
         NULL},
        {"no such device", "POST", API "/devices/none/quarantine", "{}", 404, NULL},
        {"an address", "POST", API "/quarantine",
         "{\"address\":\"198.51.100.9\",\"mode\":\"isolate\"}", 204, NULL},
        {"a network", "POST", API "/quarantine", "{\"address\":\"203.0.113.0/24\"}", 204, NULL},
        {"it is listed with its length", "GET", API "/quarantine", NULL, 200,
         "\"address\":\"203.0.113.0/24\""},
        {"host bits", "POST", API "/quarantine", "{\"address\":\"203.0.113.1/24\"}", 400,
         "is no address"},
        {"no address", "POST", API "/quarantine", "{}", 400, "\\\"address\\\" is missing"},
        {"release a network", "DELETE", API "/quarantine/203.0.113.0%2F24", NULL, 204, NULL},
        {"release an address", "DELETE", API "/quarantine/198.51.100.9", NULL, 204, NULL},
        {"release it twice", "DELETE", API "/quarantine/198.51.100.9", NULL, 404,
         "198.51.100.9 is not quarantined"},
        {"release garbage", "DELETE", API "/quarantine/x", NULL, 400, NULL},
        {"loopback is the gateway's own", "POST", API "/quarantine", "{\"address\":\"127.0.0.1\"}",
         409, "protected"},
    };

    RUN(rows);
}

Test(admin_calls, quarantines_many_in_one_call_and_tells_of_each)
{
    static const struct row rows[] = {
        {"three, one of them protected", "POST", API "/quarantine",
         " [{\"address\":\"198.51.100.1\",\"reason\":\"odd\"},{\"address\":\"127.0.0.1\"},"
         "{\"address\":\"2001:db8::7\",\"mode\":\"remediate\",\"seconds\":60}]",
         200,
         "{\"done\":2,\"refused\":[{\"address\":\"127.0.0.1\",\"detail\":\"a protected "
         "address"},
        {"the first is listed first", "GET", API "/quarantine", NULL, 200,
         "[{\"device\":null,\"address\":\"198.51.100.1\",\"mode\":\"isolate\",\"reason\":\"odd\""},
        {"and the other as it was asked for", "GET", API "/quarantine", NULL, 200,
         "\"address\":\"2001:db8::7\",\"mode\":\"remediate\""},
        {"a page of it", "GET", API "/quarantine?after=1&limit=1", NULL, 200,
         "[{\"device\":null,\"address\":\"2001:db8::7\""},
        {"one event tells of all", "GET", API "/events", NULL, 200,
         "\"text\":\"2 verdicts on addresses were set by admin in one call, 1 were refused\""},
        {"a wrong address undoes nothing and does nothing", "POST", API "/quarantine",
         "[{\"address\":\"198.51.100.2\"},{\"address\":\"198.51.100\"}]", 400,
         "Order 2: \\\"198.51.100\\\" is no address"},
        {"a mode of nobody", "POST", API "/quarantine",
         "[{\"address\":\"198.51.100.2\",\"mode\":\"kill\"}]", 400,
         "Order 1: \\\"mode\\\" must be"},
        {"an unknown member", "POST", API "/quarantine",
         "[{\"address\":\"198.51.100.2\",\"for\":1}]", 400, "Order 1: \\\"for\\\" is not known"},
        {"no address", "POST", API "/quarantine", "[{}]", 400,
         "Order 1: \\\"address\\\" is missing"},
        {"a text", "POST", API "/quarantine", "[\"198.51.100.2\"]", 400, "Order 1: it must be"},
        {"nobody", "POST", API "/quarantine", "[]", 400, "1 to 10000 orders, not 0"},
        {"release them, and one that is not there", "POST", API "/quarantine/release",
         "[{\"address\":\"2001:db8::7\"},{\"address\":\"198.51.100.2\"},"
         "{\"address\":\"198.51.100.1\"}]",
         200,
         "{\"done\":2,\"refused\":[{\"address\":\"198.51.100.2\",\"detail\":\"it is not "
         "quarantined\"}]}"},
        {"release takes no mode", "POST", API "/quarantine/release",
         "[{\"address\":\"198.51.100.2\",\"mode\":\"isolate\"}]", 400, "known: address."},
        {"release takes a list", "POST", API "/quarantine/release",
         "{\"address\":\"198.51.100.2\"}", 400, "must be a JSON array"},
        {"nobody is left", "GET", API "/quarantine", NULL, 200, "[]"},
    };

    RUN(rows);
}

/* {"address":"10.0.A.B"} for each number from `first` on. */
static char *orders(unsigned first, unsigned count)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    for (unsigned i = first; i < first + count; i++)
        (void)fprintf(f, "%s{\"address\":\"10.0.%u.%u\"}", i == first ? "[" : ",", i >> 8, i & 255);
    (void)fputc(']', f);
    cr_assert_eq(fclose(f), 0);
    return text;
}

Test(admin_calls, a_batch_is_bounded_and_listed_in_pages)
{
    GW_CLEANUP(gw_free_ptr) char *many = orders(256, 1200), *too_many = orders(256, 10001);
    GW_CLEANUP(gw_free_ptr) char *link = NULL;
    struct world w;
    struct reply r;

    world_open(&w);
    r = world_ask(&w, LOCAL, "POST", API "/quarantine", JSON_TYPE, too_many);
    cr_expect_eq(r.status, 400, "%u", r.status);
    reply_free(&r);
    r = world_ask(&w, LOCAL, "POST", API "/quarantine", JSON_TYPE, many);
    cr_expect_eq(r.status, 200, "%u", r.status);
    cr_expect_str_eq(r.body, "{\"done\":1200,\"refused\":[]}");
    reply_free(&r);
    cr_expect_eq(gw_quarantine_count(w.quarantine), 1200);
    r = world_ask(&w, LOCAL, "GET", API "/quarantine?limit=1000", "", NULL);
    link = reply_header(&r, "Link");
    cr_expect_str_eq(link, "</api/v1/quarantine?after=1000>; rel=\"next\"");
    reply_free(&r);
    r = world_ask(&w, LOCAL, "GET", API "/quarantine?after=1000", "", NULL);
    cr_expect(strstr(r.body, "10.0.4.232"), "%.200s", r.body);
    cr_expect_null(strstr(r.body, "10.0.4.231"));
    reply_free(&r);
    world_close(&w);
}

Test(admin_calls, a_batch_that_the_kernel_refuses_is_taken_back)
{
    struct world w;
    struct reply r;

    world_open(&w);
    world_applied = GW_EFULL;
    r = world_ask(&w, LOCAL, "POST", API "/quarantine", JSON_TYPE,
                  "[{\"address\":\"198.51.100.1\"}]");
    cr_expect_eq(r.status, 200);
    cr_expect(strstr(r.body, "{\"done\":0,\"refused\":[{\"address\":\"198.51.100.1\""), "%s",
              r.body);
    world_turn(&w, 20);
    cr_expect_eq(gw_quarantine_count(w.quarantine), 0);
    reply_free(&r);
    world_applied = 0;
    world_close(&w);
}

/* Neither leaves anything behind: the client that goes, and the gateway that ends meanwhile. */
Test(admin_calls, a_batch_goes_on_without_its_client_and_ends_with_the_gateway)
{
    GW_CLEANUP(gw_free_ptr) char *many = orders(256, 600);
    char head[128];
    struct world w;

    for (int ending = 0; ending < 2; ending++) {
        int fd;

        world_open(&w);
        world_applied = 1;
        fd = world_dial(&w, LOCAL);
        (void)snprintf(head, sizeof(head),
                       "POST " API "/quarantine HTTP/1.1\r\nHost: x\r\n" JSON_TYPE
                       "Content-Length: %zu\r\n\r\n",
                       strlen(many));
        world_say(fd, head);
        world_say(fd, many);
        world_turn(&w, 50);
        close(fd);
        world_turn(&w, 20);
        cr_expect_eq(gw_quarantine_count(w.quarantine), 500, "the first part");
        if (!ending) {
            world_applied = 0;
            world_turn(&w, 200);
            cr_expect_eq(gw_quarantine_count(w.quarantine), 600, "and the rest");
        }
        world_applied = 0;
        world_close(&w);
    }
}

Test(admin_calls, releases_a_device_that_is_cut_off_by_its_address)
{
    static const struct row rows[] = {
        {"its address", "POST", API "/quarantine", "{\"address\":\"192.0.2.7\"}", 204, NULL},
        {"counts for it", "GET", API "/devices/cam-1", NULL, 200, "\"mode\":\"isolate\""},
        {"release by id", "DELETE", API "/devices/cam-1/quarantine", NULL, 204, NULL},
        {"nobody is", "GET", API "/quarantine", NULL, 200, "[]"},
        {"its network", "POST", API "/quarantine", "{\"address\":\"192.0.2.0/24\"}", 204, NULL},
        {"is named", "DELETE", API "/devices/cam-1/quarantine", NULL, 409, "192.0.2.0/24"},
    };

    RUN(rows);
}

Test(admin_calls, passes_on_what_the_kernel_refuses)
{
    static const struct {
        int err;
        unsigned status;
        const char *want;
    } cases[] = {{GW_EPROTECTED, 409, "cam-1 was not quarantined: a protected address"},
                 {GW_EFULL, 507, "no room left"}};
    struct world w;

    world_open(&w);
    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct reply r;

        world_applied = cases[i].err;
        r = world_ask(&w, LOCAL, "POST", API "/devices/cam-1/quarantine", JSON_TYPE, "{}");
        cr_expect_eq(r.status, cases[i].status, "%s", r.text);
        cr_expect(strstr(r.body, cases[i].want), "%s", r.body);
        reply_free(&r);
    }
    world_applied = 0;
    world_close(&w);
}

Test(admin_calls, answers_a_verdict_only_when_the_kernel_has_it)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf got = {.max = 1u << 20};
    struct world w;
    int fd;

    world_open(&w);
    world_applied = 1;
    fd = world_dial(&w, LOCAL);
    world_say(fd, "POST " API "/devices/cam-1/quarantine HTTP/1.1\r\nHost: x\r\n" JSON_TYPE
                  "Content-Length: 2\r\n\r\n{}");
    world_turn(&w, 50);
    cr_expect_eq(recv(fd, (char[1]){0}, 1, MSG_DONTWAIT | MSG_PEEK), -1, "an answer too early");
    world_applied = 0;
    cr_expect(world_hear(&w, fd, &got, " 204 "));
    close(fd);
    world_close(&w);
}

Test(admin_calls, answers_the_end_of_a_verdict_with_its_device_only_when_the_kernel_has_it)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf got = {.max = 1u << 20};
    struct world w;
    int fd;

    world_open(&w);
    cr_assert_eq(
        gw_quarantine_device(w.quarantine, "cam-1", GW_MODE_ISOLATE, 0, "", "policy", NULL, NULL),
        0);
    world_turn(&w, 20);
    world_applied = 1;
    fd = world_dial(&w, LOCAL);
    world_say(fd, "DELETE " API "/devices/cam-1 HTTP/1.1\r\nHost: x\r\n\r\n");
    world_turn(&w, 50);
    cr_expect_eq(recv(fd, (char[1]){0}, 1, MSG_DONTWAIT | MSG_PEEK), -1, "an answer too early");
    world_applied = 0;
    cr_expect(world_hear(&w, fd, &got, " 204 "));
    close(fd);
    world_close(&w);
}

static int run_drop(struct gw_store_job *job, sqlite3 *db)
{
    (void)job;
    return sqlite3_exec(db,
                        "DROP TABLE device; DROP TABLE access_grant; DROP TABLE quarantine;"
                        " DROP TABLE api_key; DROP TABLE admin_user",
                        NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : GW_ESTORE;
}

Test(admin_calls, says_what_the_disk_did_not_take)
{
    static const struct row before[] = {
        {"a key", "POST", API "/keys", "{\"name\":\"old\"}", 201, NULL},
    };
    static const struct row rows[] = {
        {"approve", "POST", API "/devices/mac-020000000009/approve", "{}", 500,
         "mac-020000000009 is approved, but a restart may undo it: the database failed."},
        {"and so it is", "GET", API "/devices/mac-020000000009", NULL, 200, "\"approved\""},
        {"grant", "PUT", API "/devices/cam-1/grants",
         "[{\"topic\":\"site/#\",\"permissions\":[\"sub\"]}]", 500,
         "cam-1 is granted that, but a restart may undo it"},
        {"quarantine", "POST", API "/devices/cam-1/quarantine", "{}", 500,
         "cam-1 was not quarantined: the database failed."},
        {"and so it is not", "GET", API "/devices/cam-1", NULL, 200, "\"quarantine\":null"},
        {"a new key", "POST", API "/keys", "{\"name\":\"new\"}", 500, "The key was not made"},
        {"a key's end", "DELETE", API "/keys/old", NULL, 500,
         "The key is removed, but a restart may undo it"},
        {"a password", "PUT", API "/users/eve/password", "{\"password\":\"12345678\"}", 500,
         "The password was not set"},
        {"forget", "DELETE", API "/devices/cam-1", NULL, 500,
         "cam-1 is forgotten, but a restart may undo it"},
    };
    struct gw_store_job drop = {.run = run_drop};
    struct world w;

    world_open(&w);
    run(&w, before, GW_COUNT(before));
    cr_assert_eq(gw_store_call(w.store, &drop), 0);
    run(&w, rows, GW_COUNT(rows));
    world_close(&w);
}

Test(admin_calls, lets_a_client_leave_before_its_answer)
{
    struct world w;
    int fd;

    world_open(&w);
    world_applied = 1;
    fd = world_dial(&w, LOCAL);
    world_say(fd, "POST " API "/devices/cam-1/quarantine HTTP/1.1\r\nHost: x\r\n" JSON_TYPE
                  "Content-Length: 2\r\n\r\n{}");
    world_turn(&w, 20);
    close(fd);
    world_turn(&w, 20);
    world_applied = 0;
    world_turn(&w, 20);
    cr_expect_not_null(gw_quarantine_of_device(w.quarantine, "cam-1"), "it was ordered");
    world_close(&w);
}

Test(admin_calls, ends_while_requests_still_wait)
{
    struct world w;
    int verdict, login;

    world_open(&w);
    world_applied = 1;
    verdict = world_dial(&w, LOCAL);
    world_say(verdict, "POST " API "/devices/cam-1/quarantine HTTP/1.1\r\nHost: x\r\n" JSON_TYPE
                       "Content-Length: 2\r\n\r\n{}");
    login = world_dial(&w, LOCAL);
    world_say(login, "POST " API "/login HTTP/1.1\r\nHost: x\r\n" JSON_TYPE
                     "Content-Length: 35\r\n\r\n{\"user\":\"admin\",\"password\":\"guess\"}");
    world_turn(&w, 10);
    gw_admin_free(&w.admin); /* before the store and quarantine tell */
    world_turn(&w, 10);
    world_close(&w);
    close(verdict);
    close(login);
}

Test(admin_calls, keeps_grants)
{
    static const struct row rows[] = {
        {"none", "GET", API "/devices/cam-1/grants", NULL, 200, "[]"},
        {"two", "PUT", API "/devices/cam-1/grants",
         "[{\"topic\":\"site/#\",\"permissions\":[\"sub\",\"pub\"],\"until\":null},"
         "{\"topic\":\"d/%d/x\",\"permissions\":[\"pub\"],\"until\":\"2100-01-01T00:00:00Z\"}]",
         204, NULL},
        {"they are there", "GET", API "/devices/cam-1/grants", NULL, 200,
         "[{\"topic\":\"site/#\",\"permissions\":[\"pub\",\"sub\"],\"until\":null},{\"topic\":"
         "\"d/%d/x\",\"permissions\":[\"pub\"],\"until\":\"2100-01-01T00:00:00.000Z\"}]"},
        {"a wrong filter", "PUT", API "/devices/cam-1/grants",
         "[{\"topic\":\"a/#/b\",\"permissions\":[\"pub\"]}]", 400, NULL},
        {"no permission", "PUT", API "/devices/cam-1/grants",
         "[{\"topic\":\"a\",\"permissions\":[]}]", 400, "Grant 1: \\\"permissions\\\""},
        {"an odd permission", "PUT", API "/devices/cam-1/grants",
         "[{\"topic\":\"a\",\"permissions\":[\"own\"]}]", 400, "list of pub and sub"},
        {"an odd end", "PUT", API "/devices/cam-1/grants",
         "[{\"topic\":\"a\",\"permissions\":[\"pub\"],\"until\":\"soon\"}]", 400, "until"},
        {"an unknown member", "PUT", API "/devices/cam-1/grants",
         "[{\"topic\":\"a\",\"permissions\":[\"pub\"],\"for\":1}]", 400,
         "\\\"for\\\" is not known"},
        {"no topic", "PUT", API "/devices/cam-1/grants", "[{\"permissions\":[\"pub\"]}]", 400,
         "topic"},
        {"no list of objects", "PUT", API "/devices/cam-1/grants", "[1]", 400, "topic"},
        {"no list", "PUT", API "/devices/cam-1/grants", "{}", 400, "must be a JSON array"},
        {"no body", "PUT", API "/devices/cam-1/grants", "", 400, "must be a JSON array"},
        {"nobody's", "GET", API "/devices/none/grants", NULL, 404, NULL},
        {"unchanged by all that", "GET", API "/devices/cam-1/grants", NULL, 200, "site/#"},
        {"none again", "PUT", API "/devices/cam-1/grants", "[]", 204, NULL},
        {"none", "GET", API "/devices/cam-1/grants", NULL, 200, "[]"},
    };

    RUN(rows);
}

Test(admin_calls, opens_a_pairing_window)
{
    static const struct row rows[] = {
        {"closed", "GET", API "/pairing", NULL, 200,
         "{\"open\":false,\"expires\":null,\"port\":8443"},
        {"open", "POST", API "/pairing", "{\"seconds\":60}", 200, "{\"code\":\""},
        {"no code for those who only look", "GET", API "/pairing", NULL, 200,
         "{\"open\":true,\"expires\":\"2"},
        {"too long", "POST", API "/pairing", "{\"seconds\":86401}", 400, "86400"},
        {"close", "DELETE", API "/pairing", NULL, 204, NULL},
        {"closed", "GET", API "/pairing", NULL, 200, "{\"open\":false"},
    };

    RUN(rows);
}

Test(admin_calls, reads_the_journal_by_pages)
{
    static const struct row rows[] = {
        {"all", "GET", API "/events", NULL, 200, "\"action\":\"join\""},
        {"by number", "GET", API "/events?since=0&limit=1", NULL, 200, "\"id\":1,"},
        {"by time", "GET", API "/events?since=2020-01-01T00:00:00Z", NULL, 200, "\"id\":1,"},
        {"in the future", "GET", API "/events?since=2100-01-01T00:00:00Z", NULL, 200, "[]"},
        {"too many", "GET", API "/events?limit=1001", NULL, 400, "limit"},
        {"a bad time", "GET", API "/events?since=2020-01-32T00:00:00Z", NULL, 400, "since"},
        {"a bad number", "GET", API "/events?since=abc", NULL, 400, "since"},
        {"a time line", "GET", API "/devices/cam-1/presence", NULL, 200, "\"device\":\"cam-1\""},
        {"of nobody", "GET", API "/devices/none/presence", NULL, 404, NULL},
        {"of the quiet one", "GET", API "/devices/mac-020000000009/presence?since=0", NULL, 200,
         "["},
    };

    RUN(rows);
}

Test(admin_calls, lists_many_devices_in_parts_and_says_where_to_go_on)
{
    GW_CLEANUP(gw_free_ptr) char *link = NULL;
    struct world w;
    struct reply r;
    json_t *list;
    int fd;

    world_open(&w);
    for (int i = 0; i < 500; i++) {
        const uint8_t mac[6] = {2, 1, 0, 0, (uint8_t)(i >> 8), (uint8_t)i};

        cr_assert_not_null(gw_devices_sighting(w.devices, mac, NULL, "lan0"));
    }
    r = world_ask(&w, LOCAL, "GET", API "/devices", NULL, NULL);
    list = json_loads(r.body, 0, NULL);
    cr_expect_eq(json_array_size(list), 502);
    cr_expect_null(strstr(r.text, "Link: "));
    json_decref(list);
    reply_free(&r);
    r = world_ask(&w, LOCAL, "GET", API "/devices?limit=300", NULL, NULL);
    list = json_loads(r.body, 0, NULL);
    cr_expect_eq(json_array_size(list), 300);
    link = reply_header(&r, "Link");
    cr_expect_str_eq(link, "<" API "/devices?after=mac-020100000129>; rel=\"next\"");
    json_decref(list);
    reply_free(&r);
    fd = world_dial(&w, LOCAL); /* one that leaves meanwhile */
    world_say(fd, "GET " API "/devices HTTP/1.1\r\nHost: x\r\n\r\n");
    world_turn(&w, 2);
    close(fd);
    world_turn(&w, 5);
    world_close(&w);
}

/* ---- the isolation test ---- */

static char *events_text(struct world *w)
{
    struct reply r = world_ask(w, LOCAL, "GET", API "/events?limit=10", "", NULL);
    char *text = strdup(r.body);

    reply_free(&r);
    return text;
}

Test(admin_calls, answers_the_isolation_test_when_it_is_over_and_keeps_it)
{
    static const struct row rows[] = {
        {"never tested", "GET", API "/status", NULL, 200, "\"test\":null"},
        {"tested", "POST", API "/isolation/test", "{}", 200,
         "{\"at\":\"2025-12-01T06:39:00.123Z\",\"took_ms\":77,\"passed\":2,\"failed\":0,"
         "\"skipped\":1,\"checks\":[{\"name\":\"the maps are pinned\",\"where\":\"\",\"result\":"
         "\"passed\",\"detail\":\"\"},"},
        {"its result is kept", "GET", API "/isolation", NULL, 200,
         "{\"name\":\"attached\",\"where\":\"generic\",\"result\":\"skipped\",\"detail\":"
         "\"not here\"}]}}"},
        {"and its figures", "GET", API "/status", NULL, 200,
         "\"test\":{\"at\":\"2025-12-01T06:39:00.123Z\",\"took_ms\":77,\"passed\":2,\"failed\":0,"
         "\"skipped\":1}}"},
        {"without a body", "POST", API "/isolation/test", "[]", 400, NULL},
        {"by the wrong method", "GET", API "/isolation/test", NULL, 405, NULL},
    };
    GW_CLEANUP(gw_free_ptr) char *events = NULL;
    struct world w;

    world_open(&w);
    run(&w, rows, GW_COUNT(rows));
    events = events_text(&w);
    cr_expect(strstr(events, "\"severity\":\"info\",\"kind\":\"isolation-test\""), "%s", events);
    world_close(&w);
}

Test(admin_calls, says_loudly_that_the_isolation_does_not_hold)
{
    static const struct row bad[] = {
        {"failed", "POST", API "/isolation/test", "{}", 200,
         "\"result\":\"failed\",\"detail\":\"it came through\""},
    };
    static const struct row none[] = {
        {"not run", "POST", API "/isolation/test", "{}", 409,
         "The isolation was not tested: no room."},
        {"the last result stays", "GET", API "/status", NULL, 200, "\"failed\":1"},
    };
    GW_CLEANUP(gw_free_ptr) char *events = NULL;
    struct world w;

    world_open(&w);
    world_test_fails = true;
    run(&w, bad, GW_COUNT(bad));
    events = events_text(&w);
    cr_expect(strstr(events, "\"severity\":\"critical\",\"kind\":\"isolation-test\""), "%s",
              events);
    cr_expect(strstr(events, "the first: isolated by MAC, native: it came through."), "%s", events);
    world_test_error = "no room";
    run(&w, none, GW_COUNT(none));
    world_close(&w);
}

Test(admin_calls, one_test_answers_everybody_who_asked_meanwhile)
{
    static const char ask[] = "POST " API "/isolation/test HTTP/1.1\r\nHost: x\r\n" JSON_TYPE
                              "Content-Length: 2\r\n\r\n{}";
    GW_CLEANUP(gw_buf_fini) struct gw_buf one = {.max = 65536}, two = {.max = 65536};
    int fd[3];
    struct world w;

    world_open(&w);
    world_applied = 1; /* not answered yet */
    for (size_t i = 0; i < GW_COUNT(fd); i++) {
        fd[i] = world_dial(&w, LOCAL);
        world_say(fd[i], ask);
        world_turn(&w, 5);
    }
    close(fd[2]); /* one does not wait */
    world_turn(&w, 5);
    world_applied = 0;
    cr_expect(world_hear(&w, fd[0], &one, "\"passed\":2"));
    cr_expect(world_hear(&w, fd[1], &two, "\"passed\":2"));
    close(fd[0]);
    world_applied = 1;
    world_say(fd[1], ask); /* somebody waits while everything ends */
    world_turn(&w, 5);
    world_close(&w);
    close(fd[1]);
}
