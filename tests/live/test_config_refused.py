"""A device obeys nobody but its people: everything else that can stand in the hub's store, put there and looked at what becomes of it.

The attacker has the hub: its login, its disk, and what other people signed.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import msgspec
import pytest
import pytest_asyncio

from edgeagent import subjects
from edgeagent.direct import get_last
from edgeagent.errors import Failed
from edgeagent.fleet import Fleet, signers
from edgeagent.hub.keyring import role_key
from edgeagent.hub.owner import Owner
from edgeagent.link import Client, request
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import load as load_pins
from edgeagent.trust.signed import Signed, peek, sign
from tests.support.administering import inside
from tests.support.configured import ID, Configured, configured
from tests.support.configuring import Writer, document
from tests.support.servers import until

BERLIN, MUNICH, DEVICE = Scope.group("berlin"), Scope.group("munich"), Scope.device(ID)
STREAM = f"KV_{subjects.CONFIG_BUCKET}"
#: What good documents say, and what attackers would have.
GOOD_SECONDS, EVIL_SECONDS = 1.25, 3599.0
DAY = 86_400


def now() -> int:
    return int(time.time())


class World:
    """The device, whom it trusts, and what it follows in each scope."""

    def __init__(self, pi: Configured) -> None:
        self.pi, self.owner = pi, pi.fleet.owner
        self.olga = self.owner.operator_credentials("olga", "operator")
        self.number = int(time.time() * 1000)
        self.good: dict[Scope, bytes] = {}
        self.attacked: set[str] = set()

    def next(self) -> int:
        self.number += 1
        return self.number

    def document(self, scope: Scope, who: Credentials | None = None, **more: Any) -> bytes:
        """An evil one that is newer than what is followed; of olga unless another signs."""
        values = more.pop("values", evil(scope))
        return document(who or self.olga, scope, values, **{"number": self.next(), **more})

    def forged(self, scope: Scope, **fields: Any) -> bytes:
        """A good new document, with these of its fields changed after it was signed."""
        envelope = json.loads(self.document(scope, values=good(scope, 99)))
        return json.dumps({**envelope, **{name: change(envelope[name]) for name, change in fields.items()}}).encode()

    def person(self, role: Any, *groups: str, name: str = "kim", **more: Any) -> Credentials:
        return self.owner.operator_credentials(name, role, groups=groups, **more)


def good(scope: Scope, count: int) -> dict[str, Any]:
    return {"app": {scope.name: {"count": count}}, "agent": {"heartbeat_seconds": GOOD_SECONDS}}


def evil(scope: Scope) -> dict[str, Any]:
    return {"app": {scope.name: {"count": "evil"}}, "agent": {"heartbeat_seconds": EVIL_SECONDS, "log_level": "error"}}


# ---- the attacks -------------------------------------------------------------------------------------------------------------


class Attack(NamedTuple):
    """made: what is stored in the scope, b"" with a header being a deletion. why: part of what the device says.

    scope: where; None: in a group of its own. went_back: it is no forgery, but the hub shows less than before.
    """

    made: Callable[[World, Scope], bytes]
    why: str
    scope: Scope | None = None
    went_back: bool = False
    headers: dict[str, str] | None = None


def flipped(text: str) -> str:
    """One bit of it, in the middle, the other way."""
    place = len(text) // 2
    return f"{text[:place]}{'A' if text[place] != 'A' else 'B'}{text[place + 1 :]}"


def newer(number: int) -> int:
    return number + 1


def by_a_role_of_the_hubs_making(world: World, scope: Scope) -> bytes:
    return world.document(scope, issued_by(KeyPair.generate("account"), world))


def by_a_role_that_the_hub_has(world: World, scope: Scope) -> bytes:
    """The hub makes devices, so it has their role's key."""
    return world.document(scope, issued_by(world.owner.key(role_key("device")), world))


def issued_by(role: KeyPair, world: World) -> Credentials:
    key = KeyPair.generate("user")
    ops = jwt.claims(world.olga.jwt)["nats"]["issuer_account"]
    token = jwt.scoped_user(role, subject=key.public, name="olga", account=ops, issued_at=now(), expires_at=now() + DAY)
    return Credentials(token, key.seed)


def by_a_login_that_names_a_pinned_role(world: World, scope: Scope) -> bytes:
    """Signed by nobody's role key, but claiming to be the operators'."""
    key, own = KeyPair.generate("user"), KeyPair.generate("account")
    claims = {**jwt.claims(world.olga.jwt), "sub": key.public}
    head, _, _ = world.olga.jwt.split(".")
    text = f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}"
    signature = base64.urlsafe_b64encode(own.sign(text.encode())).rstrip(b"=").decode()
    return world.document(scope, Credentials(f"{text}.{signature}", key.seed))


def with_anothers_login(world: World, scope: Scope) -> bytes:
    """Signed by olga, and the login of an administrator put in the place of hers."""
    return world.forged(scope, signer=lambda _: world.person("admin").jwt)


def moved_here(world: World, scope: Scope) -> bytes:
    """What was signed for the group munich, under this group's key, and saying that it is for it."""
    envelope = msgspec.json.decode(world.document(MUNICH, values=evil(scope)), type=Signed)
    return msgspec.json.encode(msgspec.structs.replace(envelope, scope=str(scope)))


def command(world: World, scope: Scope) -> bytes:
    body = msgspec.json.encode({"values": evil(scope)})
    return sign(world.olga, kind="command", scope=scope, number=world.next(), at=now(), body=body)


def well_signed(text: bytes) -> Callable[[World, Scope], bytes]:
    return lambda world, scope: sign(world.olga, kind="config", scope=scope, number=world.next(), at=now(), body=text)


def same_generation(world: World, scope: Scope) -> bytes:
    return world.document(scope, number=peek(world.good[scope]).number)


def older(world: World, scope: Scope) -> bytes:
    return world.document(scope, number=peek(world.good[scope]).number - 1)


def limited(world: World, scope: Scope) -> bytes:
    return world.document(scope, world.person("operator", "berlin"))


ATTACKS: dict[str, Attack] = {
    # Genuine once, changed since.
    "a byte of the body": Attack(
        partial(World.forged, body=lambda text: text.replace("99", "98")), "its signature is not olga's"
    ),
    "a byte of the signature": Attack(partial(World.forged, signature=flipped), "its signature is not olga's"),
    "no signature": Attack(partial(World.forged, signature=lambda _: ""), "its signature is not olga's"),
    "a newer generation": Attack(partial(World.forged, number=newer), "its signature is not olga's"),
    "another time": Attack(partial(World.forged, at=newer), "its signature is not olga's"),
    "a byte of the login": Attack(partial(World.forged, signer=flipped), "its signer is not known here"),
    "another's login": Attack(with_anothers_login, "its signature is not kim's"),
    "moved to another scope": Attack(moved_here, "its signature is not olga's"),
    # Genuine, but for something else.
    "of another scope": Attack(lambda world, scope: world.document(MUNICH), "it was signed as config for group.munich"),
    "of a group, to the device": Attack(lambda world, scope: world.document(BERLIN), "signed as config for group.berlin", DEVICE),
    "of another kind": Attack(command, "it was signed as command for"),
    "of the same generation": Attack(same_generation, "it is another document of the same generation"),
    "older": Attack(older, "is older than the one that this device follows", went_back=True),
    "deleted": Attack(lambda world, scope: b"", "no configuration for", went_back=True, headers={"KV-Operation": "DEL"}),
    "purged": Attack(lambda world, scope: b"", "no configuration for", went_back=True, headers={"KV-Operation": "PURGE"}),
    # Of somebody who may not.
    "an operator of its own": Attack(
        lambda world, scope: world.document(scope, Owner.create("thief").operator_credentials("olga", "admin")),
        "its signer is not known here",
    ),
    "a role of the hub's making": Attack(by_a_role_of_the_hubs_making, "its signer is not known here"),
    "a role that the hub has": Attack(by_a_role_that_the_hub_has, "its signer is not known here"),
    "a role that it only names": Attack(by_a_login_that_names_a_pinned_role, "its signer is not known here"),
    "a login without its key": Attack(
        lambda world, scope: world.document(scope, Credentials(world.olga.jwt, KeyPair.generate("user").seed)),
        "its signature is not olga's",
    ),
    "a viewer": Attack(lambda world, scope: world.document(scope, world.person("viewer")), "its signer is not known here"),
    "an expired login": Attack(
        lambda world, scope: world.document(scope, world.person("operator", expires_in_seconds=60), at=now() + 61),
        "login had expired when it was signed",
    ),
    "before the login was issued": Attack(
        lambda world, scope: world.document(scope, at=now() - DAY, number=1), "signed before olga's login was issued"
    ),
    "limited to berlin, for the fleet": Attack(limited, "kim is limited to the groups berlin", FLEET_ALL),
    "limited to berlin, for munich": Attack(limited, "kim is limited to the groups berlin", MUNICH),
    "limited to berlin, for a device": Attack(limited, "kim is limited to the groups berlin", DEVICE),
    # Of somebody who may, but that can't be meant.
    "an impossible value": Attack(
        lambda world, scope: world.document(scope, values={**evil(scope), "query": {"burst": 0}}),
        "query.burst = 0: it must be at least 1",
    ),
    "a generation that nothing could replace": Attack(
        lambda world, scope: world.document(scope, number=(now() + 3650 * DAY) * 1000), "ahead of the time at which it was signed"
    ),
    "a generation that nobody can read": Attack(
        lambda world, scope: world.document(scope, world.person("operator", expires_in_seconds=None), number=10**33, at=10**30),
        "its generation is no number",
    ),
    "nesting, well signed": Attack(
        well_signed(b'{"values":{"a":' + b'{"b":' * 5000 + b"1" + b"}" * 5002), "cannot read a config"
    ),
    # No document at all.
    "cut short": Attack(lambda world, scope: world.document(scope)[:-1], "cannot read a"),
    "rubbish": Attack(lambda world, scope: b"\xff\x00rubbish" * 100, "cannot read a"),
    "nothing": Attack(lambda world, scope: b"", "cannot read a"),
    "nesting": Attack(lambda world, scope: b'{"a":' * 13_000, "cannot read a"),
}
#: A device reads a scope once a second at most, so attacks take turns in some groups: all of these, then good documents in all of these.
GROUPS = tuple(f"a{number}" for number in range(10))
BATCHES = [list(ATTACKS)[first : first + len(GROUPS)] for first in range(0, len(ATTACKS), len(GROUPS))]
REFUSED, AFTERWARDS = "refused", "a good one afterwards"
STEPS = [(name, step) for batch in BATCHES for step in (REFUSED, AFTERWARDS) for name in batch]


def scope_of(name: str) -> Scope:
    return ATTACKS[name].scope or Scope.group(GROUPS[list(ATTACKS).index(name) % len(GROUPS)])


# ---- the device, and what it shows -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A device that follows a good document in every scope."""
    with configured(tmp_path_factory.mktemp("refused"), *GROUPS, "berlin", "munich") as pi:
        made = World(pi)
        yield made


@pytest_asyncio.fixture
async def hub(world: World) -> AsyncIterator[Client]:
    """The attacker's."""
    async with inside(world.pi.fleet) as client:
        yield client


@pytest_asyncio.fixture
async def person(world: World, hub: Client) -> AsyncIterator[Client]:
    async with Fleet() as fleet:
        if not world.good:
            await everywhere(world, fleet.client, hub)
        yield fleet.client


async def everywhere(world: World, person: Client, hub: Client) -> None:
    """Have good documents followed in every scope."""
    scopes = [FLEET_ALL, *(Scope.group(group) for group in world.pi.groups), DEVICE]
    for scope in scopes:
        world.good[scope] = world.document(scope, values=good(scope, 1))
        await put(hub, scope, world.good[scope])
    for scope in scopes:
        await world.pi.follows(person, scope, peek(world.good[scope]).number)


async def put(hub: Client, scope: Scope, data: bytes, headers: dict[str, str] | None = None) -> None:
    answer = await request(hub, subjects.document(scope), data, what="store it", headers=headers)
    assert "error" not in json.loads(answer.data), answer.data


async def refused(world: World, person: Client, scope: Scope, why: str, kind: str = "config.refused") -> str:
    """Wait until the device says this in a report and in an event, and look that nothing else became of it; what it says."""
    wanted = peek(world.good[scope])

    async def said() -> bool:
        return why in (await world.pi.scope(person, scope)).error

    await until(said, why)
    found = await world.pi.scope(person, scope)
    assert found.applied == wanted.number
    event = await world.pi.told(person, kind, found.error)
    assert (event.data["scope"], event.data["applied"], event.data["desired"]) == (str(scope), wanted.number, found.desired)
    # The heartbeat before a report is older than what the report says, and the agent answers after what it did before.
    assert await world.pi.heartbeat_seconds(person) == GOOD_SECONDS
    assert await world.pi.table(scope.name) == json.loads(wanted.body)["values"]["app"][scope.name]
    assert world.pi.is_alive
    return found.error


async def attack(world: World, person: Client, hub: Client, name: str) -> None:
    if name in world.attacked:
        return
    world.attacked.add(name)
    made, scope, before = ATTACKS[name], scope_of(name), world.pi.kept
    await put(hub, scope, made.made(world, scope), made.headers)
    await refused(world, person, scope, made.why, "config.hub_went_back" if made.went_back else "config.refused")
    assert world.pi.kept == before


async def followed(world: World, person: Client, hub: Client, scope: Scope) -> None:
    """A good document is followed now."""
    count = json.loads(peek(world.good[scope]).body)["values"]["app"][scope.name]["count"] + 1
    world.good[scope] = world.document(scope, values=good(scope, count))
    await put(hub, scope, world.good[scope])
    await world.pi.follows(person, scope, peek(world.good[scope]).number)
    assert await world.pi.table(scope.name) == {"count": count}


@pytest.mark.parametrize(("name", "step"), STEPS)
async def test_what_stands_in_the_hubs_store(world: World, person: Client, hub: Client, name: str, step: str) -> None:
    await attack(world, person, hub, name)
    if step == AFTERWARDS:
        await followed(world, person, hub, scope_of(name))


# ---- too large ---------------------------------------------------------------------------------------------------------------


async def test_the_hub_takes_no_large_document(world: World, person: Client) -> None:
    async with Fleet() as fleet:
        with pytest.raises(Failed, match="message size exceeds maximum"):
            await Writer.of(fleet).put(BERLIN, {"app": {"a": {"x": "y" * (65 << 10)}}})


@pytest.mark.parametrize("size", [300_000, 1_000_000])
async def test_a_hub_that_takes_it_is_not_followed(world: World, person: Client, hub: Client, size: int) -> None:
    """Well signed, by somebody who may, and as large as a message can be."""
    js = hub.jetstream()
    config = (await js.stream_info(STREAM)).config
    before = world.pi.kept
    await js.update_stream(config.evolve(max_msg_size=-1))
    try:
        data = world.document(BERLIN, values={**evil(BERLIN), "app": {"a": {"x": "y" * (size - 2000)}}})
        await put(hub, BERLIN, data)
        assert f"it has {len(data)} bytes" in await refused(world, person, BERLIN, "are allowed")
        assert world.pi.kept == before
        await followed(world, person, hub, BERLIN)
    finally:
        await js.update_stream(config)


async def test_one_that_no_link_can_carry_is_not_followed(world: World, person: Client, hub: Client) -> None:
    """With what the hub says around it, it is larger than a message may be: the leaf hangs up, dials, and is told the same again."""
    js = hub.jetstream()
    config = (await js.stream_info(STREAM)).config
    before = world.pi.kept
    await js.update_stream(config.evolve(max_msg_size=-1))
    try:
        await put(hub, BERLIN, b"x" * ((1 << 20) - 10))
        log = world.pi.device.state / "leaf.log"
        await until(lambda: log.read_text().count("maximum payload exceeded") > 1, "the leaf was told twice")
        assert world.pi.is_alive and world.pi.kept == before
        assert await world.pi.table("berlin") == json.loads(peek(world.good[BERLIN]).body)["values"]["app"]["berlin"]
        await followed(world, person, hub, BERLIN)
    finally:
        await js.update_stream(config)


# ---- whom to trust is another matter now -------------------------------------------------------------------------------------


async def test_a_new_role_key_lets_in_what_was_refused_before(world: World, person: Client, hub: Client) -> None:
    """Without its being put again; and taking it away does not undo what was followed."""
    role, pins = KeyPair.generate("account"), world.owner.signers()
    data = world.document(BERLIN, issued_by(role, world), values=good(BERLIN, 500))
    await put(hub, BERLIN, data)
    await refused(world, person, BERLIN, "its signer is not known here")
    async with Fleet() as fleet:
        await signers.change(fleet.client, fleet.login, role_keys={**pins, role.public: "operator"})
        await world.pi.follows(person, BERLIN, peek(data).number)
        assert await world.pi.table("berlin") == {"count": 500}
        world.good[BERLIN] = data
        await signers.change(fleet.client, fleet.login, role_keys=pins)
    await until(lambda: trusted(world) == pins, "the device has the old pins")
    await put(hub, BERLIN, world.document(BERLIN, issued_by(role, world)))
    await refused(world, person, BERLIN, "its signer is not known here")
    await followed(world, person, hub, BERLIN)


def trusted(world: World) -> dict[str, str]:
    return load_pins(world.pi.device.state / "trust.json").signers


async def test_a_stolen_login_that_was_revoked_signs_nothing_any_more(world: World, person: Client, hub: Client) -> None:
    stolen = world.person("operator", name="mallory")
    async with Fleet() as fleet:
        await signers.change(fleet.client, fleet.login, revoke={stolen.public_key: now() + 60})
        await until(lambda: stolen.public_key in revoked(world), "the device knows")
        data = world.document(MUNICH, stolen, values=good(MUNICH, 600))
        await put(hub, MUNICH, data)
        await refused(world, person, MUNICH, "mallory's login was revoked")
        await signers.change(fleet.client, fleet.login, unrevoke={stolen.public_key})
    await world.pi.follows(person, MUNICH, peek(data).number)
    world.good[MUNICH] = data


def revoked(world: World) -> dict[str, int]:
    return load_pins(world.pi.device.state / "trust.json").revoked


async def test_who_was_revoked_while_a_device_was_away_is_not_followed_when_it_comes_back(
    world: World, person: Client, hub: Client
) -> None:
    """The device learns of both at once: first whom to trust, then what they say."""
    stolen = world.person("operator", name="eve")
    scopes = [FLEET_ALL, BERLIN, MUNICH, DEVICE, *(Scope.group(group) for group in GROUPS)]
    world.pi.stop()
    before = world.pi.kept
    for scope in scopes:
        await put(hub, scope, world.document(scope, stolen))
    async with Fleet() as fleet:
        await signers.change(fleet.client, fleet.login, revoke={stolen.public_key: now() + 60})
    world.pi.start()
    await world.pi.linked()
    for scope in scopes:
        await refused(world, person, scope, "eve's login was revoked")
    assert world.pi.kept == before
    for scope in scopes:
        await followed(world, person, hub, scope)


# ---- a restart forgets nothing -----------------------------------------------------------------------------------------------


async def test_a_restart_does_not_make_it_follow_what_it_refused(world: World, person: Client, hub: Client) -> None:
    """Nor the hub's older documents: what was followed last is the oldest that counts, for good."""
    old = world.good[DEVICE]
    await followed(world, person, hub, DEVICE)
    before = world.pi.kept
    await put(hub, BERLIN, world.forged(BERLIN, body=lambda text: text.replace("99", "98")))
    await put(hub, DEVICE, old)
    world.pi.stop()
    world.pi.start()
    await world.pi.linked()
    await refused(world, person, BERLIN, "its signature is not olga's")
    await refused(world, person, DEVICE, "is older than the one that this device follows", "config.hub_went_back")
    assert world.pi.kept == before
    stored = await get_last(person, STREAM, subjects.document(DEVICE))
    assert stored and stored.data == old, "the hub itself has nothing else"
    await followed(world, person, hub, DEVICE)
    await followed(world, person, hub, BERLIN)
