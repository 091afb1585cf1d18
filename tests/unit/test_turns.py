"""Who writes what several instances of the hub's services hear. That all of them come to the same: tests/unit/test_presence.py."""

from __future__ import annotations

import asyncio

import pytest

from edgeagent.hub import turns
from edgeagent.hub.presence import Event
from edgeagent.hub.turns import Turns


def came(device: str, server: str) -> Event:
    return Event(device=device, connection=f"{server}:1", online=True, time="2026-01-01T00:00:00Z", server=server)


async def test_what_the_own_server_says_comes_first_and_the_rest_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "OTHERS_SECONDS", (0.02, 0.02))
    waiting = Turns("berlin-1", 10)
    others = [came(device, "berlin-2") for device in ("a", "b")]
    for event in (*others, came("c", "berlin-1")):
        assert waiting.put(event)
    assert [await waiting.get() for _ in range(3)] == [came("c", "berlin-1"), *others]
    assert [waiting.is_ours(came("x", server)) for server in ("berlin-1", "berlin-2", "")] == [True, False, False]


async def test_one_alone_writes_all_at_once_in_order() -> None:
    waiting = Turns(None, 10)
    wanted = [came(str(number), f"s{number % 2}") for number in range(10)]
    getting = asyncio.ensure_future(waiting.get())
    await asyncio.sleep(0)
    assert all(waiting.put(event) for event in wanted) and not waiting.put(came("x", ""))
    assert [await getting, *[await waiting.get() for _ in range(9)]] == wanted


async def test_who_is_beside_no_server_waits_for_all() -> None:
    waiting = Turns("", 10)
    waiting.put(came("a", "berlin-1"))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(waiting.get(), 0.001)
