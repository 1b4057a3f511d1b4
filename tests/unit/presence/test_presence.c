/* SPDX-License-Identifier: GPL-2.0-only */
#include "site.h"

#include "presence/presence.h"

static struct gw_presence *presence;
static struct gw_journal_listener listener;
static uint64_t wire_ms; /* when the kernel last saw a packet, of whomever is asked about */

/* "join cam connect online 1;…", and the last event as it was told. */
static char told[65536];
static char last_json[16384];

static const char *member(const json_t *event, const char *key)
{
    const char *text = json_string_value(json_object_get(event, key));

    return text ? text : "";
}

static void note(void *owner, const struct gw_event *ev)
{
    json_t *event = json_loads(ev->json, 0, NULL);
    size_t used = strlen(told);

    (void)owner;
    cr_assert_not_null(event, "%s", ev->json);
    (void)snprintf(last_json, sizeof(last_json), "%s", ev->json);
    if (ev->class == GW_EVENT_ALERT)
        (void)snprintf(told + used, sizeof(told) - used, "alert %s;", ev->kind);
    else
        (void)snprintf(told + used, sizeof(told) - used, "%s%s%s %s %s %s %d;",
                       json_is_true(json_object_get(event, "quiet")) ? "(quiet) " : "",
                       member(event, "topic"), ev->kind, ev->device, member(event, "cause"),
                       member(event, "status"),
                       (int)json_integer_value(json_object_get(event, "occupancy")));
    json_decref(event);
}

/* What was told since the last call. */
static const char *news(void)
{
    static char copy[sizeof(told)];

    (void)strcpy(copy, told);
    told[0] = '\0';
    return copy;
}

static uint64_t wire_seen(void *owner, const struct gw_device *d)
{
    (void)owner;
    (void)d;
    return wire_ms;
}

static const struct gw_presence_ops ops = {.wire_seen = wire_seen};

static void open_presence(void)
{
    listener = (struct gw_journal_listener){.event = note};
    gw_journal_listen(site.journal, &listener);
    cr_assert_eq(gw_presence_open(site.loop, site.config, site.store, site.journal, site.devices,
                                  &ops, &presence),
                 0);
}

static void setup(void)
{
    site_open();
    open_presence();
}

static void teardown(void)
{
    gw_presence_close(&presence);
    site_close();
}

TestSuite(presence, .init = setup, .fini = teardown);

/* The daemon was killed (or, with `orderly`, stopped) and starts again. */
static void restart(bool orderly)
{
    if (orderly)
        gw_presence_shutdown(presence);
    gw_presence_close(&presence);
    site_fall();
    site_rise();
    open_presence();
}

static const char *status_of(const char *device)
{
    static char text[64];
    struct gw_presence_status s;

    gw_presence_of(presence, device, &s);
    (void)snprintf(text, sizeof(text), "%s %s", gw_status_text(s.status), gw_cause_text(s.cause));
    return text;
}

static void connect_as(const char *id)
{
    (void)proved(id, NULL, 0);
    gw_presence_connected(presence, id);
}

Test(presence, a_session_is_a_join_and_its_end_says_why)
{
    static const struct {
        enum gw_cause cause;
        const char *want;
    } cases[] = {
        {GW_CAUSE_LEFT, "leave cam left offline 0;"},
        {GW_CAUSE_RESET, "leave cam reset offline 0;"},
        {GW_CAUSE_KEEPALIVE, "timeout cam keepalive offline 0;"},
        {GW_CAUSE_QUARANTINED, "leave cam quarantined offline 0;"},
        {GW_CAUSE_REVOKED, "leave cam revoked offline 0;"},
        {GW_CAUSE_SHUTDOWN, "leave cam shutdown offline 0;"},
    };

    cr_expect_str_eq(status_of("cam"), "offline left", "never there");
    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        connect_as("cam");
        cr_expect_str_eq(news(), "join cam connect online 1;");
        cr_expect_eq(gw_presence_online(presence), 1);
        gw_presence_disconnected(presence, "cam", cases[i].cause);
        cr_expect_str_eq(news(), cases[i].want);
        cr_expect_eq(gw_presence_online(presence), 0);
    }
}

Test(presence, the_event_is_the_documented_object)
{
    struct gw_presence_status s;
    json_t *event;

    connect_as("cam");
    gw_presence_state(presence, "cam", GW_SLICE_LIT("{\"b\": 1, \"a\": [true]}"));
    event = json_loads(last_json, 0, NULL);
    cr_assert_not_null(event);
    cr_expect_str_eq(member(event, "action"), "state-change");
    cr_expect_str_eq(member(event, "device"), "cam");
    cr_expect_eq(strlen(member(event, "at")), 24, "%s", last_json);
    cr_expect_str_eq(member(event, "cause"), "connect");
    cr_expect_str_eq(member(event, "status"), "online");
    cr_expect_eq(json_integer_value(json_object_get(event, "occupancy")), 1);
    cr_expect(json_is_object(json_object_get(event, "state")));
    json_decref(event);
    gw_presence_of(presence, "cam", &s);
    cr_expect_str_eq(s.state, "{\"a\":[true],\"b\":1}");
    cr_expect_eq(s.since_ms, gw_clock_wall_ms());
}

Test(presence, only_the_last_of_several_sessions_leaves)
{
    connect_as("cam");
    connect_as("cam");
    (void)news();
    gw_presence_disconnected(presence, "cam", GW_CAUSE_RESET);
    cr_expect_str_eq(news(), "");
    gw_presence_disconnected(presence, "cam", GW_CAUSE_LEFT);
    cr_expect_str_eq(news(), "leave cam left offline 0;");
    gw_presence_disconnected(presence, "cam", GW_CAUSE_LEFT);
    gw_presence_disconnected(presence, "nobody", GW_CAUSE_LEFT);
    cr_expect_str_eq(news(), "", "ends that never began");
}

Test(presence, state_changes_only_when_the_json_differs)
{
    static char big[5000];
    static const struct {
        const char *name, *json;
        bool change;
    } cases[] = {
        {"first", "{\"on\":true,\"n\":1}", true},
        {"the same", "{\"on\":true,\"n\":1}", false},
        {"the same, other order and blanks", "{ \"n\" : 1, \"on\" : true }", false},
        {"another value", "{\"on\":false,\"n\":1}", true},
        {"no JSON", "{on}", false},
        {"cut off", "{\"on\":", false},
        {"empty", "", false},
        {"a plain value", "\"open\"", true},
        {"too long", big, false},
    };

    memset(big, ' ', sizeof(big) - 2);
    big[sizeof(big) - 2] = '1';
    connect_as("cam");
    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        (void)news();
        gw_presence_state(presence, "cam", gw_slice_str(cases[i].json));
        cr_expect_str_eq(news(), cases[i].change ? "state-change cam connect online 1;" : "", "%s",
                         cases[i].name);
    }
    gw_presence_state(presence, "nobody", GW_SLICE_LIT("1"));
    cr_expect_str_eq(news(), "");
}

Test(presence, a_declared_interval_is_missed_after_two)
{
    connect_as("cam");
    gw_presence_heartbeat(presence, "cam", 10);
    (void)news();
    for (int i = 0; i < 10; i++) {
        pass_ms(site.loop, 15000);
        gw_presence_heartbeat(presence, "cam", 10);
    }
    cr_expect_str_eq(news(), "");
    pass_ms(site.loop, 19000);
    cr_expect_str_eq(news(), "");
    pass_ms(site.loop, 1100);
    cr_expect_str_eq(news(), "timeout cam missed offline 0;");
    gw_presence_touch(presence, "cam");
    cr_expect_str_eq(news(), "join cam connect online 1;", "its session lives still");
}

Test(presence, a_shorter_interval_counts_at_once_and_none_ends_it)
{
    connect_as("cam");
    gw_presence_heartbeat(presence, "cam", 3600);
    gw_presence_heartbeat(presence, "cam", 5);
    (void)news();
    pass_ms(site.loop, 10100);
    cr_expect_str_eq(news(), "timeout cam missed offline 0;");
    gw_presence_heartbeat(presence, "cam", 0);
    (void)news();
    pass_ms(site.loop, 100000);
    cr_expect_str_eq(news(), "");
}

Test(presence, who_declared_it_sleeps_instead_of_leaving)
{
    connect_as("cam");
    gw_presence_heartbeat(presence, "cam", 3600);
    (void)news();
    gw_presence_disconnected(presence, "cam", GW_CAUSE_LEFT);
    cr_expect_str_eq(news(), "state-change cam asleep asleep 1;");
    pass_ms(site.loop, 3600000);
    connect_as("cam");
    cr_expect_str_eq(news(), "state-change cam connect online 1;");
    gw_presence_disconnected(presence, "cam", GW_CAUSE_KEEPALIVE);
    cr_expect_str_eq(news(), "state-change cam asleep asleep 1;");
    pass_ms(site.loop, 7201000);
    cr_expect_str_eq(news(), "timeout cam missed offline 0;");
}

Test(presence, an_address_is_present_while_the_wire_says_so)
{
    struct gw_device *d = heard(1, "192.0.2.1", "lan1");

    wire_ms = fake_now_ms;
    gw_presence_seen(presence, d);
    cr_expect_str_eq(news(), "join mac-020000000001 connect online 1;");
    for (int i = 0; i < 4; i++) { /* the kernel sees it, nobody tells */
        pass_ms(site.loop, 200000);
        wire_ms = fake_now_ms;
    }
    cr_expect_str_eq(news(), "");
    pass_ms(site.loop, 299000);
    cr_expect_str_eq(news(), "");
    pass_ms(site.loop, 1100);
    cr_expect_str_eq(news(), "timeout mac-020000000001 missed offline 0;");
    gw_presence_seen(presence, d);
    cr_expect_str_eq(news(), "join mac-020000000001 connect online 1;");
}

Test(presence, a_silent_return_is_noticed_without_a_sighting)
{
    gw_presence_seen(presence, heard(1, NULL, "lan1"));
    pass_ms(site.loop, 301000);
    cr_expect_str_eq(status_of("mac-020000000001"), "offline missed");
    pass_ms(site.loop, 100000);
    (void)news();
    wire_ms = fake_now_ms;
    pass_ms(site.loop, 300000);
    cr_expect_str_eq(news(), "join mac-020000000001 connect online 1;");
}

Test(presence, who_had_a_session_is_not_present_by_the_wire_alone)
{
    struct gw_device *d = proved("cam", "192.0.2.1", 1);

    gw_presence_connected(presence, "cam");
    gw_presence_disconnected(presence, "cam", GW_CAUSE_LEFT);
    (void)news();
    wire_ms = fake_now_ms;
    gw_presence_seen(presence, d);
    pass_ms(site.loop, 700000);
    cr_expect_str_eq(news(), "");
    cr_expect_str_eq(status_of("cam"), "offline left");
}

Test(presence, a_port_that_goes_down_unplugs_who_was_last_seen_there)
{
    gw_presence_seen(presence, heard(1, NULL, "lan1"));
    gw_presence_seen(presence, heard(2, NULL, "lan1"));
    gw_presence_seen(presence, heard(3, NULL, "lan2"));
    pass_ms(site.loop, 10);
    gw_presence_seen(presence, heard(2, NULL, "lan2")); /* it moved */
    (void)news();
    gw_presence_port_down(presence, "lan1");
    cr_expect_str_eq(news(), "leave mac-020000000001 unplugged offline 2;");
    gw_presence_port_down(presence, "lan1");
    gw_presence_port_down(presence, "lan9");
    cr_expect_str_eq(news(), "");
    gw_presence_seen(presence, heard(1, NULL, "lan2"));
    cr_expect_str_eq(news(), "join mac-020000000001 connect online 3;");
}

Test(presence, a_session_behind_a_dead_port_is_unplugged_until_it_speaks)
{
    (void)proved("cam", "192.0.2.1", 1);
    gw_presence_connected(presence, "cam");
    gw_presence_seen(presence, heard(1, "192.0.2.1", "lan1"));
    (void)news();
    gw_presence_port_down(presence, "lan1");
    cr_expect_str_eq(news(), "leave cam unplugged offline 0;");
    gw_presence_touch(presence, "cam");
    cr_expect_str_eq(news(), "join cam connect online 1;");
    gw_presence_seen(presence, heard(1, "192.0.2.1", "lan1"));
    gw_presence_port_down(presence, "lan1");
    (void)news();
    gw_presence_disconnected(presence, "cam", GW_CAUSE_KEEPALIVE);
    cr_expect_str_eq(news(), "", "it was gone already");
    cr_expect_str_eq(status_of("cam"), "offline unplugged");
}

Test(presence, the_quarantined_are_offline_whatever_they_send)
{
    struct gw_device *d = heard(1, NULL, "lan1");

    gw_presence_seen(presence, d);
    (void)news();
    gw_presence_quarantined(presence, d->id, true, GW_CAUSE_QUARANTINED);
    cr_expect_str_eq(news(), "leave mac-020000000001 quarantined offline 0;");
    gw_presence_quarantined(presence, d->id, true, GW_CAUSE_QUARANTINED);
    cr_expect_eq(gw_presence_in_quarantine(presence), 1);
    gw_presence_seen(presence, d);
    gw_presence_connected(presence, d->id);
    gw_presence_touch(presence, d->id);
    gw_presence_disconnected(presence, d->id, GW_CAUSE_QUARANTINED);
    wire_ms = fake_now_ms;
    pass_ms(site.loop, 400000);
    cr_expect_str_eq(news(), "");
    gw_presence_quarantined(presence, d->id, false, GW_CAUSE_QUARANTINED);
    cr_expect_str_eq(news(), "", "its end is no sign of life");
    cr_expect_eq(gw_presence_in_quarantine(presence), 0);
    gw_presence_connected(presence, d->id);
    cr_expect_str_eq(news(), "join mac-020000000001 connect online 1;");
}

Test(presence, the_revoked_and_the_forgotten_leave)
{
    struct gw_device *d = heard(1, NULL, "lan1");

    connect_as("cam");
    gw_presence_seen(presence, d);
    (void)news();
    cr_assert_eq(gw_devices_revoke(site.devices, "cam"), 0);
    cr_expect_str_eq(news(), "leave cam revoked offline 1;");
    gw_presence_disconnected(presence, "cam", GW_CAUSE_RESET);
    cr_assert_eq(gw_devices_revoke(site.devices, d->id), 0);
    gw_presence_seen(presence, d);
    cr_expect_str_eq(news(), "leave mac-020000000001 revoked offline 0;");

    connect_as("two");
    (void)news();
    cr_assert_eq(gw_devices_forget(site.devices, "two"), 0);
    cr_expect_str_eq(news(), "leave two left offline 0;");
    gw_presence_disconnected(presence, "two", GW_CAUSE_RESET);
    gw_presence_touch(presence, "two");
    cr_expect_str_eq(news(), "");
}

Test(presence, an_address_that_turns_out_to_be_a_device_is_counted_once)
{
    gw_presence_seen(presence, heard(1, "192.0.2.1", "lan1"));
    (void)news();
    (void)proved("cam", "192.0.2.1", 1);
    gw_presence_connected(presence, "cam");
    cr_expect_str_eq(news(), "leave mac-020000000001 left offline 0;join cam connect online 1;");
}

Test(presence, an_orderly_stop_says_shutdown)
{
    gw_presence_seen(presence, heard(1, NULL, "lan1"));
    connect_as("cam");
    (void)news();
    gw_presence_shutdown(presence);
    cr_expect_str_eq(news(), "leave cam shutdown offline 1;");
    restart(false);
    cr_expect_str_eq(status_of("cam"), "offline shutdown");
    cr_expect_str_eq(status_of("mac-020000000001"), "online connect");
    cr_expect_eq(gw_presence_online(presence), 1);
    pass_ms(site.loop, 299000);
    cr_expect_str_eq(news(), "", "nobody listened: the silence before does not count");
    pass_ms(site.loop, 2000);
    cr_expect_str_eq(news(), "timeout mac-020000000001 missed offline 0;");
    connect_as("cam");
    cr_expect_str_eq(news(), "join cam connect online 1;");
}

Test(presence, after_a_crash_sessions_have_a_while_to_come_back)
{
    connect_as("cam");
    connect_as("slow");
    connect_as("sleeper");
    gw_presence_heartbeat(presence, "sleeper", 3600);
    gw_presence_disconnected(presence, "sleeper", GW_CAUSE_LEFT);
    gw_presence_state(presence, "cam", GW_SLICE_LIT("{\"on\":1}"));
    restart(false);
    (void)news();
    cr_expect_eq(gw_presence_online(presence), 3);
    cr_expect_str_eq(status_of("sleeper"), "asleep asleep");
    pass_ms(site.loop, 10000);
    gw_presence_connected(presence, "cam");
    cr_expect_str_eq(news(), "join cam connect online 3;");
    pass_ms(site.loop, 25000);
    cr_expect_str_eq(news(), "leave slow shutdown offline 2;");
    gw_presence_state(presence, "cam", GW_SLICE_LIT("{\"on\":1}"));
    cr_expect_str_eq(news(), "", "the state was kept");
    pass_ms(site.loop, 7200000);
    cr_expect_str_eq(news(), "timeout sleeper missed offline 1;");
}

Test(presence, over_announce_max_only_intervals_are_announced)
{
    char id[16];

    site.config->presence.announce_max = 3;
    for (int i = 0; i < 5; i++) {
        (void)snprintf(id, sizeof(id), "d%d", i);
        connect_as(id);
    }
    cr_expect_str_eq(news(), "join d0 connect online 1;join d1 connect online 2;"
                             "join d2 connect online 3;(quiet) join d3 connect online 4;"
                             "(quiet) join d4 connect online 5;");
    gw_presence_disconnected(presence, "d0", GW_CAUSE_KEEPALIVE);
    cr_expect_str_eq(news(), "(quiet) timeout d0 keepalive offline 4;");
    pass_ms(site.loop, 29000);
    cr_expect_str_eq(news(), "");
    pass_ms(site.loop, 1100);
    cr_expect_str_eq(news(), "interval    4;");
    cr_expect_not_null(strstr(last_json, "\"joined\":[\"d3\",\"d4\"]"), "%s", last_json);
    cr_expect_not_null(strstr(last_json, "\"timed_out_count\":1"), "%s", last_json);
    pass_ms(site.loop, 60000);
    cr_expect_str_eq(news(), "", "nothing happened");
}

Test(presence, many_going_at_once_is_an_outage)
{
    char id[16];
    const char *text;

    site.config->presence.announce_max = 1000;
    for (int i = 0; i < 12; i++) {
        (void)snprintf(id, sizeof(id), "d%d", i);
        connect_as(id);
    }
    (void)news();
    for (int i = 0; i < 8; i++) {
        (void)snprintf(id, sizeof(id), "d%d", i);
        gw_presence_disconnected(presence, id, GW_CAUSE_KEEPALIVE);
    }
    text = news();
    cr_expect_not_null(strstr(text, "timeout d4 keepalive offline 7;alert outage;"), "%s", text);
    cr_expect_not_null(strstr(text, "timeout d6 outage offline 5;"), "%s", text);
    pass_ms(site.loop, 31000);
    gw_presence_disconnected(presence, "d8", GW_CAUSE_KEEPALIVE);
    cr_expect_str_eq(news(), "timeout d8 keepalive offline 3;", "another time");
    for (int i = 0; i < 3; i++) {
        (void)snprintf(id, sizeof(id), "d%d", i + 9);
        gw_presence_disconnected(presence, id, GW_CAUSE_LEFT);
    }
    cr_expect_null(strstr(news(), "alert"), "who leaves by its own will is no outage");
}

Test(presence, one_that_comes_and_goes_is_no_outage)
{
    for (int i = 0; i < 8; i++) {
        connect_as("d0");
        gw_presence_disconnected(presence, "d0", GW_CAUSE_RESET);
    }
    cr_expect_null(strstr(news(), "outage"));
}

Test(presence, topics_count_devices_not_subscriptions)
{
    struct gw_slice topic = GW_SLICE_LIT("rooms/1");

    connect_as("cam");
    connect_as("wall");
    (void)news();
    gw_presence_topic(presence, topic, "cam", true);
    gw_presence_topic(presence, topic, "cam", true);
    gw_presence_topic(presence, topic, "wall", true);
    cr_expect_str_eq(news(), "rooms/1join cam connect online 1;rooms/1join wall connect online 2;");
    gw_presence_topic(presence, topic, "cam", false);
    cr_expect_str_eq(news(), "");
    gw_presence_topic(presence, topic, "cam", false);
    gw_presence_topic(presence, topic, "cam", false);
    cr_expect_str_eq(news(), "rooms/1leave cam left online 1;");
    gw_presence_topic(presence, topic, "wall", false);
    cr_expect_str_eq(news(), "rooms/1leave wall left online 0;");
    gw_presence_topic(presence, GW_SLICE_NONE, "wall", true);
    cr_expect_str_eq(news(), "");
    site.config->presence.announce_max = 1;
    gw_presence_topic(presence, topic, "cam", true);
    gw_presence_topic(presence, topic, "wall", true);
    cr_expect_str_eq(news(), "rooms/1join cam connect online 1;");
    pass_ms(site.loop, 31000);
    cr_expect_str_eq(news(), "rooms/1interval    2;");
}

/* One second of heartbeats of 5,000 devices: the timers do not move, so nothing is due. */
Test(presence, a_heartbeat_of_one_costs_no_more_among_many)
{
    char id[16];

    gw_presence_close(&presence);
    gw_devices_close(&site.devices);
    cr_assert_eq(gw_devices_open(site.loop, site.store, 6000, &site.devices), 0);
    gw_journal_unlisten(&listener);
    open_presence();
    gw_journal_unlisten(&listener);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(id, sizeof(id), "d%d", i);
        connect_as(id);
        gw_presence_heartbeat(presence, id, 30);
    }
    for (int round = 0; round < 5; round++) {
        pass_ms(site.loop, 20000);
        for (int i = 0; i < 5000; i++) {
            (void)snprintf(id, sizeof(id), "d%d", i);
            gw_presence_heartbeat(presence, id, 30);
        }
    }
    cr_expect_eq(gw_presence_online(presence), 5000);
    pass_ms(site.loop, 61000);
    cr_expect_eq(gw_presence_online(presence), 0);
}
