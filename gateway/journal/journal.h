/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What happened: every presence event, alert, verdict and life-cycle change, numbered, kept in the
 * database (bounded), and told at once to listeners (alert topics, presence topics, the browser,
 * the cloud). Loop thread only. Events up to the last store batch survive a
 * crash; presence events go to it within 25 ms.
 */
#pragma once

#include "base/list.h"
#include "store/store.h"

#include <jansson.h>

enum gw_severity { GW_INFO, GW_WARNING, GW_CRITICAL };
enum gw_event_class {
    GW_EVENT_PRESENCE, /**< the JSON is INTERFACE's presence event */
    GW_EVENT_ALERT,    /**< the JSON is INTERFACE's alert */
};

struct gw_event {
    uint64_t id; /**< from 1, +1 for each, never reused */
    int64_t at_ms;
    enum gw_event_class class;
    enum gw_severity severity;
    const char *kind;   /**< "join", "leave", …; "quarantine", "enroll", "uplink", … */
    const char *device; /**< "" : none */
    const char *json;   /**< the object as text, with "id" and "type": "presence" | "alert" added */
};

struct gw_journal;

/** `keep`: how many events stay in the database. */
int gw_journal_open(struct gw_loop *loop, struct gw_store *store, uint32_t keep,
                    struct gw_journal **out) GW_MUST_CHECK;
void gw_journal_close(struct gw_journal **j);

/**
 * Note a presence event; `fields` (stolen) holds all of INTERFACE's members but "at", which is
 * added.
 */
void gw_journal_presence(struct gw_journal *j, const char *action, const char *device,
                         json_t *fields);

/**
 * Note an alert: {"severity","kind","device","at","text"} plus `fields` (stolen; may be NULL).
 * `device` NULL or "": none. `text` is one plain sentence.
 */
void gw_journal_alert(struct gw_journal *j, enum gw_severity severity, const char *kind,
                      const char *device, json_t *fields, const char *text_fmt, ...)
    GW_PRINTF(6, 7);

struct gw_journal_listener {
    struct gw_list node;
    void (*event)(void *owner, const struct gw_event *ev);
    void *owner;
};
void gw_journal_listen(struct gw_journal *j, struct gw_journal_listener *l);
void gw_journal_unlisten(struct gw_journal_listener *l);

/** The newest event's number; 0: none yet. */
uint64_t gw_journal_last(const struct gw_journal *j);

/** One page of the past, oldest first, as a JSON array's text in `json`; err: GW_ESTORE. */
typedef void gw_journal_page_fn(void *owner, int err, struct gw_slice json);
struct gw_journal_query;
/**
 * Events with id > since (or at_ms >= since_wall_ms when that is not 0), at most `limit` (1 to
 * 1000), of one device or (NULL) of all, of presence only or of all.
 */
int gw_journal_read(struct gw_journal *j, uint64_t since, int64_t since_wall_ms, uint32_t limit,
                    const char *device, bool presence_only, gw_journal_page_fn *fn, void *owner,
                    struct gw_journal_query **out) GW_MUST_CHECK;
/** The reader went away: `fn` is not called any more. */
void gw_journal_cancel(struct gw_journal_query **q);
