"""Where an installed device has its environments, and the small files by which an upgrade goes on after a power cut.

All of it is root's, and nobody else can write there; the agent reads. ``current`` is the environment that the units start, ``proven``
the one that carries out upgrades: it is moved on only when a release has proved itself, so no release judges itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from edgeagent import files
from edgeagent.errors import Failed
from edgeagent.upgrade.manifest import platform_key

__all__ = ["OPT", "REQUEST_FILE", "SPOOL", "Ended", "Failure", "Phase", "Places", "Request", "Standing", "Trial", "own_platform"]

OPT = Path("/opt/edgeagent")
#: In the state folder: where the agent gathers a release, and asks for it.
SPOOL, REQUEST_FILE = "upgrade", "request.json"

#: preparing: nothing was changed yet. agent: the release is current, and the agent proves itself. leaf: its nats-server does.
#: done, back: what is left is to say so.
Phase = Literal["preparing", "agent", "leaf", "done", "back"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent hands over. It proves nothing. signed: the command's envelope. trust: the newest document of who may sign; empty: none."""

    signed: str
    trust: str = ""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """``trial.json``: an upgrade that has begun and has not ended.

    id: the command's. to, before: the environments, relative to the folder. was: the version before. begun: how often it was begun.
    leaf: the leaf was begun anew with its nats-server. why: why it goes back.
    """

    id: str
    version: str
    phase: Phase = "preparing"
    to: str = ""
    before: str = "."
    was: str = ""
    begun: int = 0
    leaf: bool = False
    why: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A release that was gone back from. at: RFC 3339."""

    version: str
    why: str
    at: str


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How the last upgrade ended. id: the command's. state: as in :class:`edgeagent.command.Result`."""

    id: str
    version: str
    state: Literal["succeeded", "failed", "refused"]
    why: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """``upgrade.json``: what has become of upgrades. before: the version before the present one, and where it is; empty: none.

    failed: None once a later one succeeded. done: the id of the last command that was begun and has ended, whatever was asked for since.
    """

    before: str = ""
    kept: str = ""
    failed: Failure | None = None
    last: Ended | None = None
    done: str = ""


T = TypeVar("T", Trial, Standing)


class Places:
    """The files below ``folder``."""

    def __init__(self, folder: Path = OPT) -> None:
        self.folder = folder
        self.current, self.proven = folder / "current", folder / "proven"
        self.releases, self.signers = folder / "releases", folder / "signers.json"
        self._trial, self._standing = folder / "trial.json", folder / "upgrade.json"

    @property
    def are_there(self) -> bool:
        """Whether this is an installed device, whose environment can be changed for another."""
        return self.current.is_symlink() and self.proven.is_symlink()

    def trial(self) -> Trial | None:
        """Raises Failed when it is damaged, EdgeError when it can't be read."""
        return _read(self._trial, Trial)

    def standing(self) -> Standing:
        """The same."""
        return _read(self._standing, Standing) or Standing()

    def keep(self, what: Trial | Standing) -> None:
        path = self._trial if isinstance(what, Trial) else self._standing
        files.write_atomic(path, msgspec.json.format(msgspec.json.encode(what)) + b"\n")

    def forget_trial(self) -> None:
        self._trial.unlink(missing_ok=True)
        flush(self.folder)

    def point(self, link: Path, to: str) -> None:
        """Have ``link`` lead to ``to``, relative to the folder: before or after, at every moment."""
        new = link.with_name(f".{link.name}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(to)
        new.replace(link)
        flush(self.folder)


def own_platform() -> str:
    """Of the Python that runs this, as :func:`~edgeagent.upgrade.manifest.platform_key`."""
    return platform_key(
        f"{sys.version_info.major}.{sys.version_info.minor}", os.uname().machine, 64 if sys.maxsize > 1 << 32 else 32
    )


def flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, shape: type[T]) -> T | None:
    data = files.read_if_there(path)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failed(f"read {path}", f"it is damaged ({error})", "remove it") from None
