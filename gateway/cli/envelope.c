/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/envelope_priv.h"
#include "cli/reader.h"
#include "envelope/envelope.h"

#define KEYS_MAX 1000 /* announcements given to one `open` */

/* ---- keygen ---- */

static const char keygen_usage[] =
    "usage: cordon envelope keygen [--out PREFIX]\n"
    "\n"
    "Makes a recipient's key: PREFIX.key, which opens, and PREFIX.pub, which goes into\n"
    "uplink.recipients. The default prefix is \"recipient\". Nothing is overwritten.\n";

static int write_new(const char *path, mode_t mode, struct gw_slice text)
{
    GW_CLEANUP(gw_close_fd)
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);

    if (fd < 0)
        return envelope_complain(path, strerror(errno));
    while (text.len) {
        ssize_t put = write(fd, text.ptr, text.len);

        if (put < 0)
            return envelope_complain(path, strerror(errno));
        text = GW_SLICE(text.ptr + put, text.len - (size_t)put);
    }
    if (fsync(fd) < 0)
        return envelope_complain(path, strerror(errno));
    (void)printf("%s\n", path);
    return 0;
}

static int write_pair(const char *prefix, const struct gw_key *key)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf private = {.max = 4096}, public = {.max = 4096};
    GW_CLEANUP(gw_free_ptr) char *key_path = NULL, *pub_path = NULL;
    int err = gw_key_private_pem(key, &private);
    int failed;

    if (!err)
        err = gw_key_public_pem(key, &public);
    if (!err &&
        (asprintf(&key_path, "%s.key", prefix) < 0 || asprintf(&pub_path, "%s.pub", prefix) < 0))
        err = -ENOMEM;
    if (err)
        return envelope_complain("keygen", gw_error_text(err));
    failed = write_new(key_path, 0600, gw_buf_slice(&private));
    if (!failed)
        failed = write_new(pub_path, 0644, gw_buf_slice(&public));
    gw_wipe(private.data, private.cap);
    return failed;
}

int gw_cli_envelope_keygen(int argc, char **argv)
{
    static const struct option names[] = {
        {"out", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'}, {0}};
    GW_CLEANUP(gw_key_free) struct gw_key *key = NULL;
    const char *prefix = "recipient";
    int c, err;

    optind = 1;
    while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        if (c == 'o')
            prefix = optarg;
        else if (c == 'h')
            return fputs(keygen_usage, stdout) == EOF;
        else
            return fputs(keygen_usage, stderr), 2;
    }
    if (optind != argc)
        return fputs(keygen_usage, stderr), 2;
    err = gw_key_generate(&key);
    return err ? envelope_complain("keygen", gw_error_text(err)) : write_pair(prefix, key);
}

/* ---- open ---- */

static const char open_usage[] =
    "usage: cordon envelope open --key FILE --keys FILE … [--gateway-ca FILE] [--raw] [FILE …]\n"
    "\n"
    "Opens sealed messages (standard input without a FILE) and prints a JSON line for each.\n"
    "\n"
    "  --key FILE         the recipient's private key (PEM)\n"
    "  --keys FILE        an announcement from P/key/…; may be given several times\n"
    "  --gateway-ca FILE  accept only announcements under this gateway's CA (PEM)\n"
    "  --raw              print the payload alone\n";

struct opening {
    const char *key_path, *ca_path;
    const char *announcements[KEYS_MAX];
    size_t announcement_count;
    bool raw;
    struct gw_key *key;
    struct gw_buf ca;
    struct gw_epoch_key epochs[KEYS_MAX]; /* cert_der is not kept */
    char gateways[KEYS_MAX][65];
    size_t epoch_count;
};

/* 0; 1 help was asked for; 2 usage. */
static int parse_open(int argc, char **argv, struct opening *o)
{
    static const struct option names[] = {{"key", required_argument, NULL, 'k'},
                                          {"keys", required_argument, NULL, 'K'},
                                          {"gateway-ca", required_argument, NULL, 'G'},
                                          {"raw", no_argument, NULL, 'r'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        if (c == 'k')
            o->key_path = optarg;
        else if (c == 'K' && o->announcement_count < KEYS_MAX)
            o->announcements[o->announcement_count++] = optarg;
        else if (c == 'G')
            o->ca_path = optarg;
        else if (c == 'r')
            o->raw = true;
        else
            return c == 'h' ? 1 : 2;
    }
    if (o->key_path && o->announcement_count)
        return 0;
    (void)fputs("cordon: --key and --keys are needed\n", stderr);
    return 2;
}

/* Bytes that are not what they were taken for, in words; other failures in their own. */
static int complain_cose(const char *path, const char *not_this, int err)
{
    if (strcmp(path, "-") == 0)
        path = "standard input";
    if (err == GW_ENOKEY)
        return envelope_complain(path, "is for other recipients than --key");
    if (err == GW_ESHORT || err == GW_EMALFORMED)
        return envelope_complain(path, not_this);
    return envelope_complain(path, gw_error_text(err));
}

static int take_announcement(struct opening *o, const char *path)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf cose = {0};
    struct gw_epoch_key *epoch = &o->epochs[o->epoch_count];
    struct gw_cert_info info;
    int err;

    if (envelope_read_file(path, &cose))
        return 1;
    err = gw_epoch_open(gw_buf_slice(&cose), o->key, epoch);
    if (err)
        return complain_cose(path, "is no announcement of a key", err);
    if (gw_buf_len(&o->ca) && gw_cert_verify(epoch->cert_der, gw_buf_slice(&o->ca)))
        return envelope_complain(path, "its gateway has no certificate of the CA in --gateway-ca");
    err = gw_cert_parse(epoch->cert_der, &info);
    if (err)
        return envelope_complain(path, gw_error_text(err));
    memcpy(o->gateways[o->epoch_count], info.common_name, sizeof(o->gateways[0]));
    o->epoch_count++;
    return 0;
}

/* The index of the epoch that sealed it, or -1. */
static int epoch_of(const struct opening *o, const struct gw_envelope_head *head)
{
    for (size_t i = 0; i < o->epoch_count; i++)
        if (memcmp(o->epochs[i].kid, head->kid, GW_KID_BYTES) == 0)
            return (int)i;
    return -1;
}

static int print_message(const struct opening *o, int epoch, const struct gw_envelope_head *head,
                         struct gw_slice plain)
{
    if (o->raw)
        return fwrite(plain.ptr, 1, plain.len, stdout) != plain.len;
    return !reader_print(stdout, o->gateways[epoch], head, plain);
}

static int open_message(const struct opening *o, const char *path)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf cose = {0}, plain = {.max = ENVELOPE_FILE_MAX};
    struct gw_envelope_head head;
    int err, epoch;

    if (envelope_read_file(path, &cose))
        return 1;
    err = gw_envelope_peek(gw_buf_slice(&cose), &head);
    if (err)
        return complain_cose(path, "is no sealed message", err);
    epoch = epoch_of(o, &head);
    if (epoch < 0)
        return envelope_complain(path, "none of the announcements holds its key");
    err = gw_envelope_open(gw_buf_slice(&cose), o->epochs[epoch].key, &head, &plain);
    if (err)
        return envelope_complain(path, gw_error_text(err));
    if (print_message(o, epoch, &head, gw_buf_slice(&plain)) || fflush(stdout) == EOF)
        return envelope_complain("standard output", strerror(errno));
    return 0;
}

static void opening_free(struct opening **opening)
{
    struct opening *o = GW_TAKE(*opening);

    if (!o)
        return;
    gw_key_free(&o->key);
    gw_buf_fini(&o->ca);
    gw_wipe(o->epochs, sizeof(o->epochs));
    free(o);
}

static int open_all(struct opening *o, int count, char **paths)
{
    char *only_stdin = (char[]){"-"};
    int failed = 0;

    if (envelope_read_key(o->key_path, &o->key) ||
        (o->ca_path && envelope_read_cert(o->ca_path, &o->ca)))
        return 1;
    for (size_t i = 0; i < o->announcement_count; i++)
        if (take_announcement(o, o->announcements[i]))
            return 1;
    if (count == 0)
        return open_message(o, only_stdin);
    for (int i = 0; i < count; i++)
        failed |= open_message(o, paths[i]);
    return failed;
}

int gw_cli_envelope_open(int argc, char **argv)
{
    GW_CLEANUP(opening_free) struct opening *o = calloc(1, sizeof(*o));
    int asked = o ? parse_open(argc, argv, o) : 0;

    if (!o)
        return envelope_complain("open", gw_error_text(-ENOMEM));
    if (asked == 1)
        return fputs(open_usage, stdout) == EOF;
    if (asked)
        return fputs(open_usage, stderr), 2;
    return open_all(o, argc - optind, argv + optind);
}

/* ---- the verb ---- */

int gw_cli_envelope(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } verbs[] = {{"keygen", gw_cli_envelope_keygen},
                 {"open", gw_cli_envelope_open},
                 {"follow", gw_cli_envelope_follow}};
    bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    int err = gw_crypto_init();

    if (err)
        return envelope_complain("cryptography", gw_error_text(err));
    for (size_t i = 0; argc > 1 && i < GW_COUNT(verbs); i++)
        if (strcmp(argv[1], verbs[i].name) == 0) {
            int status;

            argv[1] = argv[0]; /* getopt's complaints begin like ours */
            status = verbs[i].run(argc - 1, argv + 1);
            gw_crypto_fini();
            return status;
        }
    gw_crypto_fini();
    (void)fputs(
        "usage: cordon envelope keygen | open … | follow …   (--help with each says more)\n",
        help ? stdout : stderr);
    return help ? 0 : 2;
}
