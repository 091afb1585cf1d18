"""The microcontrollers of one device: whichever way each one speaks, here is what it says, what it is told, and how it is."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from edgeagent import mcumessages
from edgeagent.bridge import frames
from edgeagent.errors import Failed, Refused, Unreachable, UsageProblem
from edgeagent.link import Client
from edgeagent.mcumessages import Ack, Command, Configuration, Hello, Hi, Reading, Result
from edgeagent.patterns.mcu import LogLine, Mcu, Transport, details_of, fact_of, status_of
from edgeagent.patterns.mcureadings import Readings
from edgeagent.runtime import Tasks
from edgeagent.sample import Sample
from edgeagent.status import McuStatus

__all__ = ["LogLine", "Mcus", "Transport"]

log = logging.getLogger("edgeagent")

#: How long one is away before that is told, in seconds: a reset is no event.
LOST_SECONDS = 30.0
#: How often it is asked again for what is missing, at most, in seconds.
ASK_SECONDS = 1.0
#: How often one that says nothing is asked, in seconds.
KNOCK_SECONDS = 5.0
#: A command is sent again after this long without a result, in seconds: frames are torn.
AGAIN_SECONDS = 2.0
#: What all their samples are called, so that none is taken for one of the device's own.
_PREFIX = "mcu."


class Mcus:
    """client: to the leaf. tell: as :meth:`Events.tell`. on_change: called when one came, went, or became another.

    unix_ms: the time that they are told; it gives None while this device does not know it.
    """

    def __init__(
        self,
        client: Client,
        *,
        tell: Callable[..., None],
        on_change: Callable[[], None] = lambda: None,
        unix_ms: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._client, self._tell, self.on_change, self._unix_ms = client, tell, on_change, unix_ms
        self._mcus: dict[str, Mcu] = {}
        self._ids: frozenset[str] | None = None
        self._configuration: Mapping[str, Mapping[str, Any]] = {}
        self._tasks: Tasks | None = None
        self.on_line: Callable[[str, LogLine], None] = lambda mcu_id, line: None

    def start(self, tasks: Tasks) -> None:
        """Keep what they measure from now on, until ``tasks`` are closed."""
        self._tasks = tasks
        for mcu in self._mcus.values():
            mcu.task = tasks.start(f"readings of {mcu.id}", mcu.readings.run())
        tasks.start("microcontrollers", self._watch())

    def know(self, ids: Iterable[str]) -> None:
        """These belong to the device, whether they are there or not; others are forgotten when they are not."""
        self._ids = wanted = frozenset(ids)
        for mcu_id in sorted(wanted):
            self._of(mcu_id)
        for mcu in [each for each in self._mcus.values() if each.id not in wanted and each.transport is None]:
            self._forget(mcu)
        self.on_change()

    def _forget(self, mcu: Mcu) -> None:
        del self._mcus[mcu.id]
        if mcu.task:
            mcu.task.cancel()

    def set_configuration(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """What the configuration has for each of them, by id; those that are there are told."""
        before, self._configuration = self._configuration, tables
        for mcu in self._mcus.values():
            if before.get(mcu.id) != tables.get(mcu.id):
                self._send(mcu, Configuration(v=dict(tables.get(mcu.id, {}))))

    def attach(self, mcu_id: str, transport: Transport) -> None:
        """A way to it is there, and replaces any other."""
        mcu = self._of(mcu_id)
        mcu.transport, mcu.problem = transport, ""
        mcu.spoke = time.monotonic()
        mcu.asked = float("-inf")
        self._move(mcu, "silent" if transport.silent_seconds else "online")
        self._ask(mcu)

    def detach(self, mcu_id: str, transport: Transport, why: str = "") -> None:
        """The way is gone."""
        mcu = self._mcus.get(mcu_id)
        if mcu is not None and mcu.transport is transport:
            mcu.transport, mcu.problem, mcu.left = None, why, time.monotonic()
            self._move(mcu, "offline")
            if self._ids is not None and mcu_id not in self._ids:
                self._forget(mcu)

    def trouble(self, mcu_id: str, why: str) -> None:
        """What is wrong with the way to it, or why there is none; empty: nothing is."""
        mcu = self._of(mcu_id)
        if mcu.problem != why:
            mcu.problem = why
            self.on_change()

    def drop(self, mcu_id: str, count: int) -> None:
        """So many of its plain samples had no room."""
        self._of(mcu_id).dropped += count

    def heard(self, mcu_id: str, message: bytes) -> None:
        """It said this: one JSON message."""
        mcu = self._of(mcu_id)
        try:
            found = mcumessages.parse(message)
            if found is None:
                return  # an echo of ours, maybe
            self._spoke(mcu)
        except ValueError as error:
            self._spoke(mcu)
            mcu.malformed += 1
            log.debug("%s said what makes no sense: %s", mcu_id, error)
            return
        if isinstance(found, Hello):
            self._hello(mcu, found)
        elif isinstance(found, Reading):
            if not mcu.readings.reading(found):
                self._ask(mcu)
        elif isinstance(found, Result) and (waiting := mcu.results.get(found.id)) is not None and not waiting.done():
            waiting.set_result(found)

    def line(self, mcu_id: str, text: str) -> None:
        """It printed this."""
        for line in self._of(mcu_id).printed(text):
            self.on_line(mcu_id, line)

    async def store(self, mcu_id: str, samples: list[Sample]) -> None:
        """Samples that it measured without numbers of their own, called ``mcu.<name>`` whatever it calls them. Returns when they are on disk; UsageProblem: they can never be."""
        mcu = self._of(mcu_id)
        self._spoke(mcu)
        try:
            named = [_named(mcu_id, each) for each in samples]
        except ValueError as error:  # the attribute is one too many, or the name too long
            raise UsageProblem(f"store the samples of {mcu_id}", str(error), "send fewer texts") from None
        await mcu.readings.store(named)

    async def command(
        self, mcu_id: str, action: str, args: Mapping[str, Any], *, command_id: str = "", seconds: float = 10.0
    ) -> Any:
        """Have it do ``action``, and return what it answers.

        command_id: random if not given; the same one is never done twice. seconds: how long it may take.
        Raises UsageProblem when its arguments are too long, Refused when it is not there (nothing was sent in both), Failed when it does
        not do it, Unreachable when it did not answer: it may have done it.
        """
        what = f"have {mcu_id} do {action}"
        mcu = self._known(what, mcu_id)
        if mcu.transport is None:
            raise Refused(what, "it is offline", mcu.problem)
        command = Command(id=command_id or secrets.token_hex(8), a=action, args=dict(args))
        try:
            frames.encode(mcumessages.encode(command))
        except ValueError as error:
            raise UsageProblem(what, f"its arguments are too long: {error}", "say it in fewer words") from None
        try:
            result = await self._result(mcu, command, seconds)
        except asyncio.TimeoutError:
            raise Unreachable(what, f"it did not answer within {seconds:g} s") from None
        if not result.ok:
            raise Failed(what, result.why or "it does not say why")
        return result.v

    async def _result(self, mcu: Mcu, command: Command, seconds: float) -> Result:
        loop = asyncio.get_running_loop()
        answer = mcu.results.setdefault(command.id, loop.create_future())
        until = loop.time() + seconds
        try:
            while not answer.done():
                left = until - loop.time()
                if left <= 0:
                    raise asyncio.TimeoutError
                self._send(mcu, command)
                await asyncio.wait({answer}, timeout=min(left, AGAIN_SECONDS))
            return answer.result()
        finally:
            mcu.results.pop(command.id, None)

    def lines(self, mcu_id: str) -> list[LogLine]:
        """The newest lines of its log. Raises Refused when there is no such one."""
        return list(self._known(f"read the log of {mcu_id}", mcu_id).lines)

    def status(self) -> list[McuStatus]:
        """How each is, by id."""
        return [status_of(mcu) for _, mcu in sorted(self._mcus.items())]

    def hellos(self) -> dict[str, Hello | None]:
        """What each said of itself last, by id; None: nothing since the agent started."""
        return {mcu_id: mcu.hello if mcu.hello != Hello() else None for mcu_id, mcu in self._mcus.items()}

    def facts(self) -> list[dict[str, str]]:
        """What is stable about each, for the device's report."""
        return [fact_of(mcu) for _, mcu in sorted(self._mcus.items())]

    def details(self) -> dict[str, dict[str, object]]:
        """What changes all the time, by id, for who asks."""
        return {mcu_id: details_of(mcu) for mcu_id, mcu in sorted(self._mcus.items())}

    def _known(self, what: str, mcu_id: str) -> Mcu:
        if mcu_id not in self._mcus:
            raise Refused(what, "there is no such microcontroller here", "`edgeagent mcu ls` lists them")
        return self._mcus[mcu_id]

    def _of(self, mcu_id: str) -> Mcu:
        mcu = self._mcus.get(mcu_id)
        if mcu is None:
            readings = Readings(self._client, mcu_id, ack=lambda boot, last: self._acknowledge(mcu_id, boot, last))
            mcu = self._mcus[mcu_id] = Mcu(mcu_id, readings)
            if self._tasks:
                mcu.task = self._tasks.start(f"readings of {mcu_id}", readings.run())
        return mcu

    def _hello(self, mcu: Mcu, said: Hello) -> None:
        if text := mcu.falls_back(said):
            self._tell("warning", "mcu.went_back", text, mcu=mcu.id, bad=said.bad)
        before, mcu.hello = mcu.hello, said
        changed = (said.fw, said.hw, said.acts, said.bad) != (before.fw, before.hw, before.acts, before.bad)
        mcu.readings.hello(said)
        if said.b != before.b or said.new:
            mcu.asked = float("-inf")
            self._ask(mcu)  # it has begun anew, and knows neither the time nor that somebody listens
        if self._configuration.get(mcu.id):
            self._send(mcu, Configuration(v=dict(self._configuration[mcu.id])))
        if changed:
            self.on_change()

    def _acknowledge(self, mcu_id: str, boot: str, last: int) -> None:
        mcu = self._mcus.get(mcu_id)
        if mcu is not None:
            self._send(mcu, Ack(b=boot, s=last))

    def _ask(self, mcu: Mcu) -> None:
        """Have it say who it is and send what was not acknowledged; not all the time."""
        now = time.monotonic()
        if now - mcu.asked >= ASK_SECONDS:
            mcu.asked = now
            self._send(mcu, Hi(u=self._unix_ms()))

    def _send(self, mcu: Mcu, message: Hi | Ack | Command | Configuration) -> None:
        if mcu.transport is not None:
            mcu.transport.send(mcumessages.encode(message))

    def _spoke(self, mcu: Mcu) -> None:
        mcu.spoke, mcu.heard = time.monotonic(), time.time()
        if mcu.transport is not None:
            self._move(mcu, "online")
        if mcu.told_lost:
            mcu.told_lost = False
            self._tell("info", "mcu.back", f"the microcontroller {mcu.id} is back", mcu=mcu.id)

    def _move(self, mcu: Mcu, state: str) -> None:
        if mcu.state != state:
            mcu.state, mcu.since = state, time.time()
            self.on_change()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(ASK_SECONDS)
            now = time.monotonic()
            for mcu in list(self._mcus.values()):
                self._look(mcu, now)

    def _look(self, mcu: Mcu, now: float) -> None:
        quiet = now - mcu.spoke
        silent_seconds = mcu.transport.silent_seconds if mcu.transport is not None else 0.0
        if 0 < silent_seconds < quiet:
            self._move(mcu, "silent")
            mcu.left = mcu.left or now
        if silent_seconds and min(quiet, now - mcu.asked) > KNOCK_SECONDS:
            self._ask(mcu)
        if mcu.state == "online":
            mcu.left = 0.0
        elif mcu.left and mcu.heard and not mcu.told_lost and now - mcu.left > LOST_SECONDS:
            mcu.told_lost = True
            why = f": {mcu.problem}" if mcu.problem else ""
            self._tell("warning", "mcu.lost", f"the microcontroller {mcu.id} is {mcu.state}{why}", mcu=mcu.id)


def _named(mcu_id: str, sample: Sample) -> Sample:
    name = sample.metric if sample.metric.startswith(_PREFIX) else f"{_PREFIX}{sample.metric}"
    return msgspec.structs.replace(sample, metric=name, attributes={**sample.attributes, "mcu": mcu_id})
