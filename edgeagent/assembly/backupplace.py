"""Where a backup goes and comes from: a file that is there whole or not at all, a folder that keeps the newest, a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from edgeagent import files
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.hub.keyfiles import check_mode
from edgeagent.hub.storestate import is_low
from edgeagent.leaf.storelimit import disk_of

__all__ = ["STDIO", "abandoned", "file_in", "keeps_room", "opened", "outdated", "written"]

STDIO = Path("-")
_NAME = "edgeagent-hub-{hub}-{time}.tar"
#: What tempfile adds to a draft's name.
_DRAFT = r"\.[a-z0-9_]{8}\Z"


def file_in(folder: Path, hub: str, now: datetime) -> Path:
    """What a backup is called in a folder that keeps several: by name they are in the order of their times."""
    return folder / _NAME.format(hub=hub, time=now.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ"))


def outdated(folder: Path, hub: str, keep: int) -> list[Path]:
    """Backups of that hub in the folder, but for the newest ``keep``; nothing else that is there."""
    return _matching(folder, _pattern(hub) + r"\Z")[:-keep]


def abandoned(folder: Path, hub: str) -> list[Path]:
    """Drafts of that hub's backups that nobody writes any more: whoever did was killed. Each is as large as a backup, with all its secrets."""
    return [path for path in _matching(folder, r"\." + _pattern(hub) + _DRAFT) if _is_abandoned(path)]


def _pattern(hub: str) -> str:
    return re.escape(_NAME).replace(r"\{hub\}", re.escape(hub)).replace(r"\{time\}", r"\d{8}T\d{6}Z")


def _matching(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.iterdir() if re.match(pattern, path.name) and path.is_file() and not path.is_symlink())


def _is_abandoned(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody has it, or it has just become a backup
        return False
    return True


@contextlib.contextmanager
def written(target: Path) -> Iterator[IO[bytes]]:
    """A file that becomes ``target`` when the block ends well, mode 0600; ``-``: standard output. Raises EdgeError."""
    if target == STDIO:
        if sys.stdout.isatty():
            raise UsageProblem("write the backup", "a terminal is no place for it", "pipe it on, or name a file: --out FILE")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if target.exists() or target.is_symlink():
        raise Refused(f"write {target}", "there is such a file already", "move it away, or name another with --out")
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
    except OSError as error:
        raise files.failure(f"write {target}", error) from None
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            fcntl.flock(out, fcntl.LOCK_EX)  # for as long as we live: see abandoned
            yield out
            out.flush()
            os.fsync(out.fileno())
        draft.rename(target)
        files.sync_folder(target.parent)
    except EdgeError:  # some of ours are OSErrors too
        raise
    except OSError as error:
        raise files.failure(f"write {target}", error) from None
    finally:
        draft.unlink(missing_ok=True)  # it has been renamed where all went well


def keeps_room(target: Path, store: Path) -> Callable[[], None]:
    """What to call while ``target`` is written: raises Failed once that takes the room of the hub's ``store`` on the same disk.

    However much devices have filled of their streams, a backup must not be what stops everybody from commanding.
    """
    try:
        if target == STDIO or target.parent.stat().st_dev != store.stat().st_dev:
            return lambda: None
    except OSError:
        return lambda: None

    def check() -> None:
        disk = disk_of(target.parent)
        if is_low(disk):
            why = f"the disk of the hub's store, where it goes, has only {disk.free >> 20} MiB left"
            raise Failed(f"write {target}", why, "write it to another disk: --out; or keep fewer: --keep")

    return check


@contextlib.contextmanager
def opened(source: Path) -> Iterator[IO[bytes]]:
    """A backup to read, which can seek; ``-``: from standard input, kept in a file that has no name. Raises EdgeError."""
    if source == STDIO:
        with tempfile.TemporaryFile(dir=_spool()) as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.seek(0)
            yield spool
        return
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # at a pipe nobody waits
    except OSError as error:
        raise files.failure(f"read {source}", error) from None
    with os.fdopen(descriptor, "rb") as file:
        _check_is_ours(source, os.fstat(file.fileno()))
        yield file


def _spool() -> str:
    """/tmp is memory on many machines, and a backup may be larger."""
    return os.environ.get("TMPDIR") or "/var/tmp"


def _check_is_ours(source: Path, found: os.stat_result) -> None:
    """found: of the open file: what has this name may be exchanged, where others write into the folder."""
    if not stat.S_ISREG(found.st_mode):
        raise Failed(f"read {source}", "it is no file")
    check_mode(source, found.st_mode)
    if found.st_uid not in (os.geteuid(), 0):
        raise Refused(f"read {source}", "it belongs to another user, who could change it", f"`chown {os.geteuid()} {source}`")
