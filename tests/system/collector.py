# SPDX-License-Identifier: GPL-2.0-only
"""collector.py HOST PORT CA FILTER FILE: append [topic, payload hex, retained] for each message."""

import json
import sys
import time
import time

import paho.mqtt.client as mqtt

host, port, ca, filter_, path = sys.argv[1:]
out = open(path, "a", buffering=1, encoding="utf-8")


def on_connect(client, *_):
    client.subscribe(filter_, qos=1)


def on_subscribe(*_):
    print("subscribed", flush=True)


def on_message(_client, _userdata, m):
    out.write(json.dumps([m.topic, m.payload.hex(), bool(m.retain)]) + "\n")


client = mqtt.Client(client_id="collector", clean_session=False)
client.tls_set(ca)
client.tls_insecure_set(False)
client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
client.reconnect_delay_set(min_delay=1, max_delay=1)
client.connect(host, int(port), keepalive=20)
while True:
    try:
        client.loop_forever(retry_first_connection=True)
    except OSError:  # a TLS connection that is cut in the middle of a send: paho does not catch it
        time.sleep(0.2)
        try:
            client.reconnect()
        except OSError:
            pass  # loop_forever tries again
