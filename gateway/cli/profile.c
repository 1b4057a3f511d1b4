/* SPDX-License-Identifier: GPL-2.0-only */
/* The verbs about what a device may do on the wire: profile, limit. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/cli_priv.h"

#define PEERS_SHOWN 6 /* of one rule, in a table */
#define LEARN_DAYS_MAX 366ull

static int get_profile(const struct cli_args *args, json_t **out)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "/profile");

    return cli_call(args, "GET", path, NULL, out);
}

static int print_json(const json_t *json, FILE *to)
{
    (void)json_dumpf(json, to, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    (void)fputc('\n', to);
    return CLI_DONE;
}

/* ---- words ---- */

static const char *protocol_text(uint64_t protocol, char out[32])
{
    static const struct {
        uint64_t number;
        const char *text;
    } known[] = {{0, "any"}, {1, "icmp"}, {2, "igmp"}, {6, "tcp"}, {17, "udp"}, {58, "icmpv6"}};

    for (size_t i = 0; i < GW_COUNT(known); i++)
        if (known[i].number == protocol)
            return known[i].text;
    (void)snprintf(out, 32, "%" PRIu64, protocol);
    return out;
}

static const char *ports_text(const json_t *range, char out[32])
{
    json_int_t min = json_integer_value(json_array_get(range, 0));
    json_int_t max = json_integer_value(json_array_get(range, 1));

    if (min == 0 && max == UINT16_MAX)
        return "any";
    if (min == max)
        (void)snprintf(out, 32, "%" JSON_INTEGER_FORMAT, min);
    else
        (void)snprintf(out, 32, "%" JSON_INTEGER_FORMAT "-%" JSON_INTEGER_FORMAT, min, max);
    return out;
}

static const char *direction_text(const json_t *object)
{
    return strcmp(cli_text(object, "direction"), "from-device") == 0 ? "from" : "to";
}

static const char *peer_text(const json_t *peer)
{
    const char *class = cli_text(peer, "class"), *name = cli_text(peer, "name");

    if (strcmp(class, "local") == 0)
        return "local networks";
    return *class ? class : *name ? name : cli_text(peer, "address");
}

/* "a.example, 198.51.100.7 and 5 more" */
static void peers_text(const json_t *peers, char *out, size_t room)
{
    size_t count = json_array_size(peers), len = 0;

    *out = '\0';
    for (size_t i = 0; i < count && i < PEERS_SHOWN && len < room; i++)
        len += (size_t)snprintf(out + len, room - len, "%s%s", i ? ", " : "",
                                peer_text(json_array_get(peers, i)));
    if (count > PEERS_SHOWN && len < room)
        (void)snprintf(out + len, room - len, " and %zu more", count - PEERS_SHOWN);
}

/* ---- show ---- */

static void show_rules(const json_t *rules)
{
    static const char *const titles[] = {"  WAY",       "PROTOCOL", "IP",   "ITS PORT",
                                         "PEER'S PORT", "OPENS",    "PEERS"};
    GW_CLEANUP(cli_table_free) struct cli_table *t = cli_table_new(titles, GW_COUNT(titles));
    char text[PEERS_SHOWN * 300], small[32];
    json_t *r;
    size_t i;

    json_array_foreach(rules, i, r)
    {
        peers_text(json_object_get(r, "peers"), text, sizeof(text));
        cli_cellf(t, "  %s", direction_text(r));
        cli_cell(t, protocol_text(cli_number(r, "protocol"), small));
        cli_cell(t, cli_text(r, "family"));
        cli_cell(t, ports_text(json_object_get(r, "device_ports"), small));
        cli_cell(t, ports_text(json_object_get(r, "peer_ports"), small));
        cli_cell(t, json_is_true(json_object_get(r, "no_open")) ? "no" : "yes");
        cli_cell(t, text);
    }
    if (i == 0)
        return;
    (void)puts("Rules");
    cli_table_print(t, stdout);
}

static void show_learned(const json_t *learned)
{
    static const char *const titles[] = {"  OPENED", "PROTOCOL", "PORT", "PEER",
                                         "NAME",     "PACKETS",  "BYTES"};
    GW_CLEANUP(cli_table_free) struct cli_table *t = cli_table_new(titles, GW_COUNT(titles));
    const json_t *list = json_object_get(learned, "conversations");
    char small[32];
    json_t *c;
    size_t i;

    json_array_foreach(list, i, c)
    {
        cli_cellf(t, "  %s", strcmp(direction_text(c), "from") == 0 ? "by it" : "by the peer");
        cli_cell(t, protocol_text(cli_number(c, "protocol"), small));
        cli_cellf(t, "%" PRIu64, cli_number(c, "port"));
        cli_cell(t, cli_text(c, "peer"));
        cli_cell(t, cli_text(c, "name"));
        cli_cellf(t, "%" PRIu64, cli_number(c, "packets"));
        cli_cell(t, cli_bytes(cli_number(c, "bytes"), small));
    }
    if (i == 0)
        return;
    (void)printf("Learned    %zu conversation%s", i, i == 1 ? "" : "s");
    if (cli_number(learned, "missed"))
        (void)printf(", %" PRIu64 " more found no room", cli_number(learned, "missed"));
    (void)fputc('\n', stdout);
    cli_table_print(t, stdout);
}

/* "50 packets/s, 1.0 MB/s, each way" */
static void put_limits(uint64_t packets, uint64_t bytes)
{
    char size[32];

    if (packets)
        (void)printf("%" PRIu64 " packets/s, ", packets);
    if (bytes)
        (void)printf("%s/s, ", cli_bytes(bytes, size));
    (void)fputs("each way", stdout);
}

static void show_limits(const char *title, const json_t *limits)
{
    uint64_t packets = cli_number(limits, "packets_per_s"),
             bytes = cli_number(limits, "bytes_per_s");

    if (!packets && !bytes)
        return;
    (void)printf("%-10s ", title);
    put_limits(packets, bytes);
    (void)fputc('\n', stdout);
}

static void show_notes(const json_t *profile, FILE *to)
{
    const json_t *notes = json_object_get(profile, "notes");
    json_t *n;
    size_t i;

    json_array_foreach(notes, i, n)
    {
        (void)fputs("Note       ", to);
        cli_put(to, json_string_value(n) ? json_string_value(n) : "");
        (void)fputc('\n', to);
    }
}

static void show_state(const json_t *p)
{
    const char *until = cli_text(p, "until"), *since = cli_text(p, "since");

    (void)printf("State      %s%s%s%s%s\n", cli_text(p, "state"), *since ? " since " : "", since,
                 *until ? " until " : "", until);
    if (json_is_true(json_object_get(p, "learning")) &&
        strcmp(cli_text(p, "state"), "learning") != 0)
        (void)puts("           and learned, as it is observed");
    if (*cli_text(p, "problem"))
        (void)printf("Problem    the kernel does not have it: %s\n", cli_text(p, "problem"));
}

/* What there is not, and how it comes about. */
static void show_missing(const struct cli_args *args, const json_t *p)
{
    const json_t *learned = json_object_get(p, "learned");

    if (json_array_size(json_object_get(p, "rules")) > 0 ||
        json_array_size(json_object_get(learned, "conversations")) > 0)
        return;
    if (json_is_true(json_object_get(p, "learning"))) {
        (void)puts("Learned    nothing yet");
        return;
    }
    (void)fputs("Nothing was learned or imported yet; \"cordon profile ", stdout);
    cli_put(stdout, args->at[0]);
    (void)puts(" learn\" begins it.");
}

static int show(const struct cli_args *args)
{
    json_auto_t *p = NULL;
    int err = get_profile(args, &p);

    if (err)
        return err;
    if (args->json)
        return print_json(p, stdout);
    show_state(p);
    show_limits("Limits", json_object_get(p, "limits"));
    show_limits("Suggested", json_object_get(p, "suggested"));
    show_notes(p, stdout);
    show_rules(json_object_get(p, "rules"));
    show_learned(json_object_get(p, "learned"));
    show_missing(args, p);
    return CLI_DONE;
}

/* ---- changes ---- */

static int change(const struct cli_args *args, const char *behind, json_t *body)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], behind);

    return cli_call(args, "POST", path, body, NULL);
}

static int say(const struct cli_args *args, int err, const char *what)
{
    if (err || args->json)
        return err;
    (void)fputs("The profile of ", stdout);
    cli_put(stdout, args->at[0]);
    (void)printf(" %s.\n", what);
    return CLI_DONE;
}

/* A file is not in force by being read. */
static void say_state(const struct cli_args *args, const char *state)
{
    (void)fputs("It is ", stdout);
    cli_put(stdout, state);
    if (strcmp(state, "enforcing") != 0) {
        (void)fputs(": cordon profile ", stdout);
        cli_put(stdout, args->at[0]);
        (void)fputs(" enforce puts it in force", stdout);
    }
    (void)puts(".");
}

/* With how many rules, and what is to be known about them. */
static int say_rules(const struct cli_args *args, int err, const char *what, bool state)
{
    json_auto_t *p = NULL;
    char text[96];
    size_t count;

    if (err || args->json)
        return err;
    err = get_profile(args, &p);
    if (err)
        return err;
    count = json_array_size(json_object_get(p, "rules"));
    (void)snprintf(text, sizeof(text), "%s: %zu rule%s", what, count, count == 1 ? "" : "s");
    (void)say(args, 0, text);
    if (state)
        say_state(args, cli_text(p, "state"));
    show_notes(p, stdout);
    return CLI_DONE;
}

static int learn(const struct cli_args *args)
{
    json_t *body;

    if (args->for_s > LEARN_DAYS_MAX * 86400) {
        (void)cli_fail("--for is at most %llud here", LEARN_DAYS_MAX);
        return CLI_USAGE;
    }
    body = json_pack("{s:I}", "seconds", (json_int_t)args->for_s);
    return say(args, change(args, "/profile/learn", body), "is being learned");
}

static int report(const struct cli_args *args)
{
    return say_rules(args, change(args, "/profile/report", json_object()),
                     "reports what departs from it", false);
}

static int enforce(const struct cli_args *args)
{
    return say_rules(args, change(args, "/profile/enforce", json_object()), "is enforced", false);
}

static int off(const struct cli_args *args)
{
    return say(args, change(args, "/profile/off", json_object()), "is off");
}

static int forget(const struct cli_args *args)
{
    return say(args, change(args, "/profile/forget", json_object()), "is forgotten");
}

/* ---- files ---- */

static int export(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "/profile/mud");
    json_auto_t *mud = NULL;
    FILE *f;
    int err = cli_call(args, "GET", path, NULL, &mud);

    if (err || !args->out)
        return err ? err : print_json(mud, stdout);
    f = fopen(args->out, "we");
    if (!f)
        return cli_fail("%s cannot be written: %s", args->out, strerror(errno));
    (void)print_json(mud, f);
    if (fclose(f) != 0)
        return cli_fail("%s cannot be written: %s", args->out, strerror(errno));
    return say(args, 0, "is in the file");
}

/* NULL: said why. */
static json_t *read_mud(FILE *f, const char *name)
{
    json_error_t error;
    json_t *mud = json_loadf(f, JSON_REJECT_DUPLICATES, &error);

    if (!mud && ferror(f))
        (void)cli_fail("%s: %s", name, strerror(errno));
    else if (!mud)
        (void)cli_fail("%s is no MUD file: line %d: %s", name, error.line, error.text);
    return mud;
}

static int import(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "/profile/mud");
    const char *name = args->at[2];
    bool from_stdin = strcmp(name, "-") == 0;
    FILE *f = from_stdin ? stdin : fopen(name, "re");
    json_t *mud;

    if (!f)
        return cli_fail("%s: %s", name, strerror(errno));
    mud = read_mud(f, from_stdin ? "stdin" : name);
    if (!from_stdin)
        (void)fclose(f);
    if (!mud)
        return CLI_FAILED;
    return say_rules(args, cli_call(args, "PUT", path, mud, NULL), "is what the file says", true);
}

/* ---- the verbs ---- */

struct deed {
    const char *name;
    int count;        /* of arguments, with the device */
    unsigned options; /* that it takes */
    int (*run)(const struct cli_args *args);
};

static int check_deed(const struct deed *d, const struct cli_args *args)
{
    const char *wrong = cli_option_text(args->given & ~d->options);

    if (wrong)
        (void)cli_fail("profile %s does not take the option: %s", d->name, wrong);
    else if (args->count > d->count)
        (void)cli_fail("profile %s: too many arguments", d->name);
    else if (args->count < d->count)
        (void)cli_fail("profile %s: the file is missing (-: standard input)", d->name);
    return wrong || args->count != d->count ? CLI_USAGE : 0;
}

int cli_profile(const struct cli_args *args)
{
    static const struct deed deeds[] = {
        {"show", 2, 0, show},           {"learn", 2, OPT_FOR, learn}, {"report", 2, 0, report},
        {"enforce", 2, 0, enforce},     {"off", 2, 0, off},           {"forget", 2, 0, forget},
        {"export", 2, OPT_OUT, export}, {"import", 3, 0, import}};
    struct cli_args a = *args;
    int err;

    if (a.count == 1)
        a.at[a.count++] = "show";
    for (size_t i = 0; i < GW_COUNT(deeds); i++) {
        if (strcmp(deeds[i].name, a.at[1]) != 0)
            continue;
        err = check_deed(&deeds[i], &a);
        return err ? err : deeds[i].run(&a);
    }
    (void)cli_fail("a profile cannot be told to \"%s\"", a.at[1]);
    return CLI_USAGE;
}

int cli_limit(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("devices/", args->at[0], "/limit");
    json_auto_t *p = NULL;
    const json_t *now;
    uint64_t packets, bytes;
    int err;

    if (!args->given || (args->off && args->given != OPT_OFF)) {
        (void)cli_fail("say --packets, --bytes or both, or --off");
        return CLI_USAGE;
    }
    err = get_profile(args, &p);
    if (err)
        return err;
    now = json_object_get(p, "limits");
    packets = args->given & OPT_PACKETS ? args->packets : cli_number(now, "packets_per_s");
    bytes = args->given & OPT_BYTES ? args->bytes : cli_number(now, "bytes_per_s");
    if (args->off)
        packets = bytes = 0;
    err = cli_call(args, "PUT", path,
                   json_pack("{s:I, s:I}", "packets_per_s", (json_int_t)packets, "bytes_per_s",
                             (json_int_t)bytes),
                   NULL);
    if (err || args->json)
        return err;
    cli_put(stdout, args->at[0]);
    (void)fputs(args->off ? " has no limit any more" : " is limited: ", stdout);
    if (!args->off)
        put_limits(packets, bytes);
    (void)puts(".");
    return CLI_DONE;
}
