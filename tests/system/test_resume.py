# SPDX-License-Identifier: GPL-2.0-only
"""TLS sessions are resumed with the identity that was proved, and with what it may do now."""

import socket
import ssl

import pytest

import wire
from lab import GATEWAY4

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Visitor:
    """One device with one TLS context: what a client that keeps its session does."""

    def __init__(self, device, version, with_certificate=True):
        self.device, self.session = device, None
        self.context = ssl.create_default_context(cafile=str(device.ca))
        self.context.check_hostname = False
        self.context.minimum_version = self.context.maximum_version = version
        if with_certificate:
            self.context.load_cert_chain(str(device.cert), str(device.key))

    def visit(self, port=8883):
        with wire.inside(self.device):
            plain = socket.create_connection((GATEWAY4, port), wire.PATIENCE)
        stream = self.context.wrap_socket(plain, session=self.session)
        return wire.Client(self.device, stream=stream)

    def keep(self, client):
        self.session = client.sock.session


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_connection_is_the_same_device(house, version):
    cam = house.enrolled(f"cam-{version.name[-1]}")
    visitor = Visitor(cam, version)
    first = visitor.visit().connect("c")
    assert not first.sock.session_reused
    visitor.keep(first)
    first.leave()
    again = visitor.visit().connect("c")
    assert again.sock.session_reused
    again.publish(f"d/{cam.id}/x", b"mine", 1)
    packet_id = next(again.ids)
    again.send(wire.publish("d/other/x", b"not mine", 1, packet_id))
    assert again.take(wire.PUBACK, packet_id=packet_id).reason == wire.NOT_AUTHORIZED
    again.leave()


@pytest.mark.parametrize("version", VERSIONS)
def test_who_is_revoked_resumes_nothing(lab, version):
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    visitor = Visitor(cam, version)
    first = visitor.visit().connect("c")
    visitor.keep(first)
    first.leave()
    lab.daemon.cordon("revoke", "cam-1")
    with pytest.raises((OSError, wire.Failed)):
        visitor.visit().connect("c")


def test_a_restart_forgets_sessions(lab):
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    visitor = Visitor(cam, ssl.TLSVersion.TLSv1_3)
    first = visitor.visit().connect("c")
    visitor.keep(first)
    first.leave()
    lab.daemon.stop()
    lab.daemon.start()
    again = visitor.visit().connect("c")
    assert not again.sock.session_reused
    again.leave()


def test_a_session_without_a_certificate_opens_no_other_port(house):
    cam = house.enrolled("cam-x")
    visitor = Visitor(cam, ssl.TLSVersion.TLSv1_2, with_certificate=False)
    visitor.context.set_alpn_protocols(["http/1.1"])
    first = visitor.visit(8443)
    visitor.keep(first)
    first.close()
    with pytest.raises((OSError, wire.Failed)):
        visitor.visit(8883).connect("c")
