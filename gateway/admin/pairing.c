/* SPDX-License-Identifier: GPL-2.0-only */
/* The pairing window. */
#include <netinet/in.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"
#include "crypto/crypto.h"

#define PAIRING_MAX_S 86400

static unsigned enrolment_port(const struct gw_admin *a)
{
    const struct gw_listen_list *list = &a->rooms.config->listen.https;
    const void *sa = &list->at[0].addr;

    if (list->count == 0)
        return 0;
    return ntohs(list->at[0].addr.ss_family == AF_INET
                     ? ((const struct sockaddr_in *)sa)->sin_port
                     : ((const struct sockaddr_in6 *)sa)->sin6_port);
}

/* What an installer compares before trusting the certificate that enrolment answers with. */
static json_t *fingerprint(const struct gw_admin *a)
{
    uint8_t hash[32];
    char text[65];

    if (gw_sha256(gw_pki_ca_der(a->rooms.pki), hash) != 0)
        return json_null();
    gw_hex(hash, sizeof(hash), text);
    return json_string(text);
}

static json_t *window_json(const struct gw_admin *a, const char *code, int64_t until_ms)
{
    json_t *json = json_object();

    if (code)
        json_object_set_new(json, "code", json_string(code));
    else
        json_object_set_new(json, "open", json_boolean(until_ms != 0));
    json_object_set_new(json, "expires", admin_time_json(until_ms));
    json_object_set_new(json, "port", json_integer(enrolment_port(a)));
    json_object_set_new(json, "ca_sha256", fingerprint(a));
    return json;
}

void on_pairing(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;

    gw_http_reply_json(req, 200, window_json(a, NULL, gw_enroll_pair_until(a->rooms.enroll)));
}

void on_pairing_open(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;
    uint64_t seconds = 0;
    const struct field fields[] = {{"seconds", FIELD_UINT, false, PAIRING_MAX_S, &seconds}};
    json_auto_t *body = body_object(req, fields, GW_COUNT(fields));
    const char *by;
    char code[32];
    int64_t until_ms;
    int err;

    if (!body)
        return;
    err = gw_enroll_pair(a->rooms.enroll, (uint32_t)seconds, code, &until_ms);
    if (err) {
        admin_refuse(req, err, "The pairing window was not opened");
        return;
    }
    by = who_calls(a, req).user;
    gw_journal_alert(a->rooms.journal, GW_INFO, "pairing", NULL, json_pack("{s:s}", "by", by),
                     "%s opened a pairing window.", by);
    gw_http_reply_json(req, 200, window_json(a, code, until_ms));
    gw_wipe(code, sizeof(code));
}

void on_pairing_close(void *owner, struct gw_http_request *req)
{
    struct gw_admin *a = owner;

    gw_enroll_pair_close(a->rooms.enroll);
    admin_done(req);
}
