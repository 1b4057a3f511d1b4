/* SPDX-License-Identifier: GPL-2.0-only */
#include "config_priv.h"

#include <errno.h>

/* What an absent key means; the same words as etc/cordon.conf, in the same format. */
static const char defaults[] =
    "gateway = { name = \"Cordon\"; state_dir = \"/var/lib/cordon\"; run_dir = \"/run/cordon\";"
    "            user = \"cordon\"; };"
    "lan = { interfaces = [\"auto\"]; new_devices = \"observe\"; };"
    "listen = { mqtt = [\"[::]:8883\"]; https = [\"[::]:8443\"]; coap = [\"[::]:5684\"]; };"
    "admin = { https = [\"[::]:443\"]; metrics = true; };"
    "enroll = { window_s = 0; manufacturers_dir = \"/etc/cordon/manufacturers\";"
    "           certificate_days = 90; grace_days = 365; };"
    "access = { own_topics = true; grants = ( ); };"
    "presence = { timeout_s = 300; misses = 2; outage_share = 0.5; outage_window_s = 30;"
    "             announce_max = 20; interval_s = 30; };"
    "quarantine = { auto = true; rules = ( ); protected = [ ]; };"
    "detect = { window_s = 10; hosts = 50; ports = 50; neighbours = 8; packets_per_s = 50000;"
    "           moves = 4; };"
    "isolation = { addresses = 0; ingress = \"auto\"; bind = true; servers = [ ]; };"
    "uplink = { brokers = [ ]; prefix = \"cordon\"; ca_file = \"\"; cert_file = \"\";"
    "           key_file = \"\"; username = \"\"; password_file = \"\"; recipients = [ ];"
    "           epoch_messages = 1000000; epoch_s = 86400; window = 256;"
    "           spool_max_bytes = 268435456; spool_full = \"refuse\"; };"
    "crypto = { device = \"software\"; };"
    "limits = { connections = 10000; message_bytes = 262144; publish_per_s = 1000;"
    "           queued_bytes = 1048576; keep_alive_s = 0; };";

#define OF(member) offsetof(struct gw_config, member)
#define DAY 86400.0
#define LIST GW_CONFIG_LIST_MAX
#define LISTEN_WORDS "\"ADDRESS:PORT\" with a numeric address, IPv6 in brackets, port 1 to 65535"
#define FILE_WORDS "\"\" or the absolute path of a readable file"

/* Every key there is. */
static const struct field fields[] = {
    {"gateway", "name", parse_string, OF(gateway.name), 0, 1, 64, "text of 1 to 64 bytes"},
    {"gateway", "state_dir", parse_path, OF(gateway.state_dir), 0, 0, 200, "an absolute path"},
    {"gateway", "run_dir", parse_path, OF(gateway.run_dir), 0, 0, 90,
     "an absolute path of at most 90 bytes"},
    {"gateway", "user", parse_string, OF(gateway.user), 0, 1, 32, "the name of a user"},
    {"lan", "interfaces", parse_names, OF(lan.interfaces), OF(lan.interface_count), 1, LIST,
     "\"auto\" or names of interfaces"},
    {"lan", "new_devices", parse_new_devices, 0, 0, 0, 0, "\"observe\" or \"isolate\""},
    {"listen", "mqtt", parse_listen, OF(listen.mqtt), OF(listen.mqtt.count), 0, LIST, LISTEN_WORDS},
    {"listen", "https", parse_listen, OF(listen.https), OF(listen.https.count), 0, LIST,
     LISTEN_WORDS},
    {"listen", "coap", parse_listen, OF(listen.coap), OF(listen.coap.count), 0, LIST, LISTEN_WORDS},
    {"admin", "https", parse_listen, OF(admin.https), OF(admin.https.count), 0, LIST, LISTEN_WORDS},
    {"admin", "metrics", parse_flag, OF(admin.metrics), 0, 0, 0, "true or false"},
    {"enroll", "window_s", parse_u32, OF(enroll.window_s), 0, 0, DAY, NULL},
    {"enroll", "manufacturers_dir", parse_manufacturers, OF(enroll.manufacturers_dir), 0, 0, 200,
     "an absolute path"},
    {"enroll", "certificate_days", parse_u32, OF(enroll.certificate_days), 0, 1, 3650, NULL},
    {"enroll", "grace_days", parse_u32, OF(enroll.grace_days), 0, 0, 3650, NULL},
    {"access", "own_topics", parse_flag, OF(access.own_topics), 0, 0, 0, "true or false"},
    {"access", "grants", parse_grants, OF(access.grants), OF(access.grant_count), 0,
     GW_CONFIG_GRANTS_MAX,
     "{ class = \"…\"; topic = \"a topic filter\"; permissions = [\"pub\", \"sub\"]; }"},
    {"presence", "timeout_s", parse_u32, OF(presence.timeout_s), 0, 1, 7 * DAY, NULL},
    {"presence", "misses", parse_u32, OF(presence.misses), 0, 1, 100, NULL},
    {"presence", "outage_share", parse_share, OF(presence.outage_share), 0, 0, 1, NULL},
    {"presence", "outage_window_s", parse_u32, OF(presence.outage_window_s), 0, 1, 3600, NULL},
    {"presence", "announce_max", parse_u32, OF(presence.announce_max), 0, 0, 100000, NULL},
    {"presence", "interval_s", parse_u32, OF(presence.interval_s), 0, 1, DAY, NULL},
    {"quarantine", "auto", parse_flag, OF(quarantine.auto_verdicts), 0, 0, 0, "true or false"},
    {"quarantine", "rules", parse_rules, OF(quarantine.rules), OF(quarantine.rule_count), 0,
     GW_CONFIG_RULES_MAX,
     "{ strike = \"malformed\"; mode = \"isolate\"; count = 20; window_s = 60; for_s = 0; "
     "dry_run = false; }"},
    {"quarantine", "protected", parse_protected, 0, 0, 0, LIST,
     "MAC, IPv4 or IPv6 addresses, prefixes (no bit set behind the length), or \"device:ID\""},
    {"detect", "window_s", parse_u32, OF(detect.window_s), 0, 1, 3600, NULL},
    {"detect", "hosts", parse_u32, OF(detect.hosts), 0, 0, 400, NULL},
    {"detect", "ports", parse_u32, OF(detect.ports), 0, 0, 400, NULL},
    {"detect", "neighbours", parse_u32, OF(detect.neighbours), 0, 0, 200, NULL},
    {"detect", "packets_per_s", parse_u32, OF(detect.packets_per_s), 0, 0, 100000000, NULL},
    {"detect", "moves", parse_u32, OF(detect.moves), 0, 0, 200, NULL},
    {"isolation", "addresses", parse_addresses, OF(isolation.addresses), 0, 0,
     GW_CONFIG_ADDRESSES_MAX, "0 (by the machine's memory) or a number from 256 to 524288"},
    {"isolation", "ingress", parse_ingress, 0, 0, 0, 0,
     "\"auto\", \"native\", \"generic\" or \"tc\""},
    {"isolation", "bind", parse_flag, OF(isolation.bind), 0, 0, 0, "true or false"},
    {"isolation", "servers", parse_servers, OF(isolation.servers), OF(isolation.server_count), 0,
     LIST, "MAC, IPv4 or IPv6 addresses"},
    {"uplink", "brokers", parse_brokers, OF(uplink.brokers), OF(uplink.broker_count), 0, LIST,
     "\"mqtts://HOST:PORT\""},
    {"uplink", "prefix", parse_prefix, OF(uplink.prefix), 0, 1, 128,
     "a topic of 1 to 128 bytes without wildcards, not starting with $ or /"},
    {"uplink", "ca_file", parse_file, OF(uplink.ca), 0, 0, 0, FILE_WORDS},
    {"uplink", "cert_file", parse_file, OF(uplink.cert), 0, 0, 0, FILE_WORDS},
    {"uplink", "key_file", parse_file, OF(uplink.key), 0, 0, 0, FILE_WORDS},
    {"uplink", "username", parse_string, OF(uplink.username), 0, 0, 1024,
     "text of at most 1024 bytes"},
    {"uplink", "password_file", parse_file, OF(uplink.password), 0, 0, 0, FILE_WORDS},
    {"uplink", "recipients", parse_file_list, OF(uplink.recipients), OF(uplink.recipient_count), 0,
     LIST, "the absolute path of a PEM public key (P-256)"},
    {"uplink", "epoch_messages", parse_u64, OF(uplink.epoch_messages), 0, 1, 4294967296.0, NULL},
    {"uplink", "epoch_s", parse_u32, OF(uplink.epoch_s), 0, 1, 366 * DAY, NULL},
    {"uplink", "window", parse_u32, OF(uplink.window), 0, 1, 65535, NULL},
    {"uplink", "spool_max_bytes", parse_u64, OF(uplink.spool_max_bytes), 0, 1 << 20,
     1099511627776.0, NULL},
    {"uplink", "spool_full", parse_spool_full, 0, 0, 0, 0, "\"refuse\" or \"drop-qos0\""},
    {"crypto", "device", parse_string, OF(crypto.device), 0, 1, 1024,
     "\"software\" or a pkcs11: URI"},
    {"limits", "connections", parse_u32, OF(limits.connections), 0, 1, 1000000, NULL},
    {"limits", "message_bytes", parse_u32, OF(limits.message_bytes), 0, 64, 983040, NULL},
    {"limits", "publish_per_s", parse_u32, OF(limits.publish_per_s), 0, 1, 10000000, NULL},
    {"limits", "queued_bytes", parse_u64, OF(limits.queued_bytes), 0, 4096, 1073741824.0, NULL},
    {"limits", "keep_alive_s", parse_u32, OF(limits.keep_alive_s), 0, 0, 65535, NULL},
};

/* ---- reading ---- */

static bool known_group(const char *name)
{
    for (size_t i = 0; i < GW_COUNT(fields); i++)
        if (strcmp(fields[i].group, name) == 0)
            return true;
    return false;
}

static bool known_key(const char *group, const char *key)
{
    for (size_t i = 0; i < GW_COUNT(fields); i++)
        if (strcmp(fields[i].group, group) == 0 && strcmp(fields[i].key, key) == 0)
            return true;
    return false;
}

/* "a, b, c": what may stand at the top (group NULL) or in a group. */
static void list_known(const char *group, char *out, size_t size)
{
    const char *last = "";
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < GW_COUNT(fields); i++) {
        const char *word = group ? fields[i].key : fields[i].group;

        if ((group && strcmp(fields[i].group, group) != 0) || strcmp(word, last) == 0)
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", word);
        if (used >= size)
            return;
        last = word;
    }
}

static int refuse_unknown(struct build *b, const config_setting_t *root)
{
    char allowed[256];

    for (int i = 0; i < config_setting_length(root); i++) {
        const config_setting_t *group = config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(group);

        if (!known_group(name)) {
            list_known(NULL, allowed, sizeof(allowed));
            return refuse_text(b, group, "unknown group \"%s\"; allowed: %s", name, allowed);
        }
        if (!config_setting_is_group(group))
            return refuse_text(b, group, "%s: allowed: a group { … }", name);
        for (int k = 0; k < config_setting_length(group); k++) {
            const config_setting_t *s = config_setting_get_elem(group, (unsigned)k);

            if (known_key(name, config_setting_name(s)))
                continue;
            list_known(name, allowed, sizeof(allowed));
            return refuse_text(b, s, "unknown key \"%s.%s\"; allowed: %s", name,
                               config_setting_name(s), allowed);
        }
    }
    return 0;
}

static const config_setting_t *find(const config_t *from, const struct field *f)
{
    const config_setting_t *group = config_setting_get_member(config_root_setting(from), f->group);

    return group ? config_setting_get_member(group, f->key) : NULL;
}

static int fill(struct build *b, const config_t *user, const config_t *fallback)
{
    for (size_t i = 0; i < GW_COUNT(fields); i++) {
        const config_setting_t *s = find(user, &fields[i]);
        int err = fields[i].parse(b, &fields[i], s ? s : find(fallback, &fields[i]));

        if (err)
            return err;
    }
    return 0;
}

static bool is_shared(const struct gw_listen_list *a, const struct gw_listen_list *b)
{
    for (size_t i = 0; i < a->count; i++)
        if (gw_config_listens(b, &a->at[i]) < b->count)
            return true;
    return false;
}

/* What no single key can say. */
static int cross_check(struct build *b, const config_t *user)
{
    const struct gw_config *c = b->config;
    const config_setting_t *uplink = config_lookup(user, "uplink");

    if (c->uplink.broker_count && !c->uplink.recipient_count)
        return refuse_text(b, uplink,
                           "uplink.recipients: found none; allowed: at least one public "
                           "key when uplink.brokers is set: nothing leaves unsealed");
    if (!!*c->uplink.cert.path != !!*c->uplink.key.path)
        return refuse_text(b, uplink,
                           "uplink.cert_file and uplink.key_file: found only one of "
                           "them; allowed: both or none");
    if (*c->uplink.password.path && !*c->uplink.username)
        return refuse_text(b, uplink,
                           "uplink.password_file: found without uplink.username; "
                           "allowed: with a user name");
    if (is_shared(&c->listen.mqtt, &c->listen.https) ||
        is_shared(&c->listen.mqtt, &c->admin.https) || is_shared(&c->listen.https, &c->admin.https))
        return refuse_text(b, config_lookup(user, "listen"),
                           "listen.mqtt, listen.https, admin.https: found one address and port "
                           "twice; allowed: each once");
    if (strcmp(c->gateway.state_dir, c->gateway.run_dir) == 0)
        return refuse_text(b, config_lookup(user, "gateway"),
                           "gateway.run_dir: found the same path as gateway.state_dir; allowed: "
                           "another one");
    if (strcmp(c->crypto.device, "software") != 0)
        return refuse_text(b, config_lookup(user, "crypto.device"),
                           "crypto.device: found \"%.80s\"; allowed in this version: \"software\"",
                           c->crypto.device);
    return 0;
}

static int parse_text(struct build *b, config_t *cfg, const char *text)
{
    GW_CLEANUP(gw_free_ptr) char *wide = NULL;

    /* Only the files named by keys travel in a bundle. */
    if (strstr(text, "@include"))
        return refuse_text(b, NULL, "found @include; allowed: one file");
    wide = config_widen(text);
    if (!wide)
        return -ENOMEM;
    if (config_read_string(cfg, wide) == CONFIG_TRUE)
        return 0;
    (void)snprintf(b->error->text, sizeof(b->error->text), "%.100s:%d: %s", b->path,
                   config_error_line(cfg), config_error_text(cfg));
    return GW_ECONFIG;
}

static int build_config(struct build *b, const char *text)
{
    config_t user, fallback;
    int err;

    config_init(&user);
    config_init(&fallback);
    config_set_auto_convert(&user, CONFIG_FALSE);
    err = parse_text(b, &user, text);
    if (!err && config_read_string(&fallback, defaults) != CONFIG_TRUE)
        err = -ENOMEM; /* our own text: only memory can fail */
    if (!err)
        err = refuse_unknown(b, config_root_setting(&user));
    if (!err)
        err = fill(b, &user, &fallback);
    if (!err)
        err = cross_check(b, &user);
    config_destroy(&user);
    config_destroy(&fallback);
    return err;
}

static int build_from(struct files *files, const char *text, struct gw_config **out,
                      struct gw_config_error *error)
{
    GW_CLEANUP(gw_config_free) struct gw_config *c = calloc(1, sizeof(*c));
    struct build b = {files, files->count ? files->at[0].path : "defaults", c, error};
    int err = c ? build_config(&b, text) : -ENOMEM;

    if (err == -ENOMEM)
        (void)snprintf(error->text, sizeof(error->text), "out of memory");
    if (err)
        return err;
    *out = GW_TAKE(c);
    return 0;
}

static int build_files(struct files *files, struct gw_config **out, struct gw_config_error *error)
{
    struct gw_slice data = gw_buf_slice(&files->at[0].data);
    GW_CLEANUP(gw_free_ptr) char *text = NULL;

    if (data.len && memchr(data.ptr, '\0', data.len)) {
        (void)snprintf(error->text, sizeof(error->text), "%.100s: found a zero byte; allowed: text",
                       files->at[0].path);
        return GW_ECONFIG;
    }
    text = gw_slice_dup(data);
    return text ? build_from(files, text, out, error) : -ENOMEM;
}

/* Read the file and, by building once, all that it names. */
static int load(const char *path, struct files *files, struct gw_config **out,
                struct gw_config_error *error)
{
    const struct file *file;
    int err = files_get(files, path, &file);

    if (err && !(err == -ENOENT && strcmp(path, GW_CONFIG_PATH) == 0)) {
        (void)snprintf(error->text, sizeof(error->text), "%.100s: cannot read: %s", path,
                       gw_error_text(err));
        return GW_ECONFIG;
    }
    return build_files(files, out, error);
}

int gw_config_load(const char *path, struct gw_config **out, struct gw_config_error *error)
{
    struct files files = {0};
    int err = load(path, &files, out, error);

    files_fini(&files);
    return err;
}

int gw_config_bundle(const char *path, struct gw_buf *out, struct gw_config_error *error)
{
    GW_CLEANUP(gw_config_free) struct gw_config *c = NULL;
    struct files files = {0};
    int err = load(path, &files, &c, error);

    if (!err) {
        err = files_pack(&files, out);
        if (err)
            (void)snprintf(error->text, sizeof(error->text), "%.100s: %s", path,
                           gw_error_text(err));
    }
    files_fini(&files);
    return err;
}

int gw_config_unbundle(struct gw_slice bundle, struct gw_config **out,
                       struct gw_config_error *error)
{
    struct files files = {0};
    int err = files_unpack(bundle, &files);

    if (err)
        (void)snprintf(error->text, sizeof(error->text), "configuration bundle: %s",
                       gw_error_text(err));
    else
        err = build_files(&files, out, error);
    files_fini(&files);
    return err;
}

int gw_config_defaults(struct gw_config **out)
{
    struct gw_config_error error;
    struct files files = {0};
    int err = build_from(&files, "", out, &error);

    files_fini(&files);
    return err;
}

/* ---- freeing ---- */

static void blob_fini(struct gw_blob *b)
{
    free(b->path);
    if (b->data.data)
        gw_wipe(b->data.data, b->data.cap); /* may be a key */
    gw_buf_fini(&b->data);
}

void gw_config_free(struct gw_config **config)
{
    struct gw_config *c = GW_TAKE(*config);

    if (!c)
        return;
    free(c->gateway.name);
    free(c->gateway.state_dir);
    free(c->gateway.run_dir);
    free(c->gateway.user);
    free(c->enroll.manufacturers_dir);
    free(c->uplink.prefix);
    free(c->uplink.username);
    free(c->crypto.device);
    /* A list may have failed half-way: walk what was allocated, not what was counted. */
    for (size_t i = 0; i < LIST; i++) {
        free(c->lan.interfaces[i]);
        free(c->quarantine.protected_devices[i]);
        free(c->uplink.brokers[i].url);
        free(c->uplink.brokers[i].host);
        blob_fini(&c->uplink.recipients[i]);
        blob_fini(&c->enroll.manufacturers[i]);
    }
    for (size_t i = 0; c->access.grants && i < GW_CONFIG_GRANTS_MAX; i++) {
        free(c->access.grants[i].class);
        free(c->access.grants[i].topic);
    }
    free(c->access.grants);
    for (size_t i = 0; c->quarantine.rules && i < GW_CONFIG_RULES_MAX; i++)
        free(c->quarantine.rules[i].mode);
    free(c->quarantine.rules);
    blob_fini(&c->uplink.ca);
    blob_fini(&c->uplink.cert);
    blob_fini(&c->uplink.key);
    blob_fini(&c->uplink.password);
    free(c);
}

size_t gw_config_listens(const struct gw_listen_list *list, const struct gw_listen_addr *at)
{
    size_t i = 0;

    while (i < list->count && (list->at[i].len != at->len ||
                               memcmp(&list->at[i].addr, &at->addr, (size_t)at->len) != 0))
        i++;
    return i;
}
