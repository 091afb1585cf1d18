"""Administrators order, the hub obeys: revoke, let in again, forget, group, label."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgeagent import subjects, wire
from edgeagent.administration import ChangeLabels, Outcomes
from edgeagent.errors import Refused, UsageProblem
from edgeagent.fleet import Fleet
from edgeagent.fleet.admin import connected, forget_configuration
from edgeagent.hub import register
from edgeagent.hub.keyring import Keyring
from edgeagent.link import connect
from edgeagent.subjects import Scope
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.administering import events, inside, let_in, record, registered
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet, cli, online
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


# ---- keeping devices out ----------------------------------------------------------------------------------------------------


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


def board(hub: LiveFleet, device: str, seconds_ago: int, *groups: str) -> Credentials:
    """What the hub gave a board so long ago."""
    key, issued_at = KeyPair.generate("user"), int(time.time()) - seconds_ago
    return Credentials(Keyring.load(hub.hub.path).device_jwt(device, groups, key.public, issued_at=issued_at), key.seed)


@pytest.mark.parametrize("order", ["revoke", "groups", "none"])
async def test_a_board_that_the_hub_forgot_does_not_slip_through_what_was_decided(hub: LiveFleet, order: str) -> None:
    """The hub went back, so its register knows another board's key, and orders hit that one alone. What was issued last counts."""
    device = f"slips-{order}"
    older, newer = board(hub, device, 200, "kitchen"), board(hub, device, 100, "kitchen")
    known, forgotten = (newer, older) if order == "none" else (older, newer)
    async with inside(hub) as client:
        await register.add(client, register.record_of(known, ["kitchen"]))
    async with connected() as (_, admin):
        if order == "revoke":
            await admin.revoke([device])
        elif order == "groups":
            await admin.change_groups([device], remove=["kitchen"])
    async with await Rogue.connect(hub.hub.options().leaf_port, forgotten) as rogue:
        await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)
    assert not await let_in(hub, forgotten)
    found = await record(hub, device)
    assert (found.key, found.revoked) == (newer.public_key, order == "revoke")
    if order == "groups":  # it is to renew, and gets what it is allowed now
        fresh = Keyring.load(hub.hub.path).device_jwt(device, found.groups, newer.public_key, issued_at=found.refused_until + 2)
        assert found.groups == [] and await let_in(hub, Credentials(fresh, newer.seed))
    if order == "revoke":
        async with connected() as (_, admin):
            await admin.unrevoke([device])
        assert await let_in(hub, newer) and not await let_in(hub, older)


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


@pytest.mark.parametrize(("more", "left"), [([], {}), (["--keep-config"], {"app": {"doors": {"open": "07:00"}}})])
async def test_a_forgotten_ids_configuration_is_nobodys_unless_it_is_kept_on_purpose(
    hub: LiveFleet, more: list[str], left: dict[str, object]
) -> None:
    device = f"emptied-{len(more)}"
    await registered(hub, device)
    assert cli("config", "set", "-d", device, "app.doors.open=07:00").code == 0
    said = cli("device", "forget", device, "--yes", *more)
    assert said.code == 0, said
    async with Fleet() as fleet:
        assert (await fleet.config.read(Scope.device(device))).values == left


async def test_that_a_configuration_could_not_be_emptied_is_said(hub: LiveFleet, tmp_path: Path) -> None:
    scope, file = Scope.device("pi-01"), tmp_path / "vera.creds"
    file.touch(0o600)
    file.write_text(hub.owner.operator_credentials("vera", "viewer").format())
    async with Fleet() as fleet, Fleet(url=hub.url, credentials=file) as vera:
        await fleet.config.set(scope, {"app.doors.open": "07:00"})
        assert await forget_configuration(vera, ["pi-01"]) == {"pi-01": "the role of vera may not write configuration"}
        assert (await fleet.config.read(scope)).values == {"app": {"doors": {"open": "07:00"}}}
        assert await forget_configuration(fleet, ["pi-01"]) == {"pi-01": ""}


async def test_forgetting_asks_about_devices_that_there_are_and_says_how_not_to_be_asked(hub: LiveFleet) -> None:
    unknown = cli("device", "forget", "pi-99")
    assert unknown.code == 2 and "the hub knows no such device" in unknown.err and "Forget" not in unknown.err
    alone = cli("device", "forget", "pi-01", input="")
    assert alone.code == 2 and "there is no terminal" in alone.err and "`--yes` does not ask" in alone.err
    assert not (await record(hub, "pi-01")).revoked


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


# ---- labels, unknown devices ------------------------------------------------------------------------------------------------


async def test_labels_ring_the_devices_doorbell_and_change_no_login(hub: LiveFleet) -> None:
    login = await registered(hub, "label-1")
    async with await Rogue.connect(hub.hub.options().leaf_port, login) as rogue:
        rogue.subscribe(subjects.record_doorbell("label-1"))
        assert await rogue.settle()
        said = cli("device", "label", "label-1", "site=berlin", "rack=7", "note=a = b")
        assert (said.code, said.out) == (0, "label-1: has site=berlin, rack=7, note=a = b now\n")
        assert await rogue.next_on(subjects.record_doorbell("label-1"))
        assert cli("device", "label", "label-1", "rack-").out == "label-1: has no label rack any more\n"
        assert cli("device", "label", "label-1", "rack-").out == "label-1: has no such label\n"
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
