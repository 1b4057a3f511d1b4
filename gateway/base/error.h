/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Every failure of this project: 0 is success, -errno is the system's, and these codes, well below
 * any errno, are ours. Any thread.
 */
#pragma once

#include "base/own.h"

/** What the caller does about a failure. */
enum gw_error_class {
    GW_CLASS_PEER,  /**< end the session, count it against the device */
    GW_CLASS_LOCAL, /**< refuse this operation, keep running */
    GW_CLASS_WAIT,  /**< back to the loop, try again when told */
};

/* X(code, class, text): the text completes "… failed: ". */
#define GW_ERRORS(X)                                                                               \
    X(GW_ESHORT, PEER, "input ends inside a field")                                                \
    X(GW_ETRAIL, PEER, "bytes are left over after the last field")                                 \
    X(GW_EMALFORMED, PEER, "malformed input")                                                      \
    X(GW_ESTATE, PEER, "not allowed in this state")                                                \
    X(GW_ETOOBIG, PEER, "larger than the limit")                                                   \
    X(GW_EUNSUPPORTED, PEER, "not supported")                                                      \
    X(GW_EPROTOCOL, PEER, "protocol error")                                                        \
    X(GW_EIDENTITY, PEER, "no acceptable identity was proved")                                     \
    X(GW_ETLS, PEER, "TLS failed")                                                                 \
    X(GW_EAUTHTAG, PEER, "does not open: wrong key or changed bytes")                              \
    X(GW_EREPLAY, PEER, "seen before or out of its time window")                                   \
    X(GW_ETIMEOUT, PEER, "time limit passed")                                                      \
    X(GW_EIDLE, PEER, "nothing was heard within the keep-alive time")                              \
    X(GW_EDENIED, LOCAL, "no grant allows it")                                                     \
    X(GW_EQUARANTINED, LOCAL, "the device is quarantined")                                         \
    X(GW_EREVOKED, LOCAL, "the device is revoked")                                                 \
    X(GW_EPROTECTED, LOCAL, "a protected address, or a network with one in it, is never cut off")  \
    X(GW_EQUOTA, LOCAL, "over quota")                                                              \
    X(GW_EFULL, LOCAL, "no room left")                                                             \
    X(GW_ESPOOLFULL, LOCAL, "the spool is full")                                                   \
    X(GW_EQUEUEFULL, LOCAL, "the queue of everybody it was for is full")                           \
    X(GW_ENOKEY, LOCAL, "no such key")                                                             \
    X(GW_ENOTFOUND, LOCAL, "not found")                                                            \
    X(GW_EEXISTS, LOCAL, "exists already")                                                         \
    X(GW_ECONFIG, LOCAL, "the configuration is wrong")                                             \
    X(GW_ECRYPTO, LOCAL, "a cryptographic operation failed")                                       \
    X(GW_ESTORE, LOCAL, "the database failed")                                                     \
    X(GW_ECLOSED, LOCAL, "closed")

enum gw_error {
    GW_ERROR_FIRST_ = -10000,
#define X(code, class, text) code,
    GW_ERRORS(X)
#undef X
        GW_ERROR_END_,
};

/** The class of a negative result; an unknown errno is LOCAL, -EAGAIN is WAIT. */
enum gw_error_class gw_error_class(int err);

/** A constant text for a negative result, ours or the system's; "done" for 0. Never NULL. */
const char *gw_error_text(int err);

/** The code's name, such as "GW_ESHORT", or the errno's, such as "EINVAL". Never NULL. */
const char *gw_error_name(int err);
