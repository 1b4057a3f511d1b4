/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/envelope_priv.h"

int envelope_complain(const char *what, const char *why)
{
    (void)fprintf(stderr, "cordon: %s: %s\n", what, why);
    return 1;
}

int envelope_read_file(const char *path, struct gw_buf *out)
{
    bool is_stdin = strcmp(path, "-") == 0;
    GW_CLEANUP(gw_close_fd)
    int fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);

    out->max = ENVELOPE_FILE_MAX;
    while (fd >= 0) {
        int err = gw_buf_reserve(out, 4096);
        ssize_t got;

        if (err)
            return envelope_complain(path, gw_error_text(err));
        got = read(fd, out->data + out->tail, 4096);
        if (got == 0)
            return 0;
        if (got < 0)
            break;
        out->tail += (size_t)got;
    }
    return envelope_complain(path, strerror(errno));
}

int envelope_read_key(const char *path, struct gw_key **out)
{
    struct gw_buf pem = {0};
    int failed = envelope_read_file(path, &pem);
    int err = failed ? 0 : gw_key_from_pem(gw_buf_slice(&pem), out);

    gw_wipe(pem.data, pem.cap);
    gw_buf_fini(&pem);
    if (err)
        return envelope_complain(path,
                                 err == GW_ENOTFOUND ? "holds no PEM key" : gw_error_text(err));
    if (!failed && !gw_key_is_private(*out))
        return envelope_complain(path, "is a public key; the private one is needed");
    return failed;
}

int envelope_read_cert(const char *path, struct gw_buf *out_der)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf pem = {0};
    struct gw_slice rest;
    int err;

    if (envelope_read_file(path, &pem))
        return 1;
    out_der->max = ENVELOPE_FILE_MAX;
    err = gw_der_from_pem("CERTIFICATE", gw_buf_slice(&pem), out_der, &rest);
    if (!err)
        return 0;
    return envelope_complain(path,
                             err == GW_ENOTFOUND ? "holds no PEM certificate" : gw_error_text(err));
}
