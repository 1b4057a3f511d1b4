/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the programs copied, which the enforcer never reads: the worker has the ring itself. Inside
 * room enforcer, in the worker; loop thread only.
 */
#pragma once

#include "enforcer/enforcer.h"

struct gw_copies;

/** The kernel is asked about the ring here, which the sandbox does not allow later. NULL: said. */
struct gw_copies *gw_copies_open(int fd) GW_MUST_CHECK;
/** Each copy goes to ops->dns from now on. -errno. */
int gw_copies_start(struct gw_copies *c, struct gw_loop *loop, const struct gw_enforcer_ops *ops,
                    void *owner) GW_MUST_CHECK;
void gw_copies_free(struct gw_copies **copies);
