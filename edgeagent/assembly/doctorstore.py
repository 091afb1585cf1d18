"""Whether the hub's store has room, and takes what is written: checks for `edgeagent hub doctor`, and for the running services."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

from edgeagent.assembly.findings import Finding
from edgeagent.assembly.hubservices import sign_in
from edgeagent.errors import EdgeError
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring, Service
from edgeagent.hub.storekeeper import stores
from edgeagent.hub.storestate import ServerStore, is_full, is_low, limits_sum, room_problem
from edgeagent.hub.streams import STREAMS
from edgeagent.leaf.storelimit import Disk, disk_of, used_bytes
from edgeagent.link import Client, request

__all__ = ["disk_finding", "fill_findings", "limits", "limits_finding", "store", "store_disk", "store_findings", "streams_fill"]

#: Of a stream that refuses what it has no room for: somebody should make room, and: soon nobody can write.
WARN_FILL, WRONG_FILL = 0.8, 0.95
_FREE = "free some space on it (`df -h`); what met the full disk goes on by itself within a minute"


async def store_disk(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether the disk of the store has room."""
    return [disk_finding(disk_of(place.path))]


def disk_finding(disk: Disk) -> Finding:
    """The same of a disk."""
    text = f"store disk   {disk.free >> 20} MiB are free of {disk.size >> 20} MiB"
    if is_full(disk):
        return Finding("wrong", f"{text}: it is full, and what is written next is refused", _FREE)
    if is_low(disk):
        return Finding("warn", f"{text}: nearly full", f"{_FREE}, before it is full: then nobody can write")
    return Finding("good", text)


async def limits(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether the disk has room for all that the streams may take."""
    store = place.path / "store"
    used = await asyncio.to_thread(used_bytes, store)
    return [limits_finding(place, options, disk_of(place.path), used)]


def limits_finding(place: HubFolder, options: HubOptions, disk: Disk, used: int) -> Finding:
    """The same of a disk on which the store takes ``used`` bytes."""
    total = limits_sum(options.store_max_bytes)
    problem = room_problem(total, disk, used)
    if problem is None:
        return Finding("good", f"store limits all streams together may take {total >> 20} MiB, and there is room for them")
    kind, why = problem
    if kind == "never":
        fitting = largest_store(disk) >> 20
        remedy = f"lower `store_max_bytes` in {place.options_file} to at most {fitting} MiB, or give the hub a larger disk"
        return Finding("wrong", f"store limits {why}: it will run full", remedy)
    remedy = f"make room on its disk, or lower `store_max_bytes` in {place.options_file}: else it may run full"
    return Finding("warn", f"store limits {why}", remedy)


def largest_store(disk: Disk) -> int:
    """The largest ``store_max_bytes`` whose limits fit on such a disk."""
    return int(disk.size * 0.8 / (limits_sum(1 << 30) / (1 << 30)))


async def store(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether every server's store takes what is written. Nothing when nobody answers: another check says so."""
    async with _signed_in(place, "sys") as system:
        return store_findings(await stores(system, 1)) if system else []


def store_findings(servers: list[ServerStore]) -> list[Finding]:
    """The same of what servers said of themselves."""
    bad = [each for each in servers if not each.is_good]
    remedy = (
        "free space on its disk, if it is full: `edgeagent hub up` restarts nats-server then, within a minute; "
        "else see its server.log, and `dmesg | tail`"
    )
    found = [Finding("wrong", f"store        {each.server} takes nothing: {each.why}", remedy) for each in bad]
    return found or [Finding("good", "store        takes what is written")]


async def streams_fill(place: HubFolder, options: HubOptions) -> list[Finding]:
    """How full the streams are. Nothing when nobody answers: another check says so."""
    async with _signed_in(place, "hub") as hub:
        return fill_findings([await _fill(hub, stream.name) for stream in STREAMS]) if hub else []


async def _fill(hub: Client, name: str) -> tuple[str, int, int, int]:
    answer = json.loads((await request(hub, f"$JS.API.STREAM.INFO.{name}", what=f"look at the stream {name}")).data)
    if "error" in answer:
        return name, 0, 0, 0
    state = answer["state"]
    return name, state["bytes"], answer["config"]["max_bytes"], max(0, state["first_seq"] - 1)


def fill_findings(fills: list[tuple[str, int, int, int]]) -> list[Finding]:
    """The same of streams: name, bytes used, limit, how many of the oldest are gone."""
    refusing = {stream.name for stream in STREAMS if stream.refuse_when_full}
    found = []
    for name, used, limit, gone in fills:
        part = used / limit if limit else 0.0
        text = f"stream       {name} is full by {part:.0%} ({used >> 20} of {limit >> 20} MiB)"
        if name in refusing and part >= WARN_FILL:
            level = "wrong" if part >= WRONG_FILL else "warn"
            remedy = "raise `store_max_bytes` in hub.toml, on a disk that has room; when it is full, nothing more is taken there"
            found.append(Finding("wrong" if level == "wrong" else "warn", text, remedy))
        elif name not in refusing and part >= WRONG_FILL:
            found.append(Finding("good", f"{text}: the oldest go, {gone} until now"))
    fullest = max((used / limit for _, used, limit, _ in fills if limit), default=0.0)
    return found or [Finding("good", f"streams      the fullest has {fullest:.0%} of what it may take")]


@contextlib.asynccontextmanager
async def _signed_in(place: HubFolder, service: Service) -> AsyncIterator[Client | None]:
    """A connection to the hub of this machine, None when it can't be had."""
    client: Client | None = None
    with contextlib.suppress(EdgeError):
        client = await sign_in(place, Keyring.load(place.path), service)
    try:
        yield client
    finally:
        if client is not None:
            with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
                await client.close()
