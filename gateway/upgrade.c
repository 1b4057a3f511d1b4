/* SPDX-License-Identifier: GPL-2.0-only */
/* From a request for /mqtt at the device port to a stream that mqtt serves: MQTT over WebSocket. */
#include "websocket/websocket.h"
#include "worker.h"

#define HEADERS 6
#define HEADER_MAX 1024 /* bytes of one of the headers that are looked at */

static void on_upgraded(void *owner, struct gw_stream *below, struct gw_slice early)
{
    struct worker *w = owner;
    const struct gw_stream_limits limits = worker_stream_limits(w);
    struct gw_stream *stream = NULL;
    int err = gw_websocket_new(w->loop, below, early, &limits, &stream);

    if (!err)
        err = gw_mqtt_serve(w->mqtt, stream);
    if (err)
        gw_log_warning("connection not served at=websocket: %s", gw_error_text(err));
}

/* What the MQTT port asks of a certificate, its validity today included, is asked here, too. */
static bool admitted(struct worker *w, struct gw_http_request *r)
{
    const struct gw_identity *id = gw_http_identity(r);
    int err = id->expired ? GW_EIDENTITY : wiring_admit_mqtt(w, id);

    if (err)
        gw_http_problem(r, 403, "MQTT needs a valid certificate of this gateway: %s.",
                        gw_error_text(err));
    return !err;
}

static void refuse(struct gw_http_request *r, int err)
{
    switch (err) {
    case GW_EUNSUPPORTED:
        gw_http_set_header(r, "Upgrade", "websocket");
        gw_http_set_header(r, "Sec-WebSocket-Version", "13");
        gw_http_problem(r, 426, "This is a WebSocket, RFC 6455, version 13.");
        return;
    case GW_EPROTOCOL:
        gw_http_problem(r, 400, "The WebSocket subprotocol must be mqtt.");
        return;
    default:
        gw_http_problem(r, 400, "The WebSocket key is not valid, or the extensions are not.");
    }
}

static void on_mqtt(void *owner, struct gw_http_request *r)
{
    static const char *const names[HEADERS] = {
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
    };
    char values[HEADERS][HEADER_MAX]; /* a list may stand in several lines: RFC 6455 §11.3 */
    const struct gw_websocket_request req = {
        .upgrade = gw_http_may_upgrade(r) ? values[0] : NULL,
        .connection = values[1],
        .key = values[2],
        .version = values[3],
        .protocols = values[4],
        .extensions = values[5],
    };
    char accept[GW_WEBSOCKET_ACCEPT];
    int err;

    for (int i = 0; i < HEADERS; i++)
        gw_http_header_list(r, names[i], values[i], sizeof(values[i]));
    err = gw_websocket_accept(&req, "mqtt", accept);
    if (err) {
        refuse(r, err);
    } else if (admitted(owner, r)) {
        gw_http_set_header(r, "Sec-WebSocket-Accept", accept);
        gw_http_set_header(r, "Sec-WebSocket-Protocol", "mqtt"); /* [MQTT-6.0.0-4] */
        gw_http_upgrade(r, "websocket", on_upgraded, owner);
    }
}

const struct gw_http_route upgrade_routes[] = {
    {GW_GET, "/mqtt", on_mqtt, 0},
    {0},
};
