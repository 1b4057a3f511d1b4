/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/cli_priv.h"

/* Options that every verb takes; no single bit, so that they differ from every OPT_…. */
enum { ALWAYS_SOCKET = 3, ALWAYS_JSON = 5 };

#define PACKETS_MAX 10000000ull
#define BYTES_MAX 100000000000ull

static const struct option options[] = {
    {"socket", required_argument, NULL, ALWAYS_SOCKET},
    {"json", no_argument, NULL, ALWAYS_JSON},
    {"help", no_argument, NULL, 'h'},
    {"name", required_argument, NULL, OPT_NAME},
    {"class", required_argument, NULL, OPT_CLASS},
    {"mode", required_argument, NULL, OPT_MODE},
    {"for", required_argument, NULL, OPT_FOR},
    {"reason", required_argument, NULL, OPT_REASON},
    {"follow", no_argument, NULL, OPT_FOLLOW},
    {"role", required_argument, NULL, OPT_ROLE},
    {"stop", no_argument, NULL, OPT_STOP},
    {"remove", no_argument, NULL, OPT_REMOVE},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"out", required_argument, NULL, OPT_OUT},
    {"packets", required_argument, NULL, OPT_PACKETS},
    {"bytes", required_argument, NULL, OPT_BYTES},
    {"off", no_argument, NULL, OPT_OFF},
    {"file", required_argument, NULL, OPT_FILE},
    {0},
};

static const struct cli_verb *verb_named(const char *name)
{
    for (const struct cli_verb *v = cli_verbs; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

static int usage(const char *what, const char *value)
{
    (void)cli_fail("%s%s%s", what, value ? ": " : "", value ? value : "");
    return CLI_USAGE;
}

static int take_limit(const char *text, uint64_t *out)
{
    unsigned long long n;
    char *end;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno || *end || *text < '0' || *text > '9' || n < 1 || n > 1000)
        return usage("--limit takes a number from 1 to 1000, not", text);
    *out = n;
    return 0;
}

/* From 1 to `max`, with one of `units` behind it, each a thousand times the one before. */
static int take_rate(const char *option, const char *text, const char *units, uint64_t max,
                     uint64_t *out)
{
    unsigned long long n;
    const char *unit;
    char *end;

    errno = 0;
    n = strtoull(text, &end, 10);
    unit = *end ? strchr(units, *end) : units;
    if (errno || end == text || *text < '0' || *text > '9' || !unit || (*end && end[1]) || n < 1)
        return usage(option, text);
    for (long i = *end ? unit - units + 1 : 0; i > 0 && n <= max; i--)
        n *= 1000;
    if (n > max)
        return usage(option, text);
    *out = n;
    return 0;
}

static int take_option(struct cli_args *a, int option, const char *value)
{
    switch (option) {
    case ALWAYS_SOCKET:
        a->socket = value;
        return 0;
    case ALWAYS_JSON:
        a->json = true;
        return 0;
    case 'h':
        a->help = true;
        return 0;
    case OPT_NAME:
        a->name = value;
        break;
    case OPT_CLASS:
        a->class = value;
        break;
    case OPT_MODE:
        if (strcmp(value, "isolate") != 0 && strcmp(value, "remediate") != 0 &&
            strcmp(value, "observe") != 0)
            return usage("--mode takes isolate, remediate or observe, not", value);
        a->mode = value;
        break;
    case OPT_REASON:
        a->reason = value;
        break;
    case OPT_ROLE:
        a->role = value;
        break;
    case OPT_FILE:
        a->file = value;
        break;
    case OPT_FOLLOW:
        a->follow = true;
        break;
    case OPT_STOP:
        a->stop = true;
        break;
    case OPT_REMOVE:
        a->remove = true;
        break;
    case OPT_LIMIT:
        if (take_limit(value, &a->limit) != 0)
            return CLI_USAGE;
        break;
    case OPT_OUT:
        a->out = value;
        break;
    case OPT_OFF:
        a->off = true;
        break;
    case OPT_PACKETS:
        if (take_rate("--packets takes a number a second from 1 to 10000000, not", value, "",
                      PACKETS_MAX, &a->packets) != 0)
            return CLI_USAGE;
        break;
    case OPT_BYTES:
        if (take_rate("--bytes takes a number a second such as 50000, 50k or 2M, at most 100G, not",
                      value, "kMG", BYTES_MAX, &a->bytes) != 0)
            return CLI_USAGE;
        break;
    case OPT_FOR:
        if (!gw_duration_parse(value, &a->for_s) || a->for_s == 0)
            return usage(
                "--for takes a length of time such as 90s, 5m, 1h or 2d, at most 36600d, not",
                value);
        break;
    default:
        return CLI_USAGE; /* getopt has said why */
    }
    a->given |= (unsigned)option;
    return 0;
}

const char *cli_option_text(unsigned given)
{
    unsigned first = given & -given;

    for (const struct option *o = options; first && o->name; o++)
        if (o->val == (int)first)
            return o->name;
    return NULL;
}

static int check_shape(const struct cli_verb *v, const struct cli_args *a)
{
    const char *wrong = cli_option_text(a->given & ~v->options);

    if (wrong)
        return usage("this verb does not take the option", wrong);
    if (a->count < v->min)
        return usage("something is missing", NULL);
    if (a->count > v->max)
        return usage("too many arguments", NULL);
    for (int i = 0; i < a->count; i++)
        if (!*a->at[i])
            return usage("an argument is empty", NULL);
    return 0;
}

int cli_parse(int argc, char **argv, const struct cli_verb **out_verb, struct cli_args *out)
{
    struct cli_args a = {.socket = CLI_SOCKET};
    int option, err = 0;

    *out_verb = NULL;
    optind = 0; /* glibc: begin anew */
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1 && !err)
        err = take_option(&a, option, optarg);
    if (optind < argc) {
        *out_verb = verb_named(argv[optind]);
        if (!err && !*out_verb)
            return usage("there is no such verb (cordon --help lists them)", argv[optind]);
        optind++;
    } else if (!err && !a.help) {
        return usage("say what to do; cordon --help lists the verbs", NULL);
    }
    for (; optind < argc && a.count < CLI_POSITIONS; optind++)
        a.at[a.count++] = argv[optind];
    a.count += argc - optind;
    if (!err && *out_verb && !a.help)
        err = check_shape(*out_verb, &a);
    if (!err)
        *out = a;
    return err;
}
