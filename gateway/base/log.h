/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * One line an event on stderr: a fixed sentence, then key=value fields. Under systemd the line
 * starts with the journal's priority. Sessions, the enforcer and main log; codecs return errors in
 * silence. Never payloads, keys or tokens. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum gw_log_level { GW_LOG_ERROR = 3, GW_LOG_WARNING = 4, GW_LOG_INFO = 6, GW_LOG_DEBUG = 7 };

/** Lines above `level` are not written; INFO until set. */
void gw_log_level(enum gw_log_level level);

/** Which process speaks: "enforcer" or "worker"; a constant string. */
void gw_log_name(const char *name);

void gw_log(enum gw_log_level level, const char *fmt, ...) GW_PRINTF(2, 3);

#define gw_log_error(...) gw_log(GW_LOG_ERROR, __VA_ARGS__)
#define gw_log_warning(...) gw_log(GW_LOG_WARNING, __VA_ARGS__)
#define gw_log_info(...) gw_log(GW_LOG_INFO, __VA_ARGS__)
#define gw_log_debug(...) gw_log(GW_LOG_DEBUG, __VA_ARGS__)

#define GW_LOG_TEXT 96

/**
 * Peer text made safe for a line: quoted, control and non-ASCII bytes as \xNN, cut with "…" to fit
 * GW_LOG_TEXT. Returns `out`.
 */
char *gw_log_text(struct gw_slice peer_text, char out[GW_LOG_TEXT]);

/** At most `burst` lines each `per_ms` for one subject; zero-initialise with the two limits. */
struct gw_log_limit {
    uint32_t burst;
    uint32_t per_ms;
    uint64_t since_ms;
    uint32_t used;
    uint32_t muted; /**< lines swallowed since the last one that went out */
};

/** True when a line may go out now; reset `muted` after you said it. */
bool gw_log_allowed(struct gw_log_limit *limit, uint64_t now_ms);
