"""Administrators order, the hub obeys: revoke, let in again, forget, group, label; who may not; twins, and tampered leafs."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from edgeagent import subjects, wire
from edgeagent.administration import ChangeLabels, Outcomes, Person
from edgeagent.assembly import asowner
from edgeagent.assembly.people import Reached
from edgeagent.direct import get_last, read_all
from edgeagent.errors import Refused, Unreachable, UsageProblem
from edgeagent.fleet import Fleet, signers
from edgeagent.fleet.admin import Admin, connected, people
from edgeagent.hub import keyring, register
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.people import person_of
from edgeagent.link import Client, connect, request
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signers import followed
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet, cli, online
from tests.support.hub import Hub, ended, new_hub, started
from tests.support.rogue import Rogue
from tests.support.servers import until


@pytest.fixture(scope="module")
def own_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("administration"), 2) as fleet:
        yield fleet


@pytest.fixture
def hub(own_fleet: LiveFleet) -> Iterator[LiveFleet]:
    """A hub with two devices that runs for all tests here; each registers more under names of its own."""
    with own_fleet.borrowed() as fleet:
        yield fleet


@asynccontextmanager
async def inside(hub: LiveFleet) -> AsyncIterator[Client]:
    """A connection to the account HUB."""
    login = Keyring.load(hub.hub.path).service_credentials("hub")
    client = await connect(hub.url, what="reach the hub", name="test", inbox_prefix="_INBOX.test", jwt=creds.callbacks(login))
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


async def person(hub: LiveFleet, name: str, role: str) -> Client:
    login = hub.owner.operator_credentials(name, role)  # type: ignore[arg-type]  # only roles that there are
    return await connect(
        hub.url,
        what="reach the hub",
        name=name,
        inbox_prefix=subjects.operator_inbox(name),
        jwt=creds.callbacks(login),
        reconnect=False,
    )


# ---- keeping devices out ---------------------------------------------------------------------------------------------------


async def test_a_revoked_device_is_cut_off_and_goes_on_by_itself(hub: LiveFleet) -> None:
    local = await connect(hub.leaf_url("pi-01"), what="reach the leaf", name="a", inbox_prefix="_INBOX", reconnect=False)
    try:

        async def answer(message: object) -> None:
            await message.respond(b"21.5")  # type: ignore[attr-defined]  # nats-py's message

        await local.subscribe("local.sensor", cb=answer)
        said = cli("device", "revoke", "pi-01", "--reason", "stolen")
        assert (said.code, said.out) == (0, "pi-01: revoked\n")
        hub.until("pi-01 is away", lambda outcome: online(outcome) == ["pi-02"])
        assert (await local.request("local.sensor", timeout=PATIENCE_SECONDS)).data == b"21.5"
        assert local.is_connected
        shown = json.loads(cli("device", "show", "pi-01", "--json").out)
        assert (shown["state"], shown["reason"], shown["connection"]["online"]) == ("revoked", "stolen", False)
        assert "pi-01: was revoked already" in cli("device", "revoke", "pi-01").out

        assert cli("device", "unrevoke", "pi-01").out == "pi-01: let in again\n"
        hub.until("pi-01 is back", lambda outcome: online(outcome) == ["pi-01", "pi-02"])
        assert local.is_connected
    finally:
        await local.close()
    found = await events("pi-01")
    assert found.count("device.revoked") == 1 and found.count("device.unrevoked") == 1


async def test_the_answer_comes_when_the_leaf_is_cut(hub: LiveFleet) -> None:
    login = await registered(hub, "cut-1")
    async with await Rogue.connect(hub.hub.options().leaf_port, login) as rogue, connected() as (_, admin):
        assert await rogue.settle()
        await admin.revoke(["cut-1"])
        await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)
        assert not await let_in(hub, login)
        await admin.unrevoke(["cut-1"])
        assert await let_in(hub, login)


async def test_who_was_put_out_takes_no_place_of_newcomers(hub: LiveFleet) -> None:
    keyring = Keyring.load(hub.hub.path)
    login, gone = await registered(hub, "place-1"), await registered(hub, "place-2")
    renewal, of_gone = (Credentials(keyring.renewal_jwt(one.name, one.public_key), one.seed) for one in (login, gone))
    async with connected() as (_, admin):
        for anybody in (renewal, of_gone):
            assert await let_in(hub, anybody)
        await admin.revoke(["place-1"])
        await admin.forget(["place-2"])
        assert not await let_in(hub, renewal) and not await let_in(hub, of_gone)
        await admin.unrevoke(["place-1"])
        assert await let_in(hub, renewal) and await let_in(hub, login) and not await let_in(hub, of_gone)


async def test_letting_one_in_does_not_let_in_another_of_the_same_key(hub: LiveFleet) -> None:
    login = await registered(hub, "same-1")
    async with inside(hub) as client:  # as an older hub may have registered it
        await register.add(client, msgspec.structs.replace(register.record_of(login, ()), id="same-2"))
    async with connected() as (_, admin):
        await admin.revoke(["same-1"])
        assert not await let_in(hub, login)
        await admin.unrevoke(["same-2"])  # it was not revoked
        assert not await let_in(hub, login)
        await admin.revoke(["same-2"])
        await admin.unrevoke(["same-2"])
        assert not await let_in(hub, login) and (await record(hub, "same-1")).revoked
        await admin.unrevoke(["same-1"])
        assert await let_in(hub, login)


async def test_neither_a_long_reason_nor_a_full_record_prevents_a_revocation(hub: LiveFleet) -> None:
    login, full = await registered(hub, "long-1"), await registered(hub, "long-2")
    async with connected() as (_, admin):
        with pytest.raises(UsageProblem, match="all labels together"):
            await admin.change_labels(["long-1"], set={f"label_{number}": "\u0001" * 250 for number in range(4)})
        done = await admin.revoke(["long-1"], reason="\U0001f4a5" * 20_000)
        assert not done["long-1"].code and not await let_in(hub, login)
        assert (await record(hub, "long-1")).reason == "\U0001f4a5" * 200

        # A record as large as the store takes: that it says so cannot be written, but the device stays out.
        async with inside(hub) as client:
            await register.change(client, "long-2", lambda old: filled(old), what="fill it")
        done = await admin.revoke(["long-2"], reason="x" * 200)
        assert done["long-2"].code and not await let_in(hub, full)


def filled(record: wire.DeviceRecord) -> wire.DeviceRecord:
    room = (16 << 10) - len(wire.encode(msgspec.structs.replace(record, labels={"x": "-"}))) - 150
    return msgspec.structs.replace(record, labels={"x": "-" * room})


async def test_older_logins_of_a_device_are_kept_out_too(hub: LiveFleet) -> None:
    first = await registered(hub, "renewed-1")
    keyring = Keyring.load(hub.hub.path)
    second = keyring.device_credentials("renewed-1")
    async with inside(hub) as client:
        found = await register.find(client, "renewed-1")
        assert found is not None
        await register.replace(client, register.renewed(found[0], second, ()), found[1])
    assert await let_in(hub, first) and await let_in(hub, second)
    async with connected() as (_, admin):
        await admin.revoke(["renewed-1"])
    assert not await let_in(hub, first) and not await let_in(hub, second)


async def test_a_forgotten_device_leaves_no_trace_and_cannot_come_back(hub: LiveFleet) -> None:
    login = await registered(hub, "forget-1")
    async with await Rogue.connect(hub.hub.options().leaf_port, login) as rogue:
        report = wire.encode(wire.Report(id="forget-1", facts={"model": "Pi"}))
        assert await rogue.request(subjects.report("forget-1"), report)
        assert await rogue.request(subjects.heartbeat("forget-1"), wire.encode(wire.Heartbeat()))
        async with Fleet() as fleet:

            async def seen() -> bool:
                return (found := (await fleet.roster()).devices["forget-1"].presence) is not None and found.online

            await until(seen, "the hub knows that it is there")
        said = cli("device", "forget", "forget-1", "--yes")
        assert said.code == 0 and said.out.startswith("forget-1: forgotten (its metrics"), said
        await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)
    async with Fleet() as fleet:
        assert "forget-1" not in (await fleet.roster()).devices
    assert not await let_in(hub, login)
    again = cli("device", "forget", "forget-1", "--yes")
    assert again.code == 2 and "knows no such device" in again.err
    # Its name is free, and the old login stays out.
    new = await registered(hub, "forget-1")
    assert await let_in(hub, new) and not await let_in(hub, login)


async def test_new_groups_refuse_the_old_jwt_and_take_the_next_one(hub: LiveFleet) -> None:
    login = await registered(hub, "group-1", "berlin")
    keyring = Keyring.load(hub.hub.path)
    async with await Rogue.connect(hub.hub.options().leaf_port, login) as rogue:
        assert cli("device", "group", "add", "kitchen", "group-1").out == "group-1: now in kitchen\n"
        await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)
    assert not await let_in(hub, login)
    found = await record(hub, "group-1")
    assert found.groups == ["berlin", "kitchen"] and found.refused_until >= login.issued_at
    issued, token = register.issue(keyring, found, time.time())
    assert issued.issued_at >= found.refused_until + 2
    async with inside(hub) as client:
        kept = await register.find(client, "group-1")
        assert kept is not None
        await register.replace(client, issued, kept[1])
    new = Credentials(token, login.seed)
    assert new.groups == ("berlin", "kitchen") and await let_in(hub, new)

    # Revoked and let in again, the JWT for the old groups stays out.
    async with connected() as (_, admin):
        await admin.revoke(["group-1"])
        assert not await let_in(hub, new)
        await admin.unrevoke(["group-1"])
    assert await let_in(hub, new) and not await let_in(hub, login)

    # Regrouped at once, while its newest JWT is of a second that is still to come.
    assert cli("device", "group", "rm", "berlin", "group-1").out == "group-1: no longer in berlin\n"
    assert not await let_in(hub, new)
    assert cli("device", "group", "rm", "berlin", "group-1").out == "group-1: was not in berlin\n"


# ---- labels, unknown devices -----------------------------------------------------------------------------------------------


async def test_labels_ring_the_devices_doorbell_and_change_no_login(hub: LiveFleet) -> None:
    login = await registered(hub, "label-1")
    async with await Rogue.connect(hub.hub.options().leaf_port, login) as rogue:
        rogue.subscribe(subjects.record_doorbell("label-1"))
        assert await rogue.settle()
        said = cli("device", "label", "label-1", "site=berlin", "rack=7", "note=a = b")
        assert (said.code, said.out) == (0, "label-1: labelled\n")
        assert await rogue.next_on(subjects.record_doorbell("label-1"))
        assert cli("device", "label", "label-1", "rack-").code == 0
        assert (await record(hub, "label-1")).labels == {"site": "berlin", "note": "a = b"}
        assert await rogue.settle()
    for change in ("Site=x", "site", "-", "=x"):
        assert cli("device", "label", "label-1", "--", change).code != 0


async def test_one_that_is_mistyped_is_said_before_anything_is_done(hub: LiveFleet) -> None:
    said = cli("device", "revoke", "pi-02", "pi-0l")
    assert said.code == 2 and "did you mean 'pi-0" in said.err.lower(), said
    assert not (await record(hub, "pi-02")).revoked
    # Without that look each has an outcome of its own.
    async with connected() as (_, admin):
        outcomes = await admin.change_labels(["pi-02", "nobody", "Not An Id"], set={"shelf": "a"})
        assert {device: done.code for device, done in outcomes.items()} == {
            "pi-02": "",
            "nobody": "refused",
            "Not An Id": "usage",
        }
        assert (await record(hub, "pi-02")).labels == {"shelf": "a"}
        with pytest.raises(UsageProblem, match="no name of a label"):
            await admin.change_labels(["pi-02"], set={"not a label": "x"})
        with pytest.raises(Refused, match="knows no such order"):
            await admin.ask("device_explode", ChangeLabels(ids=["pi-02"]), Outcomes)


async def test_several_administrators_at_once_lose_nothing(hub: LiveFleet) -> None:
    await registered(hub, "both-1")
    async with connected() as (_, one), connected() as (_, two):
        orders = [(one if number % 2 else two).change_labels(["both-1"], set={f"label{number}": "x"}) for number in range(6)]
        outcomes = await asyncio.gather(*orders, *(two.change_groups(["both-1"], add=[f"g{number}"]) for number in range(3)))
    assert [done.code for found in outcomes for done in found.values()] == [""] * 9
    found = await record(hub, "both-1")
    assert set(found.labels) == {f"label{number}" for number in range(6)} and set(found.groups) == {"g0", "g1", "g2"}


def test_the_list_of_devices(hub: LiveFleet) -> None:
    rows = {row["id"]: row for row in json.loads(cli("device", "ls", "--json").out)}
    assert rows["pi-01"]["groups"] == ["berlin", "kitchen"]
    assert rows["pi-01"]["state"] == "online" and rows["pi-01"]["key"].startswith("U") and rows["pi-01"]["expires"]
    table = cli("device", "ls").out
    assert rows["pi-01"]["key"][:10] in table and rows["pi-01"]["key"] not in table and "in 89d" in table
    unknown = cli("device", "show", "pi-09")
    assert unknown.code == 2 and "Did you mean 'pi-0" in unknown.err


# ---- who may -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_others_than_administrators_are_refused(hub: LiveFleet, role: str) -> None:
    client = await person(hub, "mallory", role)
    try:
        with pytest.raises(Refused, match="needs the role admin, which mallory does not have"):
            await Admin(client).revoke(["pi-02"])
        # Nor in the name of somebody who may.
        with pytest.raises(Unreachable):
            await request(client, subjects.admin("you", "device_revoke"), b'{"ids":["pi-02"]}', what="forge", timeout=1)
    finally:
        await client.close()
    assert not (await record(hub, "pi-02")).revoked


async def test_an_administrator_cannot_be_another(hub: LiveFleet) -> None:
    client = await person(hub, "eve", "admin")
    try:
        forged = subjects.admin("you", "device_labels")
        with pytest.raises(Unreachable):
            await request(client, forged, b'{"ids":["pi-02"],"set":{"by":"eve"}}', what="forge", timeout=1)
        # What came after it on the same connection was answered, so it had come too.
        assert (await Admin(client).change_labels(["pi-02"], set={"honest": "eve"}))["pi-02"].code == ""
    finally:
        await client.close()
    assert "by" not in (await record(hub, "pi-02")).labels


async def test_a_device_cannot_order_anything(hub: LiveFleet) -> None:
    login = await registered(hub, "rogue-1")
    async with await Rogue.connect(hub.hub.options().leaf_port, login) as rogue:
        rogue.publish(subjects.admin("you", "device_revoke"), b'{"ids":["pi-02"]}', reply="edge.to.device.rogue-1.in.1")
        await rogue.settle()
    assert not (await record(hub, "pi-02")).revoked


# ---- people ------------------------------------------------------------------------------------------------------------------


async def test_people_are_listed_and_kept_out(hub: LiveFleet) -> None:
    first, second = (hub.owner.operator_credentials("olga", "operator") for _ in range(2))
    for login in (first, second):
        await asowner.register(hub.owner, Reached(url=hub.url), person_of(login, "operator", ["berlin"], ["service.*"]))
    (row,) = [row for row in json.loads(cli("operator", "ls", "--json").out) if row["name"] == "olga"]
    assert (row["role"], row["groups"], row["actions"]) == ("operator", ["berlin"], ["service.*"])
    assert (row["key"], row["older_keys"]) == (second.public_key, [first.public_key])
    assert "olga" in cli("operator", "ls").out

    async def may(login: Credentials) -> bool:
        try:
            where = {"what": "reach the hub", "name": "olga", "inbox_prefix": "_INBOX.ops.olga"}
            client = await connect(hub.url, **where, jwt=creds.callbacks(login), reconnect=False)  # type: ignore[arg-type]  # texts
        except Refused:
            return False
        await client.close()
        return True

    assert await may(first) and await may(second)
    assert cli("operator", "revoke", first.public_key).code == 0
    assert not await may(first) and await may(second)
    said = cli("operator", "revoke", "olga", "--reason", "laptop stolen")
    assert said.code == 0 and not await may(second), said
    async with Fleet() as fleet:
        assert [(p.revoked, p.reason) for p in await people(fleet.client) if p.name == "olga"] == [(True, "laptop stolen")]
    # A new login lets her in again.
    third = hub.owner.operator_credentials("olga", "viewer")
    await asowner.register(hub.owner, Reached(url=hub.url), person_of(third, "viewer"))
    assert await may(third) and not await may(second)

    unknown = cli("operator", "revoke", "nobody")
    assert unknown.code == 2 and "olga" in unknown.err
    assert cli("operator", "revoke", "you").code == 1, "nobody locks himself out by name"
    stranger = KeyPair.generate("user").public
    async with connected() as (_, admin):
        assert await admin.revoke_person(stranger) == Person(name="", role="", key=stranger)


async def test_a_login_of_a_clock_that_was_ahead_is_kept_out(hub: LiveFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner's laptop issued it two minutes, or a month, after what the hub takes for now. By name, and by a key that it does not know."""
    known, unknown = [], []
    for ahead in (120, 30 * 86_400):
        monkeypatch.setattr(keyring, "_now", lambda ahead=ahead: int(time.time()) + ahead)
        known.append(hub.owner.operator_credentials("bob", "operator"))
        unknown.append(hub.owner.operator_credentials("bob", "operator"))
    async with connected() as (fleet, admin):
        for login in known:
            await admin.register_person(person_of(login, "operator"))
        revoked = await admin.revoke_person("bob", "x" * 5_000)
        assert revoked.revoked and len(revoked.reason) == 200
        await signers.revoke(fleet.client, fleet.login, revoked)
        for login in unknown:
            stranger = await admin.revoke_person(login.public_key)
            await signers.revoke(fleet.client, fleet.login, stranger, login.public_key)
        document = await signers.stored(fleet.client)
    for login in (*known, *unknown):
        with pytest.raises(Refused):
            await connect(
                hub.url, what="x", name="bob", inbox_prefix="_INBOX.ops.bob", jwt=creds.callbacks(login), reconnect=False
            )
    assert document is not None
    pins = followed(Pins(signers=hub.owner.signers()), document.data)
    for login in (*known, *unknown):
        assert login.issued_at <= pins.revoked[login.public_key]


# ---- twins and tampered leafs ------------------------------------------------------------------------------------------------


async def test_a_cloned_card_is_told_once_and_forgotten_when_it_ends(hub: LiveFleet) -> None:
    login, port = await registered(hub, "twin-1"), hub.hub.options().leaf_port
    async with Fleet() as fleet:

        async def twins() -> list[str]:
            found = await get_last(fleet.client, "KV_edge_presence", subjects.kv("edge_presence", "twin-1"))
            return wire.decode(found.data, wire.Presence).twins if found else []

        async def are(wanted: bool) -> bool:
            return bool(await twins()) is wanted

        async with await Rogue.connect(port, login, name="twin-1-aaaa"):
            async with await Rogue.connect(port, login, name="twin-1-bbbb"):
                await until(lambda: are(True), "the hub knows of the twin")
                assert await twins() in (["twin-1-aaaa"], ["twin-1-bbbb"])
                assert "also connected as twin-1-" in cli("device", "show", "twin-1").out
                assert "connected several times" in cli("device", "ls").err
                # A third one is no news.
                async with await Rogue.connect(port, login, name="twin-1-cccc"):

                    async def two() -> bool:
                        return len(await twins()) == 2

                    await until(two, "the hub knows of the third")
            await until(lambda: are(False), "the hub knows that it ended")
    assert (await events("twin-1")).count("device.twins") == 1


async def test_copies_of_one_name_that_take_the_link_from_each_other_are_told(hub: LiveFleet) -> None:
    """Boards without a serial number keep the name that was copied with the card."""
    login, port = await registered(hub, "copied-1"), hub.hub.options().leaf_port
    for _ in range(3):
        first, second = [await Rogue.connect(port, login, name="copied-1-aaaa", account="EDGE") for _ in range(2)]
        await asyncio.wait_for(first.closed.wait(), PATIENCE_SECONDS)
        await second.close()

    async def told() -> bool:
        return "device.twins" in await events("copied-1")

    await until(told, "it is told")
    assert "another leaf takes the link of copied-1 away" in cli("hub", "doctor", "--dir", str(hub.hub.path)).out


async def test_a_device_with_a_tampered_leaf_is_revoked(hub: LiveFleet) -> None:
    login, other = await registered(hub, "tampered-1"), await registered(hub, "victim-1")
    async with await Rogue.connect(hub.hub.options().leaf_port, login, is_hub=True) as rogue:
        rogue.subscribe(subjects.query(subjects.Scope.device("victim-1")))  # to be taken for another
        await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)

    async def known() -> bool:
        return "device.tampered" in await events("tampered-1")

    await until(known, "it is told")
    found = await record(hub, "tampered-1")
    assert found.revoked and found.reason == "its leaf claimed to be the hub"
    told = cli("hub", "doctor", "--dir", str(hub.hub.path))
    assert "tampered-1 was kept out by the hub itself" in told.out
    assert not await let_in(hub, login)
    assert not (await record(hub, "victim-1")).revoked and await let_in(hub, other)


# ---- what outlives what ------------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Hub]:
    with new_hub(tmp_path) as hub:
        yield hub


async def test_a_revocation_outlives_the_record_of_it(alone: Hub) -> None:
    """The store was lost, or an older one was brought back: who was revoked stays out, and nobody else does."""
    place = alone.place.path
    store, accounts = place / "store" / "jetstream", place / "accounts"

    def add(device: str) -> Credentials:
        out = place.parent / f"{device}.creds"
        assert alone.command("device", "add", device, "--out", str(out)).code == 0
        return creds.load(out)

    async def may(login: Credentials) -> bool:
        async with await Rogue.connect(alone.leaf_port, login) as rogue:
            return await rogue.settle()

    def is_ordered(label: str) -> bool:
        return cli("device", "label", "pi-02", f"round={label}").code == 0

    with started(alone.up()) as running:
        await until(alone.answers, "the hub answers")
        gone, other = add("pi-01"), add("pi-02")
        assert cli("device", "revoke", "pi-01").code == 0 and not await may(gone)
        ended(running, signal.SIGTERM)
    for lost in ("the record", "the record and the accounts"):
        (found,) = store.rglob("KV_edge_revocations")
        shutil.rmtree(found)
        if "accounts" in lost:
            shutil.rmtree(accounts)
        if lost == "the record":  # nor does the register say so: it is what the server refuses that counts
            (found,) = store.rglob("KV_edge_devices")
            shutil.rmtree(found)
        with started(alone.up()) as running:
            await until(alone.answers, "the hub answers")
            if lost == "the record":
                async with services_login(alone) as client:
                    for login in (gone, other):
                        await register.add(client, register.record_of(login, ()))
                    assert not await may(gone) and await may(other)
                assert cli("device", "revoke", "pi-01").code == 0
            await until(lambda lost=lost: is_ordered(lost[-3:]), "the services answer")  # type: ignore[misc]  # a default
            assert not await may(gone) and await may(other), lost
            if "accounts" in lost:
                assert cli("device", "unrevoke", "pi-01").code == 0 and await may(gone)
            ended(running, signal.SIGTERM)


@asynccontextmanager
async def services_login(hub: Hub) -> AsyncIterator[Client]:
    """A connection to the account HUB."""
    login = Keyring.load(hub.place.path).service_credentials("hub")
    url = f"nats://127.0.0.1:{hub.client_port}"
    client = await connect(url, what="reach the hub", name="test", inbox_prefix="_INBOX.test", jwt=creds.callbacks(login))
    try:
        yield client
    finally:
        await client.close()


async def test_a_revocation_outlives_the_hub_and_the_folder_of_accounts(alone: Hub) -> None:
    login = Keyring.load(alone.place.path).device_credentials("pi-01")

    async def out() -> bool:
        async with await Rogue.connect(alone.leaf_port, login) as rogue:
            return not await rogue.settle()

    for round_number in range(3):
        if round_number == 2:
            shutil.rmtree(alone.place.path / "accounts")
        with started(alone.up()) as running:
            await until(alone.answers, "the hub answers")
            if round_number == 0:
                added = alone.command("device", "add", "pi-01", "--out", str(alone.place.path.parent / "pi-01.creds"))
                assert added.code == 0
                login = creds.load(alone.place.path.parent / "pi-01.creds")
                assert not await out()
                assert cli("device", "revoke", "pi-01").code == 0
            await until(out, "it is out")
            ended(running, signal.SIGTERM)
