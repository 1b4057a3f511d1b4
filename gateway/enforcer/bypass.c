/* SPDX-License-Identifier: GPL-2.0-only */
#include "enforcer/bypass.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define FEATURE "hw-tc-offload"
#define FEATURES_MAX 1024 /* the kernel has about 70 */

const char *gw_bypass_text(enum gw_bypass_bit bit)
{
    static const char *const texts[] = {
#define X(name, text) [GW_BYPASS_##name##_BIT] = text,
        GW_BYPASSES(X)
#undef X
    };

    return texts[bit];
}

/* ---- sysfs ---- */

static bool exists(const char *root, const char *name, const char *file)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/class/net/%s/%s", root, name, file);
    return access(path, F_OK) == 0;
}

/* Hex digits; "" where the driver knows none, which reading answers with an error. */
static void read_switch_id(const char *root, const char *name, char out[GW_SWITCH_ID + 1])
{
    GW_CLEANUP(gw_close_fd) int fd = -1;
    char path[PATH_MAX];
    ssize_t len;

    out[0] = '\0';
    (void)snprintf(path, sizeof(path), "%s/class/net/%s/phys_switch_id", root, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd < 0 ? -1 : read(fd, out, GW_SWITCH_ID);
    len = GW_MAX(len, 0);
    out[len] = '\0';
    out[strspn(out, "0123456789abcdef")] = '\0';
}

void gw_bypass_read(const char *root, const char *name, struct gw_bypass_facts *out)
{
    out->wifi = exists(root, name, "phy80211");
    out->conduit = exists(root, name, "dsa");
    read_switch_id(root, name, out->switch_id);
}

/* ---- the driver ---- */

static bool ask(int fd, const char *name, void *question)
{
    struct ifreq r = {.ifr_data = question};

    (void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    return ioctl(fd, SIOCETHTOOL, &r) == 0;
}

static uint32_t feature_count(int fd, const char *name)
{
    union {
        struct ethtool_sset_info info;
        uint8_t space[sizeof(struct ethtool_sset_info) + sizeof(uint32_t)];
    } q = {.info = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ULL << ETH_SS_FEATURES}};
    uint32_t count;

    if (!ask(fd, name, &q) || !(q.info.sset_mask & 1ULL << ETH_SS_FEATURES))
        return 0;
    memcpy(&count, q.space + sizeof(q.info), sizeof(count));
    return GW_MIN(count, (uint32_t)FEATURES_MAX);
}

/* The number of the feature, which differs between kernels; `count` when there is none. */
static uint32_t feature_number(int fd, const char *name, uint32_t count)
{
    GW_CLEANUP(gw_free_ptr)
    struct ethtool_gstrings *q = calloc(1, sizeof(*q) + (size_t)count * ETH_GSTRING_LEN);
    uint32_t i = 0;

    if (!q)
        return count;
    q->cmd = ETHTOOL_GSTRINGS;
    q->string_set = ETH_SS_FEATURES;
    q->len = count;
    if (!ask(fd, name, q))
        return count;
    while (i < count && strncmp((const char *)q->data + (size_t)i * ETH_GSTRING_LEN, FEATURE,
                                ETH_GSTRING_LEN) != 0)
        i++;
    return i;
}

static bool feature_active(int fd, const char *name)
{
    uint32_t count = feature_count(fd, name), number = feature_number(fd, name, count);
    uint32_t words = (count + 31) / 32;
    GW_CLEANUP(gw_free_ptr)
    struct ethtool_gfeatures *q =
        calloc(1, sizeof(*q) + words * sizeof(struct ethtool_get_features_block));

    if (!q || number == count)
        return false;
    q->cmd = ETHTOOL_GFEATURES;
    q->size = words;
    return ask(fd, name, q) && q->features[number / 32].active & 1U << number % 32;
}

static bool has_driver(int fd, const char *name, const char *driver)
{
    struct ethtool_drvinfo q = {.cmd = ETHTOOL_GDRVINFO};

    return ask(fd, name, &q) && strncmp(q.driver, driver, sizeof(q.driver)) == 0;
}

void gw_bypass_ask(const char *name, struct gw_bypass_facts *out)
{
    GW_CLEANUP(gw_close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    out->offloads = fd >= 0 && feature_active(fd, name);
    out->virtual = fd >= 0 && has_driver(fd, name, "veth");
}

/* ---- what follows ---- */

uint32_t gw_bypass_of(const struct gw_bypass_port *p)
{
    const struct gw_bypass_facts *f = p->facts;
    uint32_t bits = 0;

    if (f->offloads)
        bits |= GW_BYPASS_OFFLOAD;
    if (f->conduit || (*f->switch_id && p->siblings))
        bits |= GW_BYPASS_SWITCH;
    if (f->wifi)
        bits |= GW_BYPASS_WIFI;
    else if (p->devices > 1) /* an access point's stations are said already */
        bits |= GW_BYPASS_BEHIND;
    if (p->before)
        bits |= GW_BYPASS_BEFORE;
    if (f->virtual && p->ingress == GW_INGRESS_NATIVE)
        bits |= GW_BYPASS_SEGMENTS;
    return bits;
}
