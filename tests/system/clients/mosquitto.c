/* SPDX-License-Identifier: GPL-2.0-only */
/* On libmosquitto. */
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdio.h>
#include <unistd.h>

#include "common.h"

struct client {
    struct args args;
    int published; /* handed to the library */
    int done;      /* received, or acknowledged to the end */
};

static void check(const char *what, int err)
{
    if (err)
        fail(what, mosquitto_strerror(err));
}

static void publish_all(struct mosquitto *m, struct client *c)
{
    for (; c->published < c->args.count; c->published++) {
        char payload[PAYLOAD];

        fill(payload, c->published);
        check("publish", mosquitto_publish(m, NULL, c->args.topic, PAYLOAD, payload, 2, false));
    }
}

static void on_connect(struct mosquitto *m, void *owner, int code, int flags,
                       const mosquitto_property *props)
{
    struct client *c = owner;

    (void)props;
    if (code)
        fail("connect", mosquitto_connack_string(code));
    printf("connected %s\n", flags & 1 ? "session" : "fresh");
    if (c->args.publish)
        publish_all(m, c);
    else if (!(flags & 1))
        check("subscribe", mosquitto_subscribe(m, NULL, c->args.topic, 2));
}

static void on_subscribe(struct mosquitto *m, void *owner, int id, int count, const int *granted)
{
    (void)m, (void)owner, (void)id;
    printf("subscribed %d\n", count == 1 ? granted[0] : -1);
}

static void advance(struct mosquitto *m, struct client *c)
{
    c->done++;
    if (c->done == c->args.count)
        (void)mosquitto_disconnect(m);
}

static void on_message(struct mosquitto *m, void *owner, const struct mosquitto_message *message)
{
    say_got(message->payload, (size_t)message->payloadlen);
    advance(m, owner);
}

static void on_publish(struct mosquitto *m, void *owner, int id, int reason,
                       const mosquitto_property *props)
{
    (void)id, (void)props;
    printf("done %d\n", reason);
    advance(m, owner);
}

/* mosquitto_loop_forever() gives up when a connection breaks inside TLS. */
static void stay(struct mosquitto *m, const struct client *c)
{
    while (c->done < c->args.count) {
        if (mosquitto_loop(m, -1, 1) != MOSQ_ERR_SUCCESS && c->done < c->args.count) {
            (void)usleep(100000);
            (void)mosquitto_reconnect(m);
        }
    }
    for (int i = 0; i < 20 && mosquitto_loop(m, 100, 1) == MOSQ_ERR_SUCCESS; i++)
        ; /* the DISCONNECT leaves */
}

static mosquitto_property *kept(int version)
{
    mosquitto_property *props = NULL;

    if (version == 5)
        check("properties",
              mosquitto_property_add_int32(&props, MQTT_PROP_SESSION_EXPIRY_INTERVAL, 600));
    return props;
}

int main(int argc, char **argv)
{
    struct client c = {.args = args_of(argc, argv)};
    mosquitto_property *props = kept(c.args.version);
    struct mosquitto *m;

    mosquitto_lib_init();
    m = mosquitto_new(c.args.id, false, &c);
    if (!m)
        fail("new", "no memory");
    check("version", mosquitto_int_option(m, MOSQ_OPT_PROTOCOL_VERSION, c.args.version));
    check("tls", mosquitto_tls_set(m, c.args.ca, NULL, c.args.cert, c.args.key, NULL));
    mosquitto_connect_v5_callback_set(m, on_connect);
    mosquitto_subscribe_callback_set(m, on_subscribe);
    mosquitto_message_callback_set(m, on_message);
    mosquitto_publish_v5_callback_set(m, on_publish);
    check("connect", mosquitto_connect_bind_v5(m, c.args.host, c.args.port, 30, NULL, props));
    stay(m, &c);
    mosquitto_property_free_all(&props);
    mosquitto_destroy(m);
    mosquitto_lib_cleanup();
    printf("end %d\n", c.done);
    return c.done < c.args.count;
}
