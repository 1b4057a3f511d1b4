/* SPDX-License-Identifier: GPL-2.0-only */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fail(const char *what, const char *why)
{
    printf("failed: %s: %s\n", what, why);
    exit(1);
}

struct args args_of(int argc, char **argv)
{
    if (argc != 11) {
        fprintf(stderr, "usage: %s HOST PORT CA CERT KEY CLIENT-ID 4|5 pub|sub TOPIC COUNT\n",
                argv[0]);
        exit(2);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    return (struct args){
        .host = argv[1],
        .port = atoi(argv[2]),
        .ca = argv[3],
        .cert = argv[4],
        .key = argv[5],
        .id = argv[6],
        .version = atoi(argv[7]),
        .publish = strcmp(argv[8], "pub") == 0,
        .topic = argv[9],
        .count = atoi(argv[10]),
    };
}

void fill(char out[PAYLOAD], int number)
{
    int n = snprintf(out, PAYLOAD, "%d ", number);

    for (int i = n; i < PAYLOAD; i++)
        out[i] = (char)('a' + (number + i) % 26);
}

void say_got(const void *payload, size_t len)
{
    char number[16] = "", want[PAYLOAD];

    memcpy(number, payload, len < sizeof(number) ? len : sizeof(number) - 1);
    fill(want, atoi(number));
    if (len != PAYLOAD || memcmp(payload, want, PAYLOAD) != 0)
        printf("spoiled %zu bytes\n", len);
    else
        printf("got %d\n", atoi(number));
}
