/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The `cordon` command: a client of the admin API over its Unix socket, and (verb envelope) the
 * cloud's side of the envelope, which needs no daemon. One process, one thread, one verb.
 */
#pragma once

/** Run what the arguments say. @return the exit status: 0 done, 1 refused or failed, 2 usage. */
int gw_cli_run(int argc, char **argv);

/** `cordon envelope …`; argv[0] is "envelope". Exit status as gw_cli_run. */
int gw_cli_envelope(int argc, char **argv);
