from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from nats.aio.client import Client

from edgeagent import direct, wire
from edgeagent.errors import EdgeError, Refused
from edgeagent.hub import register
from edgeagent.hub.keyring import Keyring
from tests.support.accounts import AccountsServer, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("register")) as server:
        yield server


@pytest.fixture
async def hub(server: AccountsServer) -> AsyncIterator[Client]:
    await server.make_stream("KV_edge_devices", "$KV.edge_devices.>")
    client = await server.connect("HUB")
    yield client
    await client.close()


async def kept(hub: Client) -> list[wire.DeviceRecord]:
    found = direct.read_all(hub, "KV_edge_devices", "$KV.edge_devices.>", prefix="$JS.API")
    return [wire.decode(item.data, wire.DeviceRecord) async for item in found]


async def test_a_device_is_added_once(hub: Client) -> None:
    first = wire.DeviceRecord(id="pi-01", groups=["b", "a"], key="U1")
    await register.add(hub, first)
    with pytest.raises(Refused, match="cannot add pi-01: there is a device of that id already"):
        await register.add(hub, wire.DeviceRecord(id="pi-01", key="U2"))
    await register.add(hub, wire.DeviceRecord(id="pi-02"))
    assert [(record.id, record.key, record.groups) for record in await kept(hub)] == [
        ("pi-01", "U1", ["b", "a"]),
        ("pi-02", "", []),
    ]


async def test_of_two_who_write_at_once_one_is_refused(hub: Client) -> None:
    # As if both had looked before either wrote.
    assert await register._store(hub, wire.DeviceRecord(id="pi-01", key="U1"), 0, "add pi-01")
    assert not await register._store(hub, wire.DeviceRecord(id="pi-01", key="U2"), 0, "add pi-01")
    found = await register.find(hub, "pi-01")
    assert found and found[0].key == "U1"
    await register.replace(hub, wire.DeviceRecord(id="pi-01", key="U3"), found[1])
    with pytest.raises(Refused, match=r"cannot renew pi-01: somebody changed it just now\. Try again"):
        await register.replace(hub, wire.DeviceRecord(id="pi-01", key="U4"), found[1])
    assert [record.key for record in await kept(hub)] == ["U3"]
    assert await register.find(hub, "pi-02") is None


async def test_without_the_bucket_it_says_so(server: AccountsServer) -> None:
    fleet = await server.connect("FLEET")  # an account without JetStream
    try:
        with pytest.raises(EdgeError, match="cannot read"):
            await register.add(fleet, wire.DeviceRecord(id="pi-01"))
    finally:
        await fleet.close()


def test_the_record_is_what_the_credentials_say(tmp_path_factory: pytest.TempPathFactory) -> None:
    login = Keyring.create(tmp_path_factory.mktemp("hub")).device_credentials("pi-01", ["berlin", "kitchen"])
    record = register.record_of(login, login.groups)
    assert (record.id, record.groups, record.key) == ("pi-01", ["berlin", "kitchen"], login.public_key)
    assert (record.issued_at, record.expires_at, record.revoked) == (login.issued_at, login.expires_at, False)
    assert record.added.endswith("Z")
