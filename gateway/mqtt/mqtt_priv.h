/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the codec's files share: lengths, strings, properties. Pure functions.
 */
#pragma once

#include "mqtt/mqtt.h"

/** Stands beside the packet types where a property may occur: a will's own properties. */
#define MQTT_WILL 0

/** MQTT 5 §1.5.5; GW_EMALFORMED past four bytes or not minimal [MQTT-1.5.5-1]. */
uint32_t mqtt_read_varint(struct gw_reader *r);
size_t mqtt_varint_size(size_t v);
void mqtt_write_varint(struct gw_writer *w, size_t v);

/** Two bytes of length, then so many bytes; text is checked [MQTT-1.5.4-1], [MQTT-1.5.4-2]. */
struct gw_slice mqtt_read_bytes(struct gw_reader *r);
struct gw_slice mqtt_read_text(struct gw_reader *r);
void mqtt_write_bytes(struct gw_writer *w, struct gw_slice s);

/** Length and properties as packet `where` may have them, into a zeroed `out`; none in 3.1.1. */
void mqtt_read_props(struct gw_reader *r, uint8_t version, unsigned where,
                     struct gw_mqtt_props *out);
/** Bytes of the properties with their length in front; 0 in 3.1.1. */
size_t mqtt_props_size(uint8_t version, const struct gw_mqtt_props *p);
void mqtt_write_props(struct gw_writer *w, uint8_t version, const struct gw_mqtt_props *p);

/** Fixed header. False (and `w->err`) when the whole packet would not fit: write nothing then. */
bool mqtt_write_head(struct gw_writer *w, uint8_t first, size_t remaining);
