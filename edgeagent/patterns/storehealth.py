"""Whether the leaf's streams still take messages, and what is done when they do not: a stream that met a full disk stays dead.

nats-server keeps the first write error of a stream for as long as it runs: every later publish has no answer at all, also when there is
space again (2.15.1). A purge that matches nothing writes nothing, and is refused with that very error; so it is asked now and then.
While a stream is dead the agent answers in its place, so that programs hear an error instead of nothing; when there is space again the
leaf is restarted.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import localsubjects
from edgeagent.backoff import Backoff
from edgeagent.errors import EdgeError
from edgeagent.leaf.storelimit import disk_of
from edgeagent.link import Client, request
from edgeagent.status import Problem

__all__ = ["ENOUGH_BYTES", "StoreHealth", "write_error"]

log = logging.getLogger("edgeagent")

#: How often the streams are asked, and how often while the disk is (almost) full or one is dead, in seconds.
LOOK_SECONDS, LOOK_CLOSELY_SECONDS = 5.0, 1.0
#: With less free than this nothing is to be hoped for from a restart, and a disk with less is called full.
ENOUGH_BYTES = 1 << 20
#: Bounds of the pause between two restarts, and how long it must have gone well for the first to come back, in seconds.
RESTART_SECONDS, GOOD_SECONDS = (5.0, 600.0), 600.0
#: JetStream's number for a message that could not be stored (JSStreamStoreFailedF, server/errors.json).
_STORE_FAILED = 10077
#: How nats-server names the reply of a message that came by the import of a service (``replyPrefix``, server/accounts.go). No client may
#: use it; the answer goes to the account of the programs, wherever it was asked for there.
_SERVICE_REPLY = "_R_."
SUBJECTS = {
    localsubjects.LOCAL_METRICS: localsubjects.local_metric(),
    localsubjects.LOCAL_DATA: localsubjects.local_data(),
}


class _Error(msgspec.Struct):
    code: int = 0
    description: str = "it does not say why"


class _Answer(msgspec.Struct):
    error: _Error | None = None


async def write_error(client: Client, stream: str) -> str:
    """Why the leaf's stream takes no messages; empty when it does, or is not there. Raises EdgeError when the leaf does not answer."""
    body = json.dumps({"filter": "edgeagent.probe"}).encode()  # no subject of the stream's
    answer = await request(client, f"$JS.API.STREAM.PURGE.{stream}", body, what=f"ask the local stream {stream} how it is")
    try:
        error = msgspec.json.decode(answer.data, type=_Answer).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return error.description if error is not None and error.code >= 500 else ""


class StoreHealth:
    """Watches the streams of one leaf.

    folder: where the store is. restart: ends the leaf and starts it again; None: somebody else runs it, and ``remedy`` says how to.
    on_change: called with what is wrong, None when nothing is any more. tell: as :meth:`edgeagent.patterns.events.Events.tell`.
    """

    def __init__(
        self,
        client: Client,
        folder: Path,
        *,
        restart: Callable[[], Awaitable[None]] | None,
        remedy: str,
        on_change: Callable[[Problem | None], None],
        tell: Callable[..., None],
    ) -> None:
        self._client, self._folder, self._restart, self._remedy = client, folder, restart, remedy
        self._on_change, self._tell = on_change, tell
        self._backoff = Backoff(*RESTART_SECONDS, good_seconds=GOOD_SECONDS)
        self._restarted, self._next_restart = float("-inf"), float("-inf")
        self._voices: dict[str, Any] = {}
        self._was_dead = False
        self.dead: dict[str, str] = {}
        self.problem: Problem | None = None

    @property
    def is_full(self) -> bool:
        """Whether the disk has no room worth mentioning."""
        try:
            return disk_of(self._folder).free < ENOUGH_BYTES
        except EdgeError:
            return False

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            try:
                await self.look()
            except EdgeError as error:  # the leaf is away; it is looked after elsewhere
                log.debug("%s", error)
            await self._pause()

    async def _pause(self) -> None:
        end = asyncio.get_running_loop().time() + LOOK_SECONDS
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(LOOK_CLOSELY_SECONDS)
            if self.dead or self.is_full:
                return

    async def look(self) -> None:
        """Look once, and do what is to be done. Raises EdgeError when the leaf does not answer."""
        reasons = {stream: await write_error(self._client, stream) for stream in SUBJECTS}
        self.dead = {stream: reason for stream, reason in reasons.items() if reason}
        is_full = self.is_full
        self._say(is_full)
        await self._speak()
        if self.dead and not is_full and self._restart is not None:
            await self._begin_anew(self._restart)

    def _say(self, is_full: bool) -> None:
        problem = self._found(is_full)
        if problem != self.problem:
            self.problem = problem
            self._on_change(problem)
        if bool(self.dead) == self._was_dead:
            return
        self._was_dead = bool(self.dead)
        if problem is not None:
            self._tell("error", "store.dead", problem.what)
        elif not self.dead:
            self._tell("info", "store.good", "samples and messages are stored again")

    def _found(self, is_full: bool) -> Problem | None:
        if is_full:
            lost = "samples and messages are not stored, and commands are refused" if self.dead else "commands are refused"
            return Problem(
                f"there is no space left on the disk of {self._folder}: {lost}", "free some space: `df -h` shows the disks"
            )
        if not self.dead:
            return None
        why = "; ".join(dict.fromkeys(self.dead.values()))
        remedy = (
            self._remedy if self._restart is None else "the leaf is restarted; `dmesg | tail` tells whether the disk is failing"
        )
        return Problem(f"samples and messages are not stored until the leaf is restarted: {why}", remedy)

    async def _speak(self) -> None:
        """Answer in the place of dead streams, and of no others: a message must not be stored and refused."""
        for stream in [stream for stream in self._voices if stream not in self.dead]:
            await self._silence(stream)
        for stream in self.dead:
            if stream not in self._voices:
                self._voices[stream] = await self._client.subscribe(SUBJECTS[stream], cb=self._refuse(stream))

    async def _silence(self, stream: str) -> None:
        await self._voices.pop(stream).unsubscribe()

    def _refuse(self, stream: str) -> Callable[[Any], Awaitable[None]]:
        async def refuse(message: Any) -> None:
            if message.reply.startswith(_SERVICE_REPLY):
                why = self.dead.get(stream, "the leaf restarts")
                error = {"code": 503, "err_code": _STORE_FAILED, "description": f"not stored: {why.rpartition(': ')[2]}"}
                answer = {"error": error, "stream": stream, "seq": 0}
                await self._client.publish(message.reply, json.dumps(answer).encode())

        return refuse

    async def _begin_anew(self, restart: Callable[[], Awaitable[None]]) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next_restart:
            return
        self._next_restart = now + self._backoff.next(now - self._restarted)
        self._restarted = now
        log.warning("the leaf is restarted: there is space again, and a stream that met a full disk stays dead until then")
        for stream in list(self._voices):
            await self._silence(stream)
        await restart()
