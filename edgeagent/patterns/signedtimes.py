"""The latest moments at which people signed what this device took: it is later than that, whatever a hub says.

``signedtimes.json`` in the state folder has one for each login. Only logins count that may give every command, so who can do little can't make
everything expire; and one that is revoked counts no longer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import EdgeError
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import Signature

__all__ = ["FILE", "SignedTimes"]

log = logging.getLogger(__name__)

FILE = "signedtimes.json"
#: By how much the latest moment must be later than the one in the file to be written there, in seconds: the card wears.
WRITE_SECONDS = 60
#: How many logins are remembered: those with the latest moments.
_LOGINS = 32


class _Seen(msgspec.Struct, frozen=True):
    """at: the latest moment, and issued: when the login was, both in Unix seconds."""

    at: int
    issued: int


class SignedTimes:
    """path: of the file. pins: who may sign now."""

    def __init__(self, path: Path, pins: Callable[[], Pins]) -> None:
        self._path, self._pins = path, pins
        self._seen = _read(path)
        self._written = self._latest()

    def saw(self, found: Signature) -> None:
        """This good signature was met."""
        before = self._seen.get(found.key)
        if found.actions or (before is not None and before.at >= found.at):
            return
        self._seen[found.key] = _Seen(found.at, found.issued)
        if len(self._seen) > _LOGINS:
            del self._seen[min(self._seen, key=lambda key: self._seen[key].at)]
        if self._latest() >= self._written + WRITE_SECONDS:
            self._write()

    def floor(self) -> float:
        """It is at least so late, Unix seconds; 0 when nobody has said anything."""
        try:
            pins = self._pins()
        except EdgeError:  # damaged, which others say; nobody is known to be revoked
            pins = Pins()
        return float(max((seen.at for key, seen in self._seen.items() if not pins.has_revoked(key, seen.issued)), default=0))

    def _latest(self) -> int:
        return max((seen.at for seen in self._seen.values()), default=0)

    def _write(self) -> None:
        try:
            files.write_atomic(self._path, msgspec.json.encode(self._seen) + b"\n", 0o600)
        except EdgeError as error:  # a full disk; it is written with a later one
            log.warning("%s", error)
        else:
            self._written = self._latest()


def _read(path: Path) -> dict[str, _Seen]:
    try:
        return msgspec.json.decode(files.read_if_there(path) or b"{}", type=dict[str, _Seen])
    except (EdgeError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("cannot read %s: %s. It is begun anew", path, error)
        return {}
