"""What is said over one open port: frames and lines to whoever keeps the microcontrollers, messages back, samples out of lines."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from edgeagent import mcumessages
from edgeagent.bridge.frames import Decoder, encode
from edgeagent.bridge.serialines import reader
from edgeagent.bridge.serialport import SerialPort
from edgeagent.errors import EdgeError, UsageProblem
from edgeagent.mcumessages import Result
from edgeagent.runtime import woken
from edgeagent.sample import Sample
from edgeagent.serialsettings import SerialMcu

__all__ = ["Keeper", "Wire"]

log = logging.getLogger("edgeagent")

#: Samples out of lines that wait for the store; beyond that the newest are dropped and counted: the line does not wait.
MAX_WAITING_SAMPLES = 1000
#: How many are stored at once; fewer where their attributes are long.
SAMPLES_AT_ONCE = 50
#: One that speaks the protocol answers when it is asked, so after so long without a word it is silent, in seconds.
SILENT_SECONDS = 15.0


class Keeper(Protocol):
    """Who keeps the microcontrollers: :class:`edgeagent.patterns.mcus.Mcus`."""

    def attach(self, mcu_id: str, transport: Any) -> None: ...
    def detach(self, mcu_id: str, transport: Any, why: str = "") -> None: ...
    def heard(self, mcu_id: str, message: bytes) -> None: ...
    def line(self, mcu_id: str, text: str) -> None: ...
    def trouble(self, mcu_id: str, why: str) -> None: ...
    def drop(self, mcu_id: str, count: int) -> None: ...
    async def store(self, mcu_id: str, samples: list[Sample]) -> None: ...


class Wire:
    """The way to ``mcu_id`` over ``opened`` (:func:`edgeagent.bridge.serialport.set_up`); it is there from now on until :meth:`close`.

    on_gone: told that it was unplugged.
    """

    def __init__(
        self,
        keeper: Keeper,
        mcu_id: str,
        mcu: SerialMcu,
        opened: Any,
        *,
        kind: str,
        where: str,
        on_gone: Callable[[], None],
    ) -> None:
        self._keeper, self._id, self._on_gone = keeper, mcu_id, on_gone
        self.kind, self.where, self.damaged = kind, where, 0
        self._read_line = reader(mcu) if mcu.mode == "lines" else None
        self.silent_seconds = 0.0 if self._read_line else SILENT_SECONDS
        self._decoder = Decoder()
        self._samples: deque[Sample] = deque()
        self._wake = asyncio.Event()
        self._port = SerialPort(opened, on_data=self._data, on_gone=self._gone)
        self._storing = asyncio.create_task(self._store(), name=f"samples of {mcu_id}") if self._read_line else None
        if not self._read_line:
            self._port.write(b"\n")  # ends whatever it had of a line
        keeper.attach(mcu_id, self)

    def send(self, message: bytes) -> None:
        """Send one JSON message of the protocol. What prints lines understands none, and a command is told so."""
        if self._read_line:
            self._decline(message)
            return
        try:
            frame = encode(message)
        except ValueError as error:
            log.warning("a message to %s was not sent: %s", self._id, error)
            return
        self._port.write(frame)

    @property
    def complaint(self) -> str:
        """What is wrong with the line now; empty: nothing."""
        if self._port.floods:
            return "it sends more than is read"
        return "it does not read what it is sent" if self._port.is_stuck else ""

    async def close(self, why: str) -> None:
        """Give the port back."""
        self._port.close()
        self._keeper.detach(self._id, self, why)
        if self._storing:
            self._storing.cancel()
            await asyncio.wait({self._storing})

    def _decline(self, message: bytes) -> None:
        command = mcumessages.command_in(message)
        if command:
            self._keeper.heard(self._id, mcumessages.encode(Result(id=command.id, ok=False, why="it only prints lines")))

    def _data(self, data: bytes) -> None:
        for is_frame, found in self._decoder.feed(data):
            if is_frame and not self._read_line:
                self._keeper.heard(self._id, found)
            else:
                self._line(found.decode("utf-8", "replace"))
        self.damaged = self._decoder.damaged

    def _line(self, text: str) -> None:
        samples = self._read_line(text, time.time()) if self._read_line else None
        if samples:
            self._take(samples)
        else:
            self._keeper.line(self._id, text)

    def _take(self, samples: list[Sample]) -> None:
        room = MAX_WAITING_SAMPLES - len(self._samples)
        self._samples.extend(samples[:room])
        if len(samples) > room:
            self._keeper.drop(self._id, len(samples) - room)
        self._wake.set()

    async def _store(self) -> None:
        while True:
            await woken(self._wake, None)
            while self._samples:
                batch = [self._samples.popleft() for _ in range(min(SAMPLES_AT_ONCE, len(self._samples)))]
                await self._store_some(batch)

    async def _store_some(self, batch: list[Sample]) -> None:
        try:
            await self._keeper.store(self._id, batch)
        except UsageProblem as error:  # more than one message has room for
            half = len(batch) // 2
            if half:
                await self._store_some(batch[:half])
                await self._store_some(batch[half:])
            else:
                self._drop(batch, error)
        except EdgeError as error:
            self._drop(batch, error)

    def _drop(self, batch: list[Sample], error: EdgeError) -> None:
        log.debug("%s", error)
        self._keeper.drop(self._id, len(batch))

    def _gone(self, why: str) -> None:
        self._keeper.detach(self._id, self, why)
        self._on_gone()
