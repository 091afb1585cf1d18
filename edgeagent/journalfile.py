"""The SQLite file of the journal of commands: opened as it must be, and set aside when it is damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from edgeagent.journalrows import ENVELOPES, SCHEMA

__all__ = ["opened", "set_aside"]

#: Of the tables. A file of another one is begun anew, like a damaged one.
_VERSION = 2


def opened(path: Path) -> sqlite3.Connection:
    """The file, made if there is none. Raises sqlite3.DatabaseError; OperationalError among them when it is not the file's own fault."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise sqlite3.OperationalError(error.strerror) from None
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # one agent has it; so no file is shared with others through memory
        db.execute("PRAGMA journal_mode = WAL")  # one flush of the card for a step instead of three
        db.execute("PRAGMA synchronous = FULL")
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its pages do not fit together")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"it is of version {version} of its tables, and this agent writes {_VERSION}")
        if not version:
            db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        db.execute(ENVELOPES)
    except BaseException:
        db.close()
        raise
    return db


def set_aside(path: Path) -> None:
    """Out of the way, as ``<name>.damaged``."""
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).replace(path.with_name(f"{path.name}.damaged{suffix}"))
