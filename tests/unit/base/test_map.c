/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/list.h"
#include "base/map.h"

#define KEYS 700

struct item {
    char key[16];
    bool there;
    bool walked;
};

static struct item items[KEYS];

static void make_keys(void)
{
    for (size_t i = 0; i < KEYS; i++) /* also one that is a prefix of others, and an empty one */
        (void)snprintf(items[i].key, sizeof(items[i].key), i ? "k%zu" : "%.0zu", i);
}

Test(map, an_empty_one_answers_everything)
{
    struct gw_map m = {0};
    size_t cursor = 0;

    cr_expect_null(gw_map_get_str(&m, "a"));
    cr_expect_null(gw_map_remove(&m, gw_slice_str("a")));
    cr_expect_null(gw_map_next(&m, &cursor));
    gw_map_fini(&m);
    gw_map_fini(&m);
}

Test(map, a_key_put_again_leads_to_the_new_value)
{
    struct gw_map m = {0};
    char first[] = "key", second[] = "key";
    int a = 1, b = 2;

    cr_assert_eq(gw_map_put(&m, gw_slice_str(first), &a), 0);
    cr_assert_eq(gw_map_put(&m, gw_slice_str(second), &b), 0);
    memset(first, 'x', sizeof(first)); /* the old key may go with the old value */
    cr_expect_eq(gw_map_get_str(&m, "key"), &b);
    cr_expect_eq(m.count, 1);
    cr_expect_eq(gw_map_remove(&m, gw_slice_str("key")), &b);
    cr_expect_eq(m.count, 0);
    gw_map_fini(&m);
}

Test(map, keys_are_bytes_with_their_length)
{
    struct gw_map m = {0};
    int a = 1, b = 2, c = 3;

    cr_assert_eq(gw_map_put(&m, GW_SLICE_LIT("a"), &a), 0);
    cr_assert_eq(gw_map_put(&m, GW_SLICE_LIT("a\0"), &b), 0);
    cr_assert_eq(gw_map_put(&m, GW_SLICE_LIT(""), &c), 0);
    cr_expect_eq(gw_map_get(&m, GW_SLICE_LIT("a")), &a);
    cr_expect_eq(gw_map_get(&m, GW_SLICE_LIT("a\0")), &b);
    cr_expect_eq(gw_map_get(&m, GW_SLICE_NONE), &c);
    cr_expect_null(gw_map_get(&m, GW_SLICE_LIT("\0a")));
    gw_map_fini(&m);
}

static unsigned walk(const struct gw_map *m)
{
    struct item *item;
    unsigned count = 0;
    size_t cursor = 0;

    for (size_t i = 0; i < KEYS; i++)
        items[i].walked = false;
    while ((item = gw_map_next(m, &cursor))) {
        cr_assert_not(item->walked, "%s twice", item->key);
        cr_assert(item->there, "%s is gone", item->key);
        item->walked = true;
        count++;
    }
    return count;
}

/* 30,000 random additions and removals; every key is asked for, there or not. */
Test(map, agrees_with_a_plain_table_whatever_comes_and_goes)
{
    struct gw_map m = {0};
    unsigned seed = 3, count = 0;

    make_keys();
    for (int step = 0; step < 30000; step++) {
        struct item *item = &items[(seed = seed * 1103515245 + 12345) / 65536 % KEYS];
        struct gw_slice key = gw_slice_str(item->key);

        cr_assert_eq(gw_map_get(&m, key), item->there ? item : NULL, "%s", item->key);
        if (item->there)
            cr_assert_eq(gw_map_remove(&m, key), item);
        else
            cr_assert_eq(gw_map_put(&m, key, item), 0);
        count = item->there ? count - 1 : count + 1;
        item->there = !item->there;
        cr_assert_eq(m.count, count);
        if (step % 1000 == 0)
            cr_assert_eq(walk(&m), count);
    }
    for (size_t i = 0; i < KEYS; i++)
        cr_assert_eq(gw_map_get_str(&m, items[i].key), items[i].there ? &items[i] : NULL);
    gw_map_fini(&m);
}

/* ---- lists ---- */

struct link {
    struct gw_list node;
    int n;
};

static int sum_in_order(struct gw_list *head)
{
    int sum = 0;

    GW_LIST_EACH(head, node)
    {
        sum = sum * 10 + GW_LIST_ENTRY(node, struct link, node)->n;
    }
    return sum;
}

Test(list, keeps_order_and_survives_removal_twice_and_while_walking)
{
    struct link links[4];
    struct gw_list head;

    gw_list_init(&head);
    cr_expect(gw_list_empty(&head));
    for (int i = 0; i < 4; i++) {
        links[i].n = i + 1;
        gw_list_init(&links[i].node);
    }
    gw_list_append(&head, &links[1].node);
    gw_list_append(&head, &links[2].node);
    gw_list_insert(&head, &links[0].node);
    cr_expect_eq(sum_in_order(&head), 123);
    gw_list_insert(&links[1].node, &links[3].node);
    cr_expect_eq(sum_in_order(&head), 1243);
    gw_list_remove(&links[3].node);
    gw_list_remove(&links[3].node);
    cr_expect_eq(sum_in_order(&head), 123);
    GW_LIST_EACH(&head, node)
    {
        gw_list_remove(node);
    }
    cr_expect(gw_list_empty(&head));
}
