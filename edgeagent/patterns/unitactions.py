"""Has actions run as units of systemd of their own, through the helper that may start them, and follows each to its end.

A unit goes on when the agent ends. So whoever asks for one that is there already, after a restart, is told how that one ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import files
from edgeagent.actions import Context, Outcome
from edgeagent.actionunits import limits_of
from edgeagent.command import new_id
from edgeagent.errors import EdgeError, Failed, Unreachable
from edgeagent.patterns import unitrequests as wire
from edgeagent.patterns.unitend import end_of, outcome_of
from edgeagent.patterns.unitreport import Reader
from edgeagent.patterns.unitrequests import Answer, Request

__all__ = ["UnitActions"]

log = logging.getLogger("edgeagent")

#: How often it is looked for output, and how long the helper may take to answer, in seconds. It loads Python first; on a small Pi with a
#: slow card that takes some.
LOOK_SECONDS, ANSWER_SECONDS = 0.2, 60.0
#: After how long systemd is asked whether the unit is still there, in seconds: at first, and at most. It tells its end by itself.
ASK_SECONDS = (15.0, 300.0)


class UnitActions:
    """folder: where the units' own folders are. address: of the helper's socket."""

    def __init__(self, folder: Path = Path(wire.FOLDER), address: Path = Path(wire.SOCKET)) -> None:
        self._folder, self._address = folder, address
        self._followed: set[str] = set()

    def usable(self) -> bool:
        """Whether there is a helper for us. Root needs none: it may do everything itself, and does."""
        return os.geteuid() != 0 and os.access(self._address, os.W_OK)

    def is_there(self, command_id: str) -> bool:
        """Whether a unit of that id runs, or has run and left its end."""
        return wire.is_id(command_id) and (self._folder / command_id / wire.REQUEST).exists()

    async def run(self, context: Context, action: str, args: Mapping[str, Any], *, content: int | None = None) -> Outcome:
        """As :class:`edgeagent.actionunits.Units`. When the task is cancelled, the unit goes on."""
        command_id = context.id or new_id(time.time(), "")
        self._followed.add(command_id)
        try:
            if not self.is_there(command_id):
                request = Request("start", command_id, action, dict(args), context.device_id)
                await self._ask(request, content)
            return await self._end(context, command_id, action)
        finally:
            self._followed.discard(command_id)
            if not context.id:
                await self._try(Request("forget", command_id))

    async def look(self, context: Context, action: str, args: Mapping[str, Any]) -> Outcome | int | None:
        """As :class:`edgeagent.actionunits.Units`."""
        request = Request("look", context.id or new_id(time.time(), ""), action, dict(args), context.device_id)
        answer, descriptor = await self._ask(request)
        return descriptor if answer.outcome is None else answer.outcome.outcome()

    async def tidy(self, is_open: Callable[[str], bool]) -> None:
        """Remove what units left, but for what is followed now and ``is_open``; a unit that nobody wants any more is stopped."""
        if not self.usable():
            return
        with contextlib.suppress(OSError):
            for folder in self._folder.iterdir():
                if wire.is_id(folder.name) and folder.name not in self._followed and not is_open(folder.name):
                    await self._try(Request("forget", folder.name))

    # ---- one of them ----

    async def _end(self, context: Context, command_id: str, action: str) -> Outcome:
        reader, stopped, asked = Reader(self._folder / command_id / wire.REPORT), False, _Asking()
        while True:
            ended = self._ended(command_id)
            for data in reader.new():
                context.write(data)
            if ended is not None:
                limits = limits_of(context.settings, action)
                return outcome_of(end_of(ended), reader.outcome(), action, limits, stopped=stopped)
            if context.cancelled.is_set() and not stopped:
                stopped = await self._try(Request("stop", command_id))
            if asked.is_due() and await self._is_gone(command_id, asked):
                return Outcome("unknown", "its unit is gone and has not left its end")
            await _pause(None if stopped else context.cancelled)

    def _ended(self, command_id: str) -> bytes | None:
        try:
            return files.read_if_there(self._folder / command_id / wire.END)
        except EdgeError:
            return None

    async def _is_gone(self, command_id: str, asked: _Asking) -> bool:
        """Whether it was so the last time too: it leaves its end right after it has ended."""
        try:
            answer, _ = await self._ask(Request("state", command_id))
        except EdgeError as error:
            log.debug("%s", error)
            return False
        return asked.gone(not answer.runs and self._ended(command_id) is None)

    # ---- the helper ----

    async def _try(self, request: Request) -> bool:
        try:
            await self._ask(request)
        except EdgeError as error:
            log.warning("%s the unit of command %s: %s", request.do, request.id, error)
            return False
        return True

    async def _ask(self, request: Request, content: int | None = None) -> tuple[Answer, int | None]:
        """Raises EdgeError: its own, or Unreachable."""
        answer, descriptor = await asyncio.to_thread(_asked, self._address, request, content)
        if (problem := answer.problem()) is not None:
            raise problem
        return answer, descriptor


class _Asking:
    """When systemd is asked, and what it said the last time."""

    def __init__(self) -> None:
        self._pause, self._was_gone = ASK_SECONDS[0], False
        self._due = time.monotonic() + self._pause

    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def gone(self, is_gone: bool) -> bool:
        self._pause = ASK_SECONDS[0] / 3 if is_gone else min(2 * self._pause, ASK_SECONDS[1])
        self._due = time.monotonic() + self._pause
        was_gone, self._was_gone = self._was_gone, is_gone
        return is_gone and was_gone


async def _pause(woken: asyncio.Event | None) -> None:
    if woken is None:
        await asyncio.sleep(LOOK_SECONDS)
        return
    waiting = asyncio.ensure_future(woken.wait())
    try:
        await asyncio.wait({waiting}, timeout=LOOK_SECONDS)
    finally:
        waiting.cancel()


def _asked(address: Path, request: Request, content: int | None) -> tuple[Answer, int | None]:
    """Blocks. Raises Unreachable."""
    what = f"have the action {request.action} run as a unit" if request.action else f"{request.do} a unit"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(address))
            wire.send(connection, request, content)
            line, descriptor = wire.receive(connection, ANSWER_SECONDS)
    except (OSError, ValueError) as error:
        remedy = "`systemctl status edgeagent-actions.socket` and `journalctl -u 'edgeagent-actions@*'` show more"
        raise Unreachable(what, f"its helper does not answer ({getattr(error, 'strerror', None) or error})", remedy) from None
    try:
        return msgspec.json.decode(line, type=Answer), descriptor
    except msgspec.DecodeError as error:
        raise Failed(what, f"its helper's answer can't be used: {error}") from None
