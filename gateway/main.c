/* SPDX-License-Identifier: GPL-2.0-only */
/* cordond: the arguments, then the privileged process, or (started by it) the worker. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "config/config.h"
#include "crypto/crypto.h"
#include "enforcer/enforcer.h"
#include "worker.h"

enum { EXIT_REFUSED = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: cordond [-c FILE] [--check]\n"
    "The IoT security gateway: runs in the foreground and logs to standard error.\n"
    "\n"
    "  -c, --config FILE  read this configuration (" GW_CONFIG_PATH ";\n"
    "                     when that is missing, every key has its default)\n"
    "      --check        only read the configuration and the files it names\n"
    "      --unpin        remove the kernel programs and verdicts that outlive the daemon\n"
    "                     (refused while it runs)\n"
    "      --version      print the version\n"
    "  -h, --help         print this\n"
    "\n"
    "SIGHUP reads the configuration again, SIGTERM ends in order; verdicts stay in force.\n"
    "Exit status: 0 after SIGTERM, 1 with a line that says what and why, 2 wrong usage.\n";

static int check(const char *path)
{
    GW_CLEANUP(gw_config_free) struct gw_config *config = NULL;
    struct gw_config_error error = {""};

    if (gw_config_load(path, &config, &error) != 0 || check_files(path, config, &error) != 0) {
        (void)fprintf(stderr, "cordond: %s\n", error.text);
        return EXIT_REFUSED;
    }
    (void)printf("%s: the configuration is right\n", path);
    return 0;
}

static int run(const char *path, bool only_check)
{
    int status;

    if (gw_crypto_init() != 0) {
        (void)fprintf(stderr, "cordond: the cryptographic library does not start\n");
        return EXIT_REFUSED;
    }
    status = only_check ? check(path) : gw_enforcer_run(path, check_files);
    gw_crypto_fini();
    return status;
}

int main(int argc, char **argv)
{
    enum { CHECK = 256, UNPIN, VERSION, WORKER };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, CHECK},
        {"unpin", no_argument, NULL, UNPIN},
        {"version", no_argument, NULL, VERSION},
        {"worker", required_argument, NULL, WORKER}, /* how the enforcer starts the worker */
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = GW_CONFIG_PATH;
    bool only_check = false, unpin = false;
    int option;

    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case CHECK:
            only_check = true;
            break;
        case UNPIN:
            unpin = true;
            break;
        case VERSION:
            (void)puts("cordond " CORDON_VERSION);
            return 0;
        case WORKER:
            return gw_worker_run(atoi(optarg));
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            (void)fputs("Try 'cordond --help'.\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "cordond: unexpected argument \"%s\"\nTry 'cordond --help'.\n",
                      argv[optind]);
        return EXIT_USAGE;
    }
    if (unpin)
        return gw_enforcer_unpin(path) == 0 ? 0 : EXIT_REFUSED;
    return run(path, only_check);
}
