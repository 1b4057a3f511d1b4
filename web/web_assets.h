/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The page, built by Vite and compiled in. Constant data; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct gw_web_asset {
    const char *path; /**< "/" is the page; "/assets/…" never change under their name */
    const char *type;
    const char *etag; /**< in quotes, of the uncompressed file */
    bool gzip;        /**< `data` needs Content-Encoding: gzip */
    const unsigned char *data;
    size_t len;
};

extern const struct gw_web_asset gw_web_assets[];
extern const size_t gw_web_asset_count;
