/* SPDX-License-Identifier: GPL-2.0-only */
#include <sys/socket.h>

#include "http/http_priv.h"

#define EARLY_MAX (64u << 10)

/* What the client sent behind its request and MHD had not read yet lies in the pair. */
static int read_rest(int fd, struct gw_buf *early)
{
    uint8_t part[4096];
    ssize_t got;
    int err = 0;

    while (!err && (got = recv(fd, part, sizeof(part), MSG_DONTWAIT)) > 0)
        err = gw_buf_append(early, GW_SLICE(part, got));
    return err;
}

/* MHD has written the 101 into the pair. It goes out, and MHD and the pair are done with. */
static void on_upgrade(void *cls, struct MHD_Connection *mhd, void *context, const char *extra,
                       size_t extra_len, MHD_socket fd, struct MHD_UpgradeResponseHandle *handle)
{
    struct gw_http_request *r = cls;
    GW_CLEANUP(gw_buf_fini) struct gw_buf early = {.max = EARLY_MAX};
    GW_CLEANUP(gw_stream_free) struct gw_stream *stream = NULL;
    gw_http_upgraded *fn = r->upgraded;
    void *owner = r->upgraded_owner;
    struct conn *c = r->conn;
    int err;

    (void)mhd;
    (void)context;
    err = gw_buf_append(&early, GW_SLICE(extra, extra_len));
    if (!err)
        err = read_rest(fd, &early);
    if (c->stream)
        conn_pump_output(c);
    if (err || !c->stream || c->output_held)
        conn_drop(c);
    else
        stream = conn_take_stream(c);
    http_wake(c->http); /* what MHD still has of it is cleaned up */
    (void)MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE); /* may free `c` and `r` */
    if (!stream)
        return;
    gw_stream_attach(stream, NULL, NULL);
    fn(owner, GW_TAKE(stream), gw_buf_len(&early) ? gw_buf_slice(&early) : GW_SLICE_NONE);
}

bool gw_http_may_upgrade(const struct gw_http_request *r)
{
    return r->may_upgrade;
}

void gw_http_upgrade(struct gw_http_request *r, const char *protocol, gw_http_upgraded *fn,
                     void *owner)
{
    r->upgraded = fn;
    r->upgraded_owner = owner;
    gw_http_set_header(r, MHD_HTTP_HEADER_UPGRADE, protocol);
    request_answer(r, MHD_HTTP_SWITCHING_PROTOCOLS, NULL,
                   MHD_create_response_for_upgrade(on_upgrade, r));
}
