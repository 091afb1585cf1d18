"""``mcus.json`` in the state folder: the microcontrollers that ``edgeagent mcu add`` made known to this device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeagent import files
from edgeagent.errors import Failed

__all__ = ["FILE", "Mcu", "load", "save"]

FILE = "mcus.json"


class Mcu(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One microcontroller. password: of its MQTT login; empty: it has none. file: where its settings for MQTT were written.

    wired: what is known of one that is connected by wire; None: it is not.
    ``repr`` does not show the password.
    """

    id: str
    password: str = ""
    file: str = ""
    wired: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Mcu({self.id!r})"


def load(path: Path) -> dict[str, Mcu]:
    """The microcontrollers in ``mcus.json`` by id, none when there is no such file. Raises Failed when it is damaged."""
    data = files.read_if_there(path)
    try:
        return {mcu.id: mcu for mcu in msgspec.json.decode(data, type=list[Mcu])} if data is not None else {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        remedy = "remove it and add the microcontrollers again: `edgeagent mcu add`"
        raise Failed(f"read {path}", str(error), remedy) from None


def save(path: Path, mcus: dict[str, Mcu]) -> None:
    """Write them, readable by the agent only."""
    data = msgspec.json.format(msgspec.json.encode(list(mcus.values()))) + b"\n"
    files.write_atomic(path, data, 0o600, files.folders_owner(path.parent))
