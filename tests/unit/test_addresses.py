"""This machine's addresses, beside what psutil says of them."""

from __future__ import annotations

import socket

import psutil

from edgeagent.builtin import _addresses


def test_they_are_those_that_psutil_finds() -> None:
    found = [
        (name, each.address)
        for name, entries in psutil.net_if_addrs().items()
        for each in entries
        if each.family == socket.AF_INET
    ]
    assert ("lo", "127.0.0.1") in found
    assert sorted(_addresses.ipv4()) == sorted(found)
