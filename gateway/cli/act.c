/* SPDX-License-Identifier: GPL-2.0-only */
/* The verbs that change a device: its life cycle, its quarantine, its grants. */
#include <string.h>

#include "base/addr.h"
#include "base/clock.h"
#include "cli/cli_priv.h"

/* What was done, for a person; a script has the exit status. */
static int say_done(const struct cli_args *args, int err, const char *what)
{
    if (err || args->json)
        return err;
    cli_put(stdout, args->at[0]);
    (void)printf(" %s.\n", what);
    return CLI_DONE;
}

static void set_text(json_t *object, const char *name, const char *text)
{
    if (text)
        json_object_set_new(object, name, json_string(text));
}

/* ---- the life cycle ---- */

int cli_approve(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "/approve");
    json_t *body = json_object();

    set_text(body, "name", args->name);
    set_text(body, "class", args->class);
    return say_done(args, cli_call(args, "POST", path, body, NULL), "is approved");
}

int cli_revoke(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "/revoke");

    return say_done(args, cli_call(args, "POST", path, json_object(), NULL), "is revoked");
}

int cli_forget(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "");

    return say_done(args, cli_call(args, "DELETE", path, NULL, NULL), "is forgotten");
}

/* ---- quarantine ---- */

/* An address, or a device's id? CLI_USAGE, said, when it can be neither. */
static int subject_of(const char *text, bool *out_address)
{
    struct gw_hwaddr addr;

    *out_address = gw_hwaddr_parse(text, &addr) == 0;
    if (*out_address || !strpbrk(text, ":/"))
        return 0;
    (void)cli_fail("\"%s\" is no address: a MAC, IPv4 or IPv6 address, or a prefix such as "
                   "192.0.2.0/24 with no bit set behind its length",
                   text);
    return CLI_USAGE;
}

/* Somebody is named, or a file of addresses, and not both. */
static int check_subject(const struct cli_args *args)
{
    if (!args->file == (args->count > 0))
        return 0;
    (void)cli_fail(args->file ? "say either whom or --file, not both" : "something is missing");
    return CLI_USAGE;
}

static const char *deed(const struct cli_args *args)
{
    if (args->mode && strcmp(args->mode, "observe") == 0)
        return "observed";
    return args->mode && strcmp(args->mode, "remediate") == 0 ? "put in remediation" : "cut off";
}

/* What cannot be done yet is no error: the verdict waits for it. */
static void say_unreached(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "");
    json_auto_t *d = NULL;
    const json_t *addresses;

    if (args->json || (args->mode && strcmp(args->mode, "observe") == 0) ||
        cli_call(args, "GET", path, NULL, &d) != 0)
        return;
    addresses = json_object_get(d, "addresses");
    if (json_array_size(json_object_get(addresses, "mac")) +
            json_array_size(json_object_get(addresses, "ipv4")) +
            json_array_size(json_object_get(addresses, "ipv6")) ==
        0)
        (void)puts("No address of it is known yet: no session of it is let in, and its packets are "
                   "dropped\nfrom the moment when it tries one.");
}

static int quarantine_one(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "/quarantine");
    char done[48];
    bool address;
    json_t *body;
    int err = subject_of(args->at[0], &address);

    if (err)
        return err;
    body = json_object();
    set_text(body, "mode", args->mode);
    set_text(body, "reason", args->reason);
    json_object_set_new(body, "seconds", json_integer((json_int_t)args->for_s));
    if (address)
        set_text(body, "address", args->at[0]);
    err = cli_call(args, "POST", address ? "/api/v1/quarantine" : path, body, NULL);
    (void)snprintf(done, sizeof(done), "is %s", deed(args));
    err = say_done(args, err, done);
    if (!err && !address)
        say_unreached(args);
    return err;
}

int cli_quarantine(const struct cli_args *args)
{
    int err = check_subject(args);

    if (err)
        return err;
    return args->file ? cli_batch(args, "/api/v1/quarantine", deed(args)) : quarantine_one(args);
}

static int release_one(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *by_id = cli_path("devices/", args->at[0], "/quarantine");
    GW_CLEANUP(gw_free_ptr) char *by_address = cli_path("quarantine/", args->at[0], "");
    bool address;
    int err = subject_of(args->at[0], &address);

    if (err)
        return err;
    err = cli_call(args, "DELETE", address ? by_address : by_id, NULL, NULL);
    return say_done(args, err, "is released");
}

int cli_release(const struct cli_args *args)
{
    int err = check_subject(args);

    if (err)
        return err;
    return args->file ? cli_batch(args, "/api/v1/quarantine/release", "released")
                      : release_one(args);
}

/* ---- grants ---- */

static json_t *permissions_of(const char *text)
{
    if (strcmp(text, "pub") == 0)
        return json_pack("[s]", "pub");
    if (strcmp(text, "sub") == 0)
        return json_pack("[s]", "sub");
    return strcmp(text, "pubsub") == 0 ? json_pack("[s, s]", "pub", "sub") : NULL;
}

/* Remove the grant on `topic`; false when there was none. */
static bool drop_grant(json_t *grants, const char *topic)
{
    bool found = false;

    for (size_t i = json_array_size(grants); i-- > 0;)
        if (strcmp(cli_text(json_array_get(grants, i), "topic"), topic) == 0) {
            (void)json_array_remove(grants, i);
            found = true;
        }
    return found;
}

int cli_grant(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "/grants");
    json_auto_t *permissions = permissions_of(args->at[2]);
    json_auto_t *until = json_null();
    char end[GW_TIME_TEXT];
    json_t *grants = NULL;
    int err;

    if (!permissions) {
        (void)cli_fail("the permissions are pub, sub or pubsub, not %s", args->at[2]);
        return CLI_USAGE;
    }
    err = cli_call(args, "GET", path, NULL, &grants);
    if (err)
        return err;
    if (args->for_s)
        until = json_string(gw_time_text(gw_clock_wall_ms() + (int64_t)(args->for_s * 1000), end));
    (void)drop_grant(grants, args->at[1]);
    json_array_append_new(grants, json_pack("{s:s, s:O, s:O}", "topic", args->at[1], "permissions",
                                            permissions, "until", until));
    return say_done(args, cli_call(args, "PUT", path, grants, NULL), "has the grant");
}

int cli_ungrant(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "/grants");
    json_auto_t *grants = NULL;
    int err = cli_call(args, "GET", path, NULL, &grants);

    if (err)
        return err;
    if (!drop_grant(grants, args->at[1]))
        return cli_fail("%s has no grant of its own on %s", args->at[0], args->at[1]);
    err = cli_call(args, "PUT", path, json_incref(grants), NULL);
    return say_done(args, err, "has the grant no more");
}

static void grant_row(struct cli_table *t, const json_t *g)
{
    const json_t *list = json_object_get(g, "permissions");
    const char *until = cli_text(g, "until");
    char text[16] = "";
    json_t *p;
    size_t i;

    json_array_foreach(list, i, p)
    {
        if (json_is_string(p) && strlen(text) + json_string_length(p) < sizeof(text))
            strcat(text, json_string_value(p));
    }
    cli_cell(t, cli_text(g, "topic"));
    cli_cell(t, text);
    cli_cell(t, *until ? until : "taken back");
}

int cli_grants(const struct cli_args *args)
{
    static const char *const titles[] = {"TOPIC", "MAY", "UNTIL"};
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "/grants");
    GW_CLEANUP(cli_table_free) struct cli_table *t = NULL;
    json_auto_t *grants = NULL;
    json_t *g;
    size_t i;
    int err = cli_call(args, "GET", path, NULL, &grants);

    if (err)
        return err;
    if (args->json) {
        (void)json_dumpf(grants, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        (void)fputc('\n', stdout);
        return CLI_DONE;
    }
    t = cli_table_new(titles, GW_COUNT(titles));
    json_array_foreach(grants, i, g)
    {
        grant_row(t, g);
    }
    cli_table_print_or(
        t, "It has no grants of its own; its own topics and its class's grants hold.", stdout);
    return CLI_DONE;
}
