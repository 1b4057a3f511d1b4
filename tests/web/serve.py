# SPDX-License-Identifier: GPL-2.0-only
"""Runs `node --test` on each file in the namespace of a gateway that runs the real cordond, and does in the other
namespaces what the tests ask for: one JSON line each way over a Unix socket."""

import json
import os
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))

import lab as site  # noqa: E402


class Control:
    """What a test may ask of the world around the page."""

    def __init__(self, place):
        self.place, self.sessions = place, {}

    def device(self, id_):
        return next(d for d in self.place.devices if d.id == id_)

    def setup_code(self):
        return self.place.daemon.json("setup-code")["code"]

    def plug(self, id_):
        self.place.device(id_)

    def enroll(self, id_, code=None):
        self.device(id_).enroll(code)

    def ask(self, id_):
        """A request without a code; waits for a person."""
        self.device(id_).fetch_ca()
        return self.device(id_).est(None)[0]

    def connect(self, id_):
        d = self.device(id_)
        reader = d.watch(*d.mqtt("sub", "-t", f"d/{id_}/#", "-d"))
        reader.wait("SUBACK")
        self.sessions[id_] = reader

    def kill_client(self, id_):
        self.sessions.pop(id_).proc.kill()

    def pings(self, id_):
        return self.device(id_).ping(site.GATEWAY4)

    def files(self, id_):
        d = self.device(id_)
        return {"ca": str(d.ca), "cert": str(d.cert), "key": str(d.key)}

    def known(self, id_):
        return self.place.daemon.api("GET", f"/api/v1/devices/{id_}", check=False)[1]

    def cordon(self, *args):
        done = self.place.daemon.cordon(*args, check=False)
        return [done.returncode, done.stdout, done.stderr]

    def stop(self):
        self.place.daemon.stop()

    def start(self):
        self.place.daemon.start()


def handler(control):
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                name, *args = json.loads(line)
                try:
                    answer = {"value": getattr(control, name)(*args)}
                except BaseException as fault:  # the test shows it
                    answer = {"error": f"{type(fault).__name__}: {fault}"}
                self.wfile.write(json.dumps(answer).encode() + b"\n")
                self.wfile.flush()
    return Handler


def main():
    place = site.Lab()
    status = 0
    try:
        place.daemon.start()
        path = str(place.dir / "control.sock")
        server = socketserver.ThreadingUnixStreamServer(path, handler(Control(place)))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {**os.environ, "CORDON_CONTROL": path, "HOME": str(place.dir)}
        for name in ("page.test.mjs", "mqtt.test.mjs"):  # one after the other, on one site
            status |= subprocess.call(place.gateway.args("node", "--test", *sys.argv[1:], HERE / name), env=env)
        place.daemon.stop()
    finally:
        reports = place.daemon.reports()
        if status != 0 or reports:
            print("cordond said last:\n" + place.daemon.tail(40))
        place.close()
    for report in reports:
        print("a sanitizer reported:\n" + report)
    return 1 if reports else status


if __name__ == "__main__":
    sys.exit(main())
