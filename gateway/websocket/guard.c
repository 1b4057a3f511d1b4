/* SPDX-License-Identifier: GPL-2.0-only */
#include "websocket/guard.h"

#define FIN 0x80
#define RSV 0x70
#define OPCODE 0x0f
#define MASK 0x80
#define LENGTH 0x7f
#define MASK_BYTES 4

static bool is_control(const struct guard *g)
{
    return g->held[0] & 0x08;
}

/* §5.2's opcodes: continuation, text, binary; close, ping, pong. */
static bool opcode_known(unsigned opcode)
{
    return (opcode & 0x07) <= 2;
}

/* The bytes of the extended length. */
static size_t length_bytes(const struct guard *g)
{
    switch (g->held[1] & LENGTH) {
    case 126:
        return 2;
    case 127:
        return 8;
    default:
        return 0;
    }
}

/* How long the head is, as far as that can be told by now. */
static size_t head_bytes(const struct guard *g)
{
    return g->have < 2 ? 2 : 2 + length_bytes(g) + MASK_BYTES;
}

static uint64_t payload_bytes(const struct guard *g)
{
    size_t n = length_bytes(g);
    uint64_t len = 0;

    if (n == 0)
        return g->held[1] & LENGTH;
    for (size_t i = 0; i < n; i++)
        len = len << 8 | g->held[2 + i];
    return len;
}

/* The first two bytes: §5.1, §5.2, §5.5. */
static bool start_valid(const struct guard *g)
{
    if ((g->held[0] & RSV) || !opcode_known(g->held[0] & OPCODE) || !(g->held[1] & MASK))
        return false;
    return !is_control(g) || ((g->held[0] & FIN) && (g->held[1] & LENGTH) <= GUARD_CONTROL_MAX);
}

/* §5.2: the shortest form, and the highest bit is 0. */
static bool length_valid(const struct guard *g)
{
    uint64_t len = payload_bytes(g);

    switch (length_bytes(g)) {
    case 2:
        return len > 125;
    case 8:
        return len > UINT16_MAX && len <= INT64_MAX;
    default:
        return true;
    }
}

/* Of the frame that is coming in, what has to be there before it is passed on. */
static size_t wanted(const struct guard *g)
{
    size_t head = head_bytes(g);

    return g->have >= head && head > 2 && is_control(g) ? head + (size_t)payload_bytes(g) : head;
}

/* A byte more of the head; false when it breaks a rule. */
static bool take(struct guard *g, uint8_t byte)
{
    g->held[g->have++] = byte;
    if (g->have == 2)
        return start_valid(g);
    return g->have != 2 + length_bytes(g) || length_valid(g);
}

static bool complete(const struct guard *g)
{
    return g->have > 2 && g->have == wanted(g);
}

static size_t pass_payload(struct guard *g, struct gw_slice in, uint8_t *out, size_t room)
{
    size_t n = GW_MIN(GW_MIN(in.len, room), g->left);

    memcpy(out, in.ptr, n);
    g->left -= n;
    return n;
}

int guard_pass(struct guard *g, struct gw_slice in, uint8_t *out, size_t room, size_t *taken,
               size_t *given)
{
    size_t at = 0, done = 0;

    while (at < in.len && room - done >= sizeof(g->held)) {
        if (g->left) {
            size_t n = pass_payload(g, GW_SLICE(in.ptr + at, in.len - at), out + done, room - done);

            at += n;
            done += n;
            continue;
        }
        if (!take(g, in.ptr[at])) {
            g->have--; /* it is found again when what came before is done with */
            if (done == 0)
                return GW_EPROTOCOL;
            break;
        }
        at++;
        if (!complete(g))
            continue;
        memcpy(out + done, g->held, g->have);
        done += g->have;
        g->left = is_control(g) ? 0 : payload_bytes(g);
        g->have = 0;
    }
    *taken = at;
    *given = done;
    return 0;
}
