/* SPDX-License-Identifier: GPL-2.0-only */
/* The page and its files, which are compiled in. */
#include "admin/admin_priv.h"
#include "admin/routes.h"

#include "web_assets.h"

static const struct gw_web_asset *asset_at(const char *path)
{
    for (size_t i = 0; i < gw_web_asset_count; i++)
        if (strcmp(gw_web_assets[i].path, path) == 0)
            return &gw_web_assets[i];
    return NULL;
}

/* If-None-Match: one tag or a list of them (RFC 9110 §13.1.2). Ours hold no quote inside. */
static bool is_fresh(const struct gw_http_request *req, const char *etag)
{
    const char *have = gw_http_header(req, "If-None-Match");

    return have && strstr(have, etag);
}

void on_page(void *owner, struct gw_http_request *req)
{
    const struct gw_web_asset *asset = asset_at(gw_http_path(req));
    bool fixed = strncmp(gw_http_path(req), "/assets/", 8) == 0;

    (void)owner;
    if (!asset) {
        gw_http_problem(req, 404, "There is nothing at this path.");
        return;
    }
    gw_http_set_header(req, "ETag", asset->etag);
    gw_http_set_header(req, "Cache-Control",
                       fixed ? "public, max-age=31536000, immutable" : "no-cache");
    if (is_fresh(req, asset->etag)) {
        gw_http_reply(req, 304, NULL, GW_SLICE_NONE);
        return;
    }
    if (asset->gzip) /* there is no other form of it, and no browser that does not take it */
        gw_http_set_header(req, "Content-Encoding", "gzip");
    gw_http_reply_static(req, 200, asset->type, GW_SLICE(asset->data, asset->len));
}
