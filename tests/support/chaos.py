"""Chaos: people send commands while links are cut and agents, leaves and the hub are killed. Everything is real, and drawn by a seed.

The seed draws who is commanded what and what breaks next; the machine's own speed decides what that hits. So the end is judged
(:mod:`tests.support.chaosjudge`) by what was written down, not by what was drawn.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import shutil
import signal
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent import subjects, wire
from edgeagent.command import Result, is_final
from edgeagent.demo.layout import Pace, devices
from edgeagent.direct import read_all
from edgeagent.errors import EdgeError
from edgeagent.files import Lock
from edgeagent.fleet import Fleet
from edgeagent.fleet.commandentry import log_entry
from edgeagent.journal import FILE, Journal
from tests.support import chaosactions
from tests.support.chaosjudge import Device, Kill, Record, Sent, meant, problems
from tests.support.fleet import LiveFleet

__all__ = ["Ended", "Weather", "chaos", "journal_of"]

WHATS = ("cut", "silent", "agent", "leaf", "server", "hub")
#: Nobody waits longer for the hub's word than this, in seconds.
STUCK_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How rough it is. Times are means, in seconds.

    commands: how many in all, by two people. apart: between two of one person. calm: between two breaks. away: how long a cable is
    out. works: half of what a command takes. breaks: the weights of WHATS. heals_within: all must have ended so long after the storm.
    """

    seed: int
    commands: int
    devices: int
    pace: Pace
    apart: float = 0.2
    calm: float = 1.0
    away: float = 1.0
    works: float = 0.05
    breaks: tuple[float, ...] = (4, 1, 4, 2, 1, 1)
    least: int = 5
    heals_within: float = 180.0
    sick: tuple[str, ...] = ()


@dataclass
class Ended:
    """record: what happened. wrong: what must not have. storm, healing: how long they took, silence: the longest time without an outcome at
    the hub, all in seconds."""

    record: Record
    wrong: list[str]
    storm: float
    healing: float
    silence: float


def chaos(folder: Path, weather: Weather) -> Ended:
    """Have it happen below ``folder``, and judge it."""
    programs = folder / "programs"
    with chaosactions.installed(folder / "package"):
        fleet = LiveFleet(folder, weather.devices, weather.pace, more=lambda device: chaosactions.settings_text(programs, device))
        with fleet, fleet.borrowed():
            ended = asyncio.run(_Storm(fleet, weather).run())
    for name, device in ended.record.devices.items():
        device.lines = chaosactions.lines_of(programs, name)
        device.journal = journal_of(fleet.layout.device(name), list(device.results))
    ended.wrong += problems(ended.record)
    return ended


def journal_of(folder: Path, commands: list[str]) -> dict[str, Any]:
    """What the journal of a device that does not run has of these commands."""
    with contextlib.closing(Journal(folder / FILE)) as journal:
        found = {each: journal.command(each) for each in commands}
    return {each: command for each, command in found.items() if command}


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob(f"{FILE}*"):
        shutil.copy(file, target)


class _Storm:
    def __init__(self, fleet: LiveFleet, weather: Weather) -> None:
        self._fleet, self._weather = fleet, weather
        people = devices(weather.devices)
        self._record = Record({each.id: Device(each.groups, each.labels) for each in people}, put_back=frozenset(weather.sick))
        self._groups = sorted({group for each in people for group in each.groups})
        self._over = asyncio.Event()
        self._plugging: set[asyncio.Task[None]] = set()
        self._wrong: list[str] = []
        self._outcomes: list[float] = []

    async def run(self) -> Ended:
        begun = time.monotonic()
        breaking = asyncio.create_task(self._break())
        suffering = [asyncio.create_task(self._suffer(device, number)) for number, device in enumerate(self._weather.sick)]
        half = self._weather.commands // 2
        await asyncio.gather(self._send("a", half), self._send("b", self._weather.commands - half))
        self._over.set()
        await asyncio.gather(breaking, *suffering)
        await asyncio.gather(*self._plugging)
        storm = time.monotonic() - begun
        await asyncio.to_thread(self._fleet.whole, STUCK_SECONDS)
        await self._until_all_ended()
        healing = time.monotonic() - begun - storm
        times = sorted(self._outcomes)
        silence = max((after - before for before, after in itertools.pairwise(times)), default=0.0)
        return Ended(self._record, self._wrong, storm, healing, silence)

    # ---- people ----

    async def _send(self, who: str, count: int) -> None:
        drawn = random.Random(f"{self._weather.seed} {who}")
        wishes = deque((f"{who}{number}", *self._wish(drawn, f"{who}{number}")) for number in range(count))
        cancelling: set[asyncio.Task[None]] = set()
        while wishes:
            with contextlib.suppress(EdgeError):  # the hub is away; nothing was sent
                async with Fleet() as fleet:
                    while wishes:
                        await self._one(fleet, *wishes[0])
                        wishes.popleft()
                        if drawn.random() < 0.12:
                            cancelling.add(asyncio.create_task(self._cancel(self._record.sent[-1], drawn.expovariate(2))))
                        await asyncio.sleep(drawn.expovariate(1 / self._weather.apart))
            await asyncio.sleep(0.1)
        await asyncio.gather(*cancelling)

    def _wish(self, drawn: random.Random, line: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """What is commanded, and of whom."""
        seconds = round(drawn.expovariate(1 / self._weather.works), 3)
        name = drawn.choices(("exec", "test.chaos.once", "test.chaos.again", "test.chaos.beside"), (3, 3, 2, 1))[0]
        args = {"argv": ["append", str(seconds), line]} if name == "exec" else {"line": line, "seconds": seconds}
        device, group = f"pi-{drawn.randint(1, self._weather.devices):02}", drawn.choice(self._groups)
        whom: dict[str, Any] = drawn.choices(
            (
                {"devices": [device]},
                {"groups": [group]},
                {"devices": [device], "groups": [group]},
                {"labels": ["site=berlin"]},
                {"everybody": True},
            ),
            (5, 3, 2, 1, 2),
        )[0]
        if drawn.random() < 0.2 and not self._weather.sick:  # who is new has no part in what had expired by then
            whom = {**whom, "expires_seconds": drawn.uniform(1, 4)}
        return name, args, whom

    async def _one(self, fleet: Fleet, line: str, name: str, args: dict[str, Any], whom: dict[str, Any]) -> None:
        """Raises EdgeError when nothing was sent."""
        order = (await fleet.commands.prepare(name, args, **whom)).renewed()
        sent = Sent(order.id, line, order.aim.scopes, "it was never told anything")
        begun = time.monotonic()
        self._record.sent.append(sent)
        try:
            await asyncio.wait_for(fleet.commands.send(order), STUCK_SECONDS)
            sent.error = ""
        except EdgeError as error:
            sent.error = str(error)
        except asyncio.TimeoutError:
            self._wrong.append(f"the sender of {order.id} was stuck for {STUCK_SECONDS:g} s")
        sent.seconds = time.monotonic() - begun

    async def _cancel(self, sent: Sent, after: float) -> None:
        await asyncio.sleep(after)
        with contextlib.suppress(EdgeError):  # then it goes on
            async with Fleet() as fleet:
                await fleet.commands.cancel(sent.id)
                sent.cancelled = True

    # ---- what breaks ----

    async def _break(self) -> None:
        drawn = random.Random(f"{self._weather.seed} breaks")
        over = asyncio.ensure_future(self._over.wait())
        while not over.done() or self._record.cuts + len(self._record.kills) < self._weather.least:
            await asyncio.sleep(drawn.expovariate(1 / self._weather.calm))
            what = drawn.choices(WHATS, self._weather.breaks)[0]
            device = f"pi-{drawn.randint(1, self._weather.devices):02}"
            away = drawn.expovariate(1 / self._weather.away)
            if what in ("cut", "silent"):
                await asyncio.to_thread(self._fleet.cut, device, silent=what == "silent")
                self._record.cuts += 1
                self._plugging.add(asyncio.create_task(self._plug(device, away)))
            else:
                self._kill(what, device)

    async def _plug(self, device: str, after: float) -> None:
        await asyncio.sleep(after)
        await asyncio.to_thread(self._fleet.restore, device)

    def _kill(self, what: str, device: str) -> None:
        of_hub = what in ("server", "hub")
        folder = self._fleet.layout.hub if of_hub else self._fleet.layout.device(device)
        with contextlib.suppress(OSError, ValueError):  # it is dead already, and not back yet
            pid = int((folder / f"{what}.pid").read_text())
            if os.fsencode(folder) not in Path(f"/proc/{pid}/cmdline").read_bytes():
                return
            os.kill(pid, signal.SIGKILL)
            self._record.kills.append(Kill(time.time(), what, "" if of_hub else device))

    async def _suffer(self, device: str, number: int) -> None:
        """The device is stopped and copied, and runs on; every second one is put back to the copy, the others are emptied."""
        folder, copies = self._fleet.layout.device(device), self._fleet.layout.device(device).parent.parent / "copies" / device
        drawn = random.Random(f"{self._weather.seed} {device}")
        part = self._weather.commands * self._weather.apart / 6
        await asyncio.sleep(part * (1 + drawn.random()))
        async with self._stopped(device):
            _copy(folder, copies)
        await asyncio.sleep(part * (1 + drawn.random()))
        async with self._stopped(device):
            for file in folder.glob(f"{FILE}*"):
                file.unlink()
            if number % 2 == 0:
                _copy(copies, folder)

    @contextlib.asynccontextmanager
    async def _stopped(self, device: str) -> AsyncIterator[None]:
        """While its agent does not run, and none can be started."""
        lock = Lock(self._fleet.layout.device(device) / "agent.lock", "take the place of the agent")
        while True:
            self._kill("agent", device)
            with contextlib.suppress(EdgeError):
                lock.acquire()
                break
            await asyncio.sleep(0.02)
        try:
            yield
        finally:
            lock.release()

    # ---- the end ----

    async def _until_all_ended(self) -> None:
        deadline = time.monotonic() + self._weather.heals_within
        while time.monotonic() < deadline:
            with contextlib.suppress(EdgeError):
                async with Fleet() as fleet:
                    await self._read(fleet)
                if all(_ended(self._record, name) for name in self._record.devices):
                    return
            await asyncio.sleep(0.25)

    async def _read(self, fleet: Fleet) -> None:
        found = [log_entry(item) async for item in read_all(fleet.client, "EDGE_COMMANDS", "edge.to.*.*.cmd.*")]
        self._record.entries = [entry for entry in found if entry]
        self._outcomes = []
        for device in self._record.devices.values():
            device.results = {}
        async for item in read_all(fleet.client, "EDGE_RESULTS", "edge.from.*.result.*"):
            result = wire.decode(item.data, Result)
            results = self._record.devices[subjects.device_of(item.subject)].results
            results.setdefault(result.id, []).append(result)
            if is_final(result.state):
                self._outcomes.append(item.time.timestamp())


def _ended(record: Record, name: str) -> bool:
    results = record.devices[name].results
    return all(results.get(command) and is_final(results[command][-1].state) for command in meant(record, name))
