/* SPDX-License-Identifier: GPL-2.0-only */
#include "tls/tls_priv.h"

#include <stdio.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

/* RFC 8446 §6, and what TLS 1.2 still says (RFC 5246 §7.2). */
static const struct {
    int code;
    const char *text;
} alerts[] = {
    {10, "unexpected message"},
    {20, "bad record MAC"},
    {22, "record overflow"},
    {40, "handshake failure"},
    {42, "bad certificate"},
    {43, "unsupported certificate"},
    {44, "certificate revoked"},
    {45, "certificate expired"},
    {46, "certificate unknown"},
    {47, "illegal parameter"},
    {48, "unknown CA"},
    {49, "access denied"},
    {50, "decode error"},
    {51, "decrypt error"},
    {70, "protocol version"},
    {71, "insufficient security"},
    {80, "internal error"},
    {86, "inappropriate fallback"},
    {90, "user canceled"},
    {109, "missing extension"},
    {110, "unsupported extension"},
    {112, "unrecognized name"},
    {116, "certificate required"},
    {120, "no application protocol"},
};

static const struct {
    int code;
    const char *text;
} reasons[] = {
    {ASN_AFTER_DATE_E, "the certificate has expired"},
    {ASN_BEFORE_DATE_E, "the certificate is not valid yet"},
    {ASN_NO_SIGNER_E, "the certificate is not from an accepted CA"},
    {ASN_SELF_SIGNED_E, "the certificate is not from an accepted CA"},
    {ASN_SIG_CONFIRM_E, "the certificate's signature is wrong"},
    {ASN_PARSE_E, "the certificate cannot be read"},
    {EXTKEYUSE_AUTH_E, "the certificate is for another use"},
    {KEYUSE_SIGNATURE_E, "the certificate is for another use"},
    {VERIFY_CERT_ERROR, "the certificate is not accepted"},
    {NO_PEER_CERT, "no certificate was sent"},
    {DOMAIN_NAME_MISMATCH, "the certificate is for another name"},
    {SIG_VERIFY_E, "the peer does not hold the certificate's key"},
    {VERIFY_SIGN_ERROR, "the peer does not hold the certificate's key"},
    {PARSE_ERROR, "not TLS"},
    {UNKNOWN_RECORD_TYPE, "not TLS"},
    {UNKNOWN_HANDSHAKE_TYPE, "not TLS"},
    {LENGTH_ERROR, "not TLS"},
    {VERSION_ERROR, "not TLS 1.2 or newer"},
    {MATCH_SUITE_ERROR, "no cipher suite in common"},
    {OUT_OF_ORDER_E, "messages are out of order"},
    {SANITY_MSG_E, "messages are out of order"},
    {VERIFY_MAC_ERROR, "a record was changed"},
    {DECRYPT_ERROR, "a record was changed"},
    {AES_GCM_AUTH_E, "a record was changed"},
    {MAC_CMP_FAILED_E, "a record was changed"},
    {SOCKET_ERROR_E, "the output limit is reached"},
};

static const char *alert_text(int code)
{
    for (size_t i = 0; i < GW_COUNT(alerts); i++)
        if (alerts[i].code == code)
            return alerts[i].text;
    return NULL;
}

void tls_words(WOLFSSL *ssl, int code, char out[TLS_DETAIL])
{
    WOLFSSL_ALERT_HISTORY history;
    char text[WOLFSSL_MAX_ERROR_SZ];

    if (wolfSSL_get_alert_history(ssl, &history) == WOLFSSL_SUCCESS && history.last_rx.code > 0) {
        const char *name = alert_text(history.last_rx.code);

        if (name)
            (void)snprintf(out, TLS_DETAIL, "peer sent alert: %s", name);
        else
            (void)snprintf(out, TLS_DETAIL, "peer sent alert %d", history.last_rx.code);
        return;
    }
    for (size_t i = 0; i < GW_COUNT(reasons); i++)
        if (reasons[i].code == code) {
            (void)snprintf(out, TLS_DETAIL, "%s", reasons[i].text);
            return;
        }
    (void)snprintf(out, TLS_DETAIL, "%s", wolfSSL_ERR_error_string((unsigned long)-code, text));
}
