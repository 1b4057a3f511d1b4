/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where admins are listened to may change while the daemon runs. The worker has no right left to
 * open a port such as 443: what SIGHUP adds is opened here and handed over.
 */
#include "net/net.h"

#include <stdio.h>

#include "enforcer/guard.h"

static void close_all(int fds[GW_CONFIG_LIST_MAX])
{
    for (size_t i = 0; i < GW_CONFIG_LIST_MAX; i++)
        gw_close_fd(&fds[i]);
}

int gw_listen_added(const struct gw_listen_list *old, const struct gw_listen_list *now,
                    int fds[GW_CONFIG_LIST_MAX], struct gw_config_error *error)
{
    for (size_t i = 0; i < GW_CONFIG_LIST_MAX; i++)
        fds[i] = -1;
    for (size_t i = 0; i < now->count; i++) {
        const struct gw_addr at = {now->at[i].addr, now->at[i].len};
        char text[GW_ADDR_TEXT];
        int fd;

        if (gw_config_listens(old, &now->at[i]) < old->count)
            continue; /* it goes on */
        fd = gw_listen_tcp(&at);
        if (fd >= 0) {
            fds[i] = fd;
            continue;
        }
        (void)snprintf(
            error->text, sizeof(error->text),
            "admin.https: cannot listen at %s: %s; what holds it may be this gateway's own "
            "present address, then a restart changes it",
            gw_addr_text(&at, text), gw_error_text(fd));
        close_all(fds);
        return fd;
    }
    return 0;
}

void gw_listen_hand_over(struct gw_guard *g, int fds[GW_CONFIG_LIST_MAX])
{
    for (size_t i = 0; i < GW_CONFIG_LIST_MAX; i++)
        if (fds[i] >= 0)
            gw_child_listener(g, (uint32_t)i, gw_take_fd(&fds[i]));
}
