/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdio.h>

#include "enroll/enroll_priv.h"

/* 32 characters that nobody mistakes for one another: no I, O, 0 or 1. */
static const char alphabet[32] = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

void pairing_close(struct pairing *p)
{
    gw_wipe(p, sizeof(*p));
}

int pairing_open(struct pairing *p, uint64_t now_ms, int64_t wall_ms, uint32_t seconds,
                 char out[32])
{
    uint8_t code[PAIRING_CODE];
    int err = gw_random(code, sizeof(code));

    if (err)
        return err;
    pairing_close(p);
    for (size_t i = 0; i < sizeof(code); i++)
        p->code[i] = (uint8_t)alphabet[code[i] % sizeof(alphabet)];
    p->open = true;
    p->until_ms = now_ms + seconds * 1000ull;
    p->until_wall_ms = wall_ms + seconds * 1000ll;
    (void)snprintf(out, 32, "%.4s-%.4s", (const char *)p->code, (const char *)p->code + 4);
    gw_wipe(code, sizeof(code));
    return 0;
}

/* As typed by a person, into as compared; false when there are too many characters. */
static bool normalize(const char *code, uint8_t out[PAIRING_CODE])
{
    size_t len = 0;

    memset(out, 0, PAIRING_CODE);
    for (; *code; code++) {
        if (*code == '-' || *code == ' ')
            continue;
        if (len == PAIRING_CODE)
            return false;
        out[len++] = (uint8_t)(*code >= 'a' && *code <= 'z' ? *code - 32 : *code);
    }
    return true;
}

/* The count of an address's wrong guesses; the place of a quieter one when all are taken. */
static unsigned *guesses_of(struct pairing *p, const struct gw_hwaddr *from)
{
    size_t least = 0;

    for (size_t i = 0; i < PAIRING_ADDRS; i++) {
        if (p->addrs[i].wrong && memcmp(&p->addrs[i].addr, from, sizeof(*from)) == 0)
            return &p->addrs[i].wrong;
        if (p->addrs[i].wrong < p->addrs[least].wrong)
            least = i;
    }
    p->addrs[least].addr = *from;
    p->addrs[least].wrong = 0;
    return &p->addrs[least].wrong;
}

enum pairing_answer pairing_try(struct pairing *p, uint64_t now_ms, const struct gw_hwaddr *from,
                                const char *code)
{
    uint8_t given[PAIRING_CODE];
    unsigned *wrong;
    bool right;

    if (p->open && now_ms >= p->until_ms)
        pairing_close(p);
    if (!p->open)
        return PAIRING_CLOSED;
    wrong = guesses_of(p, from);
    if (*wrong >= PAIRING_GUESSES_EACH)
        return PAIRING_MUTED;
    right = normalize(code, given);
    right &= gw_secret_eq(GW_SLICE(given, sizeof(given)), GW_SLICE(p->code, sizeof(p->code)));
    gw_wipe(given, sizeof(given));
    if (right)
        return PAIRING_RIGHT;
    ++*wrong;
    if (++p->wrong < PAIRING_GUESSES)
        return PAIRING_WRONG;
    pairing_close(p);
    return PAIRING_SPENT;
}
