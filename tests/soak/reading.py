"""What the hub has at the end of a run, and what the devices have: for the judges."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from edgeagent import subjects, wire
from edgeagent.assembly.hublogin import sign_in
from edgeagent.command import Result, is_final
from edgeagent.config import Document
from edgeagent.direct import read_all
from edgeagent.fleet.commandentry import log_entry
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring
from edgeagent.link import Client
from edgeagent.patterns.forwardchunks import Kind
from edgeagent.trust.signed import peek
from tests.soak.judging import Order
from tests.soak.site import Site, SoakDevice
from tests.support import chaosactions
from tests.support.chaos import journal_of
from tests.support.chaosjudge import Device, Record, Sent, line_of, meant
from tests.support.forwarding import in_order, kept

__all__ = ["Record", "commands", "has_ended", "notes", "numbers", "reading", "union", "with_journals"]

_PREFIX = "$JS.API"
_CONFIG = f"$KV.{subjects.CONFIG_BUCKET}.>"


@asynccontextmanager
async def reading(place: HubFolder) -> AsyncIterator[Client]:
    """A connection that may read everything. Raises EdgeError."""
    hub = await sign_in(place, Keyring.load(place.path), "hub")
    try:
        yield hub
    finally:
        await hub.close()


async def numbers(hub: Client, device: str, kind: Kind) -> list[int]:
    """What the hub has of a device's program, in the order of epoch and sequence; it must have stored them in the same one."""
    found = await kept(hub, device, kind)
    ordered = in_order(found)
    stored = [value for at in sorted(found) for _, _, value in found[at]]
    assert stored == ordered, f"{device} {kind.name}: stored in another order than they were measured in"
    return ordered


async def commands(hub: Client, devices: Iterable[SoakDevice], orders: Iterable[Order]) -> Record:
    """The logs, and what the devices said; journals and lines come at the end (:func:`with_journals`)."""
    record = Record({each.id: Device((each.group,), {"site": each.group}) for each in devices})
    entries = [log_entry(item) async for item in read_all(hub, "EDGE_COMMANDS", "edge.to.*.*.cmd.*", prefix=_PREFIX)]
    record.entries = [entry for entry in entries if entry]
    results: dict[str, dict[str, list[Result]]] = {name: defaultdict(list) for name in record.devices}
    async for item in read_all(hub, "EDGE_RESULTS", "edge.from.*.result.*", prefix=_PREFIX):
        result = wire.decode(item.data, Result)
        results[subjects.device_of(item.subject)][result.id].append(result)
    for name, device in record.devices.items():
        device.results = dict(results[name])
    ids = {line_of(item.entry): item.entry.id for item in record.entries if item.entry}
    record.sent = [Sent(each.id or ids.get(each.line, ""), each.line, each.scopes, each.error) for each in orders]
    return record


def union(*records: Record) -> Record:
    """What hubs have together that were one: of what several of them have, each thing once."""
    whole = Record({name: Device(each.groups, each.labels) for name, each in records[0].devices.items()})
    entries = {(item.scope, item.entry.id): item for record in records for item in record.entries if item.entry}
    whole.entries, whole.sent = list(entries.values()), records[-1].sent
    for record in records:
        for name, device in record.devices.items():
            for command, results in device.results.items():
                known = whole.devices[name].results.setdefault(command, [])
                known += [result for result in results if result not in known]
    for device in whole.devices.values():  # a hub that the device left in the midst of a command still says so
        device.results = {
            name: [each for each in found if is_final(each.state)] or found for name, found in device.results.items()
        }
    return whole


def has_ended(record: Record) -> bool:
    """Whether every command that the hub has ended on every device that it is for."""
    return all(
        (found := device.results.get(command)) and is_final(found[-1].state)
        for name, device in record.devices.items()
        for command in meant(record, name)
    )


def with_journals(record: Record, site: Site) -> None:
    """Add what is on the devices' own disks, when they run no more."""
    for each in site.devices:
        device = record.devices[each.id]
        device.lines = chaosactions.lines_of(site.programs, each.id)
        device.journal = journal_of(each.folder, list(device.results))


async def notes(hub: Client, *, copies: bool) -> list[str]:
    """Those of all changes of the configuration, as the hub's own copy has them.

    copies: whether a change that stands there twice, byte for byte, counts twice. nats-server copies a stream once more that was made anew
    (of a backup): to its mind it is another one.
    """
    found = [(item.subject, item.data) async for item in read_all(hub, "EDGE_AUDIT", _CONFIG, prefix=_PREFIX)]
    found = found if copies else list(dict.fromkeys(found))
    return [wire.decode(peek(data).body.encode(), Document).note for _, data in found]


def rows(text: str) -> list[dict[str, Any]]:
    """What ``config status --json`` printed."""
    found: list[dict[str, Any]] = json.loads(text)
    return found
