"""An action that is asked for on this side of the hub: the same refusals as for a command, and an end in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent import actions, commandlock
from edgeagent.actions import Action, Context, NoArguments, Outcome
from edgeagent.errors import Failed
from edgeagent.patterns.localrun import LocalRuns
from tests.support.acting import Board
from tests.support.servers import until


class Odd:
    """Actions that tests register, and how often they began."""

    def __init__(self) -> None:
        self.began, self.go = 0, asyncio.Event()

    async def waits(self, context: Context, args: Any) -> Outcome:
        self.began += 1
        waiting = [asyncio.ensure_future(event.wait()) for event in (self.go, context.cancelled)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return Outcome("succeeded", value=self.began)

    async def breaks(self, context: Context, args: Any) -> Outcome:
        raise ValueError("inside")

    async def fails(self, context: Context, args: Any) -> Outcome:
        raise Failed("do it", "it cannot be done")

    async def mute(self, context: Context, args: Any) -> Any:
        return None


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Odd]:
    found = Odd()
    made = {
        f"odd.{name}": Action(
            name=f"odd.{name}",
            description="For tests.",
            run=getattr(found, name.partition("-")[0]),
            arguments=NoArguments,
            timeout_seconds=0.1 if name == "waits-briefly" else 60,
            concurrent=name == "waits-beside",
            default_expiry_seconds=0.05 if name == "waits-impatiently" else 60,
        )
        for name in ("waits", "waits-briefly", "waits-beside", "waits-impatiently", "breaks", "fails", "mute")
    }
    monkeypatch.setattr(actions, "_actions", {**actions._actions, **made})
    yield found


def runs(folder: Path, allow: str = '["odd.*"]') -> tuple[LocalRuns, Board]:
    board = Board(folder, f"[commands]\nallow = {allow}\n")

    def context(name: str, write: Any, cancelled: asyncio.Event) -> Context:
        board.cancelled = cancelled
        return board.context

    return LocalRuns(board.settings, context), board


@pytest.mark.parametrize(
    ("name", "state", "reason"),
    [
        ("odd.breaks", "failed", "ValueError: inside"),
        ("odd.fails", "failed", "cannot do it: it cannot be done"),
        ("odd.mute", "failed", "the action odd.mute did not say how it ended"),
        ("odd.waits-briefly", "timed_out", "it took longer than"),
        ("odd.none", "refused", "there is no action"),
    ],
    ids=["breaks", "fails", "mute", "too-long", "unknown"],
)
async def test_how_it_ends(odd: Odd, tmp_path: Path, name: str, state: str, reason: str) -> None:
    found = await runs(tmp_path)[0].run("mqtt:home", name, {})
    assert found.state == state and reason in found.reason


async def test_what_commands_may_not_nobody_may(odd: Odd, tmp_path: Path) -> None:
    assert "`odd.waits` in `commands.allow`" in (await runs(tmp_path, "[]")[0].run("x", "odd.waits", {})).reason
    mine, board = runs(tmp_path)
    assert "it takes no 'a'" in (await mine.run("x", "odd.waits", {"a": 1})).reason
    (board.settings.state_folder / commandlock.FILE).write_text("{}")
    assert "edgeagent unlock" in (await mine.run("x", "odd.waits", {})).reason and not odd.began


async def test_one_after_the_other_but_for_those_that_wait_for_none(odd: Odd, tmp_path: Path) -> None:
    mine, _ = runs(tmp_path)
    first, second = (asyncio.create_task(mine.run("x", "odd.waits", {})) for _ in range(2))
    await until(lambda: odd.began == 1, "the first runs")
    beside = asyncio.create_task(mine.run("x", "odd.waits-beside", {}))
    await until(lambda: odd.began == 2, "another runs beside it")
    odd.go.set()
    assert [(await each).value for each in (first, beside)] == [2, 2] and (await second).value == 3


async def test_who_waited_too_long_is_not_obeyed(odd: Odd, tmp_path: Path) -> None:
    mine, board = runs(tmp_path)
    first = asyncio.create_task(mine.run("x", "odd.waits", {}))
    await until(lambda: odd.began == 1, "the first runs")
    found = await mine.run("x", "odd.waits-impatiently", {})
    assert found.state == "expired" and odd.began == 1
    second = asyncio.create_task(mine.run("x", "odd.waits", {}))
    await until(lambda: bool(mine._turn._waiting), "the second waits")
    (board.settings.state_folder / commandlock.FILE).write_text("{}")
    odd.go.set()
    assert (await first).state == "succeeded"
    assert (await second).state == "refused" and odd.began == 1, "nor who waited while somebody locked the device"


async def test_when_the_agent_ends_it_ends(odd: Odd, tmp_path: Path) -> None:
    mine, _ = runs(tmp_path)
    running = asyncio.create_task(mine.run("x", "odd.waits", {}))
    await until(lambda: odd.began == 1, "it runs")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    odd.go.set()
    assert (await mine.run("x", "odd.waits", {})).state == "succeeded", "and holds up nobody"
