"""The demo's machines: a hub and devices as real processes, each behind a cable that can be pulled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from pathlib import Path

from edgeagent import context, files, interpreter, settings
from edgeagent.assembly.enrol import EnrolOptions, enrol
from edgeagent.assembly.hubexports import missing
from edgeagent.assembly.hubmake import make
from edgeagent.demo import pico
from edgeagent.demo.cable import Cable
from edgeagent.demo.layout import COLLECTORS, QUICK, DemoDevice, DemoFolder, Pace, with_ports_of
from edgeagent.enrolment import ClaimToken
from edgeagent.errors import EdgeError, UsageProblem
from edgeagent.fleet import admin
from edgeagent.fleet.tokens import Tokens
from edgeagent.hub.address import local_url
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.owner import Owner
from edgeagent.natsserver import ports
from edgeagent.natsserver.process import Launch
from edgeagent.natsserver.supervisor import Supervisor, Timing
from edgeagent.tokens import TokenWanted

__all__ = ["CONTEXT", "DemoFleet", "end_leftovers"]

log = logging.getLogger(__name__)

CONTEXT = "demo"
ADMIN = "admin"
STORE_BYTES = 512 << 20
READY_SECONDS = 60.0

#: As systemd would (Restart=always, RestartSec=2), so that a killed part comes back by itself.
TIMING = Timing(first_seconds=2.0, cap_seconds=2.0, good_seconds=1.0, grace_seconds=15.0)


class DemoFleet:
    """Starts and ends everything below ``folder``."""

    def __init__(self, folder: DemoFolder, devices: list[DemoDevice], pace: Pace = QUICK) -> None:
        self.folder, self.devices, self.pace = folder, devices, pace
        self.cables: dict[str, Cable] = {}
        self._supervisors: list[Supervisor] = []
        self._before: str | None = None

    async def start(self) -> None:
        """The hub first, then the devices, all of them at once."""
        hub = HubFolder(self.folder.hub)
        self._make_hub(hub)
        command = interpreter.argv("edgeagent", "hub", "up", "--dir", str(hub.path))
        await self._supervise("the hub", hub.path, command, hub.path / "hub.log")
        await self._until_up()
        await asyncio.gather(*(self._make_device(hub, device) for device in self.devices))
        await asyncio.gather(*(self._start_device(device) for device in self.devices))

    async def close(self) -> None:
        """End everything, whatever became of it, and give the operator's context back."""
        await asyncio.gather(*(supervisor.stop() for supervisor in reversed(self._supervisors)), return_exceptions=True)
        await end_leftovers(self.folder.path)
        for cable in self.cables.values():
            await cable.close()
        if CONTEXT in context.names():
            context.remove(CONTEXT)
        if self._before and self._before in context.names():
            context.use(self._before)

    @property
    def metrics_url(self) -> str:
        """Where Prometheus would find the hub; empty: nowhere."""
        listen = HubFolder(self.folder.hub).exports().metrics.listen
        return f"http://{listen}/metrics" if listen and not missing() else ""

    def cable(self, device_id: str) -> Cable:
        """The device's cable. Raises UsageProblem for an unknown device."""
        if device_id not in self.cables:
            raise UsageProblem(
                f"work the cable of {device_id!r}", "the demo has no such device", f"it has {', '.join(self.cables)}"
            )
        return self.cables[device_id]

    def _make_hub(self, hub: HubFolder) -> None:
        self._before = context.current_name() if context.current_name() != CONTEXT else None
        if CONTEXT in context.names():
            context.remove(CONTEXT)  # of a demo that was killed
        if hub.exists:
            owner = Owner.load(self.folder.keys, None)
            handed = context.Handover(
                hub=CONTEXT,
                url=local_url(hub.options()),
                credentials=owner.operator_credentials(ADMIN, "admin").format(),
                signers=owner.signers(),
            )
            context.write(CONTEXT, handed, make_current=True)
            return
        options = HubOptions(
            name=CONTEXT,
            client_port=ports.pick(),
            leaf_port=ports.pick(),
            store_max_bytes=STORE_BYTES,
            ping_seconds=self.pace.ping_seconds,
        )
        make(hub, options, ADMIN, passphrase=None, keys=self.folder.keys)
        with hub.options_file.open("a", encoding="utf-8") as file:
            file.write(f'\n[metrics]\nlisten = "127.0.0.1:{ports.pick()}"  # the usual one may be another hub\'s\n')

    async def _until_up(self) -> None:
        """Until the hub's services answer administrators, which they do last."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                async with admin.connected(CONTEXT) as (_, orders):
                    await Tokens(orders).ls()
                    return
            except EdgeError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)

    async def _make_device(self, hub: HubFolder, device: DemoDevice) -> None:
        folder = files.make_folder(self.folder.device(device.id), 0o700)
        files.make_folder(folder / COLLECTORS, 0o755)
        cable = self.cables[device.id] = self._cable(("127.0.0.1", hub.options().leaf_port))
        await cable.start()
        text = self.folder.settings_text(device, leaf_port=ports.pick(), cable_port=cable.port, pace=self.pace)
        there = files.read_if_there(self.folder.settings(device.id))
        if there is not None:
            text = with_ports_of(there.decode(errors="surrogateescape"), text)
        files.write_atomic(self.folder.settings(device.id), text.encode(errors="surrogateescape"), 0o600)
        if not (folder / "device.creds").exists():
            own = settings.load_own(self.folder.settings(device.id))
            token = ClaimToken.parse(await self._token(device))
            await enrol(own, EnrolOptions(hub=own.hub.urls[0], token=token), log.debug)

    def _cable(self, target: tuple[str, int]) -> Cable:
        return Cable(target)

    async def _token(self, device: DemoDevice) -> str:
        """A claim token for one device, as `edgeagent token create` makes it."""
        wanted = TokenWanted(expires_in_seconds=3600, device=device.id, groups=list(device.groups), note="demo")
        async with admin.connected(CONTEXT) as (_, orders):
            return (await Tokens(orders).create(wanted)).token

    async def _start_device(self, device: DemoDevice) -> None:
        file = self.folder.settings(device.id)
        if device.mcu:
            port = self.folder.mcu_port(device)
            folder = files.make_folder(port.with_suffix(""), 0o700)
            await self._supervise(device.mcu, folder, self._board(folder, port, device.mcu), port.with_suffix(".log"))
        command = interpreter.argv("edgeagent.assembly.agent", str(file))
        await self._supervise(device.id, file.parent, command, file.with_name("agent.log"))

    def _board(self, folder: Path, port: Path, mcu_id: str) -> list[str]:
        """Our firmware, where there is something to run it; else a program that says the same to the agent."""
        if pico.is_possible():
            return pico.board(folder / "flash", port, mcu_id)
        return interpreter.argv("edgeagent.demo.greenhouse", str(port))

    async def _supervise(self, name: str, folder: Path, command: list[str], output: Path) -> None:
        launch = Launch(name=name, argv=tuple(command), output=output, pid_file=folder / "demo.pid")

        async def prepare(problem: EdgeError | None) -> Launch:
            return launch

        supervisor = Supervisor(name, prepare, timing=TIMING)
        self._supervisors.append(supervisor)
        supervisor.start()
        await supervisor.ready(READY_SECONDS)


async def end_leftovers(folder: Path) -> None:
    """End what still runs out of ``folder``: a leaf whose agent was killed a moment ago has nobody else to end it."""
    deadline = time.monotonic() + 10
    number = signal.SIGTERM
    while pids := _processes_of(folder):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        await asyncio.sleep(0.05)
        if time.monotonic() > deadline:
            number = signal.SIGKILL


def _processes_of(folder: Path) -> list[int]:
    marks = [os.fsencode(f"{folder}/hub"), os.fsencode(f"{folder}/devices/")]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                ours = Path(os.fsdecode(words[0])).name.startswith(("nats-server", "python", "micropython"))
                if ours and any(word.startswith(mark) for word in words[1:] for mark in marks):
                    found.append(int(entry.name))
    return found
