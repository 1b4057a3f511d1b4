/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"

#define NAME_MAX_ 128 /* of a gateway */
#define PLAIN_MAX (1u << 20)

struct epoch {
    uint8_t kid[GW_KID_BYTES];
    uint8_t key[32];
    const struct gateway *gateway;
};

struct gateway {
    char name[NAME_MAX_];
    uint64_t last; /* the sequence last opened */
    bool started;
    struct gw_list waiting; /* for keys, in order */
};

struct waiting {
    struct gw_list node; /* in its gateway */
    uint64_t since_ms;
    uint16_t token;
    size_t topic_len, cose_len;
    uint8_t bytes[]; /* topic, COSE */
};

struct reader {
    struct reader_config cfg;
    struct gw_map gateways; /* by name */
    struct gw_map epochs;   /* by kid */
    struct gw_buf plain;
    size_t waiting, waiting_bytes;
    uint64_t lines;
};

int reader_new(const struct reader_config *cfg, struct reader **out)
{
    struct reader *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->cfg = *cfg;
    r->plain.max = PLAIN_MAX;
    *out = r;
    return 0;
}

static void drop(struct reader *r, struct waiting *w)
{
    gw_list_remove(&w->node);
    r->waiting--;
    r->waiting_bytes -= w->topic_len + w->cose_len;
    free(w);
}

void reader_restart(struct reader *r)
{
    struct gateway *g;
    size_t at = 0;

    while ((g = gw_map_next(&r->gateways, &at)))
        GW_LIST_EACH(&g->waiting, node)
    drop(r, GW_LIST_ENTRY(node, struct waiting, node));
}

void reader_free(struct reader **reader)
{
    struct reader *r = GW_TAKE(*reader);
    struct gateway *g;
    struct epoch *e;
    size_t at = 0;

    if (!r)
        return;
    reader_restart(r);
    while ((g = gw_map_next(&r->gateways, &at)))
        free(g);
    for (at = 0; (e = gw_map_next(&r->epochs, &at));) {
        gw_wipe(e, sizeof(*e));
        free(e);
    }
    gw_map_fini(&r->gateways);
    gw_map_fini(&r->epochs);
    gw_wipe(r->plain.data, r->plain.cap);
    gw_buf_fini(&r->plain);
    free(r);
}

uint64_t reader_lines(const struct reader *r)
{
    return r->lines;
}

static struct gateway *gateway_of(struct reader *r, struct gw_slice name)
{
    struct gateway *g = gw_map_get(&r->gateways, name);

    if (g || name.len == 0 || name.len >= sizeof(g->name) || !gw_utf8_valid(name) ||
        r->gateways.count >= READER_GATEWAYS_MAX)
        return g;
    g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    memcpy(g->name, name.ptr, name.len);
    gw_list_init(&g->waiting);
    if (gw_map_put(&r->gateways, gw_slice_str(g->name), g)) {
        free(g);
        return NULL;
    }
    return g;
}

static void complain(struct reader *r, const struct gateway *g, const char *what, const char *why)
{
    char safe[GW_LOG_TEXT];

    (void)fprintf(r->cfg.err, "cordon: %s: %s: %s\n", gw_log_text(gw_slice_str(g->name), safe),
                  what, why);
}

/* ---- lines ---- */

static bool add_payload(json_t *line, struct gw_slice plain)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf text = {.max = 2 * PLAIN_MAX};

    if (gw_utf8_valid(plain))
        return json_object_set_new(line, "payload",
                                   json_stringn((const char *)plain.ptr, plain.len)) == 0;
    if (gw_base64(plain, false, &text))
        return false;
    return json_object_set_new(
               line, "payload_base64",
               json_stringn((const char *)gw_buf_slice(&text).ptr, gw_buf_len(&text))) == 0;
}

bool reader_print(FILE *out, const char *gateway, const struct gw_envelope_head *head,
                  struct gw_slice plain)
{
    struct gw_slice type = head->content_type;
    char time[GW_TIME_TEXT];
    json_t *line = json_pack("{s:s, s:s%, s:s%, s:I, s:s}", "gateway", gateway, "topic",
                             (const char *)head->topic.ptr, head->topic.len, "device",
                             (const char *)head->device.ptr, head->device.len, "sequence",
                             (json_int_t)head->sequence, "time", gw_time_text(head->time_ms, time));
    bool ok = line && add_payload(line, plain);

    if (ok && type.len)
        ok = json_object_set_new(line, "content_type",
                                 json_stringn((const char *)type.ptr, type.len)) == 0;
    if (ok)
        ok = json_dumpf(line, out, JSON_COMPACT | JSON_PRESERVE_ORDER) == 0 &&
             fputc('\n', out) != EOF;
    json_decref(line);
    return ok;
}

/* ---- opening ---- */

/* False for one that was seen before; a hole is told. */
static bool in_sequence(struct reader *r, struct gateway *g, uint64_t sequence)
{
    uint64_t expected = g->last + 1;

    if (g->started && sequence <= g->last)
        return false;
    if ((g->started || r->cfg.from_start) && sequence != expected)
        (void)fprintf(r->cfg.err, "cordon: %s: gap: %" PRIu64 " to %" PRIu64 " did not come\n",
                      g->name, expected, sequence - 1);
    g->started = true;
    g->last = sequence;
    return true;
}

/* Open one whose key is there; whatever is wrong with it is said and the message is done with. */
static void open_one(struct reader *r, struct gateway *g, const struct epoch *e,
                     struct gw_slice topic, struct gw_slice cose)
{
    struct gw_envelope_head head;
    int err = gw_envelope_open(cose, e->key, &head, &r->plain);

    if (err)
        complain(r, g, "a message does not open", gw_error_text(err));
    else if (e->gateway != g)
        complain(r, g, "a message was refused", "its key belongs to another gateway");
    else if (!gw_slice_eq(head.topic, topic))
        complain(r, g, "a message was refused", "it was sealed for another topic");
    else if (in_sequence(r, g, head.sequence)) {
        r->lines++;
        if (!reader_print(r->cfg.out, g->name, &head, gw_buf_slice(&r->plain)))
            complain(r, g, "a message was not written", "its text is not valid");
    }
    gw_buf_consume(&r->plain, gw_buf_len(&r->plain));
}

/* The key of a message, or NULL; false when it is no sealed message at all. */
static bool find_key(struct reader *r, struct gw_slice cose, const struct epoch **out)
{
    struct gw_envelope_head head;

    if (gw_envelope_peek(cose, &head))
        return false;
    *out = gw_map_get(&r->epochs, GW_SLICE(head.kid, sizeof(head.kid)));
    return true;
}

static struct gw_slice topic_of(const struct waiting *w)
{
    return GW_SLICE(w->bytes, w->topic_len);
}

static struct gw_slice cose_of(const struct waiting *w)
{
    return GW_SLICE(w->bytes + w->topic_len, w->cose_len);
}

/* Open what waits, in order, up to the first whose key is still missing. */
static void open_waiting(struct reader *r, struct gateway *g)
{
    while (!gw_list_empty(&g->waiting)) {
        struct waiting *w = GW_LIST_ENTRY(g->waiting.next, struct waiting, node);
        const struct epoch *e;
        uint16_t token = w->token;

        if (find_key(r, cose_of(w), &e)) {
            if (!e)
                return;
            open_one(r, g, e, topic_of(w), cose_of(w));
        }
        drop(r, w);
        r->cfg.done(r->cfg.owner, token);
    }
}

/* Without a key, or behind one that is: false when there is no room. */
static bool keep(struct reader *r, struct gateway *g, uint64_t now_ms, struct gw_slice topic,
                 struct gw_slice cose, uint16_t token)
{
    struct waiting *w;

    if (r->waiting >= READER_WAITING_MAX ||
        r->waiting_bytes + topic.len + cose.len > READER_WAITING_BYTES)
        return false;
    w = malloc(sizeof(*w) + topic.len + cose.len);
    if (!w)
        return false;
    *w = (struct waiting){
        .since_ms = now_ms, .token = token, .topic_len = topic.len, .cose_len = cose.len};
    memcpy(w->bytes, topic.ptr, topic.len);
    memcpy(w->bytes + topic.len, cose.ptr, cose.len);
    gw_list_append(&g->waiting, &w->node);
    r->waiting++;
    r->waiting_bytes += topic.len + cose.len;
    return true;
}

void reader_message(struct reader *r, uint64_t now_ms, struct gw_slice gateway,
                    struct gw_slice topic, struct gw_slice cose, uint16_t token)
{
    struct gateway *g = gateway_of(r, gateway);
    const struct epoch *e = NULL;

    if (g && topic.len && find_key(r, cose, &e)) {
        if (e && gw_list_empty(&g->waiting))
            open_one(r, g, e, topic, cose);
        else if (keep(r, g, now_ms, topic, cose, token))
            return;
        else
            complain(r, g, "a message was skipped", "too many wait for keys");
    } else if (g) {
        complain(r, g, "a message was refused", "it is no sealed message");
    }
    r->cfg.done(r->cfg.owner, token);
}

void reader_tick(struct reader *r, uint64_t now_ms)
{
    struct gateway *g;
    size_t at = 0;

    while (r->waiting && (g = gw_map_next(&r->gateways, &at))) {
        while (!gw_list_empty(&g->waiting)) {
            struct waiting *w = GW_LIST_ENTRY(g->waiting.next, struct waiting, node);
            uint16_t token = w->token;

            if (now_ms - w->since_ms < READER_WAIT_MS)
                break;
            complain(r, g, "a message was skipped", "its key was not announced to this reader");
            drop(r, w);
            r->cfg.done(r->cfg.owner, token);
            open_waiting(r, g);
        }
    }
}

/* ---- keys ---- */

/* Signed by the gateway whose topic it came on, and under the CA that was asked for. */
static int check_signer(struct reader *r, const struct gateway *g, struct gw_slice cert)
{
    struct gw_cert_info info;
    int err = gw_cert_parse(cert, &info);

    if (err)
        return err;
    if (strcmp(info.common_name, g->name) != 0)
        return GW_EIDENTITY;
    return r->cfg.gateway_ca.len ? gw_cert_verify(cert, r->cfg.gateway_ca) : 0;
}

/* The first key under a kid stays: a kid is never used twice. */
static int remember(struct reader *r, const struct gateway *g, const struct gw_epoch_key *key)
{
    struct epoch *e;

    if (gw_map_get(&r->epochs, GW_SLICE(key->kid, sizeof(key->kid))))
        return 0;
    if (r->epochs.count >= READER_EPOCHS_MAX)
        return GW_EFULL;
    e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    memcpy(e->kid, key->kid, sizeof(e->kid));
    memcpy(e->key, key->key, sizeof(e->key));
    e->gateway = g;
    if (gw_map_put(&r->epochs, GW_SLICE(e->kid, sizeof(e->kid)), e)) {
        gw_wipe(e, sizeof(*e));
        free(e);
        return -ENOMEM;
    }
    return 0;
}

void reader_key(struct reader *r, struct gw_slice gateway, struct gw_slice cose)
{
    struct gateway *g = gateway_of(r, gateway);
    struct gw_epoch_key key;
    int err;

    if (!g || cose.len == 0)
        return;
    err = gw_epoch_open(cose, r->cfg.key, &key);
    if (err == GW_ENOKEY)
        return; /* an epoch for other readers: what is sealed under it is told when it comes */
    if (!err)
        err = check_signer(r, g, key.cert_der);
    if (!err)
        err = remember(r, g, &key);
    gw_wipe(key.key, sizeof(key.key));
    if (err)
        complain(r, g, "an announced key was refused", gw_error_text(err));
    else
        open_waiting(r, g);
}
