"""A hub of one server or of several, and devices: each a real process, started again when it ends, as systemd would (Restart=always)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeagent import files, interpreter
from edgeagent.errors import EdgeError
from edgeagent.hub.folder import HubFolder
from edgeagent.natsserver import ports
from edgeagent.natsserver.process import Launch
from edgeagent.natsserver.supervisor import Supervisor, Timing
from tests.support import chaosactions
from tests.support.cluster import ports_in_a_row
from tests.support.fleet import Said, cli
from tests.support.hub import answers
from tests.support.servers import kill_leftovers, until

__all__ = ["CONTEXT", "Server", "Site", "SoakDevice"]

#: How systemd would start each again: after a pause of up to this long, in seconds.
TIMING = Timing(first_seconds=2.0, cap_seconds=2.0, good_seconds=1.0, grace_seconds=30.0)
#: For whatever must become true, on a machine with more processes than cores, in seconds.
PATIENCE_SECONDS = 300.0
STORE_BYTES = 2 << 30
#: Of the first hub, as `hub init` makes it.
CONTEXT = "soak"
#: Every device is in one of them, in turn.
GROUPS = ("berlin", "munich")
#: How many devices are enrolled and started at the same time.
AT_ONCE = 3
#: How many command lines run at the same time.
MOST_COMMANDS = 16

Say = Callable[[str], None]


@dataclass(frozen=True)
class Server:
    """One server of a hub: its folder, and what runs it."""

    place: HubFolder
    program: Supervisor

    @property
    def name(self) -> str:
        return self.place.path.name

    def pid(self, what: str) -> int:
        """what: ``hub`` (the process ``hub up``) or ``server`` (its nats-server). Raises OSError, ValueError when it is not there."""
        pid = int((self.place.path / f"{what}.pid").read_text())
        if os.fsencode(self.place.path) not in Path(f"/proc/{pid}/cmdline").read_bytes():
            raise ValueError(f"{pid} is another process by now")
        return pid

    def kill(self, what: str) -> bool:
        """kill -9; whether there was something to kill."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.pid(what), signal.SIGKILL)
            return True
        return False


@dataclass(frozen=True)
class SoakDevice:
    """number: from 1 on. leaf_port: of its own leaf, for programs on the device."""

    number: int
    folder: Path
    leaf_port: int

    @property
    def id(self) -> str:
        return f"pi-{self.number:02}"

    @property
    def group(self) -> str:
        return GROUPS[self.number % len(GROUPS)]

    @property
    def settings(self) -> Path:
        return self.folder / "agent.toml"

    def url(self) -> str:
        """Where its programs find the leaf."""
        return f"nats://127.0.0.1:{self.leaf_port}"

    def text(self, programs: Path) -> str:
        return f"""[device]
id = "{self.id}"
labels = {{ site = "{self.group}" }}
[leaf]
port = {self.leaf_port}
store_max_bytes = {64 << 20}
reconnect_seconds = 2
[agent]
heartbeat_seconds = 5
facts_seconds = 5
[sampling]
interval_seconds = 20
flush_seconds = 5
[forward]
seconds = 2
[paths]
state = "."
runtime = "."
{chaosactions.settings_text(programs, self.id)}"""


class Site:
    """``async with Site(folder, servers=3, devices=20) as site``: all of it runs and answers. Only in a home of its own.

    serving: how many ``hub serve`` run beside the servers. say: told of each step.
    """

    def __init__(self, folder: Path, *, servers: int, devices: int, serving: int = 1, say: Say = print) -> None:
        self.folder, self.programs = folder, folder / "programs"
        self.servers: list[Server] = []
        self.devices = [SoakDevice(number + 1, folder / f"pi-{number + 1:02}", ports.pick()) for number in range(devices)]
        self._serving, self._count, self.say = serving, servers, say
        self._supervised: list[Supervisor] = []
        self._pool = ThreadPoolExecutor(MOST_COMMANDS)

    async def __aenter__(self) -> Site:
        try:
            await self.start_hub()
            await self._start_devices()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def stop(self) -> None:
        """End every process. Safe to call twice."""
        ending, self._supervised = self._supervised, []
        await asyncio.gather(*(each.stop() for each in reversed(ending)), return_exceptions=True)
        kill_leftovers(self.folder)  # a leaf whose agent was killed has nobody else to end it

    async def cli(self, *words: str, timeout: float = 120.0, input: str | None = None) -> Said:
        """``edgeagent WORDS``, in a process of its own."""
        work = partial(cli, *words, timeout=timeout, input=input)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def made(self, *words: str, input: str | None = None) -> Said:
        """The same; it has to succeed."""
        said = await self.cli(*words, input=input)
        assert said.code == 0, f"edgeagent {' '.join(words)}: {said}"
        return said

    async def supervise(self, name: str, folder: Path, *words: str) -> Supervisor:
        """Keep ``edgeagent WORDS`` running; its output goes to a file in ``folder``."""
        argv = tuple(interpreter.argv("edgeagent", *words))
        launch = Launch(name=name, argv=argv, output=folder / f"{name}.out", pid_file=folder / f"{name}.pid")

        async def prepare(problem: EdgeError | None) -> Launch:
            return launch

        program = Supervisor(name, prepare, timing=TIMING)
        self._supervised.append(program)
        program.start()
        await program.ready(PATIENCE_SECONDS)
        return program

    # ---- the hub ----

    async def start_hub(self) -> None:
        """Make it and start it; return when it answers on every server."""
        places = await self._make_hub(self.folder / "hub")
        self.servers = [Server(place, await self.up(place)) for place in places]
        for server in self.servers:
            await until(partial(answers, server.place), f"{server.name} answers", PATIENCE_SECONDS)
        for number in range(self._serving):
            await self.supervise(f"serve-{number + 1}", self.folder, "hub", "serve", "--dir", str(places[0].path))
        self.say(f"a hub of {len(places)} runs")

    async def _make_hub(self, folder: Path) -> list[HubFolder]:
        client, leaf, route = (ports_in_a_row(self._count) for _ in range(3))
        words = ["--dir", str(folder), "--name", CONTEXT, "--admin", "olga", "--store-bytes", str(STORE_BYTES)]
        words += ["--client-port", str(client), "--leaf-port", str(leaf)]
        words += ["--cluster", str(self._count), "--route-port", str(route)] if self._count > 1 else []
        await self.made("hub", "init", *words)
        return [HubFolder(folder if not number else Path(f"{folder}-{number + 1}")) for number in range(self._count)]

    async def up(self, place: HubFolder) -> Supervisor:
        """Keep the server of this folder running."""
        return await self.supervise(f"{place.path.name}-up", self.folder, "hub", "up", "--dir", str(place.path))

    # ---- the devices ----

    @property
    def groups(self) -> list[str]:
        """Those that have devices."""
        return sorted({device.group for device in self.devices})

    async def _start_devices(self) -> None:
        tokens = {group: await self._token(group) for group in self.groups}
        places = asyncio.Semaphore(AT_ONCE)

        async def begin(device: SoakDevice) -> None:
            async with places:
                await self._enrol(device, tokens[device.group])
                await self.supervise("agent-run", device.folder, "run", "--settings", str(device.settings))

        await asyncio.gather(*(begin(device) for device in self.devices))
        await until(self.all_answer, "every device answers", PATIENCE_SECONDS)
        self.say(f"{len(self.devices)} devices answer")

    async def _token(self, group: str) -> str:
        said = await self.made("token", "create", "--groups", group, "--uses", str(len(self.devices)), "--expires", "1h")
        return said.out.strip()

    async def _enrol(self, device: SoakDevice, token: str) -> None:
        files.make_folder(device.folder, 0o700)
        files.write_atomic(device.settings, device.text(self.programs).encode(), 0o600)
        port = self.servers[0].place.options().leaf_port
        words = ("--hub", f"127.0.0.1:{port}", "--token-file", "-", "--id", device.id, "--settings", str(device.settings))
        await self.made("enroll", *words, input=token)

    async def all_answer(self, context: str = CONTEXT) -> bool:
        """Whether every device answers a query at that hub now."""
        said = await self.cli("fleet", "query", "true", "--json", "--context", context)
        return set(answered(said)) == {device.id for device in self.devices}


def answered(said: Said) -> Sequence[str]:
    """Who answered a query, as ``fleet query --json`` says."""
    return [row["id"] for row in json.loads(said.out)["answered"]] if said.code == 0 else []
