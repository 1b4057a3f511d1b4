/* SPDX-License-Identifier: GPL-2.0-only */
#include "config_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>

/* The one place that knows which value a field has. */
#define AT(b, f, type) ((type *)(void *)((char *)(b)->config + (f)->offset))
#define COUNT_AT(b, f) ((size_t *)(void *)((char *)(b)->config + (f)->count_offset))

static void show_plain(const config_setting_t *s, char *out, size_t size)
{
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        (void)snprintf(out, size, "%lld", config_setting_get_int64(s));
        return;
    case CONFIG_TYPE_FLOAT:
        (void)snprintf(out, size, "%g", config_setting_get_float(s));
        return;
    case CONFIG_TYPE_BOOL:
        (void)snprintf(out, size, "%s", config_setting_get_bool(s) ? "true" : "false");
        return;
    case CONFIG_TYPE_STRING:
        (void)snprintf(out, size, "\"%.80s\"", config_setting_get_string(s));
        return;
    default:
        (void)snprintf(out, size, "a list of %d", config_setting_length(s));
        return;
    }
}

/* A group as it was written, lists inside it only counted. */
static void show(const config_setting_t *s, char *out, size_t size)
{
    size_t used = 0;
    char value[96];

    if (config_setting_type(s) != CONFIG_TYPE_GROUP) {
        show_plain(s, out, size);
        return;
    }
    (void)snprintf(out, size, "{ }");
    for (int i = 0; i < config_setting_length(s) && used < size; i++) {
        const config_setting_t *member = config_setting_get_elem(s, (unsigned)i);

        show_plain(member, value, sizeof(value));
        used += (size_t)snprintf(out + used, size - used, "%s%s = %s;%s", i ? " " : "{ ",
                                 config_setting_name(member), value,
                                 i + 1 == config_setting_length(s) ? " }" : "");
    }
}

int refuse_text(struct build *b, const config_setting_t *s, const char *fmt, ...)
{
    unsigned line = s ? config_setting_source_line(s) : 0;
    char where[16] = "";
    char text[384];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (line)
        (void)snprintf(where, sizeof(where), ":%u", line);
    (void)snprintf(b->error->text, sizeof(b->error->text), "%.100s%s: %s", b->path, where, text);
    return GW_ECONFIG;
}

int refuse(struct build *b, const struct field *f, const config_setting_t *s)
{
    char found[160];

    show(s, found, sizeof(found));
    if (f->allowed)
        return refuse_text(b, s, "%s.%s: found %s; allowed: %s", f->group, f->key, found,
                           f->allowed);
    return refuse_text(b, s, "%s.%s: found %s; allowed: a number from %.15g to %.15g", f->group,
                       f->key, found, f->min, f->max);
}

static int store_string(char **at, const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        return -ENOMEM;
    free(*at);
    *at = copy;
    return 0;
}

/* ---- plain values ---- */

int parse_string(struct build *b, const struct field *f, const config_setting_t *s)
{
    const char *text = config_setting_get_string(s);
    size_t len = text ? strlen(text) : 0;

    if (!text || len < f->min || len > f->max || !gw_utf8_valid(gw_slice_str(text)))
        return refuse(b, f, s);
    return store_string(AT(b, f, char *), text);
}

int parse_path(struct build *b, const struct field *f, const config_setting_t *s)
{
    const char *text = config_setting_get_string(s);

    if (!text || text[0] != '/' || strlen(text) > f->max)
        return refuse(b, f, s);
    return store_string(AT(b, f, char *), text);
}

int parse_prefix(struct build *b, const struct field *f, const config_setting_t *s)
{
    const char *text = config_setting_get_string(s);

    if (text && (strpbrk(text, "+#") || text[0] == '$' || text[0] == '/'))
        return refuse(b, f, s);
    return parse_string(b, f, s);
}

int parse_flag(struct build *b, const struct field *f, const config_setting_t *s)
{
    if (config_setting_type(s) != CONFIG_TYPE_BOOL)
        return refuse(b, f, s);
    *AT(b, f, bool) = config_setting_get_bool(s);
    return 0;
}

static bool number(const struct field *f, const config_setting_t *s, long long *out)
{
    int type = config_setting_type(s);

    if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
        return false;
    *out = config_setting_get_int64(s);
    return (double)*out >= f->min && (double)*out <= f->max;
}

int parse_u32(struct build *b, const struct field *f, const config_setting_t *s)
{
    long long n;

    if (!number(f, s, &n))
        return refuse(b, f, s);
    *AT(b, f, uint32_t) = (uint32_t)n;
    return 0;
}

int parse_u64(struct build *b, const struct field *f, const config_setting_t *s)
{
    long long n;

    if (!number(f, s, &n))
        return refuse(b, f, s);
    *AT(b, f, uint64_t) = (uint64_t)n;
    return 0;
}

int parse_share(struct build *b, const struct field *f, const config_setting_t *s)
{
    int type = config_setting_type(s);
    double share = type == CONFIG_TYPE_FLOAT ? config_setting_get_float(s)
                                             : (double)config_setting_get_int64(s);

    if (type != CONFIG_TYPE_FLOAT && type != CONFIG_TYPE_INT)
        return refuse(b, f, s);
    if (!(share >= f->min && share <= f->max)) /* also not a number */
        return refuse(b, f, s);
    *AT(b, f, double) = share;
    return 0;
}

static int word_of(const config_setting_t *s, const char *const *words, size_t count)
{
    const char *text = config_setting_get_string(s);

    for (size_t i = 0; text && i < count; i++)
        if (strcmp(text, words[i]) == 0)
            return (int)i;
    return -1;
}

int parse_new_devices(struct build *b, const struct field *f, const config_setting_t *s)
{
    static const char *const words[] = {[GW_NEW_OBSERVE] = "observe", [GW_NEW_ISOLATE] = "isolate"};
    int word = word_of(s, words, GW_COUNT(words));

    if (word < 0)
        return refuse(b, f, s);
    b->config->lan.new_devices = (enum gw_new_devices)word;
    return 0;
}

int parse_spool_full(struct build *b, const struct field *f, const config_setting_t *s)
{
    static const char *const words[] = {
        [GW_SPOOL_REFUSE] = "refuse", [GW_SPOOL_DROP_QOS0] = "drop-qos0"};
    int word = word_of(s, words, GW_COUNT(words));

    if (word < 0)
        return refuse(b, f, s);
    b->config->uplink.spool_full = (enum gw_spool_full)word;
    return 0;
}

int parse_ingress(struct build *b, const struct field *f, const config_setting_t *s)
{
    static const char *const words[] = {[GW_CHOOSE_AUTO] = "auto",
                                        [GW_CHOOSE_NATIVE] = "native",
                                        [GW_CHOOSE_GENERIC] = "generic",
                                        [GW_CHOOSE_TC] = "tc"};
    int word = word_of(s, words, GW_COUNT(words));

    if (word < 0)
        return refuse(b, f, s);
    b->config->isolation.ingress = (enum gw_ingress_choice)word;
    return 0;
}

int parse_addresses(struct build *b, const struct field *f, const config_setting_t *s)
{
    long long n;

    if (!number(f, s, &n) || (n && n < GW_CONFIG_ADDRESSES_MIN))
        return refuse(b, f, s);
    *AT(b, f, uint32_t) = (uint32_t)n;
    return 0;
}

/* ---- lists ---- */

typedef int element_fn(struct build *b, const struct field *f, const config_setting_t *s, size_t i);

static int each(struct build *b, const struct field *f, const config_setting_t *s, element_fn *fn)
{
    int count = config_setting_length(s);

    if (!config_setting_is_aggregate(s) || config_setting_is_group(s))
        return refuse(b, f, s);
    if (count < f->min || count > f->max)
        return refuse_text(b, s, "%s.%s: found %d entries; allowed: %.0f to %.0f", f->group, f->key,
                           count, f->min, f->max);
    for (int i = 0; i < count; i++) {
        int err = fn(b, f, config_setting_get_elem(s, (unsigned)i), (size_t)i);

        if (err)
            return err;
        if (f->count_offset)
            *COUNT_AT(b, f) = (size_t)i + 1;
    }
    return 0;
}

static int one_name(struct build *b, const struct field *f, const config_setting_t *s, size_t i)
{
    const char *text = config_setting_get_string(s);

    if (!text || !*text || strlen(text) >= IFNAMSIZ || strpbrk(text, "/ \t\n"))
        return refuse(b, f, s);
    return store_string(&AT(b, f, char *)[i], text);
}

int parse_names(struct build *b, const struct field *f, const config_setting_t *s)
{
    return each(b, f, s, one_name);
}

/* Cuts "host:port" or "[host]:port"; false for anything else. Port 1 to 65535. */
static bool split_host(const char *text, char *host, size_t size, uint16_t *port)
{
    const char *colon = strrchr(text, ':'), *from = text;
    unsigned long n;
    size_t len;
    char *end;

    if (!colon || colon[1] < '1' || colon[1] > '9')
        return false;
    n = strtoul(colon + 1, &end, 10);
    if (*end || n > 65535)
        return false;
    len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        from = text + 1;
        len -= 2;
    } else if (memchr(text, ':', len)) {
        return false; /* an IPv6 address without brackets */
    }
    if (len == 0 || len >= size)
        return false;
    memcpy(host, from, len);
    host[len] = '\0';
    *port = (uint16_t)n;
    return true;
}

static int one_listen(struct build *b, const struct field *f, const config_setting_t *s, size_t i)
{
    struct gw_listen_addr *at = &AT(b, f, struct gw_listen_list)->at[i];
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                                   .ai_socktype = SOCK_STREAM};
    const char *text = config_setting_get_string(s);
    struct addrinfo *found = NULL;
    char host[64], service[8];
    uint16_t port;

    if (!text || !split_host(text, host, sizeof(host), &port))
        return refuse(b, f, s);
    (void)snprintf(service, sizeof(service), "%u", port);
    if (getaddrinfo(host, service, &hints, &found) != 0)
        return refuse(b, f, s);
    memcpy(&at->addr, found->ai_addr, found->ai_addrlen);
    at->len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

int parse_listen(struct build *b, const struct field *f, const config_setting_t *s)
{
    return each(b, f, s, one_listen);
}

static int one_broker(struct build *b, const struct field *f, const config_setting_t *s, size_t i)
{
    static const char scheme[] = "mqtts://";
    struct gw_broker *broker = &AT(b, f, struct gw_broker)[i];
    const char *text = config_setting_get_string(s);
    char host[256];
    int err;

    if (!text || strncmp(text, scheme, sizeof(scheme) - 1) != 0 ||
        !split_host(text + sizeof(scheme) - 1, host, sizeof(host), &broker->port) ||
        strpbrk(host, "/@ "))
        return refuse(b, f, s);
    err = store_string(&broker->url, text);
    return err ? err : store_string(&broker->host, host);
}

int parse_brokers(struct build *b, const struct field *f, const config_setting_t *s)
{
    return each(b, f, s, one_broker);
}

/* The id of a device, as its certificate may have it. */
static bool is_id(const char *text)
{
    size_t len = strlen(text);

    return len >= 1 && len <= 64 &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

/* Addresses and devices stand in one list and are kept in two. */
static int one_protected(struct build *b, const struct field *f, const config_setting_t *s,
                         size_t i)
{
    static const char device[] = "device:"; /* no address begins like this */
    struct gw_config *c = b->config;
    const char *text = config_setting_get_string(s);

    (void)i;
    if (text && strncmp(text, device, strlen(device)) == 0 && is_id(text + strlen(device)))
        return store_string(
            &c->quarantine.protected_devices[c->quarantine.protected_device_count++],
            text + strlen(device));
    if (!text ||
        gw_hwaddr_parse(text, &c->quarantine.protected_addrs[c->quarantine.protected_count]) != 0)
        return refuse(b, f, s);
    c->quarantine.protected_count++;
    return 0;
}

int parse_protected(struct build *b, const struct field *f, const config_setting_t *s)
{
    return each(b, f, s, one_protected);
}

static int one_server(struct build *b, const struct field *f, const config_setting_t *s, size_t i)
{
    const char *text = config_setting_get_string(s);

    if (!text || strchr(text, '/')) /* a host: whole networks do not answer */
        return refuse(b, f, s);
    return gw_hwaddr_parse(text, &AT(b, f, struct gw_hwaddr)[i]) == 0 ? 0 : refuse(b, f, s);
}

int parse_servers(struct build *b, const struct field *f, const config_setting_t *s)
{
    return each(b, f, s, one_server);
}

/* ---- files ---- */

static int copy_blob(struct gw_blob *blob, const struct file *file, const config_setting_t *s)
{
    int err = store_string(&blob->path, file->path);

    blob->line = config_setting_source_line(s);
    blob->data.max = GW_CONFIG_FILE_MAX;
    return err ? err : gw_buf_append(&blob->data, gw_buf_slice(&file->data));
}

static int read_blob(struct build *b, const struct field *f, const config_setting_t *s,
                     struct gw_blob *blob)
{
    const char *path = config_setting_get_string(s);
    const struct file *file;
    int err;

    if (!path || (*path && *path != '/'))
        return refuse(b, f, s);
    if (!*path)
        return store_string(&blob->path, "");
    err = files_get(b->files, path, &file);
    if (err)
        return refuse_text(b, s, "%s.%s: cannot read \"%s\": %s", f->group, f->key, path,
                           gw_error_text(err));
    return copy_blob(blob, file, s);
}

int parse_file(struct build *b, const struct field *f, const config_setting_t *s)
{
    return read_blob(b, f, s, AT(b, f, struct gw_blob));
}

static int one_file(struct build *b, const struct field *f, const config_setting_t *s, size_t i)
{
    const char *path = config_setting_get_string(s);

    if (!path || !*path)
        return refuse(b, f, s);
    return read_blob(b, f, s, &AT(b, f, struct gw_blob)[i]);
}

int parse_file_list(struct build *b, const struct field *f, const config_setting_t *s)
{
    return each(b, f, s, one_file);
}

int parse_manufacturers(struct build *b, const struct field *f, const config_setting_t *s)
{
    const struct file *found[GW_CONFIG_LIST_MAX];
    struct gw_config *c = b->config;
    size_t count = 0;
    int err = parse_path(b, f, s);

    if (err)
        return err;
    err = files_dir(b->files, c->enroll.manufacturers_dir, found, GW_CONFIG_LIST_MAX, &count);
    if (err)
        return refuse_text(b, s, "%s.%s: cannot read \"%s\": %s", f->group, f->key,
                           c->enroll.manufacturers_dir, gw_error_text(err));
    for (size_t i = 0; i < count && !err; i++) {
        err = copy_blob(&c->enroll.manufacturers[i], found[i], s);
        c->enroll.manufacturer_count = i + 1;
    }
    return err;
}

/* ---- groups in lists ---- */

static int only_keys(struct build *b, const struct field *f, const config_setting_t *s,
                     const char *const *keys)
{
    if (!config_setting_is_group(s))
        return refuse(b, f, s);
    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *child = config_setting_get_elem(s, (unsigned)i);
        const char *const *key = keys;

        while (*key && strcmp(*key, config_setting_name(child)) != 0)
            key++;
        if (!*key)
            return refuse_text(b, child, "%s.%s: unknown key \"%s\"; allowed: %s", f->group, f->key,
                               config_setting_name(child), f->allowed);
    }
    return 0;
}

static bool permissions_of(const config_setting_t *s, unsigned *out)
{
    static const char *const words[] = {"pub", "sub"};
    static const unsigned bits[] = {GW_PERM_PUB, GW_PERM_SUB};

    if (!s || !config_setting_is_aggregate(s) || config_setting_length(s) == 0)
        return false;
    *out = 0;
    for (int i = 0; i < config_setting_length(s); i++) {
        int word = word_of(config_setting_get_elem(s, (unsigned)i), words, GW_COUNT(words));

        if (word < 0)
            return false;
        *out |= bits[word];
    }
    return true;
}

/* As MQTT wants a filter: wildcards stand alone in a level, '#' comes last (MQTT 5 §4.7.1). */
static bool filter_ok(const char *f)
{
    for (size_t i = 0; f[i]; i++) {
        bool first = i == 0 || f[i - 1] == '/';

        if (f[i] == '+' && !(first && (f[i + 1] == '/' || !f[i + 1])))
            return false;
        if (f[i] == '#' && !(first && !f[i + 1]))
            return false;
    }
    return *f && strlen(f) <= 1024 && gw_utf8_valid(gw_slice_str(f));
}

static int one_grant(struct build *b, const struct field *f, const config_setting_t *s, size_t i)
{
    static const char *const keys[] = {"class", "topic", "permissions", NULL};
    struct gw_config_grant *grant = &(*AT(b, f, struct gw_config_grant *))[i];
    const char *class = "", *topic = NULL;
    int err = only_keys(b, f, s, keys);

    if (err)
        return err;
    if ((config_setting_get_member(s, "class") &&
         !config_setting_lookup_string(s, "class", &class)) ||
        !config_setting_lookup_string(s, "topic", &topic) || !filter_ok(topic) ||
        strlen(class) > 64 ||
        !permissions_of(config_setting_get_member(s, "permissions"), &grant->permissions))
        return refuse(b, f, s);
    err = store_string(&grant->class, class);
    return err ? err : store_string(&grant->topic, topic);
}

int parse_grants(struct build *b, const struct field *f, const config_setting_t *s)
{
    b->config->access.grants = calloc(GW_CONFIG_GRANTS_MAX, sizeof(struct gw_config_grant));
    return b->config->access.grants ? each(b, f, s, one_grant) : -ENOMEM;
}

#define RULE_NUMBER_MAX (366 * 86400)

/* What stands under the key, or that nothing does, is not allowed. */
static int refuse_in_rule(struct build *b, const config_setting_t *rule, const char *key,
                          const char *allowed)
{
    const config_setting_t *s = config_setting_get_member(rule, key);
    char found[96] = "none";

    if (s)
        show_plain(s, found, sizeof(found));
    return refuse_text(b, s ? s : rule, "quarantine.rules: %s: found %s; allowed: %s", key, found,
                       allowed);
}

static int rule_number(struct build *b, const config_setting_t *rule, const char *key,
                       uint32_t fallback, uint32_t min, uint32_t *out)
{
    long long n = fallback;
    char allowed[48];

    (void)snprintf(allowed, sizeof(allowed), "%u to %d", min, RULE_NUMBER_MAX);
    if ((config_setting_get_member(rule, key) && !config_setting_lookup_int64(rule, key, &n)) ||
        n < min || n > RULE_NUMBER_MAX)
        return refuse_in_rule(b, rule, key, allowed);
    *out = (uint32_t)n;
    return 0;
}

static const char *const strike_names[] = {
#define X(kind, name, counted) [GW_STRIKE_##kind] = name,
    GW_STRIKES(X)
#undef X
};

const char *gw_strike_name(enum gw_strike s)
{
    return strike_names[s];
}

const char *gw_strike_counted(enum gw_strike s)
{
    static const char *const texts[] = {
#define X(kind, name, counted) [GW_STRIKE_##kind] = counted,
        GW_STRIKES(X)
#undef X
    };

    return texts[s];
}

/* One of the words under this key: its number. `fallback` when the key is absent. */
static int rule_word(struct build *b, const config_setting_t *rule, const char *key,
                     const char *const *words, size_t count, int fallback, int *out)
{
    const config_setting_t *s = config_setting_get_member(rule, key);
    int word = s ? word_of(s, words, count) : fallback;
    char allowed[256] = "";
    size_t used = 0;

    if (word >= 0) {
        *out = word;
        return 0;
    }
    for (size_t i = 0; i < count && used < sizeof(allowed); i++)
        used += (size_t)snprintf(allowed + used, sizeof(allowed) - used, "%s%s", i ? ", " : "",
                                 words[i]);
    return refuse_in_rule(b, rule, key, allowed);
}

static int rule_flag(struct build *b, const config_setting_t *rule, const char *key, bool *out)
{
    const config_setting_t *s = config_setting_get_member(rule, key);

    if (s && config_setting_type(s) != CONFIG_TYPE_BOOL)
        return refuse_in_rule(b, rule, key, "true or false");
    *out = s && config_setting_get_bool(s);
    return 0;
}

static int one_rule(struct build *b, const struct field *f, const config_setting_t *s, size_t i)
{
    static const char *const keys[] = {"strike", "mode",    "count", "window_s",
                                       "for_s",  "dry_run", NULL};
    static const char *const modes[] = {"isolate", "remediate", "observe"};
    struct gw_config_rule *rule = &b->config->quarantine.rules[i];
    int strike = 0, mode = 0;
    int err = only_keys(b, f, s, keys);

    if (!err)
        err = rule_word(b, s, "strike", strike_names, GW_COUNT(strike_names), -1, &strike);
    if (!err)
        err = rule_word(b, s, "mode", modes, GW_COUNT(modes), 0, &mode);
    if (!err)
        err = rule_number(b, s, "count", 20, 1, &rule->count);
    if (!err)
        err = rule_number(b, s, "window_s", 60, 1, &rule->window_s);
    if (!err)
        err = rule_number(b, s, "for_s", 0, 0, &rule->for_s);
    if (!err)
        err = rule_flag(b, s, "dry_run", &rule->dry_run);
    if (err)
        return err;
    rule->strike = (enum gw_strike)strike;
    return store_string(&rule->mode, modes[mode]);
}

int parse_rules(struct build *b, const struct field *f, const config_setting_t *s)
{
    b->config->quarantine.rules = calloc(GW_CONFIG_RULES_MAX, sizeof(struct gw_config_rule));
    return b->config->quarantine.rules ? each(b, f, s, one_rule) : -ENOMEM;
}
