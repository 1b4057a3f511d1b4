/* SPDX-License-Identifier: GPL-2.0-only */
#include "site.h"

#include "quarantine/quarantine.h"

/* ---- an enforcer that keeps what it was sent, and answers when the test says so ---- */

struct gw_enforcer {
    struct gw_hwaddr addr[256];
    enum gw_verdict_mode mode[256];
    int64_t until_ms[256];
    uint64_t token[256];
    size_t count, answered;
    int complete;
    int send_error;
};

static struct gw_enforcer kernel;

int gw_enforcer_judge(struct gw_enforcer *e, const struct gw_hwaddr *a,
                      const struct gw_judgement *j, uint64_t token)
{
    size_t i = e->count;

    if (e->send_error)
        return e->send_error;
    cr_assert_lt(i, GW_COUNT(e->addr));
    e->addr[i] = *a;
    e->mode[i] = (enum gw_verdict_mode)j->mode;
    e->until_ms[i] = j->until_wall_ms;
    e->token[i] = token;
    e->count++;
    return 0;
}

int gw_enforcer_verdicts_complete(struct gw_enforcer *e)
{
    e->complete++;
    return 0;
}

/* What the kernel was told last about the address. */
static const char *in_kernel(const char *addr)
{
    struct gw_hwaddr a = addr_of(addr);

    for (size_t i = kernel.count; i-- > 0;)
        if (memcmp(&kernel.addr[i], &a, sizeof(a)) == 0)
            return gw_mode_text(kernel.mode[i]);
    return "never";
}

static int64_t until_in_kernel(const char *addr)
{
    struct gw_hwaddr a = addr_of(addr);

    for (size_t i = kernel.count; i-- > 0;)
        if (memcmp(&kernel.addr[i], &a, sizeof(a)) == 0)
            return kernel.until_ms[i];
    return -1;
}

/* ---- the room under test ---- */

static struct gw_quarantine *quarantine;
static struct gw_journal_listener listener;
static char told[8192];   /* what sessions were told: "-cam;" closed, "+cam;" let in */
static char alerts[8192]; /* "quarantine cam;release cam;" */
static char last_json[4096];
static char told_text[8192]; /* the alerts themselves */
static int done_count, done_err;

static void changed(void *owner, const char *device, const struct gw_verdict *v)
{
    size_t used = strlen(told);

    (void)owner;
    (void)snprintf(told + used, sizeof(told) - used, "%c%s;", v ? '-' : '+', device);
}

static char cut[256]; /* who was to hear why before the kernel knew so many addresses */

static void cutting(void *owner, const char *device, const struct gw_verdict *v)
{
    size_t used = strlen(cut);

    (void)owner;
    (void)snprintf(cut + used, sizeof(cut) - used, "%s %s %zu;", device, v->reason, kernel.count);
}

static void note(void *owner, const struct gw_event *ev)
{
    size_t used = strlen(alerts);

    (void)owner;
    (void)snprintf(alerts + used, sizeof(alerts) - used, "%s %s;", ev->kind, ev->device);
    (void)snprintf(last_json, sizeof(last_json), "%s", ev->json);
    used = strlen(told_text);
    (void)snprintf(told_text + used, sizeof(told_text) - used, "%s\n", ev->json);
}

static void done(void *owner, int err)
{
    cr_expect_eq(owner, &quarantine);
    done_count++;
    done_err = err;
}

static const struct gw_quarantine_ops ops = {.changed = changed, .cutting = cutting};

static void watch_journal(void)
{
    listener = (struct gw_journal_listener){.event = note};
    gw_journal_listen(site.journal, &listener);
}

static void open_quarantine(void)
{
    cr_assert_eq(gw_quarantine_open(site.loop, site.config, site.store, site.journal, site.devices,
                                    &ops, &quarantine),
                 0);
}

static void setup(void)
{
    site_open();
    (void)heard(1, "192.0.2.1", "lan1");
    (void)proved("cam", "192.0.2.1", 1);
    (void)heard(1, "2001:db8::1", "lan1");
    (void)heard(9, "192.0.2.9", "lan1");
    watch_journal();
    open_quarantine();
    kernel = (struct gw_enforcer){0};
    gw_quarantine_start(quarantine, &kernel);
    kernel = (struct gw_enforcer){0}; /* without what it hears of approved devices at the start */
}

static void teardown(void)
{
    gw_quarantine_close(&quarantine);
    site_close();
}

TestSuite(quarantine, .init = setup, .fini = teardown);

Test(quarantine, a_device_hears_why_before_the_kernel_cuts_it_off)
{
    struct gw_hwaddr other = addr_of("192.0.2.9"), network = addr_of("192.0.2.0/24");

    cut[0] = '\0';
    kernel.count = 0;
    cr_assert_eq(
        gw_quarantine_device(quarantine, "cam", GW_MODE_ISOLATE, 0, "a", "admin", NULL, NULL), 0);
    cr_expect_str_eq(cut, "cam a 0;");
    cr_expect_gt(kernel.count, 0);
    kernel.count = 0;
    cr_assert_eq(
        gw_quarantine_addr(quarantine, &other, GW_MODE_ISOLATE, 0, "b", "admin", NULL, NULL), 0);
    cr_expect_str_eq(cut, "cam a 0;mac-020000000009 b 0;");
    cr_assert_eq(gw_quarantine_release_device(quarantine, "cam", "admin", NULL, NULL), 0);
    cr_assert_eq(
        gw_quarantine_addr(quarantine, &network, GW_MODE_ISOLATE, 0, "c", "admin", NULL, NULL), 0);
    cr_expect_str_eq(cut, "cam a 0;mac-020000000009 b 0;", "no release, and no whole network");
}

static void restart(void)
{
    gw_quarantine_close(&quarantine);
    site_fall();
    site_rise();
    watch_journal();
    open_quarantine();
    kernel = (struct gw_enforcer){0};
    told[0] = alerts[0] = '\0';
}

/* The kernel answers what it was not asked before with `err`. */
static void answer(int err)
{
    while (kernel.answered < kernel.count)
        gw_quarantine_applied(quarantine, kernel.token[kernel.answered++], err);
}

static void settle(void)
{
    answer(0);
    site_settle();
    answer(0);
    site_settle();
}

/* Whoever became protected is looked for a tick of the loop later. */
static void look(void)
{
    settle();
    pass_ms(site.loop, 8);
    settle();
}

static int cut_off(const char *id, uint64_t seconds)
{
    done_count = 0;
    return gw_quarantine_device(quarantine, id, GW_MODE_ISOLATE, seconds, "spoke too much", "admin",
                                done, &quarantine);
}

static int cut_off_addr(const char *addr)
{
    struct gw_hwaddr a = addr_of(addr);

    done_count = 0;
    return gw_quarantine_addr(quarantine, &a, GW_MODE_ISOLATE, 0, "", "admin", done, &quarantine);
}

static int release(const char *id)
{
    done_count = 0;
    return gw_quarantine_release_device(quarantine, id, "admin", done, &quarantine);
}

static const char *take(char *text)
{
    static char copy[8192];

    (void)strcpy(copy, text);
    text[0] = '\0';
    return copy;
}

Test(quarantine, a_device_is_cut_off_by_every_address_and_let_go_again)
{
    const struct gw_verdict *v;

    cr_assert_eq(cut_off("cam", 0), 0);
    cr_expect_str_eq(take(told), "-cam;", "sessions first");
    cr_expect_eq(kernel.count, 3);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "isolate");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "isolate");
    cr_expect_str_eq(in_kernel("192.0.2.9"), "never");
    v = gw_quarantine_of_device(quarantine, "cam");
    cr_assert_not_null(v);
    cr_expect_str_eq(v->reason, "spoke too much");
    cr_expect_str_eq(v->by, "admin");
    settle();
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, 0);
    cr_expect_str_eq(take(alerts), "quarantine cam;");
    cr_expect_not_null(strstr(last_json, "\"mode\":\"isolate\""), "%s", last_json);
    cr_expect_not_null(strstr(last_json, "\"until\":null"), "%s", last_json);
    cr_expect_eq(gw_quarantine_count(quarantine), 1);

    cr_assert_eq(release("cam"), 0);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "none");
    settle();
    cr_expect_eq(done_count, 1);
    cr_expect_str_eq(take(told), "+cam;");
    cr_expect_str_eq(take(alerts), "release cam;");
    cr_expect_eq(release("cam"), GW_ENOTFOUND);
}

Test(quarantine, done_waits_for_the_kernel_and_for_the_disk)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    site_settle();
    cr_expect_eq(done_count, 0, "the kernel did not answer");
    gw_quarantine_applied(quarantine, kernel.token[0], 0);
    gw_quarantine_applied(quarantine, kernel.token[0], 0); /* twice, and tokens never given */
    gw_quarantine_applied(quarantine, 999999, 0);
    gw_quarantine_applied(quarantine, kernel.token[1], 0);
    cr_expect_eq(done_count, 0);
    gw_quarantine_applied(quarantine, kernel.token[2], 0);
    cr_expect_eq(done_count, 1);

    cr_assert_eq(cut_off("cam", 60), 0);
    answer(0);
    cr_expect_eq(done_count, 0, "the disk did not answer");
    site_settle();
    cr_expect_eq(done_count, 1);
}

Test(quarantine, a_refusal_of_the_kernel_takes_everything_back)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    gw_quarantine_applied(quarantine, kernel.token[0], 0);
    gw_quarantine_applied(quarantine, kernel.token[1], GW_EPROTECTED);
    gw_quarantine_applied(quarantine, kernel.token[2], 0);
    kernel.answered = 3;
    site_settle();
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, GW_EPROTECTED);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "none");
    cr_expect_str_eq(take(told), "-cam;+cam;");
    settle();
    cr_expect_eq(done_count, 1);
    restart();
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"), "nor on disk");
}

Test(quarantine, a_refused_replacement_leaves_what_held_before)
{
    cr_assert_eq(cut_off("cam", 3600), 0);
    settle();
    cr_assert_eq(gw_quarantine_device(quarantine, "cam", GW_MODE_REMEDIATE, 0, "other", "admin",
                                      done, &quarantine),
                 0);
    answer(GW_EFULL);
    site_settle();
    cr_expect_eq(done_err, GW_EFULL);
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_ISOLATE);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "isolate");
    settle();
    restart();
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_ISOLATE);
}

Test(quarantine, a_newer_change_is_not_taken_back_by_an_older_refusal)
{
    cr_assert_eq(cut_off("cam", 3600), 0);
    cr_assert_eq(cut_off("cam", 0), 0);
    for (int i = 0; i < 3; i++)
        gw_quarantine_applied(quarantine, kernel.token[i], GW_EFULL);
    kernel.answered = 3;
    settle();
    cr_expect_eq(done_count, 2);
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->until_ms, 0);
}

Test(quarantine, refuses_what_must_not_be_cut_off)
{
    static const struct {
        const char *addr;
        int want;
    } cases[] = {
        {"192.0.2.50", 0},
        {"192.0.2.0/28", 0},
        {"2001:db8::/64", 0},
        {"02:00:00:00:00:77", 0},
        {"10.0.0.5", GW_EPROTECTED},
        {"10.0.0.0/16", GW_EPROTECTED}, /* holds a protected one */
        {"10.0.0.0/28", GW_EPROTECTED},
        {"ff:ff:ff:ff:ff:ff", GW_EPROTECTED},
        {"01:00:5e:00:00:01", GW_EPROTECTED},
        {"00:00:00:00:00:00", GW_EPROTECTED},
        {"255.255.255.255", GW_EPROTECTED},
        {"224.0.0.1", GW_EPROTECTED},
        {"127.0.0.1", GW_EPROTECTED},
        {"0.0.0.0/0", GW_EPROTECTED},
        {"::/0", GW_EPROTECTED},
        {"::1", GW_EPROTECTED},
        {"ff02::1", GW_EPROTECTED},
    };

    site.config->quarantine.protected_addrs[0] = addr_of("10.0.0.0/24");
    site.config->quarantine.protected_count = 1;
    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(cut_off_addr(cases[i].addr), cases[i].want, "%s", cases[i].addr);
    (void)heard(5, "10.0.0.5", "lan1");
    cr_expect_eq(cut_off("mac-020000000005", 0), GW_EPROTECTED);
    cr_expect_eq(cut_off("nobody", 0), GW_ENOTFOUND);
}

Test(quarantine, refuses_requests_it_cannot_keep)
{
    static char longer[GW_REASON_MAX + 2];
    static const struct {
        const char *name;
        enum gw_verdict_mode mode;
        uint64_t seconds;
        const char *reason, *by;
        int want;
    } cases[] = {
        {"no mode", GW_MODE_NONE, 0, "", "admin", GW_EMALFORMED},
        {"a reason too long", GW_MODE_ISOLATE, 0, longer, "admin", GW_EMALFORMED},
        {"a reason that is no text", GW_MODE_ISOLATE, 0, "\xff", "admin", GW_EMALFORMED},
        {"an author too long", GW_MODE_ISOLATE, 0, "", longer, GW_EMALFORMED},
        {"for ever and a day", GW_MODE_ISOLATE, UINT64_MAX, "", "admin", GW_EMALFORMED},
        {"the longest reason", GW_MODE_ISOLATE, 0, longer + 1, "admin", 0},
    };

    memset(longer, 'x', sizeof(longer) - 1);
    for (size_t i = 0; i < GW_COUNT(cases); i++)
        cr_expect_eq(gw_quarantine_device(quarantine, "cam", cases[i].mode, cases[i].seconds,
                                          cases[i].reason, cases[i].by, NULL, NULL),
                     cases[i].want, "%s", cases[i].name);
}

Test(quarantine, a_new_address_of_a_quarantined_device_is_cut_off_at_once)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    settle();
    (void)heard(1, "192.0.2.77", "lan1");
    cr_expect_str_eq(in_kernel("192.0.2.77"), "isolate");
    (void)heard(9, "192.0.2.77", "lan1"); /* DHCP gave it to somebody else */
    cr_expect_str_eq(in_kernel("192.0.2.77"), "none");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
}

Test(quarantine, an_end_comes_by_itself)
{
    cr_assert_eq(cut_off("cam", 60), 0);
    cr_expect_eq(until_in_kernel("192.0.2.1"), gw_clock_wall_ms() + 60000, "the kernel knows it");
    settle();
    (void)take(told);
    pass_ms(site.loop, 59500);
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "cam"));
    pass_ms(site.loop, 600);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_str_eq(in_kernel("192.0.2.1"), "none");
    cr_expect_str_eq(take(told), "+cam;");
    settle();
    cr_expect_str_eq(take(alerts), "quarantine cam;release cam;");
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}

Test(quarantine, an_address_alone_cuts_off_nothing_else)
{
    cr_assert_eq(cut_off_addr("192.0.2.1"), 0);
    settle();
    cr_expect_eq(kernel.count, 1);
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
    cr_expect_str_eq(take(told), "-cam;", "the session of its device is closed");
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "cam"), "and refused");
    (void)heard(9, "192.0.2.1", "lan1"); /* the address moves, the verdict stays with it */
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "mac-020000000009"));
    cr_expect_str_eq(take(told), "+cam;-mac-020000000009;");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
}

Test(quarantine, a_network_reaches_the_devices_in_it)
{
    struct gw_hwaddr net = addr_of("192.0.2.0/29");

    cr_assert_eq(cut_off_addr("192.0.2.0/29"), 0);
    settle();
    cr_expect_str_eq(take(told), "-cam;");
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_null(gw_quarantine_of_device(quarantine, "mac-020000000009"));
    (void)heard(9, "192.0.2.3", "lan1");
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "mac-020000000009"));
    (void)take(told);
    cr_assert_eq(gw_quarantine_release_addr(quarantine, &net, "admin", done, &quarantine), 0);
    cr_expect_str_eq(take(told), "+cam;+mac-020000000009;");
    cr_expect_str_eq(in_kernel("192.0.2.0/29"), "none");
}

Test(quarantine, of_two_verdicts_on_an_address_the_stricter_holds)
{
    cr_assert_eq(cut_off_addr("192.0.2.1"), 0);
    cr_assert_eq(
        gw_quarantine_device(quarantine, "cam", GW_MODE_REMEDIATE, 0, "", "admin", NULL, NULL), 0);
    settle();
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "remediate");
    cr_assert_eq(release("cam"), 0);
    settle();
    cr_expect_str_eq(in_kernel("192.0.2.1"), "isolate", "its own verdict is still there");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "none");
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "cam"));
}

Test(quarantine, verdicts_survive_a_restart_and_are_repeated)
{
    struct gw_quarantine_place place = {0};
    unsigned found = 0;

    cr_assert_eq(cut_off("cam", 0), 0);
    cr_assert_eq(cut_off_addr("2001:db8:1::/48"), 0);
    cr_assert_eq(cut_off("mac-020000000009", 60), 0);
    settle();
    fake_now_ms += 61000; /* one ends while nobody is there */
    restart();
    cr_expect_eq(gw_quarantine_count(quarantine), 2);
    cr_expect_eq(kernel.count, 0, "not before the enforcer is there");
    gw_quarantine_start(quarantine, &kernel);
    cr_expect_eq(kernel.complete, 1);
    cr_expect_eq(kernel.count, 4);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "isolate");
    cr_expect_str_eq(in_kernel("2001:db8:1::/48"), "isolate");
    cr_expect_str_eq(take(told), "-cam;");
    cr_expect_str_eq(gw_quarantine_of_device(quarantine, "cam")->reason, "spoke too much");
    while (gw_quarantine_after(quarantine, &place))
        found++;
    cr_expect_eq(found, 2);
}

/* The addresses from a place on, with commas. */
static const char *listed_after(struct gw_quarantine_place at)
{
    static char text[512];
    const struct gw_verdict *v;
    char addr[GW_HWADDR_TEXT];
    size_t len = 0;

    text[0] = '\0';
    while ((v = gw_quarantine_after(quarantine, &at)))
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s,",
                                *v->device ? v->device : gw_hwaddr_text(&v->addr, addr));
    return text;
}

Test(quarantine, verdicts_are_walked_in_their_order_whatever_changes_meanwhile)
{
    struct gw_hwaddr second = addr_of("198.51.100.2"), third = addr_of("198.51.100.3");
    struct gw_quarantine_place at = {0};

    cr_expect_str_eq(listed_after(at), "");
    cr_assert_eq(cut_off_addr("198.51.100.1"), 0);
    cr_assert_eq(cut_off_addr("198.51.100.2"), 0);
    cr_assert_eq(cut_off("cam", 0), 0);
    cr_assert_eq(cut_off_addr("198.51.100.3"), 0);
    settle();
    cr_expect_str_eq(listed_after(at), "198.51.100.1,198.51.100.2,cam,198.51.100.3,");
    (void)gw_quarantine_after(quarantine, &at);
    (void)gw_quarantine_after(quarantine, &at);
    cr_assert_eq(gw_quarantine_release_addr(quarantine, &second, "admin", NULL, NULL), 0);
    cr_expect_str_eq(listed_after(at), "cam,198.51.100.3,", "the one at the place is gone");
    cr_assert_eq(cut_off_addr("198.51.100.2"), 0);
    cr_expect_str_eq(listed_after(at), "cam,198.51.100.3,198.51.100.2,", "it is a new one");
    cr_assert_eq(gw_quarantine_release_addr(quarantine, &third, "admin", NULL, NULL), 0);
    cr_expect_str_eq(listed_after(at), "cam,198.51.100.2,");
    settle();
}

Test(quarantine, many_are_decided_without_an_alert_each)
{
    struct gw_hwaddr a = addr_of("198.51.100.1");
    uint64_t before = gw_journal_last(site.journal);

    cr_assert_eq(gw_quarantine_addr_quietly(quarantine, &a, GW_MODE_ISOLATE, 0, "", "admin", done,
                                            &quarantine),
                 0);
    settle();
    cr_expect_str_eq(in_kernel("198.51.100.1"), "isolate");
    cr_assert_eq(gw_quarantine_release_addr_quietly(quarantine, &a, "admin", done, &quarantine), 0);
    settle();
    cr_expect_str_eq(in_kernel("198.51.100.1"), "none");
    cr_expect_eq(gw_journal_last(site.journal), before);
}

Test(quarantine, without_an_enforcer_sessions_are_closed_and_the_alert_says_so)
{
    gw_quarantine_start(quarantine, NULL);
    cr_assert_eq(cut_off("cam", 0), 0);
    cr_expect_eq(done_count, 0, "never from within the call");
    site_settle();
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, 0);
    cr_expect_str_eq(take(told), "-cam;");
    cr_expect_not_null(strstr(last_json, "\"kernel\":false"), "%s", last_json);
}

Test(quarantine, an_enforcer_that_cannot_be_reached_is_a_refusal)
{
    kernel.send_error = GW_ECLOSED;
    cr_assert_eq(cut_off("cam", 0), 0);
    site_settle();
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, GW_ECLOSED);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
}

Test(quarantine, closing_answers_who_still_waits)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    gw_quarantine_close(&quarantine);
    cr_expect_eq(done_count, 1);
    cr_expect_eq(done_err, GW_ECLOSED);
    site_fall();
    site_rise();
    watch_journal();
    open_quarantine();
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "cam"), "what was stored stays");
}

Test(quarantine, revoking_isolates_and_forgetting_lets_go)
{
    cr_assert_eq(gw_devices_revoke(site.devices, "cam"), 0);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "isolate");
    settle();
    cr_expect_str_eq(gw_quarantine_of_device(quarantine, "cam")->reason, "revoked");
    cr_assert_eq(gw_devices_forget(site.devices, "cam"), 0);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none");
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}

Test(quarantine, a_verdict_on_an_address_follows_it_to_its_identity_without_a_gap)
{
    struct gw_device *d;
    uint8_t mac[6];
    size_t before;

    cr_assert_eq(cut_off("mac-020000000009", 0), 0);
    settle();
    before = kernel.count;
    mac_of(9, mac);
    cr_assert_eq(gw_devices_prove(site.devices, "lamp", NULL, mac, &d), 0);
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "lamp"));
    cr_expect_null(gw_quarantine_of_device(quarantine, "mac-020000000009"));
    for (size_t i = before; i < kernel.count; i++)
        cr_expect_eq(kernel.mode[i], GW_MODE_ISOLATE);
    cr_expect_str_eq(in_kernel("192.0.2.9"), "isolate");
    settle();
    restart();
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "lamp"));
    cr_expect_eq(gw_quarantine_count(quarantine), 1);
}

Test(quarantine, new_devices_may_only_enrol_where_that_is_configured)
{
    struct gw_device *d;
    uint8_t mac[6];

    site.config->lan.new_devices = GW_NEW_ISOLATE;
    (void)heard(20, "192.0.2.20", "lan1");
    (void)heard(21, "192.0.2.21", "lan1");
    cr_expect_str_eq(in_kernel("02:00:00:00:00:14"), "remediate");
    cr_expect_str_eq(in_kernel("192.0.2.20"), "remediate");
    settle();
    cr_assert_eq(gw_devices_approve(site.devices, "mac-020000000014", NULL, NULL), 0);
    cr_expect_str_eq(in_kernel("192.0.2.20"), "none");
    mac_of(21, mac);
    cr_assert_eq(gw_devices_prove(site.devices, "lamp", ip_of("192.0.2.21"), mac, &d), 0);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:15"), "none");
    cr_expect_str_eq(in_kernel("192.0.2.21"), "none");
    cr_expect_null(gw_quarantine_of_device(quarantine, "lamp"));
}

Test(quarantine, a_newly_protected_address_is_let_go_at_a_reload)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    settle();
    site.config->quarantine.protected_addrs[0] = addr_of("192.0.2.1");
    site.config->quarantine.protected_count = 1;
    gw_quarantine_reload(quarantine, site.config);
    cr_expect_str_eq(in_kernel("192.0.2.1"), "none");
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none", "whose device it is, with it");
    look();
    cr_expect_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_not_null(strstr(last_json, "\"by\":\"configuration\""), "%s", last_json);
}

/* ---- rules ---- */

static void strike(const char *id, enum gw_strike kind, unsigned times, uint64_t every_ms)
{
    for (unsigned i = 0; i < times; i++) {
        gw_quarantine_strike(quarantine, id, kind);
        pass_ms(site.loop, every_ms);
    }
}

/* ---- who may claim whose address ---- */

static bool may_claim(unsigned n, const char *ip, const char *ifname)
{
    uint8_t mac[6];

    mac_of(n, mac);
    return gw_quarantine_may_claim(quarantine, mac, ip ? ip_of(ip) : NULL, ifname);
}

Test(quarantine, a_device_cut_off_is_no_other_by_another_link_address)
{
    (void)proved("lamp", "192.0.2.8", 8);
    cr_expect(may_claim(7, "192.0.2.1", "lan1"), "nobody is cut off");
    cr_assert_eq(cut_off("cam", 0), 0);
    settle();
    cr_expect_not(may_claim(7, "192.0.2.1", "lan1"), "an unknown one on its port");
    cr_expect_not(may_claim(9, "192.0.2.1", "lan1"), "one that nobody vouched for");
    cr_expect(may_claim(7, "192.0.2.1", "lan2"), "another port");
    cr_expect(may_claim(8, "192.0.2.1", "lan1"), "an approved one");
    cr_expect(may_claim(1, "192.0.2.1", "lan1"), "itself");
    cr_expect(may_claim(7, "192.0.2.9", "lan1"), "somebody's who is not cut off");
    cr_expect(may_claim(7, "192.0.2.77", "lan1"), "nobody's");
    cr_expect(may_claim(7, NULL, "lan1"), "nothing");
    cr_assert_eq(release("cam"), 0);
    settle();
    cr_expect(may_claim(7, "192.0.2.1", "lan1"), "after the release");
}

Test(quarantine, whoever_is_cut_off_takes_nobodys_address)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    cr_assert_eq(cut_off_addr("02:00:00:00:00:09"), 0);
    settle();
    (void)heard(8, "192.0.2.8", "lan2");
    cr_expect_not(may_claim(1, "192.0.2.8", "lan1"), "by its own verdict");
    cr_expect_not(may_claim(9, "192.0.2.8", "lan1"), "by its address's");
    cr_expect(may_claim(1, "192.0.2.77", "lan1"), "nobody's may be its own");
    (void)proved("door", "192.0.2.5", 0);
    cr_expect(may_claim(1, "192.0.2.5", "lan1"), "one that waits for its link address");
    site.config->lan.new_devices = GW_NEW_ISOLATE;
    cr_expect_not(may_claim(7, "192.0.2.8", "lan1"), "a new one that would be cut off");
}

Test(quarantine, too_many_strikes_in_a_window_make_a_verdict)
{
    static const struct {
        const char *name;
        enum gw_strike kind;
        unsigned times;
        uint64_t every_ms;
        const char *want; /* the mode, or "" */
    } cases[] = {
        {"19 at once", GW_STRIKE_MALFORMED, 19, 0, ""},
        {"20 at once", GW_STRIKE_MALFORMED, 20, 0, "isolate"},
        {"20 in 40 s", GW_STRIKE_MALFORMED, 20, 2000, "isolate"},
        {"one in 4 s for ever", GW_STRIKE_MALFORMED, 200, 4000, ""},
        {"failed authentications", GW_STRIKE_AUTH, 20, 0, "remediate"},
        {"refused publishes have no default rule", GW_STRIKE_DENIED, 500, 0, ""},
        {"floods neither", GW_STRIKE_FLOOD, 500, 0, ""},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        const struct gw_verdict *v;

        strike("cam", cases[i].kind, cases[i].times, cases[i].every_ms);
        v = gw_quarantine_of_device(quarantine, "cam");
        cr_expect_str_eq(v ? gw_mode_text(v->mode) : "", cases[i].want, "%s", cases[i].name);
        cr_expect(!v || strcmp(v->by, "rule") == 0);
        cr_expect(!v || v->until_ms > v->since_ms);
        if (v)
            cr_expect_eq(release("cam"), 0);
        settle();
        pass_ms(site.loop, 200000);
    }
    gw_quarantine_strike(quarantine, "nobody", GW_STRIKE_AUTH);
    gw_quarantine_strike(quarantine, "", GW_STRIKE_AUTH);
}

Test(quarantine, strikes_of_different_kinds_and_devices_do_not_add_up)
{
    strike("cam", GW_STRIKE_MALFORMED, 15, 0);
    strike("cam", GW_STRIKE_AUTH, 15, 0);
    strike("mac-020000000009", GW_STRIKE_MALFORMED, 15, 0);
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}

Test(quarantine, configured_rules_take_the_place_of_the_defaults)
{
    static char remediate[] = "remediate";
    static struct gw_config_rule rule = {GW_STRIKE_FLOOD, remediate, 3, 10, 0, false};
    struct gw_config_rule *before = site.config->quarantine.rules;

    site.config->quarantine.rules = &rule;
    site.config->quarantine.rule_count = 1;
    gw_quarantine_reload(quarantine, site.config);
    strike("cam", GW_STRIKE_MALFORMED, 50, 0);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    strike("cam", GW_STRIKE_FLOOD, 3, 0);
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_REMEDIATE);
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->until_ms, 0);
    cr_expect_str_eq(gw_quarantine_of_device(quarantine, "cam")->reason, "3 floods within 10 s");
    site.config->quarantine.rules = before;
    site.config->quarantine.rule_count = 0;
}

Test(quarantine, without_auto_a_rule_only_tells)
{
    site.config->quarantine.auto_verdicts = false;
    strike("cam", GW_STRIKE_MALFORMED, 20, 0);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_str_eq(take(alerts), "strikes cam;");
    cr_expect_not_null(strstr(last_json, "\"dry_run\":true"), "%s", last_json);
    strike("cam", GW_STRIKE_MALFORMED, 19, 0);
    cr_expect_str_eq(take(alerts), "", "once for each twenty");
}

Test(quarantine, strikes_of_a_crowd_are_bounded)
{
    char id[32];

    gw_quarantine_close(&quarantine);
    gw_devices_close(&site.devices);
    cr_assert_eq(gw_devices_open(site.loop, site.store, 6000, &site.devices), 0);
    open_quarantine();
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(id, sizeof(id), "d%u", i);
        (void)proved(id, NULL, 0);
        gw_quarantine_strike(quarantine, id, GW_STRIKE_AUTH);
    }
    strike("d0", GW_STRIKE_AUTH, 19, 0);
    cr_expect_null(gw_quarantine_of_device(quarantine, "d0"), "its first was forgotten");
    strike("d4999", GW_STRIKE_AUTH, 19, 0);
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "d4999"));
}

/* ---- what only observes ---- */

static int observe(const char *id, uint64_t seconds)
{
    return gw_quarantine_device(quarantine, id, GW_MODE_OBSERVE, seconds, "looks odd", "admin",
                                done, &quarantine);
}

Test(quarantine, a_verdict_to_observe_cuts_nothing_off)
{
    cut[0] = '\0';
    cr_assert_eq(observe("cam", 0), 0);
    cr_expect_str_eq(take(told), "+cam;", "no session ends");
    cr_expect_str_eq(cut, "", "and nobody needs to hear why");
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "observe");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "observe");
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_assert_not_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_shown(quarantine, "cam")->mode, GW_MODE_OBSERVE);
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
    settle();
    cr_expect_str_eq(take(alerts), "quarantine cam;");
    cr_expect_not_null(strstr(last_json, "cam is observed: looks odd"), "%s", last_json);
    cr_expect_not_null(strstr(last_json, "\"severity\":\"info\""), "%s", last_json);
    cr_expect(may_claim(1, "192.0.2.9", "lan1"), "it may take an address that goes to it");
    cr_expect(may_claim(7, "192.0.2.1", "lan1"), "and another may take its");

    restart();
    gw_quarantine_start(quarantine, &kernel);
    cr_expect_str_eq(take(told), "+cam;");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "observe", "also after a restart");
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_assert_eq(release("cam"), 0);
    settle();
    cr_expect_str_eq(in_kernel("192.0.2.1"), "none");
    cr_expect_not_null(strstr(last_json, "cam is no longer observed"), "%s", last_json);
}

Test(quarantine, whatever_cuts_off_is_stricter_than_to_observe)
{
    struct gw_hwaddr ip = addr_of("192.0.2.1"), net = addr_of("192.0.2.0/29");

    cr_assert_eq(observe("cam", 0), 0);
    cr_assert_eq(gw_quarantine_addr(quarantine, &ip, GW_MODE_REMEDIATE, 0, "", "admin", NULL, NULL),
                 0);
    settle();
    cr_expect_str_eq(in_kernel("192.0.2.1"), "remediate");
    cr_expect_str_eq(in_kernel("2001:db8::1"), "observe");
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_REMEDIATE);
    cr_assert_eq(gw_quarantine_addr(quarantine, &net, GW_MODE_ISOLATE, 0, "", "admin", NULL, NULL),
                 0);
    settle();
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_ISOLATE);
    cr_expect_eq(gw_quarantine_own(quarantine, "cam")->mode, GW_MODE_OBSERVE);
    cr_expect_eq(gw_quarantine_count(quarantine), 2);

    cr_assert_eq(gw_quarantine_release_addr(quarantine, &net, "admin", NULL, NULL), 0);
    cr_assert_eq(gw_quarantine_addr(quarantine, &ip, GW_MODE_OBSERVE, 0, "", "admin", NULL, NULL),
                 0);
    settle();
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_count(quarantine), 0, "nothing is counted twice");
    cr_assert_eq(cut_off("cam", 0), 0);
    cr_expect_eq(gw_quarantine_count(quarantine), 1);
    settle();
    (void)take(told);
    cr_assert_eq(observe("cam", 0), 0);
    cr_expect_str_eq(take(told), "+cam;", "let in again, and observed");
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}

Test(quarantine, a_merge_keeps_the_stricter_verdict)
{
    (void)proved("lamp", NULL, 0);
    cr_assert_eq(observe("lamp", 0), 0);
    cr_assert_eq(cut_off("mac-020000000009", 0), 0);
    settle();
    (void)proved("lamp", NULL, 9);
    settle();
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "lamp"));
    cr_expect_eq(gw_quarantine_of_device(quarantine, "lamp")->mode, GW_MODE_ISOLATE);
    cr_expect_str_eq(in_kernel("192.0.2.9"), "isolate");
    cr_expect_eq(gw_quarantine_count(quarantine), 1);
}

/* ---- who is protected ---- */

static char *protected_id(const char *id)
{
    char *copy = strdup(id);

    cr_assert_not_null(copy);
    site.config->quarantine.protected_devices[0] = copy; /* freed with the configuration */
    site.config->quarantine.protected_device_count = 1;
    return copy;
}

Test(quarantine, a_protected_device_is_never_cut_off)
{
    (void)protected_id("cam");
    cr_expect_eq(cut_off("cam", 0), GW_EPROTECTED);
    cr_expect_eq(observe("cam", 0), GW_EPROTECTED);
    cr_expect_eq(cut_off_addr("192.0.2.1"), GW_EPROTECTED, "nor by an address that it has");
    cr_expect_eq(cut_off_addr("02:00:00:00:00:01"), GW_EPROTECTED);
    cr_expect_eq(cut_off_addr("2001:db8::/64"), GW_EPROTECTED, "nor with a network");
    cr_expect_eq(cut_off_addr("192.0.2.9"), 0);
    settle();
    cr_assert_eq(gw_devices_revoke(site.devices, "cam"), 0);
    settle();
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"), "nor by policy");
    cr_expect_str_eq(in_kernel("192.0.2.1"), "none");
}

Test(quarantine, a_protected_address_protects_the_other_addresses_of_its_device)
{
    static const char *const lists[] = {"02:00:00:00:00:01", "192.0.2.1", "192.0.2.0/30"};

    for (size_t i = 0; i < GW_COUNT(lists); i++) {
        site.config->quarantine.protected_addrs[0] = addr_of(lists[i]);
        site.config->quarantine.protected_count = 1;
        cr_expect_eq(cut_off("cam", 0), GW_EPROTECTED, "%s", lists[i]);
        cr_expect_eq(cut_off_addr("2001:db8::1"), GW_EPROTECTED, "%s", lists[i]);
        cr_expect_eq(cut_off_addr("02:00:00:00:00:01"), GW_EPROTECTED, "%s", lists[i]);
        cr_expect_eq(cut_off_addr("2001:db8:7::1"), 0, "%s", lists[i]);
        if (i < 2)
            cr_expect_eq(cut_off_addr("2001:db8::/120"), GW_EPROTECTED, "%s", lists[i]);
    }
}

Test(quarantine, a_protected_address_wins_over_what_holds_for_new_devices)
{
    site.config->lan.new_devices = GW_NEW_ISOLATE;
    site.config->quarantine.protected_addrs[0] = addr_of("02:00:00:00:00:14");
    site.config->quarantine.protected_addrs[1] = addr_of("192.0.2.21");
    site.config->quarantine.protected_count = 2;
    (void)heard(20, "192.0.2.20", "lan1");
    cr_expect_str_eq(in_kernel("02:00:00:00:00:14"), "none", "the kernel is told");
    cr_expect_str_eq(in_kernel("192.0.2.20"), "none");
    (void)heard(21, NULL, "lan1");
    settle();
    cr_expect_str_eq(in_kernel("02:00:00:00:00:15"), "remediate");
    cr_expect(may_claim(21, "192.0.2.21", "lan1"), "it is only new");
    (void)heard(21, "192.0.2.21", "lan1");
    look();
    cr_expect_str_eq(in_kernel("02:00:00:00:00:15"), "none");
    cr_expect_str_eq(in_kernel("192.0.2.21"), "none");
    cr_expect_null(gw_quarantine_of_device(quarantine, "mac-020000000015"));
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}

Test(quarantine, whoever_is_cut_off_takes_no_protected_address)
{
    site.config->quarantine.protected_addrs[0] = addr_of("192.0.2.77");
    site.config->quarantine.protected_count = 1;
    cr_expect(may_claim(9, "192.0.2.77", "lan1"));
    cr_assert_eq(cut_off("mac-020000000009", 0), 0);
    settle();
    cr_expect_not(may_claim(9, "192.0.2.77", "lan1"));
    cr_expect(may_claim(9, "192.0.2.78", "lan1"));
}

Test(quarantine, a_verdict_ends_when_its_device_becomes_protected)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    cr_assert_eq(cut_off_addr("2001:db8::/64"), 0);
    cr_assert_eq(cut_off("mac-020000000009", 60), 0);
    settle();
    (void)take(told);
    (void)protected_id("cam");
    gw_quarantine_reload(quarantine, site.config);
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none", "at once");
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    look();
    cr_expect_not_null(strstr(take(told), "+cam;"));
    cr_expect_str_eq(in_kernel("2001:db8::/64"), "none", "a network with an address of it, too");
    cr_expect_eq(gw_quarantine_count(quarantine), 1, "the other one stays");
    cr_expect_not_null(gw_quarantine_of_device(quarantine, "mac-020000000009"));
}

Test(quarantine, a_configuration_changed_while_nobody_was_there_counts_from_the_start)
{
    cr_assert_eq(cut_off("cam", 0), 0);
    settle();
    (void)protected_id("cam");
    restart();
    gw_quarantine_start(quarantine, &kernel);
    look();
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "none");
    cr_expect_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_count(quarantine), 0);
}

/* ---- rules that do less, or more ---- */

static struct gw_config_rule *kept_rules;

static void rule_is(const struct gw_config_rule *r)
{
    static struct gw_config_rule rules[1];

    rules[0] = *r;
    kept_rules = site.config->quarantine.rules;
    site.config->quarantine.rules = rules;
    site.config->quarantine.rule_count = 1;
    gw_quarantine_reload(quarantine, site.config);
}

static void rules_as_before(void)
{
    site.config->quarantine.rules = kept_rules;
    site.config->quarantine.rule_count = 0;
}

static char isolate_text[] = "isolate", observe_text[] = "observe";

Test(quarantine, a_dry_run_says_once_an_hour_what_it_would_have_done)
{
    rule_is(&(struct gw_config_rule){GW_STRIKE_DENIED, isolate_text, 3, 60, 600, true});
    strike("cam", GW_STRIKE_DENIED, 2, 0);
    cr_expect_str_eq(take(alerts), "");
    strike("cam", GW_STRIKE_DENIED, 1, 0);
    cr_expect_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_str_eq(take(alerts), "strikes cam;");
    cr_expect_not_null(
        strstr(last_json, "cam would have been cut off: 3 refused publishes within 60 s"), "%s",
        last_json);
    cr_expect_not_null(strstr(last_json, "\"seconds\":600"), "%s", last_json);
    strike("cam", GW_STRIKE_DENIED, 300, 0);
    cr_expect_str_eq(take(alerts), "", "not a hundred times");
    strike("mac-020000000009", GW_STRIKE_DENIED, 3, 0);
    cr_expect_str_eq(take(alerts), "strikes mac-020000000009;", "another one is another matter");
    pass_ms(site.loop, 3600 * 1000);
    strike("cam", GW_STRIKE_DENIED, 3, 0);
    cr_expect_str_eq(take(alerts), "strikes cam;");
    cr_expect_not_null(strstr(last_json, "\"not_shown\":100"), "%s", last_json);
    rules_as_before();
}

Test(quarantine, a_rule_to_observe_gives_way_to_whatever_is_stricter)
{
    rule_is(&(struct gw_config_rule){GW_STRIKE_DENIED, observe_text, 2, 60, 600, false});
    strike("cam", GW_STRIKE_DENIED, 2, 0);
    cr_assert_not_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_eq(gw_quarantine_shown(quarantine, "cam")->mode, GW_MODE_OBSERVE);
    cr_expect_str_eq(gw_quarantine_shown(quarantine, "cam")->by, "rule");
    cr_expect_eq(gw_quarantine_shown(quarantine, "cam")->until_ms, gw_clock_wall_ms() + 600000);
    settle();
    (void)take(alerts);
    strike("cam", GW_STRIKE_DENIED, 20, 0);
    cr_expect_str_eq(take(alerts), "", "observed already");
    rules_as_before();
    gw_quarantine_reload(quarantine, site.config);
    strike("cam", GW_STRIKE_MALFORMED, 20, 0);
    cr_assert_not_null(gw_quarantine_of_device(quarantine, "cam"), "who is observed still strikes");
    cr_expect_eq(gw_quarantine_of_device(quarantine, "cam")->mode, GW_MODE_ISOLATE);
}

Test(quarantine, a_protected_device_that_strikes_is_told_as_such)
{
    (void)protected_id("cam");
    strike("cam", GW_STRIKE_MALFORMED, 40, 0);
    cr_expect_null(gw_quarantine_of_device(quarantine, "cam"));
    cr_expect_str_eq(take(alerts), "strikes cam;");
    cr_expect_not_null(strstr(last_json, "but is protected: 20 malformed"), "%s", last_json);
    cr_expect_not_null(strstr(last_json, "\"protected\":true"), "%s", last_json);
}

/* ---- what is noticed on the wire ---- */

static struct gw_wire_event noticed(enum gw_wire_kind kind, unsigned n)
{
    struct gw_wire_event ev = {.kind = kind, .window_ms = 10000, .ifname = "lan1"};

    mac_of(n, ev.mac);
    return ev;
}

Test(quarantine, what_is_noticed_on_the_wire_is_told_with_all_figures)
{
    static const struct {
        enum gw_wire_kind kind;
        bool dropped;
        uint8_t protocol;
        const char *ip, *peer;
        uint16_t port;
        uint8_t direction;
        uint32_t count, window_ms;
        const char *words[6];
    } cases[] = {
        {GW_WIRE_HOSTS,
         false,
         6,
         "192.0.2.1",
         "192.0.2.50",
         23,
         0,
         74,
         10000,
         {"scan-hosts", "many addresses (74 addresses in 10 s)", "\"count\":74",
          "\"mac\":\"02:00:00:00:00:01\"", "\"peer\":\"192.0.2.50\"", "\"port\":23"}},
        {GW_WIRE_PORTS,
         false,
         6,
         "192.0.2.1",
         "192.0.2.50",
         80,
         0,
         51,
         10000,
         {"scan-ports", "many ports (51 ports in 10 s)"}},
        {GW_WIRE_NEIGHBOURS,
         false,
         17,
         "192.0.2.1",
         NULL,
         0,
         0,
         9,
         10000,
         {"lateral", "many devices (9 devices in 10 s)"}},
        {GW_WIRE_FLOOD,
         false,
         0,
         NULL,
         NULL,
         0,
         0,
         61234,
         1000,
         {"packet-flood", "floods the network (61234 packets in 1 s)", "\"window_ms\":1000"}},
        {GW_WIRE_FORGED,
         true,
         17,
         "192.0.2.9",
         "02:00:00:00:00:09",
         0,
         0,
         3,
         1500,
         {"forged-address", "address 192.0.2.9 of mac-020000000009 (3 packets in 1.500 s); dropped",
          "\"dropped\":true", "\"ip\":\"192.0.2.9\""}},
        {GW_WIRE_SPOOFED,
         true,
         0,
         "192.0.2.254",
         "02:00:00:00:00:fe",
         0,
         0,
         1,
         10000,
         {"spoofed-neighbour", "claims the address 192.0.2.254 of 02:00:00:00:00:fe; dropped"}},
        {GW_WIRE_MOVES,
         false,
         0,
         NULL,
         NULL,
         0,
         0,
         6,
         10000,
         {"mac-flapping", "several ports by turns (6 moves in 10 s)", "\"interface\":\"lan1\""}},
        {GW_WIRE_DHCP, false, 17, NULL, NULL, 68, 0, 1, 10000, {"rogue-dhcp", "DHCP server"}},
        {GW_WIRE_ROUTER, false, 58, NULL, NULL, 0, 0, 1, 10000, {"rogue-router", "as a router"}},
        {GW_WIRE_DEPARTURE,
         true,
         6,
         "192.0.2.1",
         "198.51.100.7",
         22,
         0,
         1,
         10000,
         {"departure", "not allow: to 198.51.100.7 by TCP, port 22; dropped", "\"protocol\":6",
          "\"direction\":\"from-device\""}},
        {GW_WIRE_DEPARTURE,
         false,
         47,
         "192.0.2.1",
         NULL,
         0,
         1,
         2,
         10000,
         {"departure", "from somebody by 47 (2 packets in 10 s)", "to-device"}},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_wire_event ev = noticed(cases[i].kind, 1);
        char kind[64];

        ev.dropped = cases[i].dropped;
        ev.protocol = cases[i].protocol;
        if (cases[i].ip)
            ev.ip = addr_of(cases[i].ip);
        if (cases[i].peer)
            ev.peer = addr_of(cases[i].peer);
        ev.port = cases[i].port;
        ev.direction = cases[i].direction;
        ev.count = cases[i].count;
        ev.window_ms = cases[i].window_ms;
        told_text[0] = '\0';
        (void)take(alerts);
        gw_quarantine_wire(quarantine, &ev);
        (void)snprintf(kind, sizeof(kind), "%s cam;", cases[i].words[0]);
        cr_expect_eq(strncmp(alerts, kind, strlen(kind)), 0, "%s: %s", cases[i].words[0], alerts);
        for (size_t w = 1; w < GW_COUNT(cases[i].words) && cases[i].words[w]; w++)
            cr_expect_not_null(strstr(told_text, cases[i].words[w]), "\"%s\" not in: %s",
                               cases[i].words[w], told_text);
        pass_ms(site.loop, 3601 * 1000);
    }
    cr_expect_null(gw_quarantine_shown(quarantine, "cam"), "no heuristic cuts off by itself");
}

Test(quarantine, the_wire_is_heard_once_a_minute)
{
    struct gw_wire_event ev = noticed(GW_WIRE_FLOOD, 1), other = noticed(GW_WIRE_MOVES, 1),
                         nobody = noticed(GW_WIRE_FLOOD, 99);

    for (int i = 0; i < 2; i++)
        gw_quarantine_wire(quarantine, &ev);
    cr_expect_str_eq(take(alerts), "packet-flood cam;");
    gw_quarantine_wire(quarantine, &other);
    cr_expect_str_eq(take(alerts), "mac-flapping cam;", "each kind by itself");
    pass_ms(site.loop, 60000);
    gw_quarantine_wire(quarantine, &ev);
    cr_expect_eq(strncmp(take(alerts), "packet-flood cam;", 17), 0);
    cr_expect_not_null(strstr(told_text, "\"not_shown\":1"), "%s", told_text);
    for (int i = 0; i < 3; i++)
        gw_quarantine_wire(quarantine, &nobody);
    cr_expect_str_eq(take(alerts), "packet-flood ;", "a MAC of no device, too");
    ev.kind = GW_WIRE_COUNT;
    gw_quarantine_wire(quarantine, &ev);
    cr_expect_str_eq(take(alerts), "", "a kind that there is not");
}

Test(quarantine, a_crowd_of_made_up_macs_does_not_fill_the_journal)
{
    struct gw_wire_event ev;
    size_t told_of = 0;

    for (unsigned n = 100; n < 300; n++) {
        (void)heard(n, NULL, "lan1");
        ev = noticed(GW_WIRE_FLOOD, n);
        gw_quarantine_wire(quarantine, &ev);
        gw_quarantine_wire(quarantine, &ev);
    }
    for (const char *at = alerts; (at = strstr(at, "packet-flood")); at++)
        told_of++;
    cr_expect_eq(told_of, 60);
    told_text[0] = '\0';
    pass_ms(site.loop, 60000);
    gw_quarantine_wire(quarantine, &ev);
    cr_expect_not_null(strstr(told_text, "\"not_shown\":2"), "%s", told_text);
    cr_expect_not_null(strstr(told_text, "\"not_shown_in_all\":280"), "%s", told_text);
}

Test(quarantine, on_a_fresh_gateway_the_wire_only_warns)
{
    struct gw_wire_event ev = noticed(GW_WIRE_HOSTS, 1);

    ev.count = 74;
    for (int i = 0; i < 9; i++)
        gw_quarantine_wire(quarantine, &ev);
    cr_expect_null(gw_quarantine_shown(quarantine, "cam"));
    cr_expect_str_eq(take(alerts), "scan-hosts cam;strikes cam;");
    cr_expect_not_null(strstr(last_json, "cam would have been cut off: scan-hosts: 74 addresses in "
                                         "10 s, 3 times within 300 s"),
                       "%s", last_json);
    cr_expect_not_null(strstr(last_json, "\"dry_run\":true"), "%s", last_json);
}

Test(quarantine, a_rule_cuts_off_by_what_is_noticed)
{
    struct gw_wire_event ev = noticed(GW_WIRE_HOSTS, 1);
    const struct gw_verdict *v;

    rule_is(&(struct gw_config_rule){GW_STRIKE_WIRE_HOSTS, isolate_text, 1, 60, 600, false});
    ev.count = 74;
    gw_quarantine_wire(quarantine, &ev);
    v = gw_quarantine_of_device(quarantine, "cam");
    cr_assert_not_null(v);
    cr_expect_str_eq(v->reason, "scan-hosts: 74 addresses in 10 s");
    cr_expect_str_eq(v->by, "rule");
    cr_expect_eq(v->until_ms, v->since_ms + 600000);
    rules_as_before();
}

Test(quarantine, kinds_have_the_names_that_the_enforcer_gives_them)
{
    static const char *const names[] = {
#define X(kind, text) [GW_WIRE_##kind] = text,
        GW_WIRE_KINDS(X)
#undef X
    };

    for (size_t i = 0; i < GW_WIRE_COUNT; i++)
        cr_expect_str_eq(gw_strike_name((enum gw_strike)(GW_STRIKE_WIRE_HOSTS + i)), names[i]);
}
