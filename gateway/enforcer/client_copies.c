/* SPDX-License-Identifier: GPL-2.0-only */
#include "enforcer/client_copies.h"

#include <bpf/libbpf.h>
#include <errno.h>

#include "base/log.h"
#include "enforcer/kernel.h"

struct gw_copies {
    struct ring_buffer *ring;
    struct gw_io io;
    const struct gw_enforcer_ops *ops; /* NULL: nobody reads yet */
    void *owner;
};

static int on_copy(void *copies, void *data, size_t size)
{
    const struct gw_copies *c = copies;
    const struct cordon_copy *copy = data;
    uint8_t mac[6];

    if (!c->ops || size < sizeof(*copy) || copy->len > sizeof(copy->bytes))
        return 0;
    gw_table_mac(copy->mac, mac);
    c->ops->dns(c->owner, mac, GW_SLICE(copy->bytes, copy->len));
    return 0;
}

struct gw_copies *gw_copies_open(int fd)
{
    struct gw_copies *c = calloc(1, sizeof(*c));

    gw_kernel_quiet();
    if (c)
        c->ring = ring_buffer__new(fd, on_copy, c, NULL);
    if (c && c->ring)
        return c;
    gw_log_error("DNS answers cannot be watched: %s", gw_error_text(-errno));
    free(c);
    return NULL;
}

static void on_copies(void *copies, uint32_t events)
{
    struct gw_copies *c = copies;

    (void)events;
    (void)ring_buffer__consume(c->ring);
}

int gw_copies_start(struct gw_copies *c, struct gw_loop *loop, const struct gw_enforcer_ops *ops,
                    void *owner)
{
    c->ops = ops;
    c->owner = owner;
    return gw_io_start(loop, &c->io, ring_buffer__epoll_fd(c->ring), EPOLLIN, on_copies, c);
}

void gw_copies_free(struct gw_copies **copies)
{
    struct gw_copies *c = GW_TAKE(*copies);

    if (!c)
        return;
    gw_io_stop(&c->io);
    ring_buffer__free(c->ring);
    free(c);
}
