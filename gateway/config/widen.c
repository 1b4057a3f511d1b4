/* SPDX-License-Identifier: GPL-2.0-only */
#include "config_priv.h"

#include <ctype.h>

#define NAME "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_*"
#define SURE_DIGITS 9 /* so many always fit into 32 bits, with their sign */

/* The length of what begins at `at` and may hold digits that are no number; 0: nothing such. */
static size_t inert(const char *at)
{
    const char *end;

    if (*at == '"') {
        for (end = at + 1; *end && *end != '"'; end++)
            end += *end == '\\' && end[1];
        return (size_t)(end - at) + (*end == '"');
    }
    if (*at == '#' || (at[0] == '/' && at[1] == '/'))
        return strcspn(at, "\n");
    if (at[0] == '/' && at[1] == '*') {
        end = strstr(at + 2, "*/");
        return end ? (size_t)(end - at) + 2 : strlen(at);
    }
    return isalpha((unsigned char)*at) || *at == '*' ? strspn(at, NAME) : 0;
}

static bool is_long(const char *number, size_t len)
{
    bool hex = len > 2 && number[0] == '0' && tolower((unsigned char)number[1]) == 'x';
    size_t digits =
        hex ? 2 + strspn(number + 2, "0123456789abcdefABCDEF") : strspn(number, "0123456789");

    return digits == len && len > SURE_DIGITS;
}

char *config_widen(const char *text)
{
    /* A number that gets a letter has ten bytes or more; the line's end and the zero. */
    char *out = malloc(strlen(text) * 11 / 10 + 3), *to = out;

    if (!out)
        return NULL;
    while (*text) {
        size_t quiet = inert(text);
        size_t number = quiet ? 0 : strspn(text, "0123456789abcdefABCDEFxX.L");
        size_t len = quiet ? quiet : number ? number : 1;

        memcpy(to, text, len);
        to += len;
        if (number && is_long(text, number))
            *to++ = 'L';
        text += len;
    }
    *to++ = '\n'; /* without it a comment in the last line is a syntax error */
    *to = '\0';
    return out;
}
