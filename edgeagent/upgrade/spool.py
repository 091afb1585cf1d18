"""What the agent has gathered, as root takes it: by descriptor, link by link not followed, bounded, and by its sha256 alone.

The folder is the agent's user's, who may change anything in it at any moment: so nothing there is believed, and what is used is a copy.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from edgeagent import files
from edgeagent.errors import Failed, Refused
from edgeagent.transfer import new_digest
from edgeagent.upgrade.manifest import MAX_MANIFEST_BYTES, Wheel
from edgeagent.upgrade.places import REQUEST_FILE, SPOOL, Request

__all__ = ["Spool", "manifest_file"]

WHAT = "take over the release"
#: An envelope, and a document of who may sign with its chain.
MAX_REQUEST_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20


def manifest_file(sha256: str) -> str:
    return f"{sha256}.json"


class Spool:
    """The agent's folder for releases in ``state_folder``. A context manager."""

    def __init__(self, state_folder: Path) -> None:
        self._path = state_folder / SPOOL
        try:
            outer = os.open(state_folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                self._folder = os.open(SPOOL, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=outer)
            finally:
                os.close(outer)
        except OSError as error:
            raise files.failure(f"look into {self._path}", error) from None

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._folder)

    def request(self) -> Request | None:
        """What the agent asks for, which is asked for no longer then; None: nothing. Raises EdgeError when it can't be understood."""
        if not os.access(REQUEST_FILE, os.F_OK, dir_fd=self._folder, follow_symlinks=False):
            return None
        try:
            data = self._content(REQUEST_FILE, MAX_REQUEST_BYTES)
        finally:
            self._put_away(REQUEST_FILE)
        try:
            return msgspec.json.decode(data, type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Failed(WHAT, f"what the agent asks for is damaged ({error})") from None

    def _put_away(self, name: str) -> None:
        """What stays there has root begin again without end."""
        with contextlib.suppress(OSError):
            try:
                os.unlink(name, dir_fd=self._folder)
            except IsADirectoryError:
                os.rename(name, f".{name}", src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def manifest(self, sha256: str) -> bytes:
        """Raises Refused when it is not what was signed."""
        data = self._content(manifest_file(sha256), MAX_MANIFEST_BYTES)
        digest = new_digest()
        digest.update(data)
        if digest.hexdigest() != sha256:
            raise Refused(WHAT, "its manifest is not the one that was signed")
        return data

    def copy(self, wheel: Wheel, folder: Path) -> Path:
        """A copy of the wheel in ``folder``. Raises Refused when it is not what was signed."""
        target, digest, left = folder / wheel.file, new_digest(), wheel.bytes + 1
        with self._opened(f"{wheel.sha256}.whl") as source, target.open("xb") as out:
            while left > 0 and (chunk := source.read(min(left, _CHUNK_BYTES))):
                digest.update(chunk)
                out.write(chunk)
                left -= len(chunk)
        if digest.hexdigest() != wheel.sha256:
            target.unlink()
            raise Refused(WHAT, f"{wheel.file} is not the one that was signed")
        return target

    def _content(self, name: str, most: int) -> bytes:
        with self._opened(name) as source:
            data = source.read(most + 1)
        if len(data) > most:
            raise Refused(WHAT, f"{name} has more than {most:,} bytes")
        return data

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        """Raises EdgeError when it is no plain file."""
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder)
        except OSError as error:
            raise files.failure(f"read {self._path / name}", error) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Refused(WHAT, f"{name} is no file")
        with os.fdopen(descriptor, "rb") as source:
            yield source
