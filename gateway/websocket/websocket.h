/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * WebSocket (RFC 6455, server side) as a layer of a stream: what binary messages carry is one
 * sequence of bytes each way, however it was cut into frames ([MQTT-6.0.0-2]); what is written in
 * one turn leaves as one binary message. Frames are wslay's. Loop thread only.
 */
#pragma once

#include "net/net.h"

#define GW_WEBSOCKET_ACCEPT 29 /**< Sec-WebSocket-Accept with its final zero */

/** A client's request headers, lines of one name joined by commas; NULL where absent (RFC 6455
 * §4.2.1). */
struct gw_websocket_request {
    const char *upgrade, *connection, *version, *key, *protocols, *extensions;
};

/**
 * Judge an opening handshake that has to offer the subprotocol `protocol`.
 *
 * @return 0 and the value of Sec-WebSocket-Accept; GW_EUNSUPPORTED: another version than 13, or no
 *         upgrade at all (HTTP 426); GW_EMALFORMED: a bad key, or extensions
 *         that break their grammar (400); GW_EPROTOCOL: the subprotocol
 *         is not offered (400, [MQTT-6.0.0-3]); GW_ECRYPTO.
 */
int gw_websocket_accept(const struct gw_websocket_request *req, const char *protocol,
                        char out[GW_WEBSOCKET_ACCEPT]) GW_MUST_CHECK;

/**
 * The stream over `below`, which is READY, answered the handshake, and belongs to the new one from
 * now on, also on failure. `early` is what the client sent behind its request. READY follows from
 * the loop. Errors it ends with beside those of `below`: GW_EPROTOCOL, GW_ETOOBIG.
 */
int gw_websocket_new(struct gw_loop *loop, struct gw_stream *below, struct gw_slice early,
                     const struct gw_stream_limits *limits, struct gw_stream **out) GW_MUST_CHECK;
