/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/net_test.h"

static struct gw_resolve *resolve;
static unsigned called;
static size_t found;
static char first[GW_ADDR_TEXT];

static void on_resolved(void *owner, const struct gw_addr *addrs, size_t count)
{
    cr_expect_eq(owner, &resolve);
    cr_expect_null(resolve);
    called++;
    found = count;
    if (count)
        gw_addr_text(&addrs[0], first);
}

static void setup(void)
{
    cr_assert_eq(gw_loop_new(&loop), 0);
}

static void teardown(void)
{
    gw_resolve_cancel(&resolve);
    gw_loop_free(&loop);
}

TestSuite(resolve, .init = setup, .fini = teardown, .timeout = 30);

static void ask(const char *host)
{
    cr_assert_eq(gw_resolve_start(loop, host, 8883, on_resolved, &resolve, &resolve), 0);
}

Test(resolve, literal_addresses_are_taken_as_they_are)
{
    static const char *const cases[][2] = {
        {"192.0.2.7", "192.0.2.7:8883"},
        {"2001:db8::7", "[2001:db8::7]:8883"},
        {"::ffff:192.0.2.9", "192.0.2.9:8883"},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        called = 0;
        ask(cases[i][0]);
        cr_expect_eq(called, 0, "from the loop only");
        UNTIL(called);
        cr_expect_eq(found, 1);
        cr_expect_str_eq(first, cases[i][1]);
    }
}

Test(resolve, a_name_is_found_off_the_loop)
{
    ask("localhost");
    UNTIL(called);
    cr_expect_gt(found, 0);
    turns(3);
    cr_expect_eq(called, 1);
}

Test(resolve, a_cancelled_one_is_silent)
{
    for (int i = 0; i < 20; i++) {
        ask(i % 2 ? "localhost" : "127.0.0.1");
        gw_resolve_cancel(&resolve);
        turns(1);
    }
    gw_resolve_cancel(&resolve);
    turns(10);
    cr_expect_eq(called, 0);
}
