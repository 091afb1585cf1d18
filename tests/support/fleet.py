"""A hub and devices as real processes: the demo's own fleet, kept by a thread so that a test may block; and the command line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from edgeagent import status
from edgeagent.assembly.hub import add_device
from edgeagent.demo import story
from edgeagent.demo.fleet import ADMIN, CONTEXT, DemoFleet
from edgeagent.demo.layout import QUICK, DemoDevice, DemoFolder, Pace, devices
from edgeagent.errors import EdgeError
from edgeagent.fleet import Fleet, Outcome
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.owner import Owner
from edgeagent.natsserver import ports
from edgeagent.settings import load
from edgeagent.status import Status
from tests.support import forking, quick
from tests.support.home import own_home
from tests.support.servers import until

__all__ = [
    "CONTEXT_USER",
    "PATIENCE_SECONDS",
    "PATIENT",
    "STEADY",
    "Device",
    "LiveFleet",
    "Said",
    "cli",
    "everybody_answered",
    "offline",
    "online",
    "start_cli",
]

T = TypeVar("T")

#: For one step on a busy machine, in seconds.
PATIENCE_SECONDS = 60.0
#: The demo's pace, but no device is suspect, and no link ended, for the ten seconds that a busy machine may stand still.
STEADY = replace(QUICK, heartbeat_seconds=6.0, ping_seconds=10.0)
#: And nobody is closed for not answering two pings: a test that runs a command stands still meanwhile, and so do its own connections.
PATIENT = replace(STEADY, ping_seconds=PATIENCE_SECONDS)
#: Who the operator of the demo's context is.
CONTEXT_USER = ADMIN


def online(outcome: Outcome) -> list[str]:
    return [row.id for row in outcome.answered]


def offline(outcome: Outcome) -> list[str]:
    return [row.id for row in outcome.offline]


def everybody_answered(outcome: Outcome) -> bool:
    """No device of the selection refused, stayed silent or was away; who did is printed, for the one who reads a failure."""
    others = [*outcome.refused, *outcome.silent, *outcome.offline]
    for row in others:
        print(f"{row.id} {row.state}: {row.reason or 'no reason'}")
    return not others


class LiveFleet:
    """A hub and ``count`` devices below ``folder``, each device behind its cable, with a home of its own for their operator.

    Use it as a context manager to run it, and :meth:`borrowed` for a test.
    more: gives lines for the end of a device's agent.toml, below a section of their own, by its id.
    agent: the words that run one with the settings in a file.
    """

    def __init__(
        self,
        folder: Path,
        count: int = 3,
        pace: Pace = PATIENT,
        *,
        more: Callable[[str], str] = lambda device: "",
        agent: Callable[[Path], list[str]] = quick.agent,
    ) -> None:
        self._home = folder / "home"
        self.layout = _Folder(folder / "demo", more)
        self.hub = HubFolder(self.layout.hub)
        self.ids = [device.id for device in devices(count)] if count else []
        self._fleet = _Fleet(self.layout, devices(count) if count else [], pace)
        self._fleet.agent = agent
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="live fleet", daemon=True)

    def __enter__(self) -> LiveFleet:
        self._thread.start()
        try:
            with own_home(self._home):
                self.do(self._fleet.start())
                self.whole()
        except BaseException:
            self.__exit__()
            raise
        return self

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[LiveFleet]:
        """The fleet with every device answering; within the block the current home is that of its operator."""
        with own_home(self._home):
            self.whole()
            yield self

    def __exit__(self, *_: object) -> None:
        with own_home(self._home):
            self.do(self._fleet.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, device_id: str, *, silent: bool = False) -> None:
        """Pull the cable; nothing is waited for."""
        self.do(self._fleet.cable(device_id).cut(silent=silent))

    def restore(self, device_id: str) -> None:
        self.do(self._fleet.cable(device_id).restore())

    def whole(self, patience: float = PATIENCE_SECONDS) -> None:
        """Plug every cable in and wait until every device answers."""
        for device in self.ids:
            self.restore(device)
        if self.ids:
            self.do(self._all_answer(patience))

    async def _all_answer(self, patience: float) -> None:
        """As :func:`story.until`, but whoever else is registered is not waited for."""

        async def answer() -> bool:
            with contextlib.suppress(EdgeError):  # the hub itself may be the part that is away
                async with Fleet() as fleet:
                    return set(online(await fleet.query(devices=self.ids, timeout=1.0))) == set(self.ids)
            return False

        await until(answer, "every device answers", patience)

    def until(self, what: str, true: Any, patience: float = PATIENCE_SECONDS) -> None:
        """Ask the fleet until ``true(outcome)``."""
        self.do(story.until(what, true, patience))

    def cut_and_known(self, device_id: str) -> None:
        """Pull the cable and wait until the hub knows."""
        self.cut(device_id)
        self.until(f"{device_id} is offline", lambda outcome: device_id in offline(outcome))

    def pid(self, device_id: str, what: str = "agent") -> int:
        """what: ``agent`` or ``leaf``."""
        return int((self.layout.device(device_id) / f"{what}.pid").read_text())

    def hub_pid(self, what: str = "hub") -> int:
        """what: ``hub`` (the process ``hub up``) or ``server`` (its nats-server)."""
        return int((self.layout.hub / f"{what}.pid").read_text())

    def status(self, device_id: str) -> Status:
        return status.read(load(self.layout.settings(device_id)).status_file)

    def leaf_url(self, device_id: str) -> str:
        return f"nats://127.0.0.1:{self.status(device_id).leaf.port}"

    @property
    def url(self) -> str:
        """Where operators reach the hub."""
        return f"nats://127.0.0.1:{self.hub.options().client_port}"

    @property
    def credentials(self) -> Path:
        """The first administrator's."""
        return self._home / "config" / "edgeagent" / "contexts" / f"{CONTEXT}.creds"

    @property
    def owner(self) -> Owner:
        """All keys of its hub."""
        return Owner.load(self.layout.keys, None)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the fleet's own loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS * 2)


class _Fleet(DemoFleet):
    """The demo's, with a hub that paces less (:mod:`tests.support.quick`), and with other agents."""

    agent: Callable[[Path], list[str]]

    async def _supervise(self, name: str, folder: Path, command: list[str], output: Path) -> None:
        if "hub" in command:
            command = quick.hub(*command[command.index("hub") + 1 :])
        elif "edgeagent.assembly.agent" in command:
            command = self.agent(Path(command[-1]))
        await super()._supervise(name, folder, command, output)


class _Folder(DemoFolder):
    def __init__(self, path: Path, more: Callable[[str], str]) -> None:
        super().__init__(path)
        self._more = more

    def settings_text(self, device: DemoDevice, **how: Any) -> str:
        text, more = super().settings_text(device, **how), self._more(device.id)
        for section in re.findall(r"^\[.*\]$", more, re.MULTILINE):  # the demo's own gives way
            text = re.sub(rf"^{re.escape(section)}\n(?:(?!\[).*\n)*", "", text, flags=re.MULTILINE)
        return text + more


class Device:
    """One more device of ``fleet``'s hub, with no cable, its own settings, and its agent with the pauses of :mod:`tests.support.quick`.

    more: lines for the end of agent.toml, below a section of their own.
    """

    def __init__(self, fleet: LiveFleet, folder: Path, device_id: str, more: str = "") -> None:
        self.id, self.folder, self._fleet = device_id, folder, fleet
        folder.mkdir(0o700, parents=True, exist_ok=True)
        self.settings = folder / "agent.toml"
        self.settings.write_text(
            f"""[device]
id = "{device_id}"
[hub]
urls = ["nats-leaf://127.0.0.1:{fleet.hub.options().leaf_port}"]
[leaf]
port = {ports.pick()}
store_max_bytes = {64 << 20}
reconnect_seconds = 0.2
[paths]
state = "."
runtime = "."
{more}
"""
        )

    @property
    def credentials(self) -> Path:
        return self.folder / "device.creds"

    async def register(self, *groups: str, target: Path | None = None) -> None:
        """Add it to the hub; its credentials go to ``target``, or where the agent looks for them."""
        await add_device(self._fleet.hub, self.id, groups, target or self.credentials)

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """Its agent, ended at the end of the block as systemd would end it, with its leaf."""
        pipe = subprocess.PIPE
        agent = subprocess.Popen(quick.single_agent(self.settings), stdout=pipe, stderr=pipe, text=True)
        try:
            yield agent
        finally:
            agent.terminate()
            agent.communicate(timeout=PATIENCE_SECONDS)

    def status(self) -> Status:
        return status.read(load(self.settings).status_file)


@dataclass(frozen=True)
class Said:
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str


def cli(
    *words: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    timeout: float = PATIENCE_SECONDS,
) -> Said:
    """Run ``edgeagent WORDS`` to its end, in a process of its own (:mod:`tests.support.forking`).

    env: added to our own. input: what it reads; None: what this process reads. timeout: seconds after which it is killed and the test
    fails.
    """
    done = _parent().run(words, cwd=cwd, env={**os.environ, **(env or {})}, input=input, timeout=timeout)
    return Said(done.returncode, done.stdout, done.stderr)


def start_cli(*words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start ``edgeagent WORDS``, its output line by line in pipes. The caller ends it."""
    return subprocess.Popen(
        _argv(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )


@cache
def _parent() -> forking.Parent:
    return forking.Parent()


def _argv(words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "edgeagent", *words]
