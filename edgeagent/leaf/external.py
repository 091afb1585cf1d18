"""A leaf that somebody else runs (systemd) with the configuration that we write: what can be seen of it, and telling it to read that again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from edgeagent import files
from edgeagent.errors import EdgeError, Refused, Unreachable
from edgeagent.natsserver import ports, process
from edgeagent.natsserver.supervisor import State

__all__ = [
    "RELOAD_SECONDS",
    "External",
    "allow_unit",
    "end_for_restart",
    "end_managed",
    "forbid_unit",
    "forget_managed",
    "knows_account",
    "no_answer",
    "nothing_answers",
    "signal_reload",
    "until_it_answers",
]

log = logging.getLogger(__name__)

#: How often it is looked for while it is not there, in seconds.
LOOK_SECONDS = 0.2
#: A server that has run for so long listens to signals, whatever else it does, in seconds.
BEGIN_SECONDS = 10.0

#: How long it takes at most to read a new configuration, in seconds.
RELOAD_SECONDS = 1.0

#: The unit's ConditionPathExists: without this file beside leaf.conf it does not start. So a managed leaf is never joined by a second
#: server on the same store, which would destroy it.
MARK = "leaf.external"


class External:
    """What is known of such a leaf. on_change: as for the Supervisor."""

    def __init__(self, on_change: Callable[[State, str], None] | None) -> None:
        self._on_change = on_change or (lambda state, detail: None)
        self.state, self.version = State.STOPPED, ""
        #: Why it can't be used, None while it can.
        self.problem: EdgeError | None = None

    def move(self, state: State, *, version: str = "", problem: EdgeError | None = None) -> None:
        """It is in this state now. version: its program's, empty: as before."""
        known = (self.state, self.version)
        self.state, self.version, self.problem = state, version or self.version, problem
        if known != (self.state, self.version):
            log.info("the leaf: %s%s", state.value, f" ({problem.why})" if problem else "")
            self._on_change(state, problem.why if problem else "")


def is_allowed(folder: Path) -> bool:
    """Whether the leaf's unit may start."""
    return (folder / MARK).exists()


def forget_managed(folder: Path, config_file: Path) -> None:
    """Remove the configuration that a managed leaf had before the leaf's unit may start: nats-server would refuse to reload another.

    Not to write the new one then: it is what starts the unit (``PathChanged=``), which would not be allowed to yet, and nobody would start
    it again. Raises EdgeError.
    """
    if is_allowed(folder):
        return
    try:
        config_file.unlink(missing_ok=True)
    except OSError as error:
        raise files.failure(f"remove {config_file}", error) from None


def allow_unit(folder: Path) -> bool:
    """Let the leaf's unit start; True when it was not allowed to before. Raises EdgeError."""
    if is_allowed(folder):
        return False
    files.write_atomic(folder / MARK, b"While this file is here, edgeagent-leaf.service may start: `leaf.mode` is external.\n")
    return True


def knows_account(config_file: Path, name: str) -> bool:
    """Whether that configuration has an account of this name.

    nats-server 2.15.1 lets an account that a reload brought use its imports of services from the next reload on only
    (``configureAccounts``, server/server.go), so it is told twice. Raises EdgeError when the file can't be read.
    """
    return f"\n  {name} {{".encode() in (files.read_if_there(config_file) or b"")


def forbid_unit(folder: Path) -> None:
    """Keep the leaf's unit from starting. Raises EdgeError."""
    try:
        (folder / MARK).unlink(missing_ok=True)
    except OSError as error:
        raise files.failure(f"remove {folder / MARK}", error) from None


async def until_it_answers(port: int, server_name: str) -> str:
    """Wait until a server of this name answers at the port; its version."""
    while True:
        info = await ports.banner(port) or {}
        if info.get("server_name") == server_name:
            return str(info.get("version", ""))
        await asyncio.sleep(LOOK_SECONDS)


async def no_answer(port: int, unit: str) -> EdgeError:
    """Why it does not answer, as far as can be seen from here, and which unit to look at."""
    other, url = await ports.banner(port), f"nats://{ports.HOST}:{port}"
    if other is None:
        return nothing_answers(port, unit)
    why = f"another nats-server ({other.get('server_name')}) answers at {url}"
    remedy = f"restart the leaf's unit, `sudo systemctl restart {unit}`, or set another `leaf.port` in agent.toml"
    return Unreachable("reach the leaf", why, remedy)


def nothing_answers(port: int, unit: str) -> EdgeError:
    """The error for a server that is not there."""
    remedy = f"start its unit: `sudo systemctl start {unit}`; `journalctl -u {unit}` tells why it ended"
    return Unreachable("reach the leaf", f"nothing answers at nats://{ports.HOST}:{port}", remedy)


async def signal_reload(launch: process.Launch, unit: str, port: int, server_name: str) -> None:
    """Have the server that ``launch`` describes read its configuration again; raise Refused when it does not run or is not ours to signal.

    One that has only just begun may have read the configuration before the last change and yet not listen to SIGHUP, which then ends it.
    So it is told when it answers at ``port``, or when it has long begun and answers elsewhere.
    """
    child = process.adopt(launch)
    if child is None:
        raise Refused("reload the leaf", "it does not run, or as another user", f"`sudo systemctl reload-or-restart {unit}`")
    waits = {asyncio.ensure_future(until_it_answers(port, server_name)), asyncio.ensure_future(child.wait())}
    try:
        await asyncio.wait(waits, timeout=BEGIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        child.reload()
    finally:
        for wait in waits:
            wait.cancel()
        child.release()


async def end_for_restart(launch: process.Launch, unit: str) -> None:
    """End the server that ``unit`` runs, as any process of its user may: systemd starts it again (``Restart=always``).

    Raises Refused when it does not run, or not in that unit: nobody would start it again then.
    """
    child = process.adopt(launch)
    try:
        if child is None or not is_in_unit(child.pid, unit):
            why = (
                "it does not run, or as another user"
                if child is None
                else f"{unit}.service does not run it, so nobody would start it again"
            )
            raise Refused("restart the leaf", why, f"`sudo systemctl restart {unit}`, or end it yourself")
        await child.terminate()
    finally:
        if child is not None:
            child.release()


def is_in_unit(pid: int, unit: str, proc: Path = Path("/proc")) -> bool:
    """Whether systemd runs the process as a part of this service (cgroups(7), of either version). proc: where /proc is."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return False
    return any(f"{unit}.service" in line.split(":", 2)[-1].split("/") for line in lines)


async def end_managed(launch: process.Launch) -> None:
    """End a server that we left running when the leaf was still managed: the unit's would be a second one on the same store."""
    child = process.adopt(launch)
    if child is not None:
        await child.terminate()
        child.release()
