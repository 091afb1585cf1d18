"""Chaos for what devices measure: programs publish numbered samples and messages on several devices while links are cut, and leaves,
agents and the hub are frozen and killed. Everything is real, and drawn by a seed; :mod:`tests.support.numbered` judges it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeagent.assembly.hublogin import sign_in
from edgeagent.demo.layout import Pace
from edgeagent.errors import EdgeError
from edgeagent.hub.keyring import Keyring
from edgeagent.patterns.forwardchunks import DATA, METRICS, Kind
from tests.support.fleet import LiveFleet
from tests.support.forwarding import Kept, in_order, kept
from tests.support.numbered import Line, problems, publish

__all__ = ["Ended", "Weather", "metric_chaos"]

WHATS = ("cut", "silent", "leaf", "agent", "server", "freeze leaf", "freeze agent", "freeze server")
KINDS = (METRICS, DATA)
#: How often the hub is read meanwhile, in seconds.
COLLECT_SECONDS = 1.5


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How rough it is. Times are means, in seconds.

    seconds: how long it lasts. apart: between two messages of one program. calm: between two breaks. away: how long a cable is out, or a
    process is frozen. breaks: the weights of WHATS. least: so many breaks at least.
    """

    seed: int
    devices: int
    seconds: float
    pace: Pace
    apart: float = 0.005
    calm: float = 0.8
    away: float = 1.0
    breaks: tuple[float, ...] = (3, 2, 3, 3, 2, 1, 1, 1)
    least: int = 6
    heals_within: float = 120.0


@dataclass
class Ended:
    """breaks: how often each happened. wrong: what must not have. healing: until all was there, in seconds."""

    lines: dict[tuple[str, str], Line]
    breaks: Counter[str]
    wrong: list[str]
    healing: float = 0.0


def metric_chaos(folder: Path, weather: Weather) -> Ended:
    """Have it happen below ``folder``, and judge it."""
    more = "\n[forward]\nseconds = 0.8\n"
    fleet = LiveFleet(folder, weather.devices, weather.pace, more=lambda device: more)
    with fleet, fleet.borrowed():
        return asyncio.run(_Storm(fleet, weather).run())


class _Storm:
    def __init__(self, fleet: LiveFleet, weather: Weather) -> None:
        self._fleet, self._weather = fleet, weather
        self._over = asyncio.Event()
        self._ended = Ended({(device, kind.name): Line() for device in fleet.ids for kind in KINDS}, Counter(), [])
        self._mending: set[asyncio.Task[None]] = set()
        self._kept: dict[tuple[str, str], Kept] = {key: {} for key in self._ended.lines}

    async def run(self) -> Ended:
        programs = [asyncio.create_task(self._publish(device, kind)) for device in self._fleet.ids for kind in KINDS]
        collecting = asyncio.create_task(self._collect())
        await self._break()
        self._over.set()
        await asyncio.gather(*programs, collecting, *self._mending)
        begun = time.monotonic()
        await asyncio.to_thread(self._fleet.whole, self._weather.heals_within)
        for device in self._fleet.ids:
            for kind in KINDS:
                await self._until_there(device, kind, begun + self._weather.heals_within)
        self._ended.healing = time.monotonic() - begun
        return self._ended

    # ---- programs ----

    async def _publish(self, device: str, kind: Kind) -> None:
        drawn, line = random.Random(f"{self._weather.seed} {device} {kind.name}"), self._ended.lines[device, kind.name]
        url = partial(self._fleet.leaf_url, device)
        await publish(url, kind, line, drawn=drawn, apart=self._weather.apart, over=self._over)

    # ---- what breaks ----

    async def _break(self) -> None:
        drawn, end = random.Random(f"{self._weather.seed} breaks"), time.monotonic() + self._weather.seconds
        while time.monotonic() < end or self._ended.breaks.total() < self._weather.least:
            await asyncio.sleep(drawn.expovariate(1 / self._weather.calm))
            what = drawn.choices(WHATS, self._weather.breaks)[0]
            device, away = drawn.choice(self._fleet.ids), drawn.expovariate(1 / self._weather.away)
            if what in ("cut", "silent"):
                await asyncio.to_thread(self._fleet.cut, device, silent=what == "silent")
                self._ended.breaks[what] += 1
                self._mending.add(asyncio.create_task(self._plug(device, away)))
            else:
                self._hit(what, device, away)

    async def _plug(self, device: str, after: float) -> None:
        await asyncio.sleep(after)
        await asyncio.to_thread(self._fleet.restore, device)

    def _hit(self, what: str, device: str, away: float) -> None:
        how, _, name = what.rpartition(" ")
        folder = self._fleet.layout.hub if name == "server" else self._fleet.layout.device(device)
        with contextlib.suppress(OSError, ValueError):  # it is dead already, and not back yet
            pid = int((folder / f"{name}.pid").read_text())
            if os.fsencode(folder) not in Path(f"/proc/{pid}/cmdline").read_bytes():
                return
            os.kill(pid, signal.SIGSTOP if how else signal.SIGKILL)
            self._ended.breaks[what] += 1
            if how:
                self._mending.add(asyncio.create_task(self._thaw(pid, away)))

    async def _thaw(self, pid: int, after: float) -> None:
        await asyncio.sleep(after)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)

    # ---- the end ----

    async def _until_there(self, device: str, kind: Kind, deadline: float) -> None:
        line = self._ended.lines[device, kind.name]
        while True:
            await self._read([(device, kind)])
            found = in_order(self._kept[device, kind.name])
            if line.acknowledged <= set(found) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.25)
        self._ended.wrong += [f"{device} {kind.name}: {problem}" for problem in problems(line, found)]

    async def _collect(self) -> None:
        """A device's quota of a small hub is a dozen chunks, so they are read while it lasts."""
        while not self._over.is_set():
            await self._read([(device, kind) for device in self._fleet.ids for kind in KINDS])
            await asyncio.sleep(COLLECT_SECONDS)

    async def _read(self, wanted: list[tuple[str, Kind]]) -> None:
        with contextlib.suppress(EdgeError, OSError):  # the hub is away, also when the connection is closed
            hub = await sign_in(self._fleet.hub, Keyring.load(self._fleet.hub.path), "hub")
            try:
                for device, kind in wanted:
                    self._kept[device, kind.name].update(await kept(hub, device, kind))
            finally:
                await hub.close()
