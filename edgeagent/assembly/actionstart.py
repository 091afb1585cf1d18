"""Starts, stops and looks at the units of actions, by systemd's own programs; and keeps the folder that each of them has.

The folder is there before the unit, and only goes when the agent has no more use for it. So no action begins twice.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from edgeagent.assembly.actionorders import Judged, order_of, properties
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.files import failure
from edgeagent.patterns import unitrequests as wire
from edgeagent.patterns.unitrequests import Request, unit_name

__all__ = ["MAX_FOLDERS", "command_line", "forget", "runs", "start", "stop"]

SYSTEMD_RUN, SYSTEMCTL = "/usr/bin/systemd-run", "/usr/bin/systemctl"
#: So many units at most, with those that have ended and whose end the agent has not taken: some run beside each other, and one alone.
MAX_FOLDERS = 32
#: How long systemd may take, in seconds; it takes a fraction of one.
SYSTEMD_SECONDS = 30.0


def start(judged: Judged, request: Request, content: int | None, group: int, below: Path = Path(wire.FOLDER)) -> None:
    """Have it run. group: the agent's. Raises Refused when it is there already, or there are too many; EdgeError."""
    what = f"start {unit_name(request.id)}"
    order = order_of(judged, request, content=content is not None)
    owner = pwd.getpwnam(judged.user)
    if len(list(below.iterdir())) >= MAX_FOLDERS:
        raise Refused(what, f"there are {MAX_FOLDERS} of them already, which run or whose end nobody has taken")
    folder = below / request.id
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        raise Refused(what, "it was started before") from None
    try:
        with _filled(folder, order, owner.pw_uid, group, content):
            _systemd_run(what, command_line(judged, request.id, folder, content=content is not None), folder)
    except (EdgeError, OSError) as error:
        if not (folder / wire.END).exists() and not runs(request.id):
            shutil.rmtree(folder, ignore_errors=True)
            raise error if isinstance(error, EdgeError) else failure(what, error) from None


@contextlib.contextmanager
def _filled(folder: Path, order: wire.Order, owner: int, group: int, content: int | None) -> Iterator[None]:
    """What is to be done is for its user alone to read, what comes of it for the agent."""
    _write(folder / wire.REPORT, b"", -1, group, 0o640)
    if content is not None:
        # systemd opens it as standard input of each process of the unit, also of the last one, when this one is long gone.
        (folder / wire.CONTENT).symlink_to(f"/proc/{os.getpid()}/fd/{content}")
    os.chown(folder, -1, group)
    folder.chmod(0o751)
    _write(folder / f".{wire.REQUEST}", msgspec.json.encode(order), owner, -1, 0o400)
    (folder / f".{wire.REQUEST}").rename(folder / wire.REQUEST)
    yield
    if content is not None:
        _write(folder / f".{wire.CONTENT}", b"", -1, -1, 0o600)
        (folder / f".{wire.CONTENT}").rename(folder / wire.CONTENT)


def _write(path: Path, data: bytes, owner: int, group: int, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(descriptor, mode)
        os.fchown(descriptor, owner, group)


def command_line(judged: Judged, command_id: str, folder: Path, *, content: bool) -> list[str]:
    """Of systemd-run. Of what the agent said only the id is in it, and what ``judged`` has checked."""
    end = f"umask 022; echo $$SERVICE_RESULT $$EXIT_CODE $$EXIT_STATUS > {folder}/.{wire.END}; mv {folder}/.{wire.END} {folder}/{wire.END}"
    given = [
        *properties(judged),
        f"StandardInput=file:{folder}/{wire.CONTENT}" if content else "StandardInput=null",
        f"StandardOutput=file:{folder}/{wire.REPORT}",
        "StandardError=journal",
        f'ExecStopPost=+/bin/sh -c "{end}"',
    ]
    options = ["--quiet", "--collect", "--no-ask-password", "--service-type=exec", f"--unit={unit_name(command_id)}"]
    options.append(f"--description=edgeagent: {judged.action.name}")
    runs = [sys.executable, "-I", "-m", "edgeagent.assembly.actionunit", command_id]
    return [SYSTEMD_RUN, *options, *(f"--property={each}" for each in given), "--", *runs]


def _systemd_run(what: str, argv: Sequence[str], folder: Path) -> None:
    done = _ran(argv, what)
    if done.returncode and not (folder / wire.END).exists():
        raise Failed(what, f"systemd-run: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")


def stop(command_id: str) -> None:
    """Tell it to end; that takes a while. Raises EdgeError."""
    _ran([SYSTEMCTL, "stop", "--no-block", "--", unit_name(command_id)], f"stop {unit_name(command_id)}")


def runs(command_id: str) -> bool:
    """Whether it has begun, and has not ended. Raises EdgeError."""
    argv = [SYSTEMCTL, "show", "--property=ActiveState", "--value", "--", unit_name(command_id)]
    return _ran(argv, f"look at {unit_name(command_id)}").stdout.strip() not in ("inactive", "failed")


def forget(command_id: str, below: Path = Path(wire.FOLDER)) -> None:
    """Remove what it left; if it still runs, stop it instead. Raises EdgeError."""
    folder = below / command_id
    if not (folder / wire.END).exists() and runs(command_id):
        stop(command_id)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _ran(argv: Sequence[str], what: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=SYSTEMD_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(what, f"{argv[0]}: {error}") from None
