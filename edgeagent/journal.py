"""What a device knows of its commands, in one SQLite file: how far it has read each log, and every command by its id.

Everything that must not be done twice is written here first; when a method returns, it is on the disk (synchronous=FULL), unless the
hub knows it too and is asked again after a power cut. The calls block for as long as the disk takes, so whoever uses the journal sees
each step as a whole, with no other between.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.command import Result, is_final, renewed
from edgeagent.errors import Failed
from edgeagent.journalfile import opened, set_aside
from edgeagent.journalrows import COLUMNS, WITHOUT_ARGS, Cancel, Command, New, Noted, Position, Step, Taken, permitted, row_of

__all__ = ["FILE", "Journal"]

FILE = "journal.db"
#: What has expired is kept for so long in case a clock is set back, in seconds, and so many of the newest commands in any case.
KEEP_SECONDS, KEEP_COMMANDS = 7 * 86400, 1000

#: How many waiting commands are read at once after the first, which is mostly the one that is wanted.
_PAGE = 16


class Journal:
    """The journal at ``path``, made if there is none. Raises Failed when it can't be opened or written.

    A damaged one is set aside as ``journal.db.damaged`` and begun anew: what the hub has of its results then says what has run.
    damaged: what was wrong with it; empty when nothing was. on_change: called after each step that was written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.damaged = path, ""
        self.on_change: Callable[[], None] = lambda: None
        with self._in_our_words():
            try:
                self._db = opened(path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                self.damaged = f"the journal of commands was damaged ({error}), and begun anew"
                set_aside(path)
                self._db = opened(path)

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    # ---- logs ----

    def position(self, scope: str) -> Position | None:
        """How far the scope's log was read; None: never."""
        found = self._all("SELECT log, cursor FROM logs WHERE scope = ?", scope)
        return Position(*found[0]) if found else None

    def noted(self, scope: str, number: int) -> str:
        """The digest of an entry that was read; empty when it was not, or is long expired."""
        found = self._all("SELECT digest FROM entries WHERE scope = ? AND number = ?", scope, number)
        return str(found[0][0]) if found else ""

    def noted_below(self, scope: str, number: int) -> Noted:
        """The newest entry before ``number`` that was noted."""
        found = self._all(
            "SELECT number, digest FROM entries WHERE scope = ? AND number < ? ORDER BY number DESC LIMIT 1", scope, number
        )
        return Noted(*found[0]) if found else Noted()

    def seen_empty(self, scope: str) -> None:
        """The scope has no log yet; nothing happens when one was read before."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO logs VALUES (?, '', 0)", (scope,))

    def begin_anew(self, scope: str, position: Position, now: float) -> None:
        """The scope's log is another one than was read: go on from there. Outcomes of what has not expired by ``now``, Unix seconds,
        are offered to the hub again."""
        with self.transaction() as db:
            db.execute("DELETE FROM entries WHERE scope = ?", (scope,))
            db.execute("INSERT OR REPLACE INTO logs VALUES (?, ?, ?)", (scope, *position))
            db.execute("UPDATE commands SET settled = 0 WHERE scope = ? AND settled = 1 AND not_after > ?", (scope, now))

    def take(self, scope: str, log: str, steps: Iterable[Step]) -> Taken:
        """Move on over ``steps``, in order, all or none of them. log: its id; empty leaves it as it was."""
        taken = Taken([], [])
        with self.transaction() as db:
            for step in steps:
                if step.digest:
                    db.execute(
                        "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", (scope, step.number, step.digest, step.not_after)
                    )
                db.execute(
                    "INSERT INTO logs VALUES (?, ?, ?) ON CONFLICT (scope) DO UPDATE SET cursor = excluded.cursor, "
                    "log = iif(excluded.log = '', log, excluded.log)",
                    (scope, log, step.number),
                )
                if isinstance(step.what, New):
                    self._add(scope, step, step.what, taken)
                elif isinstance(step.what, Cancel):
                    self._cancel(scope, step, step.what, taken)
        return taken

    def _add(self, scope: str, step: Step, new: New, taken: Taken) -> None:
        there = self._all("SELECT key, mark FROM commands WHERE id = ?", new.result.id)
        if there:
            if there[0] != (new.key, new.mark):
                taken.problems.append((step.number, f"another command has its id, {new.result.id}"))
            return
        result = self._cancelled_before(scope, new)
        self._db.execute(
            f"INSERT INTO commands ({COLUMNS}, mark, state, settled) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, '', 0, '', ?, ?, ?, 0)",
            (
                result.id,
                scope,
                result.action,
                "{}" if is_final(result.state) else new.args,
                new.key,
                new.not_after,
                new.splay_seconds,
                new.concurrent,
                new.taken,
                msgspec.json.encode(result),
                new.mark,
                result.state,
            ),
        )
        if new.envelope and not is_final(result.state):
            self._db.execute("INSERT OR REPLACE INTO envelopes VALUES (?, ?)", (result.id, new.envelope))

    def _cancelled_before(self, scope: str, new: New) -> Result:
        """The new command's result: cancelled, when that was asked for before it came."""
        for signer, actions in self._all("SELECT signer, actions FROM cancels WHERE scope = ? AND id = ?", scope, new.result.id):
            if not is_final(new.result.state) and permitted(msgspec.json.decode(actions, type=list[str]), new.result.action):
                return msgspec.structs.replace(new.result, state="cancelled", reason=f"{signer} cancelled it")
        return new.result

    def _cancel(self, scope: str, step: Step, wanted: Cancel, taken: Taken) -> None:
        there = self.command(wanted.id)
        if there is None:
            self._db.execute(
                "INSERT OR REPLACE INTO cancels VALUES (?, ?, ?, ?, ?, ?)",
                (scope, wanted.id, wanted.key, wanted.signer, msgspec.json.encode(wanted.actions).decode(), step.not_after),
            )
        elif there.scope != scope or is_final(there.result.state):
            return  # who may write in one scope has no say about the commands of another; they are cancelled where they stand
        elif not permitted(wanted.actions, there.result.action):
            taken.problems.append((step.number, f"{wanted.signer} may not cancel {there.result.action}"))
        elif there.result.state == "running":
            self._db.execute("UPDATE commands SET cancelled_by = ? WHERE id = ?", (wanted.signer, wanted.id))
            taken.stop.append(wanted.id)
        else:
            self._set(msgspec.structs.replace(there.result, state="cancelled", reason=f"{wanted.signer} cancelled it"))

    # ---- commands ----

    def command(self, command_id: str) -> Command | None:
        """None: it was never accepted, or is long expired."""
        return next(iter(self._commands("id = ?", command_id)), None)

    def envelope(self, command_id: str) -> bytes:
        """What was signed, where the command's action wants it and it has not ended; else empty."""
        found = self._all("SELECT data FROM envelopes WHERE id = ?", command_id)
        return bytes(found[0][0]) if found else b""

    def unclaimed(self, limit: int) -> list[Command]:
        """Those that the hub must be told of before they may run, in order."""
        return self._commands("state = 'accepted' AND settled = 0 AND fence IS NULL ORDER BY seq LIMIT ?", limit, args=False)

    def unsettled(self, limit: int) -> list[Command]:
        """Those that ended and whose outcome the hub has not acknowledged, in order."""
        return self._commands("settled = 0 AND state NOT IN ('accepted', 'running') ORDER BY seq LIMIT ?", limit, args=False)

    def waiting(self, *, concurrent: bool) -> Iterator[Command]:
        """Those that have not begun, in order, read a few at a time. concurrent: those that wait for no other and that the hub knows of;
        else those that wait for others."""
        seq, size = 0, 1
        which = "state = 'accepted' AND settled = 0 AND concurrent = ? AND seq > ?"
        which += f"{' AND fence IS NOT NULL' if concurrent else ''} ORDER BY seq LIMIT ?"
        while found := self._commands(which, concurrent, seq, size):
            yield from found
            seq, size = found[-1].seq, _PAGE

    def running(self) -> list[Command]:
        return self._commands("state = 'running' AND settled = 0 ORDER BY seq")

    def newer(self, command: Command, now: float) -> str:
        """Id of the newest command of the same scope and signer that waits after this one, does the same, and has not expired by ``now``;
        empty: there is none."""
        found = self._all(
            "SELECT id FROM commands WHERE state = 'accepted' AND settled = 0 AND seq > ? AND mark = ? AND scope = ? AND key = ? "
            "AND not_after > ? ORDER BY seq DESC LIMIT 1",
            command.seq,
            command.mark,
            command.scope,
            command.key,
            now,
        )
        return str(found[0][0]) if found else ""

    def counts(self) -> dict[str, int]:
        """How many have not been settled, by their state."""
        return dict(self._all("SELECT state, count(*) FROM commands WHERE settled = 0 GROUP BY state"))

    def last_ended(self) -> Result | None:
        """The outcome of the newest command that has one; None: none has."""
        found = self._commands("state NOT IN ('accepted', 'running') ORDER BY seq DESC LIMIT 1", args=False)
        return found[0].result if found else None

    def begin(self, result: Result, boot: str) -> None:
        """It runs from now on, in this boot of the machine."""
        with self.transaction() as db:
            self._set(result)
            db.execute("UPDATE commands SET boot = ?, begun = begun + 1 WHERE id = ?", (boot, result.id))

    def write(self, result: Result) -> None:
        """This is what became of it."""
        with self.transaction():
            self._set(result)

    def fence(self, fences: Iterable[tuple[str, int]]) -> None:
        """``(id, sequence)`` of what the hub acknowledged of commands that have not ended."""
        with self.transaction(flushed=False) as db:
            db.executemany("UPDATE commands SET fence = ? WHERE id = ?", [(sequence, name) for name, sequence in fences])

    def unclaim(self) -> None:
        """The hub is to be asked anew about all that have not begun: this file may be an older copy of itself. Whoever has the copy asks
        with another nonce."""
        with self.transaction() as db:
            db.execute("UPDATE commands SET fence = NULL WHERE state = 'accepted' AND settled = 0")
            for command in self._commands("state = 'accepted' AND settled = 0", args=False):
                self._set(msgspec.structs.replace(command.result, nonce=renewed(command.result.nonce)))

    def settle(self, fences: Iterable[tuple[str, int]]) -> None:
        """The same for outcomes: nothing is left to do for them."""
        with self.transaction(flushed=False) as db:
            db.executemany(
                "UPDATE commands SET settled = 1, fence = ? WHERE id = ?", [(sequence, name) for name, sequence in fences]
            )

    def prune(self, now: float) -> None:
        """Forget what expired long before ``now``, Unix seconds. The newest entry of each log stays."""
        before = now - KEEP_SECONDS
        with self.transaction() as db:
            db.execute(
                "DELETE FROM entries WHERE not_after < ? AND number < (SELECT max(number) FROM entries AS e WHERE e.scope = entries.scope)",
                (before,),
            )
            db.execute("DELETE FROM cancels WHERE not_after < ?", (before,))
            db.execute(
                "DELETE FROM commands WHERE settled = 1 AND not_after < ? AND seq <= (SELECT max(seq) FROM commands) - ?",
                (before, KEEP_COMMANDS),
            )

    # ---- SQLite ----

    def _set(self, result: Result) -> None:
        """The arguments of what has ended are of no use any more."""
        if is_final(result.state):
            self._db.execute("DELETE FROM envelopes WHERE id = ?", (result.id,))
        self._db.execute(
            "UPDATE commands SET state = ?, result = ?, args = iif(?, '{}', args) WHERE id = ?",
            (result.state, msgspec.json.encode(result), is_final(result.state), result.id),
        )

    def _commands(self, where: str, *values: Any, args: bool = True) -> list[Command]:
        columns = COLUMNS if args else WITHOUT_ARGS
        return [row_of(row) for row in self._all(f"SELECT {columns}, mark FROM commands WHERE {where}", *values)]

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with self._in_our_words():
            return self._db.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def transaction(self, *, flushed: bool = True) -> Iterator[sqlite3.Connection]:
        """All of it or nothing. flushed: on the disk when it ends; else with the next that is, for a card takes long to flush."""
        with self._in_our_words():
            self._db.execute(f"PRAGMA synchronous = {'FULL' if flushed else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self.on_change()

    @contextlib.contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, msgspec.DecodeError, OverflowError, RecursionError, UnicodeEncodeError) as error:
            raise Failed(f"keep the commands in {self._path}", str(error), "see whether the disk is full or failing") from None
