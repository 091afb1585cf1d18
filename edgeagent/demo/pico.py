"""The demo's Pico: our firmware on MicroPython's unix port, in place of a board that is not there."""

from __future__ import annotations

import json
from pathlib import Path

from edgeagent import files, interpreter
from edgeagent.demo.virtualpico import find_micropython
from edgeagent.errors import UsageProblem
from edgeagent.firmware import source

__all__ = ["board", "is_possible"]

#: Short enough to watch, in seconds.
INTERVAL_SECONDS = 2
#: A sensor of its own, as people put theirs on a board.
WEATHER = "sensor_weather.py"


def is_possible() -> bool:
    """Whether there is an interpreter for it, and the firmware."""
    try:
        return bool(find_micropython() and source.folder())
    except UsageProblem:
        return False


def board(folder: Path, link: Path, mcu_id: str) -> list[str]:
    """The command that is the board: ``folder`` is its flash, with what `edgeagent firmware flash` would have put there; ``link`` will lead to
    its port. Raises EdgeError."""
    if not (folder / "slot.json").exists():
        _fill(folder, mcu_id)
    return interpreter.argv("edgeagent.demo.virtualpico", str(folder), str(link))


def _fill(folder: Path, mcu_id: str) -> None:
    release = source.read()
    settings = {"id": mcu_id, "interval_seconds": INTERVAL_SECONDS, "sensors": [{"kind": "weather"}]}
    content = {
        **{f"a/{name}": data for name, data in release.files.items()},
        "a/manifest.json": release.manifest,
        **source.read_root(),
        f"lib/{WEATHER}": files.read_bytes(source.folder() / "desktop" / WEATHER),
        "settings.json": json.dumps(settings).encode(),
        "slot.json": b'{"active": "a"}',
    }
    for name, data in content.items():
        path = folder / name
        files.make_folder(path.parent, 0o700)
        files.write_atomic(path, data, 0o600)
