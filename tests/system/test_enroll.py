# SPDX-License-Identifier: GPL-2.0-only
"""Identity with curl and openssl alone: EST by pairing code, refusals, approval by a person, renewal."""

import base64
import re
import time

import pytest

from lab import GATEWAY4, openssl, wait_until


def test_cacerts_verifies_the_gateway_itself(house):
    cam = house.device("ca-1")
    cam.fetch_ca()
    said = openssl("x509", "-in", cam.ca, "-noout", "-text").stdout
    assert "CA:TRUE" in said
    # The same CA proves the gateway under each name it goes by.
    cam.run("curl", "-sS", "--fail", "--cacert", cam.ca, f"https://{GATEWAY4}:8443/.well-known/est/cacerts")
    cam.run("curl", "-sS", "--fail", "--cacert", cam.ca, "--connect-to", f"cordon.local:8443:{GATEWAY4}:8443",
            "https://cordon.local:8443/.well-known/est/cacerts")


def test_a_pairing_code_gives_a_certificate_at_once(house):
    cam = house.enrolled("pair-1")
    openssl("verify", "-CAfile", cam.ca, cam.cert)
    text = openssl("x509", "-in", cam.cert, "-noout", "-subject", "-text").stdout
    assert re.search(r"CN ?= ?pair-1", text)
    assert "prime256v1" in text and "TLS Web Client Authentication" in text
    device = house.daemon.device("pair-1")
    assert device["state"] == "approved"


def test_a_wrong_code_is_refused(house):
    cam = house.device("wrong-1")
    cam.fetch_ca()
    house.pair()
    status, body = cam.est("0000-0000")
    assert status == 401, body
    assert house.daemon.api("GET", "/api/v1/devices/wrong-1", check=False)[0] == 404


def test_an_expired_code_is_refused(house):
    cam = house.device("late-1")
    cam.fetch_ca()
    code = house.pair(1)
    time.sleep(1.6)
    assert cam.est(code)[0] == 401


def test_a_closed_window_is_refused(house):
    cam = house.device("closed-1")
    cam.fetch_ca()
    code = house.pair()
    house.daemon.api("DELETE", "/api/v1/pairing")
    assert cam.est(code)[0] == 401


def test_without_a_code_a_person_decides(house):
    cam = house.device("ask-1")
    cam.fetch_ca()
    status, _ = cam.est(None)
    assert status == 202
    assert re.search(r"(?im)^retry-after: *\d+", (cam.dir / "headers").read_text())
    assert house.daemon.device("ask-1")["state"] == "pending"
    house.daemon.cordon("approve", "ask-1", "--name", "Asked politely", "--class", "camera")
    # The same key asks again, as RFC 7030 has it.
    request = base64.encodebytes((cam.dir / "req.der").read_bytes()).decode()
    body = cam.run("curl", "-sS", "--fail", "--cacert", cam.ca, "-H", "Content-Type: application/pkcs10",
                   "--data-binary", "@-", f"https://{GATEWAY4}:8443/.well-known/est/simpleenroll",
                   stdin=request).stdout
    cam._pkcs7(body, cam.cert)
    openssl("verify", "-CAfile", cam.ca, cam.cert)
    device = house.daemon.device("ask-1")
    assert (device["state"], device["name"], device["class"]) == ("approved", "Asked politely", "camera")


BODIES = {
    "no base64": "!!!! not base64 !!!!",
    "no request": base64.b64encode(b"\x30\x03\x02\x01\x05").decode(),
    "empty": "",
    "too long": "A" * 200_000,
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_request_is_refused(house, name):
    cam = house.devices[0] if house.devices else house.device("body-1")
    cam.fetch_ca()
    code = house.pair()
    got = cam.run("curl", "-sS", "--cacert", cam.ca, "-u", f"x:{code}", "-o", "/dev/null", "-w", "%{http_code}",
                  "-H", "Content-Type: application/pkcs10", "--data-binary", "@-",
                  f"https://{GATEWAY4}:8443/.well-known/est/simpleenroll", stdin=BODIES[name], check=False)
    assert got.stdout in ("400", "413"), got


def test_a_name_that_is_no_device_id_is_refused(house):
    cam = house.device("name-1")
    cam.fetch_ca()
    for cn in ("has space", "../../etc", "+", "mac-020000000001"):
        status, body = cam.est(house.pair(), cn=cn)
        assert status == 400, (cn, status, body)


def test_a_request_signed_by_another_key_is_refused(house):
    """Proof of possession: the signature must fit the key inside."""
    cam = house.device("pop-1")
    cam.fetch_ca()
    cam.request()
    der = bytearray((cam.dir / "req.der").read_bytes())
    der[-1] ^= 1
    code = house.pair()
    got = cam.run("curl", "-sS", "--cacert", cam.ca, "-u", f"x:{code}", "-o", "/dev/null", "-w", "%{http_code}",
                  "-H", "Content-Type: application/pkcs10", "--data-binary", "@-",
                  f"https://{GATEWAY4}:8443/.well-known/est/simpleenroll",
                  stdin=base64.encodebytes(bytes(der)).decode())
    assert got.stdout == "400"


def test_the_device_is_bound_to_its_addresses(house):
    cam = house.enrolled("bound-1")
    cam.publish("d/bound-1/x", "hello")
    cam.ping("fd77::1")

    def bound():
        a = house.daemon.device("bound-1")["addresses"]
        return cam.mac in a["mac"] and cam.ip4 in a["ipv4"]
    wait_until(bound, 15, "MAC and IPv4 at the device's record")


def test_a_revoked_certificate_is_refused(house):
    cam = house.enrolled("revoked-1")
    cam.publish("d/revoked-1/x", "before")
    house.daemon.cordon("revoke", "revoked-1")
    assert cam.publish("d/revoked-1/x", "after", check=False, timeout=3).returncode != 0
    house.daemon.cordon("forget", "revoked-1")
    assert cam.publish("d/revoked-1/x", "after", check=False, timeout=3).returncode != 0
