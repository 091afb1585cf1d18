"""A board by USB and the real agent that it belongs to, with the commands that people use."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from edgeagent.firmware import source
from edgeagent.link import connect
from edgeagent.localsubjects import LOCAL_METRICS
from edgeagent.patterns.locallog import LocalLog
from edgeagent.sample import parse
from edgeagent.status import McuStatus
from edgeagent.subjects import agent_inbox
from tests.support.fleet import LiveFleet, Said
from tests.support.servers import PATIENCE_SECONDS, is_alive, kill
from tests.support.typed import here
from tests.support.virtualpico import wait_for

__all__ = ["COUNT", "DEVICE", "HANGS", "MCU", "SETTINGS", "Bench", "version"]

DEVICE, MCU = "pi-01", "pico"
#: Its numbers go on over a reset: each is measured once.
COUNT = """
from sensors import kind
@kind("count")
class Count:
    def __init__(self):
        try:
            self.n = int(open("/n").read())
        except OSError:
            self.n = 0
    def read(self):
        self.n += 1
        with open("/n.new", "w") as file:
            file.write(str(self.n))
        import os
        os.rename("/n.new", "/n")
        return {"": self.n}
"""
SETTINGS = {"interval_seconds": 0.1, "confirm_seconds": 1, "sensors": [{"kind": "count", "name": "n"}], "outputs": {"lamp": 15}}
HANGS = "while True:\n    pass\n"


def version(folder: Path, name: str, **files: str) -> Path:
    """A folder with the firmware as it is, as version ``name``, and with some files of its app replaced."""
    shutil.copytree(source.folder(), folder / name)
    for module, text in {"version": f'VERSION = "{name}"\n', **files}.items():
        (folder / name / "app" / f"{module}.py").write_text(text)
    return folder / name


class Bench:
    """seconds: for one step; None: as on this machine."""

    def __init__(self, fleet: LiveFleet, seconds: float = PATIENCE_SECONDS) -> None:
        self.fleet, self._seconds = fleet, seconds

    def kill_agent(self) -> None:
        """With SIGKILL; it is started again."""
        before = self.fleet.pid(DEVICE)
        kill(before)
        wait_for(lambda: not is_alive(before) and self.fleet.status(DEVICE).pid != before, "another agent runs")
        self.wait("online")

    def run(self, *words: object) -> Said:
        return here(*map(str, words), "--settings", str(self.fleet.layout.settings(DEVICE)))

    def send(self, *words: object) -> Any:
        said = self.run("mcu", "send", MCU, *words, "--json")
        assert said.code == 0, said
        return json.loads(said.out)["value"]

    def firmware(self, mcu_id: str = MCU) -> dict[str, Any]:
        rows = json.loads(self.run("firmware", "status", "--json").out)
        return next(dict(row) for row in rows if row["id"] == mcu_id)

    def mcu(self, mcu_id: str = MCU) -> McuStatus:
        return next((each for each in self.fleet.status(DEVICE).mcus if each.id == mcu_id), McuStatus(id=mcu_id, state=""))

    def wait(self, state: str, mcu_id: str = MCU) -> None:
        wait_for(lambda: self.mcu(mcu_id).state == state, f"{mcu_id} is {state}", self._seconds)

    @property
    def numbers(self) -> list[int]:
        """In the leaf's store, as they came."""
        return asyncio.run(self._numbers())

    async def _numbers(self) -> list[int]:
        login = json.loads((self.fleet.layout.device(DEVICE) / "secrets.json").read_text())["agent"]
        client = await connect(
            self.fleet.leaf_url(DEVICE), what="x", name="test", inbox_prefix=agent_inbox(DEVICE), password=("agent", login)
        )
        try:
            messages = (await LocalLog(client, LOCAL_METRICS).read(1, count=5000, max_bytes=8 << 20)).messages
        finally:
            await client.close()
        samples = [sample for each in messages for sample in parse(each.subject, each.data)]
        return [int(each.value) for each in samples if each.metric == "mcu.n" and each.attributes["mcu"] == MCU]

    def more(self, count: int = 3) -> list[int]:
        """All numbers, when so many more have come."""
        before = len(self.numbers)
        wait_for(lambda: len(self.numbers) >= before + count, "it goes on measuring", self._seconds)
        return self.numbers
