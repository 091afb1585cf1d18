"""Files that must survive a power cut, folders with strict modes, and one process at a time.

An SD card loses what was not flushed, so a file is replaced whole: written beside the old one, flushed, renamed, and the folder
flushed too. Afterwards there is the old content or the new one, never half of it.

Root also writes into folders of other users, who may put a link there at any moment. So rights are changed by descriptor, never by
path, and a link is not followed where something is opened to be written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from pathlib import Path
from types import TracebackType

from edgeagent.errors import EdgeError, Failed, Refused

__all__ = [
    "Lock",
    "failure",
    "folders_owner",
    "make_folder",
    "read_bytes",
    "read_if_there",
    "read_plain",
    "read_text",
    "sync_folder",
    "write_atomic",
]

#: What the usual errors of a disk mean for its owner: errno -> (why, remedy).
_MEANINGS = {
    errno.EROFS: ("read-only file system", "make it writable (`sudo mount -o remount,rw ...`), or choose another folder"),
    errno.EACCES: ("permission denied", "run it as the user who owns it, or with sudo"),
    errno.EPERM: ("operation not permitted", "run it as the user who owns it, or with sudo"),
    errno.ENOSPC: ("no space left on the disk", "free some space: `df -h` shows which disk is full"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or ask for a larger quota"),
    errno.ENOENT: ("there is no such file or folder", "check the path"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "check the path"),
    errno.EISDIR: ("it is a folder, not a file", "check the path"),
    errno.ELOOP: ("it is a link, or no file", "remove it"),
    errno.EIO: ("the disk reports an error (EIO)", "the SD card or disk may be failing: `dmesg | tail` shows more"),
}


def failure(what: str, error: OSError) -> EdgeError:
    """``error`` in our own words: Refused where rights are missing, Failed otherwise.

    what: as for :class:`EdgeError`.
    """
    why, remedy = _MEANINGS.get(error.errno or 0, (error.strerror or str(error), ""))
    kind = Refused if error.errno in (errno.EACCES, errno.EPERM) else Failed
    return kind(what, why, remedy)


def read_bytes(path: Path) -> bytes:
    """The file's content; raise EdgeError when it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise failure(f"read {path}", error) from None


def read_text(path: Path) -> str:
    """The file's content as UTF-8 text; raise EdgeError when it can't be read or is no text."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Failed(f"read {path}", f"it is not UTF-8 text (byte {error.start})") from None


def read_plain(path: Path, most: int) -> bytes:
    """The content of a file that its folder's owner may have exchanged while root reads it: no link is followed, for a pipe nothing is
    waited. Raises OSError, also when it is no plain file or has more than ``most`` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.ELOOP, "it is no file")
        with os.fdopen(descriptor, "rb", closefd=False) as source:
            data = source.read(most + 1)
    finally:
        os.close(descriptor)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
    return data


def read_if_there(path: Path, most: int | None = None) -> bytes | None:
    """The file's content, None when there is no such file; raise EdgeError when it is there and can't be read.

    most: read it as :func:`read_plain`.
    """
    try:
        return path.read_bytes() if most is None else read_plain(path, most)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure(f"read {path}", error) from None


def write_atomic(path: Path, data: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Replace ``path`` by a file with ``data``; when this returns it is on the disk. A link at ``path`` is replaced, not followed.

    mode: permission bits, whatever the umask; use 0o600 for anything secret.
    owner: user and group id that it shall have, -1 for one that stays; None: ours.
    Raises EdgeError; the old file is then untouched.
    """
    try:
        _replace(path, data, mode, owner)
    except OSError as error:
        raise failure(f"write {path}", error) from None


def _replace(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as out:
            if owner:
                os.fchown(out.fileno(), *owner)
            os.fchmod(out.fileno(), mode)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush the folder: what was made or renamed in it is there after a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems can't flush a folder; there the rename is all there is.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def folders_owner(folder: Path) -> tuple[int, int] | None:
    """User and group of the folder, to whom root gives what it writes there: a service that is not root has to read it.

    None when we are not root. Raises EdgeError when there is no such folder.
    """
    if os.geteuid() != 0:
        return None
    try:
        found = folder.stat()
    except OSError as error:
        raise failure(f"write to {folder}", error) from None
    return found.st_uid, found.st_gid


def make_folder(path: Path, mode: int = 0o755) -> Path:
    """Make the folder, and its parents, unless it is there; return it.

    mode: permission bits of the last folder. One that is there already keeps its own: it may be somebody else's, such as /tmp.
    Raises Refused when everybody may write in it, EdgeError when it can't be made.
    """
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            _set_mode(path, mode)  # whatever the umask
        open_to_all = path.stat().st_mode & 0o002 & ~mode
    except FileExistsError:
        raise Failed(f"make the folder {path}", "a file of that name is in the way", "remove or rename it") from None
    except OSError as error:
        raise failure(f"make the folder {path}", error) from None
    if open_to_all:
        raise Refused(f"use the folder {path}", "everybody on this machine may write in it", "name a folder of its own instead")
    return path


def _set_mode(folder: Path, mode: int) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


class Lock:
    """At most one process at a time: ``flock`` on a file that holds the owner's pid.

    The kernel lets go of it when the process ends, however it ends, so a lock is never stale. The file itself stays: removing it
    would let two processes lock two files of one name.

    what: what can't be done while another holds it, as for :class:`EdgeError` (``"start the agent"``).
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; raise Refused with the owner's pid when another has it, EdgeError when the file can't be written."""
        try:
            descriptor = _open_lock(self._path)
        except OSError as error:
            raise failure(f"write {self._path}", error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise self._refusal(error, owner) from None
        self._descriptor = descriptor

    def _refusal(self, error: OSError, owner: str) -> EdgeError:
        if not isinstance(error, BlockingIOError):
            return failure(f"write {self._path}", error)
        return Refused(self._what, f"already running as pid {owner or 'unknown'}", "stop that one first")

    def release(self) -> None:
        """Let go; nothing happens when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def _open_lock(path: Path) -> int:
    """Open the file, made for its folder's owner when it is not there. Raises OSError, also for what is no plain file of one name:
    its content is about to be replaced, and with a link that would be another's.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        descriptor = os.open(path, flags)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            os.close(descriptor)
            raise OSError(errno.ELOOP, "it is a link, or no file") from None
    else:
        if os.geteuid() == 0:
            folder = path.parent.stat()
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor
