"""The results of one command as they come: what the hub has, and what it republishes when a device says more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from edgeagent import subjects
from edgeagent.direct import Stored, read_all
from edgeagent.errors import EdgeError
from edgeagent.fleet.commandstatus import Answer, answer_of
from edgeagent.link import Client, settle
from edgeagent.runtime import woken
from edgeagent.times import parse_rfc3339

__all__ = ["Results", "read"]

STREAM = "EDGE_RESULTS"


async def read(client: Client, command_id: str) -> dict[str, Answer]:
    """What the hub has of every device, by its id."""
    subject = subjects.result("*", command_id)
    found = [answer_of(stored, command_id) async for stored in read_all(client, STREAM, subject)]
    return {answer.device: answer for answer in found if answer}


class Results:
    """``async with Results(client, id) as results``: ``answers`` is what each device said last.

    Live messages are only quicker than reading: whoever waits for long calls :meth:`refresh` from time to time.
    """

    def __init__(self, client: Client, command_id: str) -> None:
        self._client, self._id = client, command_id
        self._rang = asyncio.Event()
        self.answers: dict[str, Answer] = {}

    async def __aenter__(self) -> Results:
        subject = subjects.live("*", f"result.{self._id}")
        self._subscription = await self._client.subscribe(subject, cb=self._heard, pending_msgs_limit=-1)
        await settle(self._client, what="watch the command")
        await self.refresh()
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):  # the connection may be gone, and the subscription with it
            await self._subscription.unsubscribe()

    def __iter__(self) -> Iterator[Answer]:
        return iter(list(self.answers.values()))

    async def refresh(self) -> None:
        """Read what the hub has. Raises EdgeError when it does not answer."""
        for answer in (await read(self._client, self._id)).values():
            self._take(answer)

    async def wait(self, seconds: float) -> bool:
        """Until something is heard, so many seconds at most; whether something was."""
        return await woken(self._rang, seconds)

    async def _heard(self, message: Any) -> None:
        stored = _stored(message)
        if answer := stored and answer_of(stored, self._id):
            self._take(answer)
            self._rang.set()

    def _take(self, answer: Answer) -> None:
        known = self.answers.get(answer.device)
        if known is None or known.sequence < answer.sequence:
            self.answers[answer.device] = answer


def _stored(message: Any) -> Stored | None:
    """A live message as what was stored; None when it does not say where it was."""
    headers = message.headers or {}
    with contextlib.suppress(KeyError, ValueError, EdgeError):
        stored = Stored(
            headers["Nats-Subject"], int(headers["Nats-Sequence"]), parse_rfc3339(headers["Nats-Time-Stamp"]), message.data, False
        )
        told = (subjects.device_of(message.subject), headers["Nats-Stream"])
        return stored if told == (subjects.device_of(stored.subject), STREAM) else None
    return None
