"""The agent's side of the protocol by MQTT, as short as it can be: for brokers that have no agent of ours, and for other people's programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from edgeagent.mcumessages import Ack, Command, Configuration, Hi, encode
from tests.support.mosquitto import Other
from tests.support.servers import until

__all__ = ["Agent", "answering"]


class Agent:
    """hellos: what the board said of itself. readings: boot and number -> values, each once however often it came. results: by id."""

    def __init__(self, other: Other, mcu_id: str) -> None:
        self._other, self._topic, self._seen = other, f"mcu/{mcu_id}", 0
        self.hellos: list[dict[str, Any]] = []
        self.readings: dict[tuple[str, int], dict[str, Any]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self._next: dict[str, int] = {}

    async def run(self) -> None:
        while True:
            said = [json.loads(payload) for payload in self._other.of(f"{self._topic}/out")[self._seen :]]
            self._seen += len(said)
            boots = {self._reading(each) for each in said if each["t"] == "r"}
            for each in said:
                if each["t"] == "hello":
                    await self._hello(each)
                elif each["t"] == "res":
                    self.results[each["id"]] = each
            for boot in boots:
                await self.say(Ack(b=boot, s=self._next[boot] - 1))
            await asyncio.sleep(0.02)

    async def _hello(self, said: dict[str, Any]) -> None:
        self.hellos.append(said)
        if said["b"] not in [each["b"] for each in self.hellos[:-1]]:
            await self.say(Hi(u=int(time.time() * 1000)))

    def _reading(self, said: dict[str, Any]) -> str:
        boot, values = said["b"], said["v"]
        assert self.readings.setdefault((boot, said["s"]), values) == values, "a number is that of one reading"
        self._next[boot] = max(self._next.get(boot, 1), said["o"])
        while (boot, self._next[boot]) in self.readings:
            self._next[boot] += 1
        return str(boot)

    async def say(self, message: Hi | Ack | Command | Configuration) -> None:
        """Lost when the broker is away: then the board asks again."""
        with contextlib.suppress(RuntimeError):  # paho is not connected
            await self._other.say(f"{self._topic}/in", encode(message), qos=0)

    async def command(self, action: str, **args: Any) -> dict[str, Any]:
        command_id = f"c{len(self.results)}"
        await self.say(Command(id=command_id, a=action, args=args))
        await until(lambda: command_id in self.results, f"it answers {action}")
        return self.results[command_id]


@contextlib.asynccontextmanager
async def answering(port: int, mcu_id: str, **login: str) -> AsyncIterator[Agent]:
    async with Other(port, f"mcu/{mcu_id}/out", **login) as other:  # type: ignore[arg-type]
        agent = Agent(other, mcu_id)
        task = asyncio.create_task(agent.run())
        try:
            yield agent
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
