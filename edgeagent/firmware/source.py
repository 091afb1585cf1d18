"""Where the firmware's files are: with an installed edgeagent in the package itself, in a checkout in ``firmware/``."""

from __future__ import annotations

from pathlib import Path

from edgeagent import files
from edgeagent.errors import UsageProblem
from edgeagent.firmware.release import Release, is_file_name, version_in

__all__ = ["folder", "newest", "read", "read_root"]

_PACKAGE = Path(__file__).parents[1]
#: What a board runs, below the folder of the firmware: the content of a slot.
APP = "app"
#: What an update never replaces, so that there is always something that can start the other slot.
ROOT = ("loader.py", "main.py")


def folder() -> Path:
    """The firmware that this edgeagent has. Raises UsageProblem when it was installed without."""
    for each in (_PACKAGE / "_firmware", _PACKAGE.parent / "firmware"):
        if (each / APP / "version.py").is_file():
            return each
    raise UsageProblem("find the firmware", "this edgeagent was installed without it", "name a folder that has it with --source")


def newest() -> str:
    """The version of the firmware that this edgeagent has; empty: it has none."""
    try:
        return version_in((folder() / APP / "version.py").read_bytes())
    except (UsageProblem, OSError):
        return ""


def read(source: Path | None = None) -> Release:
    """What is in ``source`` (None: in :func:`folder`), as it stands there. Raises UsageProblem when no board could run it."""
    there = (source or folder()) / APP
    what = f"read the firmware in {there.parent}"
    if not there.is_dir():
        raise UsageProblem(what, f"there is no folder {there}", "name the folder that has app/ in it, with app/app.py")
    found: dict[str, bytes] = {}
    for path in sorted(there.rglob("*")):
        name = path.relative_to(there).as_posix()
        if path.suffix not in (".py", ".mpy") or "__pycache__" in name or name.startswith("."):
            continue
        if not is_file_name(name):
            raise UsageProblem(what, f"a board takes no file {name!r}", "call it x.py or folder/x.py in a-z, 0-9 and _")
        try:
            found[name] = path.read_bytes()
        except OSError as error:
            raise files.failure(f"read {path}", error) from None
    if "version.py" not in found:
        raise UsageProblem(what, f"there is no {there / 'version.py'}", 'write one: VERSION = "1.0.0"')
    return Release(version_in(found["version.py"]), found)


def read_root(source: Path | None = None) -> dict[str, bytes]:
    """What stands beside the slots, by name; a ``source`` without has that of :func:`folder`. Raises EdgeError."""
    there = source or folder()
    if not any((there / name).is_file() for name in ROOT):
        there = folder()
    return {name: files.read_bytes(there / name) for name in ROOT}
