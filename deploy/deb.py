"""Makes edgeagent_<version>_<architecture>.deb: `make deb`. On any machine for any other, for all that it holds are wheels.

    python deploy/deb.py --into dist [--arch aarch64] [--python 3.11]

It needs what deploy/wheels.py needs, and dpkg-deb. --python: that of the distribution it is for: 3.11 is Debian 12, 3.13 is Debian 13.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deploy import wheels
from deploy.wheels import TREE

#: As Debian calls machines, by `uname -m`; and its releases, by their Python.
ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64", "riscv64": "riscv64"}
RELEASES = {"3.11": "deb12", "3.13": "deb13"}
#: The only programs of its environment that are anybody's to start.
PROGRAMS = ("edgeagent", "nats-server")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path("dist"))
    parser.add_argument("--arch", default="aarch64", choices=ARCHITECTURES)
    parser.add_argument("--python", default="3.11", choices=RELEASES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        own = wheels.fetch(Path(name), given.arch, given.python, ["flash"])
        print(build(given.into, own, Path(name), given.arch, given.python))


def build(into: Path, own: Path, found: Path, arch: str, python: str, *, compression: str = "xz", version: str = "") -> Path:
    """Make the package of the wheel ``own``. found: the folder with all that it needs. version: another one than its own, for tests."""
    upstream = version or own.name.split("-")[1]
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into) as name:
        root = Path(name)
        _environment(root / "opt/edgeagent", own, found, arch, python)
        _files(root)
        _control(root, arch, python, upstream)
        target = into / f"edgeagent_{_debian(upstream, python)}_{ARCHITECTURES[arch]}.deb"
        root.chmod(0o755)
        command = ["dpkg-deb", "--build", "--root-owner-group", f"-Z{compression}", str(root), str(target)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target


def _debian(upstream: str, python: str) -> str:
    """A pre-release comes before its release; that for a newer Debian after that for an older."""
    ordered = re.sub(r"(a|b|rc|[.]dev)([0-9]+)", r"~\1\2", upstream)
    return f"{ordered}-1~{RELEASES[python]}"


def _environment(base: Path, own: Path, found: Path, arch: str, python: str) -> None:
    """A virtual environment (PEP 405) as it will be at /opt/edgeagent, with that system's Python."""
    packages = base / f"lib/python{python}/site-packages"
    wheels.place(own, ["flash"], found, packages, arch, python)
    # pip makes the environments of upgrades (docs/upgrade.md); it is the same for every machine.
    ours = Path(sysconfig.get_path("purelib"))
    for folder in (ours / "pip", *ours.glob("pip-*.dist-info")):
        shutil.copytree(folder, packages / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    (base / "bin").mkdir()
    for name in PROGRAMS:
        program = packages / "bin" / name
        data = program.read_bytes()
        (base / "bin" / name).write_bytes(re.sub(rb"\A#![^\n]*python[^\n]*\n", b"#!/opt/edgeagent/bin/python3\n", data))
        (base / "bin" / name).chmod(0o755)
    shutil.rmtree(packages / "bin")
    (base / "bin/python3").symlink_to(f"/usr/bin/python{python}")
    (base / "bin/python").symlink_to("python3")
    # The system's packages are seen behind ours: gpiozero and lgpio are Debian's there.
    (base / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {python}\n")


def _files(root: Path) -> None:
    """All that is not in /opt."""
    copies = {
        "systemd": "usr/lib/systemd/system",
        "deploy/sysusers.d": "usr/lib/sysusers.d",
        "deploy/tmpfiles.d": "usr/lib/tmpfiles.d",
        "deploy/udev": "usr/lib/udev/rules.d",
    }
    for source, target in copies.items():
        shutil.copytree(TREE / source, root / target)
    for name in ("collectors.d", "actions.d"):
        (root / "etc/edgeagent" / name).mkdir(parents=True)
    (root / "usr/bin").mkdir()
    (root / "usr/bin/edgeagent").symlink_to("/opt/edgeagent/current/bin/edgeagent")
    (root / "usr/share/doc/edgeagent").mkdir(parents=True)
    shutil.copy(TREE / "LICENSE", root / "usr/share/doc/edgeagent/copyright")
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _control(root: Path, arch: str, python: str, upstream: str) -> None:
    units = sorted(path.name for path in (TREE / "systemd").iterdir() if "@" not in path.name)
    major, minor = python.split(".")
    words = {
        "VERSION": _debian(upstream, python),
        "UPSTREAM": upstream,
        "ARCHITECTURE": ARCHITECTURES[arch],
        "PYTHON": python,
        "NEXT": f"{major}.{int(minor) + 1}",
        "UNITS": " ".join(units),
    }
    (root / "DEBIAN").mkdir(mode=0o755)
    for source in (TREE / "deploy/deb").iterdir():
        text = re.sub(r"@([A-Z]+)@", lambda match: words[match[1]], source.read_text())
        target = root / "DEBIAN" / source.name
        target.write_text(text)
        target.chmod(0o644 if source.name == "control" else 0o755)


if __name__ == "__main__":
    main()
