/* SPDX-License-Identifier: GPL-2.0-only */
/* The verbs that let somebody in: pairing window, setup code, passwords, API keys. */
#include <ctype.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli/cli_priv.h"

#define PASSWORD_ROOM 1026 /* 1024 bytes, the line's end, the zero */

static int print_json(const json_t *json)
{
    (void)json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    (void)fputc('\n', stdout);
    return CLI_DONE;
}

/* ---- pairing ---- */

/* An address that a device on the LAN can dial: up, not this machine's alone, not link-local. */
static bool is_dialled(const struct ifaddrs *i)
{
    const void *sa = i->ifa_addr;

    if (!sa || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK))
        return false;
    if (i->ifa_addr->sa_family == AF_INET6)
        return !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)sa)->sin6_addr);
    return i->ifa_addr->sa_family == AF_INET;
}

static void print_addresses(uint64_t port)
{
    struct ifaddrs *all = NULL;

    (void)printf("Enrol at     https://cordon.local:%" PRIu64
                 "/.well-known/est/  (where that name is known)\n",
                 port);
    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        char host[NI_MAXHOST];
        bool v6 = is_dialled(i) && i->ifa_addr->sa_family == AF_INET6;

        if (!is_dialled(i) ||
            getnameinfo(i->ifa_addr, v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in),
                        host, sizeof(host), NULL, 0, NI_NUMERICHOST) != 0)
            continue;
        (void)printf("             https://%s%s%s:%" PRIu64 "/.well-known/est/  (%s)\n",
                     v6 ? "[" : "", host, v6 ? "]" : "", port, i->ifa_name);
    }
    freeifaddrs(all);
}

/* AA:BB:…, as openssl prints it. */
static void print_fingerprint(const char *hex)
{
    (void)fputs("CA SHA-256   ", stdout);
    for (size_t i = 0; hex[i]; i++)
        (void)printf("%s%c", i && i % 2 == 0 ? ":" : "", toupper((unsigned char)hex[i]));
    (void)fputc('\n', stdout);
}

#define PAIRING_DAYS_MAX 1ull /* as the daemon has it */

int cli_pair(const struct cli_args *args)
{
    json_auto_t *answer = NULL;
    int err;

    if (args->for_s > PAIRING_DAYS_MAX * 86400) {
        (void)cli_fail("--for is at most %llud here", PAIRING_DAYS_MAX);
        return CLI_USAGE;
    }
    if (args->stop) {
        err = cli_call(args, "DELETE", "/api/v1/pairing", NULL, NULL);
        if (!err && !args->json)
            (void)puts("The pairing window is closed.");
        return err;
    }
    err = cli_call(args, "POST", "/api/v1/pairing",
                   json_pack("{s:I}", "seconds", (json_int_t)args->for_s), &answer);
    if (err)
        return err;
    if (args->json)
        return print_json(answer);
    (void)printf("Code         %s  (the password; any user name)\nUntil        %s\n",
                 cli_text(answer, "code"), cli_text(answer, "expires"));
    print_addresses(cli_number(answer, "port"));
    print_fingerprint(cli_text(answer, "ca_sha256"));
    return CLI_DONE;
}

/* ---- the setup code ---- */

int cli_setup_code(const struct cli_args *args)
{
    json_auto_t *answer = NULL;
    int err = cli_call(args, "GET", "/api/v1/setup-code", NULL, &answer);

    if (err)
        return err;
    if (args->json)
        return print_json(answer);
    (void)puts(cli_text(answer, "code"));
    return CLI_DONE;
}

/* ---- passwords ---- */

/* One line without its end; false at the end of the input, or for a line that is too long. */
static bool read_line(char out[PASSWORD_ROOM])
{
    size_t len;

    if (!fgets(out, PASSWORD_ROOM, stdin))
        return false;
    len = strcspn(out, "\r\n");
    if (!out[len] && !feof(stdin))
        return false;
    out[len] = '\0';
    return true;
}

/* Asked for on the terminal without showing it; else the next line of stdin as it is. */
static bool ask(const char *prompt, char out[PASSWORD_ROOM])
{
    struct termios shown, hidden;
    bool terminal = tcgetattr(STDIN_FILENO, &shown) == 0, got;

    if (terminal) {
        hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        (void)fputs(prompt, stderr);
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    }
    got = read_line(out);
    if (terminal) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
        (void)fputc('\n', stderr);
    }
    return got;
}

static int ask_password(char out[PASSWORD_ROOM])
{
    char again[PASSWORD_ROOM];
    bool same;

    if (!ask("New password: ", out))
        return cli_fail("no password was given (at most %d bytes, in one line)", PASSWORD_ROOM - 2);
    if (!isatty(STDIN_FILENO))
        return 0;
    if (!ask("Again: ", again))
        return cli_fail("no password was given");
    same = strcmp(out, again) == 0;
    gw_wipe(again, sizeof(again));
    return same ? 0 : cli_fail("the two passwords differ; nothing was changed");
}

int cli_passwd(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("users/", args->at[0], "/password");
    char password[PASSWORD_ROOM];
    json_t *body;
    int err = ask_password(password);

    if (err)
        return err;
    body = json_pack("{s:s}", "password", password);
    gw_wipe(password, sizeof(password));
    if (!body)
        return cli_fail("the password is not UTF-8");
    if (args->role)
        json_object_set_new(body, "role", json_string(args->role));
    err = cli_call(args, "PUT", path, body, NULL);
    if (!err && !args->json)
        (void)printf("The password of %s is set.\n", args->at[0]);
    return err;
}

/* ---- API keys ---- */

static int list_keys(const struct cli_args *args)
{
    static const char *const titles[] = {"NAME", "ROLE"};
    GW_CLEANUP(cli_table_free) struct cli_table *t = NULL;
    json_auto_t *keys = NULL;
    json_t *k;
    size_t i;
    int err = cli_call(args, "GET", "/api/v1/keys", NULL, &keys);

    if (err)
        return err;
    if (args->json)
        return print_json(keys);
    t = cli_table_new(titles, GW_COUNT(titles));
    json_array_foreach(keys, i, k)
    {
        cli_cell(t, cli_text(k, "name"));
        cli_cell(t, cli_text(k, "role"));
    }
    cli_table_print_or(t, "There is no API key.", stdout);
    return CLI_DONE;
}

static int remove_key(const struct cli_args *args)
{
    GW_CLEANUP(gw_free_ptr) char *path = cli_path("keys/", args->at[0], "");
    int err = cli_call(args, "DELETE", path, NULL, NULL);

    if (!err && !args->json)
        (void)printf("The API key %s is removed.\n", args->at[0]);
    return err;
}

int cli_api_key(const struct cli_args *args)
{
    json_auto_t *answer = NULL;
    json_t *body;
    int err;

    if (!args->count)
        return args->remove || args->role ? CLI_USAGE : list_keys(args);
    if (args->remove)
        return args->role ? CLI_USAGE : remove_key(args);
    body = json_pack("{s:s}", "name", args->at[0]);
    if (!body)
        return cli_fail("the name is not UTF-8");
    if (args->role)
        json_object_set_new(body, "role", json_string(args->role));
    err = cli_call(args, "POST", "/api/v1/keys", body, &answer);
    if (err)
        return err;
    if (args->json)
        return print_json(answer);
    (void)printf("%s\n", cli_text(answer, "key"));
    (void)fputs("It is shown this once; send it as Authorization: Bearer KEY.\n", stderr);
    return CLI_DONE;
}
