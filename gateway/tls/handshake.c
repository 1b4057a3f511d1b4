/* SPDX-License-Identifier: GPL-2.0-only */
/* From a socket to a proved peer, and what can be given back then. */
#include "tls/tls_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>

#define OVERHEAD (128u << 10) /* records and handshake messages around what the owner queued */
#define LEAN_MS 1000          /* from the handshake's end: short visits are not worth the trouble */

/* ---- the handshake ---- */

static bool is_zero(const uint8_t *page, size_t len)
{
    return page[0] == 0 && memcmp(page, page + 1, len - 1) == 0;
}

/*
 * wolfSSL's session object has room for two chains of nine certificates, 36 KB of zeros. Whole
 * pages of zeros inside an allocation go back to the kernel; read again, they are zeros again.
 */
static void give_back_zeros(void *object)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t at = (uintptr_t)object, end = at + malloc_usable_size(object);

    at = (at + page - 1) / page * page;
    while (at + page <= end) {
        uintptr_t from = at;

        while (at + page <= end && is_zero((const uint8_t *)at, page))
            at += page;
        if (at > from)
            (void)madvise((void *)from, at - from, MADV_DONTNEED);
        at += page; /* not zero, or the end */
    }
}

/* What only a handshake needs goes; what the peer proved was copied. */
static void settle(struct tls *t)
{
    char *name = NULL;
    unsigned short len = 0;

    if (wolfSSL_ALPN_GetProtocol(t->ssl, &name, &len) == WOLFSSL_SUCCESS && name &&
        len < sizeof(t->alpn))
        memcpy(t->alpn, name, len);
    (void)wolfSSL_UnloadCertsKeys(t->ssl);
    wolfSSL_FreeArrays(t->ssl);
    t->state = TLS_OPEN;
    gw_timer_start(t->loop, &t->timer, LEAN_MS);
}

/* The handshake took too long, or has been over for a while. */
void tls_on_timer(void *tls)
{
    struct tls *t = tls;

    if (t->state == TLS_OPEN) {
        give_back_zeros(wolfSSL_get_session(t->ssl));
        return;
    }
    (void)snprintf(t->detail, sizeof(t->detail), "the handshake took too long");
    tls_leave(t, GW_ETIMEOUT);
}

bool tls_shake_hands(struct tls *t)
{
    int done = t->verify.is_server ? wolfSSL_accept(t->ssl) : wolfSSL_connect(t->ssl);

    if (done != WOLFSSL_SUCCESS) {
        int code = wolfSSL_get_error(t->ssl, done);

        if (code != WOLFSSL_ERROR_WANT_READ)
            tls_fail(t, code);
        return false;
    }
    if (!tls_knows_peer(t)) {
        (void)snprintf(t->detail, sizeof(t->detail), "nobody knows whose session this is");
        tls_leave(t, GW_EIDENTITY);
        return false;
    }
    settle(t);
    t->proved = true;
    if (gw_buf_len(&t->out))
        gw_task_post(t->loop, &t->flush);
    tls_hold(t);
    if (t->base.fn)
        return gw_layer_emit(&t->base, GW_STREAM_READY);
    t->ready_due = true;
    return false;
}

/* ---- new streams ---- */

static struct gw_stream_limits socket_limits(const struct gw_stream_limits *limits)
{
    return (struct gw_stream_limits){
        .output_max = limits->output_max + limits->output_max / 256 + OVERHEAD,
        .idle_ms = limits->idle_ms,
    };
}

static void begin(struct tls *t, struct gw_stream **out)
{
    gw_timer_start(t->loop, &t->timer, t->context->handshake_ms);
    gw_stream_attach(t->tcp, tls_on_socket, t);
    *out = &t->base;
}

int gw_tls_accept(struct gw_loop *loop, struct gw_tls_server *server, int fd,
                  const struct gw_stream_limits *limits, struct gw_stream **out)
{
    const struct gw_stream_limits below = socket_limits(limits);
    struct gw_stream *s;
    struct tls *t;
    int err = tls_new(loop, tls_context_ref(server->now), true, limits, &t);

    if (err) {
        gw_close_fd(&fd);
        return err;
    }
    err = gw_tcp_stream_new(loop, fd, &below, &t->tcp);
    if (err) {
        s = &t->base;
        gw_stream_free(&s);
        return err;
    }
    begin(t, out);
    return 0;
}

/* An address is looked for by us, a name by wolfSSL, which also tells the server of it. */
static int expect_name(struct tls *t, const char *name)
{
    if (!name || !*name)
        return -EINVAL;
    if (inet_pton(AF_INET, name, t->address) == 1) {
        t->verify.address = GW_SLICE(t->address, 4);
        return 0;
    }
    if (inet_pton(AF_INET6, name, t->address) == 1) {
        t->verify.address = GW_SLICE(t->address, 16);
        return 0;
    }
    if (strlen(name) > UINT16_MAX ||
        wolfSSL_UseSNI(t->ssl, WOLFSSL_SNI_HOST_NAME, name, (unsigned short)strlen(name)) !=
            WOLFSSL_SUCCESS ||
        wolfSSL_check_domain_name(t->ssl, name) != WOLFSSL_SUCCESS)
        return GW_ECRYPTO;
    return 0;
}

int gw_tls_connect(struct gw_loop *loop, const struct gw_addr *to,
                   const struct gw_tls_client_config *cfg, const struct gw_stream_limits *limits,
                   struct gw_stream **out)
{
    const struct gw_stream_limits below = socket_limits(limits);
    struct tls_context *context = NULL;
    struct gw_stream *s;
    struct tls *t;
    int err = tls_context_client(cfg, &context);

    if (!err)
        err = tls_new(loop, context, false, limits, &t);
    if (err)
        return err;
    err = expect_name(t, cfg->server_name);
    if (!err && cfg->chain_pem.len)
        err = tls_use_chain(NULL, t->ssl, cfg->chain_pem, cfg->key);
    if (!err)
        err = gw_tcp_connect(loop, to, 0, &below, &t->tcp);
    if (err) {
        s = &t->base;
        gw_stream_free(&s);
        return err;
    }
    begin(t, out);
    return 0;
}
