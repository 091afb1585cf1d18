"""The actions of microcontrollers, as an agent runs them: what becomes of what these answer, or don't."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent import actions
from edgeagent.actions import Context, Outcome
from edgeagent.builtin import actions as builtin_actions
from edgeagent.builtin.actions import mcu
from tests.support.acting import Board
from tests.support.mcurig import Rig
from tests.support.servers import kill_leftovers, until

ALLOWED = '[commands]\nallow = ["mcu.oven.*"]\n'


@pytest.fixture
def board(tmp_path: Path) -> Board:
    assert builtin_actions.__path__
    (tmp_path / "board").mkdir()
    return Board(tmp_path / "board", ALLOWED)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path).running() as rig:
        yield rig
    kill_leftovers(tmp_path)


async def run(context: Context, name: str, **args: Any) -> Outcome:
    found = actions.find(name)
    assert found is not None
    return await found.run(context, actions.arguments(found, args))


async def test_what_it_answers_is_the_outcome(rig: Rig, board: Board) -> None:
    context = dataclasses.replace(board.context, mcus=rig.mcus)
    assert await run(context, "mcu.oven.led", on=1) == Outcome("succeeded", value={"on": 1})
    assert await run(context, "mcu.oven.led.set") == Outcome("succeeded", value={}), "its own names may have dots"
    assert [(said, action) for said, action, _ in rig.oven.done] == [("01J0", "led")], "the same command is not done twice"
    rig.oven.answer = lambda action, args: {"ok": False, "why": "no\nsuch thing"}
    outcome = await run(context, "mcu.oven.led")
    assert (outcome.state, outcome.reason) == ("failed", "oven says: no\\nsuch thing")
    rig.oven.answer = lambda action, args: {"ok": True, "v": "x" * 70_000}
    outcome = await run(context, "mcu.oven.led")
    assert outcome.state == "failed" and "larger than 65536 bytes" in outcome.reason


async def test_what_is_not_done(rig: Rig, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    context = dataclasses.replace(board.context, mcus=rig.mcus)
    assert (await run(context, "mcu.ofen.led")).state == "refused"
    assert "too long" in (await run(context, "mcu.oven.led", text="x" * 1100)).reason
    assert rig.oven.done == []
    monkeypatch.setattr(mcu, "TIMEOUT_SECONDS", 0.1)
    rig.oven.answer = lambda action, args: None
    outcome = await run(context, "mcu.oven.led")
    assert outcome.state == "timed_out" and outcome.reason.endswith("oven may have done it")
    rig.mcus.detach("oven", rig.oven)
    outcome = await run(context, "mcu.oven.led")
    assert outcome.state == "refused" and "it is offline" in outcome.reason
    assert (await run(board.context, "mcu.oven.led")).state == "refused"
    assert (await run(board.context, "mcu.logs", mcu="oven")).state == "refused"


async def test_cancelling(rig: Rig, board: Board) -> None:
    rig.oven.answer = lambda action, args: None
    running = asyncio.create_task(run(dataclasses.replace(board.context, mcus=rig.mcus), "mcu.oven.led"))
    await until(lambda: len(rig.oven.done) == 1, "it was told")
    board.cancelled.set()
    outcome = await running
    assert outcome.state == "cancelled" and "may still do it" in outcome.reason


async def test_what_it_printed(rig: Rig, board: Board) -> None:
    context = dataclasses.replace(board.context, mcus=rig.mcus)
    assert "printed nothing" in (await run(context, "mcu.logs", mcu="oven")).reason
    for number in range(3):
        rig.mcus.line("oven", f"line {number}")
    assert (await run(context, "mcu.logs", mcu="oven", lines=2)).state == "succeeded"
    assert [line.split("Z ", 1)[1] for line in board.written.decode().splitlines()] == ["line 1", "line 2"]
    assert (await run(context, "mcu.logs", mcu="ofen")).state == "refused"


def test_what_is_allowed(board: Board) -> None:
    assert board.refusal("mcu.oven.led", on=1) == ""
    assert "`mcu.shed.led` in `commands.allow`" in board.refusal("mcu.shed.led")
    assert "`mcu.logs` in `commands.allow`" in board.refusal("mcu.logs", mcu="oven")
    assert "it must be 1 to 63 of a-z" in board.refusal("mcu.logs", mcu="Oven")


@pytest.mark.parametrize("name", ["mcu.oven", "mcu.oven.", "mcu.-oven.led", "mcu.oven.LED"], ids=["two", "empty", "id", "upper"])
def test_what_is_no_action(name: str) -> None:
    assert actions.find(name) is None
