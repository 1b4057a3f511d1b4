/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Listeners, outgoing connections and the stream: what a protocol sees of a connection. TCP, a Unix
 * socket and (in room `tls`) TLS are layers of one gw_stream. Bytes that are written are buffered
 * and leave in one send at the turn's end. Loop thread only.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/bytes.h"
#include "loop/loop.h"

#define GW_ADDR_TEXT 128 /**< "[fe80::1%eth0]:8883" and Unix paths */

/** A peer's or a listener's address. */
struct gw_addr {
    struct sockaddr_storage sa;
    socklen_t len;
};

/** "192.0.2.1:8883", "[2001:db8::1]:8883", "/run/cordon/admin.sock", "unix" without a name. */
char *gw_addr_text(const struct gw_addr *a, char out[GW_ADDR_TEXT]);
/** An IPv4-mapped IPv6 address becomes IPv4; peers' addresses are given in this form. */
void gw_addr_unmap(struct gw_addr *a);

/* ---- stream ---- */

enum gw_stream_event {
    GW_STREAM_READY, /**< connected, handshake done, peer identity known */
    GW_STREAM_DATA,  /**< input is waiting in gw_stream_input() */
    /** The queue went out: to nothing left, or from over half of output_max to under a quarter. */
    GW_STREAM_DRAINED,
    GW_STREAM_CLOSED, /**< always the last event; gw_stream_error() says why */
};

struct gw_stream;
typedef void gw_stream_fn(void *owner, enum gw_stream_event ev);

/** Who is at the other end, as far as the transport proved it. */
struct gw_identity {
    char device[65];        /**< CN of a certificate of our own CA; "" : none proved */
    bool manufacturer;      /**< the chain ended at a manufacturer's CA, not ours */
    bool expired;           /**< its certificate has ended, and was let through for renewal */
    uint8_t thumbprint[32]; /**< SHA-256 of the certificate's DER (x5t#S256) */
    struct gw_slice der;    /**< the leaf, borrowed from the stream; empty: none */
    struct ucred ucred;     /**< Unix sockets: SO_PEERCRED; pid 0 otherwise */
};

/** What a layer implements; protocols use the gw_stream_… functions below. */
struct gw_stream_ops {
    void (*attached)(struct gw_stream *s);
    struct gw_slice (*input)(struct gw_stream *s);
    void (*consume)(struct gw_stream *s, size_t len);
    int (*write)(struct gw_stream *s, struct gw_slice bytes);
    void (*flush)(struct gw_stream *s);
    size_t (*pending)(const struct gw_stream *s);
    void (*pause)(struct gw_stream *s, bool paused);
    void (*close)(struct gw_stream *s, int err);
    const struct gw_identity *(*identity)(const struct gw_stream *s);
    const struct gw_addr *(*peer)(const struct gw_stream *s);
    const char *(*alpn)(const struct gw_stream *s);
    const char *(*detail)(const struct gw_stream *s);
    void (*free)(struct gw_stream *s);
};

/** The head of every layer's own struct. */
struct gw_stream {
    const struct gw_stream_ops *ops;
    gw_stream_fn *fn;
    void *owner;
    int error;
    bool *gone; /**< set by gw_stream_free while the owner is told something */
};

/**
 * Say who hears of this stream's events. Until then nothing is delivered and nothing is read. May
 * be called again, from a callback too: what is unread then goes to the new owner.
 */
void gw_stream_attach(struct gw_stream *s, gw_stream_fn *fn, void *owner);

/** Plaintext that waits, borrowed until the callback returns or gw_stream_consume. Any time. */
struct gw_slice gw_stream_input(struct gw_stream *s);
/** `len` bytes of gw_stream_input are done with. What is left comes again with the next DATA. */
void gw_stream_consume(struct gw_stream *s, size_t len);

/**
 * Queue a copy; it leaves at the turn's end. GW_EFULL over the stream's output limit (nothing is
 * queued then), GW_ECLOSED after the end.
 */
int gw_stream_write(struct gw_stream *s, struct gw_slice bytes) GW_MUST_CHECK;
/**
 * Send now what is queued, without waiting for the turn's end: for a layer that gathers by itself.
 * The last thing to do with a stream in a function: events may come, and end it. After
 * gw_stream_close none come, and the end goes out with what was queued.
 */
void gw_stream_flush(struct gw_stream *s);
/** Bytes queued and not yet given to the kernel. */
size_t gw_stream_pending(const struct gw_stream *s);
/** Stop or resume reading: back-pressure. What waits comes again with a DATA after resuming. */
void gw_stream_pause(struct gw_stream *s, bool paused);

/**
 * End the stream: what is queued is sent (for at most a few seconds), then it is closed. `err` 0:
 * in order; otherwise the reason that gw_stream_error gives. CLOSED is delivered later, from the
 * loop, exactly once; no other event comes after this call.
 */
void gw_stream_close(struct gw_stream *s, int err);

/** Why it ended: 0 the peer closed in order, -errno, or a project code. After CLOSED. */
int gw_stream_error(const struct gw_stream *s);
/** The transport's own words for the failure ("" when there are none), such as TLS's alert. */
const char *gw_stream_detail(const struct gw_stream *s);
const struct gw_identity *gw_stream_identity(const struct gw_stream *s);
const struct gw_addr *gw_stream_peer(const struct gw_stream *s);
/** The negotiated ALPN protocol, or "". */
const char *gw_stream_alpn(const struct gw_stream *s);

/** Free it, at the latest inside or after CLOSED; also ends a live one at once, without events. */
void gw_stream_free(struct gw_stream **s);

/* ---- TCP and Unix streams ---- */

struct gw_stream_limits {
    size_t output_max; /**< bytes queued to a peer that does not read */
    size_t input_max;  /**< bytes received and left unconsumed, then GW_ETOOBIG; 0: 1 MiB */
    uint32_t idle_ms;  /**< nothing received for so long: GW_EIDLE; 0: never */
};

/**
 * A stream over a connected, non-blocking socket, which it owns from now on (also on failure).
 * READY follows from the loop.
 */
int gw_tcp_stream_new(struct gw_loop *loop, int fd, const struct gw_stream_limits *limits,
                      struct gw_stream **out) GW_MUST_CHECK;

/** Start to connect; READY or CLOSED follows. Names are not resolved here. */
int gw_tcp_connect(struct gw_loop *loop, const struct gw_addr *to, uint32_t timeout_ms,
                   const struct gw_stream_limits *limits, struct gw_stream **out) GW_MUST_CHECK;

/* ---- listeners ---- */

struct gw_listener;
/** A new connection: `fd` is the callee's, non-blocking, close-on-exec. */
typedef void gw_accept_fn(void *owner, int fd, const struct gw_addr *peer);

/** Bind and listen before privileges are dropped; dual-stack for [::]. -errno. The fd is returned.
 */
int gw_listen_tcp(const struct gw_addr *at) GW_MUST_CHECK;
/** A Unix socket at `path` (replaced if stale), mode 0660, owned by group `gid` (-1: unchanged). */
int gw_listen_unix(const char *path, gid_t gid) GW_MUST_CHECK;

/**
 * Accept on `fd` (owned by the listener). At most `per_turn` are taken in one turn, so that a storm
 * stalls nobody; while out of descriptors the backlog holds them.
 */
int gw_listener_new(struct gw_loop *loop, int fd, unsigned per_turn, gw_accept_fn *fn, void *owner,
                    struct gw_listener **out) GW_MUST_CHECK;
void gw_listener_free(struct gw_listener **l);

/* ---- names ---- */

struct gw_resolve;
/** `count` 0: not found. Called once from the loop. */
typedef void gw_resolve_fn(void *owner, const struct gw_addr *addrs, size_t count);
/**
 * Look up `host` (or take a literal address) off the loop's thread; at most 8 addresses. `*out` has
 * to live until the callback, before which it becomes NULL.
 */
int gw_resolve_start(struct gw_loop *loop, const char *host, uint16_t port, gw_resolve_fn *fn,
                     void *owner, struct gw_resolve **out) GW_MUST_CHECK;
/** Forget it; the callback is not called any more. */
void gw_resolve_cancel(struct gw_resolve **r);
