"""Makes a virtual environment for a release, beside the present one: what is the same in both is linked, the rest is installed by pip.

It counts only with ``release.json`` in it, which is written last: what a power cut left half done is removed by the next.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from edgeagent import files
from edgeagent.errors import Failed
from edgeagent.upgrade.manifest import Manifest, Wheel, installed, normal, site_packages

__all__ = ["MARK", "check_room", "is_whole", "make"]

#: In the folder of an environment that is whole: the sha256 of the manifest that it was made from.
MARK = "release.json"
#: So much of a disk is left for the rest of the device: a full disk stops its leaf.
RESERVE_BYTES = 64 << 20
#: A new environment without any package; and compiled modules are about as large as their sources.
BARE_BYTES, COMPILED_FACTOR = 2 << 20, 1.5
#: What the longest of the programs may take, in seconds: on a Pi Zero pip installs a large package in minutes.
SECONDS = 1800.0
#: Without what belongs to whoever started us. Nothing is fetched, whatever pip's settings on this machine say.
_CLEAN = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INPUT": "1", "HOME": "/nonexistent"}
#: With these the agent and the command line start.
_MODULES = "import edgeagent.assembly.agent, edgeagent.assembly.deviceloop, edgeagent.assembly.upgrader, edgeagent.cli"


def is_whole(environment: Path, sha256: str) -> bool:
    """Whether it was made from the manifest of this sha256, to its end."""
    return files.read_if_there(environment / MARK) == sha256.encode()


def check_room(folder: Path, wheels: Iterable[Path]) -> None:
    """Raise Failed when an environment with these wheels has no place beside the others in ``folder``."""
    needed = BARE_BYTES + RESERVE_BYTES + int(sum(_unpacked(wheel) for wheel in wheels) * COMPILED_FACTOR)
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        why = f"the disk of {folder} has {free:,} bytes free, and {needed:,} are needed"
        raise Failed("make an environment", why, "free some space there, and send it again")


def _unpacked(wheel: Path) -> int:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return sum(each.file_size for each in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise Failed(f"read {wheel.name}", str(error)) from None


def make(
    present: Path,
    target: Path,
    manifest: Manifest,
    wheels: Sequence[Wheel],
    folder: Path,
    sha256: str,
    say: Callable[[str], None],
) -> None:
    """Make ``target``, whole and looked over, or raise EdgeError.

    wheels: of the manifest those that ``present`` does not have; they are in ``folder``. sha256: of the manifest. say: is told of each step.
    """
    if "pip" not in installed(present):
        raise Failed(f"look over {present}", "it has no pip", f"on the device: `sudo {_python(present)} -m ensurepip`")
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(mode=0o755, exist_ok=True)
    say(f"makes {target}")
    _run([_python(present), "-I", "-m", "venv", "--without-pip", *_flags(present), str(target)], f"make {target}")
    _carry(present, target, {wheel.name for wheel in wheels})
    if wheels:
        say(f"installs {', '.join(f'{wheel.name} {wheel.version}' for wheel in wheels)}")
        paths = [str(folder / wheel.file) for wheel in wheels]
        _run([_python(target), "-I", "-m", "pip", "install", *_OFFLINE, *paths], "install the release")
    say("looks it over")
    _look_over(present, target, manifest, wheels)
    os.sync()
    files.write_atomic(target / MARK, sha256.encode())


_OFFLINE = ("--no-index", "--no-deps", "--no-cache-dir", "--quiet", "--no-warn-script-location", "--disable-pip-version-check")


def _python(environment: Path) -> str:
    return str(environment / "bin" / "python")


def _flags(present: Path) -> list[str]:
    """Whether it sees the distribution's packages (lgpio, for one) is up to whoever installed it."""
    settings = files.read_text(present / "pyvenv.cfg").replace(" ", "").lower()
    return ["--system-site-packages"] if "include-system-site-packages=true" in settings else []


def _carry(present: Path, target: Path, replaced: set[str]) -> None:
    """Have in ``target`` what ``present`` has, but for the projects ``replaced``: also plugins of the owner's, and a nats-server that a person
    put there. What belongs to a package its RECORD says (packaging.python.org, "Recording installed projects")."""
    packages, theirs, programs = site_packages(present), site_packages(target), set[str]()
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        with record.open(newline="", encoding="utf-8") as lines:
            names = [line[0] for line in csv.reader(lines) if line]
        if normal(record.parent.name.removesuffix(".dist-info").rpartition("-")[0]) in replaced:
            programs |= {Path(name).name for name in names if name.startswith("../")}
            continue
        for name in names:
            source = Path(os.path.normpath(packages / name))
            if source.is_relative_to(packages) and source.is_file():
                _link(source, theirs / source.relative_to(packages))
    for program in (present / "bin").iterdir():
        if program.name not in programs and not (target / "bin" / program.name).exists() and program.is_file():
            _carry_program(program, target)


def _carry_program(program: Path, target: Path) -> None:
    copy = target / "bin" / program.name
    with program.open("rb") as stream:
        first = stream.readline(512)
        if not (first.startswith(b"#!") and b"python" in first):
            _link(program, copy)
            return
        copy.write_bytes(f"#!{_python(target)}\n".encode() + stream.read())
    copy.chmod(0o755)


def _link(source: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, copy)
    except OSError:  # on another disk
        shutil.copy2(source, copy)


# ---- looked over ----


def _look_over(present: Path, target: Path, manifest: Manifest, wheels: Sequence[Wheel]) -> None:
    """Raise Failed unless it has exactly what was signed, fits together, and its programs start."""
    what, there = f"use edgeagent {manifest.version}", installed(target)
    wrong = [wheel.file for wheel in wheels if there.get(wheel.name) != wheel.version]
    if wrong:
        raise Failed(what, f"pip has not installed {', '.join(wrong)}")
    complaints = _complaints(target)
    if complaints and (new := sorted(complaints - _complaints(present))):
        raise Failed(what, f"its packages do not fit together: {'; '.join(new)[:500]}")
    _run([_python(target), "-I", "-c", _MODULES], what)
    if (server := target / "bin" / "nats-server").is_file():
        _run([str(server), "--version"], what)
    said = _run([str(target / "bin" / "edgeagent"), "--version"], what).split()
    if manifest.version not in said:
        raise Failed(what, f"it says that it is {' '.join(said)[:100]}")


def _complaints(environment: Path) -> set[str]:
    """What pip says of packages that lack others, or have others of a wrong version."""
    done = _do([_python(environment), "-I", "-m", "pip", "check"], f"look over {environment}")
    return set(done.stdout.splitlines()) if done.returncode else set()


def _run(argv: Sequence[str], what: str) -> str:
    done = _do(argv, what)
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()] or ["it says nothing"]
        raise Failed(what, f"{lines[-1][:500]} (exit code {done.returncode})")
    return done.stdout


def _do(argv: Sequence[str], what: str, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            env=_CLEAN,
            cwd="/",
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        raise files.failure(what, error) from None
    except subprocess.TimeoutExpired:
        raise Failed(what, f"{Path(argv[0]).name} took longer than {seconds:.0f} s") from None
