/* SPDX-License-Identifier: GPL-2.0-only */
#include "watch.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <criterion/criterion.h>

#include "cordon.skel.h"

#define SLOTS 512

struct gw_config *config;

static struct cordon_event heard[4096];
static size_t heard_count;

static void on_event(void *owner, const struct cordon_event *e)
{
    (void)owner;
    if (heard_count < GW_COUNT(heard))
        heard[heard_count++] = *e;
}

void watch_setup(void)
{
    harness_open(&k, SLOTS);
    k.event = on_event;
    own_addresses(&k);
    known(&k, DEVICE);
    cr_assert_eq(gw_config_defaults(&config), 0);
    gw_kernel_limits(&k, config);
}

void watch_teardown(void)
{
    gw_config_free(&config);
    gw_kernel_close(&k);
}

/* ---- what was told ---- */

size_t sightings(void)
{
    size_t count = 0;

    gw_kernel_events(&k);
    for (size_t i = 0; i < heard_count; i++)
        count += heard[i].what == CORDON_SIGHTING;
    return count;
}

/* How often, and the last one of them. */
size_t told(enum gw_wire_kind kind, const struct cordon_event **out_last)
{
    size_t count = 0;

    gw_kernel_events(&k);
    for (size_t i = 0; i < heard_count; i++) {
        if (heard[i].what != CORDON_WIRE + (uint32_t)kind)
            continue;
        count++;
        if (out_last)
            *out_last = &heard[i];
    }
    return count;
}

static void clear_map(const struct bpf_map *map)
{
    static const uint8_t zero[sizeof(struct cordon_watch)];

    for (uint32_t i = 0; i < bpf_map__max_entries(map); i++)
        cr_assert_eq(bpf_map_update_elem(bpf_map__fd(map), &i, zero, BPF_ANY), 0);
}

/* As if nobody had been heard, and nothing told, for long. */
void forget(void)
{
    gw_kernel_events(&k);
    heard_count = 0;
    clear_map(k.skeleton->maps.cordon_watches);
    clear_map(k.skeleton->maps.cordon_told);
}

static const char *const kind_names[] = {
#define X(name, text) text,
    GW_WIRE_KINDS(X)
#undef X
};

void expect_kinds(const char *name, unsigned kinds)
{
    for (unsigned kind = 0; kind < GW_WIRE_COUNT; kind++)
        cr_expect_eq(told((enum gw_wire_kind)kind, NULL), kinds >> kind & 1, "%s: %s told %zu",
                     name, kind_names[kind], told((enum gw_wire_kind)kind, NULL));
}

static bool is_any_told_again(void)
{
    for (unsigned kind = 0; kind < GW_WIRE_COUNT; kind++) {
        if (told((enum gw_wire_kind)kind, NULL) > 1)
            return true;
    }
    return false;
}

/* The same three times in one window: when that ended in between, once more. */
void send_again_and_again(const char *name, enum program at, const struct frame *f, bool drops)
{
    int tries = 0;

    do {
        forget();
        for (int again = 0; again < 3; again++)
            cr_expect_eq(passes(&k, at, f), !drops, "%s", name);
    } while (is_any_told_again() && ++tries < 3);
}

/* ---- people ---- */

struct gw_hwaddr mac_numbered(uint32_t i)
{
    return gw_hwaddr_mac((const uint8_t[]){2, 0, 0, 1, (uint8_t)(i >> 8), (uint8_t)i});
}

struct gw_hwaddr ipv4_numbered(uint32_t i)
{
    return gw_hwaddr_ipv4((const uint8_t[]){10, 0, (uint8_t)(i >> 8), (uint8_t)i});
}

struct cordon_slot *slot_of(const struct gw_hwaddr *a)
{
    uint32_t slot = gw_table_find(&k.table, a);

    cr_assert_neq(slot, GW_SLOT_NONE);
    return &k.table.slots[slot];
}

struct cordon_slot *mac_slot(enum who who)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[who]);

    return slot_of(&mac);
}

void set_sender(struct frame *f, const struct gw_hwaddr *mac)
{
    memcpy(f->bytes + 6, mac->bytes, 6);
}

void set_source4(struct frame *f, const struct gw_hwaddr *ip)
{
    memcpy(f->bytes + 14 + 12, ip->bytes, 4);
}

size_t hosts_told(const struct gw_hwaddr *by)
{
    size_t count = 0;

    gw_kernel_events(&k);
    for (size_t i = 0; i < heard_count; i++)
        count += heard[i].what == CORDON_WIRE + GW_WIRE_HOSTS && heard[i].mac == slot_of(by)->a;
    return count;
}
