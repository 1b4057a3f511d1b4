/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enroll/enroll_priv.h"
#include "tls/tls.h"

/*
 * The whole device port in one process, over real TLS on loopback. The devices are curl and openssl
 * alone, as INTERFACE promises; the loop turns while they run.
 */
struct world {
    char dir[64];
    struct gw_loop *loop;
    struct gw_config *config;
    struct gw_store *store;
    struct gw_devices *devices;
    struct gw_journal *journal;
    struct gw_pki *pki;
    struct gw_enroll *enroll;
    struct gw_http *http;
    struct gw_tls_server *tls;
    struct gw_listener *listener;
    struct gw_key *maker_key; /* of a manufacturer's CA */
    struct gw_buf maker_pem;
    unsigned port;
    char out[16384]; /* what the last command printed */
};

static struct world w;

static void on_stream(void *owner, enum gw_stream_event ev)
{
    struct gw_stream **stream = owner;

    if (ev == GW_STREAM_READY) {
        struct gw_stream *s = *stream;

        free(stream);
        (void)!gw_http_serve(w.http, s);
    } else if (ev == GW_STREAM_CLOSED) {
        gw_stream_free(stream);
        free(stream);
    }
}

static void on_accept(void *owner, int fd, const struct gw_addr *peer)
{
    struct gw_stream_limits limits = {.output_max = 256u << 10};
    struct gw_stream **stream = calloc(1, sizeof(struct gw_stream *));

    (void)owner;
    (void)peer;
    cr_assert_eq(gw_tls_accept(w.loop, w.tls, fd, &limits, stream), 0);
    gw_stream_attach(*stream, on_stream, stream);
}

static void make_maker(void)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf der = {.max = 8192};
    struct gw_cert_request req = {.use = GW_CERT_CA,
                                  .common_name = "Maker",
                                  .not_before_s = 1700000000,
                                  .not_after_s = 4000000000};

    w.maker_pem.max = 8192;
    cr_assert_eq(gw_key_generate(&w.maker_key), 0);
    cr_assert_eq(gw_cert_issue(&req, w.maker_key, GW_SLICE_NONE, w.maker_key, &der), 0);
    cr_assert_eq(gw_pem_from_der("CERTIFICATE", gw_buf_slice(&der), &w.maker_pem), 0);
}

static int admit(void *owner, const struct gw_identity *id)
{
    (void)owner;
    return *id->device ? gw_enroll_admits(w.enroll, id) : 0;
}

static void listen_tls(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    struct gw_addr addr = {.len = sizeof(at)};
    struct gw_tls_server_config tls = {
        .chain_pem = gw_pki_chain_pem(w.pki),
        .key = gw_pki_key(w.pki),
        .device_ca_pem = gw_pki_ca_pem(w.pki),
        .manufacturer_cas_pem = gw_buf_slice(&w.maker_pem),
        .auth = GW_TLS_AUTH_OPTIONAL,
        .alpn = {"http/1.1"},
        .handshake_ms = 5000,
        .grace_days = 365,
        .admit = admit,
    };
    int fd;

    memcpy(&addr.sa, &at, sizeof(at));
    fd = gw_listen_tcp(&addr);
    cr_assert_geq(fd, 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    w.port = ntohs(at.sin_port);
    cr_assert_eq(gw_tls_server_new(&tls, &w.tls), 0);
    cr_assert_eq(gw_listener_new(w.loop, fd, 16, on_accept, NULL, &w.listener), 0);
}

static void open_rooms(void)
{
    const struct gw_http_config http = {.body_max = 16384, .idle_s = 30, .connections = 16};

    cr_assert_eq(gw_loop_new(&w.loop), 0);
    cr_assert_eq(gw_store_open(w.loop, w.dir, &w.store), 0);
    cr_assert_eq(gw_devices_open(w.loop, w.store, 1000, &w.devices), 0);
    cr_assert_eq(gw_journal_open(w.loop, w.store, 1000, &w.journal), 0);
    cr_assert_eq(gw_pki_open(w.dir, &w.pki), 0);
    cr_assert_eq(gw_enroll_new(w.loop, w.config, w.pki, w.devices, w.journal, w.store, &w.enroll),
                 0);
    cr_assert_eq(gw_http_new(w.loop, &http, &w.http), 0);
    cr_assert_eq(gw_enroll_mount(w.enroll, w.http), 0);
    listen_tls();
}

static void close_rooms(void)
{
    gw_listener_free(&w.listener);
    gw_http_free(&w.http);
    gw_enroll_free(&w.enroll);
    gw_tls_server_free(&w.tls);
    gw_pki_close(&w.pki);
    gw_devices_close(&w.devices);
    gw_journal_close(&w.journal);
    gw_store_close(&w.store);
    gw_loop_free(&w.loop);
}

static void write_file(const char *name, struct gw_slice text)
{
    char path[128];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", w.dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text.ptr, text.len), (ssize_t)text.len);
    close(fd);
}

static void setup(void)
{
    (void)snprintf(w.dir, sizeof(w.dir), "/tmp/cordon-est-XXXXXX");
    cr_assert_not_null(mkdtemp(w.dir));
    cr_assert_eq(gw_crypto_init(), 0);
    cr_assert_eq(gw_config_defaults(&w.config), 0);
    make_maker();
    open_rooms();
    write_file("ca.pem", gw_pki_ca_pem(w.pki));
    write_file("maker.pem", gw_buf_slice(&w.maker_pem));
}

static void teardown(void)
{
    char command[128];

    close_rooms();
    gw_config_free(&w.config);
    gw_key_free(&w.maker_key);
    gw_buf_fini(&w.maker_pem);
    gw_crypto_fini();
    (void)snprintf(command, sizeof(command), "rm -rf %s", w.dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(est, .init = setup, .fini = teardown, .timeout = 120);

/* Run a shell command in the directory while the loop turns; its output is in w.out. */
static int run(const char *command)
{
    char script[4096];
    size_t len = 0;
    int fds[2], status;
    pid_t pid;

    (void)snprintf(script, sizeof(script),
                   "cd %s; EST=https://127.0.0.1:%u/.well-known/est\n"
                   "est() { curl -sS --max-time 20 --cacert ca.pem -o answer -w '%%{http_code}' "
                   "\"$@\"; }\n"
                   "csr() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
                   "-keyout $1.key -subj /CN=$1 -outform DER 2>/dev/null | openssl base64 "
                   ">$1.csr; }\n"
                   "enroll() { id=$1; shift; est -H 'Content-Type: application/pkcs10' "
                   "--data-binary @$id.csr \"$@\" $EST/simpleenroll; }\n"
                   "cert() { openssl base64 -d -in answer | openssl pkcs7 -inform DER "
                   "-print_certs >$1.pem; }\n%s",
                   w.dir, w.port, command);
    cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], 1);
        dup2(fds[1], 2);
        execl("/bin/sh", "sh", "-c", script, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    for (;;) {
        ssize_t n = read(fds[0], w.out + len, sizeof(w.out) - 1 - len);

        if (n == 0)
            break;
        if (n > 0)
            len += (size_t)n;
        cr_assert_eq(gw_loop_turn(w.loop, 10), 0);
    }
    w.out[len] = '\0';
    close(fds[0]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define GIVES(command, want)                                                                       \
    do {                                                                                           \
        (void)run(command);                                                                        \
        cr_expect(strstr(w.out, want), "%s\nwanted %s, got: %s", command, want, w.out);            \
    } while (0)

static void pair(uint32_t seconds, const char *file)
{
    int64_t until;
    char code[32];

    cr_assert_eq(gw_enroll_pair(w.enroll, seconds, code, &until), 0);
    write_file(file, gw_slice_str(code));
}

Test(est, serves_its_ca_to_curl_and_openssl)
{
    GIVES("est $EST/cacerts && cert got && openssl x509 -in got.pem -noout -subject", "Cordon CA");
    GIVES("cmp got.pem ca.pem >/dev/null; openssl verify -CAfile ca.pem got.pem", "OK");
    GIVES("est $EST/csrattrs && openssl base64 -d -in answer | openssl asn1parse -inform DER",
          "prime256v1");
    GIVES("curl -sS --cacert ca.pem -D - -o /dev/null $EST/cacerts",
          "Content-Transfer-Encoding: base64");
    GIVES("curl -sS --cacert ca.pem -D - -o /dev/null $EST/cacerts", "application/pkcs7-mime");
    GIVES("est $EST/nothing", "404");
    GIVES("est -X POST $EST/cacerts", "405");
}

Test(est, enrols_by_pairing_code)
{
    const struct gw_device *d;

    pair(60, "code");
    GIVES("csr cam-1; enroll cam-1 -u any:$(cat code)", "200");
    GIVES("cert cam-1; openssl verify -CAfile ca.pem -purpose sslclient cam-1.pem", "OK");
    GIVES("openssl x509 -in cam-1.pem -noout -subject -ext extendedKeyUsage", "CN = cam-1");
    d = gw_devices_get(w.devices, "cam-1");
    cr_assert_not_null(d);
    cr_expect_eq(d->state, GW_DEVICE_APPROVED);
    cr_expect_str_empty(d->class);
    GIVES("csr cam-2; enroll cam-2 -u x:$(tr A-Z a-z <code | tr -d -)", "200");
    GIVES("enroll cam-1", "200"); /* the same key again: the first answer may have been lost */
    GIVES("cp cam-1.csr was; csr cam-1; enroll cam-1 -u any:$(cat code)", "409");
}

static unsigned wrong_codes;

static void on_wrong_code(void *owner, const struct gw_hwaddr *from)
{
    char text[GW_HWADDR_TEXT];

    cr_expect_eq(owner, &wrong_codes);
    cr_expect_str_eq(gw_hwaddr_text(from, text), "127.0.0.1");
    wrong_codes++;
}

Test(est, tells_of_wrong_codes)
{
    gw_enroll_watch(w.enroll, on_wrong_code, &wrong_codes);
    GIVES("csr cam-1; enroll cam-1 -u any:AAAA-AAAA", "401");
    cr_expect_eq(wrong_codes, 0, "no window: whatever was shown may have been right once");
    pair(60, "code");
    GIVES("for i in 1 2 3 4 5 6 7; do enroll cam-1 -u any:AAAA-AAAA; done",
          "401401401401401429429");
    cr_expect_eq(wrong_codes, 7);
    GIVES("csr cam-2; enroll cam-2", "202");
    cr_expect_eq(wrong_codes, 7, "no code is no wrong code");
}

Test(est, refuses_wrong_codes_and_closes_the_window)
{
    GIVES("csr cam-1; enroll cam-1 -u any:AAAA-AAAA", "401");
    pair(60, "code");
    GIVES("enroll cam-1 -u any:AAAA-AAAA -D head; grep -i www-auth head", "Basic");
    GIVES("for i in 1 2 3 4; do enroll cam-1 -u any:AAAA-AAAA; done", "401401401401");
    GIVES("enroll cam-1 -u any:$(cat code)", "429");
    cr_expect_null(gw_devices_get(w.devices, "cam-1"));
    pair(1, "code");
    GIVES("sleep 1.2; enroll cam-1 -u any:$(cat code)", "401");
    cr_expect_eq(gw_enroll_pair_until(w.enroll), 0);
}

Test(est, lets_an_admin_decide_without_a_code)
{
    GIVES("csr cam-1; enroll cam-1 -D head; grep -i retry-after head", "202");
    cr_assert_not_null(strstr(w.out, "Retry-After: 30"));
    cr_expect_eq(gw_devices_get(w.devices, "cam-1")->state, GW_DEVICE_PENDING);
    GIVES("enroll cam-1", "202");
    GIVES("csr cam-2; enroll cam-2", "429"); /* one request for each address */
    cr_expect_null(gw_devices_get(w.devices, "cam-2"));
    GIVES("cp cam-1.csr mine; csr cam-1; enroll cam-1", "409");
    cr_assert_eq(gw_devices_approve(w.devices, "cam-1", "Porch", "camera"), 0);
    GIVES("enroll cam-1", "409"); /* approved was the other key */
    GIVES("cp mine cam-1.csr; enroll cam-1", "200");
    cr_expect_str_eq(gw_devices_get(w.devices, "cam-1")->class, "camera");
    GIVES("enroll cam-2", "202"); /* the place is free again */
}

Test(est, remembers_who_waits_over_a_restart)
{
    GIVES("csr cam-1; enroll cam-1", "202");
    gw_store_flush(w.store);
    close_rooms();
    open_rooms();
    GIVES("cp cam-1.csr mine; csr cam-1; enroll cam-1", "409");
    cr_assert_eq(gw_devices_approve(w.devices, "cam-1", NULL, NULL), 0);
    GIVES("cp mine cam-1.csr; enroll cam-1", "200");
}

Test(est, gives_a_code_precedence_over_a_squatter)
{
    GIVES("csr cam-1; enroll cam-1", "202");
    pair(60, "code");
    GIVES("csr cam-1; enroll cam-1 -u x:$(cat code)", "200");
}

Test(est, believes_a_manufacturer)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf der = {.max = 8192}, pem = {.max = 8192};
    GW_CLEANUP(gw_buf_fini) struct gw_buf ca = {.max = 8192}, key_pem = {.max = 8192};
    GW_CLEANUP(gw_key_free) struct gw_key *key = NULL;
    struct gw_cert_request req = {.use = GW_CERT_DEVICE,
                                  .common_name = "serial-77",
                                  .not_before_s = 1700000000,
                                  .not_after_s = 4000000000};
    struct gw_slice rest;

    cr_assert_eq(gw_key_generate(&key), 0);
    cr_assert_eq(gw_der_from_pem("CERTIFICATE", gw_buf_slice(&w.maker_pem), &ca, &rest), 0);
    cr_assert_eq(gw_cert_issue(&req, key, gw_buf_slice(&ca), w.maker_key, &der), 0);
    cr_assert_eq(gw_pem_from_der("CERTIFICATE", gw_buf_slice(&der), &pem), 0);
    cr_assert_eq(gw_key_private_pem(key, &key_pem), 0);
    write_file("made.pem", gw_buf_slice(&pem));
    write_file("made.key", gw_buf_slice(&key_pem));
    GIVES("csr lamp-1; enroll lamp-1 --cert made.pem --key made.key", "200");
    cr_expect_eq(gw_devices_get(w.devices, "lamp-1")->state, GW_DEVICE_APPROVED);
}

Test(est, renews_by_the_certificate_itself)
{
    pair(60, "code");
    GIVES("csr cam-1; enroll cam-1 -u x:$(cat code); cert cam-1; cp cam-1.key old.key; "
          "cp cam-1.pem old.pem",
          "200");
    GIVES("csr cam-1; est -H 'Content-Type: application/pkcs10' --data-binary @cam-1.csr "
          "--cert old.pem --key old.key $EST/simplereenroll",
          "200");
    GIVES("cert cam-1; openssl verify -CAfile ca.pem cam-1.pem", "OK");
    GIVES("est -H 'Content-Type: application/pkcs10' --data-binary @cam-1.csr $EST/simplereenroll",
          "403");
    GIVES("csr cam-2; est -H 'Content-Type: application/pkcs10' --data-binary @cam-2.csr "
          "--cert old.pem --key old.key $EST/simplereenroll",
          "403");
    GIVES("est --cert old.pem --key old.key $EST/cacerts", "200"); /* until the new one is in use */
    cr_assert_eq(gw_devices_revoke(w.devices, "cam-1"), 0);
    GIVES("csr cam-1; est -H 'Content-Type: application/pkcs10' --data-binary @cam-1.csr "
          "--cert old.pem --key old.key $EST/simplereenroll",
          "000");
    pair(60, "code");
    GIVES("enroll cam-1 -u x:$(cat code)", "403");
}

Test(est, does_not_renew_what_was_revoked_and_then_forgotten)
{
    pair(60, "code");
    GIVES("csr cam-1; enroll cam-1 -u x:$(cat code); cert cam-1; cp cam-1.key old.key; "
          "cp cam-1.pem old.pem",
          "200");
    cr_assert_eq(gw_devices_revoke(w.devices, "cam-1"), 0);
    cr_assert_eq(gw_devices_forget(w.devices, "cam-1"), 0);
    GIVES("csr cam-1; est -H 'Content-Type: application/pkcs10' --data-binary @cam-1.csr "
          "--cert old.pem --key old.key $EST/simplereenroll",
          "000");                                  /* not even a handshake */
    GIVES("enroll cam-1 -u x:$(cat code)", "200"); /* the installer's word counts again */
    GIVES("est --cert old.pem --key old.key $EST/cacerts", "000"); /* the old key's does not */
    GIVES("cert cam-1; est --cert cam-1.pem --key cam-1.key $EST/cacerts", "200");
}

Test(est, frees_the_id_of_a_forgotten_device)
{
    pair(60, "code");
    GIVES("csr cam-1; enroll cam-1 -u x:$(cat code)", "200");
    cr_assert_eq(gw_devices_forget(w.devices, "cam-1"), 0);
    GIVES("csr cam-1; enroll cam-1 -u x:$(cat code)", "200");
}

Test(est, refuses_requests_that_are_none)
{
    static const struct {
        const char *name, *command, *want;
    } cases[] = {
        {"another type", "est --data-binary @ca.pem $EST/simpleenroll", "415"},
        {"no base64",
         "est -H 'Content-Type: application/pkcs10' --data-binary '***' $EST/simpleenroll", "400"},
        {"no request",
         "est -H 'Content-Type: application/pkcs10' --data-binary aGVsbG8= $EST/simpleenroll",
         "400"},
        {"nothing", "est -H 'Content-Type: application/pkcs10' -X POST $EST/simpleenroll", "400"},
        {"too long",
         "head -c 20000 /dev/zero >z; est -H 'Content-Type: application/pkcs10' --data-binary @z "
         "$EST/simpleenroll",
         "413"},
        {"a gateway's id", "csr gw-0011223344556677; enroll gw-0011223344556677", "400"},
        {"an address's id", "csr mac-020000000001; enroll mac-020000000001", "400"},
        {"an id with a slash",
         "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -subj "
         "'/CN=a\\/b' -outform DER 2>/dev/null | openssl base64 >s.csr; enroll s",
         "400"},
        {"an RSA key",
         "openssl req -new -newkey rsa:2048 -nodes -keyout k -subj /CN=r -outform DER 2>/dev/null "
         "| openssl base64 >r.csr; enroll r",
         "400"},
        {"a changed request",
         "csr x; openssl base64 -d -in x.csr | sed 's/\\x01x0/\\x01y0/' >y.der; openssl base64 -in "
         "y.der >y.csr; cmp -s x.csr y.csr || enroll y; openssl base64 -d -in x.csr >x.der; "
         "printf '\\377' | dd of=x.der bs=1 seek=$(($(stat -c %s x.der) - 1)) conv=notrunc "
         "2>/dev/null; openssl base64 -in x.der >x.csr; enroll x",
         "400"},
    };

    pair(60, "code");
    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        (void)run(cases[i].command);
        cr_expect(strstr(w.out, cases[i].want), "%s: %s", cases[i].name, w.out);
    }
}
