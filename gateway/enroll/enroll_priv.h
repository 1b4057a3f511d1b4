/* SPDX-License-Identifier: GPL-2.0-only */
/** @file Inside room enroll: the authority's files, the pairing window, which key belongs to which
 * id. */
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "enroll/enroll.h"
#include "store/store.h"

/* ---- pki_files.c ---- */

#define PKI_FILE_MAX (64u << 10)

/** The whole file, appended. -errno; GW_EFULL over PKI_FILE_MAX. */
int pki_file_read(int dir, const char *name, struct gw_buf *out) GW_MUST_CHECK;
/** Whole and synced under `name`, or not at all. Mode 0600. */
int pki_file_write(int dir, const char *name, struct gw_slice data) GW_MUST_CHECK;
/** Sync what was made, renamed or removed in a directory. */
int pki_dir_sync(int dir) GW_MUST_CHECK;

/* ---- pki_names.c ---- */

#define PKI_ADDRS_MAX 64

/** The names and addresses of this machine, in the form certificates want. */
struct pki_names {
    char host[65], host_local[72];
    const char *dns[4]; /* ended by NULL */
    uint8_t bytes[PKI_ADDRS_MAX][16];
    struct gw_slice addrs[PKI_ADDRS_MAX + 1]; /* ended by an empty one */
};
/** Points into `*out` itself: do not copy it. -errno of getifaddrs(3). */
int pki_names_get(struct pki_names *out) GW_MUST_CHECK;

/* ---- pki.c ---- */

/** No clock of ours is right before this: a router without one starts in 1970. */
#define PKI_EARLIEST_S 1767225600 /* 2026-01-01 */

/** A device's certificate for `days` from now, DER appended. */
int pki_issue(const struct gw_pki *p, const char *id, const struct gw_key *key, uint32_t days,
              int64_t now_s, struct gw_buf *out_der) GW_MUST_CHECK;

/* ---- pairing.c ---- */

#define PAIRING_GUESSES 10     /* wrong ones, by all, before the window closes */
#define PAIRING_GUESSES_EACH 5 /* wrong ones by one address, before it is heard no more */
#define PAIRING_ADDRS 8        /* addresses remembered; each wasted a guess, so few are enough */
#define PAIRING_CODE 8         /* characters of 5 bits */

/** The window in which a code pairs devices. Time is passed in. */
struct pairing {
    bool open;
    uint64_t until_ms; /* monotonic */
    int64_t until_wall_ms;
    uint8_t code[PAIRING_CODE];
    unsigned wrong;
    struct {
        struct gw_hwaddr addr;
        unsigned wrong;
    } addrs[PAIRING_ADDRS];
};

enum pairing_answer {
    PAIRING_RIGHT,
    PAIRING_WRONG,
    PAIRING_MUTED,  /* this address guessed too often; the guess was not looked at */
    PAIRING_CLOSED, /* no window is open */
    PAIRING_SPENT,  /* wrong, and this guess closed the window */
};

/** Open with a fresh code, written to `out` as XXXX-XXXX. */
int pairing_open(struct pairing *p, uint64_t now_ms, int64_t wall_ms, uint32_t seconds,
                 char out[32]) GW_MUST_CHECK;
void pairing_close(struct pairing *p);
/** Is it this code? Case, blanks and dashes do not matter; time does not depend on the code. */
enum pairing_answer pairing_try(struct pairing *p, uint64_t now_ms, const struct gw_hwaddr *from,
                                const char *code);

/* ---- bindings.c ---- */

#define WAITING_MAX 128                  /* requests that wait for an admin */
#define WAITING_MS (24ull * 3600 * 1000) /* since the device asked last */

/** Which key an id was asked for with, or was given to. */
struct binding {
    struct gw_list node; /* among those that wait, the one unheard for longest first */
    char device[GW_DEVICE_ID_MAX + 1];
    uint8_t spki[32];     /* SHA-256 of the SubjectPublicKeyInfo */
    uint8_t previous[32]; /* of the key before a renewal, which may still be in use; 0: none */
    struct gw_hwaddr from;
    bool waits;
    uint64_t asked_ms; /* monotonic */
};

struct bindings {
    struct gw_store *store;
    struct gw_map by_device;
    struct gw_map by_addr; /* those that wait */
    struct gw_list waiting;
    size_t waiting_count;
};

/** Read them from the database, before the loop runs. */
int bindings_open(struct bindings *b, struct gw_store *store, uint64_t now_ms) GW_MUST_CHECK;
void bindings_close(struct bindings *b);
struct binding *bindings_get(const struct bindings *b, const char *device);
/** The request that waits from this address, or NULL. */
struct binding *bindings_from(const struct bindings *b, const struct gw_hwaddr *from);

typedef void bindings_done(void *owner, int err);
/**
 * Bind `device` to a key, replacing what was; a key that was given before stays as `previous`.
 * `done` (may be NULL) follows when it is on disk. -ENOMEM; GW_EFULL when too many wait.
 */
int bindings_put(struct bindings *b, const char *device, const uint8_t spki[32],
                 const struct gw_hwaddr *from, bool waits, uint64_t now_ms, bindings_done *done,
                 void *owner) GW_MUST_CHECK;
/** It asked again: its time to wait starts anew. */
void bindings_asked(struct bindings *b, struct binding *x, uint64_t now_ms);
void bindings_remove(struct bindings *b, const char *device);
/** True when this key may speak for the binding's id. */
bool bindings_holds(const struct binding *x, const uint8_t spki[32]);
/** One that waits and was not heard of since WAITING_MS, or NULL. */
struct binding *bindings_lapsed(const struct bindings *b, uint64_t now_ms);
