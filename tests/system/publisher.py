# SPDX-License-Identifier: GPL-2.0-only
"""publisher.py HOST CA CERT KEY TOPIC COUNT WINDOW FILE: publish the payloads "0".."COUNT-1" at QoS 1,
at most WINDOW unacknowledged, come back after every break, and append to FILE each number whose
PUBACK arrived. A number without a PUBACK is published again on the next connection, as a device with
a store of its own would. Ends when all are acknowledged."""

import sys
import threading
import time

import paho.mqtt.client as mqtt

host, ca, cert, key, topic, count, window, path = sys.argv[1:]
count, window = int(count), int(window)
out = open(path, "a", buffering=1, encoding="utf-8")
lock = threading.RLock()
flight = {}  # packet identifier -> number
again = []   # numbers to publish once more
next_ = 0
acked = set()
connected = False


def fill():
    """Keep the window full; called with every acknowledgement."""
    global next_
    while connected and len(flight) < window:
        if again:
            number = again.pop(0)
        elif next_ < count:
            number, next_ = next_, next_ + 1
        else:
            return
        if number in acked:
            continue
        info = client.publish(topic, str(number), qos=1)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            again.insert(0, number)
            return
        flight[info.mid] = number


def on_connect(_client, _userdata, _flags, rc):
    global connected
    with lock:
        connected = rc == 0
        fill()


def on_disconnect(*_):
    global connected
    with lock:
        connected = False
        again[:0] = sorted(flight.values())
        flight.clear()


def on_publish(_client, _userdata, mid):
    with lock:
        number = flight.pop(mid, None)
        if number is not None and number not in acked:
            acked.add(number)
            out.write(f"{number}\n")
        fill()


while len(acked) < count:
    # A new client for each connection: nothing is kept by the library behind our back.
    client = mqtt.Client(client_id="", clean_session=True)
    client.tls_set(ca, cert, key)
    client.max_inflight_messages_set(0)
    client.on_connect, client.on_disconnect, client.on_publish = on_connect, on_disconnect, on_publish
    try:
        client.connect(host, 8883, keepalive=10)
        while len(acked) < count and client.loop(0.2) == mqtt.MQTT_ERR_SUCCESS:
            pass
    except OSError:
        pass
    on_disconnect()
    try:
        client.disconnect()
    except OSError:
        pass
    time.sleep(0.1)
