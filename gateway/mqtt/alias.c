/* SPDX-License-Identifier: GPL-2.0-only */
/* Topic aliases (MQTT 5 §3.3.2.3.4), both ways. They end with the connection [MQTT-3.3.2-7]. */
#include "mqtt/server_priv.h"

#include <errno.h>

/* A longer topic gets none, so that what we remember for a client is bounded; a shorter one gains
 * nothing. */
#define OUT_TOPIC_MAX 1024
#define OUT_TOPIC_MIN 4

struct alias_table {
    struct {
        uint8_t *topic;
        size_t len;
    } at[ALIAS_MAX]; /* alias 1 is at[0] */
    unsigned next;   /* outbound: whose alias is given to a new topic next */
};

void alias_free(struct alias_table **table)
{
    struct alias_table *t = GW_TAKE(*table);

    for (unsigned i = 0; t && i < ALIAS_MAX; i++)
        free(t->at[i].topic);
    free(t);
}

static int put(struct alias_table **table, unsigned alias, struct gw_slice topic)
{
    struct alias_table *t = *table ? *table : calloc(1, sizeof(*t));
    uint8_t *copy = t ? malloc(topic.len) : NULL;

    *table = t;
    if (!copy)
        return -ENOMEM;
    memcpy(copy, topic.ptr, topic.len);
    free(t->at[alias - 1].topic);
    t->at[alias - 1].topic = copy;
    t->at[alias - 1].len = topic.len;
    return 0;
}

static struct gw_slice get(const struct alias_table *t, unsigned alias)
{
    return t ? GW_SLICE(t->at[alias - 1].topic, t->at[alias - 1].len) : GW_SLICE_NONE;
}

/* ---- what the client says ---- */

int alias_in(struct conn *c, struct gw_mqtt_publish *p)
{
    unsigned alias = p->props.topic_alias;

    if (!GW_MQTT_HAS(p->props, topic_alias))
        return 0;
    if (alias == 0 || alias > ALIAS_MAX) { /* [MQTT-3.3.2-8], [MQTT-3.3.2-9] */
        conn_fail_as(c, GW_EPROTOCOL, GW_MQTT_BAD_ALIAS);
        return GW_EPROTOCOL;
    }
    if (p->topic.len)
        return put(&c->aliases_in, alias, p->topic);
    p->topic = get(c->aliases_in, alias);
    return p->topic.len ? 0 : GW_EPROTOCOL;
}

/* ---- what we say ---- */

unsigned alias_out(const struct conn *c, struct gw_slice topic, bool *out_known)
{
    const struct alias_table *t = c->aliases_out;

    *out_known = false;
    /* [MQTT-3.1.2-27] */
    if (c->alias_max == 0 || topic.len < OUT_TOPIC_MIN || topic.len > OUT_TOPIC_MAX)
        return 0;
    /* [MQTT-3.1.2-26], [MQTT-3.3.2-11] */
    for (unsigned alias = 1; t && alias <= c->alias_max; alias++) {
        if (gw_slice_eq(get(t, alias), topic)) {
            *out_known = true;
            return alias;
        }
    }
    return t ? t->next + 1 : 1;
}

void alias_sent(struct conn *c, unsigned alias, struct gw_slice topic)
{
    if (put(&c->aliases_out, alias, topic))
        c->alias_max = 0; /* the client knows it, we shall not: it is used no more */
    else
        c->aliases_out->next = alias % c->alias_max;
}
