/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>

#include "cli/reader.h"
#include "envelope/envelope.h"

#define EPOCHS 2

static struct gw_key *signer, *recipient;
static struct gw_buf cert, announcements[EPOCHS];
static struct gw_epoch *epochs[EPOCHS];
static struct reader *reader;
static FILE *out, *err;
static char *out_text, *err_text;
static size_t out_len, err_len;
static unsigned done;
static uint16_t last_done;

static void on_done(void *owner, uint16_t token)
{
    (void)owner;
    done++;
    last_done = token;
}

static void make_epochs(void)
{
    const struct gw_key *recipients[1] = {recipient};

    for (int i = 0; i < EPOCHS; i++) {
        announcements[i].max = 65536;
        cr_assert_eq(gw_epoch_new(&epochs[i]), 0);
        cr_assert_eq(gw_epoch_announce(epochs[i], recipients, 1, signer, gw_buf_slice(&cert),
                                       &announcements[i]),
                     0);
    }
}

static void setup(void)
{
    struct gw_cert_request req = {.use = GW_CERT_CA,
                                  .common_name = "gw-1",
                                  .not_before_s = 1700000000,
                                  .not_after_s = 4000000000};

    cr_assert_eq(gw_crypto_init(), 0);
    cr_assert_eq(gw_key_generate(&signer), 0);
    cr_assert_eq(gw_key_generate(&recipient), 0);
    cert.max = 8192;
    cr_assert_eq(gw_cert_issue(&req, signer, GW_SLICE_NONE, signer, &cert), 0);
    make_epochs();
    out = open_memstream(&out_text, &out_len);
    err = open_memstream(&err_text, &err_len);
}

static void start(bool from_start)
{
    struct reader_config cfg = {
        .key = recipient, .from_start = from_start, .out = out, .err = err, .done = on_done};

    cr_assert_eq(reader_new(&cfg, &reader), 0);
}

static void teardown(void)
{
    reader_free(&reader);
    for (int i = 0; i < EPOCHS; i++) {
        gw_epoch_free(&epochs[i]);
        gw_buf_fini(&announcements[i]);
    }
    gw_key_free(&signer);
    gw_key_free(&recipient);
    gw_buf_fini(&cert);
    (void)fclose(out);
    (void)fclose(err);
    free(out_text);
    free(err_text);
    gw_crypto_fini();
}

TestSuite(reader, .init = setup, .fini = teardown);

static void key(int epoch, const char *gateway)
{
    reader_key(reader, gw_slice_str(gateway), gw_buf_slice(&announcements[epoch]));
}

static void message_on(int epoch, const char *topic, uint64_t sequence, struct gw_slice payload,
                       uint64_t now_ms)
{
    struct gw_envelope_head head = {.topic = GW_SLICE_LIT("d/cam-1/x"),
                                    .device = GW_SLICE_LIT("cam-1"),
                                    .sequence = sequence,
                                    .time_ms = 1795000000123};
    uint8_t room[1024];
    struct gw_writer w = gw_writer_of(room, sizeof(room));

    cr_assert_eq(gw_envelope_seal(epochs[epoch], &head, payload, &w), 0);
    reader_message(reader, now_ms, GW_SLICE_LIT("gw-1"), gw_slice_str(topic), gw_writer_done(&w),
                   (uint16_t)sequence);
    (void)fflush(out);
    (void)fflush(err);
}

static void message(int epoch, uint64_t sequence)
{
    message_on(epoch, "d/cam-1/x", sequence, GW_SLICE_LIT("hello"), 0);
}

Test(reader, prints_a_line_for_each_message)
{
    start(false);
    key(0, "gw-1");
    message(0, 7);
    cr_expect_str_eq(out_text, "{\"gateway\":\"gw-1\",\"topic\":\"d/cam-1/x\",\"device\":\"cam-1\","
                               "\"sequence\":7,\"time\":\"2026-11-18T11:06:40.123Z\","
                               "\"payload\":\"hello\"}\n");
    message_on(0, "d/cam-1/x", 8, GW_SLICE_LIT("\xff\x00"), 0);
    cr_expect_not_null(strstr(out_text, "\"payload_base64\":\"/wA=\""));
    message_on(0, "d/cam-1/x", 9, GW_SLICE_NONE, 0);
    cr_expect_not_null(strstr(out_text, "\"payload\":\"\""));
    cr_expect_eq(done, 3);
    cr_expect_eq(reader_lines(reader), 3);
    cr_expect_eq(err_len, 0);
}

Test(reader, drops_what_comes_twice_and_tells_a_gap)
{
    start(false);
    key(0, "gw-1");
    message(0, 7);
    message(0, 8);
    message(0, 7);
    message(0, 8);
    cr_expect_eq(reader_lines(reader), 2);
    cr_expect_eq(done, 4, "each is acknowledged");
    cr_expect_eq(err_len, 0);
    message(0, 11);
    cr_expect_eq(reader_lines(reader), 3);
    cr_expect_not_null(strstr(err_text, "gap: 9 to 10"), "%s", err_text);
}

Test(reader, tells_a_gap_before_the_first_message_when_asked_to)
{
    start(true);
    key(0, "gw-1");
    message(0, 3);
    cr_expect_not_null(strstr(err_text, "gap: 1 to 2"), "%s", err_text);
}

Test(reader, waits_for_a_key_and_keeps_the_order)
{
    start(false);
    key(1, "gw-1");
    message(0, 1);
    message(0, 2);
    message(1, 3);
    cr_expect_eq(done, 0, "the one whose key is here stands behind the others");
    key(0, "gw-1");
    (void)fflush(err);
    cr_expect_eq(done, 3);
    cr_expect_eq(reader_lines(reader), 3);
    cr_expect_eq(err_len, 0, "%s", err_text);
}

Test(reader, gives_up_on_a_key_that_does_not_come)
{
    start(false);
    key(1, "gw-1");
    message(0, 1);
    message(1, 2);
    reader_tick(reader, READER_WAIT_MS - 1);
    cr_expect_eq(done, 0);
    reader_tick(reader, READER_WAIT_MS);
    (void)fflush(err);
    cr_expect_eq(done, 2);
    cr_expect_eq(reader_lines(reader), 1);
    cr_expect_not_null(strstr(err_text, "not announced"), "%s", err_text);
}

Test(reader, takes_again_what_was_not_done_when_the_connection_broke)
{
    start(false);
    message(0, 1);
    reader_restart(reader);
    key(0, "gw-1");
    cr_expect_eq(reader_lines(reader), 0);
    message(0, 1);
    cr_expect_eq(reader_lines(reader), 1);
    cr_expect_eq(last_done, 1);
}

Test(reader, refuses_what_is_not_what_it_says)
{
    start(false);
    key(0, "gw-2"); /* signed by gw-1 */
    message(0, 1);
    cr_expect_eq(reader_lines(reader), 0);
    cr_expect_not_null(strstr(err_text, "announced key was refused"), "%s", err_text);
    key(0, "gw-1");
    message_on(0, "d/cam-2/x", 2, GW_SLICE_LIT("moved"), 0);
    cr_expect_not_null(strstr(err_text, "sealed for another topic"), "%s", err_text);
    reader_message(reader, 0, GW_SLICE_LIT("gw-1"), GW_SLICE_LIT("t"), GW_SLICE_LIT("junk"), 9);
    (void)fflush(err);
    cr_expect_eq(last_done, 9);
    cr_expect_not_null(strstr(err_text, "no sealed message"), "%s", err_text);
    cr_expect_eq(reader_lines(reader), 1, "only the first, once its key was there");
}

Test(reader, accepts_keys_only_under_the_ca_that_was_asked_for)
{
    GW_CLEANUP(gw_key_free) struct gw_key *other = NULL;
    GW_CLEANUP(gw_buf_fini) struct gw_buf ca = {.max = 8192};
    struct gw_cert_request req = {.use = GW_CERT_CA,
                                  .common_name = "Cordon CA gw-1",
                                  .not_before_s = 1700000000,
                                  .not_after_s = 4000000000};
    struct reader_config cfg = {.key = recipient, .out = out, .err = err, .done = on_done};

    cr_assert_eq(gw_key_generate(&other), 0);
    cr_assert_eq(gw_cert_issue(&req, other, GW_SLICE_NONE, other, &ca), 0);
    cfg.gateway_ca = gw_buf_slice(&ca);
    cr_assert_eq(reader_new(&cfg, &reader), 0);
    key(0, "gw-1");
    (void)fflush(err);
    cr_expect_not_null(strstr(err_text, "announced key was refused"));
    reader_free(&reader);
    cfg.gateway_ca = gw_buf_slice(&cert);
    cr_assert_eq(reader_new(&cfg, &reader), 0);
    key(0, "gw-1");
    message(0, 1);
    cr_expect_eq(reader_lines(reader), 1);
}
