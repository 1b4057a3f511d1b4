/* SPDX-License-Identifier: GPL-2.0-only */
#include "site.h"

#include "peer/peer.h"

static struct {
    struct gw_access *access;
    struct gw_presence *presence;
    struct gw_quarantine *quarantine;
    struct gw_hub *hub;
    struct gw_peers *peers;
    int sink;
    uint64_t ticket;
    char last[64]; /* "device topic" of what reached the sink */
    unsigned sunk, resolved;
} at;

/* The enforcer is another process; what is asked of it is not this test's matter. */
int gw_enforcer_judge(struct gw_enforcer *e, const struct gw_hwaddr *a,
                      const struct gw_judgement *j, uint64_t token)
{
    (void)e;
    (void)a;
    (void)j;
    (void)token;
    return 0;
}

int gw_enforcer_verdicts_complete(struct gw_enforcer *e)
{
    (void)e;
    return 0;
}

static int sink(void *owner, const struct gw_msg *m, uint64_t ticket, struct gw_slice label)
{
    (void)label;
    (void)owner;
    at.ticket = ticket;
    at.sunk++;
    (void)snprintf(at.last, sizeof(at.last), "%.*s %.*s", (int)m->device.len,
                   (const char *)m->device.ptr, (int)m->topic.len, (const char *)m->topic.ptr);
    return at.sink;
}

static void resolve(void *owner, const struct gw_hwaddr *ip)
{
    (void)owner;
    (void)ip;
    at.resolved++;
}

static void on_verdict(void *owner, const char *device, const struct gw_verdict *v)
{
    (void)owner;
    if (v)
        gw_peers_close_device(at.peers, device, GW_EQUARANTINED);
}

static void setup(void)
{
    static const struct gw_hub_ops hub_ops = {.sink = sink};
    static const struct gw_presence_ops presence_ops;
    static const struct gw_quarantine_ops quarantine_ops = {.changed = on_verdict};
    const struct gw_hub_limits limits = {.queued_bytes = 100000};
    struct gw_peers_rooms rooms = {.resolve = resolve};

    site_open();
    at.sink = 1;
    cr_assert_eq(gw_access_open(site.config, site.store, site.devices, &at.access), 0);
    cr_assert_eq(gw_presence_open(site.loop, site.config, site.store, site.journal, site.devices,
                                  &presence_ops, &at.presence),
                 0);
    cr_assert_eq(gw_quarantine_open(site.loop, site.config, site.store, site.journal, site.devices,
                                    &quarantine_ops, &at.quarantine),
                 0);
    cr_assert_eq(gw_hub_open(site.loop, &limits, site.store, &hub_ops, NULL, &at.hub), 0);
    rooms.config = site.config;
    rooms.devices = site.devices;
    rooms.hub = at.hub;
    rooms.access = at.access;
    rooms.presence = at.presence;
    rooms.quarantine = at.quarantine;
    cr_assert_eq(gw_peers_open(site.loop, &rooms, &at.peers), 0);
}

static void teardown(void)
{
    gw_peers_close(&at.peers);
    gw_hub_close(&at.hub);
    gw_quarantine_close(&at.quarantine);
    gw_presence_close(&at.presence);
    gw_access_close(&at.access);
    site_close();
}

TestSuite(peer, .init = setup, .fini = teardown);

struct line {
    struct gw_peer *peer;
    unsigned told, closed;
    int err;
};

static void told(void *owner, uint32_t token, int err)
{
    struct line *l = owner;

    (void)token;
    l->told++;
    l->err = err;
}

static void closed(void *owner, int err)
{
    struct line *l = owner;

    l->closed++;
    l->err = err;
    gw_peer_gone(&l->peer, GW_CAUSE_QUARANTINED);
}

static const struct gw_peer_ops ops = {told, closed};

static void join(struct line *l, const char *device)
{
    *l = (struct line){0};
    cr_assert_eq(gw_peer_new(at.peers, device, ip_of("192.0.2.9"), &ops, l, &l->peer), 0);
}

static int say(struct line *l, const char *topic, const char *payload, uint8_t qos)
{
    const struct gw_msg m = {
        .qos = qos, .topic = gw_slice_str(topic), .payload = gw_slice_str(payload)};

    return gw_peer_publish(l->peer, &m, 1);
}

Test(peer, speaks_in_its_devices_name_only)
{
    struct line l;

    join(&l, "cam");
    cr_expect_eq(at.resolved, 1);
    cr_expect_eq(say(&l, "d/cam/x", "p", 1), 1);
    cr_expect_str_eq(at.last, "cam d/cam/x");
    gw_peer_gone(&l.peer, GW_CAUSE_LEFT);
}

Test(peer, refuses_what_no_grant_allows_and_what_is_none)
{
    static const struct {
        const char *topic;
        int want;
    } cases[] = {
        {"d/cam/x", 1},
        {"d/tv/x", GW_EDENIED},
        {"d/cam", 1},
        {"d/camel/x", GW_EDENIED},
        {"x", GW_EDENIED},
        {"$SYS/x", GW_EDENIED},
        {"$presence/devices/cam", GW_EDENIED},
        {"d/cam/+", GW_EMALFORMED},
        {"", GW_EMALFORMED},
    };
    struct line l;

    join(&l, "cam");
    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(say(&l, cases[i].topic, "p", 0), cases[i].want, "%s", cases[i].topic);
    cr_expect_eq(at.sunk, 2);
    gw_peer_gone(&l.peer, GW_CAUSE_LEFT);
}

Test(peer, refuses_a_payload_past_the_limit)
{
    static uint8_t payload[101];
    struct gw_msg m = {.topic = GW_SLICE_LIT("d/cam/x"), .payload = GW_SLICE(payload, 100)};
    struct line l;

    site.config->limits.message_bytes = 100;
    join(&l, "cam");
    cr_expect_eq(gw_peer_publish(l.peer, &m, 0), 1);
    m.payload.len = 101;
    cr_expect_eq(gw_peer_publish(l.peer, &m, 0), GW_ETOOBIG);
    gw_peer_gone(&l.peer, GW_CAUSE_LEFT);
}

Test(peer, shares_the_quota_among_all_connections_of_a_device)
{
    struct line a, b, other;

    site.config->limits.publish_per_s = 10;
    join(&a, "cam");
    join(&b, "cam");
    join(&other, "tv");
    for (int i = 0; i < 5; i++) {
        cr_expect_eq(say(&a, "d/cam/x", "p", 1), 1);
        cr_expect_eq(say(&b, "d/cam/x", "p", 1), 1);
    }
    cr_expect_eq(say(&a, "d/cam/x", "p", 1), GW_EQUOTA);
    cr_expect_eq(say(&other, "d/tv/x", "p", 1), 1);
    cr_expect_eq(gw_peer_quota_ms(a.peer), 100);
    pass_ms(site.loop, 100);
    cr_expect_eq(gw_peer_quota_ms(b.peer), 0);
    cr_expect_eq(say(&b, "d/cam/x", "p", 1), 1);
    cr_expect_eq(say(&b, "d/cam/x", "p", 1), GW_EQUOTA);
    pass_ms(site.loop, 60000);
    for (int i = 0; i < 10; i++)
        cr_expect_eq(say(&a, "d/cam/x", "p", 1), 1);
    cr_expect_eq(say(&a, "d/cam/x", "p", 1), GW_EQUOTA, "one second's worth, not a minute's");
    gw_peer_gone(&a.peer, GW_CAUSE_LEFT);
    gw_peer_gone(&b.peer, GW_CAUSE_LEFT);
    gw_peer_gone(&other.peer, GW_CAUSE_LEFT);
}

Test(peer, is_told_only_when_it_is_durable)
{
    struct line l;

    at.sink = 0;
    join(&l, "cam");
    cr_expect_eq(say(&l, "d/cam/x", "p", 1), 0);
    cr_expect_eq(l.told, 0);
    gw_hub_durable(at.hub, at.ticket);
    cr_expect_eq(l.told, 1);
    cr_expect_eq(l.err, 0);
    cr_expect_eq(say(&l, "d/cam/x", "p", 1), 0);
    gw_peer_gone(&l.peer, GW_CAUSE_LEFT);
    gw_hub_durable(at.hub, at.ticket);
    cr_expect_eq(l.told, 1, "it has gone");
}

Test(peer, counts_for_presence_until_its_last_connection_ends)
{
    struct gw_presence_status s;
    struct line a, b;

    join(&a, "cam");
    join(&b, "cam");
    cr_expect_eq(gw_peers_count(at.peers, "cam"), 2);
    cr_expect_eq(gw_peers_count(at.peers, NULL), 2);
    gw_peer_gone(&a.peer, GW_CAUSE_RESET);
    gw_presence_of(at.presence, "cam", &s);
    cr_expect_eq(s.status, GW_ONLINE);
    gw_peer_gone(&b.peer, GW_CAUSE_LEFT);
    gw_presence_of(at.presence, "cam", &s);
    cr_expect_eq(s.status, GW_OFFLINE);
    cr_expect_eq(s.cause, GW_CAUSE_LEFT);
    cr_expect_eq(gw_peers_count(at.peers, "cam"), 0);
}

Test(peer, declares_sleep_by_heartbeat_and_its_state)
{
    struct gw_presence_status s;
    struct line l;

    join(&l, "cam");
    cr_expect_eq(say(&l, "d/cam/heartbeat", "{\"interval_s\":3600}", 0), 1);
    cr_expect_eq(say(&l, "d/cam/heartbeat", "{\"interval_s\":-1}", 0), 1);
    cr_expect_eq(say(&l, "d/cam/heartbeat", "[[[", 0), 1, "any payload will do");
    cr_expect_eq(say(&l, "d/cam/state", "{\"door\":\"open\"}", 0), 1);
    gw_presence_of(at.presence, "cam", &s);
    cr_expect_str_eq(s.state, "{\"door\":\"open\"}");
    cr_expect_eq(say(&l, "d/cam/state", "no json", 0), 1);
    gw_presence_of(at.presence, "cam", &s);
    cr_expect_str_eq(s.state, "{\"door\":\"open\"}");
    gw_peer_gone(&l.peer, GW_CAUSE_LEFT);
}

Test(peer, is_closed_and_kept_out_by_a_verdict_and_by_revocation)
{
    struct line a, b, c;

    join(&a, "cam");
    join(&b, "cam");
    join(&c, "tv");
    cr_assert_eq(
        gw_quarantine_device(at.quarantine, "cam", GW_MODE_ISOLATE, 0, "test", "admin", NULL, NULL),
        0);
    cr_expect(a.closed == 1 && b.closed == 1 && c.closed == 0);
    cr_expect_eq(a.err, GW_EQUARANTINED);
    cr_expect_eq(gw_peer_new(at.peers, "cam", NULL, &ops, &a, &a.peer), GW_EQUARANTINED);
    cr_assert_eq(gw_devices_revoke(site.devices, "tv"), 0);
    cr_expect_eq(c.closed, 1);
    cr_expect_eq(c.err, GW_EREVOKED);
    cr_expect_eq(gw_peer_new(at.peers, "tv", NULL, &ops, &c, &c.peer), GW_EREVOKED);
    cr_assert_eq(gw_quarantine_release_device(at.quarantine, "cam", "admin", NULL, NULL), 0);
    join(&a, "cam");
    gw_peer_gone(&a.peer, GW_CAUSE_LEFT);
}

Test(peer, survives_the_verdict_that_its_own_publish_brings)
{
    char mode[] = "isolate";
    struct gw_config_rule rule = {GW_STRIKE_DENIED, mode, 3, 60, 0, false};
    struct gw_config_rule *kept = site.config->quarantine.rules;
    size_t kept_count = site.config->quarantine.rule_count;
    struct line l;

    site.config->quarantine.rules = &rule;
    site.config->quarantine.rule_count = 1;
    gw_quarantine_reload(at.quarantine, site.config);
    join(&l, "cam");
    cr_expect_eq(say(&l, "x", "p", 1), GW_EDENIED);
    cr_expect_eq(say(&l, "x", "p", 1), GW_EDENIED);
    cr_expect_not_null(l.peer);
    cr_expect_eq(say(&l, "x", "p", 1), GW_EDENIED);
    cr_expect_null(l.peer);
    cr_expect_eq(l.closed, 1);
    site.config->quarantine.rules = kept;
    site.config->quarantine.rule_count = kept_count;
}

Test(peer, subscribes_only_to_what_it_may_hear)
{
    static const struct {
        const char *filter;
        int want;
    } cases[] = {
        {"d/cam/#", 0},
        {"d/cam/x", 0},
        {"#", 0}, /* it gets what it may hear of all */
        {"d/tv/#", GW_EDENIED},
        {"$SYS/#", GW_EDENIED},
        {"a#", GW_EMALFORMED},
        {"", GW_EMALFORMED},
        {"$share/g/d/cam/#", 0},
        {"$share/g", GW_EMALFORMED},
        {"$share//d/cam/#", GW_EMALFORMED},
        {"$share/a+/d/cam/#", GW_EMALFORMED},
        {"$share/g/d/cam/#x", GW_EMALFORMED},
        {"$share/g/d/other/#", GW_EDENIED},
    };
    static const struct gw_session_ops session_ops;
    const struct gw_session_key key = {"cam", GW_SLICE_LIT("c")};
    const struct gw_subscription sub = {.qos = 1};
    struct gw_session *session;
    struct line l;
    bool present;

    join(&l, "cam");
    cr_assert_eq(gw_session_attach(at.hub, &key, true, 0, &session_ops, &l, &session, &present), 0);
    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(gw_peer_subscribe(l.peer, session, gw_slice_str(cases[i].filter), &sub),
                     cases[i].want, "%s", cases[i].filter);
    gw_session_detach(&session);
    gw_peer_gone(&l.peer, GW_CAUSE_LEFT);
}

Test(peer, publishes_a_will_with_the_devices_rights)
{
    const struct gw_msg good = {.topic = GW_SLICE_LIT("d/cam/w"), .payload = GW_SLICE_LIT("p")};
    const struct gw_msg bad = {.topic = GW_SLICE_LIT("d/tv/w"), .payload = GW_SLICE_LIT("p")};

    (void)proved("cam", NULL, 0);
    cr_expect_eq(gw_peers_publish_will(at.peers, "cam", &good, 0, 0), 1);
    cr_expect_str_eq(at.last, "cam d/cam/w");
    cr_expect_eq(gw_peers_publish_will(at.peers, "cam", &bad, 0, 0), GW_EDENIED);
    cr_expect_eq(gw_peers_publish_will(at.peers, "stranger", &good, 0, 0), GW_EDENIED);
}

Test(peer, publishes_the_gateways_figures)
{
    const struct gw_msg *m;
    struct line l;

    join(&l, "cam");
    gw_peers_publish_figures(at.peers);
    m = gw_hub_retained(at.hub, GW_SLICE_LIT("$SYS/broker/clients/connected"));
    cr_assert_not_null(m);
    cr_expect(gw_slice_eq_str(m->payload, "1"));
    cr_expect_eq(at.sunk, 0, "none of the cloud's business");
    gw_peer_gone(&l.peer, GW_CAUSE_LEFT);
}
