/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The certificate authority and how devices get a certificate: EST (RFC 7030) and pairing codes.
 * Keys live in state_dir/pki (mode 0700, files 0600), written whole or not at all. Loop thread
 * only.
 */
#pragma once

#include "config/config.h"
#include "crypto/crypto.h"
#include "device/device.h"
#include "http/http.h"
#include "journal/journal.h"
#include "store/store.h"

/* ---- the CA and the gateway's own certificate ---- */

struct gw_pki;
/**
 * Load or make: CA (20 years), the gateway's key and server certificate (signed by the CA, one
 * year, renewed when a third is left), the gateway's id `gw-<16 hex>`. A damaged or half-written
 * state is a clear error, never a silent new CA.
 */
int gw_pki_open(const char *state_dir, struct gw_pki **out) GW_MUST_CHECK;
void gw_pki_close(struct gw_pki **p);
const char *gw_pki_gateway_id(const struct gw_pki *p);
struct gw_slice gw_pki_ca_der(const struct gw_pki *p);
struct gw_slice gw_pki_ca_pem(const struct gw_pki *p);
/** The gateway's certificate, then the CA: for TLS. */
struct gw_slice gw_pki_chain_pem(const struct gw_pki *p);
struct gw_slice gw_pki_cert_der(const struct gw_pki *p);
const struct gw_key *gw_pki_key(const struct gw_pki *p);
/**
 * The names and addresses this gateway is reached by: `cordon.local`, the host name, every address
 * of its interfaces. A missing one, or an end that comes near, makes a new server certificate.
 * @return 1 renewed, 0 still right, negative.
 */
int gw_pki_refresh(struct gw_pki *p, int64_t now_s) GW_MUST_CHECK;

/* ---- EST and pairing ---- */

struct gw_enroll;
/** Reads which keys ask for or hold which id; before the loop runs. The others outlive it. */
int gw_enroll_new(struct gw_loop *loop, const struct gw_config *config, struct gw_pki *pki,
                  struct gw_devices *devices, struct gw_journal *journal, struct gw_store *store,
                  struct gw_enroll **out) GW_MUST_CHECK;
void gw_enroll_free(struct gw_enroll **e);
void gw_enroll_reload(struct gw_enroll *e, const struct gw_config *config);

/** Somebody at this address showed a wrong pairing code, or is not heard for those shown before. */
typedef void gw_enroll_wrong_code(void *owner, const struct gw_hwaddr *from);
/** Be told of it, once for each, from inside the request. */
void gw_enroll_watch(struct gw_enroll *e, gw_enroll_wrong_code *fn, void *owner);

/** Serve EST on a server of the device port, which ends before this. GW_EFULL. */
int gw_enroll_mount(struct gw_enroll *e, struct gw_http *http) GW_MUST_CHECK;

/**
 * May this certificate of our CA still speak for its device? A key that another one replaced, since
 * the id was forgotten or revoked and enrolled anew, may not. For the TLS servers' `admit`.
 * @return 0; GW_EREVOKED; GW_EMALFORMED.
 */
int gw_enroll_admits(const struct gw_enroll *e, const struct gw_identity *id) GW_MUST_CHECK;

/**
 * Open a pairing window: `out_code` (XXXX-XXXX) is shown to the installer and serves every device
 * until the end, or until ten wrong guesses. A second call replaces the first. `seconds` 0: what
 * enroll.window_s says, or five minutes; at most a day.
 */
int gw_enroll_pair(struct gw_enroll *e, uint32_t seconds, char out_code[32],
                   int64_t *out_until_ms) GW_MUST_CHECK;
void gw_enroll_pair_close(struct gw_enroll *e);
/** The open window's end, wall clock ms; 0: none is open. */
int64_t gw_enroll_pair_until(const struct gw_enroll *e);
