"""What must be true after the chaos of commands, whatever was killed in it. Pure: from what was written down to what is wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeagent.command import CANCEL, Entry, Result, is_final
from edgeagent.fleet.commandentry import LogEntry
from edgeagent.journalrows import Command
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.times import parse_rfc3339

__all__ = ["Device", "Kill", "Record", "Sent", "line_of", "meant", "problems"]

#: How exactly the moment of a kill is known, in seconds.
EXACT_SECONDS = 0.1
#: In these states something may have run; in all others nothing has.
MAY_HAVE_RUN = {"succeeded", "unknown", "failed", "cancelled", "timed_out"}


class Kill(NamedTuple):
    """time: Unix seconds. device: whose agent or leaf it was; empty for a part of the hub."""

    time: float
    what: str
    device: str = ""


@dataclass
class Sent:
    """A command that somebody sent. error: what he was told, empty when it was acknowledged. seconds: how long that took."""

    id: str
    line: str
    scopes: tuple[Scope, ...]
    error: str = ""
    seconds: float = 0.0
    cancelled: bool = False


@dataclass
class Device:
    """One device at the end. results: what the hub has of it by the id of the command, all messages of it. lines: what was written."""

    groups: tuple[str, ...]
    labels: Mapping[str, str]
    results: dict[str, list[Result]] = field(default_factory=dict)
    journal: dict[str, Command] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


@dataclass
class Record:
    """All that happened. cuts: how often a cable was pulled. put_back: devices whose store did not stay what it was, so that what they
    know of their own is not all."""

    devices: dict[str, Device]
    sent: list[Sent] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    entries: list[LogEntry] = field(default_factory=list)
    cuts: int = 0
    put_back: frozenset[str] = frozenset()

    def hit(self, device: str, since: float, until: float) -> int:
        """How often the device's agent was killed in between."""
        near = (since - EXACT_SECONDS, until + EXACT_SECONDS)
        return sum(kill.what == "agent" and kill.device == device and near[0] <= kill.time <= near[1] for kill in self.kills)


def line_of(entry: Entry) -> str:
    """The line that the command writes."""
    return str(entry.args["line"] if "line" in entry.args else entry.args["argv"][2])


def meant(record: Record, name: str) -> dict[str, Entry]:
    """The commands in the logs that are for this device, by their ids."""
    device, found = record.devices[name], dict[str, Entry]()
    for item in record.entries:
        entry, scope = item.entry, item.scope
        if entry is None or entry.action == CANCEL:
            continue
        reached = scope == FLEET_ALL or (scope.name in device.groups if scope.kind == "group" else scope.name == name)
        if reached and all(device.labels.get(key) == value for key, value in entry.target.labels.items()):
            found.setdefault(entry.id, entry)
    return found


def problems(record: Record, *, ordered: bool = True) -> list[str]:
    """What is wrong; empty when all is as it must be. ordered: whether there is one order of the entries, so that there was one hub."""
    found = list(_sending(record))
    for name in record.devices:
        found += _states(record, name)
        found += _lines(record, name)
        found += _order(record, name) if ordered else []
    return found


def _sending(record: Record) -> Iterator[str]:
    places = Counter((item.entry.id, item.scope) for item in record.entries if item.entry)
    yield from (
        f"{command} stands {count} times in the log of {scope}" for (command, scope), count in places.items() if count > 1
    )
    yield from (f"entry {item.number} of {item.scope}: {item.problem}" for item in record.entries if item.problem)
    for sent in record.sent:
        there = [scope for scope in sent.scopes if places[sent.id, scope]]
        if not sent.error and len(there) < len(sent.scopes):
            yield f"{sent.id} was acknowledged, and is in {len(there)} of {len(sent.scopes)} logs"
        if sent.error and there and sent.id not in sent.error:
            yield f"{sent.id} is in {len(there)} of {len(sent.scopes)} logs, and its sender was only told: {sent.error}"


def _states(record: Record, name: str) -> Iterator[str]:
    device, wanted = record.devices[name], meant(record, name)
    yield from (f"{name} answers {command}, which is not for it" for command in device.results.keys() - wanted.keys())
    cancelled = {str(item.entry.args.get("id")) for item in record.entries if item.entry and item.entry.action == CANCEL}
    for command in wanted:
        stored, own = device.results.get(command, []), device.journal.get(command)
        if len(stored) != 1 or not is_final(stored[0].state):
            yield f"{name} {command}: the hub has {[each.state for each in stored]}"
            continue
        result = stored[0]
        if own is None or own.result != result:
            yield f"{name} {command}: the hub has {result}, the journal {own}"
            continue
        if result.state not in ("succeeded", "unknown", "expired", "cancelled"):
            yield f"{name} {command}: {result.state} ({result.reason})"
        if result.state == "cancelled" and command not in cancelled:
            yield f"{name} {command}: cancelled by nobody"
        if name not in record.put_back:
            yield from _begun(record, name, own)


def _begun(record: Record, name: str, own: Command) -> Iterator[str]:
    """Whether it began as often as it may have, and is unknown only for a reason."""
    result = own.result
    if result.state == "unknown":
        hit = bool(result.started) and record.hit(name, _time(result.started), _time(result.ended))
        if not hit or result.action == "test.chaos.again":
            yield f"{name} {own.id}: unknown, and no kill hit it ({result})"
    kills = record.hit(name, _time(result.accepted), _time(result.ended))
    if own.begun > 1 and (result.action != "test.chaos.again" or own.begun > kills + 1):
        yield f"{name} {own.id}: begun {own.begun} times, with {kills} kills"


def _lines(record: Record, name: str) -> Iterator[str]:
    device, wanted = record.devices[name], meant(record, name)
    counts = Counter(device.lines)
    known = {line_of(entry) for entry in wanted.values()}
    yield from (f"{name} wrote {line}, which was not for it" for line in counts.keys() - known)
    for command, entry in wanted.items():
        written, own = counts[line_of(entry)], device.journal.get(command)
        if own is None:
            continue  # told already
        most = max(1, own.begun) if entry.action == "test.chaos.again" else 1
        most = most if own.result.state in MAY_HAVE_RUN and (own.begun or name in record.put_back) else 0
        least = 1 if own.result.state == "succeeded" else 0
        if name in record.put_back and entry.action == "test.chaos.again":
            most = max(most, written)
        if not least <= written <= most:
            yield f"{name} {command} wrote {written} lines, begun {own.begun} times: {own.result}"


def _order(record: Record, name: str) -> Iterator[str]:
    device = record.devices[name]
    numbers: dict[tuple[str, str], int] = {
        (str(item.scope), line_of(item.entry)): item.number
        for item in record.entries
        if item.entry and item.entry.action not in (CANCEL, "test.chaos.beside")
    }
    scopes = {line_of(entry): own.scope for own, entry in _taken(record, name)}
    last: dict[str, int] = defaultdict(int)
    for line in device.lines:
        scope = scopes.get(line, "")
        number = numbers.get((scope, line))
        if number is None:
            continue
        if number < last[scope] and name not in record.put_back:
            yield f"{name}: {line}, entry {number} of {scope}, ran after entry {last[scope]}"
        last[scope] = max(number, last[scope])


def _taken(record: Record, name: str) -> Iterator[tuple[Command, Entry]]:
    device = record.devices[name]
    for command, entry in meant(record, name).items():
        if command in device.journal:
            yield device.journal[command], entry


def _time(text: str) -> float:
    return parse_rfc3339(text).timestamp() if text else 0.0
