/* SPDX-License-Identifier: GPL-2.0-only */
/* Does what was attached and pinned still hold? Asked every minute, and by the self-test. */
#include "enforcer/kernel_priv.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <stdio.h>

#include "cordon.skel.h"

static uint32_t program_id(int fd)
{
    struct bpf_prog_info info = {0};
    uint32_t len = sizeof(info);

    return bpf_obj_get_info_by_fd(fd, &info, &len) == 0 ? info.id : 0;
}

static bool missing(char *why, const char *what)
{
    (void)snprintf(why, GW_CHECK_DETAIL, "%s", what);
    return false;
}

static bool link_held(const struct gw_kernel *k, uint32_t ifindex, int fd, enum gw_hook hook,
                      char *why)
{
    struct bpf_link_info info = {0};
    uint32_t len = sizeof(info);

    if (gw_link_ifindex(fd) != ifindex || bpf_obj_get_info_by_fd(fd, &info, &len) != 0)
        return missing(why, "the link was taken off the port");
    if (info.prog_id != program_id(gw_hook_program(k, hook)))
        return missing(why, "another program runs in our link");
    if (k->pin_root && !gw_link_pinned(k, ifindex, hook, fd))
        return missing(why, "the link is not pinned: it would end with the daemon");
    return true;
}

static bool filter_held(const struct gw_kernel *k, uint32_t ifindex, enum gw_hook hook, char *why)
{
    LIBBPF_OPTS(bpf_tc_hook, at, .ifindex = (int)ifindex,
                .attach_point = hook == GW_HOOK_IN ? BPF_TC_INGRESS : BPF_TC_EGRESS);
    LIBBPF_OPTS(bpf_tc_opts, found, .handle = GW_FILTER_HANDLE, .priority = GW_FILTER_PRIORITY);

    if (bpf_tc_query(&at, &found) != 0)
        return missing(why, "our filter was taken off the port");
    if (found.prog_id != program_id(gw_hook_program(k, hook)))
        return missing(why, "another program runs in our filter");
    return true;
}

static bool xdp_held(const struct gw_kernel *k, uint32_t ifindex, const struct gw_hooks *h,
                     char *why)
{
    LIBBPF_OPTS(bpf_xdp_query_opts, opts);
    uint32_t id;

    if (!link_held(k, ifindex, h->ingress_link, GW_HOOK_XDP, why))
        return false;
    if (bpf_xdp_query((int)ifindex, 0, &opts) != 0)
        return missing(why, "the kernel does not tell which XDP program runs");
    id = h->ingress == GW_INGRESS_GENERIC ? opts.skb_prog_id : opts.drv_prog_id;
    if (id != program_id(gw_hook_program(k, GW_HOOK_XDP)))
        return missing(why, "another XDP program runs on the port");
    return true;
}

bool gw_hooks_held(const struct gw_kernel *k, uint32_t ifindex, const struct gw_hooks *h,
                   bool egress, char *why)
{
    enum gw_hook hook = egress ? GW_HOOK_OUT : GW_HOOK_IN;
    int fd = egress ? h->egress_link : h->ingress_link;

    if (egress ? h->egress == GW_EGRESS_NONE : h->ingress == GW_INGRESS_NONE)
        return missing(why, "no program could be attached");
    if (!egress && h->ingress != GW_INGRESS_TC)
        return xdp_held(k, ifindex, h, why);
    return fd >= 0 ? link_held(k, ifindex, fd, hook, why) : filter_held(k, ifindex, hook, why);
}

/* Of all programs at a tcx hook ours is the first. */
static bool is_first(const struct gw_kernel *k, uint32_t ifindex, enum gw_hook hook)
{
    uint32_t ids[64] = {0};
    LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = ids, .prog_cnt = GW_COUNT(ids));

    /* The place of a target's descriptor is that of an ifindex. */
    if (bpf_prog_query_opts(
            (int)ifindex,
            (enum bpf_attach_type)(hook == GW_HOOK_IN ? GW_TCX_INGRESS : GW_TCX_EGRESS),
            &opts) != 0)
        return true;
    return opts.prog_cnt == 0 || ids[0] == program_id(gw_hook_program(k, hook));
}

bool gw_hooks_behind(const struct gw_kernel *k, uint32_t ifindex, const struct gw_hooks *h)
{
    LIBBPF_OPTS(bpf_xdp_query_opts, xdp);

    if (h->ingress == GW_INGRESS_TC) {
        if (bpf_xdp_query((int)ifindex, 0, &xdp) == 0 && xdp.attach_mode != XDP_ATTACHED_NONE)
            return true;
        if (h->ingress_link >= 0 && !is_first(k, ifindex, GW_HOOK_IN))
            return true;
    }
    return h->egress == GW_EGRESS_TCX && !is_first(k, ifindex, GW_HOOK_OUT);
}

static uint32_t map_id(int fd)
{
    struct bpf_map_info info = {0};
    uint32_t len = sizeof(info);

    return bpf_obj_get_info_by_fd(fd, &info, &len) == 0 ? info.id : 0;
}

bool gw_kernel_pinned(const struct gw_kernel *k, char *why)
{
    const struct bpf_map *map;

    bpf_object__for_each_map(map, k->skeleton->obj)
    {
        GW_CLEANUP(gw_close_fd) int fd = -1;
        char path[GW_PIN_PATH];

        if (bpf_map__is_internal(map))
            continue;
        fd = bpf_obj_get(gw_pin_path(path, k->pin_root, k->pin_maps, bpf_map__name(map)));
        if (fd < 0 || map_id(fd) != map_id(bpf_map__fd(map))) {
            (void)snprintf(why, GW_CHECK_DETAIL, "the map %s is not pinned", bpf_map__name(map));
            return false;
        }
    }
    return true;
}
