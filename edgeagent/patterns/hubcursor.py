"""Where a device left off: by its newest chunk on the hub, if the local stream is still the one that this chunk is of."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from msgspec.structs import replace

from edgeagent import subjects, wire
from edgeagent.chunk import Progress, messages_of
from edgeagent.direct import get_last
from edgeagent.errors import Failed
from edgeagent.link import Client, request
from edgeagent.patterns.commonlog import CommonLog, Pair
from edgeagent.patterns.forwardchunks import Kind
from edgeagent.patterns.forwardprogress import begun_anew, shortened
from edgeagent.patterns.hubchunks import HubChunks, progress_of
from edgeagent.patterns.locallog import LocalLog, State
from edgeagent.services import result

__all__ = ["Cursor", "HubCursor"]

log = logging.getLogger("edgeagent")

#: How long the hub may take for an answer, in seconds.
TIMEOUT_SECONDS = 10.0


class Cursor(NamedTuple):
    """sequence: the hub's, of the device's newest chunk; 0: it has none. anew: why ``progress`` is not what that chunk says; empty: it is."""

    sequence: int
    progress: Progress
    anew: str = ""


class _Newest(NamedTuple):
    """The device's newest chunk on the hub, and the newest that can be read. progress: of the latter, with its edge; None: there is none."""

    sequence: int
    progress: Progress | None = None
    readable: int = 0


class HubCursor:
    """Asks the hub for one device. log: the local stream that it forwards."""

    def __init__(self, client: Client, device_id: str, kind: Kind, log: LocalLog) -> None:
        self._client, self._id, self._kind, self._log = client, device_id, kind, log
        self._subject = kind.say(device_id)
        self._known: dict[int, wire.ChunkFound] = {}
        self._as_of = 0

    async def read(self, state: State, hint: Progress | None) -> Cursor:
        """Where to go on. state: of the local stream. hint: the progress as far as it is known without the hub; None: it is not.

        Raises EdgeError.
        """
        newest = await self._newest()
        progress = newest.progress
        if progress is None:
            return Cursor(newest.sequence, *await self._without_the_hub(state, hint))
        if state.created > progress.log:
            return Cursor(newest.sequence, begun_anew(progress, state.created), "the local stream is a new one")
        chunks = HubChunks(self._found, newest.sequence)
        common = CommonLog(chunks.at, self._agreeing(state), log=state.created, newest=newest.readable)
        after = await common.progress(progress)
        self._known.clear()
        if after is progress:
            return Cursor(newest.sequence, shortened(progress, state.last))
        return Cursor(newest.sequence, after, "the local stream was put back to an older copy")

    async def _newest(self) -> _Newest:
        stored = await get_last(self._client, self._kind.stream, self._subject, marks=True, timeout=TIMEOUT_SECONDS)
        if stored is None:
            return _Newest(0)
        if stored.sequence != self._as_of:
            self._known, self._as_of = {}, stored.sequence
        try:
            chunk = self._kind.decode(stored.data)
            progress, last = chunk.progress, max(messages_of(chunk), default=None)
        except Failed as error:  # it is of a newer edgeagent, perhaps: this one was put back
            log.error("the hub's newest chunk of this device is of no use: %s", error)
            found = await HubChunks(self._found, stored.sequence).last()
            return _Newest(stored.sequence, progress_of(found) if found.sequence else None, found.sequence)
        return _Newest(stored.sequence, _with_edges(progress, last), stored.sequence)

    async def _without_the_hub(self, state: State, hint: Progress | None) -> tuple[Progress, str]:
        if hint is None:
            return Progress(log=state.created), ""
        if hint.log == state.created and (hint.edge is None or await self._agreeing(state)(hint.edge)):
            return shortened(hint, state.last), ""
        return begun_anew(hint, state.created), "the local stream is another one, and the hub has nothing of it"

    def _agreeing(self, state: State) -> Callable[[Pair], Awaitable[bool]]:
        """Whether nothing speaks against the local stream having had a message. What went, or is not there, does not."""

        async def agrees(pair: Pair) -> bool:
            if pair[0] < state.first:
                return True
            if pair[0] > state.last:
                return False
            found = await self._log.at(pair[0])
            return found is None or found.time == pair[1]

        return agrees

    async def _found(self, at: int) -> wire.ChunkFound:
        """The chunk at the hub's sequence ``at``, or the next one after it. It is asked once, also when the search has to begin again: the hub
        answers only so many questions at once.
        """
        found = self._known.get(at) or await self._ask(at)
        if found.sequence:  # else that may change
            self._known[at] = found
        return found

    async def _ask(self, at: int) -> wire.ChunkFound:
        subject = subjects.request_to_hub(self._id, f"{self._kind.name}_index")
        what = "ask the hub what it has"
        answer = await request(self._client, subject, wire.encode(wire.ChunkAsked(at)), what=what, timeout=TIMEOUT_SECONDS)
        return result(answer.data, wire.ChunkFound)


def _with_edges(progress: Progress, last: tuple[int, int] | None) -> Progress:
    """The same with what is left out because it is the chunk's own last message."""
    return replace(progress, edge=progress.edge or last, filled=progress.filled or (last if progress.gaps else None))
