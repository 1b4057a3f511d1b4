/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/net.h"

#include <netdb.h>
#include <stdio.h>

static void unix_text(const struct gw_addr *a, char out[GW_ADDR_TEXT])
{
    const struct sockaddr_un *un = (const void *)&a->sa;
    size_t head = offsetof(struct sockaddr_un, sun_path);

    if (a->len <= head || un->sun_path[0] == '\0')
        (void)snprintf(out, GW_ADDR_TEXT, "unix");
    else
        (void)snprintf(out, GW_ADDR_TEXT, "%.*s", (int)GW_MIN(a->len - head, sizeof(un->sun_path)),
                       un->sun_path);
}

char *gw_addr_text(const struct gw_addr *a, char out[GW_ADDR_TEXT])
{
    struct gw_addr plain = *a;
    char host[96], port[8];

    if (a->sa.ss_family == AF_UNIX) {
        unix_text(a, out);
        return out;
    }
    gw_addr_unmap(&plain);
    if (getnameinfo((const struct sockaddr *)&plain.sa, plain.len, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
        (void)snprintf(out, GW_ADDR_TEXT, "unknown");
    else
        (void)snprintf(out, GW_ADDR_TEXT, plain.sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s",
                       host, port);
    return out;
}

void gw_addr_unmap(struct gw_addr *a)
{
    struct sockaddr_in6 six;
    struct sockaddr_in four = {.sin_family = AF_INET};

    if (a->sa.ss_family != AF_INET6)
        return;
    memcpy(&six, &a->sa, sizeof(six));
    if (!IN6_IS_ADDR_V4MAPPED(&six.sin6_addr))
        return;
    four.sin_port = six.sin6_port;
    memcpy(&four.sin_addr, six.sin6_addr.s6_addr + 12, 4);
    memset(&a->sa, 0, sizeof(a->sa));
    memcpy(&a->sa, &four, sizeof(four));
    a->len = sizeof(four);
}
