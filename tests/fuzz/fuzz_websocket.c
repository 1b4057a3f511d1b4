/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The WebSocket layer behind its opening handshake, against a reading of RFC 6455 of its own: what
 * the owner gets is what the binary frames carried, up to the first broken rule, however the bytes
 * were cut; what the owner writes comes out as binary frames; every Ping whose Pong has room is
 * answered, in order; and after a Close comes nothing.
 *
 * The input: a byte and so many bytes that came behind the request, then pieces: a byte with the
 * kind (two bits, enum piece) and an amount (six bits), and what it needs.
 */
#include "fake_clock.h"
#include "pipe.h"

#include "base/log.h"
#include "websocket/websocket.h"

#define INPUT_MAX 3000 /* what the owner may leave unread */
#define OUT_MAX 700
#define TURNS_MAX 64
#define MESSAGE_MAX INT32_MAX /* what wslay takes; RFC 6455 knows no limit */

enum piece {
    BYTES, /* amount bytes of the peer */
    WRITE, /* the owner writes 8 * amount bytes */
    OTHER, /* amount: enum act */
    LONG,  /* 16 * amount bytes of the peer */
};

enum act {
    STALL,  /* the peer stops reading, or begins again */
    HOLD,   /* the owner pauses, or goes on */
    IGNORE, /* the owner leaves what came unread, or takes it all */
    CLOSE,
    DENY,
    LOSE,
    LEAVE,
    LATER, /* a second passes */
    ACTS
};

enum { CONT = 0, TEXT = 1, BINARY = 2, CLOSING = 8, PING = 9, PONG = 10 };

static struct {
    struct gw_loop *loop;
    struct pipe below;
    struct gw_stream *ws;
    bool stalled, paused, ignoring; /* as they are */
    bool meddled;                   /* the owner or the network had a hand in how it ended */
    bool closed;
    int error;
    struct gw_buf got;     /* what the owner was given */
    struct gw_buf sent;    /* all that the peer sent */
    struct gw_buf written; /* what the owner wrote */
    struct gw_buf heard;   /* all that the peer was sent */
} at;

/* ---- the owner ---- */

static void take(void)
{
    struct gw_slice in = gw_stream_input(at.ws);

    if (!in.len || at.ignoring)
        return;
    MUST(gw_buf_append(&at.got, in) == 0);
    gw_stream_consume(at.ws, in.len);
}

static void on_stream(void *owner, enum gw_stream_event ev)
{
    (void)owner;
    MUST(!at.closed);
    switch (ev) {
    case GW_STREAM_READY:
    case GW_STREAM_DRAINED:
        return;
    case GW_STREAM_DATA:
        MUST(!at.paused && gw_stream_input(at.ws).len);
        take();
        return;
    case GW_STREAM_CLOSED:
        at.closed = true;
        at.error = gw_stream_error(at.ws);
        gw_stream_free(&at.ws);
        return;
    }
}

/* ---- a second opinion about frames ---- */

struct frame {
    unsigned opcode;
    bool fin;
    uint64_t len;
    const uint8_t *mask;     /* NULL: none */
    struct gw_slice payload; /* as far as it is here */
};

struct reading {
    struct gw_buf payload; /* of binary messages */
    struct gw_buf pings;   /* each with its length in front */
    uint64_t message;      /* bytes of the one that is under way */
    bool in_message;
    bool closed;  /* a Close frame in order was the last */
    bool suspect; /* a rule is broken, or may be */
    bool broken;  /* it is, and the header that says so is whole */
    bool huge;    /* a frame of a size that nobody sends */
};

/* 0; GW_ESHORT: more is to come. Flags what RFC 6455 §5.2 forbids in a header alone. */
static int read_header(struct gw_reader *r, bool masked, struct frame *f, bool *out_bad)
{
    uint8_t first = gw_reader_u8(r), second;
    unsigned form;

    if (r->err)
        return GW_ESHORT;
    *f = (struct frame){.opcode = first & 15, .fin = first >> 7};
    *out_bad = (first & 0x70) || (f->opcode > BINARY && f->opcode < CLOSING) || f->opcode > PONG;
    *out_bad |= f->opcode >= CLOSING && !f->fin;
    second = gw_reader_u8(r);
    if (r->err)
        return GW_ESHORT;
    form = second & 127;
    *out_bad |= second >> 7 != masked || (f->opcode >= CLOSING && form > 125);
    f->len = form == 126 ? gw_reader_u16(r) : form == 127 ? gw_reader_u64(r) : form;
    if (r->err)
        return GW_ESHORT;
    *out_bad |= (form == 126 && f->len < 126) || (form == 127 && (f->len < 65536 || f->len >> 63));
    if (second >> 7)
        f->mask = gw_reader_slice(r, 4).ptr;
    if (r->err)
        return GW_ESHORT;
    f->payload = gw_reader_slice(r, (size_t)GW_MIN(f->len, (uint64_t)gw_reader_left(r)));
    return 0;
}

/* A frame is judged with the first byte that it carries. */
static bool seen(const struct frame *f)
{
    return f->payload.len || !f->len;
}

static void unmask(const struct frame *f, struct gw_buf *out)
{
    for (size_t i = 0; i < f->payload.len; i++) {
        uint8_t c = f->payload.ptr[i] ^ (f->mask ? f->mask[i % 4] : 0);

        MUST(gw_buf_append(out, GW_SLICE(&c, 1)) == 0);
    }
}

static void note(struct gw_buf *list, const struct frame *f)
{
    uint8_t len = (uint8_t)f->payload.len;

    MUST(gw_buf_append(list, GW_SLICE(&len, 1)) == 0);
    unmask(f, list);
}

/* RFC 6455 §7.4: what is plainly allowed, what plainly not, and what is left to taste. */
static void read_close(struct reading *r, const struct frame *f)
{
    struct gw_buf b = {.max = SIZE_MAX};
    unsigned code;

    if (f->payload.len == 0) {
        r->closed = true;
        return;
    }
    unmask(f, &b);
    code = f->payload.len == 1 ? 0 : gw_buf_slice(&b).ptr[0] << 8u | gw_buf_slice(&b).ptr[1];
    r->closed = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1011) ||
                (code >= 3000 && code <= 4999);
    r->broken = code < 1000 || (code >= 1004 && code <= 1006);
    r->suspect = !r->closed;
    for (size_t i = 2; i < f->payload.len; i++)
        if (gw_buf_slice(&b).ptr[i] >= 0x80) /* UTF-8, or not */
            r->suspect = true;
    gw_buf_fini(&b);
}

/* One frame of the peer; false: nothing behind it counts. */
static bool read_frame(struct reading *r, const struct frame *f)
{
    bool whole = f->payload.len == f->len;

    if (f->opcode == TEXT || (f->opcode == CONT) != r->in_message) {
        if (f->opcode < CLOSING) {
            r->suspect = true;
            r->broken = seen(f);
            return false;
        }
    }
    if (f->opcode < CLOSING) {
        unmask(f, &r->payload);
        r->message = f->fin ? 0 : r->message + f->len;
        r->in_message = !f->fin || !whole;
        return whole;
    }
    if (!whole) {
        r->suspect = f->opcode == CLOSING && f->payload.len; /* its first bytes may break one */
        return false;
    }
    if (f->opcode == PING)
        note(&r->pings, f);
    if (f->opcode == CLOSING)
        read_close(r, f);
    return f->opcode != CLOSING;
}

static void read_peer(struct reading *r)
{
    struct gw_reader in = gw_reader_of(gw_buf_slice(&at.sent));
    struct frame f;
    bool bad = false;

    while (gw_reader_left(&in)) {
        int err = read_header(&in, true, &f, &bad);

        r->suspect |= bad || (f.opcode == TEXT && err);
        r->broken |= bad && !err && seen(&f);
        if (!err && !bad && f.opcode < CLOSING)
            r->huge = f.len > MESSAGE_MAX - r->message;
        r->suspect |= r->huge;
        if (err || bad || r->huge || !read_frame(r, &f))
            return;
    }
}

static bool is_prefix(const struct gw_buf *a, const struct gw_buf *b)
{
    size_t len = gw_buf_len(a);

    return !len ||
           (len <= gw_buf_len(b) && memcmp(gw_buf_slice(a).ptr, gw_buf_slice(b).ptr, len) == 0);
}

static bool same(const struct gw_buf *a, const struct gw_buf *b)
{
    return gw_buf_len(a) == gw_buf_len(b) && is_prefix(a, b);
}

/* What the peer was sent is in order, too. */
static void check_heard(const struct reading *peer)
{
    struct gw_reader in = gw_reader_of(gw_buf_slice(&at.heard));
    struct gw_buf binary = {.max = SIZE_MAX}, pongs = {.max = SIZE_MAX};
    struct frame f;
    bool bad;

    while (gw_reader_left(&in)) {
        if (read_header(&in, false, &f, &bad))
            break; /* cut off with the connection */
        MUST(!bad && f.fin);
        MUST(f.opcode == BINARY || f.opcode == PONG || f.opcode == CLOSING);
        if (f.opcode == BINARY)
            unmask(&f, &binary);
        else if (f.payload.len < f.len)
            break;
        else if (f.opcode == PONG)
            note(&pongs, &f);
        else
            MUST(gw_reader_left(&in) == 0); /* §5.5.1: nothing behind a Close */
    }
    MUST(is_prefix(&binary, &at.written));
    MUST(is_prefix(&pongs, &peer->pings));
    MUST(at.meddled || peer->broken || peer->suspect || at.error || same(&binary, &at.written));
    gw_buf_fini(&binary);
    gw_buf_fini(&pongs);
}

/* What the owner got is what the peer's frames carried. */
static void check_got(const struct reading *peer, bool was_open)
{
    MUST(is_prefix(&at.got, &peer->payload));
    if (at.meddled)
        return;
    MUST(same(&at.got, &peer->payload) || at.error == GW_EQUOTA);
    if (was_open)
        MUST(!peer->broken && !peer->closed);
    else
        MUST(peer->suspect || peer->closed || at.error == GW_EQUOTA);
    if (!was_open && at.error == GW_EPROTOCOL)
        MUST(peer->suspect);
    if (!was_open && peer->broken)
        MUST(at.error == GW_EPROTOCOL || at.error == GW_EQUOTA);
}

/* ---- the loop ---- */

static void settle(void)
{
    bool more = true;

    for (unsigned i = 0; more && i < TURNS_MAX; i++) {
        more = false;
        if (!at.closed && at.below.closing) {
            pipe_end(&at.below, 0);
            more = true;
        }
        if (!at.closed)
            more |= pipe_turn(&at.below);
        if (gw_buf_len(&at.below.out) && (!at.stalled || at.below.freed)) {
            MUST(gw_buf_append(&at.heard, gw_buf_slice(&at.below.out)) == 0);
            pipe_drained(&at.below);
            more = true;
        }
        more |= i < 3; /* tasks post tasks */
        MUST(gw_loop_turn(at.loop, 0) == 0);
    }
}

/* ---- pieces ---- */

static void act(unsigned what)
{
    switch ((enum act)(what % ACTS)) {
    case STALL:
        at.stalled = !at.stalled;
        break;
    case HOLD:
        at.meddled = true;
        at.paused = !at.paused;
        gw_stream_pause(at.ws, at.paused);
        break;
    case IGNORE:
        at.meddled = true;
        at.ignoring = !at.ignoring;
        take();
        break;
    case CLOSE:
    case DENY:
        at.meddled = true;
        gw_stream_close(at.ws, what % ACTS == CLOSE ? 0 : GW_EDENIED);
        break;
    case LOSE:
    case LEAVE:
        at.meddled = true;
        pipe_end(&at.below, what % ACTS == LOSE ? -ECONNRESET : 0);
        break;
    case LATER:
        pass_ms(at.loop, 1000);
        break;
    case ACTS:
        break;
    }
}

static void write_pattern(size_t len)
{
    uint8_t bytes[512];

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(gw_buf_len(&at.written) + i);
    if (gw_stream_write(at.ws, GW_SLICE(bytes, len)) == 0)
        MUST(gw_buf_append(&at.written, GW_SLICE(bytes, len)) == 0);
}

static void piece(struct gw_reader *r)
{
    uint8_t head = gw_reader_u8(r);
    size_t amount = head & 63;

    switch ((enum piece)(head >> 6)) {
    case BYTES:
    case LONG: {
        size_t len = head >> 6 == LONG ? amount * 16 : amount;
        struct gw_slice bytes = gw_reader_slice(r, GW_MIN(len, gw_reader_left(r)));

        if (at.below.closing || at.below.freed || !bytes.len)
            return;
        MUST(gw_buf_append(&at.sent, bytes) == 0);
        pipe_feed(&at.below, bytes);
        break;
    }
    case WRITE:
        write_pattern(amount * 8);
        break;
    case OTHER:
        act((unsigned)amount);
        break;
    }
}

static void begin(struct gw_slice early)
{
    const struct gw_stream_limits limits = {.output_max = OUT_MAX, .input_max = INPUT_MAX};

    pipe_init(&at.below, OUT_MAX, 1);
    at.got.max = at.sent.max = at.written.max = at.heard.max = SIZE_MAX;
    MUST(gw_buf_append(&at.sent, early) == 0);
    MUST(gw_websocket_new(at.loop, &at.below.base, early, &limits, &at.ws) == 0);
    gw_stream_attach(at.ws, on_stream, NULL);
    settle();
}

/* Whatever happened, it ends: soon after a close, and with one CLOSED. */
static bool finish(void)
{
    bool was_open;

    at.stalled = false;
    settle();
    was_open = !at.closed && gw_stream_write(at.ws, GW_SLICE_NONE) == 0;
    if (!at.closed)
        gw_stream_close(at.ws, 0);
    settle();
    pass_ms(at.loop, 3000);
    settle();
    MUST(at.closed && at.below.freed);
    return was_open;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gw_reader r = gw_reader_of(GW_SLICE(data, size));
    struct reading peer = {.payload.max = SIZE_MAX, .pings.max = SIZE_MAX};
    size_t early;
    bool was_open;

    if (size > 4096)
        return 0;
    gw_log_level(GW_LOG_ERROR - 1);
    if (!at.loop)
        MUST(gw_loop_new(&at.loop) == 0);
    early = gw_reader_left(&r) ? gw_reader_u8(&r) : 0;
    begin(gw_reader_slice(&r, GW_MIN(early, gw_reader_left(&r))));
    while (gw_reader_left(&r) && !at.closed) {
        piece(&r);
        settle();
    }
    was_open = finish();
    read_peer(&peer);
    check_got(&peer, was_open);
    check_heard(&peer);
    gw_buf_fini(&peer.payload);
    gw_buf_fini(&peer.pings);
    gw_buf_fini(&at.got);
    gw_buf_fini(&at.sent);
    gw_buf_fini(&at.written);
    gw_buf_fini(&at.heard);
    pipe_fini(&at.below);
    gw_loop_free(&at.loop);
    memset(&at, 0, sizeof(at));
    return 0;
}
