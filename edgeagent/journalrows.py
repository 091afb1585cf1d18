"""What stands in the journal of commands, and what is given to it. Pure; :mod:`edgeagent.journal` has the file."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from edgeagent.command import Result

__all__ = ["COLUMNS", "SCHEMA", "Cancel", "Command", "New", "Position", "Step", "Taken", "permitted", "row_of"]

#: fence: sequence on the hub of the newest result of ours there, 0 or NULL for none. settled: nothing is left to do.
#: result: as command.Result, JSON; state and action stand in it too, and here to be found by.
SCHEMA = """
CREATE TABLE logs (scope TEXT PRIMARY KEY, log TEXT NOT NULL, cursor INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
  scope TEXT, number INTEGER, digest TEXT NOT NULL, not_after INTEGER NOT NULL, PRIMARY KEY (scope, number)
) WITHOUT ROWID;
CREATE TABLE cancels (
  scope TEXT, id TEXT, signer TEXT NOT NULL, actions TEXT NOT NULL, not_after INTEGER NOT NULL, PRIMARY KEY (scope, id)
) WITHOUT ROWID;
CREATE TABLE commands (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, scope TEXT NOT NULL, action TEXT NOT NULL, args TEXT NOT NULL,
  key TEXT NOT NULL, not_after INTEGER NOT NULL, splay_seconds REAL NOT NULL, concurrent INTEGER NOT NULL, taken REAL NOT NULL,
  fence INTEGER, boot TEXT NOT NULL, begun INTEGER NOT NULL, cancelled_by TEXT NOT NULL, result BLOB NOT NULL,
  state TEXT NOT NULL, settled INTEGER NOT NULL
);
CREATE INDEX unsettled ON commands (state, concurrent, seq) WHERE settled = 0;
"""
COLUMNS = (
    "seq, id, scope, action, args, key, not_after, splay_seconds, concurrent, taken, fence, boot, begun, cancelled_by, result"
)


class Position(NamedTuple):
    """How far a log was read. log: its id; empty: nobody trusted has said it yet. cursor: number of the last entry, 0 for none."""

    log: str
    cursor: int


class New(NamedTuple):
    """A command to accept, or to note as ended without having run: ``result`` says which.

    key: the signer's public key. taken: the time, Unix seconds; 0 when it is not known. concurrent: it waits for no other.
    """

    result: Result
    args: dict[str, Any]
    key: str
    not_after: int
    splay_seconds: float = 0.0
    concurrent: bool = False
    taken: float = 0.0


class Cancel(NamedTuple):
    """A command to cancel. actions: globs of those that the signer is limited to; none: not limited."""

    id: str
    signer: str
    actions: tuple[str, ...] = ()


class Step(NamedTuple):
    """One entry of a log that was read. what: None for one that asks nothing of this device."""

    number: int
    digest: str
    not_after: int
    what: New | Cancel | None = None


class Taken(NamedTuple):
    """stop: ids of commands that run and are to be stopped. problems: ``(number, why)`` of entries that could not count."""

    stop: list[str]
    problems: list[tuple[int, str]]


class Command(NamedTuple):
    """A command in the journal. seq: its place in the order of all. fence: the sequence of our newest result on the hub, None: the
    hub was not told of it yet. boot: in which it last began. begun: how often. cancelled_by: who wants it stopped while it runs."""

    seq: int
    scope: str
    args: dict[str, Any]
    key: str
    not_after: int
    splay_seconds: float
    concurrent: bool
    taken: float
    fence: int | None
    boot: str
    begun: int
    cancelled_by: str
    result: Result

    @property
    def id(self) -> str:
        return self.result.id


def permitted(actions: Iterable[str], action: str) -> bool:
    """Whether a signer who is limited to ``actions`` (globs) may have a say about ``action``."""
    limits = list(actions)
    return not limits or any(fnmatchcase(action, limit) for limit in limits)


def row_of(row: tuple[Any, ...]) -> Command:
    """A row of :data:`COLUMNS`. Raises msgspec.DecodeError."""
    (
        seq,
        _,
        scope,
        _,
        args,
        key,
        not_after,
        splay_seconds,
        concurrent,
        taken,
        fence,
        boot,
        begun,
        cancelled_by,
        result,
    ) = row
    return Command(
        seq,
        scope,
        msgspec.json.decode(args),
        key,
        not_after,
        splay_seconds,
        bool(concurrent),
        taken,
        fence,
        boot,
        begun,
        cancelled_by,
        msgspec.json.decode(result, type=Result),
    )
