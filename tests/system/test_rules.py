# SPDX-License-Identifier: GPL-2.0-only
"""From what a device does to what becomes of it: rules that act, that only observe and that only say so, and those
who are protected from all of them."""

import time

from lab import GATEWAY4, wait_until


def alerts(lab, kind):
    """Every alert of this kind so far."""
    events = lab.daemon.api("GET", "/api/v1/events?limit=1000")[1]
    return [e for e in events if e["type"] == "alert" and e["kind"] == kind]


def present(lab, name):
    """A device whose addresses are bound to its certificate."""
    device = lab.enrolled(name)
    device.publish(f"d/{name}/x", "hello")
    wait_until(lambda: lab.daemon.device(name)["addresses"]["mac"] == [device.mac], 15, "the binding")
    return device


def knock(device, times, port=8883):
    """Handshakes that break off: no certificate where one is asked for, or no TLS at all."""
    for i in range(times):
        if i % 2:
            device.run("sh", "-c", f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 3 socat - TCP:{GATEWAY4}:{port}",
                       check=False, timeout=10)
        else:
            device.run("sh", "-c", f"timeout 3 openssl s_client -connect {GATEWAY4}:{port} -tls1_2 </dev/null",
                       check=False, timeout=10)


def test_an_observed_device_goes_on_as_before(lab):
    lab.daemon.start()
    cam = present(lab, "cam-1")
    reader = cam.subscribe("d/cam-1/#")
    said = lab.daemon.cordon("quarantine", "cam-1", "--mode", "observe", "--reason", "looks odd").stdout
    assert "cam-1 is observed" in said, said
    cam.publish("d/cam-1/y", "still here")
    reader.wait("d/cam-1/y still here")
    assert reader.proc.poll() is None and cam.ping(GATEWAY4) and lab.gateway.ping(cam.ip4)
    device = lab.daemon.device("cam-1")
    assert device["quarantine"]["mode"] == "observe" and device["quarantine"]["reason"] == "looks odd"
    assert device["presence"]["status"] == "online"
    assert lab.daemon.json("status")["devices"]["quarantined"] == 0
    cam.run("curl", "-sS", "--fail", "--cacert", cam.ca, "--cert", cam.cert, "--key", cam.key,
            f"https://{GATEWAY4}:8443/.well-known/est/cacerts")  # its certificate is admitted
    assert alerts(lab, "quarantine")[-1]["text"] == "cam-1 is observed: looks odd"

    lab.daemon.kill_worker()
    lab.daemon.wait_ready()
    wait_until(lambda: lab.daemon.device("cam-1")["quarantine"]["mode"] == "observe", 15, "the verdict again")
    cam.publish("d/cam-1/y", "and after a restart")
    lab.daemon.cordon("quarantine", "cam-1", "--for", "1h")
    assert lab.daemon.json("status")["devices"]["quarantined"] == 1
    assert cam.publish("d/cam-1/y", "x", check=False, timeout=2).returncode != 0
    lab.daemon.cordon("quarantine", "cam-1", "--mode", "observe")
    wait_until(lambda: cam.publish("d/cam-1/y", "x", check=False, timeout=5).returncode == 0, 20, "the way back")
    lab.daemon.cordon("release", "cam-1")
    assert lab.daemon.device("cam-1")["quarantine"] is None


def test_failed_handshakes_make_the_verdict_of_a_rule(lab):
    lab.daemon.configure(quarantine={"rules": ({"strike": "handshake", "count": 6, "window_s": 60, "mode": "isolate",
                                                "for_s": 600},)}).start()
    bad, good = present(lab, "bad-1"), present(lab, "good-1")
    knock(bad, 5)
    knock(good, 5)
    time.sleep(0.5)
    assert lab.daemon.device("bad-1")["quarantine"] is None
    bad.publish("d/bad-1/x", "five do not make it")
    knock(bad, 1)
    verdict = wait_until(lambda: lab.daemon.device("bad-1")["quarantine"], 10, "the verdict")
    assert verdict["mode"] == "isolate" and verdict["by"] == "rule", verdict
    assert verdict["reason"] == "6 failed handshakes within 60 s" and verdict["until"], verdict
    assert not bad.ping(GATEWAY4)
    good.publish("d/good-1/x", "fine")
    assert lab.daemon.device("good-1")["quarantine"] is None


def test_wrong_pairing_codes_leave_only_the_way_to_a_certificate(lab):
    """The built-in rule, for a device that has no certificate yet."""
    lab.daemon.start()
    cam = lab.device("cam-1")
    cam.ping(GATEWAY4)
    cam.fetch_ca()
    lab.pair()
    here = wait_until(lambda: [d["id"] for d in lab.daemon.api("GET", "/api/v1/devices")[1]
                               if cam.ip4 in d["addresses"]["ipv4"]], 15, "its address")[0]
    assert [cam.est("0000-0000")[0] for _ in range(20)][-1] == 429
    verdict = wait_until(lambda: lab.daemon.device(here)["quarantine"], 10, "the verdict")
    assert verdict["mode"] == "remediate" and verdict["reason"] == "20 failed authentications within 60 s", verdict
    assert not cam.ping(GATEWAY4)
    cam.fetch_ca()


def test_as_it_comes_a_heuristic_only_says_what_it_would_do(lab):
    lab.daemon.start()
    cam = present(lab, "cam-1")
    knock(cam, 24, port=443)
    knock(cam, 19)
    time.sleep(0.5)
    assert alerts(lab, "strikes") == [], "who does not like the page's certificate does no wrong"
    knock(cam, 6)
    said = wait_until(lambda: alerts(lab, "strikes"), 10, "the alert")
    assert len(said) == 1 and said[0]["dry_run"] is True and said[0]["device"] == "cam-1", said
    assert said[0]["text"] == "cam-1 would have been put in remediation: 20 failed handshakes within 60 s"
    assert lab.daemon.device("cam-1")["quarantine"] is None
    cam.publish("d/cam-1/x", "fine")


def test_who_is_protected_is_told_and_never_cut_off(lab):
    rules = ({"strike": "denied", "count": 3, "window_s": 60, "mode": "isolate"},)
    lab.daemon.configure(quarantine={"rules": rules, "protected": ["device:cam-1"]}).start()
    cam, lamp = present(lab, "cam-1"), present(lab, "lamp-1")
    for device in (cam, lamp):
        for _ in range(3):
            device.publish("d/other/x", "not mine", "-V", "5", check=False, timeout=5)
    wait_until(lambda: lab.daemon.device("lamp-1")["quarantine"], 10, "the verdict on the other one")
    said = wait_until(lambda: alerts(lab, "strikes"), 10, "the alert")
    assert said[0]["device"] == "cam-1" and said[0]["protected"] is True, said
    assert "would have been cut off, but is protected: 3 refused publishes" in said[0]["text"]
    cam.publish("d/cam-1/x", "fine")
    for who in ("cam-1", cam.mac, cam.ip4, GATEWAY4.rsplit(".", 1)[0] + ".0/24"):
        refused = lab.daemon.cordon("quarantine", who, check=False)
        assert refused.returncode == 1 and "protected" in refused.stderr, (who, refused)

    lab.daemon.configure(quarantine={"protected": ["device:cam-1", "device:lamp-1"]})
    lab.daemon.reload()
    wait_until(lambda: lab.daemon.device("lamp-1")["quarantine"] is None, 10, "the end of the verdict")
    assert wait_until(lambda: alerts(lab, "release"), 10, "its alert")[-1]["by"] == "configuration"
    wait_until(lambda: lamp.publish("d/lamp-1/x", "x", check=False, timeout=5).returncode == 0, 20, "the way back")


def test_a_verdict_on_a_device_never_heard_follows_it_when_it_knocks(lab):
    lab.daemon.start()
    cam = lab.enrolled("cam-1")  # a certificate, and no session yet: nobody knows where it is
    said = lab.daemon.cordon("quarantine", "cam-1").stdout
    assert "cam-1 is cut off" in said and "No address of it is known" in said, said
    assert "no address of it is known" in alerts(lab, "quarantine")[-1]["text"]
    assert cam.ping(GATEWAY4)
    assert cam.publish("d/cam-1/x", "hello", check=False, timeout=5).returncode != 0
    wait_until(lambda: not cam.ping(GATEWAY4), 10, "the end of its packets")
    assert cam.ip4 in lab.daemon.device("cam-1")["addresses"]["ipv4"]
    assert "No address" not in lab.daemon.cordon("quarantine", "cam-1").stdout


def test_a_release_and_a_forgotten_record_open_what_they_say_and_no_more(lab):
    lab.daemon.start()
    cam = present(lab, "cam-1")
    lab.daemon.cordon("quarantine", "cam-1")
    lab.daemon.cordon("quarantine", cam.ip4, "--reason", "its address, too")
    refused = lab.daemon.cordon("forget", "cam-1", check=False)
    assert refused.returncode == 1 and "release it first" in refused.stderr, refused
    listed = lab.daemon.cordon("verdicts").stdout
    assert "cam-1" in listed and f"{cam.ip4} " in listed and "its address, too" in listed, listed
    assert [v["address"] for v in lab.daemon.json("verdicts")] == [None, cam.ip4]
    lab.daemon.cordon("release", "cam-1")
    assert cam.ping(GATEWAY4), "with all of its addresses"
    assert lab.daemon.json("verdicts") == []

    lab.daemon.cordon("quarantine", "cam-1")
    refused = lab.daemon.cordon("release", cam.ip4, check=False)
    assert refused.returncode == 1 and "with cam-1: release that" in refused.stderr, refused
    lab.daemon.cordon("release", "cam-1")
    lab.daemon.cordon("quarantine", cam.ip4)
    assert f"isolate ({cam.ip4} only)" in lab.daemon.cordon("device", "cam-1").stdout
    lab.daemon.cordon("release", "cam-1")
    refused = lab.daemon.cordon("release", "nobody-1", check=False)
    assert refused.returncode == 1 and "no device" in refused.stderr, refused

    wait_until(lambda: cam.publish("d/cam-1/x", "x", check=False, timeout=5).returncode == 0, 20, "the way back")
    reader = cam.subscribe("d/cam-1/#")
    refused = lab.daemon.cordon("quarantine", GATEWAY4.rsplit(".", 1)[0] + ".0/24", check=False)
    assert refused.returncode == 1, "the gateway is in it"
    cam.publish("d/cam-1/x", "still here")
    reader.wait("d/cam-1/x still here")
