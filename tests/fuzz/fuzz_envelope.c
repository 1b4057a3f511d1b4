/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gw_envelope_peek and gw_epoch_open on any bytes; a head that is read is sealed again, opened, and
 * must be the same.
 */
#include "envelope/envelope.h"
#include "fuzz.h"

static struct gw_epoch *epoch;
static struct gw_epoch_key key;
static struct gw_key *recipient;

static void setup(void)
{
    struct gw_cert_request req = {.use = GW_CERT_CA,
                                  .common_name = "gw-1",
                                  .not_before_s = 1700000000,
                                  .not_after_s = 4000000000};
    struct gw_buf cert = {.max = 8192};
    static struct gw_buf announcement = {.max = 8192};
    const struct gw_key *to[1];

    MUST(gw_crypto_init() == 0);
    MUST(gw_key_generate(&recipient) == 0);
    MUST(gw_cert_issue(&req, recipient, GW_SLICE_NONE, recipient, &cert) == 0);
    MUST(gw_epoch_new(&epoch) == 0);
    to[0] = recipient;
    MUST(gw_epoch_announce(epoch, to, 1, recipient, gw_buf_slice(&cert), &announcement) == 0);
    MUST(gw_epoch_open(gw_buf_slice(&announcement), recipient, &key) == 0);
    gw_buf_fini(&cert);
}

static void round_trip(const struct gw_envelope_head *head)
{
    size_t bound = gw_envelope_bound(head, 5);
    struct gw_buf plain = {.max = 64};
    struct gw_envelope_head again;
    uint8_t *room = malloc(bound);
    struct gw_writer w = gw_writer_of(room, bound);

    MUST(room);
    MUST(gw_envelope_seal(epoch, head, GW_SLICE_LIT("hello"), &w) == 0);
    MUST(gw_envelope_open(gw_writer_done(&w), key.key, &again, &plain) == 0);
    MUST(gw_slice_eq(again.topic, head->topic) && gw_slice_eq(again.device, head->device));
    MUST(gw_slice_eq(again.content_type, head->content_type));
    MUST(again.sequence == head->sequence && again.time_ms == head->time_ms);
    MUST(gw_slice_eq_str(gw_buf_slice(&plain), "hello"));
    gw_buf_fini(&plain);
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gw_slice input = GW_SLICE(data, size);
    struct gw_envelope_head head;
    struct gw_epoch_key other;

    if (!epoch)
        setup();
    if (gw_envelope_peek(input, &head) == 0)
        round_trip(&head);
    MUST(gw_epoch_open(input, recipient, &other) != 0); /* nobody sealed anything for this key */
    return 0;
}
