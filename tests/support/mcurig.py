"""A device's microcontrollers without its agent: a real leaf, the register, and the agent's door to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from edgeagent import settings, status
from edgeagent.assembly.mcudoor import McuDoor
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import Client, connect
from edgeagent.natsserver import ports
from edgeagent.patterns import localstore
from edgeagent.patterns.mcus import Mcus
from edgeagent.runtime import Tasks
from edgeagent.status import LeafStatus, LinkStatus, McuStatus, Status
from edgeagent.subjects import agent_inbox
from tests.support.fleet import Said, cli
from tests.support.looped import Looped

__all__ = ["Rig"]


class Rig:
    """A leaf with the microcontroller ``oven`` behind it, and what the agent has for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = folder / "agent.toml"
        self.settings.write_text(f'[paths]\nstate = "state"\nruntime = "run"\n[leaf]\nport = {ports.pick()}\n')
        self.wanted = settings.load(self.settings)
        self.wanted.runtime_folder.mkdir(parents=True)
        self.more: list[McuStatus] = []
        self.told: list[str] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        options = LeafOptions(device_id="pi-1", server_name="pi-1-x", folder=self.wanted.state_folder, port=self.wanted.leaf.port)
        self.leaf, self.tasks = Leaf(options), Tasks()
        await self.leaf.start()
        self.client: Client = await connect(
            self.leaf.url, what="x", name="test", inbox_prefix=agent_inbox("pi-1"), password=self.leaf.agent_login
        )
        try:
            await localstore.ensure(self.client, 64 << 20)
            self.mcus = Mcus(self.client, tell=lambda severity, kind, text, **data: self.told.append(kind))
            self.mcus.start(self.tasks)
            self.oven = Looped(self.mcus, "oven")
            await McuDoor(self.client, self.mcus).open(self.tasks)
            await self.client.flush()
            self.write()
            yield self
        finally:
            await self.tasks.close()
            await self.client.close()
            await self.leaf.stop()

    def write(self) -> None:
        """The status file, as the agent has it."""
        leaf = LeafStatus(mode="managed", state="running", port=self.wanted.leaf.port)
        found = Status(
            id="pi-1",
            version="1",
            pid=self.leaf.pid or 0,
            started="2026-11-21T10:00:00Z",
            written="2026-11-21T10:00:00Z",
            leaf=leaf,
            link=LinkStatus(up=False),
            mcus=[*self.mcus.status(), *self.more],
        )
        status.write(self.wanted.status_file, found)

    async def said(self, *words: str, **more: Any) -> Said:
        return await asyncio.to_thread(cli, "mcu", *words, "--settings", str(self.settings), **more)
