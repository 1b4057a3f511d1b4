/* SPDX-License-Identifier: GPL-2.0-only */
#define SITE_WITHOUT_JOURNAL
#include "site.h"

#include "access/access.h"

static struct gw_access *access_;
#define TEXT(lit) ((char[]){lit}) /* the configuration owns its strings */

static struct gw_config_grant class_grants[] = {
    {TEXT("camera"), TEXT("site/motion"), GW_PERM_PUB},
    {TEXT("camera"), TEXT("rooms/%d/+"), GW_PERM_PUB | GW_PERM_SUB},
    {TEXT("panel"), TEXT("d/#"), GW_PERM_SUB},
    {TEXT("panel"), TEXT("$presence/#"), GW_PERM_PUB | GW_PERM_SUB},
    {TEXT(""), TEXT("site/time"), GW_PERM_SUB},
};

static struct gw_config_grant *configured;

static void setup(void)
{
    struct gw_device *d;

    site_open();
    configured = site.config->access.grants;
    site.config->access.grants = class_grants;
    site.config->access.grant_count = GW_COUNT(class_grants);
    d = proved("cam-1", NULL, 0);
    cr_assert_eq(gw_devices_approve(site.devices, d->id, NULL, "camera"), 0);
    (void)proved("plain", NULL, 0);
    d = proved("wall", NULL, 0);
    cr_assert_eq(gw_devices_approve(site.devices, d->id, NULL, "panel"), 0);
    (void)proved("gone", NULL, 0);
    cr_assert_eq(gw_devices_revoke(site.devices, "gone"), 0);
    cr_assert_eq(gw_devices_pending(site.devices, "asks", &d), 0);
    cr_assert_eq(gw_access_open(site.config, site.store, site.devices, &access_), 0);
}

static void teardown(void)
{
    gw_access_close(&access_);
    site.config->access.grants = configured;
    site.config->access.grant_count = 0;
    site_close();
}

TestSuite(access, .init = setup, .fini = teardown);

static bool may(const char *device, enum gw_permission p, const char *topic)
{
    return gw_access_may(access_, device, p, gw_slice_str(topic));
}

static bool may_subscribe(const char *device, const char *filter)
{
    return gw_access_may_subscribe(access_, device, gw_slice_str(filter));
}

Test(access, denies_what_no_grant_allows)
{
    static const struct {
        const char *name, *device;
        enum gw_permission p;
        const char *topic;
        bool want;
    } cases[] = {
        {"own topic", "cam-1", GW_PERM_PUB, "d/cam-1/state", true},
        {"own topic, deep", "cam-1", GW_PERM_SUB, "d/cam-1/a/b/c", true},
        {"own root", "cam-1", GW_PERM_PUB, "d/cam-1", true},
        {"another's topic", "cam-1", GW_PERM_PUB, "d/plain/state", false},
        {"an id that starts like it", "cam-1", GW_PERM_PUB, "d/cam-10/state", false},
        {"an id that it starts like", "cam-1", GW_PERM_PUB, "d/cam-/state", false},
        {"above its own", "cam-1", GW_PERM_PUB, "d", false},
        {"class grant", "cam-1", GW_PERM_PUB, "site/motion", true},
        {"class grant, other permission", "cam-1", GW_PERM_SUB, "site/motion", false},
        {"class grant, below it", "cam-1", GW_PERM_PUB, "site/motion/x", false},
        {"class grant, another class", "plain", GW_PERM_PUB, "site/motion", false},
        {"id in the filter", "cam-1", GW_PERM_PUB, "rooms/cam-1/light", true},
        {"another id in the filter", "cam-1", GW_PERM_PUB, "rooms/plain/light", false},
        {"wildcard is one level", "cam-1", GW_PERM_PUB, "rooms/cam-1/light/on", false},
        {"everybody's grant", "plain", GW_PERM_SUB, "site/time", true},
        {"everybody's grant, class too", "cam-1", GW_PERM_SUB, "site/time", true},
        {"everybody's grant, publishing", "plain", GW_PERM_PUB, "site/time", false},
        {"hash of a class", "wall", GW_PERM_SUB, "d/cam-1/state", true},
        {"hash's parent", "wall", GW_PERM_SUB, "d", true},
        {"reading presence", "wall", GW_PERM_SUB, "$presence/events", true},
        {"writing presence, even by grant", "wall", GW_PERM_PUB, "$presence/events", false},
        {"presence without grant", "plain", GW_PERM_SUB, "$presence/events", false},
        {"revoked", "gone", GW_PERM_PUB, "d/gone/state", false},
        {"revoked, everybody's", "gone", GW_PERM_SUB, "site/time", false},
        {"pending", "asks", GW_PERM_PUB, "d/asks/state", false},
        {"unknown", "nobody", GW_PERM_PUB, "d/nobody/state", false},
        {"no topic", "cam-1", GW_PERM_PUB, "", false},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(may(cases[i].device, cases[i].p, cases[i].topic), cases[i].want, "%s",
                     cases[i].name);
}

Test(access, a_subscription_needs_one_topic_that_may_be_heard)
{
    static const struct {
        const char *device, *filter;
        bool want;
    } cases[] = {
        {"cam-1", "d/cam-1/#", true},
        {"cam-1", "d/+/state", true}, /* delivers its own only */
        {"cam-1", "#", true},
        {"cam-1", "d/plain/#", false},
        {"cam-1", "site/+", true},
        {"cam-1", "site/motion", false},
        {"cam-1", "rooms/cam-1/#", true},
        {"cam-1", "rooms/other/#", false},
        {"cam-1", "$presence/#", false},
        {"wall", "$presence/+", true},
        {"wall", "d/#", true},
        {"cam-1", "$share/group/d/cam-1/cmd", true},
        {"cam-1", "$share/group/d/plain/cmd", false},
        {"cam-1", "$share/group", false},
        {"cam-1", "$share//", false},
        {"cam-1", "d/cam-1/a#", false},
        {"cam-1", "", false},
        {"gone", "d/gone/#", false},
        {"asks", "#", false},
        {"nobody", "#", false},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(may_subscribe(cases[i].device, cases[i].filter), cases[i].want, "%s: %s",
                     cases[i].device, cases[i].filter);
}

Test(access, own_topics_can_be_switched_off)
{
    site.config->access.own_topics = false;
    gw_access_reload(access_, site.config);
    cr_expect_not(may("plain", GW_PERM_PUB, "d/plain/state"));
    cr_expect_not(may_subscribe("plain", "d/plain/#"));
    cr_expect(may("plain", GW_PERM_SUB, "site/time"));
}

Test(access, a_reload_counts_from_the_next_question)
{
    site.config->access.grant_count = 0;
    gw_access_reload(access_, site.config);
    cr_expect_not(may("cam-1", GW_PERM_PUB, "site/motion"));
    cr_expect_not(may("plain", GW_PERM_SUB, "site/time"));
    site.config->access.grant_count = GW_COUNT(class_grants);
    gw_access_reload(access_, site.config);
    cr_expect(may("cam-1", GW_PERM_PUB, "site/motion"));
}

Test(access, a_class_change_counts_at_once)
{
    cr_assert_eq(gw_devices_approve(site.devices, "cam-1", NULL, ""), 0);
    cr_expect_not(may("cam-1", GW_PERM_PUB, "site/motion"));
    cr_assert_eq(gw_devices_approve(site.devices, "plain", NULL, "camera"), 0);
    cr_expect(may("plain", GW_PERM_PUB, "site/motion"));
}

static int grant(const char *device, char *topic, unsigned permissions, int64_t until_ms)
{
    struct gw_grant g = {topic, permissions, until_ms};

    return gw_access_set_grants(access_, device, &g, 1, NULL, NULL);
}

static char lights[] = "lights/+/set", mine[] = "by/%d/#", broken[] = "a/#/b", empty[] = "";

Test(access, a_device_grant_ends_when_it_says)
{
    const struct gw_grant *list;

    cr_assert_eq(grant("plain", lights, GW_PERM_PUB, gw_clock_wall_ms() + 60000), 0);
    cr_expect(may("plain", GW_PERM_PUB, "lights/1/set"));
    cr_expect_not(may("plain", GW_PERM_SUB, "lights/1/set"));
    cr_expect_not(may("cam-1", GW_PERM_PUB, "lights/1/set"));
    cr_expect_eq(gw_access_grants(access_, "plain", &list), 1);
    cr_expect_str_eq(list[0].topic, "lights/+/set");
    pass_ms(site.loop, 59000);
    cr_expect(may("plain", GW_PERM_PUB, "lights/1/set"));
    pass_ms(site.loop, 1000);
    cr_expect_not(may("plain", GW_PERM_PUB, "lights/1/set"));
    cr_assert_eq(grant("plain", lights, GW_PERM_PUB, gw_clock_wall_ms() - 1), 0);
    cr_expect_eq(gw_access_grants(access_, "plain", &list), 0, "over already");
}

Test(access, taking_a_grant_back_counts_at_once)
{
    cr_assert_eq(grant("plain", mine, GW_PERM_PUB | GW_PERM_SUB, 0), 0);
    cr_expect(may("plain", GW_PERM_SUB, "by/plain/x"));
    cr_expect_not(may("plain", GW_PERM_SUB, "by/cam-1/x"));
    cr_expect(may_subscribe("plain", "by/plain/+"));
    cr_assert_eq(gw_access_set_grants(access_, "plain", NULL, 0, NULL, NULL), 0);
    cr_expect_not(may("plain", GW_PERM_SUB, "by/plain/x"));
    cr_expect_not(may_subscribe("plain", "by/plain/+"));
}

Test(access, refuses_wrong_grants_and_changes_nothing)
{
    static struct gw_grant many[GW_GRANTS_PER_DEVICE_MAX + 1];
    static const struct {
        const char *name, *device;
        char *topic;
        unsigned permissions;
        int64_t until_ms;
        int want;
    } cases[] = {
        {"unknown device", "nobody", lights, GW_PERM_PUB, 0, GW_ENOTFOUND},
        {"broken filter", "plain", broken, GW_PERM_PUB, 0, GW_EMALFORMED},
        {"empty filter", "plain", empty, GW_PERM_PUB, 0, GW_EMALFORMED},
        {"no filter", "plain", NULL, GW_PERM_PUB, 0, GW_EMALFORMED},
        {"no permission", "plain", lights, 0, 0, GW_EMALFORMED},
        {"a permission there is not", "plain", lights, 4, 0, GW_EMALFORMED},
        {"before 1970", "plain", lights, GW_PERM_PUB, -1, GW_EMALFORMED},
    };

    cr_assert_eq(grant("plain", mine, GW_PERM_PUB, 0), 0);
    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(
            grant(cases[i].device, cases[i].topic, cases[i].permissions, cases[i].until_ms),
            cases[i].want, "%s", cases[i].name);
    for (size_t i = 0; i < GW_COUNT(many); i++)
        many[i] = (struct gw_grant){lights, GW_PERM_PUB, 0};
    cr_expect_eq(gw_access_set_grants(access_, "plain", many, GW_COUNT(many), NULL, NULL),
                 GW_EFULL);
    cr_expect(may("plain", GW_PERM_PUB, "by/plain/x"), "what it had stays");
    cr_expect_eq(gw_access_set_grants(access_, "plain", many, GW_COUNT(many) - 1, NULL, NULL), 0);
}

static void restart(void)
{
    gw_access_close(&access_);
    site_fall();
    site_rise();
    cr_assert_eq(gw_access_open(site.config, site.store, site.devices, &access_), 0);
}

Test(access, grants_of_devices_survive_a_restart)
{
    const struct gw_grant *list;

    cr_assert_eq(grant("plain", mine, GW_PERM_PUB, 0), 0);
    cr_assert_eq(grant("wall", lights, GW_PERM_SUB, gw_clock_wall_ms() + 5000), 0);
    restart();
    cr_expect(may("plain", GW_PERM_PUB, "by/plain/x"));
    cr_expect(may("wall", GW_PERM_SUB, "lights/1/set"));
    cr_expect_eq(gw_access_grants(access_, "wall", &list), 1);
    cr_expect_eq(gw_access_grants(access_, "cam-1", &list), 0);
}

Test(access, a_namesake_of_a_forgotten_device_inherits_nothing)
{
    cr_assert_eq(grant("plain", mine, GW_PERM_PUB, 0), 0);
    cr_assert_eq(gw_devices_forget(site.devices, "plain"), 0);
    (void)proved("plain", NULL, 0);
    cr_expect_not(may("plain", GW_PERM_PUB, "by/plain/x"));
    restart();
    cr_expect_not(may("plain", GW_PERM_PUB, "by/plain/x"));
}
