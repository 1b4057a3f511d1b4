/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>

unsigned gw_hwaddr_bits(unsigned kind)
{
    switch (kind) {
    case GW_ADDR_MAC:
        return 48;
    case GW_ADDR_IPV4:
        return 32;
    default:
        return 128;
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_mac(const char *text, struct gw_hwaddr *out)
{
    uint8_t mac[6];

    if (strlen(text) != 17)
        return GW_EMALFORMED;
    for (size_t i = 0; i < sizeof(mac); i++) {
        int high = hex_digit(text[3 * i]), low = hex_digit(text[3 * i + 1]);

        if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
            return GW_EMALFORMED;
        mac[i] = (uint8_t)(high << 4 | low);
    }
    *out = gw_hwaddr_mac(mac);
    return 0;
}

/* 0 to `max`, one to three digits, no leading zero. */
static int parse_len(const char *text, unsigned max, uint8_t *out)
{
    unsigned value = 0;
    size_t len = strlen(text);

    if (len < 1 || len > 3 || (len > 1 && text[0] == '0'))
        return GW_EMALFORMED;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return GW_EMALFORMED;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    if (value > max)
        return GW_EMALFORMED;
    *out = (uint8_t)value;
    return 0;
}

static int parse_ip(const char *text, const char *len, struct gw_hwaddr *out)
{
    struct gw_hwaddr a = {0};
    uint8_t bytes[16] = {0};
    int err;

    if (inet_pton(AF_INET, text, bytes) == 1)
        a = gw_hwaddr_ipv4(bytes);
    else if (inet_pton(AF_INET6, text, bytes) == 1)
        a = gw_hwaddr_ipv6(bytes);
    else
        return GW_EMALFORMED;
    if (len) {
        if (a.kind == GW_ADDR_IPV4 && strchr(text, ':')) /* a mapped address is one host */
            return GW_EMALFORMED;
        err = parse_len(len, gw_hwaddr_bits(a.kind), &a.prefix_len);
        if (err)
            return err;
        if (!gw_hwaddr_valid(&a))
            return GW_EMALFORMED;
    }
    *out = a;
    return 0;
}

int gw_hwaddr_parse(const char *text, struct gw_hwaddr *out)
{
    char copy[GW_HWADDR_TEXT];
    size_t len = strlen(text);
    char *slash;

    if (len == 0 || len >= sizeof(copy))
        return GW_EMALFORMED;
    if (parse_mac(text, out) == 0)
        return 0;
    memcpy(copy, text, len + 1);
    slash = strchr(copy, '/');
    if (slash)
        *slash++ = '\0';
    return parse_ip(copy, slash, out);
}

static char *mac_text(const uint8_t *m, char out[GW_HWADDR_TEXT])
{
    (void)snprintf(out, GW_HWADDR_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3],
                   m[4], m[5]);
    return out;
}

char *gw_hwaddr_text(const struct gw_hwaddr *a, char out[GW_HWADDR_TEXT])
{
    size_t len;

    if (a->kind == GW_ADDR_MAC)
        return mac_text(a->bytes, out);
    if (a->kind != GW_ADDR_IPV4 && a->kind != GW_ADDR_IPV6) {
        (void)snprintf(out, GW_HWADDR_TEXT, "none");
        return out;
    }
    if (!inet_ntop(a->kind == GW_ADDR_IPV4 ? AF_INET : AF_INET6, a->bytes, out, GW_HWADDR_TEXT))
        out[0] = '\0'; /* cannot be: 64 bytes hold every address */
    if (a->prefix_len < gw_hwaddr_bits(a->kind)) {
        len = strlen(out);
        (void)snprintf(out + len, GW_HWADDR_TEXT - len, "/%u", a->prefix_len);
    }
    return out;
}

struct gw_hwaddr gw_hwaddr_mac(const uint8_t mac[6])
{
    struct gw_hwaddr a = {.kind = GW_ADDR_MAC, .prefix_len = 48};

    memcpy(a.bytes, mac, 6);
    return a;
}

struct gw_hwaddr gw_hwaddr_ipv4(const uint8_t ip[4])
{
    struct gw_hwaddr a = {.kind = GW_ADDR_IPV4, .prefix_len = 32};

    memcpy(a.bytes, ip, 4);
    return a;
}

struct gw_hwaddr gw_hwaddr_ipv6(const uint8_t ip[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct gw_hwaddr a = {.kind = GW_ADDR_IPV6, .prefix_len = 128};

    if (memcmp(ip, mapped, sizeof(mapped)) == 0)
        return gw_hwaddr_ipv4(ip + 12);
    memcpy(a.bytes, ip, 16);
    return a;
}

bool gw_hwaddr_contains(const struct gw_hwaddr *net, const struct gw_hwaddr *host)
{
    unsigned whole = net->prefix_len / 8, rest = net->prefix_len % 8;

    if (net->kind != host->kind || net->prefix_len > host->prefix_len ||
        net->prefix_len > gw_hwaddr_bits(net->kind) || memcmp(net->bytes, host->bytes, whole) != 0)
        return false;
    return rest == 0 || ((net->bytes[whole] ^ host->bytes[whole]) & 0xff00 >> rest & 0xff) == 0;
}

bool gw_hwaddr_overlaps(const struct gw_hwaddr *a, const struct gw_hwaddr *b)
{
    return gw_hwaddr_contains(a, b) || gw_hwaddr_contains(b, a);
}

struct gw_hwaddr gw_hwaddr_masked(const struct gw_hwaddr *a, unsigned prefix_len)
{
    struct gw_hwaddr net = *a;

    net.prefix_len = (uint8_t)prefix_len;
    for (unsigned bit = prefix_len; bit < 8 * sizeof(net.bytes); bit++)
        net.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
    return net;
}

bool gw_hwaddr_valid(const struct gw_hwaddr *a)
{
    struct gw_hwaddr net = gw_hwaddr_masked(a, a->prefix_len);

    return a->kind >= GW_ADDR_MAC && a->kind <= GW_ADDR_IPV6 &&
           a->prefix_len <= gw_hwaddr_bits(a->kind) &&
           (a->kind != GW_ADDR_MAC || gw_hwaddr_is_host(a)) && !a->pad[0] && !a->pad[1] &&
           memcmp(a->bytes, net.bytes, sizeof(net.bytes)) == 0;
}

bool gw_hwaddr_is_host(const struct gw_hwaddr *a)
{
    return a->prefix_len == gw_hwaddr_bits(a->kind);
}

bool gw_hwaddr_is_group(const struct gw_hwaddr *a)
{
    static const uint8_t everybody[4] = {255, 255, 255, 255}; /* RFC 919 §7 */

    switch ((enum gw_addr_kind)a->kind) {
    case GW_ADDR_MAC:
        return a->bytes[0] & 1; /* IEEE 802-2014 §8.2.2 */
    case GW_ADDR_IPV4:
        return (a->bytes[0] & 0xf0) == 0xe0 || memcmp(a->bytes, everybody, 4) == 0;
    case GW_ADDR_IPV6:
        return a->bytes[0] == 0xff; /* RFC 4291 §2.7 */
    }
    return false;
}

bool gw_hwaddr_is_unicast(const struct gw_hwaddr *a)
{
    static const uint8_t zero[16];
    const uint8_t *b = a->bytes;

    switch ((enum gw_addr_kind)a->kind) {
    case GW_ADDR_MAC:
        return !gw_hwaddr_is_group(a) && memcmp(b, zero, 6) != 0;
    case GW_ADDR_IPV4:
        return b[0] != 0 && b[0] != 127 && b[0] < 224; /* RFC 6890 */
    case GW_ADDR_IPV6:
        return !gw_hwaddr_is_group(a) && (memcmp(b, zero, 15) != 0 || b[15] > 1);
    }
    return false;
}

bool gw_hwaddr_is_link_local(const struct gw_hwaddr *a)
{
    const uint8_t *b = a->bytes;

    if (a->kind == GW_ADDR_IPV4)
        return b[0] == 169 && b[1] == 254;                                   /* RFC 3927 */
    return a->kind == GW_ADDR_IPV6 && b[0] == 0xfe && (b[1] & 0xc0) == 0x80; /* RFC 4291 §2.4 */
}
