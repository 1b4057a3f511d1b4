/* SPDX-License-Identifier: GPL-2.0-only */
/* Loading, pinning, taking over. */
#include "enforcer/kernel_priv.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>

#include "base/log.h"
#include "cordon.skel.h"

#define BPFFS "/sys/fs/bpf"
#define SLOTS_MIN 256
#define SLOTS_MAX (1U << 19)
#define DRAWS_MAX 64 /* of the hash: one in hundreds is not good enough */

static int quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
    (void)level, (void)fmt, (void)args;
    return 0;
}

void gw_kernel_quiet(void)
{
    (void)libbpf_set_print(quiet);
}

/* ---- the directory of pins ---- */

static int make_dir(const char *path)
{
    return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static bool is_bpffs(const char *path)
{
    struct statfs st;

    return statfs(path, &st) == 0 && (unsigned long)st.f_type == BPF_FS_MAGIC;
}

static int make_pin_root(const char *root, char *why)
{
    char path[GW_PIN_PATH];
    int err;

    if (strncmp(root, BPFFS "/", sizeof(BPFFS)) == 0 && !is_bpffs(BPFFS) &&
        mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0) {
        err = -errno;
        (void)snprintf(why, GW_WHY_MAX,
                       "no bpf file system at " BPFFS " and it cannot be mounted: %s",
                       gw_error_text(err));
        return err;
    }
    err = make_dir(root);
    if (!err)
        err = make_dir(gw_pin_path(path, root, GW_PIN_LINKS, ""));
    if (err)
        (void)snprintf(why, GW_WHY_MAX, "cannot make %s: %s", root, gw_error_text(err));
    return err;
}

char *gw_pin_path(char out[GW_PIN_PATH], const char *root, const char *dir, const char *name)
{
    (void)snprintf(out, GW_PIN_PATH, "%s/%s%s%s", root, dir, *name ? "/" : "", name);
    return out;
}

uint64_t gw_kernel_netns(void)
{
    struct stat st;

    return stat("/proc/self/ns/net", &st) == 0 ? st.st_ino : 0;
}

/* ---- sizes ---- */

struct sizes {
    uint32_t slots, buckets, cpus, policies;
    uint64_t factor[2];
};

static uint32_t power_of_two(uint32_t at_least)
{
    uint32_t n = SLOTS_MIN;

    while (n < at_least && n < SLOTS_MAX)
        n *= 2;
    return n;
}

/* An address costs about 300 bytes: a router of 64 MiB gets few, a box of 512 MiB a hundred
 * thousand. */
static uint32_t slots_for_memory(void)
{
    struct sysinfo info = {0};
    uint64_t mib;

    if (sysinfo(&info) < 0)
        return 8192;
    mib = (uint64_t)info.totalram * info.mem_unit >> 20;
    return mib >= 400 ? 131072 : mib >= 200 ? 32768 : 8192;
}

/* What a directory of pinned maps says of itself; all layouts begin alike. -ENOENT. */
static int read_state(const char *root, const char *dir, struct cordon_state *out)
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    struct bpf_map_info info = {0};
    uint32_t zero = 0, len = sizeof(info);
    char path[GW_PIN_PATH];

    fd = bpf_obj_get(gw_pin_path(path, root, dir, "cordon_state"));
    if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) != 0 || info.value_size != sizeof(*out) ||
        bpf_map_lookup_elem(fd, &zero, out) != 0 || out->layout == 0)
        return -ENOENT;
    return 0;
}

/* What is pinned: the maps to take over, others whose contents are copied. */
struct pinned {
    struct cordon_state state;
    bool fits;       /* of this layout and, if asked for, this size */
    char source[32]; /* "" : there is nothing to copy */
};

static int find_pinned(const char *root, uint32_t slots, struct pinned *out, char *why)
{
    struct dirent *e;
    DIR *d = opendir(root);
    int err = 0;

    *out = (struct pinned){0};
    while (d && !err && (e = readdir(d))) {
        struct cordon_state state;

        if (e->d_name[0] != 'v' || strlen(e->d_name) >= sizeof(out->source) ||
            read_state(root, e->d_name, &state) != 0)
            continue;
        if (state.netns != gw_kernel_netns()) {
            (void)snprintf(why, GW_WHY_MAX,
                           "%s is in use by another network namespace; remove it there with "
                           "\"cordond --unpin\"",
                           root);
            err = -EBUSY;
        } else if (state.layout == CORDON_LAYOUT && !out->fits &&
                   (slots == 0 || state.slots == power_of_two(slots))) {
            out->state = state;
            out->fits = true;
        } else {
            memcpy(out->source, e->d_name, strlen(e->d_name) + 1);
        }
    }
    if (d)
        (void)closedir(d);
    return err;
}

/* A policy takes 1.8 KB: one for every thirty-second address. */
static uint32_t policies_for(uint32_t slots)
{
    return GW_MAX(slots / 32, 64U);
}

static int fresh_sizes(uint32_t slots, struct sizes *out)
{
    int cpus = libbpf_num_possible_cpus();

    slots = power_of_two(slots ? slots : slots_for_memory());
    *out = (struct sizes){.slots = slots, .cpus = (uint32_t)cpus, .policies = policies_for(slots)};
    out->buckets = out->slots / 2;
    if (cpus <= 0)
        return cpus;
    for (int i = 0; i < DRAWS_MAX; i++) {
        if (getrandom(out->factor, sizeof(out->factor), 0) != sizeof(out->factor))
            return -errno;
        out->factor[0] |= 1;
        out->factor[1] |= 1;
        if (gw_table_spreads(out->factor, out->buckets))
            break;
    }
    return 0;
}

/* ---- loading ---- */

static struct bpf_map *table_map(const struct cordon *s, enum gw_shared_map which)
{
    switch (which) {
    case GW_MAP_STATE:
        return s->maps.cordon_state;
    case GW_MAP_SLOTS:
        return s->maps.cordon_slots;
    case GW_MAP_BUCKETS:
        return s->maps.cordon_buckets;
    case GW_MAP_FILTERS:
        return s->maps.cordon_filters;
    case GW_MAP_COUNTERS:
        return s->maps.cordon_counters;
    case GW_MAP_PORTS:
        return s->maps.cordon_ports;
    case GW_MAP_ENDS:
        return s->maps.cordon_ends;
    case GW_MAP_POLICIES:
        return s->maps.cordon_policies;
    case GW_MAP_METERS:
        return s->maps.cordon_meters;
    case GW_MAP_COUNT:
        break;
    }
    return NULL;
}

static void set_sizes(struct cordon *s, const struct sizes *z)
{
    (void)bpf_map__set_max_entries(s->maps.cordon_slots, z->slots);
    (void)bpf_map__set_max_entries(s->maps.cordon_buckets, z->buckets);
    (void)bpf_map__set_max_entries(s->maps.cordon_filters, z->buckets);
    (void)bpf_map__set_max_entries(s->maps.cordon_counters, z->slots * z->cpus);
    (void)bpf_map__set_max_entries(s->maps.cordon_ports, CORDON_PORTS * z->cpus);
    (void)bpf_map__set_max_entries(s->maps.cordon_ends, z->slots);
    (void)bpf_map__set_max_entries(s->maps.cordon_watches, z->slots);
    (void)bpf_map__set_max_entries(s->maps.cordon_policies, z->policies * 2);
    (void)bpf_map__set_max_entries(s->maps.cordon_meters, z->policies);
    s->rodata->cordon_factor_a = z->factor[0];
    s->rodata->cordon_factor_b = z->factor[1];
    s->rodata->cordon_bucket_mask = z->buckets - 1;
    s->rodata->cordon_bucket_shift = 64 - (uint32_t)__builtin_ctz(z->buckets);
    s->rodata->cordon_cpus = z->cpus;
}

/* libbpf takes a map over from its pin when it fits, and pins a new one. */
static int set_pins(struct cordon *s, const struct gw_kernel *k)
{
    struct bpf_map *map;

    bpf_object__for_each_map(map, s->obj)
    {
        char path[GW_PIN_PATH];

        if (bpf_map__is_internal(map))
            continue;
        gw_pin_path(path, k->pin_root, k->pin_maps, bpf_map__name(map));
        if (bpf_map__set_pin_path(map, path) != 0)
            return -errno;
    }
    return 0;
}

static int load(const struct gw_kernel *k, const struct sizes *z, bool frags, struct cordon **out)
{
    struct cordon *s = cordon__open();
    int err;

    if (!s)
        return -errno;
    set_sizes(s, z);
    s->rodata->cordon_has_frags = frags;
    /* Not by the section's name: libbpf would set the flag again at each load. */
    (void)bpf_program__set_flags(s->progs.cordon_xdp, frags ? BPF_F_XDP_HAS_FRAGS : 0);
    err = k->pin_root ? set_pins(s, k) : 0;
    if (!err)
        err = cordon__load(s);
    if (err)
        cordon__destroy(s);
    else
        *out = s;
    return err;
}

static void remove_maps(const struct gw_kernel *k)
{
    char path[GW_PIN_PATH];

    (void)gw_pin_remove_dir(gw_pin_path(path, k->pin_root, k->pin_maps, ""), false);
}

static int make_maps_dir(const struct gw_kernel *k)
{
    char path[GW_PIN_PATH];

    return make_dir(gw_pin_path(path, k->pin_root, k->pin_maps, ""));
}

/* Half-made or outgrown maps are made anew; packets in several buffers need 5.18. */
static int load_best(struct gw_kernel *k, const struct sizes *z)
{
    int err = load(k, z, true, &k->skeleton);

    if (err)
        err = load(k, z, false, &k->skeleton);
    if (err && k->pin_root && !k->taken_over) {
        remove_maps(k);
        err = make_maps_dir(k);
        if (!err)
            err = load(k, z, true, &k->skeleton);
    }
    return err;
}

/* ---- memory ---- */

static size_t map_bytes(size_t value, size_t entries)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (value * entries + page - 1) / page * page;
}

static void *map_memory(int fd, size_t bytes, int prot)
{
    void *at = mmap(NULL, bytes, prot, MAP_SHARED, fd, 0);

    return at == MAP_FAILED ? NULL : at;
}

static void table_set(struct gw_table *t, enum gw_shared_map which, void *at)
{
    switch (which) {
    case GW_MAP_STATE:
        t->state = at;
        break;
    case GW_MAP_SLOTS:
        t->slots = at;
        break;
    case GW_MAP_BUCKETS:
        t->buckets = at;
        break;
    case GW_MAP_FILTERS:
        t->filters = at;
        break;
    case GW_MAP_COUNTERS:
        t->counters = at;
        break;
    case GW_MAP_PORTS:
        t->ports = at;
        break;
    case GW_MAP_ENDS:
        t->ends = at;
        break;
    case GW_MAP_POLICIES:
        t->policies = at;
        break;
    case GW_MAP_METERS:
        t->meters = at;
        break;
    case GW_MAP_COUNT:
        break;
    }
}

static void *table_get(const struct gw_table *t, enum gw_shared_map which)
{
    void *const at[GW_MAP_COUNT] = {
        [GW_MAP_STATE] = t->state,       [GW_MAP_SLOTS] = t->slots,
        [GW_MAP_BUCKETS] = t->buckets,   [GW_MAP_FILTERS] = t->filters,
        [GW_MAP_COUNTERS] = t->counters, [GW_MAP_PORTS] = t->ports,
        [GW_MAP_ENDS] = t->ends,         [GW_MAP_POLICIES] = t->policies,
        [GW_MAP_METERS] = t->meters,
    };

    return at[which];
}

static void table_unmap(struct gw_table *t, const size_t bytes[], int count)
{
    for (int i = 0; i < count; i++) {
        void *at = table_get(t, (enum gw_shared_map)i);

        if (at)
            (void)munmap(at, bytes[i]);
        table_set(t, (enum gw_shared_map)i, NULL);
    }
}

static int map_shared(struct gw_kernel *k)
{
    for (int i = 0; i < GW_MAP_COUNT; i++) {
        const struct bpf_map *map = table_map(k->skeleton, (enum gw_shared_map)i);
        void *at;

        k->map_bytes[i] = map_bytes(bpf_map__value_size(map), bpf_map__max_entries(map));
        at = map_memory(bpf_map__fd(map), k->map_bytes[i], PROT_READ | PROT_WRITE);
        if (!at)
            return -errno;
        table_set(&k->table, (enum gw_shared_map)i, at);
    }
    return 0;
}

static int on_ring(void *ctx, void *data, size_t size)
{
    struct gw_kernel *k = ctx;

    if (size >= sizeof(struct cordon_event) && k->event)
        k->event(k->owner, data);
    return 0;
}

static void write_state(struct gw_kernel *k, const struct sizes *z)
{
    struct cordon_state *s = k->table.state;

    s->cpus = z->cpus;
    s->slots = z->slots;
    s->buckets = z->buckets;
    s->factor_a = z->factor[0];
    s->factor_b = z->factor[1];
    s->netns = gw_kernel_netns();
    s->policies = z->policies;
}

static int open_tables(struct gw_kernel *k, const struct sizes *z, const char *source)
{
    int err = map_shared(k), copied;

    if (err)
        return err;
    if (!k->taken_over)
        write_state(k, z);
    k->policies = calloc(z->policies, sizeof(struct gw_policy_kept *));
    if (!k->policies)
        return -ENOMEM;
    err = gw_table_init(&k->table);
    if (err)
        return err;
    if (k->taken_over) {
        gw_kernel_adopt_prefixes(k);
        err = gw_kernel_adopt_flags(k);
        if (!err)
            err = gw_policy_adopt(k);
    } else if (*source) {
        copied = gw_migrate(k, source);
        k->migrated = copied >= 0;
    }
    if (err)
        return err;
    gw_kernel_copy_live(k);
    if (!k->taken_over && k->table.state->unread == CORDON_WHOLE)
        k->table.state->unread = CORDON_LOADING;
    /* From now on taken over, should we die. */
    __atomic_store_n(&k->table.state->layout, CORDON_LAYOUT, __ATOMIC_RELEASE);
    k->ring = ring_buffer__new(bpf_map__fd(k->skeleton->maps.cordon_events), on_ring, k, NULL);
    return k->ring ? 0 : -errno;
}

static int prepare(struct gw_kernel *k, uint32_t slots, struct sizes *out, struct pinned *pinned,
                   char *why)
{
    int err;

    *pinned = (struct pinned){0};
    if (k->pin_root) {
        err = make_pin_root(k->pin_root, why);
        if (!err)
            err = find_pinned(k->pin_root, slots, pinned, why);
        if (err)
            return err;
    }
    k->taken_over = pinned->fits;
    err = 0;
    if (pinned->fits) {
        const struct cordon_state *s = &pinned->state;

        *out =
            (struct sizes){s->slots, s->buckets, s->cpus, s->policies, {s->factor_a, s->factor_b}};
    } else {
        err = fresh_sizes(slots, out);
    }
    (void)snprintf(k->pin_maps, sizeof(k->pin_maps), GW_PIN_MAPS, out->slots);
    if (!err && k->pin_root && !k->taken_over) {
        remove_maps(k); /* half-made */
        err = make_maps_dir(k);
    }
    return err;
}

int gw_kernel_open(struct gw_kernel *k, const char *pin_root, uint32_t slots, char *why)
{
    struct pinned pinned;
    struct sizes z;
    int err;

    k->pin_root = pin_root;
    gw_kernel_quiet();
    why[0] = '\0';
    err = prepare(k, slots, &z, &pinned, why);
    if (!err)
        err = load_best(k, &z);
    if (!err)
        err = open_tables(k, &z, pinned.source);
    if (err) {
        if (!why[0])
            (void)snprintf(why, GW_WHY_MAX, "the kernel does not take the programs: %s",
                           gw_error_text(err));
        gw_kernel_close(k);
    }
    return err;
}

void gw_kernel_close(struct gw_kernel *k)
{
    ring_buffer__free(k->ring);
    k->ring = NULL;
    gw_policy_fini(k);
    for (int i = 0; i < GW_FLAGGED_KINDS; i++)
        free(k->flagged[i].at);
    memset(k->flagged, 0, sizeof(k->flagged));
    gw_table_fini(&k->table);
    table_unmap(&k->table, k->map_bytes, GW_MAP_COUNT);
    cordon__destroy(k->skeleton);
    k->skeleton = NULL;
}

void gw_kernel_shared(const struct gw_kernel *k, int out[GW_MAP_SHARED])
{
    for (int i = 0; i < GW_MAP_SHARED; i++)
        out[i] = bpf_map__fd(table_map(k->skeleton, (enum gw_shared_map)i));
}

int gw_kernel_ring_fd(const struct gw_kernel *k)
{
    return ring_buffer__epoll_fd(k->ring);
}

int gw_kernel_copies_fd(const struct gw_kernel *k)
{
    return bpf_map__fd(k->skeleton->maps.cordon_copies);
}

void gw_kernel_events(struct gw_kernel *k)
{
    (void)ring_buffer__consume(k->ring);
}

/* ---- the worker's view ---- */

static int view_one(int fd, enum gw_shared_map which, struct gw_table *out, size_t *out_bytes)
{
    static const size_t value[GW_MAP_SHARED] = {
        [GW_MAP_STATE] = sizeof(struct cordon_state),
        [GW_MAP_SLOTS] = sizeof(struct cordon_slot),
        [GW_MAP_BUCKETS] = sizeof(struct cordon_bucket),
        [GW_MAP_FILTERS] = sizeof(struct cordon_filter),
        [GW_MAP_COUNTERS] = sizeof(struct cordon_counter),
        [GW_MAP_PORTS] = sizeof(struct cordon_port),
    };
    const struct cordon_state *s = out->state;
    const size_t entries[GW_MAP_SHARED] = {
        [GW_MAP_STATE] = 1,
        [GW_MAP_SLOTS] = s ? s->slots : 0,
        [GW_MAP_BUCKETS] = s ? s->buckets : 0,
        [GW_MAP_FILTERS] = s ? s->buckets : 0,
        [GW_MAP_COUNTERS] = s ? (size_t)s->slots * s->cpus : 0,
        [GW_MAP_PORTS] = s ? (size_t)CORDON_PORTS * s->cpus : 0,
    };
    size_t bytes = map_bytes(value[which], entries[which]);
    void *at = map_memory(fd, bytes, PROT_READ);

    if (!at)
        return -errno;
    *out_bytes = bytes;
    table_set(out, which, at);
    return 0;
}

int gw_kernel_view(const int fds[GW_MAP_SHARED], struct gw_table *out,
                   size_t out_bytes[GW_MAP_SHARED])
{
    int err = 0;

    *out = (struct gw_table){0};
    for (int i = GW_MAP_STATE; !err && i < GW_MAP_SHARED; i++)
        err = view_one(fds[i], (enum gw_shared_map)i, out, &out_bytes[i]);
    if (err)
        gw_kernel_view_close(out, out_bytes);
    return err;
}

void gw_kernel_view_close(struct gw_table *t, const size_t bytes[GW_MAP_SHARED])
{
    table_unmap(t, bytes, GW_MAP_SHARED);
}
