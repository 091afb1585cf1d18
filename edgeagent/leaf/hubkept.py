"""What a device keeps of the hubs that it was linked to: ``hub.json`` in the state folder. With it a power cut in the midst of a move ends well."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import EdgeError

__all__ = ["FILE", "Kept", "load", "save"]

log = logging.getLogger(__name__)

FILE = "hub.json"


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """good: the entry of ``hub.urls`` that worked last. before: the one that did before that. trying: the one that the leaf was sent to and
    that has not worked yet; tries: how often in a row the agent ended then."""

    good: str = ""
    before: str = ""
    trying: str = ""
    tries: int = 0


class _File(msgspec.Struct, omit_defaults=True):
    """own: what the device itself was given then. Who gives it something else does not want it to go on where it was."""

    own: list[str]
    kept: Kept
    v: int = 1


def load(folder: Path, own: Sequence[str]) -> Kept:
    """What was kept last, nothing where that can't be used. own: the addresses in agent.toml, or of the enrolment."""
    try:
        data = files.read_if_there(folder / FILE)
        found = msgspec.json.decode(data, type=_File) if data else None
    except (EdgeError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning("%s can't be used (%s): the device begins with the hub that is wanted most", folder / FILE, error)
        return Kept()
    return found.kept if found and found.own == list(own) else Kept()


def save(folder: Path, own: Sequence[str], kept: Kept) -> None:
    """Keep it; when this returns it is on the disk. Raises EdgeError."""
    data = msgspec.json.format(msgspec.json.encode(_File(own=list(own), kept=kept))) + b"\n"
    files.write_atomic(folder / FILE, data, 0o600)
