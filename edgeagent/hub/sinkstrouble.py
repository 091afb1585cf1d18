"""Why nothing can be sent to somebody now: in the log when it begins and is over, and in a file for `hub status` and `hub doctor`.

The file outlives the process that wrote it: what it says counts until something was taken again, by whichever instance.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import EdgeError

__all__ = ["Noted", "Trouble", "noted"]

log = logging.getLogger("edgeagent.hub")


class Noted(msgspec.Struct, frozen=True):
    """problem: in words. since: when it began, Unix seconds."""

    problem: str
    since: float


class Trouble:
    """name: of whom we send to, for the log. file: its folder may be missing; None: nothing is kept."""

    def __init__(self, name: str, file: Path | None = None) -> None:
        self._name, self._file, self._said = name, file, ""
        self.noted = noted(file) if file is not None else None

    def begun(self, problem: str) -> None:
        """It is as bad as this, perhaps for long."""
        if problem == self._said:
            return
        log.warning("cannot send to %s: %s; it is tried again until it works", self._name, problem)
        self._said = problem
        self.noted = Noted(problem, self.noted.since if self.noted else time.time())
        self._keep()

    def over(self) -> None:
        """Something was taken."""
        if self.noted is not None or (self._file is not None and self._file.exists()):  # another instance's, perhaps
            log.info("%s answers again", self._name)
            self._said, self.noted = "", None
            self._keep()

    def seconds(self) -> float:
        """For how long it has been so; 0: it is not."""
        return max(0.0, time.time() - self.noted.since) if self.noted else 0.0

    def _keep(self) -> None:
        """What cannot be written is in the log all the same."""
        if self._file is None:
            return
        try:
            files.make_folder(self._file.parent, 0o700)
            if self.noted:
                files.write_atomic(self._file, msgspec.json.encode(self.noted), 0o600)
            else:
                self._file.unlink(missing_ok=True)
        except (EdgeError, OSError) as error:
            log.debug("%s", error)


def noted(file: Path) -> Noted | None:
    """What the file says; None: nothing is wrong, or it cannot be read."""
    try:
        return msgspec.json.decode(files.read_if_there(file) or b"", type=Noted)
    except (EdgeError, msgspec.DecodeError):
        return None
