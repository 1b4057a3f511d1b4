/* SPDX-License-Identifier: GPL-2.0-only */
/* On Eclipse Paho for C, its asynchronous interface. Its callbacks come on threads of its own. */
#include <MQTTAsync.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

struct client {
    struct args args;
    MQTTAsync handle;
    int done;  /* received, or acknowledged to the end */
    sem_t end; /* all are */
};

static void check(const char *what, int err)
{
    if (err)
        fail(what, MQTTAsync_strerror(err) ? MQTTAsync_strerror(err) : "unknown");
}

static void advance(struct client *c)
{
    c->done++;
    if (c->done == c->args.count)
        (void)sem_post(&c->end);
}

/* ---- what became of what was asked for; MQTT 5 has callbacks of its own ---- */

static void on_failure(void *owner, MQTTAsync_failureData *why)
{
    (void)owner;
    fail("request", why && why->message ? why->message : "unknown");
}

static void on_failure5(void *owner, MQTTAsync_failureData5 *why)
{
    (void)owner;
    fail("request", why && why->message ? why->message : "unknown");
}

static void on_subscribed(void *owner, MQTTAsync_successData *what)
{
    (void)owner;
    printf("subscribed %d\n", what->alt.qos);
}

static void on_subscribed5(void *owner, MQTTAsync_successData5 *what)
{
    (void)owner;
    printf("subscribed %d\n", (int)what->reasonCode);
}

static void on_published(void *owner, MQTTAsync_successData *what)
{
    (void)what;
    printf("done 0\n");
    advance(owner);
}

static void on_published5(void *owner, MQTTAsync_successData5 *what)
{
    printf("done %d\n", (int)what->reasonCode);
    advance(owner);
}

/* ---- events ---- */

static int on_message(void *owner, char *topic, int topic_len, MQTTAsync_message *message)
{
    (void)topic_len;
    say_got(message->payload, (size_t)message->payloadlen);
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    advance(owner);
    return 1;
}

static void on_connected(void *owner, char *cause)
{
    (void)owner;
    printf("connected %s\n", cause ? cause : "");
}

static void on_lost(void *owner, char *cause)
{
    (void)owner;
    printf("lost %s\n", cause ? cause : "");
}

static void subscribe(struct client *c)
{
    MQTTAsync_responseOptions how = MQTTAsync_responseOptions_initializer;

    how.context = c;
    if (c->args.version == 5) {
        how.onSuccess5 = on_subscribed5;
        how.onFailure5 = on_failure5;
    } else {
        how.onSuccess = on_subscribed;
        how.onFailure = on_failure;
    }
    check("subscribe", MQTTAsync_subscribe(c->handle, c->args.topic, 2, &how));
}

static void publish_all(struct client *c)
{
    for (int i = 0; i < c->args.count; i++) {
        MQTTAsync_responseOptions how = MQTTAsync_responseOptions_initializer;
        char payload[PAYLOAD];

        how.context = c;
        if (c->args.version == 5)
            how.onSuccess5 = on_published5;
        else
            how.onSuccess = on_published;
        fill(payload, i);
        check("publish", MQTTAsync_send(c->handle, c->args.topic, PAYLOAD, payload, 2, 0, &how));
    }
}

static void begin(struct client *c)
{
    if (c->args.publish)
        publish_all(c);
    else
        subscribe(c);
}

static void on_first(void *owner, MQTTAsync_successData *what)
{
    (void)what;
    begin(owner);
}

static void on_first5(void *owner, MQTTAsync_successData5 *what)
{
    (void)what;
    begin(owner);
}

/* ---- setting it up ---- */

static void make(struct client *c)
{
    MQTTAsync_createOptions how = MQTTAsync_createOptions_initializer5;
    char url[128];

    how.MQTTVersion = c->args.version == 5 ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
    how.sendWhileDisconnected = 1;
    how.maxBufferedMessages = c->args.count;
    (void)snprintf(url, sizeof(url), "ssl://%s:%d", c->args.host, c->args.port);
    check("create", MQTTAsync_createWithOptions(&c->handle, url, c->args.id,
                                                MQTTCLIENT_PERSISTENCE_NONE, NULL, &how));
    check("callbacks", MQTTAsync_setCallbacks(c->handle, c, on_lost, on_message, NULL));
    check("callbacks", MQTTAsync_setConnected(c->handle, c, on_connected));
}

static void join(struct client *c, MQTTAsync_SSLOptions *tls, MQTTProperties *kept)
{
    MQTTAsync_connectOptions how = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions how5 = MQTTAsync_connectOptions_initializer5;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL};

    if (c->args.version == 5) {
        how = how5;
        expiry.value.integer4 = 600;
        check("properties", MQTTProperties_add(kept, &expiry));
        how.cleanstart = 0;
        how.connectProperties = kept;
        how.onSuccess5 = on_first5;
        how.onFailure5 = on_failure5;
    } else {
        how.MQTTVersion = MQTTVERSION_3_1_1; /* else it tries 3.1 after a failure */
        how.cleansession = 0;
        how.onSuccess = on_first;
        how.onFailure = on_failure;
    }
    how.context = c;
    how.keepAliveInterval = 30;
    how.automaticReconnect = 1;
    how.minRetryInterval = 1;
    how.maxRetryInterval = 2;
    how.ssl = tls;
    check("connect", MQTTAsync_connect(c->handle, &how));
}

int main(int argc, char **argv)
{
    struct client c = {.args = args_of(argc, argv)};
    MQTTAsync_SSLOptions tls = MQTTAsync_SSLOptions_initializer;
    MQTTAsync_disconnectOptions leave = MQTTAsync_disconnectOptions_initializer;
    MQTTProperties kept = MQTTProperties_initializer;

    (void)sem_init(&c.end, 0, 0);
    tls.trustStore = c.args.ca;
    tls.keyStore = c.args.cert;
    tls.privateKey = c.args.key;
    tls.enableServerCertAuth = 1;
    tls.verify = 1;
    make(&c);
    join(&c, &tls, &kept);
    while (sem_wait(&c.end) != 0)
        ;
    leave.timeout = 2000;
    (void)MQTTAsync_disconnect(c.handle, &leave);
    printf("end %d\n", c.done);
    fflush(stdout);
    _Exit(0); /* the library's threads may still be at work */
}
