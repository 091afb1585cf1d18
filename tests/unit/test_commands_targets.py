"""Whom a command is for and what it may be, without a hub: logs, targets, expiry, clocks, numbers of devices."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import pytest_asyncio

from edgeagent import wire
from edgeagent.administration import AuditEntry
from edgeagent.cel import Evaluator
from edgeagent.command import Target, is_made_by
from edgeagent.errors import Refused, UsageProblem
from edgeagent.fleet import audit
from edgeagent.fleet.commandorder import Order, Wish, action_of, check_clock, check_count, expiry_of, known_actions
from edgeagent.fleet.commands import to_retry
from edgeagent.fleet.commandstatus import Row
from edgeagent.fleet.commandtargets import Aim, Meant, aimed, check, meant
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.selector import Selector
from edgeagent.fleet.states import Known
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.times import rfc3339

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
BERLIN, MUNICH = Scope.group("berlin"), Scope.group("munich")


@pytest_asyncio.fixture
async def evaluator() -> AsyncIterator[Evaluator]:
    made = Evaluator()
    yield made
    await made.close()


def known(device: str, *groups: str, facts: dict[str, Any] | None = None, added: datetime = NOW, revoked: bool = False) -> Known:
    record = wire.DeviceRecord(id=device, groups=list(groups), added=rfc3339(added), revoked=revoked)
    return Known(device, record=record, report=wire.Report(id=device, facts=facts) if facts is not None else None)


def roster(*devices: Known) -> Roster:
    return Roster(NOW, {device.id: device for device in devices})


FLEET = roster(
    known("pi-01", "berlin", facts={"id": "pi-01", "labels": {"site": "north"}, "cpu": {"count": 4}}),
    known("pi-02", "berlin", "kitchen", facts={"id": "pi-02", "labels": {"site": "south"}, "cpu": {"count": 2}}),
    known("pi-03", "munich"),
    known("pi-04", "munich", facts={"id": "pi-04"}, revoked=True),
)


def select(**words: Any) -> Selector:
    chosen: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in words.items()}
    return Selector.of(**chosen)


@pytest.mark.parametrize(
    ("words", "own", "scopes", "target"),
    [
        ({}, (), (FLEET_ALL,), Target()),
        ({"labels": ["site=north"], "where": "a > 1"}, (), (FLEET_ALL,), Target(labels={"site": "north"}, where="a > 1")),
        ({"groups": ["berlin"], "devices": ["pi-03", "pi-03"]}, (), (BERLIN, Scope.device("pi-03")), Target()),
        ({}, ("berlin", "munich"), (BERLIN, MUNICH), Target()),
        ({"groups": ["munich"]}, ("berlin", "munich"), (MUNICH,), Target()),
        ({"devices": ["pi-01"]}, ("berlin", "munich"), (BERLIN, MUNICH), Target(devices=["pi-01"])),
    ],
    ids=["all", "filter", "union", "limited", "limited-group", "limited-device"],
)
def test_into_which_logs_a_command_goes(
    words: dict[str, Any], own: tuple[str, ...], scopes: tuple[Scope, ...], target: Target
) -> None:
    assert aimed(select(**words), own=own) == Aim(scopes=scopes, target=target)


async def hit(evaluator: Evaluator, aim: Aim, **more: Any) -> tuple[list[str], list[str]]:
    found = await meant(evaluator, FLEET, aim, **more)
    return [one.id for one in found.sure], [one.id for one in found.unsure]


@pytest.mark.parametrize(
    ("aim", "sure", "unsure"),
    [
        (Aim(scopes=(FLEET_ALL,)), ["pi-01", "pi-02", "pi-03"], []),
        (Aim(scopes=(BERLIN, Scope.device("pi-03"))), ["pi-01", "pi-02", "pi-03"], []),
        (Aim(scopes=(BERLIN, MUNICH), target=Target(devices=["pi-02"])), ["pi-02"], []),
        (Aim(scopes=(FLEET_ALL,), target=Target(labels={"site": "north"})), ["pi-01"], ["pi-03"]),
        (Aim(scopes=(BERLIN,), target=Target(where="cpu.count > 2 // four")), ["pi-01"], []),
        (Aim(scopes=(BERLIN,), target=Target(where="memory.utilization > 0.5")), [], ["pi-01", "pi-02"]),
        (Aim(scopes=(BERLIN,), target=Target(where="labels.floor == '1'")), [], []),
    ],
    ids=["all", "union", "devices", "label", "where", "volatile", "lacking"],
)
async def test_who_is_meant_by_the_reports(evaluator: Evaluator, aim: Aim, sure: list[str], unsure: list[str]) -> None:
    assert await hit(evaluator, aim) == (sure, unsure)


async def test_who_came_later_is_not_waited_for(evaluator: Evaluator) -> None:
    aim = Aim(scopes=(FLEET_ALL,))
    assert (await hit(evaluator, aim, signed=NOW - timedelta(seconds=200)))[0] == ["pi-01", "pi-02", "pi-03"], "clocks differ"
    assert await hit(evaluator, aim, signed=NOW - timedelta(hours=1)) == ([], [])


@pytest.mark.parametrize(
    ("aim", "own", "said"),
    [
        (Aim(scopes=(Scope.device("pi-1"),)), (), "did you mean 'pi-0"),
        (Aim(scopes=(Scope.group("berln"),)), (), "did you mean 'berlin'"),
        (Aim(scopes=(BERLIN,), target=Target(devices=["pi-03"])), ("berlin",), "it is in none of them"),
        (Aim(scopes=(BERLIN,), target=Target(devices=["pi-77"])), ("berlin",), "knows no such device"),
        (Aim(scopes=(FLEET_ALL,), target=Target(where="cpu.coount > 1")), (), "cpu.coount"),
    ],
    ids=["device", "group", "foreign", "unknown", "filter"],
)
async def test_a_name_that_is_not_there(evaluator: Evaluator, aim: Aim, own: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageProblem, match=f"(?i){said}"):
        await check(evaluator, FLEET, aim, own=own)


async def test_an_own_group_needs_no_device(evaluator: Evaluator) -> None:
    await check(evaluator, FLEET, Aim(scopes=(Scope.group("paris"),)), own=("paris",))


def test_how_long_a_command_is_good() -> None:
    ping = action_of("ping")
    assert expiry_of(ping, None) == ping.default_expiry_seconds and expiry_of(ping, 60) == 60
    for wrong in (0, ping.max_expiry_seconds + 1):
        with pytest.raises(UsageProblem, match="at most"):
            expiry_of(ping, wrong)
    entry = Wish(action="ping", expires_seconds=60, splay_seconds=60, note="why").entry(Aim(scopes=(BERLIN,)), "U")
    assert 55 < entry.not_after - time.time() <= 60 and (entry.splay_seconds, entry.note) == (60, "why")
    with pytest.raises(UsageProblem, match="does not fit"):
        Wish(action="ping", expires_seconds=60, splay_seconds=61).entry(Aim(scopes=(BERLIN,)), "U")
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"x": deep}
    with pytest.raises(UsageProblem, match="deeper than"):
        Wish(action="app.doors.open", args=deep).entry(Aim(scopes=(BERLIN,)), "U")


@pytest.mark.parametrize(
    ("off", "expires", "fits"), [(4, 30, True), (6, 30, False), (-6, 30, False), (299, 86_400, True), (301, 86_400, False)]
)
def test_a_clock_may_be_off_by_a_part_of_the_expiry(off: float, expires: float, fits: bool) -> None:
    hub = datetime.now(timezone.utc) + timedelta(seconds=off)
    if fits:
        check_clock(hub, expires)
        return
    with pytest.raises(Refused, match="behind" if off > 0 else "ahead of"):
        check_clock(hub, expires)


def test_nobody_and_too_many_are_said() -> None:
    devices = list(FLEET.devices.values())
    check_count(devices, 4)
    for wrong, most in (([], None), (devices, 3)):
        with pytest.raises(UsageProblem):
            check_count(wrong, most)


def test_who_thinks_for_long_loses_no_time() -> None:
    entry = Wish(action="ping").entry(Aim(scopes=(BERLIN,)), "U")
    order = Order(
        entry=entry,
        aim=Aim(scopes=(BERLIN,)),
        meant=Meant(sure=list(FLEET.devices.values())),
        roster=FLEET,
        expires_seconds=500,
        key="U",
    )
    later = order.renewed()
    assert (
        later.id != order.id
        and is_made_by(later.id, "U")
        and later.entry.not_after > entry.not_after
        and later.devices == order.devices
    )


def test_every_action_can_be_sent() -> None:
    names = [action.name for action in known_actions()]
    assert {"ping", "exec", "reboot", "logs"} <= set(names) and names == sorted(names)
    assert action_of("app.doors.open").name == "app.doors.open"
    with pytest.raises(UsageProblem, match="Did you mean 'reboot'"):
        action_of("rebot")


@pytest.mark.parametrize(
    ("state", "again"),
    [("failed", True), ("timed_out", True), ("unknown", True), ("expired", True), ("no answer", True)]
    + [(state, False) for state in ("succeeded", "refused", "cancelled", "waiting", "running")],
)
def test_which_devices_are_asked_once_more(state: str, again: bool) -> None:
    assert to_retry(Row(id="pi-01", state=state)) is again


def test_the_audit_shows_what_makes_no_sense_too() -> None:
    when = rfc3339(NOW)
    found = audit.records(
        [
            AuditEntry(1, "$KV.edge_config.group.berlin", when, b"", deleted=True),
            AuditEntry(2, "$KV.edge_config.group.berlin", when, b"rubbish"),
            AuditEntry(3, "$KV.edge_trust.authorities", when, b"{}"),
            AuditEntry(4, "edge.to.group.berlin.cmd.1", when, b"rubbish"),
            AuditEntry(5, "edge.to.group.berlin.cmd.x", when, b"rubbish"),
        ]
    )
    said = [(record.what, record.to, record.note, bool(record.problem)) for record in found]
    assert said == [
        ("config", "group.berlin", "deleted", False),
        ("config", "group.berlin", "", True),
        ("trust", "authorities", "", False),
        ("unreadable", "group.berlin 1", "", True),
        ("unreadable", "edge.to.group.berlin.cmd.x", "", True),
    ]
    assert found[3].as_dict()["problem"] and "id" not in found[3].as_dict()
