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
    size_t cursor = 0;
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
    while (gw_quarantine_next(quarantine, &cursor))
        found++;
    cr_expect_eq(found, 2);
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
    cr_expect_str_eq(in_kernel("02:00:00:00:00:01"), "isolate");
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
    static char flood[] = "flood", remediate[] = "remediate";
    static struct gw_config_rule rule = {flood, remediate, 3, 10, 0};
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
