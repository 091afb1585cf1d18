"""A path of a command below one of the folders that agent.toml lists, opened part by part, so that no link leads anywhere else.

Whoever may write in such a folder may exchange a part of the path at any moment. So each part is opened below the one before it and
never as a link, and what is done is done by the descriptor of the last folder. The listed folder itself is whatever its path says.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeagent import files
from edgeagent.errors import EdgeError, Failed
from edgeagent.machine import Machine

__all__ = ["Target", "found_below", "target_of"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Target:
    """A file below a listed folder. path: as the command names it. root: the folder. between: the folders on the way. name: its own."""

    path: str
    root: Path
    between: tuple[str, ...]
    name: str

    def open_folder(self) -> int:
        """A descriptor of the folder that it is in. Raises Failed when that is not there, or a link is on the way."""
        try:
            descriptor = os.open(self.root, _FOLDER)
        except OSError as error:
            raise self.failure(error) from None
        for part in self.between:
            descriptor = self._step(descriptor, part)
        return descriptor

    def _step(self, folder: int, part: str) -> int:
        problem: EdgeError
        try:
            return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        except OSError as error:
            problem = self.failure(error)
            if _is_link(folder, part):
                problem = Failed(f"open {self.path}", f"{part} is a link, and none is followed below {self.root}")
        finally:
            os.close(folder)
        raise problem

    def stat(self, folder: int) -> os.stat_result | None:
        """What is there now; None for nothing. Raises Failed when that is no plain file. folder: of :meth:`open_folder`."""
        try:
            found = os.stat(self.name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.failure(error) from None
        self.check_plain(found)
        return found

    def open_file(self, folder: int) -> int | None:
        """A descriptor to read what is there; None when there is nothing. Raises Failed when it is no plain file, or may not be read."""
        try:
            descriptor = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.failure(error) from None
        try:
            self.check_plain(os.fstat(descriptor))
        except EdgeError:
            os.close(descriptor)
            raise
        return descriptor

    def check_plain(self, found: os.stat_result) -> None:
        """Raise Failed unless it is a file: no link, folder, device, pipe or socket."""
        kind = stat.S_IFMT(found.st_mode)
        if kind != stat.S_IFREG:
            what = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}.get(kind, "no plain file")
            raise Failed(f"open {self.path}", f"it is {what}")

    def failure(self, error: OSError) -> Failed:
        """In our own words; always Failed: what a device does not allow is said before."""
        found = files.failure(f"open {self.path}", error)
        why = "it is a link" if error.errno == errno.ELOOP else found.why
        return Failed(found.what, why, "" if error.errno == errno.ELOOP else found.remedy)


def _is_link(folder: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def found_below(path: str, folders: Iterable[str]) -> tuple[str, tuple[str, ...]] | None:
    """The listed folder that ``path`` is below, the nearest of them, and the names from there on; None when it is below none."""
    parts = tuple(path.split("/")[1:])
    for folder in sorted(folders, key=len, reverse=True):
        above = tuple(folder.rstrip("/").split("/")[1:])
        if len(parts) > len(above) and parts[: len(above)] == above:
            return folder, parts[len(above) :]
    return None


def target_of(machine: Machine, path: str, folders: Iterable[str]) -> Target | None:
    """The file ``path`` of this machine; None when it is below none of ``folders``."""
    found = found_below(path, folders)
    if found is None:
        return None
    folder, names = found
    return Target(path, machine.path(folder), names[:-1], names[-1])
