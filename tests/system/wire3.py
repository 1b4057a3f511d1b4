# SPDX-License-Identifier: GPL-2.0-only
"""The packets of wire.py in the form of MQTT 3.1.1, and the one answer that it has to a wrong one."""

from functools import partial

import wire

connect, publish = partial(wire.connect, version=4), partial(wire.publish, version=4)
subscribe, unsubscribe = partial(wire.subscribe, version=4), partial(wire.unsubscribe, version=4)

ILL_FORMED = {
    "first surrogate": b"\xed\xa0\x80", "last surrogate": b"\xed\xbf\xbf", "overlong": b"\xc0\xaf",
    "past U+10FFFF": b"\xf4\x90\x80\x80", "cut off": b"\xe2\x82", "a lone continuation": b"\x80", "FF": b"\xff",
}


def closes(desk, *packets):
    """A connected client that sends this is closed without a word."""
    client = desk.client()
    client.send(*packets)
    client.closed_for()


def closes_fresh(desk, *packets):
    """So is one that begins with this."""
    client = desk.open()
    client.send(*packets)
    client.closed_for()
