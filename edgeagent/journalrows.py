"""What stands in the journal of commands, and what is given to it. Pure; :mod:`edgeagent.journal` has the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from edgeagent.command import Result

__all__ = [
    "COLUMNS",
    "ENVELOPES",
    "SCHEMA",
    "WITHOUT_ARGS",
    "Cancel",
    "Command",
    "New",
    "Noted",
    "Position",
    "Step",
    "Taken",
    "args_text",
    "mark_of",
    "permitted",
    "row_of",
]

#: fence: sequence on the hub of the newest result of ours there, 0 or NULL for none. settled: nothing is left to do.
#: result: as command.Result, JSON; state and action stand in it too, and here to be found by.
#: mark: as mark_of; args are kept only until it has ended.
SCHEMA = """
CREATE TABLE logs (scope TEXT PRIMARY KEY, log TEXT NOT NULL, cursor INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
  scope TEXT, number INTEGER, digest TEXT NOT NULL, not_after INTEGER NOT NULL, PRIMARY KEY (scope, number)
) WITHOUT ROWID;
CREATE TABLE cancels (
  scope TEXT, id TEXT, key TEXT, signer TEXT NOT NULL, actions TEXT NOT NULL, not_after INTEGER NOT NULL, PRIMARY KEY (scope, id, key)
) WITHOUT ROWID;
CREATE TABLE commands (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, scope TEXT NOT NULL, action TEXT NOT NULL, args TEXT NOT NULL,
  key TEXT NOT NULL, not_after INTEGER NOT NULL, splay_seconds REAL NOT NULL, concurrent INTEGER NOT NULL, taken REAL NOT NULL,
  fence INTEGER, boot TEXT NOT NULL, begun INTEGER NOT NULL, cancelled_by TEXT NOT NULL, result BLOB NOT NULL,
  mark TEXT NOT NULL, state TEXT NOT NULL, settled INTEGER NOT NULL
);
CREATE INDEX unsettled ON commands (state, concurrent, seq) WHERE settled = 0;
"""
COLUMNS = (
    "seq, id, scope, action, args, key, not_after, splay_seconds, concurrent, taken, fence, boot, begun, cancelled_by, result"
)
#: The same for whoever needs no arguments, which may be large.
WITHOUT_ARGS = COLUMNS.replace(" args,", " '{}',")

#: Of each command whose action wants it. It came later, and an older agent goes on beside it: so it is no other version of the tables.
ENVELOPES = "CREATE TABLE IF NOT EXISTS envelopes (id TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID"

_encoder = msgspec.json.Encoder(order="deterministic")


class Position(NamedTuple):
    """How far a log was read. log: its id; empty: nobody trusted has said it yet. cursor: number of the last entry, 0 for none."""

    log: str
    cursor: int


class Noted(NamedTuple):
    """An entry that was read; number 0 for none."""

    number: int = 0
    digest: str = ""


class New(NamedTuple):
    """A command to accept, or to note as ended without having run: ``result`` says which.

    args: as :func:`args_text`. mark: as :func:`mark_of`. key: the signer's public key. taken: the time, Unix seconds; 0 when it is not known. concurrent: it waits for no other.
    envelope: what was signed, where its action wants that.
    """

    result: Result
    args: str
    mark: str
    key: str
    not_after: int
    splay_seconds: float = 0.0
    concurrent: bool = False
    taken: float = 0.0
    envelope: bytes = b""


class Cancel(NamedTuple):
    """A command to cancel. actions: globs of those that the signer is limited to; none: not limited. key: its public key."""

    id: str
    signer: str
    actions: tuple[str, ...] = ()
    key: str = ""


class Step(NamedTuple):
    """One entry of a log that was read. what: None for one that asks nothing of this device. digest: empty for one without a good
    signature: it is not noted."""

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
    hub was not told of it yet. boot: in which it last began. begun: how often. cancelled_by: who wants it stopped while it runs. text: its arguments, as
    :func:`args_text`; only ``{}`` where they are not needed any more, or were not asked for."""

    seq: int
    scope: str
    text: str
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
    mark: str

    @property
    def args(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.text)
        return found

    @property
    def id(self) -> str:
        return self.result.id


def args_text(args: dict[str, Any]) -> str:
    """The arguments as JSON, the same text for the same arguments."""
    return _encoder.encode(args).decode()


def mark_of(action: str, args: str) -> str:
    """What two commands have in common that do the same."""
    return hashlib.sha256(f"{action} {args}".encode()).hexdigest()


def permitted(actions: Iterable[str], action: str) -> bool:
    """Whether a signer who is limited to ``actions`` (globs) may have a say about ``action``."""
    limits = list(actions)
    return not limits or any(fnmatchcase(action, limit) for limit in limits)


def row_of(row: tuple[Any, ...]) -> Command:
    """A row of :data:`COLUMNS` and the mark. Raises msgspec.DecodeError."""
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
        mark,
    ) = row
    return Command(
        seq,
        scope,
        args,
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
        mark,
    )
