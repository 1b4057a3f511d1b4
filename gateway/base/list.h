/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * An intrusive, circular, doubly linked list. A node that is in no list points at itself, so
 * removing it twice is harmless. Any thread, no sharing.
 */
#pragma once

#include <stdbool.h>

#include "base/own.h"

struct gw_list {
    struct gw_list *prev;
    struct gw_list *next;
};

static inline void gw_list_init(struct gw_list *l)
{
    l->prev = l->next = l;
}

static inline bool gw_list_empty(const struct gw_list *l)
{
    return l->next == l;
}

/** Put `node` behind `where`: gw_list_insert(head, n) pushes to the front. */
static inline void gw_list_insert(struct gw_list *where, struct gw_list *node)
{
    node->prev = where;
    node->next = where->next;
    where->next->prev = node;
    where->next = node;
}

/** Push to the back. */
static inline void gw_list_append(struct gw_list *head, struct gw_list *node)
{
    gw_list_insert(head->prev, node);
}

static inline void gw_list_remove(struct gw_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    gw_list_init(node);
}

#define GW_LIST_ENTRY(node, type, member) GW_CONTAINER(node, type, member)

/** Walk from the front; the current node may be removed. */
#define GW_LIST_EACH(head, node)                                                                   \
    for (struct gw_list *node = (head)->next, *next_##node = node->next; node != (head);           \
         node = next_##node, next_##node = node->next)
