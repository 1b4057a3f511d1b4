# SPDX-License-Identifier: GPL-2.0-only
"""MQTT over secure WebSocket at wss://GATEWAY:8443/mqtt: the same sessions and grants as over TLS."""

import pytest

from lab import GATEWAY4, PYTHON, wait_until

# One connection by paho: says what it got, publishes what it is told to, stays for a while.
CLIENT = """
import sys, time, paho.mqtt.client as mqtt
host, ca, cert, key, version, sub, pub = sys.argv[1:]
c = mqtt.Client(client_id="ws", transport="websockets", protocol=int(version),
                **({} if version == "5" else {"clean_session": True}))
c.ws_set_options(path="/mqtt")
c.tls_set(ca, cert, key)
def on_connect(c, u, f, rc, *p):
    print("connected", int(getattr(rc, "value", rc)), flush=True)
    if sub: c.subscribe(sub, 1)
def on_subscribe(c, u, mid, granted, *p):
    print("subscribed", flush=True)
    if pub: c.publish(pub, "over websocket", 1)
c.on_connect, c.on_subscribe = on_connect, on_subscribe
c.on_publish = lambda c, u, mid: print("acknowledged", flush=True)
c.on_message = lambda c, u, m: print("got", m.topic, len(m.payload), m.payload[:40].decode(), flush=True)
c.on_disconnect = lambda c, u, rc, *p: print("disconnected", int(getattr(rc, "value", rc)), flush=True)
c.connect(host, 8443, 30)
c.loop_forever(retry_first_connection=False)
"""

UPGRADE = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13",
           "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
MQTT = ["-H", "Sec-WebSocket-Protocol: mqtt"]


@pytest.fixture(scope="module")
def cam(house):
    return house.enrolled("ws-1")


def connect(device, version, sub="", pub=""):
    return device.watch(PYTHON, "-uc", CLIENT, GATEWAY4, device.ca, device.cert, device.key, version, sub, pub)


def ask(device, *args, identity=True):
    """What curl gets at /mqtt: (status, headers and body)."""
    own = ["--cert", device.cert, "--key", device.key] if identity else []
    out = device.run("curl", "-sS", "-i", "--max-time", "5", "--http1.1", "--cacert", device.ca, *own, *args,
                     f"https://{GATEWAY4}:8443/mqtt", check=False).stdout
    return int(out.split()[1]), out


@pytest.mark.parametrize("version", ["4", "5"])
def test_publish_and_subscribe_over_websocket(cam, version):
    ws = connect(cam, version, "d/ws-1/#", f"d/ws-1/v{version}")
    ws.wait("^acknowledged")
    ws.wait(f"^got d/ws-1/v{version} 14 over websocket")
    cam.publish("d/ws-1/tcp", "from TLS alone")
    ws.wait("^got d/ws-1/tcp 14 from TLS alone")
    cam.publish("d/ws-1/big", "x" * 100_000)
    ws.wait("^got d/ws-1/big 100000 x")
    ws.proc.terminate()


def test_the_same_grants_hold(cam, house):
    other = house.enrolled("ws-2")
    ws = connect(cam, "5", "d/ws-2/#", "d/ws-2/x")
    ws.wait("^subscribed")
    other.publish("d/ws-2/secret", "not yours")
    cam.publish("d/ws-1/x", "mine")
    assert "got" not in ws.text()
    ws.proc.terminate()


def test_a_session_moves_between_transports(cam):
    ws = connect(cam, "4", "d/ws-1/t")
    ws.wait("^subscribed")
    over_tls = cam.subscribe("d/ws-1/t", "-i", "ws")
    ws.wait("^disconnected")
    over_tls.proc.terminate()
    ws.proc.terminate()


def test_quarantine_ends_it(cam, house):
    ws = connect(cam, "5", "d/ws-1/#")
    ws.wait("^subscribed")
    house.daemon.cordon("quarantine", "ws-1", "--for", "1h")
    wait_until(lambda: house.daemon.device("ws-1")["presence"]["status"] != "online", 10, "presence to end")
    house.daemon.cordon("release", "ws-1")
    ws.proc.terminate()


def test_presence_by_websocket(cam, house):
    ws = connect(cam, "5", "d/ws-1/#")
    ws.wait("^subscribed")
    assert house.daemon.device("ws-1")["presence"]["status"] == "online"
    ws.proc.kill()
    wait_until(lambda: house.daemon.device("ws-1")["presence"]["status"] == "offline", 20, "offline")


@pytest.mark.parametrize("name, args, identity, status, word", [
    ("an ordinary request", [], True, 426, "Sec-WebSocket-Version: 13"),
    ("no subprotocol", UPGRADE, True, 400, "subprotocol must be mqtt"),
    ("no certificate", UPGRADE + MQTT, False, 403, "valid certificate"),
    ("an old version", UPGRADE[:4] + ["-H", "Sec-WebSocket-Version: 8"] + UPGRADE[6:] + MQTT, True, 426, "13"),
    ("a bad key", UPGRADE[:6] + ["-H", "Sec-WebSocket-Key: x"] + MQTT, True, 400, "key is not valid"),
    ("everything right", UPGRADE + MQTT, True, 101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
])
def test_the_opening_handshake(cam, name, args, identity, status, word):
    got, text = ask(cam, *args, identity=identity)
    assert got == status, f"{name}: {text}"
    assert word in text, name
