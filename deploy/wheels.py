"""The wheels of edgeagent and of all that it needs, for another machine than this one: an image, a .deb, a device without internet.

    python deploy/wheels.py fetch --into wheels --arch aarch64 --python 3.11 [--extra flash ...]
    python deploy/wheels.py check      whether 64-bit Raspberry Pi OS can have every one of them without a compiler

It needs pip, Python 3.11 or newer, and hatchling (`pip install hatchling`) to make edgeagent's own wheel.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
#: The newest glibc that a wheel may ask for: that of Debian 12 (bookworm). Debian 13 has 2.41.
GLIBC = 36
#: What `check` looks at: the Python of Debian 12 and 13, and so of Raspberry Pi OS.
PYTHONS, MACHINES = ("3.11", "3.13"), ("aarch64", "x86_64")
#: With which extras: what a device may want besides.
EXTRAS = ((), ("flash",), ("gpio",))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("check")
    fetching = commands.add_parser("fetch")
    fetching.add_argument("--into", type=Path, required=True)
    fetching.add_argument("--arch", default="aarch64")
    fetching.add_argument("--python", default="3.11")
    fetching.add_argument("--extra", action="append", default=[])
    given = parser.parse_args()
    if given.command == "check":
        return check()
    fetch(given.into, given.arch, given.python, given.extra)
    return 0


def fetch(into: Path, arch: str, python: str, extras: Sequence[str] = ()) -> Path:
    """Put them all into a folder; edgeagent's own. arch: as `uname -m` says. Raises CalledProcessError when one is not to be had."""
    into.mkdir(parents=True, exist_ok=True)
    own = build(into)
    subprocess.run(_download(own, extras, into, arch, python), check=True)
    return own


def build(into: Path) -> Path:
    """edgeagent's own wheel, which runs everywhere; others of it in the folder are removed."""
    for old in into.glob("edgeagent-*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(into.resolve())]
    subprocess.run(command, cwd=TREE, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (own,) = into.glob("edgeagent-*.whl")
    return own


def place(own: Path, extras: Sequence[str], found: Path, into: Path, arch: str, python: str) -> None:
    """Unpack edgeagent and all that it needs into a folder of packages, out of the wheels in ``found``; programs go into its ``bin``."""
    where = ("--no-index", f"--find-links={found}", f"--target={into}", "--no-compile", "--no-warn-conflicts")
    subprocess.run([*_pip("install", arch, python), *where, _wanted(own, extras)], check=True)


def _download(own: Path, extras: Sequence[str], into: Path, arch: str, python: str) -> list[str]:
    return [*_pip("download", arch, python), f"--dest={into}", _wanted(own, extras)]


def _pip(verb: str, arch: str, python: str) -> list[str]:
    # pip takes each platform literally: a wheel for glibc 2.17 is none for "manylinux_2_36".
    tags = [f"manylinux_2_{minor}_{arch}" for minor in range(GLIBC, 4, -1)] + [f"manylinux2014_{arch}", f"linux_{arch}"]
    return [
        *(sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check"),
        *("--only-binary=:all:", "--implementation=cp", f"--python-version={python}"),
        *(f"--platform={tag}" for tag in tags),
    ]


def _wanted(own: Path, extras: Sequence[str]) -> str:
    return f"{own}[{','.join(extras)}]" if extras else str(own)


def check() -> int:
    """Look for all wheels; 1 when some are missing."""
    lacking = 0
    with tempfile.TemporaryDirectory() as name:
        own = build(Path(name))
        for arch, python, extras in itertools.product(MACHINES, PYTHONS, EXTRAS):
            into = Path(name, arch, python, *extras)
            into.mkdir(parents=True)
            done = subprocess.run(_download(own, extras, into, arch, python), capture_output=True, text=True)
            lacking |= done.returncode
            said = _found(into) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
            print(f"{arch:<8} Python {python}  edgeagent{f'[{extras[0]}]' if extras else '':<8} {said}", flush=True)
    return lacking


def _found(into: Path) -> str:
    sizes = [path.stat().st_size for path in into.glob("*.whl")]
    return f"{len(sizes)} wheels, {sum(sizes) / 1e6:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
