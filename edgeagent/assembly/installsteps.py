"""The kinds of steps that an installation is made of: each knows whether it is done, and does it. Nothing here knows which there are."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeagent import files
from edgeagent.errors import Failed

__all__ = ["Command", "File", "Folder", "Link", "Step", "run"]

#: The longest that a program of the system may take, in seconds: systemd gives a unit 330 to start.
_PROGRAM_SECONDS = 400.0


class Step(Protocol):
    """what: in a few words, for who looks on."""

    @property
    def what(self) -> str: ...

    def is_done(self) -> bool:
        """Whether there is nothing to do. Changes nothing. Raises EdgeError."""
        ...

    def do(self) -> None:
        """Raises EdgeError; a second try goes on with it."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder with its parents. One that is there keeps its rights."""

    path: Path
    mode: int = 0o755

    @property
    def what(self) -> str:
        return f"the folder {self.path}"

    def is_done(self) -> bool:
        return self.path.is_dir()

    def do(self) -> None:
        files.make_folder(self.path, self.mode)


@dataclass(frozen=True)
class File:
    """A file with this content; root's, and readable to all. keep: one that is there is somebody's own, and stays as it is."""

    path: Path
    data: bytes
    mode: int = 0o644
    keep: bool = False

    @property
    def what(self) -> str:
        return str(self.path)

    def is_done(self) -> bool:
        if self.keep:
            return self.path.exists()
        try:
            found = self.path.lstat()
            return (
                stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == self.mode and self.path.read_bytes() == self.data
            )
        except FileNotFoundError:
            return False
        except OSError as error:
            raise files.failure(f"read {self.path}", error) from None

    def do(self) -> None:
        files.make_folder(self.path.parent)
        files.write_atomic(self.path, self.data, self.mode)


@dataclass(frozen=True)
class Link:
    """A symbolic link. stays: of another one that is there, by where it points, whether it is right too."""

    path: Path
    target: str
    stays: Callable[[str], bool] = lambda target: False

    @property
    def what(self) -> str:
        return f"{self.path} -> {self.target}"

    def is_done(self) -> bool:
        if not self.path.is_symlink():
            return False
        found = str(self.path.readlink())
        return found == self.target or self.stays(found)

    def do(self) -> None:
        if self.path.exists() and not self.path.is_symlink():
            raise Failed(f"link {self.path} to {self.target}", "something that is no link is in the way", "move it away")
        files.make_folder(self.path.parent)
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            new.unlink(missing_ok=True)
            new.symlink_to(self.target)
            new.replace(self.path)
        except OSError as error:
            raise files.failure(f"link {self.path} to {self.target}", error) from None


@dataclass(frozen=True)
class Command:
    """What a program of the system does. done: whether it is so already."""

    what: str
    argv: tuple[str, ...]
    done: Callable[[], bool]

    def is_done(self) -> bool:
        return self.done()

    def do(self) -> None:
        run(self.argv, what=self.what)


def run(argv: Sequence[str], *, what: str) -> str:
    """Run a program of the system; what it wrote. Raises Failed with its words when it fails, or is not there."""
    program = shutil.which(argv[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise Failed(
            f"set up {what}", f"there is no {argv[0]} on this machine", "it belongs to systemd, which edgeagent's services need"
        )
    try:
        done = subprocess.run(
            [program, *argv[1:]], capture_output=True, text=True, timeout=_PROGRAM_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"set up {what}", f"`{' '.join(argv)}` did not end within {_PROGRAM_SECONDS:g} s") from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise Failed(f"set up {what}", f"`{' '.join(argv)}` failed: {said[-500:] or f'exit code {done.returncode}'}")
    return done.stdout
