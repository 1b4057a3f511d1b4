/* SPDX-License-Identifier: GPL-2.0-only */
/* An enforcer that keeps what it was sent, and answers when the test says so. */
#pragma once

#include "enforcer/enforcer.h"

struct sent {
    struct gw_hwaddr addr;
    struct gw_judgement what;
    uint64_t token;
};

struct gw_enforcer {
    struct sent sent[8192];
    size_t count, answered;
    int complete;
    int send_error;
};

extern struct gw_enforcer kernel;

void kernel_forget(void);
/* What it was told last about the address; NULL: nothing. */
const struct gw_judgement *kernel_last(const struct gw_hwaddr *a);
