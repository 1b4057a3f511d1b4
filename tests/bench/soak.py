#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Does memory stay flat? A mixed load for a while: thousands of idle connections, publishers and
subscribers at QoS 0 to 2, devices that come and go with durable and clean sessions, wills and
retained messages, one that never reads, one that is never there; MQTT 3.1.1 and 5.

    CORDON_BUILD=build/release tests/bench/soak.py [--minutes 10] [--idle 1000] [--json]

Prints, every so often, the daemon's proportional set size, what the broker holds, and how long another device's
round trip took. At the end: the growth from the second quarter of the time to the last. Root; nothing leaves
the machine."""

import argparse
import contextlib
import json
import random
import statistics
import sys
import threading
import time

from brokers import Cordon, load, memory_bytes, need_tools, ready, site

import wire  # noqa: E402  (brokers found the way to it)

NAMES = 64     # client identifiers that come and go
TOPICS = 200   # that may hold a retained message


class Part(threading.Thread):
    """One part of the load, again and again until the end."""

    def __init__(self, name, once):
        super().__init__(daemon=True)
        self.what, self.once, self.count, self.over, self.error = name, once, 0, False, None

    def run(self):
        try:
            while not self.over:
                self.once()
                self.count += 1
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def stop(self):
        self.over = True
        self.join(60)
        if self.error:
            raise site.Failed(f"{self.what}: {self.error}")


def visitor(device, rng):
    """Somebody comes, does a little of everything, and goes in one of the ways to go."""
    version, name = rng.choice((4, 5)), f"visitor-{rng.randrange(NAMES)}"
    topic = f"d/{device.id}/v/{rng.randrange(TOPICS)}"
    more = {"properties": {"session_expiry": rng.choice((0, 5, 3600))}} if version == 5 else {}
    client = wire.Client(device, version)
    try:
        client.connect(name, clean=rng.random() < 0.5, will=wire.Will(topic, b"gone"), **more)
        client.send(wire.subscribe(60000, (f"d/{device.id}/v/+", rng.randrange(3)), version=version))
        client.take(wire.SUBACK)
        for n in range(rng.randrange(8)):
            client.send(wire.publish(topic, b"x" * rng.randrange(4000), 1, n + 1, version=version,
                                     retain=rng.random() < 0.3))
            client.take(wire.PUBACK)
        if rng.random() < 0.3:
            client.send(wire.publish(topic, b"", retain=True, version=version))
        if rng.random() < 0.5:
            client.send(wire.disconnect() if version == 5 else wire.packet(wire.DISCONNECT, 0, b""))
        elif rng.random() < 0.5:
            client.drop()
    except (wire.Closed, OSError):
        pass  # the other visitor took the session over
    finally:
        client.close()


def burst(device, broker, rng):
    """The generator, for a few seconds. Where its subscribers lag behind, QoS 0 is lost: that is allowed here."""
    proc = load(device, broker, "publish", "--messages", 10000, "--qos", rng.randrange(3), "--size",
                rng.choice((64, 256, 4096)), "--connections", 20, "--subscribers", 2, "--rate", 2000)
    proc.communicate()


class Soak:
    def __init__(self, lab, options):
        self.lab, self.options, self.rows = lab, options, []
        self.crowd, self.busy, self.guest, self.good = map(lab.enrolled, ("crowd", "busy", "guest", "good"))
        self.broker = Cordon(lab, self.crowd)
        rng = random.Random(options.seed)
        self.idle = load(self.crowd, self.broker, "idle", "--connections", options.idle)
        ready(self.idle)
        self.deaf = wire.Client(self.guest).connect("deaf")
        self.deaf.subscribe("d/guest/much", 1)
        self.away = wire.Client(self.guest).connect("away", properties={"session_expiry": 86400})
        self.away.subscribe("d/guest/much", 1)
        self.away.leave()
        self.talker = wire.Client(self.guest).connect("talker")
        self.sender, self.reader = wire.Client(self.good).connect("sender"), wire.Client(self.good).connect("reader")
        self.reader.subscribe("d/good/round", 1)
        visitors = [random.Random(rng.random()) for _ in range(2)]
        self.parts = [Part("visitors", lambda r=r: visitor(self.guest, r)) for r in visitors]
        self.parts += [Part("publishers", lambda: burst(self.busy, self.broker, rng)),
                       Part("full queues", self.full_queues)]

    def full_queues(self):
        packet_id = next(self.talker.ids) % 60000 + 1
        self.talker.send(wire.publish("d/guest/much", b"x" * 20000, 1, packet_id))
        self.talker.take(wire.PUBACK)  # whatever it says: success, or that nobody has room
        time.sleep(0.02)

    def round_trip(self):
        began = time.monotonic()
        self.sender.send(wire.publish("d/good/round", b"", 1, 1))
        self.reader.receive("d/good/round")
        self.sender.take(wire.PUBACK)
        return (time.monotonic() - began) * 1000

    def sample(self, began):
        broker = self.lab.daemon.json("status")["broker"]
        row = {"s": round(time.monotonic() - began), "memory": memory_bytes(self.broker.pids()),
               "round_trip_ms": round(self.round_trip(), 1), "visits": sum(p.count for p in self.parts[:2]),
               **{k: broker[k] for k in ("connections", "sessions", "retained", "queued_bytes", "received", "sent",
                                         "dropped")}}
        self.rows.append(row)
        if not self.options.json:
            print(f"{row['s']:6d} s {row['memory'] / 1048576:8.1f} MiB {row['connections']:7d} connections "
                  f"{row['sessions']:7d} sessions {row['retained']:5d} retained {row['queued_bytes'] / 1024:9.0f} KiB "
                  f"queued {row['received']:9d} in {row['sent']:9d} out {row['visits']:6d} visits "
                  f"{row['round_trip_ms']:7.1f} ms", flush=True)

    def run(self):
        began = time.monotonic()
        end = began + self.options.minutes * 60
        for part in self.parts:
            part.start()
        while time.monotonic() < end:
            time.sleep(min(self.options.minutes * 60 / 40, max(end - time.monotonic(), 0)))
            self.sample(began)
            for part in self.parts:
                if part.error:
                    part.stop()
        for part in self.parts:
            part.stop()
        self.idle.stdin.close()
        self.idle.wait()

    def growth(self):
        """Of the median from the second quarter, when everything has begun, to the last."""
        memory = [row["memory"] for row in self.rows]
        quarter = len(memory) // 4
        first, last = (statistics.median(part) for part in (memory[quarter:2 * quarter], memory[-quarter:]))
        return (last - first) / first


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--minutes", type=float, default=10)
    args.add_argument("--idle", type=int, default=1000, help="idle connections beside the others")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--json", action="store_true")
    options = args.parse_args()
    need_tools()
    lab = site.Lab(uplink=False)
    try:
        lab.daemon.configure(limits={"connections": 2 * options.idle + 400, "publish_per_s": 100000},
                             quarantine={"auto": False})
        lab.daemon.start()
        soak = Soak(lab, options)
        soak.run()
        grown = soak.growth()
        with contextlib.suppress(OSError):
            for client in (soak.deaf, soak.talker, soak.sender, soak.reader):
                client.close()
        lab.daemon.stop()
    finally:
        lab.close()
    if options.json:
        print(json.dumps({"rows": soak.rows, "growth": grown}))
    else:
        print(f"memory from the second quarter to the last: {grown * 100:+.1f} %")
    sys.exit(grown > 0.1)


if __name__ == "__main__":
    main()
