/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What the clients on different libraries share: one publishes `count` numbered messages with QoS 2
 * or receives them, in a session that is kept. Whenever its connection breaks the library makes
 * another and goes on where it was; each event is a line on stdout.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define PAYLOAD 700

struct args {
    const char *host, *ca, *cert, *key, *id, *topic;
    int port;
    int version; /* 4: MQTT 3.1.1, 5 */
    bool publish;
    int count; /* messages of the whole run */
};

/** From the command line; ends the program with a usage line. */
struct args args_of(int argc, char **argv);

/** The text of message `number`, PAYLOAD bytes without an end. */
void fill(char out[PAYLOAD], int number);

/** Say that message was received; whether its bytes are those of fill() is checked. */
void say_got(const void *payload, size_t len);

/** Say that it failed, and end the program. */
void fail(const char *what, const char *why) __attribute__((noreturn));
