"""Addresses of names, asked without blocking: the interpreter's own getaddrinfo holds everything up for longer than the watchdog waits.

Names below .local are asked of the network itself (multicast DNS), all others of the DNS server.
"""

import os
import socket

import udp

_MDNS = "224.0.0.251"
_TRIES = (1, 2, 3)  # seconds


class Unknown(OSError):
    """There is no address for the name, for now."""


def is_address(host):
    parts = host.split(".")
    return len(parts) == 4 and all(each.isdigit() and int(each) < 256 for each in parts)


async def resolve(host, server="", port=0):
    """The IPv4 address of a name. server: the DNS server's address; none: the system is asked, which may block. port: if it is another than usual."""
    if host == "localhost":
        return "127.0.0.1"
    if is_address(host):
        return host
    is_local = host.rstrip(".").endswith(".local")
    if not (server or is_local):
        return _of_system(host)
    number = os.urandom(2)
    asked = question(number, host, unicast=is_local)
    to = (_MDNS, port or 5353) if is_local else (server, port or 53)
    numbers = (
        (number, b"\0\0") if is_local else (number,)
    )  # multicast answers have none; of a server's it is the proof that it was asked
    answer = await udp.ask(to, asked, lambda data: data[:2] in numbers and len(data) >= 12 and data[2] & 0x80, _TRIES)
    found = address_in(answer, host) if answer else None
    if found is None:
        why = "the network knows no such name" if answer else "nobody answers at %s" % to[0]
        raise Unknown("cannot find %s: %s; an address instead of the name works without" % (host, why))
    return found


def _of_system(host):
    try:
        where = socket.getaddrinfo(host, 0, socket.AF_INET)[0][4]
    except OSError:
        raise Unknown("cannot find %s: the system knows no such name" % host) from None
    return where[0] if isinstance(where, tuple) else ".".join(str(each) for each in where[4:8])


def question(number, host, unicast=False):
    """A query for the IPv4 address. Raises Unknown for a name that is none."""
    labels = [each.encode() for each in host.rstrip(".").split(".")]
    if not all(0 < len(each) < 64 for each in labels):
        raise Unknown("cannot find %s: it is no name" % host)
    name = b"".join(bytes([len(each)]) + each for each in labels)
    return number + b"\x01\0\0\x01\0\0\0\0\0\0" + name + b"\0\0\x01" + (b"\x80\x01" if unicast else b"\0\x01")


def address_in(data, host):
    """The first IPv4 address in an answer; None: it has none, or makes no sense."""
    try:
        at = 12
        for _ in range(int.from_bytes(data[4:6], "big")):
            at = _after_name(data, at) + 4
        for _ in range(int.from_bytes(data[6:8], "big")):
            at = _after_name(data, at)
            length = int.from_bytes(data[at + 8 : at + 10], "big")
            if data[at : at + 2] == b"\0\x01" and length == 4 and len(data) >= at + 14:
                return ".".join(str(each) for each in data[at + 10 : at + 14])
            at += 10 + length
    except IndexError:
        pass
    return None


def _after_name(data, at):
    while True:
        length = data[at]
        if length >= 0xC0:
            return at + 2
        at += 1 + length
        if not length:
            return at
