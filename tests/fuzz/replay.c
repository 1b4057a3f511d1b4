/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs a fuzz target over every file of a directory, over each of its beginnings, and over each
 * with one byte changed: deterministic, and cheap enough for every test run.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

#define INPUT_MAX 4096

static void run(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1); /* so that a sanitizer sees one byte too far */

    if (!exact)
        abort();
    if (size)
        memcpy(exact, data, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static void run_all(uint8_t *data, size_t size)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};

    for (size_t len = 0; len <= size; len++)
        run(data, len);
    for (size_t i = 0; i < size; i++) {
        for (size_t f = 0; f < sizeof(flips); f++) {
            data[i] ^= flips[f];
            run(data, size);
            data[i] ^= flips[f];
        }
    }
}

static int run_file(const char *dir, const char *name)
{
    uint8_t data[INPUT_MAX];
    char path[512];
    size_t size;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "rb");
    if (!f)
        return -1;
    size = fread(data, 1, sizeof(data), f);
    (void)fclose(f);
    run_all(data, size);
    return 0;
}

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    struct dirent *entry;
    unsigned files = 0;

    if (!dir) {
        (void)fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
        return 2;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        if (run_file(argv[1], entry->d_name)) {
            perror(entry->d_name);
            return 1;
        }
        files++;
    }
    (void)closedir(dir);
    (void)printf("%u inputs\n", files);
    return files ? 0 : 1;
}
