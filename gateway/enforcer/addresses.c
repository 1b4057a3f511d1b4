/* SPDX-License-Identifier: GPL-2.0-only */
#include "enforcer/addresses.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

bool gw_addresses_have(const struct gw_addresses *list, const struct gw_hwaddr *a)
{
    for (size_t i = 0; i < list->count; i++) {
        if (memcmp(&list->at[i], a, sizeof(*a)) == 0)
            return true;
    }
    return false;
}

int gw_addresses_add(struct gw_addresses *list, const struct gw_hwaddr *a)
{
    struct gw_hwaddr *more;

    if (gw_addresses_have(list, a))
        return 0;
    if (list->count == GW_ADDRESSES_MAX)
        return GW_EFULL;
    if (list->count == list->cap) {
        more = realloc(list->at, (list->cap * 2 + 16) * sizeof(*more));
        if (!more)
            return -ENOMEM;
        list->at = more;
        list->cap = list->cap * 2 + 16;
    }
    list->at[list->count++] = *a;
    return 0;
}
