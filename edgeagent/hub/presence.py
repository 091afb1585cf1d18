"""Who is connected, kept in KV ``edge_presence``: written from the servers' own events, and put right by looking at their connections.

The identity in an event is the JWT's, which the server checked; a leaf's name is not (anyone may take any name). When events were
missed, a connection is known by its literal subscription to ``edge.to.device.<id>.query``, which only that device may make.

Several hub processes may do this at once: every write is a compare-and-set, and all of them come to the same result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from edgeagent import wire
from edgeagent.errors import EdgeError
from edgeagent.hub.visitors import Visitor
from edgeagent.subjects import VISITING, is_id
from edgeagent.times import parse_rfc3339
from edgeagent.trust import jwt

__all__ = [
    "Event",
    "Leaf",
    "connected",
    "disconnected",
    "owned",
    "read_event",
    "read_leafz",
    "read_visitor",
    "reconciled",
    "twins",
]

#: The reason we give for the end of a connection whose event was missed.
UNKNOWN = "unknown"
#: Anybody may call a leaf anything, and link as often as the own login allows; a presence must stay small.
MAX_NAME_CHARACTERS, MAX_TWINS = 128, 8
#: What is kept may be so much newer than what is heard, in seconds: events of several servers overtake each other. What claims to
#: be from later still was written by a clock that was wrong, and must not stand until its time has come.
FUTURE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """A leaf node came or went. connection: ``<server id>:<client id>``. time: RFC 3339, the server's clock. server: its name."""

    device: str
    connection: str
    online: bool
    time: str
    address: str = ""
    reason: str = ""
    server: str = ""


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A leaf node that a server lists.

    device: None unless its subscriptions tell, or :func:`owned`. name: what its server calls itself; not checked by anybody.
    is_hub: it claims to be our hub.
    """

    connection: str
    device: str | None = None
    name: str = ""
    address: str = ""
    is_hub: bool = False


def read_event(subject: str, data: bytes) -> Event | None:
    """Read ``$SYS.ACCOUNT.<account>.CONNECT`` or ``.DISCONNECT``; None if it is not about a device's leaf node."""
    event = json.loads(data)
    client, server = event.get("client", {}), event.get("server", {})
    device = _name(client.get("jwt", ""))
    if client.get("kind") != "Leafnode" or not is_id(device):
        return None
    return Event(
        device=device,
        connection=f"{server.get('id')}:{client.get('id')}",
        online=subject.endswith(".CONNECT"),
        time=str(event.get("timestamp", "")),
        address=_plain(client.get("host", "")),
        reason=_plain(event.get("reason", "")),
        server=str(server.get("name", "")),
    )


def read_visitor(data: bytes) -> Visitor | None:
    """Read a CONNECT or DISCONNECT of the account PROVISION; None if it is not a leaf node's."""
    event = json.loads(data)
    client = event.get("client", {})
    read = _claims(client.get("jwt", ""))
    if client.get("kind") != "Leafnode" or not read.get("sub"):
        return None
    connection = f"{event.get('server', {}).get('id')}:{client.get('id')}"
    # Renewal logins never end.
    return Visitor(connection, str(read["sub"]), str(read.get("name", "")), claims="exp" in read)


def _name(token: str) -> str:
    """The name in the JWT that the server let in; its own field ``name_tag`` holds the account's name instead (2.15.1)."""
    return str(_claims(token).get("name", ""))


def _claims(token: str) -> jwt.Claims:
    try:
        return jwt.claims(token)
    except EdgeError:
        return {}


def _plain(text: object) -> str:
    """What somebody else chose, fit for a line of a log: printable ASCII, and not long."""
    return re.sub(r"[^\x20-\x7e]", "?", str(text)[:MAX_NAME_CHARACTERS])


def read_leafz(data: bytes) -> tuple[str, list[Leaf]]:
    """Read one server's answer to LEAFZ: its id and its leaf nodes."""
    answer = json.loads(data)
    server = str(answer.get("server", {}).get("id", ""))
    leafs = (answer.get("data") or {}).get("leafs") or []
    return server, [
        Leaf(
            connection=f"{server}:{leaf.get('id')}",
            # What one that claims to be the hub subscribes to is checked by nobody: it would be taken for its victim.
            device=None if leaf.get("is_spoke") else _device_of(leaf),
            name=_plain(leaf.get("name", "")),
            address=_plain(leaf.get("ip", "")),
            is_hub=bool(leaf.get("is_spoke")),
        )
        for leaf in leafs
    ]


def _device_of(leaf: dict[str, Any]) -> str | None:
    for subject in leaf.get("subscriptions_list") or []:
        tokens = subject.split(".")
        if tokens[:3] == ["edge", "to", "device"] and tokens[4:] == ["query"] and is_id(tokens[3]):
            return str(tokens[3])
    return None


def owned(leafs: list[Leaf], owners: Mapping[str, str]) -> list[Leaf]:
    """The same with the devices that are known by their events. owners: connection -> device."""
    return [replace(leaf, device=owners.get(leaf.connection, leaf.device)) for leaf in leafs]


def twins(leafs: list[Leaf], counted: Mapping[str, str]) -> dict[str, list[str]]:
    """``{device: the names of its other leafs}`` for every device that is connected several times under different names.

    counted: device -> the connection that counts. One name twice is an ordinary reconnect whose first link is not known to be dead yet;
    a device that looks whether another address leads to its hub calls itself by its own name and :data:`VISITING`.
    """
    names: dict[str, dict[str, str]] = {}
    for leaf in leafs:
        if leaf.device and leaf.name:
            names.setdefault(leaf.device, {})[leaf.connection] = leaf.name.removesuffix(VISITING)
    found = {}
    for device, by_connection in names.items():
        own = by_connection.get(counted.get(device, ""), next(iter(by_connection.values())))
        if others := sorted(set(by_connection.values()) - {own}):
            found[device] = others[:MAX_TWINS]
    return found


def connected(now: wire.Presence | None, event: Event) -> wire.Presence | None:
    """The presence after a CONNECT, None when it changes nothing.

    One that is older than what is known changes nothing either: its own end may have been written over, so only looking can tell.
    """
    if now and now.connection == event.connection:
        return None
    if now and _newer(now.since, event.time):
        return None
    return _after(now, online=True, since=event.time, connection=event.connection, address=event.address)


def _after(now: wire.Presence | None, **changes: Any) -> wire.Presence:
    """A new presence; whether the device has twins only looking can tell."""
    return wire.Presence(**changes, twins=now.twins if now else [])


def disconnected(now: wire.Presence | None, event: Event) -> wire.Presence | None:
    """The presence after a DISCONNECT, None when it changes nothing: another connection took over, or it is known already.

    The end of a connection that we never saw begin, later than what is known, is news: its CONNECT was missed or is still to come.
    """
    if now and now.connection != event.connection and (now.online or _newer(now.since, event.time)):
        return None
    if now and now.connection == event.connection and not now.online and now.reason != UNKNOWN:
        return None
    reason = event.reason or UNKNOWN
    return _after(now, online=False, since=event.time, connection=event.connection, address=event.address, reason=reason)


def reconciled(now: dict[str, wire.Presence], leafs: list[Leaf], time: str) -> dict[str, wire.Presence]:
    """What must be written so that presence agrees with what the servers list.

    time: when they were asked, by their clock. What changed after that is newer than the lists, and left alone.
    """
    listed = {leaf.connection for leaf in leafs}
    by_device = {leaf.device: leaf for leaf in leafs if leaf.device}
    changes = {}
    newer = {device for device, presence in now.items() if _newer(presence.since, time)}
    for device, presence in now.items():
        if device not in newer and presence.online and presence.connection not in listed and device not in by_device:
            changes[device] = _after(
                presence, online=False, since=time, connection=presence.connection, address=presence.address, reason=UNKNOWN
            )
    for device, leaf in by_device.items():
        kept = now.get(device)
        if device not in newer and (kept is None or not kept.online or kept.connection not in listed):
            changes[device] = _after(kept, online=True, since=time, connection=leaf.connection, address=leaf.address)
    return _with_twins(now, changes, twins(leafs, {device: known.connection for device, known in {**now, **changes}.items()}))


def _with_twins(
    now: dict[str, wire.Presence], changes: dict[str, wire.Presence], found: dict[str, list[str]]
) -> dict[str, wire.Presence]:
    for device, presence in {**now, **changes}.items():
        if presence.twins != found.get(device, []):
            changes[device] = msgspec.structs.replace(presence, twins=found.get(device, []))
    return changes


def _newer(kept: str, heard: str) -> bool:
    """Whether ``kept`` is later than ``heard``, and believably so."""
    return 0 < (parse_rfc3339(kept) - parse_rfc3339(heard)).total_seconds() <= FUTURE_SECONDS
