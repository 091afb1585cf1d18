"""What is to be said of the hub's store: of its disk, its limits, its servers and its streams. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edgeagent.assembly.findings import Finding, Level
from edgeagent.hub.storestate import ServerStore, is_full, is_low, largest_store, room_problem, silent
from edgeagent.hub.streams import STREAMS
from edgeagent.leaf.storelimit import Disk

__all__ = ["Fill", "disk", "fill", "limits", "takes"]

#: Of a stream that refuses what it has no room for: somebody should make room, and: soon nobody can write.
WARN_FILL, WRONG_FILL = 0.8, 0.95
_FREE = "free some space on it: `df -h` shows the disks. What met the full disk goes on by itself within a minute"
_REFUSING = frozenset(stream.name for stream in STREAMS if stream.refuse_when_full)


class Fill(NamedTuple):
    """How full a stream is, in bytes. gone: so many of its messages, the oldest, are not there any more."""

    stream: str
    used: int
    limit: int
    gone: int = 0

    @property
    def part(self) -> float:
        return self.used / self.limit if self.limit > 0 else 0.0


def disk(found: Disk) -> Finding:
    """Whether the disk of the store has room."""
    text = f"{found.free >> 20} MiB are free of {found.size >> 20} MiB"
    if is_full(found):
        return Finding("wrong", f"{text}: it is full, so nobody can command or configure anything", _FREE, "disk")
    if is_low(found):
        return Finding("warn", f"{text}: when it is full, nobody can command or configure anything", _FREE, "disk")
    return Finding("good", text, check="disk")


def limits(total: int, found: Disk, used: int, options_file: Path) -> Finding:
    """Whether a disk on which the store takes ``used`` bytes has room for ``total``, all that its streams may take."""
    problem = room_problem(total, found, used)
    if problem is None:
        return Finding("good", f"all streams may take {total >> 20} MiB, and there is room for that", check="limits")
    kind, why = problem
    if kind == "never":
        remedy = f"set `store_max_bytes` in {options_file} to {largest_store(found)} or less, or give the hub a larger disk"
        return Finding("wrong", f"{why}: it will run full", remedy, "limits")
    remedy = f"make room on the disk, or lower `store_max_bytes` in {options_file}, before it runs full"
    return Finding("warn", f"{why}", remedy, "limits")


def takes(servers: Sequence[ServerStore], size: int = 1) -> Iterator[Finding]:
    """Whether every server stores what is written. size: how many there are; the others go on while more than half of them do."""
    level: Level = "wrong" if silent(servers, size) else "warn"
    for server in servers:
        if not server.is_good:
            remedy = (
                "free some space on its disk if that is full: `edgeagent hub up` there restarts nats-server within a minute of that; "
                "else see server.log in the hub's folder there, and `dmesg | tail`"
            )
            yield Finding(level, f"{server.server} stores nothing: {server.why}", remedy, "store")
    if all(server.is_good for server in servers):
        yield Finding("good", "it takes what is written", check="store")


def fill(fills: Sequence[Fill]) -> Iterator[Finding]:
    """Whether the streams have room that refuse what does not fit; of the others, at their limit, the oldest go."""
    remedy = "raise `store_max_bytes` in hub.toml, where the disk has room for it, and start the hub again"
    tight = [each for each in fills if each.stream in _REFUSING and each.part >= WARN_FILL]
    for each in tight:
        level, text = (
            ("wrong", "takes hardly anything more") if each.part >= WRONG_FILL else ("warn", "refuses more once it is full")
        )
        yield Finding(level, f"{_words(each)}: it {text}", remedy, "fill")  # type: ignore[arg-type]  # one of two words
    for each in fills:
        if each.stream not in _REFUSING and each.part >= WRONG_FILL:
            yield Finding("good", f"{_words(each)}: the oldest go, {each.gone} until now", check="fill")
    if not tight:
        most = max(fills, key=lambda each: each.part, default=None)
        yield Finding("good", f"the fullest stream: {_words(most) if most else 'none'}", check="fill")


def _words(each: Fill) -> str:
    return f"{each.stream} has {each.part:.0%} of what it may take ({each.used >> 20} of {each.limit >> 20} MiB)"
