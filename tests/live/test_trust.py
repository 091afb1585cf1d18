"""What the hub's side decides about a device, as its people see it: groups, labels, who may sign, authorities, and a device kept out.

A fleet that was enrolled with claim tokens, and orders given by the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio

from edgeagent import wire
from edgeagent.assembly import rotation
from edgeagent.assembly.devicerecord import RECORD_FILE, labels, last_record
from edgeagent.assembly.people import reached
from edgeagent.direct import read_all
from edgeagent.enrolment import Authorities
from edgeagent.errors import Refused
from edgeagent.fleet import Fleet, Outcome, signers
from edgeagent.hub.handout import hand_out, keep_handing_out
from edgeagent.hub.owner import Owner
from edgeagent.link import Client, connect
from edgeagent.settings import load
from edgeagent.trust import certificates, creds
from edgeagent.trust.pins import Pins
from edgeagent.trust.pins import load as load_pins
from tests.support.fleet import CONTEXT_USER, LiveFleet, cli, offline, online
from tests.support.servers import PATIENCE_SECONDS, until

DEVICE = "pi-02"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("trust"), 3) as fleet:
        yield fleet


@pytest.fixture
def fleet(running: LiveFleet) -> Iterator[LiveFleet]:
    with running.borrowed() as borrowed:
        yield borrowed


def said(*words: str) -> str:
    done = cli(*words)
    assert done.code == 0, done
    return done.out


def pins(fleet: LiveFleet, device: str = DEVICE) -> Pins:
    return load_pins(fleet.layout.device(device) / "trust.json")


def matching(*words: str) -> list[str]:
    rows = json.loads(said("fleet", "ls", *words, "--json"))
    return [row["id"] for row in rows if row["state"] == "online"]


async def hub_login(fleet: LiveFleet) -> Client:
    login = creds.callbacks(fleet.owner.service_credentials("hub"))
    return await connect(fleet.url, what="reach the hub", name="test", inbox_prefix="_INBOX.hub", jwt=login)


@pytest_asyncio.fixture
async def hub(fleet: LiveFleet) -> AsyncIterator[Client]:
    client = await hub_login(fleet)
    yield client
    await client.close()


async def events(hub: Client, kind: str, device: str) -> list[wire.Event]:
    found = [item async for item in read_all(hub, "EDGE_EVENTS", f"edge.from.{device}.event.*", prefix="$JS.API")]
    return [event for event in (wire.decode(item.data, wire.Event) for item in found) if event.kind == kind]


# ---- labels and groups ----


async def test_a_label_that_the_hub_gives_is_the_devices_until_it_is_taken_away(fleet: LiveFleet) -> None:
    said("device", "label", DEVICE, "rack=7", "site=elsewhere")
    await until(lambda: matching("-l", "rack=7") == [DEVICE], "the label counts")
    assert matching("-l", "site=munich") == [DEVICE]  # what the device's own settings say goes before it
    record = last_record(fleet.layout.device(DEVICE))
    assert record is not None
    assert record.labels == {"rack": "7", "site": "elsewhere"}
    said("device", "label", DEVICE, "rack-", "site-")
    await until(lambda: matching("-l", "rack=7") == [], "the label is gone")


def test_labels_without_a_link_are_those_that_were_last_read(fleet: LiveFleet, tmp_path: Path) -> None:
    own = load(fleet.layout.settings(DEVICE))
    assert labels(own, None) == {"site": "munich"}
    assert labels(own, wire.DeviceRecord(id=DEVICE, labels={"site": "x", "rack": "7"})) == {"site": "munich", "rack": "7"}
    assert last_record(tmp_path) is None
    (tmp_path / RECORD_FILE).write_text("{")
    assert last_record(tmp_path) is None


async def test_a_device_that_is_online_changes_its_groups_by_itself(fleet: LiveFleet) -> None:
    key = creds.load(fleet.layout.device(DEVICE) / "device.creds").public_key
    said("device", "group", "add", "attic", DEVICE)
    await until(lambda: matching("-g", "attic") == [DEVICE], "it is in the group")
    login = creds.load(fleet.layout.device(DEVICE) / "device.creds")
    assert login.groups[-1] == "attic"
    assert login.public_key == key
    said("device", "group", "rm", "attic", DEVICE)
    await until(lambda: cli("fleet", "ls", "-g", "attic").code == 2, "nobody is in the group any more")
    fleet.whole()


async def test_a_device_that_was_away_meanwhile_comes_back_with_its_new_groups(fleet: LiveFleet) -> None:
    fleet.cut_and_known(DEVICE)
    said("device", "group", "add", "cellar", DEVICE)
    fleet.restore(DEVICE)
    await until(lambda: matching("-g", "cellar") == [DEVICE], "it is back, and in the group")
    said("device", "group", "rm", "cellar", DEVICE)
    fleet.whole()


# ---- kept out ----


async def test_a_revoked_device_is_cut_off_its_programs_are_not_and_it_comes_back(fleet: LiveFleet, hub: Client) -> None:
    local = await nats.connect(fleet.leaf_url(DEVICE), allow_reconnect=False)
    disturbed: list[str] = []

    async def gone() -> None:
        disturbed.append("gone")

    local._disconnected_cb = gone  # nats-py takes it only before it connects
    heard = await local.subscribe("local.data.test")
    said("device", "revoke", DEVICE, "--reason", "lost in the bus")

    def revoked(outcome: Outcome) -> bool:
        return any(row.id == DEVICE and row.state == "revoked" for row in (*outcome.offline, *outcome.silent))

    try:
        fleet.until("it is kept out", revoked)
        await local.publish("local.data.test", b"still here")
        assert (await heard.next_msg(timeout=PATIENCE_SECONDS)).data == b"still here"
        assert [event.data["id"] for event in await events(hub, "device.revoked", "hub")] == [DEVICE]
        shown = json.loads(said("device", "show", DEVICE, "--json"))
        assert shown["reason"] == "lost in the bus"
    finally:  # the next tests want it back
        said("device", "unrevoke", DEVICE)
    fleet.whole()
    assert not disturbed
    assert local.is_connected
    await local.close()


# ---- who may sign ----


async def test_who_is_revoked_signs_nothing_any_more_for_any_device(fleet: LiveFleet, tmp_path: Path) -> None:
    login = fleet.owner.operator_credentials("mallory", "operator")
    file = tmp_path / "mallory.creds"
    file.write_text(login.format())
    file.chmod(0o600)
    said("operator", "revoke", login.public_key, "--reason", "laptop stolen")
    await until(lambda: login.public_key in pins(fleet).revoked, "the device knows")
    assert pins(fleet).signers == fleet.owner.signers()
    with pytest.raises(Refused):
        async with Fleet(url=fleet.url, credentials=file):
            pass


async def test_a_device_does_not_follow_what_the_hub_itself_writes(fleet: LiveFleet, hub: Client) -> None:
    """A hub that was broken into can write everything in its own account, and yet not say whom devices follow."""
    before = pins(fleet)
    async with Fleet() as person:
        good = await signers.stored(person.client)
        assert good is not None
    thief = Owner.create("thief").operator_credentials("thief", "admin")
    from edgeagent.trust import signers as documents

    forged = documents.changed(thief, None, now=2_000_000_000, signers={thief.public_key: "admin"})
    await hub.jetstream().publish("$KV.edge_trust.signers", forged)

    async def told() -> bool:
        return bool(await events(hub, "trust.signers_refused", DEVICE))

    await until(told, "the device refused it, and said so")
    assert pins(fleet) == before
    with pytest.raises(Refused, match="not signed by an administrator of yours"):
        async with Fleet() as person:
            await signers.change(person.client, person.login, revoke={"U": 1})
    await hub.jetstream().publish("$KV.edge_trust.signers", good.data)


async def test_a_role_gets_a_new_key_and_every_device_follows_it(fleet: LiveFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = fleet.layout.keys
    old = Owner.load(keys, None)
    for role in ("operator", "admin"):
        owner = Owner.load(keys, None)
        where = reached(owner, fleet.hub)
        if role == "admin":  # broken off after the devices were told: doing it again ends it well
            owner.begin_rotation(role)
            owner.save(keys, None, replace=True)
        await rotation.rotate(owner, role, fleet.hub, where, keys, None)
        now = Owner.load(keys, None)
        assert now.role_public(role) != old.role_public(role)
        assert not [name for name in list(now.keys()) if name.startswith("old-")]
        await until(partial(_follows, fleet, now.signers()), f"the device follows the new {role} key")
    with pytest.raises(Refused):  # the first administrator's login was signed with the old one
        async with Fleet():
            pass
    login = Owner.load(keys, None).operator_credentials(CONTEXT_USER, "admin")
    fleet.credentials.write_text(login.format())
    async with Fleet() as person:
        assert await signers.change(person.client, person.login, revoke={}) > 0


def _follows(fleet: LiveFleet, wanted: dict[str, str]) -> bool:
    return pins(fleet).signers == wanted


# ---- authorities ----


def _pem(name: str) -> str:
    return certificates.make_authority(name, datetime(2050, 1, 1, tzinfo=timezone.utc)).certificate.decode()


async def test_new_authorities_reach_the_devices(fleet: LiveFleet, hub: Client) -> None:
    one, two = _pem("one"), _pem("two")
    file = fleet.layout.device(DEVICE) / "authorities.pem"
    with _quiet_services(fleet):
        assert await hand_out(hub, one + two)
        assert not await hand_out(hub, one + two)
        await until(lambda: file.exists() and file.read_text() == one + two, "the device has them")
        task = asyncio.create_task(keep_handing_out(hub, lambda: two))
        await until(lambda: file.read_text() == two, "and the newer ones")
        task.cancel()
        stored = [item async for item in read_all(hub, "KV_edge_trust", "$KV.edge_trust.authorities", prefix="$JS.API")][-1]
        assert wire.decode(stored.data, Authorities).authorities == [two]


@contextlib.contextmanager
def _quiet_services(fleet: LiveFleet) -> Iterator[None]:
    """The hub's own services hand out what the hub has, which is none without TLS; within the block they stand still."""
    services = fleet.hub_pid()
    os.kill(services, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(services, signal.SIGCONT)


# ---- local programs ----


async def test_a_program_gets_a_login_while_the_agent_runs(fleet: LiveFleet) -> None:
    settings = str(fleet.layout.settings(DEVICE))
    out = said("app", "add", "doors", "--settings", settings)
    assert "counts from the next start" not in out
    file = fleet.layout.device(DEVICE) / "apps" / "doors.env"
    values = dict(line.split("=", 1) for line in file.read_text().splitlines())

    async def connected() -> Any:
        return await nats.connect(
            values["NATS_URL"], user=values["NATS_USER"], password=values["NATS_PASSWORD"], allow_reconnect=False
        )

    # The authorities of the test before had the leaf dial anew: its link counts as there once the hub has acknowledged something.
    await until(lambda: fleet.status(DEVICE).link.up, "the device is linked", PATIENCE_SECONDS)
    leaf, linked = fleet.pid(DEVICE, "leaf"), fleet.status(DEVICE).link.since
    doors = await connected()
    said("app", "rm", "doors", "--settings", settings)
    await until(lambda: doors.is_closed, "its connection was ended")
    with pytest.raises(Exception, match="Authorization"):
        await connected()
    assert DEVICE in online(fleet.do(_ask()))
    assert (fleet.pid(DEVICE, "leaf"), fleet.status(DEVICE).link.since) == (leaf, linked), (
        "the leaf was told, and its link stayed"
    )
    fleet.until("nobody is away", lambda outcome: offline(outcome) == [])


async def _ask() -> Outcome:
    async with Fleet() as fleet:
        return await fleet.query()
