# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 3.1.1 and 5 with mosquitto's clients and paho: what works, and refusals in the protocol's words."""

import subprocess
import time

import pytest

from lab import GATEWAY4, PYTHON, openssl, wait_until


@pytest.fixture(scope="module")
def cam(house):
    return house.enrolled("cam-1")


@pytest.fixture(scope="module")
def hub(house):
    """A second device that may read what its grants say."""
    device = house.enrolled("hub-1")
    house.daemon.cordon("grant", "hub-1", "d/#", "sub")
    house.daemon.cordon("grant", "hub-1", "$presence/#", "sub")
    return device


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
@pytest.mark.parametrize("qos", [0, 1])
def test_publish_reaches_a_subscriber(cam, hub, version, qos):
    topic = f"d/cam-1/{version}/{qos}"
    got = hub.subscribe("d/+/" + version + "/#", "-V", version)
    cam.publish(topic, f"payload {version} {qos}", "-V", version, qos=qos)
    got.wait(f"{topic} payload {version} {qos}")


def test_retained_is_kept_and_cleared(cam, hub):
    cam.publish("d/cam-1/kept", "still here", "-r")
    hub.subscribe("d/cam-1/kept").wait("still here")
    cam.publish("d/cam-1/kept", "", "-r")
    late = hub.subscribe("d/cam-1/kept")
    cam.publish("d/cam-1/kept", "live only")
    late.wait("live only")
    assert "still here" not in late.text()


def test_a_will_speaks_for_a_broken_connection(cam, hub):
    got = hub.subscribe("d/cam-1/will")
    holder = cam.watch(*cam.mqtt("sub", "-t", "d/cam-1/none", "--will-topic", "d/cam-1/will",
                                 "--will-payload", "gone", "-k", "30", "-d"))
    holder.wait("SUBACK")
    holder.proc.kill()
    got.wait("d/cam-1/will gone")


def test_a_persistent_session_waits_through_a_restart(lab):
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    sub = ["-i", "sleeper", "-c", "-t", "d/cam-1/inbox", "-q", "1", "-v"]
    cam.run(*cam.mqtt("sub", *sub, "-E"))
    cam.publish("d/cam-1/inbox", "while away")
    lab.daemon.stop()
    lab.daemon.start()
    cam.publish("d/cam-1/inbox", "after the restart")
    got = cam.run(*cam.mqtt("sub", *sub, "-C", "2", "-W", "10")).stdout
    assert got.splitlines() == ["d/cam-1/inbox while away", "d/cam-1/inbox after the restart"]


def test_another_devices_topic_is_refused(house, cam):
    denied = cam.publish("d/hub-1/x", "not mine", "-V", "mqttv5", check=False)
    assert "Not authorized" in denied.stdout + denied.stderr, denied
    refused = cam.subscribe("d/hub-1/#", "-V", "mqttv5")
    refused.wait("(?i)not authorized|denied|128|135")


def test_a_granted_class_topic_is_allowed(lab):
    lab.daemon.configure(access={"grants": ({"class": "camera", "topic": "site/motion", "permissions": ["pub"]},)})
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    before = cam.publish("site/motion", "1", "-V", "mqttv5", check=False)
    assert "Not authorized" in before.stdout + before.stderr
    lab.daemon.cordon("approve", "cam-1", "--class", "camera")
    after = cam.publish("site/motion", "1", "-V", "mqttv5")
    assert "Not authorized" not in after.stdout + after.stderr


def test_a_revoked_grant_stops_the_next_message(house, cam):
    reader = house.enrolled("reader-1")
    house.daemon.cordon("grant", "reader-1", "d/cam-1/live", "sub")
    got = reader.subscribe("d/cam-1/live")
    cam.publish("d/cam-1/live", "first")
    got.wait("first")
    house.daemon.cordon("ungrant", "reader-1", "d/cam-1/live")
    cam.publish("d/cam-1/live", "second")
    time.sleep(1)
    assert "second" not in got.text()


def test_hash_does_not_match_dollar_topics(house, cam):
    all_ = house.enrolled("all-1")
    house.daemon.cordon("grant", "all-1", "#", "sub")
    got = all_.subscribe("#")
    cam.publish("d/cam-1/plain", "seen")
    got.wait("seen")
    assert "$SYS" not in got.text() and "$presence" not in got.text()


# -- refusals --


def test_no_certificate_is_refused(cam):
    got = cam.run("mosquitto_pub", "-h", GATEWAY4, "-p", "8883", "--cafile", cam.ca, "-t", "d/cam-1/x", "-m", "x",
                  check=False, timeout=20)
    assert got.returncode != 0


def test_a_certificate_of_another_ca_is_refused(house, cam):
    evil = house.device("evil-1")
    evil.fetch_ca()
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", evil.key,
            "-out", evil.cert, "-subj", "/CN=cam-1", "-days", "2")
    assert evil.publish("d/cam-1/x", "x", check=False).returncode != 0
    cam.publish("d/cam-1/x", "still served")


def test_plain_text_on_the_tls_port_is_refused(house, cam):
    got = cam.run("mosquitto_pub", "-h", GATEWAY4, "-p", "8883", "-t", "d/cam-1/x", "-m", "x", check=False, timeout=20)
    assert got.returncode != 0
    cam.publish("d/cam-1/x", "still served")


@pytest.mark.parametrize("version", ["--tlsv1.0", "--tlsv1.1"])
def test_old_tls_is_refused(cam, version):
    maximum = version.replace("--tlsv", "")
    got = cam.run("curl", "-sS", "-k", "--tls-max", maximum, "--ciphers", "DEFAULT@SECLEVEL=0",
                  f"https://{GATEWAY4}:8443/.well-known/est/cacerts", check=False)
    assert got.returncode != 0


@pytest.mark.parametrize("version,flag", [("TLSv1.3", "-tls1_3"), ("TLSv1.2", "-tls1_2")])
def test_current_tls_is_spoken(cam, version, flag):
    got = cam.run("openssl", "s_client", "-connect", f"{GATEWAY4}:8883", "-CAfile", cam.ca, "-cert", cam.cert,
                  "-key", cam.key, flag, "-verify_return_error", "-brief", stdin="", check=False)
    assert version in got.stderr + got.stdout, got
    assert "Verification: OK" in got.stderr, got


def in_device(cam, code):
    """Run a paho script inside the device's namespace; what it prints."""
    head = (
        "import sys, time, paho.mqtt.client as m\n"
        "from paho.mqtt.packettypes import PacketTypes\n"
        "from paho.mqtt.properties import Properties\n"
        f"def client(v=m.MQTTv5, i=''):\n"
        f"    c = m.Client(client_id=i, protocol=v)\n"
        f"    c.tls_set({str(cam.ca)!r}, {str(cam.cert)!r}, {str(cam.key)!r})\n"
        "    return c\n")
    return cam.run(PYTHON, "-c", head + code, check=False, timeout=40)


def test_a_packet_over_the_maximum_is_answered_with_its_reason(cam):
    got = in_device(cam, f"""
seen = []
c = client()
c.on_disconnect = lambda c, u, rc, p=None: seen.append(rc)
c.on_connect = lambda c, u, f, rc, p=None: (print("max", getattr(p, "MaximumPacketSize", None)),
                                            c.publish("d/cam-1/big", b"x" * 2000000, qos=1))
c.connect({GATEWAY4!r}, 8883)
end = time.time() + 15
while not seen and time.time() < end:
    c.loop(0.2)
print("closed", seen)
""")
    assert "max " in got.stdout and "max None" not in got.stdout, got
    assert "closed [" in got.stdout and "closed []" not in got.stdout, got


def test_topic_aliases(cam, hub):
    """A topic is sent once; from then on its alias stands for it."""
    got = hub.subscribe("d/cam-1/aliased/#")
    out = in_device(cam, f"""
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes
def aliased(topic, payload):
    p = Properties(PacketTypes.PUBLISH)
    p.TopicAlias = 3
    c.publish(topic, payload, 1, properties=p)
c = client()
def on_connect(c, u, f, rc, p=None):
    print("alias", p.TopicAliasMaximum, flush=True)
    for topic, payload in (("d/cam-1/aliased/a", "one"), ("", "two"), ("d/cam-1/aliased/b", "three"), ("", "four")):
        aliased(topic, payload)
c.on_connect = on_connect
c.connect({GATEWAY4!r}, 8883)
end = time.time() + 2
while time.time() < end:
    c.loop(0.2)
""")
    assert "alias 16" in out.stdout, out
    for line in ("aliased/a one", "aliased/a two", "aliased/b three", "aliased/b four"):
        got.wait(line)


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_a_shared_subscription_divides_the_work(house, cam, hub, version):
    other = house.enrolled(f"worker-{version}")
    house.daemon.cordon("grant", other.id, "d/cam-1/#", "sub")
    members = [d.subscribe(f"$share/{version}/d/cam-1/jobs", "-V", version) for d in (hub, other)]
    for i in range(10):
        cam.publish("d/cam-1/jobs", f"job {i}")
    def done():
        return [{ln for ln in m.lines() if ln.startswith("d/cam-1/jobs job")} for m in members]
    wait_until(lambda: sum(map(len, done())) >= 10, 10, "ten jobs")
    assert all(done()) and not set.intersection(*done()), done()


def test_keepalive_ends_a_silent_session(house, cam, hub):
    """A client that says nothing for one and a half keep-alives is gone, and the cause says so."""
    quiet = house.enrolled("quiet-1")
    proc = quiet.popen("openssl", "s_client", "-quiet", "-connect", f"{GATEWAY4}:8883", "-CAfile", quiet.ca,
                       "-cert", quiet.cert, "-key", quiet.key, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL)
    proc.stdin.write(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x02\x00\x01q")
    proc.stdin.flush()
    wait_until(lambda: house.daemon.device("quiet-1")["presence"]["status"] == "online", 10, "quiet-1 online")
    wait_until(lambda: house.daemon.device("quiet-1")["presence"]["cause"] == "keepalive", 15, "cause keepalive")


def test_two_devices_with_one_client_id_do_not_meet(house, cam, hub):
    """A session belongs to device and client identifier together."""
    first = cam.subscribe("d/cam-1/same", "-i", "same-id")
    second = hub.subscribe("d/cam-1/same", "-i", "same-id")
    cam.publish("d/cam-1/same", "both")
    first.wait("both")
    second.wait("both")
    assert first.proc.poll() is None and second.proc.poll() is None
