/* SPDX-License-Identifier: GPL-2.0-only */
#include "uplink/uplink.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.h"
#include "uplink/uplink_priv.h"

#define VOLATILE_BYTES (8u << 20)      /* QoS 0 records in memory */
#define TICKETS_BYTES (64u << 20)      /* waiting for a group commit: never so many */
#define TOPIC_MAX (GW_TOPIC_MAX - 256) /* leaves room for P/up/ */

struct ticket {
    uint64_t sequence, ticket;
};

void uplink_tell(struct gw_uplink *u, const char *kind, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    u->ops.event(u->owner, kind, text);
}

/* ---- what the spool says ---- */

/* Every ticket up to `sequence` is safe; the newest stands for all. */
static void on_durable(void *owner, uint64_t sequence)
{
    struct gw_uplink *u = owner;
    struct ticket t = {0};
    bool any = false;

    while (gw_buf_len(&u->tickets)) {
        struct ticket next;

        memcpy(&next, gw_buf_slice(&u->tickets).ptr, sizeof(next));
        if (next.sequence > sequence)
            break;
        t = next;
        any = true;
        gw_buf_consume(&u->tickets, sizeof(next));
    }
    if (any)
        u->ops.durable(u->owner, t.ticket);
}

/* Records after `sequence` are gone, and their labels. */
static void forget_labels(struct gw_uplink *u, uint64_t sequence)
{
    struct ticket t;

    while (gw_buf_len(&u->labels)) {
        memcpy(&t, u->labels.data + u->labels.tail - sizeof(t), sizeof(t));
        if (t.sequence <= sequence)
            return;
        u->labels.tail -= sizeof(t);
    }
}

void gw_uplink_settle(struct gw_uplink *u, uint64_t ticket)
{
    uint64_t to = u->left_to;

    while (gw_buf_len(&u->labels)) {
        struct ticket t;

        memcpy(&t, gw_buf_slice(&u->labels).ptr, sizeof(t));
        if (t.ticket > ticket)
            break;
        to = t.sequence;
        gw_buf_consume(&u->labels, sizeof(t));
    }
    gw_spool_settle(u->spool, to);
}

static void on_label(void *owner, struct gw_slice label)
{
    struct gw_uplink *u = owner;

    if (u->ops.label)
        u->ops.label(u->owner, label);
}

/* Nothing after `sequence` is on disk: not the messages, and perhaps not the key they need. */
static void on_failed(void *owner, uint64_t sequence, int err)
{
    struct gw_uplink *u = owner;
    struct gw_buf lost = u->tickets;

    gw_epoch_free(&u->epoch);
    forget_labels(u, sequence);
    u->tickets = (struct gw_buf){.max = TICKETS_BYTES};
    uplink_tell(u, "spool-failed", "The spool could not be written: %s.", gw_error_text(err));
    for (; gw_buf_len(&lost); gw_buf_consume(&lost, sizeof(struct ticket))) {
        struct ticket t;

        memcpy(&t, gw_buf_slice(&lost).ptr, sizeof(t));
        if (t.sequence > sequence)
            u->ops.failed(u->owner, t.ticket, err);
        else if (gw_buf_append(&u->tickets, GW_SLICE(&t, sizeof(t))))
            u->ops.failed(u->owner, t.ticket, -ENOMEM);
    }
    gw_buf_fini(&lost);
}

static void on_readable(void *owner)
{
    link_wake(owner);
}

/* ---- epochs ---- */

/* The key's announcement goes into the spool before the first message under it. */
static int begin_epoch(struct gw_uplink *u)
{
    GW_CLEANUP(gw_epoch_free) struct gw_epoch *e = NULL;
    struct gw_spool_record rec = {.kind = GW_SPOOL_KEY};
    char kid[2 * GW_KID_BYTES + 1];
    int err = gw_epoch_new(&e);

    if (err)
        return err;
    gw_buf_consume(&u->sealed, gw_buf_len(&u->sealed));
    err = gw_epoch_announce(e, (const struct gw_key *const *)u->recipients, u->recipient_count,
                            u->key, gw_buf_slice(&u->cert), &u->sealed);
    if (err)
        return err;
    gw_hex(gw_epoch_kid(e), GW_KID_BYTES, kid);
    rec.topic = gw_slice_str(kid);
    rec.data = gw_buf_slice(&u->sealed);
    err = gw_spool_append(u->spool, &rec);
    if (err)
        return err;
    gw_epoch_free(&u->epoch);
    u->epoch = GW_TAKE(e);
    u->epoch_began_ms = gw_loop_now_ms(u->loop);
    return 0;
}

static bool epoch_over(const struct gw_uplink *u)
{
    return !u->epoch || gw_epoch_sealed(u->epoch) >= u->config->uplink.epoch_messages ||
           gw_loop_now_ms(u->loop) - u->epoch_began_ms >= u->config->uplink.epoch_s * 1000ull;
}

/* ---- a message's way into the spool ---- */

static struct gw_envelope_head head_of(const struct gw_uplink *u, const struct gw_msg *m)
{
    return (struct gw_envelope_head){
        .topic = m->topic,
        .device = m->device.len ? m->device : gw_slice_str(u->gateway_id),
        .sequence = gw_spool_next_sequence(u->spool),
        .time_ms = m->time_ms,
        .content_type = m->content_type,
    };
}

static int seal(struct gw_uplink *u, const struct gw_envelope_head *head, struct gw_slice payload,
                size_t bound)
{
    struct gw_writer w;
    int err;

    gw_buf_consume(&u->sealed, gw_buf_len(&u->sealed));
    err = gw_buf_reserve(&u->sealed, bound);
    if (err)
        return err;
    w = gw_writer_of(u->sealed.data + u->sealed.tail, bound);
    err = gw_envelope_seal(u->epoch, head, payload, &w);
    if (err)
        return err;
    u->sealed.tail += w.len;
    return 0;
}

/* Full and free again are told once each. */
static int admit(struct gw_uplink *u, size_t bytes)
{
    int err = gw_spool_admits(u->spool, bytes);

    if (err == GW_ESPOOLFULL && !u->spool_full)
        uplink_tell(u, "spool-full", "The spool is full: devices' messages are refused.");
    if (!err && u->spool_full)
        uplink_tell(u, "spool-free", "The spool has room again.");
    u->spool_full = err == GW_ESPOOLFULL;
    return err;
}

static int spool(struct gw_uplink *u, const struct gw_msg *m, uint64_t ticket,
                 struct gw_slice label)
{
    struct ticket t = {gw_spool_next_sequence(u->spool), ticket};
    struct gw_spool_record rec = {
        .kind = GW_SPOOL_MESSAGE,
        .volatile_only = m->qos == 0,
        .topic = m->topic,
        .data = gw_buf_slice(&u->sealed),
        .label = label,
    };
    int err = m->qos ? gw_buf_reserve(&u->tickets, sizeof(t)) : 0;

    if (!err && label.len)
        err = gw_buf_reserve(&u->labels, sizeof(t));
    if (!err)
        err = gw_spool_append(u->spool, &rec);
    if (err)
        return err;
    if (m->qos == 0)
        return 1;
    if (label.len) {
        memcpy(u->labels.data + u->labels.tail, &t, sizeof(t));
        u->labels.tail += sizeof(t);
    }
    memcpy(u->tickets.data + u->tickets.tail, &t, sizeof(t));
    u->tickets.tail += sizeof(t);
    return 0;
}

int gw_uplink_publish(struct gw_uplink *u, const struct gw_msg *m, uint64_t ticket,
                      struct gw_slice label)
{
    struct gw_envelope_head head = head_of(u, m);
    size_t bound = gw_envelope_bound(&head, m->payload.len);
    int err;

    if (u->config->uplink.broker_count == 0)
        return 1;
    if (m->topic.len > TOPIC_MAX || bound > GW_SPOOL_RECORD_MAX)
        return GW_ETOOBIG;
    err = m->qos ? admit(u, bound) : 0;
    if (!err && epoch_over(u))
        err = begin_epoch(u); /* a key does not advance the sequence */
    if (!err)
        err = seal(u, &head, m->payload, bound);
    return err ? err : spool(u, m, ticket, label);
}

void gw_uplink_presence(struct gw_uplink *u, const char *device, struct gw_slice json)
{
    link_presence(u, device, json);
}

/* ---- configuration ---- */

static void free_recipients(struct gw_key **keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        gw_key_free(&keys[i]);
}

/* The keys of everyone who may read; the old ones stay when one cannot be read. */
static int read_recipients(struct gw_uplink *u, const struct gw_config *config)
{
    struct gw_key *keys[GW_RECIPIENTS_MAX] = {NULL};
    size_t count = config->uplink.recipient_count;

    _Static_assert(GW_CONFIG_LIST_MAX <= GW_RECIPIENTS_MAX, "every recipient has a place");
    for (size_t i = 0; i < count; i++) {
        const struct gw_blob *blob = &config->uplink.recipients[i];
        int err = gw_key_from_pem(gw_buf_slice(&blob->data), &keys[i]);

        if (err) {
            gw_log_error("a recipient's key cannot be read file=%s error=\"%s\"", blob->path,
                         gw_error_text(err));
            free_recipients(keys, i);
            return err;
        }
    }
    free_recipients(u->recipients, u->recipient_count);
    memcpy(u->recipients, keys, sizeof(keys));
    u->recipient_count = count;
    return 0;
}

static bool same_blob(const struct gw_blob *a, const struct gw_blob *b)
{
    return gw_slice_eq(gw_buf_slice(&a->data), gw_buf_slice(&b->data));
}

static bool same_recipients(const struct gw_config *a, const struct gw_config *b)
{
    if (a->uplink.recipient_count != b->uplink.recipient_count)
        return false;
    for (size_t i = 0; i < a->uplink.recipient_count; i++)
        if (!same_blob(&a->uplink.recipients[i], &b->uplink.recipients[i]))
            return false;
    return true;
}

static bool same_link(const struct gw_config *a, const struct gw_config *b)
{
    if (a->uplink.broker_count != b->uplink.broker_count ||
        strcmp(a->uplink.prefix, b->uplink.prefix) != 0 ||
        strcmp(a->uplink.username, b->uplink.username) != 0 || a->uplink.window != b->uplink.window)
        return false;
    for (size_t i = 0; i < a->uplink.broker_count; i++)
        if (strcmp(a->uplink.brokers[i].url, b->uplink.brokers[i].url) != 0)
            return false;
    return same_blob(&a->uplink.ca, &b->uplink.ca) && same_blob(&a->uplink.cert, &b->uplink.cert) &&
           same_blob(&a->uplink.key, &b->uplink.key) &&
           same_blob(&a->uplink.password, &b->uplink.password);
}

int gw_uplink_reload(struct gw_uplink *u, const struct gw_config *config)
{
    bool readers_changed = !same_recipients(u->config, config);
    bool link_changed = !same_link(u->config, config);
    int err = readers_changed ? read_recipients(u, config) : 0;

    u->config = config; /* the old one goes away, whatever happens here */
    if (err)
        return err;
    if (readers_changed)
        gw_epoch_free(&u->epoch);
    if (!link_changed)
        return 0;
    link_stop(u);
    return link_start(u);
}

/* ---- the object ---- */

void gw_uplink_identity(struct gw_uplink *u, const struct gw_uplink_identity *id)
{
    struct gw_buf cert = {.max = 1u << 16};

    if (gw_buf_append(&cert, id->cert_der)) {
        gw_log_error("the renewed certificate is not used for announcements yet");
        return;
    }
    gw_buf_fini(&u->cert);
    u->cert = cert;
    u->key = id->key;
}

static int open_spool(struct gw_uplink *u, struct gw_store *store)
{
    static const struct gw_spool_ops ops = {on_durable, on_failed, on_readable, on_label};
    GW_CLEANUP(gw_free_ptr) char *dir = NULL;
    struct gw_spool_config cfg = {.max_bytes = u->config->uplink.spool_max_bytes,
                                  .memory_bytes = VOLATILE_BYTES};
    int err;

    if (asprintf(&dir, "%s/spool", u->config->gateway.state_dir) < 0) {
        dir = NULL;
        return -ENOMEM;
    }
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return -errno;
    cfg.dir = dir;
    err = gw_spool_open(u->loop, store, &cfg, &ops, u, &u->spool);
    if (!err)
        u->left_to = gw_spool_next_sequence(u->spool) - 1;
    return err;
}

static struct gw_uplink *uplink_alloc(struct gw_loop *loop, const struct gw_config *config,
                                      const struct gw_uplink_identity *id,
                                      const struct gw_uplink_ops *ops, void *owner)
{
    struct gw_uplink *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->loop = loop;
    u->config = config;
    u->ops = *ops;
    u->owner = owner;
    u->tickets.max = TICKETS_BYTES;
    u->labels.max = TICKETS_BYTES;
    u->sealed.max = GW_SPOOL_RECORD_MAX;
    gw_list_init(&u->link.statuses);
    gw_uplink_identity(u, id);
    u->gateway_id = strdup(id->gateway_id);
    if (!u->gateway_id || !gw_buf_len(&u->cert))
        gw_uplink_close(&u);
    return u;
}

int gw_uplink_open(struct gw_loop *loop, const struct gw_config *config, struct gw_store *store,
                   const struct gw_uplink_identity *id, const struct gw_uplink_ops *ops,
                   void *owner, struct gw_uplink **out)
{
    GW_CLEANUP(gw_uplink_close) struct gw_uplink *u = uplink_alloc(loop, config, id, ops, owner);
    int err;

    if (!u)
        return -ENOMEM;
    err = read_recipients(u, config);
    if (!err)
        err = open_spool(u, store);
    if (!err)
        err = link_start(u);
    if (err)
        return err;
    *out = GW_TAKE(u);
    return 0;
}

void gw_uplink_close(struct gw_uplink **uplink)
{
    struct gw_uplink *u = GW_TAKE(*uplink);

    if (!u)
        return;
    link_stop(u);
    gw_spool_close(&u->spool);
    gw_epoch_free(&u->epoch);
    free_recipients(u->recipients, u->recipient_count);
    gw_buf_fini(&u->tickets);
    gw_buf_fini(&u->labels);
    gw_buf_fini(&u->sealed);
    gw_buf_fini(&u->cert);
    free(u->gateway_id);
    free(u);
}

void gw_uplink_status(const struct gw_uplink *u, struct gw_uplink_status *out)
{
    const struct gw_client *c = u->link.client;
    struct gw_spool_stats stats;

    gw_spool_stats(u->spool, &stats);
    *out = (struct gw_uplink_status){
        .state = !c                   ? GW_UPLINK_OFF
                 : gw_client_is_up(c) ? GW_UPLINK_CONNECTED
                                      : GW_UPLINK_CONNECTING,
        .broker = c ? gw_client_url(c) : "",
        .spooled_messages = stats.messages,
        .spooled_bytes = stats.bytes,
        .in_flight = link_in_flight(u),
        .acknowledged = u->link.acknowledged,
        .refused = stats.refused + u->link.refused,
        .dropped = stats.dropped + u->dropped,
        .last_error = c ? gw_client_error(c) : "",
        .spool_full = stats.full,
    };
}
