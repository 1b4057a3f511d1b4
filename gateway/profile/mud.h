/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Inside room profile: Manufacturer Usage Description files (RFC 8520) from and to rules. No I/O,
 * no clock. The text is untrusted.
 */
#pragma once

#include "profile/rules.h"

#define MUD_BYTES_MAX (256u << 10)
#define MUD_NOTES_MAX 8 /**< what was read otherwise than written, in words */

struct mud_notes {
    char text[MUD_NOTES_MAX][WHY_MAX];
    size_t count;
};

/**
 * Rules of a MUD file, in their normal form.
 * @param why  filled on failure: which list and entry, and what about it; no final full stop.
 * @return 0; GW_ETOOBIG over MUD_BYTES_MAX; GW_EMALFORMED no MUD file; GW_EUNSUPPORTED what cannot
 *         be enforced here; GW_EFULL too many rules; -ENOMEM.
 */
int mud_import(struct gw_slice text, struct rules *out, struct mud_notes *notes,
               char why[WHY_MAX]) GW_MUST_CHECK;

/** What the file says beside its rules. */
struct mud_about {
    const char *url;        /**< where there is no `original`: https */
    const char *systeminfo; /**< likewise */
    const char *original;   /**< the imported text, whose words are kept; NULL: none */
    int64_t changed_ms;     /**< wall clock */
};

/** `rules` in their normal form as application/mud+json; NULL when memory is out. */
json_t *mud_export(const struct rules *rules, const struct mud_about *about);
