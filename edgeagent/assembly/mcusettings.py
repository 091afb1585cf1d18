"""A board's settings, brought to it over the wire by the agent: for one that runs our firmware already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from edgeagent.assembly import mcuclient
from edgeagent.errors import Failed, Refused, Unreachable, UsageProblem
from edgeagent.settings import Settings

__all__ = ["push"]

#: How long a board that was added a moment ago may take until it is heard, and to answer, in seconds.
HEARD_SECONDS, ANSWER_SECONDS, AGAIN_SECONDS = 20.0, 10.0, 0.5

_Order = Callable[[str, Mapping[str, Any], float], Awaitable[Any]]


async def push(settings: Settings, mcu_id: str, given: Mapping[str, Any]) -> None:
    """Have the board keep ``given`` in its settings.json, checked by itself, and start anew with it. It is told that it is called ``mcu_id``.

    Raises Failed with its reason where it takes something not; what it was told before stays then. Unreachable: it was not heard.
    """
    wanted = {**given, "id": mcu_id}
    what = f"give {mcu_id} its settings"
    async with mcuclient.orders(settings, mcu_id, what) as order:
        await _until_heard(order, what)
        try:
            await _told(order, wanted)
        except Failed as error:
            raise Failed(
                what, error.why, "correct the file, and repeat with `edgeagent mcu send`, or flash the board with it"
            ) from None
        await order("reset", {}, ANSWER_SECONDS)


async def _until_heard(order: _Order, what: str) -> None:
    until = time.monotonic() + HEARD_SECONDS
    while True:
        try:
            await order("interval", {}, ANSWER_SECONDS)
            return
        except (Refused, Unreachable) as error:
            if time.monotonic() > until:
                remedy = "does it run edgeagent's firmware? `edgeagent firmware flash --settings FILE` puts both on it"
                raise Unreachable(what, error.why, remedy) from None
        await asyncio.sleep(AGAIN_SECONDS)


async def _told(order: _Order, wanted: Mapping[str, Any]) -> None:
    """At once where a frame has room for it, so that what belongs together is checked together; else key by key."""
    try:
        await order("settings", wanted, ANSWER_SECONDS)
        return
    except UsageProblem:
        pass
    for key, value in wanted.items():
        await order("settings", {key: value}, ANSWER_SECONDS)
