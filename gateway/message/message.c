/* SPDX-License-Identifier: GPL-2.0-only */
#include "message/message.h"

#include <assert.h>
#include <errno.h>

static struct gw_slice place(uint8_t **at, struct gw_slice from)
{
    struct gw_slice s = {*at, from.len};

    if (!from.ptr)
        return GW_SLICE_NONE;
    if (from.len)
        memcpy(*at, from.ptr, from.len);
    *at += from.len;
    return s;
}

int gw_msg_new(const struct gw_msg *from, struct gw_msg **out)
{
    size_t bytes = from->device.len + from->topic.len + from->payload.len + from->content_type.len +
                   from->response_topic.len + from->correlation.len + from->user_props.len;
    struct gw_msg *m;
    uint8_t *at;

    if (from->topic.len > GW_TOPIC_MAX)
        return GW_ETOOBIG;
    m = malloc(sizeof(*m) + bytes);
    if (!m)
        return -ENOMEM;
    *m = *from;
    m->refs = 1;
    at = (uint8_t *)(m + 1);
    m->device = place(&at, from->device);
    m->topic = place(&at, from->topic);
    m->payload = place(&at, from->payload);
    m->content_type = place(&at, from->content_type);
    m->response_topic = place(&at, from->response_topic);
    m->correlation = place(&at, from->correlation);
    m->user_props = place(&at, from->user_props);
    *out = m;
    return 0;
}

struct gw_msg *gw_msg_ref(struct gw_msg *m)
{
    m->refs++;
    return m;
}

void gw_msg_unref(struct gw_msg **m)
{
    struct gw_msg *msg = GW_TAKE(*m);

    if (!msg)
        return;
    assert(msg->refs > 0);
    if (--msg->refs == 0)
        free(msg);
}
