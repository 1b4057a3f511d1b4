/* SPDX-License-Identifier: GPL-2.0-only */
/** @file Inside room http: a connection is a stream pumped through a socket pair into MHD. */
#pragma once

#include <microhttpd.h>

#include "base/list.h"
#include "http/http.h"

#define SEGMENTS_MAX 4
#define HEADERS_MAX 16          /* set by a handler for one answer */
#define TEXTS_MAX 32            /* decoded query values of one request */
#define EVENTS_MAX (256u << 10) /* bytes queued to one event stream */
#define OUTPUT_HIGH (32u << 10) /* with so much queued to a stream, MHD's output waits */
#define REQUEST_MS 60000        /* from a request's first byte to its last */

struct gw_http {
    struct gw_loop *loop;
    struct gw_http_config cfg;
    struct {
        const struct gw_http_route *routes;
        void *owner;
    } tables[GW_HTTP_TABLES];
    unsigned table_count;
    struct MHD_Daemon *mhd;
    struct gw_io io;       /* MHD's epoll */
    struct gw_timer timer; /* MHD's next timeout */
    struct gw_task run;
    struct gw_task shut; /* ends connections that are shut out and were at a request */
    struct gw_list conns;
    size_t count;
    bool stopping;
};

struct conn {
    struct gw_list node;
    struct gw_http *http;
    struct gw_stream *stream; /* NULL: the client is gone */
    int fd;                   /* our end of the pair; MHD has the other */
    struct gw_io io;
    bool input_dead;  /* MHD reads no more: what the client still sends is dropped */
    bool output_held; /* the stream is full: MHD's output waits in the pair */
    bool input_held;  /* the pair is full: the stream is paused */
    bool in_mhd;      /* MHD knows this connection */
    bool shut_out;    /* its device was cut off: it ends at the next turn */
    struct gw_timer deadline;
    struct gw_identity identity;
    uint8_t *der; /* what identity.der points to */
    struct gw_addr peer;
    struct gw_http_request *req; /* the one request MHD is at */
};

enum request_state {
    REQUEST_GATHER,   /* headers are here, the body is coming */
    REQUEST_HANDLING, /* the handler has it */
    REQUEST_ANSWERED, /* `response` waits to be queued */
    REQUEST_QUEUED,   /* MHD sends it */
};

struct gw_http_request {
    struct conn *conn;
    struct MHD_Connection *mhd;
    enum request_state state;
    enum gw_http_method method;
    char *path;
    const struct gw_http_route *route;
    char *segments[SEGMENTS_MAX];
    struct gw_buf body;
    size_t discarded; /* body bytes over the limit */
    char *texts[TEXTS_MAX];
    unsigned text_count;
    struct {
        char *name, *value;
    } headers[HEADERS_MAX];
    unsigned header_count;
    unsigned status;
    struct MHD_Response *response;
    struct gw_buf events; /* of an event stream, not yet taken by MHD */
    bool streaming;
    bool ended;     /* the event stream's last byte is queued */
    bool suspended; /* in MHD */
    void (*gone)(void *owner, struct gw_http_request *r);
    void *gone_owner;
    bool may_upgrade;
    gw_http_upgraded *upgraded;
    void *upgraded_owner;
};

/* ---- route.c: pure ---- */

/** Percent-decoding into `out` (at least in.len + 1 bytes); false for a bad escape or a NUL. */
bool http_unescape(struct gw_slice in, char *out);

/**
 * Match `path` (as sent) against `pattern`. The i-th `{}` or the rest behind `*` is decoded into
 * segments[i], which the caller frees. 1 a match, 0 none, GW_EMALFORMED, -ENOMEM.
 */
int http_match(const char *pattern, const char *path, char *segments[SEGMENTS_MAX]) GW_MUST_CHECK;

/** Find the row for method and path. GW_ENOTFOUND; GW_EUNSUPPORTED with the methods that exist. */
int http_route(const struct gw_http_route *routes, unsigned method, const char *path,
               const struct gw_http_route **out, char *segments[SEGMENTS_MAX],
               unsigned *out_allowed) GW_MUST_CHECK;

void http_segments_free(char *segments[SEGMENTS_MAX]);

/** "GET, HEAD, POST" for a set of methods. */
void http_allow_text(unsigned methods, char out[40]);

/* ---- http.c ---- */

/** Run MHD at the turn's end. */
void http_wake(struct gw_http *h);
/** The client is gone, or has to go: MHD meets the closed pair and says when it is done. */
void conn_drop(struct conn *c);
/** What MHD wrote goes to the stream, as long as the stream is not full. */
void conn_pump_output(struct conn *c);
/** The stream leaves HTTP; the rest ends as if the client had left. */
struct gw_stream *conn_take_stream(struct conn *c);

/* ---- request.c ---- */

struct gw_http_request *request_new(struct conn *c, struct MHD_Connection *mhd);
void request_free(struct gw_http_request **r);

/* ---- reply.c ---- */

/** The one way to an answer; `response` NULL (memory is out) makes it an empty 500. */
void request_answer(struct gw_http_request *r, unsigned status, const char *type,
                    struct MHD_Response *response);

/** Give the stored answer to MHD. */
enum MHD_Result request_queue(struct gw_http_request *r);
/** MHD lets this one rest until the answer, or the next event. From MHD's callbacks only. */
void request_suspend(struct gw_http_request *r);
/** The client is gone: tell the owner, if it waits, and let MHD finish. */
void request_drop(struct gw_http_request *r);
/** Tell the owner once, if somebody still has to hear. */
void request_gone(struct gw_http_request *r);
