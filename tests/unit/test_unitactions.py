"""The agent's side of actions as units, with a helper that does as it is told here; the true one is met in tests/system/test_actions.py."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edgeagent.actions import Context, Outcome
from edgeagent.errors import Refused, Unreachable
from edgeagent.patterns import unitactions
from edgeagent.patterns import unitrequests as wire
from edgeagent.patterns.unitactions import UnitActions
from edgeagent.patterns.unitreport import Writer
from edgeagent.patterns.unitrequests import Answer, Request, told_of
from tests.support.acting import Board
from tests.support.servers import until

ID = "01J0000000000000000000000Z"


class Helper:
    """Starts nothing: tests say what has become of a unit. said: what it was asked. answer: to all but that."""

    def __init__(self, folder: Path) -> None:
        self.units, self.address = folder / "units", folder / "socket"
        self.said: list[str] = []
        self.answer = Answer()
        self.units.mkdir()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.address))
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                line, _ = wire.receive(connection, 5)
                request = msgspec.json.decode(line, type=Request)
                if request.do == "start" and not self.answer.error:
                    (self.units / request.id).mkdir()
                    (self.units / request.id / wire.REQUEST).touch()
                self.said.append(request.do)
                wire.send(connection, self.answer)

    def end(self, outcome: Outcome | None, how: str = "success exited 0", output: bytes = b"") -> None:
        descriptor = os.open(self.units / ID / wire.REPORT, os.O_WRONLY | os.O_CREAT)
        writer = Writer(descriptor)
        writer.write(output)
        if outcome is not None:
            writer.end(msgspec.json.encode(told_of(outcome)))
        os.close(descriptor)
        (self.units / ID / wire.END).write_text(f"{how}\n")

    def close(self) -> None:
        if self._listening.fileno() >= 0:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Helper]:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # root asks nobody
    made = Helper(tmp_path)
    yield made
    made.close()


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def context(board: Board) -> Context:
    return replace(board.context, id=ID)


async def test_it_is_followed_to_its_end(helper: Helper, board: Board) -> None:
    units = UnitActions(helper.units, helper.address)
    running = asyncio.create_task(units.run(context(board), "exec", {"argv": ["id"]}))
    await until(lambda: helper.said == ["start"], "it was started")
    helper.end(Outcome("failed", "no", 3), output=b"words")
    assert await running == Outcome("failed", "no", 3) and board.written == b"words"
    await units.tidy(lambda command_id: False)
    assert helper.said == ["start", "forget"]


async def test_one_that_is_there_is_not_started_again(helper: Helper, board: Board) -> None:
    """As after a restart of the agent, which was cancelled."""
    first = asyncio.create_task(UnitActions(helper.units, helper.address).run(context(board), "exec", {}))
    await until(lambda: helper.said == ["start"], "it was started")
    first.cancel()
    await asyncio.wait({first})
    units = UnitActions(helper.units, helper.address)
    assert units.is_there(ID)
    await units.tidy(lambda command_id: command_id == ID)
    helper.end(Outcome("succeeded", exit_code=0))
    assert await units.run(context(board), "exec", {}) == Outcome("succeeded", exit_code=0)
    assert helper.said == ["start"]


async def test_who_is_cancelled_has_it_stopped_once_and_waits_for_its_end(helper: Helper, board: Board) -> None:
    running = asyncio.create_task(UnitActions(helper.units, helper.address).run(context(board), "exec", {}))
    await until(lambda: helper.said == ["start"], "it was started")
    board.cancelled.set()
    await until(lambda: helper.said == ["start", "stop"], "it is stopped")
    helper.end(None, "signal killed KILL")
    assert (await running).reason == "it was ended by SIGKILL" and helper.said == ["start", "stop"]


async def test_one_that_is_gone_and_has_said_nothing(helper: Helper, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unitactions, "ASK_SECONDS", (0.01, 0.01))
    outcome = await UnitActions(helper.units, helper.address).run(context(board), "exec", {})
    assert outcome.state == "unknown" and helper.said == ["start", "state", "state"]


async def test_what_the_helper_refuses_and_a_helper_that_is_not_there(helper: Helper, board: Board) -> None:
    units = UnitActions(helper.units, helper.address)
    helper.answer = Answer("refused", "run exec", "not allowed here")
    with pytest.raises(Refused, match="not allowed here"):
        await units.run(context(board), "exec", {})
    helper.close()
    with pytest.raises(Unreachable, match=r"edgeagent-actions\.socket"):
        await units.run(context(board), "exec", {})
