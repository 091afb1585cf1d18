"""One service's way of answering: so many requests at once, each with an envelope, and nothing that only the log should say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from edgeagent import services
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem

__all__ = ["AT_ONCE", "Desk"]

log = logging.getLogger("edgeagent.hub")

#: How many requests are worked on at once; the others wait their turn in the client, which keeps half a million of them at most.
AT_ONCE = 16

#: What to do for whom (the third token of the subject) with which body.
Work = Callable[[str, bytes], Awaitable[msgspec.Struct]]


class Desk:
    """what: the service, as for :class:`EdgeError`. inbox: where those who ask must want their answers, given who they are; None:
    anywhere. An answer elsewhere would be a message of ours on a subject that the asker could not publish on itself."""

    def __init__(self, what: str, work: Work, inbox: Callable[[str], str] | None = None) -> None:
        self._what, self._work, self._inbox = what, work, inbox
        self._free = asyncio.Semaphore(AT_ONCE)
        self._working: set[asyncio.Task[None]] = set()

    async def heard(self, message: Any) -> None:
        """For ``Client.subscribe``: returns when somebody works on the message."""
        who = message.subject.split(".")[2]
        if not message.reply or (self._inbox and not message.reply.startswith(self._inbox(who) + ".")):
            return
        await self._free.acquire()
        task = asyncio.create_task(self._respond(message, who), name=f"{self._what} for {who}")
        self._working.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        self._free.release()

    async def _respond(self, message: Any, who: str) -> None:
        try:
            answer = services.answer(await self._work(who, message.data))
        except (Refused, UsageProblem) as error:
            answer = services.refusal(error)
        except EdgeError as error:
            log.warning("%s", error)
            answer = self._trouble()
        except Exception:
            log.exception("cannot %s for %s", self._what, who)
            answer = self._trouble()
        try:
            await message.respond(answer)
        except Exception as error:  # nats-py's, of a connection that has ended: whoever asked asks again
            log.warning("cannot answer %s: %s", who, error)

    def _trouble(self) -> bytes:
        return services.refusal(Failed(self._what, "the hub is not well", "try again in a minute; its log says more"))

    async def close(self) -> None:
        """End what is being worked on: whoever gets no answer asks again."""
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
