/* SPDX-License-Identifier: GPL-2.0-only */
#include <strings.h>

#include "crypto/crypto.h"
#include "websocket/websocket.h"

#define KEY_TEXT 24 /* 16 bytes in base64 */
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* One of the comma-separated names of a header; `exactly`: case counts. */
static bool lists(const char *header, const char *name, bool exactly)
{
    size_t len = strlen(name);

    for (const char *at = header; at && *at;) {
        size_t n;

        at += strspn(at, " \t,");
        n = strcspn(at, ",");
        if (n >= len && (exactly ? strncmp(at, name, len) : strncasecmp(at, name, len)) == 0 &&
            strspn(at + len, " \t") == n - len)
            return true;
        at += n;
    }
    return false;
}

/* ---- Sec-WebSocket-Extensions: none is known here, but what breaks its grammar is refused (§9.1)
 * ---- */

static const char *blanks(const char *at)
{
    return at + strspn(at, " \t");
}

/* NULL: there is no token here. */
static const char *token(const char *at)
{
    size_t n = strspn(at, "!#$%&'*+-.^_`|~0123456789"
                          "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

    return n ? at + n : NULL;
}

/* A quoted value has to be a token once its backslashes are gone. */
static const char *quoted(const char *at)
{
    const char *start = ++at;

    for (; *at && *at != '"'; at++) {
        const char one[2] = {*at == '\\' ? *++at : *at, '\0'};

        if (!token(one))
            return NULL;
    }
    return *at && at > start ? at + 1 : NULL;
}

static const char *extension(const char *at)
{
    at = token(at);
    while (at && *(at = blanks(at)) == ';') {
        at = token(blanks(at + 1));
        if (at && *blanks(at) == '=') {
            at = blanks(blanks(at) + 1);
            at = *at == '"' ? quoted(at) : token(at);
        }
    }
    return at;
}

static bool extensions_valid(const char *header)
{
    for (const char *at = header + strspn(header, " \t,"); *at; at += strspn(at, " \t,")) {
        at = extension(at);
        if (!at || (*at && *at != ','))
            return false;
    }
    return true;
}

static bool key_valid(const char *key)
{
    uint8_t room[32];
    GW_CLEANUP(gw_buf_fini) struct gw_buf raw = {.max = sizeof(room)};

    return key && strlen(key) == KEY_TEXT && gw_unbase64(gw_slice_str(key), &raw) == 0 &&
           gw_buf_len(&raw) == 16;
}

int gw_websocket_accept(const struct gw_websocket_request *req, const char *protocol,
                        char out[GW_WEBSOCKET_ACCEPT])
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf text = {.max = GW_WEBSOCKET_ACCEPT};
    char joined[KEY_TEXT + sizeof(GUID)];
    uint8_t digest[20];
    int err;

    if (!lists(req->upgrade, "websocket", false) || !lists(req->connection, "upgrade", false) ||
        !req->version || strcmp(req->version, "13") != 0)
        return GW_EUNSUPPORTED;
    if (!key_valid(req->key))
        return GW_EMALFORMED;
    if (req->extensions && !extensions_valid(req->extensions))
        return GW_EMALFORMED;
    if (!lists(req->protocols, protocol, true))
        return GW_EPROTOCOL;
    memcpy(joined, req->key, KEY_TEXT);
    memcpy(joined + KEY_TEXT, GUID, sizeof(GUID));
    err = gw_sha1(gw_slice_str(joined), digest);
    if (!err)
        err = gw_base64(GW_SLICE(digest, sizeof(digest)), false, &text);
    if (err)
        return err;
    memcpy(out, gw_buf_slice(&text).ptr, GW_WEBSOCKET_ACCEPT - 1);
    out[GW_WEBSOCKET_ACCEPT - 1] = '\0';
    return 0;
}
