"""The running agent's side of ``edgeagent mcu send`` and ``mcu logs`` on the device: who may use the agent's own login may ask."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
import nats.errors

from edgeagent import services, wire
from edgeagent.actions import described
from edgeagent.errors import EdgeError, Refused
from edgeagent.leaf.apps import CLI_INBOX
from edgeagent.link import Client
from edgeagent.patterns.mcus import LogLine, Mcus
from edgeagent.runtime import Tasks, woken

__all__ = ["FOLLOW_SECONDS", "LOGS", "MAX_SECONDS", "SEND", "Answered", "Line", "Lines", "McuDoor", "Order", "Wanted", "live"]

log = logging.getLogger("edgeagent")

#: In the agent's own account, where no program is.
SEND, LOGS = "local.agent.mcu.send", "local.agent.mcu.logs"
#: How long lines are published for who follows; it asks again in time.
FOLLOW_SECONDS = 30.0
#: The longest that a microcontroller may take to answer, and how many are waited for at once.
MAX_SECONDS, MAX_ORDERS = 300.0, 32
#: One of the hundreds of messages of an update: no line of the log for each.
PIECE = "update.data"
#: Lines that wait to be published; then the oldest go.
MAX_LINES = 200


def live(mcu_id: str) -> str:
    """where its lines are published while somebody follows them."""
    return f"local.agent.mcu.lines.{mcu_id}"


class Order(msgspec.Struct, kw_only=True):
    """seconds: how long it may take."""

    mcu: str
    action: str
    args: dict[str, Any] = {}
    seconds: float = 10.0


class Answered(msgspec.Struct):
    value: Any = None


class Wanted(msgspec.Struct, kw_only=True):
    """follow: publish what comes from now on too, for :data:`FOLLOW_SECONDS`."""

    mcu: str
    follow: bool = False


class Line(msgspec.Struct):
    """time: Unix seconds. missed: so many before it were not published."""

    time: float
    text: str
    missed: int = 0


class Lines(msgspec.Struct):
    lines: list[Line] = []


class _Told(NamedTuple):
    mcu: str
    line: LogLine


class McuDoor:
    """client: the agent's, to the leaf."""

    def __init__(self, client: Client, mcus: Mcus) -> None:
        self._client, self._mcus = client, mcus
        self._followed: dict[str, float] = {}
        self._lines: deque[_Told] = deque(maxlen=MAX_LINES)
        self._missed = 0
        self._wake = asyncio.Event()
        self._orders = 0
        mcus.on_line = self._heard

    async def open(self, tasks: Tasks) -> None:
        """Listen from now on, until ``tasks`` are closed."""

        async def sent(message: Any) -> None:
            tasks.start("order of a microcontroller", self._answer(message, self._send))

        async def asked(message: Any) -> None:
            await self._answer(message, self._read)

        tasks.start("lines of microcontrollers", self._publish())
        with contextlib.suppress(nats.errors.Error):  # the connection is gone for good; the next one begins anew
            await self._client.subscribe(SEND, cb=sent)
            await self._client.subscribe(LOGS, cb=asked)

    async def _answer(self, message: Any, do: Callable[[bytes], Awaitable[msgspec.Struct]]) -> None:
        if not message.reply.startswith(f"{CLI_INBOX}."):
            return
        try:
            answer = services.answer(await do(message.data))
        except EdgeError as error:
            answer = services.refusal(error)
        with contextlib.suppress(nats.errors.Error):  # the connection is gone, and who asked is told so
            await self._client.publish(message.reply, answer)

    async def _send(self, data: bytes) -> Answered:
        order = wire.decode(data, Order)
        if self._orders >= MAX_ORDERS:
            raise Refused(f"have {order.mcu} do {order.action}", f"{MAX_ORDERS} orders wait for an answer", "try again later")
        level = logging.DEBUG if order.action == PIECE else logging.INFO
        log.log(level, "ordered on this device: %s", described(f"{order.mcu} {order.action}", order.args))
        self._orders += 1
        try:
            seconds = min(max(order.seconds, 0.1), MAX_SECONDS)
            return Answered(await self._mcus.command(order.mcu, order.action, order.args, seconds=seconds))
        finally:
            self._orders -= 1

    async def _read(self, data: bytes) -> Lines:
        wanted = wire.decode(data, Wanted)
        found = self._mcus.lines(wanted.mcu)
        if wanted.follow:
            self._followed[wanted.mcu] = time.monotonic() + FOLLOW_SECONDS
        return Lines([Line(line.time, line.text) for line in found])

    def _heard(self, mcu_id: str, line: LogLine) -> None:
        if self._followed.get(mcu_id, 0.0) < time.monotonic():
            self._followed.pop(mcu_id, None)
            return
        self._missed += len(self._lines) == MAX_LINES
        self._lines.append(_Told(mcu_id, line))
        self._wake.set()

    async def _publish(self) -> None:
        while True:
            await woken(self._wake, None)
            while self._lines:
                told, missed = self._lines.popleft(), self._missed
                self._missed = 0
                with contextlib.suppress(nats.errors.Error):
                    await self._client.publish(live(told.mcu), wire.encode(Line(told.line.time, told.line.text, missed)))
