"""Puts a file that was fetched in its place: whole or not at all, and only if it is what was signed. Blocks: for a thread."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeagent.builtin.actions._target import Target
from edgeagent.errors import Failed
from edgeagent.transfer import new_digest

__all__ = ["Wanted", "check_free", "check_room", "is_there", "is_whole", "put"]

#: So much of a disk is left for the rest of the device: a full disk stops its leaf.
RESERVE_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 20
_DEFAULT_MODE = 0o644


@dataclass(frozen=True)
class Wanted:
    """What shall be there. mode: permission bits, None for those of the file that is replaced, else 0644."""

    size: int
    sha256: str
    mode: int | None


def is_there(target: Target, wanted: Wanted) -> bool:
    """Whether it is already so. Raises Failed when what is there cannot be replaced, or its folder is not there."""
    folder = target.open_folder()
    try:
        found = target.stat(folder)
        if found is None or found.st_size != wanted.size or wanted.mode not in (None, stat.S_IMODE(found.st_mode)):
            return False
        with contextlib.suppress(Failed):  # what may not be read may still be replaced
            return _digest_of(target, folder) == wanted.sha256
        return False
    finally:
        os.close(folder)


def _digest_of(target: Target, folder: int) -> str:
    descriptor = target.open_file(folder)
    if descriptor is None:
        return ""
    with os.fdopen(descriptor, "rb") as source:
        digest = new_digest()
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def check_room(target: Target, wanted: Wanted, store: Path, to_fetch: int) -> None:
    """Raise Failed when it cannot be written there, or a disk has no room for it.

    store: where it is fetched to. to_fetch: how many bytes still have to be.
    """
    folder = target.open_folder()
    try:
        may_write = os.access(".", os.W_OK | os.X_OK, dir_fd=folder)
        there, here = os.fstatvfs(folder), os.statvfs(store)
        one_disk = os.fstat(folder).st_dev == store.stat().st_dev
    except OSError as error:
        raise target.failure(error) from None
    finally:
        os.close(folder)
    if not may_write:
        who = pwd.getpwuid(os.geteuid()).pw_name
        remedy = f'give {who} the right, or name another user in `[actions."file.push"]` (docs/actions.md)'
        raise Failed(f"write {target.path}", f"{who} may not write in its folder", remedy)
    needs = [(there, wanted.size + (to_fetch if one_disk else 0), str(target.root))]
    needs += [] if one_disk else [(here, to_fetch, str(store))]
    for disk, size, where in needs:
        check_free(disk, where, size, target.path)


def check_free(disk: os.statvfs_result, where: str, size: int, path: str) -> None:
    """Raise Failed when it has no room for so many bytes more. where: what it is called. path: what is to be written."""
    free = disk.f_bavail * disk.f_frsize
    if free < size + RESERVE_BYTES:
        why = f"the disk of {where} has {free:,} bytes free, and {size + RESERVE_BYTES:,} are needed for a while"
        raise Failed(f"write {path}", why, "free some space: `df -h` shows which disk is full")


def is_whole(source: BinaryIO, wanted: Wanted, stop: Callable[[], bool]) -> bool:
    """Whether the content, from here on, is what is wanted; False also when ``stop()`` said so."""
    return _copied(source, lambda data: None, wanted, stop)


def put(target: Target, wanted: Wanted, source: BinaryIO, temporary: str, stop: Callable[[], bool]) -> bool:
    """Make the content of ``source`` the target's; False when that is not what is wanted, or ``stop()`` said so: nothing has changed then.

    temporary: the name under which it is written beside the target. Raises Failed; then too nothing has changed.
    """
    folder = target.open_folder()
    try:
        return _put(target, wanted, source, temporary, stop, folder)
    except OSError as error:
        raise target.failure(error) from None
    finally:
        os.close(folder)


def _put(target: Target, wanted: Wanted, source: BinaryIO, temporary: str, stop: Callable[[], bool], folder: int) -> bool:
    found = target.stat(folder)
    mode = wanted.mode if wanted.mode is not None else stat.S_IMODE(found.st_mode) & 0o777 if found else _DEFAULT_MODE
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=folder)  # of a run that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as out:
            if not _copied(source, out.write, wanted, stop):
                return False
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        if stop():
            return False
        target.stat(folder)  # it may have become a link or a folder meanwhile
        os.rename(temporary, target.name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
    os.fsync(folder)
    return True


def _copied(source: BinaryIO, write: Callable[[bytes], object], wanted: Wanted, stop: Callable[[], bool]) -> bool:
    """Copy it; whether it was all there and what was signed."""
    digest, size = new_digest(), 0
    while (chunk := source.read(_CHUNK_BYTES)) and not stop() and size <= wanted.size:
        digest.update(chunk)
        write(chunk)
        size += len(chunk)
    return size == wanted.size and digest.hexdigest() == wanted.sha256
