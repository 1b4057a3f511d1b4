/* SPDX-License-Identifier: GPL-2.0-only */
/* `quarantine --file` and `release --file`: many addresses, one a line. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/addr.h"
#include "cli/cli_priv.h"

#define LINES_MAX 1000000
#define PER_CALL 2000

/* What a line says, without comment and blanks; "" when that is nothing. */
static char *word_of(char *line)
{
    char *end;

    line[strcspn(line, "#\n")] = '\0';
    line += strspn(line, " \t\r");
    end = line + strlen(line);
    while (end > line && strchr(" \t\r", end[-1]))
        *--end = '\0';
    return line;
}

/* "1 address is", "5 addresses are" */
static const char *count_text(uint64_t count, char out[48])
{
    (void)snprintf(out, 48, "%" PRIu64 " %s", count, count == 1 ? "address is" : "addresses are");
    return out;
}

/* All lines as a list of {"address"}. NULL: said why. */
static json_t *read_lines(FILE *f, const char *name)
{
    GW_CLEANUP(gw_free_ptr) char *line = NULL;
    json_auto_t *orders = json_array();
    size_t room = 0, number = 0;
    struct gw_hwaddr addr;
    ssize_t len;

    while ((len = getline(&line, &room, f)) >= 0) {
        bool is_text = strlen(line) == (size_t)len; /* no zero within */
        const char *word = word_of(line);

        number++;
        if (!*word && is_text)
            continue;
        if (!is_text || gw_hwaddr_parse(word, &addr) != 0) {
            (void)cli_fail("%s, line %zu: \"%.64s\" is no address; nothing was changed", name,
                           number, word);
            return NULL;
        }
        if (json_array_size(orders) == LINES_MAX) {
            (void)cli_fail("%s has more than %d addresses", name, LINES_MAX);
            return NULL;
        }
        json_array_append_new(orders, json_pack("{s:s}", "address", word));
    }
    if (ferror(f) || json_array_size(orders) == 0) {
        (void)cli_fail("%s: %s", name, ferror(f) ? strerror(errno) : "there is no address in it");
        return NULL;
    }
    return json_incref(orders);
}

static json_t *read_file(const char *name)
{
    bool from_stdin = strcmp(name, "-") == 0;
    FILE *f = from_stdin ? stdin : fopen(name, "re");
    json_t *orders;

    if (!f) {
        (void)cli_fail("%s: %s", name, strerror(errno));
        return NULL;
    }
    orders = read_lines(f, from_stdin ? "stdin" : name);
    if (!from_stdin)
        (void)fclose(f);
    return orders;
}

/* What the options say, on each order. */
static void complete(const struct cli_args *args, json_t *orders)
{
    json_t *order;
    size_t i;

    json_array_foreach(orders, i, order)
    {
        if (args->mode)
            json_object_set_new(order, "mode", json_string(args->mode));
        if (args->reason)
            json_object_set_new(order, "reason", json_string(args->reason));
        if (args->for_s)
            json_object_set_new(order, "seconds", json_integer((json_int_t)args->for_s));
    }
}

/* The orders from `from` on, as many as one call takes. */
static json_t *part_of(json_t *orders, size_t from)
{
    json_t *part = json_array();

    for (size_t i = from; i < json_array_size(orders) && i < from + PER_CALL; i++)
        json_array_append(part, json_array_get(orders, i));
    return part;
}

static int say_result(const struct cli_args *args, json_t *result, const char *verb)
{
    size_t refused = json_array_size(json_object_get(result, "refused")), i;
    char text[48];
    json_t *one;

    if (args->json)
        (void)!cli_unless_json(args, json_incref(result));
    else
        (void)printf("%s %s.\n", count_text(cli_number(result, "done"), text), verb);
    json_array_foreach(json_object_get(result, "refused"), i, one)
    {
        (void)cli_fail("%s: %s", cli_text(one, "address"), cli_text(one, "detail"));
    }
    return refused ? CLI_FAILED : CLI_DONE;
}

/* A person waits some seconds for very many. What is said next stands in its place. */
static void show_progress(size_t at, size_t count)
{
    if (count <= PER_CALL || !isatty(STDERR_FILENO))
        return;
    if (at < count)
        (void)fprintf(stderr, "%zu of %zu\r", at, count);
    else
        (void)fputs("\033[K", stderr);
}

int cli_batch(const struct cli_args *args, const char *path, const char *verb)
{
    json_auto_t *orders = read_file(args->file);
    json_auto_t *result = json_pack("{s:i, s:[]}", "done", 0, "refused");
    uint64_t done = 0;

    if (!orders)
        return CLI_FAILED;
    complete(args, orders);
    for (size_t at = 0; at < json_array_size(orders); at += PER_CALL) {
        json_auto_t *answer = NULL;
        char text[48];
        int err;

        show_progress(at, json_array_size(orders));
        err = cli_call(args, "POST", path, part_of(orders, at), &answer);
        if (err && done > 0)
            (void)cli_fail("%s %s before", count_text(done, text), verb);
        if (err)
            return err;
        done += cli_number(answer, "done");
        json_object_set_new(result, "done", json_integer((json_int_t)done));
        json_array_extend(json_object_get(result, "refused"), json_object_get(answer, "refused"));
    }
    show_progress(json_array_size(orders), json_array_size(orders));
    return say_result(args, result, verb);
}
