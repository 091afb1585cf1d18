"""Where a backup goes and comes from: a file that is there whole or not at all, a folder that keeps the newest, a pipe."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from edgeagent import files
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.hub.keyfiles import check_private

__all__ = ["STDIO", "file_in", "opened", "outdated", "written"]

STDIO = Path("-")
_NAME = "edgeagent-hub-{hub}-{time}.tar"


def file_in(folder: Path, hub: str, now: datetime) -> Path:
    """What a backup is called in a folder that keeps several: by name they are in the order of their times."""
    return folder / _NAME.format(hub=hub, time=now.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ"))


def outdated(folder: Path, hub: str, keep: int) -> list[Path]:
    """Backups of that hub in the folder, but for the newest ``keep``; nothing else that is there."""
    name = re.compile(re.escape(_NAME).replace(r"\{hub\}", re.escape(hub)).replace(r"\{time\}", r"\d{8}T\d{6}Z") + r"\Z")
    found = sorted(path for path in folder.iterdir() if name.match(path.name) and path.is_file() and not path.is_symlink())
    return found[:-keep]


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


@contextlib.contextmanager
def opened(source: Path) -> Iterator[IO[bytes]]:
    """A backup to read, which can seek; ``-``: from standard input, kept in a file that has no name. Raises EdgeError."""
    if source == STDIO:
        with tempfile.TemporaryFile(dir=_spool()) as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.seek(0)
            yield spool
        return
    check_private(source)
    if not source.is_file():
        raise Failed(f"read {source}", "it is no file")
    if source.stat().st_uid not in (os.geteuid(), 0):
        raise Refused(f"read {source}", "it belongs to another user, who could change it", f"`chown {os.geteuid()} {source}`")
    try:
        file = source.open("rb")
    except OSError as error:
        raise files.failure(f"read {source}", error) from None
    with file:
        yield file


def _spool() -> str:
    """/tmp is memory on many machines, and a backup may be larger."""
    return os.environ.get("TMPDIR") or "/var/tmp"
