/* SPDX-License-Identifier: GPL-2.0-only */
/** @file Inside room cli: arguments, the daemon's API, and words for people. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"
#include "cli/cli.h"

#define CLI_SOCKET "/run/cordon/admin.sock"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* ---- arguments ---- */

/* Options that a verb may take, beside --socket, --json and --help, which all take. */
enum {
    OPT_NAME = 1,
    OPT_CLASS = 2,
    OPT_MODE = 4,
    OPT_FOR = 8,
    OPT_REASON = 16,
    OPT_FOLLOW = 32,
    OPT_ROLE = 64,
    OPT_STOP = 128,
    OPT_REMOVE = 256,
    OPT_LIMIT = 512,
    OPT_FILE = 1024,
    OPT_OUT = 4096,
    OPT_PACKETS = 8192,
    OPT_BYTES = 16384,
    OPT_OFF = 32768,
};

#define CLI_POSITIONS 3

struct cli_args {
    const char *socket;
    bool json, help, follow, stop, remove, off;
    const char *name, *class, *mode, *reason, *role, *out, *file;
    uint64_t for_s;
    uint64_t limit;
    uint64_t packets, bytes; /* a second */
    unsigned given;          /* of OPT_… */
    const char *at[CLI_POSITIONS];
    int count;
};

struct cli_verb {
    const char *name;
    const char *args; /* as shown behind the name */
    const char *help; /* one line */
    int min, max;     /* positions */
    unsigned options; /* of OPT_… */
    int (*run)(const struct cli_args *args);
};

extern const struct cli_verb cli_verbs[]; /* ended by a row of zeros */

/*
 * Options may stand anywhere. @return 0 with *out_verb and *out; CLI_USAGE, said on stderr. With
 * --help and no verb *out_verb is NULL.
 */
int cli_parse(int argc, char **argv, const struct cli_verb **out_verb,
              struct cli_args *out) GW_MUST_CHECK;

/* The name of the first of these OPT_…; NULL: none is given. */
const char *cli_option_text(unsigned given);

/* "cordon: <what and why>" on stderr, without control characters; returns CLI_FAILED. */
int cli_fail(const char *fmt, ...) GW_PRINTF(1, 2);

/* ---- client.c: the daemon ---- */

/*
 * One call. `body` is stolen, may be NULL. *out gets the answer (NULL when it is empty; the
 * caller's), `out` may be NULL. @return 0; CLI_FAILED, said on stderr.
 */
int cli_call(const struct cli_args *args, const char *method, const char *path, json_t *body,
             json_t **out) GW_MUST_CHECK;
/* "/api/v1/<before><segment, escaped><behind>". Never NULL; the caller's. */
char *cli_path(const char *before, const char *segment, const char *behind);

typedef void cli_event_fn(const struct cli_args *args, const json_t *event);
/*
 * After a call that worked: follow live events after number `last`, for ever, through every end of
 * the daemon. @return CLI_FAILED when it refuses from the beginning.
 */
int cli_follow(const struct cli_args *args, uint64_t last, cli_event_fn *fn) GW_MUST_CHECK;

/* ---- table.c: words for people ---- */

/* Columns as wide as their widest cell; cells are copied, control characters replaced. */
struct cli_table;
struct cli_table *cli_table_new(const char *const *titles, size_t columns);
void cli_table_free(struct cli_table **t);
/* The next cell, left to right, row by row. NULL: "-". */
void cli_cell(struct cli_table *t, const char *text);
void cli_cellf(struct cli_table *t, const char *fmt, ...) GW_PRINTF(2, 3);
void cli_table_print(const struct cli_table *t, FILE *to);
/* One without a row is this sentence. */
void cli_table_print_or(const struct cli_table *t, const char *none, FILE *to);

/* `text` with control characters replaced by '?': nothing of a device's reaches the terminal raw.
 */
void cli_put(FILE *to, const char *text);
/* Columns that `text` takes on a terminal. */
size_t cli_width(const char *text);

/* "12 s", "5 min", "3 h", "2 d" since or until an RFC 3339 time; "-" for anything else. */
const char *cli_age(const json_t *time, int64_t now_ms, char out[32]);
const char *cli_bytes(uint64_t bytes, char out[32]);
/* A member as text, "" when absent or of another kind. */
const char *cli_text(const json_t *object, const char *name);
uint64_t cli_number(const json_t *object, const char *name);

/* ---- show.c: for several verbs ---- */

/* With --json `answer` is printed and gone, and NULL is returned. */
json_t *cli_unless_json(const struct cli_args *args, json_t *answer);
/* The state of the isolation and its ports. */
void cli_show_ports(const json_t *isolation);

/* ---- batch.c ---- */

/*
 * Every address of args->file in calls to `path`; `verb` says what becomes of them: "cut off".
 * @return CLI_FAILED, said, also when some were refused.
 */
int cli_batch(const struct cli_args *args, const char *path, const char *verb);

/* ---- the verbs ---- */

int cli_status(const struct cli_args *args);
int cli_devices(const struct cli_args *args);
int cli_verdicts(const struct cli_args *args);
int cli_device(const struct cli_args *args);
int cli_presence(const struct cli_args *args);
int cli_events(const struct cli_args *args);
int cli_approve(const struct cli_args *args);
int cli_revoke(const struct cli_args *args);
int cli_forget(const struct cli_args *args);
int cli_quarantine(const struct cli_args *args);
int cli_release(const struct cli_args *args);
int cli_isolation(const struct cli_args *args);
int cli_grant(const struct cli_args *args);
int cli_ungrant(const struct cli_args *args);
int cli_grants(const struct cli_args *args);
int cli_profile(const struct cli_args *args);
int cli_limit(const struct cli_args *args);
int cli_pair(const struct cli_args *args);
int cli_setup_code(const struct cli_args *args);
int cli_passwd(const struct cli_args *args);
int cli_api_key(const struct cli_args *args);
