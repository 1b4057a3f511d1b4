/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The admin part with its real rooms over a fresh state directory; only the enforcer's client is a
 * stand-in, which says yes, no or nothing. The test is the client: raw bytes over a socket.
 */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>

#include "admin/admin.h"

struct world {
    char dir[64];
    struct gw_loop *loop;
    struct gw_config *config;
    struct gw_store *store;
    struct gw_journal *journal;
    struct gw_devices *devices;
    struct gw_access *access;
    struct gw_presence *presence;
    struct gw_profiles *profiles;
    struct gw_quarantine *quarantine;
    struct gw_pki *pki;
    struct gw_enroll *enroll;
    struct gw_admin *admin;
};

/* Devices: cam-1 (approved, with addresses), mac-020000000009 (seen). */
void world_open(struct world *w);
void world_close(struct world *w);
/* Stop and start the rooms over the same state. */
void world_restart(struct world *w);
void world_turn(struct world *w, int times);

enum way { LOCAL, HTTPS }; /* by the Unix socket; from the network, after TLS */

int world_dial(struct world *w, enum way way);
void world_say(int fd, const char *text);
/* Turn until `needle` (NULL: the connection's end) has come, or time is up. */
bool world_hear(struct world *w, int fd, struct gw_buf *got, const char *needle);

struct reply {
    unsigned status;
    char *text;       /* head and body */
    const char *body; /* inside text */
};

/* One request over a connection of its own; `headers` as lines with CRLF, `body` NULL: none. */
struct reply world_ask(struct world *w, enum way way, const char *method, const char *path,
                       const char *headers, const char *body);
void reply_free(struct reply *r);
/* The value of a header, "" when absent; the caller frees it. */
char *reply_header(const struct reply *r, const char *name);

/* Set the first password and log in; the cookie as a header line. */
void world_log_in(struct world *w, char out_cookie[256]);

/* The next verdicts that the stand-in is asked for are answered so; 1: not at all. */
extern int world_applied;
/* What the stand-in's isolation test finds: why it does not run; whether a check fails. */
extern const char *world_test_error;
extern bool world_test_fails;

#define JSON_TYPE "Content-Type: application/json\r\n"
