/* SPDX-License-Identifier: GPL-2.0-only */
/** @file `cordon envelope follow`: the cloud's reader, from any MQTT broker, without a daemon. */
#pragma once

/** The verb with its arguments; argv[0] is its name. The command's exit status: 0, 1 or 2. */
int gw_cli_envelope_follow(int argc, char **argv);
