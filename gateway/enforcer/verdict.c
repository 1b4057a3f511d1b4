/* SPDX-License-Identifier: GPL-2.0-only */
#include "enforcer/verdict.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"

#define FILE_NAME "verdicts"
#define FILE_NEW "verdicts.new"
#define MAGIC "CORDONv1"
#define RECORDS_MAX (1 << 20)

struct header {
    char magic[8];
    uint64_t count;
    uint64_t sum; /* FNV-1a over the records: a torn or foreign file, not an attack */
};

static uint64_t boot_end(int64_t until_wall_ms)
{
    int64_t left_ms = until_wall_ms - gw_clock_wall_ms();

    if (until_wall_ms == 0)
        return 0;
    return gw_clock_boot_ns() + (uint64_t)GW_MAX(left_ms, 0) * 1000000;
}

static bool is_prefix(const struct cordon_slot *s)
{
    return s->kind != CORDON_MAC && s->prefix_len < (s->kind == CORDON_IPV4 ? 32 : 128);
}

/* Prefixes live only for their verdict, and so do hosts that were never heard. */
static void clear(struct gw_kernel *k, uint32_t slot)
{
    struct cordon_slot *s = &k->table.slots[slot];
    struct gw_hwaddr a = gw_table_address(s);

    gw_table_judge(&k->table, slot, GW_MODE_NONE, 0);
    s->until_wall_ms = 0;
    s->flags = 0;
    if (is_prefix(s))
        gw_kernel_prefix_remove(k, &a);
    if (is_prefix(s) || s->seen_ns == 0)
        gw_table_remove(&k->table, slot);
}

static int slot_for(struct gw_kernel *k, const struct gw_hwaddr *a, uint32_t *out)
{
    uint32_t slot = gw_table_find(&k->table, a);
    int err;

    if (slot == GW_SLOT_NONE) {
        err = gw_table_add(&k->table, a, true, gw_clock_mono_ms() * 1000000, &slot);
        if (err)
            return err;
        if (is_prefix(&k->table.slots[slot])) {
            err = gw_kernel_prefix_add(k, a, slot);
            if (err) {
                gw_table_remove(&k->table, slot);
                return err;
            }
        }
    }
    *out = slot;
    return 0;
}

static int release(struct gw_kernel *k, const struct gw_hwaddr *a)
{
    uint32_t slot = gw_table_find(&k->table, a);

    if (slot != GW_SLOT_NONE)
        clear(k, slot);
    return 0;
}

int gw_verdict_set(struct gw_kernel *k, const struct gw_verdict_record *v, uint16_t generation)
{
    struct cordon_slot *s;
    uint32_t slot;
    int err;

    if (v->mode == GW_MODE_NONE ||
        (v->until_wall_ms != 0 && v->until_wall_ms <= gw_clock_wall_ms()))
        return release(k, &v->address);
    err = slot_for(k, &v->address, &slot);
    if (err)
        return err;
    s = &k->table.slots[slot];
    s->until_wall_ms = v->until_wall_ms;
    s->generation = generation;
    s->flags = 0;
    gw_table_judge(&k->table, slot, (enum gw_verdict_mode)v->mode, boot_end(v->until_wall_ms));
    return 0;
}

static bool is_decided(const struct cordon_slot *s)
{
    return s->kind != 0 && s->verdict != 0 && !(s->flags & (GW_SLOT_DEFAULT | GW_SLOT_TEST));
}

bool gw_verdict_stands(const struct gw_kernel *k, const struct gw_verdict_record *v)
{
    uint32_t slot = gw_table_find(&k->table, &v->address);
    const struct cordon_slot *s = slot == GW_SLOT_NONE ? NULL : &k->table.slots[slot];

    if (!s || !is_decided(s))
        return v->mode == GW_MODE_NONE;
    return gw_table_mode(s) == (enum gw_verdict_mode)v->mode &&
           s->until_wall_ms == v->until_wall_ms;
}

void gw_verdict_adopt(struct gw_kernel *k)
{
    for (uint32_t i = 0; i < k->table.state->slots; i++)
        k->table.slots[i].generation = 0;
}

size_t gw_verdict_sweep(struct gw_kernel *k, uint16_t generation)
{
    size_t cleared = 0;

    for (uint32_t i = 0; i < k->table.state->slots; i++) {
        if (!is_decided(&k->table.slots[i]) || k->table.slots[i].generation == generation)
            continue;
        clear(k, i);
        cleared++;
    }
    return cleared;
}

void gw_verdict_unknown_slot(struct gw_kernel *k, uint32_t slot, bool worker)
{
    uint64_t end = worker ? gw_clock_boot_ns() + GW_UNKNOWN_MS * 1000000ULL : 0;
    struct cordon_slot *s = &k->table.slots[slot];
    uint32_t mode = k->table.state->unknown_mode;

    if (s->kind != CORDON_MAC || mode == CORDON_PASS || is_decided(s))
        return;
    s->flags = GW_SLOT_DEFAULT;
    gw_table_judge(&k->table, slot, (enum gw_verdict_mode)mode, end);
}

void gw_verdict_unknown_end(struct gw_kernel *k)
{
    for (uint32_t i = 0; i < k->table.state->slots; i++) {
        if (k->table.slots[i].flags & GW_SLOT_DEFAULT && k->table.slots[i].verdict != 0)
            gw_verdict_unknown_slot(k, i, true);
    }
}

void gw_verdict_retime(struct gw_kernel *k)
{
    for (uint32_t i = 0; i < k->table.state->slots; i++) {
        struct cordon_slot *s = &k->table.slots[i];

        if (is_decided(s) && s->until_wall_ms != 0)
            gw_table_judge(&k->table, i, gw_table_mode(s), boot_end(s->until_wall_ms));
    }
}

/* ---- the copy on disk ---- */

static uint64_t fnv1a(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    uint64_t h = 0xcbf29ce484222325ULL;

    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 0x100000001b3ULL;
    return h;
}

static int collect(const struct gw_kernel *k, struct gw_buf *out)
{
    int64_t now_ms = gw_clock_wall_ms();

    for (uint32_t i = 0; i < k->table.state->slots; i++) {
        const struct cordon_slot *s = &k->table.slots[i];
        struct gw_verdict_record r = {.until_wall_ms = s->until_wall_ms};
        int err;

        if (!is_decided(s) || (s->until_wall_ms != 0 && s->until_wall_ms <= now_ms))
            continue;
        r.address = gw_table_address(s);
        r.mode = gw_table_mode(s);
        err = gw_buf_append(out, GW_SLICE(&r, sizeof(r)));
        if (err)
            return err;
    }
    return 0;
}

static int write_all(int fd, struct gw_slice s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.ptr, s.len);

        if (n < 0)
            return -errno;
        s.ptr += n;
        s.len -= (size_t)n;
    }
    return 0;
}

/* The directory is the worker's, so a name in it proves nothing: the file is made, never opened. */
static int write_new(int dir, const struct header *h, struct gw_slice records)
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    int err;

    (void)unlinkat(dir, FILE_NEW, 0);
    fd = openat(dir, FILE_NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    err = write_all(fd, GW_SLICE(h, sizeof(*h)));
    if (!err)
        err = write_all(fd, records);
    if (!err && fsync(fd) < 0)
        err = -errno;
    return err;
}

int gw_verdict_save(const struct gw_kernel *k, const char *state_dir)
{
    GW_CLEANUP(gw_buf_fini)
    struct gw_buf records = {.max = (size_t)RECORDS_MAX * sizeof(struct gw_verdict_record)};
    GW_CLEANUP(gw_close_fd) int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct header h = {.magic = MAGIC};
    struct gw_slice all;
    int err;

    if (dir < 0)
        return -errno;
    err = collect(k, &records);
    if (err)
        return err;
    all = gw_buf_slice(&records);
    h.count = all.len / sizeof(struct gw_verdict_record);
    h.sum = fnv1a(all.ptr, all.len);
    err = write_new(dir, &h, all);
    if (err)
        return err;
    if (renameat(dir, FILE_NEW, dir, FILE_NAME) < 0 || fsync(dir) < 0)
        return -errno;
    return 0;
}

static int open_own(const char *state_dir, struct stat *st)
{
    GW_CLEANUP(gw_close_fd) int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    GW_CLEANUP(gw_close_fd) int fd = -1;

    if (dir < 0)
        return -errno;
    fd = openat(dir, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP ? GW_EPROTECTED : -errno;
    if (fstat(fd, st) < 0)
        return -errno;
    if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || st->st_mode & 022)
        return GW_EPROTECTED;
    return gw_take_fd(&fd);
}

static int read_all(int fd, size_t len, struct gw_buf *out)
{
    int err = gw_buf_reserve(out, len);

    if (err)
        return err;
    while (gw_buf_len(out) < len) {
        ssize_t n = read(fd, out->data + out->tail, len - gw_buf_len(out));

        if (n <= 0)
            return n < 0 ? -errno : GW_EMALFORMED;
        out->tail += (size_t)n;
    }
    return 0;
}

static int check_file(struct gw_slice all, const struct header *h)
{
    size_t body = all.len - sizeof(*h);

    if (memcmp(h->magic, MAGIC, sizeof(h->magic)) != 0 || h->count > RECORDS_MAX ||
        body != h->count * sizeof(struct gw_verdict_record))
        return GW_EMALFORMED;
    return fnv1a(all.ptr + sizeof(*h), body) == h->sum ? 0 : GW_EMALFORMED;
}

int gw_verdict_load(struct gw_kernel *k, const char *state_dir, uint16_t generation)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf file = {.max = 64 << 20};
    GW_CLEANUP(gw_close_fd) int fd = -1;
    struct header h;
    struct stat st;
    int err, set = 0;

    fd = open_own(state_dir, &st);
    if (fd < 0)
        return gw_take_fd(&fd);
    if (st.st_size < (off_t)sizeof(h) || st.st_size > (off_t)file.max)
        return GW_EMALFORMED;
    err = read_all(fd, (size_t)st.st_size, &file);
    if (err)
        return err;
    memcpy(&h, file.data, sizeof(h));
    err = check_file(gw_buf_slice(&file), &h);
    for (uint64_t i = 0; !err && i < h.count; i++) {
        struct gw_verdict_record r;

        memcpy(&r, file.data + sizeof(h) + i * sizeof(r), sizeof(r));
        if (!gw_table_valid(&r.address) || r.mode > GW_MODE_REMEDIATE || r.until_wall_ms < 0)
            return GW_EMALFORMED;
        err = gw_verdict_set(k, &r, generation);
        set += err == 0;
    }
    return err ? err : set;
}
