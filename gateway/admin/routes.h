/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Inside room admin: every call, in one table. The server's routes, the handlers' declarations and
 * openapi.json are made from it, so they cannot disagree.
 *
 * X(methods, path, handler, who, summary, query, body, status, answer): `query` lists parameters of
 * ?…; `body` and `answer` name schemas of openapi.c, NULL: none; a summary of NULL keeps a row out
 * of openapi.json.
 */
#pragma once

#include "http/http.h"

#define API "/api/v1"
#define ADMIN_ROUTES(X)                                                                            \
    X(GW_GET, API "/status", on_status, MAY_VIEWER, "The gateway at a glance", NULL, NULL, 200,    \
      "Status")                                                                                    \
    X(GW_GET, API "/devices", on_devices, MAY_VIEWER, "All devices, by id", "after,limit", NULL,   \
      200, "Devices")                                                                              \
    X(GW_GET, API "/devices/{}", on_device, MAY_VIEWER, "One device", NULL, NULL, 200, "Device")   \
    X(GW_DELETE, API "/devices/{}", on_forget, MAY_ADMIN, "Forget a device", NULL, NULL, 204,      \
      NULL)                                                                                        \
    X(GW_POST, API "/devices/{}/approve", on_approve, MAY_ADMIN, "Let a device in", NULL,          \
      "Approval", 204, NULL)                                                                       \
    X(GW_POST, API "/devices/{}/revoke", on_revoke, MAY_ADMIN, "Take a device's certificate back", \
      NULL, "Nothing", 204, NULL)                                                                  \
    X(GW_POST, API "/devices/{}/quarantine", on_device_quarantine, MAY_ADMIN,                      \
      "Cut a device off; answered when the kernel has it", NULL, "Order", 204, NULL)               \
    X(GW_DELETE, API "/devices/{}/quarantine", on_device_release, MAY_ADMIN,                       \
      "Let a device out of quarantine", NULL, NULL, 204, NULL)                                     \
    X(GW_GET, API "/devices/{}/grants", on_grants, MAY_VIEWER, "A device's own grants", NULL,      \
      NULL, 200, "Grants")                                                                         \
    X(GW_PUT, API "/devices/{}/grants", on_grants_set, MAY_ADMIN, "Replace a device's own grants", \
      NULL, "Grants", 204, NULL)                                                                   \
    X(GW_GET, API "/devices/{}/profile", on_profile, MAY_VIEWER,                                   \
      "What a device does and may do on the wire", NULL, NULL, 200, "Profile")                     \
    X(GW_POST, API "/devices/{}/profile/learn", on_profile_learn, MAY_ADMIN,                       \
      "Learn what a device does; 0 seconds: until told otherwise", NULL, "LearnFor", 204, NULL)    \
    X(GW_POST, API "/devices/{}/profile/report", on_profile_report, MAY_ADMIN,                     \
      "Tell what departs from the profile", NULL, "Nothing", 204, NULL)                            \
    X(GW_POST, API "/devices/{}/profile/enforce", on_profile_enforce, MAY_ADMIN,                   \
      "Drop what departs from the profile; answered when the kernel has it", NULL, "Nothing", 204, \
      NULL)                                                                                        \
    X(GW_POST, API "/devices/{}/profile/off", on_profile_off, MAY_ADMIN,                           \
      "Let everything pass again; the profile stays", NULL, "Nothing", 204, NULL)                  \
    X(GW_POST, API "/devices/{}/profile/forget", on_profile_forget, MAY_ADMIN,                     \
      "Remove a profile with what was learned", NULL, "Nothing", 204, NULL)                        \
    X(GW_GET, API "/devices/{}/profile/mud", on_profile_mud, MAY_VIEWER,                           \
      "The profile as a MUD file (RFC 8520)", NULL, NULL, 200, "Mud")                              \
    X(GW_PUT, API "/devices/{}/profile/mud", on_profile_mud_set, MAY_ADMIN,                        \
      "Make a MUD file the profile", NULL, "Mud", 204, NULL)                                       \
    X(GW_PUT, API "/devices/{}/limit", on_limit_set, MAY_ADMIN,                                    \
      "How much a device may send and get a second; 0: no limit", NULL, "Limit", 204, NULL)        \
    X(GW_GET, API "/devices/{}/presence", on_timeline, MAY_VIEWER,                                 \
      "A device's time line, oldest first; without since the last day", "since,limit", NULL, 200,  \
      "Events")                                                                                    \
    X(GW_GET, API "/quarantine", on_quarantine, MAY_VIEWER,                                        \
      "All verdicts in force, in the order in which they were made", "after,limit", NULL, 200,     \
      "Verdicts")                                                                                  \
    X(GW_POST, API "/quarantine", on_quarantine_add, MAY_ADMIN,                                    \
      "Cut an address off, answered with 204 when the kernel has it; or many, with their results", \
      NULL, "AddressOrders", 200, "BatchResult")                                                   \
    X(GW_POST, API "/quarantine/release", on_quarantine_release, MAY_ADMIN,                        \
      "Release many addresses", NULL, "Addresses", 200, "BatchResult")                             \
    X(GW_DELETE, API "/quarantine/*", on_quarantine_remove, MAY_ADMIN, "Release an address", NULL, \
      NULL, 204, NULL)                                                                             \
    X(GW_GET, API "/isolation", on_isolation, MAY_VIEWER,                                          \
      "How each LAN port is guarded, what could go past, and the last test", NULL, NULL, 200,      \
      "IsolationReport")                                                                           \
    X(GW_POST, API "/isolation/test", on_isolation_test, MAY_ADMIN,                                \
      "Prove the isolation with crafted frames; answered when it is over", NULL, "Nothing", 200,   \
      "IsolationTest")                                                                             \
    X(GW_GET, API "/pairing", on_pairing, MAY_VIEWER, "Is a pairing window open?", NULL, NULL,     \
      200, "Window")                                                                               \
    X(GW_POST, API "/pairing", on_pairing_open, MAY_ADMIN,                                         \
      "Open a pairing window; 0 seconds: the configured length", NULL, "Seconds", 200, "Pairing")  \
    X(GW_DELETE, API "/pairing", on_pairing_close, MAY_ADMIN, "Close the pairing window", NULL,    \
      NULL, 204, NULL)                                                                             \
    X(GW_GET, API "/presence", on_presence, MAY_VIEWER, "Who is there", NULL, NULL, 200,           \
      "Occupancy")                                                                                 \
    X(GW_GET, API "/events", on_events, MAY_VIEWER,                                                \
      "The journal, oldest first; without since the newest", "since,limit", NULL, 200, "Events")   \
    X(GW_GET, API "/events/stream", on_stream, MAY_VIEWER,                                         \
      "Events as they happen (text/event-stream, Last-Event-ID)", NULL, NULL, 200, "Stream")       \
    X(GW_GET, API "/session", on_session, MAY_ANYBODY, "Who am I?", NULL, NULL, 200, "Session")    \
    X(GW_POST, API "/login", on_login, MAY_ANYBODY, "Begin a session", NULL, "Login", 204, NULL)   \
    X(GW_POST, API "/logout", on_logout, MAY_ANYBODY, "End the session", NULL, "Nothing", 204,     \
      NULL)                                                                                        \
    X(GW_POST, API "/setup", on_setup, MAY_ANYBODY, "Set the first password with the setup code",  \
      NULL, "Setup", 204, NULL)                                                                    \
    X(GW_GET, API "/setup-code", on_setup_code, MAY_ADMIN | ONLY_LOCAL,                            \
      "The one-time code (Unix socket only)", NULL, NULL, 200, "SetupCode")                        \
    X(GW_PUT, API "/users/{}/password", on_password, MAY_ADMIN | ONLY_LOCAL,                       \
      "Set a password, and make the user (Unix socket only)", NULL, "Password", 204, NULL)         \
    X(GW_GET, API "/keys", on_keys, MAY_ADMIN, "All API keys, by name", NULL, NULL, 200, "Keys")   \
    X(GW_POST, API "/keys", on_key_add, MAY_ADMIN, "Make an API key; shown this once", NULL,       \
      "NewKey", 201, "Key")                                                                        \
    X(GW_DELETE, API "/keys/{}", on_key_remove, MAY_ADMIN, "Remove an API key", NULL, NULL, 204,   \
      NULL)                                                                                        \
    X(GW_GET, API "/openapi.json", on_openapi, MAY_VIEWER, "This description", NULL, NULL, 200,    \
      "OpenApi")                                                                                   \
    X(GW_GET, "/metrics", on_metrics, MAY_VIEWER, "Figures for Prometheus", NULL, NULL, 200,       \
      "Text")                                                                                      \
    X(GW_GET, "/", on_page, MAY_ANYBODY, NULL, NULL, NULL, 0, NULL)                                \
    X(GW_GET, "/{}", on_page, MAY_ANYBODY, NULL, NULL, NULL, 0, NULL)                              \
    X(GW_GET, "/assets/*", on_page, MAY_ANYBODY, NULL, NULL, NULL, 0, NULL)

#define X(methods, path, handle, ...) void handle(void *owner, struct gw_http_request *req);
/* The page has several rows; declaring it again is harmless. */
ADMIN_ROUTES(X)
#undef X
