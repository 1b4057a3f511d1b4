# SPDX-License-Identifier: GPL-2.0-only
"""What the cloud gets: sealed, complete, in order, each once after dropping repeats; read by an
independent reader and by `cordon envelope`; nothing lost by broken wires and killed processes."""

import json
import random
import signal
import time

import pytest

from envelope_reader import Reader, Refused
from lab import CORDON, GATEWAY4, PYTHON, Failed, Path, wait_until


def reader(lab):
    return Reader(lab.pki.recipient.read_bytes())


def opened(lab, collector):
    return reader(lab).everything(collector.messages())


def numbers(messages, device="cam-1"):
    """Payloads of one device as numbers, repeats of a sequence dropped, in order of sequence."""
    once = {m.sequence: m for m in messages if m.device == device}
    return [int(m.payload) for _, m in sorted(once.items()) if m.payload.isdigit()]


def publisher(device, topic, count, window=20):
    """(process, file of acknowledged numbers)"""
    path = device.dir / f"acked-{time.monotonic_ns()}"
    path.touch()
    script = Path(__file__).with_name("publisher.py")
    proc = device.popen(PYTHON, script, GATEWAY4, device.ca, device.cert, device.key, topic, count, window, path)
    return proc, path


def acked(path):
    return {int(n) for n in path.read_text().split("\n")[:-1]}


def settle(lab, seconds=60):
    """Wait until the spool holds nothing any more, also while the worker is only just coming back."""
    def empty():
        said = lab.daemon.cordon("status", "--json", check=False)
        if said.returncode:
            return False
        u = json.loads(said.stdout)["uplink"]
        return u["state"] == "connected" and u["spooled_messages"] == 0 and u["in_flight"] == 0
    wait_until(empty, seconds, "an empty spool", every=0.2)


def test_a_message_is_sealed_and_only_the_recipient_reads_it(lab):
    lab.daemon.start()
    cloud = lab.cloud.collect()
    cam = lab.enrolled("cam-1")
    before = time.time() * 1000
    cam.publish("d/cam-1/secret", "the cat sleeps")
    wait_until(lambda: any("/up/" in t for t, *_ in cloud.messages()), 15, "the message at the cloud")
    (message,) = opened(lab, cloud)
    assert (message.topic, message.device, message.payload) == ("d/cam-1/secret", "cam-1", b"the cat sleeps")
    assert before - 2000 < message.time_ms < time.time() * 1000 + 2000
    assert not any(b"the cat sleeps" in p for _, p, _ in cloud.messages()), "readable on the way"
    stranger, _ = lab.pki.recipient_pair("stranger")
    with pytest.raises(Refused):
        Reader(stranger.read_bytes()).everything(cloud.messages())


def test_one_flipped_bit_anywhere_and_it_does_not_open(lab):
    lab.daemon.start()
    cloud = lab.cloud.collect()
    cam = lab.enrolled("cam-1")
    cam.publish("d/cam-1/x", "payload")
    wait_until(lambda: any("/up/" in t for t, *_ in cloud.messages()), 15, "the message at the cloud")
    r = reader(lab)
    r.everything(cloud.messages())
    sealed = next(p for t, p, _ in cloud.messages() if "/up/" in t)
    tried = 0
    for bit in range(len(sealed) * 8):
        forged = bytearray(sealed)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refused):
            r.open(bytes(forged))
        tried += 1
    assert tried > 500


def test_the_announcement_is_retained_signed_and_refused_when_changed(lab):
    lab.daemon.start()
    settle(lab)
    cam = lab.enrolled("cam-1")
    cam.publish("d/cam-1/x", "one")
    settle(lab)
    late = lab.cloud.collect("cordon/+/key/+")
    wait_until(late.messages, 10, "a retained announcement")
    topic, payload, retained = late.messages()[0]
    assert retained
    # The gateway's certificate in it is of the CA that devices know.
    Reader(lab.pki.recipient.read_bytes(), cam.ca.read_bytes()).key(payload)
    rng, r = random.Random(1), reader(lab)
    for _ in range(300):
        forged = bytearray(payload)
        bit = rng.randrange(len(payload) * 8)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Exception):
            r.key(bytes(forged))
    assert not r.epochs


def test_each_recipient_can_read(lab):
    second, public = lab.pki.recipient_pair("second")
    lab.daemon.configure(uplink={"recipients": [lab.pki.recipient_pub, public]})
    lab.daemon.start()
    cloud = lab.cloud.collect()
    lab.enrolled("cam-1").publish("d/cam-1/x", "for both")
    wait_until(lambda: any("/up/" in t for t, *_ in cloud.messages()), 15, "the message at the cloud")
    for key in (lab.pki.recipient, second):
        assert Reader(key.read_bytes()).everything(cloud.messages())[0].payload == b"for both"


def test_the_command_opens_and_follows(lab):
    lab.daemon.start()
    cloud = lab.cloud.collect()
    follow = lab.cloud.watch(CORDON, "envelope", "follow", "--broker", lab.cloud.url, "--key", lab.pki.recipient,
                             "--ca", lab.pki.ca, env=lab.daemon.env())
    time.sleep(1)
    cam = lab.enrolled("cam-1")
    cam.publish("d/cam-1/x", "seen by follow")
    follow.wait("seen by follow", 20)
    # A message from a file, with its announcement.
    for name, part in (("message", "/up/"), ("keys", "/key/")):
        data = next(p for t, p, _ in cloud.messages() if part in t)
        (lab.dir / name).write_bytes(data)
    args = [CORDON, "envelope", "open", "--key", lab.pki.recipient, "--keys", lab.dir / "keys"]
    got = lab.cloud.run("sh", "-c", '"$@" < ' + str(lab.dir / "message"), "sh", *args, env=lab.daemon.env())
    assert "seen by follow" in got.stdout
    forged = bytearray((lab.dir / "message").read_bytes())
    forged[-1] ^= 1
    (lab.dir / "message").write_bytes(forged)
    got = lab.cloud.run("sh", "-c", '"$@" < ' + str(lab.dir / "message"), "sh", *args, check=False, env=lab.daemon.env())
    assert got.returncode == 1 and got.stderr.strip() and "seen by follow" not in got.stdout


def test_order_is_kept_and_sequences_rise_by_one(lab):
    lab.daemon.start()
    cloud = lab.cloud.collect()
    cam = lab.enrolled("cam-1")
    proc, path = publisher(cam, "d/cam-1/n", 500)
    assert proc.wait(60) == 0
    settle(lab)
    wait_until(lambda: len(opened(lab, cloud)) >= 500, 20, "500 messages at the cloud")
    got = opened(lab, cloud)
    assert numbers(got) == list(range(500))
    assert [m.sequence for m in got] == list(range(got[0].sequence, got[0].sequence + len(got)))


def test_a_cut_wire_loses_nothing(lab):
    lab.daemon.start()
    cloud = lab.cloud.collect()
    cam = lab.enrolled("cam-1")
    proc, path = publisher(cam, "d/cam-1/n", 1500)
    wait_until(lambda: len(acked(path)) > 200, 30, "the first acknowledgements")
    lab.cut_uplink()
    assert proc.wait(60) == 0, "acknowledged while the cloud is out of reach"
    assert lab.daemon.json("status")["uplink"]["spooled_messages"] > 0
    lab.restore_uplink()
    settle(lab, 90)
    wait_until(lambda: len(set(numbers(opened(lab, cloud)))) >= 1500, 40, "all of them at the cloud")
    assert numbers(opened(lab, cloud)) == list(range(1500))


def count_after(lab, cloud, path, total, note):
    """Every acknowledged number was opened; prints the counts."""
    done = acked(path)
    wait_until(lambda: done <= set(numbers(opened(lab, cloud))), 60,
               f"{len(done)} acknowledged numbers to be opened")
    got = opened(lab, cloud)
    have = set(numbers(got))
    by_sequence = {}
    for m in got:
        assert by_sequence.setdefault(m.sequence, (m.payload, m.device, m.topic)) == (m.payload, m.device, m.topic), \
            f"sequence {m.sequence} was used twice"
    lost = done - have
    print(f"{note}: {len(done)} acknowledged, {len(have)} opened, {len(lost)} lost, {len(got)} delivered")
    assert not lost
    assert len(done) == total
    first = {}
    for m in sorted({m.sequence: m for m in got if m.device == "cam-1"}.values(), key=lambda m: m.sequence):
        first.setdefault(int(m.payload), m.sequence)
    return first


@pytest.mark.parametrize("victim", ["worker", "both", "enforcer"])
def test_kill_9_loses_nothing_acknowledged(lab, victim):
    lab.daemon.start()
    cloud = lab.cloud.collect()
    cam = lab.enrolled("cam-1")
    proc, path = publisher(cam, "d/cam-1/n", 1500)
    rng = random.Random(victim)
    for target in (200, 600, 1000):
        wait_until(lambda: len(acked(path)) > target + rng.randrange(50), 60, f"{target} acknowledgements")
        if victim == "worker":
            lab.daemon.kill_worker()
            wait_until(lambda: lab.daemon.worker, 20, "a new worker")
        else:
            lab.daemon.kill_both() if victim == "both" else lab.daemon.kill_enforcer()
            wait_until(lambda: lab.daemon.start(), 30, "a new start")
    assert proc.wait(90) == 0
    count_after(lab, cloud, path, 1500, f"kill -9 of {victim}, 3 times")


def test_kill_9_of_the_broker_loses_only_what_it_had_in_hand(lab):
    """mosquitto forgets in a kill what it acknowledged and had not handed on, and who subscribed; so
    at most one window can be missing for each kill, and nothing of what came before or after."""
    lab.daemon.start()
    cloud = lab.cloud.collect()
    cam = lab.enrolled("cam-1")
    proc, path = publisher(cam, "d/cam-1/n", 1500)
    for target in (300, 800):
        wait_until(lambda: len(acked(path)) > target, 60, f"{target} acknowledgements")
        lab.cloud.stop(signal.SIGKILL)
        lab.cut_uplink()  # nothing may come before the cloud's reader is back
        lab.cloud.start()
        cloud.wait_subscribed()
        lab.restore_uplink()
    assert proc.wait(90) == 0
    settle(lab, 90)
    want = acked(path)
    assert len(want) == 1500
    try:
        wait_until(lambda: want <= set(numbers(opened(lab, cloud))), 5)
    except Failed:
        pass
    missing = want - set(numbers(opened(lab, cloud)))
    print(f"kill -9 of the broker, twice: {len(want)} acknowledged, {len(missing)} lost in the broker's hands")
    assert len(missing) <= 2 * 256
    assert max(missing, default=0) < 1499, "what came after the kills is complete"


def test_a_broker_that_is_down_from_the_start_is_awaited(lab):
    lab.cloud.stop()
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    for i in range(5):
        cam.publish("d/cam-1/n", str(i))
    assert lab.daemon.json("status")["uplink"]["spooled_messages"] >= 5
    lab.cut_uplink()  # the reader is there first
    lab.cloud.start()
    cloud = lab.cloud.collect()
    lab.restore_uplink()
    wait_until(lambda: numbers(opened(lab, cloud)) == list(range(5)), 60, "the five messages")


def test_a_broker_with_a_wrong_certificate_is_refused(lab):
    wrong = lab.dir / "other"
    lab.daemon.configure(uplink={"ca_file": type(lab.pki)(wrong).ca})
    lab.daemon.start()
    lab.enrolled("cam-1").publish("d/cam-1/x", "kept")
    time.sleep(3)
    uplink = lab.daemon.json("status")["uplink"]
    assert uplink["state"] != "connected" and uplink["last_error"], uplink
    assert uplink["spooled_messages"] >= 1


def test_a_full_spool_refuses_in_the_protocols_words(lab):
    lab.daemon.configure(uplink={"spool_max_bytes": 1048576})
    lab.cloud.stop()
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    blob = lab.dir / "blob"
    blob.write_bytes(b"x" * 200_000)
    said = ""
    for _ in range(8):
        got = cam.run(*cam.mqtt("pub", "-q", "1", "-t", "d/cam-1/big", "-f", blob, "-V", "mqttv5"), check=False)
        said += got.stdout + got.stderr
    assert "uota" in said or "151" in said or "0x97" in said, said
    assert lab.daemon.json("status")["uplink"]["spooled_bytes"] <= 1048576 + 262144
    lab.cloud.start()
    settle(lab, 60)
    cam.publish("d/cam-1/small", "fits again")


def test_a_full_disk_is_no_dead_end(lab):
    """What was released gives its room back, also when nothing else is left to write a new file with."""
    lab.daemon.configure(quarantine={"auto": False})
    lab.daemon.state.mkdir()
    lab.gateway.run("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", lab.daemon.state)
    lab.cloud.stop()
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    blob = lab.dir / "blob"
    blob.write_bytes(b"x" * 3_000)

    def refused():
        got = cam.run(*cam.mqtt("pub", "-q", "1", "-t", "d/cam-1/big", "-f", blob, "-V", "mqttv5", "--repeat", 100),
                      check=False, timeout=60)
        return "uota" in got.stdout + got.stderr
    wait_until(refused, 120, "the disk to be full")
    lab.cloud.start()
    settle(lab, 90)

    def taken():
        return cam.publish("d/cam-1/small", "fits again", "-V", "mqttv5", check=False).stderr == ""
    wait_until(taken, 60, "room for a message again", every=1)


def test_without_a_broker_all_is_local(lab):
    lab.daemon.configure(uplink={"brokers": [], "recipients": [], "ca_file": ""})
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    got = cam.subscribe("d/cam-1/#")
    cam.publish("d/cam-1/x", "local")
    got.wait("local")
    status = lab.daemon.json("status")["uplink"]
    assert status["state"] == "off" and status["spooled_messages"] == 0
