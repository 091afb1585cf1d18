"""A KV bucket of the hub's own records: read, compare and set, removed. Any number of instances may write."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from edgeagent import subjects, wire
from edgeagent.direct import get_last, read_all
from edgeagent.errors import EdgeError, Failed, as_sentence
from edgeagent.fenced import stored_if
from edgeagent.link import Client
from edgeagent.patience import asked

__all__ = ["TRIES", "Bucket", "pause"]

#: The JetStream API inside the account HUB.
PREFIX = "$JS.API"
#: How often a change is tried again because somebody else wrote meanwhile.
TRIES = 16
#: The bound of the pause before the second try, in seconds; each further one is so much longer.
PAUSE_SECONDS = 0.02

Record = TypeVar("Record", bound=msgspec.Struct)


class Bucket(Generic[Record]):
    """The bucket ``name``, whose values are ``shape``. Every method raises EdgeError when the store does not answer.

    hub: a connection to the account HUB, with every right there.
    """

    def __init__(self, hub: Client, name: str, shape: type[Record]) -> None:
        self._hub, self._name, self._shape = hub, name, shape

    async def find(self, key: str) -> tuple[Record, int] | None:
        """The record and its sequence, None when there is none."""
        stored = await get_last(self._hub, f"KV_{self._name}", subjects.kv(self._name, key), prefix=PREFIX)
        return (wire.decode(stored.data, self._shape), stored.sequence) if stored else None

    async def all(self) -> dict[str, tuple[Record, int]]:
        """Every key with its record and sequence."""
        stored = read_all(self._hub, f"KV_{self._name}", subjects.kv(self._name, ">"), prefix=PREFIX)
        head = subjects.kv(self._name, "")
        return {item.subject.removeprefix(head): (wire.decode(item.data, self._shape), item.sequence) async for item in stored}

    async def put(self, key: str, record: Record, sequence: int, *, what: str) -> bool:
        """Write the record if the last one of its key has ``sequence`` (0: there is none); whether it was so.

        what: as for :class:`EdgeError`.
        """
        subject = subjects.kv(self._name, key)
        stream, data = f"KV_{self._name}", wire.encode(record)
        return await stored_if(self._hub, subject, data, sequence, stream=stream, prefix=PREFIX, what=what) is not None

    async def change(self, key: str, make: Callable[[Record | None], Record | None], *, what: str) -> Record | None:
        """Write what ``make`` makes of the record (None: there is none); return it, None when ``make`` wants nothing written.

        ``make`` is called again when somebody else wrote meanwhile. Raises Failed when that happens again and again.
        """
        for number in range(TRIES):
            await pause(number)
            found = await self.find(key)
            made = make(found[0] if found else None)
            if made is None or await self.put(key, made, found[1] if found else 0, what=what):
                return made
        raise Failed(what, "others change it all the time", "try again")

    async def remove(self, key: str, sequence: int, *, what: str) -> None:
        """Remove the record with ``sequence``, and its history; a newer one stays. Nothing happens when it is gone already."""
        await purge(self._hub, f"KV_{self._name}", subjects.kv(self._name, key), before=sequence + 1, what=what)


async def pause(number: int) -> None:
    """Wait a moment before try ``number``, not at all before the first (0), so that those who compete do not meet again."""
    await asyncio.sleep(random.uniform(0, number * PAUSE_SECONDS))


async def purge(hub: Client, stream: str, subject: str, *, what: str, before: int | None = None) -> None:
    """Remove what ``stream`` has on ``subject``. before: a sequence; what comes from it on stays. None: everything goes."""
    body = {"filter": subject, **({"seq": before} if before else {})}
    answer = await asked(hub, f"{PREFIX}.STREAM.PURGE.{stream}", json.dumps(body).encode(), what=what)
    if error := json.loads(answer.data).get("error"):
        raise Failed(what, str(error.get("description")))


def said(error: EdgeError) -> str:
    """What went wrong without what was wanted: for a line that says that already."""
    return error.why + (f". {as_sentence(error.remedy)}" if error.remedy else "")
