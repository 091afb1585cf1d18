"""One action at a time: guests in line, and turn by turn with the host."""

from __future__ import annotations

import asyncio

import pytest

from edgeagent.patterns.turn import Turn
from tests.support.servers import until


async def waiting(turn: Turn, seconds: float = 60.0) -> asyncio.Task[bool]:
    count = len(turn._waiting)
    task = asyncio.create_task(turn.wait(seconds))
    await until(lambda: len(turn._waiting) > count, "it waits")
    return task


async def test_guests_wait_in_line() -> None:
    turn = Turn()
    assert await turn.wait(60)
    first, second = await waiting(turn), await waiting(turn)
    turn.left()
    assert await first and not second.done() and turn.taken
    turn.left()
    assert await second
    turn.left()
    assert not turn.taken


async def test_host_and_guests_take_turns() -> None:
    turn, looks = Turn(), list[bool]()
    turn.on_left = lambda: looks.append(turn.taken)
    turn.take()
    first, second = await waiting(turn), await waiting(turn)
    turn.leave()
    assert await first, "after the host a guest"
    turn.left()
    assert looks == [False] and not second.done(), "after the guest the host may"
    turn.take()
    turn.pass_on()
    assert not second.done()
    turn.leave()
    assert await second
    turn.left()
    turn.pass_on()
    assert not turn.taken, "nobody waits"


async def test_who_waits_too_long_or_goes_holds_up_nobody() -> None:
    turn = Turn()
    turn.take()
    assert not await turn.wait(0.01)
    gone, last = await waiting(turn), await waiting(turn)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    turn.leave()
    assert await last


async def test_who_goes_when_it_is_his_passes_it_on() -> None:
    turn = Turn()
    turn.take()
    gone, last = await waiting(turn), await waiting(turn)
    turn.leave()
    gone.cancel()  # it is his, but he has not heard of it
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await last
