/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs a fuzz target over every file of a directory, over each of its beginnings, and over each
 * with one byte changed; and over every file of its folder `found`, what a fuzzer brought to light,
 * as it is. Deterministic, and cheap enough for every test run.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

#define INPUT_MAX 4096
#define PLACES 256 /* in one input where it is cut or changed */

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
    size_t stride = 1 + size / PLACES;

    for (size_t len = 0; len <= size; len += stride)
        run(data, len);
    run(data, size);
    for (size_t i = 0; i < size; i += stride) {
        for (size_t f = 0; f < sizeof(flips); f++) {
            data[i] ^= flips[f];
            run(data, size);
            data[i] ^= flips[f];
        }
    }
}

static int run_file(const char *dir, const char *name, bool vary)
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
    if (vary)
        run_all(data, size);
    else
        run(data, size);
    return 0;
}

/* How many files; -1: one could not be read. A folder that is not there has none. */
static int run_dir(const char *path, bool vary)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int files = 0;

    while (dir && files >= 0 && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || entry->d_type == DT_DIR)
            continue;
        if (run_file(path, entry->d_name, vary)) {
            perror(entry->d_name);
            files = -1;
        } else {
            files++;
        }
    }
    if (dir)
        (void)closedir(dir);
    return files;
}

int main(int argc, char **argv)
{
    char found[512];
    int varied, plain;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
        return 2;
    }
    (void)snprintf(found, sizeof(found), "%s/found", argv[1]);
    varied = run_dir(argv[1], true);
    plain = run_dir(found, false);
    (void)printf("%d inputs, and %d as they are\n", varied, plain);
    return varied > 0 && plain >= 0 ? 0 : 1;
}
