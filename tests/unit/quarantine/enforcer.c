/* SPDX-License-Identifier: GPL-2.0-only */
#include "enforcer.h"

#include <criterion/criterion.h>

struct gw_enforcer kernel;

int gw_enforcer_judge(struct gw_enforcer *e, const struct gw_hwaddr *a,
                      const struct gw_judgement *j, uint64_t token)
{
    if (e->send_error)
        return e->send_error;
    cr_assert_lt(e->count, GW_COUNT(e->sent));
    e->sent[e->count++] = (struct sent){*a, *j, token};
    return 0;
}

int gw_enforcer_verdicts_complete(struct gw_enforcer *e)
{
    e->complete++;
    return 0;
}

void kernel_forget(void)
{
    memset(&kernel, 0, sizeof(kernel));
}

const struct gw_judgement *kernel_last(const struct gw_hwaddr *a)
{
    for (size_t i = kernel.count; i-- > 0;)
        if (memcmp(&kernel.sent[i].addr, a, sizeof(*a)) == 0)
            return &kernel.sent[i].what;
    return NULL;
}
