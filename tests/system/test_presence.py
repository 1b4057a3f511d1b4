# SPDX-License-Identifier: GPL-2.0-only
"""Who is there, and why not: each cause as INTERFACE names it, the retained status and the events."""

import json
import signal

import pytest

from lab import GATEWAY4, wait_until


def presence(lab, id_):
    return lab.daemon.device(id_)["presence"]


def became(lab, id_, status, cause, seconds=15):
    def now():
        p = presence(lab, id_)
        return (p["status"], p["cause"]) == (status, cause)
    wait_until(now, seconds, f"{id_} {status}: {cause}; it is {presence(lab, id_)}")


def session(device, *args):
    reader = device.watch(*device.mqtt("sub", "-t", f"d/{device.id}/#", "-d", *args))
    reader.wait("SUBACK")
    return reader


@pytest.fixture(scope="module")
def watcher(house):
    device = house.enrolled("watcher-1")
    house.daemon.cordon("grant", "watcher-1", "$presence/#", "sub")
    return device


def test_connect_and_left(house, watcher):
    cam = house.enrolled("goodbye-1")
    events = watcher.subscribe("$presence/events")
    s = session(cam)
    became(house, "goodbye-1", "online", "connect")
    s.proc.terminate()  # mosquitto_sub says DISCONNECT
    became(house, "goodbye-1", "offline", "left")
    lines = events.wait('"leave".*goodbye-1|goodbye-1.*"leave"')
    event = json.loads(lines[0].split(" ", 1)[1])
    assert event["cause"] == "left" and event["status"] == "offline" and "occupancy" in event and event["at"].endswith("Z")


def test_reset(house):
    cam = house.enrolled("reset-1")
    s = session(cam)
    became(house, "reset-1", "online", "connect")
    s.proc.kill()
    became(house, "reset-1", "offline", "reset")


def test_keepalive(house):
    cam = house.enrolled("frozen-1")
    s = session(cam, "-k", "5")
    became(house, "frozen-1", "online", "connect")
    s.proc.send_signal(signal.SIGSTOP)
    became(house, "frozen-1", "offline", "keepalive", 20)
    s.proc.send_signal(signal.SIGCONT)


def test_quarantined(house):
    cam = house.enrolled("cut-1")
    session(cam)
    became(house, "cut-1", "online", "connect")
    house.daemon.cordon("quarantine", "cut-1")
    became(house, "cut-1", "offline", "quarantined")
    house.daemon.cordon("release", "cut-1")
    cam.publish("d/cut-1/x", "back")
    wait_until(lambda: house.daemon.json("device", "cut-1")["quarantine"] is None, 5, "the release")


def test_the_status_is_retained(house, watcher):
    cam = house.enrolled("kept-1")
    s = session(cam)
    became(house, "kept-1", "online", "connect")
    got = watcher.subscribe("$presence/devices/kept-1")
    line = got.wait("kept-1.*online")[0]
    assert json.loads(line.split(" ", 1)[1])["status"] == "online"
    s.proc.kill()


def test_state_change(house, watcher):
    cam = house.enrolled("lamp-1")
    events = watcher.subscribe("$presence/events")
    s = session(cam)
    cam.publish("d/lamp-1/state", '{"on":true}')
    line = events.wait("state-change.*lamp-1|lamp-1.*state-change")[-1]
    assert json.loads(line.split(" ", 1)[1])["state"] == {"on": True}
    s.proc.kill()


def test_an_address_that_never_speaks_to_cordon_is_seen_and_unplugged(house):
    tv = house.device("tv")
    id_ = "mac-" + tv.mac.replace(":", "")
    tv.ping(GATEWAY4, count=3)
    wait_until(lambda: house.daemon.api("GET", f"/api/v1/devices/{id_}", check=False)[0] == 200, 15, "the sighting")
    device = house.daemon.device(id_)
    assert device["state"] == "seen" and tv.ip4 in wait_until(
        lambda: house.daemon.device(id_)["addresses"]["ipv4"], 10, "its IPv4")
    wait_until(lambda: presence(house, id_)["status"] == "online", 10, "it to be online")
    tv.unplug()
    became(house, id_, "offline", "unplugged")
    tv.plug()
    tv.ping(GATEWAY4, count=3)
    wait_until(lambda: presence(house, id_)["status"] == "online", 15, "it to be back")


def test_missed_after_silence_on_the_wire(lab):
    lab.daemon.configure(presence={"timeout_s": 20, "misses": 2})
    lab.daemon.start()
    tv = lab.device("tv")
    id_ = "mac-" + tv.mac.replace(":", "")
    tv.ping(GATEWAY4, count=2)
    wait_until(lambda: lab.daemon.api("GET", f"/api/v1/devices/{id_}", check=False)[0] == 200, 15, "the sighting")
    tv.run("ip", "link", "set", "eth0", "arp", "off")
    tv.run("ip", "address", "flush", "dev", "eth0")
    became(lab, id_, "offline", "missed", 60)


def test_shutdown_and_who_was_there(lab):
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    session(cam)
    became(lab, "cam-1", "online", "connect")
    lab.daemon.stop()
    lab.daemon.start()
    events = lab.daemon.json("events")
    mine = [e for e in events if e.get("device") == "cam-1" and e.get("cause") == "shutdown"]
    assert mine, events


def test_the_cloud_sees_presence(lab):
    lab.daemon.start()
    seen = lab.cloud.collect("cordon/+/presence/#")
    cam = lab.enrolled("cam-1")
    s = session(cam)
    wait_until(lambda: any(t.endswith("/presence/cam-1") and json.loads(p)["status"] == "online"
                           for t, p, _ in seen.messages()), 15, "online at the cloud")
    s.proc.kill()
    wait_until(lambda: json.loads(seen.messages()[-1][1])["cause"] == "reset", 15, "offline at the cloud")


def test_the_gateways_own_last_will(lab):
    lab.daemon.start()
    seen = lab.cloud.collect("cordon/+/status")
    wait_until(lambda: [p for _, p, _ in seen.messages()][-1:] == [b"online"], 15, "online")
    lab.daemon.kill_both()
    wait_until(lambda: [p for _, p, _ in seen.messages()][-1:] == [b"offline"], 15, "offline")
    lab.daemon.proc = None
