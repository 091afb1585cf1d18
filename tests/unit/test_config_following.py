"""The configuration of a device: what it keeps, what takes effect, what it says; layers, groups, and a disk that fails."""

from __future__ import annotations

import asyncio
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
from edgeagent.patterns.config import Configuration, sources
from edgeagent.schema import AgentSettings
from edgeagent.settings import Settings
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust.pins import Pins
from tests.support.configsigned import BERLIN, GOOD, NOW, PI_1, PINS, login, made
from tests.support.powercut import killed_at


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
    await device.put({"leaf": {"ping_seconds": 240}})
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
