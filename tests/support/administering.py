"""What tests of administrators' orders share: a device in the register, what the hub says of it, and whether its leaf is let in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from edgeagent import subjects, wire
from edgeagent.direct import read_all
from edgeagent.fleet import Fleet
from edgeagent.hub import register
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.roles import PersonRole
from edgeagent.link import Client, connect
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials
from tests.support.fleet import LiveFleet
from tests.support.rogue import Rogue

__all__ = ["as_the_hub", "events", "inside", "let_in", "person", "record", "registered"]


def inside(hub: LiveFleet) -> AbstractAsyncContextManager[Client]:
    """A connection to the account HUB."""
    return as_the_hub(hub.hub.path, hub.url)


@asynccontextmanager
async def as_the_hub(folder: Path, url: str) -> AsyncIterator[Client]:
    """The same for the hub in ``folder``, whose clients' port is at ``url``."""
    login = Keyring.load(folder).service_credentials("hub")
    client = await connect(url, what="reach the hub", name="test", inbox_prefix="_INBOX.test", jwt=creds.callbacks(login))
    try:
        yield client
    finally:
        await client.close()


async def registered(hub: LiveFleet, device: str, *groups: str) -> Credentials:
    login = Keyring.load(hub.hub.path).device_credentials(device, groups)
    async with inside(hub) as client:
        await register.add(client, register.record_of(login, groups))
    return login


async def record(hub: LiveFleet, device: str) -> wire.DeviceRecord:
    async with inside(hub) as client:
        found = await register.find(client, device)
    assert found is not None
    return found[0]


async def events(device: str) -> list[str]:
    """The kinds of the hub's events that are about ``device``."""
    async with Fleet() as fleet:
        found = [
            wire.decode(item.data, wire.Event) async for item in read_all(fleet.client, "EDGE_EVENTS", "edge.from.hub.event.*")
        ]
    return [event.kind for event in found if event.data.get("id") == device]


async def let_in(hub: LiveFleet, login: Credentials) -> bool:
    async with await Rogue.connect(hub.hub.options().leaf_port, login) as rogue:
        return await rogue.settle()


async def person(hub: LiveFleet, name: str, role: PersonRole) -> Client:
    login = hub.owner.operator_credentials(name, role)
    return await connect(
        hub.url,
        what="reach the hub",
        name=name,
        inbox_prefix=subjects.operator_inbox(name),
        jwt=creds.callbacks(login),
        reconnect=False,
    )
