# SPDX-License-Identifier: GPL-2.0-only
"""The API over HTTPS with a login, the live events, the command's manners, and the page's headers."""

import json
import re

import pytest

from lab import CORDON, GATEWAY4, wait_until

PASSWORD = "correct horse battery"


class Browser:
    """curl with a cookie jar, in a device's namespace."""

    def __init__(self, place, name):
        self.ns = place.device(name)
        self.jar = self.ns.dir / "jar"

    def call(self, method, path, body=None, *extra):
        out, head = self.ns.dir / "out", self.ns.dir / "head"
        out.unlink(missing_ok=True)
        args = ["curl", "-sS", "-k", "-X", method, "-b", self.jar, "-c", self.jar, "-o", out, "-D", head,
                "-w", "%{http_code}"]
        if body is not None:
            args += ["-H", "content-type: application/json", "--data-binary", json.dumps(body)]
        status = int(self.ns.run(*args, *extra, f"https://{GATEWAY4}{path}").stdout)
        text = out.read_text(errors="replace") if out.exists() else ""
        try:
            return status, json.loads(text) if text else None
        except json.JSONDecodeError:
            return status, text

    def head(self):
        return (self.ns.dir / "head").read_text()


@pytest.fixture(scope="module")
def admin(house):
    browser = Browser(house, "laptop")
    status, problem = browser.call("GET", "/api/v1/session")
    assert status == 401 and problem.get("setup") is True, problem
    code = house.daemon.json("setup-code")["code"]
    assert browser.call("POST", "/api/v1/setup", {"code": "wrong-code", "user": "admin", "password": PASSWORD})[0] in (401, 403)
    assert browser.call("POST", "/api/v1/setup", {"code": code, "user": "admin", "password": "short"})[0] in (400, 422)
    status, _ = browser.call("POST", "/api/v1/setup", {"code": code, "user": "admin", "password": PASSWORD})
    assert status == 204
    cookie = re.search(r"(?im)^set-cookie: .*$", browser.head()).group(0)
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=Strict")), cookie
    assert browser.call("POST", "/api/v1/setup", {"code": code, "user": "admin", "password": PASSWORD})[0] >= 400, "once"
    return browser


def test_the_session_is_known_until_logout(house, admin):
    assert admin.call("GET", "/api/v1/session") == (200, {"user": "admin", "role": "admin"})
    other = Browser(house, "phone")
    assert other.call("GET", "/api/v1/status")[0] == 401
    assert other.call("POST", "/api/v1/login", {"user": "admin", "password": "wrong"})[0] == 401
    assert other.call("POST", "/api/v1/login", {"user": "admin", "password": PASSWORD})[0] in (200, 204)
    assert other.call("GET", "/api/v1/status")[0] == 200
    assert other.call("POST", "/api/v1/logout", {})[0] in (200, 204)
    assert other.call("GET", "/api/v1/status")[0] == 401


@pytest.mark.parametrize("method,path", [
    ("GET", "/api/v1/status"), ("GET", "/api/v1/devices"), ("GET", "/api/v1/events"), ("GET", "/api/v1/events/stream"),
    ("POST", "/api/v1/pairing"), ("DELETE", "/api/v1/pairing"), ("POST", "/api/v1/quarantine"),
    ("POST", "/api/v1/devices/x/approve"), ("GET", "/api/v1/quarantine"),
])
def test_nothing_without_a_login(house, admin, method, path):
    stranger = [b for b in house.devices if b.id == "stranger"]
    browser = Browser.__new__(Browser)
    browser.ns = stranger[0] if stranger else house.device("stranger")
    browser.jar = browser.ns.dir / "jar"
    status, problem = browser.call(method, path, {} if method == "POST" else None, "-m", "5")
    assert status == 401 and problem["status"] == 401, (status, problem)
    assert "application/problem+json" in browser.head()


def test_status_and_devices_have_their_members(house, admin):
    status = admin.call("GET", "/api/v1/status")[1]
    assert set(status) >= {"version", "gateway", "uptime_s", "devices", "uplink", "isolation"}
    assert set(status["devices"]) >= {"known", "online", "pending", "quarantined"}
    assert set(status["uplink"]) >= {"state", "broker", "spooled_messages", "spooled_bytes", "in_flight",
                                     "acknowledged", "last_error"}
    assert re.fullmatch(r"gw-[0-9a-f]{16}", status["gateway"]["id"])
    house.enrolled("cam-1").publish("d/cam-1/x", "hi")
    device = next(d for d in admin.call("GET", "/api/v1/devices")[1] if d["id"] == "cam-1")
    assert set(device) >= {"id", "name", "state", "class", "vendor", "hostname", "first_seen", "last_seen", "addresses",
                           "presence", "quarantine", "traffic"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", device["first_seen"])
    assert admin.call("GET", "/api/v1/devices/nobody")[0] == 404


@pytest.mark.parametrize("body", [{"mode": "sideways"}, {"mode": "isolate", "seconds": -1}, {"seconds": "x"}, [], "text"])
def test_wrong_bodies_are_refused(house, admin, body):
    assert admin.call("POST", "/api/v1/devices/cam-1/quarantine", body)[0] in (400, 404, 422)


def test_the_stream_tells_what_happens_and_resumes(house, admin):
    jar = admin.jar
    stream = admin.ns.watch("curl", "-sSNk", "-b", jar, f"https://{GATEWAY4}/api/v1/events/stream")
    house.enrolled("stream-1").publish("d/stream-1/x", "hi")
    line = stream.wait('^data: .*"join".*stream-1|^data: .*stream-1.*"join"')[0]
    event = json.loads(line[6:])
    assert event["type"] == "presence" and event["id"] > 0
    # Who comes back after a break gets what was missed.
    again = admin.ns.watch("curl", "-sSNk", "-b", jar, "-H", f"Last-Event-ID: {event['id'] - 1}",
                           f"https://{GATEWAY4}/api/v1/events/stream")
    again.wait(f"^id: {event['id']}$")


def test_events_page_by_since_and_limit(house, admin):
    newest = admin.call("GET", "/api/v1/events?limit=3")[1]
    assert 1 <= len(newest) <= 3
    assert [e["id"] for e in newest] == sorted(e["id"] for e in newest)
    after = admin.call("GET", f"/api/v1/events?since={newest[0]['id']}&limit=1000")[1]
    assert all(e["id"] > newest[0]["id"] for e in after)


def test_the_page_and_its_headers(house, admin):
    status, text = admin.call("GET", "/", None, "--compressed")
    assert status == 200 and '<div id="app">' in text
    head = admin.head().lower()
    csp = re.search(r"content-security-policy: (.*)", head).group(1)
    assert "default-src 'none'" in csp and "script-src 'self'" in csp and "unsafe" not in csp
    assert "x-content-type-options: nosniff" in head
    script = re.search(r'src="(/assets/[^"]+)"', text).group(1)
    total = 0
    for path in ["/", *re.findall(r'(?:src|href)="(/[^"]+)"', text)]:
        status, _ = admin.call("GET", path)
        total += (admin.ns.dir / "out").stat().st_size
        assert status == 200
    assert total <= 60_000, f"{total} bytes"
    admin.call("GET", script)
    assert "immutable" in admin.head()
    assert admin.call("GET", "/../../etc/passwd", None, "--path-as-is")[0] in (400, 404)


def test_metrics_are_prometheus_text(house, admin):
    status, text = admin.call("GET", "/metrics")
    assert status == 200 and re.search(r"(?m)^cordon_\w+(\{[^}]*\})? [0-9.e+-]+$", text), text


def test_the_command_has_tables_json_and_plain_refusals(house):
    daemon = house.daemon
    for verb in (["status"], ["devices"], ["events"], ["presence"]):
        assert daemon.cordon(*verb).stdout.strip()
        json.loads(daemon.cordon(*verb, "--json").stdout)
    got = daemon.cordon("device", "nobody", check=False)
    assert got.returncode == 1 and len(got.stderr.strip().splitlines()) == 1
    assert daemon.cordon("nonsense", check=False).returncode == 2
    assert daemon.cordon("--help").returncode == 0


def test_a_command_without_a_daemon_says_so(house):
    got = house.gateway.run(CORDON, "--socket", "/nowhere/admin.sock", "status", check=False, env=house.daemon.env())
    assert got.returncode == 1 and "/nowhere/admin.sock" in got.stderr


def test_no_secret_is_logged(house, admin):
    text = house.daemon.log.read_text()
    assert PASSWORD not in text and "BEGIN" not in text


class Described:
    """Holds answers against openapi.json: types, choices, and no member that it does not name."""

    KINDS = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list, "null": type(None)}
    OPEN = ("Event", "Problem")  # alerts bring figures of their own

    def __init__(self, described):
        self.schemas = described["components"]["schemas"]

    def members(self, schema):
        """Every member that the schema names, or None when others may come."""
        if "$ref" in schema:
            name = schema["$ref"].split("/")[-1]
            return None if name in self.OPEN else self.members(self.schemas[name])
        parts = [self.members(part) for part in schema.get("allOf", [])]
        if None in parts or not parts and "properties" not in schema:
            return None
        return set(schema.get("properties", {})).union(*parts)

    def check(self, value, schema, where):
        known = self.members(schema)
        if known is not None and isinstance(value, dict):
            assert set(value) <= known, f"{where}: {set(value) - known} is not described"
        self.follow(value, schema, where)

    def follow(self, value, schema, where):
        if "$ref" in schema:
            return self.follow(value, self.schemas[schema["$ref"].split("/")[-1]], where)
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        assert not kinds or type(value) in [self.KINDS[k] for k in kinds], f"{where}: {value!r} is not {kinds}"
        assert value in schema.get("enum", [value]), f"{where}: {value!r}"
        assert "pattern" not in schema or re.search(schema["pattern"], value), f"{where}: {value!r}"
        assert all(name in value for name in schema.get("required", [])), f"{where}: {value!r}"
        for part in schema.get("allOf", []):
            self.follow(value, part, where)
        for part in schema.get("anyOf", []) if value is not None else []:
            if part.get("type") != "null":
                self.check(value, part, where)
        if isinstance(value, dict):
            for name, part in schema.get("properties", {}).items():
                if name in value:
                    self.check(value[name], part, f"{where}.{name}")
        for i, item in enumerate(value if isinstance(value, list) else []):
            self.check(item, schema.get("items", {}), f"{where}[{i}]")


def test_every_answer_is_as_it_is_described(house, admin):
    cam = house.enrolled("described-1")
    cam.publish("d/described-1/x", "hi")
    house.daemon.cordon("grant", "described-1", "site/#", "pubsub", "--for", "1h")
    for subject in ("described-1", "198.51.100.0/24"):
        house.daemon.cordon("quarantine", subject, "--for", "1h", "--reason", "to be described")
    house.daemon.cordon("api-key", "described")
    openapi = house.daemon.api("GET", "/api/v1/openapi.json")[1]
    described, checked = Described(openapi), 0
    for path, calls in openapi["paths"].items():
        content = calls.get("get", {}).get("responses", {}).get("200", {}).get("content", {}).get("application/json")
        if content and path != "/api/v1/setup-code":
            status, answer = house.daemon.api("GET", re.sub(r"{\w+}", "described-1", path))
            described.check(answer, content["schema"], path)
            checked += 1
    assert checked >= 12
    status = {"$ref": "#/components/schemas/Status"}
    for wrong in ({}, {**house.daemon.json("status"), "odd": 1}, {**house.daemon.json("status"), "uptime_s": "long"}):
        with pytest.raises(AssertionError):
            described.check(wrong, status, "a wrong status")
    status, problem = house.daemon.api("GET", "/api/v1/devices/nobody", check=False)
    described.check(problem, {"$ref": "#/components/schemas/Problem"}, "a problem")


def states(lab):
    return {d["id"]: d["state"] for d in lab.daemon.json("devices")}


def verdicts(lab):
    return sorted(v["reason"] for v in lab.daemon.api("GET", "/api/v1/quarantine")[1])


def kill_and_start(lab):
    lab.daemon.kill_both()
    lab.daemon.start()


def test_what_was_answered_outlives_a_kill(lab):
    """Each change by an admin is on disk when its command returns, whatever dies right after."""
    lab.daemon.start()
    for name in ("cam-1", "cam-2", "cam-3"):
        lab.enrolled(name)
    silent = lab.device("silent")
    wait_until(lambda: silent.ping(GATEWAY4) and f"mac-{silent.mac.replace(':', '')}" in states(lab), 10, "a sighting")
    mac = f"mac-{silent.mac.replace(':', '')}"

    lab.daemon.cordon("approve", mac, "--name", "the scale")
    kill_and_start(lab)
    assert lab.daemon.device(mac)["state"] == "approved" and lab.daemon.device(mac)["name"] == "the scale"

    lab.daemon.cordon("grant", "cam-1", "d/cam-2/#", "sub")
    kill_and_start(lab)
    assert [g["topic"] for g in lab.daemon.json("grants", "cam-1")] == ["d/cam-2/#"]
    lab.daemon.cordon("ungrant", "cam-1", "d/cam-2/#")
    kill_and_start(lab)
    assert lab.daemon.json("grants", "cam-1") == []

    lab.daemon.cordon("revoke", "cam-2")
    kill_and_start(lab)
    assert states(lab)["cam-2"] == "revoked"
    assert lab.daemon.device("cam-2")["quarantine"]["reason"] == "revoked"

    lab.daemon.cordon("forget", "cam-3")
    kill_and_start(lab)
    assert "cam-3" not in states(lab)

    for subject in ("cam-1", silent.mac, silent.ip4, silent.ip6, "198.51.100.0/24"):
        lab.daemon.cordon("quarantine", subject, "--reason", "kept")
        kill_and_start(lab)
        assert verdicts(lab) == ["kept", "revoked"], subject
        assert subject not in (silent.mac, silent.ip4) or not silent.ping(GATEWAY4), subject
        lab.daemon.cordon("release", subject)
        kill_and_start(lab)
        assert verdicts(lab) == ["revoked"], subject
        assert silent.ping(GATEWAY4), subject


def test_a_credential_that_was_answered_outlives_a_kill(lab):
    lab.daemon.start()
    browser = Browser(lab, "laptop")
    code = lab.daemon.json("setup-code")["code"]
    assert browser.call("POST", "/api/v1/setup", {"code": code, "user": "admin", "password": PASSWORD})[0] == 204
    kill_and_start(lab)
    assert browser.call("POST", "/api/v1/login", {"user": "admin", "password": PASSWORD})[0] == 204

    lab.daemon.ns.run(CORDON, "--socket", lab.daemon.socket, "passwd", "eve", "--role", "viewer", stdin=PASSWORD + "\n")
    kill_and_start(lab)
    assert browser.call("POST", "/api/v1/login", {"user": "eve", "password": PASSWORD})[0] == 204

    key = lab.daemon.cordon("api-key", "robot").stdout.strip()
    kill_and_start(lab)
    assert browser.call("GET", "/api/v1/status", None, "-b", "none", "-H", f"Authorization: Bearer {key}")[0] == 200
    lab.daemon.cordon("api-key", "robot", "--remove")
    kill_and_start(lab)
    assert browser.call("GET", "/api/v1/status", None, "-b", "none", "-H", f"Authorization: Bearer {key}")[0] == 401


def test_a_full_disk_is_said_and_not_acknowledged(lab):
    lab.daemon.state.mkdir()
    lab.gateway.run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", lab.daemon.state)
    lab.daemon.start()
    lab.enrolled("cam-1")
    wait_until(lambda: states(lab).get("cam-1") == "approved", 10, "the device")
    lab.gateway.run("dd", "if=/dev/zero", f"of={lab.daemon.state}/ballast", "bs=64k", check=False)
    for args in (("approve", "cam-1", "--name", "n" * 60), ("quarantine", "cam-1"), ("grant", "cam-1", "a", "pub")):
        refused = wait_until(lambda: refusal(lab, args), 10, f"a refusal of {args}")
        assert refused.startswith("cordon: cam-1 ") and "the database failed" in refused, refused
        assert len(refused.splitlines()) == 1, refused
    lab.gateway.run("rm", f"{lab.daemon.state}/ballast")
    for args in (("approve", "cam-1", "--name", "again"), ("quarantine", "cam-1"), ("grant", "cam-1", "a", "pub")):
        lab.daemon.cordon(*args)
    kill_and_start(lab)
    device = lab.daemon.device("cam-1")
    assert device["name"] == "again" and device["quarantine"] and lab.daemon.json("grants", "cam-1")


def refusal(lab, args):
    """What the command said, when it was refused; a page of the log may still have had room."""
    done = lab.daemon.cordon(*args, check=False)
    return done.returncode == 1 and done.stderr
