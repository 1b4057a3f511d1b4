/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"

#define BODY_MAX (256u << 10)     /* from the network: a full list of grants fits */
#define LOCAL_BODY_MAX (8u << 20) /* over the Unix socket: ten thousand verdicts, with reasons */
#define IDLE_S 120
#define CONNECTIONS_MAX 128

static const struct gw_http_route routes[] = {
#define X(methods, path, handle, who, ...) {methods, path, handle, who},
    ADMIN_ROUTES(X)
#undef X
        {0},
};

/* Two servers, so that a crowd at the HTTPS port never locks the command out. */
static int serve(struct gw_admin *a, size_t body_max, struct gw_http **out)
{
    const struct gw_http_config cfg = {.body_max = body_max,
                                       .idle_s = IDLE_S,
                                       .connections = CONNECTIONS_MAX,
                                       .before = auth_before,
                                       .owner = a};

    int err = gw_http_new(a->loop, &cfg, out);

    return err ? err : gw_http_mount(*out, routes, a);
}

int gw_admin_new(struct gw_loop *loop, const struct gw_admin_rooms *rooms, struct gw_admin **out)
{
    GW_CLEANUP(gw_admin_free) struct gw_admin *a = calloc(1, sizeof(*a));
    int err;

    if (!a)
        return -ENOMEM;
    a->loop = loop;
    a->rooms = *rooms;
    a->started_ms = gw_clock_mono_ms();
    gw_list_init(&a->waits);
    gw_list_init(&a->streams);
    gw_list_init(&a->testers);
    a->listener = (struct gw_journal_listener){.event = streams_event, .owner = a};
    gw_journal_listen(rooms->journal, &a->listener);
    err = users_load(a);
    if (!err)
        err = keys_load(a);
    if (!err)
        err = serve(a, BODY_MAX, &a->https);
    if (!err)
        err = serve(a, LOCAL_BODY_MAX, &a->local);
    if (err)
        return err;
    *out = GW_TAKE(a);
    return 0;
}

void gw_admin_free(struct gw_admin **admin)
{
    struct gw_admin *a = GW_TAKE(*admin);

    if (!a)
        return;
    gw_journal_unlisten(&a->listener);
    gw_http_free(&a->https);
    gw_http_free(&a->local);
    wait_abandon_all(a);
    isolation_fini(a);
    gw_wipe(a, sizeof(*a));
    free(a);
}

void gw_admin_reload(struct gw_admin *a, const struct gw_config *config)
{
    a->rooms.config = config;
}

int gw_admin_serve(struct gw_admin *a, struct gw_stream *stream)
{
    bool local = gw_stream_peer(stream)->sa.ss_family == AF_UNIX;

    return gw_http_serve(local ? a->local : a->https, stream);
}
