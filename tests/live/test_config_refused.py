"""A device obeys nobody but its people: everything else that can stand in the hub's store, put there and looked at what becomes of it.

The attacker has the hub: its login, its disk, and what other people signed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from edgeagent import subjects
from edgeagent.direct import get_last
from edgeagent.errors import Failed
from edgeagent.fleet import Fleet, signers
from edgeagent.link import Client, request
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import load as load_pins
from edgeagent.trust.signed import peek
from tests.support.administering import inside
from tests.support.configattacks import ATTACKS, BERLIN, GOOD_SECONDS, MUNICH, STREAM, World, evil, good, issued_by, now
from tests.support.configured import DEVICE, configured
from tests.support.configuring import Writer
from tests.support.servers import until

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
