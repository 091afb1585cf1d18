"""The judge of the chaos of commands says what is wrong: every rule can be broken, and a good end breaks none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest

from edgeagent.command import Entry, Result
from edgeagent.fleet.commandentry import LogEntry
from edgeagent.journalrows import Command
from edgeagent.subjects import FLEET_ALL, Scope
from tests.support.chaosjudge import Device, Kill, Record, Sent, problems

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
PI = Scope.device("pi-1")


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(NOW.timestamp() + seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def entry(number: int, scope: Scope = FLEET_ALL, action: str = "test.chaos.once", command: str = "") -> LogEntry:
    name = command or f"C{number}"
    body = Entry(id=name, action=action, log="l", floor=1, not_after=1 << 40, args={"line": name.lower(), "seconds": 0})
    return LogEntry(scope, number, NOW, body, by="olga")


def own(name: str, state: Any = "succeeded", *, begun: int = 1, action: str = "test.chaos.once") -> Command:
    result = Result(id=name, state=state, action=action, accepted=moment(0), started=moment(1) if begun else "", ended=moment(3))
    return Command(1, "fleet.all", "{}", "K", 1 << 40, 0.0, False, 1.0, 5, "boot", begun, "", result, "")


def good() -> Record:
    """Two commands for all, of which the first was hit, and one for another device."""
    journal = {"C1": own("C1", "unknown"), "C2": own("C2")}
    device = Device(("berlin",), {}, {name: [found.result] for name, found in journal.items()}, journal, ["c1", "c2"])
    record = Record({"pi-1": device}, [Sent(name, name.lower(), (FLEET_ALL,)) for name in journal])
    record.entries = [entry(1), entry(2), entry(1, Scope.device("pi-2"), command="C3")]
    record.kills = [Kill(NOW.timestamp() + 2, "agent", "pi-1")]
    return record


def change(record: Record, name: str, **more: Any) -> None:
    """Say something else of a command, on the device and on the hub."""
    device = record.devices["pi-1"]
    begun = more.pop("begun", device.journal[name].begun)
    result = msgspec.structs.replace(device.journal[name].result, **more)
    device.journal[name] = device.journal[name]._replace(result=result, begun=begun)
    device.results[name] = [result]


def test_a_good_end_is_good() -> None:
    assert problems(good()) == []


def _twice_in_a_log(record: Record) -> None:
    record.entries.append(entry(3, command="C2"))


def _never_stored(record: Record) -> None:
    record.sent.append(Sent("C9", "c9", (PI,)))


def _stored_unsaid(record: Record) -> None:
    record.sent[0].error = "cannot send the command: no answer"


def _vanished(record: Record) -> None:
    del record.devices["pi-1"].results["C2"]


def _not_over(record: Record) -> None:
    change(record, "C2", state="accepted")


def _told_twice(record: Record) -> None:
    record.devices["pi-1"].results["C2"] *= 2


def _journal_differs(record: Record) -> None:
    record.devices["pi-1"].results["C2"] = [Result(id="C2", state="succeeded", reason="another")]


def _not_its_own(record: Record) -> None:
    record.devices["pi-1"].results["C3"] = [Result(id="C3", state="expired")]


def _failed(record: Record) -> None:
    change(record, "C2", state="failed")


def _cancelled_by_nobody(record: Record) -> None:
    change(record, "C2", state="cancelled")


def _unknown_without_a_kill(record: Record) -> None:
    record.kills = []


def _unknown_by_a_kill_of_the_leaf(record: Record) -> None:
    record.kills = [record.kills[0]._replace(what="leaf")]


def _unknown_though_idempotent(record: Record) -> None:
    change(record, "C1", action="test.chaos.again")


def _begun_twice(record: Record) -> None:
    change(record, "C2", begun=2)


def _ran_twice(record: Record) -> None:
    record.devices["pi-1"].lines.append("c2")


def _succeeded_without_a_line(record: Record) -> None:
    record.devices["pi-1"].lines.remove("c2")


def _ran_though_it_expired(record: Record) -> None:
    change(record, "C2", state="expired", begun=0)


def _ran_what_was_not_for_it(record: Record) -> None:
    record.devices["pi-1"].lines.append("c3")


def _out_of_order(record: Record) -> None:
    record.devices["pi-1"].lines.reverse()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_twice_in_a_log, "stands 2 times"),
        (_never_stored, "is in 0 of 1 logs"),
        (_stored_unsaid, "its sender was only told"),
        (_vanished, "the hub has []"),
        (_not_over, "the hub has ['accepted']"),
        (_told_twice, "the hub has ['succeeded', 'succeeded']"),
        (_journal_differs, "the journal"),
        (_not_its_own, "not for it"),
        (_failed, "failed"),
        (_cancelled_by_nobody, "cancelled by nobody"),
        (_unknown_without_a_kill, "no kill hit it"),
        (_unknown_by_a_kill_of_the_leaf, "no kill hit it"),
        (_unknown_though_idempotent, "no kill hit it"),
        (_begun_twice, "begun 2 times"),
        (_ran_twice, "wrote 2 lines"),
        (_succeeded_without_a_line, "wrote 0 lines"),
        (_ran_though_it_expired, "wrote 1 lines"),
        (_ran_what_was_not_for_it, "not for it"),
        (_out_of_order, "ran after entry 2"),
    ],
    ids=lambda value: value.__name__.lstrip("_") if callable(value) else "",
)
def test_each_rule_can_be_broken(spoil: Callable[[Record], None], said: str) -> None:
    record = good()
    spoil(record)
    found = problems(record)
    assert found and all(said in each for each in found[:1]), found
