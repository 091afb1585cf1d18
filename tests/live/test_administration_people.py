"""Who may order what, and people who are kept out of the hub."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from edgeagent import subjects
from edgeagent.administration import Person
from edgeagent.assembly import asowner
from edgeagent.assembly.people import Reached
from edgeagent.errors import Refused, Unreachable
from edgeagent.fleet import Fleet, signers
from edgeagent.fleet.admin import Admin, connected, people
from edgeagent.hub import keyring
from edgeagent.hub.people import person_of
from edgeagent.hub.roles import PersonRole
from edgeagent.link import connect, request
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signers import followed
from tests.support.administering import person, record, registered
from tests.support.fleet import LiveFleet, cli
from tests.support.rogue import Rogue


@pytest.fixture(scope="module")
def own_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("people"), 0) as fleet:
        yield fleet


@pytest.fixture
def hub(own_fleet: LiveFleet) -> Iterator[LiveFleet]:
    """A hub that runs for all tests here; each registers devices under names of its own, and none of them runs."""
    with own_fleet.borrowed() as fleet:
        yield fleet


# ---- who may ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_others_than_administrators_are_refused(hub: LiveFleet, role: PersonRole) -> None:
    await registered(hub, f"safe-{role}")
    client = await person(hub, "mallory", role)
    try:
        with pytest.raises(Refused, match="needs the role admin, which mallory does not have"):
            await Admin(client).revoke([f"safe-{role}"])
        # Nor in the name of somebody who may.
        with pytest.raises(Unreachable):
            await request(
                client, subjects.admin("admin", "device_revoke"), f'{{"ids":["safe-{role}"]}}'.encode(), what="forge", timeout=1
            )
    finally:
        await client.close()
    assert not (await record(hub, f"safe-{role}")).revoked


async def test_an_administrator_cannot_be_another(hub: LiveFleet) -> None:
    await registered(hub, "safe-1")
    client = await person(hub, "eve", "admin")
    try:
        forged = subjects.admin("admin", "device_labels")
        with pytest.raises(Unreachable):
            await request(client, forged, b'{"ids":["safe-1"],"set":{"by":"eve"}}', what="forge", timeout=1)
        # What came after it on the same connection was answered, so it had come too.
        assert (await Admin(client).change_labels(["safe-1"], set={"honest": "eve"}))["safe-1"].code == ""
    finally:
        await client.close()
    assert "by" not in (await record(hub, "safe-1")).labels


async def test_a_device_cannot_order_anything(hub: LiveFleet) -> None:
    login, _ = await registered(hub, "rogue-1"), await registered(hub, "safe-2")
    async with await Rogue.connect(hub.hub.options().leaf_port, login) as rogue:
        rogue.publish(subjects.admin("admin", "device_revoke"), b'{"ids":["safe-2"]}', reply="edge.to.device.rogue-1.in.1")
        await rogue.settle()
    assert not (await record(hub, "safe-2")).revoked


# ---- people -----------------------------------------------------------------------------------------------------------------


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
    assert "must be signed again by somebody else" in said.out
    async with Fleet() as fleet:
        assert [(p.revoked, p.reason) for p in await people(fleet.client) if p.name == "olga"] == [(True, "laptop stolen")]
    # A new login lets her in again.
    third = hub.owner.operator_credentials("olga", "viewer")
    await asowner.register(hub.owner, Reached(url=hub.url), person_of(third, "viewer"))
    assert await may(third) and not await may(second)
    assert "signed again" in cli("operator", "revoke", "olga").out, "as an operator she may have signed"
    assert not await may(third)
    vera = hub.owner.operator_credentials("vera", "viewer")
    await asowner.register(hub.owner, Reached(url=hub.url), person_of(vera, "viewer"))
    said = cli("operator", "revoke", "vera")
    assert said.code == 0 and "sign" not in said.out, "a viewer signs nothing"

    unknown = cli("operator", "revoke", "nobody")
    assert unknown.code == 2 and "olga" in unknown.err
    assert cli("operator", "revoke", "admin").code == 1, "nobody locks himself out by name"
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
