/* SPDX-License-Identifier: GPL-2.0-only */
/* The worker's side of the process boundary. */
#include <errno.h>
#include <fcntl.h>

#include "base/log.h"
#include "enforcer/client_copies.h"
#include "enforcer/kernel.h"
#include "enforcer/note.h"
#include "enforcer/policy.h"

#define QUEUE_BYTES (64 << 20) /* every verdict of a large registry, said at once */
#define ERROR_TEXT_MAX 4096
#define BUNDLE_MAX (64 << 20)
#define LINKS_MAX 1024
#define TURN_NOTES 256
#define ASKED_MAX 64

struct gw_enforcer {
    struct gw_loop *loop;
    const struct gw_enforcer_ops *ops;
    void *owner;
    struct gw_io io;
    struct gw_note_queue queue;
    struct gw_task stop;
    struct gw_table table;
    size_t bytes[GW_MAP_SHARED];
    bool has_tables;
    struct gw_copies *copies; /* NULL: isolation is off */
    struct gw_link_report *links;
    size_t link_count;
    struct gw_hwaddr asked[ASKED_MAX]; /* answered at the turn's end: */
    size_t asked_count;
    struct gw_task answers;
    int listeners[GW_CONFIG_LIST_MAX]; /* for the admin addresses of the coming RELOAD; -1: none */
};

/* What came with the first message, until gw_enforcer_connect takes it. */
static struct {
    struct gw_table table;
    size_t bytes[GW_MAP_SHARED];
    bool has_tables;
    struct gw_copies *copies;
} received;

static void map_tables(const struct gw_note_fds *fds)
{
    int err;

    if (fds->count != GW_NOTE_FDS_MAX)
        return; /* isolation is off */
    err = gw_kernel_view(fds->fd + 1, &received.table, received.bytes);
    received.has_tables = err == 0;
    if (err)
        gw_log_error("the kernel's counters cannot be read: %s", gw_error_text(err));
    else
        received.copies = gw_copies_open(fds->fd[1 + GW_MAP_SHARED]);
}

int gw_enforcer_receive_bundle(int fd, struct gw_buf *out)
{
    GW_CLEANUP(gw_note_fds_close) struct gw_note_fds fds = {.count = 0};
    struct gw_note n;
    int err = gw_note_receive(fd, &n, &fds);

    if (err)
        return err;
    if (n.kind != GW_NOTE_BUNDLE || fds.count < 1)
        return GW_EMALFORMED;
    err = gw_note_file_read(fds.fd[0], out);
    if (!err)
        map_tables(&fds);
    return err;
}

/* ---- what the enforcer says ---- */

static void keep_link(struct gw_enforcer *e, const struct gw_link_report *r)
{
    size_t i = 0;

    while (i < e->link_count && e->links[i].ifindex != r->ifindex)
        i++;
    if (!r->present) {
        if (i < e->link_count)
            e->links[i] = e->links[--e->link_count];
        return;
    }
    if (i == LINKS_MAX)
        return;
    e->links[i] = *r;
    e->link_count = GW_MAX(e->link_count, i + 1);
}

static void listeners_drop(struct gw_enforcer *e)
{
    for (size_t i = 0; i < GW_CONFIG_LIST_MAX; i++)
        gw_close_fd(&e->listeners[i]);
}

int gw_enforcer_take_listener(struct gw_enforcer *e, size_t index)
{
    return gw_take_fd(&e->listeners[index]);
}

static void on_listener(struct gw_enforcer *e, const struct gw_note *n, struct gw_note_fds *fds)
{
    if (fds->count != 1)
        return;
    gw_close_fd(&e->listeners[n->index]);
    e->listeners[n->index] = gw_take_fd(&fds->fd[0]);
}

static void on_reload(struct gw_enforcer *e, const struct gw_note *n, const struct gw_note_fds *fds)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf text = {.max = BUNDLE_MAX};
    int err = fds->count < 1 ? GW_EMALFORMED : gw_note_file_read(fds->fd[0], &text);
    char error[ERROR_TEXT_MAX];
    size_t len = GW_MIN(gw_buf_len(&text), sizeof(error) - 1);

    if (!err && !n->failed) {
        e->ops->reload(e->owner, gw_buf_slice(&text), NULL);
        gw_wipe(text.data, text.cap);
        return;
    }
    if (err)
        (void)snprintf(error, sizeof(error), "the new configuration did not arrive: %s",
                       gw_error_text(err));
    else if (len > 0)
        memcpy(error, gw_buf_slice(&text).ptr, len);
    if (!err)
        error[len] = '\0';
    e->ops->reload(e->owner, GW_SLICE_NONE, error);
}

static bool learning_fits(struct gw_slice file, struct gw_note_learning *out)
{
    if (file.len < sizeof(*out))
        return false;
    memcpy(out, file.ptr, sizeof(*out));
    return out->number <= GW_POLICIES_MAX &&
           out->count == (file.len - sizeof(*out)) / sizeof(struct gw_learned) &&
           (file.len - sizeof(*out)) % sizeof(struct gw_learned) == 0;
}

static void on_learned(struct gw_enforcer *e, const struct gw_note_fds *fds)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf file = {.max = BUNDLE_MAX};
    struct gw_note_learning head;
    struct gw_learning l;

    if (fds->count < 1 || gw_note_file_read(fds->fd[0], &file) != 0 ||
        !learning_fits(gw_buf_slice(&file), &head)) {
        gw_log_error("what was learned did not arrive");
        return;
    }
    /* The head is a multiple of the records' alignment, and so is the buffer's start. */
    l = (struct gw_learning){
        .number = (uint16_t)head.number,
        .at = (const void *)(gw_buf_slice(&file).ptr + sizeof(head)),
        .count = head.count,
        .missed = head.missed,
        .peak_packets_per_s = head.peak_packets_per_s,
        .peak_bytes_per_s = head.peak_bytes_per_s,
    };
    e->ops->learned(e->owner, &l);
}

static bool tests_fit(struct gw_slice file, struct gw_note_tested *out)
{
    if (file.len < sizeof(*out))
        return false;
    memcpy(out, file.ptr, sizeof(*out));
    return out->count <= GW_CHECKS_MAX &&
           file.len - sizeof(*out) == out->count * sizeof(struct gw_check);
}

static bool checks_ok(const struct gw_check *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (at[i].outcome > GW_CHECK_SKIPPED || !memchr(at[i].name, '\0', sizeof(at[i].name)) ||
            !memchr(at[i].where, '\0', sizeof(at[i].where)) ||
            !memchr(at[i].detail, '\0', sizeof(at[i].detail)))
            return false;
    return true;
}

static void on_tested(struct gw_enforcer *e, const struct gw_note *n, const struct gw_note_fds *fds)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf file = {.max = BUNDLE_MAX};
    struct gw_selftest t = {.error = "its result did not arrive"};
    struct gw_note_tested head;
    char text[ERROR_TEXT_MAX];

    if (fds->count < 1 || gw_note_file_read(fds->fd[0], &file) != 0) {
        e->ops->tested(e->owner, &t);
        return;
    }
    if (n->failed) {
        (void)snprintf(text, sizeof(text), "%.*s", (int)GW_MIN(gw_buf_len(&file), sizeof(text) - 1),
                       (const char *)gw_buf_slice(&file).ptr);
        t.error = text;
    } else if (tests_fit(gw_buf_slice(&file), &head)) {
        /* The head is a multiple of the records' alignment, and so is the buffer's start. */
        const struct gw_check *at = (const void *)(gw_buf_slice(&file).ptr + sizeof(head));

        if (checks_ok(at, head.count))
            t = (struct gw_selftest){head.at_ms, head.took_ms, at, head.count, NULL};
    }
    e->ops->tested(e->owner, &t);
}

static void serve(struct gw_enforcer *e, const struct gw_note *n, struct gw_note_fds *fds)
{
    switch (n->kind) {
    case GW_NOTE_SIGHTING:
        e->ops->sighting(e->owner, &n->sighting);
        break;
    case GW_NOTE_LINK:
        keep_link(e, &n->link);
        e->ops->link(e->owner, &n->link);
        break;
    case GW_NOTE_APPLIED:
        e->ops->applied(e->owner, n->applied.token, n->applied.err);
        break;
    case GW_NOTE_RELOAD:
        on_reload(e, n, fds);
        listeners_drop(e); /* what the new configuration did not want */
        break;
    case GW_NOTE_LISTENER:
        on_listener(e, n, fds);
        break;
    case GW_NOTE_WIRE:
        e->ops->wire(e->owner, &n->wire);
        break;
    case GW_NOTE_LEARNED:
        on_learned(e, fds);
        break;
    case GW_NOTE_TESTED:
        on_tested(e, n, fds);
        break;
    case GW_NOTE_STOP:
        gw_task_post(e->loop, &e->stop);
        break;
    default:
        break;
    }
}

static void on_stop(void *enforcer)
{
    struct gw_enforcer *e = enforcer;

    e->ops->stop(e->owner);
}

/* The enforcer is gone: nothing more is asked of it, and the worker ends in order. */
static void lost(struct gw_enforcer *e, int err)
{
    if (err != GW_ECLOSED)
        gw_log_error("the enforcer cannot be heard: %s", gw_error_text(err));
    gw_io_stop(&e->io);
    gw_close_fd(&e->queue.fd);
    gw_note_queue_fini(&e->queue);
    gw_task_post(e->loop, &e->stop);
}

static void want(struct gw_enforcer *e)
{
    if (e->queue.fd >= 0)
        gw_io_want(&e->io, EPOLLIN | (gw_note_waiting(&e->queue) ? EPOLLOUT : 0));
}

static void on_io(void *enforcer, uint32_t events)
{
    struct gw_enforcer *e = enforcer;
    struct gw_note_fds fds = {.count = 0};
    struct gw_note n;
    int err = 0;

    if (events & EPOLLOUT)
        (void)gw_note_flush(&e->queue); /* its end is seen by reading */
    for (int i = 0; !err && i < TURN_NOTES; i++) {
        err = gw_note_receive(e->queue.fd, &n, &fds);
        if (!err)
            err = gw_note_check_to_worker(&n);
        if (!err)
            serve(e, &n, &fds);
        gw_note_fds_close(&fds);
    }
    if (err && err != -EAGAIN)
        lost(e, err);
    else
        want(e);
}

/* ---- what it is asked ---- */

static int ask(struct gw_enforcer *e, const struct gw_note *n)
{
    int err;

    if (e->queue.fd < 0)
        return GW_ECLOSED;
    err = gw_note_check_to_enforcer(n);
    if (!err)
        err = gw_note_post(&e->queue, n, -1);
    want(e);
    return err;
}

static int ask_for(struct gw_enforcer *e, const struct gw_hwaddr *ip)
{
    struct gw_note n = {.kind = GW_NOTE_RESOLVE, .address = *ip};

    return ask(e, &n);
}

static const struct gw_link_report *link_of(const struct gw_enforcer *e, uint32_t ifindex)
{
    for (size_t i = 0; i < e->link_count; i++)
        if (e->links[i].ifindex == ifindex)
            return &e->links[i];
    return NULL;
}

/* What the enforcer would answer, from the tables that it shares: most addresses are known. */
static bool known(const struct gw_enforcer *e, const struct gw_hwaddr *ip, struct gw_sighting *out)
{
    const struct gw_table *t = &e->table;
    const struct gw_link_report *link;
    uint32_t slot, mac;

    if (!e->has_tables || !gw_hwaddr_valid(ip))
        return false;
    slot = gw_table_find(t, ip);
    mac = slot == GW_SLOT_NONE ? GW_SLOT_NONE : gw_table_owner(t, slot);
    if (mac == GW_SLOT_NONE)
        return false;
    *out = (struct gw_sighting){.has_ip = true, .ip = *ip, .ifindex = t->slots[mac].owner};
    gw_table_mac(t->slots[mac].a, out->mac);
    link = link_of(e, out->ifindex);
    if (!link)
        return false;
    memcpy(out->ifname, link->ifname, sizeof(out->ifname));
    /* Slots find new owners while we read: what still holds now was read in one piece. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return gw_table_find(t, ip) == slot && gw_table_owner(t, slot) == mac;
}

/* Later, because a sighting may bring a verdict, and that ends the connection it was asked for. */
static void on_answers(void *enforcer)
{
    struct gw_enforcer *e = enforcer;

    while (e->asked_count > 0) {
        struct gw_hwaddr ip = e->asked[--e->asked_count];
        struct gw_sighting s;

        if (known(e, &ip, &s))
            e->ops->sighting(e->owner, &s);
        else
            (void)!ask_for(e, &ip); /* lost: then there is nobody to ask */
    }
}

/* ---- */

static void take_tables(struct gw_enforcer *e)
{
    e->table = received.table;
    e->has_tables = received.has_tables;
    memcpy(e->bytes, received.bytes, sizeof(e->bytes));
    e->copies = received.copies;
    memset(&received, 0, sizeof(received));
}

int gw_enforcer_connect(struct gw_loop *loop, int fd, const struct gw_enforcer_ops *ops,
                        void *owner, struct gw_enforcer **out)
{
    GW_CLEANUP(gw_enforcer_free) struct gw_enforcer *e = calloc(1, sizeof(*e));
    int err;

    if (!e) {
        (void)close(fd);
        return -ENOMEM;
    }
    e->loop = loop;
    e->ops = ops;
    e->owner = owner;
    e->queue = (struct gw_note_queue){.fd = fd, .out = {.max = QUEUE_BYTES}};
    gw_task_init(&e->stop, on_stop, e);
    gw_task_init(&e->answers, on_answers, e);
    for (size_t i = 0; i < GW_CONFIG_LIST_MAX; i++)
        e->listeners[i] = -1;
    take_tables(e);
    e->links = calloc(LINKS_MAX, sizeof(*e->links));
    if (!e->links)
        return -ENOMEM;
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    err = gw_io_start(loop, &e->io, fd, EPOLLIN, on_io, e);
    if (!err && e->copies)
        err = gw_copies_start(e->copies, loop, ops, owner);
    if (err)
        return err;
    *out = GW_TAKE(e);
    return 0;
}

void gw_enforcer_free(struct gw_enforcer **enforcer)
{
    struct gw_enforcer *e = GW_TAKE(*enforcer);

    if (!e)
        return;
    gw_io_stop(&e->io);
    gw_task_cancel(&e->stop);
    gw_task_cancel(&e->answers);
    gw_close_fd(&e->queue.fd);
    gw_note_queue_fini(&e->queue);
    gw_copies_free(&e->copies);
    gw_kernel_view_close(&e->table, e->bytes);
    listeners_drop(e);
    free(e->links);
    free(e);
}

int gw_enforcer_judge(struct gw_enforcer *e, const struct gw_hwaddr *a,
                      const struct gw_judgement *j, uint64_t token)
{
    struct gw_note n = {.kind = GW_NOTE_VERDICT};

    n.verdict.address = *a;
    n.verdict.judgement = *j;
    n.verdict.token = token;
    return ask(e, &n);
}

/* A policy and its peers as a file, which the note's descriptor hands over. */
static int policy_file(const struct gw_policy *p, int *out_fd)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf file = {.max = BUNDLE_MAX};
    int err = gw_policy_encode(p, &file);

    return err ? err : gw_note_file(gw_buf_slice(&file), out_fd);
}

int gw_enforcer_policy(struct gw_enforcer *e, const struct gw_policy *p, uint64_t token)
{
    struct gw_note n = {.kind = GW_NOTE_POLICY};
    int fd = -1, err;

    n.policy.number = p->number;
    n.policy.token = token;
    if (e->queue.fd < 0)
        return GW_ECLOSED;
    err = policy_file(p, &fd);
    if (!err)
        err = gw_note_post(&e->queue, &n, fd);
    want(e);
    return err;
}

int gw_enforcer_policy_end(struct gw_enforcer *e, uint16_t number, uint64_t token)
{
    struct gw_note n = {.kind = GW_NOTE_POLICY_END};

    n.policy.number = number;
    n.policy.token = token;
    return ask(e, &n);
}

int gw_enforcer_learned(struct gw_enforcer *e, uint16_t number, bool forget)
{
    struct gw_note n = {.kind = GW_NOTE_LEARN};

    n.policy.number = number;
    n.policy.forget = forget;
    return ask(e, &n);
}

int gw_enforcer_verdicts_complete(struct gw_enforcer *e)
{
    struct gw_note n = {.kind = GW_NOTE_COMPLETE};

    return ask(e, &n);
}

int gw_enforcer_selftest(struct gw_enforcer *e)
{
    struct gw_note n = {.kind = GW_NOTE_TEST};

    return ask(e, &n);
}

int gw_enforcer_resolve(struct gw_enforcer *e, const struct gw_hwaddr *ip)
{
    if (e->asked_count == ASKED_MAX)
        return ask_for(e, ip);
    e->asked[e->asked_count++] = *ip;
    gw_task_post(e->loop, &e->answers);
    return 0;
}

bool gw_enforcer_traffic(const struct gw_enforcer *e, const struct gw_hwaddr *a,
                         struct gw_traffic *out)
{
    uint32_t slot;

    if (!e || !e->has_tables || !gw_hwaddr_valid(a))
        return false;
    slot = gw_table_find(&e->table, a);
    if (slot == GW_SLOT_NONE)
        return false;
    gw_table_traffic(&e->table, slot, out);
    return true;
}

size_t gw_enforcer_links(const struct gw_enforcer *e, struct gw_link_report *out,
                         struct gw_traffic *out_traffic, size_t max)
{
    size_t count = GW_MIN(e->link_count, max);

    for (size_t i = 0; i < count; i++) {
        out[i] = e->links[i];
        out_traffic[i] = (struct gw_traffic){0};
        if (e->has_tables)
            gw_table_port(&e->table, e->links[i].ifindex, &out_traffic[i]);
    }
    return count;
}
