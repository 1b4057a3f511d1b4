/* SPDX-License-Identifier: GPL-2.0-only */
/** @file Inside room config: the files a configuration is made of, and one key's description. */
#pragma once

#include <libconfig.h>

#include "config/config.h"

/** One file that was read, or found missing. */
struct file {
    char *path;
    struct gw_buf data;
    bool missing;
};

#define FILES_MAX (4 * GW_CONFIG_LIST_MAX)

/** The configuration (first) and the files it names; read from disk, or taken from a bundle. */
struct files {
    struct file at[FILES_MAX];
    size_t count;
    bool sealed; /**< from a bundle: nothing is opened any more */
};

/** The file at `path`, read now if need be. -errno; GW_EFULL over the limits. */
int files_get(struct files *f, const char *path, const struct file **out) GW_MUST_CHECK;
/** Every file of `dir` whose name ends in .pem, in order of name. A missing directory is empty. */
int files_dir(struct files *f, const char *dir, const struct file **out, size_t max,
              size_t *out_count) GW_MUST_CHECK;
int files_pack(const struct files *f, struct gw_buf *out) GW_MUST_CHECK;
int files_unpack(struct gw_slice bundle, struct files *out) GW_MUST_CHECK;
void files_fini(struct files *f);

/**
 * The same text with an L behind each number that may not fit into 32 bits: without it libconfig
 * before 1.7 takes 4294967297 for 1. And with an end of the last line. The caller frees it; NULL:
 * out of memory.
 */
char *config_widen(const char *text) GW_MUST_CHECK;

/** What a build carries along. */
struct build {
    struct files *files;
    const char *path; /**< of the configuration */
    struct gw_config *config;
    struct gw_config_error *error;
};

struct field;
typedef int parse_fn(struct build *b, const struct field *f, const config_setting_t *s);

/** One key: where it stands, how it is read, what is allowed. */
struct field {
    const char *group, *key;
    parse_fn *parse;
    size_t offset;       /**< of the value in struct gw_config */
    size_t count_offset; /**< of the list's length */
    double min, max;
    const char *allowed; /**< said when the value is refused; NULL: the range */
};

parse_fn parse_string, parse_path, parse_flag, parse_u32, parse_u64, parse_share, parse_names,
    parse_listen, parse_brokers, parse_file, parse_file_list, parse_manufacturers, parse_grants,
    parse_rules, parse_protected, parse_new_devices, parse_spool_full, parse_prefix, parse_ingress,
    parse_addresses, parse_servers;

/** "PATH:LINE: group.key: found VALUE; allowed: …" → GW_ECONFIG. `s` NULL: no line, no value. */
int refuse(struct build *b, const struct field *f, const config_setting_t *s);
/** The same with its own words. */
int refuse_text(struct build *b, const config_setting_t *s, const char *fmt, ...) GW_PRINTF(3, 4);
