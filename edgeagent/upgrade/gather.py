"""The agent's folder for releases, as the agent fills it: what has been fetched of one release, and the request that root shall install it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import Failed
from edgeagent.transfer import new_digest
from edgeagent.upgrade.manifest import Wheel
from edgeagent.upgrade.places import REQUEST_FILE, SPOOL, Request
from edgeagent.upgrade.spool import manifest_file

__all__ = ["Gathered"]

#: So much of a disk is left for the rest of the device: a full disk stops its leaf.
RESERVE_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 20


class Gathered:
    """What is in the folder. sha256: of the manifest of the release that is wanted; what is of none that is wanted can be let go."""

    def __init__(self, state_folder: Path) -> None:
        self.folder = files.make_folder(state_folder / SPOOL, 0o700)

    def manifest(self, sha256: str) -> Path:
        return self.folder / manifest_file(sha256)

    def wheel(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.whl"

    def keep_only(self, wanted: Iterable[Path]) -> None:
        """Remove everything else."""
        stay = set(wanted)
        for each in self.folder.iterdir():
            if each not in stay and each.is_file():
                each.unlink()

    def check_room(self, lacking: Iterable[Wheel]) -> None:
        """Raise Failed when the disk has no room for these wheels. Root checks what they need once more, where they go."""
        size = sum(wheel.bytes for wheel in lacking if not self.wheel(wheel.sha256).exists())
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        if free < size + RESERVE_BYTES:
            why = f"the disk of {self.folder} has {free:,} bytes free, and {size + RESERVE_BYTES:,} are needed"
            raise Failed("fetch the release", why, "free some space there, and send it again")

    def ask(self, request: Request) -> None:
        """Have root look at it: ``edgeagent-upgrade.path`` waits for this file."""
        files.write_atomic(self.folder / REQUEST_FILE, msgspec.json.encode(request), 0o600)

    @property
    def is_asked(self) -> bool:
        """Whether root has not taken the request yet."""
        return (self.folder / REQUEST_FILE).exists()

    def withdraw(self) -> None:
        (self.folder / REQUEST_FILE).unlink(missing_ok=True)


def is_right(path: Path, size: int, sha256: str) -> bool:
    """Whether there is a file of this content. Blocks: for a thread."""
    try:
        with path.open("rb") as source:
            digest, left = new_digest(), size + 1
            while left > 0 and (chunk := source.read(min(left, _CHUNK_BYTES))):
                digest.update(chunk)
                left -= len(chunk)
    except OSError:
        return False
    return digest.hexdigest() == sha256
