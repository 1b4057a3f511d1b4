/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the isolation benches share: numbered addresses and frames from them, Cordon's tables filled
 * with them, the peers' programs filled with the same ones, and medians. A tool ends with a message
 * when something cannot be done, so nothing here returns an error.
 */
#pragma once

#include "bench_map.h"
#include "harness.h"

/** Whose addresses: condemned ones have a verdict, known ones a slot, strangers neither. */
enum people { CONDEMNED, KNOWN, STRANGERS };

#define NUMBERED_MAX 131072
/** Address number n, below NUMBERED_MAX, of these people. */
struct gw_hwaddr numbered(enum people of, enum bench_kind kind, uint32_t n);

/** A UDP packet of 64 bytes and more from a known device, but for its address of this kind. */
void frame_from(struct frame *f, enum people of, enum bench_kind kind, uint32_t n);
/** A UDP packet over IPv4 or IPv6 from a MAC and an address of number n. */
void frame_of(struct frame *f, enum people of, enum bench_kind kind, uint32_t n);

/** `verdicts` condemned of each kind in `kinds` (bit 1 << kind); `known` addresses in all. */
void fill_cordon(struct gw_kernel *k, unsigned kinds, uint32_t verdicts, uint32_t known);

/** Programs of others. */
struct peers {
    struct bench *simple;      /**< bench.bpf.c */
    struct bpf_object *debian; /**< xdp-filter's */
    int xdp_filter;            /**< its program; -1: the package is not here */
};

void peers_open(struct peers *p, unsigned kinds, uint32_t verdicts);
void peers_close(struct peers *p);

#define XDP_FILTER_MISSING                                                                         \
    "xdp-filter is left out: its programs are not installed (Debian: apt-get install xdp-tools)"

/** Print what was being done and why it failed, and end with 1. */
void give_up(const char *what) __attribute__((noreturn));

double median(double *samples, size_t count); /**< sorts them */
uint64_t now_ns(clockid_t clock);
