/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>

#include "envelope/envelope.h"
#include "envelope/envelope_priv.h"
#include "envelope/epoch_priv.h"

struct world {
    struct gw_epoch *epoch;
    struct gw_key *signer, *reader, *other, *stranger;
    struct gw_buf cert;
    struct gw_buf announcement;
};

static struct world w;

static void setup(void)
{
    static const char *const no_names[] = {NULL};
    static const struct gw_slice no_addrs[] = {GW_SLICE_NONE};
    struct gw_cert_request req = {.use = GW_CERT_CA,
                                  .common_name = "gw-0011223344556677",
                                  .dns_names = no_names,
                                  .addresses = no_addrs,
                                  .not_before_s = 1700000000,
                                  .not_after_s = 2000000000};
    const struct gw_key *recipients[2];

    cr_assert_eq(gw_crypto_init(), 0);
    w.cert.max = w.announcement.max = 65536;
    cr_assert_eq(gw_epoch_new(&w.epoch), 0);
    cr_assert_eq(gw_key_generate(&w.signer), 0);
    cr_assert_eq(gw_key_generate(&w.reader), 0);
    cr_assert_eq(gw_key_generate(&w.other), 0);
    cr_assert_eq(gw_key_generate(&w.stranger), 0);
    cr_assert_eq(gw_cert_issue(&req, w.signer, GW_SLICE_NONE, w.signer, &w.cert), 0);
    recipients[0] = w.other;
    recipients[1] = w.reader;
    cr_assert_eq(
        gw_epoch_announce(w.epoch, recipients, 2, w.signer, gw_buf_slice(&w.cert), &w.announcement),
        0);
}

static void teardown(void)
{
    gw_epoch_free(&w.epoch);
    gw_key_free(&w.signer);
    gw_key_free(&w.reader);
    gw_key_free(&w.other);
    gw_key_free(&w.stranger);
    gw_buf_fini(&w.cert);
    gw_buf_fini(&w.announcement);
    gw_crypto_fini();
}

TestSuite(envelope, .init = setup, .fini = teardown);

static struct gw_envelope_head a_head(void)
{
    return (struct gw_envelope_head){.topic = GW_SLICE_LIT("d/cam-1/motion"),
                                     .device = GW_SLICE_LIT("cam-1"),
                                     .sequence = 41,
                                     .time_ms = 1795000000123};
}

static struct gw_slice seal(const struct gw_envelope_head *head, struct gw_slice payload,
                            uint8_t *room, size_t cap)
{
    struct gw_writer out = gw_writer_of(room, cap);

    cr_assert_eq(gw_envelope_seal(w.epoch, head, payload, &out), 0);
    return gw_writer_done(&out);
}

Test(envelope, opens_what_was_sealed)
{
    static const struct {
        const char *name, *topic, *device, *type;
        uint64_t sequence;
        int64_t time_ms;
        size_t len;
    } cases[] = {
        {"plain", "d/cam-1/motion", "cam-1", "", 1, 1795000000123, 10},
        {"with a content type", "d/x", "x", "application/json", 2, 1, 1},
        {"an empty payload", "t", "d", "", 24, 0, 0},
        {"the highest sequence", "t", "d", "", UINT64_MAX, INT64_MAX, 23},
        {"a clock before 1970", "t", "d", "", 256, -5, 24},
        {"long", "a/b/c", "d", "text/plain", 65536, 1, 300000},
    };
    static uint8_t payload[300000], room[400000];

    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        GW_CLEANUP(gw_buf_fini) struct gw_buf plain = {.max = 1u << 20};
        struct gw_envelope_head head = {.topic = gw_slice_str(cases[i].topic),
                                        .device = gw_slice_str(cases[i].device),
                                        .content_type = gw_slice_str(cases[i].type),
                                        .sequence = cases[i].sequence,
                                        .time_ms = cases[i].time_ms},
                                got;
        size_t bound = gw_envelope_bound(&head, cases[i].len);
        struct gw_slice cose = seal(&head, GW_SLICE(payload, cases[i].len), room, bound);

        cr_expect_leq(cose.len, bound, "%s", cases[i].name);
        cr_assert_eq(gw_envelope_open(cose, w.epoch->key, &got, &plain), 0, "%s", cases[i].name);
        cr_expect(gw_slice_eq(gw_buf_slice(&plain), GW_SLICE(payload, cases[i].len)));
        cr_expect(gw_slice_eq(got.topic, head.topic) && gw_slice_eq(got.device, head.device) &&
                      gw_slice_eq(got.content_type, head.content_type),
                  "%s", cases[i].name);
        cr_expect(got.sequence == head.sequence && got.time_ms == head.time_ms);
        cr_expect_arr_eq(got.kid, gw_epoch_kid(w.epoch), GW_KID_BYTES);
    }
}

Test(envelope, does_not_open_with_one_bit_changed)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf plain = {.max = 1u << 20};
    struct gw_envelope_head head = a_head(), got;
    uint8_t room[512];
    struct gw_slice cose = seal(&head, GW_SLICE_LIT("seen at the door"), room, sizeof(room));

    for (size_t bit = 0; bit < 8 * cose.len; bit++) {
        room[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_expect_lt(gw_envelope_open(cose, w.epoch->key, &got, &plain), 0, "bit %zu", bit);
        cr_expect_eq(gw_buf_len(&plain), 0);
        room[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    cr_expect_eq(gw_envelope_open(cose, w.epoch->key, &got, &plain), 0);
}

Test(envelope, does_not_open_cut_short_or_with_more_behind_it)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf plain = {.max = 1u << 20};
    struct gw_envelope_head head = a_head(), got;
    uint8_t room[512] = {0};
    struct gw_slice cose = seal(&head, GW_SLICE_LIT("x"), room, sizeof(room));

    for (size_t len = 0; len < cose.len; len++)
        cr_expect_lt(gw_envelope_open(GW_SLICE(room, len), w.epoch->key, &got, &plain), 0);
    cr_expect_eq(gw_envelope_open(GW_SLICE(room, cose.len + 1), w.epoch->key, &got, &plain),
                 GW_ETRAIL);
}

Test(envelope, never_uses_an_iv_twice)
{
    uint8_t last[IV_BYTES] = {0}, iv[IV_BYTES];

    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(epoch_next_iv(w.epoch, iv), 0);
        cr_expect_neq(memcmp(iv, last, sizeof(iv)), 0);
        memcpy(last, iv, sizeof(iv));
    }
    cr_expect_eq(gw_epoch_sealed(w.epoch), 1000);
    w.epoch->sealed = UINT64_MAX;
    cr_expect_eq(epoch_next_iv(w.epoch, iv), GW_ECRYPTO);
}

Test(envelope, leaves_the_writer_alone_when_there_is_no_room)
{
    struct gw_envelope_head head = a_head();
    uint8_t room[100];
    struct gw_writer out = gw_writer_of(room, sizeof(room));

    cr_expect_eq(gw_envelope_seal(w.epoch, &head, GW_SLICE_LIT("payload"), &out), GW_EFULL);
    cr_expect_eq(out.len, 0);
    cr_expect_eq(out.err, 0);
}

Test(envelope, refuses_what_is_no_sealed_message)
{
    static const struct {
        const char *name;
        struct gw_slice cose;
        int want;
    } cases[] = {
        {"nothing", GW_SLICE_LIT(""), GW_ESHORT},
        {"no tag", GW_SLICE_LIT("\x83\x40\xa0\x40"), GW_EMALFORMED},
        {"another tag", GW_SLICE_LIT("\xd2\x83\x40\xa0\x40"), GW_EMALFORMED},
        {"an indefinite array", GW_SLICE_LIT("\xd0\x9f\x40\xa0\x40\xff"), GW_EMALFORMED},
        {"two members", GW_SLICE_LIT("\xd0\x82\x40\xa0"), GW_EMALFORMED},
        {"no IV", GW_SLICE_LIT("\xd0\x83\x40\xa0\x40"), GW_EMALFORMED},
        {"a huge count", GW_SLICE_LIT("\xd0\x9b\xff\xff\xff\xff\xff\xff\xff\xff"), GW_ESHORT},
        {"a huge string", GW_SLICE_LIT("\xd0\x83\x5b\xff\xff\xff\xff\xff\xff\xff\xff"), GW_ESHORT},
        {"a reserved length", GW_SLICE_LIT("\xd0\x83\x5c\x00\x00\x00"), GW_EMALFORMED},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct gw_envelope_head head;
        int got = gw_envelope_peek(cases[i].cose, &head);

        cr_expect_eq(got, cases[i].want, "%s: %s", cases[i].name, gw_error_name(got));
    }
}

/* A message whose protected header is `head`, with an IV and a body that is only a tag. */
static int peek_header(struct gw_slice head)
{
    uint8_t room[512];
    struct gw_writer out = gw_writer_of(room, sizeof(room));
    struct gw_envelope_head got;

    gw_writer_put(&out, GW_SLICE_LIT("\xd0\x83"));
    item_put_bytes(&out, head);
    gw_writer_put(&out, GW_SLICE_LIT("\xa1\x05\x4c"
                                     "0123456789ab"
                                     "\x50"
                                     "0123456789abcdef"));
    return gw_envelope_peek(gw_writer_done(&out), &got);
}

#define ALG "\x01\x03"
#define KID "\x04\x48kidkidki"
#define TOPIC "\x3a\x00\x01\x00\x00\x61t"
#define DEVICE                                                                                     \
    "\x3a\x00\x01\x00\x01\x61"                                                                     \
    "d"
#define SEQUENCE "\x3a\x00\x01\x00\x02\x01"
#define TIME "\x3a\x00\x01\x00\x03\x02"

Test(envelope, reads_headers_strictly)
{
    static const struct {
        const char *name;
        struct gw_slice head;
        int want;
    } cases[] = {
        {"all there", GW_SLICE_LIT("\xa6" ALG KID TOPIC DEVICE SEQUENCE TIME), 0},
        {"in another order", GW_SLICE_LIT("\xa6" TIME SEQUENCE DEVICE TOPIC KID ALG), 0},
        {"an unknown label",
         GW_SLICE_LIT("\xa7" ALG KID TOPIC DEVICE SEQUENCE TIME "\x18\x63\x82\x01\xa1\x01\x02"), 0},
        {"no topic", GW_SLICE_LIT("\xa5" ALG KID DEVICE SEQUENCE TIME), GW_EMALFORMED},
        {"no sequence", GW_SLICE_LIT("\xa5" ALG KID TOPIC DEVICE TIME), GW_EMALFORMED},
        {"a label twice", GW_SLICE_LIT("\xa7" ALG ALG KID TOPIC DEVICE SEQUENCE TIME),
         GW_EMALFORMED},
        {"another cipher", GW_SLICE_LIT("\xa6\x01\x01" KID TOPIC DEVICE SEQUENCE TIME),
         GW_EUNSUPPORTED},
        {"critical labels",
         GW_SLICE_LIT("\xa7" ALG "\x02\x81\x18\x63" KID TOPIC DEVICE SEQUENCE TIME),
         GW_EUNSUPPORTED},
        {"a short kid", GW_SLICE_LIT("\xa6" ALG "\x04\x47kidkidk" TOPIC DEVICE SEQUENCE TIME),
         GW_EMALFORMED},
        {"a topic that is no text",
         GW_SLICE_LIT("\xa6" ALG KID "\x3a\x00\x01\x00\x00\x41t" DEVICE SEQUENCE TIME),
         GW_EMALFORMED},
        {"a topic that is not UTF-8",
         GW_SLICE_LIT("\xa6" ALG KID "\x3a\x00\x01\x00\x00\x61\xff" DEVICE SEQUENCE TIME),
         GW_EMALFORMED},
        {"a negative sequence",
         GW_SLICE_LIT("\xa6" ALG KID TOPIC DEVICE "\x3a\x00\x01\x00\x02\x20" TIME), GW_EMALFORMED},
        {"something behind the map", GW_SLICE_LIT("\xa6" ALG KID TOPIC DEVICE SEQUENCE TIME "\x00"),
         GW_ETRAIL},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        int got = peek_header(cases[i].head);

        cr_expect_eq(got, cases[i].want, "%s: %s", cases[i].name, gw_error_name(got));
    }
}

Test(envelope, announces_the_key_to_each_recipient_and_to_nobody_else)
{
    struct gw_slice cose = gw_buf_slice(&w.announcement);
    struct gw_epoch_key key;

    cr_assert_eq(gw_epoch_open(cose, w.reader, &key), 0);
    cr_expect_arr_eq(key.key, w.epoch->key, 32);
    cr_expect_arr_eq(key.kid, w.epoch->kid, GW_KID_BYTES);
    cr_expect(gw_slice_eq(key.cert_der, gw_buf_slice(&w.cert)));
    cr_assert_eq(gw_epoch_open(cose, w.other, &key), 0);
    cr_expect_arr_eq(key.key, w.epoch->key, 32);
    cr_expect_eq(gw_epoch_open(cose, w.stranger, &key), GW_ENOKEY);
}

Test(envelope, refuses_an_announcement_with_one_bit_changed)
{
    struct gw_slice cose = gw_buf_slice(&w.announcement);
    struct gw_epoch_key key;

    /* Every eighth bit keeps the run short: all of them meet the same signature. */
    for (size_t bit = 0; bit < 8 * cose.len; bit += bit < 128 ? 1 : 9) {
        uint8_t *at = w.announcement.data + w.announcement.head + bit / 8;

        *at ^= (uint8_t)(1 << bit % 8);
        cr_expect_lt(gw_epoch_open(cose, w.reader, &key), 0, "bit %zu", bit);
        *at ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t len = 0; len < cose.len; len += 3)
        cr_expect_lt(gw_epoch_open(GW_SLICE(cose.ptr, len), w.reader, &key), 0);
    cr_expect_eq(gw_epoch_open(cose, w.reader, &key), 0);
}

Test(envelope, announces_to_as_many_as_may_be_configured)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf out = {.max = 65536};
    const struct gw_key *many[GW_RECIPIENTS_MAX + 1];
    struct gw_epoch_key key;

    for (size_t i = 0; i < GW_COUNT(many); i++)
        many[i] = i == 17 ? w.reader : w.other;
    cr_expect_eq(gw_epoch_announce(w.epoch, many, 0, w.signer, gw_buf_slice(&w.cert), &out), -22);
    cr_expect_eq(
        gw_epoch_announce(w.epoch, many, GW_COUNT(many), w.signer, gw_buf_slice(&w.cert), &out),
        -22);
    cr_assert_eq(
        gw_epoch_announce(w.epoch, many, GW_RECIPIENTS_MAX, w.signer, gw_buf_slice(&w.cert), &out),
        0);
    cr_expect_eq(gw_epoch_open(gw_buf_slice(&out), w.reader, &key), 0);
}
