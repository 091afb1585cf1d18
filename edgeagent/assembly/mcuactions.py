"""What commands may do with the microcontrollers of this device: tell them, read their logs, and say which ones belong to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from edgeagent.assembly import mcus as known
from edgeagent.patterns.mcus import Mcus
from edgeagent.settings import Settings

__all__ = ["CommandedMcus"]


class CommandedMcus:
    """As actions are given them (:class:`edgeagent.actions.Microcontrollers`). changed: called when others belong to the device."""

    def __init__(self, mcus: Mcus, settings: Settings, changed: Callable[[], Awaitable[None]]) -> None:
        self._mcus, self._settings, self._changed = mcus, settings, changed

    def lines(self, mcu_id: str) -> Sequence[tuple[float, str]]:
        return self._mcus.lines(mcu_id)

    async def command(
        self, mcu_id: str, action: str, args: Mapping[str, Any], *, command_id: str = "", seconds: float = 10.0
    ) -> Any:
        return await self._mcus.command(mcu_id, action, args, command_id=command_id, seconds=seconds)

    async def add(self, mcu_id: str, *, usb: str, port: str, baud: int, lines: str, pattern: str) -> None:
        wired = known.wired_of(mcu_id, usb=usb, port=port, baud=baud, lines=lines, pattern=pattern)
        await asyncio.to_thread(known.keep_wired, self._settings, mcu_id, wired)
        await self._changed()

    async def remove(self, mcu_id: str) -> None:
        await asyncio.to_thread(known.forget, self._settings, mcu_id)
        await self._changed()
