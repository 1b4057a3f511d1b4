/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "enforcer/note.h"

static struct gw_hwaddr address(const char *text)
{
    struct gw_hwaddr a = {0};

    cr_assert_eq(gw_hwaddr_parse(text, &a), 0, "%s", text);
    return a;
}

static struct gw_note verdict(const char *text)
{
    struct gw_note n = {.kind = GW_NOTE_VERDICT};

    n.verdict.address = address(text);
    n.verdict.judgement.mode = GW_MODE_ISOLATE;
    return n;
}

Test(note, the_enforcer_takes_what_it_can_rely_on)
{
    static const char *const good[] = {"02:00:00:00:00:01", "192.0.2.1", "192.0.2.0/24",
                                       "2001:db8::1", "::/0"};
    struct gw_note n = {.kind = GW_NOTE_COMPLETE};

    cr_expect_eq(gw_note_check_to_enforcer(&n), 0);
    for (size_t i = 0; i < GW_COUNT(good); i++) {
        n = verdict(good[i]);
        cr_expect_eq(gw_note_check_to_enforcer(&n), 0, "%s", good[i]);
    }
    n = (struct gw_note){.kind = GW_NOTE_RESOLVE, .address = address("192.0.2.1")};
    cr_expect_eq(gw_note_check_to_enforcer(&n), 0);
}

Test(note, the_enforcer_refuses_everything_else)
{
    struct gw_note good = verdict("192.0.2.0/24"), bad[16];
    size_t count = 0;

    for (size_t i = 0; i < GW_COUNT(bad); i++)
        bad[i] = good;
    bad[count++].kind = 0;
    bad[count++].kind = GW_NOTE_BUNDLE;
    bad[count++].kind = GW_NOTE_STOP;
    bad[count++].kind = GW_NOTE_TEST + 1;
    bad[count++].kind = UINT32_MAX;
    bad[count++].verdict.judgement.mode = GW_MODE_OBSERVE + 1;
    bad[count++].verdict.judgement.until_wall_ms = -1;
    bad[count++].verdict.address.kind = 0;
    bad[count++].verdict.address.kind = 4;
    bad[count++].verdict.address.prefix_len = 33;
    bad[count++].verdict.address.prefix_len = 16; /* host bits are set then */
    bad[count++].verdict.address.pad[1] = 1;
    bad[count++].verdict.address.bytes[15] = 1;
    bad[count].verdict.address.kind = GW_ADDR_MAC;
    bad[count++].verdict.address.prefix_len = 24;
    bad[count] = (struct gw_note){.kind = GW_NOTE_RESOLVE};
    bad[count++].address = address("02:00:00:00:00:01");
    bad[count++] = (struct gw_note){.kind = GW_NOTE_RESOLVE};
    for (size_t i = 0; i < count; i++)
        cr_expect_eq(gw_note_check_to_enforcer(&bad[i]), GW_EMALFORMED, "case %zu", i);
}

Test(note, the_worker_refuses_what_is_no_text_and_no_choice)
{
    struct gw_note link = {.kind = GW_NOTE_LINK}, sighting = {.kind = GW_NOTE_SIGHTING};

    cr_expect_eq(gw_note_check_to_worker(&link), 0);
    memset(link.link.ifname, 'x', sizeof(link.link.ifname));
    cr_expect_eq(gw_note_check_to_worker(&link), GW_EMALFORMED);
    link = (struct gw_note){.kind = GW_NOTE_LINK};
    link.link.ingress = (enum gw_ingress)9;
    cr_expect_eq(gw_note_check_to_worker(&link), GW_EMALFORMED);
    memset(&link.link.up, 2, 1);
    cr_expect_eq(gw_note_check_to_worker(&link), GW_EMALFORMED);

    cr_expect_eq(gw_note_check_to_worker(&sighting), 0);
    sighting.sighting.has_ip = true;
    cr_expect_eq(gw_note_check_to_worker(&sighting), GW_EMALFORMED, "no address");
    sighting.sighting.ip = address("192.0.2.1");
    cr_expect_eq(gw_note_check_to_worker(&sighting), 0);

    sighting.kind = GW_NOTE_VERDICT;
    cr_expect_eq(gw_note_check_to_worker(&sighting), GW_EMALFORMED);
}

/* ---- the socket ---- */

static int pair[2];

static void open_pair(void)
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
}

Test(note, only_a_whole_note_is_received, .init = open_pair)
{
    static const size_t sizes[] = {1, sizeof(struct gw_note) - 1, sizeof(struct gw_note) + 1};
    char bytes[sizeof(struct gw_note) + 1] = {0};
    struct gw_note n = verdict("192.0.2.1"), got;
    struct gw_note_fds fds;

    for (size_t i = 0; i < GW_COUNT(sizes); i++) {
        cr_assert_eq(send(pair[0], bytes, sizes[i], 0), (ssize_t)sizes[i]);
        cr_expect_eq(gw_note_receive(pair[1], &got, &fds), GW_EMALFORMED, "%zu", sizes[i]);
    }
    cr_expect_eq(gw_note_receive(pair[1], &got, &fds), -EAGAIN);
    cr_assert_eq(gw_note_send(pair[0], &n, NULL, 0), 0);
    cr_assert_eq(gw_note_receive(pair[1], &got, &fds), 0);
    cr_expect_eq(memcmp(&got, &n, sizeof(n)), 0);
    (void)close(pair[0]);
    cr_expect_eq(gw_note_receive(pair[1], &got, &fds), GW_ECLOSED);
}

Test(note, what_the_socket_does_not_take_waits_in_order, .init = open_pair)
{
    struct gw_note_queue q = {.fd = pair[0], .out = {.max = 1 << 20}};
    struct gw_note n = {.kind = GW_NOTE_APPLIED}, got;
    struct gw_note_fds fds;
    uint64_t sent = 0, received = 0;
    int err = 0;

    while (!err) {
        n.applied.token = ++sent;
        err = gw_note_post(&q, &n, -1);
    }
    cr_expect_eq(err, GW_EFULL);
    cr_assert(gw_note_waiting(&q));
    while (received + 1 < sent) {
        err = gw_note_receive(pair[1], &got, &fds);
        if (err == -EAGAIN) {
            (void)gw_note_flush(&q);
            continue;
        }
        cr_assert_eq(err, 0);
        cr_assert_eq(got.applied.token, ++received);
    }
    cr_expect_not(gw_note_waiting(&q));
    gw_note_queue_fini(&q);
}

Test(note, a_file_travels_and_cannot_be_changed, .init = open_pair)
{
    struct gw_note_queue q = {.fd = pair[0], .out = {.max = 1 << 20}};
    GW_CLEANUP(gw_buf_fini) struct gw_buf text = {.max = 100};
    struct gw_note n = {.kind = GW_NOTE_RELOAD}, got;
    struct gw_note_fds fds;
    int fd = -1;

    cr_assert_eq(gw_note_file(GW_SLICE_LIT("secret"), &fd), 0);
    cr_expect_lt(write(fd, "x", 1), 0);
    cr_assert_eq(gw_note_post(&q, &n, fd), 0);
    cr_expect_lt(fcntl(fd, F_GETFD), 0, "taken");
    cr_assert_eq(gw_note_receive(pair[1], &got, &fds), 0);
    cr_assert_eq(fds.count, 1);
    cr_assert_eq(gw_note_file_read(fds.fd[0], &text), 0);
    cr_expect(gw_slice_eq_str(gw_buf_slice(&text), "secret"));
    text.max = 8;
    cr_expect_eq(gw_note_file_read(fds.fd[0], &text), GW_EFULL);
    gw_note_fds_close(&fds);
}
