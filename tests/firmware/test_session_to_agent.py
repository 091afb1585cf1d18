"""The board's side speaks with the agent's: each reading is in the leaf's store once, through losses, resets and boots that were kept."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from edgeagent import mcumessages
from edgeagent.link import Client
from edgeagent.localsubjects import LOCAL_METRICS
from edgeagent.mcumessages import Hello, Reading, Result
from edgeagent.patterns.locallog import LocalLog
from edgeagent.patterns.mcus import Mcus
from edgeagent.sample import Sample, parse
from tests.support.boardcode import board_modules
from tests.support.mcurig import Rig
from tests.support.servers import until

frames, values, store_module, session_module, ticks = board_modules("frames", "values", "store", "session", "ticks")


class Board:
    """A transport of :class:`Mcus` with the firmware's session behind it, on a line that loses some of what is said on it.

    lost: which part, either way. Time runs faster than on a wall: 200 ms in each step.
    """

    kind, where, damaged, silent_seconds = "usb", "/dev/ttyACM0", 0, 0.0

    def __init__(self, mcus: Mcus, folder: Path, lost: float) -> None:
        self.mcus, self.folder, self.lost = mcus, folder, lost
        self.random, self.now, self.n = random.Random(4), ticks.ticks_ms(), 0
        self.done: list[tuple[str, dict[str, Any]]] = []
        self.start()

    def start(self) -> None:
        self.store = store_module.Store(self.now, str(self.folder))
        self.session = session_module.Session("oven", "0.1.0", "Pico", ["led"], self.store, self.now)
        self.session.on_command = self._do
        self.session.connected()

    def _do(self, command_id: str, action: str, args: dict[str, Any]) -> None:
        self.done.append((action, args))
        self.session.answer(command_id, True, {"led": args["on"]})

    def measure(self, count: int, **more: Any) -> None:
        for _ in range(count):
            self.n += 1
            self.store.put({"n": self.n, **more}, self.now)

    def send(self, message: bytes) -> None:
        if self.random.random() >= self.lost:
            self.session.hear(json.loads(message), self.now)

    def step(self) -> None:
        self.now = ticks.ticks_add(self.now, 200)
        for message in self.session.due(self.now):
            if self.random.random() >= self.lost:
                self.mcus.heard("oven", frames.encode(message)[1:-10])

    async def deliver(self) -> None:
        def is_delivered() -> bool:
            self.step()
            return self.store.boot == self.store._live.id and self.store.oldest > self.store.newest

        await until(is_delivered, "all is acknowledged")


async def stored(client: Client) -> list[Sample]:
    messages = (await LocalLog(client, LOCAL_METRICS).read(1, count=5000, max_bytes=8 << 20)).messages
    return [sample for each in messages for sample in parse(each.subject, each.data)]


async def test_each_reading_is_stored_once_and_what_was_lost_is_counted(tmp_path: Path) -> None:
    async with Rig(tmp_path).running() as rig:
        board = Board(rig.mcus, tmp_path / "kept", lost=0.15)
        rig.mcus.attach("oven", board)
        board.measure(40, room="hall")
        await board.deliver()
        board.measure(80)
        board.store.save()
        first = board.store.boot
        newest = max(board.folder.iterdir(), key=lambda path: int(path.name.split(".")[2]))
        newest.write_bytes(newest.read_bytes()[:-20])  # as if the power had gone while it was written
        torn = int(newest.name.rpartition(".")[2])
        board.start()
        board.measure(20)
        assert board.store.boot == first
        await board.deliver()
        assert list(board.folder.iterdir()) == [] and board.store.boot != first

        found = await stored(rig.client)
        wanted = [n for n in range(1, 141) if not 120 - torn < n <= 120]
        assert [each.value for each in found if each.metric == "mcu.n"] == wanted
        assert {each.attributes.get("room") for each in found if each.value == 1} == {"hall"}
        (status,) = rig.mcus.status()
        assert (status.lost, status.malformed, status.firmware) == (torn, 0, "0.1.0")

        board.lost = 0.0
        answers = asyncio.create_task(rig.mcus.command("oven", "led", {"on": 1}, command_id="c1"))
        await until(lambda: board.done == [("led", {"on": 1})], "it is asked")
        board.step()
        assert await answers == {"led": 1}


def said(message: dict[str, Any]) -> Hello | Reading | Result | None:
    return mcumessages.parse(frames.encode(message)[1:-10])


def test_the_agent_takes_whatever_a_board_measures(tmp_path: Path) -> None:
    store = store_module.Store(0)
    hostile: dict[str, Any] = {f"value{number}": 10.0**number for number in range(120)}
    store.put({**hostile, "big": 1 << 62, "nan": float("nan"), **{f"text{number}": "ä" * 500 for number in range(30)}}, 0)
    store.put({"n\n": 1, "": 1, "ok": True, "x": "\x00\x1e\n"}, 0)
    session = session_module.Session("o" * 100, "f" * 100, "h" * 100, [{"a": "led", "sw": "on"}] * 50, store, 0)
    session.connected()
    hello, *readings = [said(message) for message in session.due(5000)]
    assert isinstance(hello, Hello) and len(hello.acts) == 32
    names = set()
    for each in readings:
        assert isinstance(each, Reading)
        names |= {sample.metric for sample in mcumessages.samples_of("oven", each, 1e9)}
    assert names == {f"mcu.value{number}" for number in range(120)} | {"mcu.big", "mcu.ok"} and store.left_out == 18


@pytest.mark.parametrize("ok", [True, False])
def test_the_agent_reads_its_answers(ok: bool) -> None:
    session = session_module.Session("oven", "1", "Pico", [], store_module.Store(0), 0)
    session.connected()
    session.due(0)
    session.on_command = lambda command_id, action, args: session.answer(command_id, ok, {"x": float("inf")}, "" if ok else "no")
    session.hear({"t": "cmd", "id": "c1", "a": "led", "args": {}}, 0)
    (answer,) = session.due(0)
    assert said(answer) == Result(id="c1", ok=ok, v={"x": None}, why="" if ok else "no")
