"""What a device does about each document that the hub may show it: whom it obeys, what it keeps, what it says."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent import lastgood, wire
from edgeagent.config import Value
from edgeagent.direct import Stored
from edgeagent.errors import EdgeError, Failed
from edgeagent.lastgood import FILE, Kept
from edgeagent.patterns.config import MAX_ERROR, MAX_IGNORED, MAX_NAME, MAX_NUMBER, Configuration, Judgement, judge, sources
from edgeagent.schema import AgentSettings
from edgeagent.settings import Settings
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import sign
from tests.support.configuring import document
from tests.support.powercut import killed_at

ISSUED, EXPIRES = 1_800_000_000, 1_802_000_000
NOW = ISSUED + 1000
ACCOUNT = KeyPair.generate("account").public
ROLES = {role: KeyPair.generate("account") for role in ("viewer", "operator", "admin", "group-operator")}
PINS = Pins(signers={key.public: role for role, key in ROLES.items()})
BERLIN, MUNICH, PI_1 = Scope.group("berlin"), Scope.group("munich"), Scope.device("pi-1")


def login(role: str, *tags: str, name: str = "", issuer: KeyPair | None = None, expires: int | None = EXPIRES) -> Credentials:
    key = KeyPair.generate("user")
    token = jwt.scoped_user(
        issuer or ROLES[role],
        subject=key.public,
        name=name or role,
        account=ACCOUNT,
        issued_at=ISSUED,
        expires_at=expires,
        tags=tags,
    )
    return Credentials(token, key.seed)


OLGA, ETERNAL = login("operator", name="olga"), login("operator", name="tim", expires=None)


def made(
    values: dict[str, Any] | None = None, *, scope: Scope = FLEET_ALL, number: int = NOW * 1000, who: Credentials = OLGA
) -> bytes:
    values = {"agent": {"heartbeat_seconds": 5}} if values is None else values
    return document(who, scope, values, number=number, at=max(NOW, number // 1000))


def body(text: bytes, who: Credentials = OLGA) -> bytes:
    return sign(who, kind="config", scope=FLEET_ALL, number=NOW * 1000, at=NOW, body=text)


def accepted(data: bytes, before: Kept | None = None, scope: Scope = FLEET_ALL) -> Kept:
    found = judge(scope, data, before, PINS)
    assert found.kept and not found.state.error and not found.went_back, found
    assert found.state.desired == found.state.applied == found.kept.generation
    return found.kept


def refusal(data: bytes, before: Kept | None = None, scope: Scope = FLEET_ALL, pins: Pins = PINS) -> str:
    found = judge(scope, data, before, pins)
    assert found.kept is None and not found.went_back and 0 < len(found.state.error) <= MAX_ERROR, found
    assert found.state.applied == (before.generation if before else 0)
    assert 0 <= found.state.desired <= MAX_NUMBER and wire.encode(found.state)
    return found.state.error


GOOD = accepted(made())


def test_whose_signer_was_revoked_is_no_floor_any_more() -> None:
    """Else a stolen login could sign for the far future, and nothing could ever replace that."""
    thief = login("operator", name="thief", expires=None)
    ahead = accepted(made(number=(ISSUED + 10 * 365 * 86_400) * 1000, who=thief))
    assert judge(FLEET_ALL, made(), ahead, PINS).went_back
    revoked = msgspec.structs.replace(PINS, revoked={thief.public_key: NOW})
    found = judge(FLEET_ALL, made(), ahead, revoked)
    assert found.kept and found.kept.generation == NOW * 1000


@pytest.mark.parametrize("claim", ["iss", "sub", "name"])
def test_text_that_no_message_can_carry_on_is_refused_and_told_without_it(claim: str) -> None:
    claims = {"iss": OLGA.public_key, "sub": OLGA.public_key, "name": "olga", "nats": {"type": "user"}, claim: "\ud800"}
    token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims, {}))
    envelope = {**json.loads(made()), "signer": token}
    assert wire.encode(wire.ScopeState(error=refusal(json.dumps(envelope).encode())))


# ---- whom it obeys -----------------------------------------------------------------------------------------------------------


def test_a_good_document_is_followed_and_all_that_is_known_of_it_kept() -> None:
    data = document(OLGA, FLEET_ALL, {"app": {"a": {"x": 1}}}, number=NOW * 1000 + 7, at=NOW, note="why")
    kept = accepted(data, GOOD)
    assert (kept.generation, kept.at, kept.signer, kept.note) == (NOW * 1000 + 7, NOW, "olga", "why")
    assert kept.values == {"app": {"a": {"x": 1}}} and len(kept.digest) == 64


def test_the_same_bytes_are_followed_already_whoever_is_trusted_now() -> None:
    data = made()
    before = accepted(data)
    good = Judgement(wire.ScopeState(desired=before.generation, applied=before.generation))
    assert judge(FLEET_ALL, data, before, PINS) == judge(FLEET_ALL, data, before, Pins()) == good


def test_no_byte_of_an_envelope_can_be_another() -> None:
    """Where it is one that counts: what is left either makes no sense, or says just the same."""
    data = made(number=NOW * 1000 + 1)
    chance = random.Random(1)
    for place in range(len(data)):
        other = bytearray(data)
        other[place] ^= 1 << chance.randrange(7)
        found = judge(FLEET_ALL, bytes(other), GOOD, PINS)
        assert found.kept is None or (found.kept.values, found.kept.generation) == (GOOD.values, NOW * 1000 + 1), place
    for length in range(len(data)):
        refusal(data[:length], GOOD)


def test_rubbish_of_every_kind_is_refused_and_never_an_error_of_ours() -> None:
    chance, data = random.Random(2), made()
    for _ in range(2000):
        other = bytearray(data)
        for _ in range(chance.choice([2, 4, 16])):
            other[chance.randrange(len(other))] = chance.randrange(256)
        assert judge(FLEET_ALL, bytes(other), GOOD, PINS).kept is None or bytes(other) == data
    envelope = json.loads(data)
    for name in envelope.keys() - {"v"}:
        for value in ("\ud800", "\0", "é" * 10_000, 1 << 70, -1, 10**4000, 1.5, None, True, [], {}, [[]] * 1000):
            refusal(json.dumps({**envelope, name: value}).encode(), GOOD)
        refusal(json.dumps({key: value for key, value in envelope.items() if key != name}).encode(), GOOD)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"null", b"\xff\xfe", b"[" * 65_000, b'{"a":' * 13_000, b"x" * (1 << 20), b'{"kind":"config"}' * 3000],
    ids=range(8),
)
def test_no_envelope(data: bytes) -> None:
    assert "cannot read a" in refusal(data, GOOD)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "read a configuration"),
        (b"[]", "read a configuration"),
        (b'{"values": {"a": ' + b'{"b":' * 6000 + b"1" + b"}" * 6000 + b"}}", "read a configuration"),
        (b'{"values": {"a": ' + b"[" * 20 + b"]" * 20 + b"}}", "deeper than 16"),
        (b'{"values": {"app": {"a": {"x": "\\ud800"}}}}', "read a configuration"),
        (b'{"values": {"app": {"a": {"x": 1e999}}}}', "read a configuration"),
        (b'{"values": {"app": {"a": {"x": NaN}}}}', "read a configuration"),
        (b'{"values": {"app": {"a": {"x": ' + b"9" * 5000 + b"}}}}", "read a configuration"),
        (b'{"values": {"app": {"a": {"x": 9223372036854775808}}}}', "does not fit into 64 bits"),
        (b'{"values": {"agent": {"heartbeat_seconds": 0}}}', "agent.heartbeat_seconds = 0: it must be at least 1"),
        (b'{"values": {"agent": {"heartbeat_seconds": {}}}}', "agent.heartbeat_seconds = {}: it must be a number"),
        (b'{"values": {"agent": 5}}', "agent: it is a section"),
        (b'{"values": {"device": {"labels": {"A": "x"}}}}', "device.labels.A: it must be 1 to 63 of"),
        (b'{"values": {"app": {"a": {"x": null}}}}', "app.a.x: it must be text"),
    ],
    ids=range(14),
)
def test_well_signed_nonsense(text: bytes, why: str) -> None:
    assert why in refusal(body(text), None)


def test_who_is_not_pinned_may_not_or_is_not_trusted_any_more_is_not_followed() -> None:
    foreign = KeyPair.generate("account")
    assert "signer is not known here" in refusal(made(who=login("admin", issuer=foreign)))
    assert "knows nobody who may sign" in refusal(made(), pins=Pins())
    assert "has the role viewer" in refusal(made(who=login("viewer")))
    assert "olga's login was revoked" in refusal(made(), pins=Pins(signers=PINS.signers, revoked={OLGA.public_key: ISSUED}))
    stolen = Credentials(OLGA.jwt, KeyPair.generate("user").seed)
    assert "signature is not olga's" in refusal(made(who=stolen))
    limited = login("group-operator", "group:berlin", name="kim")
    accepted(made(scope=BERLIN, who=limited), scope=BERLIN)
    for scope in (FLEET_ALL, MUNICH, PI_1):
        assert "kim is limited to the groups berlin" in refusal(made(scope=scope, who=limited), scope=scope)


def test_a_document_is_for_one_scope_and_of_one_kind() -> None:
    assert "signed as config for group.berlin" in refusal(made(scope=BERLIN))
    command = sign(OLGA, kind="command", scope=FLEET_ALL, number=NOW * 1000, at=NOW, body=b'{"values": {}}')
    assert "signed as command for fleet.all" in refusal(command)


# ---- which of several ----------------------------------------------------------------------------------------------------------


def test_nothing_older_is_ever_followed() -> None:
    older = made(number=GOOD.generation - 1)
    found = judge(FLEET_ALL, older, GOOD, PINS)
    assert found.kept is None and found.went_back and "is older than the one that this device follows" in found.state.error
    assert (found.state.desired, found.state.applied) == (GOOD.generation - 1, GOOD.generation)
    accepted(made(number=GOOD.generation + 1), GOOD)


def test_one_generation_is_one_document() -> None:
    other = made({"agent": {"heartbeat_seconds": 6}}, number=GOOD.generation)
    assert "another document of the same generation" in refusal(other, GOOD)


def test_an_older_one_of_somebody_who_is_not_trusted_is_a_refusal_and_not_a_hub_that_went_back() -> None:
    assert "has the role viewer" in refusal(made(number=1, who=login("viewer")), GOOD)


def test_nothing_is_signed_so_far_ahead_that_nothing_could_replace_it() -> None:
    ahead = document(OLGA, FLEET_ALL, {}, number=(NOW + 10**6) * 1000, at=NOW)
    assert "ahead of the time" in refusal(ahead)
    later = document(OLGA, FLEET_ALL, {}, number=(EXPIRES + 10) * 1000, at=EXPIRES + 10)
    assert "had expired when it was signed" in refusal(later)
    for number in (MAX_NUMBER + 1, 10**30):
        data = document(ETERNAL, FLEET_ALL, {}, number=number, at=number // 1000 + 1)
        assert "its generation is no number that everybody can read" in refusal(data)


def test_who_was_revoked_leaves_no_generation_that_nothing_could_replace() -> None:
    far = accepted(made(number=10**15, who=ETERNAL), GOOD)
    assert judge(FLEET_ALL, made(number=GOOD.generation + 1), far, PINS).went_back
    pins = Pins(signers=PINS.signers, revoked={ETERNAL.public_key: ISSUED})
    found = judge(FLEET_ALL, made(number=GOOD.generation + 1), far, pins)
    assert found.kept and found.kept.signer == "olga"


def test_what_the_hub_has_lost_is_kept_and_said() -> None:
    assert judge(FLEET_ALL, None, None, PINS) == Judgement(wire.ScopeState())
    found = judge(FLEET_ALL, None, GOOD, PINS)
    assert found.kept is None and found.went_back and "has no configuration for fleet.all any more" in found.state.error
    assert (found.state.desired, found.state.applied) == (0, GOOD.generation)


def test_names_of_another_version_are_ignored_and_said_but_only_so_many() -> None:
    values = {"agent": {"mood": 1, "micro": False}, "tomorrow": {f"x{number}": 1 for number in range(100)}}
    found = judge(FLEET_ALL, made(values), None, PINS)
    assert found.kept and found.kept.values == values and found.state.ignored[0] == "agent.mood"
    assert len(found.state.ignored) == MAX_IGNORED and not found.state.error
    deep = judge(FLEET_ALL, made({"tomorrow": {"y" * 64: {"z" * 64: 1}}}), None, PINS)
    assert [len(name) for name in deep.state.ignored] == [MAX_NAME]


def test_what_is_wrong_is_said_in_no_more_words_than_a_report_has_room_for() -> None:
    many = {"device": {"labels": {f"WRONG-{number}": "é" * 200 for number in range(60)}}}
    said = refusal(made(many))
    assert len(said) == MAX_ERROR and said.endswith("…")


# ---- the configuration of a device -------------------------------------------------------------------------------------------


class Device:
    """A configuration in ``folder`` and what it said."""

    def __init__(self, folder: Path, *groups: str, own: Settings | None = None, pins: Pins = PINS) -> None:
        self.folder, self.pins, self.number = folder, pins, NOW * 1000
        self.events: list[tuple[str, str, str]] = []
        self.changes: list[Mapping[str, Value]] = []
        self.states = 0
        self.trouble: EdgeError | None = None
        self.config = Configuration(
            folder,
            "pi-1",
            own or Settings(),
            groups or ("berlin", "kitchen"),
            pins=self._trusted,
            tell=self._tell,
            on_change=lambda values: self.changes.append(dict(values)),
            on_state=self._count,
        )

    def _trusted(self) -> Pins:
        if self.trouble:
            raise self.trouble
        return self.pins

    def _tell(self, severity: str, kind: str, text: str, **data: object) -> None:
        msgspec.json.encode(data)
        self.events.append((severity, kind, text))

    def _count(self) -> None:
        self.states += 1

    async def shown(self, scope: Scope, data: bytes | None) -> None:
        stored = data if data is None else Stored("s", 1, datetime.now(timezone.utc), data, False)
        await self.config.changed(str(scope), stored)

    async def put(self, values: dict[str, Any], scope: Scope = FLEET_ALL, number: int | None = None) -> int:
        self.number = number or self.number + 1
        await self.shown(scope, made(values, scope=scope, number=self.number))
        return self.number

    def value(self, name: str) -> Any:
        return self.config.values[name].value

    def scope(self, scope: Scope = FLEET_ALL) -> wire.ScopeState:
        return self.config.state().scopes[str(scope)]

    @property
    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.events]

    @property
    def file(self) -> bytes:
        return (self.folder / FILE).read_bytes()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


async def test_what_is_followed_is_kept_before_it_takes_effect(device: Device) -> None:
    held: list[dict[str, Kept]] = []
    said: list[dict[str, wire.ScopeState]] = []

    def takes_effect(values: Mapping[str, Value]) -> None:
        held.append(lastgood.load(device.folder))
        said.append(device.config.state().scopes)

    device.config.on_change = takes_effect
    number = await device.put({"agent": {"heartbeat_seconds": 5}})
    assert [documents["fleet.all"].generation for documents in held] == [number]
    assert said == [{}], "what a report calls applied has taken effect"
    assert device.events == [("info", "config.applied", "follows the configuration for fleet.all that olga signed")]
    assert device.states and device.scope() == wire.ScopeState(desired=number, applied=number)
    assert Device(device.folder).value("agent.heartbeat_seconds") == 5


async def test_a_refusal_changes_nothing_but_what_is_said(device: Device) -> None:
    number = await device.put({"agent": {"heartbeat_seconds": 5}})
    before, values = device.file, device.config.values
    device.changes.clear()
    for data in (b"rubbish", made(number=number + 1, who=login("viewer")), made({"agent": {"micro": 7}}, number=number + 2)):
        await device.shown(FLEET_ALL, data)
        assert device.file == before and device.config.values == values and device.changes == []
        assert device.scope().applied == number and device.scope().error == device.events[-1][2]
        assert device.events[-1][:2] == ("error", "config.refused")
    assert device.config.refused() == ["fleet.all"]
    count = len(device.events)
    await device.shown(FLEET_ALL, made({"agent": {"micro": 7}}, number=number + 2))
    assert len(device.events) == count, "the same is told once"
    await device.put({"agent": {"heartbeat_seconds": 6}}, number=number + 3)
    assert device.value("agent.heartbeat_seconds") == 6 and device.config.refused() == []


async def test_a_hub_that_went_back_is_told_as_that(device: Device) -> None:
    old = made({"agent": {"heartbeat_seconds": 4}})
    number = await device.put({"agent": {"heartbeat_seconds": 5}})
    await device.shown(FLEET_ALL, old)
    assert device.events[-1][1] == "config.hub_went_back" and device.value("agent.heartbeat_seconds") == 5
    await device.shown(FLEET_ALL, None)
    assert device.events[-1][1] == "config.hub_went_back" and "wiped or replaced" in device.events[-1][2]
    assert device.scope() == wire.ScopeState(applied=number, error=device.events[-1][2])
    again = Device(device.folder)
    await again.shown(FLEET_ALL, old)
    assert again.kinds == ["config.hub_went_back"], "nor after a restart"
    await again.put({}, number=number + 1)
    assert again.scope() == wire.ScopeState(desired=number + 1, applied=number + 1)


async def test_a_scope_without_a_document_is_not_spoken_of(device: Device) -> None:
    await device.shown(FLEET_ALL, None)
    assert device.config.state() == wire.ConfigState() and device.events == []
    await device.shown(BERLIN, b"rubbish")
    await device.shown(BERLIN, None)
    assert device.config.state() == wire.ConfigState(), "what was refused is gone"


async def test_who_comes_to_be_trusted_is_followed_at_the_next_look(device: Device) -> None:
    device.pins = Pins()
    data = made()
    await device.shown(FLEET_ALL, data)
    assert device.config.refused() == ["fleet.all"]
    device.pins = PINS
    await device.shown(FLEET_ALL, data)
    assert device.config.refused() == [] and device.kinds == ["config.refused", "config.applied"]


async def test_pins_that_cannot_be_read_stop_nothing(device: Device) -> None:
    number = await device.put({"agent": {"heartbeat_seconds": 5}})
    device.trouble = Failed("read trust.json", "it is damaged")
    await device.put({"agent": {"heartbeat_seconds": 6}})
    assert device.value("agent.heartbeat_seconds") == 5 and device.scope().applied == number
    assert device.scope().error == "cannot read trust.json: it is damaged"


async def test_what_is_only_together_impossible_is_refused_for_the_scope_that_came_last(device: Device) -> None:
    halves = [{"device": {"labels": {f"{side}{number}": "x" for number in range(40)}}} for side in "ab"]
    await device.put(halves[0])
    before = device.file
    await device.put(halves[1], PI_1)
    assert "together with the others device.labels" in device.scope(PI_1).error and device.scope(PI_1).applied == 0
    assert device.file == before and not device.scope().error
    await device.put({"device": {"labels": {"b": "x"}}}, PI_1)
    assert len([name for name in device.config.values if name.startswith("device.labels.")]) == 41


# ---- layers and groups -------------------------------------------------------------------------------------------------------


async def test_the_layers(device: Device) -> None:
    for scope in (PI_1, Scope.group("kitchen"), BERLIN, FLEET_ALL):  # in whichever order they come
        words = {PI_1: "d", BERLIN: "db", Scope.group("kitchen"): "dbk", FLEET_ALL: "dbkf"}[scope]
        await device.put({"app": {"a": dict.fromkeys(words, str(scope))}}, scope)
    assert [device.value(f"app.a.{word}") for word in "dbkf"] == ["device.pi-1", "group.kitchen", "group.kitchen", "fleet.all"]
    device.config.set_groups(("kitchen", "berlin"))
    assert [device.value(f"app.a.{word}") for word in "dbkf"] == ["device.pi-1", "group.berlin", "group.kitchen", "fleet.all"]
    device.config.set_groups(("berlin",))
    assert [device.value(f"app.a.{word}") for word in "dbkf"] == ["device.pi-1", "group.berlin", "fleet.all", "fleet.all"]
    assert set(device.config.state().scopes) == {"fleet.all", "group.berlin", "device.pi-1"}
    assert device.config.state().values == {f"app.a.{word}": device.value(f"app.a.{word}") for word in "dbkf"}


async def test_who_comes_back_into_a_group_follows_nothing_older_than_before(device: Device) -> None:
    old = made({"app": {"a": {"x": 1}}}, scope=BERLIN)
    await device.put({"app": {"a": {"x": 2}}}, BERLIN)
    device.config.set_groups(("kitchen",))
    assert "app.a.x" not in device.config.values and device.changes
    device.config.set_groups(("kitchen", "berlin"))
    assert device.value("app.a.x") == 2
    await device.shown(BERLIN, old)
    assert device.value("app.a.x") == 2 and device.kinds[-1] == "config.hub_went_back"


async def test_agent_toml_counts_where_no_document_says_otherwise_and_is_reported(tmp_path: Path) -> None:
    device = Device(tmp_path, own=Settings(agent=AgentSettings(heartbeat_seconds=7, facts_seconds=8)))
    await device.put({"agent": {"heartbeat_seconds": 5}})
    state = device.config.state()
    assert state.values == {"agent.heartbeat_seconds": 5}
    assert state.settings == {"agent.heartbeat_seconds": 7.0, "agent.facts_seconds": 8.0}
    await device.put({})
    assert device.value("agent.heartbeat_seconds") == 7


async def test_what_counts_from_the_next_start_is_named_until_then(device: Device) -> None:
    await device.put({"leaf": {"ping_seconds": 44}})
    assert device.config.state().restart == ["leaf.ping_seconds"]
    assert Device(device.folder).config.state().restart == []
    await device.put({"leaf": {"ping_seconds": 30}})
    assert device.config.state().restart == [], "it is what the agent began with"


async def test_values_that_no_report_has_room_for_are_left_out(device: Device) -> None:
    await device.put({"app": {"a": {f"k{number}": "x" * 1000 for number in range(20)}}})
    state = device.config.state()
    assert state.left_out and state.values == {} and state.scopes["fleet.all"].applied == device.number


def test_what_is_followed_and_its_doorbell() -> None:
    found = sources("pi-1", ["kitchen", "berlin"])
    assert [source.key for source in found] == ["fleet.all", "group.kitchen", "group.berlin", "device.pi-1"]
    assert (found[1].stream, found[1].subject) == ("KV_edge_config", "$KV.edge_config.group.kitchen")
    assert found[1].doorbell == "edge.to.group.kitchen.config"


# ---- the disk ----------------------------------------------------------------------------------------------------------------


async def test_a_disk_that_keeps_nothing_and_is_mended(device: Device) -> None:
    """What is followed is followed; that it would be forgotten at the next start is said, and by no other scope."""
    first = await device.put({"agent": {"heartbeat_seconds": 5}})
    (device.folder / FILE).unlink()
    (device.folder / FILE).mkdir()
    with pytest.raises(EdgeError, match="it is a folder"):
        await device.put({"agent": {"heartbeat_seconds": 6}})
    assert device.value("agent.heartbeat_seconds") == 6 and device.changes[-1]["agent.heartbeat_seconds"].value == 6
    state = device.scope()
    assert state.applied == state.desired == first + 1 and state.error.startswith("it is followed, but not kept: cannot write")
    with pytest.raises(EdgeError):
        await device.shown(BERLIN, b"rubbish")
    assert "cannot read" in device.scope(BERLIN).error and "not kept" in device.scope().error
    (device.folder / FILE).rmdir()
    await device.shown(BERLIN, b"more rubbish")  # whatever comes next
    assert device.scope() == wire.ScopeState(desired=first + 1, applied=first + 1)
    assert lastgood.load(device.folder)["fleet.all"].generation == first + 1


@pytest.mark.parametrize("data", [b"", b"{", b"\0" * 100, b'{"documents": {"fleet.all": 5}}'], ids=range(4))
async def test_a_damaged_file_is_told_and_the_hubs_documents_read_again(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    device = Device(tmp_path)
    assert [event[:2] for event in device.events] == [("error", "config.lost")] and device.value("agent.heartbeat_seconds") == 60
    await device.put({"agent": {"heartbeat_seconds": 5}})
    assert Device(tmp_path).value("agent.heartbeat_seconds") == 5


async def test_of_what_another_version_kept_all_counts_that_this_one_can_use(tmp_path: Path) -> None:
    bad = {"agent": {"heartbeat_seconds": "hourly", "facts_seconds": 9}, "app": {"a": {"x": 1}}}
    lastgood.save(tmp_path, {"fleet.all": msgspec.structs.replace(GOOD, values=bad), "group.berlin": GOOD})
    device = Device(tmp_path)
    assert device.kinds == ["config.lost"] and "agent.heartbeat_seconds = 'hourly'" in device.events[0][2]
    assert device.value("agent.heartbeat_seconds") == 5, "the other document's"
    assert device.value("agent.facts_seconds") == 9 and device.value("app.a.x") == 1
    await device.shown(FLEET_ALL, made({"agent": {"facts_seconds": 8}}, number=GOOD.generation - 1))
    assert device.value("agent.facts_seconds") == 9 and device.kinds[-1] == "config.hub_went_back", "and nothing older"
    await device.put({"agent": {"facts_seconds": 7}})
    assert device.value("agent.facts_seconds") == 7 and Device(tmp_path).events == []


def test_kept_labels_that_are_too_many_together_do_not_stop_it(tmp_path: Path) -> None:
    halves = [{"device": {"labels": {f"{side}{number}": "x" for number in range(40)}}} for side in "ab"]
    both = [msgspec.structs.replace(GOOD, values=half) for half in halves]
    lastgood.save(tmp_path, {"fleet.all": both[0], "group.berlin": both[1]})
    assert len(Device(tmp_path).config.values) > 80


def test_killed_at_every_step_of_following_the_old_or_the_new_is_there(tmp_path: Path) -> None:
    """The whole way: from the stored document to its effect."""
    step, seen = 1, []
    while True:
        folder = tmp_path / f"{step}"
        folder.mkdir()
        device = Device(folder)
        asyncio.run(device.put({"agent": {"heartbeat_seconds": 5}}))

        def follow(device: Device = device) -> None:
            asyncio.run(device.put({"agent": {"heartbeat_seconds": 6}}))

        if not killed_at(step, follow):
            break
        after = Device(folder)
        assert after.events == [] and after.value("agent.heartbeat_seconds") in (5, 6)
        seen.append(after.value("agent.heartbeat_seconds"))
        asyncio.run(after.put({"agent": {"heartbeat_seconds": 7}}, number=device.number + 5))
        assert Device(folder).value("agent.heartbeat_seconds") == 7
        step += 1
    assert Device(folder).value("agent.heartbeat_seconds") == 6 and step > 12
    assert seen[0] == 5 and 6 in seen and seen == sorted(seen)
