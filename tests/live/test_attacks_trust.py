"""Attacks on a hub that runs with its services: names of leafs, renewal credentials, forged trust documents, a broken-into hub.

What a login may publish and hear is tried in test_attacks.py, claim tokens in test_attacks_claims.py, orders of people in
test_administration_people.py, revoked devices in test_administration.py, certificates in test_tls_leaf.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent import subjects, wire
from edgeagent.direct import get_last, read_all
from edgeagent.fleet import Fleet
from edgeagent.hub import leafs, register
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.owner import Owner
from edgeagent.link import Client, connect, request
from edgeagent.trust import creds, jwt, signers
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins, load
from tests.support.enrolling import NewDevice
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet, cli
from tests.support.hub import Hub, new_hub, started
from tests.support.rogue import Rogue
from tests.support.servers import until

SIGNERS = subjects.document(subjects.SIGNERS)


@pytest.fixture(scope="module")
def own_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("trust"), 1) as fleet:
        yield fleet


@pytest.fixture
def fleet(own_fleet: LiveFleet) -> Iterator[LiveFleet]:
    """A hub with the device pi-01, a real agent and leaf."""
    with own_fleet.borrowed() as fleet:
        yield fleet


@contextlib.asynccontextmanager
async def service(place: Path, url: str, account: Any) -> AsyncIterator[Client]:
    """What who has broken into the hub has: its own logins."""
    login = Keyring.load(place).service_credentials(account)
    client = await connect(url, what="reach the hub", name="thief", inbox_prefix="_INBOX.thief", jwt=creds.callbacks(login))
    try:
        yield client
    finally:
        await client.close()


async def registered(fleet: LiveFleet, device: str) -> Credentials:
    login = Keyring.load(fleet.hub.path).device_credentials(device)
    async with service(fleet.hub.path, fleet.url, "hub") as client:
        await register.add(client, register.record_of(login, ()))
    return login


# ---- another's server name -------------------------------------------------------------------------------------------------


async def connection_of(fleet: LiveFleet, device: str) -> tuple[str, str]:
    """Which connection at the hub is the device's, and what its leaf calls itself."""
    async with service(fleet.hub.path, fleet.url, "sys") as system:
        (found,) = [leaf for leaf in await leafs.listed(system, subscriptions=True) if leaf.device == device]
        return found.connection, found.name


async def test_a_guessed_server_name_throws_nobody_out(fleet: LiveFleet) -> None:
    login, port = await registered(fleet, "rogue-1"), fleet.hub.options().leaf_port
    before, name = await connection_of(fleet, "pi-01")
    suffix = name.removeprefix("pi-01-")
    assert suffix != name and len(suffix) >= 6, name
    for guess in ("pi-01", "pi-01-", f"pi-01-{'0' * len(suffix)}", suffix, name.upper(), "hub"):
        async with await Rogue.connect(port, login, name=guess, account="EDGE") as rogue:
            await rogue.settle()
    assert (await connection_of(fleet, "pi-01"))[0] == before


async def test_who_knows_the_server_name_is_noticed_and_remains_itself(fleet: LiveFleet) -> None:
    """Two leafs of one name evict each other, whatever their logins (nats-server 2.15.1). It costs the victim its link, nothing else."""
    login, port = await registered(fleet, "rogue-2"), fleet.hub.options().leaf_port
    before, name = await connection_of(fleet, "pi-01")
    seen = await noted(fleet, "rogue-2")
    async with await Rogue.connect(port, login, name=name, account="EDGE") as rogue:
        await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)  # the victim came back, and evicted it in turn
    fleet.whole()
    assert (await connection_of(fleet, "pi-01"))[0] != before
    assert "Duplicate Remote LeafNode Connection" in fleet.hub.log.read_text(errors="replace")

    async def told() -> bool:
        return await noted(fleet, "rogue-2") > seen

    await until(told, "the presence of the one whose login it was is written")
    async with Fleet() as people:
        device = (await people.roster()).devices["pi-01"]
        assert device.presence is not None and device.presence.twins == []


async def noted(fleet: LiveFleet, device: str) -> int:
    """How often the hub has written down that the device came or went."""
    async with service(fleet.hub.path, fleet.url, "hub") as client:
        found = await get_last(client, "KV_edge_presence", subjects.kv("edge_presence", device), prefix="$JS.API")
        return found.sequence if found else 0


# ---- a renewal credential --------------------------------------------------------------------------------------------------


@pytest.fixture
async def renewal(fleet: LiveFleet) -> Credentials:
    """One of a device that is registered, as its thief would have it."""
    device = f"renewal-{KeyPair.generate('user').public[-8:].lower()}"
    login = await registered(fleet, device)
    return Credentials(Keyring.load(fleet.hub.path).renewal_jwt(device, login.public_key), login.seed)


RENEWAL_MAY_NOT = [
    "provision.renew.pi-01",
    "provision.renew.*",
    "provision.claim.abc234",
    "edge.from.{id}.report",
    "edge.from.{id}.request.renew",
    "edge.from.{id}.reply.admin.1",
    "edge.to.device.pi-01.in.1",
    "edge.admin.{id}.device_groups",
    "edge.api.DIRECT.GET.KV_edge_config.$KV.edge_config.device.{id}",
    "edge.api.DIRECT.GET.KV_edge_devices.$KV.edge_devices.{id}",
    "$KV.edge_trust.signers",
    "$JS.API.STREAM.INFO.EDGE_REPORTS",
    "$SYS.REQ.CLAIMS.LIST",
    "$MQTT.sess.x",
]


@pytest.mark.parametrize("subject", RENEWAL_MAY_NOT)
async def test_a_renewal_credential_says_nothing_else(fleet: LiveFleet, renewal: Credentials, subject: str) -> None:
    leaf = await Rogue.connect(fleet.hub.options().leaf_port, renewal)
    assert await leaf.settle()
    leaf.publish(subject.format(id=renewal.name), b"FORGED", reply=f"edge.to.device.{renewal.name}.in.1")
    assert not await leaf.settle(), "the link is still open"
    assert leaf.messages == []


async def test_a_claim_token_does_not_reach_the_mqtt_of_other_leafs(fleet: LiveFleet) -> None:
    token = Keyring.load(fleet.hub.path).claim_jwt("abcdefgh2345", 3600)
    leaf = await Rogue.connect(fleet.hub.options().leaf_port, Credentials(token, KeyPair.generate("user").seed))
    assert await leaf.settle()
    leaf.publish("$MQTT.sess.x", b"FORGED")
    assert not await leaf.settle()


@pytest.mark.parametrize("subject", ["$JS.ACK.EDGE_COMMANDS.x.1.1.1.1.0", "_R_.aaaaaa.bbbbbb"])
async def test_what_a_renewal_credential_may_publish_besides_goes_nowhere(
    fleet: LiveFleet, renewal: Credentials, subject: str
) -> None:
    """nats-server lets every leaf publish these; nobody listens there but who has every right in the account."""
    other = Credentials(Keyring.load(fleet.hub.path).renewal_jwt("pi-01", renewal.public_key), renewal.seed)
    port = fleet.hub.options().leaf_port
    async with await Rogue.connect(port, renewal) as leaf, await Rogue.connect(port, other) as listener:
        listener.subscribe(">")
        assert await listener.settle()
        leaf.publish(subject, b"FORGED", reply=f"edge.to.device.{renewal.name}.in.1")
        assert await leaf.settle() and await listener.settle()
        assert leaf.messages == [] and [m for m in listener.messages if not m.subject.startswith("$LDS.")] == []


async def test_a_renewal_credential_hears_nothing_else(fleet: LiveFleet, renewal: Credentials) -> None:
    port = fleet.hub.options().leaf_port
    for subject in ("edge.to.device.{id}.query", "edge.to.fleet.all.query", "edge.to.device.pi-01.in.1", "provision.claim.x"):
        leaf = await Rogue.connect(port, renewal)
        leaf.subscribe(subject.format(id=renewal.name))
        assert not await leaf.settle(), subject
    async with await Rogue.connect(port, renewal) as spy:
        for subject in (">", "edge.>", "provision.>"):
            spy.subscribe(subject)
        assert await spy.settle()
        async with Fleet() as people:
            assert [row.id for row in (await people.query("true")).answered] == ["pi-01"]
        assert await spy.settle()
        heard = {message.subject for message in spy.messages if not message.subject.startswith("$LDS.")}
        assert heard == set()


async def test_a_renewal_credential_that_poses_as_a_hub_is_ended(fleet: LiveFleet, renewal: Credentials) -> None:
    async with await Rogue.connect(fleet.hub.options().leaf_port, renewal, is_hub=True) as rogue:
        await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)


async def test_a_renewal_credential_is_no_login_for_a_client(fleet: LiveFleet, renewal: Credentials) -> None:
    with pytest.raises(Exception, match="does not accept these credentials"):
        await connect(
            fleet.url, what="reach the hub", name="t", inbox_prefix="_INBOX", jwt=creds.callbacks(renewal), reconnect=False
        )


# ---- who may sign ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Hub]:
    with new_hub(tmp_path) as hub, started(hub.up()):
        yield hub


@contextlib.asynccontextmanager
async def enrolled(hub: Hub, folder: Path) -> AsyncIterator[NewDevice]:
    """A device that came in with a claim token, with its agent running."""
    await until(hub.answers, "the hub answers")
    token = cli("token", "create", "--device", "pi-1")
    assert token.code == 0, token
    device = NewDevice(folder, reconnect_seconds=0.5)
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", token=token.out.strip())
    assert said.code == 0, said
    with device.running():
        await until(lambda: device.is_linked, "it is linked")
        yield device


def pins(device: NewDevice) -> Pins:
    return load(device.state / "trust.json")


def by_hand(issuer: KeyPair, account: str) -> Credentials:
    key = KeyPair.generate("user")
    token = jwt.scoped_user(issuer, subject=key.public, name="mallory", account=account, issued_at=int(time.time()))
    return Credentials(token, key.seed)


async def test_who_has_broken_into_the_hub_cannot_say_who_may_sign(alone: Hub, tmp_path: Path) -> None:
    """It can write the document; the device looks at who signed it. The hub's own keys sign no people."""
    url, owner = f"nats://127.0.0.1:{alone.client_port}", alone.owner
    async with enrolled(alone, tmp_path / "pi") as device, service(alone.place.path, url, "hub") as thief:
        known = pins(device)
        assert known.signers == owner.signers()
        mine, ops = KeyPair.generate("account"), owner.account_public("OPS")
        role = {mine.public: "admin"}
        held = Keyring.load(alone.place.path)
        forged = {
            "a role key of its own": signers.changed(by_hand(mine, ops), None, now=time.time(), signers=role),
            "another hub's administrator": signers.changed(
                Owner.create("berlin").operator_credentials("olga", "admin"), None, now=time.time(), signers=role
            ),
            "an operator": signers.changed(owner.operator_credentials("olaf", "operator"), None, now=time.time(), signers=role),
            "a device": signers.changed(held.device_credentials("pi-9"), None, now=time.time(), signers=role),
            "an administrator who was issued by the hub's signing key": signers.changed(
                by_hand(KeyPair.from_seed((alone.place.keys / "role-device.nk").read_text().strip()), ops),
                None,
                now=time.time(),
                signers=role,
            ),
            "an administrator, changed afterwards": tampered(owner, mine.public),
            "nobody": b'{"document":"{}"}',
            "rubbish": b"\xff\x00",
        }
        for who, data in forged.items():
            before = len(await told(thief, "trust.signers_refused"))
            ack = json.loads((await request(thief, SIGNERS, data, what="forge")).data)
            assert "error" not in ack

            async def refused(before: int = before) -> bool:
                return len(await told(thief, "trust.signers_refused")) > before

            await until(refused, f"the device refuses what was signed by {who}")
            assert pins(device) == known, who

        # A true one is followed, so the device was listening all the time; and the older one is not followed again.
        admin = owner.operator_credentials("olga", "admin")
        lost = KeyPair.generate("user").public
        first = signers.changed(admin, None, now=time.time(), revoke={lost: 1})
        second = signers.changed(admin, first, now=time.time() + 1, revoke={lost: 2})
        await request(thief, SIGNERS, second, what="write")
        await until(lambda: pins(device).revoked == {lost: 2}, "the device follows its administrator")
        before = len(await told(thief, "trust.signers_refused"))
        await request(thief, SIGNERS, first, what="replay")

        async def refused_again() -> bool:
            return len(await told(thief, "trust.signers_refused")) > before

        await until(refused_again, "the device refuses the older document")
        assert pins(device).revoked == {lost: 2} and pins(device).signers == known.signers


def tampered(owner: Owner, mine: str) -> bytes:
    """A true document with another body."""
    stored = json.loads(signers.changed(owner.operator_credentials("olga", "admin"), None, now=time.time(), revoke={mine: 1}))
    envelope = json.loads(stored["document"])
    envelope["body"] = json.dumps({"signers": {mine: "admin"}})
    return json.dumps({**stored, "document": json.dumps(envelope)}).encode()


async def told(client: Client, kind: str) -> list[wire.Event]:
    """The device's events of a kind."""
    found = read_all(client, "EDGE_EVENTS", "edge.from.pi-1.event.*", prefix="$JS.API")
    return [event for event in [wire.decode(item.data, wire.Event) async for item in found] if event.kind == kind]
