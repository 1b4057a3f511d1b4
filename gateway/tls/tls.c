/* SPDX-License-Identifier: GPL-2.0-only */
#include "tls/tls_priv.h"

#include <errno.h>
#include <stdio.h>

#include <wolfssl/error-ssl.h>

#define PLAIN_BYTES 65536
#define INPUT_MAX (1u << 20)
#define HANDSHAKE_FAILURE GW_SLICE_LIT("\x15\x03\x03\x00\x02\x02\x28") /* alert, in plain */

/* One buffer for all connections: plaintext stays only if its owner leaves some. */
static _Thread_local uint8_t plain[PLAIN_BYTES];

static struct tls *tls_of(const struct gw_stream *s)
{
    return GW_CONTAINER((uintptr_t)s, struct tls, base);
}

/* ---- wolfSSL's view of the socket ---- */

/* A whole chunk was received already: wolfSSL takes its header and body from there. */
int tls_on_receive(WOLFSSL *ssl, char *buf, int size, void *owner)
{
    struct tls *t = owner;
    struct gw_slice in = gw_stream_input(t->tcp);
    size_t len = GW_MIN(in.len, (size_t)size);

    (void)ssl;
    if (!len)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    memcpy(buf, in.ptr, len);
    gw_stream_consume(t->tcp, len);
    return (int)len;
}

/* Never WANT_WRITE: wolfSSL loses it in the TLS 1.3 accept path. All is queued, or it is the end.
 */
int tls_on_send(WOLFSSL *ssl, char *buf, int size, void *owner)
{
    struct tls *t = owner;

    (void)ssl;
    if (t->state == TLS_HANDSHAKE && t->verify.is_server && t->verify.resumed &&
        tls_resumes_without_key_exchange(GW_SLICE(buf, (size_t)size))) {
        t->verify.peer.refusal = GW_ETLS;
        t->verify.peer.reason = "it resumes without a key exchange";
        (void)!gw_stream_write(t->tcp, HANDSHAKE_FAILURE);
        return WOLFSSL_CBIO_ERR_GENERAL;
    }
    return gw_stream_write(t->tcp, GW_SLICE(buf, (size_t)size)) ? WOLFSSL_CBIO_ERR_GENERAL : size;
}

/* ---- the end ---- */

/* Leave, with what is queued; CLOSED follows when the socket is done. */
void tls_leave(struct tls *t, int err)
{
    t->state = TLS_CLOSING;
    t->base.error = err;
    t->ready_due = t->input_due = false;
    gw_layer_forget(&t->in);
    gw_buf_fini(&t->out);
    gw_timer_stop(&t->timer);
    gw_task_cancel(&t->flush);
    gw_stream_pause(t->tcp, false);
    gw_stream_close(t->tcp, err);
}

/*
 * Some failures wolfSSL keeps to itself. Up to the last message of a TLS 1.2 handshake a server's
 * records are plain, so the peer can be told here (RFC 5246 §7.2.2).
 */
static void alert_if_none(struct tls *t)
{
    WOLFSSL_ALERT_HISTORY history;

    if (t->state != TLS_HANDSHAKE || !t->verify.is_server ||
        wolfSSL_version(t->ssl) != TLS1_2_VERSION)
        return;
    if (wolfSSL_get_alert_history(t->ssl, &history) == WOLFSSL_SUCCESS &&
        (history.last_tx.code > 0 || history.last_rx.code > 0))
        return;
    (void)!gw_stream_write(t->tcp, HANDSHAKE_FAILURE);
}

/* wolfSSL gave up; its alert, if it had one to send, is queued. */
void tls_fail(struct tls *t, int code)
{
    const struct tls_peer *p = &t->verify.peer;
    int err = GW_ETLS;

    if (p->refusal && p->reason)
        (void)snprintf(t->detail, sizeof(t->detail), "%s", p->reason);
    else
        tls_words(t->ssl, code, t->detail);
    if (p->refusal)
        err = p->refusal;
    else if (t->state == TLS_HANDSHAKE && code == NO_PEER_CERT)
        err = GW_EIDENTITY;
    alert_if_none(t);
    tls_leave(t, err);
}

static bool encrypt_gathered(struct tls *t)
{
    if (gw_buf_len(&t->out))
        t->usual = (uint16_t)GW_MIN(gw_buf_len(&t->out), (size_t)TLS_RECORD);
    while (gw_buf_len(&t->out)) {
        struct gw_slice s = gw_buf_slice(&t->out);
        int len = (int)GW_MIN(s.len, (size_t)TLS_RECORD);
        int sent = wolfSSL_write(t->ssl, s.ptr, len);

        if (sent <= 0) {
            tls_fail(t, wolfSSL_get_error(t->ssl, sent));
            return false;
        }
        gw_buf_consume(&t->out, (size_t)sent);
    }
    gw_buf_fini(&t->out);
    return true;
}

static void tls_close(struct gw_stream *s, int err)
{
    struct tls *t = tls_of(s);

    if (t->state >= TLS_CLOSING)
        return;
    if (t->state == TLS_OPEN && encrypt_gathered(t))
        (void)wolfSSL_shutdown(t->ssl); /* close_notify */
    if (t->state < TLS_CLOSING)
        tls_leave(t, err);
    t->base.error = err;
}

/* ---- output ---- */

static void on_flush(void *owner)
{
    struct tls *t = owner;

    if (t->state == TLS_CLOSING || (t->state == TLS_OPEN && encrypt_gathered(t)))
        gw_stream_flush(t->tcp);
}

static void tls_flush(struct gw_stream *s)
{
    struct tls *t = tls_of(s);

    gw_task_cancel(&t->flush);
    on_flush(t);
}

static size_t tls_pending(const struct gw_stream *s)
{
    const struct tls *t = tls_of(s);

    return gw_buf_len(&t->out) + gw_stream_pending(t->tcp);
}

static int tls_write(struct gw_stream *s, struct gw_slice bytes)
{
    struct tls *t = tls_of(s);
    size_t queued = tls_pending(s);
    int err;

    if (t->state >= TLS_CLOSING)
        return GW_ECLOSED;
    if (queued > t->output_max || bytes.len > t->output_max - queued)
        return GW_EFULL;
    if (!t->out.data) /* as much as last time at once, instead of growing to it */
        (void)!gw_buf_reserve(&t->out, GW_MAX(bytes.len, (size_t)t->usual));
    err = gw_buf_append(&t->out, bytes);
    if (!err && t->state == TLS_OPEN)
        gw_task_post(t->loop, &t->flush);
    return err;
}

/* ---- input ---- */

static struct gw_slice tls_input(struct gw_stream *s)
{
    return gw_layer_input(&tls_of(s)->in);
}

static void tls_consume(struct gw_stream *s, size_t len)
{
    gw_layer_consume(&tls_of(s)->in, len);
}

/* False when the stream is gone or takes no more. */
static bool deliver(struct tls *t, size_t len)
{
    int result = len ? gw_layer_deliver(&t->base, &t->in, GW_SLICE(plain, len)) : 1;

    if (result == 0)
        return false;
    if (result < 0)
        tls_close(&t->base, result == GW_EFULL ? GW_ETOOBIG : result);
    return !len || t->state == TLS_OPEN;
}

static void on_read_end(struct tls *t, int code)
{
    if (code == WOLFSSL_ERROR_ZERO_RETURN)
        tls_close(&t->base, 0);
    else
        tls_fail(t, code);
}

/* Nothing waits at the socket, nor inside of wolfSSL. */
static bool is_empty(struct tls *t)
{
    return !gw_stream_input(t->tcp).len && !wolfSSL_pending(t->ssl);
}

/*
 * Decrypt all that is here. wolfSSL is asked only with room for a whole record, so that no
 * plaintext ever waits inside of it, and only while somebody reads; the rest stays with the
 * socket's stream.
 */
static void pump(struct tls *t)
{
    size_t used = 0;

    while (t->state == TLS_OPEN && t->base.fn && !t->paused) {
        int got = wolfSSL_read(t->ssl, plain + used, TLS_RECORD), code;

        if (got > 0) {
            used += (size_t)got;
            if (is_empty(t)) { /* the usual end: to ask once more is not free */
                (void)deliver(t, used);
                return;
            }
            if (sizeof(plain) - used >= TLS_RECORD)
                continue;
            if (!deliver(t, used))
                return;
            used = 0;
            continue;
        }
        code = wolfSSL_get_error(t->ssl, got);
        if (!deliver(t, used) || code == WOLFSSL_ERROR_WANT_READ)
            return;
        if (t->paused)
            t->end_code = code;
        else
            on_read_end(t, code);
        return;
    }
}

/* While nobody reads, nothing is taken from the socket either; a handshake reads for itself. */
void tls_hold(struct tls *t)
{
    if (t->state == TLS_OPEN)
        gw_stream_pause(t->tcp, t->paused || !t->base.fn);
}

static void tls_pause(struct gw_stream *s, bool paused)
{
    struct tls *t = tls_of(s);

    if (t->paused == paused)
        return;
    t->paused = paused;
    if (!paused && t->state == TLS_OPEN) {
        t->input_due = true;
        gw_task_post(t->loop, &t->wake);
    }
    tls_hold(t);
}

/* ---- events ---- */

static void on_tcp_closed(struct tls *t)
{
    int err = gw_stream_error(t->tcp);

    gw_timer_stop(&t->timer);
    if (t->state == TLS_HANDSHAKE && err == 0) {
        err = GW_ETLS;
        (void)snprintf(t->detail, sizeof(t->detail), "the peer ended the connection");
    } else if (t->state == TLS_OPEN && err == 0) {
        err = -ECONNRESET; /* somebody may have cut it short (RFC 8446 §6.1) */
        (void)snprintf(t->detail, sizeof(t->detail), "ended without close_notify");
    }
    if (t->state < TLS_CLOSING)
        t->base.error = err;
    t->state = TLS_ENDED;
    gw_task_cancel(&t->flush);
    gw_task_cancel(&t->wake);
    (void)gw_layer_emit(&t->base, GW_STREAM_CLOSED);
}

void tls_on_socket(void *owner, enum gw_stream_event ev)
{
    struct tls *t = owner;

    switch (ev) {
    case GW_STREAM_READY:
    case GW_STREAM_DATA:
        if (t->state == TLS_HANDSHAKE) {
            /* Before the socket's own flush: what an owner answers leaves with our last flight. */
            gw_task_post(t->loop, &t->flush);
            if (!tls_shake_hands(t))
                return;
        }
        pump(t);
        return;
    case GW_STREAM_DRAINED:
        if (t->state == TLS_OPEN)
            (void)gw_layer_emit(&t->base, GW_STREAM_DRAINED);
        return;
    case GW_STREAM_CLOSED:
        on_tcp_closed(t);
        return;
    }
}

/* Deliver what became due outside the socket's events. */
static void on_wake(void *owner)
{
    struct tls *t = owner;

    if (!t->base.fn)
        return;
    if (t->ready_due) {
        t->ready_due = false;
        if (!gw_layer_emit(&t->base, GW_STREAM_READY))
            return;
    }
    if (t->input_due && t->state == TLS_OPEN && !t->paused) {
        t->input_due = false;
        if (gw_layer_input(&t->in).len && !gw_layer_emit(&t->base, GW_STREAM_DATA))
            return;
        if (t->end_code && t->state == TLS_OPEN && !t->paused)
            on_read_end(t, t->end_code);
    }
}

static void tls_attached(struct gw_stream *s)
{
    struct tls *t = tls_of(s);

    t->input_due = t->state == TLS_OPEN;
    if (t->ready_due || t->input_due)
        gw_task_post(t->loop, &t->wake);
    tls_hold(t);
}

/* ---- the rest of the operations ---- */

static const struct gw_identity *tls_identity(const struct gw_stream *s)
{
    static const struct gw_identity none;
    const struct tls *t = tls_of(s);

    /* Before the handshake's end a certificate was shown, not proved. */
    return t->proved && t->verify.peer.who ? &t->verify.peer.who->id : &none;
}

static const struct gw_addr *tls_peer_addr(const struct gw_stream *s)
{
    return gw_stream_peer(tls_of(s)->tcp);
}

static const char *tls_alpn(const struct gw_stream *s)
{
    return tls_of(s)->alpn;
}

static const char *tls_detail(const struct gw_stream *s)
{
    return tls_of(s)->detail;
}

static void tls_free(struct gw_stream *s)
{
    struct tls *t = tls_of(s);

    gw_timer_stop(&t->timer);
    gw_task_cancel(&t->flush);
    gw_task_cancel(&t->wake);
    gw_stream_free(&t->tcp);
    wolfSSL_free(t->ssl);
    tls_context_unref(&t->context);
    gw_layer_forget(&t->in);
    gw_buf_fini(&t->out);
    tls_who_unref(&t->verify.peer.who);
    tls_who_unref(&t->verify.resumed);
    free(t);
}

static const struct gw_stream_ops tls_ops = {
    .attached = tls_attached,
    .input = tls_input,
    .consume = tls_consume,
    .write = tls_write,
    .flush = tls_flush,
    .pending = tls_pending,
    .pause = tls_pause,
    .close = tls_close,
    .identity = tls_identity,
    .peer = tls_peer_addr,
    .alpn = tls_alpn,
    .detail = tls_detail,
    .free = tls_free,
};

/* ---- new ones ---- */

static int start_ssl(struct tls *t)
{
    t->ssl = wolfSSL_new(t->context->ctx);
    if (!t->ssl)
        return -ENOMEM;
    wolfSSL_SSLSetIORecv(t->ssl, tls_on_receive);
    wolfSSL_SSLSetIOSend(t->ssl, tls_on_send);
    wolfSSL_SetIOReadCtx(t->ssl, t);
    wolfSSL_SetIOWriteCtx(t->ssl, t);
    wolfSSL_SetCertCbCtx(t->ssl, &t->verify);
    if (*t->context->alpn &&
        wolfSSL_UseALPN(t->ssl, t->context->alpn, (unsigned)strlen(t->context->alpn),
                        WOLFSSL_ALPN_CONTINUE_ON_MISMATCH) != WOLFSSL_SUCCESS)
        return GW_ECRYPTO;
    return 0;
}

int tls_new(struct gw_loop *loop, struct tls_context *context, bool is_server,
            const struct gw_stream_limits *limits, struct tls **out)
{
    struct tls *t = calloc(1, sizeof(*t));
    struct gw_stream *s;
    int err;

    if (!t) {
        tls_context_unref(&context);
        return -ENOMEM;
    }
    s = &t->base;
    s->ops = &tls_ops;
    t->loop = loop;
    t->context = context;
    t->verify.context = context;
    t->verify.is_server = is_server;
    t->output_max = limits->output_max;
    t->out.max = SIZE_MAX;
    t->in.kept.max = limits->input_max ? limits->input_max : INPUT_MAX;
    gw_task_init(&t->flush, on_flush, t);
    gw_task_init(&t->wake, on_wake, t);
    gw_timer_init(&t->timer, tls_on_timer, t);
    err = start_ssl(t);
    if (err)
        gw_stream_free(&s);
    else
        *out = t;
    return err;
}
