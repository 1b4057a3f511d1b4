/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Verdicts: who is cut off, how, why, by whom, until when. Stored first, then sent to the kernel as
 * every address the device is known by, now and later; the device's sessions are closed and its
 * certificate refused until the release. Rules turn strikes into verdicts. Loop thread only.
 */
#pragma once

#include "config/config.h"
#include "device/device.h"
#include "enforcer/enforcer.h"
#include "journal/journal.h"

#define GW_REASON_MAX 200

struct gw_verdict {
    char device[GW_DEVICE_ID_MAX + 1]; /**< "" : on `addr` alone */
    struct gw_hwaddr addr;             /**< valid when device is "" */
    enum gw_verdict_mode mode;
    char reason[GW_REASON_MAX + 1];
    char by[GW_DEVICE_ID_MAX + 1]; /**< "admin", a user, "rule", "cloud" */
    int64_t since_ms, until_ms;    /**< wall clock; until 0: until released */
};

const char *gw_mode_text(enum gw_verdict_mode m);

struct gw_quarantine_ops {
    /** From now on: close the device's sessions, or (NULL) let it in again. */
    void (*changed)(void *owner, const char *device, const struct gw_verdict *v);
    void *owner;
};

struct gw_quarantine;
/** Verdicts are loaded; gw_quarantine_start sends them once the enforcer is connected. */
int gw_quarantine_open(struct gw_loop *loop, const struct gw_config *config, struct gw_store *store,
                       struct gw_journal *journal, struct gw_devices *devices,
                       const struct gw_quarantine_ops *ops, struct gw_quarantine **out) GW_MUST_CHECK;
void gw_quarantine_close(struct gw_quarantine **q);
void gw_quarantine_reload(struct gw_quarantine *q, const struct gw_config *config);
/** Repeat every verdict to the enforcer (borrowed), then mark them complete. */
void gw_quarantine_start(struct gw_quarantine *q, struct gw_enforcer *e);
/** Wire the enforcer's `applied` here. */
void gw_quarantine_applied(struct gw_quarantine *q, uint64_t token, int err);

/**
 * Called once, from the loop: 0 when it is stored and every address is in force in the kernel;
 * GW_EPROTECTED, GW_EFULL, GW_ESTORE: nothing is in force then.
 */
typedef void gw_quarantine_done(void *owner, int err);

/** `fn` may be NULL. GW_ENOTFOUND: no such device. GW_EPROTECTED. */
int gw_quarantine_device(struct gw_quarantine *q, const char *id, enum gw_verdict_mode mode,
                         uint64_t seconds, const char *reason, const char *by,
                         gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;
/** An address that belongs to a device quarantines only the address, not the device's other ones. */
int gw_quarantine_addr(struct gw_quarantine *q, const struct gw_hwaddr *a, enum gw_verdict_mode mode,
                       uint64_t seconds, const char *reason, const char *by,
                       gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;
/** GW_ENOTFOUND: it has no verdict. */
int gw_quarantine_release_device(struct gw_quarantine *q, const char *id, const char *by,
                                 gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;
int gw_quarantine_release_addr(struct gw_quarantine *q, const struct gw_hwaddr *a, const char *by,
                               gw_quarantine_done *fn, void *owner) GW_MUST_CHECK;

/** NULL: none. A verdict on the device, or on its MAC address. */
const struct gw_verdict *gw_quarantine_of_device(const struct gw_quarantine *q, const char *id);
const struct gw_verdict *gw_quarantine_of_addr(const struct gw_quarantine *q, const struct gw_hwaddr *a);
/** Walk all: `*cursor` 0 first; NULL at the end. */
const struct gw_verdict *gw_quarantine_next(const struct gw_quarantine *q, size_t *cursor);
size_t gw_quarantine_count(const struct gw_quarantine *q);

#define GW_STRIKES(X)                                                                              \
    X(MALFORMED, "malformed packets") X(AUTH, "failed authentications")                            \
    X(DENIED, "refused publishes") X(FLOOD, "floods")
enum gw_strike {
#define X(name, text) GW_STRIKE_##name,
    GW_STRIKES(X)
#undef X
};
/**
 * Something bad that the device did. With quarantine.auto, too many of one kind in its window (20
 * malformed or failed in 60 s by default) make a verdict by "rule". O(1).
 */
void gw_quarantine_strike(struct gw_quarantine *q, const char *device, enum gw_strike kind);
