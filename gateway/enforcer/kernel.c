/* SPDX-License-Identifier: GPL-2.0-only */
/* Loading, pinning, taking over. */
#include "enforcer/kernel_priv.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/log.h"
#include "cordon.skel.h"

#define BPFFS "/sys/fs/bpf"
#define SLOTS_MIN 256
#define SLOTS_MAX (1U << 19)

/* libbpf's own words are for developers; ours follow. */
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
    for (size_t i = 0; !err && i < 2; i++) {
        gw_pin_path(path, root, i ? GW_PIN_LINKS : GW_PIN_MAPS, "");
        err = make_dir(path);
    }
    if (err)
        (void)snprintf(why, GW_WHY_MAX, "cannot make %s: %s", root, gw_error_text(err));
    return err;
}

char *gw_pin_path(char out[GW_PIN_PATH], const char *root, const char *dir, const char *name)
{
    (void)snprintf(out, GW_PIN_PATH, "%s/%s%s%s", root, dir, *name ? "/" : "", name);
    return out;
}

static uint64_t this_netns(void)
{
    struct stat st;

    return stat("/proc/self/ns/net", &st) == 0 ? st.st_ino : 0;
}

/* ---- sizes ---- */

struct sizes {
    uint32_t slots, buckets, cpus;
    uint64_t factor[2];
};

static uint32_t power_of_two(uint32_t at_least)
{
    uint32_t n = SLOTS_MIN;

    while (n < at_least && n < SLOTS_MAX)
        n *= 2;
    return n;
}

/* What is pinned keeps its sizes and its seed; -ENOENT when there is nothing usable. */
static int pinned_sizes(const char *root, struct sizes *out, char *why)
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    struct cordon_state state = {0};
    char path[GW_PIN_PATH];
    uint32_t zero = 0;

    fd = bpf_obj_get(gw_pin_path(path, root, GW_PIN_MAPS, "cordon_state"));
    if (fd < 0 || bpf_map_lookup_elem(fd, &zero, &state) != 0 || state.layout != CORDON_LAYOUT)
        return -ENOENT;
    if (state.netns != this_netns()) {
        (void)snprintf(why, GW_WHY_MAX,
                       "%s is in use by another network namespace; remove it there with "
                       "\"cordond --unpin\"",
                       root);
        return -EBUSY;
    }
    *out = (struct sizes){state.slots, state.buckets, state.cpus, {state.factor_a, state.factor_b}};
    return 0;
}

static int fresh_sizes(uint32_t slots, struct sizes *out)
{
    int cpus = libbpf_num_possible_cpus();

    *out = (struct sizes){.slots = power_of_two(slots), .cpus = (uint32_t)cpus};
    out->buckets = out->slots / 2;
    if (cpus <= 0)
        return cpus;
    if (getrandom(out->factor, sizeof(out->factor), 0) != sizeof(out->factor))
        return -errno;
    out->factor[0] |= 1;
    out->factor[1] |= 1;
    return 0;
}

/* ---- loading ---- */

static struct bpf_map *shared_map(const struct cordon *s, enum gw_shared_map which)
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
    case GW_MAP_SHARED:
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
    s->rodata->cordon_factor_a = z->factor[0];
    s->rodata->cordon_factor_b = z->factor[1];
    s->rodata->cordon_bucket_mask = z->buckets - 1;
    s->rodata->cordon_bucket_shift = 64 - (uint32_t)__builtin_ctz(z->buckets);
    s->rodata->cordon_cpus = z->cpus;
}

/* libbpf takes a map over from its pin when it fits, and pins a new one. */
static int set_pins(struct cordon *s, const char *root)
{
    struct bpf_map *map;

    bpf_object__for_each_map(map, s->obj)
    {
        char path[GW_PIN_PATH];

        if (bpf_map__is_internal(map))
            continue;
        if (bpf_map__set_pin_path(map, gw_pin_path(path, root, GW_PIN_MAPS, bpf_map__name(map))) !=
            0)
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
    err = k->pin_root ? set_pins(s, k->pin_root) : 0;
    if (!err)
        err = cordon__load(s);
    if (err)
        cordon__destroy(s);
    else
        *out = s;
    return err;
}

static void remove_maps(const char *root)
{
    char path[GW_PIN_PATH];

    (void)gw_pin_remove_dir(gw_pin_path(path, root, GW_PIN_MAPS, ""), false);
}

/* Half-made or outgrown maps are made anew; packets in several buffers need 5.18. */
static int load_best(struct gw_kernel *k, const struct sizes *z)
{
    int err = load(k, z, true, &k->skeleton);

    if (err)
        err = load(k, z, false, &k->skeleton);
    if (err && k->pin_root && !k->taken_over) {
        remove_maps(k->pin_root);
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
    case GW_MAP_SHARED:
        break;
    }
}

static void *table_get(const struct gw_table *t, enum gw_shared_map which)
{
    void *const at[GW_MAP_SHARED] = {
        [GW_MAP_STATE] = t->state,       [GW_MAP_SLOTS] = t->slots,
        [GW_MAP_BUCKETS] = t->buckets,   [GW_MAP_FILTERS] = t->filters,
        [GW_MAP_COUNTERS] = t->counters, [GW_MAP_PORTS] = t->ports,
    };

    return at[which];
}

static int map_shared(struct gw_kernel *k)
{
    for (int i = 0; i < GW_MAP_SHARED; i++) {
        const struct bpf_map *map = shared_map(k->skeleton, (enum gw_shared_map)i);
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

    if (size >= sizeof(struct cordon_sighting) && k->sighting)
        k->sighting(k->owner, data);
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
    s->netns = this_netns();
    __atomic_store_n(&s->layout, CORDON_LAYOUT, __ATOMIC_RELEASE); /* from now on taken over */
}

/* Not attached yet: nothing is judged by the programs' variables before they are set. */
static void copy_live(struct gw_kernel *k)
{
    volatile struct cordon_live *live = &k->skeleton->bss->cordon_live;

    live->prefixes[0] = k->table.state->prefixes[0];
    live->prefixes[1] = k->table.state->prefixes[1];
    live->unknown_mode = k->table.state->unknown_mode;
}

static int lpm_fd(const struct gw_kernel *k, const struct gw_hwaddr *net)
{
    return bpf_map__fd(net->kind == GW_ADDR_IPV4 ? k->skeleton->maps.cordon_lpm4
                                                 : k->skeleton->maps.cordon_lpm6);
}

static struct cordon_lpm6 lpm_key(const struct gw_hwaddr *net)
{
    struct cordon_lpm6 key = {.prefix_len = net->prefix_len};

    memcpy(key.bytes, net->bytes, sizeof(key.bytes)); /* an IPv4 key is the head of it */
    return key;
}

/* A key of either prefix map, as an address. */
static struct gw_hwaddr lpm_address(const struct cordon_lpm6 *key, bool six)
{
    struct gw_hwaddr a = {
        .kind = six ? GW_ADDR_IPV6 : GW_ADDR_IPV4,
        .prefix_len = (uint8_t)key->prefix_len,
    };

    memcpy(a.bytes, key->bytes, six ? 16 : 4);
    return a;
}

/* What has no slot any more goes; how many are left. */
static uint32_t lpm_clean(const struct gw_table *t, int fd, bool six)
{
    struct cordon_lpm6 key = {0}, next = {0};
    bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;
    uint32_t count = 0;

    while (more) {
        struct gw_hwaddr a = lpm_address(&next, six);

        key = next;
        more = bpf_map_get_next_key(fd, &key, &next) == 0;
        if (gw_table_find(t, &a) != GW_SLOT_NONE)
            count++;
        else
            (void)bpf_map_delete_elem(fd, &key);
    }
    return count;
}

static bool is_prefix(const struct cordon_slot *s)
{
    return (s->kind == CORDON_IPV4 && s->prefix_len < 32) ||
           (s->kind == CORDON_IPV6 && s->prefix_len < 128);
}

/* The slots are the authority for the prefixes too: a daemon may have died between two steps. */
static void reconcile_prefixes(struct gw_kernel *k)
{
    struct gw_table *t = &k->table;

    for (uint32_t i = 0; i < t->state->slots; i++) {
        struct gw_hwaddr a = gw_table_address(&t->slots[i]);
        struct cordon_lpm6 key = lpm_key(&a);

        if (!is_prefix(&t->slots[i]))
            continue;
        if (t->slots[i].verdict == 0 || bpf_map_update_elem(lpm_fd(k, &a), &key, &i, BPF_ANY) != 0)
            gw_table_remove(t, i); /* full: the worker says it again, and is told */
    }
    for (int six = 0; six < 2; six++) {
        struct gw_hwaddr family = {.kind = six ? GW_ADDR_IPV6 : GW_ADDR_IPV4};

        t->state->prefixes[six] = lpm_clean(t, lpm_fd(k, &family), six);
    }
}

static int open_tables(struct gw_kernel *k, const struct sizes *z)
{
    int err = map_shared(k);

    if (err)
        return err;
    if (!k->taken_over)
        write_state(k, z);
    err = gw_table_init(&k->table);
    if (err)
        return err;
    if (k->taken_over)
        reconcile_prefixes(k);
    copy_live(k);
    k->ring = ring_buffer__new(bpf_map__fd(k->skeleton->maps.cordon_sightings), on_ring, k, NULL);
    return k->ring ? 0 : -errno;
}

static int prepare(struct gw_kernel *k, uint32_t slots, struct sizes *out, char *why)
{
    int err;

    if (k->pin_root) {
        err = make_pin_root(k->pin_root, why);
        if (err)
            return err;
        err = pinned_sizes(k->pin_root, out, why);
        k->taken_over = err == 0;
        if (err != -ENOENT)
            return err;
        remove_maps(k->pin_root);
        (void)make_pin_root(k->pin_root, why);
    }
    return fresh_sizes(slots, out);
}

int gw_kernel_open(struct gw_kernel *k, const char *pin_root, uint32_t slots, char *why)
{
    struct sizes z;
    int err;

    k->pin_root = pin_root;
    gw_kernel_quiet();
    why[0] = '\0';
    err = prepare(k, slots, &z, why);
    if (!err)
        err = load_best(k, &z);
    if (!err)
        err = open_tables(k, &z);
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
    gw_table_fini(&k->table);
    gw_kernel_view_close(&k->table, k->map_bytes);
    cordon__destroy(k->skeleton);
    k->skeleton = NULL;
}

void gw_kernel_shared(const struct gw_kernel *k, int out[GW_MAP_SHARED])
{
    for (int i = 0; i < GW_MAP_SHARED; i++)
        out[i] = bpf_map__fd(shared_map(k->skeleton, (enum gw_shared_map)i));
}

int gw_kernel_ring_fd(const struct gw_kernel *k)
{
    return ring_buffer__epoll_fd(k->ring);
}

void gw_kernel_sightings(struct gw_kernel *k)
{
    (void)ring_buffer__consume(k->ring);
}

/* ---- entries that need a system call ---- */

/* One more or less prefix: 0 saves the programs the question. */
static void prefix_count(struct gw_kernel *k, const struct gw_hwaddr *net, int by)
{
    bool six = net->kind == GW_ADDR_IPV6;
    uint32_t *count = &k->table.state->prefixes[six];

    *count += (uint32_t)by;
    k->skeleton->bss->cordon_live.prefixes[six] = *count;
}

void gw_kernel_unknown(struct gw_kernel *k, enum gw_verdict_mode mode)
{
    k->table.state->unknown_mode = (uint32_t)mode;
    k->skeleton->bss->cordon_live.unknown_mode = (uint32_t)mode;
}

int gw_kernel_prefix_add(struct gw_kernel *k, const struct gw_hwaddr *net, uint32_t slot)
{
    struct cordon_lpm6 key = lpm_key(net);

    if (bpf_map_update_elem(lpm_fd(k, net), &key, &slot, BPF_NOEXIST) != 0)
        return errno == ENOSPC ? GW_EFULL : -errno;
    prefix_count(k, net, 1);
    return 0;
}

void gw_kernel_prefix_remove(struct gw_kernel *k, const struct gw_hwaddr *net)
{
    struct cordon_lpm6 key = lpm_key(net);

    if (bpf_map_delete_elem(lpm_fd(k, net), &key) == 0)
        prefix_count(k, net, -1);
}

static struct cordon_address ours_key(const struct gw_hwaddr *a)
{
    struct cordon_address key = {.kind = a->kind};
    uint64_t first, second;

    gw_table_words(a, &first, &second);
    key.a = first;
    key.b = second;
    return key;
}

static bool is_in(const struct cordon_address *key, const struct gw_hwaddr *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct cordon_address one = ours_key(&all[i]);

        if (memcmp(key, &one, sizeof(one)) == 0)
            return true;
    }
    return false;
}

int gw_kernel_ours(struct gw_kernel *k, const struct gw_hwaddr *all, size_t count)
{
    int fd = bpf_map__fd(k->skeleton->maps.cordon_ours), err = 0;
    struct cordon_address key, next;
    uint32_t one = 1;
    bool more;

    for (size_t i = 0; i < count; i++) {
        key = ours_key(&all[i]);
        if (bpf_map_update_elem(fd, &key, &one, BPF_ANY) != 0)
            err = errno == E2BIG ? GW_EFULL : -errno;
    }
    more = bpf_map_get_next_key(fd, NULL, &next) == 0;
    while (more) {
        key = next;
        more = bpf_map_get_next_key(fd, &key, &next) == 0;
        if (!is_in(&key, all, count))
            (void)bpf_map_delete_elem(fd, &key);
    }
    return err;
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
    for (int i = 0; i < GW_MAP_SHARED; i++) {
        void *at = table_get(t, (enum gw_shared_map)i);

        if (at)
            (void)munmap(at, bytes[i]);
        table_set(t, (enum gw_shared_map)i, NULL);
    }
}
