/* SPDX-License-Identifier: GPL-2.0-only */
/* The table of verbs, and what runs them. */
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli_priv.h"

const struct cli_verb cli_verbs[] = {
    {"status", "", "the gateway at a glance", 0, 0, 0, cli_status},
    {"devices", "", "all devices", 0, 0, 0, cli_devices},
    {"device", "ID", "one device", 1, 1, 0, cli_device},
    {"presence", "[ID]", "who is there; the last day of one device", 0, 1, 0, cli_presence},
    {"events", "[--follow] [--limit N]", "what happened; with --follow as it happens", 0, 0,
     OPT_FOLLOW | OPT_LIMIT, cli_events},
    {"approve", "ID [--name N] [--class C]", "let a device in", 1, 1, OPT_NAME | OPT_CLASS,
     cli_approve},
    {"revoke", "ID", "take a device's certificate back", 1, 1, 0, cli_revoke},
    {"forget", "ID", "remove a device's record", 1, 1, 0, cli_forget},
    {"quarantine",
     "ID|MAC|IP[/LEN]|--file FILE [--mode isolate|remediate|observe] [--for 1h] [--reason TEXT]",
     "cut a device or an address off, or observe it; or each address of a file, one a line", 0, 1,
     OPT_MODE | OPT_FOR | OPT_REASON | OPT_FILE, cli_quarantine},
    {"release", "ID|MAC|IP[/LEN]|--file FILE", "let it out of quarantine", 0, 1, OPT_FILE,
     cli_release},
    {"verdicts", "", "who is quarantined or observed: devices, addresses, networks", 0, 0, 0,
     cli_verdicts},
    {"isolation", "[test]", "how each port is guarded; with test, prove it", 0, 1, 0,
     cli_isolation},
    {"grant", "ID FILTER pub|sub|pubsub [--for 1h]", "let a device use topics", 3, 3, OPT_FOR,
     cli_grant},
    {"ungrant", "ID FILTER", "take a grant back", 2, 2, 0, cli_ungrant},
    {"grants", "ID", "a device's own grants", 1, 1, 0, cli_grants},
    {"profile",
     "ID [show | learn [--for 24h] | report | enforce | off | forget | export [--out FILE] |"
     " import FILE]",
     "what a device does and may do on the wire", 1, 3, OPT_FOR | OPT_OUT, cli_profile},
    {"limit", "ID [--packets N] [--bytes N[k|M|G]] | ID --off",
     "how much a device may send and get a second", 1, 1, OPT_PACKETS | OPT_BYTES | OPT_OFF,
     cli_limit},
    {"pair", "[--for 5m] [--stop]", "open a pairing window and print its code", 0, 0,
     OPT_FOR | OPT_STOP, cli_pair},
    {"setup-code", "", "the one-time code that sets the first password", 0, 0, 0, cli_setup_code},
    {"passwd", "USER [--role viewer|admin]", "set a user's password, from the terminal or stdin", 1,
     1, OPT_ROLE, cli_passwd},
    {"api-key", "[NAME [--role viewer|admin] | NAME --remove]", "list, make or remove API keys", 0,
     1, OPT_ROLE | OPT_REMOVE, cli_api_key},
    {0},
};

/* What `VERB --help` says besides, where the words on one line are not enough. */
static const struct {
    const char *verb, *text;
} more[] = {
    {"quarantine",
     "  isolate    nothing of it passes; the default\n"
     "  remediate  only what repairs it: address resolution, DHCP, DNS, the gateway's own ports\n"
     "  observe    all of it passes; what it does is counted, told and learned\n"
     "Without --for until it is released. In a file: one address or prefix a line, what stands\n"
     "behind a # is left out; \"-\" is standard input.\n"},
    {"forget", "What is known of it goes, and what it may do beyond everybody's. Its certificate "
               "stays good:\n"
               "it is back when it connects. To keep a device out, revoke it.\n"},
    {"release",
     "A device: with it each of its addresses that has a verdict of its own. An address or a\n"
     "prefix: the verdict on exactly that. `cordon verdicts` lists them.\n"},
    {"isolation",
     "The test sends crafted frames of made-up devices through the programs and tables in force, "
     "on\n"
     "a virtual port of its own: the LAN is not touched. Exit status 1 when a check failed.\n"},
    {"profile",
     "  show     its state, limits, rules, and what was learned\n"
     "  learn    keep whom it talks to, from now on; nothing is dropped. With --for until then:\n"
     "           the rules are made at the end, and nobody enforces them yet\n"
     "  report   make what was learned its rules, or take those that it has; tell what departs\n"
     "  enforce  the same, and drop what departs\n"
     "  off      let everything pass; rules, limits and what was learned stay\n"
     "  forget   let everything pass, and keep nothing of it\n"
     "  export   its rules as a MUD file (RFC 8520)\n"
     "  import   make a MUD file its rules; \"-\" is standard input\n"},
    {"limit",
     "Each way; one second's worth at once, and what is more is dropped. What is not named\n"
     "stays as it was.\n"},
};

static void print_more(const struct cli_verb *v)
{
    for (size_t i = 0; i < GW_COUNT(more); i++)
        if (strcmp(more[i].verb, v->name) == 0)
            (void)printf("\n%s", more[i].text);
}

static void print_help(FILE *to)
{
    (void)fputs("usage: cordon [--socket PATH] [--json] VERB …\n\n", to);
    for (const struct cli_verb *v = cli_verbs; v->name; v++)
        (void)fprintf(to, "  %-11s %s\n", v->name, v->help);
    (void)fprintf(to, "  %-11s %s\n", "envelope",
                  "the cloud's side: keys, opening, following; needs no daemon");
    (void)fputs("\ncordon VERB --help says more. --socket PATH: default " CLI_SOCKET
                "; --json: the answer as it came.\n"
                "Exit status: 0 done, 1 refused or failed, 2 usage.\n",
                to);
}

static void print_usage(const struct cli_verb *v, FILE *to)
{
    (void)fprintf(to, "usage: cordon %s%s%s\n", v->name, *v->args ? " " : "", v->args);
}

int cli_fail(const char *fmt, ...)
{
    GW_CLEANUP(gw_free_ptr) char *text = NULL;
    va_list args;

    (void)fflush(stdout);
    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    (void)fputs("cordon: ", stderr);
    cli_put(stderr,
            text ? text : "out of memory"); /* a file's words, or a device's, may be in it */
    (void)fputc('\n', stderr);
    return CLI_FAILED;
}

/* Everything here is UTF-8, also where nobody set a locale. */
static void set_locale(void)
{
    (void)setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
}

/* Where the verb stands behind the options that every verb takes; `argc` when there is none. */
static int verb_at(int argc, char **argv)
{
    int i = 1;

    while (i < argc) {
        if (strcmp(argv[i], "--socket") == 0)
            i += 2;
        else if (strcmp(argv[i], "--json") == 0 || strncmp(argv[i], "--socket=", 9) == 0)
            i++;
        else
            break;
    }
    return GW_MIN(i, argc);
}

int gw_cli_run(int argc, char **argv)
{
    static char name[] = "cordon";
    const struct cli_verb *verb = NULL;
    struct cli_args args;
    int err, at = verb_at(argc, argv);

    set_locale();
    if (argc > 0)
        argv[0] = name;                                   /* getopt's complaints begin like ours */
    if (at < argc && strcmp(argv[at], "envelope") == 0) { /* needs neither a daemon nor JSON */
        argv[at] = name;
        return gw_cli_envelope(argc - at, argv + at);
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        (void)puts("cordon " CORDON_VERSION);
        return CLI_DONE;
    }
    err = cli_parse(argc, argv, &verb, &args);
    if (err && verb)
        print_usage(verb, stderr);
    if (err)
        return err;
    if (!verb) {
        print_help(stdout);
        return CLI_DONE;
    }
    if (args.help) {
        print_usage(verb, stdout);
        (void)printf("%s\n", verb->help);
        print_more(verb);
        return CLI_DONE;
    }
    err = verb->run(&args);
    if (fflush(stdout) != 0 && !err)
        return cli_fail("the output could not be written");
    if (err == CLI_USAGE)
        print_usage(verb, stderr);
    return err;
}
