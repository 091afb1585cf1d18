"""What is known of one microcontroller while the agent runs."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import NamedTuple, Protocol

from edgeagent.mcumessages import MAX_WORD, Hello, Result
from edgeagent.patterns.mcureadings import Readings
from edgeagent.ratelimit import RateLimit
from edgeagent.status import McuStatus

__all__ = ["LogLine", "Mcu", "Transport", "details_of", "fact_of", "status_of"]

#: What an answer to a query has of its texts, in characters.
MAX_DETAIL = 200
#: Lines of each one's log that are kept.
MAX_LINES = 200
#: The length of a line of its log that is kept, in characters.
MAX_LINE = 400
#: How far back a line with a prompt is from now: it lists names and a traceback after each.
PROMPT_LINES = 20
#: Lines that are kept of one that prints all the time: so many at once, and a second in the long run; how many were left out is said.
BURST_LINES, LINES_A_SECOND = 500, 50.0
#: How often it is an event that it went back from a version: what a board says must not push out the events of others.
FALLS_A_SECOND = 1 / 60


class Transport(Protocol):
    """A way to one microcontroller. kind: ``usb``, ``uart`` or ``mqtt``. where: for people. damaged: frames, since it is there.

    silent_seconds: after this long without a word it is silent; 0: whoever has nothing to say is online all the same.
    """

    kind: str
    where: str
    damaged: int
    silent_seconds: float

    def send(self, message: bytes) -> None:
        """Send one JSON message, or drop it when the way is blocked: whatever matters is sent again."""


class LogLine(NamedTuple):
    """time: Unix seconds."""

    time: float
    text: str


class Mcu:
    """What is known of one. since, heard: as in :class:`McuStatus`, on the wall's clock; spoke: on the monotonic one."""

    def __init__(self, mcu_id: str, readings: Readings) -> None:
        self.id, self.readings = mcu_id, readings
        self.transport: Transport | None = None
        self.hello: Hello = Hello()
        self.state, self.since, self.heard = "offline", 0.0, 0.0
        self.spoke, self.asked, self.left = 0.0, float("-inf"), 0.0
        self.malformed = self.dropped = 0
        self.problem = ""
        self.told_lost = False
        self.lines: deque[LogLine] = deque(maxlen=MAX_LINES)
        self._falls = RateLimit(FALLS_A_SECOND, 1)
        self._rate, self._left_out = RateLimit(LINES_A_SECOND, BURST_LINES), 0
        self.results: dict[str, asyncio.Future[Result]] = {}
        self.task: asyncio.Task[None] | None = None

    def falls_back(self, said: Hello) -> str:
        """What there is to tell of a hello from which it is seen that it just went back from a version; empty: nothing. At the first one that
        may be long ago."""
        if said.bad in ("", self.hello.bad) or self.hello == Hello() or not self._falls.allow():
            return ""
        return f"the microcontroller {self.id} went back from firmware {said.bad} to {said.fw}"

    def printed(self, text: str) -> list[LogLine]:
        """What is kept of a line of its log; none: it prints too fast."""
        self.heard = time.time()
        if not self._rate.allow():
            self._left_out += 1
            return []
        left_out, self._left_out = self._left_out, 0
        missing = [self._kept(f"({left_out} lines were left out: it prints too fast)")] if left_out else []
        return [*missing, self._kept(text)]

    def _kept(self, text: str) -> LogLine:
        """Without what could move a cursor."""
        plain = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:MAX_LINE])
        self.lines.append(LogLine(self.heard, plain))
        return self.lines[-1]


def status_of(mcu: Mcu) -> McuStatus:
    transport, hello = mcu.transport, mcu.hello
    return McuStatus(
        id=mcu.id,
        state=mcu.state,
        kind=transport.kind if transport else "",
        where=transport.where if transport else "",
        firmware=hello.fw,
        hardware=hello.hw,
        boot=hello.b,
        actions=[each.a for each in hello.commands],
        heard=mcu.heard,
        since=mcu.since,
        readings=mcu.readings.readings,
        lost=mcu.readings.lost,
        malformed=mcu.malformed + mcu.readings.malformed,
        damaged=transport.damaged if transport else 0,
        waiting=mcu.readings.waiting,
        dropped=mcu.dropped,
        bad=hello.bad,
        problem=mcu.problem
        or _at_prompt(mcu)
        or _other_name(mcu)
        or (str(mcu.readings.problem) if mcu.readings.problem else "")
        or _went_back(mcu),
    )


def fact_of(mcu: Mcu) -> dict[str, str]:
    """What the device's report has of it. What it says of itself is cut: the report has little room."""
    found = status_of(mcu)
    return {
        "id": found.id,
        "state": found.state,
        "kind": found.kind,
        "firmware": found.firmware[:MAX_WORD],
        "hardware": found.hardware[:MAX_WORD],
    }


def details_of(mcu: Mcu) -> dict[str, object]:
    """What an answer to a query has of it besides the report.

    heard_seconds: how long ago it spoke, by this device's clock, so who asks need not share it; left out when it has not.
    """
    found = status_of(mcu)
    heard = {"heard_seconds": round(max(0.0, time.time() - mcu.heard), 1)} if mcu.heard else {}
    return {
        "where": found.where[:MAX_DETAIL],
        "actions": [name[:MAX_WORD] for name in found.actions],
        "readings": found.readings,
        "lost": found.lost,
        "problem": found.problem[:MAX_DETAIL],
        **({"bad": found.bad} if found.bad else {}),
        **heard,
    }


def _at_prompt(mcu: Mcu) -> str:
    """A board without a firmware says back what it is asked, and that it is no Python."""
    if mcu.state != "silent" or not any(line.text.startswith(">>> ") for line in list(mcu.lines)[-PROMPT_LINES:]):
        return ""
    return "it is at MicroPython's prompt and runs no firmware: reset it, or put one on it with `edgeagent firmware flash`"


def _other_name(mcu: Mcu) -> str:
    """Who it is was decided on this device, not by what it calls itself; that the two differ may mean that it is another one."""
    said = mcu.hello.id
    return f"it calls itself {said[:MAX_WORD]!r}: is it the right one?" if said not in ("", mcu.id) else ""


def _went_back(mcu: Mcu) -> str:
    bad = mcu.hello.bad
    if not bad:
        return ""
    remedy = f"`edgeagent firmware update` tries again, `edgeagent mcu send {mcu.id} dismiss` is content with {mcu.hello.fw[:MAX_WORD]}"
    return f"it went back from version {bad}, which did not prove itself: {remedy}"
