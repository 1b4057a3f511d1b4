# SPDX-License-Identifier: GPL-2.0-only
"""What a device does is learned, and then all that it may do; by addresses, names, rates, and as a MUD file."""

import copy
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import mud
from lab import CLOUD4, GATEWAY4, run, wait_until

WEB, OTHER = 8000, 8001  # of the server on the Internet
LATER4 = "10.77.9.2"     # where the server's name leads to one day


@pytest.fixture
def site(lab):
    """A gateway that forwards, a device with a route, two servers behind it."""
    lab.gateway.sysctl("net.ipv4.ip_forward", 1)
    lab.cloud.run("ip", "route", "add", "192.168.77.0/24", "via", "10.77.0.1")
    lab.cloud.run("ip", "address", "add", f"{LATER4}/32", "dev", "lo")
    lab.gateway.run("ip", "route", "add", f"{LATER4}/32", "via", CLOUD4)
    for port in (WEB, OTHER):
        lab.cloud.popen("python3", "-m", "http.server", port, "--bind", "0.0.0.0", cwd=lab.pki.dir,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lab.daemon.start()
    lab.cam = lab.enrolled("cam")
    lab.cam.run("ip", "route", "add", "default", "via", GATEWAY4)
    lab.cam.publish("d/cam/x", "hello")
    wait_until(lambda: lab.daemon.device("cam")["addresses"]["mac"] == [lab.cam.mac], 15, "the binding")
    wait_until(lambda: fetches(lab.cam, WEB) and fetches(lab.cam, OTHER), 15, "the servers")
    return lab


def fetches(device, port, host=CLOUD4):
    return device.run("curl", "-sS", "-o", "/dev/null", "--max-time", 2, f"http://{host}:{port}/broker.pem",
                      check=False).returncode == 0


def profile(lab, id_="cam"):
    return lab.daemon.json("profile", id_)


def talks(lab):
    return {(c["direction"], c["protocol"], c["peer"], c["port"]) for c in profile(lab)["learned"]["conversations"]}


def events(lab, kind):
    return [e for e in lab.daemon.json("events", "--limit", "500") if e.get("kind") == kind]


def learn(lab, *doings):
    lab.daemon.cordon("profile", "cam", "learn")
    for doing in doings:
        assert doing()
    wait_until(lambda: ("from-device", 6, CLOUD4, WEB) in talks(lab), 15, "what it did")


def test_learned_then_enforced_all_else_is_dropped(site):
    learn(site, lambda: fetches(site.cam, WEB))
    said = site.daemon.cordon("profile", "cam", "enforce").stdout
    assert "is enforced" in said, said
    assert fetches(site.cam, WEB), "what it did when it was learned, it may do"
    assert not fetches(site.cam, OTHER), "and nothing else"
    assert not site.cam.ping(CLOUD4)
    site.cam.publish("d/cam/x", "the gateway's own service is always there")
    wait_until(lambda: events(site, "departure"), 10, "the departure to be told")
    site.daemon.cordon("profile", "cam", "off")
    assert fetches(site.cam, OTHER) and site.cam.ping(CLOUD4)


def test_reported_is_not_dropped(site):
    learn(site, lambda: fetches(site.cam, WEB))
    site.daemon.cordon("profile", "cam", "report")
    assert fetches(site.cam, WEB) and fetches(site.cam, OTHER)
    wait_until(lambda: events(site, "departure"), 10, "the departure to be told")


def test_nobody_opens_to_it_what_it_opened_itself(site):
    """A server that it fetched from does not reach it from that port (RFC 8520 §3.15)."""
    site.cam.popen("python3", "-m", "http.server", 8080, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    opens = ("curl", "-sS", "-o", "/dev/null", "--max-time", 2, f"http://{site.cam.ip4}:8080/")
    wait_until(lambda: site.cloud.run(*opens, check=False).returncode == 0, 10, "the device's own server")
    learn(site, lambda: fetches(site.cam, WEB))
    site.daemon.cordon("profile", "cam", "enforce")
    assert fetches(site.cam, WEB)
    assert site.cloud.run(*opens, check=False).returncode != 0


def test_nothing_learned_is_a_clear_error(site):
    done = site.daemon.cordon("profile", "cam", "enforce", check=False)
    assert done.returncode == 1
    assert done.stderr == "cordon: The profile of cam was not enforced: nothing was learned or imported.\n"
    assert site.daemon.cordon("profile", "none", check=False).returncode == 1
    assert site.daemon.cordon("profile", "cam", "watch", check=False).returncode == 2


def test_learning_ends_by_itself(site):
    site.daemon.cordon("profile", "cam", "learn", "--for", "2s")
    assert fetches(site.cam, WEB)
    wait_until(lambda: any("is ready" in e["text"] for e in events(site, "profile")), 15, "the profile to be ready")
    assert profile(site)["state"] == "off"
    site.daemon.cordon("profile", "cam", "enforce")
    assert fetches(site.cam, WEB) and not fetches(site.cam, OTHER)


def test_enforced_through_deaths_of_the_worker_and_of_all(site):
    learn(site, lambda: fetches(site.cam, WEB))
    site.daemon.cordon("profile", "cam", "enforce")
    number = profile(site)["policy"]
    site.daemon.kill_worker()
    assert not fetches(site.cam, OTHER)
    site.daemon.wait_ready()
    assert not fetches(site.cam, OTHER) and fetches(site.cam, WEB)
    site.daemon.kill_both()
    assert not fetches(site.cam, OTHER) and fetches(site.cam, WEB)
    site.daemon.start()
    assert not fetches(site.cam, OTHER) and fetches(site.cam, WEB)
    assert (profile(site)["state"], profile(site)["policy"]) == ("enforcing", number)


# ---- names ----

def dns(lab, address):
    conf = lab.dir / "dns.conf"
    conf.write_text(f"no-resolv\nno-hosts\nno-poll\naddress=/www.maker.example/{address}\nlocal-ttl=60\nport=53\n"
                    f"listen-address={GATEWAY4}\nbind-interfaces\nuser=root\n")
    return lab.gateway.popen("dnsmasq", "-k", "-C", conf, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def resolves(lab):
    """As the device's resolver would: one question over UDP, the addresses of the answer."""
    ask = ("import socket,struct;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(2);"
           "q=b'\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x03www\\x05maker\\x07example\\x00\\x00\\x01\\x00\\x01';"
           f"s.sendto(q,('{GATEWAY4}',53));d=s.recv(512);print(socket.inet_ntoa(d[-4:]))")
    return lab.cam.run("python3", "-c", ask, check=False).stdout.strip()


def test_a_name_leads_where_the_answers_say(site):
    server = dns(site, CLOUD4)
    wait_until(lambda: resolves(site) == CLOUD4, 10, "DNS")
    learn(site, lambda: resolves(site) == CLOUD4, lambda: fetches(site.cam, WEB))
    wait_until(lambda: any(c["name"] == "www.maker.example" for c in profile(site)["learned"]["conversations"]), 10,
               "the name to be learned")
    site.daemon.cordon("profile", "cam", "enforce")
    peers = [p for r in profile(site)["rules"] if r["peer_ports"] == [WEB, WEB] for p in r["peers"]]
    assert {"name": "www.maker.example"} in peers, peers
    assert resolves(site) == CLOUD4 and fetches(site.cam, WEB)
    assert not fetches(site.cam, WEB, LATER4), "nobody has said that the name leads there"
    server.terminate()
    server.wait(10)
    server = dns(site, LATER4)
    wait_until(lambda: resolves(site) == LATER4, 10, "the new answer")
    wait_until(lambda: fetches(site.cam, WEB, LATER4), 5, "the new address to be let through")
    assert not fetches(site.cam, OTHER, LATER4)


# ---- limits ----

def flood(lab, packets, size=100):
    lab.cam.run("python3", "-c", f"""
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + 2
for i in range({packets}):
    s.sendto(b"x" * {size}, ("{CLOUD4}", 9))
    while i / {packets} * 2 > time.monotonic() - end + 2:
        pass
""", timeout=20)


def received(lab):
    stats = json.loads(lab.cloud.run("ip", "-s", "-j", "link", "show", "dev", "eth0").stdout)[0]["stats64"]["rx"]
    return stats["packets"]


@pytest.mark.parametrize("limit", [("--packets", "100"), ("--bytes", "20k")])
def test_a_limit_holds_a_flood(site, limit):
    before = received(site)
    flood(site, 4000)
    assert received(site) - before > 3500, "without a limit it goes through"
    site.daemon.cordon("limit", "cam", *limit)
    time.sleep(1.1)
    before = received(site)
    flood(site, 4000)
    through = received(site) - before
    assert 100 < through < 700, f"{through} of 4000 in 2 s"
    assert site.daemon.device("cam")["traffic"]
    site.daemon.cordon("limit", "cam", "--off")
    before = received(site)
    flood(site, 4000)
    assert received(site) - before > 3500


# ---- MUD files ----

def export(lab):
    file = lab.dir / "cam.mud.json"
    lab.daemon.cordon("profile", "cam", "export", "--out", file)
    return file, json.loads(file.read_text())


def is_taken(file, parsed):
    assert mud.faults(parsed) == []
    modules = os.environ.get("CORDON_YANG")  # a folder with the modules of RFC 8519 and 8520, where there is one
    if modules and shutil.which("yanglint"):
        names = ["ietf-access-control-list", "ietf-mud", "ietf-acldns"]
        paths = [next(Path(modules).glob(f"{n}*.yang")) for n in names]
        run(["yanglint", "-p", modules, "-F", "ietf-access-control-list:*", "-t", "config", *paths, file])


def test_a_file_is_what_a_mud_manager_takes(site):
    learn(site, lambda: fetches(site.cam, WEB), lambda: site.cam.ping(CLOUD4), lambda: site.cam.ping(GATEWAY4))
    site.daemon.cordon("profile", "cam", "report")
    is_taken(*export(site))


def test_every_kind_of_entry_goes_in_and_out_as_a_mud_manager_takes_it(site):
    def ports(**ends):
        return {f"{end}-port": {"lower-port": p[0], "upper-port": p[1]} for end, p in ends.items()}

    def lists(acl, kind, matches):
        return {"name": acl, "type": kind, "aces": {"ace": [
            {"name": f"e{i}", "matches": m, "actions": {"forwarding": "accept"}} for i, m in enumerate(matches)]}}

    acls = [
        lists("out4", "ipv4-acl-type", [
            {"ietf-mud:mud": {"local-networks": [None]}},
            {"ietf-mud:mud": {"my-controller": [None]}, "tcp": {}},
            {"ietf-mud:mud": {"controller": "urn:ietf:params:mud:ntp"}, "udp": ports(destination=(123, 123))},
            {"ipv4": {"ietf-acldns:dst-dnsname": "_x.www.maker.example", "protocol": 6},
             "tcp": {"ietf-mud:direction-initiated": "from-device", **ports(destination=(443, 443))}},
            {"ipv4": {"destination-ipv4-network": "198.51.100.0/24"}, "udp": ports(source=(1, 9), destination=(5, 70))},
            {"ipv4": {"protocol": 47}}, {"ipv4": {}, "icmp": {"type": 8}}, {"ipv4": {"protocol": 1}}]),
        lists("in4", "ipv4-acl-type", [
            {"ipv4": {"source-ipv4-network": "198.51.100.7/32"},
             "tcp": {"ietf-mud:direction-initiated": "from-device", **ports(source=(0, 1023))}}]),
        lists("out6", "ipv6-acl-type", [
            {"ipv6": {"destination-ipv6-network": "::1/128"}}, {"ipv6": {"destination-ipv6-network": "2001:db8::/32"}},
            {"ipv6": {"destination-ipv6-network": "2001:db8:1:2:3:4:5:6/128"}}, {"ipv6": {}, "icmp": {"type": 128}}]),
        lists("in6", "ipv6-acl-type", [{}])]
    head = {"mud-version": 1, "mud-url": "https://maker.example/x", "last-update": "2026-01-01T00:00:00Z",
            "is-supported": True, "mfg-name": "Maker", "model-name": "a\u0001b", "cache-validity": 168}
    for way, names in (("from", ("out4", "out6")), ("to", ("in4", "in6"))):
        head[f"{way}-device-policy"] = {"access-lists": {"access-list": [{"name": n} for n in names]}}
    file = site.dir / "every.json"
    file.write_text(json.dumps({mud.MUD: head, mud.ACLS: {"acl": acls}}))
    site.daemon.cordon("profile", "cam", "import", file)
    is_taken(*export(site))


def test_the_check_of_files_finds_faults(site):
    learn(site, lambda: fetches(site.cam, WEB))
    site.daemon.cordon("profile", "cam", "report")
    _, good = export(site)
    acl = good[mud.ACLS]["acl"][0]

    def spoiled(change):
        file = copy.deepcopy(good)
        change(file[mud.MUD], file[mud.ACLS]["acl"][0], file[mud.ACLS]["acl"][0]["aces"]["ace"][0])
        return mud.faults(file)

    assert mud.faults(good) == [] and acl["aces"]["ace"]
    assert spoiled(lambda head, acl, ace: head.pop("mud-url"))
    assert spoiled(lambda head, acl, ace: head.update({"cache-validity": 169}))
    assert spoiled(lambda head, acl, ace: head.update({"colour": "red"}))
    assert spoiled(lambda head, acl, ace: acl.update(name="other"))
    assert spoiled(lambda head, acl, ace: acl.update(type="eth-acl-type"))
    assert spoiled(lambda head, acl, ace: ace["actions"].update(forwarding="pass"))
    assert spoiled(lambda head, acl, ace: ace["matches"].update(tcp={"destination-port": {"port": 70000}}))
    assert spoiled(lambda head, acl, ace: ace["matches"].setdefault("ipv4", {}).update(colour=1))
    assert spoiled(lambda head, acl, ace: ace["matches"].setdefault("ipv4", {}).update({"source-ipv4-network": "10.0.0.1/32"}))


def test_a_file_goes_out_and_in_again(site):
    learn(site, lambda: fetches(site.cam, WEB))
    site.daemon.cordon("profile", "cam", "report")
    before = profile(site)["rules"]
    file, _ = export(site)
    site.daemon.cordon("profile", "cam", "forget")
    assert profile(site)["rules"] == []
    assert "is what the file says" in site.daemon.cordon("profile", "cam", "import", file).stdout
    assert profile(site)["rules"] == before and profile(site)["state"] == "off"
    site.daemon.cordon("profile", "cam", "enforce")
    assert fetches(site.cam, WEB) and not fetches(site.cam, OTHER)


def test_a_file_that_cannot_be_kept_changes_nothing(site):
    bad = site.dir / "bad.json"
    bad.write_text(json.dumps({mud.MUD: {
        "mud-version": 1, "mud-url": "https://maker.example/x", "last-update": "2026-01-01T00:00:00Z",
        "is-supported": True, "from-device-policy": {"access-lists": {"access-list": [{"name": "out"}]}}},
        mud.ACLS: {"acl": [{"name": "out", "type": "ipv4-acl-type", "aces": {"ace": [
            {"name": "kin", "matches": {"ietf-mud:mud": {"same-manufacturer": [None]}},
             "actions": {"forwarding": "accept"}}]}}]}}))
    done = site.daemon.cordon("profile", "cam", "import", bad, check=False)
    assert done.returncode == 1 and re.search(r'list "out", entry "kin".*same-manufacturer', done.stderr), done.stderr
    assert profile(site)["rules"] == []
    bad.write_text("no JSON")
    assert site.daemon.cordon("profile", "cam", "import", bad, check=False).returncode == 1


def test_a_viewer_reads_and_does_not_change(site):
    key = site.daemon.json("api-key", "reader", "--role", "viewer")["key"]

    def call(method, path, body="{}"):
        return int(site.gateway.run("curl", "-sSk", "-o", "/dev/null", "-w", "%{http_code}", "-X", method,
                                    "-H", f"Authorization: Bearer {key}", "-H", "content-type: application/json",
                                    *([] if method == "GET" else ["-d", body]),
                                    f"https://127.0.0.1/api/v1/devices/cam/{path}").stdout)

    assert call("GET", "profile") == 200
    assert call("GET", "profile/mud") == 404
    for deed in ("learn", "report", "enforce", "off", "forget"):
        assert call("POST", f"profile/{deed}") == 403
    assert call("PUT", "profile/mud") == 403
    assert call("PUT", "limit") == 403


def test_protection_begins_and_ends_with_a_reload(site):
    learn(site, lambda: fetches(site.cam, WEB))
    site.daemon.cordon("profile", "cam", "enforce")
    assert not fetches(site.cam, OTHER)
    site.daemon.configure(quarantine={"protected": [site.cam.mac]})
    site.daemon.reload()
    wait_until(lambda: fetches(site.cam, OTHER), 10, "its liberty")
    assert "Problem" in site.daemon.cordon("profile", "cam").stdout
    for words in (("profile", "cam", "enforce"), ("profile", "cam", "learn"), ("limit", "cam", "--packets", "5")):
        refused = site.daemon.cordon(*words, check=False)
        assert refused.returncode == 1 and refused.stderr.startswith("cordon: cam is protected"), refused
    site.daemon.configure(quarantine={"protected": []})
    site.daemon.reload()
    wait_until(lambda: not fetches(site.cam, OTHER), 10, "the profile to hold again")
    assert fetches(site.cam, WEB)


def test_binding_begins_and_ends_with_a_reload(site):
    other = site.device("other")
    wait_until(lambda: other.ping(GATEWAY4), 15, "another device")
    other.run("ip", "address", "add", f"{site.cam.ip4}/32", "dev", "eth0")

    def borrows():
        """What it sends with the camera's address reaches the gateway."""
        def echos():
            return int(site.gateway.run("nstat", "-asz", "IcmpInEchos").stdout.split("IcmpInEchos")[1].split()[0])
        before = echos()
        other.run("ping", "-n", "-q", "-c", 2, "-i", "0.1", "-W", "1", "-I", site.cam.ip4, GATEWAY4, check=False)
        return echos() > before
    assert not borrows()
    for bind in (False, True):
        site.daemon.configure(isolation={"bind": bind})
        site.daemon.reload()
        wait_until(lambda bind=bind: borrows() is not bind, 10, f"bind = {bind}")
        assert site.cam.ping(GATEWAY4) or not bind, "its owner uses it"
