"""Somebody's own modules for a board, which stand in its ``/lib`` beside the firmware: sensors, drivers. No update touches them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from edgeagent import files
from edgeagent.errors import UsageProblem

__all__ = ["LIB", "hiding", "read"]

LIB = "/lib"
#: So that two slots, and readings, have room beside them in the 848 KB of a Pico W.
MAX_FILES, MAX_BYTES = 64, 128 << 10
_NAME = re.compile(r"([A-Za-z0-9_]{1,32}/){0,3}[A-Za-z0-9_]{1,32}\.m?py\Z")
_SUFFIXES = (".py", ".mpy")


def read(folder: Path) -> dict[str, bytes]:
    """The modules in ``folder`` and below, by their path on the board; the rest of it is left alone. Raises EdgeError."""
    what = f"copy {folder} to the board"
    if not folder.is_dir():
        raise UsageProblem(what, "there is no such folder", "name the one that has your modules in it, such as sensor_tilt.py")
    paths = [
        path for path in sorted(folder.rglob("*")) if path.suffix in _SUFFIXES and path.is_file() and not _is_hidden(path, folder)
    ]
    _check(what, [path.relative_to(folder).as_posix() for path in paths], sum(path.stat().st_size for path in paths))
    return {f"{LIB}/{path.relative_to(folder).as_posix()}": files.read_bytes(path) for path in paths}


def hiding(wanted: Iterable[str], on_board: Iterable[str]) -> list[str]:
    """What is on the board and the same module in the other form: of x.py and x.mpy MicroPython takes x.py, whichever is newer."""
    kept = set(wanted)
    stems = {path.rpartition(".")[0] for path in kept}
    return [path for path in on_board if path.endswith(_SUFFIXES) and path.rpartition(".")[0] in stems and path not in kept]


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part == "__pycache__" or part.startswith(".") for part in path.relative_to(folder).parts)


def _check(what: str, names: list[str], size: int) -> None:
    if not names:
        raise UsageProblem(
            what, "it has no .py and no .mpy", "name the folder that has your modules in it, such as sensor_tilt.py"
        )
    if bad := next((name for name in names if not _NAME.match(name)), None):
        raise UsageProblem(what, f"no module is called {bad[:80]!r}", "letters, digits and _, at most three folders deep")
    twice = next((name for name in names if name.endswith(".mpy") and f"{name[:-4]}.py" in names), None)
    if twice:
        raise UsageProblem(what, f"{twice} is there as .py too", "keep one of both: MicroPython takes the .py")
    if len(names) > MAX_FILES or size > MAX_BYTES:
        why = f"it has {len(names)} modules with {size:,} bytes, and a board takes {MAX_FILES} with {MAX_BYTES:,}"
        raise UsageProblem(what, why, "compile them with mpy-cross, or leave out what it does not import")
