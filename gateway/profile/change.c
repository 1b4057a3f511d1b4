/* SPDX-License-Identifier: GPL-2.0-only */
/* One change of a profile: in memory at once, then disk and kernel side by side, then answered. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "profile/profile_priv.h"

/* It begins with one part, its maker's own, so that it cannot end before it is complete. */
struct change *change_new(struct gw_profiles *ps, const char *device, gw_profile_done *fn,
                          void *owner)
{
    struct change *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->ps = ps;
    (void)snprintf(c->device, sizeof(c->device), "%s", device);
    c->waits = 1;
    c->fn = fn;
    c->owner = owner;
    gw_list_append(&ps->changes, &c->node);
    return c;
}

void change_part_done(struct change *c, int err)
{
    if (err && !c->err)
        c->err = err;
    if (--c->waits > 0)
        return;
    gw_list_remove(&c->node);
    if (c->fn)
        c->fn(c->owner, c->err, "");
    free(c);
}

/* At the end of the daemon: the disk answers, the kernel may not have. */
void changes_abandon(struct gw_profiles *ps)
{
    gw_store_flush(ps->store);
    GW_LIST_EACH(&ps->changes, node)
    {
        struct change *c = GW_LIST_ENTRY(node, struct change, node);

        gw_list_remove(node);
        if (c->fn)
            c->fn(c->owner, GW_ECLOSED, "");
        free(c);
    }
}

int profile_commit(struct profile *p, gw_profile_done *fn, void *owner)
{
    struct change *c = change_new(p->ps, p->device, fn, owner);
    int err = c ? profile_store(p, NULL, c) : -ENOMEM;

    if (!c)
        return err;
    profile_tell(p, c);
    change_part_done(c, err);
    return 0;
}

void profile_save(struct profile *p)
{
    int err = profile_store(p, NULL, NULL);

    if (err)
        gw_log_error("a profile was not stored: %s device=%s", gw_error_text(err), p->device);
}

int profile_remove(struct profile *p, gw_profile_done *fn, void *owner)
{
    struct change *c = change_new(p->ps, p->device, fn, owner);
    int err = c ? profile_store_removal(p->ps, p->device, c) : -ENOMEM;

    if (!c)
        return err;
    profile_untell(p, c);
    profile_free(p);
    change_part_done(c, err);
    return 0;
}
