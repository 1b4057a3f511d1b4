/* SPDX-License-Identifier: GPL-2.0-only */
#include "site.h"

#include "profile/profile.h"

/* ---- an enforcer that keeps what it was sent, and answers when the test says so ---- */

/* A policy as it was told last, each by its number. */
struct told_policy {
    struct gw_policy policy; /* without its peers */
    struct gw_policy_peer peers[GW_POLICY_PEERS_MAX];
    size_t peer_count;
};

struct gw_enforcer {
    struct told_policy at[4];
    struct gw_policy last; /* whose ever */
    unsigned policies, ends, asks, forgets;
    uint64_t token[256];
    size_t token_count;
    uint16_t asked;
};

static struct gw_enforcer kernel;

int gw_enforcer_policy(struct gw_enforcer *e, const struct gw_policy *p, uint64_t token)
{
    struct told_policy *t = &e->at[p->number];

    cr_assert_lt(p->number, GW_COUNT(e->at));
    e->last = t->policy = *p;
    t->peer_count = p->peer_count;
    memcpy(t->peers, p->peers, p->peer_count * sizeof(*p->peers));
    e->policies++;
    cr_assert_lt(e->token_count, GW_COUNT(e->token));
    e->token[e->token_count++] = token;
    return 0;
}

int gw_enforcer_policy_end(struct gw_enforcer *e, uint16_t number, uint64_t token)
{
    (void)number;
    e->ends++;
    cr_assert_lt(e->token_count, GW_COUNT(e->token));
    e->token[e->token_count++] = token;
    return 0;
}

int gw_enforcer_learned(struct gw_enforcer *e, uint16_t number, bool forget)
{
    e->asked = number;
    e->asks += !forget;
    e->forgets += forget;
    return 0;
}

/* ---- the room ---- */

static struct gw_profiles *profiles;
static struct gw_journal_listener listener;
static char alerts[8192], told[1024], why_done[512];
static int done_count, done_err;
static json_t *shown;

static void note(void *owner, const struct gw_event *ev)
{
    json_t *json = json_loads(ev->json, 0, NULL);
    size_t used = strlen(alerts);

    (void)owner;
    (void)snprintf(alerts + used, sizeof(alerts) - used, "%s;",
                   json_string_value(json_object_get(json, "text")));
    json_decref(json);
}

static void changed(void *owner, const char *device)
{
    size_t used = strlen(told);

    (void)owner;
    (void)snprintf(told + used, sizeof(told) - used, "%s=%u;", device,
                   gw_profiles_number(profiles, device));
}

static void done(void *owner, int err, const char *why)
{
    cr_expect_eq(owner, &profiles);
    done_count++;
    done_err = err;
    (void)snprintf(why_done, sizeof(why_done), "%s", why);
}

static void keep_shown(void *owner, json_t *json)
{
    (void)owner;
    json_decref(shown);
    shown = json;
}

static void open_profiles(void)
{
    const struct gw_profiles_ops ops = {.changed = changed};

    memset(&kernel, 0, sizeof(kernel));
    cr_assert_eq(
        gw_profiles_open(site.loop, site.store, site.journal, site.devices, &ops, &profiles), 0);
    gw_profiles_start(profiles, &kernel);
}

static void setup(void)
{
    site_open();
    (void)heard(1, "192.0.2.1", "lan1");
    (void)proved("cam", "192.0.2.1", 1);
    (void)heard(9, "192.0.2.9", "lan1");
    listener = (struct gw_journal_listener){.event = note};
    gw_journal_listen(site.journal, &listener);
    open_profiles();
}

static void teardown(void)
{
    json_decref(shown);
    gw_profiles_close(&profiles);
    gw_journal_unlisten(&listener);
    site_close();
}

TestSuite(profile, .init = setup, .fini = teardown);

/* The disk and the kernel have answered. */
static void settle(int err)
{
    for (size_t i = 0; i < kernel.token_count; i++)
        gw_profiles_applied(profiles, kernel.token[i], err);
    kernel.token_count = 0;
    site_settle();
}

static void restart(void)
{
    settle(0);
    gw_profiles_close(&profiles);
    gw_journal_unlisten(&listener);
    site_fall();
    site_rise();
    listener = (struct gw_journal_listener){.event = note};
    gw_journal_listen(site.journal, &listener);
    open_profiles();
}

static const char *take(char *text)
{
    static char out[8192];

    (void)snprintf(out, sizeof(out), "%s", text);
    text[0] = '\0';
    return out;
}

static const char *state_of(const char *device)
{
    json_decref(shown);
    shown = NULL;
    cr_assert_eq(gw_profile_show(profiles, device, keep_shown, NULL), 0);
    if (!shown)
        pass_ms(site.loop, 2100); /* what is known, when the kernel does not answer */
    return json_string_value(json_object_get(shown, "state"));
}

/* What the kernel has learned: pages of a server, and datagrams to a stranger. */
static void learned(uint16_t number)
{
    struct gw_learned at[2] = {{.direction = GW_FROM_DEVICE,
                                .protocol = 6,
                                .port = 443,
                                .peer = addr_of("198.51.100.7"),
                                .packets = 12,
                                .bytes = 3400},
                               {.direction = GW_FROM_DEVICE,
                                .protocol = 17,
                                .port = 4433,
                                .peer = addr_of("198.51.100.9"),
                                .packets = 2,
                                .bytes = 200}};

    gw_profiles_learned(profiles, &(struct gw_learning){.number = number,
                                                        .at = at,
                                                        .count = 2,
                                                        .peak_packets_per_s = 50,
                                                        .peak_bytes_per_s = 60000});
}

#define WWW                                                                                        \
    "\x12\x34\x81\x80\0\1\0\1\0\0\0\0\3www\7example\0\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc6"   \
    "\x33\x64"

/* cam is told where www.example is. */
static void resolve(uint8_t last)
{
    uint8_t bytes[sizeof(WWW)], mac[6];

    memcpy(bytes, WWW, sizeof(WWW) - 1);
    bytes[sizeof(WWW) - 1] = last;
    mac_of(1, mac);
    gw_profiles_dns(profiles, mac, GW_SLICE(bytes, sizeof(bytes)));
}

static bool kernel_allows(uint16_t number, const char *address)
{
    const struct told_policy *t = &kernel.at[number];
    struct gw_hwaddr a = addr_of(address);

    for (size_t i = 0; i < t->peer_count; i++)
        if (memcmp(&t->peers[i].address, &a, sizeof(a)) == 0)
            return true;
    return false;
}

Test(profile, learned_then_enforced)
{
    cr_assert_eq(gw_profile_learn(profiles, "cam", 0, "admin", done, &profiles), 0);
    cr_expect_eq(kernel.last.flags, GW_POLICY_LEARN);
    cr_expect_eq(kernel.last.number, 1);
    cr_expect_str_eq(take(told), "cam=1;", "the addresses bear it from now on");
    cr_expect_eq(done_count, 0, "neither disk nor kernel has it");
    settle(0);
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, 0);

    resolve(7);
    cr_assert_eq(gw_profile_apply(profiles, "cam", true, "admin", done, &profiles), 0);
    cr_expect_eq(kernel.asked, 1, "what was learned up to now");
    cr_expect_eq(done_count, 1);
    learned(1);
    settle(0);
    cr_expect_eq(done_count, 2);
    cr_expect_eq(done_err, 0, "%s", why_done);
    cr_expect_eq(kernel.last.flags, GW_POLICY_REPORT | GW_POLICY_ENFORCE);
    cr_expect_eq(kernel.last.rule_count, 4 + 2);
    cr_expect(kernel_allows(1, "198.51.100.7"));
    cr_expect(kernel_allows(1, "198.51.100.9"));
    cr_expect_str_eq(state_of("cam"), "enforcing");
    cr_expect_str_eq(
        json_string_value(json_object_get(
            json_array_get(
                json_object_get(json_array_get(json_object_get(shown, "rules"), 0), "peers"), 0),
            "name")),
        "www.example");
    cr_expect_eq(
        json_integer_value(json_object_get(json_object_get(shown, "suggested"), "packets_per_s")),
        100);
    cr_expect_str_eq(take(told), "", "the number is the same");
}

Test(profile, nothing_learned_is_nothing_to_enforce)
{
    cr_assert_eq(gw_profile_apply(profiles, "cam", true, "admin", done, &profiles), 0);
    cr_expect_eq(done_err, GW_ENOTFOUND);
    cr_expect_str_eq(why_done, "nothing was learned or imported");
    cr_assert_eq(gw_profile_learn(profiles, "cam", 0, "admin", NULL, NULL), 0);
    settle(0);
    cr_assert_eq(gw_profile_apply(profiles, "cam", false, "admin", done, &profiles), 0);
    pass_ms(site.loop, 2100); /* the enforcer does not answer */
    cr_expect_eq(done_count, 2);
    cr_expect_eq(done_err, GW_ENOTFOUND);
    cr_expect_str_eq(state_of("mac-020000000009"), "off");
    cr_expect_eq(gw_profile_learn(profiles, "nobody", 0, "admin", NULL, NULL), GW_ENOTFOUND);
    cr_expect_eq(
        gw_profile_limit(profiles, "cam", GW_PROFILE_PACKETS_MAX + 1, 0, "admin", NULL, NULL),
        GW_ETOOBIG);
    settle(0);
}

Test(profile, learning_ends_by_itself_and_says_so)
{
    cr_assert_eq(gw_profile_learn(profiles, "cam", 60, "admin", NULL, NULL), 0);
    settle(0);
    cr_expect_str_eq(take(alerts), "The profile of cam is being learned;");
    pass_ms(site.loop, 59000);
    cr_expect_eq(kernel.asks, 0);
    pass_ms(site.loop, 2000);
    cr_expect_eq(kernel.asks, 1);
    learned(1);
    settle(0);
    site_settle();
    cr_expect_str_eq(take(alerts),
                     "The profile of cam is ready: 4 rules, which nobody enforces yet;");
    cr_expect_eq(kernel.ends, 1);
    cr_expect_eq(gw_profiles_number(profiles, "cam"), 0);
    cr_expect_str_eq(state_of("cam"), "off");
    cr_assert_eq(gw_profile_apply(profiles, "cam", false, "admin", done, &profiles), 0);
    settle(0);
    cr_expect_eq(done_err, 0);
    cr_expect_eq(kernel.last.flags, GW_POLICY_REPORT);
}

Test(profile, a_limit_is_told_with_its_figures)
{
    static const struct {
        uint64_t packets, bytes;
        const char *told;
    } cases[] = {
        {7, 0, "cam may send and get, each way, at most 7 packets a second;"},
        {0, 8000, "cam may send and get, each way, at most 8000 bytes a second;"},
        {7, 8000, "cam may send and get, each way, at most 7 packets and 8000 bytes a second;"},
        {0, 0, "cam has no limit any more;"},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        (void)take(alerts);
        cr_assert_eq(gw_profile_limit(profiles, "cam", cases[i].packets, cases[i].bytes, "admin",
                                      NULL, NULL),
                     0);
        settle(0);
        cr_expect_str_eq(take(alerts), cases[i].told);
    }
}

Test(profile, all_of_it_survives_a_restart)
{
    cr_assert_eq(gw_profile_limit(profiles, "mac-020000000009", 7, 8000, "admin", NULL, NULL), 0);
    cr_assert_eq(gw_profile_learn(profiles, "cam", 3600, "admin", NULL, NULL), 0);
    settle(0);
    resolve(7);
    learned(2);
    pass_ms(site.loop, 6000); /* the names are stored behind */
    restart();
    cr_expect_eq(kernel.policies, 2);
    cr_expect_eq(gw_profiles_number(profiles, "cam"), 2);
    cr_expect_str_eq(state_of("cam"), "learning");
    cr_assert_eq(gw_profile_apply(profiles, "cam", true, "admin", NULL, NULL), 0);
    pass_ms(site.loop, 2100); /* what was stored counts when the kernel does not answer */
    settle(0);
    restart();
    cr_expect_str_eq(state_of("cam"), "enforcing");
    cr_expect(kernel_allows(2, "198.51.100.7"), "whatever was told last");
    cr_assert_eq(gw_profile_off(profiles, "cam", "admin", NULL, NULL), 0);
    cr_assert_eq(gw_profile_apply(profiles, "cam", true, "admin", NULL, NULL), 0);
    settle(0);
    cr_expect_eq(kernel.last.number, 2);
    cr_expect(kernel_allows(2, "198.51.100.7"), "as www.example led there");
    (void)state_of("mac-020000000009");
    cr_expect_eq(
        json_integer_value(json_object_get(json_object_get(shown, "limits"), "bytes_per_s")), 8000);
}

static const char mud[] =
    "{\"ietf-mud:mud\":{\"mud-version\":1,\"mud-url\":\"https://maker.example/bulb\","
    "\"last-update\":\"2026-11-22T06:19:00Z\",\"is-supported\":true,\"from-device-policy\":"
    "{\"access-lists\":{\"access-list\":[{\"name\":\"l\"}]}}},\"ietf-access-control-list:acls\":"
    "{\"acl\":[{\"name\":\"l\",\"type\":\"ipv4-acl-type\",\"aces\":{\"ace\":[{\"name\":\"e\","
    "\"matches\":{\"ipv4\":{\"ietf-acldns:dst-dnsname\":\"www.example\"}},\"actions\":"
    "{\"forwarding\":\"accept\"}}]}}]}}";

Test(profile, names_lead_where_the_device_was_told_for_as_long_as_it_holds)
{
    cr_assert_eq(gw_profile_import(profiles, "cam", gw_slice_str(mud), "admin", done, &profiles),
                 0);
    settle(0);
    cr_expect_eq(done_err, 0);
    cr_assert_eq(gw_profile_apply(profiles, "cam", true, "admin", NULL, NULL), 0);
    settle(0);
    cr_expect_eq(kernel.at[1].peer_count, 0, "nobody has asked yet");
    pass_ms(site.loop, 200);
    resolve(7);
    pass_ms(site.loop, 10);
    cr_expect(kernel_allows(1, "198.51.100.7"));
    settle(0);
    resolve(8);
    pass_ms(site.loop, 200);
    cr_expect(kernel_allows(1, "198.51.100.7"));
    cr_expect(kernel_allows(1, "198.51.100.8"));
    settle(0);
    for (unsigned i = 0; i < 59; i++)
        pass_ms(site.loop, 60000);
    cr_expect(kernel_allows(1, "198.51.100.8"), "an hour at least, for 60 s");
    for (unsigned i = 0; i < 2; i++)
        pass_ms(site.loop, 60000);
    cr_expect_not(kernel_allows(1, "198.51.100.8"));
    cr_expect_eq(kernel.at[1].peer_count, 0);
    settle(0);
}

Test(profile, so_many_addresses_a_name_may_have)
{
    unsigned before;

    cr_assert_eq(gw_profile_import(profiles, "cam", gw_slice_str(mud), "admin", NULL, NULL), 0);
    cr_assert_eq(gw_profile_apply(profiles, "cam", true, "admin", NULL, NULL), 0);
    settle(0);
    pass_ms(site.loop, 200);
    before = kernel.policies;
    for (unsigned i = 0; i < 200; i++)
        resolve((uint8_t)i);
    pass_ms(site.loop, 10);
    cr_expect_leq(kernel.policies - before, 2, "told once for all of them");
    pass_ms(site.loop, 200);
    cr_expect_eq(kernel.at[1].peer_count, 64);
    settle(0);
    pass_ms(site.loop, 6000);
    restart();
    cr_expect_eq(kernel.at[1].peer_count, 64, "all of them are stored");
    settle(0);
}

Test(profile, a_file_that_is_refused_changes_nothing)
{
    cr_assert_eq(gw_profile_import(profiles, "cam", gw_slice_str(mud), "admin", NULL, NULL), 0);
    settle(0);
    cr_assert_eq(gw_profile_import(profiles, "cam", GW_SLICE_LIT("{}"), "admin", done, &profiles),
                 0);
    cr_expect_eq(done_err, GW_EMALFORMED);
    cr_expect_str_eq(why_done, "there is no \"ietf-mud:mud\"");
    (void)state_of("cam");
    cr_expect_eq(json_array_size(json_object_get(shown, "rules")), 1);
    cr_expect_str_eq(json_string_value(json_object_get(shown, "source")), "mud");
}

Test(profile, a_device_under_observation_is_learned)
{
    gw_profiles_observed(profiles, "mac-020000000009", true);
    settle(0);
    cr_expect_eq(kernel.last.flags, GW_POLICY_LEARN);
    cr_expect_str_eq(take(told), "mac-020000000009=1;");
    gw_profiles_observed(profiles, "mac-020000000009", false);
    cr_expect_eq(kernel.asks, 1, "before it is forgotten there");
    learned(1);
    settle(0);
    cr_expect_eq(kernel.ends, 1);
    cr_expect_str_eq(take(told), "mac-020000000009=0;");
    cr_assert_eq(gw_profile_apply(profiles, "mac-020000000009", true, "admin", done, &profiles), 0);
    settle(0);
    cr_expect_eq(done_err, 0, "%s", why_done);
}

Test(profile, begins_anew_without_what_was_known)
{
    cr_assert_eq(gw_profile_learn(profiles, "cam", 0, "admin", NULL, NULL), 0);
    settle(0);
    learned(1);
    cr_assert_eq(gw_profile_learn(profiles, "cam", 0, "admin", NULL, NULL), 0);
    cr_expect_eq(kernel.forgets, 1);
    learned(1); /* the answer to "forget" tells for the last time what is forgotten */
    settle(0);
    cr_assert_eq(gw_profile_show(profiles, "cam", keep_shown, NULL), 0);
    gw_profiles_learned(profiles, &(struct gw_learning){.number = 1});
    cr_expect_eq(
        json_array_size(json_object_get(json_object_get(shown, "learned"), "conversations")), 0);
}

Test(profile, a_refusal_of_the_kernel_is_answered_and_told)
{
    (void)take(alerts);
    cr_assert_eq(gw_profile_limit(profiles, "cam", 10, 0, "admin", done, &profiles), 0);
    settle(GW_EFULL);
    cr_expect_eq(done_err, GW_EFULL);
    cr_expect_not_null(strstr(take(alerts), "The profile of cam is not in force: the kernel's "
                                            "tables hold no more policies"));
    (void)state_of("cam");
    cr_expect_not_null(
        strstr(json_string_value(json_object_get(shown, "problem")), "raise isolation.addresses"));
    cr_assert_eq(gw_profile_limit(profiles, "cam", 0, 0, "admin", done, &profiles), 0);
    settle(0);
    cr_expect_eq(done_err, 0);
    cr_expect_eq(kernel.ends, 1);
}

Test(profile, goes_with_its_device_and_follows_a_merge)
{
    cr_assert_eq(gw_profile_limit(profiles, "mac-020000000009", 10, 0, "admin", NULL, NULL), 0);
    settle(0);
    (void)take(told);
    (void)proved("door", "192.0.2.9", 9);
    cr_expect_eq(gw_profiles_number(profiles, "door"), 1);
    cr_expect_eq(gw_profiles_number(profiles, "mac-020000000009"), 0);
    restart();
    cr_expect_eq(gw_profiles_number(profiles, "door"), 1);
    (void)take(told);
    cr_assert_eq(gw_devices_forget(site.devices, "door"), 0);
    cr_expect_str_eq(take(told), "door=0;");
    settle(0);
    cr_expect_eq(kernel.ends, 1);
    restart();
    cr_expect_eq(kernel.policies, 0);
}

Test(profile, whoever_waits_hears_of_the_end)
{
    cr_assert_eq(gw_profile_learn(profiles, "cam", 0, "admin", done, &profiles), 0);
    cr_assert_eq(gw_profile_apply(profiles, "cam", true, "admin", done, &profiles), 0);
    gw_profiles_close(&profiles);
    cr_expect_eq(done_count, 2);
    cr_expect_eq(done_err, GW_ECLOSED);
}

Test(profile, whoever_waits_hears_that_the_profile_was_forgotten)
{
    cr_assert_eq(gw_profile_learn(profiles, "cam", 0, "admin", NULL, NULL), 0);
    settle(0);
    cr_assert_eq(gw_profile_apply(profiles, "cam", true, "admin", done, &profiles), 0);
    cr_assert_eq(gw_profile_forget(profiles, "cam", "admin", NULL, NULL), 0);
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, GW_ENOTFOUND);
    cr_expect_str_eq(why_done, "it was forgotten meanwhile");
    settle(0);
    cr_assert_eq(gw_profile_learn(profiles, "cam", 0, "admin", NULL, NULL), 0);
    settle(0);
    cr_assert_eq(gw_profile_apply(profiles, "cam", true, "admin", done, &profiles), 0);
    cr_assert_eq(gw_devices_forget(site.devices, "cam"), 0);
    cr_expect_eq(done_count, 2);
    cr_expect_eq(done_err, GW_ENOTFOUND, "as the device is");
    settle(0);
}

Test(profile, more_than_a_profile_holds_is_refused_with_what_to_do)
{
    static struct gw_learned at[200];

    for (size_t i = 0; i < GW_COUNT(at); i++)
        at[i] = (struct gw_learned){.direction = GW_FROM_DEVICE,
                                    .protocol = 6,
                                    .port = (uint16_t)(1000 + i),
                                    .peer = addr_of("198.51.100.7"),
                                    .packets = 1};
    cr_assert_eq(gw_profile_learn(profiles, "cam", 0, "admin", NULL, NULL), 0);
    settle(0);
    cr_assert_eq(gw_profile_apply(profiles, "cam", true, "admin", done, &profiles), 0);
    gw_profiles_learned(profiles,
                        &(struct gw_learning){.number = 1, .at = at, .count = GW_COUNT(at)});
    cr_expect_eq(done_err, GW_EFULL);
    cr_expect_not_null(strstr(why_done, "at most 62 rules"), "%s", why_done);
    cr_expect_not_null(strstr(why_done, "; import a MUD file in its place"), "%s", why_done);
    settle(0);
}
