from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
from nats.aio.client import Client

from edgeagent import direct, wire
from edgeagent.errors import EdgeError, Refused
from edgeagent.hub import register
from edgeagent.hub.keyring import DEVICE_SECONDS
from edgeagent.hub.owner import Owner
from edgeagent.trust import jwt
from edgeagent.trust.nkeys import KeyPair
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
    assert await register.bucket(hub).put("pi-01", wire.DeviceRecord(id="pi-01", key="U1"), 0, what="add pi-01")
    assert not await register.bucket(hub).put("pi-01", wire.DeviceRecord(id="pi-01", key="U2"), 0, what="add pi-01")
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


def test_the_record_is_what_the_credentials_say() -> None:
    login = Owner.create("hub").device_credentials("pi-01", ["berlin", "kitchen"])
    record = register.record_of(login, login.groups)
    assert (record.id, record.groups, record.key) == ("pi-01", ["berlin", "kitchen"], login.public_key)
    assert (record.issued_at, record.expires_at, record.revoked) == (login.issued_at, login.expires_at, False)
    assert record.added.endswith("Z")


# ---- JWTs one after the other --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def owner() -> Owner:
    return Owner.create("berlin")


def test_a_jwt_is_issued_for_what_the_record_says(owner: Owner) -> None:
    key = KeyPair.generate("user").public
    record, token = register.issue(owner, wire.DeviceRecord(id="pi-01", groups=["b", "a"], key=key), 1000.7)
    found = jwt.decode(token, issuers=[owner.role_public("device")])
    assert (found["name"], found["sub"], found["iat"], found["nats"]["tags"]) == ("pi-01", key, 1000, ["group:b", "group:a"])
    assert (record.issued_at, record.expires_at, record.older) == (1000, 1000 + DEVICE_SECONDS, {})


def test_a_jwt_after_a_change_of_groups_is_later_than_what_is_refused(owner: Owner) -> None:
    record = wire.DeviceRecord(id="pi-01", key=KeyPair.generate("user").public, refused_until=1000)
    for now, issued_at in ((1000, 1002), (1001.9, 1002), (1003, 1003)):
        made, token = register.issue(owner, record, now)
        assert made.issued_at == jwt.claims(token)["iat"] == issued_at


def test_no_jwt_is_forgotten_while_it_counts(owner: Owner) -> None:
    first, second = KeyPair.generate("user").public, KeyPair.generate("user").public
    long = wire.DeviceRecord(id="pi-01", key=first, issued_at=1, expires_at=10 * DEVICE_SECONDS)
    renewed, _ = register.issue(owner, long, 1000)
    assert register.keys_of(renewed) == {first: 10 * DEVICE_SECONDS}, "the older JWT outlives the newer one"
    other = register.with_key(renewed, second)
    assert (other.key, register.keys_of(other)) == (second, {first: 10 * DEVICE_SECONDS})
    given, _ = register.issue(owner, other, 2000)
    assert register.keys_of(given) == {first: 10 * DEVICE_SECONDS, second: 2000 + DEVICE_SECONDS}
    later, _ = register.issue(owner, given, 10 * DEVICE_SECONDS + 1)
    assert register.keys_of(later) == {second: later.expires_at}, "what has ended need not be remembered"


def test_a_jwt_without_an_end_is_never_forgotten(owner: Owner) -> None:
    key = KeyPair.generate("user").public
    for_ever = wire.DeviceRecord(id="pi-01", key=key, issued_at=1)
    made, _ = register.issue(owner, for_ever, 1e9)
    assert made.expires_at and register.keys_of(made) == {key: 0}


def test_new_credentials_keep_all_else_of_the_record(owner: Owner) -> None:
    old = wire.DeviceRecord(
        id="pi-01", key="U1", issued_at=1, expires_at=2, labels={"a": "b"}, serial="s", added="x", refused_until=7
    )
    made = register.renewed(old, owner.device_credentials("pi-01", ["g"]), ["g"])
    assert (made.labels, made.serial, made.added, made.refused_until) == ({"a": "b"}, "s", "x", 7)
    assert made.groups == ["g"] and made.older == {"U1": 2} and made.key != "U1"


async def test_a_change_is_made_again_when_somebody_else_wrote_meanwhile(hub: Client) -> None:
    await register.add(hub, wire.DeviceRecord(id="pi-01"))

    async def label(number: int) -> None:
        def made(record: wire.DeviceRecord) -> wire.DeviceRecord:
            return msgspec.structs.replace(record, labels={**record.labels, f"label{number}": "x"})

        await register.change(hub, "pi-01", made, what="label pi-01")

    await asyncio.gather(*(label(number) for number in range(8)))
    assert sorted((await register.every(hub))["pi-01"].labels) == [f"label{number}" for number in range(8)]
    with pytest.raises(Refused, match="cannot label pi-02: there is no such device"):
        await register.change(hub, "pi-02", lambda record: record, what="label pi-02")


async def test_what_is_removed_is_gone_unless_it_was_changed_meanwhile(hub: Client) -> None:
    await register.add(hub, wire.DeviceRecord(id="pi-01"))
    found = await register.find(hub, "pi-01")
    assert found
    await register.replace(hub, wire.DeviceRecord(id="pi-01", reason="newer"), found[1])
    await register.bucket(hub).remove("pi-01", found[1], what="forget pi-01")
    kept_now = await register.find(hub, "pi-01")
    assert kept_now and kept_now[0].reason == "newer"
    await register.bucket(hub).remove("pi-01", kept_now[1], what="forget pi-01")
    assert await register.find(hub, "pi-01") is None
    await register.add(hub, wire.DeviceRecord(id="pi-01"))
