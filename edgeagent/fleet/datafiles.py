"""Messages as files of their own, in a folder: ``<device>/<topic>/<time>-<sequence>-<place>``."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from edgeagent.errors import Failed
from edgeagent.fleet.data import DataMessage
from edgeagent.times import moment

__all__ = ["DataFolder", "folder_name"]

#: A topic is whatever a device says it is: what is no plain part of a file's name is written as in a URL.
_ODD = re.compile(r"[^A-Za-z0-9_.-]|^\.")
#: File systems take names of 255 bytes.
_LONGEST = 200


def folder_name(topic: str) -> str:
    """The name of a topic's folder: one component, never hidden, and different for different topics. Pure."""
    name = _ODD.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), topic) or "%"
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 17]}~{hashlib.sha256(topic.encode('utf-8', 'replace')).hexdigest()[:16]}"


class DataFolder:
    """path: is made if need be. What is there already is written again with the same bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._made: set[Path] = set()

    def write(self, message: DataMessage) -> None:
        """Raises Failed when it cannot be written."""
        folder = self._path / message.device / folder_name(message.topic)
        time = moment(message.time_ms / 1000).strftime("%Y%m%dT%H%M%S") + f".{message.time_ms % 1000:03}Z"
        try:
            if folder not in self._made:
                folder.mkdir(parents=True, exist_ok=True)
                self._made.add(folder)
            (folder / f"{time}-{message.sequence}-{message.place}").write_bytes(message.body)
        except OSError as error:
            raise Failed(f"write into {folder}", error.strerror or str(error)) from None
