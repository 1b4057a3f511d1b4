/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The immutable message: made once by a protocol with one copy, then shared by reference between
 * subscribers, the retained table and the uplink. Loop thread only.
 */
#pragma once

#include "base/bytes.h"

/** Longest topic or filter: MQTT's UTF-8 string (MQTT 5 §1.5.4). */
#define GW_TOPIC_MAX 65535

/** All slices point into the message's own memory. Never changed after gw_msg_new. */
struct gw_msg {
    uint32_t refs;
    uint8_t qos; /**< 0 to 2, as published */
    bool retain;
    bool has_format;        /**< a payload format indicator was given (MQTT 5 §3.3.2.3.2) */
    bool utf8;              /**< and it is 1 */
    int64_t time_ms;        /**< when the gateway took it: wall clock */
    uint64_t expires_ms;    /**< monotonic ms after which it is not delivered; 0: never */
    struct gw_slice device; /**< id of the publishing device; empty: the gateway itself */
    struct gw_slice topic;
    struct gw_slice payload;
    struct gw_slice content_type;   /**< without ptr: none, which is not the same as empty */
    struct gw_slice response_topic; /**< "" : none */
    struct gw_slice correlation;    /**< as content_type */
    struct gw_slice user_props;     /**< MQTT 5 user properties, encoded as on the wire, in order */
    uint64_t origin;                /**< gw_session_origin of who published; 0: none */
};

/**
 * A message with one reference, its slices copied into one allocation. `from` is a template whose
 * slices are borrowed for this call; `refs` is ignored.
 * @return 0; -ENOMEM; GW_ETOOBIG for a topic over GW_TOPIC_MAX.
 */
int gw_msg_new(const struct gw_msg *from, struct gw_msg **out) GW_MUST_CHECK;

struct gw_msg *gw_msg_ref(struct gw_msg *m);

/** Drop one reference; the last one frees. A NULL inside is fine; leaves NULL behind. */
void gw_msg_unref(struct gw_msg **m);

/* ---- topics (MQTT 5 §4.7) ---- */

/** True for a topic name: UTF-8, 1 to GW_TOPIC_MAX bytes, no wildcard. */
bool gw_topic_valid(struct gw_slice topic);

/** True for a topic filter: wildcards whole levels, `#` last. `$share/…` is not taken apart here.
 */
bool gw_filter_valid(struct gw_slice filter);

/**
 * Take "$share/<name>/<filter>" apart (MQTT 5 §4.8.2); for an ordinary filter the name is empty.
 * False for a share without name or filter, or with a wildcard in its name [MQTT-4.8.2-1, -2].
 */
bool gw_filter_share(struct gw_slice filter, struct gw_slice *out_name,
                     struct gw_slice *out_filter);

/** Cut the first level off `*rest`; false when none is left. "a/" has two levels, "" one. */
bool gw_topic_level(struct gw_slice *rest, struct gw_slice *out);

/** True when the filter matches the topic; `#` and `+` first do not match `$…` [MQTT-4.7.2-1]. */
bool gw_topic_matches(struct gw_slice filter, struct gw_slice topic);

/** True when every topic that `inner` matches is matched by `outer` too. Both valid filters. */
bool gw_filter_covers(struct gw_slice outer, struct gw_slice inner);

/** True when some topic is matched by both filters. Both valid. */
bool gw_filter_overlaps(struct gw_slice a, struct gw_slice b);
