/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/clock.h"
#include "device/device.h"

#include <criterion/criterion.h>
#include <stdio.h>

static char dir[64];
static struct gw_loop *loop;
static struct gw_store *store;
static struct gw_devices *devices;
static struct gw_device_listener listener;

/* What the listener was told, as text: "added mac-…;", "+192.0.2.1 cam;", … */
static char told[8192];

static void note(void *owner, const struct gw_device *d, enum gw_device_change what,
                 const struct gw_hwaddr *addr, const struct gw_device *from)
{
    static const char *const words[] = {
        [GW_DEVICE_ADDED] = "added",   [GW_DEVICE_CHANGED] = "changed",
        [GW_DEVICE_ADDR_ADDED] = "+",  [GW_DEVICE_ADDR_REMOVED] = "-",
        [GW_DEVICE_MERGED] = "merged", [GW_DEVICE_REMOVED] = "removed",
    };
    size_t used = strlen(told);
    char text[GW_HWADDR_TEXT] = "";

    (void)owner;
    (void)snprintf(told + used, sizeof(told) - used, "%s%s%s %s;", words[what],
                   addr ? gw_hwaddr_text(addr, text) : "", from ? from->id : "", d->id);
}

static void rise(uint32_t max)
{
    cr_assert_eq(gw_loop_new(&loop), 0);
    cr_assert_eq(gw_store_open(loop, dir, &store), 0);
    cr_assert_eq(gw_devices_open(loop, store, max, &devices), 0);
    listener = (struct gw_device_listener){.changed = note};
    gw_devices_listen(devices, &listener);
    told[0] = '\0';
}

static void fall(void)
{
    gw_devices_close(&devices);
    gw_store_close(&store);
    gw_loop_free(&loop);
}

static void setup(void)
{
    (void)strcpy(dir, "/tmp/cordon-device-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    rise(1000);
}

static void teardown(void)
{
    char command[96];

    fall();
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(device, .init = setup, .fini = teardown);

static const uint8_t mac1[] = {2, 0, 0, 0, 0, 1}, mac2[] = {2, 0, 0, 0, 0, 2};

static struct gw_hwaddr addr_of(const char *text)
{
    struct gw_hwaddr a = {0};

    cr_assert_eq(gw_hwaddr_parse(text, &a), 0, "%s", text);
    return a;
}

static struct gw_device *heard(const uint8_t mac[6], const char *ip)
{
    struct gw_hwaddr a = ip ? addr_of(ip) : (struct gw_hwaddr){0};

    return gw_devices_sighting(devices, mac, ip ? &a : NULL, "lan1");
}

static int prove(const char *id, const char *ip, const uint8_t *mac, struct gw_device **out)
{
    struct gw_hwaddr a = ip ? addr_of(ip) : (struct gw_hwaddr){0};

    return gw_devices_prove(devices, id, ip ? &a : NULL, mac, out);
}

static const char *owner_of(const char *addr)
{
    struct gw_hwaddr a = addr_of(addr);
    const struct gw_device *d = gw_devices_by_addr(devices, &a);

    return d ? d->id : "";
}

Test(device, ids_are_one_to_64_plain_characters)
{
    static const struct {
        const char *id;
        bool valid, mac;
    } cases[] = {
        {"cam-1", true, false},
        {"A.z_0-9", true, false},
        {"mac-020000000001", true, true},
        {"mac-02000000000g", true, false},
        {"mac-0200000000011", true, false},
        {"", false, false},
        {"a b", false, false},
        {"a/b", false, false},
        {"a+", false, false},
        {"caf\xc3\xa9", false, false},
        {"0123456789012345678901234567890123456789012345678901234567890123", true, false},
        {"01234567890123456789012345678901234567890123456789012345678901234", false, false},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        cr_expect_eq(gw_device_id_valid(cases[i].id), cases[i].valid, "%s", cases[i].id);
        cr_expect_eq(gw_device_id_is_mac(cases[i].id), cases[i].mac, "%s", cases[i].id);
    }
}

Test(device, an_unknown_mac_becomes_a_seen_record)
{
    struct gw_device *d = heard(mac1, "192.0.2.1");

    cr_assert_not_null(d);
    cr_expect_str_eq(d->id, "mac-020000000001");
    cr_expect_eq(d->state, GW_DEVICE_SEEN);
    cr_expect_eq(d->addr_count, 2);
    cr_expect_str_eq(d->addrs[0].ifname, "lan1");
    cr_expect_str_eq(told, "added mac-020000000001;+02:00:00:00:00:01 mac-020000000001;"
                           "+192.0.2.1 mac-020000000001;");
    told[0] = '\0';
    cr_expect_eq(heard(mac1, "192.0.2.1"), d);
    cr_expect_str_eq(told, "", "the same again is no change");
    cr_expect_eq(gw_devices_count(devices, GW_DEVICE_SEEN), 1);
}

Test(device, addresses_of_groups_and_nobody_are_never_bound)
{
    static const uint8_t macs[][6] = {
        {0}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {1, 0, 0x5e, 0, 0, 1}, {0x33, 0x33, 0, 0, 0, 1}};
    static const char *const ips[] = {"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::",
                                      "::1",     "ff02::1",   "240.0.0.1", "10.0.0.0/8"};

    for (size_t i = 0; i < GW_COUNT(macs); i++)
        cr_expect_null(heard(macs[i], NULL), "mac %zu", i);
    for (size_t i = 0; i < GW_COUNT(ips); i++) {
        struct gw_device *d = heard(mac1, ips[i]);

        cr_assert_not_null(d);
        cr_expect_eq(d->addr_count, 1, "%s", ips[i]);
    }
    cr_expect_eq(gw_devices_total(devices), 1);
}

Test(device, the_last_sighting_of_an_ip_wins)
{
    (void)heard(mac1, "192.0.2.1");
    told[0] = '\0';
    (void)heard(mac2, "192.0.2.1");
    cr_expect_str_eq(owner_of("192.0.2.1"), "mac-020000000002");
    cr_expect_str_eq(owner_of("02:00:00:00:00:01"), "mac-020000000001");
    cr_expect_str_eq(told, "added mac-020000000002;+02:00:00:00:00:02 mac-020000000002;"
                           "-192.0.2.1 mac-020000000001;+192.0.2.1 mac-020000000002;");
}

Test(device, holds_sixteen_addresses_and_never_lets_the_mac_go_first)
{
    struct gw_device *d = NULL;
    char ip[32];

    for (unsigned i = 1; i <= 40; i++) {
        (void)snprintf(ip, sizeof(ip), "2001:db8::%x", i);
        d = heard(mac1, ip);
        cr_assert_not_null(d);
        cr_expect_leq(d->addr_count, GW_DEVICE_ADDRS_MAX);
        cr_expect_str_eq(owner_of(ip), d->id);
        cr_expect_str_eq(owner_of("02:00:00:00:00:01"), d->id);
    }
    cr_expect_eq(d->addr_count, GW_DEVICE_ADDRS_MAX);
    for (size_t i = 0; i < d->addr_count; i++)
        cr_expect_eq(gw_devices_by_addr(devices, &d->addrs[i].addr), d);
    cr_expect_not_null(strstr(told, "-2001:db8::1 "));
}

Test(device, a_proved_certificate_takes_over_the_record_of_its_mac)
{
    struct gw_device *cam = NULL;

    (void)heard(mac1, "192.0.2.1");
    told[0] = '\0';
    cr_assert_eq(prove("cam-1", "192.0.2.1", mac1, &cam), 0);
    cr_expect_eq(cam->state, GW_DEVICE_APPROVED);
    cr_expect_eq(gw_devices_total(devices), 1);
    cr_expect_null(gw_devices_get(devices, "mac-020000000001"));
    cr_expect_str_eq(owner_of("02:00:00:00:00:01"), "cam-1");
    cr_expect_str_eq(owner_of("192.0.2.1"), "cam-1");
    cr_expect_str_eq(told, "added cam-1;-192.0.2.1 mac-020000000001;+192.0.2.1 cam-1;"
                           "mergedmac-020000000001 cam-1;+02:00:00:00:00:01 cam-1;");
}

Test(device, without_a_mac_the_next_sighting_of_its_ip_brings_it)
{
    struct gw_device *cam = NULL;

    (void)heard(mac1, "192.0.2.1");
    (void)heard(mac2, NULL);
    cr_assert_eq(prove("cam-1", "192.0.2.1", NULL, &cam), 0);
    cr_expect_str_eq(owner_of("02:00:00:00:00:01"), "mac-020000000001", "not known yet");
    cr_expect_eq(heard(mac1, "192.0.2.1"), cam);
    cr_expect_str_eq(owner_of("02:00:00:00:00:01"), "cam-1");
    cr_expect_eq(gw_devices_total(devices), 2);

    /* once: a later one who speaks with this address got it from DHCP */
    cr_expect_str_eq(heard(mac2, "192.0.2.1")->id, "mac-020000000002");
    cr_expect_str_eq(owner_of("192.0.2.1"), "mac-020000000002");
}

Test(device, a_certificate_moves_no_mac_out_of_another_identity_but_by_proof)
{
    struct gw_device *a = NULL, *b = NULL;

    cr_assert_eq(prove("a", "192.0.2.1", mac1, &a), 0);
    cr_assert_eq(prove("b", "192.0.2.2", mac2, &b), 0);
    cr_expect_eq(heard(mac1, "192.0.2.2"), a, "an address follows the wire");
    cr_expect_str_eq(owner_of("02:00:00:00:00:02"), "b");
    cr_assert_eq(prove("b", "192.0.2.2", mac1, &b), 0);
    cr_expect_str_eq(owner_of("02:00:00:00:00:01"), "b");
    cr_expect_eq(gw_devices_total(devices), 2);
}

Test(device, the_life_cycle_goes_one_way)
{
    struct gw_device *d = NULL;

    cr_expect_eq(gw_devices_approve(devices, "cam", NULL, NULL), GW_ENOTFOUND);
    cr_expect_eq(gw_devices_revoke(devices, "cam"), GW_ENOTFOUND);
    cr_expect_eq(gw_devices_forget(devices, "cam"), GW_ENOTFOUND);
    cr_expect_eq(gw_devices_pending(devices, "mac-020000000001", &d), GW_EIDENTITY);
    cr_expect_eq(gw_devices_pending(devices, "a b", &d), GW_EIDENTITY);
    cr_expect_null(d);

    cr_assert_eq(gw_devices_pending(devices, "cam", &d), 0);
    cr_expect_eq(d->state, GW_DEVICE_PENDING);
    cr_expect_eq(gw_devices_approve(devices, "cam", "Front\ndoor", NULL), GW_EMALFORMED);
    cr_expect_eq(gw_devices_approve(devices, "cam", NULL, "a class"), GW_EMALFORMED);
    cr_expect_eq(gw_devices_approve(devices, "cam", "Front door \xc3\xa9", "camera"), 0);
    cr_expect_eq(d->state, GW_DEVICE_APPROVED);
    cr_expect_str_eq(d->class, "camera");
    cr_expect_eq(gw_devices_approve(devices, "cam", NULL, NULL), 0);
    cr_expect_str_eq(d->name, "Front door \xc3\xa9", "NULL leaves it");
    cr_expect_eq(gw_devices_pending(devices, "cam", &d), 0);
    cr_expect_eq(d->state, GW_DEVICE_APPROVED, "asking again takes nothing back");

    cr_expect_eq(gw_devices_revoke(devices, "cam"), 0);
    cr_expect_eq(gw_devices_approve(devices, "cam", NULL, NULL), GW_ESTATE);
    cr_expect_eq(gw_devices_pending(devices, "cam", &d), GW_EREVOKED);
    cr_expect_eq(prove("cam", NULL, NULL, &d), GW_EREVOKED);
    cr_expect_eq(gw_devices_count(devices, GW_DEVICE_REVOKED), 1);
    cr_expect_eq(gw_devices_count(devices, GW_DEVICE_PENDING), 0);
}

Test(device, forgetting_a_revoked_device_lets_its_certificate_in_no_more)
{
    struct gw_device *d = NULL;

    cr_assert_eq(prove("cam", NULL, NULL, &d), 0);
    cr_assert_eq(gw_devices_revoke(devices, "cam"), 0);
    cr_assert_eq(gw_devices_forget(devices, "cam"), 0);
    cr_expect_eq(gw_devices_total(devices), 0);
    cr_expect_eq(prove("cam", NULL, NULL, &d), GW_EREVOKED);
    fall();
    rise(1000);
    cr_expect_eq(prove("cam", NULL, NULL, &d), GW_EREVOKED, "nor after a restart");
    cr_expect(gw_devices_revoked(devices, "cam"));
    cr_expect_not(gw_devices_revoked(devices, "lamp"));
    cr_expect_eq(gw_devices_pending(devices, "cam", &d), 0);
    cr_expect_eq(prove("cam", NULL, NULL, &d), GW_EREVOKED, "nor while it waits");
    cr_expect_eq(gw_devices_approve(devices, "cam", NULL, NULL), 0);
    cr_expect_eq(prove("cam", NULL, NULL, &d), 0, "an admin let it in again");
    cr_expect_not(gw_devices_revoked(devices, "cam"));
    fall();
    rise(1000);
    cr_expect_eq(prove("cam", NULL, NULL, &d), 0, "and that is kept");
}

Test(device, a_forgotten_device_that_was_not_revoked_may_come_back)
{
    struct gw_device *d = NULL;

    cr_assert_eq(prove("cam", "192.0.2.1", mac1, &d), 0);
    told[0] = '\0';
    cr_assert_eq(gw_devices_forget(devices, "cam"), 0);
    cr_expect_str_eq(told, "removed cam;");
    cr_expect_str_eq(owner_of("192.0.2.1"), "");
    cr_expect_eq(prove("cam", NULL, NULL, &d), 0);
    cr_expect_eq(d->addr_count, 0);
}

Test(device, a_flood_of_made_up_macs_leaves_room_for_certificates)
{
    struct gw_device *d = NULL;
    char id[16];
    int err = 0;

    fall();
    rise(80);
    for (unsigned i = 0; i < 200; i++) {
        const uint8_t mac[] = {2, 1, 0, 0, 0, (uint8_t)i};

        (void)heard(mac, NULL);
    }
    cr_expect_eq(gw_devices_total(devices), 70);
    cr_expect_eq(gw_devices_unrecorded(devices), 130);
    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(id, sizeof(id), "cam-%u", i);
        err |= prove(id, NULL, NULL, &d);
    }
    cr_expect_eq(err, 0);
    cr_expect_eq(prove("one-more", NULL, NULL, &d), GW_EFULL);
    cr_expect_eq(gw_devices_pending(devices, "one-more", &d), GW_EFULL);
    cr_expect_eq(gw_devices_forget(devices, "cam-3"), 0);
    cr_expect_eq(prove("one-more", NULL, NULL, &d), 0);
}

Test(device, a_restart_finds_everything_again)
{
    struct gw_device *d = NULL;
    int64_t first;

    (void)heard(mac2, "2001:db8::2");
    cr_assert_eq(prove("cam", "192.0.2.1", mac1, &d), 0);
    cr_assert_eq(gw_devices_approve(devices, "cam", "Door", "camera"), 0);
    first = d->first_seen_ms;
    (void)heard(mac1, "192.0.2.9");
    fall();
    rise(1000);

    cr_expect_eq(gw_devices_total(devices), 2);
    d = gw_devices_get(devices, "cam");
    cr_assert_not_null(d);
    cr_expect_str_eq(d->name, "Door");
    cr_expect_str_eq(d->class, "camera");
    cr_expect_eq(d->state, GW_DEVICE_APPROVED);
    cr_expect_eq(d->first_seen_ms, first);
    cr_expect_eq(d->addr_count, 3);
    cr_expect_str_eq(owner_of("192.0.2.1"), "cam");
    cr_expect_str_eq(owner_of("192.0.2.9"), "cam");
    cr_expect_str_eq(owner_of("2001:db8::2"), "mac-020000000002");
    cr_assert_eq(gw_devices_forget(devices, "cam"), 0);
    fall();
    rise(1000);
    cr_expect_null(gw_devices_get(devices, "cam"));
    cr_expect_str_eq(owner_of("192.0.2.1"), "");
}

Test(device, a_life_cycle_change_is_on_disk_within_the_next_turns)
{
    struct gw_devices *second = NULL;
    struct gw_device *d = NULL;

    cr_assert_eq(gw_devices_pending(devices, "cam", &d), 0);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(gw_loop_turn(loop, 2), 0);
    gw_store_flush(store);
    cr_assert_eq(gw_devices_open(loop, store, 10, &second), 0); /* another reader of the rows */
    cr_expect_not_null(gw_devices_get(second, "cam"));
    gw_devices_close(&second);
}

/* 2,000 random additions and removals against a sorted list of what should be there. */
/* How many rows of `sql` the file holds, as another process would see it. */
static int on_disk(const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    char path[128];
    int count = -1;

    (void)snprintf(path, sizeof(path), "%s/cordon.db", dir);
    cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    if (sqlite3_step(stmt) == SQLITE_ROW)
        count = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return count;
}

static void count_settled(void *owner, int err)
{
    unsigned *settled = owner;

    cr_expect_eq(err, 0);
    ++*settled;
}

static void until(const unsigned *counter, unsigned want)
{
    for (int i = 0; i < 500 && *counter < want; i++)
        cr_assert_eq(gw_loop_turn(loop, 10), 0);
    cr_assert_eq(*counter, want);
}

Test(device, who_waits_is_told_when_all_before_is_on_disk)
{
    struct gw_device *made;
    unsigned settled = 0;
    char id[32];

    for (int i = 0; i < 1200; i++) { /* more than one batch */
        (void)snprintf(id, sizeof(id), "cam-%d", i);
        (void)prove(id, NULL, NULL, &made); /* the last ones find no room */
    }
    cr_assert_eq(gw_devices_settle(devices, count_settled, &settled), 0);
    cr_expect_eq(settled, 0, "from the loop only");
    until(&settled, 1);
    cr_expect_eq(on_disk("SELECT count(*) FROM device"), (int)gw_devices_total(devices));

    cr_assert_eq(gw_devices_revoke(devices, "cam-1"), 0);
    cr_assert_eq(gw_loop_turn(loop, 0), 0); /* its batch may be on the way */
    cr_assert_eq(gw_devices_settle(devices, count_settled, &settled), 0);
    cr_assert_eq(gw_devices_forget(devices, "cam-2"), 0);
    cr_assert_eq(gw_devices_settle(devices, count_settled, &settled), 0);
    until(&settled, 3);
    cr_expect_eq(on_disk("SELECT count(*) FROM device WHERE id = 'cam-2'"), 0);
    cr_expect_eq(on_disk("SELECT state FROM device WHERE id = 'cam-1'"), GW_DEVICE_REVOKED);

    cr_assert_eq(gw_devices_settle(devices, count_settled, &settled), 0);
    until(&settled, 4); /* nothing was changed */
    cr_assert_eq(gw_devices_settle(devices, count_settled, &settled), 0);
    fall();
    cr_expect_eq(settled, 5, "the end waits for the disk, too");
    rise(1000);
}

Test(device, lists_in_order_of_id_whatever_came_and_went)
{
    enum { IDS = 300 };
    static bool there[IDS];
    struct gw_device *d = NULL;
    unsigned seed = 42;
    char id[16];

    for (int step = 0; step < 2000; step++) {
        unsigned n = (seed = seed * 1103515245 + 12345) / 65536 % IDS;

        (void)snprintf(id, sizeof(id), "d%03u", n);
        if (there[n])
            cr_assert_eq(gw_devices_forget(devices, id), 0);
        else
            cr_assert_eq(prove(id, NULL, NULL, &d), 0);
        there[n] = !there[n];
    }
    d = gw_devices_next(devices, "");
    for (unsigned n = 0; n < IDS; n++) {
        if (!there[n])
            continue;
        (void)snprintf(id, sizeof(id), "d%03u", n);
        cr_assert_not_null(d, "%s is missing", id);
        cr_assert_str_eq(d->id, id);
        d = gw_devices_next(devices, d->id);
    }
    cr_expect_null(d);
    cr_expect_null(gw_devices_next(devices, "zzz"));
}
