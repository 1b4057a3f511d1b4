/* SPDX-License-Identifier: GPL-2.0-only */
/* Attaching to a port, both ways; what is pinned is replaced in place, never taken off first. */
#include "enforcer/kernel_priv.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "cordon.skel.h"
#include "enforcer/selftest.h"

#define MPROG_BEFORE (1U << 3) /* in front of everybody else's program */
#define LINK_TYPE_TCX 11

#define FRESH "+" /* behind the name of a pin that is to take another's place */

static const char *const hook_name[] = {"xdp", "in", "out"};

char *gw_link_path(char out[GW_PIN_PATH], const char *root, uint32_t ifindex, enum gw_hook hook)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "%u_%s", ifindex, hook_name[hook]);
    return gw_pin_path(out, root, GW_PIN_LINKS, name);
}

int gw_hook_program(const struct gw_kernel *k, enum gw_hook hook)
{
    const struct cordon *s = k->skeleton;

    return bpf_program__fd(hook == GW_HOOK_XDP  ? s->progs.cordon_xdp
                           : hook == GW_HOOK_IN ? s->progs.cordon_in
                                                : s->progs.cordon_out);
}

uint32_t gw_link_ifindex(int fd)
{
    struct bpf_link_info info = {0};
    uint32_t len = sizeof(info);

    if (bpf_obj_get_info_by_fd(fd, &info, &len) != 0)
        return 0;
    /* A tcx link has its ifindex at the same place as an XDP link. */
    return info.type == BPF_LINK_TYPE_XDP || info.type == LINK_TYPE_TCX ? info.xdp.ifindex : 0;
}

/* It is on this port still; -1: there is none. */
static bool lives(int fd, uint32_t ifindex)
{
    return fd >= 0 && gw_link_ifindex(fd) == ifindex;
}

static uint32_t link_id(int fd)
{
    struct bpf_link_info info = {0};
    uint32_t len = sizeof(info);

    return bpf_obj_get_info_by_fd(fd, &info, &len) == 0 ? info.id : 0;
}

bool gw_link_pinned(const struct gw_kernel *k, uint32_t ifindex, enum gw_hook hook, int link)
{
    char path[GW_PIN_PATH];
    GW_CLEANUP(gw_close_fd) int fd = bpf_obj_get(gw_link_path(path, k->pin_root, ifindex, hook));

    return fd >= 0 && link_id(fd) == link_id(link);
}

/* Pinned as `path`; what was pinned there is let go in the same step. */
static int pin_link(int fd, const char *path)
{
    char fresh[GW_PIN_PATH + sizeof(FRESH)];
    int err;

    (void)snprintf(fresh, sizeof(fresh), "%s" FRESH, path);
    (void)unlink(fresh);
    if (bpf_obj_pin(fd, fresh) != 0)
        return -errno;
    if (rename(fresh, path) == 0)
        return 0;
    err = -errno;
    (void)unlink(fresh);
    return err;
}

/*
 * The pinned link, running our program from now on. -ENOENT: there is none that still lives; any
 * other error: `out_link` does, and goes on with the program that it has.
 */
static int take_over(struct gw_kernel *k, uint32_t ifindex, enum gw_hook hook, int *out_link)
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    char path[GW_PIN_PATH];
    int err = 0;

    if (!k->pin_root)
        return -ENOENT;
    fd = bpf_obj_get(gw_link_path(path, k->pin_root, ifindex, hook));
    if (!lives(fd, ifindex)) {
        (void)unlink(path);
        return -ENOENT;
    }
    if (bpf_link_update(fd, gw_hook_program(k, hook), NULL) != 0)
        err = errno == ENOENT ? -EIO : -errno;
    *out_link = gw_take_fd(&fd);
    return err;
}

static int make_link(struct gw_kernel *k, uint32_t ifindex, enum gw_hook hook, uint32_t flags)
{
    static const int type[] = {BPF_XDP, GW_TCX_INGRESS, GW_TCX_EGRESS};
    LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
    GW_CLEANUP(gw_close_fd) int fd = -1;
    char path[GW_PIN_PATH];
    int err = 0;

    fd = bpf_link_create(gw_hook_program(k, hook), (int)ifindex, (enum bpf_attach_type)type[hook],
                         &opts);
    if (fd < 0)
        return -errno;
    if (k->pin_root)
        err = pin_link(fd, gw_link_path(path, k->pin_root, ifindex, hook));
    return err ? err : gw_take_fd(&fd);
}

/* The clsact filter of ours at one side of a port. Kernels before 6.6, or 5.9 for XDP. */
static int filter_set(struct gw_kernel *k, uint32_t ifindex, enum gw_hook hook)
{
    LIBBPF_OPTS(bpf_tc_hook, at, .ifindex = (int)ifindex,
                .attach_point = hook == GW_HOOK_IN ? BPF_TC_INGRESS : BPF_TC_EGRESS);
    LIBBPF_OPTS(bpf_tc_opts, opts, .handle = GW_FILTER_HANDLE, .priority = GW_FILTER_PRIORITY,
                .prog_fd = gw_hook_program(k, hook), .flags = BPF_TC_F_REPLACE);
    int err = bpf_tc_hook_create(&at);

    if (err && err != -EEXIST)
        return err;
    return bpf_tc_attach(&at, &opts);
}

static void filter_clear(uint32_t ifindex, enum bpf_tc_attach_point side)
{
    LIBBPF_OPTS(bpf_tc_hook, at, .ifindex = (int)ifindex, .attach_point = side);
    LIBBPF_OPTS(bpf_tc_opts, found, .handle = GW_FILTER_HANDLE, .priority = GW_FILTER_PRIORITY);
    LIBBPF_OPTS(bpf_tc_opts, gone, .handle = GW_FILTER_HANDLE, .priority = GW_FILTER_PRIORITY);

    if (bpf_tc_query(&at, &found) == 0)
        (void)bpf_tc_detach(&at, &gone);
}

/* ---- one port ---- */

static enum gw_ingress xdp_mode(uint32_t ifindex)
{
    LIBBPF_OPTS(bpf_xdp_query_opts, opts);

    if (bpf_xdp_query((int)ifindex, 0, &opts) != 0)
        return GW_INGRESS_GENERIC;
    return opts.attach_mode == XDP_ATTACHED_SKB ? GW_INGRESS_GENERIC : GW_INGRESS_NATIVE;
}

static void explain(struct gw_hooks *h, const char *what, int err)
{
    size_t len = strlen(h->reason);

    (void)snprintf(h->reason + len, sizeof(h->reason) - len, "%s%s: %s", len ? "; " : "", what,
                   gw_error_text(err));
}

static bool is_taken(int err)
{
    return err == -EBUSY || err == -EEXIST;
}

/* True when the pinned link is of the mode that is chosen. */
static bool is_chosen(const struct gw_kernel *k, enum gw_ingress mode)
{
    return k->choice == GW_CHOOSE_AUTO ||
           (k->choice == GW_CHOOSE_NATIVE && mode == GW_INGRESS_NATIVE) ||
           (k->choice == GW_CHOOSE_GENERIC && mode == GW_INGRESS_GENERIC);
}

/* tcx, else a filter: `out_link` -1 for the latter. What ran before does so until then. */
static int attach_tc(struct gw_kernel *k, uint32_t ifindex, enum gw_hook hook, int *out_link)
{
    GW_CLEANUP(gw_close_fd) int before = -1;
    int err = take_over(k, ifindex, hook, &before), link;
    char path[GW_PIN_PATH];

    if (!err) {
        *out_link = gw_take_fd(&before);
        return 0;
    }
    link = make_link(k, ifindex, hook, MPROG_BEFORE);
    err = link < 0 ? filter_set(k, ifindex, hook) : 0;
    if (err && before >= 0) { /* an old program is better than none */
        link = gw_take_fd(&before);
        err = 0;
    } else if (link < 0 && k->pin_root) {
        (void)unlink(gw_link_path(path, k->pin_root, ifindex, hook));
    }
    *out_link = link;
    return err;
}

/*
 * The pinned link's place is needed: another mode is configured than it has, or it does not take
 * our program. A tc program stands in meanwhile, so that nothing gets through between the two;
 * false when none can, and the link stays.
 */
static bool let_go_of_xdp(struct gw_kernel *k, uint32_t ifindex, struct gw_hooks *h)
{
    int err = attach_tc(k, ifindex, GW_HOOK_IN, &h->bridging_link);
    char path[GW_PIN_PATH];

    if (err) {
        explain(h, "the XDP program of before stays, for none could stand in", err);
        return false;
    }
    (void)unlink(gw_link_path(path, k->pin_root, ifindex, GW_HOOK_XDP));
    gw_close_fd(&h->ingress_link);
    h->ingress = GW_INGRESS_NONE;
    return true;
}

static int attach_xdp(struct gw_kernel *k, uint32_t ifindex, struct gw_hooks *h)
{
    int native = -EOPNOTSUPP, generic, err = take_over(k, ifindex, GW_HOOK_XDP, &h->ingress_link);

    if (err != -ENOENT) {
        h->ingress = xdp_mode(ifindex);
        if (!err && is_chosen(k, h->ingress)) {
            if (h->ingress == GW_INGRESS_GENERIC && k->choice == GW_CHOOSE_AUTO)
                (void)snprintf(h->reason, sizeof(h->reason), "no native XDP on this port");
            return 0;
        }
        if (!let_go_of_xdp(k, ifindex, h))
            return 0;
    }
    if (k->choice == GW_CHOOSE_TC) {
        (void)snprintf(h->reason, sizeof(h->reason), "isolation.ingress is \"tc\"");
        return native;
    }
    if (k->choice == GW_CHOOSE_GENERIC)
        (void)snprintf(h->reason, sizeof(h->reason), "isolation.ingress is \"generic\"");
    else
        native = make_link(k, ifindex, GW_HOOK_XDP, XDP_FLAGS_DRV_MODE);
    if (native >= 0) {
        h->ingress_link = native;
        h->ingress = GW_INGRESS_NATIVE;
        return 0;
    }
    if (is_taken(native)) {
        (void)snprintf(h->reason, sizeof(h->reason), "another XDP program is on this port");
        return native;
    }
    if (k->choice != GW_CHOOSE_GENERIC)
        explain(h, "no native XDP", native);
    generic = make_link(k, ifindex, GW_HOOK_XDP, XDP_FLAGS_SKB_MODE);
    if (generic < 0) {
        explain(h, "no generic XDP", generic);
        return generic;
    }
    h->ingress_link = generic;
    h->ingress = GW_INGRESS_GENERIC;
    return 0;
}

/* What stood in for XDP while another program was there: nothing is judged and counted twice. */
static void let_go_of_tc(const struct gw_kernel *k, uint32_t ifindex)
{
    char path[GW_PIN_PATH];

    if (k->pin_root)
        (void)unlink(gw_link_path(path, k->pin_root, ifindex, GW_HOOK_IN));
    filter_clear(ifindex, BPF_TC_INGRESS);
}

static void attach_in(struct gw_kernel *k, uint32_t ifindex, struct gw_hooks *h)
{
    int err = 0;

    if (attach_xdp(k, ifindex, h) == 0) {
        let_go_of_tc(k, ifindex);
    } else {
        err = attach_tc(k, ifindex, GW_HOOK_IN, &h->ingress_link);
        h->ingress = err ? GW_INGRESS_NONE : GW_INGRESS_TC;
    }
    if (err)
        explain(h, "no tc ingress", err);
    gw_close_fd(&h->bridging_link);
}

static void attach_out(struct gw_kernel *k, uint32_t ifindex, struct gw_hooks *h)
{
    int err = attach_tc(k, ifindex, GW_HOOK_OUT, &h->egress_link);

    h->egress = err ? GW_EGRESS_NONE : h->egress_link >= 0 ? GW_EGRESS_TCX : GW_EGRESS_CLSACT;
    if (err)
        explain(h, "no tc egress", err);
    else if (h->egress == GW_EGRESS_CLSACT)
        (void)snprintf(h->reason + strlen(h->reason), sizeof(h->reason) - strlen(h->reason),
                       "%sno tcx in this kernel", *h->reason ? "; " : "");
}

/* What runs is pinned, whoever took its pin away: then it can be taken over. */
static void pin_again(const struct gw_kernel *k, uint32_t ifindex, enum gw_hook hook, int fd)
{
    char path[GW_PIN_PATH];

    if (k->pin_root && lives(fd, ifindex) && !gw_link_pinned(k, ifindex, hook, fd))
        (void)pin_link(fd, gw_link_path(path, k->pin_root, ifindex, hook));
}

void gw_kernel_attach(struct gw_kernel *k, uint32_t ifindex, struct gw_hooks *h)
{
    struct gw_hooks before = *h;

    *h = (struct gw_hooks){.ingress_link = -1, .egress_link = -1, .bridging_link = -1};
    gw_table_port_claim(&k->table, ifindex);
    pin_again(k, ifindex, before.ingress == GW_INGRESS_TC ? GW_HOOK_IN : GW_HOOK_XDP,
              before.ingress_link);
    pin_again(k, ifindex, GW_HOOK_OUT, before.egress_link);
    attach_in(k, ifindex, h);
    attach_out(k, ifindex, h);
    if (h->ingress == GW_INGRESS_NONE && lives(before.ingress_link, ifindex)) {
        h->ingress = before.ingress;
        h->ingress_link = gw_take_fd(&before.ingress_link);
    }
    if (h->egress == GW_EGRESS_NONE && lives(before.egress_link, ifindex)) {
        h->egress = before.egress;
        h->egress_link = gw_take_fd(&before.egress_link);
    }
    gw_close_fd(&before.ingress_link);
    gw_close_fd(&before.egress_link);
}

void gw_kernel_detach(struct gw_kernel *k, uint32_t ifindex, struct gw_hooks *h)
{
    char path[GW_PIN_PATH];

    for (enum gw_hook hook = GW_HOOK_XDP; k->pin_root && hook <= GW_HOOK_OUT; hook++)
        (void)unlink(gw_link_path(path, k->pin_root, ifindex, hook));
    if (h->ingress == GW_INGRESS_TC && h->ingress_link < 0)
        filter_clear(ifindex, BPF_TC_INGRESS);
    if (h->egress == GW_EGRESS_CLSACT)
        filter_clear(ifindex, BPF_TC_EGRESS);
    gw_close_fd(&h->ingress_link);
    gw_close_fd(&h->egress_link);
    *h = (struct gw_hooks){.ingress_link = -1, .egress_link = -1, .bridging_link = -1};
}

/* ---- pins ---- */

/* The maps of another layout: programs of that layout hold theirs until they are replaced. */
static void sweep_maps(const char *pin_root, const char *in_use)
{
    char path[GW_PIN_PATH + 300];
    struct dirent *e;
    DIR *d = opendir(pin_root);

    while (d && (e = readdir(d))) {
        if (e->d_name[0] != 'v' || strcmp(e->d_name, in_use) == 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", pin_root, e->d_name);
        (void)gw_pin_remove_dir(path, false);
    }
    if (d)
        (void)closedir(d);
}

static void sweep_links(const char *pin_root)
{
    char dir[GW_PIN_PATH], path[GW_PIN_PATH + 300];
    struct dirent *e;
    DIR *d = opendir(gw_pin_path(dir, pin_root, GW_PIN_LINKS, ""));

    while (d && (e = readdir(d))) {
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        fd = e->d_name[0] == '.' ? -1 : bpf_obj_get(path);
        if (fd < 0)
            continue;
        if (gw_link_ifindex(fd) == 0 || strstr(e->d_name, FRESH)) /* or it was never put in place */
            (void)unlink(path);
        (void)close(fd);
    }
    if (d)
        (void)closedir(d);
}

void gw_kernel_sweep(const struct gw_kernel *k)
{
    sweep_links(k->pin_root);
    sweep_maps(k->pin_root, k->pin_maps);
}

int gw_pin_remove_dir(const char *path, bool deep)
{
    char name[GW_PIN_PATH + 300];
    struct dirent *e;
    DIR *d = opendir(path);

    if (!d)
        return errno == ENOENT ? 0 : -errno;
    while ((e = readdir(d))) {
        struct stat st;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        (void)snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (lstat(name, &st) != 0)
            continue;
        if (!S_ISDIR(st.st_mode))
            (void)unlink(name);
        else if (deep)
            (void)gw_pin_remove_dir(name, false);
    }
    (void)closedir(d);
    return rmdir(path) < 0 ? -errno : 0;
}

int gw_kernel_unpin(const char *pin_root)
{
    struct if_nameindex *all = if_nameindex();

    gw_kernel_quiet();
    for (struct if_nameindex *i = all; i && i->if_index; i++) {
        filter_clear(i->if_index, BPF_TC_INGRESS);
        filter_clear(i->if_index, BPF_TC_EGRESS);
    }
    if (all)
        if_freenameindex(all);
    return gw_pin_remove_dir(pin_root, true);
}

/* ---- one program at one place, for the self-test ---- */

int gw_place_attach(const struct gw_kernel *k, uint32_t ifindex, enum gw_place at, int *out_link)
{
    struct gw_kernel unpinned = *k;
    int link;

    unpinned.pin_root = NULL;
    switch (at) {
    case GW_AT_NATIVE:
    case GW_AT_GENERIC:
        link = make_link(&unpinned, ifindex, GW_HOOK_XDP,
                         at == GW_AT_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
        if (link < 0)
            return link;
        *out_link = link;
        return 0;
    case GW_AT_TC:
        return attach_tc(&unpinned, ifindex, GW_HOOK_IN, out_link);
    case GW_AT_EGRESS:
        return attach_tc(&unpinned, ifindex, GW_HOOK_OUT, out_link);
    case GW_PLACES:
        break;
    }
    return -EINVAL;
}

void gw_place_detach(uint32_t ifindex, enum gw_place at, int *link)
{
    if (*link < 0 && at == GW_AT_TC)
        filter_clear(ifindex, BPF_TC_INGRESS);
    else if (*link < 0 && at == GW_AT_EGRESS)
        filter_clear(ifindex, BPF_TC_EGRESS);
    gw_close_fd(link);
}
