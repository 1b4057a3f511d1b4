/* SPDX-License-Identifier: GPL-2.0-only */
/** What the tests of TLS share: keys and certificates of every kind, a server, and dialling it. */
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>

#include "net/net_test.h"
#include "tls/tls.h"

#define DAY 86400

/** A certificate as PEM with its key. */
struct cert {
    struct gw_key *key;
    struct gw_buf der, pem;
};

static struct cert ca, stranger_ca, maker_ca, server_cert, device;
static struct gw_tls_server_config server_cfg;
static struct gw_tls_server *tls_server;
static struct party client;
static char tls_dir[64];
static unsigned admitted;
static int admit_says;
static struct gw_identity admit_saw;

static inline void cert_make(struct cert *c, const struct cert *issuer, enum gw_cert_use use,
                             const char *cn, int64_t from_s, int64_t to_s)
{
    static const char *const names[] = {"gw.test", "cordon.local", NULL};
    static const struct gw_slice addresses[] = {{(const uint8_t *)"\x7f\0\0\1", 4}, {NULL, 0}};
    struct gw_cert_request req = {.use = use,
                                  .common_name = cn,
                                  .dns_names = names,
                                  .addresses = addresses,
                                  .not_before_s = time(NULL) + from_s,
                                  .not_after_s = time(NULL) + to_s};

    *c = (struct cert){.der.max = 8192, .pem.max = 16384};
    cr_assert_eq(gw_key_generate(&c->key), 0);
    cr_assert_eq(gw_cert_issue(&req, c->key, issuer ? gw_buf_slice(&issuer->der) : GW_SLICE_NONE,
                               issuer ? issuer->key : NULL, &c->der),
                 0);
    cr_assert_eq(gw_pem_from_der("CERTIFICATE", gw_buf_slice(&c->der), &c->pem), 0);
}

static inline void cert_free(struct cert *c)
{
    gw_key_free(&c->key);
    gw_buf_fini(&c->der);
    gw_buf_fini(&c->pem);
}

static inline int admit(void *owner, const struct gw_identity *id)
{
    cr_expect_eq(owner, &admitted);
    admitted++;
    admit_saw = *id;
    return admit_says;
}

static inline void on_accepted_tls(void *owner, int fd, const struct gw_addr *peer)
{
    struct gw_stream *s = NULL;

    (void)owner;
    (void)peer;
    accepted++;
    cr_assert_eq(gw_tls_accept(loop, tls_server, fd, &test_limits, &s), 0);
    party_attach(&server, s);
}

static inline void tls_setup(void)
{
    strcpy(tls_dir, "/tmp/cordon-tls-XXXXXX");
    cr_assert_not_null(mkdtemp(tls_dir));
    cr_assert_eq(gw_crypto_init(), 0);
    cr_assert_eq(gw_loop_new(&loop), 0);
    cert_make(&ca, NULL, GW_CERT_CA, "Cordon CA", -DAY, DAY);
    cert_make(&stranger_ca, NULL, GW_CERT_CA, "Cordon CA", -DAY, DAY);
    cert_make(&maker_ca, NULL, GW_CERT_CA, "Maker CA", -DAY, DAY);
    cert_make(&server_cert, &ca, GW_CERT_SERVER, "gw-0123456789abcdef", -DAY, DAY);
    cert_make(&device, &ca, GW_CERT_DEVICE, "cam-1", -DAY, DAY);
    server_cfg = (struct gw_tls_server_config){.chain_pem = gw_buf_slice(&server_cert.pem),
                                               .key = server_cert.key,
                                               .device_ca_pem = gw_buf_slice(&ca.pem),
                                               .auth = GW_TLS_AUTH_REQUIRED,
                                               .handshake_ms = 5000,
                                               .admit = admit,
                                               .owner = &admitted};
    cr_assert_eq(gw_tls_server_new(&server_cfg, &tls_server), 0);
    listen_on(loopback(0), on_accepted_tls);
}

/** The server goes on with a changed configuration. */
static inline void reconfigure(void)
{
    cr_assert_eq(gw_tls_server_reload(tls_server, &server_cfg), 0);
}

static inline void tls_teardown(void)
{
    char command[128];

    party_fini(&client);
    party_fini(&server);
    gw_listener_free(&listener);
    gw_tls_server_free(&tls_server);
    gw_tls_fini();
    gw_loop_free(&loop);
    cert_free(&ca);
    cert_free(&stranger_ca);
    cert_free(&maker_ca);
    cert_free(&server_cert);
    cert_free(&device);
    gw_crypto_fini();
    snprintf(command, sizeof(command), "rm -rf %s", tls_dir);
    cr_expect_eq(system(command), 0);
}

static inline struct gw_tls_client_config client_cfg(const struct cert *own)
{
    return (struct gw_tls_client_config){.ca_pem = gw_buf_slice(&ca.pem),
                                         .chain_pem = own ? gw_buf_slice(&own->pem) : GW_SLICE_NONE,
                                         .key = own ? own->key : NULL,
                                         .server_name = "gw.test",
                                         .handshake_ms = 5000};
}

static inline void dial_as(struct gw_tls_client_config cfg)
{
    struct gw_stream *s = NULL;

    cr_assert_eq(gw_tls_connect(loop, &listen_addr, &cfg, &test_limits, &s), 0);
    party_attach(&client, s);
}

static inline void both_ready_as(const struct cert *own)
{
    dial_as(client_cfg(own));
    UNTIL(client.ready && server.ready);
}

/** Dial, and expect the server to refuse with this error and these words. */
static inline void expect_refused(const struct cert *own, int want, const char *words)
{
    client = (struct party){0};
    server = (struct party){0};
    dial_as(client_cfg(own));
    UNTIL(server.closed && client.closed);
    cr_expect_eq(server.ready, 0);
    cr_expect_eq(server.error, want, "got %s", gw_error_name(server.error));
    cr_expect_str_eq(gw_stream_detail(server.stream), words);
    cr_expect_str_eq(gw_stream_identity(server.stream)->device, "");
    cr_expect_eq(client.error, GW_ETLS, "got %s", gw_error_name(client.error));
    cr_expect_eq(strncmp(gw_stream_detail(client.stream), "peer sent alert: ", 17), 0, "%s",
                 gw_stream_detail(client.stream));
    party_fini(&client);
    party_fini(&server);
}

static inline void write_file(const char *name, struct gw_slice s)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", tls_dir, name);
    fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    cr_assert_eq(write(fd, s.ptr, s.len), (ssize_t)s.len);
    close(fd);
}

static inline void write_cert(const char *name, const struct cert *c)
{
    struct gw_buf both = {.max = 32768};

    cr_assert_eq(gw_buf_append(&both, gw_buf_slice(&c->pem)), 0);
    cr_assert_eq(gw_key_private_pem(c->key, &both), 0);
    write_file(name, gw_buf_slice(&both));
    gw_buf_fini(&both);
}

static char said[65536];

/** Start `openssl …` in the tests' directory with these words as input, held open for `hold_s`. */
static inline pid_t start_openssl(const char *input, const char *hold_s, const char *args)
{
    char command[1024];
    pid_t pid;

    snprintf(command, sizeof(command), "cd %s && (printf '%s'; sleep %s) | openssl %s >out 2>&1",
             tls_dir, input, hold_s, args);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
    }
    return pid;
}

/** Run the loop until it is over; its output is in `said`. */
static inline void finish_openssl(pid_t pid)
{
    char path[128];
    ssize_t len;
    int fd, status;

    UNTIL(waitpid(pid, &status, WNOHANG) == pid);
    snprintf(path, sizeof(path), "%s/out", tls_dir);
    fd = open(path, O_RDONLY);
    cr_assert_geq(fd, 0);
    len = read(fd, said, sizeof(said) - 1);
    said[GW_MAX(len, 0)] = '\0';
    close(fd);
}

/** `openssl s_client` against the server, with the device's certificate and these options. */
static inline void run_s_client(const char *input, const char *options)
{
    char args[512];
    in_port_t port = ((struct sockaddr_in *)&listen_addr.sa)->sin_port;

    write_cert("device.pem", &device);
    write_file("ca.pem", gw_buf_slice(&ca.pem));
    snprintf(args, sizeof(args),
             "s_client -connect 127.0.0.1:%u -CAfile ca.pem -servername gw.test %s", ntohs(port),
             options);
    finish_openssl(start_openssl(input, "0.3", args));
}
