/* SPDX-License-Identifier: GPL-2.0-only */
#include "world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "crypto/crypto.h"

/* ---- the enforcer's client, as far as these rooms use it ---- */

int world_applied;

static struct {
    uint64_t token[2048];
    size_t count;
    int completed;
    bool test;
} asked;

static uint16_t learning[16];
static size_t learning_count;

static struct gw_enforcer *stand_in(void)
{
    return (struct gw_enforcer *)(void *)&asked;
}

int gw_enforcer_judge(struct gw_enforcer *e, const struct gw_hwaddr *a,
                      const struct gw_judgement *j, uint64_t token)
{
    (void)e;
    (void)a;
    (void)j;
    cr_assert_lt(asked.count, GW_COUNT(asked.token));
    asked.token[asked.count++] = token;
    return 0;
}

/* Policies are asked for as verdicts are; their tokens tell them apart. */
int gw_enforcer_policy(struct gw_enforcer *e, const struct gw_policy *p, uint64_t token)
{
    (void)p;
    return gw_enforcer_judge(e, NULL, NULL, token);
}

int gw_enforcer_policy_end(struct gw_enforcer *e, uint16_t number, uint64_t token)
{
    (void)number;
    return gw_enforcer_judge(e, NULL, NULL, token);
}

/* What the stand-in has learned of every device: it asked one server for a name and a page. */
int gw_enforcer_learned(struct gw_enforcer *e, uint16_t number, bool forget)
{
    (void)e;
    if (learning_count < GW_COUNT(learning))
        learning[learning_count++] = forget ? 0 : number;
    return 0;
}

int gw_enforcer_verdicts_complete(struct gw_enforcer *e)
{
    (void)e;
    asked.completed++;
    return 0;
}

bool gw_enforcer_traffic(const struct gw_enforcer *e, const struct gw_hwaddr *a,
                         struct gw_traffic *out)
{
    (void)e;
    if (a->kind == GW_ADDR_IPV6)
        return false;
    *out = (struct gw_traffic){.rx_packets = 10,
                               .rx_bytes = 1000,
                               .tx_packets = 5,
                               .tx_bytes = 500,
                               .dropped_packets = 2,
                               .dropped_bytes = 120};
    return true;
}

size_t gw_enforcer_links(const struct gw_enforcer *e, struct gw_link_report *out,
                         struct gw_traffic *out_traffic, size_t max)
{
    (void)e;
    cr_assert_geq(max, 2);
    /* In no order, as the kernel may have them. */
    out[1] = (struct gw_link_report){.ifname = "lan0",
                                     .present = true,
                                     .up = true,
                                     .ingress = GW_INGRESS_NATIVE,
                                     .egress = GW_EGRESS_TCX,
                                     .bypass = GW_BYPASS_OFFLOAD | GW_BYPASS_SEGMENTS};
    out[0] = (struct gw_link_report){.ifname = "lan1",
                                     .present = true,
                                     .ingress = GW_INGRESS_TC,
                                     .egress = GW_EGRESS_NONE,
                                     .reason = "no XDP here"};
    out_traffic[1] = (struct gw_traffic){.dropped_packets = 7, .dropped_bytes = 700};
    out_traffic[0] = (struct gw_traffic){0};
    return 2;
}

int gw_enforcer_selftest(struct gw_enforcer *e)
{
    (void)e;
    cr_assert(!asked.test, "one test at a time");
    asked.test = true;
    return 0;
}

int gw_enforcer_resolve(struct gw_enforcer *e, const struct gw_hwaddr *ip)
{
    (void)e;
    (void)ip;
    return 0;
}

const char *gw_sandbox_text(void)
{
    return "seccomp, landlock";
}

const char *world_test_error;
bool world_test_fails;

static void answer_test(struct world *w)
{
    const struct gw_check checks[] = {
        {.name = "the maps are pinned"},
        {.name = "isolated by MAC",
         .where = "native",
         .outcome = world_test_fails ? GW_CHECK_FAILED : GW_CHECK_PASSED,
         .detail = "it came through"},
        {.name = "attached", .where = "generic", .outcome = GW_CHECK_SKIPPED, .detail = "not here"},
    };
    const struct gw_selftest t = {1764571140123, 77, checks, GW_COUNT(checks), world_test_error};

    if (!asked.test || world_applied == 1)
        return;
    asked.test = false;
    gw_admin_tested(w->admin, &t);
}

static void answer_verdicts(struct world *w)
{
    while (world_applied != 1 && asked.count) {
        uint64_t token = asked.token[0];

        memmove(asked.token, asked.token + 1, --asked.count * sizeof(asked.token[0]));
        if (token & GW_PROFILE_TOKEN)
            gw_profiles_applied(w->profiles, token, world_applied);
        else
            gw_quarantine_applied(w->quarantine, token, world_applied);
    }
}

static void answer_learned(struct world *w)
{
    struct gw_learned at = {.direction = GW_FROM_DEVICE,
                            .protocol = 6,
                            .port = 443,
                            .packets = 12,
                            .bytes = 3400,
                            .first_ms = 1800000000000,
                            .last_ms = 1800000001000};

    cr_assert_eq(gw_hwaddr_parse("198.51.100.7", &at.peer), 0);
    for (size_t i = 0; i < learning_count; i++)
        if (learning[i])
            gw_profiles_learned(w->profiles, &(struct gw_learning){.number = learning[i],
                                                                   .at = &at,
                                                                   .count = 1,
                                                                   .peak_packets_per_s = 50,
                                                                   .peak_bytes_per_s = 60000});
    learning_count = 0;
}

static uint16_t policy_of(void *owner, const char *device)
{
    struct world *w = owner;

    return gw_profiles_number(w->profiles, device);
}

/* ---- the rooms ---- */

static void uplink(void *owner, struct gw_admin_uplink *out)
{
    (void)owner;
    *out = (struct gw_admin_uplink){"connected", "mqtts://cloud:8883", "", 3, 999, 2, 41};
}

static void broker(void *owner, struct gw_admin_broker *out)
{
    (void)owner;
    *out =
        (struct gw_admin_broker){.connections = 2,
                                 .sessions = 3,
                                 .queued = 7,
                                 .dropped = {.qos0 = 5, .full = 1},
                                 .limits = {{"connections", 10000, 0}, {"queued_bytes", 500, 6}}};
}

static void rooms_open(struct world *w)
{
    struct gw_presence_ops presence_ops = {0};
    struct gw_quarantine_ops quarantine_ops = {.policy_of = policy_of, .owner = w};
    struct gw_admin_rooms rooms;

    cr_assert_eq(gw_loop_new(&w->loop), 0);
    cr_assert_eq(gw_store_open(w->loop, w->dir, &w->store), 0);
    cr_assert_eq(gw_journal_open(w->loop, w->store, 10000, &w->journal), 0);
    cr_assert_eq(gw_devices_open(w->loop, w->store, 1000, &w->devices), 0);
    cr_assert_eq(gw_access_open(w->config, w->store, w->devices, &w->access), 0);
    cr_assert_eq(gw_presence_open(w->loop, w->config, w->store, w->journal, w->devices,
                                  &presence_ops, &w->presence),
                 0);
    cr_assert_eq(gw_profiles_open(w->loop, w->store, w->journal, w->devices, NULL, &w->profiles),
                 0);
    cr_assert_eq(gw_quarantine_open(w->loop, w->config, w->store, w->journal, w->devices,
                                    &quarantine_ops, &w->quarantine),
                 0);
    cr_assert_eq(gw_pki_open(w->dir, &w->pki), 0);
    cr_assert_eq(
        gw_enroll_new(w->loop, w->config, w->pki, w->devices, w->journal, w->store, &w->enroll), 0);
    rooms = (struct gw_admin_rooms){.config = w->config,
                                    .store = w->store,
                                    .journal = w->journal,
                                    .devices = w->devices,
                                    .access = w->access,
                                    .presence = w->presence,
                                    .profiles = w->profiles,
                                    .quarantine = w->quarantine,
                                    .enroll = w->enroll,
                                    .enforcer = stand_in(),
                                    .pki = w->pki,
                                    .gateway_id = gw_pki_gateway_id(w->pki),
                                    .uplink = uplink,
                                    .broker = broker,
                                    .owner = w};
    cr_assert_eq(gw_admin_new(w->loop, &rooms, &w->admin), 0);
    gw_profiles_start(w->profiles, stand_in());
    gw_quarantine_start(w->quarantine, stand_in());
}

static void rooms_close(struct world *w)
{
    gw_store_flush(w->store);
    gw_admin_free(&w->admin);
    gw_enroll_free(&w->enroll);
    gw_pki_close(&w->pki);
    gw_quarantine_close(&w->quarantine);
    gw_profiles_close(&w->profiles);
    gw_presence_close(&w->presence);
    gw_access_close(&w->access);
    gw_devices_close(&w->devices);
    gw_journal_close(&w->journal);
    gw_store_close(&w->store);
    gw_loop_free(&w->loop);
}

static void make_devices(struct world *w)
{
    static const uint8_t cam[6] = {2, 0, 0, 0, 0, 1}, other[6] = {2, 0, 0, 0, 0, 9};
    const uint8_t ip4[4] = {192, 0, 2, 7}, ip6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7};
    struct gw_hwaddr v4 = gw_hwaddr_ipv4(ip4), v6 = gw_hwaddr_ipv6(ip6);
    struct gw_device *d;

    cr_assert_eq(gw_devices_prove(w->devices, "cam-1", &v4, cam, &d), 0);
    cr_assert_not_null(gw_devices_sighting(w->devices, cam, &v6, "lan0"));
    cr_assert_not_null(gw_devices_sighting(w->devices, other, NULL, "lan0"));
    gw_presence_connected(w->presence, "cam-1");
}

void world_open(struct world *w)
{
    *w = (struct world){.dir = "/tmp/cordon-admin-XXXXXX"};
    world_applied = 0;
    memset(&asked, 0, sizeof(asked));
    cr_assert_eq(gw_crypto_init(), 0);
    cr_assert_not_null(mkdtemp(w->dir));
    cr_assert_eq(gw_config_defaults(&w->config), 0);
    rooms_open(w);
    make_devices(w);
    world_turn(w, 5);
}

void world_restart(struct world *w)
{
    rooms_close(w);
    rooms_open(w);
}

void world_close(struct world *w)
{
    char command[128];

    rooms_close(w);
    gw_config_free(&w->config);
    (void)snprintf(command, sizeof(command), "rm -r %s", w->dir);
    cr_expect_eq(system(command), 0);
}

void world_turn(struct world *w, int times)
{
    for (int i = 0; i < times; i++) {
        cr_assert_eq(gw_loop_turn(w->loop, 2), 0);
        answer_verdicts(w);
        answer_test(w);
        answer_learned(w);
    }
}

/* ---- the client ---- */

/* Two connected TCP sockets on loopback. */
static void tcp_pair(int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_geq(listener, 0);
    cr_assert_eq(bind(listener, (struct sockaddr *)(void *)&at, len), 0);
    cr_assert_eq(listen(listener, 1), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)(void *)&at, &len), 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fds[0], (struct sockaddr *)(void *)&at, len), 0);
    fds[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert_geq(fds[1], 0);
    cr_assert_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    close(listener);
}

int world_dial(struct world *w, enum way way)
{
    struct gw_stream_limits limits = {.output_max = 1u << 20};
    struct gw_stream *stream;
    int fds[2];

    if (way == HTTPS)
        tcp_pair(fds);
    else
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(gw_tcp_stream_new(w->loop, fds[1], &limits, &stream), 0);
    cr_assert_eq(gw_admin_serve(w->admin, stream), 0);
    return fds[0];
}

void world_say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

bool world_hear(struct world *w, int fd, struct gw_buf *got, const char *needle)
{
    for (int i = 0; i < 2000; i++) {
        char buf[8192];
        ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

        if (n == 0)
            return needle == NULL;
        if (n > 0)
            cr_assert_eq(gw_buf_append(got, GW_SLICE(buf, n)), 0);
        if (needle && gw_buf_len(got) &&
            memmem(gw_buf_slice(got).ptr, gw_buf_len(got), needle, strlen(needle)))
            return true;
        if (n < 0)
            world_turn(w, 1);
    }
    return false;
}

/* More than the socket takes at once. */
static void say_all(struct world *w, int fd, const char *text)
{
    for (size_t left = strlen(text), turns = 0; left > 0; turns++) {
        ssize_t n = send(fd, text, left, MSG_NOSIGNAL);

        cr_assert(n > 0 || (n < 0 && errno == EAGAIN && turns < 2000));
        if (n < 0) {
            world_turn(w, 1);
            continue;
        }
        text += n;
        left -= (size_t)n;
    }
}

struct reply world_ask(struct world *w, enum way way, const char *method, const char *path,
                       const char *headers, const char *body)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf got = {.max = 16u << 20};
    GW_CLEANUP(gw_free_ptr) char *request = NULL;
    struct reply r = {0};
    int fd = world_dial(w, way);

    cr_assert_geq(asprintf(&request,
                           "%s %s HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n%sContent-Length: "
                           "%zu\r\n\r\n%s",
                           method, path, headers ? headers : "", body ? strlen(body) : 0,
                           body ? body : ""),
                  0);
    say_all(w, fd, request);
    cr_assert(world_hear(w, fd, &got, NULL), "%s %s: no answer", method, path);
    close(fd);
    cr_assert_gt(gw_buf_len(&got), 12, "%s %s", method, path);
    r.text = gw_slice_dup(gw_buf_slice(&got));
    r.status = (unsigned)atoi(r.text + 9);
    r.body = strstr(r.text, "\r\n\r\n");
    r.body = r.body ? r.body + 4 : "";
    return r;
}

void reply_free(struct reply *r)
{
    free(r->text);
    *r = (struct reply){0};
}

char *reply_header(const struct reply *r, const char *name)
{
    char pattern[64];
    const char *at;

    (void)snprintf(pattern, sizeof(pattern), "\r\n%s: ", name);
    at = strcasestr(r->text, pattern);
    if (!at || at > r->body)
        return strdup("");
    at += strlen(pattern);
    return strndup(at, strcspn(at, "\r"));
}

static void setup_code(struct world *w, char out[32])
{
    struct reply r = world_ask(w, LOCAL, "GET", "/api/v1/setup-code", NULL, NULL);

    cr_assert_eq(r.status, 200, "%s", r.text);
    cr_assert_eq(sscanf(r.body, "{\"code\":\"%31[A-Z0-9-]", out), 1, "%s", r.body);
    reply_free(&r);
}

void world_log_in(struct world *w, char out_cookie[256])
{
    GW_CLEANUP(gw_free_ptr) char *cookie = NULL;
    char code[32], body[256];
    struct reply r;

    setup_code(w, code);
    (void)snprintf(body, sizeof(body),
                   "{\"code\":\"%s\",\"user\":\"admin\",\"password\":\"correct horse\"}", code);
    r = world_ask(w, HTTPS, "POST", "/api/v1/setup", JSON_TYPE, body);
    cr_assert_eq(r.status, 204, "%s", r.text);
    cookie = reply_header(&r, "Set-Cookie");
    cookie[strcspn(cookie, ";")] = '\0';
    (void)snprintf(out_cookie, 256, "Cookie: %s\r\n", cookie);
    reply_free(&r);
}
