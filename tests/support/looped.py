"""A microcontroller in the test's own process: the board's side of the protocol, without a wire."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from edgeagent.patterns.mcus import Mcus
from tests.support.servers import until

__all__ = ["Looped"]


class Looped:
    """A transport of :class:`Mcus`, and the microcontroller behind it. answer: what it says to an action and its arguments; None: nothing.

    done: the commands that it did, as (id, action, args).
    """

    kind, where, damaged, silent_seconds = "usb", "/dev/ttyACM0", 0, 0.0

    def __init__(self, mcus: Mcus, mcu_id: str, *, firmware: str = "1.2.0", actions: Sequence[Any] = ("led", "beep")) -> None:
        self.mcus, self.id, self.firmware, self.actions = mcus, mcu_id, firmware, actions
        self.answer: Callable[[str, dict[str, Any]], dict[str, Any] | None] = lambda action, args: {"ok": True, "v": args}
        self.done: list[tuple[str, str, dict[str, Any]]] = []
        self._kept: list[tuple[int, dict[str, Any]]] = []
        self.acked = self.seq = 0
        mcus.attach(mcu_id, self)

    def send(self, message: bytes) -> None:
        said = json.loads(message)
        if said["t"] == "hi":
            self.hello()
        elif said["t"] == "ack":
            self.acked = said["s"]
        elif said["t"] == "cmd" and (found := self._do(said)) is not None:
            self.say(t="res", id=said["id"], **found)

    def _do(self, said: dict[str, Any]) -> dict[str, Any] | None:
        args = said.get("args", {})
        if all(said["id"] != known for known, _, _ in self.done):
            self.done.append((said["id"], said["a"], args))
        return self.answer(said["a"], args)

    def say(self, **message: Any) -> None:
        self.mcus.heard(self.id, json.dumps(message).encode())

    def hello(self, **more: Any) -> None:
        known = {"id": self.id, "fw": self.firmware, "hw": "Pico W", "b": "boot1", "seq": self.seq, "o": 1}
        self.say(t="hello", acts=self.actions, **{**known, **more})

    def measure(self, **values: Any) -> None:
        self.seq += 1
        self._kept.append((self.seq, values))
        self._tell()

    def _tell(self) -> None:
        self._kept = [(seq, values) for seq, values in self._kept if seq > self.acked]
        for seq, values in self._kept:
            self.say(t="r", b="boot1", s=seq, o=1, v=values)

    async def stored(self) -> None:
        """Say what was not acknowledged again and again, as boards do, until it is on disk."""

        def are_acked() -> bool:
            self._tell()
            return self.acked == self.seq

        await until(are_acked, "its readings are on disk")
