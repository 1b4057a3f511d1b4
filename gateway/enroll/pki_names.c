/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "enroll/enroll_priv.h"

/* A host name as a certificate may carry it (RFC 952, RFC 1123). */
static bool host_valid(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789-.") == len;
}

static void add_hosts(struct pki_names *n)
{
    size_t count = 0;

    n->dns[count++] = "cordon.local";
    if (gethostname(n->host, sizeof(n->host) - 1) < 0 || !host_valid(n->host) ||
        strcmp(n->host, "cordon.local") == 0)
        return;
    n->dns[count++] = n->host;
    if (strchr(n->host, '.') || strcmp(n->host, "cordon") == 0)
        return;
    (void)snprintf(n->host_local, sizeof(n->host_local), "%s.local", n->host);
    n->dns[count] = n->host_local;
}

static void add_addr(struct pki_names *n, size_t *count, const void *bytes, size_t len)
{
    struct gw_slice addr = GW_SLICE(bytes, len);

    for (size_t i = 0; i < *count; i++)
        if (gw_slice_eq(n->addrs[i], addr))
            return;
    if (*count == PKI_ADDRS_MAX)
        return;
    memcpy(n->bytes[*count], bytes, len);
    n->addrs[*count] = GW_SLICE(n->bytes[*count], len);
    ++*count;
}

static void add_sockaddr(struct pki_names *n, size_t *count, const struct sockaddr *sa)
{
    if (sa && sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

        add_addr(n, count, &in->sin_addr, 4);
    } else if (sa && sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

        add_addr(n, count, &in6->sin6_addr, 16);
    }
}

int pki_names_get(struct pki_names *out)
{
    static const uint8_t loop4[4] = {127, 0, 0, 1};
    struct ifaddrs *list = NULL;
    size_t count = 0;

    memset(out, 0, sizeof(*out));
    add_hosts(out);
    add_addr(out, &count, loop4, 4);
    add_addr(out, &count, &in6addr_loopback, 16);
    if (getifaddrs(&list) < 0)
        return -errno;
    for (const struct ifaddrs *at = list; at; at = at->ifa_next)
        add_sockaddr(out, &count, at->ifa_addr);
    freeifaddrs(list);
    return 0;
}
