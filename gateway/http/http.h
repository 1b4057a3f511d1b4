/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * HTTP/1.1 on libmicrohttpd, its epoll nested in our loop and fed by our streams (TLS, Unix), so
 * there is one TLS stack and one set of limits. Routes are a table; bodies are gathered up to a
 * limit; errors are RFC 9457 problems. Loop thread only.
 */
#pragma once

#include <jansson.h>

#include "net/net.h"

struct gw_http;
struct gw_http_request;

enum gw_http_method { GW_GET = 1, GW_POST = 2, GW_PUT = 4, GW_DELETE = 8 };

/**
 * Answer `req` now with gw_http_reply…, or later: keep the pointer, and it stays valid until
 * the answer or until `gone` (gw_http_on_gone) says that the client left.
 */
typedef void gw_http_handler(void *owner, struct gw_http_request *req);

/** A row of a table; `{}` in the path matches one segment. The first match wins. */
struct gw_http_route {
    unsigned methods; /**< of enum gw_http_method */
    const char *path; /**< "/api/v1/devices/{}/approve"; a final "*" matches the rest */
    gw_http_handler *handle;
    unsigned flags; /**< the owner's own, gw_http_route_flags() */
};

struct gw_http_config {
    size_t body_max;      /**< longer bodies are answered 413 */
    uint32_t idle_s;      /**< a connection without a byte for so long is closed */
    uint32_t connections; /**< at once; for one more the quietest idle one gives way */
    /** Runs before every handler: true to go on; false when it has answered (401, 403, CSRF). */
    bool (*before)(void *owner, struct gw_http_request *req);
    void *owner; /**< of `before` */
};

#define GW_HTTP_TABLES 4

int gw_http_new(struct gw_loop *loop, const struct gw_http_config *cfg,
                struct gw_http **out) GW_MUST_CHECK;
/** Ends every connection; `gone` is called for those who wait. Not from inside a handler. */
void gw_http_free(struct gw_http **h);

/**
 * Serve this table's rows, too: the first table that knows a path has it. Rows end with one of
 * zeros and outlive the server; `owner` comes with every call. GW_EFULL over GW_HTTP_TABLES.
 */
int gw_http_mount(struct gw_http *h, const struct gw_http_route *routes, void *owner) GW_MUST_CHECK;

/**
 * Serve a READY stream (with an output limit of 64 KiB or more), which belongs to the server from
 * now on, also on failure: GW_EFULL when all connections are at a request, -errno, -ENOMEM.
 */
int gw_http_serve(struct gw_http *h, struct gw_stream *stream) GW_MUST_CHECK;

/**
 * Close the connections that this device opened with its certificate: now, and at the turn's end
 * those at a request. Any time, also from inside a handler.
 */
void gw_http_close_device(struct gw_http *h, const char *device);

/* ---- the request ---- */

enum gw_http_method gw_http_method(const struct gw_http_request *r);
const char *gw_http_path(const struct gw_http_request *r);
/** The i-th `{}` (or the rest behind `*`), decoded; "" when there is none. */
const char *gw_http_segment(const struct gw_http_request *r, unsigned i);
unsigned gw_http_route_flags(const struct gw_http_request *r);
const char *gw_http_header(const struct gw_http_request *r, const char *name); /**< NULL: absent */
/** A list that may come in several lines (RFC 9110 §5.3), joined by commas; a line too many is left
 * out. */
void gw_http_header_list(const struct gw_http_request *r, const char *name, char *out, size_t size);
/** Decoded, valid as long as the request; NULL: absent or badly escaped. */
const char *gw_http_query(struct gw_http_request *r, const char *name);
const char *gw_http_cookie(const struct gw_http_request *r, const char *name); /**< NULL: absent */
struct gw_slice gw_http_body(const struct gw_http_request *r);
/** The body as a JSON object; on failure NULL and 400 has been answered. An empty body is {}. */
json_t *gw_http_json(struct gw_http_request *r);
const struct gw_identity *gw_http_identity(const struct gw_http_request *r);
const struct gw_addr *gw_http_peer(const struct gw_http_request *r);
/** The user name and password of Authorization: Basic; false when absent. Freed by the caller. */
bool gw_http_basic(const struct gw_http_request *r, char **out_user, char **out_password);
/** Called when the client leaves before the answer, or ends an event stream. */
void gw_http_on_gone(struct gw_http_request *r,
                     void (*gone)(void *owner, struct gw_http_request *r), void *owner);

/* ---- the answer, exactly one each ---- */

/** Before the answer. */
void gw_http_set_header(struct gw_http_request *r, const char *name, const char *value);
/** A copy of `body`; `type` NULL with an empty body. */
void gw_http_reply(struct gw_http_request *r, unsigned status, const char *type,
                   struct gw_slice body);
/** `body` is static: never copied. */
void gw_http_reply_static(struct gw_http_request *r, unsigned status, const char *type,
                          struct gw_slice body);
/** Steals `body`. */
void gw_http_reply_json(struct gw_http_request *r, unsigned status, json_t *body);
/** application/problem+json with "status", "title" and "detail" (one sentence: what and why). */
void gw_http_problem(struct gw_http_request *r, unsigned status, const char *detail_fmt, ...)
    GW_PRINTF(3, 4);

/**
 * The connection after an upgrade: the caller's, attached to nobody. `early` is what the client
 * sent behind its request, borrowed for the call.
 */
typedef void gw_http_upgraded(void *owner, struct gw_stream *stream, struct gw_slice early);
/** Is it a GET of HTTP/1.1? In another an Upgrade has no meaning (RFC 9110 §7.8). */
bool gw_http_may_upgrade(const struct gw_http_request *r);
/** Answer 101 with `protocol` as Upgrade (RFC 9110 §7.8); then `fn`, unless the client leaves. */
void gw_http_upgrade(struct gw_http_request *r, const char *protocol, gw_http_upgraded *fn,
                     void *owner);

/** Start text/event-stream; then gw_http_event for each, until `gone` or gw_http_end. */
void gw_http_stream(struct gw_http_request *r);
/** GW_EFULL when the client does not read: end the stream. `id` 0: none. `event` NULL: "message".
 */
int gw_http_event(struct gw_http_request *r, uint64_t id, const char *event, struct gw_slice data);
/** A comment line that keeps middle boxes awake. */
int gw_http_keepalive(struct gw_http_request *r);
void gw_http_end(struct gw_http_request *r);
