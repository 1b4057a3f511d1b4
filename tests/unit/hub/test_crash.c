/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exactly once, wherever the daemon dies: a device publishes at QoS 2, always under one packet
 * identifier, to a sink with a disk of its own and to a durable subscriber. A child process is all
 * of the gateway; it dies before or after its N-th commit to either disk, for every N, and the next
 * one goes on. Device, subscriber and what is on the disks outlive it.
 */
#include "hub/hub_test.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGES 5
#define PACKET_ID 7
#define RECORDS 64
#define HELD 64
#define DIED 77
#define TURNS 20000

enum { PUBLISHING, RELEASING, RELEASED };

/* How the sink's disk and the database take turns. */
enum pace { SINK_FIRST, SINK_SECOND, SINK_LATE, PACES };

struct record {
    uint8_t label[GW_HUB_LABEL_MAX];
    size_t label_len;
    uint64_t ticket;
    int payload;
};

/* What is not in the gateway: shared with the process that plays it. */
struct outside {
    int message, phase; /* the device's */
    struct record disk[RECORDS];
    size_t on_disk, settled; /* records, and so many of their labels may be gone */
    uint16_t held[HELD];     /* the subscriber's packet identifiers, to be released */
    size_t held_count;
    unsigned got[MESSAGES];
};

static struct outside *out;

/* ---- dying ---- */

static int steps_left;

static void step(void)
{
    if (steps_left && --steps_left == 0)
        _exit(DIED);
}

static int before_commit(void *ctx)
{
    (void)ctx;
    step();
    return 0;
}

static int after_commit(void *ctx, sqlite3 *db, const char *name, int pages)
{
    (void)ctx;
    (void)db;
    (void)name;
    (void)pages;
    step();
    return SQLITE_OK;
}

static int run_hook(struct gw_store_job *job, sqlite3 *db)
{
    (void)job;
    (void)sqlite3_commit_hook(db, before_commit, NULL);
    (void)sqlite3_wal_hook(db, after_commit, NULL);
    return 0;
}

/* ---- the sink ---- */

static enum pace pace;
static struct record collected[RECORDS];
static size_t collected_count;
static int patience;

struct flush {
    struct gw_store_job job;
    struct record records[RECORDS];
    size_t count;
    bool busy;
};

static struct flush flush;

static int run_flush(struct gw_store_job *job, sqlite3 *db)
{
    (void)job;
    (void)db;
    step();
    memcpy(out->disk + out->on_disk, flush.records, flush.count * sizeof(struct record));
    out->on_disk += flush.count;
    step();
    return 0;
}

static void flushed(struct gw_store_job *job, int err)
{
    (void)job;
    (void)err;
    flush.busy = false;
    gw_hub_durable(hub, flush.records[flush.count - 1].ticket);
}

static void flush_start(void)
{
    if (flush.busy || !collected_count)
        return;
    memcpy(flush.records, collected, sizeof(collected));
    flush.count = collected_count;
    collected_count = 0;
    flush.busy = true;
    flush.job = (struct gw_store_job){.run = run_flush, .done = flushed, .no_sql = true};
    gw_store_submit(store, &flush.job);
}

static int to_sink(void *owner, const struct gw_msg *m, uint64_t ticket, struct gw_slice label)
{
    struct record *r = &collected[collected_count++];

    (void)owner;
    *r = (struct record){
        .label_len = label.len, .ticket = ticket, .payload = m->payload.ptr[0] - '0'};
    memcpy(r->label, label.ptr, label.len);
    patience = 4;
    if (pace == SINK_FIRST)
        flush_start();
    return 0;
}

static void forget_labels(void *owner, uint64_t ticket)
{
    (void)owner;
    while (out->settled < out->on_disk && out->disk[out->settled].ticket <= ticket)
        out->settled++;
}

/* ---- the subscriber: what it is sent, it takes in when the hub is done ---- */

static struct gw_session *device, *watcher;
static struct sender device_sender, watcher_sender;
static struct {
    uint16_t id;
    bool release;
    int payload;
} inbox[RECORDS];
static size_t inbox_count;

static int to_watcher(void *owner, const struct gw_delivery *d)
{
    (void)owner;
    if (inbox_count == RECORDS)
        return -EAGAIN;
    inbox[inbox_count].id = d->id;
    inbox[inbox_count].release = d->state == GW_DELIVERY_RELEASED;
    inbox[inbox_count++].payload = d->msg->payload.ptr[0] - '0';
    return 0;
}

static bool holds(uint16_t id)
{
    for (size_t i = 0; i < out->held_count; i++)
        if (out->held[i] == id)
            return true;
    return false;
}

static void on_release(uint16_t id)
{
    for (size_t i = 0; i < out->held_count; i++)
        if (out->held[i] == id)
            out->held[i] = out->held[--out->held_count];
    (void)gw_session_acked(watcher, id);
}

static void on_message(uint16_t id, int payload)
{
    if (!holds(id)) {
        out->held[out->held_count++] = id;
        out->got[payload]++;
    }
    if (gw_session_received(watcher, id) == 1 || gw_hub_settle(hub, watcher_sender.id, id) == 1)
        on_release(id);
}

static void on_watcher_settled(void *owner, uint32_t token, int err)
{
    (void)owner;
    if (err)
        _exit(3);
    on_release((uint16_t)token);
}

static void watch(void)
{
    while (inbox_count) {
        inbox_count--;
        if (inbox[inbox_count].release)
            on_release(inbox[inbox_count].id);
        else
            on_message(inbox[inbox_count].id, inbox[inbox_count].payload);
    }
}

/* ---- the device ---- */

static bool waiting;
static int deaf_at = -1; /* its receipt of this message is lost on the wire */
static int deaf_turns;   /* and so long it takes until the gateway dies */

static void advance(void)
{
    if (out->phase == PUBLISHING && out->message == deaf_at)
        return;
    waiting = false;
    if (out->phase == PUBLISHING) {
        out->phase = RELEASING;
    } else {
        out->message++;
        out->phase = PUBLISHING;
    }
}

static void on_device_told(void *owner, uint32_t token, int err)
{
    (void)owner;
    (void)token;
    if (err)
        _exit(4);
    advance();
}

static void on_ready(void *owner)
{
    (void)owner;
    waiting = false;
}

/* Every other one has no subscriber, and so no row but its receipt. */
static bool is_watched(int message)
{
    return message % 2 == 0;
}

static void say_publish(void)
{
    const char payload[] = {(char)('0' + out->message), 0};
    struct gw_msg *m = msg(is_watched(out->message) ? "t" : "u", payload, 2, false);

    waiting = true;
    if (gw_session_inbound(device, PACKET_ID) == GW_INBOUND_RECEIVED)
        advance();
    else if (!gw_session_inbound_waits(device, PACKET_ID) &&
             gw_hub_publish_once(hub, device_sender.id, device, PACKET_ID, m, 0) != 0)
        _exit(5); /* there is always a disk to wait for */
    gw_msg_unref(&m);
}

static void say_release(void)
{
    (void)gw_session_inbound_remove(device, PACKET_ID);
    waiting = true;
    if (gw_hub_settle(hub, device_sender.id, 0) == 1)
        advance();
}

static void live(void)
{
    if (waiting && out->message == deaf_at && !gw_session_inbound_waits(device, PACKET_ID) &&
        deaf_turns-- == 0)
        _exit(DIED);
    if (waiting || out->message == MESSAGES)
        return;
    if (out->phase == PUBLISHING)
        say_publish();
    else
        say_release();
}

/* ---- the gateway's life ---- */

static void ignore_take_over(void *owner)
{
    (void)owner;
}

static void start(bool all_labels)
{
    static const struct gw_hub_ops ops = {.sink = to_sink, .settled = forget_labels};
    struct gw_store_job hook = {.run = run_hook};

    cr_assert_eq(gw_loop_new(&loop), 0);
    cr_assert_eq(gw_store_open(loop, dir, &store), 0);
    cr_assert_eq(gw_store_call(store, &hook), 0);
    cr_assert_eq(gw_hub_open(loop, &hub_limits, store, &ops, NULL, &hub), 0);
    for (size_t i = all_labels ? 0 : out->settled; i < out->on_disk; i++) {
        gw_hub_recall(hub, GW_SLICE(out->disk[i].label, out->disk[i].label_len));
        out->disk[i].ticket = 0; /* of another run */
    }
    gw_hub_recalled(hub);
}

static void connect_both(void)
{
    static const struct gw_session_ops device_ops = {to_watcher, ignore_take_over, on_ready};
    static const struct gw_session_ops watcher_ops = {to_watcher, ignore_take_over, on_ready};
    const struct gw_session_key d = {"dev", GW_SLICE_LIT("1")}, w = {"tv", GW_SLICE_LIT("1")};
    const struct gw_subscription sub = {.qos = 2};
    bool present;

    cr_assert_eq(gw_hub_publisher_add(hub, on_device_told, NULL, &device_sender.id), 0);
    cr_assert_eq(gw_hub_publisher_add(hub, on_watcher_settled, NULL, &watcher_sender.id), 0);
    cr_assert_eq(gw_session_attach(hub, &w, false, 600, &watcher_ops, NULL, &watcher, &present), 0);
    if (!present)
        cr_assert_eq(gw_session_subscribe(watcher, GW_SLICE_LIT("t"), &sub), 0);
    cr_assert_eq(gw_session_attach(hub, &d, false, 600, &device_ops, NULL, &device, &present), 0);
    gw_session_resume(watcher);
}

static bool done(void)
{
    struct gw_hub_stats s;

    gw_hub_stats(hub, &s);
    return out->message == MESSAGES && !s.queued;
}

/* One life; it ends with a step, or when all is said and done. */
static void gateway(int die_at, bool all_labels)
{
    static const uint8_t order[PACES] = {9, 3, 0};

    start(all_labels);
    steps_left = die_at;
    connect_both();
    for (int i = 0; i < TURNS && !done(); i++) {
        live();
        (void)!gw_loop_turn(loop, 1);
        watch();
        if (--patience <= order[pace])
            flush_start();
    }
    if (!done())
        _exit(6);
    _exit(0);
}

static int run_life(int die_at, bool all_labels)
{
    pid_t child;
    int status = 0;

    deaf_at = !die_at || die_at % 3 ? -1 : die_at % MESSAGES;
    deaf_turns = die_at / 3 % 4 == 1 ? 300 : 1;
    child = fork();
    if (child == 0)
        gateway(die_at, all_labels);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void judge(int first, int second)
{
    unsigned sunk[MESSAGES] = {0};

    for (size_t i = 0; i < out->on_disk; i++)
        sunk[out->disk[i].payload]++;
    for (int i = 0; i < MESSAGES; i++) {
        cr_assert_eq(sunk[i], 1, "message %d: %u times at the sink, died at %d and %d", i, sunk[i],
                     first, second);
        cr_assert_eq(out->got[i], is_watched(i),
                     "message %d: %u times at the subscriber, died at %d and %d", i, out->got[i],
                     first, second);
    }
}

static void fresh_dir(void)
{
    char command[160];

    (void)snprintf(command, sizeof(command), "rm -rf '%s' && mkdir '%s'", dir, dir);
    cr_assert_eq(system(command), 0);
    memset(out, 0, sizeof(*out));
}

/* Every N; the second life dies, too, at a step that differs from N to N. */
static void die_everywhere(enum pace with, bool all_labels)
{
    int result = DIED, n = 0;

    pace = with;
    while (result == DIED) {
        int second = 1 + n * 5 % 13;

        fresh_dir();
        result = run_life(++n, all_labels);
        cr_assert(result == 0 || result == DIED, "result %d, died at %d", result, n);
        if (result == DIED && run_life(second, all_labels) == DIED)
            cr_assert_eq(run_life(0, all_labels), 0, "died at %d and %d", n, second);
        judge(n, second);
    }
    cr_expect_gt(n, 4 * MESSAGES, "only %d steps", n);
}

static void crash_setup(void)
{
    (void)strcpy(dir, "/tmp/cordon-hub-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    out = mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(out, MAP_FAILED);
}

static void crash_teardown(void)
{
    char command[96];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(crash, .init = crash_setup, .fini = crash_teardown, .timeout = 300);

Test(crash, exactly_once_with_the_sink_ahead)
{
    die_everywhere(SINK_FIRST, false);
}

Test(crash, exactly_once_with_the_database_ahead)
{
    die_everywhere(SINK_SECOND, true);
}

Test(crash, exactly_once_with_a_sink_that_lags)
{
    die_everywhere(SINK_LATE, false);
}
