"""Whether the hub's store has room, and takes what is written: checks of `edgeagent hub doctor`, and the same for `/healthz`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

from edgeagent.assembly import storefindings
from edgeagent.assembly.findings import Finding
from edgeagent.assembly.hublogin import sign_in
from edgeagent.assembly.storefindings import Fill
from edgeagent.errors import EdgeError
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring, Service
from edgeagent.hub.storekeeper import stores
from edgeagent.hub.storestate import limits_sum
from edgeagent.hub.streams import STREAMS
from edgeagent.leaf.storelimit import disk_of, used_bytes
from edgeagent.link import Client, request

__all__ = ["disk", "fill", "limits", "takes"]


async def disk(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether the disk of the store has room."""
    return [storefindings.disk(disk_of(place.path))]


async def limits(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether the disk has room for all that the streams may take."""
    used = await asyncio.to_thread(used_bytes, place.path / "store")
    return [storefindings.limits(limits_sum(options.store_max_bytes), disk_of(place.path), used, place.options_file)]


async def takes(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether every server stores what is written. Nothing when nobody answers: another check says so."""
    size = place.cluster().size
    async with _signed_in(place, "sys") as system:
        return list(storefindings.takes(await stores(system, size), size)) if system else []


async def fill(place: HubFolder, options: HubOptions) -> list[Finding]:
    """How full the streams are. Nothing when nobody answers, or JetStream is off: other checks say so."""
    async with _signed_in(place, "hub") as hub:
        return list(storefindings.fill([await _fill(hub, stream.name) for stream in STREAMS])) if hub else []


async def _fill(hub: Client, name: str) -> Fill:
    answer = json.loads((await request(hub, f"$JS.API.STREAM.INFO.{name}", what=f"look at the stream {name}")).data)
    if "error" in answer:
        return Fill(name, 0, 0)
    state = answer["state"]
    return Fill(name, state["bytes"], answer["config"]["max_bytes"], max(0, state["first_seq"] - 1))


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
