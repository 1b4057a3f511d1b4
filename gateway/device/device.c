/* SPDX-License-Identifier: GPL-2.0-only */
#include "device/device_priv.h"

#include <errno.h>
#include <sys/random.h>

#include "base/clock.h"

#define MAC_ID_LEN 16 /* mac-020000000001 */

const char *gw_device_state_text(enum gw_device_state s)
{
    switch (s) {
    case GW_DEVICE_SEEN:
        return "seen";
    case GW_DEVICE_PENDING:
        return "pending";
    case GW_DEVICE_APPROVED:
        return "approved";
    case GW_DEVICE_REVOKED:
        return "revoked";
    }
    return "";
}

bool gw_device_id_valid(const char *id)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strspn(id, allowed);

    return len >= 1 && len <= GW_DEVICE_ID_MAX && id[len] == '\0';
}

bool gw_device_id_is_mac(const char *id)
{
    return strlen(id) == MAC_ID_LEN && strncmp(id, "mac-", 4) == 0 &&
           strspn(id + 4, "0123456789abcdef") == MAC_ID_LEN - 4;
}

/* ---- the index by id: a skip list ---- */

/* The last record before `id` on each level; `prev[l]` is the link that leads on. */
static void index_seek(struct gw_devices *d, const char *id, struct record **prev[INDEX_HEIGHT])
{
    struct record **links = d->first;

    for (unsigned level = INDEX_HEIGHT; level-- > 0;) {
        while (links[level] && strcmp(links[level]->pub.id, id) < 0)
            links = links[level]->next;
        prev[level] = &links[level];
    }
}

static void index_add(struct gw_devices *d, struct record *r)
{
    struct record **prev[INDEX_HEIGHT];

    index_seek(d, r->pub.id, prev);
    for (unsigned level = 0; level < r->height; level++) {
        r->next[level] = *prev[level];
        *prev[level] = r;
    }
}

static void index_remove(struct gw_devices *d, struct record *r)
{
    struct record **prev[INDEX_HEIGHT];

    index_seek(d, r->pub.id, prev);
    for (unsigned level = 0; level < r->height; level++)
        *prev[level] = r->next[level];
}

/* Not to be guessed by who chooses ids: heights come from a seed of the kernel's. */
static unsigned random_height(struct gw_devices *d)
{
    unsigned height = 1;

    d->random = d->random * 6364136223846793005u + 1442695040888963407u;
    for (uint64_t bits = d->random >> 32; height < INDEX_HEIGHT && (bits & 3) == 0; bits >>= 2)
        height++;
    return height;
}

struct gw_device *gw_devices_next(const struct gw_devices *d, const char *after)
{
    struct record *const *links = d->first;

    for (unsigned level = INDEX_HEIGHT; level-- > 0;)
        while (links[level] && strcmp(links[level]->pub.id, after) <= 0)
            links = links[level]->next;
    return links[0] ? &links[0]->pub : NULL;
}

/* ---- records ---- */

struct record *device_record_make(struct gw_devices *d, const char *id, enum gw_device_state state)
{
    unsigned height = random_height(d);
    struct record *r = calloc(1, sizeof(*r) + height * sizeof(r->next[0]));

    if (!r)
        return NULL;
    strcpy(r->pub.id, id); /* checked: at most GW_DEVICE_ID_MAX */
    r->pub.state = state;
    r->pub.first_seen_ms = r->pub.last_seen_ms = gw_clock_wall_ms();
    r->height = height;
    gw_list_init(&r->dirty);
    if (gw_map_put(&d->by_id, gw_slice_str(r->pub.id), r)) {
        free(r);
        return NULL;
    }
    index_add(d, r);
    d->count[state]++;
    return r;
}

static void record_free(struct record *r)
{
    gw_list_remove(&r->dirty);
    free(r->pub.addrs);
    free(r);
}

void device_record_drop(struct gw_devices *d, struct record *r)
{
    for (size_t i = 0; i < r->pub.addr_count; i++)
        gw_map_remove(&d->by_addr, gw_hwaddr_key(&r->pub.addrs[i].addr));
    gw_map_remove(&d->by_id, gw_slice_str(r->pub.id));
    index_remove(d, r);
    d->count[r->pub.state]--;
    device_persist_gone(d, r->pub.id, gw_map_get_str(&d->refused, r->pub.id) != NULL);
    record_free(r);
}

void device_record_tell(struct gw_devices *d, struct record *r, enum gw_device_change what,
                        const struct gw_hwaddr *addr, const struct gw_device *from)
{
    GW_LIST_EACH(&d->listeners, node)
    {
        struct gw_device_listener *l = GW_LIST_ENTRY(node, struct gw_device_listener, node);

        l->changed(l->owner, &r->pub, what, addr, from);
    }
}

static struct record *find(const struct gw_devices *d, const char *id)
{
    return gw_map_get_str(&d->by_id, id);
}

static void enter(struct gw_devices *d, struct record *r, enum gw_device_state state)
{
    d->count[r->pub.state]--;
    r->pub.state = state;
    d->count[state]++;
}

static int make_known(struct gw_devices *d, const char *id, enum gw_device_state state,
                      struct record **out)
{
    struct record *r;

    if (gw_devices_total(d) >= d->max)
        return GW_EFULL;
    r = device_record_make(d, id, state);
    if (!r)
        return -ENOMEM;
    device_persist_mark(d, r, NOW_MS);
    device_record_tell(d, r, GW_DEVICE_ADDED, NULL, NULL);
    *out = r;
    return 0;
}

/* ---- opening ---- */

int gw_devices_open(struct gw_loop *loop, struct gw_store *store, uint32_t max,
                    struct gw_devices **out)
{
    GW_CLEANUP(gw_devices_close) struct gw_devices *d = calloc(1, sizeof(*d));
    int err;

    if (!d)
        return -ENOMEM;
    d->loop = loop;
    d->store = store;
    d->max = max;
    gw_list_init(&d->listeners);
    device_persist_init(d);
    if (getrandom(&d->random, sizeof(d->random), 0) != (ssize_t)sizeof(d->random))
        return -errno;
    err = device_persist_load(d);
    if (err)
        return err;
    *out = GW_TAKE(d);
    return 0;
}

void gw_devices_close(struct gw_devices **devices)
{
    struct gw_devices *d = GW_TAKE(*devices);
    struct refused *refused;
    size_t cursor = 0;

    if (!d)
        return;
    device_persist_finish(d);
    GW_LIST_EACH(&d->listeners, node) /* so that a later unlisten is harmless */
    {
        gw_list_remove(node);
    }
    for (struct record *r = d->first[0], *next; r; r = next) {
        next = r->next[0];
        record_free(r);
    }
    while ((refused = gw_map_next(&d->refused, &cursor)))
        free(refused);
    gw_map_fini(&d->refused);
    gw_map_fini(&d->by_addr);
    gw_map_fini(&d->by_id);
    free(d);
}

void gw_devices_listen(struct gw_devices *d, struct gw_device_listener *l)
{
    gw_list_append(&d->listeners, &l->node);
}

void gw_devices_unlisten(struct gw_device_listener *l)
{
    if (l->node.next)
        gw_list_remove(&l->node);
}

/* ---- questions ---- */

struct gw_device *gw_devices_get(const struct gw_devices *d, const char *id)
{
    struct record *r = find(d, id);

    return r ? &r->pub : NULL;
}

struct gw_device *gw_devices_by_addr(const struct gw_devices *d, const struct gw_hwaddr *a)
{
    struct record *r = gw_map_get(&d->by_addr, gw_hwaddr_key(a));

    return r ? &r->pub : NULL;
}

size_t gw_devices_count(const struct gw_devices *d, enum gw_device_state state)
{
    return d->count[state];
}

size_t gw_devices_total(const struct gw_devices *d)
{
    return d->by_id.count;
}

uint64_t gw_devices_unrecorded(const struct gw_devices *d)
{
    return d->unrecorded;
}

/* ---- the life cycle ---- */

/* A certificate may not carry the name of an address, or it would speak for that one's record. */
static int check_certificate_id(const char *id)
{
    return gw_device_id_valid(id) && !gw_device_id_is_mac(id) ? 0 : GW_EIDENTITY;
}

bool gw_devices_revoked(const struct gw_devices *d, const char *id)
{
    const struct record *r = find(d, id);

    return (r && r->pub.state == GW_DEVICE_REVOKED) || gw_map_get_str(&d->refused, id) != NULL;
}

static int prove_record(struct gw_devices *d, const char *id, struct record **out)
{
    struct record *r = find(d, id);

    if (gw_devices_revoked(d, id))
        return GW_EREVOKED;
    if (!r)
        return make_known(d, id, GW_DEVICE_APPROVED, out);
    if (r->pub.state != GW_DEVICE_APPROVED) {
        enter(d, r, GW_DEVICE_APPROVED);
        device_persist_mark(d, r, NOW_MS);
        device_record_tell(d, r, GW_DEVICE_CHANGED, NULL, NULL);
    }
    *out = r;
    return 0;
}

int gw_devices_prove(struct gw_devices *d, const char *id, const struct gw_hwaddr *ip,
                     const uint8_t *mac, struct gw_device **out)
{
    struct gw_hwaddr hw = mac ? gw_hwaddr_mac(mac) : (struct gw_hwaddr){0};
    struct gw_device_addr *bound = NULL;
    struct record *r;
    int err = check_certificate_id(id);

    if (!err)
        err = prove_record(d, id, &r);
    if (err)
        return err;
    if (ip && device_addr_bindable(ip))
        bound = device_addr_bind(d, r, ip, NULL);
    if (bound)
        bound->awaits_mac_ms = mac ? 0 : gw_clock_wall_ms() + 60000;
    if (mac && device_addr_bindable(&hw))
        (void)device_addr_bind(d, r, &hw, NULL);
    gw_devices_touch(d, &r->pub);
    *out = &r->pub;
    return 0;
}

int gw_devices_pending(struct gw_devices *d, const char *id, struct gw_device **out)
{
    struct record *r = find(d, id);
    int err = check_certificate_id(id);

    if (err)
        return err;
    if (r && r->pub.state == GW_DEVICE_REVOKED)
        return GW_EREVOKED;
    if (!r) {
        err = make_known(d, id, GW_DEVICE_PENDING, &r);
        if (err)
            return err;
    } else if (r->pub.state == GW_DEVICE_SEEN) {
        enter(d, r, GW_DEVICE_PENDING);
        device_persist_mark(d, r, NOW_MS);
        device_record_tell(d, r, GW_DEVICE_CHANGED, NULL, NULL);
    }
    *out = &r->pub;
    return 0;
}

static bool name_valid(const char *name)
{
    size_t len = strlen(name);

    for (const char *c = name; *c; c++)
        if ((uint8_t)*c < 0x20 || *c == 0x7f)
            return false;
    return len <= GW_DEVICE_ID_MAX && gw_utf8_valid(GW_SLICE(name, len));
}

int gw_devices_approve(struct gw_devices *d, const char *id, const char *name, const char *class)
{
    struct record *r = find(d, id);

    if (!r)
        return GW_ENOTFOUND;
    if (r->pub.state == GW_DEVICE_REVOKED)
        return GW_ESTATE;
    if ((name && !name_valid(name)) || (class && *class && !gw_device_id_valid(class)))
        return GW_EMALFORMED;
    if (name)
        strcpy(r->pub.name, name);
    if (class)
        strcpy(r->pub.class, class);
    enter(d, r, GW_DEVICE_APPROVED);
    free(gw_map_remove(&d->refused, gw_slice_str(id)));
    device_persist_mark(d, r, NOW_MS);
    device_record_tell(d, r, GW_DEVICE_CHANGED, NULL, NULL);
    return 0;
}

int gw_devices_revoke(struct gw_devices *d, const char *id)
{
    struct record *r = find(d, id);

    if (!r)
        return GW_ENOTFOUND;
    if (r->pub.state == GW_DEVICE_REVOKED)
        return 0;
    enter(d, r, GW_DEVICE_REVOKED);
    device_persist_mark(d, r, NOW_MS);
    device_record_tell(d, r, GW_DEVICE_CHANGED, NULL, NULL);
    return 0;
}

int gw_devices_forget(struct gw_devices *d, const char *id)
{
    struct record *r = find(d, id);
    int err;

    if (!r)
        return GW_ENOTFOUND;
    if (r->pub.state == GW_DEVICE_REVOKED && !gw_device_id_is_mac(id)) {
        err = device_refuse(d, id);
        if (err)
            return err;
    }
    device_record_tell(d, r, GW_DEVICE_REMOVED, NULL, NULL);
    device_record_drop(d, r);
    return 0;
}

void gw_devices_touch(struct gw_devices *d, struct gw_device *dev)
{
    dev->last_seen_ms = gw_clock_wall_ms();
    device_persist_mark(d, record_of(dev), LATER_MS);
}
