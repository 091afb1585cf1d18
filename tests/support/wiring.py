"""The wires of a device without the rest of an agent: a real leaf's store, the register of microcontrollers, a fake /sys, pseudo-terminals."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from edgeagent.bridge.serialmcus import SerialMcus
from edgeagent.direct import read_all
from edgeagent.link import Client, connect
from edgeagent.localsubjects import LOCAL_METRICS, local_metric
from edgeagent.machine import Machine
from edgeagent.patterns import localstore
from edgeagent.patterns.mcus import Mcus
from edgeagent.runtime import Tasks
from edgeagent.sample import Sample
from edgeagent.serialsettings import SerialMcu
from edgeagent.status import McuStatus
from tests.support.fakeroot import FakeRoot
from tests.support.servers import PlainHub, until

__all__ = ["Bench", "bench"]


class Bench:
    """mcus: the register. serial: the wires to it. told: events."""

    def __init__(self, client: Client, root: FakeRoot, machine: Machine) -> None:
        self.client, self.root = client, root
        self.told: list[str] = []
        self.mcus = Mcus(client, tell=lambda severity, kind, text, **data: self.told.append(kind))
        self.serial = SerialMcus(self.mcus, machine, {})

    def want(self, wanted: Mapping[str, SerialMcu]) -> None:
        self.mcus.know(wanted)
        self.serial.want(wanted)

    def status(self, mcu_id: str) -> McuStatus:
        return next((mcu for mcu in self.mcus.status() if mcu.id == mcu_id), McuStatus(id=mcu_id, state="unknown"))

    def found(self) -> list[str]:
        return [each.id for each in self.serial.found()]

    def lines(self, mcu_id: str) -> list[str]:
        return [line.text for line in self.mcus.lines(mcu_id)]

    async def state(self, mcu_id: str, state: str, problem: str = "") -> McuStatus:
        """Wait until it is in this state, and its problem has these words."""

        def is_so() -> bool:
            now = self.status(mcu_id)
            return now.state == state and problem in now.problem

        await until(is_so, f"{mcu_id} is {state} {problem!r}")
        return self.status(mcu_id)

    async def samples(self, mcu_id: str) -> list[Sample]:
        """What the leaf's store has of it."""
        found: list[dict[str, Any]] = []
        async for each in read_all(self.client, LOCAL_METRICS, local_metric(f"mcu.{mcu_id}"), prefix="$JS.API"):
            found += json.loads(each.data).get("samples", [])
        return [Sample(**each) for each in found]

    async def values(self, mcu_id: str, metric: str) -> list[float]:
        return [each.value for each in await self.samples(mcu_id) if each.metric == metric]

    async def stored(self, mcu_id: str, metric: str, count: int) -> list[float]:
        """Wait until so many values of ``metric`` are on disk."""

        async def enough() -> bool:
            return len(await self.values(mcu_id, metric)) >= count

        await until(enough, f"{count} of {metric} are stored")
        return await self.values(mcu_id, metric)


@contextlib.asynccontextmanager
async def bench(folder: Path, *, real: bool = False) -> AsyncIterator[Bench]:
    """real: with the machine's own root in place of a fake one."""
    async with PlainHub(folder / "leaf") as server:
        client = await connect(server.url, what="reach it", name="test", inbox_prefix="_INBOX.test")
        tasks = Tasks()
        try:
            await localstore.ensure(client, 32 << 20)
            root = FakeRoot(folder / "root")
            made = Bench(client, root, Machine() if real else root.machine)
            made.mcus.start(tasks)
            tasks.start("serial ports", made.serial.run())
            yield made
        finally:
            await tasks.close()
            await client.close()
