/* SPDX-License-Identifier: GPL-2.0-only */
/** @file Inside `cordon envelope`: its verbs, and the files that people name. */
#pragma once

#include "crypto/crypto.h"

#define ENVELOPE_FILE_MAX (4u << 20)

/** The verbs; argv[0] is the command's name. The command's exit status. */
int gw_cli_envelope_keygen(int argc, char **argv);
int gw_cli_envelope_open(int argc, char **argv);
int gw_cli_envelope_follow(int argc, char **argv);

/* ---- files: 0, or 1 after saying on stderr which file and why ---- */

/** The whole file, or ("-") standard input. */
int envelope_read_file(const char *path, struct gw_buf *out) GW_MUST_CHECK;
/** A private key, PEM. */
int envelope_read_key(const char *path, struct gw_key **out) GW_MUST_CHECK;
/** The first certificate of a PEM file, as DER. */
int envelope_read_cert(const char *path, struct gw_buf *out_der) GW_MUST_CHECK;
/** "cordon: WHAT: WHY" on stderr; returns 1. */
int envelope_complain(const char *what, const char *why);
